//! One connection's session, with the write semantics of a socket.
//!
//! ```text
//!   write   owner's queue |== taken ==|== ahead ==|........|      ahead: encrypted, not wholly in the socket
//!   read    socket --cipher--> [ part of a record ] --> slices
//! ```
//!
//! What was encrypted and not wholly taken by the socket is not reported as written: its owner offers the same bytes
//! again, in order, and they are skipped once the rest of their record is out. So all that waits is counted where it lies.
//!
//! Always holds: at most one record and a few alerts wait as ciphertext; a session that waits for nothing holds one buffer
//! of 4 KiB.
//! Never: a decision about the connection; plaintext that was not authenticated.

use super::certificate::Certificate;
use super::error::Failed;
use rustls::{Connection, HandshakeKind, ProtocolVersion};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};

/// The plaintext of one record at most, in bytes (RFC 8446, 5.1).
const RECORD_BYTES: usize = 16 << 10;
/// What is read at once while the handshake lasts: what comes behind its end then fits the session.
const SHAKE_BYTES: usize = 8 << 10;
/// Reads of more than this leave the session's buffer larger than an idle one's should be.
const USUAL_BYTES: usize = 4 << 10;
/// Times that a call interrupted by a signal is repeated.
const RETRIES: u32 = 8;
/// Records of one call at most: more than any caller offers.
const RECORDS_MAX: usize = 1 << 16;
/// The content type of a handshake's records (RFC 8446, 5.1), the first byte of all that is TLS.
const HANDSHAKE: u8 = 0x16;

/// See the module.
pub struct Secure {
    tls: Connection,
    /// Plaintext that was encrypted, and was not reported as written.
    ahead: usize,
    /// Nothing has come yet.
    is_fresh: bool,
    /// It has said close_notify.
    peer_ended: bool,
    certificate: Option<Box<Certificate>>,
}

/// Where a handshake stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is over, and all of it is out.
    Done,
    /// More may lie in the socket.
    Again,
    /// Some came, and more has to come.
    Reads,
    /// Nothing came; something has to.
    Idle,
    /// The socket is full.
    Writes,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brought {
    /// Plaintext, in bytes; none is the end.
    pub bytes: usize,
    /// The socket has no more, and neither has the session.
    pub is_drained: bool,
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// `TLSv1_3` or `TLSv1_2`.
    pub is_newest: bool,
    /// Without another look at certificates, by a ticket.
    pub is_resumed: bool,
    /// The cipher suite's name.
    pub cipher: &'static str,
}

impl Secure {
    pub(super) fn new(mut tls: Connection) -> Secure {
        tls.set_buffer_limit(Some(RECORD_BYTES));
        Secure { tls, ahead: 0, is_fresh: true, peer_ended: false, certificate: None }
    }

