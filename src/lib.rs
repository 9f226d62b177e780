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
//! - [`Server`], [`Builder`](server::Builder): listeners, limits, start and end.
//! - [`Service`], [`Frame`], [`Reply`]: what a server does with a message.
//! - [`client`]: a small blocking client, for tests and tools.
//! - [`wire`]: the protocol, for clients and tools.
//! - [`turn`] and below: the engine, without sockets and clocks.

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
#[cfg(feature = "cli")]
pub mod conform;
pub mod mailbox;
pub mod metrics;
pub mod net;
pub mod server;
pub mod service;
pub mod session;
pub mod shard;
pub mod sim;
pub mod turn;
pub mod wire;

pub use base::{Address, CloseReason, ConnId, Fault};
pub use server::{Error, Server};
pub use service::{Cx, Frame, Origin, Peer, Replied, Reply, Segment, Service};
pub use wire::Status;

/// What starting and running a server gives.
pub type Result<T> = std::result::Result<T, Error>;

/// The README's code compiles.
#[cfg(all(doctest, feature = "signals"))]
#[doc = include_str!("../README.md")]
pub struct Readme;
