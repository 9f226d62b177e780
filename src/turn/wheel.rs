//! A timer wheel for one deadline a connection, re-armed lazily: no timer work for a message.
//!
//! ```text
//!   ticks of 64 ms:   [ 0 ][ 1 ][ 2 ] ... [ 511 ]     one turn of the wheel: 32.8 s
//!                            ^ now   `- slot <-> slot <-> slot   (double links by slot, 12 bytes each)
//! ```
//!
//! A deadline beyond one turn of the wheel waits in the farthest bucket and is looked at again there. A slot fires
//! at the end of its tick, so up to one tick late and never early; whoever owns it then looks whether a deadline has
//! really passed, and arms again if not.
//!
//! Invariants: a slot is in one bucket at most; a bucket's bit is set exactly if it has a slot; `armed` slots in all.

use crate::base::Ms;

/// Width of a bucket, in milliseconds (a power of two).
const TICK_MS: u32 = 64;
const BUCKETS: u32 = 512;
const WORDS: u32 = BUCKETS / 64;

/// One slot's links: previous + 1, next + 1, bucket + 1; 0 is none. An array, so that the table starts as zero pages
/// that cost nothing until a slot is used.
type Link = [u32; 3];
/// What a slot costs here.
pub(super) const LINK_BYTES: usize = size_of::<Link>();
const PREVIOUS: usize = 0;
const NEXT: usize = 1;
const BUCKET: usize = 2;

/// The deadlines of one loop.
#[derive(Debug)]
pub(super) struct Wheel {
    links: Vec<Link>,
    heads: Box<[u32]>,
    bits: [u64; WORDS as usize],
    /// The tick that has been worked off, counted without wrapping.
    tick: u64,
    /// The moment of `tick`, to count the next ones from.
    at: Ms,
    armed: usize,
}

impl Wheel {
    /// A wheel for slots below `capacity`, starting at `now`.
    pub(super) fn new(capacity: usize, now: Ms) -> Wheel {
        Wheel {
            links: vec![[0; 3]; capacity],
            heads: vec![0; BUCKETS as usize].into_boxed_slice(),
            bits: [0; WORDS as usize],
            tick: 0,
            at: now,
            armed: 0,
        }
    }

    /// Sees to it that `slot` fires at `deadline` or before. An earlier date that it has already stays.
    pub(super) fn arm(&mut self, slot: u32, deadline: Ms, now: Ms) {
        if self.armed == 0 {
            // While nothing was armed nobody turned the wheel.
            let ticks = now.since(self.at) / TICK_MS;
            self.at = self.at.plus(ticks * TICK_MS);
            self.tick += u64::from(ticks);
        }
        // Ticks from the worked-off one, rounded up, at least the next, at most one turn of the wheel.
        let ahead = (deadline.since(self.at).div_ceil(TICK_MS)).clamp(1, BUCKETS - 1);
        let link = self.links[slot as usize];
        if link[BUCKET] != 0 {
            if self.ticks_ahead(link[BUCKET] - 1) <= ahead {
                return;
            }
            self.disarm(slot);
        }
        let bucket = self.bucket_ahead(ahead);
        self.link(slot, bucket);
    }

    /// Takes `slot` out, if it is in.
    pub(super) fn disarm(&mut self, slot: u32) {
        let [previous, next, bucket] = self.links[slot as usize];
        if bucket == 0 {
            return;
        }
        match previous {
            0 => self.heads[bucket as usize - 1] = next,
            previous => self.links[previous as usize - 1][NEXT] = next,
        }
        if next != 0 {
            self.links[next as usize - 1][PREVIOUS] = previous;
        }
        if self.heads[bucket as usize - 1] == 0 {
            self.bits[(bucket as usize - 1) / 64] &= !(1 << ((bucket - 1) % 64));
        }
        self.links[slot as usize] = [0; 3];
        self.armed -= 1;
    }

    /// Goes on to `now` and takes out one slot whose tick has passed. Call until it gives `None`.
    #[inline]
    pub(super) fn pop_due(&mut self, now: Ms) -> Option<u32> {
        loop {
            if self.armed == 0 {
                return None;
            }
            let head = self.heads[self.bucket_ahead(0) as usize];
            if head != 0 {
                self.disarm(head - 1);
                return Some(head - 1);
            }
            if now.since(self.at) < TICK_MS {
                return None;
            }
            self.at = self.at.plus(TICK_MS);
            self.tick += 1;
        }
    }

