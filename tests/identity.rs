//! Who a peer is, and what it may do: over real servers.

mod support;

use std::sync::Arc;
use support::client::{ACK, Client, DISCARD, ECHO, ERROR, EXT, FLIP, GOAWAY, PING, PONG, frame};
use support::extended::{Block, HELLO, NOTICE, OK, UNAUTHENTICATED, bare_hello, correlated, hello};
use support::serving::Serving;
use tidegate::base::limits::{
    FAILED_HELLO_RECONNECT_MS, FAILED_HELLOS_MAX, FAILED_HELLOS_MS, USERS_REVIEWED_PER_TURN,
};
use tidegate::identity::{RouteSet, TokenHash};
use tidegate::metrics::{Counter, Outcome};
use tidegate::service::{Cx, Frame, Peer, Replied, Reply, Router, Service};
use tidegate::{CloseReason, Listener, Server, User, Users};

const FORBIDDEN: u16 = 3;

fn user(name: &str, token: &str) -> User {
    User::new(name).expect("a name").token(TokenHash::of([1; TokenHash::SALT_BYTES], token.as_bytes()))
}

fn routes(text: &str) -> RouteSet {
    RouteSet::parse(text).expect("routes")
}

fn users(of: impl IntoIterator<Item = User>) -> Users {
    let mut users = Users::new();
    of.into_iter().for_each(|user| users.add(user).expect("one more"));
    users
}

/// Alice may do all, Bob may use echo and discard.
fn both() -> Users {
    users([user("alice", "alice.1"), user("bob", "bob.1").routes(routes("1-2"))])
}

/// Frames for users, lines for everybody.
fn serve(users: Users) -> Serving {
    let builder = Server::builder()
        .listen(Listener::frames("127.0.0.1:0").wants_users())
        .and_then(|builder| builder.listen(Listener::frames("127.0.0.1:0")))
        .expect("two free ports");
    Serving::of(builder.users(users).shards(2).start(Router::embedded).expect("a server"))
}

fn greet(token: &str) -> Vec<u8> {
    frame(HELLO, &hello(1, 0, "", token.as_bytes(), b""))
}

fn greeted(serving: &Serving, token: &str) -> Client {
    let mut client = serving.connect();
    client.hello_with(&hello(1, 0, "", token.as_bytes(), b""));
    client
}

/// The GOAWAY of somebody who is not let in: how long it should wait, and why.
#[track_caller]
fn refused(client: &mut Client) -> (u32, String) {
    let got = client.receive();
    assert_eq!((got.header, got.status()), (GOAWAY, UNAUTHENTICATED), "{got:?}");
    let wait = u32::from_be_bytes(got.payload[2..6].try_into().expect("4 bytes"));
    let text = String::from_utf8(got.payload[6..].to_vec()).expect("text");
    client.expect_end();
    (wait, text)
}

#[test]
fn only_users_come_in_and_what_others_say_is_not_handled() {
    let serving = serve(both());
    let mut alice = greeted(&serving, "alice.1");
    alice.echo(b"it is me");
    let behind = correlated(ECHO, 7, b"never started");
    #[rustfmt::skip]
    let table: &[(&str, Vec<u8>, &str)] = &[
        ("wrong secret",   [greet("alice.2"), behind.clone()].concat(), "nobody's"),
        ("another's name", [greet("bob.alice.1"), behind.clone()].concat(), "nobody's"),
        ("no token",       [bare_hello(), behind.clone()].concat(),     "send a token"),
        ("no HELLO",       frame(ECHO, b"x"),                           "HELLO"),
        ("a PING first",   frame(PING, b"x"),                           "HELLO"),
    ];
    for (name, bytes, want) in table {
        let mut client = serving.connect();
        client.send(bytes);
        let (wait, text) = refused(&mut client);
        assert!(text.contains(want) && !text.contains("alice.2"), "case: {name}: {text}");
        let is_hello = bytes.starts_with(&HELLO.to_be_bytes());
        assert_eq!(wait, if is_hello { FAILED_HELLO_RECONNECT_MS } else { 0 }, "case: {name}");
    }
    // The other listener asks nobody.
    let open = serving.handle.local_addrs()[1].ip().expect("TCP");
    Client::connect(open).echo(b"plain");
    alice.echo(b"still me");
    drop(alice);
    serving.wait_for("all are gone", |now| now.closes(CloseReason::Unauthenticated) == 5);
    let now = serving.snapshot();
    assert_eq!((now.counter(Counter::HellosFailed), now.counter(Counter::Welcomed)), (3, 1));
    assert_eq!(now.counter(Counter::Started), 3, "alice's two and the plain one");
    serving.end();
}

