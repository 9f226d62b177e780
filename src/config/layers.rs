//! Where values come from, one above the other: defaults, the file, the environment, flags.
//!
//! Always holds: a value is under a key that exists, and knows where it came from; a list of the file replaces the
//! default's, the environment and flags change single values and append. Never: whether the value is any good.

use super::judge::{Raw, nearest};
use super::report::{Mistake, Origin, Place};
use super::schema::{Form, Key, Kind, NOT_THERE, Only, SECTIONS, Section, section};
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One table as it was written.
#[derive(Debug)]
pub(super) struct RawTable {
    /// Where it begins.
    pub(super) origin: Origin,
    pub(super) entries: BTreeMap<&'static str, (Raw, Origin)>,
    /// Whether it has keys that nobody knows: what is missing may be one of them.
    pub(super) is_partial: bool,
}

/// Everything that was written.
#[derive(Debug, Default)]
pub(super) struct Written {
    tables: BTreeMap<&'static str, RawTable>,
    lists: BTreeMap<&'static str, (Origin, Vec<RawTable>)>,
}

impl RawTable {
    pub(super) fn new(origin: Origin) -> RawTable {
        RawTable { origin, entries: BTreeMap::new(), is_partial: false }
    }
}

impl Written {
    /// The table of a section that is no list.
    pub(super) fn table(&self, name: &str) -> Option<&RawTable> {
        self.tables.get(name)
    }

    /// The tables of a list, and where it came from.
    pub(super) fn list(&self, name: &str) -> Option<(&Origin, &[RawTable])> {
        self.lists.get(name).map(|(origin, list)| (origin, list.as_slice()))
    }

    pub(super) fn table_mut(&mut self, name: &'static str) -> &mut RawTable {
        self.tables.entry(name).or_insert_with(|| RawTable::new(Origin::Default))
    }

    pub(super) fn list_mut(&mut self, name: &'static str) -> &mut Vec<RawTable> {
        &mut self.lists.entry(name).or_insert_with(|| (Origin::Default, Vec::new())).1
    }

    /// Where in the file secrets are.
    pub(super) fn secrets(&self) -> impl Iterator<Item = Place> {
        let is_secret = |section: &str, name: &str| {
            let key = SECTIONS.iter().find(|known| known.name == section)?.key(name, Only::All)?;
            Some(matches!(key.kind, Kind::Secret { .. }))
        };
        let entries = self.tables.iter().flat_map(|(section, table)| {
            table.entries.iter().map(move |(name, (_, origin))| (section, name, origin))
        });
        let known = entries.filter_map(move |(section, name, origin)| match origin {
            Origin::File(place) if is_secret(section, name) == Some(true) => Some(*place),
            Origin::File(_) | Origin::Variable { .. } | Origin::Flag(_) | Origin::Default | Origin::Kept => {
                None
            }
        });
        // Who writes a token where its hash belongs is not told so with the token.
        let hashes = self
            .lists
            .values()
            .flat_map(|(_, list)| list)
            .filter_map(|table| table.entries.get("token_hash"));
        known.chain(hashes.filter_map(|(raw, origin)| match (raw, origin) {
            (Raw::Text(text), Origin::File(place)) if Form::TokenHash.check(text).is_err() => Some(*place),
            _ => None,
        }))
    }

    /// Whether a table has keys that nobody knows, of which one may be a secret by another name.
    pub(super) fn has_unknown_keys(&self) -> bool {
        let lists = self.lists.values().flat_map(|(_, list)| list);
        self.tables.values().chain(lists).any(|table| table.is_partial)
    }

    /// Nobody gave any of this.
    pub(super) fn into_default(mut self) -> Written {
        let lists = self.lists.values_mut().flat_map(|(origin, list)| {
            *origin = Origin::Default;
            list.iter_mut()
        });
        for table in self.tables.values_mut().chain(lists) {
            table.origin = Origin::Default;
            for (_, origin) in table.entries.values_mut() {
                *origin = Origin::Default;
            }
        }
        self
    }

