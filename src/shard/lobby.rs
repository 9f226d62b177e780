//! The lobby: newcomers of listeners that want something before the first message, until they have brought it.
//!
//! ```text
//!   kernel's queue --accept--> first look --whole--> the turn registers and serves it
//!                                 |                    ^
//!                                 `--> [ lobby ] ------'   an edge, another look
//!                                         `--> closed: in time not whole, wrong, the oldest of too many
//! ```
//!
//! A look takes what its kind of entrance needs from the socket and not a byte more, so that the turn finds the rest; it
//! registers the stream anew, and the poller tells again of what lies there already.
//!
//! Always holds: who is in the lobby has a seat, has an edge to come or a place among the pending, and is closed when its
//! time is over; there are at most [`LOBBY_MAX`], and of one source that is no trusted proxy an eighth of them. Never: a
//! message; who is closed here has sent none.

mod line;
mod proxy;
mod refusal;

use super::secured::{Acceptor, Secured, Session};
use crate::base::limits::{HANDSHAKE_BYTES, LISTENERS_MAX, LOBBY_MAX, LOBBY_SHARE, PROXY_STEPS_PER_TURN};
use crate::base::time::whole_ms;
use crate::base::{Address, Ms, Network};
use crate::metrics::{Counter, Gauge, Recorder};
use crate::net::Stream;
use crate::turn::{Entered, Seats};
use crate::wire::proxy::HEADER_BYTES_MAX;
use core::net::IpAddr;
use line::Line;
use mio::{Interest, Registry};
use refusal::Journal;
pub(super) use refusal::Refusal;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The poller's name of a place in the lobby: behind all listeners, of generation 0 like them, so that the turn meets it
/// where it meets newcomers, and not at every event.
const FIRST_PLACE: u32 = 1 << 16;
const _: () = assert!(LISTENERS_MAX < FIRST_PLACE as usize, "no listener has such a name");

/// What a listener wants before the first message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entrance {
    /// A PROXY header, from these networks alone.
    pub proxy: Option<Vec<Network>>,
    /// Behind that, a TLS handshake.
    pub tls: Option<Arc<Acceptor>>,
}

impl Entrance {
    /// Whether its newcomers have to pass the lobby.
    pub const fn is_needed(&self) -> bool {
        self.proxy.is_some() || self.tls.is_some()
    }

    fn first_stage(&self) -> Result<Stage, Refusal> {
        if self.proxy.is_some() { Ok(Stage::Proxy) } else { self.second_stage() }
    }

    fn second_stage(&self) -> Result<Stage, Refusal> {
        match &self.tls {
            Some(acceptor) => Session::start(acceptor).map(Stage::Tls),
            None => Ok(Stage::Nothing),
        }
    }

    fn trusts(&self, address: Address) -> bool {
        self.proxy.as_ref().is_none_or(|trusted| trusted.iter().any(|network| network.contains(address)))
    }
}

/// What a newcomer has to bring next.
#[derive(Debug)]
enum Stage {
    /// Its PROXY header.
    Proxy,
    /// The rest of its handshake.
    Tls(Box<Session>),
    /// Nothing.
    Nothing,
}

/// How a look ended.
pub(super) enum Looked {
    /// More must come, and an edge will tell.
    Waits,
    /// No edge will tell: it has to be looked at again.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "only handshakes come in steps"))]
    Later,
    /// It is through.
    Enters,
    /// It ends here.
    Ends(Refusal),
}

/// A newcomer.
#[derive(Debug)]
struct Member {
    stream: Stream,
    /// Its listener's place in the server's list.
    listener: u32,
    stage: Stage,
    /// What is known of it.
    entered: Entered,
    /// Whose share of the lobby it has; `None` for a proxy, which speaks for many.
    source: Option<IpAddr>,
    until: Ms,
    /// Among the pending.
    is_pending: bool,
}

