//! Answers to questions about connections, without holding up the loop.
//!
//! ```text
//!   turn:    | events | letters | hot list | 1,024 slots | timers | ...     again each turn, without a wait between
//!   scan:    [0 ......... cursor ............ slots_used]   a heap of the best so far, as tokens
//! ```
//!
//! A ranking looks at every slot once, a bounded number a turn; what it keeps meanwhile are names, and who is gone at
//! the end is left out. Everything else is looked up at once.
//!
//! Always holds: one inquiry is worked on at a time; one that nobody waits for any more is dropped; while one is
//! worked on the loop does not wait for events, but takes those that there are. Never: a change of anything.

use super::history::describe;
use super::shared::gauge_of;
use super::{Io, Turn};
use crate::base::limits::{INSPECTED_MAX, INSPECTED_PER_TURN};
use crate::base::{ConnId, Token};
use crate::mailbox::{By, Connection, Inquiry, LoopEvent, Only, Question, Report};
use crate::service::Service;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// An inquiry, and how far the loop has got with it.
#[derive(Debug)]
pub(super) struct Scan {
    inquiry: Inquiry,
    /// The slot that is looked at next.
    cursor: u32,
    matching: u64,
    /// The best so far: rank, slot, generation; the least of them on top.
    best: BinaryHeap<Reverse<(u64, u32, u32)>>,
}

impl Scan {
    pub(super) const fn new(inquiry: Inquiry) -> Scan {
        Scan { inquiry, cursor: 0, matching: 0, best: BinaryHeap::new() }
    }
}

impl<S: Service, I: Io> Turn<S, I> {
    /// A piece of the work on the inquiry in hand.
    #[cold]
    pub(super) fn inspect(&mut self) {
        let Some(mut scan) = self.inspection.take().filter(|scan| scan.inquiry.is_wanted()) else { return };
        let report = match scan.inquiry.question {
            Question::Connections { by, limit, only } => {
                let is_over = self.look_on(&mut scan, by, limit.min(INSPECTED_MAX), only);
                is_over.then(|| Report::Connections { matching: scan.matching, first: self.best(&scan, by) })
            }
            Question::Connection(token) => Some(Report::Connection(self.one(token))),
            Question::Closed { limit, reason } => Some(Report::Closed {
                ends: self.shared.history.ends(reason, limit),
                events: self.shared.history.events().copied().collect(),
            }),
        };
        match report {
            None => self.inspection = Some(scan),
            Some(report) => scan.inquiry.answer(report),
        }
    }

    /// Looks at the next slots. True when all have been looked at.
    fn look_on(&self, scan: &mut Scan, by: By, limit: usize, only: Only) -> bool {
        let end = self.slots_used.min(scan.cursor.saturating_add(INSPECTED_PER_TURN));
        for slot in scan.cursor..end {
            let Some(entry) = self.table.get(slot as usize) else { continue };
            let state = gauge_of(entry.phase);
            if state.is_none()
                || only.state.is_some_and(|wanted| state != Some(wanted))
                || (only.paused && entry.pauses.is_empty())
                || only.listener.is_some_and(|wanted| self.shared.place_of(entry.listener) != wanted)
            {
                continue;
            }
            scan.matching += 1;
            let bytes = entry.life.bytes_in.get() + entry.life.bytes_out.get();
            let rank = by.rank_of(bytes, entry.queued_bytes(), entry.life.opened.get());
            if scan.best.len() < limit {
                scan.best.push(Reverse((rank, slot, entry.generation)));
            } else if let Some(mut least) = scan.best.peek_mut()
                && rank > least.0.0
            {
                *least = Reverse((rank, slot, entry.generation));
            }
        }
        scan.cursor = end;
        end == self.slots_used
    }

    /// Those who were found and are still there, by what is so now.
    fn best(&self, scan: &Scan, by: By) -> Vec<Connection> {
        let found = scan.best.iter().map(|Reverse((_, slot, generation))| (*slot, *generation));
        let mut first: Vec<Connection> =
            found.filter_map(|(slot, generation)| self.describe(Token { generation, slot })).collect();
        first.sort_by_key(|connection| (Reverse(by.rank(connection)), connection.id));
        first
    }

    fn one(&self, token: Token) -> Option<(Box<Connection>, Vec<LoopEvent>)> {
        let connection = self.describe(token)?;
        let now_ms = self.shared.now.whole_ms();
        let concerns = |event: &&LoopEvent| event.concerns(connection.id, connection.opened_ms, now_ms);
        let events = self.shared.history.events().filter(concerns).copied().collect();
        Some((Box::new(connection), events))
    }

    fn describe(&self, token: Token) -> Option<Connection> {
        let entry = self.table.get(token.slot as usize)?;
        if entry.generation != token.generation || gauge_of(entry.phase).is_none() {
            return None;
        }
        let id = ConnId { shard: self.shard, generation: token.generation, slot: token.slot };
        Some(describe(entry, self.shared.place_of(entry.listener), id, self.shared.ms))
    }
}
