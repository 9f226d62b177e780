//! How many may come, how fast they may send, and how long they may stay: over real sockets, at each of these limits.

#![cfg(feature = "cli")]

mod support;

use socket2::{Domain, SockRef, Socket, Type};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::client::{Client, DRAINING, ECHO, ERROR, EXT, GOAWAY, OVERLOADED, RECEIVED, frame};
use support::extended::{MESSAGE, correlated};
use support::process::{BINARY, Process, SERVE};
use support::serving::{Neighbour, Serving, builder};
use support::{PATIENCE, pattern, wait_until};
use tidegate::base::ConnId;
use tidegate::base::limits::FRAMES_PER_CLOCK_READ;
use tidegate::metrics::{Counter, Gauge};
use tidegate::server::{Builder, Listener, Server};
use tidegate::service::{Cx, Frame, Message, Peer, Replied, Reply, Router, Service, Welcomed};
use tidegate::wire::Hello;
use tidegate::{CloseReason, Limits, WhenOver};

fn serve(builder: Builder) -> Serving {
    Serving::of(builder.start(Router::embedded).expect("a server"))
}

fn limited(limits: Limits) -> Serving {
    serve(builder().limits(limits))
}

/// A client whose own address is `127.0.0.host`.
#[track_caller]
fn connect_from(host: u8, to: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, host], 0)).into()).expect("all of 127/8 is ours");
    socket.connect_timeout(&to.into(), PATIENCE).expect("the server listens");
    Client::over(socket.into())
}

/// The text that a newcomer was refused with.
#[track_caller]
fn refused(mut client: Client) -> String {
    client.expect_goaway(OVERLOADED)
}

/// Waits until a newcomer is served: those before it may not have been seen to leave.
#[track_caller]
fn wait_for_room(mut connect: impl FnMut() -> Client) -> Client {
    let mut room = None;
    wait_until("a newcomer is served", || {
        let mut client = connect();
        client.request(ECHO, b"room?");
        let got = client.receive();
        room = (got.header == ECHO).then_some(client);
        room.is_some()
    });
    room.expect("waited for")
}

#[test]
fn a_full_listener_refuses_and_the_others_serve() {
    let frames = Listener::frames("127.0.0.1:0").max_connections(3);
    let builder = Server::builder().listen(frames).and_then(|it| it.listen(Listener::lines("127.0.0.1:0")));
    let serving = serve(builder.expect("two free ports").shards(2));
    let mut served: Vec<Client> = (0..3).map(|_| serving.connect()).collect();
    served.iter_mut().for_each(|client| client.echo(b"here"));
    for _ in 0..4 {
        let text = refused(serving.connect());
        assert_eq!(text, "the limit of 3 connections of this listener is reached");
    }
    let mut line = serving.connect_lines();
    line.send(b"hello\n");
    line.expect_line(RECEIVED);
    let now = serving.snapshot();
    assert_eq!((now.counter(Counter::RefusedListener), now.counter(Counter::RefusedFull)), (4, 0));
    assert_eq!(now.listeners()[0].open, 3);
    drop(served.pop());
    served.push(wait_for_room(|| serving.connect()));
    served.iter_mut().for_each(|client| client.echo(b"still here"));
    drop((served, line));
    serving.wait_for_rest(0);
    serving.end();
}

#[test]
fn an_address_has_so_many_connections_on_all_loops_together() {
    let serving = serve(builder().shards(3).limits(Limits { per_address: Some(5), ..Limits::default() }));
    let neighbour = Neighbour::of(serving.frames());
    let mut served: Vec<Client> = (0..5).map(|_| connect_from(2, serving.frames())).collect();
    served.iter_mut().for_each(|client| client.echo(b"here"));
    for _ in 0..4 {
        let text = refused(connect_from(2, serving.frames()));
        assert_eq!(text, "the limit of 5 connections of one address is reached");
    }
    let told = connect_from(2, serving.lines()).read_to_end();
    assert!(told.starts_with(b"ERR 5 OVERLOADED the limit of 5 "), "{}", String::from_utf8_lossy(&told));
    connect_from(3, serving.frames()).echo(b"somebody else");
    assert_eq!(serving.snapshot().counter(Counter::RefusedAddress), 5);
    drop(served.pop());
    served.push(wait_for_room(|| connect_from(2, serving.frames())));
    wait_until("three addresses, or two", || (2..=3).contains(&serving.handle.addresses()));
    neighbour.leave();
    drop(served);
    serving.wait_for_rest(0);
    wait_until("no address is left", || serving.handle.addresses() == 0);
    serving.end();
}

