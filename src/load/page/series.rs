//! The intervals of a run as points of plots: neighbours taken together where there are more than a plot can show.
//!
//! Always holds: at most [`MOMENTS_MAX`] points; of times that are taken together the worst is kept, of rates the
//! mean. Never: an interval that counts together with one that does not.

use crate::load::report::Interval;

/// The most points of a plot over time.
pub(super) const MOMENTS_MAX: usize = 600;

/// One or more intervals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Moment {
    /// When it began, in seconds from the run's start.
    pub(super) at_s: f64,
    /// How long it was, in seconds.
    pub(super) length_s: f64,
    /// Halfway, in seconds.
    pub(super) middle_s: f64,
    /// Whether it counts.
    pub(super) is_measured: bool,
    /// Whether it lies behind all that counts: only last replies come in it.
    pub(super) is_after: bool,
    /// Requests due a second.
    pub(super) due: f64,
    /// Replies a second.
    pub(super) answered: f64,
    /// Requests dropped a second.
    pub(super) dropped: f64,
    /// Events of trouble a second.
    pub(super) troubles: f64,
    /// Worst median response of the intervals, in nanoseconds.
    pub(super) p50_ns: Option<u64>,
    /// Worst 99th percentile.
    pub(super) p99_ns: Option<u64>,
    /// The longest.
    pub(super) max_ns: Option<u64>,
}

/// The intervals of a run as few enough moments.
pub(super) fn moments(series: &[Interval]) -> Vec<Moment> {
    let together = series.len().div_ceil(MOMENTS_MAX - 2).max(1);
    let last = series.iter().rposition(|interval| interval.measured).unwrap_or(series.len());
    let (until, after) = series.split_at((last + 1).min(series.len()));
    let begin = until.iter().position(|interval| interval.measured).unwrap_or(until.len());
    let (before, measured) = until.split_at(begin);
    let parts = [(before, false), (measured, false), (after, true)];
    let all = parts
        .into_iter()
        .flat_map(|(part, is_after)| part.chunks(together).map(move |some| (some, is_after)));
    all.map(|(some, is_after)| moment(some, is_after)).collect()
}

fn moment(some: &[Interval], is_after: bool) -> Moment {
    let length_s = some.iter().map(|interval| interval.length_s).sum::<f64>().max(1e-9);
    let at_s = some.first().map_or(0.0, |interval| interval.at_s);
    let a_second = |of: fn(&Interval) -> u64| some.iter().map(of).sum::<u64>() as f64 / length_s;
    let worst = |of: fn(&Interval) -> Option<u64>| some.iter().filter_map(of).max();
    Moment {
        at_s,
        length_s,
        middle_s: at_s + length_s / 2.0,
        is_measured: some.iter().any(|interval| interval.measured),
        is_after,
        due: a_second(|interval| interval.scheduled),
        answered: a_second(|interval| interval.answered),
        dropped: a_second(|interval| interval.dropped),
        troubles: a_second(|interval| interval.troubles),
        p50_ns: worst(|interval| interval.p50_ns),
        p99_ns: worst(|interval| interval.p99_ns),
        max_ns: worst(|interval| interval.max_ns),
    }
}

/// The parts that don't count, from and to in seconds, with their names.
pub(super) fn shades(moments: &[Moment]) -> Vec<(f64, f64, &'static str)> {
    let of = |is_wanted: fn(&&Moment) -> bool, name| {
        let first = moments.iter().find(is_wanted)?;
        let last = moments.iter().rfind(is_wanted)?;
        Some((first.at_s, last.at_s + last.length_s, name))
    };
    if !moments.iter().any(|moment| moment.is_measured) {
        return of(|_| true, "not measured").into_iter().collect();
    }
    let before = |moments: &[Moment]| moments.iter().take_while(|moment| !moment.is_measured).count();
    let warm_up = moments.get(..before(moments)).unwrap_or_default();
    let warm_up = warm_up.first().zip(warm_up.last());
    let warm_up = warm_up.map(|(first, last)| (first.at_s, last.at_s + last.length_s, "warm-up"));
    warm_up.into_iter().chain(of(|moment| moment.is_after, "drain")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(warm_up: u32, measured: u32, drain: u32) -> Vec<Interval> {
        let one = |at: u32| Interval {
            at_s: f64::from(at),
            length_s: 1.0,
            measured: (warm_up..warm_up + measured).contains(&at),
            answered: 10,
            p99_ns: Some(u64::from(at)),
            ..Interval::default()
        };
        (0..warm_up + measured + drain).map(one).collect()
    }

    #[test]
    fn few_intervals_stay_as_they_are() {
        let moments = moments(&run(2, 3, 1));
        assert_eq!(moments.len(), 6);
        assert_eq!(shades(&moments), [(0.0, 2.0, "warm-up"), (5.0, 6.0, "drain")]);
        assert_eq!((moments[4].middle_s, moments[4].answered, moments[4].is_after), (4.5, 10.0, false));
        assert!(shades(&super::moments(&run(0, 3, 0))).is_empty());
        assert_eq!(shades(&super::moments(&run(3, 0, 0))), [(0.0, 3.0, "not measured")]);
    }

    #[test]
    fn many_are_taken_together_and_the_worst_is_kept() {
        let moments = moments(&run(100, 86_400, 10));
        assert!(moments.len() <= MOMENTS_MAX, "{}", moments.len());
        assert_eq!(shades(&moments), [(0.0, 100.0, "warm-up"), (86_500.0, 86_510.0, "drain")]);
        let last = moments.iter().rfind(|moment| moment.is_measured).unwrap();
        assert_eq!((last.p99_ns, last.answered), (Some(86_499), 10.0));
        assert!(super::moments(&[]).is_empty());
    }
}
