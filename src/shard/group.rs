//! What the loops of one server know of each other: how full each is, and how to reach it.
//!
//! ```text
//!   loop 0: accept --offer--> [ newcomers of loop 2 ] --take--> loop 2: register, serve
//!               `-------------- rings loop 2's mailbox ---------------^
//! ```
//!
//! A newcomer is handed over before it is registered anywhere, so nothing about it has to be undone. The loop that ends
//! closes its door first, and ends only when nothing is on its way to it any more: a connection that was accepted is
//! served by somebody.
//!
//! Always holds: a door's count is the newcomers behind it, those that are being put there included; so a closed door
//! with a count of 0 stays empty. Never: a lock.

use super::Poller;
use crate::base::Address;
use crate::base::limits::HANDED_PER_SHARD;
use crate::mailbox::{Command, Mailbox};
use crate::net::Stream;
use crate::turn::Seats;
use crossbeam_queue::ArrayQueue;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::AcqRel, Ordering::Acquire};

/// A newcomer on its way: its stream, its address, its listener's place.
pub(super) type Newcomer = (Stream, Address, u32);

/// The loops of one server.
#[derive(Debug)]
pub struct Group {
    members: Vec<Member>,
}

/// One loop, as others see it.
#[derive(Debug)]
struct Member {
    mailbox: Arc<Mailbox>,
    seats: Arc<Seats>,
    door: Door,
}

impl Group {
    /// So many loops, at least one, with so many connections together; and a poller for each.
    ///
    /// # Errors
    ///
    /// If the system has no descriptors for the pollers.
    pub fn new(loops: u16, connections_max: u32) -> io::Result<(Arc<Group>, Vec<Poller>)> {
        let pollers = (0..loops).map(|_| Poller::new()).collect::<io::Result<Vec<_>>>()?;
        let first = Seats::new(connections_max);
        let members = pollers
            .iter()
            .map(|poller| Member {
                mailbox: poller.mailbox(),
                seats: Arc::new(first.beside()),
                door: Door::new(),
            })
            .collect();
        Ok((Arc::new(Group { members }), pollers))
    }

    /// The mailboxes of all loops, by their number.
    pub fn mailboxes(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.members.iter().map(|member| &member.mailbox)
    }

    /// Where letters for a loop are left, if there is such a loop.
    pub fn mailbox(&self, shard: u16) -> Option<&Arc<Mailbox>> {
        self.members.get(usize::from(shard)).map(|member| &member.mailbox)
    }

    /// The seats of a loop, if there is such a loop.
    pub fn seats(&self, shard: u16) -> Option<&Arc<Seats>> {
        self.members.get(usize::from(shard)).map(|member| &member.seats)
    }

    /// Connections of all loops, those on their way to one included.
    pub fn connections(&self) -> u32 {
        self.members.first().map_or(0, |member| member.seats.taken())
    }

    /// Another number of connections that all loops together may have.
    pub fn set_connections_max(&self, max: u32) {
        self.members.iter().take(1).for_each(|member| member.seats.set_max(max));
    }

    fn member(&self, shard: u16) -> &Member {
        &self.members[usize::from(shard)]
    }

    /// The loop with the fewest connections, other than `not`, that still takes newcomers; and how many it has.
    pub(super) fn least_loaded(&self, not: u16) -> Option<(u16, u32)> {
        (0..)
            .zip(&self.members)
            .filter(|(shard, member)| *shard != not && member.door.is_open())
            .map(|(shard, member)| (shard, member.seats.mine()))
            .min_by_key(|(_, load)| *load)
    }

    /// Puts a newcomer of loop `from` before the door of loop `to`, and tells it. Gives it back if that door is closed
    /// or the crowd before it too large.
    pub(super) fn hand_over(&self, newcomer: Newcomer, from: u16, to: u16) -> Option<Newcomer> {
        let (from, to) = (self.member(from), self.member(to));
        from.seats.move_to(&to.seats);
        if let Some(refused) = to.door.offer(newcomer) {
            to.seats.move_to(&from.seats);
            return Some(refused);
        }
        // Rings even if there is no place for the letter, and at every ring newcomers are looked for.
        let _ = to.mailbox.post(Command::Arrived);
        None
    }

