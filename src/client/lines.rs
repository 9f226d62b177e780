//! The client for lines of text: each line a request, each line that comes a reply, in order.
//!
//! Always holds: what came and was not received stays within the client's bound. Never: a service's own line that
//! begins like a failure told from one; such a service should be used over frames.

use super::channel::{Channel, Got};
use super::{Error, Options, Reply};
use crate::base::limits::{CLIENT_OPEN_MAX, PAYLOAD_BYTES_MAX};

use crate::wire::{Line, LineError, Status, decode_line, error_line, is_tls_alert};
use std::time::Instant;

/// A connection to a listener for lines. See [the module](super) for what it has in common with
/// [`Client`](super::Client).
#[derive(Debug)]
pub struct LineClient {
    channel: Channel,
    options: Options,
    /// Lines sent whose replies were not received.
    due: usize,
    /// Bytes of the input that hold no end of line.
    scanned: usize,
}

impl LineClient {
    /// Connects with [`Options::default`].
    ///
    /// # Errors
    ///
    /// As [`Options::connect_lines`].
    pub fn connect(address: &str) -> Result<LineClient, Error> {
        Options::default().connect_lines(address)
    }

    pub(super) fn with(address: &str, options: Options) -> Result<LineClient, Error> {
        let channel = Channel::connect(address, &options)?;
        Ok(LineClient { channel, options, due: 0, scanned: 0 })
    }

    /// Sends one line, given without its end, and waits for the reply.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send) and [`receive`](Self::receive); [`Error::TooManyOpen`] while replies to other
    /// lines are due, since the next one would not be this line's.
    pub fn call(&mut self, line: &[u8]) -> Result<Reply, Error> {
        if self.due > 0 {
            return Err(Error::TooManyOpen { limit: 0 });
        }
        self.send(line)?;
        self.receive()
    }

    /// Sends one line, given without its end, and waits for nothing but room: several may be on their way.
    ///
    /// # Errors
    ///
    /// - Found before anything is sent: [`Error::LineBreak`], [`Error::RequestTooLarge`], [`Error::TooManyOpen`].
    /// - [`Error::Timeout`], [`Error::Backlog`]: the server does not take it yet. What is left of it is sent by the
    ///   next call, so its reply is due.
    /// - [`Error::Io`]: the connection is lost. Replies that came are still received.
    pub fn send(&mut self, line: &[u8]) -> Result<(), Error> {
        if let Some(at) = line.iter().position(|byte| *byte == b'\n') {
            return Err(Error::LineBreak { at });
        }
        if line.len() > PAYLOAD_BYTES_MAX as usize {
            return Err(Error::RequestTooLarge { got_bytes: line.len(), limit_bytes: PAYLOAD_BYTES_MAX });
        }
        if self.due >= CLIENT_OPEN_MAX {
            return Err(Error::TooManyOpen { limit: CLIENT_OPEN_MAX });
        }
        let out = self.channel.output();
        out.extend_from_slice(line);
        out.push(b'\n');
        self.due += 1;
        self.flush()
    }

    /// The next reply, in the order of the lines that were sent.
    ///
    /// # Errors
    ///
    /// [`Error::NoReplyDue`], [`Error::Timeout`], [`Error::Closed`], [`Error::Cut`], [`Error::Io`],
    /// [`Error::ReplyTooLarge`]: as those of [`Client::receive`](super::Client::receive).
    pub fn receive(&mut self) -> Result<Reply, Error> {
        if self.due == 0 {
            return Err(Error::NoReplyDue);
        }
        let after = self.options.read_timeout;
        let until = Instant::now() + after;
        loop {
            if let Some(reply) = self.take_line()? {
                self.due -= 1;
                return Ok(reply);
            }
            if self.channel.unsent_bytes() > 0 {
                self.flush()?;
                continue;
            }
            match self.channel.fill(until, self.room()) {
                Ok(Got::Bytes) => {}
                Ok(Got::Nothing) => return Err(Error::Timeout { waited_for: "reply", after }),
                Ok(Got::End) => return Err(self.ended()),
                Err(error) => return Err(Error::Io(error)),
            }
        }
    }

    /// Lines sent whose replies were not received yet.
    pub fn due(&self) -> usize {
        self.due
    }

    /// Ends the connection in order: what was sent arrives, what still comes is thrown away.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if the server does not end its side within [`Options::read_timeout`]; [`Error::Io`].
    pub fn close(mut self) -> Result<(), Error> {
        self.flush()?;
        self.channel.close(self.options.read_timeout)
    }

    fn take_line(&mut self) -> Result<Option<Reply>, Error> {
        let limit_bytes = self.options.reply_bytes_max;
        let (reply, used) = match decode_line(self.channel.input(), self.scanned, limit_bytes) {
            Ok(Line::Whole { payload, used }) => (reply_of(payload), used),
            Ok(Line::NeedMore) => {
                self.scanned = self.channel.input().len();
                return Ok(None);
            }
            Err(LineError::TooLong { got_bytes, limit_bytes }) => {
                return Err(Error::ReplyTooLarge { got_bytes, limit_bytes });
            }
        };
        self.channel.take(used);
        self.scanned = 0;
        Ok(Some(reply))
    }

    fn flush(&mut self) -> Result<(), Error> {
        let (after, room) = (self.options.write_timeout, self.room());
        match self.channel.flush(Instant::now() + after, room) {
            Ok(true) => Ok(()),
            Ok(false) if self.room() == 0 => Err(Error::Backlog {
                buffered_bytes: self.channel.input().len(),
                limit_bytes: self.limit_bytes(),
            }),
            Ok(false) => Err(Error::Timeout { waited_for: "room to send", after }),
            Err(error) => {
                self.channel.drop_output();
                Err(Error::Io(error))
            }
        }
    }

    fn room(&self) -> usize {
        self.limit_bytes().saturating_sub(self.channel.input().len())
    }

    fn limit_bytes(&self) -> usize {
        // One of the largest always fits, with its "\r\n".
        self.options.buffered_bytes_max.saturating_add(self.options.reply_bytes_max as usize + 2)
    }

    fn ended(&self) -> Error {
        match self.channel.input().len() {
            0 => Error::Closed { open: self.due },
            _ if is_tls_alert(self.channel.input()) => Error::SpeaksTls,
            got_bytes => Error::Cut { got_bytes },
        }
    }
}

fn reply_of(line: &[u8]) -> Reply {
    let (status, body) = match error_line(line) {
        Some((status, text)) => (status, text),
        None => (Status::OK, line),
    };
    Reply { status, correlation: None, retry_after_ms: None, body: body.to_vec() }
}
