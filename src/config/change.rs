//! What differs between two configurations, and what of it a running server can take.
//!
//! ```text
//!   running, wanted --change_to--> changed: key, old -> new, when       (shown, logged)
//!                             `--> loaded: the wanted live values over the running others, judged as a whole
//! ```
//!
//! Always holds: every key of the schema stands in [`KEYS`]; what comes out is a configuration without mistakes, or
//! nothing comes out. Never: files, sockets; whoever calls does what is told here.

use super::report::{Mistake, Mistakes, Origin};
use super::schema::{SECTIONS, Section};
use super::settings::{Part, Setting};
use super::value::Value;
use super::{Config, Host, Loaded, config, meaning, users};
use crate::identity::Users;
use crate::server::Change;
use std::fmt;

/// From when on a changed value holds in a running server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// For everybody, as soon as it is read.
    Now,
    /// For connections that are made from then on.
    Newcomers,
    /// After a restart; until then the old one holds.
    Restart,
}

impl When {
    /// As the reference and `POST /reload` say it.
    pub const fn name(self) -> &'static str {
        match self {
            When::Now => "now",
            When::Newcomers => "newcomers",
            When::Restart => "restart",
        }
    }
}

use When::{Newcomers, Now, Restart};

/// Every key of the schema: its table, its name, from when on it holds.
#[rustfmt::skip]
pub const KEYS: &[(&str, &str, When)] = &[
    ("",          "config_version",  Now),
    ("server",    "shards",          Restart),
    ("server",    "pin",             Restart),
    ("server",    "share_port",      Restart),
    ("server",    "memory",          Restart),
    ("server",    "drain.grace",     Now),
    ("server",    "drain.reconnect_rate", Now),
    ("server",    "users_file",      Now),
    ("server",    "watch",           Now),
    ("server",    "upgrade",         Restart),
    ("listener",  "address",         Restart),
    ("listener",  "protocol",        Restart),
    ("listener",  "header_space",    Restart),
    ("listener",  "hello",           Newcomers),
    ("listener",  "max_payload",     Newcomers),
    ("listener",  "max_connections", Newcomers),
    ("listener",  "route",           Newcomers),
    ("listener",  "backlog",         Restart),
    ("listener",  "kernel_buffer",   Restart),
    ("listener",  "proxy_protocol",  Restart),
    ("listener",  "trusted",         Restart),
    ("listener",  "mode",            Restart),
    ("listener",  "owner",           Restart),
    ("listener",  "group",           Restart),
    ("listener",  "tls.cert",         Restart),
    ("listener",  "tls.key",          Restart),
    ("listener",  "tls.client_ca",    Restart),
    ("listener",  "tls.client",       Restart),
    ("listener",  "tls.revoked",      Restart),
    ("listener",  "users",           Newcomers),
    ("route",     "headers",         Now),
    ("route",     "service",         Now),
    ("user",      "name",            Now),
    ("user",      "token_hash",      Now),
    ("user",      "certificate",     Now),
    ("user",      "routes",          Now),
    ("limits",    "max_connections", Now),
    ("limits",    "per_address",     Now),
    ("limits",    "ipv6_prefix",     Restart),
    ("limits",    "accept_rate",     Now),
    ("limits",    "messages_per_second", Now),
    ("limits",    "bytes_per_second", Now),
    ("limits",    "deliveries_per_second", Now),
    ("limits",    "address_messages_per_second", Now),
    ("limits",    "address_bytes_per_second", Now),
    ("limits",    "burst",           Now),
    ("limits",    "when_over",       Now),
    ("limits",    "output_high",     Now),
    ("limits",    "output_low",      Now),
    ("timeouts",  "frame",           Now),
    ("timeouts",  "entrance",        Restart),
    ("timeouts",  "idle",            Now),
    ("timeouts",  "heartbeat",       Now),
    ("timeouts",  "write_stall",     Now),
    ("timeouts",  "linger",          Now),
    ("timeouts",  "max_age",         Now),
    ("timeouts",  "max_age_jitter",  Now),
    ("keepalive", "idle",            Newcomers),
    ("keepalive", "interval",        Newcomers),
    ("keepalive", "count",           Newcomers),
    ("keepalive", "user_timeout",    Restart),
    ("admin",     "address",         Restart),
    ("admin",     "token",           Now),
    ("admin",     "token_file",      Now),
    ("admin",     "hosts",           Now),
    ("admin",     "profile",         Now),
    ("trace",     "endpoint",        Restart),
    ("trace",     "ratio",           Now),
    ("trace",     "spans_per_second", Now),
    ("trace",     "service_name",    Restart),
    ("trace",     "headers_file",    Restart),
    ("log",       "format",          Restart),
    ("log",       "level",           Now),
    ("log",       "stall",           Now),
];

