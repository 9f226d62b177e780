//! What the answers about connections say, field by field. The names here are the JSON's.
//!
//! Moments are told twice: as a date, for who compares them with a log, and as seconds before now. Dates are made of the
//! loops' clock and the system's as it is now, so a step of the system's clock moves them all.

use super::wanted::listeners;
use crate::server::{By, Closed, Connection, Handle, LoopEvent, NoReport, Pause, Pauses};
use serde::Serialize;
use std::time::{Duration, SystemTime};

/// Makes dates and ages of the loops' moments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dates {
    now: SystemTime,
    now_ms: u64,
}

impl Dates {
    /// As of now.
    pub(super) fn of(handle: &Handle) -> Dates {
        let now_ms = u64::try_from(handle.uptime().as_millis()).unwrap_or(u64::MAX);
        Dates { now: SystemTime::now(), now_ms }
    }

    fn date(self, at_ms: u64) -> String {
        let then = self.now.checked_sub(Duration::from_millis(self.now_ms.saturating_sub(at_ms)));
        humantime::format_rfc3339_millis(then.unwrap_or(SystemTime::UNIX_EPOCH)).to_string()
    }

    fn ago_s(self, at_ms: u64) -> f64 {
        seconds(self.now_ms.saturating_sub(at_ms))
    }
}

/// Divided, so that it is the nearest number, and is printed with three digits.
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// `/connections`.
#[derive(Debug, Serialize)]
pub(super) struct List {
    at: String,
    pub(super) by: &'static str,
    pub(super) open: u32,
    pub(super) matching: u64,
    pub(super) connections: Vec<Live>,
    pub(super) missing: Vec<Missing>,
}

impl List {
    pub(super) fn of(
        handle: &Handle,
        dates: Dates,
        by: By,
        matching: u64,
        first: &[Connection],
        missing: Vec<Missing>,
    ) -> List {
        let names: Vec<String> = listeners(handle).collect();
        List {
            at: dates.date(dates.now_ms),
            by: by.name(),
            open: handle.connections(),
            matching,
            connections: first.iter().map(|connection| Live::of(&names, dates, connection)).collect(),
            missing,
        }
    }
}

/// Those that have most of something, in the dashboard's feed.
#[derive(Debug, Serialize)]
pub(in crate::control) struct Talkers {
    at: String,
    by: &'static str,
    connections: Vec<Live>,
    missing: Vec<Missing>,
}

impl Talkers {
    pub(super) fn of(
        handle: &Handle,
        dates: Dates,
        by: By,
        first: &[Connection],
        missing: Vec<Missing>,
    ) -> Talkers {
        let names: Vec<String> = listeners(handle).collect();
        let connections = first.iter().map(|connection| Live::of(&names, dates, connection)).collect();
        Talkers { at: dates.date(dates.now_ms), by: by.name(), connections, missing }
    }
}

/// A loop that did not answer.
#[derive(Debug, Serialize)]
pub(super) struct Missing {
    #[serde(rename = "loop")]
    pub(super) shard: u16,
    pub(super) why: String,
}

impl Missing {
    /// With what is known of it from outside.
    pub(super) fn of(handle: &Handle, why: NoReport) -> Missing {
        let (NoReport::Busy { shard } | NoReport::Over { shard } | NoReport::Late { shard }) = why;
        let mut text = why.to_string();
        if let Some(state) = handle.loop_states().get(usize::from(shard))
            && let Some(turn) = state.turn
        {
            text += &format!("; its turn has been running for {} ms", turn.as_millis());
            if let Some(visiting) = state.visiting {
                text += &format!(", at connection {visiting} last");
            }
        }
        Missing { shard, why: text }
    }
}

/// A connection that is there.
#[derive(Debug, Serialize)]
pub(super) struct Live {
    pub(super) id: String,
    pub(super) peer: String,
    pub(super) listener: String,
    pub(super) client_id: Option<String>,
    pub(super) state: &'static str,
    pub(super) ending: Option<&'static str>,
    pub(super) paused: Vec<&'static str>,
    pub(super) opened: String,
    pub(super) age_s: f64,
    pub(super) idle_s: f64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) messages_in: u32,
    pub(super) input_bytes: usize,
    pub(super) queued_bytes: u32,
    pub(super) open_requests: u32,
    pub(super) rtt_us: Option<u32>,
}

impl Live {
    fn of(listeners: &[String], dates: Dates, connection: &Connection) -> Live {
        Live {
            id: connection.id.to_string(),
            peer: connection.address.to_string(),
            listener: listeners.get(connection.listener).cloned().unwrap_or_default(),
            client_id: connection.client_id.map(|id| id.to_string()),
            state: connection.state.name(),
            ending: connection.ending.map(|why| why.name()),
            paused: names_of(connection.pauses),
            opened: dates.date(connection.opened_ms),
            age_s: dates.ago_s(connection.opened_ms),
            idle_s: seconds(connection.idle_ms.into()),
            bytes_in: connection.bytes_in,
            bytes_out: connection.bytes_out,
            messages_in: connection.messages_in,
            input_bytes: connection.input_bytes,
            queued_bytes: connection.queued_bytes,
            open_requests: connection.open_requests,
            rtt_us: connection.rtt_us,
        }
    }
}

