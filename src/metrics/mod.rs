//! What a loop counts, and how others read it without a lock.
//!
//! Every figure has one writer, the loop it belongs to, which adds with a plain load and store: no locked
//! instruction, no shared cache line. A sequence is odd while a turn runs; a reader that sees the same even
//! sequence before and after holds figures of one moment, so identities between them can be checked.
//!
//! Always holds: counters only grow; a gauge is either set each turn, or rises and falls with what it counts. What has
//! labels in the end (listeners, routes) has a number here. Never: text, a clock.

mod histogram;
mod snapshot;

pub use histogram::{BUCKETS, Durations, bucket_of};
pub use snapshot::{ListenerFigures, Snapshot, TurnInHand};

use crate::base::{CloseReason, Time, Token};
use histogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::Release, fence};

macro_rules! figures {
    ($(#[$doc:meta])* $kind:ident { $($(#[$vdoc:meta])* $variant:ident => $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum $kind { $($(#[$vdoc])* $variant),+ }

        impl $kind {
            /// All of them, in order.
            pub const ALL: &'static [$kind] = &[$($kind::$variant),+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();
            /// The name used in logs and metrics.
            pub const fn name(self) -> &'static str {
                match self { $($kind::$variant => $name),+ }
            }
        }
    };
}

figures! {
    /// What is counted: each only grows.
    Counter {
        /// Connections taken into the table.
        Accepted => "accepted",
        /// Connections told OVERLOADED and closed because the table was full.
        RefusedFull => "refused_full",
        /// Connections told OVERLOADED and closed because their listener had as many as it may.
        RefusedListener => "refused_listener",
        /// Connections told OVERLOADED and closed because their address had as many as it may.
        RefusedAddress => "refused_address",
        /// Connections told OVERLOADED and closed because descriptors had run out.
        RefusedDescriptors => "refused_descriptors",
        /// Times that accepting stopped because descriptors or memory had run out.
        AcceptExhausted => "accept_exhausted",
        /// Connections that were gone before they could be accepted.
        AcceptAborted => "accept_aborted",
        /// Accepts and registrations that failed in a way that has no name here.
        AcceptFailed => "accept_failed",
        /// Times that accepting waited because newcomers came faster than the accept rate.
        AcceptsPaced => "accepts_paced",
        /// Newcomers that brought what their listener wants before the first message.
        Entered => "entered",
        /// Newcomers closed because the listener does not trust them to say whose connections they pass on.
        UntrustedProxy => "untrusted_proxy",
        /// Newcomers closed because their first bytes were no PROXY header.
        BadProxyHeader => "bad_proxy_header",
        /// Newcomers closed because they were not through the entrance in time.
        EntranceTimedOut => "entrance_timeout",
        /// Newcomers closed to make room at the entrance.
        EntranceEvicted => "entrance_evicted",
        /// Newcomers closed because their source had too many at the entrance.
        EntranceCrowded => "entrance_crowded",
        /// Newcomers that left before they were through.
        EntranceGone => "entrance_gone",
        /// Newcomers closed because a drain began.
        EntranceDrained => "entrance_drained",
        /// Newcomers whose socket failed at the entrance.
        EntranceFailed => "entrance_failed",
        /// Handshakes of TLS that were whole.
        TlsFull => "tls_full",
        /// Handshakes of TLS that resumed an earlier one.
        TlsResumed => "tls_resumed",
        /// Connections with TLS 1.3.
        Tls13 => "tls_1_3",
        /// Connections with TLS 1.2.
        Tls12 => "tls_1_2",
        /// Newcomers closed because they spoke plainly to a listener with TLS.
        TlsPlaintext => "tls_plaintext",
        /// Newcomers closed because they brought no certificate.
        TlsNoCertificate => "tls_no_certificate",
        /// Newcomers closed because their certificate has expired.
        TlsExpired => "tls_certificate_expired",
        /// Newcomers closed because their certificate was revoked.
        TlsRevoked => "tls_certificate_revoked",
        /// Newcomers closed because nobody whom the listener trusts has signed their certificate.
        TlsUntrusted => "tls_untrusted",
        /// Newcomers closed because they have no version or cipher in common with the listener.
        TlsIncompatible => "tls_incompatible",
        /// Newcomers that ended the handshake by an alert: mostly since they don't trust the listener's certificate.
        TlsRefused => "tls_refused_us",
        /// Newcomers closed because what they sent is no TLS behind its first byte.
        TlsBroken => "tls_broken_handshake",
        /// Bytes read from sockets.
        BytesIn => "bytes_in",
        /// Bytes that sockets took.
        BytesOut => "bytes_out",
        /// Whole, valid messages: requests and control frames.
        FramesIn => "frames_in",
        /// Whole messages made: replies, control frames, and what services send.
        FramesOut => "frames_out",
        /// Requests handed to the service.
        Started => "started",
        /// Bytes read and thrown away while lingering.
        BytesLingered => "bytes_lingered",
        /// Heartbeats sent to peers that said HELLO.
        Heartbeats => "heartbeats",
        /// Heartbeats that were answered; [`Timing::RoundTrip`] has their times.
        HeartbeatsAnswered => "heartbeats_answered",
        /// Peers that were welcomed after a HELLO.
        Welcomed => "welcomed",
        /// HELLOs whose sender is no user.
        HellosFailed => "hellos_failed",
        /// HELLOs that were not looked at, since too many from their address had failed.
        HellosThrottled => "hellos_throttled",
        /// Addresses whose failed HELLOs are counted no more, because others needed their places.
        FailuresForgotten => "failures_forgotten",
        /// Requests that their user may not make.
        Forbidden => "forbidden",
        /// Connections that were ended because their user is one no more.
        UsersRemoved => "users_removed",
        /// Refusals that their senders did not want to hear: of one-way requests, and of control frames without a
        /// correlation.
        Unheard => "unheard",
        /// Answers to deferred requests that were over.
        LateAnswers => "late_answers",
        /// Connections dialed.
        Dialed => "dialed",
        /// Things to be sent to a connection that was not, or was no longer, one that could have them.
        Undeliverable => "undeliverable",
        /// Effects that a callback wanted and that did not fit their list.
        EffectsRefused => "effects_refused",
        /// Times that another loop's mailbox was too full for something published.
        PublishesLost => "publishes_lost",
        /// Times that a connection's reading was paused because too many of its requests were open.
        PausedSlots => "paused_slots",
        /// PONG frames: answers to nothing that we asked.
        UnaskedPongs => "unasked_pongs",
        /// Replies that were due, and that the socket had not wholly taken when we ended the connection (an upper
        /// bound); those to deferred requests that were not answered yet are among them.
        RepliesUnsent => "replies_unsent",
        /// Whole requests that were read and not started when their connection was forced to end.
        RequestsDropped => "requests_dropped",
        /// Times that a connection's reading was paused because its output waited.
        PausedOutput => "paused_output",
        /// Times that a connection's reading was paused because buffers were short.
        PausedMemory => "paused_memory",
        /// Times that a connection's reading was paused because it, or its address, sent more than the rate allows.
        PausedRate => "paused_rate",
        /// Requests answered OVERLOADED because their connection, or its address, sent more than the rate allows.
        RefusedRate => "refused_rate",
        /// Messages for a connection that were dropped because others sent it more than the rate allows.
        DeliveriesDropped => "deliveries_dropped",
        /// Connections ended to free their buffers.
        Evicted => "evicted",
        /// Events for connections that were already gone.
        StaleEvents => "stale_events",
        /// Connections that were accepted here and handed to another loop, which counts them as accepted.
        HandedOff => "handed_off",
        /// Batches that held up the loop for longer than the stall limit.
        Stalls => "stalls",
        /// Turns that took longer than the stall limit though no batch of them did.
        SlowTurns => "slow_turns",
        /// Panics caught in the service.
        Panics => "panics",
        /// Requests recorded as spans of traces.
        Spans => "spans",
        /// Requests that were to be recorded and were not, because as many were as may be in a second.
        SpansOverRate => "spans_over_rate",
        /// Deferred requests that were recorded, and dropped because too many such were open.
        SpansOverOpen => "spans_over_open",
        /// Spans dropped because nobody had taken those before them.
        SpansOverRing => "spans_over_ring",
        /// Turns of the loop.
        Turns => "turns",
    }
}

