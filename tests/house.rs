//! Rules of the house, read from the source: who may know whom, what may appear where, how files begin and how long
//! they are. A breach is told with its file and line.
//!
//! Imports only point down: `MAY_KNOW` lists the layers from below.

#[path = "house/source.rs"]
mod source;

use source::{Source, all_sources};

/// A layer and what of ours it may know. Layers that don't exist yet are written down already.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("wire", &["base"]),
    ("buffer", &["base"]),
    ("metrics", &["base"]),
    ("identity", &["base", "wire"]),
    ("trace", &["base", "wire", "metrics"]),
    ("session", &["base", "wire", "buffer", "metrics"]),
    ("mailbox", &["base", "wire", "metrics", "identity", "session"]),
    ("service", &["base", "wire", "buffer", "metrics", "identity", "session", "mailbox"]),
    ("turn", &["base", "wire", "buffer", "metrics", "identity", "trace", "session", "mailbox", "service"]),
    ("sim", &["base", "wire", "buffer", "metrics", "session", "mailbox", "service", "turn"]),
    ("net", &["base", "buffer"]),
    ("tls", &["base"]),
    ("shard", &["base", "wire", "buffer", "metrics", "session", "mailbox", "service", "turn", "net", "tls"]),
    (
        "server",
        &[
            "base", "wire", "buffer", "metrics", "identity", "trace", "session", "mailbox", "service",
            "turn", "net", "tls", "shard",
        ],
    ),
    ("control", &["base", "metrics", "trace", "server"]),
    ("upgrade", &["base", "net", "server"]),
    ("load", &["base", "wire", "buffer", "net", "tls"]),
    ("config", &["base", "wire", "identity", "trace", "net", "service", "tls", "server"]),
    ("client", &["base", "wire", "tls"]),
    ("conform", &["base", "wire", "client"]),
    (
        "cli",
        &[
            "base", "wire", "buffer", "metrics", "identity", "session", "mailbox", "service", "turn", "sim",
            "net", "shard", "server", "conform", "config", "client", "load", "control", "upgrade", "tls",
        ],
    ),
];

/// Below the line where sockets, clocks and threads begin.
const PURE: &[&str] = &[
    "base", "wire", "buffer", "metrics", "identity", "trace", "session", "mailbox", "service", "turn", "sim",
];

/// What a path may begin with, and the only layers where it may.
const ONLY_IN: &[(&[&str], &[&str])] = &[
    (&["mio"], &["net", "shard", "load"]),
    (&["socket2"], &["net"]),
    (&["memmap2"], &["buffer"]),
    (&["nix"], &["net"]),
    (&["subtle"], &["control", "identity"]),
    (&["sha2"], &["identity"]),
    (&["getrandom"], &["cli"]),
    (&["tokio"], &["control"]),
    (&["axum"], &["control"]),
    (&["hyper"], &["control"]),
    (&["hyper_util"], &["control"]),
    (&["prometheus_client"], &["control"]),
    (&["pprof"], &["control"]),
    (&["flate2"], &["control"]),
    (&["prost"], &["control"]),
    (&["clap"], &["cli"]),
    (&["toml"], &["config"]),
    (&["strsim"], &["config"]),
    (&["annotate_snippets"], &["config"]),
    (&["clap_complete"], &["cli"]),
    (&["clap_mangen"], &["cli"]),
    (&["anyhow"], &["cli"]),
    (&["rustix"], &["net", "shard", "load", "cli", "control", "upgrade"]),
    (&["hdrhistogram"], &["load"]),
    (&["base64"], &["load"]),
    (&["serde"], &["load", "control", "upgrade", "cli"]),
    (&["serde_json"], &["load", "control", "upgrade", "cli"]),
    (&["listenfd"], &["cli"]),
    (&["sd_notify"], &["cli"]),
    (&["tracing_subscriber"], &["cli"]),
    (&["tracing_appender"], &["cli"]),
    (&["ctrlc"], &["server"]),
    (&["signal_hook"], &["server", "cli"]),
    (&["rustls"], &["tls"]),
    (&["webpki"], &["tls"]),
    (&["der"], &["tls"]),
    (&["std", "process"], &["server", "load", "cli", "upgrade"]),
    (&["std", "env"], &["cli"]),
];

