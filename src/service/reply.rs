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
use crate::session::{Failure, Part, Protocol, ReplyTo, Segment, TooLargeReply, reply_bytes, write_reply};
use crate::wire::Status;
use bytes::Bytes;

/// Proof that a request was ended, or deferred. Only a [`Reply`] makes one, and a handler must return one.
///
/// So each path through a handler has to end its request, and to return what that gave:
///
/// ```
/// use tidegate::{Frame, Replied, Reply, Status};
///
/// fn handler(frame: Frame<'_>, reply: Reply<'_>) -> Replied {
///     if frame.payload().is_empty() {
///         return reply.fail(Status::application(256), "say something");
///     }
///     reply.send(b"ok")
/// }
/// ```
///
/// A path without a reply does not compile:
///
/// ```compile_fail,E0308
/// use tidegate::{Frame, Replied, Reply};
///
/// fn handler(frame: Frame<'_>, reply: Reply<'_>) -> Replied {
///     if frame.payload() == b"hello" {
///         return reply.send(b"ok");
///     }
/// }
/// ```
///
/// Nor does a second reply:
///
/// ```compile_fail,E0382
/// use tidegate::{Frame, Replied, Reply};
///
/// fn handler(frame: Frame<'_>, reply: Reply<'_>) -> Replied {
///     let _first = reply.send(b"ok");
///     reply.send(b"ok")
/// }
/// ```
///
/// Nor a proof that was kept from another request, since a `Replied` can't be copied, nor made by hand:
///
/// ```compile_fail,E0423
/// let forged = tidegate::Replied(());
/// ```
#[must_use = "a handler returns what its reply gave it"]
#[derive(Debug)]
pub struct Replied(());

/// The right, and the duty, to end one request.
///
/// Dropped without an answer it leaves the handler without the [`Replied`] that it must return. It is valid for the
/// length of the callback: what answers later takes a [`Later`] with it, and a copy of what it needs of the frame.
///
/// ```compile_fail,E0521
/// use tidegate::{Frame, Replied, Reply};
///
/// fn handler(frame: Frame<'_>, reply: Reply<'_>) -> Replied {
///     let payload = frame.payload(); // mended: frame.payload().to_vec()
///     let (later, replied) = reply.defer();
///     if let Ok(later) = later {
///         std::thread::spawn(move || later.send(payload));
///     }
///     replied
/// }
/// ```
pub struct Reply<'a> {
    pub(crate) desk: &'a mut Desk,
    pub(crate) to: ReplyTo,
}

impl std::fmt::Debug for Reply<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("to", &self.to).finish_non_exhaustive()
    }
}

