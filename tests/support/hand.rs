//! A loop driven by hand, over connections in memory: every byte, edge and microsecond is the test's own.
//!
//! Always holds: readiness is edge-triggered exactly, told once when bytes arrive, or when space appears behind a write
//! that met none; nothing is written behind the end of our side, and a closed stream is not used. Buffers are made
//! once and never grow, so that who counts allocations counts the engine's. Never: a socket, a thread, a clock.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tidegate::base::{Address, CloseReason, Time, Token};
use tidegate::metrics::{Gauge, Snapshot};
use tidegate::service::Service;
use tidegate::turn::{Accepted, Entered, Io, Readiness, SecurePeer, Turn, TurnConfig, Wait};

/// Whom connections come from.
pub const PEER: SocketAddr = SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 9));

/// The only clock: a handler that holds it can take time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    pub fn new() -> Clock {
        Clock(Arc::new(AtomicU64::new(1_000_000)))
    }

    pub fn now(&self) -> Time {
        Time(self.0.load(Relaxed))
    }

    pub fn advance_us(&self, us: u64) {
        self.0.fetch_add(us, Relaxed);
    }
}

/// Both directions of one connection.
#[derive(Debug)]
pub struct Pipe {
    /// What was sent to the server and not read yet begins at `read`.
    input: Vec<u8>,
    read: usize,
    has_ended: bool,
    was_reset: bool,
    /// What the server wrote and nobody has taken.
    pub output: Vec<u8>,
    /// Bytes that the server may still write before it meets a full socket.
    pub room: usize,
    is_blocked: bool,
    is_shut: bool,
    pub is_closed: bool,
    /// Writes that took something.
    pub writes: u32,
    pub token: Option<Token>,
    /// The name in the client certificate that it has shown.
    certificate: Option<Arc<str>>,
    ready: Readiness,
    has_event: bool,
}

/// The world.
#[derive(Debug)]
pub struct Hand {
    pub pipes: Vec<Pipe>,
    /// Pipes that wait to be accepted, the last one first.
    queue: Vec<usize>,
    /// Pipes that the server reaches when it dials, the last one first.
    dialable: Vec<usize>,
    /// Pipes with an event to tell.
    told: Vec<usize>,
    listener_event: bool,
    pub clock: Clock,
    /// Bytes that one read gives at most.
    pub read_max: usize,
}

impl Hand {
    fn tell(&mut self, pipe: usize, ready: Readiness) {
        let it = &mut self.pipes[pipe];
        it.ready.readable |= ready.readable;
        it.ready.writable |= ready.writable;
        it.ready.read_closed |= ready.read_closed;
        it.ready.hangup |= ready.hangup;
        if !std::mem::replace(&mut it.has_event, true) {
            self.told.push(pipe);
        }
    }
}

impl Io for Hand {
    type Stream = usize;

    fn now(&mut self) -> Time {
        self.clock.now()
    }

    fn accept(&mut self, _listener: u32) -> Accepted<usize> {
        match self.queue.pop() {
            Some(pipe) => {
                let certificate = self.pipes[pipe].certificate.clone();
                let secure = certificate.is_some().then_some(SecurePeer { certificate, holds_input: false });
                Accepted::Stream(pipe, Entered { secure, ..PEER.into() })
            }
            None => Accepted::Drained,
        }
    }

    fn refuse(&mut self, _listener: u32, _farewell: &[u8]) -> bool {
        false
    }

    fn close_listener(&mut self, _listener: u32) {}

    fn register(&mut self, stream: &mut usize, token: Token) -> io::Result<()> {
        let pipe = &mut self.pipes[*stream];
        pipe.token = Some(token);
        let readable = pipe.read < pipe.input.len() || pipe.has_ended;
        self.tell(*stream, Readiness { readable, writable: true, ..Readiness::default() });
        Ok(())
    }

    fn connect(&mut self, _to: SocketAddr) -> io::Result<usize> {
        self.dialable.pop().ok_or_else(|| ErrorKind::ConnectionRefused.into())
    }

    fn finish_connect(&mut self, _stream: &mut usize) -> io::Result<bool> {
        Ok(true)
    }

    fn hand_off(&mut self, stream: usize, _: Address, _: u32, _: usize) -> Option<usize> {
        Some(stream)
    }

    fn take_handed(&mut self) -> Option<(usize, Entered, u32)> {
        None
    }

