//! What values mean together: routes given twice, watermarks the wrong way round, more than the memory or the host has.
//!
//! Always holds: a rule is judged only if both of its values are good, so that one mistake is told once; each names
//! the value that somebody gave, and the other one beside it.

use super::host::Host;
use super::judge::shown;
use super::report::{Mistake, Origin};
use super::settings::{Part, Setting};
use crate::base::limits::{BUDGET_BYTES_MIN, LISTENERS_MAX};
use crate::base::units::size_text;
use crate::server::shards_for;
use crate::wire::Header;
use core::net::SocketAddr;

/// Judges all rules. `listed` is where the list of listeners is.
pub(super) fn check(parts: &[Part], listed: &Origin, host: &Host, mistakes: &mut Vec<Mistake>) {
    let listeners: Vec<&Part> = parts.iter().filter(|part| part.section.name == "listener").collect();
    let routes: Vec<&Part> = parts.iter().filter(|part| part.section.name == "route").collect();
    let of = |name: &str| parts.iter().find(|part| part.section.name == name);
    if listeners.is_empty() && mistakes.is_empty() {
        mistakes.push(Mistake::new(
            listed,
            "there is no listener",
            "give it one: [[listener]] with an address",
        ));
    }
    check_listeners(&listeners, host, mistakes);
    check_routes(&routes, mistakes);
    check_users(&listeners, parts, mistakes);
    // Where a key is misspelt, a value that seems to be the default may not be meant.
    let whole = |name: &str| of(name).filter(|part| !part.is_partial);
    let Some(limits) = whole("limits") else { return };
    check_watermarks(limits, mistakes);
    let admin = whole("admin");
    if let Some(admin) = admin {
        check_admin(admin, &listeners, mistakes);
    }
    let Some(server) = whole("server") else { return };
    let has_admin = admin.is_none_or(|admin| admin.word("address").is_none());
    check_host(server, limits, (listeners.len(), has_admin), host, mistakes);
    if let Some(share) = share(server, host, mistakes) {
        check_shares(&share, limits, &listeners, mistakes);
    }
}

/// The number of loops, known or as this host would have it.
pub(super) fn shards(server: &Part, host: &Host) -> Option<u16> {
    let memory = usize::try_from(server.size("memory")?).unwrap_or(usize::MAX);
    match server.count("shards") {
        Some(shards) => u16::try_from(shards).ok(),
        None => server.word("shards").map(|_| shards_for(host.processors, memory)),
    }
}

/// Of two values that don't go together, the one to change: the one that was given last, and never a default, or what stays until a restart.
fn to_change<'a>(left: &'a Setting, right: &'a Setting) -> (&'a Setting, &'a Setting) {
    match (&left.origin, &right.origin) {
        (_, Origin::Default | Origin::Kept) => (left, right),
        (Origin::Default | Origin::Kept, _) => (right, left),
        (one, other) if one > other => (left, right),
        _ => (right, left),
    }
}

fn is_there(setting: &Setting) -> String {
    let value = setting.value.as_ref().map_or(String::new(), ToString::to_string);
    format!("`{}` is {value}", setting.key.name)
}

fn check_listeners(listeners: &[&Part], host: &Host, mistakes: &mut Vec<Mistake>) {
    if let Some(beyond) = listeners.get(LISTENERS_MAX) {
        let title = format!("{} listeners are too many; there may be {LISTENERS_MAX}", listeners.len());
        mistakes.push(Mistake::new(&beyond.origin, title, "take this one and those behind it out"));
    }
    for (place, listener) in listeners.iter().enumerate().take(LISTENERS_MAX) {
        if let (Some((hello, _)), Some("required"), Some((space, _)), Some("full")) = (
            listener.find("hello"),
            listener.word("hello"),
            listener.find("header_space"),
            listener.word("header_space"),
        ) {
            let title = "a HELLO can't be required where headers are all route";
            let advice = "write \"optional\", or header_space = \"standard\"";
            mistakes.push(Mistake::new(&hello.origin, title, advice).with(&space.origin, is_there(space)));
        }
        if let (Some((setting, _)), Some(backlog), Some(most)) =
            (listener.find("backlog"), listener.count("backlog"), host.backlog_max)
            && setting.origin != Origin::Default
            && backlog > most
        {
            let title =
                format!("`backlog` is {backlog}, but this host cuts it at {most} (net.core.somaxconn)");
            mistakes.push(Mistake::new(
                &setting.origin,
                title,
                format!("give it at most {most}, or raise that"),
            ));
        }
        check_proxy(listener, mistakes);
        check_tls(listener, mistakes);
        check_file(listener, mistakes);
        let Some((address, text)) = listener.find("address").zip(listener.address()) else { continue };
        let first = listeners[..place].iter().find_map(|other| {
            let (setting, _) = other.find("address")?;
            is_same_place(other.address()?, text).then_some(setting)
        });
        if let Some(first) = first {
            let title = format!("two listeners at {}", shown(text));
            let mistake = Mistake::new(&address.0.origin, title, "give it another port or path");
            mistakes.push(mistake.with(&first.origin, "the other one"));
        }
    }
}

