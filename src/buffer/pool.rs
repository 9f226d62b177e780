//! Buffers by size class under one byte budget, and boxes that are used again.
//!
//! ```text
//!  budget   |        input 50 %        |      output 40 %     | reserve |
//!           +--------------------------+----------------------+---------+
//!  lease -> `- a lease is charged to the part of its side -'       |
//!           `- the smallest class goes to the reserve when its part is full
//!
//!  classes  4 KiB | 8 + 4 | 16 + 4 | 32 + 4 | 64 + 4 | ... | 256 MiB + 4 KiB
//! ```
//!
//! A class is a power of two plus 4 KiB, so that a payload of a power of two and its frame's overhead fit the class
//! of that payload instead of spilling into twice the size.
//!
//! Invariants (`check()` asserts 1 to 3 after every `&mut self` call, debug only):
//! 1. No part is charged more than its limit; the three limits add up to the budget.
//! 2. Leased plus retained bytes never exceed the budget; retained bytes never exceed their own bound. What is neither
//!    leased nor retained is the system's again, as far as it was large (`storage.rs`).
//! 3. `leases_out` is zero exactly when nothing is charged.
//! 4. Only leases of the smallest class are charged to the reserve, so that whoever holds little gets on.
//!
//! Never: a buffer that grows in place, or one that was not charged. Contents are **not** cleared between two
//! leases: a lease's owner shows only bytes that it wrote, which [`Ring`](super::Ring) does.

use super::storage::Storage;
use crate::base::limits::{BUDGET_BYTES_MIN, EXTENSION_BYTES_MAX, LEASE_BYTES_MIN, PAYLOAD_BYTES_MAX};
use std::fmt;
use std::ops::{Deref, DerefMut};

/// The largest lease there is, in bytes: the largest class, which holds the largest frame.
pub const LEASE_BYTES_MAX: usize = class_bytes(CLASSES - 1);

/// Which half of a connection a buffer is for: it decides the part of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Bytes that were read and not yet handled: half of the budget.
    Input,
    /// Bytes that wait to be written: two fifths of the budget.
    Output,
}

/// All buffers of one shard, leased out and taken back under a budget that never grows.
///
/// A lease that is dropped instead of given back stays charged for ever; [`leases_out`](Pool::leases_out) tells.
#[derive(Debug)]
pub struct Pool {
    budget_bytes: usize,
    parts: [Account; 3],
    leases_out: usize,
    retained: [Shelf; CLASSES],
    retained_bytes: usize,
    retained_bytes_max: usize,
}

/// How a budget of so many bytes is divided: input, output, reserve.
pub const fn parts_of(budget_bytes: usize) -> [usize; 3] {
    let (input, output) = (budget_bytes / 2, budget_bytes / 5 * 2);
    [input, output, budget_bytes - input - output]
}

impl Pool {
    /// An empty pool: nothing is allocated before the first lease.
    ///
    /// - Unit: bytes. A server refuses budgets under [`BUDGET_BYTES_MIN`]; here any number is taken, and one that
    ///   is too small just grants no lease.
    pub fn new(budget_bytes: usize) -> Pool {
        let pool = Pool {
            budget_bytes,
            parts: parts_of(budget_bytes).map(|limit_bytes| Account { limit_bytes, used_bytes: 0 }),
            leases_out: 0,
            retained: [const { Shelf { buffers: Vec::new(), unused: 0 } }; CLASSES],
            retained_bytes: 0,
            retained_bytes_max: (budget_bytes / RETAINED_SHARE).min(RETAINED_BYTES_MAX),
        };
        pool.check();
        pool
    }

    /// A buffer of at least `bytes_min` bytes (0 is allowed), charged with the whole size of its class.
    ///
    /// `None` when the side's part, and for the smallest class the reserve too, has no room for it, when `bytes_min`
    /// is over [`LEASE_BYTES_MAX`], or when the system has no memory for a large one. Nothing is charged then: "not
    /// now" is not an error here.
    pub fn lease(&mut self, side: Side, bytes_min: usize) -> Option<Lease> {
        let class = class_of(bytes_min)?;
        let part = self.part_for(side, class)?;
        let bytes = match self.retained[class].take() {
            Some(bytes) => {
                self.retained_bytes -= bytes.len();
                bytes
            }
            None => {
                self.evict_for(class_bytes(class));
                Storage::zeroed(class_bytes(class))?
            }
        };
        self.parts[part as usize].used_bytes += bytes.len();
        self.leases_out += 1;
        self.check();
        Some(Lease { bytes, part })
    }

