//! The library's own client, against real servers, and against peers that a test plays by hand where a server would
//! never do what the client must survive.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use support::client::{self as hand, RECEIVED, frame};
use support::parking::Parking;
use support::serving::{Serving, builder};
use support::{PATIENCE, pattern};
use tidegate::base::limits::Limits;
use tidegate::client::{Client, Error, Identity, LineClient, Options, Request};
use tidegate::wire::{DecodeError, Trace};
use tidegate::{CloseReason, Fault, Status};

/// Long enough for what must come, short enough for what must not.
const SOON: Duration = Duration::from_millis(200);

fn options() -> Options {
    Options {
        connect_timeout: PATIENCE,
        read_timeout: PATIENCE,
        write_timeout: PATIENCE,
        ..Options::default()
    }
}

fn connect(serving: &Serving) -> Client {
    options().connect(&serving.frames().to_string()).expect("the server listens")
}

/// A peer that takes one connection and does with it what the test says.
fn peer<T: Send + 'static>(play: impl FnOnce(TcpStream) -> T + Send + 'static) -> (String, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let playing = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        stream.set_nodelay(true).expect("an option of a fresh socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option of a fresh socket");
        play(stream)
    });
    (address, playing)
}

/// A peer that waits for one frame, says this, and ends its side.
fn peer_that_says(bytes: Vec<u8>) -> (String, JoinHandle<()>) {
    peer(move |stream| {
        let mut peer = hand::Client::over(stream);
        peer.receive();
        peer.send(&bytes);
        peer.finish_sending();
        peer.read_to_end();
    })
}

#[test]
fn requests_are_answered() {
    let serving = Serving::embedded();
    let mut client = connect(&serving);
    let reply = client.call(&Request::new(hand::ECHO, b"hello")).expect("it is served");
    assert_eq!((reply.status, reply.correlation, reply.body.as_slice()), (Status::OK, None, &b"hello"[..]));
    assert_eq!(client.call(&Request::new(hand::ACK, b"")).expect("it is served").text(), "已接收");
    let large = pattern(1, 1 << 20);
    assert!(client.call(&Request::new(hand::ECHO, &large)).expect("it is served").body == large);
    // A failure is a reply, with a block and without one; the connection goes on.
    for request in [Request::new(999, b"x"), Request::new(999, b"x").correlation(7)] {
        let reply = client.call(&request).expect("it is refused in a reply");
        assert_eq!((reply.status, reply.is_ok()), (Status::NO_ROUTE, false));
        let error = reply.into_ok().expect_err("it failed");
        assert!(error.to_string().starts_with("the server replied 4 NO_ROUTE: "), "{error}");
        assert_eq!(error.fault(), Fault::Protocol);
    }
    assert!(client.ping().expect("it lives") < PATIENCE);
    client.close().expect("in order");
    serving.end();
}

/// A call may be made while other replies are due; what was sent before a close arrives, whether its reply is read or not.
#[test]
fn a_call_gets_its_own_reply_and_a_close_loses_nothing() {
    let handled = Arc::new(AtomicUsize::new(0));
    let count = handled.clone();
    let running = builder().start_fn(move |frame, reply| {
        count.fetch_add(1, Relaxed);
        reply.forward(frame.whole())
    });
    let serving = Serving::of(running.expect("a server"));
    let mut client = connect(&serving);
    client.send(&Request::new(1, b"first")).expect("it is taken");
    client.send(&Request::new(1, b"seven").correlation(7)).expect("it is taken");
    assert_eq!(client.call(&Request::new(1, b"own")).expect("it is served").body, b"own");
    assert_eq!(client.call(&Request::new(1, b"eight").correlation(8)).expect("it is served").body, b"eight");
    assert_eq!(client.receive_for(7).expect("it came").body, b"seven");
    assert_eq!(client.receive().expect("it came").body, b"first");
    for _ in 0..500 {
        client.send(&Request::new(1, &[7; 1000])).expect("it is taken");
    }
    client.close().expect("in order");
    assert_eq!(handled.load(Relaxed), 504);
    serving.wait_for_rest(0);
    assert_eq!(serving.snapshot().closes(CloseReason::PeerClosed), 1, "no reset");
    serving.end();
}

