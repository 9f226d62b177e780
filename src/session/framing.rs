//! Receive half: input bytes in, one message out. No state of its own, so no byte is judged twice differently.
//!
//! ```text
//!   input   |  message  |  message  |  part of one  |
//!           ^ next() -> Message     ^ next() -> NeedMore { bytes }
//! ```
//!
//! This is the only place in the crate that turns what is wrong with a peer's bytes into the reason for which the
//! connection ends: see [`reason_of_frame`], [`reason_of_control`], [`reason_of_line`]; and that knows who may send
//! what.
//!
//! Never: panics, whatever the bytes; allocates; reserves anything by a declared length.

use super::ReplyTo;
use crate::base::{CloseReason, Text};
use crate::wire::frame::PREFIX_BYTES;
use crate::wire::{
    CORRELATION_ALONE, Control, ControlError, ControlFrame, Crc, DecodeError, Decoded, Extension, Foreign,
    FrameLimits, Header, Line, LineError, decode, decode_line,
};

/// How a listener cuts its streams into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Binary frames: header, length, payload, CRC.
    Frame,
    /// Frames whose header is a route in all its 16 bits: no extension blocks, no control frames, so a failure closes.
    Bare,
    /// Lines of text, all for one route.
    Line,
}

impl Protocol {
    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Frame => "frame",
            Protocol::Bare => "bare",
            Protocol::Line => "line",
        }
    }

    /// The route that a message with this header is for.
    #[inline]
    pub const fn route_of(self, header: Header) -> u16 {
        match self {
            Protocol::Bare => header.bits(),
            Protocol::Frame | Protocol::Line => header.route_or_code(),
        }
    }
}

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We accepted the connection, and read what a client sends.
    Server,
    /// We dialed it, and read what a server sends.
    Client,
}

/// What a connection's peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// Frames or lines.
    pub protocol: Protocol,
    /// Largest payload in bytes: of a frame, or of a line without its end.
    pub payload_max: u32,
    /// The route that every line goes to; unused with frames.
    pub line_route: Header,
    /// Who reads.
    pub role: Role,
    /// A message with a trace that its sender records is one to be looked at.
    pub traces: bool,
    limits: FrameLimits,
}

/// What stands at the beginning of an input.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A request, or a reply of a server that we dialed.
    Message {
        /// Where a reply to it goes.
        to: ReplyTo,
        /// Its extension block, which is right; empty if it has none.
        block: &'a [u8],
        /// Its payload, without the block.
        payload: &'a [u8],
        /// The block says something that must be looked at before the request is started: a deadline, a trace that is
        /// recorded, or what this version does not know.
        is_special: bool,
        /// Bytes that it takes in the input, its frame or line end included.
        used: usize,
    },
    /// A control frame; [`Framing::control`] says whether it is one that this peer may send.
    Control {
        /// Its code.
        header: Header,
        /// What it says.
        payload: &'a [u8],
        /// Bytes that it takes in the input.
        used: usize,
    },
    /// Not a whole message yet.
    NeedMore {
        /// What the input must at least grow to; 0 if that can't be known (lines).
        bytes: usize,
    },
    /// The peer broke the protocol: nothing behind this can be trusted.
    Fault(CloseReason),
}

/// The two kinds of frames that nearly all are. Nothing about them must be looked at before they are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simple {
    /// Without a block.
    Plain,
    /// With a block that is a correlation and nothing else.
    Correlated,
}

/// A simple frame: what [`Step::Message`] tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Where a reply to it goes.
    pub to: ReplyTo,
    /// Its extension block, which is right; empty if it has none.
    pub block: &'a [u8],
    /// Its payload, without the block.
    pub payload: &'a [u8],
    /// Bytes that it takes in the input, its frame included.
    pub used: usize,
}

impl Framing {
    /// Of this protocol, with payloads of at most so many bytes, lines for this route.
    pub const fn new(protocol: Protocol, payload_max: u32, line_route: u16) -> Framing {
        match protocol {
            Protocol::Frame => Framing::frames(payload_max).with_line_route(line_route),
            Protocol::Bare => Framing::bare_frames(payload_max).with_line_route(line_route),
            Protocol::Line => Framing::lines(payload_max, line_route),
        }
    }

