//! Law: whatever is answered now, later, from elsewhere, in any order, dropped or forgotten, and whatever happens to
//! the connections meanwhile: ordered replies come in the order of their requests, correlated ones once, none before
//! its answer, none behind the last words; who is still there is owed nothing when everything was answered; the
//! ledger balances after every turn; and a drain buries everything and gives all memory back.
//!
//! The input is six choices and a script of what happens to the world.
#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tidegate::base::limits::Limits;
use tidegate::base::{CloseReason, ConnId, Ms, Time, Token};
use tidegate::metrics::{Counter, Gauge, Snapshot};
use tidegate::service::{Cx, Frame, Later, Peer as PeerInfo, Replied, Reply, Segment, Service};
use tidegate::session::{Framing, Protocol};
use tidegate::turn::{ListenerConfig, Readiness, Turn, TurnConfig, Wait};
use tidegate::wire::Status;
use tidegate_fuzz::Cut;
use tidegate_fuzz::model::{self, Rules, Speech, Tail};
use tidegate_fuzz::promises::{self, Account, Answer, Record, Terms};
use tidegate_fuzz::world::World;

const CONNECTIONS_MAX: u32 = 3;
const PEERS_MAX: usize = 4;
/// What all peers together may send, and be answered, in bytes.
const BYTES_MAX: usize = 4 << 20;
/// Turns in which a loop must have come to rest, or have drained.
const TURNS_MAX: u32 = 20_000;
/// A wait up to this long, in milliseconds, is a step on the way to rest: the retries of those without memory.
const REST_WAIT_MS: u32 = 5;
const REQUEST_DEADLINES_MS: [u64; 3] = [30_000, 100, 5_000];
/// The smallest budget that a server accepts, and two under it, where nobody promises that a loop gets on.
const BUDGETS: [usize; 4] = [64 << 20, 4 << 20, 300 << 10, 60 << 10];
const BUDGET_OF_SERVERS: usize = 4 << 20;
const JUMPS_MS: [u64; 6] = [1, 50, 101, 1_000, 5_100, 31_000];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut run = Run::new(Cut::new(data));
    while !run.cut.is_empty() {
        run.step();
    }
    run.come_to_rest();
    run.promises_are_kept(true);
    run.drain_all();
    run.promises_are_kept(false);
    run.nothing_is_left();
});

/// What the service and the world outside of it know.
#[derive(Default)]
struct Notes {
    records: BTreeMap<u32, Record>,
    /// When each deferred request was started, for those that are not answered.
    waiting: Vec<(u32, Time, Option<Later>)>,
    ended: Vec<(ConnId, CloseReason)>,
    body_bytes: usize,
}

impl Notes {
    fn start(&mut self, number: u32) {
        let before = self.records.insert(number, Record::default());
        assert!(before.is_none(), "request {number} was handed over twice");
    }

    fn answer(&mut self, number: u32, answer: Answer) {
        if let Answer::Body(body) = &answer {
            self.body_bytes += body.len();
        }
        let record = self.records.get_mut(&number).expect("it was started");
        assert!(record.answer.replace(answer).is_none(), "request {number} is answered twice");
    }

    /// The right to answer one of those that wait.
    fn take(&mut self, pick: usize, now: Time, deadline_ms: u64) -> Option<(u32, Later)> {
        let place = pick % self.waiting.len().max(1);
        let (number, since, later) = self.waiting.get_mut(place)?;
        let (number, later) = (*number, later.take().expect("it waits"));
        let is_late = now.since_us(*since) >= (deadline_ms - 1) * 1000;
        self.waiting.remove(place);
        self.records.get_mut(&number).expect("it was started").may_be_late |= is_late;
        Some((number, later))
    }
}

/// Does what the first byte of a request says; see [`Answering::handle`].
struct Answering {
    notes: Arc<Mutex<Notes>>,
    deadline_ms: u64,
}

/// What a request with this number and size is answered.
fn body_of(number: u32, bytes: usize) -> Vec<u8> {
    let mut body = number.to_be_bytes().repeat(bytes / 4 + 1);
    body.truncate(bytes.max(4));
    body
}

