//! Clients of every kind for seconds or hours, some through a proxy that harms what passes: nobody gets what is not
//! due to it, whoever goes direct notices nothing, and the ledger adds up whenever it is looked at.
//!
//! `TIDEGATE_SOAK=2h cargo test --release --test soak --test churn -- --nocapture` runs for hours.

mod support;

#[path = "soak/oracle.rs"]
mod oracle;
#[path = "soak/service.rs"]
mod service;
#[path = "soak/session.rs"]
mod session;

use oracle::ECHO;
use service::{Answering, Mixed};
use session::{Manner, Path, Shape, Went, play};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};
use support::chaos::{Fault, Plan, Proxy};
use support::errant::{self, Errant};
use support::ledger::{Looks, Watch};
use support::parking::Parking;
use support::rounds::Rounds;
use support::serving::Serving;
use support::wait_until;
use tidegate::CloseReason;
use tidegate::base::Rng;
use tidegate::base::limits::Limits;
use tidegate::metrics::{Counter, Gauge, Outcome, Snapshot};
use tidegate::server::{Builder, Listener, Server};

/// Clients at once that go through the proxies, and that don't.
const HARMED: u64 = 16;
const DIRECT: u64 = 4;

/// How long a round takes.
const ROUND: Duration = Duration::from_secs(4);

/// Faults are placed within so many bytes of a direction: a session has a little more on average.
const REACH_BYTES: u64 = 8_000;

/// What a direct client's reply may take at most, and 99 of 100 of them: generous, for a machine that does more than
/// this; what is kept waiting by another's fault waits for longer.
const SLOWEST: Duration = Duration::from_secs(5);
const SLOW: Duration = Duration::from_secs(1);

/// Replies whose times are kept, of each client in each round.
const TIMES_MAX: usize = 100_000;

/// Shorter than PATIENCE and longer than what the proxy does without breaking anything.
fn limits() -> Limits {
    Limits {
        frame_deadline: Duration::from_secs(3),
        idle: Some(Duration::from_secs(4)),
        heartbeat: Some(Duration::from_secs(2)),
        write_stall: Duration::from_secs(3),
        ..Limits::default()
    }
}

/// Frames on the first listener, echoed lines on the second.
fn servers() -> Builder {
    Server::builder()
        .listen(Listener::frames("127.0.0.1:0"))
        .and_then(|builder| builder.listen(Listener::lines("127.0.0.1:0").route(ECHO).max_payload(128 << 10)))
        .expect("two free ports")
}

/// What all clients of one sort did.
#[derive(Debug, Default)]
struct Tally {
    sessions: u64,
    cut: u64,
    answered: u64,
    took_us: Vec<u64>,
}

impl Tally {
    fn add(&mut self, went: Went) {
        self.sessions += 1;
        self.cut += u64::from(went.cut);
        self.answered += went.answered;
        let room = TIMES_MAX.saturating_sub(self.took_us.len());
        self.took_us.extend(went.took_us.into_iter().take(room));
    }

    fn join(&mut self, mut other: Tally) {
        self.sessions += other.sessions;
        self.cut += other.cut;
        self.answered += other.answered;
        self.took_us.append(&mut other.took_us);
    }

    /// The median, the 99th percentile and the most, in microseconds.
    fn times(&mut self) -> [u64; 3] {
        self.took_us.sort_unstable();
        let at =
            |per_mille: usize| self.took_us.get((self.took_us.len() * per_mille / 1000).saturating_sub(1));
        [at(500), at(990), self.took_us.last()].map(|time| time.copied().unwrap_or(0))
    }
}

/// One client after another on this path, until the time is over or one of them saw a promise broken.
fn clients(path: Path<'_>, numbers: &AtomicU32, mut rng: Rng, until: Instant) -> Result<Tally, String> {
    let mut tally = Tally::default();
    while Instant::now() < until {
        let shape = Shape::ALL[usize::try_from(rng.below(4)).expect("one of four")];
        let number = numbers.fetch_add(1, Relaxed);
        let manner = Manner::draw(&mut rng);
        tally.add(play(path, shape, &manner, number, &mut rng)?);
    }
    Ok(tally)
}

