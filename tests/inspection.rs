//! Questions to a loop about its connections: answered in bounded pieces, between everything else, and never twice at
//! once.
//!
//! The loop is driven by hand, so that turns can be counted: a turn that looked at more slots than it may would be done
//! earlier.

mod support;

use std::sync::Arc;
use support::client::{ECHO, frame};
use support::hand::{PEER, Rig};
use support::parking::Parking;
use tidegate::CloseReason;
use tidegate::base::limits::{INSPECTED_MAX, INSPECTED_PER_TURN, PAYLOAD_BYTES_DEFAULT};
use tidegate::mailbox::{Awaited, By, Command, Fate, Happened, Mailbox, NotAsked, Only, Question, Report};
use tidegate::metrics::Gauge;
use tidegate::service::Router;
use tidegate::session::Framing;
use tidegate::turn::{ListenerConfig, TurnConfig, Wait};

/// A loop with the embedded routes, and where it is asked.
fn rig(connections: u32, pipe_bytes: usize) -> (Rig<Router>, Arc<Mailbox>) {
    let listener = ListenerConfig::new(Framing::frames(PAYLOAD_BYTES_DEFAULT));
    let mut config = TurnConfig::alone(connections, vec![listener]);
    // All of them come from one address.
    config.limits.per_address = None;
    let mailbox = Arc::clone(&config.mailbox);
    (Rig::new(config, pipe_bytes, Router::embedded), mailbox)
}

fn ranking(by: By, limit: usize) -> Question {
    Question::Connections { by, limit, only: Only::default() }
}

/// Turns until there is a report: how many, and what it says.
fn report(rig: &mut Rig<Router>, awaited: &Awaited) -> (u32, Report) {
    for turns in 0..1_000 {
        match awaited.take() {
            Fate::Answered(report) => return (turns, report),
            Fate::Waiting => {
                assert_eq!(rig.turn.wait(), Wait::Not, "the loop works on it, and does not wait");
            }
            Fate::Dropped => panic!("the question was dropped"),
        }
        rig.one_turn();
    }
    panic!("no report in 1,000 turns");
}

fn slots(report: &Report) -> (u64, Vec<u32>) {
    match report {
        Report::Connections { matching, first } => (*matching, first.iter().map(|one| one.id.slot).collect()),
        other @ (Report::Connection(_) | Report::Closed { .. }) => panic!("{other:?}"),
    }
}

#[test]
fn many_connections_are_looked_at_over_many_turns_and_traffic_goes_on() {
    let connections = 10_000;
    let (mut rig, mailbox) = rig(connections, 256);
    for at in 0..connections as usize {
        assert_eq!(rig.connect(usize::MAX), at);
    }
    // The larger, the more they have sent; and one that is the largest, in the middle.
    for at in [7_u32, 5_000, 9_999] {
        rig.send(at as usize, &frame(ECHO, &vec![b'x'; at as usize % 100]));
    }
    let awaited = mailbox.ask(ranking(By::Bytes, 3)).expect("nobody asks");
    let want = connections.div_ceil(INSPECTED_PER_TURN);
    for turn in 1..want {
        rig.arrive(1, &frame(ECHO, b"beside"));
        rig.one_turn();
        assert_eq!(
            rig.taken(1),
            frame(ECHO, b"beside").len(),
            "turn {turn}: a request is answered in its turn"
        );
        assert!(matches!(awaited.take(), Fate::Waiting), "turn {turn} of {want}: too many at once");
        assert_eq!(rig.turn.wait(), Wait::Not);
    }
    rig.one_turn();
    let Fate::Answered(answer) = awaited.take() else { panic!("{want} turns are enough") };
    // The one that was answered beside has the most, then 99 bytes of payload, then 7; 5,000 has sent an empty one.
    assert_eq!(slots(&answer), (connections.into(), vec![1, 9_999, 7]));
    assert_eq!(rig.turn.wait(), Wait::Forever, "nothing is left to do");
}

