//! `tidegate conform`: asks any server whether it speaks the protocol, and tells case by case.

use super::seconds;
use crate::conform::{Routes, Target, Verdict, run as run_cases};
use anyhow::bail;
use clap::Args;
use std::io::Write;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Where the server listens for frames: HOST:PORT or unix:PATH
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// A route that replies with what it is sent
    #[arg(long, value_name = "ROUTE", default_value_t = Routes::default().echo, value_parser = super::route)]
    echo: u16,
    /// A route that takes and never replies
    #[arg(long, value_name = "ROUTE", default_value_t = Routes::default().one_way, value_parser = super::route)]
    oneway: u16,
    /// A route that is not served
    #[arg(long, value_name = "ROUTE", default_value_t = Routes::default().missing, value_parser = super::route)]
    missing: u16,
    /// Where the same server listens for lines [default: those cases are skipped]
    #[arg(long, value_name = "ADDRESS")]
    lines: Option<String>,
    /// How many seconds to wait for what must come
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, allow_negative_numbers = true)]
    timeout: f64,
    /// Only the cases whose names contain this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let routes = Routes { echo: options.echo, one_way: options.oneway, missing: options.missing };
    if routes.echo == routes.one_way || routes.echo == routes.missing || routes.one_way == routes.missing {
        bail!("--echo, --oneway and --missing are {routes:?}; give three different routes");
    }
    let timeout = seconds("--timeout", options.timeout)?;
    if timeout.is_zero() {
        bail!("--timeout is 0; give it a number of seconds, such as 5 or 0.5");
    }
    let (frames, lines) = (options.address.clone(), options.lines.clone());
    let target = Target { frames, lines, routes, timeout, only: options.only.clone() };
    report(&target)
}

fn report(target: &Target) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    // A closed standard output is no reason to stop: the exit code still tells.
    let summary = run_cases(target, &mut |name, verdict| {
        let _ = match verdict {
            Verdict::Ok => writeln!(out, "ok    {name}"),
            Verdict::Skipped(why) => writeln!(out, "skip  {name}: {why}"),
            Verdict::Failed(failure) => writeln!(out, "FAIL  {name}\n{failure}"),
        };
    })?;
    if summary.ok + summary.failed + summary.skipped == 0 {
        bail!("no case has such a name; leave --only out to see all");
    }
    let _ = writeln!(out, "{} ok, {} failed, {} skipped", summary.ok, summary.failed, summary.skipped);
    let _ = out.flush();
    Ok(if summary.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
