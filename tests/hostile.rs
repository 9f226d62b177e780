//! Peers that break the protocol, on real sockets: each is told why as far as it can read that, gets a clean end,
//! is counted under its reason, leaves nothing behind, and disturbs nobody.

#[path = "hostile/cases.rs"]
mod cases;
mod support;

use cases::{Case, RESP, Told, on_frames, on_lines};
use std::time::Duration;
use support::client::{Client, ECHO, GOAWAY, IDLE, PING, PROTOCOL, frame};
use support::pattern;
use support::serving::{Neighbour, Serving};
use tidegate::CloseReason;
use tidegate::base::limits::Limits;
use tidegate::server::{Listener, Server};
use tidegate::service::Router;

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
