//! Every family that `/metrics` has: its name, kind, unit and help, and which figure of a loop goes into which.
//!
//! Always holds: a figure without a family does not compile; a help says what an on-call needs to know. Never: a label
//! that names a peer or a connection.

use crate::base::{CloseReason, Fault};
use crate::metrics::{Counter, Gauge, Timing};

/// What a family's samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Info,
}

/// What a family is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    Count,
    Seconds,
    Bytes,
}

/// A family. The library adds the unit and `_total` or `_info` to the name.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) measure: Measure,
    pub(super) help: &'static str,
}

/// Where a figure of a loop goes: a family, and what tells it from others of the family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) family: &'static Family,
    pub(super) label: Option<(&'static str, &'static str)>,
}

impl Place {
    const fn alone(family: &'static Family) -> Option<Place> {
        Some(Place { family, label: None })
    }

    const fn among(family: &'static Family, label: &'static str, value: &'static str) -> Option<Place> {
        Some(Place { family, label: Some((label, value)) })
    }
}

/// Where a counter goes. `None`: what it counts is told in more detail elsewhere.
pub(super) const fn of_counter(counter: Counter) -> Option<Place> {
    match counter {
        Counter::Accepted => Place::alone(&ACCEPTED),
        Counter::Dialed => Place::alone(&DIALED),
        Counter::HandedOff => Place::alone(&HANDED_OFF),
        Counter::RefusedFull => Place::among(&REFUSED, "cause", "full"),
        Counter::RefusedListener => Place::among(&REFUSED, "cause", "listener"),
        Counter::RefusedAddress => Place::among(&REFUSED, "cause", "address"),
        Counter::RefusedDescriptors => Place::among(&REFUSED, "cause", "descriptors"),
        Counter::AcceptExhausted => Place::among(&ACCEPT_FAILURES, "cause", "exhausted"),
        Counter::AcceptAborted => Place::among(&ACCEPT_FAILURES, "cause", "aborted"),
        Counter::AcceptFailed => Place::among(&ACCEPT_FAILURES, "cause", "failed"),
        Counter::AcceptsPaced => Place::alone(&ACCEPTS_PACED),
        Counter::Entered => Place::alone(&ENTRANCE_ENTERED),
        Counter::UntrustedProxy => Place::among(&ENTRANCE_CLOSED, "reason", "untrusted_proxy"),
        Counter::BadProxyHeader => Place::among(&ENTRANCE_CLOSED, "reason", "bad_proxy_header"),
        Counter::EntranceTimedOut => Place::among(&ENTRANCE_CLOSED, "reason", "timeout"),
        Counter::EntranceEvicted => Place::among(&ENTRANCE_CLOSED, "reason", "evicted"),
        Counter::EntranceCrowded => Place::among(&ENTRANCE_CLOSED, "reason", "crowded"),
        Counter::EntranceGone => Place::among(&ENTRANCE_CLOSED, "reason", "gone"),
        Counter::EntranceDrained => Place::among(&ENTRANCE_CLOSED, "reason", "drained"),
        Counter::EntranceFailed => Place::among(&ENTRANCE_CLOSED, "reason", "failed"),
        Counter::TlsFull => Place::among(&TLS_HANDSHAKES, "outcome", "full"),
        Counter::TlsResumed => Place::among(&TLS_HANDSHAKES, "outcome", "resumed"),
        Counter::TlsPlaintext => Place::among(&TLS_HANDSHAKES, "outcome", "plaintext"),
        Counter::TlsNoCertificate => Place::among(&TLS_HANDSHAKES, "outcome", "no_certificate"),
        Counter::TlsExpired => Place::among(&TLS_HANDSHAKES, "outcome", "certificate_expired"),
        Counter::TlsRevoked => Place::among(&TLS_HANDSHAKES, "outcome", "certificate_revoked"),
        Counter::TlsUntrusted => Place::among(&TLS_HANDSHAKES, "outcome", "untrusted"),
        Counter::TlsIncompatible => Place::among(&TLS_HANDSHAKES, "outcome", "incompatible"),
        Counter::TlsRefused => Place::among(&TLS_HANDSHAKES, "outcome", "refused_us"),
        Counter::TlsBroken => Place::among(&TLS_HANDSHAKES, "outcome", "broken"),
        Counter::Tls13 => Place::among(&TLS_VERSIONS, "version", "1.3"),
        Counter::Tls12 => Place::among(&TLS_VERSIONS, "version", "1.2"),
        Counter::Welcomed => Place::alone(&WELCOMED),
        Counter::HellosFailed => Place::among(&HELLOS_REFUSED, "cause", "unknown"),
        Counter::HellosThrottled => Place::among(&HELLOS_REFUSED, "cause", "throttled"),
        Counter::FailuresForgotten => Place::alone(&FAILURES_FORGOTTEN),
        Counter::Forbidden => Place::alone(&REQUESTS_FORBIDDEN),
        Counter::UsersRemoved => Place::alone(&USERS_REMOVED),
        Counter::BytesIn => Place::alone(&RECEIVED_BYTES),
        Counter::BytesOut => Place::alone(&SENT_BYTES),
        Counter::BytesLingered => Place::alone(&LINGERED_BYTES),
        Counter::FramesIn => Place::alone(&FRAMES_RECEIVED),
        Counter::FramesOut => Place::alone(&FRAMES_SENT),
        Counter::Started => Place::alone(&REQUESTS_STARTED),
        Counter::RequestsDropped => Place::alone(&REQUESTS_UNSTARTED),
        Counter::RepliesUnsent => Place::alone(&REPLIES_UNSENT),
        Counter::LateAnswers => Place::alone(&LATE_ANSWERS),
        Counter::Unheard => Place::alone(&REFUSALS_UNHEARD),
        Counter::Undeliverable => Place::alone(&UNDELIVERABLE),
        Counter::EffectsRefused => Place::alone(&EFFECTS_REFUSED),
        Counter::PublishesLost => Place::alone(&PUBLISHES_LOST),
        Counter::PausedOutput => Place::among(&PAUSES, "pause", "output"),
        Counter::PausedMemory => Place::among(&PAUSES, "pause", "memory"),
        Counter::PausedSlots => Place::among(&PAUSES, "pause", "slots"),
        Counter::PausedRate => Place::among(&PAUSES, "pause", "rate"),
        Counter::RefusedRate => Place::alone(&REQUESTS_OVER_RATE),
        Counter::DeliveriesDropped => Place::alone(&DELIVERIES_DROPPED),
        Counter::Heartbeats => Place::alone(&HEARTBEATS_SENT),
        Counter::HeartbeatsAnswered => Place::alone(&HEARTBEATS_ANSWERED),
        Counter::UnaskedPongs => Place::alone(&UNASKED_PONGS),
        // With the reason: connections closed for memory.
        Counter::Evicted => None,
        Counter::StaleEvents => Place::alone(&STALE_EVENTS),
        // By route.
        Counter::Stalls => None,
        Counter::SlowTurns => Place::alone(&SLOW_TURNS),
        Counter::Panics => Place::alone(&PANICS),
        Counter::Spans => Place::alone(&SPANS_RECORDED),
        Counter::SpansOverRate => Place::among(&SPANS_DROPPED, "cause", "rate"),
        Counter::SpansOverOpen => Place::among(&SPANS_DROPPED, "cause", "open"),
        Counter::SpansOverRing => Place::among(&SPANS_DROPPED, "cause", "ring"),
        Counter::Turns => Place::alone(&TURNS),
    }
}

