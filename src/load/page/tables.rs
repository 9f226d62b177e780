//! The tables of a page.
//!
//! Always holds: every text is escaped, figures stand at the right, a figure that is absent is told as such. Never: a
//! table without rows.

use super::svg::escaped;
use crate::load::histogram::{Histogram, TOLD};
use crate::load::report::{Confidence, Floor, Model, Report, Search};
use crate::load::words::{self, TOO_FEW};
use std::fmt::Write as _;

/// Cells that stand out.
const WRONG: &str = "wrong";
const FAILED: &str = "does not hold";
const VOID: &str = "void";

/// A table of figures with a title. The first column names the rows; a row may end early.
fn table(title: &str, head: &[&str], rows: &[Vec<String>]) -> String {
    table_of("numbers", title, head, rows)
}

/// A table of words: they begin at the left.
fn words_table(title: &str, rows: &[Vec<String>]) -> String {
    table_of("words", title, &[], rows)
}

fn table_of(class: &str, title: &str, head: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut out =
        format!("<div class=\"scroll\"><table class=\"{class}\">\n<caption>{}</caption>\n", escaped(title));
    if !head.is_empty() {
        let cells: String =
            head.iter().map(|cell| format!("<th scope=\"col\">{}</th>", escaped(cell))).collect();
        let _ = writeln!(out, "<thead><tr>{cells}</tr></thead>");
    }
    out.push_str("<tbody>\n");
    for row in rows {
        let mut cells = row.iter();
        let name = cells.next().map_or("", String::as_str);
        let _ = write!(out, "<tr><th scope=\"row\">{}</th>", escaped(name));
        for cell in cells {
            let class = match cell.as_str() {
                TOO_FEW => " class=\"few\"",
                WRONG | FAILED | VOID => " class=\"bad\"",
                _ => "",
            };
            let _ = write!(out, "<td{class}>{}</td>", escaped(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
    out
}

fn at(times: &Histogram, percent: f64) -> String {
    times.percentile(percent).map_or_else(|| TOO_FEW.to_owned(), words::time_ns)
}

/// All percentiles of all requests, beside those of the baseline.
pub(super) fn percentiles(report: &Report, baseline: Option<&Report>) -> String {
    let Some(all) = words::plain(report).filter(|all| all.service.count() > 0) else { return String::new() };
    let mut columns: Vec<(&str, &Histogram)> = match report.asked.model {
        Model::Open => vec![("response", &all.response), ("service", &all.service), ("lag", &all.lag)],
        Model::Closed => vec![("service", &all.service)],
    };
    let before = baseline.and_then(words::main_time);
    columns.extend(before.map(|(_, times)| ("baseline", times)));
    let row = |name: String, of: &dyn Fn(&Histogram) -> Option<String>| {
        let cells = columns.iter().map(|(_, times)| of(times).unwrap_or_else(|| TOO_FEW.to_owned()));
        std::iter::once(name).chain(cells).collect::<Vec<_>>()
    };
    let mut rows = vec![row("min".to_owned(), &|times| times.min().map(words::time_ns))];
    for percent in TOLD {
        rows.push(row(format!("{percent} %"), &|times| times.percentile(percent).map(words::time_ns)));
    }
    rows.push(row("max".to_owned(), &|times| times.max().map(words::time_ns)));
    rows.push(row("mean".to_owned(), &|times| times.mean().map(words::time)));
    rows.push(row("samples".to_owned(), &|times| Some(words::count(times.count()))));
    let names: Vec<_> = std::iter::once("").chain(columns.iter().map(|(name, _)| *name)).collect();
    table("Percentiles", &names, &rows)
}

/// What the percentiles' parts say about how sure they are.
pub(super) fn confidence(confidence: &Confidence) -> String {
    let spread = |spread: &crate::load::report::Spread| {
        let share = if spread.mean_ns > 0.0 { spread.plus_minus_ns / spread.mean_ns } else { 0.0 };
        vec![
            format!("{} %", spread.percentile),
            words::time(spread.mean_ns),
            format!("± {}", words::time(spread.plus_minus_ns)),
            format!("± {}", words::percent(share)),
        ]
    };
    let mut rows: Vec<_> = confidence.percentiles.iter().map(spread).collect();
    rows.push(vec!["second half over first".to_owned(), format!("{:.3}", confidence.drift)]);
    let title = format!("Confidence: 95 % intervals over {} parts of the run", confidence.parts);
    table(&title, &["", "mean", "interval", "of the mean"], &rows)
}

/// Each kind of connection, if there are several.
pub(super) fn kinds(report: &Report) -> String {
    let kinds = if report.classes.len() > 1 { report.classes.as_slice() } else { &[] };
    let row = |class: &crate::load::report::Class| {
        let times = match report.asked.model {
            Model::Open => &class.response,
            Model::Closed => &class.service,
        };
        vec![
            class.name.clone(),
            words::count(class.connections.into()),
            at(times, 50.0),
            at(times, 99.0),
            at(times, 99.9),
            times.max().map_or_else(|| TOO_FEW.to_owned(), words::time_ns),
        ]
    };
    let rows: Vec<_> = kinds.iter().map(row).collect();
    table("By kind of connection", &["", "number", "p50", "p99", "p99.9", "max"], &rows)
}

/// What became of the requests, and what went wrong.
pub(super) fn requests(report: &Report) -> String {
    let counts = &report.counts;
    let mut rows = Vec::new();
    let fates = [
        ("due", counts.scheduled),
        ("sent", counts.sent),
        ("answered", counts.answered),
        ("never answered", counts.unanswered),
        ("abandoned by churn, storms or resets", counts.abandoned),
        ("dropped, never sent", counts.dropped),
    ];
    for (name, number) in fates {
        let share = if counts.scheduled == 0 { 0.0 } else { number as f64 / counts.scheduled as f64 };
        if number > 0 {
            rows.push(vec![name.to_owned(), words::count(number), words::percent(share)]);
        }
    }
    let bytes = [("bytes written", counts.bytes_out), ("bytes read", counts.bytes_in)];
    let bytes = bytes.into_iter().filter(|(_, bytes)| *bytes > 0);
    rows.extend(bytes.map(|(name, bytes)| vec![name.to_owned(), words::bytes(bytes)]));
    table("Requests", &[], &rows)
}

/// Errors by class, then failures by status.
pub(super) fn errors(report: &Report) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (trouble, times) in &report.troubles {
        let mut row = vec![trouble.name().to_owned(), words::count(*times)];
        row.extend(trouble.is_wrong().then(|| WRONG.to_owned()));
        rows.push(row);
    }
    for (status, times) in &report.statuses {
        rows.push(vec![format!("status {status}"), words::count(*times)]);
    }
    table("Errors", &[], &rows)
}

/// The connections of the run.
pub(super) fn connections(report: &Report) -> String {
    let found = &report.connections;
    let mut rows = vec![
        vec!["wanted".to_owned(), words::count(found.wanted.into())],
        vec!["open at once".to_owned(), words::count(found.open_max.into())],
    ];
    let numbers = [
        ("attempts", found.attempted),
        ("connected", found.established),
        ("ever answered", found.verified),
        ("lost", found.lost),
        ("ended by plan", found.retired),
    ];
    let numbers = numbers.into_iter().filter(|(_, number)| *number > 0);
    rows.extend(numbers.map(|(name, number)| vec![name.to_owned(), words::count(number)]));
    rows.extend(found.ramp_s.map(|ramp| vec!["all answered after".to_owned(), words::time(ramp * 1e9)]));
    for (name, times) in [("connecting", &found.connect), ("recovering", &found.recovery)] {
        let figures = [("p50", times.percentile(50.0)), ("max", times.max())];
        let figures = figures.into_iter().filter_map(|(figure, ns)| Some((figure, words::time_ns(ns?))));
        rows.extend(figures.map(|(figure, text)| vec![format!("time for {name}, {figure}"), text]));
    }
    table("Connections", &[], &rows)
}

/// What the server and the generator cost.
pub(super) fn costs(report: &Report) -> String {
    let mut rows = Vec::new();
    let mut tell = |name: &str, text: String| rows.push(vec![name.to_owned(), text]);
    if let Some(server) = &report.server {
        tell("server: cpu a message", words::time(server.cpu_ns_per_message));
        tell("server: busiest thread", words::percent(server.busiest));
        tell("server: resident memory", words::bytes(server.rss_bytes));
    }
    if report.measured_s > 0.0 {
        let own = &report.verdict.own;
        tell("generator: busiest thread", words::percent(own.busy));
        if let Some(waited) = own.waited {
            tell("generator: waited for cpu", words::percent(waited));
        }
        for (name, late) in [("p99", own.late_p99_ns), ("max", own.late_max_ns)] {
            if let Some(late) = late {
                tell(&format!("generator: own lateness {name}"), words::time_ns(late));
            }
        }
        tell("generator: longest turn", words::time_ns(own.turn_max_ns));
    }
    table("Server and generator", &[], &rows)
}

/// The server over the floor of its machine.
pub(super) fn floor(floor: &Floor) -> String {
    let row = |ratio: &crate::load::report::Ratio| {
        let range = format!("{:.2}–{:.2}", ratio.least, ratio.most);
        vec![ratio.figure.clone(), format!("{:.2}×", ratio.ratio), range]
    };
    let rows: Vec<_> = floor.ratios.iter().map(row).collect();
    let title = format!("Over a bare byte echo on this machine, {} rounds", floor.rounds);
    table(&title, &["", "median", "range"], &rows)
}

/// Every try of a search.
pub(super) fn tries(search: &Search) -> String {
    let row = |one: &crate::load::report::Try| {
        let what = if one.void {
            "void"
        } else if one.held {
            "held"
        } else {
            "failed"
        };
        vec![words::rate(one.rate), what.to_owned(), one.because.clone()]
    };
    let rows: Vec<_> = search.tries.iter().map(row).collect();
    words_table("Tries, in order", &rows)
}

/// What was asserted.
pub(super) fn assertions(report: &Report) -> String {
    let row = |assertion: &crate::load::report::Assertion| {
        let what = match assertion.held {
            Some(true) => "holds",
            Some(false) => FAILED,
            None => "can't be told",
        };
        vec![assertion.text.clone(), what.to_owned(), assertion.found.clone()]
    };
    let rows: Vec<_> = report.assertions.iter().map(row).collect();
    words_table("Assertions", &rows)
}

/// Where and when the run was, and what repeats it.
pub(super) fn origin(report: &Report) -> String {
    let processor = if report.host.processor.is_empty() { "" } else { ", " };
    let machine = format!(
        "{}{processor}{}, {}",
        report.host.system,
        report.host.processor,
        words::counted(report.host.processors.into(), "processor")
    );
    let rows = [
        ("begun", words::date(report.began_unix_ms)),
        ("machine", machine),
        ("program", format!("tidegate {}", report.version)),
        ("seed", report.asked.seed.to_string()),
    ];
    let rows: Vec<_> = rows.into_iter().map(|(name, text)| vec![name.to_owned(), text]).collect();
    words_table("Where it comes from", &rows)
}
