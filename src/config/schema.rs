//! Every key of the configuration, once: its kind and range, its default, what it means, and why it is so.
//!
//! Parsing, errors, environment names, the printed default and docs/CONFIG.md are all made from this table. Always
//! holds: a default lies in its key's range, and is the one that the running server has. Never: a key without effect.

use super::value::{Secret, Value};
use crate::base::limits::{
    ADMIN_HOSTS_MAX, ADMIN_TOKEN_BYTES, BACKLOG, BACKLOG_MAX, BUDGET_BYTES_DEFAULT, BUDGET_BYTES_MAX,
    BUDGET_BYTES_MIN, CONNECTIONS_PER_SHARD_MAX, DEADLINE_MS_MAX, DRAIN_GRACE, FRAME_DEADLINE_BASE,
    HEARTBEAT, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, KEEPALIVE_PROBES_MAX,
    KEEPALIVE_SECONDS_MAX, LINE_BYTES_DEFAULT, LINE_BYTES_MAX, LINGER, OUTPUT_HIGH_BYTES,
    OUTPUT_HIGH_BYTES_MAX, OUTPUT_LOW_BYTES, PAYLOAD_BYTES_DEFAULT, PAYLOAD_BYTES_MAX, SHARDS_MAX,
    SOCKET_BUFFER_BYTES, SOCKET_BUFFER_BYTES_MAX, SOCKET_BUFFER_BYTES_MIN, STALL_US, WRITE_STALL,
};
use crate::wire::Header;
use std::borrow::Cow;
use std::time::Duration;

/// A table of the configuration.
#[derive(Debug)]
pub struct Section {
    /// Its name, empty for the keys before every table.
    pub name: &'static str,
    /// Whether it is a list: `[[name]]`.
    pub is_list: bool,
    /// What it is for.
    pub about: &'static str,
    /// Its keys, in the order in which they are shown.
    pub keys: &'static [Key],
}

/// A key of a table.
#[derive(Debug)]
pub struct Key {
    /// Its name; a dot leads into a table within the table.
    pub name: &'static str,
    /// Where it can be given.
    pub only: Only,
    /// What it takes.
    pub kind: Kind,
    /// What it is if it is not given; `None` if it must be.
    pub default: Option<Value>,
    /// What it means.
    pub meaning: &'static str,
    /// Why that is the default.
    pub why: &'static str,
}

/// The listeners that have a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only {
    /// All; and every table that is no listener.
    All,
    /// Those of frames.
    Frames,
    /// Those of lines.
    Lines,
}

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number.
    Count {
        /// The least.
        least: u64,
        /// The most.
        most: u64,
        /// A word that may stand instead.
        word: Option<&'static str>,
    },
    /// A size.
    Size {
        /// The least, in bytes.
        least: u64,
        /// The most, in bytes.
        most: u64,
        /// A word that may stand instead.
        word: Option<&'static str>,
    },
    /// A duration.
    Time {
        /// The shortest.
        least: Duration,
        /// The longest.
        most: Duration,
        /// What it is a multiple of.
        step: Duration,
        /// A word that may stand instead.
        word: Option<&'static str>,
    },
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `IP:PORT`, `HOST:PORT` or `unix:PATH`.
    Address,
    /// `IP:PORT`, `HOST:PORT`, or `"off"`.
    Port,
    /// A secret of so many bytes, or nothing.
    Secret {
        /// The fewest bytes.
        least: usize,
        /// The most bytes.
        most: usize,
    },
    /// The path of a file, or nothing.
    Path,
    /// Names of hosts, separated by commas, or nothing.
    Hosts {
        /// How many at most.
        most: usize,
    },
    /// One route, or the first and the last of a range.
    Headers,
}

impl Section {
    /// As it is written above its keys.
    pub fn header(&self) -> String {
        match (self.name, self.is_list) {
            ("", _) => "the top of the file".to_owned(),
            (name, false) => format!("[{name}]"),
            (name, true) => format!("[[{name}]]"),
        }
    }

    /// The key of this name, for listeners of this kind.
    pub fn key(&self, name: &str, only: Only) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name && (key.only == Only::All || key.only == only))
    }

    /// The names of its keys, each once.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.keys.iter().map(|key| key.name).collect();
        names.dedup();
        names
    }
}

/// The table of this name.
pub fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

/// The listeners of the embedded default: address and protocol.
pub const LISTENERS: [(&str, &str); 2] = [("127.0.0.1:7411", "frame"), ("127.0.0.1:7412", "line")];

