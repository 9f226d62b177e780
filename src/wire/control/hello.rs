//! The greeting: who a client is, and what the server makes of it.
//!
//! ```text
//!   HELLO     version u8 | flags u8 | client_id (u8 len) | token (u16 len) | tags
//!   WELCOME   version u8 | flags u8 | max_payload u32 | heartbeat_ms u32 | server_id (u8 len) | client_id (u8 len) | tags
//! ```
//!
//! Always holds: an id is 1 to 64 of `[A-Za-z0-9_-]`, except that a client without one sends none and is given one.
//! Never: which versions and tokens are good; HELLO with version 0 parses, and nobody speaks it.

use super::fields::{Fields, put_counted, within};
use super::{ControlError, code};
use crate::base::limits::ID_BYTES_MAX;
use crate::wire::Tlvs;
use crate::wire::tlv::Sizes;
use std::fmt;

/// HELLO: the first frame of a client that has more to say than requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The highest version that the client speaks.
    pub version: u8,
    /// [`NO_ECHO`](Self::NO_ECHO); other bits are sent as 0 and not looked at.
    pub flags: u8,
    /// What the client calls itself; empty if the server is to choose.
    pub client_id: &'a str,
    /// What proves it; may be empty.
    pub token: &'a [u8],
    /// See [`max_receive`](Self::max_receive).
    pub tlvs: Tlvs<'a>,
}

const SIZES: &Sizes = &[(Hello::MAX_RECEIVE, 4)];

impl<'a> Hello<'a> {
    /// Flag: the client does not want the messages that it publishes itself.
    pub const NO_ECHO: u8 = 1 << 0;

    /// Tag: the largest payload that the client takes, `u32` in bytes.
    pub const MAX_RECEIVE: u8 = 1;

    /// The largest payload that the client takes, in bytes, if it says so.
    pub fn max_receive(&self) -> Option<u32> {
        self.tlvs.find(Hello::MAX_RECEIVE).and_then(|value| value.try_into().ok()).map(u32::from_be_bytes)
    }

    pub(super) fn read(payload: &'a [u8]) -> Result<Hello<'a>, ControlError> {
        let mut fields = Fields::new(code::HELLO, payload);
        let (version, flags) = (fields.u8()?, fields.u8()?);
        let client_id = fields.id_or_nothing()?;
        let token_bytes = fields.u16()?;
        let token = fields.bytes(usize::from(token_bytes))?;
        Ok(Hello { version, flags, client_id, token, tlvs: fields.tlvs(SIZES)? })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.version, self.flags]);
        put_counted(out, within(self.client_id, ID_BYTES_MAX));
        let token = self.token_sent();
        out.extend_from_slice(&u16::try_from(token.len()).expect("cut to what 16 bits count").to_be_bytes());
        out.extend_from_slice(token);
        out.extend_from_slice(self.tlvs.as_bytes());
    }

    pub(super) fn payload_bytes(&self) -> usize {
        let id_bytes = within(self.client_id, ID_BYTES_MAX).len();
        2 + 1 + id_bytes + 2 + self.token_sent().len() + self.tlvs.as_bytes().len()
    }

    fn token_sent(&self) -> &'a [u8] {
        debug_assert!(self.token.len() <= usize::from(u16::MAX));
        &self.token[..self.token.len().min(usize::from(u16::MAX))]
    }
}

/// WELCOME: the answer to a HELLO that was good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// The version that is spoken from here on.
    pub version: u8,
    /// None yet: sent as 0, not looked at.
    pub flags: u8,
    /// The largest body that the listener takes, in bytes.
    pub max_payload: u32,
    /// How often the server looks for life, in milliseconds; 0 is never.
    pub heartbeat_ms: u32,
    /// Which server this is.
    pub server_id: &'a str,
    /// What the client is called here: its own word or the server's.
    pub client_id: &'a str,
    /// None yet.
    pub tlvs: Tlvs<'a>,
}

impl<'a> Welcome<'a> {
    pub(super) fn read(payload: &'a [u8]) -> Result<Welcome<'a>, ControlError> {
        let mut fields = Fields::new(code::WELCOME, payload);
        let (version, flags) = (fields.u8()?, fields.u8()?);
        let (max_payload, heartbeat_ms) = (fields.u32()?, fields.u32()?);
        let (server_id, client_id) = (fields.id()?, fields.id()?);
        let tlvs = fields.tlvs(&[])?;
        Ok(Welcome { version, flags, max_payload, heartbeat_ms, server_id, client_id, tlvs })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.version, self.flags]);
        out.extend_from_slice(&self.max_payload.to_be_bytes());
        out.extend_from_slice(&self.heartbeat_ms.to_be_bytes());
        put_counted(out, within(self.server_id, ID_BYTES_MAX));
        put_counted(out, within(self.client_id, ID_BYTES_MAX));
        out.extend_from_slice(self.tlvs.as_bytes());
    }

    pub(super) fn payload_bytes(&self) -> usize {
        let ids = within(self.server_id, ID_BYTES_MAX).len() + within(self.client_id, ID_BYTES_MAX).len();
        10 + 2 + ids + self.tlvs.as_bytes().len()
    }
}

/// The id of a client or of a server: 1 to 64 of `[A-Za-z0-9_-]`, by value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId {
    /// Zeros behind the id, so that equal ids are equal bytes.
    bytes: [u8; ID_BYTES_MAX],
    len: u8,
}

impl ClientId {
    /// The id with this text, if it is one.
    pub fn parse(text: &str) -> Option<ClientId> {
        if !is_id(text) {
            return None;
        }
        let mut bytes = [0; ID_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(ClientId { bytes, len: u8::try_from(text.len()).ok()? })
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

pub(super) fn is_id(text: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_other_texts() {
        let longest = "x".repeat(64);
        #[rustfmt::skip]
        let table: &[(&str, bool)] = &[
            ("a", true), ("-", true), ("Sensor_7-b", true), (&longest, true),
            ("", false), (&longest.replace('x', "xx"), false), ("a b", false), ("a.b", false), ("é", false), ("a\0", false),
        ];
        for (text, is_one) in table {
            let id = ClientId::parse(text);
            assert_eq!(id.is_some(), *is_one, "case: {text}");
            assert!(id.is_none_or(|id| id.as_str() == *text && id.to_string() == *text), "case: {text}");
        }
        assert_eq!(ClientId::parse("a"), ClientId::parse("a"));
        assert_ne!(ClientId::parse("a"), ClientId::parse("aa"));
        assert_eq!(format!("{:?}", ClientId::parse("a").expect("it is one")), "\"a\"");
    }
}
