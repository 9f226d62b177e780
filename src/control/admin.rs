//! The admin port: bound before the server starts, served by a thread of its own afterwards.
//!
//! Always holds: an address that can't be had is told before anything else begins; whatever becomes of the thread, the
//! server runs on. Never: TLS, HTTP/2; a proxy in front has them.

use super::api::{self, Context, Reload};
use super::live::Feed;
use super::serve::serve;
use super::settings::{AdminChange, Settings};
use super::watchdog::{Watchdog, watch};
use crate::base::limits::{
    ADMIN_ANSWER_WITHIN, ADMIN_CONNECTION_LIFE, ADMIN_CONNECTIONS_MAX, ADMIN_HEAD_WITHIN, ADMIN_HOSTS_MAX,
    ADMIN_TOKEN_BYTES, WATCHDOG_TURN,
};
use crate::base::text::panic_text;
use crate::server::{self, Endpoint, Handle};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::watch as signal;
use tracing::error;

/// What the control thread's niceness is raised by on Linux: the loops go first.
#[cfg(target_os = "linux")]
const NICER: i32 = 10;

/// An admin port that is bound and not served yet.
///
/// ```
/// use tidegate::control::Admin;
/// use tidegate::{Router, Server};
///
/// let admin = Admin::bind("127.0.0.1:0")?.token("a-secret-of-sixteen-bytes-or-more")?;
/// let address = admin.local_addr()?; // http://{address}/healthz
/// let running = Server::builder().listen("127.0.0.1:0")?.start(Router::embedded)?;
/// let control = admin.start(running.handle())?;
///
/// running.handle().drain(std::time::Duration::from_secs(1));
/// running.join()?;
/// control.finish(std::time::Duration::from_millis(100));
/// # assert_ne!(address.port(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    settings: Settings,
    bounds: Bounds,
    log: Option<Arc<dyn LogFilter>>,
    reload: Option<Arc<dyn Reload>>,
    own: Vec<OwnPath>,
}

/// What the admin port allows. The defaults are for tools that look at a server now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at once. Beyond them the one that has been waiting for a request longest makes room. Default: 32
    /// ([`ADMIN_CONNECTIONS_MAX`]).
    pub connections: usize,
    /// How long a connection may take to send the head of a request, and so how long it may be idle. Default: 5 s
    /// ([`ADMIN_HEAD_WITHIN`]).
    pub head_within: Duration,
    /// How long an answer may take, the request's body included. Default: 15 s ([`ADMIN_ANSWER_WITHIN`]).
    pub answer_within: Duration,
    /// How long a connection may live; then it ends behind the answer that is on its way. Default: 5 min
    /// ([`ADMIN_CONNECTION_LIFE`]).
    pub life: Duration,
}

const _: () = assert!(ADMIN_CONNECTIONS_MAX == 32 && ADMIN_HEAD_WITHIN.as_secs() == 5, "`Bounds` says so");
const _: () = assert!(ADMIN_ANSWER_WITHIN.as_secs() == 15 && ADMIN_CONNECTION_LIFE.as_secs() == 300);

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            connections: ADMIN_CONNECTIONS_MAX,
            head_within: ADMIN_HEAD_WITHIN,
            answer_within: ADMIN_ANSWER_WITHIN,
            life: ADMIN_CONNECTION_LIFE,
        }
    }
}

/// What decides which lines of the log are written, and can be changed while the server runs.
pub trait LogFilter: fmt::Debug + Send + Sync {
    /// The filter of now, as it would be given to [`LogFilter::change`].
    fn shown(&self) -> String;

    /// Another one from now on.
    ///
    /// # Errors
    ///
    /// Why the text is no filter, in words; then nothing has changed.
    fn change(&self, to: &str) -> Result<(), String>;
}

/// A path that its answer is called for, on the control thread.
#[derive(Clone)]
pub(super) struct OwnPath {
    pub(super) path: &'static str,
    pub(super) answer: Arc<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for OwnPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnPath").field(&self.path).finish()
    }
}

