//! The one answer that a request gets.
//!
//! A [`Reply`] is consumed by whatever ends the request, and that alone makes the [`Replied`] that a handler must
//! return. So a request can be neither forgotten nor answered twice: both fail to compile. A request that is
//! [deferred](Reply::defer) is ended by its [`Later`].
//!
//! A reply leaves at once, unless its place in the order is behind an open request: then it is held there.

use super::desk::Desk;
use super::{Job, Later, Outcome, Overloaded};
use crate::base::Text;
use crate::base::limits::LATERS_PER_SHARD;
use crate::buffer::Pool;
use crate::session::{
    Failure, Outbox, Part, ReplyTo, Segment, Slots, TooLargeReply, encode_failure, reply_bytes, write_reply,
};
use crate::wire::Status;
use bytes::Bytes;

/// Proof that a request was ended, or deferred.
#[must_use = "a handler returns what its reply gave it"]
#[derive(Debug)]
pub struct Replied(());

/// The right, and the duty, to end one request.
pub struct Reply<'a> {
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) slots: &'a mut Option<Box<Slots>>,
    pub(crate) desk: &'a mut Desk,
    pub(crate) pool: &'a mut Pool,
    pub(crate) to: ReplyTo,
    /// What is left until the requester gives up, in milliseconds.
    pub(crate) deadline_ms: Option<u32>,
}

impl std::fmt::Debug for Reply<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("to", &self.to).finish_non_exhaustive()
    }
}

impl Reply<'_> {
    /// Answers with a copy of these bytes. Beyond 256 MiB the requester gets INTERNAL instead, beyond what it said
    /// that it takes TOO_LARGE.
    #[inline]
    pub fn send(self, payload: &[u8]) -> Replied {
        self.gather(&[Segment::Copy(payload)])
    }

    /// Answers with several segments, one behind the other, without joining them in a buffer first.
    #[inline]
    pub fn gather(mut self, segments: &[Segment<'_>]) -> Replied {
        if self.must_wait() {
            return self.hold(segments);
        }
        let sent = self.outbox.reply_gathered(self.to, segments);
        self.told(sent)
    }

    /// Answers with a part of the request from where it lies: no copy, and for a whole payload no new checksum.
    #[inline]
    pub fn forward(mut self, part: Part<'_>) -> Replied {
        if self.must_wait() {
            return self.hold(&[Segment::Copy(part.bytes())]);
        }
        let sent = self.outbox.reply_forward(self.to, part);
        self.told(sent)
    }

    /// Answers with bytes that are shared with other replies: large ones are not copied.
    pub fn share(mut self, payload: Bytes) -> Replied {
        if self.must_wait() {
            return self.hold(&[Segment::Copy(&payload)]);
        }
        let sent = self.outbox.reply_shared(self.to, payload);
        self.told(sent)
    }

    /// Refuses the request: the requester is told the status and the text, in the place of the reply.
    pub fn fail(self, status: Status, text: &str) -> Replied {
        self.refuse(status, Failure { text, retry_after_ms: None })
    }

    /// Refuses the request for now: as [`Reply::fail`], with the time after which to try again for requesters that
    /// use extension blocks. For OVERLOADED and UNAVAILABLE.
    pub fn fail_for(self, status: Status, text: &str, retry_after_ms: u32) -> Replied {
        self.refuse(status, Failure { text, retry_after_ms: Some(retry_after_ms) })
    }

    /// Ends the request without a reply: for routes that want none. A peer that waits for one waits in vain, unless
    /// it gave its request a correlation: then it is told OK, with an empty payload.
    #[inline]
    pub fn none(self) -> Replied {
        if self.to.is_correlated() {
            return self.send(&[]);
        }
        self.outbox.silence();
        Replied(())
    }

    /// Lets the request wait for an answer from anywhere. If too many answers are awaited already, the requester is
    /// told OVERLOADED.
    pub fn defer(self) -> (Result<Later, Overloaded>, Replied) {
        match self.desk.open(self.slots, self.to, self.deadline_ms) {
            Some(later) if self.to.is_wanted() => {
                self.outbox.deferred();
                (Ok(later), Replied(()))
            }
            Some(later) => {
                self.outbox.silence();
                (Ok(later), Replied(()))
            }
            None => {
                let refused = Overloaded { limit: LATERS_PER_SHARD };
                let text = Text::of(format_args!("{refused}"));
                (Err(refused), self.fail(Status::OVERLOADED, text.as_str()))
            }
        }
    }

    /// Lets a worker thread answer. Refused with OVERLOADED when all are busy and enough wait; a job whose deadline
    /// has passed when its turn comes is not run.
    pub fn offload<O: Into<Outcome>>(self, work: impl FnOnce() -> O + Send + 'static) -> Replied {
        let due_ms = self
            .deadline_ms
            .map_or(self.desk.request_deadline_ms, |ms| ms.min(self.desk.request_deadline_ms));
        let deadline = self.desk.now.plus_us(u64::from(due_ms) * 1000);
        let workers = std::sync::Arc::clone(&self.desk.workers);
        let (later, replied) = self.defer();
        if let Ok(later) = later {
            let job = Job::new(deadline, later, Box::new(move || work().into()));
            if let Err(job) = workers.submit(job) {
                job.refuse(workers.capacity());
            }
        }
        replied
    }

    /// Whether this reply's place is behind an open request.
    #[inline]
    fn must_wait(&mut self) -> bool {
        match self.slots {
            None => false,
            Some(slots) => self.to.is_ordered() && slots.is_ordered_open(),
        }
    }

    #[inline]
    fn told(self, sent: Result<(), TooLargeReply>) -> Replied {
        if let Err(error) = sent {
            return self.too_large(error);
        }
        Replied(())
    }

    #[cold]
    fn too_large(self, error: TooLargeReply) -> Replied {
        self.fail(error.status(), Text::of(format_args!("{error}")).as_str())
    }

    fn refuse(mut self, status: Status, failure: Failure<'_>) -> Replied {
        if self.must_wait() {
            let mut frame = Vec::new();
            encode_failure(&mut frame, self.outbox.crc(), self.outbox.protocol(), self.to, status, failure);
            self.outbox.held(true);
            return self.hold_bytes(frame.len(), |into, _| into.copy_from_slice(&frame));
        }
        self.outbox.failure(self.to, status, failure);
        Replied(())
    }

    /// The reply waits behind open requests.
    #[cold]
    fn hold(self, segments: &[Segment<'_>]) -> Replied {
        let payload = segments.iter().map(|segment| segment.bytes().len()).sum();
        if let Err(error) = self.outbox.check_payload(payload) {
            return self.too_large(error);
        }
        let (protocol, to) = (self.outbox.protocol(), self.to);
        self.outbox.held(false);
        self.hold_bytes(reply_bytes(protocol, to, payload), |into, outbox| {
            write_reply(into, outbox.crc(), protocol, to, segments);
        })
    }

    fn hold_bytes(self, bytes: usize, write: impl FnOnce(&mut [u8], &Outbox)) -> Replied {
        let serial = self.desk.serial();
        let slots = self.desk.slots(self.slots);
        slots.append_ended(serial, self.to);
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        if slots.hold(self.pool, serial, count, |into| write(into, self.outbox)) {
            self.desk.held_bytes += bytes;
        }
        Replied(())
    }
}
