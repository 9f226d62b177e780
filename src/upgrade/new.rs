//! The process that takes over, and whoever asks for one.
//!
//! Always holds: an old process that is gone is no reason not to serve; one that refuses is. Never: serving before the old
//! process said so, as long as it lives.

use super::UpgradeError;
use super::words::{Ask, Named, Say, VERSION, hear, say};
use crate::base::limits::{UPGRADE_READY_WITHIN, UPGRADE_STEP_WITHIN};
use crate::net::{self, Inherited, Passed};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use tracing::{info, warn};

/// A process that was offered the sockets of another one.
#[derive(Debug)]
pub struct Newcomer {
    stream: UnixStream,
    generation: u64,
    rehearses: bool,
}

/// What the old process said to one that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// Begin.
    Serve,
    /// It was a rehearsal, which went well: end.
    Rehearsed,
}

impl Newcomer {
    /// Asks the server behind this upgrade socket for its sockets.
    ///
    /// # Errors
    ///
    /// [`UpgradeError`]; that server goes on then.
    pub fn connect(path: &Path, rehearses: bool) -> Result<(Newcomer, Inherited), UpgradeError> {
        let stream = reach(path)?;
        say(&stream, &Ask::Adopt { version: VERSION, pid: std::process::id(), rehearses })?;
        let (generation, named) = match hear(&stream, "an offer", UPGRADE_STEP_WITHIN)? {
            Say::Offer { generation, listeners } => (generation, listeners),
            other @ (Say::Go | Say::Taken | Say::Rehearsed | Say::Done { .. } | Say::Refused { .. }) => {
                return Err(unexpected("an offer", other));
            }
        };
        stream.set_read_timeout(Some(UPGRADE_STEP_WITHIN))?;
        let mut passed = Vec::new();
        for Named { listener, protocol, address, sockets } in named {
            for _ in 0..sockets {
                let mut socket = Passed::new(net::receive(&stream)?)?;
                socket.of = Some((listener, protocol.clone(), address.clone()));
                passed.push(socket);
            }
        }
        info!(sockets = passed.len(), generation, "the old process offers its sockets");
        Ok((Newcomer { stream, generation: generation + 1, rehearses }, Inherited::new(passed)))
    }

    /// How many hot restarts have led to this process.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether it is only a rehearsal.
    pub const fn rehearses(&self) -> bool {
        self.rehearses
    }

    /// This process is ready, with the sockets of these listeners: waits until it may begin.
    ///
    /// # Errors
    ///
    /// [`UpgradeError`], if the old process goes on by itself.
    pub fn ready(&self, taken: &[usize]) -> Result<Go, UpgradeError> {
        // Who does not listen any more may have said why before.
        let _ = say(&self.stream, &Ask::Ready { taken: taken.to_vec() });
        match hear(&self.stream, "the go", UPGRADE_STEP_WITHIN) {
            Ok(Say::Go) => Ok(Go::Serve),
            Ok(Say::Rehearsed) => Ok(Go::Rehearsed),
            Ok(other) => Err(unexpected("the go", other)),
            Err(error @ UpgradeError::Gone { .. }) if !self.rehearses => {
                warn!(%error, "the old process is gone; this one goes on without it");
                Ok(Go::Serve)
            }
            Err(error) => Err(error),
        }
    }

    /// This process takes connections: tells the old one, which then drains. True if it said so; if it did not, both may serve
    /// side by side, and nobody is refused.
    pub fn serving(&self) -> bool {
        let _ = say(&self.stream, &Ask::Serving);
        match hear(&self.stream, "the end of the handover", UPGRADE_STEP_WITHIN) {
            Ok(Say::Taken) => true,
            Ok(other) => {
                warn!(error = %unexpected("the end of the handover", other), "the old process may go on beside this one");
                false
            }
            Err(error) => {
                warn!(%error, "the old process is gone, or goes on beside this one");
                false
            }
        }
    }
}

/// Asks the server behind this upgrade socket to start its successor, and waits for that: its process id, or `None` if
/// it was a rehearsal. Without a binary or a configuration it is started as the server itself was.
///
/// # Errors
///
/// [`UpgradeError`]; the server goes on then.
pub fn ask(
    path: &Path,
    binary: Option<PathBuf>,
    config: Option<PathBuf>,
    rehearses: bool,
) -> Result<Option<(u32, u64)>, UpgradeError> {
    const ANSWER: &str = "the outcome";
    let stream = reach(path)?;
    say(&stream, &Ask::Upgrade { version: VERSION, binary, config, rehearses })?;
    let within = UPGRADE_READY_WITHIN * 2 + UPGRADE_STEP_WITHIN;
    match hear(&stream, ANSWER, within)? {
        Say::Done { pid, generation } => Ok(Some((pid, generation))),
        Say::Rehearsed => Ok(None),
        other @ (Say::Offer { .. } | Say::Go | Say::Taken | Say::Refused { .. }) => {
            Err(unexpected(ANSWER, other))
        }
    }
}

fn reach(path: &Path) -> Result<UnixStream, UpgradeError> {
    UnixStream::connect(path).map_err(|source| UpgradeError::NoServer { path: path.to_owned(), source })
}

fn unexpected(step: &'static str, said: Say) -> UpgradeError {
    match said {
        Say::Refused { why } => UpgradeError::Refused { why },
        other @ (Say::Offer { .. } | Say::Go | Say::Taken | Say::Rehearsed | Say::Done { .. }) => {
            UpgradeError::Unknown { step, what: format!("{other:?}") }
        }
    }
}
