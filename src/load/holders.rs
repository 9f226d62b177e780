//! Idle connections that one process can't hold: other processes of this program hold them, a share each.
//!
//! ```text
//!   generator                         holder
//!     job, one line of JSON ------->    connects, proves each connection with one request
//!     <------------------- "ready"      sits, and looks for connections that end
//!     "end" ----------------------->
//!     <------- what it saw, JSON        ends; so it does when its input ends
//! ```
//!
//! `benches/million` starts holders, too, and writes them the same jobs.
//!
//! One that can't connect says why instead of "ready", in one line, and ends.
//!
//! Always holds: a holder can't outlive the generator; numbers and source addresses of connections are those that one
//! process alone would have given them.

use super::child::Child;
use super::crew;
use super::crew::{Failure, Observer};
use super::hello::Token;
use super::measure::connections as told_of;
use super::plan::{Expect, Life, Plan, Talk, Traffic};
use super::progress::{Phase, Progress};
use super::report::{Connections, Protocol, Trouble};
use super::size::Sizes;
use super::sources::Sources;
use crate::net::Endpoint;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// How often a holder looks whether it shall end.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long a holder may take to tell what it saw.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// A holder that nobody ends, ends all the same.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What a holder says when all its connections are open and proven.
pub const READY: &str = "ready";

/// What one holder has to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// As `Endpoint` reads it.
    target: String,
    protocol: Protocol,
    route: u16,
    /// As [`Sizes`] reads it.
    size: String,
    expect: String,
    /// Numbers of its connections: the first, and how many.
    first: u32,
    count: u32,
    /// Connections of the whole run, which source addresses depend on.
    total: u32,
    sources: Vec<IpAddr>,
    /// Connects a second of this holder.
    connect_rate: Option<f64>,
    timeout_ms: u64,
    seed: u64,
    token: Option<Token>,
}

/// What a holder saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Held {
    /// Its connections.
    pub connections: Connections,
    /// What went wrong.
    pub troubles: BTreeMap<Trouble, u64>,
}

/// The holders of a run. Dropped, they end.
#[derive(Debug)]
pub struct Holders {
    children: Vec<Child>,
    patience: Duration,
}

impl Holders {
    /// Starts `processes` of `program` with `arguments` that hold the idle connections of `plan`, which from here on
    /// has none, and waits until they are all open and proven. `given` are the source addresses that were asked for.
    ///
    /// # Errors
    ///
    /// [`Failure::NotHeld`] with what one said that could not connect; [`Failure::System`] if one can't be started, or
    /// says nothing in time.
    pub fn start(
        plan: &mut Plan,
        given: &[IpAddr],
        processes: u32,
        program: &Path,
        arguments: &[&str],
    ) -> Result<Holders, Failure> {
        let jobs = jobs(plan, given, processes);
        plan.idle = 0;
        let mut children = Vec::new();
        for job in &jobs {
            let mut child = Child::start(program, arguments)?;
            let line = serde_json::to_string(job).map_err(io::Error::other)?;
            child.tell(&line)?;
            children.push(child);
        }
        // One process after another may get the processor.
        let fair: Duration = jobs.iter().map(Job::fair).sum();
        let patience = fair + plan.life.connect_timeout + LAST_WORDS;
        let mut holders = Holders { children, patience };
        for child in &mut holders.children {
            let said = child.line(patience)?;
            if said != READY {
                return Err(Failure::NotHeld { why: said });
            }
        }
        Ok(holders)
    }

    /// Processes.
    pub fn count(&self) -> u32 {
        u32::try_from(self.children.len()).unwrap_or(u32::MAX)
    }

    /// Ends them, and tells what they saw together.
    ///
    /// # Errors
    ///
    /// If one of them does not tell.
    pub fn finish(mut self) -> io::Result<Held> {
        for child in &mut self.children {
            child.tell("end")?;
        }
        // Not added to one of nothing, which has never connected: all would seem to be so.
        let mut all: Option<Held> = None;
        for child in &mut self.children {
            let line = child.line(self.patience.min(LAST_WORDS))?;
            let held = serde_json::from_str(&line).map_err(io::Error::other)?;
            match &mut all {
                Some(all) => all.add(&held),
                None => all = Some(held),
            }
        }
        Ok(all.unwrap_or_default())
    }
}

