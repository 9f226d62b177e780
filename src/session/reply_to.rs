//! Where a reply goes: all that must be kept of a request until it is answered.
//!
//! Always holds: a reply carries the request's header, and an extension block if and only if the request had one.

use crate::wire::{Extension, Header, Status};

/// Bytes of the largest block that a reply begins with: words, flags, status, correlation.
pub const REPLY_BLOCK_BYTES_MAX: usize = 12;

/// Where a reply goes.
///
/// Two numbers and no struct of four fields: so it travels in two registers, also past the compiler's inlining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    /// The header, the shape above it, and above that the bytes of the block.
    meta: u32,
    /// 0 without one.
    correlation: u64,
}

/// What a reply looks like, and whether its place among the others matters: a number in `meta`.
mod shape {
    /// No block: a reply in its slot.
    pub(super) const PLAIN: u32 = 0;
    /// A block without correlation: a reply in its slot.
    pub(super) const EXTENDED: u32 = 1 << 16;
    /// A block with a correlation: a reply that leaves when it is ready.
    pub(super) const CORRELATED: u32 = 2 << 16;
    /// The requester wants no reply.
    pub(super) const UNWANTED: u32 = 3 << 16;
    pub(super) const MASK: u32 = 3 << 16;
}

const BLOCK_SHIFT: u32 = 24;
#[expect(clippy::cast_possible_truncation, reason = "12")]
const BLOCK_BYTES: u32 = REPLY_BLOCK_BYTES_MAX as u32;
/// Words, flags, status.
const BARE_BLOCK_BYTES: u32 = 4;

impl ReplyTo {
    /// To a request without an extension block.
    #[inline]
    pub const fn plain(header: Header) -> ReplyTo {
        ReplyTo { meta: shape::PLAIN | header.bits() as u32, correlation: 0 }
    }

    /// To a request with this extension block.
    #[inline]
    pub const fn extended(header: Header, extension: &Extension<'_>) -> ReplyTo {
        let (shape, block_bytes, correlation) = match extension.correlation {
            _ if extension.one_way => (shape::UNWANTED, 0, 0),
            Some(correlation) => (shape::CORRELATED, BLOCK_BYTES, correlation),
            None => (shape::EXTENDED, BARE_BLOCK_BYTES, 0),
        };
        ReplyTo { meta: block_bytes << BLOCK_SHIFT | shape | header.bits() as u32, correlation }
    }

    /// To a request whose extension block is a correlation and nothing else.
    #[inline]
    pub const fn correlated(header: Header, correlation: u64) -> ReplyTo {
        let meta = BLOCK_BYTES << BLOCK_SHIFT | shape::CORRELATED | header.bits() as u32;
        ReplyTo { meta, correlation }
    }

    /// The same on a route where nobody waits for a reply: none is wanted, unless the request has a correlation.
    pub const fn on_one_way_route(self) -> ReplyTo {
        if self.is_correlated() {
            return self;
        }
        ReplyTo { meta: shape::UNWANTED | self.header().bits() as u32, correlation: 0 }
    }

    /// The request's header, which is the reply's.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the low half")]
    pub const fn header(self) -> Header {
        Header::from_bits(self.meta as u16)
    }

    /// Whether the reply has its place among the others.
    #[inline]
    pub const fn is_ordered(self) -> bool {
        self.meta & shape::MASK <= shape::EXTENDED
    }

    /// Whether any reply is wanted.
    #[inline]
    pub const fn is_wanted(self) -> bool {
        self.meta & shape::MASK != shape::UNWANTED
    }

    /// Whether the requester waits for a reply even where the route has none.
    #[inline]
    pub const fn is_correlated(self) -> bool {
        self.meta & shape::MASK == shape::CORRELATED
    }

    /// Whether the reply carries an extension block.
    #[inline]
    pub const fn is_extended(self) -> bool {
        self.block_bytes() > 0
    }

    /// Bytes of the block that the reply begins with.
    #[inline]
    pub const fn block_bytes(self) -> usize {
        (self.meta >> BLOCK_SHIFT) as usize
    }

    /// The block that the reply begins with; its first [`block_bytes`](ReplyTo::block_bytes) count.
    #[inline]
    pub const fn block(self, status: Status) -> [u8; REPLY_BLOCK_BYTES_MAX] {
        let [s0, s1] = status.code().to_be_bytes();
        let [c0, c1, c2, c3, c4, c5, c6, c7] = self.correlation.to_be_bytes();
        [self.words(), self.is_correlated() as u8, s0, s1, c0, c1, c2, c3, c4, c5, c6, c7]
    }

    #[expect(clippy::cast_possible_truncation, reason = "3 at most")]
    const fn words(self) -> u8 {
        (self.block_bytes() / 4) as u8
    }

    /// The block as a value, for what is rare.
    pub(super) fn extension(self, status: Status) -> Extension<'static> {
        let correlation = self.is_correlated().then_some(self.correlation);
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
    fn a_correlation_alone_has_a_short_way() {
        let (header, correlation) = (Header::from_bits(0x8001), 0x0102_0304_0506_0708);
        let extension = Extension { correlation: Some(correlation), ..Extension::default() };
        assert_eq!(ReplyTo::correlated(header, correlation), ReplyTo::extended(header, &extension));
    }

    #[test]
    fn one_way_wants_no_reply_whatever_else_it_says() {
        let extension = Extension { one_way: true, correlation: Some(1), ..Extension::default() };
        let to = ReplyTo::extended(Header::from_bits(0x8001), &extension);
        assert_eq!((to.is_wanted(), to.is_ordered(), to.block_bytes()), (false, false, 0));
    }

    #[test]
    fn on_a_one_way_route_only_a_correlation_waits_for_a_reply() {
        let extended = |correlation| {
            let extension = Extension { correlation, ..Extension::default() };
            ReplyTo::extended(Header::from_bits(0x8001), &extension).on_one_way_route()
        };
        assert!(!ReplyTo::plain(Header::route(1)).on_one_way_route().is_wanted());
        assert_eq!((extended(None).is_wanted(), extended(None).block_bytes()), (false, 0));
        assert!(extended(Some(0)).is_correlated());
    }
}
