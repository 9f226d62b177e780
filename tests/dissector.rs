//! The Wireshark dissector, docs/operate/tidegate.lua: every golden vector, as packets of a capture, is shown by tshark as
//! what it is, however it is cut.

#![cfg(feature = "cli")]

#[path = "dissector/capture.rs"]
mod capture;
#[path = "vectors/describe.rs"]
mod describe;
#[path = "vectors/file.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod file;
#[path = "vectors/peer.rs"]
mod peer;
#[path = "dissector/shown.rs"]
mod shown;

use capture::{Capture, Side};
use describe::describe;
use file::{Case, bytes, hex};
use peer::Peer;
use serde_json::Value;
use shown::Shown;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use tidegate::base::limits::{LINE_BYTES_DEFAULT, PAYLOAD_BYTES_DEFAULT};

const VECTORS: &str = include_str!("data/vectors.txt");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operate/tidegate.lua");
const FRAMES: u16 = 7411;
const LINES: u16 = 7412;

/// Streams up to this size are cut in other ways, too; larger ones come in segments as large as may be.
const CUT_BYTES_MAX: usize = 4096;
/// So many bytes of a stream come one by one.
const SINGLE_BYTES: usize = 60;

/// One stream of one side.
struct Play<'a> {
    name: String,
    port: u16,
    side: Side,
    segments: Vec<&'a [u8]>,
    /// Its end comes with its last segment.
    ends: bool,
    wants: Vec<String>,
}

/// What a case is to the dissector: one stream, and what must be shown of it.
struct Stream<'a> {
    case: Case<'a>,
    is_lines: bool,
    side: Side,
    /// As the case has them, each a segment.
    pieces: Vec<Vec<u8>>,
    wants: Vec<String>,
}

impl<'a> Stream<'a> {
    /// `None` for what no stream shows.
    fn of(case: &Case<'a>) -> Option<Stream<'a>> {
        let mut case = case.clone();
        let mut is_lines = case.kind == "line";
        let mut pieces = vec![case.bytes.clone()];
        let mut wants = case.wants.clone();
        match case.kind {
            // The checksum of bytes that are no frame.
            "crc" => return None,
            "frame" | "line" => {}
            "error_line" => {
                case.from_server = true;
                (is_lines, case.limit) = (true, LINE_BYTES_DEFAULT);
                wants = vec![without_controls(&wants[0])];
            }
            "tls_alert" => {
                case.from_server = true;
                (wants, case.limit) = (vec!["close tls -".to_owned()], PAYLOAD_BYTES_DEFAULT);
            }
            "session" => {
                is_lines = case.on_lines;
                let usual = if is_lines { LINE_BYTES_DEFAULT } else { PAYLOAD_BYTES_DEFAULT };
                case.limit = if case.limit == 0 { usual } else { case.limit };
                case.kind = if is_lines { "line" } else { "frame" };
                pieces.clone_from(&case.sends);
                wants = said_by_a_client(&case);
            }
            other => panic!("unknown kind {other}"),
        }
        let side = if case.from_server { Side::Server } else { Side::Client };
        let wants = wants.iter().filter_map(|want| shown_for(want)).collect();
        Some(Stream { case, is_lines, side, pieces, wants })
    }

    /// The ways to cut it. Who sends another protocol sends its first bytes in one piece.
    fn plays<'w>(&self, whole: &'w [u8]) -> Vec<Play<'w>> {
        let mut cuts = vec![("whole", vec![whole])];
        let is_foreign = self.wants.iter().any(|want| FOREIGN.contains(&want.as_str()));
        if (2..CUT_BYTES_MAX).contains(&whole.len()) && !is_foreign {
            cuts.push(("halves", vec![&whole[..whole.len() / 2], &whole[whole.len() / 2..]]));
            let (front, rest) = whole.split_at(whole.len().min(SINGLE_BYTES));
            cuts.push(("bytes", front.chunks(1).chain((!rest.is_empty()).then_some(rest)).collect()));
        }
        if self.pieces.len() > 1 {
            let mut rest = whole;
            let mut take = |piece: &Vec<u8>| rest.split_off(..piece.len()).expect("they are the whole");
            cuts.push((
                "as sent",
                self.pieces.iter().map(&mut take).filter(|piece| !piece.is_empty()).collect(),
            ));
        }
        let port = if self.is_lines { LINES } else { FRAMES };
        let ends = self.case.wants.iter().any(|want| want.starts_with("eof ")) || self.case.on_lines;
        let play = |(how, segments): (&str, Vec<&'w [u8]>)| {
            let (name, wants) = (format!("{} ({how})", self.case.name), self.wants.clone());
            Play { name, port, side: self.side, segments, ends, wants }
        };
        // The end is seen where it comes with bytes that the dissector is asked about; so not behind half a frame.
        if self.wants.last().is_some_and(|want| want == "close truncated") {
            cuts.truncate(1);
        }
        cuts.into_iter().map(play).collect()
    }
}

