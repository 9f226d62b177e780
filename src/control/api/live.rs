//! `GET /live`: how the server is, once a second, for as long as somebody listens; or once. `GET /live/past`: how it was.

use super::query::query;
use super::{Context, Refusal};
use crate::control::live::{Events, Feed, Line};
use axum::body::Body;
use axum::extract::State;
use axum::http::Uri;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use std::sync::Arc;

pub(super) fn paths() -> Router<Arc<Context>> {
    Router::new().route("/live", get(live)).route("/live/past", get(past))
}

async fn live(
    State(context): State<Arc<Context>>,
    Extension(line): Extension<Line>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let [once] = query(&uri, ["once"])?;
    let watching = Feed::watch(&context, Arc::clone(&line.cut))?;
    if once.is_some() {
        let json = watching.once().await;
        return Ok(([(CONTENT_TYPE, "application/json")], [&json[..], b"\n"].concat()).into_response());
    }
    Ok(([(CONTENT_TYPE, "text/event-stream")], Body::new(Events::new(watching, line))).into_response())
}

async fn past(State(context): State<Arc<Context>>) -> Response {
    ([(CONTENT_TYPE, "application/json")], Feed::past(&context) + "\n").into_response()
}
