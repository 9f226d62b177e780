//! The keys of the process as a whole: its loops and memory, its admin port, its log.

use super::{DEADLINE_MAX, Key, Kind, MILLI, Only};
use crate::base::limits::{
    ADMIN_HOSTS_MAX, ADMIN_TOKEN_BYTES, BUDGET_BYTES_DEFAULT, BUDGET_BYTES_MAX, BUDGET_BYTES_MIN,
    DRAIN_GRACE, RECONNECT_RATE, RECONNECT_RATE_MAX, SHARDS_MAX, STALL_US,
};
use crate::config::value::{Secret, Value};
use std::borrow::Cow;
use std::time::Duration;

pub(super) static SERVER: &[Key] = &[
    Key {
        name: "shards",
        only: Only::All,
        kind: Kind::Count { least: 1, most: SHARDS_MAX as u64, word: Some("auto") },
        default: Some(Value::Word("auto")),
        meaning: "Event loops that run side by side, each with a thread of its own.",
        why: "One for each processor that this process may use, as far as the memory suffices.",
    },
    Key {
        name: "pin",
        only: Only::All,
        kind: Kind::Switch,
        default: Some(Value::Switch(false)),
        meaning: "Keeps each event loop on a processor of its own. Linux only; elsewhere it is logged and ignored.",
        why: "The scheduler does well unless the host is the server's alone.",
    },
    Key {
        name: "share_port",
        only: Only::All,
        kind: Kind::Switch,
        default: Some(Value::Switch(false)),
        meaning: "Other processes of this user may listen on the same ports, each with this key; the kernel spreads \
                  connections over them by a hash of the addresses. Unix sockets and the admin port are not shared: each \
                  process needs its own. Linux and FreeBSD only; refused elsewhere.",
        why: "A second server on a port is nearly always a mistake, and would take half of the connections.",
    },
    Key {
        name: "memory",
        only: Only::All,
        kind: Kind::Size { least: BUDGET_BYTES_MIN as u64, most: BUDGET_BYTES_MAX, word: None },
        default: Some(Value::Size(BUDGET_BYTES_DEFAULT as u64)),
        meaning: "Memory for all buffers together; each event loop gets an equal part, of at least 4MiB.",
        why: "Some four hundred peers that stop reading fit, each with 256KiB of replies.",
    },
    Key {
        name: "drain.grace",
        only: Only::All,
        kind: Kind::Time { least: Duration::ZERO, most: DEADLINE_MAX, step: MILLI, word: None },
        default: Some(Value::Time(DRAIN_GRACE)),
        meaning: "How long a drain may take after SIGINT or SIGTERM; then what is left is cut, counted and told.",
        why: "What Kubernetes waits before it kills.",
    },
    Key {
        name: "watch",
        only: Only::All,
        kind: Kind::Switch,
        default: Some(Value::Switch(false)),
        meaning: "Reads the configuration anew when its file changes, or one that it names: looked at once a second, and \
                  read when two looks were the same.",
        why: "A file that is being worked on is not meant yet. SIGHUP and `POST /reload` read it at any time.",
    },
    Key {
        name: "drain.reconnect_rate",
        only: Only::All,
        kind: Kind::Count { least: 1, most: RECONNECT_RATE_MAX as u64, word: None },
        default: Some(Value::Count(RECONNECT_RATE as u64)),
        meaning: "How many clients a second may come back after a drain, in all. Those that said HELLO are told to wait for a \
                  random part of the time that all connections need at this rate, at most 60s.",
        why: "A next server with one processor bears so many handshakes, TLS included.",
    },
    Key {
        name: "upgrade",
        only: Only::All,
        kind: Kind::Path,
        default: Some(Value::Text(Cow::Borrowed(""))),
        meaning: "A path for the socket at which this server gives its listening sockets to the next process, without one \
                  connection refused: `tidegate upgrade` asks there. Only this user and root may. Empty: none.",
        why: "There is no directory for it that every host has; docs/OPERATIONS.md says how to use it.",
    },
    Key {
        name: "users_file",
        only: Only::All,
        kind: Kind::Path,
        default: Some(Value::Text(Cow::Borrowed(""))),
        meaning: "A file with more [[user]] tables and nothing else, so that it can be kept from whoever may read this one. \
                  Empty: there is none.",
        why: "Nobody is let in whom nobody has named.",
    },
];

pub(super) static ADMIN: &[Key] = &[
    Key {
        name: "address",
        only: Only::All,
        kind: Kind::Port,
        default: Some(Value::Address(Cow::Borrowed("127.0.0.1:7413"))),
        meaning: "Where to listen for HTTP. Port 0 takes a free one; \"off\": no admin port.",
        why: "Whoever reaches it can read figures and the addresses of peers, so nobody outside of this host.",
    },
    Key {
        name: "token",
        only: Only::All,
        kind: Kind::Secret { least: ADMIN_TOKEN_BYTES.0, most: ADMIN_TOKEN_BYTES.1 },
        default: Some(Value::Secret(Secret(Cow::Borrowed("")))),
        meaning: "Who changes something must send it, `Authorization: Bearer TOKEN`. Empty: nothing can be changed.",
        why: "There is no secret that everybody knows.",
    },
    Key {
        name: "token_file",
        only: Only::All,
        kind: Kind::Path,
        default: Some(Value::Text(Cow::Borrowed(""))),
        meaning: "A file that holds the token, instead of `token`. It is read at the start, and whenever the \
                  configuration is; the end of its line does not count.",
        why: "A file can be kept from other users, a configuration often is not.",
    },
    Key {
        name: "hosts",
        only: Only::All,
        kind: Kind::Hosts { most: ADMIN_HOSTS_MAX },
        default: Some(Value::Text(Cow::Borrowed(""))),
        meaning: "Names by which the port may be asked, beside IP addresses and localhost, separated by commas.",
        why: "A page in a browser could reach the port by a name of its own.",
    },
    Key {
        name: "profile",
        only: Only::All,
        kind: Kind::Switch,
        default: Some(Value::Switch(false)),
        meaning: "Makes CPU profiles at /debug/pprof/profile, for who sends the token: which functions take the time. Linux \
                  with glibc only.",
        why: "Making one costs some time of the loops' processors, and profiles take 200MiB of memory and more for good.",
    },
];

pub(super) static LOG: &[Key] = &[
    Key {
        name: "format",
        only: Only::All,
        kind: Kind::Choice(&["auto", "text", "json"]),
        default: Some(Value::Word("auto")),
        meaning: "Lines to read, or one JSON object a line; \"auto\": text on a terminal, else JSON.",
        why: "A person reads a terminal, a machine the rest.",
    },
    Key {
        name: "level",
        only: Only::All,
        kind: Kind::Choice(&["off", "error", "warn", "info", "debug", "trace"]),
        default: Some(Value::Word("info")),
        meaning: "What is at least so grave is logged. The variable RUST_LOG, if it is set, counts instead.",
        why: "Starts, ends and faults; nothing for a connection that behaves.",
    },
    Key {
        name: "stall",
        only: Only::All,
        kind: Kind::Time {
            least: Duration::from_micros(1),
            most: DEADLINE_MAX,
            step: Duration::from_micros(1),
            word: None,
        },
        default: Some(Value::Time(Duration::from_micros(STALL_US))),
        meaning: "A batch of one connection that takes longer is logged: it held up every other one of its loop.",
        why: "Fifty times what a batch may take before the next connection has its turn.",
    },
];
