//! The end of a server: what it has received is answered, every peer gets a clean end, and the exit code and last
//! line tell the truth about it.

#![cfg(feature = "cli")]

mod support;

use rustix::process::Signal;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;
use support::client::{Client, DRAINING, ECHO, ERROR, EXT, FLIP, GOAWAY, RECEIVED, frame};
use support::extended::{OK, bare_hello, correlated};
use support::parking::Parking;
use support::process::{Ended, Process};
use support::serving::{Gate, Serving, builder};
use support::{PATIENCE, pattern, wait_until};
use tidegate::CloseReason;
use tidegate::base::limits::Limits;
use tidegate::metrics::{Counter, Gauge, Outcome};
use tidegate::service::{Cx, Frame, Later, Peer, Replied, Reply, Service};

/// The end of a drain that went well.
#[track_caller]
fn assert_clean(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let last = ended.last_line();
    assert!(last.contains(", 0 forced, 0 requests lost"), "{last}");
}

/// Requests that have arrived are answered, however slowly, before the end.
#[test]
fn received_requests_are_answered_before_the_end() {
    const REQUESTS: u64 = 5;
    let running = builder().start_fn(|frame, reply| {
        std::thread::sleep(Duration::from_millis(200));
        reply.forward(frame.whole())
    });
    let serving = Serving::of(running.expect("a server"));
    let mut clients = [serving.connect(), serving.connect()];
    for client in &mut clients {
        client.send(&(0..REQUESTS).flat_map(|number| frame(9, &pattern(number, 50))).collect::<Vec<_>>());
    }
    let mut idle = serving.connect();
    let mut line = serving.connect_lines();
    serving.wait_for("the first batch runs or ran", |now| now.counter(Counter::Accepted) == 4);
    serving.handle.drain(PATIENCE);
    for client in &mut clients {
        for number in 0..REQUESTS {
            client.expect(9, &pattern(number, 50));
        }
        client.expect_goaway(DRAINING);
    }
    idle.expect_goaway(DRAINING);
    line.expect_end();
    drop((clients, idle, line));
    let handle = serving.handle.clone();
    let report = serving.join();
    assert!(report.is_clean(), "{report}");
    let now = handle.snapshot();
    assert_eq!(now.outcome(Outcome::Answered), 2 * REQUESTS);
    assert_eq!(now.closes(CloseReason::Drained), 4);
}

/// The same in a process of its own, told by a signal as soon as everything was sent.
#[test]
fn a_signal_loses_nothing_that_was_sent_before() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Process::serve(&[]);
        let mut clients: Vec<_> = (0..10).map(|_| Client::connect(server.frames)).collect();
        let mut lines = Client::connect(server.lines);
        for client in &mut clients {
            // Shows that it was accepted.
            client.echo(b"here");
            client.send(&(0..300).flat_map(|number| frame(FLIP, &pattern(number, 64))).collect::<Vec<_>>());
        }
        lines.send(b"one\ntwo\nthree\n");
        server.signal(signal);
        for client in &mut clients {
            for number in 0..300 {
                let mut want = pattern(number, 64);
                want[0] ^= 1;
                client.expect(FLIP, &want);
            }
            client.expect_goaway(DRAINING);
        }
        for _ in 0..3 {
            lines.expect_line(RECEIVED);
        }
        lines.expect_end();
        drop((clients, lines));
        let ended = server.ended();
        assert_clean(&ended);
        assert!(ended.last_line().contains("11 connections ended in order"), "{}", ended.last_line());
    }
}

/// Connections that are in the accept queue when the drain begins belong to it.
#[test]
fn connections_not_yet_accepted_are_drained_too() {
    let gate = Gate::default();
    let serving = Serving::gated(builder().shards(1), &gate);
    let mut first = serving.connect();
    first.request(9, b"slow");
    gate.wait_for_handler();
    let mut queued: Vec<_> = (0..20).map(|_| serving.connect()).collect();
    queued[0].request(9, b"from the queue");
    serving.handle.drain(PATIENCE);
    gate.open();
    first.expect(9, b"slow");
    queued[0].expect(9, b"from the queue");
    for client in queued.iter_mut().chain([&mut first]) {
        client.expect_goaway(DRAINING);
    }
    drop((queued, first));
    let report = serving.join();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.drained, 21);
}

