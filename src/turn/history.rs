//! What a loop remembers: its last events, and the connections that ended last.
//!
//! ```text
//!   an end is decided --leaves--> [ on their way out ] --ended--> [ ordinary ends ]  churn does not push out
//!                                                           `---> [ notable ends  ]  what is worth a look
//! ```
//!
//! A connection is written down twice: when its end is decided, since what it waited for then tells why, and when it is
//! closed. Between the two lie its last bytes and its lingering.
//!
//! Always holds: memory is fixed, and all of it asked for when the loop begins; the oldest gives way to the newest.
//! Never: an allocation afterwards, or a word of a payload.

use super::entry::Entry;
use super::shared::gauge_of;
use crate::base::limits::{ENDS_KEPT, EVENTS_KEPT, LEAVING_KEPT};
use crate::base::{CloseReason, ConnId, Ms, Text, Time, Token};
use crate::mailbox::{Closed, Connection, Happened, LoopEvent};
use crate::metrics::Gauge;
use std::collections::VecDeque;

/// The last of something, the oldest first.
#[derive(Debug)]
struct Last<T> {
    kept: VecDeque<T>,
    most: usize,
}

impl<T: Copy> Last<T> {
    fn new(most: usize) -> Last<T> {
        Last { kept: VecDeque::with_capacity(most), most }
    }

    fn keep(&mut self, one: T) {
        if self.kept.len() == self.most {
            self.kept.pop_front();
        }
        self.kept.push_back(one);
    }
}

/// An end that was decided and is not over.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    last: Connection,
    words: Text,
    decided_ms: u64,
}

/// Those whose end was decided. Found by their tokens, which lie side by side: a close looks at one kilobyte at most.
#[derive(Debug)]
struct Departures {
    /// As bits; 0 is a listener's, and nobody here.
    tokens: [u64; LEAVING_KEPT],
    details: Vec<Leaving>,
    /// The place that is written next.
    next: usize,
}

impl Departures {
    fn new() -> Departures {
        let details = Vec::with_capacity(LEAVING_KEPT);
        Departures { tokens: [0; LEAVING_KEPT], details, next: 0 }
    }

    fn put(&mut self, token: Token, leaving: Leaving) {
        let place = self.next;
        self.next = (place + 1) % LEAVING_KEPT;
        self.tokens[place] = token.to_bits();
        match self.details.get_mut(place) {
            Some(before) => *before = leaving,
            None => self.details.push(leaving),
        }
    }

    /// The newest first: most are closed right after.
    fn take(&mut self, token: Token) -> Option<&Leaving> {
        let places = (0..LEAVING_KEPT).map(|back| (self.next + LEAVING_KEPT - 1 - back) % LEAVING_KEPT);
        let place = places.into_iter().find(|place| self.tokens[*place] == token.to_bits())?;
        self.tokens[place] = 0;
        self.details.get(place)
    }
}

/// A loop's memory.
#[derive(Debug)]
pub(super) struct History {
    events: Last<LoopEvent>,
    leaving: Departures,
    ordinary: Last<Closed>,
    notable: Last<Closed>,
}

/// What a loop's memory costs, in bytes.
pub const HISTORY_BYTES: usize = EVENTS_KEPT * size_of::<LoopEvent>()
    + LEAVING_KEPT * (size_of::<Leaving>() + size_of::<u64>())
    + 2 * ENDS_KEPT * size_of::<Closed>();

impl History {
    pub(super) fn new() -> History {
        History {
            events: Last::new(EVENTS_KEPT),
            leaving: Departures::new(),
            ordinary: Last::new(ENDS_KEPT),
            notable: Last::new(ENDS_KEPT),
        }
    }

    /// Something happened to a connection.
    #[inline]
    pub(super) fn note(&mut self, now: Time, token: Token, what: Happened, number: u32) {
        self.events.keep(LoopEvent::new(now, token, what, number));
    }

    /// Something happened to the loop.
    #[cold]
    pub(super) fn note_loop(&mut self, now: Time, what: Happened, number: u64) {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        self.note(now, Token::listener(0), what, number);
    }

    /// The end of a connection was decided, with these words.
    pub(super) fn leaves(&mut self, now: Time, last: Connection, words: Text) {
        let token = token_of(last.id);
        self.leaving.put(token, Leaving { last, words, decided_ms: now.whole_ms() });
    }

    /// A connection is closed.
    pub(super) fn ended(&mut self, now: Time, end: Connection, why: CloseReason) {
        let token = token_of(end.id);
        let closed_ms = now.whole_ms();
        let closed = match self.leaving.take(token) {
            Some(Leaving { last, words, decided_ms }) => {
                let Connection { bytes_in, bytes_out, messages_in, .. } = end;
                let last = Connection { bytes_in, bytes_out, messages_in, ..*last };
                Closed { last, why, words: *words, decided_ms: *decided_ms, closed_ms }
            }
            None => Closed { last: end, why, words: Text::EMPTY, decided_ms: closed_ms, closed_ms },
        };
        let ends = if why.is_notable() { &mut self.notable } else { &mut self.ordinary };
        ends.keep(closed);
        self.note(now, token, Happened::Closed, 0);
    }

