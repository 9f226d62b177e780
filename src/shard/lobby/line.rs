//! Who waits at the entrance, in the order of arrival.
//!
//! Always holds: the front has waited longest, and all have the same time, so that it is the first whose time is over; a
//! place is given again only after its last owner has left. Never: a search; every step is a few writes.

use slab::Slab;

/// Where a list ends.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Node<M> {
    member: M,
    before: u32,
    behind: u32,
}

/// A queue that one may leave from the middle.
#[derive(Debug)]
pub(super) struct Line<M> {
    nodes: Slab<Node<M>>,
    front: u32,
    back: u32,
}

impl<M> Line<M> {
    pub(super) const fn new() -> Line<M> {
        Line { nodes: Slab::new(), front: NONE, back: NONE }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The place of who has waited longest.
    pub(super) const fn front(&self) -> Option<u32> {
        if self.front == NONE { None } else { Some(self.front) }
    }

    /// The place that the next to come will have.
    pub(super) fn next_place(&self) -> u32 {
        place_of(self.nodes.vacant_key())
    }

    pub(super) fn get(&self, place: u32) -> Option<&M> {
        self.nodes.get(place as usize).map(|node| &node.member)
    }

    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut M> {
        self.nodes.get_mut(place as usize).map(|node| &mut node.member)
    }

    /// Puts one behind all others.
    pub(super) fn push(&mut self, member: M) -> u32 {
        let before = self.back;
        let place = place_of(self.nodes.insert(Node { member, before, behind: NONE }));
        *self.behind(before) = place;
        self.back = place;
        place
    }

    /// Takes one out, wherever it stands.
    pub(super) fn remove(&mut self, place: u32) -> Option<M> {
        let node = self.nodes.try_remove(place as usize)?;
        *self.behind(node.before) = node.behind;
        match self.nodes.get_mut(node.behind as usize) {
            Some(next) => next.before = node.before,
            None => self.back = node.before,
        }
        Some(node.member)
    }

    /// What names the one behind this place.
    fn behind(&mut self, place: u32) -> &mut u32 {
        match self.nodes.get_mut(place as usize) {
            Some(node) => &mut node.behind,
            None => &mut self.front,
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a lobby has at most LOBBY_MAX places")]
const fn place_of(key: usize) -> u32 {
    key as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        /// It is a queue from which one may be taken anywhere.
        #[test]
        fn it_is_what_a_plain_list_is(steps in vec(any::<u8>(), 0..200)) {
            let (mut line, mut plain): (Line<u8>, Vec<(u32, u8)>) = (Line::new(), Vec::new());
            for step in steps {
                if step < 128 || plain.is_empty() {
                    let place = line.next_place();
                    prop_assert_eq!(line.push(step), place);
                    plain.push((place, step));
                } else {
                    let (place, member) = plain.remove(usize::from(step) % plain.len());
                    prop_assert_eq!(line.remove(place), Some(member));
                    prop_assert_eq!(line.remove(place), None);
                }
                prop_assert_eq!(line.len(), plain.len());
                prop_assert_eq!(line.front(), plain.first().map(|(place, _)| *place));
                // By the links themselves, both ways.
                let mut forwards = Vec::new();
                let (mut at, mut before) = (line.front, NONE);
                while let Some(node) = line.nodes.get(at as usize) {
                    prop_assert_eq!(node.before, before);
                    forwards.push((at, node.member));
                    (before, at) = (at, node.behind);
                }
                prop_assert_eq!(line.back, before);
                prop_assert_eq!(&forwards, &plain);
            }
        }
    }
}
