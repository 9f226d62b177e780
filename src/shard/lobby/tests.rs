//! Newcomers over real sockets.

use super::*;
use crate::metrics::ShardMetrics;
#[cfg(feature = "tls")]
use crate::tls::tests::authority;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// A lobby over real sockets, with a poller that nobody asks.
struct Rig {
    lobby: Lobby,
    poll: mio::Poll,
    listener: TcpListener,
    metrics: Arc<ShardMetrics>,
    seats: Arc<Seats>,
    /// The other ends.
    peers: Vec<std::net::TcpStream>,
}

const NOW: Ms = Ms(u32::MAX - 10);

fn loopback() -> Entrance {
    Entrance { proxy: Some(vec!["127.0.0.0/8".parse().unwrap()]), tls: None }
}

impl Rig {
    /// As a turn asks, which always has a step of a handshake to give.
    fn next_pending(&mut self) -> Option<u32> {
        self.lobby.grant_step();
        self.lobby.next_pending()
    }

    fn new(entrance: Entrance, deadline_ms: u64) -> Rig {
        let seats = Arc::new(Seats::new(10_000));
        let entrances = vec![Entrance::default(), entrance].into();
        let mut lobby = Lobby::new(entrances, Duration::from_millis(deadline_ms), Arc::clone(&seats));
        let recorder = Recorder::new(2, 0);
        let metrics = recorder.shared();
        lobby.count_in(recorder);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Rig { lobby, poll: mio::Poll::new().unwrap(), listener, metrics, seats, peers: Vec::new() }
    }

    /// One from this address (whatever its socket's is) that has sent this already.
    fn come(&mut self, from: &str, said: &[u8], now: Ms) -> Option<Through> {
        let mut peer = std::net::TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        peer.write_all(said).unwrap();
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        assert!(self.seats.try_take());
        self.peers.push(peer);
        let from: SocketAddr = from.parse().unwrap();
        self.lobby.enter(self.poll.registry(), (Stream::from_std(stream), from.into(), 1), now)
    }

    fn count(&self, counter: Counter) -> u64 {
        self.metrics.snapshot().counter(counter)
    }

    /// Newcomers that wait, which are all that have seats.
    #[track_caller]
    fn check_waiting(&self, want: usize) {
        assert_eq!(self.lobby.line.len(), want);
        assert_eq!(self.metrics.snapshot().gauge(Gauge::Entering), want as u64);
        assert_eq!(self.lobby.is_empty(), want == 0);
    }
}

#[test]
fn only_listeners_with_an_entrance_have_one() {
    let rig = Rig::new(loopback(), 5000);
    assert_eq!([0, 1, 2].map(|listener| rig.lobby.is_of(listener)), [false, true, false]);
    assert!(rig.lobby.is_empty() && rig.lobby.wait_ms(NOW).is_none());
}

#[test]
fn the_oldest_is_the_first_to_go() {
    let mut rig = Rig::new(loopback(), 50);
    assert!(rig.come("127.0.0.1:1", b"PROXY", NOW).is_none());
    assert!(rig.come("127.0.0.1:2", b"", NOW.plus(20)).is_none());
    rig.check_waiting(2);
    assert_eq!(rig.lobby.wait_ms(NOW.plus(30)), Some(20));
    rig.lobby.end_turn(NOW.plus(49));
    rig.check_waiting(2);
    rig.lobby.end_turn(NOW.plus(50));
    rig.check_waiting(1);
    assert_eq!(rig.lobby.wait_ms(NOW.plus(50)), Some(20));
    assert!(rig.lobby.evict(NOW.plus(51)));
    rig.check_waiting(0);
    assert!(!rig.lobby.evict(NOW.plus(51)), "nobody is left");
    assert_eq!((rig.count(Counter::EntranceTimedOut), rig.count(Counter::EntranceEvicted)), (1, 1));
    assert_eq!(rig.seats.taken(), 0);
}

#[test]
#[cfg(feature = "tls")]
fn an_eighth_is_for_one_source_unless_it_is_a_trusted_proxy() {
    // An entrance that asks nobody for a PROXY header: its newcomers speak for themselves.
    let folder = authority::Folder::new();
    let pair = authority::Authority::new("test").issue(&authority::Wanted::server());
    let (cert, key) = pair.write(&folder, "server");
    let acceptor = crate::tls::Acceptor::new(crate::tls::TlsFiles::new(cert, key)).unwrap();
    let shakes_hands = Entrance { proxy: None, tls: Some(Arc::new(acceptor)) };
    let share = LOBBY_MAX / LOBBY_SHARE;
    let mut rig = Rig::new(shakes_hands, 5000);
    for _ in 0..share + 3 {
        rig.lobby.end_turn(NOW);
        rig.come("[2001:db8::1]:7", b"", NOW);
    }
    rig.check_waiting(share);
    assert_eq!(rig.count(Counter::EntranceCrowded), 3);
    rig.come("[2001:db8::2]:7", b"", NOW);
    assert_eq!(rig.count(Counter::EntranceCrowded), 4, "the same network of 64 bits");
    rig.come("[2001:db8:0:1::1]:7", b"", NOW);
    rig.check_waiting(share + 1);
    // Whoever leaves makes room.
    assert!(rig.lobby.evict(NOW));
    rig.come("[2001:db8::3]:7", b"", NOW);
    rig.check_waiting(share + 1);
    rig.peers.clear();
    let mut rig = Rig::new(loopback(), 5000);
    for _ in 0..share + 3 {
        rig.lobby.end_turn(NOW);
        rig.come("127.0.0.1:7", b"", NOW);
    }
    rig.check_waiting(share + 3);
    assert_eq!(rig.count(Counter::EntranceCrowded), 0);
}

