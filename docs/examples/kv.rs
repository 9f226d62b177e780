//! A key-value store with a protocol of its own: routes, parsing, failures, keys that expire.
//!
//! | route | payload | reply | fails with |
//! |---|---|---|---|
//! | 16 GET | key | value | 256 |
//! | 17 PUT | lifetime in ms `u32` (0: for ever), key (`u8` length), value | nothing | 257, OVERLOADED |
//! | 18 DELETE | key | nothing | 256 |
//!
//! 256 is "no such key", 257 is "malformed". All other routes are the built-in ones: 1 echoes.
//!
//! ```text
//! cargo run --example kv
//! ```
//!
//! Always holds: `deadlines` names exactly the entries that have one; an entry whose deadline has passed is never told.
//! Never: a lock. There is one event loop, and it owns the store.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use tidegate::base::Time;
use tidegate::{Cx, Frame, Peer, Replied, Reply, Router, Server, Service, Status};

pub(crate) const GET: u16 = 16;
pub(crate) const PUT: u16 = 17;
pub(crate) const DELETE: u16 = 18;

/// Codes of an application begin at 256; those below are the server's own words.
pub(crate) const NOT_FOUND: Status = Status::application(256);
pub(crate) const MALFORMED: Status = Status::application(257);

/// Everything has a bound, our store too: 64 MiB.
pub(crate) const ROOM_BYTES: usize = 64 << 20;
/// What an entry takes besides its key, its deadline's copy of that, and its value, in bytes: about.
const ENTRY_BYTES: usize = 128;

/// How often expired entries are removed. They are not told from their deadline on; this gives their room back.
const SWEEP_EVERY: Duration = Duration::from_millis(100);
/// Entries removed at once: everybody else waits for it.
const SWEPT_AT_ONCE: usize = 1_000;

fn main() -> tidegate::Result<()> {
    Server::builder().listen("127.0.0.1:7411")?.shards(1).serve(|| Kv::new(ROOM_BYTES))
}

type Key = Box<[u8]>;

struct Entry {
    value: Box<[u8]>,
    deadline: Option<Time>,
}

/// The store.
pub(crate) struct Kv {
    entries: HashMap<Key, Entry>,
    deadlines: BTreeSet<(Time, Key)>,
    room_bytes: usize,
    is_sweeping: bool,
    built_in: Router,
}

/// What PUT says.
struct Put<'a> {
    lifetime_ms: u32,
    key: &'a [u8],
    value: &'a [u8],
}

impl<'a> Put<'a> {
    /// `None` if the payload ends too early.
    fn parse(payload: &'a [u8]) -> Option<Put<'a>> {
        let (lifetime, rest) = payload.split_first_chunk::<4>()?;
        let (key_bytes, rest) = rest.split_first()?;
        let (key, value) = rest.split_at_checked((*key_bytes).into())?;
        Some(Put { lifetime_ms: u32::from_be_bytes(*lifetime), key, value })
    }
}

impl Kv {
    pub(crate) fn new(room_bytes: usize) -> Kv {
        Kv {
            entries: HashMap::new(),
            deadlines: BTreeSet::new(),
            room_bytes,
            is_sweeping: false,
            built_in: Router::embedded(),
        }
    }

    fn get(&self, key: &[u8], now: Time) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| entry.deadline.is_none_or(|deadline| now < deadline))
    }

    /// With its deadline: else that would end the next value of the same key.
    fn remove(&mut self, key: &[u8]) {
        let Some((key, entry)) = self.entries.remove_entry(key) else { return };
        self.room_bytes += cost(&key, &entry.value);
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, key));
        }
    }

    fn put(&mut self, put: &Put<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        self.remove(put.key);
        let Some(room_bytes) = self.room_bytes.checked_sub(cost(put.key, put.value)) else {
            return reply.fail_for(Status::OVERLOADED, "the store is full", 1_000);
        };
        self.room_bytes = room_bytes;
        let lifetime_us = u64::from(put.lifetime_ms) * 1_000;
        let deadline = (lifetime_us > 0).then(|| cx.now().plus_us(lifetime_us));
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, put.key.into()));
            self.sweep_later(cx);
        }
        self.entries.insert(put.key.into(), Entry { value: put.value.into(), deadline });
        reply.send(b"")
    }

    fn sweep_later(&mut self, cx: &mut Cx<'_>) {
        // One timer at a time. If it is refused, the next PUT tries again.
        self.is_sweeping = self.is_sweeping || cx.arm(SWEEP_EVERY, 0).is_ok();
    }
}

