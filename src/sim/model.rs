//! What a client must see: its own checksum, its own framing, its own idea of what is due, byte for byte.
//!
//! Nothing here uses the crate's codec. What the server shows is held against the document (docs/PROTOCOL.md) and
//! the caller's model of the service, not against the code that made it.
//!
//! Always holds: what was received so far is a prefix of what is due, or [`Checker::feed`] says where it is not.

use crate::session::Protocol;
use std::collections::VecDeque;

/// A request of a scripted client, as the caller's model sees it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Which client sends it.
    pub client: u32,
    /// Its place among that client's requests.
    pub sequence: u32,
    /// The route; a line's is its listener's.
    pub route: u16,
    /// The payload; a line's is without its end.
    pub payload: &'a [u8],
}

/// What a service must say to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A reply with this payload.
    Reply(Vec<u8>),
    /// A failure with this status; its text is not looked at. A handler that panics fails with 10, INTERNAL.
    Fails(u16),
    /// Nothing.
    Silent,
}

pub(super) mod status {
    pub(in crate::sim) const PROTOCOL: u16 = 1;
    pub(in crate::sim) const UNAUTHENTICATED: u16 = 2;
    pub(in crate::sim) const OVERLOADED: u16 = 5;
    pub(in crate::sim) const DRAINING: u16 = 9;
    pub(in crate::sim) const INTERNAL: u16 = 10;
    pub(in crate::sim) const IDLE: u16 = 13;
    pub(in crate::sim) const TOO_LARGE: u16 = 14;
    pub(in crate::sim) const UNSUPPORTED: u16 = 15;
}

pub(super) const PING: u16 = 0x4000;
pub(super) const PONG: u16 = 0x4001;
pub(super) const ERROR: u16 = 0x4004;
pub(super) const HELLO: u16 = 0x4002;
pub(super) const GOAWAY: u16 = 0x4005;
pub(super) const EXT: u16 = 0x8000;
/// Fatal, protocol_version: what a TLS client is told.
const TLS_ALERT: [u8; 7] = [0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46];

/// One thing that is due to a client, in its place.
#[derive(Clone, Debug)]
pub(super) enum Due {
    /// These bytes and no others.
    Exact(Vec<u8>),
    /// A failure with this status.
    Failure(u16),
}

impl Due {
    /// Its size; a failure's is not known and small.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Due::Exact(bytes) => bytes.len(),
            Due::Failure(_) => 0,
        }
    }
}

/// The last thing that a server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    Status(u16),
    TlsAlert,
}

/// Holds what comes against what is due.
#[derive(Debug)]
pub(super) struct Checker {
    protocol: Protocol,
    due: VecDeque<Due>,
    /// Received and not yet a whole message.
    tail: Vec<u8>,
    /// How much of the tail is known to be the beginning of what is due next.
    compared: usize,
    taken: usize,
    farewell: Option<Farewell>,
}

impl Checker {
    pub(super) fn new(protocol: Protocol, due: Vec<Due>) -> Checker {
        Checker { protocol, due: due.into(), tail: Vec::new(), compared: 0, taken: 0, farewell: None }
    }

