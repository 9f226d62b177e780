//! Runs `tests/data/vectors.txt` against the wire: every case as a whole, then cut in two at its split points.
//!
//! The file's head explains its format. A key, kind or expectation that is not known here fails the test, so that
//! the file can't grow past it.

use std::collections::HashSet;
use tidegate::base::limits::PAYLOAD_BYTES_DEFAULT;
use tidegate::wire::control::TEXT_BYTES_MAX;
use tidegate::wire::{
    Control, ControlError, Crc, Decoded, Foreign, FrameLimits, Header, Line, LineError, RawFrame, Status,
    TLS_ALERT, decode, decode_line, encode, encode_error_line, last_line,
};

const VECTORS: &str = include_str!("data/vectors.txt");
const PROTOCOL: &str = include_str!("../docs/PROTOCOL.md");

/// Streams up to this size are cut everywhere, larger ones only near both ends.
const CUT_EVERYWHERE_BYTES: usize = 2048;
const CUT_NEAR_ENDS_BYTES: usize = 16;

#[test]
fn every_vector_is_taken_for_what_it_is() {
    let cases = Case::read_all(VECTORS);
    let names: HashSet<_> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len(), "a name stands twice");
    assert!(cases.len() > 150, "only {} cases were found", cases.len());
    for case in &cases {
        case.run();
    }
}

#[test]
fn every_kind_and_reason_has_a_case() {
    let reasons = [
        "too_large",
        "bad_crc",
        "unknown_control",
        "bad_control",
        "wrong_direction",
        "line_too_long",
        "tls",
        "http",
        "resp",
        "proxy",
    ];
    let wants: Vec<_> = Case::read_all(VECTORS).into_iter().flat_map(|case| case.wants).collect();
    for reason in reasons {
        assert!(wants.iter().any(|want| want.starts_with(&format!("close {reason} "))), "reason: {reason}");
    }
    let kinds: HashSet<_> = Case::read_all(VECTORS).into_iter().map(|case| case.kind).collect();
    assert_eq!(kinds, HashSet::from(["crc", "frame", "line", "error_line", "tls_alert"]));
}

/// The document shows a frame byte by byte; it must be the one of the vectors.
#[test]
fn the_worked_example_of_the_document_is_a_vector() {
    let cases = Case::read_all(VECTORS);
    let example = cases.iter().find(|case| case.name == "worked_example").expect("there is one");
    let shown: Vec<_> = example.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(PROTOCOL.contains(&shown.join(" ")), "docs/PROTOCOL.md does not show {}", shown.join(" "));
}

#[derive(Default)]
struct Case<'a> {
    name: &'a str,
    kind: &'a str,
    from_server: bool,
    limit: u32,
    bytes: Vec<u8>,
    /// As in the file, with bytes as [`hex`] writes them.
    wants: Vec<String>,
}

