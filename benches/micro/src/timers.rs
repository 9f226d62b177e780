//! Question: what do deadlines cost those whom they don't concern?
//!
//! Claim: to ask a loop with 1,000 idle connections how long it may wait takes at most 77 instructions, and a whole turn
//! in which nothing is due 201. A deadline that has moved on is armed anew for at most 263, once in its time and not
//! once a message.

use crate::claim::{ROUNDS, at_most, request};
use crate::hand::Rig;
use gungraun::{library_benchmark, library_benchmark_group};
use std::hint::black_box;
use std::time::Duration;
use tidegate::base::limits::{Limits, PAYLOAD_BYTES_DEFAULT};
use tidegate::service::Router;
use tidegate::session::Framing;
use tidegate::turn::{ListenerConfig, TurnConfig};

const CONNECTIONS: usize = 1_000;
const IDLE_MS: u64 = 20_000;
const PIPE_BYTES: usize = 256;
const DISCARD: u16 = 2;

/// So many connections with an idle deadline; all have said something since it was armed.
fn idle() -> Rig<Router> {
    let limits = Limits { idle: Some(Duration::from_millis(IDLE_MS)), ..Limits::default() };
    let listener = ListenerConfig::new(Framing::frames(PAYLOAD_BYTES_DEFAULT));
    let alone = TurnConfig::alone(1_024, vec![listener]);
    let config = TurnConfig { limits, budget_bytes: 64 << 20, ..alone };
    let mut rig = Rig::new(config, PIPE_BYTES, Router::embedded);
    (0..CONNECTIONS).for_each(|_| _ = rig.connect(usize::MAX));
    rig.pass(IDLE_MS / 2, IDLE_MS);
    (0..CONNECTIONS).for_each(|pipe| rig.send(pipe, &request(DISCARD, 8)));
    rig
}

/// The same at the moment when the first deadlines come.
fn due() -> Rig<Router> {
    let mut rig = idle();
    rig.pass(IDLE_MS / 2 - 100, IDLE_MS);
    rig.io.clock.advance_us(1_000_000);
    rig
}

/// Nobody was closed instead.
fn all_are_there(rig: Rig<Router>) {
    assert_eq!(rig.turn.open(), CONNECTIONS);
}

#[library_benchmark]
#[bench::of_1000(args = (), setup = idle, config = at_most(77))]
fn next_due(rig: Rig<Router>) -> Rig<Router> {
    for _ in 0..ROUNDS {
        black_box(black_box(&rig).turn.wait());
    }
    rig
}

// A turn in which nothing has happened.
#[library_benchmark]
#[bench::of_1000(args = (), setup = idle, config = at_most(201))]
fn nothing_due(mut rig: Rig<Router>) -> Rig<Router> {
    for _ in 0..ROUNDS {
        rig.one_turn();
    }
    rig
}

// All of 1,000 deadlines in one turn, so that a round is 10 of them.
#[library_benchmark]
#[bench::of_1000(args = (), setup = due, teardown = all_are_there, config = at_most(2_724))]
fn armed_anew(mut rig: Rig<Router>) -> Rig<Router> {
    rig.one_turn();
    rig
}

library_benchmark_group!(name = deadlines; benchmarks = next_due, nothing_due, armed_anew);
