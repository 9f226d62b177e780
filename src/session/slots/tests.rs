use super::*;
use crate::base::CloseReason;
use crate::wire::{Extension, Header};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

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

#[test]
fn what_is_no_longer_open_can_not_be_ended() {
    let (mut slots, mut pool) = (Slots::new(), pool());
    for serial in 1..=3 {
        slots.open(serial, PLAIN, DUE);
    }
    assert_eq!(slots.end(2), Some(Ended::Behind(PLAIN)));
    assert_eq!(slots.end(2), None, "not held yet");
    assert!(slots.hold(&mut pool, 2, 1, |into| into[0] = b'2'));
    assert_eq!((slots.end(2), slots.end(0), slots.end(4)), (None, None, None), "held, and never opened");
    assert!(!slots.hold(&mut pool, 9, 1, |_| panic!("no such place")));
    assert_eq!((slots.open_count(), slots.held_count(), slots.len()), (2, 1, 3));
    slots.clear(&mut pool);
}

/// An answer to a request with a correlation moves nothing of the order, and opens no way for it.
#[test]
fn the_two_lists_do_not_touch_each_other() {
    let (mut slots, mut pool) = (Slots::new(), pool());
    slots.open(1, correlated(1), DUE);
    assert!(!slots.is_ordered_open(), "an ordered reply need not wait for it");
    slots.open(2, PLAIN, DUE);
    slots.open(3, correlated(3), DUE);
    slots.append_ended(4, PLAIN);
    assert_eq!(slots.end(3), Some(Ended::Now(correlated(3))));
    assert_eq!(slots.end(1), Some(Ended::Now(correlated(1))));
    assert_eq!(slots.ready(), None);
    assert_eq!(slots.end(2), Some(Ended::Now(PLAIN)));
    assert_eq!(take_all(&mut slots, &mut pool), [b"failed"]);
    assert!(slots.is_empty());
}

/// As many as may ever be open, answered from the last to the first, all of them overdue in between.
#[test]
fn the_most_that_may_be_open_are_found_and_leave_in_order() {
    let (mut slots, mut pool) = (Slots::new(), pool());
    let most = u64::from(crate::base::limits::OPEN_REQUESTS_MAX);
    for serial in 1..=most {
        slots.open(serial, if serial % 4 == 0 { correlated(serial) } else { PLAIN }, DUE);
    }
    for serial in (2..=most).rev() {
        match slots.end(serial) {
            Some(Ended::Now(_)) => assert_eq!(serial % 4, 0),
            Some(Ended::Behind(_)) => {
                assert!(slots.hold(&mut pool, serial, 8, |into| into.copy_from_slice(&serial.to_be_bytes())));
            }
            None => panic!("{serial} is open"),
        }
    }
    assert_eq!((slots.open_count(), slots.held_bytes()), (1, 8 * 3071));
    assert_eq!(slots.overdue(DUE), Some(1));
    slots.end(1);
    let all = take_all(&mut slots, &mut pool);
    let want = (2..=most).filter(|serial| serial % 4 != 0).map(|serial| serial.to_be_bytes().to_vec());
    assert!(all.into_iter().eq(want));
    assert_eq!((slots.next_due(), pool.leases_out()), (None, 0));
    slots.shrink();
    assert!(slots.ordered.capacity() <= 2 * ENTRIES_KEPT && slots.correlated.capacity() <= 2 * ENTRIES_KEPT);
}

/// A pipeline in which something always waits: the store is made anew now and then, not for each reply.
#[test]
fn a_store_that_is_nearly_full_is_not_made_anew_for_each_reply() {
    let (mut slots, mut pool) = (Slots::new(), pool());
    let (mut serial, mut moves) = (0, 0);
    let mut open_and_hold = |slots: &mut Slots, pool: &mut Pool| {
        serial += 2;
        slots.open(serial - 1, PLAIN, DUE);
        slots.append_ended(serial, PLAIN);
        let before = slots.filled;
        assert!(slots.hold(pool, serial, 100, |into| into.fill(serial.to_be_bytes()[7])));
        moves += u32::from(slots.filled != before + 100);
        serial
    };
    // 4,000 of 4,096 bytes.
    (0..40).for_each(|_| {
        open_and_hold(&mut slots, &mut pool);
    });
    for round in 0..1_000_u64 {
        assert!(matches!(slots.end(2 * round + 1), Some(Ended::Now(_))), "round {round}");
        slots.pop_ready(&mut pool);
        open_and_hold(&mut slots, &mut pool);
        assert_eq!((slots.held_bytes(), slots.held_count()), (4_000, 40));
    }
    assert!(moves < 40, "{moves} times in 1,000 replies");
    assert!(slots.leased_bytes() <= 12 << 10, "{} bytes", slots.leased_bytes());
    slots.clear(&mut pool);
}

