//! One connection's messages: requests into bytes that are to be written, bytes that were read into replies, each
//! matched and judged. No socket, no clock.
//!
//! Always holds: a request counts as sent from the moment its first byte is written; nothing is encoded while bytes of
//! earlier requests wait to be written, so a connection holds the bytes of one batch at most.
//! Never: a decision about the connection. What is wrong with a reply is counted; what ends the connection is returned.

use super::record::Record;
use super::report::Trouble;
use super::talk::{Heard, Identity, Reply, Talk, identity_of};
use super::window::{Answer, Sent, UNWRITTEN, Window};
use crate::wire::Status;
use std::io::{self, Read};

/// See the module.
#[derive(Debug, Default)]
pub struct Link {
    /// The connection's number in the run.
    pub id: u32,
    /// Which figures its times belong to.
    pub class: usize,
    window: Window,
    /// Bytes of the batch that are not written yet, behind those that are.
    out: Vec<u8>,
    out_at: usize,
    /// Requests of the batch whose first byte is not written.
    unwritten: u32,
    /// Bytes of the batch that were written, and where its first unwritten request begins.
    batch_at: usize,
    next_start: usize,
    /// The front of a message whose rest has not come.
    tail: Vec<u8>,
    /// Bytes of it that hold no end of a line.
    scanned: usize,
    /// Bytes that the message at the front needs.
    need: usize,
}

/// What came of some input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Replies to requests that were open.
    pub answered: u32,
    /// The server says that it ends the connection.
    pub is_told_to_go: bool,
}

impl Link {
    /// For a connection of the run.
    pub fn new(id: u32, class: usize) -> Link {
        Link { id, class, ..Link::default() }
    }

    /// Requests that are open.
    pub const fn open(&self) -> u32 {
        self.window.open()
    }

    /// Whether bytes wait to be written.
    pub const fn is_blocked(&self) -> bool {
        self.out_at < self.out.len()
    }

    /// Whether the front of a reply has come without its rest.
    pub const fn is_mid_reply(&self) -> bool {
        !self.tail.is_empty()
    }

    /// Encodes a request behind the others of the batch.
    #[inline]
    pub fn put(&mut self, talk: &Talk, due: u64, sendable: u64, size: u32, batch: &mut Vec<u8>) {
        debug_assert!(!self.is_blocked());
        let id = Identity { connection: self.id, number: self.window.next() };
        let crc = talk.encode(batch, id, size);
        self.window.push(due, sendable, size, crc);
        self.unwritten += 1;
    }

    /// The batch will be written from its first byte on.
    pub const fn begin_batch(&mut self) {
        self.batch_at = 0;
        self.next_start = 0;
    }

