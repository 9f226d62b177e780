//! What the simulator is for: it finds mistakes in a user's handler that a test over a quiet socket never makes, names
//! a seed that shows them again, and has nothing to say against the mended handler.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegate::service::{Cx, Frame, Later, Peer, Replied, Reply, Service};
use tidegate::sim::{Answer, Failure, Plan, Threads, World, run_seeds};

const SEEDS: u64 = 150;

/// The failure that these worlds show, and that it is shown again by its seed alone.
fn found<S: Service>(world: impl Fn(u64) -> World<S>) -> Box<Failure> {
    let first = run_seeds(0..SEEDS, &world).expect_err("the mistake is found");
    let again = run_seeds(first.seed..first.seed + 1, &world).expect_err("and found again");
    assert_eq!((&first.what, first.trace.hash()), (&again.what, again.trace.hash()), "seed {}", first.seed);
    assert!(first.to_string().starts_with(&format!("seed {}: ", first.seed)), "{first}");
    first
}

#[track_caller]
fn holds<S: Service>(world: impl Fn(u64) -> World<S>) {
    if let Err(failure) = run_seeds(0..SEEDS, world) {
        panic!("{failure}");
    }
}

// ---- state that outlives its connection ----------------------------------------------------------------------------

/// Answers with the number of bytes that this client has sent so far, this request's among them.
#[derive(Default)]
struct Meter {
    /// Mistaken: by the place in the table, which the next client gets when this one is gone.
    bytes: HashMap<u32, u64>,
    is_mended: bool,
}

impl Service for Meter {
    /// Right: lives and ends with its connection.
    type Conn = u64;

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) -> u64 {
        0
    }

    fn on_frame(&mut self, own: &mut u64, frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        let total = if self.is_mended { own } else { self.bytes.entry(cx.id().slot).or_default() };
        *total += frame.payload().len() as u64;
        reply.send(total.to_string().as_bytes())
    }
}

fn metered(seed: u64, is_mended: bool) -> World<Meter> {
    let mut totals: HashMap<u32, u64> = HashMap::new();
    let service = move || Meter { is_mended, ..Meter::default() };
    World::new(Plan::draw(seed, &[1]), service, move |request| {
        let total = totals.entry(request.client).or_default();
        *total += request.payload.len() as u64;
        Answer::Reply(total.to_string().into_bytes())
    })
}

#[test]
fn state_that_the_next_client_inherits_is_found() {
    let failure = found(|seed| metered(seed, false));
    assert!(failure.what.contains("other from byte"), "{}", failure.what);
    holds(|seed| metered(seed, true));
}

// ---- a request that nobody answers -----------------------------------------------------------------------------

/// Does the work of several requests together: a few milliseconds after the first of them came, at most four at once.
#[derive(Default)]
struct Batcher {
    waiting: Vec<(Later, Vec<u8>)>,
    is_mended: bool,
}

const AT_ONCE: usize = 4;

impl Batcher {
    fn arm(cx: &mut Cx<'_>) {
        cx.arm(Duration::from_millis(3), 0).expect("one timer at a time");
    }
}

impl Service for Batcher {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn on_frame(&mut self, _conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        let (later, replied) = reply.defer();
        if let Ok(later) = later {
            if self.waiting.is_empty() {
                Batcher::arm(cx);
            }
            self.waiting.push((later, frame.payload().to_ascii_uppercase()));
        }
        replied
    }

    fn on_timer(&mut self, _tag: u64, cx: &mut Cx<'_>) {
        let count = self.waiting.len().min(AT_ONCE);
        for (later, payload) in self.waiting.drain(..count) {
            cx.answer(later, &payload);
        }
        // Mistaken without this: whoever was left over waits for a timer that nobody has armed.
        if self.is_mended && !self.waiting.is_empty() {
            Batcher::arm(cx);
        }
    }
}

fn batched(seed: u64, is_mended: bool) -> World<Batcher> {
    let plan = Plan::draw(seed, &[1]);
    let service = move || Batcher { is_mended, ..Batcher::default() };
    World::new(plan, service, |request| Answer::Reply(request.payload.to_ascii_uppercase()))
}

#[test]
fn a_request_that_nobody_answers_is_found() {
    let failure = found(|seed| batched(seed, false));
    assert!(failure.what.contains("no answer came in time"), "{}", failure.what);
    holds(|seed| batched(seed, true));
}

// ---- answers from other threads that change places -----------------------------------------------------------------

/// Has each request done on another thread.
struct Elsewhere {
    threads: Threads,
    /// Mistaken: whoever is ready first answers whoever came first.
    waiting: Arc<Mutex<VecDeque<Later>>>,
    is_mended: bool,
}

impl Service for Elsewhere {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn on_frame(&mut self, _conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, _cx: &mut Cx<'_>) -> Replied {
        let (later, replied) = reply.defer();
        let Ok(later) = later else {
            return replied;
        };
        let done = frame.payload().to_ascii_uppercase();
        if self.is_mended {
            self.threads.later(move || later.send(&done));
        } else {
            self.waiting.lock().expect("not poisoned").push_back(later);
            let waiting = Arc::clone(&self.waiting);
            self.threads.later(move || {
                let first = waiting.lock().expect("not poisoned").pop_front();
                first.expect("one for each request").send(&done);
            });
        }
        replied
    }
}

fn done_elsewhere(seed: u64, is_mended: bool) -> World<Elsewhere> {
    let service =
        move |threads: &Threads| Elsewhere { threads: threads.clone(), waiting: Arc::default(), is_mended };
    World::with_threads(Plan::draw(seed, &[1]), service, |request| {
        Answer::Reply(request.payload.to_ascii_uppercase())
    })
}

#[test]
fn answers_that_change_places_are_found() {
    let failure = found(|seed| done_elsewhere(seed, false));
    assert!(failure.what.contains("came where"), "{}", failure.what);
    holds(|seed| done_elsewhere(seed, true));
}
