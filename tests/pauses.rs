//! A batch that is stopped at any of its messages for any cause, and then gets no more input and no further edge: all
//! is answered once the cause is over. And whoever we pause is not closed for our pause.
//!
//! Driven by hand, so that each case stops exactly where it says.

mod support;

use std::time::Duration;
use support::clerk::{Clerk, Drawer, large, numbered};
use support::client::{PING, PONG, frame};
use support::extended::{MESSAGE, bare_hello, correlated, extended};
use support::hand::{Clock, Rig};
use tidegate::base::CloseReason;
use tidegate::base::limits::{FRAMES_PER_BATCH, FRAMES_PER_CLOCK_READ, Limits};
use tidegate::metrics::{Counter, Outcome};
use tidegate::session::Framing;
use tidegate::turn::{ListenerConfig, TurnConfig};

/// Requests of a burst.
const N: u32 = 7;
const WIDE: usize = usize::MAX;
const PIPE_BYTES: usize = 2 << 20;
/// A budget with 12 small leases for output, two of them from the reserve.
const TIGHT_BYTES: usize = 100 << 10;
const HIGH_BYTES: u32 = 20_000;

/// What the requests of a burst look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Plain,
    /// With a block that says nothing: replies in order.
    Extended,
    /// With a correlation: replies when they are ready.
    Correlated,
    /// One after the other.
    Mixed,
}

const SHAPES: [Shape; 4] = [Shape::Plain, Shape::Extended, Shape::Correlated, Shape::Mixed];

impl Shape {
    fn of(self, number: u32) -> Shape {
        match (self, number % 3) {
            (Shape::Mixed, 0) => Shape::Plain,
            (Shape::Mixed, 1) => Shape::Extended,
            (Shape::Mixed, _) => Shape::Correlated,
            (Shape::Plain | Shape::Extended | Shape::Correlated, _) => self,
        }
    }

    /// The frame of a request, and of a reply to it.
    fn frame(self, number: u32, body: &[u8]) -> Vec<u8> {
        match self.of(number) {
            Shape::Plain | Shape::Mixed => frame(1, body),
            Shape::Extended => extended(1, body),
            Shape::Correlated => correlated(1, u64::from(number), body),
        }
    }

    fn block_bytes(self, number: u32) -> usize {
        self.frame(number, b"").len() - 10
    }
}

fn rig(budget_bytes: usize, limits: Limits) -> (Rig<Clerk>, Drawer) {
    let listener = ListenerConfig::new(Framing::frames(1 << 20));
    let config = TurnConfig { limits, budget_bytes, ..TurnConfig::alone(64, vec![listener]) };
    let (clock, drawer) = (Clock::new(), Drawer::default());
    let clerk = Clerk::new(&clock, &drawer);
    (Rig::at(clock, config, PIPE_BYTES, clerk), drawer)
}

fn limits() -> Limits {
    Limits { output_high_bytes: HIGH_BYTES, output_low_bytes: 5_000, ..Limits::default() }
}

/// Requests that were started.
fn started(rig: &Rig<Clerk>) -> u64 {
    rig.figures().counter(Counter::Started)
}

/// So many messages that ask for nothing but a PONG.
fn pings(count: u32) -> Vec<u8> {
    frame(PING, b"").repeat(count as usize)
}

/// Without the replies to them.
fn without_pongs(mut bytes: Vec<u8>) -> Vec<u8> {
    let pong = frame(PONG, b"");
    while bytes.starts_with(&pong) {
        bytes.drain(..pong.len());
    }
    bytes
}

/// A burst of echoes.
fn echoes(shape: Shape) -> Vec<Vec<u8>> {
    (0..N).map(|number| shape.frame(number, &numbered(b'e', number))).collect()
}

/// Every shape of requests, stopped behind every number of them.
fn every_case(first: u32, last: u32) -> impl Iterator<Item = (Shape, u32, String)> {
    let cases = SHAPES.into_iter().flat_map(move |shape| (first..=last).map(move |k| (shape, k)));
    cases.map(|(shape, k)| (shape, k, format!("{shape:?}, stopped behind {k} of {N}")))
}

