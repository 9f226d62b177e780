//! What is wrong with a server, from two scrapes of `/metrics` and nothing else: a table of rules, as data.
//!
//! The same table is docs/OPERATIONS.md for people and docs/operate/alerts.yml for Prometheus; tests hold the three
//! together.
//!
//! Always holds: what a rule looks at is named in it. Never: a look at the server itself.

use super::exposition::Exposition;
use std::fmt::Write;

/// Name and labels of series that are added up.
pub type Series = (&'static str, &'static [(&'static str, &'static str)]);

/// Something that two scrapes show as one number.
#[derive(Clone, Copy, Debug)]
pub enum Sign {
    /// How fast a counter grows, a second.
    Rate(Series),
    /// A gauge of now: the largest, if there are several.
    Now(Series),
    /// The smallest of some gauges now, which is wrong if it is too little.
    Lowest(Series),
    /// A gauge as a part of another one, now.
    Share(Series, Series),
    /// The same, and less than so much, from where on another rule holds.
    ShareBelow(Series, Series, f64),
    /// How much a counter has grown in ten minutes; between two scrapes here.
    Grown(Series),
    /// How often something took longer than a bound of its histogram, a second: name without ending, bound in seconds.
    Slower(&'static str, &'static str),
}

/// One thing that can be wrong.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub name: &'static str,
    /// Each with the bound from which on it shows; one suffices.
    pub signs: &'static [(Sign, f64)],
    /// What is going on.
    pub meaning: &'static str,
    /// What an on-call does.
    pub action: &'static str,
    /// How long it must last before somebody is told, in Prometheus' words.
    pub patience: &'static str,
    /// `page`: peers suffer now, somebody is woken. `ticket`: on the next morning.
    pub severity: &'static str,
}

/// What no scrape of a server shows, since it is about the scrapes: for Prometheus alone.
#[derive(Clone, Copy, Debug)]
pub struct Outside {
    pub name: &'static str,
    pub promql: &'static str,
    pub seen_by: &'static str,
    pub meaning: &'static str,
    pub action: &'static str,
    pub patience: &'static str,
    pub severity: &'static str,
}

/// The name of a server with which nothing is wrong.
pub const HEALTHY: &str = "healthy";

