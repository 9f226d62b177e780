//! Control frames: what peers say about the connection and not about a request.
//!
//! ```text
//!   PING, PONG   0..=64 opaque bytes
//!   ERROR        status u16 | text
//!   GOAWAY       status u16 | reconnect_after_ms u32 | text
//! ```
//!
//! Always holds: a parsed frame is within its limits and its text is UTF-8; an encoded one is never over them. Never:
//! who may send what. A client that sends ERROR is wrong, and the session says so, because it knows which side it is.

use crate::base::Fault;
use crate::base::limits::{CONTROL_BYTES_MAX, PING_BYTES_MAX};
use crate::wire::frame::{PREFIX_BYTES, TRAILER_BYTES, frame_bytes, prefix};
use crate::wire::{Crc, Header, Status};

/// Longest text that is sent in ERROR, GOAWAY and error lines, in bytes; a longer one is cut at a character. It is
/// one sentence for a human, and a server that closes many connections pays for each.
///
/// A received text may be longer: all that a control frame holds.
pub const TEXT_BYTES_MAX: usize = 512;

/// The numbers of the control frames, bits 13..0 of a header with [`Header::CONTROL`].
pub mod code {
    /// Asks for a PONG with the same bytes.
    pub const PING: u16 = 0;
    /// Answers a PING.
    pub const PONG: u16 = 1;
    /// Stands in the place of the oldest open reply.
    pub const ERROR: u16 = 4;
    /// The last frame before the server closes.
    pub const GOAWAY: u16 = 5;
}

/// A control frame, borrowing from where it was read or from what is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control<'a> {
    /// Asks for a PONG with the same bytes, at most [`PING_BYTES_MAX`].
    Ping(&'a [u8]),
    /// Answers a PING with its bytes.
    Pong(&'a [u8]),
    /// The reply to the oldest open request: it failed.
    Error {
        /// Why.
        status: Status,
        /// For a human; may be empty.
        text: &'a str,
    },
    /// The last frame of a connection.
    GoAway {
        /// Why it ends.
        status: Status,
        /// How long to wait before connecting again, in milliseconds; 0 is at once.
        reconnect_after_ms: u32,
        /// For a human; may be empty.
        text: &'a str,
    },
}

impl<'a> Control<'a> {
    /// Reads the payload of a whole frame whose header [is a control one](Header::is_control).
    ///
    /// # Errors
    ///
    /// See [`ControlError`]; each ends the connection.
    pub fn parse(header: Header, payload: &'a [u8]) -> Result<Control<'a>, ControlError> {
        debug_assert!(header.is_control());
        let code = header.route_or_code();
        match code {
            code::PING | code::PONG | code::ERROR | code::GOAWAY if header.is_ext() => {
                Err(ControlError::ExtensionNotAllowed { code })
            }
            code::PING => opaque(code, payload).map(Control::Ping),
            code::PONG => opaque(code, payload).map(Control::Pong),
            code::ERROR => {
                let (status, text) = fixed::<2>(code, payload)?;
                let status = Status::from_code(u16::from_be_bytes(status));
                Ok(Control::Error { status, text: utf8(code, text)? })
            }
            code::GOAWAY => {
                let ([s0, s1, ms @ ..], text) = fixed::<6>(code, payload)?;
                let status = Status::from_code(u16::from_be_bytes([s0, s1]));
                let reconnect_after_ms = u32::from_be_bytes(ms);
                Ok(Control::GoAway { status, reconnect_after_ms, text: utf8(code, text)? })
            }
            _ => Err(ControlError::UnknownCode { code }),
        }
    }

    /// Appends the whole frame to `out`: exactly [`frame_bytes`](Self::frame_bytes) bytes.
    ///
    /// A text over [`TEXT_BYTES_MAX`] is cut at a character. PING and PONG over [`PING_BYTES_MAX`] are a mistake of
    /// the caller and are cut in release builds.
    pub fn encode(&self, out: &mut Vec<u8>, crc: &Crc) {
        let start = out.len();
        let payload_len = self.payload_bytes();
        out.reserve(frame_bytes(payload_len));
        #[expect(clippy::cast_possible_truncation, reason = "at most CONTROL_BYTES_MAX")]
        out.extend_from_slice(&prefix(self.header(), payload_len as u32));
        match *self {
            Control::Ping(bytes) | Control::Pong(bytes) => out.extend_from_slice(cut_opaque(bytes)),
            Control::Error { status, text } => {
                out.extend_from_slice(&status.code().to_be_bytes());
                out.extend_from_slice(cut_text(text).as_bytes());
            }
            Control::GoAway { status, reconnect_after_ms, text } => {
                out.extend_from_slice(&status.code().to_be_bytes());
                out.extend_from_slice(&reconnect_after_ms.to_be_bytes());
                out.extend_from_slice(cut_text(text).as_bytes());
            }
        }
        debug_assert_eq!(out.len() - start, PREFIX_BYTES + payload_len);
        let sum = crc.of(&out[start..]);
        out.extend_from_slice(&sum.to_be_bytes());
        debug_assert_eq!(out.len() - start, self.frame_bytes());
    }

    /// Size of the whole frame that [`encode`](Self::encode) makes, in bytes; at most
    /// [`CONTROL_FRAME_BYTES_MAX`].
    pub fn frame_bytes(&self) -> usize {
        frame_bytes(self.payload_bytes())
    }

    /// The header that this frame is sent with.
    pub const fn header(&self) -> Header {
        match self {
            Control::Ping(_) => Header::control(code::PING),
            Control::Pong(_) => Header::control(code::PONG),
            Control::Error { .. } => Header::control(code::ERROR),
            Control::GoAway { .. } => Header::control(code::GOAWAY),
        }
    }

    fn payload_bytes(&self) -> usize {
        match self {
            Control::Ping(bytes) | Control::Pong(bytes) => cut_opaque(bytes).len(),
            Control::Error { text, .. } => 2 + cut_text(text).len(),
            Control::GoAway { text, .. } => 6 + cut_text(text).len(),
        }
    }
}

/// The largest control frame that we send, in bytes: GOAWAY with the longest text.
pub const CONTROL_FRAME_BYTES_MAX: usize = PREFIX_BYTES + 6 + TEXT_BYTES_MAX + TRAILER_BYTES;

/// Why a control frame can't be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// A code that this version does not know.
    #[error("unknown control code {code}")]
    UnknownCode {
        /// Bits 13..0 of the header.
        code: u16,
    },
    /// Bit 15 is set, and this control frame has no extension block.
    #[error("control code {code} takes no extension block")]
    ExtensionNotAllowed {
        /// Bits 13..0 of the header.
        code: u16,
    },
    /// PING or PONG over its limit.
    #[error("payload of {got_bytes} bytes in control code {code} exceeds the {limit_bytes} byte limit")]
    TooLong {
        /// Bits 13..0 of the header.
        code: u16,
        /// Bytes of the payload.
        got_bytes: usize,
        /// The limit, in bytes.
        limit_bytes: usize,
    },
    /// The payload ends within a field that must be there.
    #[error(
        "payload of {got_bytes} bytes in control code {code} is under the {want_bytes} bytes of its fields"
    )]
    TooShort {
        /// Bits 13..0 of the header.
        code: u16,
        /// Bytes of the payload.
        got_bytes: usize,
        /// Bytes of the fields in front of the text.
        want_bytes: usize,
    },
    /// The text is not UTF-8.
    #[error("text of {got_bytes} bytes in control code {code} is utf-8 only up to byte {valid_bytes}")]
    TextNotUtf8 {
        /// Bits 13..0 of the header.
        code: u16,
        /// Bytes of the text.
        got_bytes: usize,
        /// How many of them are UTF-8.
        valid_bytes: usize,
    },
}

