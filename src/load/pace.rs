//! Waiting for sockets or for the moment when the next request is due, whichever comes first, to some microseconds.
//!
//! ```text
//!  now            until - spin        until
//!   |   asleep         |    looking     |
//!   +------------------+----------------+-> returned, with no events
//!          `- or here, when a socket is ready
//! ```
//!
//! Always holds: a wait ends at its deadline at the latest, apart from what the system delays its thread; sockets are
//! looked at once in every wait, even if the deadline has passed, so that a generator which is late still reads.
//! Never: what is due, and what is done about it.

use super::timer::Timer;
use super::watch;
use mio::{Events, Poll, Registry, Token};
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

/// How long before a deadline a thread stays awake, unless it is told otherwise: more than it takes to wake up on a
/// machine that has a processor free for it.
pub const SPIN: Duration = Duration::from_micros(50);

/// What a look at the sockets costs by itself, in nanoseconds: the system call, and each event of it. That much of a
/// wait is work. Both are rounded up, so that a thread without a free moment never looks as if it had one.
const LOOK_NS: u64 = 1000;
const EVENT_NS: u64 = 100;

/// The waits of one thread, and how much of its time they were.
#[derive(Debug)]
pub struct Pacer {
    timer: Timer,
    token: Token,
    spin: Duration,
    /// When the last wait ended.
    left: Instant,
    /// Since when `idle_ns` and `turn_max_ns` count.
    since: Instant,
    idle_ns: u64,
    turn_max_ns: u64,
    /// What the system told of the thread's waits for a processor when it was asked last.
    wait_ns: Option<u64>,
}

/// What a thread did with its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// How long that time was, in nanoseconds.
    pub total_ns: u64,
    /// How much of it the thread had something to do, in nanoseconds. Staying awake for a deadline is not counted;
    /// ready to run without a processor is, if it happens outside of a wait.
    pub busy_ns: u64,
    /// The longest stretch between two waits, in nanoseconds: for so long no socket was looked at.
    pub turn_max_ns: u64,
    /// How much of it the thread was ready and had no processor, in nanoseconds. Absent where the system does not tell,
    /// and the first time.
    pub waited_ns: Option<u64>,
}

impl Spent {
    /// Adds the same thread's next time.
    pub fn add(&mut self, next: Spent) {
        self.waited_ns = match self.total_ns {
            0 => next.waited_ns,
            _ => self.waited_ns.zip(next.waited_ns).map(|(ours, theirs)| ours + theirs),
        };
        self.total_ns += next.total_ns;
        self.busy_ns += next.busy_ns;
        self.turn_max_ns = self.turn_max_ns.max(next.turn_max_ns);
    }

    /// Share of the time in which there was something to do, 0 to 1.
    pub fn busy(&self) -> f64 {
        self.share(self.busy_ns)
    }

    /// Share of the time in which the thread was ready and had no processor, 0 to 1.
    pub fn waited(&self) -> Option<f64> {
        self.waited_ns.map(|ns| self.share(ns))
    }

    fn share(&self, part_ns: u64) -> f64 {
        if self.total_ns == 0 { 0.0 } else { (part_ns as f64 / self.total_ns as f64).min(1.0) }
    }
}

impl Pacer {
    /// For the poll of `registry`; `token` must be nobody else's there. The thread stays awake for the last `spin`
    /// before each deadline: [`SPIN`], or zero to leave the processor to others, at the price of later deadlines.
    ///
    /// # Errors
    ///
    /// If there are no more descriptors.
    pub fn new(registry: &Registry, token: Token, spin: Duration) -> io::Result<Pacer> {
        let timer = Timer::new(registry, token)?;
        let now = Instant::now();
        Ok(Pacer { timer, token, spin, left: now, since: now, idle_ns: 0, turn_max_ns: 0, wait_ns: None })
    }

    /// Waits until a source of `poll` is ready or it is `until`; gives the time. `events` may hold one of the pacer's
    /// own token, which means nothing.
    ///
    /// # Errors
    ///
    /// As epoll_wait(2) or kevent(2), but for a signal, after which it waits on.
    pub fn wait(&mut self, poll: &mut Poll, events: &mut Events, until: Instant) -> io::Result<Instant> {
        let began = Instant::now();
        self.turn_max_ns = self.turn_max_ns.max(nanos(began, self.left));
        if until <= began {
            look(poll, events, Some(Duration::ZERO))?;
            self.left = Instant::now();
            return Ok(self.left);
        }
        let mut now = began;
        // Bounded by `until`.
        loop {
            let timeout = match until.checked_sub(self.spin) {
                Some(asleep_until) if now < asleep_until => self.timer.end_poll_at(asleep_until, now)?,
                Some(_) | None => Some(Duration::ZERO),
            };
            look(poll, events, timeout)?;
            now = Instant::now();
            if now >= until || events.iter().any(|event| event.token() != self.token) {
                break;
            }
        }
        let count = u64::try_from(events.iter().count()).unwrap_or(u64::MAX);
        let work_ns = LOOK_NS.saturating_add(EVENT_NS.saturating_mul(count));
        self.idle_ns += nanos(now, began).saturating_sub(work_ns);
        self.left = now;
        Ok(now)
    }

