//! What the admin port answers: one file for each group of paths.
//!
//! Always holds: an answer is made from copies of figures, or by asking a loop through its mailbox. Never: a change of
//! anything by GET.

mod health;
mod metrics;

use crate::server::Handle;
use axum::Router;
use std::sync::Arc;

/// What every answer may use.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) handle: Handle,
}

/// All paths.
pub(super) fn router(context: Arc<Context>) -> Router {
    Router::new().merge(health::paths()).merge(metrics::paths()).with_state(context)
}