#[test]
fn rankings_and_filters() {
    let (mut rig, mailbox) = rig(200, 1 << 20);
    for at in 0..150 {
        // The last ones' sockets take nothing.
        assert_eq!(rig.connect(if at < 148 { usize::MAX } else { 0 }), at);
        rig.pass(2, 1);
    }
    rig.send(3, &frame(ECHO, &[1; 5_000]));
    rig.send(148, &frame(ECHO, &[1; 3_000]));
    rig.send(149, &frame(ECHO, &[1; 400_000]));
    let only = |state, paused, listener| Only { state, paused, listener };
    let all = only(None, false, None);
    #[rustfmt::skip]
    let table = [
        ("by bytes",         By::Bytes,  2,          all,                                       150, vec![149, 3]),
        ("by queued",        By::Queued, 2,          all,                                       150, vec![149, 148]),
        ("the oldest",       By::Age,    3,          all,                                       150, vec![0, 1, 2]),
        ("none wanted",      By::Age,    0,          all,                                       150, vec![]),
        ("at most so many",  By::Age,    usize::MAX, all,                                       150, (0..100).collect()),
        ("serving",          By::Age,    1,          only(Some(Gauge::Serving), false, None),   150, vec![0]),
        ("lingering",        By::Age,    1,          only(Some(Gauge::Lingering), false, None), 0,   vec![]),
        ("paused",           By::Age,    5,          only(None, true, None),                    1,   vec![149]),
        ("of this listener", By::Age,    1,          only(None, false, Some(0)),                150, vec![0]),
        ("dialed",           By::Age,    1,          only(None, false, Some(1)),                0,   vec![]),
    ];
    assert_eq!(INSPECTED_MAX, 100, "the table counts on it");
    for (name, by, limit, only, matching, want) in table {
        let awaited = mailbox.ask(Question::Connections { by, limit, only }).expect("nobody asks");
        assert_eq!(slots(&report(&mut rig, &awaited).1), (matching, want), "case: {name}");
    }
}

#[test]
fn one_connection_in_detail() {
    let (mut rig, mailbox) = rig(4, 1 << 20);
    let pipe = rig.connect(100);
    rig.pass(1_500, 100);
    let sent = frame(ECHO, &[7; 300_000]);
    rig.send(pipe, &sent);
    rig.pass(20, 10);
    let token = rig.io.pipes[pipe].token.expect("it is there");
    let awaited = mailbox.ask(Question::Connection(token)).expect("nobody asks");
    let Report::Connection(Some((one, events))) = report(&mut rig, &awaited).1 else { panic!("it is there") };
    assert_eq!((one.address, one.listener, one.state), (PEER.into(), 0, Gauge::Serving));
    let now_ms = rig.io.clock.now().whole_ms();
    assert_eq!((one.opened_ms, one.idle_ms), (now_ms - 1_520, 20));
    assert_eq!((one.bytes_in, one.bytes_out, one.messages_in), (sent.len() as u64, 100, 1));
    assert_eq!(one.queued_bytes as usize, sent.len() - 100);
    let happened: Vec<_> = events.iter().map(|event| (event.what, event.number)).collect();
    let queued = one.queued_bytes;
    assert_eq!(
        happened,
        [(Happened::Accepted, 0), (Happened::OutputQueued, queued), (Happened::PausedOutput, queued)]
    );
    let gone = tidegate::base::Token { generation: token.generation + 1, ..token };
    let awaited = mailbox.ask(Question::Connection(gone)).expect("nobody asks");
    assert!(matches!(report(&mut rig, &awaited).1, Report::Connection(None)));
}

/// Thousands who ask at once: the loop hears of one.
#[test]
fn a_flood_of_questions_is_refused_and_costs_the_loop_nothing() {
    let (mut rig, mailbox) = rig(3_000, 256);
    (0..3_000).for_each(|at| assert_eq!(rig.connect(usize::MAX), at));
    let awaited = mailbox.ask(ranking(By::Age, 1)).expect("nobody asks");
    rig.one_turn();
    assert!(!mailbox.is_rung());
    for _ in 0..5_000 {
        assert_eq!(mailbox.ask(ranking(By::Age, 1)).err(), Some(NotAsked::Busy));
    }
    assert!(!mailbox.is_rung() && mailbox.depths() == (0, 0), "nothing was left, nobody was woken");
    assert!(mailbox.post(Command::Publish("x".into())).is_ok(), "questions take no room from commands");
    assert_eq!(slots(&report(&mut rig, &awaited).1), (3_000, vec![0]));
    mailbox.ask(ranking(By::Age, 1)).expect("the first is answered");
}

#[test]
fn who_has_gone_is_given_up() {
    let (mut rig, mailbox) = rig(5_000, 256);
    (0..5_000).for_each(|at| assert_eq!(rig.connect(usize::MAX), at));
    let awaited = mailbox.ask(ranking(By::Age, 1)).expect("nobody asks");
    rig.one_turn();
    assert_eq!(rig.turn.wait(), Wait::Not);
    drop(awaited);
    rig.one_turn();
    assert_eq!(rig.turn.wait(), Wait::Forever, "nobody wants to know any more");
    mailbox.ask(ranking(By::Age, 1)).expect("it was given up");
}

