//! What all connections of a loop share: buffers, figures, the moment.
//!
//! A visit borrows it beside its connection. Always holds: `ms` is `now`, as deadlines count it; where a connection stands
//! is changed by [`Shared::step`] alone, which keeps count. Never: a connection.

use super::RouteLabel;
use super::drain::Spread;
use super::entry::{Inbound, Outbound};
use super::history::History;
use super::journal::Journal;
use crate::base::limits::{HANDLER_SAMPLE, Limits};
use crate::base::{ConnId, Ms, Rng, Time, Token};
use crate::buffer::Spares;
use crate::mailbox::{Happened, Mailbox};
use crate::metrics::{Counter, Gauge, Recorder};
use crate::service::{Cx, Desk, Effects};
use crate::session::{Event, Phase};
use std::sync::Arc;

/// What all connections of a loop share.
pub(super) struct Shared {
    pub(super) scratch: Box<[u8]>,
    pub(super) inbound: Spares<Inbound>,
    pub(super) outbound: Spares<Outbound>,
    pub(super) rng: Rng,
    pub(super) metrics: Recorder,
    pub(super) journal: Journal,
    pub(super) history: History,
    pub(super) desk: Desk,
    pub(super) effects: Effects,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) limits: Limits,
    pub(super) heartbeat_ms: u32,
    pub(super) stall_us: u64,
    pub(super) labels: Arc<[RouteLabel]>,
    /// Batches until the next one whose first request is timed.
    pub(super) sample_in: u32,
    /// When this turn began.
    pub(super) turn_began: Time,
    /// When the batch in hand began.
    pub(super) batch_began: Time,
    /// A batch of this turn held up the loop, and that was told.
    pub(super) has_stalled: bool,
    pub(super) now: Time,
    /// `now`, as deadlines count it.
    pub(super) ms: Ms,
    /// The end of the drain's grace, once there is one.
    pub(super) drain_until: Option<Ms>,
    /// When clients may come back after it.
    pub(super) spread: Spread,
    /// Panics caught and not yet told to the service.
    pub(super) panics: u32,
}

impl Shared {
    #[inline]
    pub(super) fn set_now(&mut self, now: Time) {
        self.now = now;
        self.ms = now.ms();
    }

    /// Whether the first request of the batch that begins is one of those whose handler is timed.
    #[inline(always)]
    pub(super) fn is_sample(&mut self) -> bool {
        if !self.metrics.is_metered() {
            return false;
        }
        self.sample_in = self.sample_in.wrapping_sub(1);
        let is_due = self.sample_in >= HANDLER_SAMPLE;
        if is_due {
            self.sample_in = HANDLER_SAMPLE - 1;
        }
        is_due
    }

    /// What a callback for this connection may know.
    pub(super) fn cx(&mut self, id: ConnId) -> Cx<'_> {
        Cx { now: self.now, id, rng: &mut self.rng, effects: &mut self.effects, mailbox: &self.mailbox }
    }

    /// Moves a connection's life on, and with it the figures of how many stand where.
    pub(super) fn step(&mut self, token: Token, phase: &mut Phase, event: Event) {
        let before = *phase;
        *phase = before.step(event);
        let (from, to) = (gauge_of(before), gauge_of(*phase));
        if from != to {
            from.inspect(|gauge| self.metrics.fall(*gauge));
            to.inspect(|gauge| self.metrics.rise(*gauge));
            if let Some(what) = happened(*phase) {
                self.note(token, what, 0);
            }
        }
    }

    /// Remembers what happened to a connection. For what is rare.
    #[inline]
    pub(super) fn note(&mut self, token: Token, what: Happened, number: u32) {
        self.history.note(self.now, token, what, number);
    }

    /// A callback panicked that had no request in hand.
    pub(super) fn note_panic(&mut self) {
        self.metrics.add(Counter::Panics, 1);
        self.panics += 1;
    }

    pub(super) fn linger_until(&self) -> Ms {
        let until = self.ms.after(self.limits.linger);
        self.drain_until.map_or(until, |drain| drain.min(until))
    }
}

/// The loop is over: who asks about it hears that, instead of waiting.
impl Drop for Shared {
    fn drop(&mut self) {
        self.mailbox.end_inquiries();
    }
}

/// Which figure counts the connections that stand there.
pub(super) const fn gauge_of(phase: Phase) -> Option<Gauge> {
    match phase {
        Phase::Connecting { .. } => Some(Gauge::Connecting),
        Phase::Open => Some(Gauge::Serving),
        Phase::Draining { .. } => Some(Gauge::Draining),
        Phase::Answering { .. } => Some(Gauge::Answering),
        Phase::Flushing { .. } => Some(Gauge::Flushing),
        Phase::Lingering { .. } => Some(Gauge::Lingering),
        Phase::Closed(_) => None,
    }
}

/// What is remembered of a connection that comes to stand there; that it is closed is written down with its end.
const fn happened(phase: Phase) -> Option<Happened> {
    match phase {
        Phase::Open => Some(Happened::Connected),
        Phase::Draining { .. } => Some(Happened::Draining),
        Phase::Answering { .. } => Some(Happened::Answering),
        Phase::Flushing { .. } => Some(Happened::Flushing),
        Phase::Lingering { .. } => Some(Happened::Lingering),
        Phase::Connecting { .. } | Phase::Closed(_) => None,
    }
}
