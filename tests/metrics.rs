//! What `/metrics` says, against servers whose traffic is known: every figure is exactly what was caused.

#![cfg(feature = "admin")]

#[cfg(feature = "tls")]
#[path = "support/authority.rs"]
#[allow(dead_code, unreachable_pub, reason = "others use the rest")]
mod authority;
mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::Shutdown;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::admin::{admin_of, ask};
use support::client::{ACK, Client, DISCARD, ECHO, INTERNAL, OVERLOADED, PROTOCOL, RECEIVED, frame};
use support::diagnosis::{self, Judged, OUTSIDE, Outside, RULES, row};
use support::exposition::Exposition;
use support::ledger::loops_balance;
use support::scraper::{OPEN_METRICS, Scraper};
use support::serving::{Gate, Neighbour, Serving, builder};
use support::{PATIENCE, wait_until};
use tidegate::base::limits::Limits;
use tidegate::service::{Later, Router};

const DOC: &str = include_str!("../docs/METRICS.md");
const OPERATIONS: &str = include_str!("../docs/OPERATIONS.md");

/// Routes that are not answered at once.
const DEFERRED: u16 = 7;
const OFFLOADED: u16 = 8;
const PANICKING: u16 = 9;

/// A series, and the value that it must have.
type Want<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

/// A server with one loop, and its scraper.
fn single() -> (Serving, Scraper) {
    let serving = Serving::of(builder().shards(1).start(Router::embedded).expect("a server"));
    let scraper = Scraper::of(&serving);
    (serving, scraper)
}

/// The same with a third listener that has TLS: all families are there.
#[cfg(feature = "tls")]
fn whole() -> (Serving, Scraper) {
    use authority::{Authority, Folder, Wanted};
    use tidegate::{server::Listener, tls::TlsFiles};
    let (folder, month) = (Folder::new(), Duration::from_secs(30 * 86_400));
    let (cert, key) = Authority::new("test").issue(&Wanted::server().lives(month)).write(&folder, "server");
    let secure = Listener::frames("127.0.0.1:0").tls(TlsFiles::new(cert, key));
    let builder = builder().listen(secure).expect("good files and a free port");
    let serving = Serving::of(builder.shards(1).start(Router::embedded).expect("a server"));
    let scraper = Scraper::of(&serving);
    (serving, scraper)
}

/// Scrapes until this is so, and gives that scrape.
#[track_caller]
fn scrape_until(scraper: &mut Scraper, what: &str, is_so: impl Fn(&Exposition) -> bool) -> Exposition {
    let mut scrape = scraper.scrape();
    wait_until(what, || {
        scrape = scraper.scrape();
        is_so(&scrape)
    });
    scrape
}

#[test]
fn the_format_is_what_the_client_takes() {
    let (serving, _) = single();
    let at = admin_of(&serving);
    let classic = "text/plain; version=0.0.4; charset=utf-8";
    #[rustfmt::skip]
    let table: &[(Option<&str>, &str)] = &[
        (None,                                                                           OPEN_METRICS),
        (Some("*/*"),                                                                    OPEN_METRICS),
        (Some("application/openmetrics-text;version=1.0.0,text/plain;q=0.5,*/*;q=0.1"),  OPEN_METRICS),
        (Some("text/plain"),                                                             classic),
        (Some("text/plain;version=0.0.4;q=0.5,*/*;q=0.1"),                               classic),
    ];
    for (accept, want) in table {
        let headers: Vec<(&str, &str)> = accept.iter().map(|accept| ("Accept", *accept)).collect();
        let answer = ask(at, "GET", "/metrics", &headers, "");
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(*want)), "case: {accept:?}");
        assert_eq!(answer.body.ends_with("# EOF\n"), *want == OPEN_METRICS, "case: {accept:?}");
    }
    serving.end();
}

