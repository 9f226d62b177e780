//! A profile as `go tool pprof` and its like read it: profile.proto (github.com/google/pprof), packed by gzip.
//!
//! Always holds: the string at 0 is empty; ids begin with 1; a stack's locations begin with what was running. Only what a
//! reader needs is written, and that by hand: six kinds of messages, of numbers and texts.

use super::Profile;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

/// A message under construction. Fields are numbered as profile.proto has them.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    /// A number; 0 is what is not written.
    fn number(&mut self, field: u64, value: u64) -> &mut Message {
        if value != 0 {
            self.varint(field << 3);
            self.varint(value);
        }
        self
    }

    /// Text, or a message within this one.
    fn bytes(&mut self, field: u64, bytes: &[u8]) -> &mut Message {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    /// Numbers in a row.
    fn numbers(&mut self, field: u64, values: impl IntoIterator<Item = u64>) -> &mut Message {
        let mut row = Message::default();
        values.into_iter().for_each(|value| row.varint(value));
        self.bytes(field, &row.0)
    }
}

/// Texts, each once.
struct Strings<'a> {
    places: HashMap<&'a str, u64>,
    all: Vec<&'a str>,
}

impl<'a> Strings<'a> {
    fn place(&mut self, text: &'a str) -> u64 {
        *self.places.entry(text).or_insert_with(|| {
            self.all.push(text);
            self.all.len() as u64 - 1
        })
    }
}

/// The whole, packed.
pub(in crate::control) fn proto(profile: &Profile) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    // A vector takes everything.
    let _ = packed.write_all(&plain(profile));
    packed.finish().unwrap_or_default()
}

fn plain(profile: &Profile) -> Vec<u8> {
    let words = profile.words();
    let mut strings = Strings { places: HashMap::from([("", 0)]), all: vec![""] };
    let mut out = Message::default();
    let [samples, count, cpu, nanoseconds] =
        ["samples", "count", "cpu", "nanoseconds"].map(|text| strings.place(text));
    for (kind, unit) in [(samples, count), (cpu, nanoseconds)] {
        out.bytes(1, &value_type(kind, unit).0);
    }
    let thread = strings.place("thread");
    for stack in &profile.stacks {
        let mut label = Message::default();
        label.number(1, thread).number(2, strings.place(&profile.frames[stack.frames[0]].name));
        let mut sample = Message::default();
        sample
            .numbers(1, stack.frames.iter().rev().map(|at| *at as u64 + 1))
            .numbers(2, [stack.samples, nanos(stack.time)])
            .bytes(3, &label.0);
        out.bytes(2, &sample.0);
    }
    // One mapping that has its names already, so that no reader looks for them in a file.
    let mut mapping = Message::default();
    mapping.number(1, 1).number(5, strings.place("tidegate"));
    for has in [7, 8, 9] {
        mapping.number(has, 1);
    }
    out.bytes(3, &mapping.0);
    places(profile, &mut strings, &mut out);
    let comments = words.each_ref().map(|words| strings.place(words));
    for text in &strings.all {
        out.bytes(6, text.as_bytes());
    }
    out.number(9, nanos(profile.began.duration_since(UNIX_EPOCH).unwrap_or_default()))
        .number(10, nanos(profile.lasted))
        .bytes(11, &value_type(cpu, nanoseconds).0)
        .number(12, nanos(profile.period()))
        .numbers(13, comments);
    out.0
}

/// A location for each frame, with its line, and a function for each name in a file.
fn places<'a>(profile: &'a Profile, strings: &mut Strings<'a>, out: &mut Message) {
    let mut functions: HashMap<(&str, &str), u64> = HashMap::new();
    for (frame, location) in profile.frames.iter().zip(1..) {
        let next = functions.len() as u64 + 1;
        let id = *functions.entry((&frame.name, &frame.file)).or_insert(next);
        if id == next {
            let name = strings.place(&frame.name);
            let mut function = Message::default();
            function.number(1, id).number(2, name).number(3, name).number(4, strings.place(&frame.file));
            out.bytes(5, &function.0);
        }
        let mut line = Message::default();
        line.number(1, id).number(2, frame.line.into());
        let mut place = Message::default();
        place.number(1, location).number(2, 1).bytes(4, &line.0);
        out.bytes(4, &place.0);
    }
}

fn value_type(kind: u64, unit: u64) -> Message {
    let mut message = Message::default();
    message.number(1, kind).number(2, unit);
    message
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::stacks::tests::example;
    use super::*;
    use std::io::Read;

    #[test]
    fn numbers_are_as_the_encoding_has_them() {
        #[rustfmt::skip]
        let table: [(u64, &[u8]); 5] = [
            (1, &[0x08, 1]), (127, &[0x08, 0x7f]), (128, &[0x08, 0x80, 1]), (300, &[0x08, 0xac, 2]), (0, &[]),
        ];
        for (number, want) in table {
            let mut message = Message::default();
            assert_eq!(message.number(1, number).0, want, "case: {number}");
        }
        let mut message = Message::default();
        message.number(1, u64::MAX);
        assert_eq!(message.0.len(), 11);
        let mut message = Message::default();
        assert_eq!(message.bytes(2, b"testing").0, b"\x12\x07testing");
        let mut message = Message::default();
        assert_eq!(message.numbers(4, [3, 270, 86942]).0, b"\x22\x06\x03\x8e\x02\x9e\xa7\x05");
    }

    /// `tests/profile.rs` reads one with a reader of its own; here is what holds between its parts.
    #[test]
    fn the_whole_is_packed_and_names_each_function_once() {
        let profile = example();
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&proto(&profile)[..]).read_to_end(&mut text).expect("it is gzip");
        assert_eq!(text, plain(&profile));
        let times = |name: &[u8]| text.windows(name.len()).filter(|part| *part == name).count();
        assert_eq!([times(b"tidegate::serve"), times(b"[kernel]"), times(b"tidegate-1")], [1, 1, 1]);
    }
}
