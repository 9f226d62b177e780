//! What must come, and whether what came is it.
//!
//! Replies in slots come in the order of their requests; what has no slot comes when it likes; GOAWAY and the end come
//! behind all else. A server's own PINGs are no part of a case, and no fault.

use crate::wire::{Control, ControlFrame, Extension, Header, Status};

/// One thing that must come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// A plain reply, in its slot.
    Frame { header: Header, payload: Vec<u8> },
    /// ERROR, in its slot, with any text.
    Error { status: Status },
    /// A reply with a block: in its slot if it has no id. Without a body any UTF-8 is right.
    Ext { header: Header, status: Status, id: Option<u64>, body: Option<Vec<u8>> },
    /// PONG.
    Pong(Vec<u8>),
    /// WELCOME, with this version at most.
    Welcome { version: u8 },
    /// ACK.
    Ack { status: Status, id: u64 },
    /// NOTICE, with any text.
    Notice { status: Status, header: Header },
    /// GOAWAY, with any text.
    GoAway { status: Status },
    /// A line that tells of no failure.
    Line,
    /// A line that does.
    ErrorLine { status: Status },
    /// These bytes.
    Bytes(Vec<u8>),
    /// The end of the stream.
    End,
    /// The same, whatever comes before it: nothing is promised to who speaks another protocol.
    AnythingThenEnd,
}

impl Expect {
    /// Whether its place among the replies matters.
    fn is_ordered(&self) -> bool {
        match self {
            Expect::Frame { .. } | Expect::Error { .. } | Expect::Line | Expect::ErrorLine { .. } => true,
            Expect::Ext { id, .. } => id.is_none(),
            Expect::Pong(_) | Expect::Welcome { .. } | Expect::Ack { .. } | Expect::Notice { .. } => false,
            Expect::GoAway { .. } | Expect::Bytes(_) | Expect::End | Expect::AnythingThenEnd => true,
        }
    }

    /// Whether this frame is it.
    fn is(&self, header: Header, payload: &[u8]) -> bool {
        match self {
            Expect::Frame { header: want, payload: body } => (header, payload) == (*want, body),
            Expect::Ext { header: want, status, id, body } => {
                let Ok((extension, block_bytes)) = Extension::parse(payload) else { return false };
                let got = &payload[block_bytes..];
                let is_body =
                    body.as_ref().map_or_else(|| std::str::from_utf8(got).is_ok(), |body| got == body);
                header == *want && (extension.status, extension.correlation) == (*status, *id) && is_body
            }
            Expect::Error { .. }
            | Expect::Pong(_)
            | Expect::Welcome { .. }
            | Expect::Ack { .. }
            | Expect::Notice { .. }
            | Expect::GoAway { .. } => {
                header.is_control()
                    && ControlFrame::parse(header, payload).is_ok_and(|frame| self.is_control(&frame))
            }
            Expect::Line
            | Expect::ErrorLine { .. }
            | Expect::Bytes(_)
            | Expect::End
            | Expect::AnythingThenEnd => false,
        }
    }

    fn is_control(&self, frame: &ControlFrame<'_>) -> bool {
        match (self, frame.control) {
            (Expect::Error { status: want }, Control::Error { status, .. })
            | (Expect::GoAway { status: want }, Control::GoAway { status, .. }) => status == *want,
            (Expect::Pong(want), Control::Pong(bytes)) => bytes == want,
            (Expect::Welcome { version }, Control::Welcome(welcome)) => {
                (1..=*version).contains(&welcome.version)
            }
            (Expect::Ack { status, id }, Control::Ack { .. }) => {
                frame.extension.is_some_and(|block| (block.status, block.correlation) == (*status, Some(*id)))
            }
            (Expect::Notice { status: want, header: about }, Control::Notice { status, header, .. }) => {
                (status, header) == (*want, *about)
            }
            (_, _) => false,
        }
    }
}

/// What is still waited for, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Waiting(Vec<Expect>);

