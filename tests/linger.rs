//! A connection that the server ends is read on until its peer has ended it too: a close with unread input makes the
//! kernel send a reset, which destroys the last words on their way.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use tidegate::base::limits::Limits;
use tidegate::base::{CloseReason, Time, Token};
use tidegate::metrics::Counter;
use tidegate::service::Router;
use tidegate::session::{Framing, Protocol};
use tidegate::turn::{Accepted, Io, ListenerConfig, Readiness, Turn, TurnConfig};
use tidegate::wire::Header;

/// One peer, which has sent some bytes and ends its side when it was told of the server's end.
#[derive(Default)]
struct OnePeer {
    waits: bool,
    sent: Vec<u8>,
    has_ended: bool,
    got: Vec<u8>,
    token: Option<Token>,
    /// What was done with the socket behind the last write, in order.
    calls: Vec<&'static str>,
}

impl Io for OnePeer {
    type Stream = ();

    fn now(&mut self) -> Time {
        Time::ZERO
    }

    fn accept(&mut self, _listener: u32) -> Accepted<()> {
        if !std::mem::take(&mut self.waits) {
            return Accepted::Drained;
        }
        Accepted::Stream((), SocketAddr::from((Ipv4Addr::LOCALHOST, 1)))
    }

    fn refuse(&mut self, _listener: u32, _farewell: &[u8]) -> bool {
        false
    }

    fn close_listener(&mut self, _listener: u32) {}

    fn register(&mut self, (): &mut (), token: Token) -> io::Result<()> {
        self.token = Some(token);
        Ok(())
    }

    fn read(&mut self, (): &mut (), into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let offered: usize = into.iter().map(|slice| slice.len()).sum();
        assert!(offered > 0, "a read of nothing gives 0, which looks like the end of the stream");
        if self.sent.is_empty() {
            return if self.has_ended { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        let count = offered.min(self.sent.len());
        let mut bytes = self.sent.drain(..count);
        for byte in into.iter_mut().flat_map(|slice| slice.iter_mut()).take(count) {
            *byte = bytes.next().expect("counted");
        }
        Ok(count)
    }

    fn write(&mut self, (): &mut (), from: &[IoSlice<'_>]) -> io::Result<usize> {
        self.calls.clear();
        from.iter().for_each(|slice| self.got.extend_from_slice(slice));
        Ok(from.iter().map(|slice| slice.len()).sum())
    }

    fn shut_write(&mut self, (): &mut ()) -> io::Result<()> {
        self.calls.push("shut");
        Ok(())
    }

    fn close(&mut self, (): ()) {
        self.calls.push("close");
    }
}

#[test]
fn a_fault_is_told_and_what_still_comes_is_read_before_the_close() {
    let framing = Framing { protocol: Protocol::Frame, payload_max: 64, line_route: Header::route(0) };
    let config = TurnConfig {
        shard: 0,
        connections_max: 1,
        budget_bytes: 4 << 20,
        listeners: vec![ListenerConfig { framing }],
        limits: Limits::default(),
        seed: 0,
    };
    let too_large = b"\0\x01\0\x01\0\0";
    let sent = [&too_large[..], &[0; 300 << 10]].concat(); // more than one read takes
    let mut io = OnePeer { waits: true, sent, ..OnePeer::default() };
    let mut turn = Turn::new(config, Time::ZERO, Router::embedded);
    let metrics = turn.metrics();
    let readable = Readiness { readable: true, ..Readiness::default() };

    turn.begin(Time::ZERO);
    turn.handle_event(&mut io, Token::listener(0), readable);
    let token = io.token.expect("it was registered");
    turn.handle_event(&mut io, token, readable);
    turn.end(&mut io);
    assert_eq!(io.got[..2], [0x40, 0x05], "the last words are GOAWAY");
    assert_eq!(io.sent.len(), 0, "what still comes is read");
    assert_eq!(io.calls, ["shut"], "the peer has not ended its side, so the socket is kept");

    io.has_ended = true;
    turn.begin(Time::ZERO);
    turn.handle_event(&mut io, token, Readiness { read_closed: true, ..readable });
    turn.end(&mut io);
    assert_eq!(io.calls, ["shut", "close"]);
    let figures = metrics.snapshot();
    assert_eq!(figures.closes(CloseReason::TooLarge), 1);
    assert_eq!(figures.counter(Counter::BytesLingered), (300 << 10) + 6 - (256 << 10));
}
