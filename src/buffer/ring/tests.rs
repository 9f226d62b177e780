//! The ring against `VecDeque<u8>`, at every wrap offset of small capacities.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::VecDeque;

/// A ring whose `len` bytes (1, 2, 3 ...) start at `head`, and its model.
fn ring_at(capacity: usize, head: usize, len: usize) -> (Ring, VecDeque<u8>) {
    let model: VecDeque<u8> = (1..=u8::try_from(len).expect("small")).collect();
    let bytes: Vec<u8> = model.iter().copied().collect();
    let mut ring = Ring::over(Lease::unpooled(capacity));
    if len > 0 {
        let before_edge = len.min(capacity - head);
        ring.push(&vec![0xEE; head]);
        ring.push(&bytes[..before_edge]);
        ring.consume(head);
        ring.push(&bytes[before_edge..]);
        assert_eq!(ring.head, head);
    }
    (ring, model)
}

fn for_every_ring(mut visit: impl FnMut(Ring, VecDeque<u8>)) {
    for capacity in 1..=9 {
        for head in 0..capacity {
            for len in 0..=capacity {
                let (ring, model) = ring_at(capacity, head, len);
                visit(ring, model);
            }
        }
    }
}

fn joined((first, second): (&[u8], &[u8])) -> Vec<u8> {
    [first, second].concat()
}

#[track_caller]
fn assert_same(ring: &Ring, model: &VecDeque<u8>) {
    assert_eq!(joined(ring.as_slices()), Vec::from_iter(model.iter().copied()), "{ring:?}");
    assert_eq!((ring.len(), ring.is_empty()), (model.len(), model.is_empty()));
    assert_eq!(ring.free(), ring.capacity() - model.len());
}

#[test]
fn every_ring_shows_its_bytes_in_order() {
    for_every_ring(|ring, model| {
        assert_same(&ring, &model);
        let wrapped = ring.head + ring.len > ring.capacity();
        assert_eq!(ring.contiguous().is_none(), wrapped);
    });
}

#[test]
fn every_range_of_every_ring_is_the_models_range() {
    for_every_ring(|ring, model| {
        let bytes = Vec::from(model);
        for offset in 0..=bytes.len() + 1 {
            for count in 0..=bytes.len() + 1 {
                let end = (offset + count).min(bytes.len());
                let want = &bytes[offset.min(end)..end];
                assert_eq!(joined(ring.range_slices(offset, count)), want, "{offset} + {count} of {ring:?}");
            }
        }
        assert_eq!(joined(ring.range_slices(0, usize::MAX)), bytes);
    });
}

#[test]
fn every_ring_takes_what_fits_and_no_more() {
    for_every_ring(|mut ring, mut model| {
        let (free, more) = (ring.free(), [101, 102, 103, 104, 105, 106, 107, 108, 109, 110]);
        assert_eq!(ring.push(&more), free);
        model.extend(&more[..free]);
        assert_same(&ring, &model);
        assert_eq!(ring.push(&more), 0, "full");
        assert_eq!(ring.spare_slices().map(|spare| spare.len()), [0, 0]);
    });
}

#[test]
fn every_ring_gives_its_spare_room_in_filling_order() {
    for_every_ring(|mut ring, mut model| {
        let free = ring.free();
        let [first, second] = ring.spare_slices();
        assert_eq!(first.len() + second.len(), free);
        first.iter_mut().chain(second).zip(101..).for_each(|(slot, byte)| *slot = byte);
        for byte in (101..).take(free) {
            ring.filled(1);
            model.push_back(byte);
            assert_same(&ring, &model);
        }
    });
}

#[test]
fn every_ring_rewinds_when_it_runs_empty() {
    for_every_ring(|mut ring, mut model| {
        while model.pop_front().is_some() {
            ring.consume(1);
            assert_same(&ring, &model);
        }
        assert_eq!(ring.head, 0);
        assert_eq!(ring.spare_slices()[0].len(), ring.capacity(), "one slice of room");
    });
}

