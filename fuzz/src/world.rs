//! An [`Io`] whose peers do what a script says: what they sent arrives in pieces, they take what their window allows.
//!
//! Readiness is edge-triggered, exactly: told when bytes arrive or the end does, and when space appears behind a
//! write that met none. A read gives all that has arrived, up to what is offered.
//!
//! Always holds (asserted): a stream is closed once and not touched afterwards; nothing is written behind the end of
//! our side; time never goes back.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tidegate::base::{Address, Time, Token};
use tidegate::turn::{Accepted, Entered, Io, Readiness};

/// One peer and the socket between.
#[derive(Debug, Default)]
pub struct Peer {
    /// What it has sent.
    pub sent: Vec<u8>,
    /// How much of that has arrived at the server's socket.
    arrived: usize,
    /// How much of that the server has read.
    read: usize,
    /// How much the server had read when it ended its side, and whether it had seen the end: what comes later it
    /// throws away.
    pub heard_at_shut: Option<(usize, bool)>,
    /// It has ended its side; the end arrives behind the last byte.
    pub has_ended: bool,
    /// The server has seen the end.
    pub end_seen: bool,
    /// It has reset the connection.
    pub was_reset: bool,
    /// What it has been sent.
    pub got: Vec<u8>,
    /// Bytes that the socket takes now.
    window: usize,
    /// A write met a full socket, and no space has appeared since: it will be told of.
    pub is_blocked: bool,
    /// Calls that a signal interrupts next.
    interrupts: u8,
    /// Its name in events, once it was registered.
    pub token: Option<Token>,
    ready: Readiness,
    has_event: bool,
    is_shut: bool,
    /// The server has closed it.
    pub is_closed: bool,
}

impl Peer {
    /// How much of what was sent has arrived.
    pub const fn arrived(&self) -> usize {
        self.arrived
    }

    /// How much of what was sent the server has read.
    pub const fn read(&self) -> usize {
        self.read
    }

    /// Some of what was sent arrives, and the end with the last of it.
    pub fn deliver(&mut self, bytes: usize) {
        let more = bytes.min(self.sent.len() - self.arrived);
        self.arrived += more;
        if more > 0 {
            self.tell(Readiness { readable: true, ..Readiness::default() });
        }
        if self.has_ended && self.arrived == self.sent.len() {
            self.tell(Readiness { readable: true, read_closed: true, ..Readiness::default() });
        }
    }

    /// It sends no more.
    pub fn end(&mut self) {
        self.has_ended = true;
        self.deliver(0);
    }

    /// It takes this much more.
    pub fn take(&mut self, bytes: usize) {
        self.window = self.window.saturating_add(bytes);
        if self.is_blocked && bytes > 0 && !self.is_closed {
            self.is_blocked = false;
            self.tell(Readiness { writable: true, ..Readiness::default() });
        }
    }

    /// It is gone, and with it what was on its way.
    pub fn reset(&mut self) {
        self.was_reset = true;
        self.tell(Readiness { readable: true, writable: true, read_closed: true, hangup: true });
    }

    /// Signals come in between.
    pub fn interrupt(&mut self, calls: u8) {
        self.interrupts = calls;
    }

    /// An event, meant or not: pollers may tell of nothing.
    pub fn tell(&mut self, ready: Readiness) {
        self.has_event = true;
        self.ready.readable |= ready.readable;
        self.ready.writable |= ready.writable;
        self.ready.read_closed |= ready.read_closed;
        self.ready.hangup |= ready.hangup;
    }

