//! How many connections a whole process may have, counted across its loops.
//!
//! A loop takes a seat before it takes a connection in, and gives it back when the connection's slot is freed. A
//! connection that is handed to another loop keeps its seat on the way.
//!
//! Always holds: `taken <= max`. Never: a queue, a wait; who finds no seat is refused.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The seats of one server, shared by its loops.
#[derive(Debug)]
pub struct Seats {
    taken: AtomicU32,
    max: u32,
}

impl Seats {
    /// This many, all free.
    pub const fn new(max: u32) -> Seats {
        Seats { taken: AtomicU32::new(0), max }
    }

    /// How many there are.
    pub const fn max(&self) -> u32 {
        self.max
    }

    /// How many are taken.
    pub fn taken(&self) -> u32 {
        self.taken.load(Relaxed)
    }

    /// Takes one. False if all are taken.
    #[must_use = "only a seat that was taken may be given back"]
    pub fn try_take(&self) -> bool {
        self.taken.fetch_update(Relaxed, Relaxed, |taken| (taken < self.max).then_some(taken + 1)).is_ok()
    }

    /// Gives one back.
    pub fn give_back(&self) {
        let before = self.taken.fetch_sub(1, Relaxed);
        debug_assert!(before > 0, "a seat that was never taken");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_are_taken_than_there_are() {
        let seats = Seats::new(2);
        assert!(seats.try_take() && seats.try_take());
        assert!(!seats.try_take());
        assert_eq!((seats.taken(), seats.max()), (2, 2));
        seats.give_back();
        assert!(seats.try_take());
        assert!(!seats.try_take());
    }

    #[test]
    fn threads_that_compete_never_overfill_it() {
        let seats = Seats::new(5);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        if seats.try_take() {
                            assert!(seats.taken() <= 5);
                            seats.give_back();
                        }
                    }
                });
            }
        });
        assert_eq!(seats.taken(), 0);
    }
}
