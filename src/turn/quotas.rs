//! What all loops of a server count together, besides its seats: connections of each listener and each address, what an
//! address has sent, and how fast newcomers come.
//!
//! ```text
//!   address -> prefix -> one of 64 parts, each behind a lock -> connections, and two buckets
//! ```
//!
//! A lock is held for one look into a map: at an accept, at an end, and, where an address has a rate, at a batch's end. What
//! is behind it is bounded by the server's seats, since an address is there as long as it has a connection; and one that is
//! in debt when its last connection ends is remembered until it is not, at most
//! [`ADDRESSES_REMEMBERED`] in each part.
//!
//! Always holds: no count is ever above its limit, whichever loops take at once; who took gives back, once. Never: a wait for
//! anything but such a look.

use crate::base::limits::{ADDRESS_SHARDS, ADDRESSES_REMEMBERED, Limits};
use crate::base::{Address, Bucket, Rate, Time};
use core::net::{IpAddr, Ipv6Addr};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What one server's loops share.
#[derive(Debug)]
pub struct Quotas {
    /// Connections of each listener.
    listeners: Box<[AtomicU32]>,
    /// The bucket of newcomers, as [`Bucket::full_at_ns`].
    newcomers: AtomicU64,
    hasher: RandomState,
    addresses: Box<[Mutex<Part>]>,
}

/// A part of the addresses.
#[derive(Debug, Default)]
struct Part {
    holders: HashMap<Prefix, Holder>,
    /// Of these, the ones without a connection.
    remembered: usize,
}

/// What counts as one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Prefix(u128);

/// One address.
#[derive(Clone, Copy, Debug, Default)]
struct Holder {
    connections: u32,
    messages: Bucket,
    bytes: Bucket,
}

/// The rates of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AddressRates {
    pub(super) messages: Option<Rate>,
    pub(super) bytes: Option<Rate>,
}

impl AddressRates {
    pub(super) fn of(limits: &Limits) -> AddressRates {
        AddressRates {
            messages: limits.address_messages_per_second.map(|most| Rate::new(u64::from(most), limits.burst)),
            bytes: limits.address_bytes_per_second.map(|most| Rate::new(most, limits.burst)),
        }
    }

    pub(super) const fn is_some(&self) -> bool {
        self.messages.is_some() || self.bytes.is_some()
    }
}

impl Prefix {
    /// `None` for who has no address. A mapped IPv4 address is the IPv4 address.
    fn of(address: Address, ipv6_bits: u8) -> Option<Prefix> {
        let ip = match address.ip()?.ip() {
            IpAddr::V4(ip) => return Some(Prefix(ip.to_ipv6_mapped().to_bits())),
            IpAddr::V6(ip) => ip,
        };
        if let Some(ip) = ip.to_ipv4_mapped() {
            return Some(Prefix(ip.to_ipv6_mapped().to_bits()));
        }
        let hidden = 128 - u32::from(ipv6_bits.min(128));
        let network = Ipv6Addr::to_bits(ip).checked_shr(hidden).unwrap_or(0);
        Some(Prefix(network.checked_shl(hidden).unwrap_or(0)))
    }
}

