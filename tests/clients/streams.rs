//! The golden vectors as lines for the drivers, and what each must find in them.

const VECTORS: &str = include_str!("../data/vectors.txt");

/// Streams up to this size are fed byte by byte, too.
const BY_BYTE_MAX: usize = 4096;

pub struct Stream {
    pub name: String,
    /// `crc|raw|meant LIMIT CHUNK HEX`
    pub line: String,
    pub want: String,
}

/// Every CRC, every stream of frames cut into its frames, and those of servers with what the frames mean.
pub fn all(checks_text: bool) -> Vec<Stream> {
    let mut found = Vec::new();
    for case in VECTORS.split("\n\n") {
        let lines: Vec<_> = case.lines().filter_map(|line| line.split_once(' ')).collect();
        let value = |key: &str| lines.iter().find(|(found, _)| *found == key).map(|(_, value)| *value);
        let (Some(name), Some(kind)) = (value("case"), value("kind")) else { continue };
        let wants: Vec<_> = lines.iter().filter(|(key, _)| *key == "want").map(|(_, value)| *value).collect();
        let bytes = bytes(value("bytes").unwrap_or("-"));
        let mut add = |mode: &str, limit: &str, bytes: &[u8], want: &str| {
            let chunks = if bytes.len() <= BY_BYTE_MAX { &[1, 1 << 30][..] } else { &[65_536][..] };
            for chunk in chunks {
                let line = format!("{mode} {limit} {chunk} {}", hex(bytes));
                found.push(Stream { name: name.into(), line, want: want.into() });
            }
        };
        match kind {
            "crc" => add("crc", "0", &bytes, wants[0].strip_prefix("crc ").expect("a sum")),
            "frame" => {
                let Some((raw, frames)) = raw(&bytes, &wants) else { continue };
                let limit = value("limit").expect("a frame has a limit");
                let used: usize = if raw.ends_in_frame {
                    frames.iter().map(|(_, payload)| 10 + payload.len()).sum()
                } else {
                    bytes.len()
                };
                add("raw", limit, &bytes[..used], &raw.want);
                let is_text = wants.iter().any(|want| want.starts_with("close")) && name.contains("not_utf8");
                if value("from") == Some("server") && (checks_text || !is_text) {
                    add("meant", limit, &bytes, &meant(&wants, &frames));
                }
            }
            _ => {}
        }
    }
    assert!(found.len() > 700, "only {} streams were found", found.len());
    found
}

struct Raw {
    want: String,
    /// What follows the last of its frames is none of a decoder's business.
    ends_in_frame: bool,
}

type Frames = Vec<(u16, Vec<u8>)>;

/// The frames of a stream, and how it goes on behind them; `None` for what only a server recognises.
fn raw(bytes: &[u8], wants: &[&str]) -> Option<(Raw, Frames)> {
    let (mut frames, mut at, mut said) = (Frames::new(), 0, Vec::new());
    let mut ends_in_frame = false;
    for want in wants {
        let words: Vec<_> = want.split(' ').collect();
        match words[..] {
            ["close", reason @ ("bad_crc" | "too_large"), _] => said.push(format!("close {reason}")),
            ["close", "tls" | "http" | "resp" | "proxy", _] => return None,
            ["need_more", size] if at < bytes.len() => said.push(format!("need_more {size}")),
            ["need_more" | "eof", ..] => {}
            _ => {
                let length =
                    u32::from_be_bytes(bytes[at + 2..at + 6].try_into().expect("four bytes")) as usize;
                let header = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
                if header & 0x4000 != 0 && length > 4096 {
                    return None; // larger than a client reads before WELCOME
                }
                frames.push((header, bytes[at + 6..at + 6 + length].to_vec()));
                said.push(format!("{header:04x} {}", hex(&bytes[at + 6..at + 6 + length])));
                at += 10 + length;
                ends_in_frame = words[0] == "close";
            }
        }
    }
    Some((Raw { want: said.join(" | "), ends_in_frame }, frames))
}

/// What a client makes of the frames of a server: in the words of the vectors, but for what it does not look at.
fn meant(wants: &[&str], frames: &Frames) -> String {
    let said = wants.iter().zip(frames).map(|(want, (header, payload))| {
        let words: Vec<_> = want.split(' ').collect();
        let is_skipped = header & 0xC000 == 0xC000
            || !matches!(header, 0..=0x3FFF | 0x8000..=0xBFFF | 0x4000 | 0x4001 | 0x4003..=0x4005 | 0x400C);
        match words[..] {
            _ if is_skipped => format!("other {header:04x} {}", hex(payload)),
            ["welcome", version, _flags, max, heartbeat, server, client, ..] => {
                format!("welcome {version} {max} {heartbeat} {server} {client}")
            }
            ["close", reason, _] => format!("close {reason}"),
            _ => bytes_joined(&words),
        }
    });
    said.collect::<Vec<_>>().join(" | ")
}

/// A line of words with `61*4` written out.
fn bytes_joined(words: &[&str]) -> String {
    let written =
        words.iter().map(|word| if word.contains('*') { hex(&bytes(word)) } else { (*word).to_owned() });
    written.collect::<Vec<_>>().join(" ")
}

fn bytes(words: &str) -> Vec<u8> {
    let mut found = Vec::new();
    for word in words.split(' ').filter(|word| *word != "-") {
        let (digits, times) = word.split_once('*').unwrap_or((word, "1"));
        let part: Vec<u8> = (0..digits.len() / 2)
            .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("two hex digits"))
            .collect();
        found.extend(part.repeat(times.parse().expect("a number of times")));
    }
    found
}

fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() { "-".into() } else { bytes.iter().map(|byte| format!("{byte:02x}")).collect() }
}
