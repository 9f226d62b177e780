//! Taking connections: a bounded number a visit, none beyond the table, and none lost when descriptors run out.
//!
//! A listener's readiness is told once, like any other. One that is left with connections in its queue goes on in
//! the next turn; one that failed for want of descriptors is tried again when a connection ends, or after a pause
//! that doubles from 10 ms to 1 s. Meanwhile newcomers are told by way of a spare descriptor (see [`Io::refuse`]).

use super::admission::NoPlace;
use super::entry::{Entry, Flag, Flags, Life, PeerAddress};
use super::{Accepted, Entered, Form, Io, Turn, slot_of};
use crate::base::limits::{ACCEPT_BACKOFF_MS, ACCEPTS_PER_DRAIN, ACCEPTS_PER_VISIT, LOBBY_MAX};
use crate::base::planted::{Bug, is_planted};
use crate::base::{Address, ConnId, Ms, Token};
use crate::mailbox::Happened;
use crate::metrics::{Counter, Gauge};
use crate::service::{Origin, Peer, Service};
use crate::session::{Pauses, Phase, Protocol};
use crate::wire::{Control, Status, encode_error_line};
use std::io::{Error, IoSlice, IoSliceMut};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Where a listener stands.
#[derive(Debug, Default)]
pub(super) struct ListenerState {
    is_closed: bool,
    /// It may have connections that no event will tell of.
    is_hot: bool,
    /// Descriptors ran out; try again then.
    retry_at: Option<Ms>,
    backoff_ms: u32,
    /// Newcomers come too fast; go on then.
    paced_until: Option<Ms>,
    /// What newcomers have.
    pub(super) form: Form,
}

impl ListenerState {
    pub(super) fn new(place: usize) -> ListenerState {
        let form = Form::try_from(place).expect("a server has at most 255 listeners");
        ListenerState { form, ..ListenerState::default() }
    }

    pub(super) const fn is_hot(&self) -> bool {
        self.is_hot
    }

    const fn is_pending(&self) -> bool {
        self.is_hot || self.retry_at.is_some() || self.paced_until.is_some()
    }

    /// When it is looked at again without an event.
    pub(super) fn retry_at(&self) -> Option<Ms> {
        match (self.retry_at, self.paced_until) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    pub(super) const fn pace_until(&mut self, until: Ms) {
        self.paced_until = Some(until);
    }
}

impl<S: Service, I: Io> Turn<S, I> {
    /// Takes some of what waits in a listener's queue.
    pub(super) fn accept_from(&mut self, io: &mut I, listener: u32) {
        match self.accepting.get_mut(listener as usize) {
            Some(state) if !state.is_closed => (state.is_hot, state.paced_until) = (false, None),
            Some(_) => return,
            None => return self.handle_own(io, listener),
        }
        for _ in 0..ACCEPTS_PER_VISIT {
            if !self.may_accept(listener) || !self.accept_one(io, listener) {
                return;
            }
        }
        self.accepting[listener as usize].is_hot = true;
        self.accept_again = true;
    }

    /// Something of the world's own: maybe a newcomer is through the entrance now.
    #[cold]
    fn handle_own(&mut self, io: &mut I, name: u32) {
        if let Some((stream, entered, listener)) = io.handle_own(name) {
            self.admit(io, stream, entered, listener);
        }
    }

    /// Listeners that were left with connections, and those whose pause is over.
    #[cold]
    pub(super) fn accept_pending(&mut self, io: &mut I) {
        self.accept_again = false;
        for listener in 0..self.accepting.len() {
            let state = &self.accepting[listener];
            let is_due = state.retry_at().is_some_and(|at| at.reached(self.shared.ms));
            if state.is_hot || is_due {
                self.accepting[listener].retry_at = None;
                self.accept_from(io, slot_of(listener));
            }
            self.accept_again |= self.accepting[listener].is_pending();
        }
    }

    /// A descriptor was freed: whoever waits for one tries now.
    pub(super) fn accept_after_close(&mut self) {
        for state in &mut self.accepting {
            if state.retry_at.take().is_some() {
                state.is_hot = true;
            }
        }
    }

