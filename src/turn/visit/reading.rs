//! A visit's input: from the ring or the socket into the service.
//!
//! ```text
//!   small rest   ring --copy--> [ rest | read here      ] scratch     then handled in one piece
//!   large frame  ring [ what came | read here ] + [ what follows ] scratch
//!   nothing      [ read here ] scratch
//! ```
//!
//! A ring never grows by a declared length alone: a frame's whole size is leased once an eighth of it has come.
//! Before a read it is certain that whatever it brings can be kept; without that memory, the bytes stay in the kernel.
//!
//! Always holds: every byte that was read is handled, kept in the ring, or the connection ends. Never: more than one
//! read a visit.

use super::{Got, Verdict, Visit, reason_of_io};
use crate::base::CloseReason;
use crate::base::limits::{
    GROW_WHEN_ARRIVED, INTERRUPTED_RETRIES, LEASE_BYTES_MIN, SCRATCH_BYTES, TAIL_BYTES_MOVED,
};
use crate::base::planted::{Bug, is_planted};
use crate::buffer::{Ring, Side};
use crate::metrics::Counter;
use crate::service::Service;
use crate::session::{Inputs, Phase, Protocol, Source};
use crate::turn::batch::{Counts, Room, Stop};
use crate::turn::entry::{Flag, Inbound};
use crate::turn::io::{Brought, Io};
use std::io::{ErrorKind, IoSliceMut};

