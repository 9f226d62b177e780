//! Listeners that want a PROXY header first: real servers, real sockets, and newcomers of all kinds at the entrance.

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use support::client::{Client, DRAINING, ECHO, frame};
use support::serving::{Neighbour, Serving};
use support::{pattern, wait_until};
use tidegate::base::Network;
use tidegate::base::limits::Limits;
use tidegate::metrics::{Counter, Gauge};
use tidegate::server::{Builder, Listener, Server};
use tidegate::service::{Cx, Frame, Peer, Replied, Reply, Service};

/// A server whose first listener wants a PROXY header from loopback, and whose second is plain.
fn builder() -> Builder {
    let trusted: Network = "127.0.0.0/8".parse().expect("a network");
    Server::builder()
        .listen(Listener::frames("127.0.0.1:0").proxied_by([trusted]))
        .and_then(|builder| builder.listen(Listener::frames("127.0.0.1:0")))
        .expect("two free ports")
}

/// Says on route 9 who its peer is; echoes all others.
struct Who;

impl Service for Who {
    type Conn = String;

    fn on_open(&mut self, peer: &Peer, _cx: &mut Cx<'_>) -> String {
        let proxy = peer.proxied_by.map_or("nobody".to_owned(), |proxy| {
            let ip = proxy.ip().map(|address| address.ip());
            ip.map_or("unix".to_owned(), |ip| ip.to_string())
        });
        let ip = peer.address.ip();
        let address = ip.map_or("unix".to_owned(), |at| {
            // A port that the system chose is of no interest.
            if at.ip().is_loopback() { at.ip().to_string() } else { at.to_string() }
        });
        format!("{address} by {proxy}")
    }

    fn on_frame(&mut self, who: &mut String, frame: Frame<'_>, reply: Reply<'_>, _: &mut Cx<'_>) -> Replied {
        if frame.route() == 9 { reply.send(who.as_bytes()) } else { reply.forward(frame.whole()) }
    }
}

fn serving(limits: Limits) -> Serving {
    Serving::of(builder().shards(1).limits(limits).start(|| Who).expect("a server"))
}

const LINE: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 7411\r\n";

fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("short").to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, body].concat()
}

#[test]
fn the_header_says_who_the_client_is() {
    let serving = serving(Limits::default());
    let v4 = [&[203, 0, 113, 9, 192, 0, 2, 1][..], &[0x01, 0x00, 0x1c, 0xf3]].concat();
    let mut v6 = "2001:db8::7".parse::<std::net::Ipv6Addr>().expect("an address").octets().to_vec();
    v6.extend([0; 16].iter().chain(&[0x01, 0x01, 0, 1]));
    #[rustfmt::skip]
    let table: &[(&str, Vec<u8>, &str)] = &[
        ("line, tcp4",      LINE.to_vec(),                                             "203.0.113.7:56324 by 127.0.0.1"),
        ("line, tcp6",      b"PROXY TCP6 2001:db8::1 ::1 7 8\r\n".to_vec(),            "[2001:db8::1]:7 by 127.0.0.1"),
        ("line, unknown",   b"PROXY UNKNOWN\r\n".to_vec(),                             "127.0.0.1 by 127.0.0.1"),
        ("binary, tcp4",    binary(0x21, 0x11, &v4),                                   "203.0.113.9:256 by 127.0.0.1"),
        ("binary, tlvs",    binary(0x21, 0x11, &[&v4[..], &[0xEA; 4084]].concat()),    "203.0.113.9:256 by 127.0.0.1"),
        ("binary, tcp6",    binary(0x21, 0x21, &v6),                                   "[2001:db8::7]:257 by 127.0.0.1"),
        ("binary, unix",    binary(0x21, 0x31, &[0; 216]),                             "unix by 127.0.0.1"),
        ("binary, unspec",  binary(0x21, 0x00, b""),                                   "127.0.0.1 by 127.0.0.1"),
        ("binary, local",   binary(0x20, 0x11, &v4),                                   "127.0.0.1 by nobody"),
    ];
    for (name, header, want) in table {
        // Everything in one segment; then the header alone, and silence until it was taken.
        for is_together in [true, false] {
            let mut client = serving.connect();
            let question = frame(9, b"who?");
            if is_together {
                client.send(&[&header[..], &question, &frame(ECHO, b"and this")].concat());
            } else {
                let entered = serving.snapshot().counter(Counter::Accepted);
                client.send(header);
                serving.wait_for("it is let in", |now| now.counter(Counter::Accepted) == entered + 1);
                client.send(&[question, frame(ECHO, b"and this")].concat());
            }
            let got = client.receive();
            assert_eq!(String::from_utf8_lossy(&got.payload), *want, "case: {name}, together: {is_together}");
            client.expect(ECHO, b"and this");
        }
    }
    let now = serving.snapshot();
    assert_eq!(now.counter(Counter::Entered), 2 * table.len() as u64);
    assert_eq!(now.gauge(Gauge::Entering), 0);
    serving.end();
}

/// Byte by byte, with the loop looking at every one of them.
#[test]
fn where_the_header_is_cut_does_not_matter() {
    let serving = serving(Limits::default());
    let stream = [LINE, &frame(9, b"who?")].concat();
    for cut in 1..stream.len() {
        let mut client = serving.connect();
        client.send(&stream[..cut]);
        if cut < LINE.len() {
            serving.wait_for("it waits at the entrance", |now| now.gauge(Gauge::Entering) == 1);
        } else {
            serving.wait_for("it is let in", |now| now.counter(Counter::Entered) == cut as u64);
        }
        client.send(&stream[cut..]);
        client.expect(9, b"203.0.113.7:56324 by 127.0.0.1");
    }
    let mut client = serving.connect();
    for byte in &stream {
        client.send(&[*byte]);
    }
    client.expect(9, b"203.0.113.7:56324 by 127.0.0.1");
    serving.end();
}