/// From when on a changed value of this key holds. Of a key that nobody has put into [`KEYS`], after a restart.
pub fn when(section: &str, key: &str) -> When {
    let row = KEYS.iter().find(|(of, name, _)| *of == section && *name == key);
    row.map_or(Restart, |(_, _, when)| *when)
}

/// A value that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// `limits.output_high`, `listener[127.0.0.1:7411].max_payload`, `route[0x0001].service`.
    pub key: String,
    /// As a file has it, a secret covered; `None`: it is new.
    pub old: Option<String>,
    /// Likewise; `None`: it is gone.
    pub new: Option<String>,
    /// From when on it holds.
    pub when: When,
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Changed { key, old, new, .. } = self;
        let nothing = "nothing".to_owned();
        write!(f, "{key}: {} -> {}", old.as_ref().unwrap_or(&nothing), new.as_ref().unwrap_or(&nothing))
    }
}

/// What becomes of a running server when another configuration is wanted.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Everything that differs, in the order of the schema.
    pub changed: Vec<Changed>,
    /// What holds then: where something waits for a restart, the old value.
    pub loaded: Loaded,
}

impl Plan {
    /// What is otherwise at once.
    pub fn live(&self) -> impl Iterator<Item = &Changed> {
        self.changed.iter().filter(|changed| changed.when != Restart)
    }

    /// What waits for a restart.
    pub fn waiting(&self) -> impl Iterator<Item = &Changed> {
        self.changed.iter().filter(|changed| changed.when == Restart)
    }
}

impl Loaded {
    /// What it takes to come from this configuration, which a server runs with, to another one.
    ///
    /// # Errors
    ///
    /// What is wrong with the new values beside those that stay until a restart.
    pub fn change_to(&self, wanted: &Loaded, host: &Host) -> Result<Plan, Mistakes> {
        let mut changed = Vec::new();
        let mut parts = Vec::with_capacity(self.parts.len());
        for section in &SECTIONS {
            let of = |loaded: &'_ Loaded| -> Vec<Part> {
                loaded.parts.iter().filter(|part| part.section.name == section.name).cloned().collect()
            };
            let (old, new) = (of(self), of(wanted));
            match (section.is_list, section.name) {
                (false, _) => {
                    for (old, new) in old.iter().zip(&new) {
                        let path = |key: &str| match section.name {
                            "" => key.to_owned(),
                            name => format!("{name}.{key}"),
                        };
                        parts.push(merged(old, new, &path, &mut changed));
                    }
                }
                (true, "listener") => listeners(&old, &new, &mut parts, &mut changed),
                (true, _) => list(section, old, new, &mut parts, &mut changed),
            }
        }
        let mut mistakes: Vec<Mistake> = Vec::new();
        meaning::check(&parts, &Origin::Kept, host, &mut mistakes);
        let users = users::add(Users::new(), &parts, &mut mistakes);
        match config(&parts, users) {
            Some(config) if mistakes.is_empty() => {
                Ok(Plan { changed, loaded: Loaded { config, parts, file: wanted.file.clone() } })
            }
            _ => {
                mistakes.push(beside_what_stays(&changed));
                Err(Mistakes::new(wanted.file.clone(), mistakes))
            }
        }
    }
}

/// Each of the two is right by itself: it is what waits that the new values don't go with.
fn beside_what_stays(changed: &[Changed]) -> Mistake {
    let waiting: Vec<&str> = changed
        .iter()
        .filter(|changed| changed.when == Restart)
        .map(|changed| changed.key.as_str())
        .collect();
    let title = "new values don't go with old ones that stay until a restart";
    Mistake::new(
        &Origin::Kept,
        title,
        format!("restart the server, or leave as they were: {}", waiting.join(", ")),
    )
}

/// A table after the change: key by key the new value, or the old one until a restart.
fn merged(old: &Part, new: &Part, path: &dyn Fn(&str) -> String, changed: &mut Vec<Changed>) -> Part {
    let mut part = new.clone();
    part.settings = old
        .settings
        .iter()
        .map(|before| {
            let name = before.key.name;
            let Some(after) = new.settings.iter().find(|setting| setting.key.name == name) else {
                return kept(before);
            };
            if before.value == after.value {
                return after.clone();
            }
            let when = when(old.section.name, name);
            changed.push(difference(path(name), Some(before), Some(after), when));
            if when == Restart { kept(before) } else { after.clone() }
        })
        .collect();
    part
}

fn difference(key: String, old: Option<&Setting>, new: Option<&Setting>, when: When) -> Changed {
    let text = |setting: Option<&Setting>| Some(setting?.value.as_ref()?.to_string());
    Changed { key, old: text(old), new: text(new), when }
}

/// The value stays, and its place may be in no file any more.
fn kept(setting: &Setting) -> Setting {
    Setting { key: setting.key, value: setting.value.clone(), origin: Origin::Kept }
}

fn kept_part(part: &Part) -> Part {
    Part { origin: Origin::Kept, settings: part.settings.iter().map(kept).collect(), ..part.clone() }
}

