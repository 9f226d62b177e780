//! The highest rate at which a condition holds: one run after another, each at the rate that the
//! [search](super::search) asks for.

use super::condition::Condition;
use super::crew::{Failure, Observer};
use super::measure::{Measured, Setting, measure};
use super::plan::{Plan, Traffic};
use super::profile::Profile;
use super::report::{Arrival, Try};
use super::search::Search;
use super::words;
use std::sync::Arc;
use std::time::Duration;

/// How close what held and what failed must come.
const PRECISION: f64 = 0.02;

/// Requests that are due over samples that are needed: gaps are random, so that some tries have fewer than others.
const SAMPLES_SPARE: f64 = 1.1;

/// The least rate, requests a second, at which a try of such a length has samples enough for the condition.
pub fn rate_least(condition: &Condition, duration: Duration) -> f64 {
    condition.samples_needed() as f64 * SAMPLES_SPARE / duration.as_secs_f64().max(1e-3)
}

/// Looks for it from `start` up to `most` requests a second. The report is that of the last run at the rate that was
/// found, or of the last run if there is none, with the search in it.
///
/// # Errors
///
/// See [`Failure`].
pub fn find_max(
    plan: &Plan,
    setting: &Setting,
    condition: &Condition,
    (start, most): (f64, f64),
    arrival: Arrival,
    observer: &mut dyn Observer,
) -> Result<Measured, Failure> {
    let mut search = Search::new(&condition.to_string(), start, most, PRECISION);
    let mut best: Option<(f64, Measured)> = None;
    let mut last = None;
    // Bounded: the search has an end.
    let least = rate_least(condition, plan.duration);
    while let Some(rate) = search.next().filter(|rate| *rate >= least) {
        let profile = Arc::new(Profile::constant(rate));
        let plan = Plan { traffic: Traffic::Open { profile, arrival }, ..plan.clone() };
        let title = format!("try {}: {}", search.tried() + 1, words::rate(rate));
        let measured = measure(&plan, setting, &title, observer)?;
        let (held, because) = condition.outcome(&measured.report);
        let void = !measured.report.verdict.is_valid();
        let p99_ns = measured.report.classes[0].response.percentile(99.0);
        search.tell(Try { rate, held, because, void, p99_ns });
        if held && !void {
            best = Some((rate, measured));
        } else {
            last = Some(measured);
        }
    }
    let found = search.finish();
    let at_held = best.filter(|(rate, _)| Some(*rate) == found.held).map(|(_, measured)| measured);
    let Some(mut measured) = at_held.or(last) else { return Err(Failure::Stopped) };
    let void = found.tries.iter().filter(|one| one.void).count();
    if found.held.is_none() && void > 0 {
        // That the last try was not void says nothing of those where the condition might have held.
        measured.report.verdict.void_because.push(format!(
            "the generator was the limit in {void} of {} tries, and the condition held in none; give it a processor \
             of its own (taskset), or begin at a lower --rate",
            found.tries.len()
        ));
    }
    measured.report.search = Some(found);
    Ok(measured)
}
