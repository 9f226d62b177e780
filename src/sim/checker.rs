//! What a client gets, held against what is due to it, byte for byte.
//!
//! ```text
//!   ordered   [ reply | reply | ... ]    the next one must be the front
//!   loose     { correlated, ACK }        any of them, at any time
//!   pongs     [ PONG | PONG ]            in their order, at any time
//! ```
//!
//! Always holds: what was received so far can have come from a server that keeps to the document, or [`Checker::feed`]
//! says where it can't. Never: the crate's codec, see `codec`.

mod loose;

use super::codec::{self, Block, Welcome, status};
use super::model::{Due, Kind};
use crate::base::Time;
use crate::session::Protocol;
use loose::Loose;
use std::collections::VecDeque;

/// Fatal, protocol_version: what a TLS client is told.
const TLS_ALERT: [u8; 7] = [0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46];

/// The longest text of a failure.
const TEXT_BYTES_MAX: usize = 512;

/// The last thing that a server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    Status(u16),
    TlsAlert,
}

/// What is so at the moment of a receipt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment<'a> {
    pub(super) now: Time,
    /// The server drains, or may tell one connection that it is too old.
    pub(super) has_drained: bool,
    /// The server refuses requests that come too fast.
    pub(super) may_refuse: bool,
    /// A service was made anew, and what the one before had deferred was dropped.
    pub(super) was_rebuilt: bool,
    /// When the message of each due had arrived at the server's kernel, by the due's index.
    pub(super) arrivals: &'a [Time],
    /// Bytes of messages that were to be sent to the client, besides what is due.
    pub(super) message_bytes: usize,
}

/// A refusal that is not answered, and what a notice of it may say.
#[derive(Clone, Debug)]
pub(super) struct Unheard {
    pub(super) header: u16,
    pub(super) fails: Vec<u16>,
    /// A request, not a control frame.
    pub(super) is_request: bool,
    /// It is refused whatever happens.
    pub(super) is_sure: bool,
    /// Where its message begins in the client's stream.
    pub(super) at: usize,
}

/// Holds what comes against what is due.
#[derive(Debug)]
pub(super) struct Checker {
    protocol: Protocol,
    due: Vec<Due>,
    unheard: Vec<Unheard>,
    ordered: VecDeque<usize>,
    loose: Loose,
    pongs: VecDeque<usize>,
    /// Bytes that may be queued for the client.
    queue_bytes_max: usize,
    due_bytes: usize,
    /// Received and not looked at yet.
    tail: Vec<u8>,
    taken: usize,
    received: usize,
    farewell: Option<Farewell>,
    /// The last line, if it said that something failed and was taken for a reply.
    last_error_line: Option<u16>,
    welcome: Option<Welcome>,
    is_told_to_leave: bool,
    /// Requests from this due on were sent by a client that had been told to leave.
    pub(super) drains_from: Option<usize>,
    notices: u64,
    /// Payloads of the server's PINGs that were not answered yet.
    pub(super) pings: VecDeque<Vec<u8>>,
    /// Messages that nobody has looked at yet: topics and bodies.
    pub(super) messages: Vec<(String, Vec<u8>)>,
}

impl Checker {
    pub(super) fn new(
        protocol: Protocol,
        due: Vec<Due>,
        unheard: Vec<Unheard>,
        queue_bytes_max: usize,
    ) -> Checker {
        let indexes = |is_wanted: &dyn Fn(&Due) -> bool| -> VecDeque<usize> {
            (0..due.len()).filter(|index| is_wanted(&due[*index])).collect()
        };
        Checker {
            protocol,
            ordered: indexes(&Due::is_ordered),
            loose: Loose::new(&due),
            pongs: indexes(&|due| due.kind == Kind::Pong),
            due_bytes: due.iter().map(Due::bytes).sum(),
            due,
            unheard,
            queue_bytes_max,
            tail: Vec::new(),
            taken: 0,
            received: 0,
            farewell: None,
            last_error_line: None,
            welcome: None,
            is_told_to_leave: false,
            drains_from: None,
            notices: 0,
            pings: VecDeque::new(),
            messages: Vec::new(),
        }
    }

