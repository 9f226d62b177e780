//! How a drain went.

use crate::base::CloseReason;
use crate::metrics::{Counter, Snapshot};
use std::fmt;

/// What became of the connections that were open when the drain began, and of what they had sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections that ended in order: everything received was answered, and the answers were taken.
    pub drained: u64,
    /// Connections that were closed because the grace ran out.
    pub forced: u64,
    /// Requests that were received and not answered, and replies that no socket took. An upper bound: a reply of
    /// which a part was taken counts.
    pub lost: u64,
}

impl DrainReport {
    /// What happened between two moments of one server.
    pub(super) fn between(before: &Snapshot, after: &Snapshot) -> DrainReport {
        let closed = after.closes_total() - before.closes_total();
        let forced = after.closes(CloseReason::DrainForced) - before.closes(CloseReason::DrainForced);
        let grown = |counter| after.counter(counter) - before.counter(counter);
        DrainReport {
            drained: closed - forced,
            forced,
            lost: grown(Counter::RepliesUnsent) + grown(Counter::RequestsDropped),
        }
    }

    /// Whether nothing was forced and nothing lost.
    pub const fn is_clean(&self) -> bool {
        self.forced == 0 && self.lost == 0
    }
}

impl fmt::Display for DrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections ended in order, {} forced, {} requests lost",
            self.drained, self.forced, self.lost
        )
    }
}