fn names_of(pauses: Pauses) -> Vec<&'static str> {
    let names = [
        (Pause::Output, "output"),
        (Pause::Memory, "memory"),
        (Pause::Slots, "slots"),
        (Pause::Rate, "rate"),
    ];
    names.into_iter().filter(|(pause, _)| pauses.has(*pause)).map(|(_, name)| name).collect()
}

/// `/connections/ID`.
#[derive(Debug, Serialize)]
pub(super) struct One {
    at: String,
    pub(super) connection: Live,
    pub(super) events: Vec<Event>,
}

impl One {
    pub(super) fn of(handle: &Handle, dates: Dates, connection: &Connection, events: &[LoopEvent]) -> One {
        let names: Vec<String> = listeners(handle).collect();
        One {
            at: dates.date(dates.now_ms),
            connection: Live::of(&names, dates, connection),
            events: events.iter().map(|event| Event::of(dates, event)).collect(),
        }
    }
}

/// Something that happened.
#[derive(Debug, Serialize)]
pub(super) struct Event {
    pub(super) at: String,
    pub(super) ago_s: f64,
    pub(super) event: &'static str,
    pub(super) number: Option<u32>,
    pub(super) unit: Option<&'static str>,
}

impl Event {
    fn of(dates: Dates, event: &LoopEvent) -> Event {
        let unit = Some(event.what.unit()).filter(|unit| !unit.is_empty());
        Event {
            at: dates.date(event.at_ms()),
            ago_s: dates.ago_s(event.at_ms()),
            event: event.what.name(),
            number: unit.map(|_| event.number),
            unit,
        }
    }
}

/// `/closed`.
#[derive(Debug, Serialize)]
pub(super) struct ClosedList {
    at: String,
    pub(super) closed: Vec<Ended>,
    pub(super) missing: Vec<Missing>,
}

impl ClosedList {
    pub(super) fn of(
        handle: &Handle,
        dates: Dates,
        ends: &[(Closed, Vec<LoopEvent>)],
        missing: Vec<Missing>,
    ) -> ClosedList {
        let names: Vec<String> = listeners(handle).collect();
        let closed = ends.iter().map(|(closed, events)| Ended::of(&names, dates, closed, events)).collect();
        ClosedList { at: dates.date(dates.now_ms), closed, missing }
    }
}

/// A connection that has ended.
#[derive(Debug, Serialize)]
pub(super) struct Ended {
    pub(super) id: String,
    pub(super) peer: String,
    pub(super) listener: String,
    pub(super) client_id: Option<String>,
    pub(super) reason: &'static str,
    pub(super) class: &'static str,
    pub(super) words: Option<String>,
    pub(super) opened: String,
    pub(super) decided: String,
    pub(super) closed: String,
    pub(super) ago_s: f64,
    pub(super) lasted_s: f64,
    pub(super) leaving_s: f64,
    pub(super) state: &'static str,
    pub(super) paused: Vec<&'static str>,
    pub(super) idle_s: f64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) messages_in: u32,
    pub(super) input_bytes: usize,
    pub(super) queued_bytes: u32,
    pub(super) open_requests: u32,
    pub(super) events: Vec<Event>,
}

impl Ended {
    fn of(listeners: &[String], dates: Dates, closed: &Closed, events: &[LoopEvent]) -> Ended {
        let Closed { last, why, words, decided_ms, closed_ms } = closed;
        let Live { id, peer, listener, client_id, state, paused, opened, .. } =
            Live::of(listeners, dates, last);
        Ended {
            id,
            peer,
            listener,
            client_id,
            reason: why.name(),
            class: why.fault().name(),
            words: Some(words.as_str().to_owned()).filter(|words| !words.is_empty()),
            opened,
            decided: dates.date(*decided_ms),
            closed: dates.date(*closed_ms),
            ago_s: dates.ago_s(*closed_ms),
            lasted_s: seconds(closed_ms.saturating_sub(last.opened_ms)),
            leaving_s: seconds(closed_ms.saturating_sub(*decided_ms)),
            state,
            paused,
            idle_s: seconds(last.idle_ms.into()),
            bytes_in: last.bytes_in,
            bytes_out: last.bytes_out,
            messages_in: last.messages_in,
            input_bytes: last.input_bytes,
            queued_bytes: last.queued_bytes,
            open_requests: last.open_requests,
            events: events.iter().map(|event| Event::of(dates, event)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_and_ages() {
        let dates = Dates { now: SystemTime::UNIX_EPOCH + Duration::from_millis(86_400_000), now_ms: 60_000 };
        assert_eq!(dates.date(60_000), "1970-01-02T00:00:00.000Z");
        assert_eq!(dates.date(59_990), "1970-01-01T23:59:59.990Z");
        assert_eq!((dates.ago_s(58_500), dates.ago_s(70_000)), (1.5, 0.0));
        assert_eq!(seconds(1_485).to_string(), "1.485");
        assert_eq!(names_of(Pauses::default()), Vec::<&str>::new());
        let mut pauses = Pauses::default();
        let _ = (pauses.set(Pause::Slots), pauses.set(Pause::Output));
        assert_eq!(names_of(pauses), ["output", "slots"]);
    }
}
