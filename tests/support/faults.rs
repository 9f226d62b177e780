//! Faults that are made in real servers, each beside ordinary traffic, for whoever has to name them.
//!
//! Always holds: an onlooker sees the server before its fault and while it lasts; then it is over, and the server ends in
//! order. One of them lowers the descriptor limit of the whole process, so a test that makes it is alone in its file.

use crate::authority::{Authority, Folder, Wanted};
use crate::support::client::{Client, ECHO, INTERNAL, OVERLOADED, PROTOCOL, frame};
use crate::support::diagnosis::HEALTHY;
use crate::support::extended::{HELLO, hello};
use crate::support::serving::{Gate, Neighbour, Serving, builder};
use crate::support::{PATIENCE, wait_until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use std::fs::File;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use tidegate::base::limits::Limits;
use tidegate::server::{Builder, Listener, Reloaded};
use tidegate::service::{AfterPanic, Cx, Frame, Later, Peer, Replied, Reply, Service};
use tidegate::tls::TlsFiles;
use tidegate::{User, Users};

/// How long a fault lasts at least before it is looked at.
const WINDOW: Duration = Duration::from_secs(2);

/// Who looks at a server that has a fault.
pub trait Onlooker {
    /// Nothing is wrong yet.
    fn before(&mut self, serving: &Serving);

    /// The fault has been there for [`WINDOW`], and is.
    fn after(&mut self);
}

/// A route whose handler takes 0.4 s, one whose handler waits for the gate, one that is not answered, and one that panics.
const SLOW: u16 = 5;
const GATED: u16 = 6;
const UNANSWERED: u16 = 7;
const PANICKING: u16 = 8;

/// A server to break, and who uses it meanwhile.
struct Patient {
    serving: Serving,
    neighbours: Vec<Neighbour>,
    gate: Gate,
    unanswered: Arc<Mutex<Vec<Later>>>,
}

impl Patient {
    fn of(builder: Builder) -> Patient {
        let gate = Gate::default();
        let unanswered: Arc<Mutex<Vec<Later>>> = Arc::default();
        let (held, kept) = (gate.clone(), Arc::clone(&unanswered));
        let running = builder.label_routes(SLOW..=GATED, "slow").start_fn(move |frame, reply| {
            match frame.route() {
                SLOW => std::thread::sleep(Duration::from_millis(400)),
                GATED => held.wait(),
                UNANSWERED => {
                    let (later, replied) = reply.defer();
                    kept.lock().expect("no panic").extend(later);
                    return replied;
                }
                PANICKING => panic!("asked to"),
                _ => {}
            }
            reply.forward(frame.whole())
        });
        let serving = Serving::of(running.expect("a server"));
        let neighbours = (0..4).map(|_| Neighbour::of(serving.frames())).collect();
        Patient { serving, neighbours, gate, unanswered }
    }

    fn leave(&mut self) {
        self.neighbours.drain(..).for_each(Neighbour::leave);
    }
}

/// Two looks around something that is repeated for as long as the window is open.
fn around(patient: &mut Patient, onlooker: &mut dyn Onlooker, mut again: impl FnMut(&mut Patient)) {
    onlooker.before(&patient.serving);
    let until = Instant::now() + WINDOW;
    while Instant::now() < until {
        again(patient);
    }
    onlooker.after();
}

fn rest(_: &mut Patient) {
    std::thread::sleep(Duration::from_millis(100));
}

fn healthy(onlooker: &mut dyn Onlooker) {
    let mut patient = Patient::of(builder().shards(2));
    around(&mut patient, onlooker, rest);
    patient.leave();
    patient.serving.end();
}

/// Connection after connection sends a frame with a wrong checksum.
fn bad_checksums(onlooker: &mut dyn Onlooker) {
    let mut patient = Patient::of(builder().shards(2));
    let mut bad = frame(ECHO, b"bad");
    *bad.last_mut().expect("a checksum") ^= 0x55;
    around(&mut patient, onlooker, |patient| {
        let mut client = patient.serving.connect();
        client.send(&bad);
        client.expect_goaway(PROTOCOL);
    });
    patient.leave();
    patient.serving.end();
}

/// Six peers ask for megabytes and read nothing.
fn slow_readers(onlooker: &mut dyn Onlooker) {
    let mut patient = Patient::of(builder().shards(2));
    onlooker.before(&patient.serving);
    let want = frame(ECHO, &[7; 64 << 10]).repeat(128);
    let readers: Vec<_> = (0..6)
        .map(|_| {
            let client = Client::connect_narrow(patient.serving.frames(), 4 << 10);
            let sending = client.send_beside(want.clone(), false);
            (client, sending)
        })
        .collect();
    std::thread::sleep(WINDOW);
    onlooker.after();
    for (client, sending) in readers {
        let _ = client.stream.shutdown(std::net::Shutdown::Both);
        sending.over();
    }
    patient.leave();
    patient.serving.end();
}

/// A handler that takes 0.4 s, asked again and again.
fn slow_handler(onlooker: &mut dyn Onlooker) {
    let mut patient = Patient::of(builder().shards(2));
    let mut client = patient.serving.connect();
    around(&mut patient, onlooker, |_| {
        client.request(SLOW, b"slow");
        client.expect(SLOW, b"slow");
    });
    drop(client);
    patient.leave();
    patient.serving.end();
}

/// A handler that does not come back while it is looked at.
fn stuck_handler(onlooker: &mut dyn Onlooker) {
    let mut patient = Patient::of(builder().shards(2));
    let mut client = patient.serving.connect();
    onlooker.before(&patient.serving);
    client.request(GATED, b"stuck");
    patient.gate.wait_for_handler();
    std::thread::sleep(WINDOW);
    onlooker.after();
    patient.gate.open();
    client.expect(GATED, b"stuck");
    drop(client);
    patient.leave();
    patient.serving.end();
}

/// More newcomers than the process has descriptors left. Their own were made before, so that none is missing here.
fn descriptors_exhausted(onlooker: &mut dyn Onlooker) {
    let mut patient = Patient::of(builder().shards(2));
    // So many in use that the one which is free now and then is no part worth naming.
    let used: Vec<File> = (0..100).map(|_| File::open("/dev/null").expect("there are enough")).collect();
    onlooker.before(&patient.serving);
    let make = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let mut newcomers: Vec<Socket> = (0..40).map(|_| make()).collect();
    let address = patient.serving.frames();
    let usual = getrlimit(Resource::Nofile);
    let most = std::fs::metadata("/proc/self/fd").expect("Linux").len().max(16) + 6;
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: usual.maximum })
        .expect("less may be asked");
    for newcomer in &newcomers {
        newcomer.connect(&address.into()).expect("the kernel takes them");
        std::thread::sleep(WINDOW / 40);
    }
    onlooker.after();
    setrlimit(Resource::Nofile, usual).expect("as it was");
    drop(used);
    // They end in order, and not by a reset of what they were told.
    newcomers.drain(..).for_each(|newcomer| {
        let mut client = Client::over(TcpStream::from(newcomer));
        client.finish_sending();
        client.read_to_end();
    });
    patient.leave();
    patient.serving.end();
}