impl Waiting {
    pub(super) fn add(&mut self, expect: Expect) {
        self.0.push(expect);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is waited for first.
    pub(super) fn first(&self) -> Option<&Expect> {
        self.0.first()
    }

    /// All that could come now, in words.
    pub(super) fn in_words(&self) -> String {
        let first_ordered = self.0.iter().position(Expect::is_ordered);
        let unordered = self.0.iter().enumerate().filter(|(_, expect)| !expect.is_ordered());
        let mut places: Vec<usize> = unordered.map(|(place, _)| place).chain(first_ordered).collect();
        places.sort_unstable();
        let words: Vec<_> = places.iter().map(|place| self.0[*place].to_string()).collect();
        if words.is_empty() { "nothing more".to_owned() } else { words.join(", or ") }
    }

    /// Whether a frame is one of those that are waited for; if it is, it no longer is.
    pub(super) fn takes_frame(&mut self, header: Header, payload: &[u8]) -> bool {
        let ordered = self.0.iter().position(Expect::is_ordered);
        let place = self.0.iter().enumerate().position(|(place, expect)| {
            let is_last = matches!(expect, Expect::GoAway { .. });
            let has_its_turn = !expect.is_ordered() || Some(place) == ordered && (!is_last || place == 0);
            has_its_turn && expect.is(header, payload)
        });
        place.map(|place| self.0.remove(place)).is_some()
    }

    /// The same for a line, without its end.
    pub(super) fn takes_line(&mut self, line: &[u8]) -> bool {
        let is_it = match self.0.first() {
            Some(Expect::Line) => !line.starts_with(b"ERR "),
            Some(Expect::ErrorLine { status }) => {
                let begin = format!("ERR {status}");
                line.strip_prefix(begin.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b' ')
            }
            Some(_) | None => false,
        };
        if is_it {
            self.0.remove(0);
        }
        is_it
    }

    /// The same for the front of what came: how many bytes of it were waited for.
    pub(super) fn takes_bytes(&mut self, bytes: &[u8]) -> Option<usize> {
        let Some(Expect::Bytes(want)) = self.0.first() else { return None };
        let count = bytes.starts_with(want).then_some(want.len())?;
        self.0.remove(0);
        Some(count)
    }

    /// The same for the end of the stream.
    pub(super) fn takes_end(&mut self) -> bool {
        let is_it = matches!(self.0[..], [Expect::End | Expect::AnythingThenEnd]);
        if is_it {
            self.0.clear();
        }
        is_it
    }

    /// Whether nothing but the end is waited for.
    pub(super) fn only_end(&self) -> bool {
        matches!(self.0[..], [Expect::End | Expect::AnythingThenEnd])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Crc;

    fn frame(control: Control<'_>) -> (Header, Vec<u8>) {
        let mut bytes = Vec::new();
        control.encode(&mut bytes, &Crc::new());
        (control.header(), bytes[6..bytes.len() - 4].to_vec())
    }

    fn waiting(expects: &[Expect]) -> Waiting {
        Waiting(expects.to_vec())
    }

    #[test]
    fn slots_are_in_order_and_others_are_not() {
        let plain = |body: &[u8]| Expect::Frame { header: Header::route(1), payload: body.to_vec() };
        let (error, pong) = (Expect::Error { status: Status::NO_ROUTE }, Expect::Pong(b"p".to_vec()));
        let ext =
            Expect::Ext { header: Header::from_bits(0x8001), status: Status::OK, id: Some(7), body: None };
        let goaway = Expect::GoAway { status: Status::PROTOCOL };
        let all = [plain(b"a"), pong, error, ext, goaway, Expect::End];
        let a = (Header::route(1), b"a".to_vec());
        let b = (Header::route(1), b"b".to_vec());
        let p = frame(Control::Pong(b"p"));
        let e = frame(Control::Error { status: Status::NO_ROUTE, text: "whatever" });
        let x = (Header::from_bits(0x8001), b"\x03\x01\0\0\0\0\0\0\0\0\0\x07text".to_vec());
        let g = frame(Control::GoAway { status: Status::PROTOCOL, reconnect_after_ms: 5, text: "why" });
        type Frame<'a> = &'a (Header, Vec<u8>);
        let table: &[(&str, &[Frame<'_>], bool)] = &[
            ("as in the file", &[&a, &p, &e, &x, &g], true),
            ("what has no slot is early", &[&x, &p, &a, &e, &g], true),
            ("what has no slot is late", &[&a, &e, &x, &p, &g], true),
            ("slots swapped", &[&e, &a], false),
            ("another payload", &[&b], false),
            ("twice", &[&a, &p, &p], false),
            ("goaway too early", &[&a, &e, &x, &g], false),
        ];
        for (name, frames, want) in table {
            let mut waiting = waiting(&all);
            let is_right = frames.iter().all(|(header, payload)| waiting.takes_frame(*header, payload));
            assert_eq!(is_right, *want, "case: {name}");
            assert_eq!(waiting.takes_end(), *want, "case: {name}");
            assert_eq!(waiting.is_empty(), *want, "case: {name}");
        }
        assert!(waiting(&all).in_words().contains("PONG"), "{}", waiting(&all).in_words());
    }

    #[test]
    fn lines_tell_failures_apart() {
        let mut lines =
            waiting(&[Expect::Line, Expect::ErrorLine { status: Status::TOO_LARGE }, Expect::End]);
        assert!(!lines.takes_line(b"ERR 14 TOO_LARGE x"));
        assert!(lines.takes_line(b"ERROR is a word"));
        assert!(!lines.takes_line(b"ERR 14 TOO_LARGEST"));
        assert!(!lines.takes_end());
        assert!(lines.takes_line(b"ERR 14 TOO_LARGE"));
        assert!(lines.takes_end() && lines.is_empty());
        let mut bytes = waiting(&[Expect::Bytes(b"ab".to_vec()), Expect::End]);
        assert_eq!(
            (bytes.takes_bytes(b"a"), bytes.takes_bytes(b"abc"), bytes.takes_bytes(b"c")),
            (None, Some(2), None)
        );
    }
}
