//! The same for what is not answered at once: deferred requests, held replies, effects, timers, messages.

use super::support::client::{EXT, frame};
use super::support::extended::{MESSAGE, bare_hello, correlated, extended};
use super::support::hand::{Clock, PEER, Rig};
use super::{PIPE_BYTES, config, counted};
use crossbeam_queue::ArrayQueue;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tidegate::base::ConnId;
use tidegate::base::limits::{INLINE_ANSWER_BYTES, Limits};
use tidegate::service::{Cx, Frame, Incoming, Later, Message, Origin, Peer, Replied, Reply, Service};
use tidegate::session::Protocol;
use tidegate::turn::TurnConfig;
use tidegate::wire::Status;

/// Answered when the test says so.
const LATER: u16 = 10;
/// Answers the oldest of these, from within.
const ANSWER: u16 = 11;
/// Answered with the reply of another server.
const RELAY: u16 = 12;
/// Answered by a timer, a millisecond later.
const TIMER: u16 = 13;
/// Sends a message to the first connection.
const TELL: u16 = 14;
/// Echo.
const AT_ONCE: u16 = 15;

/// Requests that wait, where other threads find them.
type Bin = Arc<ArrayQueue<Later>>;

struct Slow {
    bin: Bin,
    relayed: VecDeque<Later>,
    timed: VecDeque<Later>,
    upstream: Option<ConnId>,
    first: Option<ConnId>,
    message: Message,
}

impl Slow {
    fn new(bin: &Bin) -> impl FnMut() -> Slow + Send + 'static {
        let bin = Arc::clone(bin);
        move || Slow {
            bin: Arc::clone(&bin),
            relayed: VecDeque::with_capacity(512),
            timed: VecDeque::with_capacity(512),
            upstream: None,
            first: None,
            message: Message::new("t", &[b'm'; 200]),
        }
    }
}

impl Service for Slow {
    type Conn = ();

    fn on_open(&mut self, peer: &Peer, cx: &mut Cx<'_>) {
        match peer.origin {
            Origin::Accepted { .. } if self.first.is_none() => {
                self.first = Some(cx.id());
                cx.dial(PEER, 0).expect("the first effect");
            }
            Origin::Accepted { .. } => {}
            Origin::Dialed { .. } => self.upstream = Some(cx.id()),
        }
    }

    fn on_frame(&mut self, _: &mut (), frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        let defer = |reply: Reply<'_>| {
            let (later, replied) = reply.defer();
            (later.expect("there is room"), replied)
        };
        match frame.route() {
            LATER => {
                let (later, replied) = defer(reply);
                self.bin.push(later).expect("there is room");
                replied
            }
            ANSWER => {
                let later = self.bin.pop().expect("one waits");
                cx.answer(later, frame.payload());
                reply.send(frame.payload())
            }
            RELAY => {
                let upstream = self.upstream.expect("it was dialed");
                cx.request(upstream, 1, frame.extension().as_ref(), frame.payload()).expect("there is room");
                let (later, replied) = defer(reply);
                self.relayed.push_back(later);
                replied
            }
            TIMER => {
                cx.arm(Duration::from_millis(1), 7).expect("there is room");
                let (later, replied) = defer(reply);
                self.timed.push_back(later);
                replied
            }
            TELL => {
                cx.message(self.first.expect("it is there"), &self.message).expect("there is room");
                reply.none()
            }
            _ => reply.forward(frame.whole()),
        }
    }

    fn on_incoming(&mut self, _: &mut (), incoming: Incoming<'_>, cx: &mut Cx<'_>) {
        if let Incoming::Reply(frame) = incoming {
            let later = self.relayed.pop_front().expect("it was asked for");
            cx.answer(later, frame.payload());
        }
    }

    fn on_timer(&mut self, _tag: u64, cx: &mut Cx<'_>) {
        let later = self.timed.pop_front().expect("it was armed");
        cx.answer(later, b"time");
    }
}

