//! The drain: newcomers are taken once more, each connection is read once more, and all end in order.
//!
//! Always holds: who said HELLO is told to go elsewhere, once; who we dialed is needed until nobody else is left. Never: a
//! connection without a deadline from here on.

use super::entry::Flag;
use super::{Io, Turn};
use crate::base::limits::{AGED_GRACE, RECONNECT_SPREAD_MS_MAX};
use crate::base::planted::{Bug, is_planted};
use crate::base::{Ms, Rng};
use crate::mailbox::Happened;
use crate::service::Service;
use crate::session::{Event, Pause, Phase};
use crate::wire::{Control, Status};

/// When clients that are told to go may come back: each at a moment of its own, so that the next server is not met by all
/// of them at once.
#[derive(Debug)]
pub(super) struct Spread {
    /// Not the handlers' own, whose numbers must not depend on who is connected.
    rng: Rng,
    below_ms: u32,
}

impl Spread {
    pub(super) const fn new(seed: u64) -> Spread {
        // Any other seed than that of the handlers.
        Spread { rng: Rng::new(!seed), below_ms: 0 }
    }

    /// A drain begins with so many connections in all loops together, of which so many may come back in a second. The longest
    /// counts, should it be begun again.
    fn begin(&mut self, connections: u32, per_second: u32) {
        let needed_ms = u64::from(connections) * 1000 / u64::from(per_second.max(1));
        let below_ms = u32::try_from(needed_ms).unwrap_or(u32::MAX).min(RECONNECT_SPREAD_MS_MAX);
        self.below_ms = self.below_ms.max(below_ms);
    }

    /// For one client.
    fn draw_ms(&mut self) -> u32 {
        u32::try_from(self.rng.below(self.below_ms.into())).unwrap_or(self.below_ms)
    }
}

impl<S: Service, I: Io> Turn<S, I> {
    /// Stops taking connections, answers what has been received, and ends each connection in order, by `until` at
    /// the latest. Call between [`Turn::begin`] and [`Turn::end`].
    pub fn begin_drain(&mut self, io: &mut I, until: Ms) {
        self.shared.history.note_loop(self.shared.now, Happened::DrainBegan, self.table.len() as u64);
        self.shared.spread.begin(self.seats.taken(), self.shared.limits.reconnect_rate);
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
            let reconnect_after_ms = self.shared.spread.draw_ms();
            let control = Control::GoAway { status: Status::DRAINING, reconnect_after_ms, text };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_come_back_evenly_within_the_time_that_all_of_them_need() {
        #[rustfmt::skip]
        let table = [
            ("nobody",                0,         2000, 0),
            ("a few need no time",    2,         2000, 1),
            ("one second",            2000,      2000, 1000),
            ("a slow next server",    2000,      100,  20_000),
            ("a minute at most",      1_000_000, 2000, 60_000),
            ("no overflow",           u32::MAX,  1,    60_000),
        ];
        for (name, connections, per_second, below_ms) in table {
            let mut spread = Spread::new(7);
            spread.begin(connections, per_second);
            assert_eq!(spread.below_ms, below_ms, "case: {name}");
            let drawn: Vec<u32> = (0..10_000).map(|_| spread.draw_ms()).collect();
            assert!(drawn.iter().all(|ms| *ms < below_ms.max(1)), "case: {name}");
            for tenth in 0..10 {
                let (from, to) = (below_ms / 10 * tenth, below_ms / 10 * (tenth + 1));
                let within = drawn.iter().filter(|ms| (from..to).contains(ms)).count();
                assert!(
                    below_ms < 1000 || (800..1200).contains(&within),
                    "case: {name}: {within} in {from}..{to}"
                );
            }
        }
    }

    #[test]
    fn a_second_drain_does_not_call_anybody_back_earlier() {
        let mut spread = Spread::new(7);
        spread.begin(2000, 2000);
        spread.begin(10, 2000);
        assert_eq!(spread.below_ms, 1000);
    }
}
