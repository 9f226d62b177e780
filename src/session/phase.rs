//! The life of a connection as data, with one function that moves it.
//!
//! ```text
//!   Connecting --Connected--> Open             (dialed; late | Finish: Closed)
//!
//!   Open --DrainBy--> Draining
//!     |                  |
//!     +--Await-----------+--> Answering --Finish--.
//!     |                  |                        |
//!     +--Finish----------+------------------------+--> Flushing --Flushed--> Lingering --PeerEnded | late--> Closed
//!     |                                                   `---- Flushed, peer ended before | late --------> Closed
//!     `-- any phase --Lost-----------------------------------------------------------------------------> Closed
//! ```
//!
//! Connecting: nothing is known of the peer yet. Open: reads, answers. Draining: reads what is there, answers, then finishes. Answering: reads no more; requests
//! that are open are still answered. Flushing: what is due is on its way out. Lingering: the write side is shut, and what still comes is read and thrown away, because
//! closing with unread input makes the kernel destroy replies in flight.
//!
//! One connection may drain alone, because it has come of age: then its grace may be prolonged, since nobody waits for it.
//!
//! Invariants: a close reason, once set, never changes, with one exception: a drain whose time runs out before
//! everything was taken ends `DrainForced`. Every phase but `Open` has a deadline.

use crate::base::{CloseReason, Ms};

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Dialed, and not connected yet.
    Connecting {
        /// When it is given up.
        until: Ms,
    },
    /// Reading and answering.
    Open,
    /// Reading and answering what is already here, until `until`.
    Draining {
        /// The end of the drain's grace.
        until: Ms,
    },
    /// Reading has stopped; requests that are open are still answered.
    Answering {
        /// Why it ends.
        why: CloseReason,
        /// When it is closed whether or not they were.
        until: Ms,
    },
    /// The last bytes are on their way; reading has stopped.
    Flushing {
        /// Why it ends.
        why: CloseReason,
        /// When it is closed whether or not they left.
        until: Ms,
    },
    /// The write side is shut; input is thrown away until the peer ends its side.
    Lingering {
        /// Why it ended.
        why: CloseReason,
        /// When it is closed whether or not the peer has ended.
        until: Ms,
    },
    /// Over.
    Closed(CloseReason),
}

/// What can happen to a connection's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Dialing succeeded.
    Connected,
    /// The server drains, with grace until then.
    DrainBy(Ms),
    /// One that drains alone, because of its age, gets another grace.
    Prolong(Ms),
    /// Nothing more will be read, and requests are open, which should be answered by `until`.
    Await {
        /// Why it ends.
        why: CloseReason,
        /// The deadline for the answers and the flush.
        until: Ms,
    },
    /// Nothing more will be read; what is queued should leave by `until`.
    Finish {
        /// Why.
        why: CloseReason,
        /// The flush's deadline.
        until: Ms,
    },
    /// The queue is empty and the write side is shut.
    Flushed {
        /// Whether the peer's stream has ended: then nothing is left to read.
        peer_ended: bool,
        /// The linger's deadline.
        until: Ms,
    },
    /// The peer's stream has ended, or enough of it was thrown away.
    PeerEnded,
    /// The socket is of no more use.
    Lost(CloseReason),
    /// Time has passed.
    Tick(Ms),
}