/// Frames of half a megabyte that stop halfway, in a server with 4 MiB.
fn memory_at_limit(onlooker: &mut dyn Onlooker) {
    let mut patient = Patient::of(builder().shards(1).memory(4 << 20));
    onlooker.before(&patient.serving);
    let half = &frame(ECHO, &[7; 512 << 10])[..200 << 10];
    let hogs: Vec<_> = (0..10)
        .map(|_| {
            let client = patient.serving.connect();
            let sending = client.send_beside(half.to_vec(), false);
            (client, sending)
        })
        .collect();
    std::thread::sleep(WINDOW);
    onlooker.after();
    for (client, sending) in hogs {
        let _ = client.stream.shutdown(std::net::Shutdown::Both);
        sending.over();
    }
    patient.leave();
    patient.serving.end();
}

/// Six peers with more requests than may be open, to a service that does not answer.
fn open_requests_full(onlooker: &mut dyn Onlooker) {
    let limits = Limits { open_requests: 4, ..Limits::default() };
    let mut patient = Patient::of(builder().shards(2).limits(limits));
    onlooker.before(&patient.serving);
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let mut client = patient.serving.connect();
            client.send(&frame(UNANSWERED, b"never").repeat(8));
            client
        })
        .collect();
    std::thread::sleep(WINDOW);
    onlooker.after();
    patient.leave();
    drop(clients);
    patient.unanswered.lock().expect("no panic").clear();
    patient.serving.handle.drain(Duration::from_secs(1));
    patient.serving.join();
}