/// A question that comes with a drain, or finds the loop gone.
#[test]
fn a_loop_that_ends_leaves_nobody_waiting() {
    let (mut rig, mailbox) = rig(3_000, 256);
    (0..2_500).for_each(|at| assert_eq!(rig.connect(usize::MAX), at));
    let awaited = mailbox.ask(ranking(By::Age, 1)).expect("nobody asks");
    mailbox.post(Command::Drain { grace: std::time::Duration::from_secs(1) }).expect("there is room");
    let (_, answer) = report(&mut rig, &awaited);
    let (matching, first) = slots(&answer);
    assert!(matching <= 2_500 && first.len() <= 1, "{matching} {first:?}");
    rig.pass(5_000, 500);
    assert!(rig.turn.is_drained());
    let closed = mailbox.ask(Question::Closed { limit: 2, reason: None }).expect("nobody asks");
    let Report::Closed { ends, .. } = report(&mut rig, &closed).1 else { panic!("what was asked for") };
    assert!(ends.len() == 2 && ends.iter().all(|end| end.why == CloseReason::Drained), "{ends:?}");
    let unanswered = mailbox.ask(ranking(By::Age, 1)).expect("nobody asks");
    drop(rig);
    assert!(matches!(unanswered.take(), Fate::Dropped));
    assert_eq!(mailbox.ask(ranking(By::Age, 1)).err(), Some(NotAsked::Over));
}

/// What it waited for when its end was decided is told, and not what was left of that when it was closed.
#[test]
fn an_end_is_told_as_it_was_decided() {
    let (mut rig, mailbox) = rig(4, 1 << 20);
    let pipe = rig.connect(50);
    rig.pass(100, 100);
    rig.send(pipe, &frame(ECHO, &[7; 300_000]));
    rig.pass(31_000, 1_000);
    let (other, bad) = (rig.connect(usize::MAX), [frame(ECHO, b"good"), vec![0xFF; 64]].concat());
    rig.send(other, &bad);
    rig.end(other);
    rig.pass(10, 10);
    let asked = mailbox.ask(Question::Closed { limit: 10, reason: None }).expect("nobody asks");
    let Report::Closed { ends, events } = report(&mut rig, &asked).1 else { panic!("what was asked for") };
    let [wrong, stalled] = &ends[..] else { panic!("two have ended: {ends:?}") };
    assert_eq!(
        (wrong.why, wrong.last.messages_in, wrong.last.bytes_in),
        (CloseReason::TooLarge, 1, bad.len() as u64)
    );
    assert!(wrong.words.as_str().contains("limit"), "{}", wrong.words);
    assert_eq!((stalled.why, stalled.last.state), (CloseReason::WriteStall, Gauge::Serving));
    assert_eq!(stalled.last.queued_bytes as usize, frame(ECHO, &[7; 300_000]).len() - 50);
    assert!(stalled.last.pauses.has(tidegate::session::Pause::Output));
    let of = |end: &tidegate::mailbox::Closed| -> Vec<Happened> {
        let token = tidegate::base::Token { generation: end.last.id.generation, slot: end.last.id.slot };
        events.iter().filter(|event| event.token == token).map(|event| event.what).collect()
    };
    use Happened::{Accepted, Closed, Flushing, Lingering, OutputQueued, PausedOutput, Refused};
    assert_eq!(of(stalled), [Accepted, OutputQueued, PausedOutput, Closed]);
    assert_eq!(of(wrong), [Accepted, Refused, Flushing, Lingering, Closed]);
}

/// Requests that are open when a connection is given up are told, though they were abandoned on the way.
#[test]
fn open_requests_are_told_with_the_end() {
    let listener = ListenerConfig::new(Framing::frames(PAYLOAD_BYTES_DEFAULT));
    let config = TurnConfig::alone(4, vec![listener]);
    let mailbox = Arc::clone(&config.mailbox);
    let parking = Parking::default();
    let service = parking.clone();
    let mut rig = Rig::new(config, 4096, move || service.clone());
    let pipe = rig.connect(usize::MAX);
    rig.send(pipe, &[frame(ECHO, b"1"), frame(ECHO, b"2")].concat());
    rig.reset(pipe);
    let awaited =
        mailbox.ask(Question::Closed { limit: 1, reason: Some(CloseReason::Reset) }).expect("nobody asks");
    rig.settle();
    let Fate::Answered(Report::Closed { ends, .. }) = awaited.take() else { panic!("what was asked for") };
    assert_eq!(ends[0].last.open_requests, 2);
    assert_eq!(parking.count(), 2);
}
