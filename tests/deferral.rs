//! Requests that are answered later: from any thread, in any order, too late, never. Whatever happens, each gets
//! exactly one reply, where it is due, and the ledger knows its outcome.

mod support;

use socket2::SockRef;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;
use support::client::{Client, ERROR, EXT, INTERNAL, OVERLOADED, frame};
use support::extended::{Block, DEADLINE_EXCEEDED, OK, OUTCOME_UNKNOWN, correlated, extended};
use support::parking::{AT_ONCE, Parked, Parking};
use support::pattern;
use support::serving::{Serving, builder};
use tidegate::CloseReason;
use tidegate::base::Rng;
use tidegate::base::limits::{LATERS_PER_SHARD, Limits, OPEN_REQUESTS_MAX};
use tidegate::metrics::{Counter, Gauge, Outcome};
use tidegate::service::{AfterPanic, Cx, Frame, Peer, Replied, Reply, Service};
use tidegate::wire::Status;

/// One loop whose requests are parked.
fn serve(limits: Limits) -> (Serving, Parking) {
    let parking = Parking::default();
    let service = parking.clone();
    let running = builder().shards(1).limits(limits).start(move || service.clone());
    (Serving::of(running.expect("a server")), parking)
}

/// Nothing is open any more, and all is accounted for.
#[track_caller]
fn end(serving: Serving) {
    serving.wait_for("no request is open", |now| now.gauge(Gauge::InFlight) == 0);
    serving.end();
}

// ---- from anywhere, in any order --------------------------------------------------------------------------------

/// How the load's requests are answered: told by the first byte of their payload.
const SENT: u8 = 0;
const SHARED: u8 = 1;
const REFUSED: u8 = 2;
const DROPPED: u8 = 3;
const KINDS: u8 = 4;
/// A status of an application.
const REFUSAL: u16 = 300;

fn large(number: u32) -> Vec<u8> {
    pattern(u64::from(number), 20_000)
}

fn answer(parked: Parked) {
    let Parked { route: _, payload, later } = parked;
    let number = u32::from_be_bytes(payload[1..5].try_into().expect("four bytes"));
    match payload[0] {
        SENT => later.send(&payload),
        SHARED => later.share(large(number).into()),
        REFUSED => later.fail(Status::application(REFUSAL), format!("not number {number}")),
        DROPPED => drop(later),
        other => panic!("kind {other}"),
    }
}

/// How a request is sent, and so where its reply is due.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Extended,
    Correlated,
}

struct Asked {
    route: u16,
    form: Form,
    payload: Vec<u8>,
}

impl Asked {
    fn draw(rng: &mut Rng, forms: &[Form], number: u32) -> Asked {
        let is_at_once = rng.below(4) == 0;
        let kind = if is_at_once { SENT } else { u8::try_from(rng.below(KINDS.into())).expect("few") };
        let mut payload = vec![kind];
        payload.extend(number.to_be_bytes());
        payload.extend(pattern(rng.below(1_000), usize::try_from(rng.below(150)).expect("few")));
        let route = if is_at_once { AT_ONCE } else { 7 };
        Asked { route, form: forms[usize::try_from(rng.below(forms.len() as u64)).expect("few")], payload }
    }

    fn frame(&self, id: u64) -> Vec<u8> {
        match self.form {
            Form::Plain => frame(self.route, &self.payload),
            Form::Extended => extended(self.route, &self.payload),
            Form::Correlated => correlated(self.route, id, &self.payload),
        }
    }

    /// Status and body of the reply; of a failure, how its text begins.
    fn due(&self) -> (u16, Vec<u8>) {
        let number = u32::from_be_bytes(self.payload[1..5].try_into().expect("four bytes"));
        match self.payload[0] {
            SENT => (OK, self.payload.clone()),
            SHARED => (OK, large(number)),
            REFUSED => (REFUSAL, format!("not number {number}").into_bytes()),
            DROPPED => (INTERNAL, b"the handler".to_vec()),
            other => panic!("kind {other}"),
        }
    }

    #[track_caller]
    fn check(&self, status: u16, body: &[u8]) {
        let (want_status, want) = self.due();
        assert_eq!(status, want_status);
        let body = if status == INTERNAL { &body[..want.len()] } else { body };
        assert!(body == want, "another reply than that of request {:?}", &self.payload[..5]);
    }
}

