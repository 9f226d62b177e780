//! The simulated kernel: what a turn sees of it ([`Io`](crate::turn::Io)), what clients and the network do to it, and the poller.
//!
//! Readiness is edge-triggered, exactly: an event exists because bytes, an end or a reset arrived, or because space
//! appeared after a write was refused or cut. Never because something is left. What a poll does not tell stays
//! pending, and what is pending for a token is one event, unless the weather splits it.
//!
//! Never: a real socket, clock or thread. The same seed and the same calls give the same answers.

use super::socket::{Capacity, Dial, Fate, Fin, Socket};
use super::threads::Threads;
use super::trace::{NOBODY, Trace, What};
use super::weather::{Trouble, Troubles, Weather};
use crate::base::{Rng, Time, Token};
use crate::turn::Readiness;
use core::net::{Ipv4Addr, SocketAddr};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A stream as the server holds it.
#[derive(Debug, PartialEq, Eq)]
pub struct SimStream(pub(super) u32);

/// A connection as its client holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote(pub(super) u32);

/// What a client finds at the end of what it received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// Nothing yet: more may come.
    Open,
    /// The end of the stream.
    End,
    /// A reset: what was on its way is lost.
    Reset,
}

#[derive(Debug, Default)]
pub(super) struct Listener {
    pub(super) queue: VecDeque<u32>,
    pub(super) is_pending: bool,
    pub(super) is_closed: bool,
}

/// A world's kernel and its network.
#[derive(Debug)]
pub struct SimIo {
    pub(super) sockets: Vec<Socket>,
    pub(super) listeners: Vec<Listener>,
    pub(super) weather: Weather,
    pub(super) troubles: Troubles,
    pub(super) trace: Trace,
    pub(super) rng: Rng,
    pub(super) clock: Time,
    /// Events of closed connections that are told all the same.
    pub(super) ghosts: Vec<(Token, Readiness)>,
    pub(super) interrupted: u32,
    pub(super) descriptors_left: Option<u32>,
    pub(super) exhausted_until: Time,
    /// A connection was accepted since the last such period.
    pub(super) may_exhaust: bool,
    stale_told: u64,
    pub(super) work: u64,
    /// Set by whoever wakes the loop, as an eventfd is.
    woken: Arc<AtomicBool>,
    /// The last poll told of it.
    told_wake: bool,
    /// Who else runs.
    pub(super) threads: Option<Threads>,
    /// Where servers can be dialed.
    pub(super) doors: Vec<Door>,
    /// Dialed, and nobody has looked yet.
    pub(super) dialed: Vec<u32>,
    /// Bytes that the pipes of dialed connections hold, at least and at most.
    pub(super) dial_pipes: (u64, u64),
}

/// An address that can be dialed, and what comes of the next attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    /// After how many microseconds it is decided; `None` for never.
    pub(super) decides_us: Option<u64>,
    pub(super) is_refused: bool,
}

impl SimIo {
    /// A kernel with this many listeners and nobody connected, at the moment `start`.
    pub fn new(seed: u64, weather: Weather, listeners: usize, start: Time) -> SimIo {
        SimIo {
            sockets: Vec::new(),
            listeners: (0..listeners).map(|_| Listener::default()).collect(),
            weather,
            troubles: Troubles::none(),
            trace: Trace::new(0),
            rng: Rng::new(seed),
            clock: start,
            ghosts: Vec::new(),
            interrupted: 0,
            descriptors_left: None,
            exhausted_until: Time::ZERO,
            may_exhaust: true,
            stale_told: 0,
            work: 0,
            woken: Arc::new(AtomicBool::new(false)),
            told_wake: false,
            threads: None,
            doors: Vec::new(),
            dialed: Vec::new(),
            dial_pipes: (60_000, 600_000),
        }
    }

