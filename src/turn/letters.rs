//! What other threads ask of a loop, and the answers that they bring to deferred requests.
//!
//! Letters are taken at the end of a turn, before the hot list, so that what they make runnable runs in the same turn.
//!
//! Always holds: the bell is cleared before the first letter is taken, so none is overlooked; a turn takes a bounded
//! number, and one that leaves some behind is not followed by a wait; a letter for a connection that is gone finds
//! nothing and is counted. Never: more trust in a letter than in its token's generation.

use super::{Io, Turn};
use crate::base::Token;
use crate::base::limits::LETTERS_PER_TURN;
use crate::mailbox::{Answer, Command, Whom};
use crate::metrics::Counter;
use crate::service::Service;
use crate::wire::Status;
use bytes::Bytes;
use std::sync::Arc;

impl<S: Service, I: Io> Turn<S, I> {
    /// Takes the letters that wait, a bounded number of them.
    #[cold]
    pub(super) fn take_letters(&mut self, io: &mut I) {
        let mailbox = Arc::clone(&self.mailbox);
        mailbox.begin_drain();
        for _ in 0..LETTERS_PER_TURN {
            // At every ring: the letter that tells of newcomers may have found no place.
            let newcomer = io.take_handed();
            let command = mailbox.take_command();
            let answer = mailbox.take_answer();
            if newcomer.is_none() && command.is_none() && answer.is_none() {
                return;
            }
            if let Some((stream, address, listener)) = newcomer {
                self.admit(io, stream, address, listener);
            }
            if let Some(command) = command {
                self.obey(io, command);
            }
            if let Some(answer) = answer {
                self.apply_answer(io, answer);
            }
        }
        mailbox.ring();
    }

    fn obey(&mut self, io: &mut I, command: Command) {
        match command {
            Command::Drain { grace } => self.begin_drain(io, self.shared.ms.after(grace)),
            Command::Send { to, bytes, whom } => self.apply_send(io, to, &bytes, whom),
            Command::Close { to, status, text } => self.apply_close(io, to, status, &text),
            Command::Publish(bytes) => self.apply_publish(io, &bytes),
            // Newcomers are taken at every ring, and this was one.
            Command::Arrived => {}
        }
    }

    fn apply_send(&mut self, _io: &mut I, _to: Token, _bytes: &Bytes, _whom: Whom) {
        self.shared.metrics.add(Counter::LettersStale, 1);
    }

    fn apply_close(&mut self, _io: &mut I, _to: Token, _status: Status, _text: &str) {
        self.shared.metrics.add(Counter::LettersStale, 1);
    }

    fn apply_publish(&mut self, _io: &mut I, _bytes: &Bytes) {
        self.shared.metrics.add(Counter::LettersStale, 1);
    }

    fn apply_answer(&mut self, _io: &mut I, _answer: Answer) {
        self.shared.metrics.add(Counter::LettersStale, 1);
    }
}
