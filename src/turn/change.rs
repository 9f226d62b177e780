//! What a running loop goes by, and how it is given something else: limits, listeners, labels, and news for its service.
//!
//! ```text
//!   Handle::apply --put--> [ Board: one place, the newest wins ] --take--> the loop, at the end of a turn
//!                                                                            `- arms deadlines anew, some a turn
//! ```
//!
//! [`Terms`] are whole, so a loop that missed some has missed nothing. A connection keeps the listener's configuration
//! that it was taken in under; newcomers have the latest. Limits are everybody's at once: a deadline that became shorter
//! counts for who is there already, once [`REARMED_PER_TURN`] connections a turn have been looked at.
//!
//! Always holds: nothing of this is met on the path of a message. Never: a judgement of values; whoever puts them has.

use super::meters::Meters;
use super::{Io, ListenerConfig, RouteLabel, Turn};
use crate::base::Rate;
use crate::base::limits::{Limits, PAYLOAD_BYTES_DEFAULT, REARMED_PER_TURN};
use crate::base::time::whole_ms;
use crate::service::Service;
use crate::session::Phase;
use crate::trace::Sampling;
use crate::wire::frame::OVERHEAD_BYTES;
use crossbeam_queue::ArrayQueue;
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};

/// What a service is told of by [`Service::on_reload`].
pub type News = Arc<dyn Any + Send + Sync>;

/// All that a running loop can be given anew.
#[derive(Clone)]
pub struct Terms {
    /// Which they are: each of a server's has a larger number than the one before. From 1 on.
    pub generation: u64,
    /// Bounds and deadlines, of every connection.
    pub limits: Limits,
    /// Configurations of listeners that came after the start, each with its listener's place. Only ever longer.
    pub later: Vec<(u8, ListenerConfig)>,
    /// What newcomers of each listener have: [`Form`]s.
    pub current: Vec<Form>,
    /// As many as at the start; one that counts nothing any more names no route.
    pub labels: Arc<[RouteLabel]>,
    /// Which requests are recorded, where traces are.
    pub sampling: Sampling,
    /// For the loop's service.
    pub news: Option<News>,
}

/// A listener's configuration, by its number: those of the start by their places, behind them the one of dialed
/// connections, behind it the [later](Terms::later) ones.
pub type Form = u8;

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terms")
            .field("generation", &self.generation)
            .field("limits", &self.limits)
            .field("later", &self.later)
            .field("current", &self.current)
            .field("has_news", &self.news.is_some())
            .finish_non_exhaustive()
    }
}

/// Where a loop finds its next terms. It is knocked at behind them.
#[derive(Debug)]
pub struct Board {
    next: ArrayQueue<Arc<Terms>>,
    /// The generation that the loop goes by; 0 for what it was started with.
    taken: AtomicU64,
}

impl Default for Board {
    fn default() -> Board {
        Board { next: ArrayQueue::new(1), taken: AtomicU64::new(0) }
    }
}

impl Board {
    /// Puts terms there. Those that the loop has not taken yet are replaced.
    pub fn put(&self, terms: Arc<Terms>) {
        drop(self.next.force_push(terms));
    }

    /// The generation that the loop goes by.
    pub fn taken(&self) -> u64 {
        self.taken.load(Acquire)
    }
}

/// A loop's part in it.
#[derive(Debug)]
pub(super) struct Changing {
    board: Arc<Board>,
    terms: Option<Arc<Terms>>,
    /// The next connection whose deadlines are armed anew.
    rearm_from: Option<u32>,
}

impl Changing {
    pub(super) const fn new(board: Arc<Board>) -> Changing {
        Changing { board, terms: None, rearm_from: None }
    }
}

impl<S: Service, I: Io> Turn<S, I> {
    /// Takes the terms that wait, if any do, and goes on with what earlier ones left to do.
    pub(super) fn take_terms(&mut self) {
        if let Some(terms) = self.changing.board.next.pop() {
            self.go_by(&terms);
            let generation = terms.generation;
            self.changing.terms = Some(terms);
            self.tell_news();
            self.changing.rearm_from = Some(0);
            self.changing.board.taken.store(generation, Release);
        }
        let Some(from) = self.changing.rearm_from else { return };
        let end = self.slots_used.min(from.saturating_add(REARMED_PER_TURN));
        for slot in from..end {
            // One that ended in this turn must have no timer.
            if self.table.get(slot as usize).is_some_and(|entry| !matches!(entry.phase, Phase::Closed(_))) {
                self.arm(slot);
            }
        }
        self.changing.rearm_from = (end < self.slots_used).then_some(end);
        if self.changing.rearm_from.is_some() {
            // Not a wait before all have been looked at.
            self.shared.mailbox.ring();
        }
    }

    fn go_by(&mut self, terms: &Terms) {
        let limits = &terms.limits;
        self.shared.heartbeat_ms = limits.heartbeat.map_or(0, whole_ms);
        self.shared.stall_us = u64::try_from(limits.stall.as_micros()).unwrap_or(u64::MAX);
        self.shared.desk.set_request_deadline(whole_ms(limits.request_deadline));
        self.shared.effects.set_server_bytes_max(server_bytes_max(limits));
        let slots = self.table.capacity();
        self.shared.meters = Meters::renewed(self.shared.meters.take(), limits, slots, self.shared.now);
        if let Some(tracing) = &mut self.shared.tracing {
            tracing.go_by(terms.sampling);
        }
        self.shared.set_watched();
        self.accept_rate = accept_rate(limits);
        self.shared.may_rest = may_rest(limits);
        // Places are taken and given back under the same prefix.
        let ipv6_prefix = self.shared.limits.ipv6_prefix;
        self.shared.limits = Limits { ipv6_prefix, ..limits.clone() };
        debug_assert_eq!(terms.labels.len(), self.shared.labels.len(), "figures have a place for each");
        self.shared.labels = Arc::clone(&terms.labels);
        // Those that connections have stay where they are.
        let known = self.listeners.len() - (self.accepting.len() + 1);
        for (place, config) in terms.later.iter().skip(known) {
            let framing = config.framing.with_traces(self.shared.tracing.is_some());
            self.listeners.push(ListenerConfig { framing, ..config.clone() });
            self.shared.places.push(*place);
        }
        for (state, form) in self.accepting.iter_mut().zip(&terms.current) {
            state.form = *form;
        }
    }

    /// Tells the service what there is for it; a service that was made anew hears it again.
    pub(super) fn tell_news(&mut self) {
        let Some(news) = self.changing.terms.as_ref().and_then(|terms| terms.news.clone()) else { return };
        let mut cx = self.shared.cx(self.nobody());
        let told = catch_unwind(AssertUnwindSafe(|| self.service.on_reload(&*news, &mut cx)));
        if told.is_err() {
            self.shared.note_panic();
        }
    }
}

/// How fast newcomers may come.
pub(super) fn accept_rate(limits: &Limits) -> Option<Rate> {
    limits.accept_rate.map(|most| Rate::new(most.into(), limits.burst))
}

/// Whether a connection that nobody owes anything needs no timer.
pub(super) const fn may_rest(limits: &Limits) -> bool {
    limits.idle.is_none() && limits.max_age.is_none()
}

/// What may wait for a server that we dialed.
pub(super) fn server_bytes_max(limits: &Limits) -> usize {
    limits.output_high_bytes as usize + PAYLOAD_BYTES_DEFAULT as usize + OVERHEAD_BYTES
}
