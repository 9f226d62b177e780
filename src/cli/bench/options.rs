//! The flags of `tidegate bench`, and the plan that they ask for.
//!
//! Always holds: a plan that comes out can be run; what can't be is refused in one line that says what to give instead.

use crate::base::limits::LINE_BYTES_DEFAULT;
use crate::load::condition::Condition;
use crate::load::plan::{
    CONNECTIONS_MAX, Expect, IN_FLIGHT_MAX, Impairment, Life, Plan, THREADS_MAX, Talk, Traffic,
};
use crate::load::profile::{Profile, RATE_MAX};
use crate::load::report::{Arrival, Protocol};
use crate::load::size::Sizes;
use crate::load::sources::Sources;
use crate::load::{descriptors, pace, units};
use crate::net::Endpoint;
use anyhow::{anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const AFTER: &str = "\
Examples:
  tidegate bench 127.0.0.1:7411 --rate 20k --html report.html
  tidegate bench 127.0.0.1:7411                     as fast as it is answered
  tidegate bench 127.0.0.1:7411 --find-max 'p99<2ms'
  tidegate bench diff before.json after.json
Exit code: 0 measured, and what was asserted holds; 1 wrong replies, an assertion
  failed, or a regression; 2 asked for in a wrong way; 3 void: the generator was
  the limit; 69 no connection";

#[derive(Debug, Args)]
#[command(after_help = AFTER, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(in crate::cli) struct Options {
    #[command(subcommand)]
    pub(super) other: Option<Other>,
    /// Where the server listens: HOST:PORT or unix:PATH
    #[arg(value_name = "ADDRESS", required = true)]
    address: Option<String>,
    /// Requests a second: 50k, 10k..200k/10s, step:10k,20k@15s [default: closed loop]
    #[arg(long, value_name = "RATE")]
    pub(super) rate: Option<String>,
    /// How they are spaced: as from many users, or evenly
    #[arg(long, value_name = "KIND", default_value = "poisson", hide_possible_values = true)]
    arrival: Arrive,
    /// Connections that send
    #[arg(short, long, value_name = "COUNT", default_value_t = 64)]
    connections: u32,
    /// Requests that each may have on their way [default: 1, with --rate 64]
    #[arg(short, long, value_name = "COUNT")]
    in_flight: Option<u32>,
    /// Connections that only exist, besides
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    idle: u32,
    /// Route that the frames go to
    #[arg(long, value_name = "ROUTE", default_value_t = 1, value_parser = crate::cli::route)]
    route: u16,
    /// Payload bytes: 64, 16..4096, lognormal(256,1.5)
    #[arg(long, value_name = "BYTES", default_value = "64")]
    size: String,
    /// What replies must be: same, flip, any [default: by the route; any for lines]
    #[arg(long, value_name = "KIND", hide_possible_values = true)]
    expect: Option<Expected>,
    /// The requests are lines, for a listener for lines
    #[arg(long, conflicts_with_all = ["route", "correlated"])]
    lines: bool,
    /// Each request carries a correlation, so replies may overtake
    #[arg(long)]
    correlated: bool,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    duration: Duration,
    /// How long to send before that
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    warmup: Duration,
    /// How long a reply may take, and a request wait
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    timeout: Duration,
    /// How long the last replies may take
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time, hide_short_help = true)]
    drain: Duration,
    /// Connects begun in a second [default: as many as can be]
    #[arg(long, value_name = "RATE", hide_short_help = true)]
    connect_rate: Option<String>,
    /// Each connection lives so long on average, then is made anew
    #[arg(long, value_name = "TIME", value_parser = time)]
    churn: Option<Duration>,
    /// So often all connections are reset at once
    #[arg(long, value_name = "TIME", value_parser = time)]
    storm: Option<Duration>,
    /// Bad clients: slow=5%,stall=1%,half-close=1%,reset=1%
    #[arg(long, value_name = "SHARES", default_value = "", hide_default_value = true)]
    impair: String,
    /// Threads that send
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    threads: u32,
    /// Addresses of this host to connect from
    #[arg(long, value_name = "A,B", value_delimiter = ',', hide_short_help = true)]
    pub(super) source: Vec<IpAddr>,
    /// What the schedule and the payloads are made of
    #[arg(long, value_name = "NUMBER", default_value_t = 1, hide_short_help = true)]
    seed: u64,
    /// How long before a request is due not to sleep
    #[arg(long, value_name = "TIME", value_parser = time, hide_short_help = true)]
    spin: Option<Duration>,
    /// Requests that may wait for room, a thread; older ones are dropped
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000, hide_short_help = true)]
    backlog: u32,
    /// The server's process, to tell its processor time
    #[arg(long, value_name = "PID")]
    pub(super) pid: Option<u32>,
    /// Find the highest rate at which this holds
    #[arg(long, value_name = "'p99<2ms'")]
    pub(super) find_max: Option<String>,
    /// Exit with 1 unless this holds; may be given often
    #[arg(long, value_name = "'p99<5ms'")]
    pub(super) assert: Vec<String>,
    /// Compare with a report that --json wrote
    #[arg(long, value_name = "FILE")]
    pub(super) baseline: Option<PathBuf>,
    /// How much worse than the baseline is a regression
    #[arg(long, value_name = "SHARE", default_value = "5%", requires = "baseline")]
    pub(super) regress: String,
    /// Measure the machine's floor beside it, in turns, and give ratios
    #[arg(long, conflicts_with = "find_max")]
    pub(super) floor: bool,
    /// Write the report: a page, JSON, an HdrHistogram log
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
    /// As JSON, for --baseline and scripts; - is standard output
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// As an HdrHistogram log
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(super) hdr: Option<PathBuf>,
    /// Show no progress
    #[arg(long)]
    pub(super) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Other {
    /// Compare two reports that --json wrote
    Diff(Two),
}

