//! Large replies behind one slow request: bounded for each connection and in all, told in their places when they don't
//! fit, given back at the end, and no harm to those who behave.

mod support;

use bytes::Bytes;
use std::time::Duration;
use support::clerk::{Clerk, Drawer, large, numbered};
use support::client::{Client, ECHO, ERROR, EXT, frame};
use support::extended::{OUTCOME_UNKNOWN, correlated};
use support::hand::{Clock, Rig};
use support::parking::Parking;
use support::serving::{Neighbour, Serving, builder};
use support::{pattern, wait_until};
use tidegate::base::limits::{FAILURE_BYTES_SPARE, Limits, OPEN_REQUESTS_MAX};
use tidegate::base::{CloseReason, limits};
use tidegate::metrics::{Counter, Gauge, Outcome};
use tidegate::service::{Cx, Frame, Peer, Replied, Reply, Service};
use tidegate::session::Framing;
use tidegate::turn::{ListenerConfig, TurnConfig};

const WIDE: usize = usize::MAX;
const MIB: usize = 1 << 20;
const PAYLOAD_MAX: u32 = 1 << 20;

fn rig(budget_bytes: usize, limits: Limits) -> (Rig<Clerk>, Drawer) {
    let listener = ListenerConfig::new(Framing::frames(PAYLOAD_MAX));
    let config = TurnConfig { limits, budget_bytes, ..TurnConfig::alone(1_000, vec![listener]) };
    let (clock, drawer) = (Clock::new(), Drawer::default());
    let clerk = Clerk::new(&clock, &drawer);
    (Rig::at(clock, config, 4 * MIB, clerk), drawer)
}

/// The most that may wait behind the open requests of one connection, in bytes.
fn hard() -> u64 {
    u64::from(Limits::default().output_high_bytes) + u64::from(PAYLOAD_MAX) + 10
}

/// Reads a frame at the front.
fn next(rest: &mut &[u8]) -> (u16, Vec<u8>) {
    let header = u16::from_be_bytes([rest[0], rest[1]]);
    let length = u32::from_be_bytes([rest[2], rest[3], rest[4], rest[5]]) as usize;
    let (whole, behind) = rest.split_at(length + 10);
    assert_eq!(whole, frame(header, &whole[6..length + 6]), "its checksum");
    *rest = behind;
    (header, whole[6..length + 6].to_vec())
}

/// 1,023 replies of 1 MiB behind one slow slot: what fits is held, all others fail in their places.
#[test]
fn a_thousand_large_answers_behind_a_slow_one_are_bounded() {
    const BEHIND: u32 = 1_023;
    let (mut rig, drawer) = rig(256 << 20, Limits { open_requests: OPEN_REQUESTS_MAX, ..Limits::default() });
    let client = rig.connect(WIDE);
    rig.send(client, &frame(1, b"dslow"));
    for number in 0..BEHIND {
        rig.send(client, &frame(1, &numbered(b'd', number)));
    }
    assert_eq!(rig.figures().gauge(Gauge::InFlight), u64::from(BEHIND) + 1);
    let answer = large(MIB);
    for number in 0..BEHIND {
        drawer.find(&number.to_be_bytes()).send(&answer);
        rig.settle();
        assert!(rig.leased() <= 2 * hard(), "{} bytes at answer {number}", rig.leased());
    }
    assert_eq!(rig.taken(client), 0);
    drawer.find(b"slow").send(b"at last");
    rig.settle();
    let got = rig.take(client);
    let mut rest = &got[..];
    assert_eq!(next(&mut rest), (1, b"at last".to_vec()));
    assert!(next(&mut rest) == (1, answer), "the first fits");
    for number in 1..BEHIND {
        let (header, payload) = next(&mut rest);
        assert_eq!((header, &payload[..2]), (ERROR, &OUTCOME_UNKNOWN.to_be_bytes()[..]), "reply {number}");
    }
    assert!(rest.is_empty());
    let figures = rig.figures();
    assert_eq!((figures.outcome(Outcome::Answered), figures.outcome(Outcome::Failed)), (2, 1_022));
    rig.assert_rest(1);
    rig.send(client, &frame(1, b"eon"));
    assert_eq!(rig.take(client), frame(1, b"eon"), "and it goes on");
}

