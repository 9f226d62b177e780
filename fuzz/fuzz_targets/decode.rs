//! Law: whatever the bytes, decoding answers: a frame that is encoded to the very same bytes, a size that is larger
//! than what is there, or a refusal that more bytes don't change. The input is a stream of frames.
#![no_main]

use tidegate::wire::{Crc, Decoded, Foreign, FrameLimits, decode, encode};

const LIMITS: [u32; 5] = [0, 16, 4096, 1 << 20, 256 << 20];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let crc = Crc::new();
    for payload_max in LIMITS {
        stream(data, FrameLimits::new(payload_max), &crc);
    }
    for first in [data, &data[..data.len() / 2]] {
        let on_lines = Foreign::on_lines(first);
        assert!(on_lines.is_none() || Foreign::on_frames(first) == on_lines, "frames name what lines name");
    }
});

/// Reads frames to the end, or to what is no frame.
fn stream(mut data: &[u8], limits: FrameLimits, crc: &Crc) {
    loop {
        match decode(data, limits, crc) {
            Ok(Decoded::Frame(frame)) => {
                assert!(frame.payload.len() <= limits.allowed(frame.header) as usize);
                let used = frame.frame_bytes();
                let mut again = Vec::new();
                encode(&mut again, crc, frame.header, frame.payload);
                assert_eq!(again, data[..used]);
                assert_eq!(
                    decode(&data[..used], limits, crc),
                    Ok(Decoded::Frame(frame)),
                    "what follows matters"
                );
                if let Some(short) = used.checked_sub(1) {
                    let want = Ok(Decoded::NeedMore { frame_bytes: used });
                    assert_eq!(decode(&data[..short], limits, crc), want);
                }
                data = &data[used..];
            }
            Ok(Decoded::NeedMore { frame_bytes }) => {
                assert!(frame_bytes > data.len(), "asks for {frame_bytes}, has {}", data.len());
                return;
            }
            Err(error) => {
                let mut longer = data.to_vec();
                longer.extend([0, 0xff, b'\n']);
                assert_eq!(decode(&longer, limits, crc), Err(error), "more bytes change a refusal");
                assert!(error.to_string().len() < 160, "a message fits the text that carries it");
                return;
            }
        }
    }
}
