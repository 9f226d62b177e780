//! Replies that wait behind an open request: held in their places, counted as output, bounded, never lost; and what a
//! connection does meanwhile: pause, half-close, break the protocol, drain.

mod support;

use std::time::Duration;
use support::client::{Client, DRAINING, ERROR, GOAWAY, INTERNAL, PROTOCOL, frame};
use support::extended::{OK, OUTCOME_UNKNOWN, correlated, extended};
use support::parking::{AT_ONCE, Parked, Parking};
use support::serving::{Serving, builder};
use support::{PATIENCE, pattern, wait_until};
use tidegate::CloseReason;
use tidegate::base::limits::Limits;
use tidegate::metrics::{Counter, Gauge, Outcome};
use tidegate::server::{Listener, Server};
use tidegate::wire::Status;

/// A server whose requests are parked.
fn serve(limits: Limits) -> (Serving, Parking) {
    let parking = Parking::default();
    let service = parking.clone();
    (Serving::of(builder().limits(limits).start(move || service.clone()).expect("a server")), parking)
}

/// Nothing is open any more, and all is accounted for.
#[track_caller]
fn end(serving: Serving) {
    serving.wait_for("no request is open", |now| now.gauge(Gauge::InFlight) == 0);
    serving.wait_for_rest(0);
    serving.end();
}

fn answer(parked: Parked) {
    parked.later.send(&parked.payload);
}

// ---- behind a slow head -----------------------------------------------------------------------------------------

#[test]
fn correlated_replies_overtake_and_ordered_ones_wait_in_their_places() {
    let (serving, parking) = serve(Limits::default());
    let mut client = serving.connect();
    client.send(
        &[
            frame(1, b"head"),
            frame(AT_ONCE, b"behind"),
            correlated(AT_ONCE, 1, b"overtakes"),
            extended(2, b"in the middle"),
            correlated(3, 2, b"deferred"),
            frame(4, b"refused"),
            extended(AT_ONCE, b"last"),
        ]
        .concat(),
    );
    client.expect_extended(AT_ONCE, OK, Some(1));
    let [head, middle, deferred, refused] = parking.take(4).try_into().expect("four");
    deferred.later.send(b"any time");
    assert_eq!(client.expect_extended(3, OK, Some(2)), b"any time");
    refused.later.fail(Status::application(999), "not this one");
    answer(middle);
    serving.wait_for("two have ended behind the head", |now| now.gauge(Gauge::InFlight) == 1);
    client.send(&correlated(AT_ONCE, 3, b"overtakes all that is held"));
    client.expect_extended(AT_ONCE, OK, Some(3));
    answer(head);
    client.expect(1, b"head");
    client.expect(AT_ONCE, b"behind");
    assert_eq!(client.expect_extended(2, OK, None), b"in the middle");
    client.expect_error(999);
    assert_eq!(client.expect_extended(AT_ONCE, OK, None), b"last");
    drop(client);
    end(serving);
}

/// What waits behind an open request is output: too much of it, and the peer is not read. It is not ended for it.
#[test]
fn replies_held_behind_a_slow_head_pause_reading_and_all_arrive() {
    const REPLIES: u64 = 100;
    const BYTES: usize = 10_000;
    let limits =
        Limits { open_requests: 1_000, write_stall: Duration::from_millis(200), ..Limits::default() };
    let high = u64::from(limits.output_high_bytes);
    let (serving, parking) = serve(limits);
    let mut client = serving.connect();
    let stream: Vec<u8> = [frame(1, b"head")]
        .into_iter()
        .chain((0..REPLIES).map(|number| frame(AT_ONCE, &pattern(number, BYTES))))
        .flatten()
        .collect();
    let sending = client.send_beside(stream, false);
    let head = parking.take_one();
    serving.wait_for("reading is paused", |now| now.counter(Counter::PausedOutput) == 1);
    let now = serving.snapshot();
    assert!(now.gauge(Gauge::OutputBytes) >= high, "they are leased from the budget: {now:?}");
    assert!(now.counter(Counter::Started) < REPLIES / 2, "most are not read yet: {now:?}");
    // Longer than a peer may refuse to take bytes: nothing was offered to it.
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(serving.snapshot().closes_total(), 0);
    answer(head);
    client.expect(1, b"head");
    for number in 0..REPLIES {
        client.expect(AT_ONCE, &pattern(number, BYTES));
    }
    sending.done();
    drop(client);
    end(serving);
}

