//! The result of a run as a table: what a person reads first, in some lines of at most 80 columns.
//!
//! Always holds: what makes the figures worthless stands before them; a row whose figures are all nothing is left out;
//! where there are too few samples, the table says so. Never: printing.

use super::paint::{Ink, Paint, wrapped};
use crate::load::histogram::Histogram;
use crate::load::report::{Confidence, Model, Report};
use crate::load::words::{self, Outcome, SHOWN};

/// Columns of the table.
const WIDTH: usize = 80;
/// Columns of the names of rows.
const NAMES: usize = 11;
/// Columns of each time.
const TIMES: usize = 11;
/// Connections' kinds that get a row; more than there are.
const KINDS_MAX: usize = 16;

/// The table of a run, with a line's end behind each line.
pub fn table(report: &Report, in_colour: bool) -> String {
    let mut table = Table { out: String::new(), paint: Paint { in_colour } };
    table.verdict(report);
    table.asked(report);
    table.times(report);
    table.requests(report);
    table.ends(report);
    table.out
}

struct Table {
    out: String,
    paint: Paint,
}

impl Table {
    fn line(&mut self, ink: Ink, text: &str) {
        self.out.push_str(&self.paint.text(ink, text));
        self.out.push('\n');
    }

    fn gap(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    /// A row with a name and a text in as many lines as it needs; nothing if the text is empty.
    fn row(&mut self, name: &str, ink: Ink, text: &str) {
        for (at, line) in wrapped(text, WIDTH - NAMES).iter().enumerate() {
            let name = if at == 0 { name } else { "" };
            self.out.push_str(&self.paint.text(Ink::Faint, &format!("{name:<NAMES$}")));
            self.line(ink, line);
        }
    }

    fn verdict(&mut self, report: &Report) {
        let outcome = Outcome::of(report);
        let ink = match outcome {
            Outcome::Valid => {
                self.loop_kind(report);
                return;
            }
            Outcome::Void => Ink::Alarm,
            Outcome::NoConnection | Outcome::Wrong | Outcome::Broken => Ink::Bad,
        };
        let said = format!("{}: {}", outcome.word().to_uppercase(), outcome.sentence());
        for line in wrapped(&said, WIDTH) {
            self.line(ink, &line);
        }
        if outcome == Outcome::Wrong && !report.verdict.is_valid() {
            let too = format!("{}, too: {}", Outcome::Void.word(), Outcome::Void.sentence());
            wrapped(&too, WIDTH).iter().for_each(|line| self.line(Ink::Alarm, line));
        }
        for why in &report.verdict.void_because {
            for (at, line) in wrapped(why, WIDTH - 4).iter().enumerate() {
                self.line(Ink::Plain, &format!("  {} {line}", if at == 0 { "-" } else { " " }));
            }
        }
        self.loop_kind(report);
    }

    fn loop_kind(&mut self, report: &Report) {
        if report.asked.model == Model::Closed {
            self.gap();
            for line in wrapped(words::CLOSED_LOOP, WIDTH) {
                self.line(Ink::Strong, &line);
            }
        }
    }

    fn asked(&mut self, report: &Report) {
        self.gap();
        let asked = words::asked(&report.asked).join(", ");
        for line in wrapped(&asked, WIDTH) {
            self.line(Ink::Plain, &line);
        }
    }

    /// The three times of all requests, how sure they are, and those of each kind of connection.
    fn times(&mut self, report: &Report) {
        let Some(all) = words::plain(report).filter(|all| all.service.count() + all.response.count() > 0)
        else {
            return;
        };
        self.gap();
        let names = SHOWN.iter().map(|(_, name)| *name).chain(["max"]);
        let head: String = names.map(|name| format!("{name:>TIMES$}")).collect();
        self.line(Ink::Faint, &format!("{:NAMES$}{head}", ""));
        let kinds = report.classes.get(1..).unwrap_or_default();
        match report.asked.model {
            Model::Open => {
                self.time_row("response", Ink::Strong, &all.response);
                self.spread(report.confidence.as_ref());
                self.time_row("service", Ink::Plain, &all.service);
                self.time_row("lag", Ink::Plain, &all.lag);
            }
            Model::Closed => {
                self.time_row("service", Ink::Strong, &all.service);
                self.spread(report.confidence.as_ref());
            }
        }
        if !kinds.is_empty() {
            let sound = words::counted(all.connections.into(), "sound connection");
            self.line(Ink::Faint, &format!("above: {sound}; below: the impaired ones"));
        }
        for class in kinds.iter().take(KINDS_MAX) {
            let times = match report.asked.model {
                Model::Open => &class.response,
                Model::Closed => &class.service,
            };
            self.time_row(&class.name, Ink::Plain, times);
        }
        if self.out.contains(" – ") || self.out.contains(" –\n") {
            self.line(
                Ink::Faint,
                &format!("{:NAMES$}– too few samples: ten must lie beyond a percentile", ""),
            );
        }
    }

    fn time_row(&mut self, name: &str, ink: Ink, times: &Histogram) {
        if times.count() == 0 {
            return;
        }
        let percentiles = SHOWN.iter().map(|(percent, _)| times.percentile(*percent));
        let cells = percentiles.chain([times.max()]).map(|ns| {
            let text = ns.map_or_else(|| "–".to_owned(), words::time_ns);
            format!("{text:>TIMES$}")
        });
        let cells: String = cells.collect();
        let name: String = name.chars().take(NAMES - 1).collect();
        self.out.push_str(&self.paint.text(Ink::Faint, &format!("{name:<NAMES$}")));
        self.line(ink, &cells);
    }

    fn spread(&mut self, confidence: Option<&Confidence>) {
        let Some(confidence) = confidence else { return };
        let cell = |(percent, _): &(f64, &str)| {
            let found =
                confidence.percentiles.iter().find(|spread| (spread.percentile - percent).abs() < 1e-9);
            let text = found.map_or_else(String::new, |spread| words::time(spread.plus_minus_ns));
            format!("{text:>TIMES$}")
        };
        let cells: String = SHOWN.iter().map(cell).collect();
        if !cells.trim().is_empty() {
            self.line(Ink::Faint, format!("{:<NAMES$}{cells}", "  ± 95 %").trim_end());
        }
    }

    /// The rate, and what became of the requests.
    fn requests(&mut self, report: &Report) {
        self.gap();
        let counts = &report.counts;
        if let Some(answered) = words::answered_a_second(report) {
            let due = words::due_a_second(report).map(|due| format!(" of {} due", words::rate(due)));
            let rate = format!("{} answered{}", words::rate(answered), due.unwrap_or_default());
            self.row("rate", Ink::Strong, &rate);
        }
        if counts.dropped > 0 {
            let text = format!(
                "{} that were due were never sent{}",
                words::count(counts.dropped),
                share(counts.dropped, counts.scheduled)
            );
            self.row("dropped", Ink::Bad, &text);
        }
        if counts.unanswered > 0 {
            let text = format!(
                "{} sent{}; in response with the time they were waited for",
                words::count(counts.unanswered),
                share(counts.unanswered, counts.sent)
            );
            self.row("unanswered", Ink::Bad, &text);
        }
        if counts.abandoned > 0 {
            let text =
                format!("{} that were open at a reset or a storm of ours", words::count(counts.abandoned));
            self.row("abandoned", Ink::Plain, &text);
        }
        let wrong = words::troubles(&report.troubles, |trouble| trouble.is_wrong());
        self.row("wrong", Ink::Bad, &wrong.join(", "));
        let errors = words::troubles(&report.troubles, |trouble| !trouble.is_wrong());
        self.row("errors", Ink::Bad, &errors.join(", "));
        let mut statuses: Vec<_> = report.statuses.iter().collect();
        statuses.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
        let statuses = statuses.iter().map(|(name, times)| format!("{} {name}", words::count(**times)));
        self.row("failures", Ink::Plain, &statuses.collect::<Vec<_>>().join(", "));
        self.row("connected", Ink::Plain, &connections(report));
    }

    /// The server, the floor, the search, the assertions, and what else a reader should know.
    fn ends(&mut self, report: &Report) {
        if let Some(server) = &report.server {
            let text = format!(
                "{} of cpu a message, busiest thread {}, {} resident",
                words::time(server.cpu_ns_per_message),
                words::percent(server.busiest),
                words::bytes(server.rss_bytes)
            );
            self.row("server", Ink::Plain, &text);
        }
        self.row("generator", Ink::Plain, &generator(report));
        if let Some(floor) = &report.floor {
            let ratios = floor.ratios.iter().map(|ratio| {
                format!("{} {:.2}× ({:.2}–{:.2})", ratio.figure, ratio.ratio, ratio.least, ratio.most)
            });
            self.row("over floor", Ink::Plain, &ratios.collect::<Vec<_>>().join(", "));
        }
        if let Some(search) = &report.search {
            let ink = if search.held.is_some() { Ink::Strong } else { Ink::Bad };
            self.row("search", ink, &words::search(search));
        }
        for assertion in &report.assertions {
            let (name, ink) = match assertion.held {
                Some(true) => ("holds", Ink::Good),
                Some(false) => ("FAILS", Ink::Bad),
                None => ("unclear", Ink::Strong),
            };
            self.row(name, ink, &format!("{}: {}", assertion.text, assertion.found));
        }
        for note in &report.verdict.notes {
            self.row("note", Ink::Plain, note);
        }
    }
}

/// ` (0.014 %)`
fn share(part: u64, of: u64) -> String {
    if of == 0 { String::new() } else { format!(" ({})", words::percent(part as f64 / of as f64)) }
}

fn connections(report: &Report) -> String {
    let found = &report.connections;
    let mut parts =
        vec![format!("{} of {}", words::count(found.open_max.into()), words::count(found.wanted.into()))];
    match found.ramp_s {
        Some(ramp) => parts.push(format!("all answered after {}", words::time(ramp * 1e9))),
        None => parts.push(format!("{} ever answered", words::count(found.verified))),
    }
    for (number, what) in [(found.lost, "lost"), (found.retired, "ended by plan")] {
        if number > 0 {
            parts.push(format!("{} {what}", words::count(number)));
        }
    }
    if let Some(p50) = found.connect.percentile(50.0) {
        parts.push(format!("connect p50 {}", words::time_ns(p50)));
    }
    if let Some(longest) = found.recovery.max() {
        parts.push(format!("recovered within {}", words::time_ns(longest)));
    }
    parts.join(", ")
}

fn generator(report: &Report) -> String {
    if report.measured_s <= 0.0 {
        return String::new();
    }
    let own = &report.verdict.own;
    let late = own.late_p99_ns.map(|late| format!(", its own lateness p99 {}", words::time_ns(late)));
    format!("{} busy{}", words::percent(own.busy), late.unwrap_or_default())
}
