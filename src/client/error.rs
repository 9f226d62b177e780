//! What can go wrong between a client and a server. Each says what to do, where anything can be done.

use super::GoAway;
use crate::base::Fault;
use crate::wire::{ControlError, DecodeError, ExtensionError, Status};
use std::io;
use std::time::Duration;

/// Why a client got no reply, or not the one that was wanted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address that can't be read or looked up.
    #[error("{text:?} is not an address to connect to: {why}; write it as HOST:PORT or unix:PATH")]
    Address {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// An option outside its range.
    #[error("{name} is {got}, but must lie between {least} and {most}")]
    Limit {
        /// Which.
        name: &'static str,
        /// What was given.
        got: u64,
        /// The least that is allowed.
        least: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// A client id with other characters than the protocol's.
    #[error("{text:?} is no client id; an id is 1 to 64 of A-Z a-z 0-9 _ -")]
    ClientId {
        /// What was given.
        text: String,
    },
    /// A token that no HELLO holds.
    #[error("token of {got_bytes} bytes exceeds the {limit_bytes} bytes that fit HELLO")]
    TokenTooLong {
        /// Its bytes.
        got_bytes: usize,
        /// The most that fits.
        limit_bytes: usize,
    },
    /// A route that no header holds.
    #[error("route {route} exceeds the largest route {most}")]
    Route {
        /// What was given.
        route: u16,
        /// The largest.
        most: u16,
    },
    /// A body that the server would close the connection for.
    #[error("body of {got_bytes} bytes exceeds the {limit_bytes} bytes that a server takes at most")]
    RequestTooLarge {
        /// Its bytes.
        got_bytes: usize,
        /// What the server said in WELCOME, or the protocol's own limit.
        limit_bytes: u32,
    },
    /// Tags that no extension block holds.
    #[error("tags of {got_bytes} bytes exceed the {limit_bytes} bytes that fit an extension block")]
    TagsTooLong {
        /// Their bytes.
        got_bytes: usize,
        /// The most that fits.
        limit_bytes: usize,
    },
    /// A line that is more than one.
    #[error(
        "a line must not contain a line break, and this one has one at byte {at}; send each line by itself"
    )]
    LineBreak {
        /// Where, counted from 0.
        at: usize,
    },
    /// Nothing was asked whose reply could come.
    #[error("no reply is due: send a request first, one that is not one-way")]
    NoReplyDue,
    /// As many requests wait for their replies as a client keeps count of.
    #[error("{limit} requests wait for their replies; receive some before sending more")]
    TooManyOpen {
        /// The limit.
        limit: usize,
    },
    /// The server reads no further before its replies are taken, and there is no room for more of them.
    #[error(
        "{buffered_bytes} bytes of replies wait to be received, the limit is {limit_bytes}; receive some before \
         sending more"
    )]
    Backlog {
        /// What was kept, in bytes.
        buffered_bytes: usize,
        /// The limit, in bytes.
        limit_bytes: usize,
    },
    /// Nobody could be reached.
    #[error("no connection to {address}: {}", in_words(.source))]
    Connect {
        /// Where.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// No TLS with it: it is not whom it should be, does not want us, or speaks none.
    #[error("no TLS with {address}: {why}")]
    Tls {
        /// Where.
        address: String,
        /// Why not.
        why: String,
    },
    /// It took too long. The connection is as it was: what was waited for may still come.
    #[error("no {waited_for} within {after:?}")]
    Timeout {
        /// What did not come: `connection`, `reply`, `room to send`, and so on.
        waited_for: &'static str,
        /// The timeout.
        after: Duration,
    },
    /// The server ended the connection without a word.
    #[error("the server closed the connection without a word; replies due: {open}, their outcome is unknown")]
    Closed {
        /// Requests whose replies are due.
        open: usize,
    },
    /// The server ended the connection within a frame or a line.
    #[error("the server closed the connection {got_bytes} bytes into a reply; its outcome is unknown")]
    Cut {
        /// What came of it, in bytes.
        got_bytes: usize,
    },
    /// What came is a TLS alert: the listener speaks TLS, and this client did not.
    #[error("the server speaks TLS here, and this client did not")]
    SpeaksTls,
    /// The server said why it ends the connection, or that the client should leave.
    #[error("the server sent GOAWAY: {}{}{}", .0.status, if .0.text.is_empty() { "" } else { ": " }, .0.text)]
    GoAway(GoAway),
    /// The system ended the connection.
    #[error("the connection failed: {}", in_words(.0))]
    Io(#[source] io::Error),
    /// A reply over the client's own limit. Nothing of it was kept.
    #[error("reply of {got_bytes} bytes exceeds the client's limit of {limit_bytes} bytes (reply_bytes_max)")]
    ReplyTooLarge {
        /// What the server announced; of a line, what has come of it.
        got_bytes: usize,
        /// The limit, in bytes.
        limit_bytes: u32,
    },
    /// What came is no frame.
    #[error("the server sent no frame: {0}")]
    Frame(#[from] DecodeError),
    /// What came is no control frame.
    #[error("the server sent a broken control frame: {0}")]
    Control(#[from] ControlError),
    /// What came has no extension block where one is due.
    #[error("the server sent a broken reply: {0}")]
    Extension(#[from] ExtensionError),
    /// A reply that nothing was asked for.
    #[error("the server sent {what}")]
    Unexpected {
        /// What came, and what was due.
        what: String,
    },
    /// The reply is a failure: see [`Reply::into_ok`](super::Reply::into_ok).
    #[error("the server replied {status}{}{text}", if .text.is_empty() { "" } else { ": " })]
    Refused {
        /// Why.
        status: Status,
        /// For people; may be empty.
        text: String,
    },
}

impl Error {
    /// Who has to move: nobody (it will pass), whoever broke the contract (server or caller), or this host.
    pub fn fault(&self) -> Fault {
        match self {
            Error::Address { .. }
            | Error::Limit { .. }
            | Error::ClientId { .. }
            | Error::TokenTooLong { .. }
            | Error::Route { .. }
            | Error::RequestTooLarge { .. }
            | Error::TagsTooLong { .. }
            | Error::LineBreak { .. }
            | Error::NoReplyDue
            | Error::Tls { .. }
            | Error::SpeaksTls
            | Error::ReplyTooLarge { .. }
            | Error::Frame(_)
            | Error::Control(_)
            | Error::Extension(_)
            | Error::Unexpected { .. } => Fault::Protocol,
            Error::TooManyOpen { .. }
            | Error::Backlog { .. }
            | Error::Timeout { .. }
            | Error::Closed { .. }
            | Error::Cut { .. } => Fault::Temporary,
            Error::Connect { source, .. } | Error::Io(source) => fault_of_system(source),
            Error::GoAway(GoAway { status, .. }) | Error::Refused { status, .. } => fault_of_status(*status),
        }
    }

    /// Whether the caller asked for what no server could give: nothing was sent.
    pub const fn is_misuse(&self) -> bool {
        match self {
            Error::Address { .. }
            | Error::Limit { .. }
            | Error::ClientId { .. }
            | Error::TokenTooLong { .. }
            | Error::Route { .. }
            | Error::RequestTooLarge { .. }
            | Error::TagsTooLong { .. }
            | Error::LineBreak { .. }
            | Error::NoReplyDue => true,
            Error::TooManyOpen { .. }
            | Error::Backlog { .. }
            | Error::Connect { .. }
            | Error::Tls { .. }
            | Error::Timeout { .. }
            | Error::Closed { .. }
            | Error::Cut { .. }
            | Error::SpeaksTls
            | Error::GoAway(_)
            | Error::Io(_)
            | Error::ReplyTooLarge { .. }
            | Error::Frame(_)
            | Error::Control(_)
            | Error::Extension(_)
            | Error::Unexpected { .. }
            | Error::Refused { .. } => false,
        }
    }
}

/// Those of the protocol's codes after which the same request may do better.
fn fault_of_status(status: Status) -> Fault {
    let passes = [
        Status::OVERLOADED,
        Status::UNAVAILABLE,
        Status::OUTCOME_UNKNOWN,
        Status::DEADLINE_EXCEEDED,
        Status::DRAINING,
        Status::REPLACED,
        Status::IDLE,
    ];
    if passes.contains(&status) { Fault::Temporary } else { Fault::Protocol }
}

/// A peer that is not there, or no longer, is the weather; the rest is this host's own trouble.
fn fault_of_system(error: &io::Error) -> Fault {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable,
        NetworkUnreachable, NotConnected, NotFound, TimedOut, UnexpectedEof,
    };
    let passes = [
        BrokenPipe,
        ConnectionAborted,
        ConnectionRefused,
        ConnectionReset,
        HostUnreachable,
        NetworkUnreachable,
        NotConnected,
        NotFound,
        TimedOut,
        UnexpectedEof,
    ];
    if passes.contains(&error.kind()) { Fault::Temporary } else { Fault::System }
}

/// The kind of a failure, where it has a name, without the system's number.
fn in_words(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        return "there is no such socket".to_owned();
    }
    if fault_of_system(error) == Fault::Temporary { error.kind().to_string() } else { error.to_string() }
}