/// Replies given at once pause reading before there are too many, so that none is lost.
#[test]
fn large_replies_at_once_behind_a_slow_one_pause_reading_and_none_is_lost() {
    let (mut rig, drawer) = rig(256 << 20, Limits::default());
    let client = rig.connect(WIDE);
    let request = frame(1, &numbered(b'l', PAYLOAD_MAX));
    rig.send(client, &[frame(1, b"dslow"), request.repeat(30)].concat());
    assert_eq!((drawer.seen(), rig.figures().counter(Counter::PausedOutput)), (2, 1));
    assert!(rig.leased() <= hard() + 4096, "{} bytes", rig.leased());
    drawer.find(b"slow").send(b"slow");
    let mut replies = 0;
    let reply = frame(1, &large(MIB));
    let first = frame(1, b"slow");
    for round in 0..31 {
        rig.one_turn();
        let got = rig.take(client);
        let got = if round == 0 { got.strip_prefix(&first[..]).expect("in order").to_vec() } else { got };
        assert!(got.chunks(reply.len()).all(|whole| whole == reply), "round {round}");
        replies += got.len() / reply.len();
    }
    assert_eq!(replies, 30);
    rig.assert_rest(1);
}

/// Far more connections than a budget has room for, each with 1 MiB behind a slow request.
#[test]
fn many_connections_with_held_replies_stay_in_the_budget() {
    const BUDGET_BYTES: usize = 16 << 20;
    const HOLDERS: usize = 40;
    let (mut rig, drawer) = rig(BUDGET_BYTES, Limits::default());
    let polite: Vec<usize> = (0..5).map(|_| rig.connect(WIDE)).collect();
    let holders: Vec<usize> = (0..HOLDERS).map(|_| rig.connect(WIDE)).collect();
    for holder in &holders {
        rig.send(*holder, &[frame(1, b"dslow"), frame(1, b"dlarge"), frame(1, b"esmall")].concat());
    }
    for _ in &holders {
        drawer.find(b"large").send(&large(MIB));
        rig.settle();
        assert!(rig.leased() <= BUDGET_BYTES as u64);
    }
    assert!(rig.leased() > BUDGET_BYTES as u64 / 4, "only {} bytes: this shows nothing", rig.leased());
    for round in 0..20_u32 {
        let small = frame(1, &numbered(b'e', round));
        polite.iter().for_each(|client| rig.send(*client, &small));
        rig.pass(20, 1);
        for client in &polite {
            assert_eq!(rig.take(*client), small, "round {round}");
        }
    }
    for _ in &holders {
        drawer.find(b"slow").send(b"slow");
    }
    rig.settle();
    let mut held = 0;
    for holder in &holders {
        let got = rig.take(*holder);
        let mut rest = &got[..];
        assert_eq!(next(&mut rest), (1, b"slow".to_vec()));
        let (header, payload) = next(&mut rest);
        if header == ERROR {
            assert_eq!(payload[..2], OUTCOME_UNKNOWN.to_be_bytes());
        } else {
            assert!((header, payload) == (1, large(MIB)));
            held += 1;
        }
        assert_eq!(next(&mut rest), (1, b"esmall".to_vec()));
        assert!(rest.is_empty());
    }
    assert!((1..HOLDERS).contains(&held), "{held} of {HOLDERS} were held");
    assert_eq!((rig.turn.open(), rig.figures().counter(Counter::Evicted)), (HOLDERS + 5, 0));
    rig.assert_rest(HOLDERS + 5);
}