impl Answering {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().expect("one thread")
    }

    fn defer(&self, number: u32, has_deadline: bool, reply: Reply<'_>, cx: &Cx<'_>) -> Replied {
        let (later, replied) = reply.defer();
        let mut notes = self.notes();
        let later = later.expect("fewer than there is room for");
        notes.records.get_mut(&number).expect("it was started").may_be_late |= has_deadline;
        notes.waiting.push((number, cx.now(), Some(later)));
        replied
    }

    /// A waiting request is answered from within.
    fn answer_another(&self, pick: usize, fails: bool, cx: &mut Cx<'_>) {
        let taken = self.notes().take(pick, cx.now(), self.deadline_ms);
        let Some((other, later)) = taken else { return };
        if fails {
            self.notes().answer(other, Answer::Failed(301));
            cx.fail(later, Status::application(301), "refused from within");
        } else {
            let body = body_of(other, 40);
            self.notes().answer(other, Answer::Body(body.clone()));
            cx.answer(later, &body);
        }
    }

    fn handle(&self, frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        let said = frame.payload();
        let (what, number) = (said.first().copied().unwrap_or_default(), promises::number(said));
        let bytes = said.get(5..7).map_or(0, |bytes| usize::from(bytes[0]) << (bytes[1] % 13));
        let has_deadline = frame.extension().is_some_and(|extension| extension.deadline_ms.is_some());
        let body = body_of(number, bytes);
        self.notes().start(number);
        let told = |answer| self.notes().answer(number, answer);
        match what % 16 {
            0..=4 => self.defer(number, has_deadline, reply, cx),
            5 => {
                told(Answer::Body(said.to_vec()));
                reply.forward(frame.whole())
            }
            6 => {
                told(Answer::Body(body.clone()));
                reply.share(body.into())
            }
            7 => {
                told(Answer::Body(body.clone()));
                let (front, back) = body.split_at(body.len() / 2);
                reply.gather(&[Segment::Copy(front), Segment::Copy(back)])
            }
            8 => {
                told(Answer::Failed(300));
                reply.fail_for(Status::application(300), "refused", 7)
            }
            9 => {
                told(Answer::Silence);
                reply.none()
            }
            10 => {
                let (later, replied) = reply.defer();
                drop(later);
                told(Answer::Dropped);
                self.notes().records.get_mut(&number).expect("started").may_be_late |= has_deadline;
                replied
            }
            11 | 12 => {
                self.answer_another(bytes, what % 16 == 12, cx);
                told(Answer::Body(body.clone()));
                reply.send(&body)
            }
            13 => {
                told(Answer::Body(body.clone()));
                cx.close(cx.id(), Status::application(400), "as you like").expect("room for one");
                reply.send(&body)
            }
            14 => {
                let (later, replied) = reply.defer();
                told(Answer::Body(body.clone()));
                self.notes().records.get_mut(&number).expect("started").may_be_late |= has_deadline;
                cx.answer(later.expect("fewer than there is room for"), &body);
                replied
            }
            _ => {
                told(Answer::Body(body.clone()));
                reply.send(&body)
            }
        }
    }
}

impl Service for Answering {
    type Conn = ();

    fn on_open(&mut self, _peer: &PeerInfo, _cx: &mut Cx<'_>) {}

    fn on_frame(&mut self, _conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        self.handle(frame, reply, cx)
    }

    fn on_close(&mut self, _conn: &mut (), why: CloseReason, cx: &mut Cx<'_>) {
        self.notes().ended.push((cx.id(), why));
    }
}

struct Run<'a> {
    cut: Cut<'a>,
    world: World,
    turn: Turn<Answering, World>,
    rules: Rules,
    limits: Limits,
    budget: usize,
    notes: Arc<Mutex<Notes>>,
    /// A drain that begins with the next turn, and how long it may take.
    drain_ms: Option<u32>,
    /// The end of its grace, once it has begun.
    drain_until: Option<Ms>,
    sent_bytes: usize,
    next_number: u32,
    events: Vec<(Token, Readiness)>,
}

