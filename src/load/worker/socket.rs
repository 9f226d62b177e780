//! What a connection reads and writes: its socket, or TLS over it.
//!
//! Always holds: a handshake belongs to connecting; the times of requests know nothing of it.

use crate::net::Stream;
use crate::tls::Secure;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};

/// Ciphertext that is read at once, in bytes.
pub(super) const CIPHER_BYTES: usize = 64 << 10;

/// See the module.
pub(super) struct Socket<'a> {
    pub(super) stream: &'a Stream,
    pub(super) secure: Option<&'a mut Secure>,
    pub(super) cipher: &'a mut [u8],
    /// A read has found that there may be more, whatever it gave.
    pub(super) has_more: bool,
}

impl Read for Socket<'_> {
    #[inline]
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(secure) = self.secure.as_mut() else { return (&mut &*self.stream).read(into) };
        let mut stream = self.stream;
        let brought = secure.read(&mut stream, &mut [IoSliceMut::new(into)], self.cipher)?;
        self.has_more = !brought.is_drained;
        Ok(brought.bytes)
    }
}

impl Write for Socket<'_> {
    #[inline]
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let mut stream = self.stream;
        match self.secure.as_mut() {
            Some(secure) => secure.write(&mut stream, &[IoSlice::new(from)]),
            None => stream.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
