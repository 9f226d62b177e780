//! A question to a loop about its connections, and the place where its report is left.
//!
//! ```text
//!   asker                                     loop
//!   Mailbox::ask(question) --Inquiry-->  a bounded piece of work each turn, until the report is whole
//!    `-- Awaited::take() <---- one place ----'
//! ```
//!
//! Always holds: leaving the report never blocks the loop, and its place is freed when both sides have let go of it;
//! an asker that has gone is noticed, and nothing more is done for it. Never: a reference into the loop.

use super::report::{Closed, Connection, LoopEvent};
use crate::base::{CloseReason, Token};
use crate::metrics::Gauge;
use crossbeam_queue::ArrayQueue;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Release};

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Which connections have the most of something.
    Connections {
        /// Of what.
        by: By,
        /// How many of them, at most [`INSPECTED_MAX`](crate::base::limits::INSPECTED_MAX); more are cut to that.
        limit: usize,
        /// Only these.
        only: Only,
    },
    /// All about one connection.
    Connection(Token),
    /// Which connections have ended, the last first.
    Closed {
        /// How many of them.
        limit: usize,
        /// Only those that ended so.
        reason: Option<CloseReason>,
    },
}

/// What connections are ranked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Bytes read and written since it was opened.
    Bytes,
    /// Bytes of output that wait.
    Queued,
    /// The oldest first.
    Age,
}

impl By {
    /// All of them.
    pub const ALL: [By; 3] = [By::Bytes, By::Queued, By::Age];

    /// The name in a query.
    pub const fn name(self) -> &'static str {
        match self {
            By::Bytes => "bytes",
            By::Queued => "queued",
            By::Age => "age",
        }
    }

    /// A connection's rank: the largest comes first.
    pub fn rank(self, connection: &Connection) -> u64 {
        let bytes = connection.bytes_in + connection.bytes_out;
        self.rank_of(bytes, connection.queued_bytes, connection.opened_ms)
    }

    /// The rank of one with so many bytes read and written, so many queued, and opened then.
    pub const fn rank_of(self, bytes: u64, queued_bytes: u32, opened_ms: u64) -> u64 {
        match self {
            By::Bytes => bytes,
            By::Queued => queued_bytes as u64,
            By::Age => u64::MAX - opened_ms,
        }
    }
}

/// Which connections are looked at. The default is all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Only {
    /// Those that stand here, one of [`Gauge::STATES`].
    pub state: Option<Gauge>,
    /// Those that are not being read at the moment.
    pub paused: bool,
    /// Those of this listener, by its place in the server's list.
    pub listener: Option<usize>,
}

/// What a loop has to say.
#[derive(Clone, Debug)]
pub enum Report {
    /// The connections that were asked for, by rank. They were looked at one after the other, so the report is not of one
    /// moment.
    Connections {
        /// How many there were of those that were asked for.
        matching: u64,
        /// The first of them.
        first: Vec<Connection>,
    },
    /// One connection and what the loop remembers of it, the oldest first; `None` if there is no such connection.
    Connection(Option<(Box<Connection>, Vec<LoopEvent>)>),
    /// Ended connections, the last first, and all events that the loop remembers, the oldest first.
    Closed {
        /// The connections.
        ends: Vec<Closed>,
        /// The events of all connections.
        events: Vec<LoopEvent>,
    },
}

/// A question on its way to a loop. While there is one, its loop is asked no other.
#[derive(Debug)]
pub struct Inquiry {
    /// What is asked.
    pub question: Question,
    to: Arc<ArrayQueue<Report>>,
    turnstile: Arc<AtomicBool>,
}

/// The other end of an [`Inquiry`].
#[derive(Debug)]
pub struct Awaited {
    from: Arc<ArrayQueue<Report>>,
}

impl Inquiry {
    /// A question, and where its report will be. `None` while the turnstile is closed by an earlier one.
    pub(super) fn new(question: Question, turnstile: &Arc<AtomicBool>) -> Option<(Inquiry, Awaited)> {
        if turnstile.swap(true, AcqRel) {
            return None;
        }
        let place = Arc::new(ArrayQueue::new(1));
        let inquiry = Inquiry { question, to: Arc::clone(&place), turnstile: Arc::clone(turnstile) };
        Some((inquiry, Awaited { from: place }))
    }

    /// Whether anybody still waits for the report.
    pub fn is_wanted(&self) -> bool {
        Arc::strong_count(&self.to) > 1
    }

    /// Leaves the report.
    pub fn answer(self, report: Report) {
        // There is one place, and this is the only report: it fits.
        let _ = self.to.push(report);
    }
}

/// Answered or given up: the next may come.
impl Drop for Inquiry {
    fn drop(&mut self) {
        self.turnstile.store(false, Release);
    }
}

/// What has become of an [`Inquiry`].
#[derive(Debug)]
pub enum Fate {
    /// It waits, or is being worked on.
    Waiting,
    /// Here is the report.
    Answered(Report),
    /// The loop is over, and will not answer.
    Dropped,
}

impl Awaited {
    /// What has become of the question. Never waits.
    pub fn take(&self) -> Fate {
        // In this order: who answers and lets go in between has answered.
        let is_dropped = Arc::strong_count(&self.from) == 1;
        match self.from.pop() {
            Some(report) => Fate::Answered(report),
            None if is_dropped => Fate::Dropped,
            None => Fate::Waiting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_side_may_go_first_and_the_next_comes_when_it_is_over() {
        let turnstile = Arc::default();
        let ask = || Inquiry::new(Question::Connection(Token { generation: 1, slot: 0 }), &turnstile);
        let (inquiry, awaited) = ask().expect("nobody asks");
        assert!(inquiry.is_wanted() && ask().is_none());
        assert!(matches!(awaited.take(), Fate::Waiting));
        inquiry.answer(Report::Connection(None));
        assert!(matches!(awaited.take(), Fate::Answered(Report::Connection(None))));
        assert!(matches!(awaited.take(), Fate::Dropped), "there is no second one");
        let (inquiry, awaited) = ask().expect("the first is over");
        drop(awaited);
        assert!(!inquiry.is_wanted() && ask().is_none(), "the loop has not let go of it");
        inquiry.answer(Report::Connection(None));
        let (inquiry, awaited) = ask().expect("the second is over");
        drop(inquiry);
        assert!(matches!(awaited.take(), Fate::Dropped) && ask().is_some());
    }
}
