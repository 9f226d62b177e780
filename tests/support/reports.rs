//! Reports of runs that never were, for tests of what is made from reports: one of each kind that a reader may meet.
//!
//! Always holds: the same at every call; every request has one fate, and the histograms have the counts that the
//! report says. Never: anything measured.
//!
//! Whoever takes it in brings `load`: the crate's module, as it is called there.

#![allow(dead_code, unreachable_pub, reason = "each user takes a part of this")]

use super::load::histogram::Histogram;
use super::load::report::{
    Arrival, Asked, Assertion, Class, Confidence, Connections, Counts, Floor, Host, Interval, Model,
    OwnFigures, Protocol, Ratio, Report, SCHEMA, Search, ServerFigures, Spread, Trouble, Try, Verdict,
};
use std::time::Duration;

/// A text that is markup in HTML and a colour on a terminal.
pub const NASTY: &str = "</script><img src=x onerror=alert(1)>\"'&\x1b[31m";

/// Requests in a record of the histograms below.
const WEIGHT: u64 = 50;

/// Noise that repeats.
struct Noise(u64);

impl Noise {
    /// 0 to 1, both excluded.
    fn share(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let bits = u32::try_from(self.0 >> 33).expect("31 bits fit");
        (f64::from(bits) + 0.5) / f64::from(1_u32 << 31)
    }

    /// Around 0 like a bell, about -3 to 3.
    fn bell(&mut self) -> f64 {
        (0..12).map(|_| self.share()).sum::<f64>() - 6.0
    }
}

fn ns(seconds: f64) -> u64 {
    u64::try_from(Duration::from_secs_f64(seconds.max(0.0)).as_nanos()).expect("samples are short")
}

/// The three times of a kind of connection: `service_us` in the middle, a queue now and then.
fn class(name: &str, connections: u32, requests: u64, service_us: f64, seed: u64) -> Class {
    let mut noise = Noise(seed | 1);
    let mut class = Class {
        name: name.to_owned(),
        connections,
        response: Histogram::default(),
        service: Histogram::default(),
        lag: Histogram::default(),
        censored: 0,
    };
    for _ in 0..requests / WEIGHT {
        let service = service_us * 1e-6 * (0.28 * noise.bell()).exp() * (1.0 + 0.004 / noise.share());
        let is_late = noise.share() < 0.02;
        let lag = if is_late {
            220e-6 * noise.share() / noise.share().sqrt()
        } else {
            1.8e-6 * (0.5 * noise.bell()).exp()
        };
        class.response.record(ns(service + lag), WEIGHT);
        class.service.record(ns(service), WEIGHT);
        class.lag.record(ns(lag), WEIGHT);
    }
    class
}

/// A run of `warmup + 30 + 1` seconds at `rate`, with p50 and p99 around those given.
fn series(warmup: u32, rate: u64, p50_us: f64, p99_us: f64, seed: u64) -> Vec<Interval> {
    let mut noise = Noise(seed | 1);
    let seconds = warmup + 31;
    let one = |second: u32| {
        let is_draining = second + 1 == seconds;
        let slow = if second < warmup { 2.4 - f64::from(second) * 0.3 } else { 1.0 };
        let p50 = p50_us * 1e-6 * slow * (0.03 * noise.bell()).exp();
        let p99 = p99_us * 1e-6 * slow * (0.12 * noise.bell()).exp();
        let sent = if is_draining { 0 } else { rate };
        Interval {
            at_s: f64::from(second),
            length_s: 1.0,
            measured: second >= warmup && !is_draining,
            scheduled: sent,
            sent,
            answered: sent,
            in_flight: 4,
            open: 64,
            p50_ns: (!is_draining).then(|| ns(p50)),
            p99_ns: (!is_draining).then(|| ns(p99)),
            p999_ns: (!is_draining).then(|| ns(p99 * 3.1)),
            max_ns: (!is_draining).then(|| ns(p99 * (6.0 + noise.bell()))),
            busy: 0.38,
            ..Interval::default()
        }
    };
    (0..seconds).map(one).collect()
}

