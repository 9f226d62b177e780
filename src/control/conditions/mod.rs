//! What can be wrong with a server, as data: which figures show it, what it means, what to do.
//!
//! One table for all: the dashboard's verdict is made of it, and so are docs/OPERATIONS.md and the alerts, which tests
//! hold to it.
//!
//! Always holds: what a rule looks at are series of `/metrics`, so whoever scrapes them can judge as we do. Never: a look
//! at the server itself.

mod judge;
mod rules;

pub(super) use judge::{Held, Judge};
pub use rules::RULES;

use std::fmt::Write as _;

/// Name and labels of series that are added up.
pub type Series = (&'static str, &'static [(&'static str, &'static str)]);

/// Something that two scrapes show as one number.
#[derive(Clone, Copy, Debug)]
pub enum Sign {
    /// How fast a counter grows, a second.
    Rate(Series),
    /// A gauge of now: the largest, if there are several.
    Now(Series),
    /// The smallest of some gauges now, which is wrong if it is too little.
    Lowest(Series),
    /// A gauge as a part of another one, now.
    Share(Series, Series),
    /// The same, and less than so much, from where on another rule holds.
    ShareBelow(Series, Series, f64),
    /// How much a counter has grown in ten minutes, or since the first look.
    Grown(Series),
    /// How often something took longer than a bound of its histogram, a second: name without ending, bound in seconds.
    Slower(&'static str, &'static str),
}

/// One thing that can be wrong.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// What it is called.
    pub name: &'static str,
    /// Each with the bound from which on it shows; one suffices.
    pub signs: &'static [(Sign, f64)],
    /// What is going on.
    pub meaning: &'static str,
    /// What an on-call does.
    pub action: &'static str,
    /// How long it must last before somebody is told, in Prometheus' words.
    pub patience: &'static str,
    /// `page`: peers suffer now, somebody is woken. `ticket`: on the next morning.
    pub severity: &'static str,
}

impl Sign {
    /// Whether so much, or so little, shows what is wrong.
    pub fn is_shown(&self, bound: f64, seen: f64) -> bool {
        match *self {
            Sign::Lowest(_) => seen <= bound,
            Sign::ShareBelow(_, _, most) => (bound..most).contains(&seen),
            Sign::Rate(_) | Sign::Now(_) | Sign::Share(_, _) | Sign::Grown(_) | Sign::Slower(_, _) => {
                seen >= bound
            }
        }
    }

    /// What it looks at and the bound from which on it shows, for people: names stand in backticks.
    pub fn words(&self, bound: f64) -> String {
        let code = |series: &Series| format!("`{}`", selector(series));
        match self {
            Sign::Rate(series) => format!("{} grows by {bound} a second", code(series)),
            Sign::Now(series) => format!("{} is {bound} or more", code(series)),
            Sign::Lowest(series) => format!("{} is {bound} or less", code(series)),
            Sign::Share(part, whole) => format!("{} is {bound} of {} or more", code(part), code(whole)),
            Sign::ShareBelow(part, whole, most) => {
                format!("{} is {bound} to {most} of {}", code(part), code(whole))
            }
            Sign::Grown(series) => format!("{} has grown within ten minutes", code(series)),
            Sign::Slower(name, le) => format!("`{name}` is above {le} for {bound} a second"),
        }
    }

    /// The series that it looks at, by their names.
    pub fn names(&self) -> Vec<String> {
        match self {
            Sign::Rate((name, _))
            | Sign::Now((name, _))
            | Sign::Lowest((name, _))
            | Sign::Grown((name, _)) => {
                vec![(*name).to_owned()]
            }
            Sign::Share((part, _), (whole, _)) | Sign::ShareBelow((part, _), (whole, _), _) => {
                vec![(*part).to_owned(), (*whole).to_owned()]
            }
            Sign::Slower(name, _) => vec![format!("{name}_count"), format!("{name}_bucket")],
        }
    }
}

/// Series as they are asked for in PromQL.
pub fn selector((name, labels): &Series) -> String {
    let mut out = (*name).to_owned();
    for (at, (label, value)) in labels.iter().enumerate() {
        let before = if at == 0 { '{' } else { ',' };
        let _ = write!(out, "{before}{label}=\"{value}\"");
    }
    if !labels.is_empty() {
        out.push('}');
    }
    out
}