    /// Takes a newcomer that was put before a loop's door.
    pub(super) fn take(&self, shard: u16) -> Option<Newcomer> {
        self.member(shard).door.take()
    }

    /// From now on nobody is put before this loop's door.
    pub(super) fn close_door(&self, shard: u16) {
        self.member(shard).door.close();
    }

    /// Whether the door is closed, and nobody stands before it or is on the way there.
    pub(super) fn is_settled(&self, shard: u16) -> bool {
        self.member(shard).door.is_settled()
    }
}

/// Where newcomers wait for their loop.
#[derive(Debug)]
struct Door {
    waiting: ArrayQueue<Newcomer>,
    /// Newcomers that wait or are being put there; and [`CLOSED`].
    state: AtomicU32,
}

const CLOSED: u32 = 1 << 31;
#[expect(clippy::cast_possible_truncation, reason = "asserted below")]
const PLACES: u32 = HANDED_PER_SHARD as u32;
const _: () = assert!(HANDED_PER_SHARD < CLOSED as usize, "the count leaves room for the bit");

impl Door {
    fn new() -> Door {
        Door { waiting: ArrayQueue::new(HANDED_PER_SHARD), state: AtomicU32::new(0) }
    }

    /// Gives it back if the door is closed or all places are taken.
    fn offer(&self, newcomer: Newcomer) -> Option<Newcomer> {
        // A closed state is larger than any number of places.
        let entered = self.state.fetch_update(AcqRel, Acquire, |state| (state < PLACES).then(|| state + 1));
        if entered.is_err() {
            return Some(newcomer);
        }
        let put = self.waiting.push(newcomer);
        debug_assert!(put.is_ok(), "a place was counted for it");
        put.err()
    }

    fn take(&self) -> Option<Newcomer> {
        let newcomer = self.waiting.pop()?;
        self.state.fetch_sub(1, AcqRel);
        Some(newcomer)
    }

    fn close(&self) {
        self.state.fetch_or(CLOSED, AcqRel);
    }

    fn is_open(&self) -> bool {
        self.state.load(Acquire) & CLOSED == 0
    }

    fn is_settled(&self) -> bool {
        self.state.load(Acquire) == CLOSED
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    fn newcomer(of: &TcpListener) -> Newcomer {
        let stream = std::net::TcpStream::connect(of.local_addr().unwrap()).unwrap();
        (Stream::from_std(stream), Address::Unix, 0)
    }

    #[test]
    fn newcomers_go_to_the_emptiest_loop_whose_door_is_open() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (group, _pollers) = Group::new(3, 100).unwrap();
        let seats = |shard| group.seats(shard).unwrap();
        (0..5).for_each(|_| assert!(seats(0).try_take()));
        (0..2).for_each(|_| assert!(seats(1).try_take()));
        assert_eq!(group.least_loaded(0), Some((2, 0)));
        assert_eq!(group.least_loaded(2), Some((1, 2)));
        assert!(group.hand_over(newcomer(&listener), 0, 2).is_none());
        assert_eq!((seats(0).mine(), seats(2).mine(), group.connections()), (4, 1, 7));
        assert!(group.mailbox(2).unwrap().is_rung() && !group.mailbox(1).unwrap().is_rung());
        group.close_door(2);
        assert!(!group.is_settled(2), "one waits before it");
        assert_eq!(group.least_loaded(0), Some((1, 2)));
        assert!(group.hand_over(newcomer(&listener), 0, 2).is_some(), "closed");
        assert_eq!((seats(0).mine(), seats(2).mine()), (4, 1));
        assert!(group.take(2).is_some() && group.take(2).is_none());
        assert!(group.is_settled(2) && !group.is_settled(1));
    }
}
