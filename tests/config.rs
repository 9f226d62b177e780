//! The configuration: what is refused and in which words, what goes above what, and that the reference, the default
//! and the running server's own constants say the same.
//!
//! The words are in `tests/data/config/*.txt`: a file, a line of dashes, and what is told of it. After a change,
//! `TIDEGATE_TEST_REMAKE=1 cargo test --test config` writes them anew, for a person to read.

#![cfg(feature = "cli")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tidegate::base::limits::{BUDGET_BYTES_DEFAULT, CONNECTIONS_PER_SHARD_MAX, DRAIN_GRACE, Limits};
use tidegate::base::limits::{LINE_BYTES_DEFAULT, PAYLOAD_BYTES_DEFAULT};
use tidegate::config::schema::{Form, Kind, NOT_THERE, SECTIONS};
use tidegate::config::{
    Changes, Config, File, Flag, Host, Loaded, Mistakes, Sources, Speaks, Value, default_text, load,
    reference, variable,
};
use tidegate::net::{Keepalive, ListenOptions};
use tidegate::service::BuiltIn;

const SEPARATOR: &str = "\n--------\n";

/// The same everywhere, whatever the tests run on.
fn host() -> Host {
    Host { processors: 2, descriptors: 20_000, memory_bytes: Some(8 << 30), backlog_max: Some(4096) }
}

fn sources(text: &str) -> Sources {
    Sources { file: Some(File { name: "t.toml".to_owned(), text: text.to_owned() }), ..Sources::default() }
}

fn variables(mut sources: Sources, variables: &[(&str, &str)]) -> Sources {
    sources.variables =
        variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    sources
}

#[track_caller]
fn right(sources: Sources) -> Loaded {
    load(sources, &host()).unwrap_or_else(|mistakes| panic!("{}", mistakes.render(false)))
}

#[track_caller]
fn wrong(sources: Sources) -> Mistakes {
    load(sources, &host()).expect_err("it is wrong")
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config");
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("the cases").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// A file's name says how many mistakes it has: `8-different.txt`; the others have one.
#[test]
fn every_mistake_is_told_in_these_words() {
    let is_remade = std::env::var_os("TIDEGATE_TEST_REMAKE").is_some();
    let cases = cases();
    assert!(cases.len() >= 45, "only {} cases", cases.len());
    for path in cases {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
        let text = fs::read_to_string(&path).expect("a case");
        let (file, want) = text.split_once(SEPARATOR).unwrap_or((&text, ""));
        let mistakes = wrong(sources(file));
        let told = mistakes.render(false);
        if is_remade {
            fs::write(&path, format!("{file}{SEPARATOR}{told}")).expect("written");
            continue;
        }
        assert_eq!(told, want, "case: {name}");
        let many = name.split('-').next().and_then(|count| count.parse().ok()).unwrap_or(1);
        assert_eq!(mistakes.len(), many, "case: {name}");
        let carets = told.lines().filter(|line| line.contains('^')).count();
        assert!(carets >= many, "each has its caret: {name}\n{told}");
    }
}

#[test]
fn every_key_that_is_missed_is_answered_honestly() {
    for (name, why) in NOT_THERE {
        let told = wrong(sources(&format!("[{name}]\n"))).render(false);
        assert!(told.contains(why), "{name}: {told}");
        let told = wrong(sources(&format!("[server]\n{name} = 1\n"))).render(false);
        assert!(told.contains(why), "{name}: {told}");
        let is_there = SECTIONS
            .iter()
            .any(|section| section.name == *name || section.keys.iter().any(|key| key.name == *name));
        assert!(!is_there, "{name} is there");
    }
}

/// Each key, one letter short, is still known.
#[test]
fn every_key_that_is_misspelt_is_suggested() {
    for section in &SECTIONS[1..] {
        for key in section.keys.iter().filter(|key| !key.name.contains('.')) {
            let short = &key.name[..key.name.len() - 1];
            let told = wrong(sources(&format!("{}\n{short} = 1\n", section.header()))).render(false);
            assert!(told.contains(&format!("did you mean `{}`?", key.name)), "{short}: {told}");
        }
    }
}

#[test]
fn the_default_is_that_of_the_running_server() {
    let config = right(Sources::default()).config;
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.memory_bytes, BUDGET_BYTES_DEFAULT as u64);
    assert_eq!(config.grace, DRAIN_GRACE);
    assert_eq!(config.keepalive, Some(Keepalive::default()));
    assert_eq!((config.shards, config.pin, config.max_connections), (None, false, None));
    let options = ListenOptions::default();
    assert_eq!((config.share_port, options.share_port), (false, false));
    let [frames, lines] = config.listeners.as_slice() else { panic!("{:?}", config.listeners) };
    for listen in [frames, lines] {
        assert_eq!(listen.backlog, options.backlog);
        assert_eq!(listen.kernel_buffer_bytes, options.socket_buffer_bytes);
    }
    assert_eq!(options.keepalive, config.keepalive);
    assert_eq!(
        (frames.speaks, frames.max_payload),
        (Speaks::Frames { wants_hello: false }, PAYLOAD_BYTES_DEFAULT)
    );
    assert_eq!((lines.speaks, lines.max_payload), (Speaks::Lines { route: 0 }, LINE_BYTES_DEFAULT));
    let routes: Vec<_> = (0..).map(|route| route..=route).zip(BuiltIn::ALL).collect();
    assert_eq!(config.routes, routes);
    let services = SECTIONS
        .iter()
        .flat_map(|section| section.keys)
        .find(|key| key.name == "service")
        .map(|key| key.kind);
    assert_eq!(services, Some(Kind::Choice(&["ack", "echo", "discard", "flip"])));
    assert_eq!(BuiltIn::ALL.map(BuiltIn::name), ["ack", "echo", "discard", "flip"]);
}