impl<S: Service, I: Io> Visit<'_, S, I> {
    /// Handles what a stopped batch left behind; the socket has its turn afterwards.
    pub(super) fn serve_ring(&mut self) -> Verdict {
        let Some(mut input) = self.entry.input.take() else { return Verdict::Wait };
        if is_planted(Bug::LastFramesDropped) && self.entry.flags.has(Flag::ReadClosed) {
            self.release(input);
            return Verdict::Again;
        }
        let Some(room) = self.room() else {
            self.entry.input = Some(input);
            return Verdict::Starved;
        };
        let ring = input.ring.as_mut().expect("an input box in use has its ring");
        let bytes = ring.make_contiguous();
        let (counts, (used, stop)) =
            self.batch(room, input.arrived, |batch| batch.run(bytes, Source::Ring, 0));
        self.count(counts);
        let is_faulty = self.accuse_if(stop, &bytes[used..]);
        let inputs = Inputs { ring: bytes, scratch: &[] };
        let sent = self.send(&inputs);
        self.end_batch(counts, &inputs);
        ring.consume(used);
        let is_empty = ring.is_empty();
        if is_empty || is_faulty {
            self.release(input);
        } else {
            input.unparsed = matches!(stop, Stop::Budget | Stop::Starved);
            if let Stop::NeedMore { bytes } = stop {
                ring.rewind();
                input.wanted = bytes;
                (input.since, input.arrived) = (self.shared.ms, self.shared.ms);
            }
            self.entry.input = Some(input);
        }
        match sent {
            Err(why) => self.lost(why),
            Ok(()) => self.rest_after(stop),
        }
    }

    /// What a connection waits for after a batch that ended so.
    #[inline(always)]
    fn rest_after(&mut self, stop: Stop) -> Verdict {
        match stop {
            Stop::NeedMore { .. } | Stop::Budget => self.rest(),
            Stop::Starved => Verdict::Starved,
            Stop::Fault(_) => self.await_answers_or_flush(),
        }
    }

    #[inline(always)]
    pub(super) fn serve_socket(&mut self) -> Verdict {
        let limit = if self.shared.desk.pool.has_room(Side::Input, SCRATCH_BYTES) {
            SCRATCH_BYTES
        } else {
            self.shared.desk.pool.lease_bytes_max(Side::Input).min(SCRATCH_BYTES)
        };
        let Some(room) = self.room() else { return Verdict::Starved };
        match self.entry.input.take() {
            None if limit < LEASE_BYTES_MIN => Verdict::Starved,
            None => self.serve_scratch(None, limit, room),
            Some(input) => {
                let held = input.ring.as_ref().map_or(0, Ring::len);
                if held > TAIL_BYTES_MOVED && self.listener.framing.protocol != Protocol::Line {
                    self.serve_large(input, limit, room)
                } else {
                    // Its ring goes back before the rest is kept anew, so that much may come at least.
                    let capacity = input.ring.as_ref().map_or(0, Ring::capacity);
                    let limit = limit.max(capacity).min(SCRATCH_BYTES);
                    if limit <= held {
                        self.entry.input = Some(input);
                        return Verdict::Starved;
                    }
                    self.serve_scratch(Some(input), limit, room)
                }
            }
        }
    }

    /// The common path: read into the scratch, behind a small rest if there is one, and handle it there.
    #[inline(always)]
    fn serve_scratch(&mut self, input: Option<Box<Inbound>>, limit: usize, room: Room) -> Verdict {
        let mut scratch = std::mem::take(&mut self.shared.scratch);
        let held = match input.as_ref().and_then(|input| input.ring.as_ref()) {
            None => 0,
            Some(ring) => {
                let (front, back) = ring.as_slices();
                scratch[..front.len()].copy_from_slice(front);
                scratch[front.len()..ring.len()].copy_from_slice(back);
                ring.len()
            }
        };
        let verdict = match self.read(&mut [IoSliceMut::new(&mut scratch[held..limit])], limit - held) {
            Got::Bytes { count, all_offered } => {
                self.read_on(all_offered);
                self.handle_scratch(input, &scratch[..held + count], held, room)
            }
            Got::End if held > 0 && self.listener.framing.protocol == Protocol::Line => {
                // A last line without its end is a message: give it the end that it lacks.
                scratch[held] = b'\n';
                self.handle_scratch(input, &scratch[..=held], held, room)
            }
            Got::End => {
                let why = if held > 0 { CloseReason::Truncated } else { CloseReason::PeerClosed };
                self.entry.input = input;
                self.finish(why, "")
            }
            Got::Nothing => {
                self.entry.input = input;
                self.rest()
            }
            Got::Lost(why) => {
                self.entry.input = input;
                self.lost(why)
            }
        };
        self.shared.scratch = scratch;
        verdict
    }

    /// Handles `bytes`, of which `held` were there before this read.
    #[inline(always)]
    fn handle_scratch(
        &mut self,
        input: Option<Box<Inbound>>,
        bytes: &[u8],
        held: usize,
        room: Room,
    ) -> Verdict {
        let is_fresh = self.entry.flags.has(Flag::Fresh);
        let (counts, (used, mut stop)) = match self.foreign_line(is_fresh, bytes) {
            Some(why) => (Counts::default(), (0, Stop::Fault(why))),
            None => self.batch(room, self.shared.ms, |batch| batch.run(bytes, Source::Scratch, held)),
        };
        self.count(counts);
        if is_fresh {
            self.greet(counts, bytes, &mut stop);
        }
        let rest = &bytes[used..];
        let is_same_message = used == 0 && held > 0;
        self.accuse_if(stop, rest);
        let inputs = Inputs { ring: &[], scratch: bytes };
        let sent = self.send(&inputs);
        self.end_batch(counts, &inputs);
        let kept = match stop {
            Stop::Fault(_) => self.keep(input, Rest::NONE),
            Stop::Budget | Stop::Starved => self.keep(input, Rest::unparsed(rest)),
            Stop::NeedMore { bytes } => {
                let since = input.as_ref().map(|input| input.since);
                let kept = self.keep(input, Rest::partial(rest, bytes));
                if let (true, Some(since), Some(input)) = (is_same_message, since, self.entry.input.as_mut())
                {
                    input.since = since;
                }
                kept
            }
        };
        match sent.and(kept) {
            Err(why) => self.lost(why),
            Ok(()) => self.rest_after(stop),
        }
    }

    /// A frame too large to move: its missing part is read into where it lies, what follows into the scratch.
    fn serve_large(&mut self, mut input: Box<Inbound>, limit: usize, room: Room) -> Verdict {
        self.grow(&mut input, 0);
        let ring = input.ring.as_mut().expect("an input box in use has its ring");
        let missing = (input.wanted - ring.len()).min(ring.free());
        let is_whole = ring.len() + missing == input.wanted;
        // What does not fit the ring must fit a larger one, which is leased while this one is still held.
        let lease_max = self.shared.desk.pool.lease_bytes_max(Side::Input);
        let extra = if is_whole { limit } else { lease_max.saturating_sub(ring.len()).min(SCRATCH_BYTES) };
        // Short of memory the frame may have to wait, and what is behind it could not be kept.
        let extra = if room.is_short { extra.min(input.wanted - ring.len() - missing) } else { extra };
        if missing + extra == 0 {
            self.entry.input = Some(input);
            return Verdict::Starved;
        }
        let mut scratch = std::mem::take(&mut self.shared.scratch);
        ring.rewind();
        let [spare, _] = ring.spare_slices();
        let mut into = [IoSliceMut::new(&mut spare[..missing]), IoSliceMut::new(&mut scratch[..extra])];
        let verdict = match self.read(&mut into, missing + extra) {
            Got::Bytes { count, all_offered } => {
                self.read_on(all_offered);
                let in_ring = count.min(missing);
                input.ring.as_mut().expect("as above").filled(in_ring);
                self.handle_large(input, &scratch[..count - in_ring], room)
            }
            Got::End => {
                self.entry.input = Some(input);
                self.finish(CloseReason::Truncated, "")
            }
            Got::Nothing => {
                self.entry.input = Some(input);
                self.rest()
            }
            Got::Lost(why) => {
                self.entry.input = Some(input);
                self.lost(why)
            }
        };
        self.shared.scratch = scratch;
        verdict
    }

    /// Handles the frame in the ring if it is whole now, then what came behind it.
    fn handle_large(&mut self, mut input: Box<Inbound>, behind: &[u8], room: Room) -> Verdict {
        let lacks = input.wanted - input.ring.as_ref().map_or(0, Ring::len);
        let (more, behind) = behind.split_at(lacks.min(behind.len()));
        if !more.is_empty() && !self.grow(&mut input, more.len()) {
            self.release(input);
            return self.finish(CloseReason::Memory, "no buffer for the rest of this frame");
        }
        let ring = input.ring.as_mut().expect("an input box in use has its ring");
        ring.push(more);
        if ring.len() < input.wanted {
            self.entry.input = Some(input);
            return self.rest();
        }
        let whole = ring.make_contiguous();
        let (counts, (used_behind, stop)) =
            self.batch(room, self.shared.ms, |batch| match batch.run(whole, Source::Ring, 0) {
                (used, Stop::NeedMore { .. }) if used == whole.len() => batch.run(behind, Source::Scratch, 0),
                (_, stop) => (0, stop),
            });
        self.count(counts);
        if counts.frames == 0 && matches!(stop, Stop::Starved) {
            debug_assert!(behind.is_empty(), "short of memory, nothing is read behind a large frame");
            self.look_at_clock();
            input.unparsed = true;
            self.entry.input = Some(input);
            return Verdict::Starved;
        }
        let rest = &behind[used_behind..];
        // A fault of the large frame itself has used nothing of what is behind it.
        let is_whole_bad = counts.frames == 0;
        self.accuse_if(stop, if is_whole_bad { whole } else { rest });
        let inputs = Inputs { ring: whole, scratch: behind };
        let sent = self.send(&inputs);
        self.end_batch(counts, &inputs);
        ring.consume(ring.len());
        let kept = match stop {
            Stop::Fault(_) => self.keep(Some(input), Rest::NONE),
            Stop::Budget | Stop::Starved => self.keep(Some(input), Rest::unparsed(rest)),
            Stop::NeedMore { bytes } => self.keep(Some(input), Rest::partial(rest, bytes)),
        };
        match sent.and(kept) {
            Err(why) => self.lost(why),
            Ok(()) => self.rest_after(stop),
        }
    }

    /// Whether a batch ended in a fault; then the peer is told.
    #[inline(always)]
    fn accuse_if(&mut self, stop: Stop, at: &[u8]) -> bool {
        match stop {
            Stop::Fault(why) => {
                self.accuse(why, at);
                true
            }
            Stop::NeedMore { .. } | Stop::Budget | Stop::Starved => false,
        }
    }

    /// On a line listener, the first bytes are looked at before they are taken for a line.
    #[inline(always)]
    fn foreign_line(&self, is_fresh: bool, bytes: &[u8]) -> Option<CloseReason> {
        if !is_fresh || self.listener.framing.protocol != Protocol::Line {
            return None;
        }
        self.listener.framing.foreign(bytes)
    }

    /// A connection's first bytes: on a frame listener, a refused or partial frame may be another protocol's hello.
    fn greet(&mut self, counts: Counts, bytes: &[u8], stop: &mut Stop) {
        if counts.frames > 0 || self.listener.framing.protocol == Protocol::Line {
            return;
        }
        if let Some(why) = self.listener.framing.foreign(bytes) {
            *stop = Stop::Fault(why);
        }
    }

    /// Makes room for `more` bytes: for the whole frame once enough of it is here, else for what is here. False if
    /// there is no buffer to be had.
    fn grow(&mut self, input: &mut Inbound, more: usize) -> bool {
        let ring = input.ring.as_mut().expect("an input box in use has its ring");
        let arrived = ring.len() + more;
        let size = if arrived * GROW_WHEN_ARRIVED >= input.wanted { input.wanted } else { arrived };
        if ring.capacity() >= size {
            return true;
        }
        let lease = self
            .shared
            .desk
            .pool
            .lease(Side::Input, size)
            .or_else(|| self.shared.desk.pool.lease(Side::Input, arrived));
        match lease {
            Some(bigger) if bigger.len() > ring.capacity() => {
                let smaller = ring.move_to(bigger);
                self.shared.desk.pool.give_back(smaller);
                true
            }
            Some(same) => {
                self.shared.desk.pool.give_back(same);
                ring.capacity() >= arrived
            }
            None => false,
        }
    }

    /// Keeps the rest of an input for the next visit, in a ring that fits; with nothing to keep, gives the ring back.
    #[inline(always)]
    fn keep(&mut self, input: Option<Box<Inbound>>, rest: Rest<'_>) -> Result<(), CloseReason> {
        if !rest.bytes.is_empty() {
            return self.keep_bytes(input, rest);
        }
        if let Some(input) = input {
            self.release(input);
        }
        Ok(())
    }

    fn keep_bytes(&mut self, input: Option<Box<Inbound>>, rest: Rest<'_>) -> Result<(), CloseReason> {
        let Rest { bytes, wanted, unparsed } = rest;
        let size =
            if bytes.len() * GROW_WHEN_ARRIVED >= wanted { wanted.max(bytes.len()) } else { bytes.len() };
        let mut input = match input {
            Some(mut input) => {
                let ring = input.ring.take().expect("an input box in use has its ring");
                self.shared.desk.pool.give_back(ring.into_lease());
                input
            }
            None => self.shared.inbound.take().unwrap_or_else(|| {
                let now = self.shared.ms;
                Box::new(Inbound { ring: None, wanted: 0, since: now, arrived: now, unparsed: false })
            }),
        };
        let lease = self.shared.desk.pool.lease(Side::Input, size);
        let Some(lease) = lease.or_else(|| self.shared.desk.pool.lease(Side::Input, bytes.len())) else {
            self.shared.inbound.put(input);
            return Err(CloseReason::Memory);
        };
        let mut ring = Ring::over(lease);
        let kept = bytes.len() - usize::from(is_planted(Bug::TailCut) && !unparsed);
        ring.push(&bytes[..kept]);
        let now = self.shared.ms;
        *input = Inbound { ring: Some(ring), wanted, since: now, arrived: now, unparsed };
        self.entry.input = Some(input);
        Ok(())
    }

    /// Whole requests that a forced end loses: they had been received.
    pub(in crate::turn) fn count_dropped(&mut self, input: &Inbound, why: CloseReason) {
        if why != CloseReason::Reset && input.unparsed {
            let bytes = input.ring.as_ref().and_then(Ring::contiguous).unwrap_or_default();
            let dropped = self.framing().count_requests(bytes, self.shared.desk.outbox.crc());
            self.shared.metrics.add(Counter::RequestsDropped, dropped);
        }
    }

    pub(in crate::turn) fn release(&mut self, mut input: Box<Inbound>) {
        if let Some(ring) = input.ring.take() {
            self.shared.desk.pool.give_back(ring.into_lease());
        }
        self.shared.inbound.put(input);
    }

    /// Reads once. Would-block and the end of the stream clear what they answer.
    #[inline(always)]
    pub(super) fn read(&mut self, into: &mut [IoSliceMut<'_>], offered: usize) -> Got {
        debug_assert!(offered > 0, "a read of nothing looks like the end of the stream");
        if self.entry.flags.has(Flag::Secure) {
            return self.read_secure(into);
        }
        for _ in 0..INTERRUPTED_RETRIES {
            match self.io.read(&mut self.entry.stream, into) {
                Ok(0) => {
                    self.entry.flags.clear(Flag::Readable);
                    self.entry.flags.set(Flag::PeerEnded);
                    return Got::End;
                }
                Ok(count) => {
                    self.shared.metrics.add(Counter::BytesIn, count as u64);
                    self.entry.life.bytes_in.add(count as u64);
                    return Got::Bytes { count, all_offered: count == offered };
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.entry.flags.clear(Flag::Readable);
                    return Got::Nothing;
                }
                Err(error) => return Got::Lost(reason_of_io(&error)),
            }
        }
        Got::Nothing
    }

    /// The same with TLS.
    #[cold]
    #[inline(never)]
    fn read_secure(&mut self, into: &mut [IoSliceMut<'_>]) -> Got {
        match self.io.read_secure(&mut self.entry.stream, into) {
            Ok(Brought { bytes: 0, .. }) => {
                self.entry.flags.clear(Flag::Readable);
                self.entry.flags.set(Flag::PeerEnded);
                Got::End
            }
            Ok(Brought { bytes: count, is_drained }) => {
                self.shared.metrics.add(Counter::BytesIn, count as u64);
                self.entry.life.bytes_in.add(count as u64);
                Got::Bytes { count, all_offered: !is_drained }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Got::Nothing,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.entry.flags.clear(Flag::Readable);
                Got::Nothing
            }
            Err(error) => Got::Lost(reason_of_io(&error)),
        }
    }

    /// A short read means that the socket is drained, unless its end or an error waits behind. A drain takes no such
    /// hint: what is left behind then is lost, so it asks until it is told that nothing is there.
    #[inline(always)]
    pub(super) fn read_on(&mut self, all_offered: bool) {
        if matches!(self.entry.phase, Phase::Draining { .. }) {
            self.entry.drain_reads = self.entry.drain_reads.saturating_add(1);
        } else if !all_offered
            && !self.entry.flags.has(Flag::ReadClosed)
            && !self.entry.flags.has(Flag::Hangup)
        {
            self.entry.flags.clear(Flag::Readable);
        }
    }
}

/// What a batch left of its input.
struct Rest<'a> {
    bytes: &'a [u8],
    /// What they must grow to before there is a message; 0 if that is not known.
    wanted: usize,
    /// There may be whole messages among them.
    unparsed: bool,
}

impl<'a> Rest<'a> {
    const NONE: Rest<'static> = Rest { bytes: &[], wanted: 0, unparsed: false };

    const fn unparsed(bytes: &'a [u8]) -> Rest<'a> {
        Rest { bytes, wanted: 0, unparsed: true }
    }

    const fn partial(bytes: &'a [u8], wanted: usize) -> Rest<'a> {
        Rest { bytes, wanted, unparsed: false }
    }
}
