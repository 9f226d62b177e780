//! The bounds that a server may be given.

use super::{
    CONNECT_DEADLINE, ENTRANCE, FRAME_DEADLINE_BASE, HEARTBEAT, LINGER, OPEN_REQUESTS, OPEN_REQUESTS_MAX,
    OUTPUT_HIGH_BYTES, OUTPUT_LOW_BYTES, REQUEST_DEADLINE, STALL_US, WRITE_STALL,
};
use std::time::Duration;

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
            entrance: ENTRANCE,
        }
    }
}
