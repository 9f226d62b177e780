//! What `--assert` and `--find-max` demand of a run: `p99<2ms,errors=0`.
//!
//! ```text
//!   p50 .. p99.999 | mean | max     < <= >= >      2ms        response times; service.p99, lag.max: the others
//!   errors | wrong | crc | dropped  < <= = >= >    0  0.01%   counts, or shares of what was sent
//!   rate                            < <= >= >      40k        replies a second
//!   achieved                        < <= >= >      99%        sent of scheduled
//!   cpu                             < <= >= >      3us        processor time of the server, a reply
//! ```
//!
//! Always holds: each part is judged by one figure of the [`Report`], and the text says which. Never: a guess. Where
//! samples or figures are missing, a part neither holds nor fails, and the text says what is needed.

use super::histogram::Histogram;
use super::report::{Assertion, Report, Trouble};
use super::units::{number, rate, seconds, share, whole};
use super::words;
use std::fmt;

/// The most parts that a condition may have.
pub const PARTS_MAX: usize = 32;

const NAMES: &str = "p50 to p99.999, mean, max (service.p99 and lag.p99 too), errors, wrong, dropped, unanswered, \
                     rate, achieved, cpu, or an error such as timeout or reset";

/// A condition: parts that must all hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
struct Part {
    /// As it was given, without spaces.
    text: String,
    /// The quantity's name in it.
    name: String,
    quantity: Quantity,
    operator: Operator,
    limit: Limit,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Quantity {
    Time(Times, Figure),
    Count(Counted),
    Rate,
    Achieved,
    Cpu,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Times {
    Response,
    Service,
    Lag,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Figure {
    Percentile(f64),
    Mean,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Counted {
    Errors,
    Wrong,
    One(Trouble),
    Dropped,
    Unanswered,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Less,
    AtMost,
    Equal,
    AtLeast,
    More,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    Ns(f64),
    Count(f64),
    /// Of 1.
    Share(f64),
    PerSecond(f64),
}

/// A part's figure in a report: the number, and how it reads. Or why there is none.
type Found = Result<(f64, String), String>;

impl Condition {
    /// Reads one part or several with commas between: `p99<2ms,errors=0`.
    ///
    /// # Errors
    ///
    /// What is wrong with it and what to write instead, in one line.
    pub fn parse(text: &str) -> Result<Condition, String> {
        let count = text.split(',').count();
        if count > PARTS_MAX {
            return Err(format!("{count} conditions are more than {PARTS_MAX}; leave some out"));
        }
        Ok(Condition { parts: text.split(',').map(Part::parse).collect::<Result<_, _>>()? })
    }

    /// Every part, judged by what the run gave.
    pub fn judge(&self, report: &Report) -> Vec<Assertion> {
        self.parts.iter().map(|part| part.judge(report)).collect()
    }

    /// Whether all of it held, and the figures that say so: those that failed or are missing, else all.
    pub fn outcome(&self, report: &Report) -> (bool, String) {
        let judged = self.judge(report);
        let is_held = judged.iter().all(|part| part.held == Some(true));
        let told = judged.iter().filter(|part| is_held || part.held != Some(true));
        (is_held, told.map(|part| part.found.as_str()).collect::<Vec<_>>().join(", "))
    }

    /// Samples that it needs for its percentiles; 0 if it has none.
    pub fn samples_needed(&self) -> u64 {
        let needed = |part: &Part| match part.quantity {
            Quantity::Time(_, Figure::Percentile(percentile)) => Histogram::samples_for(percentile),
            Quantity::Time(_, Figure::Mean | Figure::Max)
            | Quantity::Count(_)
            | Quantity::Rate
            | Quantity::Achieved
            | Quantity::Cpu => 0,
        };
        self.parts.iter().map(needed).max().unwrap_or(0)
    }

    /// Whether a part can only be judged with the server's process known (`--pid`).
    pub fn wants_server_process(&self) -> bool {
        self.parts.iter().any(|part| part.quantity == Quantity::Cpu)
    }

    /// Whether a part can only be judged in an open loop (`--rate`).
    pub fn wants_open_loop(&self) -> bool {
        let is_scheduled = |quantity| match quantity {
            Quantity::Achieved | Quantity::Time(Times::Lag, _) => true,
            Quantity::Time(Times::Response | Times::Service, _)
            | Quantity::Count(_)
            | Quantity::Rate
            | Quantity::Cpu => false,
        };
        self.parts.iter().any(|part| is_scheduled(part.quantity))
    }
}

/// As it was given, without spaces.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.parts.iter().map(|part| part.text.as_str()).collect();
        f.write_str(&texts.join(","))
    }
}

impl Part {
    fn parse(text: &str) -> Result<Part, String> {
        let text: String = text.chars().filter(|character| !character.is_whitespace()).collect();
        let is_operator = |character: char| "<=>".contains(character);
        let Some(begin) = text.find(is_operator) else {
            return Err(format!("`{text}` is no condition; write one as p99<2ms or errors=0"));
        };
        let rest = &text[begin..];
        let (operator, limit) = rest.split_at(rest.find(|c| !is_operator(c)).unwrap_or(rest.len()));
        let name = &text[..begin];
        let quantity = Quantity::parse(name)?;
        let operator = Operator::parse(operator)?;
        if operator == Operator::Equal && !matches!(quantity, Quantity::Count(_)) {
            return Err(format!("`{text}` asks for an exact figure, which no run gives; use < or >"));
        }
        let limit = quantity.limit(name, limit)?;
        Ok(Part { name: name.to_owned(), quantity, operator, limit, text })
    }

    fn judge(&self, report: &Report) -> Assertion {
        let (held, found) = match self.quantity.find(&self.name, self.limit, report) {
            Ok((figure, text)) => {
                let is_held = self.operator.holds(figure, self.limit.number());
                (Some(is_held), self.told_apart(is_held, figure, text))
            }
            Err(why) => (None, why),
        };
        Assertion { text: self.text.clone(), held, found }
    }

    /// A figure that reads like the limit that it breaks is told with all its digits.
    fn told_apart(&self, is_held: bool, figure: f64, text: String) -> String {
        let is_alike = match self.limit {
            Limit::Ns(limit) => words::time(figure) == words::time(limit),
            Limit::PerSecond(limit) => words::rate(figure) == words::rate(limit),
            Limit::Share(limit) => words::percent(figure) == words::percent(limit),
            Limit::Count(_) => false,
        };
        if is_held || !is_alike || figure == self.limit.number() {
            return text;
        }
        match self.limit {
            Limit::Ns(_) => format!("{text} ({} ns)", words::count(whole(figure))),
            Limit::PerSecond(_) => format!("{text} ({figure:.3}/s)"),
            Limit::Share(_) => format!("{text} ({:.6} %)", figure * 100.0),
            Limit::Count(_) => text,
        }
    }
}

impl Quantity {
    fn parse(name: &str) -> Result<Quantity, String> {
        let (times, figure) = match name.split_once('.') {
            Some(("service", figure)) => (Times::Service, figure),
            Some(("lag", figure)) => (Times::Lag, figure),
            Some(("response", figure)) => (Times::Response, figure),
            Some(_) | None => (Times::Response, name),
        };
        if let Some(figure) = Figure::parse(figure)? {
            return Ok(Quantity::Time(times, figure));
        }
        let one = || Trouble::ALL.iter().find(|trouble| key(**trouble) == name);
        match name {
            "errors" => Ok(Quantity::Count(Counted::Errors)),
            "wrong" => Ok(Quantity::Count(Counted::Wrong)),
            "dropped" => Ok(Quantity::Count(Counted::Dropped)),
            "unanswered" => Ok(Quantity::Count(Counted::Unanswered)),
            "rate" => Ok(Quantity::Rate),
            "achieved" => Ok(Quantity::Achieved),
            "cpu" => Ok(Quantity::Cpu),
            _ => match one() {
                Some(trouble) => Ok(Quantity::Count(Counted::One(*trouble))),
                None => Err(format!("`{name}` is no figure of a run; there are {NAMES}")),
            },
        }
    }

    fn limit(self, name: &str, text: &str) -> Result<Limit, String> {
        let (limit, advice) = match self {
            Quantity::Time(..) | Quantity::Cpu => {
                (seconds(text).map(|s| Limit::Ns((s * 1e9).round())), "a time such as 250us, 2ms or 1s")
            }
            Quantity::Count(_) => (
                share(text).map(Limit::Share).or_else(|| rate(text).map(Limit::Count)),
                "a count such as 0, or a \
                 share of what was sent such as 0.01%",
            ),
            Quantity::Rate => (rate(text).map(Limit::PerSecond), "replies a second such as 500, 40k or 1.5M"),
            Quantity::Achieved => (share(text).map(Limit::Share), "a share such as 99%"),
        };
        limit.ok_or_else(|| format!("`{name}` is compared with {advice}; `{text}` is none"))
    }

    fn find(self, name: &str, limit: Limit, report: &Report) -> Found {
        match self {
            Quantity::Time(times, figure) => {
                let ns = figure.find(name, times.of(report)?)?;
                Ok((ns, format!("{name} is {}", words::time(ns))))
            }
            Quantity::Count(counted) => counted.find(name, limit, report),
            Quantity::Rate => {
                let rate = words::answered_a_second(report);
                let rate = rate.ok_or("rate is unknown: no time was measured; raise --duration")?;
                Ok((rate, format!("rate is {}", words::rate(rate))))
            }
            Quantity::Achieved => {
                let achieved = report.verdict.own.achieved;
                let achieved = achieved.ok_or("achieved is unknown in a closed loop; give it a --rate")?;
                Ok((achieved, format!("achieved is {}", words::percent(achieved))))
            }
            Quantity::Cpu => {
                let server =
                    report.server.as_ref().ok_or("cpu is unknown; name the server's process by --pid")?;
                let ns = server.cpu_ns_per_message;
                Ok((ns, format!("cpu is {} a message", words::time(ns))))
            }
        }
    }
}

impl Times {
    fn of(self, report: &Report) -> Result<&Histogram, String> {
        let plain = words::plain(report).ok_or("no times were measured; raise --duration")?;
        Ok(match self {
            Times::Response => &plain.response,
            Times::Service => &plain.service,
            Times::Lag => &plain.lag,
        })
    }
}

impl Figure {
    /// Absent if the name is that of another quantity.
    fn parse(name: &str) -> Result<Option<Figure>, String> {
        match name {
            "mean" => return Ok(Some(Figure::Mean)),
            "max" => return Ok(Some(Figure::Max)),
            _ => {}
        }
        let Some(percentile) = name.strip_prefix('p').and_then(number) else { return Ok(None) };
        if percentile > 0.0 && percentile < 100.0 {
            Ok(Some(Figure::Percentile(percentile)))
        } else {
            Err(format!(
                "`{name}` is no percentile: they lie above p0 and below p100; the longest time is `max`"
            ))
        }
    }

    /// In nanoseconds.
    fn find(self, name: &str, times: &Histogram) -> Result<f64, String> {
        let none = || format!("{name} is unknown: there are no samples");
        match self {
            Figure::Mean => times.mean().ok_or_else(none),
            Figure::Max => times.max().map(|ns| ns as f64).ok_or_else(none),
            Figure::Percentile(percentile) => {
                let ns = times.percentile(percentile).map(|ns| ns as f64);
                ns.ok_or_else(|| {
                    let needed = words::counted(Histogram::samples_for(percentile), "sample");
                    format!(
                        "{name} needs {needed}, and there are {}; raise --duration",
                        words::count(times.count())
                    )
                })
            }
        }
    }
}

impl Counted {
    fn find(self, name: &str, limit: Limit, report: &Report) -> Found {
        let sum = |counts: &dyn Fn(Trouble) -> bool| -> u64 {
            report.troubles.iter().filter(|(trouble, _)| counts(**trouble)).map(|(_, count)| count).sum()
        };
        let count = match self {
            Counted::Errors => sum(&|_| true),
            Counted::Wrong => sum(&Trouble::is_wrong),
            Counted::One(one) => sum(&|trouble| trouble == one),
            Counted::Dropped => report.counts.dropped,
            Counted::Unanswered => report.counts.unanswered,
        };
        let (all, of) = match self {
            Counted::Dropped => (report.counts.scheduled, "scheduled"),
            Counted::Errors | Counted::Wrong | Counted::One(_) | Counted::Unanswered => {
                (report.counts.sent, "sent")
            }
        };
        match limit {
            Limit::Share(_) if all == 0 => Err(format!("{name} has no share: nothing was {of}")),
            Limit::Share(_) => {
                let share = count as f64 / all as f64;
                let (count, all) = (words::count(count), words::count(all));
                Ok((share, format!("{name}: {} ({count} of {all} {of})", words::percent(share))))
            }
            Limit::Ns(_) | Limit::Count(_) | Limit::PerSecond(_) => {
                Ok((count as f64, format!("{name}: {}", words::count(count))))
            }
        }
    }
}

impl Operator {
    fn parse(text: &str) -> Result<Operator, String> {
        match text {
            "<" => Ok(Operator::Less),
            "<=" => Ok(Operator::AtMost),
            "=" => Ok(Operator::Equal),
            ">=" => Ok(Operator::AtLeast),
            ">" => Ok(Operator::More),
            _ => Err(format!("`{text}` compares nothing; write <, <=, =, >= or >")),
        }
    }

    fn holds(self, figure: f64, limit: f64) -> bool {
        match self {
            Operator::Less => figure < limit,
            Operator::AtMost => figure <= limit,
            Operator::Equal => figure == limit,
            Operator::AtLeast => figure >= limit,
            Operator::More => figure > limit,
        }
    }
}

impl Limit {
    const fn number(self) -> f64 {
        match self {
            Limit::Ns(number) | Limit::Count(number) | Limit::Share(number) | Limit::PerSecond(number) => {
                number
            }
        }
    }
}

/// The name of a trouble in conditions and in a report's file, such as `out_of_order`.
fn key(trouble: Trouble) -> String {
    serde_json::to_value(trouble).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}