/// Replies that wait for a slow reader, requests that wait in the kernel because of that, and half a frame behind
/// them: the reader gets its time, and all that it is due.
#[test]
fn a_paused_connection_is_drained_to_its_end() {
    const BYTES: usize = 20_000;
    let serving = Serving::embedded();
    let mut slow = Client::connect_narrow(serving.frames(), 4096);
    let mut sent = 0;
    let mut send = |slow: &mut Client| {
        slow.request(ECHO, &pattern(sent, BYTES));
        sent += 1;
    };
    wait_until("reading it is paused", || {
        send(&mut slow);
        serving.snapshot().counter(Counter::PausedOutput) > 0
    });
    (0..5).for_each(|_| send(&mut slow));
    slow.send(&frame(ECHO, &pattern(0, BYTES))[..1000]);
    wait_until("all has arrived", || slow.bytes_unsent() == 0);
    let mut half = serving.connect();
    half.send(&frame(ECHO, b"half")[..9]);
    serving.wait_for("both are there", |now| now.counter(Counter::Accepted) == 2);
    serving.handle.drain(PATIENCE);
    half.expect_goaway(DRAINING);
    for number in 0..sent {
        slow.expect(ECHO, &pattern(number, BYTES));
    }
    slow.expect_goaway(DRAINING);
    drop((slow, half));
    let report = serving.join();
    assert!(report.is_clean(), "{report}");
}

/// How many drains there are at random moments: as many as the suite has time for, or `TIDEGATE_TEST_DRAINS`.
fn rounds(usual: u64) -> u64 {
    std::env::var("TIDEGATE_TEST_DRAINS").map_or(usual, |text| text.parse().expect("a number of drains"))
}

/// What a client under load saw until its end.
struct Seen {
    answered: u64,
    unanswered: u64,
}

/// Keeps `depth` requests going until GOAWAY; then the end must follow. Any wrong, missing or late reply, and any
/// reset, panics.
fn load(mut client: Client, seed: u64, depth: u64, replies: &AtomicU64) -> Seen {
    let request = |number: u64| {
        let bytes = 20 + number * 7 % 300;
        pattern(seed + number, usize::try_from(bytes).expect("a few hundred"))
    };
    let (mut sent, mut answered) = (0, 0);
    loop {
        let mut more = Vec::new();
        while sent < answered + depth {
            more.extend(frame(ECHO, &request(sent)));
            sent += 1;
        }
        client.send(&more);
        // Half of them, so that requests are always on their way.
        while sent - answered > depth / 2 {
            let got = client.receive();
            if got.header == GOAWAY {
                assert_eq!(got.status(), DRAINING);
                client.expect_end();
                return Seen { answered, unanswered: sent - answered };
            }
            assert_eq!(got.header, ECHO);
            assert!(got.payload == request(answered), "reply {answered} of client {seed} is wrong");
            answered += 1;
            replies.fetch_add(1, Relaxed);
        }
    }
}

/// Plain clients under load: what the server has read it has answered; what a client is missing was never read.
#[test]
fn a_drain_at_any_moment_under_load_loses_nothing() {
    const DEPTHS: [u64; 6] = [2, 4, 16, 64, 200, 1000];
    for round in 0..rounds(10) {
        let server = Process::serve(&[]);
        let replies = Arc::new(AtomicU64::new(0));
        let clients: Vec<JoinHandle<Seen>> = (1..)
            .zip(DEPTHS)
            .map(|(number, depth): (u64, u64)| {
                let (client, replies) = (Client::connect(server.frames), Arc::clone(&replies));
                std::thread::spawn(move || load(client, number << 40, depth, &replies))
            })
            .collect();
        wait_until("load is on", || replies.load(Relaxed) > 500);
        std::thread::sleep(Duration::from_micros(round * 3_700 % 40_000));
        server.signal(Signal::TERM);
        let seen: Vec<Seen> = clients
            .into_iter()
            .map(|client| client.join().expect("right replies in order, GOAWAY, the end"))
            .collect();
        let ended = server.ended();
        assert_clean(&ended);
        assert!(ended.last_line().contains("6 connections ended in order"), "{}", ended.last_line());
        let (answered, unanswered) =
            seen.iter().fold((0, 0), |sum, one| (sum.0 + one.answered, sum.1 + one.unanswered));
        assert_eq!(answered, replies.load(Relaxed));
        assert!(unanswered <= DEPTHS.iter().sum(), "more are missing than were on their way");
    }
}

