//! What the host gives, as values: whoever knows the host fills them in.

use crate::base::limits::{ADMIN_DESCRIPTORS, CONNECTIONS_PER_SHARD_MAX};

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Processors that this process may use.
    pub processors: usize,
    /// Descriptors that it may open.
    pub descriptors: u64,
    /// Memory that it may use, in bytes, if that is known.
    pub memory_bytes: Option<u64>,
    /// The longest accept queue that the kernel gives, if that is known.
    pub backlog_max: Option<u64>,
}

impl Host {
    /// Descriptors that are not connections: standard streams, signals, the log, and some to spare ...
    const KEPT: u64 = 56;
    /// ... for each loop its poller twice, its waker, its spare one ...
    const KEPT_PER_LOOP: u64 = 4;
    /// ... and its sockets, of which the server holds a second.
    const KEPT_PER_LISTENER: u64 = 2;

    /// Descriptors that a server of so many loops needs besides its connections.
    pub fn kept(shards: u16, listeners: usize, has_admin: bool) -> u64 {
        let per_loop = Self::KEPT_PER_LOOP + Self::KEPT_PER_LISTENER * listeners as u64;
        let of_admin = if has_admin { ADMIN_DESCRIPTORS } else { 0 };
        Self::KEPT + of_admin + per_loop * u64::from(shards)
    }

    /// Connections that there are descriptors for.
    pub fn connections(&self, shards: u16, listeners: usize, has_admin: bool) -> u64 {
        self.descriptors
            .saturating_sub(Self::kept(shards, listeners, has_admin))
            .min(CONNECTIONS_PER_SHARD_MAX.into())
    }
}
