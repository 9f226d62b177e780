//! What a link says of a server that errs: each fault by its name, and by no other.

use super::super::plan::{Expect, Talk as Asked};
use super::super::report::{Counts, Protocol};
use super::super::size::Sizes;
use super::*;
use crate::wire::{Control, Crc, Header, encode};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn asked(expect: Expect) -> Asked {
    let sizes = Sizes::parse("0..80").unwrap();
    Asked { protocol: Protocol::Frames, route: 3, sizes, correlated: false, expect }
}

/// One connection with all its requests written, and what it has counted.
struct Rig {
    talk: Talk,
    link: Link,
    record: Record,
    requests: Vec<Vec<u8>>,
}

impl Rig {
    fn new(asked: &Asked, sizes: &[u32]) -> Rig {
        let mut record = Record::new(1, false, false);
        record.measure(0..u64::MAX);
        let mut rig = Rig { talk: Talk::new(asked, 7), link: Link::new(5, 0), record, requests: Vec::new() };
        for size in sizes {
            let mut batch = Vec::new();
            rig.record.scheduled(10);
            rig.link.put(&rig.talk, 10, 10, *size, &mut batch);
            assert_eq!(batch.len(), rig.talk.request_bytes(*size));
            rig.link.begin_batch();
            rig.link.wrote(&rig.talk, batch.len(), 20, &mut rig.record, true);
            rig.requests.push(batch);
        }
        rig
    }

    /// The right reply to one of the requests.
    fn reply(&self, at: usize) -> Vec<u8> {
        let mut reply = self.requests[at].clone();
        if self.talk.asked.expect == Expect::Flip && reply.len() > 10 {
            change(&mut reply, 6, 1);
        }
        reply
    }

    fn take(&mut self, input: &[u8]) -> Result<Taken, Trouble> {
        let mut joined = self.link.tail().0.to_vec();
        joined.extend_from_slice(input);
        let mut pongs = Vec::new();
        self.link.take(&self.talk, &joined, 30, &mut self.record, &mut pongs, true)
    }

    /// Ends the connection, and gives what was counted.
    fn end(mut self) -> (Counts, Vec<(Trouble, u64)>) {
        self.link.end(40, &mut self.record, End::Unplanned);
        self.record.flush();
        let counts = self.record.tally.counts;
        assert!(counts.balance(), "{counts:?}");
        (counts, self.record.tally.troubles.into_iter().collect())
    }
}

/// Changes a byte of a frame, and makes its CRC right again.
fn change(frame: &mut [u8], at: usize, xor: u8) {
    frame[at] ^= xor;
    let end = frame.len() - 4;
    let sum = Crc::new().of(&frame[..end]);
    frame[end..].copy_from_slice(&sum.to_be_bytes());
}

#[test]
fn every_fault_of_a_server_has_its_name() {
    type Fault = fn(&mut Vec<Vec<u8>>);
    type Told = &'static [(Trouble, u64)];
    #[rustfmt::skip]
    let table: &[(&str, Fault, Told)] = &[
        ("none",            |_| {},                                                   &[]),
        ("swaps two",       |replies| replies.swap(2, 3),                             &[(Trouble::OutOfOrder, 1)]),
        ("drops one",       |replies| drop(replies.remove(2)),                        &[(Trouble::Missing, 1)]),
        ("answers twice",   |replies| { let one = replies[2].clone(); replies.insert(3, one); },
                                                                                      &[(Trouble::Duplicate, 1)]),
        ("once more later", |replies| { let one = replies[1].clone(); replies.insert(5, one); },
                                                                                      &[(Trouble::Duplicate, 1)]),
        ("damages content", |replies| change(&mut replies[2], 30, 1),                 &[(Trouble::Mismatch, 1)]),
        ("damages the id",  |replies| change(&mut replies[2], 8, 0x55),               &[(Trouble::Mismatch, 1)]),
        ("cuts content",    |replies| { let mut short = Vec::new();
                                        encode(&mut short, &Crc::new(), Header::route(3), &replies[2][6..20]);
                                        replies[2] = short; },                        &[(Trouble::Mismatch, 1)]),
        ("another route",   |replies| change(&mut replies[2], 1, 1),                  &[(Trouble::Mismatch, 1)]),
        ("one too many",    |replies| { let mut extra = Vec::new();
                                        encode(&mut extra, &Crc::new(), Header::route(3), b"who asked?");
                                        replies.push(extra); },                       &[(Trouble::Unexpected, 1)]),
        ("fails one",       |replies| { let mut error = Vec::new();
                                        let status = Status::OVERLOADED;
                                        Control::Error { status, text: "busy" }.encode(&mut error, &Crc::new());
                                        replies[2] = error; },                        &[(Trouble::Status, 1)]),
    ];
    let sizes = [Sizes::Fixed(64), asked(Expect::Same).sizes];
    for (expect, sizes) in
        [Expect::Same, Expect::Flip].into_iter().flat_map(|expect| sizes.map(|sizes| (expect, sizes)))
    {
        for (name, fault, want) in table {
            let mut rig = Rig::new(&Asked { sizes, ..asked(expect) }, &[64; 6]);
            let mut replies: Vec<_> = (0..6).map(|at| rig.reply(at)).collect();
            fault(&mut replies);
            rig.take(&replies.concat()).unwrap_or_else(|why| panic!("{name}: {why:?}"));
            let (counts, troubles) = rig.end();
            assert_eq!(&troubles, want, "{name}, {expect:?}, {sizes}");
            let is_missing = want.iter().any(|(trouble, _)| *trouble == Trouble::Missing);
            assert_eq!((counts.sent, counts.unanswered), (6, u64::from(is_missing)), "{name}, {expect:?}");
        }
    }
}

