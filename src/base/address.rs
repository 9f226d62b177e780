//! Where a peer is, as far as it has an address.

use core::net::SocketAddr;
use std::fmt;

/// A peer's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP: IP and port.
    Ip(SocketAddr),
    /// A process of this host, by a unix socket: these clients have no address of their own.
    Unix,
}

impl Address {
    /// The IP and port, if it has them.
    pub const fn ip(self) -> Option<SocketAddr> {
        match self {
            Address::Ip(address) => Some(address),
            Address::Unix => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Ip(address)
    }
}

/// `127.0.0.1:7411`, `[::1]:7411`, `unix`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_as_people_write_them() {
        for text in ["127.0.0.1:7411", "[::1]:7411"] {
            let ip: SocketAddr = text.parse().unwrap();
            assert_eq!(Address::from(ip).to_string(), text);
            assert_eq!(Address::from(ip).ip(), Some(ip));
        }
        assert_eq!((Address::Unix.to_string().as_str(), Address::Unix.ip()), ("unix", None));
    }
}
