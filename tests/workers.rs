//! Handlers whose work is too slow for the loop: a pool of threads does it, bounded, in time, and to the end of a drain.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use support::client::{Client, DRAINING, ECHO, ERROR, INTERNAL, OVERLOADED};
use support::serving::{Gate, Serving, builder};
use support::{PATIENCE, pattern, wait_until};
use tidegate::Status;
use tidegate::base::limits::Limits;
use tidegate::metrics::{Counter, Outcome as Ended};
use tidegate::server::WorkerFigures;
use tidegate::service::{Frame, Outcome, Replied, Reply};

const SLOW: u16 = 20;
const GATED: u16 = 21;
const PANIC: u16 = 22;
const FAIL: u16 = 23;

/// `OUTCOME_UNKNOWN` and `DEADLINE_EXCEEDED`: whether it is told by the loop or by the worker is a race.
const LATE: [u16; 2] = [7, 8];

/// Offloads everything but echoes; counts what is run.
fn handler(
    gate: &Gate,
    run: &Arc<AtomicU64>,
) -> impl FnMut(Frame<'_>, Reply<'_>) -> Replied + Clone + Send + use<> {
    let (gate, run) = (gate.clone(), Arc::clone(run));
    move |frame, reply| {
        if frame.route() == ECHO {
            return reply.forward(frame.whole());
        }
        let (gate, run) = (gate.clone(), Arc::clone(&run));
        let (route, payload) = (frame.route(), frame.payload().to_vec());
        reply.offload(move || {
            run.fetch_add(1, Relaxed);
            match route {
                GATED => gate.wait(),
                PANIC => panic!("asked to"),
                FAIL => return Outcome::Fail(Status::FORBIDDEN, "not you".to_owned()),
                _ => std::thread::sleep(Duration::from_millis(2)),
            }
            Outcome::from(payload)
        })
    }
}

struct Rig {
    serving: Serving,
    gate: Gate,
    run: Arc<AtomicU64>,
}

/// A server of two loops with so many workers, so many jobs that may wait, and these limits.
fn rig(threads: u16, waiting: usize, limits: Limits) -> Rig {
    let (gate, run) = (Gate::default(), Arc::new(AtomicU64::new(0)));
    let builder = builder().shards(2).workers(threads, waiting).limits(limits);
    let serving = Serving::of(builder.start_fn(handler(&gate, &run)).expect("a server"));
    Rig { serving, gate, run }
}

fn figures(serving: &Serving) -> WorkerFigures {
    serving.handle.workers()
}

#[test]
fn slow_work_is_answered_in_order_and_disturbs_nobody() {
    let Rig { serving, run, .. } = rig(3, 1000, Limits::default());
    let mut clients: Vec<Client> = (0..8).map(|_| serving.connect()).collect();
    for (number, client) in (0..).zip(&mut clients) {
        for step in 0..20 {
            client.request(SLOW, &pattern(number * 100 + step, 200));
        }
        client.request(ECHO, b"behind them");
    }
    let mut other = serving.connect();
    other.echo(b"at once");
    for (number, client) in (0..).zip(&mut clients) {
        for step in 0..20 {
            client.expect(SLOW, &pattern(number * 100 + step, 200));
        }
        client.expect(ECHO, b"behind them");
    }
    wait_until("the last job is booked", || figures(&serving).running == 0);
    assert_eq!(
        (run.load(Relaxed), figures(&serving)),
        (160, WorkerFigures { run: 160, ..WorkerFigures::default() })
    );
    drop((clients, other));
    serving.end();
}

#[test]
fn more_than_may_wait_is_refused_at_once() {
    let Rig { serving, gate, run } = rig(1, 2, Limits::default());
    let mut client = serving.connect();
    client.request(GATED, b"first");
    gate.wait_for_handler();
    (0..2).for_each(|_| client.request(SLOW, b"waits"));
    wait_until("both wait", || figures(&serving).waiting == 2);
    client.request(SLOW, b"one too many");
    wait_until("it was refused", || figures(&serving).refused == 1);
    gate.open();
    client.expect(GATED, b"first");
    (0..2).for_each(|_| client.expect(SLOW, b"waits"));
    client.expect_error(OVERLOADED);
    client.echo(b"served on");
    assert_eq!(run.load(Relaxed), 3);
    drop(client);
    serving.end();
}