/// An open loop at 50k/s that went well.
pub fn normal() -> Report {
    let requests = 1_500_000;
    let mut connect = Histogram::default();
    let mut noise = Noise(11);
    for _ in 0..64 {
        connect.record(ns(95e-6 * (0.3 * noise.bell()).exp()), 1);
    }
    Report {
        schema: SCHEMA,
        version: "0.1.0".to_owned(),
        command: "tidegate bench 127.0.0.1:7411 --rate 50k --connections 64 --in-flight 16".to_owned(),
        began_unix_ms: 1_795_402_634_000,
        host: Host {
            system: "Linux 6.12.41".to_owned(),
            processor: "AMD EPYC 9B14".to_owned(),
            processors: 2,
        },
        asked: Asked {
            target: "127.0.0.1:7411".to_owned(),
            protocol: Protocol::Frames,
            model: Model::Open,
            profile: Some("50k".to_owned()),
            arrival: Some(Arrival::Poisson),
            connections: 64,
            idle: 0,
            in_flight: 16,
            size: "64".to_owned(),
            correlated: false,
            expect: "same".to_owned(),
            impair: String::new(),
            seed: 7,
            threads: 1,
            processes: 1,
            warmup_s: 5.0,
            duration_s: 30.0,
        },
        verdict: Verdict {
            void_because: Vec::new(),
            notes: Vec::new(),
            own: OwnFigures {
                busy: 0.38,
                waited: Some(0.004),
                late_p50_ns: Some(600),
                late_p99_ns: Some(4_300),
                late_max_ns: Some(61_000),
                turn_max_ns: 184_000,
                achieved: Some(1.0),
            },
        },
        measured_s: 30.0,
        counts: Counts {
            scheduled: requests,
            sent: requests,
            answered: requests,
            unanswered: 0,
            abandoned: 0,
            dropped: 0,
            bytes_out: requests * 74,
            bytes_in: requests * 76,
        },
        troubles: [].into(),
        statuses: [].into(),
        connections: Connections {
            wanted: 64,
            attempted: 64,
            established: 64,
            verified: 64,
            lost: 0,
            retired: 0,
            open_max: 64,
            ramp_s: Some(0.021),
            connect,
            recovery: Histogram::default(),
        },
        classes: vec![class("plain", 64, requests, 62.0, 3)],
        series: series(5, 50_000, 66.0, 240.0, 5),
        confidence: Some(Confidence {
            parts: 15,
            percentiles: [
                (50.0, 66.1e3, 0.4e3),
                (90.0, 96.0e3, 0.9e3),
                (99.0, 242e3, 7.1e3),
                (99.9, 861e3, 61e3),
            ]
            .map(|(percentile, mean_ns, plus_minus_ns)| Spread { percentile, mean_ns, plus_minus_ns })
            .to_vec(),
            drift: 1.003,
        }),
        server: Some(ServerFigures {
            pid: 4_172,
            cpu_s: 6.3,
            cpu_ns_per_message: 4_212.0,
            busiest: 0.21,
            rss_bytes: 25_270_000,
        }),
        floor: None,
        search: None,
        assertions: vec![Assertion {
            text: "p99.9<5ms".to_owned(),
            held: Some(true),
            found: "p99.9 is 864 µs".to_owned(),
        }],
    }
}

/// The same a while ago: a little slower at the tail.
pub fn baseline() -> Report {
    let mut report = normal();
    report.began_unix_ms -= 86_400_000 * 3;
    report.classes = vec![class("plain", 64, 1_500_000, 71.0, 29)];
    report.series = series(5, 50_000, 75.0, 290.0, 31);
    if let Some(server) = &mut report.server {
        server.cpu_ns_per_message = 4_620.0;
    }
    if let Some(confidence) = &mut report.confidence {
        for spread in &mut confidence.percentiles {
            spread.mean_ns *= 1.14;
        }
    }
    report
}

