//! The out-queue against one `Vec<u8>`, under partial writes and a pool that runs out.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

const NO_LIMIT: u32 = u32::MAX;

fn roomy() -> Pool {
    Pool::new(8 << 20)
}

/// What a vectored write of at most `slots` slices would hand to the kernel.
fn offered(queue: &OutQueue, slots: usize) -> Vec<u8> {
    let mut slices = vec![IoSlice::new(&[]); slots];
    let count = queue.slices(&mut slices);
    slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect()
}

fn all_of(queue: &OutQueue) -> Vec<u8> {
    offered(queue, 2 * queue.pieces.len() + 2)
}

#[test]
fn bytes_leave_in_the_order_in_which_they_came() {
    let (mut pool, mut queue) = (roomy(), OutQueue::new());
    queue.push_bytes(&mut pool, b"one ", NO_LIMIT).expect("fits");
    queue.push_bytes(&mut pool, b"two ", NO_LIMIT).expect("fits");
    queue.push_shared(Bytes::from_static(b"three "), NO_LIMIT).expect("fits");
    queue.push_bytes(&mut pool, b"four", NO_LIMIT).expect("fits");
    assert_eq!(all_of(&queue), b"one two three four");
    assert_eq!((queue.queued_bytes(), queue.pieces.len()), (18, 3), "neighbours in the ring are one slice");
    assert_eq!(offered(&queue, 2), b"one two three ");
    assert_eq!(offered(&queue, 0), b"");

    queue.consume(&mut pool, 10);
    assert_eq!((all_of(&queue).as_slice(), queue.single_slice()), (b"ree four".as_slice(), None));
    queue.consume(&mut pool, 4);
    assert_eq!(queue.single_slice(), Some(b"four".as_slice()));
    queue.consume(&mut pool, 4);
    assert!(queue.is_empty() && all_of(&queue).is_empty());
    assert_eq!(pool.leases_out(), 0);
}

#[test]
fn a_push_is_whole_or_refused() {
    let full = |queued_bytes, more_bytes| QueueError::Full { queued_bytes, more_bytes, limit_bytes: 10 };
    #[rustfmt::skip]
    let table: &[(&str, usize, usize, Result<(), QueueError>)] = &[
        ("nothing into nothing",    0,  0,  Ok(())),
        ("up to the limit",         4,  6,  Ok(())),
        ("the limit at once",       0,  10, Ok(())),
        ("nothing into a full one", 10, 0,  Ok(())),
        ("one over",                4,  7,  Err(full(4, 7))),
        ("one into a full one",     10, 1,  Err(full(10, 1))),
        ("too much at once",        0,  11, Err(full(0, 11))),
    ];
    for (name, before, more, want) in table {
        for shared in [false, true] {
            let (mut pool, mut queue) = (roomy(), OutQueue::new());
            queue.push_bytes(&mut pool, &vec![1; *before], 10).expect("fits");
            let got = if shared {
                queue.push_shared(Bytes::from(vec![2; *more]), 10)
            } else {
                queue.push_bytes(&mut pool, &vec![2; *more], 10)
            };
            assert_eq!(got, *want, "case: {name}, shared: {shared}");
            let total = if got.is_ok() { before + more } else { *before };
            assert_eq!(queue.queued_bytes() as usize, total, "case: {name}, shared: {shared}");
            queue.clear(&mut pool);
        }
    }
}

#[test]
fn a_refusal_says_the_numbers_and_is_temporary() {
    let full = QueueError::Full { queued_bytes: 4, more_bytes: 7, limit_bytes: 10 };
    let no_memory = QueueError::NoMemory { wanted_bytes: 5000 };
    assert_eq!(full.to_string(), "out-queue full (4 bytes queued, 7 more, limit 10)");
    assert_eq!(no_memory.to_string(), "no memory in the output budget for a ring of 5000 bytes");
    assert_eq!((full.fault(), no_memory.fault()), (Fault::Temporary, Fault::Temporary));
}

#[test]
fn a_ring_that_is_too_small_is_swapped_for_a_larger_class() {
    let (mut pool, mut queue) = (roomy(), OutQueue::new());
    let bytes: Vec<u8> = (0..40_000u32).map(|n| n.to_le_bytes()[0]).collect();
    for chunk in bytes.chunks(1000) {
        queue.push_bytes(&mut pool, chunk, NO_LIMIT).expect("fits");
        assert_eq!(pool.leases_out(), 1);
    }
    assert_eq!((all_of(&queue), queue.leased_bytes()), (bytes, 68 << 10));
    queue.clear(&mut pool);
    assert_eq!((pool.leases_out(), queue.leased_bytes()), (0, 0));
}

