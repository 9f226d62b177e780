//! How a client goes out: in order, in the middle of something, or with a mistake.

use super::Finale;
use super::writer::{Habit, Writer};
use crate::base::CloseReason;
use crate::session::Protocol;
use crate::sim::checker::Farewell;
use crate::sim::codec::{self, ERROR, EXT, GOAWAY, HELLO, PING, frame, status};
use crate::sim::io::pick;

impl Writer<'_> {
    pub(super) fn finale(&mut self, habit: Habit) {
        if habit == Habit::Hog {
            return self.inside(Finale::Mute);
        }
        match self.rng.below(100) {
            0..30 => {}
            30..48 => self.script.finale = Finale::HalfClose,
            48..54 => self.script.finale = Finale::EarlyClose,
            54..60 => {
                let at = pick(&mut self.rng, self.script.stream.len() + 1);
                self.script.finale = Finale::Reset(at);
            }
            60..66 => self.inside(Finale::EndInside),
            66..86 => self.fault(),
            86..91 => self.inside(Finale::Mute),
            _ => self.script.finale = if self.plan.may_stay { Finale::Stay } else { Finale::Close },
        }
    }

    /// The beginning of one more message, and no more. The end of a line's stream is a line's end.
    fn inside(&mut self, finale: Finale) {
        self.script.finale = finale;
        let bytes = self.size(Habit::Bulk).max(8);
        if self.framing.protocol == Protocol::Line && finale == Finale::EndInside {
            self.request(bytes.min(self.framing.payload_max as usize));
            while self.script.stream.last().is_some_and(|byte| b"\r\n".contains(byte)) {
                self.script.stream.pop();
            }
            let end = self.script.stream.len();
            if let Some(last) = self.script.milestones.last_mut() {
                last.end = end;
            }
            return;
        }
        let whole = match self.framing.protocol {
            Protocol::Frame | Protocol::Bare => {
                let payload = self.payload(bytes.min(self.framing.payload_max as usize));
                frame(self.plan.routes[0], &payload)
            }
            Protocol::Line => self.payload(bytes.min(self.framing.payload_max as usize)),
        };
        let cut = 1 + pick(&mut self.rng, whole.len() - 1);
        self.script.stream.extend_from_slice(&whole[..cut]);
        if finale == Finale::Mute && self.framing.protocol == Protocol::Frame {
            self.script.farewell = Some(Farewell::Status(status::PROTOCOL));
        }
    }

    fn fault(&mut self) {
        match self.framing.protocol {
            Protocol::Line => {
                let bytes = self.framing.payload_max as usize + 1 + pick(&mut self.rng, 200);
                let line = self.payload(bytes);
                self.misdeed(CloseReason::LineTooLong, &line, status::TOO_LARGE);
            }
            Protocol::Bare if self.rng.chance(500) => self.bad_crc(),
            Protocol::Bare => self.too_large(),
            Protocol::Frame => match self.rng.below(10) {
                0 => self.bad_crc(),
                1 | 2 => self.too_large(),
                3 => {
                    let code = [13, 99, 0x3FFF][pick(&mut self.rng, 3)];
                    let payload = self.payload(20);
                    self.misdeed(
                        CloseReason::UnknownControl,
                        &frame(0x4000 | code, &payload),
                        status::PROTOCOL,
                    );
                }
                4 => self.bad_control(),
                5 | 6 => self.bad_block(),
                7 if !self.script.milestones.is_empty() => {
                    let late = frame(HELLO, &codec::hello(1, 0, "late", b"", &[]));
                    self.misdeed(CloseReason::LateHello, &late, status::PROTOCOL);
                }
                _ => self.wrong_direction(),
            },
        }
    }

    fn bad_crc(&mut self) {
        let payload = self.payload(20);
        let mut bad = frame(self.plan.routes[0], &payload);
        let at = 6 + pick(&mut self.rng, bad.len() - 6);
        bad[at] ^= 1 << self.rng.below(8);
        self.misdeed(CloseReason::BadCrc, &bad, status::PROTOCOL);
    }

    fn too_large(&mut self) {
        let limit = self.framing.payload_max as usize;
        let (header, limit) = match self.rng.below(4) {
            0 if self.framing.protocol == Protocol::Frame => (EXT | 1, limit + 1_020),
            1 if self.framing.protocol == Protocol::Frame && self.script.is_greeter => (PING, limit + 512),
            2 if self.framing.protocol == Protocol::Frame && !self.script.is_greeter => (HELLO, 4_096),
            _ => (self.plan.routes[0], limit),
        };
        let large = self.payload(limit + 1);
        let whole = frame(header, &large);
        let shown = if self.rng.chance(300) { 6 } else { whole.len() };
        self.misdeed(CloseReason::TooLarge, &whole[..shown], status::TOO_LARGE);
    }

    fn bad_control(&mut self) {
        let long = self.payload(65);
        let bad = match self.rng.below(5) {
            0 => frame(PING, &long),
            1 => frame(EXT | PING, b""),
            2 => frame(codec::SUBSCRIBE, b"\0\0\x09short"),
            // A deadline has no meaning there.
            3 => frame(EXT | codec::PUBLISH, b"\x02\x02\0\0\0\0\0\x01\x01tbody"),
            _ => frame(HELLO, b"\x01\0\x03a b\0\0"),
        };
        self.misdeed(CloseReason::BadControl, &bad, status::PROTOCOL);
    }

    fn bad_block(&mut self) {
        let blocks: [&[u8]; 8] = [
            b"",
            b"\0\0\0\0",
            b"\x09\0\0\0",
            // Fields over the block's end.
            b"\x02\x01\0\0\0\0\0\0",
            // More than the fields, and nothing that says what.
            b"\x02\0\0\0\0\0\0\0",
            // A tag cut, and one of the wrong size.
            b"\x02\x80\0\0\x09\x09ab",
            b"\x02\x80\0\0\x01\x02ab",
            // Zeros that are none.
            b"\x08\x04\0\0iiiiiiiiiiiiiiiippppppppf\0\0\x01",
        ];
        let block = blocks[pick(&mut self.rng, blocks.len())];
        let header = if self.rng.chance(300) { HELLO } else { self.plan.routes[0] };
        self.misdeed(CloseReason::BadExtension, &frame(EXT | header, block), status::PROTOCOL);
    }

    fn wrong_direction(&mut self) {
        let bad = match self.rng.below(4) {
            0 => frame(GOAWAY, b"\0\x01\0\0\0\0you go"),
            1 => frame(ERROR, b"\0\x01no"),
            2 => frame(codec::MESSAGE, b"\x01tbody"),
            _ => frame(codec::NOTICE, b"\0\x0f\x40\x06"),
        };
        self.misdeed(CloseReason::WrongDirection, &bad, status::PROTOCOL);
    }

    fn misdeed(&mut self, why: CloseReason, bytes: &[u8], status: u16) {
        self.script.finale = Finale::Fault(why);
        if self.framing.protocol != Protocol::Bare {
            self.script.farewell = Some(Farewell::Status(status));
        }
        self.script.stream.extend_from_slice(bytes);
        self.babble();
    }

    /// Whoever is at it does not stop at once.
    pub(super) fn babble(&mut self) {
        if !self.rng.chance(400) {
            return;
        }
        let is_deferred = self.script.finale == Finale::Fault(CloseReason::RequestFailed);
        let more = if is_deferred || self.rng.chance(300) {
            // As good as if nothing had been.
            let payload = self.payload(30);
            match self.framing.protocol {
                Protocol::Frame | Protocol::Bare => frame(self.plan.routes[0], &payload).repeat(5),
                Protocol::Line => [&payload[..], b"\n"].concat(),
            }
        } else {
            let count = pick(&mut self.rng, 30_000);
            self.payload(count)
        };
        self.script.stream.extend_from_slice(&more);
    }

    /// The first bytes of another protocol; false if this listener's peers can't be told from it.
    pub(super) fn foreign(&mut self) -> bool {
        let is_frame = self.framing.protocol == Protocol::Frame;
        let (why, hello): (CloseReason, &[u8]) = match self.rng.below(4) {
            0 => (CloseReason::TlsOnPlain, b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03random and so on"),
            1 => (CloseReason::Http, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"),
            2 if is_frame => (CloseReason::Resp, b"*1\r\n$4\r\nPING\r\n"),
            _ => (CloseReason::Proxy, b"PROXY TCP4 10.0.0.1 10.0.0.2 5000 80\r\n"),
        };
        let is_bare = self.framing.protocol == Protocol::Bare;
        if is_bare || !is_frame && (self.framing.payload_max as usize) < hello.len() {
            return false;
        }
        self.misdeed(why, hello, status::PROTOCOL);
        if why == CloseReason::TlsOnPlain {
            self.script.farewell = Some(Farewell::TlsAlert);
        }
        self.script.depth = usize::MAX;
        true
    }
}
