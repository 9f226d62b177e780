//! Every key of the configuration, once: its kind and range, its default, what it means, and why it is so.
//!
//! Parsing, errors, environment names, the printed default and docs/CONFIG.md are all made from this table. Always
//! holds: a default lies in its key's range, and is the one that the running server has. Never: a key without effect.

mod limits;
mod listener;
mod process;
mod timeouts;
mod tls;
mod trace;
mod user;

use super::value::Value;
use crate::base::limits::{DEADLINE_MS_MAX, KEEPALIVE_SECONDS_MAX};
use limits::LIMITS;
use listener::LISTENER;
use process::{ADMIN, LOG, SERVER};
use std::time::Duration;
use timeouts::{KEEPALIVE, TIMEOUTS};
use trace::TRACE;
pub use user::Form;
use user::USER;

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
    /// A part of all, 0 to 1, in steps of a millionth.
    Ratio,
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
    /// Networks, separated by commas, or nothing.
    Networks {
        /// How many at most.
        most: usize,
    },
    /// The mode of a file, or `"umask"`.
    Mode,
    /// A user or a group, by name or number, or nothing.
    Account,
    /// One route, or the first and the last of a range.
    Headers,
    /// A text of this form.
    Form(Form),
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
    ("rate", "rates have names of their own: `limits.messages_per_second` and its neighbours"),
    ("rates", "rates have names of their own: `limits.messages_per_second` and its neighbours"),
    (
        "request_deadline",
        "the built-in services answer at once; in the library it is `Limits::request_deadline`",
    ),
    ("spin", "an event loop always sleeps when it has nothing to do"),
    ("tls", "TLS is a listener's: give a [[listener]] `tls.cert` and `tls.key`"),
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
pub static SECTIONS: [Section; 11] = [
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
    Section { name: "server", is_list: false, about: "The process as a whole.", keys: SERVER },
    Section {
        name: "listener",
        is_list: true,
        about: "An address, and how what comes there is cut into messages.",
        keys: LISTENER,
    },
    Section {
        name: "route",
        is_list: true,
        about: "Which built-in service answers which routes. A route that nobody serves is answered NO_ROUTE.",
        keys: &ROUTE,
    },
    Section {
        name: "user",
        is_list: true,
        about: "Who may come in on listeners with `users = \"required\"`. docs/IDENTITY.md describes it. Users may also be \
                in a file of their own, `users_file`.",
        keys: USER,
    },
    Section {
        name: "limits",
        is_list: false,
        about: "What connections may hold, and how fast they may come and send.",
        keys: LIMITS,
    },
    Section { name: "timeouts", is_list: false, about: "How long a peer may take.", keys: TIMEOUTS },
    Section {
        name: "keepalive",
        is_list: false,
        about: "Probes by the kernel, for peers that vanish without a word. Not for unix sockets.",
        keys: KEEPALIVE,
    },
    Section {
        name: "admin",
        is_list: false,
        about: "The admin port: HTTP for figures, health and a drain. docs/ADMIN.md describes it.",
        keys: ADMIN,
    },
    Section {
        name: "trace",
        is_list: false,
        about: "Distributed tracing: which requests are recorded, and where that is sent. docs/TRACING.md describes it.",
        keys: TRACE,
    },
    Section { name: "log", is_list: false, about: "What is logged to standard error, and how.", keys: LOG },
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
