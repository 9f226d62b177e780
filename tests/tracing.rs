//! Requests that belong to distributed traces: which are recorded, what is told of them, and what becomes of that when the
//! collector is slow, wrong or gone.
//!
//! The collector is the test's own, and reads protobuf by its wire format: see `support/collector.rs`.

#![cfg(feature = "admin")]

#[path = "tracing/collecting.rs"]
mod collecting;
#[path = "tracing/sampling.rs"]
mod sampling;
#[cfg(feature = "cli")]
#[path = "tracing/shell.rs"]
mod shell;
mod support;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};
use support::client::{Client, ECHO, NO_ROUTE, RECEIVED, frame};
use support::collector::{Collector, Told};
use support::extended::Block;
use support::serving::{Serving, builder};
use support::wait_until;
use tidegate::control::{Sending, Traces};
use tidegate::metrics::{Counter, Snapshot};
use tidegate::server::Sampling;
use tidegate::service::{Cx, Frame, Later, Peer, Replied, Reply, Service};
use tidegate::{Router, Status};

const TRACE: [u8; 16] = [0xA1; 16];
const PARENT: [u8; 8] = [0xB2; 8];
const SAMPLED: u8 = 1;

/// Of a trace: its id, the span that causes the request, flags.
fn context(id: [u8; 16], parent: [u8; 8], flags: u8) -> [u8; 28] {
    let mut field = [0; 28];
    field[..16].copy_from_slice(&id);
    field[16..24].copy_from_slice(&parent);
    field[24] = flags;
    field
}

/// A request that brings a trace.
fn traced(route: u16, flags: u8, body: &[u8]) -> Vec<u8> {
    Block { correlation: Some(7), trace: Some(context(TRACE, PARENT, flags)), ..Block::default() }
        .frame(route, body)
}

/// All, or none, of the requests that bring nothing.
const ALL: Sampling = Sampling { per_million: 1_000_000, spans_per_second: 10_000 };
const NONE: Sampling = Sampling { per_million: 0, spans_per_second: 10_000 };

/// A server whose spans go to this collector.
struct Traced {
    serving: Serving,
    sending: Sending,
}

impl Traced {
    fn embedded(collector: &Collector, sampling: Sampling) -> Traced {
        let builder = builder().tracing(sampling).label_routes(1..=1, "echo").label_routes(16..=31, "flip");
        Traced::of(Serving::of(builder.start(Router::embedded).expect("a server")), collector)
    }

    fn of(serving: Serving, collector: &Collector) -> Traced {
        let traces = Traces::to(&collector.url()).expect("a URL").service_name("orders").expect("a name");
        let sending = traces.start(serving.handle.clone()).expect("a thread");
        Traced { serving, sending }
    }

    fn connect(&self) -> Client {
        self.serving.connect()
    }

    fn figures(&self) -> Snapshot {
        self.serving.snapshot()
    }

    /// Drains the server, then gives what is left so much time.
    fn end(self, within: Duration) {
        self.serving.end();
        self.sending.finish(within);
    }
}

/// So many traced requests and their replies, no faster than they may be recorded.
fn burst(client: &mut Client, count: usize) {
    for part in (0..count).collect::<Vec<_>>().chunks(200) {
        client.send(&traced(ECHO, SAMPLED, b"").repeat(part.len()));
        part.iter().for_each(|_| drop(client.expect_extended(ECHO, 0, Some(7))));
        std::thread::sleep(Duration::from_millis(60));
    }
}

const SOON: Duration = Duration::from_secs(5);

fn unix_ns() -> u64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    u64::try_from(now.as_nanos()).expect("before 2554")
}

