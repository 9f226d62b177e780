//! A server that runs: its thread, its figures, its end.

use super::{Builder, DrainReport, Error};
use crate::mailbox::{Command, Mailbox};
use crate::metrics::{ShardMetrics, Snapshot};
use crate::net::Endpoint;
use crate::service::Service;
use crate::shard::{Poller, Shard};
use crate::turn::{Seats, TurnConfig};
use std::any::Any;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// A server that was started. Dropping it lets the server run on; [`Running::join`] waits for its end.
#[derive(Debug)]
pub struct Running {
    handle: Handle,
    thread: JoinHandle<io::Result<()>>,
}

/// Speaks to a running server, from any thread.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    local_addrs: Vec<Endpoint>,
    mailbox: Arc<Mailbox>,
    metrics: Arc<ShardMetrics>,
    /// The figures when the drain began. Taken by callers only, never by a loop.
    before_drain: Mutex<Option<Snapshot>>,
}

pub(super) fn start<S, F>(builder: Builder, make_service: F) -> Result<Running, Error>
where
    S: Service,
    F: FnMut() -> S + Send + 'static,
{
    let poller = Poller::new().map_err(Error::Host)?;
    let mailbox = poller.mailbox();
    let config = TurnConfig {
        shard: 0,
        connections_max: builder.connections_max,
        budget_bytes: builder.budget_bytes,
        listeners: builder.listeners,
        limits: builder.limits,
        seed: seed(),
        mailbox: Arc::clone(&mailbox),
        peers: vec![Arc::clone(&mailbox)],
        seats: Arc::new(Seats::new(builder.connections_max)),
    };
    let sockets = builder.sockets;
    let (ready, made) = std::sync::mpsc::sync_channel(1);
    // Made on its own thread, since a service need not be `Send`.
    let thread = std::thread::Builder::new().name("tidegate-0".to_owned()).spawn(move || {
        let shard = match Shard::new(poller, config, sockets, Instant::now(), make_service) {
            Ok(shard) => shard,
            Err(error) => {
                let _ = ready.send(Err(error));
                return Ok(());
            }
        };
        let _ = ready.send(Ok(shard.metrics()));
        shard.run()
    });
    let thread = thread.map_err(Error::Host)?;
    let metrics = match made.recv() {
        Ok(made) => made.map_err(Error::Host)?,
        // Nothing was sent: making the service panicked.
        Err(_) => return Err(died(thread.join())),
    };
    let shared =
        Shared { local_addrs: builder.local_addrs, mailbox, metrics, before_drain: Mutex::new(None) };
    Ok(Running { handle: Handle { shared: Arc::new(shared) }, thread })
}

/// Different in each run: handlers get chance, the simulator gets repeatability.
#[expect(clippy::cast_possible_truncation, reason = "the low bits are the ones that vary")]
fn seed() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64)
        ^ u64::from(std::process::id())
}

impl Running {
    /// Where the listeners are, in their order.
    pub fn local_addrs(&self) -> &[Endpoint] {
        self.handle.local_addrs()
    }

    /// A handle for other threads.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Whether the server is over, for whatever reason: then [`Running::join`] does not wait.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until the server has drained, and tells how that went.
    ///
    /// # Errors
    ///
    /// [`Error::ShardDied`] if its loop ended in another way.
    pub fn join(self) -> Result<DrainReport, Error> {
        let shared = self.handle.shared;
        match self.thread.join() {
            Ok(Ok(())) => {}
            other => return Err(died(other)),
        }
        let before = shared.before_drain.lock().unwrap_or_else(PoisonError::into_inner);
        let before = before.clone().unwrap_or(const { Snapshot::zero() });
        Ok(DrainReport::between(&before, &shared.metrics.snapshot()))
    }
}

impl Handle {
    /// Where the listeners are, in their order.
    pub fn local_addrs(&self) -> &[Endpoint] {
        &self.shared.local_addrs
    }

    /// The figures of now.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.metrics.snapshot()
    }

    /// Begins to drain: no more connections, what was received is answered, every connection ends in order; those
    /// that have not within the grace are closed. A second call can only shorten the grace.
    pub fn drain(&self, grace: Duration) {
        let mut before = self.shared.before_drain.lock().unwrap_or_else(PoisonError::into_inner);
        if before.is_none() {
            *before = Some(self.snapshot());
        }
        if self.shared.mailbox.post(Command::Drain { grace }).is_err() {
            tracing::error!("the event loop takes no commands");
        }
    }
}

fn died(ended: Result<io::Result<()>, Box<dyn Any + Send>>) -> Error {
    let why = match ended {
        Ok(Ok(())) => "it ended without being asked".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            text.or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "it panicked".to_owned())
        }
    };
    Error::ShardDied { shard: 0, why }
}