/// A loop with a server that it has dialed, and one client; both pipes, and what waits.
fn slow() -> (Rig<Slow>, Bin, usize, usize) {
    let bin: Bin = Arc::new(ArrayQueue::new(512));
    let limits = Limits { open_requests: 1_000, ..Limits::default() };
    let config = TurnConfig { limits, ..config(Protocol::Frame, 0) };
    let mut rig = Rig::at(Clock::new(), config, PIPE_BYTES, Slow::new(&bin));
    let upstream = rig.listen(usize::MAX);
    let client = rig.connect(usize::MAX);
    rig.settle();
    assert_eq!(rig.turn.open(), 2);
    (rig, bin, client, upstream)
}

/// Plain and correlated requests of a route, at several depths.
fn bursts(route: u16) -> impl Iterator<Item = (String, Vec<u8>, usize)> {
    [1, 16, 200].into_iter().flat_map(move |depth| {
        [("plain", frame(route, &[7; 64])), ("correlated", correlated(route, 9, &[7; 64]))]
            .map(|(name, request)| (format!("{name} at depth {depth}"), request.repeat(depth), depth))
    })
}

#[test]
fn answers_through_the_mailbox_allocate_nothing() {
    let (mut rig, bin, client, _) = slow();
    for (name, burst, depth) in bursts(LATER) {
        for bytes in [0, 1, INLINE_ANSWER_BYTES] {
            let answer = &[8; INLINE_ANSWER_BYTES][..bytes];
            counted(&format!("{name}, {bytes} bytes"), 50, || {
                rig.send(client, &burst);
                assert_eq!(rig.taken(client), 0);
                while let Some(later) = bin.pop() {
                    later.send(answer);
                }
                rig.settle();
                assert!(rig.taken(client) >= depth * (10 + bytes));
            });
        }
    }
    rig.assert_rest(2);
}

/// The loop's side and that of a thread which answers are counted apart.
#[test]
fn answers_from_another_thread_allocate_nothing_on_either_side() {
    let (mut rig, bin, client, _) = slow();
    let is_over = Arc::new(AtomicBool::new(false));
    let (theirs, told) = (Arc::clone(&bin), Arc::clone(&is_over));
    let answering = std::thread::spawn(move || {
        let answer_one = || match theirs.pop() {
            Some(later) => later.send(&[8; 40]),
            None => std::thread::yield_now(),
        };
        let info = allocation_counter::measure(|| {
            while !told.load(Relaxed) {
                answer_one();
            }
        });
        info.count_total
    });
    for (name, burst, depth) in bursts(LATER) {
        let reply_bytes = if burst[0] & 0x80 == 0 { 50 } else { 62 };
        counted(&name, 50, || {
            rig.send(client, &burst);
            while rig.io.pipes[client].output.len() < depth * reply_bytes {
                rig.one_turn();
            }
            assert_eq!(rig.taken(client), depth * reply_bytes);
        });
    }
    is_over.store(true, Relaxed);
    assert_eq!(answering.join().expect("no panic"), 0, "allocations of the thread that answers");
    rig.assert_rest(2);
}

#[test]
fn answers_dropped_and_refused_allocate_nothing() {
    let (mut rig, bin, client, _) = slow();
    for (name, burst, depth) in bursts(LATER) {
        counted(&name, 50, || {
            rig.send(client, &burst);
            let mut is_dropped = false;
            while let Some(later) = bin.pop() {
                is_dropped = !is_dropped;
                if is_dropped {
                    drop(later);
                } else {
                    later.fail(Status::UNAVAILABLE, "nobody is there");
                }
            }
            rig.settle();
            assert!(rig.taken(client) > depth * 20);
        });
    }
    rig.assert_rest(2);
}

#[test]
fn answers_within_the_loop_allocate_nothing() {
    let (mut rig, _, client, _) = slow();
    for (name, burst, depth) in bursts(LATER) {
        let answers = frame(ANSWER, &[8; 64]).repeat(depth);
        counted(&name, 50, || {
            rig.send(client, &burst);
            rig.send(client, &answers);
            assert!(rig.taken(client) >= depth * 2 * 74);
        });
    }
    rig.assert_rest(2);
}

