//! The drain: newcomers are taken once more, each connection is read once more, and all end in order.
//!
//! Always holds: who said HELLO is told to go elsewhere, once; who we dialed is needed until nobody else is left. Never: a
//! connection without a deadline from here on.

use super::entry::Flag;
use super::{Io, Turn};
use crate::base::Ms;
use crate::base::limits::AGED_GRACE;
use crate::base::planted::{Bug, is_planted};
use crate::mailbox::Happened;
use crate::service::Service;
use crate::session::{Event, Pause, Phase};
use crate::wire::{Control, Status};

impl<S: Service, I: Io> Turn<S, I> {
    /// Stops taking connections, answers what has been received, and ends each connection in order, by `until` at
    /// the latest. Call between [`Turn::begin`] and [`Turn::end`].
    pub fn begin_drain(&mut self, io: &mut I, until: Ms) {
        self.shared.history.note_loop(self.shared.now, Happened::DrainBegan, self.table.len() as u64);
        let is_first = self.shared.drain_until.is_none();
        self.shared.drain_until = Some(match self.shared.drain_until {
            Some(before) => before.min(until),
            None => until,
        });
        self.stop_accepting(io);
        for slot in self.slots() {
            if is_first {
                // One that drains already, because of its age, has the grace of all from now on.
                let entry = &mut self.table[slot as usize];
                self.shared.step(entry.token(slot), &mut entry.phase, Event::Prolong(until));
            }
            self.drain(io, slot, until);
        }
    }

    /// A connection's part in the drain: read once more, to would-block, then finish. Who said HELLO is told to go
    /// elsewhere, and goes by itself. Who we dialed is needed until nobody else is left.
    pub(super) fn drain(&mut self, io: &mut I, slot: u32, until: Ms) {
        let entry = &mut self.table[slot as usize];
        if matches!(entry.phase, Phase::Closed(_)) || usize::from(entry.listener) == self.accepting.len() {
            // An ended one is buried at the end of this turn, and must have no timer then.
            return;
        }
        let (_, text) = self.shared.why_draining();
        let is_told = matches!(entry.phase, Phase::Draining { .. }) || is_planted(Bug::DrainUntold);
        self.shared.step(entry.token(slot), &mut entry.phase, Event::DrainBy(until));
        entry.flags.set(Flag::Readable);
        self.wheel.arm(slot, until, self.shared.ms);
        if entry.greeting.is_some() && !is_told && entry.phase.is_serving() {
            let control = Control::GoAway { status: Status::DRAINING, reconnect_after_ms: 0, text };
            let verdict = self.begin_visit(io, slot).tell(&control);
            self.settle(io, slot, verdict);
        }
        if self.table[slot as usize].pauses.has(Pause::Rate) {
            // What it has sent is answered, however fast it came.
            self.begin_visit(io, slot).unpause(Pause::Rate);
        }
        if !matches!(self.table[slot as usize].phase, Phase::Closed(_)) {
            self.push_hot(slot);
        }
    }

    /// A connection has been open for as long as it may be: for it alone it is as if the server drained, with a short grace.
    #[cold]
    pub(super) fn come_of_age(&mut self, io: &mut I, slot: u32) {
        let entry = &self.table[slot as usize];
        let age_ms = self.shared.now.whole_ms().saturating_sub(entry.life.opened.get());
        self.shared.note(entry.token(slot), Happened::Aged, u32::try_from(age_ms / 1000).unwrap_or(u32::MAX));
        self.drain(io, slot, self.shared.ms.after(AGED_GRACE));
    }

    /// The drain has only our own dialed connections left: nobody needs them any more.
    #[cold]
    pub(super) fn end_dialed(&mut self, io: &mut I) {
        for slot in self.slots() {
            if self.table[slot as usize].phase.is_reachable() {
                let verdict = self.begin_visit(io, slot).finish_draining();
                self.settle(io, slot, verdict);
            }
        }
    }
}
