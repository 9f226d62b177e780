//! The load generator against servers that err, stall, close and refuse: what it says of them, and what it says of
//! itself.
//!
//! Every run's counts are checked: each request has exactly one fate.

#![cfg(feature = "load")]

mod support;

use std::sync::Arc;
use std::time::Duration;
use support::errant::{Errant, Fault};
use support::serving::Serving;
use tidegate::load::crew::{Failure, Observer};
use tidegate::load::measure::{Setting, measure};
use tidegate::load::plan::{Expect, Impairment, Life, Plan, Talk, Traffic};
use tidegate::load::profile::Profile;
use tidegate::load::progress::Progress;
use tidegate::load::report::{Arrival, Protocol, Report, Trouble};
use tidegate::load::size::Sizes;
use tidegate::load::sources::Sources;
use tidegate::net::Endpoint;

struct Silent;

impl Observer for Silent {
    fn on_part(&mut self, _: &Progress<'_>) -> bool {
        true
    }
}

/// Closed loop, one request at a time on two connections, for half a second.
fn plan(target: impl Into<Endpoint>) -> Plan {
    Plan {
        tls: None,
        target: target.into(),
        talk: Talk {
            protocol: Protocol::Frames,
            route: 1,
            sizes: Sizes::Fixed(64),
            correlated: false,
            expect: Expect::Same,
        },
        traffic: Traffic::Closed,
        first: 0,
        connections: 2,
        idle: 0,
        in_flight: 1,
        life: Life {
            connect_rate: None,
            connect_timeout: Duration::from_secs(5),
            churn: None,
            storm: None,
            sources: Sources::Any,
            token: None,
        },
        impaired: Vec::new(),
        warmup: Duration::ZERO,
        duration: Duration::from_millis(500),
        drain: Duration::from_millis(300),
        timeout: Duration::from_secs(5),
        backlog: 1_000_000,
        interval: Duration::from_millis(100),
        keeps_times: false,
        threads: 1,
        spin: Duration::from_micros(20),
        seed: 1,
    }
}

fn open(rate: f64, arrival: Arrival) -> Traffic {
    Traffic::Open { profile: Arc::new(Profile::constant(rate)), arrival }
}

#[track_caller]
fn run(plan: &Plan) -> Report {
    let measured = measure(plan, &Setting::default(), "", &mut Silent).expect("a run");
    let report = measured.report;
    assert!(report.counts.balance(), "{:?}", report.counts);
    report
}

fn troubles(report: &Report) -> Vec<(Trouble, u64)> {
    report.troubles.iter().map(|(trouble, count)| (*trouble, *count)).collect()
}

fn ms(ns: Option<u64>) -> f64 {
    ns.expect("enough samples") as f64 / 1e6
}

/// Each connection's first request only asks whether anybody answers: number 0.
#[test]
fn a_server_that_errs_is_caught_and_named() {
    let deep = |fault: Fault| {
        let server = Errant::start(fault);
        let plan = Plan { in_flight: 4, timeout: Duration::from_millis(200), ..plan(server.address) };
        (fault, run(&plan))
    };
    #[rustfmt::skip]
    let table: &[(Fault, &[(Trouble, u64)])] = &[
        (Fault::None,        &[]),
        (Fault::Swap(6),     &[(Trouble::OutOfOrder, 2)]),
        (Fault::Corrupt(6),  &[(Trouble::Mismatch, 2)]),
        (Fault::Drop(6),     &[(Trouble::Missing, 2)]),
        (Fault::Twice(6),    &[(Trouble::Duplicate, 2)]),
        (Fault::Refuse(6),   &[(Trouble::Status, 2)]),
    ];
    for (fault, want) in table {
        let (fault, report) = deep(*fault);
        assert_eq!(&troubles(&report), want, "{fault:?}");
        let unanswered = u64::from(matches!(fault, Fault::Drop(_))) * 2;
        assert_eq!(report.counts.unanswered, unanswered, "{fault:?}");
        assert_eq!(report.classes[0].censored, unanswered, "{fault:?}");
        assert_eq!((report.connections.lost, report.connections.verified), (0, 2), "{fault:?}");
    }
    // These end the connection, and every connection made anew meets the same.
    #[rustfmt::skip]
    let table: &[(Fault, Trouble)] = &[
        (Fault::Damage(6),   Trouble::Crc),
        (Fault::Cut(6),      Trouble::Cut),
        (Fault::Close(6),    Trouble::Closed),
        (Fault::Silent(6),   Trouble::Timeout),
    ];
    for (fault, want) in table {
        let (fault, report) = deep(*fault);
        let named: Vec<_> = report.troubles.keys().copied().collect();
        assert_eq!(named, [*want], "{fault:?}");
        assert!(report.connections.lost > 0, "{fault:?}");
        assert!(report.connections.established > 2, "{fault:?}: it was begun anew");
        assert!(report.counts.unanswered > 0, "{fault:?}");
    }
}

