//! Single cases on the simulated kernel, driven by hand: each of them once was somebody's bug.

#[allow(dead_code, reason = "each test file uses a part of it")]
#[path = "sim/rig.rs"]
mod rig;

use rig::{ACK, ECHO, Rig, WIDE, config, frame, limits};
use std::panic::resume_unwind;
use std::time::Duration;
use tidegate::base::CloseReason;
use tidegate::base::limits::{BUDGET_BYTES_MIN, Limits};
use tidegate::metrics::{Counter, Outcome};
use tidegate::service::{AfterPanic, BuiltIn, Cx, Frame, Peer, Replied, Reply, Router, Service};
use tidegate::sim::{Capacity, Remote, StreamEnd, Weather};

fn ack() -> Vec<u8> {
    frame(ACK, BuiltIn::ACK.as_bytes())
}

/// Frames of which the `k`th has a reply that does not fit, so that reading stops behind it.
fn frames_with_large(k: usize, n: usize) -> Vec<u8> {
    (0..n).flat_map(|at| frame(ECHO, &vec![b'a'; if at == k { 100_000 } else { 10 + at }])).collect()
}

#[test]
fn stopped_at_any_frame_by_output_all_are_answered_without_more_input() {
    let n = 8;
    for k in 0..n {
        let mut rig = Rig::new();
        let remote = rig.connect(Capacity { down: 6_000, ..WIDE });
        let sent = frames_with_large(k, n);
        rig.send(remote, &sent);
        rig.settle();
        assert_eq!(rig.figures().counter(Counter::PausedOutput), 1, "case: {k}");
        assert_eq!(rig.figures().counter(Counter::Started), k as u64 + 1, "case: {k}");
        assert!(rig.receive_all(remote) == sent, "case: {k}");
        assert_eq!(rig.turn.leases_out(), 0, "case: {k}");
    }
}

#[test]
fn stopped_at_any_frame_by_memory_all_are_answered_without_more_input() {
    let n = 8;
    for k in 0..n {
        // Twelve small leases of output in all, each held by somebody who reads nothing.
        let mut rig = Rig::with(Router::embedded, config(100 << 10, limits()), Weather::calm());
        let remote = rig.connect(WIDE);
        let sent: Vec<Vec<u8>> = (0..n).map(|at| frame(ECHO, &[b'b'; 20][..at + 1])).collect();
        rig.send(remote, &sent[..k].concat());
        assert!(rig.receive_all(remote) == sent[..k].concat(), "case: {k}");
        let hogs: Vec<Remote> = (0..20).map(|_| rig.connect(Capacity { down: 1, ..WIDE })).collect();
        for hog in &hogs {
            rig.send(*hog, &frame(ACK, b""));
            rig.settle();
        }
        let paused_before = rig.figures().counter(Counter::PausedMemory);
        rig.send(remote, &sent[k..].concat());
        rig.settle();
        assert_eq!(rig.figures().counter(Counter::PausedMemory), paused_before + 1, "case: {k}");
        hogs.iter().for_each(|hog| rig.io.reset(*hog));
        rig.pass(5);
        assert!(rig.receive_all(remote) == sent[k..].concat(), "case: {k}");
        assert_eq!((rig.turn.leases_out(), rig.figures().counter(Counter::Evicted)), (0, 0), "case: {k}");
    }
}

/// Its reply may find no memory: the request waits, it does not cost its connection.
#[test]
fn a_request_waits_until_its_reply_can_be_queued() {
    let mut rig = Rig::with(Router::embedded, config(1 << 20, limits()), Weather::calm());
    let large = frame(ECHO, &[b'l'; 100_000]);
    // Three hogs take most of the 400 KiB for output and read nothing; nobody else's reply of this size fits.
    let hogs: Vec<Remote> = (0..3).map(|_| rig.connect(Capacity { down: 1, ..WIDE })).collect();
    for hog in &hogs {
        rig.send(*hog, &large);
        rig.settle();
    }
    let waiting = rig.connect(Capacity { down: 1_000, ..WIDE });
    rig.send(waiting, &large);
    rig.settle();
    assert_eq!(rig.figures().counter(Counter::PausedMemory), 1);
    assert_eq!(rig.figures().closes(CloseReason::Memory), 0);
    hogs.iter().for_each(|hog| rig.io.reset(*hog));
    rig.pass(5);
    assert!(rig.receive_all(waiting) == large);
    assert_eq!((rig.turn.leases_out(), rig.figures().counter(Counter::Evicted)), (0, 0));
}

