//! Law: a frame comes back as it was sent, and with any one bit flipped it never does. The input is a header, the
//! place of the bit, and a payload.
#![no_main]

use tidegate::wire::{Crc, DecodeError, Decoded, FrameLimits, Header, RawFrame, decode, encode};
use tidegate_fuzz::{Cut, model};

const LIMITS: FrameLimits = FrameLimits::new(1 << 20);
/// The bits of header and length: each is flipped in every run.
const PREFIX_BITS: usize = 48;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut cut = Cut::new(data);
    let (header, place) = (Header::from_bits(cut.u16()), usize::from(cut.u16()));
    let payload = cut.rest();
    let crc = Crc::new();

    let mut bytes = b"in front".to_vec();
    encode(&mut bytes, &crc, header, payload);
    let mut bytes = bytes.split_off(8);
    assert_eq!(bytes, model::frame(header.bits(), payload));
    let sent = RawFrame { header, payload };
    if payload.len() > LIMITS.allowed(header) as usize {
        let got = decode(&bytes, LIMITS, &crc);
        assert!(matches!(got, Err(DecodeError::TooLarge { .. })), "{got:?}");
        return;
    }
    assert_eq!(decode(&bytes, LIMITS, &crc), Ok(Decoded::Frame(sent)));

    for bit in (0..PREFIX_BITS).chain([place % (bytes.len() * 8)]) {
        bytes[bit / 8] ^= 0x80 >> (bit % 8);
        match decode(&bytes, LIMITS, &crc) {
            // A length that became smaller may, by its sender's design, end where another right sum stands.
            Ok(Decoded::Frame(got)) => {
                assert_ne!(got, sent, "bit {bit} made no difference");
                assert!((16..48).contains(&bit), "only a wrong length can pass: bit {bit}");
            }
            Ok(Decoded::NeedMore { frame_bytes }) => {
                assert!(frame_bytes > bytes.len());
                assert!((16..48).contains(&bit), "only a wrong length asks for more: bit {bit}");
            }
            Err(DecodeError::TooLarge { .. }) => assert!(bit < PREFIX_BITS),
            Err(DecodeError::BadCrc { got, want }) => assert_ne!(got, want),
        }
        bytes[bit / 8] ^= 0x80 >> (bit % 8);
    }
});
