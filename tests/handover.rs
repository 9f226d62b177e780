//! Listening sockets that go from one server to the next, in one process: whoever waits in a queue is served, by whichever
//! of the two takes from it, and however many loops each has.

mod support;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use support::client::{Client, DRAINING, RECEIVED, nobody};
use support::{PATIENCE, wait_until};
use tidegate::metrics::Counter;
use tidegate::net::{Endpoint, Inherited, Passed};
use tidegate::server::{Builder, Handle, Listener, Prepared, Running, Server};
use tidegate::service::Router;

/// The sockets of a running server, as another process would get them.
fn passed(handle: &Handle) -> Inherited {
    let mut all = Vec::new();
    for one in handle.lendable() {
        for socket in 0..one.sockets {
            let fd = handle.lend(one.listener, socket).expect("there are descriptors").expect("it is there");
            let mut passed = Passed::new(fd).expect("a listening socket");
            assert_eq!(*passed.at(), one.at);
            passed.of = Some((one.listener, one.protocol.to_owned(), one.text.clone()));
            all.push(passed);
        }
    }
    Inherited::new(all)
}

/// Frames and lines at free ports of loopback.
fn listening(builder: Builder, loops: u16) -> Builder {
    let builder =
        builder.listen("127.0.0.1:0").and_then(|builder| builder.listen(Listener::lines("127.0.0.1:0")));
    builder.expect("free ports").shards(loops).grace(PATIENCE)
}

fn first(loops: u16) -> Running {
    listening(Server::builder(), loops).start(Router::embedded).expect("a server")
}

fn next_to(handle: &Handle, loops: u16) -> Prepared {
    let builder = listening(Server::builder().inherit(passed(handle)), loops);
    builder.prepare(Router::embedded).expect("a second server")
}

fn address(running: &Running, listener: usize) -> SocketAddr {
    running.local_addrs()[listener].ip().expect("TCP")
}

/// Ends a server that another one has taken over.
#[track_caller]
fn leave_to(running: Running, prepared: &Prepared) {
    assert!(running.handle().leave(prepared.taken()), "it was not draining");
    running.handle().drain(PATIENCE);
    let report = running.join().expect("no loop died");
    assert!(report.is_clean(), "{report}");
}

/// Nobody takes connections for a while: neither the old server, which is gone, nor the new one, which has not begun. All who
/// come meanwhile wait in the queues of whichever socket the kernel dealt them to, and all are served.
#[test]
fn who_waits_in_a_queue_is_served_by_the_next_server_whatever_its_loops() {
    const CLIENTS: usize = 64;
    let mut running = first(1);
    let places = [address(&running, 0), address(&running, 1)];
    for loops in [2, 1, 3, 2, 4, 1] {
        let prepared = next_to(&running.handle(), loops);
        leave_to(running, &prepared);
        let mut frames: Vec<_> = (0..CLIENTS).map(|_| Client::connect(places[0])).collect();
        let mut lines = Client::connect(places[1]);
        frames.iter_mut().for_each(|client| client.request(1, b"in the queue"));
        lines.send(b"hello\n");
        running = prepared.begin().expect("it begins");
        assert_eq!([address(&running, 0), address(&running, 1)], places, "{loops} loops");
        frames.iter_mut().for_each(|client| client.expect(1, b"in the queue"));
        lines.expect_line(RECEIVED);
        // Each loop's socket takes part from now on.
        let more: Vec<_> = (0..CLIENTS).map(|_| Client::connect(places[0])).collect();
        let handle = running.handle();
        wait_until("all were accepted", || {
            handle.snapshot().counter(Counter::Accepted) == (2 * CLIENTS + 1) as u64
        });
        assert!(
            handle.shard_snapshots().iter().all(|one| one.counter(Counter::Accepted) > 0),
            "a loop of {loops} has no part in the port"
        );
        drop((frames, lines, more));
        wait_until("all have left", || handle.connections() == 0);
    }
    running.handle().drain(PATIENCE);
    running.join().expect("no loop died");
}

/// Until the next server begins, the first one has all connections: also those that the kernel would deal to a loop which is
/// only prepared. When it is called off, nothing has changed.
#[test]
fn a_server_that_is_called_off_took_nobody() {
    let running = first(1);
    let place = address(&running, 0);
    for _ in 0..3 {
        let prepared = next_to(&running.handle(), 4);
        let mut clients: Vec<_> = (0..50).map(|_| Client::connect(place)).collect();
        clients.iter_mut().for_each(|client| client.echo(b"with two servers"));
        assert!(running.handle().leave(prepared.taken()));
        drop(prepared);
        assert!(running.handle().leave(&[]), "taken back");
        clients.iter_mut().for_each(|client| client.echo(b"with one again"));
    }
    // A drain that leaves its queue to nobody empties it.
    let handle = running.handle();
    handle.drain(PATIENCE);
    assert!(running.join().expect("no loop died").is_clean());
    assert!(!handle.leave(&[0]), "too late");
    assert!(handle.lendable().is_empty() && handle.lend(0, 0).expect("nothing to fail").is_none());
}

