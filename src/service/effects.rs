//! What callbacks want done beyond their own connection: a list, carried out in order when the callback's batch is
//! over.
//!
//! It can't be done at once: the connection in hand is borrowed from the table that all others lie in. So a reply of
//! a handler goes out before anything that the same handler sends elsewhere.
//!
//! Always holds: bounded ([`EFFECTS_WAITING_MAX`], [`EFFECT_BYTES_MAX`], [`TIMERS_PER_SHARD`]); memory is used again.
//! Never: an effect on half the list. One that does not fit is refused to the callback that wanted it.

use crate::base::limits::{EFFECT_BYTES_MAX, EFFECTS_WAITING_MAX, TIMERS_PER_SHARD};
use crate::base::{ConnId, Time};
use crate::identity::People;
use crate::mailbox::{Ticket, Whom};
use crate::wire::{Control, Crc, Extension, Header, Status, Trace, frame};
use bytes::Bytes;
use core::net::SocketAddr;
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::ops::Range;

/// Something to be done.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Bytes of the list's own memory, whole frames, for a connection.
    Send { to: ConnId, whom: Whom, bytes: Range<usize> },
    /// Shared bytes, whole frames, for a connection.
    Share { to: ConnId, whom: Whom, bytes: Bytes },
    /// For the services of all loops.
    Publish(Bytes),
    /// Connect.
    Dial { to: SocketAddr, tag: u64 },
    /// End a connection in order.
    Close { id: ConnId, status: Status, text: Cow<'static, str> },
    /// Answer a deferred request of this loop.
    Answer { ticket: Ticket, bytes: Range<usize> },
    /// Fail a deferred request of this loop.
    Fail { ticket: Ticket, status: Status, text: Cow<'static, str> },
}

/// A list of effects is full; the one that was asked for is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EffectsFull {
    /// Too many at once.
    #[error("{limit} effects wait already")]
    Count {
        /// [`EFFECTS_WAITING_MAX`].
        limit: usize,
    },
    /// Too many bytes at once.
    #[error("effects hold {held_bytes} bytes already, {more_bytes} more exceed the limit of {limit_bytes}")]
    Bytes {
        /// What waits.
        held_bytes: usize,
        /// What was to be added.
        more_bytes: usize,
        /// [`EFFECT_BYTES_MAX`].
        limit_bytes: usize,
    },
    /// Too many timers.
    #[error("{limit} timers are armed already")]
    Timers {
        /// [`TIMERS_PER_SHARD`].
        limit: usize,
    },
    /// A dialed server takes less than it is sent.
    #[error(
        "{waiting_bytes} bytes wait for that server already, {more_bytes} more exceed the limit of {limit_bytes}"
    )]
    Server {
        /// What waits for it.
        waiting_bytes: usize,
        /// What was to be added.
        more_bytes: usize,
        /// The high watermark and one frame of the largest payload.
        limit_bytes: usize,
    },
}

/// What waits for a dialed server, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    /// In this list.
    listed: usize,
    /// In its connection's queue.
    queued: usize,
}

/// The effects of a loop that were not carried out yet, and its service's timers.
#[derive(Debug)]
pub(crate) struct Effects {
    list: VecDeque<Effect>,
    bytes: Vec<u8>,
    crc: Crc,
    timers: BinaryHeap<Reverse<(Time, u64, u64)>>,
    armed: u64,
    refused: u64,
    /// This loop's dialed connections.
    servers: HashMap<ConnId, Load>,
    /// What may wait for one of them.
    server_bytes_max: usize,
    /// Who the loop's connections are. Here, since callbacks ask for it.
    pub(crate) people: People,
    /// What the request in hand passes on, if it is recorded. Here for the same reason.
    pub(crate) trace: Option<Trace>,
}

impl Effects {
    /// No effects. So many bytes may wait for each dialed server.
    pub(crate) fn new(server_bytes_max: usize) -> Effects {
        Effects {
            servers: HashMap::new(),
            server_bytes_max,
            list: VecDeque::new(),
            bytes: Vec::new(),
            crc: Crc::new(),
            timers: BinaryHeap::new(),
            armed: 0,
            refused: 0,
            people: People::default(),
            trace: None,
        }
    }

