//! Question: what does a turn of the loop cost, with one message and with many?
//!
//! Claim: one request of 64 B, flipped and written, in at most 1,375 instructions beside those of the `world`, which
//! moves the same bytes; each of 16 in at most 480. A correlation adds at most 132, since plain frames have a loop of their
//! own, an idle deadline 219 a turn, and 1,000 idle connections nothing.

use crate::claim::{ROUNDS, at_most, correlated, request};
use crate::hand::Rig;
use gungraun::{library_benchmark, library_benchmark_group};
use std::hint::black_box;
use std::io::{IoSlice, IoSliceMut};
use std::time::Duration;
use tidegate::base::limits::{Limits, PAYLOAD_BYTES_DEFAULT};
use tidegate::service::Router;
use tidegate::session::Framing;
use tidegate::turn::{Io, ListenerConfig, TurnConfig};

const ECHO: u16 = 1;
const FLIP: u16 = 3;
const PIPE_BYTES: usize = 32 << 10;
const IDLE_PIPE_BYTES: usize = 16;

/// A loop with the built-in routes, and what arrives at its last connection in each round.
struct Loop {
    rig: Rig<Router>,
    pipe: usize,
    burst: Vec<u8>,
    /// Where the floor reads to.
    scratch: Vec<u8>,
}

impl Loop {
    fn new(burst: Vec<u8>, idle: usize) -> Loop {
        Loop::with(Limits::default(), burst, idle)
    }

    fn with(limits: Limits, burst: Vec<u8>, idle: usize) -> Loop {
        let listener = ListenerConfig::new(Framing::frames(PAYLOAD_BYTES_DEFAULT));
        let config =
            TurnConfig { limits, budget_bytes: 64 << 20, ..TurnConfig::alone(1_024, vec![listener]) };
        let pipe_bytes = if idle > 0 { 2 * burst.len() } else { PIPE_BYTES };
        let mut rig = Rig::new(config, pipe_bytes.max(IDLE_PIPE_BYTES), Router::embedded);
        (0..idle).for_each(|_| _ = rig.connect(usize::MAX));
        let pipe = rig.connect(usize::MAX);
        let mut it = Loop { rig, pipe, scratch: vec![0; burst.len()], burst };
        (0..ROUNDS).for_each(|_| assert!(it.round() > 0, "it is answered"));
        it
    }

    /// The bytes of the replies.
    fn round(&mut self) -> usize {
        self.rig.arrive(self.pipe, black_box(&self.burst));
        self.rig.one_turn();
        black_box(self.rig.turn.wait());
        self.rig.taken(self.pipe)
    }
}

fn plain(requests: usize) -> Loop {
    Loop::new(request(FLIP, 64).repeat(requests), 0)
}

fn extended(requests: usize) -> Loop {
    Loop::new(correlated(FLIP, 64).repeat(requests), 0)
}

fn echoed(requests: usize) -> Loop {
    Loop::new(request(ECHO, 64).repeat(requests), 0)
}

fn with_deadline(requests: usize) -> Loop {
    let limits = Limits { idle: Some(Duration::from_secs(60)), ..Limits::default() };
    Loop::with(limits, request(FLIP, 64).repeat(requests), 0)
}

fn among_1000(requests: usize) -> Loop {
    Loop::new(request(FLIP, 64).repeat(requests), 1_000)
}

// One read and one write of the same bytes, and no turn.
#[library_benchmark(setup = plain)]
#[bench::of_1(args = (1), config = at_most(281))]
#[bench::of_16(args = (16), config = at_most(638))]
fn world(mut it: Loop) -> Loop {
    for _ in 0..ROUNDS {
        it.rig.arrive(it.pipe, black_box(&it.burst));
        let io = &mut it.rig.io;
        let read = io.read(&mut it.pipe, &mut [IoSliceMut::new(&mut it.scratch)]).unwrap_or(0);
        let _ = black_box(io.write(&mut it.pipe, &[IoSlice::new(&it.scratch[..read])]));
        black_box(it.rig.taken(it.pipe));
    }
    it
}

#[library_benchmark]
#[bench::of_1(args = (1), setup = plain, config = at_most(1_655))]
#[bench::of_16(args = (16), setup = plain, config = at_most(7_936))]
#[bench::of_1_among_1000(args = (1), setup = among_1000, config = at_most(1_655))]
#[bench::of_1_with_deadline(args = (1), setup = with_deadline, config = at_most(1_875))]
#[bench::of_1_correlated(args = (1), setup = extended, config = at_most(1_687))]
#[bench::of_16_correlated(args = (16), setup = extended, config = at_most(8_286))]
#[bench::of_1_echoed(args = (1), setup = echoed, config = at_most(1_784))]
#[bench::of_16_echoed(args = (16), setup = echoed, config = at_most(6_328))]
fn turn(mut it: Loop) -> Loop {
    for _ in 0..ROUNDS {
        black_box(it.round());
    }
    it
}

library_benchmark_group!(name = whole_turns; benchmarks = world, turn);
