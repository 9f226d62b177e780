//! `tidegate serve`: a server as the file, the environment and the flags want it; without any, the embedded default.

use super::reload::{self, Certificates, Engine, People, Reloadable, Token};
use super::sources::{configuration, count_line, tell};
use super::successor::{self, Predecessor};
use super::{admin, banner, logs, seconds, systemd, trace, users};
use crate::base::limits::DRAIN_GRACE;
use crate::config::{Changes, Config, Flag, Host, Loaded, time_text};
use crate::control::{Admin, Control};
use crate::net::{Endpoint, Inherited, KERNEL_SPREADS};
use crate::server::{Error, Running, Server, drain_on_signals};
use crate::upgrade::{self, Extra, Offered, Offering};
use anyhow::bail;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// With fewer than these for connections it is not worth starting.
const CONNECTIONS_MIN: u64 = 16;

/// What the admin port's answers may take to leave when the server has ended: who asked for the drain hears of it.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The configuration file; tidegate check --print-default prints one [default: the embedded one]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen for frames: IP:PORT or unix:PATH [default: 127.0.0.1:7411]
    #[arg(long, value_name = "ADDRESS")]
    frames: Option<String>,
    /// Where to listen for lines of text: IP:PORT or unix:PATH [default: 127.0.0.1:7412]
    #[arg(long, value_name = "ADDRESS")]
    lines: Option<String>,
    /// Where to listen for HTTP: figures, health, a drain; or off [default: 127.0.0.1:7413]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// How many event loops run side by side; auto: one for each processor [default: auto]
    #[arg(long, value_name = "NUMBER", value_parser = number_or_auto)]
    shards: Option<String>,
    /// Keep each event loop on a processor of its own
    #[arg(long)]
    pin: bool,
    /// Share the ports with other processes of this user that have this flag; the kernel spreads connections over them
    #[arg(long)]
    share_port: bool,
    /// Gives more routes to a built-in service (ack, echo, discard, flip), such as 16-23=flip; may be repeated
    #[arg(long = "route", value_name = "ROUTES=SERVICE")]
    routes: Vec<String>,
    /// Close a connection that sent no whole message for this many seconds [default: never]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    idle: Option<f64>,
    /// How many seconds a drain may take after SIGINT or SIGTERM [default: 30]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    grace: Option<f64>,
    /// How the log is written; auto: text on a terminal, JSON otherwise [default: auto]
    #[arg(long, value_name = "FORMAT", value_enum)]
    log_format: Option<logs::LogFormat>,
    /// Take over from the server with this upgrade socket: tidegate upgrade starts such a process
    #[arg(long, value_name = "PATH", hide = true)]
    upgrade_from: Option<PathBuf>,
    /// End when all is ready, and change nothing
    #[arg(long, requires = "upgrade_from", hide = true)]
    rehearse: bool,
}

const _: () = assert!(DRAIN_GRACE.as_secs() == 30, "the help of --grace says so");

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let flags = flags(options)?;
    let complete = match configuration(options.config.as_deref(), flags.clone())? {
        Ok((loaded, host)) => users::complete(loaded)?.map(|loaded| (loaded, host)),
        Err(mistakes) => Err(mistakes),
    };
    match complete {
        Ok((loaded, host)) => serve(&loaded, &host, options, flags),
        Err(mistakes) => {
            if mistakes > 1 {
                tell(&format!("\n{}", count_line(mistakes)));
            }
            Ok(ExitCode::from(2))
        }
    }
}