/// One connection's load: sends all, and holds every reply against the request that it is due to.
fn load(mut client: Client, seed: u64, forms: &[Form], requests: u32) {
    let mut rng = Rng::new(seed);
    let asked: Vec<Asked> = (0..requests).map(|number| Asked::draw(&mut rng, forms, number)).collect();
    let stream: Vec<u8> = asked.iter().enumerate().flat_map(|(at, one)| one.frame(at as u64)).collect();
    let sending = client.send_beside(stream, true);
    let mut ordered = asked.iter().filter(|one| one.form != Form::Correlated);
    let mut open: HashMap<u64, &Asked> = (0..).zip(&asked).collect();
    open.retain(|_, one| one.form == Form::Correlated);
    for _ in 0..requests {
        let got = client.receive();
        if got.header == ERROR {
            let one = ordered.next().expect("no more replies than requests");
            assert!(one.form == Form::Plain, "ERROR is for plain requests");
            one.check(got.status(), got.text().as_bytes());
        } else if got.header & EXT == 0 {
            let one = ordered.next().expect("no more replies than requests");
            assert!(
                one.form == Form::Plain && one.route == got.header,
                "replies to plain requests have no block"
            );
            one.check(OK, &got.payload);
        } else {
            let reply = got.extended();
            let one = match reply.correlation {
                None => ordered.next().expect("no more replies than requests"),
                Some(id) => open.remove(&id).expect("one reply to each correlation"),
            };
            let form = reply.correlation.map_or(Form::Extended, |_| Form::Correlated);
            assert!(one.form == form && one.route == reply.header, "a block if the request had one");
            one.check(reply.status, &reply.body);
        }
    }
    assert!(ordered.next().is_none() && open.is_empty());
    client.expect_end();
    sending.done();
}

#[test]
fn eight_threads_answer_at_random_and_each_request_gets_its_own() {
    const REQUESTS: u32 = 1_500;
    use Form::{Correlated, Extended, Plain};
    let (serving, parking) = serve(Limits::default());
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let answering: Vec<JoinHandle<()>> = (0..8)
        .map(|seed| {
            let (parking, stop, answered) = (parking.clone(), Arc::clone(&stop), Arc::clone(&answered));
            std::thread::spawn(move || {
                let mut rng = Rng::new(seed);
                while !stop.load(Relaxed) {
                    let pick = |count: usize| usize::try_from(rng.below(count as u64)).expect("few");
                    match parking.try_take(pick) {
                        Some(parked) => {
                            answer(parked);
                            answered.fetch_add(1, Relaxed);
                        }
                        None => std::thread::yield_now(),
                    }
                }
            })
        })
        .collect();
    let loads: [&'static [Form]; 4] =
        [&[Plain], &[Correlated], &[Plain, Extended], &[Plain, Extended, Correlated]];
    let clients: Vec<JoinHandle<()>> = (0..)
        .zip(loads.into_iter().chain(loads))
        .map(|(seed, forms)| {
            let client = serving.connect();
            std::thread::spawn(move || load(client, seed, forms, REQUESTS))
        })
        .collect();
    for client in clients {
        client.join().expect("each reply came once, and where it was due");
    }
    stop.store(true, Relaxed);
    answering.into_iter().for_each(|thread| thread.join().expect("no panic"));
    let now = serving.snapshot();
    assert_eq!(now.counter(Counter::Started), 8 * u64::from(REQUESTS));
    assert_eq!(now.counter(Counter::LateAnswers), 0);
    assert!(now.outcome(Outcome::Dropped) > 0 && now.outcome(Outcome::Failed) > 0);
    assert_eq!(answered.load(Relaxed), parking.count() as u64);
    end(serving);
}

// ---- one outcome, whatever becomes of the answer ----------------------------------------------------------------

#[test]
fn who_drops_the_right_to_answer_has_answered_internal() {
    let (serving, parking) = serve(Limits::default());
    let mut client = serving.connect();
    client.send(&[frame(1, b"plain"), extended(2, b"block"), correlated(3, 77, b"id")].concat());
    drop(parking.take(3));
    // The order of drops is that of the requests, so even the correlated reply comes last.
    client.expect_error(INTERNAL);
    client.expect_extended(2, INTERNAL, None);
    client.expect_extended(3, INTERNAL, Some(77));
    client.request(AT_ONCE, b"still here");
    client.expect(AT_ONCE, b"still here");
    assert_eq!(serving.snapshot().outcome(Outcome::Dropped), 3);
    drop(client);
    end(serving);
}

/// A limit that a test waits for.
fn short_deadline() -> Limits {
    Limits { request_deadline: Duration::from_millis(300), ..Limits::default() }
}

#[test]
fn who_forgets_it_has_let_the_deadline_answer() {
    let (serving, parking) = serve(short_deadline());
    let mut client = serving.connect();
    client.send(&[frame(1, b"plain"), extended(2, b"block"), correlated(3, 77, b"id")].concat());
    parking.take(3).into_iter().for_each(|parked| std::mem::forget(parked.later));
    let mut got = [client.receive(), client.receive(), client.receive()];
    got.sort_by_key(|got| got.header & !EXT);
    let [block, id, plain] = got;
    assert_eq!((plain.header, plain.status()), (ERROR, OUTCOME_UNKNOWN));
    assert_eq!((block.extended().header, block.extended().status), (2, OUTCOME_UNKNOWN));
    assert_eq!((id.extended().correlation, id.extended().status), (Some(77), OUTCOME_UNKNOWN));
    assert_eq!(serving.snapshot().outcome(Outcome::TimedOut), 3);
    drop(client);
    end(serving);
}

#[test]
fn an_answer_behind_the_deadline_is_dropped_and_counted() {
    let (serving, parking) = serve(short_deadline());
    let mut client = serving.connect();
    client.request(1, b"slow");
    let slow = parking.take_one();
    client.expect_error(OUTCOME_UNKNOWN);
    // Its serial is never used again, so it can't be taken for that of the next.
    client.request(2, b"next");
    let next = parking.take_one();
    slow.later.send(b"too late");
    serving.wait_for("the late answer is counted", |now| now.counter(Counter::LateAnswers) == 1);
    next.later.send(b"in time");
    client.expect(2, b"in time");
    drop(client);
    end(serving);
}

#[test]
fn an_answer_to_a_connection_that_is_gone_is_dropped_and_counted() {
    let (serving, parking) = serve(Limits::default());
    let mut client = serving.connect();
    client.send(&[frame(1, b"one"), correlated(1, 7, b"two")].concat());
    let parked = parking.take(2);
    // A reset: an end alone would only say that no more requests come.
    SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).expect("an option");
    drop(client);
    serving.wait_for("it is gone", |now| now.closes(CloseReason::Reset) == 1);
    assert_eq!(serving.snapshot().outcome(Outcome::Abandoned), 2);
    // Its slot has another owner by now.
    let mut other = serving.connect();
    other.request(AT_ONCE, b"here");
    other.expect(AT_ONCE, b"here");
    parked.into_iter().for_each(|parked| parked.later.send(b"for whom?"));
    serving.wait_for("both are counted", |now| now.counter(Counter::LateAnswers) == 2);
    other.request(AT_ONCE, b"undisturbed");
    other.expect(AT_ONCE, b"undisturbed");
    drop(other);
    end(serving);
}