    /// So many bytes may wait for each dialed server from now on.
    pub(crate) const fn set_server_bytes_max(&mut self, bytes: usize) {
        self.server_bytes_max = bytes;
    }

    /// Asked for by callbacks of a loop with these people.
    pub(crate) fn among(self, people: People) -> Effects {
        Effects { people, ..self }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// What was asked for since so many waited, by callbacks alone.
    pub(crate) fn since(&self, len: usize) -> impl Iterator<Item = &Effect> {
        self.list.iter().skip(len)
    }

    /// The next to be done. Ranges are [`bytes`](Effects::bytes) until the list was [settled](Effects::settle).
    pub(crate) fn pop(&mut self) -> Option<Effect> {
        self.list.pop_front()
    }

    pub(crate) fn bytes(&self, range: &Range<usize>) -> &[u8] {
        &self.bytes[range.clone()]
    }

    /// Lends the bytes, for as long as no callback runs.
    pub(crate) fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Takes them back.
    pub(crate) fn put_bytes(&mut self, bytes: Vec<u8>) {
        debug_assert!(self.bytes.is_empty(), "no callback ran meanwhile");
        self.bytes = bytes;
    }

    /// Answers among what waits: their rights to answer are used up, and not given back yet.
    pub(crate) fn answers(&self) -> usize {
        let is_answer = |effect: &&Effect| matches!(effect, Effect::Answer { .. } | Effect::Fail { .. });
        self.list.iter().filter(is_answer).count()
    }

    /// Forgets the bytes of what was done, if all is done. Gives how many effects were refused since the last time.
    pub(crate) fn settle(&mut self) -> u64 {
        if self.list.is_empty() {
            self.bytes.clear();
            if self.bytes.capacity() > BYTES_KEPT {
                self.bytes.shrink_to(BYTES_KEPT);
            }
        }
        std::mem::take(&mut self.refused)
    }

    pub(crate) fn push(&mut self, effect: Effect) -> Result<(), EffectsFull> {
        if self.list.len() >= EFFECTS_WAITING_MAX {
            self.refused += 1;
            return Err(EffectsFull::Count { limit: EFFECTS_WAITING_MAX });
        }
        self.list.push_back(effect);
        Ok(())
    }

    /// Whether one more effect with so many bytes would be taken.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.list.len() < EFFECTS_WAITING_MAX && self.bytes.len() + bytes <= EFFECT_BYTES_MAX
    }

    /// A server is dialed: from here on it is known what waits for it.
    pub(crate) fn server_dialed(&mut self, id: ConnId) {
        self.servers.insert(id, Load::default());
    }

    /// So much waits in its connection's queue now.
    pub(crate) fn server_queues(&mut self, id: ConnId, bytes: usize) {
        if let Some(load) = self.servers.get_mut(&id) {
            load.queued = bytes;
        }
    }

    /// An effect with so many bytes for it was carried out.
    pub(crate) fn server_sent(&mut self, id: ConnId, bytes: usize) {
        if let Some(load) = self.servers.get_mut(&id) {
            load.listed = load.listed.saturating_sub(bytes);
        }
    }

    /// Its connection is over.
    pub(crate) fn server_lost(&mut self, id: ConnId) {
        self.servers.remove(&id);
    }

    /// Whether so many bytes more may wait for a server. Of another loop's nothing is known here.
    fn admit_to(&mut self, to: ConnId, more_bytes: usize) -> Result<(), EffectsFull> {
        let Some(load) = self.servers.get(&to) else { return Ok(()) };
        let (waiting_bytes, limit_bytes) = (load.listed + load.queued, self.server_bytes_max);
        if waiting_bytes + more_bytes > limit_bytes {
            self.refused += 1;
            return Err(EffectsFull::Server { waiting_bytes, more_bytes, limit_bytes });
        }
        Ok(())
    }

