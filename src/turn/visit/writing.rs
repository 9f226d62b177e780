//! A visit's output: a batch's replies in one vectored write, and what the socket refuses in the queue.
//!
//! Always holds: nothing is written around a queue that is not empty; reading pauses while more than the high
//! watermark waits, and goes on below the low one. Never: a wait for more to write.

use super::{Visit, Wrote, write_some};
use crate::base::limits::{FAILURE_BYTES_SPARE, SLICES_PER_WRITE};
use crate::base::planted::{Bug, is_planted};
use crate::base::{CloseReason, Ms};
use crate::buffer::{OutQueue, QueueError};
use crate::mailbox::Happened;
use crate::metrics::{Counter, Gauge};
use crate::service::Service;
use crate::session::{Inputs, Pause, Phase, Role, Unwritten};
use crate::turn::Io;
use crate::turn::entry::{Flag, Outbound};
use std::io::IoSlice;

/// Vectored writes of one visit to a connection with queued output.
const QUEUE_WRITES: u32 = 16;

impl<S: Service, I: Io> Visit<'_, S, I> {
    /// Sends what the batch gathered; what the socket does not take is queued, and reading pauses if that is too much.
    #[inline(always)]
    pub(super) fn send(&mut self, inputs: &Inputs<'_>) -> Result<(), CloseReason> {
        let total = self.shared.desk.outbox.bytes();
        if total == 0 {
            self.shared.desk.outbox.clear();
            return Ok(());
        }
        self.shared.metrics.add(Counter::FramesOut, u64::from(self.shared.desk.outbox.frames()));
        self.shared.desk.outbox.seal();
        let sent = match self.write_outbox(inputs) {
            Ok(wrote) if wrote.bytes == total => Ok(()),
            Ok(wrote) => {
                self.look_at_clock();
                self.queue_rest(inputs, wrote)
            }
            Err(why) => Err(why),
        };
        // Whatever became of it, nothing of this batch may reach the next connection.
        self.shared.desk.outbox.clear();
        sent
    }

    /// Writes the outbox, once, unless older output waits.
    #[inline(always)]
    fn write_outbox(&mut self, inputs: &Inputs<'_>) -> Result<Wrote, CloseReason> {
        if self.entry.output.is_some() && !is_planted(Bug::QueueBypassed) {
            return Ok(Wrote { bytes: 0, is_full: false });
        }
        if self.entry.flags.has(Flag::Secure) {
            return self.write_outbox_secure(inputs);
        }
        self.write_outbox_as::<false>(inputs)
    }

    /// Apart from the common path.
    #[cold]
    #[inline(never)]
    fn write_outbox_secure(&mut self, inputs: &Inputs<'_>) -> Result<Wrote, CloseReason> {
        self.write_outbox_as::<true>(inputs)
    }

    #[inline(always)]
    fn write_outbox_as<const SECURE: bool>(&mut self, inputs: &Inputs<'_>) -> Result<Wrote, CloseReason> {
        let outbox = &self.shared.desk.outbox;
        let stream = &mut self.entry.stream;
        let wrote = match outbox.single_slice() {
            Some(slice) => write_some::<I, SECURE>(self.io, stream, &[IoSlice::new(slice)])?,
            None => write_slices::<I, SECURE>(self.io, stream, |into| outbox.slices(*inputs, into))?,
        };
        self.shared.metrics.add(Counter::BytesOut, wrote.bytes as u64);
        self.entry.life.bytes_out.add(wrote.bytes as u64);
        if wrote.is_full {
            self.entry.flags.clear(Flag::Writable);
        }
        Ok(wrote)
    }

    /// Queues what the socket did not take.
    #[cold]
    pub(super) fn queue_rest(&mut self, inputs: &Inputs<'_>, wrote: Wrote) -> Result<(), CloseReason> {
        let now = self.shared.ms;
        if self.entry.output.is_none() {
            let waits = self.shared.desk.outbox.bytes() - wrote.bytes;
            self.note(Happened::OutputQueued, u32::try_from(waits).unwrap_or(u32::MAX));
            let mut output = self.shared.outbound.take().unwrap_or_else(|| {
                Box::new(Outbound { queue: OutQueue::new(), moved: now, since: now, taken: 0 })
            });
            (output.moved, output.since, output.taken) = (now, now, 0);
            self.entry.output = Some(output);
        }
        let most = self.limit_bytes().saturating_add(FAILURE_BYTES_SPARE);
        let output = self.entry.output.as_mut().expect("made above");
        let pool = &mut self.shared.desk.pool;
        let kept = self.shared.desk.outbox.unwritten(*inputs, wrote.bytes, |rest| match rest {
            Unwritten::Bytes(bytes) => output.queue.push_bytes(pool, bytes, most),
            Unwritten::Shared(bytes) => output.queue.push_shared(bytes, most),
        });
        let tally = self.shared.desk.outbox.tally();
        let replies = tally.answered + tally.failed;
        match kept {
            Ok(()) => output.queue.note_replies(replies),
            // The connection ends for it, and with it what was pushed before.
            Err(_) => self.shared.metrics.add(Counter::RepliesUnsent, u64::from(replies)),
        }
        // What a server sends us causes nothing that is sent to it: if it were not read while requests to it wait, two
        // that wait for each other would wait for ever.
        let queued = self.entry.queued_bytes();
        match self.listener.framing.role {
            Role::Client => self.shared.effects.server_queues(self.id, queued as usize),
            Role::Server => {
                if queued > self.shared.limits.output_high_bytes && self.entry.phase.is_serving() {
                    self.pause(Pause::Output);
                }
            }
        }
        kept.map_err(|error| match error {
            QueueError::Full { .. } => CloseReason::SlowConsumer,
            QueueError::NoMemory { .. } => CloseReason::Memory,
        })
    }

    /// Writes queued output while the socket takes it; reading goes on once little enough is left.
    pub(super) fn write_queued(&mut self) -> Result<(), CloseReason> {
        let Some(output) = self.entry.output.as_mut() else { return Ok(()) };
        for _ in 0..QUEUE_WRITES {
            if output.queue.is_empty() || !self.entry.flags.has(Flag::Writable) {
                break;
            }
            let (queue, stream) = (&output.queue, &mut self.entry.stream);
            let wrote = match (self.entry.flags.has(Flag::Secure), queue.single_slice()) {
                (true, _) => write_slices::<I, true>(self.io, stream, |into| queue.slices(into))?,
                (false, Some(slice)) => write_some::<I, false>(self.io, stream, &[IoSlice::new(slice)])?,
                (false, None) => write_slices::<I, false>(self.io, stream, |into| queue.slices(into))?,
            };
            output.queue.consume(&mut self.shared.desk.pool, wrote.bytes);
            self.shared.metrics.add(Counter::BytesOut, wrote.bytes as u64);
            self.entry.life.bytes_out.add(wrote.bytes as u64);
            if wrote.is_full {
                self.entry.flags.clear(Flag::Writable);
            }
            if wrote.bytes == 0 {
                break;
            }
            output.moved = self.shared.ms;
            output.taken += wrote.bytes as u64;
        }
        let queued = output.queue.queued_bytes();
        if self.listener.framing.role == Role::Client {
            self.shared.effects.server_queues(self.id, queued as usize);
        }
        if queued == 0 {
            self.release_output();
        }
        if self.entry.queued_bytes() <= self.shared.limits.output_low_bytes
            && !is_planted(Bug::PauseNeverCleared)
        {
            self.unpause(Pause::Output);
        }
        Ok(())
    }

    /// Gives the output queue back, whatever it still holds.
    pub(in crate::turn) fn release_output(&mut self) {
        if let Some(mut output) = self.entry.output.take() {
            if !self.is_gone() && !output.queue.is_empty() {
                let unsent = output.queue.unsent_replies();
                self.shared.metrics.add(Counter::RepliesUnsent, u64::from(unsent));
            }
            if !is_planted(Bug::LeaseLeaked) {
                output.queue.clear(&mut self.shared.desk.pool);
            }
            self.shared.outbound.put(output);
        }
    }

    /// Whether the peer is gone in both directions: it wants no replies; all others lose them.
    pub(super) fn is_gone(&self) -> bool {
        self.entry.phase == Phase::Closed(CloseReason::Reset) || self.entry.flags.has(Flag::Hangup)
    }

    pub(super) fn pause(&mut self, pause: Pause) {
        if !self.entry.pauses.has(pause) {
            let (times, now) = figures_of(pause);
            self.shared.metrics.add(times, 1);
            self.shared.metrics.rise(now);
            let (paused, _) = happenings_of(pause);
            self.note(paused, self.waits_for(pause));
        }
        if self.entry.pauses.set(pause) {
            self.entry.paused_at = self.shared.ms;
        }
    }

    /// Reading has begun to wait for memory.
    pub(in crate::turn) fn starve(&mut self) {
        self.pause(Pause::Memory);
    }

    /// The connection is over, and waits for nothing.
    pub(in crate::turn) fn end_pauses(&mut self) {
        for pause in Pause::ALL {
            if self.entry.pauses.has(pause) {
                self.unpause(pause);
            }
        }
    }

    /// How much of it there is that is waited for.
    fn waits_for(&self, pause: Pause) -> u32 {
        match pause {
            Pause::Output => self.entry.queued_bytes(),
            Pause::Memory => 0,
            Pause::Slots => self.entry.open_requests(),
            Pause::Rate => self.shared.meters.as_ref().map_or(0, |meters| meters.wait_ms),
        }
    }

    /// Ends a pause. With the last one reading goes on, and the deadlines that stood still with it.
    pub(in crate::turn) fn unpause(&mut self, pause: Pause) {
        if self.entry.pauses.has(pause) {
            self.shared.metrics.fall(figures_of(pause).1);
            if self.entry.phase.ending().is_none() {
                let (_, resumed) = happenings_of(pause);
                self.note(resumed, self.waits_for(pause));
            }
        }
        if !self.entry.pauses.clear(pause) {
            return;
        }
        if is_planted(Bug::DeadlineWhilePaused) {
            return;
        }
        let now = self.shared.ms;
        let stood_ms = now.since(self.entry.paused_at);
        // What happened during the pause has waited for a part of it only.
        let moved = |moment: Ms| moment.plus(stood_ms).min(now);
        self.entry.heard = moved(self.entry.heard);
        if let Some(input) = self.entry.input.as_mut() {
            input.since = moved(input.since);
        }
    }
}