impl Reply<'_> {
    /// Answers with a copy of these bytes.
    ///
    /// The largest payload is what may wait for a connection: [`Limits::output_high_bytes`] and the listener's largest
    /// payload together, by default 1.25 MiB for frames and 320 KiB for lines. With a larger one the requester gets
    /// INTERNAL; with one that is larger than it said that it takes, TOO_LARGE.
    ///
    /// [`Limits::output_high_bytes`]: crate::base::limits::Limits::output_high_bytes
    #[inline(always)]
    pub fn send(self, payload: &[u8]) -> Replied {
        self.gather(&[Segment::Copy(payload)])
    }

    /// Answers with several segments, one behind the other, without joining them in a buffer first.
    #[inline(always)]
    pub fn gather<const N: usize>(self, segments: &[Segment<'_>; N]) -> Replied {
        if self.desk.slots.is_some() {
            // A copy, so that on the other path the segments need no place in memory.
            let segments = *segments;
            return self.desk.gather(self.to, &segments);
        }
        let sent = self.desk.outbox.reply_gathered(self.to, segments);
        self.told(sent)
    }

    /// The same for a number of segments that is not known before.
    pub fn gather_all(self, segments: &[Segment<'_>]) -> Replied {
        self.desk.gather(self.to, segments)
    }

    /// Answers with a part of the request from where it lies: no copy, and for a whole payload no new checksum.
    #[inline(always)]
    pub fn forward(self, part: Part<'_>) -> Replied {
        self.desk.forward(self.to, part)
    }

    /// Answers with bytes that are shared with other replies: large ones are not copied.
    pub fn share(self, payload: Bytes) -> Replied {
        if self.desk.must_wait(self.to) {
            return self.desk.hold_reply(self.to, &[Segment::Copy(&payload)]);
        }
        let sent = self.desk.outbox.reply_shared(self.to, payload);
        self.told(sent)
    }

    /// Refuses the request: the requester is told the status and the text, in the place of the reply.
    #[inline]
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
        self.desk.outbox.silence();
        Replied(())
    }

    /// Lets the request wait for an answer from anywhere. If too many answers are awaited already, the requester is
    /// told OVERLOADED.
    pub fn defer(self) -> (Result<Later, Overloaded>, Replied) {
        match self.desk.open(self.to) {
            Some(later) if self.to.is_wanted() => {
                self.desk.outbox.deferred();
                (Ok(later), Replied(()))
            }
            Some(later) => {
                self.desk.outbox.silence();
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
        let since = self.desk.now;
        let deadline = since.plus_us(u64::from(self.desk.due_ms()) * 1000);
        let workers = std::sync::Arc::clone(&self.desk.workers);
        let (later, replied) = self.defer();
        if let Ok(later) = later {
            let job = Job::new((since, deadline), later, Box::new(move || work().into()));
            if let Err(job) = workers.submit(job) {
                job.refuse(workers.capacity());
            }
        }
        replied
    }

    #[inline]
    fn refuse(self, status: Status, failure: Failure<'_>) -> Replied {
        self.desk.refuse(self.to, status, failure)
    }

    #[inline]
    fn told(self, sent: Result<(), TooLargeReply>) -> Replied {
        match sent {
            Ok(()) => Replied(()),
            Err(error) => self.desk.too_large(self.to, error),
        }
    }
}

/// What is apart from the common path. Here and not above, so that there a reply never needs an address.
impl Desk {
    /// Whether this reply's place is behind an open request.
    #[inline]
    fn must_wait(&self, to: ReplyTo) -> bool {
        match &self.slots {
            None => false,
            Some(slots) => to.is_ordered() && slots.is_ordered_open(),
        }
    }

    #[inline]
    fn forward(&mut self, to: ReplyTo, part: Part<'_>) -> Replied {
        if self.must_wait(to) {
            return self.hold_reply(to, &[Segment::Copy(part.bytes())]);
        }
        match self.outbox.reply_forward(to, part) {
            Ok(()) => Replied(()),
            Err(error) => self.too_large(to, error),
        }
    }

    #[cold]
    fn too_large(&mut self, to: ReplyTo, error: TooLargeReply) -> Replied {
        if !to.is_wanted() {
            // It is not sent, whatever its size.
            self.outbox.silence();
            return Replied(());
        }
        let text = Text::of(format_args!("{error}"));
        self.refuse(to, error.status(), Failure { text: text.as_str(), retry_after_ms: None })
    }

    #[cold]
    fn refuse(&mut self, to: ReplyTo, status: Status, failure: Failure<'_>) -> Replied {
        self.failed_with = status;
        // Where headers leave no place for a failure, the connection ends, and nothing needs to be held.
        if self.must_wait(to) && self.outbox.protocol() != Protocol::Bare {
            let bytes = self.outbox.failure_aside(to, status, failure).len();
            self.hold(to, bytes, |into, outbox| into.copy_from_slice(outbox.aside()));
            self.outbox.held(true);
            return Replied(());
        }
        if self.must_wait(to) {
            // It can't be said, so the connection ends in its place.
            self.fail_in_place(to);
        }
        self.outbox.failure(to, status, failure);
        Replied(())
    }

    /// A reply that may have its place behind open requests.
    #[inline(never)]
    fn gather(&mut self, to: ReplyTo, segments: &[Segment<'_>]) -> Replied {
        if self.must_wait(to) {
            return self.hold_reply(to, segments);
        }
        match self.outbox.reply_otherwise(to, segments) {
            Ok(()) => Replied(()),
            Err(error) => self.too_large(to, error),
        }
    }

    /// The reply waits behind open requests.
    #[cold]
    fn hold_reply(&mut self, to: ReplyTo, segments: &[Segment<'_>]) -> Replied {
        let payload = segments.iter().map(|segment| segment.bytes().len()).sum();
        if let Err(error) = self.outbox.check_payload(payload) {
            return self.too_large(to, error);
        }
        let protocol = self.outbox.protocol();
        let is_held = self.hold(to, reply_bytes(protocol, to, payload), |into, outbox| {
            write_reply(into, outbox.crc(), protocol, to, segments);
        });
        if !is_held {
            self.failed_with = Status::OUTCOME_UNKNOWN;
        }
        if !is_held && protocol == Protocol::Bare {
            self.outbox.refuse_unheard(Status::OUTCOME_UNKNOWN, to.header());
        }
        self.outbox.held(!is_held);
        Replied(())
    }
}
