//! The same answers as text: tables for a terminal.
//!
//! Always holds: made from the answer that JSON is made from, so the two say the same. Never: colours; a column that is
//! cut.

use super::answer::{ClosedList, Ended, Event, List, Live, Missing, One};
use std::fmt::Write as _;

/// A row's cells in columns two spaces apart; those of numbers end where they end.
fn columns<const N: usize>(head: [&str; N], is_number: [bool; N], rows: &[[String; N]]) -> String {
    let mut out = String::new();
    let width = |at: usize| rows.iter().map(|row| row[at].len()).chain([head[at].len()]).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in std::iter::once(head.map(str::to_owned)).chain(rows.iter().cloned()) {
        let mut line = String::new();
        for at in 0..N {
            let (cell, width) = (&row[at], widths[at]);
            let _ = if is_number[at] {
                write!(line, "{cell:>width$}  ")
            } else {
                write!(line, "{cell:<width$}  ")
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

pub(super) fn list(list: &List) -> String {
    let List { by, open, matching, connections, missing, .. } = list;
    let mut out = format!("{} of {matching} connections by {by}, {open} open\n", connections.len());
    tell_missing(&mut out, missing);
    if connections.is_empty() {
        return out;
    }
    let head = [
        "ID",
        "PEER",
        "LISTENER",
        "CLIENT",
        "STATE",
        "AGE",
        "IDLE",
        "BYTES IN",
        "BYTES OUT",
        "QUEUED",
        "OPEN",
    ];
    let rows: Vec<_> = connections
        .iter()
        .map(|live| {
            [
                live.id.clone(),
                live.peer.clone(),
                live.listener.clone(),
                live.client_id.clone().unwrap_or_else(|| "-".to_owned()),
                state_in_words(live),
                age(live.age_s),
                age(live.idle_s),
                live.bytes_in.to_string(),
                live.bytes_out.to_string(),
                live.queued_bytes.to_string(),
                live.open_requests.to_string(),
            ]
        })
        .collect();
    let is_number = [false, false, false, false, false, true, true, true, true, true, true];
    out.push_str(&columns(head, is_number, &rows));
    out
}

pub(super) fn one(one: &One) -> String {
    let One { connection: live, events, .. } = one;
    let mut out = format!("{}  {}  {}\n", live.id, live.peer, state_in_words(live));
    let mut row = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:<10}{value}");
    };
    row("listener", live.listener.clone());
    row("client", live.client_id.clone().unwrap_or_else(|| "said no HELLO".to_owned()));
    row("opened", format!("{}, {} ago; idle for {}", live.opened, age(live.age_s), age(live.idle_s)));
    row(
        "in",
        format!(
            "{} B, {}; {} B wait to be handled",
            live.bytes_in,
            count(live.messages_in, "message"),
            live.input_bytes
        ),
    );
    row(
        "out",
        format!(
            "{} B; {} B wait to be sent; {} open",
            live.bytes_out,
            live.queued_bytes,
            count(live.open_requests, "request")
        ),
    );
    if let Some(rtt_us) = live.rtt_us {
        row("heartbeat", format!("answered in {rtt_us} µs"));
    }
    tell_events(&mut out, events);
    out
}

pub(super) fn closed(list: &ClosedList) -> String {
    let ClosedList { closed, missing, .. } = list;
    let mut out = if closed.len() == 1 {
        "the last one closed\n".to_owned()
    } else {
        format!("the last {} closed\n", closed.len())
    };
    tell_missing(&mut out, missing);
    for ended in closed {
        out.push('\n');
        tell_end(&mut out, ended);
    }
    out
}

fn tell_end(out: &mut String, ended: &Ended) {
    let Ended { id, peer, reason, class, .. } = ended;
    let _ = writeln!(out, "{id}  {peer}  {reason} ({class})");
    let mut row = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:<10}{value}");
    };
    if let Some(words) = &ended.words {
        row("words", words.clone());
    }
    row("listener", ended.listener.clone());
    if let Some(client_id) = &ended.client_id {
        row("client", client_id.clone());
    }
    row("closed", format!("{}, {} ago, after {}", ended.closed, age(ended.ago_s), age(ended.lasted_s)));
    let paused = if ended.paused.is_empty() {
        String::new()
    } else {
        format!(", paused for {}", ended.paused.join(", "))
    };
    row(
        "then",
        format!(
            "{}{paused}, {} B queued, {} open, {} B not handled; {} until closed",
            ended.state,
            ended.queued_bytes,
            count(ended.open_requests, "request"),
            ended.input_bytes,
            age(ended.leaving_s)
        ),
    );
    row(
        "in, out",
        format!("{} B in {}, {} B", ended.bytes_in, count(ended.messages_in, "message"), ended.bytes_out),
    );
    tell_events(out, &ended.events);
}

fn tell_events(out: &mut String, events: &[Event]) {
    for Event { at, event, number, unit, .. } in events {
        let number = number.zip(*unit).map_or_else(String::new, |(number, unit)| format!("{unit} {number}"));
        let line = format!("  {at}  {event:<18}{number}");
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

fn tell_missing(out: &mut String, missing: &[Missing]) {
    for Missing { shard: _, why } in missing {
        let _ = writeln!(out, "missing: {why}");
    }
}

fn state_in_words(live: &Live) -> String {
    let mut out = live.state.to_owned();
    if let Some(ending) = live.ending {
        let _ = write!(out, " ({ending})");
    }
    if !live.paused.is_empty() {
        let _ = write!(out, ", paused ({})", live.paused.join(", "));
    }
    out
}

/// `1 message`, `2 messages`.
fn count(number: u32, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// An age in at most two units.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds since a start, and not below it"
)]
fn age(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{seconds:.3}s"),
        60..3_600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3_600..86_400 => format!("{}h{:02}m", whole / 3_600, whole / 60 % 60),
        86_400.. => format!("{}d{:02}h", whole / 86_400, whole / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (seconds, want) in [
            (0.0, "0.000s"),
            (59.999, "59.999s"),
            (60.0, "1m00s"),
            (3_599.9, "59m59s"),
            (3_600.0, "1h00m"),
            (90_000.0, "1d01h"),
        ] {
            assert_eq!(age(seconds), want, "case: {seconds}");
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "12345".to_owned()], ["long".to_owned(), "1".to_owned()]];
        assert_eq!(columns(["X", "N"], [false, true], &rows), "X         N\na     12345\nlong      1\n");
    }
}
