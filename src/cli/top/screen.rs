//! A view as lines of a terminal. Pure.
//!
//! Always holds: no line is wider than the terminal, no more lines than it has; what a peer calls itself is text. What does
//! not fit goes from below: connections first, then loops. Never: a meaning that only a colour has.

use super::view::{Count, Limit, Loop, Talker, View};
use crate::cli::bench::paint::{Ink, Paint};
use crate::load::words::{self, bytes, count, percent, short, time};

/// Columns of the names of rows.
const NAMES: usize = 13;

/// Cells of a bar of use.
const BAR: usize = 24;

/// Columns of how busy a loop is: a bar and its share.
const BUSY: usize = BAR + 6;

/// A limit with so much in use is told in another colour.
const NEARLY_FULL: f64 = 0.9;

/// A loop that is in one turn for so long is stuck, or nearly so: what the watchdog counts as such.
const STUCK_S: f64 = 1.0;

/// How the last connections are to be had.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Listed {
    /// These.
    Known(Vec<Talker>),
    /// Not, and why.
    Unknown(String),
}

/// Everything that is drawn.
#[derive(Clone, Debug)]
pub(super) struct Scene<'a> {
    pub(super) address: &'a str,
    /// What was seen last; `None`: nothing yet.
    pub(super) view: Option<&'a View>,
    pub(super) listed: &'a Listed,
    pub(super) by: &'a str,
    /// What is so in the way of it, such as a server that does not answer.
    pub(super) alarm: Option<&'a str>,
    pub(super) is_paused: bool,
    /// Whether there are keys.
    pub(super) has_keys: bool,
}

/// A line in the making: pieces, each in its colour, up to a width.
struct Line {
    paint: Paint,
    width: usize,
    used: usize,
    text: String,
}

impl Line {
    /// As much of it as there is room for; the last column of what is cut says so.
    fn add(mut self, ink: Ink, text: &str) -> Line {
        let room = self.width - self.used;
        let length = text.chars().count();
        let cut: String = match length <= room {
            true => text.to_owned(),
            false if room == 0 => String::new(),
            false => text.chars().take(room - 1).chain(['…']).collect(),
        };
        self.used += length.min(room);
        self.text += &self.paint.text(ink, &cut);
        self
    }
}

/// The lines of a scene on a terminal of so many columns and lines.
pub(super) fn lines(scene: &Scene<'_>, (width, height): (usize, usize), in_colour: bool) -> Vec<String> {
    let paint = Paint { in_colour };
    let line = || Line { paint, width, used: 0, text: String::new() };
    let named = |name: &str| line().add(Ink::Faint, &format!("{name:<NAMES$}"));
    let mut out = vec![head(scene, line())];
    if let Some(alarm) = scene.alarm {
        out.push(line().add(Ink::Alarm, alarm).text);
    }
    let Some(view) = scene.view else { return first(out, height) };
    out.push(String::new());
    for (name, ink, text) in figures(view) {
        out.push(named(name).add(ink, &text).text);
    }
    out.push(String::new());
    out.extend(view.limits.iter().map(|limit| limit_line(limit, named(limit.name))));
    out.push(String::new());
    // The head of a table, the last connections' head, and one of them.
    let room = height.saturating_sub(out.len() + 4).max(1);
    let head = format!(
        "{:>4}  {:<BUSY$}{:>12}{:>12}{:>6}{:>14}",
        "loop", "busy", "connections", "messages", "open", "no processor"
    );
    out.push(line().add(Ink::Faint, &head).text);
    let shown = if view.loops.len() <= room { view.loops.len() } else { room.saturating_sub(1) };
    out.extend(view.loops.iter().take(shown).map(|of_loop| loop_line(of_loop, line())));
    if shown < view.loops.len() {
        out.push(line().add(Ink::Faint, &format!("      and {} more loops", view.loops.len() - shown)).text);
    }
    out.push(String::new());
    match scene.listed {
        Listed::Unknown(why) => out.push(named("by ").add(Ink::Plain, why).text),
        Listed::Known(talkers) => {
            let head = format!(
                "{:<23}{:<14}{:<22}{:>5} {:>9} {:>9} {:>9}{:>6}  ID",
                "PEER", "CLIENT", "STATE", "AGE", "IN", "OUT", "QUEUED", "OPEN"
            );
            out.push(line().add(Ink::Faint, &head).text);
            out.extend(talkers.iter().map(|talker| talker_line(talker, line())));
        }
    }
    first(out, height)
}

