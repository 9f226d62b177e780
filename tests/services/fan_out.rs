//! A fan-out: whatever a client sends to any route, every client that said HELLO gets, on all loops; the sender learns
//! whether it was taken. Each loop knows its own subscribers; `publish` reaches them all.

use bytes::Bytes;
use std::collections::BTreeSet;
use tidegate::service::{Cx, Frame, Message, Peer, Replied, Reply, Service, Welcomed};
use tidegate::wire::{Hello, Status};
use tidegate::{CloseReason, ConnId};

/// What messages are published on.
pub const TOPIC: &str = "all";

#[derive(Default)]
pub struct FanOut {
    subscribers: BTreeSet<ConnId>,
}

impl Service for FanOut {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn on_hello(&mut self, _conn: &mut (), _hello: &Hello<'_>, cx: &mut Cx<'_>) -> Welcomed {
        self.subscribers.insert(cx.id());
        Welcomed::Anonymous
    }

    fn on_frame(&mut self, _conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        match cx.publish(Bytes::copy_from_slice(frame.payload())) {
            Ok(()) => reply.send(b""),
            Err(full) => reply.fail(Status::OVERLOADED, &full.to_string()),
        }
    }

    fn on_publish(&mut self, body: &Bytes, cx: &mut Cx<'_>) {
        // Encoded once, shared by all who get it.
        let message = Message::new(TOPIC, body);
        for subscriber in &self.subscribers {
            if cx.message(*subscriber, &message).is_err() {
                // Too much is on its way already; it is counted.
                return;
            }
        }
    }

    fn on_close(&mut self, _conn: &mut (), _why: CloseReason, cx: &mut Cx<'_>) {
        self.subscribers.remove(&cx.id());
    }
}
