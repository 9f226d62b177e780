//! Spans that were taken from the loops and wait for the collector.
//!
//! Always holds: at most [`SPANS_WAITING`] wait; who is too much displaces the oldest, since a trace that is looked for is
//! mostly a recent one. Never: a wait.

use crate::base::limits::{SPANS_PER_EXPORT, SPANS_WAITING};
use crate::trace::Span;
use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct Queue {
    spans: VecDeque<Span>,
}

impl Queue {
    pub(super) fn new() -> Queue {
        Queue { spans: VecDeque::with_capacity(SPANS_WAITING) }
    }

    /// Adds one. False: the oldest has gone for it.
    pub(super) fn push(&mut self, span: Span) -> bool {
        let is_full = self.spans.len() >= SPANS_WAITING;
        if is_full {
            self.spans.pop_front();
        }
        self.spans.push_back(span);
        !is_full
    }

    /// The oldest, as many as one request to the collector has at most.
    pub(super) fn batch(&mut self) -> Vec<Span> {
        self.spans.drain(..self.spans.len().min(SPANS_PER_EXPORT)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether one request can be filled.
    pub(super) fn has_batch(&self) -> bool {
        self.spans.len() >= SPANS_PER_EXPORT
    }
}
