//! Which of a loop's requests are recorded as spans of distributed traces, and the spans that are not over yet.
//!
//! ```text
//!   brings a trace, sampled -.                                          .- answered ------> ring
//!   brings none: one in so  -+-> rate --> in hand, until it is answered -+
//!   many, by a countdown     |     `- over: counted, not recorded        `- deferred: kept by its serial --> ring
//! ```
//!
//! The countdown runs over messages, and the gap to the next one that is sampled is drawn when one was: so each has the same
//! chance, and none is asked.
//!
//! Always holds: at most [`SPANS_OPEN`] are kept, in the order of their serials; memory is taken when the loop begins. Never: a
//! clock; chance that handlers share, so that recording does not change what they draw.

use crate::base::limits::{SPANS_BURST, SPANS_OPEN};
use crate::base::{Address, Bucket, Rate, Rng, Time};
use crate::metrics::{Counter, Outcome, Recorder};
use crate::session::{ReplyTo, Tally};
use crate::trace::{Sampling, Span, Spans};
use crate::wire::{Status, Trace};
use std::collections::VecDeque;
use std::sync::Arc;

/// What a loop records, and where it leaves that.
#[derive(Clone, Debug)]
pub struct Tracing {
    /// Where spans are left.
    pub spans: Arc<Spans>,
    /// Which requests are recorded, of this loop alone.
    pub sampling: Sampling,
}

/// A request that is recorded and not over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recorded {
    pub(super) span: Span,
    /// Its number, once it is deferred.
    pub(super) serial: u64,
    pub(super) to: ReplyTo,
    pub(super) before: Before,
}

/// What the batch had when the request began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    pub(super) tally: Tally,
    /// Bytes of replies, held ones among them.
    pub(super) bytes: usize,
}

/// A loop's part.
#[derive(Debug)]
pub(super) struct Tracer {
    spans: Arc<Spans>,
    per_million: u32,
    rate: Rate,
    bucket: Bucket,
    rng: Rng,
    /// The number of the message in this batch that is sampled next, from 0.
    pub(super) sample_at: u32,
    /// Whose batch is in hand, and the place of its listener.
    pub(super) peer: Address,
    pub(super) listener: u8,
    pub(super) in_hand: Option<Recorded>,
    open: VecDeque<Recorded>,
}

impl Tracer {
    pub(super) fn new(tracing: Tracing, seed: u64) -> Tracer {
        let Tracing { spans, sampling } = tracing;
        let mut tracer = Tracer {
            spans,
            per_million: sampling.per_million,
            rate: rate_of(sampling),
            bucket: Bucket::default(),
            // A stream of its own: what handlers draw stays what it would be without.
            rng: Rng::new(!seed).fork(),
            sample_at: 0,
            peer: Address::Unix,
            listener: 0,
            in_hand: None,
            open: VecDeque::with_capacity(SPANS_OPEN),
        };
        tracer.sample_at = tracer.gap();
        tracer
    }

    /// Other requests from now on.
    pub(super) fn go_by(&mut self, sampling: Sampling) {
        self.rate = rate_of(sampling);
        if self.per_million != sampling.per_million {
            self.per_million = sampling.per_million;
            self.sample_at = self.gap();
        }
    }

    /// Messages that pass before the one that is sampled.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cut at both ends")]
    fn gap(&mut self) -> u32 {
        match self.per_million {
            0 => u32::MAX,
            1_000_000.. => 0,
            per_million => {
                // Failures before the first success: the geometric distribution, by inversion.
                (self.rng.unit().ln() / (-f64::from(per_million) / 1e6).ln_1p()) as u32
            }
        }
    }

    /// The number of the message that is sampled behind this one.
    pub(super) fn next_sample(&mut self, this: u32) -> u32 {
        self.gap().saturating_add(this + 1)
    }

    /// A batch of so many messages is over.
    pub(super) fn end_batch(&mut self, messages: u32) {
        self.sample_at =
            if self.per_million == 0 { u32::MAX } else { self.sample_at.saturating_sub(messages) };
    }

    /// What a span passes on, if there may be one now.
    pub(super) fn open_span(
        &mut self,
        brought: Option<Trace>,
        now: Time,
        metrics: &Recorder,
    ) -> Option<Trace> {
        if self.rate.wait(self.bucket, now).is_some() {
            metrics.add(Counter::SpansOverRate, 1);
            return None;
        }
        self.bucket = self.rate.charge(self.bucket, 1, now);
        let id = brought.map_or_else(|| self.random_id(), |trace| trace.id);
        let parent = self.nonzero().to_be_bytes();
        Some(Trace { id, parent, flags: brought.map_or(0, |trace| trace.flags) | Trace::SAMPLED })
    }

    fn random_id(&mut self) -> [u8; 16] {
        let (high, low) = (self.rng.next_u64(), self.nonzero());
        (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
    }

    fn nonzero(&mut self) -> u64 {
        self.rng.next_u64().max(1)
    }

    /// The request was deferred: its span ends with its answer.
    pub(super) fn keep(&mut self, recorded: Recorded, metrics: &Recorder) {
        debug_assert!(self.open.back().is_none_or(|last| last.serial < recorded.serial), "serials grow");
        if self.open.len() >= SPANS_OPEN {
            metrics.add(Counter::SpansOverOpen, 1);
            return;
        }
        self.open.push_back(recorded);
    }

    /// Whether a deferred request is recorded: nobody else's end need be told.
    pub(super) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// A deferred request is over, in whatever way.
    pub(super) fn answered(&mut self, serial: u64, answer: Answered, metrics: &Recorder) {
        let Ok(at) = self.open.binary_search_by_key(&serial, |open| open.serial) else { return };
        let Some(Recorded { mut span, .. }) = self.open.remove(at) else { return };
        let Answered { outcome, status, bytes, queued_us, now } = answer;
        (span.is_deferred, span.outcome, span.status) = (true, outcome, status);
        (span.ended, span.queued_us) = (now, queued_us);
        span.bytes_out = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.finish(&span, metrics);
    }

    /// The span is whole.
    pub(super) fn finish(&self, span: &Span, metrics: &Recorder) {
        let counter = if self.spans.push(*span) { Counter::Spans } else { Counter::SpansOverRing };
        metrics.add(counter, 1);
    }
}

/// How a deferred request ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    pub(super) outcome: Outcome,
    pub(super) status: Status,
    pub(super) bytes: usize,
    pub(super) queued_us: Option<u32>,
    pub(super) now: Time,
}

fn rate_of(sampling: Sampling) -> Rate {
    Rate::new(sampling.spans_per_second.into(), SPANS_BURST)
}
