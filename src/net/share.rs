//! One port for several loops, or several processes: what the kernel can do about it, which is not the same everywhere.
//!
//! With `SO_REUSEPORT` each loop has a listening socket of its own on the same port. Linux (3.9 and later) and FreeBSD
//! (12 and later, where the option is called `SO_REUSEPORT_LB`) spread new connections over them by a hash of the
//! addresses. Elsewhere the option exists, but one socket gets all connections: there one loop listens, and deals, and
//! processes can't share a port.

use socket2::Socket;
use std::io;

/// Whether this system's kernel spreads connections over the sockets of one port.
pub const KERNEL_SPREADS: bool = cfg!(any(target_os = "linux", target_os = "android", target_os = "freebsd"));

/// Lets other sockets of this user share the port. To be called before bind.
#[cfg(target_os = "freebsd")]
pub(super) fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port_lb(true)
}

/// Lets other sockets of this user share the port. To be called before bind.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

/// Lets other sockets of this user share the port: of no use here, so it stays ours alone.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
pub(super) fn share_port(_socket: &Socket) -> io::Result<()> {
    Ok(())
}

/// Whether another socket can be put beside this one, which somebody else made.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn socket_is_shared(socket: &Socket) -> bool {
    socket.reuse_port().unwrap_or(false)
}

/// Whether another socket can be put beside this one, which somebody else made.
#[cfg(target_os = "freebsd")]
pub(super) fn socket_is_shared(socket: &Socket) -> bool {
    socket.reuse_port_lb().unwrap_or(false)
}

/// Whether another socket can be put beside this one, which somebody else made: nobody's.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
pub(super) fn socket_is_shared(_socket: &Socket) -> bool {
    false
}
