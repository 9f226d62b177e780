//! Listeners that want a PROXY header first: real servers, real sockets, and newcomers of all kinds at the entrance.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use support::client::{Client, DRAINING, ECHO, OVERLOADED, RECEIVED, frame};
use support::serving::{Gate, Neighbour, Serving};
use support::wait_until;
use tidegate::base::Network;
use tidegate::base::limits::{LOBBY_MAX, Limits};
use tidegate::metrics::{Counter, Gauge};
use tidegate::server::{Builder, Listener, Server};
use tidegate::service::{Cx, Frame, Peer, Replied, Reply, Service};

/// A server whose first listener wants a PROXY header from this network, and whose second is plain.
fn trusting(network: &str) -> Builder {
    let trusted: Network = network.parse().expect("a network");
    Server::builder()
        .listen(Listener::frames("127.0.0.1:0").proxied_by([trusted]))
        .and_then(|builder| builder.listen(Listener::frames("127.0.0.1:0")))
        .expect("two free ports")
}

/// Says on route 9 who its peer is; echoes all others.
struct Who;

impl Service for Who {
    type Conn = String;

    fn on_open(&mut self, peer: &Peer, _cx: &mut Cx<'_>) -> String {
        let proxy = peer.proxied_by.map_or("nobody".to_owned(), |proxy| {
            let ip = proxy.ip().map(|address| address.ip());
            ip.map_or("unix".to_owned(), |ip| ip.to_string())
        });
        let ip = peer.address.ip();
        let address = ip.map_or("unix".to_owned(), |at| {
            // A port that the system chose is of no interest.
            if at.ip().is_loopback() { at.ip().to_string() } else { at.to_string() }
        });
        format!("{address} by {proxy}")
    }

    fn on_frame(&mut self, who: &mut String, frame: Frame<'_>, reply: Reply<'_>, _: &mut Cx<'_>) -> Replied {
        if frame.route() == 9 { reply.send(who.as_bytes()) } else { reply.forward(frame.whole()) }
    }
}

fn serve(builder: Builder) -> Serving {
    Serving::of(builder.shards(1).start(|| Who).expect("a server"))
}

fn serving() -> Serving {
    serve(trusting("127.0.0.0/8"))
}

/// The same, for newcomers that take their time: one must be through after so long.
fn serving_within(ms: u64) -> Serving {
    let entrance = Duration::from_millis(ms);
    serve(trusting("127.0.0.0/8").limits(Limits { entrance, ..Limits::default() }))
}

/// Nothing comes but the end, or a reset: what a newcomer has sent may not have been read.
#[track_caller]
fn expect_closed(client: &mut Client) {
    match client.stream.read(&mut [0; 64]) {
        Ok(0) => {}
        Ok(count) => panic!("{count} bytes came"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
}

const LINE: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 7411\r\n";

fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("short").to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, body].concat()
}

