//! One thread of the generator: its connections, its clock, its poll loop.
//!
//! ```text
//!   turn:  wait for sockets or the next moment -> read, match, refill -> what is due -> timers -> tell
//! ```
//!
//! Always holds: every wait ends at the next request that is due, timer or part of the series; times are nanoseconds
//! since the run's origin, the same on all threads. Never: a decision about the run. When it begins and what it gave
//! is the [crew](super::crew)'s business.

mod conn;
mod life;
mod socket;
mod visit;

use super::link::End;
use super::pace::Pacer;
use super::plan::{Plan, Traffic};
use super::record::{Recent, Record, Tally};
use super::report::Trouble;
use super::schedule::{Agenda, Schedule};
use super::talk::Talk;
use conn::{Conn, State};
use mio::{Events, Poll, Token};
use socket::CIPHER_BYTES;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Bytes of one read; the size with which the server reads, too.
const SCRATCH_BYTES: usize = 256 << 10;

const EVENTS_PER_POLL: usize = 1024;

/// Connects that one thread has under way at once: fewer than any server's backlog.
const CONNECTING_MAX: usize = 128;

/// How often connections are looked through for what takes too long.
const SWEEP_NS: u64 = 100_000_000;

/// How often a thread looks whether the run has begun.
const BEGIN_POLL_NS: u64 = 2_000_000;

/// Times as seldom is both if nothing is measured: each look is at thousands of connections, of fifty such threads.
const HOLDER_LEISURE: u64 = 10;

/// The poll's token of the pacer; connections have those from 0 on.
const PACER: Token = Token(usize::MAX);

/// What the threads of a run share.
#[derive(Debug, Default)]
pub struct Shared {
    /// When traffic begins, in nanoseconds of the run; 0 until it is known.
    pub begins: AtomicU64,
    /// Everybody shall stop at once.
    pub stop: AtomicBool,
    /// Connections that are open and have answered.
    pub ready: AtomicU32,
    /// Attempts to connect that have succeeded.
    pub established: AtomicU64,
    /// Attempts to connect that have failed.
    pub refused: AtomicU64,
    /// Why the first of them failed.
    pub first_refusal: Mutex<Option<String>>,
}

/// What a thread tells while it runs, and at its end.
#[derive(Debug)]
pub enum Told {
    /// A part of the time series is over.
    Part {
        /// Which thread.
        thread: u32,
        /// When it began and ended, in nanoseconds of the run.
        span: (u64, u64),
        /// What happened in it.
        recent: Box<Recent>,
        /// Requests open at its end.
        in_flight: u64,
        /// Connections open and verified at its end.
        open: u32,
        /// What the thread did with its time.
        spent: super::pace::Spent,
        /// Whether it is inside of the measured time.
        is_measured: bool,
        /// What went wrong since the part before.
        troubles: Vec<(Trouble, u64)>,
    },
    /// The thread has ended.
    End(u32, Box<Tally>),
    /// The thread has failed.
    Failed(u32, io::Error),
}

/// One thread's share of a plan.
#[derive(Debug)]
pub struct Share {
    /// Which thread, from 0 on.
    pub thread: u32,
    /// Numbers of its connections in the run; those from [`Plan::connections`] on are idle.
    pub connections: Vec<u32>,
}

/// See the module.
pub(super) struct Worker<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    told: Sender<Told>,
    thread: u32,
    talk: Talk,
    origin: Instant,
    poll: Poll,
    pacer: Pacer,
    conns: Vec<Conn>,
    /// When which connection's next request is due, from the beginning of traffic on. Empty in a closed loop.
    agenda: Agenda,
    /// Requests that are due and wait for room on their connections, all together.
    backlog: usize,
    timers: BinaryHeap<Reverse<Timer>>,
    /// Connections that shall be begun.
    unbegun: VecDeque<u32>,
    connecting: usize,
    next_connect: u64,
    /// Connections that have more to read than one visit takes.
    again: Vec<u32>,
    record: Record,
    scratch: Box<[u8]>,
    /// Ciphertext of whoever is read; nothing without TLS.
    cipher: Box<[u8]>,
    batch: Vec<u8>,
    pongs: Vec<u8>,
    times: Times,
    open: u32,
    told_troubles: std::collections::BTreeMap<Trouble, u64>,
    part_began: u64,
    next_part: u64,
    /// When to look next whether the run has begun.
    next_look: u64,
    next_sweep: u64,
    storm: Storm,
}

