//! A hundred thousand clients that come and go in every way: of none of them anything is left.
//!
//! In this process, where every figure can be looked at, and in one of the binary, whose memory is the server's alone.
//! One after the other, and in a file of their own, since descriptors and memory are the whole process's.
//! `TIDEGATE_SOAK=2h` makes each last; see tests/soak.rs.

#![cfg(target_os = "linux")]

mod support;

#[path = "churn/ways.rs"]
mod ways;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use support::client::{Client, ECHO, ERROR, OVERLOADED, frame};
use support::ledger::{Looks, Watch, figures, verdict};
use support::parking::Parking;
use support::rounds::Rounds;
use support::serving::{Serving, builder};
use support::{status, wait_until};
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

/// So much the resident memory may grow without anything being lost. A leak of 80 bytes in each connection is more, over
/// the rounds in between.
const NOISE_BYTES: u64 = 4 << 20;

/// One test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn descriptors(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).expect("it is there").count()
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

/// Answers any that waits.
fn answer_one(parking: &Parking) {
    let parked = parking.try_take(|count| count / 2);
    parked.into_iter().for_each(|parked| parked.later.send(&parked.payload));
}

/// A tenth of the clients, on some threads; adds up how many came in each way. After one in fifty, somebody who waits
/// is answered: before or after it has gone.
fn tenth(to: [SocketAddr; 2], answer: impl Fn() + Sync, seed: u64, came: &mut [u64; Way::COUNT]) {
    let counts = Mutex::new([0; Way::COUNT]);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (counts, answer) = (&counts, &answer);
            scope.spawn(move || {
                let mut rng = Rng::new(seed.wrapping_mul(1000) + thread);
                let (mut held, mut mine) = (VecDeque::with_capacity(HELD), [0; Way::COUNT]);
                for _ in 0..TENTH / THREADS {
                    let visitor = Visitor::come(to[0], to[1], &mut rng);
                    mine[visitor.place()] += 1;
                    held.push_back(visitor);
                    if held.len() == HELD {
                        held.pop_front().into_iter().for_each(Visitor::go);
                    }
                    if rng.chance(20) {
                        answer();
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
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let own = std::process::id();
    let parking = Parking::default();
    let parked = parking.clone();
    let running =
        builder().shards(SHARDS).workers(2, 10_000).memory(usize::try_from(BUDGET_BYTES).expect("small"));
    let running = running.start_fn(move |frame, reply| handle(&parked, frame, reply));
    let serving = Serving::of(running.expect("a server"));
    serving.connect().echo(b"warm");
    rest(&serving, &parking);
    let (base, descriptors_before) = (status(own, "VmRSS"), descriptors(own));

    let mut rounds = Rounds::begin("churn");
    let (mut came, mut residents, mut looks) = ([0; Way::COUNT], Vec::new(), Looks::default());
    while let Some(seed) = rounds.next(10) {
        let watch = Watch::of(&serving.handle, seed);
        tenth([serving.frames(), serving.lines()], || answer_one(&parking), seed, &mut came);
        looks.add(watch.end());
        let now = rest(&serving, &parking);
        let figures = figures(&now).expect("of one moment");
        verdict(&figures).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        assert_eq!(now.counter(Counter::Accepted), now.closes_total(), "seed {seed}: accepted and closed");
        wait_until("as many descriptors as before", || descriptors(own) == descriptors_before);
        residents.push(status(own, "VmRSS"));
        rounds.report(|| format!("{}; {}", said(own, &came, &residents, base), looks.text()));
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

    check_growth(&residents);
    let ceiling = base + BUDGET_BYTES + THREADS * HELD as u64 * IDLE_BYTES as u64 + OWN_BYTES;
    let most = status(own, "VmHWM");
    assert!(most <= ceiling, "{most} bytes were resident, of {ceiling}");
    every_later_is_to_be_had(&serving, &parking);
    rounds.end(&format!("{} of {ceiling} B; {}", said(own, &came, &residents, base), looks.text()));
    serving.end();
}

/// Each loop can defer as many requests as a fresh one: no place of an answer was lost.
fn every_later_is_to_be_had(serving: &Serving, parking: &Parking) {
    let places = usize::from(SHARDS) * LATERS_PER_SHARD;
    let (before, started) = (parking.count(), serving.snapshot().counter(Counter::Started));
    // Loops share connections, not places; with half as many again each has enough to fill its own.
    let each = usize::try_from(OPEN_REQUESTS).expect("small");
    let mut clients: Vec<Client> = (0..places / each * 3 / 2).map(|_| serving.connect()).collect();
    let asked = frame(LATER, b"1").repeat(each);
    clients.iter_mut().for_each(|client| client.send(&asked));
    let all = clients.len() * each;
    // Who is late would get the place of one that has been answered, and nobody answers him.
    serving.wait_for("all was asked", |now| now.counter(Counter::Started) - started >= all as u64);
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

/// From the second round to the last, at rest: the least of the first few against the least of the last few, since an
/// allocator keeps more at one time than at another, and a leak raises them all.
#[track_caller]
fn check_growth(residents: &[u64]) {
    let few = (residents.len() / 3).min(3);
    let early = residents[1..].iter().take(few).min().expect("a few");
    let late = residents.iter().rev().take(few).min().expect("a few");
    assert!(*late <= early + NOISE_BYTES, "resident memory grew from {early} to {late} bytes: {residents:?}");
}

/// The binary, held to what it prints.
#[cfg(feature = "cli")]
#[test]
fn the_binary_stays_below_what_it_prints() {
    use support::process::{BINARY, Process, SERVE};
    const MEMORY: &str = "16MiB";
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = std::process::Command::new(BINARY);
    let server = Process::start(command.args(SERVE).env("TIDEGATE_SERVER__MEMORY", MEMORY));
    let banner = server.banner();
    let connections = THREADS * HELD as u64;
    let printed = format!("  memory   {MEMORY} for buffers; up to ");
    let rest = banner.lines().find_map(|line| line.strip_prefix(&printed)).expect("it is printed");
    let idle = rest.split_once(" connections, ").and_then(|(_, idle)| idle.split_once(" B each when idle;"));
    let idle: u64 = idle.and_then(|(bytes, _)| bytes.parse().ok()).unwrap_or_else(|| panic!("{banner}"));
    let process = u32::try_from(server.id()).expect("ids are positive");
    Client::connect(server.frames).echo(b"warm");
    let base = status(process, "VmRSS");
    let mut few = usize::MAX;
    wait_until("nobody is connected", || {
        let before = std::mem::replace(&mut few, descriptors(process));
        std::thread::sleep(Duration::from_millis(20));
        few == before
    });

    let mut rounds = Rounds::begin("churn of the binary");
    let (mut came, mut residents) = ([0; Way::COUNT], Vec::new());
    while let Some(seed) = rounds.next(6) {
        tenth([server.frames, server.lines], || (), seed, &mut came);
        wait_until("as many descriptors as before", || descriptors(process) == few);
        residents.push(status(process, "VmRSS"));
        rounds.report(|| said(process, &came, &residents, base));
    }
    check_growth(&residents);
    let (most, ceiling) = (status(process, "VmHWM"), base + (16 << 20) + connections * idle);
    assert!(most <= ceiling, "{most} bytes were resident, of {ceiling}");
    rounds.end(&format!("{} of {ceiling} B", said(process, &came, &residents, base)));
    server.end();
}

fn said(process: u32, came: &[u64; Way::COUNT], residents: &[u64], base: u64) -> String {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64);
    let (second, last) = (residents.get(1).copied().unwrap_or(0), residents.last().copied().unwrap_or(0));
    format!(
        "{} connections; resident {} at first, {} after the second round, {} now, {} at most",
        came.iter().sum::<u64>(),
        mib(base),
        mib(second),
        mib(last),
        mib(status(process, "VmHWM")),
    )
}
