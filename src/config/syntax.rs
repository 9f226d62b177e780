//! Mistakes of syntax, all of them: the parser stops making sense of a text at the first one, so each is noted, its
//! line taken out, and the rest parsed again.
//!
//! Always holds: what is taken out becomes spaces, so places stay what they were; what is left is TOML, except for
//! keys that are given twice, of which the first counts.

use super::judge::{Raw, shown};
use super::report::{Mistake, Origin, Place, lines_around};
use super::schema::{Key, Only, section};
use std::ops::Range;
use toml::de::{DeTable, DeValue, Error};

/// A text without its mistakes of syntax.
pub(super) struct Clean {
    pub(super) text: String,
    pub(super) mistakes: Vec<Mistake>,
}

/// Rounds of parsing; a file with more mistakes of syntax gets the rest told when these are mended.
const ROUNDS_MAX: usize = 64;

/// Keys that are given twice for which the first one is looked for, through all of the file.
const FIRSTS_MAX: usize = 64;

/// What the parser says of a key or table that it has seen before; all else it says makes the rest unsure.
const DUPLICATE: &str = "duplicate key";

pub(super) fn clean(original: &str) -> Clean {
    let mut clean = Clean { text: original.to_owned(), mistakes: Vec::new() };
    for _ in 0..ROUNDS_MAX {
        let (table, errors) = DeTable::parse_recoverable(&clean.text);
        let first = errors
            .iter()
            .filter(|error| error.message() != DUPLICATE)
            .min_by_key(|error| place_of(error, &clean.text));
        let Some(first) = first else {
            let duplicates = errors.iter().enumerate().map(|(count, error)| {
                let table = (count < FIRSTS_MAX).then(|| table.get_ref());
                duplicate(place_of(error, &clean.text), &clean.text, table)
            });
            let duplicates: Vec<_> = duplicates.collect();
            clean.mistakes.extend(duplicates);
            return clean;
        };
        let place = place_of(first, &clean.text);
        let is_open = errors
            .iter()
            .any(|error| error.message().contains("array") || error.message().contains("inline table"));
        let opening = if is_open { opening(&clean.text, place.start) } else { None };
        let taken_out = match opening {
            Some(bracket) => {
                clean.mistakes.push(not_closed(&clean.text, bracket));
                swallowed(&clean.text, bracket)
            }
            None => {
                clean.mistakes.push(tell(first.message(), place, &clean.text));
                damaged(first.message(), place, &clean.text)
            }
        };
        let is_progress = clean.text[taken_out.clone()].bytes().any(|byte| !byte.is_ascii_whitespace());
        if !is_progress {
            break;
        }
        let spaces: String = clean.text[taken_out.clone()]
            .bytes()
            .map(|byte| if byte == b'\n' { '\n' } else { ' ' })
            .collect();
        clean.text.replace_range(taken_out, &spaces);
    }
    // Nothing that can be relied on.
    clean.text.clear();
    clean
}