/// The same with replies that come later themselves, from the last to the first.
#[test]
fn answers_in_reverse_are_held_and_leave_in_order() {
    const REQUESTS: u64 = 100;
    let (serving, parking) = serve(Limits::default());
    let mut client = serving.connect();
    client.send(&(0..REQUESTS).flat_map(|number| frame(5, &number.to_be_bytes())).collect::<Vec<_>>());
    let mut parked = parking.take(100);
    let last = parked.remove(0);
    for Parked { payload, later, .. } in parked.into_iter().rev() {
        let number = u64::from_be_bytes(payload.try_into().expect("eight bytes"));
        later.share(pattern(number, 2_000).into());
    }
    serving.wait_for("all but the first were answered", |now| now.gauge(Gauge::InFlight) == 1);
    last.later.share(pattern(0, 2_000).into());
    for number in 0..REQUESTS {
        client.expect(5, &pattern(number, 2_000));
    }
    drop(client);
    end(serving);
}

#[test]
fn as_many_open_requests_as_may_be_pause_reading() {
    const OPEN: u32 = 8;
    const REQUESTS: u32 = 50;
    let (serving, parking) = serve(Limits { open_requests: OPEN, ..Limits::default() });
    for (name, is_correlated, is_reversed) in [
        ("ordered", false, false),
        ("ordered, answered from behind", false, true),
        ("correlated", true, false),
    ] {
        let before = parking.count();
        let paused = serving.snapshot().counter(Counter::PausedSlots);
        let mut client = serving.connect();
        let request = |number: u32| match is_correlated {
            true => correlated(5, number.into(), &number.to_be_bytes()),
            false => frame(5, &number.to_be_bytes()),
        };
        client.send(&(0..REQUESTS).flat_map(request).collect::<Vec<_>>());
        for first in (0..REQUESTS).step_by(8) {
            let count = OPEN.min(REQUESTS - first);
            let mut parked = parking.take(count as usize);
            let so_far = before + (first + count) as usize;
            assert_eq!(parking.count(), so_far, "case: {name}: nothing is taken while {OPEN} are open");
            if is_reversed {
                parked.reverse();
            }
            parked.into_iter().for_each(answer);
            for number in first..first + count {
                let payload = number.to_be_bytes();
                if is_correlated {
                    assert_eq!(client.expect_extended(5, OK, Some(number.into())), payload);
                } else {
                    client.expect(5, &payload);
                }
            }
        }
        assert!(serving.snapshot().counter(Counter::PausedSlots) >= paused + 6, "case: {name}");
    }
    end(serving);
}

// ---- large bodies -----------------------------------------------------------------------------------------------

#[test]
fn large_deferred_bodies_are_shared_and_arrive_whole() {
    const BYTES: usize = 1 << 20;
    let (serving, parking) = serve(Limits::default());
    let mut client = serving.connect();
    let body = bytes::Bytes::from(pattern(1, BYTES));
    for round in 0..6 {
        client.send(&match round % 3 {
            0 => frame(5, b"plain"),
            1 => extended(5, b"block"),
            _ => correlated(5, 9, b"id"),
        });
        parking.take_one().later.share(body.clone());
        let got = match round % 3 {
            0 => client.receive().payload,
            1 => client.expect_extended(5, OK, None),
            _ => client.expect_extended(5, OK, Some(9)),
        };
        assert!(got == body, "round {round}");
    }
    drop(client);
    end(serving);
}

/// An answer that alone is more than may be queued is no reason to end a connection that reads, now or later.
#[test]
fn an_answer_that_is_never_to_fit_fails_in_its_place() {
    let (serving, parking) = serve(Limits::default());
    let mut client = serving.connect();
    let fits = pattern(1, (1 << 20) + (256 << 10));
    client.send(&[frame(5, b"too large"), correlated(5, 1, b"too large"), frame(5, b"fits")].concat());
    let [large, correlated, fitting] = parking.take(3).try_into().expect("three");
    fitting.later.share(fits.clone().into());
    correlated.later.share(pattern(2, 5 << 20).into());
    client.expect_extended(5, INTERNAL, Some(1));
    large.later.send(&pattern(3, 5 << 20));
    client.expect_error(INTERNAL);
    client.expect(5, &fits);
    drop(client);
    end(serving);
}