/// How often connections were paused for this, and how many are now.
const fn figures_of(pause: Pause) -> (Counter, Gauge) {
    match pause {
        Pause::Output => (Counter::PausedOutput, Gauge::WaitingForOutput),
        Pause::Memory => (Counter::PausedMemory, Gauge::WaitingForMemory),
        Pause::Slots => (Counter::PausedSlots, Gauge::WaitingForSlots),
        Pause::Rate => (Counter::PausedRate, Gauge::WaitingForRate),
    }
}

/// What is remembered of a pause for this, and of its end.
const fn happenings_of(pause: Pause) -> (Happened, Happened) {
    match pause {
        Pause::Output => (Happened::PausedOutput, Happened::ResumedOutput),
        Pause::Memory => (Happened::PausedMemory, Happened::ResumedMemory),
        Pause::Slots => (Happened::PausedSlots, Happened::ResumedSlots),
        Pause::Rate => (Happened::PausedRate, Happened::ResumedRate),
    }
}

/// Apart from the common path, which has one slice and need not lay out an array of them.
#[inline(never)]
fn write_slices<'a, I: Io, const SECURE: bool>(
    io: &mut I,
    stream: &mut I::Stream,
    fill: impl FnOnce(&mut [IoSlice<'a>]) -> usize,
) -> Result<Wrote, CloseReason> {
    let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
    let count = fill(&mut slices);
    write_some::<I, SECURE>(io, stream, &slices[..count])
}