    /// All events, the oldest first.
    pub(super) fn events(&self) -> impl Iterator<Item = &LoopEvent> {
        self.events.kept.iter()
    }

    /// The last connections that ended so, the last first.
    pub(super) fn ends(&self, reason: Option<CloseReason>, limit: usize) -> Vec<Closed> {
        let is_asked_for = |closed: &&Closed| reason.is_none_or(|reason| closed.why == reason);
        let (ordinary, notable) = (self.ordinary.kept.iter().rev(), self.notable.kept.iter().rev());
        let mut ends: Vec<Closed> = ordinary.chain(notable).filter(is_asked_for).copied().collect();
        ends.sort_by_key(|closed| std::cmp::Reverse(closed.closed_ms));
        ends.truncate(limit);
        ends
    }
}

/// A connection as others are told of it.
pub(super) fn describe<C, St>(entry: &Entry<C, St>, listener: usize, id: ConnId, now: Ms) -> Connection {
    let greeting = entry.greeting.as_deref();
    let input = entry.input.as_ref().and_then(|input| input.ring.as_ref());
    Connection {
        id,
        address: entry.address.get(),
        listener,
        client_id: greeting.map(|peer| peer.client_id),
        state: gauge_of(entry.phase).unwrap_or(Gauge::Lingering),
        ending: entry.phase.ending(),
        pauses: entry.pauses,
        opened_ms: entry.life.opened.get(),
        idle_ms: now.since(entry.heard),
        bytes_in: entry.life.bytes_in.get(),
        bytes_out: entry.life.bytes_out.get(),
        messages_in: entry.life.messages_in,
        input_bytes: input.map_or(0, |ring| ring.len()),
        queued_bytes: entry.queued_bytes(),
        open_requests: entry.open_requests(),
        rtt_us: greeting.map(|peer| peer.rtt_us).filter(|rtt_us| *rtt_us > 0),
    }
}

const fn token_of(id: ConnId) -> Token {
    Token { generation: id.generation, slot: id.slot }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Address;

    fn connection(generation: u32, bytes_in: u64) -> Connection {
        let id = ConnId { shard: 1, generation, slot: generation % 7 };
        Connection { bytes_in, queued_bytes: 5, ..Connection::new(id, Address::Unix, 0, Time(0)) }
    }

    #[test]
    fn what_was_so_at_the_decision_is_kept_and_the_bytes_are_the_last() {
        let mut history = History::new();
        history.leaves(Time(7_000), connection(1, 10), Text::of(format_args!("too slow")));
        let end = Connection { queued_bytes: 0, state: Gauge::Lingering, ..connection(1, 25) };
        history.ended(Time(9_000), end, CloseReason::SlowConsumer);
        let want = Closed {
            last: connection(1, 25),
            why: CloseReason::SlowConsumer,
            words: Text::of(format_args!("too slow")),
            decided_ms: 7,
            closed_ms: 9,
        };
        assert_eq!(history.ends(None, 10), [want]);
    }

    #[test]
    fn churn_does_not_push_out_what_is_notable() {
        let mut history = History::new();
        let mut end = |generation: u32, why| {
            history.leaves(Time(u64::from(generation) * 1000), connection(generation, 0), Text::EMPTY);
            history.ended(Time(u64::from(generation) * 1000), connection(generation, 0), why);
        };
        end(1, CloseReason::BadCrc);
        (2..10_000).for_each(|generation| end(generation, CloseReason::PeerClosed));
        assert_eq!(history.ends(None, usize::MAX).len(), ENDS_KEPT + 1);
        let bad = history.ends(Some(CloseReason::BadCrc), 5);
        assert_eq!(bad.iter().map(|closed| closed.last.id.generation).collect::<Vec<_>>(), [1]);
        let newest: Vec<u32> = history.ends(None, 3).iter().map(|closed| closed.last.id.generation).collect();
        assert_eq!(newest, [9_999, 9_998, 9_997]);
        assert_eq!(history.events().count(), EVENTS_KEPT);
    }

    /// More are on their way out than are remembered: those beyond are written down as they end.
    #[test]
    fn too_many_departures_cost_the_oldest_their_words() {
        let mut history = History::new();
        let most = u32::try_from(LEAVING_KEPT).unwrap();
        let words = Text::of(format_args!("words"));
        (1..=most + 1).for_each(|generation| history.leaves(Time(0), connection(generation, 0), words));
        for (generation, want) in [(1, ""), (2, "words"), (most + 1, "words")] {
            let end = Connection { state: Gauge::Lingering, ..connection(generation, 0) };
            history.ended(Time(0), end, CloseReason::Truncated);
            let ends = history.ends(None, usize::MAX);
            let closed = ends.iter().find(|closed| closed.last.id.generation == generation).unwrap();
            assert_eq!(closed.words.as_str(), want, "case: {generation}");
            assert_eq!(closed.last.state == Gauge::Lingering, want.is_empty(), "case: {generation}");
        }
    }
}