#[test]
fn unix_sockets_have_no_address() {
    let path = std::env::temp_dir().join(format!("tidegate-limits-{}.sock", std::process::id()));
    let builder = Server::builder().listen(format!("unix:{}", path.display()).as_str());
    let limits = Limits { per_address: Some(1), ..Limits::default() };
    let serving = serve(builder.expect("a path").limits(limits));
    let mut served: Vec<Client> = (0..3).map(|_| Client::connect_unix(&path)).collect();
    served.iter_mut().for_each(|client| client.echo(b"here"));
    assert_eq!(serving.handle.addresses(), 0);
    drop(served);
    serving.end();
}

/// Whatever comes and goes, and however it goes: in the end all places are back.
#[test]
fn places_come_back_after_churn() {
    let limits = Limits { per_address: Some(6), ..Limits::default() };
    let frames = Listener::frames("127.0.0.1:0").max_connections(9);
    let serving = serve(Server::builder().listen(frames).expect("a free port").shards(3).limits(limits));
    let address = serving.frames();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            scope.spawn(move || {
                for round in 0..150_u64 {
                    let mut client = connect_from(2 + thread % 2, address);
                    match round % 4 {
                        0 => drop(client),
                        1 => {
                            // So that closing it is a reset.
                            let reset = SockRef::from(&client.stream).set_linger(Some(Duration::ZERO));
                            reset.expect("an option of a socket");
                        }
                        2 => {
                            let _ = client.stream.write(b"GET / HTTP/1.1\r\n\r\n");
                        }
                        _ => {
                            let _ = client.stream.write(&frame(ECHO, &pattern(round, 40)));
                            finish_quietly(&mut client);
                        }
                    }
                }
            });
        }
    });
    serving.wait_for_rest(0);
    wait_until("no address is left", || serving.handle.addresses() == 0);
    let mut served: Vec<Client> = (0..6).map(|_| connect_from(2, address)).collect();
    served.extend((0..3).map(|_| connect_from(3, address)));
    served.iter_mut().for_each(|client| client.echo(b"all places are back"));
    assert!(refused(connect_from(4, address)).contains("of this listener"));
    drop(served);
    serving.wait_for_rest(0);
    serving.end();
}

/// Reads whatever comes, if anything does.
fn finish_quietly(client: &mut Client) {
    let _ = client.stream.shutdown(Shutdown::Write);
    let _ = client.stream.read_to_end(&mut Vec::new());
}

/// Newcomers that come too fast wait in the kernel's queue: all are served, none is refused, nobody spins meanwhile.
#[test]
fn newcomers_wait_and_none_is_refused() {
    let limits = Limits { accept_rate: Some(50), burst: Duration::from_millis(100), ..Limits::default() };
    let serving = serve(builder().shards(2).limits(limits));
    let (turns, began) = (serving.snapshot().counter(Counter::Turns), Instant::now());
    let mut clients: Vec<Client> = (0..30).map(|_| serving.connect()).collect();
    clients.iter_mut().for_each(|client| client.echo(b"at last"));
    // Five at once, and one that each loop has in hand; then fifty a second.
    assert!(began.elapsed() >= Duration::from_millis(440), "too fast: {:?}", began.elapsed());
    let now = serving.snapshot();
    assert_eq!((now.counter(Counter::Accepted), now.counter(Counter::RefusedFull)), (30, 0));
    assert!(now.counter(Counter::AcceptsPaced) > 0);
    let turned = now.counter(Counter::Turns) - turns;
    assert!(turned < 1_000, "{turned} turns: it spins");
    drop(clients);
    serving.wait_for_rest(0);
    serving.end();
}

fn rates(messages: u32, burst_ms: u64, when_over: WhenOver) -> Limits {
    Limits {
        messages_per_second: Some(messages),
        burst: Duration::from_millis(burst_ms),
        when_over,
        ..Limits::default()
    }
}

