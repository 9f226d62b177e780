//! Two runs beside each other: what changed, whether the change is more than noise, and whether it is worse than what
//! is allowed.
//!
//! Always holds: only runs that asked the same question are compared, and only valid ones; a change within both runs'
//! confidence intervals, or below what is allowed where there are none, is noise. Never: a judgement of a figure that
//! one of the runs doesn't have.

use super::report::{Asked, Model, Report};
use super::words::{self, SHOWN};

/// Standard deviations that hold 95 % of a normal distribution.
const DEVIATIONS: f64 = 1.96;

/// Why two runs can't be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// The generator was the limit of one of them.
    #[error("the {which} run is void: {because}; measure it again")]
    Void {
        /// `old` or `new`.
        which: &'static str,
        /// The first reason.
        because: String,
    },
    /// One has no replies.
    #[error("the {which} run measured nothing; measure it again")]
    Empty {
        /// `old` or `new`.
        which: &'static str,
    },
    /// They asked for different things.
    #[error("not the same question: {}; compare runs that were asked for in the same way", differences.join(", "))]
    OtherQuestion {
        /// What differs, such as `size 64 against 1024`.
        differences: Vec<String>,
    },
}

/// Two runs of the same question.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What may make the comparison unfair, although the question is the same.
    pub warnings: Vec<String>,
    /// The figures that at least one run has.
    pub figures: Vec<Figure>,
    /// The share by which a figure may be worse, such as 0.05.
    pub allowed: f64,
}

impl Comparison {
    /// Whether any figure is worse than what is allowed.
    pub fn has_regressed(&self) -> bool {
        self.figures.iter().any(|figure| figure.judged == Judged::Regressed)
    }
}

/// One figure of both runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Such as `response p99`.
    pub name: String,
    /// What the numbers are.
    pub unit: Unit,
    /// Of the old run; absent if it doesn't have it.
    pub old: Option<f64>,
    /// Of the new run; absent if it doesn't have it.
    pub new: Option<f64>,
    /// What to make of it.
    pub judged: Judged,
}

impl Figure {
    /// New minus old over old; absent if one is absent or the old one is 0.
    pub fn change(&self) -> Option<f64> {
        let (old, new) = (self.old?, self.new?);
        (old != 0.0).then(|| (new - old) / old)
    }
}

/// What a figure's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds. Less is better.
    Time,
    /// Replies a second. More is better.
    Rate,
    /// Of the requests sent, 0 to 1. Less is better.
    Share,
}

impl Unit {
    /// A number of it as text.
    pub fn text(self, number: f64) -> String {
        match self {
            Unit::Time => words::time(number),
            Unit::Rate => words::rate(number),
            Unit::Share => words::percent(number),
        }
    }
}

/// What to make of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// One of the runs doesn't have the figure.
    Unknown,
    /// As large a change may come by chance.
    Noise,
    /// It is better.
    Better,
    /// It is worse, by no more than what is allowed.
    Worse,
    /// It is worse by more than what is allowed.
    Regressed,
}

impl Judged {
    /// In a word.
    pub const fn word(self) -> &'static str {
        match self {
            Judged::Unknown => "not known",
            Judged::Noise => "noise",
            Judged::Better => "better",
            Judged::Worse => "worse",
            Judged::Regressed => "REGRESSED",
        }
    }
}

/// Compares two runs. `allowed` is the share by which a figure may be worse: 0.05 for 5 %.
///
/// # Errors
///
/// [`CompareError`] if they can't be compared.
pub fn compare(old: &Report, new: &Report, allowed: f64) -> Result<Comparison, CompareError> {
    can_be_compared(old, &new.asked)?;
    says_something("new", new)?;
    let mut figures = Vec::new();
    figures.extend(times(old, new, allowed));
    figures.push(judged("rate", Unit::Rate, allowed, words::answered_a_second, old, new));
    figures.extend(troubles(old, new, allowed));
    let cpu = |report: &Report| report.server.map(|server| server.cpu_ns_per_message);
    figures.push(judged("cpu a message", Unit::Time, allowed, cpu, old, new));
    figures.retain(|figure| figure.old.is_some() || figure.new.is_some());
    Ok(Comparison { warnings: warnings(old, new), figures, allowed })
}

/// Whether a run of `asked` could be compared with an old one: what can be known before it is run.
///
/// # Errors
///
/// [`CompareError`] if it can't.
pub fn can_be_compared(old: &Report, asked: &Asked) -> Result<(), CompareError> {
    says_something("old", old)?;
    let differences = differences(&old.asked, asked);
    if differences.is_empty() { Ok(()) } else { Err(CompareError::OtherQuestion { differences }) }
}

fn says_something(which: &'static str, report: &Report) -> Result<(), CompareError> {
    if let Some(because) = report.verdict.void_because.first() {
        return Err(CompareError::Void { which, because: because.clone() });
    }
    if report.counts.answered == 0 || report.measured_s <= 0.0 {
        return Err(CompareError::Empty { which });
    }
    Ok(())
}

