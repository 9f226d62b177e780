//! Where a handover stands, on the side of the process that gives its sockets away. Pure: no socket, no clock.
//!
//! ```text
//!          Asked             Adopts            Ready               Serving
//!   Idle --------> Awaited ----------> Offered -------> Committed ---------> Gone
//!    ^  `------------ Adopts -----------^ |                 |
//!    `------------ Lost, late ------------'-----------------'
//! ```
//!
//! Always holds: one process at once; every phase but `Idle` and `Gone` has an end. Only in `Gone` does the old process drain
//! for the new one's sake. Never: back from `Gone`.

use std::time::Instant;

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nobody wants the sockets.
    Idle,
    /// A process was started, and will want them.
    Awaited {
        /// Which.
        pid: u32,
        /// When it is too late.
        until: Instant,
    },
    /// It has them, and gets ready.
    Offered {
        /// Which.
        pid: u32,
        /// When it is too late.
        until: Instant,
    },
    /// It was told to begin, and has not said that it did. A drain from now on leaves the queues to it.
    Committed {
        /// Which.
        pid: u32,
        /// When it is too late.
        until: Instant,
    },
    /// It serves: this process drains.
    Gone {
        /// Which.
        pid: u32,
    },
}

/// What can happen. Each names the process, so that one that comes too late changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A process was started on request.
    Asked {
        /// Which.
        pid: u32,
        /// When it is too late.
        until: Instant,
    },
    /// A process wants the sockets.
    Adopts {
        /// Which.
        pid: u32,
        /// When it is too late.
        until: Instant,
    },
    /// It is ready.
    Ready {
        /// Which.
        pid: u32,
        /// When it is too late.
        until: Instant,
    },
    /// It takes connections.
    Serving {
        /// Which.
        pid: u32,
    },
    /// It ended, hung up, was too late, or only rehearsed.
    Lost {
        /// Which.
        pid: u32,
    },
}

/// Why an event was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another one is on its way.
    #[error("process {pid} is taking over already; try again when that is over")]
    Busy {
        /// Which.
        pid: u32,
    },
    /// Another one has the sockets.
    #[error("process {pid} has taken over; ask that one")]
    Gone {
        /// Which.
        pid: u32,
    },
    /// What it said has another place.
    #[error("the handover to process {pid} is not there, or was given up")]
    OutOfTurn {
        /// Which.
        pid: u32,
    },
}

impl Phase {
    /// The one place where a handover moves.
    ///
    /// # Errors
    ///
    /// Why not; then it stands where it stood.
    pub fn step(self, event: Event) -> Result<Phase, Refusal> {
        use Event::{Adopts, Asked, Lost, Ready, Serving};
        use Phase::{Awaited, Committed, Gone, Idle, Offered};
        match (self, event) {
            (Idle, Asked { pid, until }) => Ok(Awaited { pid, until }),
            (Idle, Adopts { pid, until }) => Ok(Offered { pid, until }),
            (Awaited { pid: awaited, .. }, Adopts { pid, until }) if pid == awaited => {
                Ok(Offered { pid, until })
            }
            (Offered { pid: its, .. }, Ready { pid, until }) if pid == its => Ok(Committed { pid, until }),
            (Committed { pid: its, .. }, Serving { pid }) if pid == its => Ok(Gone { pid }),
            (
                Awaited { pid: its, .. } | Offered { pid: its, .. } | Committed { pid: its, .. },
                Lost { pid },
            ) if pid == its => Ok(Idle),
            (
                still @ (Idle | Awaited { .. } | Offered { .. } | Committed { .. } | Gone { .. }),
                Lost { .. },
            ) => Ok(still),
            (Gone { pid }, Asked { .. } | Adopts { .. }) => Err(Refusal::Gone { pid }),
            (
                Awaited { pid, .. } | Offered { pid, .. } | Committed { pid, .. },
                Asked { .. } | Adopts { .. },
            ) => Err(Refusal::Busy { pid }),
            (
                Idle | Awaited { .. } | Offered { .. } | Committed { .. } | Gone { .. },
                Ready { pid, .. } | Serving { pid },
            ) => Err(Refusal::OutOfTurn { pid }),
        }
    }

    /// Whether a drain leaves the queues to the other process.
    pub const fn leaves(self) -> bool {
        match self {
            Phase::Committed { .. } | Phase::Gone { .. } => true,
            Phase::Idle | Phase::Awaited { .. } | Phase::Offered { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_in_every_phase() {
        use Event::{Adopts, Asked, Lost, Ready, Serving};
        use Phase::{Awaited, Committed, Gone, Idle, Offered};
        let until = Instant::now();
        let phases = [
            Idle,
            Awaited { pid: 1, until },
            Offered { pid: 1, until },
            Committed { pid: 1, until },
            Gone { pid: 1 },
        ];
        let busy = Err(Refusal::Busy { pid: 1 });
        let gone = Err(Refusal::Gone { pid: 1 });
        let out = |pid| Err(Refusal::OutOfTurn { pid });
        let [idle, awaited, offered, committed, over] = phases.map(Ok);
        #[rustfmt::skip]
        let table: [(Event, [Result<Phase, Refusal>; 5]); 10] = [
            //                            idle      awaited  offered    committed  gone
            (Asked { pid: 1, until },    [awaited,  busy,    busy,      busy,      gone]),
            (Asked { pid: 2, until },    [Ok(Awaited { pid: 2, until }), busy, busy, busy, gone]),
            (Adopts { pid: 1, until },   [offered,  offered, busy,      busy,      gone]),
            (Adopts { pid: 2, until },   [Ok(Offered { pid: 2, until }), busy, busy, busy, gone]),
            (Ready { pid: 1, until },    [out(1),   out(1),  committed, out(1),    out(1)]),
            (Ready { pid: 2, until },    [out(2),   out(2),  out(2),    out(2),    out(2)]),
            (Serving { pid: 1 },         [out(1),   out(1),  out(1),    over,      out(1)]),
            (Serving { pid: 2 },         [out(2),   out(2),  out(2),    out(2),    out(2)]),
            (Lost { pid: 1 },            [idle,     idle,    idle,      idle,      over]),
            (Lost { pid: 2 },            [idle,     awaited, offered,   committed, over]),
        ];
        for (event, want) in table {
            for (phase, want) in phases.into_iter().zip(want) {
                assert_eq!(phase.step(event), want, "{event:?} in {phase:?}");
            }
        }
        assert_eq!(phases.map(Phase::leaves), [false, false, false, true, true]);
    }
}
