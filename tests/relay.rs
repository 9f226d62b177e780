//! The relay of `tests/services` before real backends: by hand, as a server in this process, and as a process that is
//! killed. Whatever becomes of the backend, each request gets one reply, and never another one's.

#![cfg(feature = "cli")]

mod support;

#[path = "services/relay.rs"]
#[allow(unreachable_pub, reason = "a file to be copied")]
mod service;

use rustix::process::Signal;
use service::Relay;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;
use support::client::{Client, DRAINING, ECHO, ERROR, EXT, FLIP, NO_ROUTE, OVERLOADED, frame};
use support::extended::{Block, DEADLINE_EXCEEDED, OK, OUTCOME_UNKNOWN, UNAVAILABLE, correlated, extended};
use support::parking::Parking;
use support::process::{BINARY, Process};
use support::serving::{Serving, builder};
use support::{PATIENCE, pattern, wait_until};
use tidegate::base::limits::Limits;
use tidegate::metrics::{Counter, Gauge};
use tidegate::wire::Status;

#[test]
fn it_is_short_enough_to_be_copied() {
    let lines = include_str!("services/relay.rs").lines().count();
    assert!(lines <= 80, "{lines} lines");
}

/// An address that nobody else listens on, now or later: of a loopback network of our own.
fn nobodys_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = NEXT.fetch_add(1, Relaxed).to_be_bytes();
    let process = u8::try_from(std::process::id() % 199).expect("less than 256");
    SocketAddr::from((Ipv4Addr::new(127, 20 + process, high, low + 1), 7411))
}

fn relay_with(backend: SocketAddr, limits: Limits, shards: u16) -> Serving {
    let builder = builder().limits(limits).shards(shards);
    Serving::of(builder.start(move || Relay::new(backend)).expect("a server"))
}

fn relay(backend: SocketAddr) -> Serving {
    relay_with(backend, Limits::default(), 1)
}

/// A backend played by the test.
struct Backend(TcpListener);

impl Backend {
    fn new() -> (Backend, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        (Backend(listener), address)
    }

    /// The relay's next connection.
    fn accept(&self) -> Client {
        self.0.set_nonblocking(true).expect("an option");
        let mut stream = None;
        wait_until("the relay dials", || {
            stream = self.0.accept().ok();
            stream.is_some()
        });
        let (stream, _) = stream.expect("waited for");
        stream.set_nonblocking(false).expect("an option");
        Client::over(stream)
    }
}

/// What the relay asks of its backend.
struct Asked {
    route: u16,
    id: u64,
    deadline_ms: u32,
    trace: Option<Vec<u8>>,
    body: Vec<u8>,
}

#[track_caller]
fn asked(link: &mut Client) -> Asked {
    let got = link.receive();
    assert_ne!(got.header & EXT, 0, "all have a block: {got:?}");
    let (block, body) = got.payload.split_at(usize::from(got.payload[0]) * 4);
    let has_trace = block[1] & 4 != 0;
    assert_eq!(block[1] & !4, 3, "correlation and deadline: {block:?}");
    Asked {
        route: got.header & !EXT,
        id: u64::from_be_bytes(block[4..12].try_into().expect("eight")),
        deadline_ms: u32::from_be_bytes(block[12..16].try_into().expect("four")),
        trace: has_trace.then(|| block[16..44].to_vec()),
        body: body.to_vec(),
    }
}

/// A reply of the backend with this status.
fn reply(route: u16, id: u64, status: u16, body: &[u8]) -> Vec<u8> {
    let [s0, s1] = status.to_be_bytes();
    frame(EXT | route, &[&[3, 1, s0, s1][..], &id.to_be_bytes(), body].concat())
}

#[track_caller]
fn end(serving: Serving) {
    serving.wait_for("no request is open", |now| now.gauge(Gauge::InFlight) == 0);
    serving.end();
}

// ---- there and back ---------------------------------------------------------------------------------------------