impl<'a> Case<'a> {
    fn read_all(file: &'a str) -> Vec<Case<'a>> {
        let paragraphs = file.split("\n\n").map(|text| text.lines().filter(|line| !line.starts_with('#')));
        paragraphs
            .map(|lines| lines.collect::<Vec<_>>())
            .filter(|lines| !lines.is_empty())
            .map(Case::read)
            .collect()
    }

    fn read(lines: Vec<&'a str>) -> Case<'a> {
        let mut case = Case::default();
        for line in lines {
            let (key, value) = line.split_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
            match key {
                "case" => case.name = value,
                "kind" => case.kind = value,
                "from" => {
                    assert!(["client", "server"].contains(&value), "unknown sender {value}");
                    case.from_server = value == "server";
                }
                "limit" => case.limit = value.parse().expect("limit in bytes"),
                "bytes" => case.bytes = bytes(value.split(' ')),
                "want" => case.wants.push(normal(value)),
                other => panic!("unknown key {other} in case {}", case.name),
            }
        }
        assert!(
            !case.name.is_empty() && !case.kind.is_empty() && !case.wants.is_empty(),
            "{} lacks a line",
            case.name
        );
        case
    }

    fn run(&self) {
        match self.kind {
            "crc" => {
                let sum = Crc::new().of(&self.bytes);
                assert_eq!(self.wants, [format!("crc {sum:08x}")], "case {}", self.name);
            }
            "frame" | "line" => self.run_stream(),
            "error_line" => self.run_error_line(),
            "tls_alert" => assert_eq!((&self.bytes[..], &self.wants[0][..]), (&TLS_ALERT[..], "tls_alert")),
            other => panic!("unknown kind {other} in case {}", self.name),
        }
    }

    fn run_stream(&self) {
        let ends = self.wants.iter().any(|want| want.starts_with("eof "));
        let names_foreign = self.wants.iter().any(|want| want.starts_with("close ") && want.ends_with(" -"));
        let mut cuts = split_points(self.bytes.len());
        if names_foreign {
            cuts.clear(); // who sends another protocol sends its first bytes in one piece; else it stays unnamed
        }
        cuts.push(self.bytes.len());
        for cut in cuts {
            let mut peer = Peer::new(self);
            peer.take(&self.bytes[..cut]);
            peer.take(&self.bytes[cut..]);
            assert_eq!(peer.finish(ends), self.wants, "case {} cut at {cut}", self.name);
        }
        if let Some(encoded) = self.encoded() {
            assert!(encoded == self.bytes, "case {} is encoded differently", self.name);
        }
    }

    fn run_error_line(&self) {
        let [want] = &self.wants[..] else { panic!("one want in case {}", self.name) };
        let words: Vec<_> = want.split(' ').collect();
        let ["error_line", status, text] = words[..] else { panic!("{want} in case {}", self.name) };
        let mut out = Vec::new();
        encode_error_line(&mut out, status_of(status), &text_of(text));
        assert_eq!(out, self.bytes, "case {}", self.name);
    }

    /// The stream that we would send to say the same; nothing where a case is not about whole frames that we send.
    fn encoded(&self) -> Option<Vec<u8>> {
        let (crc, mut out) = (Crc::new(), Vec::new());
        for want in &self.wants {
            match want.split(' ').collect::<Vec<_>>()[..] {
                ["frame" | "unsupported", header, payload] => {
                    let header = Header::from_bits(u16::from_str_radix(header, 16).expect("header in hex"));
                    encode(&mut out, &crc, header, &bytes([payload].into_iter()));
                }
                ["ping", payload] => Control::Ping(&bytes([payload].into_iter())).encode(&mut out, &crc),
                ["pong", payload] => Control::Pong(&bytes([payload].into_iter())).encode(&mut out, &crc),
                ["error", status, text] => {
                    let (status, text) = (status_of(status), sendable(text)?);
                    Control::Error { status, text: &text }.encode(&mut out, &crc);
                }
                ["goaway", status, ms, text] => {
                    let (status, text) = (status_of(status), sendable(text)?);
                    let reconnect_after_ms = ms.parse().expect("milliseconds");
                    Control::GoAway { status, reconnect_after_ms, text: &text }.encode(&mut out, &crc);
                }
                ["eof", "nothing"] => {}
                ["line" | "need_more" | "close" | "eof", ..] => return None,
                _ => panic!("unknown want {want} in case {}", self.name),
            }
        }
        (self.kind == "frame" && !out.is_empty()).then_some(out)
    }
}

/// The least that a side of a connection does with what it reads: it says what it is, up to the first fault.
struct Peer<'a> {
    case: &'a Case<'a>,
    crc: Crc,
    waiting: Vec<u8>,
    scanned: usize,
    /// What the last look at the input was waiting for.
    need: String,
    said: Vec<String>,
    closed: bool,
}

impl<'a> Peer<'a> {
    fn new(case: &'a Case<'a>) -> Peer<'a> {
        let (need, said) = (String::new(), Vec::new());
        Peer { case, crc: Crc::new(), waiting: Vec::new(), scanned: 0, need, said, closed: false }
    }

    fn take(&mut self, chunk: &[u8]) {
        self.waiting.extend_from_slice(chunk);
        while !self.closed {
            let used = if self.case.kind == "line" { self.next_line() } else { self.next_frame() };
            let Some(used) = used else { break };
            self.waiting.drain(..used);
        }
    }

    /// What was said, with what is still waited for, and what the end of the stream adds if that is asked for.
    fn finish(mut self, ends: bool) -> Vec<String> {
        let lines = self.case.kind == "line";
        let waits = !self.closed && (!self.waiting.is_empty() || self.said.is_empty());
        if waits {
            self.said.push(self.need.clone());
        }
        if ends && !self.closed {
            self.said.push(match last_line(&self.waiting) {
                None => "eof nothing".to_owned(),
                Some(line) if lines => format!("eof line {}", hex(line)),
                Some(_) => "eof truncated".to_owned(),
            });
        }
        self.said
    }

    fn next_frame(&mut self) -> Option<usize> {
        let limits = FrameLimits::new(self.case.limit);
        let decoded = decode(&self.waiting, limits, &self.crc);
        let whole = matches!(decoded, Ok(Decoded::Frame(_)));
        let first = self.said.is_empty() && !self.case.from_server;
        if let Some(foreign) = Foreign::on_frames(&self.waiting).filter(|_| first && !whole) {
            return self.close(foreign.name(), None);
        }
        match decoded {
            Ok(Decoded::Frame(frame)) => {
                let used = frame.frame_bytes();
                match describe(frame, self.case.from_server) {
                    Ok(said) => self.said.push(said),
                    Err(reason) => return self.close(reason, Some(Status::PROTOCOL)),
                }
                Some(used)
            }
            Ok(Decoded::NeedMore { frame_bytes }) => {
                self.need = format!("need_more {frame_bytes}");
                None
            }
            Err(tidegate::wire::DecodeError::TooLarge { .. }) => {
                self.close("too_large", Some(Status::TOO_LARGE))
            }
            Err(tidegate::wire::DecodeError::BadCrc { .. }) => self.close("bad_crc", Some(Status::PROTOCOL)),
        }
    }

