//! Heap allocations of a message, counted: once buffers are warm there are none.
//!
//! One turn runs on the test's own thread, over streams in memory that allocate nothing themselves, and the allocator
//! counts what this thread asks for. So every allocation that is seen is the engine's.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use tidegate::base::limits::PAYLOAD_BYTES_DEFAULT;
use tidegate::base::{Address, Time, Token};
use tidegate::metrics::Counter;
use tidegate::service::Router;
use tidegate::session::{Framing, Protocol};
use tidegate::turn::{Accepted, Io, ListenerConfig, Readiness, Turn, TurnConfig, Wait};

const ACK: u16 = 0;
const ECHO: u16 = 1;
const DISCARD: u16 = 2;
const FLIP: u16 = 3;
const NOBODYS: u16 = 100;
const EXT: u16 = 0x8000;
const PING: u16 = 0x4000;

const READABLE: Readiness = Readiness { readable: true, writable: false, read_closed: false, hangup: false };
const WRITABLE: Readiness = Readiness { readable: false, writable: true, read_closed: false, hangup: false };
const ENDED: Readiness = Readiness { readable: true, writable: false, read_closed: true, hangup: false };

/// Both directions of one connection. The buffers are made once, and never grow.
struct Pipe {
    input: Vec<u8>,
    read: usize,
    has_ended: bool,
    output: Vec<u8>,
    /// Bytes of output that are taken before it is full.
    room: usize,
    token: Option<Token>,
}

struct Memory {
    pipes: Vec<Pipe>,
    /// Pipes that wait to be accepted, the last one first.
    queue: Vec<usize>,
    now: Time,
}

impl Io for Memory {
    type Stream = usize;

    fn now(&mut self) -> Time {
        self.now
    }

    fn accept(&mut self, _listener: u32) -> Accepted<usize> {
        match self.queue.pop() {
            Some(pipe) => Accepted::Stream(pipe, SocketAddr::from(([127, 0, 0, 1], 9)).into()),
            None => Accepted::Drained,
        }
    }

    fn refuse(&mut self, _listener: u32, _farewell: &[u8]) -> bool {
        false
    }

    fn close_listener(&mut self, _listener: u32) {}

