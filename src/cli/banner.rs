//! What a person sees when the server is up.

use crate::base::limits::SOCKET_BUFFER_BYTES;
use crate::config::{Config, Listen, Speaks, size_text};
use crate::net::Endpoint;
use crate::service::BuiltIn;
use std::fmt::Write as _;
use std::io::Write;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

/// Ranges of routes that are shown; of more only the number.
const ROUTES_SHOWN: usize = 8;

/// Prints where the server is, how to try it, and what it may use at most.
pub(super) fn print(
    config: &Config,
    addresses: &[Endpoint],
    admin: Option<SocketAddr>,
    shards: u16,
    connections: u32,
) {
    let text = text(config, addresses, admin, shards, connections);
    let mut out = std::io::stdout().lock();
    // A closed standard output is no reason not to serve.
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

fn text(
    config: &Config,
    addresses: &[Endpoint],
    admin: Option<SocketAddr>,
    shards: u16,
    connections: u32,
) -> String {
    let mut out = format!("tidegate {}\n", env!("CARGO_PKG_VERSION"));
    let mut is_first = true;
    for (listen, address) in config.listeners.iter().zip(addresses) {
        let routes = match listen.speaks {
            Speaks::Lines { route } => route_in_words(route, &config.routes),
            Speaks::Frames { .. } | Speaks::BareFrames if is_first => {
                is_first = false;
                format!("route {}", routes_in_words(&config.routes))
            }
            Speaks::Frames { .. } | Speaks::BareFrames => "the same routes".to_owned(),
        };
        let tls = if listen.tls.is_some() { "TLS, " } else { "" };
        let _ = writeln!(out, "  {:<9}{address}   {tls}{routes}", words_of(listen.speaks));
    }
    if let Some(at) = admin {
        let _ = writeln!(out, "  admin    http://{at}   /metrics /healthz /connections /closed");
    }
    let _ = writeln!(out, "  shards   {shards} event loop{}", if shards == 1 { "" } else { "s" });
    let budget = size_text(config.memory_bytes);
    let idle = crate::turn::IDLE_BYTES;
    let _ = writeln!(
        out,
        "  memory   {budget} for buffers; up to {connections} connections, {idle} B each when idle;"
    );
    if config.listeners.iter().any(|listen| listen.tls.is_some()) {
        let more = u64::from(connections) * crate::tls::IDLE_BYTES_MAX as u64;
        let _ = writeln!(
            out,
            "           with TLS at most 8.5KiB more each, {} for all;",
            size_text(more >> 20 << 20)
        );
    }
    let _ = writeln!(out, "           {}", kernel_in_words(&config.listeners));
    // Only who has a token could try one for users, and a client of TLS has to be told whom to trust.
    let is_open = |listen: &Listen| !listen.wants_users && listen.tls.is_none();
    let all = || config.listeners.iter().zip(addresses).filter(|(listen, _)| is_open(listen));
    let lines = all().find_map(|(listen, address)| ask_by_line(listen.speaks, address, &config.routes));
    let frames = || all().find_map(|(listen, address)| ask_by_frame(listen.speaks, address, &config.routes));
    if let Some(command) = lines.or_else(frames) {
        let _ = writeln!(out, "try it     {command}");
    }
    out.push_str("stop       Ctrl-C drains; a second one aborts\n");
    out
}

/// What a listener is for, in a word.
pub(super) const fn words_of(speaks: Speaks) -> &'static str {
    match speaks {
        Speaks::Frames { .. } => "frames",
        Speaks::BareFrames => "bare",
        Speaks::Lines { .. } => "lines",
    }
}

