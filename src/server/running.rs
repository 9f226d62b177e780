//! A server that runs: its threads, its figures, its end.

use super::change::Changes;
use super::pool::{Pool, Queue, WorkerFigures};
use super::tracing::Recording;
use super::{Capacity, DrainReport, Error, LoopState};
use crate::base::limits::{DEADLINE_MS_MAX, MAILBOX_COMMANDS};
use crate::base::text::panic_text;
use crate::base::{ConnId, Token};
use crate::identity::Users;
use crate::mailbox::{Command, Mailbox, Whom};
use crate::metrics::{Gauge, ShardMetrics, Snapshot};
use crate::net::{Endpoint, Held};
use crate::service::{Job, Message};
use crate::shard::Group;
use crate::turn::Quotas;
use crate::wire::Status;
use ::tracing::{error, warn};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long to wait before a command is left again at a loop whose mailbox was full.
pub(super) const FULL_PAUSE: Duration = Duration::from_millis(1);

/// How long a full mailbox is waited for when the users are replaced.
const USERS_WAIT: Duration = Duration::from_secs(1);

/// How long loops are waited for that are in a turn. On a busy host, each try may cost a reader with a low priority
/// milliseconds.
const SNAPSHOTS_WAIT: Duration = Duration::from_millis(200);

/// The longest grace that is counted, as in the loops.
const GRACE_MAX: Duration = Duration::from_millis(DEADLINE_MS_MAX as u64);

/// A server that was started. Dropping it lets the server run on; [`Running::join`] waits for its end.
#[derive(Debug)]
pub struct Running {
    handle: Handle,
    threads: Vec<JoinHandle<()>>,
    pool: Option<Pool<Job>>,
}

/// Speaks to a running server, from any thread.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
}

/// When a drain began, and when its grace is over.
#[derive(Clone, Copy, Debug)]
struct Draining {
    since: Instant,
    until: Instant,
}

/// How far a drain is. How many connections are left is in [`Handle::connections`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainProgress {
    /// How long it has been running.
    pub running: Duration,
    /// How long it may run in all.
    pub grace: Duration,
    /// What is left of that.
    pub left: Duration,
    /// How many connections there were when it began.
    pub began_with: u64,
}

/// Why a connection could not be reached. That it is gone already is no error: it may always be gone a moment later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreached {
    /// The connection's loop has more commands waiting than it may; try again later.
    #[error("{limit} commands wait for event loop {shard} already")]
    Full {
        /// Which loop.
        shard: u16,
        /// The most that may wait.
        limit: usize,
    },
    /// This server has no such loop: the id is another process's.
    #[error("there is no event loop {shard}, the server has {shards}")]
    NoSuchShard {
        /// Which loop the id names.
        shard: u16,
        /// How many there are.
        shards: usize,
    },
}

/// What the handles and the loops' threads of one server share. Locks are taken by callers, and by a loop that is dead.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) local_addrs: Vec<Endpoint>,
    pub(super) group: Arc<Group>,
    figures: Figures,
    /// Second descriptors of the listening sockets, so that a loop that dies resets nobody in its accept queue.
    pub(super) held: Mutex<Vec<(usize, Held)>>,
    /// The listeners that another process takes over, by their number: a drain leaves their queues to it.
    pub(super) leaving: Mutex<Vec<usize>>,
    /// Protocol and address of each listener, as they were given.
    pub(super) names: Vec<(&'static str, String)>,
    /// The figures when the drain began.
    before_drain: Mutex<Option<Snapshot>>,
    /// The drain, if one was begun.
    draining: Mutex<Option<Draining>>,
    /// The first loop that died, and what it said last.
    death: OnceLock<(u16, String)>,
    /// What can be changed while it runs.
    pub(super) changes: Changes,
}

