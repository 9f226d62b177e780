//! Law: whatever replies are gathered, the slices of the write, joined, are the replies, and what a
//! socket did not take is their end. The input is a choice of protocol and a script of calls.
#![no_main]

use bytes::Bytes;
use std::convert::Infallible;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::LazyLock;
use tidegate::base::CloseReason;
use tidegate::base::limits::{FORWARD_BYTES_MIN, PAYLOAD_BYTES_MAX, SLICES_PER_WRITE};
use tidegate::session::{
    Envelope, Failure, Inputs, Leave, Outbox, Part, Protocol, ReplyTo, Segment, Source, Tally, TooLargeReply,
    Unwritten, status_of,
};
use tidegate::wire::{Control, ControlFrame, Extension, Header, Status, TLS_ALERT};
use tidegate_fuzz::owed::reply_block;
use tidegate_fuzz::{Cut, model};

/// Payloads of the inputs' messages, in bytes: around the size from which a part is referred to and not copied.
const SIZES: [usize; 6] = [0, 1, 300, FORWARD_BYTES_MIN - 1, FORWARD_BYTES_MIN, FORWARD_BYTES_MIN + 5000];
/// The last one is over what is sent of a text, and has no character's end there.
static TEXTS: LazyLock<[String; 5]> = LazyLock::new(|| {
    ["", "try later", "zu groß: 水", "a\r\nb\tc", &format!("x{}", "é".repeat(300))].map(str::to_owned)
});
/// More than a batch makes; keeps one run short.
const MODEL_BYTES_MAX: usize = 256 << 10;

/// Where a reply goes, and the same for the model.
#[derive(Clone, Copy, Debug)]
struct To {
    to: ReplyTo,
    bits: u16,
    shape: Shape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Plain,
    /// With a block, and maybe a correlation.
    Extended(Option<u64>),
    /// Nothing is wanted.
    OneWay,
}

impl To {
    fn new(route: u16, shape: Shape) -> To {
        let bits = if shape == Shape::Plain { route } else { 0x8000 | route };
        let header = Header::from_bits(bits);
        let to = match shape {
            Shape::Plain => ReplyTo::plain(header),
            Shape::Extended(correlation) => {
                ReplyTo::extended(header, &Extension { correlation, ..Extension::default() })
            }
            Shape::OneWay => ReplyTo::extended(header, &Extension { one_way: true, ..Extension::default() }),
        };
        To { to, bits, shape }
    }

    /// The block that a reply begins with.
    fn block(self, status: u16) -> Vec<u8> {
        match self.shape {
            Shape::Plain | Shape::OneWay => Vec::new(),
            Shape::Extended(id) => reply_block(id, status),
        }
    }
}

/// A batch's inputs, each full of messages of every size.
struct Input {
    bytes: Vec<u8>,
    messages: Vec<(To, Range<usize>)>,
}

impl Input {
    /// Plain ones first, one behind the other; with frames, then some whose replies have the same block.
    fn new(protocol: Protocol, salt: u8) -> Input {
        let mut input = Input { bytes: vec![salt; 3], messages: Vec::new() };
        let shapes: &[Shape] = match protocol {
            Protocol::Frame => {
                &[Shape::Plain, Shape::Extended(None), Shape::Extended(Some(0x0102_0304_0506_0708))]
            }
            Protocol::Bare | Protocol::Line => &[Shape::Plain],
        };
        for shape in shapes {
            for (place, size) in (0u8..).zip(SIZES) {
                let to = To::new(u16::from(place + salt), *shape);
                input.push(protocol, to, &vec![b'a' + place + salt; size]);
            }
        }
        input
    }

    fn push(&mut self, protocol: Protocol, to: To, body: &[u8]) {
        let block = to.block(0);
        let (bytes, before) = match protocol {
            Protocol::Frame | Protocol::Bare => {
                (model::frame(to.bits, &[&block, body].concat()), 6 + block.len())
            }
            Protocol::Line => ([body, b"\n"].concat(), 0),
        };
        let start = self.bytes.len() + before;
        self.messages.push((to, start..start + body.len()));
        self.bytes.extend(bytes);
    }
}