    fn call(&mut self) -> io::Result<()> {
        assert!(!self.is_closed, "a closed stream is used");
        if self.interrupts > 0 {
            self.interrupts -= 1;
            return Err(ErrorKind::Interrupted.into());
        }
        if self.was_reset { Err(ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

/// What the next accept gives instead of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptFault {
    /// It was gone already.
    Aborted,
    /// No descriptors.
    Exhausted,
    /// Something else.
    Failed,
    /// It can't be registered.
    Unregistered,
}

/// All peers, and the clock.
#[derive(Debug, Default)]
pub struct World {
    /// The peers, in the order in which they connect.
    pub peers: Vec<Peer>,
    /// Those that wait to be accepted.
    queue: VecDeque<usize>,
    listener_event: bool,
    listener_closed: bool,
    /// Faults of the next accepts.
    pub faults: VecDeque<AcceptFault>,
    /// The moment.
    pub now: Time,
    /// What each look at the clock takes, in microseconds.
    pub tick_us: u64,
}

impl World {
    /// Nobody is there yet.
    pub fn new(now: Time, tick_us: u64) -> World {
        World { now, tick_us, ..World::default() }
    }

    /// A peer connects that takes `window` bytes at first.
    pub fn connect(&mut self, window: usize) {
        if !self.listener_closed {
            self.queue.push_back(self.peers.len());
            self.peers.push(Peer { window, ..Peer::default() });
            self.listener_event = true;
        }
    }

    /// Whether a poller would have something to tell.
    pub fn has_events(&self) -> bool {
        self.listener_event || self.peers.iter().any(|peer| peer.has_event && peer.token.is_some())
    }

    /// What a poller tells now, once.
    pub fn poll(&mut self, events: &mut Vec<(Token, Readiness)>) {
        if std::mem::take(&mut self.listener_event) {
            events.push((Token::listener(0), Readiness { readable: true, ..Readiness::default() }));
        }
        for peer in &mut self.peers {
            if let Some(token) = peer.token.filter(|_| std::mem::take(&mut peer.has_event)) {
                events.push((token, std::mem::take(&mut peer.ready)));
            }
        }
    }
}

impl Io for World {
    type Stream = usize;

    fn now(&mut self) -> Time {
        self.now = self.now.plus_us(self.tick_us);
        self.now
    }

    fn accept(&mut self, listener: u32) -> Accepted<usize> {
        assert!(listener == 0 && !self.listener_closed);
        match self.faults.front() {
            None | Some(AcceptFault::Unregistered) => {}
            Some(AcceptFault::Aborted) => {
                self.faults.pop_front();
                return Accepted::Aborted;
            }
            Some(AcceptFault::Exhausted) => {
                self.faults.pop_front();
                return Accepted::Exhausted(io::Error::other("no descriptors"));
            }
            Some(AcceptFault::Failed) => {
                self.faults.pop_front();
                return Accepted::Failed(io::Error::other("no reason"));
            }
        }
        let Some(peer) = self.queue.pop_front() else { return Accepted::Drained };
        Accepted::Stream(peer, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1000).into())
    }

    fn refuse(&mut self, listener: u32, farewell: &[u8]) -> bool {
        assert_eq!(listener, 0);
        let Some(peer) = self.queue.pop_front() else { return false };
        self.peers[peer].got.extend_from_slice(farewell);
        self.peers[peer].is_closed = true;
        true
    }

    fn close_listener(&mut self, listener: u32) {
        assert!(listener == 0 && !self.listener_closed);
        self.listener_closed = true;
        for peer in self.queue.drain(..) {
            self.peers[peer].is_closed = true;
        }
    }

    fn register(&mut self, stream: &mut usize, token: Token) -> io::Result<()> {
        if self.faults.front() == Some(&AcceptFault::Unregistered) {
            self.faults.pop_front();
            return Err(io::Error::other("no room in the poller"));
        }
        let peer = &mut self.peers[*stream];
        assert!(peer.token.is_none() && !peer.is_closed);
        peer.token = Some(token);
        // A new registration is told of what is so already.
        peer.tell(Readiness { writable: true, readable: peer.arrived > 0, ..Readiness::default() });
        Ok(())
    }

    fn connect(&mut self, _to: SocketAddr) -> io::Result<usize> {
        Err(ErrorKind::Unsupported.into())
    }

    fn finish_connect(&mut self, _stream: &mut usize) -> io::Result<bool> {
        Err(ErrorKind::Unsupported.into())
    }

    fn hand_off(&mut self, stream: usize, _: Address, _: u32, _: usize) -> Option<usize> {
        Some(stream)
    }

    fn take_handed(&mut self) -> Option<(usize, Entered, u32)> {
        None
    }

    fn read(&mut self, stream: &mut usize, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let peer = &mut self.peers[*stream];
        assert!(into.iter().any(|slice| !slice.is_empty()), "a read of nothing looks like the end");
        peer.call()?;
        let mut count = 0;
        for slice in into {
            let here = slice.len().min(peer.arrived - peer.read);
            slice[..here].copy_from_slice(&peer.sent[peer.read..peer.read + here]);
            peer.read += here;
            count += here;
        }
        if count > 0 {
            return Ok(count);
        }
        if peer.has_ended && peer.arrived == peer.sent.len() {
            peer.end_seen = true;
            return Ok(0);
        }
        Err(ErrorKind::WouldBlock.into())
    }

    fn write(&mut self, stream: &mut usize, from: &[IoSlice<'_>]) -> io::Result<usize> {
        let peer = &mut self.peers[*stream];
        assert!(!peer.is_shut, "something is written behind the end");
        peer.call()?;
        let offered: usize = from.iter().map(|slice| slice.len()).sum();
        assert!(offered > 0, "a write of nothing");
        let taken = offered.min(peer.window);
        peer.window -= taken;
        peer.is_blocked |= taken < offered;
        let mut left = taken;
        for slice in from {
            let here = slice.len().min(left);
            peer.got.extend_from_slice(&slice[..here]);
            left -= here;
        }
        if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    fn shut_write(&mut self, stream: &mut usize) -> io::Result<()> {
        let peer = &mut self.peers[*stream];
        assert!(!peer.is_closed && !peer.is_shut);
        peer.is_shut = true;
        peer.heard_at_shut = Some((peer.read, peer.end_seen));
        if peer.was_reset { Err(ErrorKind::NotConnected.into()) } else { Ok(()) }
    }

    fn close(&mut self, stream: usize) {
        let peer = &mut self.peers[stream];
        assert!(!peer.is_closed, "a stream is closed twice");
        peer.is_closed = true;
    }
}
