//! What the admin port tells of connections: those that are there, one of them, and why others have ended.

#![cfg(feature = "admin")]

#[path = "hostile/cases.rs"]
mod cases;
mod support;

use cases::{Case, on_frames, on_lines};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use support::admin::{Answer, ask, get};
use support::client::{Client, ECHO, GOAWAY, frame};
use support::extended::bare_hello;
use support::serving::{Gate, Neighbour, Serving, builder};
use support::{pattern, wait_until};
use tidegate::base::limits::Limits;
use tidegate::control::Admin;
use tidegate::server::{Listener, Server};
use tidegate::service::Router;
use tidegate::{CloseReason, ConnId, Frame, Reply};

const TOKEN: &str = "sixteen-bytes-or-more";

/// Its handler waits before the gate.
const HELD: u16 = 50;

/// A server with an admin port.
fn served(serving: &Serving) -> SocketAddr {
    let admin = Admin::bind("127.0.0.1:0").and_then(|admin| admin.token(TOKEN)).expect("a free port");
    let at = admin.local_addr().expect("it is bound");
    admin.start(serving.handle.clone()).expect("a thread");
    at
}

/// An answer that is 200 and JSON.
#[track_caller]
fn json(at: SocketAddr, path: &str) -> Value {
    let answer = get(at, path);
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json")),
        "{path}: {answer:?}"
    );
    serde_json::from_str(&answer.body).expect("JSON")
}

fn list<'a>(value: &'a Value, name: &str) -> &'a Vec<Value> {
    value[name].as_array().unwrap_or_else(|| panic!("{name} is a list: {value}"))
}

fn names(events: &Value) -> Vec<&str> {
    list(events, "events").iter().map(|event| event["event"].as_str().expect("a name")).collect()
}

fn close(at: SocketAddr, id: &str, words: &str) -> Answer {
    let token = format!("Bearer {TOKEN}");
    ask(at, "POST", &format!("/connections/{id}/close"), &[("Authorization", token.as_str())], words)
}

/// Waits for the end of the connection that came from there, and gives what is told of it.
#[track_caller]
fn end_of(at: SocketAddr, client: SocketAddr, why: CloseReason) -> Value {
    let mut found = None;
    wait_until(&format!("{} of {client} is told", why.name()), || {
        let closed = json(at, &format!("/closed?reason={}&limit=100", why.name()));
        found =
            list(&closed, "closed").iter().find(|end| end["peer"] == client.to_string().as_str()).cloned();
        found.is_some()
    });
    found.expect("it was found")
}

/// Every case of `tests/hostile/cases.rs`: why it ended, in words, and what had happened to it.
fn tell_why(serving: &Serving, at: SocketAddr, client: Client, case: &Case) {
    let Case { name, bytes, then_ends, why, .. } = case;
    let from = client.stream.local_addr().expect("a socket's");
    let sending = client.send_beside(bytes.clone(), *then_ends);
    let mut client = client;
    client.read_to_end();
    sending.done();
    drop(client);
    let end = end_of(at, from, *why);
    assert_eq!(end["class"], why.fault().name(), "case: {name}: {end}");
    assert!(end["bytes_in"].as_u64() > Some(0), "case: {name}: {end}");
    assert_eq!(end["state"], "serving", "case: {name}: {end}");
    let events = names(&end);
    assert_eq!((events[0], events[events.len() - 1]), ("accepted", "closed"), "case: {name}");
    // Who ended its stream too early is told nothing.
    if *why == CloseReason::Truncated {
        assert_eq!((&end["words"], events.contains(&"refused")), (&Value::Null, false), "case: {name}");
    } else {
        assert!(end["words"].as_str().is_some_and(|words| words.len() > 5), "case: {name}: {end}");
        assert!(events.contains(&"refused") && events.contains(&"flushing"), "case: {name}: {events:?}");
    }
    assert!(usize::from(shard_of(&end)) < serving.handle.shards(), "case: {name}: {end}");
}

fn shard_of(end: &Value) -> u16 {
    end["id"].as_str().and_then(|id| id.parse::<ConnId>().ok()).expect("an id as it is printed").shard
}

#[test]
fn every_fault_of_a_peer_is_told_with_its_words_and_events() {
    let serving = Serving::embedded();
    let at = served(&serving);
    let neighbour = Neighbour::of(serving.frames());
    on_frames().iter().for_each(|case| tell_why(&serving, at, serving.connect(), case));
    on_lines().iter().for_each(|case| tell_why(&serving, at, serving.connect_lines(), case));
    neighbour.leave();
    serving.end();
}

