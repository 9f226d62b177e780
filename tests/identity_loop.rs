//! Who a peer is, and what it may do, in a loop driven by hand: certificates, which no socket here can show, time, and
//! how much is done in a turn.

mod support;

use std::sync::Arc;
use std::time::Duration;
use support::client::{ECHO, FLIP, GOAWAY, frame};
use support::extended::{HELLO, UNAUTHENTICATED, hello};
use support::hand::Rig;
use tidegate::base::limits::{FAILED_HELLOS_MAX, FAILED_HELLOS_MS, USERS_REVIEWED_PER_TURN};
use tidegate::identity::{RouteSet, TokenHash};
use tidegate::mailbox::{Command, Mailbox};
use tidegate::metrics::Counter;
use tidegate::service::{Cx, Frame, Origin, Peer, Replied, Reply, Service};
use tidegate::session::Framing;
use tidegate::turn::{ListenerConfig, TurnConfig};
use tidegate::{CloseReason, Limits, User, Users, WhenOver};

const WIDE: usize = usize::MAX;
const PIPE_BYTES: usize = 16 << 10;

/// Answers with the certificate and the user.
struct Mirror;

impl Service for Mirror {
    type Conn = Option<Arc<str>>;

    fn on_open(&mut self, peer: &Peer, cx: &mut Cx<'_>) -> Option<Arc<str>> {
        assert_eq!(peer.origin, Origin::Accepted { listener: 0 });
        // A certificate says at once who it is.
        assert!(peer.certificate.is_some() || cx.user().is_none());
        peer.certificate.clone()
    }

    fn on_frame(
        &mut self,
        conn: &mut Option<Arc<str>>,
        _frame: Frame<'_>,
        reply: Reply<'_>,
        cx: &mut Cx<'_>,
    ) -> Replied {
        let user = cx.user().map_or("nobody", |user| user.name());
        reply.send(format!("{} as {user}", conn.as_deref().unwrap_or("nothing")).as_bytes())
    }
}

fn user(name: &str) -> User {
    let token = format!("{name}.1");
    User::new(name).expect("a name").token(TokenHash::of([1; TokenHash::SALT_BYTES], token.as_bytes()))
}

fn carol() -> User {
    User::new("carol").expect("a name").certificate("carol.example")
}

fn users(of: impl IntoIterator<Item = User>) -> Arc<Users> {
    let mut users = Users::new();
    of.into_iter().for_each(|user| users.add(user).expect("one more"));
    Arc::new(users)
}

fn greet(token: &str) -> Vec<u8> {
    frame(HELLO, &hello(1, 0, "", token.as_bytes(), b""))
}

fn rig(framing: Framing, users: Arc<Users>) -> (Rig<Mirror>, Arc<Mailbox>) {
    let listener = ListenerConfig { wants_hello: true, has_users: true, ..ListenerConfig::new(framing) };
    let config = TurnConfig { users, ..TurnConfig::alone(5_000, vec![listener]) };
    let mailbox = Arc::clone(&config.mailbox);
    (Rig::new(config, PIPE_BYTES, || Mirror), mailbox)
}

fn replace(rig: &mut Rig<Mirror>, mailbox: &Mailbox, with: Arc<Users>) {
    mailbox.post(Command::Users(with)).expect("room");
    rig.settle();
}

/// Status, wait and text of the GOAWAY that is all that came.
#[track_caller]
fn goaway(bytes: &[u8]) -> (u16, u32, String) {
    let whole = frame(GOAWAY, &bytes[6..bytes.len() - 4]);
    assert_eq!(bytes, whole, "one GOAWAY");
    let number =
        |at: std::ops::Range<usize>| bytes[at].iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    let text = String::from_utf8(bytes[12..bytes.len() - 4].to_vec()).expect("text");
    (u16::try_from(number(6..8)).expect("two bytes"), number(8..12), text)
}

