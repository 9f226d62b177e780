//! Control frames: what peers say about the connection and not about a request.
//!
//! ```text
//!   PING, PONG               0..=64 opaque bytes
//!   HELLO, WELCOME           see `hello`
//!   ERROR                    status u16 | text
//!   GOAWAY                   status u16 | reconnect_after_ms u32 | text
//!   SUBSCRIBE, UNSUBSCRIBE   flags u8 | queue group (u8 len) | pattern (u8 len) | tags
//!   PUBLISH, MESSAGE         topic (u8 len) | body
//!   ACK                      nothing, or what the acknowledged request gave
//!   MISSED                   count u64 | pattern (u8 len)
//!   NOTICE                   status u16 | header u16 | text
//!
//!   with bit 15, in front:   an extension block; HELLO, SUBSCRIBE, UNSUBSCRIBE and PUBLISH may, ACK must
//! ```
//!
//! Always holds: a parsed frame is within its limits, its texts are UTF-8 and its ids are ids; an encoded one is never
//! over them. Never: who may send what. A client that sends ERROR is wrong, and the session says so, because it knows
//! which side it is. Nor what a topic may look like: that belongs to the topics.

mod error;
mod fields;
mod hello;

pub use error::ControlError;
pub use hello::{ClientId, Hello, Welcome};

use crate::base::limits::{CONTROL_BYTES_MAX, PING_BYTES_MAX, TOPIC_BYTES_MAX};
use crate::wire::frame::{PREFIX_BYTES, TRAILER_BYTES, frame_bytes, prefix};
use crate::wire::{Crc, Extension, Header, Status, Tlvs};
use fields::{Fields, front, put_counted, within};
use hello::is_id;

/// Longest text that is sent in ERROR, GOAWAY, NOTICE and error lines, in bytes; a longer one is cut at a character.
/// It is one sentence for a human, and a server that closes many connections pays for each.
///
/// A received text may be longer: all that a control frame holds.
pub const TEXT_BYTES_MAX: usize = 512;

/// The numbers of the control frames, bits 13..0 of a header with [`Header::CONTROL`].
pub mod code {
    /// Asks for a PONG with the same bytes.
    pub const PING: u16 = 0;
    /// Answers a PING.
    pub const PONG: u16 = 1;
    /// A client says who it is.
    pub const HELLO: u16 = 2;
    /// The server has accepted it.
    pub const WELCOME: u16 = 3;
    /// Stands in the place of the oldest open reply.
    pub const ERROR: u16 = 4;
    /// The server closes, or will.
    pub const GOAWAY: u16 = 5;
    /// A client wants the messages of some topics.
    pub const SUBSCRIBE: u16 = 6;
    /// It no longer does.
    pub const UNSUBSCRIBE: u16 = 7;
    /// A client sends a message to a topic.
    pub const PUBLISH: u16 = 8;
    /// The server passes it on.
    pub const MESSAGE: u16 = 9;
    /// Answers a control frame that has a correlation.
    pub const ACK: u16 = 10;
    /// Tells of messages that were dropped.
    pub const MISSED: u16 = 11;
    /// Tells of a refusal that has no place of its own.
    pub const NOTICE: u16 = 12;
}

