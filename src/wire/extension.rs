//! The extension block at the front of a payload whose header has bit 15: what a message is, besides its body.
//!
//! ```text
//!   | words u8 | flags u8 | status u16 | fields | tags, if bit 7 | padding to a whole word | body ...
//!   `--------------------------- words * 4 bytes ---------------------------------------'
//!
//!   flag   field          bytes
//!   0      correlation    8        of the requester's choice; comes back in the reply
//!   1      deadline       4        milliseconds that are left; 0 is expired
//!   2      trace          28       id 16, parent 8, flags 1, zero 3
//!   3      one-way        0        no reply is wanted
//!   4..=6  reserved                set by a peer: that request is UNSUPPORTED
//!   7      tags                    up to the block's end, see `tlv`
//! ```
//!
//! Always holds: a parsed block lies within its payload, and nothing in it was skipped unseen, except behind reserved
//! flags, whose fields nobody here can know. Never: whether a block is welcome, and what follows from it.

use crate::base::Fault;
use crate::base::limits::EXTENSION_BYTES_MAX;
use crate::wire::{Status, TlvError, Tlvs};

/// Bytes of a word, in which blocks are measured.
const WORD_BYTES: usize = 4;
/// Words, flags and status.
const FIXED_BYTES: usize = 4;

/// Bits of the flags.
mod flag {
    pub(super) const CORRELATION: u8 = 1 << 0;
    pub(super) const DEADLINE: u8 = 1 << 1;
    pub(super) const TRACE: u8 = 1 << 2;
    pub(super) const ONE_WAY: u8 = 1 << 3;
    pub(super) const RESERVED: u8 = 0b0111_0000;
    pub(super) const TLVS: u8 = 1 << 7;
}

/// How a block begins that is a correlation and nothing else, in a request; the eight bytes of the correlation follow.
pub const CORRELATION_ALONE: [u8; FIXED_BYTES] = [3, flag::CORRELATION, 0, 0];

/// Where a request belongs in a distributed trace: the fields of W3C Trace Context, level 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// `trace-id`.
    pub id: [u8; 16],
    /// `parent-id`.
    pub parent: [u8; 8],
    /// `trace-flags`.
    pub flags: u8,
}

impl Trace {
    /// Whether it is one: no id is all zero (W3C Trace Context, 3.2.2.3 and 3.2.2.4).
    pub const fn is_valid(&self) -> bool {
        u128::from_be_bytes(self.id) != 0 && u64::from_be_bytes(self.parent) != 0
    }

    /// Whether whoever began it records it.
    pub const fn is_sampled(&self) -> bool {
        self.flags & Trace::SAMPLED != 0
    }

    /// The flag that says so.
    pub const SAMPLED: u8 = 1;
}

/// What a block asks for that this version does not know. The one request is refused, and the connection stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// These reserved flags are set. What stands behind the known fields was not looked at.
    Flags(u8),
    /// The first critical tag.
    Tag(u8),
}

/// An extension block, borrowing from where it was read or from what is to be sent. The default says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extension<'a> {
    /// How the request ended; OK in a request.
    pub status: Status,
    /// Chosen by the requester, returned in the reply; any value, and not unique.
    pub correlation: Option<u64>,
    /// What is left until the requester gives up, in milliseconds; 0 is expired.
    pub deadline_ms: Option<u32>,
    /// The trace that the request belongs to.
    pub trace: Option<Trace>,
    /// No reply is wanted.
    pub one_way: bool,
    /// Tags with values.
    pub tlvs: Tlvs<'a>,
    /// Set by [`parse`](Self::parse) alone; [`encode`](Self::encode) does not look at it.
    pub unsupported: Option<Unsupported>,
}

impl<'a> Extension<'a> {
    /// Reads the block at the front of a payload, and tells its bytes: the body begins behind them.
    ///
    /// # Errors
    ///
    /// See [`ExtensionError`]; each ends the connection.
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Result<(Extension<'a>, usize), ExtensionError> {
        // The two blocks that nearly all messages have: a correlation alone, and nothing at all.
        if let Some(&[3, flag::CORRELATION, s0, s1, ref id @ ..]) = payload.first_chunk::<12>() {
            let status = Status::from_code(u16::from_be_bytes([s0, s1]));
            let correlation = Some(u64::from_be_bytes(*id));
            return Ok((Extension { status, correlation, ..Extension::default() }, 12));
        }
        if let Some(&[1, 0, s0, s1]) = payload.first_chunk::<4>() {
            let status = Status::from_code(u16::from_be_bytes([s0, s1]));
            return Ok((Extension { status, ..Extension::default() }, 4));
        }
        Extension::parse_any(payload)
    }

