//! Frames, blocks and control frames as the document has them (docs/PROTOCOL.md): the simulator's own codec.
//!
//! Nothing here uses the crate's: a mistake in that one must not hide behind itself. Its checksum, too, is made from
//! the polynomial.
//!
//! Never: in the way of a scripted client that breaks the rules. What is written here may be nonsense on purpose.

pub(super) mod status {
    pub(in crate::sim) const OK: u16 = 0;
    pub(in crate::sim) const PROTOCOL: u16 = 1;
    pub(in crate::sim) const UNAUTHENTICATED: u16 = 2;
    pub(in crate::sim) const OVERLOADED: u16 = 5;
    pub(in crate::sim) const OUTCOME_UNKNOWN: u16 = 7;
    pub(in crate::sim) const DEADLINE_EXCEEDED: u16 = 8;
    pub(in crate::sim) const DRAINING: u16 = 9;
    pub(in crate::sim) const INTERNAL: u16 = 10;
    pub(in crate::sim) const IDLE: u16 = 13;
    pub(in crate::sim) const TOO_LARGE: u16 = 14;
    pub(in crate::sim) const UNSUPPORTED: u16 = 15;
}

pub(super) const EXT: u16 = 0x8000;
pub(super) const CONTROL: u16 = 0x4000;
pub(super) const PING: u16 = 0x4000;
pub(super) const PONG: u16 = 0x4001;
pub(super) const HELLO: u16 = 0x4002;
pub(super) const WELCOME: u16 = 0x4003;
pub(super) const ERROR: u16 = 0x4004;
pub(super) const GOAWAY: u16 = 0x4005;
pub(super) const SUBSCRIBE: u16 = 0x4006;
pub(super) const UNSUBSCRIBE: u16 = 0x4007;
pub(super) const PUBLISH: u16 = 0x4008;
pub(super) const MESSAGE: u16 = 0x4009;
pub(super) const ACK: u16 = 0x400A;
pub(super) const NOTICE: u16 = 0x400C;

/// Bytes around a payload.
pub(super) const OVERHEAD: usize = 10;

/// A frame.
pub(super) fn frame(header: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + OVERHEAD);
    frame.extend_from_slice(&header.to_be_bytes());
    frame.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(payload);
    let sum = crc32(&frame);
    frame.extend_from_slice(&sum.to_be_bytes());
    frame
}

/// A frame with a block.
pub(super) fn extended(header: u16, block: &Block, body: &[u8]) -> Vec<u8> {
    frame(EXT | header, &[&block.bytes()[..], body].concat())
}

/// The header and the size of the frame that begins `input`, once it shows them.
pub(super) fn head(input: &[u8]) -> Option<(u16, usize)> {
    let &[h0, h1, l0, l1, l2, l3] = input.first_chunk::<6>()?;
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    Some((u16::from_be_bytes([h0, h1]), length.saturating_add(OVERHEAD)))
}

/// The payload of a whole frame, if its checksum is right.
pub(super) fn payload(whole: &[u8]) -> Option<&[u8]> {
    let (summed, sum) = whole.split_last_chunk::<4>()?;
    (crc32(summed).to_be_bytes() == *sum).then(|| &summed[6..])
}

/// An extension block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) status: u16,
    pub(super) correlation: Option<u64>,
    pub(super) deadline_ms: Option<u32>,
    /// Id, parent and flags, as they stand.
    pub(super) trace: Option<[u8; 25]>,
    pub(super) is_one_way: bool,
    /// Bits that version 1 does not know.
    pub(super) reserved: u8,
    pub(super) tags: Vec<(u8, Vec<u8>)>,
}

