//! What a server with the embedded routes owes for what a client said, and how far some output is that.
//!
//! The routes answer at once, so everything comes in the order of what it is owed for; only PING, NOTICE and the
//! GOAWAY that tells of a drain may come in between. Source: docs/PROTOCOL.md.

use crate::model::{Rules, Said, Speech, frame, refusal};
use crate::naive::{self, Block};
use tidegate::base::CloseReason;
use tidegate::wire::Crc;

const NO_ROUTE: u16 = 4;
const DEADLINE_EXCEEDED: u16 = 8;
const DRAINING: u16 = 9;
const UNSUPPORTED: u16 = 15;

/// What is owed for one thing that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Due {
    /// Exactly these bytes.
    Bytes(Vec<u8>),
    /// The failure of a request.
    Failure(Failure),
    /// WELCOME.
    Welcome,
}

/// A failure; its text is the server's own affair.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    status: u16,
    /// The header and the block of the reply, if the request had a block.
    block: Option<(u16, Vec<u8>)>,
}

/// What becomes of something that was said.
enum Fate {
    /// One of these is owed for it.
    Owed(Vec<Due>),
    /// Nothing is, and with one of these statuses it was refused; none if it never is.
    Silent(Vec<u16>),
}

/// A client's claims.
#[derive(Clone, Copy)]
struct Client {
    rules: Rules,
    /// The time that anything may have waited.
    elapsed_ms: u64,
    /// The largest body that it takes.
    max_receive: usize,
    /// It was told that the server goes away.
    is_leaving: bool,
}

/// How far some output goes along with what was owed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared<'a> {
    /// How many replies and answers are not wholly there.
    pub missing: usize,
    /// What stands behind the others: a part of the next one, last words, or what should not be there.
    pub rest: &'a [u8],
    /// Whether `rest` is a part of the next one, or nothing.
    pub is_prefix: bool,
    /// Whether it was told that the server goes away.
    pub is_leaving: bool,
    /// A request failed where there is no way to say so: nothing behind it is owed.
    pub has_failed: bool,
    /// PINGs and NOTICEs that it got.
    pub pings: u64,
    /// The same.
    pub notices: u64,
    /// Whether it should have got one.
    pub wants_notice: bool,
    /// Whether WELCOME came.
    pub is_welcomed: bool,
}

/// Compares output with what is owed for all that was said, which may have waited `elapsed_ms` at most.
pub fn compare<'a>(rules: Rules, elapsed_ms: u64, said: &[Said], output: &'a [u8]) -> Compared<'a> {
    let mut client = Client { rules, elapsed_ms, max_receive: usize::MAX, is_leaving: false };
    let mut got = Compared { rest: output, ..Compared::default() };
    // Refusals that nobody is told of in their place, as status and header.
    let mut refused = Vec::new();
    for (place, said_now) in said.iter().enumerate() {
        while got.is_welcomed
            && got.skip_unasked(|notice| {
                // Silent refusals up to the next reply may have been noticed by now.
                let mut ahead = said[place..].iter().map_while(|said| client.silent_refusals(said)).flatten();
                refused.contains(&notice) || ahead.any(|refusal| refusal == notice)
            })
        {
            client.is_leaving = got.is_leaving;
        }
        let fate = client.fate(said_now);
        let alternatives = match fate {
            Fate::Owed(alternatives) => alternatives,
            Fate::Silent(statuses) => {
                let bits = header_of(said_now);
                got.wants_notice |= got.is_welcomed && client.is_refused_in_any_case(said_now);
                refused.extend(statuses.into_iter().chain([DRAINING]).map(|status| (status, bits)));
                continue;
            }
        };
        if rules.speech == Speech::Bare && matches!(alternatives[..], [Due::Failure(_)]) {
            got.has_failed = true;
            got.is_prefix = got.rest.is_empty();
            return got;
        }
        let fits: Vec<_> = alternatives.iter().map(|due| fit(rules, due, got.rest)).collect();
        match fits.iter().find(|fit| **fit != Fit::Not) {
            Some(Fit::Whole(bytes)) => got.rest = &got.rest[*bytes..],
            Some(Fit::Part) | Some(Fit::Not) | None => {
                got.is_prefix |= got.rest.is_empty() || fits.contains(&Fit::Part);
                got.missing = said[place..].iter().filter(|said| client.is_owed(said)).count();
                return got;
            }
        }
        if let Said::Hello { hello, .. } = said_now {
            got.is_welcomed = true;
            let max_receive = hello.4.iter().find(|(tag, _)| *tag == 1);
            let number =
                |value: &Vec<u8>| value.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
            client.max_receive = max_receive.map_or(usize::MAX, |(_, value)| number(value));
        }
    }
    while got.is_welcomed && got.skip_unasked(|notice| refused.contains(&notice)) {}
    got.is_prefix |= got.rest.is_empty();
    got
}