    /// What makes the poller return, to be called by whoever leaves a letter for the loop: the argument of
    /// [`Mailbox::new`](crate::mailbox::Mailbox::new).
    pub fn waker(&self) -> impl Fn() + Send + Sync + 'static {
        let woken = Arc::clone(&self.woken);
        move || woken.store(true, Ordering::SeqCst)
    }

    /// Whether the last poll told that somebody had woken the loop.
    pub fn was_woken(&self) -> bool {
        self.told_wake
    }

    /// From now on somebody listens there: a connection that the server dials to it is decided so many microseconds
    /// later. Nobody listens anywhere else.
    pub fn listen_at(&mut self, address: SocketAddr, decides_us: u64) {
        self.doors.push(Door { address, decides_us: Some(decides_us), is_refused: false });
    }

    /// The next connection that the server has dialed, with the place of its address among all that were
    /// [listened at](SimIo::listen_at).
    pub fn take_dialed(&mut self) -> Option<(usize, Remote)> {
        let id = self.dialed.pop()?;
        let backend = self.sockets[id as usize].dial.map_or(0, |dial| dial.backend);
        Some((backend, Remote(id)))
    }

    /// The server dials. `None`: nobody listens there.
    pub(super) fn dial(&mut self, to: SocketAddr) -> Option<SimStream> {
        let backend = self.doors.iter().position(|door| door.address == to)?;
        let door = self.doors[backend];
        let (least, most) = self.dial_pipes;
        let mut draw = || usize::try_from(self.rng.between(least, most)).unwrap_or(1);
        let mut socket = Socket::new(Capacity { up: draw(), down: draw() });
        socket.fate = Fate::Dialed;
        let decided_at = door.decides_us.map(|us| self.clock.plus_us(us));
        let is_refused = door.is_refused;
        socket.dial = Some(Dial { backend, decided_at, is_refused, is_told: false, is_known: false });
        let id = index_of(self.sockets.len());
        self.sockets.push(socket);
        self.dialed.push(id);
        self.note(id, What::Dialed, backend as u64);
        Some(SimStream(id))
    }

    /// Whether a peer's connection is there, or has been.
    pub(super) fn is_connected(&self, remote: Remote) -> bool {
        self.sockets[remote.0 as usize].is_connected(self.clock)
    }

    /// Other threads may run at any moment, also in the middle of a turn.
    pub(super) fn preempt(&mut self) {
        let Some(threads) = &self.threads else { return };
        if threads.next_at().is_none_or(|at| at > self.clock) || !self.rng.chance(self.weather.preempt) {
            return;
        }
        let threads = threads.clone();
        if threads.run_due(self.clock) > 0 {
            self.troubles.note(Trouble::Preempted);
        }
    }

    /// Sets how many connections the server can still open, `None` for no limit; a close gives one back.
    pub fn set_descriptors_left(&mut self, left: Option<u32>) {
        self.descriptors_left = left;
    }

    /// Lets time pass.
    pub fn advance_us(&mut self, us: u64) {
        self.clock = self.clock.plus_us(us);
    }

    /// The moment, without the passing of time that looking at a clock may cost.
    pub fn clock(&self) -> Time {
        self.clock
    }

    /// Events told for connections that were closed already.
    pub fn stale_told(&self) -> u64 {
        self.stale_told
    }

    /// Counts everything that the server got done: bytes moved, connections taken and closed.
    pub fn work(&self) -> u64 {
        self.work
    }

    /// A client connects.
    pub fn connect(&mut self, listener: u32, capacity: Capacity) -> Remote {
        let id = u32::try_from(self.sockets.len()).unwrap_or(NOBODY);
        let mut socket = Socket::new(capacity);
        let state = &mut self.listeners[listener as usize];
        if state.is_closed {
            socket.fate = Fate::Refused;
            socket.refuse();
        } else {
            state.queue.push_back(id);
            state.is_pending = true;
        }
        self.sockets.push(socket);
        self.note(id, What::Connected, u64::from(listener));
        Remote(id)
    }

    /// A client sends. Gives how much its kernel takes.
    pub fn send(&mut self, remote: Remote, bytes: &[u8]) -> usize {
        let clock = self.clock;
        let socket = &mut self.sockets[remote.0 as usize];
        if socket.is_refused || socket.reset_sent || socket.fin != Fin::None || !socket.is_connected(clock) {
            return 0;
        }
        let count = bytes.len().min(socket.up_space());
        socket.in_flight.extend(&bytes[..count]);
        self.note(remote.0, What::Sent, count as u64);
        count
    }

    /// A client receives at most `most` bytes.
    pub fn receive(&mut self, remote: Remote, most: usize) -> Vec<u8> {
        let bytes = self.sockets[remote.0 as usize].take_buffered(most);
        if !bytes.is_empty() {
            self.note(remote.0, What::Received, bytes.len() as u64);
        }
        bytes
    }

    /// What stands at the end of what a client can receive now.
    pub fn stream_end(&self, remote: Remote) -> StreamEnd {
        let socket = &self.sockets[remote.0 as usize];
        if socket.is_refused || socket.reset_sent {
            StreamEnd::Reset
        } else if socket.buffered.is_empty() && (socket.is_shut || socket.is_closed) {
            StreamEnd::End
        } else {
            StreamEnd::Open
        }
    }

    /// A client ends its sending side; it may read on.
    pub fn shut(&mut self, remote: Remote) {
        let socket = &mut self.sockets[remote.0 as usize];
        if socket.fin == Fin::None {
            socket.fin = Fin::Sent;
            self.note(remote.0, What::PeerShut, 0);
        }
    }

    /// A client resets its connection.
    pub fn reset(&mut self, remote: Remote) {
        let socket = &mut self.sockets[remote.0 as usize];
        socket.client_closed = true;
        if !socket.reset_sent && !socket.is_refused {
            socket.reset_sent = true;
            self.note(remote.0, What::PeerReset, 0);
        }
    }

    /// A client closes. With replies that it has not received, that is a reset, as in any kernel.
    pub fn hang_up(&mut self, remote: Remote) {
        let socket = &mut self.sockets[remote.0 as usize];
        if socket.client_closed {
            return;
        }
        if !socket.buffered.is_empty() {
            self.troubles.note(Trouble::EarlyClose);
            return self.reset(remote);
        }
        socket.client_closed = true;
        self.note(remote.0, What::PeerClosed, 0);
        self.shut(remote);
    }

    /// Whether a client has ended its sending side.
    pub(super) fn has_shut(&self, remote: Remote) -> bool {
        self.sockets[remote.0 as usize].fin != Fin::None
    }

    /// Whether a client waits to be accepted while there is no descriptor for it.
    pub(super) fn is_starved_of_descriptors(&self, remote: Remote) -> bool {
        self.descriptors_left == Some(0) && self.sockets[remote.0 as usize].fate == Fate::Queued
    }

    /// Everything that is on its way arrives now.
    pub fn deliver_all(&mut self) {
        for id in 0..self.sockets.len() {
            self.deliver(id, usize::MAX);
        }
    }

    /// Some of what is on its way arrives, as the weather has it.
    pub fn blow(&mut self) {
        for id in 0..self.sockets.len() {
            let socket = &self.sockets[id];
            if socket.up_stalled_until > self.clock || !has_cargo(socket) {
                continue;
            }
            let mut most = usize::MAX;
            if self.rng.chance(self.weather.split) && socket.in_flight.len() > 1 {
                let whole = socket.in_flight.len() as u64;
                let reach = if self.rng.chance(300) { whole.min(16) } else { whole };
                most = usize::try_from(self.rng.between(1, reach)).unwrap_or(1);
                self.troubles.note(Trouble::SplitArrival);
            }
            self.deliver(id, most);
            if self.rng.chance(self.weather.stall) {
                let us = self.rng.below(self.weather.stall_ms_max * 1000);
                self.sockets[id].up_stalled_until = self.clock.plus_us(us);
                self.troubles.note(Trouble::Stall);
            }
        }
        for id in 0..self.sockets.len() {
            if self.sockets[id].decided_at().is_some_and(|at| at <= self.clock) {
                self.sockets[id].decide();
                self.note_index(id, What::DialDecided, 0);
            }
        }
        for id in 0..self.sockets.len() {
            // A kernel tells of space when a third is free; some weather tells of less.
            let third = self.sockets[id].capacity.down / 3;
            let least = if self.rng.chance(300) { 1 } else { third };
            if self.sockets[id].wants_space && self.sockets[id].offer_space(least) {
                self.note_index(id, What::SpaceAppeared, 0);
            }
        }
        if self.rng.chance(self.weather.spurious) {
            self.spurious();
        }
    }

    fn deliver(&mut self, id: usize, most: usize) {
        let purges = self.sockets[id].reset_sent && self.rng.chance(500);
        let clock = self.clock;
        let socket = &mut self.sockets[id];
        if socket.is_refused || socket.fate == Fate::Aborted {
            return;
        }
        if socket.is_closed {
            // Nobody is there any more: what arrives is answered by a reset.
            if !socket.in_flight.is_empty() {
                socket.refuse();
                self.troubles.note(Trouble::Destroyed);
            } else if socket.fin == Fin::Sent {
                socket.fin = Fin::Arrived;
            }
            return;
        }
        if socket.reset_sent {
            if !socket.is_reset {
                socket.arrive_reset(purges);
                self.trace.note(clock, index_of(id), What::PeerReset, 1);
            }
            return;
        }
        let before = socket.in_flight.len();
        socket.arrive(most, clock);
        let came = before - socket.in_flight.len();
        if came > 0 {
            self.trace.note(clock, index_of(id), What::Arrived, came as u64);
        }
        if socket.in_flight.is_empty() && socket.fin == Fin::Sent {
            socket.arrive_fin();
            self.trace.note(clock, index_of(id), What::FinArrived, 0);
        }
    }

    fn spurious(&mut self) {
        let open: Vec<usize> =
            (0..self.sockets.len()).filter(|id| self.sockets[*id].is_registered()).collect();
        if open.is_empty() {
            return;
        }
        let id = open[pick(&mut self.rng, open.len())];
        let is_readable = self.rng.chance(500);
        let clock = self.clock;
        let socket = &mut self.sockets[id];
        if is_readable && socket.is_connected(clock) {
            socket.pending.readable = true;
        } else if !socket.wants_space {
            socket.pending.writable = true;
        }
        self.troubles.note(Trouble::Spurious);
    }

    /// What the poller tells now: all that is pending, or what the weather lets through, in any order.
    pub fn poll(&mut self) -> Vec<(Token, Readiness)> {
        let mut events = Vec::new();
        self.told_wake = self.woken.load(Ordering::SeqCst) && !self.is_late();
        if self.told_wake {
            self.woken.store(false, Ordering::SeqCst);
            self.note(NOBODY, What::Woken, 0);
        }
        for index in 0..self.listeners.len() {
            if self.listeners[index].is_pending && !self.is_late() {
                self.listeners[index].is_pending = false;
                let ready = Readiness { readable: true, ..Readiness::default() };
                events.push((Token::listener(index_of(index)), ready));
            }
        }
        for id in 0..self.sockets.len() {
            let socket = &self.sockets[id];
            let Some(token) = socket.token.filter(|_| socket.has_event()) else { continue };
            if self.is_late() {
                continue;
            }
            let ready = std::mem::take(&mut self.sockets[id].pending);
            self.push_event(&mut events, token, ready);
        }
        for (token, ready) in std::mem::take(&mut self.ghosts) {
            if self.rng.chance(300) {
                events.push((token, ready));
            } else {
                self.ghosts.push((token, ready));
            }
        }
        for place in (1..events.len()).rev() {
            let other = pick(&mut self.rng, place + 1);
            events.swap(place, other);
        }
        events
    }

    fn is_late(&mut self) -> bool {
        let is_late = self.rng.chance(self.weather.late);
        if is_late {
            self.troubles.note(Trouble::LateEvent);
        }
        is_late
    }

    fn push_event(&mut self, events: &mut Vec<(Token, Readiness)>, token: Token, ready: Readiness) {
        if ready.readable && ready.writable && !ready.hangup && self.rng.chance(self.weather.split_event) {
            self.troubles.note(Trouble::SplitEvent);
            events.push((token, Readiness { writable: false, ..ready }));
            events.push((token, Readiness { writable: true, ..Readiness::default() }));
        } else {
            events.push((token, ready));
        }
    }

    /// An event is about to be told. Whether it is stale.
    pub(super) fn note_told(&mut self, token: Token) -> bool {
        if token.generation == 0 {
            self.note(NOBODY, What::Event, u64::from(token.slot));
            return false;
        }
        let owner = self.sockets.iter().position(|socket| socket.token == Some(token));
        let id = owner.map_or(NOBODY, index_of);
        let is_stale = owner.is_none_or(|id| self.sockets[id].is_closed);
        if is_stale {
            self.stale_told += 1;
            self.troubles.note(Trouble::StaleEvent);
            let is_reused = self.sockets.iter().any(|socket| {
                !socket.is_closed && socket.token.is_some_and(|other| other.slot == token.slot)
            });
            if is_reused {
                self.troubles.note(Trouble::ReusedSlot);
            }
        }
        self.note(id, if is_stale { What::StaleEvent } else { What::Event }, u64::from(token.slot));
        is_stale
    }

    /// Whether a poll could tell something, now or after more polls.
    pub fn has_events(&self) -> bool {
        self.woken.load(Ordering::SeqCst)
            || !self.ghosts.is_empty()
            || self.listeners.iter().any(|listener| listener.is_pending)
            || self.sockets.iter().any(|socket| socket.token.is_some() && socket.has_event())
    }

    /// When the network next moves something, if it does.
    pub(super) fn next_arrival(&self) -> Option<Time> {
        let on_its_way = self.sockets.iter().filter(|socket| has_cargo(socket));
        let arrivals = on_its_way.map(|socket| socket.up_stalled_until.max(self.clock));
        let space = self.sockets.iter().filter(|socket| {
            socket.wants_space && !socket.is_closed && socket.down_space() >= socket.capacity.down.div_ceil(3)
        });
        let dials = self.sockets.iter().filter_map(Socket::decided_at);
        arrivals.chain(space.map(|_| self.clock)).chain(dials.map(|at| at.max(self.clock))).min()
    }

    /// Notes what had arrived when the drain began.
    pub(super) fn note_drain(&mut self) {
        for socket in &mut self.sockets {
            if socket.is_registered() {
                socket.figures.drain_bytes = Some(socket.figures.arrived_bytes);
            }
        }
    }

    pub(super) fn note(&mut self, who: u32, what: What, count: u64) {
        self.trace.note(self.clock, who, what, count);
    }

    fn note_index(&mut self, id: usize, what: What, count: u64) {
        self.note(index_of(id), what, count);
    }
}

impl Socket {
    fn is_registered(&self) -> bool {
        self.token.is_some() && !self.is_closed
    }

    pub(super) fn has_event(&self) -> bool {
        !self.is_closed && self.pending != Readiness::default()
    }
}

fn has_cargo(socket: &Socket) -> bool {
    let is_deaf = socket.is_refused || socket.fate == Fate::Aborted;
    let has_reset = socket.reset_sent && !socket.is_reset && !socket.is_closed;
    !is_deaf && (has_reset || !socket.in_flight.is_empty() || socket.fin == Fin::Sent) && !socket.is_reset
}

pub(super) fn index_of(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NOBODY)
}

pub(super) fn pick(rng: &mut Rng, below: usize) -> usize {
    usize::try_from(rng.below(below as u64)).unwrap_or(0)
}

/// The port that a client's connection comes from, which tells it from all others.
pub(super) fn address_of(id: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), u16::try_from(id + 1).unwrap_or(u16::MAX)))
}
