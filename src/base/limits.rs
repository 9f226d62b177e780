//! Every bound in one place, each with its unit, its reason and its relation to the others.
//!
//! A limit that a user may change is a default here and a field of the listener or server it belongs to; the rest
//! are constants of the design. The asserts at the end hold the relations at compile time.

mod given;
mod quotas;
mod traces;

pub use given::{Limits, WhenOver};
pub use quotas::*;
pub use traces::*;

use std::time::Duration;

// ---- the wire ---------------------------------------------------------------------------------------------------

/// Largest payload of a frame, in bytes, unless a listener says otherwise. 1 MiB: what fits a core's L2 cache here.
pub const PAYLOAD_BYTES_DEFAULT: u32 = 1 << 20;

/// The largest payload that a listener may be given, in bytes: one frame must stay a small part of any host.
pub const PAYLOAD_BYTES_MAX: u32 = 256 << 20;

/// What an extension block may add to a payload, in bytes: 255 words of 4.
pub const EXTENSION_BYTES_MAX: u32 = 255 * 4;

/// Largest payload of a control frame before the peer was welcomed, in bytes: what a HELLO with a token needs.
pub const CONTROL_BYTES_MAX: u32 = 4 << 10;

/// What a control frame may have more than the listener's payload afterwards, in bytes: a block, a topic or a pattern
/// with its group, and their lengths, around a body of the full size.
pub const CONTROL_EXTRA_BYTES: u32 = 512;

/// Longest topic or pattern, in bytes.
pub const TOPIC_BYTES_MAX: usize = 200;

/// Longest id of a client or a server, in bytes.
pub const ID_BYTES_MAX: usize = 64;

/// Largest opaque payload of PING and PONG, in bytes.
pub const PING_BYTES_MAX: usize = 64;

/// Longest line without its end, in bytes, unless a listener says otherwise.
pub const LINE_BYTES_DEFAULT: u32 = 64 << 10;

/// The longest line that a listener may be given, in bytes: a partial one and what is read next share the scratch.
pub const LINE_BYTES_MAX: u32 = 128 << 10;

// ---- one loop ---------------------------------------------------------------------------------------------------

/// The buffer that every connection of a loop reads into, in bytes, and the most that one visit reads.
///
/// Larger than what a peer has in flight, else its burst is cut and its batching breaks: with 64 KiB, 128 frames of
/// 1 KiB in flight cost 1.37 times as much (see docs/PERFORMANCE.md).
pub const SCRATCH_BYTES: usize = 256 << 10;

/// Frames that one visit handles before the next connection has its turn.
pub const FRAMES_PER_BATCH: u32 = 256;

/// Time that one visit may take before the next connection has its turn, in microseconds.
pub const BATCH_US_MAX: u64 = 200;

/// How many frames pass between two looks at the clock, and at the number of frames, within a batch.
pub const FRAMES_PER_CLOCK_READ: u32 = 32;
const _: () =
    assert!(FRAMES_PER_BATCH.is_multiple_of(FRAMES_PER_CLOCK_READ), "a batch may end only where it looks");

/// A batch longer than this is logged with its connection: it held up every other one. Microseconds.
pub const STALL_US: u64 = 10_000;

/// Replies that refer to input or shared bytes instead of being copied, per batch; more are copied.
pub const PIECES_PER_BATCH: usize = 62;

/// Slices of one vectored write. The kernel takes 1024 (`IOV_MAX`); slices live on the stack.
pub const SLICES_PER_WRITE: usize = 64;

/// From this size on, in bytes, a forwarded part is referred to and not copied: below, a copy is cheaper than a slice.
pub const FORWARD_BYTES_MIN: usize = 16 << 10;

/// Unfinished connections visited in one turn, so that a long hot list can't keep the loop from its poller.
pub const HOT_PER_TURN: usize = 1024;

/// Sockets closed in one turn: each takes some 5 µs, with TLS 10 and more, and whoever resets a thousand connections at once
/// must not hold up the others for so long.
pub const CLOSES_PER_TURN: u32 = 32;

/// Connections accepted from one listener before others have their turn.
pub const ACCEPTS_PER_VISIT: u32 = 16;

/// Connections taken from the accept queue when draining starts: no kernel here queues more.
pub const ACCEPTS_PER_DRAIN: u32 = 65_536;