#[test]
fn hang_up_with_more_than_the_scratch_is_answered_whole_then_ended() {
    let mut rig = Rig::new();
    let remote = rig.connect(WIDE);
    let sent: Vec<u8> = (0..900_u32).flat_map(|at| frame(ECHO, &at.to_be_bytes().repeat(200))).collect();
    assert!(sent.len() > 2 * tidegate::base::limits::SCRATCH_BYTES);
    rig.send(remote, &sent);
    rig.io.shut(remote);
    assert!(rig.receive_all(remote) == sent, "all of it, in order");
    assert_eq!(rig.io.stream_end(remote), StreamEnd::End);
    assert_eq!(rig.figures().closes(CloseReason::PeerClosed), 1);
}

#[test]
fn a_half_closed_client_that_was_paused_still_gets_its_replies() {
    for k in 0..8 {
        let mut rig = Rig::new();
        let remote = rig.connect(Capacity { down: 6_000, ..WIDE });
        let sent = frames_with_large(k, 8);
        rig.send(remote, &sent);
        rig.io.shut(remote);
        rig.leap(3);
        assert!(rig.receive_all(remote) == sent, "case: {k}");
        assert_eq!(rig.io.stream_end(remote), StreamEnd::End, "case: {k}");
        assert_eq!((rig.turn.open(), rig.turn.leases_out()), (0, 0), "case: {k}");
    }
}

#[test]
fn bytes_that_came_during_a_pause_are_read_when_it_ends() {
    let mut rig = Rig::new();
    let remote = rig.connect(Capacity { down: 6_000, ..WIDE });
    let (large, late) = (frame(ECHO, &[b'c'; 100_000]), frame(ECHO, b"late").repeat(50));
    rig.send(remote, &large);
    rig.settle();
    rig.send(remote, &late);
    rig.settle();
    assert_eq!(rig.figures().counter(Counter::Started), 1, "nothing is read during the pause");
    assert!(rig.receive_all(remote) == [large, late].concat(), "its edge is long over");
}

#[test]
fn an_event_of_an_earlier_owner_does_not_touch_the_slot_s_next() {
    let weather = Weather { stale: 1_000, ..Weather::calm() };
    let mut rig = Rig::with(Router::embedded, config(64 << 20, limits()), weather);
    for _ in 0..20 {
        let first = rig.io.connect(0, WIDE);
        rig.turn();
        rig.io.reset(first);
        rig.turn();
        let second = rig.connect(WIDE);
        rig.send(second, &frame(ECHO, b"mine"));
        assert_eq!(rig.receive_all(second), frame(ECHO, b"mine"));
        rig.io.hang_up(second);
        rig.settle();
    }
    let seen = rig.figures();
    assert!(seen.counter(Counter::StaleEvents) >= 20, "{}", seen.counter(Counter::StaleEvents));
    assert_eq!((seen.closes(CloseReason::Reset), seen.closes(CloseReason::PeerClosed)), (20, 20));
}

#[test]
fn out_of_descriptors_accepting_resumes_after_one_close() {
    let weather = Weather { has_spare: false, ..Weather::calm() };
    let mut rig = Rig::with(Router::embedded, config(64 << 20, limits()), weather);
    rig.io.set_descriptors_left(Some(1));
    let [first, second, third] = [(); 3].map(|()| rig.connect(WIDE));
    rig.send(second, &frame(ECHO, b"2"));
    rig.send(third, &frame(ECHO, b"3"));
    let turns = rig.figures().counter(Counter::Turns);
    for _ in 0..1_000 {
        rig.io.advance_us(10_000);
        rig.settle();
    }
    // 10 s of waiting: tried again now and then, at most every 10 ms at first, and each leap was one turn.
    assert!(rig.figures().counter(Counter::AcceptExhausted) < 30);
    assert!(rig.figures().counter(Counter::Turns) - turns < 1_100, "no spin");
    assert_eq!(rig.turn.open(), 1);
    rig.io.hang_up(first);
    assert_eq!(rig.receive_all(second), frame(ECHO, b"2"), "served at once");
    rig.io.hang_up(second);
    assert_eq!(rig.receive_all(third), frame(ECHO, b"3"));
}