fn first(mut lines: Vec<String>, height: usize) -> Vec<String> {
    lines.truncate(height);
    lines
}

fn head(scene: &Scene<'_>, line: Line) -> String {
    let version = scene.view.and_then(|view| view.version.as_deref()).unwrap_or("");
    let mut line = line
        .add(Ink::Strong, &format!("tidegate {version}"))
        .add(Ink::Plain, &format!(" at {}", scene.address));
    if let Some(uptime) = scene.view.and_then(|view| view.uptime_s) {
        line = line.add(Ink::Plain, &format!(", up {}", long_time(uptime)));
    }
    if scene.view.is_some_and(|view| view.is_draining) {
        line = line.add(Ink::Plain, "  ").add(Ink::Alarm, "draining");
    }
    if scene.is_paused {
        line = line.add(Ink::Plain, "  ").add(Ink::Alarm, "paused, p goes on");
    }
    if scene.has_keys {
        let keys = format!("   {} first   b bytes, u queued, a age, p pause, q quit", scene.by);
        line = line.add(Ink::Faint, &keys);
    }
    line.text
}

/// The rows of figures: name, colour, text.
fn figures(view: &View) -> Vec<(&'static str, Ink, String)> {
    let a_second = |figure: Option<f64>| figure.map_or("-".to_owned(), rate);
    let whole = |figure: Option<f64>| figure.map_or("-".to_owned(), number);
    let size = |figure: Option<f64>| figure.map_or("-".to_owned(), |each| format!("{}/s", size_of(each)));
    let below = |figure: Option<f64>| match figure {
        None => "-".to_owned(),
        Some(seconds) if seconds.is_finite() => format!("≤ {}", time(seconds * 1e9)),
        Some(_) => "longer than all bounds".to_owned(),
    };
    let View { messages, bytes, connections, requests, times, .. } = view;
    let mut open = format!(
        "{} open, {} new, {} ended, {} refused",
        whole(connections.open),
        a_second(connections.new_per_s),
        a_second(connections.ended_per_s),
        a_second(connections.refused_per_s)
    );
    if connections.at_entrance.is_some_and(|waiting| waiting > 0.0) {
        open += &format!(", {} at the entrance", whole(connections.at_entrance));
    }
    let mut rows = vec![
        (
            "messages",
            Ink::Strong,
            format!("in {:<12} out {}", a_second(messages.in_per_s), a_second(messages.out_per_s)),
        ),
        ("bytes", Ink::Plain, format!("in {:<12} out {}", size(bytes.in_per_s), size(bytes.out_per_s))),
        ("connections", Ink::Plain, open),
        (
            "requests",
            Ink::Plain,
            format!(
                "{} started, {} open, {} failed, {} lost",
                a_second(requests.started_per_s),
                whole(requests.open),
                a_second(requests.failed_per_s),
                a_second(requests.lost_per_s)
            ),
        ),
        (
            "p99",
            Ink::Plain,
            format!(
                "turn {}, wait {}, handler {}",
                below(times.turn_p99_s),
                below(times.wait_p99_s),
                below(times.handler_p99_s)
            ),
        ),
    ];
    for (name, ink, counts) in [
        ("not read", Ink::Plain, &connections.paused),
        ("troubles", Ink::Bad, &view.troubles),
        ("refused", Ink::Bad, &view.refused),
        ("closed", Ink::Plain, &view.closed),
    ] {
        if !counts.is_empty() {
            rows.push((name, ink, list(counts)));
        }
    }
    rows
}

/// `reset 12 (3.00/s), idle 4`
fn list(counts: &[Count]) -> String {
    let each = counts.iter().map(|count| match count.per_s {
        Some(per_s) if per_s > 0.0 => format!("{} {} ({})", count.name, number(count.total), rate(per_s)),
        _ => format!("{} {}", count.name, number(count.total)),
    });
    each.collect::<Vec<_>>().join(", ")
}

fn limit_line(limit: &Limit, line: Line) -> String {
    let share = (limit.used / limit.most).clamp(0.0, 1.0);
    let ink = if share >= NEARLY_FULL { Ink::Bad } else { Ink::Plain };
    let figure = |value| if limit.is_bytes { size_of(value) } else { number(value) };
    line.add(ink, &bar(share, BAR))
        .add(ink, &format!("{:>8}  {} of {}", percent(share), figure(limit.used), figure(limit.most)))
        .text
}

