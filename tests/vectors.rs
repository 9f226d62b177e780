//! Runs `tests/data/vectors.txt` against the wire: every case as a whole, then cut in two at its split points.
//!
//! The file's head explains its format. A key, kind or expectation that is not known here fails the test, so that
//! the file can't grow past it.

#[path = "vectors/describe.rs"]
mod describe;
#[path = "vectors/file.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod file;
#[path = "vectors/peer.rs"]
mod peer;

use describe::describe;
use file::{Case, bytes, hex};
use peer::Peer;
use std::collections::HashSet;
use tidegate::CloseReason;
use tidegate::base::limits::PAYLOAD_BYTES_DEFAULT;
use tidegate::wire::control::TEXT_BYTES_MAX;
use tidegate::wire::{
    Control, ControlFrame, Crc, Extension, Header, Hello, Status, Subscription, TLS_ALERT, TlvWriter, Tlvs,
    Trace, Welcome, encode, encode_error_line,
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
    assert!(cases.len() > 350, "only {} cases were found", cases.len());
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
        "bad_extension",
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
    assert_eq!(kinds, HashSet::from(["crc", "frame", "line", "error_line", "tls_alert", "session"]));
    let said: HashSet<_> = wants.iter().filter_map(|want| want.split(' ').next()).collect();
    #[rustfmt::skip]
    let kinds = [
        "frame", "ext", "unsupported", "ping", "pong", "hello", "welcome", "error", "goaway", "subscribe",
        "unsubscribe", "publish", "message", "ack", "missed", "notice",
    ];
    for kind in kinds {
        assert!(said.contains(kind), "nothing is taken for {kind}");
    }
}

/// The document shows frames byte by byte; each must be one of the vectors, and these must be shown.
#[test]
fn the_examples_of_the_document_are_vectors() {
    #[rustfmt::skip]
    let shown = [
        "worked_example", "ext_correlation", "ext_deadline", "ext_no_route", "ext_overloaded", "server_ping_t1",
        "server_pong_t1", "error_no_such_route", "goaway_with_text", "subscribe_with_id", "ack_unsupported",
        "hello", "welcome", "tls_alert",
    ];
    let cases = Case::read_all(VECTORS);
    for name in shown {
        let example = cases.iter().find(|case| case.name == name).expect("there is one");
        let bytes: Vec<_> = example.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(
            PROTOCOL.contains(&bytes.join(" ")),
            "docs/PROTOCOL.md does not show {name}: {}",
            bytes.join(" ")
        );
    }
    let is_frame =
        |line: &&str| line.len() > 30 && line.as_bytes()[2] == b' ' && line[..2].parse::<u16>().is_ok();
    let frames = PROTOCOL.lines().filter(is_frame).count();
    assert!(frames >= shown.len() - 3, "only {frames} lines look like a frame");
}

/// Whoever finds a reason in the log finds it in the document.
#[test]
fn the_document_explains_every_reason() {
    for reason in CloseReason::ALL {
        assert!(PROTOCOL.contains(&format!("`{}`", reason.name())), "{} is not explained", reason.name());
    }
}

impl Case<'_> {
    fn run(&self) {
        match self.kind {
            "crc" => {
                let sum = Crc::new().of(&self.bytes);
                assert_eq!(self.wants, [format!("crc {sum:08x}")], "case {}", self.name);
            }
            "frame" | "line" => self.run_stream(),
            // Not of one side's bytes alone: tests/conform.rs runs them against servers.
            "session" => {}
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
        if self.kind != "frame" || self.is_spare {
            return None;
        }
        let (crc, mut out) = (Crc::new(), Vec::new());
        for want in &self.wants {
            Words(want).encode(&crc, &mut out)?;
        }
        (!out.is_empty()).then_some(out)
    }
}

/// The words of a want that are left.
struct Words<'a>(&'a str);