/// Its routes: headers and service.
pub const ROUTES: [(u16, &str); 4] = [(0, "ack"), (1, "echo"), (2, "discard"), (3, "flip")];

/// What people may look for and does not exist: the name, and what to say.
pub const NOT_THERE: &[(&str, &str)] = &[
    ("connect_deadline", "no built-in service dials; in the library it is `Limits::connect_deadline`"),
    ("delay", "a drain begins at once in this version"),
    ("open_requests", "the built-in services answer at once; in the library it is `Limits::open_requests`"),
    ("per_address", "this version has no limit for each address; `max_connections` is for all together"),
    ("proxy_protocol", "this version does not take the PROXY header"),
    ("rate", "this version has no rate limits"),
    ("rates", "this version has no rate limits"),
    (
        "request_deadline",
        "the built-in services answer at once; in the library it is `Limits::request_deadline`",
    ),
    ("spin", "an event loop always sleeps when it has nothing to do"),
    (
        "tls",
        "this version has no TLS; put a proxy that ends TLS in front, or listen on loopback or a unix socket",
    ),
    ("topic", "this version has no topics"),
    ("topics", "this version has no topics"),
    ("upstream", "this version has no upstreams; a relay of your own is a `Service` of the library"),
    ("workers", "no built-in service offloads work; in the library it is `Builder::workers`"),
];

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);
const DEADLINE_MAX: Duration = Duration::from_millis(DEADLINE_MS_MAX as u64);

const fn deadline(word: Option<&'static str>) -> Kind {
    Kind::Time { least: MILLI, most: DEADLINE_MAX, step: MILLI, word }
}

const KEEPALIVE_TIME_MAX: Duration = Duration::from_secs(KEEPALIVE_SECONDS_MAX);

/// All tables, in the order in which they are shown.
pub static SECTIONS: [Section; 9] = [
    Section {
        name: "",
        is_list: false,
        about: "",
        keys: &[Key {
            name: "config_version",
            only: Only::All,
            kind: Kind::Count { least: 1, most: 1, word: None },
            default: Some(Value::Count(1)),
            meaning: "The version of these names and their meanings.",
            why: "There is one so far; a file that names it will not be misread by a later version.",
        }],
    },
    Section { name: "server", is_list: false, about: "The process as a whole.", keys: &SERVER },
    Section {
        name: "listener",
        is_list: true,
        about: "An address, and how what comes there is cut into messages.",
        keys: &LISTENER,
    },
    Section {
        name: "route",
        is_list: true,
        about: "Which built-in service answers which routes. A route that nobody serves is answered NO_ROUTE.",
        keys: &ROUTE,
    },
    Section { name: "limits", is_list: false, about: "What connections may hold.", keys: &LIMITS },
    Section { name: "timeouts", is_list: false, about: "How long a peer may take.", keys: &TIMEOUTS },
    Section {
        name: "keepalive",
        is_list: false,
        about: "Probes by the kernel, for peers that vanish without a word. Not for unix sockets.",
        keys: &KEEPALIVE,
    },
    Section {
        name: "admin",
        is_list: false,
        about: "The admin port: HTTP for figures, health and a drain. docs/ADMIN.md describes it.",
        keys: &ADMIN,
    },
    Section { name: "log", is_list: false, about: "What is logged to standard error, and how.", keys: &LOG },
];

static SERVER: [Key; 5] = [
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
];