/// Whom to trust, and whether there is anything to trust anybody for.
fn check_proxy(listener: &Part, mistakes: &mut Vec<Mistake>) {
    let (Some((proxy, _)), Some((trusted, _)), Some(word), Some(networks)) = (
        listener.find("proxy_protocol"),
        listener.find("trusted"),
        listener.word("proxy_protocol"),
        listener.text("trusted"),
    ) else {
        return;
    };
    if word == "required" && networks.is_empty() {
        let title = "nobody is trusted to send a PROXY header";
        let advice =
            "give `trusted` the networks of your proxies, such as \"10.0.0.0/8\" or \"127.0.0.1,::1\"";
        mistakes.push(Mistake::new(&proxy.origin, title, advice));
    } else if word == "off" && !networks.is_empty() {
        let title = "`trusted` is of no use without the PROXY protocol";
        let advice = "write proxy_protocol = \"required\", or take it out";
        mistakes.push(Mistake::new(&trusted.origin, title, advice));
    }
}

/// Which files of TLS go together.
fn check_tls(listener: &Part, mistakes: &mut Vec<Mistake>) {
    let file = |name| listener.text(name).filter(|path| !path.is_empty());
    let at = |name| listener.find(name).map(|(setting, _)| &setting.origin);
    let mut tell = |name, title: &str, advice: &str| {
        mistakes.extend(at(name).map(|origin| Mistake::new(origin, title.to_owned(), advice.to_owned())));
    };
    let client = listener.word("tls.client").unwrap_or("off");
    match (file("tls.cert"), file("tls.key")) {
        (Some(_), None) => {
            tell("tls.cert", "a certificate without its key", "give `tls.key` the file that has it");
        }
        (None, Some(_)) => {
            tell("tls.key", "a key without its certificate", "give `tls.cert` the file that has it");
        }
        (Some(_), Some(_)) if cfg!(not(feature = "tls")) => {
            tell("tls.cert", "this program was built without TLS", "build it with the feature `tls`");
        }
        (Some(_), Some(_)) => {}
        (None, None) => {
            for name in ["tls.client_ca", "tls.revoked"].into_iter().filter(|name| file(name).is_some()) {
                tell(
                    name,
                    &format!("`{name}` is of no use without TLS"),
                    "give `tls.cert` and `tls.key`, too",
                );
            }
            if client != "off" {
                tell(
                    "tls.client",
                    "clients can't show certificates without TLS",
                    "give `tls.cert` and `tls.key`, too",
                );
            }
            return;
        }
    }
    match (client, file("tls.client_ca")) {
        ("off", Some(_)) => {
            tell(
                "tls.client_ca",
                "nobody is asked for a certificate",
                "write tls.client = \"required\", or take it out",
            );
        }
        ("off", None) if file("tls.revoked").is_some() => {
            tell("tls.revoked", "nobody is asked for a certificate", "take it out");
        }
        ("optional" | "required", None) => {
            let advice = "give `tls.client_ca` the authorities whose certificates they may show";
            tell("tls.client", "nobody is trusted to sign clients' certificates", advice);
        }
        _ => {}
    }
}

/// What is for a socket's file, where there is none.
fn check_file(listener: &Part, mistakes: &mut Vec<Mistake>) {
    if listener.address().is_none_or(|address| address.starts_with("unix:")) {
        return;
    }
    for name in ["mode", "owner", "group"] {
        if let Some((setting, value)) = listener.find(name)
            && setting.key.default.as_ref() != Some(value)
        {
            let title = format!("`{name}` is for the file of a unix socket, and this is a port");
            mistakes.push(Mistake::new(&setting.origin, title, "take it out, or give it a unix:PATH"));
        }
    }
}

