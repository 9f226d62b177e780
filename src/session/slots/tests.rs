use super::*;
use crate::wire::{Extension, Header};
use proptest::prelude::*;
use std::collections::VecDeque;

const PLAIN: ReplyTo = ReplyTo::plain(Header::route(1));
const DUE: Ms = Ms(1_000);

fn correlated(id: u64) -> ReplyTo {
    let extension = Extension { correlation: Some(id), ..Extension::default() };
    ReplyTo::extended(Header::from_bits(0x8001), &extension)
}

fn pool() -> Pool {
    Pool::new(8 << 20)
}

fn take_all(slots: &mut Slots, pool: &mut Pool) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        out.push(match slots.ready() {
            None => return out,
            Some(Ready::Bytes(bytes)) => bytes.to_vec(),
            Some(Ready::Failed(_)) => b"failed".to_vec(),
        });
        slots.pop_ready(pool);
    }
}

#[test]
fn replies_wait_for_the_one_in_front_and_correlated_ones_do_not() {
    let (mut slots, mut pool) = (Slots::new(), pool());
    slots.open(1, PLAIN, DUE);
    slots.open(2, correlated(7), DUE);
    slots.open(3, PLAIN, DUE);
    assert_eq!((slots.open_count(), slots.len(), slots.is_ordered_open()), (3, 3, true));
    assert_eq!(slots.end(2), Some(Ended::Now(correlated(7))));
    assert_eq!(slots.end(3), Some(Ended::Behind(PLAIN)));
    assert!(slots.hold(&mut pool, 3, 5, |into| into.copy_from_slice(b"three")));
    assert_eq!((slots.held_bytes(), slots.held_count(), pool.leases_out()), (5, 1, 1));
    assert_eq!(slots.ready(), None);
    assert_eq!(slots.end(1), Some(Ended::Now(PLAIN)));
    assert_eq!(take_all(&mut slots, &mut pool), [b"three"]);
    assert!(slots.is_empty());
    assert_eq!(pool.leases_out(), 0);
}

#[test]
fn an_answer_counts_once_and_only_for_its_own_request() {
    let (mut slots, mut pool) = (Slots::new(), pool());
    assert_eq!(slots.end(1), None, "never opened");
    slots.open(5, PLAIN, DUE);
    slots.open(6, correlated(1), DUE);
    assert_eq!(slots.end(4), None);
    assert_eq!(slots.end(6), Some(Ended::Now(correlated(1))));
    assert_eq!(slots.end(6), None, "a second answer");
    slots.append_ended(7, PLAIN);
    assert_eq!(slots.end(7), None, "answered at once");
    assert_eq!(slots.end(5), Some(Ended::Now(PLAIN)));
    assert_eq!(take_all(&mut slots, &mut pool), [b"failed"], "it was never held");
}

#[test]
fn deadlines_are_found_by_time_and_again_after_a_later_one() {
    let mut slots = Slots::new();
    slots.open(1, PLAIN, Ms(300));
    slots.open(2, correlated(1), Ms(100));
    slots.open(3, PLAIN, Ms(200));
    assert_eq!((slots.next_due(), slots.overdue(Ms(99))), (Some(Ms(100)), None));
    assert_eq!(slots.overdue(Ms(100)), Some(2));
    slots.end(2);
    assert_eq!((slots.overdue(Ms(100)), slots.next_due()), (None, Some(Ms(200))));
    assert_eq!(slots.overdue(Ms(500)), Some(1));
    slots.end(1);
    assert_eq!(slots.overdue(Ms(500)), Some(3));
    slots.end(3);
    assert_eq!((slots.overdue(Ms(500)), slots.next_due()), (None, None));
}

#[test]
fn without_memory_the_reply_fails_in_its_place_and_the_others_stay() {
    let (mut slots, mut pool) = (Slots::new(), Pool::new(40 << 10));
    slots.open(1, PLAIN, DUE);
    slots.append_ended(2, PLAIN);
    assert!(slots.hold(&mut pool, 2, 3, |into| into.copy_from_slice(b"two")));
    slots.append_ended(3, PLAIN);
    assert!(!slots.hold(&mut pool, 3, 1 << 20, |_| panic!("nothing to write to")));
    slots.end(1);
    assert_eq!(take_all(&mut slots, &mut pool), [b"two".to_vec(), b"failed".to_vec()]);
}

