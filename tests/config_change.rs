//! Two configurations, one that runs and one that is wanted: what becomes of them is what a fresh start would make of
//! the wanted live values beside the running others, or nothing.

#![cfg(feature = "config")]

use proptest::prelude::*;
use std::fmt::Write as _;
use tidegate::config::change::{KEYS, When, when};
use tidegate::config::{File, Host, Loaded, Mistakes, Sources, load};

fn host() -> Host {
    Host { processors: 2, descriptors: 20_000, memory_bytes: Some(8 << 30), backlog_max: Some(4096) }
}

fn read(text: &str) -> Result<Loaded, Mistakes> {
    let file = Some(File { name: "t.toml".to_owned(), text: text.to_owned() });
    load(Sources { file, ..Sources::default() }, &host())
}

#[track_caller]
fn right(text: &str) -> Loaded {
    read(text).unwrap_or_else(|mistakes| panic!("{text}\n{}", mistakes.render(false)))
}

/// Tables that are no lists, and values of their keys; each is right beside the defaults.
#[rustfmt::skip]
const VALUES: &[(&str, &str, &[&str])] = &[
    ("server",    "shards",          &["1", "2", "\"auto\""]),
    ("server",    "pin",             &["true", "false"]),
    ("server",    "share_port",      &["true"]),
    ("server",    "memory",          &["\"64MiB\"", "\"128MiB\"", "\"1GiB\""]),
    ("server",    "drain.grace",     &["\"1s\"", "\"0s\""]),
    ("server",    "watch",           &["true"]),
    ("limits",    "max_connections", &["1", "500", "\"auto\""]),
    ("limits",    "output_high",     &["\"65KiB\"", "\"9MiB\"", "\"20MiB\"", "\"60MiB\""]),
    ("limits",    "output_low",      &["\"0B\"", "\"64KiB\""]),
    ("timeouts",  "frame",           &["\"2s\""]),
    ("timeouts",  "idle",            &["\"off\"", "\"3s\""]),
    ("timeouts",  "heartbeat",       &["\"off\"", "\"4s\""]),
    ("timeouts",  "write_stall",     &["\"5s\""]),
    ("timeouts",  "linger",          &["\"6s\""]),
    ("keepalive", "idle",            &["\"off\"", "\"7s\""]),
    ("keepalive", "interval",        &["\"8s\""]),
    ("keepalive", "count",           &["9"]),
    ("admin",     "address",         &["\"off\"", "\"127.0.0.1:1\""]),
    ("admin",     "token",           &["\"0123456789abcdef\"", "\"fedcba9876543210\""]),
    ("admin",     "hosts",           &["\"a,b\"", "\"c\""]),
    ("log",       "format",          &["\"text\"", "\"json\""]),
    ("log",       "level",           &["\"warn\"", "\"off\""]),
    ("log",       "stall",           &["\"1us\""]),
];

#[rustfmt::skip]
const OF_FRAMES: &[(&str, &[&str])] = &[
    ("hello",         &["\"required\""]),
    ("max_payload",   &["\"1KiB\"", "\"12MiB\"", "\"30MiB\""]),
    ("backlog",       &["7", "8"]),
    ("kernel_buffer", &["\"auto\"", "\"8KiB\""]),
];

#[rustfmt::skip]
const OF_LINES: &[(&str, &[&str])] = &[
    ("max_payload",   &["\"1KiB\""]),
    ("route",         &["3", "4"]),
    ("backlog",       &["7"]),
];

/// For each row, which of its values; `None`: the key is not given.
type Picks = Vec<Option<usize>>;

#[derive(Clone, Debug)]
struct Pick {
    values: Picks,
    frames: Picks,
    lines: Picks,
    /// The listener of lines, at all.
    has_lines: bool,
    routes: usize,
}

fn picks(sizes: Vec<usize>) -> impl Strategy<Value = Picks> {
    let each: Vec<_> = sizes.into_iter().map(|size| prop::option::weighted(0.4, 0..size)).collect();
    each
}

fn pick() -> impl Strategy<Value = Pick> {
    let sizes = |rows: &[(&str, &[&str])]| rows.iter().map(|(_, values)| values.len()).collect();
    (
        picks(VALUES.iter().map(|(_, _, values)| values.len()).collect()),
        picks(sizes(OF_FRAMES)),
        picks(sizes(OF_LINES)),
        any::<bool>(),
        0..3usize,
    )
        .prop_map(|(values, frames, lines, has_lines, routes)| Pick {
            values,
            frames,
            lines,
            has_lines,
            routes,
        })
}

