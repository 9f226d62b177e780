//! Which requests are recorded, seen on one loop that is driven by hand: the same seed gives the same ones.

use crate::support::client::{ECHO, FLIP, PING, frame};
use crate::support::extended::correlated;
use crate::support::hand::{Clock, Rig};
use crate::{SAMPLED, traced};
use std::collections::BTreeSet;
use std::sync::Arc;
use tidegate::Router;
use tidegate::base::Rng;
use tidegate::base::limits::{LATERS_PER_SHARD, Limits, PAYLOAD_BYTES_DEFAULT, SPANS_OPEN, SPANS_PER_SHARD};
use tidegate::metrics::{Counter, Outcome};
use tidegate::server::Sampling;
use tidegate::service::{Cx, Frame, Later, Peer, Replied, Reply, Service};
use tidegate::session::Framing;
use tidegate::trace::{Span, Spans};
use tidegate::turn::{ListenerConfig, Tracing, TurnConfig};

const PIPE_BYTES: usize = 1 << 20;

fn config(sampling: Sampling, seed: u64) -> (TurnConfig, Arc<Spans>) {
    let spans = Arc::<Spans>::default();
    let tracing = Some(Tracing { spans: Arc::clone(&spans), sampling });
    let listener = ListenerConfig::new(Framing::frames(PAYLOAD_BYTES_DEFAULT));
    (TurnConfig { tracing, seed, ..TurnConfig::alone(64, vec![listener]) }, spans)
}

fn all_of(spans: &Spans) -> Vec<Span> {
    std::iter::from_fn(|| spans.pop()).collect()
}

/// A load of `count` requests in batches of every size, by two connections, of every simple kind; the payload of each is its
/// number. Gives the numbers of those that were recorded, and their spans.
fn load(sampling: Sampling, seed: u64, count: u32) -> (Vec<u32>, Vec<Span>, u64) {
    let (config, spans) = config(sampling, seed);
    let mut rig = Rig::new(config, PIPE_BYTES, Router::embedded);
    let pipes = [rig.connect(usize::MAX), rig.connect(usize::MAX)];
    let mut rng = Rng::new(77);
    let (mut number, mut recorded) = (0_u32, Vec::new());
    while number < count {
        let mut burst = Vec::new();
        for _ in 0..rng.between(1, 300) {
            // As long as its number, so that the span tells which it was.
            let body = vec![b'x'; usize::try_from(number % 1000).expect("small")];
            let request = match rng.below(4) {
                0 => frame(FLIP, &body),
                1 => correlated(ECHO, 7, &body),
                _ => frame(ECHO, &body),
            };
            burst.extend(request);
            number += 1;
            if rng.chance(50) {
                burst.extend(frame(PING, b"?"));
            }
        }
        let pipe = pipes[usize::from(rng.chance(500))];
        rig.send(pipe, &burst);
        rig.taken(pipe);
        // So that no rate is reached.
        rig.pass(1_000, 1_000);
        recorded.extend(all_of(&spans));
    }
    let figures = rig.figures();
    assert_eq!(figures.counter(Counter::Spans), recorded.len() as u64);
    assert_eq!(figures.outcome(Outcome::Answered), u64::from(number));
    (recorded.iter().map(|span| span.bytes_in).collect(), recorded, number.into())
}

/// With a chance of one in ten, the number of those that are recorded is binomial: six standard deviations are never left.
#[test]
fn so_many_are_recorded_as_were_asked_for() {
    for (per_million, seed) in [(100_000, 1), (100_000, 2), (1_000, 3), (500_000, 4), (999_999, 5)] {
        let sampling = Sampling { per_million, spans_per_second: 10_000 };
        let (_, spans, of) = load(sampling, seed, 20_000);
        let p = f64::from(per_million) / 1e6;
        let (mean, deviation) = (of as f64 * p, (of as f64 * p * (1.0 - p)).sqrt());
        let off = (spans.len() as f64 - mean).abs();
        assert!(off <= 6.0 * deviation + 1.0, "{} of {of} at {p}, seed {seed}", spans.len());
    }
}

#[test]
fn all_or_none() {
    let (numbers, spans, of) = load(Sampling { per_million: 1_000_000, spans_per_second: 10_000 }, 1, 3_000);
    assert_eq!(spans.len() as u64, of);
    let want: Vec<u32> = (0..u32::try_from(of).expect("a few")).map(|number| number % 1000).collect();
    assert_eq!(numbers, want, "each once, in their order");
    let (_, spans, _) = load(Sampling { per_million: 0, spans_per_second: 10_000 }, 1, 3_000);
    assert_eq!(spans, []);
}

