//! Several loops in one server: newcomers are spread, an excess is evened out, limits and drains are the whole server's,
//! and a loop that dies takes the others down in order.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;
use support::client::{Client, DRAINING, ECHO, GOAWAY, OVERLOADED, frame};
use support::serving::{Gate, Serving, builder};
use support::{PATIENCE, pattern, wait_until};
use tidegate::base::limits::MAILBOX_COMMANDS;
use tidegate::metrics::{Counter, Gauge, Snapshot};
use tidegate::server::{DrainReport, Error, Unreached};
use tidegate::service::{AfterPanic, Cx, Frame, Message, Peer, Replied, Reply, Service};
use tidegate::{CloseReason, ConnId, Status};

/// Answers every request with the connection's id, but echoes on one route and panics on another.
struct Namer;

const PANIC: u16 = 13;
const NAME: u16 = 7;
const HELLO: u16 = 0x4002;
const WELCOME: u16 = 0x4003;
const MESSAGE: u16 = 0x4009;

impl Service for Namer {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn on_frame(&mut self, _conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        match frame.route() {
            ECHO => reply.forward(frame.whole()),
            PANIC => panic!("asked to"),
            _ => {
                let ConnId { shard, generation, slot } = cx.id();
                let id = [&shard.to_be_bytes()[..], &generation.to_be_bytes(), &slot.to_be_bytes()].concat();
                reply.send(&id)
            }
        }
    }

    fn on_panic(&mut self) -> AfterPanic {
        AfterPanic::Rebuild
    }
}

/// A server of so many loops, each with a [`Namer`].
fn serving(shards: u16) -> Serving {
    Serving::of(builder().shards(shards).start(|| Namer).expect("a server"))
}

/// A client and the id that the server knows it by.
struct Named {
    client: Client,
    id: ConnId,
}

impl Named {
    #[track_caller]
    fn of(mut client: Client) -> Named {
        client.request(NAME, b"who am I?");
        let got = client.receive().payload;
        let part = |at: usize| u32::from_be_bytes(got[at..at + 4].try_into().expect("four bytes"));
        let id = ConnId { shard: u16::from_be_bytes([got[0], got[1]]), generation: part(2), slot: part(6) };
        Named { client, id }
    }

    fn connect(serving: &Serving) -> Named {
        Named::of(serving.connect())
    }
}

/// How many connections each loop has.
fn loads(serving: &Serving) -> Vec<u64> {
    serving.handle.shard_snapshots().iter().map(|now| now.gauge(Gauge::Open)).collect()
}

/// How far a loop may be ahead of the emptiest by the rule, and the newcomer that was let be.
fn slack(least: u64) -> u64 {
    (least * 12 / 100).max(8) + 1
}

#[test]
fn newcomers_are_spread_over_all_loops() {
    const CONNECTIONS: usize = 200;
    let serving = serving(4);
    let mut clients: Vec<Named> = (0..CONNECTIONS).map(|_| Named::connect(&serving)).collect();
    clients.iter_mut().for_each(|named| named.client.echo(b"here"));
    assert_eq!(serving.handle.shards(), 4);
    let loads = loads(&serving);
    let least = *loads.iter().min().expect("four");
    assert_eq!(loads.iter().sum::<u64>(), CONNECTIONS as u64);
    assert!(least > 0 && loads.iter().all(|load| *load <= least + slack(least)), "{loads:?}");
    for (shard, load) in (0..).zip(&loads) {
        let told = clients.iter().filter(|named| named.id.shard == shard).count();
        assert_eq!(told as u64, *load, "loop {shard}");
    }
    assert_eq!(serving.snapshot().counter(Counter::Accepted), CONNECTIONS as u64);
    assert_eq!(serving.handle.connections() as usize, CONNECTIONS);
    drop(clients);
    serving.wait_for_rest(0);
    assert_eq!(serving.handle.connections(), 0);
    serving.end();
}

