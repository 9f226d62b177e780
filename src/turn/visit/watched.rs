//! Batches that are not like nearly all others: told of, to rates and to what records traces, or of messages that are to be
//! looked at closely.
//!
//! Always holds: a server without rates and traces pays one look for both at a batch's beginning, and one at its end. Never:
//! called for a usual batch.

use super::{Said, Visit};
use crate::base::limits::FRAMES_PER_CLOCK_READ;
use crate::metrics::Outcome;
use crate::service::Service;
use crate::session::{Phase, Role};
use crate::turn::Io;
use crate::turn::batch::{Counts, Fact, State};
use crate::turn::tracing::Answered;
use crate::wire::Status;

/// What a batch begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) state: State,
    /// Messages until it looks at more than its room.
    pub(super) until_look: u32,
}

impl Start {
    /// Nothing about it is unusual.
    #[inline]
    pub(super) const fn usual(is_fresh: bool) -> Start {
        Start { state: State::usual(is_fresh), until_look: FRAMES_PER_CLOCK_READ }
    }
}

impl<S: Service, I: Io> Visit<'_, S, I> {
    /// A batch begins that is told of, or whose messages have to be looked at.
    #[cold]
    #[inline(never)]
    pub(super) fn begin_unusual(&mut self, start: &mut Start, is_timed: bool) {
        let role = self.listener.framing.role;
        let is_draining = matches!(self.entry.phase, Phase::Draining { .. });
        let state = &mut start.state;
        state.set_to(Fact::Timed, is_timed);
        state.set_to(Fact::Dialed, role == Role::Client);
        state.set_to(Fact::Draining, is_draining);
        state.set_to(Fact::Leaving, is_draining && self.entry.greeting.is_some());
        state.set_to(Fact::Metered, self.shared.meters.is_some() && self.begin_metered());
        let listener = u8::try_from(self.shared.place_of(self.entry.listener)).unwrap_or(u8::MAX);
        if role == Role::Server
            && let Some(tracing) = self.shared.tracing.as_mut()
        {
            (tracing.peer, tracing.listener) = (self.entry.address.get(), listener);
            state.set_to(Fact::Sampled, tracing.sample_at == 0);
            start.until_look = FRAMES_PER_CLOCK_READ.min(tracing.sample_at.max(1));
        }
    }

    /// A batch is over.
    #[cold]
    #[inline(never)]
    pub(super) fn end_watched(&mut self, counts: Counts) {
        if self.listener.framing.role == Role::Server
            && let Some(tracing) = self.shared.tracing.as_mut()
        {
            tracing.end_batch(counts.frames);
        }
        if self.shared.meters.is_some() {
            self.meter(counts);
        }
    }

    /// A deferred request is over.
    #[inline]
    pub(super) fn end_recorded(
        &mut self,
        serial: u64,
        outcome: Outcome,
        said: &Said<'_>,
        queued_us: Option<u32>,
    ) {
        let shared = &mut *self.shared;
        let Some(tracing) = shared.tracing.as_mut().filter(|tracing| tracing.has_open()) else { return };
        let status = match (outcome, said) {
            // Nobody is told anything.
            (Outcome::Abandoned, _) => Status::OUTCOME_UNKNOWN,
            (_, Said::Failed(status, _)) => *status,
            (_, Said::Copy(_) | Said::Shared(_)) => Status::OK,
        };
        let bytes = if said.is_failure() { 0 } else { said.bytes().len() };
        let answered = Answered { outcome, status, bytes, queued_us, now: self.io.now() };
        tracing.answered(serial, answered, &shared.metrics);
    }
}