/// What no path below the line may begin with.
const IMPURE: &[&[&str]] = &[
    &["std", "net"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
    &["std", "thread"],
    &["std", "fs"],
    &["std", "env"],
    &["std", "process"],
];

/// File, path: exceptions, each with its reason.
const ALLOWED: &[(&str, &str)] = &[
    // A reader of another thread lets the loop run on; the loop itself never gets there.
    ("metrics/snapshot.rs", "std::thread::yield_now"),
];

/// Lines of a file at which it should have been split.
const LINES_MAX: usize = 600;

fn starts_with(path: &[String], begin: &[&str]) -> bool {
    path.len() >= begin.len() && path.iter().zip(begin).all(|(have, want)| have == want)
}

fn is_allowed(file: &str, path: &[String]) -> bool {
    ALLOWED.iter().any(|(where_, what)| *where_ == file && path.join("::") == **what)
}

/// Every breach of the rules about paths in one file.
fn breaches(source: &Source) -> Vec<String> {
    let Some(layer) = source.layer() else { return Vec::new() };
    let mut found = Vec::new();
    let Some((_, known)) = MAY_KNOW.iter().find(|(name, _)| *name == layer) else {
        return vec![format!("{}: layer {layer} has no rule: add it to MAY_KNOW", source.file)];
    };
    for path in source.paths() {
        let mut tell = |what: &str| {
            found.push(format!("{}:{}: {}: {what}", source.file, path.line, path.segments.join("::")));
        };
        if is_allowed(&source.file, &path.segments) {
            continue;
        }
        if path.segments[0] == "crate" {
            match path.segments.get(1).map(String::as_str) {
                Some(other) if other == layer || known.contains(&other) => {}
                Some(other) if MAY_KNOW.iter().any(|(name, _)| *name == other) => {
                    tell(&format!("{layer} may not know {other}"));
                }
                _ => tell("reached through the root, which hides the layer"),
            }
        }
        for (begin, layers) in ONLY_IN {
            if starts_with(&path.segments, begin) && !layers.contains(&layer) && !path.in_tests {
                tell(&format!("only {layers:?} may use {}", begin.join("::")));
            }
        }
        if PURE.contains(&layer)
            && !path.in_tests
            && IMPURE.iter().any(|begin| starts_with(&path.segments, begin))
        {
            tell("below the line there are no sockets, clocks and threads");
        }
    }
    if layer != "cli" {
        for (line, name) in source.macros(&["print", "println", "eprint", "eprintln", "dbg"]) {
            found.push(format!("{}:{line}: {name}!: only cli prints", source.file));
        }
    }
    found
}

#[test]
fn imports_only_point_down() {
    let sources = all_sources();
    assert!(sources.len() > 40, "only {} files were found", sources.len());
    let paths: usize = sources.iter().map(|source| source.paths().len()).sum();
    assert!(paths > 500, "only {paths} paths were found: the reader is blind");
    let found: Vec<_> = sources.iter().flat_map(breaches).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn exceptions_are_still_needed() {
    let sources = all_sources();
    for (file, what) in ALLOWED {
        let is_needed = sources
            .iter()
            .filter(|source| source.file == *file)
            .any(|source| source.paths().iter().any(|path| path.segments.join("::") == **what));
        assert!(is_needed, "{file} no longer uses {what}: take the exception away");
    }
}

#[test]
fn modules_say_what_they_are() {
    let mut silent = Vec::new();
    for source in all_sources() {
        let is_test = source.file.ends_with("tests.rs");
        if !source.text.starts_with("//! ") && !is_test {
            silent.push(source.file);
        }
    }
    assert!(silent.is_empty(), "these begin without a //! line: {silent:?}");
}

#[test]
fn files_are_short_enough_to_be_read() {
    let long: Vec<_> = all_sources()
        .iter()
        .map(|source| (source.text.lines().count(), source.file.clone()))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "over {LINES_MAX} lines: {long:?}");
}

/// Places where a close reason is made, not matched, outside tests.
fn made(source: &Source, reason: &str) -> Vec<usize> {
    if source.file == "base/close.rs" {
        return Vec::new();
    }
    let tokens = source.tokens();
    let mut lines = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if token.text != reason || token.in_tests || source.is_in_use(at) {
            continue;
        }
        let is_qualified = at >= 2 && tokens[at - 1].text == "::";
        if is_qualified && tokens[at - 2].text != "CloseReason" {
            continue;
        }
        let next = tokens.get(at + 1).map_or("", |token| token.text.as_str());
        let before = if is_qualified { at.checked_sub(3) } else { at.checked_sub(1) };
        let before = before.map_or("", |at| tokens[at].text.as_str());
        // A pattern goes on with an arrow, an alternative or a field's comma; a comparison is no making either.
        let is_pattern = ["=>", "|", "{", ".."].contains(&next)
            || before == "|"
            || ["==", "!="].contains(&before)
            || source.is_in_pattern(at);
        if !is_pattern {
            lines.push(token.line);
        }
    }
    lines
}

