//! What a server does with messages: the trait that users implement, and the services that come built in.
//!
//! A server is generic over one [`Service`]; routing is something that a service does ([`Router`]). One service value
//! lives in each loop, so it needs no lock; one `Conn` lives in each connection's slot.
//!
//! Always holds: a request has exactly one outcome. The compiler checks it: `on_frame` must return a [`Replied`],
//! and only consuming its [`Reply`] makes one.
//! What a handler wants of other connections, other loops and later moments it asks of its [`Cx`]; what it can't answer
//! at once it [defers](Reply::defer) or [offloads](Reply::offload).
//! Never: a socket, a clock, a thread. A handler that takes time and chance from [`Cx`] alone can be replayed.

mod builtin;
mod cx;
mod desk;
mod effects;
mod frame;
mod function;
mod later;
mod reply;
mod router;
mod waiting;
mod workers;

pub use crate::session::{Part, Segment};
pub use builtin::BuiltIn;
pub use cx::{Cx, Message};
pub(crate) use desk::Desk;
pub use effects::EffectsFull;
pub(crate) use effects::{Effect, Effects};
pub use frame::Frame;
pub use function::FnService;
pub use later::{Later, Overloaded};
pub use reply::{Replied, Reply};
pub use router::{RouteError, Router};
pub use waiting::Waiting;
pub use workers::{Job, NoWorkers, Outcome, Workers};

use crate::base::{Address, CloseReason};
use crate::wire::{ClientId, Extension, Hello, Status, Welcome};
use bytes::Bytes;
use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;

/// A server's behaviour.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a service",
    label = "does not implement `tidegate::Service`",
    note = "implement `tidegate::Service` for it, which takes `on_open` and `on_frame`",
    note = "one function of a frame and its reply is served by `Builder::serve_fn` and `Builder::start_fn`"
)]
pub trait Service {
    /// What it keeps for each connection; lies inside the connection's slot, `()` for nothing.
    type Conn;

    /// The loop begins, or goes on with this service after a [panic](Service::on_panic): the moment to
    /// [dial](Cx::dial), or to [arm](Cx::arm) the first timer. It is a part of making the service: if it panics, there
    /// is none, and the loop ends.
    fn on_start(&mut self, cx: &mut Cx<'_>) {
        let _ = cx;
    }

    /// A connection was accepted, or is being dialed: [`Peer::origin`] tells which.
    fn on_open(&mut self, peer: &Peer, cx: &mut Cx<'_>) -> Self::Conn;

    /// A whole, verified message came. It must be answered, refused, deferred or passed over in silence, here and now.
    ///
    /// Runs in the event loop: every other connection of the loop waits for as long as it takes.
    fn on_frame(
        &mut self,
        conn: &mut Self::Conn,
        frame: Frame<'_>,
        reply: Reply<'_>,
        cx: &mut Cx<'_>,
    ) -> Replied;

    /// Whether nobody waits for a reply on this route. What the server refuses there before `on_frame` sees it (in a
    /// drain, after a deadline, for an unknown flag), or answers for after a panic, is then counted instead of sent,
    /// unless the request has a correlation.
    ///
    /// The default says that all routes are answered. A route that always ends in [`Reply::none`] should say so.
    fn is_one_way(&self, route: u16) -> bool {
        let _ = route;
        false
    }

    /// A peer said HELLO: who is it? Its requests wait until this returns.
    ///
    /// The default lets everybody in, under an id that the server makes up.
    fn on_hello(&mut self, conn: &mut Self::Conn, hello: &Hello<'_>, cx: &mut Cx<'_>) -> Welcomed {
        let _ = (conn, hello, cx);
        Welcomed::Anonymous
    }

    /// Something came from a connection that this service [dialed](Cx::dial).
    fn on_incoming(&mut self, conn: &mut Self::Conn, incoming: Incoming<'_>, cx: &mut Cx<'_>) {
        let _ = (conn, incoming, cx);
    }

    /// A service somewhere in this server [published](Cx::publish) these bytes.
    fn on_publish(&mut self, bytes: &Bytes, cx: &mut Cx<'_>) {
        let _ = (bytes, cx);
    }

    /// The server was [given](crate::Change::news) something new for its services. A service that is made anew after a
    /// [panic](Service::on_panic) is told the latest again.
    fn on_reload(&mut self, news: &(dyn Any + Send + Sync), cx: &mut Cx<'_>) {
        let _ = (news, cx);
    }

    /// A timer that was [armed](Cx::arm) with this tag.
    fn on_timer(&mut self, tag: u64, cx: &mut Cx<'_>) {
        let _ = (tag, cx);
    }

    /// A connection ended. Called once for each `on_open`. Requests of it that were deferred are over; their answers
    /// will be dropped.
    fn on_close(&mut self, conn: &mut Self::Conn, why: CloseReason, cx: &mut Cx<'_>) {
        let _ = (conn, why, cx);
    }

    /// A callback panicked, and what it was changing may be torn. The request in hand was answered INTERNAL, unless
    /// its handler had answered it before.
    ///
    /// The default keeps the service, which is right if it holds nothing that a callback changes in steps.
    fn on_panic(&mut self) -> AfterPanic {
        AfterPanic::Keep
    }
}

/// What becomes of a service that panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterPanic {
    /// Go on with it.
    Keep,
    /// Make a new one with the server's factory, and close this loop's connections, whose state belonged to the old.
    Rebuild,
}

