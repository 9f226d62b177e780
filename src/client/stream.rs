//! A connected socket, TCP or unix, with the few calls that both have.
//!
//! Always holds: connecting ends after its timeout. Never: what the bytes mean.

use super::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What the address of a unix socket begins with.
const UNIX: &str = "unix:";

#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    #[cfg(feature = "tls")]
    Secure(Box<super::secure::SecureStream>),
}

impl Stream {
    pub(crate) fn connect(address: &str, timeout: Duration) -> Result<Stream, Error> {
        let bad = |why: String| Error::Address { text: address.to_owned(), why };
        let connected = match address.strip_prefix(UNIX) {
            Some("") => return Err(bad("the path is missing".to_owned())),
            Some(path) => connect_unix(PathBuf::from(path), timeout),
            None => {
                let found: Vec<_> =
                    address.to_socket_addrs().map_err(|error| bad(error.to_string()))?.collect();
                if found.is_empty() {
                    return Err(bad("it resolves to nothing".to_owned()));
                }
                connect_tcp(&found, timeout)
            }
        };
        connected.map_err(|source| {
            if source.kind() == ErrorKind::TimedOut {
                return Error::Timeout { waited_for: "connection", after: timeout };
            }
            Error::Connect { address: address.to_owned(), source }
        })
    }

    /// The same with a TLS handshake, if there is to be one.
    #[cfg(feature = "tls")]
    pub(super) fn secure(
        self,
        address: &str,
        connector: Option<&crate::tls::Connector>,
        timeout: Duration,
    ) -> Result<Stream, Error> {
        let Some(connector) = connector else { return Ok(self) };
        let stream = super::secure::SecureStream::connect(self, connector, address, timeout)?;
        Ok(Stream::Secure(Box::new(stream)))
    }

    pub(super) fn set_blocking(&self, is_blocking: bool) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_nonblocking(!is_blocking),
            Stream::Unix(stream) => stream.set_nonblocking(!is_blocking),
            #[cfg(feature = "tls")]
            Stream::Secure(secure) => secure.socket.set_blocking(is_blocking),
        }
    }

    /// How long a read may wait, while blocking; not zero.
    pub(crate) fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(timeout)),
            Stream::Unix(stream) => stream.set_read_timeout(Some(timeout)),
            #[cfg(feature = "tls")]
            Stream::Secure(secure) => secure.socket.set_read_timeout(timeout),
        }
    }

    /// How long a write may wait, while blocking; not zero.
    #[cfg(feature = "cli")]
    pub(crate) fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_write_timeout(Some(timeout)),
            Stream::Unix(stream) => stream.set_write_timeout(Some(timeout)),
            #[cfg(feature = "tls")]
            Stream::Secure(secure) => secure.socket.set_write_timeout(timeout),
        }
    }

    /// Ends this side's sending.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
            #[cfg(feature = "tls")]
            Stream::Secure(secure) => secure.finish(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(into),
            Stream::Unix(stream) => stream.read(into),
            #[cfg(feature = "tls")]
            Stream::Secure(secure) => secure.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(from),
            Stream::Unix(stream) => stream.write(from),
            #[cfg(feature = "tls")]
            Stream::Secure(secure) => secure.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The first of a name's addresses that answers: `localhost` is often two.
fn connect_tcp(addresses: &[SocketAddr], timeout: Duration) -> io::Result<Stream> {
    let until = Instant::now() + timeout;
    let mut failed = io::Error::from(ErrorKind::TimedOut);
    for address in addresses {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(address, left) {
            Ok(stream) => {
                // A request is one write: nothing is gained by waiting for more of it.
                stream.set_nodelay(true)?;
                return Ok(Stream::Tcp(stream));
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// By a thread: connecting to a socket whose queue is full waits without end, and the thread with it until it moves.
fn connect_unix(path: PathBuf, timeout: Duration) -> io::Result<Stream> {
    let (tell, told) = mpsc::sync_channel(1);
    std::thread::Builder::new().name("tidegate-connect".to_owned()).spawn(move || {
        // Who does not wait any more does not want to know.
        let _ = tell.send(UnixStream::connect(path));
    })?;
    match told.recv_timeout(timeout) {
        Ok(connected) => connected.map(Stream::Unix),
        Err(_) => Err(ErrorKind::TimedOut.into()),
    }
}