/// What the next server does not want ends with the first: its queue is emptied, and then the port is free.
#[test]
fn a_listener_that_is_not_taken_over_is_drained_as_always() {
    let running = first(2);
    let (frames, lines) = (address(&running, 0), address(&running, 1));
    let builder =
        Server::builder().inherit(passed(&running.handle())).listen("127.0.0.1:0").expect("inherited");
    let mut builder = builder.shards(1);
    let left_over: Vec<_> = builder.inherited().left_over().into_iter().cloned().collect();
    assert_eq!(left_over, [Endpoint::Ip(lines), Endpoint::Ip(lines)], "both loops' sockets");
    let prepared = builder.prepare(Router::embedded).expect("a second server");
    let mut line = Client::connect(lines);
    line.send(b"the last\n");
    leave_to(running, &prepared);
    line.expect_line(RECEIVED);
    line.expect_end();
    let next = prepared.begin().expect("it begins");
    Client::connect(frames).echo(b"here");
    TcpListener::bind(lines).expect("nobody has the port any more");
    next.handle().drain(PATIENCE);
    next.join().expect("no loop died");
}

static PLACES: AtomicU32 = AtomicU32::new(0);

/// A path of its own for each test; the file is gone behind it.
struct Path(PathBuf);

impl Path {
    fn new() -> Path {
        let number = PLACES.fetch_add(1, Relaxed);
        Path(std::env::temp_dir().join(format!("tidegate-handover-{}-{number}", std::process::id())))
    }

    fn listen(&self, builder: Builder) -> Builder {
        builder.listen(format!("unix:{}", self.0.display()).as_str()).expect("a free path").shards(2)
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A path's file belongs to the last server that has it.
#[test]
fn the_file_of_a_path_goes_on_with_its_socket() {
    let path = Path::new();
    let mut running = path.listen(Server::builder()).start(Router::embedded).expect("a server");
    for _ in 0..3 {
        let next = || path.listen(Server::builder().inherit(passed(&running.handle())));
        // One that is given up at any point leaves it.
        drop(next());
        drop(next().prepare(Router::embedded).expect("a second server"));
        Client::connect_unix(&path.0).echo(b"still there");
        let prepared = next().prepare(Router::embedded).expect("a second server");
        leave_to(running, &prepared);
        assert!(path.0.exists());
        let mut waiting = Client::connect_unix(&path.0);
        waiting.request(1, b"in the queue");
        running = prepared.begin().expect("it begins");
        waiting.expect(1, b"in the queue");
    }
    running.handle().drain(PATIENCE);
    running.join().expect("no loop died");
    assert!(!path.0.exists(), "the last one removes it");
}

/// A service manager's socket says nothing of a listener: its place does. One that can't be shared is dealt by one loop.
#[test]
fn a_socket_at_the_right_place_is_taken_whoever_made_it() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let place = socket.local_addr().expect("it is bound");
    let mut early = Client::connect(place);
    early.request(1, b"before there was a server");
    let inherited = Inherited::new(vec![Passed::new(socket).expect("a listening socket")]);
    let builder = Server::builder().inherit(inherited).listen(place.to_string().as_str()).expect("inherited");
    let running = builder.shards(3).start(Router::embedded).expect("a server");
    early.expect(1, b"before there was a server");
    let mut clients: Vec<_> = (0..30).map(|_| Client::connect(place)).collect();
    clients.iter_mut().for_each(|client| client.echo(b"hello"));
    let handle = running.handle();
    let handed = handle.snapshot().counter(Counter::HandedOff);
    assert!(handed >= 18, "one loop has the socket and deals: only {handed} were handed on");
    handle.drain(PATIENCE);
    clients.iter_mut().chain([&mut early]).for_each(|client| {
        client.expect_goaway(DRAINING);
    });
    running.join().expect("no loop died");
}

/// A rehearsal listens nowhere by itself.
#[test]
fn a_rehearsal_binds_nothing() {
    let (_kept, taken) = nobody();
    let running = first(1);
    let builder = Server::builder().rehearsal(true).inherit(passed(&running.handle()));
    let builder = listening(builder, 2).listen(taken.to_string().as_str()).expect("nothing is bound");
    let prepared = builder.prepare(Router::embedded).expect("all is made");
    assert_eq!(prepared.taken(), [0, 1]);
    drop(prepared);
    Client::connect(address(&running, 0)).echo(b"as before");
    running.handle().drain(Duration::from_secs(1));
    running.join().expect("no loop died");
}