#[test]
fn every_ring_is_made_contiguous_moving_only_if_wrapped() {
    for_every_ring(|mut ring, model| {
        let (head, was_wrapped) = (ring.head, ring.contiguous().is_none());
        assert_eq!(ring.make_contiguous(), Vec::from(model.clone()));
        assert_eq!(ring.head, if was_wrapped { 0 } else { head });
        ring.rewind();
        assert_eq!(ring.head, 0);
        assert_eq!(ring.contiguous(), Some(&Vec::from(model.clone())[..]));
        assert_eq!(ring.spare_slices()[1].len(), 0, "the room is one slice");
        assert_same(&ring, &model);
    });
}

#[test]
fn every_ring_moves_whole_into_another_lease() {
    for_every_ring(|ring, model| {
        let (capacity, len) = (ring.capacity(), ring.len());
        let mut ring = ring;
        let old = ring.move_to(Lease::unpooled(len + 3));
        assert_eq!((old.len(), ring.capacity(), ring.head), (capacity, len + 3, 0));
        assert_same(&ring, &model);
        assert_eq!(ring.into_lease().len(), len + 3);
    });
}

#[test]
fn a_ring_over_nothing_holds_nothing() {
    let mut ring = Ring::over(Lease::unpooled(0));
    assert_eq!((ring.push(b"x"), ring.len(), ring.free()), (0, 0, 0));
    assert_eq!(ring.spare_slices().map(|spare| spare.len()), [0, 0]);
    ring.consume(0);
    assert_eq!(ring.make_contiguous(), b"");
}

#[cfg(not(debug_assertions))]
#[test]
fn mistakes_of_the_caller_lose_no_byte_in_release() {
    let (mut ring, model) = ring_at(4, 3, 3);
    assert_eq!(ring.move_to(Lease::unpooled(2)).len(), 2);
    assert_same(&ring, &model);
    ring.filled(100);
    assert_eq!(ring.len(), 4);
    ring.consume(100);
    assert!(ring.is_empty());
}

#[derive(Clone, Debug)]
enum Op {
    Push(Vec<u8>),
    Fill(Vec<u8>),
    Consume(prop::sample::Index),
    MakeContiguous,
    Rewind,
    MoveTo { extra: usize },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..12).prop_map(Op::Push),
        4 => vec(any::<u8>(), 0..12).prop_map(Op::Fill),
        6 => any::<prop::sample::Index>().prop_map(Op::Consume),
        1 => Just(Op::MakeContiguous),
        1 => Just(Op::Rewind),
        1 => (0..6usize).prop_map(|extra| Op::MoveTo { extra }),
    ]
}

fn apply(ring: &mut Ring, model: &mut VecDeque<u8>, op: Op) -> Result<(), TestCaseError> {
    match op {
        Op::Push(bytes) => {
            let pushed = ring.push(&bytes);
            prop_assert_eq!(pushed, bytes.len().min(ring.capacity() - model.len()));
            model.extend(&bytes[..pushed]);
        }
        Op::Fill(bytes) => {
            let room = ring.spare_slices().into_iter().flatten();
            let filled = room.zip(&bytes).map(|(slot, byte)| *slot = *byte).count();
            ring.filled(filled);
            model.extend(&bytes[..filled]);
        }
        Op::Consume(index) => {
            let count = index.index(model.len() + 1);
            ring.consume(count);
            model.drain(..count);
        }
        Op::MakeContiguous => prop_assert_eq!(ring.make_contiguous(), &*model.make_contiguous()),
        Op::Rewind => ring.rewind(),
        Op::MoveTo { extra } => {
            let lease = Lease::unpooled(model.len() + extra);
            let capacity = ring.capacity();
            prop_assert_eq!(ring.move_to(lease).len(), capacity);
        }
    }
    Ok(())
}

proptest! {
    /// Whatever is done to it, a ring holds the bytes that a `VecDeque` holds, in the same order.
    #[test]
    fn ring_equals_vec_deque(capacity in 0..16usize, ops in vec(op(), 0..200)) {
        let (mut ring, mut model) = (Ring::over(Lease::unpooled(capacity)), VecDeque::new());
        for op in ops {
            apply(&mut ring, &mut model, op)?;
            prop_assert_eq!(joined(ring.as_slices()), Vec::from_iter(model.iter().copied()));
            prop_assert_eq!((ring.len(), ring.is_empty()), (model.len(), model.is_empty()));
            let [first, second] = ring.spare_slices();
            let spare = first.len() + second.len();
            prop_assert_eq!(spare, ring.free());
        }
    }
}
