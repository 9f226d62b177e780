//! The configuration of a running server, read anew: by SIGHUP, by `POST /reload`, or because its files changed.
//!
//! ```text
//!   SIGHUP --.                      read, judge        prepare what else is read        nothing can fail from here on
//!   watch  --+--> Engine::reload --> config --change_to--> token file, ... --> loops --> what was prepared, log, port
//!   POST   --'                         `- refused: all stays as it is, all mistakes are told, counted
//! ```
//!
//! What else is read anew (certificates, users) is [`Reloadable`]: it joins [`Engine::also`], and its files are watched.
//!
//! Always holds: one reload at a time, applied whole or refused whole. Never: a signal or a file that ends the server.

mod ask;
mod certificates;
mod token;
mod users;
mod watch;

pub(super) use ask::{Options, run};
pub(super) use certificates::Certificates;
pub(super) use token::Token;
pub(super) use users::People;
pub(super) use watch::{look_after, stamps};

use super::logs;
use super::sources::sources;
use crate::config::change::{Changed, Plan, When};
use crate::config::{Config, Flag, Host, Loaded, load};
use crate::control::{AdminChange, Reload, ReloadReport, ReloadedValue, Settings};
use crate::server::{Handle, Reloaded};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::{info, warn};
use watch::Stamp;

/// So many changed values are logged one by one; who asked on the admin port is told all.
const LOGGED_MAX: usize = 50;

/// Something beside the configuration that is read from files, and can be read anew.
pub(super) trait Reloadable: Send + Sync {
    /// The files, as this configuration names them.
    fn files(&self, config: &Config) -> Vec<PathBuf>;

    /// Reads and judges them, and changes nothing. `None`: they hold what is in effect.
    ///
    /// # Errors
    ///
    /// What is wrong, a line for each mistake, without a secret.
    fn prepare(&self, config: &Config) -> Result<Option<Prepared>, String>;
}

/// What was read, and is right.
pub(super) struct Prepared {
    /// What is otherwise, for people: a line's worth, without a secret.
    pub(super) what: ReloadedValue,
    /// Puts it into effect. Can't fail.
    pub(super) apply: Box<dyn FnOnce(&Handle)>,
}

/// Reads the configuration of a running server anew.
pub(super) struct Engine {
    path: Option<PathBuf>,
    flags: Vec<Flag>,
    host: Host,
    log: Arc<logs::Filter>,
    port: Option<Settings>,
    also: Vec<Box<dyn Reloadable>>,
    state: Mutex<State>,
}

