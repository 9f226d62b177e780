//! Law: whatever peers send, however it arrives, whatever their sockets take and whenever they go away, a loop
//! answers what it has read, in order and once; its ledger balances after every turn; it comes to rest in a bounded
//! number of turns with nothing left undone; and a drain buries everything.
//!
//! The input is six choices and a script of what happens to the world.
#![no_main]

use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegate::base::limits::Limits;
use tidegate::base::{CloseReason, ConnId, Ms, Time};
use tidegate::metrics::{Counter, Gauge, Snapshot};
use tidegate::service::{Cx, Frame, Peer as PeerInfo, Replied, Reply, Router, Service};
use tidegate::session::{Framing, Protocol};
use tidegate::turn::{ListenerConfig, Readiness, Turn, TurnConfig, Wait};
use tidegate::wire::Header;
use tidegate_fuzz::Cut;
use tidegate_fuzz::model::{self, Rules, Tail};
use tidegate_fuzz::world::{AcceptFault, World};

const CONNECTIONS_MAX: u32 = 2;
const PEERS_MAX: usize = 4;
/// What all peers together may send, in bytes: quick, or enough to use up the smallest budget of a server.
const SENT_BYTES_MAX: [usize; 2] = [400 << 10, 3 << 20];
/// Turns in which a loop must have come to rest, or have drained.
const TURNS_MAX: u32 = 20_000;
/// A wait up to this long, in milliseconds, is a step on the way to rest: the retries of those without memory.
const REST_WAIT_MS: u32 = 5;
/// The smallest budget that a server accepts. Under it nobody promises that a loop gets on.
const BUDGETS: [usize; 4] = [4 << 20, 256 << 20, 300 << 10, 60 << 10];
const BUDGET_OF_SERVERS: usize = 4 << 20;
const JUMPS_MS: [u64; 8] = [1, 9, 101, 1_000, 2_100, 11_000, 31_000, 301_000];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut run = Run::new(Cut::new(data));
    while !run.cut.is_empty() {
        run.step();
    }
    run.come_to_rest();
    run.everything_is_answered();
    run.drain_all();
    run.nothing_is_left();
});

/// The embedded routes, with a note of how each connection ended.
struct Noted {
    router: Router,
    ended: Arc<Mutex<Vec<(ConnId, CloseReason)>>>,
}

impl Service for Noted {
    type Conn = ();

    fn on_open(&mut self, _peer: &PeerInfo, _cx: &mut Cx<'_>) {}

    fn on_frame(&mut self, conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        self.router.on_frame(conn, frame, reply, cx)
    }

    fn on_close(&mut self, _conn: &mut (), why: CloseReason, cx: &mut Cx<'_>) {
        self.ended.lock().expect("one thread").push((cx.id(), why));
    }
}

struct Run<'a> {
    cut: Cut<'a>,
    world: World,
    turn: Turn<Noted, World>,
    rules: Rules,
    budget: usize,
    ended: Arc<Mutex<Vec<(ConnId, CloseReason)>>>,
    /// A drain that begins with the next turn, and how long it may take.
    drain_ms: Option<u32>,
    is_draining: bool,
    sent_bytes: usize,
    sent_bytes_max: usize,
    events: Vec<(tidegate::base::Token, Readiness)>,
}

