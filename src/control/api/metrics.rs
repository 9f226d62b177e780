//! `GET /metrics`: all figures, in the format that the client takes.
//!
//! Always holds: who does not say otherwise gets OpenMetrics.

use super::Context;
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;

/// OpenMetrics 1.0, section "Overall Structure".
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The format before it.
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn paths() -> Router<Arc<Context>> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(context): State<Arc<Context>>, headers: HeaderMap) -> Response {
    if wants_classic(&headers) {
        ([(CONTENT_TYPE, CLASSIC)], context.exporter.classic_text(&context.handle)).into_response()
    } else {
        ([(CONTENT_TYPE, OPEN_METRICS)], context.exporter.text(&context.handle)).into_response()
    }
}

/// Whether plain text is all that the client names.
fn wants_classic(headers: &HeaderMap) -> bool {
    let accepts = |kind: &str| {
        let mut values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        values.any(|value| value.contains(kind))
    };
    accepts("text/plain") && !accepts("application/openmetrics-text")
}
