//! What all connections of a loop share: buffers, figures, the moment.
//!
//! A visit borrows it beside its connection. Always holds: `ms` is `now`, as deadlines count it; where a connection stands
//! is changed by [`Shared::step`] alone, which keeps count. Never: a connection.

use super::drain::Spread;
use super::entry::{Inbound, Outbound};
use super::history::History;
use super::journal::Journal;
use super::meters::Meters;
use super::quotas::Quotas;
use super::tracing::Tracer;
use super::{Form, RouteLabel};
use crate::base::limits::{HANDLER_SAMPLE, Limits};
use crate::base::{CloseReason, ConnId, Ms, Rng, Time, Token};
use crate::buffer::Spares;
use crate::mailbox::{Happened, Mailbox};
use crate::metrics::{Counter, Gauge, Recorder};
use crate::service::{Cx, Desk, Effects};
use crate::session::{Event, Phase};
use std::sync::Arc;

/// What a peer is told when all that it was owed is done.
const DRAINED: &str = "the server is shutting down";

/// The same of one connection.
const AGED: &str = "this connection has been open for as long as it may be";

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
    /// There if the server has rates.
    pub(super) meters: Option<Box<Meters>>,
    /// There if it records traces.
    pub(super) tracing: Option<Box<Tracer>>,
    /// One of the two is there, so that batches have to be told of.
    pub(super) is_watched: bool,
    pub(super) quotas: Arc<Quotas>,
    /// What the ages of connections are drawn from.
    pub(super) age_seed: u64,
    /// A connection that nothing is kept for has no deadline.
    pub(super) may_rest: bool,
    pub(super) labels: Arc<[RouteLabel]>,
    /// By [`Form`]: the place of its listener; behind the last for those that we dialed.
    pub(super) places: Vec<u8>,
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
    /// The next slot to be looked at since the users were replaced.
    pub(super) users_reviewed: Option<u32>,
}

impl Shared {
    #[inline]
    pub(super) fn set_now(&mut self, now: Time) {
        self.now = now;
        self.ms = now.ms();
    }

    /// Rates or traces have come or gone.
    pub(super) fn set_watched(&mut self) {
        self.is_watched = self.meters.is_some() || self.tracing.is_some();
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

    /// The place of a connection's listener in the server's list; behind the last for those that we dialed.
    #[inline]
    pub(super) fn place_of(&self, form: Form) -> usize {
        self.places[usize::from(form)].into()
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

    /// Why a connection ends that goes on for a while: the server drains, or it has come of age.
    pub(super) const fn why_draining(&self) -> (CloseReason, &'static str) {
        match self.drain_until {
            Some(_) => (CloseReason::Drained, DRAINED),
            None => (CloseReason::Aged, AGED),
        }
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