    #[inline(never)]
    fn parse_any(payload: &'a [u8]) -> Result<(Extension<'a>, usize), ExtensionError> {
        let words = match payload.first() {
            Some(0) => return Err(ExtensionError::NoWords),
            Some(words) => usize::from(*words),
            None => 1,
        };
        let block_bytes = words * WORD_BYTES;
        let over_payload = ExtensionError::OverPayload { block_bytes, payload_bytes: payload.len() };
        let block = payload.get(..block_bytes).ok_or(over_payload)?;
        let Some((&[_, flags, s0, s1], fields)) = block.split_first_chunk::<FIXED_BYTES>() else {
            return Err(over_payload);
        };
        let fields_bytes = FIXED_BYTES + fields_bytes(flags);
        let mut rest = Rest { bytes: fields, over: ExtensionError::OverBlock { fields_bytes, block_bytes } };

        let status = Status::from_code(u16::from_be_bytes([s0, s1]));
        let mut extension = Extension { status, one_way: flags & flag::ONE_WAY != 0, ..Extension::default() };
        if flags & flag::CORRELATION != 0 {
            extension.correlation = Some(u64::from_be_bytes(rest.take()?));
        }
        if flags & flag::DEADLINE != 0 {
            extension.deadline_ms = Some(u32::from_be_bytes(rest.take()?));
        }
        if flags & flag::TRACE != 0 {
            let (id, parent, [flags, zero @ ..]) = (rest.take()?, rest.take()?, rest.take::<4>()?);
            if zero != [0; 3] {
                return Err(ExtensionError::TraceNotZero);
            }
            extension.trace = Some(Trace { id, parent, flags });
        }
        if flags & flag::RESERVED != 0 {
            extension.unsupported = Some(Unsupported::Flags(flags & flag::RESERVED));
        } else if flags & flag::TLVS != 0 {
            extension.tlvs = Tlvs::from_bytes(rest.bytes)?;
            extension.unsupported = extension.tlvs.critical().map(Unsupported::Tag);
        } else if !rest.bytes.is_empty() {
            // Every field of version 1 is whole words, so without tags there is nothing to pad.
            return Err(ExtensionError::PaddingTooLong { got_bytes: rest.bytes.len() });
        }
        Ok((extension, block_bytes))
    }

    /// Appends the block: exactly [`block_bytes`](Self::block_bytes) bytes.
    ///
    /// Tags with which the block would be over its 1020 bytes are a mistake of the caller; release builds leave all
    /// of them out.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        let [s0, s1] = self.status.code().to_be_bytes();
        if let (flag::CORRELATION, Some(id)) = (self.flags(), self.correlation) {
            let mut block = [3, flag::CORRELATION, s0, s1, 0, 0, 0, 0, 0, 0, 0, 0];
            block[4..].copy_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&block);
            return;
        }
        self.encode_any(out);
    }

    #[inline(never)]
    fn encode_any(&self, out: &mut Vec<u8>) {
        let (start, block_bytes) = (out.len(), self.block_bytes());
        out.reserve(block_bytes);
        let words = u8::try_from(block_bytes / WORD_BYTES).expect("a block has at most 255 words");
        let [s0, s1] = self.status.code().to_be_bytes();
        out.extend_from_slice(&[words, self.flags(), s0, s1]);
        if let Some(id) = self.correlation {
            out.extend_from_slice(&id.to_be_bytes());
        }
        if let Some(ms) = self.deadline_ms {
            out.extend_from_slice(&ms.to_be_bytes());
        }
        if let Some(trace) = self.trace {
            out.extend_from_slice(&trace.id);
            out.extend_from_slice(&trace.parent);
            out.extend_from_slice(&[trace.flags, 0, 0, 0]);
        }
        out.extend_from_slice(self.tlvs_sent());
        out.resize(start + block_bytes, 0);
    }

    /// Size of the block that [`encode`](Self::encode) makes, in bytes: a multiple of 4, `4..=1020`.
    pub fn block_bytes(&self) -> usize {
        let bytes = FIXED_BYTES + fields_bytes(self.flags()) + self.tlvs_sent().len();
        bytes.next_multiple_of(WORD_BYTES)
    }

    #[inline]
    fn flags(&self) -> u8 {
        const fn bit(is_set: bool, flag: u8) -> u8 {
            if is_set { flag } else { 0 }
        }
        bit(self.correlation.is_some(), flag::CORRELATION)
            | bit(self.deadline_ms.is_some(), flag::DEADLINE)
            | bit(self.trace.is_some(), flag::TRACE)
            | bit(self.one_way, flag::ONE_WAY)
            | bit(!self.tlvs_sent().is_empty(), flag::TLVS)
    }

    #[inline]
    fn tlvs_sent(&self) -> &'a [u8] {
        let bytes = self.tlvs.as_bytes();
        debug_assert!(bytes.len() <= TLV_BYTES_MAX, "{} bytes of tags don't fit a block", bytes.len());
        if bytes.len() <= TLV_BYTES_MAX { bytes } else { &[] }
    }
}