    /// What `upper` has goes above this: its values, and its lists as a whole.
    pub(super) fn under(mut self, upper: Written) -> Written {
        for (name, table) in upper.tables {
            let mine = self.table_mut(name);
            mine.origin = table.origin;
            mine.is_partial = table.is_partial;
            mine.entries.extend(table.entries);
        }
        self.lists.extend(upper.lists);
        self
    }
}

/// Reads a parsed file. What is not known is a mistake, and left out.
pub(super) fn read(root: &DeTable<'_>, mistakes: &mut Vec<Mistake>) -> Written {
    let mut reader = Reader { written: Written::default(), mistakes };
    for (key, value) in root {
        reader.read_top(key.get_ref(), key.span().into(), value);
    }
    reader.written
}

/// What stands behind the names of secrets, line by line: in a file that could not be read as a whole, one may be in what
/// was left out.
pub(super) fn damaged_secrets(text: &str) -> Vec<Place> {
    let is_secret = |name: &str| {
        let keys = SECTIONS.iter().flat_map(|section| section.keys);
        let is_hidden = |kind| matches!(kind, Kind::Secret { .. } | Kind::Form(Form::TokenHash));
        keys.filter(|key| is_hidden(key.kind)).any(|key| key.name == name)
    };
    let (mut places, mut start) = (Vec::new(), 0);
    for line in text.split_inclusive('\n') {
        if let Some((name, value)) = line.split_once('=') {
            let name = name.rsplit('.').next().unwrap_or(name).trim().trim_matches(['"', '\'']);
            let end = start + line.trim_end().len();
            let value = end.min(start + line.len() - value.trim_start().len());
            if is_secret(name) {
                places.push(Place { start: value, end });
            }
        }
        start += line.len();
    }
    places
}

struct Reader<'a> {
    written: Written,
    mistakes: &'a mut Vec<Mistake>,
}

impl Reader<'_> {
    fn read_top(&mut self, name: &str, at: Place, value: &Spanned<DeValue<'_>>) {
        let origin = Origin::File(at);
        if let Some(key) = SECTIONS[0].keys.iter().find(|key| key.name == name) {
            let entry = (raw(value.get_ref()), Origin::File(value.span().into()));
            self.written.table_mut("").entries.insert(key.name, entry);
            return;
        }
        let Some(section) = SECTIONS.iter().find(|section| !name.is_empty() && section.name == name) else {
            self.mistakes.push(unknown_table(name, &origin, value.get_ref()));
            return;
        };
        match (value.get_ref(), section.is_list) {
            (DeValue::Table(table), false) => {
                let table = self.read_table(section, table, origin);
                self.written.tables.insert(section.name, table);
            }
            (DeValue::Array(list), true) => {
                let mut tables = Vec::new();
                for element in list.iter() {
                    let at = Origin::File(element.span().into());
                    match element.get_ref().as_table() {
                        Some(table) => tables.push(self.read_table(section, table, at)),
                        None => self.mistakes.push(wrong_shape(section, &at)),
                    }
                }
                self.written.lists.insert(section.name, (origin, tables));
            }
            (DeValue::Table(table), true) => {
                self.mistakes.push(wrong_shape(section, &origin));
                let table = self.read_table(section, table, origin.clone());
                self.written.lists.insert(section.name, (origin, vec![table]));
            }
            (
                DeValue::Array(_)
                | DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_),
                _,
            ) => self.mistakes.push(wrong_shape(section, &origin)),
        }
    }

    fn read_table(&mut self, section: &'static Section, table: &DeTable<'_>, origin: Origin) -> RawTable {
        let mut into = RawTable::new(origin);
        self.read_keys(section, "", table, &mut into);
        into
    }

    fn read_keys(
        &mut self,
        section: &'static Section,
        prefix: &str,
        table: &DeTable<'_>,
        into: &mut RawTable,
    ) {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            let at = Origin::File(key.span().into());
            if let Some(key) = section.keys.iter().find(|key| key.name == name) {
                let entry = (raw(value.get_ref()), Origin::File(value.span().into()));
                into.entries.insert(key.name, entry);
                continue;
            }
            let inner = section
                .keys
                .iter()
                .find(|key| key.name.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('.')));
            match (inner, value.get_ref()) {
                (Some(_), DeValue::Table(table)) => self.read_keys(section, &format!("{name}."), table, into),
                (Some(inner), _) => {
                    let title = format!("`{name}` is a table, and no value");
                    let advice = inner
                        .default
                        .as_ref()
                        .map_or(String::new(), |value| format!("write {} = {value}", inner.name));
                    self.mistakes.push(Mistake::new(&at, title, advice));
                }
                (None, _) => {
                    into.is_partial = true;
                    self.mistakes.push(unknown_key(section, &name, &at));
                }
            }
        }
    }
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.clone().into_owned()),
        DeValue::Integer(number) => Raw::Integer(i128::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Boolean(on) => Raw::Switch(*on),
        DeValue::Float(number) => Raw::Float(number.as_str().to_owned()),
        DeValue::Datetime(_) => Raw::Other("a date or a time"),
        DeValue::Array(_) => Raw::Other("a list"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

fn wrong_shape(section: &Section, at: &Origin) -> Mistake {
    let what = if section.is_list { "a list of tables" } else { "one table" };
    Mistake::new(at, format!("`{}` is {what}", section.name), format!("write {}", section.header()))
}

/// What to say of a name that is not there, if people may well look for it.
fn not_there(name: &str) -> Option<&'static str> {
    NOT_THERE.iter().find(|(other, _)| *other == name).map(|(_, why)| *why)
}

/// Where else a key of this name is.
fn elsewhere(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.keys.iter().any(|key| key.name == name))
}

