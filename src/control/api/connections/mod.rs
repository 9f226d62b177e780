//! Which connections there are, and why the last ones ended.
//!
//! ```text
//!   request --> Wanted, or a Refusal --> every loop is asked --> what came within two seconds --> JSON, or a table
//! ```
//!
//! Always holds: one answer at a time asks the loops, and others are refused meanwhile, but for the dashboard's feed, which
//! is short and is waited for; a loop that does not answer is named, and keeps nobody from what the others say. Addresses of peers are shown. Never: a payload.

mod answer;
mod table;
mod wanted;

use super::act::text_of;
use super::query::query;
use super::refusal::TEXT;
use super::{Asker, Context, Refusal};
use crate::base::limits::{ADMIN_ASK_WITHIN, EVENTS_SHOWN, INSPECTED_MAX, LIVE_ASK_WITHIN, LIVE_TALKERS};
use crate::base::text::TEXT_BYTES_MAX;
use crate::base::{ConnId, Text};
use crate::server::{
    By, Closed, Connection, Inspection, LoopEvent, NoReport, Only, Question, Report, Status,
};
pub(in crate::control) use answer::Talkers;
use answer::{ClosedList, Dates, List, Missing, One};
use axum::extract::rejection::StringRejection;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::Serialize;
use std::cmp::Reverse;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::info;
use wanted::{As, WantedClosed, WantedList};

/// How often it is looked whether the loops have answered.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// What a peer is told that is closed here, if nobody says something else.
const CLOSED_HERE: &str = "closed by an operator";

pub(super) fn paths() -> Router<Arc<Context>> {
    Router::new()
        .route("/connections", get(list))
        .route("/connections/{id}", get(one))
        .route("/connections/{id}/close", post(close))
        .route("/closed", get(closed))
}

/// Whether somebody is asking the loops.
#[derive(Debug, Default)]
pub(in crate::control) struct Asks {
    asker: Mutex<Option<Who>>,
}

/// Who asks the loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// An answer to a request.
    Answer,
    /// The dashboard's feed.
    Feed,
}

/// The right to ask the loops; it ends with the answer, also when that is given up.
struct Asking<'a>(&'a Asks);