#[test]
fn without_memory_the_queue_stays_as_it_was() {
    let mut pool = Pool::new(100 << 10);
    let mut queue = OutQueue::new();
    queue.push_bytes(&mut pool, &[7; 20_000], NO_LIMIT).expect("20 of 40 KiB");
    let wanted_bytes = 22_000;
    assert!(pool.can_lease(Side::Output, 2000) && !queue.has_memory(&pool, 2000), "all of it must move");
    assert!(queue.has_memory(&pool, 480), "and this fits where it lies");
    let got = queue.push_bytes(&mut pool, &[8; 2000], NO_LIMIT);
    assert_eq!(got, Err(QueueError::NoMemory { wanted_bytes }), "36 KiB don't fit beside 20 of 40");
    assert_eq!((all_of(&queue), pool.leases_out()), (vec![7; 20_000], 1));
    queue.consume(&mut pool, 19_000);
    queue.push_bytes(&mut pool, &[8; 2000], NO_LIMIT).expect("the ring has room again");
    queue.clear(&mut pool);
}

#[test]
fn the_lease_returns_as_soon_as_no_copied_byte_waits() {
    let (mut pool, mut queue) = (roomy(), OutQueue::new());
    queue.push_bytes(&mut pool, b"ring", NO_LIMIT).expect("fits");
    queue.push_shared(Bytes::from_static(b"shared"), NO_LIMIT).expect("fits");
    queue.consume(&mut pool, 3);
    assert_eq!(pool.leases_out(), 1);
    queue.consume(&mut pool, 1);
    assert_eq!((pool.leases_out(), queue.queued_bytes()), (0, 6));
    queue.consume(&mut pool, 6);
}

#[test]
fn pieces_are_bounded_and_a_long_list_is_not_kept() {
    let (mut pool, mut queue) = (roomy(), OutQueue::new());
    for _ in 0..PIECES_MAX {
        queue.push_shared(Bytes::from_static(b"x"), NO_LIMIT).expect("under the bound");
    }
    assert!(queue.push_shared(Bytes::from_static(b"x"), NO_LIMIT).is_err());
    assert!(queue.push_bytes(&mut pool, b"x", NO_LIMIT).is_err());
    assert_eq!((queue.queued_bytes() as usize, pool.leases_out()), (PIECES_MAX, 0));
    queue.consume(&mut pool, PIECES_MAX);
    assert!(queue.pieces.capacity() <= PIECES_KEPT);

    (0..PIECES_KEPT).for_each(|_| queue.push_shared(Bytes::from_static(b"x"), NO_LIMIT).expect("fits"));
    let capacity = queue.pieces.capacity();
    queue.consume(&mut pool, PIECES_KEPT);
    assert_eq!(queue.pieces.capacity(), capacity, "a short list is kept");
}

#[test]
fn replies_are_unsent_until_the_queue_runs_empty() {
    let (mut pool, mut queue) = (roomy(), OutQueue::new());
    queue.push_bytes(&mut pool, b"two replies", NO_LIMIT).expect("fits");
    queue.note_replies(2);
    queue.consume(&mut pool, 10);
    assert_eq!(queue.unsent_replies(), 2);
    queue.note_replies(u32::MAX);
    assert_eq!(queue.unsent_replies(), u32::MAX);
    queue.consume(&mut pool, 1);
    assert_eq!(queue.unsent_replies(), 0);
    queue.push_shared(Bytes::from_static(b"another"), NO_LIMIT).expect("fits");
    queue.note_replies(1);
    queue.clear(&mut pool);
    assert_eq!((queue.unsent_replies(), queue.is_empty()), (0, true));
}

#[cfg(feature = "planted-bugs")]
#[test]
fn planted_bugs_do_what_they_say() {
    use crate::base::planted::plant;
    let (mut pool, mut queue) = (roomy(), OutQueue::new());
    queue.push_bytes(&mut pool, b"abcd", NO_LIMIT).expect("fits");
    plant(Some(Bug::WrittenTwice));
    queue.consume(&mut pool, 2);
    assert_eq!(all_of(&queue), b"bcd");
    queue.consume(&mut pool, 1);
    assert_eq!(all_of(&queue), b"cd", "a single byte is not forgotten, so the queue does run empty");

    plant(Some(Bug::LeaseLeaked));
    queue.consume(&mut pool, 2);
    assert_eq!((queue.is_empty(), pool.leases_out()), (true, 1));
    plant(None);
    queue.clear(&mut pool);
    assert_eq!(pool.leases_out(), 0);
}

