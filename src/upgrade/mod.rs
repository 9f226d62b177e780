//! A hot restart: the next process adopts the listening sockets of this one, and only then this one drains.
//!
//! ```text
//!   old                                          new
//!   serves                                       connects to the upgrade socket
//!   offer, every listening socket      ---->     reads its configuration, makes its loops
//!                                      <----     ready; or it is gone, and the old one goes on
//!   go                                 ---->     begins: both take connections
//!                                      <----     serving
//!   taken; drains                      ---->     alone
//! ```
//!
//! The queues of connections that wait belong to the sockets and not to a process, so nobody is refused at any moment.
//! `phase` is what both sides may do when, `words` what they say, `old` and `new` the two sides.
//!
//! Always holds: at every moment at least one of the two serves, whichever of them dies; one handover at once; only a
//! process of the same user, or root's, is listened to. Never: a connection given away; the old process ends its own.

mod error;
mod new;
mod old;
mod phase;
mod words;

pub use error::UpgradeError;
pub use new::{Go, Newcomer, ask};
pub use old::{Extra, Offered, Offering, Options, Spawn, Wish};
pub use phase::{Event, Phase, Refusal};
