//! Connections that a loop dialed, driven by hand with the relay of `tests/services` over them: what a server that takes
//! requests slowly, or not at all, costs.

mod support;

#[path = "services/relay.rs"]
#[allow(unreachable_pub, reason = "a file to be copied")]
mod service;

use service::Relay;
use std::sync::Arc;
use std::time::Duration;
use support::client::{EXT, OVERLOADED, frame};
use support::extended::{OK, correlated};
use support::hand::{PEER, Rig};
use tidegate::CloseReason;
use tidegate::base::limits::Limits;
use tidegate::mailbox::Command;
use tidegate::metrics::Counter;
use tidegate::session::Framing;
use tidegate::turn::{ListenerConfig, TurnConfig};

const PIPE_BYTES: usize = 8 << 20;

/// A relay, its client, and its backend, whose socket takes so many bytes at first.
fn rig(limits: Limits, room: usize) -> (Rig<Relay>, usize, usize) {
    let config =
        TurnConfig { limits, ..TurnConfig::alone(10, vec![ListenerConfig::new(Framing::frames(1 << 20))]) };
    let mut rig = Rig::new(config, PIPE_BYTES, || Relay::new(PEER));
    let backend = rig.listen(room);
    rig.settle();
    rig.pass(1, 1);
    let client = rig.connect(PIPE_BYTES);
    (rig, client, backend)
}

/// Ids and bodies of the whole requests among these bytes, which are taken out.
fn asked(bytes: &mut Vec<u8>) -> Vec<(u64, Vec<u8>)> {
    let mut asked = Vec::new();
    while bytes.len() >= 6 {
        let length = u32::from_be_bytes(bytes[2..6].try_into().expect("four")) as usize;
        if bytes.len() < length + 10 {
            break;
        }
        let whole: Vec<u8> = bytes.drain(..length + 10).collect();
        let (block, body) = whole[6..length + 6].split_at(usize::from(whole[6]) * 4);
        asked.push((u64::from_be_bytes(block[4..12].try_into().expect("eight")), body.to_vec()));
    }
    asked
}

/// A reply to a correlated request.
fn reply(id: u64, status: u16, body: &[u8]) -> Vec<u8> {
    let [s0, s1] = status.to_be_bytes();
    frame(EXT | 5, &[&[3, 1, s0, s1][..], &id.to_be_bytes(), body].concat())
}

/// A client whose replies wait is not read. A server whose requests wait is: else two that wait for each other, each with
/// full sockets before it, wait for ever.
#[test]
fn a_servers_replies_are_read_while_requests_to_it_wait() {
    let limits = Limits { output_high_bytes: 1_000, output_low_bytes: 100, ..Limits::default() };
    let (mut rig, client, backend) = rig(limits, 200);
    for id in 0..30 {
        rig.send(client, &correlated(5, id, &[7; 100]));
    }
    let mut bytes = rig.take(backend);
    let first = asked(&mut bytes);
    assert_eq!(first.len(), 1, "its socket took one, and a part of the next");
    rig.send(backend, &reply(first[0].0, OK, b"the first"));
    assert_eq!(rig.take(client), reply(0, OK, b"the first"));
    assert_eq!(rig.figures().counter(Counter::PausedOutput), 0);
    rig.make_room(backend, PIPE_BYTES);
    rig.settle();
    bytes.extend(rig.take(backend));
    for (id, _) in asked(&mut bytes) {
        rig.send(backend, &reply(id, OK, b"x"));
    }
    let replies: Vec<u8> = (1..30).flat_map(|id| reply(id, OK, b"x")).collect();
    assert_eq!(rig.take(client), replies);
    rig.assert_rest(2);
}
/// Beyond what may wait for a server a request is refused, and the connection to it stays, with all that waits for it.
#[test]
fn more_than_may_wait_for_a_server_is_refused() {
    const BYTES: usize = 100_000;
    let (mut rig, client, backend) = rig(Limits { open_requests: 1_000, ..Limits::default() }, 0);
    for id in 0..40 {
        // One by one, and then all at once.
        rig.arrive(client, &correlated(5, id, &vec![7; BYTES]));
        if id < 20 {
            rig.settle();
        }
    }
    rig.settle();
    let told = rig.take(client);
    let mut refused = Vec::new();
    let mut rest = told;
    while rest.len() >= 18 {
        let length = u32::from_be_bytes(rest[2..6].try_into().expect("four")) as usize;
        let whole: Vec<u8> = rest.drain(..length + 10).collect();
        assert_eq!(u16::from_be_bytes([whole[8], whole[9]]), OVERLOADED);
        refused.push(u64::from_be_bytes(whole[10..18].try_into().expect("eight")));
    }
    let taken: Vec<u64> = (0..40).filter(|id| !refused.contains(id)).collect();
    let most = (256 << 10) + (1 << 20) + 10;
    assert_eq!(taken, (0..(most / (BYTES as u64 + 26))).collect::<Vec<_>>(), "the first, as many as fit");
    assert_eq!(rig.closes(CloseReason::SlowConsumer), 0);
    rig.make_room(backend, PIPE_BYTES);
    rig.settle();
    let asked = asked(&mut rig.take(backend));
    assert_eq!(asked.len(), taken.len());
    for (id, body) in asked {
        assert!(body == vec![7; BYTES]);
        rig.send(backend, &reply(id, OK, b"done"));
    }
    let done: Vec<u8> = taken.iter().flat_map(|id| reply(*id, OK, b"done")).collect();
    assert_eq!(rig.take(client), done);
    // And there is room again.
    rig.send(client, &correlated(5, 99, b"more"));
    assert!(rig.taken(backend) > 0);
    let held = rig.figures().counter(Counter::EffectsRefused);
    assert_eq!(held, refused.len() as u64);
}

/// When a drain has nothing left but a connection that is just being dialed, that is the end.
#[test]
fn a_drain_does_not_wait_for_what_is_being_dialed() {
    let config = TurnConfig::alone(10, vec![ListenerConfig::new(Framing::frames(1 << 20))]);
    let mailbox = Arc::clone(&config.mailbox);
    let mut rig = Rig::new(config, PIPE_BYTES, || Relay::new(PEER));
    let (_next, backend) = (rig.listen(0), rig.listen(0));
    rig.settle();
    rig.end(backend);
    // In the turn that begins the drain it is time to dial again.
    rig.io.clock.advance_us(1_000_000);
    mailbox.post(Command::Drain { grace: Duration::from_secs(30) }).expect("there is room");
    rig.one_turn();
    assert!(rig.turn.is_drained(), "no event need come for it");
    assert_eq!((rig.closes(CloseReason::PeerClosed), rig.closes(CloseReason::Drained)), (1, 1));
    rig.assert_rest(0);
}
