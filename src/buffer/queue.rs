//! What one connection's socket has not taken yet: copied bytes in a ring and shared bytes, in order, bounded.
//!
//! ```text
//!  ring      |==== 300 ====|=========== 1200 ===========|........ free ........|     one lease, or none
//!                 |                      |
//!  pieces    [ Ring 300 ]  [ Shared ]  [ Ring 1200 ]  [ Shared ]  <- push_bytes, push_shared
//!  consume <-                  |                         |
//!                           Bytes, counted             Bytes
//! ```
//!
//! Invariants (`check()` asserts them after every `&mut self` call, debug only; long queues are not recounted):
//! 1. `queued_bytes` is the sum of all pieces, and the ring holds exactly the sum of its own.
//! 2. No piece is empty, and no two ring pieces are neighbours.
//! 3. Bytes leave in the order in which they were pushed; a push that fails has changed nothing.
//! 4. A queue without ring pieces holds no lease, so an idle connection costs no buffer.
//! 5. An empty queue has no unsent replies.
//!
//! Never: a socket, a byte accepted over the limit, an allocation while the queue is short.

use super::pool::{Pool, Side};
use super::ring::Ring;
use crate::base::Fault;
use crate::base::limits::SLICES_PER_WRITE;
use crate::base::planted::{Bug, is_planted};
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::IoSlice;

/// The bounded out-queue of one connection.
///
/// Whoever drops it calls [`clear`](OutQueue::clear) first: its lease is the pool's.
#[derive(Debug, Default)]
pub struct OutQueue {
    pieces: VecDeque<Piece>,
    ring: Option<Ring>,
    queued_bytes: u32,
    replies: u32,
}

impl OutQueue {
    /// An empty queue: no lease, no allocation.
    pub const fn new() -> OutQueue {
        OutQueue { pieces: VecDeque::new(), ring: None, queued_bytes: 0, replies: 0 }
    }

    /// Bytes that wait, copied and shared together.
    pub fn queued_bytes(&self) -> u32 {
        self.queued_bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queued_bytes == 0
    }

    /// Bytes of the lease that this queue holds, 0 if it holds none: what it costs the output budget.
    pub fn leased_bytes(&self) -> usize {
        self.ring.as_ref().map_or(0, Ring::capacity)
    }

