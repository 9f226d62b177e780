//! Question: what does it cost to keep bytes that the socket, or the parser, can't take yet?
//!
//! Claim: 64 B go through a ring in at most 89 instructions; to have it contiguous costs 38 unless it is wrapped. A
//! queue takes a reply, cuts its slices and forgets it again in at most 488, a lease and its return included, and in
//! 158 for each of 16; shared bytes cost at most 278, whatever their number.

use crate::claim::{ROUNDS, at_most, payload};
use bytes::Bytes;
use gungraun::{library_benchmark, library_benchmark_group};
use std::hint::black_box;
use std::io::IoSlice;
use tidegate::base::limits::SLICES_PER_WRITE;
use tidegate::buffer::{OutQueue, Pool, Ring, Side};

const BUDGET_BYTES: usize = 16 << 20;
const LIMIT_BYTES: u32 = 1 << 20;

/// A ring of 4 KiB whose head is 64 bytes before its end, with so many bytes in it.
fn ring_of(bytes: usize) -> (Ring, Vec<u8>) {
    let lease = Pool::new(BUDGET_BYTES).lease(Side::Input, 4096).expect("an empty pool has a lease");
    let mut ring = Ring::over(lease);
    ring.push(&payload(4032));
    ring.consume(4031);
    ring.push(&payload(bytes));
    (ring, payload(64))
}

#[library_benchmark(setup = ring_of)]
#[bench::of_64(args = (0), config = at_most(89))]
fn pushed_and_consumed(mut it: (Ring, Vec<u8>)) -> (Ring, Vec<u8>) {
    let (ring, bytes) = &mut it;
    for _ in 0..ROUNDS {
        ring.push(black_box(bytes));
        ring.consume(bytes.len());
    }
    it
}

#[library_benchmark(setup = ring_of)]
#[bench::of_32(args = (32), config = at_most(38))]
fn contiguous_already(mut it: (Ring, Vec<u8>)) -> (Ring, Vec<u8>) {
    for _ in 0..ROUNDS {
        black_box(it.0.make_contiguous());
    }
    it
}

// Wrapped anew in each round.
#[library_benchmark(setup = ring_of)]
#[bench::of_4000(args = (4000), config = at_most(6_092))]
fn contiguous_from_two(mut it: (Ring, Vec<u8>)) -> (Ring, Vec<u8>) {
    let (ring, bytes) = &mut it;
    for _ in 0..ROUNDS {
        black_box(ring.make_contiguous());
        // The head goes on by two thirds, and the tail around the edge.
        ring.consume(2688);
        for _ in 0..42 {
            ring.push(black_box(bytes));
        }
    }
    it
}

library_benchmark_group!(name = ring; benchmarks = pushed_and_consumed, contiguous_already, contiguous_from_two);

/// A queue that has been used, and what is put into it.
struct Waiting {
    queue: OutQueue,
    pool: Pool,
    bytes: Bytes,
    pieces: usize,
}

fn waiting(bytes: usize, pieces: usize) -> Waiting {
    let (queue, pool) = (OutQueue::new(), Pool::new(BUDGET_BYTES));
    let mut it = Waiting { queue, pool, bytes: Bytes::from(payload(bytes)), pieces };
    it.round(true);
    it.round(false);
    it
}

impl Waiting {
    /// In, cut into slices, and out again.
    fn round(&mut self, is_shared: bool) {
        for _ in 0..self.pieces {
            let pushed = if is_shared {
                self.queue.push_shared(black_box(&self.bytes).clone(), LIMIT_BYTES)
            } else {
                self.queue.push_bytes(&mut self.pool, black_box(&self.bytes), LIMIT_BYTES)
            };
            pushed.expect("the limit is far");
        }
        self.cut();
        self.queue.consume(&mut self.pool, self.bytes.len() * self.pieces);
    }

    /// Into the slices of one write.
    fn cut(&self) {
        if let Some(slice) = self.queue.single_slice() {
            black_box(slice);
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
            black_box(self.queue.slices(&mut slices));
        }
    }
}

#[library_benchmark(setup = waiting)]
#[bench::of_64(args = (64, 1), config = at_most(488))]
#[bench::of_64_by_16(args = (64, 16), config = at_most(2_513))]
fn copied(mut it: Waiting) -> Waiting {
    for _ in 0..ROUNDS {
        it.round(false);
    }
    it
}

#[library_benchmark(setup = waiting)]
#[bench::of_16384(args = (16384, 1), config = at_most(278))]
#[bench::of_16384_by_16(args = (16384, 16), config = at_most(3_255))]
fn shared(mut it: Waiting) -> Waiting {
    for _ in 0..ROUNDS {
        it.round(true);
    }
    it
}

// A socket that takes 100 bytes at a time.
#[library_benchmark(setup = waiting)]
#[bench::of_1024(args = (1024, 1), config = at_most(2_030))]
fn taken_bit_by_bit(mut it: Waiting) -> Waiting {
    for _ in 0..ROUNDS {
        it.queue.push_bytes(&mut it.pool, black_box(&it.bytes), LIMIT_BYTES).expect("the limit is far");
        let mut left = it.bytes.len();
        while left > 0 {
            it.cut();
            let taken = left.min(100);
            it.queue.consume(&mut it.pool, taken);
            left -= taken;
        }
    }
    it
}

library_benchmark_group!(name = out_queue; benchmarks = copied, shared, taken_bit_by_bit);
