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

mod answering;
mod ending;
mod rates;
mod reading;
mod watched;
mod writing;

use super::batch::{Batch, Counts, Room};
use super::entry::{Entry, Flag};
use super::labels::Seen;
use super::{Io, ListenerConfig, Shared, label_of};
use crate::base::limits::{DRAIN_READS, INTERRUPTED_RETRIES, PAYLOAD_BYTES_MAX};
use crate::base::planted::{Bug, is_planted};
use crate::base::{CloseReason, ConnId, Ms, Text, Token};
use crate::buffer::Side;
use crate::mailbox::Happened;
use crate::metrics::{Counter, Outcome};
use crate::service::Service;
use crate::session::{Event, Framing, Inputs, Phase, Role, Step};
use crate::wire::Control;
pub(super) use answering::Said;
use std::io::{self, ErrorKind, IoSlice};
use watched::Start;

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
pub(super) struct Visit<'a, S: Service, I: Io> {
    pub(super) entry: &'a mut Entry<S::Conn, I::Stream>,
    pub(super) service: &'a mut S,
    pub(super) shared: &'a mut Shared,
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

impl<S: Service, I: Io> Visit<'_, S, I> {
    #[inline]
    pub(super) const fn token(&self) -> Token {
        Token { generation: self.id.generation, slot: self.id.slot }
    }

    /// Moves its life on.
    pub(super) fn step(&mut self, event: Event) {
        self.shared.step(self.token(), &mut self.entry.phase, event);
    }

    /// Remembers what happened to it.
    pub(super) fn note(&mut self, what: Happened, number: u32) {
        self.shared.note(self.token(), what, number);
    }

    #[inline]
    pub(super) fn run(&mut self) -> Verdict {
        match self.entry.phase {
            Phase::Open | Phase::Draining { .. } => self.serve(),
            Phase::Connecting { .. } => self.connect(),
            Phase::Answering { .. } => self.await_answers(),
            Phase::Flushing { .. } => self.flush(),
            Phase::Lingering { .. } => self.linger(),
            Phase::Closed(_) => Verdict::Wait,
        }
    }

    #[inline(always)]
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
                self.wait_for_space()
            };
        }
        if self.entry.has_unparsed() && !is_planted(Bug::RingNotParsedOnResume) {
            return self.serve_ring();
        }
        if self.entry.flags.has(Flag::Readable) { self.serve_socket() } else { self.rest() }
    }

    /// What a connection that is read and answered waits for now.
    #[inline(always)]
    fn rest(&mut self) -> Verdict {
        if !self.entry.pauses.is_empty() {
            return self.wait_for_space();
        }
        if self.entry.has_unparsed() {
            return Verdict::Again;
        }
        if self.entry.flags.has(Flag::PeerEnded) {
            return self.finish(CloseReason::PeerClosed, "");
        }
        let is_draining = matches!(self.entry.phase, Phase::Draining { .. });
        // Who was told to go elsewhere goes by itself, and is read until then.
        let ends = is_draining && self.entry.greeting.is_none() && self.listener.framing.role == Role::Server;
        if self.entry.flags.has(Flag::Readable) && !(ends && u32::from(self.entry.drain_reads) >= DRAIN_READS)
        {
            return Verdict::Again;
        }
        if ends { self.end_draining() } else { self.wait_for_space() }
    }

    /// Whether a peer that was told of the drain has been given all that it is owed, and only has not gone by itself.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.entry.phase, Phase::Draining { .. })
            && (self.entry.greeting.is_some() || self.listener.framing.role == Role::Client)
            && self.entry.input.is_none()
            && self.entry.output.is_none()
            && self.entry.open_requests() == 0
    }

    /// A connection with nothing to read waits for an edge, unless output waits that the socket has not refused.
    #[inline(always)]
    fn wait_for_space(&self) -> Verdict {
        let may_write = self.entry.output.is_some() && self.entry.flags.has(Flag::Writable);
        if may_write { Verdict::Again } else { Verdict::Wait }
    }

    /// Runs a batch over input that `arrived` then, and gives its counts beside its result.
    #[inline(always)]
    fn batch<R>(
        &mut self,
        room: Room,
        arrived: Ms,
        run: impl FnOnce(&mut Batch<'_, S, I>) -> R,
    ) -> (Counts, R) {
        let framing = self.prepare_outbox();
        let token = self.token();
        let shared = &mut *self.shared;
        shared.batch_began = shared.now;
        shared.desk.begin_batch(token, shared.now, room.hold_bytes as usize);
        let is_timed = shared.is_sample();
        let is_dialed = framing.role == Role::Client;
        let is_draining = matches!(self.entry.phase, Phase::Draining { .. });
        let mut start = Start::usual(self.entry.flags.has(Flag::Fresh));
        if shared.is_watched || is_timed || is_dialed || is_draining {
            self.begin_unusual(&mut start, is_timed);
        }
        let shared = &mut *self.shared;
        // Nobody's are there, so theirs change places.
        std::mem::swap(&mut shared.desk.slots, &mut self.entry.slots);
        let mut batch = Batch {
            service: self.service,
            conn: &mut self.entry.conn,
            greeting: &mut self.entry.greeting,
            shared,
            io: self.io,
            listener: self.listener,
            framing,
            id: self.id,
            arrived,
            room,
            counts: Counts::default(),
            state: start.state,
            timed_from: None,
            hand: 0,
            is_sample_next: false,
            until_look: start.until_look,
        };
        let result = run(&mut batch);
        let counts = batch.counts;
        std::mem::swap(&mut self.shared.desk.slots, &mut self.entry.slots);
        (counts, result)
    }

    /// Makes the outbox ready for replies to this peer, and gives how it is read.
    #[inline(always)]
    fn prepare_outbox(&mut self) -> Framing {
        debug_assert!(self.shared.desk.outbox.is_empty(), "replies of another batch");
        let peers = self.entry.greeting.as_ref().map_or(PAYLOAD_BYTES_MAX, |peer| peer.max_receive);
        self.shared.desk.outbox.set_protocol(self.listener.framing.protocol);
        self.shared.desk.outbox.set_payload_max(peers, self.reply_bytes_max());
        self.framing()
    }

    /// How this peer is read.
    #[inline(always)]
    fn framing(&self) -> Framing {
        let framing = self.listener.framing;
        if self.entry.greeting.is_some() { framing.welcomed() } else { framing }
    }

    /// Books what a batch did, and looks at the clock: a batch that held up the loop is told by name.
    #[inline(always)]
    fn count(&mut self, counts: Counts) {
        let metrics = &self.shared.metrics;
        let tally = self.shared.desk.outbox.tally();
        metrics.add(Counter::FramesIn, u64::from(counts.frames));
        metrics.add(Counter::Started, u64::from(counts.started()));
        metrics.ended(Outcome::Answered, u64::from(tally.answered));
        if counts.frames == tally.answered {
            debug_assert_eq!((tally.failed, tally.silent, tally.deferred), (0, 0, 0));
        } else {
            metrics.ended(Outcome::Failed, u64::from(tally.failed - counts.answered_for));
            metrics.ended(Outcome::Silent, u64::from(tally.silent));
            metrics.ended(Outcome::Panicked, u64::from(counts.answered_for));
        }
        if counts.panics > 0 {
            metrics.add(Counter::Panics, u64::from(counts.panics));
            self.shared.panics += counts.panics;
            self.note(Happened::HandlerPanicked, counts.panics);
        }
        let unheard = if is_planted(Bug::PongUnheard) { counts.others } else { 0 };
        if counts.frames > unheard {
            self.entry.heard = self.shared.ms;
            self.entry.life.messages_in = self.entry.life.messages_in.saturating_add(counts.frames);
            self.entry.flags.clear(Flag::Fresh);
        }
        if self.shared.desk.outbox.unheard().is_some() {
            self.count_unheard();
        }
        if self.entry.slots.is_some() {
            self.hold_back();
        }
        if self.shared.is_watched {
            self.end_watched(counts);
        }
    }

    /// What is noted after a batch must not bear its beginning as a date, where handlers have taken long.
    pub(super) fn look_at_clock(&mut self) {
        self.shared.set_now(self.io.now());
    }

    /// A batch is over, and its replies are written: looks at the clock. One that held up the loop is told by name.
    #[inline(always)]
    fn end_batch(&mut self, counts: Counts, inputs: &Inputs<'_>) {
        self.look_at_clock();
        let took_us = self.shared.now.since_us(self.shared.batch_began);
        if took_us >= self.shared.stall_us {
            self.stalled(took_us, counts, inputs);
        }
    }

    /// Whose messages these were is read again from where they still lie.
    #[cold]
    fn stalled(&mut self, took_us: u64, counts: Counts, inputs: &Inputs<'_>) {
        let framing = self.framing();
        let mut seen = Seen::default();
        for mut bytes in [inputs.ring, inputs.scratch] {
            for _ in 0..counts.frames {
                let (route, used) = match framing.next(bytes, 0, self.shared.desk.outbox.crc()) {
                    Step::Message { to, used, .. } => (Some(framing.protocol.route_of(to.header())), used),
                    Step::Control { used, .. } => (None, used),
                    Step::NeedMore { .. } | Step::Fault(_) => break,
                };
                if let Some(route) = route {
                    seen.note(label_of(&self.shared.labels, route), route);
                }
                bytes = &bytes[used..];
            }
        }
        let Shared { metrics, journal, labels, ms, has_stalled, .. } = &mut *self.shared;
        metrics.stalled(seen.label());
        *has_stalled = true;
        journal.stall(*ms, self.id, took_us, counts.frames, seen.service(labels), seen.route());
        self.note(Happened::Stalled, u32::try_from(took_us).unwrap_or(u32::MAX));
    }

    /// Refusals that nobody heard are counted, and a peer that said HELLO is told of the last one now and then.
    #[cold]
    pub(super) fn count_unheard(&mut self) {
        let Some((status, header)) = self.shared.desk.outbox.unheard() else { return };
        let now = self.shared.ms;
        self.shared.metrics.add(Counter::Unheard, u64::from(self.shared.desk.outbox.unheard_count()));
        // GOAWAY is the last frame.
        if self.entry.phase.is_serving()
            && let Some(greeting) = self.entry.greeting.as_mut()
            && greeting.may_notice(now)
        {
            let text = Text::of(format_args!("{} on {header}", status.name()));
            self.shared.desk.outbox.control(&Control::Notice { status, header, text: text.as_str() });
        }
    }

    /// What the replies of the next batch may come to, or `None` if there is no memory to queue any.
    #[inline(always)]
    fn room(&self) -> Option<Room> {
        let high = self.shared.limits.output_high_bytes;
        let queued = self.entry.queued_bytes();
        let bytes = high.saturating_sub(queued).max(1);
        let hold_bytes = self.hard_bytes().saturating_sub(queued);
        // What waits already moves when more is to wait with it.
        if self.shared.desk.pool.has_room(Side::Output, bytes as usize + queued as usize) {
            return Some(Room { bytes, hold_bytes, is_short: false });
        }
        self.short_room(bytes, hold_bytes, queued)
    }

    #[cold]
    fn short_room(&self, bytes: u32, hold_bytes: u32, queued: u32) -> Option<Room> {
        let pool = &self.shared.desk.pool;
        // With nothing in use by others there is nothing to wait for: the budget is just small.
        let own = self.entry.slots.as_ref().map_or(0, |slots| slots.leased_bytes());
        let is_short = pool.used_bytes(Side::Output) > own;
        match pool.lease_bytes_max(Side::Output) {
            0 => None,
            most => {
                let most = u32::try_from(most).unwrap_or(u32::MAX).saturating_sub(queued);
                Some(Room { bytes: bytes.min(most).max(1), hold_bytes, is_short })
            }
        }
    }
}

