//! The other threads of a simulated program: what is given to them is done at later moments, in an order of chance,
//! between the loop's turns and in the middle of them.
//!
//! A service that hands its [`Later`]s to threads, tasks or a pool of its own takes a [`Threads`] in their place when it
//! is simulated; what it [offloads](crate::service::Reply::offload) gets there by itself.
//!
//! Always holds: all that was taken is done, once. Never: a real thread. The same seed gives the same moments.

use super::weather::Trouble;
use crate::base::{Rng, Time};
use crate::service::{Job, Later, Workers};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// The other threads of one world.
#[derive(Clone)]
pub struct Threads(Arc<Mutex<Inner>>);

struct Inner {
    rng: Rng,
    /// The moment of the last look.
    now: Time,
    work_us: (u64, u64),
    jobs_max: usize,
    jobs: usize,
    pending: Vec<(Time, Work)>,
    forgotten: Vec<Later>,
    /// What is to be reported, by kind.
    made: Vec<Trouble>,
}

enum Work {
    Job(Job),
    Errand(Box<dyn FnOnce() + Send>),
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pending = self.with(|inner| inner.pending.len());
        f.debug_struct("Threads").field("pending", &pending).finish_non_exhaustive()
    }
}

impl Threads {
    pub(super) fn new(seed: u64, now: Time, work_us: (u64, u64), jobs_max: usize) -> Threads {
        let (rng, pending, made) = (Rng::new(seed), Vec::new(), Vec::new());
        Threads(Arc::new(Mutex::new(Inner {
            rng,
            now,
            work_us,
            jobs_max,
            jobs: 0,
            pending,
            forgotten: Vec::new(),
            made,
        })))
    }

    /// Does this on another thread, some time later.
    pub fn later(&self, errand: impl FnOnce() + Send + 'static) {
        self.with(|inner| inner.put(Work::Errand(Box::new(errand))));
    }

    /// Keeps a request's right to be answered for ever, as a handler would that leaks it. The world knows then that it
    /// does not come back.
    pub fn forget(&self, later: Later) {
        self.with(|inner| inner.forgotten.push(later));
    }

    /// How many were [forgotten](Threads::forget).
    pub(super) fn forgotten(&self) -> usize {
        self.with(|inner| inner.forgotten.len())
    }

    /// When there is something to do next.
    pub(super) fn next_at(&self) -> Option<Time> {
        self.with(|inner| inner.pending.iter().map(|(at, _)| *at).min())
    }

    /// Does what is due. Gives how much that was.
    pub(super) fn run_due(&self, now: Time) -> usize {
        let mut done = 0;
        while let Some(work) = self.with(|inner| inner.take_due(now)) {
            done += 1;
            // Not under the lock: work may bring more work. A panic ends a worker's job, and nothing else.
            let ran = catch_unwind(AssertUnwindSafe(|| match work {
                Work::Job(job) if job.deadline() <= now => {
                    self.with(|inner| inner.made.push(Trouble::JobExpired));
                    job.expire();
                }
                Work::Job(job) => job.run(now),
                Work::Errand(errand) => errand(),
            }));
            if ran.is_err() {
                self.with(|inner| inner.made.push(Trouble::JobPanicked));
            }
        }
        done
    }

    /// The kinds of trouble since the last call.
    pub(super) fn take_made(&self) -> Vec<Trouble> {
        self.with(|inner| std::mem::take(&mut inner.made))
    }

    fn with<R>(&self, look: impl FnOnce(&mut Inner) -> R) -> R {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn put(&mut self, work: Work) {
        let (least, most) = self.work_us;
        let at = self.now.plus_us(self.rng.between(least, most));
        self.pending.push((at, work));
    }

    fn take_due(&mut self, now: Time) -> Option<Work> {
        self.now = self.now.max(now);
        let due = self.pending.iter().enumerate().filter(|(_, (at, _))| *at <= now);
        let (place, _) = due.min_by_key(|(_, (at, _))| *at)?;
        let (_, work) = self.pending.swap_remove(place);
        self.jobs -= usize::from(matches!(work, Work::Job(_)));
        Some(work)
    }
}

impl Workers for Threads {
    fn submit(&self, job: Job) -> Result<(), Job> {
        self.with(|inner| {
            if inner.jobs >= inner.jobs_max {
                inner.made.push(Trouble::JobsFull);
                return Err(job);
            }
            inner.jobs += 1;
            inner.put(Work::Job(job));
            Ok(())
        })
    }

    fn capacity(&self) -> usize {
        self.with(|inner| inner.jobs_max)
    }
}
