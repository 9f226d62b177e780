//! What a batch's output is made of, in the order of the wire. Ranges, never borrows.

use crate::session::{Inputs, Source};
use bytes::Bytes;

#[derive(Debug)]
pub(super) enum Piece {
    Cork { start: usize, end: usize },
    Input { source: Source, start: usize, end: usize },
    Shared(Bytes),
}

/// What a socket did not take.
#[derive(Debug)]
pub enum Unwritten<'a> {
    /// Must be copied to be kept.
    Bytes(&'a [u8]),
    /// Can be kept as it is.
    Shared(Bytes),
}

impl Piece {
    pub(super) fn len(&self) -> usize {
        match self {
            Piece::Cork { start, end } | Piece::Input { start, end, .. } => end - start,
            Piece::Shared(bytes) => bytes.len(),
        }
    }

    pub(super) fn bytes<'a>(&'a self, cork: &'a [u8], inputs: Inputs<'a>) -> &'a [u8] {
        match self {
            Piece::Cork { start, end } => &cork[*start..*end],
            Piece::Input { source, start, end } => inputs.slice(*source, *start, *end),
            Piece::Shared(bytes) => bytes,
        }
    }
}
