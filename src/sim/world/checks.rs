//! What must hold in a world after every turn, and at its end.

use super::World;
use crate::base::limits::{ENDS_KEPT, FAILURE_BYTES_SPARE, LATERS_PER_SHARD, PAYLOAD_BYTES_DEFAULT};
use crate::base::{CloseReason, ConnId};
use crate::mailbox::{Fate, Question, Report};
use crate::metrics::{Counter, Gauge, Snapshot};
use crate::service::Service;
use crate::sim::backend::{Conduct, Session};
use crate::sim::verdict::{Circumstances, judge};
use crate::sim::weather::Trouble;

/// A pipe through which a large frame may not pass in time, in bytes.
const NARROW_BYTES: usize = 1_000;

/// How much longer than its deadline something may take, in microseconds, with slow turns and late events.
const PATIENCE_US: u128 = 3_000_000;

impl<S: Service> World<S> {
    pub(super) fn check_turn(&mut self) -> Result<(), String> {
        if let Some(wrong) = self.witness.with(|notes| notes.wrong.take()) {
            return Err(wrong);
        }
        let seen = self.metrics.snapshot();
        let open = self.turn.open() as u64;
        let stale = seen.counter(Counter::StaleEvents);
        let dialed = seen.counter(Counter::Dialed) - self.witness.with(|notes| notes.dial_panics);
        let come = seen.counter(Counter::Accepted) + dialed;
        let of_listeners = (0..).zip(seen.listeners()).take(self.plan.listeners.len());
        let checks = [
            (
                of_listeners.clone().all(|(at, one)| u64::from(self.quotas.of_listener(at)) == one.open),
                "a listener's places are not those of its connections",
            ),
            (
                self.quotas.addresses()
                    == usize::from(of_listeners.map(|(_, one)| one.open).sum::<u64>() > 0),
                "an address without a connection, or the other way round",
            ),
            (!seen.torn(), "figures of two moments between two turns"),
            (seen.balances(), "a request without an outcome"),
            (seen.gauge(Gauge::Open) == open, "the gauge of open connections is off"),
            (seen.connections_by_state() == open, "connections stand nowhere, or twice"),
            (
                seen.listeners().iter().map(|one| one.open).sum::<u64>() == open,
                "a listener's connections are off",
            ),
            (open <= u64::from(self.plan.connections_max) + dialed, "more connections than there may be"),
            (come == seen.closes_total() + open, "connections come and go unequally"),
            (stale == self.io.stale_told(), "stale events were not all known as such"),
        ];
        // A dialed server's frames may be larger than any listener's.
        let dialed = if self.sessions.is_empty() { 0 } else { PAYLOAD_BYTES_DEFAULT as usize };
        // What nobody asked for may take the room that is spared for failures.
        let spare =
            if self.witness.with(|notes| notes.has_messages) { FAILURE_BYTES_SPARE as usize } else { 0 };
        let (queued, most) = (self.turn.queued_bytes_max(), self.queued_bytes_most + dialed + spare);
        if queued > most {
            return Err(format!("{queued} bytes wait for one connection, where {most} are the most"));
        }
        match checks.iter().find(|(holds, _)| !holds) {
            None => Ok(()),
            Some((_, text)) => {
                Err(format!("{text}: {come} came, {} ended, {open} are open", seen.closes_total()))
            }
        }
    }

    pub(super) fn check_end(&mut self) -> Result<(), String> {
        let seen = self.metrics.snapshot();
        if self.turn.open() > 0 || self.turn.leases_out() > 0 {
            return Err(format!("{} connections, {} leases left", self.turn.open(), self.turn.leases_out()));
        }
        // Late answers may wait in the mailbox: [`World::end_promises`] counts them.
        for gauge in Gauge::ALL.iter().filter(|gauge| **gauge != Gauge::Laters) {
            if seen.gauge(*gauge) > 0 {
                return Err(format!("gauge {} ends at {}", gauge.name(), seen.gauge(*gauge)));
            }
        }
        self.check_witness(&seen)?;
        let world = Circumstances {
            limits: &self.plan.limits,
            listeners: &self.plan.listeners,
            is_tight: self.plan.is_tight(),
            rebuilds: self.witness.with(|notes| notes.rebuilds()),
            drain: self.drain,
        };
        for (id, client) in self.clients.iter().enumerate() {
            let token = client.remote.and_then(|remote| self.io.sockets[remote.0 as usize].token);
            let seen = self
                .witness
                .with(|notes| token.and_then(|token| notes.conns.get(&token.generation).copied()));
            judge(client, &self.io, seen, &world).map_err(|text| format!("client {id} {text}"))?;
        }
        self.sessions.iter().try_for_each(|session| self.judge_session(session))?;
        self.check_memory()
    }

    /// Which limits this world has reached.
    pub(super) fn note_limits(&mut self, seen: &Snapshot) {
        for (counter, trouble) in [
            (Counter::RefusedListener, Trouble::ListenerFull),
            (Counter::RefusedAddress, Trouble::AddressFull),
            (Counter::AcceptsPaced, Trouble::AcceptsPaced),
            (Counter::PausedRate, Trouble::RatePaused),
            (Counter::RefusedRate, Trouble::RateRefused),
            (Counter::DeliveriesDropped, Trouble::DeliveriesDropped),
        ] {
            (0..seen.counter(counter)).for_each(|_| self.io.troubles.note(trouble));
        }
    }

