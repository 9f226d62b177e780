//! Work that is too slow for an event loop, and the pool that does it elsewhere.
//!
//! Always holds: a job is either run, or expired, or refused; whoever waits for it is told. Never: a thread. The
//! server has a pool of them, the simulator runs jobs at moments of its own.

use super::Later;
use crate::base::{Text, Time};
use crate::wire::Status;
use bytes::Bytes;

/// What an offloaded job has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The reply.
    Reply(Bytes),
    /// The request failed.
    Fail(Status, String),
}

impl From<Vec<u8>> for Outcome {
    fn from(payload: Vec<u8>) -> Outcome {
        Outcome::Reply(payload.into())
    }
}

impl From<Bytes> for Outcome {
    fn from(payload: Bytes) -> Outcome {
        Outcome::Reply(payload)
    }
}

/// A request's slow part, on its way to another thread.
pub struct Job {
    /// When it was offloaded.
    since: Time,
    deadline: Time,
    later: Later,
    work: Box<dyn FnOnce() -> Outcome + Send>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("deadline", &self.deadline)
            .field("later", &self.later)
            .finish_non_exhaustive()
    }
}

impl Job {
    pub(super) fn new(
        (since, deadline): (Time, Time),
        later: Later,
        work: Box<dyn FnOnce() -> Outcome + Send>,
    ) -> Job {
        Job { since, deadline, later, work }
    }

    /// When its requester gives up, on the clock of its loop: from then on it is not worth running.
    pub const fn deadline(&self) -> Time {
        self.deadline
    }

    /// Does the work and answers; `now` is on the clock of its loop. A panic of the work goes on to the caller; the requester
    /// is told INTERNAL.
    pub fn run(mut self, now: Time) {
        self.later.begun(now.since_us(self.since));
        match (self.work)() {
            Outcome::Reply(payload) => self.later.share(payload),
            Outcome::Fail(status, text) => self.later.fail(status, text),
        }
    }

    /// Its time is up: the requester is told DEADLINE_EXCEEDED, and nothing is done.
    pub fn expire(self) {
        self.later.fail(Status::DEADLINE_EXCEEDED, "the deadline passed before a worker was free");
    }

    /// There is no room for it: the requester is told OVERLOADED, and nothing is done.
    pub(super) fn refuse(self, waiting: usize) {
        let text = Text::of(format_args!("all workers are busy and {waiting} jobs wait"));
        self.later.fail(Status::OVERLOADED, text.as_str().to_owned());
    }
}

/// Who does jobs.
pub trait Workers: std::fmt::Debug + Send + Sync {
    /// Takes a job; never blocks.
    ///
    /// # Errors
    ///
    /// Gives it back if as many wait as may.
    fn submit(&self, job: Job) -> Result<(), Job>;

    /// Jobs that may wait at most.
    fn capacity(&self) -> usize;
}

/// Nobody: every job is refused.
#[derive(Clone, Copy, Debug)]
pub struct NoWorkers;

impl Workers for NoWorkers {
    fn submit(&self, job: Job) -> Result<(), Job> {
        Err(job)
    }

    fn capacity(&self) -> usize {
        0
    }
}
