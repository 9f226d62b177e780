//! The rates of connections, where a server has any: what each may still send and be sent, and who waits for that.
//!
//! ```text
//!   batch ends --charge--> buckets of the connection, of its address --empty?--> paused, with a place in the heap
//!                                                                                      |
//!   timers, at the moment that the buckets say: look again, go on, or wait on <--------'
//! ```
//!
//! It lies beside the table, so that a connection of a server without rates costs nothing for it: no byte, and no work but the
//! look whether there is any of this. What is never touched costs no memory either.
//!
//! Always holds: who is paused for its rate has a place in the heap, so the pause ends by itself; places of connections
//! that are gone are at most as many as those of others and [`STALE_MAX`]. Never: a message in hand dropped.

use super::quotas::{AddressRates, Quotas};
use crate::base::limits::{Limits, WhenOver};
use crate::base::{Address, Bucket, Ms, Rate, Text, Time};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What is kept for a slot: three buckets, and the bytes that were charged. An array of numbers, so that the table starts as
/// zero pages that cost nothing until a slot is used.
type Meter = [u64; 4];
const MESSAGES: usize = 0;
const BYTES: usize = 1;
const DELIVERIES: usize = 2;
const CHARGED: usize = 3;

/// Places in the heap of connections that are gone, besides as many as there are others, before they are swept.
const STALE_MAX: usize = 64;

/// Counters of bytes wrap at 48 bits.
const BYTES_MASK: u64 = (1 << 48) - 1;

/// All rates of one loop's connections.
#[derive(Debug)]
pub(super) struct Meters {
    messages: Option<Rate>,
    bytes: Option<Rate>,
    deliveries: Option<Rate>,
    address: AddressRates,
    /// Requests beyond the rate are refused, where that can be said.
    pub(super) refuses: bool,
    of: Box<[Meter]>,
    paused: BinaryHeap<Reverse<(Time, u32, u32)>>,
    /// How long the last that was paused waits, in milliseconds.
    pub(super) wait_ms: u32,
    /// Whose batch is in hand.
    pub(super) in_hand: Address,
}

/// A rate that is exceeded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over {
    until: Time,
    most: u64,
    what: &'static str,
}

impl Over {
    /// How long it is worth waiting, in milliseconds.
    pub(super) fn retry_ms(&self, now: Time) -> u32 {
        u32::try_from(self.until.since_us(now).div_ceil(1000)).unwrap_or(u32::MAX).max(1)
    }

    /// What its requester is told.
    pub(super) fn text(&self) -> Text {
        Text::of(format_args!("the limit of {} {} is reached", self.most, self.what))
    }
}

impl Meters {
    /// For so many slots. `None` if there is no rate.
    pub(super) fn new(limits: &Limits, slots: usize) -> Option<Box<Meters>> {
        let of_messages = |most: Option<u32>| most.map(|most| Rate::new(u64::from(most), limits.burst));
        let meters = Meters {
            messages: of_messages(limits.messages_per_second),
            bytes: limits.bytes_per_second.map(|most| Rate::new(most, limits.burst)),
            deliveries: of_messages(limits.deliveries_per_second),
            address: AddressRates::of(limits),
            refuses: limits.when_over == WhenOver::Refuse,
            of: Box::default(),
            paused: BinaryHeap::new(),
            wait_ms: 0,
            in_hand: Address::Unix,
        };
        let Meters { messages, bytes, deliveries, address, .. } = &meters;
        let is_wanted = messages.is_some() || bytes.is_some() || deliveries.is_some() || address.is_some();
        is_wanted.then(|| Box::new(Meters { of: vec![[0; 4]; slots].into_boxed_slice(), ..meters }))
    }

    /// A slot has a new owner.
    pub(super) fn begin(&mut self, slot: u32) {
        self.of[slot as usize] = Meter::default();
    }

    /// Bytes that came since the last time, of `bytes_in` in all, modulo 2⁴⁸.
    pub(super) fn new_bytes(&mut self, slot: u32, bytes_in: u64) -> u64 {
        let charged = std::mem::replace(&mut self.of[slot as usize][CHARGED], bytes_in);
        bytes_in.wrapping_sub(charged) & BYTES_MASK
    }

