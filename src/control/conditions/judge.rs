//! Which conditions hold, by samples of now and of some seconds ago.
//!
//! Always holds: a rate is that of at most [`CONDITIONS_OVER`]; without an earlier moment no rate is known, and nothing is
//! claimed by one. Never: a clock; each look says when it is.

use super::{RULES, Rule, Series, Sign};
use crate::base::limits::{CONDITIONS_GROWN_OVER, CONDITIONS_OVER};
use crate::control::metrics::Samples;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Remembers what is needed to judge, from one look to the next.
#[derive(Debug)]
pub(in super::super) struct Judge {
    wanted: BTreeSet<String>,
    /// With the server's age at each; the oldest first.
    before: VecDeque<(Duration, Samples)>,
    /// The same of ten minutes, at long intervals.
    long_before: VecDeque<(Duration, Samples)>,
    /// By rule: since when it has held.
    since: [Option<Duration>; RULES.len()],
}

/// A condition that holds.
#[derive(Debug)]
pub(in super::super) struct Held {
    pub(in super::super) rule: &'static Rule,
    /// For how long it has been seen.
    pub(in super::super) lasts: Duration,
    /// The signs that show it: in words, and how much it is.
    pub(in super::super) shown_by: Vec<(String, f64)>,
}

impl Default for Judge {
    fn default() -> Judge {
        let signs = RULES.iter().flat_map(|rule| rule.signs);
        let wanted = signs.flat_map(|(sign, _)| sign.names()).collect();
        Judge { wanted, before: VecDeque::new(), long_before: VecDeque::new(), since: [None; RULES.len()] }
    }
}

impl Judge {
    /// The names of the series that it wants to see.
    pub(in super::super) const fn wanted(&self) -> &BTreeSet<String> {
        &self.wanted
    }

    /// What holds at this age of the server.
    pub(in super::super) fn look(&mut self, age: Duration, now: Samples) -> Vec<Held> {
        self.forget(age);
        let before = self.before.front().map(|(then, samples)| (age.saturating_sub(*then), samples));
        let oldest = self.long_before.front().or(self.before.front()).map(|(_, samples)| samples);
        let look = Look { now: &now, before, oldest, is_young: age <= CONDITIONS_GROWN_OVER };
        let mut held = Vec::new();
        for (rule, since) in RULES.iter().zip(&mut self.since) {
            let signs = rule.signs.iter().filter_map(|(sign, bound)| {
                let seen = look.seen(sign).filter(|seen| sign.is_shown(*bound, *seen))?;
                Some((sign.words(*bound), seen))
            });
            let shown_by: Vec<_> = signs.collect();
            if shown_by.is_empty() {
                *since = None;
            } else {
                let lasts = age.saturating_sub(*since.get_or_insert(age));
                held.push(Held { rule, lasts, shown_by });
            }
        }
        self.before.push_back((age, now));
        held
    }

    /// Lets go of what is too old for rates, and keeps some of it for what looks further back.
    fn forget(&mut self, age: Duration) {
        while self.before.front().is_some_and(|(then, _)| age.saturating_sub(*then) > CONDITIONS_OVER) {
            let Some((then, samples)) = self.before.pop_front() else { break };
            let last = self.long_before.back().map(|(last, _)| *last);
            if last.is_none_or(|last| then.saturating_sub(last) >= CONDITIONS_GROWN_OVER / 60) {
                self.long_before.push_back((then, samples));
            }
        }
        let is_old = |(then, _): &(Duration, Samples)| age.saturating_sub(*then) > CONDITIONS_GROWN_OVER;
        while self.long_before.front().is_some_and(is_old) {
            self.long_before.pop_front();
        }
    }
}

/// What there is to judge by.
struct Look<'a> {
    now: &'a Samples,
    /// And how long ago that was.
    before: Option<(Duration, &'a Samples)>,
    oldest: Option<&'a Samples>,
    /// Whether all that was ever counted has been since the oldest moment that counts.
    is_young: bool,
}

impl Look<'_> {
    /// How much of it there is, if that is known.
    fn seen(&self, sign: &Sign) -> Option<f64> {
        let now = self.now;
        let sum = |samples: &Samples, (name, labels): Series| samples.sum(name, labels);
        let rate = |count: &dyn Fn(&Samples) -> Option<f64>| {
            let (over, before) = self.before?;
            Some((count(now)? - count(before)?) / over.as_secs_f64())
        };
        match *sign {
            Sign::Rate(series) => rate(&|samples| sum(samples, series)),
            Sign::Now((name, labels)) => now.matching(name, labels).reduce(f64::max),
            Sign::Lowest((name, labels)) => now.matching(name, labels).reduce(f64::min),
            Sign::Share(part, whole) | Sign::ShareBelow(part, whole, _) => {
                Some(sum(now, part)? / sum(now, whole)?)
            }
            Sign::Grown(series) => {
                let before = if self.is_young { 0.0 } else { sum(self.oldest?, series)? };
                Some(sum(now, series)? - before)
            }
            Sign::Slower(name, le) => {
                let (count, bucket) = (format!("{name}_count"), format!("{name}_bucket"));
                rate(&|samples| Some(samples.sum(&count, &[])? - samples.sum(&bucket, &[("le", le)])?))
            }
        }
        .filter(|seen| seen.is_finite())
    }
}
