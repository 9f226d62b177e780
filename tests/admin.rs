//! The admin port of a server that runs: what it answers, and every bound that it has.

#![cfg(feature = "admin")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use support::admin::{Answer, BEARER, admin_of, admin_with, answer, ask, connect, get, post};
use support::client::ECHO;
use support::serving::{Gate, Serving, builder};
use support::wait_until;
use tidegate::base::limits::{ADMIN_BODY_BYTES_MAX, ADMIN_HEAD_BYTES_MAX, KNOCK_EVERY_MS};
use tidegate::control::Bounds;
use tidegate::metrics::Counter;
use tidegate::service::{AfterPanic, Cx, Frame, Peer, Replied, Reply, Service};

/// Short enough for a test to wait for, long enough for nothing else to take.
const SHORT: Duration = Duration::from_millis(300);

/// Two loops, and a gate before which requests with this payload hold up theirs.
fn with_gate() -> (Serving, Gate) {
    let gate = Gate::default();
    let held = gate.clone();
    let running = builder().shards(2).start_fn(move |frame, reply| {
        if frame.payload() == b"stuck" {
            held.wait();
        }
        reply.forward(frame.whole())
    });
    (Serving::of(running.expect("a server")), gate)
}

/// Asks whether both loops turn, of which one is stuck. It is being answered when this returns: the other one rests until
/// somebody knocks.
#[track_caller]
fn ask_of_the_stuck(serving: &Serving, at: SocketAddr) -> JoinHandle<Answer> {
    let turns = || serving.handle.loop_states().iter().map(|state| state.turns).sum::<u64>();
    let before = turns();
    let asking = std::thread::spawn(move || get(at, "/healthz?within_ms=1000"));
    wait_until("the other loop is knocked at", || turns() >= before + 2);
    asking
}

/// Waits for the end of a connection, and says how long that took.
#[track_caller]
fn time_to_end(stream: &mut TcpStream) -> Duration {
    let began = Instant::now();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it did not end: {error}"),
    }
    began.elapsed()
}