    /// Frames with payloads of at most so many bytes.
    pub const fn frames(payload_max: u32) -> Framing {
        let limits = FrameLimits::new(payload_max);
        Framing {
            protocol: Protocol::Frame,
            payload_max,
            line_route: Header::route(0),
            role: Role::Server,
            traces: false,
            limits,
        }
    }

    /// Frames whose header is a route in all its 16 bits.
    pub const fn bare_frames(payload_max: u32) -> Framing {
        let limits = FrameLimits::full(payload_max);
        Framing { protocol: Protocol::Bare, limits, ..Framing::frames(payload_max) }
    }

    /// Lines of at most so many bytes without their end, all for this route.
    pub const fn lines(payload_max: u32, route: u16) -> Framing {
        Framing { protocol: Protocol::Line, line_route: Header::route(route), ..Framing::frames(payload_max) }
    }

    /// With this largest payload.
    #[must_use]
    pub const fn with_payload_max(self, bytes: u32) -> Framing {
        match self.protocol {
            Protocol::Frame => Framing { line_route: self.line_route, ..Framing::frames(bytes) },
            Protocol::Bare => Framing { line_route: self.line_route, ..Framing::bare_frames(bytes) },
            Protocol::Line => Framing { payload_max: bytes, ..self },
        }
    }

    /// With this route for lines.
    #[must_use]
    pub const fn with_line_route(self, route: u16) -> Framing {
        Framing { line_route: Header::route(route), ..self }
    }

    /// The same where traces are recorded.
    #[must_use]
    pub const fn with_traces(self, traces: bool) -> Framing {
        Framing { traces, ..self }
    }

    /// What a server sends to us.
    #[must_use]
    pub const fn of_server(self) -> Framing {
        Framing { role: Role::Client, ..self }.welcomed()
    }

    /// The same, once a HELLO was welcomed: control frames may be larger.
    #[must_use]
    pub const fn welcomed(self) -> Framing {
        let limits = match self.protocol {
            Protocol::Frame => FrameLimits::welcomed(self.payload_max),
            Protocol::Bare | Protocol::Line => self.limits,
        };
        Framing { limits, ..self }
    }