static LISTENER: [Key; 9] = [
    Key {
        name: "address",
        only: Only::All,
        kind: Kind::Address,
        default: None,
        meaning: "Where to listen. Port 0 takes a free one; 0.0.0.0 is every interface.",
        why: "It must be given.",
    },
    Key {
        name: "protocol",
        only: Only::All,
        kind: Kind::Choice(&["frame", "line"]),
        default: Some(Value::Word("frame")),
        meaning: "Binary frames with a checksum, or lines of text. docs/PROTOCOL.md describes both.",
        why: "Lines have no checksum and no way to tell of a failure apart from their text.",
    },
    Key {
        name: "header_space",
        only: Only::Frames,
        kind: Kind::Choice(&["standard", "full"]),
        default: Some(Value::Word("standard")),
        meaning: "\"standard\": 14 bits of a header are the route, 2 the protocol's. \"full\": all 16 are the route; then \
                  there are no extension blocks and no control frames, and a request that fails ends its connection. \
                  Routes above 16383 are nobody's.",
        why: "Only clients that use all 16 bits need the other.",
    },
    Key {
        name: "hello",
        only: Only::Frames,
        kind: Kind::Choice(&["optional", "required"]),
        default: Some(Value::Word("optional")),
        meaning: "\"required\": the first frame of a peer must be a HELLO; who sends anything else is told \
                  UNAUTHENTICATED and closed.",
        why: "A client of a few lines needs no HELLO.",
    },
    Key {
        name: "max_payload",
        only: Only::Frames,
        kind: Kind::Size { least: 0, most: PAYLOAD_BYTES_MAX as u64, word: None },
        default: Some(Value::Size(PAYLOAD_BYTES_DEFAULT as u64)),
        meaning: "The largest payload of a frame. It has to fit a quarter of an event loop's memory.",
        why: "It fits the second-level cache of a core.",
    },
    Key {
        name: "max_payload",
        only: Only::Lines,
        kind: Kind::Size { least: 0, most: LINE_BYTES_MAX as u64, word: None },
        default: Some(Value::Size(LINE_BYTES_DEFAULT as u64)),
        meaning: "The longest line without its end.",
        why: "More than anybody types; a line is searched byte by byte.",
    },
    Key {
        name: "route",
        only: Only::Lines,
        kind: Kind::Count { least: 0, most: Header::ROUTE_MAX as u64, word: None },
        default: Some(Value::Count(0)),
        meaning: "The route of all its lines.",
        why: "A line has no header that could name one.",
    },
    Key {
        name: "backlog",
        only: Only::All,
        kind: Kind::Count { least: 1, most: BACKLOG_MAX as u64, word: None },
        default: Some(Value::Count(BACKLOG as u64)),
        meaning: "Connections that may wait to be accepted, for each event loop. Not above net.core.somaxconn, at which \
                  Linux would cut it.",
        why: "What Linux allows since 5.4 if nobody changed it.",
    },
    Key {
        name: "kernel_buffer",
        only: Only::All,
        kind: Kind::Size {
            least: SOCKET_BUFFER_BYTES_MIN as u64,
            most: SOCKET_BUFFER_BYTES_MAX as u64,
            word: Some("auto"),
        },
        default: Some(Value::Size(SOCKET_BUFFER_BYTES as u64)),
        meaning: "What the kernel may buffer for a connection in each direction; it books twice that, and cuts it at \
                  net.core.rmem_max and wmem_max. \"auto\": the kernel decides, up to some MiB. Not for unix sockets.",
        why: "It bounds what slow readers can pin, and a reply of 1MiB leaves in one write.",
    },
];

static ROUTE: [Key; 2] = [
    Key {
        name: "headers",
        only: Only::All,
        kind: Kind::Headers,
        default: None,
        meaning: "One route, or a range with both ends: \"0x0001\", \"0x0100-0x01ff\", \"16-23\", 7.",
        why: "It must be given.",
    },
    Key {
        name: "service",
        only: Only::All,
        kind: Kind::Choice(&["ack", "echo", "discard", "flip"]),
        default: None,
        meaning: "ack replies 已接收, echo replies with the request, discard never replies, flip replies with the request \
                  and its first byte XOR 1.",
        why: "It must be given.",
    },
];

static LIMITS: [Key; 3] = [
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

static TIMEOUTS: [Key; 5] = [
    Key {
        name: "frame",
        only: Only::All,
        kind: deadline(None),
        default: Some(Value::Time(FRAME_DEADLINE_BASE)),
        meaning: "A frame must be whole so long after its first byte, plus the time that its length takes at 16KiB a second.",
        why: "A lost segment is sent again within seconds; who sends a byte now and then holds memory for nothing.",
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
];

static KEEPALIVE: [Key; 3] = [
    Key {
        name: "idle",
        only: Only::All,
        kind: Kind::Time { least: SECOND, most: KEEPALIVE_TIME_MAX, step: SECOND, word: Some("off") },
        default: Some(Value::Time(KEEPALIVE_IDLE)),
        meaning: "Silence after which probes begin, in whole seconds. \"off\": no probes, and the two others don't count.",
        why: "With the two others a dead peer is found within five minutes.",
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
];

static ADMIN: [Key; 4] = [
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
        meaning: "A file that holds the token, instead of `token`. It is read at the start; the end of its line does not \
                  count.",
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
];

static LOG: [Key; 3] = [
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