impl Phase {
    /// The one place where a connection's life moves. Pure: the same phase and event give the same phase.
    #[must_use]
    pub fn step(self, event: Event) -> Phase {
        use CloseReason::{DialFailed, DrainForced, Drained};
        use Event::{Await, Connected, DrainBy, Finish, Flushed, Lost, PeerEnded, Prolong, Tick};
        use Phase::{Answering, Closed, Connecting, Draining, Flushing, Lingering, Open};
        match (self, event) {
            (
                Closed(why),
                Connected
                | DrainBy(_)
                | Prolong(_)
                | Await { .. }
                | Finish { .. }
                | Flushed { .. }
                | PeerEnded
                | Lost(_)
                | Tick(_),
            ) => Closed(why),

            (Connecting { .. }, Connected) => Open,
            (
                live @ (Open | Draining { .. } | Answering { .. } | Flushing { .. } | Lingering { .. }),
                Connected,
            ) => live,
            (Connecting { until: first }, DrainBy(until)) => Connecting { until: first.min(until) },
            (Connecting { .. }, Await { why, .. } | Finish { why, .. } | Lost(why)) => Closed(why),
            (Connecting { until }, Tick(now)) if until.reached(now) => Closed(DialFailed),
            (live @ Connecting { .. }, Prolong(_) | Flushed { .. } | PeerEnded | Tick(_)) => live,

            (Open, DrainBy(until)) => Draining { until },
            (Draining { until: first }, DrainBy(until)) => Draining { until: first.min(until) },
            (Answering { why, until: first }, DrainBy(until)) => Answering { why, until: first.min(until) },
            (Flushing { why, until: first }, DrainBy(until)) => Flushing { why, until: first.min(until) },
            (Lingering { why, until: first }, DrainBy(until)) => Lingering { why, until: first.min(until) },

            (Draining { .. }, Prolong(until)) => Draining { until },
            (live @ (Open | Answering { .. } | Flushing { .. } | Lingering { .. }), Prolong(_)) => live,

            (Open, Await { why, until }) => Answering { why, until },
            (Draining { until: grace }, Await { why, until }) => Answering { why, until: grace.min(until) },
            (live @ (Answering { .. } | Flushing { .. } | Lingering { .. }), Await { .. }) => live,

            (Open, Finish { why, until }) => Flushing { why, until },
            (Draining { until: grace }, Finish { why, until }) => Flushing { why, until: grace.min(until) },
            (Answering { why, until: first }, Finish { until, .. }) => {
                Flushing { why, until: first.min(until) }
            }
            (live @ (Flushing { .. } | Lingering { .. }), Finish { .. }) => live,

            (Flushing { why, .. }, Flushed { peer_ended: true, .. }) => Closed(why),
            (Flushing { why, .. }, Flushed { peer_ended: false, until }) => Lingering { why, until },
            (live @ (Open | Draining { .. } | Answering { .. } | Lingering { .. }), Flushed { .. }) => live,

            (Lingering { why, .. }, PeerEnded) => Closed(why),
            (live @ (Open | Draining { .. } | Answering { .. } | Flushing { .. }), PeerEnded) => live,

            (Open | Draining { .. }, Lost(why)) => Closed(why),
            (Answering { why, .. } | Flushing { why, .. } | Lingering { why, .. }, Lost(_)) => Closed(why),

            (Draining { until }, Tick(now)) if until.reached(now) => Closed(DrainForced),
            (Answering { why: Drained, until } | Flushing { why: Drained, until }, Tick(now))
                if until.reached(now) =>
            {
                Closed(DrainForced)
            }
            (Answering { why, until } | Flushing { why, until } | Lingering { why, until }, Tick(now))
                if until.reached(now) =>
            {
                Closed(why)
            }
            (
                live @ (Open | Draining { .. } | Answering { .. } | Flushing { .. } | Lingering { .. }),
                Tick(_),
            ) => live,
        }
    }

    /// When this phase ends by itself, if it does.
    pub const fn deadline(self) -> Option<Ms> {
        match self {
            Phase::Connecting { until }
            | Phase::Draining { until }
            | Phase::Answering { until, .. }
            | Phase::Flushing { until, .. }
            | Phase::Lingering { until, .. } => Some(until),
            Phase::Open | Phase::Closed(_) => None,
        }
    }

    /// Why it is on its way out, or over, once that is decided.
    pub const fn ending(self) -> Option<CloseReason> {
        match self {
            Phase::Connecting { .. } | Phase::Open | Phase::Draining { .. } => None,
            Phase::Answering { why, .. }
            | Phase::Flushing { why, .. }
            | Phase::Lingering { why, .. }
            | Phase::Closed(why) => Some(why),
        }
    }

    /// Whether messages are read in this phase.
    #[inline]
    pub const fn is_serving(self) -> bool {
        match self {
            Phase::Open | Phase::Draining { .. } => true,
            Phase::Connecting { .. }
            | Phase::Answering { .. }
            | Phase::Flushing { .. }
            | Phase::Lingering { .. }
            | Phase::Closed(_) => false,
        }
    }

    /// Whether what others send to this connection can still reach it.
    pub const fn is_reachable(self) -> bool {
        match self {
            Phase::Connecting { .. } | Phase::Open | Phase::Draining { .. } => true,
            Phase::Answering { .. } | Phase::Flushing { .. } | Phase::Lingering { .. } | Phase::Closed(_) => {
                false
            }
        }
    }

