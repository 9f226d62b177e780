//! `tidegate bench`: what a run looks like on a terminal, while it goes on and when it is over.
//!
//! Always holds: standard output gets the result alone, standard error what is said meanwhile; both are made from the
//! values of [`load`](crate::load), so that a table, a page and a file never differ. Never: a measurement.

pub mod diff;
mod flags;
pub mod live;
mod options;
pub(super) mod paint;
pub mod table;
#[cfg(test)]
mod tests;

use super::{colours, complain};
use crate::load::child::Child;
use crate::load::compare::Comparison;
use crate::load::crew::{Failure, Observer};
use crate::load::holders::Holders;
use crate::load::log::Log;
use crate::load::measure::{Measured, Setting, measure};
use crate::load::plan::Plan;
use crate::load::progress::Progress;
use crate::load::report::Report;
use crate::load::{compare, file, host, hunt, page, rounds};
use crate::net::Endpoint;
use anyhow::anyhow;
pub(super) use flags::{AFTER_ALL, Options};
use flags::{Other, Two};
use live::Live;
use options::{Hunt, Parsed};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// The generator was the limit.
const VOID: u8 = 3;
/// No connection could be made; the number is that of sysexits.h.
const UNAVAILABLE: u8 = 69;
/// The host refused something, such as a thread or a process.
const HOST: u8 = 78;

impl Observer for Live<io::Stderr> {
    fn on_part(&mut self, progress: &Progress<'_>) -> bool {
        self.show(progress);
        true
    }
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if let Some(Other::Diff(two)) = &options.other {
        return diff_of(two);
    }
    let mut asked = options.parse()?;
    let baseline = asked.baseline.take();
    match outcome(options, asked) {
        Ok(measured) => told(options, &measured, baseline.as_ref()),
        Err(failure) => Ok(failed(&failure)),
    }
}

