//! One frame of a byte stream: decode where it lies, encode where it goes.
//!
//! ```text
//!   0        2              6                      6+N            10+N
//!   | header | length = N   | payload (N bytes)    | crc          |
//!   |  u16   |     u32      |                      |  u32         |     all big-endian
//!   `------- prefix --------'                      `-- trailer ---'
//! ```
//!
//! Always holds: the length is refused as soon as it can be read, before anybody could reserve memory for it; the CRC
//! is over header, length and payload, so nothing of a frame is believed before its last byte. Never: looking for the
//! next frame behind a broken one. After a wrong CRC the length can't be trusted either, and with it no boundary.

use crate::base::Fault;
use crate::base::limits::{CONTROL_BYTES_MAX, CONTROL_EXTRA_BYTES, EXTENSION_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::base::planted::{Bug, is_planted};
use crate::wire::{Crc, Header};

/// Bytes in front of the payload: header and length.
pub const PREFIX_BYTES: usize = 6;

/// Bytes behind the payload: the CRC.
pub const TRAILER_BYTES: usize = 4;

/// What a frame has more than its payload, in bytes.
pub const OVERHEAD_BYTES: usize = PREFIX_BYTES + TRAILER_BYTES;

/// How large a listener lets frames be, by their kind. The kinds are fields, not rules, so that a look at a length
/// costs one choice and one comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// The largest payload of a plain frame, in bytes, `0..=`[`PAYLOAD_BYTES_MAX`].
    pub payload_max: u32,
    /// The same with an extension block in front of the body.
    pub extended_max: u32,
    /// The same for control frames, with or without a block.
    pub control_max: u32,
}

impl FrameLimits {
    /// For a peer that was not welcomed, with bodies of at most `payload_max` bytes.
    ///
    /// An extension block comes on top, so that the limit is on the body and a gateway can add a block. Control
    /// frames have a small limit of their own: there is nothing large to say in them yet.
    #[inline]
    pub const fn new(payload_max: u32) -> FrameLimits {
        debug_assert!(payload_max <= PAYLOAD_BYTES_MAX);
        let extended_max = payload_max.saturating_add(EXTENSION_BYTES_MAX);
        FrameLimits { payload_max, extended_max, control_max: CONTROL_BYTES_MAX }
    }

    /// From WELCOME on, in both directions: a control frame may carry a body, too.
    #[inline]
    pub const fn welcomed(payload_max: u32) -> FrameLimits {
        let control_max = payload_max.saturating_add(CONTROL_EXTRA_BYTES);
        FrameLimits { control_max, ..FrameLimits::new(payload_max) }
    }

    /// Where all 16 bits of a header are the route: every frame is a plain one.
    #[inline]
    pub const fn full(payload_max: u32) -> FrameLimits {
        debug_assert!(payload_max <= PAYLOAD_BYTES_MAX);
        FrameLimits { payload_max, extended_max: payload_max, control_max: payload_max }
    }

    /// The largest payload, in bytes, that a frame with this header may have.
    #[inline]
    pub const fn allowed(self, header: Header) -> u32 {
        if header.is_control() {
            self.control_max
        } else if header.is_ext() {
            self.extended_max
        } else {
            self.payload_max
        }
    }
}

/// What stands at the front of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A whole frame with a right CRC.
    Frame(RawFrame<'a>),
    /// Not a whole frame yet.
    NeedMore {
        /// How long the input must become at least, in bytes from the frame's first: [`PREFIX_BYTES`] until the
        /// length can be read, then the size of the whole frame. Always more than there is now.
        frame_bytes: usize,
    },
}

/// A frame whose length and CRC are right. What its header and payload mean is not looked at yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFrame<'a> {
    /// Route or control code.
    pub header: Header,
    /// The payload, where it lies in the input.
    pub payload: &'a [u8],
}

impl RawFrame<'_> {
    /// Size of the whole frame in the input, in bytes; the next frame begins there.
    #[inline]
    pub const fn frame_bytes(&self) -> usize {
        frame_bytes(self.payload.len())
    }
}