const REFUSED: &str = "tidegate_connections_refused_total";
const ENTRANCE_CLOSED: &str = "tidegate_entrance_closed_total";
const OPEN_FDS: Series = ("process_open_fds", &[]);
const MAX_FDS: Series = ("process_max_fds", &[]);
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
        severity: "ticket",
    },
    Rule {
        name: "slow_readers",
        signs: &[(Sign::Share(("tidegate_connections_paused", &[("pause", "output")]), USED), 0.1)],
        meaning: "A tenth of all connections is not read, because the peers don't take their replies.",
        action: "Find out what those peers wait for: they, or the network to them, are too slow. The server is not: it \
                 closes a peer that has taken nothing for `timeouts.write_stall`. Watch `tidegate_buffer_bytes` of output.",
        patience: "1m",
        severity: "ticket",
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
        severity: "page",
    },
    Rule {
        name: "descriptors_exhausted",
        signs: &[
            (Sign::Rate(("tidegate_accept_failures_total", &[("cause", "exhausted")])), 0.1),
            (Sign::Share(OPEN_FDS, MAX_FDS), 0.98),
        ],
        meaning: "No descriptors are left for newcomers, who are told OVERLOADED. Those who are connected are served.",
        action: "Raise the limit (`ulimit -n`, systemd's `LimitNOFILE=`), or lower `max_connections`. If \
                 `process_open_fds` is far above `tidegate_connections_used`, the service leaks descriptors.",
        patience: "0m",
        severity: "page",
    },
    Rule {
        name: "descriptors_low",
        signs: &[(Sign::ShareBelow(OPEN_FDS, MAX_FDS, 0.98), 0.85)],
        meaning: "Most descriptors are in use. When none is left, newcomers are refused.",
        action: "Raise the limit (`LimitNOFILE=`) before it is reached. `process_open_fds` beside `tidegate_connections_used` \
                 says whether connections take them, or the service.",
        patience: "5m",
        severity: "ticket",
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
        severity: "page",
    },
    Rule {
        name: "open_requests_full",
        signs: &[(Sign::Share(("tidegate_connections_paused", &[("pause", "slots")]), USED), 0.1)],
        meaning: "A tenth of all connections is not read, because as many of their requests are open as may be.",
        action: "Whatever answers the deferred requests is slow or gone: look at what it depends on, at \
                 `tidegate_jobs_waiting`, and at `timed_out` in `tidegate_requests_ended_total`. If peers should have \
                 more open, raise `Limits::open_requests`.",
        patience: "1m",
        severity: "page",
    },
    Rule {
        name: "reset_storm",
        signs: &[(Sign::Rate(("tidegate_connections_closed_total", &[("reason", "reset")])), 5.0)],
        meaning: "Many connections end by a reset of the peer or of the network.",
        action: "Look what stands between: a load balancer or firewall that cuts connections, a health check that does not \
                 close in order, clients that crash. Their requests in flight are counted as `abandoned`.",
        patience: "1m",
        severity: "ticket",
    },
    Rule {
        name: "newcomers_refused",
        signs: &[
            (Sign::Rate((REFUSED, &[("cause", "full")])), 0.1),
            (Sign::Rate((REFUSED, &[("cause", "listener")])), 0.1),
            (Sign::Rate((REFUSED, &[("cause", "address")])), 0.1),
        ],
        meaning: "Newcomers are told OVERLOADED and closed, since there are as many connections as may be.",
        action: "The cause says which limit: `full` is `limits.max_connections`, `listener` the listener's own, `address` \
                 `limits.per_address`, which the log tells with the address. Raise it, or find out who holds so many: \
                 `/connections?by=age`.",
        patience: "1m",
        severity: "page",
    },
    Rule {
        name: "entrance_flood",
        signs: &[
            (Sign::Rate((ENTRANCE_CLOSED, &[("reason", "evicted")])), 1.0),
            (Sign::Rate((ENTRANCE_CLOSED, &[("reason", "crowded")])), 1.0),
        ],
        meaning: "More newcomers wait at the entrance (for a TLS handshake or a PROXY header) than have room, and the oldest \
                  are closed.",
        action: "`tidegate_entrance_closed_total` by reason: `crowded` is one address, which the log names; block it. \
                 `evicted` without it are many, or too few seats: a balancer that opens connections ahead of its clients, or \
                 a flood. Lower `timeouts.entrance`.",
        patience: "1m",
        severity: "page",
    },
    Rule {
        name: "users_refused",
        signs: &[(Sign::Rate(("tidegate_hellos_refused_total", &[])), 5.0)],
        meaning: "Many HELLOs are refused: tokens that are nobody's, or addresses that had too many of them.",
        action: "All of them since a change: a token was replaced on one side alone, or a user is missing; look what the last \
                 reload changed. Else somebody guesses: the log has the addresses, and each has 10 attempts a minute.",
        patience: "2m",
        severity: "ticket",
    },
    Rule {
        name: "certificate_expiring",
        signs: &[(Sign::Lowest(("tidegate_tls_certificate_expires_in_seconds", &[])), 604_800.0)],
        meaning: "The certificate of a listener ends within a week. Clients refuse one that has ended.",
        action: "Put a new one at `tls.cert` and `tls.key`; it is read by itself, and nobody is disconnected. If there is one \
                 already, `tidegate_tls_reloads_total` says that it was refused, and the log why.",
        patience: "10m",
        severity: "ticket",
    },
    Rule {
        name: "reload_refused",
        signs: &[
            (Sign::Grown(("tidegate_config_reloads_total", &[("result", "refused")])), 1.0),
            (Sign::Grown(("tidegate_tls_reloads_total", &[("result", "refused")])), 1.0),
        ],
        meaning: "A changed configuration or certificate was wrong as a whole, and the old one holds.",
        action: "The log says every mistake with its place; so does `tidegate check FILE`. Until it is mended the server is not \
                 what its file says, and a restart would fail.",
        patience: "0m",
        severity: "ticket",
    },
    Rule {
        name: "handler_panics",
        signs: &[(Sign::Grown(("tidegate_panics_total", &[])), 1.0)],
        meaning: "A handler of the service panicked. Its request was answered INTERNAL; all others go on.",
        action: "The log has the message with its place in the source, route and connection. It is a bug of the service, which \
                 a peer may be able to cause again.",
        patience: "0m",
        severity: "ticket",
    },
    Rule {
        name: "draining",
        signs: &[(Sign::Now(("tidegate_draining", &[])), 1.0)],
        meaning: "The server drains: it takes no newcomers and ends when all is answered, within its grace.",
        action: "Nothing, if it was meant (a deployment, SIGTERM). `tidegate_connections` by state and \
                 `tidegate_requests_in_flight` say what it waits for.",
        patience: "5m",
        severity: "ticket",
    },
    Rule {
        name: "loop_dead",
        signs: &[(Sign::Now(("tidegate_shard_dead", &[])), 1.0)],
        meaning: "An event loop died, with its connections. The others drain, and the process ends with exit code 70.",
        action: "Whatever starts the server starts it anew. It is a bug of the server, or of how a service is made: keep the \
                 log from `event loop` on, and report it.",
        patience: "0m",
        severity: "page",
    },
];

