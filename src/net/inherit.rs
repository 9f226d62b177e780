//! Listening sockets that another process made: the one before us, or a service manager.
//!
//! Always holds: a socket goes to one listener; those of one port stay together. Never: a connection taken, or an option
//! changed, before the server begins; whoever made them may go on.

use super::{Endpoint, Listener};
use socket2::Socket;
use std::io;
use std::os::fd::OwnedFd;

/// A socket of another process, and what is known of it.
#[derive(Debug)]
pub struct Passed {
    /// The listener that it belonged to: its number, its protocol, and its address as it was written. `None`: it was nobody's.
    pub of: Option<(usize, String, String)>,
    at: Endpoint,
    fd: OwnedFd,
}

impl Passed {
    /// A socket that nobody has said anything about.
    ///
    /// # Errors
    ///
    /// If it is no stream socket at an IP and port, or at a path.
    pub fn new(fd: impl Into<OwnedFd>) -> io::Result<Passed> {
        let socket = Socket::from(fd.into());
        let address = socket.local_addr()?;
        let path = address.as_pathname().map(|path| Endpoint::Unix(path.to_owned()));
        let at = address.as_socket().map(Endpoint::Ip).or(path);
        let at = at
            .ok_or_else(|| io::Error::other("a socket was passed that is neither at a port nor at a path"))?;
        Ok(Passed { of: None, at, fd: socket.into() })
    }

    /// Where it is.
    pub const fn at(&self) -> &Endpoint {
        &self.at
    }

    /// The socket itself, for whoever has a use of its own for it.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

/// The sockets that were passed and that no listener has yet.
#[derive(Debug, Default)]
pub struct Inherited {
    passed: Vec<Passed>,
    /// The listeners, by their number in the other process, whose sockets were taken.
    taken: Vec<usize>,
}

impl Inherited {
    /// These.
    pub const fn new(passed: Vec<Passed>) -> Inherited {
        Inherited { passed, taken: Vec::new() }
    }

    /// The sockets for a listener of this protocol at this address: those of the same one, else those at its place.
    ///
    /// # Errors
    ///
    /// If a socket can't be used.
    pub fn take(&mut self, protocol: &str, text: &str, endpoint: &Endpoint) -> io::Result<Vec<Listener>> {
        let is_same = |passed: &Passed| match &passed.of {
            Some((_, its, written)) => its == protocol && written == text,
            None => false,
        };
        let is_there =
            |passed: &Passed| passed.at == *endpoint && endpoint.ip().is_none_or(|ip| ip.port() != 0);
        let found = self.passed.iter().find(|passed| is_same(passed));
        let Some(first) = found.or_else(|| self.passed.iter().find(|passed| is_there(passed))) else {
            return Ok(Vec::new());
        };
        let (at, number) = (first.at.clone(), first.number());
        let of_it = |passed: &mut Passed| passed.at == at && passed.number() == number;
        let found = self.passed.extract_if(.., of_it).map(|passed| Listener::adopted(passed.fd, at.path()));
        let found = found.collect();
        self.taken.extend(number);
        found
    }

    /// The socket at an IP and port, for whoever needs but one and is no listener of the server: the admin port. `text` is
    /// how its address was written.
    pub fn take_port(&mut self, protocol: &str, text: &str) -> Option<Passed> {
        let of_it = |passed: &Passed| match &passed.of {
            Some((_, its, written)) => its == protocol && written == text,
            None => passed.at.to_string() == text,
        };
        let place = self.passed.iter().position(of_it)?;
        let passed = self.passed.swap_remove(place);
        self.taken.extend(passed.number());
        Some(passed)
    }

    /// Where the sockets are that nobody took.
    pub fn left_over(&self) -> Vec<&Endpoint> {
        self.passed.iter().map(|passed| &passed.at).collect()
    }

    /// The listeners of the other process whose sockets were taken, by their number there.
    pub fn taken(&self) -> &[usize] {
        &self.taken
    }
}

impl Passed {
    fn number(&self) -> Option<usize> {
        self.of.as_ref().map(|(number, ..)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn passed(of: Option<(usize, &str, &str)>) -> Passed {
        let mut passed = Passed::new(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        passed.of = of.map(|(number, protocol, text)| (number, protocol.to_owned(), text.to_owned()));
        passed
    }

    #[test]
    fn sockets_go_to_the_listener_that_had_them_else_to_the_one_at_their_place() {
        let any = Endpoint::parse("127.0.0.1:0").unwrap();
        let (free, mut same) = (passed(None), Vec::new());
        let place = free.at().clone();
        same.push(passed(Some((0, "frame", "127.0.0.1:0"))));
        same.push(passed(Some((1, "line", "127.0.0.1:0"))));
        let lines = same[1].at().clone();
        same.push(free);
        let mut inherited = Inherited::new(same);
        let found = inherited.take("line", "127.0.0.1:0", &any).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].ip().unwrap().map(Endpoint::Ip), Some(lines), "not the first with that address");
        assert!(inherited.take("line", "127.0.0.1:0", &any).unwrap().is_empty(), "taken once");
        assert_eq!(inherited.take("bare", "localhost:1", &place).unwrap().len(), 1, "by its place");
        assert_eq!(inherited.taken(), [1]);
        assert_eq!(inherited.left_over().len(), 1);
        assert!(inherited.take_port("frame", "127.0.0.1:0").is_some() && inherited.left_over().is_empty());
        assert_eq!(inherited.taken(), [1, 0]);
    }
}