const FOREIGN: [&str; 4] = ["close tls", "close http", "close resp", "close proxy"];

/// The codec's own reading of what a session's client sends, with what only a connection can say: HELLO comes first.
fn said_by_a_client(case: &Case<'_>) -> Vec<String> {
    let mut peer = Peer::new(case);
    peer.take(&[]);
    case.sends.iter().for_each(|piece| peer.take(piece));
    let mut said = peer.finish(case.on_lines);
    if let Some(at) = said.iter().skip(1).position(|want| want.starts_with("hello ")) {
        said.truncate(at + 1);
        said.push("close late_hello 1".to_owned());
    }
    said
}

/// Control characters became spaces when the line was made.
fn without_controls(want: &str) -> String {
    let (front, text) = want.rsplit_once(' ').expect("a text");
    let text = bytes([text].into_iter());
    let plain: Vec<u8> = text.iter().map(|byte| if byte.is_ascii_control() { b' ' } else { *byte }).collect();
    format!("{front} {}", hex(&plain))
}

/// A want as the dissector shows it, in full: nothing for a frame that is not whole, unless the stream ends there.
fn shown_for(want: &str) -> Option<String> {
    let words: Vec<&str> = want.split(' ').collect();
    match words[..] {
        ["need_more", ..] | ["eof", "nothing"] => None,
        ["eof", "truncated"] => Some("close truncated".to_owned()),
        ["eof", "line", payload] => Some(format!("line {}", in_full(payload))),
        ["close", reason, _] => Some(format!("close {reason}")),
        _ => Some(words.iter().map(|word| in_full(word)).collect::<Vec<_>>().join(" ")),
    }
}