static FRAMES: LazyLock<[Input; 2]> = LazyLock::new(|| [0, 10].map(|salt| Input::new(Protocol::Frame, salt)));
static BARE: LazyLock<[Input; 2]> = LazyLock::new(|| [0, 10].map(|salt| Input::new(Protocol::Bare, salt)));
static LINES: LazyLock<[Input; 2]> = LazyLock::new(|| [0, 10].map(|salt| Input::new(Protocol::Line, salt)));

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut script = Script::new(Cut::new(data));
    let mut outbox = Outbox::new();
    while !script.cut.is_empty() && script.wire.len() < MODEL_BYTES_MAX {
        script.step(&mut outbox);
        assert_eq!(outbox.bytes(), script.wire.len());
        assert_eq!(outbox.is_empty(), script.wire.is_empty());
        assert_eq!(outbox.tally(), script.tally);
        let unheard = outbox.unheard().map(|(status, header)| (status.code(), header.bits()));
        assert_eq!((unheard, outbox.unheard_count()), (script.unheard, script.unheard_count));
    }
    script.compare(&mut outbox);
});

struct Script<'a> {
    cut: Cut<'a>,
    protocol: Protocol,
    sources: &'static [Input; 2],
    /// The largest payload that the peer takes.
    payload_max: u32,
    /// What should leave.
    wire: Vec<u8>,
    tally: Tally,
    unheard: Option<(u16, u16)>,
    unheard_count: u32,
}

impl<'a> Script<'a> {
    fn new(mut cut: Cut<'a>) -> Script<'a> {
        let protocol = cut.pick(&[Protocol::Frame, Protocol::Line, Protocol::Bare]);
        let sources = match protocol {
            Protocol::Frame => &*FRAMES,
            Protocol::Bare => &*BARE,
            Protocol::Line => &*LINES,
        };
        let (payload_max, wire, tally) = (PAYLOAD_BYTES_MAX, Vec::new(), Tally::default());
        Script { cut, protocol, sources, payload_max, wire, tally, unheard: None, unheard_count: 0 }
    }

    fn inputs(&self) -> Inputs<'static> {
        Inputs { ring: &self.sources[0].bytes, scratch: &self.sources[1].bytes }
    }

    fn step(&mut self, outbox: &mut Outbox) {
        outbox.set_protocol(self.protocol);
        outbox.set_payload_max(self.payload_max, PAYLOAD_BYTES_MAX);
        match self.cut.u8() % 16 {
            0 => self.reply(outbox),
            1 => self.gathered(outbox),
            2 => self.forward_whole(outbox),
            3 => self.forward_part(outbox),
            4 => self.shared(outbox),
            5 => self.failure(outbox),
            6 => self.control(outbox),
            7 => self.farewell(outbox),
            8 => self.elsewhere(outbox),
            9 => self.compare(outbox),
            10 => {
                self.compare(outbox);
                outbox.clear();
                *self = Script::new(self.cut.clone());
            }
            11 => {
                for _ in 0..self.cut.u8() % 48 {
                    self.forward_whole(outbox);
                }
            }
            12 | 13 => self.whole(outbox),
            14 => self.control_frame(outbox),
            _ => self.payload_max = self.cut.pick(&[PAYLOAD_BYTES_MAX, 300, 0, 20_000, u32::MAX]),
        }
    }

    fn to(&mut self) -> To {
        let choice = self.cut.u16();
        let shape = match (self.protocol, choice >> 14) {
            (Protocol::Bare | Protocol::Line, _) | (Protocol::Frame, 0) => Shape::Plain,
            (Protocol::Frame, 1) => Shape::Extended(None),
            (Protocol::Frame, 2) => Shape::Extended(Some(u64::from(choice) << 40 | 7)),
            (Protocol::Frame, _) => Shape::OneWay,
        };
        To::new(choice & Header::ROUTE_MAX, shape)
    }

