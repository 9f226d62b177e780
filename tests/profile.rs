//! CPU profiles of a running server: that they name what takes the time, to readers of other people's; who gets one; and
//! that sampling, which happens in a signal handler, breaks nothing.

#![cfg(all(
    feature = "cli",
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]

mod support;

use flate2::read::GzDecoder;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use support::admin::{BEARER, TOKEN, admin_with, ask, connect, get, post};
use support::client::{Client, DRAINING, ECHO, FLIP};
use support::process::{BINARY, Process, SERVE};
use support::serving::{Serving, builder};
use support::{pattern, wait_until};

const PROFILE: &str = "/debug/pprof/profile";

/// A server that makes profiles for who has the token, and its admin port.
fn profiled(more: &[&str]) -> (Process, SocketAddr) {
    let mut command = Command::new(BINARY);
    command.args(SERVE).args(["--admin", "127.0.0.1:0"]).args(more);
    let server =
        Process::start(command.env("TIDEGATE_ADMIN__TOKEN", TOKEN).env("TIDEGATE_ADMIN__PROFILE", "true"));
    let banner = server.banner();
    let line =
        banner.lines().find_map(|line| line.strip_prefix("  admin    http://")).expect("an admin port");
    let at = line.split_whitespace().next().and_then(|at| at.parse().ok()).expect("an address");
    (server, at)
}

/// Asks, with the token, and leaves the answer to be read.
fn asked(at: SocketAddr, query: &str) -> TcpStream {
    let mut stream = connect(at);
    let (name, token) = BEARER;
    let head = format!(
        "GET {PROFILE}?{query} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n{name}: {token}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("it is taken");
    stream
}

/// The head and the body of an answer, which need not be text.
fn answered(mut stream: TcpStream) -> (String, Vec<u8>) {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("an answer in time");
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    (String::from_utf8_lossy(&all[..end]).into_owned(), all[end + 4..].to_vec())
}

#[track_caller]
fn profile(at: SocketAddr, query: &str) -> Vec<u8> {
    let (head, body) = answered(asked(at, query));
    assert!(head.starts_with("HTTP/1.1 200"), "{head}\n{}", String::from_utf8_lossy(&body));
    body
}

/// A field of a message: its number, and what it holds.
enum Field<'a> {
    Number(u64, u64),
    Bytes(u64, &'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().expect("a varint ends");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return value;
        }
    }
    panic!("a varint has ten bytes at most");
}

fn fields(mut bytes: &[u8]) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        match key & 7 {
            0 => fields.push(Field::Number(key >> 3, varint(&mut bytes))),
            2 => {
                let count = usize::try_from(varint(&mut bytes)).expect("a length");
                let (field, rest) = bytes.split_at(count);
                fields.push(Field::Bytes(key >> 3, field));
                bytes = rest;
            }
            other => panic!("wire type {other}"),
        }
    }
    fields
}

fn numbers(message: &[u8], wanted: u64) -> Vec<u64> {
    let mut found = Vec::new();
    for field in fields(message) {
        match field {
            Field::Number(number, value) if number == wanted => found.push(value),
            Field::Bytes(number, mut row) if number == wanted => {
                while !row.is_empty() {
                    found.push(varint(&mut row));
                }
            }
            Field::Number(..) | Field::Bytes(..) => {}
        }
    }
    found
}

fn messages(message: &[u8], wanted: u64) -> Vec<&[u8]> {
    let of = |field| match field {
        Field::Bytes(number, bytes) if number == wanted => Some(bytes),
        Field::Number(..) | Field::Bytes(..) => None,
    };
    fields(message).into_iter().filter_map(of).collect()
}

/// A profile, as profile.proto has it, read by what is written above: each stack's names, the one that was running
/// first, its thread's label, samples and nanoseconds.
struct Stacks {
    stacks: Vec<(Vec<String>, String, u64, u64)>,
    period: u64,
    lasted: Duration,
}

