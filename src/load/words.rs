//! Figures and settings as people read them: the one place that decides units, digits and wording.
//!
//! Always holds: three digits that mean something; the same figure reads the same in a table, a page and a comparison.
//! Never: a figure made up for one that is absent; callers get no text for it.

use super::histogram::Histogram;
use super::report::{Arrival, Asked, Class, Model, Protocol, Report, Search, Trouble};
use std::collections::BTreeMap;

/// Percentiles that every output shows, with their names.
pub const SHOWN: [(f64, &str); 4] = [(50.0, "p50"), (90.0, "p90"), (99.0, "p99"), (99.9, "p99.9")];

/// What stands where a percentile has too few samples.
pub const TOO_FEW: &str = "too few samples";

/// What a run says about the server, in the order of how much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not one connection could be made.
    NoConnection,
    /// The generator was the limit.
    Void,
    /// Replies were wrong.
    Wrong,
    /// Something that was asserted does not hold.
    Broken,
    /// The figures are the server's.
    Valid,
}

impl Outcome {
    /// The outcome of a run.
    pub fn of(report: &Report) -> Outcome {
        if report.connections.established == 0 {
            Outcome::NoConnection
        } else if report.troubles.keys().any(|trouble| trouble.is_wrong()) {
            // Whatever the generator's limit was: a wrong reply is wrong.
            Outcome::Wrong
        } else if !report.verdict.is_valid() {
            Outcome::Void
        } else if report.assertions.iter().any(|assertion| assertion.held == Some(false)) {
            Outcome::Broken
        } else {
            Outcome::Valid
        }
    }

    /// In a word.
    pub const fn word(self) -> &'static str {
        match self {
            Outcome::NoConnection => "No connection",
            Outcome::Void => "Void",
            Outcome::Wrong => "Wrong replies",
            Outcome::Broken => "Assertion failed",
            Outcome::Valid => "Valid",
        }
    }

    /// In a sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Outcome::NoConnection => "The server could not be reached, so nothing was measured.",
            Outcome::Void => "The load generator was the limit: these figures say nothing about the server.",
            Outcome::Wrong => "The server gave replies that a right server never gives.",
            Outcome::Broken => "The figures are the server's, and not all that was asserted holds.",
            Outcome::Valid => "The load generator kept up: the figures are the server's.",
        }
    }
}

/// What has to be known before the latencies of a closed loop are read.
pub const CLOSED_LOOP: &str = "Closed loop: each request waited for the reply before it, so these are service \
                               times, not what users would see. Give --rate to measure those.";

/// The connections without an impairment, which the figures of a run are about; absent if a run never came so far.
pub fn plain(report: &Report) -> Option<&Class> {
    report.classes.first()
}

/// The time that a run is about, with its name: `response`, or `service` in a closed loop.
pub fn main_time(report: &Report) -> Option<(&'static str, &Histogram)> {
    plain(report).map(|class| match report.asked.model {
        Model::Open => ("response", &class.response),
        Model::Closed => ("service", &class.service),
    })
}

/// Replies a second over the measured part; absent if nothing was measured.
pub fn answered_a_second(report: &Report) -> Option<f64> {
    (report.measured_s > 0.0).then(|| report.counts.answered as f64 / report.measured_s)
}

/// Requests a second that were due over the measured part; absent in a closed loop, or if nothing was measured.
pub fn due_a_second(report: &Report) -> Option<f64> {
    let is_open = report.asked.model == Model::Open && report.measured_s > 0.0;
    is_open.then(|| report.counts.scheduled as f64 / report.measured_s)
}

/// `84.2 µs`, `1.84 ms`, `12.3 s`: the unit that fits.
pub fn time(ns: f64) -> String {
    if ns < 999.5 {
        return format!("{ns:.0} ns");
    }
    for (factor, unit) in [(1e3, "µs"), (1e6, "ms")] {
        if ns / factor < 999.5 {
            return format!("{} {unit}", three_digits(ns / factor));
        }
    }
    format!("{} s", three_digits(ns / 1e9))
}

/// [`time()`] of whole nanoseconds.
pub fn time_ns(ns: u64) -> String {
    time(ns as f64)
}

/// `49,980/s`
pub fn rate(a_second: f64) -> String {
    let digits = if a_second.abs() < 99.5 { three_digits(a_second) } else { format!("{a_second:.0}") };
    format!("{}/s", grouped(&digits))
}

/// `50k`, `1.25M`: short, for axes and narrow places.
pub fn short(number: f64) -> String {
    match number {
        small if small < 999.5 => trimmed(&three_digits(small)).to_owned(),
        medium if medium < 999_500.0 => format!("{}k", trimmed(&three_digits(medium / 1e3))),
        large => format!("{}M", trimmed(&three_digits(large / 1e6))),
    }
}

