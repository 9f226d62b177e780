//! What operators take along fits the server: the dashboard's metrics and labels exist, every alert is tested, and the
//! runbook has an entry for each alert and each close reason, and for nothing else.

#![cfg(all(feature = "admin", feature = "tls"))]

#[path = "support/authority.rs"]
#[allow(dead_code, unreachable_pub, reason = "others use the rest")]
mod authority;
#[path = "operate/promql.rs"]
mod promql;
mod support;

use authority::{Authority, Folder, Wanted};
use promql::{Selector, groups, read};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use support::diagnosis::{OUTSIDE, RULES, alert_name};
use support::exposition::Exposition;
use support::scraper::Scraper;
use support::serving::{Serving, builder};
use tidegate::service::Router;
use tidegate::tls::TlsFiles;
use tidegate::{CloseReason, Listener};

const RUNBOOK: &str = include_str!("../docs/operate/RUNBOOK.md");
const ALERTS: &str = include_str!("../docs/operate/alerts.yml");
const ALERTS_TEST: &str = include_str!("../docs/operate/alerts_test.yml");
const DASHBOARD: &str = include_str!("../docs/operate/grafana.json");
const ADMIN: &str = include_str!("../docs/ADMIN.md");
const OPERATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operate");

/// Labels that Prometheus adds.
const ADDED: [&str; 2] = ["instance", "job"];

/// Units that Grafana knows, as it calls them, and that we use.
const UNITS: [&str; 7] = ["short", "percentunit", "s", "bytes", "Bps", "reqps", "cps"];

/// Families that no panel shows.
const LEFT_OUT: [&str; 0] = [];

/// The figures of a server that has all families: with TLS, and routes with a label.
fn figures() -> Exposition {
    let folder = Folder::new();
    let (cert, key) = Authority::new("test").issue(&Wanted::server()).write(&folder, "server");
    let secure = Listener::frames("127.0.0.1:0").tls(TlsFiles::new(cert, key));
    let builder = builder().listen(secure).expect("good files and a free port").label_routes(1..=1, "echo");
    let serving = Serving::of(builder.shards(1).start(Router::embedded).expect("a server"));
    let now = Scraper::of(&serving).scrape();
    serving.end();
    now
}

/// What is wrong with the use of a series in an expression.
fn mistakes(now: &Exposition, selector: &Selector) -> Vec<String> {
    let Selector { name, matchers } = selector;
    let mut samples = now.samples().filter(|sample| sample.name == *name).peekable();
    if samples.peek().is_none() {
        return vec![format!("there is no {name}")];
    }
    let known: BTreeSet<String> = samples.flat_map(|sample| sample.labels.keys().cloned()).collect();
    let mut wrong = Vec::new();
    for (label, how, values) in matchers.iter().filter(|(label, ..)| !ADDED.contains(&label.as_str())) {
        if !known.contains(label) {
            wrong.push(format!("{name} has no label {label}"));
            continue;
        }
        let there = now.label_values(name, label);
        let values: Vec<&str> = if how.ends_with('~') { values.split('|').collect() } else { vec![values] };
        let gone = values.into_iter().filter(|value| !there.contains(value));
        wrong.extend(gone.map(|value| format!("{name} has no {label}={value}")));
    }
    wrong
}

/// Labels that series of these selectors have.
fn labels_of(now: &Exposition, selectors: &[Selector]) -> BTreeSet<String> {
    let is_named = |name: &str| selectors.iter().any(|selector| selector.name == name);
    let samples = now.samples().filter(|sample| is_named(&sample.name));
    samples.flat_map(|sample| sample.labels.keys().cloned()).chain(ADDED.map(str::to_owned)).collect()
}

