//! Why there is no new process, or why it ends. Each says what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A hot restart that did not come about. The old process goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// Nobody is there.
    #[error(
        "no server takes upgrades at {path}: {source}; is `upgrade` in its [server], and is it this user's?"
    )]
    NoServer {
        /// The upgrade socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The socket can't be made.
    #[error("cannot take upgrades at {path}: {source}; choose another path for `upgrade`, or \"\"")]
    Listen {
        /// The upgrade socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The other side said no.
    #[error("{why}")]
    Refused {
        /// Why, in its words.
        why: String,
    },
    /// The other side is gone.
    #[error("the other process ended while {step} was awaited")]
    Gone {
        /// What was to come.
        step: &'static str,
    },
    /// The other side took too long.
    #[error("{step} did not come within {} s", .within.as_secs())]
    Late {
        /// What was to come.
        step: &'static str,
        /// How long it was waited for.
        within: Duration,
    },
    /// The other side says something that we don't know.
    #[error(
        "the other process said something unknown while {step} was awaited: {what}; are the two versions too far apart?"
    )]
    Unknown {
        /// What was to come.
        step: &'static str,
        /// What was wrong with what came.
        what: String,
    },
    /// Anything else.
    #[error("cannot speak to the other process: {0}")]
    Io(#[from] io::Error),
}

impl UpgradeError {
    /// The exit code of a process that ends for it.
    pub const fn exit_code(&self) -> u8 {
        match self {
            UpgradeError::NoServer { .. } | UpgradeError::Listen { .. } | UpgradeError::Refused { .. } => 69,
            UpgradeError::Gone { .. } | UpgradeError::Late { .. } | UpgradeError::Unknown { .. } => 75,
            UpgradeError::Io(_) => 78,
        }
    }
}
