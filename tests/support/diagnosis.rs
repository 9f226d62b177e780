//! What is wrong with a server, from two scrapes of `/metrics` and nothing else, by the library's table of rules.
//!
//! The same table is docs/OPERATIONS.md for people and docs/operate/alerts.yml for Prometheus; tests hold the three
//! together.
//!
//! Always holds: what a rule looks at is named in it. Never: a look at the server itself, or the server's own judge, so that
//! both can't be wrong in the same way.

use super::exposition::Exposition;
use std::fmt::Write;
pub use tidegate::control::conditions::{RULES, Rule, Sign, selector};

/// What no scrape of a server shows, since it is about the scrapes: for Prometheus alone.
#[derive(Clone, Copy, Debug)]
pub struct Outside {
    pub name: &'static str,
    pub promql: &'static str,
    pub seen_by: &'static str,
    pub meaning: &'static str,
    pub action: &'static str,
    pub patience: &'static str,
    pub severity: &'static str,
}

/// The name of a server with which nothing is wrong.
pub const HEALTHY: &str = "healthy";

/// All of those.
pub const OUTSIDE: &[Outside] = &[
    Outside {
        name: "down",
        promql: "up{job=\"tidegate\"} == 0",
        seen_by: "`up` of its job is 0",
        meaning: "Nobody answers at the admin port: the process is gone, or the port can't be reached.",
        action: "`systemctl status tidegate` and the last lines of the log; the exit code says why it ended. If it runs and \
                 serves, look at `admin.address` and at what is between.",
        patience: "1m",
        severity: "page",
    },
    Outside {
        name: "restarting",
        promql: "max by (job, instance) (resets(tidegate_uptime_seconds[15m])) >= 3",
        seen_by: "`tidegate_uptime_seconds` begins anew 3 times in 15 minutes",
        meaning: "The process ends and is started again and again.",
        action: "The last lines of each process in the log, and its exit code: 70 is a loop that died, 69 an address that can't \
                 be had, 2 the configuration; none at all is a kill, of the kernel for memory or of a watchdog.",
        patience: "0m",
        severity: "page",
    },
];

/// The names of what two texts show, the earlier one first. Nothing wrong is [`HEALTHY`].
pub fn diagnose(before: &str, after: &str) -> Vec<&'static str> {
    let read = |text| Exposition::parse(text).unwrap_or_else(|wrong| panic!("{wrong}"));
    let (before, after) = (read(before), read(after));
    let shown = RULES
        .iter()
        .filter(|rule| rule.signs.iter().any(|(sign, bound)| sign.is_shown_between(*bound, &before, &after)));
    let names: Vec<_> = shown.map(|rule| rule.name).collect();
    if names.is_empty() { vec![HEALTHY] } else { names }
}

/// What tests make of a sign.
pub trait Judged {
    /// What it is between these two. `None` if this system does not tell, or there is nothing to be a part of.
    fn between(&self, before: &Exposition, after: &Exposition) -> Option<f64>;

    /// Whether that is so much, or so little, that it shows what is wrong.
    fn is_shown_between(&self, bound: f64, before: &Exposition, after: &Exposition) -> bool;

    /// The same in PromQL, over a minute or ten, by instance.
    fn promql(&self, bound: f64) -> String;
}

impl Judged for Sign {
    fn between(&self, before: &Exposition, after: &Exposition) -> Option<f64> {
        let seconds =
            sum(after, ("tidegate_uptime_seconds", &[]))? - sum(before, ("tidegate_uptime_seconds", &[]))?;
        let rate = |series| Some((sum(after, series)? - sum(before, series)?) / seconds);
        match *self {
            Sign::Rate(series) => rate(series),
            Sign::Now((name, labels)) => after.matching(name, labels).into_iter().reduce(f64::max),
            Sign::Lowest((name, labels)) => after.matching(name, labels).into_iter().reduce(f64::min),
            Sign::Grown(series) => Some(sum(after, series)? - sum(before, series)?),
            Sign::Share(part, whole) | Sign::ShareBelow(part, whole, _) => {
                Some(sum(after, part)? / sum(after, whole)?).filter(|share| share.is_finite())
            }
            Sign::Slower(name, le) => {
                let slower = |scrape| {
                    let all = sum(scrape, (&format!("{name}_count"), &[]))?;
                    Some(all - sum(scrape, (&format!("{name}_bucket"), &[("le", le)]))?)
                };
                Some((slower(after)? - slower(before)?) / seconds)
            }
        }
    }

