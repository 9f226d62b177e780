//! What the integration tests share: a client that frames by hand, a server in this process, one in another, and
//! waits that end.
//!
//! Always holds: every wait has a deadline and says what it waited for; only loopback addresses, only port 0; only
//! processes that a test started are ended. Never: the crate's own codec on the client's side, so that both sides
//! can't be wrong in the same way.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of this")]

#[cfg(feature = "admin")]
pub mod admin;
pub mod chaos;
pub mod clerk;
pub mod client;
#[cfg(feature = "admin")]
pub mod collector;
#[cfg(feature = "admin")]
pub mod devtools;
#[cfg(feature = "admin")]
pub mod diagnosis;
pub mod errant;
pub mod exposition;
pub mod extended;
pub mod hand;
pub mod ledger;
pub mod parking;
#[cfg(feature = "cli")]
pub mod process;
pub mod rounds;
#[cfg(feature = "admin")]
pub mod scraper;
pub mod serving;
#[cfg(feature = "cli")]
pub mod transcript;

use std::time::{Duration, Instant};

/// How long anything may take that should happen soon: generous, for a machine that does other things too.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Looks again and again until `is_so`, and fails with what was waited for when [`PATIENCE`] is over.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A figure of a process's status on Linux, in bytes.
pub fn status(process: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it is there");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells it");
    let kib = line.trim_start_matches(':').trim().trim_end_matches(" kB");
    kib.parse::<u64>().expect("a number") << 10
}

/// Repeatable bytes that differ from place to place: what was shifted, doubled or cut does not match.
pub fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(bytes);
    out
}
