//! What a client sends and what it is told, as values.
//!
//! Always holds: a reply owns its bytes, so it outlives the client. Never: sockets, or the order of things.

use super::Error;
use crate::wire::{Extension, Status, Tlvs, Trace};
use std::borrow::Cow;

/// One request: a route, a body, and what is said about it.
///
/// A request of which nothing is said is a plain frame; each of the methods gives it an extension block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    pub(super) route: u16,
    pub(super) body: &'a [u8],
    pub(super) extension: Option<Extension<'a>>,
}

impl<'a> Request<'a> {
    /// A plain request on `route`, `0..=16_383`.
    pub const fn new(route: u16, body: &'a [u8]) -> Request<'a> {
        Request { route, body, extension: None }
    }

    /// Its reply carries this number, any, and may overtake others. Two open requests with one number get two replies
    /// with it.
    #[must_use]
    pub fn correlation(self, id: u64) -> Request<'a> {
        self.with(|extension| extension.correlation = Some(id))
    }

    /// How long the server may take, in milliseconds; 0 is expired. The client's own timeout stays what it is.
    #[must_use]
    pub fn deadline_ms(self, ms: u32) -> Request<'a> {
        self.with(|extension| extension.deadline_ms = Some(ms))
    }

    /// No reply is wanted, and none will come, whatever becomes of the request.
    ///
    /// Say so, too, on a route that never replies (such as `discard`): there a plain request would be waited for in
    /// vain.
    #[must_use]
    pub fn one_way(self) -> Request<'a> {
        self.with(|extension| extension.one_way = true)
    }

    /// The distributed trace that it belongs to.
    #[must_use]
    pub fn trace(self, trace: Trace) -> Request<'a> {
        self.with(|extension| extension.trace = Some(trace))
    }

    /// Tags for the server and those behind it, such as an affinity key; see [`TlvWriter`](crate::wire::TlvWriter).
    #[must_use]
    pub fn tags(self, tags: Tlvs<'a>) -> Request<'a> {
        self.with(|extension| extension.tlvs = tags)
    }

    /// Its body.
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    pub(super) fn is_one_way(&self) -> bool {
        self.extension.is_some_and(|extension| extension.one_way)
    }

    pub(super) fn id(&self) -> Option<u64> {
        self.extension.and_then(|extension| extension.correlation)
    }

    fn with(mut self, set: impl FnOnce(&mut Extension<'a>)) -> Request<'a> {
        set(self.extension.get_or_insert_default());
        self
    }
}

/// How one request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// [`Status::OK`], or why it failed.
    pub status: Status,
    /// The request's own number, if it had one.
    pub correlation: Option<u64>,
    /// When to try again, in milliseconds, if the server says so.
    pub retry_after_ms: Option<u32>,
    /// What the service replied; of a failure, a text for people.
    pub body: Vec<u8>,
}

impl Reply {
    /// Whether it is the service's own reply, and no failure.
    pub fn is_ok(&self) -> bool {
        self.status == Status::OK
    }

    /// The body as text; bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// The body.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`], with status and text, if the request failed.
    pub fn into_ok(self) -> Result<Vec<u8>, Error> {
        if self.is_ok() {
            return Ok(self.body);
        }
        Err(Error::Refused { status: self.status, text: self.text().into_owned() })
    }
}

/// What the server said to a client that said HELLO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcomed {
    /// The largest body that the server takes, in bytes.
    pub payload_bytes_max: u32,
    /// How often the server looks for life, in milliseconds; 0 is never.
    pub heartbeat_ms: u32,
    /// Which server this is.
    pub server_id: String,
    /// What the client is called there.
    pub client_id: String,
}

/// The server's last words, or its wish that the client leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoAway {
    /// Why.
    pub status: Status,
    /// How long to wait before connecting again, in milliseconds; 0 is at once.
    pub reconnect_after_ms: u32,
    /// For people; may be empty.
    pub text: String,
}

/// A refusal of something that has no reply. Only clients that said HELLO are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Why.
    pub status: Status,
    /// The 16 bits in front of what was refused, as [`Header`](crate::wire::Header) reads them.
    pub header: u16,
    /// For people; may be empty.
    pub text: String,
}
