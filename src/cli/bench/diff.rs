//! `tidegate bench diff`: two reports side by side.

use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    /// The report to compare with
    before: PathBuf,
    /// The report to judge
    after: PathBuf,
}

pub(super) fn run(_options: &Options) -> anyhow::Result<ExitCode> {
    anyhow::bail!("soon")
}