/// Whether a connection is open, and nothing has come on it.
fn is_open(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    let read = stream.read(&mut [0; 1]);
    stream.set_nonblocking(false).expect("a socket");
    read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// A request that keeps its connection, and its answer's status line.
fn ask_on(stream: &mut TcpStream, path: &str) -> String {
    let host = stream.peer_addr().expect("it is connected");
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).expect("it is taken");
    let mut text = Vec::new();
    while !text.ends_with(b"ready\n") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).expect("an answer in time"), 1, "no answer");
        text.push(byte[0]);
    }
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_server_that_drains_is_not_ready() {
    let serving = Serving::embedded();
    let at = admin_of(&serving);
    let ready = get(at, "/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));
    let head = ask(at, "HEAD", "/readyz", &[], "");
    assert_eq!((head.status, head.body.as_str(), head.header("content-length")), (200, "", Some("6")));
    let _client = serving.connect();
    serving.wait_for("the client is there", |now| now.counter(Counter::Accepted) == 1);
    let said = get(at, "/readyz?verbose").body;
    let json: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let loops = serving.handle.shards();
    assert_eq!(json["ready"], true);
    assert_eq!((&json["connections"], &json["loops"]), (&1.into(), &loops.into()));
    serving.handle.drain(Duration::from_secs(5));
    let answer = get(at, "/readyz");
    assert_eq!((answer.status, answer.body.as_str()), (503, "draining\n"));
    let answer = get(at, "/readyz?verbose");
    let json: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(
        (answer.status, &json["draining"], &json["dead_loop"]),
        (503, &true.into(), &serde_json::Value::Null)
    );
}

#[test]
fn the_root_lists_the_paths() {
    let serving = Serving::embedded();
    let (at, _control) = admin_with(&serving, |admin| admin.own_path("/mine", || "mine\n".to_owned()));
    let list = get(at, "/").body;
    for path in ["/", "/healthz", "/readyz", "/config", "/log", "/drain", "/mine"] {
        let row = list.lines().find(|line| line.split_whitespace().any(|word| word == path));
        let row = row.unwrap_or_else(|| panic!("{path} is not in\n{list}"));
        // Each row tells the truth: its methods are taken, and no other.
        let wants = if row.contains("POST") { ["POST", "DELETE"] } else { ["GET", "PUT"] };
        if !["/drain", "/log"].contains(&path) {
            assert_ne!(ask(at, wants[0], path, &[BEARER], "").status, 405, "{row}");
        }
        let refused = ask(at, wants[1], path, &[BEARER], "");
        assert_eq!(refused.status, 405, "{row}");
        assert!(refused.header("allow").is_some_and(|allow| refused.body.contains(allow)), "{refused:?}");
    }
    let nowhere = get(at, "/nowhere");
    assert_eq!(nowhere.status, 404);
    assert!(nowhere.body.starts_with("there is no such path\n") && nowhere.body.contains("/healthz"));
    assert_eq!(get(at, "/config").status, 404, "none was handed in");
    assert_eq!(get(at, "/log").status, 404, "none was handed in");
}

#[test]
fn a_loop_that_is_stuck_is_not_healthy() {
    let (serving, gate) = with_gate();
    let at = admin_of(&serving);
    let healthy = get(at, "/healthz");
    assert_eq!((healthy.status, healthy.body.as_str()), (200, "ok\n"));
    let mut client = serving.connect();
    client.request(ECHO, b"stuck");
    gate.wait_for_handler();
    let began = Instant::now();
    let sick = get(at, "/healthz?within_ms=200");
    assert!(began.elapsed() >= Duration::from_millis(200), "it waited");
    assert_eq!(sick.status, 503, "{sick:?}");
    assert_eq!(sick.body.lines().count(), 1, "the other loop answers: {sick:?}");
    for words in
        ["event loop ", " has not answered within 200 ms; its turn has been running for ", ", at connection "]
    {
        assert!(sick.body.contains(words), "{sick:?}");
    }
    let stuck = serving.handle.loop_states().into_iter().find_map(|state| state.turn.and(state.visiting));
    let stuck = stuck.expect("a loop is in a turn").to_string();
    assert!(sick.body.contains(&stuck), "{sick:?} does not name {stuck}");
    gate.open();
    client.expect(ECHO, b"stuck");
    assert_eq!(get(at, "/healthz").status, 200);
    for (within, words) in
        [("49", "50 to 10000"), ("10001", "50 to 10000"), ("soon", "50 to 10000"), ("50&x", "not \"x\"")]
    {
        let wrong = get(at, &format!("/healthz?within_ms={within}"));
        assert_eq!((wrong.status, wrong.body.contains(words)), (400, true), "{wrong:?}");
    }
    serving.end();
}

/// A loop that has ended in order, while another is still draining, is no reason to be killed.
#[test]
fn a_server_that_drains_is_healthy() {
    let (serving, gate) = with_gate();
    let at = admin_of(&serving);
    let mut client = serving.connect();
    client.echo(b"here");
    serving.handle.drain(support::PATIENCE);
    // The client stays, so its loop lingers; the other one has nothing to wait for.
    for _ in 0..20 {
        assert_eq!(get(at, "/healthz").status, 200);
    }
    drop((client, gate));
    serving.join();
}

/// Panics at every request, and can't be made anew: where a loop can't go on.
struct Mortal;

impl Service for Mortal {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn on_frame(
        &mut self,
        _conn: &mut (),
        _frame: Frame<'_>,
        _reply: Reply<'_>,
        _cx: &mut Cx<'_>,
    ) -> Replied {
        panic!("asked to");
    }

    fn on_panic(&mut self) -> AfterPanic {
        AfterPanic::Rebuild
    }
}

#[test]
fn a_loop_that_died_is_told() {
    let made = Arc::new(AtomicU32::new(0));
    let make = move || {
        assert!(made.fetch_add(1, Relaxed) < 2, "no more services");
        Mortal
    };
    let serving = Serving::of(builder().shards(2).start(make).expect("a server"));
    let at = admin_of(&serving);
    assert_eq!((get(at, "/healthz").status, get(at, "/readyz").status), (200, 200));
    serving.connect().request(ECHO, b"die");
    wait_until("a loop died", || serving.handle.dead_shard().is_some());
    let died = serving.handle.dead_shard().expect("waited for");
    for path in ["/healthz", "/readyz"] {
        let answer = get(at, path);
        let want = format!("event loop {died} died; the others drain\n");
        assert_eq!((answer.status, answer.body), (503, want), "{path}");
    }
    let json: serde_json::Value = serde_json::from_str(&get(at, "/readyz?verbose").body).expect("JSON");
    assert_eq!((&json["dead_loop"], &json["ready"]), (&died.into(), &false.into()));
}

#[test]
fn many_checks_at_once_cost_a_loop_one_turn_in_a_while() {
    let (serving, _gate) = with_gate();
    let at = admin_of(&serving);
    let (before, began) = (serving.snapshot().counter(Counter::Turns), Instant::now());
    let askers: Vec<_> = (0..16)
        .map(|_| {
            std::thread::spawn(move || (0..25).for_each(|_| assert_eq!(get(at, "/healthz").status, 200)))
        })
        .collect();
    askers.into_iter().for_each(|asker| asker.join().expect("each is answered"));
    let took_ms = u64::try_from(began.elapsed().as_millis()).expect("not so long");
    let turns = serving.snapshot().counter(Counter::Turns) - before;
    let most = 2 * (took_ms / KNOCK_EVERY_MS + 10);
    assert!(turns <= most, "{turns} turns of two loops in {took_ms} ms for 400 checks");
    assert!(turns >= 2, "they were asked");
}

#[test]
fn who_has_waited_longest_makes_room() {
    let serving = Serving::embedded();
    let (at, _control) =
        admin_with(&serving, |admin| admin.bounds(Bounds { connections: 3, ..Bounds::default() }));
    let mut idle: Vec<_> = (0..3).map(|_| connect(at)).collect();
    // The first is heard, so it waits anew: the second has waited longest.
    assert_eq!(ask_on(&mut idle[0], "/readyz"), "HTTP/1.1 200 OK");
    assert_eq!(get(at, "/readyz").status, 200);
    wait_until("one is displaced", || idle.iter_mut().any(|stream| !is_open(stream)));
    let open: Vec<_> = idle.iter_mut().map(is_open).collect();
    assert_eq!(open, [true, false, true]);
    assert_eq!(ask_on(&mut idle[0], "/readyz"), "HTTP/1.1 200 OK");
}

/// While every place is taken by who is being answered, a newcomer waits.
#[test]
fn who_is_being_answered_keeps_his_place() {
    let (serving, gate) = with_gate();
    let (at, _control) =
        admin_with(&serving, |admin| admin.bounds(Bounds { connections: 1, ..Bounds::default() }));
    let mut client = serving.connect();
    client.request(ECHO, b"stuck");
    gate.wait_for_handler();
    // A newcomer before it would be answered first: that is no fault.
    let slow = ask_of_the_stuck(&serving, at);
    assert_eq!(get(at, "/readyz").status, 200);
    assert_eq!(slow.join().expect("it was not displaced").status, 503);
    gate.open();
    client.expect(ECHO, b"stuck");
}

#[test]
fn half_a_head_and_silence_end_in_time() {
    let serving = Serving::embedded();
    let bounds = Bounds { head_within: SHORT, ..Bounds::default() };
    let (at, _control) = admin_with(&serving, |admin| admin.bounds(bounds));
    let (mut half, mut silent, mut idle) = (connect(at), connect(at), connect(at));
    half.write_all(b"GET /readyz HTTP/1.1\r\nHost: ").expect("it is taken");
    assert_eq!(ask_on(&mut idle, "/readyz"), "HTTP/1.1 200 OK");
    for stream in [&mut half, &mut silent, &mut idle] {
        assert!(time_to_end(stream) < support::PATIENCE);
    }
    assert_eq!(get(at, "/readyz").status, 200);
}

#[test]
fn heads_and_bodies_have_their_largest_size() {
    let serving = Serving::embedded();
    let at = admin_of(&serving);
    let of = |bytes: usize| "x".repeat(bytes);
    assert_eq!(ask(at, "GET", "/readyz", &[("X-Fits", &of(ADMIN_HEAD_BYTES_MAX - 200))], "").status, 200);
    let mut stream = connect(at);
    let head = format!("GET /readyz HTTP/1.1\r\nHost: {at}\r\nX-Large: {}", of(ADMIN_HEAD_BYTES_MAX));
    stream.write_all(head.as_bytes()).expect("it is taken");
    assert_eq!(answer(&mut stream).status, 431);
    let large = post(at, "/drain", &of(ADMIN_BODY_BYTES_MAX + 1));
    assert_eq!(large.status, 413, "{large:?}");
    assert_eq!(large.body, "the body has more than 4096 bytes; no answer here wants so many\n");
    let wrong = post(at, "/drain", &of(100));
    assert_eq!(wrong.status, 400, "{wrong:?}");
    assert!(!serving.handle.is_draining());
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let serving = Serving::embedded();
    let bounds = Bounds { answer_within: SHORT, ..Bounds::default() };
    let (at, _control) = admin_with(&serving, |admin| admin.bounds(bounds));
    let mut stream = connect(at);
    let (name, value) = BEARER;
    let head = format!("POST /drain HTTP/1.1\r\nHost: {at}\r\n{name}: {value}\r\nContent-Length: 3\r\n\r\n1");
    stream.write_all(head.as_bytes()).expect("it is taken");
    let late = answer(&mut stream);
    assert_eq!((late.status, late.body.as_str()), (408, "no whole request and answer within 300 ms\n"));
    assert!(!serving.handle.is_draining());
}

/// An answer larger than what sockets hold, and nobody who reads it: the place is free again.
#[test]
fn who_does_not_read_is_ended() {
    let serving = Serving::embedded();
    let bounds = Bounds { connections: 1, answer_within: SHORT, life: SHORT, ..Bounds::default() };
    let large = || "x".repeat(64 << 20);
    let (at, _control) = admin_with(&serving, |admin| admin.bounds(bounds).own_path("/large", large));
    let mut deaf = connect(at);
    deaf.write_all(format!("GET /large HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes()).expect("it is taken");
    std::thread::sleep(SHORT * 3);
    assert_eq!(get(at, "/readyz").status, 200);
    time_to_end(&mut deaf);
}

#[test]
fn a_connection_does_not_live_for_ever() {
    let serving = Serving::embedded();
    let bounds = Bounds { life: SHORT, ..Bounds::default() };
    let (at, _control) = admin_with(&serving, |admin| admin.bounds(bounds));
    let mut stream = connect(at);
    let began = Instant::now();
    assert_eq!(ask_on(&mut stream, "/readyz"), "HTTP/1.1 200 OK");
    time_to_end(&mut stream);
    assert!(began.elapsed() >= SHORT / 2, "it was kept for a while");
}

#[test]
fn an_answer_that_panics_costs_its_asker_an_error() {
    let serving = Serving::embedded();
    let (at, _control) = admin_with(&serving, |admin| admin.own_path("/broken", || panic!("asked to")));
    for _ in 0..3 {
        let broken = get(at, "/broken");
        assert_eq!(broken.status, 500);
        assert_eq!(broken.header("x-content-type-options"), Some("nosniff"));
    }
    assert_eq!(get(at, "/readyz").status, 200);
    assert_eq!(get(at, "/healthz").status, 200);
}

#[test]
fn a_drain_is_begun_once_and_can_be_shortened() {
    let serving = Serving::embedded();
    let (at, _control) = admin_with(&serving, |admin| admin.grace(Duration::from_secs(9)));
    // Neither reads nor leaves, so that the drain lasts.
    let mut stays = serving.connect();
    stays.request(ECHO, b"never read");
    serving.wait_for("it is answered", |now| now.counter(Counter::Started) == 1);
    for (grace, words) in [("5", "did you mean 5s?"), ("25d", "at most 24d"), ("soon", "30s or 250ms")] {
        let wrong = post(at, &format!("/drain?grace={grace}"), "");
        assert_eq!((wrong.status, wrong.body.contains(words)), (400, true), "{wrong:?}");
    }
    assert_eq!(post(at, "/drain?grace=5s", "6s").status, 400);
    assert_eq!(ask(at, "GET", "/drain", &[BEARER], "").status, 405);
    assert!(!serving.handle.is_draining());
    let begun = post(at, "/drain", "");
    assert_eq!(begun.status, 202, "{begun:?}");
    assert!(begun.body.starts_with("draining: 1 connections") && begun.body.contains("9s"), "{begun:?}");
    assert!(serving.handle.is_draining());
    assert_eq!(post(at, "/drain", "10ms").status, 202);
    let began = Instant::now();
    serving.join();
    assert!(began.elapsed() < Duration::from_secs(9), "the second grace counted");
}

/// Where nothing listens any more.
fn is_refused(at: SocketAddr) -> bool {
    TcpStream::connect(at).is_err()
}

/// The answers that are on their way leave, no others come, and the server runs on.
#[test]
fn the_port_ends_in_order() {
    let (serving, gate) = with_gate();
    let (at, control) = admin_with(&serving, |admin| admin);
    let mut client = serving.connect();
    client.request(ECHO, b"stuck");
    gate.wait_for_handler();
    let slow = ask_of_the_stuck(&serving, at);
    let mut idle = connect(at);
    control.finish(support::PATIENCE);
    assert_eq!(slow.join().expect("it is answered").status, 503);
    time_to_end(&mut idle);
    assert!(is_refused(at));
    gate.open();
    client.expect(ECHO, b"stuck");
    drop(client);
    serving.end();
}