/// Why there is no admin port.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The address can't be listened on.
    #[error("the admin port: {0}")]
    Listen(#[source] server::Error),
    /// A token that could be guessed, or does not fit a header.
    #[error("the admin port's token has {got} bytes, but must have {least} to {most}, all of them visible ASCII", least = ADMIN_TOKEN_BYTES.0, most = ADMIN_TOKEN_BYTES.1)]
    Token {
        /// How many it has.
        got: usize,
    },
    /// More names than anybody has.
    #[error("the admin port has {got} names, but may have at most {ADMIN_HOSTS_MAX}")]
    Hosts {
        /// How many were given.
        got: usize,
    },
    /// The thread or its poller can't be had.
    #[error("cannot start the control thread: {0}")]
    Thread(#[source] io::Error),
}

impl AdminError {
    /// The exit code of a process that ends for it, as [`server::Error::exit_code`] has them.
    pub const fn exit_code(&self) -> u8 {
        match self {
            AdminError::Listen(error) => error.exit_code(),
            AdminError::Token { .. } | AdminError::Hosts { .. } => 2,
            AdminError::Thread(_) => 78,
        }
    }
}

impl Admin {
    /// Listens on this address: `127.0.0.1:7413`, `[::1]:7413`, `localhost:7413`; port 0 takes a free one. Whoever reaches
    /// it can read the server's figures and its peers' addresses.
    ///
    /// # Errors
    ///
    /// [`AdminError::Listen`].
    pub fn bind(address: &str) -> Result<Admin, AdminError> {
        let wrong = |why| server::Error::Address { text: address.to_owned(), why };
        let endpoint = Endpoint::parse(address).map_err(|why| AdminError::Listen(wrong(why)))?;
        let unix = || AdminError::Listen(wrong("the admin port is no unix socket".to_owned()));
        let at = endpoint.ip().ok_or_else(unix)?;
        let failed = |source| AdminError::Listen(server::Error::listen(Endpoint::Ip(at), source));
        Admin::over(TcpListener::bind(at).map_err(failed)?).map_err(failed)
    }

    /// Listens by a socket that another process made.
    ///
    /// # Errors
    ///
    /// Whatever the system says.
    pub fn over(listener: impl Into<TcpListener>) -> io::Result<Admin> {
        let listener = listener.into();
        listener.set_nonblocking(true)?;
        Ok(Admin {
            listener,
            settings: Settings::default(),
            bounds: Bounds::default(),
            log: None,
            reload: None,
            own: Vec::new(),
        })
    }

    /// Lets those change something who send this token, `Authorization: Bearer TOKEN`. Without one nobody can.
    ///
    /// # Errors
    ///
    /// [`AdminError::Token`] if it has not 16 to 256 bytes, all of them visible ASCII.
    pub fn token(self, token: impl Into<String>) -> Result<Admin, AdminError> {
        self.settings.apply(AdminChange::new().token(Some(token.into()))?);
        Ok(self)
    }

    /// Names, beside `localhost` and IP addresses, by which the port may be asked: at most 16. A request for another name is
    /// refused, so that no page in a browser can reach the port by a name of its own.
    ///
    /// # Errors
    ///
    /// [`AdminError::Hosts`] if there are more.
    pub fn hosts<H: Into<String>>(self, hosts: impl IntoIterator<Item = H>) -> Result<Admin, AdminError> {
        self.settings.apply(AdminChange::new().hosts(hosts)?);
        Ok(self)
    }

    /// What `/config` shows: TOML, without secrets. Without it that path answers 404.
    pub fn config(self, text: impl Into<String>) -> Admin {
        self.settings.apply(AdminChange::new().config(text.into()));
        self
    }

    /// How long a drain may take that is asked for without a grace. Default: 30 s
    /// ([`DRAIN_GRACE`](crate::base::limits::DRAIN_GRACE)).
    pub fn grace(self, grace: Duration) -> Admin {
        self.settings.apply(AdminChange::new().grace(grace));
        self
    }

    /// Whether `/debug/pprof/profile` makes CPU profiles, for who has the token; it takes the feature `profiling`, and Linux
    /// with glibc. Default: no.
    pub fn profile(self, profile: bool) -> Admin {
        self.settings.apply(AdminChange::new().profile(profile));
        self
    }

    /// What `/log` shows and changes. Without it that path answers 404.
    pub fn log(mut self, filter: Arc<dyn LogFilter>) -> Admin {
        self.log = Some(filter);
        self
    }

    /// What `POST /reload` asks. Without it that path answers 404.
    pub fn reload(mut self, reload: Arc<dyn Reload>) -> Admin {
        self.reload = Some(reload);
        self
    }

    /// What changes the port's token, names and configuration while it is served.
    pub fn settings(&self) -> Settings {
        self.settings.clone()
    }

    /// Other bounds than the default.
    pub const fn bounds(mut self, bounds: Bounds) -> Admin {
        self.bounds = bounds;
        self
    }

    /// A path of the caller's own, which must not be one of the port's. For tests that want an answer which blocks the
    /// thread, or panics.
    #[doc(hidden)]
    pub fn own_path(
        mut self,
        path: &'static str,
        answer: impl Fn() -> String + Send + Sync + 'static,
    ) -> Admin {
        self.own.push(OwnPath { path, answer: Arc::new(answer) });
        self
    }

    /// A second descriptor of its socket, for another process.
    ///
    /// # Errors
    ///
    /// If there are no more descriptors.
    pub fn lend(&self) -> io::Result<OwnedFd> {
        self.listener.try_clone().map(OwnedFd::from)
    }

    /// Where it listens, with the port that port 0 became.
    ///
    /// # Errors
    ///
    /// Whatever the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves it from now on, on a thread of its own, and watches the loops from there.
    ///
    /// # Errors
    ///
    /// [`AdminError::Thread`].
    pub fn start(self, handle: Handle) -> Result<Control, AdminError> {
        let Admin { listener, settings, bounds, log, reload, own } = self;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AdminError::Thread)?;
        let listener = {
            let _context = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(AdminError::Thread)?
        };
        let watchdog = Watchdog::new(handle.capacity().stall.max(WATCHDOG_TURN));
        let watching = watch(handle.clone(), watchdog);
        let (knocks, drains, reloads, asks, exporter, feed, profiles) = Default::default();
        let end = Arc::new(signal::Sender::new(false));
        let context = Arc::new(Context {
            handle,
            settings,
            bounds,
            log,
            reload,
            own,
            knocks,
            drains,
            reloads,
            asks,
            profiles,
            end: Arc::clone(&end),
            exporter,
            feed,
        });
        let router = api::router(Arc::clone(&context));
        let serving = serve(listener, router, bounds, Arc::clone(&end));
        let work = async move {
            tokio::spawn(watching);
            Feed::begin(&context);
            drop(context);
            serving.await;
        };
        let (living, ended) = channel::<()>();
        let thread = std::thread::Builder::new().name("tidegate-control".to_owned());
        let thread = thread.spawn(move || {
            let _living = living;
            give_way();
            live(runtime, work);
        });
        thread.map(drop).map_err(AdminError::Thread)?;
        Ok(Control { end, ended })
    }
}