/// One round: proxies with this seed, and clients before and beside them.
fn round(serving: &Serving, numbers: &AtomicU32, seed: u64) -> (Tally, Tally, [u64; Fault::NAMES.len()]) {
    let plan = |salt: u64| move |number| Plan::draw(seed.wrapping_mul(2) + salt, number, REACH_BYTES);
    let proxies = [serving.frames(), serving.lines()];
    let proxies = [Proxy::start(proxies[0], plan(0)), Proxy::start(proxies[1], plan(1))];
    let direct = Path { frames: serving.frames(), lines: serving.lines(), proxies: None };
    let harmed = Path { proxies: Some([&proxies[0], &proxies[1]]), ..direct };
    let until = Instant::now() + ROUND;
    let failed = Mutex::new(Vec::new());
    let totals = Mutex::new((Tally::default(), Tally::default()));
    std::thread::scope(|scope| {
        for client in 0..HARMED + DIRECT {
            let (failed, totals) = (&failed, &totals);
            let path = if client < HARMED { harmed } else { direct };
            let rng = Rng::new(seed.wrapping_mul(1000) + client);
            scope.spawn(move || match clients(path, numbers, rng, until) {
                Ok(tally) => {
                    let mut totals = totals.lock().expect("no panic");
                    if client < HARMED { totals.0.join(tally) } else { totals.1.join(tally) }
                }
                Err(why) => failed.lock().expect("no panic").push(why),
            });
        }
    });
    let failed = failed.into_inner().expect("no panic");
    assert!(failed.is_empty(), "seed {seed}:\n{}", failed.join("\n"));
    let (harmed, direct) = totals.into_inner().expect("no panic");
    assert_eq!([proxies[0].expired(), proxies[1].expired()], [0, 0], "connections that never ended");
    let (frames, lines) = (proxies[0].done(), proxies[1].done());
    (harmed, direct, std::array::from_fn(|kind| frames[kind] + lines[kind]))
}

/// What must hold of a server when everybody is gone.
fn check_rest(serving: &Serving, done: &[u64; Fault::NAMES.len()], answered: u64) {
    wait_until("nobody is left and nothing is kept", || {
        let now = serving.handle.snapshot();
        !now.torn() && Gauge::ALL.iter().all(|gauge| now.gauge(*gauge) == 0)
    });
    let now = serving.snapshot();
    let flips = done[Fault::Flip { at: 0, bit: 0 }.kind()];
    let damaged = CloseReason::ALL.iter().filter(|why| {
        // These have other causes, too.
        let others = [CloseReason::Truncated, CloseReason::FrameDeadline];
        why.fault() == tidegate::Fault::Protocol && !others.contains(why)
    });
    let damaged: u64 = damaged.map(|why| now.closes(*why)).sum();
    assert!(damaged <= flips, "{damaged} connections ended for damaged bytes, of {flips} that were damaged");
    let ended = now.outcome(Outcome::Answered) + now.outcome(Outcome::Dropped);
    assert!(answered <= ended, "{answered} replies came, of {ended} that were given");
    assert_eq!(now.outcome(Outcome::Panicked) + now.outcome(Outcome::Failed), 0);
    assert_eq!((now.counter(Counter::Panics), now.counter(Counter::RefusedFull)), (0, 0));
}

/// What all rounds together must have come to, else they show little.
fn check_reached(now: &Snapshot) {
    for why in [CloseReason::PeerClosed, CloseReason::Reset, CloseReason::Truncated, CloseReason::BadCrc] {
        assert!(now.closes(why) > 0, "no connection ended as {}: {now:?}", why.name());
    }
    for counter in [Counter::PausedOutput, Counter::LateAnswers] {
        assert!(now.counter(counter) > 0, "{} never happened: {now:?}", counter.name());
    }
}

