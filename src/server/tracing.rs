//! What a server records of requests that belong to traces: which, where it is taken from, what becomes of it.
//!
//! ```text
//!   loops --> rings --take_spans--> whoever exports them, who counts what became of them
//!                          `- the latest of each bucket of handler times stays: exemplars
//! ```
//!
//! Always holds: a server that was not told to record has nothing of this, and costs nothing for it. Never: a collector, or
//! a protocol to one; see `tidegate::control`.

use super::builder::within;
use super::{Builder, Change, Error, Handle};
use crate::base::limits::SPANS_PER_SECOND_MAX;
use crate::metrics::{BUCKETS, bucket_of};
use crate::trace::{Sampling, Span, Spans};
use crate::turn::Tracing;
use crate::wire::Trace;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// What became of spans that were taken, and of requests to a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Export {
    /// Spans that the collector has.
    Sent,
    /// Spans dropped because too many waited for the collector.
    Overflowed,
    /// Spans that the collector did not want.
    Refused,
    /// Spans dropped because the collector could not be reached, or took none, often enough.
    Lost,
    /// Requests that the collector answered well.
    Done,
    /// Requests that failed and were to be made again.
    Retried,
    /// Requests that failed for good.
    Failed,
}

impl Export {
    /// All of them, in order.
    pub const ALL: [Export; 7] = [
        Export::Sent,
        Export::Overflowed,
        Export::Refused,
        Export::Lost,
        Export::Done,
        Export::Retried,
        Export::Failed,
    ];
}

/// A request by which a bucket of handler times can be explained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// Its trace, and as the parent its span.
    pub own: Trace,
    /// How long its handler took, in microseconds.
    pub handler_us: u32,
    /// When it was taken, as near as the export looks.
    pub at: SystemTime,
}

/// The latest of each bucket, by label of routes, and behind them all other routes.
type Exemplars = Vec<[Option<Exemplar>; BUCKETS]>;

/// What the server has of it.
#[derive(Debug, Default)]
pub(super) struct Recording {
    /// By loop; none in a server that records nothing.
    spans: Vec<Arc<Spans>>,
    exemplars: Mutex<Exemplars>,
    exports: [AtomicU64; Export::ALL.len()],
    waiting: AtomicU64,
}

impl Recording {
    /// Of so many loops and labels.
    pub(super) fn new(sampling: Option<Sampling>, shards: u16, labels: usize) -> Recording {
        if sampling.is_none() {
            return Recording::default();
        }
        Recording {
            spans: (0..shards).map(|_| Arc::default()).collect(),
            exemplars: Mutex::new(vec![[None; BUCKETS]; labels + 1]),
            ..Recording::default()
        }
    }

    /// What a loop is told of it.
    pub(super) fn of_shard(&self, shard: u16, sampling: Option<Sampling>, shards: u16) -> Option<Tracing> {
        let spans = Arc::clone(self.spans.get(usize::from(shard))?);
        Some(Tracing { spans, sampling: sampling?.shared_by(shards) })
    }

    fn explain(&self, span: &Span) {
        // Others are in no bucket.
        let Some(handler_us) = span.handler_us.filter(|_| !span.has_panicked) else { return };
        let mut exemplars = super::running::lock(&self.exemplars);
        let others = exemplars.len() - 1;
        let label = span.label.map_or(others, |label| usize::from(label).min(others));
        let exemplar = Exemplar { own: span.own, handler_us, at: SystemTime::now() };
        exemplars[label][bucket_of(handler_us.into())] = Some(exemplar);
    }
}

pub(super) fn check(sampling: Sampling) -> Result<(), Error> {
    let Sampling { per_million, spans_per_second } = sampling;
    within("the requests recorded of a million", per_million.into(), 0, 1_000_000)?;
    let most = SPANS_PER_SECOND_MAX.into();
    within("the requests recorded in a second", spans_per_second.into(), 1, most)
}

impl Builder {
    /// Records requests that belong to distributed traces, for [`Handle::take_spans`]: those whose extension block brings a
    /// trace that is sampled, and of those that bring none so many as `sampling` says. Default: none are.
    #[must_use]
    pub const fn tracing(mut self, sampling: Sampling) -> Builder {
        self.sampling = Some(sampling);
        self
    }
}

impl Change {
    /// Which requests are recorded, if the server [records](Builder::tracing) at all.
    #[must_use]
    pub const fn sampling(mut self, sampling: Sampling) -> Change {
        self.sampling = Some(sampling);
        self
    }
}

impl Handle {
    /// Whether this server [records](Builder::tracing) requests.
    pub fn records_traces(&self) -> bool {
        !self.recording().spans.is_empty()
    }

    /// Takes what was recorded, loop by loop, at most so many of each. Times are [on the loops' clock](Handle::uptime).
    pub fn take_spans(&self, most: usize, mut take: impl FnMut(Span)) {
        let recording = self.recording();
        for spans in &recording.spans {
            for span in std::iter::from_fn(|| spans.pop()).take(most) {
                recording.explain(&span);
                take(span);
            }
        }
    }

    /// The latest span that was taken for each bucket of handler times: by label of routes, and behind them all other routes.
    /// Empty if the server records nothing.
    pub fn exemplars(&self) -> Vec<[Option<Exemplar>; BUCKETS]> {
        super::running::lock(&self.recording().exemplars).clone()
    }

    /// Counts what became of spans, or of a request to a collector: for whoever exports them.
    pub fn count_export(&self, what: Export, count: u64) {
        self.recording().exports[what as usize].fetch_add(count, Relaxed);
    }

    /// How often that was.
    pub fn exports(&self, what: Export) -> u64 {
        self.recording().exports[what as usize].load(Relaxed)
    }

    /// Says how many spans were taken and wait for the collector: for whoever exports them.
    pub fn set_spans_waiting(&self, spans: usize) {
        self.recording().waiting.store(spans as u64, Relaxed);
    }

    /// How many those are.
    pub fn spans_waiting(&self) -> u64 {
        self.recording().waiting.load(Relaxed)
    }
}