    /// Appends a copy of `bytes`. A ring that is too small is swapped for one of a larger class.
    ///
    /// # Errors
    ///
    /// All or nothing: the queue is as before.
    /// - [`QueueError::Full`] when more than `limit_bytes` would wait.
    /// - [`QueueError::NoMemory`] when the pool has no lease for the ring; while it is swapped, both count.
    pub fn push_bytes(&mut self, pool: &mut Pool, bytes: &[u8], limit_bytes: u32) -> Result<(), QueueError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let more_bytes = self.admit(bytes.len(), limit_bytes)?;
        let ring = ring_with_room(&mut self.ring, pool, bytes.len())?;
        let pushed = ring.push(bytes);
        debug_assert_eq!(pushed, bytes.len(), "the ring was made large enough");
        if let Some(Piece::Ring(last)) = self.pieces.back_mut() {
            *last += more_bytes;
        } else {
            self.pieces.push_back(Piece::Ring(more_bytes));
        }
        self.queued_bytes += more_bytes;
        self.check();
        Ok(())
    }

    /// Whether the pool has memory for a copy of so many bytes more. A ring that is too small moves to a larger one, so
    /// what waits already counts as well.
    pub fn has_memory(&self, pool: &Pool, more: usize) -> bool {
        let (len, free) = self.ring.as_ref().map_or((0, 0), |ring| (ring.len(), ring.free()));
        more <= free || pool.can_lease(Side::Output, len + more)
    }

    /// Appends shared bytes without copying them. A piece costs a slice of a write and 32 bytes here that no budget
    /// sees, so copy what is short.
    ///
    /// # Errors
    ///
    /// [`QueueError::Full`] when more than `limit_bytes` would wait, or when 16,384 pieces do; the queue is as
    /// before.
    pub fn push_shared(&mut self, bytes: Bytes, limit_bytes: u32) -> Result<(), QueueError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let more_bytes = self.admit(bytes.len(), limit_bytes)?;
        self.pieces.push_back(Piece::Shared(bytes));
        self.queued_bytes += more_bytes;
        self.check();
        Ok(())
    }

    /// All that waits, if it is one slice: the common case.
    pub fn single_slice(&self) -> Option<&[u8]> {
        if self.pieces.len() > 1 {
            return None;
        }
        match self.pieces.front()? {
            Piece::Ring(_) => self.ring.as_ref()?.contiguous(),
            Piece::Shared(bytes) => Some(bytes),
        }
    }

    /// Fills `into` with what waits, oldest first, for a vectored write, and says how many slices that made. Fewer
    /// than `into.len()` means all of it.
    pub fn slices<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let (mut count, mut ring_offset) = (0, 0);
        for piece in &self.pieces {
            let (first, second): (&[u8], &[u8]) = match piece {
                Piece::Ring(bytes) => {
                    let offset = ring_offset;
                    ring_offset += *bytes as usize;
                    self.ring.as_ref().map_or((&[], &[]), |ring| ring.range_slices(offset, *bytes as usize))
                }
                Piece::Shared(bytes) => (bytes, &[]),
            };
            for part in [first, second] {
                if part.is_empty() {
                    continue;
                }
                let Some(slot) = into.get_mut(count) else { return count };
                *slot = IoSlice::new(part);
                count += 1;
            }
        }
        count
    }

    /// Forgets the first `bytes` bytes: the socket took them. At most [`queued_bytes`](OutQueue::queued_bytes);
    /// more is a caller's mistake, caught in debug builds and cut in release.
    ///
    /// When the last ring byte is gone, the lease goes back to the pool.
    pub fn consume(&mut self, pool: &mut Pool, bytes: usize) {
        debug_assert!(bytes <= self.queued_bytes as usize, "consumed {bytes} of {} bytes", self.queued_bytes);
        let mut left = saturating_u32(bytes).min(self.queued_bytes);
        if is_planted(Bug::WrittenTwice) && left > 1 {
            left -= 1;
        }
        self.queued_bytes -= left;
        while left > 0 {
            let Some(front) = self.pieces.front_mut() else { break };
            let taken = left.min(front.bytes());
            left -= taken;
            if front.consume(self.ring.as_mut(), taken) == 0 {
                self.pieces.pop_front();
            }
        }
        if self.ring.as_ref().is_some_and(Ring::is_empty) && !is_planted(Bug::LeaseLeaked) {
            self.give_ring_back(pool);
        }
        if self.queued_bytes == 0 {
            self.settle();
        }
        self.check();
    }

    /// Forgets everything and gives the lease back: the connection is over.
    pub fn clear(&mut self, pool: &mut Pool) {
        self.pieces.clear();
        self.queued_bytes = 0;
        self.give_ring_back(pool);
        self.settle();
        self.check();
    }

    /// Counts replies of which bytes were just pushed.
    pub fn note_replies(&mut self, replies: u32) {
        self.replies = self.replies.saturating_add(replies);
    }

    /// Upper bound of the replies that were not wholly handed to the kernel. Exact only at 0, when the queue has
    /// run empty: which bytes belong to which reply is not remembered.
    pub fn unsent_replies(&self) -> u32 {
        self.replies
    }

    /// `more` as a count of bytes, if the limits allow them.
    fn admit(&self, more: usize, limit_bytes: u32) -> Result<u32, QueueError> {
        let more_bytes = saturating_u32(more);
        let total_bytes = self.queued_bytes.checked_add(more_bytes);
        if total_bytes.is_none_or(|total| total > limit_bytes) || self.pieces.len() >= PIECES_MAX {
            return Err(QueueError::Full { queued_bytes: self.queued_bytes, more_bytes, limit_bytes });
        }
        Ok(more_bytes)
    }

    fn give_ring_back(&mut self, pool: &mut Pool) {
        if let Some(ring) = self.ring.take() {
            pool.give_back(ring.into_lease());
        }
    }

    /// The queue has run empty: no reply is unsent, and a list that a slow peer made long is made short again.
    fn settle(&mut self) {
        debug_assert!(self.pieces.is_empty());
        self.replies = 0;
        if self.pieces.capacity() > PIECES_KEPT {
            self.pieces.shrink_to(PIECES_KEPT);
        }
    }

    fn check(&self) {
        let ring_bytes = self.ring.as_ref().map_or(0, Ring::len);
        debug_assert_eq!(self.is_empty(), self.pieces.is_empty());
        debug_assert!(ring_bytes <= self.queued_bytes as usize);
        debug_assert!(ring_bytes > 0 || self.ring.is_none() || is_planted(Bug::LeaseLeaked));
        debug_assert!(self.pieces.len() > SLICES_PER_WRITE || self.recount_is_right());
    }

    fn recount_is_right(&self) -> bool {
        let ring_bytes = self.ring.as_ref().map_or(0, Ring::len) as u64;
        let sum = |only_ring: bool| -> u64 {
            let counted = self.pieces.iter().filter(|piece| !only_ring || piece.is_ring());
            counted.map(|piece| u64::from(piece.bytes())).sum()
        };
        let neighbours = self.pieces.iter().zip(self.pieces.iter().skip(1));
        sum(false) == u64::from(self.queued_bytes)
            && sum(true) == ring_bytes
            && self.pieces.iter().all(|piece| piece.bytes() > 0)
            && neighbours.into_iter().all(|(one, next)| !(one.is_ring() && next.is_ring()))
    }
}

