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
//! The CRC of a copied reply is taken some frames later ([`SEAL_BYTES`]): taken at once, it reads back bytes that were
//! just written in smaller pieces and waits for them (2 to 5 % of a small message's time, see docs/PERFORMANCE.md).
//!
//! Invariants (`check` asserts them in debug builds):
//! 1. The bytes of all pieces, and of the cork behind `cork_from`, add up to `bytes`.
//! 2. At most [`PIECES_PER_BATCH`] pieces; what would be one more is copied.
//! 3. `cork[sealed..filled]` are whole frames that lack nothing but their CRC; whoever adds anything else seals first.
//! 4. Every call that ends a request raises the tally by one, and does so only when its bytes are there.
//!
//! Never: keeps anything from one batch to the next but its capacity.

mod largest;
mod memory;
mod piece;

pub use piece::Unwritten;

use super::reply::{SLACK_BYTES, TooLargeReply, block_length, encode_failure, seal_frames, write_frame};
use super::{Envelope, Failure, Inputs, Leave, Part, Protocol, ReplyTo, Segment, Source, Tally};
use crate::base::limits::{FORWARD_BYTES_MIN, PAYLOAD_BYTES_MAX, PIECES_PER_BATCH};
use crate::wire::control::CONTROL_FRAME_BYTES_MAX;
use crate::wire::frame::{OVERHEAD_BYTES, prefix};
use crate::wire::{Control, ControlFrame, Crc, CrcStream, Header, Status};
use bytes::Bytes;
use memory::{CORK_BYTES, CORK_BYTES_KEPT};
use piece::Piece;
use std::io::IoSlice;

/// Copied replies are summed when this many bytes of them wait: more have left the L1 cache again, fewer wait for
/// the processor's store buffer.
const SEAL_BYTES: usize = 4 << 10;

