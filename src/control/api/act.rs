//! What changes the server: a drain, and what is logged.
//!
//! Always holds: who asked for it is in the log. Never: a wait for a loop on the control thread; telling the loops of a
//! drain may take a while, and has a thread of its own.

use super::query::query;
use super::refusal::TEXT;
use super::{Asker, Context, Refusal};
use crate::base::limits::{ADMIN_BODY_BYTES_MAX, DEADLINE_MS_MAX};
use crate::base::units::{parse_time, time_text};
use crate::server::Handle;
use axum::extract::State;
use axum::extract::rejection::StringRejection;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::time::Duration;
use tracing::info;

/// Looks, a millisecond apart, whether the loops have been told of a drain. Telling takes longer only where a loop takes no
/// letters; then the drain has begun all the same.
const LOOKS: u32 = 100;

pub(super) fn paths() -> Router<Arc<Context>> {
    Router::new().route("/drain", post(drain)).route("/log", get(shown_log).post(change_log))
}

/// Whether the loops are being told of a drain at the moment.
#[derive(Clone, Debug, Default)]
pub(in crate::control) struct Drains {
    is_telling: Arc<AtomicBool>,
}

impl Drains {
    /// Waits a moment until no loop is being told of a drain any more.
    async fn told(&self) {
        for _ in 0..LOOKS {
            if !self.is_telling.load(Acquire) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Begins a drain on a thread of its own.
    fn begin(&self, handle: Handle, grace: Duration) -> Result<(), Refusal> {
        if self.is_telling.swap(true, Relaxed) {
            let text = "the event loops are being told of a drain already; ask again";
            return Err(Refusal::new(StatusCode::CONFLICT, text));
        }
        let done = Arc::clone(&self.is_telling);
        let thread = std::thread::Builder::new().name("tidegate-drain".to_owned());
        let begun = thread.spawn(move || {
            handle.drain(grace);
            done.store(false, Release);
        });
        begun.map(drop).map_err(|error| {
            self.is_telling.store(false, Relaxed);
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, format!("cannot start a thread for it: {error}"))
        })
    }
}

async fn drain(
    State(context): State<Arc<Context>>,
    Extension(Asker(asker)): Extension<Asker>,
    uri: Uri,
    body: Result<String, StringRejection>,
) -> Result<Response, Refusal> {
    let [in_query] = query(&uri, ["grace"])?;
    let body = text_of(body)?;
    let grace = match (in_query, body.trim()) {
        (None, "") => context.settings.now().grace,
        (Some(text), "") | (None, text) => grace(text)?,
        (Some(_), _) => {
            return Err(Refusal::bad("the grace is given twice; give it behind the ? or as the body"));
        }
    };
    context.drains.told().await;
    let connections = context.handle.connections();
    context.drains.begin(context.handle.clone(), grace)?;
    info!(%asker, grace_s = grace.as_secs_f64(), "draining, as asked on the admin port");
    context.drains.told().await;
    let grace = time_text(grace);
    let text = format!(
        "draining: {connections} connections, each ends in order, within {grace} or what an earlier drain left of \
         its grace; the server ends then\n"
    );
    Ok((StatusCode::ACCEPTED, [(CONTENT_TYPE, TEXT)], text).into_response())
}

fn grace(text: &str) -> Result<Duration, Refusal> {
    let most = Duration::from_millis(DEADLINE_MS_MAX.into());
    match parse_time(text.trim_matches('"')) {
        Ok(time) if time <= most => Ok(time),
        Ok(_) => Err(Refusal::bad(format!("the grace is {text:?}, but must be at most {}", time_text(most)))),
        Err(meant) => {
            let meant = meant.map_or_else(
                || "give it as 30s or 250ms".to_owned(),
                |meant| format!("did you mean {meant}?"),
            );
            Err(Refusal::bad(format!("the grace is {text:?}, which is no duration with a unit; {meant}")))
        }
    }
}

async fn shown_log(State(context): State<Arc<Context>>) -> Result<Response, Refusal> {
    let log = context.log.as_ref().ok_or_else(no_filter)?;
    Ok(([(CONTENT_TYPE, TEXT)], log.shown() + "\n").into_response())
}

async fn change_log(
    State(context): State<Arc<Context>>,
    Extension(Asker(asker)): Extension<Asker>,
    body: Result<String, StringRejection>,
) -> Result<Response, Refusal> {
    let log = context.log.as_ref().ok_or_else(no_filter)?;
    let body = text_of(body)?;
    let wanted = body.trim();
    if wanted.is_empty() {
        return Err(Refusal::bad(
            "the body is empty; send a filter such as debug or warn,tidegate::turn=debug",
        ));
    }
    let before = log.shown();
    log.change(wanted).map_err(|why| {
        Refusal::bad(format!(
            "{wanted:?} is no filter: {why}; send one such as debug or warn,tidegate::turn=debug"
        ))
    })?;
    let now = log.shown();
    info!(%asker, before, now, "what is logged was changed on the admin port");
    Ok(([(CONTENT_TYPE, TEXT)], format!("was {before}\nnow {now}\n")).into_response())
}

/// A body that is not too long, and text.
pub(super) fn text_of(body: Result<String, StringRejection>) -> Result<String, Refusal> {
    body.map_err(|rejected| match rejected.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body has more than {ADMIN_BODY_BYTES_MAX} bytes; no answer here wants so many"),
        ),
        _ => Refusal::bad(format!("the body cannot be read: {}", rejected.body_text())),
    })
}

fn no_filter() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "this server's log has no filter that could be changed; its program may hand one to Admin::log",
    )
}
