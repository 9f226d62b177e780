//! A request as a handler sees it: borrowed from the buffer it was read into, valid for the length of the callback.

use crate::session::{Envelope, Part, Source};
use crate::wire::Header;
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
}

impl<'a> Frame<'a> {
    /// The route that it was sent to, `0..=16383`; a line's is its listener's.
    pub const fn route(&self) -> u16 {
        self.header.route_or_code()
    }

    /// The payload; a line's is without its end.
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The whole payload, to be forwarded without a copy.
    pub const fn whole(&self) -> Part<'a> {
        Part { bytes: self.payload, source: self.source, at: self.at, envelope: self.envelope }
    }

    /// A range of the payload, to be forwarded without a copy.
    ///
    /// # Panics
    ///
    /// If the range lies outside the payload, as slicing does.
    pub fn part(&self, range: Range<usize>) -> Part<'a> {
        let envelope = if range == (0..self.payload.len()) { self.envelope } else { None };
        Part { bytes: &self.payload[range.clone()], source: self.source, at: self.at + range.start, envelope }
    }
}
