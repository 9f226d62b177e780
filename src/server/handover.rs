//! Listening sockets that go from one process to the next: what a server lends, leaves and takes over.
//!
//! ```text
//!   old: lend ---- sockets ----> new: inherit, prepare          both have them; only the old one takes from their queues
//!   old: leave                   new: begin                     both take from them
//!   old: drain                                                  only the new one
//! ```
//!
//! Always holds: a queue has a process that takes from it until the last one ends; a path's file is removed by its last
//! process. Never: a protocol between the two; that is `upgrade`'s.

use super::running::{Shared, lock};
use super::{Error, Handle};
use crate::net::{Endpoint, ListenOptions};
use std::io;
use std::os::fd::OwnedFd;

/// A listening socket for another process.
#[derive(Debug)]
pub struct Lent {
    /// Which listener it belongs to.
    pub listener: usize,
    /// That listener's protocol: `frame`, `bare` or `line`.
    pub protocol: &'static str,
    /// Its address as it was given.
    pub text: String,
    /// Where it is.
    pub at: Endpoint,
    /// A descriptor of it.
    pub fd: OwnedFd,
}

impl Handle {
    /// Every listening socket of the server, for another process. Changes nothing here; none once a drain has begun.
    ///
    /// # Errors
    ///
    /// If there are no more descriptors.
    pub fn lend(&self) -> io::Result<Vec<Lent>> {
        let shared = &self.shared;
        let lent = |(listener, held): &(usize, crate::net::Held)| {
            let (protocol, text) = shared.names[*listener].clone();
            let at = shared.local_addrs[*listener].clone();
            Ok(Lent { listener: *listener, protocol, text, at, fd: held.lend()? })
        };
        lock(&shared.held).iter().map(lent).collect()
    }

    /// From the next drain on, the queues of these listeners, by their numbers, are another process's. Taken back by a call
    /// with none of them. False if a drain has begun: then it is too late.
    pub fn leave(&self, listeners: &[usize]) -> bool {
        let held = lock(&self.shared.held);
        *lock(&self.shared.leaving) = listeners.to_vec();
        !held.is_empty()
    }
}

impl Shared {
    /// A drain begins: the last descriptor of a socket must be its loop's, or another process's.
    pub(super) fn let_go(&self) {
        let mut held = lock(&self.held);
        let leaving = lock(&self.leaving);
        held.iter()
            .filter(|(listener, _)| leaving.contains(listener))
            .for_each(|(_, held)| held.left().set(true));
        held.clear();
    }

    /// Inherited sockets become this server's, with these options.
    pub(super) fn take_over(&self, inherited: &[Option<ListenOptions>]) -> Result<(), Error> {
        for (listener, held) in &*lock(&self.held) {
            if let Some(Some(options)) = inherited.get(*listener) {
                let failed = |source| Error::listen(self.local_addrs[*listener].clone(), source);
                held.take_over(options).map_err(failed)?;
            }
        }
        Ok(())
    }
}