/// Events taken from the poller at once.
pub const EVENTS_PER_POLL: usize = 1024;

/// Letters of each kind from other threads that are handled in one turn: enough for a wake to pay, few enough for the
/// poller to be asked soon.
pub const LETTERS_PER_TURN: usize = 256;

/// Reads that a draining connection gets before what is still in the kernel counts as not received.
pub const DRAIN_READS: u32 = 64;

/// Times that a call interrupted by a signal is repeated.
pub const INTERRUPTED_RETRIES: u32 = 8;

// ---- the entrance -----------------------------------------------------------------------------------------------

/// Newcomers of one loop that may be at the entrance: between accept and what their listener wants before the first
/// message. One more, and the oldest is closed, so that a flood of silent ones can't shut the door.
pub const LOBBY_MAX: usize = 4096;

/// One source has at most this part of the entrance (one in ...), unless it is a trusted proxy, which speaks for many.
pub const LOBBY_SHARE: usize = 8;

/// How long a newcomer may be at the entrance in all.
pub const ENTRANCE: Duration = Duration::from_secs(5);

/// Looks at PROXY headers in one turn: each is two system calls.
pub const PROXY_STEPS_PER_TURN: u32 = 64;

/// Steps of TLS handshakes in one turn: one with a signature takes some 100 to 1,000 µs, and live connections wait so long.
/// There are as many as take the time that live connections took in the same turn, but at least one.
pub const TLS_STEPS_PER_TURN: u32 = 16;

/// What a step of a handshake reads at most, in bytes: a client's certificates come in two.
pub const HANDSHAKE_BYTES: usize = 8 << 10;

/// Ciphertext that one read of a connection with TLS takes at once, in bytes, by way of a buffer of its loop: four records.
pub const CIPHER_BYTES: usize = 64 << 10;

/// Clients' certificates that are looked at in one turn, when one has expired or a list of revoked ones has changed.
pub const CERTIFICATES_PER_TURN: usize = 1024;

/// The most that a PROXY header of version 2 may have behind its fixed part, in bytes: addresses and what proxies add
/// (names, certificates' names), of which none comes near.
pub const PROXY_BODY_BYTES_MAX: u16 = 4096;

/// Networks that one listener may trust.
pub const TRUSTED_MAX: usize = 64;

// ---- output and memory ------------------------------------------------------------------------------------------

/// Queued output above which a connection is not read, in bytes.
pub const OUTPUT_HIGH_BYTES: u32 = 256 << 10;

/// The most that [`OUTPUT_HIGH_BYTES`] may be set to, in bytes, on a host with memory enough.
pub const OUTPUT_HIGH_BYTES_MAX: u32 = 1 << 30;

/// Queued output below which it is read again, in bytes.
pub const OUTPUT_LOW_BYTES: u32 = 64 << 10;

/// Memory for all buffers of a server, in bytes, unless it is told otherwise.
pub const BUDGET_BYTES_DEFAULT: usize = 256 << 20;

/// The most memory that a server may be given for buffers, in bytes: 1 TiB, more than any host it was tried on has.
pub const BUDGET_BYTES_MAX: u64 = 1 << 40;

/// The smallest budget that one loop can work with, in bytes.
pub const BUDGET_BYTES_MIN: usize = 4 << 20;

/// The smallest buffer that is leased, in bytes; the reserve of the budget is for these alone.
pub const LEASE_BYTES_MIN: usize = 4 << 10;

/// A frame's whole size is leased once this part of it (one in ...) has arrived, never by its declared length alone.
pub const GROW_WHEN_ARRIVED: usize = 8;

/// A partial message up to this size, in bytes, is moved in front of what is read next; a larger one is read into
/// where it lies.
pub const TAIL_BYTES_MOVED: usize = 16 << 10;

/// How long memory may be short, in milliseconds, before connections are ended for it: most bursts pass by themselves.
pub const MEMORY_PATIENCE_MS: u32 = 100;

/// Pause between two looks while memory is short, in milliseconds.
pub const MEMORY_RETRY_MS: u32 = 1;

/// Connections without memory that are tried again in one turn.
pub const STARVED_PER_TURN: usize = 256;

/// Pause between two trims of buffers kept for reuse, in milliseconds.
pub const TRIM_MS: u32 = 1000;

