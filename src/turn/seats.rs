//! How many connections a whole process may have, and how many each of its loops has.
//!
//! A loop takes a seat before it takes a connection in, and gives it back when the connection's slot is freed. A
//! connection that is handed to another loop moves to a seat of that loop before it is on its way.
//!
//! Always holds: a seat is taken only while fewer than `max` are, across all loops; each loop's own count is exact at every moment, so whoever deals
//! newcomers need not guess. Never: a queue, a wait; who finds no seat is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// What all loops share.
#[derive(Debug)]
struct House {
    taken: AtomicU32,
    max: AtomicU32,
}

/// The seats of one loop, in a house that it shares with others.
#[derive(Debug)]
pub struct Seats {
    house: Arc<House>,
    /// Seats of the house that this loop's connections have.
    mine: AtomicU32,
}

impl Seats {
    /// A house with this many, and its first loop.
    pub fn new(max: u32) -> Seats {
        Seats {
            house: Arc::new(House { taken: AtomicU32::new(0), max: AtomicU32::new(max) }),
            mine: AtomicU32::new(0),
        }
    }

    /// Another loop in the same house.
    #[must_use]
    pub fn beside(&self) -> Seats {
        Seats { house: Arc::clone(&self.house), mine: AtomicU32::new(0) }
    }

    /// How many there are for all loops together.
    pub fn max(&self) -> u32 {
        self.house.max.load(Relaxed)
    }

    /// Another number of them, for newcomers: nobody who has a seat loses it.
    pub fn set_max(&self, max: u32) {
        self.house.max.store(max, Relaxed);
    }

    /// How many all loops have taken together.
    pub fn taken(&self) -> u32 {
        self.house.taken.load(Relaxed)
    }

    /// How many this loop has taken.
    pub fn mine(&self) -> u32 {
        self.mine.load(Relaxed)
    }

    /// Takes one. False if all are taken.
    #[must_use = "only a seat that was taken may be given back"]
    pub fn try_take(&self) -> bool {
        let House { taken, max } = &*self.house;
        let max = max.load(Relaxed);
        let took = taken.fetch_update(Relaxed, Relaxed, |taken| (taken < max).then_some(taken + 1));
        if took.is_ok() {
            self.mine.fetch_add(1, Relaxed);
        }
        took.is_ok()
    }

    /// Gives one back.
    pub fn give_back(&self) {
        let before = (self.mine.fetch_sub(1, Relaxed), self.house.taken.fetch_sub(1, Relaxed));
        debug_assert!(before.0 > 0 && before.1 > 0, "a seat that was never taken");
    }

    /// Moves one to another loop of the house.
    pub fn move_to(&self, other: &Seats) {
        debug_assert!(Arc::ptr_eq(&self.house, &other.house), "a seat of another house");
        other.mine.fetch_add(1, Relaxed);
        let before = self.mine.fetch_sub(1, Relaxed);
        debug_assert!(before > 0, "a seat that was never taken");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_are_taken_than_there_are() {
        let first = Seats::new(2);
        let second = first.beside();
        assert!(first.try_take() && second.try_take());
        assert!(!first.try_take() && !second.try_take());
        assert_eq!((first.taken(), first.mine(), second.mine(), second.max()), (2, 1, 1, 2));
        first.move_to(&second);
        assert_eq!((second.taken(), first.mine(), second.mine()), (2, 0, 2));
        second.give_back();
        assert!(first.try_take());
        assert!(!first.try_take());
        first.set_max(1);
        second.give_back();
        assert!(!first.try_take(), "one is still taken");
        second.set_max(2);
        assert!(first.try_take());
    }

    #[test]
    fn threads_that_compete_never_overfill_it() {
        let house = Seats::new(5);
        let loops: Vec<Seats> = (0..4).map(|_| house.beside()).collect();
        std::thread::scope(|scope| {
            for seats in &loops {
                let next = &loops[1];
                scope.spawn(move || {
                    for _ in 0..10_000 {
                        if seats.try_take() {
                            assert!(seats.taken() <= 5);
                            seats.move_to(next);
                            next.give_back();
                        }
                    }
                });
            }
        });
        assert_eq!(house.taken(), 0);
        assert!(loops.iter().all(|seats| seats.mine() == 0));
    }
}