    fn read(&mut self, stream: &mut usize, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let pipe = &mut self.pipes[*stream];
        assert!(!pipe.is_closed, "a closed stream is used");
        if pipe.was_reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        assert!(into.iter().any(|slice| !slice.is_empty()), "a read of nothing looks like the end");
        let mut count = 0;
        for slice in into {
            let more = slice.len().min(pipe.input.len() - pipe.read).min(self.read_max - count);
            slice[..more].copy_from_slice(&pipe.input[pipe.read..pipe.read + more]);
            pipe.read += more;
            count += more;
        }
        if pipe.read == pipe.input.len() {
            pipe.input.clear();
            pipe.read = 0;
        }
        if count == 0 && !pipe.has_ended { Err(ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }

    fn write(&mut self, stream: &mut usize, from: &[IoSlice<'_>]) -> io::Result<usize> {
        let pipe = &mut self.pipes[*stream];
        assert!(!pipe.is_closed && !pipe.is_shut, "something is written behind the end");
        if pipe.was_reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let mut count = 0;
        for slice in from {
            let more = slice.len().min(pipe.room);
            assert!(pipe.output.capacity() >= pipe.output.len() + more, "the world must not allocate");
            pipe.output.extend_from_slice(&slice[..more]);
            pipe.room -= more;
            count += more;
            pipe.is_blocked |= more < slice.len();
        }
        pipe.writes += u32::from(count > 0);
        if count == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }

    fn shut_write(&mut self, stream: &mut usize) -> io::Result<()> {
        self.pipes[*stream].is_shut = true;
        Ok(())
    }

    fn close(&mut self, stream: usize) {
        let pipe = &mut self.pipes[stream];
        assert!(!pipe.is_closed, "a stream is closed twice");
        (pipe.is_closed, pipe.token) = (true, None);
    }
}

/// A turn and its world.
pub struct Rig<S: Service> {
    pub turn: Turn<S, Hand>,
    pub io: Hand,
    pipe_bytes: usize,
}

impl<S: Service + 'static> Rig<S> {
    /// Nobody is there. A pipe holds at most `pipe_bytes` in each direction.
    pub fn new(config: TurnConfig, pipe_bytes: usize, make: impl FnMut() -> S + Send + 'static) -> Rig<S> {
        Rig::at(Clock::new(), config, pipe_bytes, make)
    }

    /// With a clock that others hold too.
    pub fn at(
        clock: Clock,
        config: TurnConfig,
        pipe_bytes: usize,
        make: impl FnMut() -> S + Send + 'static,
    ) -> Rig<S> {
        let io = Hand {
            pipes: Vec::new(),
            queue: Vec::new(),
            dialable: Vec::new(),
            told: Vec::new(),
            listener_event: false,
            clock,
            read_max: usize::MAX,
        };
        Rig { turn: Turn::new(config, io.clock.now(), make), io, pipe_bytes }
    }

    fn pipe(&mut self, room: usize) -> usize {
        self.io.pipes.push(Pipe {
            input: Vec::with_capacity(self.pipe_bytes),
            read: 0,
            has_ended: false,
            was_reset: false,
            output: Vec::with_capacity(self.pipe_bytes),
            room,
            is_blocked: false,
            is_shut: false,
            is_closed: false,
            writes: 0,
            token: None,
            certificate: None,
            ready: Readiness::default(),
            has_event: false,
        });
        self.io.told.reserve(self.io.pipes.len());
        self.io.pipes.len() - 1
    }

    /// A client whose socket takes `room` bytes at first; it is accepted.
    pub fn connect(&mut self, room: usize) -> usize {
        let pipe = self.pipe(room);
        self.again(pipe);
        pipe
    }

    /// A client that has shown a certificate with this name.
    pub fn connect_certified(&mut self, name: &str) -> usize {
        let pipe = self.pipe(usize::MAX);
        self.io.pipes[pipe].certificate = Some(name.into());
        self.again(pipe);
        pipe
    }

    /// A pipe that was closed, or never used, connects.
    pub fn again(&mut self, pipe: usize) {
        let it = &mut self.io.pipes[pipe];
        (it.has_ended, it.is_blocked, it.is_shut, it.is_closed) = (false, false, false, false);
        self.io.queue.push(pipe);
        self.io.listener_event = true;
        self.settle();
        assert!(self.io.pipes[pipe].token.is_some(), "it was accepted");
    }

    /// A server that will be reached by the next dial.
    pub fn listen(&mut self, room: usize) -> usize {
        let pipe = self.pipe(room);
        self.io.dialable.push(pipe);
        pipe
    }

    /// Bytes arrive; no turn yet.
    pub fn arrive(&mut self, pipe: usize, bytes: &[u8]) {
        let it = &mut self.io.pipes[pipe];
        assert!(it.input.capacity() >= it.input.len() + bytes.len(), "the world must not allocate");
        it.input.extend_from_slice(bytes);
        self.io.tell(pipe, Readiness { readable: true, ..Readiness::default() });
    }

    /// Bytes arrive, and the turns that they bring.
    pub fn send(&mut self, pipe: usize, bytes: &[u8]) {
        self.arrive(pipe, bytes);
        self.settle();
    }

    /// The client sends no more.
    pub fn end(&mut self, pipe: usize) {
        self.io.pipes[pipe].has_ended = true;
        self.io.tell(pipe, Readiness { readable: true, read_closed: true, ..Readiness::default() });
        self.settle();
    }

    /// The client is gone, and with it what was on its way.
    pub fn reset(&mut self, pipe: usize) {
        self.io.pipes[pipe].was_reset = true;
        let all = Readiness { readable: true, writable: true, read_closed: true, hangup: true };
        self.io.tell(pipe, all);
        self.settle();
    }

    /// The same, but nothing tells the loop: it finds out when it writes.
    pub fn reset_silently(&mut self, pipe: usize) {
        self.io.pipes[pipe].was_reset = true;
    }

    /// The socket takes so much more.
    pub fn make_room(&mut self, pipe: usize, bytes: usize) {
        let it = &mut self.io.pipes[pipe];
        it.room = it.room.saturating_add(bytes);
        if std::mem::take(&mut it.is_blocked) {
            self.io.tell(pipe, Readiness { writable: true, ..Readiness::default() });
        }
    }

    /// What the server has sent, taken out.
    pub fn take(&mut self, pipe: usize) -> Vec<u8> {
        let taken = self.io.pipes[pipe].output.clone();
        self.io.pipes[pipe].output.clear();
        taken
    }

    /// How many bytes the server has sent; they are taken out.
    pub fn taken(&mut self, pipe: usize) -> usize {
        let output = &mut self.io.pipes[pipe].output;
        let bytes = output.len();
        output.clear();
        bytes
    }

    /// One turn with all events that there are.
    pub fn one_turn(&mut self) {
        self.begin_turn();
        self.turn.end(&mut self.io);
    }

    /// The first half of a turn: all events, and nothing that was left unfinished.
    pub fn begin_turn(&mut self) {
        self.turn.begin(self.io.clock.now());
        if std::mem::take(&mut self.io.listener_event) {
            let ready = Readiness { readable: true, ..Readiness::default() };
            self.turn.handle_event(&mut self.io, Token::listener(0), ready);
        }
        for _ in 0..self.io.told.len() {
            let pipe = self.io.told.remove(0);
            let it = &mut self.io.pipes[pipe];
            it.has_event = false;
            let ready = std::mem::take(&mut it.ready);
            if let Some(token) = it.token {
                self.turn.handle_event(&mut self.io, token, ready);
            }
        }
    }

    /// Whether a turn has something to do at this moment.
    fn is_due(&self) -> bool {
        let is_due = match self.turn.wait() {
            Wait::Not => true,
            Wait::Until(due) => due.reached(self.io.clock.now().ms()),
            Wait::Forever => false,
        };
        is_due || self.io.listener_event || !self.io.told.is_empty()
    }

    /// Turns until there is nothing to do now. Fails if that never is.
    pub fn settle(&mut self) {
        self.one_turn();
        for _ in 0..100_000 {
            if !self.is_due() {
                return;
            }
            self.one_turn();
        }
        panic!("the loop spins");
    }

    /// Time passes, in leaps of at most `step_ms`.
    pub fn pass(&mut self, ms: u64, step_ms: u64) {
        let mut left = ms;
        while left > 0 {
            let step = left.min(step_ms);
            self.io.clock.advance_us(step * 1000);
            self.settle();
            left -= step;
        }
    }

    /// Figures, which must balance.
    pub fn figures(&self) -> Snapshot {
        let figures = self.turn.metrics().snapshot();
        assert!(figures.balances(), "{figures:?}");
        figures
    }

    /// Bytes that are leased out.
    pub fn leased(&self) -> u64 {
        let figures = self.figures();
        [Gauge::InputBytes, Gauge::OutputBytes, Gauge::ReserveBytes]
            .iter()
            .map(|gauge| figures.gauge(*gauge))
            .sum()
    }

    /// How many connections ended so.
    pub fn closes(&self, why: CloseReason) -> u64 {
        self.figures().closes(why)
    }

    /// Nobody holds a buffer, nothing is in flight, and so many connections are open.
    #[track_caller]
    pub fn assert_rest(&self, open: usize) {
        let figures = self.figures();
        assert_eq!((self.turn.open(), self.turn.leases_out()), (open, 0), "{figures:?}");
        assert_eq!(figures.connections_by_state(), open as u64, "{figures:?}");
        // Who keeps a right to answer a connection that is over keeps it from nobody.
        let may_be =
            |gauge: &Gauge| [Gauge::Open, Gauge::Laters].contains(gauge) || Gauge::STATES.contains(gauge);
        for gauge in Gauge::ALL.iter().filter(|gauge| !may_be(gauge)) {
            assert_eq!(figures.gauge(*gauge), 0, "{}", gauge.name());
        }
    }
}
