//! Bugs of the turn that fuzzing and reading found, each as a short story of its own.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tidegate::base::limits::INTERRUPTED_RETRIES;
use tidegate::base::{Address, CloseReason, Time, Token};
use tidegate::metrics::{Counter, Outcome, ShardMetrics};
use tidegate::service::{Cx, Frame, Peer as PeerInfo, Replied, Reply, Router, Service};
use tidegate::session::Framing;
use tidegate::turn::{Accepted, Entered, Io, ListenerConfig, Readiness, Turn, TurnConfig, Wait};
use tidegate::wire::{Crc, Header, encode};

/// One that sent some bytes before it is accepted.
#[derive(Default)]
struct Peer {
    sent: Vec<u8>,
    has_ended: bool,
    takes_nothing: bool,
    /// Writes that a signal interrupts before one goes through.
    interruptions: u32,
    got: Vec<u8>,
    token: Option<Token>,
    /// What was done with the socket behind the last write, in order.
    calls: Vec<&'static str>,
}

/// Peers, by their place; a stream is a place.
#[derive(Default)]
struct Peers {
    peers: Vec<Peer>,
    accepted: usize,
}

impl Io for Peers {
    type Stream = usize;

    fn now(&mut self) -> Time {
        Time::ZERO
    }

    fn accept(&mut self, _listener: u32) -> Accepted<usize> {
        if self.accepted == self.peers.len() {
            return Accepted::Drained;
        }
        self.accepted += 1;
        Accepted::Stream(self.accepted - 1, SocketAddr::from((Ipv4Addr::LOCALHOST, 1)).into())
    }

    fn refuse(&mut self, _listener: u32, _farewell: &[u8]) -> bool {
        false
    }

    fn close_listener(&mut self, _listener: u32) {}

    fn register(&mut self, stream: &mut usize, token: Token) -> io::Result<()> {
        self.peers[*stream].token = Some(token);
        Ok(())
    }

    fn connect(&mut self, _to: SocketAddr) -> io::Result<usize> {
        Err(ErrorKind::Unsupported.into())
    }

    fn finish_connect(&mut self, _stream: &mut usize) -> io::Result<bool> {
        Err(ErrorKind::Unsupported.into())
    }

    fn hand_off(&mut self, stream: usize, _: Address, _: u32, _: usize) -> Option<usize> {
        Some(stream)
    }

    fn take_handed(&mut self) -> Option<(usize, Entered, u32)> {
        None
    }

