//! A socket with TLS, for a client that waits.
//!
//! Always holds: a read waits for the socket at most once, and never while something that came is there; so the timeouts
//! of the socket hold.

use super::Error;
use super::stream::Stream;
use crate::tls::{Connector, Progress, Secure};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::time::{Duration, Instant};

/// Ciphertext that is read at once, in bytes.
const CIPHER_BYTES: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct SecureStream {
    pub(super) socket: Stream,
    secure: Secure,
    cipher: Box<[u8]>,
}

impl SecureStream {
    /// The handshake, over a blocking socket.
    pub(super) fn connect(
        mut socket: Stream,
        connector: &Connector,
        address: &str,
        timeout: Duration,
    ) -> Result<SecureStream, Error> {
        let failed =
            |why: crate::tls::Failed| Error::Tls { address: address.to_owned(), why: why.to_string() };
        let mut secure = connector.start(address).map_err(failed)?;
        let mut cipher = vec![0; CIPHER_BYTES].into_boxed_slice();
        let until = Instant::now() + timeout;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Timeout { waited_for: "TLS handshake", after: timeout });
            }
            socket.set_read_timeout(left).map_err(Error::Io)?;
            match secure.shake(&mut socket, &mut cipher).map_err(failed)? {
                Progress::Done => return Ok(SecureStream { socket, secure, cipher }),
                Progress::Again | Progress::Reads | Progress::Writes | Progress::Idle => {}
            }
        }
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.secure.close(&mut self.socket)?;
        self.socket.finish()
    }
}

impl Read for SecureStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let is_there = self.secure.holds_input();
        let once = Once { socket: &mut self.socket, is_used: is_there };
        match self.secure.read(once, &mut [IoSliceMut::new(into)], &mut self.cipher) {
            Ok(brought) => Ok(brought.bytes),
            // Without close_notify; what came before was whole, or its frame tells.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
            Err(error) => Err(error),
        }
    }
}

impl Write for SecureStream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.secure.write(&mut self.socket, &[IoSlice::new(from)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket that is read once.
struct Once<'a> {
    socket: &'a mut Stream,
    is_used: bool,
}

impl Read for Once<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if std::mem::replace(&mut self.is_used, true) {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.socket.read(into)
    }
}

impl Write for Once<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.socket.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