/// Who sends too fast is not read for a while; nothing is lost, and no deadline counts that time.
#[test]
fn a_pause_loses_nothing_and_closes_nobody() {
    let limits = Limits { idle: Some(Duration::from_millis(300)), ..rates(100, 100, WhenOver::Pause) };
    let serving = serve(builder().shards(1).limits(limits));
    let mut client = serving.connect();
    let (began, turns) = (Instant::now(), serving.snapshot().counter(Counter::Turns));
    // One batch of a hundred: ninety too many, to be paid back in 0.9 s.
    let sent: Vec<u8> = (0..100).flat_map(|at| frame(ECHO, &pattern(at, 20))).collect();
    client.send(&sent);
    (0..100).for_each(|at| client.expect(ECHO, &pattern(at, 20)));
    serving.wait_for("it is paused", |now| now.gauge(Gauge::WaitingForRate) == 1);
    client.echo(b"behind the pause, longer than it may be idle");
    assert!(began.elapsed() >= Duration::from_millis(850), "too fast: {:?}", began.elapsed());
    let now = serving.snapshot();
    assert!(now.counter(Counter::PausedRate) >= 1);
    assert_eq!((now.closes(CloseReason::Idle), now.counter(Counter::RefusedRate)), (0, 0));
    assert!(now.counter(Counter::Turns) - turns < 500, "it spins");
    drop(client);
    serving.wait_for("no pause is left", |now| now.gauge(Gauge::WaitingForRate) == 0);
    serving.wait_for_rest(0);
    serving.end();
}

#[test]
fn one_after_another_they_pass_at_the_rate() {
    let serving = serve(builder().shards(1).limits(rates(100, 50, WhenOver::Pause)));
    let mut client = serving.connect();
    let began = Instant::now();
    (0..50).for_each(|at| client.echo(&pattern(at, 30)));
    let took = began.elapsed();
    // Five at once, then a hundred a second.
    assert!((Duration::from_millis(430)..PATIENCE).contains(&took), "{took:?}");
    drop(client);
    serving.end();
}

#[test]
fn bytes_have_a_rate_of_their_own_within_one_large_frame_too() {
    let limits =
        Limits { bytes_per_second: Some(2 << 20), burst: Duration::from_millis(50), ..Limits::default() };
    let serving = serve(builder().shards(1).limits(limits));
    let mut client = serving.connect();
    let large = pattern(1, 1 << 20);
    let (began, whole) = (Instant::now(), frame(ECHO, &large));
    // An eighth is twenty milliseconds too much already; what follows comes with the next reads.
    client.send(&whole[..whole.len() / 8]);
    serving.wait_for("it was paused within the frame", |now| now.counter(Counter::PausedRate) == 1);
    let sending = client.send_beside([&whole[whole.len() / 8..], &whole[..]].concat(), false);
    client.expect(ECHO, &large);
    client.expect(ECHO, &large);
    sending.done();
    // All but the burst and the last read, which may be a whole frame, is paid for.
    assert!(began.elapsed() >= Duration::from_millis(400), "too fast: {:?}", began.elapsed());
    drop(client);
    serving.end();
}

/// Each beyond the rate is refused in its place, with the number and the time to wait; those within it are served.
#[test]
fn requests_beyond_the_rate_are_refused_in_their_place() {
    // Ten at once, and then one in half a second.
    let serving = serve(builder().shards(1).limits(rates(2, 5_000, WhenOver::Refuse)));
    let mut client = serving.connect();
    let sent: Vec<u8> = (0..30).flat_map(|at| frame(ECHO, &pattern(at, 20))).collect();
    client.send(&[sent, correlated(ECHO, 7, b"and this?")].concat());
    (0..10).for_each(|at| client.expect(ECHO, &pattern(at, 20)));
    for _ in 10..30 {
        let got = client.receive();
        assert_eq!((got.header, got.status()), (ERROR, OVERLOADED));
        assert!(
            got.text().starts_with("the limit of 2 messages of a connection in a second"),
            "{}",
            got.text()
        );
    }
    let got = client.receive();
    assert_eq!(got.header & !EXT, ECHO);
    assert_eq!((got.extended().status, got.extended().correlation), (OVERLOADED, Some(7)));
    assert_ne!(got.payload[1] & 0x80, 0, "its block has a tag: when it is worth another try");
    wait_until("a token has come", || {
        client.request(ECHO, b"again");
        client.receive().header == ECHO
    });
    let mut line = serving.connect_lines();
    line.send("hello\n".repeat(12).as_bytes());
    (0..10).for_each(|_| line.expect_line(RECEIVED));
    for _ in 0..2 {
        let told = line.next_line().expect("a line");
        assert!(told.starts_with(b"ERR 5 OVERLOADED the limit of 2 "), "{}", String::from_utf8_lossy(&told));
    }
    let now = serving.snapshot();
    assert!(now.counter(Counter::RefusedRate) >= 23 && now.counter(Counter::PausedRate) == 0);
    drop((client, line));
    serving.wait_for_rest(0);
    serving.end();
}

