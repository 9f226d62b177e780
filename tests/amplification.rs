//! What a stranger gets out of the server for a byte: bytes of answers, and bytes of memory. docs/SECURITY.md promises
//! the most of each, and is read here, so that neither the promise nor the server moves alone.

#[path = "hostile/cases.rs"]
mod cases;
mod support;

use cases::{on_frames, on_lines};
use std::fs;
use support::client::{ACK, Client, DISCARD, ECHO, EXT, FLIP, PING, frame};
use support::extended::{bare_hello, correlated};
use support::serving::Serving;
use support::wait_until;
use tidegate::base::limits::LEASE_BYTES_MIN;
use tidegate::metrics::{Counter, Gauge};

/// Messages of a kind that are sent at once: enough for what comes once at the end not to count.
const TIMES: usize = 500;

/// A number of the page, from the row that begins so.
fn promised(row: &str) -> f64 {
    let page =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/SECURITY.md")).expect("it is there");
    let line =
        page.lines().find(|line| line.starts_with(&format!("| {row} |"))).expect("the page has the row");
    let cell = line.split('|').nth(2).expect("a number").trim();
    let number = cell.split_whitespace().next().expect("a number");
    number.replace(',', "").parse().unwrap_or_else(|why| panic!("{cell}: {why}"))
}

/// Bytes that came back, until the server had nothing more to say.
fn measure(serving: &Serving, mut client: Client, bytes: &[u8]) -> u64 {
    let before = serving.snapshot().counter(Counter::BytesOut);
    let sending = client.send_beside(bytes.to_vec(), true);
    let came = client.read_to_end();
    sending.over();
    let out = serving.snapshot().counter(Counter::BytesOut) - before;
    assert!(out >= came.len() as u64, "the server's figure knows of all that came");
    out
}

#[test]
fn no_byte_is_answered_by_more_than_the_page_says() {
    let serving = Serving::embedded();
    let many = |one: Vec<u8>| one.repeat(TIMES);
    let mut kinds: Vec<(String, Vec<u8>, bool)> = vec![
        ("nothing to ack".into(), many(frame(ACK, b"")), false),
        ("nothing to echo".into(), many(frame(ECHO, b"")), false),
        ("a byte to flip".into(), many(frame(FLIP, b"x")), false),
        ("nothing to discard".into(), many(frame(DISCARD, b"")), false),
        ("a correlated request to discard".into(), many(correlated(DISCARD, 7, b"")), false),
        ("no such route".into(), many(frame(0x3fff, b"")), false),
        ("no such route, correlated".into(), many(correlated(0x3fff, 7, b"")), false),
        ("the smallest block, to no route".into(), many(frame(EXT | 0x3fff, &[1, 0, 0, 0])), false),
        ("a flag that nobody knows".into(), many(frame(EXT | ECHO, &[1, 0x10, 0, 0])), false),
        ("PING".into(), many(frame(PING, b"")), false),
        (
            "HELLO, then SUBSCRIBE that nobody serves".into(),
            [bare_hello(), many(frame(0x4006, &[0, 0, 1, b'a']))].concat(),
            false,
        ),
        (
            "HELLO, then PUBLISH that nobody serves".into(),
            [bare_hello(), many(frame(0x4008, &[1, b'a']))].concat(),
            false,
        ),
        ("an empty line".into(), many(b"\n".to_vec()), true),
        ("a line of one byte".into(), many(b"x\n".to_vec()), true),
    ];
    kinds.extend(on_frames().into_iter().map(|case| (case.name.to_owned(), case.bytes, false)));
    kinds.extend(on_lines().into_iter().map(|case| (case.name.to_owned(), case.bytes, true)));
    let (mut most, mut last) = ((0.0, String::new()), (0, String::new()));
    for (name, bytes, on_lines) in kinds {
        if bytes.is_empty() {
            continue;
        }
        let client = if on_lines { serving.connect_lines() } else { serving.connect() };
        let said = measure(&serving, client, &bytes);
        let ratio = said as f64 / bytes.len() as f64;
        if bytes.len() >= TIMES && ratio > most.0 {
            most = (ratio, name);
        } else if bytes.len() < TIMES {
            // Said once, however little came: no factor, but a number of bytes.
            last = last.clone().max((said, name));
        }
    }
    let bound = promised("bytes answered to a byte, while the connection lives");
    assert!(most.0 <= bound, "{most:?}, promised {bound}");
    assert!(most.0 > bound * 0.8, "the page is too careful: {most:?}, promised {bound}");
    let bound = promised("bytes said at a connection's end, however little came");
    assert!(last.0 as f64 <= bound, "{last:?}, promised {bound}");
    assert!(last.0 as f64 > bound * 0.5, "the page is too careful: {last:?}, promised {bound}");
    serving.end();
}

/// A length that is only declared reserves nothing, and a byte that is kept reserves no more than the page says.
#[test]
fn no_byte_pins_more_memory_than_the_page_says() {
    let serving = Serving::embedded();
    let leased = |serving: &Serving| {
        let now = serving.snapshot();
        now.gauge(Gauge::InputBytes) + now.gauge(Gauge::ReserveBytes)
    };
    let whole = frame(ECHO, &vec![7; 1 << 20]);
    let (mut factor, mut least) = (0.0_f64, 0);
    for sent in [1, 6, 7, 100, 4_095, 4_097, 20_000, 131_071, 131_080, 200_000, 524_288, whole.len() - 1] {
        let mut client = serving.connect();
        let before = serving.snapshot().counter(Counter::BytesIn);
        client.send(&whole[..sent]);
        wait_until("all of it came", || serving.snapshot().counter(Counter::BytesIn) == before + sent as u64);
        wait_until("it is kept", || leased(&serving) > 0);
        let kept = leased(&serving);
        if sent <= LEASE_BYTES_MIN {
            least = least.max(kept);
        } else {
            factor = factor.max(kept as f64 / sent as f64);
        }
        drop(client);
        serving.wait_for_rest(0);
    }
    let bound = promised("bytes of memory kept for the first byte of a message");
    assert!(least as f64 == bound, "{least}, promised {bound}");
    let bound = promised("bytes of memory kept for a byte, beyond the first 4,096");
    assert!(factor <= bound, "{factor}, promised {bound}");
    assert!(factor > bound * 0.5, "the page is too careful: {factor}, promised {bound}");
    serving.end();
}