#[test]
fn a_block_says_what_was_asked_for() {
    let (address, playing) = peer(|mut stream| {
        let mut came = vec![0; 27];
        stream.read_exact(&mut came).expect("the first");
        let mut second = vec![0; 58];
        stream.read_exact(&mut second).expect("the second");
        (came, second)
    });
    let mut client = options().connect(&address).expect("it listens");
    client.send(&Request::new(1, b"hello").correlation(7)).expect("it is taken");
    let trace = Trace { id: [0xaa; 16], parent: [0xbb; 8], flags: 1 };
    let tags = tidegate::wire::TlvWriter::new().affinity(b"k");
    let request = Request::new(2, b"").deadline_ms(500).trace(trace).one_way().tags(tags.tlvs());
    client.send(&request.correlation(8)).expect("it is taken");
    assert_eq!(client.due(), 1, "one is one-way");
    let (first, second) = playing.join().expect("it read all");
    let want = [
        0x80, 0x01, 0, 0, 0, 0x11, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, b'h', b'e', b'l', b'l', b'o', 0xbf,
        0x28, 0x33, 0x2b,
    ];
    assert_eq!(first, want, "as the document has it");
    let mut block = vec![12, 0b1000_1111, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 1, 0xf4];
    block.extend_from_slice(&[0xaa; 16]);
    block.extend_from_slice(&[0xbb; 8]);
    block.extend_from_slice(&[1, 0, 0, 0, 3, 1, b'k', 0]);
    assert_eq!(second, frame(0x8002, &block), "all fields in their order");
}

#[test]
fn replies_with_a_correlation_come_in_any_order() {
    let parking = Parking::default();
    let serving = Serving::of(
        builder()
            .start({
                let parking = parking.clone();
                move || parking.clone()
            })
            .expect("a server"),
    );
    let mut client = connect(&serving);
    client.send(&Request::new(1, b"plain")).expect("it is taken");
    for id in 7..10_u64 {
        client
            .send(&Request::new(1, &[b'0', u8::try_from(id).expect("small")]).correlation(id))
            .expect("taken");
    }
    let mut parked = parking.take(4);
    while let Some(request) = parked.pop() {
        request.later.send(&request.payload);
    }
    assert_eq!(client.receive_for(8).expect("it came").body, [b'0', 8]);
    assert_eq!(client.receive_for(7).expect("it came").body, [b'0', 7]);
    let rest = [client.receive().expect("it came"), client.receive().expect("it came")];
    assert!(rest.iter().any(|reply| reply.correlation == Some(9)), "{rest:?}");
    assert!(rest.iter().any(|reply| reply.body == b"plain"), "{rest:?}");
    assert!(matches!(client.receive(), Err(Error::NoReplyDue)));
    assert!(matches!(client.receive_for(7), Err(Error::NoReplyDue)));
    // A deadline is told to the server, which gives the request up.
    let late = client.call(&Request::new(1, b"late").correlation(7).deadline_ms(50)).expect("a reply");
    assert_eq!(late.status, Status::OUTCOME_UNKNOWN);
    drop((client, parking.take(1)));
    serving.end();
}

#[test]
fn one_way_requests_have_no_reply() {
    let serving = Serving::embedded();
    let mut client = connect(&serving);
    for route in [hand::ECHO, hand::DISCARD, 999] {
        client.send(&Request::new(route, b"x").one_way()).expect("it is taken");
    }
    assert!(matches!(client.call(&Request::new(1, b"x").one_way()), Err(Error::NoReplyDue)));
    assert!(matches!(client.receive(), Err(Error::NoReplyDue)));
    assert_eq!(client.call(&Request::new(hand::ECHO, b"next")).expect("it is served").body, b"next");
    drop(client);
    serving.end();
}