#[test]
fn nobody_gets_what_is_not_due_and_who_goes_direct_notices_nothing() {
    let parking = Parking::default();
    let service = Mixed { parking: parking.clone() };
    let running = servers().shards(2).workers(2, 10_000).limits(limits()).start(move || service.clone());
    let serving = Serving::of(running.expect("a server"));
    let numbers = AtomicU32::new(1);
    let mut rounds = Rounds::begin("soak");
    let (mut harmed, mut direct) = (Tally::default(), Tally::default());
    let mut done = [0; Fault::NAMES.len()];
    let mut looks = Looks::default();
    #[cfg(feature = "admin")]
    let (admin, mut outside) = (support::admin::admin_of(&serving), Looks::default());
    while let Some(seed) = rounds.next(2) {
        let (watch, answering) = (Watch::of(&serving.handle, seed), Answering::start(&parking, seed));
        #[cfg(feature = "admin")]
        let stranger = Watch::at(admin, seed);
        let (through, beside, kinds) = round(&serving, &numbers, seed);
        answering.end();
        looks.add(watch.end());
        #[cfg(feature = "admin")]
        outside.add(stranger.end());
        done = std::array::from_fn(|kind| done[kind] + kinds[kind]);
        direct.took_us.clear();
        (harmed.sessions, harmed.cut, harmed.answered) = (
            harmed.sessions + through.sessions,
            harmed.cut + through.cut,
            harmed.answered + through.answered,
        );
        direct.join(beside);
        let [_, slow, slowest] = direct.times();
        assert!(Duration::from_micros(slow) < SLOW, "99 of 100 replies beside the proxies took {slow} us");
        assert!(Duration::from_micros(slowest) < SLOWEST, "a reply beside the proxies took {slowest} us");
        assert_eq!(direct.cut, 0, "a client that went direct was cut off");
        check_rest(&serving, &done, harmed.answered + direct.answered);
        rounds.report(|| said(&harmed, &mut direct, &done, looks));
    }
    for (name, count) in Fault::NAMES.iter().zip(done) {
        assert!(count > 0, "{name} was never done: {done:?}");
    }
    assert!(looks.whole > 200 && looks.torn < looks.whole, "{looks:?}");
    #[cfg(feature = "admin")]
    assert!(outside.whole > 50, "seen at /metrics: {outside:?}");
    assert!(harmed.sessions > harmed.cut && harmed.cut > 0, "{} of {} cut", harmed.cut, harmed.sessions);
    check_reached(&serving.snapshot());
    rounds.end(&said(&harmed, &mut direct, &done, looks));
    serving.end();
}

fn said(harmed: &Tally, direct: &mut Tally, done: &[u64; Fault::NAMES.len()], looks: Looks) -> String {
    let [median, slow, slowest] = direct.times();
    let done: Vec<String> =
        Fault::NAMES.iter().zip(done).map(|(name, count)| format!("{count} {name}")).collect();
    format!(
        "through the proxies {} sessions ({} cut) with {} replies, beside them {} with {}; the last round's direct \
         replies took {median} us (median), {slow} us (99 %), {slowest} us at most; {}; {}",
        harmed.sessions,
        harmed.cut,
        harmed.answered,
        direct.sessions,
        direct.answered,
        done.join(", "),
        looks.text()
    )
}

/// Servers that err, and what must be said of them: the soak itself is tested by that.
#[test]
fn a_server_that_errs_is_found_out() {
    use errant::Fault::{Close, Corrupt, Cut, Damage, Refuse, Swap, Twice};
    #[rustfmt::skip]
    let table = [
        (Swap(1),    "request 2 was answered before request 1"),
        (Twice(1),   "request 1 was answered twice"),
        (Corrupt(1), "the reply to request 1 was altered"),
        (Damage(1),  "a reply's checksum is wrong"),
        (Refuse(1),  "request 1 to route 1 was refused with status 5"),
        (Cut(1),     "requests open and no reason"),
        (Close(1),   "requests open and no reason"),
    ];
    for (fault, want) in table {
        let server = Errant::start(fault);
        let path = Path { frames: server.address, lines: server.address, proxies: None };
        // It knows nothing but echoes.
        let manner = Manner { routes: &[ECHO], requests: 4, window: 4, waits: false, is_bulk: false };
        let said = play(path, Shape::Plain, &manner, 7, &mut Rng::new(1));
        let said = said.err().unwrap_or_else(|| panic!("{fault:?} was not noticed"));
        assert!(said.contains("client 7: ") && said.contains(want), "{fault:?}: {said}");
    }
}

/// Mistakes that the server was once capable of, as far as a few sessions beside the proxies meet them.
#[cfg(feature = "planted-bugs")]
#[test]
fn planted_bugs_are_found() {
    use tidegate::base::planted::{Bug, plant};
    for bug in [Bug::WrittenTwice, Bug::TailCut, Bug::SlotOffByOne, Bug::SerialIgnored] {
        let parking = Parking::default();
        let service = Mixed { parking: parking.clone() };
        let running = servers().shards(1).workers(2, 10_000).limits(limits()).start(move || {
            // This is the loop's own thread.
            plant(Some(bug));
            service.clone()
        });
        let serving = Serving::of(running.expect("a server"));
        let answering = Answering::start(&parking, 1);
        let path = Path { frames: serving.frames(), lines: serving.lines(), proxies: None };
        let said = clients(path, &AtomicU32::new(1), Rng::new(1), Instant::now() + support::PATIENCE);
        assert!(said.is_err(), "{bug:?} was not found: {said:?}");
        answering.end();
    }
}
