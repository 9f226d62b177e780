//! A server of the protocol in one page, over blocking sockets: a thread a connection, no limits but the protocol's.
//!
//! It shares nothing with the crate but the sum of a frame, so it is a second reader of docs/PROTOCOL.md. With a
//! [`Fault`] it is wrong in one way, as servers are in their first week.

use crate::support::client::{EXT, frame};
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const ECHO: u16 = 1;
const ONE_WAY: u16 = 2;
const MAX: usize = 1 << 20;
const LINE_MAX: usize = 64 << 10;

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    WrongCrc,
    SwapsReplies,
    DropsTheLastByte,
    NoGoAway,
    GoAwayFirst,
    GoAwayWithoutStatus,
    GoesOnAfterGoAway,
    TrustsTheLengthOfDamage,
    TakesTooMuch,
    ResetsAtTheEnd,
    ForgetsWhoHalfCloses,
    AnswersOneWayRoutes,
    AnswersOneWayFlags,
    OneWayRoutesIgnoreIds,
    ForgetsIds,
    RepliesWithoutBlock,
    RepliesAlwaysWithBlock,
    FailsByErrorOnly,
    ErrorsAreSilent,
    IgnoresDeadlines,
    IgnoresReservedFlags,
    IgnoresCriticalTags,
    ClosesOnUnknownFlags,
    TakesAnyBlock,
    EmptyPong,
    AnswersPong,
    TakesLateHello,
    TakesAnyVersion,
    SpeaksAHigherVersion,
    NoWelcome,
    IgnoresMaxReceive,
    NoAck,
    AckIsOk,
    NoticesEverybody,
    NoticesNobody,
    TakesAnyDirection,
    TakesAnyControl,
    LinesAreSilent,
    LinesNeverTooLong,
}

/// Serves frames and lines until the process ends.
pub(crate) fn serve(fault: Option<Fault>) -> (SocketAddr, SocketAddr) {
    let listen = |talk: fn(TcpStream, Option<Fault>)| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || talk(stream, fault));
            }
        });
        address
    };
    (listen(frames), listen(lines))
}

/// What to do with a frame.
enum Next {
    More,
    Took(usize),
    Close(u16),
}

struct Toy {
    fault: Option<Fault>,
    is_first: bool,
    is_known: bool,
    was_noticed: bool,
    max_receive: usize,
    out: Vec<Vec<u8>>,
}

fn frames(mut stream: TcpStream, fault: Option<Fault>) {
    let (is_first, max_receive, out) = (true, usize::MAX, Vec::new());
    let mut toy = Toy { fault, is_first, is_known: false, was_noticed: false, max_receive, out };
    let (mut input, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let count = stream.read(&mut chunk).unwrap_or(0);
        if count == 0 {
            return;
        }
        input.extend_from_slice(&chunk[..count]);
        let closes = loop {
            match toy.next(&input) {
                Next::More => break None,
                Next::Took(bytes) => drop(input.drain(..bytes)),
                Next::Close(status) => break Some(status),
            }
        };
        if toy.has(Fault::SwapsReplies) && toy.out.len() > 1 {
            toy.out.swap(0, 1);
        }
        if let Some(status) = closes.filter(|_| !toy.has(Fault::NoGoAway)) {
            let status = if toy.has(Fault::GoAwayWithoutStatus) { 0 } else { status };
            let goaway = frame(0x4005, &[&status.to_be_bytes()[..], &[0; 4], b"enough"].concat());
            let place = if toy.has(Fault::GoAwayFirst) { 0 } else { toy.out.len() };
            toy.out.insert(place, goaway);
        }
        if toy.has(Fault::ForgetsWhoHalfCloses) {
            // Whoever has left already is not worth an answer.
            std::thread::sleep(Duration::from_millis(20));
            if stream.set_nonblocking(true).is_ok() && matches!(stream.peek(&mut [0]), Ok(0)) {
                return;
            }
            let _ = stream.set_nonblocking(false);
        }
        for reply in toy.out.drain(..) {
            let bytes =
                if fault == Some(Fault::DropsTheLastByte) { &reply[..reply.len() - 1] } else { &reply };
            let _ = stream.write_all(bytes);
        }
        if closes.is_some() && fault != Some(Fault::GoesOnAfterGoAway) {
            return end(&mut stream, fault);
        }
        if closes.is_some() {
            input.clear();
        }
    }
}

