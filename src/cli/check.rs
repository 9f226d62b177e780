//! `tidegate check`: whether a configuration is right, what it says, and what there is to say.

use super::banner::{routes_in_words, words_of};
use super::sources::{configuration, count_line, tell};
use super::{admin, trace, users};
use crate::config::{Config, Host, default_text, reference, size_text};
use clap::Args;
use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The configuration file [default: the embedded one]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print the embedded default, every key commented: a file to begin with
    #[arg(long, group = "print", conflicts_with = "file")]
    print_default: bool,
    /// Print the value of every key, after file and environment, and where it came from
    #[arg(long, group = "print")]
    print_effective: bool,
    /// Print the reference of all keys, in Markdown
    #[arg(long, group = "print", conflicts_with = "file")]
    print_reference: bool,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if options.print_default {
        return Ok(print(&default_text()));
    }
    if options.print_reference {
        return Ok(print(&reference()));
    }
    let complete = match configuration(options.file.as_deref(), Vec::new())? {
        Ok((loaded, host)) => users::complete(loaded)?.map(|loaded| (loaded, host)),
        Err(mistakes) => Err(mistakes),
    };
    match complete {
        Err(mistakes) => {
            tell(&format!("\n{}", count_line(mistakes)));
            Ok(ExitCode::from(2))
        }
        Ok((loaded, _)) if options.print_effective => Ok(print(&loaded.effective_text())),
        Ok((loaded, host)) => {
            if let Some(port) = &loaded.config.admin {
                admin::token(port)?;
                admin::warnings(port).iter().for_each(|warning| tell(&format!("warning: {warning}\n")));
            }
            trace::of(&loaded.config)?;
            users::warnings(&loaded.config).iter().for_each(|warning| tell(&format!("warning: {warning}\n")));
            let name = options
                .file
                .as_ref()
                .map_or("the embedded default".to_owned(), |file| file.display().to_string());
            Ok(print(&summary(&name, &loaded.config, &host)))
        }
    }
}

fn summary(name: &str, config: &Config, host: &Host) -> String {
    let mut out = format!("{name}: ok\n");
    for listen in &config.listeners {
        let _ = writeln!(out, "  {:<11}{}", words_of(listen.speaks), listen.address);
    }
    let admin = config.admin.as_ref().map_or("off", |port| &port.address);
    let _ = writeln!(out, "  admin      {admin}");
    let _ = writeln!(out, "  routes     {}", routes_in_words(&config.routes));
    if !config.users.is_empty() {
        let _ = writeln!(out, "  users      {}", config.users.len());
    }
    if let Some(traces) = &config.traces {
        let _ = writeln!(out, "  traces     {}", traces.collector);
    }
    let shards = config.shards_on(host);
    let chosen = if config.shards.is_none() { " (auto, on this host)" } else { "" };
    let _ = writeln!(out, "  shards     {shards} event loop{}{chosen}", if shards == 1 { "" } else { "s" });
    let connections = config.connections_on(host);
    let _ = writeln!(
        out,
        "  memory     {} for buffers; up to {connections} connections",
        size_text(config.memory_bytes)
    );
    out
}

fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    // A closed standard output, as of `| head`, is no mistake of the configuration.
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
    ExitCode::SUCCESS
}
