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

/// How close what held and what failed must come.
const PRECISION: f64 = 0.02;

/// Looks for it from `start` up to `most` requests a second. The report is that of the last run at the rate that was
/// found, or of the last run if there is none, with the search in it.
///
/// # Errors
///
/// See [`Failure`].
pub fn find_max(
    plan: &Plan,
    setting: &Setting,
    (text, condition): (&str, &Condition),
    (start, most): (f64, f64),
    arrival: Arrival,
    observer: &mut dyn Observer,
) -> Result<Measured, Failure> {
    let mut search = Search::new(text, start, most, PRECISION);
    let mut best: Option<(f64, Measured)> = None;
    let mut last = None;
    // Bounded: the search has an end.
    while let Some(rate) = search.next() {
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
    measured.report.search = Some(found);
    Ok(measured)
}
