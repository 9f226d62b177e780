//! The ways of a client that comes and goes.
//!
//! Always holds: what a client waits for before it goes must come, and is checked; every wait has a bound; each
//! connection has an address of its own among 127.0.0.0/8, so that ports don't run out. Never: a frame made by the codec
//! of the server.

use super::support::client::{ECHO, GOAWAY, frame};
use super::support::extended::{WELCOME, bare_hello};
use super::support::{PATIENCE, pattern};
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;
use tidegate::base::Rng;
use tidegate::net::{Endpoint, connect_from};

/// Deferred by the service, and answered some time.
pub(crate) const LATER: u16 = 20;
/// Done by a worker.
pub(crate) const WORK: u16 = 21;

/// Source addresses: each has some 28,000 ports, which rest for a minute after a close.
const SOURCES: u64 = 64;

/// What one client does. Ways that end by a reset say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Says nothing.
    Silent,
    SilentReset,
    OneByte,
    /// Echoes, ends its side, reads to the end.
    InOrder,
    /// Echoes and closes.
    Closed,
    /// Echoes and does not take the reply.
    EchoReset,
    HalfFrame,
    HalfFrameReset,
    /// Half of a frame that takes a buffer of its own.
    LargeHalfReset,
    Hello,
    HelloReset,
    /// Goes while its request is open.
    Later,
    LaterReset,
    Work,
    /// Asks for more than it takes.
    UnreadReset,
    /// Its checksum is wrong.
    Damaged,
    HalfLine,
    LineReset,
}

impl Way {
    /// All, with their weights: dear ones are rare.
    const WEIGHTS: [(Way, u64); 18] = [
        (Way::Silent, 100),
        (Way::SilentReset, 100),
        (Way::OneByte, 100),
        (Way::InOrder, 60),
        (Way::Closed, 100),
        (Way::EchoReset, 100),
        (Way::HalfFrame, 60),
        (Way::HalfFrameReset, 60),
        (Way::LargeHalfReset, 6),
        (Way::Hello, 40),
        (Way::HelloReset, 40),
        (Way::Later, 50),
        (Way::LaterReset, 50),
        (Way::Work, 20),
        (Way::UnreadReset, 2),
        (Way::Damaged, 40),
        (Way::HalfLine, 36),
        (Way::LineReset, 36),
    ];

    pub(crate) const COUNT: usize = Way::WEIGHTS.len();

    fn draw(rng: &mut Rng) -> Way {
        let mut left = rng.below(Way::WEIGHTS.iter().map(|(_, weight)| weight).sum());
        for (way, weight) in Way::WEIGHTS {
            if left < weight {
                return way;
            }
            left -= weight;
        }
        unreachable!("less than the sum of all weights")
    }

    const fn is_line(self) -> bool {
        matches!(self, Way::HalfLine | Way::LineReset)
    }

    const fn resets(self) -> bool {
        match self {
            Way::SilentReset
            | Way::EchoReset
            | Way::HalfFrameReset
            | Way::LargeHalfReset
            | Way::HelloReset
            | Way::LaterReset
            | Way::UnreadReset
            | Way::LineReset => true,
            Way::Silent
            | Way::OneByte
            | Way::InOrder
            | Way::Closed
            | Way::HalfFrame
            | Way::Hello
            | Way::Later
            | Way::Work
            | Way::Damaged
            | Way::HalfLine => false,
        }
    }
}

/// A client that has come.
pub(crate) struct Visitor {
    stream: TcpStream,
    way: Way,
}

impl Visitor {
    /// Comes in any way, and does what it came for.
    pub(crate) fn come(frames: SocketAddr, lines: SocketAddr, rng: &mut Rng) -> Visitor {
        let way = Way::draw(rng);
        let source = u8::try_from(rng.below(SOURCES)).expect("less than 64");
        let source = IpAddr::from([127, 0, 7, source]);
        let to = Endpoint::Ip(if way.is_line() { lines } else { frames });
        let stream = connect_from(&to, Some(source)).expect("a port is free");
        let stream: TcpStream = stream.into();
        // From here on calls wait, first for the connection.
        stream.set_nonblocking(false).expect("an option of a fresh socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option of a fresh socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("an option of a fresh socket");
        let mut visitor = Visitor { stream, way };
        visitor.act(rng);
        visitor
    }

    /// Its way's place among all.
    pub(crate) fn place(&self) -> usize {
        Way::WEIGHTS.iter().position(|(way, _)| *way == self.way).expect("it was drawn from there")
    }

    fn act(&mut self, rng: &mut Rng) {
        let seed = rng.next_u64();
        match self.way {
            Way::Silent | Way::SilentReset => {}
            Way::OneByte => self.send(&[0]),
            Way::InOrder | Way::Closed => {
                let asked = frame(ECHO, &pattern(seed, 60));
                self.send(&asked);
                assert_eq!(self.receive(asked.len()), asked, "an echo");
            }
            Way::EchoReset => self.send(&frame(ECHO, &pattern(seed, 60))),
            Way::HalfFrame | Way::HalfFrameReset => self.send(&frame(ECHO, &pattern(seed, 400))[..200]),
            Way::LargeHalfReset => self.send(&frame(ECHO, &pattern(seed, 200 << 10))[..100 << 10]),
            Way::Hello | Way::HelloReset => {
                self.send(&bare_hello());
                assert_eq!(self.receive(2), WELCOME.to_be_bytes());
            }
            Way::Later | Way::LaterReset => self.send(&frame(LATER, &pattern(seed, 40))),
            Way::Work => self.send(&frame(WORK, &pattern(seed, 40))),
            Way::UnreadReset => self.send_unread(&frame(ECHO, &pattern(seed, 60 << 10))),
            Way::Damaged => {
                let mut damaged = frame(ECHO, &pattern(seed, 40));
                damaged[20] ^= 1;
                self.send(&damaged);
                assert_eq!(self.receive(2), GOAWAY.to_be_bytes());
            }
            Way::HalfLine => self.send(b"half a line"),
            Way::LineReset => self.send(b"a line\nand half a line"),
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream
            .write_all(bytes)
            .unwrap_or_else(|error| panic!("{:?}: sending failed: {error}", self.way));
    }

    /// As much of these as is taken, over and over, up to 2 MiB, without reading.
    fn send_unread(&mut self, bytes: &[u8]) {
        self.stream.set_write_timeout(Some(Duration::from_millis(20))).expect("an option of a socket");
        let mut sent = 0;
        while sent < 2 << 20 {
            match self.stream.write(&bytes[sent % bytes.len()..]) {
                Ok(count) => sent += count,
                // The server reads no more: that is what this way is for.
                Err(_) => return,
            }
        }
    }

    fn receive(&mut self, bytes: usize) -> Vec<u8> {
        let mut got = vec![0; bytes];
        let read = self.stream.read_exact(&mut got);
        read.unwrap_or_else(|error| panic!("{:?}: receiving failed: {error}", self.way));
        got
    }

    /// Goes.
    pub(crate) fn go(mut self) {
        if self.way.resets() {
            SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("an option of a socket");
        }
        if self.way == Way::InOrder {
            self.stream.shutdown(Shutdown::Write).expect("it is up");
            let mut rest = Vec::new();
            self.stream.read_to_end(&mut rest).expect("an end in order");
            assert_eq!(rest, b"", "nothing but the end");
        }
    }
}
