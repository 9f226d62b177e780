//! Tags with values: the open end of extension blocks and of some control frames.
//!
//! ```text
//!   | tag u8 | len u8 | value (len bytes) | tag ... | 0 | 0 |      tag 0: one byte of padding, without a length
//! ```
//!
//! Always holds: a [`Tlvs`] was walked to its end when it was made, so walking it again can't fail. A tag that is not
//! known here is kept and skipped; from [`Tlvs::CRITICAL_MIN`] on it must not be, and [`Tlvs::critical`] tells it.
//!
//! Never: what a tag means where. Extension blocks and HELLO number their tags each for themselves.

use crate::base::Fault;
use std::fmt;

/// A sequence of tags with values, borrowing from where it was read or written.
///
/// Two are equal if they hold the same tags and values in the same order, however they are padded.
#[derive(Clone, Copy, Default)]
pub struct Tlvs<'a>(&'a [u8]);

/// The tags of extension blocks that this version knows.
mod tag {
    pub(super) const RETRY_AFTER_MS: u8 = 1;
    pub(super) const LOAD: u8 = 2;
    pub(super) const AFFINITY: u8 = 3;
}

/// Tags whose values have one size, with that size in bytes.
pub(super) type Sizes = [(u8, usize)];

/// The sizes of extension blocks.
pub(super) const BLOCK_SIZES: &Sizes = &[(tag::RETRY_AFTER_MS, 4), (tag::LOAD, 2)];

impl<'a> Tlvs<'a> {
    /// From this tag on, whoever does not know a tag must refuse what carries it.
    pub const CRITICAL_MIN: u8 = 128;

    /// The tags of an extension block.
    ///
    /// # Errors
    ///
    /// See [`TlvError`]; each ends the connection.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Tlvs<'a>, TlvError> {
        Tlvs::parse(bytes, BLOCK_SIZES)
    }

    /// The same where other tags have a size.
    pub(super) fn parse(bytes: &'a [u8], sizes: &Sizes) -> Result<Tlvs<'a>, TlvError> {
        let mut rest = bytes;
        while let Some((&tag, behind)) = rest.split_first() {
            if tag == 0 {
                rest = behind;
                continue;
            }
            let Some((&len, behind)) = behind.split_first() else {
                return Err(TlvError::Cut { tag, want_bytes: 1, got_bytes: 0 });
            };
            let want_bytes = usize::from(len);
            let Some((_, behind)) = behind.split_at_checked(want_bytes) else {
                return Err(TlvError::Cut { tag, want_bytes, got_bytes: behind.len() });
            };
            for &(known, size) in sizes {
                if known == tag && size != want_bytes {
                    return Err(TlvError::Size { tag, got_bytes: want_bytes, want_bytes: size });
                }
            }
            rest = behind;
        }
        Ok(Tlvs(bytes))
    }

    /// Every tag with its value, in order, without the padding.
    pub fn iter(self) -> TlvIter<'a> {
        TlvIter(self.0)
    }

    /// The bytes as they stand, padding included.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether there is no tag.
    pub fn is_empty(self) -> bool {
        self.iter().next().is_none()
    }

    /// The first value of a tag; later ones of the same tag don't count.
    pub fn find(self, tag: u8) -> Option<&'a [u8]> {
        self.iter().find(|(have, _)| *have == tag).map(|(_, value)| value)
    }

    /// The first tag that must be known and is not: version 1 knows none of the critical ones.
    pub fn critical(self) -> Option<u8> {
        self.iter().map(|(tag, _)| tag).find(|tag| *tag >= Tlvs::CRITICAL_MIN)
    }

    /// In the block of an OVERLOADED or UNAVAILABLE reply: how long to wait before trying again, in milliseconds.
    pub fn retry_after_ms(self) -> Option<u32> {
        self.find(tag::RETRY_AFTER_MS).and_then(|value| value.try_into().ok()).map(u32::from_be_bytes)
    }

    /// In a backend's block: how much of it is in use, per mille.
    pub fn load(self) -> Option<u16> {
        self.find(tag::LOAD).and_then(|value| value.try_into().ok()).map(u16::from_be_bytes)
    }

    /// In a request's block: requests with the same key go to the same backend while it is there.
    pub fn affinity(self) -> Option<&'a [u8]> {
        self.find(tag::AFFINITY)
    }
}

