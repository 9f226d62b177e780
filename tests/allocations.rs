//! Heap allocations of a message, counted: once buffers are warm there are none.
//!
//! One turn runs on the test's own thread, over streams in memory that allocate nothing themselves, and the allocator
//! counts what this thread asks for. So every allocation that is seen is the engine's.

#[path = "allocations/deferred.rs"]
mod deferred;
mod support;

use support::client::{ACK, DISCARD, ECHO, EXT, FLIP, PING, PONG, frame};
use support::extended::{Block, bare_hello};
use support::hand::Rig;
use tidegate::CloseReason;
use tidegate::base::limits::PAYLOAD_BYTES_DEFAULT;
use tidegate::metrics::Counter;
use tidegate::server::Sampling;
use tidegate::service::Router;
use tidegate::session::{Framing, Protocol};
use tidegate::trace::Spans;
use tidegate::turn::{ListenerConfig, Tracing, TurnConfig};

const NOBODYS: u16 = 100;
const PIPE_BYTES: usize = 4 << 20;

fn config(protocol: Protocol, line_route: u16) -> TurnConfig {
    let framing = Framing::new(protocol, PAYLOAD_BYTES_DEFAULT, line_route);
    TurnConfig { budget_bytes: 64 << 20, ..TurnConfig::alone(2048, vec![ListenerConfig::new(framing)]) }
}

/// A loop with the embedded routes and so many connections.
fn router(protocol: Protocol, line_route: u16, connections: usize, pipe_bytes: usize) -> Rig<Router> {
    let mut rig = Rig::new(config(protocol, line_route), pipe_bytes, Router::embedded);
    (0..connections).for_each(|pipe| assert_eq!(rig.connect(usize::MAX), pipe));
    rig
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

/// Peers that are told to go: what is said to them, and what is remembered of them, costs nothing either.
#[test]
fn ends_for_a_fault_allocate_nothing() {
    let mut rig = router(Protocol::Frame, 0, 1, PIPE_BYTES);
    // All ones: a length over the limit.
    counted("an end for a fault", 1_000, || {
        rig.send(0, &[0xFF; 64]);
        rig.end(0);
        rig.taken(0);
        rig.again(0);
    });
    assert_eq!(rig.figures().closes(CloseReason::TooLarge), 1_050);
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
        ("discard, extended", EXT | DISCARD, 10 + 12),
        ("no such, extended", EXT | NOBODYS, 10 + 12 + "nobody serves route 100".len()),
        ("ping",             PING,       10 + 64),
        ("pong, unasked",    PONG,       0),
    ];
    for (name, header, reply_bytes) in table {
        for depth in [1, 16, 300] {
            let mut rig = router(Protocol::Frame, 0, 1, PIPE_BYTES);
            let block: &[u8] = if header & EXT == 0 { &[] } else { &CORRELATED };
            let burst = frame(header, &[block, &small].concat()).repeat(depth);
            counted(&format!("{name} at depth {depth}"), 500, || {
                rig.send(0, &burst);
                assert_eq!(rig.taken(0), depth * reply_bytes, "{name} at depth {depth}");
            });
        }
    }
}

/// Blocks of every kind, and requests that are refused for theirs.
#[test]
fn extension_blocks_allocate_nothing() {
    let full = Block {
        correlation: Some(7),
        deadline_ms: Some(1_000),
        trace: Some([7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 1, 0, 0, 0]),
        tags: b"\x03\x05where",
        ..Block::default()
    };
    let unsupported = "this version does not know the extension flags 0x10";
    let critical = "this version does not know the critical tag 200";
    let expired = "the deadline of 0 ms passed before it was started";
    #[rustfmt::skip]
    let table: &[(&str, Vec<u8>, usize)] = &[
        ("empty",       Block::default().frame(ECHO, &[7; 64]),                                       10 + 4 + 64),
        ("full",        full.frame(FLIP, &[7; 64]),                                                   10 + 12 + 64),
        ("one-way",     Block { one_way: true, ..full }.frame(FLIP, &[7; 64]),                        0),
        ("unsupported", frame(EXT | ECHO, &[1, 0x10, 0, 0, 7]),                                       10 + 4 + unsupported.len()),
        ("critical",    Block { tags: b"\xC8\x01x", ..full }.frame(ECHO, b"x"),                       10 + 12 + critical.len()),
        ("expired",     Block { deadline_ms: Some(0), ..full }.frame(ECHO, b"x"),                     10 + 12 + expired.len()),
    ];
    for (name, request, reply_bytes) in table {
        for depth in [1, 16] {
            let mut rig = router(Protocol::Frame, 0, 1, PIPE_BYTES);
            let burst = request.repeat(depth);
            counted(&format!("{name} at depth {depth}"), 200, || {
                rig.send(0, &burst);
                assert_eq!(rig.taken(0), depth * reply_bytes, "{name} at depth {depth}");
            });
        }
    }
}