/// Ends that are nobody's fault, or that deadlines bring.
#[test]
fn other_ends_are_told_too() {
    let limits = Limits {
        idle: Some(Duration::from_millis(1_500)),
        frame_deadline: Duration::from_millis(300),
        ..Limits::default()
    };
    let serving = Serving::with(limits);
    let at = served(&serving);
    let address = |client: &Client| client.stream.local_addr().expect("a socket's");

    let mut late = serving.connect();
    late.send(&frame(ECHO, &pattern(2, 2_000))[..1_000]);
    let (from, _) = (address(&late), late.read_to_end());
    let end = end_of(at, from, CloseReason::FrameDeadline);
    assert_eq!((&end["class"], &end["input_bytes"]), (&"protocol".into(), &1_000.into()), "{end}");
    assert!(end["words"].as_str().is_some_and(|words| words.contains("2010 bytes")), "{end}");

    let mut silent = serving.connect();
    silent.echo(b"hello");
    let (from, _) = (address(&silent), silent.read_to_end());
    let end = end_of(at, from, CloseReason::Idle);
    assert_eq!((&end["class"], &end["words"]), (&"temporary".into(), &"no message for 1500 ms".into()));
    assert!(end["lasted_s"].as_f64() >= Some(1.5) && end["idle_s"].as_f64() >= Some(1.5), "{end}");

    let mut gone = serving.connect();
    gone.echo(b"hello");
    let (from, sent) = (address(&gone), frame(ECHO, b"hello").len());
    socket2::SockRef::from(&gone.stream).set_linger(Some(Duration::ZERO)).expect("an option");
    drop(gone);
    let end = end_of(at, from, CloseReason::Reset);
    assert_eq!(
        (&end["bytes_in"], &end["bytes_out"], &end["messages_in"]),
        (&sent.into(), &sent.into(), &1.into())
    );

    let mut polite = serving.connect();
    polite.echo(b"bye");
    let from = address(&polite);
    polite.finish_sending();
    polite.expect_end();
    drop(polite);
    let end = end_of(at, from, CloseReason::PeerClosed);
    assert_eq!((&end["words"], names(&end)), (&Value::Null, vec!["accepted", "flushing", "closed"]));
    let by_name = json(at, &format!("/closed?id={}", end["id"].as_str().expect("a text")));
    assert_eq!(list(&by_name, "closed").len(), 1);
    serving.end();
}

#[test]
fn connections_are_ranked_shown_and_closed_by_name() {
    let serving = Serving::embedded();
    let at = served(&serving);
    let mut clients: Vec<Client> = (0..5).map(|_| serving.connect()).collect();
    for (bytes, client) in [10, 5_000, 100, 0, 900].iter().zip(&mut clients) {
        client.echo(&pattern(1, *bytes));
    }
    let mut known = serving.connect();
    known.send(&bare_hello());
    known.receive();
    let from = |client: &Client| client.stream.local_addr().expect("a socket's").to_string();
    let ranked = json(at, "/connections?by=bytes&limit=2&state=serving");
    assert_eq!(
        (&ranked["matching"], &ranked["open"], &ranked["by"]),
        (&6.into(), &6.into(), &"bytes".into())
    );
    let peers: Vec<&Value> = list(&ranked, "connections").iter().map(|one| &one["peer"]).collect();
    assert_eq!(peers, [&from(&clients[1]), &from(&clients[4])]);
    let here = serving.frames();
    assert_eq!(json(at, &format!("/connections?listener={here}"))["matching"], 6);
    assert_eq!(json(at, &format!("/connections?listener={}", serving.lines()))["matching"], 0);
    assert_eq!(json(at, "/connections?listener=dialed&state=paused")["matching"], 0);

    let all = json(at, "/connections?by=age&limit=100");
    let find = |client: &Client| {
        let one = list(&all, "connections").iter().find(|one| one["peer"] == from(client).as_str());
        one.unwrap_or_else(|| panic!("{} is there: {all}", from(client)))["id"]
            .as_str()
            .expect("a text")
            .to_owned()
    };
    let id = find(&known);
    let one = json(at, &format!("/connections/{id}"));
    assert_eq!(names(&one), ["accepted", "welcomed"]);
    assert!(one["connection"]["client_id"].as_str().is_some_and(|name| name == format!("c-{id}")), "{one}");
    assert_eq!(one["connection"]["listener"], here.to_string());

    let neighbour = Neighbour::of(here);
    let answer = close(at, &find(&clients[2]), "too curious");
    assert_eq!(answer.status, 202, "{answer:?}");
    let last = clients[2].receive();
    assert_eq!((last.header, last.status(), last.text()), (GOAWAY, 10, "too curious"));
    clients[2].expect_end();
    let end = end_of(at, clients[2].stream.local_addr().expect("a socket's"), CloseReason::ClosedByService);
    assert_eq!(end["words"], "too curious");
    assert_eq!(names(&end)[..2], ["accepted", "closed_by_service"]);
    // It alone.
    for (at, client) in clients.iter_mut().enumerate().filter(|(at, _)| *at != 2) {
        client.echo(&pattern(2, at));
    }
    neighbour.leave();
    let again = close(at, &find(&clients[2]), "");
    assert_eq!(again.status, 404, "{again:?}");
    assert!(again.body.contains("/closed?id="), "{}", again.body);
    drop(known);
    serving.end();
}

