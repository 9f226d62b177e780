//! Bugs of deferred requests and of replies that wait behind them, each as a short story of its own.

mod support;

use std::time::Duration;
use support::clerk::{Clerk, Drawer, large, numbered};
use support::client::{EXT, GOAWAY, frame};
use support::hand::{Clock, Rig};
use tidegate::base::limits::{BUDGET_BYTES_MIN, Limits};
use tidegate::base::{CloseReason, Time};
use tidegate::metrics::{Counter, Outcome};
use tidegate::service::{AfterPanic, Cx, Frame, Peer, Replied, Reply, Service, Welcomed};
use tidegate::session::Framing;
use tidegate::turn::{ListenerConfig, TurnConfig};
use tidegate::wire::{Hello, Status};

const WIDE: usize = usize::MAX;
const PIPE_BYTES: usize = 8 << 20;
const MIB: usize = 1 << 20;

fn config(framing: Framing, limits: Limits) -> TurnConfig {
    TurnConfig { limits, budget_bytes: 64 << 20, ..TurnConfig::alone(64, vec![ListenerConfig::new(framing)]) }
}

fn rig(framing: Framing, limits: Limits) -> (Rig<Clerk>, Drawer) {
    clerks(config(framing, limits))
}

fn clerks(config: TurnConfig) -> (Rig<Clerk>, Drawer) {
    let (clock, drawer) = (Clock::new(), Drawer::default());
    let clerk = Clerk::new(&clock, &drawer);
    (Rig::at(clock, config, PIPE_BYTES, clerk), drawer)
}

/// A request with a correlation.
fn correlated(id: u8, payload: &[u8]) -> Vec<u8> {
    frame(EXT | 1, &[&[3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, id], payload].concat())
}

/// Where headers leave no place for a failure, the reply behind a missing one was taken for it by the client.
#[test]
fn on_a_bare_listener_nothing_follows_a_missing_reply() {
    let limits = Limits { request_deadline: Duration::from_secs(1), ..Limits::default() };
    for (at, name) in ["refused later", "refused at once", "dropped"].iter().enumerate() {
        let (mut rig, drawer) = rig(Framing::bare_frames(1000), limits.clone());
        let client = rig.connect(WIDE);
        let second = if at == 1 { frame(2, b"fB") } else { frame(2, b"dB") };
        rig.send(client, &[frame(1, b"dA"), second, frame(3, b"dC"), frame(4, b"eD")].concat());
        match at {
            0 => drawer.find(b"B").fail(Status::OVERLOADED, "no"),
            1 => {}
            _ => drop(drawer.find(b"B")),
        }
        rig.settle();
        assert_eq!(rig.taken(client), 0, "{name}: A is still open");
        drawer.find(b"A").send(b"A");
        rig.settle();
        if at != 1 {
            drawer.find(b"C").send(b"C");
        }
        rig.settle();
        assert_eq!(rig.take(client), frame(1, b"A"), "{name}");
        rig.end(client);
        assert_eq!(rig.closes(CloseReason::RequestFailed), 1, "{name}");
        rig.assert_rest(0);
    }
}

/// As above; what was due before had not left when the connection was cut for a deadline.
#[test]
fn on_a_bare_listener_what_is_due_leaves_before_the_end() {
    let limits = Limits { request_deadline: Duration::from_secs(1), ..Limits::default() };
    let (mut rig, drawer) = rig(Framing::bare_frames(1000), limits);
    let client = rig.connect(5);
    rig.send(client, &[frame(1, b"eA"), frame(2, b"dB"), frame(3, b"dC")].concat());
    rig.pass(1_100, 10);
    rig.make_room(client, WIDE);
    rig.settle();
    assert_eq!(rig.take(client), frame(1, b"eA"));
    drawer.find(b"C").send(b"C");
    rig.end(client);
    assert_eq!((rig.taken(client), rig.closes(CloseReason::RequestFailed)), (0, 1));
    assert_eq!(rig.figures().counter(Counter::RepliesUnsent), 0);
    rig.assert_rest(0);
}

/// A service that panics and is made anew at each panic; `d` is deferred.
struct Fragile(Clerk);

impl Service for Fragile {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn on_frame(&mut self, conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        self.0.on_frame(conn, frame, reply, cx)
    }

    fn on_hello(&mut self, _conn: &mut (), _hello: &Hello<'_>, _cx: &mut Cx<'_>) -> Welcomed {
        panic!("told to panic")
    }

    fn on_panic(&mut self) -> AfterPanic {
        AfterPanic::Rebuild
    }
}

