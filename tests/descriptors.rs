//! More clients than descriptors, or than the server was told to take: newcomers are told so, the others are served,
//! the server rests, and one that leaves makes room at once.

#![cfg(feature = "cli")]

mod support;

use socket2::SockRef;
use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;
use support::client::{Client, ECHO, GOAWAY, OVERLOADED, RECEIVED, frame};
use support::process::{BINARY, NO_ADMIN, Process, SERVE, cpu_ticks, run};
use support::serving::{Gate, Neighbour, Serving, builder};
use support::{pattern, wait_until};
use tidegate::metrics::{Counter, Gauge};
use tidegate::service::Router;

/// A server under `ulimit -n`, which has `held` descriptors from its parent.
fn limited(descriptors: u32, held: u32) -> Command {
    let mut command = Command::new("bash");
    let script = format!(
        "ulimit -n {descriptors}; for ((n = 0; n < {held}; n++)); do exec {{fd}}</dev/null; done; exec \"$@\""
    );
    command.args(["-c", &script, "bash", BINARY]).args(SERVE).args(["--log-format", "text"]);
    command.env_remove("RUST_LOG").env(NO_ADMIN.0, NO_ADMIN.1).env("TIDEGATE_SERVER__SHARDS", "1");
    command
}

/// Connects until one is refused, and gives those that are served.
fn fill(address: SocketAddr) -> Vec<Client> {
    let mut served = Vec::new();
    for _ in 0..200 {
        match try_connect(address) {
            Some(client) => served.push(client),
            None => return served,
        }
    }
    panic!("200 connections and no end");
}

/// A client that was served once, or `None` if it was told that there is no room.
fn try_connect(address: SocketAddr) -> Option<Client> {
    let mut client = Client::connect(address);
    // It may have been refused and closed already; the refusal can be read all the same.
    let _ = client.stream.write(&frame(ECHO, b"room?"));
    let got = client.receive();
    if got.header == GOAWAY {
        assert_eq!(got.status(), OVERLOADED);
        return None;
    }
    assert_eq!((got.header, &got.payload[..]), (ECHO, &b"room?"[..]));
    Some(client)
}

/// Everything that must hold of a server that has no room for another connection.
fn check_full(server: &Process, mut served: Vec<Client>) {
    for round in 0..5 {
        let text = Client::connect(server.frames).expect_goaway(OVERLOADED);
        assert!(!text.is_empty());
        let mut line = Client::connect(server.lines);
        let told = String::from_utf8(line.read_to_end()).expect("text");
        assert!(told.starts_with("ERR 5 OVERLOADED ") && told.ends_with('\n'), "{told}");
        for client in &mut served {
            client.echo(&pattern(round, 40));
        }
    }
    let before = cpu_ticks(server.id());
    std::thread::sleep(Duration::from_secs(1));
    let spent = cpu_ticks(server.id()) - before;
    assert!(spent <= 20, "{spent} hundredths of a second in a second of rest: it spins");
    for _ in 0..5 {
        drop(served.pop());
        // Nothing nudges the server but that close: a newcomer is served, once the close has been seen.
        wait_until("a newcomer is served after one has left", || {
            let client = try_connect(server.frames);
            let is_served = client.is_some();
            served.extend(client);
            is_served
        });
    }
    for client in &mut served {
        client.echo(b"still served");
    }
    drop(served);
}

#[test]
fn without_descriptors_newcomers_are_told_and_the_others_served() {
    // 96 less those held, the server's own and its spare one: fewer than the connections it counts with.
    let server = Process::start(&mut limited(96, 60));
    let served = fill(server.frames);
    assert!((1..32).contains(&served.len()), "{} were served", served.len());
    check_full(&server, served);
    server.signal(rustix::process::Signal::TERM);
    let ended = server.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert!(ended.errors.contains("raise the descriptor limit"), "{}", ended.errors);
}

#[test]
fn who_resets_many_at_once_leaves_no_descriptor_and_makes_room() {
    let server = Process::start(&mut limited(300, 0));
    let open = || std::fs::read_dir(format!("/proc/{}/fd", server.id())).expect("its descriptors").count();
    let before = open();
    let served: Vec<_> = (0..200).map(|_| try_connect(server.frames).expect("there is room")).collect();
    assert_eq!(open(), before + 200);
    // All resets lie in one turn, and so do the newcomers of the same moment.
    server.signal(rustix::process::Signal::STOP);
    for client in served {
        SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).expect("an option of its own");
    }
    let newcomers: Vec<_> = (0..100).map(|_| Client::connect(server.frames)).collect();
    server.signal(rustix::process::Signal::CONT);
    for mut newcomer in newcomers {
        newcomer.echo(b"room?");
    }
    wait_until("every descriptor is back", || open() == before);
    server.end();
}

