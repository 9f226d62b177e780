//! One direction of a connection through the proxy: what was read is held until it is due, and written as its faults
//! allow.
//!
//! Always holds: what leaves is what came, in its order, but for a flipped bit; a fault is noted when it is done.
//! Never: waits. Each step says when the next one is worth trying.

use super::{Fault, LANE_BYTES};
use mio::net::TcpStream;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

/// Bytes read at once.
const CHUNK_BYTES: usize = 16 << 10;

/// Writes of a step at most, so that a direction that is split does not keep the others waiting.
const WRITES_PER_STEP: u32 = 256;

/// How often a capped direction gets its next bytes.
const CAP_STEP: Duration = Duration::from_millis(5);

/// A socket, and what its last events said.
pub(super) struct Side {
    pub stream: TcpStream,
    pub is_readable: bool,
    pub is_writable: bool,
    /// Its peer has ended its stream, or the connection is lost.
    pub is_ended: bool,
}

impl Side {
    pub const fn new(stream: TcpStream) -> Side {
        Side { stream, is_readable: false, is_writable: false, is_ended: false }
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Both peers have ended.
    Close,
    Truncate,
    Reset,
}

/// What a step gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There is more to do.
    Now,
    /// Something is due then, whatever the sockets say.
    At(Instant),
    /// The sockets will tell.
    Never,
    End(End),
}

impl Next {
    /// What two directions of one connection need.
    pub fn and(self, other: Next) -> Next {
        match (self, other) {
            (Next::End(End::Reset), _) | (_, Next::End(End::Reset)) => Next::End(End::Reset),
            (end @ Next::End(_), _) | (_, end @ Next::End(_)) => end,
            (Next::Now, _) | (_, Next::Now) => Next::Now,
            (Next::At(one), Next::At(two)) => Next::At(one.min(two)),
            (at @ Next::At(_), Next::Never) | (Next::Never, at) => at,
        }
    }
}

/// How much may be written now.
enum Room {
    Bytes(usize),
    Until(Instant),
    /// Nothing, ever.
    None,
    /// This fault's place is reached.
    Cut(Fault),
}

pub(super) struct Lane {
    /// Each with whether it was noted.
    faults: Vec<(Fault, bool)>,
    held: VecDeque<(Instant, Vec<u8>)>,
    held_bytes: usize,
    /// Bytes of the front that were written.
    front_written: usize,
    read: u64,
    written: u64,
    pub writes: u64,
    /// While a freeze lasts.
    frozen_until: Option<Instant>,
    /// What a cap still allows, and when that was reckoned.
    allowance: (f64, Option<Instant>),
    /// No more comes.
    source_over: bool,
    /// The direction was ended; what still comes is thrown away.
    sink_over: bool,
}

impl Lane {
    pub fn new(faults: Vec<Fault>) -> Lane {
        Lane {
            faults: faults.into_iter().map(|fault| (fault, false)).collect(),
            held: VecDeque::new(),
            held_bytes: 0,
            front_written: 0,
            read: 0,
            written: 0,
            writes: 0,
            frozen_until: None,
            allowance: (0.0, None),
            source_over: false,
            sink_over: false,
        }
    }

    pub const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub const fn is_over(&self) -> bool {
        self.source_over && self.sink_over
    }

    /// Ends the direction at once.
    pub fn cut(&mut self, to: &mut Side) {
        self.held.clear();
        self.held_bytes = 0;
        if !self.sink_over {
            // The peer may be gone: then it needs no end.
            let _ = to.stream.shutdown(Shutdown::Write);
            self.sink_over = true;
        }
        self.faults.clear();
    }

    /// Reads, then writes, as far as both go without waiting.
    pub fn step(
        &mut self,
        from: &mut Side,
        to: &mut Side,
        now: Instant,
        note: &mut dyn FnMut(Fault),
    ) -> Next {
        if let Err(end) = self.pull(from, now, note) {
            return Next::End(end);
        }
        let next = self.push(to, now, note);
        if self.is_held_for_ever() && (from.is_ended || to.is_ended) {
            return Next::End(End::Reset);
        }
        let may_read = from.is_readable && self.held_bytes < LANE_BYTES && !self.source_over;
        if next == Next::Never && may_read { Next::Now } else { next }
    }

    fn is_held_for_ever(&self) -> bool {
        self.faults.iter().any(|(fault, is_done)| *is_done && matches!(fault, Fault::Hold { .. }))
    }

    fn pull(&mut self, from: &mut Side, now: Instant, note: &mut dyn FnMut(Fault)) -> Result<(), End> {
        let mut chunk = [0; CHUNK_BYTES];
        while from.is_readable && !self.source_over && self.held_bytes < LANE_BYTES {
            let room = CHUNK_BYTES.min(LANE_BYTES - self.held_bytes);
            match from.stream.read(&mut chunk[..room]) {
                Ok(0) => self.source_over = true,
                Ok(_) if self.sink_over => {}
                Ok(count) => self.take_in(&mut chunk[..count], now, note),
                Err(error) if error.kind() == ErrorKind::WouldBlock => from.is_readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(End::Reset),
            }
        }
        Ok(())
    }

