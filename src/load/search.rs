//! The search for the highest rate at which a condition holds: which rate to try next, and what came out.
//!
//! ```text
//!   doubling:  10k holds, 20k holds, 40k holds, 80k fails
//!   halving:   56.6k fails, 47.6k holds, ... until the two are within the precision
//!   checking:  the rate that failed, once more; then the one that held, three times more
//! ```
//!
//! Always holds: no more than [`TRIES_MAX`] tries; [`finish`](Search::finish) tells a rate only if the condition held at
//! every try of it since it was chosen, and its neighbour above only if the condition failed there. A void try counts as
//! failed, since nothing is known of the server. Never: a run, a clock; whoever runs the tries is told only the rate.

use super::profile::{RATE_MAX, RATE_MIN};
use super::report::{Search as Found, Try};

/// The most tries of a search.
pub const TRIES_MAX: usize = 40;

/// How often the condition must hold again at the rate that was found.
const CONFIRMATIONS: u32 = 3;

/// How often the first rate is halved until the condition holds.
const HALVINGS_MAX: u32 = 10;

/// How often a rate that can't be confirmed is lowered; all steps together are a factor of 23 with the usual precision.
const LOWERED_MAX: i32 = 8;

/// How close the rate that held and the one that failed must come, as a share, unless it is said otherwise.
pub const PRECISION_DEFAULT: f64 = 0.02;

/// Finer than this no machine repeats itself.
const PRECISION_MIN: f64 = 0.005;

/// Where a search stands. Each has the rate to try as long as it is the same for all tries.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// Up by two as long as the condition holds.
    Doubling,
    /// Down by two until it holds for the first time.
    Sinking { halvings: u32 },
    /// Between the highest that held and the lowest that failed.
    Halving,
    /// The rate that failed, once more: a disturbance must not end the search far too low.
    Rechecking,
    /// The rate that held, again. `lowered` is how often it was lowered for having failed.
    Confirming { left: u32, lowered: i32 },
    /// Nothing left to try.
    Over,
}

/// A search that is on its way.
#[derive(Clone, Debug)]
pub struct Search {
    condition: String,
    max: f64,
    precision: f64,
    step: Step,
    /// What is tried next, requests a second.
    rate: f64,
    held: Option<f64>,
    /// Rates that failed, the lowest last.
    failed: Vec<f64>,
    tries: Vec<Try>,
}

impl Search {
    /// For `condition`, beginning at the rate `start` and never above `max`, in requests a second.
    ///
    /// `precision` is how close what held and what failed must come: 0.02 is 2 %; 0.005 to 1. What is out of range is
    /// taken as the nearest that is not.
    pub fn new(condition: &str, start: f64, max: f64, precision: f64) -> Search {
        let max = max.clamp(RATE_MIN, RATE_MAX);
        Search {
            condition: condition.to_owned(),
            max,
            precision: precision.clamp(PRECISION_MIN, 1.0),
            step: Step::Doubling,
            rate: start.clamp(RATE_MIN, max),
            held: None,
            failed: Vec::new(),
            tries: Vec::new(),
        }
    }

    /// The rate to try, in requests a second; the same until [`tell`](Search::tell). Absent when the search is over.
    pub fn next(&self) -> Option<f64> {
        (self.step != Step::Over && self.tries.len() < TRIES_MAX).then_some(self.rate)
    }

    /// How many tries there were.
    pub const fn tried(&self) -> usize {
        self.tries.len()
    }

    /// What the try at [`next`](Search::next) gave. Without a next rate it is of no effect.
    pub fn tell(&mut self, given: Try) {
        let Some(rate) = self.next() else { return };
        let is_held = given.held && !given.void;
        self.tries.push(Try { rate, held: is_held, ..given });
        self.step = match self.step {
            Step::Doubling if is_held => {
                self.held = Some(rate);
                self.rise()
            }
            Step::Doubling => {
                self.failed.push(rate);
                if self.held.is_some() { self.close_in() } else { self.sink(0) }
            }
            Step::Sinking { .. } if is_held => {
                self.held = Some(rate);
                self.close_in()
            }
            Step::Sinking { halvings } => {
                self.failed.push(rate);
                self.sink(halvings)
            }
            Step::Halving => {
                if is_held {
                    self.held = Some(rate);
                } else {
                    self.failed.push(rate);
                }
                self.close_in()
            }
            Step::Rechecking if is_held => {
                self.failed.pop();
                self.held = Some(rate);
                self.rise()
            }
            Step::Rechecking => self.confirm(0),
            Step::Confirming { left, lowered } if is_held => {
                self.held = Some(rate);
                if left > 1 { Step::Confirming { left: left - 1, lowered } } else { Step::Over }
            }
            Step::Confirming { lowered, .. } => {
                self.failed.push(rate);
                self.lower(lowered + 1)
            }
            Step::Over => Step::Over,
        };
    }

