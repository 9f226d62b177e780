//! The command line: what it says when something is wrong, and with which exit code it ends.

#![cfg(feature = "cli")]

mod support;

use std::net::TcpListener;
use std::process::Command;
use support::client::{Client, RECEIVED};
use support::process::{BINARY, Process, run};
use tidegate::net::Endpoint;
use tidegate::server::{Error, Listener, Server};

/// Runs the binary with these arguments.
fn tidegate(arguments: &[&str]) -> (Option<i32>, String, String) {
    run(Command::new(BINARY).args(arguments).env_remove("RUST_LOG"))
}

/// One line for people, and the exit code.
#[track_caller]
fn assert_complaint(arguments: &[&str], code: i32, words: &[&str]) {
    let (ended, out, errors) = tidegate(arguments);
    assert_eq!(ended, Some(code), "{arguments:?}: {errors}");
    assert_eq!(out, "", "{arguments:?}");
    assert_eq!(errors.lines().count(), 1, "{arguments:?}: {errors}");
    for word in words {
        assert!(errors.contains(word), "{arguments:?}: {errors}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    assert_complaint(&["serve", "--frames", &address, "--lines", "127.0.0.1:0"], 69, &[&address, "in use"]);
    assert_complaint(&["serve", "--frames", "127.0.0.1:0", "--lines", &address], 69, &[&address, "in use"]);
}

/// The test may run as somebody who may use every port, so the mapping is checked beside the process.
#[test]
fn a_forbidden_port_has_its_own_exit_code() {
    let address = Endpoint::parse("127.0.0.1:80").expect("an address");
    let error = Error::Forbidden { address };
    assert_eq!(error.exit_code(), 77);
    assert!(error.to_string().contains("127.0.0.1:80"), "{error}");
    // An address that is nobody's here fails to bind in another way, and is told without saying it twice.
    let error =
        Server::builder().listen(Listener::frames("192.0.2.1:0")).expect_err("not an address of this host");
    assert!(matches!(error, Error::NotLocal { .. }), "{error}");
    assert_complaint(&["serve", "--frames", "192.0.2.1:0"], 69, &["192.0.2.1:0", "0.0.0.0"]);
}

#[test]
fn a_bad_address_is_a_mistake_of_the_caller() {
    for address in ["nonsense", "127.0.0.1", "127.0.0.1:99999", "127.0.0.1:", ""] {
        assert_complaint(&["serve", "--frames", address, "--lines", "127.0.0.1:0"], 2, &["IP:PORT"]);
    }
}

#[test]
fn bad_numbers_are_mistakes_of_the_caller() {
    for grace in ["-1", "inf", "NaN", "1e300"] {
        let flag = format!("--grace={grace}");
        assert_complaint(
            &["serve", &flag, "--frames", "127.0.0.1:0", "--lines", "127.0.0.1:0"],
            2,
            &["--grace"],
        );
    }
    assert_complaint(&["serve", "--shards", "0"], 2, &["--shards 0", "between 1 and 256", "at least 1"]);
    assert_complaint(&["serve", "--grace", "-1"], 2, &["--grace is -1", "seconds"]);
    for (route, words) in [
        ("16-23=flop", "did you mean \"flip\"?"),
        ("16-23=whatever", "not one of ack, echo, discard, flip"),
        ("16-23", "ROUTES=SERVICE"),
        ("9-3=echo", "did you mean \"0x0003-0x0009\"?"),
        ("1=flip", "route 1 is served by both echo and flip"),
        ("16384=echo", "exceeds the largest route 16383"),
    ] {
        let here = ["serve", "--frames", "127.0.0.1:0", "--lines", "127.0.0.1:0", "--route", route];
        assert_complaint(&here, 2, &["--route", words]);
    }
    let no_time = ["serve", "--idle", "0", "--frames", "127.0.0.1:0", "--lines", "127.0.0.1:0"];
    assert_complaint(&no_time, 2, &["--idle 0", "between 1ms and 24d"]);
}

#[test]
fn unknown_flags_and_commands_are_mistakes_of_the_caller() {
    for arguments in [&["serve", "--no-such-flag"][..], &["no-such-command"], &["--no-such-flag"]] {
        assert_complaint(arguments, 2, &[arguments.last().expect("one of them is wrong")]);
    }
    let (code, out, errors) = tidegate(&[]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(errors.contains("Usage: tidegate"), "{errors}");
}

#[test]
fn help_and_version_are_given() {
    let (code, out, errors) = tidegate(&["--version"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert_eq!(out.trim(), format!("tidegate {}", env!("CARGO_PKG_VERSION")));
    for (arguments, words) in [
        (&["--help"][..], &["serve", "Usage: tidegate"][..]),
        (
            &["serve", "--help"],
            &[
                "--frames",
                "--lines",
                "--admin",
                "unix:PATH",
                "--shards",
                "--pin",
                "--share-port",
                "--route",
                "--idle",
                "--grace",
                "--log-format",
            ],
        ),
        (&["conform", "--help"], &["--echo", "--oneway", "--missing", "--lines", "--timeout", "--only"]),
    ] {
        let (code, out, errors) = tidegate(arguments);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{arguments:?}");
        for word in words {
            assert!(out.contains(word), "{arguments:?} does not name {word}: {out}");
        }
    }
}

/// As many loops as asked for, and none by a word that is no number.
#[test]
fn the_number_of_loops_is_asked_for() {
    for (shards, code, words) in [("x", 2, "whole number, or auto"), ("70000", 2, "auto")] {
        let (ended, out, errors) = tidegate(&["serve", "--shards", shards]);
        assert_eq!((ended, out.as_str()), (Some(code), ""), "{errors}");
        assert!(errors.contains(words), "{errors}");
    }
    #[cfg(target_os = "linux")]
    for (shards, want) in [("1", Some(1)), ("3", Some(3)), ("auto", None)] {
        let server = Process::serve(&["--shards", shards]);
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.id())).expect("its threads");
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        let loops = names
            .filter(|name| {
                name.trim().strip_prefix("tidegate-").is_some_and(|rest| rest.parse::<u8>().is_ok())
            })
            .count();
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        assert_eq!(loops, want.unwrap_or(processors), "--shards {shards}");
        server.end();
    }
}

/// The flags reach the server: silence ends after the given time, and the log is as asked.
#[test]
fn flags_reach_the_server() {
    let server = Process::serve(&["--idle", "0.3", "--log-format", "json"]);
    let mut silent = Client::connect(server.frames);
    silent.expect_goaway(support::client::IDLE);
    let mut lines = Client::connect(server.lines);
    lines.send(b"hello\n");
    lines.expect_line(RECEIVED);
    drop((silent, lines));
    server.signal(rustix::process::Signal::TERM);
    let ended = server.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    for line in ended.errors.lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
    }
}

/// What the parser of arguments says comes in one line, too, with its tips and without the usage.
#[test]
fn a_wrong_argument_is_told_in_one_line() {
    #[rustfmt::skip]
    let table: &[(&[&str], &str)] = &[
        (&["serv"],                          "unrecognized subcommand 'serv'; a similar subcommand exists: 'serve'"),
        (&["send", "--cout", "3"],           "unexpected argument '--cout' found; a similar argument exists: '--count'"),
        (&["send"],                          "the following required arguments were not provided: <ADDRESS>"),
        (&["send", "a", "--route", "0x4000"], "invalid value '0x4000' for '--route <ROUTE>': routes are 0 to 16383, or 0x0 to 0x3fff"),
        (&["serve", "--log-format", "yaml"], "invalid value 'yaml' for '--log-format <FORMAT>' [possible values: auto, text, json]"),
    ];
    for (arguments, want) in table {
        let (code, out, errors) = run(Command::new(BINARY).args(*arguments));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {errors}");
        assert_eq!(errors, format!("tidegate: {want}\n"), "{arguments:?}");
    }
}