/// Who only writes waits for a server that waits for its replies to be read. That this is so here, and with so many
/// bytes, is shown first; the client sends the same without reading a single reply itself.
#[test]
fn a_thousand_requests_are_sent_before_a_reply_is_received() {
    const COUNT: u64 = 1_000;
    let serving = Serving::embedded();
    let bodies: Vec<_> = (0..COUNT).map(|seed| pattern(seed, 32 << 10)).collect();

    let stream = TcpStream::connect(serving.frames()).expect("the server listens");
    stream.set_write_timeout(Some(SOON)).expect("an option of a fresh socket");
    let all: Vec<u8> = bodies.iter().flat_map(|body| frame(hand::ECHO, body)).collect();
    assert!((&stream).write_all(&all).is_err(), "this much is not taken from who does not read");
    drop(stream);

    let wide = Options { buffered_bytes_max: 64 << 20, ..options() };
    let mut client = wide.connect(&serving.frames().to_string()).expect("the server listens");
    for body in &bodies {
        client.send(&Request::new(hand::ECHO, body)).expect("it is taken");
    }
    assert_eq!(client.due(), bodies.len());
    for (number, body) in bodies.iter().enumerate() {
        assert!(client.receive().expect("it came").body == *body, "reply {number}");
    }
    client.close().expect("in order");
    serving.wait_for_rest(0);
    serving.end();
}

/// The same with a bound that is too narrow: an error, and after some replies the connection goes on.
#[test]
fn what_is_kept_for_later_is_bounded() {
    let serving = Serving::embedded();
    let narrow =
        Options { buffered_bytes_max: 1 << 20, reply_bytes_max: 64 << 10, write_timeout: SOON, ..options() };
    let mut client = narrow.connect(&serving.frames().to_string()).expect("the server listens");
    let body = pattern(1, 64 << 10);
    let mut sent = 0;
    let refused = loop {
        match client.send(&Request::new(hand::ECHO, &body)) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 10_000, "nothing bounds what is kept");
    };
    let Error::Backlog { buffered_bytes, limit_bytes } = refused else { panic!("{refused}") };
    assert!(buffered_bytes == limit_bytes && limit_bytes < 2 << 20, "{refused}");
    assert_eq!(refused.fault(), Fault::Temporary);
    // The refused one is partly sent: its reply is due, too.
    for number in 0..=sent {
        assert!(client.receive().expect("it came").body == body, "reply {number} of {sent}");
    }
    assert!(client.call(&Request::new(hand::ECHO, &body)).expect("it goes on").body == body);
    drop(client);
    serving.end();
}