#[test]
fn stopped_by_the_count_of_frames() {
    for (shape, k, case) in every_case(0, N) {
        let (mut rig, drawer) = rig(64 << 20, limits());
        let client = rig.connect(WIDE);
        let burst = echoes(shape).concat();
        rig.arrive(client, &[pings(FRAMES_PER_BATCH - k), burst.clone()].concat());
        rig.begin_turn();
        assert_eq!(drawer.seen(), u64::from(k), "{case}");
        rig.turn.end(&mut rig.io);
        rig.settle();
        assert_eq!(without_pongs(rig.take(client)), burst, "{case}");
        rig.assert_rest(1);
    }
}

#[test]
fn stopped_by_the_time_that_they_take() {
    for (shape, k, case) in every_case(1, N) {
        let (mut rig, drawer) = rig(64 << 20, limits());
        let client = rig.connect(WIDE);
        let mut burst = echoes(shape);
        burst[k as usize - 1] = shape.frame(k - 1, &numbered(b't', 1_000));
        let burst = burst.concat();
        rig.arrive(client, &[pings(FRAMES_PER_CLOCK_READ - k), burst.clone()].concat());
        rig.begin_turn();
        assert_eq!(drawer.seen(), u64::from(k), "{case}");
        rig.turn.end(&mut rig.io);
        rig.settle();
        assert_eq!(without_pongs(rig.take(client)), burst, "{case}");
        rig.assert_rest(1);
    }
}

#[test]
fn stopped_by_output() {
    const LARGE: u32 = 100_000;
    for (shape, k, case) in every_case(1, N) {
        let (mut rig, _) = rig(64 << 20, limits());
        let client = rig.connect(1_000);
        let (mut burst, mut want) = (echoes(shape), echoes(shape));
        burst[k as usize - 1] = shape.frame(k - 1, &numbered(b'l', LARGE));
        want[k as usize - 1] = shape.frame(k - 1, &large(LARGE as usize));
        rig.send(client, &burst.concat());
        assert_eq!(started(&rig), u64::from(k), "{case}");
        assert_eq!(rig.figures().counter(Counter::PausedOutput), 1, "{case}");
        let mut got = rig.take(client);
        while got.len() < want.concat().len() {
            rig.make_room(client, 30_000);
            rig.settle();
            let more = rig.take(client);
            assert!(!more.is_empty(), "{case}: no more behind {} bytes", got.len());
            got.extend(more);
        }
        assert!(got == want.concat(), "{case}");
        rig.assert_rest(1);
    }
}

/// In which order deferred requests are answered.
#[derive(Clone, Copy, Debug)]
enum Order {
    Front,
    Back,
    Alternating,
}

#[test]
fn stopped_by_open_requests() {
    for ((shape, k, case), order) in every_case(1, N)
        .flat_map(|case| [Order::Front, Order::Back, Order::Alternating].map(|order| (case.clone(), order)))
    {
        let case = format!("{case}, answered {order:?}");
        let (mut rig, drawer) = rig(64 << 20, Limits { open_requests: k, ..limits() });
        let client = rig.connect(WIDE);
        let burst = (0..N).map(|number| shape.frame(number, &numbered(b'd', number)));
        rig.send(client, &burst.collect::<Vec<_>>().concat());
        assert_eq!((started(&rig), drawer.len()), (u64::from(k), k as usize), "{case}");
        assert_eq!(rig.figures().counter(Counter::PausedSlots), 1, "{case}");
        for round in 0..N as usize {
            let place = match order {
                Order::Front => 0,
                Order::Back => drawer.len() - 1,
                Order::Alternating => (drawer.len() - 1) * (round % 2),
            };
            let (what, later) = drawer.remove(place);
            later.send(&what);
            rig.settle();
        }
        let got = rig.take(client);
        assert_eq!(drawer.len(), 0, "{case}");
        assert_answered(shape, &got, &case);
        rig.assert_rest(1);
    }
}

