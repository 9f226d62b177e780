//! The bounds that a server may be given.

use super::{
    AGE_JITTER_PERCENT, BURST, CONNECT_DEADLINE, ENTRANCE, FRAME_DEADLINE_BASE, HEARTBEAT, IPV6_PREFIX,
    LINGER, OPEN_REQUESTS, OPEN_REQUESTS_MAX, OUTPUT_HIGH_BYTES, OUTPUT_LOW_BYTES, PER_ADDRESS,
    RECONNECT_RATE, REQUEST_DEADLINE, STALL_US, WRITE_STALL,
};
use std::time::Duration;

/// What happens to requests of a connection, or of an address, that sends more than its rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenOver {
    /// It is not read until the rate allows more. Nothing is lost; its own kernel tells it to wait. Since a batch is counted
    /// when it is done, one batch (256 messages, 256 KiB) more than the burst may pass, and is paid back by the pause.
    #[default]
    Pause,
    /// Each request beyond the rate is answered OVERLOADED at once, with the time after which it is worth another try, and
    /// costs nothing of the rate. Bare frames have no such answer: their connections are paused.
    Refuse,
}

/// The bounds that a server may be given, each with the default above. Checked once, where a server is built; make one
/// from those that differ and `..Limits::default()`.
///
/// Durations count in milliseconds, up to 24 days ([`DEADLINE_MS_MAX`](super::DEADLINE_MS_MAX)), unless they say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Output that waits for a connection above which it is not read, in bytes: 1 to a quarter of a loop's memory.
    /// Default: 256 KiB ([`OUTPUT_HIGH_BYTES`]). Together with the listener's largest payload it bounds a reply.
    pub output_high_bytes: u32,
    /// Output below which it is read again, in bytes, less than `output_high_bytes`. Default: 64 KiB
    /// ([`OUTPUT_LOW_BYTES`]).
    pub output_low_bytes: u32,
    /// A frame must be whole this long after its first byte, and the time that its length takes at 16 KiB/s. Default:
    /// 10 s ([`FRAME_DEADLINE_BASE`]).
    pub frame_deadline: Duration,
    /// A peer from which no whole message came for this long is closed; at least 1 ms. Default: `None`, which waits for
    /// ever.
    pub idle: Option<Duration>,
    /// A peer that takes no byte for this long, while output waits for it, is closed. Default: 30 s ([`WRITE_STALL`]).
    pub write_stall: Duration,
    /// How long an ended connection is still read, so that its last replies are not destroyed by a reset. Default: 2 s
    /// ([`LINGER`]).
    pub linger: Duration,
    /// A batch of one connection that takes longer is logged and counted, in microseconds. Default: 10 ms
    /// ([`STALL_US`]).
    pub stall: Duration,
    /// Requests of one connection that may be open before it is not read, `1..=4096`. Default: 128 ([`OPEN_REQUESTS`]).
    pub open_requests: u32,
    /// How long the answer to a deferred request may take, if its requester gives it no less. Default: 30 s
    /// ([`REQUEST_DEADLINE`]).
    pub request_deadline: Duration,
    /// When a peer that said HELLO and then nothing is asked for life; after twice as long it is closed. `None` asks
    /// nobody. Default: 25 s ([`HEARTBEAT`]).
    pub heartbeat: Option<Duration>,
    /// How long connecting to another server may take. Default: 5 s ([`CONNECT_DEADLINE`]).
    pub connect_deadline: Duration,
    /// The most connections of one address at once, on all loops together, at least 1; `None` for no such limit. IPv6
    /// addresses count by their network, and unix sockets not at all. Default: 4096 ([`PER_ADDRESS`]).
    pub per_address: Option<u32>,
    /// Leading bits of an IPv6 address that make one address of many, `1..=128`. Default: 64 ([`IPV6_PREFIX`]).
    pub ipv6_prefix: u8,
    /// Newcomers that all loops together take in a second; more wait in the kernel's queue. `None`, the default, for as many
    /// as come; else at least 1.
    pub accept_rate: Option<u32>,
    /// Messages that a connection may send in a second, control frames included. `None`, the default, for no such limit;
    /// else at least 1. As the other rates, it may be exceeded by a `burst` at once.
    pub messages_per_second: Option<u32>,
    /// Bytes that a connection may send in a second, at least 1024, or `None`, the default.
    pub bytes_per_second: Option<u64>,
    /// Messages that others may send a connection in a second, at least 1; those beyond are dropped and counted. Or `None`,
    /// the default.
    pub deliveries_per_second: Option<u32>,
    /// Messages that all connections of an address together may send in a second, at least 1, or `None`, the default.
    pub address_messages_per_second: Option<u32>,
    /// Bytes that they may send, at least 1024, or `None`, the default.
    pub address_bytes_per_second: Option<u64>,
    /// For how long a share is saved that was not used, 10 ms to 1 h: so much may come at once. Default: 1 s ([`BURST`]).
    pub burst: Duration,
    /// What happens to a request beyond these rates. Default: [`WhenOver::Pause`].
    pub when_over: WhenOver,
    /// How long a connection may be open. Then it is told to go elsewhere, as in a drain, and ends in order. Default: `None`,
    /// as long as it likes.
    pub max_age: Option<Duration>,
    /// By how much of that it may end earlier, in percent, `0..=50`: drawn for each connection, so that those that came
    /// together don't all go together. Default: 10 ([`AGE_JITTER_PERCENT`]).
    pub max_age_jitter: u8,
    /// How many clients a second may come back after a drain, in all: those that said HELLO are told to wait for a random
    /// part of the time that all connections need at this rate, at most a minute. `1..=1000000`. Default: 2,000
    /// ([`RECONNECT_RATE`]).
    pub reconnect_rate: u32,
    /// How long a newcomer may take for what its listener wants before the first message. Default: 5 s ([`ENTRANCE`]).
    pub entrance: Duration,
}

const _: () = assert!(OPEN_REQUESTS_MAX == 4096, "the doc of `open_requests` names it");

impl Default for Limits {
    fn default() -> Self {
        Limits {
            output_high_bytes: OUTPUT_HIGH_BYTES,
            output_low_bytes: OUTPUT_LOW_BYTES,
            frame_deadline: FRAME_DEADLINE_BASE,
            idle: None,
            write_stall: WRITE_STALL,
            linger: LINGER,
            stall: Duration::from_micros(STALL_US),
            open_requests: OPEN_REQUESTS,
            request_deadline: REQUEST_DEADLINE,
            heartbeat: Some(HEARTBEAT),
            connect_deadline: CONNECT_DEADLINE,
            per_address: Some(PER_ADDRESS),
            ipv6_prefix: IPV6_PREFIX,
            accept_rate: None,
            messages_per_second: None,
            bytes_per_second: None,
            deliveries_per_second: None,
            address_messages_per_second: None,
            address_bytes_per_second: None,
            burst: BURST,
            when_over: WhenOver::Pause,
            max_age: None,
            max_age_jitter: AGE_JITTER_PERCENT,
            reconnect_rate: RECONNECT_RATE,
            entrance: ENTRANCE,
        }
    }
}