fn unknown_table(name: &str, at: &Origin, value: &DeValue<'_>) -> Mistake {
    let shown = name.escape_debug();
    let is_table = matches!(value, DeValue::Table(_) | DeValue::Array(_));
    let title = format!("unknown {} `{shown}`", if is_table { "table" } else { "key" });
    if let Some(why) = not_there(name) {
        return Mistake::new(at, title, why);
    }
    let names = SECTIONS.iter().map(|section| section.name).filter(|name| !name.is_empty());
    let advice = match (is_table, elsewhere(name)) {
        (false, Some(section)) => format!("write it under {}", section.header()),
        _ => match nearest(name, names.chain(SECTIONS[0].names())).map(|near| (near, section(near))) {
            Some((_, Some(section))) => format!("did you mean {}?", section.header()),
            Some((near, None)) => format!("did you mean `{near}`?"),
            None => {
                let names: Vec<_> = SECTIONS[1..].iter().map(Section::header).collect();
                format!("there are {}", names.join(", "))
            }
        },
    };
    Mistake::new(at, title, advice)
}

fn unknown_key(section: &'static Section, name: &str, at: &Origin) -> Mistake {
    let title = format!("unknown key `{}` in {}", name.escape_debug(), section.header());
    let last = name.rsplit('.').next().unwrap_or(name);
    if let Some(why) = not_there(last) {
        return Mistake::new(at, title, why);
    }
    // A word of its own elsewhere, but here more likely this.
    let ends = |key: &&Key| [Some("s"), Some("_hash")].contains(&key.name.strip_prefix(name));
    if let Some(key) = section.keys.iter().find(ends) {
        return Mistake::new(at, title, format!("did you mean `{}`?", key.name));
    }
    if let Some(table) = SECTIONS.iter().find(|table| table.name == name) {
        return Mistake::new(at, title, format!("it is a table of its own: {}", table.header()));
    }
    let advice = match (nearest(name, section.names()), elsewhere(name)) {
        (_, Some(other)) => format!("write it under {}", other.header()),
        (Some(near), None) => format!("did you mean `{near}`?"),
        (None, None) => format!("there are {}", section.names().join(", ")),
    };
    Mistake::new(at, title, advice)
}
