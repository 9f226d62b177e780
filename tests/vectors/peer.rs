//! A reader of one side's bytes, over the library's own codec, in the words of the vectors' wants.

use super::{Case, describe, hex};
use tidegate::wire::{
    Crc, DecodeError, Decoded, Foreign, FrameLimits, Line, LineError, Status, decode, decode_line, last_line,
};

/// The least that a side of a connection does with what it reads: it says what it is, up to the first fault.
pub(crate) struct Peer<'a> {
    case: &'a Case<'a>,
    crc: Crc,
    waiting: Vec<u8>,
    scanned: usize,
    /// What the last look at the input was waiting for.
    need: String,
    said: Vec<String>,
    closed: bool,
}

impl<'a> Peer<'a> {
    pub(crate) fn new(case: &'a Case<'a>) -> Peer<'a> {
        let (need, said) = (String::new(), Vec::new());
        Peer { case, crc: Crc::new(), waiting: Vec::new(), scanned: 0, need, said, closed: false }
    }

    pub(crate) fn take(&mut self, chunk: &[u8]) {
        self.waiting.extend_from_slice(chunk);
        while !self.closed {
            let used = if self.case.kind == "line" { self.next_line() } else { self.next_frame() };
            let Some(used) = used else { break };
            self.waiting.drain(..used);
        }
    }

    /// What was said, with what is still waited for, and what the end of the stream adds if that is asked for.
    pub(crate) fn finish(mut self, ends: bool) -> Vec<String> {
        let lines = self.case.kind == "line";
        let waits = !self.closed && (!self.waiting.is_empty() || self.said.is_empty());
        if waits {
            self.said.push(self.need.clone());
        }
        if ends && !self.closed {
            self.said.push(match last_line(&self.waiting) {
                None => "eof nothing".to_owned(),
                Some(line) if lines => format!("eof line {}", hex(line)),
                Some(_) => "eof truncated".to_owned(),
            });
        }
        self.said
    }

    fn next_frame(&mut self) -> Option<usize> {
        let limits = FrameLimits::new(self.case.limit);
        let decoded = decode(&self.waiting, limits, &self.crc);
        let whole = matches!(decoded, Ok(Decoded::Frame(_)));
        let first = self.said.is_empty() && !self.case.from_server;
        if let Some(foreign) = Foreign::on_frames(&self.waiting).filter(|_| first && !whole) {
            return self.close(foreign.name(), None);
        }
        match decoded {
            Ok(Decoded::Frame(frame)) => {
                let used = frame.frame_bytes();
                match describe(frame, self.case.from_server) {
                    Ok(said) => self.said.push(said),
                    Err(reason) => return self.close(reason, Some(Status::PROTOCOL)),
                }
                Some(used)
            }
            Ok(Decoded::NeedMore { frame_bytes }) => {
                self.need = format!("need_more {frame_bytes}");
                None
            }
            Err(DecodeError::TooLarge { .. }) => self.close("too_large", Some(Status::TOO_LARGE)),
            Err(DecodeError::BadCrc { .. }) => self.close("bad_crc", Some(Status::PROTOCOL)),
        }
    }

    fn next_line(&mut self) -> Option<usize> {
        if let Some(foreign) = Foreign::on_lines(&self.waiting).filter(|_| self.said.is_empty()) {
            return self.close(foreign.name(), None);
        }
        match decode_line(&self.waiting, self.scanned, self.case.limit) {
            Ok(Line::Whole { payload, used }) => {
                self.said.push(format!("line {}", hex(payload)));
                self.scanned = 0;
                Some(used)
            }
            Ok(Line::NeedMore) => {
                self.scanned = self.waiting.len();
                self.need = "need_more".to_owned();
                None
            }
            Err(LineError::TooLong { .. }) => self.close("line_too_long", Some(Status::TOO_LARGE)),
        }
    }

    fn close(&mut self, reason: &str, status: Option<Status>) -> Option<usize> {
        let status = status.map_or("-".to_owned(), |status| status.code().to_string());
        self.said.push(format!("close {reason} {status}"));
        self.closed = true;
        None
    }
}