/// Bare frames can't be refused: there, a failed request would end the connection.
#[test]
fn where_nothing_can_be_refused_it_is_paused() {
    let builder = Server::builder().listen(Listener::bare_frames("127.0.0.1:0")).expect("a free port");
    let serving = serve(builder.shards(1).limits(rates(100, 50, WhenOver::Refuse)));
    let mut client = serving.connect();
    (0..40).for_each(|at| client.echo(&pattern(at, 30)));
    let now = serving.snapshot();
    assert!(now.counter(Counter::PausedRate) > 0 && now.counter(Counter::RefusedRate) == 0);
    drop(client);
    serving.end();
}

#[test]
fn connections_of_an_address_share_its_rate_on_all_loops() {
    let limits = Limits {
        address_messages_per_second: Some(2),
        burst: Duration::from_secs(5),
        when_over: WhenOver::Refuse,
        ..Limits::default()
    };
    let serving = serve(builder().shards(2).limits(limits));
    let mut of_one: Vec<Client> = (0..5).map(|_| connect_from(2, serving.frames())).collect();
    let mut answered = 0;
    for client in &mut of_one {
        client.send(&frame(ECHO, b"share").repeat(6));
        answered += (0..6).filter(|_| client.receive().header == ECHO).count();
    }
    assert!((10..20).contains(&answered), "{answered} of thirty were answered");
    let mut again = connect_from(2, serving.frames());
    again.send(&frame(ECHO, b"share").repeat(6));
    let more = (0..6).filter(|_| again.receive().header == ECHO).count();
    assert!(more < 6, "a new connection is no new address");
    connect_from(3, serving.frames()).echo(b"somebody else");
    drop((of_one, again));
    serving.wait_for_rest(0);
    serving.end();
}

/// Keeps the ids of those who said HELLO.
#[derive(Clone, Default)]
struct Register(Arc<Mutex<Vec<ConnId>>>);

impl Service for Register {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn on_hello(&mut self, _conn: &mut (), _hello: &Hello<'_>, cx: &mut Cx<'_>) -> Welcomed {
        self.0.lock().expect("no panic").push(cx.id());
        Welcomed::Anonymous
    }

    fn on_frame(&mut self, _: &mut (), frame: Frame<'_>, reply: Reply<'_>, _: &mut Cx<'_>) -> Replied {
        reply.forward(frame.whole())
    }
}

#[test]
fn deliveries_beyond_the_rate_are_dropped_and_counted() {
    // Five at once, and then one a second.
    let burst = Duration::from_secs(5);
    let limits = Limits { deliveries_per_second: Some(1), burst, ..Limits::default() };
    let register = Register::default();
    let made = register.clone();
    let serving =
        Serving::of(builder().shards(1).limits(limits).start(move || made.clone()).expect("a server"));
    let mut client = serving.connect();
    client.hello();
    let id = register.0.lock().expect("no panic")[0];
    for at in 0..20_u8 {
        serving.handle.send(id, &Message::new("news", &[at])).expect("the loop is there");
    }
    serving.wait_for("most were dropped", |now| now.counter(Counter::DeliveriesDropped) >= 14);
    client.request(ECHO, b"is that all?");
    let (mut messages, mut got) = (0, client.receive());
    while got.header == MESSAGE {
        (messages, got) = (messages + 1, client.receive());
    }
    assert_eq!(got.header, ECHO, "requests and replies are no deliveries");
    let dropped = serving.snapshot().counter(Counter::DeliveriesDropped);
    assert!(
        (5..=6).contains(&messages) && dropped + messages == 20,
        "{messages} came, {dropped} were dropped"
    );
    drop(client);
    serving.end();
}

#[test]
fn a_plain_connection_ends_in_order_when_it_has_come_of_age() {
    let limits =
        Limits { max_age: Some(Duration::from_millis(400)), max_age_jitter: 50, ..Limits::default() };
    let serving = limited(limits);
    let began = Instant::now();
    let mut idle = serving.connect();
    let mut busy = serving.connect();
    let mut line = serving.connect_lines();
    let mut rounds = 0;
    let text = loop {
        busy.request(ECHO, &pattern(rounds, 50));
        let got = busy.receive();
        if got.header == GOAWAY {
            assert_eq!(got.status(), DRAINING);
            break got.text().to_owned();
        }
        assert!(got.payload == pattern(rounds, 50));
        rounds += 1;
    };
    assert_eq!(text, "this connection has been open for as long as it may be");
    assert!(rounds > 0);
    busy.expect_end();
    assert_eq!(idle.expect_goaway(DRAINING), text);
    line.expect_end();
    assert!(began.elapsed() >= Duration::from_millis(195), "too early: {:?}", began.elapsed());
    serving.wait_for("all three are counted", |now| now.closes(CloseReason::Aged) == 3);
    serving.connect().echo(b"newcomers are welcome");
    serving.wait_for_rest(0);
    serving.end();
}

