//! What a loop measures of itself: turns, the wait of ready connections, handlers by route, and who held it up.
//!
//! The clock is the test's own, and the handler `t` takes as long as its request says: see [`support::clerk`].

mod support;

use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::clerk::{Clerk, Drawer, numbered};
use support::client::frame;
use support::hand::{Clock, Rig};
use tidegate::base::CloseReason;
use tidegate::base::limits::{HANDLER_SAMPLE, Limits};
use tidegate::metrics::{Counter, Durations, Timing};
use tidegate::session::Framing;
use tidegate::turn::{ListenerConfig, RouteLabel, TurnConfig};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

const WIDE: usize = usize::MAX;
const STALL: Duration = Duration::from_millis(10);

fn label(first: u16, last: u16, service: &str) -> RouteLabel {
    RouteLabel { first, last, service: service.into() }
}

fn rig() -> (Rig<Clerk>, Clock) {
    let (clock, drawer) = (Clock::new(), Drawer::default());
    let limits = Limits { stall: STALL, ..Limits::default() };
    let labels = vec![label(1, 1, "one"), label(5, 9, "some")].into();
    let listeners = vec![ListenerConfig::new(Framing::frames(1 << 20))];
    let config = TurnConfig { limits, labels, ..TurnConfig::alone(64, listeners) };
    (Rig::at(clock.clone(), config, 8 << 20, Clerk::new(&clock, &drawer)), clock)
}

/// A request whose handler takes so long.
fn slow(route: u16, us: u32) -> Vec<u8> {
    frame(route, &numbered(b't', us))
}

fn quick(route: u16) -> Vec<u8> {
    frame(route, b"e")
}

/// The bounds, in microseconds, of what was counted.
fn bounds(durations: &Durations) -> Vec<Option<u64>> {
    let counted = durations.buckets().filter(|(_, count)| *count > 0);
    counted.flat_map(|(bound, count)| (0..count).map(move |_| bound)).collect()
}

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).expect("a string");
    }
}

/// Keeps what is logged, as text.
struct Log(Arc<Mutex<Vec<String>>>);

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().expect("no panic").push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn logged(run: impl FnOnce()) -> Vec<String> {
    let said = Arc::new(Mutex::new(Vec::new()));
    tracing::subscriber::with_default(Log(Arc::clone(&said)), run);
    let said = said.lock().expect("no panic");
    said.iter().filter(|line| line.contains("WARN")).cloned().collect()
}

#[test]
fn a_batch_that_holds_up_the_loop_is_counted_and_named() {
    // The stalled batch; by label, others and several; what the log says of it.
    type Case<'a> = (&'a [Vec<u8>], [u64; 4], &'a str);
    let cases: &[Case<'_>] = &[
        (&[slow(1, 10_000)], [1, 0, 0, 0], "service=\"one\" route=1"),
        (&[slow(6, 9_000), quick(9), slow(6, 2_000)], [0, 1, 0, 0], "service=\"some\" held_back"),
        (&[slow(7, 11_000), quick(7)], [0, 1, 0, 0], "service=\"some\" route=7"),
        (&[quick(2), slow(2, 12_000)], [0, 0, 1, 0], "service=\"other\" route=2"),
        (&[quick(1), slow(5, 12_000)], [0, 0, 0, 1], "service=\"several\" held_back"),
    ];
    for (batch, stalls, words) in cases {
        let (mut rig, _) = rig();
        let client = rig.connect(WIDE);
        let lines = logged(|| rig.send(client, &batch.concat()));
        let figures = rig.figures();
        assert_eq!(
            (figures.counter(Counter::Stalls), figures.counter(Counter::SlowTurns)),
            (1, 0),
            "{words}"
        );
        assert_eq!(figures.stalls(), stalls, "{words}");
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].contains(words) && lines[0].contains("shard=0 conn=0-0-1"),
            "{lines:?} lacks {words}"
        );
        assert_eq!(rig.taken(client), batch.concat().len(), "everybody is answered all the same");
    }
}

#[test]
fn below_the_limit_nothing_is_a_stall() {
    let (mut rig, _) = rig();
    let client = rig.connect(WIDE);
    let lines = logged(|| rig.send(client, &slow(1, 9_999)));
    assert_eq!((lines.len(), rig.figures().counter(Counter::Stalls)), (0, 0));
}

/// Many batches that are short by themselves.
#[test]
fn a_slow_turn_without_a_slow_batch_is_told_as_that() {
    let (mut rig, _) = rig();
    let clients: Vec<_> = (0..4).map(|_| rig.connect(WIDE)).collect();
    clients.iter().for_each(|client| rig.arrive(*client, &slow(1, 4_000)));
    let lines = logged(|| rig.settle());
    let figures = rig.figures();
    assert_eq!((figures.counter(Counter::Stalls), figures.counter(Counter::SlowTurns)), (0, 1));
    assert!(lines.len() == 1 && lines[0].contains("a turn took long"), "{lines:?}");
}