/// The kernel goes on giving half of the newcomers to the fuller loop; it passes them on.
#[test]
fn an_excess_is_evened_out_by_newcomers() {
    let serving = serving(2);
    let mut clients: Vec<Named> = (0..80).map(|_| Named::connect(&serving)).collect();
    clients.retain(|named| named.id.shard == 0);
    let kept = clients.len() as u64;
    serving.wait_for("the others are gone", |now| now.gauge(Gauge::Open) == kept);
    let before = serving.snapshot().counter(Counter::HandedOff);
    // Until the other has so few less that the rule lets the excess be.
    let behind = (0..).find(|load| kept < load + slack(*load)).expect("at last as many");
    for _ in 0..behind {
        let named = Named::connect(&serving);
        assert_eq!(named.id.shard, 1, "{:?}", loads(&serving));
        clients.push(named);
    }
    assert_eq!(loads(&serving), [kept, behind]);
    assert!(serving.snapshot().counter(Counter::HandedOff) > before, "the kernel gave all to the empty loop");
    clients.iter_mut().for_each(|named| named.client.echo(b"served where it is"));
    drop(clients);
    serving.wait_for_rest(0);
    serving.end();
}

#[test]
fn the_connection_limit_is_the_servers() {
    const MOST: usize = 10;
    let running = builder().shards(3).max_connections(10).start(|| Namer).expect("a server");
    let serving = Serving::of(running);
    let mut served: Vec<Named> = (0..MOST).map(|_| Named::connect(&serving)).collect();
    for round in 0..10 {
        let text = serving.connect().expect_goaway(OVERLOADED);
        assert!(text.contains("10 connections"), "{text}");
        served.iter_mut().for_each(|named| named.client.echo(&pattern(round, 30)));
        assert_eq!(serving.handle.connections() as usize, MOST);
    }
    // Whichever loop it was that has room now, and whichever takes the newcomer in.
    for _ in 0..5 {
        drop(served.pop());
        serving.wait_for_rest(MOST as u64 - 1);
        served.push(Named::connect(&serving));
    }
    drop(served);
    serving.wait_for_rest(0);
    serving.end();
}

/// An id that a program kept: it names a connection of another loop, then nobody, and never somebody else.
#[test]
fn ids_go_stale_and_name_nobody_else() {
    let serving = serving(2);
    let old = Named::connect(&serving);
    let (id, handle) = (old.id, serving.handle.clone());
    drop(old);
    serving.wait_for_rest(0);
    // Until the slot has a new owner.
    let mut clients = Vec::new();
    while !clients.iter().any(|named: &Named| (named.id.shard, named.id.slot) == (id.shard, id.slot)) {
        clients.push(Named::connect(&serving));
    }
    let told = handle.clone();
    let elsewhere = std::thread::spawn(move || told.close(id, Status::DRAINING, "you there"));
    assert_eq!(elsewhere.join().expect("no panic"), Ok(()), "that it is gone is no error");
    serving.wait_for("the letter found nobody", |now| now.counter(Counter::Undeliverable) == 1);
    clients.iter_mut().for_each(|named| named.client.echo(b"still here"));
    let foreign = ConnId { shard: 9, ..id };
    let error = handle.close(foreign, Status::DRAINING, "").expect_err("there is no such loop");
    assert_eq!(error, Unreached::NoSuchShard { shard: 9, shards: 2 });
    drop(clients);
    serving.end();
}

/// A program's own threads reach a connection wherever it is: what they send and the end that they make.
#[test]
fn connections_are_reached_from_other_threads() {
    let serving = serving(3);
    let mut clients: Vec<Named> = (0..30)
        .map(|_| {
            let mut client = serving.connect();
            // Version 1, no flags, no name, no token.
            client.request(HELLO, &[1, 0, 0, 0, 0]);
            assert_eq!(client.receive().header, WELCOME);
            Named::of(client)
        })
        .collect();
    let mut plain = Named::connect(&serving);
    let (handle, ids) = (serving.handle.clone(), clients.iter().map(|named| named.id).collect::<Vec<_>>());
    let unknown = plain.id;
    let elsewhere = std::thread::spawn(move || {
        for id in ids {
            let message = Message::new("news", id.to_string().as_bytes());
            assert_eq!(handle.send(id, &message), Ok(()));
            assert_eq!(handle.close(id, Status::OVERLOADED, "that is all"), Ok(()));
        }
        // It never said HELLO, so it would not know what to do with a message.
        handle.send(unknown, &Message::new("news", b"")).expect("its loop has room");
    });
    for named in &mut clients {
        let text = [&[4][..], b"news", named.id.to_string().as_bytes()].concat();
        named.client.expect(MESSAGE, &text);
        assert_eq!(named.client.expect_goaway(OVERLOADED), "that is all");
    }
    elsewhere.join().expect("no panic");
    serving.wait_for("what nobody could have is counted", |now| now.counter(Counter::Undeliverable) == 1);
    plain.client.echo(b"undisturbed");
    drop((clients, plain));
    serving.wait_for_rest(0);
    assert_eq!(serving.snapshot().closes(CloseReason::ClosedByService), 30);
    serving.end();
}