    /// How much of what is due has come whole.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Bytes of all whole messages that have come, heartbeats left out.
    pub(super) fn received(&self) -> usize {
        self.received
    }

    pub(super) fn farewell(&self) -> Option<Farewell> {
        self.farewell
    }

    /// The status of the last line, if it may have been last words and was taken for a reply.
    pub(super) fn last_error_line(&self) -> Option<u16> {
        self.last_error_line
    }

    pub(super) fn welcome(&self) -> Option<&Welcome> {
        self.welcome.as_ref()
    }

    /// GOAWAY DRAINING has come to a client that said HELLO.
    pub(super) fn is_told_to_leave(&self) -> bool {
        self.is_told_to_leave
    }

    pub(super) fn notices(&self) -> u64 {
        self.notices
    }

    /// Whether the next reply in order may fail, so that a connection that knows no failures ends there.
    pub(super) fn next_may_fail(&self, moment: &Moment<'_>) -> bool {
        self.ordered.front().is_some_and(|index| self.may_end_at(*index, moment))
    }

    /// Whether any that is due may.
    pub(super) fn some_may_fail(&self, moment: &Moment<'_>) -> bool {
        self.ordered.iter().any(|index| self.may_end_at(*index, moment))
    }

    fn may_end_at(&self, index: usize, moment: &Moment<'_>) -> bool {
        !self.due[index].fails.is_empty() || self.may_overflow(moment) || moment.was_rebuilt
    }

    /// Whether more may have waited for the client than may be queued.
    pub(super) fn may_overflow(&self, moment: &Moment<'_>) -> bool {
        self.due_bytes + moment.message_bytes > self.queue_bytes_max
    }

    /// Whether nothing half has come.
    pub(super) fn is_whole(&self) -> bool {
        self.tail.is_empty()
    }

    /// Takes what was received. An error tells the first thing that is not as it must be.
    pub(super) fn feed(&mut self, bytes: &[u8], moment: &Moment<'_>) -> Result<(), String> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut input = std::mem::take(&mut self.tail);
        input.extend_from_slice(bytes);
        let mut at = 0;
        while at < input.len() {
            if self.farewell.is_some() {
                return Err(format!("{} bytes behind the last words", input.len() - at));
            }
            match self.take_one(&input[at..], moment)? {
                0 => break,
                used => {
                    at += used;
                    self.received += used;
                }
            }
        }
        input.drain(..at);
        self.tail = input;
        Ok(())
    }

    /// Takes what stands at the beginning of `input`. Gives its bytes, 0 if it is not whole.
    fn take_one(&mut self, input: &[u8], moment: &Moment<'_>) -> Result<usize, String> {
        let upto = input.len().min(TLS_ALERT.len());
        if input[..upto] == TLS_ALERT[..upto] && self.protocol != Protocol::Bare {
            if upto == TLS_ALERT.len() {
                self.farewell = Some(Farewell::TlsAlert);
                return Ok(upto);
            }
            return Ok(0);
        }
        match self.protocol {
            Protocol::Frame | Protocol::Bare => self.take_frame(input, moment),
            Protocol::Line => self.take_line(input, moment),
        }
    }

    fn take_frame(&mut self, input: &[u8], moment: &Moment<'_>) -> Result<usize, String> {
        let Some((header, bytes)) = codec::head(input) else { return Ok(0) };
        if bytes > FRAME_BYTES_MAX {
            return Err(self.unexpected(input));
        }
        let Some(whole) = input.get(..bytes) else { return Ok(0) };
        let payload = codec::payload(whole)
            .ok_or_else(|| format!("a frame {header:#06x} of {bytes} bytes with a wrong crc"))?;
        if self.protocol == Protocol::Bare {
            self.take_plain(header, payload, moment)?;
        } else if header & codec::CONTROL != 0 {
            self.take_control(header, payload, bytes, moment)?;
        } else if header & codec::EXT != 0 {
            let (block, body) = Block::read(payload)?;
            self.take_extended(header & !codec::EXT, &block, body, moment)?;
        } else {
            self.take_plain(header, payload, moment)?;
        }
        Ok(bytes)
    }

