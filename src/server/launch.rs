//! The start: sockets are dealt out to the loops, each loop is made on its own thread, and all begin together or none.

use super::builder::Place;
use super::change::Changes;
use super::pool::Pool;
use super::running::{Figures, Running, Shared};
use super::tracing::Recording;
use super::{Builder, Capacity, Error};
use crate::base::limits::{DIALED_PER_SHARD, LATERS_PER_SHARD, MAILBOX_COMMANDS};
use crate::base::text::panic_text;
use crate::buffer::parts_of;
use crate::metrics::ShardMetrics;
use crate::net::{self, Endpoint, Held, ListenOptions, Listener};
use crate::service::{Job, NoWorkers, Service, Workers};
use crate::shard::{Entrance, Group, Poller, Shard, pin_thread};
use crate::turn::{Board, Quotas, RouteLabel, TurnConfig};
use ::tracing::{info, warn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

/// The listeners of one loop, by their place in the server's list.
type Sockets = Vec<Option<Listener>>;

/// The server's own descriptors of all sockets, each with the number of its listener.
type AllHeld = Vec<(usize, Held)>;

/// A loop that was made and waits for the others.
#[derive(Debug)]
struct Made {
    thread: JoinHandle<()>,
    metrics: Arc<ShardMetrics>,
    thread_id: Option<u32>,
    go: SyncSender<Arc<Shared>>,
}

/// What a loop's thread tells when it was made.
type Ready = (Arc<ShardMetrics>, Option<u32>);

/// A server that is made and has not begun: its loops wait. Dropping it ends them, and leaves inherited sockets to whoever
/// passed them.
#[derive(Debug)]
pub struct Prepared {
    made: Vec<Made>,
    pool: Option<Pool<Job>>,
    shared: Arc<Shared>,
    /// The options of inherited sockets, by their listener.
    inherited: Vec<Option<ListenOptions>>,
    taken: Vec<usize>,
}

impl Prepared {
    /// The listeners of the other process whose sockets this one has, by their number there.
    pub fn taken(&self) -> &[usize] {
        &self.taken
    }

    /// Begins: from now on inherited sockets are this server's.
    ///
    /// # Errors
    ///
    /// If one of them can't listen; then nothing has begun.
    pub fn begin(mut self) -> Result<Running, Error> {
        self.shared.take_over(&self.inherited)?;
        let threads = std::mem::take(&mut self.made).into_iter().map(|one| {
            let _ = one.go.send(Arc::clone(&self.shared));
            one.thread
        });
        let threads = threads.collect();
        Ok(Running::new(Arc::clone(&self.shared), threads, self.pool.take()))
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        call_off(std::mem::take(&mut self.made), self.pool.take());
    }
}

pub(super) fn prepare<S, F>(builder: Builder, make_service: F) -> Result<Prepared, Error>
where
    S: Service,
    F: FnMut() -> S + Clone + Send + 'static,
{
    let shards = builder.shards_or_default();
    let (group, pollers) = Group::new(shards, builder.connections_max).map_err(Error::Host)?;
    let budget_bytes = builder.budget_bytes / usize::from(shards);
    let labels: Arc<[RouteLabel]> = builder.labels.clone().into();
    let quotas = Arc::new(Quotas::new(builder.listeners.len()));
    let capacity = capacity_of(&builder, budget_bytes, Arc::clone(&labels));
    let boards: Vec<Arc<Board>> = (0..shards).map(|_| Arc::default()).collect();
    let sampling = builder.sampling;
    let recording = Recording::new(sampling, shards, labels.len());
    let terms = (builder.limits.clone(), builder.listeners.clone(), sampling.unwrap_or_default());
    let room = builder.room();
    let changes = Changes::new(capacity, builder.grace, terms, (room, budget_bytes), boards.clone());
    let names = builder.places.iter().map(|place| (place.protocol, place.text.clone())).collect();
    let inherited =
        builder.places.iter().map(|place| place.is_inherited.then(|| place.options.clone())).collect();
    let taken = builder.inherited.taken().to_vec();
    let (dealt, held) = deal_out(builder.places, &builder.local_addrs, shards)?;
    let entrances: Arc<[Entrance]> = builder.entrances.into();
    let (start, seed) = (Instant::now(), seed());
    let pool = start_pool(builder.workers, start)?;
    let workers: Arc<dyn Workers> = match &pool {
        Some(pool) => pool.front(),
        None => Arc::new(NoWorkers),
    };
    let mut made = Vec::with_capacity(pollers.len());
    for (shard, (poller, sockets)) in (0..).zip(pollers.into_iter().zip(dealt)) {
        let config = TurnConfig {
            shard,
            connections_max: room,
            budget_bytes,
            listeners: builder.listeners.clone(),
            labels: Arc::clone(&labels),
            limits: builder.limits.clone(),
            seed: seed.wrapping_add(shard.into()),
            mailbox: Arc::clone(group.mailbox(shard).expect("one for each loop")),
            peers: group.mailboxes().cloned().collect(),
            workers: Arc::clone(&workers),
            quotas: Arc::clone(&quotas),
            users: Arc::clone(&builder.users),
            seats: Arc::clone(group.seats(shard).expect("one for each loop")),
            board: Arc::clone(&boards[usize::from(shard)]),
            tracing: recording.of_shard(shard, sampling, shards),
        };
        let (group, entrances) = (Arc::clone(&group), Arc::clone(&entrances));
        let parts = Parts { config, poller, sockets, entrances, group, start, pin: builder.pin };
        match make(parts, make_service.clone()) {
            Ok(one) => made.push(one),
            Err(error) => {
                call_off(made, pool);
                return Err(error);
            }
        }
    }
    drop(workers);
    let metrics = made.iter().map(|one| Arc::clone(&one.metrics)).collect();
    let thread_ids = made.iter().map(|one| one.thread_id).collect();
    let jobs = pool.as_ref().map(|pool| Arc::clone(pool.queue()));
    let figures = Figures {
        metrics,
        thread_ids,
        jobs,
        quotas,
        recording,
        start,
        #[cfg(feature = "tls")]
        tls: super::tls::Keeper::new(&entrances),
    };
    let shared = Shared::new(builder.local_addrs, names, group, figures, held, changes);
    Ok(Prepared { made, pool, shared: Arc::new(shared), inherited, taken })
}

fn capacity_of(builder: &Builder, budget_bytes: usize, labels: Arc<[RouteLabel]>) -> Capacity {
    let [input_bytes_per_shard, output_bytes_per_shard, reserve_bytes_per_shard] = parts_of(budget_bytes);
    let (workers, jobs_waiting) = builder.workers.unwrap_or((0, 0));
    Capacity {
        connections: builder.connections_max,
        per_listener: builder.listeners.iter().map(|listener| listener.connections_max).collect(),
        per_address: builder.limits.per_address,
        dialed_per_shard: DIALED_PER_SHARD,
        input_bytes_per_shard,
        output_bytes_per_shard,
        reserve_bytes_per_shard,
        commands_per_shard: MAILBOX_COMMANDS,
        laters_per_shard: LATERS_PER_SHARD,
        workers: workers.into(),
        jobs_waiting,
        open_requests: builder.limits.open_requests,
        stall: builder.limits.stall,
        labels,
    }
}

fn start_pool(wanted: Option<(u16, usize)>, start: Instant) -> Result<Option<Pool<Job>>, Error> {
    let Some((threads, waiting)) = wanted else { return Ok(None) };
    Pool::start(threads, waiting, start).map(Some).map_err(Error::Host)
}

/// Different in each run: handlers get chance, the simulator gets repeatability.
#[expect(clippy::cast_possible_truncation, reason = "the low bits are the ones that vary")]
fn seed() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64)
        ^ u64::from(std::process::id())
}