/// Whether the second of these could not be listened on beside the first.
fn is_same_place(one: &str, other: &str) -> bool {
    match (one.parse::<SocketAddr>(), other.parse::<SocketAddr>()) {
        (Ok(one), Ok(other)) => {
            let is_covered = one.ip() == other.ip()
                || one.is_ipv4() == other.is_ipv4()
                    && (one.ip().is_unspecified() || other.ip().is_unspecified());
            one.port() != 0 && one.port() == other.port() && is_covered
        }
        _ => one == other && !one.ends_with(":0"),
    }
}

/// Where users are required, somebody must be able to come in.
fn check_users(listeners: &[&Part], parts: &[Part], mistakes: &mut Vec<Mistake>) {
    let server = parts.iter().find(|part| part.section.name == "server");
    let has_file = server.and_then(|server| server.text("users_file")).is_none_or(|file| !file.is_empty());
    let is_nobody = !has_file && parts.iter().all(|part| part.section.name != "user");
    for listener in listeners.iter().filter(|listener| listener.word("users") == Some("required")) {
        let Some((users, _)) = listener.find("users") else { continue };
        if is_nobody {
            let advice =
                "write a [[user]]: tidegate token NAME makes one; or name a users_file under [server]";
            mistakes.push(Mistake::new(&users.origin, "users are required, but there is none", advice));
            continue;
        }
        if listener.word("tls.client") == Some("required") {
            continue;
        }
        let tokenless = ["protocol", "header_space"].into_iter().find(|key| {
            let is_other = |word| ["line", "full"].contains(&word);
            listener.word(key).is_some_and(is_other)
        });
        if let Some((other, _)) = tokenless.and_then(|key| listener.find(key)) {
            let title = "users can't be required where there is no HELLO to carry a token";
            let advice = "write \"off\", let it speak frames with the standard header_space, or ask for certificates: \
                          tls.client = \"required\"";
            mistakes.push(Mistake::new(&users.origin, title, advice).with(&other.origin, is_there(other)));
        }
    }
}

fn check_routes(routes: &[&Part], mistakes: &mut Vec<Mistake>) {
    let mut taken: Vec<Option<usize>> = vec![None; usize::from(Header::ROUTE_MAX) + 1];
    for (place, part) in routes.iter().enumerate() {
        let Some(headers) = part.headers() else { continue };
        let mut is_told = false;
        for route in headers {
            let owner = &mut taken[usize::from(route)];
            let Some(first) = *owner else {
                *owner = Some(place);
                continue;
            };
            if !is_told {
                is_told = true;
                mistakes.extend(overlap(route, routes[first], part));
            }
        }
    }
}

fn overlap(route: u16, first: &Part, second: &Part) -> Option<Mistake> {
    let title = match (first.word("service"), second.word("service")) {
        (Some(one), Some(other)) if one != other => {
            format!("route {route} is served by both {one} and {other}")
        }
        _ => format!("route {route} is given twice"),
    };
    let mistake = Mistake::new(&second.find("headers")?.0.origin, title, "take it out of one of the two");
    Some(mistake.with(&first.find("headers")?.0.origin, "the other one"))
}

fn check_watermarks(limits: &Part, mistakes: &mut Vec<Mistake>) {
    let (Some((low, _)), Some((high, _))) = (limits.find("output_low"), limits.find("output_high")) else {
        return;
    };
    let (Some(low_bytes), Some(high_bytes)) = (limits.size("output_low"), limits.size("output_high")) else {
        return;
    };
    if low_bytes < high_bytes {
        return;
    }
    let (change, keep) = to_change(low, high);
    let advice = if change.key.name == "output_low" {
        format!("give it less than {}", size_text(high_bytes))
    } else {
        format!("give it more than {}", size_text(low_bytes))
    };
    let title = format!(
        "`output_low` is {}, but must be less than `output_high`, {}",
        size_text(low_bytes),
        size_text(high_bytes)
    );
    mistakes.push(Mistake::new(&change.origin, title, advice).with(&keep.origin, is_there(keep)));
}