#[test]
fn known_traffic_gives_exactly_its_figures() {
    let (serving, mut scraper) = single();
    let mut client = serving.connect();
    for _ in 0..3 {
        client.echo(&[7; 100]);
    }
    client.request(ACK, b"x");
    client.expect(ACK, RECEIVED);
    client.request(DISCARD, b"nothing comes back");
    // A route that nobody serves: refused with a status.
    client.request(77, b"");
    client.expect_error(support::client::NO_ROUTE);
    let mut line = serving.connect_lines();
    line.send(b"hello\n");
    line.expect_line(RECEIVED);
    let now = scrape_until(&mut scraper, "all was seen", |now| {
        now.sum("tidegate_requests_started_total", &[]) == 7.0
            && now.sum("tidegate_connections", &[("state", "serving")]) == 2.0
    });
    let frames = serving.frames().to_string();
    let lines = serving.lines().to_string();
    let bytes_in = 3 * 110 + 11 + 28 + 10 + 6;
    #[rustfmt::skip]
    let table: &[Want<'_>] = &[
        ("tidegate_requests_started_total",      &[("shard", "0")],                           7.0),
        ("tidegate_requests_ended_total",        &[("shard", "0"), ("outcome", "answered")],  5.0),
        ("tidegate_requests_ended_total",        &[("shard", "0"), ("outcome", "silent")],    1.0),
        ("tidegate_requests_ended_total",        &[("shard", "0"), ("outcome", "failed")],    1.0),
        ("tidegate_requests_in_flight",          &[("shard", "0")],                           0.0),
        ("tidegate_frames_received_total",       &[("shard", "0")],                           7.0),
        ("tidegate_frames_sent_total",           &[("shard", "0")],                           6.0),
        ("tidegate_received_bytes_total",        &[("shard", "0")],                           f64::from(bytes_in)),
        ("tidegate_connections_accepted_total",  &[("shard", "0")],                           2.0),
        ("tidegate_connections_used",            &[],                                         2.0),
        ("tidegate_connections_limit",           &[],                                         65_536.0),
        ("tidegate_listener_connections",        &[("listener", &frames)],                    1.0),
        ("tidegate_listener_connections",        &[("listener", &lines)],                     1.0),
        ("tidegate_listener_connections",        &[("listener", "dialed")],                   0.0),
        ("tidegate_listener_accepted_total",     &[("listener", &frames)],                    1.0),
        ("tidegate_errors_total",                &[("class", "protocol")],                    0.0),
        ("tidegate_draining",                    &[],                                         0.0),
        ("tidegate_shard_dead",                  &[("shard", "0")],                           0.0),
        ("tidegate_queue_limit",                 &[("shard", "0"), ("queue", "commands")],    256.0),
        ("tidegate_buffer_limit_bytes",          &[("shard", "0"), ("part", "input")],        f64::from(128 << 20)),
    ];
    for (name, labels, want) in table {
        assert_eq!(now.value(name, labels), *want, "case: {name} {labels:?}");
    }
    // One request in 64 is measured, the first of them.
    assert_eq!(now.sum("tidegate_handler_duration_seconds_count", &[("service", "other")]), 1.0);
    assert!(now.value("tidegate_turn_duration_seconds_count", &[]) >= 7.0);
    loops_balance(&now).expect("it balances");
    drop((client, line));
    serving.end();
}

#[test]
fn ends_are_counted_by_their_reason_and_class() {
    let (serving, mut scraper) = single();
    let mut orderly = serving.connect();
    orderly.echo(b"1");
    orderly.finish_sending();
    orderly.expect_end();
    for _ in 0..3 {
        let mut bad = serving.connect();
        let mut bytes = frame(ECHO, b"bad");
        *bytes.last_mut().expect("a checksum") ^= 1;
        bad.send(&bytes);
        bad.expect_goaway(PROTOCOL);
    }
    let mut http = serving.connect();
    http.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    http.read_to_end();
    drop(http);
    let now = scrape_until(&mut scraper, "all are buried", |now| now.sum("tidegate_connections", &[]) == 0.0);
    let closed = |reason: &str, class: &str| {
        now.value("tidegate_connections_closed_total", &[("reason", reason), ("class", class)])
    };
    assert_eq!((closed("peer_closed", "temporary"), closed("bad_crc", "protocol")), (1.0, 3.0));
    assert_eq!(closed("http", "protocol"), 1.0);
    assert_eq!(now.sum("tidegate_connections_closed_total", &[]), 5.0);
    assert_eq!(now.value("tidegate_errors_total", &[("class", "protocol")]), 4.0);
    assert_eq!(now.value("tidegate_errors_total", &[("class", "temporary")]), 0.0);
    serving.end();
}