#[test]
fn what_is_not_there_is_found() {
    let now = figures();
    #[rustfmt::skip]
    let table: &[(&str, &[&str])] = &[
        (r#"tidegate_requests_ended_total{outcome=~"answered|failed", shard="0"}"#, &[]),
        (r#"rate(tidegate_turn_duration_seconds_bucket{le="0.262144", job="x"}[1m])"#, &[]),
        ("tidegate_nothing_total",                                    &["there is no tidegate_nothing_total"]),
        (r#"tidegate_uptime_seconds{shard="0"}"#,                     &["tidegate_uptime_seconds has no label shard"]),
        (r#"tidegate_connections{state=~"serving|gone"}"#,            &["tidegate_connections has no state=gone"]),
    ];
    for (expression, want) in table {
        let found: Vec<String> = read(expression).iter().flat_map(|one| mistakes(&now, one)).collect();
        assert_eq!(&found, want, "case: {expression}");
    }
    let listened = labels_of(&now, &read("tidegate_listener_connections"));
    assert!(listened.contains("listener") && !listened.contains("shard"), "{listened:?}");
}

fn dashboard() -> Value {
    serde_json::from_str(DASHBOARD).expect("JSON")
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    dashboard["panels"].as_array().expect("panels").iter().collect()
}

/// Title, expression and legend of each query.
fn queries(dashboard: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let each = |panel: &Value| -> Vec<(String, String, String)> {
        let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        let one =
            |target: &Value| (text(&panel["title"]), text(&target["expr"]), text(&target["legendFormat"]));
        targets.iter().map(one).collect()
    };
    panels(dashboard).into_iter().flat_map(each).collect()
}

#[test]
fn the_dashboard_shows_what_is_there_and_all_of_it() {
    let (now, dashboard) = (figures(), dashboard());
    let mut wrong = Vec::new();
    let mut shown = BTreeSet::new();
    let queries = queries(&dashboard);
    assert!(queries.len() > 80, "only {} queries", queries.len());
    for (title, expression, legend) in &queries {
        let selectors = read(expression);
        assert!(!selectors.is_empty(), "{title}: {expression}");
        let mut tell = |what: String| wrong.push(format!("{title}: {what}: {expression}"));
        selectors.iter().flat_map(|selector| mistakes(&now, selector)).for_each(&mut tell);
        for selector in &selectors {
            let is_chosen = |label: &str| {
                selector
                    .matchers
                    .iter()
                    .any(|(name, how, value)| name == label && how == "=~" && *value == format!("${label}"))
            };
            if !ADDED.into_iter().all(is_chosen) {
                tell(format!("{} is of all servers", selector.name));
            }
            shown.insert(selector.name.clone());
        }
        let labels = labels_of(&now, &selectors);
        let grouped = groups(expression);
        grouped.difference(&labels).for_each(|label| tell(format!("nothing has the label {label}")));
        let named = legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
        named.filter(|label| !grouped.contains(*label)).for_each(|label| tell(format!("no legend {label}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let missing: Vec<String> = now
        .families
        .iter()
        .filter(|family| {
            let names: BTreeSet<&str> = family.samples.iter().map(|sample| sample.name.as_str()).collect();
            !names.iter().any(|name| shown.contains(*name)) && !LEFT_OUT.contains(&family.shown().as_str())
        })
        .map(|family| family.shown())
        .collect();
    assert!(missing.is_empty(), "no panel shows {missing:?}: add one to docs/operate/make_grafana.py");
}

#[test]
fn panels_are_whole_and_lie_beside_each_other() {
    let dashboard = dashboard();
    let mut taken: BTreeMap<(u64, u64), &str> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().filter(|title| !title.is_empty()).expect("a title");
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title} has another's id");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a place"));
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} is outside");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            if let Some(other) = taken.insert(place, title) {
                panic!("{title} lies upon {other}");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        let description = panel["description"].as_str().expect("a description");
        assert!(description.ends_with('.') && description.len() > 15, "{title}: {description:?}");
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().expect("a unit");
        assert!(UNITS.contains(&unit), "{title}: {unit}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = panel["targets"].as_array().expect("queries");
        let names: BTreeSet<&str> = targets.iter().filter_map(|target| target["refId"].as_str()).collect();
        assert!(!targets.is_empty() && names.len() == targets.len(), "{title}");
        assert!(targets.iter().all(|target| target["datasource"]["uid"] == "${datasource}"), "{title}");
    }
    assert!(taken.len() > 1000, "only {} places", taken.len());
}

#[test]
fn variables_of_the_dashboard_are_declared_and_its_expressions_are_promql() {
    let dashboard = dashboard();
    let declared = dashboard["templating"]["list"].as_array().expect("variables");
    let declared: BTreeSet<&str> = declared.iter().filter_map(|variable| variable["name"].as_str()).collect();
    assert_eq!(declared, BTreeSet::from(["datasource", "instance", "job"]));
    let asked = queries(&dashboard).into_iter().map(|(_, expression, _)| expression);
    let marked = dashboard["annotations"]["list"].as_array().expect("annotations");
    let marked = marked.iter().map(|mark| mark["expr"].as_str().expect("an expression").to_owned());
    let mut rules = String::from("groups:\n  - name: panels\n    rules:\n");
    let mut count = 0;
    for expression in asked.chain(marked) {
        let plain =
            expression.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*");
        assert!(!plain.contains('$'), "an unknown variable: {expression}");
        count += 1;
        rules += &format!("      - {{ record: 'panel:{count}', expr: '{}' }}\n", plain.replace('\'', "''"));
    }
    let folder = Folder::new();
    let file = folder.write("rules.yml", &rules);
    if let Some((is_sound, told)) = promtool(&["check", "rules"], &file) {
        assert!(is_sound && told.contains(&format!("{count} rules found")), "{told}");
    }
}

/// What Prometheus' own tool says of a file. `None`, and a line that says so, if it is not installed.
#[expect(clippy::print_stderr, reason = "a test that checks nothing must say so")]
fn promtool(arguments: &[&str], file: &Path) -> Option<(bool, String)> {
    let Ok(told) = Command::new("promtool").args(arguments).arg(file).output() else {
        eprintln!("skipped: promtool is not installed (Debian: apt-get install prometheus)");
        return None;
    };
    let text = String::from_utf8_lossy(&told.stdout).into_owned() + &String::from_utf8_lossy(&told.stderr);
    Some((told.status.success(), text))
}

/// The names of all rules.
fn rules() -> BTreeSet<&'static str> {
    RULES.iter().map(|rule| rule.name).chain(OUTSIDE.iter().map(|rule| rule.name)).collect()
}

#[test]
fn every_alert_fires_in_its_test_and_none_in_health() {
    let file = Path::new(OPERATE).join("alerts_test.yml");
    let Some((is_sound, told)) = promtool(&["test", "rules"], &file) else { return };
    assert!(is_sound, "{told}");
    // The test of each is one: when no rule ever fires, each is missed.
    let folder = Folder::new();
    let test = folder.write("alerts_test.yml", ALERTS_TEST);
    folder.write("alerts.yml", ALERTS.replace("expr: |-\n", "expr: |-\n          vector(0) > 1 and\n"));
    let (is_sound, told) = promtool(&["test", "rules"], &test).expect("it was there");
    assert!(!is_sound);
    for rule in rules() {
        let name = alert_name(rule);
        assert!(ALERTS.contains(&format!("- alert: {name}\n")), "there is no {name}");
        assert!(told.contains(&format!("alertname=\"{name}\"")), "nobody misses {name}:\n{told}");
    }
    // And a rule that fires always is found by the healthy one.
    folder.write(
        "alerts.yml",
        ALERTS.replace("        for: 1m\n", "        for: 0m\n").replace(">= 5\n", ">= 0\n"),
    );
    assert!(!promtool(&["test", "rules"], &test).expect("it was there").0);
}

/// What a healthy server is silent in spite of must be all that rules look at.
#[test]
fn the_healthy_one_has_every_series_that_a_rule_looks_at() {
    let healthy = ALERTS_TEST.split("promql_expr_test").next().expect("the first test");
    for (rule, sign) in RULES.iter().flat_map(|rule| rule.signs.iter().map(move |(sign, _)| (rule, sign))) {
        for name in sign.names() {
            assert!(healthy.contains(&format!("{name}{{")), "{}: {name}", rule.name);
        }
    }
}

/// Entries below a heading: name and text.
fn entries(section: &str) -> Vec<(&'static str, &'static str)> {
    let text = RUNBOOK.split(&format!("\n## {section}\n")).nth(1).expect("it is there");
    let text = text.split("\n## ").next().expect("a section");
    text.split("\n### ").skip(1).map(|entry| entry.split_once('\n').expect("a name")).collect()
}

#[test]
fn the_runbook_has_an_entry_for_each_alert_and_each_reason_and_for_nothing_else() {
    let names = |section| entries(section).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let (alerts, reasons) = (names("Alerts"), names("Why a connection ended"));
    let listed = RULES.iter().map(|rule| rule.name).chain(OUTSIDE.iter().map(|rule| rule.name));
    assert_eq!(alerts, listed.collect::<Vec<_>>(), "in the order of the rules");
    let each: BTreeSet<&str> = CloseReason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(reasons.iter().copied().collect::<BTreeSet<_>>(), each);
    assert_eq!(reasons.len(), each.len(), "none twice");
    for rule in rules() {
        let url = format!("runbook_url: \"docs/operate/RUNBOOK.md#{rule}\"");
        assert_eq!(ALERTS.matches(&url).count(), 1, "{rule}");
    }
}

#[test]
fn each_entry_says_what_it_means_how_to_be_sure_what_to_do_and_when_to_sleep_on() {
    for (name, text) in ["Alerts", "Why a connection ended"].into_iter().flat_map(entries) {
        let at =
            ["- **Means**: ", "- **Confirm**: ", "- **Do**: ", "- **Harmless** "].map(|part| text.find(part));
        assert!(at.iter().all(Option::is_some) && at.is_sorted(), "{name} lacks a part: {at:?}");
        let confirm = &text[at[1].expect("looked at")..at[2].expect("looked at")];
        assert!(confirm.contains('`') || confirm.contains("the log"), "{name} has nothing to look with");
    }
    for (name, text) in entries("Why a connection ended") {
        let asked = text.split("?reason=").skip(1).filter_map(|rest| rest.split('&').next());
        assert!(asked.into_iter().all(|reason| reason == name), "{name} asks for another");
    }
}

/// What stands between backticks, and in blocks.
fn code() -> Vec<&'static str> {
    let (blocks, prose): (Vec<_>, Vec<_>) = RUNBOOK.split("```").enumerate().partition(|(at, _)| at % 2 == 1);
    let ticked = prose.into_iter().flat_map(|(_, text)| text.split('`').skip(1).step_by(2));
    blocks.into_iter().flat_map(|(_, text)| text.lines().skip(1)).chain(ticked).collect()
}

#[test]
fn what_the_runbook_asks_for_exists() {
    let now = figures();
    let folder = Folder::new();
    let (mut queries, mut paths) = (String::from("groups:\n  - name: runbook\n    rules:\n"), 0);
    let mut wrong = Vec::new();
    for text in code() {
        for selector in read(text) {
            wrong.extend(mistakes(&now, &selector).into_iter().map(|what| format!("{text}: {what}")));
        }
        let labels = labels_of(&now, &read(text));
        wrong.extend(groups(text).difference(&labels).map(|label| format!("{text}: no label {label}")));
        if !read(text).is_empty() {
            queries += &format!("      - {{ record: 'asked', expr: '{text}' }}\n");
        }
        if let Some((_, path)) = text.split_once("127.0.0.1:7413") {
            let end = path.find(['?', '\'', '#', ' ']).unwrap_or(path.len());
            let row = format!("`{}`", &path[..end]);
            assert!(ADMIN.contains(&row), "{text}: there is no {row}");
            paths += 1;
        }
    }
    assert!(wrong.is_empty() && paths > 40, "{paths} paths; {wrong:#?}");
    let file = folder.write("queries.yml", &queries);
    if let Some((is_sound, told)) = promtool(&["check", "rules", "--lint=none"], &file) {
        assert!(is_sound, "{told}");
    }
}
