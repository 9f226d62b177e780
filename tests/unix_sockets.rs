//! Listening at paths: the same server, dealt over all loops; the socket's file is made, replaced if it is stale, and
//! removed at the end.

#![cfg(feature = "cli")]

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
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
use tidegate::server::{Account, Builder, Error, FileOptions, ListenOptions, Listener, Server};
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

fn listen_as(path: &Path, file: FileOptions) -> Result<Builder, Error> {
    let options = ListenOptions { file, ..ListenOptions::default() };
    Server::builder().listen(Listener::frames(at(path)).options(options))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn the_file_has_the_mode_that_it_is_given() {
    let place = Place::new("mode");
    for mode in [0o600, 0o660, 0o777, 0o000] {
        let path = place.path("frames");
        let builder = listen_as(&path, FileOptions { mode: Some(mode), ..FileOptions::default() });
        let found = std::fs::metadata(&path).expect("its file").permissions().mode();
        assert_eq!(found & 0o7777, mode, "case: {mode:#o}");
        let serving =
            Serving::of(builder.and_then(|builder| builder.start(Router::embedded)).expect("a server"));
        if is_root() || mode != 0 {
            Client::connect_unix(&path).echo(b"in");
        }
        serving.end();
        assert!(!path.exists());
    }
}

/// The process's own user and group can always be given, by number and by name; another user only by root.
#[test]
fn the_file_has_the_owner_and_the_group_that_it_is_given() {
    let place = Place::new("owner");
    let path = place.path("frames");
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let other = Account::Id(user + 1);
    let own =
        FileOptions { owner: Some(Account::Id(user)), group: Some(Account::Id(group)), mode: Some(0o600) };
    let builder = listen_as(&path, own).expect("its own");
    let found = std::fs::metadata(&path).expect("its file");
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (user, group, 0o600));
    drop(builder);
    assert!(!path.exists());
    let given = listen_as(&path, FileOptions { owner: Some(other), ..FileOptions::default() });
    if is_root() {
        let named = FileOptions {
            owner: Some(Account::Name("root".to_owned())),
            group: Some(Account::Name("root".to_owned())),
            mode: None,
        };
        assert_eq!(std::fs::metadata(&path).expect("its file").uid(), user + 1);
        drop(given);
        let _builder = listen_as(&path, named).expect("there is a root");
        let found = std::fs::metadata(&path).expect("its file");
        assert_eq!((found.uid(), found.gid()), (0, 0));
    } else {
        let error = given.expect_err("only root may");
        assert!(error.to_string().contains("only root can give it"), "{error}");
        assert!(!path.exists(), "what was bound is gone");
    }
}

#[test]
fn the_binary_takes_mode_owner_and_group_and_says_what_is_wrong_with_them() {
    let place = Place::new("access");
    let (frames, file) = (place.path("frames"), place.path("t.toml"));
    let serve = |keys: &str| {
        let text =
            format!("[[listener]]\naddress = \"{}\"\n{keys}\n[admin]\naddress = \"off\"\n", at(&frames));
        std::fs::write(&file, text).expect("a file");
        let mut command = Command::new(BINARY);
        command
            .arg("serve")
            .arg("--config")
            .arg(&file)
            .args(["--lines", "127.0.0.1:0"])
            .env_remove("RUST_LOG");
        command
    };
    let server = Process::start(&mut serve("mode = \"0640\""));
    assert_eq!(std::fs::metadata(&frames).expect("its file").mode() & 0o777, 0o640);
    server.end();
    #[rustfmt::skip]
    let table: &[(&str, i32, &str)] = &[
        ("owner = \"nobody-of-that-name\"", 69, "there is no user \"nobody-of-that-name\""),
        ("group = \"no-group-either\"",     69, "there is no group \"no-group-either\""),
        ("mode = \"0888\"",                  2,  "is no mode"),
    ];
    for (keys, code, words) in table {
        let (ended, out, errors) = run(&mut serve(keys));
        assert_eq!((ended, out.as_str()), (Some(*code), ""), "case: {keys}: {errors}");
        assert!(errors.contains(words), "case: {keys}: {errors}");
        assert!(!frames.exists(), "case: {keys}: what was bound is gone");
    }
}
