//! Send half: gathers the replies of one batch, so that they leave in one vectored write.
//!
//! ```text
//!   cork      [ reply 1 | reply 2 | prefix of 3 |        crc of 3 | reply 4 ]   encoded here, copied once
//!   pieces      Cork ------------------------- Input ---- Cork ------------     in the order of the wire
//!   input     [ ........................... | payload | ................... ]   forwarded: not copied
//! ```
//!
//! Pieces are ranges, not borrows, so that an outbox outlives the input it refers to; the slices are made when it
//! is written, from the inputs of the same batch ([`Inputs`]).
//!
//! Invariants (`check` asserts them in debug builds):
//! 1. The bytes of all pieces, and of the cork behind `cork_from`, add up to `bytes`.
//! 2. At most [`PIECES_PER_BATCH`] pieces; what would be one more is copied.
//! 3. What [`Outbox::rollback`] takes back leaves no trace: not in the bytes, not in the tally.
//!
//! Never: keeps anything from one batch to the next but its capacity.

use super::Protocol;
use crate::base::limits::{FORWARD_BYTES_MIN, PAYLOAD_BYTES_MAX, PIECES_PER_BATCH, SCRATCH_BYTES};
use crate::wire::frame::{OVERHEAD_BYTES, PREFIX_BYTES, TRAILER_BYTES, prefix};
use crate::wire::{Control, Crc, Header, encode_error_line};
use bytes::Bytes;
use std::io::IoSlice;

/// Capacity that the cork keeps between batches, in bytes. A larger reply is made, and its memory given back.
const CORK_BYTES_KEPT: usize = 4 << 20;

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
    fn slice(self, source: Source, start: usize, end: usize) -> &'a [u8] {
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
    const fn bytes(&self) -> &'a [u8] {
        match self {
            Segment::Copy(bytes) => bytes,
            Segment::Forward(part) => part.bytes,
        }
    }
}

/// A reply whose payload no peer could be asked to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reply of {got_bytes} bytes exceeds the {limit_bytes} byte limit")]
pub struct TooLargeReply {
    /// What the handler wanted to send.
    pub got_bytes: usize,
    /// [`PAYLOAD_BYTES_MAX`].
    pub limit_bytes: u32,
}

/// How the requests of a batch ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// With a reply.
    pub answered: u32,
    /// With a status.
    pub failed: u32,
    /// With nothing, as the route wants it.
    pub silent: u32,
}

#[derive(Debug)]
enum Piece {
    Cork { start: usize, end: usize },
    Input { source: Source, start: usize, end: usize },
    Shared(Bytes),
}

/// A point that the outbox can be taken back to.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    cork: usize,
    cork_from: usize,
    pieces: usize,
    last_end: usize,
    bytes: usize,
    tally: Tally,
}

/// The replies of one batch.
#[derive(Debug)]
pub struct Outbox {
    cork: Vec<u8>,
    /// Where the part of the cork begins that no piece covers yet.
    cork_from: usize,
    pieces: Vec<Piece>,
    bytes: usize,
    protocol: Protocol,
    crc: Crc,
    tally: Tally,
}

impl Default for Outbox {
    fn default() -> Self {
        Outbox::new()
    }
}

impl Outbox {
    /// An empty outbox, with the memory that ordinary batches need.
    pub fn new() -> Outbox {
        Outbox {
            cork: Vec::with_capacity(SCRATCH_BYTES + SCRATCH_BYTES / 4),
            cork_from: 0,
            pieces: Vec::with_capacity(PIECES_PER_BATCH + 1),
            bytes: 0,
            protocol: Protocol::Frame,
            crc: Crc::new(),
            tally: Tally::default(),
        }
    }

    /// Sets how replies are written from here on.
    pub const fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// Bytes gathered.
    #[inline]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is gathered.
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// How the requests so far ended.
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// The checksum with its detection of the processor done.
    pub const fn crc(&self) -> &Crc {
        &self.crc
    }