    /// One step of the handshake: writes what waits, reads once.
    ///
    /// # Errors
    ///
    /// Why it came to nothing. The alert that tells the peer is written, as far as the socket takes it.
    pub fn shake(&mut self, mut socket: impl Read + Write, cipher: &mut [u8]) -> Result<Progress, Failed> {
        if !self.flush(&mut socket).map_err(|_| Failed::Gone)? {
            return Ok(Progress::Writes);
        }
        if !self.tls.is_handshaking() {
            return self.finish();
        }
        let most = cipher.len().min(SHAKE_BYTES);
        let count = match retry(|| socket.read(&mut cipher[..most])) {
            Ok(0) => return Err(Failed::Gone),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Progress::Idle),
            Err(_) => return Err(Failed::Gone),
        };
        let first = (std::mem::take(&mut self.is_fresh) && cipher[0] != HANDSHAKE).then_some(cipher[0]);
        let fed = self.feed(&cipher[..count]);
        let flushed = self.flush(&mut socket);
        match (fed, first) {
            (Err(_), Some(first)) => return Err(Failed::Plaintext { first }),
            (Err(error), None) => return Err(Failed::of(&error)),
            (Ok(()), _) => {}
        }
        match flushed {
            Err(_) => Err(Failed::Gone),
            Ok(false) => Ok(Progress::Writes),
            Ok(true) if !self.tls.is_handshaking() => self.finish(),
            Ok(true) if count == most => Ok(Progress::Again),
            Ok(true) => Ok(Progress::Reads),
        }
    }

    /// The handshake is over: who is it?
    fn finish(&mut self) -> Result<Progress, Failed> {
        if let (Some([first, ..]), Connection::Server(_)) = (self.tls.peer_certificates(), &self.tls) {
            let certificate = Certificate::of(first)
                .ok_or_else(|| Failed::Untrusted("when it ends can't be read".to_owned()))?;
            self.certificate = Some(Box::new(certificate));
        }
        Ok(Progress::Done)
    }

    /// The peer's certificate, once the handshake is over, if it showed one. The server's is not kept.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_deref()
    }

    /// Who the peer is by its certificate.
    pub fn identity(&self) -> super::Identified {
        self.certificate.as_ref().and_then(|certificate| certificate.name.clone())
    }

    /// What was agreed on, once the handshake is over.
    pub fn spoken(&self) -> Spoken {
        let cipher = self.tls.negotiated_cipher_suite();
        Spoken {
            is_newest: self.tls.protocol_version() == Some(ProtocolVersion::TLSv1_3),
            is_resumed: self.tls.handshake_kind() == Some(HandshakeKind::Resumed),
            cipher: cipher.and_then(|suite| suite.suite().as_str()).unwrap_or("unknown"),
        }
    }

    /// Whether there is something to read that no edge of the socket will tell of.
    pub fn holds_input(&mut self) -> bool {
        self.peer_ended || matches!(self.tls.reader().into_first_chunk(), Ok(held) if !held.is_empty())
    }

    /// Reads into the slices in order, by way of `cipher`, which is nobody's between two calls. Of no bytes it means that
    /// the peer has ended its side in order, by close_notify.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, `Interrupted`; `UnexpectedEof` for an end without close_notify, which anybody on the way could have
    /// made; `InvalidData` for bytes that break TLS; or the socket's.
    pub fn read(
        &mut self,
        mut socket: impl Read + Write,
        into: &mut [IoSliceMut<'_>],
        cipher: &mut [u8],
    ) -> io::Result<Brought> {
        let offered: usize = into.iter().map(|slice| slice.len()).sum();
        let mut bytes = self.take(into, 0)?;
        for _ in 0..RECORDS_MAX {
            if bytes == 0 && self.peer_ended {
                return Ok(Brought { bytes, is_drained: true });
            }
            // No more than there is room for: all but the rest of one record then finds its place.
            let most = cipher.len().min(offered - bytes);
            if most == 0 || self.peer_ended {
                return Ok(Brought { bytes, is_drained: false });
            }
            let count = match retry(|| socket.read(&mut cipher[..most])) {
                Ok(0) if bytes == 0 => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if bytes == 0 => return Err(error),
                Err(error) => {
                    let is_drained = error.kind() == ErrorKind::WouldBlock;
                    return Ok(Brought { bytes, is_drained });
                }
            };
            let mut rest = &cipher[..count];
            let mut fed = Ok(());
            // What is decrypted goes at once: the session holds little more than a record.
            while fed.is_ok() && !rest.is_empty() && !self.peer_ended {
                fed = self.feed_some(&mut rest);
                bytes += self.take(into, bytes)?;
            }
            // Alerts, and answers to new keys; what the socket does not take goes with the next write.
            let flushed = self.flush(&mut socket);
            fed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            flushed?;
            if count > USUAL_BYTES {
                self.shrink();
            }
            if bytes > 0 && count < most {
                return Ok(Brought { bytes, is_drained: !self.holds_input() });
            }
        }
        Ok(Brought { bytes, is_drained: false })
    }

    /// Takes plaintext that is there, behind the first `from` bytes of the slices.
    fn take(&mut self, into: &mut [IoSliceMut<'_>], from: usize) -> io::Result<usize> {
        let (mut skip, mut got) = (from, 0);
        for slice in into {
            if skip >= slice.len() {
                skip -= slice.len();
                continue;
            }
            let free = slice.len() - skip;
            match self.tls.reader().read(&mut slice[std::mem::take(&mut skip)..]) {
                Ok(count) => {
                    got += count;
                    if count < free {
                        break;
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::UnexpectedEof) => {
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(got)
    }

    /// Decrypts. Behind close_notify nothing counts.
    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), rustls::Error> {
        while !bytes.is_empty() && !self.peer_ended {
            self.feed_some(&mut bytes)?;
        }
        Ok(())
    }

    fn feed_some(&mut self, bytes: &mut &[u8]) -> Result<(), rustls::Error> {
        self.tls.read_tls(bytes).map_err(|error| rustls::Error::General(error.to_string()))?;
        self.peer_ended = self.tls.process_new_packets()?.peer_has_closed();
        Ok(())
    }

    /// A read that finds nothing makes the session give its buffer back.
    #[cold]
    fn shrink(&mut self) {
        let _ = self.tls.read_tls(&mut Nothing);
    }

    /// Writes from the slices in order. Less than all means that the socket is full. The same bytes have to be offered
    /// again that were not taken: some may be on their way.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, `Interrupted`, or the socket's.
    pub fn write(&mut self, mut socket: impl Write, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut done = 0;
        for _ in 0..RECORDS_MAX {
            match self.flush(&mut socket) {
                Ok(true) => done += std::mem::take(&mut self.ahead),
                Ok(false) if done > 0 => return Ok(done),
                Ok(false) => return Err(ErrorKind::WouldBlock.into()),
                Err(error) => {
                    // What went out is reported when it is offered again.
                    self.ahead += done;
                    return Err(error);
                }
            }
            if done >= offered {
                // Of what is out, as much is reported as was offered again: a queue may show its front alone.
                self.ahead = done - offered;
                return Ok(offered);
            }
            self.ahead = self.encrypt(slices, done)?;
        }
        Ok(done)
    }

    /// One record of what lies behind the first `from` bytes.
    fn encrypt(&mut self, slices: &[IoSlice<'_>], from: usize) -> io::Result<usize> {
        let mut rest = [IoSlice::new(&[]); 64];
        let (mut skip, mut count, mut bytes) = (from, 0, 0);
        for slice in slices {
            if skip >= slice.len() {
                skip -= slice.len();
                continue;
            }
            if count == rest.len() || bytes >= RECORD_BYTES {
                break;
            }
            rest[count] = IoSlice::new(&slice[std::mem::take(&mut skip)..]);
            bytes += rest[count].len();
            count += 1;
        }
        match &rest[..count] {
            [one] => self.tls.writer().write(one),
            several => self.tls.writer().write_vectored(several),
        }
    }

    /// Writes the ciphertext that waits. False if the socket is full.
    fn flush(&mut self, socket: &mut impl Write) -> io::Result<bool> {
        while self.tls.wants_write() {
            match retry(|| self.tls.write_tls(socket)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Says close_notify: nothing follows. To be called again after `WouldBlock`.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, or the socket's.
    pub fn close(&mut self, mut socket: impl Write) -> io::Result<()> {
        self.tls.send_close_notify();
        if self.flush(&mut socket)? { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
    }
}

impl std::fmt::Debug for Secure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secure").field("ahead", &self.ahead).field("certificate", &self.certificate).finish()
    }
}

/// A socket that has nothing.
struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    for _ in 0..RETRIES {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
    Err(ErrorKind::Interrupted.into())
}
