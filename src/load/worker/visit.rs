//! One visit to a connection: what came is read and matched, what is due is encoded and written, each with one system
//! call where the socket allows it.
//!
//! Always holds: the time of a reply is taken right behind the read that brought it, the time of a request right before
//! the write that takes it.

use super::super::link::{End, Taken};
use super::super::plan::{Impairment, Traffic};
use super::super::report::Trouble;
use super::conn::{Conn, State};
use super::life::SLOW_READ_NS;
use super::socket::Socket;
use super::{Alarm, SCRATCH_BYTES, Worker, nanos};
use mio::event::Event;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

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
        if self.conns[at].state == State::Shaking {
            return self.shake(at);
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
        let Some(stream) = conn.stream.as_ref() else { return (Look::Empty, 0) };
        let secure = conn.secure.as_deref_mut();
        let mut stream = Socket { stream, secure, cipher: &mut self.cipher, has_more: false };
        let (tail, need) = conn.link.tail();
        let kept = tail.len();
        let (got, wanted) = if kept > 0 && need >= LARGE_BYTES {
            let wanted = (need - kept).min(most);
            (conn.link.read_tail(&mut stream, wanted), wanted)
        } else {
            self.scratch[..kept].copy_from_slice(tail);
            let room = &mut self.scratch[kept..];
            let wanted = room.len().min(most);
            (stream.read(&mut room[..wanted]), wanted)
        };
        let has_more = stream.has_more;
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
        (if got < wanted && !has_more { Look::Empty } else { Look::More }, now)
    }

    fn heard(&mut self, at: usize, now: u64, taken: Taken) {
        if taken.is_told_to_go {
            // It sends nothing more; what is due may still come, and the server closes.
            self.record.trouble(Trouble::GoAway);
            let conn = &mut self.conns[at];
            conn.is_told_to_go = true;
            conn.state = if conn.state == State::Ready { State::Retiring } else { conn.state };
        }
        match self.conns[at].state {
            State::Probing if taken.answered > 0 => self.proven(at, now),
            State::Ready if taken.answered > 0 => self.refill(at, now),
            State::Retiring | State::HalfClosed => self.retire_if_done(at, now),
            State::Ready | State::Probing | State::Idle => {}
            State::Absent | State::Connecting | State::Shaking => {}
        }
        if !self.pongs.is_empty() {
            self.answer_pings(at);
        }
    }

    /// The server has ended its side.
    fn ended(&mut self, at: usize, now: u64) {
        let conn = &self.conns[at];
        let is_answered = conn.link.open() == 0 && !conn.link.is_mid_reply();
        let is_expected = matches!(conn.state, State::HalfClosed | State::Retiring) || conn.is_told_to_go;
        if conn.is_told_to_go && !conn.state.is_live() {
            // A server that leaves owes nothing to a connection that came too late.
            self.end(at, now, End::Probe);
        } else if is_expected && is_answered {
            self.end(at, now, End::Planned);
        } else if conn.is_told_to_go && !conn.link.is_mid_reply() {
            // Requests that crossed its last word were not taken. It was counted when it said so.
            self.end(at, now, End::Unplanned);
        } else if conn.link.is_mid_reply() {
            self.lose(at, now, Trouble::Cut);
        } else {
            self.lose(at, now, Trouble::Closed);
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
        if !conn.has_room(self.plan) || now < self.times.begin {
            return;
        }
        match self.plan.traffic {
            Traffic::Closed => {
                let room = if now < self.times.end { self.plan.in_flight - conn.link.open() } else { 0 };
                for _ in 0..room {
                    if has_enough(conn) {
                        break;
                    }
                    let size = self.plan.talk.sizes.sample(&mut conn.rng);
                    self.record.scheduled(now);
                    conn.requests += 1;
                    conn.link.put(&self.talk, now, now, size, &mut self.batch);
                }
            }
            // What was due before the end and waits is sent behind it, too: it would hide how slow the end was.
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
    #[inline]
    fn write(&mut self, at: usize) {
        if self.batch.is_empty() {
            return;
        }
        let now = self.now();
        let conn = &mut self.conns[at];
        debug_assert!(!conn.link.is_blocked());
        let Some(stream) = conn.stream.as_ref() else {
            return self.batch.clear();
        };
        let stall = stall_of(conn, now);
        let offered = if stall.is_some() { self.batch.len() / 2 } else { self.batch.len() };
        conn.link.begin_batch();
        let secure = conn.secure.as_deref_mut();
        let mut stream = Socket { stream, secure, cipher: &mut self.cipher, has_more: false };
        match stream.write(&self.batch[..offered]) {
            Ok(bytes) => {
                self.record.moved(now, 0, bytes);
                let counts = conn.state.is_live();
                if bytes == self.batch.len() {
                    conn.link.wrote_all(now, &mut self.record, counts);
                } else {
                    conn.link.wrote(&self.talk, bytes, now, &mut self.record, counts);
                    conn.link.keep(&self.batch[bytes..]);
                }
            }
            Err(error) if is_passing(&error) => conn.link.keep(&self.batch),
            Err(_) => {
                self.batch.clear();
                return self.lose(at, now, Trouble::Reset);
            }
        }
        self.batch.clear();
        if let Some(pause) = stall {
            let conn = &mut self.conns[at];
            (conn.is_stalled, conn.stalled_at) = (true, now);
            self.alarm(at, now + pause, Alarm::StallOver);
        }
        self.half_close(at, now);
    }

    /// Writes what was refused before, and what waited for it.
    pub(super) fn drain(&mut self, at: usize) {
        let now = self.now();
        let conn = &mut self.conns[at];
        let Some(stream) = conn.stream.as_ref().filter(|_| !conn.is_stalled) else { return };
        let secure = conn.secure.as_deref_mut();
        let mut stream = Socket { stream, secure, cipher: &mut self.cipher, has_more: false };
        while conn.link.is_blocked() {
            match stream.write(conn.link.waiting()) {
                Ok(bytes) => {
                    self.record.moved(now, 0, bytes);
                    let counts = conn.state.is_live();
                    conn.link.wrote(&self.talk, bytes, now, &mut self.record, counts);
                    conn.link.drained(bytes);
                }
                Err(error) if is_passing(&error) => return,
                Err(_) => return self.lose(at, now, Trouble::Reset),
            }
        }
        self.half_close(at, now);
        self.retire_if_done(at, now);
        self.refill(at, now);
    }

    /// Sends the answers to PINGs, behind what waits.
    #[cold]
    fn answer_pings(&mut self, at: usize) {
        let conn = &mut self.conns[at];
        conn.link.append(&self.pongs);
        self.pongs.clear();
        self.drain(at);
    }

    pub(super) fn end_stall(&mut self, at: usize, _now: u64) {
        self.conns[at].is_stalled = false;
        self.drain(at);
    }

    /// Ends the sending side once a connection that does so has sent enough.
    fn half_close(&mut self, at: usize, now: u64) {
        let conn = &mut self.conns[at];
        if conn.state != State::Ready || !has_enough(conn) || conn.link.is_blocked() {
            return;
        }
        let Some(stream) = &conn.stream else { return };
        conn.state = State::HalfClosed;
        if let Some(secure) = conn.secure.as_mut() {
            // The socket has just taken a batch, so it takes a few bytes more; without them the end is not in order.
            let _ = secure.close(&mut &*stream);
        }
        if stream.shutdown(Shutdown::Write).is_err() {
            self.lose(at, now, Trouble::Reset);
        }
    }

    /// The next bytes that a slow reader allows itself.
    pub(super) fn read_slowly(&mut self, at: usize, now: u64) {
        let Some(Impairment::Slow { bytes_per_s }) = self.conns[at].impairment else { return };
        let most = u64::from(bytes_per_s) * SLOW_READ_NS / 1_000_000_000;
        let most = usize::try_from(most).unwrap_or(SCRATCH_BYTES).clamp(1, SCRATCH_BYTES);
        let (look, read_at) = self.read_once(at, most);
        match look {
            Look::Empty | Look::More => self.alarm(at, now + SLOW_READ_NS, Alarm::SlowRead),
            Look::End => self.ended(at, read_at),
            Look::Gone(why) => self.lose(at, read_at, why),
        }
    }
}

/// How long a stalling writer pauses in this batch, in nanoseconds, if it is time to.
#[inline]
fn stall_of(conn: &Conn, now: u64) -> Option<u64> {
    let Some(Impairment::Stall { pause }) = conn.impairment else { return None };
    let is_time = conn.state.is_live() && now - conn.stalled_at >= STALL_EVERY_NS;
    is_time.then(|| nanos(pause))
}

/// Whether a connection that ends its sending side has sent all that it will.
#[inline]
fn has_enough(conn: &Conn) -> bool {
    match conn.impairment {
        Some(Impairment::HalfClose { after }) => conn.requests >= after,
        Some(Impairment::Slow { .. } | Impairment::Stall { .. } | Impairment::Reset { .. }) | None => false,
    }
}

fn is_passing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
