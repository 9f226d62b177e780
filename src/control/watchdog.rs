//! Sees from outside that a loop is stuck, which the loop can't say while it is.
//!
//! Always holds: a turn that is too long is told of once when it is noticed, and once when it is over. Never: anything
//! done about it; what holds it up is somebody's code.

use crate::base::ConnId;
use crate::base::limits::{WATCHDOG_EVERY, WATCHDOG_TURN};
use crate::server::{Handle, LoopState};
use std::time::Duration;
use tracing::warn;

/// Watches for as long as the server runs.
pub(super) async fn watch(handle: Handle, mut watchdog: Watchdog) {
    let mut ticks = tokio::time::interval(WATCHDOG_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        watchdog.limit = handle.capacity().stall.max(WATCHDOG_TURN);
        for news in watchdog.look(&handle.loop_states()) {
            match news {
                News::Stuck { shard, took, visiting: Some(connection) } => {
                    warn!(shard, turn_ms = ms(took), %connection, "an event loop is held up");
                }
                News::Stuck { shard, took, visiting: None } => {
                    warn!(shard, turn_ms = ms(took), "an event loop is held up");
                }
                News::GoesOn { shard, took } => {
                    warn!(shard, turn_ms_at_least = ms(took), "the event loop goes on");
                }
            }
        }
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What it has seen of each loop.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// A turn that takes longer is too long.
    limit: Duration,
    /// Of each loop that is stuck: in which turn, and how long that had been running when it was seen last.
    stuck: Vec<Option<(u64, Duration)>>,
}

/// What there is to tell of a loop.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It is in a turn that is too long.
    Stuck { shard: u16, took: Duration, visiting: Option<ConnId> },
    /// That turn is over; it took at least so long.
    GoesOn { shard: u16, took: Duration },
}

impl Watchdog {
    pub(super) const fn new(limit: Duration) -> Watchdog {
        Watchdog { limit, stuck: Vec::new() }
    }

    /// Looks at all loops, in their order.
    pub(super) fn look(&mut self, states: &[LoopState]) -> Vec<News> {
        self.stuck.resize(states.len(), None);
        let mut news = Vec::new();
        for (shard, (state, stuck)) in (0..).zip(states.iter().zip(&mut self.stuck)) {
            let is_same = |(turns, _): &(u64, Duration)| *turns == state.turns && state.turn.is_some();
            if let Some((_, took)) = stuck.take_if(|stuck| !is_same(stuck)) {
                news.push(News::GoesOn { shard, took });
            }
            let Some(took) = state.turn.filter(|took| *took > self.limit) else { continue };
            if stuck.replace((state.turns, took)).is_none() {
                news.push(News::Stuck { shard, took, visiting: state.visiting });
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: ConnId = ConnId { shard: 1, generation: 3, slot: 2 };

    /// A loop in its turn of this number, which has been running for so many milliseconds.
    fn state(turns: u64, turn_ms: Option<u64>) -> LoopState {
        let (turn, visiting) = (turn_ms.map(Duration::from_millis), turn_ms.map(|_| HERE));
        LoopState { commands: 0, answers: 0, turns, turn, visiting }
    }

    #[test]
    fn a_turn_that_is_too_long_is_told_of_once_and_its_end_once() {
        let stuck = |ms| News::Stuck { shard: 1, took: Duration::from_millis(ms), visiting: Some(HERE) };
        let goes_on = |ms| News::GoesOn { shard: 1, took: Duration::from_millis(ms) };
        #[rustfmt::skip]
        let story: &[(&str, u64, Option<u64>, &[News])] = &[
            ("it rests",                       1, None,       &[]),
            ("a turn of the longest",          2, Some(1000), &[]),
            ("too long",                       2, Some(1250), &[stuck(1250)]),
            ("told already",                   2, Some(1500), &[]),
            ("over",                           2, None,       &[goes_on(1500)]),
            ("told already",                   2, None,       &[]),
            ("another one",                    9, Some(1001), &[stuck(1001)]),
            ("and the next one at once",      10, Some(2000), &[goes_on(1001), stuck(2000)]),
            ("then a short one",              11, Some(3),    &[goes_on(2000)]),
        ];
        let mut watchdog = Watchdog::new(Duration::from_secs(1));
        for (name, turns, turn_ms, want) in story {
            let seen = watchdog.look(&[state(5, None), state(*turns, *turn_ms)]);
            assert_eq!(&seen, want, "case: {name}");
        }
    }
}
