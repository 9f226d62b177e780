//! What can be looked at without asking a loop: the list of paths, and the configuration.

use super::refusal::TEXT;
use super::{BOTH, CHANGE, Context, PATHS, Refusal};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::fmt::Write as _;
use std::sync::Arc;

pub(super) fn paths() -> Router<Arc<Context>> {
    Router::new().route("/config", get(config))
}

/// The list of paths.
pub(super) fn list(context: &Context) -> Response {
    ([(CONTENT_TYPE, TEXT)], list_of_paths(context)).into_response()
}

/// The answer to what is not there.
pub(super) async fn nowhere(State(context): State<Arc<Context>>) -> Refusal {
    let list = list_of_paths(&context);
    Refusal::new(StatusCode::NOT_FOUND, format!("there is no such path\n{}", list.trim_end()))
}

fn list_of_paths(context: &Context) -> String {
    let mut out = format!("tidegate {}: the admin port\n", env!("CARGO_PKG_VERSION"));
    let rows = PATHS.iter().map(|path| (path.path, path.allow, path.about));
    let own = context.own.iter().map(|own| (own.path, "GET, HEAD", "this server's own"));
    for (path, allow, about) in rows.chain(own) {
        let methods = match allow {
            CHANGE => "POST",
            BOTH => "GET, POST",
            _ => "GET",
        };
        let _ = writeln!(out, "  {methods:<10}{path:<24}{about}");
    }
    out.push_str(if context.settings.now().guard.takes_changes() {
        "POST wants Authorization: Bearer and the token\n"
    } else {
        "POST is refused: this server has no token\n"
    });
    out
}

async fn config(State(context): State<Arc<Context>>) -> Result<impl IntoResponse, Refusal> {
    match context.settings.now().config {
        Some(text) => Ok(([(CONTENT_TYPE, "application/toml")], text.to_string())),
        None => Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "this server was not made from a configuration; its program may hand one to Admin::config",
        )),
    }
}
