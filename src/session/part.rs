//! Names for bytes of a batch's input that a reply can refer to instead of copying them.
//!
//! A [`Part`] is a place, and carries its bytes only to be looked at; what goes into an outbox is the place alone. It
//! can be cut from a [`Frame`](crate::service::Frame) or from the [`Inputs`], so it never names bytes that are not
//! there, and it can't outlive the batch that it belongs to.

use std::ops::Range;

/// Which of a batch's two inputs a range lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The connection's own ring.
    Ring,
    /// The loop's scratch buffer.
    Scratch,
}

/// The inputs of the batch that an outbox was filled from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inputs<'a> {
    /// The connection's ring.
    pub ring: &'a [u8],
    /// The scratch buffer.
    pub scratch: &'a [u8],
}

impl<'a> Inputs<'a> {
    /// A range of one input, as a part that a reply to the same batch can refer to.
    ///
    /// With an `envelope`, what surrounds the range must be what a reply with this payload would put around it.
    ///
    /// # Panics
    ///
    /// If the range lies outside the input, as slicing does.
    pub fn part(self, source: Source, range: Range<usize>, envelope: Option<Envelope>) -> Part<'a> {
        Part { bytes: self.slice(source, range.start, range.end), source, at: range.start, envelope }
    }

    pub(super) fn slice(self, source: Source, start: usize, end: usize) -> &'a [u8] {
        match source {
            Source::Ring => &self.ring[start..end],
            Source::Scratch => &self.scratch[start..end],
        }
    }
}

/// What surrounds a payload in the input, so that a reply can reuse it as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Bytes before the payload: a frame's prefix.
    pub before: u8,
    /// Bytes after it: a frame's CRC, a line's end.
    pub after: u8,
}

/// A range of a request's payload that a reply can refer to without copying it.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) source: Source,
    /// Where it stands in its source.
    pub(crate) at: usize,
    /// Set if this is a whole payload whose surroundings may be sent again unchanged.
    pub(crate) envelope: Option<Envelope>,
}

impl<'a> Part<'a> {
    /// The bytes.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// One segment of a reply that is gathered from several.
#[derive(Clone, Copy, Debug)]
pub enum Segment<'a> {
    /// Bytes of the handler's own: copied.
    Copy(&'a [u8]),
    /// A part of the request: sent from where it lies, if it is large enough for that to pay.
    Forward(Part<'a>),
}

impl<'a> Segment<'a> {
    pub(crate) const fn bytes(&self) -> &'a [u8] {
        match self {
            Segment::Copy(bytes) => bytes,
            Segment::Forward(part) => part.bytes,
        }
    }
}
