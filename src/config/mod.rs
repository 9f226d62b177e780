//! The configuration: from texts to one value that a server can be built of, or to everything that is wrong with them.
//!
//! ```text
//!  file text -- syntax --> layers <-- outside: environment, flags
//!                            |
//!                         settings   each key judged by the schema
//!                            |
//!                         meaning    how values go together
//!                            |
//!                          Config
//! ```
//!
//! Always holds: what is in a [`Config`] is in range and goes together, nothing is left to check; all mistakes are
//! told at once, each at its place. `schema` is the only list of keys: errors, the printed default, environment names
//! and docs/CONFIG.md are made from it. Never: files, the environment, clocks; whoever calls hands texts in.

pub mod change;
mod host;
mod judge;
mod layers;
mod meaning;
mod outside;
mod print;
mod report;
pub mod schema;
mod settings;
mod syntax;
mod users;
mod value;

pub use crate::base::units::{size_text, time_text};
pub use host::Host;
pub use outside::{Changes, Flag, PREFIX, variable};
pub use print::{default_text, reference};
pub use report::{File, Mistakes};
pub use value::{Secret, Value};

use crate::base::Network;
use crate::base::limits::{BACKLOG, Limits, ROUTE_LABELS_MAX, WhenOver};
use crate::identity::Users;
use crate::net::{Account, Endpoint, FileOptions, Keepalive, ListenOptions};
use crate::server;
use crate::service::{BuiltIn, Router};
use crate::trace::{Collector, Sampling};
use layers::Written;
use report::{Mistake, Origin};
use settings::Part;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use toml::de::DeTable;

/// A server, as it is wanted. Two that are equal make the same server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Event loops; `None`: one for each processor.
    pub shards: Option<u16>,
    /// Whether each is kept on a processor.
    pub pin: bool,
    /// Whether other processes may listen on its ports.
    pub share_port: bool,
    /// Memory for buffers.
    pub memory_bytes: u64,
    /// How long a drain may take.
    pub grace: Duration,
    /// Whether its file is read anew when it changes.
    pub watch: bool,
    /// Where it gives its sockets to the next process; `None`: nowhere. Whoever builds a server of this does that, with
    /// `tidegate::upgrade`.
    pub upgrade: Option<PathBuf>,
    /// Where it listens.
    pub listeners: Vec<Listen>,
    /// Who may come in on listeners that want users.
    pub users: Arc<Users>,
    /// A file with more of them. Whoever builds a server of this reads it, with [`Users::and_text`].
    pub users_file: Option<PathBuf>,
    /// Who serves what.
    pub routes: Vec<(RangeInclusive<u16>, BuiltIn)>,
    /// Connections at once; `None`: as many as there are descriptors for.
    pub max_connections: Option<u32>,
    /// Bounds and deadlines of connections.
    pub limits: Limits,
    /// Probes by the kernel.
    pub keepalive: Option<Keepalive>,
    /// How long it waits for acknowledgements; `None`: as long as it likes.
    pub user_timeout: Option<Duration>,
    /// The admin port; `None`: there is none. Whoever builds a server of this starts it, with `tidegate::control`.
    pub admin: Option<AdminPort>,
    /// Where traces are sent; `None`: nothing is recorded. Whoever builds a server of this sends them, with
    /// `tidegate::control`.
    pub traces: Option<TraceExport>,
    /// How the log is written: auto, text or json.
    pub log_format: &'static str,
    /// From which level on.
    pub log_level: &'static str,
}

/// The admin port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminPort {
    /// Where.
    pub address: String,
    /// What a change wants, if it is in the configuration itself.
    pub token: Option<Secret>,
    /// The file that it is in, else.
    pub token_file: Option<PathBuf>,
    /// Names that it may be asked by.
    pub hosts: Vec<String>,
    /// Whether it makes CPU profiles.
    pub profile: bool,
}

