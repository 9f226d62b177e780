//! The table itself.
//!
//! Always holds: a name is the anchor of its entry in docs/operate/RUNBOOK.md. Never: what no figure of a server shows; that is
//! Prometheus' to see.

use super::{Rule, Series, Sign};

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
