//! What a running server can be given anew: limits, listeners' terms, probes, labels, and news for its services.
//!
//! ```text
//!   Handle::apply --judge all--> terms, whole --put--> [ board of loop 0 ] [ board of loop 1 ] ...
//!                      `- a mistake: nothing changes         `- each loop takes them at the end of a turn
//! ```
//!
//! Always holds: a change is applied whole or not at all; loops that miss one of two changes get the later, which holds
//! both. Never: a wait for a loop without a bound.

use super::builder::{check_limits, within};
use super::{Capacity, Error, Handle, Listener, Sampling, tracing};
use crate::base::limits::{CHANGE_WITHIN, LISTENER_FORMS_MAX, Limits};
use crate::net::{Held, Keepalive};
use crate::turn::{Board, Form, ListenerConfig, News, RouteLabel, Terms};
use ::tracing::warn;
use std::any::Any;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What is to be otherwise in a running server: [`Handle::apply`] takes it. What is not named stays.
///
/// ```
/// use std::time::Duration;
/// use tidegate::{Change, Limits, Router, Server};
///
/// let running = Server::builder().listen("127.0.0.1:0")?.start(Router::embedded)?;
/// let limits = Limits { idle: Some(Duration::from_secs(60)), ..Limits::default() };
/// let applied = running.handle().apply(Change::new().limits(limits).max_connections(1000))?;
/// assert_eq!((applied.generation, applied.behind.len()), (1, 0));
/// # running.handle().drain(Duration::from_secs(1));
/// # running.join()?;
/// # Ok::<(), tidegate::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Change {
    limits: Option<Limits>,
    max_connections: Option<u32>,
    grace: Option<Duration>,
    listeners: Vec<(usize, Listener)>,
    keepalive: Option<Option<Keepalive>>,
    labels: Option<Vec<RouteLabel>>,
    pub(super) sampling: Option<Sampling>,
    news: Option<News>,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("limits", &self.limits)
            .field("max_connections", &self.max_connections)
            .field("grace", &self.grace)
            .field("listeners", &self.listeners)
            .field("keepalive", &self.keepalive)
            .field("has_news", &self.news.is_some())
            .finish_non_exhaustive()
    }
}

impl Change {
    /// Nothing yet.
    pub fn new() -> Change {
        Change::default()
    }

    /// Bounds and deadlines, all of them: of who is connected, too. A deadline that is shorter than before counts from
    /// the same moment as before.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Change {
        self.limits = Some(limits);
        self
    }

    /// The most connections at once, from 1 to what the server was [started for](super::Builder::room_for). Nobody is closed
    /// for it; newcomers are refused until fewer are there.
    #[must_use]
    pub const fn max_connections(mut self, connections: u32) -> Change {
        self.max_connections = Some(connections);
        self
    }

    /// How long a drain may take that a signal begins.
    #[must_use]
    pub const fn grace(mut self, grace: Duration) -> Change {
        self.grace = Some(grace);
        self
    }

    /// What newcomers of the listener at this place go by: its framing, its largest payload, its route, whether a HELLO is
    /// wanted. Who is connected keeps what it came under. The listener's address and socket options are not looked at.
    #[must_use]
    pub fn listener(mut self, place: usize, listener: impl Into<Listener>) -> Change {
        self.listeners.push((place, listener.into()));
        self
    }

    /// Probes by the kernel, for newcomers of all TCP listeners; `None`: no probes.
    #[must_use]
    pub const fn keepalive(mut self, keepalive: Option<Keepalive>) -> Change {
        self.keepalive = Some(keepalive);
        self
    }

    /// Which of the [labels](super::Builder::label_routes) that the server was started with still say what is so: one that
    /// is not among these, range and name, counts nothing until it is again. There are no new ones.
    #[must_use]
    pub fn labels<'a>(mut self, labels: impl IntoIterator<Item = (RangeInclusive<u16>, &'a str)>) -> Change {
        let label = |(routes, name): (RangeInclusive<u16>, &str)| RouteLabel {
            first: *routes.start(),
            last: *routes.end(),
            service: name.into(),
        };
        self.labels = Some(labels.into_iter().map(label).collect());
        self
    }

    /// Something for the services of all loops: [`Service::on_reload`](crate::Service::on_reload) gets it. A
    /// [`Router`](crate::Router) takes another one.
    #[must_use]
    pub fn news(mut self, news: impl Any + Send + Sync) -> Change {
        self.news = Some(Arc::new(news));
        self
    }
}

