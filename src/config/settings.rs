//! Every key of every table with its value and where that came from: what was written, judged key by key.
//!
//! Always holds: a value is in its key's range; one that was refused is missing, and a mistake says why. Tables are in
//! the order of the schema, keys of a listener are those of its protocol. Never: how values go together.

use super::judge::Raw;
use super::layers::{RawTable, Written};
use super::report::{Mistake, Origin};
use super::schema::{Key, Only, SECTIONS, Section};
use super::value::{Secret, Value};
use std::ops::RangeInclusive;
use std::time::Duration;

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) key: &'static Key,
    /// `None` if it was refused.
    pub(super) value: Option<Value>,
    pub(super) origin: Origin,
}

/// A table with all its keys.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) section: &'static Section,
    pub(super) origin: Origin,
    pub(super) settings: Vec<Setting>,
    /// Whether something in it could not be read, so that a default may not be what is wanted.
    pub(super) is_partial: bool,
}

impl Part {
    /// A key that was not refused, and that this table has.
    pub(super) fn find(&self, name: &str) -> Option<(&Setting, &Value)> {
        let setting = self.settings.iter().find(|setting| setting.key.name == name)?;
        Some((setting, setting.value.as_ref()?))
    }

    pub(super) fn count(&self, name: &str) -> Option<u64> {
        if let Value::Count(number) = self.find(name)?.1 { Some(*number) } else { None }
    }

    pub(super) fn ratio(&self, name: &str) -> Option<u32> {
        if let Value::Ratio(millionths) = self.find(name)?.1 { Some(*millionths) } else { None }
    }

    pub(super) fn size(&self, name: &str) -> Option<u64> {
        if let Value::Size(bytes) = self.find(name)?.1 { Some(*bytes) } else { None }
    }

    pub(super) fn time(&self, name: &str) -> Option<Duration> {
        if let Value::Time(time) = self.find(name)?.1 { Some(*time) } else { None }
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        matches!(self.find(name), Some((_, Value::Switch(true))))
    }

    pub(super) fn word(&self, name: &str) -> Option<&'static str> {
        if let Value::Word(word) = self.find(name)?.1 { Some(word) } else { None }
    }

    pub(super) fn address(&self) -> Option<&str> {
        if let Value::Address(text) = self.find("address")?.1 { Some(text) } else { None }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        if let Value::Text(text) = self.find(name)?.1 { Some(text) } else { None }
    }

    pub(super) fn secret(&self, name: &str) -> Option<&Secret> {
        if let Value::Secret(secret) = self.find(name)?.1 { Some(secret) } else { None }
    }

    pub(super) fn headers(&self) -> Option<RangeInclusive<u16>> {
        if let Value::Headers(routes) = self.find("headers")?.1 { Some(routes.clone()) } else { None }
    }
}

/// Judges everything that was written. With `is_partial`, what is missing may stand in a part that could not be read.
pub(super) fn judge(written: &Written, is_partial: bool, mistakes: &mut Vec<Mistake>) -> Vec<Part> {
    let mut parts = Vec::new();
    for section in &SECTIONS {
        if section.is_list {
            let (_, tables) = written.list(section.name).unwrap_or((&Origin::Default, &[]));
            parts.extend(tables.iter().map(|table| judge_table(section, table, is_partial, mistakes)));
            continue;
        }
        let nothing = RawTable::new(Origin::Default);
        let table = written.table(section.name).unwrap_or(&nothing);
        parts.push(judge_table(section, table, is_partial, mistakes));
    }
    parts
}

fn judge_table(
    section: &'static Section,
    table: &RawTable,
    is_partial: bool,
    mistakes: &mut Vec<Mistake>,
) -> Part {
    let only = kind_of_listener(table);
    let is_partial = is_partial || table.is_partial;
    let mut settings = Vec::new();
    for key in
        section.keys.iter().filter(|key| key.only == Only::All || only.is_none_or(|only| only == key.only))
    {
        if settings.iter().any(|setting: &Setting| setting.key.name == key.name) {
            continue;
        }
        settings.push(judge_key(section, key, table, is_partial, mistakes));
    }
    for (name, (_, origin)) in &table.entries {
        if !settings.iter().any(|setting| setting.key.name == *name) {
            mistakes.push(misplaced(name, origin));
        }
    }
    Part { section, origin: table.origin.clone(), settings, is_partial }
}

fn judge_key(
    section: &Section,
    key: &'static Key,
    table: &RawTable,
    is_partial: bool,
    mistakes: &mut Vec<Mistake>,
) -> Setting {
    let Some((raw, origin)) = table.entries.get(key.name) else {
        if key.default.is_none() && !is_partial {
            let example = match key.name {
                "address" => "address = \"127.0.0.1:7411\"",
                "headers" => "headers = \"0x0010\"",
                "name" => "name = \"alice\"",
                _ => "service = \"echo\"",
            };
            let title = format!("{} has no `{}`", section.header(), key.name);
            mistakes.push(Mistake::new(&table.origin, title, format!("give it one, such as {example}")));
        }
        return Setting { key, value: key.default.clone(), origin: Origin::Default };
    };
    let value = match key.judge(raw) {
        Ok(value) => Some(value),
        Err(refusal) => {
            mistakes.push(Mistake::new(origin, refusal.title, refusal.advice));
            None
        }
    };
    Setting { key, value, origin: origin.clone() }
}

/// Which keys a listener has; `None` if its protocol can't be told, and for what is no listener.
fn kind_of_listener(table: &RawTable) -> Option<Only> {
    match table.entries.get("protocol") {
        None => Some(Only::Frames),
        Some((Raw::Text(text) | Raw::Bare(text), _)) => match text.as_str() {
            "frame" => Some(Only::Frames),
            "line" => Some(Only::Lines),
            _ => None,
        },
        Some((Raw::Integer(_) | Raw::Float(_) | Raw::Switch(_) | Raw::Other(_), _)) => None,
    }
}

/// A key of the other protocol.
fn misplaced(name: &str, origin: &Origin) -> Mistake {
    let (title, advice) = match name {
        "route" => ("frames name their own route", "take it out, or set protocol = \"line\""),
        _ => ("lines have neither headers nor HELLO", "take it out, or set protocol = \"frame\""),
    };
    Mistake::new(origin, format!("`{name}` is of no use here: {title}"), advice)
}
