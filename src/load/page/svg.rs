//! Plots as SVG, drawn by hand: axes, lines, marks, labels that keep out of each other's way.
//!
//! Always holds: every coordinate is a finite number within the drawing; every text is escaped. Colours and line
//! styles are classes of the style sheet. Never: a script, a font or an image from elsewhere.

use std::fmt::Write as _;

/// Height of a line of text, in pixels.
const LINE: f64 = 14.0;
/// Generous width of a character of a label, in pixels.
const LETTER: f64 = 6.6;
/// Labels of an axis at most, whatever room there is.
const TICKS_MAX: usize = 12;

/// The text with everything replaced that HTML could take for markup. Control characters become spaces.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other if other.is_control() => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

/// A drawing is made twice: for pages and paper, and for phones, where a smaller one would be too small to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Wide,
    Narrow,
}

impl Size {
    /// The class of what shows it.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Size::Wide => "wide",
            Size::Narrow => "narrow",
        }
    }

    const fn width(self) -> f64 {
        match self {
            Size::Wide => 720.0,
            Size::Narrow => 360.0,
        }
    }
}

/// How values lie along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    low: f64,
    high: f64,
    is_log: bool,
}

impl Span {
    /// Evenly from `low` to `high`.
    pub(super) fn linear(low: f64, high: f64) -> Span {
        let low = if low.is_finite() { low } else { 0.0 };
        let high = if high.is_finite() && high > low { high } else { low + 1.0 };
        Span { low, high, is_log: false }
    }

    /// Each tenfold as long as the next; with room for at least half a decade.
    pub(super) fn log(low: f64, high: f64) -> Span {
        let low = if low.is_finite() { low.max(1.0) } else { 1.0 };
        let high = if high.is_finite() { high.max(low) } else { low };
        let missing = (3.2 / (high / low)).max(1.0).sqrt();
        Span { low: (low / missing).max(1.0), high: high * missing, is_log: true }
    }