/// What a client that said HELLO saw of a drain.
struct Told {
    answered: u64,
    refused: u64,
}

/// Keeps `depth` requests going, correlated and not, until GOAWAY and for a while behind it; then waits for what is
/// open, and closes. Each request must have its reply, or DRAINING, and what was refused is followed by refusals.
fn greeted_load(mut client: Client, seed: u64, depth: u64, replies: &AtomicU64) -> Told {
    client.hello();
    let payload = |number: u64| pattern(seed + number, usize::try_from(20 + number * 7 % 300).expect("few"));
    let (mut sent, mut told, mut is_leaving) = (0, Told { answered: 0, refused: 0 }, None);
    let (mut ordered, mut open) = (VecDeque::new(), HashMap::new());
    // Behind the first refusal, of either kind, everything is refused.
    let mut refused_from = u64::MAX;
    loop {
        let mut more = Vec::new();
        while sent < is_leaving.unwrap_or(u64::MAX) && ((ordered.len() + open.len()) as u64) < depth {
            if sent % 3 == 0 {
                more.extend(frame(ECHO, &payload(sent)));
                ordered.push_back(sent);
            } else {
                more.extend(correlated(ECHO, seed ^ sent, &payload(sent)));
                open.insert(seed ^ sent, sent);
            }
            sent += 1;
        }
        client.send(&more);
        if ordered.is_empty() && open.is_empty() {
            client.finish_sending();
            client.expect_end();
            return told;
        }
        let got = client.receive();
        if got.header == GOAWAY {
            assert_eq!((got.status(), is_leaving), (DRAINING, None));
            is_leaving = Some(sent + depth / 2);
            continue;
        }
        let (number, status, body) = if got.header & EXT != 0 && got.header != ERROR {
            let reply = got.extended();
            let id = reply.correlation.expect("all blocks had one");
            (open.remove(&id).expect("one reply to each"), reply.status, reply.body)
        } else {
            let number = ordered.pop_front().expect("one reply to each");
            if got.header == ERROR { (number, got.status(), Vec::new()) } else { (number, OK, got.payload) }
        };
        if status == OK {
            assert!(body == payload(number), "reply {number} of client {seed} is wrong");
            assert!(number < refused_from, "{number} was started behind {refused_from}, which was refused");
            told.answered += 1;
            replies.fetch_add(1, Relaxed);
        } else {
            assert_eq!(status, DRAINING);
            refused_from = refused_from.min(number);
            told.refused += 1;
        }
    }
}

/// Clients that said HELLO, under load: each request is answered or refused, none is lost, and all are told at once.
#[test]
fn greeted_clients_lose_no_request_at_all() {
    const DEPTHS: [u64; 6] = [1, 4, 16, 64, 200, 1000];
    let mut refused = 0;
    for round in 0..rounds(8) {
        // The grace is longer than the clients' patience: nobody is told only by its end.
        let server = Process::serve(&["--grace", "100"]);
        let replies = Arc::new(AtomicU64::new(0));
        let clients: Vec<JoinHandle<Told>> = (1..)
            .zip(DEPTHS)
            .map(|(number, depth): (u64, u64)| {
                let (client, replies) = (Client::connect(server.frames), Arc::clone(&replies));
                std::thread::spawn(move || greeted_load(client, number << 40, depth, &replies))
            })
            .collect();
        let mut idle = Client::connect(server.frames);
        idle.hello();
        wait_until("load is on", || replies.load(Relaxed) > 500);
        std::thread::sleep(Duration::from_micros(round * 3_700 % 40_000));
        server.signal(Signal::TERM);
        let told = idle.receive();
        assert_eq!((told.header, told.status()), (GOAWAY, DRAINING));
        idle.send(&correlated(ECHO, 1, b"too late"));
        idle.expect_extended(ECHO, DRAINING, Some(1));
        for client in clients {
            refused += client.join().expect("a reply or DRAINING for each, and the end").refused;
        }
        drop(idle);
        let ended = server.ended();
        assert_clean(&ended);
        assert!(ended.last_line().contains("7 connections ended in order"), "{}", ended.last_line());
    }
    assert!(refused > 0, "nobody sent anything behind the drain's begin");
}

/// Answers after this long, by a timer.
const SLOW: Duration = Duration::from_millis(200);

/// Lets every request wait for a timer.
#[derive(Default)]
struct Slow(VecDeque<(Later, Vec<u8>)>);

