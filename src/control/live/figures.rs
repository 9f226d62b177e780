//! What a beat says by loop, by service and by listener.
//!
//! Always holds: a percentile is the upper bound of the bucket that it lies in, as a histogram of `/metrics` tells it. Never:
//! a percentile of another time than that since the beat before.

use super::beat::seconds;
use crate::control::metrics::Scrape;
use crate::metrics::{self, BUCKETS, Counter, Gauge, Snapshot, Timing};
use crate::server::{OTHER_ROUTES, RouteLabel};
use serde::Serialize;
use std::time::Duration;

/// How long things took between two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Durations {
    count: u64,
    /// Less than so many microseconds. `None`: nothing was counted, or it took longer than all bounds (8.4 s).
    p50_us: Option<u64>,
    p99_us: Option<u64>,
    p999_us: Option<u64>,
}

impl Durations {
    pub(super) const fn p99_us(&self) -> Option<u64> {
        self.p99_us
    }

    pub(super) fn between(before: &metrics::Durations, now: &metrics::Durations) -> Durations {
        let mut buckets = [(None, 0); BUCKETS];
        for ((bucket, (bound, now)), (_, before)) in
            buckets.iter_mut().zip(now.buckets()).zip(before.buckets())
        {
            *bucket = (bound, now.saturating_sub(before));
        }
        let count: u64 = buckets.iter().map(|(_, count)| count).sum();
        let below = |per_mille: u64| {
            // At least one: of nothing there is no percentile.
            let rank = (count * per_mille).div_ceil(1000).max(1);
            let mut until_here = 0;
            let reaches = |(_, here): &&(Option<u64>, u64)| {
                until_here += here;
                until_here >= rank
            };
            buckets.iter().find(reaches).and_then(|(bound, _)| *bound)
        };
        Durations { count, p50_us: below(500), p99_us: below(990), p999_us: below(999) }
    }
}

/// One event loop.
#[derive(Serialize)]
pub(super) struct LoopShown {
    #[serde(rename = "loop")]
    shard: usize,
    dead: bool,
    torn: bool,
    /// How long its turn has been running; 0 while it waits.
    running_s: f64,
    /// The connection that it visits meanwhile.
    visiting: Option<String>,
    busy_s: f64,
    cpu_s: Option<f64>,
    runqueue_wait_s: Option<f64>,
    connections: u64,
    accepted: u64,
    messages_in: u64,
    messages_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    in_flight: u64,
    stalls: u64,
    slow_turns: u64,
    commands: usize,
    answers: usize,
    turn: Option<Durations>,
    ready: Option<Durations>,
}

pub(super) fn loops(scrape: &Scrape, before: Option<&Scrape>) -> Vec<LoopShown> {
    let all = scrape.shards.iter().zip(&scrape.states).enumerate();
    let each = all.map(|(shard, (figures, state))| {
        let before = before.and_then(|before| before.shards.get(shard));
        let times = |timing| Some(Durations::between(before?.timing(timing), figures.timing(timing)));
        let thread = scrape.system.threads.get(shard).copied().flatten();
        LoopShown {
            shard,
            dead: scrape.dead.map(usize::from) == Some(shard),
            torn: figures.torn(),
            running_s: seconds(state.turn.unwrap_or(Duration::ZERO)),
            visiting: state.visiting.map(|connection| connection.to_string()),
            busy_s: seconds(Duration::from_micros(figures.timing(Timing::Turn).sum_us())),
            cpu_s: thread.map(|thread| seconds(thread.ran)),
            runqueue_wait_s: thread.map(|thread| seconds(thread.waited)),
            connections: figures.gauge(Gauge::Open),
            accepted: figures.counter(Counter::Accepted),
            messages_in: figures.counter(Counter::FramesIn),
            messages_out: figures.counter(Counter::FramesOut),
            bytes_in: figures.counter(Counter::BytesIn),
            bytes_out: figures.counter(Counter::BytesOut),
            in_flight: figures.gauge(Gauge::InFlight),
            stalls: figures.counter(Counter::Stalls),
            slow_turns: figures.counter(Counter::SlowTurns),
            commands: state.commands,
            answers: state.answers,
            turn: times(Timing::Turn),
            ready: times(Timing::Ready),
        }
    });
    each.collect()
}

