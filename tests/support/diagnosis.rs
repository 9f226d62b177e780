//! What is wrong with a server, from two scrapes of `/metrics` and nothing else, by the library's table of rules.
//!
//! The same table is docs/OPERATIONS.md for people and docs/alerts.yml for Prometheus; tests hold the three together.
//!
//! Always holds: what a rule looks at is named in it. Never: a look at the server itself, or the server's own judge, so that
//! both can't be wrong in the same way.

use super::exposition::Exposition;
use std::fmt::Write;
pub use tidegate::control::conditions::{RULES, Rule, Sign, selector};

/// The name of a server with which nothing is wrong.
pub const HEALTHY: &str = "healthy";

/// The names of what two texts show, the earlier one first. Nothing wrong is [`HEALTHY`].
pub fn diagnose(before: &str, after: &str) -> Vec<&'static str> {
    let read = |text| Exposition::parse(text).unwrap_or_else(|wrong| panic!("{wrong}"));
    let (before, after) = (read(before), read(after));
    let shown = RULES.iter().filter(|rule| {
        rule.signs
            .iter()
            .any(|(sign, least)| between(sign, &before, &after).is_some_and(|seen| seen >= *least))
    });
    let names: Vec<_> = shown.map(|rule| rule.name).collect();
    if names.is_empty() { vec![HEALTHY] } else { names }
}

/// What a sign is between these two. `None` if this system does not tell, or there is nothing to be a part of.
pub fn between(sign: &Sign, before: &Exposition, after: &Exposition) -> Option<f64> {
    let seconds =
        sum(after, ("tidegate_uptime_seconds", &[]))? - sum(before, ("tidegate_uptime_seconds", &[]))?;
    let rate = |series| Some((sum(after, series)? - sum(before, series)?) / seconds);
    match *sign {
        Sign::Rate(series) => rate(series),
        Sign::Now((name, labels)) => after.matching(name, labels).into_iter().reduce(f64::max),
        Sign::Share(part, whole) => {
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

/// The same in PromQL, over a minute, by instance.
pub fn promql(sign: &Sign) -> String {
    match sign {
        Sign::Rate(series) => format!("sum by (job, instance) (rate({}[1m]))", selector(series)),
        Sign::Now(series) => format!("max by (job, instance) ({})", selector(series)),
        Sign::Share(part, whole) => {
            let [part, whole] =
                [part, whole].map(|series| format!("sum by (job, instance) ({})", selector(series)));
            format!("{part} / {whole}")
        }
        Sign::Slower(name, le) => format!(
            "sum by (job, instance) (rate({name}_count[1m])) - \
             sum by (job, instance) (rate({name}_bucket{{le=\"{le}\"}}[1m]))"
        ),
    }
}

/// A rule's row in docs/OPERATIONS.md.
pub fn row(rule: &Rule) -> String {
    let signs: Vec<_> = rule.signs.iter().map(|(sign, least)| sign.words(*least)).collect();
    format!("| `{}` | {} | {} {} |", rule.name, signs.join(", or "), rule.meaning, rule.action)
}

/// The whole of docs/alerts.yml.
pub fn alerts() -> String {
    let mut out = String::from(
        "# Alerting rules for Prometheus: the conditions of docs/OPERATIONS.md, which says what to do.\n\
         groups:\n  - name: tidegate\n    rules:\n",
    );
    for rule in RULES {
        let signs = rule.signs.iter().map(|(sign, least)| format!("({}) >= {least}", promql(sign)));
        let expression = signs.collect::<Vec<_>>().join("\n          or ");
        let _ = write!(
            out,
            "      - alert: Tidegate{}\n        expr: |-\n          {expression}\n        for: {}\n        annotations:\n          \
             summary: \"{{{{ $labels.instance }}}}: {}\"\n          description: \"{}\"\n",
            camel_case(rule.name),
            rule.patience,
            rule.meaning,
            rule.action
        );
    }
    out
}

/// Alerts are named so.
fn camel_case(name: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('_').map(capital).collect()
}

fn sum(scrape: &Exposition, (name, labels): (&str, &[(&str, &str)])) -> Option<f64> {
    scrape.matching(name, labels).into_iter().reduce(|sum, more| sum + more)
}