#[test]
fn requests_go_there_and_replies_come_back() {
    let backend = Serving::embedded();
    let serving = relay_with(backend.frames(), Limits::default(), 2);
    let mut clients: Vec<Client> = (0..8).map(|_| serving.connect()).collect();
    for round in 0..30 {
        for (number, client) in (0..).zip(&mut clients) {
            let body = pattern(round * 100 + number, usize::try_from(round * 37).expect("few"));
            // All clients use the same ids, which are none of the backend's business.
            let requests = [
                frame(ECHO, &body),
                correlated(FLIP, 7, b"same id"),
                extended(ECHO, &body),
                correlated(99, 7, b"nobody's"),
                frame(99, b"nobody's"),
                correlated(ECHO, round, &body),
            ];
            client.send(&requests.concat());
        }
        for (number, client) in (0..).zip(&mut clients) {
            let body = pattern(round * 100 + number, usize::try_from(round * 37).expect("few"));
            // One backend that answers at once: everything comes in the order of the requests.
            client.expect(ECHO, &body);
            assert_eq!(client.expect_extended(FLIP, OK, Some(7)), b"rame id");
            assert_eq!(client.expect_extended(ECHO, OK, None), body);
            client.expect_extended(99, NO_ROUTE, Some(7));
            client.expect_error(NO_ROUTE);
            assert_eq!(client.expect_extended(ECHO, OK, Some(round)), body);
        }
    }
    let mut lines = serving.connect_lines();
    lines.send(b"a line goes to route 0\n");
    lines.expect_line(support::client::RECEIVED);
    let large = pattern(1, 1 << 20);
    let sending = clients[0].send_beside(frame(ECHO, &large), false);
    clients[0].expect(ECHO, &large);
    sending.done();
    drop((clients, lines));
    end(serving);
    backend.wait_for_rest(0);
    backend.end();
}

#[test]
fn the_backend_is_told_what_time_is_left_and_whose_trace_it_is() {
    let (backend, address) = Backend::new();
    let serving = relay(address);
    let mut link = backend.accept();
    let mut client = serving.connect();
    let trace: [u8; 28] = [&pattern(1, 25)[..], &[0; 3]].concat().try_into().expect("28");
    let all =
        Block { correlation: Some(7), deadline_ms: Some(5_000), trace: Some(trace), ..Block::default() };
    client.send(&[all.frame(5, b"all"), frame(6, b"nothing")].concat());
    let (all, nothing) = (asked(&mut link), asked(&mut link));
    assert_eq!((all.route, &all.body[..], all.trace.as_deref()), (5, &b"all"[..], Some(&trace[..])));
    assert!((1..=5_000).contains(&all.deadline_ms), "{} ms", all.deadline_ms);
    assert_eq!((nothing.route, &nothing.body[..], nothing.trace), (6, &b"nothing"[..], None));
    assert!((1..=30_000).contains(&nothing.deadline_ms), "the server's own: {} ms", nothing.deadline_ms);
    // Statuses and texts come back as they are; DRAINING is the backend's affair.
    link.send(&reply(6, nothing.id, 300, b"my own"));
    let refused = client.receive();
    assert_eq!((refused.header, refused.status(), refused.text()), (ERROR, 300, "my own"));
    link.send(&reply(5, all.id, DRAINING, b"I leave"));
    client.expect_extended(5, UNAVAILABLE, Some(7));
    // What has expired is not passed on.
    let expired = Block { correlation: Some(8), deadline_ms: Some(0), ..Block::default() };
    client.send(&expired.frame(5, b"never"));
    client.expect_extended(5, DEADLINE_EXCEEDED, Some(8));
    // Nobody waits for a one-way request; it is passed on all the same, and may be answered.
    client.send(
        &[Block { one_way: true, ..Block::default() }.frame(5, b"one-way"), frame(5, b"next")].concat(),
    );
    for (body, text) in [(b"one-way", &b"for nobody"[..]), (b"next\0\0\0", b"for you")] {
        let asked = asked(&mut link);
        assert!(body.starts_with(&asked.body), "{:?}", asked.body);
        link.send(&reply(5, asked.id, OK, text));
    }
    client.expect(5, b"for you");
    drop((client, link));
    end(serving);
}