#[test]
fn a_traced_request_becomes_a_span() {
    let collector = Collector::new();
    let server = Traced::embedded(&collector, NONE);
    let mut client = server.connect();
    let own = client.stream.local_addr().expect("it is connected");
    let before = unix_ns();
    client.send(&traced(ECHO, SAMPLED, b"hello"));
    assert_eq!(client.expect_extended(ECHO, 0, Some(7)), b"hello");
    let after = unix_ns();
    let span = collector.wait_for(1).remove(0);

    assert_eq!((span.trace.as_slice(), span.parent.as_slice()), (&TRACE[..], &PARENT[..]));
    assert!(span.id.len() == 8 && span.id != PARENT && span.id.iter().any(|byte| *byte != 0), "{span:?}");
    assert_eq!((span.name.as_str(), span.kind), ("route 1 echo", 2), "SPAN_KIND_SERVER");
    // Sampled; whether the parent is remote is known; it is.
    assert_eq!(span.flags, 0x301);
    assert_eq!((span.status_code, span.status_message.as_str()), (0, ""));
    // A millisecond on each side: the loops count in microseconds, from a start that is known as well.
    let slack = 1_000_000;
    assert!(before - slack <= span.start_ns && span.start_ns <= span.end_ns, "{before} {span:?}");
    assert!(span.end_ns <= after + slack, "{after} {span:?}");

    #[rustfmt::skip]
    let said = [
        ("network.transport", "tcp"), ("network.type", "ipv4"), ("network.protocol.name", "tidegate"),
        ("network.peer.address", "127.0.0.1"), ("server.address", "127.0.0.1"),
        ("tidegate.route", "1"), ("tidegate.service", "echo"), ("tidegate.outcome", "answered"),
        ("tidegate.status", "OK"), ("tidegate.status_code", "0"),
        ("tidegate.request.bytes", "5"), ("tidegate.reply.bytes", "5"), ("error.type", ""),
    ];
    for (name, value) in said {
        assert_eq!(span.say(name), value, "{name}: {span:?}");
    }
    assert_eq!(span.say("network.peer.port"), own.port().to_string());
    assert_eq!(span.say("server.port"), server.serving.frames().port().to_string());
    let is_id = |text: &str| text.split('-').count() == 3;
    assert!(is_id(span.say("tidegate.connection")), "{span:?}");
    let posted = collector.posted()[0].clone();
    assert_eq!(posted.line, "POST /v1/traces HTTP/1.1");
    assert_eq!(posted.headers["content-type"], "application/x-protobuf");
    assert_eq!(posted.headers["host"], collector.address.to_string());
    assert_eq!(
        (posted.resource["service.name"].as_str(), posted.resource["service.version"].as_str()),
        ("orders", env!("CARGO_PKG_VERSION"))
    );
    assert!(!posted.resource["host.name"].is_empty());
    assert!(posted.resource["service.instance.id"].starts_with(&posted.resource["host.name"]));
    assert_eq!(server.figures().counter(Counter::Spans), 1);
    drop(client);
    server.end(SOON);
}

// ---- how requests end --------------------------------------------------------------------------------------------

const FAILS: u16 = 2;
const DEFERS: u16 = 3;
const OFFLOADS: u16 = 4;
const PANICS: u16 = 5;
const SILENT: u16 = 6;
const FORGETS: u16 = 7;
const TELLS: u16 = 8;
const KEEPS: u16 = 9;
const REFUSES_LATER: u16 = 10;
const ANSWERS_AND_PANICS: u16 = 11;

/// Ends its requests in every way.
#[derive(Default)]
struct Zoo {
    kept: Vec<Later>,
}

impl Service for Zoo {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn on_frame(&mut self, _conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        let later = |reply: Reply<'_>, answer: fn(Later)| {
            let (later, replied) = reply.defer();
            let later = later.expect("there is room");
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                answer(later);
            });
            replied
        };
        match frame.route() {
            ECHO => reply.send(frame.payload()),
            FAILS => reply.fail(Status::application(300), "no"),
            DEFERS => later(reply, |later| later.send(b"later")),
            REFUSES_LATER => later(reply, |later| later.fail(Status::UNAVAILABLE, "nobody")),
            FORGETS => later(reply, drop),
            OFFLOADS => reply.offload(|| {
                std::thread::sleep(Duration::from_millis(20));
                b"work".to_vec()
            }),
            PANICS => panic!("as the test wants it"),
            ANSWERS_AND_PANICS => {
                let _replied = reply.send(b"fine");
                panic!("as the test wants it, behind its answer")
            }
            SILENT => reply.none(),
            // What it would pass on.
            TELLS => match cx.trace(&frame) {
                Some(trace) => reply.gather(&[
                    tidegate::Segment::Copy(&trace.id),
                    tidegate::Segment::Copy(&trace.parent),
                    tidegate::Segment::Copy(&[trace.flags]),
                ]),
                None => reply.send(b""),
            },
            _ => {
                let (later, replied) = reply.defer();
                self.kept.extend(later);
                replied
            }
        }
    }
}

fn zoo(collector: &Collector, sampling: Sampling) -> Traced {
    let limits = tidegate::Limits { request_deadline: Duration::from_millis(300), ..Default::default() };
    let builder = builder().tracing(sampling).limits(limits).shards(1).workers(1, 4);
    Traced::of(Serving::of(builder.start(Zoo::default).expect("a server")), collector)
}

