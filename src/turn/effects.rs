//! Effects of callbacks, carried out: what goes to other connections, other loops, other servers, and later moments.
//!
//! Always holds: in the order in which they were asked for; a connection that got something is on the hot list, and is
//! flushed once. Never: more than [`EFFECTS_PER_TURN`] in one go. Effects of effects come behind all others.

use super::entry::{Entry, Flags, Life, PeerAddress};
use super::visit::{Said, Verdict};
use super::{Io, Turn, slot_of};
use crate::base::limits::{EFFECTS_PER_TURN, TIMERS_PER_TURN};
use crate::base::planted::{Bug, is_planted};
use crate::base::{Address, CloseReason, ConnId, Text, Token};
use crate::mailbox::{Command, Connection, Happened, Ticket, Whom};
use crate::metrics::{Counter, Gauge, Outcome};
use crate::service::{Effect, Origin, Peer, Service};
use crate::session::{Leave, Pauses, Phase, Role};
use crate::wire::frame::OVERHEAD_BYTES;
use crate::wire::{Header, Status};
use bytes::Bytes;
use core::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

impl<S: Service, I: Io> Turn<S, I> {
    /// Carries out what waits.
    #[inline]
    pub(super) fn apply_effects(&mut self, io: &mut I) {
        if !self.shared.effects.is_empty() {
            self.apply_some(io);
        }
    }

    #[cold]
    fn apply_some(&mut self, io: &mut I) {
        for _ in 0..EFFECTS_PER_TURN {
            let Some(effect) = self.shared.effects.pop() else { break };
            match effect {
                Effect::Send { to, whom, bytes } if to.shard == self.shard => {
                    self.shared.effects.server_sent(to, bytes.len());
                    self.deliver_copy(io, to, whom, &bytes);
                }
                Effect::Send { to, whom, bytes } => {
                    let bytes = Bytes::copy_from_slice(self.shared.effects.bytes(&bytes));
                    self.post(to, Command::Send { to: token_of(to), bytes, whom });
                }
                Effect::Share { to, whom, bytes } if to.shard == self.shard => {
                    self.deliver(io, token_of(to), whom, Said::Shared(bytes));
                }
                Effect::Share { to, whom, bytes } => {
                    self.post(to, Command::Send { to: token_of(to), bytes, whom });
                }
                Effect::Close { id, status, text } if id.shard == self.shard => {
                    self.end_connection(io, token_of(id), status, &text);
                }
                Effect::Close { id, status, text } => {
                    self.post(id, Command::Close { to: token_of(id), status, text: text.into() });
                }
                Effect::Publish(bytes) => self.publish(bytes),
                Effect::Dial { to, tag } => self.dial(io, to, tag),
                Effect::Answer { ticket, bytes } => self.answer_copy(io, ticket, &bytes),
                Effect::Fail { ticket, status, text } => {
                    self.complete(io, ticket, Said::Failed(status, &text), Outcome::Failed);
                }
            }
        }
        let refused = self.shared.effects.settle();
        self.shared.metrics.add(Counter::EffectsRefused, refused);
    }

    /// The slot of a connection that still is what the token names.
    fn find(&self, token: Token) -> Option<u32> {
        let entry = self.table.get(token.slot as usize)?;
        let is_same = entry.generation == token.generation || is_planted(Bug::StaleEffect);
        is_same.then_some(token.slot)
    }

    /// Another loop's connection: its loop finds it, or not.
    fn post(&self, to: ConnId, command: Command) {
        let posted = self.peers.get(usize::from(to.shard)).map(|mailbox| mailbox.post(command));
        if posted.is_none_or(|posted| posted.is_err()) {
            self.shared.metrics.add(Counter::Undeliverable, 1);
        }
    }

    fn deliver_copy(&mut self, io: &mut I, to: ConnId, whom: Whom, bytes: &std::ops::Range<usize>) {
        let Some(slot) = self.receiver(io, token_of(to), whom, bytes.len()) else { return };
        let shared = &mut self.shared;
        debug_assert!(shared.desk.outbox.is_empty(), "something for another connection");
        shared.desk.outbox.whole_copied(shared.effects.bytes(bytes));
        self.hand_over(io, slot);
    }

    /// Queues whole frames for a connection, if it is one that may have them.
    pub(super) fn deliver(&mut self, io: &mut I, to: Token, whom: Whom, said: Said<'_>) {
        let Said::Shared(bytes) = said else { return };
        let Some(slot) = self.receiver(io, to, whom, bytes.len()) else { return };
        debug_assert!(self.shared.desk.outbox.is_empty(), "something for another connection");
        // The first that waits is not copied: mostly it is the only one. A crowd of small ones is, since each that is
        // shared costs a slice of a write.
        if self.table[slot as usize].output.is_none() {
            self.shared.desk.outbox.whole_shared(bytes);
        } else {
            self.shared.desk.outbox.whole(bytes);
        }
        self.hand_over(io, slot);
    }

