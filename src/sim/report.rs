//! How a world ended.

use super::trace::Trace;
use super::weather::{Trouble, Troubles};
use crate::base::CloseReason;
use crate::metrics::{Outcome, Snapshot};
use std::fmt;

/// A world in which everything held.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Turns that it took.
    pub turns: u64,
    /// Its own time from beginning to end, in microseconds.
    pub simulated_us: u64,
    /// Replies that reached their clients, byte for byte as the model had them.
    pub replies: u64,
    /// The trouble that there was.
    pub troubles: Troubles,
    /// How often connections ended for each reason, by [`CloseReason::index`].
    pub closes: [u64; CloseReason::COUNT],
    /// How often requests ended so, by [`Outcome`]'s order.
    pub outcomes: [u64; Outcome::COUNT],
    /// The loop's figures at the end.
    pub metrics: Snapshot,
    /// What happened; its hash is the same whenever the same plan is run.
    pub trace: Trace,
}

/// What did not hold in a world, and what happened before.
#[derive(Debug)]
pub struct Failure {
    /// Its seed: the same plan shows the same failure.
    pub seed: u64,
    /// What did not hold.
    pub what: String,
    /// A line about each client.
    pub clients: Vec<String>,
    /// The last events.
    pub trace: Trace,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.what)?;
        for (id, client) in self.clients.iter().enumerate() {
            writeln!(f, "  client {id}: {client}")?;
        }
        write!(f, "{}", self.trace)
    }
}

impl std::error::Error for Failure {}

/// What many worlds did together: which trouble there was, and how requests and connections ended.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// How many worlds.
    pub worlds: u64,
    /// Turns in all.
    pub turns: u64,
    /// Replies in all.
    pub replies: u64,
    troubles: Troubles,
    closes: [u64; CloseReason::COUNT],
    outcomes: [u64; Outcome::COUNT],
}

impl Coverage {
    /// No world yet.
    pub const fn none() -> Coverage {
        let (closes, outcomes) = ([0; CloseReason::COUNT], [0; Outcome::COUNT]);
        Coverage { worlds: 0, turns: 0, replies: 0, troubles: Troubles::none(), closes, outcomes }
    }

    /// Adds a world.
    pub fn add(&mut self, report: &Report) {
        self.worlds += 1;
        self.turns += report.turns;
        self.replies += report.replies;
        self.troubles.add(&report.troubles);
        add(&mut self.closes, &report.closes);
        add(&mut self.outcomes, &report.outcomes);
    }

    /// Adds what other worlds did.
    pub fn merge(&mut self, other: &Coverage) {
        self.worlds += other.worlds;
        self.turns += other.turns;
        self.replies += other.replies;
        self.troubles.add(&other.troubles);
        add(&mut self.closes, &other.closes);
        add(&mut self.outcomes, &other.outcomes);
    }

    /// The names of the troubles that there never were, of the reasons for which no connection ended, and of the ways
    /// in which no request did.
    pub fn missing(&self) -> Vec<&'static str> {
        let troubles = Trouble::ALL.iter().filter(|trouble| self.troubles.count(**trouble) == 0);
        // TLS is the world's, not the turn's.
        let known = CloseReason::ALL.iter().filter(|why| !why.is_of_tls());
        let closes = known.filter(|why| self.closes[why.index()] == 0);
        let outcomes = Outcome::ALL.iter().filter(|outcome| self.outcomes[**outcome as usize] == 0);
        let names = troubles.map(|trouble| trouble.name()).chain(closes.map(|why| why.name()));
        names.chain(outcomes.map(|outcome| outcome.name())).collect()
    }
}

fn add(sums: &mut [u64], more: &[u64]) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum += more;
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} worlds, {} turns, {} replies", self.worlds, self.turns, self.replies)?;
        for trouble in Trouble::ALL {
            writeln!(f, "  trouble {:<18} {:>9}", trouble.name(), self.troubles.count(*trouble))?;
        }
        for why in CloseReason::ALL {
            writeln!(f, "  closed  {:<18} {:>9}", why.name(), self.closes[why.index()])?;
        }
        for outcome in Outcome::ALL {
            writeln!(f, "  request {:<18} {:>9}", outcome.name(), self.outcomes[*outcome as usize])?;
        }
        Ok(())
    }
}
