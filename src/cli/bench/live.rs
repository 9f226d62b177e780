//! A run while it goes on: a few lines on standard error that are drawn again and again, or one line at a time where
//! nobody looks at a terminal.
//!
//! Always holds: no line is wider than the terminal; what was drawn is taken away at the end, so that what follows
//! stands on a clean screen. Never: standard output; a word where `--quiet` was asked for.

use super::paint::{Ink, Paint};
use crate::cli::colours;
use crate::load::progress::{Phase, Progress};
use crate::load::report::Interval;
use crate::load::words;
use std::io::{self, IsTerminal as _, Write};

/// Widest that is drawn, and what is taken where the terminal doesn't tell.
const WIDTH_MAX: usize = 100;
const WIDTH_UNKNOWN: usize = 80;
/// Columns of the names of rows.
const NAMES: usize = 11;
/// Steps of a bar of the small plot, from nothing to all.
const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What a run looks like at one moment. Pure.
#[derive(Clone, Copy, Debug)]
pub struct Display {
    in_colour: bool,
}

impl Display {
    /// One with colours or without.
    pub const fn new(in_colour: bool) -> Display {
        Display { in_colour }
    }

    /// The lines of a moment, none of more than `width` columns.
    pub fn lines(&self, progress: &Progress<'_>, width: usize) -> Vec<String> {
        let mut rows = vec![head(progress, width)];
        if let Some(last) = progress.series.last() {
            rows.push(("rate", Ink::Plain, rate(progress, last)));
            let times = times(last);
            if !times.is_empty() {
                // In a closed loop nothing is due, so that there is nothing to be late for.
                let name = if progress.offered.is_some() { "response" } else { "service" };
                rows.push((name, Ink::Strong, times));
            }
            let plot = sparkline(progress.series, width.saturating_sub(NAMES));
            if !plot.is_empty() {
                rows.push(("p99", Ink::Plain, plot));
            }
        } else {
            rows.push(("open", Ink::Plain, open(progress)));
        }
        let troubles = words::troubles(progress.troubles, |_| true);
        if !troubles.is_empty() {
            rows.push(("errors", Ink::Bad, troubles.join(", ")));
        }
        rows.iter().map(|(name, ink, text)| self.row(name, *ink, text, width)).collect()
    }

    /// The moment in one line of text.
    pub fn line(&self, progress: &Progress<'_>) -> String {
        let place = format!("{} {}", phase(progress.phase), words::seconds(moment(progress)));
        let mut parts = vec![place];
        if let Some(last) = progress.series.last() {
            parts.push(rate(progress, last));
            parts.push(times(last));
        } else {
            parts.push(open(progress));
        }
        parts.extend(words::troubles(progress.troubles, |_| true));
        if !progress.title.is_empty() {
            parts.insert(0, progress.title.to_owned());
        }
        parts.retain(|part| !part.is_empty());
        Paint { in_colour: false }.text(Ink::Plain, &parts.join(", "))
    }

    fn row(&self, name: &str, ink: Ink, text: &str, width: usize) -> String {
        let paint = Paint { in_colour: self.in_colour };
        let names = NAMES.min(width);
        let name: String = format!("{name:<NAMES$}").chars().take(names).collect();
        let mut text: Vec<char> = text.chars().collect();
        if text.len() > width - names {
            text.truncate((width - names).saturating_sub(1));
            text.extend((width > names).then_some('…'));
        }
        let text: String = text.into_iter().collect();
        format!("{}{}", paint.text(Ink::Faint, &name), paint.text(ink, &text))
    }
}

/// In which part of the run it is, with a bar of how much of its time has passed.
fn head(progress: &Progress<'_>, width: usize) -> (&'static str, Ink, String) {
    let share = (progress.elapsed_s / progress.total_s.max(1e-9)).clamp(0.0, 1.0);
    let times =
        format!("{} of {}", words::seconds(progress.elapsed_s.floor()), words::seconds(progress.total_s));
    let title = if progress.title.is_empty() { String::new() } else { format!("   {}", progress.title) };
    let taken = NAMES + times.chars().count() + title.chars().count() + 3;
    let cells = width.saturating_sub(taken).min(32);
    let full = (1..=cells).filter(|cell| *cell as f64 <= share * cells as f64).count();
    let bar = format!("{}{}", "━".repeat(full), "─".repeat(cells - full));
    let gap = if cells > 0 { "   " } else { "" };
    (phase(progress.phase), Ink::Plain, format!("{bar}{gap}{times}{title}"))
}

const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Connecting => "connecting",
        Phase::WarmUp => "warm-up",
        Phase::Measuring => "measuring",
        Phase::Draining => "draining",
    }
}

fn open(progress: &Progress<'_>) -> String {
    format!("{} of {} open", words::count(progress.open.into()), words::count(progress.wanted.into()))
}

