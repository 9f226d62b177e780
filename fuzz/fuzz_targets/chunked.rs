//! Law: TCP may cut the stream anywhere; where it cuts changes neither the messages nor the fault nor the rest.
//! The input is a choice of protocol and limit, three sizes of chunks that take turns, and a stream.
#![no_main]

use tidegate::base::CloseReason;
use tidegate::session::{Framing, Protocol, Step};
use tidegate::wire::{Crc, Header};
use tidegate_fuzz::Cut;
use tidegate_fuzz::model::{Rules, Said, Tail, read};

const ROUTE: u16 = 7;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut cut = Cut::new(data);
    let choice = cut.u8();
    let protocol = if choice & 1 == 0 { Protocol::Frame } else { Protocol::Line };
    let payload_max = [1 << 20, 16, 0, 4096][usize::from(choice >> 1) % 4];
    let framing = Framing::new(protocol, payload_max, ROUTE);
    let chunks = [cut.u8(), cut.u8(), cut.u8()].map(|size| usize::from(size) + 1);
    let stream = cut.rest();
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
        let requests = whole.said.iter().filter(|said| matches!(said, Said::Request { .. })).count();
        assert_eq!(framing.count_requests(stream, &crc), requests as u64);
    }

    let line_route = (protocol == Protocol::Line).then_some(ROUTE);
    let rules = Rules { line_route, payload_max: payload_max as usize };
    let (said, tail) = read(rules, stream, false);
    assert_eq!(whole.said, said);
    assert_eq!(whole.fault.is_some(), tail == Tail::Fault);
    assert_eq!(whole.fault.is_none() && !whole.held.is_empty(), tail == Tail::Partial);
});

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
                Step::Message { to, payload, used, .. } => {
                    let header = to.header();
                    self.said.push(Said::Request { bits: header.bits(), payload: payload.to_vec() });
                    used
                }
                Step::Control { header, payload, used } => {
                    match framing.control(header, payload).map(|frame| frame.control) {
                        Ok(Control::Ping(payload)) => self.said.push(Said::Ping(payload.to_vec())),
                        Ok(Control::Pong(_)) => self.said.push(Said::Pong),
                        Ok(_) => {}
                        Err(why) => {
                            self.fault = Some(why);
                            return;
                        }
                    }
                    used
                }
                Step::NeedMore { bytes } => {
                    assert!(bytes == 0 || bytes > input.len(), "asks for {bytes}, has {}", input.len());
                    (self.wanted, self.scanned) = (bytes, input.len());
                    break;
                }
                Step::Fault(why) => {
                    assert!(!framing.explain(why, input, self.scanned, crc).as_str().is_empty());
                    self.fault = Some(why);
                    return;
                }
            };
            assert!((1..=input.len()).contains(&used));
            at += used;
            self.scanned = 0;
        }
        self.held.drain(..at);
    }
}