/// Compares two reports and tells how.
fn diff_of(two: &Two) -> anyhow::Result<ExitCode> {
    let (before, after) = (file::read(&two.before)?, file::read(&two.after)?);
    let comparison = compare::compare(&before, &after, two.regress)?;
    print_comparison((&two.before, &before), (&two.after.display().to_string(), &after), &comparison);
    Ok(if comparison.has_regressed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print_comparison(before: (&Path, &Report), after: (&str, &Report), comparison: &Comparison) {
    let before_name = before.0.display().to_string();
    let in_colour = colours::are_wanted(&io::stdout());
    print(&diff::diff((&before_name, before.1), after, comparison, in_colour));
}

/// A closed standard output is no reason to fail: the exit code still tells.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Runs what was asked for.
fn outcome(options: &Options, asked: Parsed) -> Result<Measured, Failure> {
    let Parsed { mut plan, holders, find_max, assertions, baseline: _ } = asked;
    let program = std::env::current_exe()?;
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let setting = Setting { command, host: host::host(), server_pid: options.goal.pid };
    let mut display = Live::new(options.output.quiet);
    let idle = plan.idle;
    let held = match holders {
        0 => None,
        processes => {
            Some(Holders::start(&mut plan, &options.connect.source, processes, &program, &["hold"])?)
        }
    };
    let mut measured = if let Some(Hunt { condition, range }) = &find_max {
        hunt::find_max(&plan, &setting, condition, *range, options.arrival(), &mut display)?
    } else if options.goal.floor {
        let (child, address) = start_floor(&program, &plan)?;
        let floor = (address, child.pid());
        rounds::beside_floor(&plan, &setting, floor, &mut display)?
    } else {
        measure(&plan, &setting, "", &mut display)?
    };
    drop(display);
    let report = &mut measured.report;
    if let Some(holders) = held {
        report.asked.processes += holders.count();
        report.asked.idle = idle;
        let held = holders.finish()?;
        report.connections.add(&held.connections);
        held.troubles.into_iter().for_each(|(trouble, count)| {
            *report.troubles.entry(trouble).or_default() += count;
        });
    }
    report.assertions = assertions.iter().flat_map(|condition| condition.judge(report)).collect();
    Ok(measured)
}

/// A floor in a process of its own, as the server is, and where it listens.
fn start_floor(program: &Path, plan: &Plan) -> Result<(Child, Endpoint), Failure> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let address = match &plan.target {
        Endpoint::Ip(address) => SocketAddr::new(address.ip(), 0).to_string(),
        Endpoint::Unix(path) => format!("unix:{}.floor", path.display()),
    };
    let mut child = Child::start(program, &["floor", &address])?;
    let line = child.line(PATIENCE)?;
    let address = Endpoint::parse(&line).map_err(io::Error::other)?;
    Ok((child, address))
}

/// Writes and prints it, and gives the exit code.
fn told(options: &Options, measured: &Measured, baseline: Option<&Report>) -> anyhow::Result<ExitCode> {
    let report = &measured.report;
    let output = &options.output;
    if let Some(path) = &output.json {
        write_json(path, report)?;
    }
    if let Some(path) = &output.html {
        let page = page::page(report, baseline);
        std::fs::write(path, page).map_err(|why| cannot_write(path, &why))?;
    }
    if let Some(path) = &output.hdr {
        write_log(path, measured).map_err(|why| cannot_write(path, &why))?;
    }
    let shows = output.json.as_deref() != Some(Path::new("-"));
    if shows {
        print(&table::table(report, colours::are_wanted(&io::stdout())));
    }
    let own = code(report);
    let (Some(baseline), Some(path)) = (baseline, &options.goal.baseline) else {
        return Ok(ExitCode::from(own));
    };
    let comparison = match compare::compare(baseline, report, options.goal.regress) {
        Ok(comparison) => comparison,
        Err(why) if own == 0 => return Err(why.into()),
        // The table has said why.
        Err(_) => return Ok(ExitCode::from(own)),
    };
    if shows {
        print("\n");
        print_comparison((path, baseline), ("this run", report), &comparison);
    }
    Ok(if own == 0 && comparison.has_regressed() { ExitCode::FAILURE } else { ExitCode::from(own) })
}

fn cannot_write(path: &Path, why: &io::Error) -> anyhow::Error {
    anyhow!("cannot write {}: {why}", path.display())
}

fn write_log(path: &Path, measured: &Measured) -> io::Result<()> {
    let report = &measured.report;
    let out = io::BufWriter::new(std::fs::File::create(path)?);
    let mut log = Log::begin(out, &report.command, report.began_unix_ms)?;
    for (interval, times) in report.series.iter().zip(&measured.kept) {
        let (at, length) =
            (Duration::from_secs_f64(interval.at_s), Duration::from_secs_f64(interval.length_s));
        log.interval(at, length, &times.unpack().map_err(io::Error::other)?)?;
    }
    log.finish().map(drop)
}

fn write_json(path: &Path, report: &Report) -> anyhow::Result<()> {
    if path == Path::new("-") {
        print(&file::to_json(report));
        return Ok(());
    }
    Ok(file::write(path, report)?)
}

fn failed(failure: &Failure) -> ExitCode {
    let code = match failure {
        Failure::NotConnected { .. } | Failure::NotAnswered { .. } | Failure::NotHeld { .. } => UNAVAILABLE,
        Failure::System(_) => HOST,
        Failure::Stopped => 130,
    };
    complain(&anyhow!("{failure}"));
    ExitCode::from(code)
}

/// The exit code of a run by itself.
fn code(report: &Report) -> u8 {
    let is_wrong = report.troubles.keys().any(|trouble| trouble.is_wrong());
    let has_failed = report.assertions.iter().any(|assertion| assertion.held != Some(true));
    let has_found = report.search.as_ref().is_none_or(|search| search.held.is_some());
    if !is_wrong && !report.verdict.is_valid() {
        VOID
    } else {
        u8::from(is_wrong || has_failed || !has_found)
    }
}
