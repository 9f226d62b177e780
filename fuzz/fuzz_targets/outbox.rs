//! Law: whatever replies are gathered, the slices of the write, joined, are the replies, and what a
//! socket did not take is their end. The input is a choice of protocol and a script of calls.
#![no_main]

use bytes::Bytes;
use std::convert::Infallible;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::LazyLock;
use tidegate::base::CloseReason;
use tidegate::base::limits::{FORWARD_BYTES_MIN, SLICES_PER_WRITE};
use tidegate::session::{
    Envelope, Inputs, Outbox, Part, Protocol, Segment, Source, Tally, Unwritten, status_of,
};
use tidegate::wire::{Control, Header, Status, TLS_ALERT};
use tidegate_fuzz::{Cut, model};

/// Payloads of the inputs' messages, in bytes: around the size from which a part is referred to and not copied.
const SIZES: [usize; 6] = [0, 1, 300, FORWARD_BYTES_MIN - 1, FORWARD_BYTES_MIN, FORWARD_BYTES_MIN + 5000];
const TEXTS: [&str; 4] = ["", "try later", "zu groß: 水", "a\r\nb\tc"];
/// More than a batch makes; keeps one run short.
const MODEL_BYTES_MAX: usize = 256 << 10;

/// A batch's inputs, each full of messages of every size.
struct Input {
    bytes: Vec<u8>,
    messages: Vec<(Header, Range<usize>)>,
}

impl Input {
    fn new(protocol: Protocol, salt: u8) -> Input {
        let mut input = Input { bytes: vec![salt; 3], messages: Vec::new() };
        for (place, size) in (0u8..).zip(SIZES) {
            let header = Header::route(u16::from(place + salt));
            let payload = vec![b'a' + place + salt; size];
            let (bytes, before) = match protocol {
                Protocol::Frame => (model::frame(header.bits(), &payload), 6),
                Protocol::Line => ([&payload[..], b"\n"].concat(), 0),
            };
            let start = input.bytes.len() + before;
            input.messages.push((header, start..start + size));
            input.bytes.extend(bytes);
        }
        input
    }
}

static FRAMES: LazyLock<[Input; 2]> = LazyLock::new(|| [0, 10].map(|salt| Input::new(Protocol::Frame, salt)));
static LINES: LazyLock<[Input; 2]> = LazyLock::new(|| [0, 10].map(|salt| Input::new(Protocol::Line, salt)));

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut script = Script::new(Cut::new(data));
    let mut outbox = Outbox::new();
    while !script.cut.is_empty() && script.wire.len() < MODEL_BYTES_MAX {
        script.step(&mut outbox);
        assert_eq!(outbox.bytes(), script.wire.len());
        assert_eq!(outbox.is_empty(), script.wire.is_empty());
        assert_eq!(outbox.tally(), script.tally);
    }
    script.compare(&mut outbox);
});

struct Script<'a> {
    cut: Cut<'a>,
    protocol: Protocol,
    sources: &'static [Input; 2],
    /// What should leave.
    wire: Vec<u8>,
    tally: Tally,
}

impl<'a> Script<'a> {
    fn new(mut cut: Cut<'a>) -> Script<'a> {
        let protocol = cut.pick(&[Protocol::Frame, Protocol::Line]);
        let sources = match protocol {
            Protocol::Frame => &*FRAMES,
            Protocol::Line => &*LINES,
        };
        Script { cut, protocol, sources, wire: Vec::new(), tally: Tally::default() }
    }

    fn inputs(&self) -> Inputs<'static> {
        Inputs { ring: &self.sources[0].bytes, scratch: &self.sources[1].bytes }
    }

    fn step(&mut self, outbox: &mut Outbox) {
        outbox.set_protocol(self.protocol);
        match self.cut.u8() % 12 {
            0 => self.reply(outbox),
            1 => self.gathered(outbox),
            2 => self.forward_whole(outbox),
            3 => self.forward_part(outbox),
            4 => self.shared(outbox),
            5 => self.failure(outbox),
            6 => self.control(outbox),
            7 => self.farewell(outbox),
            8 => {
                outbox.silence();
                self.tally.silent += 1;
            }
            9 => self.compare(outbox),
            10 => {
                self.compare(outbox);
                outbox.clear();
                *self = Script::new(self.cut.clone());
            }
            _ => {
                for _ in 0..self.cut.u8() % 48 {
                    self.forward_whole(outbox);
                }
            }
        }
    }

    fn header(&mut self) -> Header {
        Header::route(self.cut.u16() & Header::ROUTE_MAX)
    }

    fn due(&mut self, header: Header, payload: &[u8]) {
        match self.protocol {
            Protocol::Frame => self.wire.extend(model::frame(header.bits(), payload)),
            Protocol::Line => self.wire.extend([payload, b"\n"].concat()),
        }
        self.tally.answered += 1;
    }

    fn reply(&mut self, outbox: &mut Outbox) {
        let header = self.header();
        let size = usize::from(self.cut.u8());
        let payload = self.cut.bytes(size);
        outbox.reply(header, payload).expect("a short reply");
        self.due(header, payload);
    }

    /// A range of either input that may lie anywhere in it.
    fn range(&mut self) -> (Source, Range<usize>) {
        let choice = self.cut.u8();
        let (source, input) = match choice & 1 {
            0 => (Source::Ring, &self.sources[0]),
            _ => (Source::Scratch, &self.sources[1]),
        };
        let start = usize::from(self.cut.u16()) % input.bytes.len();
        let size =
            [0, 1, 100, FORWARD_BYTES_MIN - 1, FORWARD_BYTES_MIN, 20_000][usize::from(choice >> 1) % 6];
        (source, start..(start + size).min(input.bytes.len()))
    }