fn read(packed: &[u8]) -> Stacks {
    let mut plain = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut plain).expect("it is gzip");
    let strings: Vec<String> =
        messages(&plain, 6).iter().map(|text| String::from_utf8((*text).to_vec()).expect("UTF-8")).collect();
    assert_eq!(strings[0], "");
    let text = |at: &u64| strings[usize::try_from(*at).expect("a place")].clone();
    let types: Vec<String> = messages(&plain, 1)
        .iter()
        .flat_map(|kind| [numbers(kind, 1), numbers(kind, 2)].concat())
        .map(|at| text(&at))
        .collect();
    assert_eq!(types, ["samples", "count", "cpu", "nanoseconds"]);
    let functions: BTreeMap<u64, String> = messages(&plain, 5)
        .iter()
        .map(|function| (numbers(function, 1)[0], text(&numbers(function, 2)[0])))
        .collect();
    let places: BTreeMap<u64, String> = messages(&plain, 4)
        .iter()
        .map(|place| {
            let [line] = messages(place, 4)[..] else { panic!("a place has one line") };
            (numbers(place, 1)[0], functions[&numbers(line, 1)[0]].clone())
        })
        .collect();
    let stack = |sample: &&[u8]| {
        let names = numbers(sample, 1).iter().map(|place| places[place].clone()).collect();
        let label = messages(sample, 3)[0];
        assert_eq!(text(&numbers(label, 1)[0]), "thread");
        let [samples, nanos] = numbers(sample, 2)[..] else { panic!("two values") };
        (names, text(&numbers(label, 2)[0]), samples, nanos)
    };
    Stacks {
        stacks: messages(&plain, 2).iter().map(stack).collect(),
        period: numbers(&plain, 12)[0],
        lasted: Duration::from_nanos(numbers(&plain, 10)[0]),
    }
}

/// Clients that ask all the while, and check every byte that comes.
struct Traffic {
    is_over: Arc<AtomicBool>,
    replies: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Traffic {
    fn of(frames: SocketAddr) -> Traffic {
        let (is_over, replies) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |number: u64| {
            let (is_over, replies) = (Arc::clone(&is_over), Arc::clone(&replies));
            std::thread::spawn(move || {
                let mut client = Client::connect(frames);
                let payload = pattern(number, 3000);
                let mut flipped = payload.clone();
                flipped[0] ^= 1;
                while !is_over.load(Relaxed) {
                    (0..4).for_each(|_| client.request(ECHO, &payload));
                    client.request(FLIP, &payload);
                    (0..4).for_each(|_| client.expect(ECHO, &payload));
                    client.expect(FLIP, &flipped);
                    replies.fetch_add(5, Relaxed);
                }
                client.finish_sending();
                client.expect_end();
            })
        };
        let clients = (0..3).map(client).collect();
        Traffic { is_over, replies, clients }
    }

    /// How many were right; one that was not has panicked.
    fn end(self) -> u64 {
        self.is_over.store(true, Relaxed);
        self.clients.into_iter().for_each(|client| client.join().expect("every reply was right"));
        self.replies.load(Relaxed)
    }
}

/// The name of what follows.
const BURNS: &str = "profile::burn_the_time";

/// The one that is to be found.
#[inline(never)]
fn burn_the_time(rounds: u32) -> u64 {
    let mut sum = 1_u64;
    for round in 0..rounds {
        sum = black_box(sum.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(u64::from(round)));
    }
    sum
}

/// The profiler is the process's, so this is the one test here that has a server in its own.
#[test]
fn a_handler_that_burns_time_is_named_to_every_reader() {
    let running = builder().shards(1).start_fn(|_, reply| reply.send(&burn_the_time(200_000).to_be_bytes()));
    let serving = Serving::of(running.expect("a server"));
    let (at, _control) = admin_with(&serving, |admin| admin.profile(true));
    let is_over = Arc::new(AtomicBool::new(false));
    let client = {
        let (is_over, mut client) = (Arc::clone(&is_over), serving.connect());
        std::thread::spawn(move || {
            while !is_over.load(Relaxed) {
                client.request(ECHO, b"burn");
                assert_eq!(client.receive().payload.len(), 8);
            }
        })
    };
    let (packed, svg) = (profile(at, "seconds=2&hz=200"), profile(at, "seconds=1&format=flamegraph"));
    let folded = profile(at, "seconds=1&format=collapsed");
    is_over.store(true, Relaxed);
    client.join().expect("no panic");
    let read = read(&packed);
    assert_eq!(read.period, 5_000_000);
    assert!((Duration::from_secs(2)..Duration::from_secs(4)).contains(&read.lasted), "{:?}", read.lasted);
    let of = |is_meant: &dyn Fn(&[String]) -> bool| -> u64 {
        let meant = read.stacks.iter().filter(|(names, ..)| is_meant(names));
        meant.map(|(.., nanos)| nanos).sum()
    };
    let all = of(&|_| true);
    let burned = of(&|names| names.iter().any(|name| name == BURNS));
    let text = String::from_utf8_lossy(&folded);
    assert!(burned * 3 > all, "{burned} of {all} ns are in the function that burns them\n{text}");
    for (names, thread, samples, nanos) in &read.stacks {
        assert_eq!(names.last(), Some(thread), "the thread is the root");
        assert!(*nanos > 0 && (*samples > 0 || names[0].starts_with('[')), "{names:?}");
        if names.iter().any(|name| name == BURNS) {
            assert_eq!(thread, "tidegate-0");
            assert!(
                names.iter().any(|name| name.contains("tidegate::turn::")),
                "its callers are there: {names:?}"
            );
            assert!(!names.iter().any(|name| name.contains("pprof::")), "the handler is not: {names:?}");
        }
    }
    let folded = String::from_utf8(folded).expect("text");
    let line = folded.lines().find(|line| line.contains("burn_the_time")).expect("it is there, too");
    assert!(
        line.starts_with("tidegate-0;")
            && line.rsplit_once(' ').is_some_and(|(_, n)| n.parse::<u64>().is_ok())
    );
    let svg = String::from_utf8(svg).expect("text");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.contains("burn_the_time"), "{svg}");
    told_by_go(&packed);
    serving.end();
}

