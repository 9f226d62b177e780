//! What is shown, as values: two moments of `/metrics` and what lies between them. Pure.
//!
//! Always holds: a figure that a server does not give, or that can't be had from one moment alone, is `None`; a counter that
//! went back (another process answers) gives no rate. Never: a text or a width.

use super::figures::Figures;
use serde::{Deserialize, Serialize};

/// All that is known of a server at a moment. The names are those of `--json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct View {
    pub(super) version: Option<String>,
    pub(super) uptime_s: Option<f64>,
    pub(super) is_draining: bool,
    /// Seconds between the two moments.
    pub(super) interval_s: Option<f64>,
    pub(super) messages: Flow,
    pub(super) bytes: Flow,
    pub(super) connections: Connections,
    pub(super) requests: Requests,
    pub(super) times: Times,
    pub(super) limits: Vec<Limit>,
    pub(super) loops: Vec<Loop>,
    /// What should not happen, and has.
    pub(super) troubles: Vec<Count>,
    pub(super) closed: Vec<Count>,
    pub(super) refused: Vec<Count>,
}

/// A second, each way.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Flow {
    pub(super) in_per_s: Option<f64>,
    pub(super) out_per_s: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Connections {
    pub(super) open: Option<f64>,
    pub(super) new_per_s: Option<f64>,
    pub(super) ended_per_s: Option<f64>,
    pub(super) refused_per_s: Option<f64>,
    /// Between accept and the first message.
    pub(super) at_entrance: Option<f64>,
    /// Those that are not read, by why.
    pub(super) paused: Vec<Count>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Requests {
    pub(super) started_per_s: Option<f64>,
    pub(super) open: Option<f64>,
    pub(super) failed_per_s: Option<f64>,
    pub(super) lost_per_s: Option<f64>,
}

/// What 99 of 100 took no longer than, in seconds: bounds of buckets, each twice the one before.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Times {
    pub(super) turn_p99_s: Option<f64>,
    pub(super) wait_p99_s: Option<f64>,
    pub(super) handler_p99_s: Option<f64>,
}

/// What is used of something that is bounded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Limit {
    pub(super) name: &'static str,
    pub(super) used: f64,
    pub(super) most: f64,
    pub(super) is_bytes: bool,
}

/// One event loop.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Loop {
    pub(super) shard: String,
    /// Part of the time that it was in turns.
    pub(super) busy: Option<f64>,
    /// Part of the time that it was ready and had no processor.
    pub(super) starved: Option<f64>,
    pub(super) connections: Option<f64>,
    pub(super) messages_per_s: Option<f64>,
    pub(super) open_requests: Option<f64>,
    /// How long the turn has been running that runs now.
    pub(super) turn_s: Option<f64>,
    pub(super) is_dead: bool,
}

/// How often something happened, in all and a second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Count {
    pub(super) name: String,
    pub(super) total: f64,
    pub(super) per_s: Option<f64>,
}

/// `/connections`, as far as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(super) struct Talkers {
    pub(super) by: String,
    pub(super) open: u64,
    pub(super) connections: Vec<Talker>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(super) struct Talker {
    pub(super) id: String,
    pub(super) peer: String,
    pub(super) listener: String,
    pub(super) client_id: Option<String>,
    pub(super) state: String,
    pub(super) paused: Vec<String>,
    pub(super) age_s: f64,
    pub(super) idle_s: f64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) queued_bytes: u64,
    pub(super) open_requests: u64,
}

/// Two moments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments<'a> {
    pub(super) now: &'a Figures,
    /// The one before, and how many seconds ago that was.
    pub(super) before: Option<(&'a Figures, f64)>,
}

const CLOSED: &str = "tidegate_connections_closed_total";
const REFUSED: &str = "tidegate_connections_refused_total";
const ENDED: &str = "tidegate_requests_ended_total";

