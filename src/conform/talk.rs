//! One connection of a case: sends what it sends, and compares what comes with what must.
//!
//! Blocking, with a deadline on every wait. A server may refuse and leave while we still write; that is no fault of
//! its own, so a write that fails only ends the writing.

use super::expect::{Expect, Waiting};
use super::vectors::{Case, On, Step};
use super::{Failure, words};
use crate::base::limits::PAYLOAD_BYTES_MAX;
use crate::client::{Error, Stream};
use crate::wire::{Control, ControlFrame, Crc, Decoded, FrameLimits, Header, Line, decode, decode_line};
use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// Long enough that what was sent before and what is sent behind it arrive apart.
const PAUSE: Duration = Duration::from_millis(20);
/// The longest line that is read.
const LINE_BYTES_MAX: u32 = 1 << 20;

/// How what is sent is cut into writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    AtOnce,
    ByteByByte,
}

/// A connection.
pub(super) struct Talk {
    stream: Stream,
    timeout: Duration,
    crc: Crc,
    /// What came and was not looked at.
    input: Vec<u8>,
    sent: Vec<u8>,
    can_write: bool,
    waiting: Waiting,
}

/// What came.
enum Came {
    Frame {
        header: Header,
        payload: Vec<u8>,
        bytes: Vec<u8>,
    },
    Line(Vec<u8>),
    /// What can't be read: in words, with its bytes.
    Unreadable(String, Vec<u8>),
    End,
    /// Nothing whole, for the whole time.
    Nothing,
}

impl Talk {
    pub(super) fn connect(address: &str, timeout: Duration) -> Result<Talk, Error> {
        let stream = Stream::connect(address, timeout)?;
        stream.set_write_timeout(timeout).map_err(Error::Io)?;
        let (input, sent, waiting) = (Vec::new(), Vec::new(), Waiting::default());
        Ok(Talk { stream, timeout, crc: Crc::new(), input, sent, can_write: true, waiting })
    }

    /// Plays a case from its first step to the end of the stream.
    pub(super) fn play(mut self, case: &Case, pace: Pace) -> Result<(), Failure> {
        for step in &case.steps {
            match step {
                Step::Expect(expect) => {
                    self.waiting.add(expect.clone());
                    continue;
                }
                Step::Send(_) | Step::Pause | Step::Finish => self.wait(case.on)?,
            }
            match step {
                Step::Send(bytes) => self.send(bytes, pace),
                Step::Pause => std::thread::sleep(PAUSE),
                Step::Finish => self.finish(),
                Step::Expect(_) => {}
            }
        }
        let ends =
            case.steps.iter().any(|step| matches!(step, Step::Expect(Expect::End | Expect::AnythingThenEnd)));
        if !ends {
            // Nothing more may come; the end shows that nothing does.
            self.wait(case.on)?;
            self.finish();
            self.waiting.add(Expect::End);
        }
        self.wait(case.on)
    }

    /// The `max_payload` of the WELCOME that answers this, if one does.
    pub(super) fn ask(&mut self, hello: &Control<'_>) -> Option<u32> {
        let mut bytes = Vec::new();
        hello.encode(&mut bytes, &self.crc);
        self.send(&bytes, Pace::AtOnce);
        let Came::Frame { header, payload, .. } = self.next(On::Frames) else { return None };
        match ControlFrame::parse(header, &payload).map(|frame| frame.control) {
            Ok(Control::Welcome(welcome)) if header.is_control() => Some(welcome.max_payload),
            Ok(_) | Err(_) => None,
        }
    }

    fn send(&mut self, bytes: &[u8], pace: Pace) {
        let chunk = match pace {
            Pace::AtOnce => bytes.len().max(1),
            Pace::ByteByByte => 1,
        };
        for chunk in bytes.chunks(chunk) {
            self.can_write = self.can_write && self.stream.write_all(chunk).is_ok();
        }
        self.sent.extend_from_slice(bytes);
    }

    fn finish(&mut self) {
        // The server may have been faster.
        let _ = self.stream.finish();
        self.can_write = false;
    }

    /// Reads until nothing is waited for.
    fn wait(&mut self, on: On) -> Result<(), Failure> {
        while !self.waiting.is_empty() {
            if matches!(self.waiting.first(), Some(Expect::AnythingThenEnd)) {
                self.read_to_end()?;
            } else if matches!(self.waiting.first(), Some(Expect::Bytes(_))) {
                self.wait_for_bytes()?;
            } else {
                let came = self.next(on);
                self.judge(came)?;
            }
        }
        Ok(())
    }