/// Table slots looked at, in one turn under memory pressure, for the connection that holds most for least.
pub const EVICT_SCAN: usize = 4096;

/// Connections per loop at most: what the slot half of a token and the timer links can name.
pub const CONNECTIONS_PER_SHARD_MAX: u32 = (1 << 24) - 1024;

// ---- time -------------------------------------------------------------------------------------------------------

/// The longest deadline, in milliseconds: 24 days, half of what [`Ms`](super::Ms) can tell apart.
pub const DEADLINE_MS_MAX: u32 = 24 * 24 * 3600 * 1000;

/// A frame must be whole this long after its first byte ...
pub const FRAME_DEADLINE_BASE: Duration = Duration::from_secs(10);

/// ... plus the time that its length takes at this rate, in bytes a second.
pub const FRAME_BYTES_PER_SECOND_MIN: u32 = 16 << 10;

/// A peer that takes no byte for this long, while output waits for it, is closed.
pub const WRITE_STALL: Duration = Duration::from_secs(30);

/// How long an ending connection may take for its last bytes, as long as it takes some at all.
pub const FLUSH_GRACE: Duration = Duration::from_secs(300);

/// How long a connection is read after its write side was shut ...
pub const LINGER: Duration = Duration::from_secs(2);

/// ... and how many bytes of that are thrown away: a close with unread input makes the kernel send a reset, which
/// destroys replies in flight (RFC 9293 3.6.1, RFC 1122 4.2.2.13).
pub const LINGER_BYTES_MAX: u32 = 1 << 20;

/// How long the answer to a deferred request may take; after that its outcome is unknown.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// A peer that said HELLO and then nothing for so long is asked whether it is there; after twice as long it is closed.
/// Less than the five minutes after which home routers forget a connection at the earliest (RFC 5382 allows 2 hours).
pub const HEARTBEAT: Duration = Duration::from_secs(25);

/// How long connecting to another server may take.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Pause between two notices to one peer, in milliseconds.
pub const NOTICE_REPEAT_MS: u32 = 1000;

/// How long a drain may take, unless a server says otherwise.
pub const DRAIN_GRACE: Duration = Duration::from_secs(30);

/// How many clients a second come back after a drain, unless a server says otherwise: a handshake of TLS costs a
/// processor half a millisecond, and the next server has one at least.
pub const RECONNECT_RATE: u32 = 2000;

/// The most that may be asked for.
pub const RECONNECT_RATE_MAX: u32 = 1_000_000;

/// The longest that a client is told to stay away, in milliseconds: beyond that, people call.
pub const RECONNECT_SPREAD_MS_MAX: u32 = 60_000;

/// How long a process that takes over may need until it is ready: its services are made in that time.
pub const UPGRADE_READY_WITHIN: Duration = Duration::from_secs(60);

/// How long one step between two processes of a handover may take: a message, and what the other does at once.
pub const UPGRADE_STEP_WITHIN: Duration = Duration::from_secs(10);

/// The longest message between them, in bytes: every listener of a server, of 4 KiB each.
pub const UPGRADE_LINE_BYTES_MAX: usize = 1 << 20;

/// Connections to a server's upgrade socket at once: the handover itself, who asked for it, and some that are told to wait.
pub const UPGRADE_CONNECTIONS_MAX: usize = 8;

/// First and last pause before accepting is tried again after descriptors ran out, in milliseconds.
pub const ACCEPT_BACKOFF_MS: (u32, u32) = (10, 1000);

/// One log line of a kind in this time, in milliseconds; the rest are counted and told by the next one.
pub const LOG_REPEAT_MS: u32 = 1000;

/// The most that the kernel is asked to buffer for a connection in each direction, in bytes (it books twice that). As
/// much as the largest payload by default, so that such a reply leaves in one write.
pub const SOCKET_BUFFER_BYTES: usize = 1 << 20;

/// The least that the kernel may be asked to buffer in each direction, in bytes: less, it makes more of (tcp(7)).
pub const SOCKET_BUFFER_BYTES_MIN: usize = 4 << 10;

/// The most that it may be asked for, in bytes: setsockopt(2) takes a signed number of 32 bits and doubles it.
pub const SOCKET_BUFFER_BYTES_MAX: usize = 1 << 29;

