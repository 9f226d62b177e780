//! Time as a value: microseconds for loops, wrapping milliseconds for what every connection stores.
//!
//! Both count from a start that the owner of the clock chose. Nobody here reads a clock.
//! Invariant: two [`Ms`] that are compared lie less than 24 days apart, which the longest deadline
//! ([`limits::DEADLINE_MS_MAX`](super::limits::DEADLINE_MS_MAX)) guarantees.

use std::time::Duration;

/// Microseconds since the owner's start. Never wraps (584,000 years).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The start.
    pub const ZERO: Time = Time(0);

    /// This moment in wrapping milliseconds.
    #[expect(clippy::cast_possible_truncation, reason = "wrapping is what Ms is")]
    pub const fn ms(self) -> Ms {
        Ms((self.0 / 1000) as u32)
    }

    /// This moment in milliseconds.
    pub const fn whole_ms(self) -> u64 {
        self.0 / 1000
    }

    /// The moment `micros` later.
    pub const fn plus_us(self, micros: u64) -> Time {
        Time(self.0.saturating_add(micros))
    }

    /// Microseconds from `earlier` to here, 0 if it is not earlier.
    pub const fn since_us(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Milliseconds since the owner's start, modulo 2³² (49.7 days): four bytes a deadline instead of sixteen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ms(pub u32);

impl Ms {
    /// The moment `ms` later.
    #[must_use]
    pub const fn plus(self, ms: u32) -> Ms {
        Ms(self.0.wrapping_add(ms))
    }

    /// The moment `duration` later; durations beyond the longest deadline are cut to it.
    #[must_use]
    pub const fn after(self, duration: Duration) -> Ms {
        self.plus(whole_ms(duration))
    }

    /// Whether `now` has reached this moment.
    pub const fn reached(self, now: Ms) -> bool {
        (now.0.wrapping_sub(self.0) as i32) >= 0
    }

    /// Milliseconds from `earlier` to here, 0 if it is not earlier.
    #[expect(clippy::cast_sign_loss, reason = "checked")]
    pub const fn since(self, earlier: Ms) -> u32 {
        let gone = self.0.wrapping_sub(earlier.0) as i32;
        if gone < 0 { 0 } else { gone as u32 }
    }

    /// The earlier of the two.
    #[must_use]
    pub const fn min(self, other: Ms) -> Ms {
        if other.reached(self) { other } else { self }
    }
}

/// A duration in whole milliseconds, cut to the longest deadline.
#[expect(clippy::cast_possible_truncation, reason = "cut before the cast")]
pub const fn whole_ms(duration: Duration) -> u32 {
    let ms = duration.as_millis();
    let max = super::limits::DEADLINE_MS_MAX;
    if ms > max as u128 { max } else { ms as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparison_survives_the_wrap() {
        #[rustfmt::skip]
        let table: &[(&str, u32, u32, bool)] = &[
            ("same moment",            5,            5,            true),
            ("one before",             5,            4,            false),
            ("one after",              5,            6,            true),
            ("deadline past the wrap", 3,            u32::MAX - 2, false),
            ("now past the wrap",      u32::MAX - 2, 3,            true),
        ];
        for (name, deadline, now, want) in table {
            assert_eq!(Ms(*deadline).reached(Ms(*now)), *want, "case: {name}");
        }
        assert_eq!(Ms(3).since(Ms(u32::MAX - 2)), 6);
        assert_eq!(Ms(u32::MAX - 2).since(Ms(3)), 0);
        assert_eq!(Ms(u32::MAX).min(Ms(1)), Ms(u32::MAX));
        assert_eq!(Ms(1).min(Ms(u32::MAX)), Ms(u32::MAX));
    }

    #[test]
    fn long_durations_are_cut_to_the_longest_deadline() {
        assert_eq!(whole_ms(Duration::from_millis(1500)), 1500);
        assert_eq!(whole_ms(Duration::MAX), super::super::limits::DEADLINE_MS_MAX);
    }
}