/// Gives each loop its sockets, and the server a second descriptor of each.
///
/// Where the kernel spreads connections, each loop gets a socket of its own on every port. Where it does not, and for
/// paths, of which there can be but one socket, one loop listens and deals. Of inherited sockets none is left out: where
/// there are more than loops, a loop has several; where there are fewer, others are bound beside them and listen when the
/// server begins.
fn deal_out(places: Vec<Place>, at: &[Endpoint], shards: u16) -> Result<(Vec<Sockets>, AllHeld), Error> {
    let mut dealt: Vec<Sockets> = (0..shards).map(|_| Vec::with_capacity(places.len())).collect();
    let mut held = Vec::new();
    for ((number, place), endpoint) in places.into_iter().enumerate().zip(at) {
        let failed = |source| Error::listen(endpoint.clone(), source);
        let mut row: Sockets = (0..shards).map(|_| None).collect();
        let is_spread = place.sockets.first().is_some_and(|socket| !socket.is_lone());
        for (turn, socket) in (number..).zip(place.sockets) {
            match &mut row[turn % usize::from(shards)] {
                none @ None => *none = Some(socket),
                Some(first) => {
                    let joined = first.join(socket);
                    debug_assert!(joined.is_ok(), "a path has one socket");
                }
            }
        }
        if let (Endpoint::Ip(address), true) = (endpoint, is_spread) {
            let beside = if place.is_inherited { net::bind_beside } else { net::listen_beside };
            for without in row.iter_mut().filter(|socket| socket.is_none()) {
                *without = Some(beside(*address, &place.options).map_err(failed)?);
            }
        }
        for (mine, socket) in dealt.iter_mut().zip(row) {
            if let Some(socket) = &socket {
                held.extend(socket.hold().map_err(Error::Host)?.into_iter().map(|held| (number, held)));
            }
            mine.push(socket);
        }
    }
    Ok((dealt, held))
}

