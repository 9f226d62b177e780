//! Sockets and descriptor limits. Loopback only: these programs must never load somebody else's host.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

/// Accept-queue length; Linux's own ceiling (`net.core.somaxconn`) is 4096 since 5.4.
const BACKLOG: i32 = 4096;

/// Refuses every address that isn't this machine's own.
pub fn loopback_only(addr: SocketAddr) -> Result<SocketAddr, String> {
    if addr.ip().is_loopback() { Ok(addr) } else { Err(format!("{addr} is not a loopback address")) }
}

/// A listening, non-blocking socket; `shared` (SO_REUSEPORT): others of this user may listen beside it.
pub fn listen(addr: SocketAddr, shared: bool) -> io::Result<mio::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(mio::net::TcpListener::from_std(socket.into()))
}

/// A connection to `addr` with TCP_NODELAY, from the address `source` if there is one.
pub fn connect(addr: SocketAddr, source: Option<SocketAddr>, patience: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(source) = source {
        socket.bind(&source.into())?;
    }
    socket.connect_timeout(&addr.into(), patience)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

/// A connection to `addr` that has begun, with TCP_NODELAY, from exactly `source`: it is there when its socket is
/// writable and has no error.
pub fn begin_connect(addr: SocketAddr, source: SocketAddr) -> io::Result<mio::net::TcpStream> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?; // the port may be in TIME_WAIT towards another server
    socket.bind(&source.into())?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&addr.into()) {
        Err(why) if why.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(why),
        _ => Ok(mio::net::TcpStream::from_std(socket.into())),
    }
}

/// Ends a connection by a reset, which leaves nothing in TIME_WAIT.
pub fn reset(stream: impl AsFd) {
    // Without the option it would end in order, which does no harm here.
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

/// Raises the soft limit of open descriptors to the hard one, and returns it.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(limit.current.unwrap_or(u64::MAX))
}
