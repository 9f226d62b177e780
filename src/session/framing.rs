//! Receive half: input bytes in, one message out. No state of its own, so no byte is judged twice differently.
//!
//! ```text
//!   input   |  message  |  message  |  part of one  |
//!           ^ next() -> Message     ^ next() -> NeedMore { bytes }
//! ```
//!
//! This is the only place in the crate that turns what is wrong with a peer's bytes into the reason for which the
//! connection ends: see [`reason_of_frame`], [`reason_of_control`], [`reason_of_line`].
//!
//! Never: panics, whatever the bytes; allocates; reserves anything by a declared length.

use crate::base::{CloseReason, Text};
use crate::wire::{
    Control, ControlError, ControlFrame, Crc, DecodeError, Decoded, Foreign, FrameLimits, Header, Line,
    LineError, decode, decode_line,
};

/// How a listener cuts its streams into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Binary frames: header, length, payload, CRC.
    Frame,
    /// Lines of text, all for one route.
    Line,
}

/// What a listener's peers may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// Frames or lines.
    pub protocol: Protocol,
    /// Largest payload in bytes: of a frame, or of a line without its end.
    pub payload_max: u32,
    /// The route that every line goes to; unused with frames.
    pub line_route: Header,
}

/// What stands at the beginning of an input.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A request.
    Message {
        /// Its route.
        header: Header,
        /// Its payload.
        payload: &'a [u8],
        /// Bytes that it takes in the input, its frame or line end included.
        used: usize,
    },
    /// A PING to be answered with its own payload.
    Ping {
        /// At most 64 opaque bytes.
        payload: &'a [u8],
        /// Bytes that it takes in the input.
        used: usize,
    },
    /// A PONG: counted and ignored.
    Pong {
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

impl Framing {
    /// Reads one message. `scanned` leading bytes are known to hold no line end (0 if unknown; unused with frames).
    #[inline(always)]
    pub fn next<'a>(&self, input: &'a [u8], scanned: usize, crc: &Crc) -> Step<'a> {
        match self.protocol {
            Protocol::Frame => self.next_frame(input, crc),
            Protocol::Line => self.next_line(input, scanned),
        }
    }

    #[inline(always)]
    fn next_frame<'a>(&self, input: &'a [u8], crc: &Crc) -> Step<'a> {
        let limits = FrameLimits::new(self.payload_max);
        match decode(input, limits, crc) {
            Ok(Decoded::Frame(frame)) => {
                let used = frame.frame_bytes();
                if frame.header.is_control() {
                    control(frame.header, frame.payload, used)
                } else {
                    Step::Message { header: frame.header, payload: frame.payload, used }
                }
            }
            Ok(Decoded::NeedMore { frame_bytes }) => Step::NeedMore { bytes: frame_bytes },
            Err(error) => Step::Fault(reason_of_frame(&error)),
        }
    }

    fn next_line<'a>(&self, input: &'a [u8], scanned: usize) -> Step<'a> {
        match decode_line(input, scanned, self.payload_max) {
            Ok(Line::Whole { payload, used }) => Step::Message { header: self.line_route, payload, used },
            Ok(Line::NeedMore) => Step::NeedMore { bytes: 0 },
            Err(error) => Step::Fault(reason_of_line(&error)),
        }
    }

    /// The same fault as [`Framing::next`] found, in words with the number and the limit. For the cold path.
    pub fn explain(&self, input: &[u8], scanned: usize, crc: &Crc) -> Text {
        match self.protocol {
            Protocol::Line => match decode_line(input, scanned, self.payload_max) {
                Err(error) => Text::of(format_args!("{error}")),
                Ok(Line::Whole { .. } | Line::NeedMore) => {
                    Text::of(format_args!("not a line of this protocol"))
                }
            },
            Protocol::Frame => match decode(input, FrameLimits::new(self.payload_max), crc) {
                Err(error) => Text::of(format_args!("{error}")),
                Ok(Decoded::Frame(frame)) => match ControlFrame::parse(frame.header, frame.payload) {
                    Err(error) => Text::of(format_args!("{error}")),
                    Ok(_) => {
                        Text::of(format_args!("control frame {} is not a client's to send", frame.header))
                    }
                },
                Ok(Decoded::NeedMore { .. }) => Text::of(format_args!("not a frame of this protocol")),
            },
        }
    }

    /// Whose protocol the first bytes of a connection are, if they are a known other one.
    ///
    /// Asked for frames when the first one was refused or is not whole yet; for lines before the first is read.
    pub fn foreign(&self, first: &[u8]) -> Option<CloseReason> {
        let foreign = match self.protocol {
            Protocol::Frame => Foreign::on_frames(first),
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
                    requests += 1;
                    input = &input[used..];
                }
                Step::Ping { used, .. } | Step::Pong { used } => input = &input[used..],
                Step::NeedMore { .. } | Step::Fault(_) => return requests,
            }
        }
    }
}

fn control(header: Header, payload: &[u8], used: usize) -> Step<'_> {
    match ControlFrame::parse(header, payload).map(|frame| frame.control) {
        Ok(Control::Ping(payload)) => Step::Ping { payload, used },
        Ok(Control::Pong(_)) => Step::Pong { used },
        Ok(
            Control::Welcome(_)
            | Control::Error { .. }
            | Control::GoAway { .. }
            | Control::Message { .. }
            | Control::Ack { .. }
            | Control::Missed { .. }
            | Control::Notice { .. },
        ) => Step::Fault(CloseReason::WrongDirection),
        // Not served yet.
        Ok(Control::Hello(_) | Control::Subscribe(_) | Control::Unsubscribe(_) | Control::Publish { .. }) => {
            Step::Fault(CloseReason::UnknownControl)
        }
        Err(error) => Step::Fault(reason_of_control(&error)),
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