/// Forbidden requests are answered in their places, whatever they look like, and the connection stays.
#[test]
fn what_a_user_may_not_do_is_answered_in_its_place() {
    let serving = serve(both());
    let mut bob = serving.connect();
    let one_way = Block { one_way: true, ..Block::default() }.frame(FLIP, b"unheard");
    let late = Block { correlation: Some(6), deadline_ms: Some(0), ..Block::default() };
    bob.send(
        &[
            greet("bob.1"),
            frame(ECHO, b"one"),
            frame(FLIP, b"two"),
            frame(DISCARD, b"three"),
            correlated(FLIP, 4, b"four"),
            correlated(ECHO, 5, b"five"),
            one_way,
            late.frame(ECHO, b"six"),
            frame(PING, b"p"),
            frame(ACK, b"seven"),
            frame(9, b"eight"),
            frame(ECHO, b"nine"),
        ]
        .concat(),
    );
    bob.expect_welcome();
    bob.expect(ECHO, b"one");
    let refused = bob.receive();
    assert_eq!((refused.header, refused.status()), (ERROR, FORBIDDEN));
    assert!(refused.text().contains("user bob may not use route 3"), "{}", refused.text());
    let body = bob.expect_extended(FLIP, FORBIDDEN, Some(4));
    assert!(String::from_utf8_lossy(&body).contains("bob"));
    assert_eq!(bob.expect_extended(ECHO, OK, Some(5)), b"five");
    bob.expect_extended(ECHO, support::extended::DEADLINE_EXCEEDED, Some(6));
    bob.expect(PONG, b"p");
    bob.expect_error(FORBIDDEN);
    bob.expect_error(FORBIDDEN);
    bob.expect(ECHO, b"nine");
    let notice = bob.receive();
    let told = [&FORBIDDEN.to_be_bytes()[..], &(EXT | FLIP).to_be_bytes()].concat();
    assert_eq!((notice.header, &notice.payload[..4]), (NOTICE, &told[..]), "of the one that wanted no reply");
    // Batches after the first, and as many as it takes for one to be timed.
    for round in 0..200_u32 {
        bob.echo(&round.to_be_bytes());
        bob.request(FLIP, b"x");
        bob.expect_error(FORBIDDEN);
    }
    let mut alice = greeted(&serving, "alice.1");
    alice.request(FLIP, b"\0");
    alice.expect(FLIP, b"\x01");
    let now = serving.snapshot();
    assert_eq!(now.counter(Counter::Forbidden), 205);
    assert_eq!(now.outcome(Outcome::Failed), 206, "one was too late");
    drop((alice, bob));
    serving.end();
}

/// Guesses cost their address a minute, and nobody else anything.
#[test]
fn who_guesses_is_not_listened_to_for_a_while() {
    // One loop counts all of it.
    let builder =
        Server::builder().listen(Listener::frames("127.0.0.1:0").wants_users()).expect("a free port");
    let serving = Serving::of(builder.users(both()).shards(1).start(Router::embedded).expect("a server"));
    let mut alice = greeted(&serving, "alice.1");
    for _ in 0..FAILED_HELLOS_MAX {
        let mut guess = serving.connect();
        guess.send(&greet("alice.guess"));
        assert_eq!(refused(&mut guess).0, FAILED_HELLO_RECONNECT_MS);
    }
    let mut late = serving.connect();
    late.send(&greet("alice.1"));
    let (wait, text) = refused(&mut late);
    assert!((1..=FAILED_HELLOS_MS).contains(&wait) && wait > FAILED_HELLOS_MS / 2, "{wait}");
    assert!(text.contains("10 attempts from this address have failed within 60 s"), "{text}");
    alice.echo(b"who is in stays");
    // Another address of loopback is somebody else.
    let mut elsewhere = Client::connect_from([127, 0, 0, 2], serving.frames());
    elsewhere.hello_with(&hello(1, 0, "", b"bob.1", b""));
    elsewhere.echo(b"let in");
    let now = serving.snapshot();
    let failed = u64::from(FAILED_HELLOS_MAX);
    assert_eq!((now.counter(Counter::HellosFailed), now.counter(Counter::HellosThrottled)), (failed, 1));
    drop((alice, elsewhere));
    serving.end();
}