#[test]
fn memory_is_asked_for_when_it_is_needed_and_for_as_much() {
    let (mut slots, mut pool) = (Slots::new(), pool());
    assert_eq!((slots.wanted_bytes(0), slots.wanted_bytes(5)), (None, Some(5)));
    slots.open(1, PLAIN, DUE);
    slots.append_ended(2, PLAIN);
    assert!(slots.hold(&mut pool, 2, 3_000, |into| into.fill(2)));
    assert_eq!(slots.leased_bytes(), 4096);
    assert_eq!((slots.wanted_bytes(1_096), slots.wanted_bytes(1_097)), (None, Some(4_097)));
    slots.append_ended(3, PLAIN);
    assert!(slots.hold(&mut pool, 3, 100_000, |into| into.fill(3)));
    assert_eq!(pool.leases_out(), 1, "the smaller one went back");
    slots.end(1);
    let all = take_all(&mut slots, &mut pool);
    assert!(all == [vec![2; 3_000], vec![3; 100_000]]);
    assert_eq!((slots.leased_bytes(), pool.leases_out()), (0, 0));
}

/// What a connection ends with stays until its lists are cleared, and does not reach their next owner.
#[test]
fn the_first_cause_to_leave_stays_and_goes_with_the_connection() {
    let (mut slots, mut pool) = (Slots::new(), pool());
    slots.open(1, PLAIN, DUE);
    assert!(slots.leave().is_none());
    slots.leave_with(Leave::new(CloseReason::PeerClosed, "first"));
    slots.leave_with(Leave::new(CloseReason::BadCrc, "second"));
    assert_eq!(slots.leave().map(|leave| leave.why), Some(CloseReason::PeerClosed));
    slots.end(1);
    assert!(slots.is_empty() && slots.leave().is_some());
    slots.clear(&mut pool);
    assert!(slots.leave().is_none() && slots.next_due().is_none());
}

/// Deadlines across the wrap of the clock; the earliest may end before it is due.
#[test]
fn deadlines_are_found_across_the_wrap_and_behind_one_that_is_over() {
    let mut slots = Slots::new();
    slots.open(1, PLAIN, Ms(u32::MAX - 5));
    slots.open(2, correlated(2), Ms(u32::MAX));
    slots.open(3, PLAIN, Ms(10));
    assert!(matches!(slots.end(1), Some(Ended::Now(_))));
    assert_eq!(slots.next_due(), Some(Ms(u32::MAX - 5)), "no later than the least");
    assert_eq!((slots.overdue(Ms(u32::MAX - 5)), slots.next_due()), (None, Some(Ms(u32::MAX))));
    assert_eq!(slots.overdue(Ms(3)), Some(2));
    slots.end(2);
    assert_eq!((slots.overdue(Ms(3)), slots.next_due()), (None, Some(Ms(10))));
    slots.open(4, PLAIN, Ms(7));
    assert_eq!((slots.next_due(), slots.overdue(Ms(7))), (Some(Ms(7)), Some(4)));
}

/// One thing that happens to the slots; numbers choose among what is open.
#[derive(Clone, Debug)]
enum Act {
    Open,
    OpenCorrelated,
    AnswerAtOnce(usize),
    Answer(usize, usize),
    Late,
    /// Time passes.
    Pass(u32),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => Just(Act::Open),
        1 => Just(Act::OpenCorrelated),
        3 => (0..3_000usize).prop_map(Act::AnswerAtOnce),
        4 => (any::<usize>(), 0..3_000usize).prop_map(|(which, bytes)| Act::Answer(which, bytes)),
        1 => Just(Act::Late),
        1 => (1..200_u32).prop_map(Act::Pass),
    ]
}

/// What a reply of this request looks like here: its serial, so that no two are the same.
fn body(serial: u64, bytes: usize) -> Vec<u8> {
    serial.to_be_bytes().iter().copied().cycle().take(8 + bytes).collect()
}

proptest! {
    /// Whatever the order of answers: ordered replies leave in the order of their requests, each once and whole,
    /// and none before all in front of it are answered. Whoever is overdue is found, and nobody else.
    #[test]
    fn ordered_replies_leave_in_order(acts in prop::collection::vec(act(), 0..200)) {
        let (mut slots, mut pool) = (Slots::new(), pool());
        let mut model: VecDeque<(u64, Option<Vec<u8>>)> = VecDeque::new();
        let mut open: Vec<(u64, bool)> = Vec::new();
        let mut due: BTreeMap<u64, u32> = BTreeMap::new();
        let mut now = 0;
        let (mut out, mut want): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
        for (serial, act) in (1..).zip(acts) {
            match act {
                Act::Open => {
                    due.insert(serial, now + 1 + u32::try_from(serial * 37 % 300).unwrap());
                    slots.open(serial, PLAIN, Ms(due[&serial]));
                    open.push((serial, true));
                    model.push_back((serial, None));
                }
                Act::OpenCorrelated => {
                    due.insert(serial, now + 1 + u32::try_from(serial * 53 % 300).unwrap());
                    slots.open(serial, correlated(serial), Ms(due[&serial]));
                    open.push((serial, false));
                }
                Act::Pass(ms) => now += ms,
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
                    due.remove(&serial);
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
            let least = due.values().min().copied();
            prop_assert!(slots.next_due().is_none_or(|next| least.is_some_and(|least| next.0 <= least)));
            match slots.overdue(Ms(now)) {
                Some(serial) => prop_assert!(due[&serial] <= now),
                None => prop_assert!(least.is_none_or(|least| least > now)),
            }
            let held: usize = model.iter().filter_map(|(_, reply)| Some(reply.as_ref()?.len())).sum();
            prop_assert_eq!(slots.held_bytes() as usize, held);
        }
        prop_assert_eq!(out, want);
        slots.clear(&mut pool);
        prop_assert_eq!(pool.leases_out(), 0);
    }
}
