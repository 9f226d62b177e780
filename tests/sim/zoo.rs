//! A service with one of everything that a handler can do, and a model that knows what it must say.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::time::Duration;
use tidegate::base::{CloseReason, ConnId};
use tidegate::service::{
    AfterPanic, BuiltIn, Cx, Frame, Incoming, Later, Message, Origin, Peer, Replied, Reply, Segment, Service,
    Welcomed,
};
use tidegate::sim::{Answer, Request, Threads};
use tidegate::wire::{ClientId, Extension, Hello, Status};

// Beside the built-in routes 0 to 3. At once:
pub(crate) const HUGE: u16 = 4;
pub(crate) const SHARED: u16 = 5;
pub(crate) const GATHERED: u16 = 6;
pub(crate) const FAILS: u16 = 7;
pub(crate) const PANICS: u16 = 8;
pub(crate) const NOBODY: u16 = 9;
pub(crate) const FAILS_FOR: u16 = 10;
// Later:
pub(crate) const BY_TIMER: u16 = 11;
pub(crate) const BY_THREAD: u16 = 12;
pub(crate) const BY_THE_NEXT: u16 = 13;
pub(crate) const FAILS_LATER: u16 = 14;
pub(crate) const LARGE_LATER: u16 = 15;
pub(crate) const DROPS: u16 = 16;
pub(crate) const PANICS_LATER: u16 = 17;
pub(crate) const OFFLOADS: u16 = 18;
pub(crate) const PANICS_AWAY: u16 = 19;
// Not in time:
pub(crate) const FORGETS: u16 = 20;
pub(crate) const TOO_LATE: u16 = 21;
// With others:
pub(crate) const RELAYS: u16 = 22;
pub(crate) const PUBLISHES: u16 = 23;
pub(crate) const KICKS: u16 = 24;

/// The topic of what [`PUBLISHES`] publishes.
pub(crate) const TOPIC: &str = "zoo.all";

/// What the zoo is told, besides what it is asked.
#[derive(Clone, Copy)]
pub(crate) struct Keeper {
    pub after_panic: AfterPanic,
    /// More than any request may take.
    pub too_late: Duration,
    /// What [`RELAYS`] dials.
    pub backend: SocketAddr,
    /// Whether what is sent there is certain to come back.
    pub relays_surely: bool,
    /// Whether some jobs are refused.
    pub may_refuse_jobs: bool,
}

/// Connections that the zoo remembers, those that are over among them.
const REMEMBERED: usize = 8;

pub(crate) struct Zoo {
    keeper: Keeper,
    threads: Threads,
    /// Deferred, by the tag of their timer.
    waiting: HashMap<u64, (Later, What)>,
    tags: u64,
    greeted: VecDeque<ConnId>,
    remembered: VecDeque<ConnId>,
    upstream: Upstream,
    /// Sent on, or to be sent on, by their correlation: where to, and what.
    relayed: HashMap<u64, (Option<ConnId>, Later, Vec<u8>)>,
}

enum What {
    Reply(Vec<u8>),
    Fail,
}

enum Upstream {
    None,
    Dialing,
    There(ConnId),
}

/// At least 120,000 bytes for any payload that is not empty.
fn huge(payload: &[u8]) -> Vec<u8> {
    payload.repeat(9 + 120_000 / payload.len().max(1))
}

fn flipped(payload: &[u8]) -> Vec<u8> {
    let mut flipped = payload.to_vec();
    flipped.iter_mut().take(1).for_each(|first| *first ^= 1);
    flipped
}

fn must_panic(payload: &[u8]) -> bool {
    payload.len().is_multiple_of(3)
}

impl Zoo {
    pub(crate) fn new(keeper: Keeper, threads: &Threads) -> Zoo {
        Zoo {
            keeper,
            threads: threads.clone(),
            waiting: HashMap::new(),
            tags: 0,
            greeted: VecDeque::new(),
            remembered: VecDeque::new(),
            upstream: Upstream::None,
            relayed: HashMap::new(),
        }
    }