    /// Bytes that are no request, to be written behind those that wait.
    pub fn append(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Keeps what of the batch was refused.
    pub fn keep(&mut self, rest: &[u8]) {
        debug_assert!(!self.is_blocked());
        self.out.clear();
        self.out_at = 0;
        self.out.extend_from_slice(rest);
    }

    /// Bytes that wait to be written.
    pub fn waiting(&self) -> &[u8] {
        &self.out[self.out_at..]
    }

    /// Of the bytes that wait, these were written.
    pub fn drained(&mut self, bytes: usize) {
        self.out_at += bytes;
        if !self.is_blocked() {
            // A large batch is rare: its memory is not worth keeping.
            self.out = Vec::new();
            self.out_at = 0;
        }
    }

    /// All of the batch was written at this time.
    #[inline]
    pub fn wrote_all(&mut self, now: u64, record: &mut Record, counts: bool) {
        for sent in self.window.newest(std::mem::take(&mut self.unwritten)) {
            sent.written = now;
            if counts {
                record.sent(self.class, sent);
            }
        }
    }

    /// So many more bytes of the batch were written at this time.
    pub fn wrote(&mut self, talk: &Talk, bytes: usize, now: u64, record: &mut Record, counts: bool) {
        self.batch_at += bytes;
        while self.unwritten > 0 && self.next_start < self.batch_at {
            let number = self.window.next().wrapping_sub(self.unwritten);
            let sent = self.window.at(number).expect("an unwritten request is open");
            sent.written = now;
            self.unwritten -= 1;
            self.next_start += talk.request_bytes(sent.size);
            if counts {
                record.sent(self.class, sent);
            }
        }
    }

    /// What was read and has to stand in front of the next bytes; the bytes that the message needs from its first on.
    pub fn tail(&self) -> (&[u8], usize) {
        (&self.tail, self.need)
    }

    /// Reads at most so many bytes to behind the tail, for messages that are too large to be moved at each read.
    ///
    /// # Errors
    ///
    /// As read(2), if nothing was read.
    pub fn read_tail(&mut self, stream: impl Read, most: usize) -> io::Result<usize> {
        let before = self.tail.len();
        self.tail.reserve(most);
        let ended = stream.take(most as u64).read_to_end(&mut self.tail);
        let got = self.tail.len() - before;
        if got > 0 { Ok(got) } else { ended }
    }

    /// As [`take`](Self::take), for what [`read_tail`](Self::read_tail) read.
    pub fn take_tail(
        &mut self,
        talk: &Talk,
        now: u64,
        record: &mut Record,
        pongs: &mut Vec<u8>,
        counts: bool,
    ) -> Result<Taken, Trouble> {
        if self.tail.len() < self.need {
            return Ok(Taken::default());
        }
        let input = std::mem::take(&mut self.tail);
        self.take(talk, &input, now, record, pongs, counts)
    }

    /// Takes all whole messages out of `input`, which begins with [`tail`](Self::tail), and keeps the rest.
    ///
    /// With `counts` false nothing is recorded but trouble: the first request of a connection only asks whether it is
    /// alive.
    ///
    /// # Errors
    ///
    /// What makes the rest of the stream unreadable. It is not counted yet.
    #[inline]
    pub fn take(
        &mut self,
        talk: &Talk,
        input: &[u8],
        now: u64,
        record: &mut Record,
        pongs: &mut Vec<u8>,
        counts: bool,
    ) -> Result<Taken, Trouble> {
        let mut taken = Taken::default();
        let mut at = 0;
        loop {
            if let Some(used) = self.next_if_exact(talk, &input[at..], now, record, counts) {
                at += used;
                self.scanned = 0;
                taken.answered += 1;
                continue;
            }
            let (heard, used) = talk.hear(&input[at..], self.scanned)?;
            at += used;
            self.scanned = 0;
            match heard {
                Heard::Reply(reply) => {
                    taken.answered += u32::from(self.reply(talk, &reply, now, record, counts));
                }
                Heard::NeedMore(bytes) => {
                    self.need = bytes;
                    self.scanned = if talk.is_lines() { input.len() - at } else { 0 };
                    break;
                }
                Heard::Ping(opaque) => talk.encode_pong(pongs, opaque),
                Heard::GoAway => taken.is_told_to_go = true,
                Heard::Nothing => {}
            }
        }
        self.keep_tail(&input[at..]);
        Ok(taken)
    }

    /// Takes the next message if it is what nearly all are: the right reply to the oldest request.
    #[inline]
    fn next_if_exact(
        &mut self,
        talk: &Talk,
        input: &[u8],
        now: u64,
        record: &mut Record,
        counts: bool,
    ) -> Option<usize> {
        let (number, sent) = self.window.front()?;
        let id = Identity { connection: self.id, number };
        let used = talk.is_exactly(input, id, sent.size, sent.crc)?;
        let sent = self.window.answer_front()?;
        if counts {
            record.answered(self.class, &sent, now);
        }
        Some(used)
    }

    fn keep_tail(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            self.tail.clear();
            if self.tail.capacity() > 4096 {
                self.tail = Vec::new();
            }
        } else {
            self.tail.clear();
            self.tail.extend_from_slice(rest);
        }
    }

