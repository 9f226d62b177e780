//! The process that gives its sockets away: it listens for the next one, and goes on whatever happens to that.
//!
//! One thread accepts, and each connection has one of its own, a few at most. They share the [`Phase`] behind a lock that no
//! loop ever takes.

use super::words::{Ask, Named, Say, VERSION, hear, say};
use super::{Event, Phase, UpgradeError};
use crate::base::limits::{UPGRADE_CONNECTIONS_MAX, UPGRADE_READY_WITHIN, UPGRADE_STEP_WITHIN};
use crate::net::{self, Inherited, Left, SocketFile};
use crate::server::Handle;
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

/// The protocol of the upgrade socket, in an offer.
const PROTOCOL: &str = "upgrade";

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;

/// How often it is looked whether a process that was started has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How the next process is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Its program; `None`: that of this process.
    pub binary: Option<PathBuf>,
    /// Its configuration; `None`: that of this process.
    pub config: Option<PathBuf>,
    /// Whether it ends when it would be ready.
    pub rehearses: bool,
}

/// Starts the next process, which then is to adopt the sockets by [`Newcomer`](super::Newcomer).
pub type Spawn = Box<dyn Fn(&Wish) -> io::Result<Child> + Send + Sync>;

/// A socket that goes with the server's own: the admin port's.
#[derive(Debug)]
pub struct Extra {
    /// What it is.
    pub protocol: String,
    /// Its address as it was given.
    pub text: String,
    /// A descriptor of it.
    pub fd: OwnedFd,
}

/// What a server does with its upgrade socket.
pub struct Options {
    /// The socket's path.
    pub path: PathBuf,
    /// How many hot restarts have led to this process.
    pub generation: u64,
    /// How long the drain may take that follows a handover.
    pub grace: Duration,
    /// Sockets that go with the server's own.
    pub extras: Vec<Extra>,
    /// Starts the next process. Without it, only one that was started elsewhere can take over.
    pub spawn: Option<Spawn>,
    /// Called with the next process's id when that serves, before this one drains.
    pub on_gone: Box<dyn Fn(u32) + Send + Sync>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("path", &self.path)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// The upgrade socket, bound. Its file goes with it, unless the next process has it.
#[derive(Debug)]
pub struct Offering {
    listener: UnixListener,
    file: SocketFile,
    left: Left,
}

impl Offering {
    /// Listens at this path, or goes on listening where the old process does. In a rehearsal it is not bound.
    ///
    /// # Errors
    ///
    /// [`UpgradeError::Listen`].
    pub fn bind(
        path: &Path,
        inherited: &mut Inherited,
        rehearses: bool,
    ) -> Result<Option<Offering>, UpgradeError> {
        let bound = match inherited.take_port(PROTOCOL, &path.display().to_string()) {
            Some(passed) => net::adopt_private(passed),
            None if rehearses => return Ok(None),
            None => net::listen_private(path, BACKLOG),
        };
        let (listener, file, left) =
            bound.map_err(|source| UpgradeError::Listen { path: path.to_owned(), source })?;
        Ok(Some(Offering { listener, file, left }))
    }