impl Quotas {
    /// For so many listeners, with nobody there.
    pub fn new(listeners: usize) -> Quotas {
        Quotas {
            listeners: (0..listeners).map(|_| AtomicU32::new(0)).collect(),
            newcomers: AtomicU64::new(0),
            hasher: RandomState::new(),
            addresses: (0..ADDRESS_SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Addresses that have connections now.
    pub fn addresses(&self) -> usize {
        self.addresses.iter().map(lock).map(|part| part.holders.len() - part.remembered).sum()
    }

    /// Connections of a listener.
    pub fn of_listener(&self, listener: u32) -> u32 {
        self.listeners.get(listener as usize).map_or(0, |count| count.load(Relaxed))
    }

    /// Takes a place at a listener. False if it has as many as it may.
    #[must_use = "only a place that was taken may be given back"]
    pub(super) fn take_listener(&self, listener: u32, most: Option<u32>) -> bool {
        let Some(count) = self.listeners.get(listener as usize) else { return true };
        let most = most.unwrap_or(u32::MAX);
        count.fetch_update(Relaxed, Relaxed, |count| (count < most).then(|| count + 1)).is_ok()
    }

    pub(super) fn give_listener_back(&self, listener: u32) {
        if let Some(count) = self.listeners.get(listener as usize) {
            let before = count.fetch_sub(1, Relaxed);
            debug_assert!(before > 0, "a place that was never taken");
        }
    }

    fn part(&self, prefix: Prefix) -> MutexGuard<'_, Part> {
        let place = self.hasher.hash_one(prefix) % ADDRESS_SHARDS as u64;
        lock(&self.addresses[usize::try_from(place).unwrap_or(0)])
    }

    /// Takes a place for a connection of this address. False if it has as many as it may.
    #[must_use = "only a place that was taken may be given back"]
    pub(super) fn take_address(&self, address: Address, limits: &Limits, now: Time) -> bool {
        let Some(prefix) = Prefix::of(address, limits.ipv6_prefix) else { return true };
        let most = limits.per_address.unwrap_or(u32::MAX);
        let mut part = self.part(prefix);
        let Part { holders, remembered } = &mut *part;
        match holders.entry(prefix) {
            Entry::Occupied(mut holder) => {
                let holder = holder.get_mut();
                if holder.connections >= most {
                    return false;
                }
                *remembered -= usize::from(holder.connections == 0);
                holder.connections += 1;
            }
            Entry::Vacant(_) if most == 0 => return false,
            Entry::Vacant(place) => {
                place.insert(Holder { connections: 1, ..Holder::default() });
                if *remembered >= ADDRESSES_REMEMBERED {
                    part.forget(now);
                }
            }
        }
        true
    }

    pub(super) fn give_address_back(&self, address: Address, limits: &Limits, now: Time) {
        let Some(prefix) = Prefix::of(address, limits.ipv6_prefix) else { return };
        let mut part = self.part(prefix);
        let Entry::Occupied(mut holder) = part.holders.entry(prefix) else {
            debug_assert!(false, "a place that was never taken");
            return;
        };
        let Holder { connections, messages, bytes } = holder.get_mut();
        debug_assert!(*connections > 0, "a place that was never taken");
        *connections = connections.saturating_sub(1);
        if *connections > 0 {
            return;
        }
        if messages.is_full(now) && bytes.is_full(now) {
            holder.remove();
        } else {
            part.remembered += 1;
        }
    }

    /// Charges an address for what one of its connections sent. Gives when its rates allow more, if they don't now. An
    /// address may be in debt for so many `bursts`.
    pub(super) fn charge_address(
        &self,
        address: Address,
        limits: &Limits,
        rates: AddressRates,
        (messages, bytes): (u64, u64),
        bursts: u64,
        now: Time,
    ) -> Option<Time> {
        let prefix = Prefix::of(address, limits.ipv6_prefix)?;
        let mut part = self.part(prefix);
        let holder = part.holders.get_mut(&prefix)?;
        let charged =
            [(rates.messages, &mut holder.messages, messages), (rates.bytes, &mut holder.bytes, bytes)];
        let waits = charged.into_iter().filter_map(|(rate, bucket, units)| {
            let rate = rate?;
            *bucket = rate.charge(*bucket, units, now);
            rate.wait_for_debt(*bucket, bursts, now)
        });
        waits.max()
    }

    /// Charges an address for one request of so many bytes, or gives when its rates allow one, and which of them does not.
    pub(super) fn spend_address(
        &self,
        address: Address,
        limits: &Limits,
        rates: AddressRates,
        bytes: u64,
        now: Time,
    ) -> Result<(), (Time, u64, &'static str)> {
        let Some(prefix) = Prefix::of(address, limits.ipv6_prefix) else { return Ok(()) };
        let mut part = self.part(prefix);
        let Some(holder) = part.holders.get_mut(&prefix) else { return Ok(()) };
        let mut kinds = [
            (rates.messages, &mut holder.messages, 1, "messages of an address in a second"),
            (rates.bytes, &mut holder.bytes, bytes, "bytes of an address in a second"),
        ];
        for (rate, bucket, _, what) in &kinds {
            if let Some(rate) = rate
                && let Some(until) = rate.wait(**bucket, now)
            {
                return Err((until, rate.per_second(), what));
            }
        }
        for (rate, bucket, units, _) in &mut kinds {
            if let Some(rate) = rate {
                **bucket = rate.charge(**bucket, *units, now);
            }
        }
        Ok(())
    }

    /// Whether a newcomer may be taken now; else when. Whoever takes one [says so](Quotas::note_newcomer).
    pub(super) fn wait_for_newcomer(&self, rate: Rate, now: Time) -> Option<Time> {
        rate.wait(Bucket { full_at_ns: self.newcomers.load(Relaxed) }, now)
    }

    /// A newcomer was taken.
    pub(super) fn note_newcomer(&self, rate: Rate, now: Time) {
        let charge = |full_at_ns| Some(rate.charge(Bucket { full_at_ns }, 1, now).full_at_ns);
        let _ = self.newcomers.fetch_update(Relaxed, Relaxed, charge);
    }
}

impl Part {
    /// Forgets addresses without connections: those that are out of debt, and if that is not enough, all.
    #[cold]
    fn forget(&mut self, now: Time) {
        let is_due = |holder: &Holder| !(holder.messages.is_full(now) && holder.bytes.is_full(now));
        self.holders.retain(|_, holder| holder.connections > 0 || is_due(holder));
        let remembered = self.holders.values().filter(|holder| holder.connections == 0).count();
        self.remembered = remembered;
        if remembered >= ADDRESSES_REMEMBERED {
            self.holders.retain(|_, holder| holder.connections > 0);
            self.remembered = 0;
        }
    }
}

fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
