//! The keys of what connections may hold.

use super::{Key, Kind, MILLI, Only};
use crate::base::limits::{
    BURST, BURST_MAX, BURST_MIN, BYTES_PER_SECOND_MAX, BYTES_PER_SECOND_MIN, CONNECTIONS_PER_SHARD_MAX,
    IPV6_PREFIX, MESSAGES_PER_SECOND_MAX, OUTPUT_HIGH_BYTES, OUTPUT_HIGH_BYTES_MAX, OUTPUT_LOW_BYTES,
    PER_ADDRESS,
};
use crate::config::value::Value;

const fn messages() -> Kind {
    Kind::Count { least: 1, most: MESSAGES_PER_SECOND_MAX as u64, word: Some("off") }
}

const fn bytes() -> Kind {
    Kind::Size { least: BYTES_PER_SECOND_MIN, most: BYTES_PER_SECOND_MAX, word: Some("off") }
}

pub(super) static LIMITS: &[Key] = &[
    Key {
        name: "max_connections",
        only: Only::All,
        kind: Kind::Count { least: 1, most: CONNECTIONS_PER_SHARD_MAX as u64, word: Some("auto") },
        default: Some(Value::Word("auto")),
        meaning: "The most connections at once; those beyond are told OVERLOADED.",
        why: "As many as the host's descriptors allow, once their limit was raised as far as it may be.",
    },
    Key {
        name: "output_high",
        only: Only::All,
        kind: Kind::Size { least: 1, most: OUTPUT_HIGH_BYTES_MAX as u64, word: None },
        default: Some(Value::Size(OUTPUT_HIGH_BYTES as u64)),
        meaning: "Queued output of a connection above which it is not read. At most a quarter of an event loop's memory.",
        why: "As much as one read brings in.",
    },
    Key {
        name: "output_low",
        only: Only::All,
        kind: Kind::Size { least: 0, most: OUTPUT_HIGH_BYTES_MAX as u64, word: None },
        default: Some(Value::Size(OUTPUT_LOW_BYTES as u64)),
        meaning: "Queued output below which it is read again. Less than `output_high`.",
        why: "Far enough below that reading does not stutter, and not so far that the connection runs dry.",
    },
    Key {
        name: "per_address",
        only: Only::All,
        kind: Kind::Count { least: 1, most: CONNECTIONS_PER_SHARD_MAX as u64, word: Some("off") },
        default: Some(Value::Count(PER_ADDRESS as u64)),
        meaning: "The most connections of one address at once; those beyond are told OVERLOADED. Not for unix sockets.",
        why: "One host can't take all places, and a crowd behind one router has fewer. Behind a proxy, which is one address \
              for all, turn it off.",
    },
    Key {
        name: "ipv6_prefix",
        only: Only::All,
        kind: Kind::Count { least: 1, most: 128, word: None },
        default: Some(Value::Count(IPV6_PREFIX as u64)),
        meaning: "How many leading bits of an IPv6 address make one address of many.",
        why: "What a provider gives to one customer, who could else use 2⁶⁴ addresses.",
    },
    Key {
        name: "accept_rate",
        only: Only::All,
        kind: messages(),
        default: Some(Value::Word("off")),
        meaning: "Newcomers taken in a second, by all event loops together. More wait in the kernel's queue; none is closed \
                  for it.",
        why: "Taking a newcomer costs little; a service whose newcomers cost more may want it.",
    },
    Key {
        name: "messages_per_second",
        only: Only::All,
        kind: messages(),
        default: Some(Value::Word("off")),
        meaning: "Messages that a connection may send in a second.",
        why: "What is too much depends on the service.",
    },
    Key {
        name: "bytes_per_second",
        only: Only::All,
        kind: bytes(),
        default: Some(Value::Word("off")),
        meaning: "Bytes that a connection may send in a second.",
        why: "The same.",
    },
    Key {
        name: "deliveries_per_second",
        only: Only::All,
        kind: messages(),
        default: Some(Value::Word("off")),
        meaning: "Messages that others may send to a connection in a second; those beyond are dropped and counted.",
        why: "Who can't take them is noticed by the output that waits.",
    },
    Key {
        name: "address_messages_per_second",
        only: Only::All,
        kind: messages(),
        default: Some(Value::Word("off")),
        meaning: "Messages that all connections of an address together may send in a second.",
        why: "What is too much depends on the service.",
    },
    Key {
        name: "address_bytes_per_second",
        only: Only::All,
        kind: bytes(),
        default: Some(Value::Word("off")),
        meaning: "Bytes that they may send.",
        why: "The same.",
    },
    Key {
        name: "burst",
        only: Only::All,
        kind: Kind::Time { least: BURST_MIN, most: BURST_MAX, step: MILLI, word: None },
        default: Some(Value::Time(BURST)),
        meaning: "For how long a share of these rates is saved that was not used: so much may come at once.",
        why: "Clients that begin, or wake up, have something to say.",
    },
    Key {
        name: "when_over",
        only: Only::All,
        kind: Kind::Choice(&["pause", "refuse"]),
        default: Some(Value::Word("pause")),
        meaning: "What happens to who sends more than its rate. \"pause\": it is not read until it may go on. \"refuse\": \
                  requests beyond the rate are answered OVERLOADED, with the time to wait; bare frames are paused.",
        why: "Nothing is lost, and clients need not know of it.",
    },
];
