//! `tidegate upgrade`: asks a running server to start its successor, and says how that went.

use super::sources::{configuration, count_line, tell};
use crate::upgrade::ask;
use anyhow::{Context, bail};
use clap::Args;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The configuration file of the next process [default: that of the running one]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The upgrade socket of the running server [default: `upgrade` in [server] of the configuration]
    #[arg(long, value_name = "PATH")]
    at: Option<PathBuf>,
    /// The program of the next process [default: that of the running one, as it lies on disk now]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Do everything until the next process would be ready, then end it; the running server goes on
    #[arg(long)]
    rehearse: bool,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let at = match socket(options)? {
        Ok(at) => at,
        Err(code) => return Ok(code),
    };
    let config = options.config.as_deref().map(whole).transpose()?;
    let binary = options.binary.as_deref().map(whole).transpose()?;
    let said = match ask(&at, binary, config, options.rehearse)? {
        Some((pid, generation)) => {
            format!("process {pid} serves, generation {generation}; the one before it drains\n")
        }
        None => "rehearsed: the next process would be ready; nothing has changed\n".to_owned(),
    };
    // A closed standard output is no reason to fail: it is done.
    let _ = std::io::stdout().write_all(said.as_bytes());
    Ok(ExitCode::SUCCESS)
}

/// Where to ask. A configuration that is given is judged here, before anybody is bothered with it.
fn socket(options: &Options) -> anyhow::Result<Result<PathBuf, ExitCode>> {
    if let (Some(at), None) = (&options.at, &options.config) {
        return Ok(Ok(at.clone()));
    }
    let loaded = match configuration(options.config.as_deref(), Vec::new())? {
        Ok((loaded, _)) => loaded,
        Err(mistakes) => {
            tell(&format!("\n{}", count_line(mistakes)));
            return Ok(Err(ExitCode::from(2)));
        }
    };
    match options.at.clone().or(loaded.config.upgrade) {
        Some(at) => Ok(Ok(at)),
        None => bail!(
            "no upgrade socket is known; say --at PATH, or --config FILE with `upgrade` in its [server], which the running \
             server must have, too"
        ),
    }
}

/// The server may have been started elsewhere.
fn whole(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} has no place", path.display()))
}
