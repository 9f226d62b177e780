//! What a server is made of, checked as it is put together.

use super::{Error, Running, launch};
use crate::base::Network;
use crate::base::limits::{
    BACKLOG_MAX, BUDGET_BYTES_DEFAULT, BUDGET_BYTES_MAX, BUDGET_BYTES_MIN, CONNECTIONS_DEFAULT,
    CONNECTIONS_PER_SHARD_MAX, DEADLINE_MS_MAX, DRAIN_GRACE, JOBS_WAITING_MAX, KEEPALIVE_PROBES_MAX,
    KEEPALIVE_SECONDS_MAX, LINE_BYTES_DEFAULT, LINE_BYTES_MAX, LISTENERS_MAX, Limits, OPEN_REQUESTS_MAX,
    OUTPUT_HIGH_BYTES_MAX, PAYLOAD_BYTES_DEFAULT, PAYLOAD_BYTES_MAX, ROUTE_LABELS_MAX, SHARDS_MAX,
    SOCKET_BUFFER_BYTES_MAX, SOCKET_BUFFER_BYTES_MIN, TRUSTED_MAX, WORKERS_MAX,
};
use crate::net::{self, Endpoint, KERNEL_SPREADS, ListenOptions};
use crate::service::{FnService, Frame, Replied, Reply, Service};
use crate::session::{Framing, Protocol};
use crate::shard::Entrance;
use crate::turn::{ListenerConfig, RouteLabel};
use crate::wire::Header;
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::time::Duration;

/// An address to listen on, and how its streams are cut into messages.
#[derive(Clone, Debug)]
pub struct Listener {
    address: String,
    framing: Framing,
    /// Of all lines; not looked at for frames.
    route: u16,
    wants_hello: bool,
    entrance: Entrance,
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::TlsFiles>,
    options: ListenOptions,
}

impl Listener {
    /// Binary frames on this address: `127.0.0.1:7411`, where port 0 takes a free one, or `unix:/run/tidegate.sock`. A
    /// unix socket's file is replaced if nobody listens on it any more, and removed when listening ends.
    pub fn frames(address: impl Into<String>) -> Listener {
        Listener::with(address.into(), Framing::frames(PAYLOAD_BYTES_DEFAULT))
    }

    /// Frames whose header is a route in all its 16 bits (`header_space = "full"`): for clients that use them all. No
    /// extension blocks and no control frames, so a request that fails ends its connection.
    pub fn bare_frames(address: impl Into<String>) -> Listener {
        Listener::with(address.into(), Framing::bare_frames(PAYLOAD_BYTES_DEFAULT))
    }

    /// Lines of text on this address. They all go to route 0, unless [`Listener::route`] names another.
    pub fn lines(address: impl Into<String>) -> Listener {
        Listener::with(address.into(), Framing::lines(LINE_BYTES_DEFAULT, 0))
    }

    fn with(address: String, framing: Framing) -> Listener {
        let (entrance, options) = (Entrance::default(), ListenOptions::default());
        Listener {
            address,
            framing,
            route: 0,
            wants_hello: false,
            entrance,
            #[cfg(feature = "tls")]
            tls: None,
            options,
        }
    }

    /// Every peer's first frame must be a HELLO that [`Service::on_hello`] accepts; who sends anything else is told
    /// UNAUTHENTICATED. Of no use with lines and bare frames, which have no HELLO.
    #[must_use]
    pub const fn wants_hello(mut self) -> Listener {
        self.wants_hello = matches!(self.framing.protocol, Protocol::Frame);
        self
    }

    /// The largest payload, in bytes: of a frame, `0..=268435456`, default 1 MiB; of a line without its end,
    /// `0..=131072`, default 64 KiB.
    #[must_use]
    pub const fn max_payload(mut self, bytes: u32) -> Listener {
        self.framing = self.framing.with_payload_max(bytes);
        self
    }

