//! Listening sockets. Built by hand, because `TcpListener::bind` fixes the backlog and knows no options.

use super::share::{self, socket_is_shared};
use super::unix::{self, SocketFile};
use super::{Endpoint, KERNEL_SPREADS};
use crate::base::limits::{
    BACKLOG, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, SOCKET_BUFFER_BYTES,
};
use core::net::SocketAddr;
use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// What a listener's connections inherit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Connections that may wait to be accepted by each loop, `1..=65535`. Default: 4096, cut to `net.core.somaxconn` by
    /// the kernel.
    pub backlog: i32,
    /// The most that the kernel buffers for a connection in each direction, in bytes, 4 KiB to 512 MiB; `None` lets it
    /// decide (up to some MiB each). The default bounds what a million slow readers can pin, see docs/ARCHITECTURE.md.
    /// Unix sockets have their own default.
    pub socket_buffer_bytes: Option<usize>,
    /// How the kernel finds out that a silent peer is gone; `None`: not at all. Unix sockets need none.
    pub keepalive: Option<Keepalive>,
    /// Whether other processes of this user may listen on the same port, each with this option; the kernel spreads
    /// connections over them by a hash of the addresses. Default: no. Only at an IP and port, and only
    /// [where the kernel spreads](super::KERNEL_SPREADS).
    pub share_port: bool,
}

/// Probes of a silent peer. The kernel counts in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// When they begin, `1 s..=32767 s`. Default: 3 minutes.
    pub idle: Duration,
    /// The pause between two, `1 s..=32767 s`. Default: 30 s.
    pub interval: Duration,
    /// After so many unanswered ones the connection is reset, `1..=127`. Default: 3.
    pub count: u32,
}

impl Default for Keepalive {
    fn default() -> Self {
        Keepalive { idle: KEEPALIVE_IDLE, interval: KEEPALIVE_INTERVAL, count: KEEPALIVE_PROBES }
    }
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions {
            backlog: BACKLOG,
            socket_buffer_bytes: Some(SOCKET_BUFFER_BYTES),
            keepalive: Some(Keepalive::default()),
            share_port: false,
        }
    }
}

/// A place where connections come in: a listening socket, or several of one port that came from another process.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: Listening,
    /// Further sockets of the same port, whose queues are this listener's, too.
    pub(super) more: Vec<TcpListener>,
    /// Whose turn it is among them.
    pub(super) turn: Cell<usize>,
    pub(super) left: Left,
    /// Whether no other socket can be put beside it, so that one loop has all of its connections to deal.
    is_lone: bool,
}

