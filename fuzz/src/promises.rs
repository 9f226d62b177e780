//! What a server owes whose service answers when it likes, and whether some output keeps it.
//!
//! ```text
//!   ordered      [ 3 | 5 | 6 ]    replies come in this order; none before its own answer was given
//!   correlated   { 4, 7, 8 }      replies come in any order, each once; equal ids are told apart by their bodies
//! ```
//!
//! Naive on purpose: all of the output at once, against a list of what was said. Source: docs/PROTOCOL.md.

use crate::model::{Said, refusal};
use crate::naive::{self, Block};
use crate::owed::whole_frame;
use std::collections::{BTreeMap, VecDeque};

const OUTCOME_UNKNOWN: u16 = 7;
const DEADLINE_EXCEEDED: u16 = 8;
const DRAINING: u16 = 9;
const INTERNAL: u16 = 10;
const UNSUPPORTED: u16 = 15;

/// What the service said to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This.
    Body(Vec<u8>),
    /// A refusal.
    Failed(u16),
    /// It dropped the right to answer.
    Dropped,
    /// Nothing, on purpose.
    Silence,
}

/// What became of a request that reached the service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// What was said to it, if anything was yet.
    pub answer: Option<Answer>,
    /// It was put off, and its time may have passed before it was answered.
    pub may_be_late: bool,
}

/// What holds for a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// All bits of its headers are route, so that a failure can't be told.
    pub is_bare: bool,
    /// The largest body of a reply.
    pub reply_max: usize,
    /// Replies may have been refused for what waited beside them.
    pub may_be_short: bool,
}

/// How the account stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The numbers of the requests that are owed a reply.
    pub owed: Vec<u32>,
    /// Other answers that are owed: PONG, ACK, WELCOME.
    pub others_owed: usize,
    /// The status of the last words, if they were said.
    pub last_words: Option<u16>,
    /// The next reply is one that can't be told: nothing more is owed.
    pub has_failed: bool,
}

/// A request with everything that its reply must match.
#[derive(Debug)]
struct Request<'a> {
    number: u32,
    bits: u16,
    block: Option<Block>,
    record: Option<&'a Record>,
}

/// A reply.
#[derive(Debug)]
struct Reply<'a> {
    status: u16,
    body: &'a [u8],
}

/// The number of a request, which stands behind the first byte of its body.
pub fn number(body: &[u8]) -> u32 {
    body.get(1..5).map_or(u32::MAX, |bytes| u32::from_be_bytes(bytes.try_into().expect("four")))
}

/// Compares all output of a connection with what its peer said and what the service answered.
///
/// # Panics
///
/// If there is something that nobody asked for, too early, twice, out of order, or behind the last words.
pub fn audit(terms: Terms, said: &[Said], records: &BTreeMap<u32, Record>, output: &[u8]) -> Account {
    let mut books = Books { terms, max_receive: usize::MAX, ..Books::default() };
    said.iter().for_each(|said| books.expect(said, records));
    let mut rest = output;
    while let Some((bits, payload, bytes)) = whole_frame(rest) {
        assert_eq!(books.last_words, None, "{bits:04x} comes behind the last words");
        books.enter(bits, payload);
        rest = &rest[bytes..];
    }
    books.settle(rest)
}

#[derive(Default)]
struct Books<'a> {
    terms: Terms,
    is_greeted: bool,
    is_welcomed: bool,
    is_leaving: bool,
    max_receive: usize,
    ordered: VecDeque<Request<'a>>,
    correlated: Vec<Request<'a>>,
    /// Failures of correlated requests: they are given to requests at last, when all others are.
    failures: Vec<(u16, u64, u16)>,
    pings: VecDeque<Vec<u8>>,
    asked: Vec<u64>,
    last_words: Option<u16>,
}

impl<'a> Books<'a> {
    fn expect(&mut self, said: &Said, records: &'a BTreeMap<u32, Record>) {
        match said {
            Said::Request { bits, block, body } => {
                let block = (!block.is_empty()).then(|| naive::block(block).expect("it was read before"));
                let record = records.get(&number(body));
                let request = Request { number: number(body), bits: *bits, block, record };
                if request.is_silent() {
                    return;
                }
                match request.id() {
                    Some(_) => self.correlated.push(request),
                    None => self.ordered.push_back(request),
                }
            }
            Said::Ping(opaque) => self.pings.push_back(opaque.clone()),
            Said::Hello { hello, .. } => {
                self.is_greeted = true;
                let most = hello.4.iter().find(|(tag, _)| *tag == 1);
                let number =
                    |value: &Vec<u8>| value.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                self.max_receive = most.map_or(usize::MAX, |(_, value)| number(value));
            }
            Said::Ask { id, .. } => self.asked.extend(id),
            Said::Pong | Said::Told { .. } => {}
        }
    }

