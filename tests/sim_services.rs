//! The services of `tests/services`, which users copy, in simulated worlds: whatever clients, backends and the network
//! do, each request has one right reply, or a refusal that is true; each message comes once.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;
use tidegate::base::Rng;
use tidegate::metrics::{Counter, Outcome};
use tidegate::session::Framing;
use tidegate::sim::{Answer, Backend, Plan, Report, World};
use tidegate::turn::ListenerConfig;

#[path = "services/fan_out.rs"]
#[allow(unreachable_pub, reason = "a file to be copied")]
mod fan_out;
#[path = "services/relay.rs"]
#[allow(unreachable_pub, reason = "a file to be copied")]
mod relay;

const OVERLOADED: u16 = 5;
const UNAVAILABLE: u16 = 6;
const OUTCOME_UNKNOWN: u16 = 7;
/// What the backend fails with.
const BUSY: u16 = 300;

/// Worlds of each kind in one test run.
const SEEDS: u64 = 300;

/// `TIDEGATE_SIM_SEED=n` replays one world of each kind; `TIDEGATE_SIM_WORLDS=n` runs that many.
fn seeds(most: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text: String| text.parse().expect("a number"));
    if let Some(seed) = number("TIDEGATE_SIM_SEED") {
        return seed..seed + 1;
    }
    0..number("TIDEGATE_SIM_WORLDS").unwrap_or(most)
}

/// Through narrower pipes, what several clients cause at once does not pass within the deadlines.
fn wide_enough(plan: &mut Plan) {
    plan.pipe_bytes = (plan.pipe_bytes.0.max(2_000), plan.pipe_bytes.1.max(20_000));
}

// ---- relay ------------------------------------------------------------------------------------------------------

/// Routes of the backend: it echoes, doubles, and fails.
const ROUTES: [u16; 3] = [1, 2, 3];

fn backends_answer(route: u16, payload: &[u8]) -> Answer {
    match route {
        1 => Answer::Reply(payload.to_vec()),
        2 => Answer::Reply(payload.repeat(2)),
        _ => Answer::Fails(BUSY),
    }
}

fn backend() -> Backend {
    let address: SocketAddr = "10.1.0.1:7000".parse().expect("an address");
    Backend { answer: backends_answer, ..Backend::echo(address) }
}

/// What a client must get: what the backend says; or, where that may not be there or be lost, that.
fn due(route: u16, payload: &[u8], is_calm: bool) -> Answer {
    let said = backends_answer(route, payload);
    if is_calm {
        return said;
    }
    let (replies, mut fails) = match said {
        Answer::Reply(payload) => (vec![payload], Vec::new()),
        Answer::Fails(status) => (Vec::new(), vec![status]),
        Answer::Silent | Answer::OneOf { .. } => (Vec::new(), Vec::new()),
    };
    fails.extend([OVERLOADED, UNAVAILABLE, OUTCOME_UNKNOWN]);
    Answer::OneOf { replies, fails }
}

#[track_caller]
fn run<S: tidegate::Service>(world: World<S>) -> Report {
    world.run().unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn a_relay_gives_everybody_their_own() {
    let (mut answered, mut lost, mut dialed) = (0, 0, 0);
    for seed in seeds(SEEDS) {
        let mut rng = Rng::new(seed.wrapping_mul(77));
        let mut plan = Plan::draw(seed, &ROUTES);
        let trouble = if rng.chance(700) { rng.below(900) } else { 0 };
        plan.backends = vec![Backend { trouble, ..backend() }];
        plan.short_deadlines = rng.chance(300);
        wide_enough(&mut plan);
        let to = plan.backends[0].address;
        let report = run(World::new(
            plan,
            move || relay::Relay::new(to),
            |request| due(request.route, request.payload, false),
        ));
        answered += report.replies;
        lost += report.outcomes[Outcome::Failed as usize];
        dialed += report.metrics.counter(Counter::Dialed);
    }
    let worlds = seeds(SEEDS).count() as u64;
    assert!(worlds < SEEDS || answered > 10 * worlds && lost > worlds, "{answered} answered, {lost} not");
    assert!(worlds < SEEDS || dialed > 2 * worlds, "{dialed} times dialed: links are lost and dialed anew");
}

/// With nothing in the way, nothing is refused.
#[test]
fn a_relay_in_calm_weather_answers_everything() {
    for seed in seeds(SEEDS / 3) {
        let mut plan = Plan::calm(seed, &ROUTES);
        plan.backends = vec![backend()];
        // Not more than may wait for the backend; and behind the first turn, in which it is dialed.
        plan.listeners = vec![ListenerConfig::new(Framing::frames(70_000))];
        (plan.clients, plan.limits.open_requests) = (plan.clients.min(3), 5);
        plan.arrivals_us = plan.arrivals_us.max(5_000);
        let to = plan.backends[0].address;
        run(World::new(
            plan,
            move || relay::Relay::new(to),
            |request| due(request.route, request.payload, true),
        ));
    }
}

// ---- fan-out ----------------------------------------------------------------------------------------------------

#[test]
fn a_fan_out_gives_each_subscriber_each_message_at_most_once() {
    let messages = Rc::new(Cell::new(0_u64));
    let mut slow = 0;
    for seed in seeds(SEEDS) {
        let mut plan = Plan { greeters: 700, ..Plan::draw(seed, &[1, 7]) };
        wide_enough(&mut plan);
        let published = Rc::new(RefCell::new(HashSet::new()));
        let mut got: HashMap<u32, HashSet<Vec<u8>>> = HashMap::new();
        let (known, count) = (Rc::clone(&published), Rc::clone(&messages));
        let world = World::new(plan, fan_out::FanOut::default, move |request| {
            published.borrow_mut().insert(request.payload.to_vec());
            Answer::Reply(Vec::new())
        });
        let report = run(world.check_messages(move |client, topic, body| {
            count.set(count.get() + 1);
            let is_first = got.entry(client).or_default().insert(body.to_vec());
            match () {
                () if topic != fan_out::TOPIC => Err(format!("a message on {topic}")),
                () if !known.borrow().contains(body) => Err("a message that nobody published".to_owned()),
                // Payloads of twelve bytes and more tell their requests apart.
                () if !is_first && body.len() >= 12 => Err("a message that came twice".to_owned()),
                () => Ok(()),
            }
        }));
        slow += report.closes[tidegate::CloseReason::SlowConsumer.index()];
    }
    let worlds = seeds(SEEDS).count() as u64;
    assert!(worlds < SEEDS || messages.get() > 10 * worlds, "{} messages", messages.get());
    assert!(worlds < SEEDS || slow > 0, "nobody was ended as too slow");
}
