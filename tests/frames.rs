//! Frames over real sockets: every route, every cut, large and many, control frames, refusals, half-closed peers.

mod support;

use std::time::Duration;
use support::client::{
    ACK, DISCARD, ECHO, ERROR, EXT, FLIP, INTERNAL, NO_ROUTE, PING, PONG, RECEIVED, frame,
};
use support::pattern;
use support::serving::{Serving, builder};
use tidegate::CloseReason;
use tidegate::metrics::{Counter, Outcome};

fn flipped(payload: &[u8]) -> Vec<u8> {
    let mut out = payload.to_vec();
    if let Some(first) = out.first_mut() {
        *first ^= 1;
    }
    out
}

#[test]
fn every_route_does_what_it_says() {
    let serving = Serving::embedded();
    let mut client = serving.connect();
    for bytes in [0, 1, 2, 63, 64, 1000, 4096, 16_383, 16_384, 16_385, 70_000] {
        let payload = pattern(bytes as u64, bytes);
        for (name, route, want) in [
            ("ack", ACK, RECEIVED.to_vec()),
            ("echo", ECHO, payload.clone()),
            ("flip", FLIP, flipped(&payload)),
        ] {
            client.request(route, &payload);
            let got = client.receive();
            assert_eq!(got.header, route, "case: {name} of {bytes} bytes");
            assert!(got.payload == want, "case: {name} of {bytes} bytes");
        }
        // No reply: the next one is that of the next request.
        client.request(DISCARD, &payload);
        client.echo(b"behind discard");
    }
    let now = serving.snapshot();
    assert_eq!(now.outcome(Outcome::Silent), 11);
    assert_eq!(now.outcome(Outcome::Answered), 4 * 11);
    assert_eq!(now.counter(Counter::Started), 5 * 11);
    drop(client);
    serving.end();
}

#[test]
fn thousands_of_frames_in_one_write_are_answered_in_order() {
    const FRAMES: u32 = 20_000;
    let serving = Serving::embedded();
    let mut client = serving.connect();
    let route_of = |number: u32| [ECHO, FLIP, ACK, DISCARD][number as usize % 4];
    let mut all = Vec::new();
    for number in 0..FRAMES {
        all.extend(frame(route_of(number), &number.to_be_bytes()));
    }
    // Written beside reading: who only writes is not read for ever.
    let sending = client.send_beside(all, false);
    for number in (0..FRAMES).filter(|number| route_of(*number) != DISCARD) {
        let payload = number.to_be_bytes();
        match route_of(number) {
            ECHO => client.expect(ECHO, &payload),
            FLIP => client.expect(FLIP, &flipped(&payload)),
            _ => client.expect(ACK, RECEIVED),
        }
    }
    sending.done();
    drop(client);
    serving.end();
}

#[test]
fn one_byte_at_a_time_changes_nothing() {
    let serving = Serving::embedded();
    let mut client = serving.connect();
    let mut stream = Vec::new();
    for number in 0..8_u8 {
        stream.extend(frame(FLIP, &pattern(u64::from(number), usize::from(number) * 9)));
    }
    stream.extend(frame(PING, b"between"));
    stream.extend(frame(9, b"nobody"));
    for byte in stream {
        client.send(&[byte]);
        // Lets most bytes arrive alone.
        std::thread::sleep(Duration::from_micros(200));
    }
    for number in 0..8_u8 {
        client.expect(FLIP, &flipped(&pattern(u64::from(number), usize::from(number) * 9)));
    }
    client.expect(PONG, b"between");
    client.expect_error(NO_ROUTE);
    drop(client);
    serving.wait_for_rest(0);
    serving.end();
}

/// Two frames in a stream that is cut in two, at every place.
#[test]
fn a_cut_may_be_anywhere() {
    let serving = Serving::embedded();
    let mut client = serving.connect();
    let (first, second) = (pattern(1, 23), pattern(2, 5));
    let stream = [frame(ECHO, &first), frame(FLIP, &second)].concat();
    for cut in 1..stream.len() {
        client.send(&stream[..cut]);
        if cut >= 33 {
            client.expect(ECHO, &first);
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
        client.send(&stream[cut..]);
        if cut < 33 {
            client.expect(ECHO, &first);
        }
        client.expect(FLIP, &flipped(&second));
    }
    drop(client);
    serving.end();
}

#[test]
fn the_largest_frames_go_both_ways() {
    let serving = Serving::embedded();
    let mut client = serving.connect();
    for (seed, route) in (0..6).zip([ECHO, FLIP].into_iter().cycle()) {
        let payload = pattern(seed, 1 << 20);
        let want = if route == FLIP { flipped(&payload) } else { payload.clone() };
        let sending = client.send_beside(frame(route, &payload), false);
        client.expect(route, &want);
        sending.done();
    }
    drop(client);
    serving.wait_for_rest(0);
    serving.end();
}

#[test]
fn many_connections_are_served_at_once() {
    const CONNECTIONS: usize = 500;
    let serving = Serving::embedded();
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| serving.connect()).collect();
    for round in 0..3 {
        for (number, client) in clients.iter_mut().enumerate() {
            for part in 0..4 {
                client.request(ECHO, &pattern((number * 100 + round * 10 + part) as u64, 48));
            }
        }
        for (number, client) in clients.iter_mut().enumerate() {
            for part in 0..4 {
                client.expect(ECHO, &pattern((number * 100 + round * 10 + part) as u64, 48));
            }
        }
    }
    serving.wait_for_rest(CONNECTIONS as u64);
    drop(clients);
    serving.wait_for_rest(0);
    let now = serving.snapshot();
    assert_eq!(now.counter(Counter::Accepted), CONNECTIONS as u64);
    assert_eq!(now.closes(CloseReason::PeerClosed), CONNECTIONS as u64);
    serving.end();
}

