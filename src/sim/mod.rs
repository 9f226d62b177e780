//! A seeded world around a loop: the same [`Turn`](crate::turn::Turn) and the same service as in production, over
//! pipes that split, stall, run full and break, with a clock that jumps.
//!
//! ```text
//!   Plan -> World -- clients (script) --> kernel and network (SimIo) --> Turn --> your Service
//!             |         ^------------------------'
//!             `-> Report | Failure        what came, byte for byte, against your model of the service
//! ```
//!
//! A [`Plan`] is drawn from a seed, or made by hand; [`World::run`] plays it to its end. What a client gets is held
//! against a model that shares no code with the server: its own checksum and framing, and your closure that says
//! what the service answers. Besides: nobody waits for what nothing will bring, the loop never spins, its ledger
//! balances after each turn, and at the end every buffer is back.
//!
//! Readiness is edge-triggered exactly as the kernel's: see [`SimIo`], which can also be driven by hand.
//!
//! Always holds: the same plan gives the same trace, to the last event, if the service takes time and chance from
//! its `Cx` alone. Never: a socket, a clock, a thread, the environment.
//!
//! ```
//! use tidegate::service::{BuiltIn, FnService};
//! use tidegate::sim::{Answer, Plan, World};
//!
//! for seed in 0..3 {
//!     let plan = Plan::draw(seed, &[7]);
//!     let service = || FnService(|frame: tidegate::service::Frame<'_>, reply: tidegate::service::Reply<'_>| {
//!         BuiltIn::Echo.handle(frame, reply)
//!     });
//!     let world = World::new(plan, service, |request| Answer::Reply(request.payload.to_vec()));
//!     if let Err(failure) = world.run() {
//!         panic!("{failure}");
//!     }
//! }
//! ```

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
pub use plan::{DrainPlan, Plan};
pub use report::{Coverage, Failure, Report};
pub use socket::Capacity;
pub use threads::Threads;
pub use trace::Trace;
pub use weather::{Trouble, Troubles, Weather};
pub use world::World;
