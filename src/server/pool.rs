//! Threads for work that is too slow for an event loop: a bounded queue, and workers that sleep while it is empty.
//!
//! ```text
//!   loops --submit--> [ queue: bounded, may refuse ] --> worker 0: run | expire
//!              |                                    `--> worker 1: run | expire
//!              `-- wakes one that sleeps
//! ```
//!
//! Whoever submits never waits: the queue has no lock, and waking is one bit and one unpark, see [`sleepers`]. A worker
//! that takes work while more is there wakes the next, so that a wake that came too late for one is not lost for all.
//!
//! Always holds: work is run, or expired, or given back; work past its deadline is not started; work that panics is
//! counted, and its thread lives on. Never: more threads than at the start.

mod sleepers;

use crate::base::Time;
use crate::base::text::panic_text;
use crate::service::{Job, Workers};
use crossbeam_queue::ArrayQueue;
use sleepers::Sleepers;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How often the end of the workers is looked for.
const END_POLL: Duration = Duration::from_millis(2);

/// Something that a worker does.
pub(super) trait Work: Send + 'static {
    /// From then on it is not worth doing.
    fn deadline(&self) -> Time;
    /// Does it, from now on. May panic.
    fn run(self, now: Time);
    /// Tells whoever waits for it that its time is up.
    fn expire(self);
}

impl Work for Job {
    fn deadline(&self) -> Time {
        Job::deadline(self)
    }

    fn run(self, now: Time) {
        Job::run(self, now);
    }

    fn expire(self) {
        Job::expire(self);
    }
}

/// What a pool has done until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerFigures {
    /// Jobs that wait for a worker.
    pub waiting: usize,
    /// Jobs that are being run.
    pub running: usize,
    /// Jobs that were run to their end, or panicked.
    pub run: u64,
    /// Jobs that were not started, because their deadline had passed.
    pub expired: u64,
    /// Jobs that were refused, because as many waited as may.
    pub refused: u64,
    /// Jobs that panicked. Each has told its requester INTERNAL.
    pub panicked: u64,
}

#[derive(Debug, Default)]
struct Counts {
    running: AtomicUsize,
    run: AtomicU64,
    expired: AtomicU64,
    refused: AtomicU64,
    panicked: AtomicU64,
}

/// What the workers and those who submit share.
pub(super) struct Queue<W> {
    jobs: ArrayQueue<W>,
    sleepers: Sleepers,
    /// Set once, before any worker looks for it.
    threads: OnceLock<Vec<Thread>>,
    counts: Counts,
    /// No more work is taken; workers end when none is left.
    is_closing: AtomicBool,
    /// Workers end at once, and leave what waits.
    is_over: AtomicBool,
}

impl<W: Work> Queue<W> {
    fn new(threads: u16, capacity: usize) -> Queue<W> {
        Queue {
            jobs: ArrayQueue::new(capacity),
            sleepers: Sleepers::new(threads.into()),
            threads: OnceLock::new(),
            counts: Counts::default(),
            is_closing: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        }
    }

    /// Jobs that may wait at most.
    pub(super) fn capacity(&self) -> usize {
        self.jobs.capacity()
    }

    /// Leaves work for the first worker that is free. Gives it back if as much waits as may, or the pool is closing.
    pub(super) fn submit(&self, work: W) -> Result<(), W> {
        let taken = if self.is_closing.load(Acquire) { Err(work) } else { self.jobs.push(work) };
        match taken {
            Ok(()) => self.wake_one(),
            Err(_) => drop(self.counts.refused.fetch_add(1, Relaxed)),
        }
        taken
    }

    /// Wakes a worker that sleeps, if one does.
    fn wake_one(&self) {
        let worker = self.sleepers.take_one();
        let threads = self.threads.get();
        if let Some(thread) = worker.and_then(|worker| threads?.get(worker)) {
            thread.unpark();
        }
    }

    /// A worker's life.
    fn serve(&self, worker: usize, now: impl Fn() -> Time) {
        loop {
            if self.is_over.load(Acquire) {
                return;
            }
            if let Some(work) = self.jobs.pop() {
                self.do_one(work, &now);
                continue;
            }
            if self.is_closing.load(Acquire) {
                return;
            }
            self.sleepers.lie_down(worker);
            if self.jobs.is_empty() && !self.is_closing.load(Acquire) {
                std::thread::park();
            }
            self.sleepers.get_up(worker);
        }
    }