#[test]
fn what_is_not_understood_is_refused_in_a_line() {
    let serving = Serving::embedded();
    let at = served(&serving);
    #[rustfmt::skip]
    let table = [
        ("/connections?by=size",       400, "bytes, queued, age"),
        ("/connections?limit=101",     400, "from 1 to 100"),
        ("/connections?state=happy",   400, "connecting, serving, draining, answering, flushing, lingering, paused"),
        ("/connections?listener=here", 400, "dialed"),
        ("/connections?format=xml",    400, "json or text"),
        ("/connections?color=red",     400, "by and limit and state and listener and format"),
        ("/connections/7",             400, "shard-slot-generation"),
        ("/connections/0-0-0",         404, "there is no connection 0-0-0"),
        ("/connections/9999-0-1",      404, "there is no event loop 9999"),
        ("/closed?reason=boredom",     400, "peer_closed, reset, truncated"),
        ("/closed?limit=none",         400, "from 1 to 1000"),
    ];
    for (path, status, says) in table {
        let answer = get(at, path);
        assert_eq!((answer.status, answer.body.lines().count()), (status, 1), "{path}: {answer:?}");
        assert!(answer.body.contains(says), "{path}: {}", answer.body);
    }
    assert_eq!(ask(at, "POST", "/connections/0-0-1/close", &[], "").status, 401, "no token");
    assert_eq!(close(at, "x", "").status, 400);
    let long = close(at, "0-0-1", &"x".repeat(161));
    assert_eq!((long.status, long.body.contains("160 bytes")), (400, true), "{long:?}");
    assert_eq!(get(at, "/connections/0-0-1/close").status, 405);
    serving.end();
}

#[test]
fn text_is_a_table_that_can_be_read() {
    let serving = Serving::embedded();
    let at = served(&serving);
    let mut client = serving.connect();
    client.echo(&pattern(1, 100));
    let table = ask(at, "GET", "/connections", &[("Accept", "text/plain")], "");
    assert_eq!(table.header("content-type"), Some("text/plain; charset=utf-8"));
    let lines: Vec<&str> = table.body.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "1 of 1 connections by bytes, 1 open"), "{}", table.body);
    let bytes = frame(ECHO, &pattern(1, 100)).len().to_string();
    let cells: Vec<&str> = lines[2].split_whitespace().collect();
    assert_eq!((cells[4], cells[7], cells[8]), ("serving", bytes.as_str(), bytes.as_str()), "{}", table.body);
    let one = get(at, &format!("/connections/{}?format=text", cells[0]));
    assert!(one.body.contains("said no HELLO") && one.body.contains("accepted"), "{}", one.body);
    client.send(&[0xFF; 64]);
    client.read_to_end();
    drop(client);
    wait_until("its end is told", || get(at, "/closed?format=text").body.contains("too_large (protocol)"));
    let closed = get(at, "/closed?format=text").body;
    assert!(
        closed.contains("words") && closed.contains("refused") && closed.contains("in 1 message,"),
        "{closed}"
    );
    serving.end();
}