    /// What was found until now.
    pub fn finish(self) -> Found {
        let at_held = || self.tries.iter().filter(|one| Some(one.rate) == self.held);
        let count = |tries: usize| u32::try_from(tries).unwrap_or(u32::MAX);
        let confirmed = (count(at_held().count()), count(at_held().filter(|one| one.held).count()));
        Found {
            condition: self.condition,
            held: self.held,
            failed: self.failed.last().copied(),
            confirmed,
            tries: self.tries,
        }
    }

    /// After it held at `rate` with nothing known above it, or with something that failed.
    fn rise(&mut self) -> Step {
        if !self.failed.is_empty() {
            return self.close_in();
        }
        if self.rate >= self.max {
            return self.confirm(0);
        }
        self.rate = (self.rate * 2.0).min(self.max);
        Step::Doubling
    }

    /// After it failed at `rate` and never held.
    fn sink(&mut self, halvings: u32) -> Step {
        if halvings >= HALVINGS_MAX || self.rate <= RATE_MIN {
            return Step::Over;
        }
        self.rate = (self.rate / 2.0).max(RATE_MIN);
        Step::Sinking { halvings: halvings + 1 }
    }

    /// The next rate between what held and what failed, or what comes after if they are close enough.
    fn close_in(&mut self) -> Step {
        let (Some(held), Some(failed)) = (self.held, self.failed.last().copied()) else { return Step::Over };
        let middle = rounded((held * failed).sqrt());
        if failed <= held * (1.0 + self.precision) || middle <= held || middle >= failed {
            return self.recheck(failed);
        }
        self.rate = middle;
        Step::Halving
    }

    /// What failed twice is not asked again.
    fn recheck(&mut self, failed: f64) -> Step {
        if self.tries.iter().filter(|one| one.rate == failed).count() > 1 {
            return self.confirm(0);
        }
        self.rate = failed;
        Step::Rechecking
    }

    fn confirm(&mut self, lowered: i32) -> Step {
        match self.held {
            Some(held) => {
                self.rate = held;
                Step::Confirming { left: CONFIRMATIONS, lowered }
            }
            None => Step::Over,
        }
    }

    /// Below a rate that failed to be confirmed, by steps that grow: 2 %, 4 %, 8 % with the usual precision.
    fn lower(&mut self, lowered: i32) -> Step {
        // What held once at the same rate has now failed there; until something is confirmed, nothing holds.
        self.held = None;
        self.rate = rounded(self.rate / (1.0 + self.precision * 2_f64.powi(lowered - 1)));
        if self.rate < RATE_MIN || lowered > LOWERED_MAX {
            Step::Over
        } else {
            Step::Confirming { left: CONFIRMATIONS, lowered }
        }
    }
}

impl Found {
    /// Whether the generator was the limit at the lowest rate that failed, so that the server may do more.
    pub fn is_bound_by_generator(&self) -> bool {
        let mut at_failed = self.tries.iter().filter(|one| Some(one.rate) == self.failed && !one.held);
        at_failed.next().is_some_and(|first| first.void) && at_failed.all(|one| one.void)
    }
}

/// Four digits, for rates that can be read and typed; far finer than the precision.
fn rounded(rate: f64) -> f64 {
    // A power of ten from 1 up is exact; a tenth is not.
    let places = 3.0 - rate.log10().floor();
    let power = 10_f64.powf(places.abs());
    if places > 0.0 { (rate * power).round() / power } else { (rate / power).round() * power }
}