    fn do_one(&self, work: W, now: &impl Fn() -> Time) {
        let counts = &self.counts;
        counts.running.fetch_add(1, Relaxed);
        if !self.jobs.is_empty() {
            self.wake_one();
        }
        let now = now();
        let is_late = work.deadline() <= now;
        let done = catch_unwind(AssertUnwindSafe(|| if is_late { work.expire() } else { work.run(now) }));
        (if is_late { &counts.expired } else { &counts.run }).fetch_add(1, Relaxed);
        if let Err(panic) = done {
            counts.panicked.fetch_add(1, Relaxed);
            tracing::error!(text = panic_text(panic.as_ref()), "an offloaded job panicked");
        }
        counts.running.fetch_sub(1, Release);
    }

    /// Takes no more work; workers end when what waits is done.
    fn close(&self) {
        self.is_closing.store(true, Release);
        self.threads.get().into_iter().flatten().for_each(Thread::unpark);
    }

    pub(super) fn figures(&self) -> WorkerFigures {
        let counts = &self.counts;
        WorkerFigures {
            waiting: self.jobs.len(),
            running: counts.running.load(Acquire),
            run: counts.run.load(Relaxed),
            expired: counts.expired.load(Relaxed),
            refused: counts.refused.load(Relaxed),
            panicked: counts.panicked.load(Relaxed),
        }
    }
}

impl<W> fmt::Debug for Queue<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("waiting", &self.jobs.len())
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

/// What the loops have of the pool. With the last loop nobody is left to bring work, and the workers end.
#[derive(Debug)]
pub(super) struct Front(Arc<Queue<Job>>);