/// What of the question differs.
fn differences(old: &Asked, new: &Asked) -> Vec<String> {
    let written = |model: Model| match model {
        Model::Open => "open",
        Model::Closed => "closed",
    };
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let or_none = |text: &str| if text.is_empty() { "none" } else { text }.to_owned();
    let rate = |asked: &Asked| asked.profile.clone().unwrap_or_else(|| "none".to_owned());
    let told = [
        (
            "protocol",
            format!("{:?}", old.protocol).to_lowercase(),
            format!("{:?}", new.protocol).to_lowercase(),
        ),
        ("loop", written(old.model).to_owned(), written(new.model).to_owned()),
        ("rate", rate(old), rate(new)),
        ("arrival", arrival(old), arrival(new)),
        ("connections", old.connections.to_string(), new.connections.to_string()),
        ("idle", old.idle.to_string(), new.idle.to_string()),
        ("in-flight", old.in_flight.to_string(), new.in_flight.to_string()),
        ("size", old.size.clone(), new.size.clone()),
        ("correlated", yes(old.correlated), yes(new.correlated)),
        ("expect", old.expect.clone(), new.expect.clone()),
        ("impair", or_none(&old.impair), or_none(&new.impair)),
    ];
    let differ = told.into_iter().filter(|(_, old, new)| old != new);
    differ.map(|(name, old, new)| format!("{name} {old} against {new}")).collect()
}

fn arrival(asked: &Asked) -> String {
    asked.arrival.map_or_else(|| "none".to_owned(), |arrival| format!("{arrival:?}").to_lowercase())
}

/// What doesn't change the question and may change the answer.
fn warnings(old: &Report, new: &Report) -> Vec<String> {
    let host = |report: &Report| {
        let host = &report.host;
        format!(
            "{} {} with {}",
            host.system,
            host.processor,
            words::counted(host.processors.into(), "processor")
        )
    };
    let length = |report: &Report| {
        format!("{} after {}", words::seconds(report.asked.duration_s), words::seconds(report.asked.warmup_s))
    };
    let threads = |report: &Report| {
        format!("{} in {}", words::counted(report.asked.threads.into(), "thread"), report.asked.processes)
    };
    let told = [
        ("another machine", host(old), host(new)),
        ("another length", length(old), length(new)),
        ("another generator", format!("tidegate {}", old.version), format!("tidegate {}", new.version)),
        ("other threads of the generator", threads(old), threads(new)),
    ];
    let differ = told.into_iter().filter(|(_, old, new)| old != new);
    differ.map(|(name, old, new)| format!("{name}: {old} against {new}")).collect()
}

/// Response and service, with what the parts of each run say about chance.
fn times(old: &Report, new: &Report, allowed: f64) -> Vec<Figure> {
    let mut figures = Vec::new();
    let is_open = old.asked.model == Model::Open;
    for (percent, name) in SHOWN {
        let of = |report: &Report| words::main_time(report).and_then(|(_, times)| times.percentile(percent));
        let of = |report: &Report| of(report).map(|ns| ns as f64);
        let title = if is_open { "response" } else { "service" };
        let mut figure = judged(&format!("{title} {name}"), Unit::Time, allowed, of, old, new);
        let spread = |report: &Report| {
            let all = &report.confidence.as_ref()?.percentiles;
            all.iter().find(|spread| (spread.percentile - percent).abs() < 1e-9).copied()
        };
        if let (Some(before), Some(now), Some(change)) = (spread(old), spread(new), figure.change()) {
            let is_apart = (now.mean_ns - before.mean_ns).abs() > now.plus_minus_ns + before.plus_minus_ns;
            figure.judged = judgement(change, is_apart, allowed);
        }
        figures.push(figure);
    }
    for (percent, name) in SHOWN.into_iter().filter(|(percent, _)| is_open && [50.0, 99.0].contains(percent))
    {
        let of = |report: &Report| words::plain(report)?.service.percentile(percent).map(|ns| ns as f64);
        figures.push(judged(&format!("service {name}"), Unit::Time, allowed, of, old, new));
    }
    figures
}

/// Errors and wrong replies, as shares of what was sent.
fn troubles(old: &Report, new: &Report, allowed: f64) -> [Figure; 2] {
    [("errors", false), ("wrong", true)].map(|(name, is_wrong)| {
        let count = |report: &Report| {
            let found = report.troubles.iter().filter(|(trouble, _)| trouble.is_wrong() == is_wrong);
            found.map(|(_, times)| *times).sum::<u64>() as f64
        };
        let sent = |report: &Report| report.counts.sent.max(1) as f64;
        let (before, now) = (count(old) / sent(old), count(new) / sent(new));
        // Both are counts of rare events: their variance is their mean.
        let deviation = (before / sent(old) + now / sent(new)).sqrt();
        // One wrong reply is not chance: a right server never gives it.
        let is_apart = if is_wrong { now != before } else { (now - before).abs() > DEVIATIONS * deviation };
        let change = if before > 0.0 { (now - before) / before } else { now * f64::INFINITY };
        let judged = if now == before { Judged::Noise } else { judgement(change, is_apart, allowed) };
        Figure { name: name.to_owned(), unit: Unit::Share, old: Some(before), new: Some(now), judged }
    })
}

/// A figure without a measure of chance: what is below the allowed change is noise.
fn judged(
    name: &str,
    unit: Unit,
    allowed: f64,
    of: impl Fn(&Report) -> Option<f64>,
    old: &Report,
    new: &Report,
) -> Figure {
    let mut figure =
        Figure { name: name.to_owned(), unit, old: of(old), new: of(new), judged: Judged::Unknown };
    if let Some(change) = figure.change() {
        let worse = match unit {
            Unit::Time | Unit::Share => change,
            Unit::Rate => -change,
        };
        figure.judged = judgement(worse, change.abs() > allowed, allowed);
    }
    figure
}

/// `worse` is the share by which it is worse, negative if it is better.
fn judgement(worse: f64, is_apart: bool, allowed: f64) -> Judged {
    match (is_apart, worse) {
        (false, _) => Judged::Noise,
        (true, worse) if worse > allowed => Judged::Regressed,
        (true, worse) if worse > 0.0 => Judged::Worse,
        (true, _) => Judged::Better,
    }
}