    /// Charges a connection and its address for so many messages and bytes. Gives when they may go on, if not now; they may be
    /// in debt for so many `bursts`.
    pub(super) fn charge(
        &mut self,
        (slot, address): (u32, Address),
        (messages, bytes): (u64, u64),
        bursts: u64,
        (quotas, limits, now): (&Quotas, &Limits, Time),
    ) -> Option<Time> {
        let meter = &mut self.of[slot as usize];
        let mut until = None;
        for (rate, at, units) in [(self.messages, MESSAGES, messages), (self.bytes, BYTES, bytes)] {
            if let Some(rate) = rate {
                let bucket = rate.charge(Bucket { full_at_ns: meter[at] }, units, now);
                meter[at] = bucket.full_at_ns;
                until = until.max(rate.wait_for_debt(bucket, bursts, now));
            }
        }
        if self.address.is_some() {
            let units = (messages, bytes);
            until = until.max(quotas.charge_address(address, limits, self.address, units, bursts, now));
        }
        until
    }

    /// Charges for one request of so many bytes, or says which of the rates does not allow it: then nothing is charged.
    pub(super) fn spend(
        &mut self,
        slot: u32,
        bytes: u64,
        (quotas, limits, now): (&Quotas, &Limits, Time),
    ) -> Result<(), Over> {
        let meter = &mut self.of[slot as usize];
        let kinds = [
            (self.messages, MESSAGES, 1, "messages of a connection in a second"),
            (self.bytes, BYTES, bytes, "bytes of a connection in a second"),
        ];
        for (rate, at, _, what) in kinds {
            if let Some(rate) = rate
                && let Some(until) = rate.wait(Bucket { full_at_ns: meter[at] }, now)
            {
                return Err(Over { until, most: rate.per_second(), what });
            }
        }
        if self.address.is_some() {
            let spent = quotas.spend_address(self.in_hand, limits, self.address, bytes, now);
            spent.map_err(|(until, most, what)| Over { until, most, what })?;
        }
        for (rate, at, units, _) in kinds {
            if let Some(rate) = rate {
                meter[at] = rate.charge(Bucket { full_at_ns: meter[at] }, units, now).full_at_ns;
            }
        }
        Ok(())
    }

    /// Takes one message that others send to a connection. False if its rate does not allow it.
    pub(super) fn take_delivery(&mut self, slot: u32, now: Time) -> bool {
        let Some(rate) = self.deliveries else { return true };
        let at = &mut self.of[slot as usize][DELIVERIES];
        let bucket = Bucket { full_at_ns: *at };
        let may = rate.wait(bucket, now).is_none();
        if may {
            *at = rate.charge(bucket, 1, now).full_at_ns;
        }
        may
    }

    /// A connection waits until then; so many are in the table.
    pub(super) fn wait_until(&mut self, until: Time, slot: u32, generation: u32, now: Time) {
        self.wait_ms = u32::try_from(until.since_us(now).div_ceil(1000)).unwrap_or(u32::MAX);
        self.paused.push(Reverse((until, slot, generation)));
    }

    /// Sweeps out those who are gone, if they are many. `is_paused` says of a slot and its generation whether it is not.
    pub(super) fn sweep(&mut self, waiting: usize, is_paused: impl Fn(u32, u32) -> bool) {
        if self.paused.len() > 2 * waiting + STALE_MAX {
            self.paused.retain(|Reverse((_, slot, generation))| is_paused(*slot, *generation));
        }
    }