/// Connection after connection is used and then reset.
fn reset_storm(onlooker: &mut dyn Onlooker) {
    let mut patient = Patient::of(builder().shards(2));
    around(&mut patient, onlooker, |patient| {
        let mut client = patient.serving.connect();
        client.echo(b"and away");
        let socket = Socket::from(client.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("an option of a socket");
    });
    patient.leave();
    patient.serving.end();
}

/// A drain that waits for an answer.
fn draining(onlooker: &mut dyn Onlooker) {
    let mut patient = Patient::of(builder().shards(2));
    let mut client = patient.serving.connect();
    onlooker.before(&patient.serving);
    client.request(UNANSWERED, b"later");
    wait_until("the request waits", || !patient.unanswered.lock().expect("no panic").is_empty());
    std::thread::sleep(WINDOW);
    patient.leave();
    patient.serving.handle.drain(PATIENCE);
    std::thread::sleep(Duration::from_millis(200));
    onlooker.after();
    for later in patient.unanswered.lock().expect("no panic").drain(..) {
        later.send(b"now");
    }
    client.expect(UNANSWERED, b"now");
    client.read_to_end();
    patient.serving.join();
}

/// Keeps panics from being printed with their backtraces, which would hold up a loop for longer than is usual.
struct Quiet;

impl Quiet {
    fn new() -> Quiet {
        std::panic::set_hook(Box::new(|_| {}));
        Quiet
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::panic::take_hook();
        }
    }
}

/// Handlers panic, and their requests fail.
fn handler_panics(onlooker: &mut dyn Onlooker) {
    let _quiet = Quiet::new();
    let mut patient = Patient::of(builder().shards(2));
    let mut client = patient.serving.connect();
    around(&mut patient, onlooker, |patient| {
        client.request(PANICKING, b"");
        client.expect_error(INTERNAL);
        rest(patient);
    });
    drop(client);
    patient.leave();
    patient.serving.end();
}

/// Eight peers where six may be. The neighbours are there first.
fn newcomers_refused(onlooker: &mut dyn Onlooker) {
    let mut patient = Patient::of(builder().shards(2).max_connections(6));
    let mut last = [patient.serving.connect(), patient.serving.connect()];
    last.iter_mut().for_each(|client| client.echo(b"here"));
    around(&mut patient, onlooker, |patient| {
        patient.serving.connect().expect_goaway(OVERLOADED);
        rest(patient);
    });
    drop(last);
    patient.leave();
    patient.serving.end();
}

/// A limit of descriptors that is a little more than what is used.
fn descriptors_low(onlooker: &mut dyn Onlooker) {
    let mut patient = Patient::of(builder().shards(2));
    onlooker.before(&patient.serving);
    let usual = getrlimit(Resource::Nofile);
    let used = std::fs::metadata("/proc/self/fd").expect("Linux").len();
    let used = used.max(std::fs::read_dir("/proc/self/fd").expect("Linux").count() as u64);
    setrlimit(Resource::Nofile, Rlimit { current: Some(used + used / 12), maximum: usual.maximum })
        .expect("less may be asked");
    std::thread::sleep(WINDOW);
    onlooker.after();
    setrlimit(Resource::Nofile, usual).expect("as it was");
    patient.leave();
    patient.serving.end();
}

/// Newcomers that are silent where a PROXY header is wanted, more than there are seats.
fn entrance_flood(onlooker: &mut dyn Onlooker) {
    let quiet = Listener::frames("127.0.0.1:0").proxied_by(["127.0.0.0/8".parse().expect("a network")]);
    let mut patient = Patient::of(builder().listen(quiet).expect("a free port").shards(1).max_connections(8));
    let entrance = patient.serving.handle.local_addrs()[2].ip().expect("TCP");
    let mut newcomers = Vec::new();
    around(&mut patient, onlooker, |_| {
        newcomers.push(TcpStream::connect(entrance).expect("the kernel takes it"));
        std::thread::sleep(Duration::from_millis(40));
    });
    drop(newcomers);
    patient.leave();
    patient.serving.end();
}

/// Somebody tries one token after the other.
fn users_refused(onlooker: &mut dyn Onlooker) {
    let mut users = Users::new();
    users.add(User::new("alice").expect("a name").certificate("alice")).expect("the first");
    let guarded = Listener::frames("127.0.0.1:0").wants_users();
    let builder = builder().listen(guarded).expect("a free port").users(users);
    let mut patient = Patient::of(builder.shards(2));
    let door = patient.serving.handle.local_addrs()[2].ip().expect("TCP");
    around(&mut patient, onlooker, |_| {
        let mut client = Client::connect(door);
        client.request(HELLO, &hello(1, 0, "", b"alice.guess", b""));
        client.read_to_end();
        std::thread::sleep(Duration::from_millis(20));
    });
    patient.leave();
    patient.serving.end();
}

/// A certificate that has three days left.
fn certificate_expiring(onlooker: &mut dyn Onlooker) {
    let folder = Folder::new();
    let wanted = Wanted::server().lives(Duration::from_secs(3 * 86_400));
    let (cert, key) = Authority::new("test").issue(&wanted).write(&folder, "server");
    let secure = Listener::frames("127.0.0.1:0").tls(TlsFiles::new(cert, key));
    let mut patient = Patient::of(builder().listen(secure).expect("good files").shards(2));
    around(&mut patient, onlooker, rest);
    patient.leave();
    patient.serving.end();
}

