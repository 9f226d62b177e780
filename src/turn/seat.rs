//! One visit to one connection: read, hand to the service, write, and decide what it waits for next.
//!
//! ```text
//!   queued output -> [paused? wait] -> whole messages in the ring -> socket
//!        |                                     |                       |
//!        `-- write what the socket takes       `------ batch ----------'---> replies in one vectored write
//! ```
//!
//! What is read lands in the loop's scratch and is handled where it lies. Only what is left over moves to the
//! connection's own ring: a partial message, or everything behind the point where a batch was stopped. On the next
//! visit a small rest is moved in front of what is read; a large frame is read into where it lies.
//!
//! Always holds: whoever leaves with work undone says so by its [`Verdict`], since no further edge will come for it.
//! Never: more than one batch a visit, waits, touches another connection.

use super::batch::{Batch, Counts, Given, Stop};
use super::entry::{Entry, Flag, Inbound, Outbound};
use super::{Gear, Io, ListenerConfig};
use crate::base::limits::{
    DRAIN_READS, FLUSH_GRACE, GROW_WHEN_ARRIVED, INTERRUPTED_RETRIES, LEASE_BYTES_MIN, LINGER_BYTES_MAX,
    SCRATCH_BYTES, SLICES_PER_WRITE, TAIL_BYTES_MOVED,
};
use crate::base::planted::{Bug, is_planted};
use crate::base::{CloseReason, ConnId, Text};
use crate::buffer::{OutQueue, QueueError, Ring, Side};
use crate::metrics::{Counter, Outcome};
use crate::service::Service;
use crate::session::{Event, Inputs, Pause, Phase, Protocol, Source, Unwritten};
use crate::wire::frame::OVERHEAD_BYTES;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};

/// Reads of one visit to a lingering connection.
const LINGER_READS: u32 = 4;
/// Vectored writes of one visit to a connection with queued output.
const QUEUE_WRITES: u32 = 16;

/// What a connection waits for after a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Verdict {
    /// An edge or a deadline.
    Wait,
    /// Its next turn: there is more to do, and nothing else will tell.
    Again,
    /// Memory.
    Starved,
    /// Its burial.
    Closed,
}

/// A connection with everything that a visit needs.
pub(super) struct Seat<'a, S: Service, I: Io> {
    pub(super) entry: &'a mut Entry<S::Conn, I::Stream>,
    pub(super) service: &'a mut S,
    pub(super) gear: &'a mut Gear,
    pub(super) io: &'a mut I,
    pub(super) listener: &'a ListenerConfig,
    pub(super) id: ConnId,
}

/// What a read brought.
enum Got {
    Bytes { count: usize, all_offered: bool },
    End,
    Nothing,
    Lost(CloseReason),
}

