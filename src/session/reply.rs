//! One reply as bytes: a frame with or without a block, a failure, a line.
//!
//! Two places write replies: the outbox, for what leaves now, and the store of held replies. Both are filled from
//! here, so a held reply has the same bytes as one that did not have to wait.

use super::{Protocol, REPLY_BLOCK_BYTES_MAX, ReplyTo, Segment};
use crate::wire::control::cut_text;
use crate::wire::frame::{OVERHEAD_BYTES, PREFIX_BYTES, TRAILER_BYTES, prefix};
use crate::wire::{Control, Crc, Extension, Status, TlvWriter, Tlvs, encode_error_line};

/// How the requests of a batch ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// With a reply.
    pub answered: u32,
    /// With a status.
    pub failed: u32,
    /// With nothing, as the route wants it.
    pub silent: u32,
    /// Not yet: their answers come later.
    pub deferred: u32,
}

impl Tally {
    /// Requests that were taken care of.
    #[inline]
    pub const fn total(&self) -> u32 {
        self.answered + self.failed + self.silent + self.deferred
    }
}

/// A reply whose payload is larger than its requester takes, or than may wait for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reply of {got_bytes} bytes exceeds the {limit_bytes} byte limit of {}", if *.is_own { "this server" } else { "the client" })]
pub struct TooLargeReply {
    /// What the handler wanted to send.
    pub got_bytes: usize,
    /// What is sent at most.
    pub limit_bytes: u32,
    /// Whether the limit is the server's own, not the peer's.
    pub is_own: bool,
}

impl TooLargeReply {
    /// How the request fails: for its requester's limit, or for a handler that is out of bounds.
    pub const fn status(self) -> Status {
        if self.is_own { Status::INTERNAL } else { Status::TOO_LARGE }
    }
}

/// What a failure tells besides its status.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failure<'a> {
    /// Why, for a human.
    pub text: &'a str,
    /// When to try again, in milliseconds, if that is known. Told to requesters that use extension blocks.
    pub retry_after_ms: Option<u32>,
}

/// Bytes that [`write_frame`] may write behind a frame.
pub(super) const SLACK_BYTES: usize = REPLY_BLOCK_BYTES_MAX;

/// Writes a frame to the front of `into`, all but its CRC. `into` is [`SLACK_BYTES`] larger than the frame: if there is
/// a block, the largest is written and the payload over what is too much of it.
#[inline(always)]
pub(super) fn write_frame(into: &mut [u8], to: ReplyTo, length: u32, segments: &[Segment<'_>]) {
    let (head, rest) = into.split_at_mut(PREFIX_BYTES);
    head.copy_from_slice(&prefix(to.header(), length + block_length(to)));
    if to.is_extended() {
        rest[..REPLY_BLOCK_BYTES_MAX].copy_from_slice(&to.block(Status::OK));
    }
    write_segments(&mut rest[to.block_bytes()..], segments);
}

#[inline(always)]
fn write_segments(mut rest: &mut [u8], segments: &[Segment<'_>]) {
    for segment in segments {
        let (here, behind) = rest.split_at_mut(segment.bytes().len());
        match segment.bytes() {
            // Without the call of a copy: a changed byte in front of the rest is a common reply.
            [byte] => here[0] = *byte,
            bytes => here.copy_from_slice(bytes),
        }
        rest = behind;
    }
}

/// Bytes of a whole reply with a payload of so many.
pub fn reply_bytes(protocol: Protocol, to: ReplyTo, payload: usize) -> usize {
    match protocol {
        Protocol::Frame | Protocol::Bare => payload + to.block_bytes() + OVERHEAD_BYTES,
        Protocol::Line => payload + 1,
    }
}

/// Fills `into`, which has exactly [`reply_bytes`], with a whole reply.
pub fn write_reply(into: &mut [u8], crc: &Crc, protocol: Protocol, to: ReplyTo, segments: &[Segment<'_>]) {
    match protocol {
        Protocol::Frame | Protocol::Bare => {
            let Some((summed, trailer)) = into.split_last_chunk_mut::<TRAILER_BYTES>() else { return };
            let (head, rest) = summed.split_at_mut(PREFIX_BYTES);
            #[expect(clippy::cast_possible_truncation, reason = "its size was checked against 32 bits")]
            head.copy_from_slice(&prefix(to.header(), rest.len() as u32));
            let (block, body) = rest.split_at_mut(to.block_bytes());
            block.copy_from_slice(&to.block(Status::OK)[..block.len()]);
            write_segments(body, segments);
            *trailer = crc.of(summed).to_be_bytes();
        }
        Protocol::Line => {
            let Some((end, line)) = into.split_last_mut() else { return };
            write_segments(line, segments);
            *end = b'\n';
        }
    }
}

#[inline]
pub(super) const fn block_length(to: ReplyTo) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "at most 12")]
    {
        to.block_bytes() as u32
    }
}

/// Appends the failure of a request as its requester understands it.
pub fn encode_failure(
    out: &mut Vec<u8>,
    crc: &Crc,
    protocol: Protocol,
    to: ReplyTo,
    status: Status,
    failure: Failure<'_>,
) {
    match protocol {
        Protocol::Line => encode_error_line(out, status, failure.text),
        Protocol::Frame if to.is_extended() => {
            let tlvs = failure.retry_after_ms.map(|ms| TlvWriter::new().retry_after_ms(ms));
            let tlvs = tlvs.as_ref().map_or(Tlvs::default(), TlvWriter::tlvs);
            let extension = Extension { tlvs, ..to.extension(status) };
            let text = cut_text(failure.text).as_bytes();
            let start = out.len();
            #[expect(clippy::cast_possible_truncation, reason = "a text and a block are short")]
            let length = (extension.block_bytes() + text.len()) as u32;
            out.extend_from_slice(&prefix(to.header(), length));
            extension.encode(out);
            out.extend_from_slice(text);
            let sum = crc.of(&out[start..]);
            out.extend_from_slice(&sum.to_be_bytes());
        }
        Protocol::Frame => Control::Error { status, text: failure.text }.encode(out, crc),
        Protocol::Bare => {}
    }
}

/// Gives each of these whole frames its CRC.
#[inline]
pub(super) fn seal_frames(mut frames: &mut [u8], crc: &Crc) {
    while let Some(&[_, _, l0, l1, l2, l3]) = frames.first_chunk::<PREFIX_BYTES>() {
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let Some((frame, rest)) = frames.split_at_mut_checked(length + OVERHEAD_BYTES) else { return };
        let Some((summed, trailer)) = frame.split_last_chunk_mut::<TRAILER_BYTES>() else { return };
        *trailer = crc.of(summed).to_be_bytes();
        frames = rest;
    }
}
