//! A seeded world around a loop: the same [`Turn`](crate::turn::Turn) and the same service as in production, over
//! pipes that split, stall, run full and break, with a clock that jumps.
//!
//! ```text
//!                 clients (script) --.                          .--> your Service
//!   Plan -> World --- other threads --+-> kernel, network (SimIo) --> Turn
//!             |         backends ----'                          `--- timers, deferral, effects
//!             `-> Report | Failure        what came, byte for byte, against your model of the service
//! ```
//!
//! A [`Plan`] is drawn from a seed, or made by hand; [`World::run`] plays it to its end. What a client gets is held
//! against a model that shares no code with the server: its own checksum and framing, and your closure that says
//! what the service answers. Besides: nobody waits for what nothing will bring, the loop never spins and never counts
//! on being called for nothing, its ledger balances after each turn, and at the end every buffer is back, and every
//! right to answer.
//!
//! Readiness is edge-triggered exactly as the kernel's: see [`SimIo`], which can also be driven by hand.
//!
//! Always holds: the same plan gives the same trace, to the last event, if the service takes time and chance from
//! its `Cx` alone. Never: a socket, a clock, a thread, the environment.
//!
//! # Your own service
//!
//! Three things are needed: the routes that requests are sent to, the service, and a model that says what must come
//! of each request. [`run_seeds`] runs as many worlds as you like. Clients then do all that the protocol allows, and
//! some of what it does not: they pipeline, give ids or deadlines, say HELLO, break off, read slowly or not at all,
//! while the server runs out of memory or descriptors, or drains.
//!
//! ```
//! use std::time::Duration;
//! use tidegate::service::{Cx, Frame, Later, Peer, Replied, Reply, Service};
//! use tidegate::sim::{Answer, Plan, World, run_seeds};
//!
//! /// Reverses payloads, some at a time: what came meanwhile is answered when the timer rings.
//! #[derive(Default)]
//! struct Reverser {
//!     waiting: Vec<(Later, Vec<u8>)>,
//! }
//!
//! impl Service for Reverser {
//!     type Conn = ();
//!
//!     fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}
//!
//!     fn on_frame(&mut self, _conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
//!         let (later, replied) = reply.defer();
//!         if let Ok(later) = later {
//!             if self.waiting.is_empty() {
//!                 cx.arm(Duration::from_millis(5), 0).expect("one timer at a time");
//!             }
//!             self.waiting.push((later, frame.payload().iter().rev().copied().collect()));
//!         }
//!         replied
//!     }
//!
//!     fn on_timer(&mut self, _tag: u64, cx: &mut Cx<'_>) {
//!         for (later, reversed) in self.waiting.drain(..) {
//!             cx.answer(later, &reversed);
//!         }
//!     }
//! }
//!
//! let world = |seed| {
//!     World::new(Plan::draw(seed, &[7]), Reverser::default, |request| {
//!         Answer::Reply(request.payload.iter().rev().copied().collect())
//!     })
//! };
//! if let Err(failure) = run_seeds(0..10, world) {
//!     panic!("{failure}"); // begins with its seed: run_seeds(seed..seed + 1, world) shows it again
//! }
//! ```
//!
//! - **State.** Requests of one client are started in the order in which the model is asked about them, so a model may
//!   keep state for each [client](Request::client); between clients there is no order. Where the answer depends on
//!   more, it is [one of several](Answer::OneOf).
//! - **Payloads** are noise of all sizes. For a service that parses them, [`Plan::payloads`] makes its own.
//! - **Other threads.** A service that hands its `Later`s to threads or tasks takes [`Threads`] in their place:
//!   [`World::with_threads`]. What it offloads gets there by itself.
//! - **Other servers.** What the service dials is hosted by the world: [`Plan::backends`]. They may refuse, ignore,
//!   reset, leave and garble.
//! - **Messages** to clients that said HELLO are looked at by [`World::check_messages`]. Which tokens the service lets
//!   in is told by [`Plan::tokens`].
//! - Everything else is in the [`Plan`]: change what your test is about, and [`Plan::calm`] is a world without weather.

mod backend;
mod calls;
mod checker;
mod client;
mod codec;
mod io;
mod model;
mod plan;
mod report;
mod script;
mod seeds;
mod socket;
mod threads;
mod trace;
mod verdict;
mod weather;
mod witness;
mod world;

pub use backend::Backend;
pub use io::{Remote, SimIo, SimStream, StreamEnd};
pub use model::{Answer, Request};
pub use plan::{Draft, DrainPlan, Plan};
pub use report::{Coverage, Failure, Report};
pub use seeds::run_seeds;
pub use socket::Capacity;
pub use threads::Threads;
pub use trace::Trace;
pub use weather::{Trouble, Troubles, Weather};
pub use world::World;

pub use crate::session::Framing;
pub use crate::turn::ListenerConfig;