    /// Forgets the batch; keeps the memory of an ordinary one.
    #[inline]
    pub fn clear(&mut self) {
        self.cork.clear();
        if self.cork.capacity() > CORK_BYTES_KEPT {
            self.cork.shrink_to(SCRATCH_BYTES + SCRATCH_BYTES / 4);
        }
        self.cork_from = 0;
        if !self.pieces.is_empty() {
            self.pieces.clear();
        }
        self.bytes = 0;
        self.tally = Tally::default();
    }

    /// Where the outbox stands now.
    #[inline]
    pub fn mark(&self) -> Mark {
        let last_end = match self.pieces.last() {
            Some(Piece::Input { end, .. }) => *end,
            Some(Piece::Cork { .. } | Piece::Shared(_)) | None => 0,
        };
        Mark {
            cork: self.cork.len(),
            cork_from: self.cork_from,
            pieces: self.pieces.len(),
            last_end,
            bytes: self.bytes,
            tally: self.tally,
        }
    }

    /// Takes back everything since `mark`.
    pub fn rollback(&mut self, mark: Mark) {
        self.cork.truncate(mark.cork);
        self.pieces.truncate(mark.pieces);
        if let Some(Piece::Input { end, .. }) = self.pieces.last_mut() {
            *end = mark.last_end;
        }
        self.cork_from = mark.cork_from;
        self.bytes = mark.bytes;
        self.tally = mark.tally;
        self.check();
    }

    /// A reply that is copied here.
    ///
    /// # Errors
    ///
    /// [`TooLargeReply`] beyond [`PAYLOAD_BYTES_MAX`]; nothing is written then.
    #[inline]
    pub fn reply(&mut self, header: Header, payload: &[u8]) -> Result<(), TooLargeReply> {
        self.reply_gathered(header, &[Segment::Copy(payload)])
    }