    fn next_line(&mut self) -> Option<usize> {
        if let Some(foreign) = Foreign::on_lines(&self.waiting).filter(|_| self.said.is_empty()) {
            return self.close(foreign.name(), None);
        }
        match decode_line(&self.waiting, self.scanned, self.case.limit) {
            Ok(Line::Whole { payload, used }) => {
                self.said.push(format!("line {}", hex(payload)));
                self.scanned = 0;
                Some(used)
            }
            Ok(Line::NeedMore) => {
                self.scanned = self.waiting.len();
                self.need = "need_more".to_owned();
                None
            }
            Err(LineError::TooLong { .. }) => self.close("line_too_long", Some(Status::TOO_LARGE)),
        }
    }

    fn close(&mut self, reason: &str, status: Option<Status>) -> Option<usize> {
        let status = status.map_or("-".to_owned(), |status| status.code().to_string());
        self.said.push(format!("close {reason} {status}"));
        self.closed = true;
        None
    }
}

/// What a whole frame is, or the reason to close because of it.
fn describe(frame: RawFrame<'_>, from_server: bool) -> Result<String, &'static str> {
    let RawFrame { header, payload } = frame;
    if !header.is_control() {
        let kind = if header.is_ext() { "unsupported" } else { "frame" };
        return Ok(format!("{kind} {:04x} {}", header.bits(), hex(payload)));
    }
    match Control::parse(header, payload) {
        Ok(Control::Ping(bytes)) => Ok(format!("ping {}", hex(bytes))),
        Ok(Control::Pong(bytes)) => Ok(format!("pong {}", hex(bytes))),
        Ok(Control::Error { .. } | Control::GoAway { .. }) if !from_server => Err("wrong_direction"),
        Ok(
            Control::Hello(_)
            | Control::Welcome(_)
            | Control::Subscribe(_)
            | Control::Unsubscribe(_)
            | Control::Publish { .. }
            | Control::Message { .. }
            | Control::Ack { .. }
            | Control::Missed { .. }
            | Control::Notice { .. },
        ) => panic!("no vector has one yet"),
        Ok(Control::Error { status, text }) => {
            Ok(format!("error {} {}", status.code(), hex(text.as_bytes())))
        }
        Ok(Control::GoAway { status, reconnect_after_ms, text }) => {
            Ok(format!("goaway {} {reconnect_after_ms} {}", status.code(), hex(text.as_bytes())))
        }
        Err(ControlError::UnknownCode { .. }) => Err("unknown_control"),
        Err(
            ControlError::ExtensionNotAllowed { .. }
            | ControlError::ExtensionMissing { .. }
            | ControlError::ExtensionFields { .. }
            | ControlError::TooLong { .. }
            | ControlError::TooShort { .. }
            | ControlError::TopicTooLong { .. }
            | ControlError::TextNotUtf8 { .. }
            | ControlError::BadId { .. }
            | ControlError::Tlv { .. },
        ) => Err("bad_control"),
        Err(ControlError::Extension { .. }) => Err("bad_extension"),
    }
}

fn split_points(bytes: usize) -> Vec<usize> {
    let near_ends = |cut: &usize| {
        bytes <= CUT_EVERYWHERE_BYTES || *cut <= CUT_NEAR_ENDS_BYTES || *cut >= bytes - CUT_NEAR_ENDS_BYTES
    };
    (0..bytes).filter(near_ends).collect()
}

/// Hex words joined; `61*3` repeats; `-` is nothing.
fn bytes<'a>(words: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut out = Vec::new();
    for word in words.filter(|word| *word != "-") {
        let (digits, count) = word.split_once('*').unwrap_or((word, "1"));
        assert!(digits.len().is_multiple_of(2), "odd hex: {word}");
        let pairs = (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]);
        let once: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect();
        out.extend(once.repeat(count.parse().expect("a count")));
    }
    out
}

/// Bytes as a want has them: `-` for nothing, many equal ones as a repeat, which keeps cases of a MiB quick.
fn hex(bytes: &[u8]) -> String {
    let Some(first) = bytes.first() else { return "-".to_owned() };
    if bytes.len() > 16 && bytes[1..] == bytes[..bytes.len() - 1] {
        return format!("{first:02x}*{}", bytes.len());
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A want with its bytes in the form that [`hex`] gives them.
fn normal(want: &str) -> String {
    let is_long = |word: &str| word.contains('*') || word.len() > 32; // only bytes are
    let word = |word: &str| if is_long(word) { hex(&bytes([word].into_iter())) } else { word.to_owned() };
    want.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn status_of(code: &str) -> Status {
    Status::from_code(code.parse().expect("a status"))
}

fn text_of(hex: &str) -> String {
    String::from_utf8(bytes([hex].into_iter())).expect("text is UTF-8")
}

/// A text that we would send as it is.
fn sendable(hex: &str) -> Option<String> {
    Some(text_of(hex)).filter(|text| text.len() <= TEXT_BYTES_MAX)
}

const _: () = assert!(PAYLOAD_BYTES_DEFAULT == 1 << 20, "the vectors' limit is the default one");