#[test]
fn the_same_seed_records_the_same_requests() {
    let sampling = Sampling { per_million: 20_000, spans_per_second: 10_000 };
    let (one, again, other) =
        (load(sampling, 5, 10_000), load(sampling, 5, 10_000), load(sampling, 6, 10_000));
    assert_eq!(one.1, again.1, "ids and times included");
    assert_ne!(one.0, other.0);
    // Every place in a batch has its chance, the first one of each not more.
    assert!(one.0.len() > 100, "{}", one.0.len());
}

/// What handlers draw is the same whether anything is recorded or not.
#[test]
fn recording_takes_no_chance_from_handlers() {
    #[derive(Default)]
    struct Dice;
    impl Service for Dice {
        type Conn = ();
        fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}
        fn on_frame(&mut self, _: &mut (), _: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
            reply.send(&cx.rng().next_u64().to_be_bytes())
        }
    }
    let drawn = |tracing: bool| {
        let (config, _spans) = config(Sampling { per_million: 500_000, spans_per_second: 10_000 }, 9);
        let config = if tracing { config } else { TurnConfig { tracing: None, ..config } };
        let mut rig = Rig::new(config, PIPE_BYTES, Dice::default);
        let pipe = rig.connect(usize::MAX);
        rig.send(pipe, &frame(ECHO, b"").repeat(100));
        rig.take(pipe)
    };
    assert_eq!(drawn(true), drawn(false));
}

/// Nobody takes them: the ring is full, what comes then is dropped and counted, and requests are served as before.
#[test]
fn a_ring_that_nobody_empties_is_bounded() {
    let (config, spans) = config(Sampling { per_million: 1_000_000, spans_per_second: 10_000 }, 1);
    let mut rig = Rig::new(config, PIPE_BYTES, Router::embedded);
    let pipe = rig.connect(usize::MAX);
    for _ in 0..SPANS_PER_SHARD / 100 + 3 {
        rig.send(pipe, &frame(ECHO, b"").repeat(100));
        assert_eq!(rig.taken(pipe), 100 * 10);
        rig.pass(100, 100);
    }
    let figures = rig.figures();
    let dropped = figures.counter(Counter::SpansOverRing);
    assert!(dropped >= 100, "{dropped}");
    assert_eq!(figures.counter(Counter::Spans), SPANS_PER_SHARD as u64);
    assert_eq!(all_of(&spans).len(), SPANS_PER_SHARD);
}

/// Keeps every request.
#[derive(Default)]
struct Keeper {
    kept: Vec<Later>,
}

impl Service for Keeper {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn on_frame(&mut self, _: &mut (), frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        if frame.payload() == b"all" {
            self.kept.drain(..).for_each(|later| cx.answer(later, b"done"));
            return reply.send(b"");
        }
        let (later, replied) = reply.defer();
        self.kept.extend(later);
        replied
    }
}

/// More deferred requests than are recorded at once; and the time of those that are is that of their answer.
#[test]
fn deferred_requests_that_are_recorded_are_bounded() {
    const EACH: usize = 100;
    let (config, spans) = config(Sampling { per_million: 0, spans_per_second: 10_000 }, 1);
    let mut rig = Rig::at(Clock::new(), config, PIPE_BYTES, Keeper::default);
    let connections = SPANS_OPEN / EACH + 2;
    assert!(connections * EACH < LATERS_PER_SHARD && EACH < Limits::default().open_requests as usize);
    for _ in 0..connections {
        let pipe = rig.connect(usize::MAX);
        rig.send(pipe, &traced(ECHO, SAMPLED, b"").repeat(EACH));
        rig.pass(100, 100);
    }
    let figures = rig.figures();
    let over = connections * EACH - SPANS_OPEN;
    assert_eq!(figures.counter(Counter::SpansOverOpen), over as u64);
    assert_eq!(all_of(&spans), [], "none is over");
    let asker = rig.connect(usize::MAX);
    rig.send(asker, &frame(ECHO, b"all"));
    let ended = all_of(&spans);
    assert_eq!(ended.len(), SPANS_OPEN);
    assert!(
        ended.iter().all(|span| span.is_deferred && span.outcome == Outcome::Answered && span.bytes_out == 4)
    );
    // The first waited for all the others.
    let waited = ended.iter().map(|span| span.ended.since_us(span.received)).max().expect("some");
    assert!(waited >= 1_000 * 100 * (connections as u64 - 1), "{waited}");
}

/// A connection that ends takes its open requests with it; their spans say so.
#[test]
fn spans_of_a_lost_connection_end_with_it() {
    let (config, spans) = config(Sampling { per_million: 0, spans_per_second: 10_000 }, 1);
    let mut rig = Rig::at(Clock::new(), config, PIPE_BYTES, Keeper::default);
    let (one, other) = (rig.connect(usize::MAX), rig.connect(usize::MAX));
    rig.send(one, &traced(ECHO, SAMPLED, b"").repeat(3));
    rig.send(other, &traced(ECHO, SAMPLED, b"").repeat(2));
    rig.reset(one);
    let ended = all_of(&spans);
    assert_eq!(ended.len(), 3);
    assert!(ended.iter().all(|span| span.outcome == Outcome::Abandoned));
    let asker = rig.connect(usize::MAX);
    rig.send(asker, &frame(ECHO, b"all"));
    let ended = all_of(&spans);
    assert_eq!(ended.len(), 2);
    assert!(ended.iter().all(|span| span.outcome == Outcome::Answered));
}

