//! One run from its plan to its report: run, counted, judged.
//!
//! Always holds: a report's figures are those of the measured part, its verdict is made from the same figures, and what
//! the system tells of the server is read when that part begins and when it ends.

use super::crew::{self, Failure, Gathered, Kept, Mark, Observer};
use super::plan::{Plan, Traffic};
use super::record::Tally;
use super::report::{
    Asked, Class, Confidence, Connections, Host, Model, OwnFigures, Report, SCHEMA, ServerFigures,
};
use super::verdict::{self, Facts};
use super::watch::Snapshot;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a run is told of besides its plan.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// The command, as it was given.
    pub command: String,
    /// The machine.
    pub host: Host,
    /// The server's process, if it is on this machine and known.
    pub server_pid: Option<u32>,
}

/// What a run gave.
#[derive(Debug)]
pub struct Measured {
    /// Everything that is told of it.
    pub report: Report,
    /// The three times of each part of the report's series, if the plan wants them kept.
    pub kept: Vec<Kept>,
}

/// Runs a plan and judges what it gave. `title` says in the progress which run of several it is.
///
/// # Errors
///
/// See [`Failure`].
pub fn measure(
    plan: &Plan,
    setting: &Setting,
    title: &str,
    observer: &mut dyn Observer,
) -> Result<Measured, Failure> {
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut server = Watched { pid: setting.server_pid, ..Watched::default() };
    let gathered = crew::run(plan, title, observer, &mut |mark| server.look(mark))?;
    if gathered.was_stopped {
        return Err(Failure::Stopped);
    }
    let began_unix_ms = u64::try_from(began.as_millis()).unwrap_or(u64::MAX);
    let report = report(plan, setting, &gathered, &server, began_unix_ms);
    Ok(Measured { report, kept: gathered.kept })
}

/// The server's process at both ends of the measured part.
#[derive(Default)]
struct Watched {
    pid: Option<u32>,
    begin: Option<Snapshot>,
    end: Option<Snapshot>,
}

impl Watched {
    fn look(&mut self, mark: Mark) {
        let now = self.pid.and_then(Snapshot::of);
        match mark {
            Mark::Begin => self.begin = now,
            Mark::End => self.end = now,
        }
    }
}

fn report(
    plan: &Plan,
    setting: &Setting,
    gathered: &Gathered,
    watched: &Watched,
    began_unix_ms: u64,
) -> Report {
    let tally = &gathered.tally;
    let asked = asked(plan);
    let measured_s = plan.duration.as_secs_f64();
    let confidence = Confidence::of(&tally.parts);
    let server = server(watched, tally);
    let own = own(gathered, asked.model);
    let times = &tally.times[0];
    let verdict = verdict::judge(&Facts {
        model: asked.model,
        is_steady: match &plan.traffic {
            Traffic::Closed => true,
            Traffic::Open { profile, .. } => profile.length().is_none(),
        },
        own,
        counts: tally.counts,
        response: &times.response,
        censored: times.censored,
        server_busiest: server.map(|server| server.busiest),
        wanted: plan.connections + plan.idle,
        open: tally.open_max,
        threads: plan.threads,
        processors: setting.host.processors,
        measured_s,
        drift: confidence.as_ref().map(|confidence| confidence.drift),
        series: &gathered.series,
    });
    Report {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: setting.command.clone(),
        began_unix_ms,
        host: setting.host.clone(),
        asked,
        verdict,
        measured_s,
        counts: tally.counts,
        troubles: tally.troubles.clone(),
        statuses: tally.statuses.clone(),
        connections: connections(plan, gathered),
        classes: classes(plan, tally),
        series: gathered.series.clone(),
        confidence,
        server,
        floor: None,
        search: None,
        assertions: Vec::new(),
    }
}

fn own(gathered: &Gathered, model: Model) -> OwnFigures {
    let Tally { late, counts, .. } = &gathered.tally;
    let is_open = model == Model::Open;
    OwnFigures {
        busy: gathered.busy,
        waited: gathered.waited,
        late_p50_ns: late.percentile(50.0).filter(|_| is_open),
        late_p99_ns: late.percentile(99.0).or_else(|| late.max()).filter(|_| is_open),
        late_max_ns: late.max().filter(|_| is_open),
        turn_max_ns: gathered.turn_max_ns,
        achieved: (is_open && counts.scheduled > 0).then(|| counts.sent as f64 / counts.scheduled as f64),
    }
}

fn server(watched: &Watched, tally: &Tally) -> Option<ServerFigures> {
    let usage = watched.begin.as_ref()?.until(watched.end.as_ref()?);
    let answered = tally.counts.answered.max(1) as f64;
    Some(ServerFigures {
        pid: watched.pid?,
        cpu_s: usage.cpu_ns as f64 / 1e9,
        cpu_ns_per_message: usage.cpu_ns as f64 / answered,
        busiest: usage.busiest,
        rss_bytes: usage.rss_bytes,
    })
}

/// What became of the connections of a plan.
pub(super) fn connections(plan: &Plan, gathered: &Gathered) -> Connections {
    let tally = &gathered.tally;
    Connections {
        wanted: plan.connections + plan.idle,
        attempted: tally.attempted,
        established: tally.established,
        verified: tally.verified,
        lost: tally.lost,
        retired: tally.retired,
        open_max: tally.open_max,
        ramp_s: gathered.ramp_s,
        connect: tally.connect.clone(),
        recovery: tally.recovery.clone(),
    }
}

fn classes(plan: &Plan, tally: &Tally) -> Vec<Class> {
    let impaired = plan.impaired_counts();
    let plain = ("plain", plan.connections - impaired.iter().sum::<u32>());
    let kinds = plan.impaired.iter().zip(&impaired).map(|((kind, _), count)| (kind.name(), *count));
    let named = std::iter::once(plain).chain(kinds);
    let of = |((name, connections), times): ((&str, u32), &super::record::Times)| Class {
        name: name.to_owned(),
        connections,
        response: times.response.clone(),
        service: times.service.clone(),
        lag: times.lag.clone(),
        censored: times.censored,
    };
    named.zip(&tally.times).map(of).collect()
}

/// What was asked for, in words.
pub fn asked(plan: &Plan) -> Asked {
    let (model, profile, arrival) = match &plan.traffic {
        Traffic::Closed => (Model::Closed, None, None),
        Traffic::Open { profile, arrival } => (Model::Open, Some(profile.to_string()), Some(*arrival)),
    };
    let impaired = plan.impaired.iter().map(|(kind, share)| format!("{}={}", kind.name(), percent(*share)));
    Asked {
        target: plan.target.to_string(),
        protocol: plan.talk.protocol,
        model,
        profile,
        arrival,
        connections: plan.connections,
        idle: plan.idle,
        in_flight: plan.in_flight,
        size: plan.talk.sizes.to_string(),
        correlated: plan.talk.correlated,
        expect: plan.talk.expect.name().to_owned(),
        impair: impaired.collect::<Vec<_>>().join(","),
        seed: plan.seed,
        threads: plan.threads,
        processes: 1,
        warmup_s: plan.warmup.as_secs_f64(),
        duration_s: plan.duration.as_secs_f64(),
    }
}

fn percent(share: f64) -> String {
    format!("{}%", share * 100.0)
}