/// The cause of a close is seen in one place, and decided there. (The simulator only says what it expects.)
#[test]
fn a_bad_checksum_is_judged_in_one_place() {
    let places: Vec<_> = all_sources()
        .iter()
        .filter(|source| !source.file.starts_with("sim/"))
        .flat_map(|source| {
            made(source, "BadCrc")
                .into_iter()
                .map(|line| format!("{}:{line}", source.file))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(places.len(), 1, "{places:?}");
    assert!(places[0].starts_with("session/"), "{places:?}");
}

#[test]
fn every_close_reason_is_made_somewhere() {
    let sources = all_sources();
    for reason in tidegate::CloseReason::ALL {
        let name = format!("{reason:?}");
        let is_made = sources.iter().any(|source| !made(source, &name).is_empty());
        assert!(is_made, "CloseReason::{name} is never decided");
    }
}

#[test]
fn every_limit_is_used() {
    let sources = all_sources();
    let limits = sources.iter().find(|source| source.file == "base/limits.rs").expect("it is there");
    let tokens = limits.tokens();
    let names: Vec<_> = tokens
        .windows(3)
        .filter(|three| three[0].text == "pub" && three[1].text == "const" && three[2].text != "fn")
        .map(|three| three[2].text.clone())
        .collect();
    assert!(names.len() > 30, "only {} limits were found", names.len());
    let unused: Vec<_> = names
        .iter()
        .filter(|name| {
            let elsewhere = sources.iter().filter(|source| source.file != "base/limits.rs");
            let is_used = elsewhere.flat_map(|source| {
                let tokens = source.tokens();
                (0..tokens.len())
                    .filter(|at| !tokens[*at].in_tests && !source.is_in_use(*at))
                    .map(|at| tokens[at].text.clone())
                    .collect::<Vec<_>>()
            });
            !is_used.into_iter().any(|text| text == **name)
        })
        .collect();
    assert!(unused.is_empty(), "limits that limit nothing: {unused:?}");
}

/// File, bad text, what its breach must say. Each rule must find what it is there for.
#[test]
fn planted_breaches_are_found() {
    #[rustfmt::skip]
    let table: &[(&str, &str, &str)] = &[
        ("wire/frame.rs",       "use crate::buffer::Ring;",                        "wire may not know buffer"),
        ("buffer/ring.rs",      "use crate::wire::Header;",                        "buffer may not know wire"),
        ("base/id.rs",          "use crate::{base::Ms, wire::{self, Crc}};",       "base may not know wire"),
        ("session/outbox.rs",   "use crate::{\n  base::{Ms, Text},\n  service::{Frame as F},\n};", "session may not know service"),
        ("session/phase.rs",    "fn f() { let x = crate::turn::wheel(); }",        "session may not know turn"),
        ("session/phase.rs",    "use super::super::service::Reply;",               "session may not know service"),
        ("turn/visit/ending.rs", "use super::super::super::shard::Shard;",          "turn may not know shard"),
        ("turn/visit.rs",        "mod inner { use super::super::super::net::Spare; }", "turn may not know net"),
        ("turn/mod.rs",         "use super::net;",                                 "turn may not know net"),
        ("turn/mod.rs",         "pub use super::{net::{self}, wire};",             "turn may not know net"),
        ("net/mod.rs",          "type T = crate :: wire\n :: Header;",             "net may not know wire"),
        ("session/mod.rs",      "macro_rules! m { () => { $crate::server::X } }",  "session may not know server"),
        ("turn/io.rs",          "use crate::Status;",                              "reached through the root"),
        ("turn/io.rs",          "use crate::*;",                                   "reached through the root"),
        ("turn/io.rs",          "use crate as all;",                               "reached through the root"),
        ("turn/io.rs",          "use mio::net::TcpStream;",                        "only [\"net\", \"shard\", \"load\"] may use mio"),
        ("server/builder.rs",   "fn f(s: ::mio::Token) {}",                        "may use mio"),
        ("server/mod.rs",       "use {anyhow::Result, std::io};",                  "may use anyhow"),
        ("server/mod.rs",       "fn f() { rustix::process::getpid(); }",           "may use rustix"),
        ("net/mod.rs",          "#[derive(clap::Args)] struct S;",                 "may use clap"),
        ("turn/mod.rs",         "use std::time::{Duration, Instant};",             "no sockets, clocks and threads"),
        ("service/mod.rs",      "fn f() { let _ = std::time::SystemTime::now(); }", "no sockets, clocks and threads"),
        ("buffer/mod.rs",       "use std::{io, net::TcpStream};",                  "no sockets, clocks and threads"),
        ("metrics/mod.rs",      "fn f() { std::thread::spawn(|| ()); }",           "no sockets, clocks and threads"),
        ("session/mod.rs",      "fn f() { println!(\"x\"); }",                     "only cli prints"),
        ("server/mod.rs",       "fn f() { std::eprintln!(\"x\"); }",               "only cli prints"),
        ("extra/mod.rs",        "fn f() {}",                                       "layer extra has no rule"),
    ];
    for (file, text, want) in table {
        let found = breaches(&Source::new(file, text)).join("\n");
        assert!(found.contains(want), "case: {file}: {text}\nfound: {found}");
    }
}

/// File, good text: what only looks like a breach is none.
#[test]
fn what_only_looks_like_a_breach_is_none() {
    #[rustfmt::skip]
    let table: &[(&str, &str)] = &[
        ("wire/frame.rs",       "// use crate::buffer::Ring;"),
        ("wire/frame.rs",       "/* use crate::buffer::Ring; /* nested */ use mio; */"),
        ("wire/frame.rs",       "/// See [`Ring`](crate::buffer::Ring).\nfn f() {}"),
        ("wire/frame.rs",       "const T: &str = \"use crate::buffer::Ring;\";"),
        ("wire/frame.rs",       "const T: &str = r#\"say \"crate::buffer::Ring\" \"#;"),
        ("wire/frame.rs",       "const C: char = '\"'; const D: &str = \"crate::buffer::X\";"),
        ("wire/frame.rs",       "fn f<'a>(x: &'a str) -> &'a str { x }"),
        ("turn/mod.rs",         "use crate::{base::Ms, session::{Phase, Framing}};"),
        ("turn/visit/ending.rs", "use super::{Got, Visit};\nuse super::super::Io;"),
        ("turn/wheel.rs",       "#[cfg(test)] mod tests { use super::super::wheel::Wheel; use std::thread; }"),
        ("turn/wheel.rs",       "use std::time::Duration;\nuse core::net::SocketAddr;"),
        ("cli/serve.rs",        "use clap::Args; fn f() { println!(); }"),
        ("lib.rs",              "pub use server::Server;"),
    ];
    for (file, text) in table {
        let found = breaches(&Source::new(file, text));
        assert!(found.is_empty(), "case: {file}: {text}\nfound: {found:?}");
    }
}

/// Text, and the lines where BadCrc is made in it.
#[test]
fn making_is_told_from_matching() {
    #[rustfmt::skip]
    let table: &[(&str, &[usize])] = &[
        ("fn f() -> R { CloseReason::BadCrc }",                                      &[1]),
        ("fn f() { g(CloseReason::BadCrc, 1);\n h(BadCrc) }",                        &[1, 2]),
        ("match e { DecodeError::BadCrc { .. } => CloseReason::BadCrc, }",           &[1]),
        ("match e { A => Step::Fault(CloseReason::BadCrc),\n Err(error) => 1 }",        &[1]),
        ("match r { CloseReason::BadCrc => 1, _ => 2 }",                             &[]),
        ("match r { CloseReason::BadCrc\n | CloseReason::Idle => 1, _ => 2 }",       &[]),
        ("match r { CloseReason::Idle\n | CloseReason::BadCrc => 1, _ => 2 }",       &[]),
        ("match r { Told { why: BadCrc, .. } => 1 }",                                &[]),
        ("match p { (Closed(BadCrc), Tick(_)) => 1 }",                               &[]),
        ("if why == CloseReason::BadCrc { }",                                        &[]),
        ("if matches!(why, CloseReason::BadCrc) { }",                                &[]),
        ("let x = Told { why: CloseReason::BadCrc };",                               &[1]),
        ("use CloseReason::{BadCrc, Idle};",                                         &[]),
        ("#[cfg(test)] mod tests { fn f() { g(CloseReason::BadCrc); } }",            &[]),
    ];
    for (text, want) in table {
        let got = made(&Source::new("session/framing.rs", text), "BadCrc");
        assert_eq!(got, *want, "case: {text}");
    }
}
