//! Control frames of a batch: greetings, heartbeats, and what a dialed server says.
//!
//! Which side may send what is the framing's to say.

use super::{Batch, Fact, Stop};
use crate::base::limits::PAYLOAD_BYTES_MAX;
use crate::base::{CloseReason, Text, Token};
use crate::mailbox::Happened;
use crate::metrics::{Counter, Timing};
use crate::service::{Incoming, Service, Welcomed};
use crate::session::{Greeting, Step};
use crate::turn::Io;
use crate::wire::control::code;
use crate::wire::{ClientId, Control, ControlFrame, Extension, Header, Hello, Status, Tlvs, Welcome};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The version of the protocol that this server speaks.
const VERSION: u8 = 1;

/// How this server calls itself.
const SERVER_ID: &str = "tidegate";

impl<S: Service, I: Io> Batch<'_, S, I> {
    /// On a listener that wants a HELLO, or users: whether the first message is something else, or its user is gone.
    #[cold]
    pub(super) fn check_first(&mut self, input: &[u8]) -> Option<Stop> {
        if self.listener.has_users {
            match self.recognise() {
                Ok(true) => return None,
                Ok(false) => {}
                Err(why) => return Some(Stop::Fault(why)),
            }
        }
        if self.greeting.is_some() {
            return None;
        }
        match self.framing.next(input, 0, self.shared.desk.outbox.crc()) {
            Step::Control { header, .. } if header.route_or_code() == code::HELLO => None,
            Step::NeedMore { .. } | Step::Fault(_) => None,
            Step::Message { .. } | Step::Control { .. } => Some(Stop::Fault(CloseReason::Unauthenticated)),
        }
    }

    /// A PONG: the answer to a heartbeat, or to nothing.
    pub(super) fn pong(&mut self, payload: &[u8]) {
        match self.greeting.as_mut().and_then(|peer| peer.pong(payload, self.shared.now)) {
            Some(rtt_us) => {
                self.shared.metrics.add(Counter::HeartbeatsAnswered, 1);
                self.shared.metrics.observe(Timing::RoundTrip, u64::from(rtt_us));
            }
            None => self.shared.metrics.add(Counter::UnaskedPongs, 1),
        }
    }

    /// A control frame. An error ends the connection.
    #[inline(never)]
    pub(super) fn control(&mut self, header: Header, payload: &[u8]) -> Result<(), CloseReason> {
        let frame = self.framing.control(header, payload)?;
        match frame.control {
            Control::Hello(hello) => return self.hello(&hello, frame.extension.as_ref()),
            Control::Subscribe(_) | Control::Unsubscribe(_) | Control::Publish { .. } => {
                self.unsupported(frame.header(), frame.extension.as_ref());
            }
            Control::Welcome(welcome) => self.incoming(Incoming::Welcome(welcome)),
            Control::Error { status, text } => self.incoming(Incoming::Error { status, text }),
            Control::GoAway { status, reconnect_after_ms, text } => {
                self.incoming(Incoming::GoAway { status, reconnect_after_ms, text });
            }
            Control::Message { topic, body } => self.incoming(Incoming::Message { topic, body }),
            Control::Ack { payload } => {
                let extension = frame.extension.unwrap_or_default();
                self.incoming(Incoming::Ack { extension, payload });
            }
            Control::Missed { count, pattern } => self.incoming(Incoming::Missed { count, pattern }),
            Control::Notice { status, header: _, text } => self.incoming(Incoming::Notice { status, text }),
            Control::Ping(payload) => self.shared.desk.outbox.control(&Control::Pong(payload)),
            Control::Pong(payload) => self.pong(payload),
        }
        Ok(())
    }

    fn hello(&mut self, hello: &Hello<'_>, extension: Option<&Extension<'_>>) -> Result<(), CloseReason> {
        if !self.state.has(Fact::Fresh) || self.counts.frames > 0 || self.greeting.is_some() {
            return Err(CloseReason::LateHello);
        }
        let is_understood = extension.is_none_or(|extension| extension.unsupported.is_none());
        if hello.version < VERSION || hello.tlvs.critical().is_some() || !is_understood {
            return Err(CloseReason::NoCommonVersion);
        }
        if self.listener.has_users {
            self.identify(hello)?;
        }
        let id = self.id;
        // Caught here, since whoever could not be judged is not let in, nor anything behind its greeting.
        let welcomed = catch_unwind(AssertUnwindSafe(|| {
            self.service.on_hello(self.conn, hello, &mut self.shared.cx(id))
        }));
        let Ok(welcomed) = welcomed else {
            self.counts.panics += 1;
            self.shared.desk.refusal = Some("the service failed at this greeting".into());
            return Err(CloseReason::Panicked);
        };
        let client_id = match welcomed {
            Welcomed::Anonymous => made_up(Text::of(format_args!("c-{id}"))),
            Welcomed::As(client_id) => client_id,
            Welcomed::Refused(text) => {
                self.shared.desk.refusal = Some(text);
                return Err(CloseReason::Unauthenticated);
            }
        };
        let max_receive = hello.max_receive().unwrap_or(PAYLOAD_BYTES_MAX);
        *self.greeting = Some(Box::new(Greeting::new(client_id, hello.flags, max_receive)));
        self.shared.desk.outbox.set_peers_max(max_receive);
        self.shared.desk.outbox.control(&Control::Welcome(Welcome {
            version: VERSION,
            flags: 0,
            max_payload: self.framing.payload_max,
            heartbeat_ms: self.shared.heartbeat_ms,
            server_id: SERVER_ID,
            client_id: client_id.as_str(),
            tlvs: Tlvs::default(),
        }));
        self.framing = self.framing.welcomed();
        self.shared.metrics.add(Counter::Welcomed, 1);
        let token = Token { generation: id.generation, slot: id.slot };
        self.shared.note(token, Happened::Welcomed, 0);
        if self.state.has(Fact::Draining) {
            // It came too late to be told with the others.
            let (status, (_, text)) = (Status::DRAINING, self.shared.why_draining());
            self.shared.desk.outbox.control(&Control::GoAway { status, reconnect_after_ms: 0, text });
            self.state.set_to(Fact::Leaving, true);
        }
        Ok(())
    }

    /// Topics: this server has none yet.
    fn unsupported(&mut self, header: Header, extension: Option<&Extension<'_>>) {
        let status = Status::UNSUPPORTED;
        match extension.and_then(|extension| extension.correlation) {
            Some(correlation) => {
                let extension = Extension { status, correlation: Some(correlation), ..Extension::default() };
                let control = Control::Ack { payload: b"" };
                self.shared.desk.outbox.control_frame(&ControlFrame { control, extension: Some(extension) });
            }
            None => self.shared.desk.outbox.refuse_unheard(status, header),
        }
    }
}

/// The id of a peer that has none of its own: that of its connection, which is unique while it lasts.
fn made_up(text: Text) -> ClientId {
    ClientId::parse(text.as_str()).expect("digits and dashes, and fewer than 64")
}