fn check_admin(admin: &Part, listeners: &[&Part], mistakes: &mut Vec<Mistake>) {
    if let (Some((token, _)), Some((file, _))) = (admin.find("token"), admin.find("token_file"))
        && admin.secret("token").is_some_and(|token| !token.reveal().is_empty())
        && admin.text("token_file").is_some_and(|file| !file.is_empty())
    {
        let title = "the token is given twice, as `token` and by `token_file`";
        let mistake = Mistake::new(&file.origin, title, "take one of the two out");
        mistakes.push(mistake.with(&token.origin, "the other one"));
    }
    let Some((at, address)) = admin.find("address").zip(admin.address()) else { return };
    let same = listeners.iter().find_map(|listener| {
        let (setting, _) = listener.find("address")?;
        is_same_place(listener.address()?, address).then_some(setting)
    });
    if let Some(other) = same {
        let (change, keep) = to_change(at.0, other);
        let title = format!("the admin port and a listener are both at {}", shown(address));
        let mistake = Mistake::new(&change.origin, title, "give one of the two another port");
        mistakes.push(mistake.with(&keep.origin, "the other one"));
    }
}

/// What is beside the loops: how many listeners, and whether there is an admin port.
type Beside = (usize, bool);

fn check_host(
    server: &Part,
    limits: &Part,
    (listeners, has_admin): Beside,
    host: &Host,
    mistakes: &mut Vec<Mistake>,
) {
    if let (Some((setting, _)), Some(memory), Some(most)) =
        (server.find("memory"), server.size("memory"), host.memory_bytes)
        && memory > most
        && setting.origin != Origin::Default
    {
        let most = size_text(most >> 20 << 20);
        let title = format!("`memory` is {}, but this host has only {most}", size_text(memory));
        mistakes.push(Mistake::new(&setting.origin, title, "give it what the host can spare"));
    }
    let (Some(shards), Some((setting, _)), Some(wanted)) =
        (shards(server, host), limits.find("max_connections"), limits.count("max_connections"))
    else {
        return;
    };
    let most = host.connections(shards, listeners, has_admin);
    if wanted > most {
        let title = format!(
            "`max_connections` is {wanted}, but {} descriptors leave room for {most}",
            host.descriptors
        );
        mistakes.push(Mistake::new(
            &setting.origin,
            title,
            "raise the limit with ulimit -n, or write \"auto\"",
        ));
    }
}

/// What each loop has, and whose settings that comes from.
struct Share<'a> {
    bytes: u64,
    shards: u16,
    memory: &'a Setting,
}

fn share<'a>(server: &'a Part, host: &Host, mistakes: &mut Vec<Mistake>) -> Option<Share<'a>> {
    let (memory, _) = server.find("memory")?;
    let (given, _) = server.find("shards")?;
    let (bytes, shards) = (server.size("memory")?, shards(server, host)?);
    let least = BUDGET_BYTES_MIN as u64;
    if bytes < least * u64::from(shards) {
        let (change, keep) = to_change(memory, given);
        let title = format!(
            "{} of memory are too little for {shards} event loops, {} each",
            size_text(bytes),
            size_text(least)
        );
        let advice = if change.key.name == "memory" {
            format!("give it at least {}", size_text(least * u64::from(shards)))
        } else {
            format!("give it at most {}", bytes / least)
        };
        mistakes.push(Mistake::new(&change.origin, title, advice).with(&keep.origin, is_there(keep)));
        return None;
    }
    Some(Share { bytes: bytes / u64::from(shards), shards, memory })
}

fn check_shares(share: &Share<'_>, limits: &Part, listeners: &[&Part], mistakes: &mut Vec<Mistake>) {
    let most = share.bytes / 4;
    let largest = listeners.iter().filter_map(|listener| listener.find("max_payload"));
    for (setting, _) in largest.chain(limits.find("output_high")) {
        let bytes = match setting.value {
            Some(super::Value::Size(bytes)) if bytes > most => bytes,
            _ => continue,
        };
        let (change, keep) = to_change(setting, share.memory);
        let name = setting.key.name;
        let title = format!(
            "`{name}` is {}, but at most a quarter of an event loop's memory, {} of {}",
            size_text(bytes),
            size_text(most),
            size_text(share.bytes)
        );
        let advice = if change.key.name == name {
            format!("give it at most {}", size_text(most))
        } else {
            format!("give it at least {}", size_text(bytes * 4 * u64::from(share.shards)))
        };
        mistakes.push(Mistake::new(&change.origin, title, advice).with(&keep.origin, is_there(keep)));
    }
}
