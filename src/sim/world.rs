//! One world from its first moment to its last: clients, network, turns and time, and what must hold meanwhile.
//!
//! ```text
//!   clients, backends, other threads act -> the network moves -> does the poller return? -> a turn
//!   ^                                                                                         |
//!   `--------------- time passes <--------------- what must hold? <---------------------------'
//! ```
//!
//! A turn is taken only if the poller returns: for an event, for a wake, at the moment that the loop said. So a loop
//! that counts on being called for something else is found out.
//!
//! Time jumps when nobody has anything to do: to the turn's own next deadline, a slow reader's next look, a stall's
//! end. A world in which only the server's timers are left, while a client is owed something, has lost it.

mod checks;
mod commands;
mod time;

use super::backend::{Conduct, Session};
use super::checker::Moment;
use super::client::Client;
use super::io::SimIo;
use super::model::{Answer, Request};
use super::plan::{Plan, refuses};
use super::report::{Failure, Report};
use super::threads::Threads;
use super::trace::{NOBODY, Trace, What};
use super::weather::Trouble;
use super::witness::{Watched, Witness};
use crate::base::text::panic_text;
use crate::base::{CloseReason, Rng, Time};
use crate::mailbox::{Command, Mailbox};
use crate::metrics::{Outcome, ShardMetrics};
use crate::service::Service;
use crate::turn::{Quotas, Turn, TurnConfig, Wait};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Turns of a world at most.
const TURNS_MAX: u64 = 2_000_000;

/// What a message that came to a client must be.
type MessageCheck = Box<dyn FnMut(u32, &str, &[u8]) -> Result<(), String>>;

/// A server and its clients in a world of their own.
pub struct World<S: Service> {
    plan: Plan,
    io: SimIo,
    turn: Turn<Watched<S>, SimIo>,
    metrics: Arc<ShardMetrics>,
    mailbox: Arc<Mailbox>,
    quotas: Arc<Quotas>,
    threads: Threads,
    witness: Witness,
    clients: Vec<Client>,
    sessions: Vec<Session>,
    /// What the next connection to each backend comes to.
    conducts: Vec<Conduct>,
    /// When other threads ask something of the loop.
    commands: Vec<Time>,
    check_message: MessageCheck,
    rng: Rng,
    turns: u64,
    time: time::Watch,
    /// Bytes that may wait for one connection.
    queued_bytes_most: usize,
    drain: Option<(Time, Time)>,
    is_asked_to_drain: Option<u32>,
}

impl<S: Service> fmt::Debug for World<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("plan", &self.plan).field("turns", &self.turns).finish_non_exhaustive()
    }
}