impl<'a> Run<'a> {
    fn new(mut cut: Cut<'a>) -> Run<'a> {
        let speech = cut.pick(&[Speech::Frames, Speech::Frames, Speech::Frames, Speech::Bare]);
        let protocol = if speech == Speech::Bare { Protocol::Bare } else { Protocol::Frame };
        let payload_max: u32 = cut.pick(&[1 << 20, 4096]);
        let output_high_bytes = cut.pick(&[256 << 10, 1, 4096]);
        let budget = cut.pick(&BUDGETS);
        let (choice, deadlines) = (cut.u8(), cut.u8());
        let deadline_ms = REQUEST_DEADLINES_MS[usize::from(deadlines % 3)];
        let limits = Limits {
            output_high_bytes,
            output_low_bytes: output_high_bytes / 4,
            open_requests: [128, 1, 2, 5][usize::from(choice >> 4 & 3)],
            request_deadline: Duration::from_millis(deadline_ms),
            idle: [None, None, Some(Duration::from_secs(3))][usize::from(deadlines / 3 % 3)],
            ..Limits::default()
        };
        let listener = ListenerConfig {
            wants_hello: choice & 0xc0 == 0xc0 && protocol == Protocol::Frame,
            ..ListenerConfig::new(Framing::new(protocol, payload_max, 0))
        };
        let config = TurnConfig {
            budget_bytes: budget,
            limits: limits.clone(),
            ..TurnConfig::alone(CONNECTIONS_MAX, vec![listener.clone()])
        };
        let notes: Arc<Mutex<Notes>> = Arc::default();
        let theirs = Arc::clone(&notes);
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
            turn: Turn::new(config, now, move || Answering { notes: Arc::clone(&theirs), deadline_ms }),
            rules: Rules {
                wants_hello: listener.wants_hello,
                reply_max: (output_high_bytes + payload_max) as usize,
                ..Rules::new(speech, payload_max as usize)
            },
            limits,
            budget,
            notes,
            drain_ms: None,
            drain_until: None,
            sent_bytes: 0,
            next_number: 0,
            events: Vec::new(),
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().expect("one thread")
    }

    fn deadline_ms(&self) -> u64 {
        self.limits.request_deadline.as_millis() as u64
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
            0..=5 => self.send_requests(place),
            // Where all bits are route there are no control frames.
            6..=8 if self.rules.speech == Speech::Bare => {}
            6 => {
                let most = self.cut.pick(&[&[][..], &[1, 4, 0, 0, 0, 60]]);
                self.send(place, &model::frame(0x4002, &[&[1, 0, 0, 0, 0], most].concat()));
            }
            7 => {
                let opaque = vec![b'p'; usize::from(self.cut.u8() % 9)];
                self.send(place, &model::frame(0x4000, &opaque));
            }
            8 => {
                // SUBSCRIBE, which nobody knows yet; with a correlation, or not.
                let fields = [0, 0, 1, b't'];
                let id = self.cut.u8();
                let block = [3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, id];
                let frame = match id & 1 {
                    0 => model::frame(0x4006, &fields),
                    _ => model::frame(0xc006, &[&block[..], &fields].concat()),
                };
                self.send(place, &frame);
            }
            9 => {
                let mut frame = model::frame(1, &body_of(0, 9));
                *frame.last_mut().expect("a frame has a trailer") ^= 1;
                self.send(place, &frame);
            }
            10..=12 => {
                let (bytes, scale) = (usize::from(self.cut.u8()), self.cut.u8() % 13);
                peer.deliver(bytes << scale);
            }
            13 | 14 => {
                let (bytes, scale) = (usize::from(self.cut.u8()), self.cut.u8() % 13);
                peer.take(bytes << scale);
            }
            15 => peer.take(usize::MAX),
            16..=20 => {
                let (pick, how) = (usize::from(self.cut.u8()), self.cut.u8());
                self.answer(pick, how);
            }
            21 => (0..256).for_each(|_| self.answer(0, 0)),
            22 => (0..=255).for_each(|round| self.answer(usize::MAX - 1, round)),
            23 | 24 => {
                let jump_ms = self.cut.pick(&JUMPS_MS);
                self.world.now = self.world.now.plus_us(jump_ms * 1000);
            }
            25 => self.drain_ms = Some([50, 5_000, 60_000, 300_000][usize::from(self.cut.u8() % 4)]),
            26 => peer.end(),
            27 => peer.reset(),
            28 => peer.interrupt(1 + self.cut.u8() % 4),
            29 => {
                let window = if self.cut.u8() & 1 == 0 { usize::MAX } else { 0 };
                if self.world.peers.len() < PEERS_MAX {
                    self.world.connect(window);
                }
            }
            _ => peer.tell(Readiness { readable: true, writable: true, ..Readiness::default() }),
        }
    }

