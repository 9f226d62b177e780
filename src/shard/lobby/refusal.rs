//! Why a newcomer did not get past the entrance: one closed list, each with its counter and what the log says.

use crate::base::limits::{LOBBY_MAX, LOBBY_SHARE};
use crate::base::{Address, Fault, Ms, Text};
use crate::metrics::Counter;
use crate::shard::secured::{HandshakeFailed, counter_of};
use crate::turn::LogKind;
use crate::wire::ProxyError;
use tracing::{Level, debug, error, warn};

/// Why a newcomer was closed at the entrance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::shard) enum Refusal {
    /// It came from nobody whom the listener trusts to tell whose connection it is.
    UntrustedProxy,
    /// Its first bytes were no PROXY header, and what they were instead.
    BadProxyHeader(ProxyError, Box<str>),
    /// Its handshake came to nothing.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "there are no handshakes"))]
    Tls(HandshakeFailed),
    /// It was not through in time.
    TimedOut,
    /// It had waited longest when somebody else came and there was no room.
    Evicted,
    /// Its source has as many at the entrance as one may.
    Crowded,
    /// It ended its stream, or lost it, before it was through.
    Gone,
    /// A drain began before it was through; it has sent no request.
    Drained,
    /// Its socket failed, or the poller.
    Failed,
}

/// How many there are.
pub(super) const KINDS: usize = 9;

impl Refusal {
    /// Its name in logs and metrics.
    pub(super) const fn name(&self) -> &'static str {
        self.counter().name()
    }

    const fn place(&self) -> usize {
        match self {
            Refusal::UntrustedProxy => 0,
            Refusal::BadProxyHeader(..) => 1,
            Refusal::TimedOut => 2,
            Refusal::Evicted => 3,
            Refusal::Crowded => 4,
            Refusal::Gone => 5,
            Refusal::Drained => 6,
            Refusal::Failed => 7,
            Refusal::Tls(_) => 8,
        }
    }

    pub(super) const fn counter(&self) -> Counter {
        match self {
            Refusal::UntrustedProxy => Counter::UntrustedProxy,
            Refusal::BadProxyHeader(..) => Counter::BadProxyHeader,
            Refusal::Tls(why) => counter_of(why),
            Refusal::TimedOut => Counter::EntranceTimedOut,
            Refusal::Evicted => Counter::EntranceEvicted,
            Refusal::Crowded => Counter::EntranceCrowded,
            Refusal::Gone => Counter::EntranceGone,
            Refusal::Drained => Counter::EntranceDrained,
            Refusal::Failed => Counter::EntranceFailed,
        }
    }

    const fn fault(&self) -> Fault {
        match self {
            Refusal::UntrustedProxy
            | Refusal::BadProxyHeader(..)
            | Refusal::Tls(_)
            | Refusal::TimedOut
            | Refusal::Crowded => Fault::Protocol,
            Refusal::Gone | Refusal::Drained => Fault::Temporary,
            Refusal::Evicted | Refusal::Failed => Fault::System,
        }
    }

    fn words(&self) -> Text {
        match self {
            Refusal::UntrustedProxy => {
                Text::of(format_args!("it is in none of the listener's `trusted` networks"))
            }
            Refusal::BadProxyHeader(error, first) => Text::of(format_args!("{error}; it began with {first}")),
            Refusal::Tls(why) => Text::of(format_args!("{why}")),
            Refusal::TimedOut => {
                Text::of(format_args!("what comes before the first message was not there in time"))
            }
            Refusal::Evicted => Text::of(format_args!(
                "it had waited longest when the entrance was full, {LOBBY_MAX} newcomers or as many as have a seat"
            )),
            Refusal::Crowded => Text::of(format_args!(
                "its address has {} newcomers at the entrance, and may have no more",
                LOBBY_MAX / LOBBY_SHARE
            )),
            Refusal::Gone => Text::of(format_args!("it left before its first message")),
            Refusal::Drained => Text::of(format_args!("the server drains, and it has sent no message")),
            Refusal::Failed => Text::of(format_args!("its socket failed")),
        }
    }
}

/// The first bytes of a peer, as a log can show them.
pub(super) fn shown(first: &[u8]) -> Box<str> {
    const BYTES_SHOWN: usize = 24;
    let part = &first[..first.len().min(BYTES_SHOWN)];
    let dots = if part.len() < first.len() { "…" } else { "" };
    format!("\"{}\"{dots}", part.escape_ascii()).into()
}

/// What the log is told of newcomers, at a rate that a flood of them can't raise.
#[derive(Debug, Default)]
pub(super) struct Journal([LogKind; KINDS]);

impl Journal {
    pub(super) fn refused(&mut self, now: Ms, peer: Address, listener: u32, why: &Refusal) {
        let (reason, fault) = (why.name(), why.fault());
        let class = fault.name();
        if fault == Fault::Temporary {
            debug!(%peer, listener, reason, class, text = %why.words(), "closed at the entrance");
            return;
        }
        let Some(held_back) = self.0[why.place()].admit(now) else { return };
        let text = why.words();
        if fault.level() == Level::ERROR {
            error!(%peer, listener, reason, class, %text, held_back, "closed at the entrance");
        } else {
            warn!(%peer, listener, reason, class, %text, held_back, "closed at the entrance");
        }
    }
}
