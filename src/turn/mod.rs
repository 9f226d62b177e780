//! All that an event loop does, over a world that it can't see: readiness and time come in, calls go out.
//!
//! ```text
//!   +-> the owner polls, for at most wait()
//!   |     begin()            the moment; figures are of one moment again at the end
//!   |     handle_event()     a token: accept, or visit that connection
//!   |     end()              letters, hot list, timers, memory, burial
//!   +---------------------------------------------------------------------------------
//! ```
//!
//! A connection is visited at its event. What a visit leaves unfinished goes on the hot list: readiness is told once,
//! so whoever stops before would-block must come back by itself. A slot is freed only at the end of a turn, so that
//! no event of the same turn can mean the next owner.
//!
//! Always holds: a connection is on the hot list at most once; every live connection that owes or is owed something
//! has an edge to come, a place on the hot list, or an armed timer.
//! Never: a socket, a clock, a thread: see [`Io`]. The shard drives this over `mio`, the simulator over its own world.

mod accept;
mod admission;
mod balance;
mod batch;
mod change;
mod config;
mod drain;
mod effects;
mod entry;
mod expel;
mod history;
mod inspect;
mod io;
mod journal;
mod labels;
mod letters;
mod memory;
mod meters;
mod quotas;
mod seats;
mod shared;
mod timers;
mod tracing;
mod users;
mod visit;
mod wheel;

pub use balance::{deals_away, wants_hand_off};
pub use change::{Board, Form, News, Terms};
pub use config::{ListenerConfig, TurnConfig};
pub use history::HISTORY_BYTES;
pub use io::{Accepted, Brought, Entered, Io, Readiness, SecurePeer};
pub use journal::LogKind;
pub use labels::{OTHER_ROUTES, RouteLabel, label_of};
pub use quotas::Quotas;
pub use seats::Seats;
pub use tracing::Tracing;

use crate::base::limits::{
    CONNECTIONS_PER_SHARD_MAX, DIALED_PER_SHARD, HOT_PER_TURN, PAYLOAD_BYTES_DEFAULT, SCRATCH_BYTES,
};
use crate::base::planted::{Bug, is_planted};
use crate::base::time::whole_ms;
use crate::base::{CloseReason, ConnId, Ms, Rate, Rng, Time, Token};
use crate::buffer::{Side, Spares};
use crate::identity::People;
use crate::mailbox::{Happened, Mailbox};
use crate::metrics::{Counter, Gauge, Recorder, ShardMetrics, Timing};
use crate::service::{AfterPanic, Desk, Effects, Service};
use crate::session::{Framing, Phase};
use accept::ListenerState;
use change::{Changing, server_bytes_max};
use entry::{Entry, Flag};
use history::{History, describe};
use inspect::Scan;
use journal::Journal;
use memory::Starved;
use meters::Meters;
use shared::Shared;
use slab::Slab;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tracing::Tracer;
use visit::{Verdict, Visit};
use wheel::Wheel;

/// How long the owner may wait for events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: there is work.
    Not,
    /// Until then.
    Until(Ms),
    /// As long as it likes.
    Forever,
}

/// One loop's connections and all that happens to them.
pub struct Turn<S: Service, I: Io> {
    table: Slab<Entry<S::Conn, I::Stream>>,
    service: S,
    make_service: Box<dyn FnMut() -> S + Send>,
    shared: Shared,
    listeners: Vec<ListenerConfig>,
    accepting: Vec<ListenerState>,
    /// Whether any of them must be tried again without an event.
    accept_again: bool,
    accept_rate: Option<Rate>,
    wheel: Wheel,
    /// A turn was held up, and deadlines were left to the next one: what came meanwhile may be all that they wait for.
    timers_waited: bool,
    /// When buffers kept for reuse are looked at again.
    trim_at: Option<Ms>,
    /// When the next deadline or timer comes, as of the end of the last turn.
    due: Option<Ms>,
    /// One more than the largest slot that was ever used.
    slots_used: u32,
    hot: VecDeque<Token>,
    graves: Vec<u32>,
    starved: Starved,
    next_generation: u32,
    shard: u16,
    connections_max: usize,
    /// Connections in the table that we dialed.
    dialed: usize,
    peers: Vec<Arc<Mailbox>>,
    seats: Arc<Seats>,
    /// The inquiry that is worked on.
    inspection: Option<Scan>,
    changing: Changing,
}

