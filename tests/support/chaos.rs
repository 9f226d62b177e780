//! A TCP proxy that harms what passes, as a network does, or worse: for machines whose kernel can't.
//!
//! ```text
//!   client ==up==> [ read | held until its time | written ] ==up==> server
//!          <=down=                                          <=down=
//! ```
//!
//! What happens to a connection is a [`Plan`]: some [`Fault`]s for each direction. Which plan it gets depends on its
//! number, and, if it is drawn from a seed, on that: the same seed gives the same plans. When bytes come, and in what
//! portions, is the machine's affair, so a fault is placed at a byte and not at a moment.
//!
//! Always holds: bytes leave in their order, and are those that came, but for a flipped bit; a fault is counted, and
//! noted in its connection's [`Record`], when it is done and not when it is planned; one thread; [`CONNECTIONS_MAX`]
//! connections, more wait in the accept queue; [`LANE_BYTES`] held in each direction; a connection that is not over
//! after [`LIFETIME`] is reset. Never: a fault that nobody asked for; addresses beyond loopback.

mod lane;

use lane::{End, Lane, Next, Side};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;
use socket2::SockRef;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tidegate::base::Rng;

/// Connections at once.
pub const CONNECTIONS_MAX: usize = 256;

/// Bytes that are held in one direction before no more are read.
pub const LANE_BYTES: usize = 64 << 10;

/// How long a connection may take.
pub const LIFETIME: Duration = Duration::from_secs(30);

/// Records that are kept for whoever asks; of older connections nobody does.
const RECORDS_MAX: usize = 4096;

/// How long the loop sleeps when nothing is due.
const IDLE_WAIT: Duration = Duration::from_millis(500);

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// Something that may happen in one direction. Places count bytes of that direction, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Everything arrives so much later.
    Delay { ms: u64 },
    /// No more than so many bytes pass in a second.
    Cap { bytes_per_second: u64 },
    /// From a byte on, each of so many leaves in a write of its own.
    Split { from: u64, bytes: u64 },
    /// A bit of this byte is changed.
    Flip { at: u64, bit: u8 },
    /// So many bytes pass, then nothing for a time.
    Freeze { at: u64, ms: u64 },
    /// So many bytes pass, then nothing any more. The connection is reset when either peer ends its side.
    Hold { at: u64 },
    /// So many bytes pass, then the direction ends. The other one goes on.
    HalfClose { at: u64 },
    /// So many bytes pass, then both directions end.
    Truncate { at: u64 },
    /// So many bytes pass, then both peers' connections are reset, and what they had not read may be lost.
    Reset { at: u64 },
}

/// How many kinds of faults there are.
const KINDS: usize = 9;

impl Fault {
    /// Their names, each in the place that [`Fault::kind`] tells.
    pub const NAMES: [&str; KINDS] =
        ["delay", "cap", "split", "flip", "freeze", "hold", "half_close", "truncate", "reset"];

    /// Its kind's place in [`Fault::NAMES`].
    pub const fn kind(self) -> usize {
        match self {
            Fault::Delay { .. } => 0,
            Fault::Cap { .. } => 1,
            Fault::Split { .. } => 2,
            Fault::Flip { .. } => 3,
            Fault::Freeze { .. } => 4,
            Fault::Hold { .. } => 5,
            Fault::HalfClose { .. } => 6,
            Fault::Truncate { .. } => 7,
            Fault::Reset { .. } => 8,
        }
    }

    /// One of this kind, somewhere within `reach` bytes. Delays and pauses are short, so that they alone end nothing.
    fn draw(kind: usize, reach: u64, rng: &mut Rng) -> Fault {
        let at = rng.below(reach);
        match kind {
            0 => Fault::Delay { ms: rng.between(1, 60) },
            1 => Fault::Cap { bytes_per_second: rng.between(64 << 10, 512 << 10) },
            2 => Fault::Split { from: at, bytes: rng.between(1, 2000) },
            3 => Fault::Flip { at, bit: u8::try_from(rng.below(8)).expect("less than 8") },
            4 => Fault::Freeze { at, ms: rng.between(10, 300) },
            5 => Fault::Hold { at },
            6 => Fault::HalfClose { at },
            7 => Fault::Truncate { at },
            _ => Fault::Reset { at },
        }
    }
}

/// What will happen to one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// From the client to the server.
    pub up: Vec<Fault>,
    /// From the server to the client.
    pub down: Vec<Fault>,
}