/// What can be read of the loops and the workers.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) metrics: Vec<Arc<ShardMetrics>>,
    pub(super) thread_ids: Vec<Option<u32>>,
    /// What the workers do, if there are any.
    pub(super) jobs: Option<Arc<Queue<Job>>>,
    /// What the loops count together.
    pub(super) quotas: Arc<Quotas>,
    /// What they record.
    pub(super) recording: Recording,
    /// The start of the loops' clock.
    pub(super) start: Instant,
    /// The listeners' TLS.
    #[cfg(feature = "tls")]
    pub(super) tls: super::tls::Keeper,
}

impl Shared {
    pub(super) fn new(
        local_addrs: Vec<Endpoint>,
        names: Vec<(&'static str, String)>,
        group: Arc<Group>,
        figures: Figures,
        held: Vec<(usize, Held)>,
        changes: Changes,
    ) -> Shared {
        Shared {
            local_addrs,
            group,
            figures,
            held: Mutex::new(held),
            leaving: Mutex::new(Vec::new()),
            names,
            before_drain: Mutex::new(None),
            draining: Mutex::new(None),
            death: OnceLock::new(),
            changes,
        }
    }

    #[cfg(feature = "tls")]
    pub(super) const fn tls(&self) -> &super::tls::Keeper {
        &self.figures.tls
    }

    fn snapshot(&self) -> Snapshot {
        let mut sum = Snapshot::zero();
        self.figures.metrics.iter().for_each(|metrics| sum.add(&metrics.snapshot()));
        sum
    }

    /// The second descriptors of the listening sockets, until a drain begins.
    pub(super) fn each_held(&self, mut what: impl FnMut(&Held)) {
        lock(&self.held).iter().for_each(|(_, held)| what(held));
    }

    fn drain(&self, grace: Duration) {
        let mut before = lock(&self.before_drain);
        if before.is_none() {
            *before = Some(self.snapshot());
        }
        drop(before);
        let (began, mut draining) = (Instant::now(), lock(&self.draining));
        let end = began + grace.min(GRACE_MAX);
        let first = draining.unwrap_or(Draining { since: began, until: end });
        *draining = Some(Draining { until: first.until.min(end), ..first });
        drop(draining);
        // Before the loops end listening: the last descriptor of a socket must be theirs.
        self.let_go();
        let dead = self.death.get().map(|(shard, _)| *shard);
        let living = (0..).zip(self.group.mailboxes()).filter(|(shard, _)| Some(*shard) != dead);
        let mut untold: Vec<(u16, _)> = living.collect();
        let post = |told: &(u16, &Arc<Mailbox>)| told.1.post(Command::Drain { grace }).is_err();
        loop {
            untold.retain(post);
            if untold.is_empty() {
                return;
            }
            if began.elapsed() > grace {
                error!(loops = untold.len(), "event loops take no commands");
                return;
            }
            std::thread::sleep(FULL_PAUSE);
        }
    }

    /// A loop is gone, with its connections: a bug of ours. The others end in order, and the server with them.
    pub(super) fn shard_died(&self, shard: u16, why: String) {
        error!(shard, why, "an event loop died; the others drain");
        let _ = self.death.set((shard, why));
        let grace = lock(&self.changes.standing).grace;
        self.drain(grace);
    }
}

impl Running {
    pub(super) const fn new(
        shared: Arc<Shared>,
        threads: Vec<JoinHandle<()>>,
        pool: Option<Pool<Job>>,
    ) -> Running {
        Running { handle: Handle { shared }, threads, pool }
    }

    /// Where the listeners are, in their order.
    pub fn local_addrs(&self) -> &[Endpoint] {
        self.handle.local_addrs()
    }