    /// Where a value lies, 0 to 1; values outside lie at the end.
    fn share(self, value: f64) -> f64 {
        let share = if self.is_log {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// The value at a share of the axis.
    pub(super) fn at(self, share: f64) -> f64 {
        if self.is_log {
            self.low * (self.high / self.low).powf(share)
        } else {
            self.low + (self.high - self.low) * share
        }
    }

    /// Round values within the axis, at most `most` of them.
    pub(super) fn ticks(self, most: usize) -> Vec<f64> {
        let most = most.clamp(2, TICKS_MAX);
        let found = if self.is_log { self.log_ticks(most) } else { self.even_ticks(most) };
        if found.len() > most { found.into_iter().step_by(2).take(most).collect() } else { found }
    }

    fn even_ticks(self, most: usize) -> Vec<f64> {
        let rough = (self.high - self.low) / most as f64;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
        let step = step.into_iter().find(|step| *step >= rough).unwrap_or(power * 10.0);
        let first = (self.low / step).ceil();
        let all = (0..=TICKS_MAX).map(|at| (first + at as f64) * step);
        all.take_while(|tick| *tick <= self.high * (1.0 + 1e-9)).collect()
    }

    fn log_ticks(self, most: usize) -> Vec<f64> {
        for factors in [&[1.0, 2.0, 5.0][..], &[1.0, 3.0], &[1.0]] {
            let first = self.low.log10().floor();
            let decades = (0..=TICKS_MAX).map(|at| 10_f64.powf(first + at as f64));
            let all = decades.flat_map(|decade| factors.iter().map(move |factor| factor * decade));
            let within: Vec<f64> = all.filter(|tick| (self.low..=self.high).contains(tick)).collect();
            if within.len() <= most || factors.len() == 1 {
                return within;
            }
        }
        Vec::new()
    }
}

/// A point that a pointer finds: its value along the horizontal axis, and what is said of it.
pub(super) struct Reading {
    pub(super) x: f64,
    pub(super) text: String,
}

/// A plot that is being drawn.
pub(super) struct Plot {
    size: Size,
    height: f64,
    top: f64,
    x: Span,
    y: Span,
    drawn: String,
    /// Texts behind the right end of lines: class, text, height where they belong.
    ends: Vec<(&'static str, String, f64)>,
    readings: Vec<Reading>,
    /// Where the next shaded part's name may begin.
    named_to: f64,
}

impl Plot {
    /// A drawing `height` pixels high, with `above` lines of text over the axes.
    pub(super) fn new(size: Size, height: f64, above: usize, x: Span, y: Span) -> Plot {
        let top = 8.0 + LINE * above as f64;
        Plot {
            size,
            height,
            top,
            x,
            y,
            drawn: String::new(),
            ends: Vec::new(),
            readings: Vec::new(),
            named_to: 0.0,
        }
    }

    const fn left(&self) -> f64 {
        56.0
    }

    fn right(&self) -> f64 {
        let behind = match self.size {
            Size::Wide => 88.0,
            Size::Narrow => 78.0,
        };
        self.size.width() - behind
    }

    fn bottom(&self) -> f64 {
        self.height - 38.0
    }

    fn at_x(&self, value: f64) -> f64 {
        self.left() + (self.right() - self.left()) * self.x.share(value)
    }

    fn at_y(&self, value: f64) -> f64 {
        self.bottom() - (self.bottom() - self.top) * self.y.share(value)
    }

    fn text(&mut self, class: &str, anchor: &str, x: f64, y: f64, text: &str) {
        let text = escaped(text);
        let _ = writeln!(
            self.drawn,
            r#"<text class="{class}" text-anchor="{anchor}" x="{x:.1}" y="{y:.1}">{text}</text>"#
        );
    }

    /// A vertical axis with lines across the plot.
    pub(super) fn y_axis(&mut self, written: impl Fn(f64) -> String) {
        let (left, right, height) = (self.left(), self.right(), self.bottom() - self.top);
        let most = (2..TICKS_MAX).take_while(|ticks| *ticks as f64 * 26.0 <= height).count() + 1;
        for tick in self.y.ticks(most) {
            let y = self.at_y(tick);
            let _ = writeln!(
                self.drawn,
                r#"<line class="grid" x1="{left:.1}" y1="{y:.1}" x2="{right:.1}" y2="{y:.1}"/>"#
            );
            self.text("tick", "end", left - 8.0, y + 4.0, &written(tick));
        }
    }

    /// A horizontal axis; of labels that would touch, the later is left out.
    pub(super) fn x_axis(&mut self, name: &str, ticks: &[(f64, String)]) {
        let (left, right, bottom) = (self.left(), self.right(), self.bottom());
        let _ = writeln!(
            self.drawn,
            r#"<line class="axis" x1="{left:.1}" y1="{bottom:.1}" x2="{right:.1}" y2="{bottom:.1}"/>"#
        );
        let mut free_from = 0.0;
        for (value, label) in ticks {
            let x = self.at_x(*value);
            let half = label.chars().count() as f64 * LETTER / 2.0;
            if x - half < free_from {
                continue;
            }
            free_from = x + half + 6.0;
            let _ = writeln!(
                self.drawn,
                r#"<line class="axis" x1="{x:.1}" y1="{bottom:.1}" x2="{x:.1}" y2="{:.1}"/>"#,
                bottom + 4.0
            );
            self.text("tick", "middle", x, bottom + 16.0, label);
        }
        self.text("name", "middle", (left + right) / 2.0, self.height - 6.0, name);
    }

    /// A line through points, with a label behind its end if there is one.
    pub(super) fn line(&mut self, class: &'static str, points: &[(f64, f64)], label: &str) {
        let Some((_, last)) = points.last() else { return };
        if !label.is_empty() {
            self.ends.push((class, label.to_owned(), self.at_y(*last)));
        }
        let mut path = String::new();
        for (at, (x, y)) in points.iter().enumerate() {
            let step = if at == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{step}{:.1} {:.1}", self.at_x(*x), self.at_y(*y));
        }
        let _ = writeln!(self.drawn, r#"<path class="{class}" d="{path}"/>"#);
    }

    /// Small marks at points, with a label behind the last.
    pub(super) fn dots(&mut self, class: &'static str, points: &[(f64, f64)], label: &str) {
        for (x, y) in points {
            let _ = writeln!(
                self.drawn,
                r#"<circle class="{class}" cx="{:.1}" cy="{:.1}" r="1.6"/>"#,
                self.at_x(*x),
                self.at_y(*y)
            );
        }
        if let Some((_, last)) = points.last() {
            self.ends.push((class, label.to_owned(), self.at_y(*last)));
        }
    }

    /// A mark for one event: a ring, a disc or a cross.
    pub(super) fn mark(&mut self, kind: Mark, x: f64, y: f64) {
        let (x, y) = (self.at_x(x), self.at_y(y));
        let _ = match kind {
            Mark::Disc => writeln!(self.drawn, r#"<circle class="disc" cx="{x:.1}" cy="{y:.1}" r="4"/>"#),
            Mark::Ring => writeln!(self.drawn, r#"<circle class="ring" cx="{x:.1}" cy="{y:.1}" r="4"/>"#),
            Mark::Cross => {
                let path = format!("M{:.1} {:.1}l8 8m0 -8l-8 8", x - 4.0, y - 4.0);
                writeln!(self.drawn, r#"<path class="cross" d="{path}"/>"#)
            }
        };
    }

    /// How far a figure may lie from where it is drawn.
    pub(super) fn whisker(&mut self, x: f64, low: f64, high: f64) {
        let (x, low, high) = (self.at_x(x), self.at_y(low), self.at_y(high));
        let path = format!("M{:.1} {low:.1}h6m-3 0V{high:.1}m-3 0h6", x - 3.0);
        let _ = writeln!(self.drawn, r#"<path class="whisker" d="{path}"/>"#);
    }

    /// A part of the horizontal axis that is something else, named in the line above if there is room.
    pub(super) fn shade(&mut self, from: f64, to: f64, name: &str) {
        let (from, to, top) = (self.at_x(from), self.at_x(to), self.top);
        let (width, height) = (to - from, self.bottom() - top);
        if width < 0.5 {
            return;
        }
        let _ = writeln!(
            self.drawn,
            r#"<rect class="shade" x="{from:.1}" y="{top:.1}" width="{width:.1}" height="{height:.1}"/>"#
        );
        let end = from + name.chars().count() as f64 * LETTER;
        if from >= self.named_to && end <= self.right() {
            self.text("inside", "start", from, top - 5.0, name);
            self.named_to = end + LETTER;
        }
    }

    /// Bars from one value of the horizontal axis to the next, from the ground up.
    pub(super) fn bars(&mut self, class: &str, bars: &[(f64, f64, f64)]) {
        let ground = self.bottom();
        for (from, to, height) in bars.iter().filter(|(_, _, height)| *height > 0.0) {
            let (from, to, top) = (self.at_x(*from), self.at_x(*to), self.at_y(*height).min(ground - 0.6));
            let width = (to - from - 1.0).max(0.8);
            let _ = writeln!(
                self.drawn,
                r#"<rect class="{class}" x="{from:.1}" y="{top:.1}" width="{width:.1}" height="{:.1}"/>"#,
                ground - top
            );
        }
    }

    /// A line across the plot at a value of the horizontal axis, with a text in one of the lines above it.
    pub(super) fn upright(&mut self, x: f64, text: &str, row: usize) {
        let (x, bottom) = (self.at_x(x), self.bottom());
        let y = 11.0 + LINE * row as f64;
        let _ = writeln!(
            self.drawn,
            r#"<line class="upright" x1="{x:.1}" y1="{:.1}" x2="{x:.1}" y2="{bottom:.1}"/>"#,
            y - 9.0
        );
        let is_left = x < (self.left() + self.right()) / 2.0;
        if is_left {
            self.text("named", "start", x + 5.0, y, text);
        } else {
            self.text("named", "end", x - 5.0, y, text);
        }
    }

    /// What a pointer reads along the horizontal axis.
    pub(super) fn readings(&mut self, readings: Vec<Reading>) {
        self.readings = readings;
    }

    /// The drawing, with a description for those that can't see it.
    pub(super) fn finish(mut self, description: &str) -> String {
        self.end_labels();
        let readings: Vec<(f64, &str)> = self
            .readings
            .iter()
            .map(|reading| ((self.at_x(reading.x) * 10.0).round() / 10.0, reading.text.as_str()))
            .collect();
        let readings = serde_json::to_string(&readings).unwrap_or_default();
        format!(
            "<svg class=\"{}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\" data-top=\"{:.1}\" \
             data-bottom=\"{:.1}\" data-read=\"{}\">\n{}</svg>\n",
            self.size.class(),
            self.size.width(),
            self.height,
            escaped(description),
            self.top,
            self.bottom(),
            escaped(&readings),
            self.drawn
        )
    }

    /// Texts behind the ends of lines, moved apart where they would touch.
    fn end_labels(&mut self) {
        let mut ends = std::mem::take(&mut self.ends);
        ends.sort_by(|one, other| one.2.total_cmp(&other.2));
        let lowest = self.bottom() - 2.0;
        let mut taken_to = f64::NEG_INFINITY;
        for (_, _, y) in &mut ends {
            *y = (*y + 4.0).max(taken_to + LINE);
            taken_to = *y;
        }
        let mut free_to = f64::INFINITY;
        for (_, _, y) in ends.iter_mut().rev() {
            *y = y.min(lowest).min(free_to - LINE);
            free_to = *y;
        }
        let x = self.right() + 7.0;
        for (class, text, y) in ends {
            self.text(&format!("end {class}"), "start", x, y, &text);
        }
    }
}

/// What one event looks like.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark {
    Disc,
    Ring,
    Cross,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_becomes_text() {
        assert_eq!(escaped("<b a='1'>\"&\u{1b}"), "&lt;b a=&#39;1&#39;&gt;&quot;&amp; ");
    }

    #[test]
    fn ticks_are_round_few_and_within_the_axis() {
        #[rustfmt::skip]
        let table: &[(Span, usize, &[f64])] = &[
            (Span::linear(0.0, 9.0),     5, &[0.0, 2.0, 4.0, 6.0, 8.0]),
            (Span::linear(0.0, 36.0),    8, &[0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0]),
            (Span::log(100.0, 10_000.0), 9, &[100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0]),
            (Span::log(100.0, 10_000.0), 3, &[100.0, 1_000.0, 10_000.0]),
        ];
        for (span, most, want) in table {
            let ticks = span.ticks(*most);
            assert!(!ticks.is_empty() && ticks.len() <= *most, "{span:?}: {ticks:?}");
            for (got, want) in ticks.iter().zip(*want) {
                assert!((got / want - 1.0).abs() < 1e-9 || got == want, "{span:?}: {ticks:?}");
            }
        }
    }

    #[test]
    fn no_value_leaves_the_drawing() {
        for span in
            [Span::linear(0.0, 0.0), Span::linear(f64::NAN, 3.0), Span::log(0.0, 0.0), Span::log(5.0, 5.0)]
        {
            for value in [0.0, -1.0, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                let share = span.share(value);
                assert!((0.0..=1.0).contains(&share), "{span:?} at {value}: {share}");
            }
            assert!(span.ticks(5).iter().all(|tick| tick.is_finite()), "{span:?}");
        }
    }
}