impl Plan {
    /// Nothing at all for one connection in eight. Else, for each direction, nothing, one fault of any kind within its
    /// first `reach` bytes, or two.
    pub fn draw(seed: u64, number: u64, reach: u64) -> Plan {
        let mut rng = Rng::new(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        if rng.chance(125) {
            return Plan::default();
        }
        let mut lane = || {
            let count = [0, 1, 1, 1, 2, 2][usize::try_from(rng.below(6)).expect("less than 6")];
            let mut kind = || usize::try_from(rng.below(KINDS as u64)).expect("a handful");
            let kinds: Vec<usize> = (0..count).map(|_| kind()).collect();
            kinds.into_iter().map(|kind| Fault::draw(kind, reach, &mut rng)).collect::<Vec<_>>()
        };
        Plan { up: lane(), down: lane() }
    }
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Up,
    Down,
}

/// What was done to one connection until now.
#[derive(Debug, Default)]
pub struct Record {
    /// In the order of acceptance, from 0.
    pub number: u64,
    done: [[AtomicU64; KINDS]; 2],
    /// Writes in each direction.
    writes: [AtomicU64; 2],
}

impl Record {
    /// Whether a fault of this name was done in this direction.
    pub fn has(&self, way: Way, name: &str) -> bool {
        let kind = Fault::NAMES.iter().position(|other| *other == name).expect("a fault's name");
        self.done[way as usize][kind].load(Relaxed) > 0
    }

    /// The same in either direction.
    pub fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.has(Way::Up, name) || self.has(Way::Down, name))
    }

    /// All that was done, in words.
    pub fn text(&self) -> String {
        let done = |way: Way| {
            let names = Fault::NAMES.iter().filter(move |name| self.has(way, name));
            names.map(move |name| format!("{way:?} {name}"))
        };
        let all: Vec<String> = done(Way::Up).chain(done(Way::Down)).collect();
        if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
    }

    pub fn writes(&self, way: Way) -> u64 {
        self.writes[way as usize].load(Relaxed)
    }
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    accepted: AtomicU64,
    expired: AtomicU64,
    done: [AtomicU64; KINDS],
    held_most: AtomicU64,
    records: Mutex<VecDeque<(SocketAddr, Arc<Record>)>>,
}

impl Shared {
    fn note(&self, record: &Record, way: Way, fault: Fault) {
        record.done[way as usize][fault.kind()].fetch_add(1, Relaxed);
        self.done[fault.kind()].fetch_add(1, Relaxed);
    }
}

/// A proxy that runs until it is dropped; then what is still open is reset.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy before `server`; `plan` says what happens to each connection, by its number.
    pub fn start(server: SocketAddr, plan: impl FnMut(u64) -> Plan + Send + 'static) -> Proxy {
        let mut listener =
            TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let poll = Poll::new().expect("a poller");
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE).expect("a fresh socket");
        let waker = Waker::new(poll.registry(), WAKER).expect("a waker");
        let shared = Arc::new(Shared::default());
        let plan = Box::new(plan);
        let pairs = Slab::with_capacity(CONNECTIONS_MAX);
        let proxy =
            Loop { poll, listener, server, plan, pairs, may_accept: true, shared: Arc::clone(&shared) };
        let thread = std::thread::spawn(move || proxy.run());
        Proxy { address, shared, waker, thread: Some(thread) }
    }

    /// What was done to the youngest connection from this client's address; `None` as long as it was not accepted.
    pub fn record(&self, client: SocketAddr) -> Option<Arc<Record>> {
        let records = self.shared.records.lock().expect("nobody panics with it");
        records.iter().rev().find(|(from, _)| *from == client).map(|(_, record)| Arc::clone(record))
    }

    /// How often each kind of fault was done, in the order of [`Fault::NAMES`].
    pub fn done(&self) -> [u64; KINDS] {
        std::array::from_fn(|kind| self.shared.done[kind].load(Relaxed))
    }

    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Relaxed)
    }

    /// Connections that were reset because their time was over.
    pub fn expired(&self) -> u64 {
        self.shared.expired.load(Relaxed)
    }

    /// The most bytes that any direction ever held.
    pub fn held_most(&self) -> u64 {
        self.shared.held_most.load(Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the proxy has not failed");
        }
    }
}

/// A client, its server, and what passes between them.
struct Pair {
    client: Side,
    server: Side,
    up: Lane,
    down: Lane,
    record: Arc<Record>,
    until: Instant,
}