    /// A handle for other threads.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Whether the server is over, for whatever reason: then [`Running::join`] does not wait.
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits until the server has drained, and tells how that went. Offloaded work that nobody waits for is done within
    /// the drain's grace, too; what is left then counts as lost.
    ///
    /// # Errors
    ///
    /// [`Error::ShardDied`] if one of its loops ended in another way; the others have drained then.
    pub fn join(self) -> Result<DrainReport, Error> {
        let shared = self.handle.shared;
        for (shard, thread) in (0..).zip(self.threads) {
            if let Err(panic) = thread.join() {
                let _ = shared.death.set((shard, panic_text(panic.as_ref())));
            }
        }
        let until = lock(&shared.draining).map_or_else(Instant::now, |draining| draining.until);
        let undone = self.pool.map_or(0, |pool| pool.end(until));
        if undone > 0 {
            warn!(undone, "offloaded jobs were not done when the grace was over");
        }
        if let Some((shard, why)) = shared.death.get() {
            return Err(Error::ShardDied { shard: *shard, why: why.clone() });
        }
        let before = lock(&shared.before_drain);
        let before = before.clone().unwrap_or(const { Snapshot::zero() });
        let mut report = DrainReport::between(&before, &shared.snapshot());
        report.lost += undone as u64;
        Ok(report)
    }
}

impl Handle {
    /// Where the listeners are, in their order.
    pub fn local_addrs(&self) -> &[Endpoint] {
        &self.shared.local_addrs
    }

    /// How many event loops there are.
    pub fn shards(&self) -> usize {
        self.shared.figures.metrics.len()
    }

    /// The system's number of each loop's thread, by the loop's number; `None` where the system does not tell it (all
    /// but Linux).
    pub fn thread_ids(&self) -> &[Option<u32>] {
        &self.shared.figures.thread_ids
    }

    /// The figures of now, of all loops together.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    /// The figures of now, of each loop, by its number. Takes a fifth of a second at most, however many loops are stuck:
    /// what is not caught between two turns by then is [torn](Snapshot::torn).
    pub fn shard_snapshots(&self) -> Vec<Snapshot> {
        let (began, metrics) = (Instant::now(), &self.shared.figures.metrics);
        // What one loop leaves of its part, the next may use; a stuck one takes nothing from the others.
        let part = SNAPSHOTS_WAIT / u32::try_from(metrics.len()).unwrap_or(u32::MAX).max(1);
        let each = (1..).zip(metrics);
        each.map(|(place, metrics)| metrics.snapshot_while(|| began.elapsed() < part * place)).collect()
    }

    /// How many connections there are now, those included that a loop has accepted and is still placing.
    pub fn connections(&self) -> u32 {
        self.shared.group.connections()
    }

    /// From how many addresses they come; networks of IPv6 count as one each, and unix sockets not at all.
    pub fn addresses(&self) -> usize {
        self.shared.figures.quotas.addresses()
    }

    /// What the workers have done until now. All zero without any.
    pub fn workers(&self) -> WorkerFigures {
        self.shared.figures.jobs.as_ref().map(|jobs| jobs.figures()).unwrap_or_default()
    }

    /// What there is of everything that is limited.
    pub fn capacity(&self) -> Capacity {
        lock(&self.shared.changes.standing).capacity.clone()
    }

    pub(super) fn recording(&self) -> &Recording {
        &self.shared.figures.recording
    }

    /// How long the server has been running.
    pub fn uptime(&self) -> Duration {
        self.shared.figures.start.elapsed()
    }

    /// Where each loop stands, by its number. Costs the loops nothing, and answers though one of them is stuck.
    pub fn loop_states(&self) -> Vec<LoopState> {
        let Figures { metrics, start, .. } = &self.shared.figures;
        let loops = (0..).zip(self.shared.group.mailboxes()).zip(metrics);
        let dead = self.dead_shard();
        loops
            .map(|((shard, mailbox), metrics)| {
                let (commands, answers) = mailbox.depths();
                // The turn in which it died never ends, and holds up nobody any more.
                let in_hand = metrics.in_hand().filter(|_| dead != Some(shard));
                let turn =
                    in_hand.map(|turn| start.elapsed().saturating_sub(Duration::from_micros(turn.since.0)));
                let visiting = in_hand.and_then(|turn| turn.visiting);
                let visiting = visiting.map(|Token { generation, slot }| ConnId { shard, generation, slot });
                LoopState { commands, answers, turns: metrics.turns(), turn, visiting }
            })
            .collect()
    }

