//! Many seeded worlds: whatever the network, the clients and the clock do, everybody gets what is due to them.

#![expect(clippy::print_stdout, reason = "what the worlds covered is part of the test's result")]

use std::panic::resume_unwind;
use tidegate::base::Rng;
use tidegate::service::{AfterPanic, BuiltIn, Cx, Frame, Peer, Replied, Reply, Segment, Service};
use tidegate::sim::{Answer, Coverage, Failure, Plan, Report, Request, World};
use tidegate::wire::Status;

/// Beside the built-in routes 0 to 3: large replies, shared ones, refusals, and panics.
#[derive(Clone, Copy)]
struct Zoo {
    after_panic: AfterPanic,
}

const HUGE: u16 = 4;
const SHARED: u16 = 5;
const GATHERED: u16 = 6;
const FAILS: u16 = 7;
const PANICS: u16 = 8;
const NOBODY: u16 = 9;

/// At least 120,000 bytes for any payload that is not empty.
fn huge(payload: &[u8]) -> Vec<u8> {
    payload.repeat(9 + 120_000 / payload.len().max(1))
}

fn must_panic(payload: &[u8]) -> bool {
    payload.len().is_multiple_of(3)
}

impl Service for Zoo {
    type Conn = u32;

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) -> u32 {
        0
    }

    fn on_frame(
        &mut self,
        served: &mut u32,
        frame: Frame<'_>,
        reply: Reply<'_>,
        _cx: &mut Cx<'_>,
    ) -> Replied {
        *served += 1;
        let payload = frame.payload();
        match frame.route() {
            0 => BuiltIn::Ack.handle(frame, reply),
            1 => BuiltIn::Echo.handle(frame, reply),
            2 => BuiltIn::Discard.handle(frame, reply),
            3 => BuiltIn::Flip.handle(frame, reply),
            HUGE => reply.send(&huge(payload)),
            SHARED => reply.share([payload, payload].concat().into()),
            GATHERED => {
                let whole = Segment::Forward(frame.part(0..payload.len()));
                reply.gather(&[Segment::Copy(b"<"), whole, Segment::Copy(b"|"), whole])
            }
            FAILS => reply.fail(Status::application(300), "as asked"),
            // No hook sees this panic, so nothing is printed.
            PANICS if must_panic(payload) => resume_unwind(Box::new("as planned")),
            PANICS => reply.send(b"alive"),
            _ => reply.fail(Status::NO_ROUTE, "nobody"),
        }
    }

    fn on_panic(&mut self) -> AfterPanic {
        self.after_panic
    }
}

fn model(request: &Request<'_>) -> Answer {
    let payload = request.payload;
    match request.route {
        0 => Answer::Reply(BuiltIn::ACK.into()),
        1 => Answer::Reply(payload.to_vec()),
        2 => Answer::Silent,
        3 => {
            let mut flipped = payload.to_vec();
            flipped.iter_mut().take(1).for_each(|first| *first ^= 1);
            Answer::Reply(flipped)
        }
        HUGE => Answer::Reply(huge(payload)),
        SHARED => Answer::Reply([payload, payload].concat()),
        GATHERED => Answer::Reply([b"<", payload, b"|", payload].concat()),
        FAILS => Answer::Fails(300),
        PANICS if must_panic(payload) => Answer::Fails(10),
        PANICS => Answer::Reply(b"alive".to_vec()),
        _ => Answer::Fails(4),
    }
}

fn world(seed: u64) -> World<Zoo> {
    let mut rng = Rng::new(seed.wrapping_mul(31));
    let mut routes = vec![0, 1, 1, 1, 2, 3, FAILS, NOBODY, SHARED, GATHERED];
    if rng.chance(150) {
        routes.push(PANICS);
    }
    if rng.chance(150) {
        routes.push(HUGE);
    }
    let after_panic = if rng.chance(500) { AfterPanic::Keep } else { AfterPanic::Rebuild };
    let mut plan = Plan::draw(seed, &routes);
    if std::env::var_os("TIDEGATE_SIM_SEED").is_some() {
        plan.trace_max = usize::MAX;
    }
    World::new(plan, move || Zoo { after_panic }, model)
}

fn run(seed: u64) -> Result<Report, Box<Failure>> {
    world(seed).run()
}

/// Runs these seeds on all processors, and gives what they covered, or the first that failed.
fn run_all(seeds: u64) -> (Coverage, Vec<Failure>) {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = |worker: usize| {
        let (mut coverage, mut failures) = (Coverage::none(), Vec::new());
        for seed in (0..seeds).skip(worker).step_by(workers) {
            match run(seed) {
                Ok(report) => coverage.add(&report),
                Err(failure) => failures.push(*failure),
            }
        }
        (coverage, failures)
    };
    std::thread::scope(|scope| {
        let shares: Vec<_> = (0..workers).map(|worker| scope.spawn(move || share(worker))).collect();
        let mut all = (Coverage::none(), Vec::new());
        for done in shares {
            let (coverage, failures) = done.join().expect("a world reports its panics");
            all.0.merge(&coverage);
            all.1.extend(failures);
        }
        all
    })
}

/// Worlds of one test run.
const SEEDS: u64 = 1_000;

/// `TIDEGATE_SIM_SEED=n` replays one world with its whole trace; `TIDEGATE_SIM_WORLDS=n` runs that many.
#[test]
fn everybody_gets_what_is_due_in_every_world() {
    if let Ok(seed) = std::env::var("TIDEGATE_SIM_SEED") {
        match run(seed.parse().expect("a seed is a number")) {
            Ok(report) => println!("{}", report.trace),
            Err(failure) => panic!("{failure}"),
        }
        return;
    }
    let worlds = std::env::var("TIDEGATE_SIM_WORLDS").map_or(SEEDS, |text| text.parse().expect("a number"));
    let (coverage, failures) = run_all(worlds);
    for failure in &failures {
        println!("FAIL {}: {}", failure.seed, failure.what);
    }
    println!("{coverage}");
    if let Some(failure) = failures.first() {
        panic!(
            "{} worlds failed; replay one with TIDEGATE_SIM_SEED={}\n{failure}",
            failures.len(),
            failure.seed
        );
    }
    assert_eq!(coverage.missing(), [""; 0], "trouble that was never made, reasons that were never reached");
}

/// The law that makes a failure worth having: it can be looked at again.
#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..20 {
        let (one, two) = (run(seed).map(|report| report.trace), run(seed).map(|report| report.trace));
        match (one, two) {
            (Ok(one), Ok(two)) => {
                assert_eq!((one.hash(), one.count()), (two.hash(), two.count()), "seed {seed}");
            }
            (one, two) => panic!("seed {seed}: {:?} {:?}", one.err(), two.err()),
        }
    }
}

#[cfg(feature = "planted-bugs")]
mod planted {
    use super::{SEEDS, run};
    use tidegate::base::planted::{Bug, plant};

    /// The first seed that shows the bug, and how.
    fn hunt(bug: Bug) -> Option<(u64, String)> {
        plant(Some(bug));
        let found = (0..SEEDS).find_map(|seed| run(seed).err().map(|failure| (seed, failure.what)));
        plant(None);
        found
    }

    /// That the same seeds pass without a bug is what the test above shows.
    #[test]
    fn every_planted_bug_is_found() {
        let mut unfound = Vec::new();
        for bug in Bug::ALL {
            match hunt(bug) {
                Some((seed, what)) => println!("{bug:?}: after {} worlds: {what}", seed + 1),
                None => unfound.push(bug),
            }
        }
        assert!(unfound.is_empty(), "not found within {SEEDS} worlds: {unfound:?}");
    }
}
