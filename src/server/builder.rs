//! What a server is made of, checked as it is put together.

use super::{Error, Listener, Prepared, Running, Sampling, launch, quotas, tracing};
use crate::base::limits::{
    BUDGET_BYTES_DEFAULT, BUDGET_BYTES_MAX, BUDGET_BYTES_MIN, CONNECTIONS_DEFAULT, CONNECTIONS_PER_SHARD_MAX,
    DEADLINE_MS_MAX, DRAIN_GRACE, JOBS_WAITING_MAX, LISTENERS_MAX, Limits, OPEN_REQUESTS_MAX,
    OUTPUT_HIGH_BYTES_MAX, RECONNECT_RATE_MAX, ROUTE_LABELS_MAX, SHARDS_MAX, WORKERS_MAX,
};
use crate::identity::Users;
use crate::net::{self, Endpoint, Inherited, ListenOptions};
use crate::service::{FnService, Frame, Replied, Reply, Service};
use crate::shard::Entrance;
use crate::turn::{ListenerConfig, RouteLabel};
use ::tracing::warn;
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// A listener's sockets, and what they are to be.
#[derive(Debug)]
pub(super) struct Place {
    /// One, or all that were inherited; none in a rehearsal.
    pub(super) sockets: Vec<net::Listener>,
    pub(super) is_inherited: bool,
    pub(super) options: ListenOptions,
    pub(super) protocol: &'static str,
    /// Its address as it was given.
    pub(super) text: String,
}

/// A server in the making. Each method gives it back, changed.
#[derive(Debug)]
pub struct Builder {
    pub(super) places: Vec<Place>,
    pub(super) inherited: Inherited,
    is_rehearsal: bool,
    pub(super) local_addrs: Vec<Endpoint>,
    pub(super) listeners: Vec<ListenerConfig>,
    pub(super) entrances: Vec<Entrance>,
    pub(super) limits: Limits,
    pub(super) budget_bytes: usize,
    pub(super) connections_max: u32,
    pub(super) connections_room: u32,
    pub(super) grace: Duration,
    shards: Option<u16>,
    pub(super) pin: bool,
    pub(super) workers: Option<(u16, usize)>,
    pub(super) labels: Vec<RouteLabel>,
    pub(super) users: Arc<Users>,
    pub(super) sampling: Option<Sampling>,
}

impl Builder {
    pub(super) fn new() -> Builder {
        Builder {
            places: Vec::new(),
            inherited: Inherited::default(),
            is_rehearsal: false,
            local_addrs: Vec::new(),
            listeners: Vec::new(),
            entrances: Vec::new(),
            limits: Limits::default(),
            budget_bytes: BUDGET_BYTES_DEFAULT,
            connections_max: CONNECTIONS_DEFAULT,
            connections_room: 0,
            grace: DRAIN_GRACE,
            shards: None,
            pin: false,
            workers: None,
            labels: Vec::new(),
            users: Arc::default(),
            sampling: None,
        }
    }

    /// Listens on an address, from now on: connections wait in its queue until the server is started.
    ///
    /// # Errors
    ///
    /// An address that can't be listened on, with what to do about it; a limit outside its range; too many listeners.
    pub fn listen(mut self, listener: impl Into<Listener>) -> Result<Builder, Error> {
        let listener = listener.into();
        listener.check()?;
        within("the number of listeners", self.listeners.len() as u64 + 1, 1, LISTENERS_MAX as u64)?;
        let endpoint = listener.endpoint()?;
        let entrance = listener.entrance(&endpoint)?;
        if listener.options.user_timeout.is_some() && !net::HAS_USER_TIMEOUT {
            warn!(listener = %endpoint, "this system has no TCP_USER_TIMEOUT; it is ignored");
        }
        let is_shared = listener.options.share_port;
        let told = if is_shared { Error::listen_shared } else { Error::listen };
        let failed = |source| told(endpoint.clone(), source);
        let protocol = listener.framing.protocol.name();
        let mut sockets = self.inherited.take(protocol, &listener.address, &endpoint).map_err(failed)?;
        let is_inherited = !sockets.is_empty();
        if !is_inherited && !self.is_rehearsal {
            sockets.push(net::listen(&endpoint, &listener.options).map_err(failed)?);
        }
        let ip = sockets.first().map(net::Listener::ip).transpose().map_err(failed)?.flatten();
        self.local_addrs.push(ip.map_or(endpoint, Endpoint::Ip));
        self.listeners.push(listener.config());
        self.entrances.push(entrance);
        self.places.push(Place {
            sockets,
            is_inherited,
            options: listener.options,
            protocol,
            text: listener.address,
        });
        Ok(self)
    }