impl<S: Service, I: Io> Turn<S, I> {
    /// A loop with nothing in it, at the moment `now`.
    ///
    /// # Panics
    ///
    /// If `config` names more connections than a loop can have; whoever builds a server checks before.
    pub fn new(
        config: TurnConfig,
        now: Time,
        mut make_service: impl FnMut() -> S + Send + 'static,
    ) -> Turn<S, I> {
        assert!(
            (1..=CONNECTIONS_PER_SHARD_MAX).contains(&config.connections_max),
            "{} connections",
            config.connections_max
        );
        let capacity = config.connections_max as usize + DIALED_PER_SHARD;
        let accepting: Vec<_> = (0..config.listeners.len()).map(ListenerState::new).collect();
        let accepting_count = accepting.len();
        let mut listeners = config.listeners;
        let traces = config.tracing.is_some();
        listeners.iter_mut().for_each(|listener| listener.framing = listener.framing.with_traces(traces));
        // Behind the listeners, for connections that we dial.
        listeners.push(ListenerConfig::new(Framing::frames(PAYLOAD_BYTES_DEFAULT).of_server()));
        let request_deadline_ms = whole_ms(config.limits.request_deadline);
        let accept_rate = change::accept_rate(&config.limits);
        let desk = Desk::new(
            Arc::clone(&config.mailbox),
            config.workers,
            config.shard,
            request_deadline_ms,
            config.budget_bytes,
        );
        let mut turn = Turn {
            // All of it at once: pages that are never touched cost nothing, and growing would stall a turn.
            table: Slab::with_capacity(capacity),
            service: make_service(),
            make_service: Box::new(make_service),
            shared: Shared {
                scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
                inbound: Spares::new(),
                outbound: Spares::new(),
                rng: Rng::new(config.seed),
                metrics: Recorder::new(accepting_count, config.labels.len()),
                journal: Journal::default(),
                history: History::new(),
                desk,
                effects: Effects::new(server_bytes_max(&config.limits))
                    .among(People::new(config.users, config.seed)),
                mailbox: config.mailbox,
                heartbeat_ms: config.limits.heartbeat.map_or(0, whole_ms),
                stall_us: u64::try_from(config.limits.stall.as_micros()).unwrap_or(u64::MAX),
                meters: Meters::new(&config.limits, capacity),
                tracing: config.tracing.map(|tracing| Box::new(Tracer::new(tracing, config.seed))),
                is_watched: false,
                quotas: config.quotas,
                age_seed: config.seed,
                may_rest: change::may_rest(&config.limits),
                limits: config.limits,
                labels: config.labels,
                places: (0..=u8::MAX).take(accepting_count + 1).collect(),
                sample_in: 0,
                turn_began: now,
                batch_began: now,
                has_stalled: false,
                now,
                ms: now.ms(),
                drain_until: None,
                spread: drain::Spread::new(config.seed),
                panics: 0,
                users_reviewed: None,
            },
            listeners,
            accepting,
            accept_again: false,
            accept_rate,
            wheel: Wheel::new(capacity, now.ms()),
            timers_waited: false,
            trim_at: None,
            due: None,
            slots_used: 0,
            hot: VecDeque::with_capacity(HOT_PER_TURN),
            graves: Vec::with_capacity(HOT_PER_TURN),
            starved: Starved::default(),
            next_generation: 0,
            shard: config.shard,
            connections_max: capacity - DIALED_PER_SHARD,
            dialed: 0,
            peers: config.peers,
            seats: config.seats,
            inspection: None,
            changing: Changing::new(config.board),
        };
        turn.shared.set_watched();
        turn.start_service();
        turn.due = turn.next_due();
        turn
    }

