//! Spans as OTLP has them: the few messages of its protobuf that are needed, and how a span becomes one.
//!
//! Names and numbers of fields: opentelemetry-proto 1.x, `trace/v1/trace.proto`, `common/v1/common.proto`,
//! `resource/v1/resource.proto`, `collector/trace/v1/trace_service.proto`. Names of attributes: OpenTelemetry's semantic
//! conventions where they have one, else with `tidegate.` in front.
//!
//! Always holds: a span's name is one of as many as there are labels of routes, and one more. Never: a byte of a payload.

use crate::base::Address;
use crate::metrics::Outcome;
use crate::server::{Handle, OTHER_ROUTES, RouteLabel};
use crate::trace::Span;
use prost::Message;
use std::sync::Arc;

/// `ExportTraceServiceRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(message, repeated, tag = "1")]
    pub(super) resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    pub(super) resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub(super) scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub(super) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    pub(super) scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    pub(super) spans: Vec<OtlpSpan>,
}

/// `InstrumentationScope`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Scope {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
}

/// `Span`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OtlpSpan {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(super) name: String,
    #[prost(int32, tag = "6")]
    pub(super) kind: i32,
    #[prost(fixed64, tag = "7")]
    pub(super) start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    pub(super) end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    pub(super) status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    pub(super) flags: u32,
}

/// `Status`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(int32, tag = "3")]
    pub(super) code: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 3")]
    pub(super) value: Option<Value>,
}

/// The kinds of values that are used here.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Number(i64),
}

/// `ExportTraceServiceResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Response {
    #[prost(message, optional, tag = "1")]
    pub(super) partial_success: Option<PartialSuccess>,
}

/// `ExportTracePartialSuccess`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(super) rejected_spans: i64,
    #[prost(string, tag = "2")]
    pub(super) error_message: String,
}

/// `SPAN_KIND_SERVER`.
const SERVER: i32 = 2;

/// `STATUS_CODE_ERROR`.
const ERROR: i32 = 2;

/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`, and `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`: whether the parent is of another process.
const REMOTE_IS_KNOWN: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// What is the same for all spans of a server.
#[derive(Debug)]
pub(super) struct Common {
    resource: Resource,
    labels: Arc<[RouteLabel]>,
    /// By listener: its address, and its port.
    listeners: Vec<(String, Option<u16>)>,
}

impl Common {
    /// Of this server, under this name.
    pub(super) fn new(handle: &Handle, service: &str) -> Common {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let began = super::unix_now().saturating_sub(handle.uptime());
        // Of all processes, this is the only one that had this number on this host then.
        let instance = format!("{host}-{}-{}", super::process_id(), began.as_millis());
        let attributes = vec![
            text("service.name", service),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", &instance),
            text("host.name", &host),
        ];
        let address = |endpoint: &crate::server::Endpoint| match endpoint.ip() {
            Some(ip) => (ip.ip().to_string(), Some(ip.port())),
            None => (endpoint.to_string().trim_start_matches("unix:").to_owned(), None),
        };
        Common {
            resource: Resource { attributes },
            labels: handle.capacity().labels,
            listeners: handle.local_addrs().iter().map(address).collect(),
        }
    }

    /// A request with these spans. `zero` is the start of the loops' clock, in nanoseconds since the Unix epoch.
    pub(super) fn request(&self, spans: &[Span], zero: u64) -> Vec<u8> {
        let scope = Scope { name: "tidegate".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        let spans = spans.iter().map(|span| self.span(span, zero)).collect();
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
        let resource_spans = vec![ResourceSpans { resource: Some(self.resource.clone()), scope_spans }];
        Request { resource_spans }.encode_to_vec()
    }

    fn span(&self, span: &Span, zero: u64) -> OtlpSpan {
        let remote = if span.parent.is_some() { IS_REMOTE } else { 0 };
        OtlpSpan {
            trace_id: span.own.id.into(),
            span_id: span.own.parent.into(),
            parent_span_id: span.parent.map(Vec::from).unwrap_or_default(),
            name: self.name(span),
            kind: SERVER,
            start_time_unix_nano: zero.saturating_add(span.received.0 * 1000),
            end_time_unix_nano: zero.saturating_add(span.ended.0 * 1000),
            attributes: self.attributes(span),
            status: error_of(span).map(|what| Status { message: what.to_owned(), code: ERROR }),
            flags: u32::from(span.own.flags) | REMOTE_IS_KNOWN | remote,
        }
    }

    fn label(&self, span: &Span) -> Option<&RouteLabel> {
        self.labels.get(usize::from(span.label?))
    }

    /// `route 1 echo`, `route 16-31 flip`, `route other`.
    fn name(&self, span: &Span) -> String {
        match self.label(span) {
            None => format!("route {OTHER_ROUTES}"),
            Some(RouteLabel { first, last, service }) if first == last => format!("route {first} {service}"),
            Some(RouteLabel { first, last, service }) => format!("route {first}-{last} {service}"),
        }
    }

    fn attributes(&self, span: &Span) -> Vec<KeyValue> {
        let mut all = vec![text("network.protocol.name", "tidegate")];
        match span.peer {
            Address::Ip(peer) => {
                let kind = if peer.is_ipv4() { "ipv4" } else { "ipv6" };
                all.extend([text("network.transport", "tcp"), text("network.type", kind)]);
                all.extend([
                    text("network.peer.address", &peer.ip().to_string()),
                    number("network.peer.port", peer.port()),
                ]);
            }
            Address::Unix => all.push(text("network.transport", "unix")),
        }
        if let Some((address, port)) = self.listeners.get(usize::from(span.listener)) {
            all.push(text("server.address", address));
            all.extend(port.map(|port| number("server.port", port)));
        }
        all.push(number("tidegate.route", span.route));
        all.extend(self.label(span).map(|label| text("tidegate.service", &label.service)));
        all.extend([
            text("tidegate.connection", &span.connection.to_string()),
            text("tidegate.outcome", span.outcome.name()),
            text("tidegate.status", span.status.name()),
            number("tidegate.status_code", span.status.code()),
            number("tidegate.request.bytes", span.bytes_in),
            number("tidegate.reply.bytes", span.bytes_out),
            number("tidegate.wait_us", wait_us(span)),
        ]);
        all.extend(span.handler_us.map(|us| number("tidegate.handler_us", us)));
        if span.is_deferred {
            all.push(number("tidegate.deferred", 1_u8));
        }
        all.extend(span.queued_us.map(|us| number("tidegate.queue_us", us)));
        all.extend(error_of(span).map(|what| text("error.type", what)));
        all
    }
}

/// From its last byte until it was handed to the service, in microseconds.
fn wait_us(span: &Span) -> u32 {
    u32::try_from(span.started.since_us(span.received)).unwrap_or(u32::MAX)
}

/// In a word, if it ended badly.
fn error_of(span: &Span) -> Option<&'static str> {
    match span.outcome {
        _ if span.has_panicked => Some("panic"),
        Outcome::Answered | Outcome::Silent => None,
        Outcome::Failed => Some(span.status.name()),
        Outcome::Panicked | Outcome::Dropped | Outcome::TimedOut | Outcome::Abandoned => {
            Some(span.outcome.name())
        }
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::Text(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value) }
}

fn number(key: &str, value: impl Into<i64>) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(Value::Number(value.into())) }) }
}
