//! `tidegate top` on a pseudo-terminal and in pipes, beside real servers: what it shows is what `/metrics` says, it fits the
//! terminal, it outlives the server, and it leaves the terminal as it was.

#![cfg(feature = "cli")]

mod support;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use support::client::Client;
use support::exposition::Exposition;
use support::process::{BINARY, Process, SERVE, run};
use support::scraper::Scraper;
use support::wait_until;

/// What takes a terminal over, and what gives it back.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

fn served_at(admin: &str) -> (Process, SocketAddr) {
    let server = Process::start(Command::new(BINARY).args(SERVE).args(["--admin", admin, "--shards", "2"]));
    let banner = server.banner();
    let line =
        banner.lines().find_map(|line| line.strip_prefix("  admin    http://")).expect("the banner names it");
    let at = line.split_whitespace().next().and_then(|at| at.parse().ok()).expect("an address");
    (server, at)
}

/// The program on a terminal of its own.
struct Top {
    child: Child,
    terminal: File,
    /// The end that the program has, so that it can be looked at.
    end: File,
    modes: Termios,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Top {
    fn start(arguments: &[&str], size: (u16, u16)) -> Top {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&terminal).and_then(|()| unlockpt(&terminal)).expect("it is ours");
        let name = ptsname(&terminal, Vec::new()).expect("its other end has a name");
        let path = name.to_str().expect("a plain name");
        let end = File::options().read(true).write(true).open(path).expect("its other end");
        resize(&end, size);
        // Before the program is there: it changes them.
        let modes = tcgetattr(&end).expect("it is a terminal");
        let of = || Stdio::from(end.try_clone().expect("a descriptor"));
        let child = Command::new(BINARY)
            .arg("top")
            .args(["--every", "100ms"])
            .args(arguments)
            .env("NO_COLOR", "1")
            .env("TERM", "xterm-256color")
            .stdin(of())
            .stdout(of())
            .stderr(of())
            .spawn()
            .expect("it starts");
        let terminal = File::from(terminal);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut from, into) = (terminal.try_clone().expect("a descriptor"), Arc::clone(&seen));
        std::thread::spawn(move || {
            let mut some = [0; 4096];
            // Linux says EIO when the last other end is closed.
            while let Ok(count @ 1..) = from.read(&mut some) {
                into.lock().expect("no panic").extend_from_slice(&some[..count]);
            }
        });
        Top { child, terminal, end, modes, seen }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().expect("no panic")).into_owned()
    }

    /// The lines that were drawn last, whole.
    fn screen(&self) -> Vec<String> {
        let text = self.text();
        let Some((drawn, _)) = text.rsplit_once("\x1b[?2026l") else { return Vec::new() };
        let last = drawn.rsplit_once("\x1b[?2026h\x1b[H").map_or("", |(_, last)| last);
        let lines = last.trim_end_matches("\x1b[J").lines();
        lines.map(|line| line.trim_end_matches('\r').trim_start_matches("\x1b[2K").to_owned()).collect()
    }

    #[track_caller]
    fn wait_for(&self, words: &str) -> Vec<String> {
        let mut screen = Vec::new();
        let what = format!("{words:?} on the screen");
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(&what, || {
                screen = self.screen();
                screen.iter().any(|line| line.contains(words))
            });
        }));
        assert!(seen.is_ok(), "{what} never came:\n{}", screen.join("\n"));
        screen
    }

    /// A row's figures.
    fn row(&self, name: &str) -> String {
        let screen = self.screen();
        screen.into_iter().find(|line| line.starts_with(name)).unwrap_or_default()
    }

    fn press(&mut self, keys: &[u8]) {
        self.terminal.write_all(keys).expect("somebody reads it");
    }

    /// Waits for its end: its exit code. The terminal is then as it was.
    #[track_caller]
    fn ended(mut self) -> Option<i32> {
        let mut code = None;
        wait_until("the end", || {
            let status = self.child.try_wait().expect("it is our child");
            code = status.map(|status| status.code());
            code.is_some()
        });
        wait_until("the terminal is given back", || self.text().ends_with(LEAVE));
        let text = self.text();
        assert_eq!((text.matches(ENTER).count(), text.matches(LEAVE).count()), (1, 1), "once each");
        let now = tcgetattr(&self.end).expect("it is a terminal");
        assert_eq!((now.local_modes, now.input_modes), (self.modes.local_modes, self.modes.input_modes));
        code.flatten()
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(end: impl AsFd, (columns, lines): (u16, u16)) {
    let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(end, size).expect("it is a terminal");
}

/// Somebody who echoes until this is dropped.
struct Load(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Load {
    fn on(frames: SocketAddr) -> Load {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let mut client = Client::connect(frames);
            while !over.load(Relaxed) {
                client.echo(&[7; 1000]);
            }
        });
        Load(is_over, Some(thread))
    }

    fn end(mut self) {
        self.0.store(true, Relaxed);
        self.1.take().expect("ended once").join().expect("every echo came back");
    }
}