/// Nobody can send anything any more for what others hold: somebody of these is ended, not somebody who waits.
#[test]
fn who_holds_all_memory_behind_slow_requests_is_ended_for_those_who_wait() {
    // Ten leases of 4 KiB for output, and two from the reserve.
    let (mut rig, drawer) = rig(100 << 10, Limits::default());
    let polite = rig.connect(WIDE);
    let holders: Vec<usize> = (0..12).map(|_| rig.connect(WIDE)).collect();
    for holder in &holders {
        rig.send(*holder, &[frame(1, b"dslow"), frame(1, b"dheld")].concat());
        drawer.find(b"held").send(b"held");
        rig.settle();
    }
    assert_eq!(rig.turn.leases_out(), holders.len());
    rig.send(polite, &frame(1, b"eme too"));
    assert_eq!(rig.taken(polite), 0, "there is no memory should its socket be full");
    rig.pass(150, 1);
    assert_eq!(rig.take(polite), frame(1, b"eme too"));
    let figures = rig.figures();
    assert_eq!((figures.counter(Counter::Evicted), figures.outcome(Outcome::Abandoned)), (1, 1));
    let ended: Vec<usize> = holders.iter().copied().filter(|holder| rig.taken(*holder) > 0).collect();
    assert_eq!(ended.len(), 1, "it is told");
    rig.end(ended[0]);
    assert_eq!(rig.closes(CloseReason::Memory), 1);
    holders.iter().for_each(|_| drawer.find(b"slow").send(b"slow"));
    rig.settle();
    for holder in holders.iter().filter(|holder| **holder != ended[0]) {
        assert_eq!(rig.take(*holder), [frame(1, b"slow"), frame(1, b"held")].concat());
    }
    assert_eq!(rig.figures().counter(Counter::LateAnswers), 1);
    rig.assert_rest(12);
}

/// Short of memory, a request that would be answered at once behind a slow one waits, and is not done in vain.
#[test]
fn a_request_whose_reply_could_not_be_held_waits() {
    let (mut rig, drawer) = rig(100 << 10, Limits::default());
    let hogs: Vec<usize> = (0..11).map(|_| rig.connect(0)).collect();
    hogs.iter().for_each(|hog| rig.send(*hog, &frame(1, b"e")));
    let client = rig.connect(WIDE);
    let burst: Vec<Vec<u8>> =
        (0..6).map(|number| frame(1, &[&[b'e'; 1_000][..], &[number]].concat())).collect();
    let before = drawer.seen();
    rig.send(client, &[&frame(1, b"dslow"), &burst.concat()[..]].concat());
    assert_eq!(drawer.seen() - before, 1 + 4, "4 KiB hold four of them");
    rig.pass(50, 1);
    assert_eq!(drawer.seen() - before, 1 + 4);
    hogs.iter().for_each(|hog| rig.reset(*hog));
    rig.pass(3, 1);
    assert_eq!(drawer.seen() - before, 1 + 6);
    drawer.find(b"slow").send(b"slow");
    rig.settle();
    assert!(rig.take(client) == [&frame(1, b"slow"), &burst.concat()[..]].concat());
    rig.assert_rest(1);
}

/// At the ceiling, with a socket that is wide open: what was held comes out whole.
#[test]
fn held_replies_leave_whole_when_there_is_no_memory_beside_them() {
    // 1,677,720 bytes for output: one lease of 1 MiB and little else.
    let (mut rig, drawer) = rig(4 << 20, Limits::default());
    let client = rig.connect(WIDE);
    rig.send(client, &frame(1, b"dslow"));
    (0..4).for_each(|number| rig.send(client, &frame(1, &[b'd', number])));
    for number in 0..4 {
        drawer.find(&[number]).send(&large(300_000));
        rig.settle();
    }
    drawer.find(b"slow").send(&large(300_000));
    rig.settle();
    let got = rig.take(client);
    let mut rest = &got[..];
    let mut whole = 0;
    while !rest.is_empty() {
        let (header, payload) = next(&mut rest);
        if header == ERROR {
            assert_eq!(payload[..2], OUTCOME_UNKNOWN.to_be_bytes());
        } else {
            assert!(payload == large(300_000));
            whole += 1;
        }
    }
    assert!(whole >= 3, "{whole} of 5 came");
    assert_eq!(rig.turn.open(), 1);
    rig.assert_rest(1);
}