/// Each of the numbered requests has its reply: the ordered ones in order, correlated ones anywhere, all of them once.
fn assert_answered(shape: Shape, got: &[u8], case: &str) {
    let is_correlated = |number: &u32| shape.of(*number) == Shape::Correlated;
    let (correlated, ordered): (Vec<u32>, Vec<u32>) = (0..N).partition(is_correlated);
    let reply = |number: u32| shape.frame(number, &number.to_be_bytes());
    let (mut rest, mut in_order, mut free) = (got, ordered.into_iter().peekable(), correlated);
    while !rest.is_empty() {
        let next = in_order.peek().filter(|number| rest.starts_with(&reply(**number))).copied();
        let number = next.or_else(|| free.iter().find(|number| rest.starts_with(&reply(**number))).copied());
        let number = number.unwrap_or_else(|| panic!("{case}: unexpected {rest:?}"));
        if Some(number) == next {
            in_order.next();
        } else {
            free.retain(|other| *other != number);
        }
        rest = &rest[reply(number).len()..];
    }
    assert_eq!((in_order.next(), free), (None, vec![]), "{case}: no reply");
}

/// Connections that take nothing and hold one small lease each, until one is left.
fn fill_memory(rig: &mut Rig<Clerk>) -> Vec<usize> {
    let hogs: Vec<usize> = (0..11).map(|_| rig.connect(0)).collect();
    hogs.iter().for_each(|hog| rig.send(*hog, &frame(1, b"e")));
    assert_eq!(rig.turn.leases_out(), hogs.len());
    hogs
}

#[test]
fn stopped_by_memory() {
    for (shape, k, case) in every_case(1, N - 1) {
        let (mut rig, _) = rig(TIGHT_BYTES, limits());
        let client = rig.connect(WIDE);
        let hogs = fill_memory(&mut rig);
        let before = started(&rig);
        // So large that the replies to `k` of them fit the lease that is left.
        let body = |number: u32| vec![b'e'; 4095 / k as usize - 10 - shape.block_bytes(number)];
        let burst: Vec<u8> = (0..N).flat_map(|number| shape.frame(number, &body(number))).collect();
        rig.send(client, &burst);
        assert_eq!(started(&rig) - before, u64::from(k), "{case}");
        assert_eq!(rig.figures().counter(Counter::PausedMemory), 1, "{case}");
        hogs.iter().for_each(|hog| rig.reset(*hog));
        rig.pass(3, 1);
        assert!(rig.take(client) == burst, "{case}");
        assert_eq!(rig.figures().counter(Counter::Evicted), 0, "{case}");
        rig.assert_rest(1);
    }
}

/// Slots and output: a peer that takes nothing is sent a message while as many of its requests are open as may be.
#[test]
fn two_pauses_end_in_any_order_slots_and_output() {
    for slots_first in [true, false] {
        let (mut rig, drawer) = rig(64 << 20, Limits { open_requests: 2, ..limits() });
        let client = rig.connect(WIDE);
        let other = rig.connect(WIDE);
        rig.send(client, &bare_hello());
        rig.taken(client);
        rig.io.pipes[client].room = 0;
        rig.send(client, &[frame(1, b"dA"), frame(1, b"dB"), frame(1, b"eC"), frame(1, b"eD")].concat());
        rig.send(other, &frame(1, &numbered(b'm', HIGH_BYTES + 1)));
        let figures = rig.figures();
        assert_eq!((figures.counter(Counter::PausedSlots), figures.counter(Counter::PausedOutput)), (1, 1));
        let answer = |rig: &mut Rig<Clerk>| {
            [b"A", b"B"].iter().for_each(|what| drawer.find(*what).send(*what));
            rig.settle();
        };
        let make_room = |rig: &mut Rig<Clerk>| {
            rig.make_room(client, WIDE);
            rig.settle();
        };
        if slots_first {
            answer(&mut rig);
        } else {
            make_room(&mut rig);
        }
        assert_eq!(started(&rig), 3, "slots first: {slots_first}: one cause is left");
        if slots_first {
            make_room(&mut rig);
        } else {
            answer(&mut rig);
        }
        let message = frame(MESSAGE, &[b"\x01t", &large(HIGH_BYTES as usize + 1)[..]].concat());
        let replies = [b"A".as_slice(), b"B", b"eC", b"eD"].map(|body| frame(1, body)).concat();
        assert!(rig.take(client) == [message, replies].concat(), "slots first: {slots_first}");
        rig.assert_rest(2);
    }
}

