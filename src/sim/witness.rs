//! A service that passes everything on to another one and notes what it was told, and what it asked for.

use super::weather::Trouble;
use crate::base::{CloseReason, ConnId, Time};
use crate::service::{
    AfterPanic, Cx, Effect, Frame, Incoming, Origin, Peer, Replied, Reply, Service, Welcomed,
};
use crate::wire::Hello;
use bytes::Bytes;
use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// What is known of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) id: ConnId,
    pub(super) opened: Time,
    pub(super) ended: Option<(CloseReason, Time)>,
    /// Bytes of messages that were to be sent to it.
    pub(super) message_bytes: usize,
    /// Somebody asked for its end.
    pub(super) is_named: bool,
}

/// What the service was told, and what it asked for. Connections by their generation, which no two share.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) conns: HashMap<u32, Seen>,
    pub(super) ended: u64,
    /// The first thing that must not be.
    pub(super) wrong: Option<String>,
    /// `on_open` of a connection that was dialed did not come back.
    pub(super) dial_panics: u64,
    /// Messages were to be sent to somebody.
    pub(super) has_messages: bool,
    /// Callbacks in all.
    pub(super) calls: u64,
    /// Connections whose end was asked for, open or not.
    pub(super) named: HashSet<u32>,
    pub(super) made: Vec<Trouble>,
    services: u32,
}

impl Notes {
    /// How often a service was made in the place of another.
    pub(super) fn rebuilds(&self) -> u32 {
        self.services.saturating_sub(1)
    }

    fn wrong(&mut self, what: impl FnOnce() -> String) {
        self.wrong.get_or_insert_with(what);
    }

    pub(super) fn is_open(&self, generation: u32) -> bool {
        self.conns.get(&generation).is_some_and(|seen| seen.ended.is_none())
    }

    /// Something is meant for a connection.
    pub(super) fn note_target(&mut self, to: ConnId, message_bytes: usize, is_end: bool) {
        if !self.is_open(to.generation) {
            self.made.push(Trouble::StaleCommand);
        }
        self.has_messages |= message_bytes > 0;
        if is_end {
            self.named.insert(to.generation);
        }
        if let Some(seen) = self.conns.get_mut(&to.generation) {
            seen.message_bytes += message_bytes;
            seen.is_named |= is_end;
        }
    }

    fn note_effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Share { to, bytes, .. } => self.note_target(*to, bytes.len(), false),
            Effect::Send { to, .. } => self.note_target(*to, 0, false),
            Effect::Close { id, .. } => self.note_target(*id, 0, true),
            Effect::Publish(_) | Effect::Dial { .. } | Effect::Answer { .. } | Effect::Fail { .. } => {}
        }
    }
}

/// Shared between the watched services of one world.
#[derive(Clone, Debug, Default)]
pub(super) struct Witness(Arc<Mutex<Notes>>);

impl Witness {
    pub(super) fn with<R>(&self, look: impl FnOnce(&mut Notes) -> R) -> R {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Watches another service of the same loop, made in the place of the one before.
    pub(super) fn watch<S>(&self, inner: S) -> Watched<S> {
        let service = self.with(|notes| {
            notes.services += 1;
            notes.services
        });
        Watched { inner, witness: self.clone(), service }
    }
}

#[derive(Debug)]
pub(super) struct Watched<S> {
    inner: S,
    witness: Witness,
    /// Which of the world's services it is.
    service: u32,
}

/// A connection's state, and whose it is.
#[derive(Debug)]
pub(super) struct Kept<C> {
    service: u32,
    conn: C,
}

impl<S: Service> Watched<S> {
    /// Lets the service do something, and notes what it asks for by that.
    fn watch<R>(&mut self, cx: &mut Cx<'_>, call: impl FnOnce(&mut S, &mut Cx<'_>) -> R) -> R {
        let before = cx.effects.len();
        let done = catch_unwind(AssertUnwindSafe(|| call(&mut self.inner, cx)));
        self.witness.with(|notes| {
            notes.calls += 1;
            cx.effects.since(before).for_each(|effect| notes.note_effect(effect));
        });
        done.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// A connection belongs to the service that opened it, and is open.
    fn check(&self, kept: u32, cx: &Cx<'_>, what: &str) {
        let id = cx.id();
        self.witness.with(|notes| {
            if kept != self.service {
                notes.wrong(|| format!("{what} of {id} with the state of a service that is no more"));
            }
            if !notes.is_open(id.generation) {
                notes.wrong(|| format!("{what} of {id}, which is not open"));
            }
        });
    }
}

impl<S: Service> Service for Watched<S> {
    type Conn = Kept<S::Conn>;