impl Compared<'_> {
    /// Passes over a frame that nobody asked for, if one is next.
    fn skip_unasked(&mut self, was_refused: impl Fn((u16, u16)) -> bool) -> bool {
        let begins = |bits: [u8; 2]| goes_along(self.rest, &bits);
        if self.rest.is_empty() || !(begins([0x40, 0]) || begins([0x40, 0x0c]) || begins([0x40, 5])) {
            return false;
        }
        let Some((bits, payload, bytes)) = whole_frame(self.rest) else {
            // A part of one is a part of what may come.
            self.is_prefix = true;
            return false;
        };
        match bits {
            0x4000 => {
                assert_eq!(payload.len(), 8, "a heartbeat");
                self.pings += 1;
            }
            0x400c => {
                let (status, header) = (u16_at(payload, 0), u16_at(payload, 2));
                assert!(was_refused((status, header)), "nobody refused {header:04x} with {status}");
                assert_text(&payload[4..]);
                self.notices += 1;
            }
            0x4005 if u16_at(payload, 0) == DRAINING && !self.is_leaving => {
                assert_text(&payload[6..]);
                self.is_leaving = true;
            }
            _ => return false,
        }
        self.rest = &self.rest[bytes..];
        true
    }
}

impl Client {
    fn is_owed(&self, said: &Said) -> bool {
        matches!(self.fate(said), Fate::Owed(_))
    }

    fn silent_refusals(&self, said: &Said) -> Option<Vec<(u16, u16)>> {
        match self.fate(said) {
            Fate::Owed(_) => None,
            Fate::Silent(statuses) => {
                let bits = header_of(said);
                Some(statuses.into_iter().chain([DRAINING]).map(|status| (status, bits)).collect())
            }
        }
    }

    /// It was refused however long it waited, and whether or not the server went away before: who can tell when
    /// something was taken that is not answered?
    fn is_refused_in_any_case(&self, said: &Said) -> bool {
        match (Client { is_leaving: false, ..*self }).fate(said) {
            Fate::Owed(_) => false,
            Fate::Silent(statuses) => !statuses.is_empty() && statuses != [DEADLINE_EXCEEDED],
        }
    }

    fn fate(&self, said: &Said) -> Fate {
        let bytes = |bytes| Fate::Owed(vec![Due::Bytes(bytes)]);
        match said {
            Said::Request { bits, block, body } => self.fate_of_request(*bits, block, body),
            Said::Ping(opaque) => bytes(frame(0x4001, opaque)),
            Said::Pong | Said::Told { .. } => Fate::Silent(Vec::new()),
            Said::Hello { .. } => Fate::Owed(vec![Due::Welcome]),
            Said::Ask { id: Some(id), .. } => bytes(frame(0xc00a, &reply_block(Some(*id), UNSUPPORTED))),
            Said::Ask { id: None, .. } => Fate::Silent(vec![UNSUPPORTED]),
        }
    }

    fn fate_of_request(&self, bits: u16, block: &[u8], body: &[u8]) -> Fate {
        let block = naive::block(block);
        let asks = block.clone().unwrap_or_default();
        let outcomes = self.outcomes(bits, &asks, body);
        // A one-way route owes nothing either, unless the request has a correlation.
        let is_silent = asks.one_way || self.route(bits) == 2 && asks.id.is_none();
        if is_silent {
            return Fate::Silent(outcomes.into_iter().filter_map(Result::err).collect());
        }
        let dues = outcomes.into_iter().map(|outcome| match outcome {
            Ok(payload) => Due::Bytes(self.reply(bits, &block, payload)),
            Err(status) => {
                let block = block.as_ref().map(|block| (bits, reply_block(block.id, status)));
                Due::Failure(Failure { status, block })
            }
        });
        Fate::Owed(dues.collect())
    }

    /// How a request may end: with a body or a status.
    fn outcomes(&self, bits: u16, asks: &Block, body: &[u8]) -> Vec<Result<Vec<u8>, u16>> {
        if self.is_leaving {
            return vec![Err(DRAINING)];
        }
        if asks.is_unsupported() {
            return vec![Err(UNSUPPORTED)];
        }
        if asks.deadline == Some(0) {
            return vec![Err(DEADLINE_EXCEEDED)];
        }
        let served = match self.route(bits) {
            0 => Ok("已接收".as_bytes().to_vec()),
            1 => Ok(body.to_vec()),
            2 => Ok(Vec::new()),
            3 => Ok(match body {
                [] => Vec::new(),
                [first, rest @ ..] => [&[first ^ 1], rest].concat(),
            }),
            _ => Err(NO_ROUTE),
        };
        let is_wanted = !asks.one_way;
        let served =
            served.and_then(|body| match refusal(body.len(), self.rules.reply_max, self.max_receive) {
                Some(status) if is_wanted => Err(status),
                Some(_) | None => Ok(body),
            });
        match asks.deadline {
            Some(deadline_ms) if deadline_ms <= self.elapsed_ms => vec![served, Err(DEADLINE_EXCEEDED)],
            Some(_) | None => vec![served],
        }
    }