/// The socket itself.
#[derive(Debug)]
pub(super) enum Listening {
    /// At an IP and port.
    Tcp(TcpListener),
    /// At a path; its [file](SocketFile) goes first.
    Unix(#[expect(dead_code, reason = "it is for its end alone")] SocketFile, UnixListener),
}

/// Whether a listener's queue, and the file of a path, are another process's: then nobody here takes from the one or
/// removes the other.
#[derive(Clone, Debug, Default)]
pub struct Left(Arc<AtomicBool>);

impl Left {
    /// From now on they are the other process's, or ours again.
    pub fn set(&self, is_left: bool) {
        self.0.store(is_left, Relaxed);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// Keeps a listening socket from being closed: its queue lives as long as one descriptor does.
#[derive(Debug)]
pub struct Held {
    socket: Socket,
    left: Left,
}

impl Held {
    /// A further descriptor of it, for another process.
    ///
    /// # Errors
    ///
    /// If there are no more descriptors.
    pub fn lend(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone().map(OwnedFd::from)
    }

    /// Whose its queue is.
    pub const fn left(&self) -> &Left {
        &self.left
    }

    /// A socket from another process becomes ours: it listens, if it did not yet, and has our options from now on.
    ///
    /// # Errors
    ///
    /// If it can't listen. Options that can't be set stay what they were, and that is logged.
    pub fn take_over(&self, options: &ListenOptions) -> io::Result<()> {
        let is_ip = self.socket.local_addr()?.as_socket().is_some();
        if is_ip && let Err(error) = set_options(&self.socket, options) {
            tracing::warn!(%error, "an adopted socket keeps the options that it had");
        }
        self.socket.listen(options.backlog)?;
        self.left.set(false);
        Ok(())
    }
}

impl Listener {
    fn new(socket: Listening, left: Left) -> Listener {
        let is_lone = !KERNEL_SPREADS || matches!(socket, Listening::Unix(..));
        Listener { socket, more: Vec::new(), turn: Cell::new(0), left, is_lone }
    }

    /// A socket of another process, of which nothing is taken before [`Held::take_over`].
    pub(super) fn adopted(fd: OwnedFd, path: Option<&Path>) -> io::Result<Listener> {
        let socket = Socket::from(fd);
        socket.set_nonblocking(true)?;
        let left = Left::default();
        left.set(true);
        let is_lone = path.is_none() && !socket_is_shared(&socket);
        let listening = match path {
            Some(path) => {
                let file = SocketFile::of(path, left.clone())?;
                Listening::Unix(file, UnixListener::from_std(OwnedFd::from(socket).into()))
            }
            None => Listening::Tcp(TcpListener::from_std(socket.into())),
        };
        let mut listener = Listener::new(listening, left);
        listener.is_lone |= is_lone;
        Ok(listener)
    }

    /// Takes another listener's sockets in, which are of the same port; gives it back if one of the two is a path.
    ///
    /// # Errors
    ///
    /// The other one.
    pub fn join(&mut self, other: Listener) -> Result<(), Listener> {
        let Listener { socket: Listening::Tcp(socket), more, .. } = other else { return Err(other) };
        self.more.push(socket);
        self.more.extend(more);
        Ok(())
    }

    /// Second descriptors of its sockets.
    ///
    /// # Errors
    ///
    /// If there are no more descriptors.
    pub fn hold(&self) -> io::Result<Vec<Held>> {
        let first = match &self.socket {
            Listening::Tcp(listener) => SockRef::from(listener),
            Listening::Unix(_, listener) => SockRef::from(listener),
        };
        let all = std::iter::once(first).chain(self.more.iter().map(SockRef::from));
        let held = all.map(|socket| Ok(Held { socket: socket.try_clone()?, left: self.left.clone() }));
        held.collect()
    }

    /// Whether one loop has all connections of its port or path, and must deal them.
    pub const fn is_lone(&self) -> bool {
        self.is_lone
    }

    /// Where a TCP listener really is, when its port was 0.
    ///
    /// # Errors
    ///
    /// Whatever the system says.
    pub fn ip(&self) -> io::Result<Option<SocketAddr>> {
        match &self.socket {
            Listening::Tcp(listener) => listener.local_addr().map(Some),
            Listening::Unix(..) => Ok(None),
        }
    }

    fn sources(&mut self) -> impl Iterator<Item = &mut dyn Source> {
        let first: &mut dyn Source = match &mut self.socket {
            Listening::Tcp(listener) => listener,
            Listening::Unix(_, listener) => listener,
        };
        std::iter::once(first).chain(self.more.iter_mut().map(|socket| -> &mut dyn Source { socket }))
    }
}

impl Source for Listener {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.sources().try_for_each(|source| source.register(registry, token, interests))
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.sources().try_for_each(|source| source.reregister(registry, token, interests))
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.sources().try_for_each(|source| source.deregister(registry))
    }
}

/// Binds and listens, as the first of ours: that somebody else listens there is told, unless the port is to be shared.
///
/// # Errors
///
/// Whatever the system says, in the order socket, options, bind, listen.
pub fn listen(endpoint: &Endpoint, options: &ListenOptions) -> io::Result<Listener> {
    match endpoint {
        Endpoint::Ip(address) => {
            if address.port() != 0 && !options.share_port {
                // Sockets that share a port are refused by nobody, not even by a second server of the same user.
                tcp_socket(*address, options)?.bind(&(*address).into())?;
            }
            listen_beside(*address, options)
        }
        Endpoint::Unix(path) => {
            let left = Left::default();
            let (listener, file) = unix::listen(path, options.backlog, left.clone())?;
            Ok(Listener::new(Listening::Unix(file, listener), left))
        }
    }
}

/// Binds and listens on a port that others of ours share, or will.
///
/// Small replies leave at once (`TCP_NODELAY`), and urgent bytes stay in the stream (`SO_OOBINLINE`): otherwise a
/// read would stop short at them, and a short read must mean that nothing is left.
///
/// # Errors
///
/// As [`listen`].
pub fn listen_beside(address: SocketAddr, options: &ListenOptions) -> io::Result<Listener> {
    let socket = bound(address, options)?;
    socket.listen(options.backlog)?;
    Ok(Listener::new(Listening::Tcp(TcpListener::from_std(socket.into())), Left::default()))
}

/// Binds to a port that others of ours share, and takes no connection before [`Held::take_over`]: the kernel deals none to
/// a socket that does not listen.
///
/// # Errors
///
/// As [`listen`].
pub fn bind_beside(address: SocketAddr, options: &ListenOptions) -> io::Result<Listener> {
    let left = Left::default();
    left.set(true);
    let socket = TcpListener::from_std(bound(address, options)?.into());
    Ok(Listener::new(Listening::Tcp(socket), left))
}

fn bound(address: SocketAddr, options: &ListenOptions) -> io::Result<Socket> {
    let socket = tcp_socket(address, options)?;
    share::share_port(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn tcp_socket(address: SocketAddr, options: &ListenOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // A restart may bind while old connections are in TIME_WAIT; a second listener is refused all the same.
    socket.set_reuse_address(true)?;
    set_options(&socket, options)?;
    Ok(socket)
}

/// What connections inherit.
fn set_options(socket: &Socket, options: &ListenOptions) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_out_of_band_inline(true)?;
    if let Some(bytes) = options.socket_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(Keepalive { idle, interval, count }) = options.keepalive {
        let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(count);
        socket.set_tcp_keepalive(&keepalive)?;
    } else {
        socket.set_keepalive(false)?;
    }
    Ok(())
}