/// A certificate is an identity by itself: on frames without a HELLO, and where there is none at all.
#[test]
fn a_certificate_needs_no_hello() {
    let line = |text: &str| format!("{text}\n").into_bytes();
    let told = b"carol.example as carol";
    #[rustfmt::skip]
    let table: [(&str, Framing, Vec<u8>, Vec<u8>); 3] = [
        ("frames", Framing::frames(1000),      frame(ECHO, b"x"), frame(ECHO, told)),
        ("bare",   Framing::bare_frames(1000), frame(ECHO, b"x"), frame(ECHO, told)),
        ("lines",  Framing::lines(1000, 1),    line("x"),         line("carol.example as carol")),
    ];
    for (name, framing, request, want) in table {
        let (mut rig, mailbox) = rig(framing, users([user("alice"), carol()]));
        let known = rig.connect_certified("carol.example");
        rig.send(known, &request);
        assert_eq!(rig.take(known), want, "case: {name}");
        for nobody in [rig.connect(WIDE), rig.connect_certified("dave.example")] {
            rig.send(nobody, &request);
            let told = rig.take(nobody);
            if name == "frames" {
                assert_eq!(goaway(&told).0, UNAUTHENTICATED, "case: {name}");
            } else {
                assert_eq!(told, b"", "case: {name}");
            }
            rig.end(nobody);
        }
        assert_eq!(rig.closes(CloseReason::Unauthenticated), 2, "case: {name}");
        assert_eq!(rig.figures().counter(Counter::Started), 1, "case: {name}");
        // What it may do goes for it, too, and it can be removed.
        replace(&mut rig, &mailbox, users([carol().routes(RouteSet::of([9..=9]))]));
        rig.send(known, &request);
        let refused = rig.take(known);
        match name {
            "frames" => assert!(String::from_utf8_lossy(&refused).contains("user carol may not use route 1")),
            "lines" => assert_eq!(refused, b"ERR 3 FORBIDDEN user carol may not use route 1\n"),
            _ => assert_eq!((refused.len(), rig.turn.open()), (0, 1), "there is no other way to say so"),
        }
        assert_eq!(rig.figures().counter(Counter::Forbidden), 1, "case: {name}");
        replace(&mut rig, &mailbox, users([]));
        rig.end(known);
        rig.assert_rest(0);
    }
}

/// What a user may do is one question, how much of it another: who may not use all routes has its rates nevertheless.
#[test]
fn a_user_of_few_routes_has_its_rate() {
    let framing = Framing::lines(1000, 1);
    let listener = ListenerConfig { wants_hello: true, has_users: true, ..ListenerConfig::new(framing) };
    let limits = Limits {
        messages_per_second: Some(2),
        burst: Duration::from_secs(1),
        when_over: WhenOver::Refuse,
        ..Limits::default()
    };
    let users = users([carol().routes(RouteSet::of([1..=1]))]);
    let config = TurnConfig { users, limits, ..TurnConfig::alone(5_000, vec![listener]) };
    let mut rig = Rig::new(config, PIPE_BYTES, || Mirror);
    let client = rig.connect_certified("carol.example");
    rig.send(client, b"x\nx\nx\n");
    let told = String::from_utf8(rig.take(client)).expect("lines");
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told[..2], ["carol.example as carol"; 2]);
    assert!(told[2].starts_with("ERR 5 OVERLOADED the limit of 2 messages"), "{}", told[2]);
    assert_eq!(rig.figures().counter(Counter::RefusedRate), 1);
    rig.end(client);
    rig.assert_rest(0);
}

#[test]
fn a_hello_says_more_than_a_certificate() {
    let (mut rig, _) = rig(Framing::frames(1000), users([user("alice"), carol()]));
    let client = rig.connect_certified("carol.example");
    rig.send(client, &[greet("alice.1"), frame(ECHO, b"x")].concat());
    let told = rig.take(client);
    assert!(told.ends_with(&frame(ECHO, b"carol.example as alice")), "{}", String::from_utf8_lossy(&told));
    // With a HELLO that has no token it is the certificate's.
    let other = rig.connect_certified("carol.example");
    rig.send(other, &[greet(""), frame(ECHO, b"x")].concat());
    assert!(rig.take(other).ends_with(&frame(ECHO, b"carol.example as carol")));
    let wrong = rig.connect_certified("carol.example");
    rig.send(wrong, &greet("alice.2"));
    assert_eq!(
        goaway(&rig.take(wrong)).0,
        UNAUTHENTICATED,
        "a wrong token is not made good by a certificate"
    );
}

/// Who comes behind somebody in the same slot is nobody.
#[test]
fn a_slot_forgets_who_was_there() {
    let (mut rig, _) = rig(Framing::frames(1000), users([user("alice")]));
    let client = rig.connect(WIDE);
    rig.send(client, &[greet("alice.1"), frame(ECHO, b"x")].concat());
    let first = rig.io.pipes[client].token.expect("it is there").slot;
    rig.take(client);
    rig.end(client);
    rig.again(client);
    assert_eq!(rig.io.pipes[client].token.expect("it is there").slot, first, "the same slot");
    rig.send(client, &frame(ECHO, b"x"));
    assert_eq!(goaway(&rig.take(client)).0, UNAUTHENTICATED);
}