#[test]
fn a_loop_promises_no_more_answers_than_it_has_places_for() {
    let (serving, parking) = serve(Limits { open_requests: OPEN_REQUESTS_MAX, ..Limits::default() });
    let numbers = || 0..u32::try_from(LATERS_PER_SHARD).expect("some thousands");
    let (mut greedy, mut other) = (serving.connect(), serving.connect());
    let stream: Vec<u8> = numbers().flat_map(|number| frame(1, &number.to_be_bytes())).collect();
    let sending = greedy.send_beside(stream, false);
    let mut parked = parking.take(LATERS_PER_SHARD);
    sending.done();
    for _ in 0..2 {
        other.send(&[frame(2, b"plain"), extended(2, b"block"), correlated(2, 5, b"id")].concat());
        other.expect_error(OVERLOADED);
        other.expect_extended(2, OVERLOADED, None);
        other.expect_extended(2, OVERLOADED, Some(5));
    }
    // Each answer is a place; the first is behind nobody.
    let Parked { payload, later, .. } = parked.remove(0);
    later.send(&payload);
    greedy.expect(1, &payload);
    other.request(2, b"now");
    let now = parking.take_one();
    now.later.send(b"there is room");
    other.expect(2, b"there is room");
    for Parked { payload, later, .. } in parked.into_iter().rev() {
        later.send(&payload);
    }
    for number in numbers().skip(1) {
        greedy.expect(1, &number.to_be_bytes());
    }
    assert_eq!(serving.snapshot().outcome(Outcome::Failed), 6);
    drop((greedy, other));
    end(serving);
}

// ---- the client's own deadline ----------------------------------------------------------------------------------

#[test]
fn the_clients_deadline_holds_where_it_is_the_earlier_one() {
    let (serving, parking) = serve(Limits::default());
    let mut client = serving.connect();
    let block = |id, ms| Block { correlation: Some(id), deadline_ms: Some(ms), ..Block::default() };
    client.send(&block(1, 0).frame(9, b"expired on arrival"));
    client.expect_extended(9, DEADLINE_EXCEEDED, Some(1));
    assert_eq!(parking.count(), 0, "what has expired is not started");
    client.send(&[block(2, 60).frame(9, b"short"), block(3, 3_600_000).frame(9, b"long")].concat());
    let [short, long] = parking.take(2).try_into().expect("two");
    client.expect_extended(9, OUTCOME_UNKNOWN, Some(2));
    short.later.send(b"late");
    long.later.send(b"in time");
    assert_eq!(client.expect_extended(9, OK, Some(3)), b"in time");
    // Without a correlation: in its slot, like any other.
    let slotted = Block { deadline_ms: Some(60), ..Block::default() };
    client.send(&[slotted.frame(9, b"short"), frame(AT_ONCE, b"behind")].concat());
    let forgotten = parking.take_one();
    client.expect_extended(9, OUTCOME_UNKNOWN, None);
    client.expect(AT_ONCE, b"behind");
    drop(forgotten);
    serving.wait_for("both late ones are counted", |now| now.counter(Counter::LateAnswers) == 2);
    drop(client);
    end(serving);
}

