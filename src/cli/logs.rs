//! Where the log goes: text for a terminal, JSON for machines, written by a thread of its own.
//!
//! A loop must never wait for a slow terminal or a full pipe: lines go through a bounded queue, and those that find
//! it full are dropped.

use super::colours;
use clap::ValueEnum;
use std::io::IsTerminal;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    // Text on a terminal, JSON otherwise. (No doc comments: they would spread the help over two screens.)
    Auto,
    // Lines to read.
    Text,
    // One JSON object a line.
    Json,
}

impl LogFormat {
    /// Its name in a configuration.
    pub(super) const fn name(self) -> &'static str {
        match self {
            LogFormat::Auto => "auto",
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }
}

/// Starts logging to standard error, in this [format](LogFormat::name). `RUST_LOG` chooses what; without it, everything
/// from this level up. Lines are written until the guard is dropped.
pub(super) fn start(format: &str, level: &str) -> WorkerGuard {
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let is_terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_writer(writer).with_env_filter(filter).with_target(false);
    let is_json = format == LogFormat::Json.name() || format == LogFormat::Auto.name() && !is_terminal;
    if is_json {
        builder.json().flatten_event(true).init();
    } else {
        builder.with_ansi(colours::are_wanted(&std::io::stderr())).init();
    }
    guard
}