    fn is_shown_between(&self, bound: f64, before: &Exposition, after: &Exposition) -> bool {
        self.between(before, after).is_some_and(|seen| match *self {
            Sign::Lowest(_) => seen <= bound,
            Sign::ShareBelow(_, _, most) => (bound..most).contains(&seen),
            Sign::Rate(_) | Sign::Now(_) | Sign::Share(_, _) | Sign::Grown(_) | Sign::Slower(_, _) => {
                seen >= bound
            }
        })
    }

    fn promql(&self, bound: f64) -> String {
        let by = |how: &str, what: String| format!("{how} by (job, instance) ({what})");
        let share = |part, whole| format!("{} / {}", by("sum", selector(part)), by("sum", selector(whole)));
        match self {
            Sign::Rate(series) => {
                format!("({}) >= {bound}", by("sum", format!("rate({}[1m])", selector(series))))
            }
            Sign::Now(series) => format!("({}) >= {bound}", by("max", selector(series))),
            Sign::Lowest(series) => format!("({}) <= {bound}", by("min", selector(series))),
            Sign::Share(part, whole) => format!("({}) >= {bound}", share(part, whole)),
            Sign::ShareBelow(part, whole, most) => format!("({}) >= {bound} < {most}", share(part, whole)),
            Sign::Grown(series) => {
                format!("({}) >= {bound}", by("sum", format!("increase({}[10m])", selector(series))))
            }
            Sign::Slower(name, le) => {
                let all = by("sum", format!("rate({name}_count[1m])"));
                let quick = by("sum", format!("rate({name}_bucket{{le=\"{le}\"}}[1m])"));
                format!("({all} - {quick}) >= {bound}")
            }
        }
    }
}

/// A rule's row in docs/OPERATIONS.md.
pub fn row(rule: &Rule) -> String {
    let signs: Vec<_> = rule.signs.iter().map(|(sign, bound)| sign.words(*bound)).collect();
    format!("| `{}` | {} | {} {} |", rule.name, signs.join(", or "), rule.meaning, rule.action)
}

impl Outside {
    /// Its row in docs/OPERATIONS.md.
    pub fn row(&self) -> String {
        format!("| `{}` | {} | {} {} |", self.name, self.seen_by, self.meaning, self.action)
    }
}

/// The whole of docs/operate/alerts.yml.
pub fn alerts() -> String {
    let mut out = String::from(
        "# Alerting rules for Prometheus: the conditions of docs/OPERATIONS.md. What to do about each: RUNBOOK.md beside it.\n\
         # severity: page, since peers suffer now; ticket, since somebody should look at it soon.\n\
         groups:\n  - name: tidegate\n    rules:\n",
    );
    for rule in RULES {
        let signs = rule.signs.iter().map(|(sign, bound)| sign.promql(*bound));
        let expression = signs.collect::<Vec<_>>().join("\n          or ");
        let told = [rule.patience, rule.severity, rule.meaning, rule.action];
        write_alert(&mut out, rule.name, &expression, told);
    }
    for rule in OUTSIDE {
        let told = [rule.patience, rule.severity, rule.meaning, rule.action];
        write_alert(&mut out, rule.name, rule.promql, told);
    }
    out
}

fn write_alert(out: &mut String, name: &str, expression: &str, told: [&str; 4]) {
    let [patience, severity, meaning, action] = told;
    let _ = write!(
        out,
        "      - alert: {}\n        expr: |-\n          {expression}\n        for: {patience}\n        labels:\n          \
         severity: {severity}\n        annotations:\n          summary: \"{{{{ $labels.instance }}}}: {meaning}\"\n          \
         description: \"{action}\"\n          runbook_url: \"docs/operate/RUNBOOK.md#{name}\"\n",
        alert_name(name),
    );
}

/// The name of the alert for a rule.
pub fn alert_name(name: &str) -> String {
    format!("Tidegate{}", camel_case(name))
}

/// Alerts are named so.
fn camel_case(name: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('_').map(capital).collect()
}

fn sum(scrape: &Exposition, (name, labels): (&str, &[(&str, &str)])) -> Option<f64> {
    scrape.matching(name, labels).into_iter().reduce(|sum, more| sum + more)
}