/// What is so now.
struct State {
    /// What the server goes by.
    loaded: Loaded,
    /// How to reach it, once it runs.
    handle: Option<Handle>,
    /// How the files looked when they were read last.
    stamps: Vec<Stamp>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Engine {
    /// For a server that is made from this. `port` is its admin port's.
    pub(super) fn new(
        loaded: Loaded,
        (path, flags): (Option<PathBuf>, Vec<Flag>),
        host: Host,
        log: Arc<logs::Filter>,
        port: Option<Settings>,
        also: Vec<Box<dyn Reloadable>>,
    ) -> Engine {
        let state = Mutex::new(State { loaded, handle: None, stamps: Vec::new() });
        let engine = Engine { path, flags, host, log, port, also, state };
        let mut now = engine.state();
        now.stamps = stamps(&engine.files(&now.loaded.config));
        drop(now);
        engine
    }

    /// The server runs: from now on there is something to reload.
    pub(super) fn runs(&self, handle: Handle) {
        self.state().handle = Some(handle);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in the middle leaves what was there before.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All files that a reload reads.
    fn files(&self, config: &Config) -> Vec<PathBuf> {
        self.path.iter().cloned().chain(self.also.iter().flat_map(|also| also.files(config))).collect()
    }

    /// Reads it anew, and applies it whole or not at all.
    pub(super) fn reload(&self, by: &str, is_dry: bool) -> ReloadReport {
        let mut state = self.state();
        let report = self.reload_as(&mut state, is_dry);
        let Some(handle) = state.handle.as_ref().filter(|_| !is_dry) else { return report };
        handle.count_reload(report.result);
        let (generation, waiting) =
            (report.generation, report.changed.iter().filter(|value| value.waits()).count());
        match report.result {
            Reloaded::Refused => {
                warn!(by, mistakes = report.mistakes, "the new configuration is refused, the old one holds");
            }
            Reloaded::Unchanged => info!(by, waiting_for_restart = waiting, "the configuration is unchanged"),
            Reloaded::Applied => {
                info!(by, generation, waiting_for_restart = waiting, "the configuration is changed");
            }
        }
        for ReloadedValue { key, old, new, takes_effect } in report.changed.iter().take(LOGGED_MAX) {
            let (old, new) = (old.as_deref().unwrap_or("nothing"), new.as_deref().unwrap_or("nothing"));
            info!(key, old, new, takes_effect, "a changed value");
        }
        report
    }

    fn reload_as(&self, state: &mut State, is_dry: bool) -> ReloadReport {
        let generation = state.handle.as_ref().map_or(0, |handle| handle.change_figures().generation);
        let refused = |mistakes: String| ReloadReport {
            result: Reloaded::Refused,
            is_dry,
            generation,
            changed: Vec::new(),
            behind: Vec::new(),
            mistakes,
        };
        // Before the reading: what changes behind this is found by the next look.
        let before = stamps(&self.files(&state.loaded.config));
        if !is_dry {
            state.stamps.clone_from(&before);
        }
        let (plan, prepared) = match self.judged(&state.loaded) {
            Ok(judged) => judged,
            Err(mistakes) => return refused(mistakes),
        };
        let changed =
            plan.changed.iter().map(told).chain(prepared.iter().map(|one| one.what.clone())).collect();
        let is_live = plan.live().next().is_some() || !prepared.is_empty();
        let result = if is_live { Reloaded::Applied } else { Reloaded::Unchanged };
        let mut report =
            ReloadReport { result, is_dry, generation, changed, behind: Vec::new(), mistakes: String::new() };
        let change = plan.loaded.config.change(&self.host);
        if is_dry {
            let checked = state.handle.as_ref().map_or(Ok(()), |handle| handle.check(&change));
            return checked.map_or_else(|error| refused(format!("{error}\n")), |()| report);
        }
        if let (true, Some(handle)) = (is_live, &state.handle) {
            match handle.apply(change) {
                Ok(applied) => (report.generation, report.behind) = (applied.generation, applied.behind),
                Err(error) => return refused(format!("{error}\n")),
            }
            prepared.into_iter().for_each(|one| (one.apply)(handle));
        }
        let config = &plan.loaded.config;
        if plan.live().any(|changed| changed.key == "log.level") {
            self.log.level(config.log_level);
        }
        if let Some(port) = &self.port {
            let change = AdminChange::new().config(plan.loaded.effective_text()).grace(config.grace);
            let change = change.profile(config.admin.as_ref().is_some_and(|port| port.profile));
            let hosts = config.admin.iter().flat_map(|port| port.hosts.iter().cloned());
            // The schema has judged how many there are.
            if let Ok(change) = change.hosts(hosts) {
                port.apply(change);
            }
        }
        state.stamps = stamps(&self.files(config));
        for stamp in &mut state.stamps {
            // One that is named for the first time is looked at behind its reading: it can't be known earlier.
            let read = before.iter().find(|other| other.is_same_file(stamp));
            *stamp = read.unwrap_or(stamp).clone();
        }
        state.loaded = plan.loaded;
        report
    }

    /// Everything read and found right, nothing changed; or all that is wrong, for people.
    fn judged(&self, running: &Loaded) -> Result<(Plan, Vec<Prepared>), String> {
        let sources =
            sources(self.path.as_deref(), self.flags.clone()).map_err(|error| format!("{error}\n"))?;
        let wanted = load(sources, &self.host).map_err(|mistakes| mistakes.render(false))?;
        let plan = running.change_to(&wanted, &self.host).map_err(|mistakes| mistakes.render(false))?;
        let (mut prepared, mut wrong) = (Vec::new(), String::new());
        for also in &self.also {
            match also.prepare(&plan.loaded.config) {
                Ok(one) => prepared.extend(one),
                Err(mistakes) => wrong.extend([mistakes.trim_end(), "\n"]),
            }
        }
        if wrong.is_empty() { Ok((plan, prepared)) } else { Err(wrong) }
    }
}

impl Reload for Engine {
    fn reload(&self, by: &str, is_dry: bool) -> ReloadReport {
        Engine::reload(self, by, is_dry)
    }
}

fn told(changed: &Changed) -> ReloadedValue {
    let Changed { key, old, new, when } = changed.clone();
    ReloadedValue { key, old, new, takes_effect: When::name(when) }
}
