//! The cases: sessions as they stand in the file of golden vectors, and those of its streams that a client may send, with
//! what the document makes due for them.
//!
//! The head of the file explains its format. It is compiled in, and a test reads all of it, so what can't be read is a
//! mistake of ours and panics.

use super::Routes;
use super::expect::Expect;
use crate::base::limits::PAYLOAD_BYTES_DEFAULT;
use crate::wire::{Crc, Header, Status};

const FILE: &str = include_str!("../../tests/data/vectors.txt");

/// The routes of the file.
pub(super) const ECHO: u16 = 1;
pub(super) const ONE_WAY: u16 = 2;
pub(super) const MISSING: u16 = 0x3fff;

/// A shorter deadline may be over before an honest server has answered.
const DEADLINE_MS_MIN: u64 = 1000;
/// From here on a server's `max_payload` decides.
const LARGE_BYTES: usize = 64 << 10;

/// Which listener a case is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    Frames,
    Lines,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Send(Vec<u8>),
    Pause,
    Finish,
    Expect(Expect),
}

/// A connection and what belongs to it.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) on: On,
    /// The listener's limit in bytes, if it matters.
    pub(super) payload_max: Option<u32>,
    /// The first bytes are only known for what they are if they come together.
    pub(super) is_indivisible: bool,
    pub(super) steps: Vec<Step>,
}

impl Case {
    /// Bytes that it sends.
    pub(super) fn sent_bytes(&self) -> usize {
        self.steps.iter().map(|step| if let Step::Send(bytes) = step { bytes.len() } else { 0 }).sum()
    }

    fn send(&mut self, bytes: Vec<u8>) {
        self.steps.push(if bytes.is_empty() { Step::Pause } else { Step::Send(bytes) });
    }

    fn expect(&mut self, expect: Expect) {
        self.steps.push(Step::Expect(expect));
    }
}

/// All cases, for a server with these routes.
pub(super) fn cases(routes: Routes) -> Vec<Case> {
    let paragraphs = FILE.split("\n\n").map(|text| {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.split_once(' ').unwrap_or((line, ""))).collect::<Vec<_>>()
    });
    paragraphs.filter(|lines| !lines.is_empty()).filter_map(|lines| case(&lines, routes)).collect()
}

fn case(lines: &[(&str, &str)], routes: Routes) -> Option<Case> {
    let value = |key: &str| lines.iter().find(|(have, _)| *have == key).map(|(_, value)| *value);
    let name = value("case").expect("a case has a name").to_owned();
    let limit = value("limit").map(|limit| limit.parse().expect("a limit in bytes"));
    let mut case = Case { name, on: On::Frames, payload_max: None, is_indivisible: false, steps: Vec::new() };
    match value("kind") {
        Some("session") => {
            case.payload_max = limit;
            session(&mut case, lines, routes);
        }
        Some("frame") if value("from") == Some("client") && limit == Some(PAYLOAD_BYTES_DEFAULT) => {
            case.payload_max = limit;
            let wants = lines.iter().filter(|(key, _)| *key == "want").map(|(_, want)| *want);
            stream(&mut case, bytes(value("bytes").unwrap_or_default()), wants, routes)?;
        }
        Some(_) | None => return None,
    }
    move_frames(&mut case, routes);
    Some(case)
}

fn session(case: &mut Case, lines: &[(&str, &str)], routes: Routes) {
    for (key, value) in lines {
        match *key {
            "on" if *value == "lines" => case.on = On::Lines,
            "send" => case.send(bytes(value)),
            "finish" => case.steps.push(Step::Finish),
            "expect" => case.expect(expect(value, routes)),
            "case" | "kind" | "limit" | "on" => {}
            other => panic!("unknown key {other} in case {}", case.name),
        }
    }
    // An alert is for whoever says TLS at once.
    case.is_indivisible |= case.steps.iter().any(|step| matches!(step, Step::Expect(Expect::Bytes(_))));
}

fn expect(value: &str, routes: Routes) -> Expect {
    let words: Vec<_> = value.split(' ').collect();
    match words[..] {
        ["frame", route, payload] => Expect::Frame { header: header(route, routes), payload: bytes(payload) },
        ["error", code] => Expect::Error { status: status(code) },
        ["ext", route, code, id, body] => Expect::Ext {
            header: header(route, routes),
            status: status(code),
            id: (id != "-").then(|| number(id)),
            body: (body != "*").then(|| bytes(body)),
        },
        ["pong", payload] => Expect::Pong(bytes(payload)),
        ["welcome", version] => Expect::Welcome { version: version.parse().expect("a version") },
        ["ack", code, id] => Expect::Ack { status: status(code), id: number(id) },
        ["notice", code, bits] => Expect::Notice { status: status(code), header: header(bits, routes) },
        ["goaway", code] => Expect::GoAway { status: status(code) },
        ["line", "*"] => Expect::Line,
        ["error_line", code] => Expect::ErrorLine { status: status(code) },
        ["bytes", payload] => Expect::Bytes(bytes(payload)),
        ["end"] => Expect::End,
        _ => panic!("unknown expectation {value}"),
    }
}

