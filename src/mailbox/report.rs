//! What a loop tells of its connections: those that it has, those that have ended, and what happened to them.
//!
//! Moments are milliseconds since the start of the loops' clock; whoever has a clock makes dates of them. Always holds:
//! these are copies, with bounds, and none is of more than its own moment. Never: a payload.

use crate::base::{Address, CloseReason, ConnId, Text, Time, Token, U48};
use crate::metrics::Gauge;
use crate::session::Pauses;
use crate::wire::ClientId;

/// One connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its name, as in logs.
    pub id: ConnId,
    /// Where its peer is.
    pub address: Address,
    /// Its listener's place in the server's list; the number of listeners, for one that was dialed.
    pub listener: usize,
    /// Who its peer is, if it said HELLO.
    pub client_id: Option<ClientId>,
    /// Where it stands, one of [`Gauge::STATES`].
    pub state: Gauge,
    /// Why it is on its way out, if it is.
    pub ending: Option<CloseReason>,
    /// Why it is not being read, if it is not.
    pub pauses: Pauses,
    /// When it was accepted or dialed.
    pub opened_ms: u64,
    /// How long ago its last whole message came, or it itself. Pauses of ours don't count.
    pub idle_ms: u32,
    /// Bytes read from it, modulo 2⁴⁸.
    pub bytes_in: u64,
    /// Bytes that its socket took, modulo 2⁴⁸.
    pub bytes_out: u64,
    /// Whole messages that came from it, at most `u32::MAX`: that many, or more.
    pub messages_in: u32,
    /// Bytes of a message that is not whole, or that wait to be handled.
    pub input_bytes: usize,
    /// Bytes of output that wait for its socket, or behind its open requests.
    pub queued_bytes: u32,
    /// Requests that are open.
    pub open_requests: u32,
    /// The round trip of its last heartbeat in microseconds, if it has answered one.
    pub rtt_us: Option<u32>,
}

impl Connection {
    /// One of which nothing is known but where it came from.
    pub fn new(id: ConnId, address: Address, listener: usize, opened: Time) -> Connection {
        Connection {
            id,
            address,
            listener,
            client_id: None,
            state: Gauge::Connecting,
            ending: None,
            pauses: Pauses::default(),
            opened_ms: opened.whole_ms(),
            idle_ms: 0,
            bytes_in: 0,
            bytes_out: 0,
            messages_in: 0,
            input_bytes: 0,
            queued_bytes: 0,
            open_requests: 0,
            rtt_us: None,
        }
    }
}

/// A connection that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// As it was when its end was decided, except that bytes and messages are those of its whole life. Its state is
    /// [`Gauge::Lingering`] if too many others ended meanwhile for that to be remembered.
    pub last: Connection,
    /// Why it ended.
    pub why: CloseReason,
    /// What the log was told of it in words, and its peer, if it could be told; may be empty.
    pub words: Text,
    /// When its end was decided.
    pub decided_ms: u64,
    /// When it was closed.
    pub closed_ms: u64,
}

/// Something that happened to a connection, or to its loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopEvent {
    at: U48,
    /// To which connection; generation 0 if it was the loop itself.
    pub token: Token,
    /// What.
    pub what: Happened,
    /// How much of it: see [`Happened::unit`].
    pub number: u32,
}

impl LoopEvent {
    /// Something that happens now.
    pub const fn new(now: Time, token: Token, what: Happened, number: u32) -> LoopEvent {
        LoopEvent { at: U48::new(now.whole_ms()), token, what, number }
    }

    /// When, in milliseconds.
    pub const fn at_ms(&self) -> u64 {
        self.at.get()
    }

    /// Whether it happened to the loop itself.
    pub const fn is_of_loop(&self) -> bool {
        self.token.generation == 0
    }

    /// Whether it belongs to the life of a connection: it happened to it, or to its loop between these moments.
    pub fn concerns(&self, id: ConnId, from_ms: u64, to_ms: u64) -> bool {
        let is_own = self.token == Token { generation: id.generation, slot: id.slot };
        is_own || (self.is_of_loop() && (from_ms..=to_ms).contains(&self.at_ms()))
    }
}

