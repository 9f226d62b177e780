//! The flags of `tidegate bench` as they are written, under the headings of its help.
//!
//! Always holds: `-h` shows what most runs want, on one screen; `--help` and the manual page show all. Never: a check
//! of what flags mean together, which is [`options`](super::options)'s.

use crate::load::units;
use clap::{Args, Subcommand, ValueEnum};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Behind the flags that most runs want.
const AFTER: &str = "\
Example: tidegate bench 127.0.0.1:7411 --rate 20k --html report.html
  tidegate bench 127.0.0.1:7411 --find-max 'p99<2ms'";

/// Behind all flags.
pub(in crate::cli) const AFTER_ALL: &str = "\
Examples:
  tidegate bench 127.0.0.1:7411 --rate 20k --html report.html
  tidegate bench 127.0.0.1:7411                    as fast as it is answered
  tidegate bench 127.0.0.1:7411 --find-max 'p99<2ms' --duration 3s
  tidegate bench diff before.json after.json
Exit code: 0 measured, and what was asked for holds; 1 wrong replies, something
  asserted does not hold, or a regression; 2 asked for in a wrong way; 3 void:
  the generator was the limit; 69 no connection, or no reply; 78 the host's trouble";

/// Load a server, check every reply, and tell what it can do
#[derive(Debug, Args)]
#[command(
    after_help = AFTER,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true
)]
pub(in crate::cli) struct Options {
    #[command(subcommand)]
    pub(in crate::cli) other: Option<Other>,
    /// Where the server listens: HOST:PORT or unix:PATH
    #[arg(value_name = "ADDRESS", required = true)]
    pub(in crate::cli) address: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) load: Load,
    #[command(flatten)]
    pub(in crate::cli) connect: Connect,
    #[command(flatten)]
    pub(in crate::cli) tls: crate::cli::tls::RareTls,
    #[command(flatten)]
    pub(in crate::cli) request: Request,
    #[command(flatten)]
    pub(in crate::cli) goal: Goal,
    #[command(flatten)]
    pub(in crate::cli) output: Output,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
pub(in crate::cli) struct Load {
    /// Requests a second: 50k, 1k..9k/10s, step:1k,9k@5s
    #[arg(long, value_name = "RATE")]
    pub(in crate::cli) rate: Option<String>,
    /// Gaps as of many users, or constant
    #[arg(
        long,
        value_name = "KIND",
        default_value = "poisson",
        hide_possible_values = true,
        hide_short_help = true
    )]
    pub(in crate::cli) arrival: Arrive,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub(in crate::cli) duration: Duration,
    /// How long to send before that
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    pub(in crate::cli) warmup: Duration,
    /// How long to wait for a reply
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time, hide_short_help = true)]
    pub(in crate::cli) timeout: Duration,
    /// How long the last replies may take
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time, hide_short_help = true)]
    pub(in crate::cli) drain: Duration,
    /// Requests that may wait, a thread
    #[arg(long, value_name = "COUNT", default_value = "1M", value_parser = count, hide_short_help = true)]
    pub(in crate::cli) backlog: u32,
    /// Threads that send
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = count, hide_short_help = true)]
    pub(in crate::cli) threads: u32,
    /// Awake so long before a request
    #[arg(long, value_name = "TIME", default_value = "50us", value_parser = time, hide_short_help = true)]
    pub(in crate::cli) spin: Duration,
    /// What schedule and payloads are made of
    #[arg(long, value_name = "NUMBER", default_value_t = 1, hide_short_help = true)]
    pub(in crate::cli) seed: u64,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Connections")]
pub(in crate::cli) struct Connect {
    /// Connections that send
    #[arg(short, long, value_name = "COUNT", default_value = "64", value_parser = count)]
    pub(in crate::cli) connections: u32,
    /// Requests open on each [default: 1; 64 if --rate]
    #[arg(short, long, value_name = "COUNT", value_parser = count)]
    pub(in crate::cli) in_flight: Option<u32>,
    /// Connections that only exist, besides
    #[arg(long, value_name = "COUNT", default_value = "0", value_parser = count, hide_short_help = true)]
    pub(in crate::cli) idle: u32,
    /// Connects begun in a second [default: all at once]
    #[arg(long, value_name = "RATE", hide_short_help = true)]
    pub(in crate::cli) connect_rate: Option<String>,
    /// Connect anew after such a time, on average
    #[arg(long, value_name = "TIME", value_parser = time, hide_short_help = true)]
    pub(in crate::cli) churn: Option<Duration>,
    /// Reset all so often, and connect anew
    #[arg(long, value_name = "TIME", value_parser = time, hide_short_help = true)]
    pub(in crate::cli) storm: Option<Duration>,
    /// Bad ones: slow=5%,stall=1%,half-close=1%,reset=1%
    #[arg(
        long,
        value_name = "SHARES",
        default_value = "",
        hide_default_value = true,
        hide_short_help = true
    )]
    pub(in crate::cli) impair: String,
    /// Say HELLO first, with the token in this file [default: $TIDEGATE_TOKEN]
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(in crate::cli) token_file: Option<PathBuf>,
    /// The same, with this token
    #[arg(long, value_name = "TEXT", hide_short_help = true, conflicts_with = "token_file")]
    pub(in crate::cli) token: Option<String>,
    /// Addresses of this host to connect from
    #[arg(long, value_name = "A,B", value_delimiter = ',', hide_short_help = true)]
    pub(in crate::cli) source: Vec<IpAddr>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Requests")]
