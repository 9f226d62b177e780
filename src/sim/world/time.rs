//! How a world's time passes, and who may be waiting for what meanwhile.

use super::{World, is_reached};
use crate::base::{Ms, Time};
use crate::metrics::{Counter, Gauge, Outcome, Snapshot};
use crate::service::Service;
use crate::sim::io::{Remote, pick};
use crate::turn::Wait;

/// Turns in a row that may find nothing to do though the loop said that there was work.
const IDLE_TURNS_MAX: u32 = 12;
/// How long somebody may be owed something while only timers run: longer than the longest accept pause.
const OWED_US_MAX: u64 = 3_000_000;
/// After so long without anything done the last drain begins, whatever timers still run.
const QUIET_US_MAX: u64 = 200_000_000;
/// The grace of the last drain, when nobody is busy any more.
const LAST_GRACE_MS: u32 = 60_000;

/// What is watched to tell work from waiting.
pub(super) struct Watch {
    /// For how long the loop said that it may wait, at the end of its last turn.
    pub(super) wait: Wait,
    /// Events of the last poll.
    pub(super) told: usize,
    idle_turns: u32,
    /// The server's doings.
    work: u64,
    /// What clients have got done, and when that last grew.
    progress: u64,
    progress_at: Time,
}

impl Watch {
    pub(super) const fn new(start: Time, wait: Wait) -> Watch {
        Watch { wait, told: 0, idle_turns: 0, work: 0, progress: 0, progress_at: start }
    }

    /// Whether the poller's wait is over.
    pub(super) fn is_due(&self, now: Time) -> bool {
        is_reached(self.wait, now)
    }
}

impl<S: Service> World<S> {
    pub(super) fn pass_time(&mut self) -> Result<(), String> {
        let now = self.io.clock();
        let seen = self.metrics.snapshot();
        self.note_progress(&seen, now);
        let work = self.work(&seen);
        let has_worked = work != self.time.work || self.time.told > 0;
        self.time.work = work;
        if has_worked {
            self.time.idle_turns = 0;
        }
        let due = match self.time.wait {
            Wait::Not => Some(now),
            Wait::Until(due) => Some(time_of(due, now)),
            Wait::Forever => None,
        };
        if due.is_some_and(|due| due <= now) {
            self.time.idle_turns += u32::from(!has_worked);
            if self.time.idle_turns > IDLE_TURNS_MAX {
                return Err("the loop spins: it says that there is work and does none".to_owned());
            }
            self.io.advance_us(self.rng.below(200));
            return Ok(());
        }
        self.time.idle_turns = 0;
        let by_others = self.next_by_others();
        if self.io.has_events() || by_others.is_some_and(|at| at <= now) {
            let step = [50, 1_000, 20_000][pick(&mut self.rng, 3)];
            self.io.advance_us(step.min(self.rng.below(20_000)));
            return Ok(());
        }
        self.jump(now, due, by_others, &seen)
    }

    /// Everything that the server does, also without touching the kernel: messages that a stopped batch left behind,
    /// timers, letters.
    fn work(&self, seen: &Snapshot) -> u64 {
        let counted = [Counter::FramesIn, Counter::LateAnswers, Counter::Heartbeats, Counter::Undeliverable];
        let counted: u64 = counted.iter().map(|counter| seen.counter(*counter)).sum();
        let ended: u64 = Outcome::ALL.iter().map(|outcome| seen.outcome(*outcome)).sum();
        self.io.work() + counted + ended + self.witness.with(|notes| notes.calls)
    }

    fn note_progress(&mut self, seen: &Snapshot, now: Time) {
        let is_closed = |remote: Remote| self.io.sockets[remote.0 as usize].is_closed;
        let by_clients: usize = self
            .clients
            .iter()
            .map(|client| {
                let ends = usize::from(client.is_over) + usize::from(client.remote.is_some_and(is_closed));
                client.said + client.checker.received() + ends
            })
            .sum();
        let progress = by_clients as u64 + seen.counter(Counter::Accepted);
        if progress != self.time.progress {
            (self.time.progress, self.time.progress_at) = (progress, now);
        }
    }

    /// When clients, backends, other threads or the network do something next.
    fn next_by_others(&self) -> Option<Time> {
        let clients = self.clients.iter().filter_map(|client| client.next_at(&self.io));
        let backends = self.sessions.iter().filter_map(|session| session.next_at(&self.io));
        let threads = self.threads.next_at().into_iter().chain(self.next_command());
        clients.chain(backends).chain(threads).chain(self.io.next_arrival()).min()
    }

    /// Nobody has anything to do now: time jumps to when somebody has.
    fn jump(
        &mut self,
        now: Time,
        due: Option<Time>,
        by_others: Option<Time>,
        seen: &Snapshot,
    ) -> Result<(), String> {
        let by_drain = self.plan.drain.filter(|_| self.drain.is_none());
        let by_drain = by_drain.map(|drain| self.plan.start.plus_us(drain.after_us));
        if by_others.is_none() {
            self.check_nobody_waits(now, due, seen)?;
        }
        let next = [due, by_others, by_drain].into_iter().flatten().min();
        let is_quiet = by_others.is_none() && now.since_us(self.time.progress_at) > QUIET_US_MAX;
        match next {
            Some(next) if !is_quiet => {
                let late_us = if self.rng.chance(300) { self.rng.below(3_000) } else { 0 };
                self.io.advance_us(next.since_us(now) + late_us);
                Ok(())
            }
            Some(_) | None if self.drain.is_none() => {
                self.is_asked_to_drain = Some(LAST_GRACE_MS);
                self.time.progress_at = now;
                Ok(())
            }
            Some(_) | None => Err(format!(
                "the drain does not end: {} connections, {} clients wait",
                self.turn.open(),
                self.clients.iter().filter(|client| !client.is_over).count()
            )),
        }
    }

    /// Requests that are open may wait for their answer, for as long as the server lets them.
    fn check_nobody_waits(&self, now: Time, due: Option<Time>, seen: &Snapshot) -> Result<(), String> {
        let deadline_us = u64::try_from(self.plan.limits.request_deadline.as_micros()).unwrap_or(u64::MAX);
        let patience_us = match seen.gauge(Gauge::InFlight) {
            0 => OWED_US_MAX,
            _ => OWED_US_MAX.saturating_add(deadline_us),
        };
        if due.is_some() && now.since_us(self.time.progress_at) <= patience_us {
            return Ok(());
        }
        for (id, client) in self.clients.iter().enumerate() {
            if let Some(what) = client.is_owed(&self.io) {
                return Err(format!("client {id} waits for {what}, and nothing will bring it"));
            }
        }
        Ok(())
    }
}

/// The first moment at which `due` is reached.
fn time_of(due: Ms, now: Time) -> Time {
    match due.since(now.ms()) {
        0 => now,
        ahead => Time((now.0 / 1000 + u64::from(ahead)) * 1000),
    }
}
