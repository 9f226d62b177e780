//! A reader's copy of one loop's figures, or of several added up.

use super::{Counter, Durations, Gauge, Outcome, ShardMetrics, Timing};
use crate::base::{CloseReason, Time, Token};
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, fence};

/// How often a reader tries to catch a loop between two turns before it takes what it gets.
const TRIES: u32 = 1000;

/// Figures of one moment, unless [`torn`](Snapshot::torn).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    counters: [u64; Counter::COUNT],
    outcomes: [u64; Outcome::COUNT],
    closes: [u64; CloseReason::COUNT],
    gauges: [u64; Gauge::COUNT],
    timings: [Durations; Timing::COUNT],
    listeners: Vec<ListenerFigures>,
    handlers: Vec<Durations>,
    stalls: Vec<u64>,
    torn: bool,
}

/// What one listener has taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerFigures {
    /// Connections accepted, ever.
    pub accepted: u64,
    /// Connections of it that are in the table.
    pub open: u64,
}

/// A turn that was running when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnInHand {
    /// When it began, on the loops' clock.
    pub since: Time,
    /// The connection that was visited last, in this turn or, if this one has visited none yet, in an earlier one.
    pub visiting: Option<Token>,
}

impl Snapshot {
    /// All figures at zero: the start of a sum.
    pub const fn zero() -> Snapshot {
        Snapshot {
            counters: [0; Counter::COUNT],
            outcomes: [0; Outcome::COUNT],
            closes: [0; CloseReason::COUNT],
            gauges: [0; Gauge::COUNT],
            timings: [Durations::ZERO; Timing::COUNT],
            listeners: Vec::new(),
            handlers: Vec::new(),
            stalls: Vec::new(),
            torn: false,
        }
    }

    /// One counter.
    pub const fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter as usize]
    }

    /// Requests that ended so.
    pub const fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// Connections that ended so.
    pub const fn closes(&self, why: CloseReason) -> u64 {
        self.closes[why.index()]
    }

    /// Connections that ended, for whatever reason.
    pub fn closes_total(&self) -> u64 {
        self.closes.iter().sum()
    }

    /// One gauge.
    pub const fn gauge(&self, gauge: Gauge) -> u64 {
        self.gauges[gauge as usize]
    }

    /// How long such things took.
    pub const fn timing(&self, timing: Timing) -> &Durations {
        &self.timings[timing as usize]
    }

    /// What each listener has taken in, in their order; behind them the connections that were dialed.
    pub fn listeners(&self) -> &[ListenerFigures] {
        &self.listeners
    }

    /// How long handlers took, by route label, in their order; behind them all other routes. One request in some is
    /// measured: see [`HANDLER_SAMPLE`](crate::base::limits::HANDLER_SAMPLE).
    pub fn handlers(&self) -> &[Durations] {
        &self.handlers
    }

    /// Batches that held up their loop, by route label, in their order; behind them all other routes, and then batches
    /// with requests of several.
    pub fn stalls(&self) -> &[u64] {
        &self.stalls
    }

    /// Whether the loop never held still: then figures may be of different moments.
    pub const fn torn(&self) -> bool {
        self.torn
    }

    /// The ledger: every started request is in flight or has ended in exactly one way.
    pub fn balances(&self) -> bool {
        let ended: u64 = self.outcomes.iter().sum();
        self.counter(Counter::Started) == ended + self.gauge(Gauge::InFlight)
    }

    /// Connections, added up by where they stand: as many as there are.
    pub fn connections_by_state(&self) -> u64 {
        Gauge::STATES.iter().map(|state| self.gauge(*state)).sum()
    }

    /// Adds another loop's figures to these.
    pub fn add(&mut self, other: &Snapshot) {
        for (mine, theirs) in [
            (&mut self.counters[..], &other.counters[..]),
            (&mut self.outcomes[..], &other.outcomes[..]),
            (&mut self.closes[..], &other.closes[..]),
            (&mut self.gauges[..], &other.gauges[..]),
        ] {
            for (sum, more) in mine.iter_mut().zip(theirs) {
                *sum = sum.wrapping_add(*more);
            }
        }
        for (sum, more) in self.timings.iter_mut().zip(&other.timings) {
            sum.add(more);
        }
        self.listeners.resize(self.listeners.len().max(other.listeners.len()), ListenerFigures::default());
        for (sum, more) in self.listeners.iter_mut().zip(&other.listeners) {
            sum.accepted += more.accepted;
            sum.open += more.open;
        }
        self.handlers.resize(self.handlers.len().max(other.handlers.len()), Durations::ZERO);
        for (sum, more) in self.handlers.iter_mut().zip(&other.handlers) {
            sum.add(more);
        }
        self.stalls.resize(self.stalls.len().max(other.stalls.len()), 0);
        for (sum, more) in self.stalls.iter_mut().zip(&other.stalls) {
            *sum += more;
        }
        self.torn |= other.torn;
    }
}

