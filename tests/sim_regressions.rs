//! Bugs of the loop that simulated worlds found, each as a short story of its own on the simulated kernel.

#[allow(dead_code, reason = "each test file uses a part of it")]
#[path = "sim/rig.rs"]
mod rig;

use rig::{ECHO, Rig, WIDE, config, frame, hello, limits};
use std::panic::resume_unwind;
use std::time::Duration;
use tidegate::base::limits::Limits;
use tidegate::base::{CloseReason, ConnId, Time};
use tidegate::metrics::Counter;
use tidegate::service::{
    AfterPanic, Cx, Frame, Incoming, Later, Message, Peer, Replied, Reply, Service, Welcomed,
};
use tidegate::session::Framing;
use tidegate::sim::{Capacity, Weather};
use tidegate::turn::{ListenerConfig, TurnConfig, Wait};
use tidegate::wire::Hello;

/// Dials at the first request, and panics at the second.
struct Dialer {
    serial: u32,
}

const BACKEND: &str = "10.1.0.1:7000";

impl Service for Dialer {
    type Conn = u32;

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) -> u32 {
        self.serial
    }

    fn on_frame(&mut self, _serial: &mut u32, _: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        if self.serial == 1 && cx.now() > Time(5_500_000) {
            resume_unwind(Box::new("as planned"));
        }
        cx.dial(BACKEND.parse().expect("an address"), 0).expect("there is room");
        reply.send(b"dialing")
    }

    fn on_incoming(&mut self, serial: &mut u32, _: Incoming<'_>, _: &mut Cx<'_>) {
        assert_eq!(self.serial, *serial, "the state of a service that is no more");
    }

    fn on_panic(&mut self) -> AfterPanic {
        AfterPanic::Rebuild
    }
}

/// A connection that was still being dialed outlived its service, and its replies came to the next one.
#[test]
fn a_rebuilt_service_does_not_inherit_what_the_old_one_was_dialing() {
    let mut serial = 0;
    let make = move || {
        serial += 1;
        Dialer { serial }
    };
    let mut rig = Rig::with(make, config(64 << 20, limits()), Weather::calm());
    rig.io.listen_at(BACKEND.parse().expect("an address"), 1_000_000);
    let client = rig.connect(WIDE);
    rig.send(client, &frame(ECHO, b"dial"));
    assert_eq!(rig.receive_all(client), frame(ECHO, b"dialing"));
    let (_, dialed) = rig.io.take_dialed().expect("it was dialed");
    rig.pass(600);
    rig.send(client, &frame(ECHO, b"panic"));
    rig.leap(1);
    rig.io.send(dialed, &frame(ECHO, b"for the old one"));
    rig.leap(3);
    let seen = rig.figures();
    assert_eq!(seen.closes(CloseReason::Panicked), 2, "the client, and what was being dialed");
    assert_eq!(seen.counter(Counter::Panics), 1);
}

/// It was ended at the end of a turn, behind the burial, and no event or timer was left to bring the next turn.
#[test]
fn a_drain_ends_what_is_still_being_dialed_in_the_same_turn() {
    let limits = Limits { connect_deadline: Duration::from_secs(60), ..limits() };
    let mut rig = Rig::with(|| Dialer { serial: 0 }, config(64 << 20, limits), Weather::calm());
    rig.io.listen_at(BACKEND.parse().expect("an address"), 60_000_000);
    let client = rig.connect(WIDE);
    rig.send(client, &frame(ECHO, b"dial"));
    assert_eq!(rig.receive_all(client), frame(ECHO, b"dialing"));
    rig.io.hang_up(client);
    rig.settle();
    assert_eq!(rig.turn.open(), 1, "what is being dialed");
    rig.turn.begin(rig.io.clock());
    let until = rig.io.clock().ms().plus(30_000);
    rig.turn.begin_drain(&mut rig.io, until);
    rig.turn.end(&mut rig.io);
    assert!(rig.turn.is_drained());
    assert_eq!(rig.turn.wait(), Wait::Forever);
}

/// Lets the first request wait, and answers it with the second, whose reply waits behind it.
#[derive(Default)]
struct Pair {
    first: Option<Later>,
}

impl Service for Pair {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn on_frame(&mut self, _conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        let Some(first) = self.first.take() else {
            let (later, replied) = reply.defer();
            self.first = later.ok();
            return replied;
        };
        let replied = reply.send(frame.payload());
        cx.answer(first, frame.payload());
        replied
    }
}

/// With the last open request the limit for what may be queued fell below what was, and the next word, here that of
/// a drain, ended the connection as a slow consumer.
#[test]
fn what_is_queued_when_the_last_request_ends_leaves_room_for_a_word() {
    let mut rig = Rig::with(Pair::default, config(64 << 20, limits()), Weather::calm());
    let client = rig.connect(Capacity { down: 6_000, ..WIDE });
    rig.send(client, &hello());
    let welcome = rig.receive_all(client);
    let large = frame(ECHO, &vec![b'g'; 1_000_000]);
    rig.send(client, &[frame(ECHO, b"wait"), large.clone()].concat());
    rig.settle();
    rig.turn.begin(rig.io.clock());
    let until = rig.io.clock().ms().plus(60_000);
    rig.turn.begin_drain(&mut rig.io, until);
    rig.turn.end(&mut rig.io);
    let got = rig.receive_all(client);
    assert!(
        got.starts_with(&[large.clone(), large.clone()].concat()),
        "{} of {} bytes",
        got.len(),
        2 * large.len()
    );
    assert_eq!(&got[2 * large.len()..][..2], [0x40, 0x05], "GOAWAY");
    assert_eq!((&welcome[..2], rig.turn.open()), (&[0x40, 0x03][..], 1), "it is welcome, and goes by itself");
}

/// Sends every request on to the first who said HELLO.
#[derive(Default)]
struct Herald {
    first: Option<ConnId>,
}

impl Service for Herald {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn on_hello(&mut self, _conn: &mut (), _hello: &Hello<'_>, cx: &mut Cx<'_>) -> Welcomed {
        self.first.get_or_insert(cx.id());
        Welcomed::Anonymous
    }

    fn on_frame(&mut self, _conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        if let Some(first) = self.first {
            cx.message(first, &Message::new("news", frame.payload())).expect("there is room");
        }
        reply.send(b"sent")
    }
}

/// What did not fit behind the queue of a peer that was gone stayed in the loop, and left with the next one's replies.
#[test]
fn a_message_to_a_peer_that_is_gone_reaches_nobody_else() {
    let framing = Framing::frames(10_000);
    let base = TurnConfig::alone(10, vec![ListenerConfig::new(framing)]);
    let mut rig = Rig::with(Herald::default, TurnConfig { limits: limits(), ..base }, Weather::calm());
    let gone = rig.connect(WIDE);
    rig.send(gone, &hello());
    let here = rig.connect(WIDE);
    // More than may be queued, so that the last of it is written at once.
    rig.io.reset(gone);
    rig.send(here, &frame(ECHO, &[b'n'; 9_000]).repeat(6));
    rig.io.deliver_all();
    let events = rig.io.poll();
    rig.turn.begin(rig.io.clock());
    // That the other one is gone is told a turn later.
    for (token, ready) in events.into_iter().filter(|(token, _)| token.slot == 1) {
        rig.turn.handle_event(&mut rig.io, token, ready);
    }
    rig.turn.end(&mut rig.io);
    rig.send(here, &frame(ECHO, b""));
    assert_eq!(rig.receive_all(here), frame(ECHO, b"sent").repeat(7));
    assert_eq!(rig.figures().closes(CloseReason::Reset), 1);
}