impl PartialEq for Tlvs<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Tlvs<'_> {}

impl fmt::Debug for Tlvs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for Tlvs<'a> {
    type Item = (u8, &'a [u8]);
    type IntoIter = TlvIter<'a>;

    fn into_iter(self) -> TlvIter<'a> {
        self.iter()
    }
}

/// Walks over [`Tlvs`].
#[derive(Clone, Debug)]
pub struct TlvIter<'a>(&'a [u8]);

impl<'a> Iterator for TlvIter<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        loop {
            match *self.0 {
                [] => return None,
                [0, ref rest @ ..] => self.0 = rest,
                [tag, len, ref rest @ ..] if rest.len() >= usize::from(len) => {
                    let (value, rest) = rest.split_at(usize::from(len));
                    self.0 = rest;
                    return Some((tag, value));
                }
                [..] => {
                    debug_assert!(false, "checked when it was made");
                    self.0 = &[];
                }
            }
        }
    }
}

/// The most that a [`TlvWriter`] holds, in bytes: every tag that version 1 knows, with the longest affinity key.
pub const TLV_WRITER_BYTES: usize = (2 + 4) + (2 + 2) + (2 + 255);

/// Collects tags with values, on the stack.
#[derive(Clone, Debug)]
pub struct TlvWriter {
    bytes: [u8; TLV_WRITER_BYTES],
    used: usize,
}

impl Default for TlvWriter {
    fn default() -> Self {
        TlvWriter { bytes: [0; TLV_WRITER_BYTES], used: 0 }
    }
}

impl TlvWriter {
    /// Without tags yet.
    pub fn new() -> TlvWriter {
        TlvWriter::default()
    }

    /// See [`Tlvs::retry_after_ms`].
    pub fn retry_after_ms(self, ms: u32) -> TlvWriter {
        self.tag(tag::RETRY_AFTER_MS, &ms.to_be_bytes())
    }

    /// See [`Tlvs::load`].
    pub fn load(self, per_mille: u16) -> TlvWriter {
        self.tag(tag::LOAD, &per_mille.to_be_bytes())
    }

    /// See [`Tlvs::affinity`]; at most 255 bytes.
    pub fn affinity(self, key: &[u8]) -> TlvWriter {
        self.tag(tag::AFFINITY, key)
    }

    /// Any tag but 0, with a value of at most 255 bytes. What does not fit any more is a mistake of the caller; release
    /// builds leave it out whole.
    pub fn tag(mut self, tag: u8, value: &[u8]) -> TlvWriter {
        let (start, end) = (self.used, self.used + 2 + value.len());
        let len = u8::try_from(value.len()).ok().filter(|_| tag != 0 && end <= TLV_WRITER_BYTES);
        debug_assert!(len.is_some(), "tag {tag} with {} bytes does not fit", value.len());
        if let Some(len) = len {
            self.bytes[start..start + 2].copy_from_slice(&[tag, len]);
            self.bytes[start + 2..end].copy_from_slice(value);
            self.used = end;
        }
        self
    }

    /// What was collected.
    pub fn tlvs(&self) -> Tlvs<'_> {
        Tlvs(&self.bytes[..self.used])
    }
}

/// Why a sequence of tags can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlvError {
    /// The bytes end within a tag's length or value.
    #[error("tag {tag} wants {want_bytes} bytes where {got_bytes} are left")]
    Cut {
        /// The tag.
        tag: u8,
        /// Bytes of its value, or of its length if that is not there either.
        want_bytes: usize,
        /// Bytes that are left.
        got_bytes: usize,
    },
    /// A known tag whose value has another size than all such values.
    #[error("tag {tag} has a value of {got_bytes} bytes, and such values have {want_bytes}")]
    Size {
        /// The tag.
        tag: u8,
        /// Bytes of its value.
        got_bytes: usize,
        /// What they must be.
        want_bytes: usize,
    },
}