/// Route, status of the reply, outcome, what is wrong, bytes of the reply, whether it took long.
type Ending<'a> = (u16, u16, &'a str, &'a str, &'a str, bool);

#[test]
fn a_span_says_how_its_request_ended() {
    #[rustfmt::skip]
    let table: &[Ending<'_>] = &[
        (ECHO,               0,   "answered",  "",              "2", false),
        (FAILS,              300, "failed",    "APPLICATION",   "0", false),
        (DEFERS,             0,   "answered",  "",              "5", true),
        (REFUSES_LATER,      6,   "failed",    "UNAVAILABLE",   "0", true),
        (FORGETS,            10,  "dropped",   "dropped",       "0", true),
        (OFFLOADS,           0,   "answered",  "",              "4", true),
        (PANICS,             10,  "panicked",  "panic",         "0", false),
        (ANSWERS_AND_PANICS, 0,   "answered",  "panic",         "4", false),
        (KEEPS,              7,   "timed_out", "timed_out",     "0", true),
    ];
    let collector = Collector::new();
    let server = zoo(&collector, NONE);
    let mut client = server.connect();
    for (at, (route, status, outcome, error, bytes, is_long)) in table.iter().enumerate() {
        client.send(&traced(*route, SAMPLED, b"hi"));
        client.expect_extended(*route, *status, Some(7));
        let span = collector.wait_for(at + 1).remove(at);
        let case = format!("case: route {route}: {span:#?}");
        assert_eq!(span.say("tidegate.route"), route.to_string(), "{case}");
        assert_eq!((span.say("tidegate.outcome"), span.say("error.type")), (*outcome, *error), "{case}");
        assert_eq!(span.status_code, if error.is_empty() { 0 } else { 2 }, "{case}");
        assert_eq!(span.status_message, *error, "{case}");
        assert_eq!(
            (span.say("tidegate.reply.bytes"), span.say("tidegate.request.bytes")),
            (*bytes, "2"),
            "{case}"
        );
        assert_eq!(span.say("tidegate.status_code"), status.to_string(), "{case}");
        let took_ms = (span.end_ns - span.start_ns) / 1_000_000;
        assert!(!is_long || took_ms >= 20, "{case}");
        assert_eq!(!span.say("tidegate.queue_us").is_empty(), *route == OFFLOADS, "{case}");
        assert_eq!(span.name, "route other", "no label, no name of its own: {case}");
    }
    // A request without a reply.
    client
        .send(&Block { trace: Some(context(TRACE, PARENT, SAMPLED)), ..Block::default() }.frame(SILENT, b""));
    let span = collector.wait_for(table.len() + 1).remove(table.len());
    assert_eq!((span.say("tidegate.outcome"), span.status_code), ("silent", 0));
    // One whose connection goes away.
    client.send(&traced(KEEPS, SAMPLED, b""));
    server.serving.wait_for("it is open", |now| now.gauge(tidegate::metrics::Gauge::InFlight) == 1);
    // A reset: whoever only ends its side still waits for its replies.
    socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).expect("an option");
    drop(client);
    let span = collector.wait_for(table.len() + 2).remove(table.len() + 1);
    assert_eq!((span.say("tidegate.outcome"), span.say("error.type")), ("abandoned", "abandoned"));
    server.end(SOON);
}

/// What the server refuses itself is recorded, too.
#[test]
fn refusals_are_spans() {
    let collector = Collector::new();
    let server = Traced::embedded(&collector, NONE);
    let mut client = server.connect();
    let of = |route: u16, deadline_ms, tags: &'static [u8]| {
        Block {
            correlation: Some(1),
            deadline_ms,
            trace: Some(context(TRACE, PARENT, SAMPLED)),
            tags,
            ..Block::default()
        }
        .frame(route, b"")
    };
    #[rustfmt::skip]
    let table = [
        ("NO_ROUTE",          NO_ROUTE, of(999, None, b"")),
        ("DEADLINE_EXCEEDED", 8,        of(ECHO, Some(0), b"")),
        ("UNSUPPORTED",       15,       of(ECHO, None, b"\x80\x00")),
    ];
    for (at, (name, status, request)) in table.iter().enumerate() {
        client.send(request);
        let got = client.receive();
        assert_eq!(got.extended().status, *status, "{name}");
        let span = collector.wait_for(at + 1).remove(at);
        assert_eq!((span.say("tidegate.outcome"), span.say("error.type")), ("failed", *name), "{span:#?}");
        assert_eq!(span.say("tidegate.status_code"), status.to_string());
    }
    drop(client);
    server.end(SOON);
}