    /// How much of what is due has come whole.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    pub(super) fn farewell(&self) -> Option<Farewell> {
        self.farewell
    }

    /// Whether nothing half has come.
    pub(super) fn is_whole(&self) -> bool {
        self.tail.is_empty()
    }

    /// Takes what was received. An error tells the first thing that is not as it must be.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.tail.extend_from_slice(bytes);
        while !self.tail.is_empty() {
            if self.farewell.is_some() {
                return Err(format!("{} bytes behind the last words", self.tail.len()));
            }
            if !self.take_one()? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn take_one(&mut self) -> Result<bool, String> {
        if let Some(Due::Exact(want)) = self.due.front() {
            let upto = self.tail.len().min(want.len());
            if self.tail[self.compared..upto] == want[self.compared..upto] {
                self.compared = upto;
                if upto < want.len() {
                    return Ok(false);
                }
                self.take(upto);
                return Ok(true);
            }
            if self.compared >= 2 {
                let at = (0..upto).find(|at| self.tail[*at] != want[*at]).unwrap_or(upto);
                return Err(format!("reply {} is wrong at byte {at} of {}", self.taken, want.len()));
            }
        }
        if self.tail[0] == TLS_ALERT[0] {
            return self.take_alert();
        }
        match self.protocol {
            Protocol::Frame | Protocol::Bare => self.take_control(),
            Protocol::Line => self.take_error_line(),
        }
    }

    fn take(&mut self, bytes: usize) {
        self.tail.drain(..bytes);
        self.due.pop_front();
        self.compared = 0;
        self.taken += 1;
    }

    fn take_alert(&mut self) -> Result<bool, String> {
        let upto = self.tail.len().min(TLS_ALERT.len());
        if self.tail[..upto] != TLS_ALERT[..upto] {
            return Err(format!("neither a reply nor an alert: {:02x?}", &self.tail[..upto]));
        }
        if upto < TLS_ALERT.len() {
            return Ok(false);
        }
        self.tail.drain(..upto);
        self.farewell = Some(Farewell::TlsAlert);
        Ok(true)
    }

    fn take_control(&mut self) -> Result<bool, String> {
        let Some((&[h0, h1, l0, l1, l2, l3], _)) = self.tail.split_first_chunk::<6>() else {
            return if self.tail[0] == 0x40 { Ok(false) } else { Err(self.unexpected()) };
        };
        let (header, length) = (u16::from_be_bytes([h0, h1]), u32::from_be_bytes([l0, l1, l2, l3]) as usize);
        let fields = match header {
            ERROR => 2,
            GOAWAY => 6,
            _ => return Err(self.unexpected()),
        };
        if !(fields..=fields + 512).contains(&length) {
            return Err(format!("a control frame {header:#06x} of {length} bytes"));
        }
        let whole = 6 + length + 4;
        if self.tail.len() < whole {
            return Ok(false);
        }
        let sum = crc32(&self.tail[..6 + length]).to_be_bytes();
        if self.tail[6 + length..whole] != sum {
            return Err(format!("a control frame {header:#06x} with a wrong crc"));
        }
        if std::str::from_utf8(&self.tail[6 + fields..6 + length]).is_err() {
            return Err("a text that is not utf-8".to_owned());
        }
        let code = u16::from_be_bytes([self.tail[6], self.tail[7]]);
        self.take_status(header == GOAWAY, code, whole)
    }

    fn take_error_line(&mut self) -> Result<bool, String> {
        let start = b"ERR ";
        let upto = self.tail.len().min(start.len());
        if self.tail[..upto] != start[..upto] {
            return Err(self.unexpected());
        }
        let Some(end) = self.tail.iter().position(|b| *b == b'\n') else { return Ok(false) };
        let line = String::from_utf8_lossy(&self.tail[..end]).into_owned();
        let mut words = line.split(' ').skip(1);
        let code = words.next().and_then(|word| word.parse::<u16>().ok());
        let (Some(code), Some(_name)) = (code, words.next()) else {
            return Err(format!("an error line that is none: {line}"));
        };
        let is_due = matches!(self.due.front(), Some(Due::Failure(due)) if *due == code);
        self.take_status(!is_due, code, end + 1)
    }

    fn take_status(&mut self, is_farewell: bool, code: u16, whole: usize) -> Result<bool, String> {
        if is_farewell {
            self.tail.drain(..whole);
            self.farewell = Some(Farewell::Status(code));
            return Ok(true);
        }
        match self.due.front() {
            Some(Due::Failure(due)) if *due == code => {
                self.take(whole);
                Ok(true)
            }
            Some(due) => Err(format!("status {code} in the place of reply {}: {}", self.taken, brief(due))),
            None => Err(format!("status {code} for nothing")),
        }
    }

    fn unexpected(&self) -> String {
        let first = &self.tail[..self.tail.len().min(16)];
        let due = self.due.front().map_or("nothing".to_owned(), brief);
        format!("{} bytes {first:02x?}.. in the place of reply {}: {due}", self.tail.len(), self.taken)
    }
}