impl Member {
    /// Takes what there is of what it has to bring.
    fn look(&mut self, entrance: &Entrance, scratch: &mut [u8], handshakes: &mut u32) -> Looked {
        if matches!(self.stage, Stage::Proxy) {
            match proxy::look(&self.stream, &mut scratch[..HEADER_BYTES_MAX]) {
                Ok(Some(source)) => self.entered.come_by(source),
                Ok(None) => return Looked::Waits,
                Err(why) => return Looked::Ends(why),
            }
            match entrance.second_stage() {
                Ok(stage) => self.stage = stage,
                Err(why) => return Looked::Ends(why),
            }
        }
        match &mut self.stage {
            Stage::Tls(session) => session.look(&self.stream, scratch, handshakes),
            Stage::Proxy | Stage::Nothing => Looked::Enters,
        }
    }
}

/// Somebody who is through: the stream, what is known of it, its listener's place.
pub(super) type Through = (Stream, Entered, u32);

/// The newcomers of a loop that are not through yet.
#[derive(Debug)]
pub(super) struct Lobby {
    entrances: Arc<[Entrance]>,
    line: Line<Member>,
    /// Those that have to be looked at without an edge, by their places; some may have left.
    pending: VecDeque<u32>,
    sources: HashMap<IpAddr, usize>,
    looks_left: u32,
    /// Steps of handshakes that may be done now: each may cost as much as a thousand messages, so there are none before
    /// live connections have had their part of the turn.
    handshakes_left: u32,
    deadline_ms: u32,
    /// A drain has begun: nobody waits any more.
    is_closing: bool,
    scratch: Box<[u8]>,
    /// Sessions of those that are through.
    pub(super) secured: Secured,
    journal: Journal,
    seats: Arc<Seats>,
    /// The loop's figures, once there are any.
    metrics: Option<Recorder>,
}

impl Lobby {
    /// An empty one, for listeners with these entrances. The seats are the loop's.
    pub(super) fn new(entrances: Arc<[Entrance]>, deadline: Duration, seats: Arc<Seats>) -> Lobby {
        let is_needed = entrances.iter().any(Entrance::is_needed);
        let secured = Secured::new(&entrances);
        Lobby {
            secured,
            entrances,
            line: Line::new(),
            pending: VecDeque::new(),
            sources: HashMap::new(),
            looks_left: PROXY_STEPS_PER_TURN,
            handshakes_left: 0,
            deadline_ms: whole_ms(deadline),
            is_closing: false,
            scratch: vec![0; if is_needed { HANDSHAKE_BYTES.max(HEADER_BYTES_MAX) } else { 0 }]
                .into_boxed_slice(),
            journal: Journal::default(),
            seats,
            metrics: None,
        }
    }

    /// Where it counts: on the loop's own thread, which is the one that writes these figures.
    pub(super) fn count_in(&mut self, metrics: Recorder) {
        self.metrics = Some(metrics);
    }

    /// Whether this listener's newcomers pass through here.
    pub(super) fn is_of(&self, listener: u32) -> bool {
        self.entrances.get(listener as usize).is_some_and(Entrance::is_needed)
    }