/// The generator was the limit.
pub fn void() -> Report {
    let mut report = normal();
    report.verdict.void_because = vec![
        "own lateness p99 is 1.92 ms, more than 100 µs; give it --threads 2, or lower --rate".to_owned(),
        "91.8 % of the requests due were sent, less than 99 %, while the generator was 99 % busy".to_owned(),
    ];
    report.verdict.own = OwnFigures {
        busy: 0.99,
        waited: Some(0.17),
        late_p50_ns: Some(640_000),
        late_p99_ns: Some(1_920_000),
        late_max_ns: Some(48_000_000),
        turn_max_ns: 31_000_000,
        achieved: Some(0.918),
    };
    report.counts.dropped = 123_000;
    report.counts.sent -= 123_000;
    report.counts.answered -= 123_000;
    report.assertions[0].held = Some(false);
    report.assertions[0].found = "p99.9 is 48.1 ms".to_owned();
    report.confidence = None;
    report
}

/// A closed loop: as fast as replies come.
pub fn closed() -> Report {
    let mut report = normal();
    report.command = "tidegate bench 127.0.0.1:7411 --seed 7".to_owned();
    report.asked.model = Model::Closed;
    report.asked.profile = None;
    report.asked.arrival = None;
    report.verdict.own.late_p99_ns = None;
    report.verdict.own.late_max_ns = None;
    report.verdict.own.achieved = None;
    report.classes[0].lag = Histogram::default();
    report.classes[0].response = report.classes[0].service.clone();
    report.confidence = None;
    report.assertions.clear();
    report
}

/// A search for the highest rate at which a condition holds.
pub fn search() -> Report {
    let mut report = normal();
    report.command = "tidegate bench 127.0.0.1:7411 --find-max p99<2ms".to_owned();
    let tries = [
        (10_000.0, 0.14, false),
        (20_000.0, 0.16, false),
        (40_000.0, 0.21, false),
        (80_000.0, 0.34, false),
        (160_000.0, 41.0, false),
        (120_000.0, 0.91, false),
        (140_000.0, 6.8, false),
        (130_000.0, 1.64, false),
        (135_000.0, 2.9, false),
        (132_500.0, 1.91, false),
        (134_000.0, 0.0, true),
        (132_500.0, 1.88, false),
        (132_500.0, 1.96, false),
    ];
    let a_try = |(rate, p99_ms, void): (f64, f64, bool)| Try {
        rate,
        held: !void && p99_ms < 2.0,
        because: if void {
            "own lateness p99 is 310 µs, more than 100 µs".to_owned()
        } else {
            format!("p99 is {p99_ms:.2} ms")
        },
        void,
        p99_ns: (!void).then(|| ns(p99_ms * 1e-3)),
    };
    report.search = Some(Search {
        condition: "p99<2ms".to_owned(),
        held: Some(132_500.0),
        failed: Some(135_000.0),
        confirmed: (3, 3),
        tries: tries.map(a_try).to_vec(),
    });
    report
}

/// Beside the floor of the machine.
pub fn floor() -> Report {
    let mut report = normal();
    let ratio = |(figure, server, floor): (&str, f64, f64)| Ratio {
        figure: figure.to_owned(),
        server,
        floor,
        ratio: server / floor,
        least: server / floor * 0.97,
        most: server / floor * 1.04,
    };
    let figures = [
        ("p50", 66.0, 58.0),
        ("p99", 242.0, 199.0),
        ("rate", 49_998.0, 49_997.0),
        ("cpu a message", 4.21, 3.66),
    ];
    report.floor = Some(Floor { rounds: 5, ratios: figures.map(ratio).to_vec() });
    report
}