/// A requester that takes nothing has its large answers dropped and is told so in their places; it is not ended,
/// since its request was no fault.
#[test]
fn answers_over_the_output_limit_fail_in_their_places() {
    const REQUESTS: u64 = 12;
    const BYTES: usize = 1 << 20;
    let (serving, parking) = serve(Limits::default());
    let mut client = Client::connect_narrow(serving.frames(), 4096);
    client.send(&(0..REQUESTS).flat_map(|number| frame(5, &number.to_be_bytes())).collect::<Vec<_>>());
    for (number, parked) in (0..).zip(parking.take(12)) {
        parked.later.share(pattern(number, BYTES).into());
    }
    serving.wait_for("all are over", |now| {
        now.outcome(Outcome::Answered) + now.outcome(Outcome::Failed) == REQUESTS
    });
    let mut failed = 0;
    for number in 0..REQUESTS {
        let got = client.receive();
        if got.header == ERROR {
            assert_eq!(got.status(), OUTCOME_UNKNOWN);
            failed += 1;
        } else {
            assert!(got.header == 5 && got.payload == pattern(number, BYTES), "reply {number}");
        }
    }
    assert!((1..REQUESTS).contains(&failed), "{failed} of {REQUESTS} did not fit");
    client.request(AT_ONCE, b"and on");
    client.expect(AT_ONCE, b"and on");
    drop(client);
    end(serving);
}

// ---- lines, and headers that are all route ----------------------------------------------------------------------

#[test]
fn lines_are_deferred_and_stay_in_order() {
    let (serving, parking) = serve(Limits { request_deadline: Duration::from_secs(1), ..Limits::default() });
    let mut client = serving.connect_lines();
    client.send(b"one\ntwo\nthree\nfour\nthe last has no end");
    client.finish_sending();
    let [one, two, three, four, five] = parking.take(5).try_into().expect("five");
    assert_eq!(five.payload, b"the last has no end");
    five.later.share(bytes::Bytes::from_static(b"shared"));
    three.later.fail(Status::OVERLOADED, "try\nlater");
    drop(two);
    one.later.send(b"1");
    client.expect_line(b"1");
    client.expect_line(b"ERR 10 INTERNAL the handler of this request gave no answer");
    client.expect_line(b"ERR 5 OVERLOADED try later");
    client.expect_line(b"ERR 7 OUTCOME_UNKNOWN no answer came in time");
    client.expect_line(b"shared");
    client.expect_end();
    four.later.send(b"too late");
    serving.wait_for("it is counted", |now| now.counter(Counter::LateAnswers) == 1);
    drop(client);
    end(serving);
}

fn serve_bare(limits: Limits) -> (Serving, Parking) {
    let parking = Parking::default();
    let service = parking.clone();
    let listener = Listener::bare_frames("127.0.0.1:0");
    let builder = Server::builder().listen(listener).expect("a free port").limits(limits);
    (Serving::of(builder.start(move || service.clone()).expect("a server")), parking)
}

#[test]
fn bare_frames_are_deferred_and_stay_in_order() {
    let (serving, parking) = serve_bare(Limits::default());
    let mut client = serving.connect();
    let routes = [5, 0xC005, 0x4001, 0xFFFF, 0x8000];
    client.send(&routes.iter().flat_map(|route| frame(*route, &route.to_be_bytes())).collect::<Vec<_>>());
    answer(parking.take_one());
    for route in routes {
        client.expect(route, &route.to_be_bytes());
    }
    // Larger than what one read takes.
    let large = pattern(3, 1 << 20);
    let sending = client.send_beside(frame(6, &large), false);
    answer(parking.take_one());
    client.expect(6, &large);
    sending.done();
    drop(client);
    end(serving);
}