/// What answers some routes.
#[derive(Serialize)]
pub(super) struct ServiceShown {
    service: String,
    /// As `16-31`; empty for all routes without a label.
    routes: String,
    /// How long handlers took; one request in 64 is measured.
    handler: Option<Durations>,
    measured: u64,
    stalls: u64,
}

/// Each label, all other routes, and behind them batches with requests of several.
pub(super) fn services(scrape: &Scrape, before: Option<&Scrape>) -> Vec<ServiceShown> {
    let sum = &scrape.sum;
    let mut all: Vec<ServiceShown> = Vec::new();
    for (place, (service, routes)) in names(&scrape.capacity.labels).enumerate() {
        // A range that is named a second time counts nothing.
        if all.iter().any(|other| other.service == service && other.routes == routes) {
            continue;
        }
        let handlers = |snapshot: &Snapshot| snapshot.handlers().get(place).copied();
        let before = before.map(|before| handlers(&before.sum).unwrap_or(metrics::Durations::ZERO));
        let now = handlers(sum);
        all.push(ServiceShown {
            service,
            routes,
            handler: before.zip(now).map(|(before, now)| Durations::between(&before, &now)),
            measured: now.map_or(0, |now| now.count()),
            stalls: sum.stalls().get(place).copied().unwrap_or_default(),
        });
    }
    all
}

fn names(labels: &[RouteLabel]) -> impl Iterator<Item = (String, String)> {
    let named = labels.iter().map(|RouteLabel { first, last, service }| {
        let routes = if first == last { first.to_string() } else { format!("{first}-{last}") };
        (service.to_string(), routes)
    });
    named.chain([OTHER_ROUTES, "mixed"].map(|name| (name.to_owned(), String::new())))
}

/// One listener, or all connections that were dialed.
#[derive(Serialize)]
pub(super) struct ListenerShown {
    listener: String,
    open: u64,
    accepted: u64,
    /// How long its certificate is good for, if it has one.
    certificate_expires_in_s: Option<i64>,
}

impl ListenerShown {
    pub(super) fn all(scrape: &Scrape) -> Vec<ListenerShown> {
        let expires =
            |place: usize| scrape.tls.expires_in.iter().find(|(at, _)| *at == place).map(|(_, left)| *left);
        let all = scrape.listeners.iter().zip(scrape.sum.listeners()).enumerate();
        all.map(|(place, (listener, figures))| ListenerShown {
            listener: listener.clone(),
            open: figures.open,
            accepted: figures.accepted,
            certificate_expires_in_s: expires(place),
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Time;
    use crate::metrics::Recorder;

    /// Turns of so many microseconds, before and between.
    fn between(before: &[u64], then: &[u64]) -> Durations {
        let mut recorder = Recorder::new(0, 0);
        let mut turns = |all: &[u64]| {
            for us in all {
                recorder.begin_turn(Time(0));
                recorder.end_turn(*us);
            }
            *recorder.shared().snapshot().timing(Timing::Turn)
        };
        let (first, last) = (turns(before), turns(then));
        Durations::between(&first, &last)
    }

    /// Its name, what was measured, and the three percentiles.
    type Case = (&'static str, Vec<u64>, [Option<u64>; 3]);

    #[test]
    fn a_percentile_is_its_buckets_bound() {
        let many = |us, count| vec![us; count];
        #[rustfmt::skip]
        let table: &[Case] = &[
            ("nothing",                  vec![],                                   [None, None, None]),
            ("one",                      vec![100],                                [Some(128); 3]),
            ("of two the smaller half",  vec![1, 1000],                            [Some(2), Some(1024), Some(1024)]),
            ("one in a hundred",         [many(3, 99), many(5000, 1)].concat(),    [Some(4), Some(4), Some(8192)]),
            ("two in a hundred",         [many(3, 98), many(5000, 2)].concat(),    [Some(4), Some(8192), Some(8192)]),
            ("one in a thousand",        [many(3, 999), many(5000, 1)].concat(),   [Some(4), Some(4), Some(4)]),
            ("longer than all bounds",   vec![9_000_000],                          [None; 3]),
        ];
        for (name, then, [p50_us, p99_us, p999_us]) in table {
            let count = then.len() as u64;
            let want = Durations { count, p50_us: *p50_us, p99_us: *p99_us, p999_us: *p999_us };
            assert_eq!(between(&[7, 70_000, 9_000_000], then), want, "case: {name}");
        }
    }
}