#[test]
fn a_reply_may_be_cut_anywhere() {
    let mut replies = frame(hand::ECHO, b"");
    replies.extend_from_slice(&frame(0x8001, &[3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, b'x']));
    let first = frame(hand::ECHO, b"").len();
    for cut in 0..=replies.len() {
        let (bytes, ends) = (replies.clone(), cut % 2 == 0);
        let (address, playing) = peer(move |mut stream| {
            stream.write_all(&bytes[..cut]).expect("it is taken");
            if ends {
                stream.shutdown(Shutdown::Write).expect("it is up");
            } else {
                std::thread::sleep(Duration::from_millis(1));
                stream.write_all(&bytes[cut..]).expect("it is taken");
            }
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let mut client = options().connect(&address).expect("it listens");
        client.send(&Request::new(hand::ECHO, b"")).expect("it is taken");
        client.send(&Request::new(hand::ECHO, b"").correlation(7)).expect("it is taken");
        let whole = if ends { usize::from(cut >= first) + usize::from(cut == replies.len()) } else { 2 };
        for number in 0..whole {
            let body = client.receive().expect("it came").body;
            assert_eq!(body.len(), number, "cut at {cut}");
        }
        match (whole, cut.checked_sub(first)) {
            (2, _) => assert!(matches!(client.receive(), Err(Error::NoReplyDue))),
            (0, _) if cut > 0 => {
                assert!(
                    matches!(client.receive(), Err(Error::Cut { got_bytes }) if got_bytes == cut),
                    "{cut}"
                );
            }
            (1, Some(got @ 1..)) => {
                assert!(
                    matches!(client.receive(), Err(Error::Cut { got_bytes }) if got_bytes == got),
                    "{cut}"
                );
            }
            _ => {
                assert!(
                    matches!(client.receive(), Err(Error::Closed { open }) if open == 2 - whole),
                    "{cut}"
                );
            }
        }
        drop(client);
        playing.join().expect("no panic");
    }
}

#[test]
fn a_goaway_is_the_reason_of_the_end() {
    let mut said = frame(hand::ECHO, b"one");
    said.extend_from_slice(&frame(hand::GOAWAY, b"\0\x09\0\0\x03\xe8bye"));
    let (address, playing) = peer_that_says(said);
    let mut client = options().connect(&address).expect("it listens");
    client.send(&Request::new(hand::ECHO, b"one")).expect("it is taken");
    client.send(&Request::new(hand::ECHO, b"two")).expect("it is taken");
    assert_eq!(client.receive().expect("it came before").body, b"one");
    for _ in 0..2 {
        let error = client.receive().expect_err("it will not come");
        assert_eq!(error.to_string(), "the server sent GOAWAY: 9 DRAINING: bye");
        assert_eq!(error.fault(), Fault::Temporary);
        let Error::GoAway(goaway) = error else { panic!("{error}") };
        assert_eq!((goaway.status, goaway.reconnect_after_ms), (Status::DRAINING, 1000));
    }
    assert!(matches!(client.send(&Request::new(hand::ECHO, b"three")), Err(Error::GoAway(_))));
    drop(client);
    playing.join().expect("no panic");
}

/// A client that said HELLO is told of a drain while its request is open, and still gets the reply.
#[test]
fn a_drain_lets_a_known_client_finish() {
    let parking = Parking::default();
    let serving = Serving::of(
        builder()
            .start({
                let parking = parking.clone();
                move || parking.clone()
            })
            .expect("a server"),
    );
    let identity = Identity { client_id: "c-1".to_owned(), ..Identity::default() };
    let known = Options { identity: Some(identity), ..options() };
    let mut client = known.connect(&serving.frames().to_string()).expect("the server listens");
    let welcomed = client.welcomed().expect("it said HELLO").clone();
    assert_eq!((welcomed.payload_bytes_max, welcomed.heartbeat_ms), (1 << 20, 25_000));
    assert!(!welcomed.server_id.is_empty() && !welcomed.client_id.is_empty(), "{welcomed:?}");
    client.send(&Request::new(1, b"slow")).expect("it is taken");
    let request = parking.take(1).pop().expect("one");
    serving.handle.drain(PATIENCE);
    support::wait_until("GOAWAY has come", || {
        client.ping().expect("it lives on");
        client.goaway().is_some()
    });
    assert_eq!(client.goaway().map(|goaway| goaway.status), Some(Status::DRAINING));
    assert!(matches!(client.send(&Request::new(1, b"next")), Err(Error::GoAway(_))));
    request.later.send(b"done");
    assert_eq!(client.receive().expect("it was started").body, b"done");
    client.close().expect("in order");
    assert!(serving.join().is_clean());
}

#[test]
fn a_refused_hello_says_why() {
    let (address, playing) = peer_that_says(frame(hand::GOAWAY, b"\0\x02\0\0\0\0who are you"));
    let identity = Identity { client_id: String::new(), token: b"secret".to_vec() };
    let known = Options { identity: Some(identity), ..options() };
    assert!(!format!("{known:?}").contains("secret") && format!("{known:?}").contains("6 bytes"));
    let error = known.connect(&address).expect_err("it is refused");
    assert_eq!(error.to_string(), "the server sent GOAWAY: 2 UNAUTHENTICATED: who are you");
    assert_eq!(error.fault(), Fault::Protocol);
    playing.join().expect("no panic");
}

#[test]
fn silence_ends_the_wait_and_not_the_connection() {
    let (tell, told) = std::sync::mpsc::channel();
    let (address, playing) = peer(move |stream| {
        let mut peer = hand::Client::over(stream);
        let asked = peer.receive();
        told.recv_timeout(PATIENCE).expect("the client waited");
        peer.request(hand::PING, b"t1");
        peer.expect(hand::PONG, b"t1");
        peer.request(asked.header, &asked.payload);
    });
    let impatient = Options { read_timeout: SOON, ..options() };
    let mut client = impatient.connect(&address).expect("it listens");
    let begun = Instant::now();
    let error = client.call(&Request::new(1, b"hello")).expect_err("nothing comes");
    assert!(begun.elapsed() >= SOON && begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert_eq!((error.to_string().as_str(), error.fault()), ("no reply within 200ms", Fault::Temporary));
    tell.send(()).expect("it waits");
    let mut reply = client.receive();
    while matches!(reply, Err(Error::Timeout { .. })) && begun.elapsed() < PATIENCE {
        reply = client.receive();
    }
    assert_eq!(reply.expect("it came late").body, b"hello");
    playing.join().expect("PING was answered meanwhile");
}

/// A PING in front of a reply is answered although nobody waits for anything any more.
#[test]
fn a_ping_is_answered_before_a_reply_is_given() {
    let (address, playing) = peer(|stream| {
        let mut peer = hand::Client::over(stream);
        peer.receive();
        peer.send(&[frame(hand::PING, b"t1"), frame(hand::ECHO, b"x")].concat());
        peer.expect(hand::PONG, b"t1");
    });
    let mut client = options().connect(&address).expect("it listens");
    assert_eq!(client.call(&Request::new(1, b"x")).expect("it came").body, b"x");
    playing.join().expect("PONG came while the client was idle");
    drop(client);
}

#[test]
fn what_is_no_frame_is_refused_and_stays_refused() {
    let mut damaged = frame(hand::ECHO, b"hello");
    damaged[8] ^= 1;
    let large = [0, 1, 0, 0x20, 0, 0];
    #[rustfmt::skip]
    let table: &[(&str, Vec<u8>, &str)] = &[
        ("a wrong crc",       damaged,                             "the server sent no frame: frame carries crc 0x"),
        ("too large a reply", large.to_vec(),                      "reply of 2097152 bytes exceeds the client's limit of 1048576 bytes (reply_bytes_max)"),
        ("another protocol",  b"HTTP/1.1 400 Bad".to_vec(),        "the server sent no frame: payload of "),
        ("another route",     frame(2, b"x"),                      "the server sent a reply on route 2 where one on route 1 is due"),
        ("a broken block",    frame(0x8001, &[9]),                 "the server sent a broken reply: extension block of 36 bytes"),
        ("a broken GOAWAY",   frame(hand::GOAWAY, b"x"),           "the server sent a broken control frame: payload of 1 bytes"),
    ];
    for (name, bytes, want) in table {
        let (address, playing) = peer_that_says(bytes.clone());
        let mut client = options().connect(&address).expect("it listens");
        let first = client.call(&Request::new(1, b"x")).expect_err(name);
        let second = client.receive().expect_err(name);
        assert!(first.to_string().starts_with(want), "case: {name}: {first}");
        assert_eq!(first.to_string(), second.to_string(), "case: {name}");
        assert_eq!(first.fault(), Fault::Protocol, "case: {name}");
        let is_typed = match *name {
            "a wrong crc" => matches!(first, Error::Frame(DecodeError::BadCrc { .. })),
            "too large a reply" => matches!(first, Error::ReplyTooLarge { got_bytes: 0x20_0000, .. }),
            _ => true,
        };
        assert!(is_typed, "case: {name}: {first:?}");
        drop(client);
        playing.join().expect("no panic");
    }
}

/// A server that was told the client's limit in HELLO keeps to it.
#[test]
fn a_known_client_is_sent_nothing_too_large() {
    let serving = Serving::embedded();
    let small = Options { reply_bytes_max: 100, identity: Some(Identity::default()), ..options() };
    let mut client = small.connect(&serving.frames().to_string()).expect("the server listens");
    let reply = client.call(&Request::new(hand::ECHO, &[1; 101])).expect("a reply");
    assert_eq!(reply.status, Status::TOO_LARGE);
    assert_eq!(client.call(&Request::new(hand::ECHO, &[1; 100])).expect("a reply").body, [1; 100]);
    let over = client.call(&Request::new(hand::ECHO, &vec![0; (1 << 20) + 1])).expect_err("WELCOME said so");
    assert!(matches!(over, Error::RequestTooLarge { limit_bytes: 0x10_0000, .. }), "{over}");
    // What has no reply is told by NOTICE.
    client.send(&Request::new(999, b"x").one_way()).expect("it is taken");
    // It leaves behind all that was read together, so it may come behind the first PONG.
    client.ping().expect("it lives");
    client.ping().expect("it lives");
    let notice = client.take_notice().expect("it came before the second PONG");
    assert_eq!((notice.status, notice.header), (Status::NO_ROUTE, 0x8000 | 999));
    drop(client);
    serving.end();
}

#[test]
fn a_server_that_is_gone_is_told_from_one_that_is_not_there() {
    let (_kept, nobody) = hand::nobody();
    let error = Client::connect(&nobody.to_string()).expect_err("nobody listens");
    assert_eq!(error.to_string(), format!("no connection to {nobody}: connection refused"));
    assert_eq!(error.fault(), Fault::Temporary);
    let error = Client::connect("unix:/no/such/socket").expect_err("nobody listens");
    assert_eq!(error.to_string(), "no connection to unix:/no/such/socket: there is no such socket");
    // A reset in the middle of things.
    let (connected, is_connected) = std::sync::mpsc::channel();
    let (address, playing) = peer(move |stream| {
        is_connected.recv().expect("the client says so");
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("an option");
    });
    let mut client = options().connect(&address).expect("it listens");
    connected.send(()).expect("it waits for that");
    playing.join().expect("no panic");
    let lost = client.call(&Request::new(1, b"x")).expect_err("it is gone");
    assert!(matches!(lost, Error::Io(_)), "{lost:?}");
    assert_eq!(lost.fault(), Fault::Temporary, "{lost}");
}

/// A server that refuses what is sent says why before it stops reading; who is still writing hears it, too.
#[test]
fn last_words_are_heard_while_sending() {
    let (address, playing) = peer(|mut stream| {
        stream.write_all(&frame(hand::GOAWAY, b"\0\x05\0\0\0\0full")).expect("it is taken");
        stream.shutdown(Shutdown::Write).expect("it is up");
        std::thread::sleep(SOON);
    });
    let mut client = options().connect(&address).expect("it listens");
    let body = pattern(1, 16 << 20);
    let error = (0..10).find_map(|_| client.send(&Request::new(1, &body)).err()).expect("nobody reads");
    assert_eq!(error.to_string(), "the server sent GOAWAY: 5 OVERLOADED: full");
    playing.join().expect("no panic");
}

#[test]
fn mistakes_of_the_caller_are_found_before_anything_is_sent() {
    let serving = Serving::embedded();
    let mut client = connect(&serving);
    let refused = client.call(&Request::new(16_384, b"")).expect_err("no header holds it");
    assert_eq!(refused.to_string(), "route 16384 exceeds the largest route 16383");
    let over = vec![0; (256 << 20) + 1];
    let refused = client.send(&Request::new(1, &over)).expect_err("no server takes it");
    assert!(refused.is_misuse() && refused.to_string().contains("exceeds the 268435456 bytes"), "{refused}");
    let one_ms = Duration::from_millis(1);
    let long = |token| Some(Identity { client_id: String::new(), token });
    let named = |id: &str| Some(Identity { client_id: id.to_owned(), token: Vec::new() });
    #[rustfmt::skip]
    let table: &[(Options, &str)] = &[
        (Options { read_timeout: Duration::ZERO, ..options() },        "read_timeout in milliseconds is 0, but must lie between 1 and "),
        (Options { write_timeout: Duration::MAX, ..options() },        "write_timeout in milliseconds is 18446744073709551615, but"),
        (Options { connect_timeout: one_ms / 2, ..options() },         "connect_timeout in milliseconds is 0, but"),
        (Options { reply_bytes_max: (256 << 20) + 1, ..options() },    "reply_bytes_max is 268435457, but must lie between 0 and 268435456"),
        (Options { identity: long(vec![0; 5000]), ..options() },       "token of 5000 bytes exceeds the 4021 bytes that fit HELLO"),
        (Options { identity: named("a b"), ..options() },              "\"a b\" is no client id"),
    ];
    for (options, want) in table {
        let error = options.clone().connect(&serving.frames().to_string()).expect_err(want);
        assert!(error.to_string().starts_with(want), "{error}");
        assert!(error.is_misuse() && error.fault() == Fault::Protocol, "{error}");
    }
    for address in ["", "127.0.0.1", "unix:", "127.0.0.1:99999"] {
        let error = Client::connect(address).expect_err("no address");
        assert!(matches!(error, Error::Address { .. }) && error.to_string().contains("HOST:PORT"), "{error}");
    }
    assert_eq!(client.call(&Request::new(1, b"still")).expect("nothing was sent").body, b"still");
    drop(client);
    serving.end();
}

/// The longest token that is let through is one that the server reads.
#[test]
fn the_longest_token_fits() {
    let serving = Serving::embedded();
    let identity = Identity { client_id: "x".repeat(64), token: vec![7; 4021] };
    let known = Options { identity: Some(identity), ..options() };
    let mut client = known.connect(&serving.frames().to_string()).expect("HELLO is within the limit");
    client.ping().expect("it lives");
    drop(client);
    serving.end();
}

#[test]
fn lines_are_answered_in_order() {
    let serving = Serving::with(Limits::default());
    let mut client = options().connect_lines(&serving.lines().to_string()).expect("the server listens");
    assert_eq!(client.call(b"hello").expect("it is served").body, RECEIVED);
    for _ in 0..1_000 {
        client.send(&[b'x'; 1_000]).expect("it is taken");
    }
    assert!(matches!(client.call(b"x"), Err(Error::TooManyOpen { .. })), "its reply would be another's");
    for _ in 0..1_000 {
        assert_eq!(client.receive().expect("it is served").body, RECEIVED);
    }
    assert!(matches!(client.receive(), Err(Error::NoReplyDue)));
    assert!(matches!(client.send(b"a\nb"), Err(Error::LineBreak { at: 1 })));
    let reply = client.call(&vec![b'x'; 70_000]).expect("a refusal is a line");
    assert_eq!(reply.status, Status::TOO_LARGE);
    assert!(!reply.body.is_empty());
    drop(client);
    let small = Options { reply_bytes_max: 3, ..options() };
    let mut client = small.connect_lines(&serving.lines().to_string()).expect("the server listens");
    assert!(matches!(client.call(b"hello"), Err(Error::ReplyTooLarge { limit_bytes: 3, .. })));
    drop(client);
    serving.end();

    let (address, playing) = peer(|mut stream| {
        stream.write_all(b"on").expect("it is taken");
        std::thread::sleep(Duration::from_millis(20));
        stream.write_all(b"e\r\nx\ny\ntw").expect("it is taken");
        stream.shutdown(Shutdown::Write).expect("it is up");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut client = LineClient::connect(&address).expect("it listens");
    for want in [&b"one"[..], b"x", b"y"] {
        client.send(b"").expect("it is taken");
        assert_eq!(client.receive().expect("it came").body, want);
    }
    client.send(b"").expect("it is taken");
    assert!(matches!(client.receive(), Err(Error::Cut { got_bytes: 2 })));
    drop(client);
    playing.join().expect("no panic");
}

#[test]
fn a_unix_socket_is_an_address_like_others() {
    let path = std::env::temp_dir().join(format!("tidegate-client-{}.sock", std::process::id()));
    let address = format!("unix:{}", path.display());
    let listening = tidegate::Server::builder().listen(address.as_str()).expect("a new path");
    let serving = Serving::of(listening.start(tidegate::service::Router::embedded).expect("a server"));
    let mut client = options().connect(&address).expect("the server listens");
    let body = pattern(1, 1 << 20);
    for _ in 0..8 {
        client.send(&Request::new(hand::ECHO, &body)).expect("it is taken");
    }
    for _ in 0..8 {
        assert!(client.receive().expect("it is served").body == body);
    }
    client.close().expect("in order");
    serving.end();
}
