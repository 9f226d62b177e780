//! What a scripted client sends, what is due to it for that, and how it ends.
//!
//! ```text
//!   stream      | HELLO | request | PING | request | ...      as it goes out, written before anything is sent
//!   milestones          ^         ^      ^         ^          where a message ends, and how much is due from there on
//! ```
//!
//! The parts: [`writer`] draws the messages, [`requests`] what they ask for, [`controls`] greetings and other control
//! frames, [`endings`] how it goes out.

mod controls;
mod endings;
mod requests;
mod writer;

use super::checker::{Farewell, Unheard};
use super::model::{Answer, Due, Request};
use super::plan::Plan;
use super::socket::Capacity;
use crate::base::{CloseReason, Rng};
use crate::session::Protocol;

/// How a client's part ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finale {
    /// It takes all that is due, then closes.
    Close,
    /// It ends its sending side when all is sent, and reads on to the end.
    HalfClose,
    /// It closes when all is sent, whatever is due.
    EarlyClose,
    /// It resets once so many bytes are sent.
    Reset(usize),
    /// It ends its sending side within a message.
    EndInside,
    /// Its last message ends the connection for this reason.
    Fault(CloseReason),
    /// It stops within a message, says no more and reads on.
    Mute,
    /// It says no more and reads on.
    Stay,
}

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// What is there, when it acts.
    Eager,
    /// At most so many bytes, then nothing for so many microseconds.
    Slow(usize, u64),
    /// Not at all.
    Never,
}

/// What a client that said HELLO does when it is told to go elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// It closes, whatever is due.
    AtOnce,
    /// It asks nothing new, takes what is due, and closes.
    WhenDone,
    /// It goes on as if nothing were.
    Never,
}

/// Where a message ends in the stream, and how much is due once it was handled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Milestone {
    pub(super) end: usize,
    pub(super) due: usize,
}

pub(super) struct Script {
    pub(super) listener: u32,
    pub(super) protocol: Protocol,
    pub(super) stream: Vec<u8>,
    pub(super) milestones: Vec<Milestone>,
    pub(super) due: Vec<Due>,
    pub(super) unheard: Vec<Unheard>,
    pub(super) finale: Finale,
    /// The last words if the finale is reached undisturbed.
    pub(super) farewell: Option<Farewell>,
    pub(super) reading: Reading,
    /// Messages sent ahead of the replies.
    pub(super) depth: usize,
    /// Microseconds after the world's start.
    pub(super) start_us: u64,
    pub(super) capacity: Capacity,
    /// It says HELLO, and is let in.
    pub(super) is_greeter: bool,
    pub(super) answers_pings: bool,
    pub(super) leaving: Leaving,
}

impl Script {
    /// Draws a client's part. The model is asked for each request that the service is going to see, in order.
    pub(super) fn draw(
        client: u32,
        plan: &Plan,
        rng: &mut Rng,
        model: &mut dyn FnMut(&Request<'_>) -> Answer,
    ) -> Script {
        writer::Writer::new(client, plan, rng, model).write()
    }

    /// How much is due once `bytes` of the stream were handled.
    pub(super) fn due_by(&self, bytes: usize) -> usize {
        match self.whole_by(bytes) {
            0 => 0,
            passed => self.milestones[passed - 1].due,
        }
    }

    /// What is due for messages of which something lies within the first `bytes` of the stream.
    pub(super) fn due_begun_by(&self, bytes: usize) -> usize {
        let whole_before = self.milestones.partition_point(|milestone| milestone.end < bytes);
        match self.milestones.get(whole_before) {
            _ if bytes == 0 => 0,
            Some(milestone) => milestone.due,
            None => self.due.len(),
        }
    }

    /// What all that is due may come to, in bytes.
    pub(super) fn due_bytes(&self) -> usize {
        self.due.iter().map(Due::bytes).sum()
    }

    /// The largest payload that is due, in bytes.
    pub(super) fn due_payload_max(&self) -> usize {
        self.due.iter().map(Due::payload_bytes).max().unwrap_or(0)
    }

    /// Messages that are whole within `bytes` of the stream.
    pub(super) fn whole_by(&self, bytes: usize) -> usize {
        self.milestones.partition_point(|milestone| milestone.end <= bytes)
    }

    /// How much may be sent when so much has come.
    pub(super) fn may_send(&self, taken: usize) -> usize {
        let answered = self.milestones.partition_point(|milestone| milestone.due <= taken);
        match self.milestones.get(answered.saturating_add(self.depth)) {
            Some(milestone) => milestone.end,
            None => self.stream.len(),
        }
    }

    /// The end of the message that lies across the first `bytes` of the stream, if one does and it has an end.
    pub(super) fn message_end(&self, bytes: usize) -> Option<usize> {
        let ends = || self.milestones.iter().map(|milestone| milestone.end);
        if bytes == 0 || ends().any(|end| end == bytes) {
            return Some(bytes);
        }
        self.milestones.get(self.whole_by(bytes)).map(|milestone| milestone.end)
    }

    /// Puts a message between two others, where `at` is a [message's end](Script::message_end).
    pub(super) fn insert(&mut self, at: usize, bytes: &[u8]) {
        let place = self.whole_by(at);
        self.stream.splice(at..at, bytes.iter().copied());
        for milestone in &mut self.milestones[place..] {
            milestone.end += bytes.len();
        }
        for unheard in self.unheard.iter_mut().filter(|unheard| unheard.at >= at) {
            unheard.at += bytes.len();
        }
        let due = place.checked_sub(1).map_or(0, |before| self.milestones[before].due);
        self.milestones.insert(place, Milestone { end: at + bytes.len(), due });
        if let Finale::Reset(reset_at) = &mut self.finale
            && *reset_at > at
        {
            *reset_at += bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Framing;
    use crate::turn::ListenerConfig;

    #[test]
    fn a_message_between_two_others_moves_what_is_behind_it() {
        let plan = Plan { listeners: vec![ListenerConfig::new(Framing::frames(100))], ..Plan::calm(3, &[1]) };
        let mut script = Script::draw(0, &plan, &mut Rng::new(5), &mut |_| Answer::Silent);
        script.milestones = vec![Milestone { end: 10, due: 1 }, Milestone { end: 20, due: 2 }];
        script.stream = vec![b'x'; 23];
        #[rustfmt::skip]
        let table: &[(usize, Option<usize>)] = &[(0, Some(0)), (1, Some(10)), (10, Some(10)), (11, Some(20)), (20, Some(20)), (21, None)];
        for (bytes, want) in table {
            assert_eq!(script.message_end(*bytes), *want, "case: {bytes}");
        }
        script.insert(10, b"pong");
        assert_eq!(&script.stream[8..16], b"xxpongxx");
        let ends: Vec<_> = script.milestones.iter().map(|milestone| (milestone.end, milestone.due)).collect();
        assert_eq!(ends, [(10, 1), (14, 1), (24, 2)]);
        script.insert(0, b"first");
        assert_eq!((script.milestones[0].end, script.milestones[0].due, script.stream.len()), (5, 0, 32));
        assert_eq!((script.due_begun_by(0), script.due_begun_by(6), script.due_begun_by(15)), (0, 1, 1));
    }
}
