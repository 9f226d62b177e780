//! Why a connection is not being read, as one byte.
//!
//! Reading goes on when no bit is set. Only [`Pauses::clear`] takes one away, and it tells whether that was the last:
//! then the caller must visit the connection again, since no new edge will come for bytes that already lie there.

/// One cause for not reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Pause {
    /// Its own output waits.
    Output = 1 << 0,
    /// No buffer could be leased for what it would send.
    Memory = 1 << 1,
    /// As many requests are open as may be.
    Slots = 1 << 2,
    /// It sent more than its rate allows.
    Rate = 1 << 3,
}

impl Pause {
    /// All of them.
    pub const ALL: [Pause; 4] = [Pause::Output, Pause::Memory, Pause::Slots, Pause::Rate];
}

/// The set of causes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pauses(u8);

impl Pauses {
    /// Whether nothing holds reading back.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this cause is set.
    pub const fn has(self, pause: Pause) -> bool {
        self.0 & pause as u8 != 0
    }

    /// Sets a cause. True if nothing was set before: reading stops now.
    #[must_use = "the moment that reading stops must be noted: deadlines stand still from then on"]
    pub const fn set(&mut self, pause: Pause) -> bool {
        let first = self.is_empty();
        self.0 |= pause as u8;
        first
    }

    /// Clears a cause. True if that was the last one: reading goes on now.
    #[must_use = "a connection whose last pause ends must be visited"]
    pub const fn clear(&mut self, pause: Pause) -> bool {
        let was = self.has(pause);
        self.0 &= !(pause as u8);
        was && self.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the order, reading stops at the first cause and goes on at the last.
    #[test]
    fn only_the_first_set_and_the_last_clear_are_edges() {
        let all = Pause::ALL;
        let pairs = all.iter().flat_map(|one| all.iter().map(move |two| (*one, *two)));
        for (first, second) in pairs.filter(|(one, two)| one != two) {
            let mut pauses = Pauses::default();
            assert!(!pauses.clear(first), "nothing was set");
            assert!(pauses.set(first));
            assert!(!pauses.set(second));
            assert!(!pauses.set(second));
            assert!(!pauses.clear(second));
            assert!(!pauses.clear(second), "a second clear is no edge");
            assert!(pauses.clear(first));
            assert!(pauses.is_empty());
        }
    }
}