/// Where a gauge goes. `None`: others add up to it.
pub(super) const fn of_gauge(gauge: Gauge) -> Option<Place> {
    match gauge {
        // All states together.
        Gauge::Open => None,
        Gauge::Entering => Place::alone(&ENTRANCE_WAITING),
        Gauge::Connecting => Place::among(&CONNECTIONS, "state", "connecting"),
        Gauge::Serving => Place::among(&CONNECTIONS, "state", "serving"),
        Gauge::Draining => Place::among(&CONNECTIONS, "state", "draining"),
        Gauge::Answering => Place::among(&CONNECTIONS, "state", "answering"),
        Gauge::Flushing => Place::among(&CONNECTIONS, "state", "flushing"),
        Gauge::Lingering => Place::among(&CONNECTIONS, "state", "lingering"),
        Gauge::WaitingForOutput => Place::among(&CONNECTIONS_PAUSED, "pause", "output"),
        Gauge::WaitingForMemory => Place::among(&CONNECTIONS_PAUSED, "pause", "memory"),
        Gauge::WaitingForSlots => Place::among(&CONNECTIONS_PAUSED, "pause", "slots"),
        Gauge::WaitingForRate => Place::among(&CONNECTIONS_PAUSED, "pause", "rate"),
        Gauge::InFlight => Place::alone(&REQUESTS_IN_FLIGHT),
        Gauge::InputBytes => Place::among(&BUFFER_BYTES, "part", "input"),
        Gauge::OutputBytes => Place::among(&BUFFER_BYTES, "part", "output"),
        Gauge::ReserveBytes => Place::among(&BUFFER_BYTES, "part", "reserve"),
        Gauge::Hot => Place::among(&QUEUE_LENGTH, "queue", "hot"),
        Gauge::Laters => Place::among(&QUEUE_LENGTH, "queue", "laters"),
    }
}

