//! The handshake between whoever leaves a letter for a loop and the loop that goes to sleep: every interleaving with a
//! few preemptions, and every value that the memory model lets a load see (loom, <https://github.com/tokio-rs/loom>).
//!
//! Two threads leave a letter each; a loop takes letters until it has both. A letter is a relaxed store, which is less
//! than a queue gives, so that only the bell makes it visible. If the loop waits while a letter lies there and nobody
//! is left to wake it, the model deadlocks, and loom says so. Three planted mistakes show that it would.

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Condvar, Mutex};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tidegate::mailbox::bell::{Bell, Flag};

const LETTERS: usize = 2;

/// How often a thread may be stopped where it would have run on. Loom's authors advise 2 or 3; with 5 it takes a minute
/// and holds as well.
const PREEMPTIONS: usize = 3;

/// The flag of a real bell, in loom's world.
#[derive(Default)]
struct Strict(AtomicBool);

impl Flag for Strict {
    fn swap(&self, raised: bool) -> bool {
        self.0.swap(raised, Ordering::AcqRel)
    }

    fn peek(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A flag that orders nothing.
#[derive(Default)]
struct Loose(AtomicBool);

impl Flag for Loose {
    fn swap(&self, raised: bool) -> bool {
        self.0.swap(raised, Ordering::Relaxed)
    }

    fn peek(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a poller's waker does: a wake is remembered until somebody waits.
#[derive(Default)]
struct Poller {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Poller {
    fn wake(&self) {
        *self.woken.lock().expect("no thread panics") = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut woken = self.woken.lock().expect("no thread panics");
        while !*woken {
            woken = self.changed.wait(woken).expect("no thread panics");
        }
        *woken = false;
    }
}

/// How the loop goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// As the loop does it.
    Right,
    /// Clears the bell when it has taken what there was.
    ClearsLast,
    /// Leaves a letter behind without ringing for itself.
    ForgetsTheRest,
}

/// The loop; gives how often it cleared the bell. It takes one letter a turn, so that it must ring for itself.
fn run<F: Flag>(bell: &Bell<F>, poller: &Poller, letters: &[AtomicUsize], manner: Manner) -> usize {
    let (mut taken, mut clears) = (0, 0);
    loop {
        if bell.is_rung() {
            clears += 1;
            if manner != Manner::ClearsLast {
                bell.clear();
            }
            let mut waiting = letters.iter().filter(|letter| letter.load(Ordering::Relaxed) == 1);
            if let Some(letter) = waiting.next() {
                letter.store(2, Ordering::Relaxed);
                taken += 1;
                if manner != Manner::ForgetsTheRest {
                    let _is_first = bell.ring();
                }
            }
            if manner == Manner::ClearsLast && waiting.next().is_none() {
                bell.clear();
            }
        }
        if taken == letters.len() {
            return clears;
        }
        if !bell.is_rung() {
            poller.wait();
        }
    }
}

fn model<F: Flag + Send + Sync + 'static>(manner: Manner) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(move || {
        let shared: Arc<(Bell<F>, Poller, [AtomicUsize; LETTERS], AtomicUsize)> = Arc::new((
            Bell::new(),
            Poller::default(),
            std::array::from_fn(|_| AtomicUsize::new(0)),
            AtomicUsize::new(0),
        ));
        let ringers: Vec<_> = (0..LETTERS)
            .map(|mine| {
                let shared = Arc::clone(&shared);
                loom::thread::spawn(move || {
                    let (bell, poller, letters, wakes) = &*shared;
                    letters[mine].store(1, Ordering::Relaxed);
                    if bell.ring() {
                        wakes.fetch_add(1, Ordering::Relaxed);
                        poller.wake();
                    }
                })
            })
            .collect();
        let (bell, poller, letters, wakes) = &*shared;
        let clears = run(bell, poller, letters, manner);
        ringers.into_iter().for_each(|ringer| ringer.join().expect("it ends"));
        let wakes = wakes.load(Ordering::Relaxed);
        assert!(wakes <= clears + 1, "{wakes} wakes for {clears} looks: who is not the first must not wake");
    });
}

#[test]
fn no_letter_is_left_while_nobody_will_wake() {
    model::<Strict>(Manner::Right);
}

/// The model finds what it is there for.
#[test]
fn planted_mistakes_are_found() {
    let table: &[(&str, fn())] = &[
        ("cleared behind the last letter", || model::<Strict>(Manner::ClearsLast)),
        ("a rest without a ring", || model::<Strict>(Manner::ForgetsTheRest)),
        ("a flag that orders nothing", || model::<Loose>(Manner::Right)),
    ];
    for (name, run) in table {
        let found = catch_unwind(AssertUnwindSafe(run));
        let text = found.expect_err(name);
        let text = text.downcast_ref::<String>().cloned().unwrap_or_default();
        assert!(text.contains("deadlock"), "case: {name}: {text}");
    }
}