#[test]
fn more_than_a_turn_may_look_at_wait_for_the_next_without_an_edge() {
    let mut rig = Rig::new(loopback(), 5000);
    let header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nrest";
    let now_or_later = PROXY_STEPS_PER_TURN + 10;
    let at_once = (0..now_or_later).filter(|_| rig.come("127.0.0.1:7", header, NOW).is_some()).count();
    assert_eq!(at_once, PROXY_STEPS_PER_TURN as usize);
    rig.check_waiting(10);
    assert_eq!(rig.next_pending(), None, "this turn has had its looks");
    assert_eq!(rig.lobby.wait_ms(NOW), Some(0), "the next one comes at once");
    rig.lobby.end_turn(NOW);
    for left in (0..10).rev() {
        let name = rig.next_pending().expect("one is pending");
        let (stream, entered, listener) = rig.lobby.look_at(name, NOW).expect("it is through");
        assert_eq!((entered.address.to_string().as_str(), listener), ("192.0.2.1:1", 1));
        assert_eq!(entered.proxied_by, Some("127.0.0.1:7".parse::<SocketAddr>().unwrap().into()));
        let mut rest = [0; 8];
        assert_eq!(
            crate::net::peek(&stream, &mut rest).unwrap(),
            4,
            "what is behind the header was not taken"
        );
        rig.check_waiting(left);
    }
    assert_eq!(rig.next_pending(), None);
    assert_eq!(rig.count(Counter::Entered), u64::from(now_or_later));
}

#[test]
fn a_drain_lets_in_who_is_complete_and_closes_the_others() {
    let mut rig = Rig::new(loopback(), 5000);
    for _ in 0..3 {
        rig.come("127.0.0.1:7", b"PROXY UNK", NOW);
    }
    rig.peers[1].write_all(b"NOWN\r\n").unwrap();
    let mut through = None;
    // The kernel may take a moment to bring it from one end of the loopback to the other.
    for _ in 0..1000 {
        let mut seen = [0; 32];
        let place = rig.lobby.line.front().map_or(0, |front| front + 1);
        let member = rig.lobby.line.get(place).expect("it waits");
        if crate::net::peek(&member.stream, &mut seen).is_ok_and(|seen| seen == 15) {
            through = rig.lobby.clear(NOW);
            break;
        }
        std::thread::yield_now();
    }
    assert!(through.is_some_and(|(_, entered, _)| entered.address.to_string() == "127.0.0.1:7"));
    assert!(rig.lobby.clear(NOW).is_none());
    rig.check_waiting(0);
    assert!(rig.come("127.0.0.1:7", b"PROXY UNK", NOW).is_none(), "nobody waits any more");
    assert!(rig.come("127.0.0.1:7", b"PROXY UNKNOWN\r\n", NOW).is_some());
    rig.check_waiting(0);
    assert_eq!((rig.count(Counter::EntranceDrained), rig.count(Counter::Entered)), (3, 2));
    assert_eq!(rig.seats.taken(), 2, "of those who are through");
}

#[test]
fn what_is_wrong_is_closed_at_once() {
    let mut rig = Rig::new(loopback(), 5000);
    assert!(rig.come("192.0.2.1:7", b"PROXY UNKNOWN\r\n", NOW).is_none());
    assert!(rig.come("127.0.0.1:7", b"GET / HTTP/1.1\r\n\r\n", NOW).is_none());
    rig.check_waiting(0);
    assert_eq!((rig.count(Counter::UntrustedProxy), rig.count(Counter::BadProxyHeader)), (1, 1));
    assert_eq!(rig.seats.taken(), 0);
}

#[test]
fn a_name_without_an_owner_is_nobody() {
    let mut rig = Rig::new(loopback(), 5000);
    assert!(rig.lobby.look_at(0, NOW).is_none());
    assert!(rig.lobby.look_at(FIRST_PLACE, NOW).is_none());
    assert!(rig.lobby.look_at(u32::MAX, NOW).is_none());
}

/// One that was pending is evicted, and another one has its place: it is looked at once, when its own turn comes.
#[test]
fn a_place_that_is_given_again_is_not_pending_for_its_last_owner() {
    let mut rig = Rig::new(loopback(), 5000);
    rig.lobby.looks_left = 0;
    assert!(rig.come("127.0.0.1:1", b"PROXY UNKNOWN\r\n", NOW).is_none(), "no looks are left");
    assert_eq!(rig.lobby.pending.len(), 1);
    assert!(rig.lobby.evict(NOW));
    rig.lobby.end_turn(NOW);
    assert!(rig.come("127.0.0.1:2", b"PROXY", NOW).is_none());
    assert_eq!(rig.next_pending(), None, "the place has another owner, who waits for an edge");
    rig.check_waiting(1);
    // An edge that comes when no looks are left makes it pending, and no second edge makes it so twice.
    rig.lobby.looks_left = 0;
    assert!(rig.lobby.look_at(FIRST_PLACE, NOW).is_none() && rig.lobby.look_at(FIRST_PLACE, NOW).is_none());
    assert_eq!(rig.lobby.pending.len(), 1);
    rig.lobby.end_turn(NOW);
    assert_eq!(rig.next_pending(), Some(FIRST_PLACE));
    assert_eq!(rig.next_pending(), None);
}