    /// Lists what was encoded behind `start` for a server.
    fn push_send(&mut self, to: ConnId, start: usize) -> Result<(), EffectsFull> {
        let bytes = start..self.bytes.len();
        let count = bytes.len();
        self.push(Effect::Send { to, whom: Whom::Dialed, bytes })?;
        if let Some(load) = self.servers.get_mut(&to) {
            load.listed += count;
        }
        Ok(())
    }

    fn admit_bytes(&mut self, more_bytes: usize) -> Result<(), EffectsFull> {
        let held_bytes = self.bytes.len();
        if held_bytes + more_bytes > EFFECT_BYTES_MAX {
            self.refused += 1;
            return Err(EffectsFull::Bytes { held_bytes, more_bytes, limit_bytes: EFFECT_BYTES_MAX });
        }
        Ok(())
    }

    pub(super) fn send_request(
        &mut self,
        to: ConnId,
        route: u16,
        extension: Option<&Extension<'_>>,
        payload: &[u8],
    ) -> Result<(), EffectsFull> {
        let block = extension.map_or(0, Extension::block_bytes);
        let frame_bytes = frame::frame_bytes(payload.len() + block);
        self.admit_to(to, frame_bytes)?;
        self.admit_bytes(frame_bytes)?;
        let start = self.bytes.len();
        let header = Header::route(route).bits() | extension.map_or(0, |_| Header::EXT);
        let length = u32::try_from(payload.len() + block).expect("checked against a limit of 32 bits");
        self.bytes.extend_from_slice(&frame::prefix(Header::from_bits(header), length));
        if let Some(extension) = extension {
            extension.encode(&mut self.bytes);
        }
        self.bytes.extend_from_slice(payload);
        let sum = self.crc.of(&self.bytes[start..]);
        self.bytes.extend_from_slice(&sum.to_be_bytes());
        self.push_send(to, start)
    }

    pub(super) fn send_control(&mut self, to: ConnId, control: &Control<'_>) -> Result<(), EffectsFull> {
        self.admit_to(to, control.frame_bytes())?;
        self.admit_bytes(control.frame_bytes())?;
        let start = self.bytes.len();
        control.encode(&mut self.bytes, &self.crc);
        self.push_send(to, start)
    }

    pub(super) fn answer(&mut self, ticket: Ticket, payload: &[u8]) -> Result<(), EffectsFull> {
        self.admit_bytes(payload.len())?;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        let bytes = start..self.bytes.len();
        self.push(Effect::Answer { ticket, bytes })
    }

    pub(super) fn arm(&mut self, at: Time, tag: u64) -> Result<(), EffectsFull> {
        if self.timers.len() >= TIMERS_PER_SHARD {
            self.refused += 1;
            return Err(EffectsFull::Timers { limit: TIMERS_PER_SHARD });
        }
        self.armed += 1;
        self.timers.push(Reverse((at, self.armed, tag)));
        Ok(())
    }

    /// The tag of a timer whose moment has come.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<u64> {
        match self.timers.peek() {
            Some(Reverse((at, _, _))) if *at <= now => self.timers.pop().map(|Reverse((_, _, tag))| tag),
            Some(_) | None => None,
        }
    }

    /// When the next timer's moment comes.
    #[inline]
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.timers.peek().map(|Reverse((at, _, _))| *at)
    }

    /// A service that begins anew knows nothing of the timers of the one before.
    pub(crate) fn forget_timers(&mut self) {
        self.timers.clear();
    }
}

