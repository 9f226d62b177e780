//! Peers that say HELLO: who is let in and what it is told, how its silence is noticed, and what it hears of refusals
//! that have no place among replies.

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::client::{
    Client, DISCARD, ECHO, FLIP, IDLE, INTERNAL, PING, PONG, PROTOCOL, TOO_LARGE, UNSUPPORTED, frame,
};
use support::extended::{
    ACK_CONTROL, Block, HELLO, NOTICE, OK, PUBLISH, SUBSCRIBE, UNAUTHENTICATED, UNSUBSCRIBE, WELCOME,
    Welcome, bare_hello, correlated, extended, hello,
};
use support::parking::{AT_ONCE, Parking};
use support::pattern;
use support::serving::Serving;
use tidegate::CloseReason;
use tidegate::base::limits::Limits;
use tidegate::metrics::{Counter, Outcome, Timing};
use tidegate::server::{Listener, Server};
use tidegate::service::{Cx, Frame, Peer, Replied, Reply, Service, Welcomed};
use tidegate::wire::{ClientId, Hello, Status};

// ---- greetings --------------------------------------------------------------------------------------------------

/// What `on_hello` was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    version: u8,
    flags: u8,
    client_id: String,
    token: Vec<u8>,
    max_receive: Option<u32>,
}

/// Lets peers in by their token, and echoes.
#[derive(Clone, Default)]
struct Doorkeeper {
    shown: Arc<Mutex<Vec<Shown>>>,
    parking: Parking,
}

impl Service for Doorkeeper {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn on_hello(&mut self, _conn: &mut (), hello: &Hello<'_>, _cx: &mut Cx<'_>) -> Welcomed {
        self.shown.lock().expect("nobody panics with it").push(Shown {
            version: hello.version,
            flags: hello.flags,
            client_id: hello.client_id.to_owned(),
            token: hello.token.to_vec(),
            max_receive: hello.max_receive(),
        });
        match hello.token {
            b"mallory" => Welcomed::Refused("mallory is not welcome".into()),
            b"trap" => panic!("asked to"),
            b"named" => Welcomed::As(ClientId::parse("alice-1_B").expect("an id")),
            _ => Welcomed::Anonymous,
        }
    }

    fn on_frame(&mut self, conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        self.parking.on_frame(conn, frame, reply, cx)
    }
}

fn serve_doorkeeper(wants_hello: bool) -> (Serving, Doorkeeper) {
    let keeper = Doorkeeper::default();
    let service = keeper.clone();
    let listener = Listener::frames("127.0.0.1:0").max_payload(70_000);
    let listener = if wants_hello { listener.wants_hello() } else { listener };
    let builder = Server::builder().listen(listener).expect("a free port");
    (Serving::of(builder.start(move || service.clone()).expect("a server")), keeper)
}

#[test]
fn welcome_tells_what_holds_for_the_connection() {
    let (serving, keeper) = serve_doorkeeper(false);
    let mut client = serving.connect();
    // An unknown tag that is not critical, and unknown flags, are no reason to refuse.
    let tags = [&[1, 4][..], &5_000_u32.to_be_bytes(), &[99, 2, 1, 1]].concat();
    let welcome = client.hello_with(&hello(9, 0x81, "me", b"secret", &tags));
    let Welcome { version, flags, max_payload, heartbeat_ms, server_id, client_id, tags } = welcome;
    assert_eq!((version, flags, max_payload, heartbeat_ms), (1, 0, 70_000, 25_000));
    assert_eq!((server_id.as_str(), &tags[..]), ("tidegate", &[][..]));
    assert!(ClientId::parse(&client_id).is_some() && client_id != "me", "assigned: {client_id}");
    let shown = Shown {
        version: 9,
        flags: 0x81,
        client_id: "me".to_owned(),
        token: b"secret".to_vec(),
        max_receive: Some(5_000),
    };
    assert_eq!(*keeper.shown.lock().expect("nobody panics with it"), [shown]);
    let mut other = serving.connect();
    assert_ne!(other.hello().client_id, client_id, "ids are unique");
    let mut named = serving.connect();
    assert_eq!(named.hello_with(&hello(1, 0, "bob", b"named", b"")).client_id, "alice-1_B");
    let now = serving.snapshot();
    assert_eq!((now.counter(Counter::Welcomed), now.counter(Counter::Started)), (3, 0));
    drop((client, other, named));
    serving.end();
}

