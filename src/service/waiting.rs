//! Deferred requests that were passed on to another server, until its replies come back.
//!
//! Always holds: a correlation is given once, so a reply that comes twice, or too late, finds nothing; requests whose
//! time is over don't stay for longer than the longest request deadline while others come.

use super::{Cx, Later};
use crate::wire::Status;
use std::collections::BTreeMap;

/// Deferred requests that wait for another server, by the correlation that they have there: never the requester's own,
/// which may be anybody's too.
#[derive(Debug, Default)]
pub struct Waiting {
    list: BTreeMap<u64, Later>,
    last: u64,
}

impl Waiting {
    /// Nobody waits.
    pub const fn new() -> Waiting {
        Waiting { list: BTreeMap::new(), last: 0 }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds a request, and gives the correlation under which it is to be passed on. The oldest ones go if their time is
    /// over; their requesters are told OUTCOME_UNKNOWN.
    pub fn add(&mut self, later: Later, cx: &mut Cx<'_>) -> u64 {
        while let Some(oldest) = self.list.first_entry()
            && oldest.get().is_over(cx.now())
        {
            cx.fail(oldest.remove(), Status::OUTCOME_UNKNOWN, "no reply came in time");
        }
        self.last += 1;
        self.list.insert(self.last, later);
        self.last
    }

    /// Takes the request with this correlation out; `None` if there is none.
    pub fn take(&mut self, correlation: Option<u64>) -> Option<Later> {
        self.list.remove(&correlation?)
    }

    /// Fails the request with this correlation, if there is one.
    pub fn fail(&mut self, correlation: Option<u64>, status: Status, text: &'static str, cx: &mut Cx<'_>) {
        if let Some(later) = self.take(correlation) {
            cx.fail(later, status, text);
        }
    }

    /// Fails all, for example when the other server was lost.
    pub fn fail_all(&mut self, status: Status, text: &'static str, cx: &mut Cx<'_>) {
        for later in std::mem::take(&mut self.list).into_values() {
            cx.fail(later, status, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ConnId, Rng, Time, Token};
    use crate::mailbox::{Mailbox, Ticket};
    use crate::service::{Effect, Effects};
    use std::sync::Arc;

    const ID: ConnId = ConnId { shard: 0, generation: 1, slot: 0 };

    /// A loop's outside, as far as a callback sees it.
    struct World {
        effects: Effects,
        mailbox: Arc<Mailbox>,
        rng: Rng,
        serial: u64,
    }

    impl World {
        fn new() -> World {
            World {
                effects: Effects::new(0),
                mailbox: Arc::new(Mailbox::new(|| {})),
                rng: Rng::new(1),
                serial: 0,
            }
        }

        fn cx(&mut self, now: Time) -> Cx<'_> {
            let World { effects, mailbox, rng, .. } = self;
            Cx { now, id: ID, rng, effects, mailbox }
        }

        fn later(&mut self, due: Time) -> Later {
            self.serial += 1;
            let token = Token { generation: 1, slot: 0 };
            let ticket = Ticket { token, serial: self.serial, queued_us: None };
            Later::new(ticket, 0, due, Arc::clone(&self.mailbox))
        }

        /// Serials and statuses of the requests that were failed.
        fn failed(&mut self) -> Vec<(u64, Status)> {
            let mut failed = Vec::new();
            while let Some(effect) = self.effects.pop() {
                let Effect::Fail { ticket, status, .. } = effect else { panic!("{effect:?}") };
                failed.push((ticket.serial, status));
            }
            failed
        }
    }

    #[test]
    fn each_is_taken_once() {
        let (mut world, mut waiting) = (World::new(), Waiting::new());
        let ids: Vec<u64> = (0..3)
            .map(|_| {
                let later = world.later(Time(9));
                waiting.add(later, &mut world.cx(Time::ZERO))
            })
            .collect();
        assert_eq!((ids, waiting.len()), (vec![1, 2, 3], 3));
        let taken = waiting.take(Some(2)).expect("it waits");
        taken.redeem(&world.mailbox).expect("this loop's");
        assert!(
            waiting.take(Some(2)).is_none()
                && waiting.take(Some(4)).is_none()
                && waiting.take(None).is_none()
        );
        waiting.fail(Some(3), Status::OVERLOADED, "", &mut world.cx(Time::ZERO));
        waiting.fail(Some(3), Status::OVERLOADED, "", &mut world.cx(Time::ZERO));
        waiting.fail_all(Status::UNAVAILABLE, "", &mut world.cx(Time::ZERO));
        assert_eq!(world.failed(), [(3, Status::OVERLOADED), (1, Status::UNAVAILABLE)]);
        assert!(waiting.is_empty());
    }

    /// Whoever was told that its time is over stays no longer than until the next one comes, unless an older one waits.
    #[test]
    fn the_oldest_go_when_their_time_is_over() {
        let (mut world, mut waiting) = (World::new(), Waiting::new());
        for (due, now, gone) in [
            (5_000, 0, &[][..]),
            (3_000, 0, &[]),
            (9_000, 4_999, &[]),
            (9_000, 5_000, &[1, 2]),
            (20_000, 8_999, &[]),
            (20_000, 9_000, &[3, 4]),
        ] {
            let later = world.later(Time(due));
            waiting.add(later, &mut world.cx(Time(now)));
            let gone: Vec<(u64, Status)> =
                gone.iter().map(|serial| (*serial, Status::OUTCOME_UNKNOWN)).collect();
            assert_eq!(world.failed(), gone, "at {now}");
        }
        waiting.fail_all(Status::UNAVAILABLE, "", &mut world.cx(Time(9_000)));
    }

    #[test]
    fn time_left_is_rounded_down_and_never_zero_before_it_is_over() {
        let mut world = World::new();
        let later = world.later(Time(5_000));
        for (now, left_ms, is_over) in [
            (0, 5, false),
            (1, 4, false),
            (3_999, 1, false),
            (4_001, 1, false),
            (4_999, 1, false),
            (5_000, 0, true),
            (9_000, 0, true),
        ] {
            assert_eq!(
                (later.time_left_ms(Time(now)), later.is_over(Time(now))),
                (left_ms, is_over),
                "at {now}"
            );
        }
        drop(later);
        let long = world.later(Time(u64::MAX));
        assert_eq!(long.time_left_ms(Time::ZERO), u32::MAX);
    }
}