/// Ends the stream, and reads on for a while, so that the last words arrive.
fn end(stream: &mut TcpStream, fault: Option<Fault>) {
    if fault == Some(Fault::ResetsAtTheEnd) {
        let _ = SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
        return;
    }
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    while stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
}

impl Toy {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn send(&mut self, header: u16, payload: &[u8]) {
        let mut bytes = frame(header, payload);
        if self.has(Fault::WrongCrc) {
            *bytes.last_mut().expect("a frame has bytes") ^= 1;
        }
        self.out.push(bytes);
    }

    fn next(&mut self, input: &[u8]) -> Next {
        let Some(head) = input.first_chunk::<6>() else { return Next::More };
        let header = u16::from_be_bytes([head[0], head[1]]);
        let length = u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize;
        let is_control = header & 0x4000 != 0;
        let most = match (is_control, header & EXT != 0) {
            (true, _) if self.is_known => MAX + 512,
            (true, _) => 4096,
            (false, true) => MAX + 1020,
            (false, false) => MAX,
        };
        if length > most && !self.has(Fault::TakesTooMuch) {
            return Next::Close(14);
        }
        if input.len() < length + 10 {
            return Next::More;
        }
        let (summed, crc) = input[..length + 10].split_at(length + 6);
        if crc32fast::hash(summed).to_be_bytes() != crc {
            return if self.has(Fault::TrustsTheLengthOfDamage) {
                Next::Took(length + 10)
            } else {
                Next::Close(1)
            };
        }
        let closes = if is_control {
            self.control(header, &summed[6..])
        } else if header & EXT != 0 {
            self.extended(header, &summed[6..])
        } else {
            self.plain(header, &summed[6..]);
            None
        };
        self.is_first = false;
        closes.map_or(Next::Took(length + 10), Next::Close)
    }

    fn plain(&mut self, header: u16, body: &[u8]) {
        let failure = match header {
            ECHO if body.len() > self.max_receive => 14_u16,
            ECHO if self.has(Fault::RepliesAlwaysWithBlock) => {
                return self.send(EXT | header, &[&[1, 0, 0, 0], body].concat());
            }
            ECHO => return self.send(header, body),
            ONE_WAY if self.has(Fault::AnswersOneWayRoutes) => return self.send(header, b""),
            ONE_WAY => return,
            _ => 4,
        };
        if !self.has(Fault::ErrorsAreSilent) {
            self.send(0x4004, &[&failure.to_be_bytes()[..], b"no"].concat());
        }
    }

    fn extended(&mut self, header: u16, payload: &[u8]) -> Option<u16> {
        let block = match Block::read(payload) {
            Some(block) => block,
            None if self.has(Fault::TakesAnyBlock) => Block::default(),
            None => return Some(1),
        };
        let body = &payload[block.bytes..];
        let has_flags = block.reserved && !self.has(Fault::IgnoresReservedFlags);
        if has_flags && self.has(Fault::ClosesOnUnknownFlags) {
            return Some(15);
        }
        let is_unknown = has_flags || block.critical && !self.has(Fault::IgnoresCriticalTags);
        let is_late = block.deadline == Some(0) && !self.has(Fault::IgnoresDeadlines);
        let (status, reply) = match header & 0x3fff {
            _ if is_unknown => (15_u16, &b"what?"[..]),
            ECHO | ONE_WAY if is_late => (8, &b"late"[..]),
            ECHO if body.len() > self.max_receive => (14, &b"large"[..]),
            ECHO => (0, body),
            ONE_WAY if block.id.is_none() || self.has(Fault::OneWayRoutesIgnoreIds) => return None,
            ONE_WAY => (0, &b""[..]),
            _ => (4, &b"where?"[..]),
        };
        if block.one_way && !self.has(Fault::AnswersOneWayFlags) {
            return None;
        }
        let [high, low] = status.to_be_bytes();
        let mut out = match block.id.filter(|_| !self.has(Fault::ForgetsIds)) {
            Some(id) => [&[3, 1, high, low][..], &id.to_be_bytes()].concat(),
            None => vec![1, 0, high, low],
        };
        out.extend_from_slice(reply);
        if status != 0 && self.has(Fault::FailsByErrorOnly) {
            self.send(0x4004, &[&[high, low][..], reply].concat());
        } else if self.has(Fault::RepliesWithoutBlock) {
            self.send(header & 0x3fff, reply);
        } else {
            self.send(header, &out);
        }
        None
    }