    /// Some requests that differ in their numbers only.
    fn send_requests(&mut self, place: usize) {
        let (shape, what) = (self.cut.u8(), self.cut.u8());
        let (size, scale) = (self.cut.u8(), self.cut.u8());
        let filler = vec![b'f'; usize::from(scale >> 4 & 3) * 500];
        for at in 0..1_u8 << (shape >> 5 & 3) {
            let number = self.next_number;
            self.next_number += 1;
            let said = [&[what][..], &number.to_be_bytes(), &[size, scale & 15], &filler].concat();
            let block = match (self.rules.speech, shape & 3) {
                (Speech::Bare | Speech::Lines(_), _) | (Speech::Frames, 0) => Vec::new(),
                (Speech::Frames, 1) => block(None, shape),
                // Ids are the requester's business: some are used again.
                (Speech::Frames, _) => block(Some(u64::from((size ^ at) & 3)), shape),
            };
            let bits = 1 | if block.is_empty() { 0 } else { 0x8000 };
            self.send(place, &model::frame(bits, &[block, said].concat()));
        }
    }

    fn send(&mut self, place: usize, bytes: &[u8]) {
        let answered = self.notes().body_bytes;
        let peer = &mut self.world.peers[place];
        if !peer.has_ended && self.sent_bytes + answered + bytes.len() <= BYTES_MAX {
            peer.sent.extend_from_slice(bytes);
            self.sent_bytes += bytes.len();
        }
    }

    /// Somebody outside answers one of the requests that wait.
    fn answer(&self, pick: usize, how: u8) {
        let taken = self.notes().take(pick, self.world.now, self.deadline_ms());
        let Some((number, later)) = taken else { return };
        let mut notes = self.notes();
        let mut body = |bytes: usize| {
            let body = body_of(number, if notes.body_bytes > BYTES_MAX { 4 } else { bytes });
            notes.answer(number, Answer::Body(body.clone()));
            body
        };
        match how % 8 {
            0..=2 => later.send(&body(usize::from(how >> 3))),
            3 => later.send(&body(usize::from(how >> 3) * 300)),
            4 => later.share(body(usize::from(how >> 3) * 20_000).into()),
            5 => {
                notes.answer(number, Answer::Failed(302));
                later.fail(Status::application(302), "refused later");
            }
            6 => {
                notes.answer(number, Answer::Dropped);
                drop(later);
            }
            // It is forgotten for a while.
            _ => {
                let since = self.world.now;
                notes.waiting.push((number, since, Some(later)));
                notes.records.get_mut(&number).expect("it was started").may_be_late = true;
            }
        }
    }

    fn one_turn(&mut self) {
        self.world.poll(&mut self.events);
        let now = self.world.now;
        self.turn.begin(now);
        if let Some(grace_ms) = self.drain_ms.take() {
            let until = now.ms().plus(grace_ms);
            self.turn.begin_drain(&mut self.world, until);
            self.drain_until = Some(self.drain_until.map_or(until, |before| before.min(until)));
        }
        for (token, ready) in self.events.drain(..) {
            self.turn.handle_event(&mut self.world, token, ready);
        }
        self.turn.end(&mut self.world);
        let figures = self.figures();
        assert!(figures.balances(), "{figures:?}");
        assert_eq!(figures.gauge(Gauge::Open), self.turn.open() as u64);
        assert_eq!(figures.counter(Counter::Panics), 0);
        let used = figures.gauge(Gauge::InputBytes) + figures.gauge(Gauge::OutputBytes);
        assert!(used + figures.gauge(Gauge::ReserveBytes) <= self.budget as u64);
    }

    fn figures(&self) -> Snapshot {
        self.turn.metrics().snapshot()
    }

    /// Everything arrives, everybody takes everything, everything that waits is answered, and the loop does what it can
    /// without waiting for a deadline.
    fn come_to_rest(&mut self) {
        for peer in &mut self.world.peers {
            peer.deliver(usize::MAX);
            peer.take(usize::MAX);
        }
        for _ in 0..TURNS_MAX {
            self.one_turn();
            if !self.notes().waiting.is_empty() {
                self.answer(0, 0);
                continue;
            }
            match self.turn.wait() {
                Wait::Not => {}
                _ if self.world.has_events() => {}
                Wait::Until(due) if due.since(self.world.now.ms()) <= REST_WAIT_MS => self.wait_until(due),
                Wait::Until(_) | Wait::Forever => return,
            }
        }
        assert!(self.budget < BUDGET_OF_SERVERS, "the loop does not come to rest: {:?}", self.figures());
    }

