//! A connection's own address: when its port is chosen, which only Linux lets us decide.
//!
//! A plain bind takes the port for itself, so an address has some 28,000 connections in all, and a closed one keeps its
//! port for a minute. With `IP_BIND_ADDRESS_NO_PORT` (ip(7), Linux 4.2) the port is chosen when the peer is known, as
//! without a bind: there may be as many for each peer.

use core::net::{IpAddr, SocketAddr};
use socket2::Socket;
use std::io;

/// Binds to an address of this host; the port is the system's choice.
pub(super) fn bind(socket: &Socket, source: IpAddr) -> io::Result<()> {
    leave_port_open(socket);
    socket.bind(&SocketAddr::new(source, 0).into())
}

/// Best effort: a kernel that doesn't know the option has fewer ports to give.
#[cfg(all(feature = "load", target_os = "linux"))]
fn leave_port_open(socket: &Socket) {
    use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
    let _ = setsockopt(socket, IpBindAddressNoPort, &true);
}

/// Nothing to be done: the system has no such option, or nobody binds thousands.
#[cfg(not(all(feature = "load", target_os = "linux")))]
fn leave_port_open(_socket: &Socket) {}

#[cfg(all(test, feature = "load", target_os = "linux"))]
mod tests {
    use super::*;
    use socket2::{Domain, Type};

    #[test]
    fn no_port_is_taken_before_the_peer_is_known() {
        for source in [IpAddr::from([127, 0, 1, 1]), "::1".parse().unwrap()] {
            let socket = Socket::new(Domain::for_address((source, 0).into()), Type::STREAM, None).unwrap();
            bind(&socket, source).unwrap();
            let bound = socket.local_addr().unwrap().as_socket().unwrap();
            assert_eq!((bound.ip(), bound.port()), (source, 0));
        }
    }
}