    fn on_start(&mut self, cx: &mut Cx<'_>) {
        self.watch(cx, Service::on_start);
    }

    fn on_open(&mut self, peer: &Peer, cx: &mut Cx<'_>) -> Self::Conn {
        let (id, opened) = (cx.id(), cx.now());
        let is_dialed = matches!(peer.origin, Origin::Dialed { .. });
        self.witness.with(|notes| notes.dial_panics += u64::from(is_dialed));
        let conn = self.watch(cx, |inner, cx| inner.on_open(peer, cx));
        self.witness.with(|notes| {
            notes.dial_panics -= u64::from(is_dialed);
            let seen = Seen { id, opened, ended: None, message_bytes: 0, is_named: false };
            if notes.conns.insert(id.generation, seen).is_some() {
                notes.wrong(|| format!("{id} was opened twice"));
            }
        });
        Kept { service: self.service, conn }
    }

    fn on_frame(
        &mut self,
        kept: &mut Self::Conn,
        frame: Frame<'_>,
        reply: Reply<'_>,
        cx: &mut Cx<'_>,
    ) -> Replied {
        self.check(kept.service, cx, "a request");
        self.watch(cx, |inner, cx| inner.on_frame(&mut kept.conn, frame, reply, cx))
    }

    fn on_hello(&mut self, kept: &mut Self::Conn, hello: &Hello<'_>, cx: &mut Cx<'_>) -> Welcomed {
        self.check(kept.service, cx, "a HELLO");
        self.watch(cx, |inner, cx| inner.on_hello(&mut kept.conn, hello, cx))
    }

    fn on_incoming(&mut self, kept: &mut Self::Conn, incoming: Incoming<'_>, cx: &mut Cx<'_>) {
        self.check(kept.service, cx, "something from a server");
        self.watch(cx, |inner, cx| inner.on_incoming(&mut kept.conn, incoming, cx));
    }

    fn on_publish(&mut self, bytes: &Bytes, cx: &mut Cx<'_>) {
        self.watch(cx, |inner, cx| inner.on_publish(bytes, cx));
    }

    fn on_reload(&mut self, news: &(dyn Any + Send + Sync), cx: &mut Cx<'_>) {
        self.watch(cx, |inner, cx| inner.on_reload(news, cx));
    }

    fn on_timer(&mut self, tag: u64, cx: &mut Cx<'_>) {
        self.watch(cx, |inner, cx| inner.on_timer(tag, cx));
    }

    fn on_close(&mut self, kept: &mut Self::Conn, why: CloseReason, cx: &mut Cx<'_>) {
        let (id, now) = (cx.id(), cx.now());
        self.witness.with(|notes| {
            notes.ended += 1;
            let before = notes.conns.get_mut(&id.generation).map(|seen| seen.ended.replace((why, now)));
            if before != Some(None) {
                notes.wrong(|| format!("{id} ended {}, and was not open", why.name()));
            }
        });
        self.watch(cx, |inner, cx| inner.on_close(&mut kept.conn, why, cx));
    }

    fn on_panic(&mut self) -> AfterPanic {
        self.inner.on_panic()
    }
}
