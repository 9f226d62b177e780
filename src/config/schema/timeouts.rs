//! The keys of how long a peer may take, and of the kernel's probes.

use super::{KEEPALIVE_TIME_MAX, Key, Kind, Only, SECOND, deadline};
use crate::base::limits::{
    AGE_JITTER_PERCENT, AGE_JITTER_PERCENT_MAX, ENTRANCE, FRAME_DEADLINE_BASE, HEARTBEAT, KEEPALIVE_IDLE,
    KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, KEEPALIVE_PROBES_MAX, LINGER, WRITE_STALL,
};
use crate::config::value::Value;

pub(super) static TIMEOUTS: &[Key] = &[
    Key {
        name: "frame",
        only: Only::All,
        kind: deadline(None),
        default: Some(Value::Time(FRAME_DEADLINE_BASE)),
        meaning: "A frame must be whole so long after its first byte, plus the time that its length takes at 16KiB a second.",
        why: "A lost segment is sent again within seconds; who sends a byte now and then holds memory for nothing.",
    },
    Key {
        name: "entrance",
        only: Only::All,
        kind: deadline(None),
        default: Some(Value::Time(ENTRANCE)),
        meaning: "How long a newcomer may take for what its listener wants before the first message: a PROXY header, a \
                  TLS handshake.",
        why: "A proxy sends its header with the first segment, a handshake takes two round trips; what is lost is sent again \
              within seconds.",
    },
    Key {
        name: "idle",
        only: Only::All,
        kind: deadline(Some("off")),
        default: Some(Value::Word("off")),
        meaning: "A connection without a whole message for so long is closed.",
        why: "A quiet client is no wrong one; those that said HELLO have their heartbeat.",
    },
    Key {
        name: "heartbeat",
        only: Only::All,
        kind: deadline(Some("off")),
        default: Some(Value::Time(HEARTBEAT)),
        meaning: "A peer that said HELLO and then nothing for so long is sent a PING; after twice as long it is closed.",
        why: "Less than the time after which routers forget a quiet connection.",
    },
    Key {
        name: "write_stall",
        only: Only::All,
        kind: deadline(None),
        default: Some(Value::Time(WRITE_STALL)),
        meaning: "A peer that takes no byte for so long while output waits for it is closed.",
        why: "Long enough for a change of network.",
    },
    Key {
        name: "linger",
        only: Only::All,
        kind: deadline(None),
        default: Some(Value::Time(LINGER)),
        meaning: "How long a connection is still read after its last reply, so that no reset destroys it on its way.",
        why: "Some round trips to anywhere.",
    },
    Key {
        name: "max_age",
        only: Only::All,
        kind: deadline(Some("off")),
        default: Some(Value::Word("off")),
        meaning: "How long a connection may be open. Then it is told to go elsewhere, as in a drain, and ends in order.",
        why: "Only behind a balancer, or where clients must look up the address again, is there a reason for it.",
    },
    Key {
        name: "max_age_jitter",
        only: Only::All,
        kind: Kind::Count { least: 0, most: AGE_JITTER_PERCENT_MAX as u64, word: None },
        default: Some(Value::Count(AGE_JITTER_PERCENT as u64)),
        meaning: "By how many percent of `max_age` a connection may end earlier, drawn for each.",
        why: "Those that came together, behind a restart, don't all go together.",
    },
];

pub(super) static KEEPALIVE: &[Key] = &[
    Key {
        name: "idle",
        only: Only::All,
        kind: Kind::Time { least: SECOND, most: KEEPALIVE_TIME_MAX, step: SECOND, word: Some("off") },
        default: Some(Value::Time(KEEPALIVE_IDLE)),
        meaning: "Silence after which probes begin, in whole seconds. \"off\": no probes, and `interval` and `count` are of no use.",
        why: "With `interval` and `count` a dead peer is found within five minutes.",
    },
    Key {
        name: "interval",
        only: Only::All,
        kind: Kind::Time { least: SECOND, most: KEEPALIVE_TIME_MAX, step: SECOND, word: None },
        default: Some(Value::Time(KEEPALIVE_INTERVAL)),
        meaning: "The pause between two probes, in whole seconds.",
        why: "A gap of that length is no reason to give a peer up.",
    },
    Key {
        name: "count",
        only: Only::All,
        kind: Kind::Count { least: 1, most: KEEPALIVE_PROBES_MAX as u64, word: None },
        default: Some(Value::Count(KEEPALIVE_PROBES as u64)),
        meaning: "Unanswered probes after which the connection is reset.",
        why: "One may get lost, and another one.",
    },
    Key {
        name: "user_timeout",
        only: Only::All,
        kind: deadline(Some("off")),
        default: Some(Value::Word("off")),
        meaning: "How long what was sent may stay unacknowledged until the kernel resets the connection (TCP_USER_TIMEOUT). \
                  It counts instead of `count`, too. Linux only; elsewhere it is logged and ignored.",
        why: "The kernel's own is some 15 minutes; output that waits with us has `timeouts.write_stall`.",
    },
];