    fn part(&mut self) -> Part<'static> {
        let (source, range) = self.range();
        self.inputs().part(source, range, None)
    }

    fn gathered(&mut self, outbox: &mut Outbox) {
        let header = self.header();
        let (mut segments, mut payload) = (Vec::new(), Vec::new());
        for _ in 0..self.cut.u8() % 8 {
            let segment = if self.cut.u8().is_multiple_of(3) {
                Segment::Copy(self.cut.bytes(5))
            } else {
                Segment::Forward(self.part())
            };
            payload.extend(match &segment {
                Segment::Copy(bytes) => bytes,
                Segment::Forward(part) => part.bytes(),
            });
            segments.push(segment);
        }
        outbox.reply_gathered(header, &segments).expect("a short reply");
        self.due(header, &payload);
    }

    fn forward_whole(&mut self, outbox: &mut Outbox) {
        let choice = self.cut.u8();
        let source = if choice & 1 == 0 { Source::Ring } else { Source::Scratch };
        let messages = &self.sources[usize::from(choice & 1)].messages;
        let (header, range) = messages[usize::from(choice >> 1) % messages.len()].clone();
        let envelope = match self.protocol {
            Protocol::Frame => Envelope { before: 6, after: 4 },
            Protocol::Line => Envelope { before: 0, after: 1 },
        };
        let part = self.inputs().part(source, range, Some(envelope));
        outbox.reply_forward(header, part).expect("a short reply");
        self.due(header, part.bytes());
    }

    fn forward_part(&mut self, outbox: &mut Outbox) {
        let (header, part) = (self.header(), self.part());
        outbox.reply_forward(header, part).expect("a short reply");
        self.due(header, part.bytes());
    }

    fn shared(&mut self, outbox: &mut Outbox) {
        let (header, (source, range)) = (self.header(), self.range());
        let inputs = self.inputs();
        let all = match source {
            Source::Ring => inputs.ring,
            Source::Scratch => inputs.scratch,
        };
        let payload = &all[range];
        outbox.reply_shared(header, Bytes::from_static(payload)).expect("a short reply");
        self.due(header, payload);
    }

    fn failure(&mut self, outbox: &mut Outbox) {
        let (status, text) = (Status::from_code(self.cut.u16()), self.cut.pick(&TEXTS));
        outbox.failure(status, text);
        self.tally.failed += 1;
        match self.protocol {
            Protocol::Frame => {
                let payload = [&status.code().to_be_bytes()[..], text.as_bytes()].concat();
                self.wire.extend(model::frame(0x4004, &payload));
            }
            Protocol::Line => {
                let text = text.replace(char::is_control, " ");
                let space = if text.is_empty() { "" } else { " " };
                let line = format!("ERR {} {}{space}{text}\n", status.code(), status.name());
                self.wire.extend(line.as_bytes());
            }
        }
    }

    fn control(&mut self, outbox: &mut Outbox) {
        let (choice, opaque) = (self.cut.u8(), self.cut.bytes(9));
        let (control, bits) = match choice & 1 {
            0 => (Control::Ping(opaque), 0x4000),
            _ => (Control::Pong(opaque), 0x4001),
        };
        outbox.control(&control);
        self.wire.extend(model::frame(bits, opaque));
    }

    fn farewell(&mut self, outbox: &mut Outbox) {
        if self.protocol == Protocol::Line {
            return;
        }
        let (why, text) = (self.cut.pick(CloseReason::ALL), self.cut.pick(&TEXTS));
        outbox.farewell(why, text);
        match status_of(why) {
            None => {}
            Some(_) if why == CloseReason::TlsOnPlain => self.wire.extend(TLS_ALERT),
            Some(status) => {
                let payload = [&status.code().to_be_bytes()[..], &[0; 4], text.as_bytes()].concat();
                self.wire.extend(model::frame(0x4005, &payload));
            }
        }
    }

    /// What would be written, and what would be kept of it after a write of some of it.
    fn compare(&mut self, outbox: &mut Outbox) {
        outbox.seal();
        let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
        let count = outbox.slices(self.inputs(), &mut slices);
        let mut joined = Vec::with_capacity(self.wire.len());
        slices[..count].iter().for_each(|slice| joined.extend_from_slice(slice));
        if let Some(slice) = outbox.single_slice() {
            assert!(slice == self.wire, "the one slice is not all");
        }
        assert!(joined == self.wire, "{} bytes would be written, {} are due", joined.len(), self.wire.len());

        let choice = usize::from(self.cut.u16());
        for written in [0, choice, choice << 6, self.wire.len()] {
            let written = written % (self.wire.len() + 1);
            let mut kept = Vec::new();
            let Ok(()) = outbox.unwritten(self.inputs(), written, |rest| {
                match rest {
                    Unwritten::Bytes(bytes) => kept.extend_from_slice(bytes),
                    Unwritten::Shared(bytes) => kept.extend_from_slice(&bytes),
                }
                Ok::<(), Infallible>(())
            });
            assert!(kept == self.wire[written..], "{} bytes kept behind {written}", kept.len());
        }
        let mut asked = 0;
        let refused = outbox.unwritten(self.inputs(), 0, |_| {
            asked += 1;
            Err(())
        });
        assert_eq!((refused.is_err(), asked), if self.wire.is_empty() { (false, 0) } else { (true, 1) });
    }
}
