//! How connections begin and end: connects at a rate, the first request that proves them, losses, retirements, resets,
//! storms.
//!
//! Always holds: a connection that is lost or ended while traffic runs is begun anew, later after each failure in a
//! row; every end gives each open request its fate.

use super::super::link::{End, Overdue};
use super::super::plan::Impairment;
use super::super::report::Trouble;
use super::conn::State;
use super::socket::Socket;
use super::{Alarm, CONNECTING_MAX, NEVER, Timer, Worker, nanos};
use crate::base::Rng;
use crate::net;
use crate::tls::{Failed, Progress};
use mio::{Interest, Token};
use std::cmp::Reverse;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::Ordering;

/// How long to wait after a failure to connect, at first and at most, in nanoseconds.
const RETRY_NS: (u64, u64) = (10_000_000, 1_000_000_000);

/// Steps of a handshake at one event: more than there are.
const SHAKES_MAX: u32 = 64;

/// Connects begun between two looks at the sockets.
const CONNECTS_PER_TURN: usize = 16;

/// How often a slow reader reads, in nanoseconds.
pub(super) const SLOW_READ_NS: u64 = 50_000_000;

impl Worker<'_> {
    /// Begins connections, as many as may be under way and as fast as was asked for.
    pub(super) fn begin_connects(&mut self, now: u64) {
        for _ in 0..CONNECTS_PER_TURN {
            if now < self.next_connect || self.connecting >= CONNECTING_MAX || now >= self.times.end {
                return;
            }
            let Some(at) = self.unbegun.pop_front() else { return };
            if let Some(rate) = self.plan.life.connect_rate {
                let gap_s = f64::from(self.plan.threads) / rate;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a positive rate"
                )]
                let gap_ns = (gap_s * 1e9) as u64;
                self.next_connect = self.next_connect.max(now.saturating_sub(gap_ns)) + gap_ns;
            }
            self.begin_connect(at, now);
        }
    }

    fn begin_connect(&mut self, at: u32, now: u64) {
        let conn = &mut self.conns[at as usize];
        debug_assert_eq!(conn.state, State::Absent);
        conn.since = super::nanos(self.origin.elapsed());
        self.record.tally.attempted += 1;
        let source = self.plan.life.sources.of(conn.link.id);
        let begun = net::connect_from(&self.plan.target, source).and_then(|mut stream| {
            let interest = Interest::READABLE.add(Interest::WRITABLE);
            self.poll.registry().register(&mut stream, Token(at as usize), interest)?;
            Ok(stream)
        });
        match begun {
            Ok(stream) => {
                conn.stream = Some(stream);
                conn.state = State::Connecting;
                self.connecting += 1;
                // A connect on loopback is often decided at once.
                self.look_at_connect(at as usize);
            }
            Err(error) => self.not_connected(at as usize, &error, now),
        }
    }

    /// It may be decided by now.
    pub(super) fn look_at_connect(&mut self, at: usize) {
        let conn = &mut self.conns[at];
        let Some(stream) = &conn.stream else { return };
        match net::finish_connect(stream) {
            Ok(false) => {}
            Ok(true) => {
                if let Some(connector) = &self.plan.tls {
                    match connector.start(&self.plan.target.to_string()) {
                        Ok(secure) => self.conns[at].secure = Some(Box::new(secure)),
                        Err(why) => return self.not_secure(at, &why),
                    }
                    self.conns[at].state = State::Shaking;
                    return self.shake(at);
                }
                self.established(at);
            }
            Err(error) => {
                self.connecting -= 1;
                let now = self.now();
                self.not_connected(at, &error, now);
            }
        }
    }

    /// Says who it is, if it is to. False if a fresh socket does not take that much.
    fn greet(&mut self, at: usize) -> bool {
        let Some(token) = &self.plan.life.token else { return true };
        let hello = token.hello();
        let conn = &mut self.conns[at];
        let Some(stream) = conn.stream.as_ref() else { return false };
        let secure = conn.secure.as_deref_mut();
        let mut stream = Socket { stream, secure, cipher: &mut self.cipher, has_more: false };
        stream.write(&hello).is_ok_and(|bytes| bytes == hello.len())
    }

    /// A step of a handshake, and others while there is something to read.
    #[cold]
    pub(super) fn shake(&mut self, at: usize) {
        for _ in 0..SHAKES_MAX {
            let conn = &mut self.conns[at];
            let (Some(mut stream), Some(secure)) = (conn.stream.as_ref(), conn.secure.as_mut()) else {
                return;
            };
            match secure.shake(&mut stream, &mut self.cipher) {
                Ok(Progress::Done) => return self.established(at),
                Ok(Progress::Again | Progress::Reads) => {}
                Ok(Progress::Idle | Progress::Writes) => return,
                Err(why) => return self.not_secure(at, &why),
            }
        }
    }

    #[cold]
    fn not_secure(&mut self, at: usize, why: &Failed) {
        self.connecting -= 1;
        let now = self.now();
        self.not_connected(at, &io::Error::other(format!("TLS: {why}")), now);
    }

    /// It is connected, and TLS is agreed on if there is to be any.
    fn established(&mut self, at: usize) {
        let now = self.now();
        let conn = &mut self.conns[at];
        conn.state = State::Probing;
        conn.failures = 0;
        self.connecting -= 1;
        self.record.tally.established += 1;
        self.shared.established.fetch_add(1, Ordering::Relaxed);
        self.record.tally.connect.record(now - conn.since, 1);
        if self.greet(at) {
            self.probe(at, now);
        } else {
            self.lose(at, now, Trouble::Closed);
        }
    }

    #[cold]
    fn not_connected(&mut self, at: usize, error: &io::Error, now: u64) {
        // A full queue of a unix listener is no failure: there is just no word for "wait".
        if error.kind() != ErrorKind::WouldBlock {
            #[expect(clippy::wildcard_enum_match_arm, reason = "std's list grows")]
            self.record.trouble(match error.kind() {
                ErrorKind::ConnectionRefused => Trouble::ConnectRefused,
                ErrorKind::TimedOut => Trouble::ConnectTimeout,
                _ => Trouble::ConnectFailed,
            });
            if self.shared.refused.fetch_add(1, Ordering::Relaxed) == 0
                && let Ok(mut first) = self.shared.first_refusal.lock()
            {
                *first = Some(error.to_string());
            }
        }
        let conn = &mut self.conns[at];
        (conn.stream, conn.secure) = (None, None);
        conn.state = State::Absent;
        conn.life += 1;
        conn.failures += 1;
        let wait = RETRY_NS.0.saturating_mul(1 << (conn.failures - 1).min(10)).min(RETRY_NS.1);
        self.alarm(at, now + wait, Alarm::Connect);
    }

    /// The first reply came.
    pub(super) fn proven(&mut self, at: usize, now: u64) {
        let conn = &mut self.conns[at];
        self.record.tally.verified += 1;
        self.open += 1;
        self.record.tally.open_max = self.record.tally.open_max.max(self.open);
        self.shared.ready.fetch_add(1, Ordering::Relaxed);
        if std::mem::take(&mut conn.was_struck) {
            self.storm.left -= 1;
            if self.storm.left == 0
                && let Some(began) = self.storm.began.take()
            {
                self.record.tally.recovery.record(now - began, 1);
            }
        }
        let conn = &mut self.conns[at];
        conn.state = if conn.is_idle { State::Idle } else { State::Ready };
        if conn.is_idle {
            // Nothing more is sent: what the first request took is given back.
            conn.link.end(now, &mut self.record, End::Probe);
        } else if self.is_traffic(now) {
            self.settle(at, now);
        }
    }

    /// A connection is ready and traffic runs: its life begins.
    pub(super) fn settle(&mut self, at: usize, now: u64) {
        let conn = &mut self.conns[at];
        conn.requests = 0;
        let churn = self.plan.life.churn.map(|mean| now + about(&mut conn.rng, nanos(mean)));
        let reset = match conn.impairment {
            Some(Impairment::Reset { after }) => Some(now + about(&mut conn.rng, nanos(after))),
            Some(Impairment::Slow { .. } | Impairment::Stall { .. } | Impairment::HalfClose { .. })
            | None => None,
        };
        let is_slow = matches!(conn.impairment, Some(Impairment::Slow { .. }));
        conn.stalled_at = now;
        if let Some(when) = churn {
            self.alarm(at, when, Alarm::Retire);
        }
        if let Some(when) = reset {
            self.alarm(at, when, Alarm::Reset);
        }
        if is_slow {
            self.alarm(at, now + SLOW_READ_NS, Alarm::SlowRead);
        }
        self.refill(at, now);
    }

    pub(super) fn alarm(&mut self, at: usize, when: u64, what: Alarm) {
        let life = self.conns[at].life;
        let conn = u32::try_from(at).expect("a plan bounds its connections");
        self.timers.push(Reverse(Timer { at: when, conn, life, what }));
    }

    /// Handles the timers that are due, and a storm.
    pub(super) fn ring(&mut self, now: u64) {
        while let Some(Reverse(timer)) = self.timers.peek().copied()
            && timer.at <= now
        {
            self.timers.pop();
            let at = timer.conn as usize;
            if self.conns[at].life != timer.life {
                continue;
            }
            match timer.what {
                Alarm::Connect => self.unbegun.push_back(timer.conn),
                Alarm::Retire => self.retire(at, now),
                Alarm::Reset => self.reset(at, now),
                Alarm::SlowRead => self.read_slowly(at, now),
                Alarm::StallOver => self.end_stall(at, now),
            }
        }
        if now >= self.storm.next {
            self.strike(now);
        }
    }

    /// Sends nothing more, and closes when all is answered.
    fn retire(&mut self, at: usize, now: u64) {
        if self.conns[at].state == State::Ready && self.is_traffic(now) {
            self.conns[at].state = State::Retiring;
            self.retire_if_done(at, now);
        }
    }

    pub(super) fn retire_if_done(&mut self, at: usize, now: u64) {
        let conn = &self.conns[at];
        let is_leaving = matches!(conn.state, State::Retiring | State::HalfClosed);
        if is_leaving && conn.link.open() == 0 && !conn.link.is_blocked() {
            self.end(at, now, End::Planned);
        }
    }

    fn reset(&mut self, at: usize, now: u64) {
        let conn = &mut self.conns[at];
        if !conn.state.is_live() || now >= self.times.end {
            return;
        }
        if let Some(stream) = conn.stream.take() {
            // It is closed in any case; a system that refuses the option closes it in order.
            let _ = net::reset(stream);
        }
        self.end(at, now, End::Planned);
    }

    /// Resets every connection at once.
    fn strike(&mut self, now: u64) {
        self.storm.next = self.plan.life.storm.map_or(NEVER, |every| self.storm.next + nanos(every));
        if now >= self.times.end {
            self.storm.next = NEVER;
            return;
        }
        // A storm that strikes before the last is over makes one long one.
        self.storm.began.get_or_insert(now);
        for at in 0..self.conns.len() {
            if self.conns[at].state.is_live() {
                if !std::mem::replace(&mut self.conns[at].was_struck, true) {
                    self.storm.left += 1;
                }
                self.reset(at, now);
            }
        }
    }

    /// The connection ended against the plan.
    #[cold]
    pub(super) fn lose(&mut self, at: usize, now: u64, why: Trouble) {
        self.record.trouble(why);
        self.record.tally.lost += u64::from(!self.conns[at].is_told_to_go);
        let is_probe = !self.conns[at].state.is_live();
        self.end(at, now, if is_probe { End::Probe } else { End::Unplanned });
    }

    /// The connection is over, and is begun anew if traffic runs or has not begun.
    pub(super) fn end(&mut self, at: usize, now: u64, how: End) {
        let conn = &mut self.conns[at];
        if conn.state.is_open() {
            self.open -= 1;
            self.shared.ready.fetch_sub(1, Ordering::Relaxed);
        }
        if matches!(conn.state, State::Connecting | State::Shaking) {
            self.connecting -= 1;
        }
        match how {
            End::Planned | End::Unplanned if conn.is_told_to_go => self.record.tally.lost += 1,
            End::Planned => self.record.tally.retired += 1,
            End::Unplanned | End::Probe => {}
        }
        conn.is_told_to_go = false;
        conn.link.end(now, &mut self.record, how);
        (conn.stream, conn.secure) = (None, None);
        conn.is_stalled = false;
        conn.life += 1;
        // One that is lost before it has answered counts as a failure to connect.
        let was_proven = conn.state.is_open();
        conn.state = State::Absent;
        conn.failures = if was_proven { 0 } else { conn.failures + 1 };
        let wait = if was_proven { 0 } else { RETRY_NS.0 << conn.failures.min(6) };
        if now < self.times.end {
            self.alarm(at, now + wait.min(RETRY_NS.1), Alarm::Connect);
        }
    }

    /// Looks for what takes too long.
    pub(super) fn sweep(&mut self, now: u64) {
        if self.only_holds() {
            return;
        }
        let timeout = nanos(self.plan.timeout);
        for at in 0..self.conns.len() {
            let conn = &mut self.conns[at];
            let is_on_its_way = matches!(conn.state, State::Connecting | State::Shaking);
            // One that was begun in this very turn is younger than the turn.
            if is_on_its_way && now.saturating_sub(conn.since) >= nanos(self.plan.life.connect_timeout) {
                self.connecting -= 1;
                self.not_connected(at, &ErrorKind::TimedOut.into(), now);
                continue;
            }
            // A slow reader or a stalled writer has itself to blame.
            let is_own_fault = match conn.impairment {
                Some(Impairment::Slow { .. } | Impairment::Stall { .. }) => true,
                Some(Impairment::HalfClose { .. } | Impairment::Reset { .. }) | None => false,
            };
            while let Some(overdue) = self.conns[at].link.overdue(now, timeout)
                && !is_own_fault
            {
                match overdue {
                    Overdue::Missing => self.conns[at].link.give_up_oldest(now, &mut self.record),
                    Overdue::Silent => {
                        self.lose(at, now, Trouble::Timeout);
                        break;
                    }
                }
            }
            self.drop_late(at, now, timeout);
            // Who was given up on has left room, or was the last that a connection waited for.
            self.retire_if_done(at, now);
            self.refill(at, now);
        }
    }

    /// What waits for room longer than a reply may take is not sent any more.
    fn drop_late(&mut self, at: usize, now: u64, timeout: u64) {
        let queue = &mut self.conns[at].queue;
        while let Some(due) = queue.front().copied()
            && now.saturating_sub(due) >= timeout
        {
            queue.pop_front();
            self.backlog -= 1;
            self.record.dropped(due);
        }
    }
}

/// Between half of it and one and a half.
fn about(rng: &mut Rng, ns: u64) -> u64 {
    rng.between(ns / 2, ns / 2 + ns)
}