/// Connections that come and go, in every state, leave nothing behind.
#[test]
fn thousands_come_and_go() {
    const CONNECTIONS: u64 = 3_000;
    let serving = Serving::embedded();
    for number in 0..CONNECTIONS {
        let mut client = serving.connect();
        match number % 3 {
            0 => client.echo(b"once"),
            1 => client.send(&frame(ECHO, &pattern(number, 100))[..50]),
            _ => {}
        }
    }
    serving.wait_for("all are gone", |now| now.closes_total() == CONNECTIONS);
    serving.wait_for_rest(0);
    let now = serving.snapshot();
    assert_eq!(now.closes(CloseReason::Truncated), CONNECTIONS / 3);
    assert_eq!(now.closes(CloseReason::PeerClosed), CONNECTIONS / 3 * 2);
    serving.end();
}

#[test]
fn pings_are_answered_and_pongs_counted() {
    let serving = Serving::embedded();
    let mut client = serving.connect();
    for bytes in [0, 1, 63, 64] {
        client.request(PING, &pattern(7, bytes));
        client.expect(PONG, &pattern(7, bytes));
    }
    client.request(PONG, b"nobody asked");
    client.echo(b"still here");
    let now = serving.snapshot();
    assert_eq!(now.counter(Counter::UnaskedPongs), 1);
    assert_eq!(now.counter(Counter::Started), 1, "control frames are no requests");
    assert_eq!(now.counter(Counter::FramesIn), 6);
    drop(client);
    serving.end();
}

/// Each refusal is the reply to its own request, and costs the connection nothing.
#[test]
fn a_refused_request_keeps_its_place_and_its_connection() {
    let serving = Serving::embedded();
    let mut client = serving.connect();
    let mut stream = Vec::new();
    for (header, payload) in [
        (ECHO, &b"one"[..]),
        (4, b"nobody serves this"),
        (FLIP, b"two"),
        (0x3FFF, b"nor this"),
        // A reserved flag, and a critical tag that nobody knows.
        (EXT | ECHO, b"\x01\x10\x00\x00unknown flag"),
        (EXT | ECHO, b"\x02\x80\x00\x00\xC8\x02\x00\x00unknown tag"),
        (ECHO, b"three"),
    ] {
        stream.extend(frame(header, payload));
    }
    client.send(&stream);
    client.expect(ECHO, b"one");
    client.expect_error(NO_ROUTE);
    client.expect(FLIP, b"uwo");
    client.expect_error(NO_ROUTE);
    for _ in 0..2 {
        let refused = client.receive();
        assert_eq!((refused.header, &refused.payload[..4]), (EXT | ECHO, &[1, 0, 0, 15][..]));
        assert!(refused.payload.len() > 10, "and says what it does not know");
    }
    client.expect(ECHO, b"three");
    client.echo(b"and on");
    assert_eq!(serving.snapshot().outcome(Outcome::Failed), 4);
    drop(client);
    serving.end();
}

/// The largest payload with bit 15 is an extension block longer, and still no reason to close.
#[test]
fn an_extension_has_its_own_room() {
    let serving = Serving::embedded();
    let mut client = serving.connect();
    // The largest block: 255 words of an affinity key, some unknown tag, and padding.
    let mut payload = vec![255, 0x80, 0, 0, 3, 255];
    payload.resize(4 + 2 + 255, 1);
    payload.extend([77, 255]);
    payload.resize(1020, 0);
    payload.extend(pattern(3, 1 << 20));
    client.request(EXT | ECHO, &payload);
    let reply = client.receive();
    assert_eq!((reply.header, &reply.payload[..4]), (EXT | ECHO, &[1, 0, 0, 0][..]));
    assert!(reply.payload[4..] == payload[1020..], "the body without the block");
    client.echo(b"still here");
    drop(client);
    serving.end();
}

#[test]
fn a_half_closed_client_gets_every_reply_and_then_the_end() {
    let serving = Serving::embedded();
    for (name, payload_bytes, requests) in [("small", 64, 2_000), ("large", 100_000, 40)] {
        let mut client = serving.connect();
        let stream: Vec<u8> =
            (0..requests).flat_map(|number| frame(ECHO, &pattern(number, payload_bytes))).collect();
        let sending = client.send_beside(stream, true);
        for number in 0..requests {
            let got = client.receive();
            assert!(got.payload == pattern(number, payload_bytes), "case: {name}, reply {number}");
        }
        client.expect_end();
        sending.done();
    }
    serving.wait_for("both ended as they should", |now| now.closes(CloseReason::PeerClosed) == 2);
    serving.wait_for_rest(0);
    serving.end();
}

#[test]
fn a_handler_that_panics_answers_internal_and_serving_goes_on() {
    let running = builder().start_fn(|frame, reply| {
        assert!(frame.payload() != b"trap", "asked to panic");
        reply.forward(frame.whole())
    });
    let serving = Serving::of(running.expect("a server"));
    let (mut client, mut other) = (serving.connect(), serving.connect());
    client.send(&[frame(5, b"before"), frame(5, b"trap"), frame(5, b"behind")].concat());
    client.expect(5, b"before");
    let refused = client.receive();
    assert_eq!((refused.header, refused.status()), (ERROR, INTERNAL));
    client.expect(5, b"behind");
    other.echo(b"undisturbed");
    let now = serving.snapshot();
    assert_eq!((now.outcome(Outcome::Panicked), now.counter(Counter::Panics)), (1, 1));
    drop((client, other));
    serving.end();
}