impl Service for Slow {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn on_frame(&mut self, _conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        let (later, replied) = reply.defer();
        self.0.push_back((later.expect("there is room"), frame.payload().to_vec()));
        cx.arm(SLOW, 0).expect("there is room");
        replied
    }

    fn on_timer(&mut self, _tag: u64, cx: &mut Cx<'_>) {
        let (later, payload) = self.0.pop_front().expect("a timer for each");
        cx.answer(later, &payload);
    }
}

/// The same for requests that wait: with nobody sending, as many replies as requests.
#[test]
fn requests_that_wait_are_answered_before_the_end() {
    const REQUESTS: u64 = 40;
    let serving = Serving::of(builder().start(Slow::default).expect("a server"));
    let (mut plain, mut greeted, mut lines) = (serving.connect(), serving.connect(), serving.connect_lines());
    greeted.hello();
    let numbers = || (0..REQUESTS).map(u64::to_be_bytes);
    plain.send(&numbers().flat_map(|number| frame(9, &number)).collect::<Vec<_>>());
    greeted.send(&(0..REQUESTS).flat_map(|number| correlated(9, number, b"x")).collect::<Vec<_>>());
    lines.send(&(0..REQUESTS).flat_map(|number| format!("{number}\n").into_bytes()).collect::<Vec<_>>());
    serving.wait_for("all were received", |now| now.counter(Counter::Started) == 3 * REQUESTS);
    serving.handle.drain(PATIENCE);
    let first = greeted.receive();
    if first.header == GOAWAY {
        assert_eq!(first.status(), DRAINING);
        (0..REQUESTS).for_each(|number| assert_eq!(greeted.expect_extended(9, OK, Some(number)), b"x"));
    } else {
        // Some were answered before the drain began.
        let mut left = REQUESTS - 1;
        while left > 0 {
            left -= u64::from(greeted.receive().header != GOAWAY);
        }
    }
    numbers().for_each(|number| plain.expect(9, &number));
    plain.expect_goaway(DRAINING);
    (0..REQUESTS).for_each(|number| lines.expect_line(number.to_string().as_bytes()));
    lines.expect_end();
    greeted.finish_sending();
    greeted.expect_end();
    drop((plain, greeted, lines));
    let handle = serving.handle.clone();
    let report = serving.join();
    assert!(report.is_clean() && report.drained == 3, "{report}");
    assert_eq!(handle.snapshot().outcome(Outcome::Answered), 3 * REQUESTS);
}

/// Who says HELLO to a server that drains already is told, too; else it would wait for the end of the grace.
#[test]
fn who_says_hello_in_a_drain_is_told_of_it() {
    let gate = Gate::default();
    let held = gate.clone();
    let running = builder().shards(1).start_fn(move |frame, reply| {
        if frame.payload() == b"slow" {
            held.wait();
        }
        reply.forward(frame.whole())
    });
    let serving = Serving::of(running.expect("a server"));
    let mut first = serving.connect();
    first.request(9, b"slow");
    gate.wait_for_handler();
    let (mut queued, mut silent) = (serving.connect(), serving.connect());
    queued.send(&[bare_hello(), frame(9, b"at once")].concat());
    silent.send(&bare_hello());
    serving.handle.drain(2 * PATIENCE);
    gate.open();
    for (client, requests) in [(&mut queued, 1), (&mut silent, 0)] {
        client.expect_welcome();
        let told = client.receive();
        assert_eq!((told.header, told.status()), (GOAWAY, DRAINING));
        (0..requests).for_each(|_| client.expect_error(DRAINING));
        client.request(9, b"more");
        client.expect_error(DRAINING);
        client.finish_sending();
        client.expect_end();
    }
    first.expect(9, b"slow");
    first.expect_goaway(DRAINING);
    drop((first, queued, silent));
    let report = serving.join();
    assert!(report.is_clean() && report.drained == 3, "{report}");
}

