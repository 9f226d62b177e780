//! A running server is given something else to go by: whole or not at all, for who is there and for who comes.

mod support;

use proptest::prelude::*;
use std::any::Any;
use std::time::Duration;
use support::clerk::{Clerk, Drawer};
use support::client::{ECHO, ERROR, GOAWAY, IDLE, NO_ROUTE, OVERLOADED, TOO_LARGE, frame};
use support::hand::{Clock, Rig};
use support::serving::{Gate, Neighbour, Serving, builder};
use tidegate::base::limits::{LISTENER_FORMS_MAX, Limits, OPEN_REQUESTS_MAX, REARMED_PER_TURN};
use tidegate::server::{Keepalive, Listener, Reloaded};
use tidegate::service::{BuiltIn, Cx, Frame, Peer, Replied, Reply, Router, Service};
use tidegate::session::Framing;
use tidegate::turn::{Board, ListenerConfig, Terms, TurnConfig, Wait};
use tidegate::{Change, CloseReason, Error};

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

#[test]
fn limits_that_cannot_be_change_nothing() {
    let serving = Serving::of(
        builder().shards(2).max_connections(10).room_for(20).start(Router::embedded).expect("a server"),
    );
    let high = |bytes| limits(|limits| limits.output_high_bytes = bytes);
    #[rustfmt::skip]
    let table: &[(&str, Change, Option<&str>)] = &[
        ("no connections",         Change::new().max_connections(0),                         Some("the most connections is 0")),
        ("more than there is room", Change::new().max_connections(21),                       Some("between 1 and 20")),
        ("marks the wrong way",    Change::new().limits(high(1)),                            Some("low output watermark")),
        ("more than a quarter",    Change::new().limits(high(u32::MAX)),                     Some("high output watermark")),
        ("no open requests",       Change::new().limits(limits(|it| it.open_requests = 0)),  Some("open requests")),
        ("too many of them",       Change::new().limits(limits(|it| it.open_requests = OPEN_REQUESTS_MAX + 1)), Some("open requests")),
        ("no such listener",       Change::new().listener(2, "127.0.0.1:0"),                 Some("a listener's place")),
        ("no such route",          Change::new().listener(1, Listener::lines("").route(20_000)), Some("the route of lines")),
        ("a probe of no time",     Change::new().keepalive(Some(Keepalive { idle: Duration::ZERO, ..Keepalive::default() })), Some("keepalive")),
        ("one good, one bad",      Change::new().max_connections(5).listener(9, "127.0.0.1:0"), Some("a listener's place")),
        ("nothing",                Change::new(),                                            None),
    ];
    for (name, change, refused) in table {
        let before =
            (serving.handle.limits(), serving.handle.capacity(), serving.handle.change_figures().generation);
        match (serving.handle.apply(change.clone()), refused) {
            (Ok(applied), None) => {
                assert_eq!((applied.generation, applied.behind), (1, vec![]), "case: {name}");
            }
            (Err(error @ Error::Limit { .. }), Some(words)) => {
                assert!(error.to_string().contains(words), "case: {name}: {error}");
                let now = (
                    serving.handle.limits(),
                    serving.handle.capacity(),
                    serving.handle.change_figures().generation,
                );
                assert_eq!(before, now, "case: {name}");
            }
            (other, _) => panic!("case: {name}: {other:?}"),
        }
    }
    for how in [Reloaded::Applied, Reloaded::Refused, Reloaded::Unchanged, Reloaded::Refused] {
        serving.handle.count_reload(how);
    }
    let figures = serving.handle.change_figures();
    assert_eq!((figures.applied, figures.refused, figures.unchanged), (1, 2, 1));
    serving.end();
}

