//! What becomes of spans when the collector is slow, wrong, or gone; and at the end.

use crate::support::client::{Client, ECHO, nobody};
use crate::support::collector::{Answer, Collector};
use crate::support::serving::{Serving, builder};
use crate::support::wait_until;
use crate::{ALL, NONE, SAMPLED, SOON, Traced, traced};
use std::time::{Duration, Instant};
use tidegate::Router;
use tidegate::base::limits::SPANS_WAITING;
use tidegate::control::{Traces, TracesError};
use tidegate::metrics::Counter;
use tidegate::server::Export;

/// One traced request, answered.
fn ask(client: &mut Client) {
    client.send(&traced(ECHO, SAMPLED, b"x"));
    client.expect_extended(ECHO, 0, Some(7));
}

#[track_caller]
fn wait_for(server: &Traced, what: Export, count: u64) {
    wait_until(&format!("{count} of {what:?}"), || server.serving.handle.exports(what) == count);
}

/// 503, 429: again after the time that it asks for, and the same spans, once.
#[test]
fn a_busy_collector_is_asked_again_when_it_says() {
    let collector = Collector::answering(&[Answer::Status(503, Some(1)), Answer::Status(429, Some(2))]);
    let server = Traced::embedded(&collector, NONE);
    ask(&mut server.connect());
    wait_for(&server, Export::Sent, 1);
    let posted = collector.posted().clone();
    assert_eq!(posted.len(), 3);
    assert!(posted.iter().all(|one| one.spans == posted[0].spans), "{posted:#?}");
    for (pair, wait) in posted.windows(2).zip([1, 2]) {
        let waited = pair[1].at - pair[0].at;
        assert!(waited >= Duration::from_secs(wait), "{waited:?}");
        assert!(waited < Duration::from_secs(wait) + SOON, "{waited:?}");
    }
    assert_eq!(server.serving.handle.exports(Export::Retried), 2);
    assert_eq!(server.serving.handle.exports(Export::Done), 1);
    server.end(SOON);
}

/// Without a word about when, a second less what chance takes off; a broken connection is as good as a busy one.
#[test]
fn a_collector_that_dies_in_the_middle_is_asked_again() {
    let collector = Collector::answering(&[Answer::Dies, Answer::Taken]);
    let server = Traced::embedded(&collector, NONE);
    let before = Instant::now();
    ask(&mut server.connect());
    collector.wait_for(1);
    wait_for(&server, Export::Sent, 1);
    assert!(before.elapsed() >= Duration::from_millis(500), "{:?}", before.elapsed());
    assert_eq!(server.serving.handle.exports(Export::Retried), 1);
    // The connection that is left is used again.
    ask(&mut server.connect());
    collector.wait_for(2);
    server.end(SOON);
}

/// Nobody is there at first: the spans of that time come when somebody is.
#[test]
fn a_collector_may_come_later() {
    let (place, address) = nobody();
    let serving = Serving::of(builder().tracing(NONE).start(Router::embedded).expect("a server"));
    let traces = Traces::to(&format!("http://{address}")).expect("a URL");
    let sending = traces.start(serving.handle.clone()).expect("a thread");
    ask(&mut serving.connect());
    wait_until("a try in vain", || serving.handle.exports(Export::Retried) >= 1);
    place.listen(16).expect("it is bound");
    let collector = Collector::at(place.into(), &[]);
    collector.wait_for(1);
    serving.end();
    sending.finish(SOON);
}

#[test]
fn what_a_collector_refuses_is_not_sent_again() {
    let collector = Collector::answering(&[Answer::Status(400, None), Answer::Partly(1, "too old")]);
    let server = Traced::embedded(&collector, NONE);
    let mut client = server.connect();
    ask(&mut client);
    wait_for(&server, Export::Failed, 1);
    assert_eq!(server.serving.handle.exports(Export::Refused), 1);
    client.send(&traced(ECHO, SAMPLED, b"x").repeat(2));
    (0..2).for_each(|_| drop(client.expect_extended(ECHO, 0, Some(7))));
    // Both may not come in one request, but one of them is refused in any case.
    wait_until("two more are told of", || {
        let of = |what| server.serving.handle.exports(what);
        of(Export::Refused) + of(Export::Sent) == 3
    });
    assert_eq!(server.serving.handle.exports(Export::Refused), 2);
    assert_eq!(server.serving.handle.exports(Export::Retried), 0);
    drop(client);
    server.end(SOON);
}