fn text(pick: &Pick) -> String {
    let mut out = String::from("config_version = 1\n");
    for section in ["server", "limits", "timeouts", "keepalive", "admin", "log"] {
        let _ = writeln!(out, "[{section}]");
        for ((of, key, values), pick) in VALUES.iter().zip(&pick.values) {
            if let (true, Some(at)) = (*of == section, pick) {
                let _ = writeln!(out, "{key} = {}", values[*at]);
            }
        }
    }
    let mut listener = |head: &str, rows: &[(&str, &[&str])], picks: &Picks| {
        let _ = writeln!(out, "[[listener]]\n{head}");
        for ((key, values), pick) in rows.iter().zip(picks) {
            if let Some(at) = pick {
                let _ = writeln!(out, "{key} = {}", values[*at]);
            }
        }
    };
    listener("address = \"127.0.0.1:7\"", OF_FRAMES, &pick.frames);
    if pick.has_lines {
        listener("address = \"127.0.0.1:8\"\nprotocol = \"line\"", OF_LINES, &pick.lines);
    }
    for route in 1..=pick.routes {
        let service = ["echo", "flip"][(route + pick.routes) % 2];
        let _ = writeln!(out, "[[route]]\nheaders = {route}\nservice = \"{service}\"");
    }
    out
}