fn serve(loaded: &Loaded, host: &Host, options: &Options, flags: Vec<Flag>) -> anyhow::Result<ExitCode> {
    let config = &loaded.config;
    let (_written_until_here, filter) = logs::start(config.log_format, config.log_level);
    let rehearses = options.rehearse;
    let passed = systemd::sockets()?;
    let (predecessor, mut inherited) = Predecessor::ask(options.upgrade_from.as_deref(), rehearses)?;
    if !predecessor.is_there() {
        inherited = Inherited::new(passed);
    }
    // There may be more of them than there would be without: of a server with more loops.
    let descriptors = host.descriptors.saturating_sub(2 * inherited.left_over().len() as u64);
    let host = &Host { descriptors, ..host.clone() };
    let (shards, connections) = (config.shards_on(host), config.connections_on(host));
    // Addresses first: that somebody else is there is told even on a host that has too little.
    let builder = Server::builder().rehearsal(rehearses).inherit(inherited);
    let mut builder = config.builder_over(host, builder).map_err(in_words)?;
    let traces = trace::of(config)?;
    let token = config.admin.as_ref().map_or(Ok(None), admin::token)?;
    let admin = admin::bind(loaded, token.clone(), Arc::clone(&filter), builder.inherited(), rehearses)?;
    let from = (options.config.clone(), flags);
    let (admin, engine) = reloaded(admin, token, loaded, host, from, filter);
    let offering = match &config.upgrade {
        Some(path) => Offering::bind(path, builder.inherited(), rehearses)?,
        None => None,
    };
    check_left_over(builder.inherited(), &predecessor)?;
    check_descriptors(host, shards, config.listeners.len(), admin.is_some())?;
    let taken = builder.inherited().taken().to_vec();
    let router = config.router();
    let prepared = builder.prepare(move || router.clone())?;
    let Some(running) = predecessor.begin(prepared, &taken)? else { return Ok(ExitCode::SUCCESS) };
    // The banner promises that Ctrl-C drains.
    drain_on_signals(&running, config.grace)?;
    let admin_at = admin.as_ref().map(Admin::local_addr).transpose()?;
    engine.runs(running.handle());
    reload::look_after(engine)?;
    let lent = admin
        .as_ref()
        .zip(config.admin.as_ref())
        .map(|(admin, port)| admin.lend().map(|fd| successor::extra(fd, &port.address)));
    let lent = lent.transpose()?;
    let control = admin.map(|admin| admin.start(running.handle())).transpose()?;
    let sending = traces.map(|traces| traces.start(running.handle())).transpose()?;
    predecessor.tell();
    let (manager, generation) = (systemd::Manager::default(), predecessor.generation());
    let upgrades = Upgrades { generation, manager: manager.clone(), admin: lent };
    let offered =
        offering.map(|offering| upgrades.start(offering, config, &running, control.as_ref())).transpose()?;
    for warning in config.admin.iter().flat_map(admin::warnings).chain(users::warnings(config)) {
        warn!("{warning}");
    }
    banner::print(config, running.local_addrs(), admin_at, shards, connections);
    manager.ready(running.handle(), generation);
    let report = running.join();
    manager.ended();
    if let Some(sending) = sending {
        sending.finish(trace::LAST_TRACES);
    }
    if let Some(control) = control {
        control.finish(LAST_ANSWERS);
    }
    drop(offered);
    let report = report?;
    if report.is_clean() {
        info!(drained = report.drained, forced = 0, lost = 0, "{report}");
        return Ok(ExitCode::SUCCESS);
    }
    warn!(drained = report.drained, forced = report.forced, lost = report.lost, "{report}");
    Ok(ExitCode::FAILURE)
}

/// What reads the configuration anew while the server runs, and the port that can be asked for it.
fn reloaded(
    admin: Option<Admin>,
    token: Option<String>,
    loaded: &Loaded,
    host: &Host,
    from: (Option<PathBuf>, Vec<Flag>),
    log: Arc<logs::Filter>,
) -> (Option<Admin>, Arc<Engine>) {
    let port = admin.as_ref().map(Admin::settings);
    // Whatever else is read from files joins these.
    let mut also: Vec<Box<dyn Reloadable>> = Vec::new();
    also.extend(port.clone().map(|port| Box::new(Token::new(port, token)) as Box<dyn Reloadable>));
    also.push(Box::new(Certificates::new(&loaded.config)));
    also.push(Box::new(People::new(Arc::clone(&loaded.config.users))));
    let engine = Arc::new(Engine::new(loaded.clone(), from, host.clone(), log, port, also));
    let reload = Arc::clone(&engine);
    (admin.map(|admin| admin.reload(reload)), engine)
}

/// What the next process is to get beside the listeners, and who is told of it.
struct Upgrades {
    generation: u64,
    manager: systemd::Manager,
    admin: Option<Extra>,
}