/// What is due and what is done, and what is open and on its way.
fn rate(progress: &Progress<'_>, last: &Interval) -> String {
    let a_second = |count: u64| words::rate(count as f64 / last.length_s.max(1e-9));
    let due = progress.offered.map(|due| format!("{} due, ", words::rate(due))).unwrap_or_default();
    let dropped =
        if last.dropped > 0 { format!(", {} dropped", a_second(last.dropped)) } else { String::new() };
    let in_flight = words::count(last.in_flight);
    format!("{due}{} answered{dropped}, {in_flight} in flight, {}", a_second(last.answered), open(progress))
}

fn times(last: &Interval) -> String {
    let figures = [("p50", last.p50_ns), ("p99", last.p99_ns), ("p99.9", last.p999_ns), ("max", last.max_ns)];
    let figures =
        figures.into_iter().filter_map(|(name, ns)| Some(format!("{name} {}", words::time_ns(ns?))));
    figures.collect::<Vec<_>>().join("  ")
}

/// The p99 of the last intervals as bars, evenly between the least and the most of them.
fn sparkline(series: &[Interval], width: usize) -> String {
    let told = 22;
    let most = width.saturating_sub(told).min(60);
    let from = series.len().saturating_sub(most);
    let shown: Vec<u64> = series.iter().skip(from).filter_map(|interval| interval.p99_ns).collect();
    let (Some(low), Some(high)) = (shown.iter().min(), shown.iter().max()) else { return String::new() };
    if shown.len() < 2 || most == 0 {
        return String::new();
    }
    let step = |ns: u64| ((ns - low) * 7).checked_div(high - low).unwrap_or(0);
    let bars = shown.iter().map(|ns| usize::try_from(step(*ns)).map_or('█', |step| STEPS[step.min(7)]));
    format!("{}  {} to {}", bars.collect::<String>(), words::time_ns(*low), words::time_ns(*high))
}

/// Whole seconds; tenths of a run that has few of them.
fn moment(progress: &Progress<'_>) -> f64 {
    let parts = if progress.total_s < 20.0 { 10.0 } else { 1.0 };
    (progress.elapsed_s * parts).round() / parts
}

/// Draws a run on a stream. What was drawn is taken away when this is dropped.
#[derive(Debug)]
pub struct Live<W: Write> {
    out: W,
    way: Way,
    display: Display,
    /// Lines of the terminal that hold the last drawing.
    drawn: usize,
}

/// How a run is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Drawn in place, in a terminal of so many columns at most.
    Drawn,
    /// A line each time.
    Lines,
    /// Not at all.
    Silent,
}

impl Live<io::Stderr> {
    /// On standard error: drawn on a terminal, in lines elsewhere, not at all if `is_quiet`.
    pub fn new(is_quiet: bool) -> Live<io::Stderr> {
        let out = io::stderr();
        let is_dumb = std::env::var_os("TERM").is_some_and(|kind| kind == "dumb");
        let way = match (is_quiet, out.is_terminal() && !is_dumb) {
            (true, _) => Way::Silent,
            (false, true) => Way::Drawn,
            (false, false) => Way::Lines,
        };
        let display = Display::new(colours::are_wanted(&out));
        Live { out, way, display, drawn: 0 }
    }

    /// Shows a moment.
    pub fn show(&mut self, progress: &Progress<'_>) {
        let told = rustix::termios::tcgetwinsize(&self.out);
        let width = told.map_or(0, |size| usize::from(size.ws_col));
        let width = if width == 0 { WIDTH_UNKNOWN } else { width.min(WIDTH_MAX) };
        self.show_in(progress, width);
    }
}

impl<W: Write> Live<W> {
    fn show_in(&mut self, progress: &Progress<'_>, width: usize) {
        let text = match self.way {
            Way::Silent => return,
            Way::Lines => format!("{}\n", self.display.line(progress)),
            Way::Drawn => {
                // One column is left free: some terminals begin a new line when the last is filled.
                let lines = self.display.lines(progress, width.saturating_sub(1));
                let mut text = self.erased();
                text.extend(lines.iter().flat_map(|line| [line.as_str(), "\n"]));
                self.drawn = lines.len();
                text
            }
        };
        // Nobody may be there to see it; the run goes on all the same.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }

    /// What takes the last drawing away: to its first line, and all below it erased.
    fn erased(&self) -> String {
        if self.drawn == 0 { String::new() } else { format!("\x1b[{}F\x1b[J", self.drawn) }
    }
}

impl<W: Write> Drop for Live<W> {
    fn drop(&mut self) {
        let _ = self.out.write_all(self.erased().as_bytes()).and_then(|()| self.out.flush());
    }
}

#[cfg(test)]
mod tests;
