//! Blind naming on the dashboard alone: the faults of `tests/diagnosis.rs` are made in real servers, and what is wrong is read
//! from the page in a real Chromium.
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

use faults::{Onlooker, in_random_order};
use std::time::Duration;
use support::admin::admin_of;
use support::devtools::{Chromium, View};
use support::diagnosis::HEALTHY;
use support::serving::Serving;

/// Reads the page, and knows nothing else.
struct Reader {
    browser: Chromium,
    named: Vec<String>,
}

impl Reader {
    /// The conditions that the page names now.
    fn conditions(&mut self) -> Vec<String> {
        let names = "[...document.querySelectorAll('#conditions h3')].map((head) => head.textContent)";
        let names = self.browser.eval(names);
        let names = names.as_array().expect("a list").iter();
        names.map(|name| name.as_str().expect("text").to_lowercase().replace(' ', "_")).collect()
    }

    /// How many beats the page has shown.
    fn beat(&mut self) -> u64 {
        self.browser.eval("feed.beat?.over_s > 0 ? feed.beat.beat : 0").as_u64().unwrap_or_default()
    }

    /// Waits for so many beats more.
    fn beats_on(&mut self, more: u64) {
        let seen = self.beat();
        self.browser.wait_for(
            "the feed goes on",
            &format!("feed.beat?.over_s > 0 && feed.beat.beat >= {}", seen + more),
        );
    }
}

impl Onlooker for Reader {
    fn before(&mut self, serving: &Serving) {
        let view = View { width: 1280, height: 900, is_dark: false };
        self.browser.open(&format!("http://{}/", admin_of(serving)), view);
        self.beats_on(1);
    }

    fn after(&mut self) {
        // Two more: the one that is on its way may be of before.
        self.beats_on(2);
        self.named = self.conditions();
        let word = self.browser.text("document.getElementById('word').textContent");
        if self.named.is_empty() {
            assert_eq!(word, "Serving");
            self.named.push(HEALTHY.to_owned());
        } else {
            assert_ne!(word, "Serving", "the headline says nothing of {:?}", self.named);
        }
        // The feed of a server that is gone must not disturb the next one.
        self.browser.call("Page.navigate", serde_json::json!({ "url": "about:blank" }));
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn every_fault_is_named_from_the_page_alone() {
    let Some(browser) = Chromium::start() else { return };
    let (seed, faults) = in_random_order();
    let mut reader = Reader { browser, named: Vec::new() };
    let mut wrong = Vec::new();
    for (truth, inject) in faults {
        inject(&mut reader);
        if reader.named != truth {
            wrong.push(format!("{truth:?} was called {:?}", reader.named));
        }
    }
    assert!(wrong.is_empty(), "with TIDEGATE_DIAGNOSIS_SEED={seed}: {wrong:#?}");
}