    /// Takes upgrades from now on, on a thread of its own. Keep what is returned until the server
    /// has ended.
    ///
    /// # Errors
    ///
    /// [`UpgradeError::Io`].
    pub fn start(self, handle: Handle, mut options: Options) -> Result<Offered, UpgradeError> {
        let Offering { listener, file, left } = self;
        left.set(false);
        let own = OwnedFd::from(listener.try_clone()?);
        options.extras.push(Extra {
            protocol: PROTOCOL.to_owned(),
            text: options.path.display().to_string(),
            fd: own,
        });
        let old = Arc::new(Old {
            handle,
            options,
            left,
            state: Mutex::new(State::default()),
            connections: AtomicUsize::new(0),
            us: rustix::process::geteuid().as_raw(),
        });
        let thread = std::thread::Builder::new().name("tidegate-upgrade".to_owned());
        let listening = Arc::clone(&old);
        thread.spawn(move || listening.listen(&listener))?;
        Ok(Offered { old, _file: file })
    }
}

/// A server that takes upgrades. At its end who is on the way to take over is told, and the socket's file is removed, unless
/// the next process has it.
pub struct Offered {
    old: Arc<Old>,
    _file: SocketFile,
}

impl fmt::Debug for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offered").field("phase", &self.old.state().phase).finish_non_exhaustive()
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        let mut state = self.old.state();
        if state.phase.leaves() {
            // Its server begins, or has begun: it serves on. Whether it has this socket was said when it did.
            if matches!(state.phase, Phase::Committed { .. }) {
                self.old.left.set(true);
            }
            return;
        }
        // Whoever ended this server did not want another one.
        for stream in [state.taker.take(), state.asker.take()].into_iter().flatten() {
            let _ = say(&stream, &Say::Refused { why: DRAINING.to_owned() });
        }
    }
}

/// What the threads of one upgrade socket share.
struct Old {
    handle: Handle,
    options: Options,
    left: Left,
    state: Mutex<State>,
    connections: AtomicUsize,
    us: u32,
}

struct State {
    phase: Phase,
    /// Who has been offered the sockets.
    taker: Option<UnixStream>,
    /// Who asked for the handover, and is told when it is done.
    asker: Option<UnixStream>,
    /// How the last handover ended, if it was not to be: whose, and why.
    went: Option<(u32, Result<(), String>)>,
}

impl Default for State {
    fn default() -> State {
        State { phase: Phase::Idle, taker: None, asker: None, went: None }
    }
}

