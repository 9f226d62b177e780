//! A visit's output: a batch's replies in one vectored write, and what the socket refuses in the queue.
//!
//! Always holds: nothing is written around a queue that is not empty; reading pauses while more than the high
//! watermark waits, and goes on below the low one. Never: a wait for more to write.

use super::{Seat, write_some};
use crate::base::CloseReason;
use crate::base::limits::SLICES_PER_WRITE;
use crate::base::planted::{Bug, is_planted};
use crate::buffer::{OutQueue, QueueError};
use crate::metrics::Counter;
use crate::service::Service;
use crate::session::{Inputs, Pause, Unwritten};
use crate::turn::Io;
use crate::turn::batch::Stop;
use crate::turn::entry::{Flag, Outbound};
use crate::wire::frame::OVERHEAD_BYTES;
use std::io::IoSlice;

/// Vectored writes of one visit to a connection with queued output.
const QUEUE_WRITES: u32 = 16;

impl<S: Service, I: Io> Seat<'_, S, I> {
    /// Sends what the batch gathered, last words included if it ended in a fault, and pauses reading if too much
    /// of it waits.
    #[inline]
    pub(super) fn send(&mut self, stop: &Stop, inputs: Inputs<'_>) -> Result<(), CloseReason> {
        if let Stop::Fault(why, text) = stop {
            self.take_leave(*why, text.as_str());
        }
        self.send_outbox(inputs)
    }

    #[inline]
    pub(super) fn send_outbox(&mut self, inputs: Inputs<'_>) -> Result<(), CloseReason> {
        let sent = self.send_gathered(inputs);
        // Whatever became of it: what stays here would go to whoever is visited next.
        self.gear.outbox.clear();
        sent
    }

    #[inline]
    fn send_gathered(&mut self, inputs: Inputs<'_>) -> Result<(), CloseReason> {
        let total = self.gear.outbox.bytes();
        if total == 0 {
            return Ok(());
        }
        let mut written = 0;
        if self.entry.output.is_none() || is_planted(Bug::QueueBypassed) {
            let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
            let count = self.gear.outbox.slices(inputs, &mut slices);
            written = write_some(self.io, &mut self.entry.stream, &slices[..count])?;
            self.gear.metrics.add(Counter::BytesOut, written as u64);
        }
        if written < total { self.queue_rest(inputs, written) } else { Ok(()) }
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
    pub(super) fn write_queued(&mut self) -> Result<(), CloseReason> {
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
    pub(in crate::turn) fn release_output(&mut self) {
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

    pub(super) fn pause(&mut self, pause: Pause) {
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
    pub(in crate::turn) fn starve(&mut self) {
        self.pause(Pause::Memory);
    }

    /// Ends a pause. With the last one reading goes on, and the deadlines that stood still with it.
    pub(in crate::turn) fn unpause(&mut self, pause: Pause) {
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
}
