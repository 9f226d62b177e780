//! Whether the server is alive, and whether it wants newcomers.
//!
//! Alive means that every loop has begun a turn since it was asked. A loop that is stuck in one can't say so itself; what
//! is known of it from outside is told instead: how long, and at which connection.
//!
//! Always holds: a loop that is stuck makes the answer no later than it may be; many who ask at once cost a loop no more
//! than one. Never: a check of what the server depends on.

use super::query::query;
use super::refusal::TEXT;
use super::{Context, Refusal};
use crate::base::limits::{HEALTH_WITHIN_MS, HEALTH_WITHIN_MS_MAX, HEALTH_WITHIN_MS_MIN, KNOCK_EVERY_MS};
use crate::server::LoopState;
use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How often who asked looks whether the loops have turned.
const LOOK_EVERY: Duration = Duration::from_millis(2);

pub(super) fn paths() -> Router<Arc<Context>> {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz))
}

/// Keeps those who ask at once from knocking all at once.
#[derive(Debug, Default)]
pub(in crate::control) struct Knocks {
    /// The server's age at the last knock, in milliseconds.
    last_ms: AtomicU64,
}

impl Knocks {
    /// Whether it is time for another one; then the caller knocks. Called by one thread.
    fn is_due(&self, uptime: Duration) -> bool {
        let now_ms = u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX);
        let is_due = now_ms >= self.last_ms.load(Relaxed).saturating_add(KNOCK_EVERY_MS);
        if is_due {
            self.last_ms.store(now_ms, Relaxed);
        }
        is_due
    }
}

async fn healthz(State(context): State<Arc<Context>>, uri: Uri) -> Result<Response, Refusal> {
    let [within] = query(&uri, ["within_ms"])?;
    let within = within.map_or(Ok(HEALTH_WITHIN_MS), within_ms)?;
    let until = Instant::now() + Duration::from_millis(within);
    let before: Vec<u64> = context.handle.loop_states().iter().map(|state| state.turns).collect();
    loop {
        if let Some(shard) = context.handle.dead_shard() {
            return Ok(unhealthy(&format!("event loop {shard} died; the others drain")));
        }
        if context.knocks.is_due(context.handle.uptime()) {
            context.handle.knock();
        }
        tokio::time::sleep(LOOK_EVERY).await;
        let states = context.handle.loop_states();
        let is_draining = context.handle.is_draining();
        let stuck: Vec<_> = (0..)
            .zip(states.iter().zip(&before))
            .filter(|(_, (state, before))| is_stuck(state, **before, is_draining))
            .map(|(shard, (state, _))| (shard, *state))
            .collect();
        if stuck.is_empty() {
            return Ok(([(CONTENT_TYPE, TEXT)], "ok\n").into_response());
        }
        if Instant::now() >= until {
            return Ok(unhealthy(&in_words(&stuck, within)));
        }
    }
}

/// A loop that rests in a drain may have ended, in order: it does not turn any more, and that is right.
fn is_stuck(state: &LoopState, turns_before: u64, is_draining: bool) -> bool {
    state.turns == turns_before && !(is_draining && state.turn.is_none())
}

fn within_ms(text: &str) -> Result<u64, Refusal> {
    match text.parse() {
        Ok(ms) if (HEALTH_WITHIN_MS_MIN..=HEALTH_WITHIN_MS_MAX).contains(&ms) => Ok(ms),
        Ok(_) | Err(_) => Err(Refusal::bad(format!(
            "within_ms is {text:?}, but must be a number from {HEALTH_WITHIN_MS_MIN} to \
             {HEALTH_WITHIN_MS_MAX}"
        ))),
    }
}

/// A line for each loop.
fn in_words(stuck: &[(u16, LoopState)], within_ms: u64) -> String {
    let mut out = String::new();
    for (shard, LoopState { turn, visiting, .. }) in stuck {
        let _ = write!(out, "event loop {shard} has not answered within {within_ms} ms");
        if let Some(turn) = turn {
            let _ = write!(out, "; its turn has been running for {} ms", turn.as_millis());
        }
        if let Some(visiting) = visiting {
            let _ = write!(out, ", at connection {visiting} last");
        }
        out.push('\n');
    }
    out.pop();
    out
}

fn unhealthy(text: &str) -> Response {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

/// What `/readyz?verbose` says.
#[derive(Serialize)]
struct Readiness {
    ready: bool,
    draining: bool,
    /// The first loop that died.
    dead_loop: Option<u16>,
    loops: usize,
    connections: u32,
    max_connections: u32,
    uptime_s: u64,
}

async fn readyz(State(context): State<Arc<Context>>, uri: Uri) -> Result<Response, Refusal> {
    let [verbose] = query(&uri, ["verbose"])?;
    let handle = &context.handle;
    let (draining, dead_loop) = (handle.is_draining(), handle.dead_shard());
    let ready = !draining && dead_loop.is_none();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if verbose.is_none() {
        let text = match (dead_loop, draining) {
            (Some(shard), _) => format!("event loop {shard} died; the others drain\n"),
            (None, true) => "draining\n".to_owned(),
            (None, false) => "ready\n".to_owned(),
        };
        return Ok((status, [(CONTENT_TYPE, TEXT)], text).into_response());
    }
    let readiness = Readiness {
        ready,
        draining,
        dead_loop,
        loops: handle.shards(),
        connections: handle.connections(),
        max_connections: handle.capacity().connections,
        uptime_s: handle.uptime().as_secs(),
    };
    let json = serde_json::to_string(&readiness).map_err(|error| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot be written as JSON: {error}"))
    })?;
    Ok((status, [(CONTENT_TYPE, "application/json")], json + "\n").into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_who_ask_knock_once_in_a_while() {
        let knocks = Knocks::default();
        let due = |ms| knocks.is_due(Duration::from_millis(ms));
        assert!(!due(0), "the loops have just begun");
        let times: Vec<bool> = [10, 10, 11, 19, 20, 500, 509].map(due).into();
        assert_eq!(times, [true, false, false, false, true, true, false]);
    }
}
