//! What is changed from outside of the file: variables of the environment, then flags.
//!
//! Always holds: every variable that begins with `TIDEGATE_` names a key, or is a mistake; so a misspelt one is never
//! ignored. Never: reading the environment; whoever calls hands it in.

use super::judge::{Raw, nearest, shown};
use super::layers::{RawTable, Written};
use super::report::{Mistake, Origin};
use super::schema::{Form, Key, Kind, SECTIONS, Section};
use super::value::HIDDEN;
use crate::base::limits::{LISTENERS_MAX, USERS_MAX};
use crate::wire::Header;

/// What the names of our variables begin with.
pub const PREFIX: &str = "TIDEGATE_";

/// Variables of the tests, which start servers with their own environment.
const OF_TESTS: [&str; 3] = ["TIDEGATE_SIM_", "TIDEGATE_SOAK", "TIDEGATE_TEST_"];

/// Variables of the commands that ask a server.
const OF_CLIENTS: [&str; 1] = ["TIDEGATE_TOKEN"];

/// Tables of a list at most.
fn list_max(section: &Section) -> usize {
    match section.name {
        "listener" => LISTENERS_MAX,
        "user" => USERS_MAX,
        _ => usize::from(Header::ROUTE_MAX) + 1,
    }
}

/// A flag of the command line that stands for a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// As it was given, for messages: `--shards 3`.
    pub flag: String,
    /// What it changes.
    pub changes: Changes,
    /// What it changes that to.
    pub value: String,
}

/// What a flag changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changes {
    /// This key of this table.
    Key(&'static str, &'static str),
    /// The address of the first listener of this protocol; without one, it becomes one.
    Listener(&'static str),
    /// Nothing; it adds a route, `HEADERS=SERVICE`.
    Route,
}

/// The name of a key's variable; `index` for a list.
pub fn variable(section: &Section, key: &Key, index: Option<usize>) -> String {
    let mut name = PREFIX.to_owned();
    if !section.name.is_empty() {
        name.push_str(&section.name.to_ascii_uppercase());
        name.push_str("__");
    }
    if let Some(index) = index {
        name.push_str(&format!("{index}__"));
    }
    name + &key.name.replace('.', "__").to_ascii_uppercase()
}

/// Puts variables above what was written.
pub(super) fn overlay_variables(
    variables: &[(String, String)],
    written: &mut Written,
    mistakes: &mut Vec<Mistake>,
) {
    let ours = variables.iter().filter(|(name, _)| {
        name.starts_with(PREFIX)
            && !OF_TESTS.iter().any(|tests| name.starts_with(tests))
            && !OF_CLIENTS.contains(&name.as_str())
    });
    let mut named: Vec<_> = ours.map(|(name, text)| (target(name), name, text)).collect();
    // In the order of their indexes, so that a list grows one by one.
    named.sort_by_key(|(target, name, _)| (target.as_ref().ok().and_then(|(_, _, index)| *index), *name));
    for (target, name, text) in named {
        let is_known = target.is_ok();
        let origin = Origin::Variable { name: name.clone(), text: text.clone(), is_known };
        let (section, key, index) = match target {
            Ok(target) => target,
            Err(near) => {
                let advice = near.map_or_else(
                    || "docs/CONFIG.md names all of them; take it out of the environment".to_owned(),
                    |near| format!("did you mean {near}?"),
                );
                mistakes.push(Mistake::new(&origin, format!("unknown variable {}", shown(name)), advice));
                continue;
            }
        };
        let table = match index {
            None => written.table_mut(section.name),
            Some(index) => {
                let list = written.list_mut(section.name);
                let count = list.len();
                if index > count || index >= list_max(section) {
                    let title = format!("there is no {} {index}; there are {count}", section.name);
                    let advice = format!("the next one is {count}");
                    mistakes.push(Mistake::new(&origin, title, advice));
                    continue;
                }
                if index == count {
                    list.push(RawTable::new(origin.clone()));
                }
                &mut list[index]
            }
        };
        table.entries.insert(key.name, (Raw::Bare(text.clone()), hiding(key, origin)));
    }
}

/// A secret is not told of by its value.
fn hiding(key: &Key, origin: Origin) -> Origin {
    match (key.kind, origin) {
        (Kind::Secret { .. } | Kind::Form(Form::TokenHash), Origin::Variable { name, is_known, .. }) => {
            Origin::Variable { name, text: HIDDEN.to_owned(), is_known }
        }
        (_, origin) => origin,
    }
}

type Target = (&'static Section, &'static Key, Option<usize>);

/// The key that a variable names, or the variable that it nearly names.
fn target(name: &str) -> Result<Target, Option<String>> {
    let index = name.split("__").nth(1).and_then(|part| part.parse::<usize>().ok());
    let all = SECTIONS.iter().flat_map(|section| {
        let index = section.is_list.then_some(index.unwrap_or(0));
        section.keys.iter().map(move |key| (variable(section, key, index), (section, key, index)))
    });
    let all: Vec<_> = all.collect();
    match all.iter().find(|(known, _)| known == name) {
        Some((_, target)) => Ok(*target),
        None => Err(nearest(name, all.iter().map(|(known, _)| known.as_str())).map(str::to_owned)),
    }
}

/// Puts flags above everything.
pub(super) fn overlay_flags(flags: &[Flag], written: &mut Written, mistakes: &mut Vec<Mistake>) {
    for Flag { flag, changes, value } in flags {
        let origin = Origin::Flag(flag.clone());
        let entry = |text: &str| (Raw::Bare(text.to_owned()), origin.clone());
        match *changes {
            Changes::Key(section, key) => {
                written.table_mut(section).entries.insert(key, entry(value));
            }
            Changes::Listener(protocol) => {
                let list = written.list_mut("listener");
                let place = list.iter().position(|listener| has_protocol(listener, protocol));
                let place = place.unwrap_or_else(|| {
                    let mut listener = RawTable::new(origin.clone());
                    listener.entries.insert("protocol", entry(protocol));
                    list.push(listener);
                    list.len() - 1
                });
                list[place].entries.insert("address", entry(value));
            }
            Changes::Route => {
                let Some((headers, service)) = value.split_once('=') else {
                    let title = format!("{} has no service", shown(value));
                    mistakes.push(Mistake::new(
                        &origin,
                        title,
                        "give it ROUTES=SERVICE, such as 16-23=flip or 7=echo",
                    ));
                    continue;
                };
                let mut route = RawTable::new(origin.clone());
                route.entries.insert("headers", entry(headers));
                route.entries.insert("service", entry(service));
                written.list_mut("route").push(route);
            }
        }
    }
}

/// Without the key it is a listener of frames.
fn has_protocol(listener: &RawTable, protocol: &str) -> bool {
    match listener.entries.get("protocol") {
        Some((Raw::Text(text) | Raw::Bare(text), _)) => text == protocol,
        Some((Raw::Integer(_) | Raw::Float(_) | Raw::Switch(_) | Raw::Other(_), _)) => false,
        None => protocol == "frame",
    }
}
