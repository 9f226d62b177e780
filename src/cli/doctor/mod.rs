//! `tidegate doctor`: what this host will really carry, what limits it first, and what raises that.
//!
//! ```text
//!   /proc, /sys -- facts --.
//!   configuration - wants -+--> judge, conditions --> print
//! ```
//!
//! Always holds: nothing of the host is changed, and no server is asked; only facts and the configuration are read. Never:
//! a promise that no test holds the server to (`tests/doctor.rs`).

mod conditions;
mod facts;
mod judge;
mod print;
mod wants;

use super::colours;
use super::sources::{count_line, sources, tell};
use crate::base::limits::CONNECTIONS_PER_SHARD_MAX;
use crate::config::load;
use crate::load::units;
use clap::Args;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wants::{Wants, generous};

pub(super) const AFTER: &str = "\
Example: tidegate doctor --connections 1M
  tidegate doctor --config /etc/tidegate/tidegate.toml --json
Exit code: 0 what is wanted can be had, 1 it can't, 2 asked for in a wrong way";

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The configuration of the server [default: the embedded one]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How many connections are wanted, such as 50000 or 1M [default: max_connections of the configuration]
    #[arg(long, value_name = "COUNT", value_parser = connections)]
    connections: Option<u64>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    /// Where /proc and /sys are, if not at /: a copy of another host's
    #[arg(long, value_name = "DIRECTORY", hide = true, default_value = "/")]
    root: PathBuf,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let page_bytes = rustix::param::page_size() as u64;
    let facts = if cfg!(target_os = "linux") || options.root != Path::new("/") {
        facts::read(&options.root, page_bytes)
    } else {
        facts::of_others(page_bytes)
    };
    // What is too much for this host is no mistake here: it is what is asked for.
    let loaded = match load(sources(options.config.as_deref(), Vec::new())?, &generous()) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            tell(&mistakes.render(colours::are_wanted(&std::io::stderr())));
            tell(&format!("\n{}", count_line(mistakes.len())));
            return Ok(ExitCode::from(2));
        }
    };
    let wants = Wants::of(&loaded.config, options.connections, facts.usable_processors());
    let found = judge::diagnose(&facts, &wants);
    let mut out = std::io::stdout().lock();
    let text = if options.json {
        print::json(&found, &wants)
    } else {
        print::text(&found, &wants, page_bytes, colours::are_wanted(&out))
    };
    // A closed standard output, as of `| head`, changes nothing of the answer.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ok(if found.is_met() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// As many as a server can have at all.
fn connections(text: &str) -> Result<u64, String> {
    let whole = units::rate(text).filter(|number| number.fract() == 0.0).map(units::whole);
    let most = u64::from(CONNECTIONS_PER_SHARD_MAX);
    whole
        .filter(|number| (1..=most).contains(number))
        .ok_or_else(|| format!("give a whole number from 1 to {most}, such as 50000, 50k or 1M"))
}
