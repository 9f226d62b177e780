//! One request to the collector over HTTP/1.1, and what its answer means.
//!
//! Which answers are worth another try: OTLP specification, "OTLP/HTTP Response", "Failures" and "Retryable Response Codes".
//!
//! Always holds: a request ends within [`EXPORT_WITHIN`], whatever the collector does, and reads a bounded answer. A connection
//! is used again while it is in order. Never: a redirect followed; a header's value in an error.

use super::otlp::{PartialSuccess, Response};
use crate::base::limits::{EXPORT_ANSWER_BYTES_MAX, EXPORT_RETRY_AFTER_MAX, EXPORT_WITHIN};
use crate::trace::Collector;
use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use prost::Message;
use std::fmt;
use std::time::Duration;
use tokio::net::TcpStream;

/// How a request ended.
#[derive(Debug)]
pub(super) enum Posted {
    /// The collector has the spans, all but so many.
    Taken(PartialSuccess),
    /// It may take them later, after this time if it said so.
    Later(Option<Duration>, Trouble),
    /// It will never take them.
    Never(Trouble),
}

/// What went wrong, in words.
#[derive(Debug)]
pub(super) enum Trouble {
    Connect(std::io::Error),
    Http(hyper::Error),
    Status(StatusCode),
    TimedOut,
    NoTimeLeft,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Connect(error) => write!(f, "it can't be reached: {error}"),
            Trouble::Http(error) => write!(f, "its connection failed: {error}"),
            Trouble::Status(status) => write!(f, "it answered {status}"),
            Trouble::NoTimeLeft => f.write_str("the time for it is over"),
            Trouble::TimedOut => write!(f, "it did not answer within {} s", EXPORT_WITHIN.as_secs()),
        }
    }
}

/// Speaks to one collector.
pub(super) struct Poster {
    collector: Collector,
    headers: Vec<(HeaderName, HeaderValue)>,
    connection: Option<SendRequest<Body>>,
}

impl fmt::Debug for Poster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poster").field("collector", &self.collector).finish_non_exhaustive()
    }
}

impl Poster {
    pub(super) const fn new(collector: Collector, headers: Vec<(HeaderName, HeaderValue)>) -> Poster {
        Poster { collector, headers, connection: None }
    }

    /// Sends this body, and waits for the answer.
    pub(super) async fn post(&mut self, body: Vec<u8>) -> Posted {
        match tokio::time::timeout(EXPORT_WITHIN, self.exchange(body)).await {
            Ok(Ok(posted)) => posted,
            Ok(Err(trouble)) => self.gone(trouble),
            Err(_) => self.gone(Trouble::TimedOut),
        }
    }

    /// The connection is of no use any more.
    fn gone(&mut self, trouble: Trouble) -> Posted {
        self.connection = None;
        Posted::Later(None, trouble)
    }

    async fn exchange(&mut self, body: Vec<u8>) -> Result<Posted, Trouble> {
        let request = self.request(body);
        let connection = self.connected().await?;
        let response = connection.send_request(request).await.map_err(Trouble::Http)?;
        let (head, body) = response.into_parts();
        // What is too long says nothing that is of use here, and its connection is closed with it.
        let answer = to_bytes(Body::new(body), EXPORT_ANSWER_BYTES_MAX).await;
        if answer.is_err() {
            self.connection = None;
        }
        Ok(match head.status {
            status if status.is_success() => {
                let answer = answer.ok().and_then(|bytes| Response::decode(bytes).ok()).unwrap_or_default();
                Posted::Taken(answer.partial_success.unwrap_or_default())
            }
            status @ (StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT) => {
                Posted::Later(retry_after(&head.headers), Trouble::Status(status))
            }
            status => Posted::Never(Trouble::Status(status)),
        })
    }

    /// The connection of before, if it is in order, or a new one.
    async fn connected(&mut self) -> Result<&mut SendRequest<Body>, Trouble> {
        let is_ready = match &mut self.connection {
            Some(connection) => connection.ready().await.is_ok(),
            None => false,
        };
        if !is_ready {
            let Collector { host, port, .. } = &self.collector;
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(Trouble::Connect)?;
            let (connection, work) = http1::handshake(TokioIo::new(stream)).await.map_err(Trouble::Http)?;
            // It ends with its connection, whose failure the request hears of.
            tokio::spawn(async move { drop(work.await) });
            self.connection = Some(connection);
        }
        Ok(self.connection.as_mut().expect("made above"))
    }

    fn request(&self, body: Vec<u8>) -> Request<Body> {
        let agent = concat!("tidegate/", env!("CARGO_PKG_VERSION"));
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.collector.path.parse().expect("a collector's path is one");
        let headers = request.headers_mut();
        headers.insert(HOST, self.collector.authority().parse().expect("a host's name is a header's value"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        // Whoever needs a header of their own is right about it, but the body's type is ours to say.
        self.headers.iter().for_each(|(name, value)| drop(headers.insert(name, value.clone())));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        request
    }
}

/// How long it is worth waiting, if that is said in seconds. A date would need its clock to be ours.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(EXPORT_RETRY_AFTER_MAX))
}