/// Where a connection comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address; IPv4 peers of an IPv6 listener are told as IPv4.
    pub address: Address,
    /// The proxy that passed it on, if the listener trusts it; then the address is the one that it named, if it named any.
    pub proxied_by: Option<Address>,
    /// Whether it speaks TLS.
    pub is_secure: bool,
    /// The name in the certificate that it showed: the first of its alternative names that is a name of DNS, a URI or an
    /// e-mail address, else its common name. On a listener with users [`Cx::user`] says who that is.
    pub certificate: Option<Arc<str>>,
    /// Who began.
    pub origin: Origin,
}

/// Who began a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The peer did: it is a client.
    Accepted {
        /// Which listener took it, by its place in the server's list.
        listener: u8,
    },
    /// This server did: the peer is a server.
    Dialed {
        /// What [`Cx::dial`] was told.
        tag: u64,
    },
}

/// What becomes of a peer that said HELLO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Welcomed {
    /// It is let in, under an id that the server makes up.
    Anonymous,
    /// It is let in under this id.
    As(ClientId),
    /// It is told UNAUTHENTICATED with this text, and its connection ends.
    Refused(Cow<'static, str>),
}

/// What a server that we dialed says.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Incoming<'a> {
    /// A reply: to the oldest open request, or, if it [has a correlation](Frame::extension), to that one.
    Reply(Frame<'a>),
    /// The oldest open request failed.
    Error {
        /// Why.
        status: Status,
        /// For a human.
        text: &'a str,
    },
    /// It will close: nothing new should be sent to it.
    GoAway {
        /// Why.
        status: Status,
        /// How long to wait before connecting again, in milliseconds.
        reconnect_after_ms: u32,
        /// For a human.
        text: &'a str,
    },
    /// It answers our HELLO.
    Welcome(Welcome<'a>),
    /// Something was published that we subscribed to.
    Message {
        /// Where.
        topic: &'a str,
        /// What.
        body: &'a [u8],
    },
    /// The outcome of a control frame that we sent with a correlation.
    Ack {
        /// Its correlation, and the status.
        extension: Extension<'a>,
        /// What belongs to it.
        payload: &'a [u8],
    },
    /// So many messages were dropped, since we took them too slowly.
    Missed {
        /// How many.
        count: u64,
        /// Of which subscription.
        pattern: &'a str,
    },
    /// Something that we sent without wanting a reply was refused.
    Notice {
        /// Why.
        status: Status,
        /// For a human.
        text: &'a str,
    },
}
