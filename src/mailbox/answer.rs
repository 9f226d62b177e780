//! A deferred reply on its way back to the loop that owns the request.
//!
//! Always holds: a ticket names one request for ever, since its serial is never used again; an answer to a request that
//! is over finds nothing. Short bodies travel by value, so that a deferred reply costs no allocation.

use crate::base::Token;
use crate::base::limits::INLINE_ANSWER_BYTES;
use crate::wire::{Header, Status};
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;

/// One open request of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Its connection.
    pub token: Token,
    /// Tells it from every other request that the loop ever deferred; below [`Ticket::SERIALS_FROM`] if nobody waits.
    pub serial: u64,
    /// How long it waited for a worker, in microseconds, once one has begun.
    pub queued_us: Option<u32>,
}

impl Ticket {
    /// Serials below are the headers of requests that want no reply.
    pub const SERIALS_FROM: u64 = 1 << 16;

    /// Of a request that wants no reply.
    pub const fn one_way(token: Token, header: Header) -> Ticket {
        Ticket { token, serial: header.bits() as u64, queued_us: None }
    }

    /// The header of a request that wants no reply.
    pub fn one_way_header(self) -> Option<Header> {
        u16::try_from(self.serial).ok().map(Header::from_bits)
    }
}

/// How a deferred request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which request.
    pub ticket: Ticket,
    /// What is said to it.
    pub body: Body,
}

/// What is said to a deferred request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A short payload.
    Inline(Inline),
    /// A longer payload, or one that is shared.
    Shared(Bytes),
    /// A refusal.
    Failed {
        /// Its kind.
        status: Status,
        /// What went wrong, for people.
        text: Cow<'static, str>,
    },
    /// The right to answer was dropped: INTERNAL.
    Dropped,
}

impl Body {
    /// A payload, by value if it is short.
    pub fn copied(payload: &[u8]) -> Body {
        Inline::of(payload).map_or_else(|| Body::Shared(Bytes::copy_from_slice(payload)), Body::Inline)
    }
}

/// At most [`INLINE_ANSWER_BYTES`] bytes, by value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Inline {
    len: u8,
    /// Zero behind `len`.
    bytes: [u8; INLINE_ANSWER_BYTES],
}

const _: () = assert!(INLINE_ANSWER_BYTES <= u8::MAX as usize);

impl Inline {
    /// These bytes, or `None` if they are too many.
    pub fn of(payload: &[u8]) -> Option<Inline> {
        let len = u8::try_from(payload.len()).ok()?;
        let mut bytes = [0; INLINE_ANSWER_BYTES];
        bytes.get_mut(..payload.len())?.copy_from_slice(payload);
        Some(Inline { len, bytes })
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for Inline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inline({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_payloads_travel_by_value() {
        for (len, is_inline) in [
            (0, true),
            (1, true),
            (INLINE_ANSWER_BYTES, true),
            (INLINE_ANSWER_BYTES + 1, false),
            (1000, false),
        ] {
            let payload: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let (got, was_inline) = match Body::copied(&payload) {
                Body::Inline(inline) => (inline.as_slice().to_vec(), true),
                Body::Shared(bytes) => (bytes.to_vec(), false),
                other @ (Body::Failed { .. } | Body::Dropped) => panic!("{other:?}"),
            };
            assert_eq!((got, was_inline), (payload, is_inline), "case: {len}");
        }
    }
}