/// Looks at the front of `input`, which begins where a frame begins.
///
/// The cost is that of the CRC once the frame is whole, and a few comparisons before: bytes of an incomplete frame
/// are not looked at twice.
///
/// # Errors
///
/// [`DecodeError::TooLarge`] as soon as the first [`PREFIX_BYTES`] are there, [`DecodeError::BadCrc`] with the last
/// byte. Both end the stream: there is no frame boundary behind them that could be trusted.
#[inline]
pub fn decode<'a>(input: &'a [u8], limits: FrameLimits, crc: &Crc) -> Result<Decoded<'a>, DecodeError> {
    let Some(&[h0, h1, l0, l1, l2, l3]) = input.first_chunk::<PREFIX_BYTES>() else {
        return Ok(Decoded::NeedMore { frame_bytes: PREFIX_BYTES });
    };
    let header = Header::from_bits(u16::from_be_bytes([h0, h1]));
    let got_bytes = u32::from_be_bytes([l0, l1, l2, l3]);

    let limit_bytes = limits.allowed(header);
    let accepted = limit_bytes.saturating_add(u32::from(is_planted(Bug::LimitOffByOne)));
    if got_bytes > accepted {
        return Err(DecodeError::TooLarge { header, got_bytes, limit_bytes });
    }

    let frame_bytes = frame_bytes(got_bytes as usize);
    let need_more = Ok(Decoded::NeedMore { frame_bytes });
    let Some((frame, _behind)) = input.split_at_checked(frame_bytes) else { return need_more };
    // A frame is longer than its trailer and its prefix, so the compiler drops the check here and the one below.
    let Some((summed, trailer)) = frame.split_last_chunk::<TRAILER_BYTES>() else { return need_more };

    let got = u32::from_be_bytes(*trailer);
    let want = crc.of(summed);
    if got != want {
        return Err(DecodeError::BadCrc { got, want });
    }
    Ok(Decoded::Frame(RawFrame { header, payload: &summed[PREFIX_BYTES..] }))
}

/// Why no frame can be read from a stream any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The declared length is over the limit for this header. Known before the payload arrives.
    #[error("payload of {got_bytes} bytes in frame {header} exceeds the {limit_bytes} byte limit")]
    TooLarge {
        /// The frame's header.
        header: Header,
        /// The length it declares, in bytes.
        got_bytes: u32,
        /// What [`FrameLimits::allowed`] says for this header, in bytes.
        limit_bytes: u32,
    },
    /// The sum at the frame's end is not that of its bytes.
    #[error("frame carries crc {got:#010x}, its bytes have {want:#010x}")]
    BadCrc {
        /// What the frame carries.
        got: u32,
        /// What its bytes sum up to.
        want: u32,
    },
}

impl DecodeError {
    /// Who has to move.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::TooLarge { .. } | Self::BadCrc { .. } => Fault::Protocol,
        }
    }
}

/// Size of a whole frame, in bytes, whose payload has `payload` bytes.
#[inline]
pub const fn frame_bytes(payload: usize) -> usize {
    payload.saturating_add(OVERHEAD_BYTES)
}

/// The bytes in front of a payload of `payload_len` bytes.
#[inline]
pub const fn prefix(header: Header, payload_len: u32) -> [u8; PREFIX_BYTES] {
    let [h0, h1] = header.bits().to_be_bytes();
    let [l0, l1, l2, l3] = payload_len.to_be_bytes();
    [h0, h1, l0, l1, l2, l3]
}

/// Appends one frame to `out`: exactly [`frame_bytes`]`(payload.len())` bytes.
///
/// # Panics
///
/// When the payload has 4 GiB or more. No listener takes a sixteenth of that ([`PAYLOAD_BYTES_MAX`]), and a length
/// cut to 32 bits would destroy every frame behind it.
#[inline]
pub fn encode(out: &mut Vec<u8>, crc: &Crc, header: Header, payload: &[u8]) {
    let payload_len = u32::try_from(payload.len()).expect("a payload is shorter than 4 GiB");
    let start = out.len();
    out.reserve(frame_bytes(payload.len()));
    out.extend_from_slice(&prefix(header, payload_len));
    out.extend_from_slice(payload);
    let sum = crc.of(&out[start..]);
    out.extend_from_slice(&sum.to_be_bytes());
    debug_assert_eq!(out.len() - start, frame_bytes(payload.len()));
}

const _: () = assert!(
    (PAYLOAD_BYTES_MAX + EXTENSION_BYTES_MAX) as u64 + OVERHEAD_BYTES as u64 <= u32::MAX as u64,
    "the size of every allowed frame fits in 32 bits"
);

#[cfg(test)]
mod tests;
