//! The certificates of a running server: read again, and watched.

use super::Handle;
use super::running::lock;
use crate::shard::Entrance;
use crate::tls::{Acceptor, TlsError, calendar};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use tracing::{info, warn};

/// The listeners' TLS, as the server keeps it.
#[derive(Debug)]
pub(super) struct Keeper {
    /// With their places in the server's list.
    acceptors: Vec<(usize, Arc<Acceptor>)>,
    /// One reload at a time.
    reloading: Mutex<()>,
    reloaded: AtomicU64,
    refused: AtomicU64,
}

impl Keeper {
    pub(super) fn new(entrances: &[Entrance]) -> Keeper {
        let acceptors = entrances.iter().enumerate();
        Keeper {
            acceptors: acceptors.filter_map(|(at, one)| Some((at, one.tls.clone()?))).collect(),
            reloading: Mutex::new(()),
            reloaded: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }
}

/// What a [reload](Handle::reload_tls) has replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsReloaded {
    /// Listeners with TLS, each of which has new certificates for newcomers now.
    pub listeners: usize,
    /// Those whose old tickets no longer resume, since the clients' authorities or the revoked certificates have changed.
    pub tickets_dropped: usize,
}

/// How often certificates were read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsReloads {
    /// And replaced.
    pub done: u64,
    /// And refused: the old ones stayed.
    pub refused: u64,
}

impl Handle {
    /// Reads the certificates, keys and lists of all listeners again: newcomers get what is new, live connections keep what
    /// they have, and end if a list says now that their certificate was revoked. All of it or nothing.
    ///
    /// # Errors
    ///
    /// What is wrong with which files; then all stays as it was.
    pub fn reload_tls(&self) -> Result<TlsReloaded, Vec<TlsError>> {
        let keeper = self.shared.tls();
        let _one = lock(&keeper.reloading);
        let (mut prepared, mut mistakes) = (Vec::new(), Vec::new());
        for (_, acceptor) in &keeper.acceptors {
            match acceptor.prepare() {
                Ok(one) => prepared.push((acceptor, one)),
                Err(error) => mistakes.push(error),
            }
        }
        if !mistakes.is_empty() {
            keeper.refused.fetch_add(1, Relaxed);
            mistakes.iter().for_each(|error| warn!(%error, "certificates were not replaced"));
            return Err(mistakes);
        }
        let mut told = TlsReloaded::default();
        for (acceptor, one) in prepared {
            told.listeners += 1;
            told.tickets_dropped += usize::from(!acceptor.replace(one).keeps_tickets);
        }
        keeper.reloaded.fetch_add(1, Relaxed);
        info!(
            listeners = told.listeners,
            tickets_dropped = told.tickets_dropped,
            "certificates were read again"
        );
        // Loops that sleep would not see that somebody was revoked.
        self.knock();
        Ok(told)
    }

    /// The files that a reload reads, each once.
    pub fn tls_files(&self) -> Vec<PathBuf> {
        let acceptors = self.shared.tls().acceptors.iter();
        let mut files: Vec<_> =
            acceptors.flat_map(|(_, one)| one.files().paths()).map(ToOwned::to_owned).collect();
        files.sort();
        files.dedup();
        files
    }

    /// For each listener with TLS, by its place: how long its certificate is good for, in seconds; less than 0 for one that
    /// has expired.
    pub fn tls_expiries(&self) -> Vec<(usize, i64)> {
        let now = calendar().cast_signed();
        let left = |acceptor: &Acceptor| acceptor.not_after().cast_signed() - now;
        self.shared.tls().acceptors.iter().map(|(at, acceptor)| (*at, left(acceptor))).collect()
    }

    /// How often certificates were read again.
    pub fn tls_reloads(&self) -> TlsReloads {
        let keeper = self.shared.tls();
        TlsReloads { done: keeper.reloaded.load(Relaxed), refused: keeper.refused.load(Relaxed) }
    }
}
