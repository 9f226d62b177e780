//! The services that come built in: what a route can do without a line of code.

use super::{Frame, Replied, Reply, Segment};

/// One built-in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuiltIn {
    /// Answers every request with `已接收` ("received").
    Ack,
    /// Answers with the request's own payload, forwarded as it was verified.
    Echo,
    /// Takes the request and says nothing: a one-way route.
    Discard,
    /// Answers with the payload, its first byte XOR 1: shows that replies are made, not mirrored.
    Flip,
}

impl BuiltIn {
    /// All of them.
    pub const ALL: [BuiltIn; 4] = [BuiltIn::Ack, BuiltIn::Echo, BuiltIn::Discard, BuiltIn::Flip];

    /// What [`BuiltIn::Ack`] says.
    pub const ACK: &'static str = "已接收";

    /// The name in a configuration.
    pub const fn name(self) -> &'static str {
        match self {
            BuiltIn::Ack => "ack",
            BuiltIn::Echo => "echo",
            BuiltIn::Discard => "discard",
            BuiltIn::Flip => "flip",
        }
    }

    /// Whether it never answers.
    pub const fn is_one_way(self) -> bool {
        match self {
            BuiltIn::Ack | BuiltIn::Echo | BuiltIn::Flip => false,
            BuiltIn::Discard => true,
        }
    }

    /// Ends one request.
    #[inline(always)]
    pub fn handle(self, frame: Frame<'_>, reply: Reply<'_>) -> Replied {
        match self {
            BuiltIn::Ack => reply.send(Self::ACK.as_bytes()),
            BuiltIn::Echo => reply.forward(frame.whole()),
            BuiltIn::Discard => reply.none(),
            BuiltIn::Flip => flip(frame, reply),
        }
    }
}

#[inline(always)]
fn flip(frame: Frame<'_>, reply: Reply<'_>) -> Replied {
    match frame.payload() {
        [] => reply.send(&[]),
        [first, rest @ ..] => {
            let rest = frame.part(1..rest.len() + 1);
            reply.gather(&[Segment::Copy(&[first ^ 1]), Segment::Forward(rest)])
        }
    }
}