    /// Takes all that waits, then ends listening. What comes after that is refused by the kernel.
    pub(super) fn stop_accepting(&mut self, io: &mut I) {
        for _ in 0..LOBBY_MAX {
            let Some((stream, entered, listener)) = io.clear_entrance() else { break };
            self.admit(io, stream, entered, listener);
        }
        for listener in 0..self.accepting.len() {
            if self.accepting[listener].is_closed {
                continue;
            }
            for _ in 0..ACCEPTS_PER_DRAIN {
                if !self.accept_one(io, slot_of(listener)) {
                    break;
                }
            }
            io.close_listener(slot_of(listener));
            let form = self.accepting[listener].form;
            self.accepting[listener] = ListenerState { is_closed: true, form, ..ListenerState::default() };
        }
    }

    /// Takes one connection. False if the next try must wait.
    fn accept_one(&mut self, io: &mut I, listener: u32) -> bool {
        match io.accept(listener) {
            Accepted::Stream(stream, entered) => {
                self.accepting[listener as usize].backoff_ms = 0;
                self.note_accept();
                self.place(io, stream, entered, listener);
                true
            }
            Accepted::Entered(stream, entered) => {
                self.accepting[listener as usize].backoff_ms = 0;
                self.note_accept();
                self.admit(io, stream, entered, listener);
                true
            }
            Accepted::Kept => {
                self.accepting[listener as usize].backoff_ms = 0;
                self.note_accept();
                true
            }
            Accepted::HandedOff => {
                self.note_accept();
                self.shared.metrics.add(Counter::HandedOff, 1);
                true
            }
            Accepted::NoSeat(stream, address) => {
                self.refuse(io, stream, (listener, address), NoPlace::Server(self.seats.max()));
                true
            }
            Accepted::Aborted => {
                self.shared.metrics.add(Counter::AcceptAborted, 1);
                true
            }
            Accepted::Drained => false,
            Accepted::Exhausted(error) => {
                self.accept_exhausted(io, listener, &error);
                false
            }
            Accepted::Failed(error) => {
                self.shared.metrics.add(Counter::AcceptFailed, 1);
                self.shared.journal.accept_failed(self.shared.ms, &error);
                self.back_off(listener);
                false
            }
        }
    }

    #[cold]
    fn accept_exhausted(&mut self, io: &mut I, listener: u32, error: &Error) {
        self.shared.metrics.add(Counter::AcceptExhausted, 1);
        let mut farewell = Vec::new();
        self.refusal(&mut farewell, listener, "no descriptors left for another connection");
        for _ in 0..ACCEPTS_PER_VISIT {
            if !io.refuse(listener, &farewell) {
                break;
            }
            self.shared.metrics.add(Counter::RefusedDescriptors, 1);
        }
        let retry_ms = self.back_off(listener);
        self.shared.journal.exhausted(self.shared.ms, error, retry_ms);
        self.shared.history.note_loop(self.shared.now, Happened::AcceptExhausted, retry_ms.into());
    }

    fn back_off(&mut self, listener: u32) -> u32 {
        let state = &mut self.accepting[listener as usize];
        let (first, last) = ACCEPT_BACKOFF_MS;
        state.backoff_ms = (state.backoff_ms * 2).clamp(first, last);
        if !is_planted(Bug::AcceptNotRetried) {
            state.retry_at = Some(self.shared.ms.plus(state.backoff_ms));
            self.accept_again = true;
        }
        state.backoff_ms
    }

    /// Finds a place for a new connection, here or in another loop, or tells it that there is none.
    fn place(&mut self, io: &mut I, stream: I::Stream, entered: Entered, listener: u32) {
        let address = entered.address;
        if !self.seats.try_take() {
            self.refuse(io, stream, (listener, address), NoPlace::Server(self.seats.max()));
            return;
        }
        // A drain takes what it finds: other loops may have ended already.
        let stays = if self.shared.drain_until.is_some() {
            Some(stream)
        } else {
            io.hand_off(stream, address, listener, self.table.len() - self.dialed)
        };
        match stays {
            Some(stream) => self.admit(io, stream, entered, listener),
            None => self.shared.metrics.add(Counter::HandedOff, 1),
        }
    }

