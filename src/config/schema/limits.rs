//! The keys of what connections may hold.

use super::{Key, Kind, Only};
use crate::base::limits::{
    CONNECTIONS_PER_SHARD_MAX, OUTPUT_HIGH_BYTES, OUTPUT_HIGH_BYTES_MAX, OUTPUT_LOW_BYTES,
};
use crate::config::value::Value;

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
];