#[test]
fn the_most_connections_goes_up_and_down_and_closes_nobody() {
    let serving =
        Serving::of(builder().max_connections(1).room_for(3).start(Router::embedded).expect("a server"));
    let most = |most| serving.handle.apply(Change::new().max_connections(most)).expect("there is room");
    let mut first = serving.connect();
    first.echo(b"1");
    serving.connect().expect_goaway(OVERLOADED);
    most(3);
    let (mut second, mut third) = (serving.connect(), serving.connect());
    second.echo(b"2");
    third.echo(b"3");
    most(1);
    serving.connect().expect_goaway(OVERLOADED);
    [&mut first, &mut second, &mut third].into_iter().for_each(|client| client.echo(b"still"));
    assert_eq!((serving.handle.capacity().connections, serving.handle.connections()), (1, 3));
    drop((first, second, third));
    serving.wait_for_rest(0);
    serving.end();
}

#[test]
fn newcomers_go_by_the_new_listener_and_who_is_there_by_the_old() {
    let serving = Serving::embedded();
    let listener = |bytes| Change::new().listener(0, Listener::frames("").max_payload(bytes));
    let mut old = serving.connect();
    old.echo(b"old");
    serving.handle.apply(listener(10)).expect("it can be");
    let mut new = serving.connect();
    new.echo(&[1; 10]);
    old.echo(&[1; 11]);
    new.send(&frame(ECHO, &[1; 11]));
    new.expect_goaway(TOO_LARGE);
    // Its figures are the listener's, whatever it went by.
    serving.wait_for_rest(1);
    assert_eq!(serving.snapshot().listeners()[0].open, 1);
    assert_eq!(serving.snapshot().listeners()[0].accepted, 2);
    let shown = serving.handle.apply(Change::new().listener(0, Listener::frames("").wants_hello()));
    assert_eq!(shown.expect("it can be").generation, 2);
    let mut stranger = serving.connect();
    stranger.request(ECHO, b"no hello");
    assert_eq!(stranger.receive().header, GOAWAY);
    old.echo(b"needs none");
    // A listener that goes back to what it was needs nothing new, however often.
    for round in 0..600 {
        serving.handle.apply(listener(if round % 2 == 0 { 10 } else { 1 << 20 })).expect("both are known");
    }
    serving.connect().echo(&[1; 1000]);
    drop((old, stranger));
    serving.end();
}

/// A connection names what it goes by in a byte; what is beyond is refused, and all stays as it is.
#[test]
fn different_listeners_are_bounded() {
    let serving = Serving::embedded();
    let listener = |bytes| Change::new().listener(0, Listener::frames("").max_payload(bytes));
    // Two at the start, one for dialed connections.
    let left = LISTENER_FORMS_MAX - 3;
    for bytes in 0..u32::try_from(left).expect("a few") {
        serving.handle.apply(listener(bytes)).expect("there is room");
    }
    let full = serving.handle.apply(listener(100_000).max_connections(1)).expect_err("there is none");
    assert!(full.to_string().contains("different listeners since the start"), "{full}");
    assert!(full.to_string().contains("257") && full.to_string().contains("256"), "{full}");
    assert_ne!(serving.handle.capacity().connections, 1);
    let last = u32::try_from(left).expect("a few") - 1;
    serving.connect().echo(&vec![7; last as usize]);
    let mut client = serving.connect();
    client.send(&frame(ECHO, &vec![7; last as usize + 1]));
    client.expect_goaway(TOO_LARGE);
    drop(client);
    serving.end();
}

#[test]
fn a_loop_that_is_held_up_takes_it_when_it_goes_on() {
    let gate = Gate::default();
    let serving = Serving::gated(builder().shards(1), &gate);
    let mut held = serving.connect();
    held.request(ECHO, b"held");
    gate.wait_for_handler();
    let idle = Change::new().limits(limits(|limits| limits.idle = Some(Duration::from_millis(1))));
    let applied = serving.handle.apply(idle).expect("it is right");
    assert_eq!((applied.generation, applied.behind), (1, vec![0]));
    // One that comes behind it holds both.
    let applied = serving.handle.apply(Change::new().max_connections(9)).expect("it is right");
    assert_eq!((applied.generation, applied.behind), (2, vec![0]));
    gate.open();
    held.expect(ECHO, b"held");
    held.expect_goaway(IDLE);
    drop(held);
    serving.end();
}

