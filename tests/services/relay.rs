//! A relay: requests go on to one backend, and its replies come back to whoever asked.

use core::net::SocketAddr;
use std::time::Duration;
use tidegate::service::{Cx, Frame, Incoming, Origin, Peer, Replied, Reply, Service, Waiting};
use tidegate::wire::{Extension, Status};
use tidegate::{CloseReason, ConnId};

pub struct Relay {
    backend: SocketAddr,
    link: Option<ConnId>,
    waiting: Waiting,
    pause: Duration,
}

impl Relay {
    pub fn new(backend: SocketAddr) -> Relay {
        Relay { backend, link: None, waiting: Waiting::new(), pause: Duration::ZERO }
    }

    fn dial_later(&mut self, cx: &mut Cx<'_>) {
        cx.arm(self.pause, 0).expect("a relay has one timer");
        self.pause = (self.pause * 2).clamp(Duration::from_millis(10), Duration::from_secs(5));
    }
}

impl Service for Relay {
    type Conn = ();

    fn on_start(&mut self, cx: &mut Cx<'_>) {
        self.dial_later(cx);
    }

    fn on_timer(&mut self, tag: u64, cx: &mut Cx<'_>) {
        if cx.dial(self.backend, tag).is_err() {
            self.dial_later(cx);
        }
    }

    fn on_open(&mut self, peer: &Peer, cx: &mut Cx<'_>) {
        if let Origin::Dialed { .. } = peer.origin {
            self.link = Some(cx.id());
        }
    }

    fn on_frame(&mut self, _conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        let Some(link) = self.link else {
            return reply.fail_for(Status::UNAVAILABLE, "the backend is not there", 100);
        };
        let (later, replied) = reply.defer();
        if let Ok(later) = later {
            let trace = frame.extension().and_then(|asked| asked.trace);
            let deadline_ms = Some(later.time_left_ms(cx.now()));
            let correlation = Some(self.waiting.add(later, cx));
            let extension = Extension { correlation, deadline_ms, trace, ..Extension::default() };
            if cx.request(link, frame.route(), Some(&extension), frame.payload()).is_err() {
                self.waiting.fail(correlation, Status::OVERLOADED, "too much is to be sent", cx);
            }
        }
        replied
    }

    fn on_incoming(&mut self, _conn: &mut (), incoming: Incoming<'_>, cx: &mut Cx<'_>) {
        let Incoming::Reply(frame) = incoming else { return };
        self.pause = Duration::ZERO;
        if let Some(later) = self.waiting.take(frame.correlation()) {
            cx.pass_back(later, frame);
        }
    }

    fn on_close(&mut self, _conn: &mut (), why: CloseReason, cx: &mut Cx<'_>) {
        if self.link.take_if(|link| *link == cx.id()).is_none() {
            return;
        }
        let is_unsent = why == CloseReason::DialFailed;
        let status = if is_unsent { Status::UNAVAILABLE } else { Status::OUTCOME_UNKNOWN };
        self.waiting.fail_all(status, "the backend was lost", cx);
        self.dial_later(cx);
    }
}
