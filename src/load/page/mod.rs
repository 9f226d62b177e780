//! A run as a page: one HTML file that needs nothing else, for a screen, a phone, or paper.
//!
//! Always holds: the verdict stands first; whatever came from a server, a shell or a file is escaped; the page loads
//! nothing, and its own policy forbids it to; all of it is there without a script, which only reads plots out and saves
//! the report. Never: a figure that is not in the report.

mod plots;
mod series;
mod svg;
mod tables;

use super::compare::compare;
use super::histogram::Histogram;
use super::report::{Model, Report};
use super::words::{self, Outcome, TOO_FEW};
use svg::escaped;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");

/// The page of a run, laid over another one if that is given.
pub fn page(report: &Report, baseline: Option<&Report>) -> String {
    let title = format!("tidegate bench {}", report.asked.target);
    let body = [
        header(report),
        figures(report, baseline),
        assertions(report),
        search(report),
        curves(report, baseline),
        details(report, baseline),
        origin(report, baseline),
    ]
    .concat();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
         <script type=\"application/json\" id=\"report\">\n{}</script>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        escaped(&title),
        embedded(report)
    )
}

/// The report for a script element: no `<`, so that nothing in it can end the element.
fn embedded(report: &Report) -> String {
    super::file::to_json(report).replace('<', "\\u003c")
}

fn header(report: &Report) -> String {
    let outcome = Outcome::of(report);
    let class = match outcome {
        Outcome::Valid => "valid",
        Outcome::Void => "void",
        Outcome::NoConnection | Outcome::Wrong | Outcome::Broken => "bad",
    };
    let reasons = list(&report.verdict.void_because);
    let closed = match report.asked.model {
        Model::Open => String::new(),
        Model::Closed => format!("<p class=\"closed\">{}</p>\n", escaped(words::CLOSED_LOOP)),
    };
    let asked = words::asked(&report.asked).join(", ");
    let (first, rest) = asked.split_at(asked.chars().next().map_or(0, char::len_utf8));
    format!(
        "<header>\n<div class=\"verdict {class}\">\n<p class=\"word\">{}</p>\n<p>{}</p>\n{reasons}</div>\n\
         <h1>Load on {}</h1>\n<p class=\"asked\">{}{}.</p>\n{closed}{}</header>\n",
        outcome.word(),
        outcome.sentence(),
        escaped(&report.asked.target),
        escaped(&first.to_uppercase()),
        escaped(rest),
        list(&report.verdict.notes)
    )
}

/// Sentences as a list; nothing without any.
fn list(sentences: &[String]) -> String {
    if sentences.is_empty() {
        return String::new();
    }
    let items: String = sentences.iter().map(|one| format!("<li>{}</li>\n", escaped(one))).collect();
    format!("<ul>\n{items}</ul>\n")
}

/// The figures that are looked for first, each with the baseline's beneath it.
fn figures(report: &Report, baseline: Option<&Report>) -> String {
    let Some((name, times)) = words::main_time(report) else { return String::new() };
    let before = baseline.and_then(words::main_time).map(|(_, times)| times);
    let rate = |report: &Report| words::answered_a_second(report).map(words::rate);
    let errors = |report: &Report| Some(words::count(report.troubles.values().sum()));
    let class = if report.verdict.is_valid() { "figures" } else { "figures worthless" };
    let mut out = format!("<dl class=\"{class}\">\n");
    let mut tell = |name: &str, text: Option<String>, before: Option<Option<String>>| {
        let absent = || TOO_FEW.to_owned();
        let class = if text.is_none() { " class=\"few\"" } else { "" };
        let before = before.flatten().map(|text| format!("<dd class=\"before\">baseline {text}</dd>"));
        out.push_str(&format!(
            "<div><dt>{name}</dt><dd{class}>{}</dd>{}</div>\n",
            text.unwrap_or_else(absent),
            before.unwrap_or_default()
        ));
    };
    tell("answered", rate(report), baseline.map(rate));
    for (percent, shown) in words::SHOWN.into_iter().filter(|(percent, _)| *percent != 90.0) {
        let of = |times: &Histogram| times.percentile(percent).map(words::time_ns);
        tell(&format!("{name} {shown}"), of(times), before.map(of));
    }
    let most = |times: &Histogram| times.max().map(words::time_ns);
    tell(&format!("{name} max"), most(times), before.map(most));
    tell("errors", errors(report), baseline.map(errors));
    out.push_str("</dl>\n");
    out + &baseline.map(|baseline| beside(report, baseline)).unwrap_or_default()
}

/// What makes the baseline no measure, or an unfair one; nothing if it is fair.
fn beside(report: &Report, baseline: &Report) -> String {
    let told = match compare(baseline, report, 0.0) {
        Ok(comparison) => comparison.warnings,
        Err(why) => vec![format!("The baseline is no measure of this run: {why}")],
    };
    list(&told)
}

fn assertions(report: &Report) -> String {
    let table = tables::assertions(report);
    if table.is_empty() { table } else { format!("<section class=\"first\">\n{table}</section>\n") }
}

fn search(report: &Report) -> String {
    let Some(search) = &report.search else { return String::new() };
    let found = escaped(&words::search(search));
    let plot = plots::search(search).unwrap_or_default();
    format!("<section>\n<h2>Search</h2>\n<p>{found}.</p>\n{plot}{}</section>\n", tables::tries(search))
}

fn curves(report: &Report, baseline: Option<&Report>) -> String {
    let all = [
        plots::percentiles(report, baseline),
        plots::distribution(report),
        plots::rates(report),
        plots::times(report),
        plots::errors(report),
    ];
    let all: String = all.into_iter().flatten().collect();
    if all.is_empty() { all } else { format!("<section>\n<h2>Curves</h2>\n{all}</section>\n") }
}

fn details(report: &Report, baseline: Option<&Report>) -> String {
    let all = [
        tables::percentiles(report, baseline),
        tables::kinds(report),
        report.confidence.as_ref().map(tables::confidence).unwrap_or_default(),
        tables::requests(report),
        tables::errors(report),
        tables::connections(report),
        tables::costs(report),
        report.floor.as_ref().map(tables::floor).unwrap_or_default(),
    ];
    let [percentiles, kinds, confidence, rest @ ..] = all;
    format!(
        "<section>\n<h2>Figures</h2>\n{percentiles}{kinds}{confidence}<div class=\"beside\">\n{}</div>\n</section>\n",
        rest.concat()
    )
}

fn origin(report: &Report, baseline: Option<&Report>) -> String {
    let command = |title: &str, report: &Report| {
        format!("<p>{title}</p>\n<pre><code>{}</code></pre>\n", escaped(&words::repeat(report)))
    };
    let before = baseline.map(|before| {
        command(&format!("The baseline was begun {}:", words::date(before.began_unix_ms)), before)
    });
    format!(
        "<section>\n<h2>Again</h2>\n{}{}{}<p class=\"save\"><button type=\"button\" id=\"save\" hidden>Save the report \
         as JSON</button></p>\n</section>\n",
        command("The same requests at the same times:", report),
        before.unwrap_or_default(),
        tables::origin(report)
    )
}