    /// Matches and judges one reply. True if it answered an open request.
    #[inline]
    fn reply(&mut self, talk: &Talk, reply: &Reply<'_>, now: u64, record: &mut Record, counts: bool) -> bool {
        let Some((number, is_right)) = self.matched(talk, reply) else {
            record.trouble(Trouble::Unexpected);
            return false;
        };
        let sent = match self.window.answer(number) {
            Answer::To(sent) => sent,
            Answer::Overtaken(sent) => {
                if talk.is_ordered() {
                    record.trouble(Trouble::OutOfOrder);
                }
                sent
            }
            Answer::Again => {
                record.trouble(Trouble::Duplicate);
                return false;
            }
            Answer::Late => return false,
            Answer::Nobody => {
                record.trouble(Trouble::Unexpected);
                return false;
            }
        };
        if reply.status != Status::OK {
            record.failed(&sent, reply.status, counts);
        } else if !is_right {
            record.trouble(Trouble::Mismatch);
            record.answered_badly(&sent, counts);
        } else if counts {
            record.answered(self.class, &sent, now);
        }
        true
    }

    /// Which request a reply answers, and whether its content is right. `None` if nothing can be said.
    #[inline]
    fn matched(&mut self, talk: &Talk, reply: &Reply<'_>) -> Option<(u32, bool)> {
        if let Some(correlation) = reply.correlation {
            let id = identity_of(correlation);
            if id.connection != self.id {
                return None;
            }
            let size = self.window.at(id.number).map(|sent| sent.size);
            let is_right = size.is_none_or(|size| talk.is_right(reply.body, id, size));
            return Some((id.number, reply.is_ours && is_right));
        }
        if !talk.is_ordered() && reply.status == Status::OK {
            return None;
        }
        let oldest = self.window.oldest();
        if reply.status != Status::OK {
            return oldest.map(|number| (number, true));
        }
        if let Some(number) = oldest {
            let sent = self.window.at(number).expect("the oldest is there");
            let id = Identity { connection: self.id, number };
            if talk.is_right(reply.body, id, sent.size) {
                return Some((number, reply.is_ours));
            }
        }
        match talk.claimed(reply.body) {
            Some(id) if id.connection == self.id => {
                // Its content is right for its length; that may not be what was sent.
                let sent = self.window.at(id.number);
                let is_whole = sent.is_none_or(|sent| sent.size as usize == reply.body.len());
                Some((id.number, reply.is_ours && is_whole))
            }
            Some(_) | None => oldest.map(|number| (number, false)),
        }
    }

    /// Whether the oldest request is due for longer than this, and a later one was answered.
    pub fn overdue(&mut self, now: u64, timeout: u64) -> Option<Overdue> {
        let is_overtaken = self.window.is_oldest_overtaken();
        let number = self.window.oldest()?;
        let sent = self.window.at(number)?;
        let since = if sent.written == UNWRITTEN { sent.sendable } else { sent.written };
        if now.saturating_sub(since) < timeout {
            return None;
        }
        Some(if is_overtaken { Overdue::Missing } else { Overdue::Silent })
    }

    /// Gives up on the oldest request: later ones were answered.
    pub fn give_up_oldest(&mut self, now: u64, record: &mut Record) {
        if let Some(sent) = self.window.give_up_oldest() {
            record.trouble(Trouble::Missing);
            record.unanswered(self.class, &sent, now);
        }
    }

    /// The connection is over: every open request gets its fate, and the link begins anew.
    pub fn end(&mut self, now: u64, record: &mut Record, end: End) {
        while let Some(sent) = self.next_open() {
            let is_missing = sent.0;
            let sent = sent.1;
            if sent.written == UNWRITTEN {
                record.dropped(sent.due);
                continue;
            }
            match end {
                End::Planned => record.abandoned(&sent),
                End::Unplanned => {
                    if is_missing {
                        record.trouble(Trouble::Missing);
                    }
                    record.unanswered(self.class, &sent, now);
                }
                End::Probe => {}
            }
        }
        // Numbers go on, so that a reply to an old connection's request can't pass for one of the new.
        *self = Link { window: Window::from(self.window.next()), ..Link::new(self.id, self.class) };
    }

    fn next_open(&mut self) -> Option<(bool, Sent)> {
        let is_missing = self.window.is_oldest_overtaken();
        self.window.give_up_oldest().map(|sent| (is_missing, sent))
    }
}

/// What an overdue request says of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// The server goes on answering others: this one is lost.
    Missing,
    /// Nothing comes.
    Silent,
}

/// Whose wish the end of a connection was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Ours.
    Planned,
    /// Not ours.
    Unplanned,
    /// It never got to its first request.
    Probe,
}

#[cfg(test)]
mod tests;