    /// Takes the next frame of the output.
    fn enter(&mut self, bits: u16, payload: &'a [u8]) {
        if !self.terms.is_bare && bits & 0x4000 != 0 {
            return self.enter_control(bits, payload);
        }
        assert!(self.is_welcomed || !self.is_greeted, "a reply before WELCOME");
        let (block, body) = match bits & 0x8000 != 0 && !self.terms.is_bare {
            false => (None, payload),
            true => {
                let block = naive::block(payload).expect("a block that parses");
                let body = &payload[block.bytes..];
                (Some(block), body)
            }
        };
        let reply = Reply { status: block.as_ref().map_or(0, |block| block.status), body };
        match block.and_then(|block| block.id) {
            None => {
                let request = self.ordered.pop_front().expect("a reply to nothing");
                assert_eq!(request.bits, bits, "the reply to another: {request:?}");
                self.check(&request, &reply);
            }
            Some(id) if reply.status != 0 => self.failures.push((bits, id, reply.status)),
            Some(id) => {
                let is_its = |request: &Request<'_>| {
                    (request.id(), request.bits) == (Some(id), bits) && request.body() == Some(reply.body)
                };
                let at = self.correlated.iter().position(is_its);
                let at = at.unwrap_or_else(|| panic!("a reply to nothing, or twice: {bits:04x} {id}"));
                self.correlated.remove(at);
            }
        }
    }

    fn enter_control(&mut self, bits: u16, payload: &[u8]) {
        let status = || u16::from(payload[0]) << 8 | u16::from(payload[1]);
        assert!(self.is_welcomed || !self.is_greeted || [0x4003, 0x4005].contains(&bits), "before WELCOME");
        match bits {
            0x4000 | 0x400c => assert!(self.is_welcomed, "{bits:04x} to who did not say HELLO"),
            0x4001 => assert_eq!(self.pings.pop_front().as_deref(), Some(payload), "a PONG"),
            0x4003 => {
                assert!(self.is_greeted && !self.is_welcomed, "WELCOME");
                self.is_welcomed = true;
            }
            0x4004 => {
                let request = self.ordered.pop_front().expect("an ERROR for nothing");
                assert!(request.block.is_none(), "an ERROR for a request with a block: {request:?}");
                self.check(&request, &Reply { status: status(), body: &[] });
            }
            0x4005 if status() == DRAINING && self.is_welcomed && !self.is_leaving => self.is_leaving = true,
            0x4005 => self.last_words = Some(status()),
            0xc00a => {
                let id = naive::block(payload).and_then(|block| block.id).expect("an ACK has a correlation");
                let at = self.asked.iter().position(|asked| *asked == id).expect("an ACK for nothing");
                self.asked.remove(at);
            }
            _ => panic!("{bits:04x} is not for a client"),
        }
    }

    fn check(&self, request: &Request<'_>, reply: &Reply<'_>) {
        if reply.status == 0 {
            assert_eq!(request.body(), Some(reply.body), "the reply of another, or too early: {request:?}");
        } else {
            assert!(self.may_fail(request, reply.status), "{} for {request:?}", reply.status);
        }
    }

    /// Whether a request may end with this status.
    fn may_fail(&self, request: &Request<'_>, status: u16) -> bool {
        let Some(record) = request.record else {
            // It did not reach the service.
            let block = request.block.clone().unwrap_or_default();
            return match status {
                UNSUPPORTED => block.is_unsupported(),
                DEADLINE_EXCEEDED => block.deadline.is_some(),
                DRAINING => self.is_leaving,
                _ => false,
            };
        };
        let may_be_unknown = record.may_be_late || self.terms.may_be_short;
        match &record.answer {
            _ if status == OUTCOME_UNKNOWN && may_be_unknown => true,
            Some(Answer::Body(body)) => {
                refusal(body.len(), self.terms.reply_max, self.max_receive) == Some(status)
            }
            Some(Answer::Failed(said)) => status == *said,
            Some(Answer::Dropped) => status == INTERNAL,
            Some(Answer::Silence) | None => false,
        }
    }

    /// Gives the failures of correlated requests to requests that may have failed so, and tells what is left.
    fn settle(mut self, rest: &[u8]) -> Account {
        let mut given: Vec<Option<usize>> = vec![None; self.correlated.len()];
        for failure in 0..self.failures.len() {
            let mut seen = vec![false; self.correlated.len()];
            let fits = self.give(failure, &mut given, &mut seen);
            assert!(fits, "a failure of nothing, or twice: {:?}", self.failures[failure]);
        }
        let left = self.correlated.iter().zip(&given).filter(|(_, failure)| failure.is_none());
        let owed = left.map(|(request, _)| request).chain(&self.ordered).map(|request| request.number);
        let owed = owed.collect();
        if rest.len() >= 2 && self.last_words.is_some() {
            panic!("something comes behind the last words");
        }
        let is_unwelcomed = usize::from(self.is_greeted && !self.is_welcomed);
        let others_owed = self.pings.len() + self.asked.len() + is_unwelcomed;
        let has_failed =
            self.terms.is_bare && self.ordered.front().is_some_and(|next| self.may_be_missing(next));
        Account { owed, others_owed, last_words: self.last_words.take(), has_failed }
    }

    /// Whether a request may have failed.
    fn may_be_missing(&self, request: &Request<'_>) -> bool {
        let may_be_unknown = |record: &Record| record.may_be_late || self.terms.may_be_short;
        request.record.is_some_and(|record| may_be_unknown(record) || request.body().is_none())
    }

    /// Finds a request for a failure; those that were given to others move if they can.
    fn give(&self, failure: usize, given: &mut [Option<usize>], seen: &mut [bool]) -> bool {
        let (bits, id, status) = self.failures[failure];
        for (at, request) in self.correlated.iter().enumerate() {
            let fits = (request.bits, request.id()) == (bits, Some(id)) && self.may_fail(request, status);
            if !fits || std::mem::replace(&mut seen[at], true) {
                continue;
            }
            if given[at].is_none_or(|other| self.give(other, given, seen)) {
                given[at] = Some(failure);
                return true;
            }
        }
        false
    }
}