#[test]
fn the_header_says_who_the_client_is() {
    let serving = serving();
    let v4 = [&[203, 0, 113, 9, 192, 0, 2, 1][..], &[0x01, 0x00, 0x1c, 0xf3]].concat();
    let mut v6 = "2001:db8::7".parse::<std::net::Ipv6Addr>().expect("an address").octets().to_vec();
    v6.extend([0; 16].iter().chain(&[0x01, 0x01, 0, 1]));
    #[rustfmt::skip]
    let table: &[(&str, Vec<u8>, &str)] = &[
        ("line, tcp4",      LINE.to_vec(),                                             "203.0.113.7:56324 by 127.0.0.1"),
        ("line, tcp6",      b"PROXY TCP6 2001:db8::1 ::1 7 8\r\n".to_vec(),            "[2001:db8::1]:7 by 127.0.0.1"),
        ("line, unknown",   b"PROXY UNKNOWN\r\n".to_vec(),                             "127.0.0.1 by 127.0.0.1"),
        ("binary, tcp4",    binary(0x21, 0x11, &v4),                                   "203.0.113.9:256 by 127.0.0.1"),
        ("binary, tlvs",    binary(0x21, 0x11, &[&v4[..], &[0xEA; 4084]].concat()),    "203.0.113.9:256 by 127.0.0.1"),
        ("binary, tcp6",    binary(0x21, 0x21, &v6),                                   "[2001:db8::7]:257 by 127.0.0.1"),
        ("binary, unix",    binary(0x21, 0x31, &[0; 216]),                             "unix by 127.0.0.1"),
        ("binary, unspec",  binary(0x21, 0x00, b""),                                   "127.0.0.1 by 127.0.0.1"),
        ("binary, local",   binary(0x20, 0x11, &v4),                                   "127.0.0.1 by nobody"),
    ];
    for (name, header, want) in table {
        // Everything in one segment; then the header alone, and silence until it was taken.
        for is_together in [true, false] {
            let mut client = serving.connect();
            let question = frame(9, b"who?");
            if is_together {
                client.send(&[&header[..], &question, &frame(ECHO, b"and this")].concat());
            } else {
                let entered = serving.snapshot().counter(Counter::Accepted);
                client.send(header);
                serving.wait_for("it is let in", |now| now.counter(Counter::Accepted) == entered + 1);
                client.send(&[question, frame(ECHO, b"and this")].concat());
            }
            let got = client.receive();
            assert_eq!(String::from_utf8_lossy(&got.payload), *want, "case: {name}, together: {is_together}");
            client.expect(ECHO, b"and this");
        }
    }
    let now = serving.snapshot();
    assert_eq!(now.counter(Counter::Entered), 2 * table.len() as u64);
    assert_eq!(now.gauge(Gauge::Entering), 0);
    serving.end();
}

/// Byte by byte, with the loop looking at every one of them.
#[test]
fn where_the_header_is_cut_does_not_matter() {
    let serving = serving();
    let stream = [LINE, &frame(9, b"who?")].concat();
    for cut in 1..stream.len() {
        let mut client = serving.connect();
        client.send(&stream[..cut]);
        if cut < LINE.len() {
            serving.wait_for("it waits at the entrance", |now| now.gauge(Gauge::Entering) == 1);
        } else {
            serving.wait_for("it is let in", |now| now.counter(Counter::Entered) == cut as u64);
        }
        client.send(&stream[cut..]);
        client.expect(9, b"203.0.113.7:56324 by 127.0.0.1");
    }
    let mut client = serving.connect();
    for byte in &stream {
        client.send(&[*byte]);
    }
    client.expect(9, b"203.0.113.7:56324 by 127.0.0.1");
    serving.end();
}