    fn take_plain(&mut self, header: u16, payload: &[u8], moment: &Moment<'_>) -> Result<(), String> {
        match self.ordered.front() {
            Some(&index) if self.due[index].kind == Kind::Plain(header) => {
                self.check(index, status::OK, payload, moment)?;
                self.take_front();
                Ok(())
            }
            Some(_) | None => Err(self.unexpected(&[&header.to_be_bytes()[..], payload].concat())),
        }
    }

    fn take_extended(
        &mut self,
        route: u16,
        block: &Block,
        body: &[u8],
        moment: &Moment<'_>,
    ) -> Result<(), String> {
        if block.is_one_way || block.deadline_ms.is_some() || block.trace.is_some() {
            return Err(format!("a reply with a block of a request: {block:?}"));
        }
        let Some(correlation) = block.correlation else {
            return match self.ordered.front() {
                Some(&index) if self.due[index].kind == Kind::Extended(route) => {
                    self.check(index, block.status, body, moment)?;
                    self.take_front();
                    Ok(())
                }
                Some(_) | None => Err(self.unexpected(&[&block.bytes()[..], body].concat())),
            };
        };
        self.take_loose(Kind::Correlated(route, correlation), block.status, body, moment)
    }

    /// Two requests may have the same correlation: then either reply may come first.
    fn take_loose(&mut self, kind: Kind, code: u16, body: &[u8], moment: &Moment<'_>) -> Result<(), String> {
        self.must_be_welcome()?;
        let dues = self.loose.of(kind);
        let fitting = dues.iter().filter(|index| self.fits(**index, code, body, moment));
        let fitting: Vec<usize> = fitting.copied().collect();
        if self.loose.assign(fitting) {
            self.taken += 1;
            return Ok(());
        }
        let free = self.loose.of(kind).iter().find(|index| self.loose.is_free(**index));
        match free {
            Some(index) => {
                self.check(*index, code, body, moment).and(Err("a reply that came twice".to_owned()))
            }
            None => Err(format!("{kind:?} with status {code}, which is not due")),
        }
    }

    fn take_control(
        &mut self,
        header: u16,
        payload: &[u8],
        bytes: usize,
        moment: &Moment<'_>,
    ) -> Result<(), String> {
        match header {
            codec::WELCOME => self.take_welcome(payload),
            codec::ERROR => {
                let code = text_behind(payload, 2).ok_or("an ERROR that can't be read")?;
                match self.ordered.front() {
                    Some(&index) if matches!(self.due[index].kind, Kind::Plain(_)) => {
                        self.check(index, code, &payload[2..], moment)?;
                        self.take_front();
                        Ok(())
                    }
                    Some(_) | None => Err(format!("ERROR {code}: {}", self.unexpected(payload))),
                }
            }
            codec::GOAWAY => {
                let code = text_behind(payload, 6).ok_or("a GOAWAY that can't be read")?;
                if code == status::DRAINING && self.welcome.is_some() && moment.has_drained {
                    let is_first = !std::mem::replace(&mut self.is_told_to_leave, true);
                    return if is_first { Ok(()) } else { Err("told twice to leave".to_owned()) };
                }
                self.farewell = Some(Farewell::Status(code));
                Ok(())
            }
            codec::PONG => {
                self.must_be_welcome()?;
                let index = self.pongs.pop_front().ok_or("a PONG for nothing")?;
                self.taken += 1;
                self.check(index, status::OK, payload, moment)
            }
            _ => self.take_unasked(header, payload, bytes, moment),
        }
    }

