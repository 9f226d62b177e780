//! Listening at paths: the same server, dealt over all loops; the socket's file is made, replaced if it is stale, and
//! removed at the end.

#![cfg(feature = "cli")]

mod support;

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::client::{Client, DRAINING, ECHO, RECEIVED};
use support::pattern;
use support::process::{BINARY, Process, run};
use support::serving::Serving;
use tidegate::base::Address;
use tidegate::metrics::{Counter, Gauge};
use tidegate::net::Endpoint;
use tidegate::server::{Builder, Error, Listener, Server};
use tidegate::service::{Cx, Frame, Origin, Peer, Replied, Reply, Router, Service};

/// A directory of one test, removed at its end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("tidegate-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).expect("a directory for temporary files");
        Place(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn at(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// A builder with frames at one path and lines at the other.
fn builder(frames: &Path, lines: &Path) -> Result<Builder, Error> {
    Server::builder().listen(Listener::frames(at(frames)))?.listen(Listener::lines(at(lines)))
}

#[test]
fn frames_and_lines_are_served_at_paths() {
    let place = Place::new("serve");
    let (frames, lines) = (place.path("frames"), place.path("lines"));
    let running = builder(&frames, &lines).and_then(|builder| builder.shards(3).start(Router::embedded));
    let serving = Serving::of(running.expect("a server"));
    assert_eq!(serving.handle.local_addrs()[0], Endpoint::Unix(frames.clone()));
    // One loop listens, and deals: nobody is more than one ahead.
    let mut clients: Vec<Client> = (0..30).map(|_| Client::connect_unix(&frames)).collect();
    for (number, client) in (0..).zip(&mut clients) {
        client.echo(&pattern(number, 100_000));
    }
    let loads: Vec<u64> = serving.handle.shard_snapshots().iter().map(|now| now.gauge(Gauge::Open)).collect();
    assert_eq!(loads, [10, 10, 10]);
    assert_eq!(serving.snapshot().counter(Counter::HandedOff), 20);
    let mut line = Client::connect_unix(&lines);
    line.send(b"hello\nagain\n");
    line.expect_line(RECEIVED);
    line.expect_line(RECEIVED);
    // Half-close, and the end.
    clients[0].request(ECHO, b"last");
    clients[0].finish_sending();
    clients[0].expect(ECHO, b"last");
    clients[0].expect_end();
    drop(clients.remove(0));
    serving.wait_for_rest(30);
    serving.handle.drain(Duration::from_secs(10));
    for client in &mut clients {
        client.expect_goaway(DRAINING);
    }
    line.expect_end();
    drop((clients, line));
    let report = serving.join();
    assert!(report.is_clean(), "{report}");
    assert!(!frames.exists() && !lines.exists(), "the files are removed at the end");
}

/// Says who it is talking to.
struct Who(Vec<String>);

impl Service for Who {
    type Conn = String;

    fn on_open(&mut self, peer: &Peer, _cx: &mut Cx<'_>) -> String {
        assert_eq!(peer.origin, Origin::Accepted { listener: 0 });
        assert_eq!(peer.address, Address::Unix);
        self.0.push(peer.address.to_string());
        peer.address.to_string()
    }

    fn on_frame(&mut self, peer: &mut String, _: Frame<'_>, reply: Reply<'_>, _: &mut Cx<'_>) -> Replied {
        reply.send(peer.as_bytes())
    }
}

#[test]
fn clients_at_paths_are_told_as_unix() {
    let place = Place::new("peer");
    let path = place.path("frames");
    let running = Server::builder()
        .listen(at(&path).as_str())
        .and_then(|builder| builder.shards(2).start(|| Who(Vec::new())));
    let serving = Serving::of(running.expect("a server"));
    for _ in 0..4 {
        let mut client = Client::connect_unix(&path);
        client.request(9, b"?");
        client.expect(9, b"unix");
    }
    serving.end();
}

#[test]
fn a_stale_file_is_replaced_a_live_one_is_not() {
    let place = Place::new("stale");
    let (frames, lines) = (place.path("frames"), place.path("lines"));
    // What a server leaves behind that was killed.
    drop(UnixListener::bind(&frames).expect("a free path"));
    assert!(frames.exists());
    let running = builder(&frames, &lines).and_then(|builder| builder.start(Router::embedded));
    let serving = Serving::of(running.expect("a server"));
    Client::connect_unix(&frames).echo(b"replaced");
    let error = builder(&frames, &place.path("others")).expect_err("somebody listens there");
    assert!(matches!(error, Error::AddressInUse { .. }), "{error}");
    assert!(error.to_string().contains(&at(&frames)), "{error}");
    assert_eq!(error.exit_code(), 69);
    Client::connect_unix(&frames).echo(b"still there");
    serving.end();
    // A builder that never starts leaves nothing behind either.
    drop(builder(&frames, &lines).expect("free again"));
    assert!(!frames.exists() && !lines.exists());
}

/// The binary at a path, ended by a signal.
#[test]
fn the_binary_removes_its_file_when_it_ends() {
    let place = Place::new("binary");
    let (frames, lines) = (place.path("frames"), place.path("lines"));
    let arguments = ["serve", "--frames", &at(&frames), "--lines", &at(&lines), "--shards", "2", "--pin"];
    let server = Process::start(Command::new(BINARY).args(arguments).args(["--log-format", "text"]));
    let mut client = Client::connect_unix(&frames);
    client.echo(b"here");
    let mut line = Client::connect_unix(&lines);
    line.send(b"hello\n");
    line.expect_line(RECEIVED);
    drop((client, line));
    server.signal(rustix::process::Signal::TERM);
    let ended = server.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert!(ended.errors.contains("stays on its processor"), "{}", ended.errors);
    assert!(!frames.exists() && !lines.exists());
}

#[test]
fn what_is_wrong_with_a_path_is_told() {
    let place = Place::new("wrong");
    let (file, lines) = (place.path("file"), place.path("lines"));
    std::fs::write(&file, "dear").expect("a file");
    let long = place.path(&"x".repeat(200));
    #[rustfmt::skip]
    let table: &[(&str, PathBuf, i32, &str)] = &[
        ("a file that is no socket", file.clone(),              69, "is a file, and no socket"),
        ("no such directory",        place.path("none/socket"), 69, "a directory that does not exist"),
        ("too long for a socket",    long,                      69, "cannot listen on"),
        ("no path",                  PathBuf::new(),            2,  "has no path"),
    ];
    for (name, path, code, words) in table {
        let (frames, lines) = (at(path), at(&lines));
        let arguments = ["serve", "--frames", &frames, "--lines", &lines];
        let (ended, out, errors) = run(Command::new(BINARY).args(arguments).env_remove("RUST_LOG"));
        assert_eq!((ended, out.as_str()), (Some(*code), ""), "case: {name}: {errors}");
        assert_eq!(errors.lines().count(), 1, "case: {name}: {errors}");
        assert!(errors.contains(words), "case: {name}: {errors}");
    }
    assert_eq!(std::fs::read_to_string(&file).expect("it is still there"), "dear");
}