// ---- which are recorded ------------------------------------------------------------------------------------------

/// Who begins a trace decides, and one that is none is none.
#[test]
fn flags_are_respected() {
    let collector = Collector::new();
    let server = zoo(&collector, ALL);
    let mut client = server.connect();
    let told = |client: &mut Client, trace: Option<[u8; 28]>| {
        client.send(&Block { correlation: Some(7), trace, ..Block::default() }.frame(TELLS, b""));
        client.expect_extended(TELLS, 0, Some(7))
    };
    // Not sampled: passed on as it is, though all that bring nothing are recorded.
    let unsampled = context(TRACE, PARENT, 0);
    assert_eq!(told(&mut client, Some(unsampled)), unsampled[..25]);
    // Sampled: its own span is what is passed on, with all flags that came.
    let own = told(&mut client, Some(context(TRACE, PARENT, 0b11)));
    assert!(own[..16] == TRACE && own[16..24] != PARENT && own[24] == 0b11, "{own:?}");
    let span = collector.wait_for(1).remove(0);
    assert_eq!((span.trace, span.id, span.parent), (TRACE.to_vec(), own[16..24].to_vec(), PARENT.to_vec()));
    // No id, no trace: one begins here.
    for (at, nothing) in
        [None, Some(context([0; 16], PARENT, 1)), Some(context(TRACE, [0; 8], 1))].into_iter().enumerate()
    {
        let own = told(&mut client, nothing);
        let span = collector.wait_for(at + 2).remove(at + 1);
        assert_eq!((&span.trace[..], &span.id[..], own[24]), (&own[..16], &own[16..24], SAMPLED));
        assert!(span.parent.is_empty() && span.trace != TRACE, "{span:?}");
    }
    drop(client);
    server.end(SOON);
}

/// All plain requests, on frames and on lines: each begins a trace of its own.
#[test]
fn plain_requests_begin_traces() {
    const COUNT: usize = 300;
    let collector = Collector::new();
    let server = Traced::embedded(&collector, ALL);
    let mut client = server.connect();
    client.send(&frame(ECHO, b"one").repeat(COUNT));
    (0..COUNT).for_each(|_| client.expect(ECHO, b"one"));
    let mut lines = server.serving.connect_lines();
    lines.send(b"hello\n");
    lines.expect_line(RECEIVED);
    let spans = collector.wait_for(COUNT + 1);
    let ids: BTreeSet<_> = spans.iter().map(|span| (span.trace.clone(), span.id.clone())).collect();
    assert_eq!(ids.len(), COUNT + 1, "no two are the same");
    assert!(spans.iter().all(|span| span.parent.is_empty() && span.flags == 0x101));
    let of_lines = |span: &&Told| span.say("server.port") == server.serving.lines().port().to_string();
    let of_lines: Vec<_> = spans.iter().filter(of_lines).collect();
    assert_eq!(of_lines.len(), 1);
    assert_eq!(
        (of_lines[0].say("tidegate.request.bytes"), of_lines[0].say("tidegate.reply.bytes")),
        ("5", "9")
    );
    drop((client, lines));
    server.end(SOON);
}

/// A server that was not told to record does not look, whatever requests bring; one that was can be told otherwise.
#[test]
fn recording_is_what_the_server_was_told() {
    let serving = Serving::embedded();
    let mut client = serving.connect();
    client.send(&traced(ECHO, SAMPLED, b""));
    client.expect_extended(ECHO, 0, Some(7));
    assert!(!serving.handle.records_traces());
    serving.handle.take_spans(usize::MAX, |span| panic!("{span:?}"));
    drop(client);
    serving.end();

    let collector = Collector::new();
    let server = Traced::embedded(&collector, NONE);
    let mut client = server.connect();
    client.echo(b"unseen");
    server.serving.handle.apply(tidegate::Change::new().sampling(ALL)).expect("it is in range");
    client.echo(b"seen, all");
    let span = collector.wait_for(1).remove(0);
    assert_eq!(span.say("tidegate.request.bytes"), "9");
    server.serving.handle.apply(tidegate::Change::new().sampling(NONE)).expect("it is in range");
    client.echo(b"unseen");
    drop(client);
    server.end(SOON);
    assert_eq!(collector.spans().len(), 1);
    for wrong in [
        Sampling { per_million: 1_000_001, ..ALL },
        Sampling { spans_per_second: 0, ..ALL },
        Sampling { spans_per_second: 10_001, ..ALL },
    ] {
        let error = builder().tracing(wrong).start(Router::embedded).map(drop).expect_err("out of range");
        assert!(error.to_string().contains("requests recorded"), "{error}");
    }
}