    /// Makes every loop take a turn, as soon as it can: one whose count of [turns](LoopState::turns) then stays where it
    /// was is stuck, or has ended.
    pub fn knock(&self) {
        self.shared.group.mailboxes().for_each(|mailbox| mailbox.knock());
    }

    /// Whether a drain was begun.
    pub fn is_draining(&self) -> bool {
        lock(&self.shared.draining).is_some()
    }

    /// How far the drain is, if one was begun.
    pub fn drain_progress(&self) -> Option<DrainProgress> {
        let Draining { since, until } = (*lock(&self.shared.draining))?;
        let began_with =
            lock(&self.shared.before_drain).as_ref().map_or(0, |before| before.gauge(Gauge::Open));
        let left = until.saturating_duration_since(Instant::now());
        Some(DrainProgress { running: since.elapsed(), grace: until - since, left, began_with })
    }

    /// The first loop that died, if one did.
    pub fn dead_shard(&self) -> Option<u16> {
        self.shared.death.get().map(|(shard, _)| *shard)
    }

    /// Sends a message to a connection that said HELLO. It is lost, and counted, if the connection is gone, never said
    /// HELLO, or takes no frames that large.
    ///
    /// # Errors
    ///
    /// [`Unreached`]; then nothing is sent.
    pub fn send(&self, id: ConnId, message: &Message) -> Result<(), Unreached> {
        self.post(id, |to| Command::Send { to, bytes: message.frame().clone(), whom: Whom::Greeted })
    }

    /// Ends a connection in order: what is due to it leaves, and the status and the text are its last words. Does nothing
    /// if it is gone.
    ///
    /// # Errors
    ///
    /// [`Unreached`]; then nothing is done.
    pub fn close(&self, id: ConnId, status: Status, text: impl Into<String>) -> Result<(), Unreached> {
        let text = text.into().into_boxed_str();
        self.post(id, |to| Command::Close { to, status, text })
    }

    fn post(&self, id: ConnId, command: impl FnOnce(Token) -> Command) -> Result<(), Unreached> {
        let Some(mailbox) = self.shared.group.mailbox(id.shard) else {
            return Err(Unreached::NoSuchShard { shard: id.shard, shards: self.shards() });
        };
        let token = Token { generation: id.generation, slot: id.slot };
        let posted = mailbox.post(command(token));
        posted.map_err(|_| Unreached::Full { shard: id.shard, limit: MAILBOX_COMMANDS })
    }

    /// Replaces the users, in every loop. Connections of a user that is gone, or whose token or certificate is another
    /// one now, are ended with GOAWAY UNAUTHENTICATED; the others have their new permissions from their next message on.
    ///
    /// # Errors
    ///
    /// [`Unreached::Full`] for the first loop that has taken no command for a second; the others have been told. Call
    /// it again.
    pub fn set_users(&self, users: impl Into<Arc<Users>>) -> Result<(), Unreached> {
        let users = users.into();
        let until = Instant::now() + USERS_WAIT;
        let mut untold: Vec<(u16, _)> = (0..).zip(self.shared.group.mailboxes()).collect();
        loop {
            untold.retain(|(_, mailbox)| mailbox.post(Command::Users(Arc::clone(&users))).is_err());
            match untold.first() {
                None => return Ok(()),
                Some((shard, _)) if Instant::now() >= until => {
                    return Err(Unreached::Full { shard: *shard, limit: MAILBOX_COMMANDS });
                }
                Some(_) => std::thread::sleep(FULL_PAUSE),
            }
        }
    }

    /// Begins to drain: no more connections, what was received is answered, every connection ends in order; those
    /// that have not within the grace (24 days at most) are closed. A second call can only shorten the grace.
    pub fn drain(&self, grace: Duration) {
        self.shared.drain(grace);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind our locks is whole at every moment: a panic elsewhere is no reason to stop.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