#[test]
fn panics_and_failures_are_told_and_the_workers_live_on() {
    let Rig { serving, .. } = rig(1, 100, Limits::default());
    let mut client = serving.connect();
    for _ in 0..3 {
        client.request(PANIC, b"");
        client.expect_error(INTERNAL);
        client.request(FAIL, b"");
        let got = client.receive();
        assert_eq!((got.header, got.status(), got.text()), (ERROR, 3, "not you"));
        client.request(SLOW, b"still there");
        client.expect(SLOW, b"still there");
    }
    assert_eq!(figures(&serving).panicked, 3);
    assert_eq!(serving.snapshot().outcome(Ended::Dropped), 3);
    drop(client);
    serving.end();
}

#[test]
fn work_past_its_deadline_is_not_started() {
    let limits = Limits { request_deadline: Duration::from_millis(200), ..Limits::default() };
    let Rig { serving, gate, run } = rig(1, 10, limits);
    let mut client = serving.connect();
    client.request(GATED, b"holds the worker");
    gate.wait_for_handler();
    client.request(SLOW, b"comes too late");
    for _ in 0..2 {
        let got = client.receive();
        assert!(got.header == ERROR && LATE.contains(&got.status()), "{got:?}");
    }
    gate.open();
    wait_until("the second was looked at", || figures(&serving).expired == 1);
    assert_eq!(run.load(Relaxed), 1, "it was not started");
    client.request(SLOW, b"in time");
    client.expect(SLOW, b"in time");
    serving.wait_for("answers that came late are counted", |now| now.counter(Counter::LateAnswers) == 2);
    drop(client);
    serving.end();
}

#[test]
fn without_workers_every_job_is_refused() {
    let (gate, run) = (Gate::default(), Arc::default());
    let serving = Serving::of(builder().start_fn(handler(&gate, &run)).expect("a server"));
    let mut client = serving.connect();
    client.request(SLOW, b"");
    client.expect_error(OVERLOADED);
    assert_eq!(figures(&serving), WorkerFigures::default());
    drop(client);
    serving.end();
}

#[test]
fn a_drain_waits_for_what_was_offloaded() {
    let Rig { serving, run, .. } = rig(2, 1000, Limits::default());
    let mut clients: Vec<Client> = (0..4).map(|_| serving.connect()).collect();
    for client in &mut clients {
        (0..50).for_each(|step| client.request(SLOW, &pattern(step, 50)));
    }
    serving.wait_for("all was received", |now| now.counter(Counter::Started) == 200);
    serving.handle.drain(PATIENCE);
    for client in &mut clients {
        (0..50).for_each(|step| client.expect(SLOW, &pattern(step, 50)));
        client.expect_goaway(DRAINING);
    }
    drop(clients);
    let report = serving.join();
    assert!(report.is_clean(), "{report}");
    assert_eq!(run.load(Relaxed), 200);
}

#[test]
fn what_takes_longer_than_the_grace_is_told() {
    let Rig { serving, gate, .. } = rig(1, 10, Limits::default());
    let mut client = serving.connect();
    client.request(GATED, b"for ever");
    gate.wait_for_handler();
    client.request(SLOW, b"never begun");
    wait_until("it waits", || figures(&serving).waiting == 1);
    serving.handle.drain(Duration::from_millis(300));
    let report = serving.join();
    assert!(!report.is_clean() && report.forced == 1 && report.lost >= 2, "{report}");
    gate.open();
    drop(client);
}

#[test]
fn workers_out_of_range_are_told() {
    for (threads, waiting, words) in
        [(0, 10, "worker threads"), (257, 10, "worker threads"), (1, 0, "jobs that may wait")]
    {
        let started = builder().workers(threads, waiting).start_fn(|_, reply| reply.none());
        let error = started.expect_err("out of range");
        assert!(error.to_string().contains(words), "{error}");
    }
}
