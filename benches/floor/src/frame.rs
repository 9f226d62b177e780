//! The frame: `header u16 | length u32 | payload | crc u32`, big-endian, CRC-32/ISO-HDLC over all that precedes it.
//!
//! With `EXT` in the header the payload is an extension block and the body: `words u8 | flags u8 | status u16 |
//! correlation u64`.

use std::io::{self, Read, Write};
use std::ops::RangeInclusive;

use crc32fast::Hasher;

/// Header and length.
pub const PREFIX_BYTES: usize = 6;
/// The checksum behind the payload.
pub const CRC_BYTES: usize = 4;
/// What a frame adds to its payload.
pub const OVERHEAD_BYTES: usize = PREFIX_BYTES + CRC_BYTES;
/// The largest payload that anything here sends or takes.
pub const PAYLOAD_BYTES_MAX: usize = 4 << 20;
/// The header whose reply is the payload with its first byte XOR 1.
pub const ROUTE_FLIP: u16 = 3;
/// More routes that do the same, so that a run can go over several.
pub const ROUTES_FLIP_TOO: RangeInclusive<u16> = 16..=23;
/// The header bit that says that the payload begins with an extension block.
pub const EXT: u16 = 0x8000;
/// The first frame of a client that wants to be known: `version u8 | flags u8 | id | token`, each with its length.
pub const HELLO: u16 = 0x4002;
/// What a server answers to it.
pub const WELCOME: u16 = 0x4003;
/// What a server sends without being asked: topic with its length in one byte, body.
pub const MESSAGE: u16 = 0x4009;
/// The largest payload of a control frame that is read here.
pub const CONTROL_BYTES_MAX: usize = 4096;
/// How the only block begins that anything here sends: 3 words, a correlation id and nothing else, status 0.
pub const BLOCK_START: [u8; 4] = [3, 1, 0, 0];
/// That block: its start and the id.
pub const BLOCK_BYTES: usize = BLOCK_START.len() + size_of::<u64>();

/// Whether the reply on `route` is the body with its first byte XOR 1.
#[inline]
pub fn flips(route: u16) -> bool {
    route == ROUTE_FLIP || ROUTES_FLIP_TOO.contains(&route)
}

/// An extension block.
pub fn block(correlation: u64) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    let (start, id) = block.split_at_mut(BLOCK_START.len());
    start.copy_from_slice(&BLOCK_START);
    id.copy_from_slice(&correlation.to_be_bytes());
    block
}

/// Says HELLO under an id, with no token, and reads WELCOME.
pub fn say_hello(conn: &mut (impl Read + Write), id: &[u8]) -> io::Result<()> {
    let length = u8::try_from(id.len()).expect("an id has at most 64 bytes");
    conn.write_all(&encode(HELLO, &[&[1, 0, length], id, &[0, 0]].concat()))?;
    let mut prefix = [0; PREFIX_BYTES];
    conn.read_exact(&mut prefix)?;
    let [h0, h1, length @ ..] = prefix;
    let header = u16::from_be_bytes([h0, h1]);
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if header != WELCOME || length > CONTROL_BYTES_MAX {
        let said = format!("{header:#06x} of {length} bytes instead of WELCOME");
        return Err(io::Error::new(io::ErrorKind::InvalidData, said));
    }
    conn.read_exact(&mut vec![0; length + CRC_BYTES])
}

/// A MESSAGE on the topic `all`.
pub fn message(body: &[u8]) -> Vec<u8> {
    encode(MESSAGE, &[&[3], &b"all"[..], body].concat())
}

/// The header and the payload of the first frame of `bytes`, and what lies behind it; `None` if it is not whole or its
/// sum is wrong.
pub fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (prefix, _) = bytes.split_first_chunk::<PREFIX_BYTES>()?;
    let [h0, h1, length @ ..] = *prefix;
    let covered = usize::try_from(u32::from_be_bytes(length)).ok()?.checked_add(PREFIX_BYTES)?;
    let (frame, rest) = bytes.split_at_checked(covered)?;
    let (crc, rest) = rest.split_first_chunk::<CRC_BYTES>()?;
    let is_right = crc32fast::hash(frame).to_be_bytes() == *crc;
    is_right.then_some((u16::from_be_bytes([h0, h1]), &frame[PREFIX_BYTES..], rest))
}

/// The bytes of one frame.
pub fn encode(header: u16, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("payloads stay under PAYLOAD_BYTES_MAX");
    let mut frame = Vec::with_capacity(payload.len() + OVERHEAD_BYTES);
    frame.extend_from_slice(&header.to_be_bytes());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(payload);
    let mut crc = Hasher::new();
    crc.update(&frame);
    frame.extend_from_slice(&crc.finalize().to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    #[test]
    fn frames_are_split_where_they_end() {
        let both = [super::encode(3, b"ab"), super::message(b"c")].concat();
        let (header, payload, rest) = super::split(&both).expect("it is whole");
        assert_eq!((header, payload), (3, &b"ab"[..]));
        assert_eq!(super::split(rest), Some((super::MESSAGE, &b"\x03allc"[..], &b""[..])));
        assert_eq!(super::split(&both[..11]), None);
        let mut wrong = both.clone();
        wrong[7] ^= 1;
        assert_eq!(super::split(&wrong), None);
    }

    #[test]
    fn a_hello_has_an_id_and_wants_a_welcome() {
        struct Both<'a>(&'a [u8], Vec<u8>);
        impl super::Read for Both<'_> {
            fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                self.0.read(into)
            }
        }
        impl super::Write for Both<'_> {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.1.write(bytes)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        for (header, welcomed) in [(super::WELCOME, true), (0x4005, false)] {
            let answer = super::encode(header, &[1; 20]);
            let mut conn = Both(&answer, Vec::new());
            assert_eq!(super::say_hello(&mut conn, b"id").is_ok(), welcomed);
            assert_eq!(conn.1, super::encode(super::HELLO, b"\x01\0\x02id\0\0"));
            assert_eq!(conn.0.is_empty(), welcomed);
        }
    }

    #[test]
    fn the_checksum_is_that_of_zlib() {
        // python3: zlib.crc32(bytes.fromhex("000300000002") + b"ab")
        let want = [0, 3, 0, 0, 0, 2, b'a', b'b'];
        let frame = super::encode(3, b"ab");
        assert_eq!(frame[..8], want);
        assert_eq!(frame[8..], crc32fast::hash(&want).to_be_bytes());
        assert_eq!(crc32fast::hash(b"123456789"), 0xCBF4_3926);
    }
}