    /// Reads one message. `scanned` leading bytes are known to hold no line end (0 if unknown; unused with frames).
    #[inline(always)]
    pub fn next<'a>(&self, input: &'a [u8], scanned: usize, crc: &Crc) -> Step<'a> {
        match self.protocol {
            Protocol::Frame | Protocol::Bare => self.next_frame(input, crc),
            Protocol::Line => self.next_line(input, scanned),
        }
    }

    /// Of which kind the frame is that an input of frames goes on with, if it is one of the two that nearly all are, and its
    /// prefix is there.
    #[inline(always)]
    pub fn simple(input: &[u8]) -> Option<Simple> {
        let &[h0, h1, ..] = input.first_chunk::<PREFIX_BYTES>()?;
        let header = Header::from_bits(u16::from_be_bytes([h0, h1]));
        if header.is_plain() {
            return Some(Simple::Plain);
        }
        let is_correlated =
            !header.is_control() && input.get(PREFIX_BYTES..)?.starts_with(&CORRELATION_ALONE);
        is_correlated.then_some(Simple::Correlated)
    }

    /// The plain frame at the front of an input of frames, if a whole and right one stands there; what else does,
    /// [`Framing::next`] tells. All that follows is shorter for a message whose kind is known.
    #[inline(always)]
    pub fn next_plain<'a>(&self, input: &'a [u8], crc: &Crc) -> Option<Request<'a>> {
        if Framing::simple(input) != Some(Simple::Plain) {
            return None;
        }
        let Ok(Decoded::Frame(frame)) = decode(input, self.limits, crc) else { return None };
        let to = ReplyTo::plain(frame.header);
        Some(Request { to, block: &[], payload: frame.payload, used: frame.frame_bytes() })
    }

    /// The same for a frame whose block is a correlation and nothing else.
    #[inline(always)]
    pub fn next_correlated<'a>(&self, input: &'a [u8], crc: &Crc) -> Option<Request<'a>> {
        if Framing::simple(input) != Some(Simple::Correlated) {
            return None;
        }
        let Ok(Decoded::Frame(frame)) = decode(input, self.limits, crc) else { return None };
        let (fixed, rest) = frame.payload.split_first_chunk::<{ CORRELATION_ALONE.len() }>()?;
        let id = *rest.first_chunk()?;
        let to = ReplyTo::correlated(frame.header, u64::from_be_bytes(id));
        let (block, payload) = frame.payload.split_at(fixed.len() + id.len());
        Some(Request { to, block, payload, used: frame.frame_bytes() })
    }

    #[inline(always)]
    fn next_frame<'a>(&self, input: &'a [u8], crc: &Crc) -> Step<'a> {
        match decode(input, self.limits, crc) {
            Ok(Decoded::Frame(frame)) => {
                let (header, payload, used) = (frame.header, frame.payload, frame.frame_bytes());
                if header.is_plain() || self.protocol == Protocol::Bare {
                    plain(header, payload, used)
                } else if header.is_control() {
                    Step::Control { header, payload, used }
                } else {
                    extended(header, payload, used, self.traces)
                }
            }
            Ok(Decoded::NeedMore { frame_bytes }) => Step::NeedMore { bytes: frame_bytes },
            Err(error) => Step::Fault(reason_of_frame(&error)),
        }
    }

    fn next_line<'a>(&self, input: &'a [u8], scanned: usize) -> Step<'a> {
        match decode_line(input, scanned, self.payload_max) {
            Ok(Line::Whole { payload, used }) => plain(self.line_route, payload, used),
            Ok(Line::NeedMore) => Step::NeedMore { bytes: 0 },
            Err(error) => Step::Fault(reason_of_line(&error)),
        }
    }

    /// What a control frame says, if this peer may send it.
    ///
    /// # Errors
    ///
    /// Why the connection ends for it.
    #[inline(never)]
    pub fn control<'a>(&self, header: Header, payload: &'a [u8]) -> Result<ControlFrame<'a>, CloseReason> {
        let frame = ControlFrame::parse(header, payload).map_err(|error| reason_of_control(&error))?;
        let from = match frame.control {
            Control::Ping(_) | Control::Pong(_) => return Ok(frame),
            Control::Hello(_) | Control::Subscribe(_) | Control::Unsubscribe(_) | Control::Publish { .. } => {
                Role::Client
            }
            Control::Welcome(_)
            | Control::Error { .. }
            | Control::GoAway { .. }
            | Control::Message { .. }
            | Control::Ack { .. }
            | Control::Missed { .. }
            | Control::Notice { .. } => Role::Server,
        };
        if from == self.role { Err(CloseReason::WrongDirection) } else { Ok(frame) }
    }

    /// The same fault as [`Framing::next`] found, in words with the number and the limit. For the cold path.
    pub fn explain(&self, why: CloseReason, input: &[u8], scanned: usize, crc: &Crc) -> Text {
        if let Some(text) = rule_of_conduct(why) {
            return Text::of(format_args!("{text}"));
        }
        match self.protocol {
            Protocol::Line => match decode_line(input, scanned, self.payload_max) {
                Err(error) => Text::of(format_args!("{error}")),
                Ok(Line::Whole { .. } | Line::NeedMore) => {
                    Text::of(format_args!("not a line of this protocol"))
                }
            },
            Protocol::Frame | Protocol::Bare => match decode(input, self.limits, crc) {
                Err(error) => Text::of(format_args!("{error}")),
                Ok(Decoded::Frame(frame)) if frame.header.is_control() => {
                    match ControlFrame::parse(frame.header, frame.payload) {
                        Err(error) => Text::of(format_args!("{error}")),
                        Ok(_) => Text::of(format_args!(
                            "control frame {} is the other side's to send",
                            frame.header
                        )),
                    }
                }
                Ok(Decoded::Frame(frame)) => match Extension::parse(frame.payload) {
                    Err(error) => Text::of(format_args!("{error}")),
                    Ok(_) => Text::of(format_args!("not a frame of this protocol")),
                },
                Ok(Decoded::NeedMore { .. }) => Text::of(format_args!("not a frame of this protocol")),
            },
        }
    }

    /// Whose protocol the first bytes of a connection are, if they are a known other one.
    ///
    /// Asked for frames when the first one was refused or is not whole yet; for lines before the first is read. Bare
    /// frames may begin with anything.
    pub fn foreign(&self, first: &[u8]) -> Option<CloseReason> {
        let foreign = match self.protocol {
            Protocol::Frame => Foreign::on_frames(first),
            Protocol::Bare => None,
            Protocol::Line => Foreign::on_lines(first),
        }?;
        Some(match foreign {
            Foreign::Tls => CloseReason::TlsOnPlain,
            Foreign::Http => CloseReason::Http,
            Foreign::Resp => CloseReason::Resp,
            Foreign::Proxy => CloseReason::Proxy,
        })
    }

    /// The whole requests that an input holds: what a forced end would lose.
    pub fn count_requests(&self, mut input: &[u8], crc: &Crc) -> u64 {
        let mut requests = 0;
        loop {
            match self.next(input, 0, crc) {
                Step::Message { used, .. } => {
                    requests += u64::from(self.role == Role::Server);
                    input = &input[used..];
                }
                Step::Control { header, payload, used } => {
                    if self.control(header, payload).is_err() {
                        return requests;
                    }
                    input = &input[used..];
                }
                Step::NeedMore { .. } | Step::Fault(_) => return requests,
            }
        }
    }
}