/// What tags may take in a block that has all fields, in bytes.
pub const TLV_BYTES_MAX: usize = EXTENSION_BYTES_MAX as usize - FIXED_BYTES - FIELDS_BYTES_MAX;

const FIELDS_BYTES_MAX: usize = fields_bytes(u8::MAX);

/// What the fields of these flags take, without the tags.
const fn fields_bytes(flags: u8) -> usize {
    let mut bytes = 0;
    if flags & flag::CORRELATION != 0 {
        bytes += 8;
    }
    if flags & flag::DEADLINE != 0 {
        bytes += 4;
    }
    if flags & flag::TRACE != 0 {
        bytes += 28;
    }
    bytes
}

/// What is left of a block, and what is wrong if that is too little.
struct Rest<'a> {
    bytes: &'a [u8],
    over: ExtensionError,
}

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], ExtensionError> {
        let (field, rest) = self.bytes.split_first_chunk::<N>().ok_or(self.over)?;
        self.bytes = rest;
        Ok(*field)
    }
}

/// Why an extension block can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// A block counts its own first word, so 0 words is none.
    #[error("extension block of 0 words where at least 1 is needed")]
    NoWords,
    /// The block is longer than the payload that it should be in.
    #[error("extension block of {block_bytes} bytes in a payload of {payload_bytes}")]
    OverPayload {
        /// Bytes of the block, at least 4.
        block_bytes: usize,
        /// Bytes of the payload.
        payload_bytes: usize,
    },
    /// The flags name more fields than the block holds.
    #[error("extension block of {block_bytes} bytes where its fields need {fields_bytes}")]
    OverBlock {
        /// Bytes that the block would need for its fields, without tags.
        fields_bytes: usize,
        /// Bytes of the block.
        block_bytes: usize,
    },
    /// The three bytes behind the trace's flags are zero in every version 1 block.
    #[error("the last 3 bytes of the trace are not zero")]
    TraceNotZero,
    /// A whole word or more behind the last field, and no flag that says what it is.
    #[error("extension block with {got_bytes} bytes behind its last field where at most 3 are padding")]
    PaddingTooLong {
        /// Bytes behind the last field.
        got_bytes: usize,
    },
    /// The tags can't be read.
    #[error("extension block: {0}")]
    Tlv(#[from] TlvError),
}

impl ExtensionError {
    /// Who has to move.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::NoWords
            | Self::OverPayload { .. }
            | Self::OverBlock { .. }
            | Self::TraceNotZero
            | Self::PaddingTooLong { .. } => Fault::Protocol,
            Self::Tlv(error) => error.fault(),
        }
    }
}

const _: () = {
    assert!(EXTENSION_BYTES_MAX as usize == 255 * WORD_BYTES, "a byte counts the words");
    assert!(super::tlv::TLV_WRITER_BYTES <= TLV_BYTES_MAX, "what a writer collects fits every block");
};

#[cfg(test)]
mod tests;