#[test]
fn the_printed_default_is_the_default() {
    let printed = right(sources(&default_text()));
    assert_eq!(printed.config, right(Sources::default()).config);
    for section in &SECTIONS {
        for key in section.keys {
            // By default there is no user.
            let comment = if section.name == "user" { "# " } else { "" };
            let line = format!("\n{comment}{} = ", key.name);
            assert!(default_text().contains(&line), "{} is not in it", key.name);
        }
    }
    assert!(default_text().lines().all(|line| line.chars().count() <= 100), "lines fit a screen");
}

/// Every key of a table in range by itself and at both ends, so that no range is beyond what its type holds.
#[test]
fn the_ends_of_every_range_are_taken_and_what_is_beyond_is_not() {
    let roomy = Host { descriptors: u64::MAX, memory_bytes: None, backlog_max: None, ..host() };
    for section in SECTIONS.iter().filter(|section| !section.is_list) {
        for key in section.keys {
            let (least, most, beyond) = match key.kind {
                Kind::Count { least, most, .. } => {
                    (Value::Count(least), Value::Count(most), Value::Count(most + 1))
                }
                Kind::Size { least, most, .. } => {
                    (Value::Size(least), Value::Size(most), Value::Size(most + 1))
                }
                Kind::Time { least, most, step, .. } => {
                    (Value::Time(least), Value::Time(most), Value::Time(most + step))
                }
                Kind::Ratio => (Value::Ratio(0), Value::Ratio(1_000_000), Value::Ratio(1_000_001)),
                Kind::Switch
                | Kind::Choice(_)
                | Kind::Address
                | Kind::Port
                | Kind::Secret { .. }
                | Kind::Path
                | Kind::Hosts { .. }
                | Kind::Networks { .. }
                | Kind::Mode
                | Kind::Account
                | Kind::Headers
                | Kind::Form(_) => continue,
            };
            let told = |value: &Value| {
                let header = if section.name.is_empty() { String::new() } else { section.header() };
                let text = format!("{header}\n{} = {value}\n", key.name);
                load(sources(&text), &roomy).err().map_or(String::new(), |mistakes| mistakes.render(false))
            };
            for good in [&least, &most] {
                assert!(!told(good).contains("must lie between"), "{} = {good}: {}", key.name, told(good));
            }
            let told = told(&beyond);
            assert!(told.contains("must lie between") || told.contains("is unknown"), "{}: {told}", key.name);
        }
    }
    assert_eq!(host().connections(2, 2, false), 20_000 - 56 - 16);
    assert_eq!(host().connections(2, 2, true), 20_000 - 56 - 16 - 40);
    assert_eq!(roomy.connections(2, 2, true), u64::from(CONNECTIONS_PER_SHARD_MAX));
}

#[test]
fn the_document_is_what_the_schema_makes() {
    assert_eq!(
        include_str!("../docs/CONFIG.md"),
        reference(),
        "remake it: cargo run -- check --print-reference > docs/CONFIG.md"
    );
    let document = reference();
    let example =
        document.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("it has one");
    let config = right(sources(example)).config;
    assert_eq!((config.listeners.len(), config.routes.len()), (2, 2));
}