fn cost(key: &[u8], value: &[u8]) -> usize {
    ENTRY_BYTES + 2 * key.len() + value.len()
}

impl Service for Kv {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn is_one_way(&self, route: u16) -> bool {
        self.built_in.is_one_way(route)
    }

    fn on_frame(&mut self, _conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        let payload = frame.payload();
        match frame.route() {
            GET => match self.get(payload, cx.now()) {
                Some(entry) => reply.send(&entry.value),
                None => reply.fail(NOT_FOUND, "no such key"),
            },
            PUT => match Put::parse(payload) {
                Some(put) => self.put(&put, reply, cx),
                None => reply.fail(MALFORMED, "PUT is a lifetime (4 bytes), a key (1 byte length), a value"),
            },
            DELETE if self.get(payload, cx.now()).is_none() => reply.fail(NOT_FOUND, "no such key"),
            DELETE => {
                self.remove(payload);
                reply.send(b"")
            }
            _ => self.built_in.on_frame(&mut (), frame, reply, cx),
        }
    }

    fn on_timer(&mut self, _tag: u64, cx: &mut Cx<'_>) {
        self.is_sweeping = false;
        for _ in 0..SWEPT_AT_ONCE {
            match self.deadlines.first() {
                Some((deadline, key)) if *deadline <= cx.now() => self.remove(&key.clone()),
                Some(_) | None => break,
            }
        }
        if !self.deadlines.is_empty() {
            self.sweep_later(cx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate::base::Rng;
    use tidegate::sim::{Answer, Draft, Framing, ListenerConfig, Plan, Request, World, run_seeds};

    /// A client has keys of its own: what another one does meanwhile must not matter.
    fn payload(draft: Draft, rng: &mut Rng) -> Vec<u8> {
        let key = format!("{}.{}", draft.client, rng.below(3));
        if draft.route != PUT {
            return key.into_bytes();
        }
        let lifetime_ms: u32 = if rng.chance(500) { 0 } else { 50 };
        let mut payload = lifetime_ms.to_be_bytes().to_vec();
        payload.push(u8::try_from(key.len()).expect("a short key"));
        payload.extend_from_slice(key.as_bytes());
        payload.resize(draft.bytes.max(payload.len()), b'v');
        payload
    }

    /// What the store must say: a value that may have expired is there, or not; one that can't have expired is there.
    #[derive(Default)]
    struct Model(HashMap<Vec<u8>, (Vec<u8>, bool)>);

    impl Model {
        fn answer(&mut self, request: &Request<'_>) -> Answer {
            let key = request.payload.to_vec();
            match request.route {
                GET => Model::found(self.0.get(&key).cloned()),
                DELETE => Model::found(self.0.remove(&key).map(|(_, may_be_over)| (Vec::new(), may_be_over))),
                _ => self.put(request.payload),
            }
        }

        fn found(entry: Option<(Vec<u8>, bool)>) -> Answer {
            let missing = NOT_FOUND.code();
            match entry {
                None => Answer::Fails(missing),
                Some((value, false)) => Answer::Reply(value),
                Some((value, true)) => Answer::OneOf { replies: vec![value], fails: vec![missing] },
            }
        }

        fn put(&mut self, payload: &[u8]) -> Answer {
            // The simulator cuts payloads to the size of the client's messages, so that some of these are malformed.
            let key_end = 5 + payload.get(4).map_or(usize::MAX / 2, |bytes| usize::from(*bytes));
            if payload.len() < key_end {
                return Answer::Fails(MALFORMED.code());
            }
            let may_be_over = payload[..4] != [0; 4];
            self.0.insert(payload[5..key_end].to_vec(), (payload[key_end..].to_vec(), may_be_over));
            Answer::Reply(Vec::new())
        }
    }

    fn world(seed: u64) -> World<Kv> {
        let mut model = Model::default();
        let plan = Plan {
            payloads: Some(payload),
            listeners: vec![ListenerConfig::new(Framing::frames(1 << 20))],
            ..Plan::draw(seed, &[GET, GET, PUT, DELETE])
        };
        World::new(plan, || Kv::new(ROOM_BYTES), move |request| model.answer(request))
    }

    #[test]
    fn every_client_finds_what_it_has_put_and_nothing_else() {
        if let Err(failure) = run_seeds(0..300, world) {
            panic!("{failure}");
        }
    }
}