impl Old {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, event: Event) -> Result<Phase, UpgradeError> {
        let mut state = self.state();
        let next = state.phase.step(event).map_err(|refusal| refused(refusal.to_string()))?;
        state.phase = next;
        Ok(next)
    }

    fn listen(self: Arc<Self>, listener: &UnixListener) {
        loop {
            if let Err(error) = net::wait_readable(listener) {
                error!(%error, "the upgrade socket failed; this server takes no upgrades any more");
                return;
            }
            // Who comes now is the next process's.
            if matches!(self.state().phase, Phase::Gone { .. }) {
                return;
            }
            match listener.accept() {
                Ok((stream, _)) => self.welcome(stream),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => {
                    warn!(%error, "cannot accept at the upgrade socket");
                    std::thread::sleep(LOOK_EVERY);
                }
            }
        }
    }

    fn welcome(self: &Arc<Self>, stream: UnixStream) {
        let all = self.connections.fetch_add(1, AcqRel);
        let old = Arc::clone(self);
        let serve = move || {
            if let Err(error) = old.serve(&stream, all) {
                warn!(%error, "an upgrade was not to be; this server goes on");
                let _ = say(&stream, &Say::Refused { why: error.to_string() });
            }
            old.connections.fetch_sub(1, AcqRel);
        };
        let thread = std::thread::Builder::new().name("tidegate-upgrade".to_owned()).spawn(serve);
        if let Err(error) = thread {
            self.connections.fetch_sub(1, AcqRel);
            warn!(%error, "cannot serve the upgrade socket");
        }
    }

    fn serve(&self, stream: &UnixStream, others: usize) -> Result<(), UpgradeError> {
        stream.set_nonblocking(false)?;
        if !net::is_ours(stream, self.us)? {
            return Err(refused("only this server's user, or root, may upgrade it".to_owned()));
        }
        if others >= UPGRADE_CONNECTIONS_MAX {
            return Err(refused(format!("{others} connections to the upgrade socket are too many")));
        }
        match hear(stream, "what is wanted", UPGRADE_STEP_WITHIN)? {
            Ask::Adopt { version, .. } | Ask::Upgrade { version, .. } if version != VERSION => {
                Err(refused(format!(
                    "this server speaks version {VERSION} of the handover, and was asked in version {version}"
                )))
            }
            Ask::Adopt { pid, rehearses, .. } => self.give(stream, pid, rehearses),
            Ask::Upgrade { binary, config, rehearses, .. } => {
                self.spawn(stream, &Wish { binary, config, rehearses })
            }
            Ask::Ready { .. } | Ask::Serving => Err(refused("nothing was offered".to_owned())),
        }
    }

    /// The handover to one process, from the offer to its end.
    fn give(&self, stream: &UnixStream, pid: u32, rehearses: bool) -> Result<(), UpgradeError> {
        self.refuse_if_draining()?;
        self.step(Event::Adopts { pid, until: Instant::now() + UPGRADE_READY_WITHIN })?;
        self.state().taker = Some(stream.try_clone()?);
        let given = self.offer(stream).and_then(|()| self.commit(stream, pid, rehearses));
        let why = given.as_ref().map(drop).map_err(ToString::to_string);
        match given {
            Ok(Some(taken)) => self.go(stream, pid, &taken),
            Ok(None) | Err(_) => {
                let mut state = self.state();
                // Nobody is to drain in between, and leave its queues to nobody.
                let _ = self.handle.leave(&[]);
                if let Ok(next) = state.phase.step(Event::Lost { pid }) {
                    state.phase = next;
                }
                state.taker = None;
                state.went = Some((pid, why));
                drop(state);
                given.map(drop)
            }
        }
    }

    fn offer(&self, stream: &UnixStream) -> Result<(), UpgradeError> {
        let lendable = self.handle.lendable();
        let own = lendable.iter().map(|one| Named {
            listener: one.listener,
            protocol: one.protocol.to_owned(),
            address: one.text.clone(),
            sockets: one.sockets,
        });
        let extras = (self.handle.local_addrs().len()..).zip(&self.options.extras);
        let extras = extras.map(|(listener, extra)| Named {
            listener,
            protocol: extra.protocol.clone(),
            address: extra.text.clone(),
            sockets: 1,
        });
        let listeners = own.chain(extras).collect();
        say(stream, &Say::Offer { generation: self.options.generation, listeners })?;
        for one in &lendable {
            for socket in 0..one.sockets {
                let Some(fd) = self.handle.lend(one.listener, socket)? else {
                    return Err(refused(DRAINING.to_owned()));
                };
                net::pass(stream, fd.as_fd())?;
            }
        }
        for extra in &self.options.extras {
            net::pass(stream, extra.fd.as_fd())?;
        }
        Ok(())
    }

    /// From the offer until the new process serves: the listeners that it took; `None` if it only rehearsed.
    fn commit(
        &self,
        stream: &UnixStream,
        pid: u32,
        rehearses: bool,
    ) -> Result<Option<Vec<usize>>, UpgradeError> {
        let taken = match hear(stream, "the new process to be ready", UPGRADE_READY_WITHIN)? {
            Ask::Ready { taken } => taken,
            other @ (Ask::Adopt { .. } | Ask::Upgrade { .. } | Ask::Serving) => {
                return Err(refused(format!("{other:?} is not what was to come")));
            }
        };
        if rehearses {
            say(stream, &Say::Rehearsed)?;
            return Ok(None);
        }
        self.step(Event::Ready { pid, until: Instant::now() + UPGRADE_STEP_WITHIN })?;
        if !self.handle.leave(&taken) {
            return Err(refused(DRAINING.to_owned()));
        }
        say(stream, &Say::Go)?;
        match hear(stream, "the new process to serve", UPGRADE_STEP_WITHIN)? {
            Ask::Serving => Ok(Some(taken)),
            other @ (Ask::Adopt { .. } | Ask::Upgrade { .. } | Ask::Ready { .. }) => {
                Err(refused(format!("{other:?} is not what was to come")))
            }
        }
    }

    /// The new process serves: this one ends.
    fn go(&self, stream: &UnixStream, pid: u32, taken: &[usize]) -> Result<(), UpgradeError> {
        self.step(Event::Serving { pid })?;
        let generation = self.options.generation + 1;
        info!(pid, generation, "the new process serves; this one drains");
        // The upgrade socket is the last of what was offered.
        let own = self.handle.local_addrs().len() + self.options.extras.len() - 1;
        self.left.set(taken.contains(&own));
        (self.options.on_gone)(pid);
        // Best effort: who does not hear it sees that this process is gone.
        let _ = say(stream, &Say::Taken);
        if let Some(asker) = self.state().asker.take() {
            let _ = say(&asker, &Say::Done { pid, generation });
        }
        self.handle.drain(self.options.grace);
        Ok(())
    }

    /// Starts the next process, and stays with it until it has taken over or is gone.
    fn spawn(&self, stream: &UnixStream, wish: &Wish) -> Result<(), UpgradeError> {
        self.refuse_if_draining()?;
        let Some(spawn) = &self.options.spawn else {
            return Err(refused(
                "this server does not start its successor; start that with --upgrade-from".to_owned(),
            ));
        };
        let until = Instant::now() + UPGRADE_READY_WITHIN;
        let (mut child, pid) = {
            // Held while it starts, so that it is awaited before it asks for anything.
            let mut state = self.state();
            // Nobody has this number; whether anybody may come is asked first.
            state
                .phase
                .step(Event::Asked { pid: 0, until })
                .map_err(|refusal| refused(refusal.to_string()))?;
            let child = spawn(wish)
                .map_err(|error| refused(format!("the new process cannot be started: {error}")))?;
            let pid = child.id();
            let asker = stream.try_clone()?;
            *state =
                State { phase: Phase::Awaited { pid, until }, taker: None, asker: Some(asker), went: None };
            (child, pid)
        };
        info!(pid, rehearses = wish.rehearses, "the next process was started");
        let ended = self.await_end(&mut child, pid, until);
        let mut state = self.state();
        if matches!(state.phase, Phase::Gone { .. }) {
            return Ok(());
        }
        state.asker = None;
        if let Ok(next) = state.phase.step(Event::Lost { pid }) {
            state.phase = next;
        }
        let went = state.went.take().filter(|(whose, _)| *whose == pid);
        drop(state);
        match (went, ended) {
            (Some((_, Ok(()))), Some(status)) if status.success() => {
                say(stream, &Say::Rehearsed)?;
                Ok(())
            }
            (Some((_, Err(why))), None) => Err(refused(why)),
            (_, Some(status)) => Err(refused(format!(
                "the new process ended before it served ({status}); its last words are in the standard error of the server"
            ))),
            (Some((_, Ok(()))) | None, None) => {
                Err(UpgradeError::Late { step: "the new process to be ready", within: UPGRADE_READY_WITHIN })
            }
        }
    }

    /// Waits until the process has taken over, or has ended; one that is too late is killed.
    fn await_end(&self, child: &mut Child, pid: u32, until: Instant) -> Option<ExitStatus> {
        // What is offered has a deadline of its own.
        let last = until + UPGRADE_READY_WITHIN + UPGRADE_STEP_WITHIN;
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(status);
            }
            let now = Instant::now();
            let is_late = match self.state().phase {
                Phase::Gone { .. } => return None,
                Phase::Awaited { until, .. } => now > until,
                Phase::Idle | Phase::Offered { .. } | Phase::Committed { .. } => now > last,
            };
            if is_late {
                warn!(pid, "the next process is not ready in time, and is killed");
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn refuse_if_draining(&self) -> Result<(), UpgradeError> {
        if self.handle.is_draining() { Err(refused(DRAINING.to_owned())) } else { Ok(()) }
    }
}

const DRAINING: &str = "this server is draining";

const fn refused(why: String) -> UpgradeError {
    UpgradeError::Refused { why }
}
