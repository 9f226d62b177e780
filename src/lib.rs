//! tidegate: a low-latency TCP message server, as a library.
//!
//! A server of your own is one function of a frame and its reply:
//!
//! ```no_run
//! # #[cfg(feature = "signals")]
//! fn main() -> tidegate::Result<()> {
//!     tidegate::Server::builder()
//!         .listen("127.0.0.1:8080")?
//!         .serve_fn(|_frame, reply| reply.send("已接收".as_bytes()))
//! }
//! # #[cfg(not(feature = "signals"))]
//! # fn main() {}
//! ```
//!
//! It frames and checks every message, bounds every buffer, answers in order, pauses peers that don't read, ends
//! those that break the protocol, and on SIGTERM drains without losing what it has received.
//!
//! | to | see |
//! |---|---|
//! | set up, start and end a server | [`Server`], [`Builder`], [`Listener`], [`Limits`], [`server`] |
//! | say what it does with a message | [`Service`], [`Frame`], [`Reply`], [`Later`], [`Cx`], [`service`] |
//! | look at one that runs | [`Handle`], [`metrics`], [`CloseReason`] |
//! | test a service | [`sim`] |
//! | ask a server something, from a test or a tool | [`client`] |
//! | record requests as spans of distributed traces | [`trace`], [`Builder::tracing`], [`Cx::trace`] |
//! | let in users only, each to its routes | [`identity`] |
//! | write a client or a tool of another kind | [`wire`] |
//!
//! `docs/GUIDE.md` is an hour's walk through all of it. [`buffer`], [`mailbox`], [`net`], [`session`], [`shard`] and
//! [`turn`] are the engine: public for tests and tools, and free to change in any minor version.
//!
//! # Features
//!
//! - `signals`: `Builder::serve` and `server::drain_on_signals`, which take SIGINT and SIGTERM.
//! - `pin`: [`Builder::pin`], on Linux.
//! - `admin`: [`control`], the admin port: figures, health, and why connections were closed; and traces on their way out.
//! - `accounts`: [`server::Account`] by name, for unix sockets that are another user's or group's.
//! - `config`: [`config`], the program's configuration as a value.
//! - `load`: [`load`], the load generator.
//! - `profiling`: CPU profiles at the admin port, on Linux with glibc.
//! - `upgrade`: [`upgrade`], a hot restart: the next process gets the listening sockets of this one.
//! - `cli` (the default): the `tidegate` program, and all of the above.
//!
//! Without features it brings in thirteen crates and those that they need, and is all there but for these.

#[cfg(panic = "abort")]
compile_error!(
    "tidegate catches panics of handlers, one connection at a time: build it with panic = \"unwind\""
);

pub mod base;
pub mod buffer;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod client;
#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "cli")]
pub mod conform;
#[cfg(feature = "admin")]
pub mod control;
pub mod identity;
#[cfg(feature = "load")]
pub mod load;
pub mod mailbox;
pub mod metrics;
pub mod net;
pub mod server;
pub mod service;
pub mod session;
pub mod shard;
pub mod sim;
#[cfg(feature = "tls")]
pub mod tls;
pub mod trace;
pub mod turn;
#[cfg(feature = "upgrade")]
pub mod upgrade;
pub mod wire;

pub use base::limits::{Limits, WhenOver};
pub use base::{Address, CloseReason, ConnId, Fault};
pub use identity::{User, Users};
pub use server::{Builder, Change, Error, Handle, Listener, Running, Server};
pub use service::{
    BuiltIn, Cx, Frame, Incoming, Later, Message, Origin, Peer, Replied, Reply, Router, Segment, Service,
    Welcomed,
};
pub use wire::Status;

/// What starting and running a server gives.
pub type Result<T> = std::result::Result<T, Error>;

/// The README's code compiles.
#[cfg(all(doctest, feature = "signals"))]
#[doc = include_str!("../README.md")]
pub struct Readme;

/// The page's code compiles and runs.
#[cfg(all(doctest, feature = "signals"))]
#[doc = include_str!("../docs/IDENTITY.md")]
pub struct Identity;

/// The page's code compiles.
#[cfg(all(doctest, feature = "signals"))]
#[doc = include_str!("../docs/TRACING.md")]
pub struct Tracing;

/// The guide's code compiles and runs.
#[cfg(all(doctest, feature = "signals"))]
#[doc = include_str!("../docs/GUIDE.md")]
pub struct Guide;
