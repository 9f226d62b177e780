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

/// Starts logging to standard error. `RUST_LOG` chooses what; without it, everything from level info up. Lines are
/// written until the guard is dropped.
pub(super) fn start(format: LogFormat) -> WorkerGuard {
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let is_terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_writer(writer).with_env_filter(filter).with_target(false);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Auto if !is_terminal => builder.json().flatten_event(true).init(),
        LogFormat::Auto | LogFormat::Text => {
            builder.with_ansi(colours::are_wanted(&std::io::stderr())).init();
        }
    }
    guard
}
