//! Bytes both ways over one stream, with a bound on what waits in each direction.
//!
//! ```text
//!              taken               came
//!     input      |==== not parsed ===|.... room ....| (the caller says how much)
//!     output     |==== not sent =====|
//!               sent
//! ```
//!
//! Always holds: every wait ends at its `until`; nothing that came is lost by a wait that ended; no read takes more
//! than there is room for. **While output can't leave, input is read**, since a server may read no further before its
//! replies are taken. Never: what the bytes mean.

use super::stream::Stream;
use super::{Error, Options};
use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// What one read takes at most, in bytes.
const READ_BYTES: usize = 64 << 10;
/// While neither direction moves: how long input is waited for before output is tried again. Input ends the wait.
const WRITE_AGAIN: Duration = Duration::from_millis(2);
/// A buffer that was larger for once is given back above this size, in bytes.
const KEPT_BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Channel {
    stream: Stream,
    input: Vec<u8>,
    taken: usize,
    output: Vec<u8>,
    sent: usize,
    chunk: Box<[u8]>,
    is_blocking: bool,
    read_timeout: Option<Duration>,
    is_at_end: bool,
}

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Got {
    Bytes,
    End,
    Nothing,
}

impl Channel {
    pub(super) fn connect(address: &str, options: &Options) -> Result<Channel, Error> {
        let stream = Stream::connect(address, options.connect_timeout)?;
        #[cfg(feature = "tls")]
        let stream = stream.secure(address, options.tls.as_ref(), options.connect_timeout)?;
        Ok(Channel {
            stream,
            input: Vec::new(),
            taken: 0,
            output: Vec::new(),
            sent: 0,
            chunk: vec![0; READ_BYTES].into_boxed_slice(),
            is_blocking: true,
            read_timeout: None,
            is_at_end: false,
        })
    }

    /// What came and was not taken.
    pub(super) fn input(&self) -> &[u8] {
        &self.input[self.taken..]
    }

    /// The first `count` bytes of the input are done with.
    pub(super) fn take(&mut self, count: usize) {
        self.taken += count;
        debug_assert!(self.taken <= self.input.len());
        if self.taken == self.input.len() {
            self.input.clear();
            self.input.shrink_to(KEPT_BYTES_MAX);
            self.taken = 0;
        }
    }

    /// Where to append what is to be sent.
    pub(super) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Bytes that wait to be sent.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Sends all output, and reads what comes meanwhile while there is `room`, in bytes. False if `until` came first.
    pub(super) fn flush(&mut self, until: Instant, mut room: usize) -> io::Result<bool> {
        while !self.send_some()? {
            if self.is_at_end {
                // No reply could come any more. What came before the end is read by whoever waits for replies.
                return Err(ErrorKind::BrokenPipe.into());
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            if room == 0 {
                std::thread::sleep(WRITE_AGAIN);
                continue;
            }
            let before = self.input().len();
            self.read_within(WRITE_AGAIN, room)?;
            room -= self.input().len() - before;
        }
        Ok(true)
    }

    /// Sends what the system takes at once. True if that was all.
    pub(super) fn send_some(&mut self) -> io::Result<bool> {
        while self.sent < self.output.len() {
            self.set_blocking(false)?;
            match self.stream.write(&self.output[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.drop_output();
        Ok(true)
    }

    /// Forgets what can't be sent any more.
    pub(super) fn drop_output(&mut self) {
        self.output.clear();
        self.output.shrink_to(KEPT_BYTES_MAX);
        self.sent = 0;
    }

    /// Waits until something came, at most `room` bytes, or the stream ended, or it is `until`.
    pub(super) fn fill(&mut self, until: Instant, room: usize) -> io::Result<Got> {
        debug_assert!(room > 0, "who has no room must not wait for more");
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Got::Nothing);
            }
            match self.read_within(left, room)? {
                Got::Nothing => {}
                got @ (Got::Bytes | Got::End) => return Ok(got),
            }
        }
    }

    /// Ends sending, and reads on to the end without keeping anything: with unread input, closing would make the system
    /// send a reset, which destroys what is still on its way to the server.
    pub(super) fn close(&mut self, after: Duration) -> Result<(), Error> {
        let until = Instant::now() + after;
        match self.stream.finish() {
            // The server was faster.
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
            finished => finished.map_err(Error::Io)?,
        }
        loop {
            self.take(self.input().len());
            match self.fill(until, READ_BYTES).map_err(Error::Io)? {
                Got::End => return Ok(()),
                Got::Nothing => return Err(Error::Timeout { waited_for: "end of the connection", after }),
                Got::Bytes => {}
            }
        }
    }

    /// One read, which waits so long at most.
    fn read_within(&mut self, wait: Duration, room: usize) -> io::Result<Got> {
        self.set_blocking(true)?;
        if self.read_timeout != Some(wait) {
            // The system counts in microseconds and takes 0 for ever.
            self.stream.set_read_timeout(wait.max(Duration::from_micros(1)))?;
            self.read_timeout = Some(wait);
        }
        self.read(room)
    }

    /// One read.
    fn read(&mut self, room: usize) -> io::Result<Got> {
        let most = self.chunk.len().min(room);
        if most == 0 {
            return Ok(Got::Nothing);
        }
        match self.stream.read(&mut self.chunk[..most]) {
            Ok(0) => {
                self.is_at_end = true;
                Ok(Got::End)
            }
            Ok(count) => {
                self.make_room();
                self.input.extend_from_slice(&self.chunk[..count]);
                Ok(Got::Bytes)
            }
            Err(error) if is_nothing(&error) => Ok(Got::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Moves what is not taken to the front once that is the smaller part, so that each byte is moved once at most.
    fn make_room(&mut self) {
        if self.taken > self.input.len() / 2 {
            self.input.drain(..self.taken);
            self.taken = 0;
        }
    }

    fn set_blocking(&mut self, is_blocking: bool) -> io::Result<()> {
        if self.is_blocking != is_blocking {
            self.stream.set_blocking(is_blocking)?;
            self.is_blocking = is_blocking;
        }
        Ok(())
    }
}

fn is_nothing(error: &io::Error) -> bool {
    [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted].contains(&error.kind())
}
