//! The ledger of a server, judged from figures with names, wherever they were read.
//!
//! Always holds: a verdict needs nothing but one loop's figures of one moment, or their sum over loops that stand still;
//! figures that are not of one moment are passed over, and counted. Never: what the server says of its own ledger.

use super::exposition::Exposition;
#[cfg(feature = "admin")]
use super::scraper::Scraper;
use std::collections::BTreeMap;
#[cfg(feature = "admin")]
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;
use tidegate::CloseReason;
use tidegate::base::Rng;
use tidegate::metrics::{Counter, Gauge, Outcome, Snapshot};
use tidegate::server::Handle;

/// The longest pause between two looks, in microseconds.
const PAUSE_US_MAX: u64 = 20_000;

/// What a figure is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// How started requests ended; only grows.
    Outcome,
    /// How connections ended; only grows.
    Close,
    /// What is so at the moment.
    Gauge,
}

/// One loop's figures of one moment, by kind and name.
pub type Figures = BTreeMap<(Kind, String), u64>;

/// The figures of a snapshot, or `None` if they are of different moments.
pub fn figures(snapshot: &Snapshot) -> Option<Figures> {
    if snapshot.torn() {
        return None;
    }
    let counters = Counter::ALL.iter().map(|which| (Kind::Counter, which.name(), snapshot.counter(*which)));
    let outcomes = Outcome::ALL.iter().map(|which| (Kind::Outcome, which.name(), snapshot.outcome(*which)));
    let closes = CloseReason::ALL.iter().map(|which| (Kind::Close, which.name(), snapshot.closes(*which)));
    let gauges = Gauge::ALL.iter().map(|which| (Kind::Gauge, which.name(), snapshot.gauge(*which)));
    let all = counters.chain(outcomes).chain(closes).chain(gauges);
    Some(all.map(|(kind, name, value)| ((kind, name.to_owned()), value)).collect())
}

/// Whether every started request is in flight or has ended in exactly one way, and every connection is open or has
/// ended for exactly one reason.
///
/// # Errors
///
/// What does not add up, with the numbers; or which figure is missing.
pub fn verdict(figures: &Figures) -> Result<(), String> {
    let one = |kind, name: &str| {
        let found = figures.get(&(kind, name.to_owned()));
        found.copied().ok_or_else(|| format!("there is no figure {kind:?} {name}"))
    };
    let sum = |kind| figures.iter().filter(|((of, _), _)| *of == kind).map(|(_, value)| value).sum::<u64>();
    let (started, ended) = (one(Kind::Counter, "started")?, sum(Kind::Outcome));
    let in_flight = one(Kind::Gauge, "in_flight")?;
    if started != ended + in_flight {
        return Err(format!(
            "{started} requests were started, {ended} have ended, {in_flight} are in flight"
        ));
    }
    let begun = one(Kind::Counter, "accepted")? + one(Kind::Counter, "dialed")?;
    let (closed, open) = (sum(Kind::Close), one(Kind::Gauge, "open")?);
    if begun != closed + open {
        return Err(format!("{begun} connections were begun, {closed} have ended, {open} are open"));
    }
    Ok(())
}