/// A file with a mistake is read. Who reads files says so to the server; here it is this test.
fn reload_refused(onlooker: &mut dyn Onlooker) {
    let mut patient = Patient::of(builder().shards(2));
    onlooker.before(&patient.serving);
    patient.serving.handle.count_reload(Reloaded::Refused);
    std::thread::sleep(WINDOW);
    onlooker.after();
    patient.leave();
    patient.serving.end();
}

/// Can't be made again when it has panicked, so that its loop dies.
struct Frail(Arc<Mutex<Vec<Later>>>);

impl Service for Frail {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn on_frame(&mut self, _: &mut (), frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        match frame.route() {
            PANICKING => panic!("asked to"),
            UNANSWERED => {
                let (later, replied) = reply.defer();
                self.0.lock().expect("no panic").extend(later);
                replied
            }
            _ => reply.send(&cx.id().shard.to_be_bytes()),
        }
    }

    fn on_panic(&mut self) -> AfterPanic {
        AfterPanic::Rebuild
    }
}

/// One of two loops dies; the other's drain waits for an answer.
fn loop_dead(onlooker: &mut dyn Onlooker) {
    let _quiet = Quiet::new();
    let unanswered: Arc<Mutex<Vec<Later>>> = Arc::default();
    let (made, kept) = (Arc::new(AtomicU32::new(0)), Arc::clone(&unanswered));
    let running = builder().shards(2).start(move || {
        assert!(made.fetch_add(1, Relaxed) < 2, "no more services");
        Frail(Arc::clone(&kept))
    });
    let serving = Serving::of(running.expect("a server"));
    let mut by_loop: [Option<Client>; 2] = [None, None];
    while by_loop.iter().any(Option::is_none) {
        let mut client = serving.connect();
        client.request(ECHO, b"");
        let at = client.receive().payload;
        by_loop[usize::from(*at.last().expect("a loop's number"))] = Some(client);
    }
    let [Some(mut waiting), Some(mut killer)] = by_loop else { unreachable!("both are there") };
    onlooker.before(&serving);
    waiting.request(UNANSWERED, b"later");
    wait_until("the request waits", || !unanswered.lock().expect("no panic").is_empty());
    std::thread::sleep(WINDOW);
    killer.request(PANICKING, b"");
    wait_until("a loop has died, and the other one drains", || {
        serving.handle.dead_shard().is_some() && serving.handle.is_draining()
    });
    onlooker.after();
    for later in unanswered.lock().expect("no panic").drain(..) {
        later.send(b"now");
    }
    waiting.read_to_end();
    drop(killer);
    wait_until("the server has ended", || serving.is_finished());
    serving.into_running().join().expect_err("a loop died");
}

/// The names that must be given to it, in the order of the rules, and how it is made.
pub type Injection = (&'static [&'static str], fn(&mut dyn Onlooker));

/// All of them.
pub const FAULTS: &[Injection] = &[
    (&[HEALTHY], healthy),
    (&["bad_checksums"], bad_checksums),
    (&["slow_readers"], slow_readers),
    (&["stalled_handler"], slow_handler),
    (&["stalled_handler"], stuck_handler),
    (&["descriptors_exhausted"], descriptors_exhausted),
    (&["descriptors_low"], descriptors_low),
    (&["memory_at_limit"], memory_at_limit),
    (&["open_requests_full"], open_requests_full),
    (&["reset_storm"], reset_storm),
    (&["newcomers_refused"], newcomers_refused),
    (&["entrance_flood"], entrance_flood),
    (&["users_refused"], users_refused),
    (&["certificate_expiring"], certificate_expiring),
    (&["reload_refused"], reload_refused),
    (&["handler_panics"], handler_panics),
    (&["draining"], draining),
    // What follows from it is so, too.
    (&["handler_panics", "draining", "loop_dead"], loop_dead),
];

/// All of them in an order that nobody knows, and the seed that makes it again: TIDEGATE_DIAGNOSIS_SEED.
pub fn in_random_order() -> (u64, Vec<Injection>) {
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").subsec_nanos();
    let seed = std::env::var("TIDEGATE_DIAGNOSIS_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(now));
    let mut faults = FAULTS.to_vec();
    shuffle(&mut faults, seed);
    (seed, faults)
}

/// The order of a seed (Fisher and Yates, with the steps of a linear congruential generator).
fn shuffle<T>(all: &mut [T], seed: u64) {
    let mut state = seed;
    for at in (1..all.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let other = usize::try_from(state >> 33).expect("31 bits") % (at + 1);
        all.swap(at, other);
    }
}