/// Where times go.
pub(super) const fn of_timing(timing: Timing) -> &'static Family {
    match timing {
        Timing::Turn => &TURN_DURATION,
        Timing::Ready => &READY_DELAY,
        Timing::RoundTrip => &ROUND_TRIP,
    }
}

/// The class of error that an end was. `None`: it was in order.
pub(super) const fn error_of(why: CloseReason) -> Option<Fault> {
    if why.is_in_order() { None } else { Some(why.fault()) }
}

/// Newcomers that got no connection, and whose fault that was.
pub(super) const REFUSALS: [(Counter, Fault); 20] = [
    (Counter::RefusedFull, Fault::Temporary),
    (Counter::RefusedListener, Fault::Temporary),
    (Counter::RefusedAddress, Fault::Temporary),
    (Counter::AcceptAborted, Fault::Temporary),
    (Counter::RefusedDescriptors, Fault::System),
    (Counter::AcceptFailed, Fault::System),
    (Counter::UntrustedProxy, Fault::Protocol),
    (Counter::BadProxyHeader, Fault::Protocol),
    (Counter::TlsPlaintext, Fault::Protocol),
    (Counter::TlsNoCertificate, Fault::Protocol),
    (Counter::TlsExpired, Fault::Protocol),
    (Counter::TlsRevoked, Fault::Protocol),
    (Counter::TlsUntrusted, Fault::Protocol),
    (Counter::TlsIncompatible, Fault::Protocol),
    (Counter::TlsRefused, Fault::Protocol),
    (Counter::TlsBroken, Fault::Protocol),
    (Counter::EntranceTimedOut, Fault::Protocol),
    (Counter::EntranceCrowded, Fault::Protocol),
    (Counter::EntranceEvicted, Fault::System),
    (Counter::EntranceFailed, Fault::System),
];

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Counter, measure: Measure::Count, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, measure: Measure::Count, help }
}

const fn histogram(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Histogram, measure: Measure::Seconds, help }
}

impl Family {
    const fn bytes(self) -> Family {
        Family { measure: Measure::Bytes, ..self }
    }

    const fn seconds(self) -> Family {
        Family { measure: Measure::Seconds, ..self }
    }
}

macro_rules! families {
    ($($const:ident = $family:expr;)+) => { $(pub(super) static $const: Family = $family;)+ };
}

