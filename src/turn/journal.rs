//! What the log is told, at a rate that a flood of peers can't raise.
//!
//! Each kind of line appears once in [`LOG_REPEAT_MS`](crate::base::limits::LOG_REPEAT_MS); those held back are
//! counted, and the next line of the kind tells how many there were. Connections that end in the ordinary way are
//! told at debug level, without a limit, to whoever turns that on.

use super::admission::NoPlace;
use crate::base::limits::LOG_REPEAT_MS;
use crate::base::{Address, CloseReason, ConnId, Fault, Ms};
use tracing::{Level, debug, error, warn};

/// One kind of line in the log: when it last appeared, and how many were held back since.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogKind {
    last: Option<Ms>,
    held_back: u64,
}

impl LogKind {
    /// The number of lines held back since the last one, if this one may appear.
    pub fn admit(&mut self, now: Ms) -> Option<u64> {
        if self.last.is_some_and(|last| now.since(last) < LOG_REPEAT_MS) {
            self.held_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

/// The log of one loop.
#[derive(Debug)]
pub(super) struct Journal {
    leaves: [LogKind; CloseReason::COUNT],
    stalls: LogKind,
    slow_turns: LogKind,
    exhausted: LogKind,
    accept_failed: LogKind,
    full: LogKind,
    listener_full: LogKind,
    address_full: LogKind,
    panics: LogKind,
}

impl Default for Journal {
    fn default() -> Journal {
        let none = LogKind::default();
        Journal {
            leaves: [none; CloseReason::COUNT],
            stalls: none,
            slow_turns: none,
            exhausted: none,
            accept_failed: none,
            full: none,
            listener_full: none,
            address_full: none,
            panics: none,
        }
    }
}

impl Journal {
    /// A connection ends.
    pub(super) fn leave(&mut self, now: Ms, id: ConnId, peer: Address, why: CloseReason, text: &str) {
        let fault = why.fault();
        let (reason, class) = (why.name(), fault.name());
        match fault {
            Fault::Temporary => debug!(conn = %id, %peer, reason, class, text, "connection ends"),
            Fault::Protocol | Fault::System => {
                let Some(held_back) = self.leaves[why.index()].admit(now) else { return };
                if fault.level() == Level::ERROR {
                    error!(conn = %id, %peer, reason, class, text, held_back, "connection ends");
                } else {
                    warn!(conn = %id, %peer, reason, class, text, held_back, "connection ends");
                }
            }
        }
    }

    /// A batch held up the loop.
    pub(super) fn stall(
        &mut self,
        now: Ms,
        id: ConnId,
        took_us: u64,
        frames: u32,
        service: &str,
        route: Option<u16>,
    ) {
        if let Some(held_back) = self.stalls.admit(now) {
            let what = "a batch of this connection held up the whole loop";
            warn!(shard = id.shard, conn = %id, took_us, frames, service, route, held_back, "{what}");
        }
    }

    /// A turn took too long, and no batch of it did.
    pub(super) fn slow_turn(&mut self, now: Ms, shard: u16, took_us: u64) {
        if let Some(held_back) = self.slow_turns.admit(now) {
            let what =
                "a turn took long and no batch of it: look at callbacks other than on_frame, and at the load";
            warn!(shard, took_us, held_back, "{what}");
        }
    }

    /// Descriptors or memory ran out.
    pub(super) fn exhausted(&mut self, now: Ms, error: &std::io::Error, retry_ms: u32) {
        if let Some(held_back) = self.exhausted.admit(now) {
            error!(%error, retry_ms, held_back, "cannot accept: raise the descriptor limit (ulimit -n) or lower the load");
        }
    }

    /// A listener or a registration failed.
    pub(super) fn accept_failed(&mut self, now: Ms, error: &std::io::Error) {
        if let Some(held_back) = self.accept_failed.admit(now) {
            error!(%error, held_back, "accepting failed");
        }
    }

    /// There was no place for a newcomer.
    pub(super) fn refused(&mut self, now: Ms, why: NoPlace, listener: u32, peer: Address) {
        let limit = why.limit();
        match why {
            NoPlace::Server(_) => {
                if let Some(held_back) = self.full.admit(now) {
                    error!(limit, held_back, "connection refused: the connection limit is reached");
                }
            }
            NoPlace::Listener(_) => {
                if let Some(held_back) = self.listener_full.admit(now) {
                    let what = "connection refused: the connection limit of its listener is reached";
                    error!(limit, listener, held_back, "{what}");
                }
            }
            NoPlace::Address(_) => {
                if let Some(held_back) = self.address_full.admit(now) {
                    let what = "connection refused: the connection limit of its address is reached";
                    warn!(limit, %peer, held_back, "{what}");
                }
            }
        }
    }

    /// The service panicked.
    pub(super) fn panicked(&mut self, now: Ms, rebuilt: bool) {
        if let Some(held_back) = self.panics.admit(now) {
            error!(
                held_back,
                rebuilt,
                "a service callback panicked; a request that it left unanswered was answered INTERNAL"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_kind_is_one_line_and_a_count() {
        let mut kind = LogKind::default();
        let start = Ms(u32::MAX - 10);
        assert_eq!(kind.admit(start), Some(0));
        for ms in 0..LOG_REPEAT_MS {
            assert_eq!(kind.admit(start.plus(ms)), None);
        }
        assert_eq!(kind.admit(start.plus(LOG_REPEAT_MS)), Some(u64::from(LOG_REPEAT_MS)));
        assert_eq!(kind.admit(start.plus(2 * LOG_REPEAT_MS)), Some(0));
    }
}