#[test]
fn refusals_are_counted_with_their_cause() {
    let running = builder().shards(1).max_connections(2).start(Router::embedded);
    let serving = Serving::of(running.expect("a server"));
    let mut scraper = Scraper::of(&serving);
    let mut served = [serving.connect(), serving.connect()];
    served.iter_mut().for_each(|client| client.echo(b"here"));
    for _ in 0..4 {
        serving.connect().expect_goaway(OVERLOADED);
    }
    let now = scraper.scrape();
    let refused =
        |cause| now.value("tidegate_connections_refused_total", &[("shard", "0"), ("cause", cause)]);
    assert_eq!((refused("full"), refused("descriptors")), (4.0, 0.0));
    assert_eq!(now.value("tidegate_errors_total", &[("class", "temporary")]), 4.0);
    drop(served);
    serving.end();
}

#[test]
fn where_connections_stand_and_why_they_wait_is_told() {
    let limits = Limits { linger: Duration::from_secs(20), open_requests: 2, ..Limits::default() };
    let held: Arc<Mutex<Vec<Later>>> = Arc::default();
    let kept = Arc::clone(&held);
    let running = builder().shards(1).limits(limits).start_fn(move |frame, reply| {
        if frame.route() != DEFERRED {
            return reply.forward(frame.whole());
        }
        let (later, replied) = reply.defer();
        kept.lock().expect("no panic").extend(later);
        replied
    });
    let serving = Serving::of(running.expect("a server"));
    let mut scraper = Scraper::of(&serving);
    let reader = Client::connect_narrow(serving.frames(), 4 << 10);
    let sending = reader.send_beside(frame(ECHO, &[7; 64 << 10]).repeat(128), false);
    let mut waiting = serving.connect();
    waiting.send(&frame(DEFERRED, b"later").repeat(3));
    let mut bad = serving.connect();
    let mut bytes = frame(ECHO, b"bad");
    bytes[7] ^= 1;
    bad.send(&bytes);
    assert_eq!(bad.expect_goaway(PROTOCOL).lines().count(), 1);
    let now = scrape_until(&mut scraper, "each stands where it will stay", |now| {
        now.sum("tidegate_connections_paused", &[]) == 2.0
            && now.sum("tidegate_connections", &[("state", "lingering")]) == 1.0
    });
    #[rustfmt::skip]
    let table: &[Want<'_>] = &[
        ("tidegate_connections",         &[("shard", "0"), ("state", "serving")],    2.0),
        ("tidegate_connections",         &[("shard", "0"), ("state", "lingering")],  1.0),
        ("tidegate_connections",         &[("shard", "0"), ("state", "draining")],   0.0),
        ("tidegate_connections_paused",  &[("shard", "0"), ("pause", "output")],     1.0),
        ("tidegate_connections_paused",  &[("shard", "0"), ("pause", "slots")],      1.0),
        ("tidegate_connections_paused",  &[("shard", "0"), ("pause", "memory")],     0.0),
        ("tidegate_pauses_total",        &[("shard", "0"), ("pause", "slots")],      1.0),
        ("tidegate_requests_in_flight",  &[("shard", "0")],                          2.0),
        ("tidegate_queue_length",        &[("shard", "0"), ("queue", "laters")],     2.0),
    ];
    for (name, labels, want) in table {
        assert_eq!(now.value(name, labels), *want, "case: {name} {labels:?}");
    }
    let waits = now.value("tidegate_buffer_bytes", &[("shard", "0"), ("part", "output")]);
    assert!(waits >= f64::from(256 << 10), "{waits} bytes of output wait");
    loops_balance(&now).expect("it balances");
    let _ = reader.stream.shutdown(Shutdown::Both);
    sending.over();
    // The right to answer is dropped, and that of the third request, which may start then.
    for _ in 0..2 {
        wait_until("a request waits", || !held.lock().expect("no panic").is_empty());
        held.lock().expect("no panic").clear();
    }
    (0..3).for_each(|_| waiting.expect_error(INTERNAL));
    drop((reader, bad, waiting));
    let now = scrape_until(&mut scraper, "all are gone", |now| now.sum("tidegate_connections", &[]) == 0.0);
    assert_eq!(now.sum("tidegate_requests_ended_total", &[("outcome", "dropped")]), 3.0);
    serving.end();
}