    const fn route(&self, bits: u16) -> u16 {
        match self.rules.speech {
            Speech::Frames => bits & 0x3fff,
            Speech::Bare | Speech::Lines(_) => bits,
        }
    }

    fn reply(&self, bits: u16, block: &Option<Block>, body: Vec<u8>) -> Vec<u8> {
        match (self.rules.speech, block) {
            (Speech::Lines(_), _) => [&body[..], b"\n"].concat(),
            (Speech::Frames | Speech::Bare, None) => frame(bits, &body),
            (Speech::Frames | Speech::Bare, Some(block)) => {
                frame(bits, &[reply_block(block.id, 0), body].concat())
            }
        }
    }
}

fn header_of(said: &Said) -> u16 {
    match said {
        Said::Request { bits, .. } | Said::Ask { bits, .. } | Said::Told { bits } => *bits,
        Said::Ping(_) => 0x4000,
        Said::Pong => 0x4001,
        Said::Hello { .. } => 0x4002,
    }
}

/// The block of a reply.
pub fn reply_block(id: Option<u64>, status: u16) -> Vec<u8> {
    let [high, low] = status.to_be_bytes();
    match id {
        None => vec![1, 0, high, low],
        Some(id) => [&[3, 1, high, low], &id.to_be_bytes()[..]].concat(),
    }
}

/// How bytes go along with what is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Whole(usize),
    Part,
    Not,
}

fn fit(rules: Rules, due: &Due, bytes: &[u8]) -> Fit {
    let is_part = |is_part| if is_part { Fit::Part } else { Fit::Not };
    match due {
        Due::Bytes(want) if bytes.starts_with(want) => Fit::Whole(want.len()),
        Due::Bytes(want) => is_part(want.starts_with(bytes)),
        Due::Welcome => match whole_frame(bytes) {
            Some((0x4003, payload, size)) => {
                let welcome = naive::welcome(payload).expect("WELCOME is as it should be");
                let (version, flags, most, heartbeat, _, _, tags) = welcome;
                assert_eq!((version, flags, most, heartbeat), (1, 0, rules.payload_max as u64, 25_000));
                assert!(tags.is_empty());
                Fit::Whole(size)
            }
            Some(_) => Fit::Not,
            None => is_part(goes_along(bytes, &[0x40, 3])),
        },
        Due::Failure(failure) => match rules.speech {
            Speech::Lines(_) => {
                let start = format!("ERR {} ", failure.status);
                if !goes_along(bytes, start.as_bytes()) {
                    return Fit::Not;
                }
                memchr::memchr(b'\n', bytes).map_or(Fit::Part, |end| Fit::Whole(end + 1))
            }
            Speech::Frames | Speech::Bare => {
                let plain = (0x4004, failure.status.to_be_bytes().to_vec());
                let (want, front) = failure.block.as_ref().unwrap_or(&plain);
                match whole_frame(bytes) {
                    Some((bits, payload, size)) if bits == *want && payload.starts_with(front) => {
                        assert_text(&payload[front.len()..]);
                        Fit::Whole(size)
                    }
                    Some(_) => Fit::Not,
                    None => {
                        let is_this = goes_along(bytes, &want.to_be_bytes())
                            && goes_along(bytes.get(6..).unwrap_or_default(), front);
                        is_part(is_this)
                    }
                }
            }
        },
    }
}

fn assert_text(text: &[u8]) {
    assert!(text.len() <= 512 && std::str::from_utf8(text).is_ok(), "a text for humans: {text:?}");
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from(bytes[at]) << 8 | u16::from(bytes[at + 1])
}

/// The header, the payload and the size of the frame in front, if it is whole and its sum is right.
pub fn whole_frame(bytes: &[u8]) -> Option<(u16, &[u8], usize)> {
    let prefix = bytes.first_chunk::<6>()?;
    let length = prefix[2..].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let sum = bytes.get(6 + length..10 + length)?;
    (sum == Crc::new().of(&bytes[..6 + length]).to_be_bytes())
        .then(|| (u16_at(bytes, 0), &bytes[6..6 + length], 10 + length))
}

