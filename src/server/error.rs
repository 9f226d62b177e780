//! Why a server can't start, or did not end well. Each says what to do.

use super::DrainReport;
use crate::base::Fault;
use crate::net::Endpoint;
use std::process::ExitCode;
use std::{fmt, io};

/// A server that could not be started, or ended badly.
///
/// Its `Debug` is its `Display`: that is what a `main` that returns it prints, and people should read it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An address that does not parse or resolve.
    #[error(
        "{text:?} is not an address to listen on: {why}; write it as IP:PORT, such as 127.0.0.1:7411, or unix:PATH"
    )]
    Address {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// Somebody listens there already.
    #[error("{address} is in use by another process; stop it, or {}", beside(.address))]
    AddressInUse {
        /// The address.
        address: Endpoint,
    },
    /// Somebody listens there already who does not share the port, though it was to be shared.
    #[error(
        "{address} is in use by a process that does not share it, or is another user's; give that one share_port, too, \
         stop it, or choose another address"
    )]
    NotShared {
        /// The address.
        address: Endpoint,
    },
    /// Other processes can't listen there, too.
    #[error("{address} cannot be shared with other processes: {why}")]
    CannotShare {
        /// The address.
        address: Endpoint,
        /// Why, and what to do.
        why: &'static str,
    },
    /// The system does not let us listen there.
    #[error(
        "no permission to listen on {address}; ports below 1024 need CAP_NET_BIND_SERVICE, a path needs a directory \
         that you may write to"
    )]
    Forbidden {
        /// The address.
        address: Endpoint,
    },
    /// No interface of this host has it.
    #[error("{address} is not an address of this host; use one that is, or 0.0.0.0 for all of them")]
    NotLocal {
        /// The address.
        address: Endpoint,
    },
    /// The path is taken by a file that is no socket.
    #[error("{address} is a file, and no socket; remove it, or choose another path")]
    NotASocket {
        /// The address.
        address: Endpoint,
    },
    /// The path's directory does not exist.
    #[error("{address} lies in a directory that does not exist; make it, or choose another path")]
    NoDirectory {
        /// The address.
        address: Endpoint,
    },
    /// Any other failure to listen.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: Endpoint,
        /// What the system said.
        source: io::Error,
    },
    /// What a listener's TLS is made from can't be used.
    #[error("no TLS on {address}: {why}")]
    Tls {
        /// The address.
        address: Endpoint,
        /// Which file, what is wrong with it, and what to do.
        why: String,
    },
    /// A server without a listener.
    #[error("nothing to listen on; give the server at least one address")]
    NoListener,
    /// A limit outside its range.
    #[error("{name} is {got}, but must lie between {least} and {most}")]
    Limit {
        /// Which.
        name: &'static str,
        /// What was given.
        got: u64,
        /// The least that is allowed.
        least: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// This host lacks something that every server needs.
    #[error("this host cannot run the server: {0}")]
    Host(#[source] io::Error),
    /// A loop ended by a panic or a failing poller.
    #[error("event loop {shard} died: {why}")]
    ShardDied {
        /// Which.
        shard: u16,
        /// What it said last.
        why: String,
    },
    /// The drain's grace ran out, or something was lost.
    #[error("drained with losses: {0}")]
    Lossy(DrainReport),
    /// The handlers for SIGINT and SIGTERM can't be set.
    #[error("cannot handle signals: {0}")]
    Signals(String),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Error> for ExitCode {
    /// A process's end by [`Error::exit_code`].
    fn from(error: Error) -> ExitCode {
        ExitCode::from(error.exit_code())
    }
}

impl Error {
    /// Who has to move.
    pub const fn fault(&self) -> Fault {
        match self {
            Error::Address { .. }
            | Error::CannotShare { .. }
            | Error::Tls { .. }
            | Error::NoListener
            | Error::Limit { .. } => Fault::Protocol,
            Error::Lossy(_) => Fault::Temporary,
            Error::AddressInUse { .. }
            | Error::NotShared { .. }
            | Error::Forbidden { .. }
            | Error::NotLocal { .. }
            | Error::NotASocket { .. }
            | Error::NoDirectory { .. }
            | Error::Listen { .. }
            | Error::Host(_)
            | Error::ShardDied { .. }
            | Error::Signals(_) => Fault::System,
        }
    }

    /// The exit code of a process that ends for it: 2 is a mistake of whoever called, 1 a forced or lossy drain, the
    /// others follow BSD's sysexits(3) where it has one.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Error::Address { .. }
            | Error::CannotShare { .. }
            | Error::Tls { .. }
            | Error::NoListener
            | Error::Limit { .. } => 2,
            Error::Lossy(_) => 1,
            Error::AddressInUse { .. }
            | Error::NotShared { .. }
            | Error::NotLocal { .. }
            | Error::NotASocket { .. }
            | Error::NoDirectory { .. }
            | Error::Listen { .. } => 69,
            Error::Forbidden { .. } => 77,
            Error::Host(_) | Error::Signals(_) => 78,
            Error::ShardDied { .. } => 70,
        }
    }

    pub(crate) fn listen(address: Endpoint, source: io::Error) -> Error {
        #[expect(clippy::wildcard_enum_match_arm, reason = "std's list grows")]
        match source.kind() {
            io::ErrorKind::AddrInUse => Error::AddressInUse { address },
            io::ErrorKind::AddrNotAvailable => Error::NotLocal { address },
            io::ErrorKind::AlreadyExists => Error::NotASocket { address },
            io::ErrorKind::NotFound => Error::NoDirectory { address },
            io::ErrorKind::PermissionDenied => Error::Forbidden { address },
            _ => Error::Listen { address, source },
        }
    }

    /// The same for an address that other processes may have, too.
    pub(crate) fn listen_shared(address: Endpoint, source: io::Error) -> Error {
        if source.kind() == io::ErrorKind::AddrInUse {
            return Error::NotShared { address };
        }
        Error::listen(address, source)
    }
}

/// What to do about an address in use, other than to stop who uses it.
fn beside(address: &Endpoint) -> &'static str {
    match address {
        Endpoint::Ip(_) => "choose another address (port 0 takes a free one)",
        Endpoint::Unix(_) => "choose another path: each process needs its own",
    }
}
