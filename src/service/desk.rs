//! What a loop needs to let a request wait: serials, places in the mailbox, memory for lists that is used again.
//!
//! Always holds: `credits` is the number of answers that the mailbox has a place for and nobody was promised.

use super::{Later, Workers};
use crate::base::limits::LATERS_PER_SHARD;
use crate::base::{Ms, Time, Token};
use crate::buffer::Spares;
use crate::mailbox::{Mailbox, Ticket};
use crate::session::{ReplyTo, Slots};
use std::borrow::Cow;
use std::sync::Arc;

/// A loop's desk for requests that are not answered at once.
pub(crate) struct Desk {
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
    ) -> Desk {
        Desk {
            mailbox,
            workers,
            spares: Spares::new(),
            open: 0,
            shard,
            request_deadline_ms,
            token: Token::listener(0),
            now: Time::ZERO,
            held_bytes: 0,
            refusal: None,
            credits: LATERS_PER_SHARD,
            next_serial: 0,
        }
    }

    /// A batch begins.
    #[inline]
    pub(crate) const fn begin_batch(&mut self, token: Token, now: Time) {
        (self.token, self.now, self.held_bytes) = (token, now, 0);
    }

    /// A connection needs its lists no longer.
    pub(crate) fn put_back(&mut self, slots: Box<Slots>) {
        debug_assert!(slots.is_empty());
        self.spares.put(slots);
    }

    /// One that no request had before; never [`Ticket::ONE_WAY`].
    pub(crate) const fn serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial
    }

    /// An answer has left the mailbox, or will never come to it.
    pub(crate) fn give_credit_back(&mut self) {
        debug_assert!(self.credits < LATERS_PER_SHARD);
        self.credits = (self.credits + 1).min(LATERS_PER_SHARD);
    }

    /// Opens a request of this batch's connection. `None`: no place in the mailbox is left.
    pub(super) fn open(
        &mut self,
        slots: &mut Option<Box<Slots>>,
        to: ReplyTo,
        deadline_ms: Option<u32>,
    ) -> Option<Later> {
        self.credits = self.credits.checked_sub(1)?;
        let mut serial = Ticket::ONE_WAY;
        if to.is_wanted() {
            serial = self.serial();
            let due = self.due(deadline_ms);
            self.slots(slots).open(serial, to, due);
            self.open += 1;
        }
        let ticket = Ticket { token: self.token, serial };
        Some(Later::new(ticket, self.shard, Arc::clone(&self.mailbox)))
    }

    /// When a request of this batch must have its answer.
    pub(super) fn due(&self, deadline_ms: Option<u32>) -> Ms {
        let most = self.request_deadline_ms;
        self.now.ms().plus(deadline_ms.map_or(most, |ms| ms.min(most)))
    }

    /// Frees half of the lists that wait to be used again.
    pub(crate) fn trim(&mut self) {
        self.spares.trim();
    }

    /// The lists of a connection, made if it has none.
    pub(super) fn slots<'a>(&mut self, slots: &'a mut Option<Box<Slots>>) -> &'a mut Slots {
        slots.get_or_insert_with(|| self.spares.take().unwrap_or_default())
    }
}
