//! The requests of one connection that are on their way, and which of them a reply answers. No socket, no clock.
//!
//! ```text
//!   front                                  next
//!     | open | answered | open | open ...  |
//!     `- the oldest that is open            `- the number of the next request
//! ```
//!
//! Always holds: the request at the front is open; a request is answered at most once; where order is promised, a
//! request that was overtaken is told as out of order when its reply comes, or as missing if none does.
//! Never: more requests than were let in; how many may be open is the caller's choice.

use std::collections::VecDeque;

/// Requests that were given up on are remembered, so that a late reply is not taken for a second one.
const LOST_MAX: usize = 256;

/// A request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When it was due, in nanoseconds of the run.
    pub due: u64,
    /// When it could have been written: it was due, and its connection had room for it.
    pub sendable: u64,
    /// When its first byte was written; [`UNWRITTEN`] before.
    pub written: u64,
    /// Bytes of its payload.
    pub size: u32,
    /// The sum at its end; 0 for a line, which has none.
    pub crc: u32,
    is_open: bool,
}

/// Instead of a time: not yet.
pub const UNWRITTEN: u64 = u64::MAX;

/// What a reply turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The reply to this request, which was open.
    To(Sent),
    /// The same, and a later request was answered before it.
    Overtaken(Sent),
    /// One more reply to a request that was answered.
    Again,
    /// The reply to a request that was given up on.
    Late,
    /// There was no such request.
    Nobody,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Window {
    sent: VecDeque<Sent>,
    /// The number of `sent[0]`.
    front: u32,
    open: u32,
    /// Number behind the last request that was answered.
    answered_to: u32,
    lost: VecDeque<u32>,
}

impl Window {
    /// Empty, and its first request will have this number.
    pub fn from(first: u32) -> Window {
        Window { front: first, answered_to: first, ..Window::default() }
    }

    /// Requests that are open.
    pub const fn open(&self) -> u32 {
        self.open
    }

    /// The number of the next request.
    #[expect(clippy::cast_possible_truncation, reason = "numbers wrap")]
    pub fn next(&self) -> u32 {
        self.front.wrapping_add(self.sent.len() as u32)
    }

    /// Lets a request in, whose bytes end with this sum. It is not written yet.
    #[inline]
    pub fn push(&mut self, due: u64, sendable: u64, size: u32, crc: u32) {
        self.sent.push_back(Sent { due, sendable, written: UNWRITTEN, size, crc, is_open: true });
        self.open += 1;
    }

    /// The oldest request that is open and its number, if it was written and not overtaken.
    #[inline]
    pub fn front(&self) -> Option<(u32, &Sent)> {
        let is_next = |sent: &&Sent| sent.written != UNWRITTEN && !self.is_oldest_overtaken();
        self.sent.front().filter(is_next).map(|sent| (self.front, sent))
    }

    /// The reply to the request at the [front](Self::front) came, if there is one.
    #[inline]
    pub fn answer_front(&mut self) -> Option<Sent> {
        let sent = self.sent.pop_front()?;
        self.front = self.front.wrapping_add(1);
        self.open -= 1;
        if (self.front.wrapping_sub(self.answered_to) as i32) > 0 {
            self.answered_to = self.front;
        }
        self.drop_front();
        Some(sent)
    }

    /// The last `count` requests.
    #[inline]
    pub fn newest(&mut self, count: u32) -> impl Iterator<Item = &mut Sent> {
        let from = self.sent.len().saturating_sub(count as usize);
        self.sent.range_mut(from..)
    }

    /// The request with this number, if it is open or stands behind one that is.
    #[inline]
    pub fn at(&mut self, number: u32) -> Option<&mut Sent> {
        self.sent.get_mut(number.wrapping_sub(self.front) as usize)
    }

    /// The number of the oldest request that is open.
    #[inline]
    pub fn oldest(&self) -> Option<u32> {
        (!self.sent.is_empty()).then_some(self.front)
    }

    /// A reply to this request came.
    #[inline]
    pub fn answer(&mut self, number: u32) -> Answer {
        let ahead = number.wrapping_sub(self.front);
        let Some(sent) = self.sent.get_mut(ahead as usize) else {
            return self.not_open(number);
        };
        if !sent.is_open {
            return Answer::Again;
        }
        if sent.written == UNWRITTEN {
            return Answer::Nobody;
        }
        sent.is_open = false;
        let sent = *sent;
        self.open -= 1;
        // Numbers wrap, so "before" is "less than half way round".
        let is_overtaken = (self.answered_to.wrapping_sub(number) as i32) > 0;
        if !is_overtaken {
            self.answered_to = number.wrapping_add(1);
        }
        self.drop_front();
        if is_overtaken { Answer::Overtaken(sent) } else { Answer::To(sent) }
    }

