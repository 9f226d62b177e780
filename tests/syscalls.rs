//! System calls of a message, counted by strace: the shape of the hot path, which no clock can blur.
//!
//! Claim guarded: a burst costs one read and one write, however many messages it holds; a message alone costs one
//! read, one write, and at most one wait; registering happens once in a connection's life. Deferred requests that are
//! answered together leave in one write a connection, and their answers wake the loop once.

#![cfg(all(feature = "cli", target_os = "linux"))]

mod support;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use support::client::{Client, FLIP, PING, PONG, frame};
use support::pattern;
use support::process::{BINARY, Process, SERVE};
use support::serving::builder;
use tidegate::service::{Cx, Frame, Later, Peer, Replied, Reply, Service};

const CONNECTIONS: usize = 50;

/// Calls by name, with what the start, the banner and the end need.
struct Calls(HashMap<String, u64>);

impl Calls {
    fn of(&self, names: &[&str]) -> u64 {
        names.iter().filter_map(|name| self.0.get(*name)).sum()
    }

    fn reads(&self) -> u64 {
        self.of(&["read", "readv", "recvfrom", "recvmsg"])
    }

    fn writes(&self) -> u64 {
        self.of(&["write", "writev", "sendto", "sendmsg"])
    }

    fn waits(&self) -> u64 {
        self.of(&["epoll_wait", "epoll_pwait", "epoll_pwait2"])
    }
}

/// Whether strace works here. Without it this test shows nothing: that fails where `CI` is true.
#[expect(clippy::print_stderr, reason = "a test that shows nothing must say so")]
fn can_trace() -> bool {
    let tried = Command::new("strace").args(["-c", "-o", "/dev/null", "true"]).output();
    let is_able = tried.is_ok_and(|output| output.status.success());
    if !is_able {
        eprintln!("NOTHING WAS CHECKED: strace is not installed or not permitted here");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "strace must work on CI");
    }
    is_able
}

/// What strace writes about a server, for as long as `talk` talks to it.
fn traced(name: &str, how: &[&str], server: &mut Command, talk: impl FnOnce(SocketAddr)) -> String {
    let file =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("strace-{name}-{}", std::process::id()));
    let mut command = Command::new("strace");
    command.args(["-f", "-o"]).arg(&file).args(how).arg(server.get_program()).args(server.get_args());
    command.envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut server = Process::start(&mut command);
    server.look_behind_tracer();
    talk(server.frames);
    server.end();
    let text = std::fs::read_to_string(&file).expect("strace's output");
    let _ = std::fs::remove_file(&file);
    text
}

/// Counts the calls of a server that is sent `rounds` bursts of `depth` frames on each connection.
fn count(name: &str, depth: usize, rounds: u64) -> Calls {
    let text = traced(name, &["-c"], Command::new(BINARY).args(SERVE), |address| {
        let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| Client::connect(address)).collect();
        for round in 0..rounds {
            let request = pattern(round, 64);
            let mut want = request.clone();
            want[0] ^= 1;
            let burst = frame(FLIP, &request).repeat(depth);
            clients.iter_mut().for_each(|client| client.send(&burst));
            for client in &mut clients {
                (0..depth).for_each(|_| client.expect(FLIP, &want));
            }
        }
    });
    Calls(text.lines().filter_map(call_count).collect())
}

/// A line of the summary: share, seconds, µs a call, calls, maybe errors, name.
fn call_count(line: &str) -> Option<(String, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let name = fields.last().filter(|name| **name != "total")?;
    Some(((*name).to_owned(), fields.get(3)?.parse().ok()?))
}

#[test]
fn a_burst_costs_one_read_and_one_write() {
    if !can_trace() {
        return;
    }
    const DEPTH: usize = 16;
    const ROUNDS: u64 = 30;
    let calls = count("burst", DEPTH, ROUNDS);
    let messages = CONNECTIONS as u64 * DEPTH as u64 * ROUNDS;
    let hot = calls.reads() + calls.writes() + calls.waits();
    assert!(hot * 4 <= messages, "{hot} calls for {messages} messages: {:?}", calls.0);
    check_registrations(&calls);
}