/// All of those.
pub const OUTSIDE: &[Outside] = &[
    Outside {
        name: "down",
        promql: "up{job=\"tidegate\"} == 0",
        seen_by: "`up` of its job is 0",
        meaning: "Nobody answers at the admin port: the process is gone, or the port can't be reached.",
        action: "`systemctl status tidegate` and the last lines of the log; the exit code says why it ended. If it runs and \
                 serves, look at `admin.address` and at what is between.",
        patience: "1m",
        severity: "page",
    },
    Outside {
        name: "restarting",
        promql: "max by (job, instance) (resets(tidegate_uptime_seconds[15m])) >= 3",
        seen_by: "`tidegate_uptime_seconds` begins anew 3 times in 15 minutes",
        meaning: "The process ends and is started again and again.",
        action: "The last lines of each process in the log, and its exit code: 70 is a loop that died, 69 an address that can't \
                 be had, 2 the configuration; none at all is a kill, of the kernel for memory or of a watchdog.",
        patience: "0m",
        severity: "page",
    },
];

/// The names of what two texts show, the earlier one first. Nothing wrong is [`HEALTHY`].
pub fn diagnose(before: &str, after: &str) -> Vec<&'static str> {
    let read = |text| Exposition::parse(text).unwrap_or_else(|wrong| panic!("{wrong}"));
    let (before, after) = (read(before), read(after));
    let shown = RULES
        .iter()
        .filter(|rule| rule.signs.iter().any(|(sign, bound)| sign.is_shown(*bound, &before, &after)));
    let names: Vec<_> = shown.map(|rule| rule.name).collect();
    if names.is_empty() { vec![HEALTHY] } else { names }
}

impl Sign {
    /// What it is between these two. `None` if this system does not tell, or there is nothing to be a part of.
    pub fn between(&self, before: &Exposition, after: &Exposition) -> Option<f64> {
        let seconds =
            sum(after, ("tidegate_uptime_seconds", &[]))? - sum(before, ("tidegate_uptime_seconds", &[]))?;
        let rate = |series| Some((sum(after, series)? - sum(before, series)?) / seconds);
        match *self {
            Sign::Rate(series) => rate(series),
            Sign::Now((name, labels)) => after.matching(name, labels).into_iter().reduce(f64::max),
            Sign::Lowest((name, labels)) => after.matching(name, labels).into_iter().reduce(f64::min),
            Sign::Grown(series) => Some(sum(after, series)? - sum(before, series)?),
            Sign::Share(part, whole) | Sign::ShareBelow(part, whole, _) => {
                Some(sum(after, part)? / sum(after, whole)?).filter(|share| share.is_finite())
            }
            Sign::Slower(name, le) => {
                let slower = |scrape| {
                    let all = sum(scrape, (&format!("{name}_count"), &[]))?;
                    Some(all - sum(scrape, (&format!("{name}_bucket"), &[("le", le)]))?)
                };
                Some((slower(after)? - slower(before)?) / seconds)
            }
        }
    }

    /// Whether that is so much, or so little, that it shows what is wrong.
    pub fn is_shown(&self, bound: f64, before: &Exposition, after: &Exposition) -> bool {
        self.between(before, after).is_some_and(|seen| match *self {
            Sign::Lowest(_) => seen <= bound,
            Sign::ShareBelow(_, _, most) => (bound..most).contains(&seen),
            Sign::Rate(_) | Sign::Now(_) | Sign::Share(_, _) | Sign::Grown(_) | Sign::Slower(_, _) => {
                seen >= bound
            }
        })
    }

    /// The same in PromQL, over a minute or ten, by instance.
    pub fn promql(&self, bound: f64) -> String {
        let by = |how: &str, what: String| format!("{how} by (job, instance) ({what})");
        let share = |part, whole| format!("{} / {}", by("sum", selector(part)), by("sum", selector(whole)));
        match self {
            Sign::Rate(series) => {
                format!("({}) >= {bound}", by("sum", format!("rate({}[1m])", selector(series))))
            }
            Sign::Now(series) => format!("({}) >= {bound}", by("max", selector(series))),
            Sign::Lowest(series) => format!("({}) <= {bound}", by("min", selector(series))),
            Sign::Share(part, whole) => format!("({}) >= {bound}", share(part, whole)),
            Sign::ShareBelow(part, whole, most) => format!("({}) >= {bound} < {most}", share(part, whole)),
            Sign::Grown(series) => {
                format!("({}) >= {bound}", by("sum", format!("increase({}[10m])", selector(series))))
            }
            Sign::Slower(name, le) => {
                let all = by("sum", format!("rate({name}_count[1m])"));
                let quick = by("sum", format!("rate({name}_bucket{{le=\"{le}\"}}[1m])"));
                format!("({all} - {quick}) >= {bound}")
            }
        }
    }

