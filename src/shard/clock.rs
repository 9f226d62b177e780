//! The loops' clock: microseconds since a moment that all loops of a server share.
//!
//! Always holds: it never goes back, and tells the same time as `Instant` does, which other threads read.
//!
//! On Linux the clock of `Instant` is read without it: its arithmetic on seconds and nanoseconds is half of what a look
//! at the clock costs, and a loop looks twice a turn.

use crate::base::Time;
use std::time::Instant;

/// Reads the time since the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    #[cfg(target_os = "linux")]
    start_us: u64,
    #[cfg(not(target_os = "linux"))]
    start: Instant,
}

#[cfg(target_os = "linux")]
impl Clock {
    /// Counts from `start`, to a microsecond unless the thread is held up just here.
    pub(super) fn since(start: Instant) -> Clock {
        // The first look at the clock finds out how to look at it.
        monotonic_us();
        let gone_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        Clock { start_us: monotonic_us().saturating_sub(gone_us) }
    }

    /// The time since the start.
    #[inline]
    pub(super) fn now(self) -> Time {
        Time(monotonic_us().saturating_sub(self.start_us))
    }
}

/// Both parts are never negative: this clock counts from the machine's start.
#[cfg(target_os = "linux")]
#[inline]
fn monotonic_us() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1000
}

#[cfg(not(target_os = "linux"))]
impl Clock {
    /// Counts from `start`.
    pub(super) fn since(start: Instant) -> Clock {
        Clock { start }
    }

    /// The time since the start.
    #[inline]
    pub(super) fn now(self) -> Time {
        let elapsed = self.start.elapsed();
        Time(elapsed.as_secs() * 1_000_000 + u64::from(elapsed.subsec_micros()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_tells_the_time_that_others_read() {
        let start = Instant::now().checked_sub(Duration::from_secs(7)).expect("the machine runs for longer");
        let agrees = || {
            let clock = Clock::since(start);
            let (before, now, after) = (start.elapsed(), clock.now(), start.elapsed());
            (before.as_micros() - 1..=after.as_micros() + 1).contains(&u128::from(now.0))
        };
        assert!((0..100).any(|_| agrees()), "it agrees unless this thread was held up");
    }
}
