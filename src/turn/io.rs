//! The seam between a loop's logic and the world: everything that a turn may ask for, and nothing else.
//!
//! Two implementations: the shard's over `mio`, and the simulator's. Readiness is edge-triggered in both: told once
//! when bytes arrive or space appears, never because some are left. So a turn that stops before would-block must
//! come back by itself.

use crate::base::{Address, Time, Token};
use crate::wire::ProxySource;
use core::net::SocketAddr;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;

/// What a turn may ask of the world. No call blocks.
pub trait Io {
    /// A connected, non-blocking byte stream.
    type Stream;

    /// The moment, on the clock that deadlines are counted by. Never goes back.
    fn now(&mut self) -> Time;

    /// Takes the next connection from a listener's queue.
    fn accept(&mut self, listener: u32) -> Accepted<Self::Stream>;

    /// Tells one newcomer of an exhausted listener why it is not served, at the cost of a spare descriptor.
    /// False if none was there to be told, or no descriptor was to be had.
    fn refuse(&mut self, listener: u32, farewell: &[u8]) -> bool;

    /// Ends listening.
    fn close_listener(&mut self, listener: u32);

    /// Asks for events of this stream, once, for good, in both directions.
    ///
    /// # Errors
    ///
    /// Whatever the poller says; the stream is then closed.
    fn register(&mut self, stream: &mut Self::Stream, token: Token) -> io::Result<()>;

    /// Begins to connect. Writable readiness, once it is registered, tells that it is decided.
    ///
    /// # Errors
    ///
    /// If it failed at once.
    fn connect(&mut self, to: SocketAddr) -> io::Result<Self::Stream>;

    /// After the first writable event: whether it is connected, or not yet.
    ///
    /// # Errors
    ///
    /// Why it could not connect.
    fn finish_connect(&mut self, stream: &mut Self::Stream) -> io::Result<bool>;

    /// Gives a newcomer to another loop, if one has so many fewer accepted connections than our `open` that it should have it.
    /// Gives the stream back if it stays here. Only before it is registered.
    fn hand_off(
        &mut self,
        stream: Self::Stream,
        address: Address,
        listener: u32,
        open: usize,
    ) -> Option<Self::Stream>;

    /// Takes a newcomer that another loop handed over, with its address and listener.
    fn take_handed(&mut self) -> Option<(Self::Stream, Entered, u32)>;

    /// The poller told of something that is neither a listener nor a connection, but was registered by the world itself,
    /// as `Token { generation: 0, slot: name }`: a newcomer at the [entrance](Accepted::Kept). Gives it, with its listener,
    /// if it is through; then it has a seat, and is ours.
    fn handle_own(&mut self, name: u32) -> Option<(Self::Stream, Entered, u32)> {
        let _ = name;
        None
    }

    /// A drain begins: gives one newcomer after the other that is through now, and closes those that are not. From here
    /// on none is [kept](Accepted::Kept).
    fn clear_entrance(&mut self) -> Option<(Self::Stream, Entered, u32)> {
        None
    }

    /// Reads into the slices in order. `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, `Interrupted`, or the end of the connection.
    fn read(&mut self, stream: &mut Self::Stream, into: &mut [IoSliceMut<'_>]) -> io::Result<usize>;

    /// As [`read`](Self::read), of a stream that [came in](Entered::secure) with TLS.
    ///
    /// # Errors
    ///
    /// As there; `InvalidData` for bytes that break TLS, `UnexpectedEof` for an end that its peer did not announce.
    fn read_secure(&mut self, stream: &mut Self::Stream, into: &mut [IoSliceMut<'_>]) -> io::Result<Brought> {
        self.read(stream, into).map(|bytes| Brought { bytes, is_drained: false })
    }

    /// Writes from the slices in order. Less than all means that the socket is full.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, `Interrupted`, or the end of the connection.
    fn write(&mut self, stream: &mut Self::Stream, from: &[IoSlice<'_>]) -> io::Result<usize>;

    /// As [`write`](Self::write), of a stream that came in with TLS. What is not taken has to be offered again, first and
    /// unchanged: part of it may be on its way.
    ///
    /// # Errors
    ///
    /// As there.
    fn write_secure(&mut self, stream: &mut Self::Stream, from: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write(stream, from)
    }

    /// Ends our side of the stream; the peer reads what is on its way, then the end.
    ///
    /// # Errors
    ///
    /// If the connection is gone already.
    fn shut_write(&mut self, stream: &mut Self::Stream) -> io::Result<()>;

    /// As [`shut_write`](Self::shut_write), of a stream that came in with TLS; also if the peer has ended its side.
    ///
    /// # Errors
    ///
    /// As there; `WouldBlock` if the socket has no room for that: to be called again.
    fn shut_write_secure(&mut self, stream: &mut Self::Stream) -> io::Result<()> {
        self.shut_write(stream)
    }

    /// Closes the stream and forgets its events.
    fn close(&mut self, stream: Self::Stream);
}

/// What is known of a newcomer when it comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entered {
    /// Where its client is, as its socket or a trusted proxy says.
    pub address: Address,
    /// Where that proxy is.
    pub proxied_by: Option<Address>,
    /// That it speaks TLS, and who it is by that.
    pub secure: Option<SecurePeer>,
}

/// What a newcomer's TLS says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurePeer {
    /// The name in its certificate, if it showed one with a name.
    pub certificate: Option<Arc<str>>,
    /// Its first bytes came with the end of its handshake: no event will tell of them.
    pub holds_input: bool,
}

/// What a read of a stream with TLS brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brought {
    /// Bytes; none is the end.
    pub bytes: usize,
    /// There is nothing more, and an event will tell of what comes.
    pub is_drained: bool,
}

impl Entered {
    /// A trusted proxy, which is at the address so far, says whose connection it is.
    pub fn come_by(&mut self, source: ProxySource) {
        match source {
            ProxySource::Client(client) => {
                self.proxied_by = Some(std::mem::replace(&mut self.address, client));
            }
            ProxySource::Unknown => self.proxied_by = Some(self.address),
            ProxySource::Itself => {}
        }
    }
}

impl From<SocketAddr> for Entered {
    fn from(address: SocketAddr) -> Entered {
        Address::Ip(address).into()
    }
}

impl From<Address> for Entered {
    /// One of which its socket's address is all that is known.
    fn from(address: Address) -> Entered {
        Entered { address, proxied_by: None, secure: None }
    }
}

/// What taking a connection from a listener gave, by what has to happen next.
#[derive(Debug)]
pub enum Accepted<S> {
    /// A connection, and what is known of its peer.
    Stream(S, Entered),
    /// One that has brought what its listener wants before the first message. It has a seat, and stays in this loop.
    Entered(S, Entered),
    /// One that has not: it waits at the entrance, or was closed there. Try the next.
    Kept,
    /// One that was given to another loop, with its seat. Try the next.
    HandedOff,
    /// One for which there is no seat: to be told so.
    NoSeat(S, Address),
    /// The queue is empty; an event will tell of the next.
    Drained,
    /// That one was gone before it was taken, or a signal came: try the next.
    Aborted,
    /// Descriptors or memory have run out: no event will come, so try again later.
    Exhausted(io::Error),
    /// The listener failed in a way that has no name here: try again later.
    Failed(io::Error),
}

/// What the poller tells of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Bytes came, or the end of the stream.
    pub readable: bool,
    /// Space for bytes appeared.
    pub writable: bool,
    /// The peer ended its side: read until the end is seen, a short read says nothing.
    pub read_closed: bool,
    /// Both sides are over, or the socket failed.
    pub hangup: bool,
}
