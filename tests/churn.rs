//! A hundred thousand clients that come and go in every way: of none of them anything is left.
//!
//! Alone in its file, since it counts the descriptors and the memory of its process. `TIDEGATE_SOAK=2h` makes it last;
//! see tests/soak.rs.

#![cfg(target_os = "linux")]

mod support;

#[path = "churn/ways.rs"]
mod ways;

use std::collections::VecDeque;
use std::sync::Mutex;
use support::client::{Client, ECHO, ERROR, OVERLOADED, frame};
use support::ledger::{Looks, Watch, figures, verdict};
use support::parking::Parking;
use support::rounds::Rounds;
use support::serving::{Serving, builder};
use support::wait_until;
use tidegate::base::Rng;
use tidegate::base::limits::{LATERS_PER_SHARD, OPEN_REQUESTS};
use tidegate::metrics::{Counter, Gauge, Snapshot};
use tidegate::service::{Frame, Replied, Reply};
use tidegate::turn::IDLE_BYTES;
use ways::{LATER, Visitor, WORK, Way};

/// Connections of a tenth.
const TENTH: u64 = 10_000;
const THREADS: u64 = 4;
/// Connections that each thread keeps open; the oldest goes when one more comes.
const HELD: usize = 128;
const SHARDS: u16 = 2;
const BUDGET_BYTES: u64 = 32 << 20;

/// What the clients' side of this process may take, and what the allocator keeps of it.
const OWN_BYTES: u64 = 8 << 20;

/// Between two moments of rest the resident memory may differ by so much without anything being lost: an allocator
/// gives back what it likes. A leak of 32 bytes in each connection is more, from the second tenth to the last.
const NOISE_BYTES: u64 = 2 << 20;

/// A figure of /proc/self/status, in bytes.
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("it is there");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells it");
    let kib = line.trim_start_matches(':').trim().trim_end_matches(" kB");
    kib.parse::<u64>().expect("a number") << 10
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("it is there").count()
}

fn handle(parking: &Parking, frame: Frame<'_>, reply: Reply<'_>) -> Replied {
    match frame.route() {
        LATER => {
            let (later, replied) = reply.defer();
            if let Ok(later) = later {
                parking.park(frame, later);
            }
            replied
        }
        WORK => {
            let payload = frame.payload().to_vec();
            reply.offload(move || payload)
        }
        _ => reply.forward(frame.whole()),
    }
}

/// Everybody has gone and every gauge is at zero. Answers what is still parked, half of it by dropping it.
fn rest(serving: &Serving, parking: &Parking) -> Snapshot {
    let mut now = serving.handle.snapshot();
    wait_until("every gauge is back at zero", || {
        while let Some(parked) = parking.try_take(|_| 0) {
            if parked.payload[0] % 2 == 0 { drop(parked) } else { parked.later.send(&parked.payload) }
        }
        now = serving.handle.snapshot();
        !now.torn() && Gauge::ALL.iter().all(|gauge| now.gauge(*gauge) == 0)
    });
    assert_eq!(serving.handle.connections(), 0);
    now
}

/// A tenth of the clients, on some threads; adds up how many came in each way.
fn tenth(serving: &Serving, parking: &Parking, seed: u64, came: &mut [u64; Way::COUNT]) {
    let counts = Mutex::new([0; Way::COUNT]);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let counts = &counts;
            scope.spawn(move || {
                let mut rng = Rng::new(seed.wrapping_mul(1000) + thread);
                let (mut held, mut mine) = (VecDeque::with_capacity(HELD), [0; Way::COUNT]);
                for _ in 0..TENTH / THREADS {
                    if held.len() == HELD {
                        held.pop_front().map(Visitor::go);
                    }
                    let visitor = Visitor::come(serving.frames(), serving.lines(), &mut rng);
                    mine[visitor.place()] += 1;
                    held.push_back(visitor);
                    // Some are answered, before their client goes or after.
                    if rng.chance(20) {
                        let parked = parking.try_take(|count| count / 2);
                        parked.into_iter().for_each(|parked| parked.later.send(&parked.payload));
                    }
                }
                held.into_iter().for_each(Visitor::go);
                let mut counts = counts.lock().expect("no panic");
                counts.iter_mut().zip(mine).for_each(|(all, more)| *all += more);
            });
        }
    });
    let counts = counts.into_inner().expect("no panic");
    came.iter_mut().zip(counts).for_each(|(all, more)| *all += more);
}