    /// Whom something is for. `None`, and counted, if there is nobody, or nobody who may have it.
    fn receiver(&mut self, io: &mut I, to: Token, whom: Whom, bytes: usize) -> Option<u32> {
        let may_have = |slot: &u32| {
            let entry = &self.table[*slot as usize];
            let role = self.listeners[usize::from(entry.listener)].framing.role;
            entry.phase.is_reachable()
                && match (whom, role) {
                    (Whom::Dialed, Role::Client) => true,
                    (Whom::Greeted, Role::Server) => entry
                        .greeting
                        .as_ref()
                        .is_some_and(|peer| bytes <= peer.max_receive as usize + OVERHEAD_BYTES),
                    (Whom::Dialed, Role::Server) | (Whom::Greeted, Role::Client) => false,
                }
        };
        let slot = self.find(to).filter(may_have);
        let Some(slot) = slot else {
            self.shared.metrics.add(Counter::Undeliverable, 1);
            return None;
        };
        let is_metered = self.shared.meters.is_some() && whom == Whom::Greeted;
        if is_metered && !self.begin_visit(io, slot).takes_delivery() {
            return None;
        }
        Some(slot)
    }

    /// Moves what the outbox holds to a connection's queue; it is flushed with the hot list, and its deadlines are looked
    /// at then.
    fn hand_over(&mut self, io: &mut I, slot: u32) {
        let mut visit = self.begin_visit(io, slot);
        match visit.queue() {
            Ok(()) if is_planted(Bug::HotPushLost) => {}
            Ok(()) => self.push_hot(slot),
            Err(why) => {
                let verdict = visit.lost(why);
                self.settle(io, slot, verdict);
            }
        }
    }

    /// Ends a connection because its service, or the program around it, wants it.
    pub(super) fn end_connection(&mut self, io: &mut I, id: Token, status: Status, text: &str) {
        let Some(slot) = self.find(id).filter(|slot| self.table[*slot as usize].phase.is_reachable()) else {
            self.shared.metrics.add(Counter::Undeliverable, 1);
            return;
        };
        let leave = Leave {
            why: CloseReason::ClosedByService,
            status: Some(status),
            text: Text::of(format_args!("{text}")),
            reconnect_after_ms: 0,
        };
        let mut visit = self.begin_visit(io, slot);
        visit.note(Happened::ClosedByService, status.code().into());
        let verdict = visit.finish_with(leave);
        self.settle(io, slot, verdict);
    }

    fn answer_copy(&mut self, io: &mut I, ticket: Ticket, bytes: &std::ops::Range<usize>) {
        // Taken out while they are copied, since what is done with them is the table's business.
        let held = self.shared.effects.take_bytes();
        self.complete(io, ticket, Said::Copy(&held[bytes.clone()]), Outcome::Answered);
        self.shared.effects.put_bytes(held);
    }

    /// Answers a deferred request, wherever its answer came from. Its place in the mailbox is free again.
    pub(super) fn complete(&mut self, io: &mut I, ticket: Ticket, said: Said<'_>, outcome: Outcome) {
        if !is_planted(Bug::CreditLost) || self.find(ticket.token).is_some() {
            self.shared.desk.give_credit_back();
        }
        if let Some(header) = ticket.one_way_header() {
            // It was over when it was deferred.
            if let Said::Failed(status, _) = said {
                self.refuse_unheard(io, ticket.token, status, header);
            }
            return;
        }
        let Some(slot) = self.find(ticket.token) else {
            self.shared.metrics.add(Counter::LateAnswers, 1);
            return;
        };
        let mut visit = self.begin_visit(io, slot);
        let verdict = match visit.complete(ticket.serial, said, outcome, ticket.queued_us) {
            None => {
                self.shared.metrics.add(Counter::LateAnswers, 1);
                return;
            }
            Some(Ok(())) => Verdict::Again,
            Some(Err(why)) => visit.end_for(why),
        };
        self.settle(io, slot, verdict);
    }

    /// A request that wants no reply has failed: counted, and told by a notice to a peer that is to hear of such.
    fn refuse_unheard(&mut self, io: &mut I, token: Token, status: Status, header: Header) {
        // One that is closed and not buried yet must be neither armed nor put on the hot list again.
        let Some(slot) = self.find(token).filter(|slot| self.table[*slot as usize].phase.is_serving()) else {
            self.shared.metrics.add(Counter::Unheard, 1);
            return;
        };
        let mut visit = self.begin_visit(io, slot);
        let verdict = match visit.refuse_unheard(status, header) {
            Ok(()) => Verdict::Again,
            Err(why) => visit.end_for(why),
        };
        self.settle(io, slot, verdict);
    }