/// A loop that is held up takes no commands, and says so when there are too many.
#[test]
fn a_full_mailbox_is_told() {
    let gate = Gate::default();
    let serving = Serving::gated(builder().shards(1), &gate);
    let mut client = serving.connect();
    client.request(ECHO, b"slow");
    gate.wait_for_handler();
    let id = ConnId { shard: 0, generation: 77, slot: 77 };
    for _ in 0..MAILBOX_COMMANDS {
        assert_eq!(serving.handle.close(id, Status::OK, ""), Ok(()));
    }
    let error = serving.handle.close(id, Status::OK, "").expect_err("no room for one more");
    assert_eq!(error, Unreached::Full { shard: 0, limit: MAILBOX_COMMANDS });
    gate.open();
    client.expect(ECHO, b"slow");
    drop(client);
    serving.end();
}

/// What a client under load saw until its end.
struct Seen {
    answered: u64,
}

/// Keeps requests going until GOAWAY; then the end must follow. A wrong or late reply, or a reset, panics.
fn load(mut client: Client, seed: u64) -> Seen {
    const DEPTH: u64 = 20;
    let (mut sent, mut answered) = (0, 0);
    loop {
        let mut more = Vec::new();
        while sent < answered + DEPTH {
            more.extend(frame(ECHO, &pattern(seed + sent, 100)));
            sent += 1;
        }
        client.send(&more);
        while sent - answered > DEPTH / 2 {
            let got = client.receive();
            if got.header == GOAWAY {
                assert_eq!(got.status(), DRAINING);
                client.expect_end();
                return Seen { answered };
            }
            assert!(
                got.payload == pattern(seed + answered, 100),
                "reply {answered} of client {seed} is wrong"
            );
            answered += 1;
        }
    }
}

/// Load on every loop, newcomers all the while, some of them handed over: none is lost on the way.
#[test]
fn a_drain_of_several_loops_loses_nothing() {
    for round in 0..5_u64 {
        let serving = serving(3);
        let clients: Vec<JoinHandle<Seen>> = (0..12_u64)
            .map(|number| {
                let client = serving.connect();
                std::thread::spawn(move || load(client, number << 40))
            })
            .collect();
        serving.wait_for("load is on", |now| now.counter(Counter::Started) > 1000);
        // Connected, and maybe not accepted yet.
        let mut idle: Vec<Client> = (0..60).map(|_| serving.connect()).collect();
        std::thread::sleep(Duration::from_micros(round * 700));
        serving.handle.drain(PATIENCE);
        for client in &mut idle {
            client.expect_goaway(DRAINING);
        }
        drop(idle);
        let answered: u64 = clients
            .into_iter()
            .map(|client| client.join().expect("right replies in order, GOAWAY, the end").answered)
            .sum();
        let (handle, report) = (serving.handle.clone(), serving.join());
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.drained, 72);
        let now = handle.snapshot();
        let named = now.counter(Counter::Started) - answered;
        assert!(named == 0, "{named} requests were answered and the answers did not arrive");
        assert_eq!(handle.connections(), 0);
    }
}

/// A factory that can make so many services, and panics at the next: outside of a callback, where a loop can't go on.
fn makes(most: u32) -> impl FnMut() -> Namer + Clone + Send + 'static {
    let made = Arc::new(AtomicU32::new(0));
    move || {
        assert!(made.fetch_add(1, Relaxed) < most, "no more services");
        Namer
    }
}