fn json(at: SocketAddr, more: &[&str]) -> Value {
    let (code, out, errors) =
        run(Command::new(BINARY).args(["top", &at.to_string(), "--json", "--every", "100ms"]).args(more));
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// A server at rest: every figure that does not move by itself is that of `/metrics`.
#[test]
fn figures_are_those_of_metrics() {
    let (server, at) = served_at("127.0.0.1:0");
    let mut clients: Vec<Client> = (0..5).map(|_| Client::connect(server.frames)).collect();
    for (rounds, client) in (1..).zip(&mut clients) {
        (0..rounds).for_each(|_| client.echo(&[1; 100]));
    }
    let mut bad = Client::connect(server.frames);
    bad.send(b"\0\x01\0\0\0\0wrong checksum");
    bad.read_to_end();
    drop(bad);
    let mut scraper = Scraper::connect(at);
    let mut exact = Exposition::default();
    wait_until("the bad one is gone", || {
        exact = Exposition::parse(&scraper.text()).expect("it is right");
        exact.sum("tidegate_connections", &[]) == 5.0
    });
    let seen = json(at, &["--by", "bytes"]);
    let server_seen = &seen["server"];
    let of = |pointer: &str| {
        server_seen.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}: {seen:#}"))
    };
    assert_eq!(of("/connections/open"), exact.sum("tidegate_connections", &[]));
    assert_eq!(of("/requests/open"), 0.0);
    assert_eq!((of("/messages/in_per_s"), of("/bytes/out_per_s")), (0.0, 0.0), "it rests");
    let limits = server_seen["limits"].as_array().expect("a list");
    let limit = |name: &str| {
        limits.iter().find(|limit| limit["name"] == name).unwrap_or_else(|| panic!("{name}: {seen:#}"))
    };
    for (name, used, most) in [
        ("connections", "tidegate_connections_used", "tidegate_connections_limit"),
        ("output", "tidegate_buffer_bytes", "tidegate_buffer_limit_bytes"),
    ] {
        let labels: &[(&str, &str)] = if name == "output" { &[("part", "output")] } else { &[] };
        assert_eq!(limit(name)["used"].as_f64(), Some(exact.sum(used, labels)), "{name}");
        assert_eq!(limit(name)["most"].as_f64(), Some(exact.sum(most, labels)), "{name}");
    }
    for shard in ["0", "1"] {
        let label = [("shard", shard)];
        let of_loop = &server_seen["loops"][usize::from(shard == "1")];
        assert_eq!(of_loop["shard"], shard);
        assert_eq!(of_loop["connections"].as_f64(), Some(exact.sum("tidegate_connections", &label)));
    }
    let closed = server_seen["closed"].as_array().expect("a list");
    assert_eq!(
        (closed.len(), &closed[0]["name"], closed[0]["total"].as_f64()),
        (1, &Value::from("bad_crc"), Some(1.0))
    );
    let list = seen["list"].as_array().expect("a list");
    let sent: Vec<_> = list.iter().map(|one| one["bytes_in"].as_u64().expect("a number")).collect();
    assert_eq!(sent, [550, 440, 330, 220, 110], "those with most first");
    // The same as text, which has no keys and no control characters.
    let (code, text, _) =
        run(Command::new(BINARY).args(["top", &at.to_string(), "--once", "--every", "100ms"]));
    assert_eq!(code, Some(0));
    assert!(text.starts_with("tidegate ") && !text.contains('\x1b') && !text.contains("q quit"), "{text}");
    for words in ["5 open", "bad_crc 1", "5 of ", "in 0/s", "550 B"] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    drop(clients);
    server.end();
}

#[test]
fn a_load_is_seen_and_keys_are_heard() {
    let (server, at) = served_at("127.0.0.1:0");
    let load = Load::on(server.frames);
    let mut top = Top::start(&[&at.to_string()], (120, 40));
    top.wait_for("1 open");
    wait_until("a rate of messages", || {
        let row = top.row("messages");
        row.contains("/s") && !row.contains("in 0/s") && !row.contains("in -")
    });
    let screen = top.wait_for("127.0.0.1:");
    assert!(screen.iter().any(|line| line.contains("bytes first")), "{screen:#?}");
    assert!(screen.iter().any(|line| line.starts_with("PEER")), "{screen:#?}");
    for (key, words) in [(b"u", "queued first"), (b"a", "age first"), (b"b", "bytes first")] {
        top.press(key);
        top.wait_for(words);
    }
    top.press(b"\x1b[A");
    top.press(b"p");
    let paused = top.wait_for("paused, p goes on");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(top.screen(), paused, "nothing moves");
    top.press(b"p");
    wait_until("it goes on", || !top.screen().iter().any(|line| line.contains("paused, p")));
    top.press(b"q");
    assert_eq!(top.ended(), Some(0));
    load.end();
    server.end();
}

#[test]
fn a_terminal_may_be_small_and_change() {
    let (server, at) = served_at("127.0.0.1:0");
    let _clients: Vec<Client> = (0..30).map(|_| Client::connect(server.frames)).collect();
    let mut top = Top::start(&[&at.to_string()], (100, 50));
    top.wait_for("30 open");
    wait_until("all are listed", || {
        top.screen().iter().filter(|line| line.contains("127.0.0.1:")).count() > 20
    });
    for (columns, lines) in [(40, 10), (10, 3), (1, 1), (100, 50)] {
        resize(&top.end, (columns, lines));
        wait_until("it fits", || {
            let screen = top.screen();
            let widest = screen.iter().map(|line| line.chars().count()).max().unwrap_or(0);
            // As large as before it would have more lines and wider ones than a small terminal has.
            screen.len() <= usize::from(lines)
                && widest <= usize::from(columns)
                && widest >= usize::from(columns).min(60)
        });
    }
    top.press(b"\x03");
    assert_eq!(top.ended(), Some(130), "as shells tell it");
    server.end();
}

#[test]
fn a_server_that_goes_is_told_of_and_found_again() {
    let (server, at) = served_at("127.0.0.1:0");
    let mut top = Top::start(&[&at.to_string()], (100, 40));
    top.wait_for("0 open");
    server.end();
    let screen = top.wait_for("no answer: connection refused; trying again; this is what it said last");
    assert!(screen.iter().any(|line| line.contains("0 open")), "what was seen stays: {screen:#?}");
    let (server, _) = served_at(&at.to_string());
    let _client = Client::connect(server.frames);
    top.wait_for("1 open");
    assert!(!top.screen().iter().any(|line| line.contains("no answer")), "{:#?}", top.screen());
    top.press(b"q");
    assert_eq!(top.ended(), Some(0));
    server.end();
}

/// However it ends, the terminal is given back.
#[test]
fn signals_give_the_terminal_back() {
    let (server, at) = served_at("127.0.0.1:0");
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        let top = Top::start(&[&at.to_string()], (80, 24));
        top.wait_for("0 open");
        let now = tcgetattr(&top.end).expect("it is a terminal");
        assert_ne!(now.local_modes, top.modes.local_modes, "it is taken");
        kill_process(Pid::from_child(&top.child), signal).expect("it is there");
        assert_eq!(top.ended(), Some(code));
    }
    server.end();
}

