//! Hot restarts of the program: nobody is refused, nothing is lost, and whatever becomes of the next process, one of the
//! two serves.

#![cfg(all(feature = "cli", target_os = "linux"))]

#[path = "restart/line.rs"]
mod line;
mod support;

use line::{Line, Place};
use rustix::process::{Pid, Signal, test_kill_process};
use std::collections::VecDeque;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use support::client::{Client, DRAINING, ECHO, ERROR, EXT, GOAWAY, frame};
use support::extended::{OK, WELCOME, bare_hello, correlated};
use support::process::{BINARY, run};
use support::{PATIENCE, pattern, wait_until};

/// How many restarts there are under load; the suite has time for twenty.
fn restarts() -> u64 {
    std::env::var("TIDEGATE_TEST_RESTARTS").map_or(20, |text| text.parse().expect("a number of restarts"))
}

/// What became of the requests and connections of all clients.
#[derive(Debug, Default)]
struct Ledger {
    sent: AtomicU64,
    answered: AtomicU64,
    refused: AtomicU64,
    /// Told by GOAWAY and the end before any request of their connection was looked at.
    turned_away: AtomicU64,
    connections: AtomicU64,
    /// Ended in order before their HELLO was looked at.
    not_greeted: AtomicU64,
    longest_delay_ms: AtomicU64,
}

/// One connection that says HELLO and keeps `depth` requests going until it is told to go, or all is over. Each request
/// is answered, refused with DRAINING, or the connection was turned away as a whole.
fn converse(ledger: &Ledger, stream: TcpStream, seed: u64, depth: usize, over: &AtomicBool) {
    let mut client = Client::over(stream);
    ledger.connections.fetch_add(1, Relaxed);
    client.send(&bare_hello());
    match client.next_frame() {
        Some(got) if got.header == WELCOME => {}
        Some(got) => {
            assert_eq!((got.header, got.status()), (GOAWAY, DRAINING), "{got:?}");
            client.expect_end();
            ledger.not_greeted.fetch_add(1, Relaxed);
            return;
        }
        None => {
            ledger.not_greeted.fetch_add(1, Relaxed);
            return;
        }
    }
    let payload = |number: u64| pattern(seed + number, usize::try_from(20 + number * 7 % 300).expect("few"));
    let (mut sent, mut done, mut is_leaving, mut open) = (0, 0, false, VecDeque::new());
    loop {
        is_leaving |= over.load(Relaxed);
        if !is_leaving {
            let mut more = Vec::new();
            while open.len() < depth {
                more.extend(frame(ECHO, &payload(sent)));
                open.push_back(sent);
                sent += 1;
                ledger.sent.fetch_add(1, Relaxed);
            }
            client.send(&more);
        }
        if open.is_empty() {
            client.finish_sending();
            while let Some(got) = client.next_frame() {
                assert_eq!(got.header, GOAWAY, "{got:?}");
            }
            return;
        }
        let Some(got) = client.next_frame() else {
            assert!(is_leaving && done == 0, "{open:?} have no answer behind {done} that have");
            ledger.turned_away.fetch_add(open.len() as u64, Relaxed);
            return;
        };
        if got.header == GOAWAY {
            assert_eq!(got.status(), DRAINING);
            let delay_ms = u32::from_be_bytes(got.payload[2..6].try_into().expect("four bytes"));
            ledger.longest_delay_ms.fetch_max(delay_ms.into(), Relaxed);
            is_leaving = true;
            continue;
        }
        let number = open.pop_front().expect("one reply to each");
        done += 1;
        if got.header == ERROR {
            assert_eq!(got.status(), DRAINING);
            ledger.refused.fetch_add(1, Relaxed);
        } else {
            assert!(got.payload == payload(number), "reply {number} is wrong");
            ledger.answered.fetch_add(1, Relaxed);
        }
    }
}

