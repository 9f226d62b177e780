//! Whether the server is alive, and whether it wants newcomers.
//!
//! Always holds: a loop that is stuck can't make the answer late. Never: a check of what the server depends on.

use super::Context;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use std::sync::Arc;

pub(super) fn paths() -> Router<Arc<Context>> {
    Router::new().route("/readyz", get(readyz))
}

async fn readyz(State(context): State<Arc<Context>>) -> (StatusCode, &'static str) {
    if context.handle.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}