#[test]
fn a_server_knows_how_many_connections_its_descriptors_allow() {
    let server = Process::start(&mut limited(96, 0));
    let served = fill(server.frames);
    assert_eq!(served.len(), 96 - 64);
    check_full(&server, served);
    server.signal(rustix::process::Signal::TERM);
    let ended = server.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert!(ended.errors.contains("connection limit is reached"), "{}", ended.errors);
}

/// What `tidegate doctor` says that there is room for is what the server takes, to the last connection.
#[test]
fn the_doctor_says_what_the_server_takes() {
    for (shards, limit) in [("1", 96), ("2", 130)] {
        let mut doctor = Command::new("bash");
        doctor.args(["-c", &format!("ulimit -n {limit}; exec \"$@\""), "bash", BINARY, "doctor", "--json"]);
        doctor.env(NO_ADMIN.0, NO_ADMIN.1).env("TIDEGATE_SERVER__SHARDS", shards);
        let (code, said, errors) = run(&mut doctor);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{said}");
        let said: serde_json::Value = serde_json::from_str(&said).expect("it is JSON");
        assert_eq!(said["first"], "descriptors", "{said:#}");
        let server = Process::start(limited(limit, 0).env("TIDEGATE_SERVER__SHARDS", shards));
        let served = fill(server.frames);
        assert_eq!(said["carried"].as_u64(), Some(served.len() as u64), "{said:#}");
        drop(served);
        server.end();
    }
}

#[test]
fn too_few_descriptors_end_the_start_with_one_line() {
    let (code, out, errors) = run(&mut limited(40, 0));
    assert_eq!(code, Some(78), "{errors}");
    assert_eq!(out, "");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.contains("40 descriptors") && errors.contains("ulimit -n"), "{errors}");
}

#[test]
fn above_the_most_connections_newcomers_are_told() {
    let running = builder().max_connections(4).start(Router::embedded);
    let serving = Serving::of(running.expect("a server"));
    let neighbour = Neighbour::of(serving.frames());
    let mut served = [serving.connect(), serving.connect()];
    let mut line = serving.connect_lines();
    line.send(b"hello\n");
    line.expect_line(RECEIVED);
    served.iter_mut().for_each(|client| client.echo(b"here"));
    for _ in 0..10 {
        serving.connect().expect_goaway(OVERLOADED);
        let told = serving.connect_lines().read_to_end();
        assert!(told.starts_with(b"ERR 5 OVERLOADED "), "{}", String::from_utf8_lossy(&told));
    }
    served.iter_mut().for_each(|client| client.echo(b"still here"));
    let now = serving.snapshot();
    assert_eq!((now.counter(Counter::RefusedFull), now.counter(Counter::Accepted)), (20, 4));
    assert_eq!(now.gauge(Gauge::Open), 4);
    drop(line);
    serving.wait_for_rest(3);
    serving.connect().echo(b"room again");
    neighbour.leave();
    drop(served);
    serving.wait_for_rest(0);
    serving.end();
}

/// Newcomers speak first, as clients do: they must read the refusal all the same. What they sent before it is taken
/// from the socket, so that closing it does not reset the connection; what comes later may.
#[test]
fn who_speaks_first_reads_the_refusal_too() {
    let gate = Gate::default();
    let serving = Serving::gated(builder().shards(1).max_connections(1), &gate);
    let mut first = serving.connect();
    for round in 0..3 {
        gate.close();
        first.request(ECHO, b"slow");
        gate.wait_for_handler();
        // While the loop is held up they connect and speak.
        let mut clients: Vec<_> = (0..10).map(|_| serving.connect()).collect();
        let mut lines: Vec<_> = (0..10).map(|_| serving.connect_lines()).collect();
        clients.iter_mut().for_each(|client| client.request(ECHO, &pattern(round, 100)));
        lines.iter_mut().for_each(|line| line.send(b"hello\n"));
        gate.open();
        first.expect(ECHO, b"slow");
        for client in &mut clients {
            client.expect_goaway(OVERLOADED);
        }
        for line in &mut lines {
            assert!(line.read_to_end().starts_with(b"ERR 5 OVERLOADED "));
        }
    }
    drop(first);
    serving.end();
}