/// What a control frame says, borrowing from where it was read or from what is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Control<'a> {
    /// Asks for a PONG with the same bytes, at most [`PING_BYTES_MAX`].
    Ping(&'a [u8]),
    /// Answers a PING with its bytes.
    Pong(&'a [u8]),
    /// The first frame of a client that wants to be known.
    Hello(Hello<'a>),
    /// It is.
    Welcome(Welcome<'a>),
    /// The reply to the oldest open request: it failed.
    Error {
        /// Why.
        status: Status,
        /// For a human; may be empty.
        text: &'a str,
    },
    /// The connection ends, or is about to.
    GoAway {
        /// Why it ends.
        status: Status,
        /// How long to wait before connecting again, in milliseconds; 0 is at once.
        reconnect_after_ms: u32,
        /// For a human; may be empty.
        text: &'a str,
    },
    /// The client wants messages.
    Subscribe(Subscription<'a>),
    /// It wants them no longer.
    Unsubscribe(Subscription<'a>),
    /// A message for a topic.
    Publish {
        /// At most [`TOPIC_BYTES_MAX`] bytes.
        topic: &'a str,
        /// The message.
        body: &'a [u8],
    },
    /// A message from a topic.
    Message {
        /// At most [`TOPIC_BYTES_MAX`] bytes.
        topic: &'a str,
        /// The message.
        body: &'a [u8],
    },
    /// What became of a control frame with a correlation; status and correlation are in the block.
    Ack {
        /// What it gave: nothing, or for PUBLISH the number of receivers as `u32`.
        payload: &'a [u8],
    },
    /// Messages that were dropped because the client was slow.
    Missed {
        /// How many.
        count: u64,
        /// Of which subscription.
        pattern: &'a str,
    },
    /// Something without a slot and without a correlation was refused.
    Notice {
        /// Why.
        status: Status,
        /// The header of what was refused.
        header: Header,
        /// For a human; may be empty.
        text: &'a str,
    },
}

/// Which messages SUBSCRIBE and UNSUBSCRIBE mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// None yet: sent as 0, not looked at.
    pub flags: u8,
    /// Each message goes to one member of a group; empty is no group. At most 255 bytes.
    pub group: &'a str,
    /// At most [`TOPIC_BYTES_MAX`] bytes.
    pub pattern: &'a str,
    /// None yet.
    pub tlvs: Tlvs<'a>,
}

impl<'a> Control<'a> {
    /// Reads the payload of a whole frame whose header [is a control one](Header::is_control) without a block.
    ///
    /// # Errors
    ///
    /// See [`ControlError`]; each ends the connection. With bit 15 it is one for every code: see
    /// [`ControlFrame::parse`].
    pub fn parse(header: Header, payload: &'a [u8]) -> Result<Control<'a>, ControlError> {
        let code = header.route_or_code();
        if header.is_ext() && Block::of(code).is_some() {
            return Err(ControlError::ExtensionNotAllowed { code });
        }
        ControlFrame::parse(header, payload).map(|frame| frame.control)
    }

    /// Appends the whole frame, without a block, to `out`: exactly [`frame_bytes`](Self::frame_bytes) bytes.
    ///
    /// A text over [`TEXT_BYTES_MAX`] is cut at a character. Other fields over their limits are a mistake of the
    /// caller and are cut in release builds; so is an ACK, which needs a block.
    pub fn encode(&self, out: &mut Vec<u8>, crc: &Crc) {
        ControlFrame { control: *self, extension: None }.encode(out, crc);
    }

    /// Size of the whole frame that [`encode`](Self::encode) makes, in bytes.
    ///
    /// At most [`CONTROL_FRAME_BYTES_MAX`], unless it is HELLO or one with a body or with tags.
    pub fn frame_bytes(&self) -> usize {
        frame_bytes(self.payload_bytes())
    }

    /// The header that this frame is sent with, if it has no block.
    pub const fn header(&self) -> Header {
        Header::control(match self {
            Control::Ping(_) => code::PING,
            Control::Pong(_) => code::PONG,
            Control::Hello(_) => code::HELLO,
            Control::Welcome(_) => code::WELCOME,
            Control::Error { .. } => code::ERROR,
            Control::GoAway { .. } => code::GOAWAY,
            Control::Subscribe(_) => code::SUBSCRIBE,
            Control::Unsubscribe(_) => code::UNSUBSCRIBE,
            Control::Publish { .. } => code::PUBLISH,
            Control::Message { .. } => code::MESSAGE,
            Control::Ack { .. } => code::ACK,
            Control::Missed { .. } => code::MISSED,
            Control::Notice { .. } => code::NOTICE,
        })
    }

    /// Reads what stands behind the block.
    fn read(code: u16, payload: &'a [u8]) -> Result<Control<'a>, ControlError> {
        let mut fields = Fields::new(code, payload);
        Ok(match code {
            code::PING => Control::Ping(fields.body_up_to(PING_BYTES_MAX)?),
            code::PONG => Control::Pong(fields.body_up_to(PING_BYTES_MAX)?),
            code::HELLO => Control::Hello(Hello::read(payload)?),
            code::WELCOME => Control::Welcome(Welcome::read(payload)?),
            code::ERROR => Control::Error { status: fields.status()?, text: fields.text()? },
            code::GOAWAY => {
                let (status, reconnect_after_ms) = (fields.status()?, fields.u32()?);
                Control::GoAway { status, reconnect_after_ms, text: fields.text()? }
            }
            code::SUBSCRIBE => Control::Subscribe(Subscription::read(fields)?),
            code::UNSUBSCRIBE => Control::Unsubscribe(Subscription::read(fields)?),
            code::PUBLISH => Control::Publish { topic: fields.topic()?, body: fields.body() },
            code::MESSAGE => Control::Message { topic: fields.topic()?, body: fields.body() },
            code::ACK => Control::Ack { payload: fields.body() },
            code::MISSED => {
                let (count, pattern) = (fields.u64()?, fields.topic()?);
                fields.body_up_to(0)?;
                Control::Missed { count, pattern }
            }
            code::NOTICE => {
                let (status, header) = (fields.status()?, Header::from_bits(fields.u16()?));
                Control::Notice { status, header, text: fields.text()? }
            }
            _ => return Err(ControlError::UnknownCode { code }),
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Control::Ping(bytes) | Control::Pong(bytes) => out.extend_from_slice(cut_opaque(bytes)),
            Control::Hello(hello) => hello.write(out),
            Control::Welcome(welcome) => welcome.write(out),
            Control::Error { status, text } => {
                out.extend_from_slice(&status.code().to_be_bytes());
                out.extend_from_slice(cut_text(text).as_bytes());
            }
            Control::GoAway { status, reconnect_after_ms, text } => {
                out.extend_from_slice(&status.code().to_be_bytes());
                out.extend_from_slice(&reconnect_after_ms.to_be_bytes());
                out.extend_from_slice(cut_text(text).as_bytes());
            }
            Control::Subscribe(subscription) | Control::Unsubscribe(subscription) => subscription.write(out),
            Control::Publish { topic, body } | Control::Message { topic, body } => {
                put_counted(out, within(topic, TOPIC_BYTES_MAX));
                out.extend_from_slice(body);
            }
            Control::Ack { payload } => out.extend_from_slice(payload),
            Control::Missed { count, pattern } => {
                out.extend_from_slice(&count.to_be_bytes());
                put_counted(out, within(pattern, TOPIC_BYTES_MAX));
            }
            Control::Notice { status, header, text } => {
                out.extend_from_slice(&status.code().to_be_bytes());
                out.extend_from_slice(&header.bits().to_be_bytes());
                out.extend_from_slice(cut_text(text).as_bytes());
            }
        }
    }

    fn payload_bytes(&self) -> usize {
        match self {
            Control::Ping(bytes) | Control::Pong(bytes) => cut_opaque(bytes).len(),
            Control::Hello(hello) => hello.payload_bytes(),
            Control::Welcome(welcome) => welcome.payload_bytes(),
            Control::Error { text, .. } => 2 + cut_text(text).len(),
            Control::GoAway { text, .. } => 6 + cut_text(text).len(),
            Control::Subscribe(subscription) | Control::Unsubscribe(subscription) => {
                subscription.payload_bytes()
            }
            Control::Publish { topic, body } | Control::Message { topic, body } => {
                1 + within(topic, TOPIC_BYTES_MAX).len() + body.len()
            }
            Control::Ack { payload } => payload.len(),
            Control::Missed { pattern, .. } => 9 + within(pattern, TOPIC_BYTES_MAX).len(),
            Control::Notice { text, .. } => 4 + cut_text(text).len(),
        }
    }
}

impl<'a> Subscription<'a> {
    fn read(mut fields: Fields<'a>) -> Result<Subscription<'a>, ControlError> {
        let (flags, group, pattern) = (fields.u8()?, fields.counted_text()?, fields.topic()?);
        Ok(Subscription { flags, group, pattern, tlvs: fields.tlvs(&[])? })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(self.flags);
        put_counted(out, self.group);
        put_counted(out, within(self.pattern, TOPIC_BYTES_MAX));
        out.extend_from_slice(self.tlvs.as_bytes());
    }

    fn payload_bytes(&self) -> usize {
        let group = within(self.group, usize::from(u8::MAX));
        3 + group.len() + within(self.pattern, TOPIC_BYTES_MAX).len() + self.tlvs.as_bytes().len()
    }
}

/// A control frame with the block in front of it, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlFrame<'a> {
    /// What it says.
    pub control: Control<'a>,
    /// HELLO, SUBSCRIBE, UNSUBSCRIBE and PUBLISH may have a correlation and a trace; ACK has status and correlation.
    pub extension: Option<Extension<'a>>,
}

impl<'a> ControlFrame<'a> {
    /// Reads the payload of a whole frame whose header [is a control one](Header::is_control).
    ///
    /// # Errors
    ///
    /// See [`ControlError`]; each ends the connection. A block that asks for what this version does not know is none:
    /// see [`Extension::unsupported`].
    pub fn parse(header: Header, payload: &'a [u8]) -> Result<ControlFrame<'a>, ControlError> {
        debug_assert!(header.is_control());
        let code = header.route_or_code();
        let block = Block::of(code).ok_or(ControlError::UnknownCode { code })?;
        let (extension, fields) = match (block, header.is_ext()) {
            (Block::Never, true) => return Err(ControlError::ExtensionNotAllowed { code }),
            (Block::Must, false) => return Err(ControlError::ExtensionMissing { code }),
            (Block::Never | Block::May, false) => (None, payload),
            (Block::May | Block::Must, true) => {
                let (extension, block_bytes) =
                    Extension::parse(payload).map_err(|error| ControlError::Extension { code, error })?;
                block.check(code, &extension)?;
                (Some(extension), &payload[block_bytes..])
            }
        };
        Ok(ControlFrame { control: Control::read(code, fields)?, extension })
    }

    /// Appends the whole frame to `out`: exactly [`frame_bytes`](Self::frame_bytes) bytes. Texts and mistakes are cut
    /// as in [`Control::encode`].
    ///
    /// # Panics
    ///
    /// When a body has 4 GiB, as [`encode`](crate::wire::encode) does.
    pub fn encode(&self, out: &mut Vec<u8>, crc: &Crc) {
        debug_assert!(self.is_allowed(), "{:?} with {:?}", self.control.header(), self.extension);
        let start = out.len();
        let payload_len = self.payload_bytes();
        out.reserve(frame_bytes(payload_len));
        let length = u32::try_from(payload_len).expect("a payload is shorter than 4 GiB");
        out.extend_from_slice(&prefix(self.header(), length));
        if let Some(extension) = &self.extension {
            extension.encode(out);
        }
        self.control.write(out);
        debug_assert_eq!(out.len() - start, PREFIX_BYTES + payload_len);
        let sum = crc.of(&out[start..]);
        out.extend_from_slice(&sum.to_be_bytes());
        debug_assert_eq!(out.len() - start, self.frame_bytes());
    }

    /// Size of the whole frame that [`encode`](Self::encode) makes, in bytes.
    pub fn frame_bytes(&self) -> usize {
        frame_bytes(self.payload_bytes())
    }

    /// The header that this frame is sent with.
    pub const fn header(&self) -> Header {
        let header = self.control.header();
        match self.extension {
            Some(_) => Header::from_bits(header.bits() | Header::EXT),
            None => header,
        }
    }

    fn payload_bytes(&self) -> usize {
        self.extension.as_ref().map_or(0, Extension::block_bytes) + self.control.payload_bytes()
    }

    fn is_allowed(&self) -> bool {
        let code = self.control.header().route_or_code();
        match (Block::of(code), &self.extension) {
            (Some(Block::Never | Block::May), None) => true,
            (Some(Block::Must), None) | (Some(Block::Never), Some(_)) | (None, _) => false,
            (Some(block @ (Block::May | Block::Must)), Some(extension)) => {
                block.check(code, extension).is_ok()
            }
        }
    }
}

/// Whether a control frame has an extension block.
#[derive(Clone, Copy)]
enum Block {
    Never,
    /// What the server may have to answer: with correlation and trace.
    May,
    /// The answer itself: with status and correlation.
    Must,
}

impl Block {
    /// `None` for an unknown code.
    const fn of(code: u16) -> Option<Block> {
        match code {
            code::PING | code::PONG | code::WELCOME | code::ERROR | code::GOAWAY => Some(Block::Never),
            code::MESSAGE | code::MISSED | code::NOTICE => Some(Block::Never),
            code::HELLO | code::SUBSCRIBE | code::UNSUBSCRIBE | code::PUBLISH => Some(Block::May),
            code::ACK => Some(Block::Must),
            _ => None,
        }
    }

    fn check(self, code: u16, extension: &Extension<'_>) -> Result<(), ControlError> {
        let is_ack = matches!(self, Block::Must);
        if is_ack && extension.correlation.is_none() {
            return Err(ControlError::ExtensionMissing { code });
        }
        let for_routes = extension.deadline_ms.is_some() || extension.one_way || !extension.tlvs.is_empty();
        if for_routes || is_ack && extension.trace.is_some() {
            return Err(ControlError::ExtensionFields { code });
        }
        Ok(())
    }
}

/// The largest control frame that a server sends of itself, in bytes: GOAWAY with the longest text. Not bounded by it:
/// MESSAGE, which has a body, and HELLO, which a server does not send.
pub const CONTROL_FRAME_BYTES_MAX: usize = PREFIX_BYTES + 6 + TEXT_BYTES_MAX + TRAILER_BYTES;

fn cut_opaque(bytes: &[u8]) -> &[u8] {
    debug_assert!(bytes.len() <= PING_BYTES_MAX);
    &bytes[..bytes.len().min(PING_BYTES_MAX)]
}

/// The longest front of `text` that ends at a character and has at most [`TEXT_BYTES_MAX`] bytes.
pub(crate) fn cut_text(text: &str) -> &str {
    front(text, TEXT_BYTES_MAX)
}

const _: () =
    assert!(6 + TEXT_BYTES_MAX <= CONTROL_BYTES_MAX as usize, "the longest text fits behind GOAWAY's fields");

#[cfg(test)]
mod tests;