/// Requests that are recorded as spans, because of what they bring or by chance, while somebody takes them or nobody does.
#[test]
fn recording_allocates_nothing() {
    let mut context = [7; 28];
    context[24..].copy_from_slice(&[1, 0, 0, 0]);
    let traced = Block { correlation: Some(7), trace: Some(context), ..Block::default() };
    #[rustfmt::skip]
    let table = [
        ("brought",          traced.frame(FLIP, &[7; 64]),    0),
        ("refused",          traced.frame(NOBODYS, &[7; 64]), 0),
        ("by chance",        frame(FLIP, &[7; 64]),           1_000_000),
        ("by less of it",    frame(FLIP, &[7; 64]),           100_000),
        ("brought for none", traced.frame(FLIP, &[7; 64]),    1),
    ];
    for (name, request, per_million) in table {
        for is_taken in [true, false] {
            let spans = std::sync::Arc::<Spans>::default();
            let sampling = Sampling { per_million, spans_per_second: 10_000 };
            let tracing = Some(Tracing { spans: spans.clone(), sampling });
            let config = TurnConfig { tracing, ..config(Protocol::Frame, 0) };
            let mut rig = Rig::new(config, PIPE_BYTES, Router::embedded);
            rig.connect(usize::MAX);
            let burst = request.repeat(16);
            counted(&format!("recorded: {name}, taken: {is_taken}"), 300, || {
                rig.io.clock.advance_us(10_000);
                rig.send(0, &burst);
                assert!(rig.taken(0) > 0);
                while is_taken && spans.pop().is_some() {}
            });
            let figures = rig.figures();
            assert!(figures.counter(Counter::Spans) > 300, "{name}: {}", figures.counter(Counter::Spans));
            assert_eq!(
                figures.counter(Counter::SpansOverRing) > 0,
                !is_taken && per_million != 100_000,
                "{name}"
            );
        }
    }
}

#[test]
fn an_extended_frame_cut_anywhere_allocates_nothing() {
    let mut rig = router(Protocol::Frame, 0, 1, PIPE_BYTES);
    for route in [ECHO, FLIP, NOBODYS] {
        let request = frame(EXT | route, &[&CORRELATED, &payload(64)[..]].concat());
        for cut in 1..request.len() {
            counted(&format!("route {route} cut at {cut}"), 10, || {
                rig.send(0, &request[..cut]);
                assert_eq!(rig.taken(0), 0);
                rig.send(0, &request[cut..]);
                assert!(rig.taken(0) >= 10 + 12);
            });
        }
    }
    assert_eq!(rig.turn.leases_out(), 0);
}

/// A peer that said HELLO is asked whether it is there, answers, is told of refusals that it would not hear of, and at
/// last, in a drain, is refused everything.
#[test]
fn peers_that_said_hello_allocate_nothing() {
    let mut rig = router(Protocol::Frame, 0, 1, PIPE_BYTES);
    rig.send(0, &bare_hello());
    assert!(rig.taken(0) > 0, "it is welcome");
    let pong_of = |ping: &[u8]| frame(PONG, &ping[6..14]);
    let mut pong = pong_of(&[0; 18]);
    let metrics = rig.turn.metrics();
    counted("heartbeats", 20, || {
        rig.io.clock.advance_us(26_000_000);
        rig.settle();
        let ping = &rig.io.pipes[0].output;
        assert_eq!((&ping[..2], ping.len()), (&[0x40, 0][..], 18));
        pong[6..14].copy_from_slice(&ping[6..14]);
        let crc = crc32fast::hash(&pong[..14]);
        pong[14..].copy_from_slice(&crc.to_be_bytes());
        rig.taken(0);
        rig.send(0, &pong);
    });
    assert_eq!(metrics.snapshot().counter(Counter::HeartbeatsAnswered), 40);
    let unheard = Block { one_way: true, ..Block::default() }.frame(NOBODYS, b"x");
    counted("notices", 20, || {
        rig.io.clock.advance_us(1_000_000);
        rig.send(0, &unheard);
        assert!(rig.taken(0) > 10, "a notice");
    });
    rig.turn.begin(rig.io.clock.now());
    let until = rig.io.clock.now().plus_us(100_000_000).ms();
    rig.turn.begin_drain(&mut rig.io, until);
    rig.turn.end(&mut rig.io);
    rig.settle();
    assert!(rig.taken(0) > 10, "GOAWAY");
    for request in [frame(ECHO, b"x"), Block { correlation: Some(1), ..Block::default() }.frame(ECHO, b"x")] {
        counted("requests in a drain", 50, || {
            rig.send(0, &request);
            assert!(rig.taken(0) > 10, "DRAINING");
        });
    }
}

