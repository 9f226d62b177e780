use super::*;
use crate::cli::doctor::print;
use crate::cli::doctor::wants::generous;
use crate::config::{Sources, load};

const MILLION: u64 = 1_000_000;
const GIB: u64 = 1 << 30;

/// A host that carries two million connections, all of them busy, and has nothing to be told of.
fn roomy() -> Facts {
    Facts {
        descriptors: Some(2_100_000),
        nr_open: Some(2_200_000),
        files: Some(Use { used: 10_000, most: UNLIMITED }),
        watches: Some(3_000_000),
        somaxconn: Some(4096),
        syn_backlog: Some(4096),
        syncookies: Some(1),
        ports: Some((32_768, 60_999)),
        tcp_pages: Some([4_000_000, 5_000_000, 8_000_000]),
        page_bytes: 4096,
        asked_bytes_max: Some((4 << 20, 4 << 20)),
        tuned_bytes_max: Some((32 << 20, 4 << 20)),
        tracked: None,
        memory_bytes: Some(Use { used: 2 * GIB, most: 64 * GIB }),
        group_bytes: None,
        tasks: None,
        quota_percent: None,
        processors: Some(2),
        processors_on: Some(2),
        overcommit: Some(0),
        promised_bytes: Some(Use { used: GIB, most: 32 * GIB }),
        mappings: Some(65_530),
        clock: Some("tsc".to_owned()),
        clocks: vec!["tsc".to_owned(), "hpet".to_owned()],
        huge_pages: Some("madvise".to_owned()),
        huge_pages_wait: Some("madvise".to_owned()),
    }
}

/// The embedded default with these lines before it, on two processors.
fn wants(variables: &[(&str, &str)], asked: Option<u64>) -> Wants {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let loaded = load(Sources { variables, ..Sources::default() }, &generous()).expect("it is right");
    Wants::of(&loaded.config, asked, 2)
}

/// What of a host differs from the roomy one, which limit is then the first, and what a line of its advice has.
#[test]
fn each_limit_in_turn_is_the_first() {
    type Changed = fn(&mut Facts);
    #[rustfmt::skip]
    let table: &[(&str, Changed, u64, &str)] = &[
        ("descriptors",   |host| host.descriptors = Some(20_000),                                  20_000 - 112,  "LimitNOFILE=1000112 "),
        ("nr_open",       |host| (host.descriptors, host.nr_open) = (None, Some(1024)),            1024 - 112,    "fs.nr_open=1000112"),
        ("file-max",      |host| host.files = Some(Use { used: 1_000, most: 101_112 }),            100_000,       "fs.file-max=1251112"),
        ("epoll watches", |host| host.watches = Some(228_008),                                     228_000,       "fs.epoll.max_user_watches=1000008"),
        ("conntrack",     |host| host.tracked = Some(Use { used: 144, most: 262_144 }),            262_000,       "nf_conntrack_max=1250144;"),
        ("memory",        |host| host.memory_bytes = Some(Use { used: GIB, most: 2 * GIB }),       147_296,       "of free memory"),
        ("cgroup memory", |host| host.group_bytes = Some(Use { used: 0, most: GIB }),              147_296,       "MemoryMax="),
    ];
    let wants = wants(&[], Some(MILLION));
    assert_eq!(wants.kept(), 112, "as docs and tests of the server have it");
    for (name, change, carried, advice) in table {
        let mut host = roomy();
        change(&mut host);
        let found = diagnose(&host, &wants);
        assert_eq!((found.first, found.carried, found.is_met()), (*name, *carried, false), "{found:#?}");
        let first = found.limits.iter().find(|finding| finding.name == *name).expect("it is told of");
        assert_eq!(first.verdict, Verdict::Stops);
        assert!(
            first.raise.iter().any(|line| line.contains(advice)),
            "{name}: {:?} has no {advice}",
            first.raise
        );
        // What is advised is enough: no more is said of it.
        assert_eq!(found.limits.iter().filter(|other| other.verdict == Verdict::Stops).count(), 1, "{name}");
    }
}

/// The numbers of the limits, the least first, whatever is short.
#[test]
fn limits_are_in_the_order_of_what_they_allow() {
    let found = diagnose(&roomy(), &wants(&[], Some(MILLION)));
    let allowed: Vec<u64> = found.limits.iter().filter_map(|finding| finding.connections).collect();
    assert!(allowed.is_sorted() && allowed.len() == found.limits.len(), "{allowed:?}");
    assert!(found.is_met() && found.carried >= MILLION, "{found:?}");
    assert!(found.all().all(|finding| finding.verdict == Verdict::Ok), "{found:#?}");
    assert!(found.all().all(|finding| finding.so.is_empty() && finding.raise.is_empty()), "{found:#?}");
}

