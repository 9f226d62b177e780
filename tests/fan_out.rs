//! The fan-out of `tests/services` over two loops: everybody who said HELLO gets everything, once and in order, and who
//! takes it too slowly costs nobody else anything.

mod support;

#[path = "services/fan_out.rs"]
#[allow(unreachable_pub, reason = "a file to be copied")]
mod service;

use service::{FanOut, TOPIC};
use support::client::{Client, ECHO, GOAWAY, frame};
use support::extended::{MESSAGE, OK, correlated, hello};
use support::pattern;
use support::serving::{Serving, builder};
use tidegate::CloseReason;
use tidegate::metrics::{Counter, Gauge};

#[test]
fn it_is_short_enough_to_be_copied() {
    let lines = include_str!("services/fan_out.rs").lines().count();
    assert!(lines <= 80, "{lines} lines");
}

fn serve() -> Serving {
    Serving::of(builder().shards(2).start(FanOut::default).expect("a server"))
}

/// Subscribers on both loops: the kernel, or hand-off, has spread them.
#[track_caller]
fn subscribe(serving: &Serving, count: u64) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| serving.connect()).collect();
    clients.iter_mut().for_each(|client| drop(client.hello()));
    let loops = serving.handle.shard_snapshots();
    let open: Vec<u64> = loops.iter().map(|one| one.gauge(Gauge::Open)).collect();
    assert!(open.iter().all(|open| *open > 0), "all on one loop: {open:?}");
    clients
}

fn message(body: &[u8]) -> Vec<u8> {
    let mut payload = vec![u8::try_from(TOPIC.len()).expect("short")];
    payload.extend(TOPIC.as_bytes());
    payload.extend(body);
    payload
}

#[test]
fn everybody_who_said_hello_gets_everything_once_and_in_order() {
    const MESSAGES: u64 = 200;
    let serving = serve();
    let mut subscribers = subscribe(&serving, 24);
    let mut strangers: Vec<Client> = (0..4).map(|_| serving.connect()).collect();
    let mut publisher = serving.connect();
    for number in 0..MESSAGES {
        let body = pattern(number, usize::try_from(number * 17 % 3_000).expect("few"));
        publisher.send(&correlated(5, number, &body));
        publisher.expect_extended(5, OK, Some(number));
        // The last to get it tells that it has left every loop.
        let want = message(&body);
        subscribers.iter_mut().for_each(|client| client.expect(MESSAGE, &want));
    }
    // A subscriber may publish, and gets its own, besides the reply.
    subscribers[0].request(5, b"mine");
    let mut got = [subscribers[0].receive(), subscribers[0].receive()];
    got.sort_by_key(|got| got.header);
    assert_eq!((got[0].header, &got[0].payload[..]), (5, &b""[..]));
    assert_eq!((got[1].header, &got[1].payload[..]), (MESSAGE, &message(b"mine")[..]));
    for client in strangers.iter_mut().chain([&mut publisher]) {
        client.finish_sending();
        client.expect_end();
    }
    let now = serving.snapshot();
    assert_eq!((now.counter(Counter::PublishesLost), now.counter(Counter::Undeliverable)), (0, 0));
    drop((subscribers, strangers, publisher));
    serving.wait_for_rest(0);
    serving.end();
}

#[test]
fn who_comes_and_goes_disturbs_nobody() {
    let serving = serve();
    let mut steady = subscribe(&serving, 8);
    let mut publisher = serving.connect();
    let mut visitors: Vec<Client> = Vec::new();
    for number in 0..300_u64 {
        let mut visitor = serving.connect();
        visitor.hello();
        visitors.push(visitor);
        if visitors.len() > 5 {
            // Gone with messages on their way.
            drop(visitors.remove(usize::try_from(number % 3).expect("few")));
        }
        publisher.request(5, &number.to_be_bytes());
        publisher.expect(5, b"");
        let want = message(&number.to_be_bytes());
        steady.iter_mut().chain(visitors.last_mut()).for_each(|client| client.expect(MESSAGE, &want));
    }
    drop((steady, visitors, publisher));
    serving.wait_for_rest(0);
    serving.end();
}

/// One that reads nothing is ended when more waits for it than may; all others get everything meanwhile.
#[test]
fn a_slow_subscriber_is_ended_and_nobody_else_is_disturbed() {
    const BYTES: usize = 4_000;
    let serving = serve();
    let mut good = subscribe(&serving, 12);
    let mut slow = Client::connect_narrow(serving.frames(), 4096);
    slow.hello();
    let mut publisher = serving.connect();
    let mut sent = 0_u64;
    while serving.snapshot().closes(CloseReason::SlowConsumer) == 0 {
        assert!(sent < 10_000, "{sent} messages of {BYTES} bytes are not too much");
        let batch: Vec<Vec<u8>> = (sent..sent + 20).map(|number| pattern(number, BYTES)).collect();
        publisher.send(&batch.iter().flat_map(|body| frame(5, body)).collect::<Vec<_>>());
        for body in &batch {
            publisher.expect(5, b"");
            let want = message(body);
            good.iter_mut().for_each(|client| client.expect(MESSAGE, &want));
        }
        sent += 20;
    }
    // What it had been sent before is whole and in order, as far as it came.
    let mut received = 0;
    while let Some(got) = next_if_any(&mut slow) {
        assert!(got == message(&pattern(received, BYTES)), "message {received}");
        received += 1;
    }
    assert!(received < sent);
    publisher.request(5, b"and on");
    publisher.expect(5, b"");
    good.iter_mut().for_each(|client| client.expect(MESSAGE, &message(b"and on")));
    assert_eq!(serving.snapshot().closes_total(), 1);
    drop((good, slow, publisher));
    serving.wait_for_rest(0);
    serving.end();
}

/// The next message, until the end of the stream, which may be in the middle of one.
fn next_if_any(client: &mut Client) -> Option<Vec<u8>> {
    let got = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| client.next_frame())).ok()??;
    (got.header != GOAWAY).then_some(got.payload)
}

/// What is larger than a subscriber takes is not sent to it, and counted; it stays.
#[test]
fn a_message_over_max_receive_is_left_out() {
    let serving = serve();
    let mut small = serving.connect();
    small.hello_with(&hello(1, 0, "", b"", &[&[1, 4][..], &50_u32.to_be_bytes()].concat()));
    let mut large = serving.connect();
    large.hello();
    let mut publisher = serving.connect();
    for (body, fits) in [(pattern(1, 46), true), (pattern(2, 47), false), (pattern(3, 10), true)] {
        publisher.request(ECHO, &body);
        publisher.expect(ECHO, b"");
        large.expect(MESSAGE, &message(&body));
        if fits {
            small.expect(MESSAGE, &message(&body));
        }
    }
    assert_eq!(serving.snapshot().counter(Counter::Undeliverable), 1);
    drop((small, large, publisher));
    serving.end();
}