#[test]
fn newcomers_are_told_by_the_spare_descriptor() {
    let mut rig = Rig::new();
    rig.io.set_descriptors_left(Some(0));
    let remote = rig.connect(WIDE);
    let told = rig.receive_all(remote);
    assert_eq!((&told[..2], &told[6..8]), (&[0x40, 0x05][..], &[0, 5][..]), "GOAWAY OVERLOADED");
    assert_eq!(rig.io.stream_end(remote), StreamEnd::End);
    assert_eq!(rig.figures().counter(Counter::RefusedDescriptors), 1);
}

#[test]
fn a_paused_peer_is_not_closed_for_our_pause() {
    let five = Duration::from_secs(5);
    let limits = Limits { frame_deadline: five, idle: Some(five), ..limits() };
    let mut rig = Rig::with(Router::embedded, config(64 << 20, limits), Weather::calm());
    let remote = rig.connect(Capacity { down: 6_000, ..WIDE });
    // Behind the reply that does not fit lies half a frame: its deadline must stand still, and so must idleness.
    let next = frame(ECHO, b"in two halves");
    let large = frame(ECHO, &[b'd'; 100_000]);
    rig.send(remote, &large);
    rig.send(remote, &next[..9]);
    rig.leap(20);
    let mut got = rig.receive_all(remote);
    rig.leap(1);
    rig.send(remote, &next[9..]);
    got.extend(rig.receive_all(remote));
    assert!(got == [large, next].concat(), "{} bytes", got.len());
    assert_eq!(rig.turn.open(), 1);
    // Five seconds, and the linger, since this client does not close.
    rig.leap(8);
    assert_eq!(rig.figures().closes(CloseReason::Idle), 1, "without a pause it is closed");
}

#[test]
fn four_budgets_of_half_sent_frames_starve_nobody_well_behaved() {
    let mut rig = Rig::with(Router::embedded, config(BUDGET_BYTES_MIN, limits()), Weather::calm());
    let polite: Vec<Remote> = (0..8).map(|_| rig.connect(WIDE)).collect();
    let large = frame(ECHO, &vec![b'e'; 1 << 20]);
    for _ in 0..32 {
        let hog = rig.connect(WIDE);
        rig.send(hog, &large[..large.len() / 2]);
        rig.settle();
    }
    for round in 0..30_u32 {
        let small = frame(ECHO, &round.to_be_bytes());
        polite.iter().for_each(|remote| rig.send(*remote, &small));
        rig.pass(200);
        for (at, remote) in polite.iter().enumerate() {
            assert_eq!(rig.io.receive(*remote, usize::MAX), small, "round {round}, client {at}");
        }
    }
    let seen = rig.figures();
    assert!(seen.closes(CloseReason::Memory) > 20, "{} greedy ones went", seen.closes(CloseReason::Memory));
    assert_eq!(seen.closes_total(), seen.closes(CloseReason::Memory), "and nobody else");
}

/// The replies that a reset left behind in the loop must not reach whoever is visited next.
#[test]
fn replies_of_a_batch_whose_write_failed_reach_nobody_else() {
    let mut rig = Rig::new();
    let [first, second] = [(); 2].map(|()| rig.connect(WIDE));
    rig.send(first, &frame(ECHO, b"the first one's"));
    rig.io.deliver_all();
    rig.io.reset(first);
    rig.send(second, &frame(ECHO, b"the second one's"));
    assert!(rig.receive_all(second) == frame(ECHO, b"the second one's"));
    assert_eq!(rig.figures().closes(CloseReason::Reset), 1);
}

