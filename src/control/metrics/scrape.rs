//! One scrape: copies of everything, and how they become samples.
//!
//! Always holds: the number of samples depends on the numbers of loops, listeners and labeled routes alone.

use super::Own;
use super::exemplars::Explained;
use super::families::{self as f, Family, Place};
use super::page::{Labels, Number, Page, Sink};
use super::system::System;
use crate::base::{CloseReason, Fault};
use crate::metrics::{Counter, Durations, Gauge, Outcome, Snapshot, Timing};
use crate::server::{
    Capacity, ChangeFigures, Export, Handle, LoopState, OTHER_ROUTES, RouteLabel, WorkerFigures,
};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// What was built, if whoever built it said so.
pub(in super::super) const COMMIT: &str = match option_env!("TIDEGATE_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Whose routes stalls had that were several's, or nobody's.
const MIXED_ROUTES: &str = "mixed";

/// The `routes` of samples that are not one label's.
const NO_RANGE: &str = "";

/// Everything, copied.
#[derive(Debug)]
pub(in super::super) struct Scrape {
    pub(in super::super) shards: Vec<Snapshot>,
    pub(in super::super) sum: Snapshot,
    pub(in super::super) states: Vec<LoopState>,
    pub(in super::super) dead: Option<u16>,
    pub(in super::super) capacity: Capacity,
    pub(in super::super) changes: ChangeFigures,
    pub(in super::super) workers: WorkerFigures,
    /// By [`Export`].
    exports: [u64; Export::ALL.len()],
    spans_waiting: u64,
    /// Where the listeners are; behind them the word for connections that were dialed.
    pub(in super::super) listeners: Vec<String>,
    pub(in super::super) tls: Tls,
    pub(in super::super) connections: u32,
    addresses: usize,
    pub(in super::super) uptime: Duration,
    is_draining: bool,
    pub(in super::super) system: System,
    own: Own,
}

impl Scrape {
    pub(super) fn of(handle: &Handle, system: System, own: Own) -> Scrape {
        // Before the figures, which take longer where a loop is stuck.
        let states = handle.loop_states();
        let shards = handle.shard_snapshots();
        let mut sum = Snapshot::zero();
        shards.iter().for_each(|shard| sum.add(shard));
        let dialed = std::iter::once("dialed".to_owned());
        Scrape {
            sum,
            states,
            shards,
            dead: handle.dead_shard(),
            capacity: handle.capacity(),
            changes: handle.change_figures(),
            workers: handle.workers(),
            exports: Export::ALL.map(|what| handle.exports(what)),
            spans_waiting: handle.spans_waiting(),
            listeners: handle.local_addrs().iter().map(ToString::to_string).chain(dialed).collect(),
            tls: Tls::of(handle),
            connections: handle.connections(),
            addresses: handle.addresses(),
            uptime: handle.uptime(),
            is_draining: handle.is_draining(),
            system,
            own,
        }
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.write(&mut Page { encoder })
    }
}

/// What there is of certificates; nothing where TLS is not compiled in.
#[derive(Debug, Default)]
pub(in super::super) struct Tls {
    /// By listener, in seconds.
    pub(in super::super) expires_in: Vec<(usize, i64)>,
    /// Done and refused.
    pub(in super::super) reloads: (u64, u64),
}

impl Tls {
    #[cfg(feature = "tls")]
    fn of(handle: &Handle) -> Tls {
        let reloads = handle.tls_reloads();
        Tls { expires_in: handle.tls_expiries(), reloads: (reloads.done, reloads.refused) }
    }

    #[cfg(not(feature = "tls"))]
    fn of(_: &Handle) -> Tls {
        Tls::default()
    }
}

impl Scrape {
    /// All families.
    pub(super) fn write(&self, page: &mut impl Sink) -> fmt::Result {
        self.server(page)?;
        self.figures(page)?;
        self.closes(page)?;
        self.limits(page)?;
        self.times(page)?;
        self.workers(page)?;
        self.traces(page)?;
        self.tls(page)?;
        self.system(page)
    }

    fn tls(&self, page: &mut impl Sink) -> fmt::Result {
        let listener = |at: usize| vec![("listener", Cow::Owned(self.listeners[at].clone()))];
        let left = self.tls.expires_in.iter();
        page.numbers(&f::TLS_EXPIRES, left.map(|(at, left)| (listener(*at), Number::Real(*left as f64))))?;
        let (done, refused) = self.tls.reloads;
        let results = [("done", done), ("refused", refused)];
        page.numbers(
            &f::TLS_RELOADS,
            results.map(|(one, count)| (label("result", one), Number::Whole(count))),
        )
    }

    fn server(&self, page: &mut impl Sink) -> fmt::Result {
        let build = [label("version", env!("CARGO_PKG_VERSION")), label("commit", COMMIT)].concat();
        page.numbers(&f::BUILD, [(build, Number::Whole(1))])?;
        one(page, &f::UPTIME, Number::duration(self.uptime))?;
        one(page, &f::DRAINING, Number::Whole(self.is_draining.into()))?;
        let ChangeFigures { generation, age, applied, refused, unchanged, .. } = self.changes;
        one(page, &f::CONFIG_GENERATION, Number::Whole(generation))?;
        one(page, &f::CONFIG_AGE, Number::duration(age))?;
        let reloads = [("applied", applied), ("refused", refused), ("unchanged", unchanged)];
        let reloads = reloads.map(|(result, count)| (label("result", result), Number::Whole(count)));
        page.numbers(&f::CONFIG_RELOADS, reloads)?;
        let dead = self.by_shard(|shard, _| Number::Whole((self.dead == u16::try_from(shard).ok()).into()));
        page.numbers(&f::SHARD_DEAD, dead)?;
        let torn = self.by_shard(|_, figures| Number::Whole(figures.torn().into()));
        page.numbers(&f::SNAPSHOT_TORN, torn)
    }

    /// What the loops count and what is so with them, each figure in its place.
    fn figures(&self, page: &mut impl Sink) -> fmt::Result {
        for (family, counters) in grouped(Counter::ALL, f::of_counter) {
            let samples = self.shards.iter().enumerate().flat_map(|(shard, figures)| {
                counters.iter().map(move |(counter, place)| {
                    (of_place(shard, *place), Number::Whole(figures.counter(*counter)))
                })
            });
            page.numbers(family, samples)?;
        }
        for (family, gauges) in grouped(Gauge::ALL, f::of_gauge) {
            let samples = self.shards.iter().enumerate().flat_map(|(shard, figures)| {
                let mailbox = self.mailbox(shard, family);
                let gauges = gauges.iter().map(move |(gauge, place)| {
                    (of_place(shard, *place), Number::Whole(figures.gauge(*gauge)))
                });
                gauges.chain(mailbox)
            });
            page.numbers(family, samples)?;
        }
        let ended = self.shards.iter().enumerate().flat_map(|(shard, figures)| {
            let labels = move |outcome: Outcome| [of_shard(shard), label("outcome", outcome.name())].concat();
            Outcome::ALL
                .iter()
                .map(move |outcome| (labels(*outcome), Number::Whole(figures.outcome(*outcome))))
        });
        page.numbers(&f::REQUESTS_ENDED, ended)
    }

    /// What waits in a loop's mailbox, among the other queues.
    fn mailbox(&self, shard: usize, family: &Family) -> Vec<(Labels<'static>, Number)> {
        let Some(state) = self.states.get(shard).filter(|_| family.name == f::QUEUE_LENGTH.name) else {
            return Vec::new();
        };
        [("commands", state.commands), ("answers", state.answers)]
            .map(|(queue, depth)| (of_queue(shard, queue), Number::size(depth)))
            .into()
    }

    fn closes(&self, page: &mut impl Sink) -> fmt::Result {
        let closes = CloseReason::ALL.iter().map(|reason| {
            let labels = [label("reason", reason.name()), label("class", reason.fault().name())].concat();
            (labels, Number::Whole(self.sum.closes(*reason)))
        });
        page.numbers(&f::CLOSED, closes)?;
        let errors = [Fault::Temporary, Fault::Protocol, Fault::System].map(|class| {
            let closes = CloseReason::ALL.iter().filter(|reason| f::error_of(**reason) == Some(class));
            let refusals = f::REFUSALS.iter().filter(|(_, other)| *other == class);
            let count = closes.map(|reason| self.sum.closes(*reason)).sum::<u64>()
                + refusals.map(|(counter, _)| self.sum.counter(*counter)).sum::<u64>();
            (label("class", class.name()), Number::Whole(count))
        });
        page.numbers(&f::ERRORS, errors)?;
        let listeners = self.listeners.iter().zip(self.sum.listeners());
        let labels = |name: &'_ str| vec![("listener", Cow::Owned(name.to_owned()))];
        let open = listeners.clone().map(|(name, figures)| (labels(name), Number::Whole(figures.open)));
        page.numbers(&f::LISTENER_CONNECTIONS, open)?;
        let accepted = listeners.take(self.listeners.len() - 1);
        let accepted = accepted.map(|(name, figures)| (labels(name), Number::Whole(figures.accepted)));
        page.numbers(&f::LISTENER_ACCEPTED, accepted)
    }

    /// What there is of everything that is limited.
    fn limits(&self, page: &mut impl Sink) -> fmt::Result {
        one(page, &f::CONNECTIONS_USED, Number::Whole(self.connections.into()))?;
        one(page, &f::CONNECTIONS_LIMIT, Number::Whole(self.capacity.connections.into()))?;
        one(page, &f::ADDRESSES, Number::size(self.addresses))?;
        let all = self.capacity.connections;
        let per_address = self.capacity.per_address.map_or(all, |most| most.min(all));
        one(page, &f::ADDRESS_LIMIT, Number::Whole(per_address.into()))?;
        let per_listener = self.capacity.per_listener.iter().zip(&self.listeners).map(|(most, at)| {
            let most = most.map_or(all, |most| most.min(all));
            (label("listener", at.as_str()), Number::Whole(most.into()))
        });
        page.numbers(&f::LISTENER_LIMIT, per_listener)?;
        let dialed = self.capacity.dialed_per_shard.saturating_mul(self.shards.len());
        one(page, &f::DIALED_LIMIT, Number::size(dialed))?;
        one(page, &f::OPEN_REQUESTS_LIMIT, Number::Whole(self.capacity.open_requests.into()))?;
        let Capacity {
            dialed_per_shard,
            input_bytes_per_shard,
            output_bytes_per_shard,
            reserve_bytes_per_shard,
            commands_per_shard,
            laters_per_shard,
            ..
        } = self.capacity;
        let parts = [
            ("input", input_bytes_per_shard),
            ("output", output_bytes_per_shard),
            ("reserve", reserve_bytes_per_shard),
        ];
        let shards = 0..self.shards.len();
        let limits = shards.clone().flat_map(|shard| {
            parts.map(|(part, bytes)| ([of_shard(shard), label("part", part)].concat(), Number::size(bytes)))
        });
        page.numbers(&f::BUFFER_LIMIT, limits)?;
        let connections = usize::try_from(self.capacity.connections).unwrap_or(usize::MAX);
        let queues = [
            ("hot", connections.saturating_add(dialed_per_shard)),
            ("laters", laters_per_shard),
            ("commands", commands_per_shard),
            // Each right to answer has a place for its answer.
            ("answers", laters_per_shard),
        ];
        let limits =
            shards.flat_map(|shard| queues.map(|(queue, most)| (of_queue(shard, queue), Number::size(most))));
        page.numbers(&f::QUEUE_LIMIT, limits)
    }

    fn times(&self, page: &mut impl Sink) -> fmt::Result {
        let running = self.states.iter().enumerate();
        let running = running
            .map(|(shard, state)| (of_shard(shard), Number::duration(state.turn.unwrap_or(Duration::ZERO))));
        page.numbers(&f::TURN_RUNNING, running)?;
        let busy_us = |figures: &Snapshot| figures.timing(Timing::Turn).sum_us();
        page.numbers(&f::BUSY, self.by_shard(|_, figures| Number::seconds(busy_us(figures))))?;
        for timing in Timing::ALL {
            page.times(f::of_timing(*timing), [(Vec::new(), *self.sum.timing(*timing))])?;
        }
        let handlers = self.handler_series().into_iter();
        page.times(&f::HANDLER_DURATION, handlers.map(|(_, labels, times)| (labels, times)))?;
        let mut stalls: Vec<(Labels<'_>, Number)> = Vec::new();
        for (labels, count) in self.route_labels().zip(self.sum.stalls()) {
            if !stalls.iter().any(|(before, _)| *before == labels) {
                stalls.push((labels, Number::Whole(*count)));
            }
        }
        page.numbers(&f::STALLS, stalls)
    }

    /// The series of handler times, each with the place of its label.
    fn handler_series(&self) -> Vec<(usize, Labels<'_>, Durations)> {
        let mut handlers: Vec<(usize, Labels<'_>, Durations)> = Vec::new();
        for (place, (labels, times)) in self.route_labels().zip(self.sum.handlers()).enumerate() {
            // A range that is named a second time counts nothing.
            if !handlers.iter().any(|(_, before, _)| *before == labels) {
                handlers.push((place, labels, *times));
            }
        }
        handlers
    }

    /// Exemplars by label, in the order of the series; none where nothing is recorded.
    pub(super) fn explained(&self, exemplars: Explained) -> Explained {
        let places = self.handler_series().into_iter().map(|(place, ..)| place);
        places.filter_map(|place| exemplars.get(place).copied()).collect()
    }

    fn traces(&self, page: &mut impl Sink) -> fmt::Result {
        let count = |what: Export| Number::Whole(self.exports[what as usize]);
        one(page, &f::SPANS_EXPORTED, count(Export::Sent))?;
        let causes =
            [("overflowed", Export::Overflowed), ("refused", Export::Refused), ("lost", Export::Lost)];
        page.numbers(&f::SPANS_UNEXPORTED, causes.map(|(cause, what)| (label("cause", cause), count(what))))?;
        one(page, &f::SPANS_WAITING, Number::Whole(self.spans_waiting))?;
        let results = [("done", Export::Done), ("retried", Export::Retried), ("failed", Export::Failed)];
        page.numbers(&f::TRACE_EXPORTS, results.map(|(result, what)| (label("result", result), count(what))))
    }

    /// In the order of the figures: each label, all other routes, and batches of several.
    fn route_labels(&self) -> impl Iterator<Item = Labels<'_>> {
        let named = |RouteLabel { first, last, service }: &'_ RouteLabel| {
            let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
            [label("service", service.to_string()), label("routes", range)].concat()
        };
        let others = [OTHER_ROUTES, MIXED_ROUTES];
        let others = others.map(|name| [label("service", name), label("routes", NO_RANGE)].concat());
        self.capacity.labels.iter().map(named).chain(others)
    }

    fn workers(&self, page: &mut impl Sink) -> fmt::Result {
        let WorkerFigures { waiting, running, run, expired, refused, panicked } = self.workers;
        one(page, &f::WORKERS, Number::size(self.capacity.workers))?;
        one(page, &f::JOBS_RUNNING, Number::size(running))?;
        one(page, &f::JOBS_WAITING, Number::size(waiting))?;
        one(page, &f::JOBS_WAITING_LIMIT, Number::size(self.capacity.jobs_waiting))?;
        let ends = [("run", run), ("expired", expired), ("refused", refused), ("panicked", panicked)];
        page.numbers(&f::JOBS, ends.map(|(end, count)| (label("end", end), Number::Whole(count))))
    }

    fn system(&self, page: &mut impl Sink) -> fmt::Result {
        let threads = self.system.threads.iter().enumerate();
        let threads = threads.filter_map(|(shard, time)| Some((shard, (*time)?)));
        let ran = threads.clone().map(|(shard, time)| (of_shard(shard), Number::duration(time.ran)));
        page.numbers(&f::SHARD_CPU, ran)?;
        let waited = threads.map(|(shard, time)| (of_shard(shard), Number::duration(time.waited)));
        page.numbers(&f::SHARD_WAIT, waited)?;
        one(page, &f::SCRAPES, Number::Whole(self.own.scrapes))?;
        one(page, &f::SCRAPE_TIME, Number::duration(self.own.took))?;
        let of_process = [
            (&f::PROCESS_CPU, self.system.cpu.map(Number::duration)),
            (&f::PROCESS_START, self.system.started.map(Number::duration)),
            (&f::PROCESS_RESIDENT, self.system.resident_bytes.map(Number::Whole)),
            (&f::PROCESS_VIRTUAL, self.system.virtual_bytes.map(Number::Whole)),
            (&f::PROCESS_OPEN_FDS, self.system.open_fds.map(Number::Whole)),
            (&f::PROCESS_MAX_FDS, self.system.max_fds.map(Number::Whole)),
        ];
        of_process
            .into_iter()
            .try_for_each(|(family, number)| page.numbers(family, number.map(|number| (Vec::new(), number))))
    }

    fn by_shard(
        &self,
        value: impl Fn(usize, &Snapshot) -> Number,
    ) -> impl Iterator<Item = (Labels<'static>, Number)> {
        let shards = self.shards.iter().enumerate();
        shards.map(move |(shard, figures)| (of_shard(shard), value(shard, figures)))
    }
}

fn one(page: &mut impl Sink, family: &Family, number: Number) -> fmt::Result {
    page.numbers(family, [(Vec::new(), number)])
}

fn label<'a>(name: &'static str, value: impl Into<Cow<'a, str>>) -> Labels<'a> {
    vec![(name, value.into())]
}

fn of_shard(shard: usize) -> Labels<'static> {
    label("shard", shard.to_string())
}

fn of_queue(shard: usize, queue: &'static str) -> Labels<'static> {
    [of_shard(shard), label("queue", queue)].concat()
}

fn of_place(shard: usize, place: Place) -> Labels<'static> {
    let more = place.label.map(|(name, value)| (name, Cow::Borrowed(value)));
    of_shard(shard).into_iter().chain(more).collect()
}

/// Figures by their families, so that each family is written once.
fn grouped<T: Copy>(
    all: &[T],
    place_of: impl Fn(T) -> Option<Place>,
) -> Vec<(&'static Family, Vec<(T, Place)>)> {
    let mut families: Vec<(&'static Family, Vec<(T, Place)>)> = Vec::new();
    for figure in all {
        let Some(place) = place_of(*figure) else { continue };
        match families.iter_mut().find(|(family, _)| family.name == place.family.name) {
            Some((_, figures)) => figures.push((*figure, place)),
            None => families.push((place.family, vec![(*figure, place)])),
        }
    }
    families
}
