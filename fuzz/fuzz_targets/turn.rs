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
use tidegate::service::{Cx, Frame, Peer as PeerInfo, Replied, Reply, Router, Service, Welcomed};
use tidegate::session::Framing;
use tidegate::turn::{ListenerConfig, Readiness, Turn, TurnConfig, Wait};
use tidegate::wire::Hello;
use tidegate_fuzz::Cut;
use tidegate_fuzz::model::{self, REFUSED_ID, Rules, Said, Speech, Tail};
use tidegate_fuzz::owed::{self, Compared, whole_frame};
use tidegate_fuzz::world::{AcceptFault, Peer, World};

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

    fn is_one_way(&self, route: u16) -> bool {
        self.router.is_one_way(route)
    }

    fn on_hello(&mut self, _conn: &mut (), hello: &Hello<'_>, _cx: &mut Cx<'_>) -> Welcomed {
        if hello.client_id == REFUSED_ID { Welcomed::Refused("not you".into()) } else { Welcomed::Anonymous }
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
    began: Time,
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
        const LINES: [Speech; 4] = [Speech::Lines(0), Speech::Lines(1), Speech::Lines(2), Speech::Lines(3)];
        let choice = cut.u8();
        let (speech, wants_hello) = match choice % 8 {
            2 => (Speech::Frames, true),
            4 => (Speech::Bare, false),
            other if other % 2 == 0 => (Speech::Frames, false),
            other => (LINES[usize::from(other / 2)], false),
        };
        let payload_max: u32 = match speech {
            Speech::Frames | Speech::Bare => cut.pick(&[1 << 20, 0, 64, 70_000]),
            Speech::Lines(_) => cut.pick(&[64 << 10, 16, 0, 128 << 10]),
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
        let framing = match speech {
            Speech::Frames => Framing::frames(payload_max),
            Speech::Bare => Framing::bare_frames(payload_max),
            Speech::Lines(route) => Framing::lines(payload_max, route),
        };
        let config = TurnConfig {
            budget_bytes: budget,
            limits: Limits {
                output_high_bytes,
                output_low_bytes: output_high_bytes / 4,
                idle,
                ..Limits::default()
            },
            ..TurnConfig::alone(
                CONNECTIONS_MAX,
                vec![ListenerConfig { wants_hello, ..ListenerConfig::new(framing) }],
            )
        };
        // The clock starts shortly before its milliseconds wrap.
        let now = Time(u64::from(u32::MAX - 20_000) * 1000);
        let mut world = World::new(now, [0, 0, 1, 150][usize::from(choice >> 2) % 4]);
        let window = if choice & 1 == 0 { usize::MAX } else { 0 };
        for _ in 0..=usize::from(choice >> 1 & 1) {
            world.connect(window);
        }
        let reply_max = (output_high_bytes + payload_max) as usize;
        Run {
            cut,
            world,
            turn: Turn::new(config, now, router_of(&ended)),
            rules: Rules { wants_hello, reply_max, ..Rules::new(speech, payload_max as usize) },
            began: now,
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
            24 | 25 => self.send_extended(place),
            26 => self.send_hello(place),
            27 => self.send_ask(place),
            28 => self.answer_ping(place),
            29 => {
                let (bits, size) = (self.cut.u16(), usize::from(self.cut.u8() % 80));
                let payload = self.cut.bytes(size);
                self.send(place, &model::frame(bits, payload));
            }
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
        let message = match self.rules.speech {
            Speech::Frames => {
                model::frame(u16::from(route % 6) | if route > 240 { 0x8000 } else { 0 }, &payload)
            }
            Speech::Bare => {
                model::frame(if route > 240 { u16::from(route) << 8 } else { u16::from(route % 4) }, &payload)
            }
            Speech::Lines(_) => [&payload[..], if route & 1 == 0 { b"\n" } else { b"\r\n" }].concat(),
        };
        for _ in 0..times {
            self.send(place, &message);
        }
    }

    /// A block of a few choices; with one of 32 it does not parse.
    fn block(&mut self) -> Vec<u8> {
        let (flags, choice) = (self.cut.u8(), self.cut.u8());
        let mut block = vec![0, flags & 0x0f, 0, 0];
        if flags & 1 != 0 {
            block.extend([0, 0, 0, 0, 0, 0, 1, self.cut.u8()]);
        }
        if flags & 2 != 0 {
            let deadline_ms: u32 = self.cut.pick(&[0, 1, 60, 5_000, 40_000, u32::MAX]);
            block.extend(deadline_ms.to_be_bytes());
        }
        if flags & 4 != 0 {
            block.extend([7; 25]);
            block.extend([0; 3]);
        }
        if flags & 0x80 != 0 {
            block[1] |= 0x80;
            // Load, affinity, what nobody knows, what somebody must, padding.
            let tags: [&[u8]; 5] = [&[2, 2, 1, 0], &[3, 3, b'k', b'e', b'y'], &[9, 0], &[200, 1, 0], &[0; 9]];
            block.extend(tags[usize::from(choice) % tags.len()]);
            block.resize(block.len().next_multiple_of(4), 0);
        }
        if flags & 0x40 != 0 && choice & 1 == 0 {
            block[1] |= 0x10;
        }
        let words = u8::try_from(block.len() / 4).expect("short");
        block[0] = if choice >> 3 == 31 { words - 1 } else { words };
        block
    }

    /// A request with a block.
    fn send_extended(&mut self, place: usize) {
        let (route, mut payload) = (self.cut.u8(), self.block());
        let (size, scale) = (usize::from(self.cut.u8()), self.cut.u8());
        payload.resize(payload.len() + (size << (scale % 13)), route | 0x20);
        for _ in 0..1 << (scale >> 4 & 3) {
            self.send(place, &model::frame(0x8000 | u16::from(route % 6), &payload));
        }
    }

    fn send_hello(&mut self, place: usize) {
        let choice = self.cut.u8();
        let (mut bits, mut payload) = (0x4002, Vec::new());
        if choice & 1 == 1 {
            bits |= 0x8000;
            payload = self.block();
        }
        let id = [&b""[..], b"me", REFUSED_ID.as_bytes(), b"no.id"][usize::from(self.cut.u8()) % 4];
        payload.extend([if choice & 2 == 2 { self.cut.u8() } else { 1 }, choice & 4, id.len() as u8]);
        payload.extend(id);
        payload.extend([0, 3, 1, 2, 3]);
        let tags: [&[u8]; 8] = [
            &[],
            &[1, 4, 0, 0, 0, 0],
            &[1, 4, 0, 0, 0, 5],
            &[1, 4, 0, 0, 16, 0],
            &[1, 4, 0, 16, 0, 0],
            &[7, 0, 0],
            &[128, 0],
            &[1, 2, 0, 0],
        ];
        payload.extend(tags[usize::from(choice >> 4) % tags.len()]);
        self.send(place, &model::frame(bits, &payload));
    }

    /// SUBSCRIBE, UNSUBSCRIBE or PUBLISH, with a body of any size.
    fn send_ask(&mut self, place: usize) {
        let choice = self.cut.u8();
        let mut bits = 0x4006 + u16::from(choice % 3);
        let mut payload = Vec::new();
        if choice & 4 == 4 {
            bits |= 0x8000;
            payload = self.block();
        }
        let topic = &b"\x04news"[..];
        payload.extend(if choice % 3 == 2 { topic.to_vec() } else { [b"\0\0", topic].concat() });
        if choice % 3 == 2 {
            let (size, scale) = (usize::from(self.cut.u8()), self.cut.u8());
            payload.resize(payload.len() + (size << (scale % 13)), b'm');
        }
        self.send(place, &model::frame(bits, &payload));
    }

    /// Answers the last PING, if one came.
    fn answer_ping(&mut self, place: usize) {
        let (mut rest, mut last) = (&self.world.peers[place].got[..], None);
        while let Some((bits, payload, bytes)) = whole_frame(rest) {
            if bits == 0x4000 {
                last = Some(payload.to_vec());
            }
            rest = &rest[bytes..];
        }
        if let Some(payload) = last {
            self.send(place, &model::frame(0x4001, &payload));
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

    /// The time since it all began.
    fn elapsed_ms(&self) -> u64 {
        self.world.now.since_us(self.began) / 1000
    }

    /// Who is still there has got everything that is due to him; who is not has got it as far as his end allows.
    fn everything_is_answered(&self) {
        let ended = self.ended.lock().expect("one thread");
        for (place, peer) in self.world.peers.iter().enumerate() {
            let Some(token) = peer.token else {
                assert!(owed::is_farewell(self.rules, &peer.got), "peer {place} was never accepted");
                continue;
            };
            let why = ended.iter().find(|(id, _)| (id.generation, id.slot) == (token.generation, token.slot));
            self.is_answered(place, peer, why.map(|(_, why)| *why));
        }
    }

    fn is_answered(&self, place: usize, peer: &Peer, why: Option<CloseReason>) {
        let (heard, ended) = peer.heard_at_shut.unwrap_or((peer.read(), peer.end_seen));
        let (said, tail) = model::read(self.rules, &peer.sent[..heard], ended);
        let elapsed_ms = self.elapsed_ms();
        let got = owed::compare(self.rules, elapsed_ms, &said, &peer.got);
        let who = format!("peer {place} ({why:?}), heard {heard} bytes and the end: {ended}, {tail:?}");
        assert!(
            got.is_prefix || owed::is_farewell(self.rules, got.rest),
            "{who}: {} of {} missing, then {:?}",
            got.missing,
            said.len(),
            got.rest
        );
        let is_rightly_named = why.is_none_or(|why| owed::is_goaway_for(why, got.rest));
        assert!(is_rightly_named, "{who}: the last words are {:?}", got.rest);
        assert!(got.notices <= 1 + elapsed_ms / 1000, "{who}: {} notices in {elapsed_ms} ms", got.notices);
        assert!(got.pings <= elapsed_ms / 25_000, "{who}: {} heartbeats in {elapsed_ms} ms", got.pings);
        assert!(!got.is_leaving || self.is_draining, "{who}: told of a drain");
        // Who did not take what he was offered until it was too late has no claim to the rest.
        if self.budget < BUDGET_OF_SERVERS || peer.is_blocked || peer.was_reset {
            return;
        }
        let is_ending = why.is_none() && peer.heard_at_shut.is_some();
        if is_ending {
            // Its reason is not told yet.
            return;
        }
        self.is_ended_rightly(&who, &got, &said, tail, why);
        if why.is_none() {
            assert_eq!(peer.read(), peer.arrived(), "{who}: not read");
            assert!(!peer.has_ended, "{who}: has ended and is kept");
            assert!(!matches!(tail, Tail::Fault(_)), "{who}: broke the protocol and is kept");
            assert!(!got.has_failed, "{who}: was failed and is kept");
        }
    }

    /// Whether a connection's end, or its being there, goes along with what was heard and sent.
    fn is_ended_rightly(
        &self,
        who: &str,
        got: &Compared<'_>,
        said: &[Said],
        tail: Tail,
        why: Option<CloseReason>,
    ) {
        use CloseReason::{
            BadControl, BadCrc, BadExtension, Drained, Heartbeat, Http, LateHello, LineTooLong,
            NoCommonVersion, PeerClosed, Proxy, RequestFailed, Resp, TlsOnPlain, TooLarge, Truncated,
            Unauthenticated, UnknownControl, WrongDirection,
        };
        match why {
            None | Some(PeerClosed) => assert_eq!(got.missing, 0, "{who}: replies are missing"),
            Some(Drained) => {
                assert_eq!(got.missing, 0, "{who}: replies are missing");
                assert!(!got.is_welcomed || got.is_leaving, "{who}: was never told of the drain");
            }
            Some(Truncated) => assert_eq!((got.missing, tail), (0, Tail::Partial), "{who}"),
            Some(
                why @ (BadCrc | TooLarge | LineTooLong | BadExtension | UnknownControl | BadControl
                | WrongDirection | LateHello | NoCommonVersion | Unauthenticated),
            ) => assert_eq!((got.missing, tail), (0, Tail::Fault(why)), "{who}"),
            Some(RequestFailed) => assert!(got.has_failed, "{who}"),
            Some(TlsOnPlain | Http | Resp | Proxy) => {
                let is_text = matches!(self.rules.speech, Speech::Lines(_));
                assert!(said.is_empty() || is_text, "{who}: spoke our protocol");
            }
            Some(Heartbeat) => assert!(got.is_welcomed && got.pings > 0, "{who}: was not asked"),
            Some(_) => return,
        }
        assert_eq!(got.has_failed, why == Some(RequestFailed), "{who}");
        assert!(got.notices > 0 || !got.wants_notice, "{who}: was not told of a refusal");
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
        for gauge in Gauge::ALL.iter().filter(|gauge| **gauge != Gauge::Laters) {
            assert_eq!(figures.gauge(*gauge), 0, "{}", gauge.name());
        }
        assert!(self.world.peers.iter().all(|peer| peer.is_closed), "a stream is never closed");
        let ended = self.ended.lock().expect("one thread").len() as u64;
        assert_eq!(ended, figures.counter(Counter::Accepted), "every open has its close");
        self.everything_is_answered();
    }
}