#[test]
fn the_readme_shows_what_is_told() {
    let readme = include_str!("../README.md");
    let path = cases().into_iter().find(|path| path.ends_with("2-in-the-readme.txt")).expect("the case");
    let text = fs::read_to_string(path).expect("it is read");
    let (_, told) = text.split_once(SEPARATOR).expect("it has been made");
    assert!(readme.contains(told), "{told}");
}

/// What is written to the effective file is read back as the same, and says where it came from.
#[test]
fn the_effective_file_says_the_same() {
    let text = "[server]\nshards = 2\n[[listener]]\naddress = \"unix:/tmp/a \\\"b\\u0007\\\\\"\nheader_space = \"full\"\n\
                [timeouts]\nidle = \"90s\"\nheartbeat = \"off\"\n[keepalive]\nidle = \"off\"\n";
    let with = variables(
        sources(text),
        &[
            ("TIDEGATE_SERVER__MEMORY", "64MiB"),
            ("TIDEGATE_ROUTE__4__HEADERS", "16-23"),
            ("TIDEGATE_ROUTE__4__SERVICE", "flip"),
        ],
    );
    let with = Sources {
        flags: vec![Flag {
            flag: "--grace 3".to_owned(),
            changes: Changes::Key("server", "drain.grace"),
            value: "3s".to_owned(),
        }],
        ..with
    };
    let loaded = right(with);
    let effective = loaded.effective_text();
    assert_eq!(right(sources(&effective)).config, loaded.config, "{effective}");
    for line in [
        "shards = 2  # at t.toml:2",
        "memory = \"64MiB\"  # in TIDEGATE_SERVER__MEMORY",
        "drain.grace = \"3s\"  # by --grace 3",
        "idle = \"90s\"  # at t.toml:7",
        "pin = false",
        "headers = \"0x0010-0x0017\"  # in TIDEGATE_ROUTE__4__HEADERS",
    ] {
        assert!(effective.lines().any(|other| other == line), "{line} is not in\n{effective}");
    }
    let none = right(sources("route = []\n"));
    assert_eq!(none.config.routes, []);
    assert_eq!(right(sources(&none.effective_text())).config, none.config);
}

#[test]
fn a_list_of_the_file_replaces_that_of_the_default() {
    let config = right(sources("[[listener]]\naddress = \"127.0.0.1:1\"\n")).config;
    assert_eq!((config.listeners.len(), config.routes.len()), (1, 4));
    let config = right(sources("[[route]]\nheaders = 9\nservice = \"ack\"\n")).config;
    assert_eq!((config.listeners.len(), config.routes), (2, vec![(9..=9, BuiltIn::Ack)]));
}

/// The same key in all four places: the highest counts; what it says of it is that place.
#[test]
fn flags_go_above_the_environment_above_the_file_above_the_default() {
    let flag = Flag {
        flag: "--idle 3".to_owned(),
        changes: Changes::Key("timeouts", "idle"),
        value: "3s".to_owned(),
    };
    let file = || sources("[timeouts]\nidle = \"1s\"\n");
    let variable = [("TIDEGATE_TIMEOUTS__IDLE", "2s")];
    let idle = |sources| right(sources).config.limits.idle;
    assert_eq!(idle(Sources::default()), None);
    assert_eq!(idle(file()), Some(Duration::from_secs(1)));
    assert_eq!(idle(variables(file(), &variable)), Some(Duration::from_secs(2)));
    let all = Sources { flags: vec![flag], ..variables(file(), &variable) };
    assert_eq!(idle(all), Some(Duration::from_secs(3)));
}

#[test]
fn every_key_has_its_variable() {
    for section in &SECTIONS {
        for key in section.keys {
            let name = variable(section, key, section.is_list.then_some(0));
            let mistakes = load(variables(Sources::default(), &[(&name, "?")]), &host()).err();
            let told = mistakes.map_or(String::new(), |mistakes| mistakes.render(false));
            // A file may have any name, and a certificate, and a service.
            let any = [Kind::Path, Kind::Form(Form::Certificate), Kind::Form(Form::ServiceName)];
            if any.contains(&key.kind) {
                continue;
            }
            let is_hidden = matches!(key.kind, Kind::Secret { .. } | Kind::Form(Form::TokenHash));
            let shown = if is_hidden { "***" } else { "?" };
            assert!(told.contains(&format!("| {name}={shown}")), "{name}: {told}");
            assert!(!told.contains("unknown variable"), "{name}: {told}");
        }
    }
}

/// Names and values of variables.
type Given<'a> = &'a [(&'a str, &'a str)];

