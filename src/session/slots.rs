//! Requests of one connection that are not answered yet, and the replies that wait behind them.
//!
//! ```text
//!   ordered      [ open 7 | held 9 | open 12 | held 13 ]     in the order of the requests; the front is open
//!   correlated   [ open 8 | open 11 ]                        leave when they are ready
//!   store        one lease with the bytes of 9 and 13, whole frames, ready to be sent
//! ```
//!
//! Numbers are serials: a loop gives each to one request and never again, so a late answer finds nothing.
//!
//! Invariants (`check` asserts them in debug builds):
//! 1. The front of `ordered` is open, unless the caller is about to take it ([`Slots::take_ready`]).
//! 2. Serials grow along both lists.
//! 3. `held_bytes` is the sum of all held replies, and none of them lie in the store twice.
//! 4. A store without held replies holds no lease.
//!
//! Never: more entries than the caller's limit; bytes that the budget does not know.

use super::{Leave, ReplyTo};
use crate::base::Ms;
use crate::base::limits::OPEN_REQUESTS;
use crate::base::planted::{Bug, is_planted};
use crate::buffer::{Lease, Pool, Side};
use std::collections::VecDeque;

/// A request that was started and not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    serial: u64,
    to: ReplyTo,
    due: Ms,
}

/// A place in the order of replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Open(Open),
    /// Answered: whole frames in the store.
    Held {
        serial: u64,
        at: u32,
        bytes: u32,
    },
    /// Answered, but there was no room for the reply: OUTCOME_UNKNOWN.
    Failed {
        serial: u64,
        to: ReplyTo,
    },
}

impl Slot {
    const fn serial(&self) -> u64 {
        match self {
            Slot::Open(Open { serial, .. }) | Slot::Held { serial, .. } | Slot::Failed { serial, .. } => {
                *serial
            }
        }
    }

    const fn held_bytes(&self) -> u32 {
        match self {
            Slot::Held { bytes, .. } => *bytes,
            Slot::Open(_) | Slot::Failed { .. } => 0,
        }
    }
}

/// An open request that was just ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its reply may leave now.
    Now(ReplyTo),
    /// Its reply must wait behind others: hold it under the same serial.
    Behind(ReplyTo),
}

/// What comes out of the order next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready<'a> {
    /// Whole frames.
    Bytes(&'a [u8]),
    /// A reply that could not be held: OUTCOME_UNKNOWN with [`NO_ROOM`].
    Failed(ReplyTo),
}

/// The open requests of one connection, and the replies behind them.
#[derive(Debug, Default)]
pub struct Slots {
    ordered: VecDeque<Slot>,
    correlated: VecDeque<Open>,
    store: Option<Lease>,
    filled: u32,
    held_bytes: u32,
    open: u32,
    /// No open request is due before this.
    due: Option<Ms>,
    /// What the connection ends with once nothing is open.
    leave: Option<Box<Leave>>,
}

impl Slots {
    /// None open.
    pub fn new() -> Slots {
        Slots::default()
    }