    fn wait_until(&mut self, due: Ms) {
        let ms = u64::from(due.since(self.world.now.ms())).max(1);
        self.world.now = self.world.now.plus_us(ms * 1000);
    }

    /// What came to each peer is what it was promised, and who could have all of it lacks nothing.
    fn promises_are_kept(&self, is_rest: bool) {
        let notes = self.notes();
        for (place, peer) in self.world.peers.iter().enumerate() {
            let Some(token) = peer.token else { continue };
            let why =
                notes.ended.iter().find(|(id, _)| (id.generation, id.slot) == (token.generation, token.slot));
            let why = why.map(|(_, why)| *why);
            let (heard, ended) = peer.heard_at_shut.unwrap_or((peer.read(), peer.end_seen));
            let (said, tail) = model::read(self.rules, &peer.sent[..heard], ended);
            let hard = self.limits.output_high_bytes as usize + self.rules.payload_max;
            let terms = Terms {
                is_bare: self.rules.speech == Speech::Bare,
                reply_max: self.rules.reply_max,
                may_be_short: self.budget < BUDGETS[0] || notes.body_bytes + self.sent_bytes > hard,
            };
            let account = promises::audit(terms, &said, &notes.records, &peer.got);
            if peer.is_blocked || peer.was_reset || self.budget < BUDGET_OF_SERVERS {
                continue;
            }
            let is_open = why.is_none() && peer.heard_at_shut.is_none();
            if is_open {
                assert!(is_rest, "peer {place} is still there");
                assert_eq!(peer.read(), peer.arrived(), "peer {place} is not read");
                assert!(!peer.has_ended, "peer {place} has ended and is kept");
                assert!(!matches!(tail, Tail::Fault(_)), "peer {place} broke the protocol and is kept");
            }
            self.check_account(place, why, is_open, tail, &account);
        }
    }

    fn check_account(
        &self,
        place: usize,
        why: Option<CloseReason>,
        is_open: bool,
        tail: Tail,
        account: &Account,
    ) {
        use CloseReason::{
            BadCrc, ClosedByService, Drained, Heartbeat, Idle, LateHello, PeerClosed, RequestFailed,
            Truncated, Unauthenticated,
        };
        let context = format!("peer {place} ({why:?}, {tail:?}): {account:?}");
        match why {
            None if !is_open => {}
            // The end of the grace cuts whoever ends already, without changing the reason.
            Some(_) if self.drain_until.is_some_and(|until| until.reached(self.world.now.ms())) => {}
            _ if account.has_failed => {}
            None
            | Some(
                PeerClosed | Truncated | Drained | BadCrc | LateHello | Idle | Heartbeat | Unauthenticated,
            ) => {
                assert!(account.owed.is_empty() && account.others_owed == 0, "{context}");
            }
            // What came behind the request that closed it was not heard.
            Some(ClosedByService) => {}
            Some(RequestFailed) => assert!(!account.owed.is_empty(), "{context}"),
            Some(_) => {}
        }
    }

    /// The server goes away, with all the time that it wants.
    fn drain_all(&mut self) {
        self.drain_ms = Some(60_000);
        for _ in 0..TURNS_MAX {
            self.one_turn();
            while !self.notes().waiting.is_empty() {
                self.answer(0, 0);
            }
            if self.turn.is_drained() && self.turn.wait() != Wait::Not {
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
        let ended = self.notes().ended.len() as u64;
        assert_eq!(ended, figures.counter(Counter::Accepted), "every open has its close");
    }
}

/// An extension block: with this correlation, and what the shape says besides.
fn block(id: Option<u64>, shape: u8) -> Vec<u8> {
    let is_unsupported = shape & 0x9c == 0x9c;
    let deadline_ms = (shape & 4 != 0).then_some(if shape & 0x80 == 0 { 40_u32 } else { 3_000 });
    let mut block = vec![0, 0, 0, 0];
    block.extend(id.iter().flat_map(|id| id.to_be_bytes()));
    block.extend(deadline_ms.iter().flat_map(|ms| ms.to_be_bytes()));
    let one_way = shape & 0x18 == 0x18;
    block[0] = u8::try_from(block.len() / 4).expect("a short block");
    block[1] = u8::from(id.is_some())
        | u8::from(deadline_ms.is_some()) << 1
        | u8::from(one_way) << 3
        | u8::from(is_unsupported) << 4;
    block
}