    /// What the time since the last call was spent on, or since the start. To be called between two waits, by the thread
    /// that waits.
    pub fn take_spent(&mut self, now: Instant) -> Spent {
        let total_ns = nanos(now, self.since);
        let turn_max_ns = self.turn_max_ns.max(nanos(now, self.left.max(self.since)));
        let wait_ns = watch::own_wait_ns();
        let waited_ns = wait_ns.zip(self.wait_ns).map(|(now, before)| now.saturating_sub(before));
        let spent =
            Spent { total_ns, busy_ns: total_ns.saturating_sub(self.idle_ns), turn_max_ns, waited_ns };
        (self.since, self.idle_ns, self.turn_max_ns, self.wait_ns) = (now, 0, 0, wait_ns);
        spent
    }
}

/// One poll. A signal ends it without events.
fn look(poll: &mut Poll, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
    match poll.poll(events, timeout) {
        Err(error) if error.kind() == ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        looked => looked,
    }
}

fn nanos(later: Instant, earlier: Instant) -> u64 {
    u64::try_from(later.saturating_duration_since(earlier).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::Waker;
    use std::sync::Arc;

    const OWN: Token = Token(usize::MAX);

    fn of(spin: Duration) -> (Poll, Events, Pacer) {
        let poll = Poll::new().unwrap();
        let pacer = Pacer::new(poll.registry(), OWN, spin).unwrap();
        (poll, Events::with_capacity(16), pacer)
    }

    /// How late each of `count` deadlines is, in nanoseconds, in order of size.
    fn lateness(spin: Duration, count: u32, gap: Duration) -> Vec<u64> {
        let (mut poll, mut events, mut pacer) = of(spin);
        let start = Instant::now() + gap;
        let mut late: Vec<_> = (0..count)
            .map(|at| {
                let until = start + gap * at;
                let now = pacer.wait(&mut poll, &mut events, until).unwrap();
                assert!(now >= until, "{:?} too early", until - now);
                nanos(now, until)
            })
            .collect();
        late.sort_unstable();
        late
    }

    #[test]
    fn deadlines_are_met_finer_than_a_millisecond() {
        for spin in [SPIN, Duration::ZERO] {
            let late = lateness(spin, 200, Duration::from_micros(300));
            // A loaded machine delays some; whole milliseconds would delay all.
            assert!(late[20] < 400_000, "{spin:?}: the tenth part is {} ns late", late[20]);
        }
    }

    #[test]
    fn what_is_ready_ends_a_wait_and_is_seen_when_it_is_late() {
        let (mut poll, mut events, mut pacer) = of(SPIN);
        let waker = Arc::new(Waker::new(poll.registry(), Token(7)).unwrap());
        let far = Instant::now() + Duration::from_secs(60);
        let other = Arc::clone(&waker);
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            other.wake().unwrap();
        });
        let now = pacer.wait(&mut poll, &mut events, far).unwrap();
        assert!(now < far);
        assert!(events.iter().any(|event| event.token() == Token(7)));
        thread.join().unwrap();
        waker.wake().unwrap();
        pacer.wait(&mut poll, &mut events, now).unwrap();
        assert!(events.iter().any(|event| event.token() == Token(7)), "though it was due already");
    }

    #[test]
    fn a_deadline_that_moves_back_and_forth_is_met() {
        let (mut poll, mut events, mut pacer) = of(SPIN);
        let waker = Waker::new(poll.registry(), Token(7)).unwrap();
        // A wait of 4 ms that is cut short, then one for which the timer is set too late or too early.
        for ms in [3, 1, 8, 2] {
            waker.wake().unwrap();
            pacer.wait(&mut poll, &mut events, Instant::now() + Duration::from_millis(4)).unwrap();
            let began = Instant::now();
            let now = pacer.wait(&mut poll, &mut events, began + Duration::from_millis(ms)).unwrap();
            assert!(now >= began + Duration::from_millis(ms));
            assert!(now < began + Duration::from_millis(ms + 500), "{:?}", now - began);
        }
    }

    #[test]
    fn work_is_told_from_waiting() {
        let (mut poll, mut events, mut pacer) = of(SPIN);
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let now = pacer.wait(&mut poll, &mut events, began + Duration::from_millis(100)).unwrap();
        let spent = pacer.take_spent(now);
        assert!(spent.turn_max_ns >= 20_000_000, "{spent:?}");
        assert!(spent.busy_ns >= 20_000_000 && spent.busy_ns < 90_000_000, "{spent:?}");
        assert!(spent.total_ns >= 100_000_000, "{spent:?}");
        let next = pacer.take_spent(now);
        assert_eq!(next, Spent { waited_ns: next.waited_ns, ..Spent::default() });
        assert_eq!((spent.waited_ns, next.waited_ns.is_some()), (None, cfg!(target_os = "linux")));
    }

    #[test]
    fn times_of_one_thread_add_up() {
        let of = |total_ns, waited_ns| Spent { total_ns, busy_ns: 10, turn_max_ns: total_ns / 10, waited_ns };
        let sum = |parts: &[Spent]| {
            let mut sum = Spent::default();
            parts.iter().for_each(|part| sum.add(*part));
            sum
        };
        let both = sum(&[of(100, Some(30)), of(300, Some(10))]);
        assert_eq!(both, Spent { total_ns: 400, busy_ns: 20, turn_max_ns: 30, waited_ns: Some(40) });
        assert_eq!((both.busy(), both.waited()), (0.05, Some(0.1)));
        assert_eq!(sum(&[of(100, Some(30)), of(300, None)]).waited(), None, "a part that nobody knows");
        assert_eq!(sum(&[of(100, None), of(300, Some(10))]).waited(), None);
        assert_eq!((sum(&[]).busy(), sum(&[]).waited()), (0.0, None));
        assert_eq!(sum(&[of(100, Some(130))]).waited(), Some(1.0), "the system's clock is another");
    }
}