    /// Gives a connection that has a seat its slot, or tells it that there is none.
    pub(super) fn admit(&mut self, io: &mut I, mut stream: I::Stream, entered: Entered, listener: u32) {
        let Entered { address, proxied_by, secure } = entered;
        if let Err(why) = self.take_places(listener, address) {
            self.seats.give_back();
            self.refuse(io, stream, (listener, address), why);
            return;
        }
        let slot = slot_of(self.table.vacant_key());
        let token = Token { generation: self.take_generation(), slot };
        if let Err(error) = io.register(&mut stream, token) {
            self.shared.metrics.add(Counter::AcceptFailed, 1);
            self.shared.journal.accept_failed(self.shared.ms, &error);
            io.close(stream);
            self.give_places_back(listener, address);
            return;
        }
        let listener = u8::try_from(listener).expect("a server has at most 255 listeners");
        let id = ConnId { shard: self.shard, generation: token.generation, slot };
        let certificate = secure.as_ref().and_then(|secure| secure.certificate.clone());
        let form = self.accepting[usize::from(listener)].form;
        if self.listeners[usize::from(form)].has_users {
            self.shared.effects.people.enter(slot, address, certificate.clone());
        }
        let mut cx = self.shared.cx(id);
        let holds_input = secure.as_ref().is_some_and(|secure| secure.holds_input);
        let is_secure = secure.is_some();
        let origin = Origin::Accepted { listener };
        let peer = Peer { address, proxied_by, is_secure, certificate, origin };
        let Ok(conn) = catch_unwind(AssertUnwindSafe(|| self.service.on_open(&peer, &mut cx))) else {
            self.shared.note_panic();
            self.shared.effects.people.leave(slot);
            io.close(stream);
            self.give_places_back(listener.into(), address);
            return;
        };
        let mut flags = Flags::default();
        flags.set(Flag::Writable);
        flags.set(Flag::Fresh);
        if is_secure {
            flags.set(Flag::Secure);
        }
        self.table.insert(Entry {
            stream,
            generation: token.generation,
            address: PeerAddress::of(address),
            listener: form,
            flags,
            pauses: Pauses::default(),
            drain_reads: 0,
            phase: Phase::Open,
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
        self.slots_used = self.slots_used.max(slot + 1);
        if let Some(meters) = self.shared.meters.as_mut() {
            meters.begin(slot);
        }
        self.shared.metrics.add(Counter::Accepted, 1);
        self.shared.note(token, Happened::Accepted, listener.into());
        self.shared.metrics.opened(usize::from(listener), true);
        self.shared.metrics.rise(Gauge::Serving);
        self.arm(slot);
        if holds_input {
            // Its first bytes have left the socket: no edge will tell of them.
            self.table[slot as usize].flags.set(Flag::Readable);
            self.push_hot(slot);
        }
        if let Some(until) = self.shared.drain_until {
            self.drain(io, slot, until);
        }
    }

    #[cold]
    fn refuse(
        &mut self,
        io: &mut I,
        mut stream: I::Stream,
        (listener, address): (u32, Address),
        why: NoPlace,
    ) {
        self.shared.metrics.add(why.counter(), 1);
        self.shared.journal.refused(self.shared.ms, why, listener, address);
        let mut farewell = Vec::new();
        self.refusal(&mut farewell, listener, why.text().as_str());
        if !farewell.is_empty() {
            // Best effort: a fresh socket takes this much, and if it doesn't there is nobody to keep it for.
            let _ = io.write(&mut stream, &[IoSlice::new(&farewell)]);
        }
        // Clients speak first: what they have said must not make the close a reset.
        let _ = io.read(&mut stream, &mut [IoSliceMut::new(&mut self.shared.scratch)]);
        io.close(stream);
    }

    /// What a newcomer is told that can't be served.
    fn refusal(&self, out: &mut Vec<u8>, listener: u32, text: &str) {
        let status = Status::OVERLOADED;
        let form = self.accepting[listener as usize].form;
        if self.listeners[usize::from(form)].is_secure {
            // Before a handshake there is no way to say it, and behind one it would cost a record of its own.
            return;
        }
        match self.listeners[usize::from(form)].framing.protocol {
            Protocol::Bare => {}
            Protocol::Frame => {
                Control::GoAway { status, reconnect_after_ms: ACCEPT_BACKOFF_MS.1, text }
                    .encode(out, self.shared.desk.outbox.crc());
            }
            Protocol::Line => encode_error_line(out, status, text),
        }
    }

    /// Counts connections; 0 is the listeners'.
    pub(super) fn take_generation(&mut self) -> u32 {
        self.next_generation = match self.next_generation.wrapping_add(1) {
            0 => 1,
            next => next,
        };
        self.next_generation
    }
}