/// A backend that repeats itself, invents, or answers for others does no harm.
#[test]
fn nothing_is_answered_twice_or_wrongly() {
    let (backend, address) = Backend::new();
    let serving = relay(address);
    let mut link = backend.accept();
    let mut clients = [serving.connect(), serving.connect()];
    for client in &mut clients {
        client.send(&[correlated(5, 7, b"a"), correlated(5, 7, b"b")].concat());
    }
    let all: Vec<Asked> = (0..4).map(|_| asked(&mut link)).collect();
    for one in all.iter().rev() {
        let said = [&one.id.to_be_bytes()[..], &one.body].concat();
        link.send(&reply(5, one.id, OK, &said).repeat(3));
        link.send(&reply(5, one.id + 1_000, OK, b"invented"));
        link.send(&frame(5, b"without a block"));
        link.send(&frame(ERROR, b"\0\x05for no slot"));
    }
    for client in &mut clients {
        for want in [b"b", b"a"] {
            let body = client.expect_extended(5, OK, Some(7));
            assert_eq!(&body[8..], want, "the other one's reply");
        }
        client.request(5, b"last");
        let last = asked(&mut link);
        link.send(&reply(5, last.id, OK, b"only this"));
        client.expect(5, b"only this");
    }
    drop((clients, link));
    end(serving);
}

// ---- a backend that is not there, or is lost --------------------------------------------------------------------

#[test]
fn without_a_backend_requests_are_refused_until_it_comes() {
    let address = nobodys_address();
    let serving = relay(address);
    let mut client = serving.connect();
    for number in 0..20 {
        client.send(&[frame(5, b"plain"), correlated(5, number, b"id")].concat());
        client.expect_error(UNAVAILABLE);
        client.expect_extended(5, UNAVAILABLE, Some(number));
    }
    wait_until("it was dialed again and again", || serving.snapshot().counter(Counter::Dialed) > 3);
    let backend = Backend(TcpListener::bind(address).expect("nobody else's"));
    let mut link = backend.accept();
    client.request(5, b"now");
    let now = asked(&mut link);
    link.send(&reply(5, now.id, OK, b"here"));
    client.expect(5, b"here");
    drop((client, link));
    end(serving);
}

/// What was sent to a backend that is lost may have been done; what comes meanwhile is refused; and it is dialed anew.
#[test]
fn what_a_lost_backend_was_asked_is_unknown() {
    let (backend, address) = Backend::new();
    let serving = relay(address);
    let mut client = serving.connect();
    for round in 0..5 {
        let mut link = backend.accept();
        client.send(&[correlated(5, 1, b"answered"), frame(5, b"lost"), correlated(5, 2, b"lost")].concat());
        let answered = asked(&mut link);
        asked(&mut link);
        asked(&mut link);
        link.send(&reply(5, answered.id, OK, b"in time"));
        client.expect_extended(5, OK, Some(1));
        if round % 2 == 0 {
            let linger = Some(Duration::ZERO);
            socket2::SockRef::from(&link.stream).set_linger(linger).expect("an option");
        }
        drop(link);
        client.expect_error(OUTCOME_UNKNOWN);
        client.expect_extended(5, OUTCOME_UNKNOWN, Some(2));
    }
    drop(client);
    end(serving);
}

/// A backend that says nothing costs its requesters their deadlines, and nothing else.
#[test]
fn a_mute_backend_is_waited_for_no_longer_than_the_deadline() {
    let (backend, address) = Backend::new();
    let limits = Limits { request_deadline: Duration::from_millis(300), ..Limits::default() };
    let serving = relay_with(address, limits, 1);
    let mut link = backend.accept();
    let mut client = serving.connect();
    client.send(&[frame(5, b"a"), correlated(5, 2, b"b")].concat());
    let late = [asked(&mut link), asked(&mut link)];
    client.expect_error(OUTCOME_UNKNOWN);
    client.expect_extended(5, OUTCOME_UNKNOWN, Some(2));
    // The next request finds those two over; what the backend says of them is too late.
    client.request(5, b"c");
    let next = asked(&mut link);
    for one in late {
        link.send(&reply(5, one.id, OK, b"too late"));
    }
    link.send(&reply(5, next.id, OK, b"in time"));
    client.expect(5, b"in time");
    assert_eq!(serving.snapshot().counter(Counter::LateAnswers), 2);
    drop((client, link));
    end(serving);
}

