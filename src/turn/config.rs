//! What a loop is built with.

use super::{Board, Quotas, RouteLabel, Seats, Tracing};
use crate::base::limits::{BUDGET_BYTES_DEFAULT, Limits};
use crate::identity::Users;
use crate::mailbox::Mailbox;
use crate::service::{NoWorkers, Workers};
use crate::session::Framing;
use std::sync::Arc;

/// One listener, as a loop sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// How its streams are cut into messages.
    pub framing: Framing,
    /// Whether a peer's first message must be a HELLO that the service accepts.
    pub wants_hello: bool,
    /// The most connections that it may have, on all loops together; `None` for as many as the server has.
    pub connections_max: Option<u32>,
    /// Whether a peer must be one of the [users](TurnConfig::users); then `wants_hello` is set, too.
    pub has_users: bool,
    /// Whether its streams speak TLS.
    pub is_secure: bool,
}

impl ListenerConfig {
    /// Open to everybody.
    pub const fn new(framing: Framing) -> ListenerConfig {
        let (wants_hello, has_users) = (false, false);
        ListenerConfig { framing, wants_hello, connections_max: None, has_users, is_secure: false }
    }
}

/// What a loop is built with.
#[derive(Clone, Debug)]
pub struct TurnConfig {
    /// Which loop it is.
    pub shard: u16,
    /// The most connections at once, `1..=`[`CONNECTIONS_PER_SHARD_MAX`](crate::base::limits::CONNECTIONS_PER_SHARD_MAX).
    pub connections_max: u32,
    /// Bytes for all its buffers.
    pub budget_bytes: usize,
    /// Its listeners; a listener's token names its place here.
    pub listeners: Vec<ListenerConfig>,
    /// Which routes have handler times of their own, at most [`ROUTE_LABELS_MAX`](crate::base::limits::ROUTE_LABELS_MAX).
    pub labels: Arc<[RouteLabel]>,
    /// Bounds and deadlines.
    pub limits: Limits,
    /// For [`Cx::rng`](crate::service::Cx::rng).
    pub seed: u64,
    /// Where other threads leave letters for it.
    pub mailbox: Arc<Mailbox>,
    /// The mailboxes of all loops by their number, its own among them.
    pub peers: Vec<Arc<Mailbox>>,
    /// The connections that all loops together may have.
    pub seats: Arc<Seats>,
    /// What else they count together.
    pub quotas: Arc<Quotas>,
    /// Who does what handlers offload.
    pub workers: Arc<dyn Workers>,
    /// Where it finds what it is to go by from then on.
    pub board: Arc<Board>,
    /// Who may come in on listeners with users.
    pub users: Arc<Users>,
    /// What it records of requests that belong to traces; `None`: nothing, whatever they say.
    pub tracing: Option<Tracing>,
}

impl TurnConfig {
    /// A loop that is alone, with default limits and budget, and with a mailbox that wakes nobody: for whoever polls by
    /// hand. The rest is filled in with `..`.
    pub fn alone(connections_max: u32, listeners: Vec<ListenerConfig>) -> TurnConfig {
        let mailbox = Arc::new(Mailbox::new(|| {}));
        TurnConfig {
            shard: 0,
            connections_max,
            budget_bytes: BUDGET_BYTES_DEFAULT,
            quotas: Arc::new(Quotas::new(listeners.len())),
            listeners,
            labels: Arc::default(),
            limits: Limits::default(),
            seed: 0,
            peers: vec![Arc::clone(&mailbox)],
            mailbox,
            seats: Arc::new(Seats::new(connections_max)),
            workers: Arc::new(NoWorkers),
            board: Arc::default(),
            users: Arc::default(),
            tracing: None,
        }
    }
}