/// Silence of a peer after which the kernel asks whether it is there.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(180);

/// Pause between two such probes.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// The longest of these two that the kernel takes, in seconds (tcp(7), `MAX_TCP_KEEPIDLE`).
pub const KEEPALIVE_SECONDS_MAX: u64 = 32_767;

/// Unanswered probes after which a connection is reset ...
pub const KEEPALIVE_PROBES: u32 = 3;

/// ... and the most that the kernel takes (tcp(7), `MAX_TCP_KEEPCNT`).
pub const KEEPALIVE_PROBES_MAX: u32 = 127;

/// Commands from other threads that may wait for a loop.
pub const MAILBOX_COMMANDS: usize = 256;

/// Requests of one loop that may be deferred at once: each has a place for its answer in the loop's mailbox.
pub const LATERS_PER_SHARD: usize = 4096;

/// Deferred answers up to this size, in bytes, travel by value instead of on the heap.
pub const INLINE_ANSWER_BYTES: usize = 96;

/// Connections that one loop's service may have dialed at once.
pub const DIALED_PER_SHARD: usize = 1024;

/// Requests of one connection that may be open, and replies that may wait behind them, before it is not read.
pub const OPEN_REQUESTS: u32 = 128;

/// The most that [`OPEN_REQUESTS`] may be set to: what is looked through when a deadline passes.
pub const OPEN_REQUESTS_MAX: u32 = 4096;

/// What may be queued beyond the limit of a connection's output, in bytes, for the short texts of failures.
pub const FAILURE_BYTES_SPARE: u32 = 64 << 10;

/// Effects of callbacks that may wait to be carried out.
pub const EFFECTS_WAITING_MAX: usize = 64 << 10;

/// Bytes that these effects may hold.
pub const EFFECT_BYTES_MAX: usize = 16 << 20;

/// Effects carried out in one go; more wait for the next turn.
pub const EFFECTS_PER_TURN: usize = 64 << 10;

/// Timers that a loop's service may have armed.
pub const TIMERS_PER_SHARD: usize = 64 << 10;

/// Timers of a service that are called in one turn.
pub const TIMERS_PER_TURN: usize = 1024;

/// Newcomers that other loops may have handed to a loop and that it has not taken in yet.
pub const HANDED_PER_SHARD: usize = 1024;

/// Threads for offloaded work at most.
pub const WORKERS_MAX: u16 = 256;

/// The most that a server may say of how many offloaded jobs may wait for a worker.
pub const JOBS_WAITING_MAX: usize = 1 << 20;

/// Slots of a loop's table that an inspection looks at in one turn: about 20 µs of work, a tenth of
/// [`BATCH_US_MAX`], so that it costs traffic less than one more busy connection would.
pub const INSPECTED_PER_TURN: u32 = 1024;

/// Connections of a loop whose deadlines are armed anew in one turn when limits have changed: as few as an inspection looks
/// at, and for the same reason.
pub const REARMED_PER_TURN: u32 = 1024;

/// How long a change waits for loops that are in a turn before it tells which are: as long as a loop may be held up before
/// it counts as stuck. They take it at that turn's end.
pub const CHANGE_WITHIN: Duration = Duration::from_secs(1);

/// How often the files of a configuration are looked at while they are watched. Two looks must be the same before they are
/// read: a second is longer than any editor takes to write one.
pub const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Configurations that listeners may have had since the start, those of the start and of dialed connections among them: a
/// connection names its own in a byte.
pub const LISTENER_FORMS_MAX: usize = 256;

/// Connections that one inspection of a loop tells of at most.
pub const INSPECTED_MAX: usize = 100;

/// Ended connections that a loop remembers, of each of two kinds: the ordinary, and the notable.
pub const ENDS_KEPT: usize = 128;

/// Connections on their way out whose last words a loop remembers until they are closed.
pub const LEAVING_KEPT: usize = 128;

/// How long the admin port waits for what loops tell of their connections: a loop with 16 million slots looks at all of
/// them in less than a second, if it has nothing else to do.
pub const ADMIN_ASK_WITHIN: Duration = Duration::from_secs(2);

/// Ended connections that one answer of the admin port tells of at most.
pub const CLOSED_SHOWN_MAX: usize = 1000;