    /// Takes a buffer back: its charge ends, and it is kept for the next lease of its class or freed.
    ///
    /// It must be one of this pool's own.
    pub fn give_back(&mut self, lease: Lease) {
        let Lease { bytes, part } = lease;
        let account = &mut self.parts[part as usize];
        debug_assert!(self.leases_out > 0, "no lease of this pool is out");
        debug_assert!(account.used_bytes >= bytes.len(), "charged to another pool or part");
        account.used_bytes = account.used_bytes.saturating_sub(bytes.len());
        self.leases_out = self.leases_out.saturating_sub(1);
        if self.retained_bytes + bytes.len() <= self.retained_bytes_max {
            self.retained_bytes += bytes.len();
            self.retained[class_above(bytes.len())].buffers.push(bytes);
        }
        self.check();
    }

    /// Whether [`lease`](Pool::lease) with the same arguments would succeed now, if the system has the memory.
    pub fn can_lease(&self, side: Side, bytes_min: usize) -> bool {
        class_of(bytes_min).is_some_and(|class| self.part_for(side, class).is_some())
    }

    /// Whether the budget surely has room for a lease of `bytes` now: one comparison, for the look before each read.
    ///
    /// One-sided: `true` implies [`can_lease`](Pool::can_lease); `false` only says that the part is close to full
    /// (no room for twice the bytes and 4 KiB, what the classes may add), so ask for the exact answer.
    pub fn has_room(&self, side: Side, bytes: usize) -> bool {
        bytes <= LEASE_BYTES_MAX
            && bytes * 2 + LEASE_BYTES_MIN <= self.parts[Part::of(side) as usize].free_bytes()
    }

    /// Size in bytes of the largest lease that the budget has room for now, 0 if for none. Constant time.
    pub fn lease_bytes_max(&self, side: Side) -> usize {
        let own = largest_class_within(self.parts[Part::of(side) as usize].free_bytes());
        let reserve_has_one = self.parts[Part::Reserve as usize].free_bytes() >= LEASE_BYTES_MIN;
        own.map_or(if reserve_has_one { LEASE_BYTES_MIN } else { 0 }, class_bytes)
    }

    /// Bytes charged to this side's own part now; what it has from the reserve is not among them.
    pub fn used_bytes(&self, side: Side) -> usize {
        self.parts[Part::of(side) as usize].used_bytes
    }

    /// Bytes charged to the reserve now, by both sides.
    pub fn reserve_used_bytes(&self) -> usize {
        self.parts[Part::Reserve as usize].used_bytes
    }

    /// The budget, in bytes, as it was given.
    pub fn budget_bytes(&self) -> usize {
        self.budget_bytes
    }

    /// Bytes of free buffers kept for reuse: at most half of the budget and 64 MiB.
    pub const fn retained_bytes(&self) -> usize {
        self.retained_bytes
    }

    /// Leases that were granted and not given back.
    pub fn leases_out(&self) -> usize {
        self.leases_out
    }

    /// Frees what no lease has needed since the last call, largest first, until that comes to 8 MiB.
    ///
    /// Called once a second, it leaves nothing ten seconds after the last buffer has come back, takes none from steady
    /// traffic, and never holds a loop up for long.
    pub fn trim(&mut self) {
        let mut freed_bytes = 0;
        for (class, shelf) in self.retained.iter_mut().enumerate().rev() {
            let wanted = TRIM_BYTES_MAX.saturating_sub(freed_bytes).div_ceil(class_bytes(class));
            let freed = shelf.unused.min(wanted);
            freed_bytes += freed * class_bytes(class);
            shelf.buffers.truncate(shelf.buffers.len() - freed);
            if shelf.buffers.is_empty() {
                shelf.buffers = Vec::new();
            }
            shelf.unused = shelf.buffers.len();
        }
        self.retained_bytes -= freed_bytes;
        self.check();
    }

