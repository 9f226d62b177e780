use crate::load;

#[path = "../../../tests/support/reports.rs"]
mod reports;

use super::diff::diff;
use super::table::table;
use load::compare::compare;

fn width_of(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

#[test]
fn tables_are_narrow_and_say_nothing_twice() {
    for (name, report, _) in reports::all() {
        let text = table(&report, false);
        assert!(width_of(&text) <= 80, "{name} is {} columns wide:\n{text}", width_of(&text));
        assert!(text.lines().count() <= 40, "{name} is long:\n{text}");
        assert!(!text.contains(['\x1b', '\t']) && !text.contains("\n\n\n"), "{name}:\n{text}");
        assert!(!text.contains("NaN") && !text.contains("inf "), "{name}:\n{text}");
        assert!(
            text.lines().all(|line| line == line.trim_end()),
            "{name} has spaces at a line's end:\n{text}"
        );
    }
}

/// What a run was, and how its table begins.
#[test]
fn what_matters_most_stands_first() {
    #[rustfmt::skip]
    let table_of: &[(load::report::Report, &str)] = &[
        (reports::normal(), "open loop at 50k/s to 127.0.0.1:7411, poisson arrivals, 64 connections"),
        (reports::void(),   "VOID: The load generator was the limit: these figures say nothing about the\nserver.\n  - own lateness"),
        (reports::closed(), "Closed loop: each request waited for the reply before it, so these are service\n"),
        (reports::wrong(),  "WRONG REPLIES: "),
        (reports::failed(), "NO CONNECTION: "),
    ];
    for (report, want) in table_of {
        let text = table(report, false);
        assert!(text.starts_with(want), "{text}");
    }
}

/// A run, and the lines that its table has.
#[test]
fn figures_stand_in_their_rows() {
    #[rustfmt::skip]
    let table_of: &[(load::report::Report, &[&str])] = &[
        (reports::normal(),   &["rate       50,000/s answered of 50,000/s due", "holds      p99.9<5ms: p99.9 is 864 µs", "  ± 95 %        400 ns     900 ns"]),
        (reports::void(),     &["dropped    123,000 that were due were never sent (8.20 %)", "FAILS      p99.9<5ms"]),
        (reports::search(),   &["search     p99<2ms holds up to 132,500/s (3 of 3 tries), and not at 135,000/s"]),
        (reports::floor(),    &["over floor p50 1.14× (1.10–1.18), p99 1.22×"]),
        (reports::impaired(), &["above: 59 sound connections; below: the impaired ones\nslow ", "\nreset          62.0 µs    87.0 µs          –", "failures   1,180 OVERLOADED, 24 LATE"]),
        (reports::wrong(),    &["wrong      17 reply with wrong content, 3 reply with wrong crc\nerrors     2 answered with"]),
        (reports::tiny(),     &["response       71.0 µs          –", "– too few samples", "unclear    p99.9<5ms"]),
    ];
    for (report, wants) in table_of {
        let text = table(report, false);
        for want in *wants {
            assert!(text.contains(want), "{want:?} is not in\n{text}");
        }
    }
}

#[test]
fn colours_change_nothing_but_colours() {
    for (name, report, _) in reports::all() {
        let (plain, coloured) = (table(&report, false), table(&report, true));
        assert!(coloured.contains("\x1b["), "{name} has no colour");
        let mut bare = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once("\x1b[") {
            bare.push_str(before);
            rest = after.split_once('m').map_or("", |(_, rest)| rest);
        }
        bare.push_str(rest);
        assert_eq!(bare, plain, "{name}");
    }
}

#[test]
fn a_comparison_ends_with_its_answer() {
    let (old, mut new) = (reports::normal(), reports::baseline());
    let text = |old: &load::report::Report, new: &load::report::Report| {
        let comparison = compare(old, new, 0.05).expect("they ask the same");
        let text = diff(("old.json", old), ("new.json", new), &comparison, false);
        assert!(width_of(&text) <= 80, "{text}");
        text
    };
    new.host.processors = 64;
    let worse = text(&old, &new);
    for want in [
        "old  old.json, begun 2026-11-23 02:57:14 UTC\nnew  new.json, begun 2026-11-20 02:57:14 UTC\nopen loop at 50k/s",
        "\nunfair? another machine: ",
        "\nresponse p50           65.7 µs       74.9 µs       +14.0 %   REGRESSED\n",
        "\nrate                  50,000/s      50,000/s        +0.0 %   noise\n",
        "\n\nREGRESSED: 6 figures are worse by more than 5 %\n",
    ] {
        assert!(worse.contains(want), "{want:?} is not in\n{worse}");
    }
    assert!(!worse.contains("errors"), "{worse}");
    assert!(text(&new, &old).ends_with("\n\nno figure is worse by more than 5 %, noise aside\n"));
}
