//! The certificates, keys and lists of listeners with TLS, whose files change while their names stay.
//!
//! Always holds: what is taken for a change is another content, not another date. Never: a key, or a byte of one, told.

use super::{Prepared, Reloadable};
use crate::config::Config;
use crate::control::ReloadedValue;
use crate::server::Handle;
use crate::tls::Acceptor;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What a running server's listeners were given.
pub(in crate::cli) struct Certificates {
    now: Arc<Mutex<u64>>,
}

impl Certificates {
    /// Of a server that was started with this.
    pub(in crate::cli) fn new(config: &Config) -> Certificates {
        Certificates { now: Arc::new(Mutex::new(content(&files(config)))) }
    }
}

impl Reloadable for Certificates {
    fn files(&self, config: &Config) -> Vec<PathBuf> {
        files(config)
    }

    fn prepare(&self, config: &Config) -> Result<Option<Prepared>, String> {
        let found = content(&files(config));
        if *self.now.lock().unwrap_or_else(PoisonError::into_inner) == found {
            return Ok(None);
        }
        let all = config.listeners.iter().filter_map(|listen| listen.tls.as_ref());
        let wrong: Vec<String> =
            all.filter_map(|tls| Some(format!("{}\n", Acceptor::new(tls.files()).err()?))).collect();
        if !wrong.is_empty() {
            return Err(wrong.concat());
        }
        let what = ReloadedValue {
            key: "the certificates".to_owned(),
            old: Some("those that were read before".to_owned()),
            new: Some("those that the files have now".to_owned()),
            takes_effect: "newcomers",
        };
        let now = Arc::clone(&self.now);
        // The files are read once more. If one has become wrong since, all stays, which is logged, and the next look finds it.
        let apply = Box::new(move |handle: &Handle| {
            if handle.reload_tls().is_ok() {
                *now.lock().unwrap_or_else(PoisonError::into_inner) = found;
            }
        });
        Ok(Some(Prepared { what, apply }))
    }
}

fn files(config: &Config) -> Vec<PathBuf> {
    let all = config.listeners.iter().filter_map(|listen| listen.tls.as_ref());
    let mut files: Vec<PathBuf> =
        all.flat_map(|tls| tls.files().paths().map(Path::to_owned).collect::<Vec<_>>()).collect();
    files.sort();
    files.dedup();
    files
}

/// What tells other contents from these. One that can't be read is told by who reads it for its worth.
fn content(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        (file, std::fs::read(file).ok()).hash(&mut hasher);
    }
    hasher.finish()
}
