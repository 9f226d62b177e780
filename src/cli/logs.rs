//! Where the log goes: text for a terminal, JSON for machines, written by a thread of its own.
//!
//! A loop must never wait for a slow terminal or a full pipe: lines go through a bounded queue, and those that find
//! it full are dropped.

use super::colours;
use crate::control::LogFilter;
use clap::ValueEnum;
use std::fmt;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
pub(super) fn start(format: &str, level: &str) -> (WorkerGuard, Arc<Filter>) {
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    let given = EnvFilter::try_from_default_env();
    let is_given = given.is_ok();
    let filter = given.unwrap_or_else(|_| EnvFilter::new(level));
    let shown = Mutex::new(filter.to_string());
    let is_terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_writer(writer).with_env_filter(filter).with_target(false);
    let is_json = format == LogFormat::Json.name() || format == LogFormat::Auto.name() && !is_terminal;
    let reload: Reload = if is_json {
        let builder = builder.json().flatten_event(true).with_filter_reloading();
        let handle = builder.reload_handle();
        builder.init();
        Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
    } else {
        let builder = builder.with_ansi(colours::are_wanted(&std::io::stderr())).with_filter_reloading();
        let handle = builder.reload_handle();
        builder.init();
        Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
    };
    (guard, Arc::new(Filter { reload, shown, is_given }))
}

/// Puts a filter in the place of the one before.
type Reload = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// Which lines are written. Changing it holds up who writes a line for the moment of an exchange.
pub(super) struct Filter {
    reload: Reload,
    shown: Mutex<String>,
    /// By `RUST_LOG`, which goes above the configuration.
    is_given: bool,
}

impl Filter {
    /// The configuration has another level now.
    pub(super) fn level(&self, level: &str) {
        if self.is_given {
            return;
        }
        if let Err(error) = self.change(level) {
            tracing::error!(error, level, "the level of the log can't be changed");
        }
    }

    fn text(&self) -> MutexGuard<'_, String> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&*self.text()).finish()
    }
}

/// A filter takes any word for a module, and a misspelt level would silence everything else. So a word alone must be a
/// level; filters by span, in brackets, are taken as they are.
fn check_levels(filter: &str) -> Result<(), String> {
    if filter.contains('[') {
        return Ok(());
    }
    for part in filter.split(',').map(str::trim) {
        let level = part.split_once('=').map_or(part, |(_, level)| level);
        if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
            return Err(format!("{level:?} is no level; there are {}", LEVELS.join(", ")));
        }
    }
    Ok(())
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl LogFilter for Filter {
    fn shown(&self) -> String {
        self.text().clone()
    }

    fn change(&self, to: &str) -> Result<(), String> {
        check_levels(to)?;
        let filter = EnvFilter::builder().parse(to).map_err(|error| error.to_string())?;
        let text = filter.to_string();
        (self.reload)(filter)?;
        *self.text() = text;
        Ok(())
    }
}
