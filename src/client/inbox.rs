//! What is due to a client and what has come: each frame matched to what it answers.
//!
//! ```text
//!   sent, without a correlation   slots: a queue       \                              take
//!   sent, with one                open: a count an id   >-- handle(frame) --> replies ------>
//!   WELCOME, PONG, GOAWAY, NOTICE                      noted    PING: to be answered    others: skipped
//! ```
//!
//! Always holds: a reply is taken in for the request that it answers, or refused without a trace; `bytes` is what all
//! replies hold. Never: sockets, clocks, or bounds; whoever reads knows how much there is room for.

use super::{Error, GoAway, Notice, Reply, Request, Welcomed};
use crate::wire::{Control, ControlError, ControlFrame, Extension, RawFrame, Status};
use std::collections::{HashMap, VecDeque};

/// What a reply in the inbox takes besides its body, in bytes, roughly.
const REPLY_BYTES: usize = 96;

#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Requests without a correlation whose replies have not come, in order.
    slots: VecDeque<Slot>,
    next_slot: u64,
    /// Requests with one: how many of each.
    open: HashMap<u64, u32>,
    open_count: usize,
    replies: VecDeque<(Key, Reply)>,
    bytes: usize,
    pub(super) welcomed: Option<Welcomed>,
    pub(super) goaway: Option<GoAway>,
    pub(super) notice: Option<Notice>,
    /// The bytes of the last PONG.
    pub(super) pong: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    number: u64,
    route: u16,
}

/// What a reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Slot(u64),
    Id(u64),
}

impl Inbox {
    /// A request is sent: its reply is due, if it has any.
    pub(super) fn expect(&mut self, request: &Request<'_>) -> Option<Key> {
        if request.is_one_way() {
            return None;
        }
        if let Some(id) = request.id() {
            *self.open.entry(id).or_insert(0) += 1;
            self.open_count += 1;
            return Some(Key::Id(id));
        }
        let number = self.next_slot;
        self.next_slot += 1;
        self.slots.push_back(Slot { number, route: request.route });
        Some(Key::Slot(number))
    }

    /// Takes the first reply with this key in.
    pub(super) fn take(&mut self, wanted: Option<Key>) -> Option<Reply> {
        let at = match wanted {
            None => 0,
            Some(wanted) => self.replies.iter().position(|(key, _)| *key == wanted)?,
        };
        let (_, reply) = self.replies.remove(at)?;
        self.bytes -= reply.body.len() + REPLY_BYTES;
        Some(reply)
    }

    /// Whether a reply with this key has come or will.
    pub(super) fn is_due(&self, key: Key) -> bool {
        let is_open = match key {
            Key::Id(id) => self.open.contains_key(&id),
            Key::Slot(number) => self.slots.iter().any(|slot| slot.number == number),
        };
        is_open || self.replies.iter().any(|(have, _)| *have == key)
    }

    /// Requests whose replies have not come.
    pub(super) fn open(&self) -> usize {
        self.slots.len() + self.open_count
    }

    /// Requests whose replies were not taken.
    pub(super) fn due(&self) -> usize {
        self.open() + self.replies.len()
    }