/// More spans than may wait: the oldest go, are counted, and nobody else is disturbed.
#[test]
fn what_waits_is_bounded() {
    let collector = Collector::answering(&[Answer::Never; 8]);
    let server = Traced::embedded(&collector, ALL);
    let mut client = server.connect();
    let handle = &server.serving.handle;
    wait_until("more are dropped than wait", || {
        client.send(&crate::frame(ECHO, b"x").repeat(256));
        (0..256).for_each(|_| client.expect(ECHO, b"x"));
        handle.exports(Export::Overflowed) > 100
    });
    assert!(handle.spans_waiting() <= SPANS_WAITING as u64, "{}", handle.spans_waiting());
    let recorded = server.figures().counter(Counter::Spans);
    assert!(recorded > SPANS_WAITING as u64, "{recorded}");
    client.echo(b"still served");
    drop(client);
    // The end waits for a collector that never answers no longer than it was told.
    server.serving.end();
    let before = Instant::now();
    server.sending.finish(Duration::from_millis(300));
    let took = before.elapsed();
    assert!((Duration::from_millis(250)..SOON).contains(&took), "{took:?}");
}

/// A drain: what was recorded last is sent before the end, though its time had not come.
#[test]
fn the_last_spans_leave_before_the_end() {
    for count in [1, 600] {
        let collector = Collector::new();
        let server = Traced::embedded(&collector, NONE);
        let mut client = server.connect();
        crate::burst(&mut client, count);
        drop(client);
        server.end(SOON);
        assert_eq!(collector.spans().len(), count);
    }
}

/// Nobody is there, and nobody comes: the end does not wait for that.
#[test]
fn an_end_without_a_collector_is_an_end() {
    let (_place, address) = nobody();
    let serving = Serving::of(builder().tracing(NONE).start(Router::embedded).expect("a server"));
    let traces = Traces::to(&format!("http://{address}")).expect("a URL");
    let sending = traces.start(serving.handle.clone()).expect("a thread");
    ask(&mut serving.connect());
    let handle = serving.handle.clone();
    serving.end();
    let before = Instant::now();
    sending.finish(Duration::from_secs(20));
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
    assert_eq!((handle.exports(Export::Lost), handle.exports(Export::Sent)), (1, 0));
}

/// Whoever does not wait for the end need not keep what waits for it.
#[test]
fn traces_are_sent_though_nobody_will_wait_for_them() {
    let collector = Collector::new();
    let Traced { serving, sending } = Traced::embedded(&collector, NONE);
    drop(sending);
    for count in 1..=2 {
        ask(&mut serving.connect());
        collector.wait_for(count);
    }
    serving.end();
}

#[test]
fn headers_go_with_each_request_and_into_no_error() {
    let collector = Collector::new();
    let serving = Serving::of(builder().tracing(NONE).start(Router::embedded).expect("a server"));
    let traces =
        Traces::to(&collector.url()).expect("a URL").headers("Authorization: Bearer abc\nx-tenant: 7\n");
    let traces = traces.expect("they are right");
    assert!(!format!("{traces:?}").contains("abc"));
    let sending = traces.start(serving.handle.clone()).expect("a thread");
    ask(&mut serving.connect());
    collector.wait_for(1);
    let headers = collector.posted()[0].headers.clone();
    assert_eq!((headers["authorization"].as_str(), headers["x-tenant"].as_str()), ("Bearer abc", "7"));
    serving.end();
    sending.finish(SOON);
    let wrong = || Traces::to("http://127.0.0.1:4318").expect("a URL");
    assert!(matches!(wrong().headers("host: x"), Err(TracesError::Header { line: 1 })));
    assert!(matches!(wrong().service_name(""), Err(TracesError::Name)));
    assert!(matches!(Traces::to("https://127.0.0.1"), Err(TracesError::Collector(_))));
}
