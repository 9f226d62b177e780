//! Deferred requests of a connection: their answers come from elsewhere, and leave in their place.
//!
//! ```text
//!   answer -> correlated, or at the front of the order -> queue, and with it whatever was held right behind
//!         `-> behind an open request -> held
//! ```
//!
//! Answers are queued and not written here: the hot list flushes a connection once for all that it got in a turn.
//!
//! Always holds: an open request ends in exactly one outcome, here or with its connection; replies that wait behind an
//! open one count as queued output. Never: a reply over the connection's limit. It becomes OUTCOME_UNKNOWN in its
//! place, since the request was done and its requester is not to blame. Where headers leave no place for that, nothing
//! that belongs behind the missing reply is sent, and the connection ends.

use super::{Verdict, Visit, Wrote};
use crate::base::limits::{FAILURE_BYTES_SPARE, SCRATCH_BYTES};
use crate::base::planted::{Bug, is_planted};
use crate::base::{CloseReason, Text};
use crate::buffer::Side;
use crate::mailbox::Happened;
use crate::metrics::{Counter, Outcome};
use crate::service::{Desk, Service};
use crate::session::{
    Beat, Ended, Event, Failure, Inputs, NO_ROOM, Pause, Phase, Protocol, Ready, ReplyTo, Segment,
    reply_bytes, write_reply,
};
use crate::turn::Io;
use crate::turn::entry::Flag;
use crate::wire::frame::OVERHEAD_BYTES;
use crate::wire::{Control, Header, Status};
use bytes::Bytes;

/// What is said to an open request.
#[derive(Debug)]
pub(in crate::turn) enum Said<'a> {
    /// A payload, to be copied.
    Copy(&'a [u8]),
    /// A shared payload.
    Shared(Bytes),
    /// A refusal.
    Failed(Status, &'a str),
}

impl Said<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Said::Copy(bytes) => bytes,
            Said::Shared(bytes) => bytes,
            Said::Failed(_, text) => text.as_bytes(),
        }
    }

    pub(in crate::turn) const fn is_failure(&self) -> bool {
        matches!(self, Said::Failed(..))
    }
}

/// A reply that may not wait with all that waits already, in bytes.
struct OverLimit {
    bytes: usize,
    queued: usize,
    limit: u32,
}