#[test]
fn what_services_do_is_counted() {
    let gate = Gate::default();
    let held = gate.clone();
    let running = builder().shards(1).workers(1, 1).start_fn(move |frame, reply| match frame.route() {
        OFFLOADED => {
            let held = held.clone();
            reply.offload(move || {
                held.wait();
                Vec::from("done")
            })
        }
        DEFERRED => reply.defer().1,
        PANICKING => panic!("asked to"),
        _ => reply.forward(frame.whole()),
    });
    let serving = Serving::of(running.expect("a server"));
    let mut scraper = Scraper::of(&serving);
    let mut client = serving.connect();
    // The right to answer is dropped at once.
    client.request(DEFERRED, b"");
    client.expect_error(INTERNAL);
    client.request(PANICKING, b"");
    client.expect_error(INTERNAL);
    client.request(OFFLOADED, b"runs");
    gate.wait_for_handler();
    client.send(&frame(OFFLOADED, b"waits, then one too many").repeat(2));
    let now = scrape_until(&mut scraper, "one job is refused", |now| {
        now.value("tidegate_jobs_total", &[("end", "refused")]) == 1.0
    });
    #[rustfmt::skip]
    let table: &[Want<'_>] = &[
        ("tidegate_workers",               &[],                                            1.0),
        ("tidegate_jobs_running",          &[],                                            1.0),
        ("tidegate_jobs_waiting",          &[],                                            1.0),
        ("tidegate_jobs_waiting_limit",    &[],                                            1.0),
        ("tidegate_jobs_total",            &[("end", "run")],                              0.0),
        ("tidegate_panics_total",          &[("shard", "0")],                              1.0),
        ("tidegate_requests_ended_total",  &[("shard", "0"), ("outcome", "panicked")],     1.0),
        ("tidegate_requests_ended_total",  &[("shard", "0"), ("outcome", "dropped")],      1.0),
        ("tidegate_requests_ended_total",  &[("shard", "0"), ("outcome", "failed")],       1.0),
        ("tidegate_requests_in_flight",    &[("shard", "0")],                              2.0),
    ];
    for (name, labels, want) in table {
        assert_eq!(now.value(name, labels), *want, "case: {name} {labels:?}");
    }
    gate.open();
    client.expect(OFFLOADED, b"done");
    client.expect(OFFLOADED, b"done");
    client.expect_error(OVERLOADED);
    let now = scraper.scrape();
    assert_eq!(now.value("tidegate_jobs_total", &[("end", "run")]), 2.0);
    drop(client);
    serving.end();
}