impl Upgrades {
    fn start(
        self,
        offering: Offering,
        config: &Config,
        running: &Running,
        control: Option<&Control>,
    ) -> anyhow::Result<Offered> {
        let Upgrades { generation, manager, admin } = self;
        let path = config.upgrade.clone().unwrap_or_default();
        let end_admin = control.map(Control::ender);
        let options = upgrade::Options {
            spawn: Some(successor::spawn(&path)?),
            path,
            generation,
            grace: config.grace,
            extras: admin.into_iter().collect(),
            on_gone: Box::new(move |pid| {
                manager.hand_over(pid);
                end_admin.iter().for_each(|end| end());
            }),
        };
        Ok(offering.start(running.handle(), options)?)
    }
}

/// What the process before does no longer need is its own affair; what a service manager passes is meant for something.
fn check_left_over(inherited: &Inherited, predecessor: &Predecessor) -> anyhow::Result<()> {
    let left_over = inherited.left_over();
    if predecessor.is_there() {
        for at in left_over {
            info!(%at, "the new configuration does not have this place; its last connections are the old process's");
        }
        return Ok(());
    }
    match left_over.first() {
        None => Ok(()),
        Some(at) => bail!(
            "the service manager passed a socket at {at}, where nothing is to listen; give a [[listener]] or the admin port \
             that address, or take it out of the .socket unit"
        ),
    }
}

/// Whoever wants two servers on one port is told how; whoever does not is told of the other one.
fn in_words(error: Error) -> anyhow::Error {
    let Error::AddressInUse { address: Endpoint::Ip(address) } = error else { return error.into() };
    if !KERNEL_SPREADS {
        return error.into();
    }
    let text = format!(
        "{address} is in use by another process; stop it, choose another address (port 0 takes a free one), or let both \
         share the port with --share-port"
    );
    anyhow::Error::from(error).context(text)
}

/// The flags that were given, as changes of the configuration.
fn flags(options: &Options) -> anyhow::Result<Vec<Flag>> {
    let flag = |flag: String, changes, value: &str| Flag { flag, changes, value: value.to_owned() };
    let mut flags = Vec::new();
    for (name, protocol, address) in
        [("--frames", "frame", &options.frames), ("--lines", "line", &options.lines)]
    {
        if let Some(address) = address {
            flags.push(flag(format!("{name} {address}"), Changes::Listener(protocol), address));
        }
    }
    if let Some(shards) = &options.shards {
        flags.push(flag(format!("--shards {shards}"), Changes::Key("server", "shards"), shards));
    }
    if let Some(address) = &options.admin {
        flags.push(flag(format!("--admin {address}"), Changes::Key("admin", "address"), address));
    }
    if options.pin {
        flags.push(flag("--pin".to_owned(), Changes::Key("server", "pin"), "true"));
    }
    if options.share_port {
        flags.push(flag("--share-port".to_owned(), Changes::Key("server", "share_port"), "true"));
    }
    for route in &options.routes {
        flags.push(flag(format!("--route {route}"), Changes::Route, route));
    }
    for (name, section, key, given) in
        [("--idle", "timeouts", "idle", options.idle), ("--grace", "server", "drain.grace", options.grace)]
    {
        if let Some(given) = given {
            let time = whole_ms(seconds(name, given)?);
            flags.push(flag(format!("{name} {given}"), Changes::Key(section, key), &time_text(time)));
        }
    }
    if let Some(format) = options.log_format {
        flags.push(flag(
            format!("--log-format {}", format.name()),
            Changes::Key("log", "format"),
            format.name(),
        ));
    }
    Ok(flags)
}

/// A fraction of a second that nobody can wait for is no mistake.
fn whole_ms(time: Duration) -> Duration {
    u64::try_from(time.as_millis()).map_or(Duration::MAX, Duration::from_millis)
}

fn number_or_auto(text: &str) -> Result<String, String> {
    if text == "auto" || text.parse::<u16>().is_ok() {
        return Ok(text.to_owned());
    }
    Err("give it a whole number, or auto".to_owned())
}

fn check_descriptors(host: &Host, shards: u16, listeners: usize, has_admin: bool) -> anyhow::Result<()> {
    if host.connections(shards, listeners, has_admin) >= CONNECTIONS_MIN {
        return Ok(());
    }
    let error = std::io::Error::other(format!(
        "{} descriptors are too few, {} are needed for {shards} event loops; raise the limit with ulimit -n, or take \
         fewer loops",
        host.descriptors,
        Host::kept(shards, listeners, has_admin) + CONNECTIONS_MIN
    ));
    bail!(Error::Host(error))
}