/// The control thread, while it runs. Dropping this lets it run on, for as long as the process lives.
#[derive(Debug)]
pub struct Control {
    end: Arc<signal::Sender<bool>>,
    /// Closed when the thread is over, in whatever way.
    ended: Receiver<()>,
}

impl Control {
    /// Makes the port end from elsewhere, as [`Control::finish`] does, without a wait for it: another process has its socket.
    pub fn ender(&self) -> impl Fn() + Send + Sync + 'static {
        let end = Arc::clone(&self.end);
        move || {
            end.send_replace(true);
        }
    }

    /// Ends the port: no more requests; the answers that are on their way leave, for at most this long. Whoever ends the
    /// process waits for that, so that who asked for a drain hears that it was begun.
    pub fn finish(self, within: Duration) {
        self.end.send_replace(true);
        let _ = self.ended.recv_timeout(within);
    }
}

/// Lets the loops go before this thread, where the system has priorities of threads.
pub(super) fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICER) {
        tracing::warn!(%error, "a thread of the admin port has the same priority as the event loops");
    }
}

/// The thread's life. Its death is told, and is nobody else's.
pub(super) fn live(runtime: Runtime, work: impl Future<Output = ()>) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| runtime.block_on(work))) {
        let thread = std::thread::current();
        let (thread, why) = (thread.name().unwrap_or_default(), panic_text(panic.as_ref()));
        error!(thread, why, "a control thread died, and what it did is not done any more; traffic goes on");
    }
    // Not a wait for its tasks.
    runtime.shutdown_background();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_dies_takes_nobody_with_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let thread = std::thread::spawn(move || {
            live(runtime, async {
                tokio::spawn(std::future::pending::<()>());
                panic!("asked to");
            });
        });
        thread.join().expect("the panic was caught and told");
    }

    #[test]
    fn tokens_that_could_be_guessed_are_refused() {
        let taken = |token: &str| Admin::bind("127.0.0.1:0").expect("a free port").token(token).is_ok();
        #[rustfmt::skip]
        let table = [
            ("0123456789abcde",   false), ("0123456789abcdef",  true), ("", false),
            ("0123456789abcdef ", false), ("0123456789abcde\u{e9}", false), ("0123456789abcdef\n", false),
        ];
        for (token, want) in table {
            assert_eq!(taken(token), want, "case: {token:?}");
        }
        assert!(taken(&"x".repeat(256)) && !taken(&"x".repeat(257)));
        let error = Admin::bind("127.0.0.1:0").expect("a free port").token("short").expect_err("too short");
        assert_eq!(
            error.to_string(),
            "the admin port's token has 5 bytes, but must have 16 to 256, all of them visible ASCII"
        );
    }

    #[test]
    fn an_address_that_cannot_be_had_is_told() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("it is bound").to_string();
        #[rustfmt::skip]
        let table = [
            (address.as_str(), 69, "in use by another process"),
            ("192.0.2.1:0",    69, "is not an address of this host"),
            ("unix:/tmp/a",     2, "is no unix socket"),
            ("nonsense",        2, "write it as IP:PORT"),
        ];
        for (address, code, words) in table {
            let error = Admin::bind(address).expect_err("it can't be had");
            assert_eq!(error.exit_code(), code, "{error}");
            let text = error.to_string();
            assert!(text.starts_with("the admin port: ") && text.contains(words), "{text}");
        }
    }
}
