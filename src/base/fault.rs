//! The three classes of everything that can go wrong, by who has to move.
//!
//! A fault's class is set where the error is born and never guessed later. It decides the policy (keep the peer,
//! close the peer, shed load), the level at which the event is logged, and the counter that it raises.

use tracing::Level;

/// Who has to move when this happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It will pass: keep the peer, retry or shed.
    Temporary,
    /// The peer broke the contract: tell it, close it, count it; nobody else is disturbed.
    Protocol,
    /// This host is in trouble: stop taking more, say so once, recover by itself.
    System,
}

impl Fault {
    /// How loud the log says it. Temporary events are the daily weather of a server and stay at debug.
    pub const fn level(self) -> Level {
        match self {
            Fault::Temporary => Level::DEBUG,
            Fault::Protocol => Level::WARN,
            Fault::System => Level::ERROR,
        }
    }

    /// The name used in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Fault::Temporary => "temporary",
            Fault::Protocol => "protocol",
            Fault::System => "system",
        }
    }
}
