//! Listening sockets. Built by hand, because `TcpListener::bind` fixes the backlog and knows no options.

use super::unix::{self, SocketFile};
use super::{Endpoint, FileOptions, share};
use crate::base::limits::{
    BACKLOG, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, SOCKET_BUFFER_BYTES,
};
use core::net::SocketAddr;
use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
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
    /// Who may connect to a unix socket.
    pub file: FileOptions,
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
            file: FileOptions::default(),
        }
    }
}

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// At an IP and port.
    Tcp(TcpListener),
    /// At a path; its [file](SocketFile) goes first.
    Unix(SocketFile, UnixListener),
}

/// Keeps a listening socket from being closed: its queue lives as long as one descriptor does.
#[derive(Debug)]
pub struct Held {
    _socket: Socket,
}

impl Listener {
    /// A second descriptor of the same socket.
    ///
    /// # Errors
    ///
    /// If there are no more descriptors.
    pub fn hold(&self) -> io::Result<Held> {
        let socket = match self {
            Listener::Tcp(listener) => SockRef::from(listener).try_clone(),
            Listener::Unix(_, listener) => SockRef::from(listener).try_clone(),
        };
        Ok(Held { _socket: socket? })
    }

    /// Where a TCP listener really is, when its port was 0.
    ///
    /// # Errors
    ///
    /// Whatever the system says.
    pub fn ip(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(Some),
            Listener::Unix(..) => Ok(None),
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Listener::Tcp(listener) => listener,
            Listener::Unix(_, listener) => listener,
        }
    }
}

impl Source for Listener {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.source().register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.source().reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.source().deregister(registry)
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
            let (listener, file) = unix::listen(path, options)?;
            Ok(Listener::Unix(file, listener))
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
    let socket = tcp_socket(address, options)?;
    share::share_port(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    Ok(Listener::Tcp(TcpListener::from_std(socket.into())))
}

fn tcp_socket(address: SocketAddr, options: &ListenOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // A restart may bind while old connections are in TIME_WAIT; a second listener is refused all the same.
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_out_of_band_inline(true)?;
    if let Some(bytes) = options.socket_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(Keepalive { idle, interval, count }) = options.keepalive {
        let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(count);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    Ok(socket)
}
