//! Samples as numbers, by the names and labels that they have in `/metrics`: for conditions, which are told in these terms.
//!
//! Always holds: a sample here is one of the text that would be written at the same moment. Never: one that nobody asked
//! for.

use super::families::{Family, Kind, Measure};
use super::page::{Labels, Number, Sink, seconds};
use super::scrape::Scrape;
use crate::metrics::Durations;
use std::collections::BTreeSet;
use std::fmt;

/// The samples of some series.
#[derive(Debug, Default)]
pub(in super::super) struct Samples {
    all: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: Vec<(&'static str, String)>,
    value: f64,
}

impl Samples {
    /// Of the series with these names.
    pub(in super::super) fn of(scrape: &Scrape, wanted: &BTreeSet<String>) -> Samples {
        let mut picker = Picker { wanted, picked: Samples::default() };
        // Cannot fail: nothing is written.
        let _ = scrape.write(&mut picker);
        picker.picked
    }

    /// The values of those with this name and at least these labels.
    pub(in super::super) fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = f64> + 'a {
        let has = |sample: &Sample, wanted: &(&str, &str)| {
            sample.labels.iter().any(|(label, value)| (*label, value.as_str()) == *wanted)
        };
        let found = self
            .all
            .iter()
            .filter(move |sample| sample.name == name && labels.iter().all(|wanted| has(sample, wanted)));
        found.map(|sample| sample.value)
    }

    /// They, added up. `None` if there are none.
    pub(in super::super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.matching(name, labels).reduce(|sum, more| sum + more)
    }
}

/// Takes what is wanted and lets the rest be.
struct Picker<'a> {
    wanted: &'a BTreeSet<String>,
    picked: Samples,
}

impl Picker<'_> {
    fn take(&mut self, name: &str, labels: &Labels<'_>, more: Option<(&'static str, String)>, value: f64) {
        let labels = labels.iter().map(|(label, value)| (*label, value.to_string())).chain(more).collect();
        self.picked.all.push(Sample { name: name.to_owned(), labels, value });
    }
}

impl Sink for Picker<'_> {
    fn numbers<'a>(
        &mut self,
        family: &Family,
        samples: impl IntoIterator<Item = (Labels<'a>, Number)>,
    ) -> fmt::Result {
        let name = shown(family);
        if self.wanted.contains(&name) {
            samples.into_iter().for_each(|(labels, number)| self.take(&name, &labels, None, real(number)));
        }
        Ok(())
    }

    fn times<'a>(
        &mut self,
        family: &Family,
        samples: impl IntoIterator<Item = (Labels<'a>, Durations)>,
    ) -> fmt::Result {
        let [count, bucket] = ["count", "bucket"].map(|ending| format!("{}_{ending}", shown(family)));
        if !self.wanted.contains(&count) && !self.wanted.contains(&bucket) {
            return Ok(());
        }
        for (labels, durations) in samples {
            self.take(&count, &labels, None, real(Number::Whole(durations.count())));
            let mut until_here = 0;
            for (below_us, here) in durations.buckets() {
                until_here += here;
                let le = below_us.map_or("+Inf".to_owned(), |below_us| seconds(below_us).to_string());
                self.take(&bucket, &labels, Some(("le", le)), real(Number::Whole(until_here)));
            }
        }
        Ok(())
    }
}

/// The name that a family's series have, as the encoder makes it; of a histogram without its ending.
fn shown(family: &Family) -> String {
    let unit = match family.measure {
        Measure::Count => "",
        Measure::Seconds => "_seconds",
        Measure::Bytes => "_bytes",
    };
    let ending = match family.kind {
        Kind::Counter => "_total",
        Kind::Info => "_info",
        Kind::Gauge | Kind::Histogram => "",
    };
    format!("{}{unit}{ending}", family.name)
}

/// Beyond 2^53 it is the nearest number that there is, as in every reader of the text.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn real(number: Number) -> f64 {
    match number {
        Number::Whole(whole) => whole as f64,
        Number::Real(real) => real,
    }
}