/// The figures of all loops together, from the text of `/metrics`; `None` if one of them was not of one moment.
pub fn figures_of_text(scrape: &Exposition) -> Option<Figures> {
    if scrape.sum("tidegate_shard_snapshot_torn", &[]) > 0.0 {
        return None;
    }
    let sum = |kind, name: &str, of: &str| ((kind, name.to_owned()), whole(scrape.sum(of, &[])));
    let mut figures = Figures::from([
        sum(Kind::Counter, "started", "tidegate_requests_started_total"),
        sum(Kind::Counter, "accepted", "tidegate_connections_accepted_total"),
        sum(Kind::Counter, "dialed", "tidegate_connections_dialed_total"),
        sum(Kind::Gauge, "in_flight", "tidegate_requests_in_flight"),
        sum(Kind::Gauge, "open", "tidegate_connections"),
    ]);
    for (kind, label, name) in [
        (Kind::Outcome, "outcome", "tidegate_requests_ended_total"),
        (Kind::Close, "reason", "tidegate_connections_closed_total"),
    ] {
        for value in scrape.label_values(name, label) {
            figures.insert((kind, value.to_owned()), whole(scrape.sum(name, &[(label, value)])));
        }
    }
    Some(figures)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts, far below 2^53")]
fn whole(value: f64) -> u64 {
    assert!(value >= 0.0 && value.fract() == 0.0, "{value} is no count");
    value as u64
}

/// Checks that `started == all outcomes + in flight`, for each loop, and if all were copied at a moment between two turns,
/// in sum too. The error names the loop and its figures. Returns how many loops could be checked.
pub fn loops_balance(scrape: &Exposition) -> Result<usize, String> {
    let shards = scrape.label_values("tidegate_requests_started_total", "shard");
    if shards.is_empty() {
        return Err("there is no loop in this text".to_owned());
    }
    let mut checked = 0;
    for shard in &shards {
        let of = [("shard", *shard)];
        if scrape.value("tidegate_shard_snapshot_torn", &of) != 0.0 {
            continue;
        }
        balance(scrape, &format!("shard {shard}"), &of)?;
        let open = scrape.sum("tidegate_connections", &of);
        let paused = scrape.matching("tidegate_connections_paused", &of);
        if paused.iter().any(|paused| *paused > open) {
            return Err(format!("shard {shard}: {paused:?} of {open} connections are paused"));
        }
        checked += 1;
    }
    if checked == shards.len() {
        balance(scrape, "all loops", &[])?;
    }
    Ok(checked)
}

fn balance(scrape: &Exposition, whose: &str, of: &[(&str, &str)]) -> Result<(), String> {
    let started = scrape.sum("tidegate_requests_started_total", of);
    let ended = scrape.sum("tidegate_requests_ended_total", of);
    let in_flight = scrape.sum("tidegate_requests_in_flight", of);
    if started == ended + in_flight {
        return Ok(());
    }
    Err(format!("{whose}: {started} requests started, {ended} ended, {in_flight} in flight"))
}

/// Which figure fell though it only grows.
pub fn fallen(before: &Figures, now: &Figures) -> Option<String> {
    let grows = before.iter().filter(|((kind, _), _)| *kind != Kind::Gauge);
    let mut fell = grows.filter(|(name, value)| now.get(*name).is_none_or(|later| later < *value));
    fell.next().map(|((kind, name), value)| format!("{kind:?} {name} was {value} and is less now"))
}

/// How often the ledger was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looks {
    /// Figures of one moment.
    pub whole: u64,
    /// Figures that were passed over.
    pub torn: u64,
}

impl Looks {
    pub fn text(&self) -> String {
        format!("the ledger added up {} times ({} not of one moment)", self.whole, self.torn)
    }

    pub fn add(&mut self, other: Looks) {
        self.whole += other.whole;
        self.torn += other.torn;
    }
}

/// Reads the figures at random moments, on a thread of its own, until it is ended or something does not add up.
pub struct Watch {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Looks, String>>,
}

impl Watch {
    /// Watches each loop of a server in this process.
    pub fn of(handle: &Handle, seed: u64) -> Watch {
        let handle = handle.clone();
        Watch::with(seed, move || handle.shard_snapshots().iter().map(figures).collect())
    }

    /// Watches a server by its admin port, as a stranger does.
    #[cfg(feature = "admin")]
    pub fn at(admin: SocketAddr, seed: u64) -> Watch {
        let mut scraper = Scraper::connect(admin);
        Watch::with(seed, move || {
            let scrape = scraper.scrape();
            loops_balance(&scrape).unwrap_or_else(|wrong| panic!("{wrong}"));
            vec![figures_of_text(&scrape)]
        })
    }

    /// Watches what `read` gives for each loop, which is `None` for figures of different moments.
    pub fn with(seed: u64, mut read: impl FnMut() -> Vec<Option<Figures>> + Send + 'static) -> Watch {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let (mut rng, mut looks) = (Rng::new(seed), Looks::default());
            let mut before: BTreeMap<usize, Figures> = BTreeMap::new();
            while !over.load(Relaxed) {
                for (shard, now) in read().into_iter().enumerate() {
                    let Some(now) = now else {
                        looks.torn += 1;
                        continue;
                    };
                    looks.whole += 1;
                    verdict(&now).map_err(|why| format!("loop {shard}: {why}\n{now:?}"))?;
                    if let Some(why) = before.get(&shard).and_then(|before| fallen(before, &now)) {
                        return Err(format!("loop {shard}: {why}"));
                    }
                    before.insert(shard, now);
                }
                std::thread::sleep(Duration::from_micros(rng.below(PAUSE_US_MAX)));
            }
            Ok(looks)
        });
        Watch { is_over, thread }
    }

    /// Ends it. Fails if anything ever did not add up.
    #[track_caller]
    pub fn end(self) -> Looks {
        self.is_over.store(true, Relaxed);
        match self.thread.join().expect("no panic") {
            Ok(looks) => looks,
            Err(why) => panic!("the ledger does not add up: {why}"),
        }
    }
}