figures! {
    /// How a request ended. Every started request ends in exactly one of these.
    Outcome {
        /// The service sent a reply.
        Answered => "answered",
        /// The service refused it with a status.
        Failed => "failed",
        /// The service wanted no reply on this route.
        Silent => "silent",
        /// The service panicked; the requester was told INTERNAL.
        Panicked => "panicked",
        /// It was deferred, and the right to answer was dropped; the requester was told INTERNAL.
        Dropped => "dropped",
        /// It was deferred, and its answer was not there in time; the requester was told OUTCOME_UNKNOWN.
        TimedOut => "timed_out",
        /// Its connection ended before it was answered.
        Abandoned => "abandoned",
    }
}

figures! {
    /// What is so at the moment.
    Gauge {
        /// Connections in the table.
        Open => "open",
        /// Newcomers at the entrance: accepted, and not in the table yet.
        Entering => "entering",
        /// Bytes of the budget leased for input.
        InputBytes => "input_bytes",
        /// Bytes of the budget leased for output.
        OutputBytes => "output_bytes",
        /// Bytes of the budget's reserve in use.
        ReserveBytes => "reserve_bytes",
        /// Requests started and not ended.
        InFlight => "in_flight",
        /// Connections that wait for their next turn without an event.
        Hot => "hot",
        /// Rights to answer deferred requests that are given away.
        Laters => "laters",
        /// Connections that are being dialed.
        Connecting => "connecting",
        /// Connections that are read and answered.
        Serving => "serving",
        /// Connections whose last messages are taken, because the server drains.
        Draining => "draining",
        /// Connections that are read no more and wait for answers to open requests.
        Answering => "answering",
        /// Connections whose last bytes are on their way.
        Flushing => "flushing",
        /// Connections whose write side is shut, and that are read until the peer ends.
        Lingering => "lingering",
        /// Connections that are not read because their output waits.
        WaitingForOutput => "waiting_for_output",
        /// Connections that are not read because buffers are short.
        WaitingForMemory => "waiting_for_memory",
        /// Connections that are not read because too many of their requests are open.
        WaitingForSlots => "waiting_for_slots",
        /// Connections that are not read because they, or their address, sent more than the rate allows.
        WaitingForRate => "waiting_for_rate",
    }
}