impl<S: Service, I: Io> Seat<'_, S, I> {
    #[inline]
    pub(super) fn visit(&mut self) -> Verdict {
        match self.entry.phase {
            Phase::Open | Phase::Draining { .. } => self.serve(),
            Phase::Flushing { .. } => self.flush(),
            Phase::Lingering { .. } => self.linger(),
            Phase::Closed(_) => Verdict::Wait,
        }
    }

    #[inline]
    fn serve(&mut self) -> Verdict {
        if self.entry.output.is_some()
            && let Err(why) = self.write_queued()
        {
            return self.lost(why);
        }
        if !self.entry.pauses.is_empty() {
            // A peer that is gone in both directions will take nothing: no pause may keep it.
            return if self.entry.flags.has(Flag::Hangup) {
                self.lost(CloseReason::Reset)
            } else {
                Verdict::Wait
            };
        }
        if self.entry.has_unparsed() && !is_planted(Bug::RingNotParsedOnResume) {
            return self.serve_ring();
        }
        if self.entry.flags.has(Flag::Readable) { self.serve_socket() } else { self.rest() }
    }

    /// Handles what a stopped batch left behind; the socket has its turn afterwards.
    fn serve_ring(&mut self) -> Verdict {
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
        let (counts, (used, stop)) = self.batch(room, |batch| batch.run(bytes, Source::Ring, 0));
        self.count(counts);
        let faulty = matches!(stop, Stop::Fault(..));
        let sent = self.send(&stop, Inputs { ring: bytes, scratch: &[] });
        ring.consume(used);
        let is_empty = ring.is_empty();
        if is_empty || faulty {
            self.release(input);
        } else {
            input.unparsed = matches!(stop, Stop::Budget);
            if let Stop::NeedMore { bytes } = stop {
                ring.rewind();
                input.wanted = bytes;
                input.since = self.gear.ms;
            }
            self.entry.input = Some(input);
        }
        match sent {
            Err(why) => self.lost(why),
            Ok(()) if faulty => self.flush(),
            Ok(()) => self.rest(),
        }
    }

    #[inline]
    fn serve_socket(&mut self) -> Verdict {
        let limit = if self.gear.pool.has_room(Side::Input, SCRATCH_BYTES) {
            SCRATCH_BYTES
        } else {
            self.gear.pool.lease_bytes_max(Side::Input).min(SCRATCH_BYTES)
        };
        let Some(room) = self.room() else { return Verdict::Starved };
        match self.entry.input.take() {
            None if limit < LEASE_BYTES_MIN => Verdict::Starved,
            None => self.serve_scratch(None, limit, room),
            Some(input) => {
                let held = input.ring.as_ref().map_or(0, Ring::len);
                if held > TAIL_BYTES_MOVED && self.listener.framing.protocol == Protocol::Frame {
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
    #[inline]
    fn serve_scratch(&mut self, input: Option<Box<Inbound>>, limit: usize, room: usize) -> Verdict {
        let mut scratch = std::mem::take(&mut self.gear.scratch);
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
        self.gear.scratch = scratch;
        verdict
    }

    /// Handles `bytes`, of which `held` were there before this read.
    #[inline]
    fn handle_scratch(
        &mut self,
        input: Option<Box<Inbound>>,
        bytes: &[u8],
        held: usize,
        room: usize,
    ) -> Verdict {
        let is_fresh = self.entry.flags.has(Flag::Fresh);
        let (counts, (used, mut stop)) = match self.foreign_line(is_fresh, bytes) {
            Some(stop) => (Counts::default(), (0, stop)),
            None => self.batch(room, |batch| batch.run(bytes, Source::Scratch, held)),
        };
        self.count(counts);
        if is_fresh {
            self.greet(counts, bytes, &mut stop);
        }
        let rest = &bytes[used..];
        let is_same_message = used == 0 && held > 0;
        let sent = self.send(&stop, Inputs { ring: &[], scratch: bytes });
        let kept = match stop {
            Stop::Fault(..) => self.keep(input, &[], 0, false),
            Stop::Budget => self.keep(input, rest, 0, true),
            Stop::NeedMore { bytes } => {
                let since = input.as_ref().map(|input| input.since);
                let kept = self.keep(input, rest, bytes, false);
                if let (true, Some(since), Some(input)) = (is_same_message, since, self.entry.input.as_mut())
                {
                    input.since = since;
                }
                kept
            }
        };
        match sent.and(kept) {
            Err(why) => self.lost(why),
            Ok(()) if matches!(stop, Stop::Fault(..)) => self.flush(),
            Ok(()) => self.rest(),
        }
    }

    /// A frame too large to move: its missing part is read into where it lies, what follows into the scratch.
    fn serve_large(&mut self, mut input: Box<Inbound>, limit: usize, room: usize) -> Verdict {
        self.grow(&mut input, 0);
        let ring = input.ring.as_mut().expect("an input box in use has its ring");
        let missing = (input.wanted - ring.len()).min(ring.free());
        let is_whole = ring.len() + missing == input.wanted;
        // What does not fit the ring must fit a larger one, which is leased while this one is still held.
        let lease_max = self.gear.pool.lease_bytes_max(Side::Input);
        let extra = if is_whole { limit } else { lease_max.saturating_sub(ring.len()).min(SCRATCH_BYTES) };
        if missing + extra == 0 {
            self.entry.input = Some(input);
            return Verdict::Starved;
        }
        let mut scratch = std::mem::take(&mut self.gear.scratch);
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
        self.gear.scratch = scratch;
        verdict
    }

    /// Handles the frame in the ring if it is whole now, then what came behind it.
    fn handle_large(&mut self, mut input: Box<Inbound>, behind: &[u8], room: usize) -> Verdict {
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
            self.batch(room, |batch| match batch.run(whole, Source::Ring, 0) {
                (used, Stop::NeedMore { .. }) if used == whole.len() => batch.run(behind, Source::Scratch, 0),
                (_, stop) => (0, stop),
            });
        self.count(counts);
        let sent = self.send(&stop, Inputs { ring: whole, scratch: behind });
        ring.consume(ring.len());
        let rest = &behind[used_behind..];
        let kept = match stop {
            Stop::Fault(..) => self.keep(Some(input), &[], 0, false),
            Stop::Budget => self.keep(Some(input), rest, 0, true),
            Stop::NeedMore { bytes } => self.keep(Some(input), rest, bytes, false),
        };
        match sent.and(kept) {
            Err(why) => self.lost(why),
            Ok(()) if matches!(stop, Stop::Fault(..)) => self.flush(),
            Ok(()) => self.rest(),
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
        let lease =
            self.gear.pool.lease(Side::Input, size).or_else(|| self.gear.pool.lease(Side::Input, arrived));
        match lease {
            Some(bigger) if bigger.len() > ring.capacity() => {
                let smaller = ring.move_to(bigger);
                self.gear.pool.give_back(smaller);
                true
            }
            Some(same) => {
                self.gear.pool.give_back(same);
                ring.capacity() >= arrived
            }
            None => false,
        }
    }

    /// Keeps the rest of an input for the next visit, in the ring that is there or in one that fits; with nothing
    /// to keep, gives the ring back.
    #[inline]
    fn keep(
        &mut self,
        input: Option<Box<Inbound>>,
        rest: &[u8],
        wanted: usize,
        unparsed: bool,
    ) -> Result<(), CloseReason> {
        if rest.is_empty() {
            if let Some(input) = input {
                self.release(input);
            }
            return Ok(());
        }
        self.keep_bytes(input, rest, wanted, unparsed)
    }

    fn keep_bytes(
        &mut self,
        input: Option<Box<Inbound>>,
        rest: &[u8],
        wanted: usize,
        unparsed: bool,
    ) -> Result<(), CloseReason> {
        let size = if rest.len() * GROW_WHEN_ARRIVED >= wanted { wanted.max(rest.len()) } else { rest.len() };
        let mut input = match input {
            Some(mut input) => {
                let ring = input.ring.take().expect("an input box in use has its ring");
                self.gear.pool.give_back(ring.into_lease());
                input
            }
            None => self.gear.inbound.take().unwrap_or_else(|| {
                Box::new(Inbound { ring: None, wanted: 0, since: self.gear.ms, unparsed: false })
            }),
        };
        let lease = self.gear.pool.lease(Side::Input, size);
        let Some(lease) = lease.or_else(|| self.gear.pool.lease(Side::Input, rest.len())) else {
            self.gear.inbound.put(input);
            return Err(CloseReason::Memory);
        };
        let mut ring = Ring::over(lease);
        let kept = if is_planted(Bug::TailCut) && !unparsed { rest.len() - 1 } else { rest.len() };
        ring.push(&rest[..kept]);
        *input = Inbound { ring: Some(ring), wanted, since: self.gear.ms, unparsed };
        self.entry.input = Some(input);
        Ok(())
    }

    /// Whole requests that a forced end loses: they had been received.
    pub(super) fn count_dropped(&mut self, input: &Inbound, why: CloseReason) {
        if why != CloseReason::Reset && input.unparsed {
            let bytes = input.ring.as_ref().and_then(Ring::contiguous).unwrap_or_default();
            let dropped = self.listener.framing.count_requests(bytes, self.gear.outbox.crc());
            self.gear.metrics.add(Counter::RequestsDropped, dropped);
        }
    }

    pub(super) fn release(&mut self, mut input: Box<Inbound>) {
        if let Some(ring) = input.ring.take() {
            self.gear.pool.give_back(ring.into_lease());
        }
        self.gear.inbound.put(input);
    }

    /// Runs a batch and gives its counts beside its result.
    #[inline]
    fn batch<R>(&mut self, room: usize, run: impl FnOnce(&mut Batch<'_, S>) -> R) -> (Counts, R) {
        let framing = self.listener.framing;
        self.gear.outbox.set_protocol(framing.protocol);
        let io = &mut *self.io;
        let mut clock = || io.now();
        let mut batch = Batch::new(Given {
            service: self.service,
            conn: &mut self.entry.conn,
            outbox: &mut self.gear.outbox,
            rng: &mut self.gear.rng,
            framing,
            id: self.id,
            now: self.gear.now,
            clock: &mut clock,
            room,
        });
        let result = run(&mut batch);
        (batch.counts, result)
    }

    /// Books what a batch did, and looks at the clock: a batch that held up the loop is told by name.
    #[inline]
    fn count(&mut self, counts: Counts) {
        let metrics = &self.gear.metrics;
        let tally = self.gear.outbox.tally();
        metrics.add(Counter::FramesIn, u64::from(counts.frames));
        metrics.add(Counter::Started, u64::from(counts.started));
        metrics.ended(Outcome::Answered, u64::from(tally.answered));
        if counts.frames == tally.answered {
            debug_assert_eq!((tally.failed, tally.silent, counts.panics), (0, 0, 0));
        } else {
            metrics.ended(Outcome::Failed, u64::from(tally.failed - counts.panics));
            metrics.ended(Outcome::Silent, u64::from(tally.silent));
            metrics.ended(Outcome::Panicked, u64::from(counts.panics));
            metrics.add(Counter::UnaskedPongs, u64::from(counts.unasked_pongs));
        }
        if counts.panics > 0 {
            self.gear.panics += counts.panics;
            metrics.add(Counter::Panics, u64::from(counts.panics));
        }
        if counts.frames > 0 {
            self.entry.heard = self.gear.ms;
            self.entry.flags.clear(Flag::Fresh);
        }
        let before = self.gear.now;
        self.gear.set_now(self.io.now());
        let took_us = self.gear.now.since_us(before);
        if took_us >= self.gear.stall_us {
            self.gear.metrics.add(Counter::Stalls, 1);
            self.gear.journal.stall(self.gear.ms, self.id, took_us, counts.frames);
        }
    }

    /// On a line listener, the first bytes are looked at before they are taken for a line.
    #[inline]
    fn foreign_line(&self, is_fresh: bool, bytes: &[u8]) -> Option<Stop> {
        if !is_fresh || self.listener.framing.protocol != Protocol::Line {
            return None;
        }
        let why = self.listener.framing.foreign(bytes)?;
        Some(Stop::Fault(why, foreign_text(why, bytes)))
    }

    /// A connection's first bytes: on a frame listener, a refused or partial frame may be another protocol's hello.
    fn greet(&mut self, counts: Counts, bytes: &[u8], stop: &mut Stop) {
        if counts.frames > 0 || self.listener.framing.protocol == Protocol::Line {
            return;
        }
        if let Some(why) = self.listener.framing.foreign(bytes) {
            *stop = Stop::Fault(why, foreign_text(why, bytes));
        }
    }

    /// Bytes of replies that the next batch may make, or `None` if there is no memory to queue any.
    #[inline]
    fn room(&self) -> Option<usize> {
        let high = self.gear.limits.output_high_bytes;
        let room = high.saturating_sub(self.entry.queued_bytes()).max(1) as usize;
        if self.gear.pool.has_room(Side::Output, room) {
            return Some(room);
        }
        match self.gear.pool.lease_bytes_max(Side::Output) {
            0 => None,
            most => Some(room.min(most)),
        }
    }

    /// Sends what the batch gathered, last words included if it ended in a fault, and pauses reading if too much
    /// of it waits.
    #[inline]
    fn send(&mut self, stop: &Stop, inputs: Inputs<'_>) -> Result<(), CloseReason> {
        if let Stop::Fault(why, text) = stop {
            self.take_leave(*why, text.as_str());
        }
        self.send_outbox(inputs)
    }

    /// From here on nothing is read, and what is due leaves.
    fn take_leave(&mut self, why: CloseReason, text: &str) {
        let until = self.gear.ms.after(FLUSH_GRACE);
        self.entry.phase = self.entry.phase.step(Event::Finish { why, until });
        self.gear.outbox.set_protocol(self.listener.framing.protocol);
        self.gear.outbox.farewell(why, text);
        self.gear.journal.leave(self.gear.ms, self.id, self.entry.address.get(), why, text);
    }

    #[inline]
    fn send_outbox(&mut self, inputs: Inputs<'_>) -> Result<(), CloseReason> {
        let total = self.gear.outbox.bytes();
        if total == 0 {
            self.gear.outbox.clear();
            return Ok(());
        }
        let mut written = 0;
        if self.entry.output.is_none() || is_planted(Bug::QueueBypassed) {
            let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
            let count = self.gear.outbox.slices(inputs, &mut slices);
            written = write_some(self.io, &mut self.entry.stream, &slices[..count])?;
            self.gear.metrics.add(Counter::BytesOut, written as u64);
        }
        let kept = if written < total { self.queue_rest(inputs, written) } else { Ok(()) };
        self.gear.outbox.clear();
        kept
    }

    /// Queues what the socket did not take.
    #[cold]
    fn queue_rest(&mut self, inputs: Inputs<'_>, written: usize) -> Result<(), CloseReason> {
        let now = self.gear.ms;
        if self.entry.output.is_none() {
            self.entry.flags.clear(Flag::Writable);
            let mut output = self.gear.outbound.take().unwrap_or_else(|| {
                Box::new(Outbound { queue: OutQueue::new(), moved: now, since: now, taken: 0 })
            });
            (output.moved, output.since, output.taken) = (now, now, 0);
            self.entry.output = Some(output);
        }
        let output = self.entry.output.as_mut().expect("made above");
        let frame_max = (self.listener.framing.payload_max as usize + OVERHEAD_BYTES) as u64;
        let hard =
            u32::try_from(u64::from(self.gear.limits.output_high_bytes) + frame_max).unwrap_or(u32::MAX);
        let pool = &mut self.gear.pool;
        let kept = self.gear.outbox.unwritten(inputs, written, |rest| match rest {
            Unwritten::Bytes(bytes) => output.queue.push_bytes(pool, bytes, hard),
            Unwritten::Shared(bytes) => output.queue.push_shared(bytes, hard),
        });
        let tally = self.gear.outbox.tally();
        output.queue.note_replies(tally.answered + tally.failed);
        if output.queue.queued_bytes() > self.gear.limits.output_high_bytes && self.entry.phase.is_serving() {
            self.pause(Pause::Output);
        }
        kept.map_err(|error| match error {
            QueueError::Full { .. } => CloseReason::SlowConsumer,
            QueueError::NoMemory { .. } => CloseReason::Memory,
        })
    }

    /// Writes queued output while the socket takes it; reading goes on once little enough is left.
    fn write_queued(&mut self) -> Result<(), CloseReason> {
        let Some(output) = self.entry.output.as_mut() else { return Ok(()) };
        for _ in 0..QUEUE_WRITES {
            if output.queue.is_empty() || !self.entry.flags.has(Flag::Writable) {
                break;
            }
            let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
            let count = output.queue.slices(&mut slices);
            let offered: usize = slices[..count].iter().map(|slice| slice.len()).sum();
            let written = write_some(self.io, &mut self.entry.stream, &slices[..count])?;
            output.queue.consume(&mut self.gear.pool, written);
            self.gear.metrics.add(Counter::BytesOut, written as u64);
            if written > 0 {
                output.moved = self.gear.ms;
                output.taken += written as u64;
            }
            if written < offered {
                self.entry.flags.clear(Flag::Writable);
            }
        }
        let queued = output.queue.queued_bytes();
        if queued == 0 {
            self.release_output();
        }
        if queued <= self.gear.limits.output_low_bytes && !is_planted(Bug::PauseNeverCleared) {
            self.unpause(Pause::Output);
        }
        Ok(())
    }

    /// Gives the output queue back, whatever it still holds.
    pub(super) fn release_output(&mut self) {
        if let Some(mut output) = self.entry.output.take() {
            let unsent = output.queue.unsent_replies();
            if !output.queue.is_empty() {
                self.gear.metrics.add(Counter::RepliesUnsent, u64::from(unsent));
            }
            if !is_planted(Bug::LeaseLeaked) {
                output.queue.clear(&mut self.gear.pool);
            }
            self.gear.outbound.put(output);
        }
    }

    fn pause(&mut self, pause: Pause) {
        if !self.entry.pauses.has(pause) {
            self.gear.metrics.add(
                match pause {
                    Pause::Output => Counter::PausedOutput,
                    Pause::Memory => Counter::PausedMemory,
                },
                1,
            );
        }
        if self.entry.pauses.set(pause) {
            self.entry.paused_at = self.gear.ms;
        }
    }

    /// Reading has begun to wait for memory.
    pub(super) fn starve(&mut self) {
        self.pause(Pause::Memory);
    }

    /// Ends a pause. With the last one reading goes on, and the deadlines that stood still with it.
    pub(super) fn unpause(&mut self, pause: Pause) {
        if !self.entry.pauses.clear(pause) {
            return;
        }
        if is_planted(Bug::DeadlineWhilePaused) {
            return;
        }
        let stood_ms = self.gear.ms.since(self.entry.paused_at);
        self.entry.heard = self.entry.heard.plus(stood_ms);
        if let Some(input) = self.entry.input.as_mut() {
            input.since = input.since.plus(stood_ms);
        }
    }

    /// What a connection that is read and answered waits for now.
    #[inline]
    fn rest(&mut self) -> Verdict {
        if !self.entry.pauses.is_empty() {
            return Verdict::Wait;
        }
        if self.entry.has_unparsed() {
            return Verdict::Again;
        }
        if self.entry.flags.has(Flag::PeerEnded) {
            return self.finish(CloseReason::PeerClosed, "");
        }
        let is_draining = matches!(self.entry.phase, Phase::Draining { .. });
        if self.entry.flags.has(Flag::Readable)
            && !(is_draining && u32::from(self.entry.drain_reads) >= DRAIN_READS)
        {
            return Verdict::Again;
        }
        if is_draining {
            self.finish(CloseReason::Drained, "the server is shutting down")
        } else {
            Verdict::Wait
        }
    }

    /// Ends the connection in order: last words, flush, shut, linger.
    pub(super) fn finish(&mut self, why: CloseReason, text: &str) -> Verdict {
        self.take_leave(why, text);
        if let Some(input) = self.entry.input.take() {
            self.release(input);
        }
        match self.send_outbox(Inputs::default()) {
            Err(why) => self.lost(why),
            Ok(()) => self.flush(),
        }
    }

    fn flush(&mut self) -> Verdict {
        if is_planted(Bug::ClosedBeforeFlushed) {
            return self.lost(CloseReason::Failed);
        }
        if let Err(why) = self.write_queued() {
            return self.lost(why);
        }
        if self.entry.output.is_some() {
            return Verdict::Wait;
        }
        let peer_ended = self.entry.flags.has(Flag::PeerEnded) || is_planted(Bug::NoLinger);
        if !peer_ended && self.io.shut_write(&mut self.entry.stream).is_err() {
            return self.lost(CloseReason::Reset);
        }
        let until = self.gear.linger_until();
        self.entry.phase = self.entry.phase.step(Event::Flushed { peer_ended, until });
        if matches!(self.entry.phase, Phase::Closed(_)) {
            return Verdict::Closed;
        }
        // What came before may lie in the socket, and no edge will tell of it.
        self.entry.flags.set(Flag::Readable);
        self.linger()
    }

    fn linger(&mut self) -> Verdict {
        let mut scratch = std::mem::take(&mut self.gear.scratch);
        let verdict = self.linger_into(&mut scratch);
        self.gear.scratch = scratch;
        verdict
    }

    fn linger_into(&mut self, scratch: &mut [u8]) -> Verdict {
        for _ in 0..LINGER_READS {
            if !self.entry.flags.has(Flag::Readable) {
                return Verdict::Wait;
            }
            let offered = scratch.len();
            match self.read(&mut [IoSliceMut::new(scratch)], offered) {
                Got::Bytes { count, all_offered } => {
                    self.read_on(all_offered);
                    self.gear.metrics.add(Counter::BytesLingered, count as u64);
                    self.entry.lingered =
                        self.entry.lingered.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
                    if self.entry.lingered >= LINGER_BYTES_MAX {
                        return self.end(Event::PeerEnded);
                    }
                }
                Got::End => return self.end(Event::PeerEnded),
                Got::Nothing => return Verdict::Wait,
                Got::Lost(why) => return self.lost(why),
            }
        }
        Verdict::Again
    }

    /// Reads once. Would-block and the end of the stream clear what they answer.
    #[inline]
    fn read(&mut self, into: &mut [IoSliceMut<'_>], offered: usize) -> Got {
        for _ in 0..INTERRUPTED_RETRIES {
            match self.io.read(&mut self.entry.stream, into) {
                Ok(0) => {
                    self.entry.flags.clear(Flag::Readable);
                    self.entry.flags.set(Flag::PeerEnded);
                    return Got::End;
                }
                Ok(count) => {
                    self.gear.metrics.add(Counter::BytesIn, count as u64);
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

    /// A short read means that the socket is drained, unless its end or an error waits behind.
    #[inline]
    fn read_on(&mut self, all_offered: bool) {
        if !all_offered && !self.entry.flags.has(Flag::ReadClosed) && !self.entry.flags.has(Flag::Hangup) {
            self.entry.flags.clear(Flag::Readable);
        }
        if all_offered && matches!(self.entry.phase, Phase::Draining { .. }) {
            self.entry.drain_reads = self.entry.drain_reads.saturating_add(1);
        }
    }

    pub(super) fn lost(&mut self, why: CloseReason) -> Verdict {
        if self.entry.phase.is_serving() {
            self.gear.journal.leave(self.gear.ms, self.id, self.entry.address.get(), why, "");
        }
        self.end(Event::Lost(why))
    }

    fn end(&mut self, event: Event) -> Verdict {
        self.entry.phase = self.entry.phase.step(event);
        debug_assert!(matches!(self.entry.phase, Phase::Closed(_)), "{event:?} ends a connection");
        Verdict::Closed
    }
}

/// Writes once. Gives what the socket took: less than all if it is full.
#[inline]
fn write_some<I: Io>(
    io: &mut I,
    stream: &mut I::Stream,
    slices: &[IoSlice<'_>],
) -> Result<usize, CloseReason> {
    for _ in 0..INTERRUPTED_RETRIES {
        match io.write(stream, slices) {
            Ok(written) => return Ok(written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(reason_of_io(&error)),
        }
    }
    Ok(0)
}

/// A connection that is gone is daily weather; anything else is this host's trouble.
fn reason_of_io(error: &io::Error) -> CloseReason {
    #[expect(clippy::wildcard_enum_match_arm, reason = "std's list grows")]
    match error.kind() {
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::NotConnected
        | ErrorKind::TimedOut
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable => CloseReason::Reset,
        _ => CloseReason::Failed,
    }
}

fn foreign_text(why: CloseReason, bytes: &[u8]) -> Text {
    let first = &bytes[..bytes.len().min(8)];
    Text::of(format_args!("another protocol's first bytes ({}): {first:02x?}", why.name()))
}