    /// The figures, for readers of other threads.
    pub fn metrics(&self) -> Arc<ShardMetrics> {
        self.shared.metrics.shared()
    }

    /// Connections in the table.
    pub fn open(&self) -> usize {
        self.table.len()
    }

    /// Whether a drain was begun and nothing is left.
    pub fn is_drained(&self) -> bool {
        self.shared.drain_until.is_some() && self.table.is_empty()
    }

    /// Buffers that are leased out: none when no connection waits for anything.
    pub fn leases_out(&self) -> usize {
        self.shared.desk.pool.leases_out()
    }

    /// The most bytes that wait for one connection, for its socket or behind its open requests.
    pub fn queued_bytes_max(&self) -> usize {
        self.table.iter().map(|(_, entry)| entry.waiting_bytes()).max().unwrap_or(0)
    }

    /// Rights to answer deferred requests that are given away and did not come back.
    pub fn laters_out(&self) -> usize {
        self.shared.desk.laters_out() - self.shared.effects.answers()
    }

    /// A turn begins, at the moment `now`.
    #[inline]
    pub fn begin(&mut self, now: Time) {
        self.shared.set_now(now);
        self.shared.turn_began = now;
        self.shared.metrics.begin_turn(now);
    }

    /// The poller told something of a token.
    #[inline]
    pub fn handle_event(&mut self, io: &mut I, token: Token, ready: Readiness) {
        if token.generation == 0 {
            self.accept_from(io, token.slot);
            return;
        }
        let Some(entry) = self.table.get_mut(token.slot as usize) else {
            self.shared.metrics.add(Counter::StaleEvents, 1);
            return;
        };
        if entry.generation != token.generation && !is_planted(Bug::GenerationIgnored) {
            self.shared.metrics.add(Counter::StaleEvents, 1);
            return;
        }
        entry.note(ready);
        let Shared { metrics, now, turn_began, .. } = &self.shared;
        metrics.observe(Timing::Ready, now.since_us(*turn_began));
        self.visit(io, token.slot);
    }

    /// The turn ends: letters are taken, effects carried out, what was left unfinished goes on once, deadlines are looked
    /// at, ended connections are buried.
    #[inline]
    pub fn end(&mut self, io: &mut I) {
        let is_more = self.has_more();
        self.due = self.next_due();
        if is_more || self.has_due() {
            self.work_off(io, is_more);
            self.due = self.next_due();
        }
        if self.shared.now.since_us(self.shared.turn_began) >= self.shared.stall_us {
            self.note_slow_turn();
        }
        self.publish_figures();
    }

    /// Whether anything waits to be done, besides what is due at a certain time: it takes time that no visit has
    /// measured. Most turns of a busy loop have nothing of it.
    #[inline]
    fn has_more(&self) -> bool {
        self.accept_again
            || self.shared.mailbox.is_rung()
            || !self.shared.effects.is_empty()
            || !self.hot.is_empty()
            || !self.graves.is_empty()
            || self.inspection.is_some()
            || self.shared.panics > 0
            || self.shared.drain_until.is_some()
    }

    /// All that a turn does behind its events.
    fn work_off(&mut self, io: &mut I, is_more: bool) {
        if self.accept_again {
            self.accept_pending(io);
        }
        if self.shared.mailbox.is_rung() {
            self.take_letters(io);
        }
        self.apply_effects(io);
        for _ in 0..self.hot.len().min(HOT_PER_TURN) {
            let Some(token) = self.hot.pop_front() else { break };
            match self.table.get_mut(token.slot as usize) {
                Some(entry) if entry.generation == token.generation => entry.flags.clear(Flag::Hot),
                Some(_) | None => continue,
            }
            self.visit(io, token.slot);
        }
        if self.inspection.is_some() {
            self.inspect();
        }
        let is_slow = self.shared.now.since_us(self.shared.turn_began) >= self.shared.stall_us;
        if !is_slow || std::mem::replace(&mut self.timers_waited, true) {
            self.timers_waited = false;
            self.run_timers(io);
        } else {
            self.trim();
        }
        self.relieve(io);
        self.apply_effects(io);
        if self.shared.panics > 0 {
            self.answer_panics(io);
        }
        if !self.graves.is_empty() {
            self.bury(io);
        }
        if self.dialed > 0 && self.dialed == self.table.len() && self.shared.drain_until.is_some() {
            self.end_dialed(io);
            // Nothing else may come that would bring another turn.
            if !self.graves.is_empty() {
                self.bury(io);
            }
        }
        if is_planted(Bug::BellClearedLate) {
            self.shared.mailbox.begin_drain();
        }
        if is_more {
            self.shared.set_now(io.now());
        }
    }