    /// What the replies hold.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes one frame in. Gives the bytes of a PING, which has to be answered.
    pub(super) fn handle<'a>(&mut self, frame: RawFrame<'a>) -> Result<Option<&'a [u8]>, Error> {
        if frame.header.is_control() {
            return self.handle_control(frame);
        }
        let route = frame.header.route_or_code();
        if !frame.header.is_ext() {
            self.fill_slot(Some(route), Status::OK, None, frame.payload)?;
            return Ok(None);
        }
        let (extension, block_bytes) = Extension::parse(frame.payload)?;
        let body = &frame.payload[block_bytes..];
        let retry_after_ms = extension.tlvs.retry_after_ms();
        match extension.correlation {
            None => self.fill_slot(Some(route), extension.status, retry_after_ms, body)?,
            Some(id) => {
                self.close_id(id)?;
                let correlation = Some(id);
                let body = body.to_vec();
                self.put(Key::Id(id), Reply { status: extension.status, correlation, retry_after_ms, body });
            }
        }
        Ok(None)
    }

    fn handle_control<'a>(&mut self, frame: RawFrame<'a>) -> Result<Option<&'a [u8]>, Error> {
        let control = match ControlFrame::parse(frame.header, frame.payload) {
            Ok(frame) => frame.control,
            // Of a later version: nothing that this client has asked for.
            Err(ControlError::UnknownCode { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match control {
            Control::Ping(opaque) => return Ok(Some(opaque)),
            Control::Pong(opaque) => self.pong = Some(opaque.to_vec()),
            Control::Error { status, text } => self.fill_slot(None, status, None, text.as_bytes())?,
            Control::GoAway { status, reconnect_after_ms, text } => {
                self.goaway = Some(GoAway { status, reconnect_after_ms, text: text.to_owned() });
            }
            Control::Notice { status, header, text } => {
                self.notice = Some(Notice { status, header: header.bits(), text: text.to_owned() });
            }
            Control::Welcome(said) => {
                self.welcomed = Some(Welcomed {
                    payload_bytes_max: said.max_payload,
                    heartbeat_ms: said.heartbeat_ms,
                    server_id: said.server_id.to_owned(),
                    client_id: said.client_id.to_owned(),
                });
            }
            Control::Message { .. } | Control::Ack { .. } | Control::Missed { .. } => {}
            Control::Hello(_) | Control::Subscribe(_) | Control::Unsubscribe(_) | Control::Publish { .. } => {
                let what = format!("the control frame {}, which only clients send", frame.header);
                return Err(Error::Unexpected { what });
            }
        }
        Ok(None)
    }

    /// The reply to the oldest request without a correlation; ERROR names no route.
    fn fill_slot(
        &mut self,
        route: Option<u16>,
        status: Status,
        retry_after_ms: Option<u32>,
        body: &[u8],
    ) -> Result<(), Error> {
        let Some(&slot) = self.slots.front() else {
            let what = match route {
                Some(route) => format!("a reply on route {route} where none is due"),
                None => format!("ERROR {status} where no reply is due"),
            };
            return Err(Error::Unexpected { what });
        };
        if let Some(route) = route
            && route != slot.route
        {
            let what = format!("a reply on route {route} where one on route {} is due", slot.route);
            return Err(Error::Unexpected { what });
        }
        self.slots.pop_front();
        let body = body.to_vec();
        self.put(Key::Slot(slot.number), Reply { status, correlation: None, retry_after_ms, body });
        Ok(())
    }

    fn close_id(&mut self, id: u64) -> Result<(), Error> {
        let Some(count) = self.open.get_mut(&id) else {
            let what = format!("a reply with correlation {id}, which no open request has");
            return Err(Error::Unexpected { what });
        };
        *count -= 1;
        if *count == 0 {
            self.open.remove(&id);
        }
        self.open_count -= 1;
        Ok(())
    }

    fn put(&mut self, key: Key, reply: Reply) {
        self.bytes += reply.body.len() + REPLY_BYTES;
        self.replies.push_back((key, reply));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Header;

    fn frame(bits: u16, payload: &[u8]) -> RawFrame<'_> {
        RawFrame { header: Header::from_bits(bits), payload }
    }

    /// Frame, and what is said about it when one request on route 1 and one with correlation 7 are open.
    #[test]
    fn what_nothing_was_asked_for_is_refused_and_leaves_no_trace() {
        const ID_8: &[u8] = &[3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8];
        #[rustfmt::skip]
        let table: &[(&str, RawFrame<'_>, &str)] = &[
            ("another route",        frame(0x0002, b"x"),  "a reply on route 2 where one on route 1 is due"),
            ("another correlation",  frame(0x8001, ID_8),  "a reply with correlation 8, which no open request has"),
            ("a client's word",      frame(0x4002, &[1, 0, 0, 0, 0]), "the control frame 0x4002, which only clients send"),
            ("a block too long",     frame(0x8001, &[2]),  "extension block of 8 bytes in a payload of 1"),
            ("a PING too long",      frame(0x4000, &[0; 65]), "payload of 65 bytes in control code 0"),
        ];
        for (name, frame, want) in table {
            let mut inbox = Inbox::default();
            inbox.expect(&Request::new(1, b""));
            inbox.expect(&Request::new(1, b"").correlation(7));
            let error = inbox.handle(*frame).expect_err(name).to_string();
            assert!(error.contains(want), "case: {name}: {error}");
            assert_eq!((inbox.open(), inbox.due(), inbox.bytes()), (2, 2, 0), "case: {name}");
        }
        let nothing_due = Inbox::default().handle(frame(0x4004, &[0, 4])).expect_err("nothing is due");
        assert!(nothing_due.to_string().contains("ERROR 4 NO_ROUTE where no reply is due"), "{nothing_due}");
    }

    #[test]
    fn replies_are_matched_and_counted() {
        let mut inbox = Inbox::default();
        let first = inbox.expect(&Request::new(1, b"")).expect("it has a reply");
        inbox.expect(&Request::new(2, b"").deadline_ms(5)).expect("it has a reply");
        inbox.expect(&Request::new(1, b"").correlation(7));
        inbox.expect(&Request::new(1, b"").correlation(7));
        assert_eq!(inbox.expect(&Request::new(1, b"").one_way()), None);
        let seven = [3, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 7, b'x'];
        for frame in [
            frame(0x8001, &seven),
            frame(0x4004, &[0, 4, b'n', b'o']),
            frame(0x8001, &seven),
            frame(0x8002, &[1, 0, 0, 0]),
            frame(0x7fff, b"of a later version"),
        ] {
            assert_eq!(inbox.handle(frame).expect("it is due"), None);
        }
        assert_eq!((inbox.open(), inbox.due()), (0, 4));
        assert!(inbox.is_due(Key::Id(7)) && !inbox.is_due(Key::Id(8)));
        let refused = inbox.take(Some(first)).expect("it came");
        assert_eq!((refused.status, refused.text().as_ref()), (Status::NO_ROUTE, "no"));
        let busy = inbox.take(None).expect("it came first");
        assert_eq!(
            (busy.status, busy.correlation, busy.body.as_slice()),
            (Status::OVERLOADED, Some(7), &b"x"[..])
        );
        assert!(inbox.take(Some(Key::Id(7))).is_some() && inbox.take(Some(Key::Id(7))).is_none());
        assert!(inbox.take(None).is_some_and(|reply| reply.is_ok()));
        assert_eq!((inbox.due(), inbox.bytes()), (0, 0));
        assert_eq!(inbox.handle(frame(0x4000, b"t1")).expect("PING may always come"), Some(&b"t1"[..]));
    }
}
