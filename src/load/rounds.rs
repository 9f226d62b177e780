//! The same load in turns against the server and against the floor of this machine, a bare byte echo, so that what the
//! machine does meanwhile meets both alike.
//!
//! Always holds: a ratio is one of figures of the same round; every other round begins with the floor. Never: a ratio
//! of something that the schedule decides, such as the rate of an open loop.

use super::crew::{Failure, Observer};
use super::measure::{Measured, Setting, measure};
use super::plan::{Expect, Life, Plan, Talk};
use super::report::{Class, Confidence, Counts, Floor, Model, Ratio, Report};
use crate::net::Endpoint;
use std::time::Duration;

/// Rounds: enough for a median that two disturbed ones can't move.
pub const ROUNDS: u32 = 5;

/// The shortest part of a round.
const PART_MIN: Duration = Duration::from_millis(200);

/// Measures a plan in turns with the floor that listens at `address`, a process of this number.
///
/// # Errors
///
/// See [`Failure`].
pub fn beside_floor(
    plan: &Plan,
    setting: &Setting,
    (address, pid): (Endpoint, u32),
    observer: &mut dyn Observer,
) -> Result<Measured, Failure> {
    let part = (plan.duration / ROUNDS).max(PART_MIN);
    let server = Plan { duration: part, ..plan.clone() };
    // The floor returns every byte as it came.
    let talk = Talk { expect: Expect::Same, ..plan.talk.clone() };
    let life = Life { token: None, ..plan.life.clone() };
    let floor = Plan { target: address, tls: None, talk, life, idle: 0, ..server.clone() };
    let floor_setting = Setting { server_pid: Some(pid), ..setting.clone() };
    let (mut servers, mut floors) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let mut turns = ["server", "floor"];
        if round % 2 == 0 {
            turns.reverse();
        }
        for turn in turns {
            let title = format!("{turn}, round {round} of {ROUNDS}");
            if turn == "floor" {
                floors.push(measure(&floor, &floor_setting, &title, observer)?.report);
            } else {
                servers.push(measure(&server, setting, &title, observer)?);
            }
        }
    }
    let ratios = {
        let reports: Vec<&Report> = servers.iter().map(|measured| &measured.report).collect();
        ratios(&reports, &floors)
    };
    let void = floors.iter().filter(|report| !report.verdict.is_valid()).count();
    let mut whole = joined(servers);
    whole.report.floor = Some(Floor { rounds: ROUNDS, ratios });
    if void > 0 {
        whole.report.verdict.notes.push(format!(
            "against the floor the generator was the limit in {void} of {ROUNDS} rounds, so the ratios of times and \
             rates flatter the server; those of processor time hold; use fewer --connections or a lower --rate"
        ));
    }
    Ok(whole)
}

/// One report of several parts.
fn joined(parts: Vec<Measured>) -> Measured {
    let histograms: Vec<_> = parts.iter().map(|part| part.report.classes[0].response.clone()).collect();
    let void: Vec<_> = parts.iter().filter_map(|part| part.report.verdict.void_because.first()).collect();
    let void =
        void.first().map(|first| format!("in {} of {ROUNDS} rounds; in the first {first}", void.len()));
    let mut parts = parts.into_iter();
    let mut whole = parts.next().expect("there is a round at least");
    whole.report.verdict.void_because = void.into_iter().collect();
    for part in parts {
        whole.kept.extend(part.kept);
        join(&mut whole.report, part.report);
    }
    whole.report.confidence = Confidence::of(&histograms);
    whole
}

