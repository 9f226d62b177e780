mod support;
use support::clerk::{Clerk, Drawer, large, numbered};
use support::client::{EXT, frame};
use support::hand::{Clock, Rig};
use std::time::Duration;
use tidegate::base::limits::Limits;
use tidegate::base::CloseReason;
use tidegate::session::Framing;
use tidegate::turn::{ListenerConfig, TurnConfig};
use tidegate::wire::Status;
use tidegate::metrics::Counter;

const PIPE: usize = 8 << 20;

fn rig(framing: Framing, limits: Limits, budget: usize) -> (Rig<Clerk>, Drawer) {
    let config = TurnConfig { limits, budget_bytes: budget, ..TurnConfig::alone(64, vec![ListenerConfig::new(framing)]) };
    let drawer = Drawer::default();
    let clock = Clock::new();
    let (c, d) = (clock.clone(), drawer.clone());
    (Rig::at(clock, config, PIPE, move || Clerk { clock: c.clone(), drawer: d.clone() }), drawer)
}

/// A answers late, B fails at once, C echo: on bare.
#[test]
fn bare_failure_behind_open() {
    let (mut rig, drawer) = rig(Framing::bare_frames(1000), Limits::default(), 64 << 20);
    let p = rig.connect(usize::MAX);
    rig.send(p, &[frame(1, b"dA"), frame(2, b"fB"), frame(3, b"eC")].concat());
    drawer.find(b"A").send(b"A");
    rig.settle();
    let got = rig.take(p);
    assert_eq!(got, frame(1, b"A"));
    assert!(rig.io.pipes[p].is_closed || rig.closes(CloseReason::RequestFailed) == 1 || rig.turn.open() == 1, "{:?}", rig.figures());
    rig.end(p);
    assert_eq!(rig.closes(CloseReason::RequestFailed), 1);
}

#[test]
fn bare_deferred_failure_behind_open() {
    let (mut rig, drawer) = rig(Framing::bare_frames(1000), Limits::default(), 64 << 20);
    let p = rig.connect(usize::MAX);
    rig.send(p, &[frame(1, b"dA"), frame(2, b"dB"), frame(3, b"dC")].concat());
    drawer.find(b"B").fail(Status::OVERLOADED, "no");
    rig.settle();
    drawer.find(b"A").send(b"A");
    drawer.find(b"C").send(b"C");
    rig.settle();
    assert_eq!(rig.take(p), frame(1, b"A"));
}

#[test]
fn bare_expiry() {
    let (mut rig, drawer) = rig(Framing::bare_frames(1000), Limits{request_deadline: Duration::from_secs(1), ..Limits::default()}, 64 << 20);
    let p = rig.connect(usize::MAX);
    rig.send(p, &[frame(1, b"dA"), frame(2, b"dB"), frame(3, b"dC")].concat());
    rig.pass(2000, 10);
    drawer.find(b"C").send(b"C");
    rig.settle();
    assert_eq!(rig.take(p), b"");
    rig.end(p);
    assert_eq!(rig.closes(CloseReason::RequestFailed), 1);
}

#[test]
fn answer_after_goaway_memory() {
    // a connection whose service began anew
    let (mut rig, drawer) = rig(Framing::frames(1000), Limits::default(), 64 << 20);
    let p = rig.connect(usize::MAX);
    rig.send(p, &frame(1, b"dA"));
    let q = rig.connect(usize::MAX);
    rig.send(q, &frame(1, b"p"));
    // Keep by default... 
    drawer.find(b"A").send(b"A");
    rig.settle();
    assert_eq!(rig.take(p), frame(1, b"A"));
}

#[test]
fn large_later_on_small_listener() {
    let (mut rig, drawer) = rig(Framing::frames(1000), Limits::default(), 64 << 20);
    let p = rig.connect(usize::MAX);
    rig.send(p, &frame(1, &numbered(b'l', 1 << 20)));
    assert_eq!(rig.taken(p), (1 << 20) + 10);
    rig.send(p, &frame(1, b"dA"));
    drawer.find(b"A").send(&large(1 << 20));
    rig.settle();
    assert_eq!(rig.taken(p), (1 << 20) + 10);
}

#[test]
fn head_with_held() {
    let (mut rig, drawer) = rig(Framing::frames(1 << 20), Limits::default(), 64 << 20);
    let p = rig.connect(usize::MAX);
    rig.send(p, &[frame(1, b"dA"), frame(1, &numbered(b'l', 1 << 20))].concat());
    drawer.find(b"A").send(&large(1 << 20));
    rig.settle();
    assert_eq!(rig.taken(p), 2 * ((1 << 20) + 10));
}

#[test]
fn burst_of_correlated() {
    let (mut rig, drawer) = rig(Framing::frames(1 << 20), Limits::default(), 64 << 20);
    let p = rig.connect(usize::MAX);
    for i in 0..40u8 {
        let block = [3, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, i];
        rig.send(p, &frame(EXT | 1, &[&block[..], b"d", &[i]].concat()));
    }
    for i in 0..40u8 { drawer.find(&[i]).send(&large(100_000)); }
    rig.settle();
    assert_eq!(rig.taken(p), 40 * (100_000 + 22));
}

#[test]
fn idle_after_pause() {
    let (mut rig, drawer) = rig(Framing::frames(1 << 20), Limits{ open_requests: 1, idle: Some(Duration::from_secs(5)), ..Limits::default()}, 64 << 20);
    let p = rig.connect(usize::MAX);
    rig.send(p, &frame(1, b"dA"));
    rig.pass(20_000, 100);
    drawer.find(b"A").send(b"A");
    rig.settle();
    assert_eq!(rig.taken(p), 11);
    rig.pass(5_100, 100);
    assert_eq!(rig.closes(CloseReason::Idle) + u64::from(rig.taken(p) > 0), 1);
}

#[test]
fn oversize_behind() {
    let (mut rig, drawer) = rig(Framing::frames(1 << 20), Limits::default(), 256 << 20);
    let p = rig.connect(usize::MAX);
    rig.send(p, &[frame(1, b"dA"), frame(1, &numbered(b'l', 5 << 20))].concat());
    println!("leased {}", rig.leased());
    drawer.find(b"A").send(b"A");
    rig.settle();
    println!("{} {}", rig.taken(p), rig.closes(CloseReason::SlowConsumer));
}

#[test]
fn ceiling() {
    let (mut rig, drawer) = rig(Framing::frames(1 << 20), Limits::default(), 8 << 20);
    let ps: Vec<_> = (0..10).map(|_| rig.connect(usize::MAX)).collect();
    for p in &ps {
        rig.send(*p, &[frame(1, b"dA"), frame(1, &numbered(b'l', 1 << 20))].concat());
    }
    println!("leased {} {:?}", rig.leased(), rig.figures());
    let q = rig.connect(usize::MAX);
    rig.send(q, &frame(1, b"ehello"));
    println!("{}", rig.taken(q));
    rig.pass(1000, 1);
    println!("{}", rig.taken(q));
    println!("leased {} {:?}", rig.leased(), rig.figures());
    for p in &ps { if !rig.io.pipes[*p].is_closed { drawer.find(b"A").send(b"A"); } }
    rig.settle();
    println!("{} {:?}", rig.leased(), rig.figures().counter(Counter::Evicted));
    for p in &ps { println!("{}", rig.taken(*p)); }
}