/// What holds after the change, made by hand: key by key of the running or of the wanted one.
fn both(running: &Pick, wanted: &Pick) -> Pick {
    let of = |section: &str, key: &str, one: Option<usize>, other: Option<usize>| {
        if when(section, key) == When::Restart { one } else { other }
    };
    let listener = |rows: &[(&str, &[&str])], one: &Picks, other: &Picks| -> Picks {
        rows.iter().zip(one.iter().zip(other)).map(|((key, _), (a, b))| of("listener", key, *a, *b)).collect()
    };
    let values = VALUES.iter().zip(running.values.iter().zip(&wanted.values));
    Pick {
        values: values.map(|((section, key, _), (a, b))| of(section, key, *a, *b)).collect(),
        frames: listener(OF_FRAMES, &running.frames, &wanted.frames),
        // Where it is not wanted any more, it stays as it is.
        lines: if wanted.has_lines {
            listener(OF_LINES, &running.lines, &wanted.lines)
        } else {
            running.lines.clone()
        },
        has_lines: running.has_lines,
        routes: wanted.routes,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Applied whole, as a fresh start has it, or refused whole; and what was applied has nothing live left to apply.
    #[test]
    fn what_is_applied_is_what_a_fresh_start_makes(running in pick(), wanted in pick()) {
        let (Ok(runs), Ok(wants)) = (read(&text(&running)), read(&text(&wanted))) else { return Ok(()) };
        let fresh = read(&text(&both(&running, &wanted)));
        let plan = match (runs.change_to(&wants, &host()), fresh) {
            (Ok(plan), Ok(fresh)) => {
                prop_assert_eq!(&plan.loaded.config, &fresh.config);
                plan
            }
            (Err(refused), Err(_)) => {
                prop_assert!(refused.render(false).contains("until a restart"), "{}", refused.render(false));
                return Ok(());
            }
            (plan, fresh) => {
                let told = |mistakes: Mistakes| mistakes.render(false);
                prop_assert!(false, "{:?} {:?}", plan.map(|_| "taken").map_err(told), fresh.map(|_| "right").map_err(told));
                return Ok(());
            }
        };
        let again = plan.loaded.change_to(&wants, &host()).expect("nothing of it is new");
        prop_assert_eq!(again.live().count(), 0);
        prop_assert!(again.changed.iter().eq(plan.waiting()));
        prop_assert!(runs.config == wants.config || !plan.changed.is_empty());
        if plan.waiting().next().is_none() {
            prop_assert_eq!(&plan.loaded.config, &wants.config);
        }
        for changed in &plan.changed {
            prop_assert!(changed.old != changed.new || changed.key == "admin.token", "{}", changed);
        }
    }
}

/// A name, what is wanted, and what is told of it.
type Case = (&'static str, String, &'static [(&'static str, When)]);

#[test]
fn every_kind_of_difference_is_told_in_these_words() {
    let one = "[[listener]]\naddress = \"127.0.0.1:7\"\n";
    let running = right(&format!("[server]\nshards = 1\n{one}[[route]]\nheaders = 1\nservice = \"echo\"\n"));
    #[rustfmt::skip]
    let table: &[Case] = &[
        ("nothing", format!("[server]\nshards = 1\n{one}[[route]]\nheaders = \"0x0001\"\nservice = \"echo\"\n"), &[]),
        ("a default that is written out", format!("[server]\nshards = 1\npin = false\n{one}[[route]]\nheaders = 1\nservice = \"echo\"\n"), &[]),
        ("one of each", format!("[server]\nshards = 2\nwatch = true\n{one}max_payload = \"1KiB\"\n[[route]]\nheaders = 1\nservice = \"flip\"\n[[route]]\nheaders = 2\nservice = \"ack\"\n"), &[
            ("server.shards: 1 -> 2", When::Restart),
            ("server.watch: false -> true", When::Now),
            ("listener[127.0.0.1:7].max_payload: \"1MiB\" -> \"1KiB\"", When::Newcomers),
            ("route[0x0001].service: \"echo\" -> \"flip\"", When::Now),
            ("route[0x0002]: nothing -> \"ack\"", When::Now),
        ]),
        ("another place", "[server]\nshards = 1\n[[listener]]\naddress = \"127.0.0.1:9\"\n[[route]]\nheaders = 1\nservice = \"echo\"\n".to_owned(), &[
            ("listener[127.0.0.1:7]: \"frame\" -> nothing", When::Restart),
            ("listener[127.0.0.1:9]: nothing -> \"frame\"", When::Restart),
        ]),
        ("another protocol", format!("[server]\nshards = 1\n{one}protocol = \"line\"\nroute = 5\nbacklog = 4096\n[[route]]\nheaders = 1\nservice = \"echo\"\n"), &[
            ("listener[127.0.0.1:7].protocol: \"frame\" -> \"line\"", When::Restart),
            ("listener[127.0.0.1:7].header_space: \"standard\" -> nothing", When::Restart),
            ("listener[127.0.0.1:7].hello: \"optional\" -> nothing", When::Restart),
            ("listener[127.0.0.1:7].max_payload: \"1MiB\" -> \"64KiB\"", When::Restart),
            ("listener[127.0.0.1:7].route: nothing -> 5", When::Restart),
        ]),
        ("no routes", format!("route = []\n[server]\nshards = 1\n{one}"), &[("route[0x0001]: \"echo\" -> nothing", When::Now)]),
    ];
    for (name, wanted, want) in table {
        let plan = running.change_to(&right(wanted), &host()).expect("it is right");
        let got: Vec<(String, When)> =
            plan.changed.iter().map(|changed| (changed.to_string(), changed.when)).collect();
        let want: Vec<(String, When)> = want.iter().map(|(text, when)| ((*text).to_owned(), *when)).collect();
        assert_eq!(got, want, "case: {name}");
    }
}

#[test]
fn what_does_not_go_with_what_stays_is_refused_at_the_new_value() {
    let running = right("[server]\nshards = 1\nmemory = \"64MiB\"\n");
    let wanted = right("[server]\nshards = 1\nmemory = \"1GiB\"\n[limits]\noutput_high = \"100MiB\"\n");
    let refused = running.change_to(&wanted, &host()).expect_err("a quarter of 64 MiB").render(false);
    assert!(refused.contains("t.toml:5"), "{refused}");
    assert!(
        refused.contains("give it at most 16MiB")
            && refused.contains("`memory` is \"64MiB\" until a restart"),
        "{refused}"
    );
}

#[test]
fn the_reference_says_of_each_key_when_it_holds() {
    let reference = tidegate::config::reference();
    for (section, key, when) in KEYS.iter().filter(|(section, ..)| !section.is_empty()) {
        let heads = [format!("## `[{section}]`"), format!("## `[[{section}]]`")];
        let from = heads.iter().find_map(|head| reference.split_once(head)).map(|(_, rest)| rest);
        let row = from.and_then(|rest| rest.lines().find(|line| line.starts_with(&format!("| `{key}`"))));
        let row = row.unwrap_or_else(|| panic!("no row of {section}.{key}"));
        assert!(row.contains(&format!(" | {} | ", when.name())), "{section}.{key}: {row}");
    }
}