impl Pair {
    /// Moves what can be moved.
    fn step(&mut self, shared: &Shared, now: Instant) -> Next {
        if now >= self.until {
            shared.expired.fetch_add(1, Relaxed);
            return Next::End(End::Reset);
        }
        let record = &self.record;
        let mut up_note = |fault| shared.note(record, Way::Up, fault);
        let up = self.up.step(&mut self.client, &mut self.server, now, &mut up_note);
        let mut down_note = |fault| shared.note(record, Way::Down, fault);
        let down = self.down.step(&mut self.server, &mut self.client, now, &mut down_note);
        record.writes[Way::Up as usize].store(self.up.writes, Relaxed);
        record.writes[Way::Down as usize].store(self.down.writes, Relaxed);
        shared.held_most.fetch_max(self.up.held_bytes().max(self.down.held_bytes()) as u64, Relaxed);
        match up.and(down) {
            Next::End(End::Truncate) => {
                self.up.cut(&mut self.server);
                self.down.cut(&mut self.client);
                Next::Now
            }
            Next::At(_) | Next::Never if self.up.is_over() && self.down.is_over() => Next::End(End::Close),
            next @ (Next::Now | Next::Never) => next,
            Next::At(at) => Next::At(at.min(self.until)),
            end @ Next::End(End::Close | End::Reset) => end,
        }
    }

    fn reset(self) {
        for side in [&self.client, &self.server] {
            let _ = SockRef::from(&side.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

struct Loop<F> {
    poll: Poll,
    listener: TcpListener,
    server: SocketAddr,
    plan: Box<F>,
    pairs: Slab<Pair>,
    /// The accept queue may hold somebody.
    may_accept: bool,
    shared: Arc<Shared>,
}

impl<F: FnMut(u64) -> Plan> Loop<F> {
    fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        let mut wait = Duration::ZERO;
        while !self.shared.is_over.load(Relaxed) {
            if let Err(error) = self.poll.poll(&mut events, Some(wait)) {
                assert_eq!(error.kind(), std::io::ErrorKind::Interrupted, "the poller works");
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.may_accept = true,
                    WAKER => {}
                    Token(token) => {
                        let Some(pair) = self.pairs.get_mut(token / 2) else { continue };
                        let side = if token % 2 == 0 { &mut pair.client } else { &mut pair.server };
                        side.is_readable |= event.is_readable() || event.is_error();
                        side.is_writable |= event.is_writable() || event.is_error();
                        side.is_ended |= event.is_read_closed() || event.is_error();
                    }
                }
            }
            self.accept();
            wait = self.step_all();
        }
        self.pairs.drain().for_each(Pair::reset);
    }

    fn accept(&mut self) {
        while self.may_accept && self.pairs.len() < CONNECTIONS_MAX {
            let (client, from) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.may_accept = error.kind() != std::io::ErrorKind::WouldBlock;
                    continue;
                }
            };
            // Who is refused at once is gone: its client sees an end, as from a server that is not there.
            let Ok(server) = TcpStream::connect(self.server) else { continue };
            let number = self.shared.accepted.fetch_add(1, Relaxed);
            let record = Arc::new(Record { number, ..Record::default() });
            let mut records = self.shared.records.lock().expect("nobody panics with it");
            if records.len() == RECORDS_MAX {
                records.pop_front();
            }
            records.push_back((from, Arc::clone(&record)));
            drop(records);
            let entry = self.pairs.vacant_entry();
            let place = 2 * entry.key();
            let side = |mut stream: TcpStream, token| {
                stream.set_nodelay(true).expect("an option of a fresh socket");
                let both = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut stream, Token(token), both).expect("a fresh socket");
                Side::new(stream)
            };
            let plan = (self.plan)(number);
            entry.insert(Pair {
                client: side(client, place),
                server: side(server, place + 1),
                up: Lane::new(plan.up),
                down: Lane::new(plan.down),
                record,
                until: Instant::now() + LIFETIME,
            });
        }
    }

    /// One step for each connection; gives how long the loop may sleep.
    fn step_all(&mut self) -> Duration {
        let now = Instant::now();
        let mut wait = IDLE_WAIT;
        let mut ended = Vec::new();
        for (key, pair) in &mut self.pairs {
            match pair.step(&self.shared, now) {
                Next::Now => wait = Duration::ZERO,
                Next::At(at) => wait = wait.min(at.saturating_duration_since(now)),
                Next::Never => wait = wait.min(pair.until.saturating_duration_since(now)),
                Next::End(end) => ended.push((key, end)),
            }
        }
        for (key, end) in ended {
            let pair = self.pairs.remove(key);
            match end {
                End::Reset => pair.reset(),
                End::Close | End::Truncate => drop(pair),
            }
            wait = Duration::ZERO;
        }
        wait
    }
}