impl<S: Service> World<S> {
    /// A world after `plan`, around the service that `make_service` makes. `model` says what the service must answer:
    /// it is asked for every request that the service is going to see, client by client, before anything is sent.
    pub fn new(
        plan: Plan,
        mut make_service: impl FnMut() -> S + Send + 'static,
        model: impl FnMut(&Request<'_>) -> Answer,
    ) -> World<S> {
        World::with_threads(plan, move |_| make_service(), model)
    }

    /// The same for a service that hands work to other threads: it is given those of this world.
    pub fn with_threads(
        plan: Plan,
        mut make_service: impl FnMut(&Threads) -> S + Send + 'static,
        mut model: impl FnMut(&Request<'_>) -> Answer,
    ) -> World<S> {
        let mut rng = Rng::new(plan.seed ^ 0x5EED_0FAC_1A5C_0DE5);
        let mut io = SimIo::new(rng.next_u64(), plan.weather, plan.listeners.len(), plan.start);
        io.trace = Trace::new(plan.trace_max);
        io.set_descriptors_left(plan.descriptors);
        io.dial_pipes = plan.pipe_bytes;
        let threads = Threads::new(rng.next_u64(), plan.start, plan.work_us, plan.jobs_max);
        io.threads = Some(threads.clone());
        let mut conducts = Vec::new();
        for backend in &plan.backends {
            let conduct = Conduct::draw(backend, &mut rng);
            io.doors.push(conduct.door(backend, &mut rng));
            conducts.push(conduct);
        }
        let clients: Vec<Client> =
            (0..plan.clients).map(|id| Client::new(id, &plan, &mut rng, &mut model)).collect();
        let reply_bytes_most = clients.iter().map(|client| client.script.due_payload_max()).max();
        let queued_bytes_most = plan.queued_bytes_most(reply_bytes_most.unwrap_or(0));
        let commands = (0..plan.commands).map(|_| plan.start.plus_us(rng.below(500_000))).collect();
        let mailbox = Arc::new(Mailbox::new(io.waker()));
        let config = TurnConfig {
            budget_bytes: plan.budget_bytes,
            limits: plan.limits.clone(),
            seed: rng.next_u64(),
            mailbox: Arc::clone(&mailbox),
            peers: vec![Arc::clone(&mailbox)],
            workers: Arc::new(threads.clone()),
            ..TurnConfig::alone(plan.connections_max, plan.listeners.clone())
        };
        let quotas = Arc::clone(&config.quotas);
        let witness = Witness::default();
        let (seen, others) = (witness.clone(), threads.clone());
        let turn = Turn::new(config, plan.start, move || seen.watch(make_service(&others)));
        World {
            metrics: turn.metrics(),
            time: time::Watch::new(plan.start, turn.wait()),
            plan,
            io,
            turn,
            mailbox,
            quotas,
            threads,
            witness,
            clients,
            sessions: Vec::new(),
            conducts,
            commands,
            check_message: Box::new(|_, _, _| Ok(())),
            rng,
            turns: 0,
            queued_bytes_most,
            drain: None,
            is_asked_to_drain: None,
        }
    }

    /// Looks at each message that comes to a client: which client, on which topic, with which body.
    #[must_use]
    pub fn check_messages(
        mut self,
        check: impl FnMut(u32, &str, &[u8]) -> Result<(), String> + 'static,
    ) -> World<S> {
        self.check_message = Box::new(check);
        self
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
        let told = match what {
            None => Ok(self.report()),
            Some(what) => Err(self.failure(what)),
        };
        match told {
            // What was promised and not answered comes back when the service is gone.
            Ok(report) => match self.end_promises() {
                Ok(()) => Ok(report),
                Err(what) => Err(Box::new(Failure {
                    what,
                    seed: report.seed,
                    clients: Vec::new(),
                    trace: report.trace,
                })),
            },
            Err(failure) => Err(failure),
        }
    }

    fn failure(&self, what: String) -> Box<Failure> {
        Box::new(Failure {
            seed: self.plan.seed,
            what,
            clients: self.clients.iter().map(describe).collect(),
            trace: self.io.trace.clone(),
        })
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
            if self.take_turn() {
                self.clients.iter_mut().for_each(|client| client.observe(&self.io));
                self.check_turn()?;
            }
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
                self.act_client(id).map_err(|text| format!("client {id}: {text}"))?;
            }
        }
        self.welcome_dialed();
        for session in &mut self.sessions {
            let backend = &self.plan.backends[session.backend];
            let acted = session.act(&mut self.io, backend);
            acted.map_err(|text| format!("backend of conn {}: {text}", session.remote.0))?;
        }
        self.threads.run_due(self.io.clock());
        self.command();
        Ok(())
    }

    fn act_client(&mut self, id: usize) -> Result<(), String> {
        let client = &mut self.clients[id];
        let token = client.remote.and_then(|remote| self.io.sockets[remote.0 as usize].token);
        let (rebuilds, seen) = self.witness.with(|notes| {
            let seen = token.and_then(|token| notes.conns.get(&token.generation).copied());
            (notes.rebuilds(), seen)
        });
        let moment = Moment {
            now: self.io.clock(),
            has_drained: self.drain.is_some() || self.plan.limits.max_age.is_some(),
            may_refuse: refuses(&self.plan.limits),
            was_rebuilt: rebuilds > 0,
            arrivals: &[],
            message_bytes: seen.map_or(0, |seen| seen.message_bytes),
        };
        client.act(&mut self.io, &mut self.rng, &moment)?;
        for (topic, body) in std::mem::take(&mut client.checker.messages) {
            if topic != commands::TOPIC {
                (self.check_message)(u32::try_from(id).unwrap_or(NOBODY), &topic, &body)?;
            }
        }
        Ok(())
    }

    /// Puts somebody behind each connection that the service has dialed since the last time.
    fn welcome_dialed(&mut self) {
        while let Some((backend, remote)) = self.io.take_dialed() {
            let conduct = self.conducts[backend];
            self.sessions.push(Session::new(backend, remote, conduct, &mut self.io, &mut self.rng));
            let next = Conduct::draw(&self.plan.backends[backend], &mut self.rng);
            self.io.doors[backend] = next.door(&self.plan.backends[backend], &mut self.rng);
            self.conducts[backend] = next;
        }
    }

