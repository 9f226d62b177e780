//! `tidegate serve`: the embedded default.

use super::{banner, logs, seconds};
use crate::base::limits::{DRAIN_GRACE, JOBS_WAITING_DEFAULT, Limits};
use crate::server::{Error, Listener, Server, drain_on_signals};
use crate::service::Router;
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::process::ExitCode;
use tracing::{info, warn};

/// Descriptors that are not connections: standard streams, signals, the log, and some to spare ...
const DESCRIPTORS_KEPT: u64 = 56;
/// ... and for each loop its poller twice, its waker, its spare one, and two listeners of which the server holds a second.
const DESCRIPTORS_PER_LOOP: u64 = 8;
/// With fewer than these for connections it is not worth starting.
const CONNECTIONS_MIN: u64 = 16;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Where to listen for frames: IP:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7411")]
    frames: String,
    /// Where to listen for lines of text: IP:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7412")]
    lines: String,
    /// How many event loops run side by side; auto: one for each processor
    #[arg(long, value_name = "NUMBER", default_value = "auto", value_parser = number_or_auto)]
    shards: Auto,
    /// Keep each event loop on a processor of its own
    #[arg(long)]
    pin: bool,
    /// Threads for handlers' offloaded work; 0: none, and the built-in routes need none
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    workers: u16,
    /// Close a connection that sent no whole message for this many seconds [default: never]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    idle: Option<f64>,
    /// How many seconds a drain may take after SIGINT or SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = DRAIN_GRACE.as_secs_f64(), allow_negative_numbers = true)]
    grace: f64,
    /// How the log is written; auto: text on a terminal, JSON otherwise
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = logs::LogFormat::Auto)]
    log_format: logs::LogFormat,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let grace = seconds("--grace", options.grace)?;
    let idle = options.idle.map(|idle| seconds("--idle", idle)).transpose()?;
    let limits = Limits { idle, ..Limits::default() };
    let _written_until_here = logs::start(options.log_format);
    let mut builder = Server::builder()
        .limits(limits)
        .grace(grace)
        .pin(options.pin)
        .listen(Listener::frames(options.frames.as_str()))?
        .listen(Listener::lines(options.lines.as_str()))?;
    if let Auto::Number(shards) = options.shards {
        builder = builder.shards(shards);
    }
    if options.workers > 0 {
        builder = builder.workers(options.workers, JOBS_WAITING_DEFAULT);
    }
    let shards = builder.shards_or_default();
    let connections = connections_of_host(shards)?;
    let running = builder.max_connections(connections).start(Router::embedded)?;
    banner::print(running.local_addrs(), shards, connections);
    drain_on_signals(&running, grace)?;
    let report = running.join()?;
    if report.is_clean() {
        info!(drained = report.drained, forced = 0, lost = 0, "{report}");
        return Ok(ExitCode::SUCCESS);
    }
    warn!(drained = report.drained, forced = report.forced, lost = report.lost, "{report}");
    Ok(ExitCode::FAILURE)
}

/// A number, or what fits the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Auto {
    Auto,
    Number(u16),
}

fn number_or_auto(text: &str) -> Result<Auto, String> {
    match text {
        "auto" => Ok(Auto::Auto),
        number => number.parse().map(Auto::Number).map_err(|_| "give it a whole number, or auto".to_owned()),
    }
}

/// Raises the descriptor limit as far as the system lets us, and gives the connections that leaves room for.
fn connections_of_host(shards: u16) -> anyhow::Result<u32> {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let kept = DESCRIPTORS_KEPT + DESCRIPTORS_PER_LOOP * u64::from(shards);
    let connections = descriptors.saturating_sub(kept);
    if connections < CONNECTIONS_MIN {
        let error = std::io::Error::other(format!(
            "{descriptors} descriptors are too few, {} are needed for {shards} event loops; raise the limit with \
             ulimit -n, or take fewer loops",
            kept + CONNECTIONS_MIN
        ));
        return Err(Error::Host(error).into());
    }
    let most = u64::from(crate::base::limits::CONNECTIONS_PER_SHARD_MAX);
    Ok(u32::try_from(connections.min(most)).expect("cut to a number of 24 bits"))
}