    /// Sockets of another process, for the listeners that come hereafter: one at the same address uses them, with the
    /// connections in their queues, instead of a socket of its own. Nothing is taken from them before the server begins
    /// ([`Builder::prepare`]).
    #[must_use]
    pub fn inherit(mut self, inherited: Inherited) -> Builder {
        self.inherited = inherited;
        self
    }

    /// What was inherited: what of it was taken, and what is left.
    pub const fn inherited(&mut self) -> &mut Inherited {
        &mut self.inherited
    }

    /// Listens nowhere by itself from now on: only inherited sockets are used. For a server that is prepared and never
    /// begins.
    #[must_use]
    pub const fn rehearsal(mut self, is_rehearsal: bool) -> Builder {
        self.is_rehearsal = is_rehearsal;
        self
    }

    /// Bounds and deadlines of every connection. Deadlines are `1 ms..=24 days`; [`Limits::stall`] may be shorter.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Builder {
        self.limits = limits;
        self
    }

    /// Event loops, each with a thread of its own, `1..=256`. Default: as many as there are processors for this process,
    /// as far as the memory suffices, of which each gets an equal part.
    ///
    /// Each loop has a service of its own, and connections stay with the loop that took them in.
    #[must_use]
    pub const fn shards(mut self, shards: u16) -> Builder {
        self.shards = Some(shards);
        self
    }

    /// Keeps each loop on a processor of its own. Default: no. Linux only, and only with the feature `pin`; where it
    /// can't be done, that is logged and the loop runs all the same.
    #[must_use]
    pub const fn pin(mut self, pin: bool) -> Builder {
        self.pin = pin;
        self
    }

    /// Threads for [offloaded](Reply::offload) work, `1..=256`, and how many jobs may wait for one, `1..=1048576`; a job
    /// more is refused with OVERLOADED. Default: no threads, every job is refused.
    #[must_use]
    pub const fn workers(mut self, threads: u16, waiting: usize) -> Builder {
        self.workers = Some((threads, waiting));
        self
    }

    /// Gives a route, or a range of them, handler times and a count of stalls of its own, under the name of what serves it.
    /// All other routes are [`OTHER_ROUTES`](super::OTHER_ROUTES) together. At most 64; the first that names a route counts.
    #[must_use]
    pub fn label_routes(mut self, routes: RangeInclusive<u16>, service: &str) -> Builder {
        let (first, last) = (*routes.start(), *routes.end());
        self.labels.push(RouteLabel { first, last, service: service.into() });
        self
    }

    /// Who may come in on listeners that [want users](Listener::wants_users). Default: nobody.
    #[must_use]
    pub fn users(mut self, users: impl Into<Arc<Users>>) -> Builder {
        self.users = users.into();
        self
    }

    /// Memory for all buffers of all loops, in bytes, at least 4 MiB for each and at most 1 TiB. Default: 256 MiB.
    #[must_use]
    pub const fn memory(mut self, bytes: usize) -> Builder {
        self.budget_bytes = bytes;
        self
    }

    /// The most connections at once, `1..=16776192`; those beyond are told OVERLOADED. Default: 65,536.
    #[must_use]
    pub const fn max_connections(mut self, connections: u32) -> Builder {
        self.connections_max = connections;
        self
    }

    /// The most that [`Change::max_connections`](super::Change::max_connections) may make of the most connections while
    /// the server runs. Tables are that long, and cost nothing where nobody was. Default: the most at the start.
    #[must_use]
    pub const fn room_for(mut self, connections: u32) -> Builder {
        self.connections_room = connections;
        self
    }

    /// The connections that tables are made for.
    pub(super) fn room(&self) -> u32 {
        self.connections_room.clamp(self.connections_max, CONNECTIONS_PER_SHARD_MAX.max(self.connections_max))
    }

    /// How long a drain that a signal began may take. Default: 30 s.
    #[must_use]
    pub const fn grace(mut self, grace: Duration) -> Builder {
        self.grace = grace;
        self
    }

    /// Where the listeners are, in their order, with the ports that port 0 became.
    pub fn local_addrs(&self) -> &[Endpoint] {
        &self.local_addrs
    }

    /// Starts the server beside the caller, and touches nothing else of the process: no signal handler, no logger, no
    /// panic hook.
    ///
    /// Each loop has its own copy of `make_service`, which makes its service on the loop's own thread. So a service need
    /// not be `Send`; what the closure captures must be, and is cloned for each loop: share by `Arc` what they share.
    ///
    /// # Errors
    ///
    /// [`Error::NoListener`], [`Error::Limit`], [`Error::Host`] if a loop can't be made, [`Error::ShardDied`] if its service
    /// can't, or why a port can't be listened on once for each loop.
    pub fn start<S, F>(self, make_service: F) -> Result<Running, Error>
    where
        S: Service,
        F: FnMut() -> S + Clone + Send + 'static,
    {
        self.prepare(make_service)?.begin()
    }

    /// Makes all of the server, its loops with their services included, and takes no connection yet.
    ///
    /// # Errors
    ///
    /// As [`Builder::start`].
    pub fn prepare<S, F>(self, make_service: F) -> Result<Prepared, Error>
    where
        S: Service,
        F: FnMut() -> S + Clone + Send + 'static,
    {
        self.check()?;
        launch::prepare(self, make_service)
    }

    /// Runs the server until SIGINT or SIGTERM, then drains it. A second signal ends the process at once, with exit
    /// code 130.
    ///
    /// # Errors
    ///
    /// As [`Builder::start`]; [`Error::Lossy`] if the drain had to force or lose anything; [`Error::ShardDied`].
    #[cfg(feature = "signals")]
    pub fn serve<S, F>(self, make_service: F) -> Result<(), Error>
    where
        S: Service,
        F: FnMut() -> S + Clone + Send + 'static,
    {
        let grace = self.grace;
        let running = self.start(make_service)?;
        super::drain_on_signals(&running, grace)?;
        let report = running.join()?;
        if report.is_clean() { Ok(()) } else { Err(Error::Lossy(report)) }
    }

    /// [`Builder::serve`] with one function as the service. Each loop has a clone of it, with its own copy of what it
    /// captures. A closure that is not written in the call itself needs its types: `|frame: Frame<'_>, reply: Reply<'_>|`.
    ///
    /// # Errors
    ///
    /// As [`Builder::serve`].
    #[cfg(feature = "signals")]
    pub fn serve_fn<F>(self, handler: F) -> Result<(), Error>
    where
        F: for<'a, 'b> FnMut(Frame<'a>, Reply<'b>) -> Replied + Clone + Send + 'static,
    {
        self.serve(move || FnService(handler.clone()))
    }

    /// [`Builder::start`] with one function as the service.
    ///
    /// # Errors
    ///
    /// As [`Builder::start`].
    pub fn start_fn<F>(self, handler: F) -> Result<Running, Error>
    where
        F: for<'a, 'b> FnMut(Frame<'a>, Reply<'b>) -> Replied + Clone + Send + 'static,
    {
        self.start(move || FnService(handler.clone()))
    }

    /// How many loops it will have.
    pub fn shards_or_default(&self) -> u16 {
        self.shards.unwrap_or_else(|| {
            let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
            shards_for(processors, self.budget_bytes)
        })
    }

    fn check(&self) -> Result<(), Error> {
        if self.listeners.is_empty() {
            return Err(Error::NoListener);
        }
        let limits = &self.limits;
        let shards = self.shards_or_default();
        within("the number of shards", shards.into(), 1, SHARDS_MAX.into())?;
        if let Some((threads, waiting)) = self.workers {
            within("the number of worker threads", threads.into(), 1, WORKERS_MAX.into())?;
            within("the number of jobs that may wait", waiting as u64, 1, JOBS_WAITING_MAX as u64)?;
        }
        self.sampling.map_or(Ok(()), tracing::check)?;
        within("the number of labeled routes", self.labels.len() as u64, 0, ROUTE_LABELS_MAX as u64)?;
        let least = BUDGET_BYTES_MIN as u64 * u64::from(shards);
        within("the memory budget in bytes", self.budget_bytes as u64, least, BUDGET_BYTES_MAX)?;
        within("the most connections", self.connections_max.into(), 1, CONNECTIONS_PER_SHARD_MAX.into())?;
        check_limits(limits, self.budget_bytes / usize::from(shards))
    }
}