    fn control(&mut self, header: u16, payload: &[u8]) -> Option<u16> {
        let code = header & 0x3fff;
        let (mut id, mut fields) = (None, payload);
        if header & EXT != 0 {
            if ![2, 6, 7, 8, 10].contains(&code) {
                return Some(1);
            }
            let Some(block) = Block::read(payload).and_then(Block::for_control) else { return Some(1) };
            (id, fields) = (block.id, &payload[block.bytes..]);
        }
        let is_good = match code {
            0 | 1 => fields.len() <= 64,
            2 => is_hello(fields),
            6 | 7 => is_subscription(fields),
            8 => counted(fields).is_some_and(|(topic, _)| is_text(topic, 200)),
            _ => self.has(Fault::TakesAnyDirection) && code <= 12,
        };
        if !is_good {
            return if self.has(Fault::TakesAnyControl) { None } else { Some(1) };
        }
        match code {
            0 if self.has(Fault::EmptyPong) => self.send(0x4001, b""),
            0 => self.send(0x4001, fields),
            1 if self.has(Fault::AnswersPong) => self.send(0x4001, fields),
            2 => return self.hello(fields),
            6..=8 => self.asked(header, id),
            _ => {}
        }
        None
    }

    fn hello(&mut self, fields: &[u8]) -> Option<u16> {
        if !self.is_first && !self.has(Fault::TakesLateHello) {
            return Some(1);
        }
        let behind_id = &fields[3 + usize::from(fields[2])..];
        let token = usize::from(u16::from_be_bytes([behind_id[0], behind_id[1]]));
        let tags = tags(&behind_id[2 + token..], false).expect("they were read");
        let is_unknown = tags.iter().any(|(tag, _)| *tag >= 128);
        if (fields[0] == 0 || is_unknown) && !self.has(Fault::TakesAnyVersion) {
            return Some(15);
        }
        if let Some((_, most)) = tags.iter().find(|(tag, _)| *tag == 1)
            && !self.has(Fault::IgnoresMaxReceive)
        {
            self.max_receive = most.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        }
        self.is_known = true;
        let version = if self.has(Fault::SpeaksAHigherVersion) { 2 } else { 1 };
        if !self.has(Fault::NoWelcome) {
            // A payload of 1 MiB, no heartbeats.
            self.send(0x4003, &[&[version, 0], &b"\0\x10\0\0\0\0\0\0\x03toy\x04you1"[..]].concat());
        }
        None
    }

    fn asked(&mut self, header: u16, id: Option<u64>) {
        if let Some(id) = id {
            let status = if self.has(Fault::AckIsOk) { 0 } else { 15 };
            if !self.has(Fault::NoAck) {
                self.send(0xc00a, &[&[3, 1, 0, status][..], &id.to_be_bytes()].concat());
            }
            return;
        }
        let is_told = self.is_known && !self.has(Fault::NoticesNobody) || self.has(Fault::NoticesEverybody);
        if is_told && !self.was_noticed {
            self.was_noticed = true;
            self.send(0x400c, &[&[0, 15][..], &(header & 0x7fff).to_be_bytes(), b"no topics"].concat());
        }
    }
}

#[derive(Default)]
struct Block {
    bytes: usize,
    id: Option<u64>,
    deadline: Option<u32>,
    has_trace: bool,
    one_way: bool,
    reserved: bool,
    critical: bool,
    has_tags: bool,
}

