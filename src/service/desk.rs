//! What a loop needs to let a request wait: serials, places in the mailbox, memory for lists that is used again.
//!
//! Always holds: `credits` is the number of answers that the mailbox has a place for and nobody was promised.

use super::{Later, Workers};
use crate::base::limits::LATERS_PER_SHARD;
use crate::base::{Time, Token};
use crate::buffer::{Pool, Spares};
use crate::mailbox::{Mailbox, Ticket};
use crate::session::{Outbox, Protocol, ReplyTo, Slots};
use crate::wire::Status;
use std::borrow::Cow;
use std::sync::Arc;

/// A loop's desk, where replies are made: everything that a [`Reply`](super::Reply) needs, so that it is one pointer.
pub(crate) struct Desk {
    /// The replies of the batch in hand.
    pub(crate) outbox: Outbox,
    /// The loop's buffers.
    pub(crate) pool: Pool,
    /// The open requests of the connection in hand; they are the connection's, and lie here during its batch.
    pub(crate) slots: Option<Box<Slots>>,
    /// What is left of the deadline of the request in hand, in milliseconds, if it has one.
    pub(crate) deadline_ms: Option<u32>,
    mailbox: Arc<Mailbox>,
    pub(super) workers: Arc<dyn Workers>,
    spares: Spares<Slots>,
    /// Requests of all connections that are open.
    pub(crate) open: u64,
    shard: u16,
    /// How long an answer may take, in milliseconds.
    pub(super) request_deadline_ms: u32,
    /// Whose batch it is.
    token: Token,
    pub(super) now: Time,
    /// Bytes of replies that were held in this batch.
    pub(crate) held_bytes: usize,
    /// The most that these may come to.
    hold_bytes_max: usize,
    /// Why a HELLO was refused, in the service's words.
    pub(crate) refusal: Option<Cow<'static, str>>,
    credits: usize,
    next_serial: u64,
}

impl Desk {
    pub(crate) fn new(
        mailbox: Arc<Mailbox>,
        workers: Arc<dyn Workers>,
        shard: u16,
        request_deadline_ms: u32,
        budget_bytes: usize,
    ) -> Desk {
        Desk {
            outbox: Outbox::new(),
            pool: Pool::new(budget_bytes),
            slots: None,
            deadline_ms: None,
            mailbox,
            workers,
            spares: Spares::new(),
            open: 0,
            shard,
            request_deadline_ms,
            token: Token::listener(0),
            now: Time::ZERO,
            held_bytes: 0,
            hold_bytes_max: 0,
            refusal: None,
            credits: LATERS_PER_SHARD,
            next_serial: 0,
        }
    }

    /// A batch begins.
    #[inline]
    pub(crate) const fn begin_batch(&mut self, token: Token, now: Time, hold_bytes_max: usize) {
        (self.token, self.now, self.held_bytes) = (token, now, 0);
        self.hold_bytes_max = hold_bytes_max;
    }

    /// A connection needs its lists no longer.
    pub(crate) fn put_back(&mut self, mut slots: Box<Slots>) {
        debug_assert!(slots.is_empty());
        slots.shrink();
        self.spares.put(slots);
    }

    /// One that no request had before; never [`Ticket::ONE_WAY`].
    pub(crate) const fn serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial
    }

    /// Places in the mailbox that are promised.
    pub(crate) const fn laters_out(&self) -> usize {
        LATERS_PER_SHARD - self.credits
    }

    /// An answer has left the mailbox, or will never come to it.
    pub(crate) fn give_credit_back(&mut self) {
        debug_assert!(self.credits < LATERS_PER_SHARD);
        self.credits = (self.credits + 1).min(LATERS_PER_SHARD);
    }

    /// Opens a request of this batch's connection. `None`: no place in the mailbox is left.
    pub(super) fn open(&mut self, to: ReplyTo) -> Option<Later> {
        self.credits = self.credits.checked_sub(1)?;
        let mut serial = Ticket::ONE_WAY;
        if to.is_wanted() {
            serial = self.serial();
            let due = self.now.ms().plus(self.due_ms());
            self.slots().open(serial, to, due);
            self.open += 1;
        }
        let ticket = Ticket { token: self.token, serial };
        let due = self.now.plus_us(u64::from(self.due_ms()) * 1000);
        Some(Later::new(ticket, self.shard, due, Arc::clone(&self.mailbox)))
    }

    /// Frees half of the lists that wait to be used again.
    pub(crate) fn trim(&mut self) {
        self.spares.trim();
    }

    /// How long the answer to the request in hand may take, in milliseconds.
    pub(super) fn due_ms(&self) -> u32 {
        self.deadline_ms.map_or(self.request_deadline_ms, |ms| ms.min(self.request_deadline_ms))
    }

    /// The lists of the connection in hand, made if it has none.
    fn slots(&mut self) -> &mut Slots {
        self.slots.get_or_insert_with(|| self.spares.take().unwrap_or_default())
    }

    /// A reply has its place behind open requests: holds it there. `write` fills exactly `bytes` bytes.
    /// False if there is no room; the request then fails OUTCOME_UNKNOWN in its place.
    pub(super) fn hold(&mut self, to: ReplyTo, bytes: usize, write: impl FnOnce(&mut [u8], &Outbox)) -> bool {
        let serial = self.serial();
        self.slots().append_ended(serial, to);
        let Desk { slots: Some(slots), pool, outbox, .. } = self else { return false };
        let Ok(count) = u32::try_from(bytes) else { return false };
        let is_held = self.held_bytes + bytes <= self.hold_bytes_max
            && slots.hold(pool, serial, count, |into| write(into, outbox));
        if is_held {
            self.held_bytes += bytes;
        } else if outbox.protocol() == Protocol::Bare {
            outbox.refuse_unheard(Status::OUTCOME_UNKNOWN, to.header());
        }
        is_held
    }

    /// A request has failed behind open ones: keeps its place.
    pub(super) fn fail_in_place(&mut self, to: ReplyTo) {
        let serial = self.serial();
        self.slots().append_ended(serial, to);
    }
}