/// A request that nobody answers holds the drain up to the end of its grace, and is told as lost; one whose requester
/// has gone is not.
#[test]
fn requests_that_are_open_at_the_end_of_the_grace_are_lost() {
    for (name, is_reset, lost) in [("it waits", false, 3), ("it is gone", true, 0)] {
        let parking = Parking::default();
        let service = parking.clone();
        let limits = Limits { request_deadline: PATIENCE, ..Limits::default() };
        let serving = Serving::of(builder().limits(limits).start(move || service.clone()).expect("a server"));
        let mut client = serving.connect();
        client.send(&[frame(1, b"a"), correlated(1, 1, b"b"), frame(1, b"c")].concat());
        let parked = parking.take(3);
        serving.handle.drain(Duration::from_millis(300));
        if is_reset {
            socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).expect("an option");
            drop(client);
        }
        let handle = serving.handle.clone();
        let report = serving.join();
        assert_eq!((report.forced, report.lost), (u64::from(!is_reset), lost), "case: {name}: {report}");
        let now = handle.snapshot();
        assert_eq!((now.outcome(Outcome::Abandoned), now.gauge(Gauge::InFlight)), (3, 0), "case: {name}");
        // Nobody takes these any more.
        parked.into_iter().for_each(|parked| parked.later.send(b"too late"));
    }
}

/// A client that goes on sending while the server lingers is no reason for a reset before it has read the end.
#[test]
fn who_sends_on_after_the_end_still_reads_it() {
    let serving = Serving::embedded();
    let mut client = serving.connect();
    client.echo(b"here");
    let stop = Arc::new(AtomicBool::new(false));
    let mut writer = client.stream.try_clone().expect("a second descriptor");
    let told = Arc::clone(&stop);
    let sending = std::thread::spawn(move || {
        while !told.load(Relaxed) && std::io::Write::write_all(&mut writer, &frame(ECHO, b"more")).is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    for _ in 0..20 {
        client.expect(ECHO, b"more");
    }
    serving.handle.drain(PATIENCE);
    let last = loop {
        let got = client.receive();
        if got.header != ECHO {
            break got;
        }
    };
    assert_eq!((last.header, last.status()), (GOAWAY, DRAINING));
    client.expect_end();
    stop.store(true, Relaxed);
    sending.join().expect("no panic");
    drop(client);
    let report = serving.join();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn a_second_signal_aborts() {
    for (first, second) in
        [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM), (Signal::TERM, Signal::INT)]
    {
        let mut server = Process::serve(&["--log-format", "text"]);
        let mut client = deaf(&server);
        server.signal(first);
        // Only once the drain has begun is the next signal a second one: equal signals merge while one is pending.
        client.wait_for_refusal(&server);
        assert!(server.is_running(), "a client that does not read holds the drain up");
        server.signal(second);
        let ended = server.ended();
        assert_eq!(ended.code, Some(130), "{}", ended.errors);
    }
}

/// Who never reads is cut off when the grace is over, and that is told.
#[test]
fn a_client_that_never_reads_makes_the_drain_forced() {
    let server = Process::serve(&["--grace", "0.5"]);
    let client = deaf(&server);
    let mut good = Client::connect(server.frames);
    good.echo(b"here");
    server.signal(Signal::TERM);
    good.expect_goaway(DRAINING);
    drop(good);
    let ended = server.ended();
    assert_eq!(ended.code, Some(1), "{}", ended.errors);
    let last = ended.last_line();
    assert!(last.contains("1 connections ended in order, 1 forced, "), "{last}");
    assert!(!last.contains(" 0 requests lost"), "replies were queued for it: {last}");
    client.over();
}

/// A client that has sent much, with its replies waiting in the server, and reads nothing.
struct Deaf {
    client: Client,
    sending: support::client::Sending,
}

fn deaf(server: &Process) -> Deaf {
    let mut client = Client::connect_narrow(server.frames, 4096);
    client.echo(b"here");
    let stream: Vec<u8> = (0..300).flat_map(|number| frame(ECHO, &pattern(number, 60_000))).collect();
    let sending = client.send_beside(stream, false);
    // The server has stopped reading it when the client's own bytes stay in its kernel.
    let mut before = u64::MAX;
    wait_until("the server reads it no more", || {
        std::thread::sleep(Duration::from_millis(100));
        let queued = client.bytes_unsent();
        let is_stuck = queued > 0 && queued == before;
        before = queued;
        is_stuck
    });
    Deaf { client, sending }
}

impl Deaf {
    /// Listening has ended, so the drain has begun.
    fn wait_for_refusal(&mut self, server: &Process) {
        wait_until("nobody listens any more", || std::net::TcpStream::connect(server.frames).is_err());
    }

    fn over(self) {
        drop(self.client);
        self.sending.over();
    }
}
