//! Frames, bytes and expectations as people read them.

use super::Failure;
use super::expect::Expect;
use crate::base::limits::PAYLOAD_BYTES_MAX;
use crate::wire::{Control, ControlFrame, Crc, Decoded, Extension, FrameLimits, Header, decode};
use std::fmt;

/// More bytes than these, of one thing, are not shown.
const SHOWN_BYTES_MAX: usize = 96;
/// Nor are more frames.
const SHOWN_FRAMES_MAX: usize = 6;

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expect::Frame { header, payload } => write!(f, "a reply on {header}: {}", quoted(payload)),
            Expect::Error { status } => write!(f, "ERROR {status}"),
            Expect::Ext { header, status, id, body } => {
                write!(f, "a reply on {header} with status {status} and ")?;
                match id {
                    Some(id) => write!(f, "correlation {id:#x}")?,
                    None => f.write_str("no correlation")?,
                }
                match body {
                    Some(body) => write!(f, ": {}", quoted(body)),
                    None => f.write_str(", with any text"),
                }
            }
            Expect::Pong(bytes) => write!(f, "PONG {}", quoted(bytes)),
            Expect::Welcome { version } => write!(f, "WELCOME with a version from 1 to {version}"),
            Expect::Ack { status, id } => write!(f, "ACK {status} for correlation {id:#x}"),
            Expect::Notice { status, header } => write!(f, "NOTICE {status} about {header}"),
            Expect::GoAway { status } => write!(f, "GOAWAY {status}"),
            Expect::Line => f.write_str("a line that does not begin with ERR"),
            Expect::ErrorLine { status } => write!(f, "a line ERR {status}"),
            Expect::Bytes(bytes) => write!(f, "the bytes {}", hex(bytes)),
            Expect::End | Expect::AnythingThenEnd => f.write_str("the end of the stream"),
        }
    }
}

/// A whole frame.
pub(super) fn frame(header: Header, payload: &[u8]) -> String {
    if header.is_control() {
        return match ControlFrame::parse(header, payload) {
            Ok(frame) => control(&frame),
            Err(error) => format!("a control frame that can't be read: {error}"),
        };
    }
    if !header.is_ext() {
        return format!("a frame on {header}: {}", quoted(payload));
    }
    match Extension::parse(payload) {
        Ok((extension, block_bytes)) => {
            format!("a frame on {header}, {}: {}", block(&extension), quoted(&payload[block_bytes..]))
        }
        Err(error) => format!("a frame on {header} whose block can't be read: {error}"),
    }
}

fn control(frame: &ControlFrame<'_>) -> String {
    let said = match frame.control {
        Control::Ping(bytes) => format!("PING {}", quoted(bytes)),
        Control::Pong(bytes) => format!("PONG {}", quoted(bytes)),
        Control::Hello(hello) => format!("HELLO version {}, id {:?}", hello.version, hello.client_id),
        Control::Welcome(welcome) => format!(
            "WELCOME version {}, max_payload {}, heartbeat {} ms, server {:?}, client {:?}",
            welcome.version, welcome.max_payload, welcome.heartbeat_ms, welcome.server_id, welcome.client_id
        ),
        Control::Error { status, text } => format!("ERROR {status} {text:?}"),
        Control::GoAway { status, reconnect_after_ms, text } => {
            format!("GOAWAY {status}, back in {reconnect_after_ms} ms, {text:?}")
        }
        Control::Subscribe(wanted) => format!("SUBSCRIBE {:?}", wanted.pattern),
        Control::Unsubscribe(wanted) => format!("UNSUBSCRIBE {:?}", wanted.pattern),
        Control::Publish { topic, body } => format!("PUBLISH {topic:?}: {}", quoted(body)),
        Control::Message { topic, body } => format!("MESSAGE {topic:?}: {}", quoted(body)),
        Control::Ack { payload } => format!("ACK {}", quoted(payload)),
        Control::Missed { count, pattern } => format!("MISSED {count} of {pattern:?}"),
        Control::Notice { status, header, text } => format!("NOTICE {status} about {header} {text:?}"),
    };
    match &frame.extension {
        Some(extension) => format!("{said}, {}", block(extension)),
        None => said,
    }
}

fn block(extension: &Extension<'_>) -> String {
    let mut said = format!("status {}", extension.status);
    if let Some(id) = extension.correlation {
        said += &format!(", correlation {id:#x}");
    }
    if let Some(ms) = extension.deadline_ms {
        said += &format!(", deadline {ms} ms");
    }
    if extension.trace.is_some() {
        said += ", a trace";
    }
    if extension.one_way {
        said += ", one-way";
    }
    if !extension.tlvs.is_empty() {
        said += &format!(", tags {:?}", extension.tlvs);
    }
    if let Some(unsupported) = extension.unsupported {
        said += &format!(", unknown {unsupported:?}");
    }
    said
}

/// What a stream of frames says, up to where it can't be read.
fn stream(bytes: &[u8]) -> Vec<String> {
    let (mut rest, mut said, crc) = (bytes, Vec::new(), Crc::new());
    while !rest.is_empty() {
        if said.len() == SHOWN_FRAMES_MAX {
            said.push("and more".to_owned());
            break;
        }
        match decode(rest, FrameLimits::welcomed(PAYLOAD_BYTES_MAX), &crc) {
            Ok(Decoded::Frame(raw)) => {
                said.push(frame(raw.header, raw.payload));
                rest = &rest[raw.frame_bytes()..];
            }
            Ok(Decoded::NeedMore { frame_bytes }) => {
                said.push(format!("{} of {frame_bytes} bytes of a frame", rest.len()));
                break;
            }
            Err(error) => {
                said.push(error.to_string());
                break;
            }
        }
    }
    said
}

/// Bytes as text where they are some, else in hex.
fn quoted(bytes: &[u8]) -> String {
    let is_text = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    if bytes.len() > SHOWN_BYTES_MAX {
        format!("{} bytes, {} ...", bytes.len(), hex(&bytes[..8]))
    } else if bytes.iter().all(is_text) {
        format!("{:?}", String::from_utf8_lossy(bytes))
    } else {
        hex(bytes)
    }
}

fn hex(bytes: &[u8]) -> String {
    let shown: Vec<_> = bytes.iter().take(SHOWN_BYTES_MAX).map(|byte| format!("{byte:02x}")).collect();
    let more =
        if bytes.len() > SHOWN_BYTES_MAX { format!(" ... {} bytes", bytes.len()) } else { String::new() };
    shown.join(" ") + &more
}

/// Indented, one thing a line, for a report.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent = stream(&self.sent);
        let mut label = "sent";
        for said in if sent.is_empty() { vec!["nothing".to_owned()] } else { sent } {
            writeln!(f, "      {label:<7} {said}")?;
            label = "";
        }
        if !self.sent.is_empty() {
            writeln!(f, "              {}", hex(&self.sent))?;
        }
        writeln!(f, "      wanted  {}", self.wanted)?;
        write!(f, "      got     {}", self.got)?;
        if !self.bytes.is_empty() {
            write!(f, "\n              {}", hex(&self.bytes))?;
        }
        Ok(())
    }
}
