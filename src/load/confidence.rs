//! How sure a run's percentiles are: its parts are compared with each other.
//!
//! The method is that of batch means (Law, "Simulation Modeling and Analysis", chapter 9): each part gives
//! one figure, and the figures' spread gives an interval by Student's t. It says how far a repetition under the same
//! conditions would lie; not what another machine or another hour would give.
//!
//! Always holds: a percentile is told only if every part has enough samples for it. Never: a figure from under
//! [`PARTS_MIN`] parts.

use super::histogram::{Histogram, TOLD};
use super::report::{Confidence, Spread};

/// Parts that are needed at least: with fewer, Student's t makes every interval too wide to be of use.
pub const PARTS_MIN: usize = 5;

/// Samples that every part must have: as many as lie ten beyond the median.
const SAMPLES_MIN: u64 = 20;

/// Two-sided 95 % quantiles of Student's t for 4, 5, ... 30 degrees of freedom. For more, the last: a little too wide.
const STUDENT: [f64; 27] = [
    2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101,
    2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

impl Confidence {
    /// From the response times of equally long parts of a run, in order. Absent with fewer than [`PARTS_MIN`] parts, or
    /// if a part has under 20 samples.
    pub fn of(parts: &[Histogram]) -> Option<Confidence> {
        if parts.len() < PARTS_MIN || parts.iter().any(|part| part.count() < SAMPLES_MIN) {
            return None;
        }
        let percentiles = TOLD.iter().filter_map(|percentile| spread(parts, *percentile)).collect();
        let half = parts.len() / 2;
        // With an odd number the middle part belongs to neither.
        let (first, second) = (median(&parts[..half])?, median(&parts[parts.len() - half..])?);
        Some(Confidence { parts: u32::try_from(parts.len()).ok()?, percentiles, drift: second / first })
    }
}

fn spread(parts: &[Histogram], percentile: f64) -> Option<Spread> {
    let figures: Option<Vec<f64>> =
        parts.iter().map(|part| part.percentile(percentile).map(|ns| ns as f64)).collect();
    let (mean_ns, plus_minus_ns) = interval(&figures?);
    Some(Spread { percentile, mean_ns, plus_minus_ns })
}

/// Mean and half width of the 95 % interval of at least [`PARTS_MIN`] figures.
fn interval(figures: &[f64]) -> (f64, f64) {
    debug_assert!(figures.len() >= PARTS_MIN);
    let count = figures.len() as f64;
    let mean = figures.iter().sum::<f64>() / count;
    let variance = figures.iter().map(|figure| (figure - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let student = STUDENT[(figures.len() - PARTS_MIN).min(STUDENT.len() - 1)];
    (mean, student * (variance / count).sqrt())
}

fn median(parts: &[Histogram]) -> Option<f64> {
    let mut all = Histogram::default();
    for part in parts {
        all.add(part);
    }
    // A time under a nanosecond would divide by zero.
    all.percentile(50.0).map(|ns| ns.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    fn part(times: impl IntoIterator<Item = u64>) -> Histogram {
        let mut part = Histogram::default();
        for ns in times {
            part.record(ns, 1);
        }
        part
    }

    #[test]
    fn too_little_says_nothing() {
        let full = part([1000; 20]);
        assert_eq!(Confidence::of(&[]), None);
        assert_eq!(Confidence::of(&vec![full.clone(); 4]), None);
        assert!(Confidence::of(&vec![full.clone(); 5]).is_some());
        let mut one_thin = vec![full; 5];
        one_thin[3] = part([1000; 19]);
        assert_eq!(Confidence::of(&one_thin), None);
    }

    #[test]
    fn percentiles_are_told_as_far_as_every_part_has_them() {
        let mut parts = vec![part([1000; 1000]); 5];
        let told = |parts: &[Histogram]| -> Vec<f64> {
            let told = Confidence::of(parts).unwrap().percentiles;
            told.iter().map(|spread| spread.percentile).collect()
        };
        assert_eq!(told(&parts), [50.0, 75.0, 90.0, 95.0, 99.0]);
        parts[4] = part([1000; 999]);
        assert_eq!(told(&parts), [50.0, 75.0, 90.0, 95.0]);
    }

    /// Medians of 100, 110, 120, 130 and 140 ns: a mean of 120, a deviation of 15.81, and 2.776 / √5 of that.
    #[test]
    fn the_interval_is_the_one_of_the_textbook() {
        let parts: Vec<_> = (0..5).map(|step| part(vec![100 + step * 10; 20])).collect();
        let confidence = Confidence::of(&parts).unwrap();
        let median = confidence.percentiles[0];
        assert_eq!((confidence.parts, median.percentile, median.mean_ns), (5, 50.0, 120.0));
        assert!((median.plus_minus_ns - 19.63).abs() < 0.01, "{}", median.plus_minus_ns);
        // The first two parts have a median of 100 or 110, the last two of 130 or 140.
        assert!(confidence.drift > 1.18 && confidence.drift < 1.4, "{}", confidence.drift);
    }

    #[test]
    fn equal_parts_leave_no_doubt_and_no_drift() {
        let confidence = Confidence::of(&vec![part([2000; 50]); 6]).unwrap();
        assert_eq!((confidence.percentiles[0].plus_minus_ns, confidence.drift), (0.0, 1.0));
        let zero = Confidence::of(&vec![part([0; 50]); 6]).unwrap();
        assert!(zero.drift.is_finite(), "{}", zero.drift);
    }

    /// What 95 % means: of 2,000 runs with a known mean, about 1,900 have it in their interval (standard deviation 9.7).
    #[test]
    fn the_interval_holds_the_truth_as_often_as_it_says() {
        let mut rng = Rng::new(9);
        for parts in [5, 10, 31] {
            let held = (0..2000).filter(|_| {
                // Sums of twelve are as good as normal, around 6.
                let figures: Vec<f64> = (0..parts).map(|_| (0..12).map(|_| rng.unit()).sum()).collect();
                let (mean, plus_minus) = interval(&figures);
                (mean - 6.0).abs() <= plus_minus
            });
            let held = held.count();
            assert!((1860..=1940).contains(&held), "{held} of 2000 with {parts} parts");
        }
    }
}