impl Request<'_> {
    fn id(&self) -> Option<u64> {
        self.block.as_ref().and_then(|block| block.id)
    }

    /// Whether nobody waits for a reply.
    fn is_silent(&self) -> bool {
        let is_one_way = self.block.as_ref().is_some_and(|block| block.one_way);
        let answer = self.record.and_then(|record| record.answer.as_ref());
        is_one_way || answer == Some(&Answer::Silence) && self.id().is_none()
    }

    /// The body of its reply, once there is one.
    fn body(&self) -> Option<&[u8]> {
        match self.record?.answer.as_ref()? {
            Answer::Body(body) => Some(body),
            Answer::Silence => Some(&[]),
            Answer::Failed(_) | Answer::Dropped => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::frame;

    const TERMS: Terms = Terms { is_bare: false, reply_max: 1000, may_be_short: false };

    fn request(number: u32, id: Option<u8>) -> Said {
        let body = [&[0][..], &number.to_be_bytes()].concat();
        match id {
            None => Said::Request { bits: 1, block: Vec::new(), body },
            Some(id) => {
                Said::Request { bits: 0x8001, block: vec![3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, id], body }
            }
        }
    }

    fn records(answers: &[Option<Answer>]) -> BTreeMap<u32, Record> {
        let record = |answer: &Option<Answer>| Record { answer: answer.clone(), may_be_late: false };
        (0..).zip(answers.iter().map(record)).collect()
    }

    fn body(text: &[u8]) -> Option<Answer> {
        Some(Answer::Body(text.to_vec()))
    }

    fn correlated(status: u8, body: &[u8]) -> Vec<u8> {
        frame(0x8001, &[&[3, 1, 0, status, 0, 0, 0, 0, 0, 0, 0, 7], body].concat())
    }

    #[test]
    fn what_is_kept_is_kept_in_any_order_that_is_allowed() {
        let said = [request(0, None), request(1, Some(7)), request(2, Some(7)), request(3, None)];
        let records = records(&[body(b"0"), Some(Answer::Dropped), body(b"2"), None]);
        let output = [correlated(0, b"2"), correlated(10, b"why"), frame(1, b"0")].concat();
        let account = audit(TERMS, &said, &records, &output);
        assert_eq!(account, Account { owed: vec![3], ..Account::default() });
    }

    #[test]
    fn what_is_broken_is_found() {
        let said = [request(0, None), request(1, Some(7)), request(2, None)];
        let records = records(&[body(b"0"), body(b"1"), None]);
        let first = frame(1, b"0");
        #[rustfmt::skip]
        let table: &[(&str, Vec<u8>)] = &[
            ("out of order",           frame(1, b"2")),
            ("too early",              [first.clone(), frame(1, b"2")].concat()),
            ("twice",                  [first.clone(), first.clone()].concat()),
            ("a correlated one twice", correlated(0, b"1").repeat(2)),
            ("a failure of nobody",    correlated(10, b"")),
            ("behind the last words",  [frame(0x4005, b"\0\x09\0\0\0\0"), first.clone()].concat()),
            ("an ERROR for nobody",    [first.clone(), frame(0x4004, b"\0\x0a")].concat()),
            ("a heartbeat to anybody", frame(0x4000, b"12345678")),
        ];
        for (name, output) in table {
            let audited = std::panic::catch_unwind(|| audit(TERMS, &said, &records, output));
            assert!(audited.is_err(), "case: {name}");
        }
    }
}