    /// Whether open requests may still be answered in this phase.
    #[inline]
    pub const fn is_answering(self) -> bool {
        match self {
            Phase::Open | Phase::Draining { .. } | Phase::Answering { .. } => true,
            Phase::Connecting { .. }
            | Phase::Flushing { .. }
            | Phase::Lingering { .. }
            | Phase::Closed(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CloseReason::{BadCrc, DialFailed, DrainForced, Drained, PeerClosed, Reset};
    use super::*;

    const NOW: Ms = Ms(100);
    const LATER: Ms = Ms(200);
    const SOON: Ms = Ms(50);

    const PHASES: [Phase; 8] = [
        Phase::Open,
        Phase::Draining { until: LATER },
        Phase::Flushing { why: BadCrc, until: LATER },
        Phase::Flushing { why: Drained, until: SOON },
        Phase::Lingering { why: BadCrc, until: LATER },
        Phase::Closed(PeerClosed),
        Phase::Answering { why: BadCrc, until: LATER },
        Phase::Connecting { until: LATER },
    ];

    const EVENTS: [Event; 11] = [
        Event::DrainBy(SOON),
        Event::Finish { why: PeerClosed, until: NOW },
        Event::Flushed { peer_ended: false, until: NOW },
        Event::Flushed { peer_ended: true, until: NOW },
        Event::PeerEnded,
        Event::Lost(Reset),
        Event::Tick(NOW),
        Event::Tick(LATER),
        Event::Await { why: PeerClosed, until: NOW },
        Event::Connected,
        Event::Prolong(SOON),
    ];

    /// Every phase against every event: rows are phases, columns events, in the order above.
    #[test]
    fn every_phase_meets_every_event() {
        use Phase::{Answering, Closed, Draining, Flushing, Lingering, Open};
        let [_, draining, telling, leaving, lingering, over, answering, connecting] = PHASES;
        let finish = |why, until| Flushing { why, until };
        let wait = |why, until| Answering { why, until };
        let linger = |why, until| Lingering { why, until };
        #[rustfmt::skip]
        let want: [[Phase; 11]; 8] = [
            [Draining { until: SOON }, finish(PeerClosed, NOW), Open, Open, Open, Closed(Reset), Open, Open, wait(PeerClosed, NOW), Open, Open],
            [Draining { until: SOON }, finish(PeerClosed, NOW), draining, draining, draining, Closed(Reset), draining, Closed(DrainForced), wait(PeerClosed, NOW), draining, Draining { until: SOON }],
            [finish(BadCrc, SOON), telling, linger(BadCrc, NOW), Closed(BadCrc), telling, Closed(BadCrc), telling, Closed(BadCrc), telling, telling, telling],
            [leaving, leaving, linger(Drained, NOW), Closed(Drained), leaving, Closed(Drained), Closed(DrainForced), Closed(DrainForced), leaving, leaving, leaving],
            [linger(BadCrc, SOON), lingering, lingering, lingering, Closed(BadCrc), Closed(BadCrc), lingering, Closed(BadCrc), lingering, lingering, lingering],
            [over; 11],
            [wait(BadCrc, SOON), finish(BadCrc, NOW), answering, answering, answering, Closed(BadCrc), answering, Closed(BadCrc), answering, answering, answering],
            [Phase::Connecting { until: SOON }, Closed(PeerClosed), connecting, connecting, connecting, Closed(Reset), connecting, Closed(DialFailed), Closed(PeerClosed), Open, connecting],
        ];
        for (phase, row) in PHASES.iter().zip(want) {
            for (event, want) in EVENTS.iter().zip(row) {
                assert_eq!(phase.step(*event), want, "case: {phase:?} meets {event:?}");
            }
        }
    }

    #[test]
    fn every_ending_phase_has_a_deadline() {
        for phase in PHASES {
            let lasts = matches!(phase, Phase::Open | Phase::Closed(_));
            assert_eq!(phase.deadline().is_none(), lasts, "case: {phase:?}");
        }
    }

    #[test]
    fn a_phase_stays_within_eight_bytes() {
        assert!(size_of::<Phase>() <= 8);
    }
}
