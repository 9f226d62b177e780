//! `tidegate bench`: what a run looks like on a terminal, while it goes on and when it is over.
//!
//! Always holds: standard output gets the result alone, standard error what is said meanwhile; both are made from the
//! values of [`load`](crate::load), so that a table, a page and a file never differ. Never: a measurement.

pub(super) mod diff;
mod options;
mod paint;
pub mod table;
#[cfg(test)]
mod tests;

use super::{colours, complain};
use crate::load::child::Child;
use crate::load::crew::{Failure, Observer};
use crate::load::holders::Holders;
use crate::load::measure::{Measured, Setting, measure};
use crate::load::plan::Plan;
use crate::load::progress::Progress;
use crate::load::report::Report;
use crate::load::{file, host, hunt, page, rounds};
use crate::net::Endpoint;
use anyhow::anyhow;
pub(super) use options::Options;
use options::Parsed;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// The generator was the limit.
const VOID: u8 = 3;
/// No connection could be made; the number is that of sysexits.h.
const UNAVAILABLE: u8 = 69;

struct Display;

impl Display {
    fn new(_quiet: bool) -> Display {
        Display
    }
}

impl Observer for Display {
    fn on_part(&mut self, _: &Progress<'_>) -> bool {
        true
    }
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if let Some(options::Other::Diff(options)) = &options.other {
        return diff::run(options);
    }
    let asked = options.parse()?;
    match outcome(options, asked) {
        Ok(measured) => told(options, &measured),
        Err(failure) => Ok(failed(&failure)),
    }
}

/// Runs what was asked for.
fn outcome(options: &Options, asked: Parsed) -> Result<Measured, Failure> {
    let Parsed { mut plan, holders, find_max, assertions } = asked;
    let program = std::env::current_exe()?;
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let setting = Setting { command, host: host::host(), server_pid: options.pid };
    let mut display = Display::new(options.quiet);
    let idle = plan.idle;
    let held = match holders {
        0 => None,
        processes => Some(Holders::start(&mut plan, &options.source, processes, &program, &["hold"])?),
    };
    let mut measured = if let Some((condition, range)) = &find_max {
        let text = options.find_max.as_deref().unwrap_or_default();
        hunt::find_max(&plan, &setting, (text, condition), *range, options.arrival(), &mut display)?
    } else if options.floor {
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
    let address = Endpoint::parse(&line).map_err(std::io::Error::other)?;
    Ok((child, address))
}

/// Writes and prints it, and gives the exit code.
fn told(options: &Options, measured: &Measured) -> anyhow::Result<ExitCode> {
    let report = &measured.report;
    let baseline = options.baseline.as_deref().map(file::read).transpose()?;
    if let Some(path) = &options.json {
        write_json(path, report)?;
    }
    if let Some(path) = &options.html {
        let page = page::page(report, baseline.as_ref());
        std::fs::write(path, page).map_err(|why| anyhow!("{} can't be written: {why}", path.display()))?;
    }
    if options.json.as_deref() != Some(Path::new("-")) {
        let text = table::table(report, colours::are_wanted(&std::io::stdout()));
        // A closed standard output is no reason to fail: the exit code still tells.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
    Ok(code(report))
}

fn write_json(path: &Path, report: &Report) -> anyhow::Result<()> {
    if path == Path::new("-") {
        let _ = std::io::stdout().write_all(file::to_json(report).as_bytes());
        return Ok(());
    }
    Ok(file::write(path, report)?)
}

fn failed(failure: &Failure) -> ExitCode {
    let code = match failure {
        Failure::NotConnected { .. } | Failure::NotAnswered { .. } => UNAVAILABLE,
        Failure::System(_) => 1,
        Failure::Stopped => 130,
    };
    complain(&anyhow!("{failure}"));
    ExitCode::from(code)
}

fn code(report: &Report) -> ExitCode {
    let is_wrong = report.troubles.keys().any(|trouble| trouble.is_wrong());
    let has_failed = report.assertions.iter().any(|assertion| assertion.held == Some(false));
    if !report.verdict.is_valid() {
        ExitCode::from(VOID)
    } else if is_wrong || has_failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