#[test]
fn the_environment_changes_and_appends() {
    let config = |given: &[(&str, &str)]| right(variables(Sources::default(), given)).config;
    // Variables of the tests, and others' own, change nothing.
    let others =
        [("HOME", "/"), ("TIDEGATE_SIM_SEED", "4"), ("TIDEGATE_SOAK", "2h"), ("TIDEGATE_TEST_CHILD", "")];
    assert_eq!(config(&[&others[..], &[("TIDEGATE_SERVER__SHARDS", "1")]].concat()).shards, Some(1));
    assert!(config(&[("TIDEGATE_SERVER__PIN", "true")]).pin);
    assert_eq!(config(&[("TIDEGATE_SERVER__DRAIN__GRACE", "1s")]).grace, Duration::from_secs(1));
    assert_eq!(config(&[("TIDEGATE_LISTENER__1__ADDRESS", "[::1]:9")]).listeners[1].address, "[::1]:9");
    let more = config(&[
        ("TIDEGATE_LISTENER__3__ADDRESS", "unix:b"),
        ("TIDEGATE_LISTENER__2__PROTOCOL", "line"),
        ("TIDEGATE_LISTENER__2__ADDRESS", "unix:a"),
    ]);
    assert_eq!(more.listeners.len(), 4);
    assert_eq!(
        (more.listeners[2].address.as_str(), more.listeners[2].speaks),
        ("unix:a", Speaks::Lines { route: 0 })
    );
    #[rustfmt::skip]
    let table: &[(Given<'_>, &[&str])] = &[
        (&[("TIDEGATE_SERVER__SHARDS", "many")],        &["| TIDEGATE_SERVER__SHARDS=many", "\"many\" is no whole number", "or \"auto\""]),
        (&[("TIDEGATE_SERVER__MEMORY", "9")],           &["| TIDEGATE_SERVER__MEMORY=9", "\"9\" is no size with a unit"]),
        (&[("TIDEGATE_SERVER__SHARD", "1")],            &["unknown variable", "did you mean TIDEGATE_SERVER__SHARDS?"]),
        (&[("TIDEGATE_LISTENER__1__ADRESS", "1")],      &["did you mean TIDEGATE_LISTENER__1__ADDRESS?"]),
        (&[("TIDEGATE_NONSENSE", "1")],                 &["unknown variable \"TIDEGATE_NONSENSE\""]),
        (&[("TIDEGATE_LISTENER__3__ADDRESS", "unix:a")], &["there is no listener 3; there are 2", "the next one is 2"]),
        (&[("TIDEGATE_LISTENER__2__PROTOCOL", "line")], &["[[listener]] has no `address`", "TIDEGATE_LISTENER__2__PROTOCOL"]),
        (&[("TIDEGATE_LIMITS__OUTPUT_LOW", "1MiB")],    &["`output_high` is \"256KiB\" by default", "give it less than 256KiB"]),
    ];
    for (given, words) in table {
        let mistakes = wrong(variables(Sources::default(), given));
        assert_eq!(mistakes.len(), 1, "{}", mistakes.render(false));
        for word in *words {
            assert!(
                mistakes.render(false).contains(word),
                "{given:?} lacks {word}: {}",
                mistakes.render(false)
            );
        }
    }
}

/// What the file wants and the host has not.
#[test]
fn more_than_the_host_gives_is_a_mistake() {
    let poor =
        Host { processors: 1, descriptors: 256, memory_bytes: Some(128 << 20), backlog_max: Some(128) };
    assert!(load(Sources::default(), &poor).is_ok(), "the default runs anywhere");
    #[rustfmt::skip]
    let table: &[(&str, &[&str])] = &[
        ("[limits]\nmax_connections = 1000\n", &["256 descriptors leave room for 152", "ulimit -n"]),
        ("[server]\nmemory = \"1GiB\"\n",      &["`memory` is 1GiB, but this host has only 128MiB"]),
        ("[[listener]]\naddress = \"unix:a\"\nbacklog = 129\n", &["this host cuts it at 128", "at most 128"]),
    ];
    for (text, words) in table {
        let told = load(sources(text), &poor).expect_err("it is wrong").render(false);
        for word in *words {
            assert!(told.contains(word), "{word}: {told}");
        }
        assert!(load(sources(text), &host()).is_ok(), "another host has it: {text}");
    }
}

#[test]
fn a_config_is_a_value() {
    let one: Config = right(sources("[server]\nshards = 1\n")).config;
    assert_eq!(one.clone(), one);
    assert_ne!(one, right(sources("")).config);
    assert_eq!(right(sources("")).config, right(Sources::default()).config);
}

/// A flood is cut; the number is not.
#[test]
fn a_thousand_mistakes_are_counted_and_fifty_told() {
    let text: String = (0..1000).map(|place| format!("key_{place} = 1\n")).collect();
    let mistakes = wrong(sources(&text));
    assert_eq!(mistakes.len(), 1000);
    let told = mistakes.render(false);
    assert_eq!(told.matches("error: ").count(), 50);
    assert!(told.ends_with("... and 950 more\n"), "{told}");
    assert!(mistakes.render(true).contains("\u{1b}["), "colours where they are wanted");
    assert!(!told.contains('\u{1b}'));
}

/// The file is told of around a mistake, and shown while the server runs: a token is in neither.
#[test]
fn a_token_is_shown_to_nobody() {
    const TOKEN: &str = "a-token-that-nobody-sees";
    let loaded = right(sources(&format!("[admin]\ntoken = \"{TOKEN}\"\n")));
    let admin = loaded.config.admin.as_ref().expect("it is on");
    assert_eq!(admin.token.as_ref().map(|token| token.reveal()), Some(TOKEN));
    let effective = loaded.effective_text();
    assert!(effective.contains("token = \"***\"  # at t.toml:2"), "{effective}");
    let mut told = vec![effective, format!("{loaded:?}")];
    // Mistakes of the token itself, above and below it, and around it.
    for (above, token, below) in [
        ("", "token = \"an-é-TOKEN\"", ""),
        ("", "token = \"TOKEN\" x", ""),
        ("", "token = \"TOKEN\"", "hosts = 3"),
        ("address = 3", "token = \"TOKEN\"", ""),
        ("", "token = \"TOKEN\"", "token_file = \"/a\""),
        ("", "token = \"\"\"TOKEN\"\"\"", "token_file = \"/a\""),
        ("", "token = \"TOKEN\"", "[limits]\noutput_high = \"200MiB\""),
    ] {
        let text = format!("[server]\nmemory = \"4MiB\"\nshards = 1\n[admin]\n{above}\n{token}\n{below}\n");
        told.push(wrong(sources(&text.replace("TOKEN", TOKEN))).render(false));
    }
    let variable = |text: &str| variables(Sources::default(), &[("TIDEGATE_ADMIN__TOKEN", text)]);
    told.push(wrong(variable(&format!("{TOKEN}\n"))).render(false));
    told.push(format!("{:?}", right(variable(TOKEN))));
    for told in told {
        assert!(!told.contains(TOKEN), "{told}");
    }
}

#[test]
fn the_admin_port_is_as_the_file_says() {
    let admin = |text: &str| right(sources(&format!("[admin]\n{text}\n"))).config.admin;
    let port = admin("").expect("by default it is on");
    assert_eq!((port.address.as_str(), &port.token, &port.token_file), ("127.0.0.1:7413", &None, &None));
    assert_eq!(admin("address = \"off\""), None);
    let port =
        admin("address = \"[::1]:9\"\nhosts = \"a.example, B,\"\ntoken_file = \"/run/t\"").expect("it is on");
    assert_eq!(
        (port.address.as_str(), port.hosts),
        ("[::1]:9", vec!["a.example".to_owned(), "B".to_owned()])
    );
    assert_eq!(port.token_file.as_deref(), Some(Path::new("/run/t")));
    #[rustfmt::skip]
    let table: &[(&str, &str)] = &[
        ("address = \"unix:/a\"",       "is a path, but HTTP is on a port"),
        ("address = \"on\"",            "write it as IP:PORT, such as 127.0.0.1:7413, or \"off\""),
        ("address = \"0.0.0.0:7412\"",  "the admin port and a listener are both at \"0.0.0.0:7412\""),
        ("token = \"short\"",           "`token` has 5 bytes, but must have 16 to 256"),
        ("token = 1234567890123456",    "`token` is a number, but must be 16 to 256 visible ASCII characters"),
        ("hosts = [\"a\"]",             "`hosts` is a list, but must be at most 16 names, separated by commas"),
        ("hosts = \"a:80\"",            "\"a:80\" is no name of a host"),
        ("token_file = \"/a\"\ntoken = \"0123456789abcdef\"", "the token is given twice"),
    ];
    for (text, words) in table {
        let told = wrong(sources(&format!("[admin]\n{text}\n"))).render(false);
        assert!(told.contains(words), "{text}: {told}");
    }
    let many: Vec<_> = (0..17).map(|number| format!("h{number}")).collect();
    let told = wrong(sources(&format!("[admin]\nhosts = \"{}\"\n", many.join(",")))).render(false);
    assert!(told.contains("17 names are too many; there may be 16"), "{told}");
}