    fn read(&mut self, stream: &mut usize, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let peer = &mut self.peers[*stream];
        let offered: usize = into.iter().map(|slice| slice.len()).sum();
        assert!(offered > 0, "a read of nothing gives 0, which looks like the end of the stream");
        if peer.sent.is_empty() {
            return if peer.has_ended { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        let count = offered.min(peer.sent.len());
        let mut bytes = peer.sent.drain(..count);
        for byte in into.iter_mut().flat_map(|slice| slice.iter_mut()).take(count) {
            *byte = bytes.next().expect("counted");
        }
        Ok(count)
    }

    fn write(&mut self, stream: &mut usize, from: &[IoSlice<'_>]) -> io::Result<usize> {
        let peer = &mut self.peers[*stream];
        assert!(
            from.iter().any(|slice| !slice.is_empty()),
            "a write of nothing is a system call for nothing"
        );
        if peer.takes_nothing {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if peer.interruptions > 0 {
            peer.interruptions -= 1;
            return Err(ErrorKind::Interrupted.into());
        }
        peer.calls.clear();
        from.iter().for_each(|slice| peer.got.extend_from_slice(slice));
        Ok(from.iter().map(|slice| slice.len()).sum())
    }

    fn shut_write(&mut self, stream: &mut usize) -> io::Result<()> {
        self.peers[*stream].calls.push("shut");
        Ok(())
    }

    fn close(&mut self, stream: usize) {
        self.peers[stream].calls.push("close");
    }
}

const CONNECTIONS_MAX: u32 = 8;
const READABLE: Readiness = Readiness { readable: true, writable: false, read_closed: false, hangup: false };

/// A turn that has accepted everybody, its figures, and its world.
fn accepted(peers: Vec<Peer>) -> (Turn<Router, Peers>, Arc<ShardMetrics>, Peers) {
    accepted_at(Framing::frames(64), peers)
}

/// The same at another listener.
fn accepted_at(framing: Framing, peers: Vec<Peer>) -> (Turn<Router, Peers>, Arc<ShardMetrics>, Peers) {
    accepted_by(Router::embedded, framing, peers)
}

/// The same for another service.
fn accepted_by<S: Service>(
    service: impl FnMut() -> S + Send + 'static,
    framing: Framing,
    peers: Vec<Peer>,
) -> (Turn<S, Peers>, Arc<ShardMetrics>, Peers) {
    let config = TurnConfig::alone(CONNECTIONS_MAX, vec![ListenerConfig::new(framing)]);
    let mut io = Peers { peers, accepted: 0 };
    let mut turn = Turn::new(config, Time::ZERO, service);
    let metrics = turn.metrics();
    turn.begin(Time::ZERO);
    turn.handle_event(&mut io, Token::listener(0), READABLE);
    turn.end(&mut io);
    (turn, metrics, io)
}

/// One turn in which these peers have something to read.
fn one_turn<S: Service>(turn: &mut Turn<S, Peers>, io: &mut Peers, readable: &[usize]) {
    turn.begin(Time::ZERO);
    for peer in readable {
        let token = io.peers[*peer].token.expect("it was registered");
        turn.handle_event(io, token, READABLE);
    }
    turn.end(io);
}

/// Lingering read into a scratch that the batch still had taken. Nothing read is 0, 0 was the end of the stream, and
/// the socket was closed with unread input: a reset, which destroys the last words on their way.
#[test]
fn a_fault_is_told_and_what_still_comes_is_read_before_the_close() {
    let too_large = b"\0\x01\0\x01\0\0";
    let sent = [&too_large[..], &[0; 300 << 10]].concat(); // more than one read takes
    let (mut turn, metrics, mut io) = accepted(vec![Peer { sent, ..Peer::default() }]);

    one_turn(&mut turn, &mut io, &[0]);
    let peer = &mut io.peers[0];
    assert_eq!(peer.got[..2], [0x40, 0x05], "the last words are GOAWAY");
    assert_eq!(peer.sent.len(), 0, "what still comes is read");
    assert_eq!(peer.calls, ["shut"], "the peer has not ended its side, so the socket is kept");

    peer.has_ended = true;
    one_turn(&mut turn, &mut io, &[0]);
    assert_eq!(io.peers[0].calls, ["shut", "close"]);
    let figures = metrics.snapshot();
    assert_eq!(figures.closes(CloseReason::TooLarge), 1);
    assert_eq!(figures.counter(Counter::BytesLingered), (300 << 10) + 6 - (256 << 10));
}

fn request(payload: &[u8]) -> Vec<u8> {
    frame(1, payload)
}

fn frame(bits: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode(&mut frame, &Crc::new(), Header::from_bits(bits), payload);
    frame
}

/// Replies that a socket had not refused waited for an edge that only follows a refusal.
#[test]
fn a_write_that_signals_kept_interrupting_is_tried_again() {
    let sent = request(b"hello");
    let peer = Peer { sent: sent.clone(), interruptions: 2 * INTERRUPTED_RETRIES + 1, ..Peer::default() };
    let (mut turn, metrics, mut io) = accepted(vec![peer]);

    one_turn(&mut turn, &mut io, &[0]);
    assert_eq!(io.peers[0].got, b"", "both visits of this turn were interrupted");
    assert_eq!(turn.wait(), Wait::Not, "no edge will come");
    one_turn(&mut turn, &mut io, &[]);
    assert_eq!(io.peers[0].got, sent);
    assert_eq!((turn.leases_out(), metrics.snapshot().counter(Counter::RepliesUnsent)), (0, 0));
}

/// The replies of a batch whose write failed stayed in the loop's outbox, and left with those of the next connection.
#[test]
fn replies_to_a_peer_that_is_gone_reach_nobody_else() {
    let gone = Peer { sent: request(b"secret"), takes_nothing: true, ..Peer::default() };
    let here = Peer { sent: request(b"mine"), ..Peer::default() };
    let (mut turn, metrics, mut io) = accepted(vec![gone, here]);

    one_turn(&mut turn, &mut io, &[0, 1]);
    assert_eq!(io.peers[1].got, request(b"mine"));
    let figures = metrics.snapshot();
    assert_eq!(figures.closes(CloseReason::Reset), 1);
    assert!(figures.balances(), "{figures:?}");
}

/// The built-in routes were as many as headers with flags can name, and a larger one panicked.
#[test]
fn where_headers_are_all_route_one_that_nobody_serves_is_refused() {
    for bits in [16_384, 0x8001, 0xffff] {
        let sent = [request(b"first"), frame(bits, b""), request(b"never")].concat();
        let (mut turn, metrics, mut io) =
            accepted_at(Framing::bare_frames(64), vec![Peer { sent, ..Peer::default() }]);
        one_turn(&mut turn, &mut io, &[0]);
        assert_eq!(io.peers[0].got, request(b"first"), "case: {bits}");
        assert_eq!(io.peers[0].calls, ["shut"], "case: {bits}");
        assert_eq!(metrics.snapshot().counter(Counter::Panics), 0, "case: {bits}");
    }
}

/// Where nobody can be told anything, one for whom there was no room was written nothing.
#[test]
fn whom_nothing_can_be_told_is_refused_without_a_word() {
    let peers = (0..=CONNECTIONS_MAX).map(|_| Peer { sent: request(b"hello"), ..Peer::default() }).collect();
    let (_turn, metrics, io) = accepted_at(Framing::bare_frames(64), peers);
    let refused = io.peers.last().expect("one too many");
    assert_eq!(
        (&refused.got[..], &refused.sent[..], &refused.calls[..]),
        (&b""[..], &b""[..], &["close"][..])
    );
    assert_eq!(metrics.snapshot().counter(Counter::RefusedFull), 1);
}

/// A refusal on a one-way route was sent like any other, and whoever counts replies took it for that to an earlier
/// request.
#[test]
fn refusals_on_a_one_way_route_are_sent_only_to_correlations() {
    const DISCARD: u16 = 2;
    let correlated = b"\x03\x11\0\0\0\0\0\0\0\0\0\x07";
    let sent = [
        frame(0x8000 | DISCARD, b"\x01\x10\0\0a flag that nobody knows"),
        frame(0x8000 | DISCARD, b"\x02\x02\0\0\0\0\0\0a deadline that is over"),
        frame(0x8000 | DISCARD, correlated),
        request(b"hello"),
    ]
    .concat();
    let (mut turn, metrics, mut io) = accepted(vec![Peer { sent, ..Peer::default() }]);
    one_turn(&mut turn, &mut io, &[0]);
    let got = &io.peers[0].got;
    let (refusal, reply) = got.split_at(got.len() - request(b"hello").len());
    assert_eq!(reply, request(b"hello"));
    assert_eq!((&refusal[..2], &refusal[6..10]), (&[0x80, 2][..], &[3, 1, 0, 15][..]), "UNSUPPORTED");
    assert_eq!(refusal.len(), 10 + usize::from(refusal[5]), "one frame");
    let figures = metrics.snapshot();
    assert_eq!(figures.counter(Counter::Unheard), 2);
    assert!(figures.balances(), "{figures:?}");
}

/// The header lost the bit that tells of a block.
#[test]
fn a_notice_names_the_header_that_was_refused() {
    const HELLO: u16 = 0x4002;
    for subscribe in [0x4006, 0xc006] {
        let block = if subscribe == 0xc006 { &[1, 0, 0, 0][..] } else { &[] };
        let sent = [frame(HELLO, &[1, 0, 0, 0, 0]), frame(subscribe, &[block, b"\0\0\x04news"].concat())];
        let (mut turn, _metrics, mut io) = accepted(vec![Peer { sent: sent.concat(), ..Peer::default() }]);
        one_turn(&mut turn, &mut io, &[0]);
        let got = &io.peers[0].got;
        let notice = &got[10 + usize::from(got[5])..];
        let [high, low] = u16::to_be_bytes(subscribe);
        assert_eq!((&notice[..2], &notice[6..10]), (&[0x40, 0x0c][..], &[0, 15, high, low][..]));
    }
}

/// A request whose requester wants no reply failed for the size of that reply, and a NOTICE told of it.
#[test]
fn a_reply_that_nobody_wants_is_never_too_large() {
    let hello = [&[1, 0, 0, 0, 0][..], &[1, 4, 0, 0, 0, 3]].concat(); // takes 3 bytes
    let sent = [frame(0x4002, &hello), frame(0x8001, b"\x01\x08\0\0four"), request(b"yes")].concat();
    let (mut turn, metrics, mut io) = accepted(vec![Peer { sent, ..Peer::default() }]);
    one_turn(&mut turn, &mut io, &[0]);
    let got = &io.peers[0].got;
    assert_eq!(got[10 + usize::from(got[5])..], request(b"yes"), "right behind WELCOME");
    let figures = metrics.snapshot();
    assert_eq!((figures.outcome(Outcome::Silent), figures.outcome(Outcome::Failed)), (1, 0));
}

/// Behind WELCOME control frames may be larger, and what is wrong with a large one was said to be its size.
#[test]
fn what_is_wrong_with_a_large_control_frame_is_told_behind_welcome() {
    let topic = [&[201][..], &[b'a'; 201], &[0; 5000]].concat();
    let sent = [frame(0x4002, &[1, 0, 0, 0, 0]), frame(0x4008, &topic)].concat();
    let (mut turn, metrics, mut io) =
        accepted_at(Framing::frames(8192), vec![Peer { sent, ..Peer::default() }]);
    one_turn(&mut turn, &mut io, &[0]);
    let got = String::from_utf8_lossy(&io.peers[0].got);
    assert!(got.contains("topic of 201 bytes") && !got.contains("4096"), "{got}");
    assert_eq!(metrics.snapshot().closes(CloseReason::BadControl), 0, "its reason is told when it has gone");
    io.peers[0].has_ended = true;
    one_turn(&mut turn, &mut io, &[0]);
    assert_eq!(metrics.snapshot().closes(CloseReason::BadControl), 1);
}

/// Its first route is one-way; its handlers fail.
struct Broken;

impl Service for Broken {
    type Conn = ();

    fn on_open(&mut self, _peer: &PeerInfo, _cx: &mut Cx<'_>) {}

    fn on_frame(
        &mut self,
        _conn: &mut (),
        _frame: Frame<'_>,
        _reply: Reply<'_>,
        _cx: &mut Cx<'_>,
    ) -> Replied {
        panic!("asked to")
    }

    fn is_one_way(&self, route: u16) -> bool {
        route == 0
    }
}

#[test]
fn a_panic_on_a_one_way_route_is_told_to_nobody() {
    let sent = [frame(0, b"nobody waits"), frame(1, b"somebody does")].concat();
    let (mut turn, metrics, mut io) =
        accepted_by(|| Broken, Framing::frames(64), vec![Peer { sent, ..Peer::default() }]);
    one_turn(&mut turn, &mut io, &[0]);
    let got = &io.peers[0].got;
    assert_eq!((&got[..2], got.len()), (&[0x40, 4][..], 10 + usize::from(got[5])), "one ERROR");
    let figures = metrics.snapshot();
    assert_eq!((figures.counter(Counter::Panics), figures.counter(Counter::Unheard)), (2, 1));
    assert!(figures.balances(), "{figures:?}");
}
