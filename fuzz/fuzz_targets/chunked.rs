//! Law: TCP may cut the stream anywhere; where it cuts changes neither the messages nor the fault nor the rest, and all
//! three are those of a naive reader. The input is a choice of protocol, side and limit, three sizes of chunks that
//! take turns, and a stream.
#![no_main]

use tidegate::base::CloseReason;
use tidegate::session::{Framing, ReplyTo, Step};
use tidegate::wire::{Control, ControlFrame, Crc};
use tidegate_fuzz::model::{Rules, Said, Speech, Tail, cut};
use tidegate_fuzz::{Cut, naive};

const ROUTE: u16 = 7;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut script = Cut::new(data);
    let choice = script.u8();
    let payload_max = [1 << 20, 16, 0, 4096][usize::from(choice >> 1) % 4];
    let (framing, rules) = listener(choice, payload_max);
    let chunks = [script.u8(), script.u8(), script.u8()].map(|size| usize::from(size) + 1);
    let stream = script.rest();
    let crc = Crc::new();

    let mut whole = Receiver::default();
    whole.take(&framing, stream, &crc);
    let mut parts = Receiver::default();
    let (mut at, mut sizes) = (0, chunks.iter().cycle());
    while at < stream.len() {
        let end = (at + sizes.next().expect("it cycles")).min(stream.len());
        parts.take(&framing, &stream[at..end], &crc);
        at = end;
    }
    assert_eq!(parts.said, whole.said);
    assert_eq!(parts.fault, whole.fault);
    if whole.fault.is_none() {
        assert_eq!(parts.held, whole.held);
    }
    let requests = whole.said.iter().filter(|said| matches!(said, Said::Request { .. })).count();
    let wanted = if rules.from_server { 0 } else { requests as u64 };
    assert_eq!(framing.count_requests(stream, &crc), wanted);

    let (said, tail) = cut(rules, stream, false);
    assert_eq!(whole.said, said);
    let got = match whole.fault {
        Some(why) => Tail::Fault(why),
        None if whole.held.is_empty() => Tail::Clean,
        None => Tail::Partial,
    };
    assert_eq!(got, tail);
});

/// What is read, and the same for the model.
fn listener(choice: u8, payload_max: u32) -> (Framing, Rules) {
    let rules = |speech| Rules::new(speech, payload_max as usize);
    let (frames, rules_of_frames) = (Framing::frames(payload_max), rules(Speech::Frames));
    match (choice & 1, choice >> 3 & 3) {
        (0, 0) => (frames, rules_of_frames),
        (0, 1) => (Framing::bare_frames(payload_max), rules(Speech::Bare)),
        (0, 2) => (frames.welcomed(), Rules { is_welcomed: true, ..rules_of_frames }),
        (0, _) => (frames.of_server(), Rules { from_server: true, ..rules_of_frames }),
        _ => (Framing::lines(payload_max, ROUTE), rules(Speech::Lines(ROUTE))),
    }
}

/// What is known of a request besides its bytes is what its block says.
fn assert_reply_to(to: ReplyTo, block: &[u8], is_special: bool) {
    let read = naive::block(block);
    assert_eq!(read.is_some(), !block.is_empty());
    let asks = read.clone().unwrap_or_default();
    assert_eq!(to.is_wanted(), !asks.one_way);
    assert_eq!(to.is_correlated(), asks.id.is_some() && !asks.one_way);
    assert_eq!(to.is_ordered(), asks.id.is_none() && !asks.one_way);
    let reply_block =
        if asks.one_way { 0 } else { read.map_or(0, |block| 4 + 8 * usize::from(block.id.is_some())) };
    assert_eq!((to.block_bytes(), to.is_extended()), (reply_block, reply_block > 0));
    assert_eq!(is_special, asks.deadline.is_some() || asks.is_unsupported());
}

fn said_of(frame: &ControlFrame<'_>) -> Said {
    let extension = frame.extension.unwrap_or_default();
    match frame.control {
        Control::Ping(bytes) => Said::Ping(bytes.to_vec()),
        Control::Pong(_) => Said::Pong,
        Control::Hello(hello) => {
            let tags = hello.tlvs.iter().map(|(tag, value)| (tag, value.to_vec())).collect();
            let (id, token) = (hello.client_id.to_owned(), hello.token.to_vec());
            let hello = (hello.version, hello.flags, id, token, tags);
            Said::Hello { hello, is_unsupported: extension.unsupported.is_some() }
        }
        Control::Subscribe(_) | Control::Unsubscribe(_) | Control::Publish { .. } => {
            Said::Ask { bits: frame.header().bits(), id: extension.correlation }
        }
        Control::Welcome(_)
        | Control::Error { .. }
        | Control::GoAway { .. }
        | Control::Message { .. }
        | Control::Ack { .. }
        | Control::Missed { .. }
        | Control::Notice { .. } => Said::Told { bits: frame.header().bits() },
        new => panic!("{new:?} is not known here"),
    }
}

/// The receive half of a connection as its loop uses it: it remembers what it was asked for.
#[derive(Default)]
struct Receiver {
    held: Vec<u8>,
    /// What `held` must grow to before it is worth a look.
    wanted: usize,
    /// Bytes of `held` that are known to hold no line end.
    scanned: usize,
    said: Vec<Said>,
    fault: Option<CloseReason>,
}

impl Receiver {
    fn take(&mut self, framing: &Framing, chunk: &[u8], crc: &Crc) {
        if self.fault.is_some() {
            return;
        }
        self.held.extend(chunk);
        if self.held.len() < self.wanted {
            return;
        }
        let mut at = 0;
        loop {
            let input = &self.held[at..];
            let used = match framing.next(input, self.scanned, crc) {
                Step::Message { to, block, payload, is_special, used } => {
                    assert_reply_to(to, block, is_special);
                    let (bits, block, body) = (to.header().bits(), block.to_vec(), payload.to_vec());
                    self.said.push(Said::Request { bits, block, body });
                    used
                }
                Step::Control { header, payload, used } => match framing.control(header, payload) {
                    Ok(frame) => {
                        assert_eq!(frame.header(), header);
                        self.said.push(said_of(&frame));
                        used
                    }
                    Err(why) => return self.refuse(framing, why, input.len(), crc),
                },
                Step::NeedMore { bytes } => {
                    assert!(bytes == 0 || bytes > input.len(), "asks for {bytes}, has {}", input.len());
                    (self.wanted, self.scanned) = (bytes, input.len());
                    break;
                }
                Step::Fault(why) => return self.refuse(framing, why, input.len(), crc),
            };
            assert!((1..=input.len()).contains(&used));
            at += used;
            self.scanned = 0;
        }
        self.held.drain(..at);
    }
    /// A fault in the last `left` bytes, which can be told in words.
    fn refuse(&mut self, framing: &Framing, why: CloseReason, left: usize, crc: &Crc) {
        let at = self.held.len() - left;
        let text = framing.explain(why, &self.held[at..], self.scanned, crc);
        assert!(
            !text.as_str().is_empty() && !text.as_str().starts_with("not a "),
            "{why:?}: {}",
            text.as_str()
        );
        self.fault = Some(why);
    }
}