/// `100 µs`, `2 ms`: the round times of axes.
pub fn time_short(ns: f64) -> String {
    let text = time(ns);
    text.split_once(' ').map_or_else(|| text.clone(), |(digits, unit)| format!("{} {unit}", trimmed(digits)))
}

/// `1,204,332`
pub fn count(number: u64) -> String {
    grouped(&number.to_string())
}

/// `12.3 %` of a share from 0 to 1; small shares keep two digits, and only nothing is 0 %.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent.abs() {
        0.0 => "0 %".to_owned(),
        tiny if tiny < 0.001 => "<0.001 %".to_owned(),
        small if small < 0.1 => format!("{percent:.3} %"),
        medium if medium < 9.95 => format!("{percent:.2} %"),
        _ => format!("{percent:.1} %"),
    }
}

/// `5 %`, `2.5 %` of a share from 0 to 1: for the round numbers of axes.
pub fn percent_short(share: f64) -> String {
    format!("{} %", short((share * 1e6).round() / 1e4))
}

/// `24.1 MiB`
pub fn bytes(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "KiB", "MiB"] {
        if size < 999.5 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{} {unit}", three_digits(size)) };
        }
        size /= 1024.0;
    }
    format!("{} GiB", three_digits(size))
}

/// `30 s`, `2.5 s`
pub fn seconds(seconds: f64) -> String {
    format!("{} s", trimmed(&format!("{seconds:.2}")))
}

