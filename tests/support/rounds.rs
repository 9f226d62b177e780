//! How long a soak takes, and which seeds it has.
//!
//! `TIDEGATE_SOAK=2h` (a whole number and `s`, `m` or `h`) makes it as long, `TIDEGATE_SOAK_SEED=n` begins with that
//! seed. Without them there is one round, with seed 1.
//!
//! Always holds: a failure says which seed it was; a long soak says a line a minute. Never: a seed that nobody can give
//! again.

use std::time::{Duration, Instant};

/// How often a long soak says that it lives.
const REPORT: Duration = Duration::from_secs(60);

/// Rounds that are not over before their time is, each with a seed.
pub struct Rounds {
    name: &'static str,
    began: Instant,
    lasts: Duration,
    seed: u64,
    done: u64,
    reported: Instant,
}

impl Rounds {
    pub fn begin(name: &'static str) -> Rounds {
        let text = |name| std::env::var(name).ok();
        let lasts = text("TIDEGATE_SOAK").map_or(Duration::ZERO, |text| {
            duration(&text)
                .unwrap_or_else(|| panic!("TIDEGATE_SOAK={text}: write a number and s, m or h, as 2h"))
        });
        let seed = text("TIDEGATE_SOAK_SEED").map_or(1, |text| {
            text.parse().unwrap_or_else(|_| panic!("TIDEGATE_SOAK_SEED={text}: write a whole number"))
        });
        let began = Instant::now();
        Rounds { name, began, lasts, seed, done: 0, reported: began }
    }

    /// The seed of the next round; `None` when the time is over and `least` rounds are done.
    pub fn next(&mut self, least: u64) -> Option<u64> {
        if self.done >= least && self.began.elapsed() >= self.lasts {
            return None;
        }
        self.done += 1;
        Some(self.seed + self.done - 1)
    }

    /// A round is over; `figures` is said if it is time.
    #[expect(clippy::print_stderr, reason = "who waits for hours wants to see it live")]
    pub fn report(&mut self, figures: impl FnOnce() -> String) {
        if self.reported.elapsed() >= REPORT {
            self.reported = Instant::now();
            let minutes = self.began.elapsed().as_secs() / 60;
            eprintln!("{}: {minutes} min, {} rounds, {}", self.name, self.done, figures());
        }
    }

    /// All rounds are over: what came of them.
    #[expect(clippy::print_stderr, reason = "figures of a run that went well")]
    pub fn end(self, figures: &str) {
        eprintln!(
            "{}: {:.1} s, {} rounds, {figures}",
            self.name,
            self.began.elapsed().as_secs_f64(),
            self.done
        );
    }
}

impl Drop for Rounds {
    #[expect(clippy::print_stderr, reason = "a failure is of no use without its seed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.seed + self.done.max(1) - 1;
            eprintln!(
                "{}: failed in round {}; TIDEGATE_SOAK_SEED={seed} begins with it",
                self.name, self.done
            );
        }
    }
}

/// `90s`, `5m`, `2h`.
pub fn duration(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return None,
    };
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    number.checked_mul(seconds).map(Duration::from_secs)
}
