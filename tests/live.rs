//! The dashboard's feed: that it says what `/metrics` says, and every bound that it has.

#![cfg(feature = "admin")]

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use support::admin::{admin_of, admin_with, ask, connect, get};
use support::client::{Client, ECHO, NO_ROUTE, PROTOCOL, frame};
use support::exposition::Exposition;
use support::scraper::Scraper;
use support::serving::{Gate, Neighbour, Serving, builder};
use support::{PATIENCE, wait_until};
use tidegate::base::limits::{LIVE_EVERY, LIVE_MISSED_MAX, LIVE_WATCHERS_MAX};
use tidegate::control::Bounds;
use tidegate::metrics::Gauge;
use tidegate::service::Router;

/// A stream of the feed, read event by event.
struct Watcher {
    stream: BufReader<TcpStream>,
    head: String,
}

impl Watcher {
    fn of(at: SocketAddr) -> Watcher {
        let mut stream = connect(at);
        stream
            .write_all(format!("GET /live HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes())
            .expect("it is taken");
        let (mut stream, mut head) = (BufReader::new(stream), String::new());
        while stream.read_line(&mut head).expect("an answer in time") > 2 {}
        Watcher { stream, head: head.to_lowercase() }
    }

    /// The next chunk of the body; `None` at its end.
    fn chunk(&mut self) -> Option<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("the stream goes on");
        let length = usize::from_str_radix(line.trim(), 16).unwrap_or_else(|_| panic!("no length: {line:?}"));
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes).expect("the whole chunk");
        bytes.truncate(length);
        (length > 0).then(|| String::from_utf8(bytes).expect("text"))
    }

    /// The next event: its name and its data.
    fn event(&mut self) -> (String, String) {
        let text = loop {
            let chunk = self.chunk().expect("an event");
            if !chunk.starts_with("retry") {
                break chunk;
            }
        };
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        assert!(text.ends_with("\n\n") && text.trim_end().lines().count() <= 2, "{text:?}");
        (field("event: ").to_owned(), field("data: ").to_owned())
    }

    fn beat(&mut self) -> Value {
        let (name, data) = self.event();
        assert_eq!(name, "", "{data}");
        serde_json::from_str(&data).expect("it is JSON")
    }

    /// The first beat of which this is so.
    #[track_caller]
    fn beat_with(&mut self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let beat = self.beat();
            if is_so(&beat) {
                return beat;
            }
            assert!(Instant::now() < until, "waited {PATIENCE:?} in vain: {what}; {beat}");
        }
    }
}

fn once(at: SocketAddr) -> Value {
    let answer = get(at, "/live?once");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
    serde_json::from_str(&answer.body).expect("it is JSON")
}

fn send_bad(serving: &Serving) {
    let mut bad = frame(ECHO, b"bad");
    *bad.last_mut().expect("a checksum") ^= 0x55;
    let mut client = serving.connect();
    client.send(&bad);
    client.expect_goaway(PROTOCOL);
}

/// Traffic of several kinds, and then rest: one client stays.
fn used(serving: &Serving) -> Client {
    let mut client = serving.connect();
    (0..50).for_each(|_| client.echo(b"hello"));
    client.send(&frame(9999, b"to nobody"));
    client.expect_error(NO_ROUTE);
    (0..3).for_each(|_| send_bad(serving));
    let mut lines = serving.connect_lines();
    lines.send(b"a line\n");
    lines.next_line();
    drop(lines);
    serving.wait_for_rest(1);
    client
}

/// Where a figure of the feed stands, and which series are the same.
type Twin = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