/// Memory that the list keeps while nothing waits, in bytes.
const BYTES_KEPT: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER_BYTES: usize = 1_000;
    const NOBODY: ConnId = ConnId { shard: 0, generation: 1, slot: 2 };

    #[test]
    fn every_bound_is_reached_and_refuses_with_its_number() {
        let mut effects = Effects::new(SERVER_BYTES);
        let body = vec![0; EFFECT_BYTES_MAX];
        let too_many_bytes = effects.send_request(NOBODY, 1, None, &body);
        assert!(
            matches!(too_many_bytes, Err(EffectsFull::Bytes { held_bytes: 0, .. })),
            "{too_many_bytes:?}"
        );
        for count in 0..EFFECTS_WAITING_MAX {
            assert_eq!(effects.push(Effect::Publish(Bytes::new())), Ok(()), "effect {count}");
        }
        let limit = EFFECTS_WAITING_MAX;
        assert_eq!(effects.push(Effect::Publish(Bytes::new())), Err(EffectsFull::Count { limit }));
        for tag in 0..TIMERS_PER_SHARD as u64 {
            assert_eq!(effects.arm(Time(tag), tag), Ok(()));
        }
        let limit = TIMERS_PER_SHARD;
        assert_eq!(effects.arm(Time::ZERO, 0), Err(EffectsFull::Timers { limit }));
        assert_eq!(effects.settle(), 3);
    }

    /// Listed or queued, what waits for a server is bounded; for others, and once it is gone, there is no such bound.
    #[test]
    fn what_waits_for_a_server_is_bounded() {
        let mut effects = Effects::new(SERVER_BYTES);
        let (server, stranger) = (NOBODY, ConnId { generation: 2, ..NOBODY });
        effects.server_dialed(server);
        let send = |effects: &mut Effects, to, bytes: usize| {
            effects.send_request(to, 1, None, &vec![0; bytes - frame::OVERHEAD_BYTES]).is_ok()
        };
        for (name, step, fits) in [
            ("all of it", (400, 0, 600), true),
            ("a byte more", (0, 0, 1 + frame::OVERHEAD_BYTES), false),
            ("carried out", (0, 400, 400), false),
            ("and written", (0, 0, 400), true),
        ] {
            let (first, sent, more) = step;
            if first > 0 {
                assert!(send(&mut effects, server, first), "case: {name}");
            }
            if sent > 0 {
                effects.server_sent(server, sent);
                effects.server_queues(server, sent);
            } else if name == "and written" {
                effects.server_queues(server, 0);
            }
            assert_eq!(send(&mut effects, server, more), fits, "case: {name}");
        }
        assert!(send(&mut effects, stranger, 2 * SERVER_BYTES));
        effects.server_lost(server);
        assert!(send(&mut effects, server, 2 * SERVER_BYTES));
        assert_eq!(effects.settle(), 2);
    }

    #[test]
    fn timers_come_in_their_order_and_ties_in_the_order_of_arming() {
        let mut effects = Effects::new(SERVER_BYTES);
        for (at, tag) in [(5, 50), (3, 30), (5, 51), (9, 90)] {
            effects.arm(Time(at), tag).expect("room");
        }
        assert_eq!(effects.next_due(), Some(Time(3)));
        let due: Vec<u64> = std::iter::from_fn(|| effects.pop_due(Time(8))).collect();
        assert_eq!(due, [30, 50, 51]);
        assert_eq!(effects.next_due(), Some(Time(9)));
    }

    #[test]
    fn a_request_is_a_whole_frame() {
        let mut effects = Effects::new(SERVER_BYTES);
        let extension = Extension { correlation: Some(7), ..Extension::default() };
        effects.send_request(NOBODY, 5, Some(&extension), b"hi").expect("room");
        effects.send_request(NOBODY, 5, None, b"hi").expect("room");
        for is_extended in [true, false] {
            let Some(Effect::Send { bytes, .. }) = effects.pop() else { panic!("two were sent") };
            let limits = crate::wire::FrameLimits::new(100);
            let crc = Crc::new();
            let crate::wire::Decoded::Frame(frame) =
                crate::wire::decode(effects.bytes(&bytes), limits, &crc).expect("a frame")
            else {
                panic!("a whole frame")
            };
            assert_eq!(frame.header.is_ext(), is_extended);
            assert_eq!(frame.frame_bytes(), bytes.len());
        }
        effects.settle();
        assert!(effects.bytes.is_empty());
    }
}
