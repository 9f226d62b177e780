//! One port for several server processes: only if each wants that, and then all of them answer.
//!
//! Where the kernel does not spread connections over the sockets of a port, nothing is shared, and who asks is told.

#![cfg(feature = "cli")]

mod support;

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use support::client::Client;
use support::process::{BINARY, NO_ADMIN, Process, run};
use tidegate::net::KERNEL_SPREADS;
use tidegate::server::{Error, Listener, Server};

/// A server with one loop whose frames come to this address.
fn serve(at: SocketAddr, lines: &str, more: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["serve", "--frames", &at.to_string(), "--lines", lines, "--shards", "1"]).args(more);
    command
}

fn sharing(at: SocketAddr) -> Process {
    Process::start(&mut serve(at, "127.0.0.1:0", &["--share-port"]))
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A server that ends before it begins, with one line.
#[track_caller]
fn assert_refused(command: &mut Command, code: i32, words: &[&str]) {
    let (ended, out, errors) = run(command.env_remove("RUST_LOG").env(NO_ADMIN.0, NO_ADMIN.1));
    assert_eq!((ended, out.as_str(), errors.lines().count()), (Some(code), "", 1), "{errors}");
    for word in words {
        assert!(errors.contains(word), "{word:?} is not in: {errors}");
    }
}

/// Of 64 connections each process has some, and answers them; when one of the two has gone, the other takes all.
#[cfg(target_os = "linux")]
#[test]
fn two_processes_answer_on_one_port() {
    let descriptors =
        |server: &Process| std::fs::read_dir(format!("/proc/{}/fd", server.id())).expect("it runs").count();
    let first = sharing(any_port());
    let second = sharing(first.frames);
    assert_eq!(second.frames, first.frames);
    let before = [descriptors(&first), descriptors(&second)];
    let mut clients: Vec<_> = (0..64).map(|_| Client::connect(first.frames)).collect();
    clients.iter_mut().for_each(|client| client.echo(b"shared"));
    let has = [descriptors(&first) - before[0], descriptors(&second) - before[1]];
    assert!(has[0] > 0 && has[1] > 0 && has[0] + has[1] == 64, "{has:?}");
    drop(clients);
    first.end();
    for _ in 0..16 {
        Client::connect(second.frames).echo(b"alone");
    }
    second.end();
}

#[test]
fn a_server_that_does_not_share_is_refused_beside_one_that_does() {
    if !KERNEL_SPREADS {
        let words = ["127.0.0.1:0 cannot be shared", "run one process, without share_port"];
        return assert_refused(&mut serve(any_port(), "127.0.0.1:0", &["--share-port"]), 2, &words);
    }
    let first = sharing(any_port());
    let at = first.frames.to_string();
    let words = [&at, "in use by another process", "or let both share the port with --share-port"];
    assert_refused(&mut serve(first.frames, "127.0.0.1:0", &[]), 69, &words);
    Client::connect(first.frames).echo(b"undisturbed");
    first.end();
}

#[test]
fn a_server_that_shares_is_refused_beside_a_socket_that_does_not() {
    let alone = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = alone.local_addr().expect("it is bound");
    let error =
        Server::builder().listen(Listener::frames(at.to_string()).share_port()).expect_err("it is taken");
    if KERNEL_SPREADS {
        assert!(matches!(error, Error::NotShared { .. }), "{error}");
        let words = [&at.to_string(), "does not share it", "share_port"];
        assert_refused(&mut serve(at, "127.0.0.1:0", &["--share-port"]), 69, &words);
    } else {
        assert!(matches!(error, Error::CannotShare { .. }), "{error}");
    }
}

/// By the key, which leaves paths and the admin port out.
#[cfg(target_os = "linux")]
#[test]
fn paths_and_the_admin_port_are_each_process_own() {
    let path = |name: &str| {
        format!("unix:{}/tidegate-{}-{name}", std::env::temp_dir().display(), std::process::id())
    };
    let start = |at, lines: &str, admin: &str| {
        let mut command = serve(at, lines, &["--admin", admin]);
        command.env("TIDEGATE_SERVER__SHARE_PORT", "true");
        command
    };
    let first = Process::start(&mut start(any_port(), &path("first"), "127.0.0.1:0"));
    let banner = first.banner();
    let admin = banner.lines().find_map(|line| line.strip_prefix("  admin    http://")).expect("it has one");
    let admin = admin.split_whitespace().next().expect("an address");
    let words = ["tidegate-", "choose another path: each process needs its own"];
    assert_refused(&mut start(first.frames, &path("first"), "off"), 69, &words);
    let words = ["the admin port", admin, "it is not shared, so choose another address with --admin"];
    assert_refused(&mut start(first.frames, &path("second"), admin), 69, &words);
    let second = Process::start(&mut start(first.frames, &path("second"), "127.0.0.1:0"));
    second.end();
    first.end();
}

#[test]
fn a_path_can_not_be_shared() {
    let listener = Listener::frames("unix:/tmp/tidegate-shared").share_port();
    let error = Server::builder().listen(listener).expect_err("a path has one socket");
    let want = "unix:/tmp/tidegate-shared cannot be shared with other processes: a path has one socket; give each \
                process a path of its own";
    assert_eq!((error.exit_code(), error.to_string().as_str()), (2, want));
}