    fn publish(&mut self, bytes: Bytes) {
        for (shard, mailbox) in self.peers.iter().enumerate() {
            if shard != usize::from(self.shard) && mailbox.post(Command::Publish(bytes.clone())).is_err() {
                self.shared.metrics.add(Counter::PublishesLost, 1);
            }
        }
        self.publish_here(&bytes);
    }

    pub(super) fn publish_here(&mut self, bytes: &Bytes) {
        let mut cx = self.shared.cx(self.nobody());
        let told = catch_unwind(AssertUnwindSafe(|| self.service.on_publish(bytes, &mut cx)));
        if told.is_err() {
            self.shared.note_panic();
        }
    }

    /// Calls the service's timers whose moment has come.
    #[cold]
    pub(super) fn call_timers(&mut self) {
        for _ in 0..TIMERS_PER_TURN {
            let Some(tag) = self.shared.effects.pop_due(self.shared.now) else { return };
            let mut cx = self.shared.cx(self.nobody());
            let told = catch_unwind(AssertUnwindSafe(|| self.service.on_timer(tag, &mut cx)));
            if told.is_err() {
                self.shared.note_panic();
            }
        }
    }

    /// A service that was just made begins.
    pub(super) fn start_service(&mut self) {
        let mut cx = self.shared.cx(self.nobody());
        self.service.on_start(&mut cx);
    }

    /// No connection of this loop.
    pub(super) const fn nobody(&self) -> ConnId {
        ConnId { shard: self.shard, generation: 0, slot: u32::MAX }
    }

    /// Begins to connect to another server.
    fn dial(&mut self, io: &mut I, to: SocketAddr, tag: u64) {
        self.shared.metrics.add(Counter::Dialed, 1);
        let token = Token { generation: self.take_generation(), slot: slot_of(self.table.vacant_key()) };
        let id = ConnId { shard: self.shard, generation: token.generation, slot: token.slot };
        let peer = Peer {
            address: Address::Ip(to),
            proxied_by: None,
            is_secure: false,
            certificate: None,
            origin: Origin::Dialed { tag },
        };
        self.shared.effects.server_dialed(id);
        let mut cx = self.shared.cx(id);
        let Ok(mut conn) = catch_unwind(AssertUnwindSafe(|| self.service.on_open(&peer, &mut cx))) else {
            self.shared.note_panic();
            self.shared.effects.server_lost(id);
            return;
        };
        let Some(stream) = self.connect(io, to, token) else {
            self.shared.effects.server_lost(id);
            self.shared.metrics.closed(CloseReason::DialFailed);
            let end = Connection::new(id, peer.address, self.accepting.len(), self.shared.now);
            self.shared.history.ended(self.shared.now, end, CloseReason::DialFailed);
            let mut cx = self.shared.cx(id);
            let why = CloseReason::DialFailed;
            let told = catch_unwind(AssertUnwindSafe(|| self.service.on_close(&mut conn, why, &mut cx)));
            if told.is_err() {
                self.shared.note_panic();
            }
            return;
        };
        let until = self.shared.ms.after(self.shared.limits.connect_deadline);
        self.table.insert(Entry {
            stream,
            generation: token.generation,
            address: PeerAddress::of(peer.address),
            listener: u8::try_from(self.accepting.len()).expect("a server has at most 255 listeners"),
            flags: Flags::default(),
            pauses: Pauses::default(),
            drain_reads: 0,
            phase: Phase::Connecting { until },
            heard: self.shared.ms,
            paused_at: self.shared.ms,
            lingered: 0,
            life: Life::new(self.shared.now),
            input: None,
            output: None,
            slots: None,
            greeting: None,
            conn,
        });
        self.dialed += 1;
        self.shared.metrics.opened(self.accepting.len(), false);
        self.shared.note(token, Happened::Dialed, 0);
        self.shared.metrics.rise(Gauge::Connecting);
        self.slots_used = self.slots_used.max(token.slot + 1);
        self.arm(token.slot);
    }

    /// A stream that is on its way to be connected, registered; `None` if it failed at once.
    fn connect(&mut self, io: &mut I, to: SocketAddr, token: Token) -> Option<I::Stream> {
        if self.dialed >= crate::base::limits::DIALED_PER_SHARD {
            return None;
        }
        let mut stream = io.connect(to).ok()?;
        match io.register(&mut stream, token) {
            Ok(()) => Some(stream),
            Err(_) => {
                io.close(stream);
                None
            }
        }
    }
}

const fn token_of(id: ConnId) -> Token {
    Token { generation: id.generation, slot: id.slot }
}