/// What the tool says that most people read profiles with.
#[expect(clippy::print_stderr, reason = "a test that tells less says so")]
fn told_by_go(packed: &[u8]) {
    if !Command::new("go").arg("version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("there is no go: what its reader says of a profile is not tested");
        return;
    }
    let file = std::env::temp_dir().join(format!("tidegate-{}.pb.gz", std::process::id()));
    std::fs::write(&file, packed).expect("a file can be written");
    let output = Command::new("go").args(["tool", "pprof", "-top"]).arg(&file).output().expect("it runs");
    let _ = std::fs::remove_file(&file);
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{errors}");
    let first = text.lines().skip_while(|line| !line.contains("flat%")).nth(1).unwrap_or_default();
    assert!(text.contains(BURNS), "{text}");
    assert!(first.split_whitespace().nth(1).is_some_and(|share| share.ends_with('%')), "{text}");
    assert!(text.contains("Type: cpu"), "{text}");
}

/// Timers that start and stop, handlers that come and go, and samples as often as they can be had, under traffic.
#[test]
fn profiles_in_a_row_under_load_lose_nothing() {
    let (server, at) = profiled(&["--shards", "2"]);
    let traffic = Traffic::of(server.frames);
    for round in 0..20 {
        let format = ["pprof", "flamegraph", "collapsed"][round % 3];
        let stream = asked(at, &format!("seconds=1&hz=999&format={format}"));
        if round % 5 == 0 {
            let (head, body) = answered(stream);
            assert!(head.starts_with("HTTP/1.1 200") && body.len() > 200, "{head}");
            continue;
        }
        // Given up at some moment.
        wait_for_profile(at, true);
        std::thread::sleep(Duration::from_millis(20 + 7 * round as u64));
        drop(stream);
        wait_for_profile(at, false);
    }
    let read = read(&profile(at, "seconds=1"));
    let of_loops =
        read.stacks.iter().filter(|(_, thread, ..)| ["tidegate-0", "tidegate-1"].contains(&thread.as_str()));
    assert!(of_loops.map(|(.., nanos)| nanos).sum::<u64>() > 10_000_000, "the loops have used time");
    assert!(traffic.end() > 100, "traffic went on");
    server.end();
}

/// Waits until a profile is under way, or none is any more.
#[track_caller]
fn wait_for_profile(at: SocketAddr, is_made: bool) {
    wait_until("a profile's begin or end", || {
        get(at, "/debug/pprof").body.contains("is being made") == is_made
    });
}