#[rustfmt::skip]
const TWINS: &[Twin] = &[
    ("/counters/frames_in",         "tidegate_frames_received_total",        &[]),
    ("/counters/frames_out",        "tidegate_frames_sent_total",            &[]),
    ("/counters/bytes_in",          "tidegate_received_bytes_total",         &[]),
    ("/counters/bytes_out",         "tidegate_sent_bytes_total",             &[]),
    ("/counters/accepted",          "tidegate_connections_accepted_total",   &[]),
    ("/counters/started",           "tidegate_requests_started_total",       &[]),
    ("/counters/refused_full",      "tidegate_connections_refused_total",    &[("cause", "full")]),
    ("/counters/paused_output",     "tidegate_pauses_total",                 &[("pause", "output")]),
    ("/counters/slow_turns",        "tidegate_slow_turns_total",             &[]),
    ("/outcomes/answered",          "tidegate_requests_ended_total",         &[("outcome", "answered")]),
    ("/outcomes/failed",            "tidegate_requests_ended_total",         &[("outcome", "failed")]),
    ("/gauges/serving",             "tidegate_connections",                  &[("state", "serving")]),
    ("/gauges/in_flight",           "tidegate_requests_in_flight",           &[]),
    ("/gauges/waiting_for_output",  "tidegate_connections_paused",           &[("pause", "output")]),
    ("/gauges/output_bytes",        "tidegate_buffer_bytes",                 &[("part", "output")]),
    ("/limits/0/used",              "tidegate_connections_used",             &[]),
    ("/limits/0/limit",             "tidegate_connections_limit",            &[]),
    ("/limits/2/limit",             "tidegate_buffer_limit_bytes",           &[("part", "input")]),
    ("/limits/3/limit",             "tidegate_buffer_limit_bytes",           &[("part", "output")]),
    ("/limits/4/limit",             "tidegate_buffer_limit_bytes",           &[("part", "reserve")]),
    ("/limits/5/limit",             "tidegate_queue_limit",                  &[("queue", "laters")]),
    ("/limits/6/limit",             "tidegate_queue_limit",                  &[("queue", "commands")]),
    ("/limits/7/limit",             "tidegate_dialed_connections_limit",     &[]),
    ("/listeners/0/accepted",       "tidegate_listener_accepted_total",      &[]),
    ("/loops/0/messages_in",        "tidegate_frames_received_total",        &[("shard", "0")]),
    ("/loops/1/messages_in",        "tidegate_frames_received_total",        &[("shard", "1")]),
    ("/loops/1/bytes_out",          "tidegate_sent_bytes_total",             &[("shard", "1")]),
    ("/loops/0/connections",        "tidegate_connections",                  &[("shard", "0")]),
];

#[test]
fn it_says_what_the_metrics_say() {
    let serving = Serving::of(builder().shards(2).start(Router::embedded).expect("a server"));
    let (at, mut client) = (admin_of(&serving), used(&serving));
    let (beat, metrics) = (once(at), Scraper::connect(at).scrape());
    for (place, name, labels) in TWINS {
        let mut labels = labels.to_vec();
        let listener = beat["listeners"][0]["listener"].as_str().expect("a name").to_owned();
        if place.starts_with("/listeners/0") {
            labels.push(("listener", &listener));
        }
        let told = beat.pointer(place).and_then(Value::as_f64);
        assert_eq!(told, Some(metrics.sum(name, &labels)), "{place} is not {name}{labels:?}: {beat}");
    }
    assert_eq!(closes_of(&beat), closes_in(&metrics));
    assert!(beat["closes"].as_array().is_some_and(|all| all.len() >= 2), "{beat}");
    let measured = |service: &Value| service["measured"].as_f64().expect("a number");
    let handled: f64 = beat["services"].as_array().expect("a list").iter().map(measured).sum();
    assert_eq!(handled, metrics.sum("tidegate_handler_duration_seconds_count", &[]));
    assert_eq!(beat["state"]["name"], "serving");
    assert_eq!(beat["conditions"], serde_json::json!([]), "{beat}");
    client.echo(b"still there");
    drop(client);
    serving.end();
}

fn closes_of(beat: &Value) -> Vec<(String, String, f64)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let all = beat["closes"].as_array().expect("a list").iter();
    let mut all: Vec<_> = all
        .map(|close| {
            (text(&close["reason"]), text(&close["class"]), close["total"].as_f64().expect("a number"))
        })
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

