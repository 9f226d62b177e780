//! Where bytes wait: rings, out-queues, and the pool that pays for both out of one budget.
//!
//! A connection that is up to date holds nothing here: input is parsed where it was read, replies leave at once.
//! Only what a stopped batch, a partial frame or a slow peer leaves behind is kept, in a [`Lease`] from the [`Pool`].
//!
//! Always holds:
//! 1. Every buffer is charged to the budget before it exists; leased and retained bytes never exceed it.
//! 2. Bytes leave in the order in which they came, each once.
//! 3. What can't be taken is refused by a value, and leaves everything as it was.
//!
//! Never: sockets, clocks, frames, a buffer that grows in place, an allocation while traffic is steady.

pub mod pool;
pub mod queue;
pub mod ring;
mod storage;

pub use pool::{LEASE_BYTES_MAX, Lease, Pool, Side, Spares, parts_of};
pub use queue::{OutQueue, QueueError};
pub use ring::Ring;