/// Keeps requests going, of all kinds, and checks what comes: the right reply, or one of the two refusals.
fn load(mut client: Client, seed: u64, stop: &AtomicBool, answered: &AtomicU64, failed: &AtomicU64) {
    const DEPTH: usize = 16;
    let body = |number: u64| pattern(seed + number, usize::try_from(number % 200).expect("few"));
    let (mut sent, mut ordered, mut open) = (0, std::collections::VecDeque::new(), HashMap::new());
    while !stop.load(Relaxed) || !ordered.is_empty() || !open.is_empty() {
        while !stop.load(Relaxed) && ordered.len() + open.len() < DEPTH {
            if sent % 2 == 0 {
                client.request(ECHO, &body(sent));
                ordered.push_back(sent);
            } else {
                client.send(&correlated(ECHO, sent, &body(sent)));
                open.insert(sent, ());
            }
            sent += 1;
        }
        if ordered.is_empty() && open.is_empty() {
            break;
        }
        let got = client.receive();
        let (number, status, payload) = if got.header == ERROR {
            (ordered.pop_front().expect("a slot"), got.status(), Vec::new())
        } else if got.header & EXT == 0 {
            (ordered.pop_front().expect("a slot"), OK, got.payload)
        } else {
            let said = got.extended();
            let number = said.correlation.expect("all blocks had one");
            open.remove(&number).expect("one reply to each");
            (number, said.status, said.body)
        };
        if status == OK {
            assert!(payload == body(number), "reply {number} of client {seed} is another's");
            answered.fetch_add(1, Relaxed);
        } else {
            assert!([UNAVAILABLE, OUTCOME_UNKNOWN].contains(&status), "{status}");
            failed.fetch_add(1, Relaxed);
        }
    }
    client.finish_sending();
    client.expect_end();
}

#[test]
fn a_backend_that_is_killed_in_mid_traffic_costs_only_what_it_had() {
    let address = nobodys_address();
    let start = || {
        let at = address.to_string();
        Process::start(Command::new(BINARY).args(["serve", "--frames", &at, "--lines", "127.0.0.1:0"]))
    };
    let mut backend = start();
    let serving = relay_with(address, Limits::default(), 2);
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let failed = Arc::new(AtomicU64::new(0));
    let clients: Vec<JoinHandle<()>> = (1..=6)
        .map(|number: u64| {
            let client = serving.connect();
            let (stop, answered, failed) = (Arc::clone(&stop), Arc::clone(&answered), Arc::clone(&failed));
            std::thread::spawn(move || load(client, number << 40, &stop, &answered, &failed))
        })
        .collect();
    let flows = |what: &str| {
        let before = answered.load(Relaxed);
        wait_until(what, || answered.load(Relaxed) > before + 500);
    };
    for round in 0..4 {
        flows("traffic flows");
        let before = failed.load(Relaxed);
        backend.signal(if round % 2 == 0 { Signal::KILL } else { Signal::TERM });
        drop(backend.ended());
        wait_until("the loss is felt", || failed.load(Relaxed) > before);
        backend = start();
    }
    flows("traffic flows again");
    stop.store(true, Relaxed);
    for client in clients {
        client.join().expect("one right reply, or refusal, to each");
    }
    end(serving);
    backend.end();
}

// ---- the relay's own end ----------------------------------------------------------------------------------------

#[test]
fn a_drain_of_the_relay_waits_for_the_backend() {
    let parking = Parking::default();
    let service = parking.clone();
    let backend = Serving::of(builder().shards(1).start(move || service.clone()).expect("a server"));
    let serving = relay(backend.frames());
    let mut client = serving.connect();
    client.send(&[frame(5, b"a"), correlated(5, 1, b"b"), frame(5, b"c")].concat());
    let parked = parking.take(3);
    serving.handle.drain(PATIENCE);
    for parked in parked.into_iter().rev() {
        match &parked.payload[..] {
            b"b" => parked.later.fail(Status::OVERLOADED, "busy"),
            payload => parked.later.send(payload),
        }
    }
    client.expect_extended(5, OVERLOADED, Some(1));
    client.expect(5, b"a");
    client.expect(5, b"c");
    client.expect_goaway(DRAINING);
    drop(client);
    let report = serving.join();
    assert!(report.is_clean(), "{report}");
    backend.wait_for_rest(0);
    backend.end();
}