/// Traces that are sent somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceExport {
    /// Where.
    pub collector: Collector,
    /// Which requests are recorded.
    pub sampling: Sampling,
    /// What the server is called in them.
    pub service_name: String,
    /// A file with headers for the collector.
    pub headers_file: Option<PathBuf>,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub address: String,
    /// What comes there.
    pub speaks: Speaks,
    /// Whether a peer must be one of the users.
    pub wants_users: bool,
    /// The largest payload, in bytes.
    pub max_payload: u32,
    /// The length of its accept queue.
    pub backlog: i32,
    /// Connections at once; `None`: as many as the server may have.
    pub max_connections: Option<u32>,
    /// What the kernel may buffer; `None`: it decides.
    pub kernel_buffer_bytes: Option<usize>,
    /// From where proxies come that say whose connection it is; empty: the protocol is off.
    pub trusted: Vec<Network>,
    /// The files that its TLS is made from; `None`: it speaks plainly.
    pub tls: Option<ListenTls>,
    /// The file of a unix socket.
    pub file: FileOptions,
}

/// A listener's TLS: files, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenTls {
    /// Its certificate, and behind it those of its issuers.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
    /// off, optional or required.
    pub client: &'static str,
    /// The clients' authorities.
    pub client_ca: Option<PathBuf>,
    /// Clients' certificates that were taken back.
    pub revoked: Option<PathBuf>,
}

#[cfg(feature = "tls")]
impl ListenTls {
    /// As the library takes them.
    pub fn files(&self) -> crate::tls::TlsFiles {
        use crate::tls::{ClientAuth, TlsFiles};
        TlsFiles {
            client: match self.client {
                "required" => ClientAuth::Required,
                "optional" => ClientAuth::Optional,
                _ => ClientAuth::Off,
            },
            client_ca: self.client_ca.clone(),
            revoked: self.revoked.clone(),
            ..TlsFiles::new(&self.cert, &self.key)
        }
    }
}

/// What comes to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// Frames.
    Frames {
        /// Whether a HELLO must be the first.
        wants_hello: bool,
    },
    /// Frames whose headers are all route.
    BareFrames,
    /// Lines.
    Lines {
        /// The route of all of them.
        route: u16,
    },
}

/// All that a configuration is made of.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file; without one, the embedded default.
    pub file: Option<File>,
    /// The environment: names and values. Those that don't begin with [`PREFIX`] are not looked at.
    pub variables: Vec<(String, String)>,
    /// Flags of the command line.
    pub flags: Vec<Flag>,
}

/// A configuration without mistakes, and where its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    parts: Vec<Part>,
    file: Option<File>,
}

impl Loaded {
    /// A file with the value of every key, that makes the same configuration; a comment says where a value came from
    /// that is not the default.
    pub fn effective_text(&self) -> String {
        print::effective_text(&self.parts, self.file.as_ref())
    }
}

/// Puts the sources together, the later over the earlier: default, file, environment, flags.
///
/// # Errors
///
/// Everything that is wrong, at once.
pub fn load(sources: Sources, host: &Host) -> Result<Loaded, Mistakes> {
    let Sources { mut file, variables, flags } = sources;
    let mut mistakes = Vec::new();
    let mut written = read(&default_text(), &mut mistakes).0.into_default();
    debug_assert!(mistakes.is_empty(), "the default is right: {mistakes:?}");
    let mut is_partial = false;
    if let Some(file) = &mut file {
        let (of_file, is_damaged) = read(&file.text, &mut mistakes);
        hide_secrets(file, &of_file, is_damaged);
        written = written.under(of_file);
        is_partial = is_damaged;
    }
    outside::overlay_variables(&variables, &mut written, &mut mistakes);
    outside::overlay_flags(&flags, &mut written, &mut mistakes);
    let parts = settings::judge(&written, is_partial, &mut mistakes);
    let listed = written.list("listener").map_or(&Origin::Default, |(origin, _)| origin);
    meaning::check(&parts, listed, host, &mut mistakes);
    let users = users::add(Users::new(), &parts, &mut mistakes);
    match config(&parts, users) {
        Some(config) if mistakes.is_empty() => Ok(Loaded { config, parts, file }),
        _ => Err(Mistakes::new(file, mistakes)),
    }
}