/// Events that are told with an ended connection: its last.
pub const EVENTS_SHOWN: usize = 32;

/// Events that a loop remembers.
pub const EVENTS_KEPT: usize = 1024;

/// Loops of one server at most.
pub const SHARDS_MAX: u16 = 256;

/// Connections of one server at once, unless it is told otherwise.
pub const CONNECTIONS_DEFAULT: u32 = 65_536;

/// Listeners of one server at most.
pub const LISTENERS_MAX: usize = 255;

/// Routes, or ranges of them, that have handler times of their own; all others share one.
pub const ROUTE_LABELS_MAX: usize = 64;

/// In one batch of so many, its first request's handler is timed.
pub const HANDLER_SAMPLE: u32 = 64;

/// Accept-queue length asked of the kernel. Larger than `net.core.somaxconn` it is cut silently (listen(2)).
pub const BACKLOG: i32 = 4096;

/// The longest accept queue that a listener may ask for: 16 bits, which is all that older kernels keep of it.
pub const BACKLOG_MAX: i32 = 65_535;

// ---- the admin port ---------------------------------------------------------------------------------------------

/// Connections of the admin port at once. Beyond it the one that has been waiting for a request longest makes room. A
/// few tools look at a server; each costs a descriptor that a client does not have.
pub const ADMIN_CONNECTIONS_MAX: usize = 32;

/// Descriptors that the admin port needs: its connections, its socket, its poller with a waker, and one for a drain.
pub const ADMIN_DESCRIPTORS: u64 = ADMIN_CONNECTIONS_MAX as u64 + 8;

/// Largest head of a request, in bytes; the least that hyper takes.
pub const ADMIN_HEAD_BYTES_MAX: usize = 8 << 10;

/// Largest body of a request, in bytes: a filter of the log is the longest that there is.
pub const ADMIN_BODY_BYTES_MAX: usize = 4 << 10;

/// How long a connection may take to send the head of a request, counted from its start or from the answer before:
/// so it may be idle as long.
pub const ADMIN_HEAD_WITHIN: Duration = Duration::from_secs(5);

/// How long an answer may take, the request's body included.
pub const ADMIN_ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// How long a connection of the admin port may live: what bounds a peer that does not read. It ends behind the answer
/// that is on its way then, if that is taken within [`ADMIN_ANSWER_WITHIN`].
pub const ADMIN_CONNECTION_LIFE: Duration = Duration::from_secs(300);

/// First and longest wait after a failed accept of the admin port, in milliseconds.
pub const ADMIN_BACKOFF_MS: (u64, u64) = (10, 1_000);

/// Shortest and longest token of the admin port, in bytes: 16 of letters and digits can't be guessed.
pub const ADMIN_TOKEN_BYTES: (usize, usize) = (16, 256);

/// Names that the admin port may be asked by, at most.
pub const ADMIN_HOSTS_MAX: usize = 16;

/// How long a CPU profile takes, in seconds, if it is not told otherwise ...
pub const PROFILE_S: u64 = 30;

/// ... and the least and the most that it may be told.
pub const PROFILE_S_RANGE: (u64, u64) = (1, 60);

/// How long the answer with a CPU profile may take: the longest, and as much again to find its names, by a thread that lets
/// the loops go first.
pub const PROFILE_ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// Samples of a CPU profile in a second of processor time, if it is not told otherwise: not a round number, so that it does
/// not keep step with what comes a hundred times a second ...
pub const PROFILE_HZ: u32 = 99;

/// ... and the least and the most that it may be told. Each costs some 20 us of the thread that it meets.
pub const PROFILE_HZ_RANGE: (u32, u32) = (10, 999);

/// Functions of one stack that a CPU profile keeps: those that were running, and called last.
pub const PROFILE_FRAMES_MAX: usize = 256;

/// How long a health check waits for the loops, in milliseconds, if it is not told otherwise ...
pub const HEALTH_WITHIN_MS: u64 = 1_000;

/// ... the least that it may be told, which is several of [`KNOCK_EVERY_MS`] ...
pub const HEALTH_WITHIN_MS_MIN: u64 = 50;

/// ... and the most, which leaves time for the answer.
pub const HEALTH_WITHIN_MS_MAX: u64 = 10_000;

/// Health checks make a loop take a turn once in this time at most, however many there are. Milliseconds.
pub const KNOCK_EVERY_MS: u64 = 10;

