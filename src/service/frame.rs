//! A request as a handler sees it: borrowed from the buffer it was read into, valid for the length of the callback.

use crate::session::{Envelope, Part, Protocol, Source};
use crate::wire::frame::{PREFIX_BYTES, TRAILER_BYTES};
use crate::wire::{Extension, Header};
use std::ops::Range;

/// One whole, verified message.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub(crate) header: Header,
    pub(crate) protocol: Protocol,
    pub(crate) source: Source,
    /// Where it begins in its source, and the bytes that it takes there.
    pub(crate) start: usize,
    pub(crate) used: usize,
    /// The extension block, which has been parsed before; empty if there is none.
    pub(crate) block: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The route that it was sent to, `0..=16383`, or `0..=65535` on a listener with full headers; a line's is its
    /// listener's.
    #[inline]
    pub const fn route(&self) -> u16 {
        self.protocol.route_of(self.header)
    }

    /// What the request, or the reply of a dialed server, carries besides its payload: correlation, deadline, trace,
    /// status, tags. `None` if it has no extension block.
    pub fn extension(&self) -> Option<Extension<'a>> {
        if self.block.is_empty() {
            return None;
        }
        Extension::parse(self.block).ok().map(|(extension, _)| extension)
    }

    /// The correlation in its extension block, if there is one.
    pub fn correlation(&self) -> Option<u64> {
        self.extension()?.correlation
    }

    /// The payload, without the extension block; a line's is without its end.
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The whole payload, to be forwarded without a copy.
    #[inline]
    pub fn whole(&self) -> Part<'a> {
        Part { bytes: self.payload, source: self.source, at: self.payload_at(), envelope: self.envelope() }
    }

    /// A range of the payload, to be forwarded without a copy.
    ///
    /// # Panics
    ///
    /// If the range lies outside the payload, as slicing does.
    #[inline]
    pub fn part(&self, range: Range<usize>) -> Part<'a> {
        let envelope = if range == (0..self.payload.len()) { self.envelope() } else { None };
        Part {
            bytes: &self.payload[range.clone()],
            source: self.source,
            at: self.payload_at() + range.start,
            envelope,
        }
    }

    #[inline]
    const fn payload_at(&self) -> usize {
        match self.protocol {
            Protocol::Frame | Protocol::Bare => self.start + PREFIX_BYTES + self.block.len(),
            Protocol::Line => self.start,
        }
    }

    /// What surrounds the payload, if a reply with the same payload has the same around it.
    #[inline]
    fn envelope(&self) -> Option<Envelope> {
        match (self.protocol, self.block) {
            // With a block, that is so if it has nothing but a correlation, and OK for a status.
            (Protocol::Frame, [] | [3, 1, 0, 0, ..] | [1, 0, 0, 0]) | (Protocol::Bare, _) => {
                let before = u8::try_from(PREFIX_BYTES + self.block.len()).ok()?;
                Some(Envelope { before, after: TRAILER })
            }
            (Protocol::Frame, _) => None,
            // Only a bare line feed may go out again as it came.
            (Protocol::Line, _) => {
                (self.used == self.payload.len() + 1).then_some(Envelope { before: 0, after: 1 })
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "4")]
const TRAILER: u8 = TRAILER_BYTES as u8;
