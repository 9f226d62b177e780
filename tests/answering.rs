//! Connections that are read no more and whose requests are still open: each is answered, or told that it was not, and
//! the last words come behind it.

mod support;

use std::time::Duration;
use support::clerk::{Clerk, Drawer, large};
use support::client::{ERROR, GOAWAY, PROTOCOL, frame};
use support::extended::{OUTCOME_UNKNOWN, bare_hello, correlated};
use support::hand::{Clock, Rig};
use tidegate::base::CloseReason;
use tidegate::base::limits::{FLUSH_GRACE, Limits};
use tidegate::metrics::{Counter, Outcome};
use tidegate::session::Framing;
use tidegate::turn::{ListenerConfig, TurnConfig};

const WIDE: usize = usize::MAX;
const SECOND: u64 = 1_000;

fn rig(limits: Limits) -> (Rig<Clerk>, Drawer) {
    let listener = ListenerConfig::new(Framing::frames(1 << 20));
    let config = TurnConfig { limits, budget_bytes: 64 << 20, ..TurnConfig::alone(64, vec![listener]) };
    let (clock, drawer) = (Clock::new(), Drawer::default());
    let clerk = Clerk::new(&clock, &drawer);
    (Rig::at(clock, config, 4 << 20, clerk), drawer)
}

/// The header and the status of a control frame.
fn told(bytes: &[u8]) -> (u16, u16) {
    let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    (number(0), number(6))
}

/// An answer may take longer than any flush: what bounds the wait is the request's own deadline.
#[test]
fn a_half_closed_client_is_answered_for_as_long_as_its_requests_may_take() {
    let hour = Duration::from_secs(3600);
    let five = Duration::from_secs(5);
    let limits = Limits {
        request_deadline: hour,
        idle: Some(five),
        heartbeat: Some(five),
        frame_deadline: five,
        ..Limits::default()
    };
    let (mut rig, drawer) = rig(limits);
    let client = rig.connect(WIDE);
    rig.send(client, &bare_hello());
    rig.taken(client);
    rig.send(client, &[frame(1, b"dA"), correlated(1, 7, b"dB")].concat());
    rig.end(client);
    rig.pass(2 * FLUSH_GRACE.as_secs() * SECOND, SECOND);
    assert_eq!(
        (rig.turn.open(), rig.taken(client)),
        (1, 0),
        "ten minutes later, and nobody was asked anything"
    );
    drawer.find(b"B").send(b"B");
    rig.settle();
    assert_eq!(rig.take(client), correlated(1, 7, b"B"));
    drawer.find(b"A").send(b"A");
    rig.settle();
    assert_eq!((rig.take(client), rig.closes(CloseReason::PeerClosed)), (frame(1, b"A"), 1));
    rig.assert_rest(0);
}

#[test]
fn a_request_that_is_forgotten_is_told_of_and_the_end_follows() {
    let (mut rig, drawer) = rig(Limits::default());
    let client = rig.connect(WIDE);
    rig.send(client, &[frame(1, b"dA"), frame(1, b"eB")].concat());
    rig.end(client);
    rig.pass(31 * SECOND, SECOND);
    let got = rig.take(client);
    assert_eq!(told(&got), (ERROR, OUTCOME_UNKNOWN));
    assert!(got.ends_with(&frame(1, b"eB")));
    assert_eq!((rig.closes(CloseReason::PeerClosed), rig.figures().outcome(Outcome::TimedOut)), (1, 1));
    drawer.find(b"A").send(b"too late");
    rig.settle();
    assert_eq!(rig.figures().counter(Counter::LateAnswers), 1);
    rig.assert_rest(0);
}