// ---- one-way ----------------------------------------------------------------------------------------------------

/// Nobody waits, so an answer is neither sent nor late. A refusal is counted.
#[test]
fn one_way_requests_may_be_deferred_too() {
    let (serving, parking) = serve(short_deadline());
    let mut client = serving.connect();
    let one_way = |correlation| Block { one_way: true, correlation, ..Block::default() };
    client.send(&[one_way(None).frame(1, b"a"), one_way(Some(9)).frame(1, b"b"), frame(1, b"c")].concat());
    let [a, b, c] = parking.take(3).try_into().expect("three");
    assert_eq!(serving.snapshot().gauge(Gauge::InFlight), 1);
    a.later.send(b"nobody wants to know");
    drop(b);
    c.later.send(b"c's");
    client.expect(1, b"c's");
    client.request(AT_ONCE, b"behind");
    client.expect(AT_ONCE, b"behind");
    let now = serving.snapshot();
    assert_eq!((now.outcome(Outcome::Silent), now.outcome(Outcome::Answered)), (2, 2));
    assert_eq!((now.counter(Counter::LateAnswers), now.counter(Counter::Unheard)), (0, 1));
    drop(client);
    end(serving);
}

// ---- panics -----------------------------------------------------------------------------------------------------

/// Parks, and panics when it is asked to.
struct Fragile(Parking, AfterPanic);

impl Service for Fragile {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn on_frame(&mut self, _conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, _cx: &mut Cx<'_>) -> Replied {
        let (later, replied) = reply.defer();
        let later = later.expect("there is room");
        assert!(frame.payload() != b"trap", "asked to panic");
        self.0.park(frame, later);
        replied
    }

    fn on_panic(&mut self) -> AfterPanic {
        self.1
    }
}

fn serve_fragile(after: AfterPanic) -> (Serving, Parking) {
    let parking = Parking::default();
    let service = parking.clone();
    let running = builder().shards(1).start(move || Fragile(service.clone(), after));
    (Serving::of(running.expect("a server")), parking)
}

/// The right to answer is dropped by the panic; the deadline of that request is not the next one's.
#[test]
fn a_panic_behind_the_deferral_answers_internal() {
    let (serving, parking) = serve_fragile(AfterPanic::Keep);
    let mut client = serving.connect();
    let short = Block { deadline_ms: Some(50), ..Block::default() };
    client.send(&[short.frame(1, b"trap"), frame(1, b"behind")].concat());
    let behind = parking.take_one();
    client.expect_extended(1, INTERNAL, None);
    std::thread::sleep(Duration::from_millis(150));
    behind.later.send(b"in time");
    client.expect(1, b"in time");
    let now = serving.snapshot();
    assert_eq!((now.outcome(Outcome::Dropped), now.counter(Counter::Panics)), (1, 1));
    drop(client);
    end(serving);
}

/// A service that begins anew owes nothing that the one before had deferred: what comes is late.
#[test]
fn a_service_that_begins_anew_leaves_its_requests_unanswered() {
    let (serving, parking) = serve_fragile(AfterPanic::Rebuild);
    let (mut client, mut other) = (serving.connect(), serving.connect());
    other.request(1, b"mine");
    let mine = parking.take_one();
    client.send(&[frame(1, b"first"), frame(1, b"trap")].concat());
    let parked = [mine, parking.take_one()];
    client.expect_goaway(INTERNAL);
    other.expect_goaway(INTERNAL);
    parked.into_iter().for_each(|parked| parked.later.send(b"too late"));
    serving.wait_for("both are late", |now| now.counter(Counter::LateAnswers) == 2);
    let now = serving.snapshot();
    assert_eq!((now.outcome(Outcome::Dropped), now.outcome(Outcome::Abandoned)), (1, 2));
    drop((client, other));
    let mut next = serving.connect();
    next.request(1, b"anew");
    let anew = parking.take_one();
    anew.later.send(b"new");
    next.expect(1, b"new");
    drop(next);
    end(serving);
}