    /// What only clients get that said HELLO, besides what is due to them.
    fn take_unasked(
        &mut self,
        header: u16,
        payload: &[u8],
        bytes: usize,
        moment: &Moment<'_>,
    ) -> Result<(), String> {
        if header == codec::EXT | codec::ACK {
            let (block, body) = Block::read(payload)?;
            let correlation = block.correlation.ok_or("an ACK without a correlation")?;
            return self.take_loose(Kind::Ack(correlation), block.status, body, moment);
        }
        if self.welcome.is_none() {
            return Err(format!("{header:#06x} to a client that was not welcomed"));
        }
        match header {
            codec::PING if payload.len() <= 64 => {
                self.received -= bytes;
                self.pings.push_back(payload.to_vec());
                Ok(())
            }
            codec::MESSAGE => {
                let mut body = payload;
                let topic = codec::take_text(&mut body).ok_or("a MESSAGE that can't be read")?;
                self.messages.push((topic.to_owned(), body.to_vec()));
                Ok(())
            }
            codec::NOTICE => self.take_notice(payload, moment),
            _ => Err(format!("{header:#06x} is no frame for a client")),
        }
    }

    fn take_notice(&mut self, payload: &[u8], moment: &Moment<'_>) -> Result<(), String> {
        let code = text_behind(payload, 4).ok_or("a NOTICE that can't be read")?;
        let header = u16::from_be_bytes([payload[2], payload[3]]);
        let is_right = |unheard: &&Unheard| {
            unheard.header == header
                && (unheard.fails.contains(&code)
                    || unheard.is_request && code == status::DRAINING && moment.has_drained
                    || unheard.is_request && code == status::OVERLOADED && moment.may_refuse
                    || unheard.is_request && code == status::DEADLINE_EXCEEDED)
        };
        if !self.unheard.iter().any(|unheard| is_right(&unheard)) {
            return Err(format!("a NOTICE of {code} on {header:#06x}, which was not refused so"));
        }
        self.notices += 1;
        Ok(())
    }

    fn take_welcome(&mut self, payload: &[u8]) -> Result<(), String> {
        match self.ordered.front() {
            Some(&index) if self.due[index].kind == Kind::Welcome => {
                self.welcome = Some(Welcome::read(payload).ok_or("a WELCOME that can't be read")?);
                self.take_front();
                Ok(())
            }
            Some(_) | None => Err("a WELCOME that is not due".to_owned()),
        }
    }