/// Where the parser says that it is, at characters' borders.
fn place_of(error: &Error, text: &str) -> Place {
    let span = error.span().unwrap_or(0..0);
    let mut start = span.start.min(text.len());
    let mut end = span.end.clamp(start, text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    Place { start, end }
}

/// The bracket or brace that was opened last before a place, in a line that does not close it.
fn opening(text: &str, before: usize) -> Option<Place> {
    let line = lines_around(text, Place { start: before, end: before });
    let starts = line_starts(text, line.end).filter_map(|start| {
        let line = line_at(text, start);
        let equals = line.find('=')?;
        let count = |mark: char| line[equals..].matches(mark).count();
        let is_open = count('[') > count(']') || count('{') > count('}');
        let at = start + equals + line[equals..].find(['[', '{'])?;
        is_open.then_some(Place { start: at, end: at + 1 })
    });
    starts.last()
}

fn not_closed(text: &str, bracket: Place) -> Mistake {
    let (what, end) = if text[bracket.start..].starts_with('[') { ("list", ']') } else { ("table", '}') };
    Mistake::new(
        &Origin::File(bracket),
        format!("this {what} does not end, or has a mistake inside"),
        format!("close it with {end}"),
    )
}

/// What belongs to a list or table that does not end: the line where it was opened and those behind it, up to a header
/// or a key.
fn swallowed(text: &str, bracket: Place) -> Range<usize> {
    let first = lines_around(text, bracket);
    let is_next = |start: &usize| {
        let line = line_at(text, *start).trim_start();
        let name = line.split('=').next().unwrap_or_default().trim_end();
        let is_key = name.len() < line.len()
            && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-.".contains(letter));
        *start > first.start && (line.starts_with('[') || is_key)
    };
    first.start..line_starts(text, text.len()).find(is_next).map_or(text.len(), |next| next - 1)
}

/// The lines that can't be trusted: that of the mistake; of a header, also all that stands under it; of a long string,
/// all from where it began.
fn damaged(message: &str, at: Place, text: &str) -> Range<usize> {
    let here = lines_around(text, at);
    if message.contains("multi-line") {
        return long_text(text, here.end).map_or(here.start, |mark| lines_around(text, mark).start)..here.end;
    }
    if !line_at(text, here.start).trim_start().starts_with('[') {
        return here;
    }
    let next = line_starts(text, text.len())
        .find(|next| *next > here.start && line_at(text, *next).trim_start().starts_with('['));
    here.start..next.map_or(text.len(), |next| next - 1)
}

/// The last three quotes before a place: there a text over several lines began.
fn long_text(text: &str, before: usize) -> Option<Place> {
    let marks = ["\"\"\"", "'''"].iter().filter_map(|mark| text[..before].rfind(mark));
    marks.max().map(|start| Place { start, end: start + 3 })
}

/// Where the lines begin that begin before `end`.
fn line_starts(text: &str, end: usize) -> impl Iterator<Item = usize> {
    let breaks = text[..end].match_indices('\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(breaks)
}

fn line_at(text: &str, start: usize) -> &str {
    text[start..].split('\n').next().unwrap_or_default()
}

fn tell(message: &str, at: Place, text: &str) -> Mistake {
    let lines = lines_around(text, at);
    let line = &text[lines.clone()];
    let trimmed = line.trim();
    let whole = lines.start + (line.len() - line.trim_start().len());
    let whole = Place { start: whole, end: whole + trimmed.len() };
    if message.starts_with("key with no value") {
        let title = "this is neither `key = value` nor a [table]";
        return Mistake::new(&Origin::File(whole), title, "write a value behind it, or # before it");
    }
    if let Some(mark) = long_text(text, at.end).filter(|_| message.contains("multi-line")) {
        return Mistake::new(
            &Origin::File(mark),
            "this text does not end",
            "end it with the same three quotes",
        );
    }
    if let Some(value) = bare_value(line, at.start - lines.start) {
        let place = Place { start: lines.start + value.start, end: lines.start + value.end };
        return bare(&line[value], place, text, line);
    }
    if let Some(empty) = line.trim_end().strip_suffix('=').filter(|before| !before.contains(['=', '#'])) {
        let title = format!("`{}` has no value", empty.trim().escape_debug());
        let advice = key_of(line, text, lines.start)
            .map_or("give it one".to_owned(), |key| format!("give it {}", key.takes()));
        return Mistake::new(&Origin::File(whole), title, advice);
    }
    let (title, advice) = if message.contains("escape") {
        ("a backslash that means nothing", "write it as \\\\, or the text in single quotes".to_owned())
    } else if message.starts_with("invalid") && message.contains("string") {
        ("this text does not end", "end it with a quote, on the same line".to_owned())
    } else if trimmed.starts_with('[') {
        ("this is no header of a table", header_advice(trimmed))
    } else {
        (message, "this is not TOML".to_owned())
    };
    Mistake::new(&Origin::File(at), title, advice)
}

/// How the header would be written right.
fn header_advice(line: &str) -> String {
    let name = line.trim_matches(['[', ']', ' ', '\t']);
    let known = section(name).filter(|section| !section.name.is_empty());
    known.map_or("a table is written [name], one of a list [[name]]".to_owned(), |section| {
        format!("write {}", section.header())
    })
}

/// The value of this line, if the mistake lies in it and it stands there without quotes or brackets.
fn bare_value(line: &str, at: usize) -> Option<Range<usize>> {
    let equals = line.find('=')?;
    let value = &line[equals + 1..];
    let value = &value[..value.find(" #").unwrap_or(value.len())];
    let start = equals + 1 + (value.len() - value.trim_start().len());
    let value = value.trim();
    let is_bare =
        value.chars().next().is_some_and(|first| first.is_alphanumeric() || "./:*+-_".contains(first));
    let is_here = at > equals && !value.contains(['"', '\'', '[', '{', '=']);
    (is_bare && is_here).then(|| start..start + value.len())
}

/// Says what the value would be for its key if it were written right.
fn bare(value: &str, place: Place, text: &str, line: &str) -> Mistake {
    let origin = Origin::File(place);
    let judged = key_of(line, text, place.start).map(|key| key.judge(&Raw::Bare(value.to_owned())));
    match judged {
        Some(Ok(meant)) => Mistake::new(
            &origin,
            format!("{} is not written as TOML", shown(value)),
            format!("write {meant}"),
        ),
        Some(Err(refusal)) => Mistake::new(&origin, refusal.title, refusal.advice),
        None => Mistake::new(&origin, "a text needs quotes", format!("write {}", shown(value))),
    }
}

/// The key of a line, by its name and the last header above it.
fn key_of(line: &str, text: &str, at: usize) -> Option<&'static Key> {
    let name = line.split('=').next()?.trim();
    let above = text[..at].lines().rev().map(str::trim).find(|line| line.starts_with('['));
    let header = above.unwrap_or_default().trim_matches(['[', ']', ' ']);
    let section = section(header)?;
    section.key(name, Only::Frames).or_else(|| section.key(name, Only::Lines))
}

/// With the tree, also says where the first one is.
fn duplicate(at: Place, text: &str, table: Option<&DeTable<'_>>) -> Mistake {
    let origin = Origin::File(at);
    let name = &text[at.start..at.end];
    let line = line_at(text, lines_around(text, at).start).trim_start();
    let title = format!("`{}` is given twice", name.escape_debug());
    if line.starts_with('[') {
        let mistake = Mistake::new(&origin, title, "put its keys together under one header");
        let header = line.find(']').map_or(line, |end| &line[..end]);
        let first = line_starts(text, at.start)
            .take_while(|_| table.is_some())
            .find(|start| line_at(text, *start).trim_start().starts_with(header));
        let first = first.map(|start| start + text[start..].find(name).unwrap_or_default());
        return match first {
            Some(first) if first + name.len() <= at.start => {
                mistake.with(&Origin::File(Place { start: first, end: first + name.len() }), "here first")
            }
            _ => mistake,
        };
    }
    let mistake = Mistake::new(&origin, title, "take one of the two out");
    let mut first = None;
    if let Some(table) = table {
        nearest_before(table, name, at.start, &mut first);
    }
    match first {
        Some(first) => mistake.with(&Origin::File(first), "here first"),
        None => mistake,
    }
}

/// The last key of this name before a place, wherever it is in the tree.
fn nearest_before(table: &DeTable<'_>, name: &str, before: usize, found: &mut Option<Place>) {
    for (key, value) in table {
        let place = Place::from(key.span());
        if key.get_ref() == name && place.end <= before && found.is_none_or(|found| found.start < place.start)
        {
            *found = Some(place);
        }
        match value.get_ref() {
            DeValue::Table(inner) => nearest_before(inner, name, before, found),
            DeValue::Array(list) => {
                for inner in list.iter().filter_map(|value| value.get_ref().as_table()) {
                    nearest_before(inner, name, before, found);
                }
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }
}