/// Exactly enough is enough, and one less is not.
#[test]
fn a_limit_is_met_to_the_last_connection() {
    let at = |descriptors, wanted| {
        let host = Facts { descriptors: Some(descriptors), ..roomy() };
        diagnose(&host, &wants(&[], Some(wanted))).is_met()
    };
    assert!(at(1112, 1000) && !at(1111, 1000));
    // With fewer than 16 no server starts, however few are wanted.
    assert!(at(112 + 16, 5) && !at(112 + 15, 5));
}

/// What was not asked for stops nobody: the server takes as many as it has descriptors for.
#[test]
fn without_a_number_descriptors_say_how_many() {
    let wants = wants(&[], None);
    let host =
        Facts { descriptors: Some(100_112), memory_bytes: Some(Use { used: 0, most: GIB / 2 }), ..roomy() };
    let found = diagnose(&host, &wants);
    assert_eq!((found.goal, found.first, found.is_met()), (100_000, "memory", true));
    assert_eq!(found.limits[0].verdict, Verdict::Warns);
    let none = diagnose(&Facts { descriptors: Some(100), ..roomy() }, &wants);
    assert_eq!((none.goal, none.is_met()), (0, false), "too few to start");
    let poor = Facts { memory_bytes: Some(Use { used: 0, most: GIB / 8 }), ..roomy() };
    assert!(!diagnose(&poor, &wants).is_met(), "not even the buffers fit");
}

#[test]
fn a_configuration_may_want_less_than_is_asked_for() {
    let of = |asked| diagnose(&roomy(), &wants(&[("TIDEGATE_LIMITS__MAX_CONNECTIONS", "5000")], asked));
    let (own, asked) = (of(None), of(Some(6000)));
    assert_eq!((own.goal, own.is_met()), (5000, true));
    assert_eq!(
        (asked.goal, asked.first, asked.carried, asked.is_met()),
        (6000, "configuration", 5000, false)
    );
}

/// What of a host differs from the roomy one, which condition it is, what is said, and whether it stops a server.
#[test]
fn each_condition_is_found() {
    type Changed = fn(&mut Facts);
    #[rustfmt::skip]
    let table: &[(&str, Changed, &str, Verdict)] = &[
        ("accept queue",     |host| host.somaxconn = Some(128),             "net.core.somaxconn=4096",     Verdict::Warns),
        ("syn queue",        |host| host.syncookies = Some(0),              "tcp_syncookies=1",            Verdict::Warns),
        ("one address",      |host| host.ports = Some((50_000, 50_999)),    "ip_local_port_range",         Verdict::Warns),
        ("listening ports",  |host| host.ports = Some((1024, 65_535)),      "ip_local_reserved_ports=7411", Verdict::Warns),
        ("socket queues",    |host| host.asked_bytes_max = Some((212_992, 212_992)), "wmem_max=1048576",   Verdict::Warns),
        ("processors",       |host| host.processors = Some(1),              "shards = 1 ",                 Verdict::Warns),
        ("processor quota",  |host| host.quota_percent = Some(150),         "CPUQuota=200%",               Verdict::Warns),
        ("clock",            |host| host.clock = Some("hpet".to_owned()),   "echo tsc >",                  Verdict::Warns),
        ("threads",          |host| host.tasks = Some(Use { used: 4, most: 9 }), "TasksMax=14",            Verdict::Stops),
        ("overcommit",       |host| (host.overcommit, host.promised_bytes) = (Some(2), Some(Use { used: 0, most: GIB / 4 })), "overcommit_memory=0", Verdict::Warns),
        ("mappings",         |host| host.mappings = Some(1024),             "vm.max_map_count=3072",       Verdict::Warns),
        ("huge pages",       |host| (host.huge_pages, host.huge_pages_wait) = (Some("always".to_owned()), Some("always".to_owned())), "echo madvise", Verdict::Warns),
        ("tcp memory, busy", |host| host.tcp_pages = Some([200_000, 380_000, 570_000]), "tcp_mem='2000000 2500000 3000000'", Verdict::Warns),
        ("memory, busy",     |host| host.memory_bytes = Some(Use { used: 0, most: 8 * GIB }), "of free memory", Verdict::Warns),
        ("conntrack",        |host| host.tracked = Some(Use { used: 0, most: 65_536 }), "notrack",           Verdict::Warns),
    ];
    let wants = wants(&[], Some(MILLION));
    for (name, change, advice, verdict) in table {
        let mut host = roomy();
        change(&mut host);
        let found = diagnose(&host, &wants);
        let told: Vec<_> = found.all().filter(|finding| finding.verdict != Verdict::Ok).collect();
        assert_eq!(told.len(), 1, "{name}: {told:#?}");
        assert_eq!((told[0].name, told[0].verdict), (*name, *verdict));
        assert!(
            !told[0].so.is_empty() && told[0].raise.iter().any(|line| line.contains(advice)),
            "{:?}",
            told[0]
        );
        assert_eq!(found.is_met(), *verdict != Verdict::Stops, "{name}");
    }
}