impl Moments<'_> {
    /// All that is shown.
    pub(super) fn view(&self) -> View {
        let now = |name| self.now.sum(name, &[]);
        View {
            version: self.now.text("tidegate_build_info", "version").map(str::to_owned),
            uptime_s: now("tidegate_uptime_seconds"),
            is_draining: now("tidegate_draining").is_some_and(|draining| draining > 0.0),
            interval_s: self.before.map(|(_, seconds)| seconds),
            messages: self.flow("tidegate_frames_received_total", "tidegate_frames_sent_total"),
            bytes: self.flow("tidegate_received_bytes_total", "tidegate_sent_bytes_total"),
            connections: Connections {
                open: now("tidegate_connections"),
                new_per_s: self.rate("tidegate_connections_accepted_total", &[]),
                ended_per_s: self.rate(CLOSED, &[]),
                refused_per_s: self.rate(REFUSED, &[]),
                at_entrance: now("tidegate_entrance_waiting"),
                paused: self.gauges("tidegate_connections_paused", "pause"),
            },
            requests: Requests {
                started_per_s: self.rate("tidegate_requests_started_total", &[]),
                open: now("tidegate_requests_in_flight"),
                failed_per_s: self.rate(ENDED, &[("outcome", "failed")]),
                lost_per_s: self.sum_of_rates(
                    ENDED,
                    "outcome",
                    &["panicked", "dropped", "timed_out", "abandoned"],
                ),
            },
            times: Times {
                turn_p99_s: self.p99("tidegate_turn_duration_seconds"),
                wait_p99_s: self.p99("tidegate_ready_delay_seconds"),
                handler_p99_s: self.p99("tidegate_handler_duration_seconds"),
            },
            limits: self.limits(),
            loops: self.loops(),
            troubles: self.troubles(),
            closed: self.counts(CLOSED, "reason"),
            refused: self.counts(REFUSED, "cause"),
        }
    }

    /// How fast a counter grew.
    fn rate(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let (before, seconds) = self.before?;
        let grown = self.now.sum(name, labels)? - before.sum(name, labels).unwrap_or(0.0);
        (grown >= 0.0 && seconds > 0.0).then(|| grown / seconds)
    }

    fn sum_of_rates(&self, name: &str, label: &str, values: &[&str]) -> Option<f64> {
        values.iter().map(|value| self.rate(name, &[(label, value)])).sum()
    }

    fn flow(&self, input: &str, output: &str) -> Flow {
        Flow { in_per_s: self.rate(input, &[]), out_per_s: self.rate(output, &[]) }
    }

    /// The gauges of a family that are not 0.
    fn gauges(&self, name: &str, label: &str) -> Vec<Count> {
        let all = self.now.by(name, label).into_iter().filter(|(_, value)| *value > 0.0);
        all.map(|(name, total)| Count { name, total, per_s: None }).collect()
    }

    /// The counters of a family that are not 0: those that grew most first, and then those that have most.
    fn counts(&self, name: &str, label: &str) -> Vec<Count> {
        let all = self.now.by(name, label).into_iter().filter(|(_, total)| *total > 0.0);
        let mut all: Vec<Count> = all
            .map(|(value, total)| {
                let per_s = self.rate(name, &[(label, &value)]);
                Count { name: value, total, per_s }
            })
            .collect();
        let weight = |count: &Count| (count.per_s.unwrap_or(0.0), count.total);
        all.sort_by(|one, other| {
            let ((fast, many), (faster, more)) = (weight(one), weight(other));
            faster.total_cmp(&fast).then(more.total_cmp(&many))
        });
        all
    }

    fn troubles(&self) -> Vec<Count> {
        #[rustfmt::skip]
        let table = [
            ("stalls",              "tidegate_stalls_total"),
            ("slow turns",          "tidegate_slow_turns_total"),
            ("panics",              "tidegate_panics_total"),
            ("failed accepts",      "tidegate_accept_failures_total"),
            ("undeliverable",       "tidegate_undeliverable_total"),
            ("lost publications",   "tidegate_publishes_lost_total"),
            ("refused effects",     "tidegate_effects_refused_total"),
            ("late answers",        "tidegate_late_answers_total"),
        ];
        let all = table.iter().filter_map(|(name, family)| {
            let total = self.now.sum(family, &[]).filter(|total| *total > 0.0)?;
            Some(Count { name: (*name).to_owned(), total, per_s: self.rate(family, &[]) })
        });
        all.collect()
    }

    fn limits(&self) -> Vec<Limit> {
        let buffers = |part| {
            let of = move |name| (name, [("part", part)]);
            (of("tidegate_buffer_bytes"), of("tidegate_buffer_limit_bytes"))
        };
        let of = |name: &'static str,
                  (used, used_of): (&str, &[(&str, &str)]),
                  (most, most_of): (&str, &[(&str, &str)]),
                  is_bytes| {
            let (used, most) = (self.now.sum(used, used_of)?, self.now.sum(most, most_of)?);
            (most > 0.0).then_some(Limit { name, used, most, is_bytes })
        };
        let plain = |name, used, most| of(name, (used, &[]), (most, &[]), false);
        let buffer = |name, part| {
            let ((used, used_of), (most, most_of)) = buffers(part);
            of(name, (used, &used_of), (most, &most_of), true)
        };
        let queue = |name, queue| {
            let labels = [("queue", queue)];
            of(name, ("tidegate_queue_length", &labels), ("tidegate_queue_limit", &labels), false)
        };
        let found = [
            plain("connections", "tidegate_connections_used", "tidegate_connections_limit"),
            plain("descriptors", "process_open_fds", "process_max_fds"),
            buffer("input", "input"),
            buffer("output", "output"),
            buffer("reserve", "reserve"),
            queue("deferred", "laters"),
            queue("commands", "commands"),
            plain("jobs", "tidegate_jobs_waiting", "tidegate_jobs_waiting_limit"),
        ];
        found.into_iter().flatten().collect()
    }

    fn loops(&self) -> Vec<Loop> {
        let mut shards: Vec<String> = self.now.by("tidegate_turns_total", "shard").into_keys().collect();
        // 10 comes behind 9.
        shards.sort_by_key(|shard| shard.parse::<u32>().unwrap_or(u32::MAX));
        let of = |shard: String| {
            let label = [("shard", shard.as_str())];
            let now = |name| self.now.sum(name, &label);
            Loop {
                busy: self.rate("tidegate_shard_busy_seconds_total", &label),
                starved: self.rate("tidegate_shard_runqueue_wait_seconds_total", &label),
                connections: now("tidegate_connections"),
                messages_per_s: self.rate("tidegate_frames_received_total", &label),
                open_requests: now("tidegate_requests_in_flight"),
                turn_s: now("tidegate_turn_running_seconds"),
                is_dead: now("tidegate_shard_dead").is_some_and(|dead| dead > 0.0),
                shard,
            }
        };
        shards.into_iter().map(of).collect()
    }

    /// The bound below which 99 of 100 lie that were counted between the two moments.
    fn p99(&self, name: &str) -> Option<f64> {
        let (before, _) = self.before?;
        let (then, now) = (before.buckets(name), self.now.buckets(name));
        let grown: Vec<(f64, f64)> = now
            .into_iter()
            .map(|(bound, count)| {
                let earlier = then.iter().find(|(other, _)| *other == bound).map_or(0.0, |(_, count)| *count);
                (bound, count - earlier)
            })
            .collect();
        let all = grown.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
        grown.iter().find(|(_, count)| *count >= 0.99 * all).map(|(bound, _)| *bound)
    }
}

#[cfg(test)]
mod tests;