/// Replies on bare frames are told apart by counting alone: behind a failed one none may come.
#[test]
fn a_failure_on_bare_frames_ends_the_connection_in_its_place() {
    fn fail(parked: Parked) {
        parked.later.fail(Status::OVERLOADED, "there is no way to say this");
    }
    type Story = fn(&mut Client, Vec<Parked>);
    #[rustfmt::skip]
    let table: &[(&str, u64, Story)] = &[
        ("refused behind the head", 1, |_, parked| {
            let [head, refused, behind] = parked.try_into().expect("three");
            fail(refused);
            answer(behind);
            answer(head);
        }),
        ("refused last", 1, |_, parked| {
            let [head, refused, behind] = parked.try_into().expect("three");
            answer(behind);
            answer(head);
            fail(refused);
        }),
        ("refused first, answered behind it", 1, |client, parked| {
            let [head, refused, behind] = parked.try_into().expect("three");
            answer(head);
            client.expect(5, b"0");
            fail(refused);
            answer(behind);
        }),
        ("the head is refused", 0, |_, parked| {
            let [head, middle, behind] = parked.try_into().expect("three");
            answer(behind);
            fail(head);
            answer(middle);
        }),
        ("the head is never answered", 0, |_, parked| {
            let [head, middle, behind] = parked.try_into().expect("three");
            answer(behind);
            answer(middle);
            std::mem::forget(head);
        }),
    ];
    for (name, answered, story) in table {
        let limits = Limits { request_deadline: Duration::from_millis(500), ..Limits::default() };
        let (serving, parking) = serve_bare(limits);
        let mut client = serving.connect();
        client.send(&[frame(5, b"0"), frame(5, b"1"), frame(5, b"2")].concat());
        let already = name.starts_with("refused first");
        story(&mut client, parking.take(3));
        if *answered == 1 && !already {
            client.expect(5, b"0");
        }
        client.expect_end();
        drop(client);
        serving.wait_for(name, |now| now.closes(CloseReason::RequestFailed) == 1);
        end(serving);
    }
}

#[test]
fn no_reply_on_bare_frames_takes_the_place_of_one_that_failed() {
    for (name, is_held, want) in
        [("at once", false, &["0", "1"][..]), ("behind an open one", true, &["head", "0", "1"])]
    {
        let parking = Parking::default();
        let service = parking.clone();
        let builder = Server::builder().listen(Listener::bare_frames("127.0.0.1:0")).expect("a free port");
        let running = builder.shards(1).start_fn(move |frame, reply| match frame.payload() {
            b"head" => {
                let (later, replied) = reply.defer();
                service.park(frame, later.expect("there is room"));
                replied
            }
            b"trap" => panic!("asked to"),
            b"refused" => reply.fail(Status::OVERLOADED, "there is no way to say this"),
            _ => reply.forward(frame.whole()),
        });
        let serving = Serving::of(running.expect("a server"));
        for bad in ["trap", "refused"] {
            let mut client = serving.connect();
            let head = if is_held { frame(5, b"head") } else { Vec::new() };
            client.send(
                &[head, frame(5, b"0"), frame(5, b"1"), frame(5, bad.as_bytes()), frame(5, b"3")].concat(),
            );
            if is_held {
                answer(parking.take_one());
            }
            for want in want {
                client.expect(5, want.as_bytes());
            }
            client.expect_end();
        }
        serving.wait_for(name, |now| now.closes(CloseReason::RequestFailed) == 2);
        end(serving);
    }
}

// ---- endings with open requests ---------------------------------------------------------------------------------

#[test]
fn a_half_closed_client_gets_its_deferred_replies() {
    let (serving, parking) = serve(Limits::default());
    let mut client = serving.connect();
    client.send(&[frame(1, b"a"), correlated(1, 7, b"b"), frame(AT_ONCE, b"c"), frame(1, b"d")].concat());
    client.finish_sending();
    let mut parked = parking.take(3);
    answer(parked.remove(2));
    answer(parked.remove(1));
    assert_eq!(client.expect_extended(1, OK, Some(7)), b"b");
    answer(parked.remove(0));
    client.expect(1, b"a");
    client.expect(AT_ONCE, b"c");
    client.expect(1, b"d");
    client.expect_end();
    serving.wait_for("it ended as it wished", |now| now.closes(CloseReason::PeerClosed) == 1);
    drop(client);
    end(serving);
}

