//! `tidegate bench diff`: two runs beside each other.
//!
//! Always holds: every figure stands with its change and what to make of it; the last line is the answer. Never:
//! printing.

use super::paint::{Ink, Paint, wrapped};
use crate::load::compare::{Comparison, Figure, Judged};
use crate::load::report::Report;
use crate::load::words;

/// Columns of all, of the names of figures, and of each number.
const WIDTH: usize = 80;
const NAMES: usize = 16;
const NUMBERS: usize = 14;

/// The comparison as a table; each run has the name of its file.
pub fn diff(old: (&str, &Report), new: (&str, &Report), comparison: &Comparison, in_colour: bool) -> String {
    let paint = Paint { in_colour };
    let mut lines = Vec::new();
    for (side, (name, report)) in [("old", old), ("new", new)] {
        let text = format!("{name}, begun {}", words::date(report.began_unix_ms));
        for (at, line) in wrapped(&text, WIDTH - 5).iter().enumerate() {
            let side = if at == 0 { side } else { "" };
            lines.push(format!(
                "{}{}",
                paint.text(Ink::Faint, &format!("{side:<5}")),
                paint.text(Ink::Plain, line)
            ));
        }
    }
    let asked = words::asked(&new.1.asked).join(", ");
    lines.extend(wrapped(&asked, WIDTH).iter().map(|line| paint.text(Ink::Faint, line)));
    for warning in &comparison.warnings {
        let told = wrapped(&format!("unfair? {warning}"), WIDTH);
        lines.extend(told.iter().map(|line| paint.text(Ink::Strong, line)));
    }
    lines.push(String::new());
    let head = format!("{:NAMES$}{:>NUMBERS$}{:>NUMBERS$}{:>NUMBERS$}", "", "old", "new", "change");
    lines.push(paint.text(Ink::Faint, &head));
    let is_nothing = |figure: &&Figure| figure.old == Some(0.0) && figure.new == Some(0.0);
    let shown = comparison.figures.iter().filter(|figure| !is_nothing(figure));
    lines.extend(shown.map(|figure| row(figure, paint)));
    lines.push(String::new());
    lines.push(answer(comparison, paint));
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

fn row(figure: &Figure, paint: Paint) -> String {
    let number =
        |number: Option<f64>| number.map_or_else(|| "–".to_owned(), |number| figure.unit.text(number));
    let change = match figure.change() {
        Some(change) => format!("{:+.1} %", change * 100.0),
        None => "–".to_owned(),
    };
    let ink = match figure.judged {
        Judged::Unknown | Judged::Noise => Ink::Faint,
        Judged::Better => Ink::Good,
        Judged::Worse => Ink::Plain,
        Judged::Regressed => Ink::Bad,
    };
    let name: String = figure.name.chars().take(NAMES).collect();
    let (old, new) = (number(figure.old), number(figure.new));
    let numbers = format!("{name:<NAMES$}{old:>NUMBERS$}{new:>NUMBERS$}{change:>NUMBERS$}");
    format!("{}   {}", paint.text(Ink::Plain, &numbers), paint.text(ink, figure.judged.word()))
}

fn answer(comparison: &Comparison, paint: Paint) -> String {
    let regressed = comparison.figures.iter().filter(|figure| figure.judged == Judged::Regressed).count();
    let allowed = words::percent_short(comparison.allowed);
    match regressed {
        0 => paint.text(Ink::Good, &format!("no figure is worse by more than {allowed}, noise aside")),
        1 => paint.text(Ink::Bad, &format!("REGRESSED: 1 figure is worse by more than {allowed}")),
        more => paint.text(Ink::Bad, &format!("REGRESSED: {more} figures are worse by more than {allowed}")),
    }
}
