//! Blind naming: sixteen faults are made in real servers, each beside ordinary traffic, in an order that nobody knows, and a
//! table that sees two scrapes and nothing else must name each, and nothing that is not so.
//!
//! One test alone, because descriptors run out for the whole process.

#![cfg(all(feature = "admin", feature = "tls", target_os = "linux"))]

#[path = "support/authority.rs"]
#[allow(dead_code, unreachable_pub, reason = "others use the rest")]
mod authority;
#[path = "support/faults.rs"]
#[allow(unreachable_pub, reason = "two tests share it")]
mod faults;
mod support;

use faults::{FAULTS, Onlooker, in_random_order};
use support::diagnosis::{RULES, diagnose};
use support::scraper::Scraper;
use support::serving::Serving;

/// Scrapes before and after, and knows nothing else.
#[derive(Default)]
struct Scrapes {
    scraper: Option<Scraper>,
    texts: Vec<String>,
}

impl Scrapes {
    fn take(&mut self) {
        self.texts.extend(self.scraper.as_mut().map(Scraper::text));
    }
}

impl Onlooker for Scrapes {
    fn before(&mut self, serving: &Serving) {
        self.scraper = Some(Scraper::of(serving));
        self.take();
    }

    fn after(&mut self) {
        self.take();
    }
}

#[test]
fn every_fault_is_named_from_the_metrics_alone() {
    for rule in RULES {
        assert!(FAULTS.iter().any(|(names, _)| names.contains(&rule.name)), "{} is never made", rule.name);
    }
    let (seed, faults) = in_random_order();
    let wrong: Vec<String> = faults
        .into_iter()
        .filter_map(|(truth, inject)| {
            let mut scrapes = Scrapes::default();
            inject(&mut scrapes);
            let [before, after] = scrapes.texts.as_slice() else { panic!("two looks were taken") };
            let named = diagnose(before, after);
            (named != truth).then(|| format!("{truth:?} was called {named:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "with TIDEGATE_DIAGNOSIS_SEED={seed}: {wrong:#?}");
}
