//! What the flags of `tidegate bench` ask for together: a plan, and what to find out by it.
//!
//! Always holds: a plan that comes out can be run; what can't be is refused before anything is sent, in one line that
//! says what to give instead. Never: a file that is written, or a descriptor that is opened for long.

pub(super) use super::flags::Options;
use super::flags::{Arrive, Expected};
use crate::base::limits::LINE_BYTES_DEFAULT;
use crate::cli::token;
use crate::load::condition::Condition;
use crate::load::plan::{
    CONNECTIONS_MAX, Expect, IN_FLIGHT_MAX, Impairment, Life, Plan, THREADS_MAX, Talk, Traffic,
};
use crate::load::profile::{Profile, RATE_MAX};
use crate::load::report::{Arrival, Protocol, Report};
use crate::load::size::Sizes;
use crate::load::sources::Sources;
use crate::load::watch::Snapshot;
use crate::load::{compare, descriptors, file, hunt, measure, units, words};
use crate::net::Endpoint;
use anyhow::{anyhow, bail};
use std::fs::File;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Requests that a connection may have on their way if the clock decides: enough that a server within its limits never
/// makes one wait.
const IN_FLIGHT_OPEN: u32 = 64;

/// Longer than any gap at a rate where it matters: the generator never sleeps.
const SPIN_MAX: Duration = Duration::from_secs(1);

/// The most requests of one thread that may wait: some 2 GB of them.
const BACKLOG_MAX: u32 = 100_000_000;

/// The most processes besides this one that hold idle connections.
const HOLDERS_MAX: u32 = 64;

impl Options {
    /// What is asked for.
    pub(super) fn plan(&self) -> anyhow::Result<Plan> {
        let (load, connect) = (&self.load, &self.connect);
        let address = self.address.as_deref().ok_or_else(|| anyhow!("give the server's address"))?;
        let target = Endpoint::parse(address)
            .map_err(|why| anyhow!("{address} is no address: {why}; give HOST:PORT or unix:PATH"))?;
        let connections = within("--connections", connect.connections, 1, CONNECTIONS_MAX)?;
        let idle = within("--idle", connect.idle, 0, 4 * CONNECTIONS_MAX)?;
        let traffic = self.traffic()?;
        let is_closed = matches!(traffic, Traffic::Closed) && self.goal.find_max.is_none();
        let in_flight = connect.in_flight.unwrap_or(if is_closed { 1 } else { IN_FLIGHT_OPEN });
        let sources =
            Sources::plan(&target, connections + idle, &connect.source).map_err(|why| anyhow!("{why}"))?;
        at_least("--duration", load.duration, Duration::from_millis(10))?;
        at_least("--timeout", load.timeout, Duration::from_millis(1))?;
        if load.spin > SPIN_MAX {
            bail!("--spin is {:?}; the most is {SPIN_MAX:?}", load.spin);
        }
        let ten_ms = |flag, time: Option<Duration>| {
            time.map(|time| at_least(flag, time, Duration::from_millis(10))).transpose()
        };
        Ok(Plan {
            tls: self.tls.connector()?,
            talk: self.talk()?,
            traffic,
            first: 0,
            connections,
            idle,
            in_flight: within("--in-flight", in_flight, 1, IN_FLIGHT_MAX)?,
            life: Life {
                connect_rate: connect.connect_rate.as_deref().map(connect_rate).transpose()?,
                connect_timeout: load.timeout,
                churn: ten_ms("--churn", connect.churn)?,
                storm: ten_ms("--storm", connect.storm)?,
                sources,
                token: match self.request.lines {
                    true => None,
                    false => {
                        token::given(connect.token.as_deref(), connect.token_file.as_deref())?.map(Into::into)
                    }
                },
            },
            impaired: impaired(&connect.impair)?,
            warmup: load.warmup,
            duration: load.duration,
            drain: load.drain,
            timeout: load.timeout,
            backlog: within("--backlog", load.backlog, 1, BACKLOG_MAX)?,
            interval: interval(load.duration),
            keeps_times: self.output.hdr.is_some(),
            threads: within("--threads", load.threads, 1, THREADS_MAX)?,
            spin: load.spin,
            seed: load.seed,
            target,
        })
    }

    fn talk(&self) -> anyhow::Result<Talk> {
        let request = &self.request;
        let sizes = Sizes::parse(&self.request.size).map_err(|why| anyhow!("--size: {why}"))?;
        if request.lines && sizes.max() > LINE_BYTES_DEFAULT {
            bail!("--size goes up to {} and a line has at most {LINE_BYTES_DEFAULT} bytes", sizes.max());
        }
        let expect = match request.expect {
            Some(Expected::Same) => Expect::Same,
            Some(Expected::Flip) => Expect::Flip,
            Some(Expected::Any) => Expect::Any,
            None if request.lines => Expect::Any,
            None => match request.route {
                1 => Expect::Same,
                3 => Expect::Flip,
                _ => Expect::Any,
            },
        };
        let protocol = if request.lines { Protocol::Lines } else { Protocol::Frames };
        Ok(Talk { protocol, route: request.route, sizes, correlated: request.correlated, expect })
    }