    /// A reply gathered from segments, in order.
    ///
    /// # Errors
    ///
    /// [`TooLargeReply`] beyond [`PAYLOAD_BYTES_MAX`]; nothing is written then.
    #[inline]
    pub fn reply_gathered(&mut self, header: Header, segments: &[Segment<'_>]) -> Result<(), TooLargeReply> {
        let payload: usize = segments.iter().map(|segment| segment.bytes().len()).sum();
        let length = checked_length(payload)?;
        self.tally.answered += 1;
        let by_range = segments.iter().any(|segment| match segment {
            Segment::Copy(_) => false,
            Segment::Forward(part) => part.bytes.len() >= FORWARD_BYTES_MIN,
        });
        match self.protocol {
            Protocol::Frame if by_range => self.frame_by_range(header, length, segments),
            Protocol::Frame => self.frame_by_copy(header, length, segments),
            Protocol::Line => {
                for segment in segments {
                    self.push_segment(segment);
                }
                self.push_cork(b"\n");
            }
        }
        self.check();
        Ok(())
    }

    /// A reply that is a part of the request. A whole payload goes out with the frame around it as it was verified.
    ///
    /// # Errors
    ///
    /// [`TooLargeReply`] beyond [`PAYLOAD_BYTES_MAX`]; nothing is written then.
    #[inline]
    pub fn reply_forward(&mut self, header: Header, part: Part<'_>) -> Result<(), TooLargeReply> {
        if let Some(Envelope { before, after }) = part.envelope {
            let start = part.at - usize::from(before);
            let end = part.at + part.bytes.len() + usize::from(after);
            if self.push_input(part.source, start, end) {
                self.tally.answered += 1;
                self.check();
                return Ok(());
            }
        }
        self.reply_gathered(header, &[Segment::Forward(part)])
    }

    /// A reply whose payload is shared: not copied, however many connections it goes to.
    ///
    /// # Errors
    ///
    /// [`TooLargeReply`] beyond [`PAYLOAD_BYTES_MAX`]; nothing is written then.
    pub fn reply_shared(&mut self, header: Header, payload: Bytes) -> Result<(), TooLargeReply> {
        let length = checked_length(payload.len())?;
        if payload.len() < FORWARD_BYTES_MIN || self.pieces.len() + 2 > PIECES_PER_BATCH {
            return self.reply(header, &payload);
        }
        self.tally.answered += 1;
        let trailer = match self.protocol {
            Protocol::Frame => {
                let prefix = prefix(header, length);
                let mut crc = self.crc.stream();
                crc.update(&prefix);
                crc.update(&payload);
                self.push_cork(&prefix);
                Some(crc.finish().to_be_bytes())
            }
            Protocol::Line => None,
        };
        self.seal_cork();
        self.bytes += payload.len();
        self.pieces.push(Piece::Shared(payload));
        match trailer {
            Some(crc) => self.push_cork(&crc),
            None => self.push_cork(b"\n"),
        }
        self.check();
        Ok(())
    }

    /// The failure of a request, in the place of its reply.
    pub fn failure(&mut self, status: crate::wire::Status, text: &str) {
        let before = self.cork.len();
        match self.protocol {
            Protocol::Frame => Control::Error { status, text }.encode(&mut self.cork, &self.crc),
            Protocol::Line => encode_error_line(&mut self.cork, status, text),
        }
        self.bytes += self.cork.len() - before;
        self.tally.failed += 1;
        self.check();
    }

    /// The request wants no reply.
    pub const fn silence(&mut self) {
        self.tally.silent += 1;
    }

    /// A control frame that answers no request.
    pub fn control(&mut self, control: &Control<'_>) {
        let before = self.cork.len();
        control.encode(&mut self.cork, &self.crc);
        self.bytes += self.cork.len() - before;
        self.check();
    }

    /// The last words for `why`.
    pub fn farewell(&mut self, why: crate::base::CloseReason, text: &str) {
        let before = self.cork.len();
        super::farewell(&mut self.cork, &self.crc, self.protocol, why, text);
        self.bytes += self.cork.len() - before;
        self.check();
    }

    /// All of the batch, if it is one slice of copied bytes: the common case.
    #[inline]
    pub fn single_slice(&self) -> Option<&[u8]> {
        self.pieces.is_empty().then_some(&self.cork)
    }

    /// Makes the slices of one vectored write, and tells how many. All of a batch fits
    /// [`SLICES_PER_WRITE`](crate::base::limits::SLICES_PER_WRITE).
    #[inline]
    pub fn slices<'a>(&'a self, inputs: Inputs<'a>, into: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for piece in &self.pieces {
            into[count] = IoSlice::new(self.piece_bytes(piece, inputs));
            count += 1;
        }
        if self.cork.len() > self.cork_from {
            into[count] = IoSlice::new(&self.cork[self.cork_from..]);
            count += 1;
        }
        count
    }

    /// Hands over what is left after the first `written` bytes, in order: shared bytes as such, all else as slices.
    ///
    /// # Errors
    ///
    /// The first that `keep` returns; the rest is not handed over.
    pub fn unwritten<E>(
        &self,
        inputs: Inputs<'_>,
        written: usize,
        mut keep: impl FnMut(Unwritten<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut skip = written;
        for piece in &self.pieces {
            let bytes = self.piece_bytes(piece, inputs);
            if skip >= bytes.len() {
                skip -= bytes.len();
                continue;
            }
            match piece {
                Piece::Shared(shared) => keep(Unwritten::Shared(shared.slice(skip..)))?,
                Piece::Cork { .. } | Piece::Input { .. } => keep(Unwritten::Bytes(&bytes[skip..]))?,
            }
            skip = 0;
        }
        let cork = &self.cork[self.cork_from..];
        if skip < cork.len() { keep(Unwritten::Bytes(&cork[skip..])) } else { Ok(()) }
    }

    fn piece_bytes<'a>(&'a self, piece: &'a Piece, inputs: Inputs<'a>) -> &'a [u8] {
        match piece {
            Piece::Cork { start, end } => &self.cork[*start..*end],
            Piece::Input { source, start, end } => inputs.slice(*source, *start, *end),
            Piece::Shared(bytes) => bytes,
        }
    }

    /// The common path: the whole frame in the cork, its CRC in one call over what was just written.
    #[inline]
    fn frame_by_copy(&mut self, header: Header, length: u32, segments: &[Segment<'_>]) {
        let start = self.cork.len();
        self.cork.reserve(length as usize + OVERHEAD_BYTES);
        self.cork.extend_from_slice(&prefix(header, length));
        for segment in segments {
            self.cork.extend_from_slice(segment.bytes());
        }
        let crc = self.crc.of(&self.cork[start..]);
        self.cork.extend_from_slice(&crc.to_be_bytes());
        self.bytes += length as usize + PREFIX_BYTES + TRAILER_BYTES;
    }

    fn frame_by_range(&mut self, header: Header, length: u32, segments: &[Segment<'_>]) {
        let prefix = prefix(header, length);
        let mut crc = self.crc.stream();
        crc.update(&prefix);
        self.push_cork(&prefix);
        for segment in segments {
            crc.update(segment.bytes());
            self.push_segment(segment);
        }
        self.push_cork(&crc.finish().to_be_bytes());
    }

    fn push_segment(&mut self, segment: &Segment<'_>) {
        match segment {
            Segment::Copy(bytes) => self.push_cork(bytes),
            Segment::Forward(part) => {
                let end = part.at + part.bytes.len();
                if part.bytes.len() < FORWARD_BYTES_MIN || !self.push_input(part.source, part.at, end) {
                    self.push_cork(part.bytes);
                }
            }
        }
    }

    fn push_cork(&mut self, bytes: &[u8]) {
        self.cork.extend_from_slice(bytes);
        self.bytes += bytes.len();
    }

    /// Refers to a range of the input, joined to the last one if it follows it. False if there is no room.
    fn push_input(&mut self, source: Source, start: usize, end: usize) -> bool {
        if self.cork.len() == self.cork_from
            && let Some(Piece::Input { source: last_source, end: last_end, .. }) = self.pieces.last_mut()
            && (*last_source, *last_end) == (source, start)
        {
            *last_end = end;
            self.bytes += end - start;
            return true;
        }
        if self.pieces.len() + 2 > PIECES_PER_BATCH {
            return false;
        }
        self.seal_cork();
        self.pieces.push(Piece::Input { source, start, end });
        self.bytes += end - start;
        true
    }

    /// Makes a piece of what the cork holds beyond the last one.
    fn seal_cork(&mut self) {
        if self.cork.len() > self.cork_from {
            self.pieces.push(Piece::Cork { start: self.cork_from, end: self.cork.len() });
            self.cork_from = self.cork.len();
        }
    }

    fn check(&self) {
        debug_assert!(self.pieces.len() <= PIECES_PER_BATCH);
        debug_assert_eq!(
            self.bytes,
            self.cork.len() - self.cork_from + self.pieces.iter().map(Piece::len).sum::<usize>(),
            "the pieces and the cork's rest are the bytes"
        );
    }
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Piece::Cork { start, end } | Piece::Input { start, end, .. } => end - start,
            Piece::Shared(bytes) => bytes.len(),
        }
    }
}

/// What a socket did not take.
#[derive(Debug)]
pub enum Unwritten<'a> {
    /// Must be copied to be kept.
    Bytes(&'a [u8]),
    /// Can be kept as it is.
    Shared(Bytes),
}

#[expect(clippy::cast_possible_truncation, reason = "checked against a limit of 32 bits")]
const fn checked_length(payload: usize) -> Result<u32, TooLargeReply> {
    if payload > PAYLOAD_BYTES_MAX as usize {
        Err(TooLargeReply { got_bytes: payload, limit_bytes: PAYLOAD_BYTES_MAX })
    } else {
        Ok(payload as u32)
    }
}
