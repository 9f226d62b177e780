//! Which conditions hold, by samples of now and of some seconds ago.
//!
//! Always holds: a rate is that of at most [`CONDITIONS_OVER`]; without an earlier moment no rate is known, and nothing is
//! claimed by one. Never: a clock; each look says when it is.

use super::{RULES, Rule, Series, Sign};
use crate::base::limits::CONDITIONS_OVER;
use crate::control::metrics::Samples;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Remembers what is needed to judge, from one look to the next.
#[derive(Debug)]
pub(in super::super) struct Judge {
    wanted: BTreeSet<String>,
    /// With the server's age at each; the oldest first.
    before: VecDeque<(Duration, Samples)>,
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
        Judge { wanted, before: VecDeque::new(), since: [None; RULES.len()] }
    }
}

impl Judge {
    /// The names of the series that it wants to see.
    pub(in super::super) const fn wanted(&self) -> &BTreeSet<String> {
        &self.wanted
    }

    /// What holds at this age of the server.
    pub(in super::super) fn look(&mut self, age: Duration, now: Samples) -> Vec<Held> {
        while self.before.front().is_some_and(|(then, _)| age.saturating_sub(*then) > CONDITIONS_OVER) {
            self.before.pop_front();
        }
        let before = self.before.front().map(|(then, samples)| (age.saturating_sub(*then), samples));
        let mut held = Vec::new();
        for (rule, since) in RULES.iter().zip(&mut self.since) {
            let signs = rule.signs.iter().filter_map(|(sign, least)| {
                let seen = seen(sign, before, &now).filter(|seen| seen >= least)?;
                Some((sign.words(*least), seen))
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
}

/// How much of it there is, if that is known: by samples of so long ago, and of now.
fn seen(sign: &Sign, before: Option<(Duration, &Samples)>, now: &Samples) -> Option<f64> {
    let sum = |samples: &Samples, (name, labels): Series| samples.sum(name, labels);
    let rate = |count: &dyn Fn(&Samples) -> Option<f64>| {
        let (over, before) = before?;
        Some((count(now)? - count(before)?) / over.as_secs_f64())
    };
    match *sign {
        Sign::Rate(series) => rate(&|samples| sum(samples, series)),
        Sign::Now((name, labels)) => now.matching(name, labels).reduce(f64::max),
        Sign::Share(part, whole) => Some(sum(now, part)? / sum(now, whole)?),
        Sign::Slower(name, le) => {
            let (count, bucket) = (format!("{name}_count"), format!("{name}_bucket"));
            rate(&|samples| Some(samples.sum(&count, &[])? - samples.sum(&bucket, &[("le", le)])?))
        }
    }
    .filter(|seen| seen.is_finite())
}