/// Replies, large ones and failures too, wait behind a slow one, and leave with it.
#[test]
fn replies_that_are_held_and_released_allocate_nothing() {
    let (mut rig, bin, client, _) = slow();
    let slow = frame(LATER, b"slow");
    #[rustfmt::skip]
    let table = [
        ("small",           frame(AT_ONCE, &[7; 64]).repeat(100),        100 * 74),
        ("large",           frame(AT_ONCE, &[7; 20_000]).repeat(5),      5 * 20_010),
        ("extended",        extended(AT_ONCE, &[7; 64]).repeat(100), 100 * 78),
        ("refused",         frame(EXT | AT_ONCE, &[1, 0x10, 0, 0]).repeat(50), 50 * (10 + 4 + "this version does not know the extension flags 0x10".len())),
    ];
    for (name, behind, reply_bytes) in table {
        counted(name, 50, || {
            rig.send(client, &slow);
            rig.send(client, &behind);
            assert_eq!(rig.taken(client), 0);
            bin.pop().expect("it waits").send(b"slow");
            rig.settle();
            assert_eq!(rig.taken(client), 14 + reply_bytes, "{name}");
        });
    }
    // Deferred ones, answered from the last to the first.
    let burst = slow.repeat(100);
    let mut laters = Vec::with_capacity(100);
    counted("answered backwards", 50, || {
        rig.send(client, &burst);
        laters.extend(std::iter::from_fn(|| bin.pop()));
        while let Some(later) = laters.pop() {
            if laters.len() % 3 == 0 {
                later.fail(Status::OVERLOADED, "no");
            } else {
                later.send(b"slow");
            }
            rig.settle();
        }
        assert!(rig.taken(client) > 66 * 14);
    });
    rig.assert_rest(2);
}

#[test]
fn requests_to_another_server_allocate_nothing() {
    let (mut rig, _, client, upstream) = slow();
    for (name, burst, _) in bursts(RELAY) {
        // The other server echoes: what it was sent is what it says.
        let mut echo = Vec::with_capacity(PIPE_BYTES);
        counted(&name, 50, || {
            rig.send(client, &burst);
            echo.clear();
            echo.extend_from_slice(&rig.io.pipes[upstream].output);
            assert_eq!((echo.len(), rig.taken(upstream)), (burst.len(), burst.len()));
            rig.send(upstream, &echo);
            assert_eq!(rig.taken(client), burst.len());
        });
    }
    rig.assert_rest(2);
}

#[test]
fn timers_allocate_nothing() {
    let (mut rig, _, client, _) = slow();
    let burst = frame(TIMER, b"x").repeat(50);
    counted("timers", 50, || {
        rig.send(client, &burst);
        rig.io.clock.advance_us(2_000);
        rig.settle();
        assert_eq!(rig.taken(client), 50 * 14);
    });
    rig.assert_rest(2);
}

/// A message is made once, with its bytes and the count of those who share them; sending it costs nothing.
#[test]
fn messages_allocate_when_they_are_made_and_not_when_they_are_sent() {
    let (mut rig, _, client, _) = slow();
    rig.send(client, &bare_hello());
    rig.taken(client);
    let teller = rig.connect(usize::MAX);
    let burst = frame(TELL, b"").repeat(20);
    counted("messages", 50, || {
        rig.send(teller, &burst);
        let output = &rig.io.pipes[client].output;
        assert_eq!((&output[..2], output.len()), (&MESSAGE.to_be_bytes()[..], 20 * (10 + 2 + 200)));
        rig.taken(client);
    });
    let info = allocation_counter::measure(|| {
        let message = Message::new("t", &[b'm'; 200]);
        std::hint::black_box((message.clone(), message.clone()));
    });
    assert_eq!(info.count_total, 2, "its bytes, and the count of its owners: {info:?}");
    rig.assert_rest(3);
}
