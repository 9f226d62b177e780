//! Lines over real sockets: ends of lines, cuts, limits, and what is without its end when the stream ends.

mod support;

use support::client::{Client, RECEIVED};
use support::pattern;
use support::serving::Serving;
use tidegate::CloseReason;
use tidegate::server::{Listener, Server};
use tidegate::service::Router;

/// A server whose first listener takes lines for `echo`, with this limit.
fn echoing(payload_max: u32) -> Serving {
    let listener = Listener::lines("127.0.0.1:0").route(1).max_payload(payload_max);
    let builder = Server::builder().listen(listener).expect("a free port");
    Serving::of(builder.start(Router::embedded).expect("a server"))
}

#[test]
fn lines_are_acknowledged() {
    let serving = Serving::embedded();
    let mut client = serving.connect_lines();
    for line in [&b"hello\n"[..], b"\n", b"\r\n", b"with return\r\n", b"\xFF\xFE not UTF-8\n"] {
        client.send(line);
        client.expect_line(RECEIVED);
    }
    drop(client);
    serving.wait_for("it ended in order", |now| now.closes(CloseReason::PeerClosed) == 1);
    serving.end();
}

/// Name, what is sent, and the payloads that must come back, each as one line.
type Case = (&'static str, &'static [u8], &'static [&'static [u8]]);

#[test]
fn ends_of_lines_are_told_from_payloads() {
    let serving = echoing(4096);
    #[rustfmt::skip]
    let table: &[Case] = &[
        ("one line",                 b"a\n",            &[b"a"]),
        ("three lines",              b"a\nbb\nccc\n",   &[b"a", b"bb", b"ccc"]),
        ("empty lines",              b"\n\n\n",         &[b"", b"", b""]),
        ("a return before the end",  b"a\r\n\r\nb\r\n", &[b"a", b"", b"b"]),
        ("two returns",              b"a\r\r\n",        &[b"a\r"]),
        ("a return inside",          b"a\rb\n",         &[b"a\rb"]),
        ("a zero byte",              b"a\0b\n",         &[b"a\0b"]),
        ("the last without an end",  b"a\nlast",        &[b"a", b"last"]),
        ("only one without an end",  b"last",           &[b"last"]),
        ("the last with a return",   b"last\r",         &[b"last"]),
        ("only a return",            b"a\n\r",          &[b"a", b""]),
    ];
    for (name, stream, want) in table {
        for cut in 0..=stream.len() {
            let mut client = Client::connect(serving.frames());
            client.send(&stream[..cut]);
            if cut % 2 == 0 {
                std::thread::yield_now();
            }
            client.send(&stream[cut..]);
            client.finish_sending();
            let got = client.read_to_end();
            let want: Vec<u8> = want.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect();
            assert_eq!(got, want, "case: {name}, cut at {cut}");
        }
    }
    serving.wait_for_rest(0);
    serving.end();
}

#[test]
fn thousands_of_lines_in_one_write_are_answered_in_order() {
    let serving = echoing(4096);
    let mut client = Client::connect(serving.frames());
    let lines: Vec<String> = (0..20_000).map(|number| format!("line {number}")).collect();
    let sending = client.send_beside(
        lines
            .join(
                "
",
            )
            .into_bytes(),
        true,
    );
    for line in &lines {
        client.expect_line(line.as_bytes());
    }
    client.expect_end();
    sending.done();
    serving.end();
}

#[test]
fn one_byte_at_a_time_changes_nothing() {
    let serving = echoing(4096);
    let mut client = Client::connect(serving.frames());
    for byte in b"a\r\n\nlonger line\nno end" {
        client.send(&[*byte]);
        std::thread::sleep(std::time::Duration::from_micros(300));
    }
    client.finish_sending();
    assert_eq!(client.read_to_end(), b"a\n\nlonger line\nno end\n");
    serving.end();
}

/// A line of the limit is served, with either end; both listeners' defaults hold it.
#[test]
fn a_line_as_long_as_the_limit_is_served() {
    for limit in [1, 100, 65_536, 131_072] {
        let serving = echoing(limit);
        let mut client = Client::connect(serving.frames());
        let line: Vec<u8> =
            pattern(u64::from(limit), limit as usize).iter().map(|byte| b'a' + byte % 26).collect();
        for end in [&b"\n"[..], b"\r\n"] {
            client.send(&line);
            client.send(end);
            let got = client.next_line().expect("a reply");
            assert!(got == line, "case: {limit} bytes, end {end:?}");
        }
        drop(client);
        serving.wait_for_rest(0);
        serving.end();
    }
}

/// A route is 14 bits; one that is larger is refused, and never cut to another one.
#[test]
fn a_route_that_does_not_exist_is_refused() {
    for (route, is_right) in [(0, true), (16_383, true), (16_384, false), (u16::MAX, false)] {
        let built = Server::builder().listen(Listener::lines("127.0.0.1:0").route(route));
        assert_eq!(built.is_ok(), is_right, "{route}");
        if let Err(error) = built {
            assert_eq!(
                error.to_string(),
                format!("the route of lines is {route}, but must lie between 0 and 16383")
            );
            assert_eq!(format!("{error:?}"), error.to_string(), "what a main prints that returns it");
        }
    }
}