#[test]
fn a_stall_shows_in_the_open_loop_and_hides_in_the_closed_one() {
    let stall = Fault::Stall { after_ms: 400, ms: 100 };
    let server = Errant::start(stall);
    let duration = Duration::from_millis(1500);
    let rated = Plan {
        traffic: open(2000.0, Arrival::Constant),
        in_flight: 64,
        duration,
        drain: Duration::from_secs(2),
        ..plan(server.address)
    };
    let report = run(&rated);
    assert_eq!(report.counts.scheduled, 3000);
    let response = &report.classes[0].response;
    // 100 ms at 2,000 a second are 200 requests of 3,000, and each waited for what was left of the stall.
    assert!(ms(response.percentile(99.0)) > 60.0, "p99 {:?}", response.percentile(99.0));
    assert!(ms(response.max()) > 90.0, "{:?}", response.max());
    drop(server);

    let server = Errant::start(stall);
    let report = run(&Plan { duration, ..plan(server.address) });
    let service = &report.classes[0].service;
    assert!(ms(service.max()) > 90.0, "the stall was met: {:?}", service.max());
    assert!(ms(service.percentile(99.0)) < 60.0, "p99 {:?}", service.percentile(99.0));
}

#[test]
fn what_waits_for_room_counts_from_when_it_was_due() {
    let server = Errant::start(Fault::Stall { after_ms: 300, ms: 200 });
    // Without a second request on its way, nothing is sent during the stall.
    let plan = Plan {
        traffic: open(1000.0, Arrival::Constant),
        connections: 1,
        duration: Duration::from_secs(1),
        drain: Duration::from_secs(2),
        ..plan(server.address)
    };
    let report = run(&plan);
    let class = &report.classes[0];
    assert_eq!((report.counts.scheduled, report.counts.dropped), (1000, 0));
    assert!(ms(class.response.percentile(90.0)) > 50.0, "{:?}", class.response.percentile(90.0));
    assert!(ms(class.lag.percentile(90.0)) > 50.0, "{:?}", class.lag.percentile(90.0));
    assert!(ms(class.service.percentile(90.0)) < 50.0, "only one of them was on its way");
    // Who waited for the server was not late itself.
    let late = report.verdict.own.late_p99_ns.expect("an open loop");
    assert!(late < 100_000_000, "{late}");
}

#[test]
fn what_can_not_be_sent_in_time_is_dropped_and_counted() {
    let server = Errant::start(Fault::Silent(0));
    let plan = Plan {
        traffic: open(1000.0, Arrival::Constant),
        connections: 1,
        timeout: Duration::from_millis(100),
        ..plan(server.address)
    };
    let report = run(&plan);
    assert_eq!(report.counts.scheduled, 500);
    assert!(report.counts.dropped > 300, "{:?}", report.counts);
    assert!(report.counts.unanswered > 0, "{:?}", report.counts);
    assert_eq!(report.counts.answered, 0);

    let server = Errant::start(Fault::Silent(0));
    let plan = Plan { timeout: Duration::from_secs(5), backlog: 10, ..plan };
    let plan = Plan { target: server.address.into(), ..plan };
    let report = run(&plan);
    assert_eq!((report.counts.scheduled, report.counts.sent), (500, 1));
    assert_eq!((report.counts.dropped, report.counts.unanswered), (499, 1));
}