/// What waits for a socket, for an answer, in a batch: a change meets all of it.
#[test]
fn changes_beside_traffic_disturb_nobody() {
    let serving = Serving::of(builder().shards(2).start(Router::embedded).expect("a server"));
    let neighbours: Vec<Neighbour> = (0..4).map(|_| Neighbour::of(serving.frames())).collect();
    for round in 0..200u32 {
        let limits = limits(|limits| {
            limits.output_high_bytes = 1024 + round % 3;
            limits.output_low_bytes = round % 1000;
            limits.open_requests = 1 + round % 5;
            limits.heartbeat = (round % 2 == 0).then_some(Duration::from_secs(20));
        });
        let change = Change::new().limits(limits).news(Router::embedded()).keepalive(None);
        let applied = serving.handle.apply(change).expect("it is right");
        assert_eq!((applied.generation, applied.behind), (u64::from(round) + 1, vec![]));
    }
    neighbours.into_iter().for_each(Neighbour::leave);
    serving.end();
}

#[test]
fn a_change_during_a_drain_and_behind_its_end_waits_for_nobody() {
    let serving = Serving::embedded();
    let mut client = serving.connect();
    client.echo(b"here");
    serving.handle.drain(Duration::from_secs(20));
    let handle = serving.handle.clone();
    let applied = handle.apply(Change::new().max_connections(5)).expect("it is right");
    assert!(applied.behind.is_empty());
    drop(client);
    assert!(serving.join().is_clean());
    let applied = handle.apply(Change::new().max_connections(6)).expect("it is right");
    assert_eq!((applied.generation, applied.behind), (2, vec![]));
}

/// Counts how often it was told, and panics at a word.
struct Hears(u64);

impl Service for Hears {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn on_reload(&mut self, news: &(dyn Any + Send + Sync), _cx: &mut Cx<'_>) {
        self.0 = *news.downcast_ref::<u64>().expect("what the test gives");
        assert_ne!(self.0, 13, "asked to");
    }

    fn on_frame(&mut self, _conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, _cx: &mut Cx<'_>) -> Replied {
        assert_ne!(frame.payload(), b"panic", "asked to");
        reply.send(self.0.to_string().as_bytes())
    }

    fn on_panic(&mut self) -> tidegate::service::AfterPanic {
        tidegate::service::AfterPanic::Rebuild
    }
}

#[test]
fn services_hear_the_news_and_so_do_those_that_are_made_anew() {
    let serving = Serving::of(builder().shards(1).start(|| Hears(0)).expect("a server"));
    let says = |want: &str| {
        let mut client = serving.connect();
        client.request(1, b"");
        client.expect(1, want.as_bytes());
    };
    says("0");
    serving.handle.apply(Change::new().news(7u64)).expect("it is right");
    says("7");
    let mut client = serving.connect();
    client.request(1, b"panic");
    assert_eq!(client.receive().header, ERROR);
    says("7");
    // One that can't bear it costs no more than any other panic.
    serving.handle.apply(Change::new().news(13u64)).expect("it is right");
    serving.handle.apply(Change::new().news(8u64)).expect("it is right");
    says("8");
    drop(client);
    serving.end();
}

#[test]
fn labels_that_are_no_longer_so_count_nothing() {
    let serving = Serving::of(
        builder()
            .shards(1)
            .label_routes(1..=1, "echo")
            .label_routes(3..=3, "flip")
            .start(Router::embedded)
            .expect("a server"),
    );
    let mut router = Router::new();
    router.add(1..=1, BuiltIn::Echo).expect("it is free");
    let change = Change::new().news(router).labels([(1..=1, "echo"), (3..=4, "flip")]);
    serving.handle.apply(change).expect("it is right");
    let mut client = serving.connect();
    client.echo(b"there");
    client.request(3, b"gone");
    client.expect_error(NO_ROUTE);
    assert_eq!(serving.handle.capacity().labels.len(), 2, "figures keep their places");
    drop(client);
    serving.end();
}