    /// When the next slot fires, if one is armed.
    #[inline]
    pub(super) fn next_due(&self) -> Option<Ms> {
        if self.armed == 0 {
            return None;
        }
        let now = self.bucket_ahead(0);
        let (word, bit) = (now / 64, now % 64);
        // The rest of the word that the hand is in, the other words around, and that word's beginning.
        let rest = self.bits[word as usize] & (u64::MAX << bit);
        let ahead = if rest != 0 {
            rest.trailing_zeros() - bit
        } else {
            (1..=WORDS).find_map(|step| {
                let found = self.bits[((word + step) % WORDS) as usize];
                (found != 0).then(|| step * 64 + found.trailing_zeros() - bit)
            })?
        };
        Some(self.at.plus(ahead * TICK_MS))
    }

    #[expect(clippy::cast_possible_truncation, reason = "below BUCKETS")]
    fn bucket_ahead(&self, ahead: u32) -> u32 {
        ((self.tick + u64::from(ahead)) % u64::from(BUCKETS)) as u32
    }

    fn ticks_ahead(&self, bucket: u32) -> u32 {
        (bucket + BUCKETS - self.bucket_ahead(0)) % BUCKETS
    }

    fn link(&mut self, slot: u32, bucket: u32) {
        let head = self.heads[bucket as usize];
        self.links[slot as usize] = [0, head, bucket + 1];
        if head != 0 {
            self.links[head as usize - 1][PREVIOUS] = slot + 1;
        }
        self.heads[bucket as usize] = slot + 1;
        self.bits[bucket as usize / 64] |= 1 << (bucket % 64);
        self.armed += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use std::collections::HashMap;

    /// Never early, at most a tick late, each once; whatever the order, across the wrap of the clock.
    #[test]
    fn slots_fire_like_in_a_naive_list() {
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            let mut now = Ms(u32::MAX - 20_000);
            let mut wheel = Wheel::new(64, now);
            let mut naive: HashMap<u32, Ms> = HashMap::new();
            for _ in 0..2_000 {
                let slot = u32::try_from(rng.below(64)).unwrap();
                match rng.below(4) {
                    0 | 1 => {
                        let deadline = now.plus(u32::try_from(rng.below(30_000)).unwrap());
                        wheel.arm(slot, deadline, now);
                        let earlier = naive.get(&slot).map_or(deadline, |had| had.min(deadline));
                        naive.insert(slot, earlier);
                    }
                    2 => {
                        wheel.disarm(slot);
                        naive.remove(&slot);
                    }
                    _ => now = now.plus(u32::try_from(rng.below(500)).unwrap()),
                }
                while let Some(slot) = wheel.pop_due(now) {
                    let deadline = naive.remove(&slot).expect("only armed slots fire");
                    assert!(deadline.reached(now), "seed {seed}: {deadline:?} fired early at {now:?}");
                }
                for deadline in naive.values() {
                    assert!(now.since(*deadline) <= 2 * TICK_MS, "seed {seed}: {deadline:?} late at {now:?}");
                }
                assert_eq!(wheel.next_due().is_some(), !naive.is_empty(), "seed {seed}");
                assert_eq!(wheel.armed, naive.len());
            }
        }
    }

    /// Sleeping until `next_due` always makes progress and never sleeps past a deadline by more than a tick.
    #[test]
    fn next_due_is_when_the_next_fires() {
        for ahead in [1, 63, 64, 65, 1_000, 4_096, 32_000, 100_000] {
            let start = Ms(1_000);
            let mut wheel = Wheel::new(4, start);
            wheel.arm(2, start.plus(ahead), start);
            let due = wheel.next_due().expect("one is armed");
            assert_eq!(wheel.pop_due(Ms(due.0 - 1)), None, "case: {ahead}");
            assert_eq!(wheel.pop_due(due), Some(2), "case: {ahead}");
            assert!(due.since(start) <= ahead + TICK_MS, "case: {ahead}");
        }
    }
}
