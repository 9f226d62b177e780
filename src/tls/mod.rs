//! TLS by `rustls`: bytes in, bytes out, over any reader and writer. Of a listener the [`Acceptor`], of a client the
//! [`Connector`], of one connection the [`Secure`] session.
//!
//! ```text
//!   PEM files --> Acceptor --start--> Secure --shake--> Secure: read, write, close
//!                    ^ reload: newcomers get the new one, live ones keep theirs
//! ```
//!
//! Always holds: a pair of files that is refused leaves the one before in place; of what is written, at most one record
//! is encrypted ahead, so that everything that waits still lies in its owner's queue. Never: a socket of its own, a
//! thread; a private key in a message. The only clock is the calendar that certificates need.

mod acceptor;
mod certificate;
mod connector;
mod error;
mod files;
mod secure;

pub use acceptor::{Acceptor, ClientAuth, Prepared, Reloaded, TlsFiles};
pub use certificate::{Certificate, Identified};
pub use connector::{Connector, ConnectorOptions};
pub use error::{Failed, TlsError};
pub use secure::{Brought, Progress, Secure, Spoken};

use std::time::{SystemTime, UNIX_EPOCH};

/// What the session of a connection that waits for nothing takes at most, in bytes; `tests/tls.rs` measures it.
pub const IDLE_BYTES_MAX: usize = 8704;

/// The calendar, in seconds since 1970: what certificates count in.
pub fn calendar() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
pub(crate) mod tests;
