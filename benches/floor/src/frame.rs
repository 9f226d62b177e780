//! The frame: `header u16 | length u32 | payload | crc u32`, big-endian, CRC-32/ISO-HDLC over all that precedes it.

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
    fn the_checksum_is_that_of_zlib() {
        // python3: zlib.crc32(bytes.fromhex("000300000002") + b"ab")
        let want = [0, 3, 0, 0, 0, 2, b'a', b'b'];
        let frame = super::encode(3, b"ab");
        assert_eq!(frame[..8], want);
        assert_eq!(frame[8..], crc32fast::hash(&want).to_be_bytes());
        assert_eq!(crc32fast::hash(b"123456789"), 0xCBF4_3926);
    }
}
