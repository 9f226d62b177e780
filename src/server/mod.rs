//! A whole server: its listeners, its loops, their start and their end.
//!
//! [`Server::builder`] collects what is wanted, and every mistake is told there. [`Builder::start`] runs the server
//! beside the caller and touches no signal, no logger and no panic hook; `Builder::serve` takes the signals and
//! blocks until the server has drained.
//!
//! Always holds: what was received before the end is answered or counted as lost. Never: frames, connections; those
//! are the shards'.

mod builder;
mod change;
mod error;
mod figures;
mod handover;
mod inspection;
mod launch;
mod listener;
mod pool;
mod quotas;
mod report;
mod running;
#[cfg(feature = "signals")]
mod signals;
#[cfg(feature = "tls")]
mod tls;
mod tracing;

pub use crate::base::Network;
pub use crate::base::limits::{Limits, WhenOver};
pub use crate::net::{Account, Endpoint, FileOptions, Inherited, Keepalive, ListenOptions, Passed};
pub use crate::session::{Pause, Pauses};
pub use crate::trace::Sampling;
pub use crate::turn::{OTHER_ROUTES, RouteLabel};
pub use crate::wire::{ClientId, Status};
pub use builder::{Builder, shards_for};
pub use change::{Applied, Change, ChangeFigures, Reloaded};
pub use error::Error;
pub use figures::{Capacity, LoopState};
pub use handover::Lendable;
pub use inspection::{
    By, Closed, Connection, Happened, Inspection, LoopEvent, NoReport, Only, Question, Report,
};
pub use launch::Prepared;
pub use listener::Listener;
pub use pool::WorkerFigures;
pub use report::DrainReport;
pub use running::{DrainProgress, Handle, Running, Unreached};
#[cfg(feature = "signals")]
pub use signals::{drain_on_signals, on_hangup};
#[cfg(feature = "tls")]
pub use tls::{TlsReloaded, TlsReloads};
pub use tracing::{Exemplar, Export};

/// Where servers begin.
#[derive(Debug)]
pub enum Server {}

impl Server {
    /// A server with the default limits and no listener yet.
    pub fn builder() -> Builder {
        Builder::new()
    }
}
