//! What every other module may know: limits, fault classes, ids, addresses, networks, time, units, a seeded
//! generator.
//!
//! Always holds: nothing here depends on another module of this crate, and nothing here has an effect.
//! Never: sockets, clocks, the environment. Time is a value that somebody above hands in.

pub mod address;
pub mod close;
pub mod fault;
pub mod id;
pub mod limits;
pub mod network;
#[doc(hidden)]
pub mod planted;
pub mod rng;
pub mod text;
pub mod time;
pub mod u48;
pub mod units;

pub use address::Address;
pub use close::CloseReason;
pub use fault::Fault;
pub use id::{ConnId, Token};
pub use network::Network;
pub use rng::Rng;
pub use text::Text;
pub use time::{Ms, Time};
pub use u48::U48;