impl Workers for Front {
    fn submit(&self, job: Job) -> Result<(), Job> {
        self.0.submit(job)
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A pool of named threads.
#[derive(Debug)]
pub(super) struct Pool<W> {
    queue: Arc<Queue<W>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool<Job> {
    /// What the loops bring their jobs to.
    pub(super) fn front(&self) -> Arc<Front> {
        Arc::new(Front(Arc::clone(&self.queue)))
    }
}

impl<W: Work> Pool<W> {
    /// So many threads, and so much work that may wait for them. Deadlines are counted from `start`.
    ///
    /// # Errors
    ///
    /// If the system has no thread to give; those that were made have ended then.
    pub(super) fn start(threads: u16, capacity: usize, start: Instant) -> io::Result<Pool<W>> {
        let queue = Arc::new(Queue::new(threads, capacity));
        let mut pool = Pool { queue: Arc::clone(&queue), threads: Vec::with_capacity(threads.into()) };
        for number in 0..threads {
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new().name(format!("tidegate-worker-{number}"));
            let spawned = thread.spawn(move || queue.serve(number.into(), || time_since(start)));
            match spawned {
                Ok(thread) => pool.threads.push(thread),
                Err(error) => {
                    pool.end(Instant::now());
                    return Err(error);
                }
            }
        }
        let threads = pool.threads.iter().map(|thread| thread.thread().clone()).collect();
        let set = queue.threads.set(threads);
        debug_assert!(set.is_ok(), "set once");
        Ok(pool)
    }

    /// What the workers do, for whoever wants its figures.
    pub(super) const fn queue(&self) -> &Arc<Queue<W>> {
        &self.queue
    }

    /// Ends the pool: what waits is done until then, and what is being done may take until then. Gives how many jobs
    /// were left undone, or unfinished.
    pub(super) fn end(self, until: Instant) -> usize {
        let Pool { queue, threads } = self;
        loop {
            // Each time: one that was about to sleep may not have seen it.
            queue.close();
            threads.iter().for_each(|thread| thread.thread().unpark());
            if threads.iter().all(JoinHandle::is_finished) {
                break;
            }
            if Instant::now() >= until {
                queue.is_over.store(true, Release);
                break;
            }
            std::thread::sleep(END_POLL);
        }
        let figures = queue.figures();
        // Whoever waits for it is told by its being dropped.
        while let Some(work) = queue.jobs.pop() {
            drop(work);
        }
        figures.waiting + figures.running
    }
}

fn time_since(start: Instant) -> Time {
    Time(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Says what became of it, and waits to be let go before that.
    struct Told {
        name: u32,
        deadline: Time,
        gate: Option<Receiver<()>>,
        said: Sender<(u32, &'static str)>,
    }

    impl Work for Told {
        fn deadline(&self) -> Time {
            self.deadline
        }

        fn run(self, _now: Time) {
            if let Some(gate) = &self.gate {
                let _ = gate.recv();
            }
            assert_ne!(self.name, 13, "an unlucky job");
            let _ = self.said.send((self.name, "run"));
        }

        fn expire(self) {
            let _ = self.said.send((self.name, "expired"));
        }
    }

    const NEVER: Time = Time(u64::MAX);

    fn work(name: u32, said: &Sender<(u32, &'static str)>) -> Told {
        Told { name, deadline: NEVER, gate: None, said: said.clone() }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn the_queue_is_bounded_and_late_work_is_not_started() {
        let pool = Pool::start(1, 2, Instant::now()).unwrap();
        let (queue, (said, heard)) = (Arc::clone(pool.queue()), channel());
        let (open, gate) = channel();
        assert!(queue.submit(Told { gate: Some(gate), ..work(1, &said) }).is_ok());
        while queue.figures().running == 0 {
            std::thread::yield_now();
        }
        assert!(queue.submit(Told { deadline: Time(1), ..work(2, &said) }).is_ok());
        assert!(queue.submit(work(3, &said)).is_ok());
        assert!(queue.submit(work(4, &said)).is_err(), "two wait");
        assert_eq!((queue.capacity(), queue.figures().waiting, queue.figures().refused), (2, 2, 1));
        open.send(()).unwrap();
        let all: Vec<_> = heard.iter().take(3).collect();
        assert_eq!(all, [(1, "run"), (2, "expired"), (3, "run")]);
        assert_eq!(pool.end(soon()), 0);
        assert_eq!(
            queue.figures(),
            WorkerFigures { run: 2, expired: 1, refused: 1, ..WorkerFigures::default() }
        );
        assert!(queue.submit(work(5, &said)).is_err(), "closed");
    }

    #[test]
    fn a_panic_is_counted_and_the_thread_lives_on() {
        let pool = Pool::start(1, 8, Instant::now()).unwrap();
        let (queue, (said, heard)) = (Arc::clone(pool.queue()), channel());
        for name in [13, 1, 13, 2] {
            assert!(queue.submit(work(name, &said)).is_ok());
        }
        assert_eq!(heard.iter().take(2).collect::<Vec<_>>(), [(1, "run"), (2, "run")]);
        assert_eq!(pool.end(soon()), 0);
        assert_eq!((queue.figures().run, queue.figures().panicked), (4, 2));
    }

    /// However work comes, none is left while workers sleep: the last job of each burst is done without another's help.
    #[test]
    fn nothing_is_left_while_workers_sleep() {
        for threads in [1, 3] {
            let pool = Pool::start(threads, 64, Instant::now()).unwrap();
            let (queue, (said, heard)) = (Arc::clone(pool.queue()), channel());
            let mut rng = crate::base::Rng::new(5);
            for round in 0..20_000 {
                let burst = u32::try_from(rng.between(1, 3)).unwrap();
                for name in 0..burst {
                    assert!(queue.submit(work(100 + name, &said)).is_ok());
                    (0..rng.below(200)).for_each(|_| std::hint::spin_loop());
                }
                for _ in 0..burst {
                    let told = heard.recv_timeout(Duration::from_secs(20));
                    told.unwrap_or_else(|_| {
                        panic!("{threads} threads, round {round}: {:?}", queue.figures())
                    });
                }
            }
            assert_eq!(pool.end(soon()), 0);
        }
    }

    #[test]
    fn what_waits_is_done_before_the_end_and_what_takes_too_long_is_told() {
        let pool = Pool::start(2, 8, Instant::now()).unwrap();
        let (queue, (said, heard)) = (Arc::clone(pool.queue()), channel());
        (0..8).for_each(|name| drop(queue.submit(work(name, &said))));
        assert_eq!(pool.end(soon()), 0);
        assert_eq!(heard.try_iter().count(), 8);
        let pool = Pool::start(1, 8, Instant::now()).unwrap();
        let (open, gate) = channel();
        assert!(pool.queue().submit(Told { gate: Some(gate), ..work(1, &said) }).is_ok());
        while pool.queue().figures().running == 0 {
            std::thread::yield_now();
        }
        assert!(pool.queue().submit(work(2, &said)).is_ok());
        assert_eq!(pool.end(Instant::now() + Duration::from_millis(30)), 2, "one runs, one waits");
        drop(open);
    }
}
