//! What a running server has beside what it uses, and where its loops stand: for whoever watches it.
//!
//! Always holds: reading any of this costs a loop nothing. Never: figures that a loop counts; those are
//! [`Snapshot`](crate::metrics::Snapshot)s.

use crate::base::ConnId;
use crate::turn::RouteLabel;
use std::sync::Arc;
use std::time::Duration;

/// The limits that uses are to be held against. [`Handle::apply`](super::Handle::apply) changes some of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capacity {
    /// Connections at once, of all loops together.
    pub connections: u32,
    /// Connections of each listener, by its place; `None` if it may have all.
    pub per_listener: Vec<Option<u32>>,
    /// Connections of one address; `None` if it may have all.
    pub per_address: Option<u32>,
    /// Connections that one loop may dial.
    pub dialed_per_shard: usize,
    /// Bytes of one loop's budget for input.
    pub input_bytes_per_shard: usize,
    /// Bytes of one loop's budget for output.
    pub output_bytes_per_shard: usize,
    /// Bytes of one loop's budget that are kept for small leases.
    pub reserve_bytes_per_shard: usize,
    /// Commands that may wait for one loop.
    pub commands_per_shard: usize,
    /// Rights to answer deferred requests that one loop gives away.
    pub laters_per_shard: usize,
    /// Threads for offloaded work.
    pub workers: usize,
    /// Jobs that may wait for one of them.
    pub jobs_waiting: usize,
    /// Requests that one connection may have open.
    pub open_requests: u32,
    /// What a batch may take before it counts as a stall.
    pub stall: Duration,
    /// Which routes have handler times of their own.
    pub labels: Arc<[RouteLabel]>,
}

/// One loop, at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoopState {
    /// Commands that wait for it.
    pub commands: usize,
    /// Answers to deferred requests that wait for it.
    pub answers: usize,
    /// How many turns it has begun.
    pub turns: u64,
    /// How long its turn has been running; `None` while it waits for events.
    pub turn: Option<Duration>,
    /// The connection that it visited last, while a turn runs.
    pub visiting: Option<ConnId>,
}
