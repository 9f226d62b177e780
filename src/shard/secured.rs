//! Connections that speak TLS: their handshakes at the entrance, and their sessions behind it, by descriptor.
//!
//! Always holds: a session is kept from the end of its handshake until its stream is closed; who showed a certificate is
//! looked at when one expires or a list of revoked ones has changed, so many a turn. Never: a cost for a loop without.

use super::lobby::{Entrance, Looked, Refusal};
use crate::base::limits::{CERTIFICATES_PER_TURN, CIPHER_BYTES};
use crate::base::{CloseReason, Ms, Token};
use crate::metrics::Counter;
use crate::net::{self, Stream};
pub(super) use crate::tls::Acceptor;
use crate::tls::{Failed, Progress, Secure, calendar};
use crate::turn::{Brought, SecurePeer};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// The calendar is looked at so often at most.
const LOOK_MS: u32 = 1000;
/// And so often at least, in seconds, since it can be set.
const LOOK_SECONDS_MAX: u64 = 60;

/// A stream as a reader and writer, by the calls that know no SIGPIPE.
struct Socket<'a>(&'a Stream);

impl Read for Socket<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        net::read(self.0, &mut [IoSliceMut::new(into)])
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        net::write(self.0, &[IoSlice::new(from)])
    }

    fn write_vectored(&mut self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        net::write(self.0, from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A session, from the beginning of its handshake on.
#[derive(Debug)]
pub(super) struct Session {
    secure: Secure,
    acceptor: Arc<Acceptor>,
    /// Once it has one.
    token: Option<Token>,
}

impl Session {
    /// Before its first byte.
    pub(super) fn start(acceptor: &Arc<Acceptor>) -> Result<Box<Session>, Refusal> {
        let secure = acceptor.start().map_err(|_| Refusal::Failed)?;
        Ok(Box::new(Session { secure, acceptor: Arc::clone(acceptor), token: None }))
    }

    /// A step of the handshake, if there are steps left.
    pub(super) fn look(&mut self, stream: &Stream, scratch: &mut [u8], left: &mut u32) -> Looked {
        if *left == 0 {
            return Looked::Later;
        }
        let progress = self.secure.shake(Socket(stream), scratch);
        *left -= u32::from(progress != Ok(Progress::Idle));
        match progress
            .and_then(|progress| if progress == Progress::Done { self.admit() } else { Ok(progress) })
        {
            Ok(Progress::Done) => Looked::Enters,
            Ok(Progress::Again) => Looked::Later,
            Ok(Progress::Reads | Progress::Writes | Progress::Idle) => Looked::Waits,
            Err(Failed::Gone) => Looked::Ends(Refusal::Gone),
            Err(why) => {
                // What it has sent meanwhile must not make the close a reset, which would destroy the alert.
                let _ = net::read(stream, &mut [IoSliceMut::new(scratch)]);
                Looked::Ends(Refusal::Tls(why))
            }
        }
    }

    /// Whoever resumes was not checked again.
    fn admit(&self) -> Result<Progress, Failed> {
        match self.secure.certificate() {
            Some(certificate) if certificate.is_over(calendar()) => Err(Failed::Expired),
            Some(certificate) if self.acceptor.is_revoked(certificate) => Err(Failed::Revoked),
            Some(_) | None => Ok(Progress::Done),
        }
    }

    /// What the turn is told.
    pub(super) fn peer(&mut self) -> SecurePeer {
        SecurePeer { certificate: self.secure.identity(), holds_input: self.secure.holds_input() }
    }

    /// How the handshake is counted: of which kind, of which version.
    pub(super) fn counters(&self) -> [Counter; 2] {
        let spoken = self.secure.spoken();
        [
            if spoken.is_resumed { Counter::TlsResumed } else { Counter::TlsFull },
            if spoken.is_newest { Counter::Tls13 } else { Counter::Tls12 },
        ]
    }
}

/// How a handshake that failed is counted.
pub(super) const fn counter_of(why: &Failed) -> Counter {
    match why {
        Failed::Plaintext { .. } => Counter::TlsPlaintext,
        Failed::NoCertificate => Counter::TlsNoCertificate,
        Failed::Expired => Counter::TlsExpired,
        Failed::Revoked => Counter::TlsRevoked,
        Failed::Untrusted(_) => Counter::TlsUntrusted,
        Failed::Incompatible(_) => Counter::TlsIncompatible,
        Failed::Refused(_) => Counter::TlsRefused,
        Failed::Broken(_) => Counter::TlsBroken,
        Failed::Gone => Counter::EntranceGone,
    }
}

pub(super) use crate::tls::Failed as HandshakeFailed;

/// The sessions of a loop.
#[derive(Debug)]
pub(super) struct Secured {
    /// By descriptor.
    sessions: Vec<Option<Box<Session>>>,
    acceptors: Vec<Arc<Acceptor>>,
    /// Ciphertext of whoever is read.
    cipher: Box<[u8]>,
    /// Sessions of clients that showed a certificate.
    certificates: usize,
    /// The first second in which one of them may be over.
    next_over: u64,
    /// What the acceptors counted when all were looked at last.
    generation: u64,
    now: u64,
    looked: Option<Ms>,
    /// Where the look has come to, if there is one.
    scan: Option<usize>,
    left: usize,
}

impl Secured {
    pub(super) fn new(entrances: &[Entrance]) -> Secured {
        let acceptors: Vec<_> = entrances.iter().filter_map(|entrance| entrance.tls.clone()).collect();
        let cipher = vec![0; if acceptors.is_empty() { 0 } else { CIPHER_BYTES }].into_boxed_slice();
        Secured {
            sessions: Vec::new(),
            acceptors,
            cipher,
            certificates: 0,
            next_over: u64::MAX,
            generation: 0,
            now: 0,
            looked: None,
            scan: None,
            left: 0,
        }
    }

    /// Keeps the session of a stream that is through.
    pub(super) fn keep(&mut self, stream: &Stream, session: Box<Session>) {
        let place = place_of(stream);
        if place >= self.sessions.len() {
            self.sessions.resize_with(place + 1, || None);
        }
        if let Some(certificate) = session.secure.certificate() {
            self.certificates += 1;
            self.next_over = self.next_over.min(certificate.not_after.saturating_add(1));
        }
        debug_assert!(self.sessions[place].is_none(), "a descriptor's session goes before it");
        self.sessions[place] = Some(session);
    }

    /// Its stream has a name now.
    #[cold]
    pub(super) fn name(&mut self, stream: &Stream, token: Token) {
        if let Some(Some(session)) = self.sessions.get_mut(place_of(stream)) {
            session.token = Some(token);
        }
    }

    pub(super) const fn is_used(&self) -> bool {
        !self.acceptors.is_empty()
    }

    /// Its stream is about to be closed.
    #[cold]
    pub(super) fn forget(&mut self, stream: &Stream) {
        let session = self.sessions.get_mut(place_of(stream)).and_then(Option::take);
        if session.is_some_and(|session| session.secure.certificate().is_some()) {
            self.certificates -= 1;
        }
    }

    pub(super) fn read(&mut self, stream: &Stream, into: &mut [IoSliceMut<'_>]) -> io::Result<Brought> {
        let session = session_of(&mut self.sessions, stream)?;
        let brought = session.secure.read(Socket(stream), into, &mut self.cipher)?;
        Ok(Brought { bytes: brought.bytes, is_drained: brought.is_drained })
    }

    pub(super) fn write(&mut self, stream: &Stream, from: &[IoSlice<'_>]) -> io::Result<usize> {
        session_of(&mut self.sessions, stream)?.secure.write(Socket(stream), from)
    }

    pub(super) fn shut_write(&mut self, stream: &Stream) -> io::Result<()> {
        session_of(&mut self.sessions, stream)?.secure.close(Socket(stream))?;
        match stream.shutdown(Shutdown::Write) {
            // The peer was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            shut => shut,
        }
    }

    /// Whether anybody has shown a certificate.
    #[inline]
    pub(super) const fn has_certificates(&self) -> bool {
        self.certificates > 0
    }

    /// How long certificates may be left alone.
    pub(super) fn wait_ms(&self) -> Option<u32> {
        if self.scan.is_some() {
            return Some(0);
        }
        if !self.has_certificates() || self.next_over == u64::MAX {
            return None;
        }
        let left = self.next_over.saturating_sub(calendar()).min(LOOK_SECONDS_MAX);
        u32::try_from(left).ok().map(|left| (left * 1000).max(LOOK_MS))
    }

    /// A turn's part of the look at certificates begins, if it is time for one.
    pub(super) fn begin_look(&mut self, now: Ms) {
        if self.looked.is_none_or(|looked| now.since(looked) >= LOOK_MS) {
            (self.looked, self.now) = (Some(now), calendar());
        }
        let generation = self.acceptors.iter().map(|acceptor| acceptor.generation()).sum();
        if generation != self.generation || self.now >= self.next_over {
            (self.generation, self.next_over, self.scan) = (generation, u64::MAX, Some(0));
        }
        self.left = CERTIFICATES_PER_TURN;
    }

    /// The next one whose certificate no longer counts.
    pub(super) fn next_over(&mut self) -> Option<(Token, CloseReason)> {
        while self.left > 0 {
            let at = self.scan?;
            self.left -= 1;
            self.scan = (at < self.sessions.len()).then_some(at + 1);
            let Some(Some(session)) = self.sessions.get(at) else { continue };
            let Some((certificate, token)) = session.secure.certificate().zip(session.token) else {
                continue;
            };
            if certificate.is_over(self.now) {
                return Some((token, CloseReason::CertificateExpired));
            }
            self.next_over = self.next_over.min(certificate.not_after.saturating_add(1));
            if session.acceptor.is_revoked(certificate) {
                return Some((token, CloseReason::CertificateRevoked));
            }
        }
        None
    }
}

fn place_of(stream: &Stream) -> usize {
    usize::try_from(stream.as_raw_fd()).unwrap_or(0)
}

fn session_of<'a>(sessions: &'a mut [Option<Box<Session>>], stream: &Stream) -> io::Result<&'a mut Session> {
    let session = sessions.get_mut(place_of(stream)).and_then(Option::as_deref_mut);
    session.ok_or_else(|| io::ErrorKind::NotConnected.into())
}