/// Half a message when the time comes: it may still be ended.
#[test]
fn a_message_on_its_way_is_waited_for() {
    let limits = Limits { max_age: Some(Duration::from_millis(200)), max_age_jitter: 0, ..Limits::default() };
    let serving = limited(limits);
    let mut client = serving.connect();
    let whole = frame(ECHO, b"in two halves");
    client.send(&whole[..9]);
    serving.wait_for("its time has come", |now| now.gauge(Gauge::Draining) == 1);
    client.send(&whole[9..]);
    client.expect(ECHO, b"in two halves");
    client.expect_goaway(DRAINING);
    serving.wait_for("it is counted", |now| now.closes(CloseReason::Aged) == 1);
    serving.end();
}

/// Who said HELLO is told, has what is open answered, and goes by itself.
#[test]
fn who_said_hello_is_told_when_it_has_come_of_age() {
    let limits = Limits { max_age: Some(Duration::from_millis(200)), max_age_jitter: 0, ..Limits::default() };
    let held = Arc::new(Mutex::new(Vec::new()));
    let keeps = Arc::clone(&held);
    let running = builder().shards(1).limits(limits).start_fn(move |_: Frame<'_>, reply: Reply<'_>| {
        let (later, replied) = reply.defer();
        keeps.lock().expect("no panic").extend(later);
        replied
    });
    let serving = Serving::of(running.expect("a server"));
    let mut client = serving.connect();
    client.hello();
    client.request(ECHO, b"open");
    let got = client.receive();
    assert_eq!((got.header, got.status()), (GOAWAY, DRAINING));
    assert_eq!(got.text(), "this connection has been open for as long as it may be");
    client.request(ECHO, b"too late");
    wait_until("both were read", || serving.snapshot().counter(Counter::FramesIn) == 3);
    held.lock().expect("no panic").pop().expect("one is open").send(b"answered");
    client.expect(ECHO, b"answered");
    client.expect_error(DRAINING);
    client.finish_sending();
    client.expect_end();
    serving.wait_for("it is counted", |now| now.closes(CloseReason::Aged) == 1);
    serving.end();
}

/// A drain answers what was received, however long its rate would have made it wait.
#[test]
fn a_drain_waits_for_no_rate() {
    let serving = serve(builder().shards(1).limits(rates(1, 10, WhenOver::Pause)));
    let mut client = serving.connect();
    // Fewer than a batch takes between two looks at the clock, so that however slow the machine is they are one batch.
    let burst = FRAMES_PER_CLOCK_READ as usize - 1;
    client.send(&frame(ECHO, b"a lot").repeat(burst));
    (0..burst).for_each(|_| client.expect(ECHO, b"a lot"));
    serving.wait_for("it is paused", |now| now.gauge(Gauge::WaitingForRate) == 1);
    client.send(&frame(ECHO, b"more").repeat(5));
    let began = Instant::now();
    serving.handle.drain(PATIENCE);
    (0..5).for_each(|_| client.expect(ECHO, b"more"));
    client.expect_goaway(DRAINING);
    assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
    assert!(serving.join().is_clean());
}

/// The binary's keys have their effect.
#[test]
fn the_binary_has_these_limits() {
    let mut command = Command::new(BINARY);
    command.args(SERVE).args(["--shards", "2", "--log-format", "text"]);
    command.env("TIDEGATE_LIMITS__PER_ADDRESS", "2").env("TIDEGATE_TIMEOUTS__MAX_AGE", "24h");
    command.env("TIDEGATE_LIMITS__MESSAGES_PER_SECOND", "20").env("TIDEGATE_LIMITS__WHEN_OVER", "refuse");
    command.env("TIDEGATE_KEEPALIVE__USER_TIMEOUT", "20s");
    let server = Process::start(&mut command);
    let mut served = [connect_from(2, server.frames), connect_from(2, server.frames)];
    served.iter_mut().for_each(|client| client.echo(b"here"));
    assert_eq!(
        refused(connect_from(2, server.frames)),
        "the limit of 2 connections of one address is reached"
    );
    served[0].send(&frame(ECHO, b"x").repeat(40));
    let answered = (0..40).filter(|_| served[0].receive().header == ECHO).count();
    assert!((19..40).contains(&answered), "{answered} of 40 at 20 a second");
    drop(served);
    server.end();
}