/// Permissions are those of the moment, even between two messages of which the loop has not reviewed the connection.
#[test]
fn a_removed_user_gets_nothing_more_done() {
    let (mut rig, mailbox) = rig(Framing::frames(1000), users([user("alice"), user("bob")]));
    let (alice, bob) = (rig.connect(WIDE), rig.connect(WIDE));
    rig.send(alice, &greet("alice.1"));
    rig.send(bob, &greet("bob.1"));
    rig.taken(alice);
    rig.taken(bob);
    mailbox.post(Command::Users(users([user("bob").routes(RouteSet::of([1..=1]))]))).expect("room");
    // The turn that takes the letter handles what came with it by the old users; the next turn knows the new ones.
    rig.one_turn();
    rig.arrive(alice, &frame(ECHO, b"x"));
    rig.arrive(bob, &[frame(ECHO, b"x"), frame(FLIP, b"x")].concat());
    rig.begin_turn();
    rig.turn.end(&mut rig.io);
    rig.settle();
    let (status, _, text) = goaway(&rig.take(alice));
    assert_eq!(
        (status, text.as_str()),
        (UNAUTHENTICATED, "this user, or what proved it, is not known any more")
    );
    let told = rig.take(bob);
    assert!(told.starts_with(&frame(ECHO, b"nothing as bob")));
    assert!(String::from_utf8_lossy(&told).contains("user bob may not use route 3"));
    let figures = rig.figures();
    assert_eq!((figures.counter(Counter::UsersRemoved), figures.counter(Counter::Forbidden)), (1, 1));
    assert_eq!(figures.counter(Counter::Started), 2, "bob's");
}

/// So many a turn, until all are done, without a wait in between.
#[test]
fn a_review_is_bounded_in_each_turn() {
    let (mut rig, mailbox) = rig(Framing::frames(1000), users([user("alice")]));
    let most = USERS_REVIEWED_PER_TURN as usize;
    let crowd: Vec<usize> = (0..2 * most + most / 2).map(|_| rig.connect(WIDE)).collect();
    for client in &crowd {
        rig.send(*client, &greet("alice.1"));
        rig.taken(*client);
    }
    mailbox.post(Command::Users(users([user("bob")]))).expect("room");
    rig.one_turn();
    let mut before = 0;
    for turn in 1..=3 {
        rig.one_turn();
        let now = rig.figures().counter(Counter::UsersRemoved);
        let more = now - before;
        assert!(more > 0 && more <= most as u64, "turn {turn}: {more}");
        before = now;
    }
    assert_eq!(before, crowd.len() as u64);
    for client in crowd {
        assert_eq!(goaway(&rig.take(client)).0, UNAUTHENTICATED);
        rig.end(client);
    }
    rig.assert_rest(0);
}

/// A replacement on the heels of another begins anew.
#[test]
fn the_last_users_count() {
    let (mut rig, mailbox) = rig(Framing::frames(1000), users([user("alice"), user("bob")]));
    let (alice, bob) = (rig.connect(WIDE), rig.connect(WIDE));
    rig.send(alice, &greet("alice.1"));
    rig.send(bob, &greet("bob.1"));
    rig.taken(alice);
    rig.taken(bob);
    for with in [users([user("alice")]), users([user("alice"), user("bob")]), users([user("bob")])] {
        mailbox.post(Command::Users(with)).expect("room");
    }
    rig.settle();
    assert_eq!(goaway(&rig.take(alice)).0, UNAUTHENTICATED);
    rig.send(bob, &frame(ECHO, b"x"));
    assert_eq!(rig.take(bob), frame(ECHO, b"nothing as bob"), "it was somebody all the time");
}

#[test]
fn an_address_that_guesses_is_listened_to_again_after_a_minute() {
    let (mut rig, _) = rig(Framing::frames(1000), users([user("alice")]));
    let attempt = |rig: &mut Rig<Mirror>, token: &str| {
        let client = rig.connect(WIDE);
        rig.send(client, &greet(token));
        let told = rig.take(client);
        rig.end(client);
        told
    };
    for _ in 0..FAILED_HELLOS_MAX {
        let (status, wait_ms, text) = goaway(&attempt(&mut rig, "alice.guess"));
        assert_eq!((status, wait_ms), (UNAUTHENTICATED, 1_000));
        assert_eq!(text, "the token of this HELLO is nobody's");
    }
    rig.pass(1_000, 1_000);
    let (_, wait_ms, text) = goaway(&attempt(&mut rig, "alice.1"));
    assert_eq!(wait_ms, FAILED_HELLOS_MS - 1_000);
    assert!(text.ends_with("try again in 59 s"), "{text}");
    rig.pass(u64::from(wait_ms), 500);
    let told = attempt(&mut rig, "alice.1");
    assert_eq!(told[..2], [0x40, 0x03], "WELCOME");
    let figures = rig.figures();
    let failed = u64::from(FAILED_HELLOS_MAX);
    assert_eq!(
        (figures.counter(Counter::HellosFailed), figures.counter(Counter::HellosThrottled)),
        (failed, 1)
    );
}
