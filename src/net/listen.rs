//! Listening sockets. Built by hand, because `TcpListener::bind` fixes the backlog and knows no options.

use crate::base::limits::{BACKLOG, SOCKET_BUFFER_BYTES};
use core::net::SocketAddr;
use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::io;
use std::time::Duration;

/// What a listener's connections inherit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Connections that may wait to be accepted. Default: 4096, cut to `net.core.somaxconn` by the kernel.
    pub backlog: i32,
    /// The most that the kernel buffers for a connection in each direction, in bytes; `None` lets it decide (up to
    /// some MiB each). The default bounds what a million slow readers can pin, see docs/ARCHITECTURE.md.
    pub socket_buffer_bytes: Option<usize>,
    /// When probes of a silent peer begin, and their interval; after 3 unanswered ones the connection is reset.
    /// Default: 3 minutes, 30 seconds.
    pub keepalive: Option<(Duration, Duration)>,
}

/// Unanswered probes before a peer counts as gone.
const KEEPALIVE_PROBES: u32 = 3;

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions {
            backlog: BACKLOG,
            socket_buffer_bytes: Some(SOCKET_BUFFER_BYTES),
            keepalive: Some((Duration::from_secs(180), Duration::from_secs(30))),
        }
    }
}

/// Binds and listens.
///
/// Small replies leave at once (`TCP_NODELAY`), and urgent bytes stay in the stream (`SO_OOBINLINE`): otherwise a
/// read would stop short at them, and a short read must mean that nothing is left.
///
/// # Errors
///
/// Whatever the system says, in the order socket, options, bind, listen.
pub fn listen(address: SocketAddr, options: &ListenOptions) -> io::Result<TcpListener> {
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
    if let Some((idle, interval)) = options.keepalive {
        let keepalive =
            TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(KEEPALIVE_PROBES);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    Ok(TcpListener::from_std(socket.into()))
}
