//! The committed seeds of `fuzz/corpus` reach every way in which bytes are refused, and nothing in them panics.
//!
//! Plain Rust, so that it runs wherever the other tests do. The fuzz targets state the laws; here it is only checked
//! that the seeds are worth their bytes. A new variant of an error does not compile here until it has a name, and
//! does not pass until a seed reaches it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use tidegate::session::{Framing, Step};
use tidegate::wire::{
    Control, ControlError, ControlFrame, Crc, DecodeError, Decoded, Extension, ExtensionError, Foreign,
    FrameLimits, Header, Line, LineError, ProxyError, TlvError, decode, decode_line, decode_proxy,
};

const TARGETS: [&str; 13] = [
    "decode",
    "round_trip",
    "chunked",
    "line",
    "proxy",
    "control",
    "extension",
    "hello",
    "outbox",
    "turn",
    "session",
    "config",
    "reload",
];
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
    let readers: [(&str, Read); 8] = [
        ("decode", frames),
        ("line", lines),
        ("proxy", proxy),
        ("control", control),
        ("extension", extension),
        ("hello", hello),
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
        "control: extension missing",
        "control: extension fields",
        "control: extension",
        "control: too long",
        "control: too short",
        "control: topic too long",
        "control: text not utf-8",
        "control: bad id",
        "control: tlv",
        "hello: too short",
        "hello: bad id",
        "hello: tlv cut",
        "hello: tlv size",
        "extension: no words",
        "extension: over payload",
        "extension: over block",
        "extension: trace not zero",
        "extension: padding too long",
        "extension: tlv cut",
        "extension: tlv size",
        "line: too long",
        "proxy: no header",
        "proxy: line too long",
        "proxy: bad line",
        "proxy: bad command",
        "proxy: bad family",
        "proxy: too long",
        "proxy: too short",
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
fn the_seeds_reach_every_kind_of_message_on_every_kind_of_listener() {
    let reached: BTreeSet<String> = seeds("chunked").flat_map(|seed| chunked(&seed)).collect();
    let want = [
        "a client: plain",
        "a client: extended",
        "a client: correlated",
        "a client: one-way",
        "a client: special",
        "a client: control",
        "a client: too_large",
        "a client: bad_crc",
        "a client: bad_extension",
        "a client: unknown_control",
        "a client: bad_control",
        "a client: wrong_direction",
        "a welcomed client: plain",
        "a welcomed client: control",
        "a welcomed client: large control",
        "a welcomed client: too_large",
        "a bare client: plain",
        "a bare client: control bit",
        "a bare client: too_large",
        "a server: control",
        "a server: bad_control",
        "a server: wrong_direction",
        "lines: plain",
        "lines: line_too_long",
    ];
    for message in want {
        assert!(reached.contains(message), "no seed is {message}; there are {reached:#?}");
    }
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

/// The targets stand in three places, and `smoke` begins in any folder.
#[test]
fn the_smoke_run_knows_every_target_and_says_what_it_does() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let smoke = fs::read_to_string(fuzz.join("smoke")).unwrap();
    let all = smoke.lines().find_map(|line| line.strip_prefix("all=(")?.strip_suffix(')')).unwrap();
    assert_eq!(all.split(' ').collect::<Vec<_>>(), TARGETS);
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let programs: Vec<_> = manifest
        .split("[[bin]]\nname = \"")
        .skip(1)
        .map(|program| program.split('"').next().unwrap())
        .collect();
    assert_eq!(programs, TARGETS);

    // From the folder above, as the documents say; at most ten seconds of a processor, should it never end.
    let run = |argument: &str| {
        let script = r#"ulimit -t 10; exec "$0" "$1""#;
        let mut command = Command::new("sh");
        command.args(["-c", script, "fuzz/smoke", argument]).current_dir(env!("CARGO_MANIFEST_DIR"));
        command.output().unwrap()
    };
    let help = run("--help");
    assert!(help.status.success() && help.stderr.is_empty(), "{help:?}");
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(
        text.starts_with("Builds every fuzz target") && text.contains("Exit status: 0 all ran"),
        "{text}"
    );
    let unknown = run("--rnus");
    assert_eq!(unknown.status.code(), Some(2));
    assert_eq!(String::from_utf8(unknown.stderr).unwrap(), "unknown option --rnus\n");
    let nobody = run("decoed");
    assert_eq!(nobody.status.code(), Some(2));
    assert!(
        String::from_utf8(nobody.stderr).unwrap().starts_with("unknown target decoed; there are: decode ")
    );
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

/// The seed as a choice, three sizes, and the first bytes of a connection from a proxy.
fn proxy(seed: &[u8], reached: &mut Reached) {
    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    let Some(([choice, _, _, _], rest)) = seed.split_first_chunk::<4>() else { return };
    let start = if *choice == 2 { SIGNATURE } else { b"" };
    if let Err(error) = decode_proxy(&[start, rest].concat()) {
        reached.insert(match error {
            ProxyError::NoHeader => "proxy: no header",
            ProxyError::LineTooLong => "proxy: line too long",
            ProxyError::BadLine => "proxy: bad line",
            ProxyError::BadCommand { .. } => "proxy: bad command",
            ProxyError::BadFamily { .. } => "proxy: bad family",
            ProxyError::TooLong { .. } => "proxy: too long",
            ProxyError::TooShort { .. } => "proxy: too short",
        });
    }
}

/// The seed as a choice of listener, three sizes, and a stream: what is said to whom.
fn chunked(seed: &[u8]) -> Vec<String> {
    let mut said = Vec::new();
    let Some(([choice, _, _, _], mut rest)) = seed.split_first_chunk::<4>() else { return said };
    let payload_max = [1 << 20, 16, 0, 4096][usize::from(choice >> 1) % 4];
    let frames = Framing::frames(payload_max);
    let (who, framing) = match (choice & 1, choice >> 3 & 3) {
        (0, 0) => ("a client", frames),
        (0, 1) => ("a bare client", Framing::bare_frames(payload_max)),
        (0, 2) => ("a welcomed client", frames.welcomed()),
        (0, _) => ("a server", frames.of_server()),
        _ => ("lines", Framing::lines(payload_max, 7)),
    };
    let crc = Crc::new();
    loop {
        let (what, used) = match framing.next(rest, 0, &crc) {
            Step::Message { is_special: true, used, .. } => ("special", used),
            Step::Message { to, used, .. } if !to.is_wanted() => ("one-way", used),
            Step::Message { to, used, .. } if to.is_correlated() => ("correlated", used),
            Step::Message { to, used, .. } if to.is_extended() => ("extended", used),
            Step::Message { to, used, .. } if to.header().is_control() => ("control bit", used),
            Step::Message { used, .. } => ("plain", used),
            Step::Control { header, payload, used } => match framing.control(header, payload) {
                Ok(_) if used > LIMITS[2] as usize => ("large control", used),
                Ok(_) => ("control", used),
                Err(why) => (why.name(), 0),
            },
            Step::NeedMore { .. } => return said,
            Step::Fault(why) => (why.name(), 0),
        };
        said.push(format!("{who}: {what}"));
        if used == 0 {
            return said;
        }
        rest = &rest[used..];
    }
}

/// The seed as a control frame's header and payload.
fn control(seed: &[u8], reached: &mut Reached) {
    let Some((header, payload)) = seed.split_first_chunk::<2>() else { return };
    let header = Header::from_bits(u16::from_be_bytes(*header) | Header::CONTROL);
    if let Err(error) = ControlFrame::parse(header, payload) {
        reached.insert(match error {
            ControlError::UnknownCode { .. } => "control: unknown code",
            ControlError::ExtensionNotAllowed { .. } => "control: extension not allowed",
            ControlError::ExtensionMissing { .. } => "control: extension missing",
            ControlError::ExtensionFields { .. } => "control: extension fields",
            ControlError::Extension { .. } => "control: extension",
            ControlError::TooLong { .. } => "control: too long",
            ControlError::TooShort { .. } => "control: too short",
            ControlError::TopicTooLong { .. } => "control: topic too long",
            ControlError::TextNotUtf8 { .. } => "control: text not utf-8",
            ControlError::BadId { .. } => "control: bad id",
            ControlError::Tlv { .. } => "control: tlv",
        });
    }
}

/// The seed as a choice and a payload with a block.
fn extension(seed: &[u8], reached: &mut Reached) {
    let Some((0, payload)) = seed.split_first() else { return };
    if let Err(error) = Extension::parse(payload) {
        reached.insert(match error {
            ExtensionError::NoWords => "extension: no words",
            ExtensionError::OverPayload { .. } => "extension: over payload",
            ExtensionError::OverBlock { .. } => "extension: over block",
            ExtensionError::TraceNotZero => "extension: trace not zero",
            ExtensionError::PaddingTooLong { .. } => "extension: padding too long",
            ExtensionError::Tlv(TlvError::Cut { .. }) => "extension: tlv cut",
            ExtensionError::Tlv(TlvError::Size { .. }) => "extension: tlv size",
        });
    }
}

/// The seed as a choice and a greeting.
fn hello(seed: &[u8], reached: &mut Reached) {
    let Some((choice @ (0 | 1), payload)) = seed.split_first() else { return };
    let header = Header::control(2 + u16::from(*choice));
    match Control::parse(header, payload) {
        Ok(_) => {}
        Err(ControlError::TooShort { .. }) => reached.extend(["hello: too short"]),
        Err(ControlError::BadId { .. }) => reached.extend(["hello: bad id"]),
        Err(ControlError::Tlv { error: TlvError::Cut { .. }, .. }) => reached.extend(["hello: tlv cut"]),
        Err(ControlError::Tlv { error: TlvError::Size { .. }, .. }) => reached.extend(["hello: tlv size"]),
        Err(error) => panic!("a greeting is not refused because of {error}"),
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
