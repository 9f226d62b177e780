//! The memory that the cork takes: what an ordinary batch needs, and more while large replies are copied.
//!
//! Always holds:
//! 1. Between batches it is at most [`CORK_BYTES_KEPT`] long, and [`CORK_BYTES`] once trimmed.
//! 2. What was beyond that has gone back to the system, where that maps large allocations.
//!
//! Never: shrinks while a batch is gathered.

use super::Outbox;
use crate::base::limits::SCRATCH_BYTES;
use crate::session::reply::SLACK_BYTES;
use crate::session::{ReplyTo, Segment};
use crate::wire::frame::OVERHEAD_BYTES;

/// Capacity that the cork begins with, in bytes: an ordinary batch never outgrows it.
pub(super) const CORK_BYTES: usize = SCRATCH_BYTES + SCRATCH_BYTES / 4;

/// Capacity that the cork keeps for the next batch, in bytes. After larger replies it is cut at once.
pub(super) const CORK_BYTES_KEPT: usize = 4 << 20;

impl Outbox {
    /// Whether it holds more memory than ordinary batches need.
    #[inline]
    pub const fn has_grown(&self) -> bool {
        self.cork.len() > CORK_BYTES
    }

    /// Gives back the memory that ordinary batches don't need. Called between batches, now and then.
    ///
    /// The cork is cut where it is, not made anew: a mapping gives its end back, while one that is freed teaches the C
    /// library to keep the next.
    #[cold]
    pub fn trim(&mut self) {
        self.cork.truncate(CORK_BYTES);
        self.cork.shrink_to_fit();
    }

    /// The next `bytes` of the cork.
    pub(super) fn room(&mut self, bytes: usize) -> &mut [u8] {
        if self.cork.len() - self.filled < bytes {
            self.grow(self.filled + bytes);
        }
        &mut self.cork[self.filled..][..bytes]
    }

    /// A whole frame in the cork, all but its CRC, and in a larger one if need be.
    pub(super) fn frame_by_copy(&mut self, to: ReplyTo, length: u32, segments: &[Segment<'_>]) {
        let _room = self.room(length as usize + to.block_bytes() + OVERHEAD_BYTES + SLACK_BYTES);
        let is_done = self.frame_at_once(to, length as usize, segments);
        debug_assert!(is_done, "there is room");
    }

    /// For replies larger than a batch's room.
    #[cold]
    fn grow(&mut self, bytes: usize) {
        self.cork.resize(bytes, 0);
    }
}
