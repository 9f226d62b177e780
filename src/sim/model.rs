//! What a service must say, as the caller of a world knows it.

/// A request of a scripted client, as the caller's model sees it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Which client sends it.
    pub client: u32,
    /// Its place among that client's requests.
    pub sequence: u32,
    /// The route; a line's is its listener's.
    pub route: u16,
    /// The payload, without an extension block; a line's is without its end.
    pub payload: &'a [u8],
    /// The correlation that its extension block gives it, if there is one.
    pub correlation: Option<u64>,
    /// The deadline of its extension block, if there is one, in milliseconds.
    pub deadline_ms: Option<u32>,
    /// Whether its extension block says that no reply is wanted. The answer is then looked at for nothing but its
    /// statuses.
    pub is_one_way: bool,
}

/// What a service must say to a request, sooner or later.
///
/// What the server itself may say instead is known to the world, and need not be listed: that the client's deadline has
/// passed, that a reply is larger than the client takes, that the server drains, that too much waits for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A reply with this payload.
    Reply(Vec<u8>),
    /// A failure with this status; its text is not looked at. A handler that panics, or drops its
    /// [`Later`](crate::service::Later), fails with 10, INTERNAL; one that never answers with 7, OUTCOME_UNKNOWN.
    Fails(u16),
    /// Nothing. Who gave the request a correlation is told OK, with an empty payload.
    Silent,
    /// One of these replies, or one of these statuses: for what depends on more than the requests of one client.
    OneOf {
        /// Payloads.
        replies: Vec<Vec<u8>>,
        /// Statuses.
        fails: Vec<u16>,
    },
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A line, in its place.
    Line,
    /// A frame with this header, in its place.
    Plain(u16),
    /// The same with a block.
    Extended(u16),
    /// A frame with this header and this correlation, at any time.
    Correlated(u16, u64),
    /// PONG; those are in the order of their PINGs.
    Pong,
    /// ACK with this correlation, at any time.
    Ack(u64),
    /// The answer to a HELLO.
    Welcome,
}

/// One thing that is due to a client: one of some payloads, or one of some statuses.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub(super) kind: Kind,
    pub(super) replies: Vec<Vec<u8>>,
    pub(super) fails: Vec<u16>,
    /// When its client gives up.
    pub(super) deadline_ms: Option<u32>,
}

impl Due {
    pub(super) fn reply(kind: Kind, payload: Vec<u8>) -> Due {
        Due { kind, replies: vec![payload], fails: Vec::new(), deadline_ms: None }
    }

    pub(super) fn failure(kind: Kind, status: u16) -> Due {
        Due { kind, replies: Vec::new(), fails: vec![status], deadline_ms: None }
    }

    /// Whether its place among the others matters.
    pub(super) fn is_ordered(&self) -> bool {
        match self.kind {
            Kind::Line | Kind::Plain(_) | Kind::Extended(_) | Kind::Welcome => true,
            Kind::Correlated(..) | Kind::Pong | Kind::Ack(_) => false,
        }
    }

    /// Whether it answers a request: then it is DRAINING once the server drains.
    pub(super) fn is_request(&self) -> bool {
        match self.kind {
            Kind::Line | Kind::Plain(_) | Kind::Extended(_) | Kind::Correlated(..) => true,
            Kind::Welcome | Kind::Pong | Kind::Ack(_) => false,
        }
    }

    /// Bytes of its largest payload; a failure's are few.
    pub(super) fn payload_bytes(&self) -> usize {
        self.replies.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Bytes that it may come to with all that is around it.
    pub(super) fn bytes(&self) -> usize {
        self.payload_bytes() + 22
    }
}
