//! What a configuration asks of its host: the numbers that everything else is held against, and the memory that a server
//! of it takes.
//!
//! Always holds: descriptors and memory are counted as the server and its documents count them. Never: anything of the
//! host itself.

use crate::base::limits::{CIPHER_BYTES, SCRATCH_BYTES};
use crate::config::{Config, Host, Listen};
use crate::net::Endpoint;

/// What the kernel keeps for a connection that has said something once and is idle: its socket, its file, its place with the
/// poller. 5,100 B measured over two million of them (`benches/million`).
pub(super) const KERNEL_BYTES: u64 = 5 << 10;

/// What the kernel adds while a small message waits in each direction: a page each.
pub(super) const KERNEL_PAGES_BUSY: u64 = 2;

/// What an address has that connections are counted of (docs/ARCHITECTURE.md).
const ADDRESS_BYTES: u64 = 96;

/// What a connection has of a server with rates (likewise).
const RATES_BYTES: u64 = 32;

/// The program itself with its log and its admin port: 8 MiB of its own for a server that has just started, and the part of
/// its text that is used.
const PROGRAM_BYTES: u64 = 16 << 20;

/// A loop besides its scratch buffer and its cork: mailbox, history, stack.
const LOOP_BYTES: u64 = 1 << 20;

/// Threads besides the loops: the first, the admin port's, those that wait for signals, for changes and for an upgrade, the
/// log's.
const THREADS_BESIDE: u64 = 8;

/// What is to be carried, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wants {
    /// Connections; `None`: as many as there are descriptors for.
    pub(super) connections: Option<u64>,
    /// Who says so.
    pub(super) said_by: &'static str,
    /// `max_connections` of the configuration, of all its listeners together if each has its own.
    pub(super) configured: Option<u64>,
    pub(super) shards: u16,
    pub(super) listeners: usize,
    pub(super) has_admin: bool,
    pub(super) budget_bytes: u64,
    pub(super) has_tls: bool,
    pub(super) has_rates: bool,
    pub(super) per_address: Option<u64>,
    /// The longest accept queue that a listener asks for.
    pub(super) backlog: u64,
    /// The largest queue of a socket that a listener asks for, each way; `None`: one leaves it to the kernel.
    pub(super) kernel_buffer_bytes: Option<u64>,
    pub(super) largest_payload_bytes: u64,
    /// Ports that are listened on.
    pub(super) ports: Vec<u16>,
}

impl Wants {
    /// Of a configuration on a host with so many processors.
    pub(super) fn of(config: &Config, asked: Option<u64>, processors: usize) -> Wants {
        // Whatever is wrong with the real one is to be told, so it is not asked.
        let host = Host { processors, ..generous() };
        let listeners = &config.listeners;
        let limits = &config.limits;
        let of_all = config.max_connections.map(u64::from);
        let of_each =
            listeners.iter().map(|listen| listen.max_connections.map(u64::from)).sum::<Option<u64>>();
        let configured = [of_all, of_each].into_iter().flatten().min();
        let said_by = if asked.is_some() { "--connections" } else { "max_connections" };
        let buffers: Option<Vec<u64>> =
            listeners.iter().map(|listen| listen.kernel_buffer_bytes.map(|bytes| bytes as u64)).collect();
        let rates =
            [limits.messages_per_second, limits.deliveries_per_second, limits.address_messages_per_second];
        let byte_rates = [limits.bytes_per_second, limits.address_bytes_per_second];
        Wants {
            connections: asked.or(configured),
            said_by,
            configured,
            shards: config.shards_on(&host),
            listeners: listeners.len(),
            has_admin: config.admin.is_some(),
            budget_bytes: config.memory_bytes,
            has_tls: listeners.iter().any(|listen| listen.tls.is_some()),
            has_rates: rates.iter().any(Option::is_some) || byte_rates.iter().any(Option::is_some),
            per_address: limits.per_address.map(u64::from),
            backlog: listeners
                .iter()
                .map(|listen| u64::from(listen.backlog.unsigned_abs()))
                .max()
                .unwrap_or(0),
            kernel_buffer_bytes: buffers.and_then(|all| all.into_iter().max()),
            largest_payload_bytes: listeners
                .iter()
                .map(|listen| listen.max_payload.into())
                .max()
                .unwrap_or(0),
            ports: listeners.iter().filter_map(port_of).collect(),
        }
    }

    /// Descriptors that are not connections.
    pub(super) fn kept(&self) -> u64 {
        Host::kept(self.shards, self.listeners, self.has_admin)
    }

    /// Connections that so many descriptors are enough for.
    pub(super) fn connections_in(&self, descriptors: u64) -> u64 {
        let host = Host { descriptors, ..generous() };
        host.connections(self.shards, self.listeners, self.has_admin)
    }

    /// What the server takes before the first connection, with its buffers at their limit.
    pub(super) fn fixed_bytes(&self) -> u64 {
        let cipher = if self.has_tls { CIPHER_BYTES as u64 } else { 0 };
        // The scratch buffer, and a cork that has grown as large.
        let each = LOOP_BYTES + 2 * SCRATCH_BYTES as u64 + cipher;
        (PROGRAM_BYTES + u64::from(self.shards) * each).saturating_add(self.budget_bytes)
    }

    /// What an idle connection takes of the server.
    pub(super) const fn own_bytes(&self) -> u64 {
        let rates = if self.has_rates { RATES_BYTES } else { 0 };
        let tls = if self.has_tls { crate::tls::IDLE_BYTES_MAX as u64 } else { 0 };
        crate::turn::IDLE_BYTES as u64 + ADDRESS_BYTES + rates + tls
    }

    /// Threads of the server, at most.
    pub(super) fn threads(&self) -> u64 {
        u64::from(self.shards) + THREADS_BESIDE
    }
}

/// One that a configuration finds nothing wrong with.
pub(super) const fn generous() -> Host {
    Host { processors: 1, descriptors: u64::MAX, memory_bytes: None, backlog_max: None }
}

fn port_of(listen: &Listen) -> Option<u16> {
    Endpoint::parse(&listen.address).ok()?.ip().map(|address| address.port())
}