    /// Lets a request wait for a timer.
    fn wait(&mut self, reply: Reply<'_>, cx: &mut Cx<'_>, after: Duration, what: What) -> (Replied, u64) {
        let (later, replied) = reply.defer();
        self.tags += 1;
        if let Ok(later) = later {
            self.waiting.insert(self.tags, (later, what));
            cx.arm(after, self.tags).expect("few timers are armed");
        }
        (replied, self.tags)
    }

    fn soon(cx: &mut Cx<'_>) -> Duration {
        let most_us = [1, 20_000, 400_000][usize::try_from(cx.rng().below(3)).expect("below 3")];
        Duration::from_micros(cx.rng().below(most_us))
    }

    fn answer(&mut self, tag: u64, cx: &mut Cx<'_>) {
        match self.waiting.remove(&tag) {
            Some((later, What::Reply(payload))) => cx.answer(later, &payload),
            Some((later, What::Fail)) => cx.fail(later, Status::application(300), "as asked, later"),
            None => {}
        }
    }

    fn relay(&mut self, reply: Reply<'_>, payload: &[u8], cx: &mut Cx<'_>) -> Replied {
        let (later, replied) = reply.defer();
        let Ok(later) = later else { return replied };
        self.tags += 1;
        let to = match self.upstream {
            Upstream::There(id) => Some(id),
            Upstream::Dialing => None,
            Upstream::None => {
                cx.dial(self.keeper.backend, self.tags).expect("few effects wait");
                self.upstream = Upstream::Dialing;
                None
            }
        };
        match to {
            Some(to) if !send_on(to, self.tags, payload, cx) => {
                cx.fail(later, Status::UNAVAILABLE, "too much waits for its server");
            }
            Some(_) | None => {
                self.relayed.insert(self.tags, (to, later, payload.to_vec()));
            }
        }
        replied
    }

    fn upstream_opened(&mut self, id: ConnId, cx: &mut Cx<'_>) {
        self.upstream = Upstream::There(id);
        let is_unsent = |(_, (to, ..)): &(&u64, &(Option<ConnId>, Later, Vec<u8>))| to.is_none();
        let mut unsent: Vec<u64> = self.relayed.iter().filter(is_unsent).map(|(tag, _)| *tag).collect();
        unsent.sort_unstable();
        for tag in unsent {
            let Some((_, later, payload)) = self.relayed.remove(&tag) else { continue };
            if send_on(id, tag, &payload, cx) {
                self.relayed.insert(tag, (Some(id), later, payload));
            } else {
                cx.fail(later, Status::UNAVAILABLE, "too much waits for its server");
            }
        }
    }

    fn upstream_closed(&mut self, id: ConnId, cx: &mut Cx<'_>) {
        if matches!(self.upstream, Upstream::There(there) if there == id) {
            self.upstream = Upstream::None;
        }
        let mut lost: Vec<u64> =
            self.relayed.iter().filter(|(_, (to, ..))| *to == Some(id)).map(|(tag, _)| *tag).collect();
        lost.sort_unstable();
        for tag in lost {
            let Some((_, later, _)) = self.relayed.remove(&tag) else { continue };
            cx.fail(later, Status::OUTCOME_UNKNOWN, "its server is gone");
        }
    }
}

/// False if too much waits for that server already.
fn send_on(to: ConnId, tag: u64, payload: &[u8], cx: &mut Cx<'_>) -> bool {
    let extension = Extension { correlation: Some(tag), ..Extension::default() };
    cx.request(to, 1, Some(&extension), payload).is_ok()
}

/// What the zoo keeps of a connection.
#[derive(Default)]
pub(crate) struct Guest {
    is_upstream: bool,
    /// A request that waits for the next one.
    before: Option<u64>,
}

impl Service for Zoo {
    type Conn = Guest;

