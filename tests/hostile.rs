//! Peers that break the protocol, on real sockets: each is told why as far as it can read that, gets a clean end,
//! is counted under its reason, leaves nothing behind, and disturbs nobody.

mod support;

use std::time::Duration;
use support::client::{Client, ECHO, ERROR, EXT, GOAWAY, IDLE, PING, PROTOCOL, TOO_LARGE, frame};
use support::pattern;
use support::serving::{Neighbour, Serving};
use tidegate::CloseReason;
use tidegate::base::limits::Limits;
use tidegate::server::{Listener, Server};
use tidegate::service::Router;

const TLS_HELLO: &[u8] = b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03random bytes and more of the hello";
const TLS_ALERT: &[u8] = b"\x15\x03\x01\x00\x02\x02\x46";
const HTTP: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const RESP: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const PROXY1: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 7411\r\n";
const PROXY2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\x10\0\x20\0";

/// What a peer is told at last.
#[derive(Clone, Copy, Debug)]
enum Told {
    GoAway(u16),
    /// A line that begins so.
    Line(&'static str),
    Bytes(&'static [u8]),
    Nothing,
}

struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    /// Whether the peer ends its sending side after these.
    then_ends: bool,
    told: Told,
    why: CloseReason,
}

fn case(name: &'static str, bytes: impl AsRef<[u8]>, told: Told, why: CloseReason) -> Case {
    Case { name, bytes: bytes.as_ref().to_vec(), then_ends: false, told, why }
}

fn ending(name: &'static str, bytes: impl AsRef<[u8]>, told: Told, why: CloseReason) -> Case {
    Case { then_ends: true, ..case(name, bytes, told, why) }
}

/// A header and a length, without the rest.
fn head(header: u16, length: u32) -> Vec<u8> {
    [&header.to_be_bytes()[..], &length.to_be_bytes()].concat()
}

/// A frame of which one bit was changed.
fn damaged(at: usize) -> Vec<u8> {
    let mut bytes = frame(ECHO, b"good until now");
    bytes[at] ^= 0x10;
    bytes
}

fn on_frames() -> Vec<Case> {
    use CloseReason::{
        BadControl, BadCrc, BadExtension, Http, Proxy, Resp, TlsOnPlain, TooLarge, Truncated, UnknownControl,
        WrongDirection,
    };
    use Told::{Bytes, GoAway, Nothing};
    let max = 1_u32 << 20;
    let mut hello_and_more = TLS_HELLO.to_vec();
    hello_and_more.extend(pattern(1, 3000));
    #[rustfmt::skip]
    let cases = vec![
        case("length over the limit by one",   head(ECHO, max + 1),                GoAway(TOO_LARGE), TooLarge),
        case("the largest length",             head(ECHO, u32::MAX),               GoAway(TOO_LARGE), TooLarge),
        case("much behind a large length",     [head(7, u32::MAX), pattern(2, 200_000)].concat(), GoAway(TOO_LARGE), TooLarge),
        case("extended length over its limit", head(EXT | ECHO, max + 1021),       GoAway(TOO_LARGE), TooLarge),
        case("control length over its limit",  head(PING, 4097),                   GoAway(TOO_LARGE), TooLarge),
        case("a bit changed in the header",    damaged(1),                         GoAway(PROTOCOL),  BadCrc),
        case("a bit changed in the payload",   damaged(9),                         GoAway(PROTOCOL),  BadCrc),
        case("a bit changed in the checksum",  damaged(22),                        GoAway(PROTOCOL),  BadCrc),
        case("a good frame behind a bad one",  [damaged(9), frame(ECHO, b"lost")].concat(), GoAway(PROTOCOL), BadCrc),
        case("an extension that is damaged",   { let mut bytes = frame(EXT | ECHO, b"abcdef"); bytes[8] ^= 1; bytes }, GoAway(PROTOCOL), BadCrc),
        case("a code nobody has",              frame(0x7FFF, b""),                 GoAway(PROTOCOL),  UnknownControl),
        case("HELLO that says nothing",        frame(0x4002, b""),                 GoAway(PROTOCOL),  BadControl),
        case("HELLO with no block of its own", frame(EXT | 0x4002, b"\0\0\0\0"),   GoAway(PROTOCOL),  BadExtension),
        case("a PING that is too long",        frame(PING, &[0; 65]),              GoAway(PROTOCOL),  BadControl),
        case("a PONG that is too long",        frame(0x4001, &[0; 4096]),          GoAway(PROTOCOL),  BadControl),
        case("a PING with an extension",       frame(EXT | PING, b""),             GoAway(PROTOCOL),  BadControl),
        case("an ERROR without a status",      frame(ERROR, b"\0"),                GoAway(PROTOCOL),  BadControl),
        case("a GOAWAY whose text is no text", frame(GOAWAY, b"\0\x09\0\0\0\0\xFF"), GoAway(PROTOCOL), BadControl),
        case("NOTICE to the server",           frame(0x400C, b"\0\x01\0\x01no"),  GoAway(PROTOCOL),  WrongDirection),
        case("ERROR to the server",            frame(ERROR, b"\0\x01no"),          GoAway(PROTOCOL),  WrongDirection),
        case("GOAWAY to the server",           frame(GOAWAY, b"\0\x09\0\0\0\0bye"), GoAway(PROTOCOL), WrongDirection),
        case("a TLS hello",                    TLS_HELLO,                          Bytes(TLS_ALERT),  TlsOnPlain),
        case("a TLS hello and more",           hello_and_more,                     Bytes(TLS_ALERT),  TlsOnPlain),
        case("HTTP",                           HTTP,                               GoAway(PROTOCOL),  Http),
        case("HTTP/2",                         HTTP2,                              GoAway(PROTOCOL),  Http),
        case("RESP",                           RESP,                               GoAway(PROTOCOL),  Resp),
        case("PROXY, version 1",               PROXY1,                             GoAway(PROTOCOL),  Proxy),
        case("PROXY, version 2",               PROXY2,                             GoAway(PROTOCOL),  Proxy),
        case("junk",                           [0xA5; 5000],                       GoAway(TOO_LARGE), TooLarge),
        case("zeros",                          [0; 5000],                          GoAway(PROTOCOL),  BadCrc),
        ending("the end inside a header",      &frame(ECHO, b"cut")[..3],          Nothing,           Truncated),
        ending("the end inside a payload",     &frame(ECHO, b"cut")[..8],          Nothing,           Truncated),
        ending("the end inside a checksum",    &frame(ECHO, b"cut")[..12],         Nothing,           Truncated),
        ending("the end inside a large frame", &frame(ECHO, &pattern(3, 500_000))[..300_000], Nothing, Truncated),
    ];
    cases
}

fn on_lines() -> Vec<Case> {
    use CloseReason::{Http, LineTooLong, Proxy, TlsOnPlain};
    use Told::{Bytes, Line};
    let max = 64 << 10;
    #[rustfmt::skip]
    let cases = vec![
        case("a line over the limit by one",    [vec![b'a'; max + 1], b"\n".to_vec()].concat(), Line("ERR 14 TOO_LARGE "), LineTooLong),
        case("a line without end",              vec![b'a'; max + 2],                Line("ERR 14 TOO_LARGE "), LineTooLong),
        case("a line without end, and more",    vec![b'a'; 5 * max],                Line("ERR 14 TOO_LARGE "), LineTooLong),
        case("a TLS hello",                     TLS_HELLO,                          Bytes(TLS_ALERT),          TlsOnPlain),
        case("HTTP",                            HTTP,                               Line("ERR 1 PROTOCOL "),   Http),
        case("HTTP/2",                          HTTP2,                              Line("ERR 1 PROTOCOL "),   Http),
        case("PROXY, version 1",                PROXY1,                             Line("ERR 1 PROTOCOL "),   Proxy),
        case("PROXY, version 2",                PROXY2,                             Line("ERR 1 PROTOCOL "),   Proxy),
    ];
    cases
}

/// Runs a case against a server, and looks at what came back.
fn run(serving: &Serving, mut client: Client, case: &Case) {
    let Case { name, bytes, then_ends, told, why } = case;
    let before = serving.snapshot().closes(*why);
    // Beside: the server may stop reading before all is sent.
    let sending = client.send_beside(bytes.clone(), *then_ends);
    match told {
        Told::GoAway(status) => {
            let text = client.expect_goaway(*status);
            assert!(!text.is_empty(), "case: {name}: a reason for humans");
        }
        Told::Bytes(want) => assert_eq!(client.read_to_end(), *want, "case: {name}"),
        Told::Nothing => client.expect_end(),
        Told::Line(begin) => {
            let line = client.next_line().expect("a last line");
            let line = String::from_utf8(line).expect("error lines are text");
            assert!(line.starts_with(begin), "case: {name}: {line}");
            client.expect_end();
        }
    }
    sending.done();
    drop(client);
    serving.wait_for(&format!("{name} is counted as {}", why.name()), |now| now.closes(*why) == before + 1);
}

#[test]
fn broken_frames_end_their_connection_and_no_other() {
    let serving = Serving::embedded();
    let neighbour = Neighbour::of(serving.frames());
    for case in on_frames() {
        run(&serving, serving.connect(), &case);
        neighbour.still_served();
    }
    neighbour.leave();
    serving.wait_for_rest(0);
    let now = serving.snapshot();
    assert_eq!(now.closes_total(), on_frames().len() as u64 + 1, "{now:?}");
    serving.end();
}

/// Not as the first thing: what came before is answered first, and nobody's protocol but ours is named any more.
#[test]
fn what_came_before_the_fault_is_answered_first() {
    let serving = Serving::embedded();
    let neighbour = Neighbour::of(serving.frames());
    for case in on_frames() {
        if matches!(case.why, CloseReason::Truncated) {
            continue;
        }
        let mut client = serving.connect();
        client
            .send_beside([frame(ECHO, b"first"), frame(PING, b"second"), case.bytes].concat(), false)
            .done();
        client.expect(ECHO, b"first");
        client.expect(0x4001, b"second");
        let last = client.receive();
        assert_eq!(last.header, GOAWAY, "case: {}", case.name);
        client.expect_end();
    }
    neighbour.leave();
    serving.wait_for_rest(0);
    let now = serving.snapshot();
    for why in [CloseReason::TlsOnPlain, CloseReason::Http, CloseReason::Resp, CloseReason::Proxy] {
        assert_eq!(now.closes(why), 0, "{} was not said first", why.name());
    }
    serving.end();
}

/// The same bytes one at a time: a cut never changes what they are taken for.
#[test]
fn broken_frames_are_the_same_byte_by_byte() {
    let serving = Serving::embedded();
    for mut case in on_frames() {
        if case.bytes.len() > 64 || case.then_ends {
            continue;
        }
        let client = serving.connect();
        let (last, front) = case.bytes.split_last().expect("no case is empty");
        let mut stream = client.stream.try_clone().expect("a second descriptor");
        for byte in front {
            // The end may be certain before the last byte: then what follows is thrown away.
            let _ = std::io::Write::write(&mut stream, &[*byte]);
            std::thread::sleep(Duration::from_micros(300));
        }
        drop(stream);
        case.bytes = vec![*last];
        run(&serving, client, &case);
    }
    serving.wait_for_rest(0);
    serving.end();
}

#[test]
fn broken_lines_end_their_connection_and_no_other() {
    let serving = Serving::embedded();
    let neighbour = Neighbour::of(serving.frames());
    for case in on_lines() {
        run(&serving, serving.connect_lines(), &case);
        neighbour.still_served();
    }
    neighbour.leave();
    serving.wait_for_rest(0);
    serving.end();
}

/// On lines, RESP and junk are text.
#[test]
fn text_of_others_is_text_on_lines() {
    let serving = Serving::embedded();
    for (name, bytes) in [("resp", RESP), ("junk", &b"\xA5\0\xFF\n\x01\n\x7F\n"[..])] {
        let mut client = serving.connect_lines();
        client.send(bytes);
        for _ in 0..3 {
            client.expect_line(support::client::RECEIVED);
        }
        client.finish_sending();
        assert_eq!(client.next_line(), None, "case: {name}");
    }
    serving.end();
}

#[test]
fn silence_ends_where_a_listener_says_so() {
    let limits = Limits { idle: Some(Duration::from_millis(1500)), ..Limits::default() };
    let serving = Serving::with(limits);
    let neighbour = Neighbour::of(serving.frames());
    let mut silent = [serving.connect(), serving.connect()];
    let mut silent_lines = serving.connect_lines();
    silent[1].echo(b"not silent yet");
    for client in &mut silent {
        client.expect_goaway(IDLE);
    }
    silent_lines.expect_end();
    drop((silent, silent_lines));
    serving.wait_for("three were idle", |now| now.closes(CloseReason::Idle) == 3);
    neighbour.leave();
    serving.wait_for_rest(0);
    serving.end();
}

/// A message that was begun must be whole in time, however busily its bytes come.
#[test]
fn slow_senders_meet_the_deadline_of_their_message() {
    let limits = Limits { frame_deadline: Duration::from_millis(600), ..Limits::default() };
    let builder = Server::builder()
        .listen(Listener::frames("127.0.0.1:0"))
        .and_then(|builder| builder.listen(Listener::lines("127.0.0.1:0").max_payload(1024)))
        .expect("two free ports");
    let serving = Serving::of(builder.limits(limits).start(Router::embedded).expect("a server"));
    let neighbour = Neighbour::of(serving.frames());
    let slowly = |mut stream: std::net::TcpStream, bytes: Vec<u8>| {
        std::thread::spawn(move || {
            for byte in bytes {
                if std::io::Write::write(&mut stream, &[byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(40));
            }
        })
    };
    let large = frame(ECHO, &pattern(1, 40));
    let mut on_header = serving.connect();
    let mut on_payload = serving.connect();
    let mut on_lines = serving.connect_lines();
    let mut stuck = serving.connect();
    on_payload.send(&large[..7]);
    stuck.send(&frame(ECHO, &pattern(2, 2000))[..1000]);
    let senders =
        [(&on_header, large[..5].to_vec()), (&on_payload, large[7..].to_vec()), (&on_lines, vec![b'a'; 60])]
            .map(|(client, bytes)| slowly(client.stream.try_clone().expect("a second descriptor"), bytes));
    on_header.expect_goaway(PROTOCOL);
    on_payload.expect_goaway(PROTOCOL);
    stuck.expect_goaway(PROTOCOL);
    on_lines.expect_end();
    drop((on_header, on_payload, on_lines, stuck));
    serving.wait_for("four were too slow", |now| now.closes(CloseReason::FrameDeadline) == 4);
    neighbour.leave();
    for sender in senders {
        sender.join().expect("no panic");
    }
    serving.wait_for_rest(0);
    serving.end();
}

/// A reset in the middle of everything is nobody's trouble but the peer's own.
#[test]
fn resets_leave_nothing_behind() {
    let serving = Serving::embedded();
    let neighbour = Neighbour::of(serving.frames());
    for round in 0..50_u64 {
        let mut client = serving.connect();
        client.request(ECHO, &pattern(round, 50_000));
        client.send(&frame(ECHO, &pattern(round, 30_000))[..20_000]);
        let socket = socket2::SockRef::from(&client.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("an option of a socket");
    }
    serving.wait_for("all but the neighbour are gone", |now| now.closes_total() == 50);
    serving.wait_for_rest(1);
    neighbour.leave();
    serving.end();
}
