//! What a server does with messages: the trait that users implement, and the services that come built in.
//!
//! A server is generic over one [`Service`]; routing is something that a service does ([`Router`]). One service value
//! lives in each loop, so it needs no lock; one `Conn` lives in each connection's slot.
//!
//! Always holds: a request has exactly one outcome. The compiler checks it: `on_frame` must return a [`Replied`],
//! and only consuming its [`Reply`] makes one.
//! Never: a socket, a clock, a thread. A handler that takes time and chance from [`Cx`] alone can be replayed.

mod builtin;
mod frame;
mod function;
mod reply;
mod router;

pub use crate::session::{Part, Segment};
pub use builtin::BuiltIn;
pub use frame::Frame;
pub use function::FnService;
pub use reply::{Replied, Reply};
pub use router::{RouteError, Router};

use crate::base::{Address, CloseReason, ConnId, Rng, Time};

/// A server's behaviour.
pub trait Service {
    /// What it keeps for each connection; lies inside the connection's slot, `()` for nothing.
    type Conn;

    /// A connection was accepted.
    fn on_open(&mut self, peer: &Peer, cx: &mut Cx<'_>) -> Self::Conn;

    /// A whole, verified message came. It must be answered, refused or passed over in silence, here and now.
    ///
    /// Runs in the event loop: every other connection of the loop waits for as long as it takes.
    fn on_frame(
        &mut self,
        conn: &mut Self::Conn,
        frame: Frame<'_>,
        reply: Reply<'_>,
        cx: &mut Cx<'_>,
    ) -> Replied;

    /// A connection ended. Called once for each `on_open`.
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

/// Who a connection is with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address; IPv4 peers of an IPv6 listener are told as IPv4.
    pub address: Address,
    /// How it came to be.
    pub origin: Origin,
}

/// How a connection came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The peer connected to us.
    Accepted {
        /// Which listener took it, by its place in the server's list.
        listener: u8,
    },
    /// We connected to the peer.
    Dialed {
        /// What the dialer calls it.
        tag: u64,
    },
}

/// What a callback may know of the world: the moment, chance, and whose connection it is.
#[derive(Debug)]
pub struct Cx<'a> {
    pub(crate) now: Time,
    pub(crate) id: ConnId,
    pub(crate) rng: &'a mut Rng,
}

impl Cx<'_> {
    /// The moment of this turn of the loop.
    pub const fn now(&self) -> Time {
        self.now
    }

    /// The connection.
    pub const fn id(&self) -> ConnId {
        self.id
    }

    /// Chance that a simulation can replay. Not for secrets.
    pub const fn rng(&mut self) -> &mut Rng {
        self.rng
    }
}
