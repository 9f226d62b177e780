//! A diagnosis for people, and for programs.
//!
//! Always holds: no line of text is wider than [`WIDTH`], but those that are to be copied; both say the same. Never: a
//! meaning that only a colour has.

use super::facts::UNLIMITED;
use super::judge::{Diagnosis, Finding, Verdict, amount};
use super::wants::{KERNEL_BYTES, KERNEL_PAGES_BUSY, Wants};
use crate::cli::bench::paint::{Ink, Paint, wrapped};
use crate::load::words::{bytes, count};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Columns of a terminal that most people have.
const WIDTH: usize = 100;

/// Columns in front of what was found: verdict, connections, name.
const FRONT: usize = 2 + 5 + 13 + 2 + 16 + 2;

/// As text.
pub(super) fn text(found: &Diagnosis, wants: &Wants, page_bytes: u64, in_colour: bool) -> String {
    let paint = Paint { in_colour };
    let mut out = head(found, wants, paint);
    let own = wants.own_bytes();
    let busy = own + KERNEL_BYTES + KERNEL_PAGES_BUSY * page_bytes;
    let _ = writeln!(
        out,
        "  server  {} event loop{}, {} for buffers, {} descriptors of its own",
        wants.shards,
        if wants.shards == 1 { "" } else { "s" },
        bytes(wants.budget_bytes),
        wants.kept()
    );
    let _ = writeln!(
        out,
        "  each    {} of the server and {} of the kernel when idle, {} in all when busy\n",
        bytes(own),
        bytes(KERNEL_BYTES),
        bytes(busy)
    );
    let _ = writeln!(out, "         connections  {:<16}  found", "limit");
    found.limits.iter().for_each(|finding| row(&mut out, finding, paint));
    out.push('\n');
    found.conditions.iter().for_each(|finding| row(&mut out, finding, paint));
    what_to_do(&mut out, found, paint);
    out
}

fn head(found: &Diagnosis, wants: &Wants, paint: Paint) -> String {
    let carried = amount(found.carried);
    let next =
        format!("{} {} the first limit", found.first, if found.first.ends_with('s') { "are" } else { "is" });
    let what = match wants.connections {
        Some(wanted) => format!("{} connections ({})", count(wanted), wants.said_by),
        None => format!("max_connections is auto, {} here", count(found.goal)),
    };
    let is_short = found.carried < found.goal;
    let (ink, answer) = match (found.is_met(), is_short) {
        (true, false) if wants.connections.is_none() => (Ink::Good, "yes".to_owned()),
        (true, false) => (Ink::Good, format!("yes; {next}, at {carried}")),
        // Nobody has asked for so many.
        (true, true) => (Ink::Strong, format!("{carried} fit; {next}")),
        (false, true) => (Ink::Bad, format!("no, {carried} fit; {next}")),
        (false, false) => (Ink::Bad, "no, the server can't start; see below".to_owned()),
    };
    format!("{what}: {}\n", paint.text(ink, &answer))
}

fn row(out: &mut String, finding: &Finding, paint: Paint) {
    let connections = finding.connections.map_or(String::new(), amount);
    let verdict = paint.text(ink(finding.verdict), &format!("{:<5}", finding.verdict.word()));
    let mut lines = wrapped(&finding.found, WIDTH - FRONT).into_iter();
    let first = lines.next().unwrap_or_default();
    let _ = writeln!(out, "  {verdict}{connections:>13}  {:<16}  {first}", finding.name);
    lines.for_each(|line| {
        let _ = writeln!(out, "{:FRONT$}{line}", "");
    });
}

const fn ink(verdict: Verdict) -> Ink {
    match verdict {
        Verdict::Ok => Ink::Plain,
        Verdict::Warns => Ink::Strong,
        Verdict::Stops => Ink::Bad,
    }
}

/// What is short, what follows, and the lines that change it, in the order of the table; what stops comes first.
fn what_to_do(out: &mut String, found: &Diagnosis, paint: Paint) {
    for (verdict, title) in [(Verdict::Stops, "what stops it"), (Verdict::Warns, "what could be better")] {
        let those: Vec<&Finding> = found.all().filter(|finding| finding.verdict == verdict).collect();
        if those.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\n{}", paint.text(ink(verdict), title));
        for finding in those {
            let _ = writeln!(out, "  {}: {}", finding.name, finding.so);
            finding.raise.iter().for_each(|line| {
                let _ = writeln!(out, "      {line}");
            });
        }
    }
    let mut raised = found.all().flat_map(|finding| &finding.raise);
    if raised.any(|line| line.starts_with("sysctl -w ")) {
        out.push_str(
            "\nWhat sysctl -w sets is gone after a boot; /etc/sysctl.d/90-tidegate.conf keeps such lines.\n",
        );
    }
}

/// As one object of JSON.
pub(super) fn json(found: &Diagnosis, wants: &Wants) -> String {
    let of = |finding: &Finding| {
        json!({
            "name": finding.name,
            "connections": finding.connections.and_then(number),
            "verdict": finding.verdict.word(),
            "found": finding.found,
            "so": finding.so,
            "raise": finding.raise,
        })
    };
    let whole = json!({
        "wanted": wants.connections,
        "goal": found.goal,
        "met": found.is_met(),
        "carried": number(found.carried),
        "first": found.first,
        "loops": wants.shards,
        "kept_descriptors": wants.kept(),
        "fixed_bytes": wants.fixed_bytes(),
        "idle_bytes": { "server": wants.own_bytes(), "kernel": KERNEL_BYTES },
        "limits": found.limits.iter().map(of).collect::<Vec<_>>(),
        "conditions": found.conditions.iter().map(of).collect::<Vec<_>>(),
    });
    format!("{whole:#}\n")
}

/// No limit is no number.
fn number(connections: u64) -> Option<Value> {
    (connections != UNLIMITED).then(|| connections.into())
}