#[inline(always)]
const fn plain(header: Header, payload: &[u8], used: usize) -> Step<'_> {
    Step::Message { to: ReplyTo::plain(header), block: &[], payload, is_special: false, used }
}

#[inline(always)]
fn extended(header: Header, payload: &[u8], used: usize, traces: bool) -> Step<'_> {
    match Extension::parse(payload) {
        Ok((extension, block_bytes)) => {
            let to = ReplyTo::extended(header, &extension);
            let (block, payload) = payload.split_at(block_bytes);
            let is_traced = traces && extension.trace.is_some_and(|trace| trace.is_sampled());
            let is_special = extension.deadline_ms.is_some() || extension.unsupported.is_some() || is_traced;
            Step::Message { to, block, payload, is_special, used }
        }
        Err(_) => Step::Fault(CloseReason::BadExtension),
    }
}

/// What was broken by a frame that by itself is right.
const fn rule_of_conduct(why: CloseReason) -> Option<&'static str> {
    match why {
        CloseReason::LateHello => Some("HELLO is the first frame, and comes once"),
        CloseReason::NoCommonVersion => Some("no common version: this server speaks version 1"),
        CloseReason::Unauthenticated => {
            Some("this listener wants a HELLO that it accepts before anything else")
        }
        CloseReason::RequestFailed => Some("a request failed, and this protocol has no other way to say so"),
        CloseReason::PeerClosed
        | CloseReason::Reset
        | CloseReason::Truncated
        | CloseReason::BadCrc
        | CloseReason::TooLarge
        | CloseReason::LineTooLong
        | CloseReason::UnknownControl
        | CloseReason::BadControl
        | CloseReason::BadExtension
        | CloseReason::WrongDirection
        | CloseReason::TlsOnPlain
        | CloseReason::Http
        | CloseReason::Resp
        | CloseReason::Proxy
        | CloseReason::FrameDeadline
        | CloseReason::Idle
        | CloseReason::Heartbeat
        | CloseReason::WriteStall
        | CloseReason::SlowConsumer
        | CloseReason::Memory
        | CloseReason::Panicked
        | CloseReason::Drained
        | CloseReason::DrainForced
        | CloseReason::Aged
        | CloseReason::ClosedByService
        | CloseReason::DialFailed
        | CloseReason::CertificateExpired
        | CloseReason::CertificateRevoked
        | CloseReason::TlsBroken
        | CloseReason::Failed => None,
    }
}

const fn reason_of_frame(error: &DecodeError) -> CloseReason {
    match error {
        DecodeError::TooLarge { .. } => CloseReason::TooLarge,
        DecodeError::BadCrc { .. } => CloseReason::BadCrc,
    }
}

const fn reason_of_control(error: &ControlError) -> CloseReason {
    match error {
        ControlError::UnknownCode { .. } => CloseReason::UnknownControl,
        ControlError::Extension { .. } => CloseReason::BadExtension,
        ControlError::ExtensionNotAllowed { .. }
        | ControlError::ExtensionMissing { .. }
        | ControlError::ExtensionFields { .. }
        | ControlError::TooLong { .. }
        | ControlError::TooShort { .. }
        | ControlError::TopicTooLong { .. }
        | ControlError::TextNotUtf8 { .. }
        | ControlError::BadId { .. }
        | ControlError::Tlv { .. } => CloseReason::BadControl,
    }
}

const fn reason_of_line(error: &LineError) -> CloseReason {
    match error {
        LineError::TooLong { .. } => CloseReason::LineTooLong,
    }
}

#[cfg(test)]
mod tests;