    fn take_in(&mut self, bytes: &mut [u8], now: Instant, note: &mut dyn FnMut(Fault)) {
        let begin = self.read;
        self.read += bytes.len() as u64;
        let mut due = now;
        for (fault, is_noted) in &mut self.faults {
            match *fault {
                Fault::Flip { at, bit } if (begin..self.read).contains(&at) => {
                    let place = usize::try_from(at - begin).expect("within the chunk");
                    bytes[place] ^= 1 << bit;
                    note(*fault);
                    *is_noted = true;
                }
                Fault::Delay { ms } => {
                    due = now + Duration::from_millis(ms);
                    if !*is_noted {
                        note(*fault);
                        *is_noted = true;
                    }
                }
                Fault::Flip { .. }
                | Fault::Cap { .. }
                | Fault::Split { .. }
                | Fault::Freeze { .. }
                | Fault::Hold { .. }
                | Fault::HalfClose { .. }
                | Fault::Truncate { .. }
                | Fault::Reset { .. } => {}
            }
        }
        self.held.push_back((due, bytes.to_vec()));
        self.held_bytes += bytes.len();
    }

    fn push(&mut self, to: &mut Side, now: Instant, note: &mut dyn FnMut(Fault)) -> Next {
        for _ in 0..WRITES_PER_STEP {
            let room = match self.room(now, note) {
                _ if self.sink_over => return Next::Never,
                Room::Cut(fault @ Fault::HalfClose { .. }) => {
                    note(fault);
                    self.cut(to);
                    return Next::Now;
                }
                Room::Cut(fault @ Fault::Truncate { .. }) => {
                    note(fault);
                    return Next::End(End::Truncate);
                }
                Room::Cut(fault) => {
                    note(fault);
                    return Next::End(End::Reset);
                }
                Room::Until(at) => return Next::At(at),
                Room::None => return Next::Never,
                Room::Bytes(room) => room,
            };
            let Some((due, bytes)) = self.held.front() else {
                if self.source_over {
                    // An end that can't be passed on is known to the other side.
                    let _ = to.stream.shutdown(Shutdown::Write);
                    self.sink_over = true;
                }
                return Next::Never;
            };
            if *due > now {
                return Next::At(*due);
            }
            if !to.is_writable {
                return Next::Never;
            }
            let rest = &bytes[self.front_written..];
            match to.stream.write(&rest[..rest.len().min(room)]) {
                Ok(count) => self.wrote(count, note),
                Err(error) if error.kind() == ErrorKind::WouldBlock => to.is_writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Next::End(End::Reset),
            }
        }
        Next::Now
    }

    fn wrote(&mut self, count: usize, note: &mut dyn FnMut(Fault)) {
        let begin = self.written;
        self.writes += 1;
        self.written += count as u64;
        self.front_written += count;
        self.held_bytes -= count;
        self.allowance.0 -= count as f64;
        if self.held.front().is_some_and(|(_, bytes)| bytes.len() == self.front_written) {
            self.held.pop_front();
            self.front_written = 0;
        }
        for (fault, is_noted) in &mut self.faults {
            if let Fault::Split { from, bytes } = *fault
                && !*is_noted
                && (from..from + bytes).contains(&begin)
            {
                note(*fault);
                *is_noted = true;
            }
        }
    }

    /// What all faults together allow.
    fn room(&mut self, now: Instant, note: &mut dyn FnMut(Fault)) -> Room {
        if let Some(until) = self.frozen_until.filter(|until| *until > now) {
            return Room::Until(until);
        }
        let mut room = u64::MAX;
        let written = self.written;
        let waits = !self.held.is_empty();
        for (fault, is_noted) in &mut self.faults {
            match *fault {
                Fault::Delay { .. } | Fault::Flip { .. } => {}
                Fault::Cap { bytes_per_second } => {
                    let allowed = refill(&mut self.allowance, bytes_per_second, now);
                    if allowed == 0 && waits {
                        if !*is_noted {
                            note(*fault);
                            *is_noted = true;
                        }
                        return Room::Until(now + CAP_STEP);
                    }
                    room = room.min(allowed.max(1));
                }
                Fault::Split { from, .. } if written < from => room = room.min(from - written),
                Fault::Split { from, bytes } if written < from + bytes => room = 1,
                Fault::Split { .. } => {}
                Fault::Freeze { at, .. }
                | Fault::Hold { at }
                | Fault::HalfClose { at }
                | Fault::Truncate { at }
                | Fault::Reset { at }
                    if written < at =>
                {
                    room = room.min(at - written);
                }
                Fault::Freeze { .. } if *is_noted => {}
                Fault::Freeze { ms, .. } => {
                    note(*fault);
                    *is_noted = true;
                    let until = now + Duration::from_millis(ms);
                    self.frozen_until = Some(until);
                    return Room::Until(until);
                }
                Fault::Hold { .. } => {
                    if !*is_noted {
                        note(*fault);
                        *is_noted = true;
                    }
                    return Room::None;
                }
                Fault::HalfClose { .. } | Fault::Truncate { .. } | Fault::Reset { .. } => {
                    return Room::Cut(*fault);
                }
            }
        }
        Room::Bytes(usize::try_from(room).unwrap_or(usize::MAX))
    }
}

/// What a rate allows by now: at most what it gives in ten steps, so that a pause is not followed by a burst.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and not negative")]
fn refill((left, since): &mut (f64, Option<Instant>), bytes_per_second: u64, now: Instant) -> u64 {
    let rate = bytes_per_second as f64;
    let gone = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
    *left = (*left + gone.as_secs_f64() * rate).min(10.0 * CAP_STEP.as_secs_f64() * rate);
    *since = Some(now);
    left.max(0.0) as u64
}
