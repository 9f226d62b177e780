//! Question: what does a request cost that is answered later, beside its reply?
//!
//! Claim: opened and ended at most 218 instructions, alone or in order among 16; 422 if it ends before all others, so
//! that its reply of 74 B is held and taken out again; 204 with a correlation, in whatever order.

use crate::claim::{ROUNDS, at_most, payload};
use gungraun::{library_benchmark, library_benchmark_group};
use std::hint::black_box;
use tidegate::base::Ms;
use tidegate::buffer::Pool;
use tidegate::session::{Ended, ReplyTo, Slots};
use tidegate::wire::{Extension, Header};

const BUDGET_BYTES: usize = 16 << 20;

/// What is open, and how.
struct Open {
    slots: Slots,
    pool: Pool,
    to: ReplyTo,
    reply: Vec<u8>,
    serial: u64,
}

impl Open {
    fn new(to: ReplyTo) -> Open {
        let (slots, pool) = (Slots::new(), Pool::new(BUDGET_BYTES));
        let mut it = Open { slots, pool, to, reply: payload(74), serial: 0 };
        it.in_order(16);
        it.backwards(16);
        it
    }

    /// So many requests are opened; tells the serial of the first.
    fn open(&mut self, count: u64) -> u64 {
        let first = self.serial;
        self.serial += count;
        for serial in first..self.serial {
            self.slots.open(black_box(serial), self.to, Ms(30_000));
        }
        first
    }

    fn end(&mut self, serial: u64) {
        match self.slots.end(black_box(serial)) {
            Some(Ended::Now(to)) => _ = black_box(to),
            Some(Ended::Behind(_)) => {
                let reply = &self.reply;
                let bytes = u32::try_from(reply.len()).expect("it is short");
                black_box(self.slots.hold(&mut self.pool, serial, bytes, |into| into.copy_from_slice(reply)));
            }
            None => panic!("{serial} is open"),
        }
        while let Some(ready) = self.slots.ready() {
            black_box(ready);
            self.slots.pop_ready(&mut self.pool);
        }
    }

    fn in_order(&mut self, count: u64) {
        let first = self.open(count);
        (first..first + count).for_each(|serial| self.end(serial));
    }

    fn backwards(&mut self, count: u64) {
        let first = self.open(count);
        (first..first + count).rev().for_each(|serial| self.end(serial));
    }
}

fn plain() -> Open {
    Open::new(ReplyTo::plain(Header::route(3)))
}

fn correlated() -> Open {
    let extension = Extension { correlation: Some(7), ..Extension::default() };
    Open::new(ReplyTo::extended(Header::from_bits(1 << 15 | 3), &extension))
}

#[library_benchmark]
#[bench::one(args = (), setup = plain, config = at_most(215))]
fn answered_one_by_one(mut open: Open) -> Open {
    for _ in 0..ROUNDS {
        open.in_order(1);
    }
    open
}

#[library_benchmark]
#[bench::of_16(args = (), setup = plain, config = at_most(3_484))]
#[bench::of_16_correlated(args = (), setup = correlated, config = at_most(3_240))]
fn answered_in_order(mut open: Open) -> Open {
    for _ in 0..ROUNDS {
        open.in_order(16);
    }
    open
}

#[library_benchmark]
#[bench::of_16(args = (), setup = plain, config = at_most(6_747))]
#[bench::of_16_correlated(args = (), setup = correlated, config = at_most(3_263))]
fn answered_backwards(mut open: Open) -> Open {
    for _ in 0..ROUNDS {
        open.backwards(16);
    }
    open
}

library_benchmark_group!(
    name = open_requests;
    benchmarks = answered_one_by_one, answered_in_order, answered_backwards
);