    /// Where a lease of this class would be charged, `None` if nowhere.
    fn part_for(&self, side: Side, class: usize) -> Option<Part> {
        let fits = |part: Part| self.parts[part as usize].free_bytes() >= class_bytes(class);
        let own = Part::of(side);
        if fits(own) {
            Some(own)
        } else if class == 0 && fits(Part::Reserve) {
            Some(Part::Reserve)
        } else {
            None
        }
    }

    /// Frees retained buffers, largest first, until `bytes` more fit the budget. They always do in the end, since
    /// the caller has found room in a part and the parts add up to the budget.
    fn evict_for(&mut self, bytes: usize) {
        let leased_bytes = self.leased_bytes();
        for shelf in self.retained.iter_mut().rev() {
            while leased_bytes + self.retained_bytes + bytes > self.budget_bytes {
                let Some(freed) = shelf.take() else { break };
                self.retained_bytes -= freed.len();
            }
        }
    }

    fn leased_bytes(&self) -> usize {
        self.parts.iter().map(|part| part.used_bytes).sum()
    }

    fn check(&self) {
        debug_assert!(self.parts.iter().all(|part| part.used_bytes <= part.limit_bytes));
        debug_assert_eq!(self.parts.iter().map(|part| part.limit_bytes).sum::<usize>(), self.budget_bytes);
        debug_assert!(self.leased_bytes() + self.retained_bytes <= self.budget_bytes);
        debug_assert!(self.retained_bytes <= self.retained_bytes_max);
        debug_assert!(self.retained.iter().all(|shelf| shelf.unused <= shelf.buffers.len()));
        debug_assert_eq!(self.leases_out == 0, self.leased_bytes() == 0);
    }
}

/// A buffer on loan. It goes back by [`Pool::give_back`]; dropped, its memory is freed but stays charged.
///
/// Its length is that of its class, from 4 KiB to [`LEASE_BYTES_MAX`]. Its contents are left over from whoever had
/// it before: show nobody a byte that you did not write.
#[must_use = "a lease that is dropped stays charged to the budget: give it back"]
pub struct Lease {
    bytes: Storage,
    part: Part,
}

impl Lease {
    /// Whether it is charged to the reserve.
    pub fn is_from_reserve(&self) -> bool {
        self.part == Part::Reserve
    }

    /// A buffer of any size that no pool knows, so that tests reach every wrap offset quickly.
    #[cfg(test)]
    pub(super) fn unpooled(bytes: usize) -> Lease {
        let bytes = Storage::zeroed(bytes).expect("tests use little");
        Lease { bytes, part: Part::Input }
    }
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

/// Without the contents: they may be another peer's.
impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("bytes", &self.bytes.len()).field("part", &self.part).finish()
    }
}

/// The retained buffers of one class.
#[derive(Debug)]
struct Shelf {
    buffers: Vec<Storage>,
    /// The fewest that there were since the last trim: so many more than traffic needs.
    unused: usize,
}

impl Shelf {
    fn take(&mut self) -> Option<Storage> {
        let taken = self.buffers.pop();
        self.unused = self.unused.min(self.buffers.len());
        taken
    }
}

/// Boxes that wait to be used again, so that a connection's boxed state costs no allocation.
///
/// Bounded: it keeps at most 1024 boxes and drops the rest. What is put in is taken out as it was, so the owner
/// clears it before or after.
#[derive(Debug)]
pub struct Spares<T> {
    boxes: Vec<Box<T>>,
}

impl<T> Spares<T> {
    /// None yet; nothing is allocated.
    pub const fn new() -> Spares<T> {
        Spares { boxes: Vec::new() }
    }

    /// The box that was put in last, if there is one.
    pub fn take(&mut self) -> Option<Box<T>> {
        self.boxes.pop()
    }

    /// Keeps a box for later, or drops it when enough are kept.
    pub fn put(&mut self, spare: Box<T>) {
        if self.boxes.len() < SPARES_MAX {
            self.boxes.push(spare);
        }
        debug_assert!(self.boxes.len() <= SPARES_MAX);
    }

    /// How many boxes are kept now, `0..=1024`.
    pub fn count(&self) -> usize {
        self.boxes.len()
    }

    /// Drops half of them, rounded up, as [`Pool::trim`] does.
    pub fn trim(&mut self) {
        self.boxes.truncate(self.boxes.len() / 2);
    }
}