    #[cold]
    fn not_open(&self, number: u32) -> Answer {
        let is_before = (self.front.wrapping_sub(number) as i32) > 0;
        if !is_before {
            Answer::Nobody
        } else if self.lost.contains(&number) {
            Answer::Late
        } else {
            Answer::Again
        }
    }

    /// Whether a later request than the oldest one was answered.
    pub fn is_oldest_overtaken(&self) -> bool {
        !self.sent.is_empty() && (self.answered_to.wrapping_sub(self.front) as i32) > 0
    }

    /// Gives the oldest request up.
    pub fn give_up_oldest(&mut self) -> Option<Sent> {
        let sent = self.sent.pop_front()?;
        if self.lost.len() == LOST_MAX {
            self.lost.pop_front();
        }
        self.lost.push_back(self.front);
        self.front = self.front.wrapping_add(1);
        self.open -= 1;
        self.drop_front();
        Some(sent)
    }

    #[inline]
    fn drop_front(&mut self) {
        while self.sent.front().is_some_and(|sent| !sent.is_open) {
            self.sent.pop_front();
            self.front = self.front.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn written(window: &mut Window, count: u32) {
        for _ in 0..count {
            let number = window.next();
            window.push(0, 0, 1, 0);
            window.at(number).unwrap().written = 1;
        }
    }

    #[test]
    fn replies_are_told_apart() {
        let mut window = Window::default();
        written(&mut window, 4);
        assert!(matches!(window.answer(0), Answer::To(_)));
        assert_eq!(window.answer(0), Answer::Again, "in front of all that is open");
        assert!(matches!(window.answer(2), Answer::To(_)));
        assert_eq!(window.answer(2), Answer::Again, "behind one that is open");
        assert!(window.is_oldest_overtaken());
        assert!(matches!(window.answer(1), Answer::Overtaken(_)));
        assert!(!window.is_oldest_overtaken());
        assert_eq!(window.answer(4), Answer::Nobody);
        window.push(0, 0, 1, 0);
        assert_eq!(window.answer(4), Answer::Nobody, "it was not written yet");
        assert_eq!((window.open(), window.oldest()), (2, Some(3)));
    }

    #[test]
    fn a_late_reply_is_not_a_second_one() {
        let mut window = Window::default();
        written(&mut window, 3);
        window.answer(1);
        assert!(window.give_up_oldest().is_some());
        assert_eq!(window.answer(0), Answer::Late);
        assert_eq!(window.answer(1), Answer::Again);
        assert_eq!((window.open(), window.oldest()), (1, Some(2)));
        written(&mut window, 2 * u32::try_from(LOST_MAX).unwrap());
        while window.give_up_oldest().is_some() {}
        assert_eq!(window.lost.len(), LOST_MAX);
    }

    #[test]
    fn numbers_wrap() {
        let mut window = Window::from(u32::MAX - 1);
        written(&mut window, 4);
        assert!(matches!(window.answer(u32::MAX), Answer::To(_)));
        assert!(matches!(window.answer(1), Answer::To(_)));
        assert!(matches!(window.answer(u32::MAX - 1), Answer::Overtaken(_)));
        assert!(matches!(window.answer(0), Answer::Overtaken(_)));
        assert_eq!(window.answer(0), Answer::Again);
        assert_eq!((window.open(), window.next()), (0, 2));
    }

    proptest! {
        /// Whatever comes in whatever order, each request is answered once, and what is open is what was not.
        #[test]
        fn every_request_is_answered_once(first in any::<u32>(), replies in vec(0u32..20, 0..60)) {
            let mut window = Window::from(first);
            written(&mut window, 16);
            let mut seen = std::collections::BTreeSet::new();
            for number in replies {
                let answer = window.answer(first.wrapping_add(number));
                let is_overtaken = seen.iter().any(|other| *other > number);
                match answer {
                    Answer::To(_) => prop_assert!(number < 16 && !is_overtaken && seen.insert(number)),
                    Answer::Overtaken(_) => prop_assert!(number < 16 && is_overtaken && seen.insert(number)),
                    Answer::Again => prop_assert!(seen.contains(&number)),
                    Answer::Nobody => prop_assert!(number >= 16),
                    Answer::Late => prop_assert!(false, "nothing was given up"),
                }
                prop_assert_eq!(window.open() as usize, 16 - seen.len());
                let oldest = (0..16).find(|number| !seen.contains(number));
                prop_assert_eq!(window.oldest(), oldest.map(|number| first.wrapping_add(number)));
            }
        }
    }
}
