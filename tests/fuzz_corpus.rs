//! The committed seeds of `fuzz/corpus` reach every way in which bytes are refused, and nothing in them panics.
//!
//! Plain Rust, so that it runs wherever the other tests do. The fuzz targets state the laws; here it is only checked
//! that the seeds are worth their bytes. A new variant of an error does not compile here until it has a name, and
//! does not pass until a seed reaches it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use tidegate::wire::{
    Control, ControlError, Crc, DecodeError, Decoded, Foreign, FrameLimits, Header, Line, LineError, decode,
    decode_line,
};

const TARGETS: [&str; 7] = ["decode", "round_trip", "chunked", "line", "control", "outbox", "turn"];
/// A folder stays small enough to be read by a human and copied by every clone.
const TARGET_BYTES_MAX: u64 = 64 << 10;
const LIMITS: [u32; 4] = [0, 16, 4096, 1 << 20];

type Reached = BTreeSet<&'static str>;
/// Reads a seed, and notes how it was refused.
type Read = fn(&[u8], &mut Reached);

#[test]
fn the_seeds_reach_every_refusal() {
    let mut reached = Reached::new();
    // Any seed may be read as anything; but only those of the target that does it count.
    let readers: [(&str, Read); 5] = [
        ("decode", frames),
        ("line", lines),
        ("control", control),
        ("decode", foreign_on_frames),
        ("line", foreign_on_lines),
    ];
    for (target, seed) in TARGETS.into_iter().flat_map(|target| seeds(target).map(move |seed| (target, seed)))
    {
        for (meant, read) in readers {
            let mut by_chance = Reached::new();
            read(&seed, if meant == target { &mut reached } else { &mut by_chance });
        }
    }
    let want = Reached::from([
        "decode: too large",
        "decode: bad crc",
        "control: unknown code",
        "control: extension not allowed",
        "control: too long",
        "control: too short",
        "control: text not utf-8",
        "line: too long",
        "foreign on frames: tls",
        "foreign on frames: http",
        "foreign on frames: resp",
        "foreign on frames: proxy",
        "foreign on lines: tls",
        "foreign on lines: http",
        "foreign on lines: proxy",
    ]);
    assert_eq!(reached, want);
}

#[test]
fn every_target_has_a_few_small_seeds() {
    for target in TARGETS {
        let seeds: Vec<_> = seeds(target).collect();
        let bytes: usize = seeds.iter().map(Vec::len).sum();
        assert!(seeds.len() >= 10, "{target} has {} seeds", seeds.len());
        assert!((bytes as u64) < TARGET_BYTES_MAX, "the seeds of {target} have {bytes} bytes");
    }
}

fn seeds(target: &str) -> impl Iterator<Item = Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| fs::read(entry.expect("an entry").path()).expect("a seed that can be read"))
}

/// The seed as a stream of frames, under several limits.
fn frames(seed: &[u8], reached: &mut Reached) {
    let crc = Crc::new();
    for payload_max in LIMITS {
        let mut rest = seed;
        loop {
            match decode(rest, FrameLimits::new(payload_max), &crc) {
                Ok(Decoded::Frame(frame)) => rest = &rest[frame.frame_bytes()..],
                Ok(Decoded::NeedMore { .. }) => break,
                Err(error) => {
                    reached.insert(match error {
                        DecodeError::TooLarge { .. } => "decode: too large",
                        DecodeError::BadCrc { .. } => "decode: bad crc",
                    });
                    break;
                }
            }
        }
    }
}

/// The seed as a stream of lines, under several limits.
fn lines(seed: &[u8], reached: &mut Reached) {
    for payload_max in LIMITS {
        let mut rest = seed;
        loop {
            match decode_line(rest, 0, payload_max) {
                Ok(Line::Whole { used, .. }) => rest = &rest[used..],
                Ok(Line::NeedMore) => break,
                Err(error) => {
                    reached.insert(match error {
                        LineError::TooLong { .. } => "line: too long",
                    });
                    break;
                }
            }
        }
    }
}

/// The seed as a control frame's header and payload.
fn control(seed: &[u8], reached: &mut Reached) {
    let Some((header, payload)) = seed.split_first_chunk::<2>() else { return };
    let header = Header::from_bits(u16::from_be_bytes(*header) | Header::CONTROL);
    if let Err(error) = Control::parse(header, payload) {
        reached.insert(match error {
            ControlError::UnknownCode { .. } => "control: unknown code",
            ControlError::ExtensionNotAllowed { .. } => "control: extension not allowed",
            ControlError::TooLong { .. } => "control: too long",
            ControlError::TooShort { .. } => "control: too short",
            ControlError::ExtensionMissing { .. } => "control: extension missing",
            ControlError::ExtensionFields { .. } => "control: extension fields",
            ControlError::Extension { .. } => "control: extension",
            ControlError::TopicTooLong { .. } => "control: topic too long",
            ControlError::BadId { .. } => "control: bad id",
            ControlError::Tlv { .. } => "control: tlv",
            ControlError::TextNotUtf8 { .. } => "control: text not utf-8",
        });
    }
}

/// The seed as a connection's first bytes.
fn foreign_on_frames(seed: &[u8], reached: &mut Reached) {
    reached.extend(Foreign::on_frames(seed).map(|foreign| match foreign {
        Foreign::Tls => "foreign on frames: tls",
        Foreign::Http => "foreign on frames: http",
        Foreign::Resp => "foreign on frames: resp",
        Foreign::Proxy => "foreign on frames: proxy",
    }));
}

/// The same on a listener for lines, where RESP is text.
fn foreign_on_lines(seed: &[u8], reached: &mut Reached) {
    reached.extend(Foreign::on_lines(seed).map(|foreign| match foreign {
        Foreign::Tls => "foreign on lines: tls",
        Foreign::Http => "foreign on lines: http",
        Foreign::Resp => "foreign on lines: resp",
        Foreign::Proxy => "foreign on lines: proxy",
    }));
}
