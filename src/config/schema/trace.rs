//! The keys of distributed tracing.

use super::{Form, Key, Kind, Only};
use crate::base::limits::{SPANS_PER_SECOND, SPANS_PER_SECOND_MAX};
use crate::config::value::Value;
use std::borrow::Cow;

pub(super) static TRACE: &[Key] = &[
    Key {
        name: "endpoint",
        only: Only::All,
        kind: Kind::Form(Form::Collector),
        default: Some(Value::Text(Cow::Borrowed(""))),
        meaning: "Where spans are sent: the URL of an OpenTelemetry collector that takes OTLP over HTTP, \
                  \"http://127.0.0.1:4318\"; /v1/traces is added. Empty: nothing is recorded, and the other keys have no effect.",
        why: "There is no collector that every host has.",
    },
    Key {
        name: "ratio",
        only: Only::All,
        kind: Kind::Ratio,
        default: Some(Value::Ratio(0)),
        meaning: "How many of the requests that bring no trace begin one; 0.01 is one in a hundred. Those that bring one say by \
                  its sampled flag whether they are recorded.",
        why: "Who begins a trace knows better what it is for.",
    },
    Key {
        name: "spans_per_second",
        only: Only::All,
        kind: Kind::Count { least: 1, most: SPANS_PER_SECOND_MAX as u64, word: None },
        default: Some(Value::Count(SPANS_PER_SECOND as u64)),
        meaning: "The most requests that are recorded in a second, whoever asks for it; each event loop has an equal part. The \
                  others are served like any, and counted.",
        why: "Some 0.4MB/s for the collector, and no client can cost more.",
    },
    Key {
        name: "service_name",
        only: Only::All,
        kind: Kind::Form(Form::ServiceName),
        default: Some(Value::Text(Cow::Borrowed("tidegate"))),
        meaning: "What this server is called in traces, `service.name`.",
        why: "It is what it is until there are several kinds of it.",
    },
    Key {
        name: "headers_file",
        only: Only::All,
        kind: Kind::Path,
        default: Some(Value::Text(Cow::Borrowed(""))),
        meaning: "A file with headers for the collector, one a line, `authorization: Bearer ...`. It is read at the start. Empty: \
                  there are none.",
        why: "A secret belongs into a file that only this user can read.",
    },
];
