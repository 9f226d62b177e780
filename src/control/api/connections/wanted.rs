//! What is wanted of the connections, read from a request.
//!
//! Always holds: what is not understood is refused, with all that would be. Never: a default that depends on the value.

use super::id_of;
use crate::base::limits::{CLOSED_SHOWN_MAX, INSPECTED_MAX};
use crate::base::{CloseReason, ConnId};
use crate::control::api::Refusal;
use crate::control::api::query::query;
use crate::metrics::Gauge;
use crate::server::{By, Handle, Only};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, Uri};

/// How many are shown if nobody says.
const SHOWN: usize = 20;

/// What stands for connections that are not being read, among the states.
const PAUSED: &str = "paused";

/// What stands for connections that were dialed, among the listeners.
pub(super) const DIALED: &str = "dialed";

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum As {
    Json,
    Text,
}

impl As {
    /// As `format` says, or else what is accepted. Who accepts anything gets JSON.
    pub(super) fn of(format: Option<&str>, headers: &HeaderMap) -> Result<As, Refusal> {
        match format {
            Some("json") => Ok(As::Json),
            Some("text") => Ok(As::Text),
            Some(other) => Err(Refusal::bad(format!("format is {other:?}, but must be json or text"))),
            None => {
                let accepted =
                    headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
                let first = accepted.split(',').next().unwrap_or_default();
                let wants_text = first.split(';').next().is_some_and(|kind| kind.trim() == "text/plain");
                Ok(if wants_text { As::Text } else { As::Json })
            }
        }
    }
}

/// What `/connections` is to show.
#[derive(Debug)]
pub(super) struct WantedList {
    pub(super) by: By,
    pub(super) limit: usize,
    pub(super) only: Only,
    pub(super) shown: As,
}

impl WantedList {
    pub(super) fn of(uri: &Uri, headers: &HeaderMap, handle: &Handle) -> Result<WantedList, Refusal> {
        let names = ["by", "limit", "state", "listener", "format"];
        let [by, limit, state, listener, format] = query(uri, names)?;
        let by =
            by.map_or(Ok(By::Bytes), |name| one_of("by", name, By::ALL.iter().map(|by| (by.name(), *by))))?;
        let mut only = Only::default();
        if let Some(name) = state {
            let states = Gauge::STATES.iter().map(|state| (state.name(), Some(*state)));
            only.state = one_of("state", name, states.chain([(PAUSED, None)]))?;
            only.paused = only.state.is_none();
        }
        if let Some(name) = listener {
            let names: Vec<String> = listeners(handle).collect();
            let places = names.iter().map(String::as_str).enumerate().map(|(place, name)| (name, place));
            only.listener = Some(one_of("listener", name, places)?);
        }
        let limit = limit_of(limit, INSPECTED_MAX)?;
        Ok(WantedList { by, limit, only, shown: As::of(format, headers)? })
    }
}

/// What `/closed` is to show.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WantedClosed {
    pub(super) reason: Option<CloseReason>,
    pub(super) id: Option<ConnId>,
    pub(super) limit: usize,
    pub(super) shown: As,
}

impl WantedClosed {
    pub(super) fn of(uri: &Uri, headers: &HeaderMap) -> Result<WantedClosed, Refusal> {
        let [reason, limit, id, format] = query(uri, ["reason", "limit", "id", "format"])?;
        let reasons = || CloseReason::ALL.iter().map(|reason| (reason.name(), *reason));
        let reason = reason.map(|name| one_of("reason", name, reasons())).transpose()?;
        let id = id.map(id_of).transpose()?;
        let limit = limit_of(limit, CLOSED_SHOWN_MAX)?;
        Ok(WantedClosed { reason, id, limit, shown: As::of(format, headers)? })
    }
}

/// What listeners are called: where they are; and behind them those that were dialed.
pub(super) fn listeners(handle: &Handle) -> impl Iterator<Item = String> {
    handle.local_addrs().iter().map(ToString::to_string).chain([DIALED.to_owned()])
}

fn one_of<'a, T>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = (&'a str, T)> + Clone,
) -> Result<T, Refusal> {
    if let Some((_, found)) = known.clone().find(|(other, _)| *other == name) {
        return Ok(found);
    }
    let names: Vec<&str> = known.map(|(name, _)| name).collect();
    Err(Refusal::bad(format!("{what} is {name:?}, but must be one of {}", names.join(", "))))
}

fn limit_of(text: Option<&str>, most: usize) -> Result<usize, Refusal> {
    match text.map_or(Ok(SHOWN), str::parse) {
        Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
        Ok(_) | Err(_) => {
            let text = text.unwrap_or_default();
            Err(Refusal::bad(format!("limit is {text:?}, but must be a number from 1 to {most}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn closed_takes_what_it_knows_and_refuses_the_rest() {
        let want = |reason, limit, shown| Some(WantedClosed { reason, id: None, limit, shown });
        #[rustfmt::skip]
        let table: &[(&str, Option<WantedClosed>)] = &[
            ("/closed",                          want(None, SHOWN, As::Json)),
            ("/closed?format=text",              want(None, SHOWN, As::Text)),
            ("/closed?reason=bad_crc&limit=7",   want(Some(CloseReason::BadCrc), 7, As::Json)),
            ("/closed?limit=1000",               want(None, 1000, As::Json)),
            ("/closed?limit=1001",               None),
            ("/closed?limit=0",                  None),
            ("/closed?limit=-1",                 None),
            ("/closed?limit",                    None),
            ("/closed?reason=because",           None),
            ("/closed?id=7",                     None),
            ("/closed?format=xml",               None),
            ("/closed?by=age",                   None),
        ];
        for (uri, want) in table {
            let got = WantedClosed::of(&uri.parse().unwrap(), &HeaderMap::new());
            assert_eq!(got.as_ref().ok(), want.as_ref(), "case: {uri}");
            assert!(got.err().is_none_or(|refusal| refusal.status() == 400), "case: {uri}");
        }
    }

    #[test]
    fn text_is_for_who_asks_for_it() {
        for (accept, want) in [
            ("*/*", As::Json),
            ("text/plain", As::Text),
            ("text/plain;q=0.9, */*", As::Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", As::Json),
            ("application/json, text/plain", As::Json),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(As::of(None, &headers).ok(), Some(want), "case: {accept}");
            assert_eq!(As::of(Some("json"), &headers).ok(), Some(As::Json), "case: {accept}");
        }
    }
}