/// The moments of a run, in nanoseconds; all at the end of time until it begins.
#[derive(Clone, Copy, Debug)]
struct Times {
    begin: u64,
    measure: u64,
    end: u64,
    give_up: u64,
    /// The end, until it was seen.
    end_left: u64,
}

const NEVER: u64 = u64::MAX;

#[derive(Clone, Copy, Debug)]
struct Storm {
    next: u64,
    /// When the one that is not over began.
    began: Option<u64>,
    /// Connections that have not answered since.
    left: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Timer {
    at: u64,
    conn: u32,
    /// The connection's life that it belongs to: a later one has forgotten it.
    life: u32,
    what: Alarm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    Connect,
    Retire,
    Reset,
    SlowRead,
    StallOver,
}

impl<'a> Worker<'a> {
    /// Prepares everything, and connects nothing yet.
    pub(super) fn new(
        plan: &'a Plan,
        shared: &'a Shared,
        share: &Share,
        told: Sender<Told>,
        origin: Instant,
    ) -> io::Result<Worker<'a>> {
        let poll = Poll::new()?;
        let pacer = Pacer::new(poll.registry(), PACER, plan.spin)?;
        let conns: Vec<Conn> = share.connections.iter().map(|id| Conn::new(plan, *id)).collect();
        let count = u32::try_from(conns.len()).expect("a plan bounds its connections");
        let is_open_loop = matches!(plan.traffic, Traffic::Open { .. });
        Ok(Worker {
            plan,
            shared,
            told,
            thread: share.thread,
            talk: Talk::new(&plan.talk, plan.seed),
            origin,
            poll,
            pacer,
            conns,
            agenda: agenda(plan, share),
            backlog: 0,
            timers: BinaryHeap::new(),
            unbegun: (0..count).collect(),
            connecting: 0,
            next_connect: 0,
            again: Vec::new(),
            record: Record::new(1 + plan.impaired.len(), is_open_loop, plan.keeps_times),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            cipher: vec![0; if plan.tls.is_some() { CIPHER_BYTES } else { 0 }].into_boxed_slice(),
            batch: Vec::new(),
            pongs: Vec::new(),
            times: Times { begin: NEVER, measure: NEVER, end: NEVER, give_up: NEVER, end_left: NEVER },
            open: 0,
            told_troubles: std::collections::BTreeMap::new(),
            part_began: 0,
            next_part: nanos(plan.interval),
            next_look: 0,
            next_sweep: SWEEP_NS,
            storm: Storm { next: NEVER, began: None, left: 0 },
        })
    }

    /// Runs to the end, and tells what it was.
    pub(super) fn run(mut self) {
        let ended = self.turns();
        let now = self.now();
        self.end_all(now);
        self.tell_part(now);
        let last = match ended {
            Ok(()) => Told::End(self.thread, Box::new(self.record.tally)),
            Err(error) => Told::Failed(self.thread, error),
        };
        // Nobody listens any more if another thread has failed.
        let _ = self.told.send(last);
    }

    fn now(&self) -> u64 {
        nanos(self.origin.elapsed())
    }