#[cfg(test)]
mod tests {
    use super::super::words;
    use super::*;
    use crate::base::Rng;
    use proptest::prelude::*;

    fn given(held: bool) -> Try {
        Try { rate: 0.0, held, because: "p99 is 1.84 ms".to_owned(), void: false, p99_ns: None }
    }

    /// Runs it to its end with what `oracle` says of each rate.
    fn run(mut search: Search, mut oracle: impl FnMut(f64) -> Try) -> Found {
        while let Some(rate) = search.next() {
            let before = search.tried();
            search.tell(oracle(rate));
            assert_eq!(search.tried(), before + 1);
            assert!(before < TRIES_MAX);
        }
        search.tell(given(true)); // of no effect
        search.finish()
    }

    fn steps(found: &Found) -> Vec<(f64, bool)> {
        found.tries.iter().map(|one| (one.rate, one.held)).collect()
    }

    #[test]
    fn it_doubles_halves_rechecks_and_confirms() {
        let found = run(Search::new("p99<2ms", 10_000.0, 1e6, 0.05), |rate| given(rate <= 45_000.0));
        #[rustfmt::skip]
        assert_eq!(steps(&found), [
            (10_000.0, true), (20_000.0, true), (40_000.0, true), (80_000.0, false), // doubling
            (56_570.0, false), (47_570.0, false), (43_620.0, true), (45_550.0, false), // halving
            (45_550.0, false), // once more
            (43_620.0, true), (43_620.0, true), (43_620.0, true), // confirmed
        ]);
        assert_eq!((found.held, found.failed, found.confirmed), (Some(43_620.0), Some(45_550.0), (4, 4)));
        assert_eq!((found.condition.as_str(), found.is_bound_by_generator()), ("p99<2ms", false));
    }

    #[test]
    fn the_ends_are_found_too() {
        let high = run(Search::new("c", 1_000.0, 5_000.0, 0.02), |_| given(true));
        assert_eq!((high.held, high.failed, high.confirmed), (Some(5_000.0), None, (4, 4)));
        let none = run(Search::new("c", 1_000.0, 5_000.0, 0.02), |_| given(false));
        assert_eq!((none.held, none.confirmed, none.tries.len()), (None, (0, 0), 11));
        let low = run(Search::new("c", 1_000.0, 5_000.0, 0.02), |rate| given(rate <= 3.0));
        assert!(low.held.is_some_and(|held| held > 2.9 && held <= 3.0), "{low:?}");
        let swapped = run(Search::new("c", 9_000.0, 5_000.0, 0.02), |rate| given(rate <= 5_000.0));
        assert_eq!(swapped.held, Some(5_000.0), "a start above the maximum is the maximum");
        let tiny = run(Search::new("c", 0.0, 0.0, 0.0), |_| given(false));
        assert_eq!((tiny.held, tiny.tries.len()), (None, 1));
    }

    /// A rate fails once, by a disturbance, and holds afterwards.
    #[test]
    fn one_disturbance_does_not_end_the_search_too_low() {
        for disturbed in 0..16 {
            let mut tries = 0;
            let found = run(Search::new("c", 1_000.0, 1e6, 0.02), |rate| {
                tries += 1;
                given(rate <= 50_000.0 && tries - 1 != disturbed)
            });
            let held = found.held.unwrap();
            assert!(held > 48_000.0 * 0.98 && held <= 50_000.0, "try {disturbed}: {found:?}");
        }
    }

    #[test]
    fn what_can_t_be_confirmed_is_lowered() {
        let mut tries_at = 0;
        let found = run(Search::new("c", 40_000.0, 1e6, 0.02), |rate| {
            tries_at += i32::from(rate == 40_000.0);
            given(rate < 40_000.0 || (rate == 40_000.0 && tries_at < 3))
        });
        assert_eq!((found.held, found.failed, found.confirmed), (Some(39_220.0), Some(40_000.0), (3, 3)));
    }

    #[test]
    fn what_never_holds_again_is_given_up() {
        let mut tries = 0;
        let found = run(Search::new("c", 40_000.0, 1e6, 0.02), |_| {
            tries += 1;
            given(tries == 1)
        });
        assert_eq!((found.held, found.confirmed), (None, (0, 0)));
        assert!(found.tries.len() < 20, "{} tries", found.tries.len());
    }

