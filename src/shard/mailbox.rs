//! Commands from other threads: a bounded queue, and a waker that is rung only when the loop may be asleep.

use crate::base::limits::MAILBOX_COMMANDS;
use crossbeam_queue::ArrayQueue;
use mio::Waker;
use std::time::Duration;

/// What another thread may ask of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Stop accepting, answer what was received, end every connection within the grace.
    Drain {
        /// From now on.
        grace: Duration,
    },
}

/// A loop's letter box. Leaving a command never blocks.
#[derive(Debug)]
pub struct Mailbox {
    queue: ArrayQueue<Command>,
    waker: Waker,
}

impl Mailbox {
    pub(super) fn new(waker: Waker) -> Mailbox {
        Mailbox { queue: ArrayQueue::new(MAILBOX_COMMANDS), waker }
    }

    /// Leaves a command and wakes the loop.
    ///
    /// # Errors
    ///
    /// Gives the command back if [`MAILBOX_COMMANDS`] wait already.
    pub fn leave(&self, command: Command) -> Result<(), Command> {
        let left = self.queue.push(command);
        self.wake();
        left
    }

    pub(super) fn take(&self) -> Option<Command> {
        self.queue.pop()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// A waker can only fail when its poller is gone, and then there is nobody to wake.
    pub(super) fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake an event loop");
        }
    }
}