/// Why bytes were not queued. The queue is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The peer takes too little: the connection's own limit is reached.
    #[error("out-queue full ({queued_bytes} bytes queued, {more_bytes} more, limit {limit_bytes})")]
    Full {
        /// Bytes that wait.
        queued_bytes: u32,
        /// Bytes that were to be added.
        more_bytes: u32,
        /// The most that may wait.
        limit_bytes: u32,
    },
    /// The output part of the budget is used up, by this connection or by others.
    #[error("no memory in the output budget for a ring of {wanted_bytes} bytes")]
    NoMemory {
        /// Bytes that the ring would have had to hold.
        wanted_bytes: usize,
    },
}

impl QueueError {
    /// Who has to move: both pass when peers take their bytes.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Full { .. } | Self::NoMemory { .. } => Fault::Temporary,
        }
    }
}

/// A run of queued bytes that lie together; never empty.
#[derive(Debug)]
enum Piece {
    /// So many bytes of the ring, after those of the ring pieces before.
    Ring(u32),
    /// Bytes that others may refer to as well.
    Shared(Bytes),
}

impl Piece {
    /// Bytes left of it. A shared piece was admitted, so its length fits.
    fn bytes(&self) -> u32 {
        match self {
            Piece::Ring(bytes) => *bytes,
            Piece::Shared(bytes) => saturating_u32(bytes.len()),
        }
    }

    fn is_ring(&self) -> bool {
        match self {
            Piece::Ring(_) => true,
            Piece::Shared(_) => false,
        }
    }

    /// Forgets `taken` bytes of its front, at most all, and says how many are left.
    fn consume(&mut self, ring: Option<&mut Ring>, taken: u32) -> u32 {
        debug_assert!(taken <= self.bytes());
        match self {
            Piece::Ring(bytes) => {
                *bytes -= taken;
                if let Some(ring) = ring {
                    ring.consume(taken as usize);
                }
            }
            Piece::Shared(bytes) => bytes.advance(taken as usize),
        }
        self.bytes()
    }
}

/// The queue's ring with room for `more` bytes: the one it has, its first, or one of a larger class.
fn ring_with_room<'a>(
    slot: &'a mut Option<Ring>,
    pool: &mut Pool,
    more: usize,
) -> Result<&'a mut Ring, QueueError> {
    let (len, free) = slot.as_ref().map_or((0, 0), |ring| (ring.len(), ring.free()));
    if free < more {
        let wanted_bytes = len + more;
        let lease = pool.lease(Side::Output, wanted_bytes).ok_or(QueueError::NoMemory { wanted_bytes })?;
        match slot {
            Some(ring) => pool.give_back(ring.move_to(lease)),
            None => *slot = Some(Ring::over(lease)),
        }
    }
    slot.as_mut().ok_or(QueueError::NoMemory { wanted_bytes: len + more })
}

fn saturating_u32(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Pieces that may wait, whatever their bytes: a list of half a MiB.
const PIECES_MAX: usize = 16 << 10;

/// Pieces that the list of an empty queue keeps room for: two writes' worth, 4 KiB.
const PIECES_KEPT: usize = 2 * SLICES_PER_WRITE;

const _: () = {
    assert!(size_of::<Piece>() <= 32, "the list's memory is computed with 32 bytes a piece");
    assert!(PIECES_KEPT < PIECES_MAX);
};

#[cfg(test)]
mod tests;
