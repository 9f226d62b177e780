//! Connections that a loop dialed, driven by hand with the relay of `tests/services` over them: what a server that takes
//! requests slowly, or not at all, costs.

mod support;

#[path = "services/relay.rs"]
#[allow(unreachable_pub, reason = "a file to be copied")]
mod service;

use service::Relay;
use support::client::{EXT, frame};
use support::extended::{OK, correlated};
use support::hand::{PEER, Rig};
use tidegate::base::limits::Limits;
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