    fn must_be_welcome(&self) -> Result<(), String> {
        match self.ordered.front() {
            Some(&index) if self.due[index].kind == Kind::Welcome => {
                Err(format!("something else than WELCOME first, with {} due", self.due.len()))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn take_line(&mut self, input: &[u8], moment: &Moment<'_>) -> Result<usize, String> {
        let due = self.ordered.front().map(|index| &self.due[*index]);
        let replies = due.map_or(&[][..], |due| &due.replies[..]);
        let mut is_begun = false;
        for reply in replies {
            let upto = input.len().min(reply.len());
            if input[..upto] != reply[..upto] {
                continue;
            }
            if input.get(reply.len()) == Some(&b'\n') {
                let used = reply.len() + 1;
                self.last_error_line = None;
                self.take_front();
                return Ok(used);
            }
            is_begun |= input.len() <= reply.len();
        }
        if is_begun {
            return Ok(0);
        }
        let start = b"ERR ";
        let upto = input.len().min(start.len());
        if input[..upto] != start[..upto] {
            return Err(self.unexpected(input));
        }
        let Some(end) = input.iter().position(|b| *b == b'\n') else { return Ok(0) };
        let line = String::from_utf8_lossy(&input[..end]).into_owned();
        let mut words = line.split(' ').skip(1);
        let code = words.next().and_then(|word| word.parse::<u16>().ok());
        let (Some(code), Some(_name)) = (code, words.next()) else {
            return Err(format!("an error line that is none: {line}"));
        };
        let front = self.ordered.front().copied();
        match front.map(|index| self.check(index, code, b"", moment)) {
            Some(Ok(())) => {
                self.last_error_line = Some(code);
                self.take_front();
            }
            Some(Err(_)) | None => self.farewell = Some(Farewell::Status(code)),
        }
        Ok(end + 1)
    }

    fn take_front(&mut self) {
        self.ordered.pop_front();
        self.taken += 1;
    }

    /// Whether this due may be answered so.
    fn fits(&self, index: usize, code: u16, body: &[u8], moment: &Moment<'_>) -> bool {
        let due = &self.due[index];
        match code {
            _ if self.must_drain(index) => code == status::DRAINING,
            status::OK => due.replies.iter().any(|reply| reply == body),
            _ => due.fails.contains(&code) || self.may_fail(index, code, moment),
        }
    }

    /// Whether it answers a request that was sent after the server had said that it goes.
    fn must_drain(&self, index: usize) -> bool {
        self.due[index].is_request() && self.drains_from.is_some_and(|from| index >= from)
    }

    /// The same, with words for what is wrong.
    fn check(&self, index: usize, code: u16, body: &[u8], moment: &Moment<'_>) -> Result<(), String> {
        if self.fits(index, code, body, moment) {
            return Ok(());
        }
        let due = self.brief(index);
        if self.must_drain(index) {
            return Err(format!("status {code} to a request behind GOAWAY DRAINING, where {due}"));
        }
        if code != status::OK {
            return Err(format!("status {code} ({}) came where {due}", String::from_utf8_lossy(body)));
        }
        let differs = self.due[index].replies.first().map_or(String::new(), |want| {
            let at = want.iter().zip(body).position(|(want, got)| want != got);
            format!(", other from byte {} on,", at.unwrap_or(want.len().min(body.len())))
        });
        Err(format!("a reply of {}{differs} came where {due}", show(body)))
    }

    /// What the server may say of its own accord.
    fn may_fail(&self, index: usize, code: u16, moment: &Moment<'_>) -> bool {
        let due = &self.due[index];
        let is_overdue = due.deadline_ms.is_some_and(|ms| {
            let arrived = moment.arrivals.get(index);
            arrived.is_some_and(|at| moment.now.since_us(*at) + 2_000 >= u64::from(ms) * 1000)
        });
        due.is_request()
            && match code {
                status::DEADLINE_EXCEEDED => is_overdue,
                status::OUTCOME_UNKNOWN => is_overdue || self.may_overflow(moment),
                status::DRAINING => moment.has_drained && self.welcome.is_some(),
                status::INTERNAL => moment.was_rebuilt,
                status::OVERLOADED => moment.may_refuse && self.protocol != Protocol::Bare,
                _ => false,
            }
    }

    fn unexpected(&self, input: &[u8]) -> String {
        let due = self.ordered.front().map_or("nothing was due".to_owned(), |index| self.brief(*index));
        format!("{} came where {due}", show(input))
    }

    fn brief(&self, index: usize) -> String {
        let due = &self.due[index];
        let replies = due.replies.iter().map(|reply| show(reply));
        let fails = due.fails.iter().map(|code| format!("status {code}"));
        let all: Vec<String> = replies.chain(fails).collect();
        format!("{} was due ({:?}, number {index})", all.join(" or "), due.kind)
    }
}

/// Bytes for people: as text if they are one.
fn show(bytes: &[u8]) -> String {
    let first = &bytes[..bytes.len().min(12)];
    let more = if first.len() < bytes.len() { ".." } else { "" };
    if !first.is_empty() && first.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return format!("{} bytes \"{}\"{more}", bytes.len(), String::from_utf8_lossy(first));
    }
    let hex: Vec<String> = first.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} bytes [{}{more}]", bytes.len(), hex.join(" "))
}

/// No frame of a world is larger: a length over it is not one.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// The status that a payload begins with, if it is followed by fields and a text.
fn text_behind(payload: &[u8], fields: usize) -> Option<u16> {
    let text = payload.get(fields..)?;
    let is_text = text.len() <= TEXT_BYTES_MAX && std::str::from_utf8(text).is_ok();
    is_text.then(|| u16::from_be_bytes([payload[0], payload[1]]))
}

#[cfg(test)]
mod tests;
