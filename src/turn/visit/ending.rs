//! A connection's end: last words, flush, shut, linger, closed.
//!
//! Always holds: what was due to the peer leaves before the write side is shut, and what the peer still sends is read
//! until its end before the socket is closed, both within bounds; so the kernel has no reason to reset a connection
//! and destroy replies on their way. Never: a way back.

use super::{Got, Verdict, Visit};
use crate::base::limits::{AGED_GRACE, FLUSH_GRACE, LINGER_BYTES_MAX};
use crate::base::planted::{Bug, is_planted};
use crate::base::{CloseReason, Text};
use crate::mailbox::Happened;
use crate::metrics::Counter;
use crate::service::Service;
use crate::session::{Event, Inputs, Leave, Phase, Role};
use crate::turn::Io;
use crate::turn::entry::Flag;
use crate::turn::history::describe;
use std::fmt;
use std::io::{ErrorKind, IoSliceMut};
use std::time::Duration;

/// Reads of one visit to a lingering connection.
const LINGER_READS: u32 = 4;

impl<S: Service, I: Io> Visit<'_, S, I> {
    /// A batch ended at bytes that break the protocol: last words, with the number and the limit in them.
    #[cold]
    pub(super) fn accuse(&mut self, why: CloseReason, at: &[u8]) {
        self.look_at_clock();
        self.note(Happened::Refused, 0);
        let refusal = self.shared.desk.refusal.take();
        let text = if let Some(text) = refusal {
            Text::of(format_args!("{text}"))
        } else if why.is_foreign() {
            Text::of(format_args!(
                "another protocol's first bytes ({}): {}",
                why.name(),
                Hex(&at[..at.len().min(8)])
            ))
        } else {
            self.framing().explain(why, at, 0, self.shared.desk.outbox.crc())
        };
        let reconnect_after_ms = std::mem::take(&mut self.shared.desk.reconnect_after_ms);
        self.take_leave(Leave { reconnect_after_ms, ..Leave::new(why, text.as_str()) });
    }

    /// Its end is decided now, if it was not before: what it waits for at this moment may tell why.
    pub(in crate::turn) fn remember(&mut self, words: Text) {
        if self.entry.phase.ending().is_none() {
            let place = self.shared.place_of(self.entry.listener);
            let last = describe(self.entry, place, self.id, self.shared.ms);
            self.shared.history.leaves(self.shared.now, last, words);
        }
    }

    /// From here on nothing is read. What is open is answered first, if that is still wanted, else given up, since
    /// nothing follows the last words; then what is due leaves.
    fn take_leave(&mut self, leave: Leave) {
        let why = leave.why;
        self.remember(leave.text);
        if self.is_aged() {
            // Its end has bounds of its own, and they need not fit the grace that it had.
            self.prolong(self.shared.limits.request_deadline + 2 * FLUSH_GRACE);
        }
        if self.entry.phase.is_serving() {
            let address = self.entry.address.get();
            self.shared.journal.leave(self.shared.ms, self.id, address, why, leave.text.as_str());
        }
        if answers_first(why)
            && let Some(slots) = self.entry.slots.as_mut()
        {
            slots.leave_with(leave);
            // Each request has a deadline of its own, which comes first.
            let until = self.shared.ms.after(self.shared.limits.request_deadline).after(FLUSH_GRACE);
            self.step(Event::Await { why, until });
            return;
        }
        self.abandon();
        self.say_farewell(&leave);
    }

    /// The last words, after which there is only the flush.
    pub(super) fn say_farewell(&mut self, leave: &Leave) {
        let why = leave.why;
        let until = self.shared.ms.after(FLUSH_GRACE);
        self.step(Event::Finish { why, until });
        // Who said HELLO was told when the drain, or its own end, began; a server is told nothing by its clients.
        let is_told =
            matches!(why, CloseReason::Drained | CloseReason::Aged) && self.entry.greeting.is_some();
        if !is_told && self.listener.framing.role == Role::Server {
            self.shared.desk.outbox.set_protocol(self.listener.framing.protocol);
            self.shared.desk.outbox.farewell(leave);
        }
    }

    /// Ends the connection in order: open requests, last words, flush, shut, linger.
    pub(in crate::turn) fn finish(&mut self, why: CloseReason, text: &str) -> Verdict {
        // Who goes when it is told to has not gone by itself.
        let why = if why == CloseReason::PeerClosed && self.is_aged() { CloseReason::Aged } else { why };
        self.finish_with(Leave::new(why, text))
    }

    /// Whether it is on its way out because of its age, and the server is not.
    pub(in crate::turn) fn is_aged(&self) -> bool {
        matches!(self.entry.phase, Phase::Draining { .. }) && self.shared.drain_until.is_none()
    }

    fn prolong(&mut self, by: Duration) {
        self.step(Event::Prolong(self.shared.ms.after(by)));
    }

    /// The server drains, or its time is up, and all that is wanted of it has been done.
    #[cold]
    pub(in crate::turn) fn finish_draining(&mut self) -> Verdict {
        let (why, text) = self.shared.why_draining();
        self.finish(why, text)
    }

    /// The grace of its age is over. What it had sent before is answered, if that takes longer.
    #[cold]
    pub(in crate::turn) fn end_aged(&mut self) -> Verdict {
        if self.entry.has_unparsed() {
            self.prolong(AGED_GRACE);
            return self.wait_for_space();
        }
        self.finish_draining()
    }

    /// The same for a peer that was not told, and was read to would-block. One whose server stays has time for the message
    /// that is on its way.
    #[cold]
    pub(super) fn end_draining(&mut self) -> Verdict {
        if self.is_aged() && self.entry.input.is_some() {
            self.wait_for_space()
        } else {
            self.finish_draining()
        }
    }

    /// The same with a status of the caller's choice.
    pub(in crate::turn) fn finish_with(&mut self, leave: Leave) -> Verdict {
        if !self.entry.phase.is_answering() {
            // It ends already, or was never connected.
            self.remember(leave.text);
            self.step(Event::Finish { why: leave.why, until: self.shared.ms });
            return if matches!(self.entry.phase, Phase::Closed(_)) {
                Verdict::Closed
            } else {
                Verdict::Wait
            };
        }
        self.take_leave(leave);
        if let Some(input) = self.entry.input.take() {
            self.release(input);
        }
        match self.send(&Inputs::default()) {
            Err(why) => self.lost(why),
            Ok(()) => self.await_answers_or_flush(),
        }
    }

    pub(super) fn await_answers_or_flush(&mut self) -> Verdict {
        match self.entry.phase {
            Phase::Answering { .. } => self.await_answers(),
            Phase::Connecting { .. }
            | Phase::Open
            | Phase::Draining { .. }
            | Phase::Flushing { .. }
            | Phase::Lingering { .. }
            | Phase::Closed(_) => self.flush(),
        }
    }

    pub(super) fn flush(&mut self) -> Verdict {
        if is_planted(Bug::ClosedBeforeFlushed) {
            return self.lost(CloseReason::Failed);
        }
        if let Err(why) = self.write_queued() {
            return self.lost(why);
        }
        if self.entry.output.is_some() {
            return self.wait_for_space();
        }
        let peer_ended = self.entry.flags.has(Flag::PeerEnded) || is_planted(Bug::NoLinger);
        if self.entry.flags.has(Flag::Secure) {
            // Who has ended its side waits for our close_notify all the same.
            match self.io.shut_write_secure(&mut self.entry.stream) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.entry.flags.clear(Flag::Writable);
                    return Verdict::Wait;
                }
                Err(_) => return self.lost(CloseReason::Reset),
            }
        } else if !peer_ended && self.io.shut_write(&mut self.entry.stream).is_err() {
            return self.lost(CloseReason::Reset);
        }
        let until = self.shared.linger_until();
        self.step(Event::Flushed { peer_ended, until });
        if matches!(self.entry.phase, Phase::Closed(_)) {
            return Verdict::Closed;
        }
        // What came before may lie in the socket, and no edge will tell of it. It is read by a visit of its own,
        // since whoever flushes may have the scratch in use.
        self.entry.flags.set(Flag::Readable);
        Verdict::Again
    }

    pub(super) fn linger(&mut self) -> Verdict {
        let mut scratch = std::mem::take(&mut self.shared.scratch);
        let verdict = self.linger_into(&mut scratch);
        self.shared.scratch = scratch;
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
                    self.shared.metrics.add(Counter::BytesLingered, count as u64);
                    self.entry.lingered =
                        self.entry.lingered.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
                    if self.entry.lingered >= LINGER_BYTES_MAX {
                        return self.end(Event::PeerEnded);
                    }
                }
                Got::End => return self.end(Event::PeerEnded),
                // Would-block has cleared the flag, an interrupted read has not: the loop's head tells them apart.
                Got::Nothing => {}
                Got::Lost(why) => return self.lost(why),
            }
        }
        Verdict::Again
    }

    pub(in crate::turn) fn lost(&mut self, why: CloseReason) -> Verdict {
        self.remember(Text::EMPTY);
        if self.entry.phase.is_serving() {
            self.shared.journal.leave(self.shared.ms, self.id, self.entry.address.get(), why, "");
        }
        self.end(Event::Lost(why))
    }

    fn end(&mut self, event: Event) -> Verdict {
        self.step(event);
        debug_assert!(matches!(self.entry.phase, Phase::Closed(_)), "{event:?} ends a connection");
        Verdict::Closed
    }
}

