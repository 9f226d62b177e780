//! Bounds of how many, how fast and how long: for an address, a connection, the door.

use std::time::Duration;

/// Connections of one address at once, unless a server is told otherwise: a sixteenth of all, so that one host can't take
/// every seat, and more than a crowd behind one router has.
pub const PER_ADDRESS: u32 = 4096;

/// Leading bits of an IPv6 address that name its owner: providers give each customer a network of 64 or fewer (RFC 6177).
pub const IPV6_PREFIX: u8 = 64;

/// Parts of the table of addresses, each with a lock of its own that is held for some 50 ns: with as many, loops hardly
/// ever meet at one.
pub const ADDRESS_SHARDS: usize = 64;

/// Addresses without connections that one part of that table remembers, because they are still in debt: else who is over
/// the rate of its address would only have to connect again. With more, all of them are forgotten.
pub const ADDRESSES_REMEMBERED: usize = 1024;

/// What a bucket of a rate holds, in time: so much may come at once.
pub const BURST: Duration = Duration::from_secs(1);

/// The shortest burst: timers are late by a millisecond or more, and what comes due meanwhile must fit the bucket ...
pub const BURST_MIN: Duration = Duration::from_millis(10);

/// ... and the longest: with it, who was quiet for an hour may send an hour's share at once.
pub const BURST_MAX: Duration = Duration::from_secs(3600);

/// The largest rate of messages or newcomers, in one second: more than a loop handles.
pub const MESSAGES_PER_SECOND_MAX: u32 = 100_000_000;

/// The largest rate of bytes, in one second: 64 GiB, more than any network brings ...
pub const BYTES_PER_SECOND_MAX: u64 = 64 << 30;

/// ... and the least: what one visit reads at once ([`SCRATCH_BYTES`](super::SCRATCH_BYTES)) is paid back within minutes.
pub const BYTES_PER_SECOND_MIN: u64 = 1 << 10;

/// By how much of its age a connection may end earlier, in percent, so that those that came together don't go together ...
pub const AGE_JITTER_PERCENT: u8 = 10;

/// ... and the most that this may be.
pub const AGE_JITTER_PERCENT_MAX: u8 = 50;

/// How long a connection that has come of age is still served: time to go by itself, and to end the message that is on
/// its way. After that it is ended in order.
pub const AGED_GRACE: Duration = Duration::from_secs(5);
