//! What one beat says: figures of now, what is wrong, and how long things took since the beat before.
//!
//! Always holds: counters count from the server's start, so who misses a beat has lost nothing; what is of the time between
//! two beats says so by being absent in the first. Never: text that a peer chose, but for the names of clients.

use super::figures::{Durations as Times, ListenerShown, LoopShown, ServiceShown, loops, services};
use super::limits::{Limit, limits};
use super::past::Point;
use super::state::{DrainShown, State};
use crate::base::CloseReason;
use crate::control::api::Talkers;
use crate::control::conditions::{Held, Judge, RULES};
use crate::control::metrics::{COMMIT, Samples, Scrape};
use crate::metrics::{Counter, Gauge, Outcome, Snapshot, Timing};
use crate::server::{Handle, WorkerFigures};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::time::{Duration, SystemTime};

/// Looks at the figures, each time with a view to the time before, and tells of it.
#[derive(Debug, Default)]
pub(super) struct Maker {
    number: u64,
    judge: Judge,
    held: Vec<Held>,
    /// With the time of day.
    now: Option<(SystemTime, Scrape)>,
    before: Option<Scrape>,
}

impl Maker {
    /// Takes in the figures of now, and gives what is remembered of them.
    pub(super) fn look(&mut self, scrape: Scrape) -> Point {
        self.number += 1;
        let samples = Samples::of(&scrape, self.judge.wanted());
        self.held = self.judge.look(scrape.uptime, samples);
        self.before = self.now.take().map(|(_, before)| before);
        let point = Point::of(&scrape, self.before.as_ref());
        self.now = Some((SystemTime::now(), scrape));
        point
    }

    /// The conditions that hold.
    pub(super) fn held(&self) -> &[Held] {
        &self.held
    }

    /// Whether there is a look before, so that rates are known.
    pub(super) const fn has_rates(&self) -> bool {
        self.before.is_some()
    }

    /// What the last look has seen, as JSON. `None` before the first.
    pub(super) fn json(&self, handle: &Handle, talkers: Option<&Talkers>) -> Option<String> {
        let ((at, scrape), before) = (self.now.as_ref()?, self.before.as_ref());
        let over = before.map(|before| scrape.uptime.saturating_sub(before.uptime));
        let beat = Beat {
            at: humantime::format_rfc3339_millis(*at).to_string(),
            beat: self.number,
            over_s: over.map(seconds),
            server: ServerShown::of(scrape),
            state: State::of(handle, scrape),
            conditions: self.held.iter().map(Condition::of).collect(),
            conditions_known: RULES.len(),
            drain: handle.drain_progress().map(DrainShown::of),
            counters: Named(Counter::ALL.iter().map(|it| (it.name(), scrape.sum.counter(*it))).collect()),
            gauges: Named(Gauge::ALL.iter().map(|it| (it.name(), scrape.sum.gauge(*it))).collect()),
            outcomes: Named(Outcome::ALL.iter().map(|it| (it.name(), scrape.sum.outcome(*it))).collect()),
            closes: closes(&scrape.sum),
            times: TimesShown::of(scrape, before),
            services: services(scrape, before),
            loops: loops(scrape, before),
            listeners: ListenerShown::all(scrape),
            limits: limits(scrape),
            workers: WorkersShown::of(&scrape.workers, scrape.capacity.workers),
            talkers,
        };
        Some(serde_json::to_string(&beat).expect("numbers and names"))
    }
}

#[derive(Serialize)]
struct Beat<'a> {
    at: String,
    beat: u64,
    /// What `times`, and what they are made of elsewhere, are of: the seconds since the beat before.
    over_s: Option<f64>,
    server: ServerShown,
    state: State,
    conditions: Vec<Condition>,
    conditions_known: usize,
    drain: Option<DrainShown>,
    counters: Named,
    gauges: Named,
    outcomes: Named,
    closes: Vec<Close>,
    times: TimesShown,
    services: Vec<ServiceShown>,
    loops: Vec<LoopShown>,
    listeners: Vec<ListenerShown>,
    limits: Vec<Limit>,
    workers: Option<WorkersShown>,
    talkers: Option<&'a Talkers>,
}

/// Figures by their names, in their order.
struct Named(Vec<(&'static str, u64)>);

impl Serialize for Named {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, figure) in &self.0 {
            map.serialize_entry(name, figure)?;
        }
        map.end()
    }
}

pub(super) fn seconds(time: Duration) -> f64 {
    // Milliseconds are enough, and shorter.
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

#[derive(Serialize)]
struct ServerShown {
    version: &'static str,
    commit: &'static str,
    uptime_s: f64,
    config_generation: u64,
    /// What a batch may take before it counts as a stall.
    stall_ms: u64,
    cpu_s: Option<f64>,
    resident_bytes: Option<u64>,
}

impl ServerShown {
    fn of(scrape: &Scrape) -> ServerShown {
        ServerShown {
            version: env!("CARGO_PKG_VERSION"),
            commit: COMMIT,
            uptime_s: seconds(scrape.uptime),
            config_generation: scrape.changes.generation,
            stall_ms: u64::try_from(scrape.capacity.stall.as_millis()).unwrap_or(u64::MAX),
            cpu_s: scrape.system.cpu.map(seconds),
            resident_bytes: scrape.system.resident_bytes,
        }
    }
}

/// A condition that holds.
#[derive(Serialize)]
struct Condition {
    name: &'static str,
    meaning: &'static str,
    action: &'static str,
    lasts_s: f64,
    shown_by: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    sign: String,
    is: f64,
}

impl Condition {
    fn of(held: &Held) -> Condition {
        let Held { rule, lasts, shown_by } = held;
        let shown = shown_by.iter().map(|(sign, is)| Shown { sign: sign.clone(), is: *is });
        Condition {
            name: rule.name,
            meaning: rule.meaning,
            action: rule.action,
            lasts_s: seconds(*lasts),
            shown_by: shown.collect(),
        }
    }
}

/// How often connections ended so.
#[derive(Serialize)]
struct Close {
    reason: &'static str,
    class: &'static str,
    in_order: bool,
    total: u64,
}

/// Those that there were.
fn closes(sum: &Snapshot) -> Vec<Close> {
    let all = CloseReason::ALL.iter().map(|reason| Close {
        reason: reason.name(),
        class: reason.fault().name(),
        in_order: reason.is_in_order(),
        total: sum.closes(*reason),
    });
    all.filter(|close| close.total > 0).collect()
}

/// How long things took since the beat before, of all loops.
#[derive(Serialize)]
struct TimesShown {
    turn: Option<Times>,
    ready: Option<Times>,
    round_trip: Option<Times>,
}

impl TimesShown {
    fn of(scrape: &Scrape, before: Option<&Scrape>) -> TimesShown {
        let of = |timing| Some(Times::between(before?.sum.timing(timing), scrape.sum.timing(timing)));
        TimesShown { turn: of(Timing::Turn), ready: of(Timing::Ready), round_trip: of(Timing::RoundTrip) }
    }
}

#[derive(Serialize)]
struct WorkersShown {
    threads: usize,
    running: usize,
    waiting: usize,
    run: u64,
    expired: u64,
    refused: u64,
    panicked: u64,
}

impl WorkersShown {
    /// `None` without workers.
    fn of(figures: &WorkerFigures, threads: usize) -> Option<WorkersShown> {
        let WorkerFigures { waiting, running, run, expired, refused, panicked } = *figures;
        (threads > 0).then_some(WorkersShown { threads, running, waiting, run, expired, refused, panicked })
    }
}