/// How a change went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// How many changes this server has had, this one included.
    pub generation: u64,
    /// Loops that had not taken it within a second: each is in a turn that takes long, and takes it at that turn's end.
    pub behind: Vec<u16>,
}

/// How reading a configuration anew ended, for the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// Something is otherwise now.
    Applied,
    /// It was wrong; all is as before.
    Refused,
    /// There was nothing to change.
    Unchanged,
}

/// How often each happened, and which configuration is in effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangeFigures {
    /// Changes of the running server; 0: it goes by what it was started with.
    pub generation: u64,
    /// How long it has been going by that.
    pub age: Duration,
    /// Times that a configuration was read anew, and applied.
    pub applied: u64,
    /// And refused.
    pub refused: u64,
    /// And found to be the same.
    pub unchanged: u64,
}

/// What a server goes by now.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) capacity: Capacity,
    pub(super) grace: Duration,
    terms: Arc<Terms>,
    since: Instant,
}

/// All that is needed to change it.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) standing: Mutex<Standing>,
    pub(super) boards: Vec<Arc<Board>>,
    /// As they were at the start.
    listeners: Vec<ListenerConfig>,
    /// The most connections that loops have tables for.
    room: u32,
    bytes_per_shard: usize,
    reloads: [AtomicU64; 3],
}

impl Changes {
    pub(super) fn new(
        capacity: Capacity,
        grace: Duration,
        (limits, listeners, sampling): (Limits, Vec<ListenerConfig>, Sampling),
        (room, bytes_per_shard): (u32, usize),
        boards: Vec<Arc<Board>>,
    ) -> Changes {
        let current = (0..Form::MAX).take(listeners.len()).collect();
        let labels = Arc::clone(&capacity.labels);
        let (generation, later) = (0, Vec::new());
        let sampling = sampling.shared_by(u16::try_from(boards.len()).unwrap_or(u16::MAX));
        let terms = Terms { generation, limits, later, current, labels, sampling, news: None };
        let standing = Standing { capacity, grace, terms: Arc::new(terms), since: Instant::now() };
        Changes {
            standing: Mutex::new(standing),
            boards,
            listeners,
            room,
            bytes_per_shard,
            reloads: Default::default(),
        }
    }

    /// The number of this configuration, which may be a new one.
    fn form(
        &self,
        later: &mut Vec<(u8, ListenerConfig)>,
        place: u8,
        config: ListenerConfig,
    ) -> Result<Form, Error> {
        if self.listeners.get(usize::from(place)) == Some(&config) {
            return Ok(place);
        }
        let before = self.listeners.len() + 1;
        let known = later.iter().position(|(of, other)| *of == place && *other == config);
        let at = known.unwrap_or(later.len());
        let form = before + at;
        let name = "the number of different listeners since the start (a restart begins anew)";
        within(name, form as u64 + 1, 1, LISTENER_FORMS_MAX as u64)?;
        if known.is_none() {
            later.push((place, config));
        }
        Ok(Form::try_from(form).unwrap_or(Form::MAX))
    }

    /// The terms after this change, or what is wrong with it.
    fn judged(&self, standing: &Standing, change: &Change) -> Result<Terms, Error> {
        let before = &standing.terms;
        let limits = change.limits.clone().unwrap_or_else(|| before.limits.clone());
        check_limits(&limits, self.bytes_per_shard)?;
        if let Some(most) = change.max_connections {
            within("the most connections", most.into(), 1, self.room.into())?;
        }
        let (mut later, mut current) = (before.later.clone(), before.current.clone());
        for (place, listener) in &change.listeners {
            within("a listener's place", *place as u64, 0, (self.listeners.len() as u64).saturating_sub(1))?;
            listener.check()?;
            let form = self.form(&mut later, u8::try_from(*place).unwrap_or(u8::MAX), listener.config())?;
            current[*place] = form;
        }
        if let Some(keepalive) = &change.keepalive {
            Listener::from("").probed(*keepalive).check()?;
        }
        let labels = match &change.labels {
            None => Arc::clone(&before.labels),
            Some(true_now) => {
                let mask = |label: &RouteLabel| match true_now.contains(label) {
                    true => label.clone(),
                    false => RouteLabel { first: 1, last: 0, service: label.service.clone() },
                };
                standing.capacity.labels.iter().map(mask).collect()
            }
        };
        change.sampling.map_or(Ok(()), tracing::check)?;
        let shards = u16::try_from(self.boards.len()).unwrap_or(u16::MAX);
        let sampling = change.sampling.map_or(before.sampling, |sampling| sampling.shared_by(shards));
        let news = change.news.clone().or_else(|| before.news.clone());
        let generation = before.generation + 1;
        Ok(Terms { generation, limits, later, current, labels, sampling, news })
    }
}