    fn on_open(&mut self, peer: &Peer, cx: &mut Cx<'_>) -> Guest {
        self.remembered.push_back(cx.id());
        if self.remembered.len() > REMEMBERED {
            self.remembered.pop_front();
        }
        let is_upstream = matches!(peer.origin, Origin::Dialed { .. });
        if is_upstream {
            self.upstream_opened(cx.id(), cx);
        }
        Guest { is_upstream, before: None }
    }

    fn on_hello(&mut self, _guest: &mut Guest, hello: &Hello<'_>, cx: &mut Cx<'_>) -> Welcomed {
        if hello.token == b"wrong" {
            return Welcomed::Refused("who are you?".into());
        }
        self.greeted.push_back(cx.id());
        if self.greeted.len() > REMEMBERED {
            self.greeted.pop_front();
        }
        ClientId::parse(hello.client_id).map_or(Welcomed::Anonymous, Welcomed::As)
    }

    fn on_frame(
        &mut self,
        guest: &mut Guest,
        frame: Frame<'_>,
        reply: Reply<'_>,
        cx: &mut Cx<'_>,
    ) -> Replied {
        let payload = frame.payload();
        match frame.route() {
            0 => BuiltIn::Ack.handle(frame, reply),
            1 => BuiltIn::Echo.handle(frame, reply),
            2 => BuiltIn::Discard.handle(frame, reply),
            3 => BuiltIn::Flip.handle(frame, reply),
            HUGE => reply.send(&huge(payload)),
            SHARED => reply.share([payload, payload].concat().into()),
            GATHERED => {
                let whole = Segment::Forward(frame.part(0..payload.len()));
                reply.gather(&[Segment::Copy(b"<"), whole, Segment::Copy(b"|"), whole])
            }
            FAILS => reply.fail(Status::application(300), "as asked"),
            FAILS_FOR => reply.fail_for(Status::OVERLOADED, "as asked", 250),
            // No hook sees this panic, so nothing is printed.
            PANICS if must_panic(payload) => resume_unwind(Box::new("as planned")),
            PANICS => reply.send(b"alive"),
            BY_TIMER => {
                let after = Zoo::soon(cx);
                self.wait(reply, cx, after, What::Reply(flipped(payload))).0
            }
            BY_THE_NEXT => match guest.before.take() {
                Some(before) => {
                    // Behind the one that waits, which gets its answer now.
                    let replied = reply.send(&flipped(payload));
                    self.answer(before, cx);
                    replied
                }
                None => {
                    let after = Duration::from_millis(450);
                    let (replied, tag) = self.wait(reply, cx, after, What::Reply(flipped(payload)));
                    guest.before = Some(tag);
                    replied
                }
            },
            FAILS_LATER => {
                let after = Zoo::soon(cx);
                self.wait(reply, cx, after, What::Fail).0
            }
            TOO_LATE => self.wait(reply, cx, self.keeper.too_late, What::Reply(b"too late".to_vec())).0,
            BY_THREAD | LARGE_LATER => {
                let is_large = frame.route() == LARGE_LATER;
                let payload = if is_large { huge(payload) } else { flipped(payload) };
                let (later, replied) = reply.defer();
                if let Ok(later) = later {
                    self.threads.later(move || {
                        if is_large { later.share(payload.into()) } else { later.send(&payload) }
                    });
                }
                replied
            }
            DROPS => reply.defer().1,
            FORGETS => {
                let (later, replied) = reply.defer();
                if let Ok(later) = later {
                    self.threads.forget(later);
                }
                replied
            }
            PANICS_LATER => {
                let (_later, _replied) = reply.defer();
                resume_unwind(Box::new("as planned"))
            }
            OFFLOADS => {
                let payload = flipped(payload);
                reply.offload(move || payload)
            }
            PANICS_AWAY => reply.offload(|| -> Vec<u8> { resume_unwind(Box::new("as planned")) }),
            RELAYS => self.relay(reply, payload, cx),
            PUBLISHES => {
                cx.publish(payload.to_vec()).expect("few effects wait");
                reply.send(b"published")
            }
            KICKS => {
                let count = self.remembered.len() as u64;
                let at = usize::try_from(cx.rng().below(count)).expect("a handful");
                if let Some(id) = self.remembered.get(at) {
                    cx.close(*id, Status::application(400), "kicked").expect("few effects wait");
                }
                reply.send(b"kicked")
            }
            _ => reply.fail(Status::NO_ROUTE, "nobody"),
        }
    }