/// Memory and output: a peer that waits for memory is sent a message. Slots and memory never come together: a batch that
/// opens its last request ends there, and has not yet asked for memory for the next.
#[test]
fn two_pauses_end_in_any_order_memory_and_output() {
    for memory_first in [true, false] {
        let limits = Limits { output_high_bytes: 3_000, output_low_bytes: 1_000, ..Limits::default() };
        let (mut rig, _) = rig(TIGHT_BYTES, limits);
        let client = rig.connect(WIDE);
        let other = rig.connect(WIDE);
        rig.send(client, &bare_hello());
        rig.taken(client);
        rig.io.pipes[client].room = 0;
        let waiting = frame(1, &[b'e'; 2_000]);
        rig.send(client, &waiting);
        let hogs: Vec<usize> = (0..11).map(|_| rig.connect(0)).collect();
        hogs[..10].iter().for_each(|hog| rig.send(*hog, &frame(1, b"e")));
        let before = started(&rig);
        let burst = [frame(1, &[b'e'; 1_500]), frame(1, b"eD")].concat();
        rig.send(client, &burst);
        assert_eq!((started(&rig), rig.figures().counter(Counter::PausedMemory)), (before, 1));
        rig.send(other, &frame(1, &numbered(b'm', 1_500)));
        assert_eq!(rig.figures().counter(Counter::PausedOutput), 1);
        let find_memory = |rig: &mut Rig<Clerk>| {
            hogs.iter().for_each(|hog| rig.reset(*hog));
            rig.pass(3, 1);
        };
        let make_room = |rig: &mut Rig<Clerk>| {
            rig.make_room(client, WIDE);
            rig.settle();
        };
        if memory_first {
            find_memory(&mut rig);
        } else {
            make_room(&mut rig);
        }
        assert_eq!(started(&rig), before + 1, "memory first: {memory_first}: one cause is left");
        if memory_first {
            make_room(&mut rig);
        } else {
            find_memory(&mut rig);
        }
        let message = frame(MESSAGE, &[b"\x01t", &large(1_500)[..]].concat());
        assert!(rig.take(client) == [waiting, message, burst].concat(), "memory first: {memory_first}");
        rig.assert_rest(2);
    }
}

const SECOND: u64 = 1_000;

/// Everything that may close a silent peer, after five seconds; what may close a paused one, far away.
fn impatient() -> Limits {
    let five = Duration::from_secs(5);
    Limits {
        idle: Some(five),
        frame_deadline: five,
        heartbeat: Some(five),
        request_deadline: Duration::from_secs(24 * 3600),
        ..limits()
    }
}

/// Behind what pauses it, each peer has sent the half of a frame; it said HELLO, or it did not.
fn two_peers(rig: &mut Rig<Clerk>, what: &[u8]) -> [usize; 2] {
    let peers = [rig.connect(WIDE), rig.connect(WIDE)];
    rig.send(peers[0], &bare_hello());
    rig.taken(peers[0]);
    for peer in peers {
        rig.io.pipes[peer].room = 0;
        rig.send(peer, &[what, &LAST[..6]].concat());
    }
    peers
}

/// A whole frame: `e` to route 1.
const LAST: [u8; 11] = [0, 1, 0, 0, 0, 1, b'e', 0x72, 0xF3, 0xA8, 0x4D];

#[test]
fn the_last_frame_is_a_frame() {
    assert_eq!(frame(1, b"e"), LAST);
}

/// The pause is over: what it held up is answered, and so is the frame whose other half comes now.
fn assert_goes_on(rig: &mut Rig<Clerk>, peers: [usize; 2], want: &[u8]) {
    for peer in peers {
        let mut got = rig.take(peer);
        rig.send(peer, &LAST[6..]);
        got.extend(rig.take(peer));
        assert!(got == [want, &LAST].concat(), "peer {peer} got {} bytes", got.len());
    }
    assert_eq!(rig.turn.open(), peers.len());
}