#[derive(Debug, Args)]
pub(super) struct Two {
    /// The report to compare with
    pub(super) before: PathBuf,
    /// The report to judge
    pub(super) after: PathBuf,
    /// How much worse is a regression
    #[arg(long, value_name = "SHARE", default_value = "5%")]
    pub(super) regress: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Arrive {
    Poisson,
    Constant,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Expected {
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

/// Requests that a connection may have on their way if the clock decides: enough that a server within its limits never
/// makes one wait.
const IN_FLIGHT_OPEN: u32 = 64;

impl Options {
    /// What is asked for.
    pub(super) fn plan(&self) -> anyhow::Result<Plan> {
        let address = self.address.as_deref().ok_or_else(|| anyhow!("give the server's address"))?;
        let target = Endpoint::parse(address)
            .map_err(|why| anyhow!("{address} is no address: {why}; give HOST:PORT or unix:PATH"))?;
        let connections = within("--connections", self.connections, 1, CONNECTIONS_MAX)?;
        let idle = within("--idle", self.idle, 0, 4 * CONNECTIONS_MAX)?;
        let traffic = self.traffic()?;
        let is_closed = matches!(traffic, Traffic::Closed) && self.find_max.is_none();
        let in_flight = self.in_flight.unwrap_or(if is_closed { 1 } else { IN_FLIGHT_OPEN });
        if self.duration < Duration::from_millis(10) {
            bail!("--duration is {:?}; the least is 10ms", self.duration);
        }
        let sources =
            Sources::plan(&target, connections + idle, &self.source).map_err(|why| anyhow!("{why}"))?;
        Ok(Plan {
            talk: self.talk()?,
            traffic,
            first: 0,
            connections,
            idle,
            in_flight: within("--in-flight", in_flight, 1, IN_FLIGHT_MAX)?,
            life: Life {
                connect_rate: self.connect_rate.as_deref().map(connect_rate).transpose()?,
                connect_timeout: self.timeout,
                churn: positive("--churn", self.churn)?,
                storm: positive("--storm", self.storm)?,
                sources,
            },
            impaired: impaired(&self.impair)?,
            warmup: self.warmup,
            duration: self.duration,
            drain: self.drain,
            timeout: self.timeout,
            backlog: self.backlog,
            interval: interval(self.duration),
            keeps_times: self.hdr.is_some(),
            threads: within("--threads", self.threads, 1, THREADS_MAX)?,
            spin: self.spin.unwrap_or(pace::SPIN),
            seed: self.seed,
            target,
        })
    }

    fn talk(&self) -> anyhow::Result<Talk> {
        let sizes = Sizes::parse(&self.size).map_err(|why| anyhow!("--size: {why}"))?;
        if self.lines && sizes.max() > LINE_BYTES_DEFAULT {
            bail!("--size goes up to {} and a line has at most {LINE_BYTES_DEFAULT} bytes", sizes.max());
        }
        let expect = match self.expect {
            Some(Expected::Same) => Expect::Same,
            Some(Expected::Flip) => Expect::Flip,
            Some(Expected::Any) => Expect::Any,
            None if self.lines => Expect::Any,
            None => match self.route {
                1 => Expect::Same,
                3 => Expect::Flip,
                _ => Expect::Any,
            },
        };
        let protocol = if self.lines { Protocol::Lines } else { Protocol::Frames };
        Ok(Talk { protocol, route: self.route, sizes, correlated: self.correlated, expect })
    }

    fn traffic(&self) -> anyhow::Result<Traffic> {
        let Some(rate) = &self.rate else { return Ok(Traffic::Closed) };
        let profile = Profile::parse(rate).map_err(|why| anyhow!("--rate: {why}"))?;
        Ok(Traffic::Open { profile: Arc::new(profile), arrival: self.arrival() })
    }
}

/// Parts of the series: a second, or so that there are ten.
fn interval(duration: Duration) -> Duration {
    (duration / 10).clamp(Duration::from_millis(10), Duration::from_secs(1))
}

fn within(flag: &str, value: u32, least: u32, most: u32) -> anyhow::Result<u32> {
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        bail!("{flag} is {value}; give {least} to {most}")
    }
}

fn positive(flag: &str, time: Option<Duration>) -> anyhow::Result<Option<Duration>> {
    match time {
        Some(time) if time < Duration::from_millis(10) => bail!("{flag} is {time:?}; the least is 10ms"),
        Some(_) | None => Ok(time),
    }
}

fn connect_rate(text: &str) -> anyhow::Result<f64> {
    match units::rate(text.strip_suffix("/s").unwrap_or(text)) {
        Some(rate) if (0.1..=1e6).contains(&rate) => Ok(rate),
        Some(_) | None => bail!("--connect-rate is {text}; give connects a second, 0.1 to 1M, such as 1k"),
    }
}

/// `slow=5%,stall=1%`
fn impaired(text: &str) -> anyhow::Result<Vec<(Impairment, f64)>> {
    let mut kinds = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (name, share) = part.split_once('=').unwrap_or((part, ""));
        let kind = match name.trim() {
            "slow" => Impairment::Slow { bytes_per_s: 64 << 10 },
            "stall" => Impairment::Stall { pause: Duration::from_millis(500) },
            "half-close" => Impairment::HalfClose { after: 100 },
            "reset" => Impairment::Reset { after: Duration::from_secs(1) },
            _ => {
                bail!("--impair: there is no {name:?}; there are slow, stall, half-close, reset, as slow=5%")
            }
        };
        let Some(share) = units::share(share).filter(|share| *share > 0.0) else {
            bail!("--impair: {part:?} has no share; write {name}=5%");
        };
        if kinds.iter().any(|(known, _): &(Impairment, f64)| known.name() == kind.name()) {
            bail!("--impair: {name} stands twice; give one share");
        }
        kinds.push((kind, share));
    }
    let total: f64 = kinds.iter().map(|(_, share)| share).sum();
    if total > 0.9 {
        bail!("--impair: the shares are {:.0}% together; leave at least 10% unimpaired", total * 100.0);
    }
    Ok(kinds)
}

/// Everything that the flags ask for.
pub(super) struct Parsed {
    pub(super) plan: Plan,
    /// Processes besides this one that hold idle connections.
    pub(super) holders: u32,
    /// What must hold at the rate that is looked for, and from where to where it is.
    pub(super) find_max: Option<(Condition, (f64, f64))>,
    pub(super) assertions: Vec<Condition>,
}

/// Where a search begins, unless --rate says otherwise.
const SEARCH_FROM: f64 = 1000.0;

impl Options {
    /// Reads all of them.
    pub(super) fn parse(&self) -> anyhow::Result<Parsed> {
        let plan = self.plan()?;
        let holders = holders(&plan)?;
        let condition = |flag: &str, text: &String| {
            Condition::parse(text).map_err(|why| anyhow!("{flag} {text:?}: {why}"))
        };
        let find_max = self.find_max.as_ref().map(|text| {
            let start = match &plan.traffic {
                Traffic::Open { profile, .. } if profile.length().is_some() => {
                    bail!("--find-max begins at one rate; give --rate 10k or leave it out")
                }
                Traffic::Open { profile, .. } => profile.rate_at(0.0),
                Traffic::Closed => SEARCH_FROM,
            };
            Ok((condition("--find-max", text)?, (start, RATE_MAX)))
        });
        let assertions: Vec<_> =
            self.assert.iter().map(|text| condition("--assert", text)).collect::<anyhow::Result<_>>()?;
        let all = assertions.iter().chain(find_max.iter().flatten().map(|(condition, _)| condition));
        if self.pid.is_none() && all.clone().any(Condition::wants_server_process) {
            bail!("cpu is the server's processor time; name its process with --pid");
        }
        if matches!(plan.traffic, Traffic::Closed) && assertions.iter().any(Condition::wants_open_loop) {
            bail!("achieved compares with what was due, and a closed loop has no schedule; give --rate");
        }
        Ok(Parsed { plan, holders, find_max: find_max.transpose()?, assertions })
    }

    pub(super) const fn arrival(&self) -> Arrival {
        match self.arrival {
            Arrive::Poisson => Arrival::Poisson,
            Arrive::Constant => Arrival::Constant,
        }
    }
}

/// Raises the limit of descriptors; how many processes are needed besides this one for connections that are idle.
fn holders(plan: &Plan) -> anyhow::Result<u32> {
    let limit = descriptors::raise_limit();
    let fit = descriptors::connections_in(limit);
    if u64::from(plan.connections) > fit {
        bail!(
            "--connections is {}, and this process may have {limit} descriptors; give at most {fit}, and --idle for \
             those that only exist, or raise the limit with ulimit -n",
            plan.connections
        );
    }
    if u64::from(plan.connections + plan.idle) <= fit {
        return Ok(0);
    }
    descriptors::processes_for(plan.idle, limit).map_err(|why| anyhow!("{why}"))
}