/// The short texts of failures have room beyond every limit.
#[test]
fn failures_behind_a_slow_request_always_fit_their_spare_room() {
    let (mut rig, drawer) = rig(64 << 20, Limits::default());
    let client = rig.connect(0);
    let requests: Vec<u8> = (0..127).flat_map(|id| correlated(1, id, b"f")).collect();
    rig.send(client, &[frame(1, b"dslow"), requests, frame(1, b"f").repeat(126)].concat());
    assert!(rig.leased() <= u64::from(FAILURE_BYTES_SPARE));
    drawer.find(b"slow").send(b"slow");
    rig.make_room(client, WIDE);
    rig.settle();
    let got = rig.take(client);
    let (mut rest, mut correlated, mut ordered) = (&got[..], 0, 0);
    while !rest.is_empty() {
        match next(&mut rest).0 {
            ERROR => ordered += 1,
            header if header == EXT | 1 => correlated += 1,
            header => assert_eq!((header, ordered), (1, 0), "the slow one comes before what waited for it"),
        }
    }
    assert_eq!((correlated, ordered), (127, 126));
    rig.assert_rest(1);
}

/// Echoes on the neighbour's route, and answers all others when it is told to.
struct Mixed(Parking);

impl Service for Mixed {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn on_frame(&mut self, conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        match frame.route() {
            ECHO => reply.forward(frame.whole()),
            _ => self.0.on_frame(conn, frame, reply, cx),
        }
    }
}

/// The same over sockets: hundreds of megabytes are answered behind slow requests, and a neighbour is served all along.
#[test]
fn a_small_server_holds_what_it_can_and_serves_its_neighbours() {
    const BUDGET_BYTES: usize = 8 << 20;
    const HOLDERS: usize = 12;
    const BEHIND: usize = 30;
    let parking = Parking::default();
    let service = parking.clone();
    let limits = Limits { request_deadline: Duration::from_secs(60), ..Limits::default() };
    let running =
        builder().limits(limits).memory(BUDGET_BYTES).shards(1).start(move || Mixed(service.clone()));
    let serving = Serving::of(running.expect("a server"));
    let neighbour = Neighbour::of(serving.frames());
    let mut clients: Vec<Client> = (0..HOLDERS).map(|_| serving.connect()).collect();
    clients.iter_mut().for_each(|client| client.request(5, b"slow"));
    let slow = parking.take(HOLDERS);
    for client in &mut clients {
        client.send(&frame(5, b"large").repeat(BEHIND));
    }
    let answer = Bytes::from(pattern(1, MIB));
    for parked in parking.take(HOLDERS * BEHIND) {
        parked.later.share(answer.clone());
    }
    serving.wait_for("all but the slow ones are over", |now| {
        let leased =
            now.gauge(Gauge::OutputBytes) + now.gauge(Gauge::InputBytes) + now.gauge(Gauge::ReserveBytes);
        assert!(leased <= BUDGET_BYTES as u64, "{leased} bytes");
        now.gauge(Gauge::InFlight) == HOLDERS as u64
    });
    neighbour.still_served();
    slow.into_iter().for_each(|parked| parked.later.send(b"at last"));
    let mut held = 0;
    for client in &mut clients {
        client.expect(5, b"at last");
        for _ in 0..BEHIND {
            let got = client.receive();
            if got.header == ERROR {
                assert_eq!(got.status(), OUTCOME_UNKNOWN);
            } else {
                assert!(got.payload == answer);
                held += 1;
            }
        }
    }
    assert!((1..=HOLDERS).contains(&held), "{held} replies were held");
    neighbour.leave();
    serving.wait_for_rest(HOLDERS as u64);
    wait_until("nothing is in flight", || serving.snapshot().gauge(Gauge::InFlight) == 0);
    drop(clients);
    serving.wait_for_rest(0);
    assert_eq!(serving.snapshot().closes(CloseReason::SlowConsumer), 0);
    assert_eq!(limits::OPEN_REQUESTS, 128);
    serving.end();
}