/// Scrapes while a loop stands still: an answer within a second, which says so.
#[test]
fn a_loop_that_is_stuck_is_told_and_makes_nobody_wait() {
    let gate = Gate::default();
    let serving = Serving::gated(builder().shards(1).label_routes(5..=5, "slow"), &gate);
    let mut scraper = Scraper::of(&serving);
    let before = scraper.scrape();
    assert_eq!(before.value("tidegate_shard_snapshot_torn", &[("shard", "0")]), 0.0);
    let mut client = serving.connect();
    client.request(5, b"held");
    gate.wait_for_handler();
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    let stuck = scraper.scrape();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "the answer took {took:?}");
    assert_eq!(stuck.value("tidegate_shard_snapshot_torn", &[("shard", "0")]), 1.0);
    let running = stuck.value("tidegate_turn_running_seconds", &[("shard", "0")]);
    assert!((0.3..30.0).contains(&running), "{running}");
    gate.open();
    client.expect(5, b"held");
    let after = scrape_until(&mut scraper, "the loop is free", |now| {
        now.value("tidegate_turn_running_seconds", &[("shard", "0")]) == 0.0
            && now.value("tidegate_shard_snapshot_torn", &[("shard", "0")]) == 0.0
    });
    assert_eq!(after.value("tidegate_stalls_total", &[("service", "slow"), ("routes", "5")]), 1.0);
    assert_eq!(
        after.value("tidegate_handler_duration_seconds_count", &[("service", "slow"), ("routes", "5")]),
        1.0
    );
    assert!(
        after.value("tidegate_handler_duration_seconds_sum", &[("service", "slow"), ("routes", "5")]) >= 0.3
    );
    drop(client);
    serving.end();
}

/// At random moments under traffic: the ledger balances, and no counter ever falls.
#[test]
fn under_traffic_the_ledger_balances_and_counters_only_grow() {
    let serving = Serving::of(builder().shards(2).start(Router::embedded).expect("a server"));
    let mut scraper = Scraper::of(&serving);
    let neighbours: Vec<_> = (0..4).map(|_| Neighbour::of(serving.frames())).collect();
    let (mut last, mut checked) = (scraper.scrape(), 0);
    let (began, mut pause_us) = (Instant::now(), 1);
    // On a busy host it may take a while until loops are caught between two turns so often.
    while checked < 30 || began.elapsed() < Duration::from_secs(1) {
        assert!(began.elapsed() < PATIENCE, "only {checked} times a loop was caught between two turns");
        // Moments that no turn has the rhythm of.
        pause_us = (pause_us * 7919) % 9973;
        std::thread::sleep(Duration::from_micros(pause_us));
        let now = scraper.scrape();
        checked += loops_balance(&now).unwrap_or_else(|wrong| panic!("{wrong}"));
        let counters =
            now.families.iter().filter(|family| ["counter", "histogram"].contains(&family.kind.as_str()));
        for sample in counters.flat_map(|family| &family.samples) {
            let labels: Vec<(&str, &str)> =
                sample.labels.iter().map(|(name, value)| (&**name, &**value)).collect();
            let before = last.value(&sample.name, &labels);
            assert!(sample.value >= before, "{sample} was {before}");
        }
        last = now;
    }
    assert!(last.value("tidegate_scrapes_total", &[]) > 5.0);
    neighbours.into_iter().for_each(Neighbour::leave);
    serving.end();
}

/// A row of the documents' table.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    name: String,
    kind: String,
    labels: String,
    help: String,
}

fn documented() -> BTreeSet<Row> {
    let rows = DOC.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    cells
        .map(|cells| Row {
            name: cells[0].trim_matches('`').to_owned(),
            kind: cells[1].to_owned(),
            labels: cells[2].replace('`', ""),
            help: cells[3].to_owned(),
        })
        .collect()
}

/// The table of docs/METRICS.md is the output's own description.
#[test]
#[cfg(feature = "tls")]
fn the_document_lists_every_family_and_no_other() {
    let (serving, mut scraper) = whole();
    let now = scraper.scrape();
    let rows = now.families.iter().map(|family| Row {
        name: family.shown(),
        kind: family.kind.clone(),
        labels: family.label_names().join(", "),
        help: family.help.clone(),
    });
    let exported: BTreeSet<Row> = rows.collect();
    assert!(exported.len() > 50, "only {} families", exported.len());
    let documented = documented();
    let missing: Vec<String> = exported
        .difference(&documented)
        .map(|row| {
            let labels: Vec<_> = row
                .labels
                .split(", ")
                .filter(|name| !name.is_empty())
                .map(|name| format!("`{name}`"))
                .collect();
            format!("| `{}` | {} | {} | {} |", row.name, row.kind, labels.join(", "), row.help)
        })
        .collect();
    assert!(missing.is_empty(), "docs/METRICS.md lacks:\n{}", missing.join("\n"));
    let gone: Vec<_> = documented.difference(&exported).collect();
    assert!(gone.is_empty(), "docs/METRICS.md has what is not there: {gone:#?}");
    serving.end();
}

