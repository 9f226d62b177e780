//! What large messages took is the system's again when they are over: the process shows it, and a loop that nobody
//! needs any more wakes up for it and then sleeps on.

#![cfg(target_os = "linux")]

mod support;

use support::clerk::{Clerk, Drawer, numbered};
use support::client::{ECHO, frame};
use support::hand::{Clock, Rig};
use tidegate::base::limits::Limits;
use tidegate::session::Framing;
use tidegate::turn::{ListenerConfig, TurnConfig, Wait};

const MIB: usize = 1 << 20;

/// Clients beside each other: what they have half sent is far more than [`LEFT_BYTES_MAX`].
#[cfg(feature = "cli")]
const CLIENTS: usize = 24;

/// What the small ones take meanwhile, and what the allocator may keep of them.
#[cfg(feature = "cli")]
const LEFT_BYTES_MAX: u64 = 4 << 20;

/// What makes an allocator keep it: it has seen a large block go before, and small ones lie between the large.
#[cfg(feature = "cli")]
#[test]
fn the_process_is_as_small_as_before_its_large_frames() {
    use std::process::Command;
    use support::client::Client;
    use support::process::{BINARY, Process, SERVE};
    use support::{pattern, status, wait_until};
    // What is half sent may wait for as long as the test.
    let settings = [("TIDEGATE_SERVER__SHARDS", "1"), ("TIDEGATE_TIMEOUTS__FRAME", "2m")];
    let server = Process::start(Command::new(BINARY).args(SERVE).envs(settings));
    let process = u32::try_from(server.id()).expect("ids are positive");
    let resident = || status(process, "RssAnon");
    let mut clients: Vec<(Client, Client)> =
        (0..CLIENTS).map(|_| (Client::connect(server.frames), Client::connect(server.frames))).collect();
    let mut other = Client::connect(server.frames);
    other.echo(b"warm");
    let before = resident();

    let [large, small] = [MIB, MIB / 16].map(|bytes| pattern(7, bytes));
    let [large_frame, small_frame] = [&large, &small].map(|payload| frame(ECHO, payload));
    let (large_first, large_second) = large_frame.split_at(MIB / 4 * 3);
    let (small_first, small_second) = small_frame.split_at(small.len() / 2);
    for is_mixed in [false, true] {
        for (number, (sends_large, sends_small)) in clients.iter_mut().enumerate() {
            sends_large.send(large_first);
            let held = (number * MIB / 2) as u64;
            wait_until("the server holds what was half sent", || resident() >= before + held);
            if is_mixed {
                sends_small.send(small_first);
                other.echo(b"it was read");
            }
        }
        for (sends_large, _) in &mut clients {
            sends_large.send(large_second);
            sends_large.expect(ECHO, &large);
        }
        wait_until("the memory is given back", || resident() <= before + LEFT_BYTES_MAX);
    }
    for (_, sends_small) in &mut clients {
        sends_small.send(small_second);
        sends_small.expect(ECHO, &small);
    }
    server.end();
}

fn rig() -> Rig<Clerk> {
    let listener = ListenerConfig::new(Framing::frames(1 << 20));
    let config = TurnConfig {
        limits: Limits::default(),
        budget_bytes: 64 * MIB,
        ..TurnConfig::alone(64, vec![listener])
    };
    let clock = Clock::new();
    let clerk = Clerk::new(&clock, &Drawer::default());
    Rig::at(clock, config, 4 * MIB, clerk)
}

#[test]
fn a_loop_wakes_until_nothing_is_left_to_give_back_and_then_sleeps() {
    let large = frame(ECHO, &[7; MIB]);
    let (first, second) = large.split_at(MIB / 2);
    let asks_for_much = frame(1, &numbered(b'l', 1 << 20));
    #[rustfmt::skip]
    let table: &[(&str, &[&[u8]], bool)] = &[
        ("a frame in two parts",           &[first, second],  false),
        ("a reset in the middle of it",    &[first],          true),
        ("a large reply to a small frame", &[&asks_for_much], false),
    ];
    for (name, parts, is_reset) in table {
        let mut rig = rig();
        let client = rig.connect(usize::MAX);
        rig.pass(20_000, 1_000);
        assert_eq!(rig.turn.wait(), Wait::Forever, "case: {name}, before");
        parts.iter().for_each(|part| rig.send(client, part));
        if *is_reset {
            rig.reset(client);
        }
        assert!(matches!(rig.turn.wait(), Wait::Until(_)), "case: {name}, at once");
        // As long as the deadline of such a frame, too, would have the loop wake.
        rig.pass(100_000, 1_000);
        assert_eq!(rig.turn.wait(), Wait::Forever, "case: {name}, after");
    }
}