/// Listeners are known by their addresses, those of one address by their order. Their sockets stay as they are.
fn listeners(old: &[Part], new: &[Part], parts: &mut Vec<Part>, changed: &mut Vec<Changed>) {
    let mut left: Vec<&Part> = new.iter().collect();
    for before in old {
        let path = |key: &str| format!("{}.{key}", entry("listener", before));
        let Some(at) = left.iter().position(|after| identity(after) == identity(before)) else {
            changed.push(whole(before, true));
            parts.push(kept_part(before));
            continue;
        };
        let after = left.remove(at);
        if value(before, "protocol") == value(after, "protocol") {
            parts.push(merged(before, after, &path, changed));
            continue;
        }
        // Other keys, other meanings: all of it waits.
        for setting in &before.settings {
            let other = after.settings.iter().find(|other| other.key.name == setting.key.name);
            if other.map(|other| &other.value) != Some(&setting.value) {
                changed.push(difference(path(setting.key.name), Some(setting), other, Restart));
            }
        }
        let is_new = |other: &&Setting| !before.settings.iter().any(|had| had.key.name == other.key.name);
        let added = after.settings.iter().filter(is_new);
        changed.extend(added.map(|other| difference(path(other.key.name), None, Some(other), Restart)));
        parts.push(kept_part(before));
    }
    changed.extend(left.into_iter().map(|added| whole(added, false)));
}

/// A list of other tables, known by their first key: as a whole the new one, or, if one of its keys can't be, the old.
fn list(
    section: &'static Section,
    old: Vec<Part>,
    new: Vec<Part>,
    parts: &mut Vec<Part>,
    changed: &mut Vec<Changed>,
) {
    let waits = section.keys.iter().any(|key| when(section.name, key.name) == Restart);
    let from = changed.len();
    let mut left: Vec<&Part> = new.iter().collect();
    for before in &old {
        let path = |key: &str| format!("{}.{key}", entry(section.name, before));
        match left.iter().position(|after| identity(after) == identity(before)) {
            Some(at) => drop(merged(before, left.remove(at), &path, changed)),
            None => changed.push(whole(before, true)),
        }
    }
    changed.extend(left.into_iter().map(|added| whole(added, false)));
    for changed in &mut changed[from..] {
        changed.when = if waits { Restart } else { Now };
    }
    if waits {
        parts.extend(old.iter().map(kept_part));
    } else {
        parts.extend(new);
    }
}

/// A whole table that is there in one of the two alone: what it is about.
fn whole(part: &Part, is_gone: bool) -> Changed {
    let values: Vec<String> = part
        .settings
        .iter()
        .skip(1)
        .take(1)
        .filter_map(|setting| Some(setting.value.as_ref()?.to_string()))
        .collect();
    let text = Some(values.concat());
    let (old, new) = if is_gone { (text, None) } else { (None, text) };
    Changed { key: entry(part.section.name, part), old, new, when: Restart }
}

/// What tells a table of a list from others.
fn identity(part: &Part) -> Option<&Value> {
    part.settings.first()?.value.as_ref()
}

fn value<'a>(part: &'a Part, key: &str) -> Option<&'a Value> {
    part.find(key).map(|(_, value)| value)
}

/// `listener[127.0.0.1:7411]`
fn entry(section: &str, part: &Part) -> String {
    let name = identity(part).map_or(String::new(), ToString::to_string);
    format!("{section}[{}]", name.trim_matches('"'))
}

impl Config {
    /// What a running server of this configuration's listeners needs to go by it.
    pub fn change(&self, host: &Host) -> Change {
        let routes = self.routes.iter().map(|(routes, service)| (routes.clone(), service.name()));
        let listeners = self.listeners.iter().enumerate();
        let change = Change::new()
            .limits(self.limits.clone())
            .max_connections(self.connections_on(host))
            .grace(self.grace)
            .keepalive(self.keepalive)
            .labels(routes)
            .news(self.router());
        let change = match &self.traces {
            Some(traces) => change.sampling(traces.sampling),
            None => change,
        };
        listeners.fold(change, |change, (place, listen)| change.listener(place, self.listener(listen)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_row_and_every_row_its_key() {
        let keys =
            SECTIONS.iter().flat_map(|section| section.names().into_iter().map(|key| (section.name, key)));
        let missing: Vec<_> = keys
            .filter(|(of, name)| !KEYS.iter().any(|(section, key, _)| section == of && key == name))
            .collect();
        assert!(missing.is_empty(), "say in KEYS when a change of these holds: {missing:?}");
        for (place, (of, name, _)) in KEYS.iter().enumerate() {
            let is_known =
                SECTIONS.iter().any(|section| section.name == *of && section.names().contains(name));
            assert!(is_known, "there is no key {of}.{name}");
            let is_first = KEYS[..place].iter().all(|(section, key, _)| (section, key) != (of, name));
            assert!(is_first, "{of}.{name} has two rows");
        }
    }
}