/// What is a secret, or may be one, is not shown around a mistake.
fn hide_secrets(file: &mut File, written: &Written, is_damaged: bool) {
    written.secrets().for_each(|place| file.hide(place));
    if is_damaged || written.has_unknown_keys() {
        layers::damaged_secrets(&file.text).into_iter().for_each(|place| file.hide(place));
    }
}

/// What was written, and whether mistakes of syntax hid something.
fn read(text: &str, mistakes: &mut Vec<Mistake>) -> (Written, bool) {
    let clean = syntax::clean(text);
    let is_damaged = !clean.mistakes.is_empty();
    mistakes.extend(clean.mistakes);
    let (table, _) = DeTable::parse_recoverable(&clean.text);
    (layers::read(table.get_ref(), mistakes), is_damaged)
}

/// `None` only if a value was refused, which was told.
fn config(parts: &[Part], users: Users) -> Option<Config> {
    let of = |name: &str| parts.iter().find(|part| part.section.name == name);
    let all = |name: &'static str| parts.iter().filter(move |part| part.section.name == name);
    let (server, limits, timeouts, log) = (of("server")?, of("limits")?, of("timeouts")?, of("log")?);
    let bytes = |part: &Part, name| part.size(name).and_then(|bytes| u32::try_from(bytes).ok());
    Some(Config {
        shards: server.count("shards").and_then(|shards| u16::try_from(shards).ok()),
        pin: server.is_on("pin"),
        share_port: server.is_on("share_port"),
        memory_bytes: server.size("memory")?,
        grace: server.time("drain.grace")?,
        watch: server.is_on("watch"),
        upgrade: upgrade(server.text("upgrade")?),
        listeners: all("listener").map(listen).collect::<Option<_>>()?,
        users: Arc::new(users),
        users_file: server.text("users_file").filter(|file| !file.is_empty()).map(PathBuf::from),
        routes: all("route").map(route).collect::<Option<_>>()?,
        max_connections: limits.count("max_connections").and_then(|most| u32::try_from(most).ok()),
        limits: Limits {
            output_high_bytes: bytes(limits, "output_high")?,
            output_low_bytes: bytes(limits, "output_low")?,
            frame_deadline: timeouts.time("frame")?,
            idle: timeouts.time("idle"),
            write_stall: timeouts.time("write_stall")?,
            linger: timeouts.time("linger")?,
            stall: log.time("stall")?,
            heartbeat: timeouts.time("heartbeat"),
            reconnect_rate: u32::try_from(server.count("drain.reconnect_rate")?).ok()?,
            entrance: timeouts.time("entrance")?,
            ..quotas(limits, timeouts)?
        },
        keepalive: keepalive(of("keepalive")?)?,
        user_timeout: of("keepalive")?.time("user_timeout"),
        admin: admin(of("admin")?)?,
        traces: traces(of("trace")?)?,
        log_format: log.word("format")?,
        log_level: log.word("level")?,
    })
}

/// With or without the prefix of listeners' paths.
fn upgrade(text: &str) -> Option<PathBuf> {
    let path = text.strip_prefix("unix:").unwrap_or(text);
    (!path.is_empty()).then(|| PathBuf::from(path))
}

/// How many, how fast, and for how long.
fn quotas(limits: &Part, timeouts: &Part) -> Option<Limits> {
    let count = |name| limits.count(name).and_then(|most| u32::try_from(most).ok());
    let small = |part: &Part, name| part.count(name).and_then(|number| u8::try_from(number).ok());
    Some(Limits {
        per_address: count("per_address"),
        ipv6_prefix: small(limits, "ipv6_prefix")?,
        accept_rate: count("accept_rate"),
        messages_per_second: count("messages_per_second"),
        bytes_per_second: limits.size("bytes_per_second"),
        deliveries_per_second: count("deliveries_per_second"),
        address_messages_per_second: count("address_messages_per_second"),
        address_bytes_per_second: limits.size("address_bytes_per_second"),
        burst: limits.time("burst")?,
        when_over: if limits.word("when_over")? == "refuse" { WhenOver::Refuse } else { WhenOver::Pause },
        max_age: timeouts.time("max_age"),
        max_age_jitter: small(timeouts, "max_age_jitter")?,
        ..Limits::default()
    })
}