#[test]
fn requests_may_be_sent_right_behind_hello() {
    for wants_hello in [false, true] {
        let (serving, _) = serve_doorkeeper(wants_hello);
        let mut client = serving.connect();
        let behind = [frame(AT_ONCE, b"one"), correlated(AT_ONCE, 2, b"two"), frame(PING, b"p")].concat();
        client.send(&[bare_hello(), behind].concat());
        client.expect_welcome();
        client.expect(AT_ONCE, b"one");
        assert_eq!(client.expect_extended(AT_ONCE, OK, Some(2)), b"two");
        client.expect(PONG, b"p");
        drop(client);
        serving.end();
    }
}

/// Name; whether HELLO is required; what is sent; the status of GOAWAY, if one comes, what it must say, and the reason.
type Case = (&'static str, bool, Vec<u8>, Option<u16>, CloseReason, &'static str);

/// Each is refused with its reason, and whatever stands behind it is not handled.
#[test]
fn who_is_not_welcome_is_told_why_and_nothing_behind_it_is_handled() {
    use CloseReason::{LateHello, NoCommonVersion, Panicked, Unauthenticated};
    let greeting = |token: &[u8]| frame(HELLO, &hello(1, 0, "x", token, b""));
    let tagged = |tag: u8| frame(HELLO, &hello(1, 0, "", b"", &[tag, 0]));
    let deadline = Block { deadline_ms: Some(5), ..Block::default() };
    let trace = Block { correlation: Some(5), trace: Some([0; 28]), ..Block::default() };
    #[rustfmt::skip]
    let table: &[Case] = &[
        ("refused",             false, greeting(b"mallory"),                           Some(UNAUTHENTICATED), Unauthenticated, "mallory is not welcome"),
        ("panicked",            false, greeting(b"trap"),                              Some(INTERNAL),        Panicked,        "greeting"),
        ("panicked, required",  true,  greeting(b"trap"),                              Some(INTERNAL),        Panicked,        "greeting"),
        ("version 0",           false, frame(HELLO, &hello(0, 0, "", b"", b"")),       Some(UNSUPPORTED),     NoCommonVersion, "version"),
        ("critical tag",        false, tagged(128),                                    Some(UNSUPPORTED),     NoCommonVersion, ""),
        ("twice",               false, [bare_hello(), bare_hello()].concat(),          Some(PROTOCOL),        LateHello,       "HELLO"),
        ("behind a request",    false, [frame(AT_ONCE, b""), bare_hello()].concat(),   Some(PROTOCOL),        LateHello,       "HELLO"),
        ("behind a PING",       false, [frame(PING, b""), bare_hello()].concat(),      Some(PROTOCOL),        LateHello,       "HELLO"),
        ("request, required",   true,  frame(AT_ONCE, b"x"),                           Some(UNAUTHENTICATED), Unauthenticated, "HELLO"),
        ("block, required",     true,  correlated(AT_ONCE, 1, b"x"),                   Some(UNAUTHENTICATED), Unauthenticated, "HELLO"),
        ("PING, required",      true,  frame(PING, b"x"),                              Some(UNAUTHENTICATED), Unauthenticated, "HELLO"),
        ("SUBSCRIBE, required", true,  frame(SUBSCRIBE, b"\0\0\x01x"),                 Some(UNAUTHENTICATED), Unauthenticated, "HELLO"),
        ("refused, required",   true,  greeting(b"mallory"),                           Some(UNAUTHENTICATED), Unauthenticated, "mallory"),
        ("with a deadline",     false, deadline.frame(HELLO, &hello(1, 0, "", b"", b"")), Some(PROTOCOL),     CloseReason::BadControl, ""),
        ("too long",            false, frame(HELLO, &[0; 4097]),                       Some(TOO_LARGE),       CloseReason::TooLarge, "4097"),
        ("an id of 65",         false, frame(HELLO, &hello(1, 0, &"i".repeat(65), b"", b"")), Some(PROTOCOL), CloseReason::BadControl, ""),
        ("with trace and id: let in, and ended by itself", true, trace.frame(HELLO, &hello(1, 0, "", b"", b"")), None, CloseReason::PeerClosed, ""),
    ];
    for (name, wants_hello, bytes, status, why, text) in table {
        let (serving, keeper) = serve_doorkeeper(*wants_hello);
        let mut client = serving.connect();
        client.send(&[&bytes[..], &frame(7, b"never parked")].concat());
        client.finish_sending();
        match status {
            Some(status) => {
                let goaway = loop {
                    let got = client.receive();
                    if ![WELCOME, AT_ONCE, PONG].contains(&got.header) {
                        break got;
                    }
                };
                assert_eq!(goaway.status(), *status, "case: {name}");
                assert!(goaway.text().contains(text), "case: {name}: {}", goaway.text());
                assert_eq!(keeper.parking.count(), 0, "case: {name}");
            }
            None => {
                client.expect_welcome();
                drop(keeper.parking.take_one());
                client.expect_error(INTERNAL);
            }
        }
        client.expect_end();
        serving.wait_for(name, |now| now.closes(*why) == 1);
        drop(client);
        serving.end();
    }
}