    /// The route of all lines, `0..=16383`. Of no use with frames, which name their own.
    #[must_use]
    pub const fn route(mut self, route: u16) -> Listener {
        self.route = route;
        self
    }

    /// Every connection comes from a proxy in one of these networks (at most 64), and begins with a PROXY header, of version
    /// 1 or 2: the client's address is the one in it. Connections from elsewhere, and such without a header, are closed.
    #[must_use]
    pub fn proxied_by(mut self, trusted: impl IntoIterator<Item = Network>) -> Listener {
        self.entrance.proxy = Some(trusted.into_iter().collect());
        self
    }

    /// Every connection speaks TLS, 1.3 or 1.2, with what these files say; behind its PROXY header, if it must have one.
    /// They are read when the server begins to listen, and again by [`Handle::reload_tls`](super::Handle::reload_tls).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, files: crate::tls::TlsFiles) -> Listener {
        self.tls = Some(files);
        self
    }

    /// Its entrance, with the files read.
    fn entrance(&self, at: &Endpoint) -> Result<Entrance, Error> {
        #[cfg(feature = "tls")]
        if let Some(files) = &self.tls {
            let unusable =
                |error: crate::tls::TlsError| Error::Tls { address: at.clone(), why: error.to_string() };
            let acceptor = crate::tls::Acceptor::new(files.clone()).map_err(unusable)?;
            return Ok(Entrance { tls: Some(acceptor.into()), ..self.entrance.clone() });
        }
        let _ = at;
        Ok(self.entrance.clone())
    }

    /// Lets other processes of this user listen on the same port, if each has this; the kernel spreads connections over
    /// them by a hash of the addresses, not by how many each has. One that has it also joins a server that has not, so
    /// give it to all. Linux and FreeBSD; not for unix sockets.
    ///
    /// The same as [`ListenOptions::share_port`].
    #[must_use]
    pub const fn share_port(mut self) -> Listener {
        self.options.share_port = true;
        self
    }

    /// Backlog, kernel buffers, keepalive, sharing.
    #[must_use]
    pub fn options(mut self, options: ListenOptions) -> Listener {
        self.options = options;
        self
    }

    fn check(&self) -> Result<(), Error> {
        within("the route of lines", self.route.into(), 0, Header::ROUTE_MAX.into())?;
        let (name, most) = match self.framing.protocol {
            Protocol::Frame | Protocol::Bare => ("the largest payload of a frame", PAYLOAD_BYTES_MAX),
            Protocol::Line => ("the longest line", LINE_BYTES_MAX),
        };
        within(name, u64::from(self.framing.payload_max), 0, u64::from(most))?;
        if let Some(trusted) = &self.entrance.proxy {
            within("the number of trusted networks", trusted.len() as u64, 1, TRUSTED_MAX as u64)?;
        }
        let ListenOptions { backlog, socket_buffer_bytes, keepalive, share_port: _, file } = &self.options;
        within("the mode of a socket's file", file.mode.unwrap_or(0).into(), 0, 0o777)?;
        let backlog = u64::try_from(*backlog).unwrap_or(0);
        within("the backlog", backlog, 1, BACKLOG_MAX as u64)?;
        if let Some(bytes) = socket_buffer_bytes {
            let (least, most) = (SOCKET_BUFFER_BYTES_MIN as u64, SOCKET_BUFFER_BYTES_MAX as u64);
            within("the kernel's buffer in bytes", *bytes as u64, least, most)?;
        }
        if let Some(keepalive) = keepalive {
            for (name, time) in [
                ("keepalive's idle time in seconds", keepalive.idle),
                ("keepalive's interval in seconds", keepalive.interval),
            ] {
                within(name, time.as_secs(), 1, KEEPALIVE_SECONDS_MAX)?;
            }
            within("keepalive's count", keepalive.count.into(), 1, KEEPALIVE_PROBES_MAX.into())?;
        }
        Ok(())
    }

    fn endpoint(&self) -> Result<Endpoint, Error> {
        let address = Endpoint::parse(&self.address)
            .map_err(|why| Error::Address { text: self.address.clone(), why })?;
        let why = match address {
            _ if !self.options.share_port => return Ok(address),
            Endpoint::Unix(_) => "a path has one socket; give each process a path of its own",
            Endpoint::Ip(_) if KERNEL_SPREADS => return Ok(address),
            Endpoint::Ip(_) => {
                "this system would give one of them all connections; run one process, without share_port"
            }
        };
        Err(Error::CannotShare { address, why })
    }
}

