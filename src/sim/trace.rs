//! What happened in a world, in order: the last events to read, and a hash over all of them.
//!
//! Always holds: the same plan gives the same hash. Never: text before somebody prints it, so that a world that
//! nobody looks at pays for numbers alone.

use crate::base::Time;
use std::collections::VecDeque;
use std::fmt;

/// Nobody in particular.
pub(super) const NOBODY: u32 = u32::MAX;

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Connected,
    Accepted,
    Aborted,
    Exhausted,
    Refused,
    Registered,
    Sent,
    Arrived,
    PeerShut,
    FinArrived,
    PeerReset,
    PeerClosed,
    Received,
    SawEnd,
    SawReset,
    Read,
    ReadBlocked,
    ReadEnd,
    ReadFailed,
    Wrote,
    WriteBlocked,
    WriteFailed,
    Interrupted,
    SpaceAppeared,
    Shut,
    Closed,
    ClosedWithReset,
    ListenerClosed,
    Event,
    StaleEvent,
    Turn,
    Drain,
    Woken,
    Dialed,
    DialDecided,
    Command,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    at: Time,
    who: u32,
    what: What,
    count: u64,
}

/// The last events of a world, and the hash of all.
#[derive(Clone, Debug)]
pub struct Trace {
    last: VecDeque<Event>,
    kept_max: usize,
    hash: u64,
    count: u64,
}

impl Trace {
    /// A trace that keeps the last `kept_max` events to be printed.
    pub(super) fn new(kept_max: usize) -> Trace {
        Trace { last: VecDeque::new(), kept_max, hash: 0xCBF2_9CE4_8422_2325, count: 0 }
    }

    pub(super) fn note(&mut self, at: Time, who: u32, what: What, count: u64) {
        for word in [at.0, u64::from(who), what as u64, count] {
            // FNV-1a, a word at a time.
            self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01B3);
        }
        self.count += 1;
        if self.last.len() == self.kept_max {
            self.last.pop_front();
        }
        self.last.push_back(Event { at, who, what, count });
    }

    /// A number that is the same for the same events in the same order.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events there were, those that are no longer kept among them.
    pub fn count(&self) -> u64 {
        self.count
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} events, the last {}:", self.count, self.last.len())?;
        for event in &self.last {
            write!(f, "{:>16} us  ", event.at.0)?;
            match event.who {
                NOBODY => write!(f, "loop      ")?,
                who => write!(f, "conn {who:<5}")?,
            }
            writeln!(f, " {:?} {}", event.what, event.count)?;
        }
        Ok(())
    }
}
