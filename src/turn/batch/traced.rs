//! Requests of a batch that are recorded as spans of a distributed trace.
//!
//! Always holds: whether a request is recorded is decided before anything of its span exists; a span that was begun ends with
//! its request, or is kept until that is answered. Never: a cost for a message that is neither sampled nor brings a trace that
//! is recorded.

use super::{Batch, Fact};
use crate::base::Time;
use crate::metrics::Outcome;
use crate::service::{Frame, Service};
use crate::session::{ReplyTo, Role, reply_bytes};
use crate::trace::Span;
use crate::turn::tracing::{Before, Recorded};
use crate::turn::{Io, label_of};
use crate::wire::Status;

/// What the service has done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handled {
    /// Nothing: it was refused before.
    Refused,
    /// It is done with it.
    Returned,
    /// The same, and its time was counted already.
    Timed {
        /// In microseconds.
        took_us: u64,
    },
    /// It panicked.
    Panicked {
        /// Without an answer, so that the server gave one.
        is_answered_for: bool,
    },
}

impl<S: Service, I: Io> Batch<'_, S, I> {
    /// Whether the next request is one that is sampled; else, when to look again.
    pub(super) fn look_for_sample(&mut self) -> bool {
        let Some(tracing) = self.shared.tracing.as_ref().filter(|_| self.framing.role == Role::Server) else {
            return false;
        };
        if self.state.has(Fact::Sampled) {
            return false;
        }
        if self.counts.frames < tracing.sample_at {
            self.until_look = self.until_look.min(tracing.sample_at - self.counts.frames);
            return false;
        }
        self.state.set_to(Fact::Sampled, true);
        self.is_sample_next = true;
        true
    }

    /// A request that is looked at closely is to be started: is it recorded?
    pub(super) fn begin_span(&mut self, frame: Frame<'_>, to: ReplyTo) {
        let Some(tracing) = self.shared.tracing.as_mut() else { return };
        let is_sampled = self.state.has(Fact::Sampled);
        if is_sampled {
            tracing.sample_at = tracing.next_sample(self.counts.frames);
            let is_next_too = tracing.sample_at == self.counts.frames + 1;
            self.state.set_to(Fact::Sampled, is_next_too);
            if !is_next_too {
                // The message in hand is not counted yet.
                self.until_look = self.until_look.min(tracing.sample_at - self.counts.frames);
            }
        }
        let brought =
            frame.extension().and_then(|extension| extension.trace).filter(|trace| trace.is_valid());
        if !brought.map_or(is_sampled, |trace| trace.is_sampled()) {
            return;
        }
        let started = self.io.now();
        let Some(own) = tracing.open_span(brought, started, &self.shared.metrics) else { return };
        let waited_us = u64::from(self.shared.ms.since(self.arrived)) * 1000;
        let desk = &self.shared.desk;
        let label = label_of(&self.shared.labels, frame.route());
        let span = Span {
            own,
            parent: brought.map(|trace| trace.parent),
            connection: self.id,
            peer: tracing.peer,
            listener: tracing.listener,
            route: frame.route(),
            label: label.and_then(|label| u8::try_from(label).ok()),
            received: Time(self.shared.batch_began.0.saturating_sub(waited_us)),
            started,
            handler_us: None,
            ended: started,
            queued_us: None,
            is_deferred: false,
            has_panicked: false,
            outcome: Outcome::Answered,
            status: Status::OK,
            bytes_in: u32::try_from(frame.payload().len()).unwrap_or(u32::MAX),
            bytes_out: 0,
        };
        let before = Before { tally: desk.outbox.tally(), bytes: desk.outbox.bytes() + desk.held_bytes };
        tracing.in_hand = Some(Recorded { span, serial: 0, to, before });
        self.shared.effects.trace = Some(own);
    }

    /// The request in hand was refused, its handler has returned, or panicked.
    pub(super) fn end_span(&mut self, how: Handled) {
        let Some(tracing) = self.shared.tracing.as_mut() else { return };
        let Some(mut recorded) = tracing.in_hand.take() else { return };
        self.shared.effects.trace = None;
        let now = self.io.now();
        let Recorded { span, before, to, .. } = &mut recorded;
        let desk = &self.shared.desk;
        let tally = desk.outbox.tally();
        (span.ended, span.has_panicked) = (now, matches!(how, Handled::Panicked { .. }));
        let took_us = match how {
            Handled::Refused => None,
            Handled::Timed { took_us } => Some(took_us),
            Handled::Returned | Handled::Panicked { .. } => Some(now.since_us(span.started)),
        };
        span.handler_us = took_us.map(|us| u32::try_from(us).unwrap_or(u32::MAX));
        if let (Handled::Returned, Some(took_us)) = (how, took_us) {
            self.shared.metrics.handled(span.label.map(usize::from), took_us);
        }
        if tally.deferred > before.tally.deferred {
            recorded.serial = desk.last_serial();
            tracing.keep(recorded, &self.shared.metrics);
            return;
        }
        (span.outcome, span.status) = if tally.failed > before.tally.failed {
            let is_answered_for = how == Handled::Panicked { is_answered_for: true };
            (if is_answered_for { Outcome::Panicked } else { Outcome::Failed }, desk.failed_with)
        } else if tally.silent > before.tally.silent {
            (Outcome::Silent, Status::OK)
        } else {
            let bytes = desk.outbox.bytes() + desk.held_bytes - before.bytes;
            let envelope = reply_bytes(self.framing.protocol, *to, 0);
            span.bytes_out = u32::try_from(bytes.saturating_sub(envelope)).unwrap_or(u32::MAX);
            (Outcome::Answered, Status::OK)
        };
        tracing.finish(&recorded.span, &self.shared.metrics);
    }
}