/// How many series a server has, with two listeners.
fn series(shards: u16, labels: u16) -> usize {
    let labeled = (0..labels).fold(builder().shards(shards), |builder, route| {
        builder.label_routes(route * 10..=route * 10 + 3, "a service")
    });
    let serving = Serving::of(labeled.start(Router::embedded).expect("a server"));
    let now = Scraper::of(&serving).scrape();
    serving.end();
    now.samples().count()
}

/// The formula is that of three series for each listener; the rest is measured, and must then foretell another server.
#[test]
fn there_are_as_many_series_as_the_document_says() {
    let small = series(1, 0);
    let (per_shard, per_label) = (series(2, 0) - small, series(1, 1) - small);
    let fixed = small - per_shard - 2 * 3;
    assert_eq!(series(3, 5), fixed + 3 * per_shard + 2 * 3 + 5 * per_label);
    let formula = format!("{fixed} + {per_shard} × loops + 3 × listeners + {per_label} × labeled ranges");
    assert!(DOC.contains(&formula), "docs/METRICS.md does not say: {formula}");
}

/// What holds of the rules, the page for people and the rules for Prometheus together.
#[test]
#[cfg(feature = "tls")]
fn rules_look_at_what_is_there() {
    let (serving, mut scraper) = whole();
    let now = scraper.scrape();
    for rule in RULES {
        for (sign, bound) in rule.signs {
            for name in sign.names() {
                assert!(now.samples().any(|sample| sample.name == name), "{}: there is no {name}", rule.name);
            }
            assert!(!sign.is_shown_between(*bound, &now, &now), "{}", rule.name);
        }
    }
    // Names in texts for people, too, by their start and their ending.
    let shown: BTreeSet<String> = now.families.iter().map(|family| family.shown()).collect();
    for (file, text) in [("docs/OPERATIONS.md", OPERATIONS), ("docs/METRICS.md", DOC)] {
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let named = words.filter(|word| word.starts_with("tidegate_") || word.starts_with("process_"));
        let gone: Vec<_> = named
            .filter(|word| !shown.contains(*word) && !now.samples().any(|sample| sample.name == **word))
            .collect();
        assert!(gone.is_empty(), "{file} names {gone:?}");
    }
    serving.end();
}

#[test]
fn the_table_for_people_is_that_of_the_rules() {
    let rows: Vec<_> = OPERATIONS.lines().filter(|line| line.starts_with("| `")).collect();
    let want: Vec<_> = RULES.iter().map(row).chain(OUTSIDE.iter().map(Outside::row)).collect();
    assert_eq!(rows, want, "docs/OPERATIONS.md should have:\n{}", want.join("\n"));
}

#[test]
fn the_alerts_are_those_of_the_rules() {
    if std::env::var_os("TIDEGATE_TEST_REMAKE").is_some() {
        std::fs::write("docs/operate/alerts.yml", diagnosis::alerts()).expect("it is ours");
    }
    let alerts = std::fs::read_to_string("docs/operate/alerts.yml").expect("it is there");
    assert_eq!(alerts, diagnosis::alerts(), "docs/operate/alerts.yml should be:\n{}", diagnosis::alerts());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operate/alerts.yml");
    if let Some((is_sound, told)) = promtool(&["check", "rules", path], "") {
        assert!(is_sound && told.contains(&format!("{} rules found", RULES.len() + OUTSIDE.len())), "{told}");
    }
}