#[test]
fn without_a_server_or_a_terminal_it_says_so() {
    let nobody =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let nobody = nobody.to_string();
    #[rustfmt::skip]
    let table: &[(&[&str], i32, &str)] = &[
        (&[&nobody, "--once"],               69, "connection refused"),
        (&[&nobody, "--json"],               69, "connection refused"),
        (&[&nobody],                         2,  "tidegate top --once"),
        (&[&nobody, "--every", "0s"],        2,  "100ms to 1h"),
        (&[&nobody, "--by", "name"],         2,  "bytes, queued, age"),
        (&["nowhere", "--once"],             69, "nowhere"),
    ];
    for (arguments, want, words) in table {
        let (code, out, errors) = run(Command::new(BINARY).arg("top").args(*arguments));
        assert_eq!((code, out.as_str()), (Some(*want), ""), "{arguments:?}: {errors}");
        assert!(errors.contains(words) && errors.lines().count() == 1, "{arguments:?}: {errors}");
    }
    // A terminal waits for the server.
    let mut top = Top::start(&[&nobody], (80, 24));
    top.wait_for("no answer: connection refused; trying again");
    top.press(b"q");
    assert_eq!(top.ended(), Some(0));
}

/// What is there is not what was meant: one line, and no fault of a strange answer.
#[test]
fn another_program_is_told_from_the_admin_port() {
    let (server, at) = served_at("127.0.0.1:0");
    let frames = server.frames.to_string();
    let (code, _, errors) = run(Command::new(BINARY).args(["top", &frames, "--once"]));
    assert_eq!(code, Some(69), "{errors}");
    assert!(errors.contains("no admin port of tidegate"), "{errors}");
    assert_ne!(at, server.frames);
    server.end();
}
