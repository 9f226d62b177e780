//! Many seeded worlds: whatever the network, the clients and the clock do, everybody gets what is due to them.

#![expect(clippy::print_stdout, reason = "what the worlds covered is part of the test's result")]

#[path = "sim/zoo.rs"]
mod zoo;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;
use tidegate::base::Rng;
use tidegate::base::limits::WhenOver;
use tidegate::service::AfterPanic;
use tidegate::session::Protocol;
use tidegate::sim::{Backend, Coverage, Failure, Plan, Report, World};
use zoo::{
    BY_THE_NEXT, BY_THREAD, BY_TIMER, DROPS, FAILS, FAILS_FOR, FAILS_LATER, FORGETS, GATHERED, HUGE, KICKS,
    Keeper, LARGE_LATER, NOBODY, OFFLOADS, PANICS, PANICS_AWAY, PANICS_LATER, PUBLISHES, RELAYS, SHARED,
    TOO_LATE, Zoo,
};

/// Routes that may be in a world, each with how many of 1000 worlds have it.
#[rustfmt::skip]
const ROUTES: [(u16, u64); 22] = [
    (0, 1_000), (1, 1_000), (2, 1_000), (3, 500), (FAILS, 500), (NOBODY, 500), (SHARED, 500), (GATHERED, 500),
    (FAILS_FOR, 200), (PANICS, 150), (HUGE, 150),
    (BY_TIMER, 400), (BY_THREAD, 400), (BY_THE_NEXT, 300), (FAILS_LATER, 200), (LARGE_LATER, 100),
    (DROPS, 150), (OFFLOADS, 300), (PANICS_AWAY, 80), (RELAYS, 400), (PUBLISHES, 200), (KICKS, 80),
];

fn plan(seed: u64, rng: &mut Rng) -> Plan {
    let mut routes: Vec<u16> =
        ROUTES.iter().filter(|(_, likely)| rng.chance(*likely)).map(|(route, _)| *route).collect();
    for (route, likely) in [(FORGETS, 120), (TOO_LATE, 120), (PANICS_LATER, 60), (1, 700), (1, 400)] {
        if rng.chance(likely) {
            routes.push(route);
        }
    }
    let mut plan = Plan::draw(seed, &routes);
    if plan.pipe_bytes.1 < 1_000 {
        // Through a bottleneck they take for ever.
        plan.routes.retain(|route| ![HUGE, LARGE_LATER].contains(route));
    }
    for listener in &mut plan.listeners {
        if rng.chance(500) {
            let route = [BY_TIMER, BY_THE_NEXT, FAILS_LATER, BY_THREAD]
                [usize::try_from(rng.below(4)).expect("below 4")];
            listener.framing = listener.framing.with_line_route(route);
        }
    }
    if rng.chance(500) {
        plan.tokens = vec![(b"right".to_vec(), true), (b"".to_vec(), true), (b"wrong".to_vec(), false)];
    }
    plan.short_deadlines = rng.chance(400);
    refuse_some(&mut plan);
    plan.commands = if rng.chance(150) { u32::try_from(rng.between(1, 12)).expect("a few") } else { 0 };
    let address = "10.1.0.1:7000".parse().expect("an address");
    let trouble = if rng.chance(600) { rng.below(900) } else { 0 };
    plan.backends = vec![Backend { trouble, ..Backend::echo(address) }];
    if rng.chance(80) {
        // So many messages that some reader is too slow for them.
        (plan.routes, plan.greeters) = (vec![PUBLISHES], 700);
        // Through a bottleneck they take longer than any deadline.
        plan.pipe_bytes = (plan.pipe_bytes.0.max(2_000), plan.pipe_bytes.1.max(20_000));
    }
    if std::env::var_os("TIDEGATE_SIM_SEED").is_some() {
        plan.trace_max = usize::MAX;
    }
    plan
}

/// In some worlds whoever is too fast is refused. From chance of its own, so that it changes nothing else.
fn refuse_some(plan: &mut Plan) {
    let mut rng = Rng::new(plan.seed ^ 0x0EF0_5E11);
    // Bare frames have no way to be refused: they would wait for longer than anybody waits here.
    let is_bare = plan.listeners.iter().any(|listener| listener.framing.protocol == Protocol::Bare);
    if is_bare || !rng.chance(100) {
        return;
    }
    plan.limits.when_over = WhenOver::Refuse;
    let most = u32::try_from(rng.between(1, 300)).expect("a few");
    match rng.below(3) {
        0 => plan.limits.messages_per_second = Some(most),
        1 => plan.limits.bytes_per_second = Some(u64::from(most) * 1024),
        _ => plan.limits.address_messages_per_second = Some(most * 4),
    }
    for listener in &mut plan.listeners {
        // A line that wants no reply has no way to say so, and a refusal would be one.
        if listener.framing.line_route.route_or_code() == 2 {
            listener.framing = listener.framing.with_line_route(1);
        }
    }
}

fn world(seed: u64) -> World<Zoo> {
    let mut rng = Rng::new(seed.wrapping_mul(31));
    let plan = plan(seed, &mut rng);
    let is_calm = plan.backends[0].trouble == 0
        && plan.weather.register_failed == 0
        && plan.weather.odd_error == 0
        && plan.descriptors.is_none()
        && plan.commands == 0
        && !plan.routes.contains(&KICKS)
        && plan.pipe_bytes.0 >= 60_000
        && plan.limits.request_deadline >= Duration::from_secs(3);
    let keeper = Keeper {
        after_panic: if rng.chance(500) { AfterPanic::Keep } else { AfterPanic::Rebuild },
        too_late: plan.limits.request_deadline + Duration::from_secs(3),
        backend: plan.backends[0].address,
        relays_surely: is_calm,
        may_refuse_jobs: plan.jobs_max < 100,
    };
    let published = Rc::new(RefCell::new(HashSet::new()));
    let knows = Rc::clone(&published);
    let mut got: HashMap<u32, HashSet<Vec<u8>>> = HashMap::new();
    World::with_threads(
        plan,
        move |threads| Zoo::new(keeper, threads),
        move |request| {
            if request.route == PUBLISHES {
                knows.borrow_mut().insert(request.payload.to_vec());
            }
            zoo::model(&keeper, request)
        },
    )
    .check_messages(move |client, topic, body| {
        let is_first = got.entry(client).or_default().insert(body.to_vec());
        // Payloads of four bytes and more tell their requests apart.
        match () {
            () if topic != zoo::TOPIC => Err(format!("a message on {topic}")),
            () if !published.borrow().contains(body) => Err("a message that nobody published".to_owned()),
            () if !is_first && body.len() >= 12 => Err("a message that came twice".to_owned()),
            () => Ok(()),
        }
    })
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
