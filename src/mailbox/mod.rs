//! How other threads reach a loop: two bounded queues, a place for a question, and a bell.
//!
//! ```text
//!   Handle, other loops --post-->   [ commands: bounded, may refuse    ] --+
//!                                                                          +--> the loop, at the end of its turn
//!   Later, worker pool  --answer--> [ answers: as many places as credits ] --+
//!   who looks at it     --ask---->  [ one inquiry: others are refused    ] --+
//!            `----- the first letter since the loop looked rings the bell, and that wakes the loop -----'
//! ```
//!
//! Always holds: leaving a letter never blocks and never waits for the loop; a letter that was left is found, since
//! whoever left it has rung behind it; an answer always fits, because its place was set aside when the right to answer
//! was given away. Letters of one thread to one queue are taken in their order.
//! Never: a socket, a clock, a thread. What wakes the loop is a closure from above.

mod answer;
pub mod bell;
mod inquiry;
mod report;

pub use answer::{Answer, Body, Inline, Ticket};
pub use inquiry::{Awaited, By, Fate, Inquiry, Only, Question, Report};
pub use report::{Closed, Connection, Happened, LoopEvent};

use crate::base::Token;
use crate::base::limits::{LATERS_PER_SHARD, MAILBOX_COMMANDS};
use crate::identity::Users;
use crate::wire::Status;
use bell::Bell;
use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};
use std::time::Duration;

/// What another thread may ask of a loop.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Stop accepting, answer what was received, end every connection within the grace.
    Drain {
        /// From now on.
        grace: Duration,
    },
    /// Queue these bytes for a connection.
    Send {
        /// Which; a stale token finds nothing.
        to: Token,
        /// One whole, encoded frame.
        bytes: Bytes,
        /// What the connection must be for it.
        whom: Whom,
    },
    /// End a connection in order.
    Close {
        /// Which; a stale token finds nothing.
        to: Token,
        /// What the peer is told.
        status: Status,
        /// And in words.
        text: Box<str>,
    },
    /// Something for every loop's service.
    Publish(Bytes),
    /// From now on these are the users.
    Users(Arc<Users>),
    /// A connection that another loop handed over waits to be taken in.
    Arrived,
}

/// Which connections a [`Command::Send`] is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// An accepted one that has said HELLO: others don't know messages that they did not ask for.
    Greeted,
    /// One that we dialed.
    Dialed,
}

/// Why a question is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAsked {
    /// An earlier one is not answered yet.
    Busy,
    /// The loop is over.
    Over,
}

/// A loop's letter box, shared by everybody who may write to the loop.
pub struct Mailbox {
    commands: ArrayQueue<Command>,
    answers: ArrayQueue<Answer>,
    inquiry: ArrayQueue<Inquiry>,
    /// Closed while there is an inquiry, here or in the loop's hands.
    turnstile: Arc<AtomicBool>,
    is_over: AtomicBool,
    bell: Bell,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Mailbox {
    /// An empty one. `wake` makes the loop's poller return, now or the next time that it would wait; it is called once
    /// for all letters that are left before the loop looks.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Mailbox {
        Mailbox {
            commands: ArrayQueue::new(MAILBOX_COMMANDS),
            answers: ArrayQueue::new(LATERS_PER_SHARD),
            inquiry: ArrayQueue::new(1),
            turnstile: Arc::default(),
            is_over: AtomicBool::new(false),
            bell: Bell::new(),
            wake: Box::new(wake),
        }
    }

    /// Leaves a command and wakes the loop.
    ///
    /// # Errors
    ///
    /// Gives the command back if [`MAILBOX_COMMANDS`] wait already.
    pub fn post(&self, command: Command) -> Result<(), Command> {
        let left = self.commands.push(command);
        self.ring_and_wake();
        left
    }

    /// Leaves an answer and wakes the loop. There is room for it: whoever may answer holds one of the
    /// [`LATERS_PER_SHARD`] credits that the loop gives away.
    pub fn answer(&self, answer: Answer) {
        let left = self.answers.push(answer);
        debug_assert!(left.is_ok(), "more answers than credits");
        if let Err(lost) = left {
            tracing::error!(ticket = ?lost.ticket, "an answer found no place in its loop's mailbox");
        }
        self.ring_and_wake();
    }

    /// Asks the loop about its connections, and wakes it. In a place of its own, so that who asks takes no room from
    /// commands.
    ///
    /// # Errors
    ///
    /// [`NotAsked`]; then the loop hears nothing of it.
    pub fn ask(&self, question: Question) -> Result<Awaited, NotAsked> {
        if self.is_over.load(Acquire) {
            return Err(NotAsked::Over);
        }
        let (inquiry, awaited) = Inquiry::new(question, &self.turnstile).ok_or(NotAsked::Busy)?;
        let put = self.inquiry.push(inquiry);
        debug_assert!(put.is_ok(), "there is one at a time");
        self.ring_and_wake();
        Ok(awaited)
    }

    /// The loop is over: it answers nothing any more.
    pub fn end_inquiries(&self) {
        self.is_over.store(true, Release);
        drop(self.inquiry.pop());
    }