/// Restarts at any moment, under load of clients that stay and of clients that come and go, by TCP and by a path.
#[test]
#[expect(clippy::print_stdout, reason = "with --nocapture it says how much there was")]
fn restarts_under_load_refuse_nobody_and_lose_nothing() {
    const RATE: &str =
        "[server]\nshards = 2\ndrain.reconnect_rate = 100\n[[route]]\nheaders = 1\nservice = \"echo\"\n";
    let place = Place::new();
    let config = place.write("tidegate.toml", RATE);
    let mut line = Line::start(&["--config", config.to_str().expect("UTF-8"), "--grace", "100"]);
    let (ledger, over) = (Arc::new(Ledger::default()), Arc::new(AtomicBool::new(false)));
    let mut clients = Vec::new();
    for (number, depth) in (1..).zip([1, 4, 16, 64, 200]) {
        let (ledger, over, at) = (Arc::clone(&ledger), Arc::clone(&over), line.frames);
        clients.push(std::thread::spawn(move || {
            while !over.load(Relaxed) {
                let stream = TcpStream::connect_timeout(&at, PATIENCE).expect("nobody is refused");
                converse(&ledger, stream, number << 40, depth, &over);
            }
        }));
    }
    // One that comes and goes all the time, one at the path.
    let (shared, ends, at) = (Arc::clone(&ledger), Arc::clone(&over), line.frames);
    clients.push(std::thread::spawn(move || {
        while !ends.load(Relaxed) {
            let stream = TcpStream::connect_timeout(&at, PATIENCE).expect("nobody is refused");
            converse(&shared, stream, 77, 1, &AtomicBool::new(true));
        }
    }));
    let (ends, path) = (Arc::clone(&over), line.lines());
    clients.push(std::thread::spawn(move || {
        while !ends.load(Relaxed) {
            UnixStream::connect(&path).expect("nobody is refused");
            let mut client = Client::connect_unix(&path);
            client.send(b"hello\n");
            // Or the end in order, if it came to a server that drains.
            let _ = client.next_line();
        }
    }));
    for round in 0..restarts() {
        let before = ledger.answered.load(Relaxed);
        wait_until("load is on", || ledger.answered.load(Relaxed) > before + 300);
        std::thread::sleep(Duration::from_micros(round * 3_700 % 40_000));
        line.restart(&[]);
    }
    over.store(true, Relaxed);
    clients.into_iter().for_each(|client| client.join().expect("every request has its outcome"));
    let figure = |figure: &AtomicU64| figure.load(Relaxed);
    let Ledger { sent, answered, refused, turned_away, .. } = &*ledger;
    assert_eq!(figure(sent), figure(answered) + figure(refused) + figure(turned_away), "{ledger:?}");
    // Some eight connections, of which a hundred may come back in a second.
    assert!((1..=150).contains(&figure(&ledger.longest_delay_ms)), "{ledger:?}");
    let errors = line.errors();
    assert_eq!(errors.matches(", 0 forced, 0 requests lost").count() as u64, restarts(), "{errors}");
    println!("{} restarts: {ledger:?}", restarts());
    line.end();
}

/// Nothing that keeps the next process from serving disturbs this one.
#[test]
fn a_next_process_that_fails_leaves_the_old_one_untouched() {
    let line = Line::start(&[]);
    let mut kept = Client::connect(line.frames);
    kept.hello();
    let place = Place::new();
    let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = other.local_addr().expect("it is bound");
    let text = format!("[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"{taken}\"\n");
    let conflict = place.write("conflict.toml", &text);
    let wrong = place.write("wrong.toml", "[server]\nshard = 3\n");
    let ends = place.script("ends", "echo 'no time' >&2; exit 3");
    let path = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    #[rustfmt::skip]
    let table = [
        ("a configuration with a mistake", ["--config", &path(&wrong)],        2,  "did you mean `shards`"),
        ("a port that is taken",           ["--config", &path(&conflict)],     69, "(exit status: 69)"),
        ("no such program",                ["--binary", "/nonexistent/it"],    69, "cannot be started"),
        ("another program",                ["--binary", &path(&ends)],         69, "(exit status: 3)"),
        ("what is no program",             ["--binary", &path(&wrong)],        69, "cannot be started"),
    ];
    for (name, arguments, code, words) in table {
        let (got, out, errors) = line.upgrade(&arguments);
        assert_eq!(got, Some(code), "case: {name}: {errors}");
        assert!(errors.contains(words) && out.is_empty(), "case: {name}: {errors}");
        kept.echo(b"as before");
        Client::connect(line.frames).echo(b"as before");
    }
    let (code, _, errors) = run(Command::new(BINARY).args(["upgrade", "--at", "/nonexistent/up.sock"]));
    assert_eq!(code, Some(69), "{errors}");
    assert!(errors.contains("no server takes upgrades at /nonexistent/up.sock"), "{errors}");
    drop(kept);
    line.end();
}

