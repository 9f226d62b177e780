//! An answer that is given later, from any thread.
//!
//! Always holds: a request that was deferred ends in exactly one outcome. Its [`Later`] is consumed by the answer;
//! dropped without one, the requester is told INTERNAL; kept for longer than the request's deadline, the requester is
//! told OUTCOME_UNKNOWN and the answer that comes after that is dropped and counted.
//!
//! Never: blocks or loses an answer. Each `Later` owns a place in its loop's mailbox; a loop that has no place left
//! refuses to defer.

use crate::base::limits::INLINE_ANSWER_BYTES;
use crate::base::{ConnId, Time};
use crate::mailbox::{Answer, Body, Inline, Mailbox, Ticket};
use crate::wire::Status;
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;

/// No request could be deferred: as many answers as a loop's mailbox has places are awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{limit} answers are awaited by this loop already")]
pub struct Overloaded {
    /// The most that may be awaited.
    pub limit: usize,
}

/// The right, and the duty, to answer one request from wherever it is taken.
///
/// ```
/// use tidegate::service::{Frame, Replied, Reply};
///
/// fn handle(frame: Frame<'_>, reply: Reply<'_>) -> Replied {
///     let text = frame.payload().to_ascii_uppercase();
///     let (later, replied) = reply.defer();
///     if let Ok(later) = later {
///         std::thread::spawn(move || later.send(&text));
///     }
///     replied
/// }
/// ```
///
/// It can't be used twice:
///
/// ```compile_fail,E0382
/// fn twice(later: tidegate::Later) {
///     later.send(b"one");
///     later.send(b"two");
/// }
/// ```
#[must_use = "dropped without an answer, the requester is told INTERNAL"]
pub struct Later {
    ticket: Ticket,
    shard: u16,
    /// When its requester is told that its time is over.
    due: Time,
    /// `None` once answered.
    mailbox: Option<Arc<Mailbox>>,
}

impl std::fmt::Debug for Later {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Later").field("id", &self.id()).field("serial", &self.ticket.serial).finish()
    }
}

impl Later {
    pub(super) const fn new(ticket: Ticket, shard: u16, due: Time, mailbox: Arc<Mailbox>) -> Later {
        Later { ticket, shard, due, mailbox: Some(mailbox) }
    }

    /// The connection whose request it is.
    pub const fn id(&self) -> ConnId {
        ConnId { shard: self.shard, generation: self.ticket.token.generation, slot: self.ticket.token.slot }
    }

    /// What is left for the answer, in milliseconds rounded down, at least 1 while time is left: of the requester's
    /// deadline, if it gave one, and of the server's. `now` is [`Cx::now`](super::Cx::now) of its loop. Whoever passes
    /// the request on passes this on with it.
    pub fn time_left_ms(&self, now: Time) -> u32 {
        match self.due.since_us(now) {
            0 => 0,
            1..1000 => 1,
            left_us => u32::try_from(left_us / 1000).unwrap_or(u32::MAX),
        }
    }

    /// Whether the requester was told OUTCOME_UNKNOWN, or will be in this turn: an answer is too late.
    pub const fn is_over(&self, now: Time) -> bool {
        self.due.since_us(now) == 0
    }

    /// Answers with a copy of these bytes; up to 96 without an allocation. Beyond what may be queued for the requester
    /// (the high watermark and the listener's largest payload) it is told OUTCOME_UNKNOWN instead.
    pub fn send(self, payload: &[u8]) {
        let body = match Inline::of(payload) {
            Some(inline) => Body::Inline(inline),
            None => Body::Shared(Bytes::copy_from_slice(payload)),
        };
        self.answer(body);
    }

    /// Answers with shared bytes: not copied on their way to the loop.
    pub fn share(self, payload: Bytes) {
        self.answer(Body::Shared(payload));
    }

    /// Refuses the request after all.
    pub fn fail(self, status: Status, text: impl Into<Cow<'static, str>>) {
        self.answer(Body::Failed { status, text: text.into() });
    }

    fn answer(mut self, body: Body) {
        if let Some(mailbox) = self.mailbox.take() {
            mailbox.answer(Answer { ticket: self.ticket, body });
        }
    }

    /// A worker has begun with it, after so many microseconds.
    pub(super) fn begun(&mut self, queued_us: u64) {
        self.ticket.queued_us = u32::try_from(queued_us).ok();
    }

    /// For an answer that is given in a callback of the same loop, without the mailbox. Gives it back if it belongs
    /// to another loop.
    pub(super) fn redeem(mut self, mailbox: &Arc<Mailbox>) -> Result<Ticket, Later> {
        match self.mailbox.take() {
            Some(own) if Arc::ptr_eq(&own, mailbox) => Ok(self.ticket),
            other => {
                self.mailbox = other;
                Err(self)
            }
        }
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        if let Some(mailbox) = self.mailbox.take() {
            mailbox.answer(Answer { ticket: self.ticket, body: Body::Dropped });
        }
    }
}

const _: () = assert!(INLINE_ANSWER_BYTES == 96, "the doc of `send` names it");