fn keepalive(part: &Part) -> Option<Option<Keepalive>> {
    let (interval, count) = (part.time("interval")?, u32::try_from(part.count("count")?).ok()?);
    Some(part.time("idle").map(|idle| Keepalive { idle, interval, count }))
}

fn admin(part: &Part) -> Option<Option<AdminPort>> {
    let Some(address) = part.address() else { return part.word("address").map(|_off| None) };
    let (token, file) = (part.secret("token")?, part.text("token_file")?);
    let hosts = part.text("hosts")?.split(',').filter(|name| !name.is_empty());
    Some(Some(AdminPort {
        address: address.to_owned(),
        token: (!token.reveal().is_empty()).then(|| token.clone()),
        token_file: (!file.is_empty()).then(|| PathBuf::from(file)),
        hosts: hosts.map(str::to_owned).collect(),
        profile: part.is_on("profile"),
    }))
}

fn traces(part: &Part) -> Option<Option<TraceExport>> {
    let endpoint = part.text("endpoint")?;
    if endpoint.is_empty() {
        return Some(None);
    }
    let headers_file = part.text("headers_file")?;
    Some(Some(TraceExport {
        collector: endpoint.parse().ok()?,
        sampling: Sampling {
            per_million: part.ratio("ratio")?,
            spans_per_second: u32::try_from(part.count("spans_per_second")?).ok()?,
        },
        service_name: part.text("service_name")?.to_owned(),
        headers_file: (!headers_file.is_empty()).then(|| PathBuf::from(headers_file)),
    }))
}

fn listen(part: &Part) -> Option<Listen> {
    let speaks = match (part.word("protocol")?, part.word("header_space"), part.word("hello")) {
        ("line", _, _) => Speaks::Lines { route: u16::try_from(part.count("route")?).ok()? },
        (_, Some("full"), _) => Speaks::BareFrames,
        (_, _, hello) => Speaks::Frames { wants_hello: hello == Some("required") },
    };
    Some(Listen {
        address: part.address()?.to_owned(),
        speaks,
        wants_users: part.word("users") == Some("required"),
        max_payload: u32::try_from(part.size("max_payload")?).ok()?,
        backlog: part.count("backlog").map_or(Some(BACKLOG), |backlog| i32::try_from(backlog).ok())?,
        max_connections: part.count("max_connections").and_then(|most| u32::try_from(most).ok()),
        kernel_buffer_bytes: part.size("kernel_buffer").and_then(|bytes| usize::try_from(bytes).ok()),
        trusted: trusted(part)?,
        tls: listen_tls(part),
        file: FileOptions {
            mode: part.text("mode").and_then(|mode| u32::from_str_radix(mode, 8).ok()),
            owner: account(part, "owner"),
            group: account(part, "group"),
        },
    })
}