    /// The same for people.
    fn words(&self, bound: f64) -> String {
        let code = |series: &Series| format!("`{}`", selector(series));
        match self {
            Sign::Rate(series) => format!("{} grows by {bound} a second", code(series)),
            Sign::Now(series) => format!("{} is {bound} or more", code(series)),
            Sign::Lowest(series) => format!("{} is {bound} or less", code(series)),
            Sign::Share(part, whole) => format!("{} is {bound} of {} or more", code(part), code(whole)),
            Sign::ShareBelow(part, whole, most) => {
                format!("{} is {bound} to {most} of {}", code(part), code(whole))
            }
            Sign::Grown(series) => format!("{} has grown within ten minutes", code(series)),
            Sign::Slower(name, le) => format!("`{name}` is above {le} for {bound} a second"),
        }
    }

    /// The families that it looks at, by the names of their series.
    pub fn names(&self) -> Vec<String> {
        match self {
            Sign::Rate((name, _))
            | Sign::Now((name, _))
            | Sign::Lowest((name, _))
            | Sign::Grown((name, _)) => {
                vec![(*name).to_owned()]
            }
            Sign::Share((part, _), (whole, _)) | Sign::ShareBelow((part, _), (whole, _), _) => {
                vec![(*part).to_owned(), (*whole).to_owned()]
            }
            Sign::Slower(name, _) => vec![format!("{name}_count"), format!("{name}_bucket")],
        }
    }
}

impl Rule {
    /// Its row in docs/OPERATIONS.md.
    pub fn row(&self) -> String {
        let signs: Vec<_> = self.signs.iter().map(|(sign, least)| sign.words(*least)).collect();
        format!("| `{}` | {} | {} {} |", self.name, signs.join(", or "), self.meaning, self.action)
    }
}

impl Outside {
    /// Its row in docs/OPERATIONS.md.
    pub fn row(&self) -> String {
        format!("| `{}` | {} | {} {} |", self.name, self.seen_by, self.meaning, self.action)
    }
}

/// The whole of docs/operate/alerts.yml.
pub fn alerts() -> String {
    let mut out = String::from(
        "# Alerting rules for Prometheus: the conditions of docs/OPERATIONS.md. What to do about each: RUNBOOK.md beside it.\n\
         # severity: page, since peers suffer now; ticket, since somebody should look at it soon.\n\
         groups:\n  - name: tidegate\n    rules:\n",
    );
    for rule in RULES {
        let signs = rule.signs.iter().map(|(sign, bound)| sign.promql(*bound));
        let expression = signs.collect::<Vec<_>>().join("\n          or ");
        let told = [rule.patience, rule.severity, rule.meaning, rule.action];
        write_alert(&mut out, rule.name, &expression, told);
    }
    for rule in OUTSIDE {
        let told = [rule.patience, rule.severity, rule.meaning, rule.action];
        write_alert(&mut out, rule.name, rule.promql, told);
    }
    out
}

fn write_alert(out: &mut String, name: &str, expression: &str, told: [&str; 4]) {
    let [patience, severity, meaning, action] = told;
    let _ = write!(
        out,
        "      - alert: {}\n        expr: |-\n          {expression}\n        for: {patience}\n        labels:\n          \
         severity: {severity}\n        annotations:\n          summary: \"{{{{ $labels.instance }}}}: {meaning}\"\n          \
         description: \"{action}\"\n          runbook_url: \"docs/operate/RUNBOOK.md#{name}\"\n",
        alert_name(name),
    );
}

/// The name of the alert for a rule.
pub fn alert_name(name: &str) -> String {
    format!("Tidegate{}", camel_case(name))
}

/// Alerts are named so.
fn camel_case(name: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('_').map(capital).collect()
}

fn selector((name, labels): &Series) -> String {
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    if labels.is_empty() { (*name).to_owned() } else { format!("{name}{{{}}}", labels.join(",")) }
}

fn sum(scrape: &Exposition, (name, labels): (&str, &[(&str, &str)])) -> Option<f64> {
    scrape.matching(name, labels).into_iter().reduce(|sum, more| sum + more)
}