fn below(rng: &mut Rng, count: usize) -> usize {
    usize::try_from(rng.below(count as u64)).expect("less than a size")
}

/// Ends some requests at once, and others by whim.
#[derive(Default)]
struct Whims {
    kept: Vec<Later>,
}

impl Service for Whims {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn on_frame(&mut self, _: &mut (), frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        let at = below(cx.rng(), self.kept.len().max(1));
        let old = if at < self.kept.len() { Some(self.kept.swap_remove(at)) } else { None };
        let was_there = cx.trace(&frame).is_some();
        assert!(was_there, "each brings a trace");
        match (frame.payload().first(), old) {
            (Some(0), Some(old)) => cx.answer(old, b"later"),
            (Some(1), Some(old)) => cx.fail(old, tidegate::Status::UNAVAILABLE, "no"),
            (Some(2), Some(old)) => drop(old),
            (_, old) => self.kept.extend(old),
        }
        match frame.payload().get(1) {
            Some(0) => reply.send(frame.payload()),
            Some(1) => reply.fail(tidegate::Status::application(300), "no"),
            Some(2) => reply.none(),
            _ => {
                let (later, replied) = reply.defer();
                self.kept.extend(later);
                replied
            }
        }
    }
}

/// Whatever becomes of requests and connections, each that was to be recorded has one span, or is counted as dropped.
#[test]
fn every_request_that_is_recorded_ends_once() {
    use crate::support::extended::Block;
    use crate::{PARENT, TRACE, context};
    let (mut seen, mut is_dropping) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..60 {
        let spans_per_second = if seed % 4 == 0 { 500 } else { 10_000 };
        let (config, spans) = config(Sampling { per_million: 0, spans_per_second }, seed);
        let mut rig = Rig::at(Clock::new(), config, PIPE_BYTES, Whims::default);
        let mut rng = Rng::new(seed);
        let (mut alive, mut ended) = (Vec::new(), Vec::new());
        for _ in 0..300 {
            if alive.len() < 4 {
                alive.push(rig.connect(usize::MAX));
            }
            let at = below(&mut rng, alive.len());
            let pipe = alive[at];
            match rng.below(20) {
                0 => rig.reset(alive.swap_remove(at)),
                1 => rig.end(alive.swap_remove(at)),
                // Some deadlines pass.
                2 => rig.pass(rng.between(1, 2_000), 100),
                _ => {
                    let mut burst = Vec::new();
                    for _ in 0..rng.between(1, 20) {
                        let correlation = rng.chance(500).then_some(7);
                        let deadline_ms =
                            rng.chance(200).then(|| u32::try_from(rng.below(500)).expect("small"));
                        let trace = Some(context(TRACE, PARENT, SAMPLED));
                        let one_way = rng.chance(100);
                        let block = Block { correlation, deadline_ms, trace, one_way, ..Block::default() };
                        let whim = |rng: &mut Rng, below| u8::try_from(rng.below(below)).expect("small");
                        burst.extend(block.frame(ECHO, &[whim(&mut rng, 4), whim(&mut rng, 5)]));
                    }
                    rig.send(pipe, &burst);
                    rig.taken(pipe);
                }
            }
            rig.pass(5, 5);
            ended.extend(all_of(&spans));
        }
        alive.into_iter().for_each(|pipe| rig.reset(pipe));
        rig.pass(100_000, 1_000);
        ended.extend(all_of(&spans));
        let figures = rig.figures();
        let of = |counter| figures.counter(counter);
        assert_eq!((rig.turn.open(), of(Counter::Spans)), (0, ended.len() as u64), "seed {seed}");
        let dropped = of(Counter::SpansOverRate) + of(Counter::SpansOverOpen) + of(Counter::SpansOverRing);
        assert_eq!(of(Counter::Started), of(Counter::Spans) + dropped, "seed {seed}");
        assert!(ended.iter().all(|span| span.received <= span.started && span.started <= span.ended));
        for outcome in Outcome::ALL {
            let told = ended.iter().filter(|span| span.outcome == *outcome).count() as u64;
            let counted = figures.outcome(*outcome);
            assert!(told == counted || told < counted && dropped > 0, "seed {seed}: {outcome:?}");
            if told > 0 {
                seen.insert(outcome.name());
            }
        }
        is_dropping.insert(dropped > 0);
    }
    // Nobody panicked here.
    assert_eq!(seen.len(), Outcome::COUNT - 1, "{seen:?}");
    assert_eq!(is_dropping.len(), 2, "some had too many, some had not");
}