#[test]
fn nothing_is_left_of_those_who_came_and_went() {
    let parking = Parking::default();
    let parked = parking.clone();
    let running =
        builder().shards(SHARDS).workers(2, 10_000).memory(usize::try_from(BUDGET_BYTES).expect("small"));
    let running = running.start_fn(move |frame, reply| handle(&parked, frame, reply));
    let serving = Serving::of(running.expect("a server"));
    serving.connect().echo(b"warm");
    rest(&serving, &parking);
    let (base, descriptors_before) = (status("VmRSS"), descriptors());

    let mut rounds = Rounds::begin("churn");
    let (mut came, mut residents, mut looks) = ([0; Way::COUNT], Vec::new(), Looks::default());
    while let Some(seed) = rounds.next(10) {
        let watch = Watch::of(&serving.handle, seed);
        tenth(&serving, &parking, seed, &mut came);
        let seen = watch.end();
        looks = Looks { whole: looks.whole + seen.whole, torn: looks.torn + seen.torn };
        let now = rest(&serving, &parking);
        let figures = figures(&now).expect("of one moment");
        verdict(&figures).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        assert_eq!(now.counter(Counter::Accepted), now.closes_total(), "seed {seed}: accepted and closed");
        wait_until("as many descriptors as before", || descriptors() == descriptors_before);
        residents.push(status("VmRSS"));
        rounds.report(|| said(&came, &residents, base, looks));
    }
    let now = rest(&serving, &parking);
    let all: u64 = came.iter().sum();
    assert!(came.iter().all(|count| *count > 0), "{came:?}");
    let lost = now.counter(Counter::AcceptAborted);
    assert_eq!(
        now.counter(Counter::Accepted) + lost - 1,
        all,
        "all came in, but {lost} that were gone before"
    );
    assert!(now.counter(Counter::LateAnswers) > 0, "nobody left a request open");
    assert!(looks.whole > 200 && looks.torn < looks.whole, "{looks:?}");

    let (second, last) = (residents[1], *residents.last().expect("ten"));
    assert!(
        last <= second + NOISE_BYTES,
        "resident memory grew from {second} to {last} bytes: {residents:?}"
    );
    let ceiling = base + BUDGET_BYTES + THREADS * HELD as u64 * IDLE_BYTES as u64 + OWN_BYTES;
    let most = status("VmHWM");
    assert!(most <= ceiling, "{most} bytes were resident, of {ceiling}");
    every_later_is_to_be_had(&serving, &parking);
    rounds.end(&said(&came, &residents, base, looks));
    serving.end();
}

/// Each loop can defer as many requests as a fresh one: no place of an answer was lost.
fn every_later_is_to_be_had(serving: &Serving, parking: &Parking) {
    let places = usize::from(SHARDS) * LATERS_PER_SHARD;
    let before = parking.count();
    // Loops share connections, not places; with half as many again each has enough to fill its own.
    let each = usize::try_from(OPEN_REQUESTS).expect("small");
    let mut clients: Vec<Client> = (0..places / each * 3 / 2).map(|_| serving.connect()).collect();
    let asked = frame(LATER, b"1").repeat(each);
    clients.iter_mut().for_each(|client| client.send(&asked));
    let all = clients.len() * each;
    serving.wait_for("all was asked", |now| now.gauge(Gauge::InFlight) >= places as u64);
    let parked = parking.take(places);
    assert_eq!(parking.count() - before, places);
    parked.into_iter().for_each(|parked| parked.later.send(b"1"));
    let mut counts = (0, 0);
    for client in &mut clients {
        for _ in 0..each {
            let got = client.receive();
            match got.header {
                LATER => counts.0 += 1,
                ERROR => {
                    assert_eq!(got.status(), OVERLOADED, "{}", got.text());
                    counts.1 += 1;
                }
                header => panic!("{header} came"),
            }
        }
        client.request(ECHO, b"served on");
        client.expect(ECHO, b"served on");
    }
    assert_eq!(counts, (places, all - places));
    drop(clients);
    rest(serving, parking);
}

fn said(came: &[u64; Way::COUNT], residents: &[u64], base: u64, looks: Looks) -> String {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64);
    let (second, last) = (residents.get(1).copied().unwrap_or(0), residents.last().copied().unwrap_or(0));
    format!(
        "{} connections; resident {} at first, {} after the second tenth, {} now, {} at most; the ledger added up {} \
         times ({} not of one moment)",
        came.iter().sum::<u64>(),
        mib(base),
        mib(second),
        mib(last),
        mib(status("VmHWM")),
        looks.whole,
        looks.torn
    )
}