impl Block {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let [s0, s1] = self.status.to_be_bytes();
        let flags = u8::from(self.correlation.is_some())
            | u8::from(self.deadline_ms.is_some()) << 1
            | u8::from(self.trace.is_some()) << 2
            | u8::from(self.is_one_way) << 3
            | (self.reserved & 0x70)
            | u8::from(!self.tags.is_empty()) << 7;
        let mut block = vec![0, flags, s0, s1];
        block.extend(self.correlation.iter().flat_map(|id| id.to_be_bytes()));
        block.extend(self.deadline_ms.iter().flat_map(|ms| ms.to_be_bytes()));
        block.extend(self.trace.iter().flat_map(|trace| [&trace[..], &[0; 3]].concat()));
        for (tag, value) in &self.tags {
            block.extend_from_slice(&[*tag, u8::try_from(value.len()).unwrap_or(u8::MAX)]);
            block.extend_from_slice(value);
        }
        block.resize(block.len().next_multiple_of(4), 0);
        block[0] = u8::try_from(block.len() / 4).unwrap_or(u8::MAX);
        block
    }

    /// Reads what a server of version 1 may send: the block, and the body behind it.
    pub(super) fn read(payload: &[u8]) -> Result<(Block, &[u8]), String> {
        let words = usize::from(*payload.first().ok_or("a payload without its block")?);
        let (block, body) = payload
            .split_at_checked(words * 4)
            .filter(|_| words > 0)
            .ok_or_else(|| format!("a block of {words} words in {} bytes", payload.len()))?;
        let (flags, mut rest) = (block[1], &block[4..]);
        if flags & 0x70 != 0 {
            return Err(format!("a block with reserved flags {flags:#04x}"));
        }
        let mut read = Block {
            status: u16::from_be_bytes([block[2], block[3]]),
            is_one_way: flags & 8 != 0,
            ..Block::default()
        };
        let cut = || format!("a block cut in its fields: {block:02x?}");
        if flags & 1 != 0 {
            read.correlation = Some(u64::from_be_bytes(take(&mut rest).ok_or_else(cut)?));
        }
        if flags & 2 != 0 {
            read.deadline_ms = Some(u32::from_be_bytes(take(&mut rest).ok_or_else(cut)?));
        }
        if flags & 4 != 0 {
            read.trace = Some(take(&mut rest).ok_or_else(cut)?);
            take::<3>(&mut rest).filter(|zero| *zero == [0; 3]).ok_or_else(cut)?;
        }
        if flags & 0x80 != 0 {
            read.tags = tags(rest).ok_or_else(cut)?;
        } else if !rest.is_empty() {
            return Err(format!("a block with {} bytes more than its fields", rest.len()));
        }
        Ok((read, body))
    }
}

/// Tags with values, with padding left out.
fn tags(mut rest: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
    let mut tags = Vec::new();
    while let Some((tag, behind)) = rest.split_first() {
        rest = behind;
        if *tag != 0 {
            let [len] = take::<1>(&mut rest)?;
            let (value, behind) = rest.split_at_checked(usize::from(len))?;
            tags.push((*tag, value.to_vec()));
            rest = behind;
        }
    }
    Some(tags)
}

pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (field, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*field)
}

/// A text with its length in one byte.
pub(super) fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let [len] = take::<1>(rest)?;
    let (text, behind) = rest.split_at_checked(usize::from(len))?;
    *rest = behind;
    std::str::from_utf8(text).ok()
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(text);
}

/// The payload of a HELLO.
pub(super) fn hello(version: u8, flags: u8, client_id: &str, token: &[u8], tags: &[(u8, &[u8])]) -> Vec<u8> {
    let mut payload = vec![version, flags];
    put_text(&mut payload, client_id.as_bytes());
    payload.extend_from_slice(&u16::try_from(token.len()).unwrap_or(u16::MAX).to_be_bytes());
    payload.extend_from_slice(token);
    for (tag, value) in tags {
        payload.push(*tag);
        put_text(&mut payload, value);
    }
    payload
}

/// What a WELCOME says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Welcome {
    pub(super) version: u8,
    pub(super) max_payload: u32,
    pub(super) heartbeat_ms: u32,
    pub(super) client_id: String,
}

impl Welcome {
    pub(super) fn read(payload: &[u8]) -> Option<Welcome> {
        let mut rest = payload;
        let [version, _flags] = take(&mut rest)?;
        let (max_payload, heartbeat_ms) =
            (u32::from_be_bytes(take(&mut rest)?), u32::from_be_bytes(take(&mut rest)?));
        let (server_id, client_id) = (take_text(&mut rest)?, take_text(&mut rest)?);
        let is_id = |id: &str| {
            (1..=64).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
        };
        let is_right = is_id(server_id) && is_id(client_id) && tags(rest).is_some();
        is_right.then(|| Welcome { version, max_payload, heartbeat_ms, client_id: client_id.to_owned() })
    }
}