    #[test]
    fn a_generator_at_its_limit_is_told() {
        let void = |rate: f64| Try { void: rate > 30_000.0, ..given(true) };
        let found = run(Search::new("c", 10_000.0, 1e6, 0.02), void);
        assert!(
            found.held.is_some_and(|held| held <= 30_000.0) && found.is_bound_by_generator(),
            "{found:?}"
        );
        assert!(found.tries.iter().all(|one| !(one.void && one.held)), "void is not held");
        let mut failures = 0;
        let mixed = run(Search::new("c", 10_000.0, 1e6, 0.02), |rate| {
            let is_failing = rate > 30_000.0;
            failures += i32::from(is_failing);
            Try { void: is_failing && failures % 2 == 0, ..given(!is_failing) }
        });
        assert!(!mixed.is_bound_by_generator(), "the server failed there too: {mixed:?}");
        assert!(words::search(&mixed).contains(", and not at "), "{}", words::search(&mixed));
    }

    /// Whether it holds is more and more uncertain within some per cent of the knee, and now and then a good rate
    /// fails. What is reported must still be near the knee.
    #[test]
    fn noise_moves_the_result_little() {
        let (mut near, runs) = (0, 300);
        for seed in 0..runs {
            let mut rng = Rng::new(seed);
            let knee = 10_f64.powf(3.0 + 3.0 * rng.unit());
            let found = run(Search::new("c", 1_000.0, 1e7, 0.02), |rate| {
                let sharpness = 60.0; // from 90 % to 10 % within 7 % of the rate
                let chance = 0.98 / (1.0 + (sharpness * (rate / knee - 1.0)).exp());
                given(rng.unit() <= chance)
            });
            assert!(found.tries.len() <= TRIES_MAX);
            near += u32::from(found.held.is_some_and(|held| held > 0.85 * knee && held < 1.03 * knee));
        }
        assert!(near >= 285, "{near} of {runs} were near");
    }

    proptest! {
        /// With an oracle that is right, the knee lies between what is told, and the two are close.
        #[test]
        fn a_right_oracle_gives_the_knee(
            knee in 0.0..8.0_f64, start in 1.0..6.0_f64, max in 6.0..8.0_f64, precision in 0.005..0.2_f64,
        ) {
            let [knee, start, max] = [knee, start, max].map(|power| 10_f64.powf(power));
            let found = run(Search::new("c", start, max, precision), |rate| given(rate <= knee));
            prop_assert!(found.tries.len() <= TRIES_MAX);
            prop_assert!(found.tries.iter().all(|one| one.rate <= max));
            let lowest = start / 2_f64.powi(10);
            match found.held {
                Some(held) => {
                    prop_assert!(held <= knee, "{} is above {}", held, knee);
                    if let Some(failed) = found.failed {
                        prop_assert!(failed > knee && failed <= held * (1.0 + precision));
                    } else {
                        prop_assert_eq!(held, max);
                    }
                    prop_assert_eq!(found.confirmed.0, found.confirmed.1);
                    prop_assert!(found.confirmed.0 >= CONFIRMATIONS);
                }
                None => prop_assert!(knee < lowest, "{} was reachable", knee),
            }
        }

        /// Whatever is answered, it ends, and what it tells has been tried.
        #[test]
        fn it_always_ends(seed: u64, start in 0.0..1e9_f64, max in 0.0..1e9_f64, precision in -1.0..2.0_f64) {
            let mut rng = Rng::new(seed);
            let found = run(Search::new("c", start, max, precision), |_| Try { void: rng.chance(200), ..given(rng.chance(600)) });
            prop_assert!((1..=TRIES_MAX).contains(&found.tries.len()));
            for told in [found.held, found.failed].into_iter().flatten() {
                prop_assert!(found.tries.iter().any(|one| one.rate == told));
            }
            if let Some(held) = found.held {
                prop_assert!(found.tries.iter().any(|one| one.rate == held && one.held));
                prop_assert!(found.failed.is_none_or(|failed| failed > held));
            }
        }
    }
}