impl From<&str> for Listener {
    /// Frames on this address.
    fn from(address: &str) -> Listener {
        Listener::frames(address)
    }
}

/// A server in the making. Each method gives it back, changed.
#[derive(Debug)]
pub struct Builder {
    pub(super) sockets: Vec<(net::Listener, ListenOptions)>,
    pub(super) local_addrs: Vec<Endpoint>,
    pub(super) listeners: Vec<ListenerConfig>,
    pub(super) entrances: Vec<Entrance>,
    pub(super) limits: Limits,
    pub(super) budget_bytes: usize,
    pub(super) connections_max: u32,
    pub(super) grace: Duration,
    shards: Option<u16>,
    pub(super) pin: bool,
    pub(super) workers: Option<(u16, usize)>,
    pub(super) labels: Vec<RouteLabel>,
}

impl Builder {
    pub(super) fn new() -> Builder {
        Builder {
            sockets: Vec::new(),
            local_addrs: Vec::new(),
            listeners: Vec::new(),
            entrances: Vec::new(),
            limits: Limits::default(),
            budget_bytes: BUDGET_BYTES_DEFAULT,
            connections_max: CONNECTIONS_DEFAULT,
            grace: DRAIN_GRACE,
            shards: None,
            pin: false,
            workers: None,
            labels: Vec::new(),
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
        let is_shared = listener.options.share_port;
        let told = if is_shared { Error::listen_shared } else { Error::listen };
        let failed = |source| told(endpoint.clone(), source);
        let socket = net::listen(&endpoint, &listener.options).map_err(failed)?;
        let ip = socket.ip().map_err(failed)?;
        self.local_addrs.push(ip.map_or(endpoint, Endpoint::Ip));
        self.sockets.push((socket, listener.options));
        let framing = listener.framing.with_line_route(listener.route);
        let is_secure = entrance.tls.is_some();
        self.entrances.push(entrance);
        self.listeners.push(ListenerConfig { framing, wants_hello: listener.wants_hello, is_secure });
        Ok(self)
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
        self.check()?;
        launch::start(self, make_service)
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
        within("the number of labeled routes", self.labels.len() as u64, 0, ROUTE_LABELS_MAX as u64)?;
        let least = BUDGET_BYTES_MIN as u64 * u64::from(shards);
        within("the memory budget in bytes", self.budget_bytes as u64, least, BUDGET_BYTES_MAX)?;
        let open = u64::from(limits.open_requests);
        within("the open requests of a connection", open, 1, u64::from(OPEN_REQUESTS_MAX))?;
        within("the most connections", self.connections_max.into(), 1, CONNECTIONS_PER_SHARD_MAX.into())?;
        for (name, deadline) in deadlines(limits) {
            let ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
            within(name, ms, 1, DEADLINE_MS_MAX.into())?;
        }
        let (low, high) = (u64::from(limits.output_low_bytes), u64::from(limits.output_high_bytes));
        within("the low output watermark in bytes", low, 0, high.saturating_sub(1))?;
        let most = (self.budget_bytes as u64 / u64::from(shards) / 4).min(OUTPUT_HIGH_BYTES_MAX.into());
        within("the high output watermark in bytes", high, 1, most)
    }
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
    always.into_iter().chain(idle).chain(heartbeat)
}

fn within(name: &'static str, got: u64, least: u64, most: u64) -> Result<(), Error> {
    if (least..=most).contains(&got) { Ok(()) } else { Err(Error::Limit { name, got, least, most }) }
}