    fn judge(&mut self, came: Came) -> Result<(), Failure> {
        match came {
            Came::Frame { header, payload, .. } if self.waiting.takes_frame(header, &payload) => Ok(()),
            Came::Frame { header, payload, .. } if self.is_beside_the_point(header, &payload) => Ok(()),
            Came::Frame { header, payload, bytes } => {
                Err(self.failure(words::frame(header, &payload), bytes))
            }
            Came::Line(line) if self.waiting.takes_line(&line) => Ok(()),
            Came::Line(line) => {
                Err(self.failure(format!("the line {:?}", String::from_utf8_lossy(&line)), line))
            }
            Came::End if self.waiting.takes_end() => Ok(()),
            Came::End => Err(self.failure("the end of the stream".to_owned(), Vec::new())),
            Came::Unreadable(what, bytes) => Err(self.failure(what, bytes)),
            Came::Nothing => Err(self.failure_of_silence()),
        }
    }

    /// A server may ask for life at any time, and say goodbye to who has left.
    fn is_beside_the_point(&mut self, header: Header, payload: &[u8]) -> bool {
        if !header.is_control() {
            return false;
        }
        match ControlFrame::parse(header, payload).map(|frame| frame.control) {
            Ok(Control::Ping(opaque)) => {
                let mut pong = Vec::new();
                Control::Pong(opaque).encode(&mut pong, &self.crc);
                if self.can_write {
                    self.can_write = self.stream.write_all(&pong).is_ok();
                }
                true
            }
            Ok(Control::GoAway { .. }) => !self.can_write && self.waiting.only_end(),
            Ok(_) | Err(_) => false,
        }
    }

    fn next(&mut self, on: On) -> Came {
        let until = Instant::now() + self.timeout;
        loop {
            let came = match on {
                On::Frames => self.frame_in_input(),
                On::Lines => self.line_in_input(),
            };
            if let Some(came) = came {
                return came;
            }
            match self.read(until) {
                Ok(0) if self.input.is_empty() => return Came::End,
                Ok(0) => {
                    let bytes = std::mem::take(&mut self.input);
                    return Came::Unreadable(
                        "the end of the stream within a frame or a line".to_owned(),
                        bytes,
                    );
                }
                Ok(_) => {}
                Err(error) if is_timeout(&error) => return Came::Nothing,
                Err(error) => return Came::Unreadable(error.to_string(), Vec::new()),
            }
        }
    }

    fn frame_in_input(&mut self) -> Option<Came> {
        match decode(&self.input, FrameLimits::welcomed(PAYLOAD_BYTES_MAX), &self.crc) {
            Ok(Decoded::Frame(raw)) => {
                let (header, payload, bytes) = (raw.header, raw.payload.to_vec(), raw.frame_bytes());
                Some(Came::Frame { header, payload, bytes: self.input.drain(..bytes).collect() })
            }
            Ok(Decoded::NeedMore { .. }) => None,
            Err(error) => Some(Came::Unreadable(error.to_string(), std::mem::take(&mut self.input))),
        }
    }

    fn line_in_input(&mut self) -> Option<Came> {
        match decode_line(&self.input, 0, LINE_BYTES_MAX) {
            Ok(Line::Whole { payload, used }) => {
                let line = payload.to_vec();
                self.input.drain(..used);
                Some(Came::Line(line))
            }
            Ok(Line::NeedMore) => None,
            Err(error) => Some(Came::Unreadable(error.to_string(), std::mem::take(&mut self.input))),
        }
    }

    fn wait_for_bytes(&mut self) -> Result<(), Failure> {
        let until = Instant::now() + self.timeout;
        loop {
            if let Some(count) = self.waiting.takes_bytes(&self.input) {
                self.input.drain(..count);
                return Ok(());
            }
            match self.read(until) {
                Ok(0) | Err(_) => {
                    let bytes = std::mem::take(&mut self.input);
                    return Err(self.failure("other bytes, and then no more".to_owned(), bytes));
                }
                Ok(_) => {}
            }
        }
    }

    fn read_to_end(&mut self) -> Result<(), Failure> {
        let until = Instant::now() + self.timeout;
        loop {
            match self.read(until) {
                // Who spoke another protocol may be shown the door in any way.
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if is_timeout(&error) => return Err(self.failure_of_silence()),
                Err(_) => break,
            }
        }
        self.input.clear();
        self.waiting.takes_end();
        Ok(())
    }

    /// One read, of at least a byte until then. 0 is the end of the stream.
    fn read(&mut self, until: Instant) -> io::Result<usize> {
        let mut chunk = [0; 16 << 10];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(left)?;
            match self.stream.read(&mut chunk) {
                Ok(count) => {
                    self.input.extend_from_slice(&chunk[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn failure(&self, got: String, bytes: Vec<u8>) -> Failure {
        Failure { sent: self.sent.clone(), wanted: self.waiting.in_words(), got, bytes }
    }

    fn failure_of_silence(&mut self) -> Failure {
        let bytes = std::mem::take(&mut self.input);
        let what = if bytes.is_empty() { "nothing" } else { "nothing whole" };
        self.failure(format!("{what}, for {:?}", self.timeout), bytes)
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}