families! {
    BUILD = Family {
        name: "tidegate_build",
        kind: Kind::Info,
        measure: Measure::Count,
        help: "Which tidegate this is; always 1. The commit is what TIDEGATE_COMMIT was when it was built.",
    };
    UPTIME = gauge("tidegate_uptime", "How long the server has been running.").seconds();
    DRAINING = gauge("tidegate_draining", "1 while the server drains: no newcomers, and it ends within its grace. Else 0.");
    SHARD_DEAD = gauge("tidegate_shard_dead",
        "1 if this event loop died, with its connections: a bug of the server, which drains and ends with exit code 70.");
    SNAPSHOT_TORN = gauge("tidegate_shard_snapshot_torn",
        "1 if this loop never held still while its figures were copied: then identities between them may not hold in this \
         scrape. With a tidegate_turn_running_seconds above 1 the loop is stuck.");

    CONFIG_GENERATION = gauge("tidegate_config_generation",
        "How many changes the running server has taken; 0: it goes by what it was started with.");
    CONFIG_AGE = gauge("tidegate_config_age", "How long the server has been going by the configuration of now.").seconds();
    CONFIG_RELOADS = counter("tidegate_config_reloads",
        "Times that the configuration was read anew: applied, refused (it was wrong, the old one holds; the log says why), \
         unchanged.");

    CONNECTIONS = gauge("tidegate_connections", "Connections by where they stand: serving is the usual place.");
    CONNECTIONS_PAUSED = gauge("tidegate_connections_paused",
        "Connections that are not read now: output (the peer does not take its replies), memory (buffers are short), slots \
         (as many of its requests are open as may be), rate (it sent more than its rate allows).");
    CONNECTIONS_USED = gauge("tidegate_connections_used",
        "Connections that count against tidegate_connections_limit, those included that are still being placed.");
    CONNECTIONS_LIMIT = gauge("tidegate_connections_limit",
        "The most connections at once; newcomers beyond it are refused with cause full.");
    ADDRESSES = gauge("tidegate_addresses",
        "From how many addresses connections come; networks of IPv6 count as one each, unix sockets not at all.");
    ADDRESS_LIMIT = gauge("tidegate_address_connections_limit",
        "The most connections of one address; newcomers beyond it are refused with cause address.");
    LISTENER_LIMIT = gauge("tidegate_listener_connections_limit",
        "The most connections of each listener; newcomers beyond it are refused, with cause listener if that is its own limit.");
    DIALED_LIMIT = gauge("tidegate_dialed_connections_limit",
        "The most connections that services may have dialed at once, on all loops together.");
    OPEN_REQUESTS_LIMIT = gauge("tidegate_open_requests_limit",
        "The most requests that one connection may have open. Then it is not read, with pause slots.");
    ACCEPTED = counter("tidegate_connections_accepted", "Connections taken in, by the loop that serves them.");
    HANDED_OFF = counter("tidegate_connections_handed_off",
        "Connections that this loop accepted and gave to one with fewer, which counts them as accepted.");
    DIALED = counter("tidegate_connections_dialed", "Connections that a service dialed.");
    REFUSED = counter("tidegate_connections_refused",
        "Newcomers told OVERLOADED and closed: full (raise limits.max_connections), listener (the listener's own \
         max_connections), address (limits.per_address; one peer may be many behind a proxy), descriptors (raise the \
         descriptor limit).");
    ACCEPTS_PACED = counter("tidegate_accepts_paced",
        "Times that a loop let newcomers wait in the kernel's queue because they came faster than limits.accept_rate.");
    ACCEPT_FAILURES = counter("tidegate_accept_failures",
        "Accepts that gave no connection: exhausted (no descriptors or memory, accepting pauses), aborted (the peer was gone \
         already), failed (anything else, see the log).");
    ENTRANCE_WAITING = gauge("tidegate_entrance_waiting",
        "Newcomers that have not brought yet what their listener wants before the first message (a PROXY header). They have a \
         seat (tidegate_connections_used), and are not among tidegate_connections. At most 4096 for each loop.");
    ENTRANCE_ENTERED = counter("tidegate_entrance_entered", "Newcomers that brought it, and became connections.");
    ENTRANCE_CLOSED = counter("tidegate_entrance_closed",
        "Newcomers that were closed before: untrusted_proxy (in none of the listener's trusted networks), bad_proxy_header, \
         timeout, evicted (the oldest, when there was no room), crowded (too many of one address), gone (by themselves), \
         drained, failed.");
    TLS_HANDSHAKES = counter("tidegate_tls_handshakes",
        "Handshakes by how they ended: full and resumed came through; plaintext spoke plainly; no_certificate, \
         certificate_expired, certificate_revoked and untrusted are clients' certificates; incompatible has no version or \
         cipher in common; refused_us does not want our certificate; broken is no TLS.");
    TLS_EXPIRES = gauge("tidegate_tls_certificate_expires_in",
        "How long the certificate of each listener with TLS is good for; less than 0 for one that has expired.").seconds();
    TLS_RELOADS = counter("tidegate_tls_reloads",
        "Times that certificates were read again: done, or refused, and then the old ones stayed.");
    TLS_VERSIONS = counter("tidegate_tls_connections", "Connections with TLS by its version.");
    CLOSED = counter("tidegate_connections_closed",
        "Connections that ended, each under the one reason that was seen first, with the class of who has to move.");
    ERRORS = counter("tidegate_errors",
        "Connections that ended or were refused other than in order, by who has to move: temporary (it passes), protocol \
         (the peer broke the contract), system (this host is in trouble).");
    LISTENER_CONNECTIONS = gauge("tidegate_listener_connections",
        "Connections of each listener, and of all that were dialed.");
    LISTENER_ACCEPTED = counter("tidegate_listener_accepted", "Connections taken in by each listener.");
    WELCOMED = counter("tidegate_hellos_welcomed", "Peers that were welcomed after a HELLO.");
    HELLOS_REFUSED = counter("tidegate_hellos_refused",
        "HELLOs on listeners with users that were refused: unknown (no user has that token or certificate), throttled (too \
         many from that address had failed, so it was not looked at).");
    FAILURES_FORGOTTEN = counter("tidegate_hello_failures_forgotten",
        "Addresses whose failed HELLOs are counted no more, because others needed their places. A rate of these means guesses \
         from thousands of addresses.");
    REQUESTS_FORBIDDEN = counter("tidegate_requests_forbidden",
        "Requests answered FORBIDDEN, since their user may not use the route. They are among those that failed.");
    USERS_REMOVED = counter("tidegate_users_removed",
        "Connections ended because their user, its token or its certificate is not known any more.");

    RECEIVED_BYTES = counter("tidegate_received", "Bytes read from sockets.").bytes();
    SENT_BYTES = counter("tidegate_sent", "Bytes that sockets took.").bytes();
    LINGERED_BYTES = counter("tidegate_lingered",
        "Bytes read and thrown away after the server had ended a connection.").bytes();
    FRAMES_RECEIVED = counter("tidegate_frames_received", "Whole, valid messages: requests and control frames.");
    FRAMES_SENT = counter("tidegate_frames_sent",
        "Whole messages made: replies, control frames, and what services send.");

    REQUESTS_STARTED = counter("tidegate_requests_started",
        "Requests handed to the service. Always the sum of those ended and those in flight, of each loop in each scrape.");
    REQUESTS_ENDED = counter("tidegate_requests_ended",
        "Requests that ended, each in exactly one way: answered and silent are good; failed was refused with a status; \
         panicked, dropped and timed_out are the service's; abandoned lost its connection.");
    REQUESTS_IN_FLIGHT = gauge("tidegate_requests_in_flight", "Requests started and not ended.");
    REQUESTS_UNSTARTED = counter("tidegate_requests_unstarted",
        "Whole requests that were read and never started, because their connection was forced to end.");
    REPLIES_UNSENT = counter("tidegate_replies_unsent",
        "Replies that were due when the server ended their connection, and that the peer had not taken (at most so many).");
    LATE_ANSWERS = counter("tidegate_late_answers",
        "Answers to deferred requests that were over already: past their deadline, or without their connection.");
    REQUESTS_OVER_RATE = counter("tidegate_requests_over_rate",
        "Requests answered OVERLOADED because their connection, or its address, sent more than its rate allows. They are \
         among those that failed.");
    DELIVERIES_DROPPED = counter("tidegate_deliveries_dropped",
        "Messages for a connection that were dropped because others sent it more than limits.deliveries_per_second.");
    REFUSALS_UNHEARD = counter("tidegate_refusals_unheard",
        "Refusals that their senders had no way to hear: of one-way requests, and of control frames without a correlation.");
    UNDELIVERABLE = counter("tidegate_undeliverable",
        "Messages for a connection that was gone, or that could not take them.");
    EFFECTS_REFUSED = counter("tidegate_effects_refused",
        "Sends, publications, dials and timers that a service asked for and that did not fit their list.");
    PUBLISHES_LOST = counter("tidegate_publishes_lost",
        "Publications that another loop did not get, because its mailbox was full.");

    PAUSES = counter("tidegate_pauses",
        "Times that reading a connection was paused. Some for output are usual where peers ask for more than they read; \
         any for memory means that buffers are at their limit; those for rate are what the rates are for.");
    HEARTBEATS_SENT = counter("tidegate_heartbeats_sent", "Heartbeats sent to peers that said HELLO and then nothing.");
    HEARTBEATS_ANSWERED = counter("tidegate_heartbeats_answered", "Heartbeats that were answered.");
    UNASKED_PONGS = counter("tidegate_unasked_pongs", "PONG frames that answered nothing.");
    STALE_EVENTS = counter("tidegate_stale_events",
        "Events for connections that were gone already. Harmless.");

    QUEUE_LENGTH = gauge("tidegate_queue_length",
        "What waits for a loop: commands and answers from other threads, connections with more to do (hot); and rights to \
         answer deferred requests that are given away (laters).");
    QUEUE_LIMIT = gauge("tidegate_queue_limit",
        "The most that may wait; what comes then is refused. For hot it is connections_limit and those dialed.");
    BUFFER_BYTES = gauge("tidegate_buffer",
        "Memory leased for partial input, for output that waits, and from the reserve for small needs.").bytes();
    BUFFER_LIMIT = gauge("tidegate_buffer_limit",
        "The most that may be leased. At the limit connections are paused, and after 100 ms ended, with reason memory.").bytes();
    JOBS_WAITING = gauge("tidegate_jobs_waiting", "Offloaded jobs that wait for a worker.");
    JOBS_WAITING_LIMIT = gauge("tidegate_jobs_waiting_limit",
        "The most that may wait; a job more is refused with OVERLOADED. 0 without workers.");
    JOBS_RUNNING = gauge("tidegate_jobs_running", "Offloaded jobs that are being run.");
    WORKERS = gauge("tidegate_workers", "Threads for offloaded jobs.");
    JOBS = counter("tidegate_jobs",
        "Offloaded jobs: run (panicked ones are among them), expired (not started, their deadline had passed), refused (too \
         many waited), panicked.");

    SPANS_RECORDED = counter("tidegate_spans_recorded", "Requests recorded as spans of distributed traces.");
    SPANS_DROPPED = counter("tidegate_spans_dropped",
        "Requests that were to be recorded and have no span: rate (there were more than trace.spans_per_second), open (too many \
         deferred ones at once), ring (the exporter did not come by in time).");
    SPANS_EXPORTED = counter("tidegate_spans_exported", "Spans that the collector has.");
    SPANS_UNEXPORTED = counter("tidegate_spans_unexported",
        "Spans that the collector does not have: overflowed (too many waited for it), refused (it did not want them), lost (it \
         could not be reached or took none, often enough).");
    SPANS_WAITING = gauge("tidegate_spans_waiting", "Spans that wait to be sent to the collector.");
    TRACE_EXPORTS = counter("tidegate_trace_exports",
        "Requests to the collector: done, retried (they failed and were to be made again), failed (for good; see the log).");

    TURNS = counter("tidegate_turns", "Turns of the loop.");
    BUSY = counter("tidegate_shard_busy",
        "Time that the loop spent in turns. Its rate is the loop's use: near 1 it is the bottleneck.").seconds();
    TURN_RUNNING = gauge("tidegate_turn_running",
        "How long the turn has been running that runs now, 0 if the loop waits. Above 1 s the loop is stuck; the log names \
         the connection.").seconds();
    TURN_DURATION = histogram("tidegate_turn_duration",
        "How long turns of the loops took: what comes meanwhile waits so long.");
    READY_DELAY = histogram("tidegate_ready_delay",
        "From the moment that the poller named a connection until the loop came to it: what the others cost it.");
    ROUND_TRIP = histogram("tidegate_round_trip", "From a heartbeat to its answer.");
    HANDLER_DURATION = histogram("tidegate_handler_duration",
        "How long handlers took, by what answers and its routes. One request in 64 is measured, and each that is recorded as a span.");
    STALLS = counter("tidegate_stalls",
        "Batches of one connection that held up their loop for longer than the stall limit, by what answered them. The log \
         names the connection.");
    SLOW_TURNS = counter("tidegate_slow_turns",
        "Turns longer than the stall limit though no batch of them was: too much to do, or too little processor.");
    PANICS = counter("tidegate_panics", "Panics of handlers that were caught. Each cost its request an INTERNAL; see the log.");
    SHARD_CPU = counter("tidegate_shard_cpu", "Processor time of the loop's thread (Linux).").seconds();
    SHARD_WAIT = counter("tidegate_shard_runqueue_wait",
        "Time that the loop's thread was ready and had no processor (Linux). A rate above 0.1 means that the host is too \
         small or too busy.").seconds();

    SCRAPES = counter("tidegate_scrapes", "Answers given to GET /metrics before this one.");
    SCRAPE_TIME = counter("tidegate_scrape", "Time that making the text of earlier scrapes took.").seconds();

    PROCESS_CPU = counter("process_cpu", "Processor time of the process, user and system.").seconds();
    PROCESS_START = gauge("process_start_time", "When the process started, since the Unix epoch (Linux).").seconds();
    PROCESS_RESIDENT = gauge("process_resident_memory", "Memory of the process that is in RAM (Linux).").bytes();
    PROCESS_VIRTUAL = gauge("process_virtual_memory", "Address space of the process (Linux).").bytes();
    PROCESS_OPEN_FDS = gauge("process_open_fds", "Descriptors in use (Linux). Near process_max_fds newcomers are refused.");
    PROCESS_MAX_FDS = gauge("process_max_fds", "The most descriptors that the process may have, unless that is unlimited.");
}
