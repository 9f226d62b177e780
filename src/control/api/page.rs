//! The dashboard's page, as it was compiled in; and for who is no browser, the list of paths in its place.
//!
//! Always holds: the page loads nothing from elsewhere, has no script or style in its markup, and its policy says so. Never:
//! a figure; the page asks the feed.

use super::{Context, Refusal, look};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;

const INDEX: &str = include_str!("../page/index.html");

/// Name, type and text.
const PARTS: &[(&str, &str, &str)] = &[
    ("style.css", "text/css; charset=utf-8", include_str!("../page/style.css")),
    ("draw.js", "text/javascript; charset=utf-8", include_str!("../page/draw.js")),
    ("parts.js", "text/javascript; charset=utf-8", include_str!("../page/parts.js")),
    ("app.js", "text/javascript; charset=utf-8", include_str!("../page/app.js")),
    ("profile.js", "text/javascript; charset=utf-8", include_str!("../page/profile.js")),
];

/// Its own parts, the feed, and a picture that was asked for. Nothing that a peer calls itself can become markup or script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data: blob:; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

pub(super) fn paths() -> Router<Arc<Context>> {
    Router::new().route("/", get(index)).route("/page/{part}", get(part))
}

async fn index(State(context): State<Arc<Context>>, headers: HeaderMap) -> Response {
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if accepts.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with("text/html")) {
        let headers =
            [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY), (VARY, "Accept")];
        return (headers, INDEX).into_response();
    }
    ([(VARY, "Accept")], look::list(&context)).into_response()
}

async fn part(Path(name): Path<String>) -> Result<Response, Refusal> {
    let part = PARTS.iter().find(|(known, ..)| *known == name);
    let (_, kind, text) = part.ok_or_else(|| {
        let names: Vec<&str> = PARTS.iter().map(|(known, ..)| *known).collect();
        Refusal::new(StatusCode::NOT_FOUND, format!("the page has no {name:?}; it has {}", names.join(", ")))
    })?;
    Ok(([(CONTENT_TYPE, *kind)], *text).into_response())
}