/// Waits for a server's end, whatever it is.
fn end_of(serving: Serving) -> Result<DrainReport, Error> {
    wait_until("the server has ended", || serving.is_finished());
    serving.into_running().join()
}

#[test]
fn when_a_loop_dies_the_others_drain() {
    let serving = Serving::of(builder().shards(3).start(makes(3)).expect("a server"));
    let mut clients: Vec<Named> = (0..60).map(|_| Named::connect(&serving)).collect();
    let victim = clients.pop().expect("sixty");
    let (died, mut last) = (victim.id.shard, victim.client);
    clients.retain(|named| named.id.shard != died);
    assert!(!clients.is_empty());
    // Requests that are answered although the server ends.
    clients.iter_mut().for_each(|named| named.client.request(ECHO, b"last"));
    last.request(PANIC, b"");
    for named in &mut clients {
        named.client.expect(ECHO, b"last");
        named.client.expect_goaway(DRAINING);
    }
    drop(clients);
    let handle = serving.handle.clone();
    let error = end_of(serving).expect_err("a loop died");
    assert!(
        matches!(&error, Error::ShardDied { shard, why } if *shard == died && why.contains("no more")),
        "{error}"
    );
    assert_eq!(error.exit_code(), 70);
    let drained: u64 = handle.shard_snapshots().iter().map(drained).sum();
    assert!(drained > 0);
}

fn drained(now: &Snapshot) -> u64 {
    now.closes(CloseReason::Drained)
}

#[test]
fn a_service_that_cannot_be_made_ends_the_start() {
    let error = builder().shards(3).start(makes(2)).expect_err("the third can't be made");
    assert!(matches!(&error, Error::ShardDied { shard: 2, why } if why.contains("no more")), "{error}");
}

#[test]
fn shards_out_of_range_are_told() {
    for (shards, memory, words) in
        [(0, 64 << 20, "number of shards"), (257, 64 << 20, "number of shards"), (9, 32 << 20, "memory")]
    {
        let started = builder().shards(shards).memory(memory).start(|| Namer);
        let error = started.expect_err("out of range");
        assert!(matches!(error, Error::Limit { .. }) && error.to_string().contains(words), "{error}");
    }
}

/// In the environment of the process in which the next test plays the server whose loop dies.
const CHILD: &str = "TIDEGATE_TEST_CHILD";

/// The server: says where it is, and ends as the program does.
fn serve_until_a_loop_dies() -> ! {
    let running = builder().shards(2).start(makes(2)).expect("a server");
    writeln!(std::io::stdout(), "{CHILD} {}", running.local_addrs()[0]).expect("a parent reads it");
    let code = running.join().map_or_else(|error| error.exit_code(), |_| 0);
    std::process::exit(code.into());
}

/// Runs itself again as the server, in a process of its own.
#[test]
fn a_process_whose_loop_dies_ends_with_its_own_exit_code() {
    if std::env::var_os(CHILD).is_some() {
        serve_until_a_loop_dies();
    }
    let mut child = Command::new(std::env::current_exe().expect("this test's binary"))
        .args(["--exact", "a_process_whose_loop_dies_ends_with_its_own_exit_code", "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let out = BufReader::new(child.stdout.take().expect("it is piped"));
    let line =
        out.lines().map_while(Result::ok).find(|line| line.contains(CHILD)).expect("it says where it is");
    let address = line.split_whitespace().last().and_then(|text| text.parse().ok()).expect("an address");
    let mut bystander = Client::connect(address);
    bystander.echo(b"here");
    Client::connect(address).request(PANIC, b"");
    // It may be the one whose loop dies.
    drop(bystander);
    let mut code = None;
    wait_until("the process ends by itself", || {
        code = child.try_wait().expect("it is our child");
        code.is_some()
    });
    assert_eq!(code.and_then(|code| code.code()), Some(70));
}

/// The threads have names that tools show.
#[cfg(target_os = "linux")]
#[test]
fn threads_have_names() {
    let serving = serving(2);
    let tasks = std::fs::read_dir("/proc/self/task").expect("this process's threads");
    let names: Vec<String> = tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .collect();
    for name in ["tidegate-0", "tidegate-1"] {
        assert!(names.iter().any(|other| other == name), "{name} is not among {names:?}");
    }
    serving.end();
}