impl Gauge {
    /// Where a connection may stand. Between two turns they add up to [`Gauge::Open`].
    pub const STATES: [Gauge; 6] = [
        Gauge::Connecting,
        Gauge::Serving,
        Gauge::Draining,
        Gauge::Answering,
        Gauge::Flushing,
        Gauge::Lingering,
    ];
}

figures! {
    /// What is measured by the clock, each time in microseconds.
    Timing {
        /// A turn, from the poller's return to the end of its last visit. What is left of the time the loop waited.
        Turn => "turn",
        /// From the poller's return until a connection that it named is visited.
        Ready => "ready",
        /// From a heartbeat to its answer.
        RoundTrip => "round_trip",
    }
}

/// The figures of one loop. Aligned so that two loops never share a cache line or its prefetched neighbour.
#[derive(Debug)]
#[repr(align(128))]
pub struct ShardMetrics {
    sequence: AtomicU64,
    counters: [AtomicU64; Counter::COUNT],
    outcomes: [AtomicU64; Outcome::COUNT],
    closes: [AtomicU64; CloseReason::COUNT],
    gauges: [AtomicU64; Gauge::COUNT],
    timings: [Histogram; Timing::COUNT],
    /// One microsecond more than the turn's beginning while a turn runs, else 0.
    busy_since: AtomicU64,
    /// The connection that was visited last, as bits.
    visiting: AtomicU64,
    /// By listener, and behind them the connections that were dialed.
    listeners: Box<[PerListener]>,
    /// How long handlers took, by route label, and behind them all other routes.
    handlers: Box<[Histogram]>,
    /// Stalls by route label, behind them those of all other routes, and of batches that had several.
    stalls: Box<[AtomicU64]>,
}

/// Whose routes the requests of a batch had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// One label's, or such as have no label.
    Label(Option<usize>),
    /// Those of several, or none.
    Mixed,
}

#[derive(Debug, Default)]
struct PerListener {
    accepted: AtomicU64,
    open: AtomicU64,
}

impl ShardMetrics {
    fn new(listeners: usize, routes: usize) -> ShardMetrics {
        ShardMetrics {
            sequence: AtomicU64::new(0),
            timings: std::array::from_fn(|_| Histogram::default()),
            busy_since: AtomicU64::new(0),
            visiting: AtomicU64::new(0),
            listeners: (0..=listeners).map(|_| PerListener::default()).collect(),
            handlers: (0..=routes).map(|_| Histogram::default()).collect(),
            stalls: (0..routes + 2).map(|_| AtomicU64::new(0)).collect(),
            counters: [const { AtomicU64::new(0) }; Counter::COUNT],
            outcomes: [const { AtomicU64::new(0) }; Outcome::COUNT],
            closes: [const { AtomicU64::new(0) }; CloseReason::COUNT],
            gauges: [const { AtomicU64::new(0) }; Gauge::COUNT],
        }
    }
}

/// The one writer of a [`ShardMetrics`].
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<ShardMetrics>,
    in_turn: bool,
}

impl Recorder {
    /// A writer, with figures at zero: for so many listeners, and so many labels of routes.
    pub fn new(listeners: usize, routes: usize) -> Recorder {
        Recorder { shared: Arc::new(ShardMetrics::new(listeners, routes)), in_turn: false }
    }

    /// Another hand of the same writer, on the same thread: for what is counted beside the turn.
    pub fn beside(shared: Arc<ShardMetrics>) -> Recorder {
        Recorder { shared, in_turn: false }
    }