/// Whether connections may be given these, by loops with so much memory.
pub(super) fn check_limits(limits: &Limits, bytes_per_shard: usize) -> Result<(), Error> {
    let open = u64::from(limits.open_requests);
    within("the open requests of a connection", open, 1, u64::from(OPEN_REQUESTS_MAX))?;
    within("the rate of reconnections", limits.reconnect_rate.into(), 1, RECONNECT_RATE_MAX.into())?;
    for (name, deadline) in deadlines(limits) {
        within(name, whole_ms_of(deadline), 1, DEADLINE_MS_MAX.into())?;
    }
    quotas::check(limits)?;
    let (low, high) = (u64::from(limits.output_low_bytes), u64::from(limits.output_high_bytes));
    within("the low output watermark in bytes", low, 0, high.saturating_sub(1))?;
    let most = (bytes_per_shard as u64 / 4).min(OUTPUT_HIGH_BYTES_MAX.into());
    within("the high output watermark in bytes", high, 1, most)
}

/// The loops of a server that was told no number, on a host with so many processors: one for each, as far as the
/// memory suffices.
pub fn shards_for(processors: usize, budget_bytes: usize) -> u16 {
    let most = processors.min(budget_bytes / BUDGET_BYTES_MIN).clamp(1, SHARDS_MAX.into());
    u16::try_from(most).unwrap_or(SHARDS_MAX)
}

/// The deadlines that are set, each with its name.
fn deadlines(limits: &Limits) -> impl Iterator<Item = (&'static str, Duration)> {
    let always = [
        ("the frame deadline in milliseconds", limits.frame_deadline),
        ("the write stall in milliseconds", limits.write_stall),
        ("the linger in milliseconds", limits.linger),
        ("the request deadline in milliseconds", limits.request_deadline),
        ("the connect deadline in milliseconds", limits.connect_deadline),
        ("the entrance's deadline in milliseconds", limits.entrance),
    ];
    let idle = limits.idle.map(|idle| ("the idle time in milliseconds", idle));
    let heartbeat = limits.heartbeat.map(|heartbeat| ("the heartbeat in milliseconds", heartbeat));
    let max_age = limits.max_age.map(|age| ("the age of a connection in milliseconds", age));
    always.into_iter().chain(idle).chain(heartbeat).chain(max_age)
}

pub(super) fn whole_ms_of(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn within(name: &'static str, got: u64, least: u64, most: u64) -> Result<(), Error> {
    if (least..=most).contains(&got) { Ok(()) } else { Err(Error::Limit { name, got, least, most }) }
}