fn listen_tls(part: &Part) -> Option<ListenTls> {
    let file = |name| part.text(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    Some(ListenTls {
        cert: file("tls.cert")?,
        key: file("tls.key")?,
        client: part.word("tls.client")?,
        client_ca: file("tls.client_ca"),
        revoked: file("tls.revoked"),
    })
}

fn trusted(part: &Part) -> Option<Vec<Network>> {
    if part.word("proxy_protocol")? == "off" {
        return Some(Vec::new());
    }
    part.text("trusted")?.split(',').map(|network| network.parse().ok()).collect()
}

fn account(part: &Part, name: &str) -> Option<Account> {
    let text = part.text(name).filter(|text| !text.is_empty())?;
    Some(text.parse().map_or_else(|_| Account::Name(text.to_owned()), Account::Id))
}

fn route(part: &Part) -> Option<(RangeInclusive<u16>, BuiltIn)> {
    let name = part.word("service")?;
    let service = BuiltIn::ALL.into_iter().find(|service| service.name() == name)?;
    Some((part.headers()?, service))
}

impl Config {
    /// The loops that it has on this host.
    pub fn shards_on(&self, host: &Host) -> u16 {
        let memory = usize::try_from(self.memory_bytes).unwrap_or(usize::MAX);
        self.shards.unwrap_or_else(|| server::shards_for(host.processors, memory))
    }

    /// The connections that it takes on this host.
    pub fn connections_on(&self, host: &Host) -> u32 {
        self.max_connections.unwrap_or_else(|| self.room_on(host))
    }

    /// The most that a change may make of that while the server runs: what there are descriptors for.
    fn room_on(&self, host: &Host) -> u32 {
        let most = host.connections(self.shards_on(host), self.listeners.len(), self.admin.is_some());
        u32::try_from(most).unwrap_or(u32::MAX)
    }

    /// The service of its routes.
    pub fn router(&self) -> Router {
        let mut router = Router::new();
        for (routes, service) in &self.routes {
            let added = router.add(routes.clone(), *service);
            debug_assert!(added.is_ok(), "routes were checked: {added:?}");
        }
        router
    }

    /// The server that it describes, on this host, listening.
    ///
    /// # Errors
    ///
    /// An address that can't be listened on.
    pub fn builder(&self, host: &Host) -> Result<server::Builder, server::Error> {
        self.builder_over(host, server::Server::builder())
    }

    /// The same, from a builder that has [inherited](server::Builder::inherit) sockets.
    ///
    /// # Errors
    ///
    /// An address that can't be listened on.
    pub fn builder_over(
        &self,
        host: &Host,
        builder: server::Builder,
    ) -> Result<server::Builder, server::Error> {
        let mut builder = builder
            .limits(self.limits.clone())
            .grace(self.grace)
            .pin(self.pin)
            .users(Arc::clone(&self.users))
            .memory(usize::try_from(self.memory_bytes).unwrap_or(usize::MAX))
            .shards(self.shards_on(host))
            .max_connections(self.connections_on(host))
            .room_for(self.room_on(host));
        if let Some(traces) = &self.traces {
            builder = builder.tracing(traces.sampling);
        }
        for listen in &self.listeners {
            builder = builder.listen(self.listener(listen))?;
        }
        for (routes, service) in self.routes.iter().take(ROUTE_LABELS_MAX) {
            builder = builder.label_routes(routes.clone(), service.name());
        }
        Ok(builder)
    }

    fn listener(&self, listen: &Listen) -> server::Listener {
        let address = listen.address.as_str();
        let listener = match listen.speaks {
            Speaks::Frames { wants_hello: true } => server::Listener::frames(address).wants_hello(),
            Speaks::Frames { wants_hello: false } => server::Listener::frames(address),
            Speaks::BareFrames => server::Listener::bare_frames(address),
            Speaks::Lines { route } => server::Listener::lines(address).route(route),
        };
        let options = ListenOptions {
            backlog: listen.backlog,
            socket_buffer_bytes: listen.kernel_buffer_bytes,
            keepalive: self.keepalive,
            user_timeout: self.user_timeout,
            // A path has one socket, so each process has one of its own, whatever it shares.
            share_port: self.share_port && !matches!(Endpoint::parse(address), Ok(Endpoint::Unix(_))),
            file: listen.file.clone(),
        };
        let listener = if listen.wants_users { listener.wants_users() } else { listener };
        let listener = listener.max_payload(listen.max_payload).options(options);
        #[cfg(feature = "tls")]
        let listener = match &listen.tls {
            Some(tls) => listener.tls(tls.files()),
            None => listener,
        };
        let listener = match listen.max_connections {
            Some(most) => listener.max_connections(most),
            None => listener,
        };
        if listen.trusted.is_empty() { listener } else { listener.proxied_by(listen.trusted.iter().copied()) }
    }
}