#[test]
fn one_is_made_at_a_time_and_who_goes_away_ends_it() {
    let (server, at) = profiled(&[]);
    let first = asked(at, "seconds=60");
    let name = first.local_addr().expect("it is connected").to_string();
    wait_for_profile(at, true);
    let (head, body) = answered(asked(at, "seconds=1"));
    let told = String::from_utf8_lossy(&body);
    assert!(head.starts_with("HTTP/1.1 409"), "{head}");
    assert!(told.starts_with(&format!("a profile is being made for {name}, for ")), "{told}");
    assert!(told.ends_with(" s more at most; one at a time can be, so ask again then\n"), "{told}");
    let (head, body) = answered(asked(at, "seconds=61"));
    assert!(head.starts_with("HTTP/1.1 400"), "a mistake is told first: {head}");
    assert_eq!(body, b"seconds is \"61\", but must be a number from 1 to 60\n");
    drop(first);
    wait_for_profile(at, false);
    assert!(!profile(at, "seconds=1").is_empty());
    server.end();
}

/// Name, method, what stands behind the `?`, headers, status.
type Row<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)], u16);

#[test]
fn profiles_are_for_who_has_the_token_where_they_are_switched_on() {
    let serving = Serving::embedded();
    let (at, control) = admin_with(&serving, |admin| admin);
    for headers in [&[][..], &[BEARER][..]] {
        let off = ask(at, "GET", PROFILE, headers, "");
        assert_eq!(off.status, 404);
        assert_eq!(
            off.body,
            "CPU profiles are off; set profile = true in [admin], and reload the configuration\n"
        );
    }
    assert!(get(at, "/debug/pprof").body.contains("They are off: set profile = true in [admin]"));
    drop(control);
    let (at, _control) = admin_with(&serving, |admin| admin.profile(true));
    let status = |method, query: &str, headers: &[(&str, &str)]| {
        ask(at, method, &format!("{PROFILE}?{query}"), headers, "").status
    };
    let wrong = ("Authorization", "Bearer not-the-token-of-this-port");
    #[rustfmt::skip]
    let table: &[Row<'_>] = &[
        ("no token",        "GET",  "seconds=1",  &[],       401),
        ("a wrong one",     "GET",  "seconds=1",  &[wrong],  401),
        ("a page's",        "GET",  "seconds=1",  &[BEARER, ("Origin", "http://evil.example")], 403),
        ("not by POST",     "POST", "seconds=1",  &[BEARER], 405),
        ("not by HEAD",     "HEAD", "seconds=1",  &[BEARER], 405),
        ("too short",       "GET",  "seconds=0",  &[BEARER], 400),
        ("too long",        "GET",  "seconds=61", &[BEARER], 400),
        ("too seldom",      "GET",  "hz=9",       &[BEARER], 400),
        ("too often",       "GET",  "hz=1000",    &[BEARER], 400),
        ("in no format",    "GET",  "format=png", &[BEARER], 400),
        ("of nothing else", "GET",  "heap=true",  &[BEARER], 400),
    ];
    for (name, method, query, headers, want) in table {
        assert_eq!(status(method, query, headers), *want, "case: {name}");
    }
    let answer = ask(at, "GET", PROFILE, &[], "");
    assert_eq!(answer.body, "a profile wants the token: send Authorization: Bearer TOKEN\n");
    let index = get(at, "/debug/pprof");
    assert!(index.status == 200 && index.body.contains("They are on\n"), "{index:?}");
    assert!(index.body.contains("go tool pprof -http=: cpu.pb.gz"), "{index:?}");
    serving.end();
}

/// The port that ends gives what there is; the process does not wait for more.
#[test]
fn a_drain_ends_in_order_and_the_profile_with_it() {
    let (server, at) = profiled(&[]);
    let mut client = Client::connect(server.frames);
    client.echo(b"here");
    let asking = asked(at, "seconds=60");
    wait_for_profile(at, true);
    let began = Instant::now();
    assert_eq!(post(at, "/drain?grace=5s", "").status, 202);
    client.expect_goaway(DRAINING);
    client.expect_end();
    let ended = server.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert!(began.elapsed() < Duration::from_secs(10), "it did not wait for the profile");
    drop(asking);
}
