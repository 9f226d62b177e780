//! Token buckets: so many units a second, and at most a burst of them at once.
//!
//! ```text
//!            full_at - burst           now                          full_at
//!   time ----------+--------------------+------------------------------+-------->
//!                  |<-- tokens that are left -->|<-- tokens that were taken -->|    (full_at - now <= burst)
//! ```
//!
//! A bucket is one number: the moment at which it is full again, if nobody takes anything. To take a unit is to move that
//! moment away by what a unit costs in time; the bucket is empty when it lies a burst or more ahead. So a bucket costs eight
//! bytes, nothing has to be filled up by a timer, and all zero bits are a full one.
//!
//! Always holds: in the long run no more units than the rate pass, however they are charged; one that was charged for more
//! than it had is in debt, and what comes later waits until that is paid. Never: a clock.

use super::Time;
use std::time::Duration;

const NS_PER_US: u64 = 1000;
const NS_PER_SECOND: u64 = 1_000_000_000;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_second: u64,
    burst_ns: u64,
}

/// How full one bucket is. The default is a full one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it is full, in nanoseconds of the clock that charges it.
    pub full_at_ns: u64,
}

impl Rate {
    /// So many units a second, at least one; a full bucket holds as many as come in `burst`.
    pub fn new(per_second: u64, burst: Duration) -> Rate {
        let burst_ns = u64::try_from(burst.as_nanos()).unwrap_or(u64::MAX);
        Rate { per_second: per_second.max(1), burst_ns: burst_ns.max(1) }
    }

    /// Units in a second.
    pub const fn per_second(self) -> u64 {
        self.per_second
    }

    /// Takes units, also such as are not there: what is taken beyond them is a debt.
    pub const fn charge(self, bucket: Bucket, units: u64, now: Time) -> Bucket {
        let now_ns = now.0.saturating_mul(NS_PER_US);
        let cost_ns = units.saturating_mul(NS_PER_SECOND).div_ceil(self.per_second);
        let from = if bucket.full_at_ns > now_ns { bucket.full_at_ns } else { now_ns };
        Bucket { full_at_ns: from.saturating_add(cost_ns) }
    }

    /// Whether there is something in it now. If not: the first moment at which there is.
    pub const fn wait(self, bucket: Bucket, now: Time) -> Option<Time> {
        self.wait_for_debt(bucket, 0, now)
    }

    /// The same where a bucket may be in debt for so many bursts.
    pub const fn wait_for_debt(self, bucket: Bucket, bursts: u64, now: Time) -> Option<Time> {
        let now_ns = now.0.saturating_mul(NS_PER_US);
        let ahead_ns = self.burst_ns.saturating_mul(bursts.saturating_add(1));
        if bucket.full_at_ns < now_ns.saturating_add(ahead_ns) {
            return None;
        }
        // The microsecond behind the one in which the last of the debt is paid.
        Some(Time((bucket.full_at_ns - ahead_ns) / NS_PER_US + 1))
    }
}

impl Bucket {
    /// Whether it is full, so that it could as well be forgotten.
    pub const fn is_full(self, now: Time) -> bool {
        self.full_at_ns <= now.0.saturating_mul(NS_PER_US)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    const SECOND: Duration = Duration::from_secs(1);

    fn at_ms(ms: u64) -> Time {
        Time(5_000_000 + ms * 1000)
    }

    /// Name, rate, burst in ms, charges (ms, units), then at which ms it is asked, and for how many µs it waits.
    #[test]
    fn buckets_say_when_there_is_something_in_them() {
        type Row = (&'static str, u64, u64, &'static [(u64, u64)], u64, Option<u64>);
        #[rustfmt::skip]
        let table: &[Row] = &[
            ("a new one is full",                10, 1_000, &[],                        0,   None),
            ("one left",                         10, 1_000, &[(0, 9)],                  0,   None),
            ("empty: a token takes 100 ms",      10, 1_000, &[(0, 10)],                 0,   Some(1)),
            ("a moment later there is some",     10, 1_000, &[(0, 10)],                 1,   None),
            ("debt of one",                      10, 1_000, &[(0, 11)],                 0,   Some(100_001)),
            ("debt of one, half paid",           10, 1_000, &[(0, 11)],                 50,  Some(50_001)),
            ("debt of one, paid",                10, 1_000, &[(0, 11)],                 101, None),
            ("a batch in one charge or in two",  10, 1_000, &[(0, 5), (0, 6)],          0,   Some(100_001)),
            ("no more than a burst is saved",    10, 1_000, &[(60_000, 11)],       60_000,   Some(100_001)),
            ("a short burst",                    10,   100, &[(0, 1)],                  0,   Some(1)),
            ("less than one unit a burst",        1,    10, &[(0, 1)],                  0,   Some(990_001)),
            ("bytes, by the gigabyte",    1_u64 << 30, 1_000, &[(0, 2 << 30)],          0,   Some(1_000_001)),
            ("rounded up, so never too fast",     3, 1_000, &[(0, 4)],                  0,   Some(333_334)),
        ];
        for (name, per_second, burst_ms, charges, asked, want) in table {
            let rate = Rate::new(*per_second, Duration::from_millis(*burst_ms));
            let mut bucket = Bucket::default();
            for (ms, units) in *charges {
                bucket = rate.charge(bucket, *units, at_ms(*ms));
            }
            let got = rate.wait(bucket, at_ms(*asked)).map(|until| until.since_us(at_ms(*asked)));
            assert_eq!(got, *want, "case: {name}");
        }
    }

    #[test]
    fn a_debt_may_be_let_go_up_to_a_bound() {
        let rate = Rate::new(10, SECOND);
        let bucket = rate.charge(Bucket::default(), 15, at_ms(0));
        assert_eq!(rate.wait_for_debt(bucket, 1, at_ms(0)), None, "five of ten");
        let bucket = rate.charge(bucket, 10, at_ms(0));
        assert_eq!(rate.wait_for_debt(bucket, 1, at_ms(0)), Some(Time(at_ms(500).0 + 1)));
    }

    /// However it is used, over a long time the rate passes: no more than that and a burst, and no less while there is
    /// always somebody who wants.
    #[test]
    fn in_the_long_run_the_rate_passes() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let per_second = rng.between(1, 100_000);
            let rate = Rate::new(per_second, Duration::from_millis(rng.between(10, 3_000)));
            let most = rng.between(1, 300);
            let (start, mut now, mut bucket, mut passed) = (Time(77), Time(77), Bucket::default(), 0);
            let mut last = 0;
            while now.since_us(start) < 600_000_000 && passed < 200_000 {
                match rate.wait(bucket, now) {
                    Some(until) => {
                        assert!(until > now, "seed {seed}: waits for the past");
                        now = until;
                    }
                    None => {
                        last = rng.between(1, most);
                        bucket = rate.charge(bucket, last, now);
                        passed += last;
                    }
                }
            }
            let seconds = now.since_us(start) as f64 / 1e6;
            let burst = rate.burst_ns as f64 / 1e9;
            let (rate, passed) = (per_second as f64, passed as f64);
            assert!(passed <= rate * (seconds + burst) + last as f64 + 1.0, "seed {seed}: too many");
            assert!(
                passed >= rate * (seconds - 0.01) - 1.0,
                "seed {seed}: {passed} in {seconds} s at {rate}"
            );
        }
    }
}
