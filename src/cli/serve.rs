//! `tidegate serve`: the embedded default.

use super::{banner, logs, seconds};
use crate::base::limits::{DRAIN_GRACE, Limits};
use crate::server::{Error, Listener, Server, drain_on_signals};
use crate::service::{BuiltIn, Router};
use anyhow::anyhow;
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::ops::RangeInclusive;
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
    /// Gives more routes to a built-in service (ack, echo, discard, flip), such as 16-23=flip; may be repeated
    #[arg(long = "route", value_name = "ROUTES=SERVICE")]
    routes: Vec<String>,
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
    let router = router(&options.routes)?;
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
    let shards = builder.shards_or_default();
    let connections = connections_of_host(shards)?;
    let running = builder.max_connections(connections).start(move || router.clone())?;
    // The banner promises that Ctrl-C drains.
    drain_on_signals(&running, grace)?;
    banner::print(running.local_addrs(), shards, connections);
    let report = running.join()?;
    if report.is_clean() {
        info!(drained = report.drained, forced = 0, lost = 0, "{report}");
        return Ok(ExitCode::SUCCESS);
    }
    warn!(drained = report.drained, forced = report.forced, lost = report.lost, "{report}");
    Ok(ExitCode::FAILURE)
}

/// The embedded routes and those that were asked for besides.
fn router(wanted: &[String]) -> anyhow::Result<Router> {
    let mut router = Router::embedded();
    for text in wanted {
        let (routes, service) = parse_routes(text).map_err(|why| anyhow!("--route {text}: {why}"))?;
        router.add(routes, service).map_err(|error| anyhow!("--route {text}: {error}"))?;
    }
    Ok(router)
}

fn parse_routes(text: &str) -> Result<(RangeInclusive<u16>, BuiltIn), String> {
    let wrong = || "give it ROUTES=SERVICE, such as 16-23=flip or 7=echo".to_owned();
    let (routes, service) = text.split_once('=').ok_or_else(wrong)?;
    let (first, last) = routes.split_once('-').unwrap_or((routes, routes));
    let number = |text: &str| text.parse::<u16>().map_err(|_| wrong());
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(wrong());
    }
    let found = BuiltIn::ALL.into_iter().find(|known| known.name() == service);
    let names = || BuiltIn::ALL.map(BuiltIn::name).join(", ");
    let service = found.ok_or_else(|| format!("there is no service {service}; there are {}", names()))?;
    Ok((first..=last, service))
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