impl Handle {
    /// Gives the running server something else to go by, whole or not at all, and waits until all loops have taken it, a
    /// second at most. From then on it holds for whatever comes; deadlines that became shorter hold for who is connected
    /// some turns later.
    ///
    /// ```text
    /// limits, labels, news    everybody, at once
    /// listeners, keepalive    newcomers
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] as for a [`Builder`](super::Builder); then nothing has changed.
    pub fn apply(&self, change: Change) -> Result<Applied, Error> {
        let shared = &self.shared;
        let changes = &shared.changes;
        let mut standing = super::running::lock(&changes.standing);
        let terms = Arc::new(changes.judged(&standing, &change)?);
        // Nothing can fail from here on.
        let generation = terms.generation;
        standing.capacity.open_requests = terms.limits.open_requests;
        standing.capacity.stall = terms.limits.stall;
        if let Some(most) = change.max_connections {
            standing.capacity.connections = most;
            shared.group.set_connections_max(most);
        }
        standing.grace = change.grace.unwrap_or(standing.grace);
        standing.terms = Arc::clone(&terms);
        standing.since = Instant::now();
        if let Some(keepalive) = change.keepalive {
            shared.each_held(|held| probe(held, keepalive));
        }
        changes.boards.iter().for_each(|board| board.put(Arc::clone(&terms)));
        // Only now may another change go over this one.
        drop(standing);
        self.knock();
        let until = Instant::now() + CHANGE_WITHIN;
        let mut behind = self.behind(generation);
        while !behind.is_empty() && Instant::now() < until {
            std::thread::sleep(super::running::FULL_PAUSE);
            behind = self.behind(generation);
        }
        if !behind.is_empty() {
            warn!(
                generation,
                ?behind,
                "event loops are held up; they take the change at the end of their turn"
            );
        }
        Ok(Applied { generation, behind })
    }

    /// Whether [`Handle::apply`] would take this change now.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn check(&self, change: &Change) -> Result<(), Error> {
        let changes = &self.shared.changes;
        changes.judged(&super::running::lock(&changes.standing), change).map(drop)
    }

    /// The living loops that go by something earlier.
    fn behind(&self, generation: u64) -> Vec<u16> {
        let mailboxes = self.shared.group.mailboxes();
        let loops = (0..).zip(mailboxes).zip(&self.shared.changes.boards);
        let is_behind = |mailbox: &crate::mailbox::Mailbox, board: &Board| {
            board.taken() < generation && !mailbox.is_over()
        };
        loops.filter(|((_, mailbox), board)| is_behind(mailbox, board)).map(|((shard, _), _)| shard).collect()
    }

    /// How long a drain may take that a signal begins, or that follows a loop's death.
    pub fn grace(&self) -> Duration {
        super::running::lock(&self.shared.changes.standing).grace
    }

    #[cfg(feature = "signals")]
    pub(super) fn set_grace(&self, grace: Duration) {
        super::running::lock(&self.shared.changes.standing).grace = grace;
    }

    /// The limits that connections have now.
    pub fn limits(&self) -> Limits {
        super::running::lock(&self.shared.changes.standing).terms.limits.clone()
    }

    /// Counts how reading a configuration anew ended: for whoever does that.
    pub fn count_reload(&self, how: Reloaded) {
        self.shared.changes.reloads[how as usize].fetch_add(1, Relaxed);
    }

    /// Which configuration is in effect, and how often one was read anew.
    pub fn change_figures(&self) -> ChangeFigures {
        let standing = super::running::lock(&self.shared.changes.standing);
        let [applied, refused, unchanged] =
            self.shared.changes.reloads.each_ref().map(|count| count.load(Relaxed));
        let (generation, age) = (standing.terms.generation, standing.since.elapsed());
        ChangeFigures { generation, age, applied, refused, unchanged }
    }
}

fn probe(held: &Held, keepalive: Option<Keepalive>) {
    if let Err(error) = held.set_keepalive(keepalive) {
        warn!(%error, "a listener's newcomers keep the probes that they had");
    }
}