macro_rules! happenings {
    ($($(#[$doc:meta])* $variant:ident => $name:literal, $unit:literal;)+) => {
        /// What can happen. Only what is rare: nothing here happens for each message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Happened { $($(#[$doc])* $variant),+ }

        impl Happened {
            /// All of them.
            pub const ALL: &'static [Happened] = &[$(Happened::$variant),+];

            /// The name that is shown.
            pub const fn name(self) -> &'static str {
                match self { $(Happened::$variant => $name),+ }
            }

            /// What an event's number counts; empty if it has none.
            pub const fn unit(self) -> &'static str {
                match self { $(Happened::$variant => $unit),+ }
            }
        }
    };
}

happenings! {
    /// It was accepted, by this listener.
    Accepted => "accepted", "listener";
    /// It was dialed.
    Dialed => "dialed", "";
    /// The server that was dialed is there.
    Connected => "connected", "";
    /// Its HELLO was welcomed.
    Welcomed => "welcomed", "";
    /// Output waits for its socket that waited for nothing before.
    OutputQueued => "output_queued", "bytes";
    /// It is not read, because this much output waits.
    PausedOutput => "paused_output", "bytes";
    /// It is not read, because no buffer is to be had.
    PausedMemory => "paused_memory", "";
    /// It is not read, because so many of its requests are open.
    PausedSlots => "paused_slots", "requests";
    /// It is not read, because it or its address sent more than the rate allows; for so long, as it stands.
    PausedRate => "paused_rate", "milliseconds";
    /// This much of its output waits, and that is no reason any more not to read it.
    ResumedOutput => "resumed_output", "bytes";
    /// Memory is no reason any more not to read it.
    ResumedMemory => "resumed_memory", "";
    /// So many of its requests are open, and that is no reason any more not to read it.
    ResumedSlots => "resumed_slots", "requests";
    /// The rate is no reason any more not to read it.
    ResumedRate => "resumed_rate", "";
    /// A batch of its messages held up the loop.
    Stalled => "stalled", "microseconds";
    /// A handler of its requests panicked.
    HandlerPanicked => "handler_panicked", "times";
    /// A heartbeat was sent to it.
    HeartbeatSent => "heartbeat_sent", "";
    /// It did not answer a heartbeat.
    HeartbeatMissed => "heartbeat_missed", "";
    /// It sent what breaks the protocol.
    Refused => "refused", "";
    /// It held most memory for the least progress.
    Evicted => "evicted", "";
    /// The service, or the program around it, wanted it to end, with this status.
    ClosedByService => "closed_by_service", "status";
    /// It has been open for as long as it may be.
    Aged => "aged", "seconds";
    /// It takes part in the drain, or has come of age.
    Draining => "draining", "";
    /// It is read no more; its open requests are waited for.
    Answering => "answering", "";
    /// It is read no more; its last bytes are on their way.
    Flushing => "flushing", "";
    /// Its write side is shut; what it still sends is thrown away.
    Lingering => "lingering", "";
    /// It is closed.
    Closed => "closed", "";
    /// The loop began to drain, with so many connections.
    DrainBegan => "drain_began", "connections";
    /// A turn of the loop took long, and no batch of it did.
    SlowTurn => "slow_turn", "microseconds";
    /// Descriptors or memory ran out when the loop accepted; it tries again after so long.
    AcceptExhausted => "accept_exhausted", "milliseconds";
    /// The service panicked and begins anew.
    ServiceRebuilt => "service_rebuilt", "";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_an_event_is_small() {
        for what in Happened::ALL {
            let twins = Happened::ALL.iter().filter(|other| other.name() == what.name()).count();
            assert_eq!(twins, 1, "case: {}", what.name());
        }
        assert!(size_of::<LoopEvent>() <= 24, "{}", size_of::<LoopEvent>());
    }

    #[test]
    fn events_of_the_loop_concern_who_was_there() {
        let id = ConnId { shard: 3, generation: 7, slot: 1 };
        let own = Token { generation: 7, slot: 1 };
        #[rustfmt::skip]
        let table = [
            ("its own",               own,                               5_000, true),
            ("its own, late",         own,                               9_000, true),
            ("an earlier owner's",    Token { generation: 6, slot: 1 },  5_000, false),
            ("the loop's, meanwhile", Token::listener(0),                5_000, true),
            ("the loop's, before",    Token::listener(0),                  999, false),
            ("the loop's, after",     Token::listener(0),                8_001, false),
        ];
        for (name, token, at_ms, want) in table {
            let event = LoopEvent::new(Time(at_ms * 1000), token, Happened::Closed, 0);
            assert_eq!(event.concerns(id, 1_000, 8_000), want, "case: {name}");
        }
    }
}