    /// What a reply with this payload should have done.
    fn due(&mut self, to: To, payload: &[u8], sent: Result<(), TooLargeReply>) {
        let (got_bytes, limit_bytes) = (payload.len(), self.payload_max.min(PAYLOAD_BYTES_MAX));
        if got_bytes > limit_bytes as usize {
            assert_eq!(
                sent,
                Err(TooLargeReply { got_bytes, limit_bytes, is_own: self.payload_max >= PAYLOAD_BYTES_MAX })
            );
            return;
        }
        assert_eq!(sent, Ok(()));
        match self.protocol {
            Protocol::Frame | Protocol::Bare if to.shape == Shape::OneWay => {
                self.tally.silent += 1;
                return;
            }
            Protocol::Frame | Protocol::Bare => {
                self.wire.extend(model::frame(to.bits, &[&to.block(0), payload].concat()));
            }
            Protocol::Line => self.wire.extend([payload, b"\n"].concat()),
        }
        self.tally.answered += 1;
    }

    fn reply(&mut self, outbox: &mut Outbox) {
        let to = self.to();
        let size = usize::from(self.cut.u8());
        let payload = self.cut.bytes(size);
        let sent = outbox.reply(to.to, payload);
        self.due(to, payload, sent);
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
        let to = self.to();
        let (mut segments, mut payload) = (Vec::new(), Vec::new());
        let choice = self.cut.u8();
        for _ in 0..choice % 8 {
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
        // A few may be told as that many; any number as a slice.
        let sent = match segments[..] {
            [one] if choice < 128 => outbox.reply_gathered(to.to, &[one]),
            [one, two] if choice < 128 => outbox.reply_gathered(to.to, &[one, two]),
            [one, two, three] if choice < 128 => outbox.reply_gathered(to.to, &[one, two, three]),
            _ => outbox.reply_otherwise(to.to, &segments),
        };
        self.due(to, &payload, sent);
    }

    fn forward_whole(&mut self, outbox: &mut Outbox) {
        let choice = self.cut.u8();
        let source = if choice & 1 == 0 { Source::Ring } else { Source::Scratch };
        let messages = &self.sources[usize::from(choice & 1)].messages;
        let (to, range) = messages[usize::from(choice >> 1) % messages.len()].clone();
        let envelope = match self.protocol {
            Protocol::Frame | Protocol::Bare => {
                Envelope { before: 6 + u8::try_from(to.block(0).len()).expect("at most 12"), after: 4 }
            }
            Protocol::Line => Envelope { before: 0, after: 1 },
        };
        let part = self.inputs().part(source, range, Some(envelope));
        let sent = outbox.reply_forward(to.to, part);
        self.due(to, part.bytes(), sent);
    }

    fn forward_part(&mut self, outbox: &mut Outbox) {
        let (to, part) = (self.to(), self.part());
        let sent = outbox.reply_forward(to.to, part);
        self.due(to, part.bytes(), sent);
    }

    /// Some bytes that are shared.
    fn shared_bytes(&mut self) -> &'static [u8] {
        let (source, range) = self.range();
        let inputs = self.inputs();
        match source {
            Source::Ring => &inputs.ring[range],
            Source::Scratch => &inputs.scratch[range],
        }
    }

    fn shared(&mut self, outbox: &mut Outbox) {
        let (to, payload) = (self.to(), self.shared_bytes());
        let sent = outbox.reply_shared(to.to, Bytes::from_static(payload));
        self.due(to, payload, sent);
    }

    /// Frames that were made elsewhere; what they say is not looked at.
    fn whole(&mut self, outbox: &mut Outbox) {
        let way = self.cut.u8() & 3;
        let frames = self.shared_bytes();
        match way {
            0 => outbox.whole(Bytes::from_static(frames)),
            2 => outbox.whole_shared(Bytes::from_static(frames)),
            _ => outbox.whole_copied(frames),
        }
        self.wire.extend(frames);
    }