/// A client that goes on sending behind its last message keeps the server from closing at once, or its kernel
/// would destroy the last words.
#[test]
fn last_words_survive_what_comes_behind_a_fault() {
    let mut rig = Rig::new();
    let remote = rig.connect(WIDE);
    let mut bad = frame(ECHO, b"never answered");
    bad[8] ^= 1;
    rig.send(remote, &[frame(ECHO, b"answered"), bad].concat());
    rig.settle();
    rig.send(remote, &[0; 5_000]);
    let got = rig.receive_all(remote);
    assert!(got.starts_with(&frame(ECHO, b"answered")));
    let told = &got[frame(ECHO, b"answered").len()..];
    assert_eq!((&told[..2], &told[6..8]), (&[0x40, 0x05][..], &[0, 1][..]), "GOAWAY PROTOCOL");
    assert_eq!(rig.io.stream_end(remote), StreamEnd::End);
    rig.leap(3);
    assert_eq!((rig.turn.open(), rig.figures().closes(CloseReason::BadCrc)), (0, 1));
}

/// The grace of a drain ends long after a connection that ended in the drain's first turn was buried.
#[test]
fn a_drain_in_the_turn_of_a_close_leaves_no_timer_behind() {
    let mut rig = Rig::new();
    let stays = rig.connect(Capacity { down: 100, ..WIDE });
    rig.send(stays, &frame(ECHO, &[b'f'; 10_000]));
    let goes = rig.connect(WIDE);
    rig.io.reset(goes);
    rig.io.deliver_all();
    let events = rig.io.poll();
    rig.turn.begin(rig.io.clock());
    for (token, ready) in events {
        rig.turn.handle_event(&mut rig.io, token, ready);
    }
    let until = rig.io.clock().ms().plus(2_000);
    rig.turn.begin_drain(&mut rig.io, until);
    rig.turn.end(&mut rig.io);
    assert_eq!(rig.turn.open(), 1, "one takes nothing and has the grace");
    rig.leap(3);
    assert!(rig.turn.is_drained());
    assert_eq!(rig.figures().closes(CloseReason::DrainForced), 1);
}

/// Panics in one callback, or in all.
struct Fragile {
    at: &'static str,
    after: AfterPanic,
}

impl Fragile {
    fn reach(&self, callback: &str) {
        if self.at == callback || self.at == "everywhere" {
            // No hook sees this, so nothing is printed.
            resume_unwind(Box::new("as planned"));
        }
    }
}

impl Service for Fragile {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {
        self.reach("open");
    }

    fn on_frame(&mut self, _conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, _cx: &mut Cx<'_>) -> Replied {
        if frame.payload() == b"die" {
            self.reach("frame");
        }
        BuiltIn::Ack.handle(frame, reply)
    }

    fn on_close(&mut self, _conn: &mut (), _why: CloseReason, _cx: &mut Cx<'_>) {
        self.reach("close");
    }

    fn on_panic(&mut self) -> AfterPanic {
        self.reach("panic");
        self.after
    }
}

#[test]
fn a_panic_in_any_callback_stays_with_its_request_or_its_connection() {
    use AfterPanic::{Keep, Rebuild};
    for at in ["open", "frame", "close", "panic", "everywhere"] {
        for after in [Keep, Rebuild] {
            let make = move || Fragile { at, after };
            let mut rig = Rig::with(make, config(64 << 20, limits()), Weather::calm());
            let [one, two] = [(); 2].map(|()| rig.connect(WIDE));
            for remote in [one, two] {
                rig.send(remote, &frame(ACK, b"live"));
                rig.send(remote, &frame(ACK, b"die"));
                rig.send(remote, &frame(ACK, b"live"));
            }
            let got = rig.receive_all(one);
            let is_open = !matches!(at, "open" | "everywhere");
            assert_eq!(got.starts_with(&ack()), is_open, "case: {at} {after:?}");
            [one, two].into_iter().for_each(|remote| rig.io.hang_up(remote));
            rig.leap(3);
            let seen = rig.figures();
            assert_eq!((rig.turn.open(), rig.turn.leases_out()), (0, 0), "case: {at} {after:?}");
            assert!(seen.balances(), "case: {at} {after:?}");
            let started = seen.counter(Counter::Started);
            let panicked = if at == "frame" { started / 3 } else { 0 };
            assert_eq!(seen.outcome(Outcome::Panicked) > 0, panicked > 0, "case: {at} {after:?}");
            let rebuilt = u64::from(at == "frame" && after == Rebuild) * 2;
            assert!(seen.closes(CloseReason::Panicked) <= rebuilt, "case: {at} {after:?}");
        }
    }
}
