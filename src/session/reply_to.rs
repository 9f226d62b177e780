//! Where a reply goes: all that must be kept of a request until it is answered.
//!
//! Always holds: a reply carries the request's header, and an extension block if and only if the request had one.

use crate::wire::{Extension, Header, Status};

/// Bytes of the largest block that a reply begins with: words, flags, status, correlation.
pub const REPLY_BLOCK_BYTES_MAX: usize = 12;

/// What a reply looks like, and whether its place among the others matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// No block: a reply in its slot.
    Plain,
    /// A block without correlation: a reply in its slot.
    Extended,
    /// A block with this correlation: a reply that leaves when it is ready.
    Correlated(u64),
    /// The requester wants no reply.
    Unwanted,
}

/// Where a reply goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    header: Header,
    shape: Shape,
}

impl ReplyTo {
    /// To a request without an extension block.
    #[inline]
    pub const fn plain(header: Header) -> ReplyTo {
        ReplyTo { header, shape: Shape::Plain }
    }

    /// To a request with this extension block.
    #[inline]
    pub const fn extended(header: Header, extension: &Extension<'_>) -> ReplyTo {
        let shape = match extension.correlation {
            _ if extension.one_way => Shape::Unwanted,
            Some(correlation) => Shape::Correlated(correlation),
            None => Shape::Extended,
        };
        ReplyTo { header, shape }
    }

    /// The request's header, which is the reply's.
    #[inline]
    pub const fn header(self) -> Header {
        self.header
    }

    /// Whether the reply has its place among the others.
    #[inline]
    pub const fn is_ordered(self) -> bool {
        matches!(self.shape, Shape::Plain | Shape::Extended)
    }

    /// Whether it is a reply without a block.
    #[inline]
    pub const fn is_plain(self) -> bool {
        matches!(self.shape, Shape::Plain)
    }

    /// Whether any reply is wanted.
    #[inline]
    pub const fn is_wanted(self) -> bool {
        !matches!(self.shape, Shape::Unwanted)
    }

    /// Whether the requester waits for a reply even where the route has none.
    pub const fn is_correlated(self) -> bool {
        matches!(self.shape, Shape::Correlated(_))
    }

    /// Whether the reply carries an extension block.
    #[inline]
    pub const fn is_extended(self) -> bool {
        matches!(self.shape, Shape::Extended | Shape::Correlated(_))
    }

    /// Bytes of the block that the reply begins with.
    #[inline]
    pub const fn block_bytes(self) -> usize {
        match self.shape {
            Shape::Plain | Shape::Unwanted => 0,
            Shape::Extended => 4,
            Shape::Correlated(_) => REPLY_BLOCK_BYTES_MAX,
        }
    }

    /// The block that the reply begins with; its first [`block_bytes`](ReplyTo::block_bytes) count.
    #[inline]
    pub const fn block(self, status: Status) -> [u8; REPLY_BLOCK_BYTES_MAX] {
        let [s0, s1] = status.code().to_be_bytes();
        match self.shape {
            Shape::Plain | Shape::Unwanted | Shape::Extended => [1, 0, s0, s1, 0, 0, 0, 0, 0, 0, 0, 0],
            Shape::Correlated(correlation) => {
                let [c0, c1, c2, c3, c4, c5, c6, c7] = correlation.to_be_bytes();
                [3, 1, s0, s1, c0, c1, c2, c3, c4, c5, c6, c7]
            }
        }
    }

    /// The block as a value, for what is rare.
    pub(super) fn extension(self, status: Status) -> Extension<'static> {
        let correlation = match self.shape {
            Shape::Plain | Shape::Unwanted | Shape::Extended => None,
            Shape::Correlated(correlation) => Some(correlation),
        };
        Extension { status, correlation, ..Extension::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The short way to a block and the codec's are the same.
    #[test]
    fn blocks_are_what_the_codec_makes() {
        let header = Header::from_bits(0x8001);
        #[rustfmt::skip]
        let table: &[(&str, Extension<'_>)] = &[
            ("bare",       Extension::default()),
            ("correlated", Extension { correlation: Some(0x0102_0304_0506_0708), ..Extension::default() }),
            ("largest",    Extension { correlation: Some(u64::MAX), ..Extension::default() }),
        ];
        for (name, extension) in table {
            let to = ReplyTo::extended(header, extension);
            for status in [Status::OK, Status::OVERLOADED, Status::application(65_535)] {
                let mut want = Vec::new();
                to.extension(status).encode(&mut want);
                assert_eq!(&to.block(status)[..to.block_bytes()], want, "case: {name}, {status}");
            }
        }
    }

    #[test]
    fn one_way_wants_no_reply_whatever_else_it_says() {
        let extension = Extension { one_way: true, correlation: Some(1), ..Extension::default() };
        let to = ReplyTo::extended(Header::from_bits(0x8001), &extension);
        assert_eq!((to.is_wanted(), to.is_ordered(), to.block_bytes()), (false, false, 0));
    }
}
