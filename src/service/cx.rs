//! What a callback may know of the world, and what it may ask of it.

use super::effects::{Effect, Effects, EffectsFull};
use super::{Frame, Later};
use crate::base::{ConnId, Rng, Time};
use crate::identity::User;
use crate::mailbox::{Mailbox, Ticket, Whom};
use crate::wire::{Control, Crc, Extension, Status, Trace};
use bytes::Bytes;
use core::net::SocketAddr;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// What a callback may know of the world: the moment, chance, and whose connection it is. And what it may ask of it:
/// effects on other connections, other loops, and later moments.
///
/// Effects are carried out in their order once the callback's batch is over. One that can't be listed any more is
/// refused with [`EffectsFull`], and counted.
pub struct Cx<'a> {
    pub(crate) now: Time,
    pub(crate) id: ConnId,
    pub(crate) rng: &'a mut Rng,
    pub(crate) effects: &'a mut Effects,
    pub(crate) mailbox: &'a Arc<Mailbox>,
}

impl std::fmt::Debug for Cx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cx").field("now", &self.now).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Cx<'_> {
    /// The moment of this turn of the loop.
    pub const fn now(&self) -> Time {
        self.now
    }

    /// The connection. In `on_start`, `on_timer` and `on_publish`, which belong to none, it names nobody.
    pub const fn id(&self) -> ConnId {
        self.id
    }

    /// Who the connection's peer has proved to be, on a listener with users; `None` elsewhere, and for a connection that
    /// this server dialed. It may change while the connection lasts: users can be
    /// [replaced](crate::server::Handle::set_users).
    pub fn user(&self) -> Option<&User> {
        if self.id.generation == 0 { None } else { self.effects.people.user(self.id.slot) }
    }

    /// Where what this request causes belongs in its trace: to be passed on with it, in the extension block of a
    /// [request](Cx::request) or in whatever another protocol has for it. Of a request that is recorded that is its own span;
    /// of others, what they brought, unchanged; `None` if they brought nothing.
    ///
    /// ```
    /// use tidegate::wire::Extension;
    /// use tidegate::{ConnId, Cx, Frame};
    ///
    /// fn pass_on(frame: Frame<'_>, server: ConnId, cx: &mut Cx<'_>) {
    ///     let block = Extension { correlation: Some(7), trace: cx.trace(&frame), ..Extension::default() };
    ///     let _ = cx.request(server, frame.route(), Some(&block), frame.payload());
    /// }
    /// ```
    pub fn trace(&self, frame: &Frame<'_>) -> Option<Trace> {
        self.effects.trace.or_else(|| frame.extension()?.trace.filter(Trace::is_valid))
    }

    /// Chance that a simulation can replay. Not for secrets.
    pub const fn rng(&mut self) -> &mut Rng {
        self.rng
    }

    /// Sends a request to a connection that was [dialed](Cx::dial). Its reply comes to `on_incoming`, in the order
    /// of the requests, or, with a correlation in the extension, when it is ready. What waits for
    /// a server that takes it slowly is bounded, and more is refused; one of another loop is ended as a slow consumer.
    ///
    /// The route is `0..=16383`. A larger one is a mistake of the caller: debug builds panic, release builds cut it to 14
    /// bits.
    ///
    /// # Errors
    ///
    /// [`EffectsFull`], [`Server`](EffectsFull::Server) among others; nothing is sent.
    pub fn request(
        &mut self,
        to: ConnId,
        route: u16,
        extension: Option<&Extension<'_>>,
        payload: &[u8],
    ) -> Result<(), EffectsFull> {
        self.effects.send_request(to, route, extension, payload)
    }

    /// Sends a control frame to a connection that was [dialed](Cx::dial): HELLO, PING.
    ///
    /// # Errors
    ///
    /// [`EffectsFull`]; nothing is sent.
    pub fn control(&mut self, to: ConnId, control: &Control<'_>) -> Result<(), EffectsFull> {
        self.effects.send_control(to, control)
    }

    /// Sends a message to a connection that said HELLO, on whichever loop it is. Who takes messages more slowly than
    /// they come is ended as a slow consumer; others, and who sends, are not disturbed.
    ///
    /// # Errors
    ///
    /// [`EffectsFull`]; nothing is sent.
    pub fn message(&mut self, to: ConnId, message: &Message) -> Result<(), EffectsFull> {
        self.effects.push(Effect::Share { to, whom: Whom::Greeted, bytes: message.0.clone() })
    }

    /// Hands these bytes to `on_publish` of every loop's service, this one's too. At most once: a loop whose mailbox
    /// is full does not get them, which is counted.
    ///
    /// # Errors
    ///
    /// [`EffectsFull`]; nobody gets them.
    pub fn publish(&mut self, bytes: impl Into<Bytes>) -> Result<(), EffectsFull> {
        self.effects.push(Effect::Publish(bytes.into()))
    }

    /// Connects to another server. `on_open` is called with this tag and the new connection's id, before it is known
    /// whether somebody is there; what is sent to it waits. If nobody is, `on_close` says
    /// [`DialFailed`](crate::base::CloseReason::DialFailed).
    ///
    /// # Errors
    ///
    /// [`EffectsFull`]; nothing is dialed.
    pub fn dial(&mut self, to: SocketAddr, tag: u64) -> Result<(), EffectsFull> {
        self.effects.push(Effect::Dial { to, tag })
    }

    /// Ends a connection in order: what is due to it leaves, and the status and the text are its last words.
    ///
    /// # Errors
    ///
    /// [`EffectsFull`]; it goes on.
    pub fn close(
        &mut self,
        id: ConnId,
        status: Status,
        text: impl Into<Cow<'static, str>>,
    ) -> Result<(), EffectsFull> {
        self.effects.push(Effect::Close { id, status, text: text.into() })
    }

    /// Calls `on_timer` with this tag, once, after this long; in the order of the moments. There is no disarming:
    /// let the tag say what was meant, and pass over what is over. Never early; late by about a millisecond, and by what
    /// the loop has in hand.
    ///
    /// # Errors
    ///
    /// [`EffectsFull`]; it will not be called.
    pub fn arm(&mut self, after: Duration, tag: u64) -> Result<(), EffectsFull> {
        let us = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.effects.arm(self.now.plus_us(us), tag)
    }

    /// Answers a deferred request. One of this loop needs no mailbox.
    pub fn answer(&mut self, later: Later, payload: &[u8]) {
        match self.redeem(later, payload.len()) {
            Ok(ticket) => {
                let listed = self.effects.answer(ticket, payload);
                debug_assert_eq!(listed, Ok(()), "room was made sure of");
            }
            Err(other) => other.send(payload),
        }
    }

    /// Refuses a deferred request. One of this loop needs no mailbox.
    pub fn fail(&mut self, later: Later, status: Status, text: impl Into<Cow<'static, str>>) {
        match self.redeem(later, 0) {
            Ok(ticket) => {
                let listed = self.effects.push(Effect::Fail { ticket, status, text: text.into() });
                debug_assert_eq!(listed, Ok(()), "room was made sure of");
            }
            Err(other) => other.fail(status, text),
        }
    }

    /// Ends a deferred request as a [dialed](Cx::dial) server has ended it: with the payload of its reply, or with its
    /// failure. DRAINING is about that server and becomes UNAVAILABLE, which promises as much.
    pub fn pass_back(&mut self, later: Later, reply: Frame<'_>) {
        match reply.extension().map_or(Status::OK, |said| said.status) {
            Status::OK => self.answer(later, reply.payload()),
            Status::DRAINING => {
                self.fail(later, Status::UNAVAILABLE, "the server that it was passed on to leaves");
            }
            status => self.fail(later, status, String::from_utf8_lossy(reply.payload()).into_owned()),
        }
    }

    /// Takes an answer of this loop, if the list has room for it; else the mailbox, which always has, carries it.
    fn redeem(&mut self, later: Later, bytes: usize) -> Result<Ticket, Later> {
        if self.effects.has_room(bytes) { later.redeem(self.mailbox) } else { Err(later) }
    }
}

/// A message for many: encoded once, shared by all who get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message(pub(crate) Bytes);

impl Message {
    /// A message on a topic (at most 200 bytes).
    ///
    /// # Panics
    ///
    /// If the topic is longer, or the body has 4 GiB or more.
    pub fn new(topic: &str, body: &[u8]) -> Message {
        let mut frame = Vec::new();
        Control::Message { topic, body }.encode(&mut frame, &Crc::new());
        Message(frame.into())
    }

    /// The whole frame.
    pub(crate) const fn frame(&self) -> &Bytes {
        &self.0
    }

    /// Bytes of the whole frame.
    pub fn frame_bytes(&self) -> usize {
        self.0.len()
    }
}
