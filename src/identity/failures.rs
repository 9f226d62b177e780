//! Where attempts to prove oneself have failed, so that who guesses is not even listened to.
//!
//! Always holds: the table has a fixed size, taken at the first failure; a full set loses the entry that is quiet for
//! longest. What is counted is an address, or the /64 of IPv6 that one customer has. Never: a clock.

use crate::base::limits::{FAILED_HELLOS_MAX, FAILED_HELLOS_MS, FAILURES_KEPT};
use crate::base::{Address, Rng};
use core::net::IpAddr;

/// Entries that a source may be kept in.
const WAYS: usize = 4;

/// Where an attempt comes from, as far as one attacker can't choose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source(u64);

impl Source {
    /// That of an address. A unix socket has none: who reaches it was let in by the file's permissions.
    pub fn of(address: Address) -> Option<Source> {
        let Address::Ip(address) = address else { return None };
        let ip = match address.ip() {
            IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4),
            ip @ IpAddr::V4(_) => ip,
        };
        Some(Source(match ip {
            // No /64 of anybody begins like this: 0000:ffff::/32 is reserved (RFC 4291).
            IpAddr::V4(ip) => 0xffff << 32 | u64::from(ip.to_bits()),
            IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
        }))
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    source: u64,
    /// 0: nobody's.
    count: u32,
    /// When the count began; from the last failure that is allowed on, when that was.
    since_ms: u64,
}

/// A bounded table of sources, and how often they have failed.
#[derive(Debug, Default)]
pub struct Failures {
    entries: Vec<[Entry; WAYS]>,
    /// So that nobody can choose whom it pushes out.
    seed: u64,
}

impl Failures {
    /// None yet. The seed decides who shares a place.
    pub fn new(seed: u64) -> Failures {
        Failures { entries: Vec::new(), seed }
    }

    /// For how many milliseconds more attempts from there are refused; 0: they are not.
    pub fn refused_ms(&self, source: Source, now_ms: u64) -> u32 {
        let Some(set) = self.entries.get(self.place(source)) else { return 0 };
        let entry = set.iter().find(|entry| entry.source == source.0 && entry.count >= FAILED_HELLOS_MAX);
        let gone_ms = entry.map_or(u64::MAX, |entry| now_ms.saturating_sub(entry.since_ms));
        u32::try_from(u64::from(FAILED_HELLOS_MS).saturating_sub(gone_ms)).unwrap_or(FAILED_HELLOS_MS)
    }

    /// One more attempt from there has failed. True if another source was forgotten for it that was still counted.
    pub fn note(&mut self, source: Source, now_ms: u64) -> bool {
        if self.entries.is_empty() {
            self.entries = vec![[Entry::default(); WAYS]; FAILURES_KEPT / WAYS];
        }
        let place = self.place(source);
        let is_old = |entry: &Entry| now_ms.saturating_sub(entry.since_ms) >= u64::from(FAILED_HELLOS_MS);
        let set = &mut self.entries[place];
        let known = set.iter().position(|entry| entry.count > 0 && entry.source == source.0);
        let at = known.unwrap_or_else(|| {
            let quietest = set.iter().enumerate().min_by_key(|(_, entry)| (entry.count > 0, entry.since_ms));
            quietest.map_or(0, |(at, _)| at)
        });
        let entry = &mut set[at];
        let is_forgotten = known.is_none() && entry.count > 0 && !is_old(entry);
        if known.is_none() || is_old(entry) {
            *entry = Entry { source: source.0, count: 0, since_ms: now_ms };
        }
        entry.count += 1;
        if entry.count == FAILED_HELLOS_MAX {
            entry.since_ms = now_ms;
        }
        is_forgotten
    }

    fn place(&self, source: Source) -> usize {
        let sets = (FAILURES_KEPT / WAYS) as u64;
        usize::try_from(Rng::new(self.seed ^ source.0).next_u64() % sets).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(Address::Ip(text.parse().expect("an address"))).expect("it has one")
    }

    #[test]
    fn sources_are_addresses_and_prefixes() {
        #[rustfmt::skip]
        let table = [
            ("one port and another",  "10.0.0.1:5",              "10.0.0.1:6",                true),
            ("another address",       "10.0.0.1:5",              "10.0.0.2:5",                false),
            ("mapped",                "[::ffff:10.0.0.1]:5",     "10.0.0.1:5",                true),
            ("the same /64",          "[2001:db8:0:7::1]:5",     "[2001:db8:0:7:ffff::2]:5",  true),
            ("another /64",           "[2001:db8:0:7::1]:5",     "[2001:db8:0:8::1]:5",       false),
            ("loopback is no IPv4",   "[::1]:5",                 "0.0.0.1:5",                 false),
        ];
        for (name, one, other, is_same) in table {
            assert_eq!(source(one) == source(other), is_same, "case: {name}");
        }
        assert_eq!(Source::of(Address::Unix), None);
    }

    #[test]
    fn after_so_many_within_a_minute_nobody_listens_for_a_minute() {
        let (mut failures, from, other) = (Failures::new(1), source("10.0.0.1:5"), source("10.0.0.2:5"));
        let window = u64::from(FAILED_HELLOS_MS);
        for attempt in 0..FAILED_HELLOS_MAX {
            assert_eq!(failures.refused_ms(from, 1_000 + u64::from(attempt)), 0, "attempt {attempt}");
            failures.note(from, 1_000 + u64::from(attempt));
        }
        let last = 1_000 + u64::from(FAILED_HELLOS_MAX) - 1;
        assert_eq!(failures.refused_ms(from, last), FAILED_HELLOS_MS);
        assert_eq!(failures.refused_ms(from, last + window - 1), 1);
        assert_eq!(failures.refused_ms(from, last + window), 0);
        assert_eq!(failures.refused_ms(other, last), 0);
        // Slower than that: never.
        for attempt in 0..100 {
            let now = last + window * (1 + attempt) + attempt;
            assert_eq!(failures.refused_ms(from, now), 0, "attempt {attempt}");
            for _ in 1..FAILED_HELLOS_MAX {
                failures.note(from, now);
            }
        }
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_quietest() {
        let mut failures = Failures::new(7);
        let of = |number: u32| {
            Source::of(Address::Ip((core::net::Ipv4Addr::from_bits(number), 1).into())).expect("one")
        };
        let many = u32::try_from(4 * FAILURES_KEPT).expect("it fits");
        let forgotten = (0..many).filter(|number| failures.note(of(*number), u64::from(*number))).count();
        assert_eq!(failures.entries.len() * WAYS, FAILURES_KEPT);
        assert!(forgotten > FAILURES_KEPT, "{forgotten}");
        let kept: Vec<u64> = failures.entries.iter().flatten().map(|entry| entry.since_ms).collect();
        let early = kept.iter().filter(|since| **since < u64::from(many) / 4).count();
        assert!(early < FAILURES_KEPT / 16, "{early} of the first quarter are still there");
        // Those whose time is over are no loss.
        let later = u64::from(many) + u64::from(FAILED_HELLOS_MS);
        assert!(!failures.note(of(many), later));
    }
}
