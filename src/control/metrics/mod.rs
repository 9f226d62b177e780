//! `/metrics`: the figures of the loops, of the workers and of the process, as OpenMetrics text.
//!
//! ```text
//!   loops --copies--> Scrape --collect()--> text --classic()--> the older format, for who wants that
//!                       `--- write() --> Samples, those that a condition looks at
//! ```
//!
//! Always holds: all figures of one loop are of one moment, or the loop is marked torn; every label is one of a list that
//! is known when the server starts. Never: a wait for a loop.

mod classic;
mod exemplars;
mod families;
mod page;
mod samples;
mod scrape;
mod system;

pub(super) use samples::Samples;
pub(super) use scrape::{COMMIT, Scrape};

use crate::server::Handle;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use system::Files;

/// Makes the text, and remembers what that cost.
#[derive(Debug, Default)]
pub(super) struct Exporter {
    files: OnceLock<Files>,
    own: Mutex<Own>,
}

/// What the exporter counts of itself.
#[derive(Clone, Copy, Debug, Default)]
struct Own {
    scrapes: u64,
    took: Duration,
}

impl Exporter {
    /// All families, as OpenMetrics text.
    pub(super) fn text(&self, handle: &Handle) -> String {
        let (text, series) = self.text_and_exemplars(handle);
        if series.is_empty() { text } else { exemplars::explain(&text, &series) }
    }

    /// The same in the older format.
    pub(super) fn classic_text(&self, handle: &Handle) -> String {
        classic::classic(&self.text_and_exemplars(handle).0)
    }

    fn text_and_exemplars(&self, handle: &Handle) -> (String, exemplars::Explained) {
        let began = Instant::now();
        let scrape = self.scrape(handle);
        // Behind the figures: what explains a bucket is in it already.
        let series = scrape.explained(handle.exemplars());
        let mut registry = Registry::default();
        registry.register_collector(Box::new(scrape));
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes everything");
        let mut own = self.lock();
        own.scrapes += 1;
        own.took += began.elapsed();
        (text, series)
    }

    /// Copies of everything, as they are now.
    pub(super) fn scrape(&self, handle: &Handle) -> Scrape {
        let files = self.files.get_or_init(|| Files::open(handle.thread_ids()));
        let own = *self.lock();
        Scrape::of(handle, files.read(), own)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