impl<S: Service, I: Io> Visit<'_, S, I> {
    /// Answers an open request. `None`: there is no such request any more. An error ends the connection.
    pub(in crate::turn) fn complete(
        &mut self,
        serial: u64,
        said: Said<'_>,
        outcome: Outcome,
        queued_us: Option<u32>,
    ) -> Option<Result<(), CloseReason>> {
        let ended = self.entry.slots.as_mut()?.end(serial)?;
        self.shared.desk.open -= 1;
        self.entry.heard = self.shared.ms;
        self.prepare_outbox();
        let has_way = self.make_way(ended, &said);
        let text;
        let (said, outcome) = match self.must_fail(ended, &said) {
            None => (said, outcome),
            Some((status, why)) => {
                text = why;
                (Said::Failed(status, text.as_str()), Outcome::Failed)
            }
        };
        self.shared.metrics.ended(outcome, 1);
        self.end_recorded(serial, outcome, &said, queued_us);
        let done = has_way.and_then(|()| self.answer(serial, ended, said));
        self.relax();
        Some(done)
    }

    fn answer(&mut self, serial: u64, ended: Ended, said: Said<'_>) -> Result<(), CloseReason> {
        let is_missing = said.is_failure() && self.listener.framing.protocol == Protocol::Bare;
        match ended {
            Ended::Now(_) if is_missing => {
                self.abandon();
                Err(CloseReason::RequestFailed)
            }
            Ended::Now(to) => {
                self.write_answer(to, said);
                self.release_ready()
            }
            // What is in front of it is answered first, and nothing more is read.
            Ended::Behind(_) if is_missing && self.entry.phase.is_serving() => {
                Err(CloseReason::RequestFailed)
            }
            Ended::Behind(_) if is_missing => Ok(()),
            Ended::Behind(to) => {
                self.hold_answer(serial, to, &said)?;
                if self.entry.queued_bytes() > self.shared.limits.output_high_bytes {
                    self.pause(Pause::Output);
                }
                Ok(())
            }
        }
    }

    /// A request that wanted no reply failed when it was long taken.
    pub(in crate::turn) fn refuse_unheard(
        &mut self,
        status: Status,
        header: Header,
    ) -> Result<(), CloseReason> {
        self.prepare_outbox();
        self.shared.desk.outbox.refuse_unheard(status, header);
        self.count_unheard();
        self.queue()
    }

    /// What a failed answer means for its connection.
    pub(in crate::turn) fn end_for(&mut self, why: CloseReason) -> Verdict {
        if why == CloseReason::RequestFailed {
            self.finish(why, "a deferred request failed")
        } else {
            self.lost(why)
        }
    }

    /// Before a reply is refused for what is queued in front of it, the socket takes of that what it can.
    fn make_way(&mut self, ended: Ended, said: &Said<'_>) -> Result<(), CloseReason> {
        if self.entry.output.is_some() && self.over_limit(ended, said).is_some() {
            self.write_queued()?;
        }
        Ok(())
    }

    /// Why a reply can't be what the service said, if it can't.
    fn must_fail(&self, ended: Ended, said: &Said<'_>) -> Option<(Status, Text)> {
        if said.is_failure() {
            return None;
        }
        if let Err(error) = self.shared.desk.outbox.check_payload(said.bytes().len())
            && !is_planted(Bug::LargeLater)
        {
            return Some((error.status(), Text::of(format_args!("{error}"))));
        }
        let OverLimit { bytes, queued, limit } = self.over_limit(ended, said)?;
        let text = Text::of(format_args!(
            "a reply of {bytes} bytes with {queued} queued before it exceeds the {limit} byte limit"
        ));
        Some((Status::OUTCOME_UNKNOWN, text))
    }

    /// Whether what would wait for the socket, or behind an open request, is too much. What waits for this very reply is
    /// not held against it, unless with it there is more than a connection may ever have.
    fn over_limit(&self, ended: Ended, said: &Said<'_>) -> Option<OverLimit> {
        let all = self.entry.queued_bytes() as usize;
        let held = self.entry.slots.as_ref().map_or(0, |slots| slots.held_bytes() as usize);
        let (to, queued) = match ended {
            Ended::Now(to) => (to, all - held),
            Ended::Behind(to) => (to, all),
        };
        let bytes = reply_bytes(self.listener.framing.protocol, to, said.bytes().len());
        [(queued, self.hard_bytes()), (all, self.limit_bytes())]
            .into_iter()
            .find(|(queued, limit)| queued + bytes > *limit as usize)
            .map(|(queued, limit)| OverLimit { bytes, queued, limit })
    }

    /// Bytes of the largest frame that this peer may send, and that its replies are taken to be.
    fn frame_bytes_max(&self) -> u32 {
        let bytes = self.listener.framing.payload_max as usize + OVERHEAD_BYTES;
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    /// The most bytes that may wait for this peer's socket, or behind its open requests.
    pub(super) fn hard_bytes(&self) -> u32 {
        self.shared.limits.output_high_bytes.saturating_add(self.frame_bytes_max())
    }

    /// The largest payload of a reply: one frame of it may wait for the socket.
    #[inline(always)]
    pub(super) fn reply_bytes_max(&self) -> u32 {
        self.shared.limits.output_high_bytes.saturating_add(self.listener.framing.payload_max)
    }

    /// The most bytes that may wait for it in all. That is a reply of the largest size more, for the one that all held
    /// ones wait for: once they are queued no request may be open any more, and what little is still to be said must
    /// find room.
    pub(super) fn limit_bytes(&self) -> u32 {
        self.hard_bytes().saturating_mul(2)
    }

    fn write_answer(&mut self, to: ReplyTo, said: Said<'_>) {
        let outbox = &mut self.shared.desk.outbox;
        let sent = match said {
            Said::Copy(bytes) => outbox.reply(to, bytes),
            Said::Shared(bytes) => outbox.reply_shared(to, bytes),
            Said::Failed(status, text) => {
                outbox.failure(to, status, Failure { text, retry_after_ms: None });
                Ok(())
            }
        };
        debug_assert_eq!(sent, Ok(()), "its size was looked at before");
    }

    /// Holds an answer in its place behind an open request.
    fn hold_answer(&mut self, serial: u64, to: ReplyTo, said: &Said<'_>) -> Result<(), CloseReason> {
        let Some(slots) = self.entry.slots.as_mut() else { return Ok(()) };
        let Desk { pool, outbox, .. } = &mut self.shared.desk;
        let protocol = outbox.protocol();
        if let Said::Failed(status, text) = said {
            let frame = outbox.failure_aside(to, *status, Failure { text, retry_after_ms: None });
            let bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX);
            slots.hold(pool, serial, bytes, |into| into.copy_from_slice(frame));
            return Ok(());
        }
        let payload = said.bytes();
        let bytes = u32::try_from(reply_bytes(protocol, to, payload.len())).unwrap_or(u32::MAX);
        let is_held = slots.hold(pool, serial, bytes, |into| {
            write_reply(into, outbox.crc(), protocol, to, &[Segment::Copy(payload)]);
        });
        if is_held || protocol != Protocol::Bare { Ok(()) } else { Err(CloseReason::RequestFailed) }
    }

    /// Queues the outbox and what was held right behind the request that was answered.
    fn release_ready(&mut self) -> Result<(), CloseReason> {
        while let Some(slots) = self.entry.slots.as_mut()
            && let Some(ready) = slots.ready()
        {
            let Desk { pool, outbox, .. } = &mut self.shared.desk;
            match ready {
                Ready::Bytes(bytes) => {
                    outbox.whole_copied(bytes);
                    outbox.held(false);
                }
                Ready::Failed(_) if outbox.protocol() == Protocol::Bare => {
                    self.queue()?;
                    self.abandon();
                    return Err(CloseReason::RequestFailed);
                }
                Ready::Failed(to) => {
                    let failure = Failure { text: NO_ROOM, retry_after_ms: None };
                    outbox.failure(to, Status::OUTCOME_UNKNOWN, failure);
                }
            }
            slots.pop_ready(pool);
            let bytes = outbox.bytes();
            // Short of memory, what is held must have gone back before it can be queued.
            if bytes >= SCRATCH_BYTES && pool.has_room(Side::Output, bytes) {
                self.queue()?;
            }
        }
        self.queue()
    }

    /// Puts what the outbox holds behind all other output, to be flushed by the hot list. What is short of memory, or
    /// more than may wait, is written at once, as far as the socket takes it.
    pub(in crate::turn) fn queue(&mut self) -> Result<(), CloseReason> {
        let bytes = self.shared.desk.outbox.bytes();
        if bytes == 0 {
            self.shared.desk.outbox.clear();
            return Ok(());
        }
        let pool = &self.shared.desk.pool;
        let has_memory = match self.entry.output.as_ref() {
            Some(output) => output.queue.has_memory(pool, bytes),
            None => pool.can_lease(Side::Output, bytes),
        };
        let fits = has_memory && self.entry.queued_bytes() as usize + bytes <= self.limit_bytes() as usize;
        if !fits && self.entry.phase.is_answering() {
            if let Err(why) = self.write_queued() {
                // Whatever became of it, nothing of this may reach the next connection.
                self.shared.desk.outbox.clear();
                return Err(why);
            }
            return self.send(&Inputs::default());
        }
        self.shared.metrics.add(Counter::FramesOut, u64::from(self.shared.desk.outbox.frames()));
        self.shared.desk.outbox.seal();
        let queued = self.queue_rest(&Inputs::default(), Wrote { bytes: 0, is_full: false });
        self.shared.desk.outbox.clear();
        queued
    }

    /// Ends the pauses whose cause is over, and gives the lists back once nothing is open. The caller sees to it that
    /// the connection is visited.
    fn relax(&mut self) {
        let Some(slots) = self.entry.slots.as_mut() else { return };
        if slots.len() < self.shared.limits.open_requests as usize && !is_planted(Bug::SlotsPauseKept) {
            self.unpause(Pause::Slots);
        }
        if self.entry.queued_bytes() <= self.shared.limits.output_low_bytes {
            self.unpause(Pause::Output);
        }
        self.release_slots();
    }

    /// After a batch: too many open requests, or too much held behind them, pause reading.
    #[cold]
    pub(super) fn hold_back(&mut self) {
        let Some(slots) = self.entry.slots.as_ref() else { return };
        if slots.is_empty() {
            self.release_slots();
            return;
        }
        let is_full = slots.len() >= self.shared.limits.open_requests as usize;
        if is_full {
            self.pause(Pause::Slots);
        }
        if self.entry.queued_bytes() > self.shared.limits.output_high_bytes {
            self.pause(Pause::Output);
        }
    }

    fn release_slots(&mut self) {
        let is_over = |slots: &crate::session::Slots| slots.is_empty() && slots.leave().is_none();
        if self.entry.slots.as_deref().is_some_and(is_over)
            && let Some(slots) = self.entry.slots.take()
        {
            self.shared.desk.put_back(slots);
        }
    }

    /// The connection is over: its open requests are, too.
    pub(in crate::turn) fn abandon(&mut self) {
        let Some(mut slots) = self.entry.slots.take() else { return };
        let open = u64::from(slots.open_count());
        if self.shared.tracing.as_ref().is_some_and(|tracing| tracing.has_open()) {
            let nothing = Said::Copy(&[]);
            slots
                .open_serials()
                .for_each(|serial| self.end_recorded(serial, Outcome::Abandoned, &nothing, None));
        }
        self.shared.desk.open -= open;
        self.shared.metrics.ended(Outcome::Abandoned, open);
        // A peer that is gone wants no replies; all others lose them. If it was given up while requests were open, also
        // those that were never made.
        if !self.is_gone() {
            let never_made = if matches!(self.entry.phase, Phase::Closed(_)) { open } else { 0 };
            self.shared.metrics.add(Counter::RepliesUnsent, never_made + u64::from(slots.held_count()));
        }
        slots.clear(&mut self.shared.desk.pool);
        self.shared.desk.put_back(slots);
    }

    /// Requests whose time is up fail: nobody knows what became of them.
    pub(in crate::turn) fn expire(&mut self) -> Result<(), CloseReason> {
        let now = self.shared.ms;
        while let Some(serial) = self.entry.slots.as_mut().and_then(|slots| slots.overdue(now)) {
            let said = Said::Failed(Status::OUTCOME_UNKNOWN, "no answer came in time");
            self.complete(serial, said, Outcome::TimedOut, None).unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    /// Nothing is read any more; once nothing is open, the last words follow.
    pub(super) fn await_answers(&mut self) -> Verdict {
        if let Err(why) = self.write_queued() {
            return self.lost(why);
        }
        if self.entry.flags.has(Flag::Hangup) {
            return self.lost(CloseReason::Reset);
        }
        if self.entry.open_requests() > 0 {
            return self.wait_for_space();
        }
        let leave = self.entry.slots.as_ref().and_then(|slots| slots.leave());
        if let Some(mut slots) = self.entry.slots.take() {
            slots.clear(&mut self.shared.desk.pool);
            self.shared.desk.put_back(slots);
        }
        let Some(leave) = leave else {
            debug_assert!(false, "whoever awaits answers has kept why");
            return self.lost(CloseReason::Failed);
        };
        self.say_farewell(&leave);
        match self.send(&Inputs::default()) {
            Err(why) => self.lost(why),
            Ok(()) => self.flush(),
        }
    }

    /// A dialed connection: is it there?
    #[cold]
    pub(super) fn connect(&mut self) -> Verdict {
        if !self.entry.flags.has(Flag::Writable) {
            return Verdict::Wait;
        }
        match self.io.finish_connect(&mut self.entry.stream) {
            Ok(true) => {
                self.step(Event::Connected);
                self.entry.heard = self.shared.ms;
                Verdict::Again
            }
            Ok(false) => {
                self.entry.flags.clear(Flag::Writable);
                Verdict::Wait
            }
            Err(_) => self.lost(CloseReason::DialFailed),
        }
    }

    /// A heartbeat's deadline: ask, or give up.
    pub(in crate::turn) fn beat(&mut self) -> Verdict {
        let (heard, now) = (self.entry.heard, self.shared.now);
        let Some(greeting) = self.entry.greeting.as_mut() else { return Verdict::Wait };
        match greeting.beat(heard, now) {
            Beat::Lost => {
                self.note(Happened::HeartbeatMissed, 0);
                self.finish(CloseReason::Heartbeat, "no answer to a heartbeat")
            }
            Beat::Ping(payload) => {
                self.note(Happened::HeartbeatSent, 0);
                self.shared.metrics.add(Counter::Heartbeats, 1);
                self.tell(&Control::Ping(&payload))
            }
        }
    }

    /// Sends a control frame by itself.
    pub(in crate::turn) fn tell(&mut self, control: &Control<'_>) -> Verdict {
        self.prepare_outbox();
        self.shared.desk.outbox.control(control);
        match self.send(&Inputs::default()) {
            Err(why) => self.lost(why),
            Ok(()) => self.wait_for_space(),
        }
    }
}

const _: () = assert!(NO_ROOM.len() < FAILURE_BYTES_SPARE as usize);
