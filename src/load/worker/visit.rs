//! One visit to a connection: what came is read and matched, what is due is encoded and written, each with one system
//! call where the socket allows it.
//!
//! Always holds: the time of a reply is taken right behind the read that brought it, the time of a request right before
//! the write that takes it.

use super::super::link::{End, Taken};
use super::super::plan::{Impairment, Traffic};
use super::super::report::Trouble;
use super::conn::State;
use super::life::SLOW_READ_NS;
use super::{Alarm, SCRATCH_BYTES, Worker, nanos};
use mio::event::Event;
use std::io::{ErrorKind, Read, Write};

/// Reads of one visit, so that one connection can't keep the others waiting.
const READS_MAX: u32 = 16;

/// Messages of at least so many bytes are read to where they are kept.
const LARGE_BYTES: usize = SCRATCH_BYTES / 2;

/// How often a stalling writer stalls, in nanoseconds.
const STALL_EVERY_NS: u64 = 1_000_000_000;

/// What became of a look at a socket.
enum Look {
    /// All that was there was read.
    Empty,
    /// There may be more.
    More,
    /// The peer has ended its side.
    End,
    /// The connection is gone.
    Gone(Trouble),
}

impl Worker<'_> {
    pub(super) fn handle_event(&mut self, event: &Event) {
        let at = event.token().0;
        if self.conns[at].state == State::Connecting {
            self.look_at_connect(at);
            if self.conns[at].state == State::Connecting {
                return;
            }
        }
        if event.is_writable() && self.conns[at].link.is_blocked() {
            self.drain(at);
        }
        let is_slow = matches!(self.conns[at].impairment, Some(Impairment::Slow { .. }));
        let reads_itself = is_slow && self.conns[at].state.is_live();
        if (event.is_readable() || event.is_read_closed()) && !reads_itself {
            self.read(at, event.is_read_closed());
        }
    }

    /// Reads until nothing is left. With `is_ending` the end of the stream is looked for, too: no edge will tell of it.
    pub(super) fn read(&mut self, at: usize, is_ending: bool) {
        for _ in 0..READS_MAX {
            if self.conns[at].stream.is_none() {
                return;
            }
            let (look, now) = self.read_once(at, SCRATCH_BYTES);
            match look {
                Look::Empty if !is_ending => return,
                Look::Empty | Look::More => {}
                Look::End => return self.ended(at, now),
                Look::Gone(why) => return self.lose(at, now, why),
            }
        }
        self.again.push(u32::try_from(at).expect("a plan bounds its connections"));
    }

    /// One read of at most so many bytes, and what follows from them.
    fn read_once(&mut self, at: usize, most: usize) -> (Look, u64) {
        let conn = &mut self.conns[at];
        let Some(mut stream) = conn.stream.as_ref() else { return (Look::Empty, 0) };
        let (tail, need) = conn.link.tail();
        let kept = tail.len();
        let (got, wanted) = if kept > 0 && need >= LARGE_BYTES {
            let wanted = (need - kept).min(most);
            (conn.link.read_tail(stream, wanted), wanted)
        } else {
            self.scratch[..kept].copy_from_slice(tail);
            let room = &mut self.scratch[kept..];
            let wanted = room.len().min(most);
            (stream.read(&mut room[..wanted]), wanted)
        };
        let now = super::nanos(self.origin.elapsed());
        let got = match got {
            Ok(0) => return (Look::End, now),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return (Look::Empty, now),
            Err(error) if error.kind() == ErrorKind::Interrupted => return (Look::More, now),
            Err(_) => return (Look::Gone(Trouble::Reset), now),
        };
        self.record.moved(now, got, 0);
        let counts = conn.state.is_live();
        let (talk, record, pongs) = (&self.talk, &mut self.record, &mut self.pongs);
        let taken = if kept > 0 && need >= LARGE_BYTES {
            conn.link.take_tail(talk, now, record, pongs, counts)
        } else {
            conn.link.take(talk, &self.scratch[..kept + got], now, record, pongs, counts)
        };
        match taken {
            Ok(taken) => self.heard(at, now, taken),
            Err(why) => return (Look::Gone(why), now),
        }
        (if got < wanted { Look::Empty } else { Look::More }, now)
    }

    fn heard(&mut self, at: usize, now: u64, taken: Taken) {
        if taken.goaway.is_some() && self.conns[at].state.is_open() {
            // It sends nothing more; what is due may still come, and the server closes.
            self.record.trouble(Trouble::GoAway);
            self.conns[at].state = if self.conns[at].is_idle { State::Idle } else { State::Retiring };
        }
        match self.conns[at].state {
            State::Probing if taken.answered > 0 => self.proven(at, now),
            State::Ready if taken.answered > 0 => self.refill(at, now),
            State::Retiring => self.retire_if_done(at, now),
            State::Ready | State::Probing | State::Idle | State::HalfClosed => {}
            State::Absent | State::Connecting => {}
        }
        if !self.pongs.is_empty() {
            self.write(at);
        }
    }

    /// The server has ended its side.
    fn ended(&mut self, at: usize, now: u64) {
        let conn = &self.conns[at];
        let is_answered = conn.link.open() == 0 && !conn.link.is_mid_reply();
        match conn.state {
            State::HalfClosed | State::Retiring if is_answered => self.end(at, now, End::Planned),
            _ if conn.link.is_mid_reply() => self.lose(at, now, Trouble::Cut),
            _ => self.lose(at, now, Trouble::Closed),
        }
    }

    /// The first request of a connection: whoever answers is a server.
    pub(super) fn probe(&mut self, at: usize, now: u64) {
        let conn = &mut self.conns[at];
        let size = self.plan.talk.sizes.sample(&mut conn.rng);
        conn.link.put(&self.talk, now, now, size, &mut self.batch);
        self.write(at);
    }

    /// Sends what waits for room, or in a closed loop whatever there is room for.
    pub(super) fn refill(&mut self, at: usize, now: u64) {
        let conn = &mut self.conns[at];
        if !conn.has_room(self.plan) || now >= self.times.end || now < self.times.begin {
            return;
        }
        match self.plan.traffic {
            Traffic::Closed => {
                while conn.has_room(self.plan) && !has_enough(conn) {
                    let size = self.plan.talk.sizes.sample(&mut conn.rng);
                    self.record.scheduled(now);
                    conn.requests += 1;
                    conn.link.put(&self.talk, now, now, size, &mut self.batch);
                }
            }
            Traffic::Open { .. } => {
                while conn.has_room(self.plan) && !has_enough(conn) {
                    let Some(due) = conn.queue.pop_front() else { break };
                    self.backlog -= 1;
                    let size = self.plan.talk.sizes.sample(&mut conn.rng);
                    conn.requests += 1;
                    conn.link.put(&self.talk, due, now, size, &mut self.batch);
                }
            }
        }
        self.write(at);
    }

    /// Sends every request that is due.
    pub(super) fn send_due(&mut self, now: u64) {
        let until = now.min(self.times.end.saturating_sub(1));
        while self.next_due() <= until {
            let Some((due, index)) = self.agenda.pop() else { return };
            let (due, at) = (due + self.times.begin, index as usize);
            self.record.scheduled(due);
            let conn = &mut self.conns[at];
            if conn.has_room(self.plan) && conn.queue.is_empty() && !has_enough(conn) {
                let size = self.plan.talk.sizes.sample(&mut conn.rng);
                conn.requests += 1;
                conn.link.put(&self.talk, due, due, size, &mut self.batch);
                self.write(at);
            } else {
                conn.queue.push_back(due);
                self.backlog += 1;
                self.bound_backlog(at);
            }
        }
    }

    /// Too much waits: the oldest of this connection is not sent any more.
    fn bound_backlog(&mut self, at: usize) {
        if self.backlog > self.plan.backlog as usize
            && let Some(due) = self.conns[at].queue.pop_front()
        {
            self.backlog -= 1;
            self.record.dropped(due);
        }
    }

    /// Writes the batch, and keeps what is refused.
    fn write(&mut self, at: usize) {
        let conn = &mut self.conns[at];
        if !self.pongs.is_empty() {
            self.pongs.append(&mut self.batch);
            std::mem::swap(&mut self.pongs, &mut self.batch);
        }
        if conn.link.is_blocked() {
            // Only an answer to a PING gets here: it waits for the next one.
            self.batch.clear();
            return;
        }
        let Some(mut stream) = conn.stream.as_ref() else {
            self.batch.clear();
            return;
        };
        if self.batch.is_empty() {
            return;
        }
        conn.link.began_batch(self.pong_bytes);
    }
}