    /// Whether a turn has nothing to do here.
    #[inline]
    pub(super) const fn is_idle(&self) -> bool {
        self.is_empty() && !self.secured.has_certificates()
    }

    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.line.front().is_none()
    }

    /// Whether a drain has begun.
    pub(super) const fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// How long it may be left alone without an event.
    #[cold]
    pub(super) fn wait_ms(&self, now: Ms) -> Option<u32> {
        if !self.pending.is_empty() {
            return Some(0);
        }
        let oldest = self.line.front().and_then(|place| self.line.get(place));
        let waits = oldest.map(|oldest| oldest.until.since(now));
        match (waits, self.secured.wait_ms()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, None) | (None, one) => one,
        }
    }

    /// Takes in a newcomer that has a seat. `None`: it waits, or was closed and its seat is free again.
    pub(super) fn enter(
        &mut self,
        registry: &Registry,
        (stream, address, listener): (Stream, Address, u32),
        now: Ms,
    ) -> Option<Through> {
        let entrance = &self.entrances[listener as usize];
        let (stage, trouble) = match entrance.first_stage() {
            Ok(stage) => (stage, None),
            Err(why) => (Stage::Nothing, Some(why)),
        };
        let mut member = Member {
            stream,
            listener,
            stage,
            entered: address.into(),
            source: if entrance.proxy.is_some() { None } else { source_of(address) },
            until: now.plus(self.deadline_ms),
            is_pending: false,
        };
        if !entrance.trusts(address) {
            self.refuse(member, Refusal::UntrustedProxy, now);
            return None;
        }
        if let Some(why) = trouble {
            self.refuse(member, why, now);
            return None;
        }
        if self.looks_left == 0 && !self.is_closing {
            member.is_pending = true;
            self.keep(registry, member, now);
            return None;
        }
        self.looks_left = self.looks_left.saturating_sub(1);
        match member.look(&self.entrances[listener as usize], &mut self.scratch, &mut self.handshakes_left) {
            Looked::Enters => return Some(self.let_in(member)),
            Looked::Ends(why) => self.refuse(member, why, now),
            Looked::Later if !self.is_closing => {
                member.is_pending = true;
                self.keep(registry, member, now);
            }
            Looked::Waits | Looked::Later if self.is_closing => self.refuse(member, Refusal::Drained, now),
            Looked::Waits | Looked::Later => self.keep(registry, member, now),
        }
        None
    }

    /// Finds room for one that must wait, if need be at the cost of whoever has waited longest.
    fn keep(&mut self, registry: &Registry, mut member: Member, now: Ms) {
        if let Some(source) = member.source
            && self.sources.get(&source).is_some_and(|count| *count >= LOBBY_MAX / LOBBY_SHARE)
        {
            self.refuse(member, Refusal::Crowded, now);
            return;
        }
        if self.line.len() >= LOBBY_MAX {
            self.evict(now);
        }
        let name = mio::Token((FIRST_PLACE + self.line.next_place()) as usize);
        let is_secure = self.entrances[member.listener as usize].tls.is_some();
        let both = Interest::READABLE | Interest::WRITABLE;
        let interest = if is_secure { both } else { Interest::READABLE };
        if registry.register(&mut member.stream, name, interest).is_err() {
            self.refuse(member, Refusal::Failed, now);
            return;
        }
        if let Some(source) = member.source {
            *self.sources.entry(source).or_default() += 1;
        }
        let is_pending = member.is_pending;
        let place = self.line.push(member);
        if is_pending {
            self.pending.push_back(place);
        }
        self.tell_count();
    }

    /// Closes whoever has waited longest, and frees its seat. False if nobody is here.
    pub(super) fn evict(&mut self, now: Ms) -> bool {
        let oldest = self.line.front().and_then(|place| self.take(place));
        let is_one = oldest.is_some();
        if let Some(oldest) = oldest {
            self.refuse(oldest, Refusal::Evicted, now);
        }
        is_one
    }

    /// Looks at somebody of whom the poller told, or whose turn it is; who has left meanwhile is not missed.
    #[cold]
    pub(super) fn look_at(&mut self, name: u32, now: Ms) -> Option<Through> {
        let place = name.checked_sub(FIRST_PLACE)?;
        let member = self.line.get_mut(place)?;
        if self.looks_left == 0 {
            if !std::mem::replace(&mut member.is_pending, true) {
                self.pending.push_back(place);
            }
            return None;
        }
        self.looks_left -= 1;
        member.is_pending = false;
        let entrance = &self.entrances[member.listener as usize];
        match member.look(entrance, &mut self.scratch, &mut self.handshakes_left) {
            Looked::Waits => None,
            Looked::Later => {
                member.is_pending = true;
                self.pending.push_back(place);
                None
            }
            Looked::Enters => self.take(place).map(|member| self.let_in(member)),
            Looked::Ends(why) => {
                let member = self.take(place)?;
                self.refuse(member, why, now);
                None
            }
        }
    }

    /// One more step of a handshake may be done in this turn. False if the last one was not needed.
    pub(super) fn grant_step(&mut self) -> bool {
        std::mem::replace(&mut self.handshakes_left, 1) == 0
    }

    /// The name of one that has to be looked at without an edge, as long as this turn has looks left.
    pub(super) fn next_pending(&mut self) -> Option<u32> {
        while self.looks_left > 0 && self.handshakes_left > 0 {
            let place = self.pending.pop_front()?;
            if self.line.get(place).is_some_and(|member| member.is_pending) {
                return Some(FIRST_PLACE + place);
            }
        }
        None
    }

    /// A turn ends: closes those whose time is over. The next one has its looks again.
    pub(super) fn end_turn(&mut self, now: Ms) {
        while let Some(place) = self.line.front()
            && self.line.get(place).is_some_and(|member| member.until.reached(now))
            && let Some(member) = self.take(place)
        {
            self.refuse(member, Refusal::TimedOut, now);
        }
        (self.looks_left, self.handshakes_left) = (PROXY_STEPS_PER_TURN, 0);
    }

    /// A drain begins: gives the next one that is through, now, and closes all before it that are not. From here on
    /// nobody waits.
    #[cold]
    pub(super) fn clear(&mut self, now: Ms) -> Option<Through> {
        self.is_closing = true;
        while let Some(mut member) = self.line.front().and_then(|place| self.take(place)) {
            let entrance = &self.entrances[member.listener as usize];
            self.handshakes_left = 1;
            match member.look(entrance, &mut self.scratch, &mut self.handshakes_left) {
                Looked::Enters => return Some(self.let_in(member)),
                Looked::Waits | Looked::Later => self.refuse(member, Refusal::Drained, now),
                Looked::Ends(why) => self.refuse(member, why, now),
            }
        }
        None
    }

    fn take(&mut self, place: u32) -> Option<Member> {
        let member = self.line.remove(place)?;
        if let Some(source) = member.source
            && let Some(count) = self.sources.get_mut(&source)
        {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&source);
            }
        }
        self.tell_count();
        Some(member)
    }

    fn let_in(&mut self, mut member: Member) -> Through {
        self.add(Counter::Entered);
        if let Stage::Tls(mut session) = std::mem::replace(&mut member.stage, Stage::Nothing) {
            session.counters().into_iter().for_each(|counter| self.add(counter));
            member.entered.secure = Some(session.peer());
            self.secured.keep(&member.stream, session);
        }
        (member.stream, member.entered, member.listener)
    }

    /// Closes a newcomer that is in no place.
    fn refuse(&mut self, member: Member, why: Refusal, now: Ms) {
        self.add(why.counter());
        self.journal.refused(now, member.entered.address, member.listener, &why);
        self.seats.give_back();
        // Closing takes it from the poller: nobody else holds this descriptor.
        drop(member);
    }

    fn add(&self, counter: Counter) {
        if let Some(metrics) = &self.metrics {
            metrics.add(counter, 1);
        }
    }

    fn tell_count(&self) {
        if let Some(metrics) = &self.metrics {
            metrics.set(Gauge::Entering, self.line.len() as u64);
        }
    }
}

/// Whose share of the lobby somebody at this address has: of IPv6 it is the network of 64 bits, which one host may have for
/// itself (RFC 6177). Clients of unix sockets have no address that would tell them apart.
fn source_of(address: Address) -> Option<IpAddr> {
    let ip = address.ip()?.ip().to_canonical();
    match Network::of(ip, if ip.is_ipv4() { 32 } else { 64 }) {
        Network::Ip { first, .. } => Some(first),
        Network::Unix => None,
    }
}

#[cfg(test)]
mod tests;