#[test]
fn a_connection_that_ends_gives_everything_back() {
    let (mut slots, mut pool) = (Slots::new(), pool());
    slots.open(1, PLAIN, DUE);
    slots.append_ended(2, PLAIN);
    slots.hold(&mut pool, 2, 100, |into| into.fill(1));
    slots.clear(&mut pool);
    assert!(slots.is_empty());
    assert_eq!((slots.open_count(), slots.held_bytes(), pool.leases_out()), (0, 0, 0));
}

/// One thing that happens to the slots; numbers choose among what is open.
#[derive(Clone, Debug)]
enum Act {
    Open,
    OpenCorrelated,
    AnswerAtOnce(usize),
    Answer(usize, usize),
    Late,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => Just(Act::Open),
        1 => Just(Act::OpenCorrelated),
        3 => (0..3_000usize).prop_map(Act::AnswerAtOnce),
        4 => (any::<usize>(), 0..3_000usize).prop_map(|(which, bytes)| Act::Answer(which, bytes)),
        1 => Just(Act::Late),
    ]
}

/// What a reply of this request looks like here: its serial, so that no two are the same.
fn body(serial: u64, bytes: usize) -> Vec<u8> {
    serial.to_be_bytes().iter().copied().cycle().take(8 + bytes).collect()
}

proptest! {
    /// Whatever the order of answers: ordered replies leave in the order of their requests, each once and whole,
    /// and none before all in front of it are answered.
    #[test]
    fn ordered_replies_leave_in_order(acts in prop::collection::vec(act(), 0..200)) {
        let (mut slots, mut pool) = (Slots::new(), pool());
        let mut model: VecDeque<(u64, Option<Vec<u8>>)> = VecDeque::new();
        let mut open: Vec<(u64, bool)> = Vec::new();
        let (mut out, mut want): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
        for (serial, act) in (1..).zip(acts) {
            match act {
                Act::Open => {
                    slots.open(serial, PLAIN, DUE);
                    open.push((serial, true));
                    model.push_back((serial, None));
                }
                Act::OpenCorrelated => {
                    slots.open(serial, correlated(serial), DUE);
                    open.push((serial, false));
                }
                Act::AnswerAtOnce(bytes) if slots.is_ordered_open() => {
                    let reply = body(serial, bytes);
                    slots.append_ended(serial, PLAIN);
                    let count = u32::try_from(reply.len()).unwrap();
                    prop_assert!(slots.hold(&mut pool, serial, count, |into| into.copy_from_slice(&reply)));
                    model.push_back((serial, Some(reply)));
                }
                Act::AnswerAtOnce(_) => {}
                Act::Answer(which, bytes) if !open.is_empty() => {
                    let (serial, is_ordered) = open.swap_remove(which % open.len());
                    let reply = body(serial, bytes);
                    match slots.end(serial) {
                        Some(Ended::Now(_)) if is_ordered => {
                            prop_assert_eq!(model.pop_front().map(|(front, _)| front), Some(serial));
                            out.push(reply.clone());
                            want.push(reply);
                        }
                        Some(Ended::Now(_)) => {}
                        Some(Ended::Behind(_)) => {
                            let count = u32::try_from(reply.len()).unwrap();
                            let held = slots.hold(&mut pool, serial, count, |into| into.copy_from_slice(&reply));
                            prop_assert!(held);
                            let place = model.iter_mut().find(|(other, _)| *other == serial).unwrap();
                            place.1 = Some(reply);
                        }
                        None => prop_assert!(false, "an open request was not found"),
                    }
                }
                Act::Answer(..) => {}
                Act::Late => prop_assert_eq!(slots.end(serial + 1_000_000), None),
            }
            out.extend(take_all(&mut slots, &mut pool));
            while let Some((_, Some(_))) = model.front() {
                want.extend(model.pop_front().and_then(|(_, reply)| reply));
            }
            prop_assert_eq!(slots.open_count() as usize, open.len());
            let held: usize = model.iter().filter_map(|(_, reply)| Some(reply.as_ref()?.len())).sum();
            prop_assert_eq!(slots.held_bytes() as usize, held);
        }
        prop_assert_eq!(out, want);
        slots.clear(&mut pool);
        prop_assert_eq!(pool.leases_out(), 0);
    }
}