/// `1 connection`, `64 connections`
pub fn counted(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// What was asked, as a list of parts of a sentence. The first says the model and the target.
pub fn asked(asked: &Asked) -> Vec<String> {
    let mut parts = vec![match (asked.model, &asked.profile) {
        (Model::Open, Some(profile)) => format!("open loop at {} to {}", a_second(profile), asked.target),
        (Model::Open, None) => format!("open loop to {}", asked.target),
        (Model::Closed, _) => format!("closed loop to {}", asked.target),
    }];
    parts.extend(asked.arrival.map(|arrival| {
        match arrival {
            Arrival::Poisson => "poisson arrivals",
            Arrival::Constant => "evenly spaced",
        }
        .to_owned()
    }));
    let connections = counted(asked.connections.into(), "connection");
    parts.push(format!("{connections} with up to {} in flight", asked.in_flight));
    if asked.idle > 0 {
        parts.push(format!("{} idle", count(asked.idle.into())));
    }
    let kind = match asked.protocol {
        Protocol::Frames => "frames",
        Protocol::Lines => "lines",
    };
    let is_bytes = asked.size.chars().all(|digit| digit.is_ascii_digit() || digit == '.');
    parts.push(format!("{kind} of {}{}", asked.size, if is_bytes { " B" } else { "" }));
    if asked.correlated {
        parts.push("with correlations".to_owned());
    }
    if asked.expect == "any" {
        parts.push("replies not compared".to_owned());
    }
    if !asked.impair.is_empty() {
        parts.push(format!("impaired by {}", asked.impair));
    }
    if asked.processes > 1 {
        parts.push(format!("{} processes", asked.processes));
    }
    if asked.threads > 1 {
        parts.push(counted(asked.threads.into(), "thread"));
    }
    if asked.warmup_s > 0.0 {
        parts.push(format!("{} warm-up", seconds(asked.warmup_s)));
    }
    parts.push(format!("{} measured", seconds(asked.duration_s)));
    parts.push(format!("seed {}", asked.seed));
    parts
}

/// The rate of a profile; one that is not just a number says its unit itself.
fn a_second(profile: &str) -> String {
    let is_plain = !profile.contains([':', '/', '.']) || profile.parse::<f64>().is_ok();
    if is_plain { format!("{profile}/s") } else { profile.to_owned() }
}

/// `12 reset by the server`, most frequent first, of those that `is_wanted`.
pub fn troubles(troubles: &BTreeMap<Trouble, u64>, is_wanted: impl Fn(Trouble) -> bool) -> Vec<String> {
    let mut found: Vec<_> = troubles.iter().filter(|(trouble, _)| is_wanted(**trouble)).collect();
    found.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
    found.iter().map(|(trouble, times)| format!("{} {}", count(**times), trouble.name())).collect()
}

/// What a search found, in a sentence.
pub fn search(search: &Search) -> String {
    let condition = &search.condition;
    let confirmed = format!("{} of {} tries", search.confirmed.1, search.confirmed.0);
    match (search.held, search.failed) {
        (Some(held), Some(failed)) if search.is_bound_by_generator() => format!(
            "{condition} holds up to {} ({confirmed}); at {} the load generator was the limit, so the server may do more",
            rate(held),
            rate(failed)
        ),
        (Some(held), Some(failed)) => {
            format!("{condition} holds up to {} ({confirmed}), and not at {}", rate(held), rate(failed))
        }
        (Some(held), None) => format!(
            "{condition} holds at {} ({confirmed}), the highest rate that could be tried; the server may do more",
            rate(held)
        ),
        (None, _) => match search.tries.last() {
            Some(last) if last.void => format!(
                "{condition} held at no rate that was tried; at {} the load generator was the limit",
                rate(last.rate)
            ),
            Some(last) => {
                format!(
                    "{condition} held at no rate that was tried; at {}: {}",
                    rate(last.rate),
                    last.because
                )
            }
            None => format!("{condition} was not tried"),
        },
    }
}

/// The command that repeats a run exactly: as it was given, with the seed that it had.
pub fn repeat(report: &Report) -> String {
    let has_seed = report.command.split_whitespace().any(|word| word.starts_with("--seed"));
    let command = &report.command;
    if has_seed { command.clone() } else { format!("{command} --seed {}", report.asked.seed) }
}

/// `2026-11-23 02:57:14 UTC` of milliseconds of Unix time.
pub fn date(unix_ms: u64) -> String {
    let (days, of_day) = (unix_ms / 86_400_000, unix_ms / 1_000 % 86_400);
    // Years begin in March here, so that the day that comes and goes is their last. 719,468 days lie between the
    // first of March of the year 0 and 1970; 146,097 are in 400 years, 1,461 in four.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + later;
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{date:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// `9.87`, `98.7`, `987`
fn three_digits(number: f64) -> String {
    match number.abs() {
        small if small < 9.995 => format!("{number:.2}"),
        medium if medium < 99.95 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

/// Without zeros behind the point that say nothing.
fn trimmed(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

/// Digits with a comma between thousands; what stands behind a point is left alone.
fn grouped(digits: &str) -> String {
    let whole = digits.split('.').next().unwrap_or(digits).len();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && at < whole && (whole - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_the_unit_that_fits() {
        #[rustfmt::skip]
        let table: &[(u64, &str)] = &[
            (0, "0 ns"), (840, "840 ns"), (999, "999 ns"), (1_000, "1.00 µs"), (9_994, "9.99 µs"),
            (9_996, "10.0 µs"), (84_200, "84.2 µs"), (99_960, "100 µs"), (999_400, "999 µs"), (999_600, "1.00 ms"),
            (12_340_000, "12.3 ms"), (999_600_000, "1.00 s"), (60_000_000_000, "60.0 s"),
        ];
        for (ns, want) in table {
            assert_eq!(time_ns(*ns), *want, "case: {ns}");
        }
    }

    #[test]
    fn numbers_are_grouped_and_shortened() {
        #[rustfmt::skip]
        let table: &[(String, &str)] = &[
            (count(0), "0"), (count(999), "999"), (count(1_000), "1,000"), (count(1_204_332), "1,204,332"),
            (rate(49_983.4), "49,983/s"), (rate(1.5), "1.50/s"), (short(0.0), "0"), (short(250.0), "250"), (short(2.5), "2.5"),
            (short(50_000.0), "50k"), (short(999_600.0), "1M"), (short(1_252_000.0), "1.25M"), (time_short(2e6), "2 ms"), (percent(0.0), "0 %"), (percent(1e-7), "<0.001 %"),
            (percent(0.000_12), "0.012 %"), (percent(0.0123), "1.23 %"), (percent(1.0), "100.0 %"),
            (bytes(512), "512 B"), (bytes(25_270_000), "24.1 MiB"), (seconds(30.0), "30 s"), (seconds(2.5), "2.5 s"),
        ];
        for (got, want) in table {
            assert_eq!(got, want);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        #[rustfmt::skip]
        let table: &[(u64, &str)] = &[
            (0,                 "1970-01-01 00:00:00 UTC"),
            (951_782_400_000,   "2000-02-29 00:00:00 UTC"),
            (1_735_689_599_999, "2024-12-31 23:59:59 UTC"),
            (1_795_402_634_000, "2026-11-23 02:57:14 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00 UTC"),
        ];
        for (ms, want) in table {
            assert_eq!(date(*ms), *want);
        }
    }

    #[test]
    fn a_plain_rate_gets_its_unit() {
        for (profile, want) in [("50k", "50k/s"), ("1.5", "1.5/s"), ("10k..40k/30s", "10k..40k/30s")] {
            assert_eq!(a_second(profile), want);
        }
    }
}