#[test]
fn who_is_silent_or_slow_is_closed_in_time_and_nobody_else_minds() {
    let serving = serving_within(400);
    let plain = serving.handle.local_addrs()[1].ip().expect("TCP");
    let neighbour = Neighbour::of(plain);
    let mut served = serving.connect();
    served.send(LINE);
    served.echo(b"before");
    let began = Instant::now();
    let (mut silent, mut slow) = (serving.connect(), serving.connect());
    slow.stream.set_nonblocking(true).expect("an option");
    let mut line = LINE.iter();
    // A byte now and then, which would take eight seconds.
    wait_until("the slow one is closed", || {
        if let Some(byte) = line.next()
            && slow.stream.write(&[*byte]).is_err()
        {
            return true;
        }
        std::thread::sleep(Duration::from_millis(180));
        !matches!(slow.stream.read(&mut [0; 1]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    });
    expect_closed(&mut silent);
    assert!(began.elapsed() >= Duration::from_millis(400), "not before its time");
    served.echo(b"after");
    let now = serving.snapshot();
    assert_eq!((now.counter(Counter::EntranceTimedOut), now.gauge(Gauge::Entering)), (2, 0));
    neighbour.leave();
    drop(served);
    serving.end();
}

#[test]
fn who_leaves_is_gone() {
    let serving = serving();
    let (waiting, leaving) = (serving.connect(), serving.connect());
    serving.wait_for("two wait", |now| now.gauge(Gauge::Entering) == 2);
    drop(leaving);
    serving.wait_for("one is gone", |now| now.counter(Counter::EntranceGone) == 1);
    assert_eq!(serving.snapshot().gauge(Gauge::Entering), 1);
    drop(waiting);
    serving.wait_for("both are gone", |now| now.gauge(Gauge::Entering) == 0);
    serving.end();
}

#[test]
fn only_the_trusted_may_say_who_somebody_is() {
    let serving = serve(trusting("10.0.0.0/8"));
    for _ in 0..3 {
        let mut client = serving.connect();
        // It may be closed already.
        let _ = client.stream.write(&[LINE, &frame(9, b"who?")].concat());
        expect_closed(&mut client);
    }
    let now = serving.snapshot();
    assert_eq!((now.counter(Counter::UntrustedProxy), now.counter(Counter::Accepted)), (3, 0));
    serving.end();
}

#[test]
fn what_is_no_header_ends_it() {
    let serving = serving();
    let (too_long, overlong) =
        (binary(0x21, 0x11, &[0; 4097]), [b"PROXY UNKNOWN ", &[b'x'; 100][..]].concat());
    #[rustfmt::skip]
    let table: &[(&str, &[u8])] = &[
        ("a frame",               &frame(ECHO, b"hello")),
        ("http",                  b"GET / HTTP/1.1\r\n\r\n"),
        ("tls",                   b"\x16\x03\x01\x00\xf4\x01"),
        ("a line that is wrong",  b"PROXY TCP4 203.0.113.7 here 1 2\r\n"),
        ("a line without an end", &overlong),
        ("a wrong command",       &binary(0x22, 0x11, &[0; 12])),
        ("a wrong family",        &binary(0x21, 0x41, &[0; 12])),
        ("too many bytes",        &too_long),
        ("too few bytes",         &binary(0x21, 0x11, &[0; 11])),
    ];
    for (count, (name, bytes)) in (1..).zip(table) {
        let mut client = serving.connect();
        client.send(bytes);
        expect_closed(&mut client);
        assert_eq!(serving.snapshot().counter(Counter::BadProxyHeader), count, "case: {name}");
    }
    let now = serving.snapshot();
    assert_eq!((now.counter(Counter::Accepted), now.gauge(Gauge::Entering)), (0, 0));
    serving.end();
}

/// One more than may wait: the oldest goes, and the door stays open.
#[test]
fn a_flood_of_silent_ones_shuts_nobody_out() {
    let serving = serving();
    let plain = Neighbour::of(serving.handle.local_addrs()[1].ip().expect("TCP"));
    let mut first = serving.connect();
    serving.wait_for("the first waits", |now| now.gauge(Gauge::Entering) == 1);
    let most = LOBBY_MAX as u64;
    let others: Vec<Client> = (1..LOBBY_MAX).map(|_| serving.connect()).collect();
    serving.wait_for("the entrance is full", |now| now.gauge(Gauge::Entering) == most);
    let _last = serving.connect();
    expect_closed(&mut first);
    let mut good = serving.connect();
    good.send(&[LINE, &frame(9, b"who?")].concat());
    good.expect(9, b"203.0.113.7:56324 by 127.0.0.1");
    let now = serving.snapshot();
    assert_eq!(now.gauge(Gauge::Entering) + now.counter(Counter::EntranceEvicted), most + 1);
    drop((others, good));
    plain.leave();
    serving.wait_for_rest(0);
    serving.end();
}

/// Seats are for all: who is silent at the entrance must not keep one from those that speak.
#[test]
fn the_silent_make_room_when_all_seats_are_taken() {
    let serving = serve(trusting("127.0.0.0/8").max_connections(3));
    let mut silent: Vec<Client> = Vec::new();
    for waiting in 1..=3 {
        silent.push(serving.connect());
        serving.wait_for("it waits", |now| now.gauge(Gauge::Entering) == waiting);
    }
    let mut served: Vec<Client> = Vec::new();
    for client in &mut silent {
        let mut good = serving.connect();
        good.send(LINE);
        good.echo(b"there is room");
        expect_closed(client);
        served.push(good);
    }
    // All three are at work now: the next one is told.
    let mut late = serving.connect();
    let _ = late.stream.write(LINE);
    late.expect_goaway(OVERLOADED);
    let now = serving.snapshot();
    assert_eq!((now.counter(Counter::EntranceEvicted), now.counter(Counter::RefusedFull)), (3, 1));
    drop(served);
    serving.wait_for_rest(0);
    serving.end();
}

#[test]
fn a_drain_keeps_nobody_waiting_at_the_entrance() {
    let serving = serving();
    let mut served = serving.connect();
    served.send(LINE);
    served.echo(b"in");
    let mut waiting: Vec<Client> = (0..3).map(|_| serving.connect()).collect();
    waiting[1].send(&LINE[..20]);
    serving.wait_for("three wait", |now| now.gauge(Gauge::Entering) == 3);
    let began = Instant::now();
    serving.handle.drain(Duration::from_secs(20));
    waiting.iter_mut().for_each(expect_closed);
    served.expect_goaway(DRAINING);
    drop(served);
    let snapshot = serving.snapshot();
    assert_eq!((snapshot.counter(Counter::EntranceDrained), snapshot.gauge(Gauge::Entering)), (3, 0));
    let report = serving.join();
    assert!(report.is_clean(), "{report}");
    assert!(began.elapsed() < Duration::from_secs(4), "nobody waited for the entrance's deadline");
}

/// Those that wait in the kernel's queue when the drain begins: who has sent its header and a request was received.
#[test]
fn a_drain_answers_who_is_complete_in_the_queue() {
    let gate = Gate::default();
    let serving = Serving::gated(trusting("127.0.0.0/8").shards(1), &gate);
    let mut first = Client::connect(serving.handle.local_addrs()[1].ip().expect("TCP"));
    first.request(ECHO, b"slow");
    gate.wait_for_handler();
    let mut complete: Vec<Client> = (0..3).map(|_| serving.connect()).collect();
    for client in &mut complete {
        client.send(&[LINE, &frame(ECHO, b"received")].concat());
    }
    let mut silent = serving.connect();
    serving.handle.drain(Duration::from_secs(20));
    gate.open();
    first.expect(ECHO, b"slow");
    first.expect_goaway(DRAINING);
    for client in &mut complete {
        client.expect(ECHO, b"received");
        client.expect_goaway(DRAINING);
    }
    expect_closed(&mut silent);
    drop((first, complete));
    let report = serving.join();
    assert!(report.is_clean(), "{report}");
}

/// One loop listens at a path, and deals newcomers before they have said anything.
#[test]
fn loops_deal_newcomers_before_the_entrance() {
    let path = std::env::temp_dir().join(format!("tidegate-entrance-{}", std::process::id()));
    let listener = Listener::frames(format!("unix:{}", path.display())).proxied_by([Network::Unix]);
    let lines = Listener::lines("127.0.0.1:0").proxied_by([Network::of([127, 0, 0, 1].into(), 32)]);
    let builder = Server::builder().listen(listener).and_then(|builder| builder.listen(lines));
    let serving = Serving::of(builder.and_then(|builder| builder.shards(3).start(|| Who)).expect("a server"));
    let mut clients: Vec<Client> = (0..30).map(|_| Client::connect_unix(&path)).collect();
    serving.wait_for("all wait", |now| now.gauge(Gauge::Entering) == 30);
    let waiting =
        |gauge| -> Vec<u64> { serving.handle.shard_snapshots().iter().map(|now| now.gauge(gauge)).collect() };
    assert_eq!(waiting(Gauge::Entering), [10, 10, 10]);
    for client in &mut clients {
        client.send(&[LINE, &frame(9, b"who?")].concat());
        client.expect(9, b"203.0.113.7:56324 by unix");
    }
    assert_eq!(waiting(Gauge::Open), [10, 10, 10]);
    assert_eq!(serving.snapshot().counter(Counter::HandedOff), 20);
    // Lines begin with a header, too.
    let mut line = serving.connect_lines();
    line.send(&[LINE, b"hello\n"].concat());
    line.expect_line(b"hello");
    drop((clients, line));
    serving.wait_for_rest(0);
    serving.end();
    assert!(!path.exists());
}

#[cfg(feature = "cli")]
mod processes {
    use super::*;
    use std::process::Command;
    use support::process::{BINARY, Process, SERVE, cpu_ticks};

    /// A server under `ulimit -n`, whose listener of frames wants PROXY headers.
    fn limited(descriptors: u32, held: u32) -> Command {
        let mut command = Command::new("bash");
        let script = format!(
            "ulimit -n {descriptors}; for ((n = 0; n < {held}; n++)); do exec {{fd}}</dev/null; done; exec \"$@\""
        );
        command.args(["-c", &script, "bash", BINARY]).args(SERVE).args([
            "--shards",
            "1",
            "--log-format",
            "text",
        ]);
        command.env("TIDEGATE_LISTENER__0__PROXY_PROTOCOL", "required");
        command.env("TIDEGATE_LISTENER__0__TRUSTED", "127.0.0.0/8, ::1");
        command.env("TIDEGATE_TIMEOUTS__ENTRANCE", "2s");
        command
    }

    /// Whether it was served, or told that there is no room.
    fn is_served(address: SocketAddr) -> Option<Client> {
        let mut client = Client::connect(address);
        let _ = client.stream.write(&[LINE, &frame(ECHO, b"room?")].concat());
        let got = client.receive();
        (got.header == ECHO).then_some(client)
    }

    #[test]
    fn without_descriptors_newcomers_are_told_and_served_when_the_silent_are_gone() {
        // Fewer are left than the connections that it counts with.
        let server = Process::start(&mut limited(96, 60));
        let mut lines = Client::connect(server.lines);
        lines.send(b"hello\n");
        lines.expect_line(RECEIVED);
        let silent: Vec<Client> = (0..40).map(|_| Client::connect(server.frames)).collect();
        let mut is_refused = false;
        let mut served = Vec::new();
        for _ in 0..40 {
            match is_served(server.frames) {
                Some(client) => served.push(client),
                None => is_refused = true,
            }
        }
        assert!(is_refused, "{} were served", served.len());
        // The silent ones' time passes, and with nothing but that there is room again.
        wait_until("somebody is served", || {
            let client = is_served(server.frames);
            let is_one = client.is_some();
            served.extend(client);
            is_one
        });
        let before = cpu_ticks(server.id());
        std::thread::sleep(Duration::from_millis(500));
        let spent = cpu_ticks(server.id()) - before;
        assert!(spent <= 15, "{spent} hundredths of a second in half a second of rest: it spins");
        lines.send(b"hello\n");
        lines.expect_line(RECEIVED);
        drop((silent, served, lines));
        server.signal(rustix::process::Signal::TERM);
        let ended = server.ended();
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        assert!(ended.errors.contains("raise the descriptor limit"), "{}", ended.errors);
    }

    #[test]
    fn the_log_says_what_came_instead_of_a_header() {
        let server = Process::start(&mut limited(256, 0));
        let mut client = Client::connect(server.frames);
        client.send(b"GET / HTTP/1.1\r\nHost: tide\r\n\r\n");
        expect_closed(&mut client);
        server.signal(rustix::process::Signal::TERM);
        let ended = server.ended();
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        for words in ["bad_proxy_header", "GET / HTTP/1.1\\r\\nHost: ti", "127.0.0.1:"] {
            assert!(ended.errors.contains(words), "{words}: {}", ended.errors);
        }
        assert!(!ended.errors.contains("tide\\r"), "only the first bytes are shown: {}", ended.errors);
    }
}
