use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

const SMALL: FrameLimits = FrameLimits::new(4);

fn encoded(header: Header, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out, &Crc::new(), header, payload);
    out
}

#[test]
fn decode_tells_frame_from_partial_from_fault() {
    use Decoded::{Frame, NeedMore};
    let too_large = |bits, got_bytes, limit_bytes| {
        Err(DecodeError::TooLarge { header: Header::from_bits(bits), got_bytes, limit_bytes })
    };
    let frame = |bits, payload| Ok(Frame(RawFrame { header: Header::from_bits(bits), payload }));
    let mut behind = encoded(Header::route(1), b"ab");
    behind.extend_from_slice(&[0xff; 7]);
    let mut broken = encoded(Header::route(1), b"ab");
    broken[6] ^= 1;
    let (good, bad) = (Crc::new().of(b"\0\x01\0\0\0\x02ab"), Crc::new().of(b"\0\x01\0\0\0\x02\x60b"));

    #[rustfmt::skip]
    let table: &[(&str, &[u8], Result<Decoded<'_>, DecodeError>)] = &[
        ("nothing yet",         b"",                            Ok(NeedMore { frame_bytes: 6 })),
        ("half a prefix",       b"\0\x01\xff",                  Ok(NeedMore { frame_bytes: 6 })),
        ("prefix only",         b"\0\x01\0\0\0\x02",            Ok(NeedMore { frame_bytes: 12 })),
        ("no crc yet",          b"\0\x01\0\0\0\0",              Ok(NeedMore { frame_bytes: 10 })),
        ("one byte short",      b"\0\x01\0\0\0\x02abccc",       Ok(NeedMore { frame_bytes: 12 })),
        ("empty",               &encoded(Header::route(1), b""), frame(1, b"")),
        ("at the limit",        &encoded(Header::route(1), b"abcd"), frame(1, b"abcd")),
        ("more behind",         &behind,                        frame(1, b"ab")),
        ("all zero",            &[0; 10],                       Err(DecodeError::BadCrc { got: 0, want: 0xB1C2_A1A3 })),
        ("flipped bit",         &broken,                        Err(DecodeError::BadCrc { got: good, want: bad })),
        ("limit + 1, no body",  b"\0\x01\0\0\0\x05",            too_large(1, 5, 4)),
        ("the largest length",  b"\0\x01\xff\xff\xff\xff",      too_large(1, u32::MAX, 4)),
        ("ext at its limit",    b"\x80\x01\0\0\x04\0",          Ok(NeedMore { frame_bytes: 1034 })),
        ("ext over it",         b"\x80\x01\0\0\x04\x01",        too_large(0x8001, 1025, 1024)),
        ("control at its own",  b"\x40\0\0\0\x10\0",            Ok(NeedMore { frame_bytes: 4106 })),
        ("control over it",     b"\x40\0\0\0\x10\x01",          too_large(0x4000, 4097, 4096)),
        ("control, ext over",   b"\xc0\0\0\0\x10\x01",          too_large(0xc000, 4097, 4096)),
    ];
    for (name, input, want) in table {
        assert_eq!(&decode(input, SMALL, &Crc::new()), want, "case: {name}");
    }
}

/// Name, limits, headers with the most that their payloads may have.
type LimitsCase<'a> = (&'a str, FrameLimits, [(u16, u32); 4]);

#[test]
fn limits_are_those_of_the_kind() {
    let (plain, ext, control, both) = (0x0001, 0x8001, 0x4002, 0xc002);
    #[rustfmt::skip]
    let table: &[LimitsCase<'_>] = &[
        ("before WELCOME", FrameLimits::new(100),      [(plain, 100), (ext, 1120), (control, 4096), (both, 4096)]),
        ("after it",       FrameLimits::welcomed(100), [(plain, 100), (ext, 1120), (control, 612), (both, 612)]),
        ("all bits",       FrameLimits::full(100),     [(plain, 100), (ext, 100), (control, 100), (both, 100)]),
        ("the largest",    FrameLimits::welcomed(PAYLOAD_BYTES_MAX),
            [(plain, 256 << 20), (ext, (256 << 20) + 1020), (control, (256 << 20) + 512), (both, (256 << 20) + 512)]),
    ];
    for (name, limits, want) in table {
        for (bits, most) in want {
            assert_eq!(limits.allowed(Header::from_bits(*bits)), *most, "case: {name}, {bits:#06x}");
        }
    }
}