/// Clients that behave badly, and what came of it.
pub fn impaired() -> Report {
    let mut report = normal();
    report.command = "tidegate bench 127.0.0.1:7411 --rate 50k --impair slow=5%,stall=1%,reset=1%".to_owned();
    report.asked.impair = "slow=5%,stall=1%,reset=1%".to_owned();
    report.classes = vec![
        class("plain", 59, 1_394_500, 62.0, 3),
        class("slow", 3, 75_000, 900.0, 13),
        class("stall", 1, 30_000, 14_000.0, 17),
        class("reset", 1, 500, 70.0, 19),
    ];
    report.classes[0].censored = 212;
    report.counts.unanswered = 212;
    report.counts.answered -= 212;
    report.connections.lost = 3;
    report.connections.retired = 41;
    report.connections.attempted = 110;
    report.connections.established = 108;
    report.troubles =
        [(Trouble::Reset, 3), (Trouble::ConnectRefused, 2), (Trouble::Timeout, 9), (Trouble::Status, 1_204)]
            .into();
    report.statuses = [("OVERLOADED".to_owned(), 1_180), ("LATE".to_owned(), 24)].into();
    for at in [9, 17, 18, 26] {
        report.series[at].troubles = 300;
        report.series[at].dropped = 0;
    }
    report.verdict.notes = vec![
        "212 requests were never answered (0.014 %); each is in response as long as it was waited for"
            .to_owned(),
        "the second half's median is 1.12 times the first's; measure longer, or look for what grows"
            .to_owned(),
    ];
    report.assertions.push(Assertion {
        text: "p99.999<20ms".to_owned(),
        held: None,
        found: "too few samples: 1,000,000 are needed".to_owned(),
    });
    report
}

/// A server that answers wrongly, and whose words are markup.
pub fn wrong() -> Report {
    let mut report = normal();
    report.troubles =
        [(Trouble::Crc, 3), (Trouble::Mismatch, 17), (Trouble::Timeout, 1), (Trouble::Status, 2)].into();
    report.statuses = [(NASTY.to_owned(), 2)].into();
    report.asked.target = format!("unix:/tmp/{NASTY}");
    report.command = format!("tidegate bench 'unix:/tmp/{NASTY}'");
    report.host.processor = NASTY.to_owned();
    report.verdict.notes = vec![format!("the server says {NASTY}")];
    report.classes[0].name = NASTY.to_owned();
    report.classes.push(class(NASTY, 1, 100, 50.0, 3));
    report.assertions =
        vec![Assertion { text: NASTY.to_owned(), held: Some(false), found: NASTY.to_owned() }];
    report
}

/// Nobody listened.
pub fn failed() -> Report {
    let mut report = normal();
    report.measured_s = 0.0;
    report.counts = Counts::default();
    report.troubles = [(Trouble::ConnectRefused, 64)].into();
    report.connections = Connections { wanted: 64, attempted: 64, ..Connections::default() };
    report.classes.clear();
    report.series.clear();
    report.confidence = None;
    report.server = None;
    report.assertions.clear();
    report.verdict.own = OwnFigures::default();
    report
}

/// A second with three replies: too few for almost all.
pub fn tiny() -> Report {
    let mut report = normal();
    report.measured_s = 1.0;
    report.asked.duration_s = 1.0;
    report.asked.warmup_s = 0.0;
    report.counts = Counts { scheduled: 3, sent: 3, answered: 3, ..Counts::default() };
    let mut few = class("plain", 64, 0, 1.0, 1);
    for (response, lag) in [(71_000, 0), (71_000, 900), (71_000, 0)] {
        few.response.record(response, 1);
        few.service.record(response - lag, 1);
        few.lag.record(lag, 1);
    }
    report.classes = vec![few];
    report.series.truncate(1);
    report.series[0].measured = true;
    report.confidence = None;
    report.server = None;
    report.assertions[0].held = None;
    report.assertions[0].found = "too few samples: 10,000 are needed".to_owned();
    report
}

/// All of them by name, each with what it is compared with.
pub fn all() -> Vec<(&'static str, Report, Option<Report>)> {
    vec![
        ("normal", normal(), None),
        ("baseline", normal(), Some(baseline())),
        ("void", void(), None),
        ("closed", closed(), None),
        ("search", search(), None),
        ("floor", floor(), None),
        ("impaired", impaired(), Some(failed())),
        ("wrong", wrong(), None),
        ("failed", failed(), Some(normal())),
        ("tiny", tiny(), None),
    ]
}