/// One loop stands in a handler: the others' connections are shown, and the stuck one is named.
#[test]
fn a_stuck_loop_is_named_and_keeps_nobody_from_the_rest() {
    let gate = Gate::default();
    let held = gate.clone();
    let service = move |frame: Frame<'_>, reply: Reply<'_>| {
        if frame.route() == HELD {
            held.wait();
        }
        reply.forward(frame.whole())
    };
    let serving = Serving::of(builder().shards(2).start_fn(service).expect("a server"));
    let at = served(&serving);
    let mut clients: Vec<Client> = (0..8).map(|_| serving.connect()).collect();
    clients.iter_mut().for_each(|client| client.echo(b"here"));
    clients[0].request(HELD, b"stay");
    gate.wait_for_handler();
    let shown = json(at, "/connections?limit=100");
    let [missing] = &list(&shown, "missing")[..] else { panic!("one is stuck: {shown}") };
    let why = missing["why"].as_str().expect("a text");
    assert!(why.contains("did not answer in time; its turn has been running for"), "{why}");
    let stuck = missing["loop"].as_u64().expect("a number");
    let others = list(&shown, "connections");
    assert!(!others.is_empty() && others.iter().all(|one| u64::from(shard_of(one)) != stuck), "{shown}");
    // The letter lies there still: that loop is not asked again.
    let again = json(at, "/closed");
    assert!(
        list(&again, "missing")[0]["why"].as_str().is_some_and(|why| why.contains("another question")),
        "{again}"
    );
    gate.open();
    clients[0].expect(HELD, b"stay");
    wait_until("it is asked again", || list(&json(at, "/connections"), "missing").is_empty());
    serving.end();
}

/// Who asks while another answer is being made is refused; traffic is not disturbed.
#[test]
fn a_flood_of_questions_disturbs_nobody() {
    let serving = Serving::embedded();
    let at = served(&serving);
    let neighbour = Neighbour::of(serving.frames());
    let askers: Vec<_> = (0..8)
        .map(|asker| {
            std::thread::spawn(move || {
                let paths = ["/connections?by=age", "/closed", "/connections?by=queued"];
                let statuses = (0..40).map(|round| get(at, paths[(asker + round) % paths.len()]).status);
                let mut counts = [0; 2];
                statuses.for_each(|status| match status {
                    200 => counts[0] += 1,
                    429 => counts[1] += 1,
                    other => panic!("{other}"),
                });
                counts
            })
        })
        .collect();
    neighbour.still_served();
    let counts: Vec<[u32; 2]> = askers.into_iter().map(|asker| asker.join().expect("no panic")).collect();
    let [answered, refused] = counts.iter().fold([0, 0], |sum, one| [sum[0] + one[0], sum[1] + one[1]]);
    assert!(answered > 0 && answered + refused == 320, "{counts:?}");
    neighbour.leave();
    serving.end();
}

/// While the server drains, what is left is told.
#[test]
fn a_drain_is_told() {
    let serving = Serving::of(
        Server::builder()
            .listen(Listener::frames("127.0.0.1:0"))
            .expect("a free port")
            .shards(1)
            .start(Router::embedded)
            .expect("a server"),
    );
    let at = served(&serving);
    let mut client = serving.connect();
    client.send(&bare_hello());
    client.receive();
    serving.handle.drain(support::PATIENCE);
    assert_eq!(client.receive().header, GOAWAY);
    let shown = json(at, "/connections?state=draining");
    let one = &list(&shown, "connections")[0];
    let detail = json(at, &format!("/connections/{}", one["id"].as_str().expect("a text")));
    assert_eq!(names(&detail), ["accepted", "welcomed", "drain_began", "draining"]);
    drop(client);
    let report = serving.join();
    assert!(report.is_clean(), "{report}");
    let answer = get(at, "/connections");
    assert_eq!((answer.status, answer.body.as_str()), (503, "event loop 0 has ended\n"));
}

/// Every field and every event is explained, and nothing is that does not exist.
#[test]
fn fields_and_events_are_documented() {
    let page = include_str!("../docs/ADMIN.md");
    for what in tidegate::server::Happened::ALL {
        assert!(page.contains(&format!("`{}`", what.name())), "event {} has no doc", what.name());
    }
    let serving = Serving::embedded();
    let at = served(&serving);
    let client = serving.connect();
    let answers = [json(at, "/connections"), json(at, "/closed")];
    let mut keys: Vec<String> = Vec::new();
    answers.iter().for_each(|answer| keys_of(answer, &mut keys));
    for key in keys {
        assert!(page.contains(&format!("`{key}`")), "field {key} has no doc");
    }
    drop(client);
    serving.end();
}

fn keys_of(value: &Value, keys: &mut Vec<String>) {
    if let Some(map) = value.as_object() {
        keys.extend(map.keys().cloned());
        map.values().for_each(|value| keys_of(value, keys));
    }
    value.as_array().into_iter().flatten().for_each(|value| keys_of(value, keys));
}