#[derive(Clone, Debug)]
enum Op {
    PushBytes(usize),
    PushShared(usize),
    /// Offers so many slices; the socket takes a part of what they hold.
    Write(usize, prop::sample::Index),
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    let bytes = || prop_oneof![3 => 0..64usize, 1 => 0..6000usize];
    prop_oneof![
        30 => bytes().prop_map(Op::PushBytes),
        30 => bytes().prop_map(Op::PushShared),
        50 => (0..8usize, any::<prop::sample::Index>()).prop_map(|(slots, part)| Op::Write(slots, part)),
        1 => Just(Op::Clear),
    ]
}

/// The next `count` bytes of a stream in which every lost, doubled or swapped byte shows.
fn stream(sent: &mut u32, count: usize) -> Vec<u8> {
    let from = *sent;
    *sent += u32::try_from(count).expect("small");
    (from..*sent).map(|n| n.wrapping_mul(0x9E37_79B1).to_be_bytes()[0]).collect()
}

struct Bench {
    pool: Pool,
    queue: OutQueue,
    model: Vec<u8>,
    sent: u32,
    limit: u32,
}

impl Bench {
    /// A push went through exactly if the limit allows it and, for copies, if there is memory.
    fn pushed(&mut self, bytes: &[u8], got: Result<(), QueueError>) -> Result<(), TestCaseError> {
        let fits = bytes.is_empty() || self.model.len() + bytes.len() <= self.limit as usize;
        match got {
            Ok(()) => {
                prop_assert!(fits);
                self.model.extend(bytes);
            }
            Err(QueueError::Full { .. }) => prop_assert!(!fits),
            Err(QueueError::NoMemory { wanted_bytes }) => {
                prop_assert!(fits && !self.pool.can_lease(Side::Output, wanted_bytes));
            }
        }
        Ok(())
    }

    fn apply(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::PushBytes(count) => {
                let bytes = stream(&mut self.sent, count);
                let got = self.queue.push_bytes(&mut self.pool, &bytes, self.limit);
                self.pushed(&bytes, got)
            }
            Op::PushShared(count) => {
                let bytes = stream(&mut self.sent, count);
                let got = self.queue.push_shared(Bytes::from(bytes.clone()), self.limit);
                self.pushed(&bytes, got)
            }
            Op::Write(slots, part) => {
                let offer = offered(&self.queue, slots);
                prop_assert!(self.model.starts_with(&offer));
                prop_assert!(slots == 0 || self.model.is_empty() || !offer.is_empty());
                let taken = part.index(offer.len() + 1);
                self.queue.consume(&mut self.pool, taken);
                self.model.drain(..taken);
                Ok(())
            }
            Op::Clear => {
                self.queue.clear(&mut self.pool);
                self.model.clear();
                Ok(())
            }
        }
    }
}

proptest! {
    /// However pushes and partial writes are mixed, what waits is the stream that was accepted, in order,
    /// bounded, and its buffer is the only lease.
    #[test]
    fn queue_equals_one_vec(
        budget in prop_oneof![0..120_000usize, Just(8 << 20)], limit in prop_oneof![1..3000u32, 1..60_000u32],
        ops in vec(op(), 0..150),
    ) {
        let mut bench =
            Bench { pool: Pool::new(budget), queue: OutQueue::new(), model: Vec::new(), sent: 0, limit };
        for op in ops {
            bench.apply(op)?;
            prop_assert_eq!(all_of(&bench.queue), &bench.model[..]);
            prop_assert_eq!(bench.queue.queued_bytes() as usize, bench.model.len());
            prop_assert_eq!(bench.queue.is_empty(), bench.model.is_empty());
            prop_assert!(bench.queue.queued_bytes() <= limit);
            prop_assert!(bench.queue.recount_is_right());
            let mut two = [IoSlice::new(&[]); 2];
            let is_single = bench.queue.slices(&mut two) == 1;
            prop_assert_eq!(bench.queue.single_slice(), is_single.then_some(&bench.model[..]));
            let has_ring = bench.queue.pieces.iter().any(Piece::is_ring);
            prop_assert_eq!(bench.pool.leases_out(), usize::from(has_ring));
        }
        let left = bench.model.len();
        bench.queue.consume(&mut bench.pool, left);
        prop_assert_eq!((bench.pool.leases_out(), bench.queue.queued_bytes()), (0, 0));
    }
}