#[test]
fn one_seed_gives_one_schedule_and_the_same_bytes() {
    let heard = |seed| {
        let server = Errant::start(Fault::None);
        let plan = Plan {
            traffic: open(2000.0, Arrival::Poisson),
            in_flight: 64,
            talk: Talk { sizes: Sizes::Uniform { least: 16, most: 200 }, ..plan(server.address).talk },
            drain: Duration::from_secs(5),
            seed,
            ..plan(server.address)
        };
        let report = run(&plan);
        let mut heard = std::mem::take(&mut *server.heard.lock().expect("no panic"));
        // Which connection is accepted first is the kernel's choice: they say who they are.
        heard.sort_by_key(|bytes| bytes[10..14].to_vec());
        (report.counts.scheduled, heard)
    };
    let (first, again, other) = (heard(1), heard(1), heard(2));
    assert_eq!(first.1.len(), 2);
    assert!(first.0 > 800, "{}", first.0);
    assert_eq!(first, again);
    assert_ne!(first.1, other.1);
}

#[test]
fn bad_clients_have_figures_of_their_own_and_hurt_nobody() {
    let server = Serving::embedded();
    let impaired = vec![
        (Impairment::Slow { bytes_per_s: 16 << 10 }, 0.2),
        (Impairment::Stall { pause: Duration::from_millis(100) }, 0.2),
        (Impairment::HalfClose { after: 20 }, 0.2),
        (Impairment::Reset { after: Duration::from_millis(100) }, 0.2),
    ];
    let plan = Plan {
        traffic: open(2000.0, Arrival::Poisson),
        connections: 10,
        in_flight: 64,
        impaired,
        duration: Duration::from_millis(2500),
        drain: Duration::from_secs(10),
        ..plan(server.frames())
    };
    let report = run(&plan);
    let names: Vec<_> = report.classes.iter().map(|class| (class.name.as_str(), class.connections)).collect();
    assert_eq!(names, [("plain", 2), ("slow", 2), ("stall", 2), ("half-close", 2), ("reset", 2)]);
    for class in &report.classes {
        assert!(class.response.count() > 100, "{} has {}", class.name, class.response.count());
    }
    assert!(ms(report.classes[2].service.max()) > 80.0, "a stall is in the time of its request");
    let wrong: Vec<_> = report.troubles.keys().filter(|trouble| trouble.is_wrong()).collect();
    assert!(wrong.is_empty(), "{:?}", report.troubles);
    assert!(report.counts.abandoned > 0, "resets leave requests open");
    assert!(report.connections.retired > 20, "{:?}", report.connections.retired);
    assert_eq!(report.connections.lost, 0, "{:?}", report.troubles);
}

#[test]
fn churn_and_storms_lose_nothing_that_is_not_counted() {
    let server = Serving::embedded();
    let life = Life {
        churn: Some(Duration::from_millis(100)),
        storm: Some(Duration::from_millis(400)),
        ..plan(server.frames()).life
    };
    let plan = Plan {
        life,
        connections: 20,
        in_flight: 8,
        idle: 5,
        threads: 2,
        duration: Duration::from_millis(1500),
        ..plan(server.frames())
    };
    let report = run(&plan);
    assert_eq!(troubles(&report), []);
    let connections = &report.connections;
    assert_eq!((connections.wanted, connections.open_max, connections.lost), (25, 25, 0));
    assert!(connections.retired > 100, "{}", connections.retired);
    assert!(connections.verified > connections.retired, "each was proven: {connections:?}");
    assert!(
        connections.recovery.count() >= 4,
        "three storms on two threads: {}",
        connections.recovery.count()
    );
    assert!(report.counts.answered > 500);
}