    /// Takes a turn, if the poller returns. False if it sleeps on.
    fn take_turn(&mut self) -> bool {
        let events = self.io.poll();
        let drain = self.is_asked_to_drain.take().or_else(|| self.drain_by_plan());
        self.time.told = events.len() + usize::from(self.io.was_woken());
        let is_idle = self.time.told == 0 && !self.time.is_due(self.io.clock());
        if is_idle && drain.is_none() {
            if !self.rng.chance(self.plan.weather.idle_wake) {
                return false;
            }
            self.io.troubles.note(Trouble::IdleWake);
        }
        let now = self.io.clock();
        self.turn.begin(now);
        self.io.note(NOBODY, What::Turn, events.len() as u64);
        let drains_at = self.rng.below(3);
        if drains_at == 0 {
            self.begin_drain(drain, true);
        }
        for (token, ready) in events {
            self.io.note_told(token);
            self.turn.handle_event(&mut self.io, token, ready);
        }
        if drains_at > 0 {
            self.begin_drain(drain, drains_at == 1);
        }
        self.turn.end(&mut self.io);
        self.time.wait = self.turn.wait();
        true
    }

    fn drain_by_plan(&self) -> Option<u32> {
        let plan = self.plan.drain?;
        let is_due = self.drain.is_none() && self.io.clock() >= self.plan.start.plus_us(plan.after_us);
        is_due.then_some(plan.grace_ms)
    }

    /// The drain begins: at once, or by a letter from another thread, which the turn takes at its end.
    fn begin_drain(&mut self, grace_ms: Option<u32>, is_direct: bool) {
        let Some(grace_ms) = grace_ms else { return };
        let now = self.io.clock();
        if self.clients.iter().any(|client| client.remote.is_some() && !client.is_over) {
            self.io.troubles.note(Trouble::BusyDrain);
        }
        self.io.note(NOBODY, What::Drain, u64::from(grace_ms));
        self.io.note_drain();
        let grace = Duration::from_millis(u64::from(grace_ms));
        if is_direct || self.mailbox.post(Command::Drain { grace }).is_err() {
            self.turn.begin_drain(&mut self.io, now.ms().after(grace));
        }
        self.drain = Some((now, now.plus_us(u64::from(grace_ms) * 1000)));
    }

    fn is_over(&self) -> bool {
        let is_done = self.turn.is_drained() && self.time.wait != Wait::Not;
        is_done && self.clients.iter().all(|client| client.is_over) && !self.io.has_events()
    }

    fn report(&mut self) -> Report {
        let seen = self.metrics.snapshot();
        let mut closes = [0; CloseReason::COUNT];
        for why in CloseReason::ALL {
            closes[why.index()] = seen.closes(*why);
        }
        let mut outcomes = [0; Outcome::COUNT];
        for outcome in Outcome::ALL {
            outcomes[*outcome as usize] = seen.outcome(*outcome);
        }
        self.note_limits(&seen);
        let made = self.threads.take_made();
        made.into_iter().chain(self.witness.with(|notes| std::mem::take(&mut notes.made))).for_each(
            |trouble| {
                self.io.troubles.note(trouble);
            },
        );
        Report {
            seed: self.plan.seed,
            turns: self.turns,
            simulated_us: self.io.clock().since_us(self.plan.start),
            replies: self.clients.iter().map(|client| client.checker.taken() as u64).sum(),
            troubles: self.io.troubles,
            closes,
            outcomes,
            metrics: seen,
            trace: self.io.trace.clone(),
        }
    }
}

/// One client in a line, for the report of a failure.
fn describe(client: &Client) -> String {
    let script = &client.script;
    let connection = client.remote.map_or("never came".to_owned(), |remote| format!("conn {}", remote.0));
    format!(
        "{connection}, {:?}{}, {} of {} bytes sent, {} of {} replies, {:?}, {:?}, pipes {} up {} down, {:?} seen{}{}",
        script.protocol,
        if script.is_greeter { " with HELLO" } else { "" },
        client.sent,
        script.stream.len(),
        client.checker.taken(),
        script.due.len(),
        script.finale,
        script.reading,
        script.capacity.up,
        script.capacity.down,
        client.saw,
        if client.checker.is_told_to_leave() { ", told to leave" } else { "" },
        if client.is_over { ", over" } else { "" },
    )
}

/// Whether the poller's wait is over.
fn is_reached(wait: Wait, now: Time) -> bool {
    match wait {
        Wait::Not => true,
        Wait::Until(due) => due.reached(now.ms()),
        Wait::Forever => false,
    }
}
