//! Control frames of a client: its greeting, PINGs, and what this server does not know how to do.

use super::writer::Writer;
use super::{Finale, Leaving};
use crate::base::CloseReason;
use crate::session::Protocol;
use crate::sim::checker::Farewell;
use crate::sim::codec::{self, Block, PING, PONG, frame, status};
use crate::sim::io::pick;
use crate::sim::model::{Due, Kind};

/// The tag of HELLO that says how large a reply may be.
const MAX_RECEIVE: u8 = 1;

impl Writer<'_> {
    /// The beginning: HELLO, or not.
    pub(super) fn greet(&mut self) {
        if self.framing.protocol != Protocol::Frame {
            return;
        }
        if self.wants_hello && self.rng.chance(100) {
            let payload = self.payload(12);
            let bytes = if self.rng.chance(300) {
                frame(PING, &payload)
            } else {
                frame(self.plan.routes[0], &payload)
            };
            return self.turned_away(CloseReason::Unauthenticated, status::UNAUTHENTICATED, &bytes);
        }
        if !self.wants_hello && !self.rng.chance(self.plan.greeters) {
            return;
        }
        let (token, is_good) = match self.plan.tokens.len() {
            0 => (Vec::new(), true),
            count => self.plan.tokens[pick(&mut self.rng, count)].clone(),
        };
        let critical: (u8, &[u8]) = (200, b"must be known");
        match self.rng.below(100) {
            0..4 => {
                let hello = codec::hello(0, 0, "old", &token, &[]);
                self.turned_away(
                    CloseReason::NoCommonVersion,
                    status::UNSUPPORTED,
                    &frame(codec::HELLO, &hello),
                );
            }
            4..6 => {
                let hello = codec::hello(1, 0, "", &token, &[critical]);
                self.turned_away(
                    CloseReason::NoCommonVersion,
                    status::UNSUPPORTED,
                    &frame(codec::HELLO, &hello),
                );
            }
            _ => self.hello(&token, is_good),
        }
    }

    fn hello(&mut self, token: &[u8], is_good: bool) {
        let version = [1, 1, 1, 2, 255][pick(&mut self.rng, 5)];
        let client_id = ["", "me", "an_id_of-64-bytes_-------------------------------------------_64"];
        let client_id = client_id[pick(&mut self.rng, 3)];
        let max_receive: u32 = [100, 3_000, 70_000, 1 << 20][pick(&mut self.rng, 4)];
        let max_bytes = max_receive.to_be_bytes();
        let tags: &[(u8, &[u8])] = match self.rng.below(10) {
            0..3 => &[(MAX_RECEIVE, &max_bytes)],
            3 => &[(99, b"unknown")],
            _ => &[],
        };
        let payload = codec::hello(version, 0, client_id, token, tags);
        let block = Block { correlation: Some(1), ..Block::default() };
        let bytes = match self.rng.below(6) {
            0 => codec::extended(codec::HELLO, &block, &payload),
            _ => frame(codec::HELLO, &payload),
        };
        if !is_good {
            return self.turned_away(CloseReason::Unauthenticated, status::UNAUTHENTICATED, &bytes);
        }
        if tags.iter().any(|(tag, _)| *tag == MAX_RECEIVE) {
            self.max_receive = max_receive as usize;
        }
        self.script.is_greeter = true;
        self.script.answers_pings = self.rng.chance(800);
        self.script.leaving = match self.rng.below(4) {
            0 => Leaving::AtOnce,
            1 | 2 => Leaving::WhenDone,
            _ => Leaving::Never,
        };
        self.script.due.push(Due::reply(Kind::Welcome, Vec::new()));
        self.raw(&bytes);
    }

    /// Its first message ends the connection; what follows is not looked at.
    fn turned_away(&mut self, why: CloseReason, status: u16, bytes: &[u8]) {
        self.script.finale = Finale::Fault(why);
        self.script.farewell = Some(Farewell::Status(status));
        self.script.stream.extend_from_slice(bytes);
        self.is_over = true;
    }

    /// Now and then a control frame instead of a request. False if not now.
    pub(super) fn control(&mut self) -> bool {
        match self.rng.below(100) {
            0..6 => self.ping(),
            6..8 => self.raw(&frame(PONG, b"unasked")),
            8..10 => self.unknown_here(),
            _ => return false,
        }
        true
    }

    fn ping(&mut self) {
        let bytes = pick(&mut self.rng, 65);
        let payload = self.payload(bytes);
        self.script.due.push(Due::reply(Kind::Pong, payload.clone()));
        self.raw(&frame(PING, &payload));
    }

    /// Topics are not served yet: told by ACK to whoever gives an id, by a notice now and then to who said HELLO.
    fn unknown_here(&mut self) {
        let header = [codec::SUBSCRIBE, codec::UNSUBSCRIBE, codec::PUBLISH][pick(&mut self.rng, 3)];
        let payload: &[u8] = if header == codec::PUBLISH { b"\x03a.bbody" } else { b"\0\0\x03a.*" };
        if self.rng.chance(500) {
            let id = self.rng.below(3);
            let block = Block { correlation: Some(id), ..Block::default() };
            self.script.due.push(Due::failure(Kind::Ack(id), status::UNSUPPORTED));
            self.raw(&codec::extended(header, &block, payload));
        } else {
            self.unheard(header, vec![status::UNSUPPORTED], false, true);
            self.raw(&frame(header, payload));
        }
    }
}
