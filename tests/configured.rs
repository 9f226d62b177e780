//! `serve --config` and `check` as processes: the server does what the file says, and what can't be read is told in
//! one line.

#![cfg(feature = "cli")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use support::client::{Client, GOAWAY, IDLE, OVERLOADED, PING, TOO_LARGE, frame};
use support::extended::UNAUTHENTICATED;
use support::process::{BINARY, Process, run};
use tidegate::config::{File, Host, Sources, load};

/// A file that is there as long as it is needed.
struct TempFile(PathBuf);

impl TempFile {
    fn new(bytes: impl AsRef<[u8]>) -> TempFile {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tidegate-{}-{}.toml", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::write(&path, bytes).expect("a file can be written");
        TempFile(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().expect("a plain name")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn tidegate(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).env_remove("RUST_LOG");
    command
}

const TWO: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\nFRAMES\n\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
                   protocol = \"line\"\nLINES\n";

fn two(frames: &str, lines: &str, more: &str) -> TempFile {
    TempFile::new(format!("{}\n{more}", TWO.replace("FRAMES", frames).replace("LINES", lines)))
}

#[test]
fn the_server_does_what_the_file_says() {
    let file = two(
        "max_payload = \"16B\"",
        "route = 0x0105",
        "[server]\nshards = 1\n[[route]]\nheaders = \"0x0100-0x01ff\"\nservice = \"flip\"\n[timeouts]\nidle = \"300ms\"\n\
         [log]\nformat = \"json\"\nlevel = \"debug\"\n",
    );
    let server = Process::start(&mut tidegate(&["serve", "--config", file.name()]));
    let mut client = Client::connect(server.frames);
    client.request(0x0100, b"hello");
    client.expect(0x0100, b"iello");
    client.request(1, b"hello");
    client.expect_error(support::client::NO_ROUTE);
    client.send(&frame(0x0100, &[0; 17]));
    client.expect_goaway(TOO_LARGE);
    let mut lines = Client::connect(server.lines);
    lines.send(b"hello\n");
    lines.expect_line(b"iello");
    Client::connect(server.frames).expect_goaway(IDLE);
    server.signal(rustix::process::Signal::TERM);
    let ended = server.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert!(ended.errors.lines().all(|line| line.starts_with('{')), "{}", ended.errors);
    assert!(ended.errors.contains("DEBUG"), "{}", ended.errors);
}

#[test]
fn listeners_differ_as_the_file_says() {
    let socket = std::env::temp_dir().join(format!("tidegate-{}.sock", std::process::id()));
    let bare = format!("[[listener]]\naddress = \"unix:{}\"\nheader_space = \"full\"\n", socket.display());
    let file = two("hello = \"required\"", "", &bare);
    let server = Process::start(&mut tidegate(&["serve", "-c", file.name()]));
    let mut client = Client::connect(server.frames);
    client.request(1, b"no hello");
    assert_eq!(client.next_frame().map(|got| (got.header, got.status())), Some((GOAWAY, UNAUTHENTICATED)));
    let mut client = Client::connect_unix(&socket);
    client.request(1, b"x");
    client.expect(1, b"x");
    client.request(PING, b"a route like any other");
    client.expect_end();
    server.end();
}

#[test]
fn the_limit_of_connections_is_that_of_the_file() {
    let file = two("", "", "[limits]\nmax_connections = 1\n");
    let server = Process::start(&mut tidegate(&["serve", "-c", file.name()]));
    let mut first = Client::connect(server.frames);
    first.echo(b"there");
    Client::connect(server.frames).expect_goaway(OVERLOADED);
    drop(first);
    server.end();
}

#[test]
fn flags_and_environment_go_above_the_file() {
    let file = two("", "", "[server]\nshards = 3\n[[route]]\nheaders = 5\nservice = \"ack\"\n");
    let mut command = tidegate(&["serve", "-c", file.name(), "--frames", "127.0.0.1:0", "--route", "6=echo"]);
    command
        .env("TIDEGATE_SERVER__SHARDS", "1")
        .env("TIDEGATE_ROUTE__0__SERVICE", "flip")
        .env("TIDEGATE_LISTENER__1__ROUTE", "6");
    let server = Process::start(&mut command);
    let mut client = Client::connect(server.frames);
    client.request(5, b"a");
    client.expect(5, b"`");
    let mut lines = Client::connect(server.lines);
    lines.send(b"echoed\n");
    lines.expect_line(b"echoed");
    drop((client, lines));
    server.end();
    let (code, _, errors) = run(tidegate(&["serve", "-c", file.name()]).env("TIDEGATE_SERVER__SHARD", "1"));
    assert_eq!(code, Some(2));
    assert!(errors.contains("did you mean TIDEGATE_SERVER__SHARDS?"), "{errors}");
}

/// Every value, down to the sockets' options, is the builder's.
#[test]
fn every_value_reaches_the_builder() {
    let text = "[server]\nshards = 2\npin = true\nshare_port = true\nmemory = \"99MiB\"\ndrain.grace = \"7s\"\n\
                [[listener]]\naddress = \"127.0.0.1:0\"\nmax_payload = \"77B\"\nbacklog = 66\nkernel_buffer = \"55KiB\"\nhello = \"required\"\n\
                proxy_protocol = \"required\"\ntrusted = \"10.0.0.0/8, unix\"\n\
                [[listener]]\naddress = \"127.0.0.1:0\"\nkernel_buffer = \"auto\"\nprotocol = \"line\"\nroute = 44\n\
                [limits]\nmax_connections = 33\noutput_high = \"22KiB\"\noutput_low = \"11KiB\"\n\
                [timeouts]\nframe = \"2s\"\nentrance = \"1s\"\nidle = \"3s\"\nheartbeat = \"4s\"\nwrite_stall = \"5s\"\nlinger = \"6s\"\n\
                [keepalive]\nidle = \"8s\"\ninterval = \"9s\"\ncount = 10\n[log]\nstall = \"12us\"\n";
    let file = Some(File { name: "t.toml".to_owned(), text: text.to_owned() });
    let host = Host { processors: 1, descriptors: 1000, memory_bytes: None, backlog_max: None };
    let loaded = load(Sources { file, ..Sources::default() }, &host).expect("it is right");
    let builder = loaded.config.builder(&host).expect("ports are free");
    let shown = format!("{builder:?}");
    for word in [
        "shards: Some(2)",
        "pin: true",
        "share_port: true",
        "budget_bytes: 103809024",
        "grace: 7s",
        "payload_max: 77",
        "backlog: 66",
        "socket_buffer_bytes: Some(56320)",
        "wants_hello: true",
        "socket_buffer_bytes: None",
        "connections_max: 33",
        "output_high_bytes: 22528",
        "output_low_bytes: 11264",
        "frame_deadline: 2s",
        "entrance: 1s",
        "proxy: Some([Ip { first: 10.0.0.0, prefix: 8 }, Unix])",
        "proxy: None",
        "idle: Some(3s)",
        "heartbeat: Some(4s)",
        "write_stall: 5s",
        "linger: 6s",
        "stall: 12µs",
        "keepalive: Some(Keepalive { idle: 8s, interval: 9s, count: 10 })",
        "protocol: Line",
    ] {
        assert!(shown.contains(word), "{word} is not in {shown}");
    }
    // The header 44 is shown as the codec has it.
    assert!(shown.contains("line_route: Header(44)"), "{shown}");
}

#[test]
fn check_tells_what_is_right_and_what_is_wrong() {
    let file = two("", "", "[server]\nshards = 1\nmemory = \"64MiB\"\n");
    let (code, out, errors) = run(&mut tidegate(&["check", file.name()]));
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[0], format!("{}: ok", file.name()));
    for line in [
        "  frames     127.0.0.1:0",
        "  lines      127.0.0.1:0",
        "  routes     0 ack, 1 echo, 2 discard, 3 flip",
        "  shards     1 event loop",
    ] {
        assert!(lines.contains(&line), "{line} is not in\n{out}");
    }
    assert!(out.contains("64MiB for buffers"), "{out}");

    let file = TempFile::new("[server]\nshard = 1\n[limits]\nidle = 3\n");
    let (code, out, errors) = run(&mut tidegate(&["check", file.name()]));
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(errors.contains(&format!(" --> {}:2:1", file.name())), "{errors}");
    assert!(errors.contains(&format!(" --> {}:4:1", file.name())), "{errors}");
    assert_eq!(errors.lines().last(), Some("2 errors"));
    let (code, out, of_serve) = run(&mut tidegate(&["serve", "--config", file.name()]));
    assert_eq!((code, out.as_str(), of_serve), (Some(2), "", errors));
}

#[test]
fn what_is_printed_is_a_configuration() {
    let (code, default, _) = run(&mut tidegate(&["check", "--print-default"]));
    assert_eq!(code, Some(0));
    let file = TempFile::new(default);
    assert_eq!(run(&mut tidegate(&["check", file.name()])).0, Some(0));
    let (code, effective, _) =
        run(tidegate(&["check", "--print-effective", file.name()]).env("TIDEGATE_SERVER__MEMORY", "64MiB"));
    assert_eq!(code, Some(0));
    assert!(effective.contains("memory = \"64MiB\"  # in TIDEGATE_SERVER__MEMORY"), "{effective}");
    let file = TempFile::new(&effective);
    let (code, again, _) = run(&mut tidegate(&["check", "--print-effective", file.name()]));
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  # ").next().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!((code, values(&again)), (Some(0), values(&effective)));
    assert_eq!(run(&mut tidegate(&["check"])).1.lines().next(), Some("the embedded default: ok"));
}

#[test]
fn what_cannot_be_read_is_told_in_one_line() {
    let binary = TempFile::new(b"[server]\nshards = \xff\n");
    let folder = std::env::temp_dir();
    #[rustfmt::skip]
    let table: &[(&str, &[&str])] = &[
        ("/no/such/file.toml",                            &["/no/such/file.toml does not exist", "--print-default"]),
        (folder.to_str().expect("a plain name"),          &["is a directory"]),
        (binary.name(),                                   &["is not UTF-8: byte 18, in line 2"]),
    ];
    for (name, words) in table {
        for arguments in [&["check", name][..], &["serve", "-c", name]] {
            let (code, out, errors) = run(&mut tidegate(arguments));
            assert_eq!((code, out.as_str(), errors.lines().count()), (Some(2), "", 1), "{errors}");
            for word in *words {
                assert!(errors.contains(word), "{word}: {errors}");
            }
        }
    }
}