impl Asks {
    /// Asks now, if nobody does; or tells who does.
    fn try_begin(&self, who: Who) -> Result<Asking<'_>, Who> {
        let mut asker = self.lock();
        match *asker {
            Some(other) => Err(other),
            None => {
                *asker = Some(who);
                Ok(Asking(self))
            }
        }
    }

    /// For an answer: the feed's question is waited for, another answer's is not.
    async fn begin(&self) -> Result<Asking<'_>, Refusal> {
        let until = Instant::now() + 2 * LIVE_ASK_WITHIN;
        loop {
            match self.try_begin(Who::Answer) {
                Ok(asking) => return Ok(asking),
                Err(Who::Feed) if Instant::now() < until => tokio::time::sleep(LOOK_EVERY).await,
                Err(Who::Feed | Who::Answer) => {
                    let text = "the event loops are being asked already, and one at a time may; ask again";
                    return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, text).with(RETRY_AFTER, "1"));
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Who>> {
        self.asker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

/// The connections that have read and written most, for the dashboard: the same question as `/connections`. `None` if an
/// answer is asking the loops just now.
pub(in crate::control) async fn talkers(context: &Context) -> Option<Talkers> {
    let _asking = context.asks.try_begin(Who::Feed).ok()?;
    let question = Question::Connections { by: By::Bytes, limit: LIVE_TALKERS, only: Only::default() };
    let (mut first, mut missing) = (Vec::new(), Vec::new());
    for answer in answers(context.handle.inspect(&question), LIVE_ASK_WITHIN).await {
        match answer {
            Ok(Report::Connections { first: mut of_loop, .. }) => first.append(&mut of_loop),
            Ok(Report::Connection(_) | Report::Closed { .. }) => {}
            Err(why) => missing.push(Missing::of(&context.handle, why)),
        }
    }
    by_rank(By::Bytes, LIVE_TALKERS, &mut first);
    Some(Talkers::of(&context.handle, Dates::of(&context.handle), By::Bytes, &first, missing))
}

/// The first of them, in their order.
fn by_rank(by: By, limit: usize, connections: &mut Vec<Connection>) {
    connections.sort_by_key(|connection| (Reverse(by.rank(connection)), connection.id));
    connections.truncate(limit);
}

/// What the loops have said when all have, or when the time is over.
async fn answers(mut inspection: Inspection, within: Duration) -> Vec<Result<Report, NoReport>> {
    let until = Instant::now() + within;
    while !inspection.is_complete() && Instant::now() < until {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    inspection.into_answers()
}

/// Asks all loops. Gives the reports with the numbers of their loops, and who said nothing.
async fn ask_all(context: &Context, question: &Question) -> Result<(Vec<Report>, Vec<Missing>), Refusal> {
    let _asking = context.asks.begin().await?;
    let (mut reports, mut missing) = (Vec::new(), Vec::new());
    for answer in answers(context.handle.inspect(question), ADMIN_ASK_WITHIN).await {
        match answer {
            Ok(report) => reports.push(report),
            Err(why) => missing.push(Missing::of(&context.handle, why)),
        }
    }
    if reports.is_empty() {
        return Err(nobody_answers(&missing));
    }
    Ok((reports, missing))
}

fn nobody_answers(missing: &[Missing]) -> Refusal {
    let lines: Vec<&str> = missing.iter().map(|missing| missing.why.as_str()).collect();
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, lines.join("\n"))
}

async fn list(
    State(context): State<Arc<Context>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Refusal> {
    let WantedList { by, limit, only, shown } = WantedList::of(&uri, &headers, &context.handle)?;
    let question = Question::Connections { by, limit, only };
    let (reports, missing) = ask_all(&context, &question).await?;
    let (mut matching, mut first) = (0, Vec::with_capacity(INSPECTED_MAX));
    for report in reports {
        let Report::Connections { matching: here, first: mut of_loop } = report else { continue };
        matching += here;
        first.append(&mut of_loop);
    }
    by_rank(by, limit, &mut first);
    let list = List::of(&context.handle, Dates::of(&context.handle), by, matching, &first, missing);
    shown_as(shown, &list, table::list)
}

/// The connection of this name and what its loop remembers of it, if it is there.
async fn asked_one(context: &Context, id: ConnId) -> Result<One, Refusal> {
    let _asking = context.asks.begin().await?;
    let inspection = context
        .handle
        .inspect_one(id)
        .map_err(|error| Refusal::new(StatusCode::NOT_FOUND, error.to_string()))?;
    match answers(inspection, ADMIN_ASK_WITHIN).await.pop() {
        Some(Ok(Report::Connection(Some((connection, events))))) => {
            Ok(One::of(&context.handle, Dates::of(&context.handle), &connection, &events))
        }
        Some(Err(why)) => Err(nobody_answers(&[Missing::of(&context.handle, why)])),
        Some(Ok(Report::Connection(None) | Report::Connections { .. } | Report::Closed { .. })) | None => {
            let text = format!("there is no connection {id}; if it has ended, /closed?id={id} may know why");
            Err(Refusal::new(StatusCode::NOT_FOUND, text))
        }
    }
}

async fn one(
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Refusal> {
    let [format] = query(&uri, ["format"])?;
    let shown = As::of(format, &headers)?;
    let one = asked_one(&context, id_of(&id)?).await?;
    shown_as(shown, &one, table::one)
}

async fn closed(
    State(context): State<Arc<Context>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Refusal> {
    let WantedClosed { reason, id, limit, shown } = WantedClosed::of(&uri, &headers)?;
    // One that is looked for by its name may be any of them.
    let asked_for = if id.is_some() { usize::MAX } else { limit };
    let (reports, missing) = ask_all(&context, &Question::Closed { limit: asked_for, reason }).await?;
    let mut ends: Vec<(Closed, Vec<LoopEvent>)> = Vec::new();
    for report in reports {
        let Report::Closed { ends: of_loop, events } = report else { continue };
        let wanted = of_loop.into_iter().filter(|closed| id.is_none_or(|id| closed.last.id == id));
        ends.extend(wanted.map(|closed| (closed, events_of(&closed, &events))));
    }
    ends.sort_by_key(|(closed, _)| Reverse(closed.closed_ms));
    ends.truncate(limit);
    let list = ClosedList::of(&context.handle, Dates::of(&context.handle), &ends, missing);
    shown_as(shown, &list, table::closed)
}

/// The last events of an ended connection's life.
fn events_of(closed: &Closed, events: &[LoopEvent]) -> Vec<LoopEvent> {
    let Closed { last, closed_ms, .. } = closed;
    let concerns = |event: &&LoopEvent| event.concerns(last.id, last.opened_ms, *closed_ms);
    let mut own: Vec<LoopEvent> = events.iter().rev().filter(concerns).take(EVENTS_SHOWN).copied().collect();
    own.reverse();
    own
}

async fn close(
    State(context): State<Arc<Context>>,
    Extension(Asker(asker)): Extension<Asker>,
    Path(id): Path<String>,
    uri: Uri,
    body: Result<String, StringRejection>,
) -> Result<Response, Refusal> {
    let [] = query(&uri, [])?;
    let id = id_of(&id)?;
    let body = text_of(body)?;
    let words = match body.trim() {
        "" => CLOSED_HERE,
        words if words.len() <= TEXT_BYTES_MAX && !words.contains(char::is_control) => words,
        words => {
            return Err(Refusal::bad(format!(
                "the body is what the peer is told: one line of at most {TEXT_BYTES_MAX} bytes, and not {}",
                words.len()
            )));
        }
    };
    let One { connection, .. } = asked_one(&context, id).await?;
    let words = Text::of(format_args!("{words}"));
    context
        .handle
        .close(id, Status::INTERNAL, words.as_str())
        .map_err(|error| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    info!(%asker, conn = %id, peer = connection.peer, words = words.as_str(), "closing, as asked on the admin port");
    let text = format!("closing {id}, {}: what is due to it leaves first\n", connection.peer);
    Ok((StatusCode::ACCEPTED, [(CONTENT_TYPE, TEXT)], text).into_response())
}

fn id_of(text: &str) -> Result<ConnId, Refusal> {
    text.parse().map_err(|error| Refusal::bad(format!("{text:?}: {error}")))
}

fn shown_as<T: Serialize>(shown: As, value: &T, table: fn(&T) -> String) -> Result<Response, Refusal> {
    match shown {
        As::Text => Ok(([(CONTENT_TYPE, TEXT)], table(value)).into_response()),
        As::Json => {
            let json = serde_json::to_string_pretty(value).map_err(|error| {
                Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot be written as JSON: {error}"))
            })?;
            Ok(([(CONTENT_TYPE, "application/json")], json + "\n").into_response())
        }
    }
}