impl Block {
    fn read(payload: &[u8]) -> Option<Block> {
        let bytes = usize::from(*payload.first()?) * 4;
        let (block, mut rest) = (payload.get(..bytes)?, payload.get(4..bytes)?);
        let flags = block[1];
        let mut take = |count: usize| {
            let (front, behind) = rest.split_at_checked(count)?;
            rest = behind;
            Some(front)
        };
        let mut found =
            Block { bytes, one_way: flags & 8 != 0, reserved: flags & 0x70 != 0, ..Block::default() };
        if flags & 1 != 0 {
            found.id = Some(u64::from_be_bytes(take(8)?.try_into().ok()?));
        }
        if flags & 2 != 0 {
            found.deadline = Some(u32::from_be_bytes(take(4)?.try_into().ok()?));
        }
        if flags & 4 != 0 {
            found.has_trace = take(28)?.ends_with(&[0; 3]);
            found.has_trace.then_some(())?;
        }
        if flags & 0x80 != 0 && !found.reserved {
            let tags = tags(rest, true)?;
            found.has_tags = !tags.is_empty();
            found.critical = tags.iter().any(|(tag, _)| *tag >= 128);
        } else if !rest.is_empty() && !found.reserved {
            return None;
        }
        Some(found)
    }

    /// Only what a control frame's block may have.
    fn for_control(self) -> Option<Block> {
        let is_good = self.deadline.is_none() && !self.one_way && !self.has_tags;
        is_good.then_some(self)
    }
}

/// Tags with values; those of blocks have sizes of their own.
fn tags(mut rest: &[u8], of_block: bool) -> Option<Vec<(u8, &[u8])>> {
    let mut found = Vec::new();
    while let Some((&tag, behind)) = rest.split_first() {
        rest = behind;
        if tag != 0 {
            let (value, behind) = counted(rest)?;
            let size = match (tag, of_block) {
                (1, _) => 4,
                (2, true) => 2,
                _ => value.len(),
            };
            (value.len() == size).then_some(())?;
            found.push((tag, value));
            rest = behind;
        }
    }
    Some(found)
}

fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (count, behind) = bytes.split_first()?;
    behind.split_at_checked(usize::from(*count))
}

fn is_text(bytes: &[u8], most: usize) -> bool {
    bytes.len() <= most && std::str::from_utf8(bytes).is_ok()
}

fn is_hello(fields: &[u8]) -> bool {
    let read = || {
        let (id, behind) = counted(fields.get(2..)?)?;
        let (length, behind) = behind.split_first_chunk::<2>()?;
        let (_, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let is_id = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
        (id.len() <= 64 && id.iter().all(is_id)).then_some(())?;
        tags(behind, false)
    };
    read().is_some()
}

fn is_subscription(fields: &[u8]) -> bool {
    let read = || {
        let (group, behind) = counted(fields.get(1..)?)?;
        let (pattern, behind) = counted(behind)?;
        (is_text(group, 255) && is_text(pattern, 200)).then_some(())?;
        tags(behind, false)
    };
    read().is_some()
}

fn lines(mut stream: TcpStream, fault: Option<Fault>) {
    let (mut input, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
    let has = |what: Fault| fault == Some(what);
    loop {
        let count = stream.read(&mut chunk).unwrap_or(0);
        input.extend_from_slice(&chunk[..count]);
        if input.starts_with(&[0x16, 3]) {
            let _ = stream.write_all(&[0x15, 3, 1, 0, 2, 2, 0x46]);
            return end(&mut stream, None);
        }
        let mut replies = 0;
        while let Some(at) = input.iter().position(|byte| *byte == b'\n') {
            input.drain(..=at);
            replies += 1;
        }
        replies += usize::from(count == 0 && !input.is_empty());
        if has(Fault::LinesAreSilent) {
            replies = 0;
        }
        let _ = stream.write_all(&b"got it\n".repeat(replies));
        if input.len() > LINE_MAX && !has(Fault::LinesNeverTooLong) {
            let _ = stream.write_all(b"ERR 14 TOO_LARGE\n");
            return end(&mut stream, None);
        }
        if count == 0 {
            return;
        }
    }
}