impl ShardMetrics {
    /// The loop's figures. Tries to catch it between two turns; says so if it could not.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot_while(|| true)
    }

    /// The same, for a reader whose time is short: it tries once, and again for as long as it may.
    pub fn snapshot_while(&self, mut may_try: impl FnMut() -> bool) -> Snapshot {
        let mut copy = Snapshot::zero();
        for attempt in 0..TRIES {
            if attempt > 0 && !may_try() {
                break;
            }
            let before = self.sequence.load(Acquire);
            if before % 2 == 1 {
                std::thread::yield_now();
                continue;
            }
            self.copy_into(&mut copy);
            fence(Acquire);
            if self.sequence.load(Relaxed) == before {
                return copy;
            }
        }
        self.copy_into(&mut copy);
        copy.torn = true;
        copy
    }

    /// How many turns the loop has begun: [`Counter::Turns`], without a copy of the rest.
    pub fn turns(&self) -> u64 {
        self.counters[Counter::Turns as usize].load(Relaxed)
    }

    /// The turn that runs now, if one does.
    pub fn in_hand(&self) -> Option<TurnInHand> {
        let since = self.busy_since.load(Relaxed).checked_sub(1)?;
        let visiting = Some(Token::from_bits(self.visiting.load(Relaxed)));
        Some(TurnInHand { since: Time(since), visiting: visiting.filter(|token| token.generation != 0) })
    }

    fn copy_into(&self, copy: &mut Snapshot) {
        copy.listeners.clear();
        copy.listeners.extend(self.listeners.iter().map(|listener| ListenerFigures {
            accepted: listener.accepted.load(Relaxed),
            open: listener.open.load(Relaxed),
        }));
        copy.handlers.clear();
        copy.handlers.extend(self.handlers.iter().map(super::Histogram::copy));
        copy.stalls.clear();
        copy.stalls.extend(self.stalls.iter().map(|stalls| stalls.load(Relaxed)));
        copy.timings = std::array::from_fn(|timing| self.timings[timing].copy());
        load(&mut copy.counters, &self.counters);
        load(&mut copy.outcomes, &self.outcomes);
        load(&mut copy.closes, &self.closes);
        load(&mut copy.gauges, &self.gauges);
    }
}

fn load(into: &mut [u64], from: &[AtomicU64]) {
    for (copy, figure) in into.iter_mut().zip(from) {
        *copy = figure.load(Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Recorder;
    use super::*;

    #[test]
    fn a_reader_never_sees_half_a_turn() {
        let mut recorder = Recorder::new(1, 1);
        let shared = recorder.shared();
        let reader = std::thread::spawn(move || {
            let mut whole = 0_u32;
            for _ in 0..2_000 {
                let seen = shared.snapshot();
                if !seen.torn() {
                    assert!(seen.balances(), "{seen:?}");
                    whole += 1;
                }
            }
            whole
        });
        while !reader.is_finished() {
            recorder.begin_turn(Time(0));
            recorder.add(Counter::Started, 3);
            recorder.ended(Outcome::Answered, 2);
            recorder.ended(Outcome::Failed, 1);
            recorder.end_turn(1);
            std::thread::yield_now();
        }
        assert!(reader.join().expect("the reader does not panic") > 0, "no snapshot was whole");
    }

    #[test]
    fn a_loop_that_never_holds_still_gives_a_torn_snapshot() {
        let mut recorder = Recorder::new(1, 1);
        recorder.begin_turn(Time(0));
        recorder.add(Counter::Started, 1);
        let seen = recorder.shared().snapshot();
        assert!(seen.torn());
        assert!(!seen.balances());
    }

    #[test]
    fn a_reader_whose_time_is_up_tries_no_more() {
        let mut recorder = Recorder::new(1, 1);
        let mut tries = 0;
        let mut twice = || {
            tries += 1;
            tries <= 2
        };
        assert!(!recorder.shared().snapshot_while(&mut twice).torn(), "a loop at rest takes no second try");
        recorder.begin_turn(Time(0));
        assert!(recorder.shared().snapshot_while(&mut twice).torn());
        assert_eq!(tries, 3);
    }
}