/// Without `61*3`.
fn in_full(word: &str) -> String {
    if !word.contains('*') {
        return word.to_owned();
    }
    bytes([word].into_iter()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What tshark tells of a capture, packet by packet. `None`, and a line that says so, if it is not installed.
#[expect(clippy::print_stderr, reason = "a test that checks nothing must say so")]
fn tshark(capture: &Capture, name: &str, options: &[&str]) -> Option<Vec<Value>> {
    let place = Place::new(name);
    std::fs::write(&place.0, &capture.bytes).expect("there is room");
    let mut command = Command::new("tshark");
    command.arg("-r").arg(&place.0).args(["-X", &format!("lua_script:{SCRIPT}")]).args(options);
    command.args(["-T", "json", "-x", "--no-duplicate-keys", "-J", "tidegate tidegate_lines"]);
    let Ok(told) = command.output() else {
        eprintln!("skipped: tshark is not installed (Debian: apt-get install tshark)");
        return None;
    };
    let errors = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success() && !errors.contains("Lua"), "{errors}");
    let packets: Vec<Value> = serde_json::from_slice(&told.stdout).expect("JSON");
    assert_eq!(packets.len(), capture.owners.len(), "every packet is told of");
    Some(packets.into_iter().map(|mut packet| packet["_source"]["layers"].take()).collect())
}

/// A file that is gone afterwards.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let name = format!("tidegate-{}-{name}.pcap", std::process::id());
        Place(std::env::temp_dir().join(name))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Plays them all, and says what was shown otherwise than wanted. `None` without tshark.
fn play(limit: u32, plays: &[Play<'_>]) -> Option<Vec<String>> {
    let mut capture = Capture::new();
    for play in plays {
        let mut wire = capture.connect(play.port);
        for (segment, at) in play.segments.iter().zip(1..) {
            wire.send(play.side, segment, play.ends && at == play.segments.len());
        }
    }
    let options = [format!("tidegate.max_payload:{limit}"), format!("tidegate_lines.max_payload:{limit}")];
    let packets = tshark(&capture, &limit.to_string(), &["-o", &options[0], "-o", &options[1]])?;
    let mut shown = vec![Vec::new(); plays.len()];
    for (layers, owner) in packets.iter().zip(&capture.owners) {
        let frames = Shown::all(layers, "tidegate");
        shown[*owner].extend(frames.iter().filter_map(Shown::frame));
        shown[*owner].extend(Shown::all(layers, "tidegate_lines").iter().filter_map(Shown::line));
    }
    let differs = plays.iter().zip(shown).filter(|(play, shown)| play.wants != *shown);
    let short = |wants: &[String]| format!("{wants:?}").chars().take(300).collect::<String>();
    let tell = |(play, shown): (&Play<'_>, Vec<String>)| {
        format!("{}\n  wants {}\n  shows {}", play.name, short(&play.wants), short(&shown))
    };
    Some(differs.map(tell).collect())
}

#[test]
fn every_vector_is_shown_as_what_it_is() {
    let cases = Case::read_all(VECTORS);
    let streams: Vec<Stream<'_>> = cases.iter().filter_map(Stream::of).collect();
    assert_eq!(cases.len() - streams.len(), cases.iter().filter(|case| case.kind == "crc").count());
    let wholes: Vec<Vec<u8>> = streams.iter().map(|stream| stream.pieces.concat()).collect();
    let mut by_limit: BTreeMap<u32, Vec<Play<'_>>> = BTreeMap::new();
    for (stream, whole) in streams.iter().zip(&wholes) {
        by_limit.entry(stream.case.limit).or_default().extend(stream.plays(whole));
    }
    let faults = streams.iter().filter(|stream| stream.wants.iter().any(|want| want.starts_with("close ")));
    assert!(faults.count() > 180, "invalid ones are among them");
    let mut wrong = Vec::new();
    for (limit, plays) in &by_limit {
        let Some(found) = play(*limit, plays) else { return };
        wrong.extend(found);
    }
    assert!(wrong.is_empty(), "{} are shown otherwise:\n{}", wrong.len(), wrong.join("\n"));
}

/// A session as a person looks at it, whose packets are dissected once in order and then shown.
#[test]
fn replies_lead_to_their_requests_and_nothing_behind_a_fault_is_taken_for_a_frame() {
    let of = |name: &str| {
        Case::read_all(VECTORS).into_iter().find(|case| case.name == name).expect("a case").bytes
    };
    let mut capture = Capture::new();
    let mut wire = capture.connect(FRAMES);
    wire.send(Side::Client, &of("hello"), false); // 3
    wire.send(Side::Server, &of("welcome"), false); // 4
    wire.send(Side::Client, &of("ext_correlation")[..9], false); // 5
    wire.send(Side::Client, &of("ext_correlation")[9..], false); // 6
    wire.send(Side::Server, &of("ext_no_route"), false); // 7
    wire.send(Side::Client, &of("crc_little_endian"), false); // 8
    wire.send(Side::Client, &of("worked_example"), false); // 9
    wire.send(Side::Server, &of("goaway_protocol"), false); // 10
    assert_eq!(wire.number(), 0);
    let Some(packets) = tshark(&capture, "session", &["-2"]) else { return };
    let frame = |packet: usize| {
        let mut shown = Shown::all(&packets[packet - 1], "tidegate");
        assert_eq!(shown.len(), 1, "packet {packet}");
        shown.remove(0)
    };
    assert!(Shown::all(&packets[4], "tidegate").is_empty(), "half a frame is none");
    assert_eq!(frame(6).text("tidegate.reply_in"), Some("7"));
    assert_eq!(frame(7).text("tidegate.request_in"), Some("6"));
    assert_eq!(frame(7).text("tidegate.time"), Some("0.001000000"));
    assert!(frame(7).has("tidegate.expert.refused"));
    assert_eq!(frame(8).reason(), Some("bad_crc"));
    assert_eq!((frame(9).frame(), frame(9).has("tidegate.behind")), (None, true));
    assert_eq!(frame(10).frame().as_deref(), Some("goaway 1 0 -"), "the other side goes on");
    assert!(frame(10).has("tidegate.expert.goaway"));
}