impl<T> Default for Spares<T> {
    fn default() -> Spares<T> {
        Spares::new()
    }
}

/// What a lease is charged to; the discriminant is its index in `Pool::parts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Input = 0,
    Output = 1,
    Reserve = 2,
}

impl Part {
    const fn of(side: Side) -> Part {
        match side {
            Side::Input => Part::Input,
            Side::Output => Part::Output,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Account {
    limit_bytes: usize,
    used_bytes: usize,
}

impl Account {
    const fn free_bytes(self) -> usize {
        self.limit_bytes.saturating_sub(self.used_bytes)
    }
}

/// Size of the buffers of a class: 4 KiB, then 8, 16, 32 KiB ... and 4 KiB more.
const fn class_bytes(class: usize) -> usize {
    if class == 0 { LEASE_BYTES_MIN } else { (LEASE_BYTES_MIN << class) + LEASE_BYTES_MIN }
}

/// The smallest class of at least `bytes_min`, by the formula alone: it may lie beyond the largest.
const fn class_above(bytes_min: usize) -> usize {
    if bytes_min <= LEASE_BYTES_MIN {
        return 0;
    }
    let units = (bytes_min - LEASE_BYTES_MIN).div_ceil(LEASE_BYTES_MIN);
    if units <= 2 { 1 } else { (units - 1).ilog2() as usize + 1 }
}

const fn class_of(bytes_min: usize) -> Option<usize> {
    let class = class_above(bytes_min);
    if class < CLASSES { Some(class) } else { None }
}

/// The largest class whose buffers are no larger than `bytes`.
const fn largest_class_within(bytes: usize) -> Option<usize> {
    if bytes < LEASE_BYTES_MIN {
        return None;
    }
    let units = (bytes - LEASE_BYTES_MIN) / LEASE_BYTES_MIN;
    let class = if units < 2 { 0 } else { units.ilog2() as usize };
    if class < CLASSES { Some(class) } else { Some(CLASSES - 1) }
}

/// What a frame has at most besides its payload and extension. This layer does not know frames; the codec's own
/// numbers are asserted against [`LEASE_BYTES_MAX`] by those who know both.
const OVERHEAD_BYTES_MAX: usize = 10;

const FRAME_BYTES_MAX: usize = PAYLOAD_BYTES_MAX as usize + EXTENSION_BYTES_MAX as usize + OVERHEAD_BYTES_MAX;

const CLASSES: usize = class_above(FRAME_BYTES_MAX) + 1;

/// Free buffers are kept up to this part (one in ...) of the budget: as much as the input of one moment can be.
const RETAINED_SHARE: usize = 2;

/// And up to this many bytes: enough for sixty frames of the default limit under way at once. To map and unmap a
/// megabyte costs as much as to receive it, so who is busy keeps what he uses.
const RETAINED_BYTES_MAX: usize = 64 << 20;

/// When one trim has freed so many bytes, it ends: eight mappings of a megabyte take half a millisecond.
const TRIM_BYTES_MAX: usize = 8 << 20;

/// Boxes that [`Spares`] keeps: as many as one poll brings events.
const SPARES_MAX: usize = 1024;

const _: () = {
    assert!(LEASE_BYTES_MIN.is_power_of_two());
    assert!(LEASE_BYTES_MAX >= FRAME_BYTES_MAX, "the largest frame fits the largest class");
    assert!(class_bytes(CLASSES - 2) < FRAME_BYTES_MAX, "no class that no frame needs");
    assert!(
        EXTENSION_BYTES_MAX as usize + OVERHEAD_BYTES_MAX <= LEASE_BYTES_MIN,
        "what surrounds a payload fits the 4 KiB that each class adds"
    );
    assert!(RETAINED_SHARE * LEASE_BYTES_MIN <= BUDGET_BYTES_MIN, "the smallest server retains something");
    let mut class = 0;
    while class < CLASSES {
        let bytes = class_bytes(class);
        assert!(class_above(bytes) == class && class_above(bytes + 1) == class + 1);
        assert!(matches!(largest_class_within(bytes), Some(same) if same == class));
        assert!(class == 0 || matches!(largest_class_within(bytes - 1), Some(below) if below + 1 == class));
        class += 1;
    }
};

#[cfg(test)]
mod tests;
