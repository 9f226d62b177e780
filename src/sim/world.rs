//! One world from its first moment to its last: clients, network, turns and time, and what must hold meanwhile.
//!
//! ```text
//!   clients act -> the network moves -> poll -> a turn -> what must hold? -> time passes -+
//!   ^-------------------------------------------------------------------------------------+
//! ```
//!
//! Time jumps when nobody has anything to do: to the turn's own next deadline, a slow reader's next look, a stall's
//! end. A world in which only the server's timers are left, while a client is owed something, has lost it.

use super::client::Client;
use super::io::{SimIo, pick};
use super::model::{Answer, Request};
use super::plan::Plan;
use super::report::{Failure, Report};
use super::trace::{NOBODY, Trace, What};
use super::verdict::{Circumstances, judge};
use super::weather::Trouble;
use super::witness::{Watched, Witness};
use crate::base::{CloseReason, Ms, Rng, Time};
use crate::metrics::{Counter, Gauge, ShardMetrics, Snapshot};
use crate::service::Service;
use crate::turn::{Turn, TurnConfig, Wait};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Turns in a row that may find nothing to do though the loop said that there was work.
const IDLE_TURNS_MAX: u32 = 12;
/// Turns of a world at most.
const TURNS_MAX: u64 = 2_000_000;
/// How long somebody may be owed something while only timers run: longer than the longest accept pause.
const OWED_US_MAX: u64 = 3_000_000;
/// After so long without anything done the last drain begins, whatever timers still run.
const QUIET_US_MAX: u64 = 200_000_000;
/// The grace of the last drain, when nobody is busy any more.
const LAST_GRACE_MS: u32 = 60_000;

/// A server and its clients in a world of their own.
pub struct World<S: Service> {
    plan: Plan,
    io: SimIo,
    turn: Turn<Watched<S>, SimIo>,
    metrics: Arc<ShardMetrics>,
    witness: Witness,
    clients: Vec<Client>,
    rng: Rng,
    turns: u64,
    idle_turns: u32,
    work: u64,
    work_at: Time,
    told: usize,
    drain: Option<(Time, Time)>,
    is_asked_to_drain: Option<u32>,
}