/// The limit is on bodies that the client is sent; a refusal is no such body.
#[test]
fn max_receive_bounds_every_reply() {
    let (serving, keeper) = serve_doorkeeper(false);
    let mut client = serving.connect();
    client.hello_with(&hello(1, 0, "", b"", &[&[1, 4][..], &100_u32.to_be_bytes()].concat()));
    let (fits, large) = (pattern(1, 100), pattern(2, 101));
    client.request(AT_ONCE, &fits);
    client.expect(AT_ONCE, &fits);
    client.request(AT_ONCE, &large);
    client.expect_error(TOO_LARGE);
    client.send(&[correlated(AT_ONCE, 1, &large), extended(AT_ONCE, &fits)].concat());
    client.expect_extended(AT_ONCE, TOO_LARGE, Some(1));
    assert_eq!(client.expect_extended(AT_ONCE, OK, None), fits);
    // Deferred, and held behind what is deferred.
    client.send(
        &[frame(7, b"head"), frame(7, b"next"), frame(AT_ONCE, &large), frame(AT_ONCE, &fits)].concat(),
    );
    let [head, next] = keeper.parking.take(2).try_into().expect("two");
    next.later.share(large.clone().into());
    head.later.send(&large);
    (0..3).for_each(|_| client.expect_error(TOO_LARGE));
    client.expect(AT_ONCE, &fits);
    drop(client);
    serving.end();
}

#[test]
fn control_frames_may_be_large_once_the_peer_is_known() {
    let publish = |bytes: usize| {
        let mut payload = vec![4];
        payload.extend(b"news");
        payload.extend(pattern(1, bytes));
        frame(PUBLISH, &payload)
    };
    let (serving, _) = serve_doorkeeper(false);
    let mut known = serving.connect();
    known.hello();
    known.send(&publish(70_000));
    assert_eq!(known.receive().header, NOTICE);
    let mut stranger = serving.connect();
    stranger.send(&publish(4_000));
    stranger.send(&frame(AT_ONCE, b"here"));
    stranger.expect(AT_ONCE, b"here");
    stranger.send(&publish(4_092));
    stranger.expect_goaway(TOO_LARGE);
    drop((known, stranger));
    serving.end();
}

// ---- heartbeats -------------------------------------------------------------------------------------------------

const BEAT: Duration = Duration::from_millis(600);

fn serve_beating(heartbeat: Option<Duration>) -> Serving {
    Serving::with(Limits { heartbeat, ..Limits::default() })
}

#[test]
fn a_silent_peer_is_asked_and_its_answer_is_a_round_trip() {
    const ROUNDS: u64 = 3;
    let serving = serve_beating(Some(BEAT));
    let mut client = serving.connect();
    assert_eq!(client.hello().heartbeat_ms, 600);
    for _ in 0..ROUNDS {
        let ping = client.receive();
        assert_eq!(ping.header, PING);
        client.request(PONG, &ping.payload);
    }
    serving.wait_for("all are answered", |now| now.counter(Counter::HeartbeatsAnswered) == ROUNDS);
    let now = serving.snapshot();
    assert!(now.counter(Counter::Heartbeats) >= ROUNDS);
    let rtt_us = now.timing(Timing::RoundTrip).sum_us();
    assert!((1..10_000_000).contains(&rtt_us), "{rtt_us} us for {ROUNDS} round trips on loopback");
    // An answer to another question is none.
    let unasked = now.counter(Counter::UnaskedPongs);
    client.request(PONG, b"not what was asked");
    serving.wait_for("it is counted", |now| now.counter(Counter::UnaskedPongs) == unasked + 1);
    drop(client);
    serving.end();
}