/// A stream that a client may send: what is due for each thing that it says. `None` if that is not for everyone to say.
fn stream<'a>(
    case: &mut Case,
    sent: Vec<u8>,
    wants: impl Iterator<Item = &'a str>,
    routes: Routes,
) -> Option<()> {
    let is_large = sent.len() > LARGE_BYTES;
    let mut depends = is_large;
    if !sent.is_empty() {
        case.send(sent);
    }
    let mut ended = false;
    for (place, want) in wants.enumerate() {
        let (kind, rest) = want.split_once(' ').unwrap_or((want, ""));
        let said: Vec<_> = rest.split(' ').collect();
        match kind {
            "frame" => plain(case, said[0], said[1], routes)?,
            "ext" | "unsupported" => extended(case, &said, kind == "unsupported", routes)?,
            "ping" => case.expect(Expect::Pong(bytes(said[0]))),
            "pong" | "need_more" | "eof" => {}
            "hello" if place == 0 => ended = hello(case, &said),
            "subscribe" | "unsubscribe" | "publish" => asked(case, &said),
            "close" => {
                close(case, said[1]);
                depends |= said[0] == "too_large";
                ended = true;
            }
            _ => return None,
        }
    }
    if !ended {
        case.steps.push(Step::Finish);
        case.expect(Expect::End);
    }
    if !depends {
        case.payload_max = None;
    }
    Some(())
}

fn plain(case: &mut Case, bits: &str, payload: &str, routes: Routes) -> Option<()> {
    match hex16(bits) {
        ECHO => {
            let payload = bytes(payload);
            case.expect(Expect::Frame { header: header(bits, routes), payload });
        }
        ONE_WAY => {}
        MISSING => case.expect(Expect::Error { status: Status::NO_ROUTE }),
        _ => return None,
    }
    Some(())
}

/// What a want says of a block: the word behind a name.
fn said_of<'a>(said: &[&'a str], name: &str) -> Option<&'a str> {
    said.iter().position(|word| *word == name).and_then(|place| said.get(place + 1).copied())
}

fn extended(case: &mut Case, said: &[&str], is_unsupported: bool, routes: Routes) -> Option<()> {
    let (header, id) = (header(said[0], routes), said_of(said, "id").map(number));
    let deadline: Option<u64> = said_of(said, "deadline").map(|ms| ms.parse().expect("milliseconds"));
    if deadline.is_some_and(|ms| ms != 0 && ms < DEADLINE_MS_MIN) {
        return None;
    }
    if said.contains(&"one_way") {
        return Some(());
    }
    let mut due = |status, body| case.expect(Expect::Ext { header, status, id, body });
    match (hex16(said[0]) & Header::ROUTE_MAX, deadline) {
        _ if is_unsupported => due(Status::UNSUPPORTED, None),
        (MISSING, _) => due(Status::NO_ROUTE, None),
        (ECHO | ONE_WAY, Some(0)) => due(Status::DEADLINE_EXCEEDED, None),
        (ECHO, _) => due(Status::OK, said_of(said, "body").map(bytes)),
        (ONE_WAY, _) if id.is_some() => due(Status::OK, Some(Vec::new())),
        (ONE_WAY, _) => {}
        _ => return None,
    }
    Some(())
}

/// WELCOME, unless there is no common version or something that must be known; then true, since that ends it.
fn hello(case: &mut Case, said: &[&str]) -> bool {
    let version = said[0].parse().expect("a version");
    let tags = said.windows(2).filter(|two| two[0] == "tag").map(|two| two[1].parse::<u8>().expect("a tag"));
    if version > 0 && !tags.into_iter().any(|tag| tag >= 128) {
        case.expect(Expect::Welcome { version });
        return false;
    }
    close(case, "15");
    true
}

/// SUBSCRIBE and its kin: an answer only for who asked for one.
fn asked(case: &mut Case, said: &[&str]) {
    if let Some(id) = said_of(said, "id") {
        case.expect(Expect::Ack { status: Status::UNSUPPORTED, id: number(id) });
    }
}

fn close(case: &mut Case, code: &str) {
    if code == "-" {
        // Who knows no such protocol may wait for the rest of a frame; then it must end with the client.
        case.is_indivisible = true;
        case.steps.push(Step::Finish);
        return case.expect(Expect::AnythingThenEnd);
    }
    case.expect(Expect::GoAway { status: status(code) });
    case.expect(Expect::End);
}