#[test]
fn a_damaged_frame_ends_the_stream() {
    let mut rig = Rig::new(&asked(Expect::Same), &[64; 3]);
    let mut replies = [rig.reply(0), rig.reply(1)].concat();
    replies[100] ^= 1;
    assert_eq!(rig.take(&replies), Err(Trouble::Crc));
    let (counts, troubles) = rig.end();
    assert_eq!((counts.answered, counts.unanswered), (1, 2));
    assert_eq!(troubles, [], "whoever ends the connection counts why");
}

#[test]
fn correlated_replies_may_overtake() {
    let mut asked = asked(Expect::Same);
    asked.correlated = true;
    let mut rig = Rig::new(&asked, &[64; 4]);
    let replies: Vec<_> = [3, 1, 0, 2].into_iter().map(|at| rig.reply(at)).collect();
    assert_eq!(rig.take(&replies.concat()).unwrap().answered, 4);
    let again = rig.reply(1);
    rig.take(&again).unwrap();
    let (counts, troubles) = rig.end();
    assert_eq!((counts.answered, troubles), (4, vec![(Trouble::Duplicate, 1)]));
}

#[test]
fn a_reply_to_another_connection_is_not_taken_for_ours() {
    let asked = asked(Expect::Same);
    let mut other = Rig::new(&asked, &[64]);
    other.link = Link::new(6, 0);
    let mut batch = Vec::new();
    other.link.put(&other.talk, 0, 0, 64, &mut batch);
    let mut rig = Rig::new(&asked, &[64]);
    rig.take(&batch).unwrap();
    assert_eq!(rig.end().1, [(Trouble::Mismatch, 1)]);
}

#[test]
fn a_request_counts_from_its_first_byte_on() {
    let talk = Talk::new(&asked(Expect::Same), 7);
    let mut link = Link::new(0, 0);
    let mut record = Record::new(1, true, false);
    record.measure(0..u64::MAX);
    let mut batch = Vec::new();
    for _ in 0..3 {
        record.scheduled(1);
        link.put(&talk, 1, 1, 10, &mut batch);
    }
    let one = talk.request_bytes(10);
    link.begin_batch();
    link.wrote(&talk, one, 5, &mut record, true);
    link.keep(&batch[one..]);
    assert_eq!(record.tally.counts.sent, 1);
    link.wrote(&talk, 1, 6, &mut record, true);
    link.drained(1);
    assert_eq!((record.tally.counts.sent, link.is_blocked()), (2, true));
    link.wrote(&talk, 2 * one - 1, 7, &mut record, true);
    link.drained(2 * one - 1);
    assert_eq!((record.tally.counts.sent, link.is_blocked()), (3, false));
    assert_eq!(record.tally.times[0].lag.max(), Some(6));
    let mut never = Vec::new();
    record.scheduled(1);
    link.put(&talk, 1, 1, 10, &mut never);
    link.end(9, &mut record, End::Unplanned);
    let counts = record.tally.counts;
    assert!(counts.balance());
    assert_eq!((counts.unanswered, counts.dropped), (3, 1), "the last was never written");
}

#[test]
fn an_overdue_request_is_missing_or_all_is_silent() {
    let mut rig = Rig::new(&asked(Expect::Same), &[64; 3]);
    assert_eq!(rig.link.overdue(119, 100), None);
    assert_eq!(rig.link.overdue(120, 100), Some(Overdue::Silent));
    let reply = rig.reply(1);
    rig.take(&reply).unwrap();
    assert_eq!(rig.link.overdue(120, 100), Some(Overdue::Missing));
    rig.link.give_up_oldest(120, &mut rig.record);
    assert_eq!(rig.link.overdue(120, 100), Some(Overdue::Silent));
    let (counts, troubles) = rig.end();
    assert_eq!((counts.answered, counts.unanswered, troubles), (1, 2, vec![(Trouble::Missing, 1)]));
}