    fn register(&mut self, stream: &mut usize, token: Token) -> io::Result<()> {
        self.pipes[*stream].token = Some(token);
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

    fn take_handed(&mut self) -> Option<(usize, Address, u32)> {
        None
    }

    fn read(&mut self, stream: &mut usize, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let pipe = &mut self.pipes[*stream];
        let mut count = 0;
        for slice in into {
            let more = slice.len().min(pipe.input.len() - pipe.read);
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
        let mut count = 0;
        for slice in from {
            let more = slice.len().min(pipe.room);
            assert!(pipe.output.capacity() >= pipe.output.len() + more, "the world must not allocate");
            pipe.output.extend_from_slice(&slice[..more]);
            pipe.room -= more;
            count += more;
        }
        if count == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }

    fn shut_write(&mut self, _stream: &mut usize) -> io::Result<()> {
        Ok(())
    }

    fn close(&mut self, stream: usize) {
        self.pipes[stream].token = None;
    }
}

/// A turn with connections, and the bytes that wait for them.
struct Rig {
    turn: Turn<Router, Memory>,
    io: Memory,
}

const PIPE_BYTES: usize = 4 << 20;

impl Rig {
    fn new(protocol: Protocol, route: u16, connections: usize, pipe_bytes: usize) -> Rig {
        let framing = Framing::new(protocol, PAYLOAD_BYTES_DEFAULT, route);
        let config = TurnConfig {
            budget_bytes: 64 << 20,
            ..TurnConfig::alone(2048, vec![ListenerConfig::new(framing)])
        };
        let pipes = (0..connections)
            .map(|_| Pipe {
                input: Vec::with_capacity(pipe_bytes),
                read: 0,
                has_ended: false,
                output: Vec::with_capacity(pipe_bytes),
                room: usize::MAX,
                token: None,
            })
            .collect();
        let io = Memory { pipes, queue: (0..connections).rev().collect(), now: Time(1_000_000) };
        let mut rig = Rig { turn: Turn::new(config, io.now, Router::embedded), io };
        while !rig.io.queue.is_empty() {
            rig.turn_with(Token::listener(0), READABLE);
        }
        assert_eq!(rig.turn.open(), connections);
        rig
    }

    /// One turn with one event, a little later.
    fn turn_with(&mut self, token: Token, ready: Readiness) {
        self.io.now = self.io.now.plus_us(10);
        self.turn.begin(self.io.now);
        self.turn.handle_event(&mut self.io, token, ready);
        self.turn.end(&mut self.io);
    }

    /// Bytes arrive at a connection; turns follow until it has handled them.
    fn arrive(&mut self, pipe: usize, bytes: &[u8]) {
        let connection = &mut self.io.pipes[pipe];
        assert!(
            connection.input.capacity() >= connection.input.len() + bytes.len(),
            "the world must not allocate"
        );
        connection.input.extend_from_slice(bytes);
        let token = connection.token.expect("it is open");
        self.turn_with(token, READABLE);
        self.run_hot();
    }

    fn run_hot(&mut self) {
        for _ in 0..10_000 {
            if self.turn.wait() != Wait::Not {
                return;
            }
            self.io.now = self.io.now.plus_us(10);
            self.turn.begin(self.io.now);
            self.turn.end(&mut self.io);
        }
        panic!("the turn never comes to rest");
    }

    /// Takes what a connection was sent, and gives how many bytes these were.
    fn taken(&mut self, pipe: usize) -> usize {
        let output = &mut self.io.pipes[pipe].output;
        let bytes = output.len();
        output.clear();
        bytes
    }
}

fn frame(header: u16, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("32 bits");
    let mut out = [&header.to_be_bytes()[..], &length.to_be_bytes(), payload].concat();
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

fn payload(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from(at % 251).expect("below 251")).collect()
}

/// An extension block with a correlation.
const CORRELATED: [u8; 12] = [3, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

/// Runs `round` until it is warm, then counts the allocations of `rounds` more.
fn counted(name: &str, rounds: u32, mut round: impl FnMut()) {
    for _ in 0..rounds.min(50) {
        round();
    }
    let info = allocation_counter::measure(|| {
        for _ in 0..rounds {
            round();
        }
    });
    assert_eq!(info.count_total, 0, "{name}: {rounds} rounds allocate, {info:?}");
}

/// The means of counting works, or all the zeros below would mean nothing.
#[test]
fn an_allocation_would_be_seen() {
    let info = allocation_counter::measure(|| {
        std::hint::black_box(vec![std::hint::black_box(0_u8); 100]);
    });
    assert_eq!((info.count_total, info.bytes_total), (1, 100));
}

#[test]
fn requests_and_replies_allocate_nothing() {
    let small = payload(64);
    #[rustfmt::skip]
    let table = [
        ("ack",              ACK,        10 + 9),
        ("echo",             ECHO,       10 + 64),
        ("discard",          DISCARD,    0),
        ("flip",             FLIP,       10 + 64),
        ("no such route",    NOBODYS,    10 + 2 + "nobody serves route 100".len()),
        ("echo, extended",   EXT | ECHO, 10 + 12 + 64),
        ("flip, extended",   EXT | FLIP, 10 + 12 + 64),
        ("no such, extended", EXT | NOBODYS, 10 + 12 + "nobody serves route 100".len()),
        ("ping",             PING,       10 + 64),
    ];
    for (name, header, reply_bytes) in table {
        for depth in [1, 16, 300] {
            let mut rig = Rig::new(Protocol::Frame, 0, 1, PIPE_BYTES);
            let block: &[u8] = if header & EXT == 0 { &[] } else { &CORRELATED };
            let burst = frame(header, &[block, &small].concat()).repeat(depth);
            counted(&format!("{name} at depth {depth}"), 500, || {
                rig.arrive(0, &burst);
                assert_eq!(rig.taken(0), depth * reply_bytes, "{name} at depth {depth}");
            });
        }
    }
}

#[test]
fn lines_allocate_nothing() {
    for (name, route, reply_bytes) in [("ack", ACK, 10), ("echo", ECHO, 65), ("no such route", NOBODYS, 39)] {
        for depth in [1, 16] {
            let mut rig = Rig::new(Protocol::Line, route, 1, PIPE_BYTES);
            let burst = [[b'a'; 64].as_slice(), b"\n"].concat().repeat(depth);
            counted(&format!("lines to {name} at depth {depth}"), 500, || {
                rig.arrive(0, &burst);
                assert_eq!(rig.taken(0), depth * reply_bytes, "lines to {name}");
            });
            counted(&format!("lines to {name} in two pieces"), 200, || {
                rig.arrive(0, &burst[..37]);
                rig.arrive(0, &burst[37..]);
                assert_eq!(rig.taken(0), depth * reply_bytes, "lines to {name}");
            });
        }
    }
}

#[test]
fn split_frames_allocate_nothing() {
    for (name, header, bytes, cut) in [
        ("small frames cut at 37", FLIP, 64, 37),
        ("20 KB frames in pieces of 3001", FLIP, 20_000, 3001),
        ("20 KB frames in pieces of 3001", ECHO, 20_000, 3001),
        ("200 KB frames in pieces of 30001", ECHO, 200_000, 30_001),
        ("1 MiB frames", ECHO, 1 << 20, 2 << 20),
        ("1 MiB frames in pieces of 100001", FLIP, 1 << 20, 100_001),
    ] {
        let mut rig = Rig::new(Protocol::Frame, 0, 1, PIPE_BYTES);
        let stream = frame(header, &payload(bytes));
        counted(name, 20, || {
            for piece in stream.chunks(cut) {
                rig.arrive(0, piece);
            }
            assert_eq!(rig.taken(0), stream.len(), "{name}");
        });
        assert_eq!(rig.turn.leases_out(), 0, "{name}");
    }
}

#[test]
fn a_thousand_connections_in_turn_allocate_nothing() {
    const CONNECTIONS: usize = 1000;
    let mut rig = Rig::new(Protocol::Frame, 0, CONNECTIONS, 4096);
    let burst = frame(FLIP, &payload(64)).repeat(4);
    let (front, rest) = burst.split_at(100);
    counted("a thousand connections", 5, || {
        for pipe in 0..CONNECTIONS {
            rig.arrive(pipe, &burst);
            assert_eq!(rig.taken(pipe), burst.len());
        }
    });
    // All of them hold a partial frame at the same time.
    counted("a thousand connections with half a frame each", 5, || {
        for pipe in 0..CONNECTIONS {
            rig.arrive(pipe, front);
        }
        for pipe in 0..CONNECTIONS {
            rig.arrive(pipe, rest);
            assert_eq!(rig.taken(pipe), burst.len());
        }
    });
}

/// Connections that come, are served, and go.
#[test]
fn connecting_and_leaving_allocate_nothing() {
    let mut rig = Rig::new(Protocol::Frame, 0, 1, 4096);
    let request = frame(ECHO, &payload(64));
    counted("a connection's whole life", 200, || {
        rig.arrive(0, &request);
        assert_eq!(rig.taken(0), request.len());
        rig.io.pipes[0].has_ended = true;
        let token = rig.io.pipes[0].token.expect("it is open");
        rig.turn_with(token, ENDED);
        assert_eq!(rig.turn.open(), 0);
        rig.io.pipes[0].has_ended = false;
        rig.io.queue.push(0);
        rig.turn_with(Token::listener(0), READABLE);
        assert_eq!(rig.turn.open(), 1);
    });
}

/// A reader that takes little at a time: replies queue, reading pauses, and goes on.
#[test]
fn a_slow_reader_allocates_nothing() {
    const DEPTH: usize = 100;
    for (name, bytes) in [("small replies", 64), ("large replies", 20_000)] {
        let mut rig = Rig::new(Protocol::Frame, 0, 1, PIPE_BYTES);
        let metrics = rig.turn.metrics();
        let burst = frame(ECHO, &payload(bytes)).repeat(DEPTH);
        counted(name, 20, || {
            rig.io.pipes[0].room = 1000;
            rig.arrive(0, &burst);
            let mut taken = rig.taken(0);
            while taken < burst.len() {
                rig.io.pipes[0].room = 30_001;
                let token = rig.io.pipes[0].token.expect("it is open");
                rig.turn_with(token, WRITABLE);
                rig.run_hot();
                let more = rig.taken(0);
                assert!(more > 0, "{name}: {taken} bytes came, then no more");
                taken += more;
            }
            assert_eq!(taken, burst.len(), "{name}");
            rig.io.pipes[0].room = usize::MAX;
            let token = rig.io.pipes[0].token.expect("it is open");
            rig.turn_with(token, WRITABLE);
        });
        let paused = metrics.snapshot().counter(Counter::PausedOutput);
        assert_eq!(paused > 0, bytes > 1000, "{name}: paused {paused} times");
        assert_eq!(rig.turn.leases_out(), 0, "{name}");
    }
}

/// Timers are part of it: half a frame arms a deadline. Buffers kept for reuse are given back bit by bit, once a
/// second, and so may be made anew: a few a second, however many messages there are.
#[test]
fn time_that_passes_allocates_only_what_was_trimmed() {
    const CONNECTIONS: usize = 10;
    const SECONDS: u64 = 20;
    let mut rig = Rig::new(Protocol::Frame, 0, CONNECTIONS, 16 << 10);
    let request = frame(ECHO, &payload(5000));
    let mut round = |pause_us: u64| {
        for pipe in 0..CONNECTIONS {
            rig.arrive(pipe, &request[..100]);
        }
        rig.io.now = rig.io.now.plus_us(pause_us);
        for pipe in 0..CONNECTIONS {
            rig.arrive(pipe, &request[100..]);
            assert_eq!(rig.taken(pipe), request.len());
        }
    };
    // Less than a second in all.
    counted("half a frame for some milliseconds", 60, || round(5_000));
    let info = allocation_counter::measure(|| (0..SECONDS * 20).for_each(|_| round(50_000)));
    assert!(info.count_total <= SECONDS * 2 * CONNECTIONS as u64, "{info:?} in {SECONDS} seconds");
}
