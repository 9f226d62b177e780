//! The plots of a page: each from a report to a figure, drawn once for pages and once for phones.
//!
//! Always holds: a curve ends where there are too few samples; time that does not count is shaded; a line is told by
//! its style and its label too, not by its colour alone. Never: a plot of nothing: that is no figure.

use super::series::{Moment, moments, shades};
use super::svg::{Mark, Plot, Reading, Size, Span, escaped};
use crate::load::histogram::Histogram;
use crate::load::report::{Model, Report, Search};
use crate::load::words;

/// Points of a percentile curve for each tenfold of rareness.
const CURVE_STEPS: u32 = 40;
/// How rare a percentile is drawn at most: 10⁻⁷.
const RARE_MAX: u32 = 7;
/// What is told apart on a logarithmic axis at most: less lies at its end.
const APART_MAX: f64 = 1e5;

/// Both drawings of a plot with a title, and a line for what a pointer reads.
fn figure(title: &str, note: &str, draw: impl Fn(Size) -> String) -> String {
    format!(
        "<figure>\n<figcaption><b>{}</b> {}</figcaption>\n{}{}<p class=\"read\" aria-hidden=\"true\"></p>\n</figure>\n",
        escaped(title),
        escaped(note),
        draw(Size::Wide),
        draw(Size::Narrow)
    )
}

/// Percentiles of a histogram as points: how rare, as a power of ten, and the time in nanoseconds.
fn curve(times: &Histogram) -> Vec<(f64, f64)> {
    let rare = (0..=RARE_MAX * CURVE_STEPS).map(|step| f64::from(step) / f64::from(CURVE_STEPS));
    rare.map_while(|rare| {
        let percent = 100.0 * (1.0 - 10_f64.powf(-rare));
        times.percentile(percent).map(|ns| (rare, ns as f64))
    })
    .collect()
}

/// The least and the most of some values; absent without any.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, value| {
        let (low, high) = range.unwrap_or((value, value));
        Some((low.min(value), high.max(value)))
    })
}

/// A logarithmic axis for times; those of almost nothing lie on the ground.
fn time_span(times: impl Iterator<Item = f64>) -> Option<Span> {
    let (low, high) = range(times)?;
    Some(Span::log(low.max(high / APART_MAX).max(10.0) * 0.9, high * 1.1))
}

/// Response, service and lag over percentiles.
pub(super) fn percentiles(report: &Report, baseline: Option<&Report>) -> Option<String> {
    let all = words::plain(report)?;
    let is_open = report.asked.model == Model::Open;
    let (_, main) = words::main_time(report)?;
    let before = baseline.and_then(words::main_time).map(|(_, times)| curve(times)).unwrap_or_default();
    let mut lines = vec![("baseline", before, "baseline")];
    if is_open {
        lines.push(("lag", curve(&all.lag), "lag"));
        lines.push(("service", curve(&all.service), "service"));
        lines.push(("main", curve(&all.response), "response"));
    } else {
        lines.push(("main", curve(&all.service), "service"));
    }
    let rarest = lines.iter().flat_map(|(_, points, _)| points).map(|(rare, _)| *rare).fold(0.4, f64::max);
    let y = time_span(lines.iter().flat_map(|(_, points, _)| points).map(|(_, ns)| *ns))?;
    if main.count() == 0 {
        return None;
    }
    let readings = || {
        let told = |(rare, ns): &(f64, f64)| Reading {
            x: *rare,
            text: format!("{} % within {}", percent_text(*rare), words::time(*ns)),
        };
        curve(main).iter().map(told).collect::<Vec<_>>()
    };
    let spreads = report.confidence.iter().flat_map(|confidence| &confidence.percentiles);
    let whiskers: Vec<_> = spreads
        .map(|spread| {
            let rare = -(1.0 - spread.percentile / 100.0).log10();
            (rare, spread.mean_ns - spread.plus_minus_ns, spread.mean_ns + spread.plus_minus_ns)
        })
        .filter(|(rare, _, _)| rare.is_finite() && *rare <= rarest)
        .collect();
    let note = if whiskers.is_empty() {
        "How long the given share of requests took at most."
    } else {
        "How long the given share of requests took at most. Bars: 95 % confidence."
    };
    Some(figure("Percentiles.", note, |size| {
        let mut plot = Plot::new(size, 330.0, 0, Span::linear(0.0, rarest), y);
        plot.y_axis(words::time_short);
        plot.x_axis("share of requests", &percent_ticks(rarest));
        for (class, points, label) in &lines {
            plot.line(class, points, label);
        }
        for (rare, low, high) in &whiskers {
            plot.whisker(*rare, *low, *high);
        }
        plot.readings(readings());
        plot.finish("Times over percentiles; the same figures are in the table of percentiles")
    }))
}

