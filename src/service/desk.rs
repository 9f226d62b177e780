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
    /// How long who was refused is asked to wait, in milliseconds.
    pub(crate) reconnect_after_ms: u32,
    /// What the request was told that failed last.
    pub(crate) failed_with: Status,
    credits: usize,
    next_serial: u64,
}

/// Of the lists that wait to be used again, so many may be long.
const LONG_LISTS_KEPT: usize = 16;

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
            reconnect_after_ms: 0,
            failed_with: Status::OK,
            credits: LATERS_PER_SHARD,
            next_serial: Ticket::SERIALS_FROM,
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
        if self.spares.count() >= LONG_LISTS_KEPT {
            slots.shrink();
        }
        self.spares.put(slots);
    }

    /// One that no request had before; at least [`Ticket::SERIALS_FROM`].
    pub(crate) const fn serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial
    }

    /// The one that was given last.
    pub(crate) const fn last_serial(&self) -> u64 {
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
        let mut ticket = Ticket::one_way(self.token, to.header());
        if to.is_wanted() {
            ticket.serial = self.serial();
            let due = self.now.ms().plus(self.due_ms());
            self.slots().open(ticket.serial, to, due);
            self.open += 1;
        }
        let due = self.now.plus_us(u64::from(self.due_ms()) * 1000);
        Some(Later::new(ticket, self.shard, due, Arc::clone(&self.mailbox)))
    }

    /// Whether memory is kept that nobody uses just now, so that it should be trimmed.
    #[inline]
    pub(crate) const fn has_spare_memory(&self) -> bool {
        self.pool.retained_bytes() > 0 || self.outbox.has_grown()
    }

    /// Frees what nobody has needed for a while: buffers, the cork's growth, half of the lists that wait to be used
    /// again. Called between batches.
    pub(crate) fn trim(&mut self) {
        self.pool.trim();
        if self.outbox.has_grown() {
            self.outbox.trim();
        }
        self.spares.trim();
    }

    /// How long the answers to requests that come from now on may take, in milliseconds.
    pub(crate) const fn set_request_deadline(&mut self, ms: u32) {
        self.request_deadline_ms = ms;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::NoWorkers;
    use crate::session::Ended;
    use crate::wire::{Extension, Header};

    const PLAIN: ReplyTo = ReplyTo::plain(Header::route(1));

    fn desk() -> (Desk, Arc<Mailbox>) {
        let mailbox = Arc::new(Mailbox::new(|| {}));
        let mut desk = Desk::new(Arc::clone(&mailbox), Arc::new(NoWorkers), 0, 1_000, 1 << 20);
        desk.begin_batch(Token { generation: 1, slot: 0 }, Time(5_000_000), 10_000);
        (desk, mailbox)
    }

    /// Every promise has its place in the mailbox until it is answered or dropped, whatever became of its request.
    #[test]
    fn there_are_as_many_promises_as_places() {
        let (mut desk, mailbox) = desk();
        let mut promised: Vec<Later> = std::iter::from_fn(|| desk.open(PLAIN)).collect();
        assert_eq!((promised.len(), desk.open), (LATERS_PER_SHARD, LATERS_PER_SHARD as u64));
        assert!(desk.open(PLAIN).is_none());
        promised.pop().expect("one of them").send(b"x");
        assert!(desk.open(PLAIN).is_none(), "its answer still has the place");
        assert!(mailbox.take_answer().is_some());
        desk.give_credit_back();
        promised.extend(desk.open(PLAIN));
        assert_eq!(promised.len(), LATERS_PER_SHARD);
        drop(promised);
        assert_eq!(std::iter::from_fn(|| mailbox.take_answer()).count(), LATERS_PER_SHARD);
    }

    /// Who wants no reply is not waited for, but whoever deals with the request may still say so.
    #[test]
    fn a_one_way_request_takes_a_place_and_is_not_open() {
        let (mut desk, mailbox) = desk();
        let extension = Extension { one_way: true, ..Extension::default() };
        let to = ReplyTo::extended(Header::from_bits(0x8001), &extension);
        let later = desk.open(to).expect("there is room");
        assert_eq!((desk.open, desk.slots.is_none(), desk.credits), (0, true, LATERS_PER_SHARD - 1));
        drop(later);
        assert!(mailbox.take_answer().is_some());
    }

    #[test]
    fn no_two_requests_have_the_same_number() {
        let (mut desk, mailbox) = desk();
        for _ in 0..100 {
            drop(desk.open(PLAIN));
            desk.fail_in_place(PLAIN);
        }
        let mut last = 0;
        while let Some(answer) = mailbox.take_answer() {
            assert!(answer.ticket.serial > last);
            last = answer.ticket.serial;
            assert!(desk.slots.as_mut().expect("they are open").end(last).is_some());
        }
        assert_eq!(desk.serial(), Ticket::SERIALS_FROM + 201);
    }

    /// Of one batch no more is held than its connection may have waiting.
    #[test]
    fn what_is_held_in_a_batch_is_bounded() {
        let (mut desk, _mailbox) = desk();
        let later = desk.open(PLAIN);
        assert!(desk.hold(PLAIN, 6_000, |into, _| into.fill(1)));
        assert!(!desk.hold(PLAIN, 4_001, |_, _| panic!("too much")));
        assert!(desk.hold(PLAIN, 4_000, |into, _| into.fill(2)));
        assert_eq!(desk.held_bytes, 10_000);
        let mut slots = desk.slots.take().expect("one is open");
        assert_eq!((slots.len(), slots.held_count(), slots.held_bytes()), (4, 3, 10_000));
        assert!(matches!(slots.end(Ticket::SERIALS_FROM + 1), Some(Ended::Now(_))));
        slots.clear(&mut desk.pool);
        desk.put_back(slots);
        drop(later);
    }

    #[test]
    fn lists_are_used_again_and_few_of_them_are_long() {
        let (mut desk, _mailbox) = desk();
        for _ in 0..LONG_LISTS_KEPT + 10 {
            let mut slots = Box::new(Slots::new());
            (1..=4096).for_each(|serial| slots.open(serial, PLAIN, crate::base::Ms(1)));
            slots.clear(&mut desk.pool);
            desk.put_back(slots);
        }
        let bytes: usize = std::iter::from_fn(|| desk.spares.take()).map(|slots| slots.list_bytes()).sum();
        assert!(bytes < (LONG_LISTS_KEPT + 1) * 4096 * 40, "{bytes} bytes");
    }
}