    /// The turn took longer than a batch may: unless a batch did, and was told, it is told here.
    #[cold]
    fn note_slow_turn(&mut self) {
        if std::mem::take(&mut self.shared.has_stalled) {
            return;
        }
        let Shared { metrics, journal, history, now, turn_began, ms, .. } = &mut self.shared;
        metrics.add(Counter::SlowTurns, 1);
        let took_us = now.since_us(*turn_began);
        journal.slow_turn(*ms, self.shard, took_us);
        history.note_loop(*now, Happened::SlowTurn, took_us);
    }

    /// The moment, as it was last read from the clock.
    #[inline]
    pub fn now(&self) -> Time {
        self.shared.now
    }

    /// The same, as deadlines count it.
    #[inline]
    pub fn ms(&self) -> Ms {
        self.shared.ms
    }

    /// How long the owner may wait for events now.
    #[inline]
    pub fn wait(&self) -> Wait {
        if !self.hot.is_empty()
            || self.shared.mailbox.is_rung()
            || !self.shared.effects.is_empty()
            || self.inspection.is_some()
            || (self.accept_again && self.accepting.iter().any(ListenerState::is_hot))
        {
            return Wait::Not;
        }
        match self.due {
            None => Wait::Forever,
            Some(due) => Wait::Until(due),
        }
    }

    fn slots(&self) -> Vec<u32> {
        self.table.iter().map(|(slot, _)| slot_of(slot)).collect()
    }

    /// Visits a connection and sees to it that it is visited again when it needs to be.
    #[inline(always)]
    fn visit(&mut self, io: &mut I, slot: u32) {
        let verdict = self.begin_visit(io, slot).run();
        self.settle(io, slot, verdict);
    }

    #[inline(always)]
    fn begin_visit<'a>(&'a mut self, io: &'a mut I, slot: u32) -> Visit<'a, S, I> {
        let entry = &mut self.table[slot as usize];
        let id = ConnId { shard: self.shard, generation: entry.generation, slot };
        self.shared.metrics.visiting(entry.token(slot));
        let listener = &self.listeners[usize::from(entry.listener)];
        Visit { entry, service: &mut self.service, shared: &mut self.shared, io, listener, id }
    }

    #[inline(always)]
    fn settle(&mut self, io: &mut I, slot: u32, verdict: Verdict) {
        match verdict {
            Verdict::Wait => {}
            Verdict::Again if is_planted(Bug::HotPushLost) => {}
            Verdict::Again => self.push_hot(slot),
            Verdict::Starved => self.starve(io, slot),
            Verdict::Closed => {
                self.close(io, slot);
                return;
            }
        }
        self.arm(slot);
    }

    fn push_hot(&mut self, slot: u32) {
        let entry = &mut self.table[slot as usize];
        if !entry.flags.has(Flag::Hot) {
            entry.flags.set(Flag::Hot);
            let token = entry.token(slot);
            self.hot.push_back(token);
        }
    }

