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

/// A listener whose sockets another process may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lendable {
    /// Its number.
    pub listener: usize,
    /// Its protocol: `frame`, `bare` or `line`.
    pub protocol: &'static str,
    /// Its address as it was given.
    pub text: String,
    /// Where it is.
    pub at: Endpoint,
    /// How many sockets it has.
    pub sockets: usize,
}

impl Handle {
    /// The listeners of the server, for another process; none once a drain has begun.
    pub fn lendable(&self) -> Vec<Lendable> {
        let shared = &self.shared;
        let held = lock(&shared.held);
        let names = shared.names.iter().zip(&shared.local_addrs).enumerate();
        let all = names.map(|(listener, ((protocol, text), at))| Lendable {
            listener,
            protocol,
            text: text.clone(),
            at: at.clone(),
            sockets: held.iter().filter(|(of, _)| *of == listener).count(),
        });
        all.filter(|listener| listener.sockets > 0).collect()
    }

    /// A descriptor of one of a listener's sockets, for another process; changes nothing here. One at a time, since a server
    /// may have few to spare. `None` if there is no such socket, or a drain has begun.
    ///
    /// # Errors
    ///
    /// If there are no more descriptors.
    pub fn lend(&self, listener: usize, socket: usize) -> io::Result<Option<OwnedFd>> {
        let held = lock(&self.shared.held);
        let found = held.iter().filter(|(of, _)| *of == listener).nth(socket);
        found.map(|(_, held)| held.lend()).transpose()
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