    fn on_incoming(&mut self, _guest: &mut Guest, incoming: Incoming<'_>, cx: &mut Cx<'_>) {
        match incoming {
            Incoming::Reply(frame) => {
                let correlation = frame.extension().and_then(|extension| extension.correlation);
                let Some((_, later, _)) = correlation.and_then(|tag| self.relayed.remove(&tag)) else {
                    return;
                };
                cx.answer(later, frame.payload());
            }
            Incoming::GoAway { .. } => {
                if matches!(self.upstream, Upstream::There(there) if there == cx.id()) {
                    self.upstream = Upstream::None;
                }
            }
            Incoming::Error { .. }
            | Incoming::Welcome(_)
            | Incoming::Message { .. }
            | Incoming::Ack { .. }
            | Incoming::Missed { .. }
            | Incoming::Notice { .. } => {}
            _ => panic!("the zoo does not know what {incoming:?} is"),
        }
    }

    fn on_publish(&mut self, bytes: &bytes::Bytes, cx: &mut Cx<'_>) {
        let message = Message::new(TOPIC, bytes);
        for id in &self.greeted {
            cx.message(*id, &message).expect("few effects wait");
        }
    }

    fn on_timer(&mut self, tag: u64, cx: &mut Cx<'_>) {
        self.answer(tag, cx);
    }

    fn on_close(&mut self, guest: &mut Guest, _why: CloseReason, cx: &mut Cx<'_>) {
        if guest.is_upstream {
            self.upstream_closed(cx.id(), cx);
        }
    }

    fn on_panic(&mut self) -> AfterPanic {
        self.keeper.after_panic
    }
}

/// What the zoo must say.
pub(crate) fn model(keeper: &Keeper, request: &Request<'_>) -> Answer {
    let payload = request.payload;
    match request.route {
        0 => Answer::Reply(BuiltIn::ACK.into()),
        1 => Answer::Reply(payload.to_vec()),
        2 => Answer::Silent,
        3 | BY_TIMER | BY_THREAD | BY_THE_NEXT => Answer::Reply(flipped(payload)),
        HUGE | LARGE_LATER => Answer::Reply(huge(payload)),
        SHARED => Answer::Reply([payload, payload].concat()),
        GATHERED => Answer::Reply([b"<", payload, b"|", payload].concat()),
        FAILS | FAILS_LATER => Answer::Fails(300),
        FAILS_FOR => Answer::Fails(5),
        PANICS if must_panic(payload) => Answer::Fails(10),
        PANICS => Answer::Reply(b"alive".to_vec()),
        DROPS | PANICS_LATER => Answer::Fails(10),
        OFFLOADS if keeper.may_refuse_jobs => {
            Answer::OneOf { replies: vec![flipped(payload)], fails: vec![5] }
        }
        OFFLOADS => Answer::Reply(flipped(payload)),
        PANICS_AWAY => Answer::OneOf { replies: Vec::new(), fails: vec![5, 10] },
        FORGETS | TOO_LATE => Answer::Fails(7),
        RELAYS if keeper.relays_surely => Answer::OneOf { replies: vec![payload.to_vec()], fails: vec![6] },
        RELAYS => Answer::OneOf { replies: vec![payload.to_vec()], fails: vec![6, 7] },
        PUBLISHES => Answer::Reply(b"published".to_vec()),
        KICKS => Answer::Reply(b"kicked".to_vec()),
        _ => Answer::Fails(4),
    }
}