    /// A connection has ended: its buffers go back now, its slot at the end of the turn.
    fn close(&mut self, io: &mut I, slot: u32) {
        let mut visit = self.begin_visit(io, slot);
        let Phase::Closed(why) = visit.entry.phase else { return };
        let end =
            describe(visit.entry, visit.shared.place_of(visit.entry.listener), visit.id, visit.shared.ms);
        visit.shared.history.ended(visit.shared.now, end, why);
        if let Some(input) = visit.entry.input.take() {
            visit.count_dropped(&input, why);
            visit.release(input);
        }
        visit.release_output();
        visit.abandon();
        visit.end_pauses();
        self.shared.metrics.closed(why);
        self.wheel.disarm(slot);
        self.graves.push(slot);
    }

    /// Frees the slots of ended connections; listeners that had run out of descriptors try again.
    fn bury(&mut self, io: &mut I) {
        let mut graves = std::mem::take(&mut self.graves);
        for slot in graves.drain(..) {
            let mut entry = self.table.remove(slot as usize);
            if let Phase::Closed(why) = entry.phase {
                let id = ConnId { shard: self.shard, generation: entry.generation, slot };
                let mut cx = self.shared.cx(id);
                let told =
                    catch_unwind(AssertUnwindSafe(|| self.service.on_close(&mut entry.conn, why, &mut cx)));
                if told.is_err() {
                    self.shared.note_panic();
                }
            }
            self.shared.effects.people.leave(slot);
            io.close(entry.stream);
            self.shared.metrics.buried(self.shared.place_of(entry.listener));
            if usize::from(entry.listener) == self.accepting.len() {
                self.dialed -= 1;
                let generation = entry.generation;
                self.shared.effects.server_lost(ConnId { shard: self.shard, generation, slot });
            } else {
                let place = self.shared.place_of(entry.listener);
                self.give_places_back(slot_of(place), entry.address.get());
            }
        }
        self.graves = graves;
        self.accept_after_close();
    }

    /// Asks a service that panicked what becomes of it.
    #[cold]
    fn answer_panics(&mut self, io: &mut I) {
        self.shared.panics = 0;
        let after = catch_unwind(AssertUnwindSafe(|| self.service.on_panic())).unwrap_or(AfterPanic::Rebuild);
        self.shared.journal.panicked(self.shared.ms, after == AfterPanic::Rebuild);
        if after == AfterPanic::Keep {
            return;
        }
        self.shared.history.note_loop(self.shared.now, Happened::ServiceRebuilt, 0);
        self.service = (self.make_service)();
        self.shared.effects.forget_timers();
        self.start_service();
        self.tell_news();
        for slot in self.slots() {
            // One that is being dialed belonged to the old service, too.
            if !self.table[slot as usize].phase.is_reachable() {
                continue;
            }
            let verdict = self
                .begin_visit(io, slot)
                .finish(CloseReason::Panicked, "the service panicked and begins anew");
            self.settle(io, slot, verdict);
        }
    }

    #[inline]
    fn publish_figures(&mut self) {
        let Shared { metrics, desk, now, turn_began, .. } = &mut self.shared;
        let pool = &desk.pool;
        metrics.set(Gauge::Open, self.table.len() as u64);
        metrics.set(Gauge::InputBytes, pool.used_bytes(Side::Input) as u64);
        metrics.set(Gauge::OutputBytes, pool.used_bytes(Side::Output) as u64);
        metrics.set(Gauge::ReserveBytes, pool.reserve_used_bytes() as u64);
        metrics.set(Gauge::InFlight, desk.open);
        metrics.set(Gauge::Hot, self.hot.len() as u64);
        metrics.set(Gauge::Laters, desk.laters_out() as u64);
        metrics.end_turn(now.since_us(*turn_began));
    }
}

/// A table's index as a slot: the table is never larger than a slot can name.
#[expect(clippy::cast_possible_truncation, reason = "at most CONNECTIONS_PER_SHARD_MAX")]
const fn slot_of(index: usize) -> u32 {
    debug_assert!(index < CONNECTIONS_PER_SHARD_MAX as usize);
    index as u32
}

/// What an idle connection of a service without state costs in the table and the wheel, in bytes.
pub const IDLE_BYTES: usize = size_of::<Entry<(), i32>>() + wheel::LINK_BYTES;