fn brief(due: &Due) -> String {
    match due {
        Due::Failure(status) => format!("status {status}"),
        Due::Exact(bytes) => format!("{} bytes {:02x?}..", bytes.len(), &bytes[..bytes.len().min(16)]),
    }
}

/// A frame as the document has it.
pub(super) fn frame(header: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 10);
    frame.extend_from_slice(&header.to_be_bytes());
    frame.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(payload);
    let sum = crc32(&frame);
    frame.extend_from_slice(&sum.to_be_bytes());
    frame
}

/// CRC-32/ISO-HDLC, from tables that are made bit by bit out of the polynomial; eight bytes at a time, since worlds
/// run in debug builds.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let (eights, rest) = bytes.as_chunks::<8>();
    let mut sum = !0_u32;
    for &[b0, b1, b2, b3, b4, b5, b6, b7] in eights {
        let [s0, s1, s2, s3] = sum.to_le_bytes();
        sum = TABLES[7][usize::from(s0 ^ b0)]
            ^ TABLES[6][usize::from(s1 ^ b1)]
            ^ TABLES[5][usize::from(s2 ^ b2)]
            ^ TABLES[4][usize::from(s3 ^ b3)]
            ^ TABLES[3][usize::from(b4)]
            ^ TABLES[2][usize::from(b5)]
            ^ TABLES[1][usize::from(b6)]
            ^ TABLES[0][usize::from(b7)];
    }
    for byte in rest {
        sum = (sum >> 8) ^ TABLES[0][usize::from(sum.to_le_bytes()[0] ^ byte)];
    }
    !sum
}

/// `TABLES[n][byte]`: what the byte does to the sum with `n` bytes of zero behind it.
static TABLES: [[u32; 256]; 8] = {
    let mut tables = [[0; 256]; 8];
    let mut index = 0;
    while index < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let mut sum = index as u32;
        let mut behind = 0;
        while behind < 8 {
            let mut bit = 0;
            while bit < 8 {
                sum = if sum & 1 == 1 { (sum >> 1) ^ 0xEDB8_8320 } else { sum >> 1 };
                bit += 1;
            }
            tables[behind][index] = sum;
            behind += 1;
        }
        index += 1;
    }
    tables
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_documented_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(crc32(&bytes), crate::wire::Crc::new().of(&bytes));
        let hello = b"\x00\x01\x00\x00\x00\x05hello\x24\xba\x1a\xfa";
        assert_eq!(frame(1, b"hello"), hello);
    }

    #[test]
    fn a_checker_tells_right_from_wrong() {
        let goaway = frame(GOAWAY, b"\0\x09\0\0\0\0bye");
        let error = frame(ERROR, b"\0\x04no");
        #[rustfmt::skip]
        let table: &[(&str, Vec<Vec<u8>>, bool)] = &[
            ("all of it",           vec![frame(1, b"a"), error.clone(), goaway.clone()], true),
            ("the end came early",  vec![frame(1, b"a"), goaway.clone()],                true),
            ("wrong reply",         vec![frame(1, b"b")],                                false),
            ("reply left out",      vec![error.clone()],                                 false),
            ("twice",               vec![frame(1, b"a"), frame(1, b"a")],                false),
            ("behind the end",      vec![goaway.clone(), frame(1, b"a")],                false),
            ("for nothing",         vec![frame(1, b"a"), error.clone(), error.clone()],  false),
        ];
        for (name, parts, want) in table {
            let whole: Vec<u8> = parts.concat();
            for step in [1, 3, whole.len()] {
                let due = vec![Due::Exact(frame(1, b"a")), Due::Failure(4)];
                let mut checker = Checker::new(Protocol::Frame, due);
                let got = whole.chunks(step).try_for_each(|chunk| checker.feed(chunk));
                assert_eq!(got.is_ok(), *want, "case: {name} in steps of {step}: {got:?}");
            }
        }
    }
}