/// What a want says of an extension block.
#[derive(Default)]
struct Said {
    is_there: bool,
    status: u16,
    id: Option<u64>,
    deadline: Option<u32>,
    trace: Option<Trace>,
    one_way: bool,
    tags: TlvWriter,
    /// Those of a block may be more than a writer holds.
    tag_bytes: Vec<u8>,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> &'a str {
        let (word, rest) = self.0.split_once(' ').unwrap_or((self.0, ""));
        self.0 = rest;
        word
    }

    fn number<T: std::str::FromStr>(&mut self) -> T {
        let word = self.next();
        word.parse().unwrap_or_else(|_| panic!("{word} is not such a number"))
    }

    fn hex(&mut self) -> u16 {
        u16::from_str_radix(self.next(), 16).expect("a header or flags in hex")
    }

    fn bytes(&mut self) -> Vec<u8> {
        bytes([self.next()].into_iter())
    }

    fn text(&mut self) -> String {
        String::from_utf8(self.bytes()).expect("text is UTF-8")
    }

    /// Reads up to the word `body` or to the end.
    fn block(&mut self) -> Said {
        let mut said = Said::default();
        while !self.0.is_empty() {
            let word = self.next();
            said.is_there |= word != "tag";
            match word {
                "body" => break,
                "block" => {}
                "status" => said.status = self.number(),
                "id" => said.id = Some(u64::from_str_radix(self.next(), 16).expect("an id in hex")),
                "deadline" => said.deadline = Some(self.number()),
                "trace" => said.trace = Some(trace_of(&self.bytes())),
                "one_way" => said.one_way = true,
                "tag" => {
                    let (tag, value) = (self.number(), self.bytes());
                    said.tag_bytes.extend([tag, u8::try_from(value.len()).expect("at most 255 bytes")]);
                    said.tag_bytes.extend(&value);
                    if said.tag_bytes.len() < 100 {
                        said.tags = said.tags.tag(tag, &value);
                    }
                }
                other => panic!("unknown word {other} in a block"),
            }
        }
        said
    }

    /// Appends what we would send; `None` if a want is not about something that we send.
    fn encode(mut self, crc: &Crc, out: &mut Vec<u8>) -> Option<()> {
        let kind = self.next();
        let mut said = Said::default();
        let (opaque, topic, text, token, body);
        let control = match kind {
            "frame" => {
                let header = Header::from_bits(self.hex());
                encode(out, crc, header, &self.bytes());
                return Some(());
            }
            "ext" => {
                let (header, said) = (Header::from_bits(self.hex()), self.block());
                let mut payload = Vec::new();
                said.extension(Tlvs::from_bytes(&said.tag_bytes).expect("good tags")).encode(&mut payload);
                payload.extend(self.bytes());
                encode(out, crc, header, &payload);
                return Some(());
            }
            "eof" if self.next() == "nothing" => return Some(()),
            "need_more" | "close" | "eof" => return None,
            "ping" => {
                opaque = self.bytes();
                Control::Ping(&opaque)
            }
            "pong" => {
                opaque = self.bytes();
                Control::Pong(&opaque)
            }
            "hello" => {
                let (version, flags) = (self.number(), low(self.hex()));
                (topic, token, said) = (self.text(), self.bytes(), self.block());
                Control::Hello(Hello {
                    version,
                    flags,
                    client_id: &topic,
                    token: &token,
                    tlvs: said.tags.tlvs(),
                })
            }
            "welcome" => {
                let (version, flags) = (self.number(), low(self.hex()));
                let (max_payload, heartbeat_ms) = (self.number(), self.number());
                (topic, text, said) = (self.text(), self.text(), self.block());
                let (server_id, client_id, tlvs) = (&topic, &text, said.tags.tlvs());
                Control::Welcome(Welcome {
                    version,
                    flags,
                    max_payload,
                    heartbeat_ms,
                    server_id,
                    client_id,
                    tlvs,
                })
            }
            "error" => {
                let status = Status::from_code(self.number());
                text = self.text();
                Control::Error { status, text: sendable(&text)? }
            }
            "goaway" => {
                let (status, reconnect_after_ms) = (Status::from_code(self.number()), self.number());
                text = self.text();
                Control::GoAway { status, reconnect_after_ms, text: sendable(&text)? }
            }
            "subscribe" | "unsubscribe" => {
                let flags = low(self.hex());
                (text, topic, said) = (self.text(), self.text(), self.block());
                let subscription =
                    Subscription { flags, group: &text, pattern: &topic, tlvs: said.tags.tlvs() };
                if kind == "subscribe" {
                    Control::Subscribe(subscription)
                } else {
                    Control::Unsubscribe(subscription)
                }
            }
            "publish" => {
                (topic, body, said) = (self.text(), self.bytes(), self.block());
                Control::Publish { topic: &topic, body: &body }
            }
            "message" => {
                (topic, body) = (self.text(), self.bytes());
                Control::Message { topic: &topic, body: &body }
            }
            "ack" => {
                (body, said) = (self.bytes(), self.block());
                Control::Ack { payload: &body }
            }
            "missed" => {
                let count = self.number();
                topic = self.text();
                Control::Missed { count, pattern: &topic }
            }
            "notice" => {
                let (status, header) = (Status::from_code(self.number()), Header::from_bits(self.hex()));
                text = self.text();
                Control::Notice { status, header, text: sendable(&text)? }
            }
            other => panic!("unknown want {other}"),
        };
        let extension = said.is_there.then(|| said.extension(Tlvs::default()));
        ControlFrame { control, extension }.encode(out, crc);
        Some(())
    }
}

impl Said {
    fn extension<'t>(&self, tlvs: Tlvs<'t>) -> Extension<'t> {
        let (status, correlation, deadline_ms) = (Status::from_code(self.status), self.id, self.deadline);
        let (trace, one_way) = (self.trace, self.one_way);
        Extension { status, correlation, deadline_ms, trace, one_way, tlvs, unsupported: None }
    }
}

fn low(bits: u16) -> u8 {
    u8::try_from(bits).expect("flags of one byte")
}

fn trace_of(bytes: &[u8]) -> Trace {
    let (id, rest) = bytes.split_first_chunk().expect("an id of 16 bytes");
    let (parent, rest) = rest.split_first_chunk().expect("a parent of 8 bytes");
    Trace { id: *id, parent: *parent, flags: rest[0] }
}

fn split_points(bytes: usize) -> Vec<usize> {
    let near_ends = |cut: &usize| {
        bytes <= CUT_EVERYWHERE_BYTES || *cut <= CUT_NEAR_ENDS_BYTES || *cut >= bytes - CUT_NEAR_ENDS_BYTES
    };
    (0..bytes).filter(near_ends).collect()
}

fn status_of(code: &str) -> Status {
    Status::from_code(code.parse().expect("a status"))
}

fn text_of(hex: &str) -> String {
    String::from_utf8(bytes([hex].into_iter())).expect("text is UTF-8")
}

/// A text that we would send as it is.
fn sendable(text: &str) -> Option<&str> {
    Some(text).filter(|text| text.len() <= TEXT_BYTES_MAX)
}

const _: () = assert!(PAYLOAD_BYTES_DEFAULT == 1 << 20, "the vectors' limit is the default one");
