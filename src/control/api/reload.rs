//! `POST /reload`: the configuration is read anew, judged as a whole, and taken or refused.
//!
//! Always holds: one at a time; who asked is told what changed and what waits for a restart. Never: a file that is read
//! on the control thread, which a slow disk would hold up.

use super::query::query;
use super::refusal::TEXT;
use super::{Asker, Context, Refusal};
use crate::server::Reloaded;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use serde::Serialize;
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Release};
use tokio::sync::oneshot;

pub(super) fn paths() -> Router<Arc<Context>> {
    Router::new().route("/reload", post(reload))
}

/// What reads a configuration anew and applies it. [`Admin::reload`](crate::control::Admin::reload) takes one.
pub trait Reload: fmt::Debug + Send + Sync {
    /// Reads it, and applies it whole or not at all; with `is_dry` it only says what it would do. May take as long as
    /// files and loops do. `by` is who asked, for the log.
    fn reload(&self, by: &str, is_dry: bool) -> ReloadReport;
}

/// What reading a configuration anew came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadReport {
    /// How it ended, or would have.
    pub result: Reloaded,
    /// Whether it was only asked what would happen.
    pub is_dry: bool,
    /// How many changes the server has had.
    pub generation: u64,
    /// What differs, a line for each value.
    pub changed: Vec<ReloadedValue>,
    /// Loops that are held up, and take it when they go on.
    pub behind: Vec<u16>,
    /// What is wrong, for people; empty if it was not refused.
    pub mistakes: String,
}

/// A value that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReloadedValue {
    /// Which.
    pub key: String,
    /// As it was; none if it is new.
    pub old: Option<String>,
    /// As it is wanted; none if it is to go.
    pub new: Option<String>,
    /// `now`, `newcomers` or `restart`.
    pub takes_effect: &'static str,
}

/// The word for what waits.
const RESTART: &str = "restart";

impl ReloadedValue {
    /// Whether it waits for a restart.
    pub fn waits(&self) -> bool {
        self.takes_effect == RESTART
    }
}

impl ReloadReport {
    /// `applied`, `refused`, `unchanged`.
    pub const fn name(&self) -> &'static str {
        match self.result {
            Reloaded::Applied => "applied",
            Reloaded::Refused => "refused",
            Reloaded::Unchanged => "unchanged",
        }
    }
}

/// For people: a line that says how it ended, and one for each value.
impl fmt::Display for ReloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.changed.iter().filter(|value| value.waits()).count();
        let live = self.changed.len() - waiting;
        match (self.result, self.is_dry) {
            (Reloaded::Refused, _) => {
                f.write_str("refused: nothing has changed\n")?;
                return f.write_str(&self.mistakes);
            }
            (Reloaded::Applied, true) => write!(f, "dry run: {live} values would change")?,
            (Reloaded::Applied, false) => write!(f, "applied: {live} values changed")?,
            (Reloaded::Unchanged, true) => f.write_str("dry run: nothing would change")?,
            (Reloaded::Unchanged, false) => f.write_str("unchanged")?,
        }
        match waiting {
            0 => f.write_char('\n')?,
            _ => writeln!(f, "; {waiting} wait for a restart")?,
        }
        for value in &self.changed {
            let nothing = "nothing".to_owned();
            let (old, new) = (value.old.as_ref().unwrap_or(&nothing), value.new.as_ref().unwrap_or(&nothing));
            writeln!(f, "  {:<10}{}: {old} -> {new}", value.takes_effect, value.key)?;
        }
        if !self.behind.is_empty() {
            writeln!(f, "event loops {:?} are held up and take it when they go on", self.behind)?;
        }
        Ok(())
    }
}

/// Whether a reload is under way.
#[derive(Clone, Debug, Default)]
pub(in crate::control) struct Reloads {
    is_busy: Arc<AtomicBool>,
}

/// What `?json` answers.
#[derive(Serialize)]
struct Report<'a> {
    result: &'static str,
    dry_run: bool,
    generation: u64,
    changed: &'a [ReloadedValue],
    loops_behind: &'a [u16],
    mistakes: &'a str,
}

async fn reload(
    State(context): State<Arc<Context>>,
    Extension(Asker(asker)): Extension<Asker>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let [is_dry, json] = query(&uri, ["dry_run", "json"])?;
    let is_dry = match is_dry {
        None | Some("false") => false,
        Some("" | "true") => true,
        Some(other) => {
            return Err(Refusal::bad(format!("dry_run is {other:?}, but must be true or false")));
        }
    };
    let Some(reload) = context.reload.clone() else {
        let text = "this server has no configuration that it could read anew; its program may hand one to Admin::reload";
        return Err(Refusal::new(StatusCode::NOT_FOUND, text));
    };
    if context.reloads.is_busy.swap(true, AcqRel) {
        let text = "the configuration is being read anew already; ask again";
        return Err(Refusal::new(StatusCode::CONFLICT, text));
    }
    let (tell, told) = oneshot::channel();
    let done = Arc::clone(&context.reloads.is_busy);
    let thread = std::thread::Builder::new().name("tidegate-reload".to_owned());
    let begun = thread.spawn(move || {
        // Whatever happens in it, the next one may come; and who is told may ask at once.
        let free = Free(done);
        let report = reload.reload(&format!("the admin port, asked by {asker}"), is_dry);
        drop(free);
        let _ = tell.send(report);
    });
    if let Err(error) = begun {
        context.reloads.is_busy.store(false, Release);
        let text = format!("cannot start a thread for it: {error}");
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text));
    }
    let Ok(report) = told.await else {
        let text = "reading it anew panicked, which is a bug; the server's log says more";
        return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, text));
    };
    answer(&report, json.is_some())
}

fn answer(report: &ReloadReport, is_json: bool) -> Result<Response, Refusal> {
    let status = match report.result {
        Reloaded::Applied | Reloaded::Unchanged => StatusCode::OK,
        Reloaded::Refused => StatusCode::UNPROCESSABLE_ENTITY,
    };
    if !is_json {
        return Ok((status, [(CONTENT_TYPE, TEXT)], report.to_string()).into_response());
    }
    let ReloadReport { is_dry, generation, changed, behind, mistakes, .. } = report;
    let shown = Report {
        result: report.name(),
        dry_run: *is_dry,
        generation: *generation,
        changed,
        loops_behind: behind,
        mistakes,
    };
    let json = serde_json::to_string(&shown).map_err(|error| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot be written as JSON: {error}"))
    })?;
    Ok((status, [(CONTENT_TYPE, "application/json")], json + "\n").into_response())
}

/// Clears the mark when it goes.
struct Free(Arc<AtomicBool>);

impl Drop for Free {
    fn drop(&mut self) {
        self.0.store(false, Release);
    }
}