/// Whoever broke the protocol is told so behind all that he is owed, however slowly he takes it; what he sends
/// meanwhile is not handled.
#[test]
fn the_last_words_come_behind_the_last_answer() {
    let (mut rig, drawer) = rig(Limits::default());
    let client = rig.connect(10);
    let mut broken = frame(1, b"eX");
    broken[6] ^= 1;
    rig.send(client, &[frame(1, b"dA"), frame(1, b"eB"), frame(1, b"dC"), broken].concat());
    rig.send(client, &frame(1, b"eY"));
    let seen = drawer.seen();
    drawer.find(b"C").send(&large(300_000));
    rig.settle();
    drawer.find(b"A").send(b"A");
    let mut got = Vec::new();
    for _ in 0..40 {
        rig.make_room(client, 10_000);
        rig.settle();
        got.extend(rig.take(client));
    }
    let replies = [frame(1, b"A"), frame(1, b"eB"), frame(1, &large(300_000))].concat();
    assert!(got.starts_with(&replies), "{} bytes", got.len());
    assert_eq!(told(&got[replies.len()..]), (GOAWAY, PROTOCOL));
    assert_eq!(got.len(), replies.len() + 10 + usize::from(got[replies.len() + 5]), "and nothing behind it");
    assert_eq!(drawer.seen(), seen);
    rig.end(client);
    assert_eq!(rig.closes(CloseReason::BadCrc), 1);
    rig.assert_rest(0);
}

#[test]
fn a_client_that_goes_away_while_it_is_waited_for_leaves_nothing() {
    for has_output in [false, true] {
        let (mut rig, drawer) = rig(Limits::default());
        let client = rig.connect(if has_output { 10 } else { WIDE });
        rig.send(client, &[frame(1, b"dA"), frame(1, b"dB"), frame(1, b"eC")].concat());
        rig.end(client);
        if has_output {
            drawer.find(b"A").send(&large(1_000));
            rig.settle();
        }
        rig.reset(client);
        assert_eq!(rig.turn.open(), 0);
        drawer.find(b"B").send(b"late");
        rig.settle();
        assert_eq!(rig.figures().counter(Counter::LateAnswers), 1);
        assert_eq!(rig.figures().counter(Counter::RepliesUnsent), 0, "output waits: {has_output}");
        if !has_output {
            drop(drawer.find(b"A"));
            rig.settle();
        }
        rig.assert_rest(0);
    }
}

#[test]
fn a_client_that_takes_nothing_while_it_is_waited_for_is_given_up() {
    let (mut rig, drawer) = rig(Limits { request_deadline: Duration::from_secs(600), ..Limits::default() });
    let client = rig.connect(0);
    rig.send(client, &[frame(1, b"dA"), frame(1, b"dB")].concat());
    rig.end(client);
    drawer.find(b"A").send(b"A");
    rig.settle();
    rig.pass(31 * SECOND, SECOND);
    assert_eq!((rig.turn.open(), rig.figures().counter(Counter::RepliesUnsent)), (0, 2));
    assert_eq!(rig.figures().outcome(Outcome::Abandoned), 1);
    drop(drawer.find(b"B"));
    rig.settle();
    rig.assert_rest(0);
}

/// A drain's grace bounds it too, whenever it begins.
#[test]
fn a_drain_ends_the_wait() {
    for is_draining_first in [true, false] {
        let (mut rig, drawer) = rig(Limits::default());
        let client = rig.connect(WIDE);
        rig.send(client, &frame(1, b"dA"));
        let drain = |rig: &mut Rig<Clerk>| {
            let now = rig.io.clock.now();
            rig.turn.begin(now);
            rig.turn.begin_drain(&mut rig.io, now.ms().plus(5_000));
            rig.turn.end(&mut rig.io);
            rig.settle();
        };
        if is_draining_first {
            drain(&mut rig);
            rig.end(client);
        } else {
            rig.end(client);
            drain(&mut rig);
        }
        rig.pass(4_900, 100);
        assert_eq!(rig.turn.open(), 1);
        rig.pass(200, 100);
        assert_eq!((rig.turn.open(), rig.figures().outcome(Outcome::Abandoned)), (0, 1));
        drop(drawer.find(b"A"));
        rig.settle();
        rig.assert_rest(0);
    }
}