/// Replaced users: who is gone, or has another token, is ended though it says nothing; others have their new
/// permissions with their next message.
#[test]
fn replaced_users_hold_for_connections_that_are_there() {
    let serving = serve(users([
        user("alice", "alice.1"),
        user("bob", "bob.1"),
        user("carol", "carol.1"),
        user("dave", "dave.1").routes(routes("1")),
    ]));
    let mut all: Vec<Client> =
        ["alice.1", "bob.1", "carol.1", "dave.1"].iter().map(|token| greeted(&serving, token)).collect();
    let open = serving.handle.local_addrs()[1].ip().expect("TCP");
    let mut plain = Client::connect(open);
    plain.echo(b"nobody");
    let now = users([
        user("alice", "alice.1").routes(routes("1")),
        user("bob", "bob.2"),
        user("dave", "dave.1"),
        user("eve", "eve.1"),
    ]);
    serving.handle.set_users(now).expect("they take it");
    for gone in &mut all[1..3] {
        let (_, text) = refused(gone);
        assert!(text.contains("not known any more"), "{text}");
    }
    let (alice, dave) = (0, 3);
    all[alice].echo(b"still allowed");
    all[alice].request(FLIP, b"x");
    all[alice].expect_error(FORBIDDEN);
    all[dave].request(FLIP, b"\0");
    all[dave].expect(FLIP, b"\x01");
    plain.echo(b"nobody still");
    let mut old = serving.connect();
    old.send(&greet("bob.1"));
    refused(&mut old);
    let new = [greeted(&serving, "bob.2"), greeted(&serving, "eve.1")];
    let now = serving.snapshot();
    assert_eq!((now.counter(Counter::UsersRemoved), now.counter(Counter::HellosFailed)), (2, 1));
    drop((all, plain, new));
    serving.end();
}

/// More than are looked at in a turn.
#[test]
fn a_crowd_of_a_removed_user_is_ended_without_a_word_of_theirs() {
    let serving = serve(both());
    let count = USERS_REVIEWED_PER_TURN as usize + 200;
    // On both loops together; each has a part of it.
    let crowd: Vec<Client> = (0..2 * count).map(|_| greeted(&serving, "bob.1")).collect();
    let mut alice = greeted(&serving, "alice.1");
    serving.handle.set_users(users([user("alice", "alice.1")])).expect("they take it");
    let all = 2 * count as u64;
    serving.wait_for("all are told", |now| now.counter(Counter::UsersRemoved) == all);
    alice.echo(b"still here");
    drop((crowd, alice));
    serving.wait_for_rest(0);
    serving.end();
}

/// Tells who asked.
struct Mirror;

impl Service for Mirror {
    type Conn = Option<String>;

    fn on_open(&mut self, peer: &Peer, cx: &mut Cx<'_>) -> Option<String> {
        assert_eq!((peer.certificate.as_ref(), cx.user()), (None, None));
        None
    }

    fn on_hello(
        &mut self,
        conn: &mut Option<String>,
        _hello: &tidegate::wire::Hello<'_>,
        cx: &mut Cx<'_>,
    ) -> tidegate::Welcomed {
        *conn = cx.user().map(|user| user.name().to_owned());
        tidegate::Welcomed::Anonymous
    }

    fn on_frame(
        &mut self,
        conn: &mut Option<String>,
        _frame: Frame<'_>,
        reply: Reply<'_>,
        cx: &mut Cx<'_>,
    ) -> Replied {
        let name = cx.user().map_or("nobody", |user| user.name());
        assert!(conn.is_none() || conn.as_deref() == Some(name));
        reply.send(name.as_bytes())
    }
}

#[test]
fn a_service_is_told_who_asks() {
    let builder = Server::builder()
        .listen(Listener::frames("127.0.0.1:0").wants_users())
        .and_then(|builder| builder.listen(Listener::frames("127.0.0.1:0")))
        .expect("two free ports");
    let serving = Serving::of(builder.users(Arc::new(both())).start(|| Mirror).expect("a server"));
    let open = serving.handle.local_addrs()[1].ip().expect("TCP");
    let mut clients = [greeted(&serving, "alice.1"), greeted(&serving, "bob.1"), Client::connect(open)];
    for (client, want) in clients.iter_mut().zip(["alice", "bob", "nobody"]) {
        client.request(ECHO, b"");
        client.expect(ECHO, want.as_bytes());
    }
    drop(clients);
    serving.end();
}
