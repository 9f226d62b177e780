//! What other threads ask of a loop, and the answers that they bring to deferred requests.
//!
//! Letters are taken at the end of a turn, before the hot list, so that what they make runnable runs in the same turn.
//!
//! Always holds: the bell is cleared before the first letter is taken, so none is overlooked; a turn takes a bounded
//! number, and one that leaves some behind is not followed by a wait; a letter for a connection that is gone finds
//! nothing and is counted. Never: more trust in a letter than in its token's generation.

use super::inspect::Scan;
use super::visit::Said;
use super::{Io, Turn};
use crate::base::limits::LETTERS_PER_TURN;
use crate::mailbox::{Answer, Body, Command};
use crate::metrics::Outcome;
use crate::service::Service;
use crate::wire::Status;
use std::sync::Arc;

impl<S: Service, I: Io> Turn<S, I> {
    /// Takes the letters that wait, a bounded number of them.
    #[cold]
    pub(super) fn take_letters(&mut self, io: &mut I) {
        let mailbox = Arc::clone(&self.shared.mailbox);
        mailbox.begin_drain();
        if let Some(inquiry) = mailbox.take_inquiry() {
            self.inspection = Some(Scan::new(inquiry));
        }
        for _ in 0..LETTERS_PER_TURN {
            // At every ring: the letter that tells of newcomers may have found no place.
            let newcomer = io.take_handed();
            let command = mailbox.take_command();
            let answer = mailbox.take_answer();
            if newcomer.is_none() && command.is_none() && answer.is_none() {
                return;
            }
            if let Some((stream, entered, listener)) = newcomer {
                self.admit(io, stream, entered, listener);
            }
            if let Some(command) = command {
                self.obey(io, command);
            }
            if let Some(answer) = answer {
                self.take_answer(io, answer);
            }
        }
        mailbox.ring();
    }

    fn obey(&mut self, io: &mut I, command: Command) {
        match command {
            Command::Drain { grace } => self.begin_drain(io, self.shared.ms.after(grace)),
            Command::Send { to, bytes, whom } => self.deliver(io, to, whom, Said::Shared(bytes)),
            Command::Close { to, status, text } => self.end_connection(io, to, status, &text),
            Command::Publish(bytes) => self.publish_here(&bytes),
            // Newcomers are taken at every ring, and this was one.
            Command::Arrived => {}
        }
    }

    fn take_answer(&mut self, io: &mut I, answer: Answer) {
        let Answer { ticket, body } = answer;
        match body {
            Body::Inline(inline) => {
                self.complete(io, ticket, Said::Copy(inline.as_slice()), Outcome::Answered);
            }
            Body::Shared(bytes) => self.complete(io, ticket, Said::Shared(bytes), Outcome::Answered),
            Body::Failed { status, text } => {
                self.complete(io, ticket, Said::Failed(status, &text), Outcome::Failed);
            }
            Body::Dropped => {
                let said = Said::Failed(Status::INTERNAL, "the handler of this request gave no answer");
                self.complete(io, ticket, said, Outcome::Dropped);
            }
        }
    }
}