/// What a write did.
#[derive(Clone, Copy)]
struct Wrote {
    bytes: usize,
    /// The socket took less than all: an edge will tell of space.
    is_full: bool,
}

/// Writes once, to a stream with TLS or to one without: whoever calls it decides that, as early as it can.
#[inline(always)]
fn write_some<I: Io, const SECURE: bool>(
    io: &mut I,
    stream: &mut I::Stream,
    slices: &[IoSlice<'_>],
) -> Result<Wrote, CloseReason> {
    for _ in 0..INTERRUPTED_RETRIES {
        let wrote = if SECURE { io.write_secure(stream, slices) } else { io.write(stream, slices) };
        match wrote {
            Ok(bytes) => {
                let offered: usize = slices.iter().map(|slice| slice.len()).sum();
                return Ok(Wrote { bytes, is_full: bytes < offered });
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Ok(Wrote { bytes: 0, is_full: true });
            }
            Err(error) => return Err(reason_of_io(&error)),
        }
    }
    // Nothing was refused, so no edge will come: whoever waits must come back by itself.
    Ok(Wrote { bytes: 0, is_full: false })
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
        | ErrorKind::NetworkUnreachable
        // An end of TLS that nobody has announced: whoever is on the way could have made it.
        | ErrorKind::UnexpectedEof => CloseReason::Reset,
        ErrorKind::InvalidData => CloseReason::TlsBroken,
        _ => CloseReason::Failed,
    }
}
