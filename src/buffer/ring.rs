//! A byte ring over one lease: bytes in at the tail, out at the head, seen as two slices. No pool, no growth.
//!
//! ```text
//!            head          head + len                        head + len - capacity   head
//!  0          |                |     capacity        0                |                |     capacity
//!  +..........+================+.........+           +================+................+=========+
//!    spare[1]     as_slices.0    spare[0]               as_slices.1        spare[0]      as_slices.0
//!             `- consume(n) -> `- filled(n) ->
//! ```
//!
//! Invariants (`check()` asserts them after every `&mut self` call, debug only):
//! 1. `len <= capacity`, and `head < capacity` unless the capacity is 0.
//! 2. An empty ring starts at 0: whoever fills an empty ring gets one slice, and input stays contiguous.
//! 3. `as_slices` shows exactly the bytes that were pushed or filled and not consumed, in order.
//!
//! Never: an allocation, a byte that was not written by this ring's owner, a byte lost by moving.

use super::pool::Lease;

/// Bytes in order, in the storage of one [`Lease`].
///
/// Whoever drops it loses the lease's charge: take the lease out with [`into_lease`](Ring::into_lease).
#[derive(Debug)]
#[must_use = "a ring holds a lease: give it back to its pool"]
pub struct Ring {
    storage: Lease,
    head: usize,
    len: usize,
}

impl Ring {
    /// An empty ring over the whole lease.
    pub fn over(lease: Lease) -> Ring {
        Ring { storage: lease, head: 0, len: 0 }
    }

    /// The lease, to be given back. Bytes that were still in the ring are gone.
    pub fn into_lease(self) -> Lease {
        self.storage
    }

    /// Bytes that wait in the ring, `0..=capacity`.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no byte waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that the ring can hold: the length of its lease.
    pub fn capacity(&self) -> usize {
        self.storage.len()
    }

    /// Bytes that still fit.
    pub fn free(&self) -> usize {
        self.capacity() - self.len
    }

    /// All bytes in order; the second slice is empty unless the ring is wrapped.
    pub fn as_slices(&self) -> (&[u8], &[u8]) {
        self.range_slices(0, self.len)
    }

    /// `bytes` bytes from the `offset`th on, in order; cut to what there is.
    pub fn range_slices(&self, offset: usize, bytes: usize) -> (&[u8], &[u8]) {
        let end = offset.saturating_add(bytes).min(self.len);
        let offset = offset.min(end);
        let to_edge = self.to_edge();
        let first = &self.storage[self.head + offset.min(to_edge)..self.head + end.min(to_edge)];
        let second = &self.storage[offset.saturating_sub(to_edge)..end.saturating_sub(to_edge)];
        (first, second)
    }

    /// All bytes as one slice, `None` if the ring is wrapped.
    pub fn contiguous(&self) -> Option<&[u8]> {
        let (first, second) = self.as_slices();
        second.is_empty().then_some(first)
    }

    /// The unfilled room in the order in which it must be filled, for a vectored read. [`filled`](Ring::filled)
    /// says how much of it was. What lies in it is left over from others: write, don't read.
    pub fn spare_slices(&mut self) -> [&mut [u8]; 2] {
        let (head, tail) = (self.head, self.head + self.len);
        let capacity = self.capacity();
        if tail < capacity {
            let (left, right) = self.storage.split_at_mut(tail);
            [right, &mut left[..head]]
        } else {
            [&mut self.storage[tail - capacity..head], &mut []]
        }
    }

    /// The first `bytes` of the spare room have been written and now belong to the ring. At most
    /// [`free`](Ring::free); more is a caller's mistake, caught in debug builds and cut in release.
    pub fn filled(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.free(), "filled {bytes} of {} free bytes", self.free());
        self.len += bytes.min(self.free());
        self.check();
    }

    /// Appends as much of `bytes` as fits and says how much that was.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let bytes = &bytes[..bytes.len().min(self.free())];
        let [first, second] = self.spare_slices();
        let (left, right) = bytes.split_at(bytes.len().min(first.len()));
        first[..left.len()].copy_from_slice(left);
        second[..right.len()].copy_from_slice(right);
        self.filled(bytes.len());
        bytes.len()
    }

    /// Forgets the first `bytes` bytes. At most [`len`](Ring::len); more is a caller's mistake, caught in debug
    /// builds and cut in release. An emptied ring starts at offset 0 again.
    pub fn consume(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.len, "consumed {bytes} of {} bytes", self.len);
        let bytes = bytes.min(self.len);
        self.len -= bytes;
        self.head = if self.len == 0 { 0 } else { wrapped(self.head + bytes, self.capacity()) };
        self.check();
    }

    /// All bytes as one slice. Free unless the ring is wrapped: then they move to offset 0, once, O(len), without
    /// an allocation.
    pub fn make_contiguous(&mut self) -> &[u8] {
        if self.contiguous().is_none() {
            self.rewind();
        }
        &self.storage[self.head..self.head + self.len]
    }

    /// Moves all bytes to offset 0, so that the free room is one slice behind them. O(len) unless they are there,
    /// without an allocation.
    pub fn rewind(&mut self) {
        let (head, len, to_edge) = (self.head, self.len, self.to_edge());
        if len <= to_edge {
            self.storage.copy_within(head..head + len, 0);
        } else {
            let over_edge = len - to_edge;
            self.storage.copy_within(head..head + to_edge, over_edge);
            self.storage[..len].rotate_left(over_edge);
        }
        self.head = 0;
        self.check();
    }

    /// Moves into another lease and returns the old one. The bytes are copied once, in order, to offset 0.
    ///
    /// It must have room for [`len`](Ring::len) bytes; too small a lease is a caller's mistake, caught in debug
    /// builds, and in release comes back as it was while the ring stays where it is.
    #[must_use = "the old lease must be given back"]
    pub fn move_to(&mut self, mut bigger: Lease) -> Lease {
        debug_assert!(bigger.len() >= self.len, "{} bytes don't fit a lease of {}", self.len, bigger.len());
        if bigger.len() >= self.len {
            let (first, second) = self.as_slices();
            bigger[..first.len()].copy_from_slice(first);
            bigger[first.len()..first.len() + second.len()].copy_from_slice(second);
            std::mem::swap(&mut self.storage, &mut bigger);
            self.head = 0;
        }
        self.check();
        bigger
    }

    /// Bytes between the head and the end of the storage.
    fn to_edge(&self) -> usize {
        self.capacity() - self.head
    }

    fn check(&self) {
        debug_assert!(self.len <= self.capacity());
        debug_assert!(self.head < self.capacity() || self.head == 0);
        debug_assert!(self.len > 0 || self.head == 0, "an empty ring starts at 0");
    }
}

const fn wrapped(offset: usize, capacity: usize) -> usize {
    if offset < capacity { offset } else { offset - capacity }
}

#[cfg(test)]
mod tests;
