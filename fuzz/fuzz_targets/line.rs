//! Law: lines are what a naive splitter makes of the stream, whatever is known to be searched already; a line that
//! tells of a failure is one line. The input is a stream of lines.
#![no_main]

use tidegate::wire::{Line, LineError, Status, decode_line, encode_error_line, last_line};

const LIMITS: [u32; 5] = [0, 1, 16, 1000, 64 << 10];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for payload_max in LIMITS {
        stream(data, payload_max);
    }
    let code = data.first_chunk::<2>().map_or(0, |bytes| u16::from_be_bytes(*bytes));
    error_line(Status::from_code(code), &String::from_utf8_lossy(data));
});

fn stream(mut data: &[u8], payload_max: u32) {
    loop {
        let end = data.iter().position(|byte| *byte == b'\n');
        let without_end = end.unwrap_or(data.len());
        let line = &data[..without_end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let is_long = line.len() > payload_max as usize;
        for scanned in [0, 1, without_end / 2, without_end.saturating_sub(1), without_end] {
            match decode_line(data, scanned.min(without_end), payload_max) {
                Ok(Line::Whole { payload, used }) => {
                    assert!(!is_long);
                    assert_eq!((payload, Some(used)), (line, end.map(|end| end + 1)));
                }
                Ok(Line::NeedMore) => assert!(!is_long && end.is_none()),
                Err(LineError::TooLong { got_bytes, limit_bytes }) => {
                    assert!(is_long);
                    assert_eq!(limit_bytes, payload_max);
                    assert!((1..=2).contains(&(got_bytes - payload_max as usize)));
                }
            }
        }
        let Some(end) = end.filter(|_| !is_long) else {
            if !is_long {
                assert_eq!(last_line(data), (!data.is_empty()).then_some(line));
            }
            return;
        };
        data = &data[end + 1..];
    }
}

fn error_line(status: Status, text: &str) {
    let mut out = b"in front".to_vec();
    encode_error_line(&mut out, status, text);
    let line = std::str::from_utf8(&out[8..]).expect("a cut is at a character");
    let line = line.strip_suffix('\n').expect("a line ends");
    assert!(!line.chars().any(char::is_control), "{line:?}");
    let words: Vec<_> = line.splitn(4, ' ').collect();
    assert_eq!(words[..3], ["ERR", &status.code().to_string(), status.name()]);
    assert_eq!(words.len() == 4, !text.is_empty());
    let told = words.get(3).copied().unwrap_or_default();
    assert!(told.chars().zip(text.chars()).all(|(a, b)| a == b || (a == ' ' && b.is_control())));
}