    /// Whether the loop is over: nothing that is left here is taken any more.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Acquire)
    }

    fn ring_and_wake(&self) {
        if self.bell.ring() {
            (self.wake)();
        }
    }

    /// Whether there may be letters. For the loop.
    #[inline]
    pub fn is_rung(&self) -> bool {
        self.bell.is_rung()
    }

    /// How many commands and how many answers wait now.
    pub fn depths(&self) -> (usize, usize) {
        (self.commands.len(), self.answers.len())
    }

    /// Makes the loop look, and leaves nothing: for whoever wants to see whether it still does.
    pub fn knock(&self) {
        self.ring_and_wake();
    }

    /// The loop is about to take letters. Clears the bell first, so that whoever leaves one behind the last that is
    /// taken rings anew.
    pub fn begin_drain(&self) {
        self.bell.clear();
    }

    /// The oldest command. For the loop, after [`Mailbox::begin_drain`].
    pub fn take_command(&self) -> Option<Command> {
        self.commands.pop()
    }

    /// The oldest answer. For the loop, after [`Mailbox::begin_drain`].
    pub fn take_answer(&self) -> Option<Answer> {
        self.answers.pop()
    }

    /// The inquiry that waits. For the loop, after [`Mailbox::begin_drain`].
    pub fn take_inquiry(&self) -> Option<Inquiry> {
        self.inquiry.pop()
    }

    /// The loop leaves letters behind for its next turn. Wakes nobody: the loop must not wait while its bell is rung.
    pub fn ring(&self) {
        let _is_first = self.bell.ring();
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("commands", &self.commands.len())
            .field("answers", &self.answers.len())
            .field("is_rung", &self.bell.is_rung())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    fn counted() -> (Mailbox, Arc<AtomicU32>) {
        let wakes = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&wakes);
        (
            Mailbox::new(move || {
                counter.fetch_add(1, Relaxed);
            }),
            wakes,
        )
    }

    fn answer(serial: u64) -> Answer {
        let token = Token { generation: 1, slot: 0 };
        Answer { ticket: Ticket { token, serial, queued_us: None }, body: Body::Dropped }
    }

    #[test]
    fn letters_come_in_order_and_wake_once() {
        let (mailbox, wakes) = counted();
        assert!(!mailbox.is_rung());
        assert_eq!(mailbox.post(Command::Arrived), Ok(()));
        assert_eq!(mailbox.post(Command::Publish(Bytes::from_static(b"x"))), Ok(()));
        mailbox.answer(answer(7));
        mailbox.answer(answer(8));
        assert_eq!((mailbox.is_rung(), wakes.load(Relaxed)), (true, 1));
        mailbox.begin_drain();
        assert!(!mailbox.is_rung());
        assert_eq!(mailbox.take_command(), Some(Command::Arrived));
        assert_eq!(mailbox.take_command(), Some(Command::Publish(Bytes::from_static(b"x"))));
        assert_eq!(mailbox.take_command(), None);
        assert_eq!(mailbox.take_answer().map(|answer| answer.ticket.serial), Some(7));
        mailbox.ring();
        assert_eq!((mailbox.is_rung(), wakes.load(Relaxed)), (true, 1), "the loop does not wake itself");
        mailbox.begin_drain();
        assert_eq!(mailbox.take_answer().map(|answer| answer.ticket.serial), Some(8));
        assert_eq!(mailbox.post(Command::Arrived), Ok(()));
        assert_eq!(wakes.load(Relaxed), 2);
    }

    #[test]
    fn a_loop_that_is_over_is_asked_nothing() {
        let (mailbox, wakes) = counted();
        let question = || Question::Closed { limit: 1, reason: None };
        let awaited = mailbox.ask(question()).expect("nobody asks");
        assert_eq!(mailbox.ask(question()).err(), Some(NotAsked::Busy));
        assert_eq!((mailbox.is_rung(), wakes.load(Relaxed)), (true, 1));
        mailbox.end_inquiries();
        assert!(matches!(awaited.take(), Fate::Dropped));
        assert_eq!(mailbox.ask(question()).err(), Some(NotAsked::Over));
        assert!(mailbox.take_inquiry().is_none());
    }

    #[test]
    fn commands_are_refused_when_full_and_answers_fit_to_the_last_credit() {
        let (mailbox, wakes) = counted();
        for _ in 0..MAILBOX_COMMANDS {
            assert_eq!(mailbox.post(Command::Arrived), Ok(()));
        }
        let refused = Command::Drain { grace: Duration::from_secs(1) };
        assert_eq!(mailbox.post(refused), Err(Command::Drain { grace: Duration::from_secs(1) }));
        (0..LATERS_PER_SHARD as u64).for_each(|serial| mailbox.answer(answer(serial)));
        mailbox.begin_drain();
        let taken = std::iter::from_fn(|| mailbox.take_answer()).count();
        assert_eq!((taken, wakes.load(Relaxed)), (LATERS_PER_SHARD, 1));
    }
}
