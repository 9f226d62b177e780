//! The admin port's token, which may be in a file of its own.
//!
//! Always holds: neither it nor a byte of it is told.

use super::super::admin;
use super::{Prepared, Reloadable};
use crate::config::Config;
use crate::control::{AdminChange, ReloadedValue, Settings};
use crate::server::Handle;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// The token of a running port.
pub(in crate::cli) struct Token {
    port: Settings,
    now: Arc<Mutex<Option<String>>>,
}

impl Token {
    /// Of a port that has this one.
    pub(in crate::cli) fn new(port: Settings, token: Option<String>) -> Token {
        Token { port, now: Arc::new(Mutex::new(token)) }
    }
}

impl Reloadable for Token {
    fn files(&self, config: &Config) -> Vec<PathBuf> {
        config.admin.iter().filter_map(|port| port.token_file.clone()).collect()
    }

    fn prepare(&self, config: &Config) -> Result<Option<Prepared>, String> {
        let Some(port) = &config.admin else { return Ok(None) };
        let token = admin::token(port).map_err(|error| error.to_string())?;
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if *now == token {
            return Ok(None);
        }
        let shown = |token: &Option<String>| token.as_ref().map(|_| "\"***\"".to_owned());
        let what = ReloadedValue {
            key: "the admin port's token".to_owned(),
            old: shown(&now),
            new: shown(&token),
            takes_effect: "now",
        };
        let change = AdminChange::new().token(token.clone()).map_err(|error| error.to_string())?;
        let (settings, now) = (self.port.clone(), Arc::clone(&self.now));
        let apply = Box::new(move |_: &Handle| {
            settings.apply(change);
            *now.lock().unwrap_or_else(PoisonError::into_inner) = token;
        });
        Ok(Some(Prepared { what, apply }))
    }
}
