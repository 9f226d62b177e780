//! The users, of the configuration and of a file of their own.
//!
//! Always holds: the two together are one list, in which nobody is twice; no proof of who somebody is is told.

use super::super::users;
use super::{Prepared, Reloadable};
use crate::config::Config;
use crate::control::ReloadedValue;
use crate::identity::Users;
use crate::server::Handle;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::warn;

/// The users that a running server goes by.
pub(in crate::cli) struct People {
    now: Arc<Mutex<Arc<Users>>>,
}

impl People {
    /// Of a server that was started with these.
    pub(in crate::cli) fn new(users: Arc<Users>) -> People {
        People { now: Arc::new(Mutex::new(users)) }
    }
}

impl Reloadable for People {
    fn files(&self, config: &Config) -> Vec<PathBuf> {
        config.users_file.iter().cloned().collect()
    }

    fn prepare(&self, config: &Config) -> Result<Option<Prepared>, String> {
        let all = users::all(config).map_err(|error| error.to_string())?;
        let all = all.map_err(|mistakes| mistakes.render(false))?;
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if *now == all {
            return Ok(None);
        }
        let shown = |users: &Users| Some(format!("{} in all", users.len()));
        let what = ReloadedValue {
            key: "the users".to_owned(),
            old: shown(&now),
            new: shown(&all),
            takes_effect: "now",
        };
        let now = Arc::clone(&self.now);
        let apply = Box::new(move |handle: &Handle| {
            *now.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&all);
            if let Err(error) = handle.set_users(all) {
                warn!(%error, "not every event loop knows the new users yet; reload once more");
            }
        });
        Ok(Some(Prepared { what, apply }))
    }
}