/// Two replies that lost the line end between them.
#[test]
fn a_reply_longer_than_any_request_is_wrong_and_survived() {
    for protocol in [Protocol::Frames, Protocol::Lines] {
        let asked = Asked { protocol, ..asked(Expect::Same) };
        let mut rig = Rig::new(&asked, &[64; 2]);
        let mut longer = match protocol {
            Protocol::Lines => [rig.reply(1), rig.reply(1)].concat(),
            Protocol::Frames => {
                let mut frame = rig.reply(1);
                let end = frame.len() - 4;
                frame.splice(end..end, [0; 100]);
                frame[2..6].copy_from_slice(&164_u32.to_be_bytes());
                frame
            }
        };
        match protocol {
            Protocol::Lines => longer[64] = 0,
            Protocol::Frames => change(&mut longer, 20, 0),
        }
        rig.take(&longer).unwrap();
        assert_eq!(rig.end().1[0].1, 1, "case: {protocol:?}");
    }
}

proptest! {
    /// Whatever a server sends, each request has one fate, and nothing panics.
    #[test]
    fn any_bytes_are_survived(
        noise in vec(prop_oneof![Just(None), (any::<u8>(), any::<u8>()).prop_map(Some)], 0..40),
        picks in vec(0usize..6, 0..12),
        correlated in any::<bool>(),
        is_lines in any::<bool>(),
    ) {
        let protocol = if is_lines { Protocol::Lines } else { Protocol::Frames };
        let asked = Asked { protocol, correlated: correlated && !is_lines, ..asked(Expect::Same) };
        let mut rig = Rig::new(&asked, &[0, 8, 30, 64, 64, 80]);
        let mut input: Vec<u8> = picks.iter().flat_map(|at| rig.requests[*at].clone()).collect();
        for (at, change) in noise.iter().enumerate() {
            if let (Some((place, value)), false) = (change, input.is_empty()) {
                let place = (usize::from(*place) * (at + 1)) % input.len();
                input[place] = *value;
            }
        }
        for chunk in input.chunks(17) {
            if rig.take(chunk).is_err() {
                break;
            }
        }
        let (counts, _) = rig.end();
        prop_assert_eq!(counts.sent, 6);
    }

    /// However replies are cut into reads, all are right; on lines, too, and with payloads that have no room for an id.
    #[test]
    fn cutting_changes_nothing(
        sizes in vec(0u32..80, 1..20),
        cut in 1usize..50,
        is_lines in any::<bool>(),
        flips in any::<bool>(),
        is_fixed in any::<bool>(),
    ) {
        let sizes = if is_fixed { vec![sizes[0]; sizes.len()] } else { sizes };
        let expect = if flips && !is_lines { Expect::Flip } else { Expect::Same };
        let protocol = if is_lines { Protocol::Lines } else { Protocol::Frames };
        let all = if is_fixed { Sizes::Fixed(sizes[0]) } else { asked(expect).sizes };
        let asked = Asked { protocol, sizes: all, ..asked(expect) };
        let mut rig = Rig::new(&asked, &sizes);
        let replies: Vec<u8> = (0..sizes.len()).flat_map(|at| rig.reply(at)).collect();
        let mut answered = 0;
        for chunk in replies.chunks(cut) {
            answered += rig.take(chunk).unwrap().answered;
        }
        prop_assert_eq!(answered as usize, sizes.len());
        let (counts, troubles) = rig.end();
        prop_assert_eq!(counts.answered, sizes.len() as u64);
        prop_assert_eq!(troubles, BTreeMap::new().into_iter().collect::<Vec<_>>());
    }
}

/// The short way takes every right reply and nothing else: no bit of a reply may differ.
#[test]
fn one_wrong_bit_anywhere_is_seen() {
    for (expect, correlated) in [(Expect::Same, false), (Expect::Flip, false), (Expect::Same, true)] {
        let asked = Asked { sizes: Sizes::Fixed(20), correlated, ..asked(expect) };
        let rig = Rig::new(&asked, &[20]);
        let mut reply = rig.reply(0);
        if correlated {
            reply = rig.requests[0].clone();
        }
        let (number, sent) = rig.link.window.front().unwrap();
        let id = Identity { connection: 5, number };
        let is_exact = |bytes: &[u8]| rig.talk.is_exactly(bytes, id, sent.size, sent.crc);
        assert_eq!(is_exact(&reply), Some(reply.len()), "{expect:?} {correlated}");
        for bit in 0..reply.len() * 8 {
            let mut wrong = reply.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(is_exact(&wrong), None, "{expect:?} {correlated}: bit {bit}");
        }
        assert_eq!(is_exact(&reply[..reply.len() - 1]), None);
    }
}