fn join(whole: &mut Report, part: Report) {
    let after_s = whole.series.last().map_or(0.0, |last| last.at_s + last.length_s);
    whole.measured_s += part.measured_s;
    whole.asked.duration_s = whole.measured_s;
    whole.counts.add(&part.counts);
    let sum = |into: &mut u64, count: u64| *into += count;
    part.troubles
        .iter()
        .for_each(|(trouble, count)| sum(whole.troubles.entry(*trouble).or_default(), *count));
    part.statuses.into_iter().for_each(|(name, count)| sum(whole.statuses.entry(name).or_default(), count));
    // The same connections once more, not others beside them.
    let (wanted, open_max) = (whole.connections.wanted, whole.connections.open_max);
    whole.connections.add(&part.connections);
    (whole.connections.wanted, whole.connections.open_max) =
        (wanted, open_max.max(part.connections.open_max));
    whole.classes.iter_mut().zip(&part.classes).for_each(|(class, other)| add_class(class, other));
    whole.series.extend(part.series.into_iter().map(|mut interval| {
        interval.at_s += after_s;
        interval
    }));
    let (own, other) = (&mut whole.verdict.own, part.verdict.own);
    own.busy = own.busy.max(other.busy);
    own.waited = own.waited.zip(other.waited).map(|(ours, theirs)| ours.max(theirs));
    own.late_p50_ns = own.late_p50_ns.max(other.late_p50_ns);
    own.late_p99_ns = own.late_p99_ns.max(other.late_p99_ns);
    own.late_max_ns = own.late_max_ns.max(other.late_max_ns);
    own.turn_max_ns = own.turn_max_ns.max(other.turn_max_ns);
    own.achieved = own.achieved.map(|_| achieved(&whole.counts));
    if let Some((ours, theirs)) = whole.server.as_mut().zip(part.server) {
        ours.cpu_s += theirs.cpu_s;
        ours.cpu_ns_per_message = ours.cpu_s * 1e9 / whole.counts.answered.max(1) as f64;
        ours.busiest = ours.busiest.max(theirs.busiest);
        ours.rss_bytes = theirs.rss_bytes;
    }
}

fn achieved(counts: &Counts) -> f64 {
    counts.sent as f64 / counts.scheduled.max(1) as f64
}

fn add_class(class: &mut Class, other: &Class) {
    class.response.add(&other.response);
    class.service.add(&other.service);
    class.lag.add(&other.lag);
    class.censored += other.censored;
}

/// A figure of a run, by name; absent if it has none.
type Figure = (&'static str, fn(&Report) -> Option<f64>);

fn ratios(servers: &[&Report], floors: &[Report]) -> Vec<Ratio> {
    let is_open = servers.iter().all(|report| report.asked.model == Model::Open);
    let times: [Figure; 2] = if is_open {
        [
            ("p50", |report| Some(report.classes[0].response.percentile(50.0)? as f64)),
            ("p99", |report| Some(report.classes[0].response.percentile(99.0)? as f64)),
        ]
    } else {
        [
            ("p50", |report| Some(report.classes[0].service.percentile(50.0)? as f64)),
            ("p99", |report| Some(report.classes[0].service.percentile(99.0)? as f64)),
        ]
    };
    let rate: Figure = ("rate", |report| Some(report.counts.answered as f64 / report.measured_s));
    let cpu: Figure = ("cpu a message", |report| Some(report.server?.cpu_ns_per_message));
    let rate = (!is_open).then_some(rate);
    times.into_iter().chain(rate).chain([cpu]).filter_map(|figure| ratio(figure, servers, floors)).collect()
}

/// Over the rounds in which both have the figure.
fn ratio((name, figure): Figure, servers: &[&Report], floors: &[Report]) -> Option<Ratio> {
    let both =
        servers.iter().zip(floors).filter_map(|(server, floor)| Some((figure(server)?, figure(floor)?)));
    let both: Vec<_> = both.filter(|(_, floor)| *floor > 0.0).collect();
    let ratios: Vec<f64> = both.iter().map(|(server, floor)| server / floor).collect();
    Some(Ratio {
        figure: name.to_owned(),
        server: median(both.iter().map(|pair| pair.0))?,
        floor: median(both.iter().map(|pair| pair.1))?,
        ratio: median(ratios.iter().copied())?,
        least: ratios.iter().copied().reduce(f64::min)?,
        most: ratios.iter().copied().reduce(f64::max)?,
    })
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    Some(if values.len() % 2 == 1 { upper } else { f64::midpoint(values[values.len() / 2 - 1], upper) })
}