#[test]
fn lines_correlations_and_sizes_are_spoken_too() {
    let server = Serving::embedded();
    let base = plan(server.frames());
    let sizes = Sizes::Uniform { least: 0, most: 3000 };
    #[rustfmt::skip]
    let table: &[(&str, Plan)] = &[
        ("flip",       Plan { talk: Talk { route: 3, expect: Expect::Flip, ..base.talk.clone() }, ..base.clone() }),
        ("correlated", Plan { talk: Talk { correlated: true, sizes, ..base.talk.clone() }, in_flight: 16, ..base.clone() }),
        ("sizes",      Plan { talk: Talk { sizes, ..base.talk.clone() }, in_flight: 16, ..base.clone() }),
        ("large",      Plan { talk: Talk { sizes: Sizes::Fixed(1 << 20), ..base.talk.clone() }, in_flight: 2, ..base.clone() }),
        ("lines",      Plan { talk: Talk { protocol: Protocol::Lines, expect: Expect::Any, ..base.talk.clone() },
                              target: server.lines().into(), in_flight: 16, ..base.clone() }),
        ("no route",   Plan { talk: Talk { route: 999, ..base.talk.clone() }, ..base.clone() }),
    ];
    for (name, plan) in table {
        let report = run(plan);
        assert!(report.counts.answered > 20, "{name}: {:?}", report.counts);
        assert_eq!(report.counts.unanswered, 0, "{name}");
        let count = report.classes[0].service.count();
        if *name == "no route" {
            assert_eq!(report.troubles.keys().collect::<Vec<_>>(), [&Trouble::Status]);
            assert_eq!(report.statuses.keys().collect::<Vec<_>>(), ["NO_ROUTE"]);
            assert_eq!(count, 0, "failures are quick, and no figure of the server");
        } else {
            assert_eq!(troubles(&report), [], "{name}");
            assert_eq!(count, report.counts.answered, "{name}");
        }
    }
}

#[test]
fn a_server_that_drains_is_not_called_wrong() {
    let server = Serving::embedded();
    let plan = Plan { duration: Duration::from_secs(1), in_flight: 8, ..plan(server.frames()) };
    let report = std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&plan));
        std::thread::sleep(Duration::from_millis(400));
        server.end();
        running.join().expect("no panic")
    });
    let wrong: Vec<_> = report.troubles.keys().filter(|trouble| trouble.is_wrong()).collect();
    assert!(wrong.is_empty(), "{:?}", report.troubles);
    // Who comes back while it drains is told once more, or closed before its first request is read.
    assert!(report.troubles.get(&Trouble::GoAway) >= Some(&2), "{:?}", report.troubles);
    // At most what crossed the last word of a connection, which says that it was not taken.
    assert!(report.counts.unanswered <= 8 * report.connections.lost, "{:?}", report.counts);
}

#[test]
fn who_can_not_be_reached_is_told() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let failure = |plan: &Plan| measure(plan, &Setting::default(), "", &mut Silent).expect_err("no server");
    let told = failure(&plan(free));
    assert!(matches!(told, Failure::NotConnected { .. }), "{told}");
    assert!(told.to_string().contains("refused"), "{told}");
    let server = Serving::embedded();
    let discard = Plan {
        talk: Talk { route: 2, ..plan(server.frames()).talk },
        timeout: Duration::from_millis(300),
        life: Life { connect_timeout: Duration::from_millis(300), ..plan(server.frames()).life },
        ..plan(server.frames())
    };
    let told = failure(&discard);
    assert!(matches!(told, Failure::NotAnswered { .. }), "{told}");
    assert!(told.to_string().contains("route 2"), "{told}");
}