#[test]
fn a_rehearsal_changes_nothing() {
    let line = Line::start(&["--admin", "127.0.0.1:0"]);
    let mut kept = Client::connect(line.frames);
    kept.hello();
    for _ in 0..3 {
        let (code, out, errors) = line.upgrade(&["--rehearse"]);
        assert_eq!(
            (code, out.as_str()),
            (Some(0), "rehearsed: the next process would be ready; nothing has changed\n")
        );
        assert!(errors.is_empty(), "{errors}");
        kept.echo(b"as before");
    }
    let place = Place::new();
    let wrong = place.script("ends", "exit 1");
    let (code, ..) = line.upgrade(&["--rehearse", "--binary", wrong.to_str().expect("UTF-8")]);
    assert_eq!(code, Some(69));
    let out = std::fs::read_to_string(line.place.path("out")).expect("its own file");
    assert_eq!(out.matches("frames").count(), 1, "nobody else came up: {out}");
    Client::connect_unix(&line.lines()).send(b"hello\n");
    drop(kept);
    line.end();
}

/// The second is told who is on the way, and when the first has failed, there may be another.
#[test]
fn there_is_one_upgrade_at_once() {
    let mut line = Line::start(&[]);
    let place = Place::new();
    let hangs = place.script("hangs", "exec sleep 1000");
    let mut command = line.upgrade_command();
    command.arg("--binary").arg(&hangs);
    let first = std::thread::spawn(move || run(&mut command));
    let mut started = None;
    wait_until("the first was started", || {
        started = line.started();
        started.is_some()
    });
    let (code, _, errors) = line.upgrade(&[]);
    assert_eq!(code, Some(69));
    assert!(errors.contains("is taking over already; try again when that is over"), "{errors}");
    line.signal(started.expect("waited for"), Signal::KILL);
    let (code, _, errors) = first.join().expect("no panic");
    assert_eq!(code, Some(69));
    assert!(errors.contains("the new process ended before it served (signal: 9 (SIGKILL))"), "{errors}");
    Client::connect(line.frames).echo(b"as before");
    line.restart(&[]);
    line.end();
}

/// SIGTERM or SIGKILL to the old process at any moment of an upgrade: either it ended first, and nobody serves; or the next
/// one serves. Never both, never a process that hangs, never a file that a drain leaves behind.
#[test]
fn a_signal_to_the_old_process_during_an_upgrade_ends_it_alone() {
    let mut went_on = 0;
    for round in 0..24_u64 {
        let (signal, want) = if round % 2 == 0 { (Signal::TERM, Some(0)) } else { (Signal::KILL, None) };
        let mut line = Line::start(&[]);
        let mut command = line.upgrade_command();
        let asked = std::thread::spawn(move || run(&mut command));
        // Densely at first, and long after the last step of an upgrade at the end, however slow this machine is.
        std::thread::sleep(Duration::from_millis(round * round));
        line.signal(line.pid, signal);
        let (code, out, errors) = asked.join().expect("no panic");
        // A signal that came too late found it drained.
        let ended = line.ended(line.pid);
        let is_over = code == Some(0) && ended == Some(0);
        assert!(ended == want || is_over, "round {round}: {ended:?}, {}", line.errors());
        let Some(next) = line.started() else {
            assert_ne!(code, Some(0), "{errors}");
            wait_until("nobody serves", || TcpStream::connect(line.frames).is_err());
            continue;
        };
        if code == Some(0) {
            assert!(out.contains("serves, generation 2"), "{out}");
        }
        // Else either it gave up, or it had been ready and goes on alone: then it serves.
        wait_until("the next process serves or has ended", || has_ended(next) || line.banners() == 2);
        if !has_ended(next) {
            went_on += 1;
            line.adopt(next);
            Client::connect(line.frames).echo(b"the next one");
            line.end();
        } else {
            assert_ne!(code, Some(0), "it said that it served");
        }
    }
    assert!(went_on > 0, "no signal came late enough for the next process");
}