    /// Requests that end in another way than with bytes here, and what nobody is told of.
    fn elsewhere(&mut self, outbox: &mut Outbox) {
        match self.cut.u8() % 5 {
            0 => {
                outbox.silence();
                self.tally.silent += 1;
            }
            1 => {
                outbox.deferred();
                self.tally.deferred += 1;
            }
            2 => {
                outbox.held(false);
                self.tally.answered += 1;
            }
            3 => {
                outbox.held(true);
                self.tally.failed += 1;
            }
            _ => {
                let (status, to) = (self.cut.u16(), self.to());
                outbox.refuse_unheard(Status::from_code(status), to.to.header());
                self.is_unheard(status, to);
            }
        }
    }

    fn is_unheard(&mut self, status: u16, to: To) {
        self.unheard = Some((status, to.bits));
        self.unheard_count += 1;
    }

    fn text(&mut self) -> &'static str {
        &TEXTS[usize::from(self.cut.u8()) % TEXTS.len()]
    }

    fn failure(&mut self, outbox: &mut Outbox) {
        let (status, text) = (Status::from_code(self.cut.u16()), self.text());
        let (to, choice) = (self.to(), self.cut.u8());
        let retry_after_ms = (choice & 1 == 1).then_some(u32::from(choice) << 20);
        outbox.failure(to.to, status, Failure { text, retry_after_ms });
        self.tally.failed += 1;
        let sent_text = sent(text);
        match (self.protocol, to.shape) {
            (Protocol::Bare, _) | (_, Shape::OneWay) => self.is_unheard(status.code(), to),
            (Protocol::Frame, Shape::Plain) => {
                let payload = [&status.code().to_be_bytes()[..], sent_text.as_bytes()].concat();
                self.wire.extend(model::frame(0x4004, &payload));
            }
            (Protocol::Frame, Shape::Extended(_)) => {
                let mut block = to.block(status.code());
                if let Some(ms) = retry_after_ms {
                    block[0] += 2;
                    block[1] |= 0x80;
                    block.extend([1, 4]);
                    block.extend(ms.to_be_bytes());
                    block.extend([0, 0]);
                }
                self.wire.extend(model::frame(to.bits, &[&block, sent_text.as_bytes()].concat()));
            }
            (Protocol::Line, Shape::Plain | Shape::Extended(_)) => {
                let text = sent_text.replace(char::is_control, " ");
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

    /// ACK, the one that a server sends with a block.
    fn control_frame(&mut self, outbox: &mut Outbox) {
        let (status, id, payload) = (self.cut.u16(), u64::from(self.cut.u16()) << 30, self.cut.bytes(4));
        let extension =
            Extension { status: Status::from_code(status), correlation: Some(id), ..Extension::default() };
        let control = Control::Ack { payload };
        outbox.control_frame(&ControlFrame { control, extension: Some(extension) });
        self.wire.extend(model::frame(0xc00a, &[&reply_block(Some(id), status), payload].concat()));
    }

    fn farewell(&mut self, outbox: &mut Outbox) {
        if self.protocol == Protocol::Line {
            return;
        }
        let (why, text) = (self.cut.pick(CloseReason::ALL), self.text());
        let mut leave = Leave::new(why, text);
        assert_eq!(leave.status, status_of(why));
        if why == CloseReason::ClosedByService {
            leave.status = [None, Some(Status::from_code(self.cut.u16()))][usize::from(self.cut.u8() & 1)];
        }
        outbox.farewell(&leave);
        match leave.status {
            None => {}
            Some(_) if self.protocol == Protocol::Bare => {}
            Some(_) if why == CloseReason::TlsOnPlain => self.wire.extend(TLS_ALERT),
            Some(status) => {
                let text = leave.text.as_str();
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

/// What is sent of a text: whole characters of at most 512 bytes.
fn sent(text: &str) -> &str {
    let mut end = 0;
    for (at, c) in text.char_indices() {
        if at + c.len_utf8() <= 512 {
            end = at + c.len_utf8();
        }
    }
    &text[..end]
}
