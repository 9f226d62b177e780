//! Batches that are told of: to rates, and to what records traces.
//!
//! Always holds: a server without either pays one look for both at a batch's beginning, and one at its end. Never: called
//! there.

use super::{Said, Visit};
use crate::metrics::Outcome;
use crate::service::Service;
use crate::session::Role;
use crate::turn::Io;
use crate::turn::batch::Counts;
use crate::turn::tracing::Answered;
use crate::wire::Status;

/// What a batch begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    /// Requests beyond the rates are refused.
    pub(super) is_metered: bool,
    /// The number of the message that is sampled, from 0.
    pub(super) sample_at: u32,
}

impl Default for Watched {
    fn default() -> Watched {
        Watched { is_metered: false, sample_at: u32::MAX }
    }
}

impl<S: Service, I: Io> Visit<'_, S, I> {
    /// A batch begins.
    #[cold]
    #[inline(never)]
    pub(super) fn begin_watched(&mut self) -> Watched {
        let is_metered = self.shared.meters.is_some() && self.begin_metered();
        let listener = u8::try_from(self.shared.place_of(self.entry.listener)).unwrap_or(u8::MAX);
        let is_server = self.listener.framing.role == Role::Server;
        let Some(tracing) = self.shared.tracing.as_mut().filter(|_| is_server) else {
            return Watched { is_metered, ..Watched::default() };
        };
        (tracing.peer, tracing.listener) = (self.entry.address.get(), listener);
        Watched { is_metered, sample_at: tracing.sample_at }
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
