//! The users are replaced while connections live: all are judged anew, a bounded number a turn.
//!
//! Always holds: whoever sends something is judged before it is handled (see `batch/user.rs`), however far this has come;
//! it ends those who send nothing. While it goes on the mailbox is kept ringing, so that no wait comes between.

use super::batch::REMOVED;
use super::{Io, Turn};
use crate::base::CloseReason;
use crate::base::limits::USERS_REVIEWED_PER_TURN;
use crate::identity::{Standing, Users};
use crate::metrics::Counter;
use crate::service::Service;
use std::sync::Arc;

impl<S: Service, I: Io> Turn<S, I> {
    /// From now on these are the users.
    pub(super) fn replace_users(&mut self, users: Arc<Users>) {
        self.shared.effects.people.replace(users);
        self.shared.users_reviewed = Some(0);
        // This letter was taken behind the review of this turn.
        self.shared.mailbox.ring();
    }

    /// Looks at the next connections, if the users were replaced; ends those that are nobody's any more.
    pub(super) fn review_users(&mut self, io: &mut I) {
        let Some(from) = self.shared.users_reviewed.take() else { return };
        let end = self.shared.effects.people.slots().min(from.saturating_add(USERS_REVIEWED_PER_TURN));
        for slot in from..end {
            if self.shared.effects.people.standing(slot) != Standing::Removed {
                continue;
            }
            let is_there = self.table.get(slot as usize).is_some_and(|entry| entry.phase.is_reachable());
            if is_there {
                self.shared.metrics.add(Counter::UsersRemoved, 1);
                let verdict = self.begin_visit(io, slot).finish(CloseReason::Unauthenticated, REMOVED);
                self.settle(io, slot, verdict);
            }
        }
        if end < self.shared.effects.people.slots() {
            self.shared.users_reviewed = Some(end);
            self.shared.mailbox.ring();
        }
    }
}
