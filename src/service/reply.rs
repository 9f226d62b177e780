//! The one answer that a request gets.
//!
//! A [`Reply`] is consumed by whatever ends the request, and that alone makes the [`Replied`] that a handler must
//! return. So a request can be neither forgotten nor answered twice: both fail to compile.

use crate::base::Text;
use crate::session::{Outbox, Part, Segment, TooLargeReply};
use crate::wire::{Header, Status};
use bytes::Bytes;

/// Proof that a request was ended.
#[must_use = "a handler returns what its reply gave it"]
#[derive(Debug)]
pub struct Replied(());

/// The right, and the duty, to end one request.
#[derive(Debug)]
pub struct Reply<'a> {
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) header: Header,
}

impl Reply<'_> {
    /// Answers with a copy of these bytes. Beyond 256 MiB the requester gets INTERNAL instead.
    #[inline]
    pub fn send(self, payload: &[u8]) -> Replied {
        let sent = self.outbox.reply(self.header, payload);
        self.told(sent)
    }

    /// Answers with several segments, one behind the other, without joining them in a buffer first.
    #[inline]
    pub fn gather(self, segments: &[Segment<'_>]) -> Replied {
        let sent = self.outbox.reply_gathered(self.header, segments);
        self.told(sent)
    }

    /// Answers with a part of the request from where it lies: no copy, and for a whole payload no new checksum.
    #[inline]
    pub fn forward(self, part: Part<'_>) -> Replied {
        let sent = self.outbox.reply_forward(self.header, part);
        self.told(sent)
    }

    /// Answers with bytes that are shared with other replies: large ones are not copied.
    pub fn share(self, payload: Bytes) -> Replied {
        let sent = self.outbox.reply_shared(self.header, payload);
        self.told(sent)
    }

    /// Refuses the request: the requester is told the status and the text, in the place of the reply.
    pub fn fail(self, status: Status, text: &str) -> Replied {
        self.outbox.failure(status, text);
        Replied(())
    }

    /// Ends the request without a reply: for routes that want none. A peer that waits for one waits in vain.
    pub const fn none(self) -> Replied {
        self.outbox.silence();
        Replied(())
    }

    #[inline]
    fn told(self, sent: Result<(), TooLargeReply>) -> Replied {
        if let Err(error) = sent {
            self.outbox.failure(Status::INTERNAL, Text::of(format_args!("{error}")).as_str());
        }
        Replied(())
    }
}
