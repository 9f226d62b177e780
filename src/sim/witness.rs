//! A service that passes everything on to another one and notes when connections begin and end.

use crate::base::{CloseReason, Time};
use crate::service::{AfterPanic, Cx, Frame, Peer, Replied, Reply, Service};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What the service was told of connections, by the port that they came from.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) opened: HashMap<u16, u32>,
    pub(super) ended: HashMap<u16, (CloseReason, Time)>,
    /// `on_close` of something that was not open, or twice.
    pub(super) odd_ends: u32,
    /// `on_open` began and did not come back.
    pub(super) open_panics: u32,
    pub(super) rebuilds: u32,
}

/// Shared between the watched services of one world.
#[derive(Clone, Debug, Default)]
pub(super) struct Witness(Arc<Mutex<Notes>>);

impl Witness {
    pub(super) fn with<R>(&self, look: impl FnOnce(&mut Notes) -> R) -> R {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Debug)]
pub(super) struct Watched<S> {
    pub(super) inner: S,
    pub(super) witness: Witness,
}

impl<S: Service> Service for Watched<S> {
    type Conn = (u16, S::Conn);

    fn on_open(&mut self, peer: &Peer, cx: &mut Cx<'_>) -> Self::Conn {
        let port = peer.address.ip().map_or(0, |address| address.port());
        self.witness.with(|notes| notes.open_panics += 1);
        let conn = self.inner.on_open(peer, cx);
        self.witness.with(|notes| {
            notes.open_panics -= 1;
            *notes.opened.entry(port).or_default() += 1;
        });
        (port, conn)
    }

    fn on_frame(
        &mut self,
        conn: &mut Self::Conn,
        frame: Frame<'_>,
        reply: Reply<'_>,
        cx: &mut Cx<'_>,
    ) -> Replied {
        self.inner.on_frame(&mut conn.1, frame, reply, cx)
    }

    fn on_close(&mut self, conn: &mut Self::Conn, why: CloseReason, cx: &mut Cx<'_>) {
        self.witness.with(|notes| {
            let is_odd = notes.opened.get(&conn.0) != Some(&1)
                || notes.ended.insert(conn.0, (why, cx.now())).is_some();
            notes.odd_ends += u32::from(is_odd);
        });
        self.inner.on_close(&mut conn.1, why, cx);
    }

    fn on_panic(&mut self) -> AfterPanic {
        let after = self.inner.on_panic();
        self.witness.with(|notes| notes.rebuilds += u32::from(after == AfterPanic::Rebuild));
        after
    }
}