    fn traffic(&self) -> anyhow::Result<Traffic> {
        let Some(rate) = &self.load.rate else { return Ok(Traffic::Closed) };
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

fn at_least(flag: &str, time: Duration, least: Duration) -> anyhow::Result<Duration> {
    if time < least {
        bail!("{flag} is {time:?}; the least is {least:?}");
    }
    Ok(time)
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
    pub(super) find_max: Option<Hunt>,
    pub(super) assertions: Vec<Condition>,
    /// A run of the same question.
    pub(super) baseline: Option<Report>,
}

/// What must hold at the rate that is looked for, and from where to where that is.
pub(super) struct Hunt {
    pub(super) condition: Condition,
    pub(super) range: (f64, f64),
}

/// Where a search begins, unless --rate says otherwise.
const SEARCH_FROM: f64 = 1000.0;

/// Or at so many times the least rate with samples enough: a first try that fails, by chance perhaps, can be halved
/// twice.
const SEARCH_SPARE: f64 = 4.0;

impl Options {
    /// Reads all of them.
    pub(super) fn parse(&self) -> anyhow::Result<Parsed> {
        let plan = self.plan()?;
        let holders = holders(&plan)?;
        let find_max = self.goal.find_max.as_ref().map(|text| hunt(&plan, text)).transpose()?;
        let assertions: Vec<_> =
            self.goal.assert.iter().map(|text| condition("--assert", text)).collect::<anyhow::Result<_>>()?;
        let conditions = || assertions.iter().chain(find_max.iter().map(|hunt| &hunt.condition));
        match self.goal.pid {
            None if conditions().any(Condition::wants_server_process) => {
                bail!("cpu is the server's processor time; name its process with --pid")
            }
            Some(pid) if Snapshot::of(pid).is_none() => {
                bail!(
                    "--pid is {pid}, and this system tells of no such process; give the server's, on this machine"
                )
            }
            Some(_) | None => {}
        }
        let is_closed = matches!(plan.traffic, Traffic::Closed) && find_max.is_none();
        if is_closed && assertions.iter().any(Condition::wants_open_loop) {
            bail!(
                "achieved and lag compare with when requests were due, and a closed loop has no schedule; give --rate"
            );
        }
        let baseline = self.goal.baseline.as_deref().map(file::read).transpose()?;
        if let Some(baseline) = &baseline {
            compare::can_be_compared(baseline, &measure::asked(&plan))?;
        }
        if self.goal.floor
            && let Some(address) = plan.target.ip()
            && UdpSocket::bind((address.ip(), 0)).is_err()
        {
            bail!(
                "--floor is the floor of this machine, and {address} is another's; run it where the server is"
            );
        }
        self.outputs()?;
        Ok(Parsed { plan, holders, find_max, assertions, baseline })
    }

    /// Whether there can be files with the reports: a long run should not end with one that can't be written.
    fn outputs(&self) -> anyhow::Result<()> {
        let is_stdout = |path: &&Path| *path == Path::new("-");
        let output = &self.output;
        let pages = [("--html", output.html.as_deref()), ("--hdr", output.hdr.as_deref())];
        if let Some((flag, _)) = pages.iter().find(|(_, path)| path.is_some_and(|path| is_stdout(&path))) {
            bail!("{flag} is written to a file; only --json takes - for standard output");
        }
        let json = output.json.as_deref().filter(|path| !is_stdout(path));
        for path in pages.iter().filter_map(|(_, path)| *path).chain(json) {
            writable(path)?;
        }
        Ok(())
    }

    pub(super) const fn arrival(&self) -> Arrival {
        match self.load.arrival {
            Arrive::Poisson => Arrival::Poisson,
            Arrive::Constant => Arrival::Constant,
        }
    }
}

fn condition(flag: &str, text: &str) -> anyhow::Result<Condition> {
    Condition::parse(text).map_err(|why| anyhow!("{flag} {text:?}: {why}"))
}

fn hunt(plan: &Plan, text: &str) -> anyhow::Result<Hunt> {
    let condition = condition("--find-max", text)?;
    let least = hunt::rate_least(&condition, plan.duration);
    let start = match &plan.traffic {
        Traffic::Open { profile, .. } if profile.length().is_some() => {
            bail!("--find-max begins at one rate; give --rate 10k or leave it out")
        }
        Traffic::Open { profile, .. } => profile.rate_at(0.0),
        Traffic::Closed => SEARCH_FROM.max((SEARCH_SPARE * least).ceil()),
    };
    if start < least || least > RATE_MAX {
        let needed = words::count(condition.samples_needed());
        let (rate, duration) = (words::rate(start), units::seconds_text(plan.duration.as_secs_f64()));
        bail!(
            "--find-max {text:?} needs {needed} samples, more than {rate} gives in {duration}; raise --duration"
        );
    }
    Ok(Hunt { condition, range: (start, RATE_MAX) })
}

/// Whether there can be a file; what is there keeps its content.
fn writable(path: &Path) -> anyhow::Result<()> {
    let is_new = match path.metadata() {
        // A pipe may have a reader that waits for what is written first.
        Ok(found) if !found.is_file() && !found.is_dir() => return Ok(()),
        Ok(_) => false,
        Err(_) => true,
    };
    let opened = File::options().append(true).create(true).open(path);
    opened.map_err(|why| anyhow!("cannot write {}: {why}", path.display()))?;
    if is_new {
        // The report takes its place, if there will be one.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
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
    let processes = descriptors::processes_for(plan.idle, limit).map_err(|why| anyhow!("{why}"))?;
    if processes > 0 && plan.tls.is_some() {
        bail!("--idle is {}: with TLS no more than one process can hold", plan.idle);
    }
    if processes > HOLDERS_MAX {
        bail!(
            "--idle is {}, and with {limit} descriptors each that takes {processes} processes, more than {HOLDERS_MAX}; \
             raise the limit with ulimit -n",
            plan.idle
        );
    }
    Ok(processes)
}