/// What a loop is made of, on its way to its thread.
struct Parts {
    config: TurnConfig,
    poller: Poller,
    sockets: Sockets,
    entrances: Arc<[Entrance]>,
    group: Arc<Group>,
    start: Instant,
    pin: bool,
}

/// Makes a loop on a thread of its own, since a service need not be `Send`, and waits until that is done.
fn make<S, F>(parts: Parts, make_service: F) -> Result<Made, Error>
where
    S: Service,
    F: FnMut() -> S + Send + 'static,
{
    let shard = parts.config.shard;
    let (ready, is_ready) = sync_channel(1);
    let (go, may_go) = sync_channel(1);
    let thread = std::thread::Builder::new().name(format!("tidegate-{shard}"));
    let thread = thread.spawn(move || run(parts, make_service, &ready, &may_go)).map_err(Error::Host)?;
    match is_ready.recv() {
        Ok(Ok((metrics, thread_id))) => Ok(Made { thread, metrics, thread_id, go }),
        Ok(Err(error)) => Err(Error::Host(error)),
        // Nothing was sent: making the service panicked.
        Err(_) => {
            let why = thread.join().map_or_else(|panic| panic_text(panic.as_ref()), |()| String::new());
            Err(Error::ShardDied { shard, why })
        }
    }
}

/// A loop's thread, from its first moment to its last.
fn run<S: Service>(
    parts: Parts,
    make_service: impl FnMut() -> S + Send + 'static,
    ready: &SyncSender<io::Result<Ready>>,
    may_go: &Receiver<Arc<Shared>>,
) {
    let Parts { config, poller, sockets, entrances, group, start, pin } = parts;
    let number = config.shard;
    if pin {
        match pin_thread(number.into()) {
            Ok(cpu) => info!(shard = number, cpu, "an event loop stays on its processor"),
            Err(error) => warn!(shard = number, %error, "an event loop can't be kept on one processor"),
        }
    }
    let shard = match Shard::new(poller, config, sockets, entrances, group, start, make_service) {
        Ok(shard) => shard,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok((shard.metrics(), thread_id())));
    // Hung up if another loop could not be made.
    let Ok(shared) = may_go.recv() else { return };
    match catch_unwind(AssertUnwindSafe(|| shard.run())) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => shared.shard_died(number, error.to_string()),
        Err(panic) => shared.shard_died(number, panic_text(panic.as_ref())),
    }
}

/// The system's number of this thread, where there is a /proc that says so: on Linux.
fn thread_id() -> Option<u32> {
    std::fs::read_link("/proc/thread-self").ok()?.file_name()?.to_str()?.parse().ok()
}

/// Ends loops that have not begun.
fn call_off(made: Vec<Made>, pool: Option<Pool<Job>>) {
    for Made { thread, go, .. } in made {
        drop(go);
        let _ = thread.join();
    }
    if let Some(pool) = pool {
        pool.end(Instant::now());
    }
}
