//! A run while it goes on, for whoever wants to watch.

use super::report::{Interval, Trouble};
use std::collections::BTreeMap;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Connections are made and have to answer once.
    Connecting,
    /// Requests flow and nothing counts yet.
    WarmUp,
    /// What counts.
    Measuring,
    /// Nothing is sent any more; the last replies may come.
    Draining,
}

/// A look at a run: handed to the observer once an interval.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// What this part of the command does, such as `try 3: 41.0k/s` or `floor, round 2 of 5`; empty in a plain run.
    pub title: &'a str,
    /// Where it stands.
    pub phase: Phase,
    /// Since the run began, in seconds.
    pub elapsed_s: f64,
    /// How long warm-up and measured part are together, in seconds.
    pub total_s: f64,
    /// Connections that there should be.
    pub wanted: u32,
    /// Connections that are open and have answered.
    pub open: u32,
    /// Requests a second that are due now; absent in a closed loop.
    pub offered: Option<f64>,
    /// All intervals until now; the last is the newest.
    pub series: &'a [Interval],
    /// What went wrong until now.
    pub troubles: &'a BTreeMap<Trouble, u64>,
}
