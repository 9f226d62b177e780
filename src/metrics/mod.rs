//! What a loop counts, and how others read it without a lock.
//!
//! Every figure has one writer, the loop it belongs to, which adds with a plain load and store: no locked
//! instruction, no shared cache line. A sequence is odd while a turn runs; a reader that sees the same even
//! sequence before and after holds figures of one moment, so identities between them can be checked.
//!
//! Always holds: counters only grow; gauges are set, never added to. Never: labels, text, a clock.

mod snapshot;

pub use snapshot::Snapshot;

use crate::base::CloseReason;
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
        /// Connections told OVERLOADED and closed because descriptors had run out.
        RefusedDescriptors => "refused_descriptors",
        /// Times that accepting stopped because descriptors or memory had run out.
        AcceptExhausted => "accept_exhausted",
        /// Connections that were gone before they could be accepted.
        AcceptAborted => "accept_aborted",
        /// Accepts and registrations that failed in a way that has no name here.
        AcceptFailed => "accept_failed",
        /// Bytes read from sockets.
        BytesIn => "bytes_in",
        /// Bytes that sockets took.
        BytesOut => "bytes_out",
        /// Whole, valid messages: requests and control frames.
        FramesIn => "frames_in",
        /// Requests handed to the service.
        Started => "started",
        /// Bytes read and thrown away while lingering.
        BytesLingered => "bytes_lingered",
        /// Heartbeats sent to peers that said HELLO.
        Heartbeats => "heartbeats",
        /// Heartbeats that were answered.
        HeartbeatsAnswered => "heartbeats_answered",
        /// Microseconds from these heartbeats to their answers, added up.
        RttUs => "rtt_us",
        /// Peers that were welcomed after a HELLO.
        Welcomed => "welcomed",
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
        /// Connections ended to free their buffers.
        Evicted => "evicted",
        /// Events for connections that were already gone.
        StaleEvents => "stale_events",
        /// Connections that were accepted here and handed to another loop, which counts them as accepted.
        HandedOff => "handed_off",
        /// Batches that held up the loop for longer than the stall limit.
        Stalls => "stalls",
        /// Panics caught in the service.
        Panics => "panics",
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
        /// Bytes of the budget leased for input.
        InputBytes => "input_bytes",
        /// Bytes of the budget leased for output.
        OutputBytes => "output_bytes",
        /// Bytes of the budget's reserve in use.
        ReserveBytes => "reserve_bytes",
        /// Requests started and not ended.
        InFlight => "in_flight",
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
}

impl Default for ShardMetrics {
    fn default() -> Self {
        ShardMetrics {
            sequence: AtomicU64::new(0),
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
    /// A writer, with figures at zero.
    pub fn new() -> Recorder {
        Recorder { shared: Arc::default(), in_turn: false }
    }

    /// What readers hold.
    pub fn shared(&self) -> Arc<ShardMetrics> {
        Arc::clone(&self.shared)
    }

    /// From here on readers wait, until [`Recorder::end_turn`].
    #[inline]
    pub fn begin_turn(&mut self) {
        debug_assert!(!self.in_turn, "a turn begins once");
        self.in_turn = true;
        let sequence = self.shared.sequence.load(Relaxed);
        self.shared.sequence.store(sequence + 1, Relaxed);
        fence(Release);
        self.add(Counter::Turns, 1);
    }

    /// The figures are of one moment again.
    #[inline]
    pub fn end_turn(&mut self) {
        debug_assert!(self.in_turn, "only a turn that began can end");
        self.in_turn = false;
        let sequence = self.shared.sequence.load(Relaxed);
        self.shared.sequence.store(sequence + 1, Release);
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

    /// Sets a gauge.
    #[inline]
    pub fn set(&self, gauge: Gauge, now: u64) {
        self.shared.gauges[gauge as usize].store(now, Relaxed);
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder::new()
    }
}

/// One writer, so a load and a store are an addition.
#[inline]
fn add(figure: &AtomicU64, more: u64) {
    figure.store(figure.load(Relaxed).wrapping_add(more), Relaxed);
}