impl TlvError {
    /// Who has to move.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Cut { .. } | Self::Size { .. } => Fault::Protocol,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Name, bytes, the tags in them or the fault.
    type Case<'a> = (&'a str, &'a [u8], Result<&'a [(u8, &'a [u8])], TlvError>);

    #[test]
    fn parse_tells_tags_from_padding_from_faults() {
        use TlvError::{Cut, Size};
        #[rustfmt::skip]
        let table: &[Case<'_>] = &[
            ("nothing",                b"",                    Ok(&[])),
            ("padding alone",          b"\0\0\0\0\0",          Ok(&[])),
            ("one",                    b"\x07\x02ab",          Ok(&[(7, b"ab")])),
            ("empty value",            b"\x07\0",              Ok(&[(7, b"")])),
            ("padding between",        b"\0\x07\x01a\0\0\x08\x01b\0", Ok(&[(7, b"a"), (8, b"b")])),
            ("zeros within a value",   b"\x07\x03\0\0\0",      Ok(&[(7, b"\0\0\0")])),
            ("the same twice",         b"\x07\x01a\x07\x01b",  Ok(&[(7, b"a"), (7, b"b")])),
            ("critical",               b"\x80\0\xff\x01x",     Ok(&[(128, b""), (255, b"x")])),
            ("known",                  b"\x01\x04\0\0\0\x09\x02\x02\0\x03\x03\0", Ok(&[(1, b"\0\0\0\x09"), (2, b"\0\x03"), (3, b"")])),
            ("no length",              b"\x07",                Err(Cut { tag: 7, want_bytes: 1, got_bytes: 0 })),
            ("no value",               b"\x07\x01",            Err(Cut { tag: 7, want_bytes: 1, got_bytes: 0 })),
            ("value cut",              b"\x08\0\x07\x03ab",    Err(Cut { tag: 7, want_bytes: 3, got_bytes: 2 })),
            ("known, too long",        b"\x01\x05abcde",       Err(Size { tag: 1, got_bytes: 5, want_bytes: 4 })),
            ("known, too short",       b"\x02\x01a",           Err(Size { tag: 2, got_bytes: 1, want_bytes: 2 })),
        ];
        for (name, bytes, want) in table {
            let got = Tlvs::from_bytes(bytes);
            let tags = got.map(|tlvs| tlvs.iter().collect::<Vec<_>>());
            assert_eq!(tags.as_deref(), want.as_ref().map(|tags| &tags[..]), "case: {name}");
            assert!(got.map_or_else(|error| error.fault() == Fault::Protocol, |_| true), "case: {name}");
        }
    }

    #[test]
    fn values_are_found_by_name() {
        let writer = TlvWriter::new().retry_after_ms(250).load(999).affinity(b"user 7").tag(200, b"");
        let tlvs = writer.tlvs();
        assert_eq!((tlvs.retry_after_ms(), tlvs.load()), (Some(250), Some(999)));
        assert_eq!((tlvs.affinity(), tlvs.critical()), (Some(&b"user 7"[..]), Some(200)));
        assert_eq!(Tlvs::from_bytes(tlvs.as_bytes()), Ok(tlvs));
        let none = Tlvs::default();
        assert!(none.is_empty() && none.retry_after_ms().is_none() && none.load().is_none());
        assert!(none.affinity().is_none() && none.critical().is_none());
        let twice = Tlvs::from_bytes(b"\x02\x02\0\x01\x02\x02\0\x02").expect("both are whole");
        assert_eq!(twice.load(), Some(1), "the first counts");
        assert_eq!(TlvWriter::new().affinity(&[7; 255]).load(1).retry_after_ms(2).tlvs().iter().count(), 3);
    }

    proptest! {
        /// What was written is read, whatever padding stands around it; and any bytes are answered without a panic.
        #[test]
        fn written_tags_come_back(
            tags in vec((1u8..=255, vec(any::<u8>(), 0..20)), 0..8), pad in 0usize..4, garbage in vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = Vec::new();
            for (tag, value) in &tags {
                bytes.extend(std::iter::repeat_n(0, pad));
                bytes.extend([*tag, u8::try_from(value.len()).expect("it is short")]);
                bytes.extend(value);
            }
            let got = Tlvs::parse(&bytes, &[]).expect("all are whole");
            let got: Vec<_> = got.iter().map(|(tag, value)| (tag, value.to_vec())).collect();
            prop_assert_eq!(got, tags);
            if let Ok(tlvs) = Tlvs::from_bytes(&garbage) {
                prop_assert!(tlvs.iter().map(|(_, value)| 2 + value.len()).sum::<usize>() <= garbage.len());
            }
        }
    }
}