/// The replies of one batch.
#[derive(Debug)]
pub struct Outbox {
    /// Where replies are copied to. Longer than what is filled, so that filling it needs no zeroing.
    cork: Vec<u8>,
    filled: usize,
    /// Up to where the copied frames have their CRC.
    sealed: usize,
    /// Where the part of the cork begins that no piece covers yet.
    cork_from: usize,
    pieces: Vec<Piece>,
    bytes: usize,
    protocol: Protocol,
    /// The largest payload of a reply, in bytes.
    payload_max: u32,
    /// See [`Outbox::short_end`].
    short_end: usize,
    /// What the server itself may have waiting for the peer, in bytes.
    own_max: u32,
    crc: Crc,
    tally: Tally,
    /// Frames gathered beyond the replies that are counted as answered: less than none if some of these wait elsewhere.
    others: i32,
    /// The last refusal that its sender does not hear of, and how many there were.
    unheard: Option<(Status, Header)>,
    unheard_count: u32,
    /// Where rare things are written before they are copied here.
    aside: Vec<u8>,
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
            cork: vec![0; CORK_BYTES],
            filled: 0,
            sealed: 0,
            cork_from: 0,
            pieces: Vec::with_capacity(PIECES_PER_BATCH + 1),
            bytes: 0,
            protocol: Protocol::Frame,
            payload_max: PAYLOAD_BYTES_MAX,
            short_end: FORWARD_BYTES_MIN,
            own_max: PAYLOAD_BYTES_MAX,
            crc: Crc::new(),
            tally: Tally::default(),
            others: 0,
            unheard: None,
            unheard_count: 0,
            aside: Vec::with_capacity(CONTROL_FRAME_BYTES_MAX),
        }
    }

    /// How replies are written.
    pub const fn protocol(&self) -> Protocol {
        self.protocol
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

    /// Whole frames or lines gathered, control frames included.
    #[inline]
    pub const fn frames(&self) -> u32 {
        self.tally.answered.wrapping_add_signed(self.others)
    }

    /// The last refusal of this batch that its sender does not hear of: why, and of what.
    #[inline]
    pub const fn unheard(&self) -> Option<(Status, Header)> {
        self.unheard
    }

    /// How many such refusals there were.
    pub const fn unheard_count(&self) -> u32 {
        self.unheard_count
    }

    /// The checksum with its detection of the processor done.
    pub const fn crc(&self) -> &Crc {
        &self.crc
    }

    /// Forgets the batch; keeps the memory of an ordinary one.
    #[inline]
    pub fn clear(&mut self) {
        if self.cork.len() > CORK_BYTES_KEPT {
            self.trim();
        }
        (self.filled, self.sealed, self.cork_from, self.bytes) = (0, 0, 0, 0);
        if !self.pieces.is_empty() {
            self.pieces.clear();
        }
        self.tally = Tally::default();
        self.others = 0;
        (self.unheard, self.unheard_count) = (None, 0);
    }

    /// A reply that is copied here.
    ///
    /// # Errors
    ///
    /// [`TooLargeReply`] beyond what may be sent to this peer; nothing is written then.
    #[inline(always)]
    pub fn reply(&mut self, to: ReplyTo, payload: &[u8]) -> Result<(), TooLargeReply> {
        self.reply_gathered(to, &[Segment::Copy(payload)])
    }

    /// A reply gathered from segments, in order.
    ///
    /// # Errors
    ///
    /// [`TooLargeReply`] beyond what may be sent to this peer; nothing is written then.
    #[inline(always)]
    pub fn reply_gathered<const N: usize>(
        &mut self,
        to: ReplyTo,
        segments: &[Segment<'_>; N],
    ) -> Result<(), TooLargeReply> {
        let payload: usize = segments.iter().map(|segment| segment.bytes().len()).sum();
        if payload < self.short_end && to.is_wanted() && self.frame_at_once(to, payload, segments) {
            self.tally.answered += 1;
            self.check();
            return Ok(());
        }
        // A copy, so that on the path above the segments need no place in memory.
        let segments = *segments;
        self.reply_otherwise(to, &segments)
    }

    /// A reply gathered from however many segments, of whatever size, in whatever protocol.
    ///
    /// # Errors
    ///
    /// [`TooLargeReply`] beyond what may be sent to this peer; nothing is written then.
    #[inline(never)]
    pub fn reply_otherwise(&mut self, to: ReplyTo, segments: &[Segment<'_>]) -> Result<(), TooLargeReply> {
        let payload: usize = segments.iter().map(|segment| segment.bytes().len()).sum();
        let length = self.checked_length(payload)?;
        let by_range = segments.iter().any(|segment| match segment {
            Segment::Copy(_) => false,
            Segment::Forward(part) => part.bytes.len() >= FORWARD_BYTES_MIN,
        });
        match self.protocol {
            Protocol::Frame | Protocol::Bare if !to.is_wanted() => {
                self.silence();
                return Ok(());
            }
            Protocol::Frame | Protocol::Bare if by_range => self.frame_by_range(to, length, segments),
            Protocol::Frame | Protocol::Bare => self.frame_by_copy(to, length, segments),
            Protocol::Line => {
                for segment in segments {
                    self.push_segment(segment);
                }
                self.push_cork(b"\n");
            }
        }
        self.tally.answered += 1;
        self.check();
        Ok(())
    }

    /// A reply that is a part of the request. A whole payload goes out with the frame around it as it was verified.
    ///
    /// # Errors
    ///
    /// [`TooLargeReply`] beyond what may be sent to this peer; nothing is written then.
    #[inline]
    pub fn reply_forward(&mut self, to: ReplyTo, part: Part<'_>) -> Result<(), TooLargeReply> {
        if let Some(Envelope { before, after }) = part.envelope
            && to.is_wanted()
        {
            self.checked_length(part.bytes.len())?;
            let start = part.at - usize::from(before);
            let end = part.at + part.bytes.len() + usize::from(after);
            if self.push_input(part.source, start, end) {
                self.tally.answered += 1;
                self.check();
                return Ok(());
            }
        }
        self.reply_gathered(to, &[Segment::Forward(part)])
    }

    /// A reply whose payload is shared: not copied, however many connections it goes to.
    ///
    /// # Errors
    ///
    /// [`TooLargeReply`] beyond what may be sent to this peer; nothing is written then.
    pub fn reply_shared(&mut self, to: ReplyTo, payload: Bytes) -> Result<(), TooLargeReply> {
        let length = self.checked_length(payload.len())?;
        if payload.len() < FORWARD_BYTES_MIN || !self.has_pieces_left() || !to.is_wanted() {
            return self.reply(to, &payload);
        }
        self.seal();
        let trailer = match self.protocol {
            Protocol::Frame | Protocol::Bare => {
                let mut crc = self.push_head(to, length);
                crc.update(&payload);
                Some(crc.finish().to_be_bytes())
            }
            Protocol::Line => None,
        };
        self.push_shared(payload);
        match trailer {
            Some(crc) => self.push_cork(&crc),
            None => self.push_cork(b"\n"),
        }
        self.tally.answered += 1;
        self.check();
        Ok(())
    }

    /// Whole frames that were encoded before, as they are: large ones are not copied.
    pub fn whole(&mut self, frames: Bytes) {
        if frames.len() < FORWARD_BYTES_MIN {
            self.whole_copied(&frames);
        } else {
            self.whole_shared(frames);
        }
    }

    /// Whole frames that were encoded before, not copied while there are pieces left.
    pub fn whole_shared(&mut self, frames: Bytes) {
        if !self.has_pieces_left() {
            self.whole_copied(&frames);
            return;
        }
        self.seal();
        self.others += 1;
        self.push_shared(frames);
        self.check();
    }

    /// Whole frames that were encoded before, copied.
    pub fn whole_copied(&mut self, frames: &[u8]) {
        self.seal();
        self.others += 1;
        self.push_cork(frames);
        self.check();
    }

    /// The failure of a request, in the place of its reply: a reply with the status for a requester that uses
    /// extension blocks, ERROR or an `ERR` line for any other. Who wants no reply hears nothing.
    #[cold]
    pub fn failure(&mut self, to: ReplyTo, status: Status, failure: Failure<'_>) {
        if !to.is_wanted() || self.protocol == Protocol::Bare {
            self.refuse_unheard(status, to.header());
        } else {
            let protocol = self.protocol;
            self.push_aside(|out, crc| encode_failure(out, crc, protocol, to, status, failure));
        }
        self.tally.failed += 1;
    }

    /// The same failure as whole bytes, to be sent later; they are there until something else is written aside.
    pub fn failure_aside(&mut self, to: ReplyTo, status: Status, failure: Failure<'_>) -> &[u8] {
        self.aside.clear();
        encode_failure(&mut self.aside, &self.crc, self.protocol, to, status, failure);
        &self.aside
    }

    /// What was written aside last.
    pub fn aside(&self) -> &[u8] {
        &self.aside
    }

    /// Something was refused whose sender does not hear of it.
    pub const fn refuse_unheard(&mut self, status: Status, header: Header) {
        self.unheard = Some((status, header));
        self.unheard_count += 1;
    }

    /// The request wants no reply.
    pub const fn silence(&mut self) {
        self.tally.silent += 1;
    }

    /// The request is answered later.
    pub const fn deferred(&mut self) {
        self.tally.deferred += 1;
    }

    /// The request was answered, or failed, and its reply waits elsewhere.
    pub const fn held(&mut self, is_failure: bool) {
        if is_failure {
            self.tally.failed += 1;
        } else {
            self.tally.answered += 1;
            // It waits elsewhere, or was gathered as a whole frame.
            self.others -= 1;
        }
    }

    /// A control frame that answers no request.
    pub fn control(&mut self, control: &Control<'_>) {
        self.push_aside(|out, crc| control.encode(out, crc));
    }

    /// A control frame with an extension block.
    pub fn control_frame(&mut self, frame: &ControlFrame<'_>) {
        self.push_aside(|out, crc| frame.encode(out, crc));
    }

    /// The last words.
    pub fn farewell(&mut self, leave: &Leave) {
        let protocol = self.protocol;
        self.push_aside(|out, crc| super::farewell(out, crc, protocol, leave));
    }

    /// Gives every copied frame the CRC that it still lacks. Called before anything is written.
    #[inline]
    pub fn seal(&mut self) {
        if self.sealed < self.filled {
            let unsealed = &mut self.cork[self.sealed..self.filled];
            self.sealed = self.filled;
            seal_frames(unsealed, &self.crc);
        }
    }

    /// All of the batch, if it is one slice of copied bytes: the common case.
    #[inline]
    pub fn single_slice(&self) -> Option<&[u8]> {
        debug_assert_eq!(self.sealed, self.filled, "sealed before it is written");
        self.pieces.is_empty().then(|| &self.cork[..self.filled])
    }

    /// Makes the slices of one vectored write, and tells how many. All of a batch fits
    /// [`SLICES_PER_WRITE`](crate::base::limits::SLICES_PER_WRITE).
    #[inline]
    pub fn slices<'a>(&'a self, inputs: Inputs<'a>, into: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for piece in &self.pieces {
            into[count] = IoSlice::new(piece.bytes(&self.cork, inputs));
            count += 1;
        }
        if self.filled > self.cork_from {
            into[count] = IoSlice::new(&self.cork[self.cork_from..self.filled]);
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
            let bytes = piece.bytes(&self.cork, inputs);
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
        let cork = &self.cork[self.cork_from..self.filled];
        if skip < cork.len() { keep(Unwritten::Bytes(&cork[skip..])) } else { Ok(()) }
    }

    /// The common path: the whole frame in the cork, all but its CRC. False if there is not enough of the cork for it.
    #[inline(always)]
    fn frame_at_once(&mut self, to: ReplyTo, length: usize, segments: &[Segment<'_>]) -> bool {
        let total = length + to.block_bytes() + OVERHEAD_BYTES;
        let room = self.cork.get_mut(self.filled..).and_then(|free| free.get_mut(..total + SLACK_BYTES));
        let Some(room) = room else { return false };
        #[expect(clippy::cast_possible_truncation, reason = "it is short")]
        write_frame(room, to, length as u32, segments);
        self.filled += total;
        self.bytes += total;
        if self.filled - self.sealed >= SEAL_BYTES {
            self.seal();
        }
        true
    }

    fn frame_by_range(&mut self, to: ReplyTo, length: u32, segments: &[Segment<'_>]) {
        self.seal();
        let mut crc = self.push_head(to, length);
        for segment in segments {
            crc.update(segment.bytes());
            self.push_segment(segment);
        }
        self.push_cork(&crc.finish().to_be_bytes());
    }

    /// A frame's prefix and block, and the CRC over them.
    fn push_head(&mut self, to: ReplyTo, length: u32) -> CrcStream {
        let block = &to.block(Status::OK)[..to.block_bytes()];
        let prefix = prefix(to.header(), length + block_length(to));
        let mut crc = self.crc.stream();
        crc.update(&prefix);
        crc.update(block);
        self.push_cork(&prefix);
        self.push_cork(block);
        crc
    }

    fn has_pieces_left(&self) -> bool {
        self.pieces.len() + 2 <= PIECES_PER_BATCH
    }

    fn push_shared(&mut self, bytes: Bytes) {
        self.seal_cork();
        self.bytes += bytes.len();
        self.pieces.push(Piece::Shared(bytes));
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

    /// Copies bytes that need no seal.
    fn push_cork(&mut self, bytes: &[u8]) {
        debug_assert_eq!(self.sealed, self.filled, "sealed before other bytes follow");
        self.room(bytes.len()).copy_from_slice(bytes);
        self.filled += bytes.len();
        self.sealed = self.filled;
        self.bytes += bytes.len();
    }

    /// Copies what `write` makes: for what is rare.
    #[cold]
    fn push_aside(&mut self, write: impl FnOnce(&mut Vec<u8>, &Crc)) {
        self.seal();
        let mut aside = std::mem::take(&mut self.aside);
        aside.clear();
        write(&mut aside, &self.crc);
        self.push_cork(&aside);
        self.others += i32::from(!aside.is_empty());
        self.aside = aside;
        self.check();
    }

    /// Refers to a range of the input, joined to the last one if it follows it. False if there is no room.
    #[inline]
    fn push_input(&mut self, source: Source, start: usize, end: usize) -> bool {
        // Nothing lacks its CRC where nothing was copied since the last piece.
        if self.filled == self.cork_from
            && let Some(Piece::Input { source: last_source, end: last_end, .. }) = self.pieces.last_mut()
            && (*last_source, *last_end) == (source, start)
        {
            *last_end = end;
        } else if self.has_pieces_left() {
            self.seal();
            self.seal_cork();
            self.pieces.push(Piece::Input { source, start, end });
        } else {
            return false;
        }
        self.bytes += end - start;
        true
    }

    /// Makes a piece of what the cork holds beyond the last one.
    fn seal_cork(&mut self) {
        if self.filled > self.cork_from {
            self.pieces.push(Piece::Cork { start: self.cork_from, end: self.filled });
            self.cork_from = self.filled;
        }
    }

    fn check(&self) {
        debug_assert!(self.pieces.len() <= PIECES_PER_BATCH);
        debug_assert!(self.sealed <= self.filled && self.cork_from <= self.filled);
        debug_assert_eq!(
            self.bytes,
            self.filled - self.cork_from + self.pieces.iter().map(Piece::len).sum::<usize>(),
            "the pieces and the cork's rest are the bytes"
        );
    }
}

#[cfg(test)]
mod tests;
