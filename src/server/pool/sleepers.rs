//! Which workers sleep, as one bit each: so that whoever brings work wakes one that does, without a lock.
//!
//! ```text
//!   a worker                                whoever brings work
//!   1. finds no work                        1. puts the work into the queue
//!   2. sets its bit                         2. takes a bit that is set
//!   3. looks for work once more             3. wakes that worker
//!   4. sleeps, if there is none
//! ```
//!
//! Always holds: between both sides' first and second step lies a fence, so either the worker finds the work, or its bit
//! is found. The test below tries the interleavings, and that without the second look work is left.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst, fence};

/// Workers that a word has bits for.
const BITS: usize = 64;

/// A word of bits; a test puts a model checker's in its place.
pub(super) trait Word: Default {
    fn set(&self, bits: u64);
    /// Gives what was there before.
    fn clear(&self, bits: u64) -> u64;
    fn peek(&self) -> u64;
    fn fence();
}

impl Word for AtomicU64 {
    fn set(&self, bits: u64) {
        self.fetch_or(bits, Relaxed);
    }

    fn clear(&self, bits: u64) -> u64 {
        self.fetch_and(!bits, Relaxed)
    }

    fn peek(&self) -> u64 {
        self.load(Relaxed)
    }

    fn fence() {
        fence(SeqCst);
    }
}

#[derive(Debug)]
pub(super) struct Sleepers<W: Word = AtomicU64>(Box<[W]>);

impl<W: Word> Sleepers<W> {
    pub(super) fn new(workers: usize) -> Sleepers<W> {
        Sleepers((0..workers.div_ceil(BITS)).map(|_| W::default()).collect())
    }

    /// A worker found no work. It looks once more, then sleeps until it is woken.
    pub(super) fn lie_down(&self, worker: usize) {
        self.0[worker / BITS].set(1 << (worker % BITS));
        W::fence();
    }

    /// It is awake, whoever woke it.
    pub(super) fn get_up(&self, worker: usize) {
        self.0[worker / BITS].clear(1 << (worker % BITS));
    }

    /// Work was put into the queue: a worker that must be woken for it, if any sleeps.
    pub(super) fn take_one(&self) -> Option<usize> {
        W::fence();
        for (word, bits) in self.0.iter().enumerate() {
            loop {
                let seen = bits.peek();
                if seen == 0 {
                    break;
                }
                let bit = seen.trailing_zeros();
                // Another may have taken it meanwhile.
                if bits.clear(1 << bit) & (1 << bit) != 0 {
                    return Some(word * BITS + bit as usize);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use loom::sync::atomic::{AtomicU64 as LoomU64, AtomicUsize, Ordering};
    use loom::sync::{Condvar, Mutex};
    use std::panic::catch_unwind;
    use std::sync::Arc;

    #[test]
    fn every_sleeper_is_taken_once() {
        let sleepers: Sleepers = Sleepers::new(130);
        assert_eq!(sleepers.take_one(), None);
        [129, 64, 3, 63].into_iter().for_each(|worker| sleepers.lie_down(worker));
        sleepers.get_up(63);
        let taken: Vec<_> = std::iter::from_fn(|| sleepers.take_one()).collect();
        assert_eq!(taken, [3, 64, 129]);
    }

    #[derive(Default)]
    struct Modelled(LoomU64);

    impl Word for Modelled {
        fn set(&self, bits: u64) {
            self.0.fetch_or(bits, Ordering::Relaxed);
        }

        fn clear(&self, bits: u64) -> u64 {
            self.0.fetch_and(!bits, Ordering::Relaxed)
        }

        fn peek(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }

        fn fence() {
            loom::sync::atomic::fence(Ordering::SeqCst);
        }
    }

    /// A thread's token, as `park` and `unpark` have it.
    #[derive(Default)]
    struct Token(Mutex<bool>, Condvar);

    impl Token {
        fn unpark(&self) {
            *self.0.lock().unwrap() = true;
            self.1.notify_one();
        }

        fn park(&self) {
            let mut given = self.0.lock().unwrap();
            while !*given {
                given = self.1.wait(given).unwrap();
            }
            *given = false;
        }
    }

    /// One brings two pieces of work, one does them. Work that is left while the worker sleeps is a deadlock, which loom
    /// tells.
    fn model(looks_again: bool) {
        let mut builder = loom::model::Builder::new();
        // Without a bound it takes a minute and a half, and holds as well.
        builder.preemption_bound = Some(3);
        builder.check(move || {
            let shared: Arc<(Sleepers<Modelled>, Token, AtomicUsize)> =
                Arc::new((Sleepers::new(1), Token::default(), AtomicUsize::new(0)));
            let theirs = Arc::clone(&shared);
            let bringer = loom::thread::spawn(move || {
                let (sleepers, token, brought) = &*theirs;
                for count in 1..=2 {
                    brought.store(count, Ordering::Relaxed);
                    if sleepers.take_one().is_some() {
                        token.unpark();
                    }
                }
            });
            let (sleepers, token, brought) = &*shared;
            let mut done = 0;
            while done < 2 {
                let now = brought.load(Ordering::Relaxed);
                if now > done {
                    done = now;
                    continue;
                }
                sleepers.lie_down(0);
                if !looks_again || brought.load(Ordering::Relaxed) == done {
                    token.park();
                }
                sleepers.get_up(0);
            }
            bringer.join().unwrap();
        });
    }

    #[test]
    fn no_work_is_left_while_the_worker_sleeps() {
        model(true);
    }

    #[test]
    fn without_the_second_look_some_is() {
        assert!(catch_unwind(|| model(false)).is_err(), "the model finds nothing");
    }
}
