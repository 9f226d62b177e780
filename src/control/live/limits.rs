//! Everything that is limited, as use against capacity.
//!
//! Always holds: where each loop has a part of its own, the fullest loop is told, too: it is the one that refuses. Never: a
//! limit without a figure of its use.

use crate::base::limits::LOBBY_MAX;
use crate::control::metrics::Scrape;
use crate::metrics::{Gauge, Snapshot};
use crate::server::{Capacity, LoopState};
use serde::Serialize;

/// One of them.
#[derive(Serialize)]
pub(super) struct Limit {
    name: &'static str,
    /// Where, if there are several.
    of: Option<String>,
    unit: &'static str,
    used: u64,
    limit: u64,
    /// The loop that has used most of its part.
    fullest: Option<Fullest>,
    /// What happens at the limit.
    then: &'static str,
}

#[derive(Serialize)]
struct Fullest {
    #[serde(rename = "loop")]
    shard: usize,
    used: u64,
    limit: u64,
}

impl Limit {
    const fn of_all(name: &'static str, used: u64, limit: u64, then: &'static str) -> Limit {
        Limit { name, of: None, unit: "", used, limit, fullest: None, then }
    }

    fn bytes(self) -> Limit {
        Limit { unit: "bytes", ..self }
    }

    /// Of which each loop may use so much.
    fn of_each(
        name: &'static str,
        used: impl Iterator<Item = u64>,
        limit: usize,
        then: &'static str,
    ) -> Limit {
        let limit = limit as u64;
        let used: Vec<u64> = used.collect();
        // The first, if several are as full.
        let fullest = used.iter().copied().enumerate().rev().max_by_key(|(_, used)| *used);
        Limit {
            fullest: fullest.map(|(shard, used)| Fullest { shard, used, limit }),
            ..Limit::of_all(name, used.iter().sum(), limit.saturating_mul(used.len() as u64), then)
        }
    }
}

pub(super) fn limits(scrape: &Scrape) -> Vec<Limit> {
    let Capacity {
        connections,
        dialed_per_shard,
        input_bytes_per_shard,
        output_bytes_per_shard,
        reserve_bytes_per_shard,
        commands_per_shard,
        laters_per_shard,
        jobs_waiting,
        ..
    } = scrape.capacity;
    let gauge = |gauge: Gauge| scrape.shards.iter().map(move |figures: &Snapshot| figures.gauge(gauge));
    let commands = scrape.states.iter().map(|state: &LoopState| state.commands as u64);
    let used = u64::from(scrape.connections);
    let mut all =
        vec![Limit::of_all("connections", used, connections.into(), "newcomers are told OVERLOADED")];
    all.extend(of_listeners(scrape));
    if let (Some(used), Some(limit)) = (scrape.system.open_fds, scrape.system.max_fds) {
        all.push(Limit::of_all("descriptors", used, limit, "newcomers are told OVERLOADED"));
    }
    let is_paused = "connections are paused, and after 100 ms the largest are ended";
    all.push(
        Limit::of_each("input buffers", gauge(Gauge::InputBytes), input_bytes_per_shard, is_paused).bytes(),
    );
    all.push(
        Limit::of_each("output buffers", gauge(Gauge::OutputBytes), output_bytes_per_shard, is_paused)
            .bytes(),
    );
    let reserve = gauge(Gauge::ReserveBytes);
    all.push(Limit::of_each("reserve for small needs", reserve, reserve_bytes_per_shard, is_paused).bytes());
    let deferred = gauge(Gauge::Laters);
    all.push(Limit::of_each("deferred answers", deferred, laters_per_shard, "requests are told OVERLOADED"));
    all.push(Limit::of_each("mailbox commands", commands, commands_per_shard, "who leaves one is refused"));
    let dialed = scrape.sum.listeners().last().map_or(0, |dialed| dialed.open);
    let dials = dialed_per_shard.saturating_mul(scrape.shards.len()) as u64;
    all.push(Limit::of_all("dialed connections", dialed, dials, "services can't dial more"));
    let entering = gauge(Gauge::Entering);
    all.push(Limit::of_each(
        "newcomers at the entrance",
        entering,
        LOBBY_MAX,
        "the oldest of them is closed",
    ));
    if scrape.capacity.workers > 0 {
        let waiting = scrape.workers.waiting as u64;
        all.push(Limit::of_all("jobs waiting", waiting, jobs_waiting as u64, "jobs are told OVERLOADED"));
    }
    all
}

/// Listeners that may have fewer than all.
fn of_listeners(scrape: &Scrape) -> impl Iterator<Item = Limit> {
    let all = scrape.capacity.per_listener.iter().zip(&scrape.listeners).zip(scrape.sum.listeners());
    all.filter_map(|((most, at), figures)| {
        let limit =
            Limit::of_all("connections", figures.open, (*most)?.into(), "newcomers are told OVERLOADED");
        Some(Limit { of: Some(at.clone()), ..limit })
    })
}
