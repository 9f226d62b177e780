//! The end of a server: what it has received is answered, every peer gets a clean end, and the exit code and last
//! line tell the truth about it.

#![cfg(feature = "cli")]

mod support;

use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;
use support::client::{Client, DRAINING, ECHO, FLIP, GOAWAY, RECEIVED, frame};
use support::process::{Ended, Process};
use support::serving::{Gate, Serving, builder};
use support::{PATIENCE, pattern, wait_until};
use tidegate::CloseReason;
use tidegate::metrics::{Counter, Outcome};

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
    let held = gate.clone();
    let running = builder().shards(1).start_fn(move |frame, reply| {
        held.wait();
        reply.forward(frame.whole())
    });
    let serving = Serving::of(running.expect("a server"));
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
    for round in 0..10_u64 {
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
        std::thread::sleep(Duration::from_micros(round * 3_700));
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