/// The connection had said its last words, and its requests were open still: their answers followed the GOAWAY.
#[test]
fn nothing_follows_the_last_words_of_a_service_that_begins_anew() {
    let (clock, drawer) = (Clock::new(), Drawer::default());
    let mut clerk = Clerk::new(&clock, &drawer);
    let config = config(Framing::frames(1000), Limits::default());
    let mut rig = Rig::at(clock, config, PIPE_BYTES, move || Fragile(clerk()));
    let client = rig.connect(WIDE);
    rig.send(client, &[frame(1, b"dA"), frame(1, b"eB"), frame(1, b"dC")].concat());
    let other = rig.connect(WIDE);
    rig.send(other, &frame(1, b"p"));
    assert_eq!(rig.turn.leases_out(), 0, "held replies are given up with the connection");
    drawer.find(b"A").send(b"A");
    drawer.find(b"C").send(b"C");
    rig.settle();
    let told = rig.take(client);
    assert_eq!(told[..2], GOAWAY.to_be_bytes());
    assert_eq!(told.len(), 10 + usize::from(told[5]), "and nothing behind it");
    rig.end(client);
    rig.end(other);
    let figures = rig.figures();
    assert_eq!((figures.outcome(Outcome::Abandoned), figures.counter(Counter::LateAnswers)), (2, 2));
    rig.assert_rest(0);
}

/// Where everybody must say HELLO, a handler of it that panicked let in whatever came behind it in the same read.
#[test]
fn a_panic_lets_nobody_in() {
    let (clock, drawer) = (Clock::new(), Drawer::default());
    let mut clerk = Clerk::new(&clock, &drawer);
    let listener = ListenerConfig { wants_hello: true, ..ListenerConfig::new(Framing::frames(1000)) };
    let config = TurnConfig::alone(4, vec![listener]);
    let mut rig = Rig::at(clock, config, PIPE_BYTES, move || Fragile(clerk()));
    let client = rig.connect(WIDE);
    let hello = frame(0x4002, &[1, 0, 1, b'a', 0, 0]);
    rig.send(client, &[hello, frame(1, b"eSECRET")].concat());
    let told = rig.take(client);
    assert_eq!(told[..2], GOAWAY.to_be_bytes(), "{told:?}");
    assert_eq!(rig.figures().counter(Counter::Started), 0);
}

/// A request's deadline was taken for that of the next one, whoever sent it, and also behind a panic.
#[test]
fn a_deadline_is_that_of_one_request() {
    for first in [b"e", b"P"] {
        let (mut rig, drawer) = rig(Framing::frames(1000), Limits::default());
        let (client, other) = (rig.connect(WIDE), rig.connect(WIDE));
        // 100 ms.
        let hasty = frame(EXT | 1, &[&[2, 2, 0, 0, 0, 0, 0, 100][..], first].concat());
        rig.send(client, &[hasty, frame(1, b"dA")].concat());
        rig.send(other, &frame(1, b"dB"));
        rig.pass(200, 10);
        assert!(rig.taken(client) > 0, "the first is answered, or failed");
        rig.pass(5_000, 10);
        assert_eq!((rig.taken(client), rig.taken(other)), (0, 0), "their own deadline is far");
        drawer.find(b"A").send(b"A");
        drawer.find(b"B").send(b"B");
        rig.settle();
        assert_eq!((rig.take(client), rig.take(other)), (frame(1, b"A"), frame(1, b"B")));
    }
}

/// The reply that all others waited for was refused for what waited for it.
#[test]
fn the_reply_in_front_is_not_refused_for_those_behind_it() {
    let (mut rig, drawer) = rig(Framing::frames(1 << 20), Limits::default());
    for room in [WIDE, 100] {
        let client = rig.connect(room);
        rig.send(client, &[frame(1, b"dA"), frame(1, &numbered(b'l', 1 << 20))].concat());
        drawer.find(b"A").send(&large(MIB));
        rig.settle();
        rig.make_room(client, WIDE);
        rig.settle();
        assert_eq!(rig.taken(client), 2 * (10 + MIB), "a socket that takes {room} bytes");
    }
    rig.assert_rest(2);
}

/// Answers of one turn were refused for those before them, which the socket had not even been offered.
#[test]
fn many_answers_in_one_turn_are_not_refused_to_a_peer_that_takes_them() {
    const BYTES: usize = 100_000;
    let (mut rig, drawer) = rig(Framing::frames(1 << 20), Limits::default());
    let client = rig.connect(WIDE);
    (0..40).for_each(|id| rig.send(client, &correlated(id, &[b'd', id])));
    (0..40).for_each(|id| drawer.find(&[id]).send(&large(BYTES)));
    rig.settle();
    assert_eq!(rig.taken(client), 40 * (BYTES + 22));
    rig.assert_rest(1);
}