    /// The numbers of the requests that are open.
    pub fn open_serials(&self) -> impl Iterator<Item = u64> + '_ {
        let ordered = self.ordered.iter().filter(|slot| matches!(slot, Slot::Open(_))).map(Slot::serial);
        ordered.chain(self.correlated.iter().map(|open| open.serial))
    }

    /// Requests that are open.
    #[inline]
    pub const fn open_count(&self) -> u32 {
        self.open
    }

    /// Entries: open requests, and ended ones that wait behind them.
    #[inline]
    pub fn len(&self) -> usize {
        self.ordered.len() + self.correlated.len()
    }

    /// Whether nothing is open and nothing is held.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ordered.is_empty() && self.correlated.is_empty()
    }

    /// Whether an ordered reply must wait for another one.
    #[inline]
    pub fn is_ordered_open(&self) -> bool {
        !self.ordered.is_empty()
    }

    /// Bytes of replies that wait behind open requests.
    #[inline]
    pub const fn held_bytes(&self) -> u32 {
        self.held_bytes
    }

    /// Replies that wait behind open requests.
    pub fn held_count(&self) -> u32 {
        u32::try_from(self.len()).unwrap_or(u32::MAX) - self.open
    }

    /// No open request is due before this; `None` if there is none.
    pub const fn next_due(&self) -> Option<Ms> {
        self.due
    }

    /// A request begins; its serial is larger than any before.
    pub fn open(&mut self, serial: u64, to: ReplyTo, due: Ms) {
        debug_assert!(to.is_wanted());
        let open = Open { serial, to, due };
        if to.is_ordered() {
            self.ordered.push_back(Slot::Open(open));
        } else {
            self.correlated.push_back(open);
        }
        self.open += 1;
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
        self.check();
    }

    /// An open request ends. `None`: there is no such request, or it has ended before.
    pub fn end(&mut self, serial: u64) -> Option<Ended> {
        let serial = if is_planted(Bug::SerialIgnored) { self.oldest()? } else { serial };
        if let Some(at) = place_of(&self.correlated, serial, |open| open.serial) {
            let open = self.correlated.remove(at)?;
            self.ended_one();
            return Some(Ended::Now(open.to));
        }
        let at = place_of(&self.ordered, serial, Slot::serial)?;
        let Slot::Open(Open { to, .. }) = self.ordered[at] else { return None };
        self.ended_one();
        if at == 0 || (at == 1 && is_planted(Bug::SlotOffByOne)) {
            self.ordered.remove(at);
            return Some(Ended::Now(to));
        }
        // In case the caller finds no room for the reply.
        self.ordered[at] = Slot::Failed { serial, to };
        self.check();
        Some(Ended::Behind(to))
    }

    /// The serial of the oldest open request.
    fn oldest(&self) -> Option<u64> {
        let is_open = |slot: &&Slot| matches!(slot, Slot::Open(_));
        let ordered = self.ordered.iter().find(is_open).map(Slot::serial);
        ordered.into_iter().chain(self.correlated.front().map(|open| open.serial)).min()
    }

    fn ended_one(&mut self) {
        self.open -= 1;
        if self.open == 0 {
            self.due = None;
        }
    }

    /// An open request whose time is up, if there is one.
    pub fn overdue(&mut self, now: Ms) -> Option<u64> {
        if !self.due?.reached(now) {
            return None;
        }
        let ordered = self.ordered.iter().filter_map(|slot| match slot {
            Slot::Open(open) => Some(open),
            Slot::Held { .. } | Slot::Failed { .. } => None,
        });
        let mut least: Option<Ms> = None;
        for open in ordered.chain(&self.correlated) {
            if open.due.reached(now) {
                return Some(open.serial);
            }
            least = Some(least.map_or(open.due, |least| least.min(open.due)));
        }
        self.due = least;
        None
    }

    /// A new ordered request has ended already, and its reply waits behind the open ones: hold it next.
    pub fn append_ended(&mut self, serial: u64, to: ReplyTo) {
        self.ordered.push_back(Slot::Failed { serial, to });
        self.check();
    }

    /// Holds the reply of a request that has [ended behind](Ended::Behind) others: `write` fills exactly `bytes`
    /// bytes. False if there is no memory; the request then fails OUTCOME_UNKNOWN in its place.
    pub fn hold(&mut self, pool: &mut Pool, serial: u64, bytes: u32, write: impl FnOnce(&mut [u8])) -> bool {
        let Some(place) = place_of(&self.ordered, serial, Slot::serial) else { return false };
        if !self.make_room(pool, bytes) {
            return false;
        }
        let Some(lease) = self.store.as_mut() else { return false };
        let at = self.filled;
        write(&mut lease[at as usize..(at + bytes) as usize]);
        self.filled += bytes;
        self.held_bytes += bytes;
        self.ordered[place] = Slot::Held { serial, at, bytes };
        self.check();
        true
    }

    /// Bytes of memory that hold replies, used or not.
    pub fn leased_bytes(&self) -> usize {
        self.store.as_ref().map_or(0, |lease| lease.len())
    }

    /// The least memory that must be had for holding a reply of so many bytes; `None` if it fits what is there.
    pub fn wanted_bytes(&self, bytes: usize) -> Option<usize> {
        let fits = self.filled as usize + bytes <= self.leased_bytes();
        (!fits).then_some(self.held_bytes as usize + bytes)
    }

    /// Room for `bytes` more behind what is filled; what is still held moves to the front of another lease for it.
    fn make_room(&mut self, pool: &mut Pool, bytes: u32) -> bool {
        let Some(need) = self.wanted_bytes(bytes as usize) else { return true };
        let capacity = self.leased_bytes();
        // One that is nearly as full as this would soon have to be made anew, so that each reply moves all others.
        let wish = if (capacity / 4 * 3..=capacity).contains(&need) { capacity + 1 } else { need };
        let lease = pool.lease(Side::Output, wish).or_else(|| pool.lease(Side::Output, need));
        let Some(mut bigger) = lease else { return false };
        let mut filled = 0;
        if let Some(old) = self.store.take() {
            for slot in &mut self.ordered {
                if let Slot::Held { at, bytes, .. } = slot {
                    let from = *at as usize..(*at + *bytes) as usize;
                    bigger[filled as usize..(filled + *bytes) as usize].copy_from_slice(&old[from]);
                    (*at, filled) = (filled, filled + *bytes);
                }
            }
            pool.give_back(old);
        }
        self.store = Some(bigger);
        self.filled = filled;
        true
    }

    /// What is at the front of the order and has ended. Taken by [`Slots::pop_ready`].
    pub fn ready(&self) -> Option<Ready<'_>> {
        match *self.ordered.front()? {
            Slot::Open(_) => None,
            Slot::Held { at, bytes, .. } => {
                let lease = self.store.as_ref()?;
                Some(Ready::Bytes(&lease[at as usize..(at + bytes) as usize]))
            }
            Slot::Failed { to, .. } => Some(Ready::Failed(to)),
        }
    }

    /// Takes what [`Slots::ready`] showed.
    pub fn pop_ready(&mut self, pool: &mut Pool) {
        let Some(front) = self.ordered.pop_front() else { return };
        debug_assert!(!matches!(front, Slot::Open(_)), "only what has ended is taken");
        self.held_bytes -= front.held_bytes();
        if self.held_bytes == 0 {
            self.give_store_back(pool);
        }
        self.check();
    }

    /// Keeps what the connection ends with once nothing is open; the first cause stays.
    pub fn leave_with(&mut self, leave: Leave) {
        self.leave.get_or_insert_with(|| Box::new(leave));
    }

    /// What [`Slots::leave_with`] kept.
    pub fn leave(&self) -> Option<Leave> {
        self.leave.as_deref().copied()
    }

    /// Forgets everything: the connection is over, or nothing is open any more. Its memory is ready for another.
    pub fn clear(&mut self, pool: &mut Pool) {
        self.ordered.clear();
        self.correlated.clear();
        (self.held_bytes, self.open, self.due, self.leave) = (0, 0, None, None);
        self.give_store_back(pool);
        self.check();
    }

    /// Memory of the lists, in bytes.
    #[cfg(test)]
    pub(crate) fn list_bytes(&self) -> usize {
        self.ordered.capacity() * size_of::<Slot>() + self.correlated.capacity() * size_of::<Open>()
    }

    /// Keeps lists that are to be used again short.
    pub fn shrink(&mut self) {
        self.ordered.shrink_to(ENTRIES_KEPT);
        self.correlated.shrink_to(ENTRIES_KEPT);
    }

    fn give_store_back(&mut self, pool: &mut Pool) {
        self.filled = 0;
        if let Some(lease) = self.store.take() {
            pool.give_back(lease);
        }
    }

    fn check(&self) {
        debug_assert!(self.store.is_some() || self.held_bytes == 0);
        debug_assert!(self.held_bytes <= self.filled && self.filled as usize <= self.leased_bytes());
        debug_assert!(self.len() > CHECKED_MAX || self.recount_is_right());
    }

    fn recount_is_right(&self) -> bool {
        let open = self.ordered.iter().filter(|slot| matches!(slot, Slot::Open(_))).count();
        let held: u32 = self.ordered.iter().map(Slot::held_bytes).sum();
        self.open as usize == open + self.correlated.len()
            && held == self.held_bytes
            && self.ordered.iter().map(Slot::serial).is_sorted()
            && self.correlated.iter().map(|open| open.serial).is_sorted()
    }
}

/// Where a serial stands in a list in which they grow. So it stands at most as far behind the front as it is larger, and
/// exactly there, or at the back, while other requests of the loop didn't come between.
fn place_of<T>(list: &VecDeque<T>, serial: u64, serial_of: impl Fn(&T) -> u64) -> Option<usize> {
    let behind = serial.checked_sub(serial_of(list.front()?))?;
    let likely = usize::try_from(behind).unwrap_or(usize::MAX).min(list.len() - 1);
    if serial_of(&list[likely]) == serial {
        return Some(likely);
    }
    list.binary_search_by_key(&serial, serial_of).ok()
}

/// In the place of a reply that could not be held.
pub const NO_ROOM: &str = "the reply had to wait behind an open request, and there was no room to hold it";

/// Longer lists are not recounted in debug builds.
const CHECKED_MAX: usize = 32;

/// Room for so many entries is kept while a list waits to be used again: 10 KiB.
const ENTRIES_KEPT: usize = 2 * OPEN_REQUESTS as usize;

const _: () = assert!(size_of::<Slot>() <= 40 && size_of::<Open>() <= 40);

#[cfg(test)]
mod tests;
