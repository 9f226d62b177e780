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
use crate::load::crew::{Failure, Observer};
use crate::load::measure::{Setting, measure};
use crate::load::progress::Progress;
use crate::load::report::Report;
use crate::load::{file, host};
use anyhow::anyhow;
pub(super) use options::Options;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// The generator was the limit.
const VOID: u8 = 3;
/// No connection could be made; the number is that of sysexits.h.
const UNAVAILABLE: u8 = 69;

struct Silent;

impl Observer for Silent {
    fn on_part(&mut self, _: &Progress<'_>) -> bool {
        true
    }
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if let Some(options::Other::Diff(options)) = &options.other {
        return diff::run(options);
    }
    let plan = options.plan()?;
    options::check_descriptors(&plan)?;
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let setting = Setting { command, host: host::host(), server_pid: options.pid };
    let measured = match measure(&plan, &setting, "", &mut Silent) {
        Ok(measured) => measured,
        Err(failure) => return Ok(failed(failure)),
    };
    let report = measured.report;
    if let Some(path) = &options.json {
        write_json(path, &report)?;
    }
    if options.json.as_deref() != Some(Path::new("-")) {
        let text = table::table(&report, colours::are_wanted(&std::io::stdout()));
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
    Ok(code(&report))
}

fn write_json(path: &Path, report: &Report) -> anyhow::Result<()> {
    if path == Path::new("-") {
        let _ = std::io::stdout().write_all(file::to_json(report).as_bytes());
        return Ok(());
    }
    Ok(file::write(path, report)?)
}

fn failed(failure: Failure) -> ExitCode {
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