#[test]
fn a_message_alone_costs_one_read_and_one_write() {
    if !can_trace() {
        return;
    }
    const ROUNDS: u64 = 60;
    let calls = count("alone", 1, ROUNDS);
    let messages = CONNECTIONS as u64 * ROUNDS;
    // Beside the messages: libraries and settings at the start, the banner, the end of each connection, signals.
    let beside = 150 + 3 * CONNECTIONS as u64;
    let (reads, writes, waits) = (calls.reads(), calls.writes(), calls.waits());
    assert!(reads <= messages + beside, "{reads} reads for {messages} messages: {:?}", calls.0);
    assert!(writes <= messages + beside, "{writes} writes for {messages} messages: {:?}", calls.0);
    // Never more than one wait for a message; with several connections at once, fewer.
    assert!(waits <= messages + beside, "{waits} waits for {messages} messages: {:?}", calls.0);
    check_registrations(&calls);
}

const LATER: u16 = 5;
const GO: u16 = 6;

/// Defers, until it is told to go: then another thread answers all, while the loop waits for it.
#[derive(Default)]
struct AllAtOnce(Vec<Later>);

impl Service for AllAtOnce {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn on_frame(&mut self, _conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, _cx: &mut Cx<'_>) -> Replied {
        if frame.route() != LATER {
            let waiting = std::mem::take(&mut self.0);
            let answering = std::thread::spawn(|| waiting.into_iter().for_each(|later| later.send(b"now")));
            answering.join().expect("no panic");
            return reply.forward(frame.whole());
        }
        let (later, replied) = reply.defer();
        self.0.push(later.expect("there is room"));
        replied
    }
}

/// Set in the process that is the server of the test below.
const CHILD: &str = "TIDEGATE_TEST_CHILD";

/// That server: runs until it is told to end.
#[expect(clippy::print_stdout, reason = "a banner")]
fn deferring_server() {
    let listeners = builder().shards(1);
    let [frames, lines] = [0, 1].map(|at| listeners.local_addrs()[at].ip().expect("TCP"));
    println!("\nframes {frames}\nlines {lines}");
    listeners.serve(AllAtOnce::default).expect("a clean drain");
}

#[test]
fn answers_of_one_moment_leave_in_one_write_and_wake_once() {
    if std::env::var_os(CHILD).is_some() {
        return deferring_server();
    }
    if !can_trace() {
        return;
    }
    const DEPTH: usize = 4;
    const ROUNDS: usize = 20;
    let mut server = Command::new(std::env::current_exe().expect("this program"));
    server.args(["answers_of_one_moment_leave_in_one_write_and_wake_once", "--exact", "--nocapture"]);
    server.env(CHILD, "1");
    let text = traced("deferred", &["-y", "-e", "trace=write,writev,sendto"], &mut server, |address| {
        let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| Client::connect(address)).collect();
        let mut last = Client::connect(address);
        for _ in 0..ROUNDS {
            clients.iter_mut().for_each(|client| client.send(&frame(LATER, b"x").repeat(DEPTH)));
            // All have come once each of them was echoed behind them.
            clients.iter_mut().for_each(|client| client.send(&frame(PING, b"")));
            clients.iter_mut().for_each(|client| client.expect(PONG, b""));
            last.request(GO, b"go");
            last.expect(GO, b"go");
            for client in &mut clients {
                (0..DEPTH).for_each(|_| client.expect(LATER, b"now"));
            }
        }
    });
    // Behind strace's `-y`: what each descriptor is.
    let to_sockets = text.lines().filter(|line| line.contains("<socket:") || line.contains("<TCP:")).count();
    let wakes = text.lines().filter(|line| line.contains("eventfd")).count();
    let answers = CONNECTIONS * DEPTH * ROUNDS;
    // For each connection and round: its PONG, its answers; and a reply to `go`.
    let want = (2 * CONNECTIONS + 1) * ROUNDS;
    assert!((want..want + 10).contains(&to_sockets), "{to_sockets} writes for {answers} answers");
    assert!((ROUNDS..ROUNDS + 5).contains(&wakes), "{wakes} wakes for {answers} answers");
}

/// Listeners, waker, and each connection once: nothing on the hot path.
fn check_registrations(calls: &Calls) {
    let registrations = calls.of(&["epoll_ctl"]);
    let least = CONNECTIONS as u64 + 3;
    assert!((least..least + 8).contains(&registrations), "{registrations} for {CONNECTIONS} connections");
}

/// Reading the summary is tested where strace itself is not.
#[test]
fn a_summary_is_read_with_and_without_errors() {
    let lines = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000120           1       120           read
 40.00    0.000080           1        80         7 epoll_ctl
------ ----------- ----------- --------- --------- ----------------
100.00    0.000200           1       200         7 total";
    let calls = Calls(lines.lines().filter_map(call_count).collect());
    assert_eq!((calls.reads(), calls.of(&["epoll_ctl"]), calls.0.len()), (120, 80, 2));
}