/// Whether the shorter of the two begins the longer.
fn goes_along(some: &[u8], other: &[u8]) -> bool {
    some.iter().zip(other).all(|(a, b)| a == b)
}

/// Whether GOAWAY as the last frame carries the status of this reason, as far as it is there.
pub fn is_goaway_for(why: CloseReason, bytes: &[u8]) -> bool {
    use CloseReason as Why;
    let Some((0x4005, payload, _)) = whole_frame(bytes) else { return true };
    let want = match why {
        Why::BadCrc
        | Why::BadExtension
        | Why::UnknownControl
        | Why::BadControl
        | Why::WrongDirection
        | Why::LateHello
        | Why::FrameDeadline
        | Why::TlsOnPlain
        | Why::Http
        | Why::Resp
        | Why::Proxy => 1,
        Why::Unauthenticated => 2,
        Why::Memory => 5,
        Why::Drained | Why::DrainForced => 9,
        Why::Panicked => 10,
        Why::WriteStall | Why::SlowConsumer => 11,
        Why::Idle | Why::Heartbeat => 13,
        Why::TooLarge | Why::LineTooLong => 14,
        Why::NoCommonVersion => 15,
        Why::PeerClosed
        | Why::Reset
        | Why::Truncated
        | Why::RequestFailed
        | Why::ClosedByService
        | Why::DialFailed
        | Why::Failed => return false,
        _ => panic!("what {why:?} says is not known here"),
    };
    u16_at(payload, 0) == want
}

/// Whether these bytes are last words, or the beginning of some, with nothing behind them.
pub fn is_farewell(rules: Rules, bytes: &[u8]) -> bool {
    const TLS_ALERT: [u8; 7] = [0x15, 3, 1, 0, 2, 2, 0x46];
    match rules.speech {
        Speech::Bare => bytes.is_empty(),
        Speech::Frames | Speech::Lines(_) if TLS_ALERT.starts_with(bytes) => true,
        Speech::Frames => {
            let Some(prefix) = bytes.first_chunk::<6>() else { return goes_along(bytes, &[0x40, 5, 0, 0]) };
            let length = usize::from(prefix[4]) << 8 | usize::from(prefix[5]);
            let is_whole = bytes.len() == length + 10;
            prefix[..4] == [0x40, 5, 0, 0]
                && bytes.len() <= length + 10
                && (!is_whole || bytes == frame(0x4005, &bytes[6..6 + length]))
        }
        Speech::Lines(_) => {
            let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
            goes_along(line, b"ERR ") && !line.contains(&b'\n') && !line.contains(&b'\r')
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules::new(Speech::Frames, 64);

    #[test]
    fn last_words_are_known_wherever_they_are_cut() {
        let words = frame(0x4005, b"\0\x01\0\0\0\0text");
        for cut in 0..=words.len() {
            assert!(is_farewell(RULES, &words[..cut]), "cut at {cut}");
        }
    }

    /// What a greeted client may be sent besides is passed over; what is owed is counted wherever it is cut.
    #[test]
    fn output_is_compared_wherever_it_is_cut() {
        let request = |bits: u16, block: &[u8], body: &[u8]| Said::Request {
            bits,
            block: block.to_vec(),
            body: body.to_vec(),
        };
        let hello = (1, 0, String::new(), Vec::new(), Vec::new());
        let said = [
            Said::Hello { hello, is_unsupported: false },
            request(1, b"", b"plain"),
            Said::Ask { bits: 0x4008, id: None },
            request(0x8009, &[3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7], b""),
            request(1, b"", b"late"),
        ];
        let output = [
            frame(0x4003, b"\x01\0\0\0\0\x40\0\0\x61\xa8\x01s\x01c"),
            frame(1, b"plain"),
            frame(0x8009, b"\x03\x01\0\x04\0\0\0\0\0\0\0\x07no such route"),
            frame(0x400c, b"\0\x0f\x40\x08UNSUPPORTED"),
            frame(0x4000, b"12345678"),
            frame(0x4005, b"\0\x09\0\0\0\0bye"),
            frame(0x4004, b"\0\x09too late"),
        ]
        .concat();
        for cut in 0..=output.len() {
            let got = compare(RULES, 60_000, &said, &output[..cut]);
            assert!(got.is_prefix, "cut at {cut}: {got:?}");
            assert_eq!(got.missing == 0, cut == output.len(), "cut at {cut}: {got:?}");
        }
        let got = compare(RULES, 60_000, &said, &output);
        assert!(got.is_welcomed && got.is_leaving && got.wants_notice);
        assert_eq!((got.pings, got.notices), (1, 1));
        let plain = compare(RULES, 0, &said[1..2], &output);
        assert_eq!((plain.missing, plain.is_prefix), (1, false), "WELCOME is no reply");
    }
}