impl<'a> Run<'a> {
    fn new(mut cut: Cut<'a>) -> Run<'a> {
        let line_route =
            [None, Some(0), None, Some(1), None, Some(2), None, Some(3)][usize::from(cut.u8() % 8)];
        let payload_max: u32 = match line_route {
            None => cut.pick(&[1 << 20, 0, 64, 70_000]),
            Some(_) => cut.pick(&[64 << 10, 16, 0, 128 << 10]),
        };
        let output_high_bytes = cut.pick(&[256 << 10, 1, 4096, 40_000]);
        let budget = cut.pick(&BUDGETS);
        let idle = cut.pick(&[None, Some(Duration::from_secs(1)), Some(Duration::from_secs(20))]);
        let choice = cut.u8();
        let router_of = |ended: &Arc<Mutex<Vec<_>>>| {
            let ended = Arc::clone(ended);
            move || Noted { router: Router::embedded(), ended: Arc::clone(&ended) }
        };
        let ended = Arc::default();
        let protocol = if line_route.is_some() { Protocol::Line } else { Protocol::Frame };
        let framing = Framing::new(protocol, payload_max, line_route.unwrap_or(0));
        let config = TurnConfig {
            budget_bytes: budget,
            limits: Limits {
                output_high_bytes,
                output_low_bytes: output_high_bytes / 4,
                idle,
                ..Limits::default()
            },
            ..TurnConfig::alone(CONNECTIONS_MAX, vec![ListenerConfig::new(framing)])
        };
        // The clock starts shortly before its milliseconds wrap.
        let now = Time(u64::from(u32::MAX - 20_000) * 1000);
        let mut world = World::new(now, [0, 0, 1, 150][usize::from(choice >> 2) % 4]);
        let window = if choice & 1 == 0 { usize::MAX } else { 0 };
        for _ in 0..=usize::from(choice >> 1 & 1) {
            world.connect(window);
        }
        Run {
            cut,
            world,
            turn: Turn::new(config, now, router_of(&ended)),
            rules: Rules { line_route, payload_max: payload_max as usize },
            budget,
            ended,
            drain_ms: None,
            is_draining: false,
            sent_bytes: 0,
            sent_bytes_max: SENT_BYTES_MAX[usize::from(choice >> 4 == 15)],
            events: Vec::new(),
        }
    }

    /// One thing happens; then a turn, unless more is to happen at the same moment.
    fn step(&mut self) {
        let what = self.cut.u8();
        let place = usize::from(what >> 6 & 1) % self.world.peers.len();
        self.happen(what & 0x1f, place);
        if what & 0x80 != 0 {
            self.world.peers[place].deliver(usize::MAX);
        }
        if what & 0x20 == 0 {
            self.one_turn();
        }
    }

    fn happen(&mut self, what: u8, place: usize) {
        let peer = &mut self.world.peers[place];
        match what {
            0 => {
                let most = usize::from(self.cut.u8() % 64);
                let bytes = self.cut.bytes(most);
                self.send(place, bytes);
            }
            1..=4 => self.send_messages(place),
            5 => {
                let opaque = vec![b'p'; usize::from(self.cut.u8() % 66)];
                self.send(place, &model::frame(0x4000, &opaque));
            }
            6 => {
                let mut frame = model::frame(1, &vec![b'x'; usize::from(self.cut.u8())]);
                *frame.last_mut().expect("a frame has a trailer") ^= 1;
                self.send(place, &frame);
            }
            7..=9 => {
                let (bytes, scale) = (usize::from(self.cut.u8()), self.cut.u8() % 13);
                peer.deliver(bytes << scale);
            }
            10 => peer.deliver(usize::MAX),
            11..=13 => {
                let (bytes, scale) = (usize::from(self.cut.u8()), self.cut.u8() % 13);
                peer.take(bytes << scale);
            }
            14 => peer.take(usize::MAX),
            15 => peer.end(),
            16 => peer.reset(),
            17 | 18 => {
                let jump_ms = self.cut.pick(&JUMPS_MS);
                self.world.now = self.world.now.plus_us(jump_ms * 1000);
            }
            19 => self.drain_ms = Some([0, 50, 5_000, 60_000][usize::from(self.cut.u8() % 4)]),
            20 => peer.interrupt(1 + self.cut.u8() % 4),
            21 => {
                use AcceptFault::{Aborted, Exhausted, Failed, Unregistered};
                let fault = self.cut.pick(&[Aborted, Exhausted, Failed, Unregistered]);
                self.world.faults.push_back(fault);
            }
            22 => {
                let window = if self.cut.u8() & 1 == 0 { usize::MAX } else { 0 };
                if self.world.peers.len() < PEERS_MAX {
                    self.world.connect(window);
                }
            }
            // Of a connection that is there or not, rightly or not; but never an end that is none.
            23 => peer.tell(Readiness {
                readable: self.cut.u8() & 1 != 0,
                writable: true,
                ..Readiness::default()
            }),
            _ => {}
        }
    }

    /// A few equal messages, or many.
    fn send_messages(&mut self, place: usize) {
        let (route, scale) = (self.cut.u8(), self.cut.u8());
        let (size, times) = (usize::from(self.cut.u8()) << (scale % 13), 1 << (scale >> 4 & 7));
        let mut payload = vec![route | 0x20; size];
        if let Some(first) = payload.first_mut() {
            *first = self.cut.u8();
        }
        let message = match self.rules.line_route {
            None => model::frame(u16::from(route % 6) | if route > 240 { 0x8000 } else { 0 }, &payload),
            Some(_) => [&payload[..], if route & 1 == 0 { b"\n" } else { b"\r\n" }].concat(),
        };
        for _ in 0..times {
            self.send(place, &message);
        }
    }

    fn send(&mut self, place: usize, bytes: &[u8]) {
        let peer = &mut self.world.peers[place];
        if !peer.has_ended && self.sent_bytes + bytes.len() <= self.sent_bytes_max {
            peer.sent.extend_from_slice(bytes);
            self.sent_bytes += bytes.len();
        }
    }

    fn one_turn(&mut self) {
        self.world.poll(&mut self.events);
        let now = self.world.now;
        self.turn.begin(now);
        if let Some(grace_ms) = self.drain_ms.take() {
            self.turn.begin_drain(&mut self.world, now.ms().plus(grace_ms));
            self.is_draining = true;
        }
        for (token, ready) in self.events.drain(..) {
            self.turn.handle_event(&mut self.world, token, ready);
        }
        self.turn.end(&mut self.world);
        let figures = self.figures();
        assert!(figures.balances(), "{figures:?}");
        assert_eq!(figures.gauge(Gauge::Open), self.turn.open() as u64);
        assert_eq!(figures.counter(Counter::Accepted), figures.closes_total() + figures.gauge(Gauge::Open));
        assert_eq!(figures.counter(Counter::Panics), 0);
        let used = figures.gauge(Gauge::InputBytes) + figures.gauge(Gauge::OutputBytes);
        assert!(used + figures.gauge(Gauge::ReserveBytes) <= self.budget as u64);
    }

    fn figures(&self) -> Snapshot {
        self.turn.metrics().snapshot()
    }

    /// Everything arrives, everybody takes everything, and the loop does what it can without waiting for a deadline.
    fn come_to_rest(&mut self) {
        for peer in &mut self.world.peers {
            peer.deliver(usize::MAX);
            peer.take(usize::MAX);
        }
        for _ in 0..TURNS_MAX {
            self.one_turn();
            match self.turn.wait() {
                Wait::Not => {}
                _ if self.world.has_events() => {}
                Wait::Until(due) if due.since(self.world.now.ms()) <= REST_WAIT_MS => self.wait_until(due),
                Wait::Until(_) | Wait::Forever => return,
            }
            if self.budget < BUDGET_OF_SERVERS {
                continue;
            }
        }
        assert!(self.budget < BUDGET_OF_SERVERS, "the loop does not come to rest: {:?}", self.figures());
    }

    fn wait_until(&mut self, due: Ms) {
        let ms = u64::from(due.since(self.world.now.ms())).max(1);
        self.world.now = self.world.now.plus_us(ms * 1000);
    }

    /// Who is still there has got everything that is due to him; who is not has got it as far as his end allows.
    fn everything_is_answered(&self) {
        let ended = self.ended.lock().expect("one thread");
        for (place, peer) in self.world.peers.iter().enumerate() {
            let Some(token) = peer.token else {
                assert!(model::is_farewell(self.rules, &peer.got), "peer {place} was never accepted");
                continue;
            };
            let why = ended.iter().find(|(id, _)| (id.generation, id.slot) == (token.generation, token.slot));
            let why = why.map(|(_, why)| *why);
            let (heard, ended) = peer.heard_at_shut.unwrap_or((peer.read(), peer.end_seen));
            let (said, tail) = model::read(self.rules, &peer.sent[..heard], ended);
            let due = model::due(self.rules, &said);
            let matched = model::matched(self.rules, &due, &peer.got);
            let behind = matched.whole;
            assert!(
                matched.is_prefix || model::is_farewell(self.rules, matched.rest),
                "peer {place} ({why:?}), heard {heard} bytes and the end: {ended}, got {behind} of {} replies, then {:?}",
                due.len(),
                matched.rest
            );
            // Who did not take what he was offered until it was too late has no claim to the rest.
            if self.budget < BUDGET_OF_SERVERS || peer.is_blocked || peer.was_reset {
                continue;
            }
            let is_ending = why.is_none() && peer.heard_at_shut.is_some();
            match why {
                // Its reason is not told yet.
                None if is_ending => {}
                None | Some(CloseReason::PeerClosed | CloseReason::Drained) => {
                    assert_eq!(behind, due.len(), "peer {place} ({why:?}) lacks replies");
                }
                Some(CloseReason::BadCrc | CloseReason::TooLarge | CloseReason::LineTooLong) => {
                    assert_eq!(
                        (behind, tail),
                        (due.len(), Tail::Fault),
                        "peer {place} ({why:?}) lacks replies"
                    );
                }
                Some(CloseReason::Truncated) => {
                    assert_eq!(
                        (behind, tail),
                        (due.len(), Tail::Partial),
                        "peer {place} ({why:?}) lacks replies"
                    );
                }
                Some(_) => {}
            }
            if why.is_none() && !is_ending {
                assert_eq!(peer.read(), peer.arrived(), "peer {place} is not read");
                assert!(!peer.has_ended, "peer {place} has ended and is kept");
                assert_ne!(tail, Tail::Fault, "peer {place} broke the protocol and is kept");
            }
        }
    }

    /// The server goes away, with all the time that it wants.
    fn drain_all(&mut self) {
        self.drain_ms = Some(30_000);
        for _ in 0..TURNS_MAX {
            self.one_turn();
            if self.turn.is_drained() {
                return;
            }
            match self.turn.wait() {
                Wait::Not => {}
                _ if self.world.has_events() => {}
                Wait::Until(due) => self.wait_until(due),
                Wait::Forever => panic!("the loop waits for ever with {} connections", self.turn.open()),
            }
        }
        panic!("the loop does not drain: {:?}", self.figures());
    }

    fn nothing_is_left(&self) {
        let figures = self.figures();
        assert_eq!((self.turn.open(), self.turn.leases_out()), (0, 0), "{figures:?}");
        for gauge in Gauge::ALL {
            assert_eq!(figures.gauge(*gauge), 0, "{}", gauge.name());
        }
        assert!(self.world.peers.iter().all(|peer| peer.is_closed), "a stream is never closed");
        let ended = self.ended.lock().expect("one thread").len() as u64;
        assert_eq!(ended, figures.counter(Counter::Accepted), "every open has its close");
        self.everything_is_answered();
    }
}