pub(in crate::cli) struct Request {
    /// Bytes: 64, 16..4096, lognormal(256,1.5)
    #[arg(long, value_name = "BYTES", default_value = "64")]
    pub(in crate::cli) size: String,
    /// Route that the frames go to
    #[arg(long, value_name = "ROUTE", default_value_t = 1, value_parser = crate::cli::route)]
    pub(in crate::cli) route: u16,
    /// Replies: same, flip, any [default: as the route gives]
    #[arg(long, value_name = "KIND", hide_possible_values = true, hide_short_help = true)]
    pub(in crate::cli) expect: Option<Expected>,
    /// The requests are lines, for a listener for lines
    #[arg(long, conflicts_with_all = ["route", "correlated"])]
    pub(in crate::cli) lines: bool,
    /// Give each a correlation: replies may overtake
    #[arg(long, hide_short_help = true)]
    pub(in crate::cli) correlated: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "What to find out")]
pub(in crate::cli) struct Goal {
    /// The highest rate at which this holds
    #[arg(long, value_name = "CONDITION")]
    pub(in crate::cli) find_max: Option<String>,
    /// Whether 'p99<5ms,errors=0' holds; may be repeated
    #[arg(long, value_name = "CONDITION")]
    pub(in crate::cli) assert: Vec<String>,
    /// What has changed since a run's --json report
    #[arg(long, value_name = "FILE", conflicts_with = "find_max")]
    pub(in crate::cli) baseline: Option<PathBuf>,
    /// How much worse is a regression
    #[arg(
        long,
        value_name = "SHARE",
        default_value = "5%",
        value_parser = share,
        requires = "baseline",
        hide_short_help = true
    )]
    pub(in crate::cli) regress: f64,
    /// Ratios to a bare echo, measured in turns
    #[arg(long, conflicts_with = "find_max", hide_short_help = true)]
    pub(in crate::cli) floor: bool,
    /// Processor time of the server, by its process
    #[arg(long, value_name = "PID")]
    pub(in crate::cli) pid: Option<u32>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(in crate::cli) struct Output {
    /// Write the report as a page for a browser
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) html: Option<PathBuf>,
    /// As JSON, for --baseline and scripts; - is standard output
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) json: Option<PathBuf>,
    /// As an HdrHistogram log
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(in crate::cli) hdr: Option<PathBuf>,
    /// Show no progress
    #[arg(long, hide_short_help = true)]
    pub(in crate::cli) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Other {
    /// Compare two reports that --json wrote
    #[command(after_help = "Example: tidegate bench diff before.json after.json --regress 10%")]
    Diff(Two),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Two {
    /// The report to compare with
    pub(in crate::cli) before: PathBuf,
    /// The report to judge
    pub(in crate::cli) after: PathBuf,
    /// How much worse is a regression
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = share)]
    pub(in crate::cli) regress: f64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum Arrive {
    Poisson,
    Constant,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum Expected {
    Same,
    Flip,
    Any,
}

/// The longest time that a flag may give.
const TIME_MAX_S: f64 = 86_400.0;

/// A time with its unit.
fn time(text: &str) -> Result<Duration, String> {
    match units::seconds(text) {
        Some(seconds) if seconds <= TIME_MAX_S => Ok(Duration::from_secs_f64(seconds)),
        Some(_) => Err("the most is 24h".to_owned()),
        None => Err("give a number with its unit, such as 10s, 500ms or 2m".to_owned()),
    }
}

/// A whole number, with k or M if that is shorter.
fn count(text: &str) -> Result<u32, String> {
    let whole = units::rate(text).filter(|number| number.fract() == 0.0 && *number <= f64::from(u32::MAX));
    let number = whole.and_then(|number| u32::try_from(units::whole(number)).ok());
    number.ok_or_else(|| "give a whole number, such as 64 or 10k".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    units::share(text).ok_or_else(|| "give a share of 0% to 100%, such as 5%".to_owned())
}
