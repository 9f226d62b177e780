//! A histogram of times that can be added up, written and read back, and that refuses to guess.
//!
//! Always holds: three significant digits from 1 ns to 60 s; what is longer counts as 60 s and as saturated.
//! Never: a percentile from too few samples. [`percentile`](Histogram::percentile) wants ten samples beyond it.

use super::units::whole;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use serde::de::Error as _;
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// The longest time that is told apart from longer ones.
pub const LONGEST: Duration = Duration::from_secs(60);

/// [`LONGEST`] in nanoseconds.
const LONGEST_NS: u64 = 60_000_000_000;

const DIGITS: u8 = 3;

/// Samples that must lie beyond a percentile.
const BEYOND_MIN: f64 = 10.0;

/// What the written form tells in clear beside the whole histogram, in per cent.
pub const TOLD: [f64; 8] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 99.999];

/// Times in nanoseconds, each with three significant digits.
#[derive(Clone, PartialEq)]
pub struct Histogram {
    times: hdrhistogram::Histogram<u64>,
    saturated: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        let times = hdrhistogram::Histogram::new_with_bounds(1, LONGEST_NS, DIGITS);
        Histogram { times: times.expect("the bounds are constants that fit"), saturated: 0 }
    }
}

/// In short: there are tens of thousands of buckets.
impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, p50, max) = (self.count(), self.percentile(50.0), self.max());
        write!(f, "Histogram({count} samples, p50 {p50:?} ns, max {max:?} ns, {} saturated)", self.saturated)
    }
}

impl Histogram {
    /// Counts `times` samples of `ns` nanoseconds.
    #[inline]
    pub fn record(&mut self, ns: u64, times: u64) {
        if ns > LONGEST_NS {
            self.saturated += times;
        }
        self.times.saturating_record_n(ns.min(LONGEST_NS), times);
    }

    /// Adds another's samples.
    pub fn add(&mut self, other: &Histogram) {
        self.times.add(&other.times).expect("all histograms have the same bounds");
        self.saturated += other.saturated;
    }

    /// Forgets all samples.
    pub fn clear(&mut self) {
        self.times.reset();
        self.saturated = 0;
    }

    /// Samples.
    pub fn count(&self) -> u64 {
        self.times.len()
    }

    /// Samples that were longer than [`LONGEST`].
    pub const fn saturated(&self) -> u64 {
        self.saturated
    }

    /// The shortest, in nanoseconds; absent without samples.
    pub fn min(&self) -> Option<u64> {
        (self.count() > 0).then(|| self.times.min())
    }

    /// The longest, in nanoseconds; absent without samples.
    pub fn max(&self) -> Option<u64> {
        (self.count() > 0).then(|| self.times.max())
    }

    /// The mean, in nanoseconds; absent without samples.
    pub fn mean(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.times.mean())
    }

    /// The time in nanoseconds that `percent` of the samples don't exceed, 0 to 100. Absent if fewer than ten samples
    /// lie beyond it; the median wants one sample at all.
    pub fn percentile(&self, percent: f64) -> Option<u64> {
        let beyond = self.times.len() as f64 * (100.0 - percent) / 100.0;
        let is_enough = beyond >= BEYOND_MIN - 1e-6 || (percent <= 50.0 && self.count() > 0);
        is_enough.then(|| self.times.value_at_quantile(percent / 100.0))
    }

    /// Samples that [`percentile`](Histogram::percentile) wants for `percent`, 0 to 100 without 100.
    pub fn samples_for(percent: f64) -> u64 {
        if percent <= 50.0 { 1 } else { whole((BEYOND_MIN * 100.0 / (100.0 - percent) - 1e-6).ceil()) }
    }

    /// Share of the samples that are at most `ns`, 0 to 1; absent without samples.
    pub fn share_within(&self, ns: u64) -> Option<f64> {
        (self.count() > 0).then(|| self.times.quantile_below(ns))
    }

    /// Every time that occurs, in nanoseconds and rising, with how many samples have it.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.times.iter_recorded().map(|step| (step.value_iterated_to(), step.count_since_last_iteration()))
    }

    /// All of it in some KiB: HdrHistogram's compressed V2 form.
    pub fn pack(&self) -> Vec<u8> {
        let mut packed = Vec::new();
        let written = V2DeflateSerializer::new().serialize(&self.times, &mut packed);
        written.expect("a Vec takes every write, and three digits up to 60 s fit the form");
        packed
    }

    /// What [`pack`](Self::pack) gave, but for how many were saturated.
    ///
    /// # Errors
    ///
    /// In words, if it is not such a form.
    pub fn unpack(packed: &[u8]) -> Result<Histogram, String> {
        let mut rest = packed;
        let read: hdrhistogram::Histogram<u64> =
            Deserializer::new().deserialize(&mut rest).map_err(|why| format!("{why:?}"))?;
        let mut histogram = Histogram::default();
        histogram.times.add(read).map_err(|_| "a time of more than 60 s".to_owned())?;
        Ok(histogram)
    }

    /// For the log writers of the HdrHistogram family.
    pub const fn as_hdr(&self) -> &hdrhistogram::Histogram<u64> {
        &self.times
    }
}

