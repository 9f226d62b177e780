//! What can be wrong with a server, as data: which figures show it, what it means, what to do.
//!
//! One table for all: the dashboard's verdict is made of it, and so are docs/OPERATIONS.md and docs/alerts.yml, which tests
//! hold to it.
//!
//! Always holds: what a rule looks at are series of `/metrics`, so whoever scrapes them can judge as we do. Never: a look
//! at the server itself.

mod judge;

pub(super) use judge::{Held, Judge};

use std::fmt::Write as _;

/// Name and labels of series that are added up.
pub type Series = (&'static str, &'static [(&'static str, &'static str)]);

/// Something that two scrapes show as one number.
#[derive(Clone, Copy, Debug)]
pub enum Sign {
    /// How fast a counter grows, a second.
    Rate(Series),
    /// A gauge of now: the largest, if there are several.
    Now(Series),
    /// A gauge as a part of another one, now.
    Share(Series, Series),
    /// How often something took longer than a bound of its histogram, a second: name without ending, bound in seconds.
    Slower(&'static str, &'static str),
}

/// One thing that can be wrong.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// What it is called.
    pub name: &'static str,
    /// Each with the least that shows it; one suffices.
    pub signs: &'static [(Sign, f64)],
    /// What is going on.
    pub meaning: &'static str,
    /// What an on-call does.
    pub action: &'static str,
    /// How long it must last before somebody is woken, in Prometheus' words.
    pub patience: &'static str,
}

impl Sign {
    /// What it looks at and the least that shows it, for people: names stand in backticks.
    pub fn words(&self, least: f64) -> String {
        let code = |series: &Series| format!("`{}`", selector(series));
        match self {
            Sign::Rate(series) => format!("{} grows by {least} a second", code(series)),
            Sign::Now(series) => format!("{} is {least} or more", code(series)),
            Sign::Share(part, whole) => format!("{} is {least} of {} or more", code(part), code(whole)),
            Sign::Slower(name, le) => format!("`{name}` is above {le} for {least} a second"),
        }
    }

    /// The series that it looks at, by their names.
    pub fn names(&self) -> Vec<String> {
        match self {
            Sign::Rate((name, _)) | Sign::Now((name, _)) => vec![(*name).to_owned()],
            Sign::Share((part, _), (whole, _)) => vec![(*part).to_owned(), (*whole).to_owned()],
            Sign::Slower(name, _) => vec![format!("{name}_count"), format!("{name}_bucket")],
        }
    }
}

/// Series as they are asked for in PromQL.
pub fn selector((name, labels): &Series) -> String {
    let mut out = (*name).to_owned();
    for (at, (label, value)) in labels.iter().enumerate() {
        let before = if at == 0 { '{' } else { ',' };
        let _ = write!(out, "{before}{label}=\"{value}\"");
    }
    if !labels.is_empty() {
        out.push('}');
    }
    out
}

const USED: Series = ("tidegate_connections_used", &[]);

/// All of them.
pub const RULES: &[Rule] = &[
    Rule {
        name: "bad_checksums",
        signs: &[(Sign::Rate(("tidegate_connections_closed_total", &[("reason", "bad_crc")])), 5.0)],
        meaning: "Peers send frames whose checksum is wrong. Each such connection is told and closed; others are not touched.",
        action: "Look in the log for `bad_crc` and the peers' addresses. One address: a broken or hostile client, block it. \
                 All of one kind of client: it computes the checksum wrongly, see the vectors in `tests/data/vectors.txt`.",
        patience: "1m",
    },
    Rule {
        name: "slow_readers",
        signs: &[(Sign::Share(("tidegate_connections_paused", &[("pause", "output")]), USED), 0.1)],
        meaning: "A tenth of all connections is not read, because the peers don't take their replies.",
        action: "Find out what those peers wait for: they, or the network to them, are too slow. The server is not: it \
                 closes a peer that has taken nothing for `timeouts.write_stall`. Watch `tidegate_buffer_bytes` of output.",
        patience: "1m",
    },
    Rule {
        name: "stalled_handler",
        signs: &[
            (Sign::Now(("tidegate_turn_running_seconds", &[])), 1.0),
            (Sign::Slower("tidegate_turn_duration_seconds", "0.262144"), 0.1),
        ],
        meaning: "Turns of a loop take longer than a quarter of a second: all connections of that loop wait.",
        action: "`tidegate_stalls_total` says which service and routes, the log which connection. Take the slow work off the \
                 loop with workers (`Reply::offload`) or a deferred answer. No stalls, and a high \
                 `tidegate_shard_runqueue_wait_seconds_total`: the host has too little processor.",
        patience: "0m",
    },
    Rule {
        name: "descriptors_exhausted",
        signs: &[
            (Sign::Rate(("tidegate_accept_failures_total", &[("cause", "exhausted")])), 0.1),
            (Sign::Share(("process_open_fds", &[]), ("process_max_fds", &[])), 0.98),
        ],
        meaning: "No descriptors are left for newcomers, who are told OVERLOADED. Those who are connected are served.",
        action: "Raise the limit (`ulimit -n`, systemd's `LimitNOFILE=`), or lower `max_connections`. If \
                 `process_open_fds` is far above `tidegate_connections_used`, the service leaks descriptors.",
        patience: "0m",
    },
    Rule {
        name: "memory_at_limit",
        signs: &[
            (Sign::Rate(("tidegate_pauses_total", &[("pause", "memory")])), 0.1),
            (Sign::Rate(("tidegate_connections_closed_total", &[("reason", "memory")])), 0.1),
        ],
        meaning: "Buffers are at their limit: connections are paused for want of memory, and the largest are ended.",
        action: "`tidegate_buffer_bytes` beside its limit says which part. Input: many large frames that come slowly; output: \
                 slow readers. Raise `memory`, or lower the listeners' `max_payload` or `output_high`.",
        patience: "0m",
    },
    Rule {
        name: "open_requests_full",
        signs: &[(Sign::Share(("tidegate_connections_paused", &[("pause", "slots")]), USED), 0.1)],
        meaning: "A tenth of all connections is not read, because as many of their requests are open as may be.",
        action: "Whatever answers the deferred requests is slow or gone: look at what it depends on, at \
                 `tidegate_jobs_waiting`, and at `timed_out` in `tidegate_requests_ended_total`. If peers should have \
                 more open, raise `Limits::open_requests`.",
        patience: "1m",
    },
    Rule {
        name: "reset_storm",
        signs: &[(Sign::Rate(("tidegate_connections_closed_total", &[("reason", "reset")])), 5.0)],
        meaning: "Many connections end by a reset of the peer or of the network.",
        action: "Look what stands between: a load balancer or firewall that cuts connections, a health check that does not \
                 close in order, clients that crash. Their requests in flight are counted as `abandoned`.",
        patience: "1m",
    },
    Rule {
        name: "draining",
        signs: &[(Sign::Now(("tidegate_draining", &[])), 1.0)],
        meaning: "The server drains: it takes no newcomers and ends when all is answered, within its grace.",
        action: "Nothing, if it was meant (a deployment, SIGTERM). `tidegate_connections` by state and \
                 `tidegate_requests_in_flight` say what it waits for.",
        patience: "5m",
    },
];