impl Held {
    /// In one line, as [`Holders`] reads it.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("it holds numbers and names")
    }

    fn add(&mut self, other: &Held) {
        self.connections.add(&other.connections);
        other.troubles.iter().for_each(|(trouble, count)| {
            *self.troubles.entry(*trouble).or_default() += count;
        });
    }
}

/// Deals the idle connections of a plan.
fn jobs(plan: &Plan, given: &[IpAddr], processes: u32) -> Vec<Job> {
    let processes = processes.clamp(1, plan.idle.max(1));
    let (each, more) = (plan.idle / processes, plan.idle % processes);
    let mut first = plan.first + plan.connections;
    let of = |process| {
        let count = each + u32::from(process < more);
        let job = Job {
            target: plan.target.to_string(),
            protocol: plan.talk.protocol,
            route: plan.talk.route,
            size: plan.talk.sizes.to_string(),
            expect: plan.talk.expect.name().to_owned(),
            first,
            count,
            total: plan.connections + plan.idle,
            sources: given.to_vec(),
            connect_rate: plan.life.connect_rate.map(|rate| rate / f64::from(processes)),
            timeout_ms: u64::try_from(plan.timeout.as_millis()).unwrap_or(u64::MAX),
            seed: plan.seed,
            token: plan.life.token.clone(),
        };
        first += count;
        job
    };
    (0..processes).map(of).collect()
}

impl Job {
    /// How long its connects may take.
    fn fair(&self) -> Duration {
        let paced_s = self.connect_rate.map_or(0.0, |rate| f64::from(self.count) / rate);
        Duration::from_secs_f64(paced_s + f64::from(self.count) / 1000.0)
    }

    /// Reads a line that [`Holders`] wrote.
    ///
    /// # Errors
    ///
    /// In words, if it is none.
    pub fn read(line: &str) -> Result<Job, String> {
        serde_json::from_str(line).map_err(|why| why.to_string())
    }

    fn plan(&self) -> Result<Plan, String> {
        let target = Endpoint::parse(&self.target)?;
        let expect = [Expect::Same, Expect::Flip, Expect::Any];
        let expect = expect.into_iter().find(|expect| expect.name() == self.expect);
        let timeout = Duration::from_millis(self.timeout_ms);
        Ok(Plan {
            tls: None,
            talk: Talk {
                protocol: self.protocol,
                route: self.route,
                sizes: Sizes::parse(&self.size)?,
                correlated: false,
                expect: expect.ok_or_else(|| format!("no such kind of reply: {}", self.expect))?,
            },
            traffic: Traffic::Closed,
            first: self.first,
            connections: 0,
            idle: self.count,
            in_flight: 1,
            life: Life {
                connect_rate: self.connect_rate,
                connect_timeout: timeout,
                churn: None,
                storm: None,
                sources: Sources::plan(&target, self.total, &self.sources)?,
                token: self.token.clone(),
            },
            impaired: Vec::new(),
            warmup: Duration::ZERO,
            duration: LONGEST,
            drain: Duration::ZERO,
            timeout,
            backlog: 0,
            interval: INTERVAL,
            keeps_times: false,
            threads: 1,
            // Nothing of it is timed, and who is timed may have the processor.
            spin: Duration::ZERO,
            seed: self.seed,
            target,
        })
    }

    /// Does it: connects, calls `on_ready` when all connections are proven, and holds them until `is_over`.
    ///
    /// # Errors
    ///
    /// In words, as [`Failure`].
    pub fn hold(&self, on_ready: impl FnMut(), is_over: impl FnMut() -> bool) -> Result<Held, String> {
        let plan = self.plan()?;
        let mut sitter = Sitter { is_ready: false, on_ready, is_over };
        let gathered =
            crew::run(&plan, "", &mut sitter, &mut |_| {}).map_err(|why: Failure| why.to_string())?;
        Ok(Held { connections: told_of(&plan, &gathered), troubles: gathered.tally.troubles })
    }
}

struct Sitter<R, O> {
    is_ready: bool,
    on_ready: R,
    is_over: O,
}

impl<R: FnMut(), O: FnMut() -> bool> Observer for Sitter<R, O> {
    fn on_part(&mut self, progress: &Progress<'_>) -> bool {
        // The part that ends when all have answered is one of connecting, and the next one is over late.
        let is_connected = progress.phase != Phase::Connecting || progress.open == progress.wanted;
        if is_connected && !self.is_ready {
            self.is_ready = true;
            (self.on_ready)();
        }
        !(self.is_over)()
    }
}