/// How often the loops are looked at from outside ...
pub const WATCHDOG_EVERY: Duration = Duration::from_millis(250);

/// ... and the turn that is told of because the loop itself can't tell: twice what a person notices.
pub const WATCHDOG_TURN: Duration = Duration::from_secs(1);

/// How often the dashboard's feed tells how things are.
pub const LIVE_EVERY: Duration = Duration::from_secs(1);

/// Who may watch the feed at once: a quarter of the admin port's connections, which streams keep.
pub const LIVE_WATCHERS_MAX: usize = ADMIN_CONNECTIONS_MAX / 4;

/// Beats of the feed that a watcher may miss in a row before it is cut: it does not read. What is on its way to it takes
/// [`ADMIN_SEND_BYTES`] and its own window.
pub const LIVE_MISSED_MAX: u32 = 10;

/// How long the feed rests behind a beat that nobody watches, in times of what the beat took: it uses at most a hundredth of
/// a processor, however many loops and descriptors there are.
pub const LIVE_REST: u32 = 99;

/// How far back the feed remembers, for who begins to watch ...
pub const LIVE_PAST: Duration = Duration::from_secs(300);

/// ... and so many conditions that are over.
pub const LIVE_PAST_CONDITIONS: usize = 10;

/// What is left unanswered by the loops when the feed has asked them for so long is told as that ...
pub const LIVE_ASK_WITHIN: Duration = Duration::from_millis(500);

/// ... and they are asked once in so many beats ...
pub const LIVE_ASK_EVERY_BEATS: u64 = 2;

/// ... for so many connections.
pub const LIVE_TALKERS: usize = 10;

/// What the kernel is asked to keep of answers that a peer of the admin port does not take, in bytes.
pub const ADMIN_SEND_BYTES: usize = 64 << 10;

/// What rates of conditions are taken over: some seconds, so that one odd moment is no condition for long.
pub const CONDITIONS_OVER: Duration = Duration::from_secs(5);

/// For how long it is told that something happened that should never happen: as the alerts do.
pub const CONDITIONS_GROWN_OVER: Duration = Duration::from_secs(600);

// ---- the client -------------------------------------------------------------------------------------------------

/// How long connecting, sending a request and receiving a reply may take each, unless a client's options say otherwise.
pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a client keeps of replies that came and were not received, in bytes, unless its options say otherwise: enough
/// for 10,000 small replies in flight, little for a process.
pub const CLIENT_BUFFERED_BYTES: usize = 16 << 20;

/// Requests of one client whose replies may be due at once.
pub const CLIENT_OPEN_MAX: usize = 64 << 10;

/// PONGs of a client that may wait to be sent, in bytes; beyond that a PING is not answered any more. A server asks
/// once in a heartbeat.
pub const CLIENT_PONG_BYTES_MAX: usize = 4 << 10;

// ---- users ------------------------------------------------------------------------------------------------------

/// Users of a server at most: all of them, with a hash each, fit a configuration.
pub const USERS_MAX: usize = 10_000;

/// Longest token, in bytes: a name, a dot, and far more than 128 random bits. A longer one is not hashed.
pub const TOKEN_BYTES_MAX: usize = 256;

/// Longest name in a certificate that a user can have, in bytes: that of a host (RFC 1035 2.3.4), or of a mailbox.
pub const CERTIFICATE_NAME_BYTES_MAX: usize = 255;

/// Failed attempts of one address within [`FAILED_HELLOS_MS`] after which it is not listened to for as long.
pub const FAILED_HELLOS_MAX: u32 = 10;

/// See [`FAILED_HELLOS_MAX`], in milliseconds: nobody guesses 192 bits, and a client with an old token is a minute late.
pub const FAILED_HELLOS_MS: u32 = 60_000;

/// Addresses whose failed attempts a loop counts: 96 KiB, taken at the first failure.
pub const FAILURES_KEPT: usize = 4_096;

/// How long a client whose HELLO failed is asked to wait, in milliseconds.
pub const FAILED_HELLO_RECONNECT_MS: u32 = 1_000;

/// Connections that a loop looks at in a turn when its users were replaced.
pub const USERS_REVIEWED_PER_TURN: u32 = 1_024;