#[test]
fn what_is_not_known_is_not_told_of() {
    let found = diagnose(&Facts { page_bytes: 4096, ..Facts::default() }, &wants(&[], Some(MILLION)));
    assert!(found.limits.is_empty() && found.is_met(), "{found:#?}");
    // A single loop's slots are the last bound.
    assert_eq!(found.carried, u64::from(crate::base::limits::CONNECTIONS_PER_SHARD_MAX));
}

/// TLS and rates cost each connection more, which is the formula of docs/ARCHITECTURE.md.
#[test]
fn each_connection_costs_what_the_documents_say() {
    let plain = wants(&[], None);
    assert_eq!(plain.own_bytes(), crate::turn::IDLE_BYTES as u64 + 96);
    let rates = wants(&[("TIDEGATE_LIMITS__MESSAGES_PER_SECOND", "10")], None);
    assert_eq!(rates.own_bytes(), plain.own_bytes() + 32);
    let secure = Wants { has_tls: true, ..plain.clone() };
    assert_eq!(secure.own_bytes(), plain.own_bytes() + crate::tls::IDLE_BYTES_MAX as u64);
    let wider = Wants { shards: 4, ..plain.clone() };
    assert_eq!((wider.kept() - plain.kept()) % 2, 0);
    assert!(wider.fixed_bytes() > plain.fixed_bytes());
}

/// Every kind of host, with everything wrong that can be.
#[test]
fn text_fits_a_terminal_and_says_what_json_says() {
    let poor = Facts {
        descriptors: Some(1024),
        nr_open: Some(100_000),
        files: Some(Use { used: 1_000, most: 70_000 }),
        watches: Some(9_000),
        tracked: Some(Use { used: 10, most: 65_536 }),
        memory_bytes: Some(Use { used: GIB, most: 2 * GIB }),
        group_bytes: Some(Use { used: GIB / 2, most: GIB }),
        somaxconn: Some(128),
        syncookies: Some(0),
        ports: Some((7_000, 8_000)),
        asked_bytes_max: Some((212_992, 212_992)),
        processors: Some(1),
        quota_percent: Some(50),
        clock: Some("acpi_pm".to_owned()),
        clocks: Vec::new(),
        tasks: Some(Use { used: 1, most: 2 }),
        overcommit: Some(2),
        promised_bytes: Some(Use { used: 0, most: 0 }),
        mappings: Some(100),
        huge_pages: Some("always".to_owned()),
        huge_pages_wait: Some("always".to_owned()),
        tcp_pages: Some([1, 2, 3]),
        ..roomy()
    };
    for host in [roomy(), poor, Facts { page_bytes: 4096, ..Facts::default() }] {
        for asked in [None, Some(1), Some(16_000_000)] {
            let wants = wants(&[], asked);
            let found = diagnose(&host, &wants);
            let text = print::text(&found, &wants, 4096, false);
            for line in text.lines().filter(|line| !line.starts_with("      ")) {
                assert!(line.chars().count() <= 100, "{line}");
            }
            assert!(text.lines().all(|line| line == line.trim_end()), "{text}");
            assert!(!text.contains('\x1b') && !text.contains("\n\n\n"), "{text}");
            let coloured = print::text(&found, &wants, 4096, true);
            assert!(coloured.contains('\x1b'), "the answer is in colour");
            let json: serde_json::Value =
                serde_json::from_str(&print::json(&found, &wants)).expect("it is JSON");
            assert_eq!(json["met"], found.is_met());
            let names = |list: &str| json[list].as_array().expect("a list").len();
            assert_eq!(names("limits") + names("conditions"), found.all().count());
            for finding in found.all() {
                assert!(text.contains(&format!("  {}", finding.name)), "{} is not in\n{text}", finding.name);
                assert!(
                    finding.raise.iter().all(|line| text.contains(line)),
                    "{:?} is not in\n{text}",
                    finding.raise
                );
            }
        }
    }
}