fn percent_ticks(rarest: f64) -> Vec<(f64, String)> {
    let names = ["50 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %", "99.99999 %"];
    let rare = [0.301, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
    let ticks = rare.into_iter().zip(names).filter(|(rare, _)| *rare <= rarest + 0.01);
    ticks.map(|(rare, name)| (rare, name.to_owned())).collect()
}

/// `99.87` of a rareness: as many digits as tell it from 100.
fn percent_text(rare: f64) -> String {
    let digits = (0..=RARE_MAX).find(|digit| rare < f64::from(*digit) + 0.5).unwrap_or(RARE_MAX);
    let digits = usize::try_from(digits).unwrap_or_default().max(1);
    format!("{:.*}", digits, 100.0 * (1.0 - 10_f64.powf(-rare)))
}

/// Requests a second over time: due and answered.
pub(super) fn rates(report: &Report) -> Option<String> {
    let moments = moments(&report.series);
    let counted: Vec<&Moment> = moments.iter().filter(|moment| !moment.is_after).collect();
    let (_, highest) = range(counted.iter().flat_map(|moment| [moment.due, moment.answered]))?;
    let is_open = report.asked.model == Model::Open;
    let due: Vec<_> = counted.iter().map(|moment| (moment.middle_s, moment.due)).collect();
    let answered: Vec<_> = counted.iter().map(|moment| (moment.middle_s, moment.answered)).collect();
    let told = |moment: &&Moment| {
        let due = if is_open { format!("{} due, ", words::rate(moment.due)) } else { String::new() };
        let text =
            format!("at {}: {due}{} answered", words::seconds(moment.at_s), words::rate(moment.answered));
        Reading { x: moment.middle_s, text }
    };
    Some(figure("Rate.", "Requests a second over the run.", |size| {
        let mut plot = over_time(size, 200.0, &moments, Span::linear(0.0, highest * 1.12));
        plot.y_axis(words::short);
        if is_open {
            plot.line("due", &due, "due");
        }
        plot.line("main", &answered, "answered");
        plot.readings(counted.iter().map(told).collect());
        plot.finish("Requests a second over time")
    }))
}

/// Response times over time: median, p99 and the longest.
pub(super) fn times(report: &Report) -> Option<String> {
    let moments = moments(&report.series);
    let counted: Vec<&Moment> = moments.iter().filter(|moment| !moment.is_after).collect();
    let of = |figure: fn(&Moment) -> Option<u64>| -> Vec<(f64, f64)> {
        counted.iter().filter_map(|moment| Some((moment.middle_s, figure(moment)? as f64))).collect()
    };
    let (p50, p99, longest) = (of(|at| at.p50_ns), of(|at| at.p99_ns), of(|at| at.max_ns));
    let y = time_span([&p50, &p99, &longest].into_iter().flatten().map(|(_, ns)| *ns))?;
    let told = |moment: &&Moment| {
        let figures = [("p50", moment.p50_ns), ("p99", moment.p99_ns), ("max", moment.max_ns)];
        let figures =
            figures.into_iter().filter_map(|(name, ns)| Some(format!("{name} {}", words::time_ns(ns?))));
        let text = format!("at {}: {}", words::seconds(moment.at_s), figures.collect::<Vec<_>>().join(", "));
        Reading { x: moment.middle_s, text }
    };
    let title = match report.asked.model {
        Model::Open => "Response times.",
        Model::Closed => "Service times.",
    };
    Some(figure(title, "Of the replies of each part of the run.", |size| {
        let mut plot = over_time(size, 250.0, &moments, y);
        plot.y_axis(words::time_short);
        plot.dots("longest", &longest, "max");
        plot.line("main", &p99, "p99");
        plot.line("service", &p50, "p50");
        plot.readings(counted.iter().map(told).collect());
        plot.finish("Response times over time")
    }))
}

/// Errors and dropped requests over time, if there were any.
pub(super) fn errors(report: &Report) -> Option<String> {
    let moments = moments(&report.series);
    let (_, most) = range(moments.iter().map(|moment| moment.troubles + moment.dropped))?;
    if most <= 0.0 {
        return None;
    }
    let bars = |of: fn(&Moment) -> f64| -> Vec<_> {
        moments.iter().map(|at| (at.at_s, at.at_s + at.length_s, of(at))).collect()
    };
    let told = |moment: &Moment| {
        let text = format!(
            "at {}: {} errors, {} dropped a second",
            words::seconds(moment.at_s),
            words::short(moment.troubles),
            words::short(moment.dropped)
        );
        Reading { x: moment.middle_s, text }
    };
    Some(figure("Errors.", "A second over the run, with what was dropped on top in outline.", |size| {
        let mut plot = over_time(size, 160.0, &moments, Span::linear(0.0, most * 1.12));
        plot.y_axis(words::short);
        plot.bars("dropped", &bars(|moment| moment.troubles + moment.dropped));
        plot.bars("bad", &bars(|moment| moment.troubles));
        plot.readings(moments.iter().map(told).collect());
        plot.finish("Errors over time")
    }))
}

/// A plot over the seconds of a run, with what does not count shaded.
fn over_time(size: Size, height: f64, moments: &[Moment], y: Span) -> Plot {
    let end = moments.last().map_or(1.0, |last| last.at_s + last.length_s);
    let begin = moments.first().map_or(0.0, |first| first.at_s);
    let x = Span::linear(begin, end);
    let mut plot = Plot::new(size, height, 1, x, y);
    for (from, to, name) in shades(moments) {
        plot.shade(from, to, name);
    }
    let ticks: Vec<_> = x.ticks(9).into_iter().map(|second| (second, words::short(second))).collect();
    plot.x_axis("seconds", &ticks);
    plot
}

/// How many requests took how long.
pub(super) fn distribution(report: &Report) -> Option<String> {
    let (name, times) = words::main_time(report)?;
    let (least, most) = (times.min()?, times.max()?);
    let x = Span::log((least as f64).max(10.0) * 0.98, most as f64 * 1.02);
    let marks: Vec<_> = [(50.0, "p50"), (99.0, "p99")]
        .into_iter()
        .filter_map(|(percent, name)| Some((name, times.percentile(percent)? as f64)))
        .collect();
    let title =
        if name == "response" { "Distribution of response times." } else { "Distribution of service times." };
    Some(figure(
        title,
        "Share of the requests in each bar; bars are equally wide on the logarithmic axis.",
        |size| {
            let bars = shares(times, x, if size == Size::Wide { 72 } else { 36 });
            let highest = bars.iter().map(|(_, _, share)| *share).fold(0.0, f64::max);
            let mut plot = Plot::new(size, 220.0, 2, x, Span::linear(0.0, highest * 1.05));
            plot.y_axis(words::percent_short);
            plot.bars("bar", &bars);
            let ticks: Vec<_> = x.ticks(12).into_iter().map(|ns| (ns, words::time_short(ns))).collect();
            plot.x_axis(if name == "response" { "response time" } else { "service time" }, &ticks);
            for (row, (name, ns)) in marks.iter().enumerate() {
                plot.upright(*ns, &format!("{name} {}", words::time(*ns)), row);
            }
            let told = |(from, to, share): &(f64, f64, f64)| {
                let text =
                    format!("{} to {}: {}", words::time(*from), words::time(*to), words::percent(*share));
                Reading { x: (from * to).sqrt(), text }
            };
            plot.readings(bars.iter().map(told).collect());
            plot.finish("How many requests took how long")
        },
    ))
}

/// The samples in `count` bars of equal width on an axis: from, to, share of all.
fn shares(times: &Histogram, x: Span, count: u32) -> Vec<(f64, f64, f64)> {
    let edge = |at: u32| x.at(f64::from(at) / f64::from(count));
    let mut bars: Vec<_> = (0..count).map(|at| (edge(at), edge(at + 1), 0.0)).collect();
    let all = times.count().max(1) as f64;
    let mut at = 0;
    for (ns, samples) in times.buckets() {
        while at + 1 < bars.len() && ns as f64 >= bars[at].1 {
            at += 1;
        }
        bars[at].2 += samples as f64 / all;
    }
    bars
}

/// The tries of a search: rate against p99, with the knee marked.
pub(super) fn search(search: &Search) -> Option<String> {
    let measured: Vec<_> = search
        .tries
        .iter()
        .filter_map(|one| Some((one.rate, one.p99_ns? as f64, one.held, one.void)))
        .collect();
    let y = time_span(measured.iter().map(|(_, ns, _, _)| *ns))?;
    let (least, most) = range(search.tries.iter().map(|one| one.rate))?;
    let x = Span::linear((least - (most - least) * 0.08).max(0.0), most + (most - least) * 0.05);
    let mut line: Vec<_> =
        measured.iter().filter(|one| !one.3).map(|(rate, ns, _, _)| (*rate, *ns)).collect();
    line.sort_by(|one, other| one.0.total_cmp(&other.0));
    let readings = || {
        let mut tries: Vec<_> = search.tries.iter().collect();
        tries.sort_by(|one, other| one.rate.total_cmp(&other.rate));
        let told = |one: &crate::load::report::Try| Reading {
            x: one.rate,
            text: format!("{}: {}", words::rate(one.rate), one.because),
        };
        tries.into_iter().map(told).collect::<Vec<_>>()
    };
    let note = "p99 of the response at each rate that was tried. Disc: the condition held. Ring: it did not. Cross: \
                the generator was the limit.";
    Some(figure("Search.", note, |size| {
        let mut plot = Plot::new(size, 280.0, 1, x, y);
        plot.y_axis(words::time_short);
        let ticks: Vec<_> = x.ticks(8).into_iter().map(|rate| (rate, words::short(rate))).collect();
        plot.x_axis("requests a second", &ticks);
        plot.line("grid-line", &line, "");
        if let Some(held) = search.held {
            plot.upright(held, &format!("{} holds", words::rate(held)), 0);
        }
        for one in &search.tries {
            let ns = one.p99_ns.map_or(y.at(1.0), |ns| ns as f64);
            let kind = if one.void {
                Mark::Cross
            } else if one.held {
                Mark::Disc
            } else {
                Mark::Ring
            };
            plot.mark(kind, one.rate, ns);
        }
        plot.readings(readings());
        plot.finish("The tries of the search; the same figures are in the table of tries")
    }))
}