#[test]
fn what_is_open_is_answered_before_a_fault_ends_the_connection() {
    let (serving, parking) = serve(Limits::default());
    let mut client = serving.connect();
    let mut damaged = frame(AT_ONCE, b"damaged");
    damaged[8] ^= 1;
    client.send(
        &[frame(1, b"a"), correlated(1, 7, b"b"), frame(AT_ONCE, b"c"), damaged, frame(1, b"never read")]
            .concat(),
    );
    let [a, b] = parking.take(2).try_into().expect("two");
    answer(b);
    assert_eq!(client.expect_extended(1, OK, Some(7)), b"b");
    // No last words before the last reply.
    client.stream.set_read_timeout(Some(Duration::from_millis(100))).expect("an option");
    let nothing = std::io::Read::read(&mut client.stream, &mut [0; 10]);
    assert!(nothing.is_err(), "{nothing:?}");
    client.stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    answer(a);
    client.expect(1, b"a");
    client.expect(AT_ONCE, b"c");
    client.expect_goaway(PROTOCOL);
    assert_eq!(parking.count(), 2);
    serving.wait_for("the fault is the reason", |now| now.closes(CloseReason::BadCrc) == 1);
    drop(client);
    end(serving);
}

#[test]
fn a_drain_waits_for_open_requests() {
    let (serving, parking) = serve(Limits::default());
    let (mut client, mut lines, mut idle) = (serving.connect(), serving.connect_lines(), serving.connect());
    idle.request(AT_ONCE, b"here");
    idle.expect(AT_ONCE, b"here");
    client.send(&[frame(1, b"a"), frame(AT_ONCE, b"b"), frame(1, b"c")].concat());
    lines.send(b"line\n");
    let parked = parking.take(3);
    serving.handle.drain(PATIENCE);
    idle.expect_goaway(DRAINING);
    drop(idle);
    wait_until("the idle one is gone, and no other", || serving.handle.connections() == 2);
    parked.into_iter().rev().for_each(answer);
    client.expect(1, b"a");
    client.expect(AT_ONCE, b"b");
    client.expect(1, b"c");
    let last = client.receive();
    assert_eq!((last.header, last.status()), (GOAWAY, DRAINING));
    client.expect_end();
    lines.expect_line(b"line");
    lines.expect_end();
    drop((client, lines));
    let report = serving.join();
    assert!(report.is_clean() && report.drained == 3, "{report}");
}

/// What had been read before the drain began, and what lay in the kernel then, is received: also if as many requests are
/// open as may be, so that it is read only when they are answered. Who said HELLO is told DRAINING instead.
#[test]
fn a_drain_goes_on_where_open_requests_had_paused_it() {
    const OPEN: u32 = 4;
    const REQUESTS: u32 = 30;
    let (serving, parking) = serve(Limits { open_requests: OPEN, ..Limits::default() });
    let (mut plain, mut greeted) = (serving.connect(), serving.connect());
    greeted.hello();
    for client in [&mut plain, &mut greeted] {
        client.send(&(0..REQUESTS).flat_map(|number| frame(5, &number.to_be_bytes())).collect::<Vec<_>>());
    }
    let parked = parking.take(2 * OPEN as usize);
    serving.handle.drain(PATIENCE);
    let told = greeted.receive();
    assert_eq!((told.header, told.status()), (GOAWAY, DRAINING));
    parked.into_iter().for_each(answer);
    for number in 0..REQUESTS {
        if number < OPEN {
            greeted.expect(5, &number.to_be_bytes());
        } else {
            greeted.expect_error(DRAINING);
        }
    }
    greeted.finish_sending();
    greeted.expect_end();
    for first in (0..REQUESTS).step_by(OPEN as usize) {
        let count = OPEN.min(REQUESTS - first);
        if first > 0 {
            parking.take(count as usize).into_iter().for_each(answer);
        }
        (first..first + count).for_each(|number| plain.expect(5, &number.to_be_bytes()));
    }
    plain.expect_goaway(DRAINING);
    drop((plain, greeted));
    let report = serving.join();
    assert!(report.is_clean() && report.drained == 2, "{report}");
}