fn loop_line(of_loop: &Loop, line: Line) -> String {
    let line = line.add(Ink::Plain, &format!("{:>4}  ", of_loop.shard));
    if of_loop.is_dead {
        return line.add(Ink::Alarm, "dead: the server drains and ends").text;
    }
    let share = |part: Option<f64>| part.map_or("-".to_owned(), |part| format!("{:.0} %", part * 100.0));
    let busy = of_loop.busy.unwrap_or(0.0).clamp(0.0, 1.0);
    let ink = if busy >= NEARLY_FULL { Ink::Bad } else { Ink::Plain };
    let starved = if of_loop.starved.is_some_and(|part| part > 0.1) { Ink::Bad } else { Ink::Plain };
    let line = line
        .add(ink, &format!("{} {:>5}", bar(busy, BAR - 2), share(of_loop.busy)))
        .add(Ink::Plain, &format!("{:>12}", of_loop.connections.map_or("-".to_owned(), number)))
        .add(Ink::Plain, &format!("{:>12}", of_loop.messages_per_s.map_or("-".to_owned(), rate)))
        .add(Ink::Plain, &format!("{:>6}", of_loop.open_requests.map_or("-".to_owned(), number)))
        .add(starved, &format!("{:>14}", share(of_loop.starved)));
    match of_loop.turn_s {
        Some(turn) if turn >= STUCK_S => {
            line.add(Ink::Plain, "  ").add(Ink::Alarm, &format!("in one turn for {}", time(turn * 1e9))).text
        }
        Some(_) | None => line.text,
    }
}

/// The columns are those of the head.
fn talker_line(talker: &Talker, line: Line) -> String {
    let state = match (talker.state.as_str(), talker.paused.as_slice()) {
        (state, []) => state.to_owned(),
        // The usual place needs no word.
        ("serving", why) => format!("paused: {}", why.join(" ")),
        (state, why) => format!("{state}, paused: {}", why.join(" ")),
    };
    let name = talker.client_id.as_deref().unwrap_or("-");
    line.add(Ink::Plain, &column(&talker.peer, 23))
        .add(Ink::Plain, &column(name, 14))
        .add(if talker.paused.is_empty() { Ink::Plain } else { Ink::Bad }, &column(&state, 22))
        .add(Ink::Plain, &format!("{:>5}", age(talker.age_s)))
        .add(Ink::Plain, &format!(" {:>9}", size_of(talker.bytes_in as f64)))
        .add(Ink::Plain, &format!(" {:>9}", size_of(talker.bytes_out as f64)))
        .add(Ink::Plain, &format!(" {:>9}", size_of(talker.queued_bytes as f64)))
        .add(Ink::Plain, &format!("{:>6}", short(talker.open_requests as f64)))
        .add(Ink::Faint, &format!("  {}", talker.id))
        .text
}

/// A text in so many columns, one of them free.
fn column(text: &str, width: usize) -> String {
    if text.chars().count() < width {
        return format!("{text:<width$}");
    }
    text.chars().take(width - 2).chain(['…', ' ']).collect()
}

/// `[######------]`
fn bar(share: f64, cells: usize) -> String {
    let full = (1..=cells).filter(|cell| *cell as f64 <= share * cells as f64 + 0.5).count();
    format!("[{}{}]", "#".repeat(full), "-".repeat(cells - full))
}

/// `61,000/s`, and nothing is `0/s`.
fn rate(a_second: f64) -> String {
    if a_second == 0.0 { "0/s".to_owned() } else { words::rate(a_second) }
}

/// Whole ones with their thousands apart.
fn number(figure: f64) -> String {
    count(crate::load::units::whole(figure))
}

fn size_of(figure: f64) -> String {
    bytes(crate::load::units::whole(figure))
}

/// `12 s`, `3 m`, `5 h`, `2 d`: how old, in a few columns.
fn age(seconds: f64) -> String {
    let table = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "m")];
    let fitting = table.iter().find(|(unit, _)| seconds >= 2.0 * unit);
    fitting.map_or_else(
        || format!("{seconds:.0}s"),
        |(unit, name)| format!("{:.0}{name}", (seconds / unit).floor()),
    )
}

/// `3 d 4 h`, `2 h 5 m`, `4 m 10 s`, `8 s`
fn long_time(seconds: f64) -> String {
    let whole = crate::load::units::whole(seconds);
    match (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60, whole % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} m {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} m"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests;