/// However many bring a trace, no more are recorded than may be; all are answered.
#[test]
fn clients_can_not_make_the_server_record_without_bound() {
    const COUNT: usize = 2_000;
    let collector = Collector::new();
    let server = Traced::embedded(&collector, Sampling { spans_per_second: 100, ..NONE });
    let mut client = server.connect();
    let before = std::time::Instant::now();
    client.send(&traced(ECHO, SAMPLED, b"").repeat(COUNT));
    for _ in 0..COUNT {
        client.expect_extended(ECHO, 0, Some(7));
    }
    let took = before.elapsed().as_secs_f64();
    let figures = server.figures();
    let (recorded, over) = (figures.counter(Counter::Spans), figures.counter(Counter::SpansOverRate));
    assert_eq!(recorded + over, COUNT as u64);
    let most = 100.0 * (took + 0.1) + 2.0 * figures_shards(&server) as f64;
    assert!(recorded >= 1 && recorded as f64 <= most, "{recorded} in {took} s");
    collector.wait_for(usize::try_from(recorded).expect("a few"));
    drop(client);
    server.end(SOON);
}

fn figures_shards(server: &Traced) -> usize {
    server.serving.handle.shard_snapshots().len()
}

// ---- figures -----------------------------------------------------------------------------------------------------

#[test]
fn buckets_of_handler_times_are_explained() {
    use support::admin::{admin_of, ask, get};
    let collector = Collector::new();
    let server = Traced::embedded(&collector, NONE);
    let at = admin_of(&server.serving);
    let mut client = server.connect();
    client.send(&traced(ECHO, SAMPLED, b""));
    client.expect_extended(ECHO, 0, Some(7));
    let span = collector.wait_for(1).remove(0);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let told = format!(" # {{trace_id=\"{}\",span_id=\"{}\"}} ", hex(&span.trace), hex(&span.id));
    // The collector has it before its answer is counted.
    wait_until("the export is counted", || {
        get(at, "/metrics").body.lines().any(|line| line == "tidegate_spans_exported_total 1")
    });
    let text = get(at, "/metrics").body;
    let explained: Vec<_> = text.lines().filter(|line| line.contains(" # {")).collect();
    assert_eq!(explained.len(), 1, "{explained:?}");
    let (sample, exemplar) =
        explained[0].split_once(&told).unwrap_or_else(|| panic!("{explained:?}, not {told}"));
    assert!(sample.starts_with("tidegate_handler_duration_seconds_bucket{"), "{sample}");
    assert!(sample.contains("service=\"echo\"") && sample.contains("routes=\"1\""), "{sample}");
    let bound = sample.split("le=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a bound");
    let mut numbers = exemplar.split(' ').map(|number| number.parse::<f64>().expect("a number"));
    let (seconds, at_unix) = (numbers.next().expect("a value"), numbers.next().expect("a time"));
    assert!(seconds < bound.parse().unwrap_or(f64::INFINITY), "{seconds} in {bound}");
    assert_eq!(format!("{:.0}", seconds * 1e6), span.say("tidegate.handler_us"));
    assert!((at_unix - unix_ns() as f64 / 1e9).abs() < 60.0, "{at_unix}");
    for (line, value) in [
        ("tidegate_spans_exported_total ", "1"),
        ("tidegate_trace_exports_total{result=\"done\"} ", "1"),
        ("tidegate_spans_waiting ", "0"),
        ("tidegate_spans_unexported_total{cause=\"lost\"} ", "0"),
    ] {
        assert!(text.lines().any(|other| other == format!("{line}{value}")), "no {line}{value}");
    }
    let classic = ask(at, "GET", "/metrics", &[("Accept", "text/plain")], "").body;
    assert!(classic.contains("tidegate_handler_duration_seconds_bucket{") && !classic.contains("trace_id"));
    drop(client);
    server.end(SOON);
}

#[test]
fn the_wait_for_spans_is_short() {
    let collector = Collector::new();
    let server = Traced::embedded(&collector, NONE);
    let mut client = server.connect();
    // As many as one request to the collector has, and some more.
    let before = std::time::Instant::now();
    burst(&mut client, 600);
    wait_until("all spans", || collector.spans().len() == 600);
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
    assert!(collector.posted().iter().all(|posted| posted.spans.len() <= 512));
    assert!(collector.posted().len() >= 2);
    drop(client);
    server.end(SOON);
}