#[test]
fn a_pause_for_output_is_not_held_against_the_peer() {
    let (mut rig, _) = rig(64 << 20, impatient());
    let request = numbered(b'l', 100_000);
    let peers = two_peers(&mut rig, &frame(1, &request));
    assert_eq!(rig.figures().counter(Counter::PausedOutput), 2);
    for _ in 0..60 {
        rig.pass(10 * SECOND, SECOND);
        // A byte now and then, or it would stall.
        peers.iter().for_each(|peer| rig.make_room(*peer, 1));
        rig.settle();
    }
    assert_eq!(rig.turn.open(), 2, "ten minutes later");
    peers.iter().for_each(|peer| rig.make_room(*peer, WIDE));
    rig.settle();
    assert_goes_on(&mut rig, peers, &frame(1, &large(100_000)));
}

#[test]
fn a_peer_that_takes_no_byte_is_closed_also_while_it_is_paused() {
    let (mut rig, _) = rig(64 << 20, impatient());
    two_peers(&mut rig, &frame(1, &numbered(b'l', 100_000)));
    rig.pass(29 * SECOND, SECOND);
    assert_eq!(rig.turn.open(), 2);
    rig.pass(2 * SECOND, SECOND);
    assert_eq!((rig.turn.open(), rig.closes(CloseReason::WriteStall)), (0, 2));
}

#[test]
fn a_pause_for_slots_is_not_held_against_the_peer() {
    let (mut rig, drawer) = rig(64 << 20, Limits { open_requests: 1, ..impatient() });
    let peers = two_peers(&mut rig, &frame(1, b"dA"));
    peers.iter().for_each(|peer| rig.make_room(*peer, WIDE));
    assert_eq!(rig.figures().counter(Counter::PausedSlots), 2);
    rig.pass(3600 * SECOND, SECOND);
    assert_eq!((rig.turn.open(), rig.figures().counter(Counter::Heartbeats)), (2, 0), "an hour later");
    (0..2).for_each(|_| drawer.find(b"A").send(b"A"));
    rig.settle();
    assert_goes_on(&mut rig, peers, &frame(1, b"A"));
}

#[test]
fn a_request_s_own_deadline_runs_during_a_pause_and_ends_it() {
    let request_deadline = Duration::from_secs(30);
    let (mut rig, _drawer) = rig(64 << 20, Limits { open_requests: 1, request_deadline, ..impatient() });
    let peers = two_peers(&mut rig, &frame(1, b"dA"));
    peers.iter().for_each(|peer| rig.make_room(*peer, WIDE));
    rig.pass(31 * SECOND, SECOND);
    let error = rig.take(peers[1]);
    assert_eq!((&error[..2], &error[6..8]), (&[0x40, 4][..], &[0, 7][..]), "OUTCOME_UNKNOWN");
    rig.take(peers[0]);
    assert_eq!(rig.figures().outcome(Outcome::TimedOut), 2);
    assert_goes_on(&mut rig, peers, b"");
}

/// For memory nobody waits longer than its patience; a deadline may be shorter than that.
#[test]
fn a_pause_for_memory_is_not_held_against_the_peer() {
    let twenty = Duration::from_millis(20);
    let limits = Limits { frame_deadline: twenty, heartbeat: Some(twenty), ..limits() };
    let (mut rig, _) = rig(TIGHT_BYTES, limits);
    let client = rig.connect(WIDE);
    rig.send(client, &bare_hello());
    rig.taken(client);
    let hogs = fill_memory(&mut rig);
    let large = frame(1, &[b'e'; 5_000]);
    rig.send(client, &[&large[..], &LAST[..6]].concat());
    assert_eq!(rig.figures().counter(Counter::PausedMemory), 1);
    rig.pass(90, 1);
    assert_eq!((rig.turn.open(), rig.taken(client)), (12, 0));
    hogs.iter().for_each(|hog| rig.reset(*hog));
    rig.pass(2, 1);
    assert_eq!(rig.take(client), large);
    rig.send(client, &LAST[6..]);
    assert_eq!(rig.take(client), LAST);
    assert_eq!(rig.figures().counter(Counter::Evicted), 0);
    rig.assert_rest(1);
}
