//! A request as a handler sees it: borrowed from the buffer it was read into, valid for the length of the callback.

use crate::session::{Envelope, Part, Source};
use crate::wire::{Extension, Header};
use std::ops::Range;

/// One whole, verified message.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub(crate) header: Header,
    pub(crate) payload: &'a [u8],
    pub(crate) source: Source,
    /// Where the payload stands in its source.
    pub(crate) at: usize,
    pub(crate) envelope: Option<Envelope>,
    /// The extension block, which has been parsed before; empty if there is none.
    pub(crate) block: &'a [u8],
    /// Whether all 16 bits of the header name the route.
    pub(crate) is_full: bool,
}

impl<'a> Frame<'a> {
    /// The route that it was sent to, `0..=16383`, or `0..=65535` on a listener with full headers; a line's is its
    /// listener's.
    #[inline]
    pub const fn route(&self) -> u16 {
        if self.is_full { self.header.bits() } else { self.header.route_or_code() }
    }

    /// What the request, or the reply of a dialed server, carries besides its payload: correlation, deadline, trace,
    /// status, tags. `None` if it has no extension block.
    pub fn extension(&self) -> Option<Extension<'a>> {
        if self.block.is_empty() {
            return None;
        }
        Extension::parse(self.block).ok().map(|(extension, _)| extension)
    }

    /// The payload, without the extension block; a line's is without its end.
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The whole payload, to be forwarded without a copy.
    #[inline]
    pub fn whole(&self) -> Part<'a> {
        let envelope = if self.block.is_empty() { self.envelope } else { self.envelope_of_reply() };
        Part { bytes: self.payload, source: self.source, at: self.at, envelope }
    }

    /// With a block, what surrounds the payload can be sent again if the block is the one that its reply has: nothing
    /// but a correlation, and OK for a status.
    fn envelope_of_reply(&self) -> Option<Envelope> {
        match self.block {
            [3, 1, 0, 0, ..] | [1, 0, 0, 0] => {
                let before = self.envelope?.before + u8::try_from(self.block.len()).ok()?;
                Some(Envelope { before, ..self.envelope? })
            }
            _ => None,
        }
    }

    /// A range of the payload, to be forwarded without a copy.
    ///
    /// # Panics
    ///
    /// If the range lies outside the payload, as slicing does.
    pub fn part(&self, range: Range<usize>) -> Part<'a> {
        let envelope = if range == (0..self.payload.len()) { self.whole().envelope } else { None };
        Part { bytes: &self.payload[range.clone()], source: self.source, at: self.at + range.start, envelope }
    }
}