impl<S: Service> World<S> {
    /// A world after `plan`, around the service that `make_service` makes. `model` says what the service must answer:
    /// it is asked for every request of every client, client by client, before anything is sent.
    pub fn new(
        plan: Plan,
        mut make_service: impl FnMut() -> S + Send + 'static,
        mut model: impl FnMut(&Request<'_>) -> Answer,
    ) -> World<S> {
        let mut rng = Rng::new(plan.seed ^ 0x5EED_0FAC_1A5C_0DE5);
        let mut io = SimIo::new(rng.next_u64(), plan.weather, plan.listeners.len(), plan.start);
        io.trace = Trace::new(plan.trace_max);
        io.set_descriptors_left(plan.descriptors);
        let clients = (0..plan.clients).map(|id| Client::new(id, &plan, &mut rng, &mut model)).collect();
        let config = TurnConfig {
            budget_bytes: plan.budget_bytes,
            limits: plan.limits.clone(),
            seed: rng.next_u64(),
            ..TurnConfig::alone(plan.connections_max, plan.listeners.clone())
        };
        let witness = Witness::default();
        let seen = witness.clone();
        let turn =
            Turn::new(config, plan.start, move || Watched { inner: make_service(), witness: seen.clone() });
        World {
            metrics: turn.metrics(),
            work_at: plan.start,
            plan,
            io,
            turn,
            witness,
            clients,
            rng,
            turns: 0,
            idle_turns: 0,
            work: 0,
            told: 0,
            drain: None,
            is_asked_to_drain: None,
        }
    }

    /// Lets the world run to its end: every client is gone, and the server has drained.
    ///
    /// # Errors
    ///
    /// The first thing that did not hold, with the last events before it. A panic outside of the service's own
    /// callbacks is one.
    pub fn run(mut self) -> Result<Report, Box<Failure>> {
        let ran = catch_unwind(AssertUnwindSafe(|| self.run_on()));
        let what = match ran {
            Ok(Ok(())) => None,
            Ok(Err(what)) => Some(what),
            Err(panic) => Some(format!("a panic: {}", panic_text(panic.as_ref()))),
        };
        match what {
            None => Ok(self.report()),
            Some(what) => Err(Box::new(Failure {
                seed: self.plan.seed,
                what,
                clients: self.clients.iter().map(describe).collect(),
                trace: self.io.trace,
            })),
        }
    }

    fn run_on(&mut self) -> Result<(), String> {
        self.note_circumstances();
        loop {
            self.turns += 1;
            if self.turns > TURNS_MAX {
                return Err(format!("no end after {TURNS_MAX} turns"));
            }
            self.act()?;
            self.io.blow();
            self.take_turn();
            self.clients.iter_mut().for_each(|client| client.observe(&self.io));
            self.check_turn()?;
            if self.is_over() {
                return self.check_end();
            }
            self.pass_time()?;
        }
    }

    fn note_circumstances(&mut self) {
        if self.plan.is_tight() {
            self.io.troubles.note(Trouble::TightMemory);
        }
        if self.plan.wraps() {
            self.io.troubles.note(Trouble::ClockWrap);
        }
    }

    fn act(&mut self) -> Result<(), String> {
        for id in 0..self.clients.len() {
            if self.rng.chance(700) {
                let acted = self.clients[id].act(&mut self.io, &mut self.rng);
                acted.map_err(|text| format!("client {id}: {text}"))?;
            }
        }
        Ok(())
    }

    fn take_turn(&mut self) {
        let events = self.io.poll();
        self.told = events.len();
        let now = self.io.clock();
        self.turn.begin(now);
        self.io.note(NOBODY, What::Turn, events.len() as u64);
        let drain = self.is_asked_to_drain.take().or_else(|| self.drain_by_plan());
        let drains_first = self.rng.chance(500);
        if drains_first {
            self.begin_drain(drain);
        }
        for (token, ready) in events {
            self.io.note_told(token);
            self.turn.handle_event(&mut self.io, token, ready);
        }
        if !drains_first {
            self.begin_drain(drain);
        }
        self.turn.end(&mut self.io);
    }

    fn drain_by_plan(&self) -> Option<u32> {
        let plan = self.plan.drain?;
        let is_due = self.drain.is_none() && self.io.clock() >= self.plan.start.plus_us(plan.after_us);
        is_due.then_some(plan.grace_ms)
    }

    fn begin_drain(&mut self, grace_ms: Option<u32>) {
        let Some(grace_ms) = grace_ms else { return };
        let now = self.io.clock();
        if self.clients.iter().any(|client| client.remote.is_some() && !client.is_over) {
            self.io.troubles.note(Trouble::BusyDrain);
        }
        self.io.note(NOBODY, What::Drain, u64::from(grace_ms));
        self.io.note_drain();
        let until = now.ms().plus(grace_ms);
        self.turn.begin_drain(&mut self.io, until);
        self.drain = Some((now, now.plus_us(u64::from(grace_ms) * 1000)));
    }

    fn check_turn(&mut self) -> Result<(), String> {
        let seen = self.metrics.snapshot();
        let open = self.turn.open() as u64;
        let stale = seen.counter(Counter::StaleEvents);
        let checks = [
            (!seen.torn(), "figures of two moments between two turns"),
            (seen.balances(), "a request without an outcome"),
            (seen.gauge(Gauge::Open) == open, "the gauge of open connections is off"),
            (open <= u64::from(self.plan.connections_max), "more connections than there may be"),
            (
                seen.counter(Counter::Accepted) == seen.closes_total() + open,
                "connections come and go unequally",
            ),
            (stale == self.io.stale_told(), "stale events were not all known as such"),
        ];
        match checks.iter().find(|(holds, _)| !holds) {
            None => Ok(()),
            Some((_, text)) => Err((*text).to_owned()),
        }
    }

    fn is_over(&self) -> bool {
        self.turn.is_drained() && self.clients.iter().all(|client| client.is_over) && !self.io.has_events()
    }

    fn pass_time(&mut self) -> Result<(), String> {
        let now = self.io.clock();
        // Messages that a stopped batch left behind are handled without touching the kernel.
        let work = self.io.work() + self.metrics.snapshot().counter(Counter::FramesIn);
        let has_worked = work != self.work || self.told > 0;
        if has_worked {
            self.idle_turns = 0;
        }
        if work != self.work {
            (self.work, self.work_at) = (work, now);
        }
        let due = match self.turn.wait() {
            Wait::Not => Some(now),
            Wait::Until(due) => Some(time_of(due, now)),
            Wait::Forever => None,
        };
        if due.is_some_and(|due| due <= now) {
            self.idle_turns += u32::from(!has_worked);
            if self.idle_turns > IDLE_TURNS_MAX {
                return Err("the loop spins: it says that there is work and does none".to_owned());
            }
            self.io.advance_us(self.rng.below(200));
            return Ok(());
        }
        self.idle_turns = 0;
        let by_others = self.clients.iter().filter_map(|client| client.next_at(&self.io));
        let by_others = by_others.chain(self.io.next_arrival()).min();
        if self.io.has_events() || by_others.is_some_and(|at| at <= now) {
            self.io.advance_us([50, 1_000, 20_000][pick(&mut self.rng, 3)].min(self.rng.below(20_000)));
            return Ok(());
        }
        self.jump(now, due, by_others)
    }

    /// Nobody has anything to do now: time jumps to when somebody has.
    fn jump(&mut self, now: Time, due: Option<Time>, by_others: Option<Time>) -> Result<(), String> {
        let by_drain = self.plan.drain.filter(|_| self.drain.is_none());
        let by_drain = by_drain.map(|drain| self.plan.start.plus_us(drain.after_us));
        if by_others.is_none() {
            self.check_nobody_waits(now, due)?;
        }
        let next = [due, by_others, by_drain].into_iter().flatten().min();
        let is_quiet = by_others.is_none() && now.since_us(self.work_at) > QUIET_US_MAX;
        match next {
            Some(next) if !is_quiet => {
                let late_us = if self.rng.chance(300) { self.rng.below(3_000) } else { 0 };
                self.io.advance_us(next.since_us(now) + late_us);
                Ok(())
            }
            Some(_) | None if self.drain.is_none() => {
                self.is_asked_to_drain = Some(LAST_GRACE_MS);
                self.work_at = now;
                Ok(())
            }
            Some(_) | None => Err(format!(
                "the drain does not end: {} connections, {} clients wait",
                self.turn.open(),
                self.clients.iter().filter(|client| !client.is_over).count()
            )),
        }
    }

    fn check_nobody_waits(&self, now: Time, due: Option<Time>) -> Result<(), String> {
        if due.is_some() && now.since_us(self.work_at) <= OWED_US_MAX {
            return Ok(());
        }
        for (id, client) in self.clients.iter().enumerate() {
            if let Some(what) = client.is_owed(&self.io) {
                return Err(format!("client {id} waits for {what}, and nothing will bring it"));
            }
        }
        Ok(())
    }

    fn check_end(&mut self) -> Result<(), String> {
        let seen = self.metrics.snapshot();
        if self.turn.open() > 0 || self.turn.leases_out() > 0 {
            return Err(format!("{} connections, {} leases left", self.turn.open(), self.turn.leases_out()));
        }
        for gauge in Gauge::ALL {
            if seen.gauge(*gauge) > 0 {
                return Err(format!("gauge {} ends at {}", gauge.name(), seen.gauge(*gauge)));
            }
        }
        self.check_witness(&seen)?;
        let world = Circumstances {
            limits: &self.plan.limits,
            listeners: &self.plan.listeners,
            is_tight: self.plan.is_tight(),
            rebuilds: self.witness.with(|notes| notes.rebuilds),
            drain: self.drain,
        };
        for (id, client) in self.clients.iter().enumerate() {
            let ended = client.remote.and_then(|remote| {
                let port = super::io::address_of(remote.0).port();
                self.witness.with(|notes| notes.ended.get(&port).copied())
            });
            judge(client, &self.io, ended, &world).map_err(|text| format!("client {id} {text}"))?;
        }
        Ok(())
    }

    fn check_witness(&self, seen: &Snapshot) -> Result<(), String> {
        let (opened, ended, odd) =
            self.witness.with(|notes| (notes.opened.len(), notes.ended.len(), notes.odd_ends));
        if odd > 0 || opened != ended || ended as u64 != seen.closes_total() {
            return Err(format!(
                "{opened} opened, {ended} ended, {odd} of them oddly, {} counted",
                seen.closes_total()
            ));
        }
        Ok(())
    }

    fn report(self) -> Report {
        let seen = self.metrics.snapshot();
        let mut closes = [0; CloseReason::COUNT];
        for why in CloseReason::ALL {
            closes[why.index()] = seen.closes(*why);
        }
        Report {
            seed: self.plan.seed,
            turns: self.turns,
            simulated_us: self.io.clock().since_us(self.plan.start),
            replies: self.clients.iter().map(|client| client.checker.taken() as u64).sum(),
            troubles: self.io.troubles,
            closes,
            metrics: seen,
            trace: self.io.trace,
        }
    }
}

/// One client in a line, for the report of a failure.
fn describe(client: &Client) -> String {
    let script = &client.script;
    let connection = client.remote.map_or("never came".to_owned(), |remote| format!("conn {}", remote.0));
    format!(
        "{connection}, {:?}, {} of {} bytes sent, {} of {} replies, {:?}, {:?}, pipes {} up {} down, {:?} seen{}",
        script.protocol,
        client.sent,
        script.stream.len(),
        client.checker.taken(),
        script.due.len(),
        script.finale,
        script.reading,
        script.capacity.up,
        script.capacity.down,
        client.saw,
        if client.is_over { ", over" } else { "" },
    )
}

/// The first moment at which `due` is reached.
fn time_of(due: Ms, now: Time) -> Time {
    match due.since(now.ms()) {
        0 => now,
        ahead => Time((now.0 / 1000 + u64::from(ahead)) * 1000),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text").to_owned()
}