/// Answers that were queued moved to a larger buffer with the next one, and it was asked only whether that one had
/// room: a peer that took everything was closed for lack of memory.
#[test]
fn answers_of_one_turn_may_exceed_the_output_budget() {
    const BYTES: u32 = 172_000;
    let config = config(Framing::frames(1 << 20), Limits::default());
    let (mut rig, _) = clerks(TurnConfig { budget_bytes: BUDGET_BYTES_MIN, ..config });
    let client = rig.connect(WIDE);
    rig.send(client, &frame(1, &numbered(b'L', BYTES)).repeat(16));
    rig.settle();
    assert_eq!(rig.taken(client), 16 * (BYTES as usize + 10));
    rig.assert_rest(1);
}

/// One that a socket could never be offered as a whole was held, and cost its connection when its turn came.
#[test]
fn what_is_too_large_to_be_held_fails_in_its_place() {
    for is_deferred in [false, true] {
        let (mut rig, drawer) = rig(Framing::frames(1 << 20), Limits::default());
        let client = rig.connect(WIDE);
        let second = if is_deferred { b"dB".to_vec() } else { numbered(b'l', 5 << 20) };
        rig.send(client, &[frame(1, b"dA"), frame(1, &second), frame(1, b"eC")].concat());
        if is_deferred {
            drawer.find(b"B").send(&large(5 << 20));
            rig.settle();
        }
        assert!(rig.leased() < 100_000, "{} bytes are held", rig.leased());
        drawer.find(b"A").send(b"A");
        rig.settle();
        let got = rig.take(client);
        assert_eq!(got[..11], frame(1, b"A"));
        assert_eq!(got[11..13], [0x40, 4], "an ERROR in the place of B");
        assert_eq!(got[17..19], [0, 10], "INTERNAL");
        assert!(got.ends_with(&frame(1, b"eC")));
        let figures = rig.figures();
        assert_eq!((figures.outcome(Outcome::Answered), figures.outcome(Outcome::Failed)), (2, 1));
        rig.assert_rest(1);
    }
}

/// The end of a pause counted the pause twice, so that a silent peer was kept for as long again.
#[test]
fn silence_after_a_pause_is_counted_from_its_end() {
    let limits = Limits { open_requests: 1, idle: Some(Duration::from_secs(5)), ..Limits::default() };
    let (mut rig, drawer) = rig(Framing::frames(1000), limits);
    let client = rig.connect(WIDE);
    rig.send(client, &frame(1, b"dA"));
    rig.pass(20_000, 100);
    drawer.find(b"A").send(b"A");
    rig.settle();
    assert_eq!(rig.take(client), frame(1, b"A"));
    rig.pass(4_900, 100);
    assert_eq!(rig.taken(client), 0);
    rig.pass(200, 100);
    assert_eq!(rig.take(client)[..2], GOAWAY.to_be_bytes());
}

/// A peer that was gone was said to lack the replies that were held for it.
#[test]
fn a_peer_that_is_gone_lacks_nothing_that_was_held() {
    for ends_first in [false, true] {
        let (mut rig, drawer) = rig(Framing::frames(1000), Limits::default());
        let client = rig.connect(WIDE);
        rig.send(client, &[frame(1, b"dA"), frame(1, b"eB")].concat());
        if ends_first {
            rig.end(client);
        }
        rig.reset(client);
        assert_eq!(rig.closes(CloseReason::PeerClosed), u64::from(ends_first));
        assert_eq!(rig.figures().counter(Counter::RepliesUnsent), 0, "ends first: {ends_first}");
        drop(drawer.find(b"A"));
        rig.settle();
        rig.assert_rest(0);
    }
}

/// Replies that had been held and then queued were not among those that a forced end loses.
#[test]
fn replies_that_were_held_count_when_they_are_lost() {
    let limits = Limits { write_stall: Duration::from_secs(1), ..Limits::default() };
    let (mut rig, drawer) = rig(Framing::frames(1000), limits);
    let client = rig.connect(0);
    rig.send(client, &[frame(1, b"dA"), frame(1, b"eB"), frame(1, b"eC")].concat());
    drawer.find(b"A").send(b"A");
    rig.settle();
    rig.pass(1_100, 10);
    assert_eq!(rig.closes(CloseReason::WriteStall), 1);
    assert_eq!(rig.figures().counter(Counter::RepliesUnsent), 3);
    assert!(rig.io.clock.now() > Time::ZERO);
    rig.assert_rest(0);
}
