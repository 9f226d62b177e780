//! How long things took: counts in buckets that double, from 1 µs to 8 s.
//!
//! Always holds: one writer; a value is in exactly one bucket. Never: a value itself. What is read is a bound, at most
//! twice what was measured, and a sum that is exact to the microsecond.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Buckets of a histogram. Bucket `i` counts what took less than 2^i µs and did not fit the one before; the last takes
/// everything else.
pub const BUCKETS: usize = 25;

/// The bucket that counts what took so many microseconds.
#[inline]
pub fn bucket_of(us: u64) -> usize {
    ((u64::BITS - us.leading_zeros()) as usize).min(BUCKETS - 1)
}

/// The counts, for one writer and any number of readers.
#[derive(Debug)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum_us: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts something that took so long.
    #[inline]
    pub(super) fn observe(&self, us: u64) {
        super::add(&self.buckets[bucket_of(us)], 1);
        super::add(&self.sum_us, us);
    }

    pub(super) fn copy(&self) -> Durations {
        Durations {
            buckets: std::array::from_fn(|bucket| self.buckets[bucket].load(Relaxed)),
            sum_us: self.sum_us.load(Relaxed),
        }
    }
}

/// A reader's copy of a histogram, or of several added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durations {
    buckets: [u64; BUCKETS],
    sum_us: u64,
}

impl Durations {
    /// Nothing counted.
    pub const ZERO: Durations = Durations { buckets: [0; BUCKETS], sum_us: 0 };

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All of them together, in microseconds.
    pub const fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// The buckets in their order: what they count took less than so many microseconds (`None`: any time), and did not
    /// fit the one before.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        (0..).zip(&self.buckets).map(|(bucket, count)| ((bucket + 1 < BUCKETS).then(|| 1 << bucket), *count))
    }

    /// Adds what another one counted.
    pub fn add(&mut self, other: &Durations) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine = mine.wrapping_add(*theirs);
        }
        self.sum_us = self.sum_us.wrapping_add(other.sum_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_below_its_bound_and_not_below_the_one_before() {
        for us in [0, 1, 2, 3, 4, 7, 8, 1_000, (1 << 23) - 1, 1 << 23, 1 << 24, u64::MAX >> 1] {
            let histogram = Histogram::default();
            histogram.observe(us);
            let seen = histogram.copy();
            assert_eq!((seen.count(), seen.sum_us()), (1, us), "case: {us}");
            let mut below = 0;
            for (bound, count) in seen.buckets() {
                if count == 1 {
                    assert!(us >= below && bound.is_none_or(|bound| us < bound), "case: {us} in {bound:?}");
                }
                below = bound.unwrap_or(u64::MAX);
            }
        }
        assert_eq!(Durations::ZERO.buckets().filter(|(bound, _)| bound.is_none()).count(), 1);
    }
}