    /// What the loop remembers of the last ends is what the service was told of them.
    fn check_memory(&mut self) -> Result<(), String> {
        // Before the turn that answers: in that one a service may dial again, in vain.
        let ended = self.witness.with(|notes| notes.ended);
        let question = Question::Closed { limit: usize::MAX, reason: None };
        let awaited = self.mailbox.ask(question).map_err(|why| format!("a question is refused: {why:?}"))?;
        self.turn.begin(self.io.clock());
        self.turn.end(&mut self.io);
        let Fate::Answered(Report::Closed { ends, .. }) = awaited.take() else {
            return Err("a question about the last ends is not answered at once".to_owned());
        };
        let told: Vec<_> = self.witness.with(|notes| {
            let told = |id: ConnId| notes.conns.get(&id.generation).filter(|seen| seen.id == id)?.ended;
            ends.iter().map(|end| told(end.last.id).map(|(why, _)| why)).collect()
        });
        if (ends.len() as u64) < ended.min(ENDS_KEPT as u64) {
            return Err(format!("{ended} have ended, and {} are remembered", ends.len()));
        }
        for (end, told) in ends.iter().zip(told) {
            let is_in_order = end.last.opened_ms <= end.decided_ms && end.decided_ms <= end.closed_ms;
            if told != Some(end.why) || !is_in_order {
                return Err(format!("the service was told {told:?}, and remembered is {end:?}"));
            }
        }
        Ok(())
    }

    fn check_witness(&self, seen: &Snapshot) -> Result<(), String> {
        let (opened, ended) = self.witness.with(|notes| (notes.conns.len(), notes.ended));
        if opened as u64 != ended || ended != seen.closes_total() {
            return Err(format!("{opened} opened, {ended} ended, {} counted", seen.closes_total()));
        }
        Ok(())
    }

    /// Whether a connection to a backend ended for a reason that this backend, in this world, can have caused.
    fn judge_session(&self, session: &Session) -> Result<(), String> {
        let socket = &self.io.sockets[session.remote.0 as usize];
        let seen = self
            .witness
            .with(|notes| socket.token.and_then(|token| notes.conns.get(&token.generation).copied()));
        let Some((opened, (why, at))) = seen.and_then(|seen| Some((seen.opened, seen.ended?))) else {
            return Ok(());
        };
        let most_us = self.plan.limits.connect_deadline.as_micros() + PATIENCE_US;
        if session.conduct == Conduct::Ignores && u128::from(at.since_us(opened)) > most_us {
            return Err(format!("dialed conn {} was waited for too long", session.remote.0));
        }
        let is_drained = self.drain.is_some_and(|(begun, _)| at >= begun);
        let is_allowed = session.conduct.may_end(why)
            || match why {
                CloseReason::Drained => is_drained,
                CloseReason::DrainForced => self.drain.is_some_and(|(_, until)| at.plus_us(1000) >= until),
                // The grace of a drain may end before it is decided.
                CloseReason::DialFailed => is_drained && !session.is_over,
                CloseReason::Panicked => self.witness.with(|notes| notes.rebuilds() > 0),
                CloseReason::ClosedByService => seen.is_some_and(|seen| seen.is_named),
                CloseReason::Failed => socket.figures.had_odd_error,
                CloseReason::Memory => self.plan.is_tight(),
                CloseReason::Idle => self.plan.limits.idle.is_some(),
                // Its pipe may be so narrow that what is relayed does not pass in time.
                CloseReason::FrameDeadline => {
                    matches!(session.conduct, Conduct::Garbles(_)) || socket.capacity.up < NARROW_BYTES
                }
                CloseReason::WriteStall | CloseReason::SlowConsumer => true,
                CloseReason::PeerClosed
                | CloseReason::Reset
                | CloseReason::Truncated
                | CloseReason::BadCrc
                | CloseReason::TooLarge
                | CloseReason::LineTooLong
                | CloseReason::UnknownControl
                | CloseReason::BadControl
                | CloseReason::BadExtension
                | CloseReason::WrongDirection
                | CloseReason::LateHello
                | CloseReason::NoCommonVersion
                | CloseReason::Unauthenticated
                | CloseReason::CertificateExpired
                | CloseReason::CertificateRevoked
                | CloseReason::TlsBroken
                | CloseReason::TlsOnPlain
                | CloseReason::Http
                | CloseReason::Resp
                | CloseReason::Proxy
                | CloseReason::Heartbeat
                | CloseReason::Aged
                | CloseReason::RequestFailed => false,
            };
        if is_allowed {
            return Ok(());
        }
        Err(format!(
            "dialed conn {} ended {} with a backend that {:?}",
            session.remote.0,
            why.name(),
            session.conduct
        ))
    }

    /// Every right to answer comes back once nobody can have it any more, but for those that were forgotten.
    pub(super) fn end_promises(self) -> Result<(), String> {
        let World { turn, mailbox, threads, .. } = self;
        let given_away = turn.laters_out();
        while let Some(at) = threads.next_at() {
            threads.run_due(at);
        }
        drop(turn);
        let back = std::iter::from_fn(|| mailbox.take_answer()).count();
        let forgotten = threads.forgotten();
        if given_away == back + forgotten {
            return Ok(());
        }
        Err(format!(
            "of {LATERS_PER_SHARD} rights to answer {given_away} are given away, {back} come back at the end, \
             {forgotten} were forgotten"
        ))
    }
}