const _: () = {
    assert!(PAYLOAD_BYTES_DEFAULT <= PAYLOAD_BYTES_MAX);
    assert!(OUTPUT_LOW_BYTES < OUTPUT_HIGH_BYTES);
    assert!(CONTROL_BYTES_MAX <= PAYLOAD_BYTES_DEFAULT, "a control frame is never the largest frame");
    assert!(PING_BYTES_MAX <= CONTROL_EXTRA_BYTES as usize, "PING fits the smallest listener");
    assert!(ID_BYTES_MAX <= TOPIC_BYTES_MAX && TOPIC_BYTES_MAX <= u8::MAX as usize, "a byte counts them");
    assert!(3 + u8::MAX as usize + TOPIC_BYTES_MAX + 40 <= CONTROL_EXTRA_BYTES as usize, "SUBSCRIBE fits");
    assert!(SCRATCH_BYTES >= 2 * LINE_BYTES_MAX as usize, "a line fits beside a partial one");
    assert!(LINE_BYTES_DEFAULT <= LINE_BYTES_MAX);
    assert!(LOBBY_MAX / LOBBY_SHARE > 1, "several of one source may enter at once");
    assert!(SCRATCH_BYTES >= 2 * TAIL_BYTES_MOVED, "what is moved leaves most of the scratch to read into");
    assert!(PIECES_PER_BATCH < SLICES_PER_WRITE, "a batch leaves in one vectored write");
    assert!(LEASE_BYTES_MIN * 10 <= BUDGET_BYTES_MIN, "the reserve holds at least one small lease");
    assert!(LINGER_BYTES_MAX as usize >= SCRATCH_BYTES);
    assert!(ACCEPT_BACKOFF_MS.0 < ACCEPT_BACKOFF_MS.1);
    assert!(BUDGET_BYTES_MIN <= BUDGET_BYTES_DEFAULT && BUDGET_BYTES_DEFAULT as u64 <= BUDGET_BYTES_MAX);
    assert!(SOCKET_BUFFER_BYTES_MIN <= SOCKET_BUFFER_BYTES && SOCKET_BUFFER_BYTES <= SOCKET_BUFFER_BYTES_MAX);
    assert!(CONNECTIONS_PER_SHARD_MAX as usize + DIALED_PER_SHARD <= 1 << 24, "all slots have a name");
    assert!(OPEN_REQUESTS <= OPEN_REQUESTS_MAX);
    assert!(
        2 * KNOCK_EVERY_MS < HEALTH_WITHIN_MS_MIN,
        "who waits for the next knock has time for its answer"
    );
    assert!(HEALTH_WITHIN_MS_MIN <= HEALTH_WITHIN_MS && HEALTH_WITHIN_MS <= HEALTH_WITHIN_MS_MAX);
    assert!(Duration::from_millis(HEALTH_WITHIN_MS_MAX).as_millis() < ADMIN_ANSWER_WITHIN.as_millis());
    assert!(ADMIN_ASK_WITHIN.as_millis() < ADMIN_ANSWER_WITHIN.as_millis());
    assert!(PROFILE_S_RANGE.0 <= PROFILE_S && PROFILE_S <= PROFILE_S_RANGE.1);
    assert!(2 * PROFILE_S_RANGE.1 <= PROFILE_ANSWER_WITHIN.as_secs());
    assert!(0 < PROFILE_HZ_RANGE.0 && PROFILE_HZ_RANGE.0 <= PROFILE_HZ && PROFILE_HZ <= PROFILE_HZ_RANGE.1);
    assert!(LIVE_ASK_WITHIN.as_millis() < LIVE_EVERY.as_millis());
    assert!(CONDITIONS_OVER.as_millis() > LIVE_EVERY.as_millis());
    assert!(ADMIN_BACKOFF_MS.0 < ADMIN_BACKOFF_MS.1);
    assert!(ADMIN_TOKEN_BYTES.1 < ADMIN_HEAD_BYTES_MAX, "a token fits the head of a request");
    assert!(OPEN_REQUESTS_MAX as usize <= LATERS_PER_SHARD, "one connection's requests all fit the mailbox");
    assert!(EFFECT_BYTES_MAX > PAYLOAD_BYTES_DEFAULT as usize + EXTENSION_BYTES_MAX as usize);
};