/// A child that has ended and was not waited for has no threads any more.
fn has_ended(pid: Pid) -> bool {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    let stat = std::fs::read_to_string(path).unwrap_or_default();
    test_kill_process(pid).is_err()
        || stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// SIGKILL to the next process at any moment: the old one goes on, unless the next one served already.
#[test]
fn a_next_process_that_dies_leaves_the_old_one_serving() {
    for round in 0..12_u64 {
        let line = Line::start(&[]);
        let mut kept = Client::connect(line.frames);
        kept.hello();
        let mut command = line.upgrade_command();
        let asked = std::thread::spawn(move || run(&mut command));
        let mut next = None;
        wait_until("the next process was started", || {
            next = line.started();
            next.is_some()
        });
        std::thread::sleep(Duration::from_millis(round * 2));
        let _ = rustix::process::kill_process(next.expect("waited for"), Signal::KILL);
        let (code, ..) = asked.join().expect("no panic");
        if code == Some(0) {
            // It came too late.
            let got = kept.receive();
            assert_eq!((got.header, got.status()), (GOAWAY, DRAINING));
            drop(kept);
            assert_eq!(line.ended(line.pid), Some(0));
            continue;
        }
        assert_eq!(code, Some(69), "round {round}");
        kept.echo(b"as before");
        Client::connect(line.frames).echo(b"as before");
        drop(kept);
        line.end();
    }
}

/// Each configuration's number of loops is had, on the same port, with the same path.
#[test]
fn the_number_of_loops_may_change() {
    let place = Place::new();
    let config = |loops: &str| {
        let text = format!("[server]\nshards = {loops}\n[[route]]\nheaders = 1\nservice = \"echo\"\n");
        let path = place.write(&format!("{loops}.toml"), &text);
        path.to_str().expect("UTF-8").to_owned()
    };
    let mut line = Line::start(&["--config", &config("1")]);
    drop(Client::connect(line.frames));
    for loops in ["1", "3", "2", "1"] {
        line.restart(&["--config", &config(loops)]);
        let out = std::fs::read_to_string(line.place.path("out")).expect("its own file");
        let last = out.rmatch_indices("shards ").next().expect("a banner").0;
        assert!(out[last..].starts_with(&format!("shards   {loops} event loop")), "{out}");
        let mut client = Client::connect(line.frames);
        client.echo(b"the next one");
        let mut line_client = Client::connect_unix(&line.lines());
        line_client.send(b"hello\n");
        // The file has no route for lines but that of frames.
        assert!(line_client.next_line().is_some_and(|line| line.starts_with(b"ERR")));
    }
    line.end();
}

/// Figures are the next process's as soon as that serves, at the same port.
#[test]
fn the_admin_port_goes_on_at_its_address() {
    let mut line = Line::start(&["--admin", "127.0.0.1:0"]);
    let address = line.address("admin").expect("an admin port");
    let address = address.strip_prefix("http://").expect("it is HTTP").parse().expect("IP and port");
    for _ in 0..3 {
        assert_eq!(support::admin::get(address, "/healthz").status, 200);
        line.restart(&[]);
    }
    let answer = support::admin::get(address, "/metrics");
    assert!(answer.body.contains("tidegate_connections_used"), "{}", answer.body);
    line.end();
}

/// Only the first server of a path has it.
#[test]
fn two_servers_do_not_share_an_upgrade_socket() {
    let line = Line::start(&[]);
    let (code, _, errors) = run(Command::new(BINARY)
        .args(["serve", "--frames", "127.0.0.1:0", "--lines", "127.0.0.1:0", "--admin", "off"])
        .env("TIDEGATE_SERVER__UPGRADE", line.socket()));
    assert_eq!(code, Some(69));
    assert!(errors.contains("cannot take upgrades at"), "{errors}");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(line.socket()).expect("its file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    line.end();
}

/// What a service manager hears of a service that is restarted: who it is, that it is ready, that it lives, and its end.
/// The sockets are the manager's, and a connection that came before there was a process is served.
#[test]
fn a_service_manager_passes_sockets_and_hears_of_every_step() {
    let place = Place::new();
    let told = UnixDatagram::bind(place.path("notify")).expect("a free path");
    told.set_read_timeout(Some(PATIENCE)).expect("an option of a fresh socket");
    // Listens, as systemd does, and becomes the server with the sockets as descriptors 3, 4.
    let manager = "import os, socket, sys
def listening(family, at):
    s = socket.socket(family); s.bind(at); s.listen(16); return s
tcp = listening(socket.AF_INET, ('127.0.0.1', 0)); path = listening(socket.AF_UNIX, sys.argv[2])
port = tcp.getsockname()[1]
early = socket.create_connection(('127.0.0.1', port))
a, b = os.dup2(tcp.fileno(), 10), os.dup2(path.fileno(), 11)
os.dup2(a, 3); os.dup2(b, 4)
os.environ.update(LISTEN_FDS='2', LISTEN_PID=str(os.getpid()), WATCHDOG_USEC='400000', WATCHDOG_PID=str(os.getpid()))
os.execv(sys.argv[1], [sys.argv[1], 'serve', '--frames', '127.0.0.1:%d' % port, '--lines', 'unix:' + sys.argv[2]])";
    let notify = place.path("notify");
    let mut command = Command::new("python3");
    command.args(["-c", manager, BINARY]).arg(place.path("lines.sock")).env("NOTIFY_SOCKET", notify);
    let mut line = Line::of(place, &mut command);
    let hear = |want: &str| {
        let mut bytes = [0; 256];
        wait_until(want, || {
            let count = told.recv(&mut bytes).expect("the manager is told");
            String::from_utf8_lossy(&bytes[..count]).lines().any(|line| line == want)
        });
    };
    hear("READY=1");
    hear("WATCHDOG=1");
    Client::connect(line.frames).echo(b"by the manager's socket");
    Client::connect_unix(&line.lines()).send(b"hello\n");
    line.restart(&[]);
    hear(&format!("MAINPID={}", line.pid.as_raw_nonzero()));
    hear("READY=1");
    hear("WATCHDOG=1");
    Client::connect(line.frames).echo(b"by the same socket");
    line.signal(line.pid, Signal::TERM);
    hear("STOPPING=1");
    assert_eq!(line.ended(line.pid), Some(0), "{}", line.errors());
}

/// A socket that is passed is meant for something.
#[test]
fn a_passed_socket_that_nobody_wants_is_a_mistake() {
    let manager = "import os, socket, sys
s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(16); os.dup2(s.fileno(), 3); os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[1], [sys.argv[1], 'serve', '--frames', '127.0.0.1:0', '--lines', '127.0.0.1:0', '--admin', 'off'])";
    let (code, _, errors) = run(Command::new("python3").args(["-c", manager, BINARY]));
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("the service manager passed a socket at 127.0.0.1:"), "{errors}");
}

/// Requests with a correlation behind the notice of a restart are refused by the old process, which says so, and taken by
/// the new one.
#[test]
fn a_greeted_client_is_told_to_go_and_finds_the_next_process() {
    let mut line = Line::start(&["--grace", "100"]);
    let mut client = Client::connect(line.frames);
    client.hello();
    let (code, _, errors) = line.upgrade(&[]);
    assert_eq!(code, Some(0), "{errors}");
    let got = client.receive();
    assert_eq!((got.header, got.status()), (GOAWAY, DRAINING));
    client.send(&correlated(ECHO, 1, b"too late"));
    client.expect_extended(ECHO, DRAINING, Some(1));
    let mut again = Client::connect(line.frames);
    again.hello();
    again.send(&correlated(ECHO, 2, b"in time"));
    assert_eq!(again.receive().header & EXT, EXT);
    again.send(&correlated(ECHO, 3, b"in time"));
    assert_eq!(again.expect_extended(ECHO, OK, Some(3)), b"in time");
    drop((client, again));
    let old = line.pid;
    assert_eq!(line.ended(old), Some(0), "{}", line.errors());
    let next = line.started().expect("it was started");
    line.adopt(next);
    line.end();
}
