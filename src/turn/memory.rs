//! What happens when the budget is used up.
//!
//! A connection that gets no buffer is paused with its bytes still in the kernel, and tried again every millisecond.
//! If memory stays short for longer than bursts last, one connection a turn is ended until nobody is paused for
//! memory any more: the one that holds most for the least progress. So half-sent frames, and replies that nobody
//! takes, can't starve the well-behaved, who need little and need it briefly.

use super::entry::Entry;
use super::{Io, Turn};
use crate::base::limits::{EVICT_SCAN, MEMORY_PATIENCE_MS, MEMORY_RETRY_MS, STARVED_PER_TURN};
use crate::base::{CloseReason, Ms, Text, Token};
use crate::buffer::Ring;
use crate::mailbox::Happened;
use crate::metrics::Counter;
use crate::service::Service;
use crate::session::Pause;
use std::collections::VecDeque;

/// Who waits for memory, and since when somebody has.
#[derive(Debug, Default)]
pub(super) struct Starved {
    queue: VecDeque<Token>,
    since: Option<Ms>,
    retry_at: Option<Ms>,
    /// Where the next look for somebody to end begins.
    cursor: u32,
}

impl Starved {
    pub(super) const fn retry_at(&self) -> Option<Ms> {
        self.retry_at
    }
}

impl<S: Service, I: Io> Turn<S, I> {
    /// A connection waits for memory.
    #[cold]
    pub(super) fn starve(&mut self, io: &mut I, slot: u32) {
        self.begin_visit(io, slot).starve();
        let token = self.table[slot as usize].token(slot);
        self.starved.queue.push_back(token);
        if self.starved.retry_at.is_none() {
            self.starved.retry_at = Some(self.shared.ms.plus(MEMORY_RETRY_MS));
        }
    }

    /// Tries those who wait for memory again; ends somebody if they have waited too long.
    #[inline]
    pub(super) fn relieve(&mut self, io: &mut I) {
        match self.starved.retry_at {
            Some(at) if at.reached(self.shared.ms) => self.relieve_now(io),
            Some(_) | None => {}
        }
    }

    #[cold]
    fn relieve_now(&mut self, io: &mut I) {
        let now = self.shared.ms;
        if self.starved.queue.is_empty() {
            // Everybody that was tried again found memory.
            (self.starved.since, self.starved.retry_at) = (None, None);
            return;
        }
        self.starved.retry_at = Some(now.plus(MEMORY_RETRY_MS));
        let since = *self.starved.since.get_or_insert(now);
        if now.since(since) >= MEMORY_PATIENCE_MS {
            self.evict(io);
        }
        for _ in 0..self.starved.queue.len().min(STARVED_PER_TURN) {
            let Some(token) = self.starved.queue.pop_front() else { break };
            let Some(entry) = self.table.get(token.slot as usize) else { continue };
            if entry.generation == token.generation && entry.pauses.has(Pause::Memory) {
                self.begin_visit(io, token.slot).unpause(Pause::Memory);
                self.push_hot(token.slot);
            }
        }
    }

    /// Ends the connection that holds most for the least progress, among the next [`EVICT_SCAN`] slots.
    fn evict(&mut self, io: &mut I) {
        let now = self.shared.ms;
        let slots = self.slots_used;
        let looked_at = slots.min(u32::try_from(EVICT_SCAN).unwrap_or(u32::MAX));
        let first = self.starved.cursor;
        self.starved.cursor = (first + looked_at) % slots.max(1);
        let greediest = (0..looked_at)
            .map(|step| (first + step) % slots)
            .filter_map(|slot| Some((slot, greed(self.table.get(slot as usize)?, now)?)))
            .max_by_key(|(_, greed)| *greed);
        let Some((slot, _)) = greediest else { return };
        self.shared.metrics.add(Counter::Evicted, 1);
        let mut visit = self.begin_visit(io, slot);
        visit.note(Happened::Evicted, 0);
        let verdict = if visit.entry.output.is_some() {
            visit.lost(CloseReason::Memory)
        } else {
            let text = Text::of(format_args!(
                "buffers are short and this connection held most for the least progress"
            ));
            visit.finish(CloseReason::Memory, text.as_str())
        };
        self.settle(io, slot, verdict);
    }
}

/// Bytes held, for each byte a second of progress; `None` of who holds nothing, or is over.
fn greed<C, St>(entry: &Entry<C, St>, now: Ms) -> Option<u128> {
    let input = entry.input.as_ref().map(|input| {
        let (held, arrived) = input.ring.as_ref().map_or((0, 0), |ring: &Ring| (ring.capacity(), ring.len()));
        // What waits for our own pause has done its part.
        let age_ms = if input.unparsed { 0 } else { now.since(input.since) };
        held as u128 * (u128::from(age_ms) + 1) / (arrived as u128 + 1)
    });
    let output = entry.output.as_ref().map(|output| {
        let age_ms = u128::from(now.since(output.since)) + 1;
        output.queue.leased_bytes() as u128 * age_ms / (u128::from(output.taken) + 1)
    });
    let held = entry.slots.as_ref().map(|slots| {
        let age_ms = u128::from(now.since(entry.heard)) + 1;
        slots.leased_bytes() as u128 * age_ms
    });
    let greed = input.unwrap_or(0) + output.unwrap_or(0) + held.unwrap_or(0);
    (greed > 0).then_some(greed)
}