#[test]
fn turns_and_the_wait_of_those_who_are_ready_are_measured() {
    let (mut rig, _) = rig();
    let clients: Vec<_> = (0..3).map(|_| rig.connect(WIDE)).collect();
    let before = rig.figures();
    clients.iter().for_each(|client| rig.arrive(*client, &slow(1, 1_000)));
    rig.settle();
    let after = rig.figures();
    let turns = after.timing(Timing::Turn).sum_us() - before.timing(Timing::Turn).sum_us();
    assert_eq!(turns, 3_000);
    let waits = after.timing(Timing::Ready).sum_us() - before.timing(Timing::Ready).sum_us();
    assert_eq!(waits, 1_000 + 2_000, "the first waits for nobody, the third for two");
    assert_eq!(after.timing(Timing::Ready).count() - before.timing(Timing::Ready).count(), 3);
    assert_eq!(after.timing(Timing::Turn).count(), after.counter(Counter::Turns));
}

#[test]
fn one_batch_in_some_has_its_first_handler_timed() {
    let (mut rig, _) = rig();
    let client = rig.connect(WIDE);
    for _ in 0..3 * HANDLER_SAMPLE {
        rig.send(client, &[slow(1, 100), slow(6, 3_000), slow(2, 1)].concat());
    }
    let figures = rig.figures();
    let counts: Vec<_> = figures.handlers().iter().map(|one| (one.count(), one.sum_us())).collect();
    assert_eq!(counts, [(3, 300), (0, 0), (0, 0)]);
    assert_eq!(bounds(&figures.handlers()[0]), [Some(128); 3]);
    // Whichever route is first is timed, under its label.
    for _ in 0..HANDLER_SAMPLE {
        rig.send(client, &[slow(8, 3_000), slow(1, 100)].concat());
    }
    for _ in 0..HANDLER_SAMPLE {
        rig.send(client, &slow(2, 7));
    }
    let figures = rig.figures();
    let counts: Vec<_> = figures.handlers().iter().map(|one| (one.count(), one.sum_us())).collect();
    assert_eq!(counts, [(3, 300), (1, 3_000), (1, 7)]);
}

/// A handler that panics has no time, and the batches behind it are counted on as before.
#[test]
fn a_timed_handler_may_panic() {
    let (mut rig, _) = rig();
    let client = rig.connect(WIDE);
    rig.send(client, &[frame(1, b"p"), slow(1, 100)].concat());
    let figures = rig.figures();
    assert_eq!(figures.counter(Counter::Panics), 1);
    let timed: u64 = figures.handlers().iter().map(Durations::count).sum();
    assert!(timed <= 1, "{timed} handlers timed in one batch");
    assert_eq!(figures.outcome(tidegate::metrics::Outcome::Answered), 1);
}

/// What a batch leaves behind is dated when the batch is over, so that no deadline runs while a handler does.
#[test]
fn a_stall_is_not_held_against_the_peer() {
    let (mut rig, _) = rig();
    let client = rig.connect(WIDE);
    let partial = quick(1);
    rig.arrive(client, &[slow(1, 60_000_000), partial[..7].to_vec()].concat());
    rig.settle();
    assert_eq!(rig.figures().closes_total(), 0, "the frame deadline began with the handler");
    rig.pass(1_000, 100);
    rig.send(client, &partial[7..]);
    assert_eq!(rig.take(client).len(), slow(1, 0).len() + partial.len());
    // The same for output that the socket did not take.
    let reader = rig.connect(3);
    rig.send(reader, &slow(1, 60_000_000));
    rig.pass(1_000, 100);
    assert_eq!(rig.figures().closes_total(), 0, "the write stall began with the handler");
    // And for the last words to a peer that breaks the protocol behind it.
    rig.reset(reader);
    let wrong = rig.connect(3);
    let mut bad = quick(1);
    *bad.last_mut().expect("a CRC") ^= 1;
    rig.send(wrong, &[slow(1, 60_000_000), bad].concat());
    assert_eq!(rig.figures().closes_total(), 1, "what is due to it may still leave");
    rig.make_room(wrong, WIDE);
    rig.settle();
    assert!(rig.taken(wrong) > slow(1, 0).len(), "the reply and the last words");
}

/// What came while the loop was held up is looked at before anybody is closed for being late.
#[test]
fn a_stall_of_one_is_not_held_against_the_others() {
    let (mut rig, _) = rig();
    let (slow_one, other) = (rig.connect(WIDE), rig.connect(WIDE));
    let partial = quick(1);
    rig.send(other, &partial[..7]);
    rig.arrive(slow_one, &slow(1, 60_000_000));
    rig.begin_turn();
    rig.arrive(other, &partial[7..]);
    rig.turn.end(&mut rig.io);
    rig.settle();
    assert_eq!((rig.taken(other), rig.figures().closes_total()), (partial.len(), 0));
    // But whoever is late all the same is closed, even if every turn is slow.
    rig.send(other, &partial[..7]);
    for _ in 0..2 {
        rig.arrive(slow_one, &slow(1, 60_000_000));
        rig.one_turn();
    }
    rig.end(other);
    assert_eq!(rig.closes(CloseReason::FrameDeadline), 1);
}