/// `0 ack, 1 echo, 256-511 flip`
pub(super) fn routes_in_words(routes: &[(RangeInclusive<u16>, BuiltIn)]) -> String {
    if routes.is_empty() {
        return "none: every request is answered NO_ROUTE".to_owned();
    }
    let shown = routes.iter().take(ROUTES_SHOWN).map(|(routes, service)| {
        let (first, last) = (routes.start(), routes.end());
        if first == last {
            format!("{first} {}", service.name())
        } else {
            format!("{first}-{last} {}", service.name())
        }
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    match routes.len().checked_sub(ROUTES_SHOWN) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

fn service_of(route: u16, routes: &[(RangeInclusive<u16>, BuiltIn)]) -> Option<BuiltIn> {
    routes.iter().find(|(routes, _)| routes.contains(&route)).map(|(_, service)| *service)
}

fn route_in_words(route: u16, routes: &[(RangeInclusive<u16>, BuiltIn)]) -> String {
    service_of(route, routes).map_or_else(
        || format!("route {route}, which nobody serves"),
        |service| format!("route {route} {}", service.name()),
    )
}

/// A line of shell that asks a listener for lines something, if it answers.
fn ask_by_line(speaks: Speaks, at: &Endpoint, routes: &[(RangeInclusive<u16>, BuiltIn)]) -> Option<String> {
    let route = match speaks {
        Speaks::Lines { route } => route,
        Speaks::Frames { .. } | Speaks::BareFrames => return None,
    };
    service_of(route, routes).filter(|service| !service.is_one_way())?;
    Some(match at {
        Endpoint::Ip(address) => format!(
            "bash -c 'exec 3<>/dev/tcp/{}/{}; printf \"hello\\n\" >&3; head -1 <&3'",
            address.ip(),
            address.port()
        ),
        Endpoint::Unix(_) => format!("tidegate send {at} --lines hello"),
    })
}

/// The same for a listener for frames.
fn ask_by_frame(speaks: Speaks, at: &Endpoint, routes: &[(RangeInclusive<u16>, BuiltIn)]) -> Option<String> {
    match speaks {
        Speaks::Frames { wants_hello: false } => {}
        Speaks::Frames { wants_hello: true } | Speaks::BareFrames | Speaks::Lines { .. } => return None,
    }
    let (answered, _) = routes.iter().find(|(_, service)| !service.is_one_way())?;
    Some(format!("tidegate send {at} --route {} hello", answered.start()))
}

/// The kernel books twice what it is asked for, in each direction (socket(7)).
fn kernel_in_words(listeners: &[Listen]) -> String {
    let asked = listeners
        .iter()
        .map(|listen| listen.kernel_buffer_bytes)
        .max_by_key(|bytes| bytes.unwrap_or(usize::MAX));
    match asked.unwrap_or(Some(SOCKET_BUFFER_BYTES)) {
        Some(bytes) => {
            format!(
                "the kernel adds at most {} for a connection with both queues full",
                size_text(4 * bytes as u64)
            )
        }
        None => "the kernel adds what it likes for a connection with both queues full".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{File, Host, Sources, load};

    fn banner(file: &str, addresses: &[&str], shards: u16) -> String {
        let host = Host { processors: 1, descriptors: 1000, memory_bytes: None, backlog_max: None };
        let file = Some(File { name: String::new(), text: file.to_owned() });
        let loaded = load(Sources { file, ..Sources::default() }, &host).expect("it is right");
        let addresses: Vec<_> =
            addresses.iter().map(|text| Endpoint::parse(text).expect("an address")).collect();
        let admin = loaded.config.admin.as_ref().and_then(|admin| admin.address.parse().ok());
        text(&loaded.config, &addresses, admin, shards, 100)
    }

    #[test]
    fn the_banner_fits_any_listeners() {
        let of_default = banner("", &["127.0.0.1:7411", "127.0.0.1:7412"], 2);
        for line in [
            "  frames   127.0.0.1:7411   route 0 ack, 1 echo, 2 discard, 3 flip",
            "  lines    127.0.0.1:7412   route 0 ack",
            "  admin    http://127.0.0.1:7413   /metrics /healthz /connections /closed",
            "  shards   2 event loops",
            "           the kernel adds at most 4MiB for a connection with both queues full",
        ] {
            assert!(of_default.lines().any(|other| other == line), "{line} is not in\n{of_default}");
        }
        assert!(of_default.contains("/dev/tcp/127.0.0.1/7412"), "{of_default}");

        let route = |number| format!("[[route]]\nheaders = {number}\nservice = \"discard\"\n");
        let routes: String = (10..20).map(route).collect();
        let listeners = "[[listener]]\naddress = \"unix:/a\"\nkernel_buffer = \"auto\"\n[[listener]]\naddress = \"unix:/b\"\n\
                         header_space = \"full\"\n[[listener]]\naddress = \"unix:/c\"\nprotocol = \"line\"\nroute = 10\n";
        let many = banner(&format!("{listeners}{routes}"), &["unix:/a", "unix:/b", "unix:/c"], 1);
        for line in [
            "  frames   unix:/a   route 10 discard, 11 discard, 12 discard, 13 discard, 14 discard, 15 discard, 16 discard, \
             17 discard and 2 more",
            "  bare     unix:/b   the same routes",
            "  lines    unix:/c   route 10 discard",
            "  shards   1 event loop",
            "           the kernel adds what it likes for a connection with both queues full",
        ] {
            assert!(many.lines().any(|other| other == line), "{line} is not in\n{many}");
        }
        assert!(!many.contains("try it"), "nobody answers anything: {many}");
        let one = "[[listener]]\naddress = \"unix:/a\"\n";
        let tried = banner(one, &["unix:/a"], 1);
        assert!(tried.contains("try it     tidegate send unix:/a --route 0 hello\n"), "{tried}");
        let tried = banner(&format!("{one}protocol = \"line\"\n"), &["unix:/a"], 1);
        assert!(tried.contains("try it     tidegate send unix:/a --lines hello\n"), "{tried}");
        let users = "users = \"required\"\n[[user]]\nname = \"a\"\ncertificate = \"a\"\n";
        assert!(!banner(&format!("{one}{users}"), &["unix:/a"], 1).contains("try it"));
        assert!(banner("route = []\n", &["unix:/a", "unix:/b"], 1).contains("which nobody serves"));
    }
}
