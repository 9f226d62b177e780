//! What stands for `secured` where TLS is not compiled in: nothing, with the same names.

use super::lobby::{Entrance, Looked, Refusal};
use crate::base::{CloseReason, Ms, Token};
use crate::metrics::Counter;
use crate::net::Stream;
use crate::turn::{Brought, SecurePeer};
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;

/// There is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Acceptor {}

/// There is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HandshakeFailed {}

impl fmt::Display for HandshakeFailed {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

pub(super) const fn counter_of(why: &HandshakeFailed) -> Counter {
    match *why {}
}

/// There is none.
#[derive(Debug)]
pub(super) enum Session {}

impl Session {
    pub(super) fn start(acceptor: &Arc<Acceptor>) -> Result<Box<Session>, Refusal> {
        match **acceptor {}
    }

    pub(super) fn look(&mut self, _: &Stream, _: &mut [u8], _: &mut u32) -> Looked {
        match *self {}
    }

    pub(super) fn peer(&mut self) -> SecurePeer {
        match *self {}
    }

    pub(super) fn counters(&self) -> [Counter; 2] {
        match *self {}
    }
}

/// Nobody.
#[derive(Debug)]
pub(super) struct Secured;

impl Secured {
    pub(super) fn new(_: &[Entrance]) -> Secured {
        Secured
    }

    #[expect(clippy::boxed_local, reason = "as with the feature")]
    pub(super) fn keep(&mut self, _: &Stream, session: Box<Session>) {
        match *session {}
    }

    pub(super) fn name(&mut self, _: &Stream, _: Token) {}

    pub(super) const fn is_used(&self) -> bool {
        false
    }

    pub(super) fn forget(&mut self, _: &Stream) {}

    pub(super) fn read(&mut self, _: &Stream, _: &mut [IoSliceMut<'_>]) -> io::Result<Brought> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn write(&mut self, _: &Stream, _: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn shut_write(&mut self, _: &Stream) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) const fn has_certificates(&self) -> bool {
        false
    }

    pub(super) fn wait_ms(&self) -> Option<u32> {
        None
    }

    pub(super) fn begin_look(&mut self, _: Ms) {}

    pub(super) fn next_over(&mut self) -> Option<(Token, CloseReason)> {
        None
    }
}
