//! What a frame says, in the words of the vectors' wants.
//!
//! Always holds: two frames that differ in anything a peer could see are described differently. Never: what follows from
//! it; that is the peer's.

use super::hex;
use tidegate::wire::{
    Control, ControlError, ControlFrame, Extension, Header, Hello, RawFrame, Status, Subscription, Tlvs,
    Trace, Unsupported, Welcome,
};

/// What a whole frame is, or the reason to close because of it.
pub(crate) fn describe(frame: RawFrame<'_>, from_server: bool) -> Result<String, &'static str> {
    let RawFrame { header, payload } = frame;
    if header.is_control() {
        return describe_control(header, payload, from_server);
    }
    if !header.is_ext() {
        return Ok(format!("frame {header:04x} {}", hex(payload), header = header.bits()));
    }
    let (extension, block_bytes) = Extension::parse(payload).map_err(|_| "bad_extension")?;
    let kind = if extension.unsupported.is_some() { "unsupported" } else { "ext" };
    let body = hex(&payload[block_bytes..]);
    Ok(format!("{kind} {header:04x}{} body {body}", describe_block(&extension), header = header.bits()))
}

fn describe_control(header: Header, payload: &[u8], from_server: bool) -> Result<String, &'static str> {
    let frame = match ControlFrame::parse(header, payload) {
        Ok(frame) => frame,
        Err(ControlError::UnknownCode { .. }) => return Err("unknown_control"),
        Err(ControlError::Extension { .. }) => return Err("bad_extension"),
        Err(
            ControlError::ExtensionNotAllowed { .. }
            | ControlError::ExtensionMissing { .. }
            | ControlError::ExtensionFields { .. }
            | ControlError::TooLong { .. }
            | ControlError::TooShort { .. }
            | ControlError::TopicTooLong { .. }
            | ControlError::TextNotUtf8 { .. }
            | ControlError::BadId { .. }
            | ControlError::Tlv { .. },
        ) => return Err("bad_control"),
    };
    let text = |text: &str| hex(text.as_bytes());
    let subscription = |Subscription { flags, group, pattern, tlvs }| {
        format!("{flags:02x} {} {}{}", text(group), text(pattern), describe_tags(tlvs))
    };
    let (is_servers, said) = match frame.control {
        Control::Ping(bytes) => (from_server, format!("ping {}", hex(bytes))),
        Control::Pong(bytes) => (from_server, format!("pong {}", hex(bytes))),
        Control::Hello(Hello { version, flags, client_id, token, tlvs }) => {
            let (id, token, tags) = (text(client_id), hex(token), describe_tags(tlvs));
            (false, format!("hello {version} {flags:02x} {id} {token}{tags}"))
        }
        Control::Welcome(welcome) => {
            let Welcome { version, flags, max_payload, heartbeat_ms, server_id, client_id, tlvs } = welcome;
            let (ids, tags) = (format!("{} {}", text(server_id), text(client_id)), describe_tags(tlvs));
            (true, format!("welcome {version} {flags:02x} {max_payload} {heartbeat_ms} {ids}{tags}"))
        }
        Control::Error { status, text: why } => (true, format!("error {} {}", status.code(), text(why))),
        Control::GoAway { status, reconnect_after_ms, text: why } => {
            (true, format!("goaway {} {reconnect_after_ms} {}", status.code(), text(why)))
        }
        Control::Subscribe(wanted) => (false, format!("subscribe {}", subscription(wanted))),
        Control::Unsubscribe(unwanted) => (false, format!("unsubscribe {}", subscription(unwanted))),
        Control::Publish { topic, body } => (false, format!("publish {} {}", text(topic), hex(body))),
        Control::Message { topic, body } => (true, format!("message {} {}", text(topic), hex(body))),
        Control::Ack { payload } => (true, format!("ack {}", hex(payload))),
        Control::Missed { count, pattern } => (true, format!("missed {count} {}", text(pattern))),
        Control::Notice { status, header, text: why } => {
            (true, format!("notice {} {:04x} {}", status.code(), header.bits(), text(why)))
        }
        new => panic!("no vector says what {new:?} is"),
    };
    if is_servers != from_server {
        return Err("wrong_direction");
    }
    // The tags of a control frame are its own; those of its block stand nowhere, since it can't have any.
    let block = frame.extension.as_ref().map(describe_block).unwrap_or_default();
    let (front, tags) = said.split_at(said.find(" tag ").unwrap_or(said.len()));
    Ok(format!("{front}{block}{tags}"))
}

fn describe_block(extension: &Extension<'_>) -> String {
    let mut said = String::new();
    if extension.status != Status::OK {
        said += &format!(" status {}", extension.status.code());
    }
    if let Some(id) = extension.correlation {
        said += &format!(" id {id:016x}");
    }
    if let Some(ms) = extension.deadline_ms {
        said += &format!(" deadline {ms}");
    }
    if let Some(Trace { id, parent, flags }) = extension.trace {
        said += &format!(" trace {}", hex(&[&id[..], &parent, &[flags]].concat()));
    }
    if extension.one_way {
        said += " one_way";
    }
    if let Some(Unsupported::Flags(flags)) = extension.unsupported {
        said += &format!(" flags {flags:02x}");
    }
    said += &describe_tags(extension.tlvs);
    if said.is_empty() { " block".to_owned() } else { said }
}

fn describe_tags(tlvs: Tlvs<'_>) -> String {
    tlvs.iter().map(|(tag, value)| format!(" tag {tag} {}", hex(value))).collect()
}