    /// What readers hold.
    pub fn shared(&self) -> Arc<ShardMetrics> {
        Arc::clone(&self.shared)
    }

    /// A turn begins at the moment `now`: from here on readers wait, until [`Recorder::end_turn`].
    #[inline]
    pub fn begin_turn(&mut self, now: Time) {
        debug_assert!(!self.in_turn, "a turn begins once");
        self.in_turn = true;
        if !IS_METERED {
            return;
        }
        let sequence = self.shared.sequence.load(Relaxed);
        self.shared.sequence.store(sequence + 1, Relaxed);
        fence(Release);
        store(&self.shared.busy_since, now.0 + 1);
        self.add(Counter::Turns, 1);
    }

    /// The figures are of one moment again. The turn took so long.
    #[inline]
    pub fn end_turn(&mut self, took_us: u64) {
        debug_assert!(self.in_turn, "only a turn that began can end");
        self.in_turn = false;
        if !IS_METERED {
            return;
        }
        self.observe(Timing::Turn, took_us);
        store(&self.shared.busy_since, 0);
        let sequence = self.shared.sequence.load(Relaxed);
        self.shared.sequence.store(sequence + 1, Release);
    }

    /// This connection is visited now: whoever finds the turn too long knows whom to ask.
    #[inline]
    pub fn visiting(&self, connection: Token) {
        store(&self.shared.visiting, connection.to_bits());
    }

    /// Adds to a counter.
    #[inline]
    pub fn add(&self, counter: Counter, more: u64) {
        add(&self.shared.counters[counter as usize], more);
    }

    /// Counts requests that ended so.
    #[inline]
    pub fn ended(&self, outcome: Outcome, more: u64) {
        add(&self.shared.outcomes[outcome as usize], more);
    }

    /// Counts a connection that ended so.
    pub fn closed(&self, why: CloseReason) {
        add(&self.shared.closes[why.index()], 1);
    }

    /// Counts something that took so long.
    #[inline]
    pub fn observe(&self, timing: Timing, us: u64) {
        self.shared.timings[timing as usize].observe(us);
    }

    /// Whether anything is counted at all: measuring what is not counted would cost for nothing.
    #[inline]
    pub const fn is_metered(&self) -> bool {
        IS_METERED
    }

    /// Counts a handler of a route with this label, or of another route, that took so long.
    pub fn handled(&self, label: Option<usize>, us: u64) {
        let others = self.shared.handlers.len() - 1;
        self.shared.handlers[label.map_or(others, |label| label.min(others))].observe(us);
    }

    /// Counts a batch that held up the loop.
    pub fn stalled(&self, whose: Whose) {
        self.add(Counter::Stalls, 1);
        let others = self.shared.handlers.len() - 1;
        add(
            &self.shared.stalls[match whose {
                Whose::Label(Some(label)) => label.min(others),
                Whose::Label(None) => others,
                Whose::Mixed => others + 1,
            }],
            1,
        );
    }

    /// A connection of this listener was taken in.
    pub fn opened(&self, listener: usize, is_accepted: bool) {
        add(&self.shared.listeners[listener].accepted, is_accepted.into());
        add(&self.shared.listeners[listener].open, 1);
    }

    /// A connection of this listener is gone.
    pub fn buried(&self, listener: usize) {
        add(&self.shared.listeners[listener].open, u64::MAX);
    }

    /// Sets a gauge.
    #[inline]
    pub fn set(&self, gauge: Gauge, now: u64) {
        store(&self.shared.gauges[gauge as usize], now);
    }

    /// One more, of a gauge that is counted and not set.
    pub fn rise(&self, gauge: Gauge) {
        add(&self.shared.gauges[gauge as usize], 1);
    }

    /// One less.
    pub fn fall(&self, gauge: Gauge) {
        debug_assert!(
            !IS_METERED || self.shared.gauges[gauge as usize].load(Relaxed) > 0,
            "{gauge:?} falls below zero"
        );
        add(&self.shared.gauges[gauge as usize], u64::MAX);
    }
}

/// Built with `--cfg tidegate_unmetered` nothing is counted, so that what counting costs can be measured. Such a server
/// tells nothing of itself, and is of no other use.
const IS_METERED: bool = !cfg!(tidegate_unmetered);

/// One writer, so a load and a store are an addition.
#[inline]
fn add(figure: &AtomicU64, more: u64) {
    if !IS_METERED {
        return;
    }
    figure.store(figure.load(Relaxed).wrapping_add(more), Relaxed);
}

#[inline]
fn store(figure: &AtomicU64, now: u64) {
    if IS_METERED {
        figure.store(now, Relaxed);
    }
}