/// Whether requests that are open are answered before a connection ends so.
const fn answers_first(why: CloseReason) -> bool {
    match why {
        CloseReason::PeerClosed
        | CloseReason::Truncated
        | CloseReason::BadCrc
        | CloseReason::TooLarge
        | CloseReason::LineTooLong
        | CloseReason::UnknownControl
        | CloseReason::BadControl
        | CloseReason::BadExtension
        | CloseReason::WrongDirection
        | CloseReason::LateHello
        | CloseReason::NoCommonVersion
        | CloseReason::Unauthenticated
        | CloseReason::CertificateExpired
        | CloseReason::CertificateRevoked
        | CloseReason::TlsOnPlain
        | CloseReason::Http
        | CloseReason::Resp
        | CloseReason::Proxy
        | CloseReason::FrameDeadline
        | CloseReason::Idle
        | CloseReason::Heartbeat
        | CloseReason::RequestFailed
        | CloseReason::ClosedByService
        | CloseReason::Drained
        | CloseReason::Aged => true,
        // Their memory, or the service that they belong to, is needed or gone; or nobody is there.
        CloseReason::Memory
        | CloseReason::Panicked
        | CloseReason::Reset
        | CloseReason::TlsBroken
        | CloseReason::WriteStall
        | CloseReason::SlowConsumer
        | CloseReason::DrainForced
        | CloseReason::DialFailed
        | CloseReason::Failed => false,
    }
}

/// Bytes for the log.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(at, byte)| {
            let space = if at > 0 { " " } else { "" };
            write!(f, "{space}{byte:02x}")
        })
    }
}