/// Moves what is sent to the routes that the server has. A wrong CRC stays as wrong as it was.
fn move_frames(case: &mut Case, routes: Routes) {
    if case.on == On::Lines || routes == Routes::default() {
        return;
    }
    let mut stream = Vec::new();
    for step in &case.steps {
        if let Step::Send(bytes) = step {
            stream.extend_from_slice(bytes);
        }
    }
    let (crc, mut at) = (Crc::new(), 0);
    while let Some(&[h0, h1, l0, l1, l2, l3]) = stream[at..].first_chunk::<6>() {
        let header = Header::from_bits(u16::from_be_bytes([h0, h1]));
        let summed = at + 6 + u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let moved = moved(header, routes).bits().to_be_bytes();
        let Some(old) = stream.get(at..summed).map(|frame| crc.of(frame)) else {
            stream[at..at + 2].copy_from_slice(&moved);
            break;
        };
        stream[at..at + 2].copy_from_slice(&moved);
        let change = old ^ crc.of(&stream[at..summed]);
        for (byte, change) in stream[summed..].iter_mut().zip(change.to_be_bytes()) {
            *byte ^= change;
        }
        at = (summed + 4).min(stream.len());
    }
    let mut rest = &stream[..];
    for step in &mut case.steps {
        if let Step::Send(bytes) = step {
            let (front, behind) = rest.split_at(bytes.len());
            bytes.copy_from_slice(front);
            rest = behind;
        }
    }
}

fn moved(header: Header, routes: Routes) -> Header {
    let route = match header.route_or_code() {
        _ if header.is_control() => return header,
        ECHO => routes.echo,
        ONE_WAY => routes.one_way,
        MISSING => routes.missing,
        _ => return header,
    };
    Header::from_bits(header.bits() & Header::EXT | Header::route(route).bits())
}

fn header(bits: &str, routes: Routes) -> Header {
    moved(Header::from_bits(hex16(bits)), routes)
}

fn hex16(bits: &str) -> u16 {
    u16::from_str_radix(bits, 16).expect("a header in hex")
}

fn number(hex: &str) -> u64 {
    u64::from_str_radix(hex, 16).expect("an id in hex")
}

fn status(code: &str) -> Status {
    Status::from_code(code.parse().expect("a status"))
}

/// Hex words joined; `61*3` repeats; `-` is nothing.
fn bytes(words: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for word in words.split(' ').filter(|word| *word != "-") {
        let (digits, count) = word.split_once('*').unwrap_or((word, "1"));
        let pairs = (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]);
        let once: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect();
        out.extend(once.repeat(count.parse().expect("a count")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Decoded, FrameLimits, decode};

    /// Elsewhere the same frames are sent, and those that were damaged still are.
    #[test]
    fn frames_move_to_other_routes() {
        let elsewhere = Routes { echo: 77, one_way: 1, missing: 2 };
        let (here, there) = (cases(Routes::default()), cases(elsewhere));
        assert_eq!(here.len(), there.len());
        let sent = |case: &Case| -> Vec<u8> {
            let sends = case.steps.iter().filter_map(|step| match step {
                Step::Send(bytes) => Some(&bytes[..]),
                Step::Pause | Step::Finish | Step::Expect(_) => None,
            });
            sends.flatten().copied().collect()
        };
        let crc = Crc::new();
        for (here, there) in here.iter().zip(&there).filter(|(here, _)| here.on == On::Frames) {
            let (old, new) = (sent(here), sent(there));
            assert_eq!(old.len(), new.len(), "case {}", here.name);
            let (mut old, mut new) = (&old[..], &new[..]);
            let limits = FrameLimits::new(PAYLOAD_BYTES_DEFAULT);
            loop {
                match (decode(old, limits, &crc), decode(new, limits, &crc)) {
                    (Ok(Decoded::Frame(a)), Ok(Decoded::Frame(b))) => {
                        assert_eq!(
                            (moved(a.header, elsewhere), a.payload),
                            (b.header, b.payload),
                            "{}",
                            here.name
                        );
                        (old, new) = (&old[a.frame_bytes()..], &new[b.frame_bytes()..]);
                    }
                    (Err(_), Err(_)) => break,
                    (a, b) => {
                        assert_eq!(a, b, "case {}", here.name);
                        break;
                    }
                }
            }
        }
        let echo = there.iter().find(|case| case.name == "session_echo").expect("it is there");
        let want = Expect::Frame { header: Header::route(77), payload: b"hello".to_vec() };
        assert_eq!(echo.steps[1], Step::Expect(want));
    }
}
