//! Where a server listens: an IP and port, or a path.

use core::net::SocketAddr;
use std::fmt;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};

/// What a unix endpoint's text begins with.
const UNIX: &str = "unix:";

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// TCP.
    Ip(SocketAddr),
    /// A unix stream socket, by the path of its file.
    Unix(PathBuf),
}

impl Endpoint {
    /// Reads `127.0.0.1:7411`, `[::1]:7411`, `localhost:7411` or `unix:/run/tidegate.sock`. A name may be looked up,
    /// which blocks; the first of its addresses counts.
    ///
    /// # Errors
    ///
    /// In words, if it is none of these.
    pub fn parse(text: &str) -> Result<Endpoint, String> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return if path.is_empty() {
                Err("the path is missing".to_owned())
            } else {
                Ok(Endpoint::Unix(PathBuf::from(path)))
            };
        }
        let mut addresses = text.to_socket_addrs().map_err(|error| error.to_string())?;
        addresses.next().map(Endpoint::Ip).ok_or_else(|| "it resolves to nothing".to_owned())
    }

    /// The IP and port, if it has them.
    pub const fn ip(&self) -> Option<SocketAddr> {
        match self {
            Endpoint::Ip(address) => Some(*address),
            Endpoint::Unix(_) => None,
        }
    }

    /// The path, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Endpoint::Ip(_) => None,
            Endpoint::Unix(path) => Some(path),
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Endpoint {
        Endpoint::Ip(address)
    }
}

/// As [`Endpoint::parse`] reads it.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Ip(address) => address.fmt(f),
            Endpoint::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_told_as_they_were_written() {
        for text in ["127.0.0.1:7411", "[::1]:0", "unix:/run/tidegate.sock", "unix:here", "unix: "] {
            assert_eq!(Endpoint::parse(text).map(|endpoint| endpoint.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "unix:", "127.0.0.1", "127.0.0.1:99999", "/run/tidegate.sock"] {
            assert!(Endpoint::parse(text).is_err(), "case: {text}");
        }
        assert_eq!(Endpoint::parse("unix:/a").unwrap().path(), Some(Path::new("/a")));
        assert_eq!(Endpoint::parse("unix:/a").unwrap().ip(), None);
    }
}