#[test]
fn lines_allocate_nothing() {
    for (name, route, reply_bytes) in [("ack", ACK, 10), ("echo", ECHO, 65), ("no such route", NOBODYS, 39)] {
        for depth in [1, 16] {
            let mut rig = router(Protocol::Line, route, 1, PIPE_BYTES);
            let burst = [[b'a'; 64].as_slice(), b"\n"].concat().repeat(depth);
            counted(&format!("lines to {name} at depth {depth}"), 500, || {
                rig.send(0, &burst);
                assert_eq!(rig.taken(0), depth * reply_bytes, "lines to {name}");
            });
            counted(&format!("lines to {name} in two pieces"), 200, || {
                rig.send(0, &burst[..37]);
                rig.send(0, &burst[37..]);
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
        let mut rig = router(Protocol::Frame, 0, 1, PIPE_BYTES);
        let stream = frame(header, &payload(bytes));
        counted(name, 20, || {
            for piece in stream.chunks(cut) {
                rig.send(0, piece);
            }
            assert_eq!(rig.taken(0), stream.len(), "{name}");
        });
        assert_eq!(rig.turn.leases_out(), 0, "{name}");
    }
}

#[test]
fn a_thousand_connections_in_turn_allocate_nothing() {
    const CONNECTIONS: usize = 1000;
    let mut rig = router(Protocol::Frame, 0, CONNECTIONS, 4096);
    let burst = frame(FLIP, &payload(64)).repeat(4);
    let (front, rest) = burst.split_at(100);
    counted("a thousand connections", 5, || {
        for pipe in 0..CONNECTIONS {
            rig.send(pipe, &burst);
            assert_eq!(rig.taken(pipe), burst.len());
        }
    });
    let extended = frame(EXT | FLIP, &[&CORRELATED, &payload(64)[..]].concat()).repeat(4);
    counted("a thousand connections with extension blocks", 5, || {
        for pipe in 0..CONNECTIONS {
            rig.send(pipe, &extended);
            assert_eq!(rig.taken(pipe), extended.len());
        }
    });
    // All of them hold a partial frame at the same time.
    counted("a thousand connections with half a frame each", 5, || {
        for pipe in 0..CONNECTIONS {
            rig.send(pipe, front);
        }
        for pipe in 0..CONNECTIONS {
            rig.send(pipe, rest);
            assert_eq!(rig.taken(pipe), burst.len());
        }
    });
}

/// Connections that come, are served, and go.
#[test]
fn connecting_and_leaving_allocate_nothing() {
    let mut rig = router(Protocol::Frame, 0, 1, 4096);
    let request = frame(ECHO, &payload(64));
    counted("a connection's whole life", 200, || {
        rig.send(0, &request);
        assert_eq!(rig.taken(0), request.len());
        rig.end(0);
        assert_eq!(rig.turn.open(), 0);
        rig.again(0);
        assert_eq!(rig.turn.open(), 1);
    });
}

/// A reader that takes little at a time: replies queue, reading pauses, and goes on.
#[test]
fn a_slow_reader_allocates_nothing() {
    const DEPTH: usize = 100;
    for (name, bytes) in [("small replies", 64), ("large replies", 20_000)] {
        let mut rig = router(Protocol::Frame, 0, 1, PIPE_BYTES);
        let metrics = rig.turn.metrics();
        let burst = frame(ECHO, &payload(bytes)).repeat(DEPTH);
        counted(name, 20, || {
            rig.io.pipes[0].room = 1000;
            rig.send(0, &burst);
            let mut taken = rig.taken(0);
            while taken < burst.len() {
                rig.io.pipes[0].room = 0;
                rig.make_room(0, 30_001);
                rig.settle();
                let more = rig.taken(0);
                assert!(more > 0, "{name}: {taken} bytes came, then no more");
                taken += more;
            }
            assert_eq!(taken, burst.len(), "{name}");
            rig.make_room(0, usize::MAX);
            rig.settle();
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
    let mut rig = router(Protocol::Frame, 0, CONNECTIONS, 16 << 10);
    let request = frame(ECHO, &payload(5000));
    let mut round = |pause_us: u64| {
        for pipe in 0..CONNECTIONS {
            rig.send(pipe, &request[..100]);
        }
        rig.io.clock.advance_us(pause_us);
        for pipe in 0..CONNECTIONS {
            rig.send(pipe, &request[100..]);
            assert_eq!(rig.taken(pipe), request.len());
        }
    };
    // Less than a second in all.
    counted("half a frame for some milliseconds", 60, || round(5_000));
    let info = allocation_counter::measure(|| (0..SECONDS * 20).for_each(|_| round(50_000)));
    assert!(info.count_total <= SECONDS * 2 * CONNECTIONS as u64, "{info:?} in {SECONDS} seconds");
}