#[test]
fn messages_name_the_number_and_the_limit() {
    let too_large = DecodeError::TooLarge { header: Header::route(7), got_bytes: 5, limit_bytes: 4 };
    let bad_crc = DecodeError::BadCrc { got: 1, want: 0xABCD };
    #[rustfmt::skip]
    let table: &[(&str, DecodeError, &str)] = &[
        ("too large", too_large, "payload of 5 bytes in frame 0x0007 exceeds the 4 byte limit"),
        ("bad crc",   bad_crc,   "frame carries crc 0x00000001, its bytes have 0x0000abcd"),
    ];
    for (name, error, want) in table {
        assert_eq!((error.to_string().as_str(), error.fault()), (*want, Fault::Protocol), "case: {name}");
    }
}

#[cfg(feature = "planted-bugs")]
#[test]
fn the_planted_bug_accepts_one_byte_too_many() {
    let over = encoded(Header::route(1), b"abcde");
    let farther = encoded(Header::route(1), b"abcdef");
    crate::base::planted::plant(Some(Bug::LimitOffByOne));
    let got = (decode(&over, SMALL, &Crc::new()).is_ok(), decode(&farther, SMALL, &Crc::new()).is_ok());
    crate::base::planted::plant(None);
    assert_eq!(got, (true, false));
}

/// Frames that fit `payload_max`, of every kind of header.
fn frames(payload_max: usize) -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    vec((any::<u16>(), vec(any::<u8>(), 0..=payload_max)), 0..8)
}

fn stream_of(frames: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let (crc, mut stream) = (Crc::new(), Vec::new());
    for (bits, payload) in frames {
        encode(&mut stream, &crc, Header::from_bits(*bits), payload);
    }
    stream
}

proptest! {
    /// What was encoded comes back, and `frame_bytes` is its size.
    #[test]
    fn decode_inverts_encode(bits in any::<u16>(), payload in vec(any::<u8>(), 0..2000)) {
        let header = Header::from_bits(bits);
        let limits = FrameLimits::new(2000);
        let stream = encoded(header, &payload);
        let want = RawFrame { header, payload: &payload };
        prop_assert_eq!(stream.len(), frame_bytes(payload.len()));
        prop_assert_eq!(want.frame_bytes(), stream.len());
        prop_assert_eq!(decode(&stream, limits, &Crc::new()), Ok(Decoded::Frame(want)));
    }

    /// TCP may cut the stream anywhere; where it cuts must not matter.
    #[test]
    fn chunking_never_changes_the_frames(frames in frames(300), cut in 1usize..64) {
        let (crc, limits) = (Crc::new(), FrameLimits::new(300));
        let (mut got, mut waiting) = (Vec::new(), Vec::new());
        for chunk in stream_of(&frames).chunks(cut) {
            waiting.extend_from_slice(chunk);
            while let Ok(Decoded::Frame(frame)) = decode(&waiting, limits, &crc) {
                got.push((frame.header.bits(), frame.payload.to_vec()));
                let used = frame.frame_bytes();
                waiting.drain(..used);
            }
        }
        prop_assert_eq!(got, frames);
        prop_assert!(waiting.is_empty());
    }

    /// Every part of a frame asks for the prefix, then for the whole frame, and never for less than it has.
    #[test]
    fn every_split_point_asks_for_the_right_size(bits in any::<u16>(), payload in vec(any::<u8>(), 0..200)) {
        let limits = FrameLimits::new(200);
        let stream = encoded(Header::from_bits(bits), &payload);
        for cut in 0..stream.len() {
            let want = if cut < PREFIX_BYTES { PREFIX_BYTES } else { stream.len() };
            let got = decode(&stream[..cut], limits, &Crc::new());
            prop_assert_eq!(got, Ok(Decoded::NeedMore { frame_bytes: want }), "cut at {}", cut);
        }
    }

    /// A single flipped bit never yields a frame: it is a wrong CRC, a length over the limit, or a longer wait.
    #[test]
    fn a_flipped_bit_never_passes(payload in vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut stream = encoded(Header::route(1), &payload);
        let at = at.index(stream.len());
        stream[at] ^= 1 << bit;
        let got = decode(&stream, FrameLimits::new(200), &Crc::new());
        prop_assert!(!matches!(got, Ok(Decoded::Frame(_))), "got {:?}", got);
    }

    /// Any bytes are answered without a panic, and what is asked for is more than there is, within the limit.
    #[test]
    fn garbage_is_answered(input in vec(any::<u8>(), 0..64), payload_max in 0u32..100) {
        let limits = FrameLimits::new(payload_max);
        if let Ok(Decoded::NeedMore { frame_bytes: want }) = decode(&input, limits, &Crc::new()) {
            let most = payload_max.max(CONTROL_BYTES_MAX) + EXTENSION_BYTES_MAX;
            prop_assert!(want > input.len());
            prop_assert!(want <= frame_bytes(most as usize));
        }
    }
}