/// More connections than a turn looks at, none of which had a deadline: all are found, and no turn looks at more.
#[test]
fn deadlines_that_begin_to_count_are_armed_some_a_turn() {
    let many = REARMED_PER_TURN as usize * 2 + 100;
    let clock = Clock::new();
    let board = std::sync::Arc::new(Board::default());
    let listener = ListenerConfig::new(Framing::frames(1000));
    let most = u32::try_from(many).expect("a few");
    let config = TurnConfig { board: board.clone(), ..TurnConfig::alone(most, vec![listener]) };
    let mailbox = config.mailbox.clone();
    let mut rig = Rig::at(clock.clone(), config, 64, Clerk::new(&clock, &Drawer::default()));
    for _ in 0..many {
        rig.connect(usize::MAX);
    }
    rig.settle();
    assert_eq!((rig.turn.open(), rig.turn.wait()), (many, Wait::Forever));
    let terms = |generation, idle| Terms {
        generation,
        limits: limits(|limits| limits.idle = idle),
        later: Vec::new(),
        current: vec![0],
        labels: std::sync::Arc::default(),
        sampling: tidegate::server::Sampling::default(),
        news: None,
    };
    board.put(std::sync::Arc::new(terms(1, Some(Duration::from_secs(60)))));
    mailbox.knock();
    for turn in 1..=3 {
        assert_eq!(rig.turn.wait(), Wait::Not, "turn {turn}");
        rig.one_turn();
        assert_eq!(board.taken(), 1);
    }
    assert!(matches!(rig.turn.wait(), Wait::Until(_)));
    rig.pass(10_000, 500);
    assert_eq!(rig.turn.open(), many);
    // Shorter than what is armed already, and over already: none waits for the old moment.
    board.put(std::sync::Arc::new(terms(2, Some(Duration::from_secs(1)))));
    mailbox.knock();
    rig.settle();
    // And the time that they are read behind their end.
    rig.pass(3_000, 50);
    assert_eq!(rig.closes(CloseReason::Idle), many as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever limits a server is given one after the other: it has the last that were right, whole, as one that was
    /// started with them has, or it refuses what that one would refuse.
    #[test]
    fn a_changed_server_is_as_one_that_was_started_so(
        rounds in proptest::collection::vec((0u32..3000, 0u32..3000, 0u32..6000, 0u64..5, 0u64..5, 0u32..40), 1..8)
    ) {
        let serving = Serving::of(builder().shards(1).max_connections(10).room_for(20).start(Router::embedded).expect("a server"));
        let mut has = (serving.handle.limits(), 10);
        for (high, low, open, idle, linger, most) in rounds {
            let wanted = limits(|limits| {
                limits.output_high_bytes = high;
                limits.output_low_bytes = low;
                limits.open_requests = open;
                limits.idle = (idle > 0).then(|| Duration::from_secs(idle));
                limits.linger = Duration::from_millis(linger);
            });
            let fresh = builder().shards(1).limits(wanted.clone()).max_connections(most).start(Router::embedded);
            let changed = serving.handle.apply(Change::new().limits(wanted.clone()).max_connections(most));
            prop_assert_eq!(fresh.is_ok() && most <= 20, changed.is_ok(), "{:?} {:?}", &wanted, changed);
            if let Ok(fresh) = fresh {
                Serving::of(fresh).end();
            }
            if changed.is_ok() {
                has = (wanted, most);
            }
            prop_assert_eq!(&has, &(serving.handle.limits(), serving.handle.capacity().connections));
        }
        serving.end();
    }
}
