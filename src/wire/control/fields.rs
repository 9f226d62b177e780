//! The fields of control frames: read one behind the other, each whole or a fault; written as they are read.

use super::ControlError;
use crate::base::limits::TOPIC_BYTES_MAX;
use crate::wire::tlv::Sizes;
use crate::wire::{Status, Tlvs};

/// What is left of a payload.
pub(super) struct Fields<'a> {
    code: u16,
    payload_bytes: usize,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) const fn new(code: u16, payload: &'a [u8]) -> Fields<'a> {
        Fields { code, payload_bytes: payload.len(), rest: payload }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], ControlError> {
        let (field, rest) = self.rest.split_first_chunk::<N>().ok_or(self.short_of(N))?;
        self.rest = rest;
        Ok(*field)
    }

    pub(super) fn u8(&mut self) -> Result<u8, ControlError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, ControlError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, ControlError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, ControlError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn status(&mut self) -> Result<Status, ControlError> {
        self.u16().map(Status::from_code)
    }

    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8], ControlError> {
        let (field, rest) = self.rest.split_at_checked(len).ok_or(self.short_of(len))?;
        self.rest = rest;
        Ok(field)
    }

    /// Bytes with their number in front.
    pub(super) fn counted(&mut self) -> Result<&'a [u8], ControlError> {
        let len = self.u8()?;
        self.bytes(usize::from(len))
    }

    /// UTF-8 with its bytes' number in front.
    pub(super) fn counted_text(&mut self) -> Result<&'a str, ControlError> {
        self.counted().and_then(|text| utf8(self.code, text))
    }

    /// A topic or pattern: its length and its encoding are checked, and nothing else.
    pub(super) fn topic(&mut self) -> Result<&'a str, ControlError> {
        let topic = self.counted()?;
        if topic.len() > TOPIC_BYTES_MAX {
            let (got_bytes, limit_bytes) = (topic.len(), TOPIC_BYTES_MAX);
            return Err(ControlError::TopicTooLong { code: self.code, got_bytes, limit_bytes });
        }
        utf8(self.code, topic)
    }

    pub(super) fn id(&mut self) -> Result<&'a str, ControlError> {
        let id = self.id_or_nothing()?;
        if id.is_empty() { Err(ControlError::BadId { code: self.code, got_bytes: 0 }) } else { Ok(id) }
    }

    pub(super) fn id_or_nothing(&mut self) -> Result<&'a str, ControlError> {
        let id = self.counted()?;
        let bad = ControlError::BadId { code: self.code, got_bytes: id.len() };
        let text = std::str::from_utf8(id).map_err(|_| bad)?;
        if text.is_empty() || super::is_id(text) { Ok(text) } else { Err(bad) }
    }

    /// All that is left, as a text for humans.
    pub(super) fn text(self) -> Result<&'a str, ControlError> {
        utf8(self.code, self.rest)
    }

    /// All that is left, as it is.
    pub(super) const fn body(self) -> &'a [u8] {
        self.rest
    }

    /// All that is left, as at most so many bytes.
    pub(super) fn body_up_to(self, limit_bytes: usize) -> Result<&'a [u8], ControlError> {
        if self.rest.len() > limit_bytes {
            let limit_bytes = self.payload_bytes - self.rest.len() + limit_bytes;
            let (code, got_bytes) = (self.code, self.payload_bytes);
            return Err(ControlError::TooLong { code, got_bytes, limit_bytes });
        }
        Ok(self.rest)
    }

    /// All that is left, as tags with values.
    pub(super) fn tlvs(self, sizes: &Sizes) -> Result<Tlvs<'a>, ControlError> {
        Tlvs::parse(self.rest, sizes).map_err(|error| ControlError::Tlv { code: self.code, error })
    }

    const fn short_of(&self, field_bytes: usize) -> ControlError {
        let want_bytes = self.payload_bytes - self.rest.len() + field_bytes;
        ControlError::TooShort { code: self.code, got_bytes: self.payload_bytes, want_bytes }
    }
}

fn utf8(code: u16, text: &[u8]) -> Result<&str, ControlError> {
    let not_utf8 = |e: std::str::Utf8Error| {
        let (got_bytes, valid_bytes) = (text.len(), e.valid_up_to());
        ControlError::TextNotUtf8 { code, got_bytes, valid_bytes }
    };
    std::str::from_utf8(text).map_err(not_utf8)
}

/// The longest front of `text` that ends at a character and has at most `bytes_max` bytes.
pub(super) fn front(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1; // at most three times: a character has at most four bytes, and 0 is a boundary
    }
    &text[..end]
}

/// The same for a field whose limit the caller has to know.
pub(super) fn within(text: &str, bytes_max: usize) -> &str {
    debug_assert!(text.len() <= bytes_max, "{} bytes where {bytes_max} are the most", text.len());
    front(text, bytes_max)
}

/// Appends a text of at most 255 bytes with their number in front.
pub(super) fn put_counted(out: &mut Vec<u8>, text: &str) {
    let text = within(text, usize::from(u8::MAX));
    out.push(u8::try_from(text.len()).expect("cut to what a byte counts"));
    out.extend_from_slice(text.as_bytes());
}
