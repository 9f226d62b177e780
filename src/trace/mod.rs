//! What is recorded of a request that belongs to a distributed trace, and the queue in which a loop leaves it.
//!
//! ```text
//!   loop --push, never waits--> [ Spans: one for each loop, bounded ] --pop--> whoever exports them
//!                      `- full: dropped, counted
//! ```
//!
//! Always holds: a span is a value of fixed size, so recording one allocates nothing; what is recorded was decided before
//! anything of it existed. Never: a byte of a payload, or a name that a peer made up.

mod collector;

pub use collector::{Collector, CollectorError};

use crate::base::limits::{SPANS_PER_SECOND, SPANS_PER_SHARD};
use crate::base::{Address, ConnId, Time};
use crate::metrics::Outcome;
use crate::wire::Status;
pub use crate::wire::Trace;
use crossbeam_queue::ArrayQueue;

/// One request, from its last byte to its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Span {
    /// What is passed on with everything that it causes: the trace, this span as the parent, the flags.
    pub own: Trace,
    /// The span that caused it; `None`: it begins the trace.
    pub parent: Option<[u8; 8]>,
    /// Whose request it was.
    pub connection: ConnId,
    /// From where.
    pub peer: Address,
    /// Its listener, by its place in the server's list.
    pub listener: u8,
    /// Its route.
    pub route: u16,
    /// The label of its route, by its place, if it has one.
    pub label: Option<u8>,
    /// When its last byte was read: where it had to wait in its connection's ring, to the millisecond.
    pub received: Time,
    /// When it was handed to the service, or refused.
    pub started: Time,
    /// How long the service had it in hand, in microseconds; `None` if the server refused it itself.
    pub handler_us: Option<u32>,
    /// When its answer was made, if that was later.
    pub ended: Time,
    /// How long it waited for a worker, in microseconds, if it was offloaded.
    pub queued_us: Option<u32>,
    /// It was deferred.
    pub is_deferred: bool,
    /// Its handler panicked, perhaps behind its answer.
    pub has_panicked: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// What its requester was told.
    pub status: Status,
    /// Bytes of its payload, without an extension block.
    pub bytes_in: u32,
    /// Bytes of its answer's payload; 0 if it failed.
    pub bytes_out: u32,
}

/// Which requests are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Of a million requests that bring no trace, so many are recorded: `0..=1_000_000`. Those that bring one say by its
    /// flag whether they are. Default: 0.
    pub per_million: u32,
    /// The most that are recorded in a second, whoever asks for it, `1..=10_000`; of a server: each loop has an equal
    /// part. Default: 1,000.
    pub spans_per_second: u32,
}

const _: () = assert!(SPANS_PER_SECOND == 1_000, "`Sampling` says so");

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling { per_million: 0, spans_per_second: SPANS_PER_SECOND }
    }
}

impl Sampling {
    /// One loop's part, of so many.
    #[must_use]
    pub fn shared_by(self, shards: u16) -> Sampling {
        let spans_per_second = self.spans_per_second.div_ceil(u32::from(shards.max(1)));
        Sampling { spans_per_second, ..self }
    }
}

/// The spans of one loop that nobody has taken yet.
#[derive(Debug)]
pub struct Spans {
    ring: ArrayQueue<Span>,
}

impl Default for Spans {
    fn default() -> Spans {
        Spans { ring: ArrayQueue::new(SPANS_PER_SHARD) }
    }
}

impl Spans {
    /// Leaves one. False: it is dropped, there are as many as may be.
    pub fn push(&self, span: Span) -> bool {
        self.ring.push(span).is_ok()
    }

    /// Takes the oldest.
    pub fn pop(&self) -> Option<Span> {
        self.ring.pop()
    }
}
