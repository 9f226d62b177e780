//! Instructions that single parts of the engine take, counted by callgrind, each held to a number.
//!
//! Always holds: a benchmark is warm before it is counted, does the same [`ROUNDS`](claim::ROUNDS) times, and fails
//! when it takes more than it claims and 3 %. Never: time, sockets, threads. `README.md` says how it is run.

mod buffers;
mod claim;
#[allow(dead_code, reason = "the tests' world; a benchmark uses a part of it")]
#[path = "../../../tests/support/hand.rs"]
mod hand;
mod outbox;
mod slots;
mod timers;
mod turns;
mod wire;

use buffers::{out_queue, ring};
use outbox::replies;
use slots::open_requests;
use timers::deadlines;
use turns::whole_turns;
use wire::frames;

gungraun::main!(
    library_benchmark_groups = frames,
    replies,
    ring,
    out_queue,
    open_requests,
    deadlines,
    whole_turns
);
