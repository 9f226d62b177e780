//! What of the admin port can be changed while it is served: its token, its names, what it shows.
//!
//! Always holds: a request is answered by one state of it, from its check to its answer's end. Never: a lock for longer
//! than a pointer takes to copy.

use super::admin::AdminError;
use super::guard::Guard;
use crate::base::limits::{ADMIN_HOSTS_MAX, ADMIN_TOKEN_BYTES, DRAIN_GRACE};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The port's terms of now.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) guard: Arc<Guard>,
    /// The configuration as text, if it was handed in.
    pub(super) config: Option<Arc<str>>,
    /// How long a drain may take if its request does not say.
    pub(super) grace: Duration,
    /// Whether CPU profiles are made.
    pub(super) profile: bool,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms { guard: Arc::default(), config: None, grace: DRAIN_GRACE, profile: false }
    }
}

/// Changes an [`Admin`](super::Admin) port, before it is served and while it is.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    terms: Arc<Mutex<Terms>>,
}

/// What is to be otherwise. What is not named stays.
#[derive(Debug, Default)]
pub struct AdminChange {
    token: Option<Option<String>>,
    hosts: Option<Vec<String>>,
    config: Option<Arc<str>>,
    grace: Option<Duration>,
    profile: Option<bool>,
}

impl AdminChange {
    /// Nothing yet.
    pub fn new() -> AdminChange {
        AdminChange::default()
    }

    /// What a change wants from now on; `None`: nothing can be changed.
    ///
    /// # Errors
    ///
    /// [`AdminError::Token`] if it has not 16 to 256 bytes, all of them visible ASCII.
    pub fn token(mut self, token: Option<String>) -> Result<AdminChange, AdminError> {
        token.as_deref().map_or(Ok(()), check_token)?;
        self.token = Some(token);
        Ok(self)
    }

    /// Names that it may be asked by, at most 16.
    ///
    /// # Errors
    ///
    /// [`AdminError::Hosts`] if there are more.
    pub fn hosts<H: Into<String>>(
        mut self,
        hosts: impl IntoIterator<Item = H>,
    ) -> Result<AdminChange, AdminError> {
        let hosts: Vec<String> = hosts.into_iter().map(|host| host.into().to_ascii_lowercase()).collect();
        match hosts.len() {
            0..=ADMIN_HOSTS_MAX => self.hosts = Some(hosts),
            got => return Err(AdminError::Hosts { got }),
        }
        Ok(self)
    }

    /// What `/config` shows.
    #[must_use]
    pub fn config(mut self, text: impl Into<Arc<str>>) -> AdminChange {
        self.config = Some(text.into());
        self
    }

    /// How long a drain may take that is asked for without a grace.
    #[must_use]
    pub const fn grace(mut self, grace: Duration) -> AdminChange {
        self.grace = Some(grace);
        self
    }

    /// Whether CPU profiles are made, for who has the token.
    #[must_use]
    pub const fn profile(mut self, profile: bool) -> AdminChange {
        self.profile = Some(profile);
        self
    }
}

fn check_token(token: &str) -> Result<(), AdminError> {
    let (least, most) = ADMIN_TOKEN_BYTES;
    let is_plain = token.bytes().all(|byte| byte.is_ascii_graphic());
    if (least..=most).contains(&token.len()) && is_plain {
        return Ok(());
    }
    Err(AdminError::Token { got: token.len() })
}

impl Settings {
    /// Changes it, whole and at once; requests that are being answered go on under what they began with.
    pub fn apply(&self, change: AdminChange) {
        let mut terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        let AdminChange { token, hosts, config, grace, profile } = change;
        if token.is_some() || hosts.is_some() {
            let before = &terms.guard;
            let token = token.unwrap_or_else(|| before.token.clone());
            let hosts = hosts.unwrap_or_else(|| before.hosts.clone());
            terms.guard = Arc::new(Guard { token, hosts });
        }
        if config.is_some() {
            terms.config = config;
        }
        terms.grace = grace.unwrap_or(terms.grace);
        terms.profile = profile.unwrap_or(terms.profile);
    }

    pub(super) fn now(&self) -> Terms {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