    /// Who has waited for long enough: slot and generation.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<(u32, u32)> {
        let Reverse((until, slot, generation)) = *self.paused.peek()?;
        if until > now {
            return None;
        }
        self.paused.pop();
        Some((slot, generation))
    }

    /// The first millisecond at which somebody has, for sure.
    pub(super) fn next_due(&self) -> Option<Ms> {
        self.paused.peek().map(|Reverse((until, ..))| until.plus_us(999).ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn meters(limits: &Limits) -> Box<Meters> {
        Meters::new(limits, 8).expect("a rate")
    }

    #[test]
    fn without_a_rate_there_are_no_meters() {
        assert!(Meters::new(&Limits::default(), 8).is_none());
        let limits = Limits { deliveries_per_second: Some(1), ..Limits::default() };
        assert!(Meters::new(&limits, 8).is_some());
    }

    #[test]
    fn the_longest_wait_counts_and_nothing_is_charged_for_what_is_refused() {
        let limits = Limits {
            messages_per_second: Some(10),
            bytes_per_second: Some(1024),
            address_messages_per_second: Some(4),
            ..Limits::default()
        };
        let (quotas, now) = (Quotas::new(1), Time(1_000_000));
        let address = Address::Ip("10.0.0.1:1".parse().unwrap());
        assert!(quotas.take_address(address, &limits, now));
        let world = (&quotas, &limits, now);
        let mut of = meters(&limits);
        of.in_hand = address;
        assert_eq!(of.charge((3, address), (1, 4 * 1024), 0, world), Some(Time(4_000_001)), "bytes");
        of.begin(3);
        for _ in 0..3 {
            assert!(of.spend(3, 10, world).is_ok());
        }
        let over = of.spend(3, 10, world).expect_err("four of its address");
        assert_eq!(over.text().as_str(), "the limit of 4 messages of an address in a second is reached");
        assert_eq!(over.retry_ms(now), 1);
        assert_eq!(of.charge((4, Address::Unix), (9, 0), 0, world), None, "unix sockets have no address");
        assert!(of.spend(4, 2000, (&quotas, &limits, now)).is_err(), "its own address is in hand");
        of.in_hand = Address::Unix;
        assert!(of.spend(4, 2000, world).is_ok(), "the tenth");
        let over = of.spend(4, 1, world).expect_err("ten of its own");
        assert_eq!(over.text().as_str(), "the limit of 10 messages of a connection in a second is reached");
    }

    #[test]
    fn bytes_are_charged_once_and_across_the_wrap() {
        let limits = Limits { bytes_per_second: Some(1024), ..Limits::default() };
        let mut of = meters(&limits);
        assert_eq!((of.new_bytes(2, 100), of.new_bytes(2, 100), of.new_bytes(2, 130)), (100, 0, 30));
        of.new_bytes(2, BYTES_MASK - 1);
        assert_eq!(of.new_bytes(2, 8), 10);
        of.begin(2);
        assert_eq!(of.new_bytes(2, 5), 5, "another connection");
    }

    #[test]
    fn deliveries_are_dropped_beyond_the_rate() {
        let limits =
            Limits { deliveries_per_second: Some(5), burst: Duration::from_secs(2), ..Limits::default() };
        let mut of = meters(&limits);
        let taken = |of: &mut Meters, now| (0..100).filter(|_| of.take_delivery(1, now)).count();
        assert_eq!(taken(&mut of, Time(1)), 10, "a burst of two seconds");
        assert_eq!(taken(&mut of, Time(1_000_001)), 5);
    }

    #[test]
    fn who_waits_is_found_in_time_and_who_is_gone_is_swept() {
        let limits = Limits { messages_per_second: Some(5), ..Limits::default() };
        let mut of = meters(&limits);
        of.wait_until(Time(5_500), 1, 7, Time(0));
        of.wait_until(Time(2_001), 2, 8, Time(0));
        assert_eq!(of.next_due(), Some(Ms(3)), "not before");
        assert_eq!(of.pop_due(Time(2_000)), None);
        assert_eq!((of.pop_due(Time(9_000)), of.pop_due(Time(9_000))), (Some((2, 8)), Some((1, 7))));
        assert_eq!((of.pop_due(Time(9_000)), of.next_due()), (None, None));
        for generation in 0..200 {
            of.wait_until(Time(1), 3, generation, Time(0));
            of.sweep(1, |_, other| other == generation);
            assert!(of.paused.len() <= STALE_MAX + 3, "{}", of.paused.len());
        }
    }
}
