//! Sockets as the loops need them: listeners with their options set, at IP addresses and at paths, accepts sorted by
//! what must happen next, connects that don't wait, reads and writes over several slices.
//!
//! Always holds: every socket is non-blocking, and inherits its options from its listener, so that a new connection
//! costs no system call beyond accept and registration. What differs between systems differs in one file for each
//! concern: a shared port in `share`, a connection's own address in `source`, the numbers of errors where they are met.
//! Never: frames, sessions, decisions. What is done about an outcome is the turn's business.

mod access;
mod connect;
mod endpoint;
mod listen;
mod share;
mod source;
mod spare;
mod unix;

pub use access::{Account, FileOptions};
pub use connect::{connect, connect_from, finish_connect, reset};
pub use endpoint::Endpoint;
pub use listen::{Held, Keepalive, ListenOptions, Listener, listen, listen_beside};
/// A connection of either kind, in one descriptor.
///
/// It is named after TCP and holds unix streams as well: read(2), send(2), writev(2), shutdown(2), close(2) and the
/// poller look at no address family, and nothing else is asked of a stream that was accepted. So a connection costs four
/// bytes instead of eight, and no branch.
pub use mio::net::TcpStream as Stream;
pub use share::KERNEL_SPREADS;
pub use spare::Spare;
pub use unix::SocketFile;

use crate::base::Address;
use mio::net::UnixStream;
use rustix::net::{RecvFlags, SendFlags};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;

/// What taking one connection gave.
#[derive(Debug)]
pub enum Taken {
    /// A connection.
    Stream(Stream, Address),
    /// None waits.
    Nothing,
    /// One was gone before it was taken, or a signal came.
    Aborted,
    /// No descriptors or no memory.
    Exhausted(io::Error),
    /// Anything else.
    Failed(io::Error),
}

/// Takes one connection.
///
/// Classes by accept(2): the errors of a connection that died in the queue are passed to its taker on Linux and mean
/// "try the next"; EMFILE, ENFILE, ENOBUFS and ENOMEM leave the connection in the queue.
pub fn take(listener: &Listener) -> Taken {
    let accepted = match listener {
        Listener::Tcp(listener) => listener.accept().map(|(stream, address)| (stream, address.into())),
        Listener::Unix(_, listener) => {
            listener.accept().map(|(stream, _)| (stream_of(stream), Address::Unix))
        }
    };
    let error = match accepted {
        Ok((stream, address)) => return Taken::Stream(stream, address),
        Err(error) => error,
    };
    if is_exhausted(&error) {
        return Taken::Exhausted(error);
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "std's list grows")]
    match error.kind() {
        ErrorKind::WouldBlock => Taken::Nothing,
        ErrorKind::Interrupted
        | ErrorKind::ConnectionAborted
        | ErrorKind::ConnectionReset
        | ErrorKind::TimedOut
        | ErrorKind::NetworkDown
        | ErrorKind::NetworkUnreachable
        | ErrorKind::HostUnreachable => Taken::Aborted,
        _ if is_network_error(&error) => Taken::Aborted,
        _ => Taken::Failed(error),
    }
}

/// See [`Stream`].
fn stream_of(stream: UnixStream) -> Stream {
    Stream::from(OwnedFd::from(stream))
}

/// EMFILE, ENFILE, ENOMEM, ENOBUFS: std has names for none of the first three on all platforms. The first three
/// numbers are the same on Linux, the BSDs and macOS; ENOBUFS is not.
fn is_exhausted(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOMEM: i32 = 12;
    const ENOBUFS: i32 = if cfg!(any(target_os = "linux", target_os = "android")) { 105 } else { 55 };
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOMEM | ENOBUFS))
}

/// The rest of what accept(2) lists as "already pending network errors": EPROTO, ENOPROTOOPT, EHOSTDOWN, ENONET,
/// EOPNOTSUPP.
fn is_network_error(error: &io::Error) -> bool {
    cfg!(target_os = "linux") && matches!(error.raw_os_error(), Some(71 | 92 | 112 | 64 | 95))
}

/// Reads into the slices in order; one slice without the cost of a vector.
///
/// By `rustix`, which on Linux calls the kernel itself: the C library's calls are points where a thread may be cancelled,
/// and each costs a process with several threads some forty instructions to become one and to cease to be it.
///
/// # Errors
///
/// As recv(2).
#[inline]
pub fn read(stream: &Stream, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    match into {
        [one] => Ok(rustix::net::recv(stream, &mut **one, RecvFlags::empty())?.0),
        several => Ok(rustix::io::readv(stream, several)?),
    }
}

/// Looks at what there is without taking it.
///
/// # Errors
///
/// As recv(2).
pub fn peek(stream: &Stream, into: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::net::recv(stream, into, RecvFlags::PEEK)?.0)
}

/// A peer that is gone is an error and no signal. Apple's systems have no such flag: there every socket is told so when it
/// is made.
#[cfg(not(target_vendor = "apple"))]
const QUIETLY: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const QUIETLY: SendFlags = SendFlags::empty();

/// Writes from the slices in order; one slice without the cost of a vector.
///
/// # Errors
///
/// As send(2); one slice raises no signal.
#[inline]
pub fn write(stream: &Stream, from: &[IoSlice<'_>]) -> io::Result<usize> {
    match from {
        [one] => Ok(rustix::net::send(stream, one, QUIETLY)?),
        several => Ok(rustix::io::writev(stream, several)?),
    }
}