#[test]
fn a_peer_that_answers_nothing_is_given_up_after_two_intervals() {
    let serving = serve_beating(Some(BEAT));
    let (mut silent, mut half) = (serving.connect(), serving.connect());
    let mut plain = serving.connect();
    plain.echo(b"nobody looks after me");
    let began = Instant::now();
    for client in [&mut silent, &mut half] {
        client.hello();
    }
    // Half a frame is no life.
    half.send(&frame(ECHO, &pattern(1, 100))[..50]);
    for client in [&mut silent, &mut half] {
        assert_eq!(client.receive().header, PING);
        assert!(began.elapsed() >= BEAT, "asked after {:?}", began.elapsed());
    }
    for client in [&mut silent, &mut half] {
        client.expect_goaway(IDLE);
        assert!(began.elapsed() >= 2 * BEAT, "given up after {:?}", began.elapsed());
    }
    serving.wait_for("both are counted", |now| now.closes(CloseReason::Heartbeat) == 2);
    plain.echo(b"still here, and never asked");
    drop((silent, half, plain));
    serving.end();
}

/// Any whole frame is life: who talks is not asked.
#[test]
fn a_peer_that_talks_is_not_asked() {
    let serving = serve_beating(Some(Duration::from_millis(1_500)));
    let mut client = serving.connect();
    client.hello();
    let until = Instant::now() + Duration::from_millis(3_500);
    let mut asked = 0;
    while Instant::now() < until {
        client.request(DISCARD, b"here I am");
        client.request(ECHO, b"and here");
        let got = client.receive();
        asked += u32::from(got.header == PING);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!((asked, serving.snapshot().counter(Counter::Heartbeats)), (0, 0));
    drop(client);
    serving.end();
}

#[test]
fn without_heartbeats_nobody_is_asked() {
    let serving = serve_beating(None);
    let mut client = serving.connect();
    assert_eq!(client.hello().heartbeat_ms, 0);
    client.stream.set_read_timeout(Some(3 * BEAT)).expect("an option");
    let nothing = std::io::Read::read(&mut client.stream, &mut [0; 10]);
    assert!(nothing.is_err(), "{nothing:?}");
    drop(client);
    serving.end();
}

/// While the server itself does not read, nobody's silence counts.
#[test]
fn a_paused_peer_is_not_given_up() {
    const BYTES: usize = 60_000;
    let serving = serve_beating(Some(BEAT));
    let mut client = Client::connect_narrow(serving.frames(), 4096);
    client.hello();
    let mut sent = 0;
    let until = Instant::now() + 2 * BEAT;
    while serving.snapshot().counter(Counter::PausedOutput) == 0 || Instant::now() < until {
        if serving.snapshot().counter(Counter::PausedOutput) == 0 {
            client.request(ECHO, &pattern(sent, BYTES));
            sent += 1;
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    std::thread::sleep(3 * BEAT);
    assert_eq!(serving.snapshot().closes_total(), 0);
    let mut received = 0;
    while received < sent {
        let got = client.receive();
        if got.header == PING {
            client.request(PONG, &got.payload);
        } else {
            assert!(got.header == ECHO && got.payload == pattern(received, BYTES), "reply {received}");
            received += 1;
        }
    }
    drop(client);
    serving.end();
}

// ---- what has no place among replies ----------------------------------------------------------------------------

/// A request that wants no reply may fail when it was long taken, and its sender hears of it; whatever it is answered
/// besides, and however large that is, it hears nothing.
#[test]
fn a_notice_tells_of_what_failed_later() {
    let (serving, keeper) = serve_doorkeeper(false);
    let (mut known, mut plain) = (serving.connect(), serving.connect());
    known.hello();
    let one_way = Block { one_way: true, ..Block::default() };
    for (nth, client) in [(1, &mut known), (2, &mut plain)] {
        client.send(&[one_way.frame(7, b"done"), one_way.frame(7, b"fails")].concat());
        let [done, fails] = keeper.parking.take(2).try_into().expect("two");
        done.later.send(&pattern(1, 5 << 20));
        fails.later.fail(Status::application(999), "not this one");
        serving.wait_for("it has failed", |now| now.counter(Counter::Unheard) == nth);
        client.send(&frame(AT_ONCE, b"here"));
    }
    plain.expect(AT_ONCE, b"here");
    let notice = known.receive();
    assert_eq!((notice.header, &notice.payload[..4]), (NOTICE, &[0x03, 0xe7, 0x80, 7][..]));
    known.expect(AT_ONCE, b"here");
    let figures = serving.snapshot();
    assert_eq!((figures.counter(Counter::Unheard), figures.outcome(Outcome::Silent)), (2, 4));
    drop((known, plain));
    serving.end();
}

/// Refusals that their sender did not ask to hear of: counted all, told now and then.
#[test]
fn notices_come_at_most_once_a_second() {
    const REFUSED: u64 = 60;
    let serving = Serving::embedded();
    let (mut known, mut plain) = (serving.connect(), serving.connect());
    known.hello();
    let one_way = Block { one_way: true, ..Block::default() };
    let subscribe = frame(SUBSCRIBE, b"\0\0\x04news");
    let began = Instant::now();
    let (mut noticed, mut sent) = (0, 0);
    while began.elapsed() < Duration::from_millis(2_500) || sent < REFUSED {
        let refused = if sent % 2 == 0 { &subscribe } else { &one_way.frame(9, b"nobody serves this") };
        for client in [&mut known, &mut plain] {
            client.send(refused);
            client.request(FLIP, b"a");
        }
        sent += 1;
        plain.expect(FLIP, b"`");
        loop {
            let got = known.receive();
            if got.header == FLIP {
                break;
            }
            assert_eq!(got.header, NOTICE);
            let status = u16::from_be_bytes([got.payload[0], got.payload[1]]);
            let header = u16::from_be_bytes([got.payload[2], got.payload[3]]);
            let is_topic = header == SUBSCRIBE;
            assert_eq!(
                status,
                if is_topic { UNSUPPORTED } else { support::client::NO_ROUTE },
                "{header:#06x}"
            );
            noticed += 1;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let seconds = began.elapsed().as_secs();
    assert!((2..=seconds + 1).contains(&noticed), "{noticed} notices in {seconds} s");
    assert_eq!(serving.snapshot().counter(Counter::Unheard), 2 * sent);
    drop((known, plain));
    serving.end();
}

#[test]
fn what_is_asked_of_topics_is_refused_in_its_ack() {
    let serving = Serving::embedded();
    for is_known in [true, false] {
        let mut client = serving.connect();
        if is_known {
            client.hello();
        }
        for (number, (control, payload)) in (0..).zip([
            (SUBSCRIBE, &b"\0\0\x04news"[..]),
            (UNSUBSCRIBE, b"\0\x01g\x01>"),
            (PUBLISH, b"\x04newsbody"),
        ]) {
            client.send(&correlated(control, number, payload));
            assert_eq!(client.expect_extended(ACK_CONTROL, UNSUPPORTED, Some(number)), b"");
        }
        client.echo(b"no harm done");
    }
    assert_eq!(serving.snapshot().counter(Counter::Unheard), 0, "they were heard");
    serving.end();
}

/// Two halves of a HELLO are one.
#[test]
fn a_greeting_may_come_in_pieces() {
    let (serving, _) = serve_doorkeeper(true);
    let mut client = serving.connect();
    let whole = frame(HELLO, &hello(1, 0, "me", b"a token", b""));
    for byte in whole {
        client.stream.write_all(&[byte]).expect("it is taken");
        std::thread::sleep(Duration::from_millis(1));
    }
    client.expect_welcome();
    client.request(AT_ONCE, b"in");
    client.expect(AT_ONCE, b"in");
    assert_eq!(serving.snapshot().outcome(Outcome::Answered), 1);
    drop(client);
    serving.end();
}