/// Text, and what a strict reader says of it.
#[test]
fn planted_faults_are_found_by_the_reader() {
    let good = "# HELP a_seconds A.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\na_seconds_sum 1\n\
                a_seconds_count 2\na_seconds_bucket{le=\"1\"} 1\na_seconds_bucket{le=\"+Inf\"} 2\n\
                # HELP b B.\n# TYPE b counter\nb_total{x=\"1\"} 1\nb_total{x=\"2\"} 1\n# EOF\n";
    Exposition::parse(good).expect("it is good");
    #[rustfmt::skip]
    let table: &[(&str, &str, &str)] = &[
        ("# EOF\n",               "",                             "the last line"),
        ("b_total{x=\"2\"}",      "b_total{x=\"1\"}",             "comes twice"),
        ("b_total{x=\"2\"}",      "b{x=\"2\"}",                   "ends in one of"),
        ("b_total{x=\"2\"} 1",    "b_total{x=\"2\"} -1",          "no value of a counter"),
        ("b_total{x=\"2\"} 1",    "c_total 1",                    "not of the family"),
        ("b_total{x=\"2\"}",      "b_total{}",                    "empty braces"),
        ("b_total{x=\"2\"}",      "b_total{x=\"2\",x=\"3\"}",     "twice"),
        ("b_total{x=\"2\"} 1",    "b_total{x=\"2\"} one",         "not a number"),
        ("b_total{x=\"2\"}",      "b_total{x=\"\\t\"}",           "means nothing"),
        ("# TYPE b counter\n",    "",                             "without a known type"),
        ("# HELP b B.\n",         "",                             "no help"),
        ("HELP b B.",             "HELP b B",                     "no sentence"),
        ("# UNIT a_seconds seconds\n", "",                        "the unit is"),
        ("le=\"+Inf\"} 2",        "le=\"+Inf\"} 3",               "not the count"),
        ("le=\"1\"} 1",           "le=\"1\"} 3",                  "shrink"),
        ("le=\"+Inf\"",           "le=\"9\"",                     "+Inf"),
        ("le=\"1\"",              "le=\"+Inf\"",                  "not in order"),
        ("# TYPE b counter",      "# HELP a_seconds B.",          "described before"),
        ("a_seconds_sum 1\n",     "",                             "there is no sum"),
        ("a_seconds_sum 1\n",     "a_seconds_sum 1\n# TYPE a_seconds gauge\n", "behind a sample"),
    ];
    for (what, fault, want) in table {
        assert!(good.contains(what), "case: {what} is not in the good text");
        let told = Exposition::parse(&good.replacen(what, fault, 1)).err().unwrap_or_default();
        assert!(told.contains(want), "case: {what} -> {fault:?}: {told:?}");
    }
}

/// What Prometheus' own tool says, and whether it is content. `None`, and a line that says so, if it is not installed.
#[expect(clippy::print_stderr, reason = "a test that checks nothing must say so")]
fn promtool(arguments: &[&str], input: &str) -> Option<(bool, String)> {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        eprintln!("skipped: promtool is not installed (Debian: apt-get install prometheus)");
        return None;
    };
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("it reads");
    let told = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&told.stdout).into_owned() + &String::from_utf8_lossy(&told.stderr);
    Some((told.status.success(), text))
}

/// Its linter reads the older format alone.
#[test]
fn promtool_has_nothing_to_say() {
    let (serving, _) = single();
    let at = admin_of(&serving);
    let answer = ask(at, "GET", "/metrics", &[("Accept", "text/plain")], "");
    serving.end();
    if let Some((is_sound, told)) = promtool(&["check", "metrics"], &answer.body) {
        assert!(is_sound && told.is_empty(), "{told}");
    }
    // It must find what it is there for.
    if let Some((is_sound, told)) = promtool(&["check", "metrics"], "# HELP a A.\n# TYPE a counter\na 1\n") {
        assert!(!is_sound && told.contains("_total"), "{told}");
    }
}