/// CRC-32/ISO-HDLC, from tables that are made bit by bit out of the polynomial; eight bytes at a time, since worlds
/// run in debug builds.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let (eights, rest) = bytes.as_chunks::<8>();
    let mut sum = !0_u32;
    for &[b0, b1, b2, b3, b4, b5, b6, b7] in eights {
        let [s0, s1, s2, s3] = sum.to_le_bytes();
        sum = TABLES[7][usize::from(s0 ^ b0)]
            ^ TABLES[6][usize::from(s1 ^ b1)]
            ^ TABLES[5][usize::from(s2 ^ b2)]
            ^ TABLES[4][usize::from(s3 ^ b3)]
            ^ TABLES[3][usize::from(b4)]
            ^ TABLES[2][usize::from(b5)]
            ^ TABLES[1][usize::from(b6)]
            ^ TABLES[0][usize::from(b7)];
    }
    for byte in rest {
        sum = (sum >> 8) ^ TABLES[0][usize::from(sum.to_le_bytes()[0] ^ byte)];
    }
    !sum
}

/// `TABLES[n][byte]`: what the byte does to the sum with `n` bytes of zero behind it.
static TABLES: [[u32; 256]; 8] = {
    let mut tables = [[0; 256]; 8];
    let mut index = 0;
    while index < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let mut sum = index as u32;
        let mut behind = 0;
        while behind < 8 {
            let mut bit = 0;
            while bit < 8 {
                sum = if sum & 1 == 1 { (sum >> 1) ^ 0xEDB8_8320 } else { sum >> 1 };
                bit += 1;
            }
            tables[behind][index] = sum;
            behind += 1;
        }
        index += 1;
    }
    tables
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_documented_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(crc32(&bytes), crate::wire::Crc::new().of(&bytes));
        let hello = b"\x00\x01\x00\x00\x00\x05hello\x24\xba\x1a\xfa";
        assert_eq!(frame(1, b"hello"), hello);
        assert_eq!((head(hello), payload(hello)), (Some((1, 15)), Some(&b"hello"[..])));
    }

    /// Two readers of one document agree.
    #[test]
    fn blocks_are_those_of_the_crate_s_codec() {
        use crate::wire::{Extension, Trace};
        let trace = Trace { id: [1; 16], parent: [2; 8], flags: 3 };
        let plain: [u8; 25] = [&[1; 16][..], &[2; 8], &[3]].concat().try_into().expect("25 bytes");
        #[rustfmt::skip]
        let table: &[(&str, Block, Extension<'_>)] = &[
            ("nothing",     Block::default(), Extension::default()),
            ("correlation", Block { correlation: Some(7), ..Block::default() }, Extension { correlation: Some(7), ..Extension::default() }),
            ("deadline",    Block { deadline_ms: Some(9), status: 8, ..Block::default() }, Extension { deadline_ms: Some(9), status: crate::wire::Status::DEADLINE_EXCEEDED, ..Extension::default() }),
            ("trace",       Block { trace: Some(plain), ..Block::default() }, Extension { trace: Some(trace), ..Extension::default() }),
            ("one way",     Block { is_one_way: true, ..Block::default() }, Extension { one_way: true, ..Extension::default() }),
        ];
        for (name, ours, theirs) in table {
            let mut bytes = Vec::new();
            theirs.encode(&mut bytes);
            assert_eq!(ours.bytes(), bytes, "case: {name}");
            assert_eq!(
                Block::read(&[&bytes[..], b"body"].concat()),
                Ok((ours.clone(), &b"body"[..])),
                "case: {name}"
            );
        }
        let tagged = Block { tags: vec![(1, vec![0, 0, 1, 0]), (9, vec![5])], ..Block::default() };
        let bytes = tagged.bytes();
        let (parsed, _) = Extension::parse(&bytes).expect("a good block");
        assert_eq!(parsed.tlvs.retry_after_ms(), Some(256));
        assert_eq!(Block::read(&bytes), Ok((tagged, &[][..])));
    }
}