impl ControlError {
    /// Who has to move.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::UnknownCode { .. }
            | Self::ExtensionNotAllowed { .. }
            | Self::TooLong { .. }
            | Self::TooShort { .. }
            | Self::TextNotUtf8 { .. } => Fault::Protocol,
        }
    }
}

fn opaque(code: u16, payload: &[u8]) -> Result<&[u8], ControlError> {
    if payload.len() > PING_BYTES_MAX {
        let (got_bytes, limit_bytes) = (payload.len(), PING_BYTES_MAX);
        return Err(ControlError::TooLong { code, got_bytes, limit_bytes });
    }
    Ok(payload)
}

fn fixed<const N: usize>(code: u16, payload: &[u8]) -> Result<([u8; N], &[u8]), ControlError> {
    let short = ControlError::TooShort { code, got_bytes: payload.len(), want_bytes: N };
    payload.split_first_chunk::<N>().map(|(fields, rest)| (*fields, rest)).ok_or(short)
}

fn utf8(code: u16, text: &[u8]) -> Result<&str, ControlError> {
    let not_utf8 = |e: std::str::Utf8Error| {
        let (got_bytes, valid_bytes) = (text.len(), e.valid_up_to());
        ControlError::TextNotUtf8 { code, got_bytes, valid_bytes }
    };
    std::str::from_utf8(text).map_err(not_utf8)
}

fn cut_opaque(bytes: &[u8]) -> &[u8] {
    debug_assert!(bytes.len() <= PING_BYTES_MAX);
    &bytes[..bytes.len().min(PING_BYTES_MAX)]
}

/// The longest front of `text` that ends at a character and has at most [`TEXT_BYTES_MAX`] bytes.
pub(super) fn cut_text(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1; // at most three times: a character has at most four bytes, and 0 is a boundary
    }
    &text[..end]
}

const _: () =
    assert!(6 + TEXT_BYTES_MAX <= CONTROL_BYTES_MAX as usize, "the longest text fits behind GOAWAY's fields");

#[cfg(test)]
mod tests;