    fn turns(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        loop {
            let until = self.origin + Duration::from_nanos(self.next_moment());
            self.pacer.wait(&mut self.poll, &mut events, until)?;
            for event in &events {
                if event.token() != PACER {
                    self.handle_event(event);
                }
            }
            for conn in std::mem::take(&mut self.again) {
                self.read(conn as usize, false);
            }
            let now = self.now();
            if self.times.begin == NEVER {
                self.look_for_begin(now);
            }
            self.send_due(now);
            self.ring(now);
            self.begin_connects(now);
            if now >= self.next_sweep {
                self.sweep(now);
                self.next_sweep = now + SWEEP_NS * self.leisure();
            }
            if now >= self.next_part {
                self.tell_part(now);
            }
            if now >= self.times.end {
                self.times.end_left = NEVER;
            }
            if self.is_over(now) || self.shared.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
    }

    /// When something is to be done at the latest.
    fn next_moment(&self) -> u64 {
        if !self.again.is_empty() {
            return 0;
        }
        let due = self.next_due();
        let timer = self.timers.peek().map_or(NEVER, |Reverse(timer)| timer.at);
        let may_connect = !self.unbegun.is_empty() && self.connecting < CONNECTING_MAX;
        let connect = if may_connect { self.next_connect } else { NEVER };
        let fixed = [self.next_look, self.next_sweep, self.next_part, self.storm.next, self.times.end_left];
        fixed.into_iter().fold(due.min(timer).min(connect), u64::min)
    }

    /// When the next request is due, in nanoseconds of the run.
    fn next_due(&self) -> u64 {
        match self.agenda.peek() {
            Some((due, _)) if self.times.begin != NEVER => due.saturating_add(self.times.begin),
            Some(_) | None => NEVER,
        }
    }

    fn look_for_begin(&mut self, now: u64) {
        let begin = self.shared.begins.load(Ordering::Acquire);
        if begin == 0 || now < begin {
            self.next_look = if begin == 0 { now + BEGIN_POLL_NS * self.leisure() } else { begin };
            return;
        }
        self.next_look = NEVER;
        // All threads tell the same parts, however late one of them looks.
        while self.next_part < begin {
            self.tell_part(self.next_part);
        }
        self.tell_part(begin);
        let measure = begin + nanos(self.plan.warmup);
        let end = measure + nanos(self.plan.duration);
        self.times = Times { begin, measure, end, give_up: end + nanos(self.plan.drain), end_left: end };
        self.next_part = self.part_end(begin);
        self.record.measure(measure..end);
        self.storm.next = self.plan.life.storm.map_or(NEVER, |every| begin + nanos(every));
        self.pacer.take_spent(Instant::now());
        for at in 0..self.conns.len() {
            if self.conns[at].state == State::Ready {
                self.settle(at, now);
            }
        }
    }

    /// The end of the part that begins then: parts don't reach over the moments of the run.
    fn part_end(&self, from: u64) -> u64 {
        let next = from + nanos(self.plan.interval);
        let moments = [self.times.measure, self.times.end];
        moments.into_iter().filter(|moment| *moment > from && *moment < next).min().unwrap_or(next)
    }

    fn tell_part(&mut self, now: u64) {
        let end = if now >= self.next_part { self.next_part } else { now };
        let spent = self.pacer.take_spent(Instant::now());
        let recent = Box::new(self.record.take_recent());
        let open = self.conns.iter().map(|conn| u64::from(conn.link.open()));
        let in_flight = if self.only_holds() { 0 } else { open.sum() };
        let is_measured = self.part_began >= self.times.measure && self.part_began < self.times.end;
        let troubles = self.new_troubles();
        let span = (self.part_began, end);
        let (thread, open) = (self.thread, self.open);
        let part = Told::Part { thread, span, recent, in_flight, open, spent, is_measured, troubles };
        let _ = self.told.send(part);
        self.part_began = end;
        self.next_part = self.part_end(end);
    }

    /// Whether all connections have answered and none will be asked again: they are many, and nothing is awaited of them.
    fn only_holds(&self) -> bool {
        self.plan.connections == 0 && self.open as usize == self.conns.len()
    }

    const fn leisure(&self) -> u64 {
        if self.plan.connections == 0 { HOLDER_LEISURE } else { 1 }
    }

    fn new_troubles(&mut self) -> Vec<(Trouble, u64)> {
        let now = &self.record.tally.troubles;
        let before = &self.told_troubles;
        let grown = now.iter().map(|(trouble, count)| (*trouble, count - before.get(trouble).unwrap_or(&0)));
        let grown = grown.filter(|(_, count)| *count > 0).collect();
        self.told_troubles.clone_from(now);
        grown
    }

    fn is_over(&self, now: u64) -> bool {
        now >= self.times.give_up
            || (now >= self.times.end
                && self.backlog == 0
                && self.conns.iter().all(|conn| conn.link.open() == 0))
    }

    fn is_traffic(&self, now: u64) -> bool {
        now >= self.times.begin && now < self.times.end
    }

    /// Everything that is still open gets its fate.
    fn end_all(&mut self, now: u64) {
        for conn in &mut self.conns {
            let how = if conn.state.is_live() { End::Unplanned } else { End::Probe };
            if conn.state.is_live() && conn.link.open() > 0 {
                self.record.trouble(Trouble::Timeout);
            }
            conn.link.end(now, &mut self.record, how);
            conn.queue.drain(..).for_each(|due| self.record.dropped(due));
        }
        self.record.flush();
    }
}

/// The schedules of a thread's connections; those that are idle have none.
fn agenda(plan: &Plan, share: &Share) -> Agenda {
    let Traffic::Open { profile, arrival } = &plan.traffic else { return Agenda::new(Vec::new()) };
    let profile = Arc::new(profile.held_before(plan.warmup.as_secs_f64()));
    let numbers =
        share.connections.iter().map(|id| id - plan.first).filter(|number| *number < plan.connections);
    Agenda::new(
        numbers
            .map(|number| Schedule::new(&profile, *arrival, plan.seed, number, plan.connections))
            .collect(),
    )
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}