/// Writes figures for people and scripts, and `hdr`, the whole histogram: base64 of HdrHistogram's compressed V2 form.
impl Serialize for Histogram {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let percentiles: Vec<(f64, u64)> =
            TOLD.iter().filter_map(|percent| Some((*percent, self.percentile(*percent)?))).collect();
        let mut written = serializer.serialize_struct("Histogram", 7)?;
        written.serialize_field("count", &self.count())?;
        written.serialize_field("saturated", &self.saturated)?;
        written.serialize_field("min_ns", &self.min())?;
        written.serialize_field("mean_ns", &self.mean())?;
        written.serialize_field("max_ns", &self.max())?;
        written.serialize_field("percentiles_ns", &percentiles)?;
        written.serialize_field("hdr", &STANDARD.encode(self.pack()))?;
        written.end()
    }
}

/// Reads `hdr` and `saturated`; the rest follows from them.
impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Histogram, D::Error> {
        #[derive(Deserialize)]
        struct Written {
            saturated: u64,
            hdr: String,
        }
        let Written { saturated, hdr } = Written::deserialize(deserializer)?;
        let packed = STANDARD.decode(hdr).map_err(D::Error::custom)?;
        let histogram = Histogram::unpack(&packed).map_err(D::Error::custom)?;
        Ok(Histogram { saturated, ..histogram })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_without_samples_beyond_it_is_absent() {
        let mut times = Histogram::default();
        assert_eq!(times.percentile(50.0), None);
        times.record(1_000, 999);
        assert!(times.percentile(50.0).is_some());
        assert_eq!(times.percentile(99.0), None, "9.99 samples are beyond it");
        times.record(1_000, 1);
        assert!(times.percentile(99.0).is_some());
        assert_eq!(times.percentile(99.9), None);
        for percent in [10.0, 50.0, 75.0, 90.0, 99.0, 99.9, 99.97, 99.99] {
            let needed = Histogram::samples_for(percent);
            let mut times = Histogram::default();
            times.record(1_000, needed - 1);
            assert_eq!(times.percentile(percent), None, "{percent} from {}", needed - 1);
            times.record(1_000, 1);
            assert!(times.percentile(percent).is_some(), "{percent} from {needed}");
        }
    }

    #[test]
    fn what_is_too_long_is_counted_as_such() {
        let mut times = Histogram::default();
        times.record(u64::MAX, 2);
        times.record(LONGEST_NS, 1);
        assert_eq!((times.count(), times.saturated()), (3, 2));
        assert!(times.max().unwrap() >= LONGEST_NS);
        times.clear();
        assert_eq!((times.count(), times.saturated()), (0, 0));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut times = Histogram::default();
        for ns in [0, 1, 27_000, 1_500_000, 59_000_000_000, u64::MAX] {
            times.record(ns, ns % 7 + 1);
        }
        let text = serde_json::to_string(&times).unwrap();
        assert_eq!(serde_json::from_str::<Histogram>(&text).unwrap(), times);
        let empty = serde_json::to_string(&Histogram::default()).unwrap();
        assert_eq!(serde_json::from_str::<Histogram>(&empty).unwrap(), Histogram::default());
        assert!(serde_json::from_str::<Histogram>(r#"{"saturated":0,"hdr":"AAAA"}"#).is_err());
    }
}