fn closes_in(metrics: &Exposition) -> Vec<(String, String, f64)> {
    let all = metrics.samples().filter(|sample| sample.name == "tidegate_connections_closed_total");
    let mut all: Vec<_> = all
        .filter(|sample| sample.value > 0.0)
        .map(|sample| (sample.labels["reason"].clone(), sample.labels["class"].clone(), sample.value))
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

/// Each has rates, and what is of the time between two looks is of that time alone.
#[test]
fn a_beat_comes_once_a_second() {
    let serving = Serving::embedded();
    let at = admin_of(&serving);
    let mut client = serving.connect();
    (0..200).for_each(|_| client.echo(b"before anybody watched"));
    once(at);
    let mut watcher = Watcher::of(at);
    for header in ["http/1.1 200", "content-type: text/event-stream", "cache-control: no-store", "nosniff"] {
        assert!(watcher.head.contains(header), "{}", watcher.head);
    }
    let first = watcher.beat();
    assert!(first["over_s"].as_f64().is_some_and(|over| over > 0.9), "there was a look before: {first}");
    (0..200).for_each(|_| client.echo(b"and now"));
    let began = Instant::now();
    let beats: Vec<Value> = (0..3).map(|_| watcher.beat()).collect();
    let took = began.elapsed();
    assert!(took > 2 * LIVE_EVERY - Duration::from_millis(200), "three beats within {took:?}");
    let numbers: Vec<u64> = beats.iter().filter_map(|beat| beat["beat"].as_u64()).collect();
    let begin = first["beat"].as_u64().expect("a number");
    assert_eq!(numbers, [begin + 1, begin + 2, begin + 3]);
    let times = |of: &str| beats[0]["times"][of].clone();
    assert!(
        times("turn")["count"].as_u64().is_some_and(|count| (100..2000).contains(&count)),
        "{}",
        beats[0]
    );
    assert!(times("turn")["p50_us"].as_u64() <= times("turn")["p999_us"].as_u64());
    assert!(beats[0]["over_s"].as_f64().is_some_and(|over| over > 0.1));
    // The peer is among the talkers as soon as the loops have been asked, as in the list of connections.
    let talking = watcher.beat_with("talkers", |beat| beat["talkers"]["connections"][0].is_object());
    let list: Value = serde_json::from_str(&get(at, "/connections").body).expect("it is JSON");
    for field in ["id", "peer", "listener", "state", "bytes_in", "bytes_out", "messages_in"] {
        assert_eq!(talking["talkers"]["connections"][0][field], list["connections"][0][field], "{field}");
    }
    drop((watcher, client));
    serving.end();
}

#[test]
fn the_ninth_watcher_is_told_so_and_the_others_keep_their_places() {
    let serving = Serving::embedded();
    let at = admin_of(&serving);
    let mut watchers: Vec<Watcher> = (0..LIVE_WATCHERS_MAX).map(|_| Watcher::of(at)).collect();
    for path in ["/live", "/live?once"] {
        let refused = get(at, path);
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
        assert_eq!(
            refused.body,
            "8 watch already, and more may not; close another dashboard, or ask /metrics\n"
        );
    }
    // A port full of those who wait for nothing: they displace each other, and no watcher.
    let idle: Vec<TcpStream> = (0..60).map(|_| connect(at)).collect();
    assert_eq!(get(at, "/readyz").status, 200);
    for watcher in &mut watchers {
        let seen = watcher.beat()["beat"].as_u64();
        assert!(watcher.beat()["beat"].as_u64() > seen);
    }
    drop(idle);
    watchers.pop();
    wait_until("the place is free", || get(at, "/live?once").status == 200);
    drop(watchers);
    serving.end();
}

/// It costs itself its connection, and nobody else a beat.
#[test]
fn a_watcher_that_does_not_read_is_cut() {
    let running = builder().shards(8).start(Router::embedded).expect("a server");
    let serving = Serving::of(running);
    let bounds = Bounds { connections: 8, ..Bounds::default() };
    let (at, _control) = admin_with(&serving, |admin| admin.bounds(bounds));
    let mut reads = Watcher::of(at);
    let mut stalls = Client::connect_narrow(at, 4 << 10);
    stalls.send(format!("GET /live HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes());
    // A quarter of eight may watch.
    wait_until("both places are taken", || get(at, "/live?once").status == 503);
    let (first, began) = (reads.beat()["beat"].as_u64().expect("a number"), Instant::now());
    loop {
        reads.beat();
        if get(at, "/live?once").status == 200 {
            break;
        }
        assert!(began.elapsed() < 3 * PATIENCE, "it keeps its place");
    }
    let beats = reads.beat()["beat"].as_u64().expect("a number") - first;
    assert!(beats >= LIVE_MISSED_MAX.into(), "it was cut after {beats} beats");
    let mut rest = Vec::new();
    let ended = stalls.stream.read_to_end(&mut rest);
    assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    assert!(!rest.ends_with(b"0\r\n\r\n"), "it was told an end");
    drop(reads);
    serving.end();
}

/// How many turns the loops have begun.
fn turns(serving: &Serving) -> u64 {
    serving.handle.loop_states().iter().map(|state| state.turns).sum()
}

#[test]
fn nobody_is_asked_when_nobody_watches() {
    let serving = Serving::embedded();
    let at = admin_of(&serving);
    let rests = |serving: &Serving| {
        let before = turns(serving);
        std::thread::sleep(Duration::from_millis(3500));
        turns(serving) == before
    };
    assert!(rests(&serving), "without a watcher");
    let mut watcher = Watcher::of(at);
    let before = turns(&serving);
    watcher.beat_with("an answer of the loops", |beat| beat["talkers"].is_object());
    assert!(turns(&serving) > before, "the loops were asked");
    let last = watcher.beat()["beat"].as_u64().expect("a number");
    drop(watcher);
    std::thread::sleep(2 * LIVE_EVERY);
    assert!(rests(&serving), "when the watcher has gone");
    // The figures are looked at nevertheless, and what was told is forgotten.
    let next = Watcher::of(at).beat();
    assert!(next["beat"].as_u64().is_some_and(|number| number > last + 3), "{last}, and then {next}");
    assert_eq!(next["talkers"], Value::Null);
    assert!(next["over_s"].as_f64().is_some_and(|over| (0.9..1.9).contains(&over)), "{next}");
    serving.end();
}

/// Who comes when it is over finds what it was, and how much.
#[test]
fn what_was_before_anybody_watched_is_remembered() {
    let serving = Serving::embedded();
    let at = admin_of(&serving);
    let past = || -> Value {
        let answer = get(at, "/live/past");
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        serde_json::from_str(&answer.body).expect("it is JSON")
    };
    let mut client = used(&serving);
    // A rate is a difference: what was before the first look has none.
    wait_until("somebody looked", || past()["points"]["ago_s"].as_array().is_some_and(|ago| !ago.is_empty()));
    let flood = frame(ECHO, b"many").repeat(100);
    for _ in 0..30 {
        client.send(&flood);
        (0..100).for_each(|_| client.expect(ECHO, b"many"));
    }
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        send_bad(&serving);
    }
    wait_until("the condition is over", || past()["conditions_over"][0]["name"] == "bad_checksums");
    let past = past();
    let over = &past["conditions_over"][0];
    assert!(over["lasted_s"].as_f64().is_some_and(|lasted| lasted > 1.0), "{past}");
    assert!(over["ended_ago_s"].as_f64().is_some_and(|ago| ago < 2.0), "{past}");
    let list =
        |name: &str| past["points"][name].as_array().unwrap_or_else(|| panic!("{name}: {past}")).clone();
    let ago = list("ago_s");
    assert!(ago.len() >= 5 && ago.is_sorted_by(|one, next| one.as_f64() > next.as_f64()), "{past}");
    for name in
        ["messages_in", "messages_out", "bytes_in", "bytes_out", "accepted", "open", "in_flight", "turn_p99"]
    {
        assert_eq!(list(name).len(), ago.len(), "{name}: {past}");
    }
    let most = |name: &str| list(name).iter().filter_map(Value::as_f64).fold(0.0, f64::max);
    assert!(most("messages_in") > 100.0 && most("bytes_in") > 100.0 * 18.0, "{past}");
    assert!(most("accepted") > 1.0 && most("open") >= 1.0 && most("turn_p99") > 0.0, "{past}");
    assert_eq!(list("messages_in")[0], Value::Null, "of the first look no rate is known");
    drop(client);
    serving.end();
}

#[test]
fn a_loop_that_is_stuck_is_named_and_the_rest_is_told() {
    let gate = Gate::default();
    let serving = Serving::gated(builder().shards(2), &gate);
    let at = admin_of(&serving);
    let mut watcher = Watcher::of(at);
    let mut client = serving.connect();
    client.request(ECHO, b"stuck");
    gate.wait_for_handler();
    let beat = watcher.beat_with("the stuck loop", |beat| beat["state"]["name"] == "stalled");
    let text = beat["state"]["text"].as_str().expect("text");
    assert!(
        text.contains("is held up: its turn has been running for") && text.contains(", at connection "),
        "{text}"
    );
    assert_eq!(beat["conditions"][0]["name"], "stalled_handler");
    let beat = watcher.beat_with("that it did not answer", |beat| {
        beat["talkers"]["missing"].as_array().is_some_and(|missing| !missing.is_empty())
    });
    let why = beat["talkers"]["missing"][0]["why"].as_str().expect("text");
    assert!(why.contains("did not answer in time") || why.contains("another question"), "{why}");
    // Who else asks the loops is not refused for it.
    for _ in 0..3 {
        assert_eq!(get(at, "/connections").status, 200);
    }
    gate.open();
    client.expect(ECHO, b"stuck");
    watcher.beat_with("all is well again", |beat| beat["state"]["name"] == "serving");
    drop((watcher, client));
    serving.end();
}

#[test]
fn a_drain_is_followed_to_its_end_and_the_port_waits_for_no_watcher() {
    let serving = Serving::embedded();
    let (at, control) = admin_with(&serving, |admin| admin);
    let neighbour = Neighbour::of(serving.frames());
    let mut stays = Client::connect(serving.lines());
    stays.send(b"half a line");
    let mut watcher = Watcher::of(at);
    watcher.beat_with("both", |beat| beat["gauges"]["open"] == 2);
    neighbour.leave();
    watcher.beat_with("one left", |beat| beat["gauges"]["open"] == 1);
    serving.handle.drain(Duration::from_secs(20));
    let beat = watcher.beat_with("the drain", |beat| beat["state"]["name"] == "draining");
    let drain = &beat["drain"];
    assert_eq!((drain["began_with"].as_u64(), drain["grace_s"].as_f64()), (Some(1), Some(20.0)), "{drain}");
    let (ran, left) = (drain["running_s"].as_f64().expect("s"), drain["left_s"].as_f64().expect("s"));
    assert!((ran + left - 20.0).abs() < 0.1, "{drain}");
    assert!(beat["conditions"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "draining")));
    drop(stays);
    serving.join();
    let began = Instant::now();
    control.finish(PATIENCE);
    assert!(began.elapsed() < Duration::from_secs(2), "it waited for {:?}", began.elapsed());
    let end = loop {
        let (name, data) = watcher.event();
        if !name.is_empty() {
            break (name, data);
        }
    };
    assert_eq!(end, ("end".to_owned(), "port".to_owned()));
    assert_eq!(watcher.chunk(), None, "the answer is whole");
}

/// A stream is no way to keep a connection longer than others may.
#[test]
fn a_stream_ends_with_its_connection_s_time() {
    let serving = Serving::embedded();
    let bounds = Bounds { life: Duration::from_millis(2500), ..Bounds::default() };
    let (at, _control) = admin_with(&serving, |admin| admin.bounds(bounds));
    let began = Instant::now();
    let (mut watcher, mut last) = (Watcher::of(at), None);
    let end = loop {
        let (name, data) = watcher.event();
        if !name.is_empty() {
            break (name, data);
        }
        let beat: Value = serde_json::from_str(&data).expect("it is JSON");
        last = beat["beat"].as_u64();
    };
    assert_eq!(end, ("end".to_owned(), "life".to_owned()));
    assert_eq!(watcher.chunk(), None);
    assert!(began.elapsed() >= bounds.life, "after {:?}", began.elapsed());
    let mut rest = Vec::new();
    watcher.stream.read_to_end(&mut rest).expect("and the connection with it");
    // Who comes back finds the feed as he left it.
    let next = Watcher::of(at).beat();
    assert!(next["beat"].as_u64() >= last && next["over_s"].is_number(), "{next}");
    serving.end();
}

#[test]
fn the_page_is_for_browsers_and_the_list_for_others() {
    let serving = Serving::embedded();
    let at = admin_of(&serving);
    let accepted = |kind: &str| ask(at, "GET", "/", &[("Accept", kind)], "");
    let page = accepted("text/html,application/xhtml+xml,*/*;q=0.8");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(
        policy.starts_with("default-src 'none'") && !policy.contains("unsafe") && !policy.contains("http"),
        "{policy}"
    );
    for list in [get(at, "/"), accepted("*/*"), accepted("application/json")] {
        assert!(list.body.starts_with("tidegate ") && list.body.contains("/healthz"), "{}", list.body);
        assert_eq!(list.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    // All that the page names is there, and nothing of it is elsewhere.
    let named = page.body.split(['"', '\'']).filter(|word| word.starts_with("page/"));
    let named: Vec<&str> = named.collect();
    assert!(named.len() >= 4, "{named:?}");
    for part in named {
        let answer = get(at, &format!("/{part}"));
        let kind = answer.header("content-type").expect("a type");
        let wanted = if part.ends_with(".css") { "text/css" } else { "text/javascript" };
        assert!(
            answer.status == 200 && kind.starts_with(wanted) && answer.body.len() > 500,
            "{part}: {kind}"
        );
        assert!(!answer.body.contains("innerHTML") && !answer.body.contains("eval("), "{part}");
    }
    assert!(
        !page.body.contains("<style") && !page.body.contains(" onclick=") && !page.body.contains(" style=")
    );
    let missing = get(at, "/page/other.js");
    assert_eq!(missing.status, 404);
    assert!(missing.body.contains("it has style.css"), "{}", missing.body);
    serving.end();
}

/// All names of fields in a value, but for those of figures, which are the library's.
fn names_in(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                names.insert(name.clone());
                if !["counters", "gauges", "outcomes"].contains(&name.as_str()) {
                    names_in(value, names);
                }
            }
        }
        Value::Array(all) => all.iter().for_each(|value| names_in(value, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn its_document_names_every_field_and_no_other() {
    let running = builder().shards(2).workers(1, 8).start(Router::embedded).expect("a server");
    let serving = Serving::of(running);
    let at = admin_of(&serving);
    drop(serving.connect());
    let mut stays = serving.connect_lines();
    stays.send(b"half a line");
    serving.wait_for("one has ended", |now| now.closes_total() == 1 && now.gauge(Gauge::Open) == 1);
    let mut watcher = Watcher::of(at);
    let mut names = BTreeSet::new();
    names_in(&watcher.beat_with("talkers", |beat| beat["talkers"]["connections"][0].is_object()), &mut names);
    serving.handle.drain(PATIENCE);
    let draining = |beat: &Value| beat["drain"].is_object() && beat["over_s"].is_number();
    names_in(&watcher.beat_with("a drain", draining), &mut names);
    drop((stays, watcher));
    serving.join();
    // Told where it did not happen here: a loop that says nothing.
    names.insert("why".to_owned());
    let read = |path: &str| {
        std::fs::read_to_string(format!("{}/docs/{path}", env!("CARGO_MANIFEST_DIR"))).expect("text")
    };
    let (page, connections) = (read("DASHBOARD.md"), read("ADMIN.md"));
    let (_, fields) = page.split_once("| field | is |").expect("the table");
    let (fields, _) = fields.split_once("\n\n").expect("its end");
    let ticked =
        |text: &str| -> BTreeSet<String> { text.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let told = ticked(fields);
    let of_connections = ticked(&connections);
    let untold: Vec<_> =
        names.iter().filter(|name| !told.contains(*name) && !of_connections.contains(*name)).collect();
    assert!(untold.is_empty(), "docs/DASHBOARD.md does not name {untold:?}");
    let values = ["serving", "draining", "stalled", "loop_dead", "other", "mixed", "dialed"];
    let gone: Vec<_> =
        told.iter().filter(|name| !names.contains(*name) && !values.contains(&name.as_str())).collect();
    assert!(gone.is_empty(), "docs/DASHBOARD.md names {gone:?}");
}
