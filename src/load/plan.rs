//! What a run has to do, resolved and checked: nothing behind it asks whether it makes sense.

use super::hello::Token;
use super::profile::Profile;
use super::report::{Arrival, Protocol};
use super::size::Sizes;
use super::sources::Sources;
use crate::net::Endpoint;
use crate::tls::Connector;
use std::sync::Arc;
use std::time::Duration;

/// All of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the server listens.
    pub target: Endpoint,
    /// Speaks TLS with it.
    pub tls: Option<Connector>,
    /// What requests are and what replies must be.
    pub talk: Talk,
    /// When requests leave.
    pub traffic: Traffic,
    /// Number of the first connection. Those before it are another process's.
    pub first: u32,
    /// Connections that send requests, at most [`CONNECTIONS_MAX`]; they come first.
    pub connections: u32,
    /// Connections that only exist, besides.
    pub idle: u32,
    /// The most requests that a connection has on their way, 1 to [`IN_FLIGHT_MAX`].
    pub in_flight: u32,
    /// How the connections are made and ended.
    pub life: Life,
    /// Kinds of bad clients, each with its share of the connections, 0 to 1 together.
    pub impaired: Vec<(Impairment, f64)>,
    /// Thrown away.
    pub warmup: Duration,
    /// Measured.
    pub duration: Duration,
    /// How long the last replies may take once nothing is sent any more.
    pub drain: Duration,
    /// How long a reply may take before its connection is given up, and a request wait before it is dropped.
    pub timeout: Duration,
    /// The most requests of one thread that may be due and wait for room; the oldest is dropped beyond.
    pub backlog: u32,
    /// Length of a part of the time series.
    pub interval: Duration,
    /// Whether the three times of each part of the series are kept, some KiB a part.
    pub keeps_times: bool,
    /// Threads that send, 1 to [`THREADS_MAX`].
    pub threads: u32,
    /// How long before a request is due the generator stops sleeping.
    pub spin: Duration,
    /// What schedule and payloads are made of.
    pub seed: u64,
}

/// The most connections of one process.
pub const CONNECTIONS_MAX: u32 = 1 << 20;

/// The most requests that a connection may have on their way.
pub const IN_FLIGHT_MAX: u32 = 1 << 16;

/// The most threads.
pub const THREADS_MAX: u32 = 256;

/// What requests are and what replies must be.
#[derive(Clone, Debug)]
pub struct Talk {
    /// Frames or lines.
    pub protocol: Protocol,
    /// Where frames go.
    pub route: u16,
    /// Bytes of a payload.
    pub sizes: Sizes,
    /// Whether each request carries a correlation.
    pub correlated: bool,
    /// What a reply must be.
    pub expect: Expect,
}

/// What a reply must be, besides readable and in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The payload of its request.
    Same,
    /// The same with its first byte XOR 1.
    Flip,
    /// Anything: replies are counted and timed, and matched by their order or their correlation alone.
    Any,
}

impl Expect {
    /// As flags and reports name it.
    pub const fn name(self) -> &'static str {
        match self {
            Expect::Same => "same",
            Expect::Flip => "flip",
            Expect::Any => "any",
        }
    }
}

/// When requests leave.
#[derive(Clone, Debug)]
pub enum Traffic {
    /// As soon as there is room on a connection.
    Closed,
    /// By the clock.
    Open {
        /// The rate over time, from the end of the warm-up on.
        profile: Arc<Profile>,
        /// How they are spaced.
        arrival: Arrival,
    },
}

/// How connections are made and ended.
#[derive(Clone, Debug)]
pub struct Life {
    /// The most that are begun in a second; absent is as many as can be.
    pub connect_rate: Option<f64>,
    /// How long one may take.
    pub connect_timeout: Duration,
    /// How long a connection lives on average before it is closed in order and made anew; absent is for ever.
    pub churn: Option<Duration>,
    /// How often all connections are reset at once and made anew; absent is never.
    pub storm: Option<Duration>,
    /// Where they come from.
    pub sources: Sources,
    /// What they say HELLO with first; absent is no HELLO.
    pub token: Option<Token>,
}

/// A kind of bad client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impairment {
    /// Reads at most so many bytes a second.
    Slow {
        /// Bytes a second.
        bytes_per_s: u32,
    },
    /// Stops in the middle of a message, once a second, for so long.
    Stall {
        /// How long.
        pause: Duration,
    },
    /// Ends its sending side after some requests, reads what is due, and begins anew.
    HalfClose {
        /// Requests before it does.
        after: u32,
    },
    /// Resets its connection with requests open, on average after so long, and begins anew.
    Reset {
        /// How long it lives on average.
        after: Duration,
    },
}

impl Impairment {
    /// As reports and flags name it.
    pub const fn name(self) -> &'static str {
        match self {
            Impairment::Slow { .. } => "slow",
            Impairment::Stall { .. } => "stall",
            Impairment::HalfClose { .. } => "half-close",
            Impairment::Reset { .. } => "reset",
        }
    }
}

impl Plan {
    /// How many connections each kind of bad client has, in the order of [`impaired`](Self::impaired): its share,
    /// rounded, and at least one.
    pub fn impaired_counts(&self) -> Vec<u32> {
        let mut left = self.connections;
        let counts = self.impaired.iter().map(|(_, share)| {
            let wanted = (f64::from(self.connections) * share).round().max(1.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and left")]
            let count = wanted.min(f64::from(left)) as u32;
            left -= count;
            count
        });
        counts.collect()
    }

    /// The class of a connection: 0 if it is not impaired, else the place of its kind in
    /// [`impaired`](Self::impaired) plus one. The first connections are the bad ones.
    pub fn class_of(&self, connection: u32) -> usize {
        let mut behind = self.first;
        for (at, count) in self.impaired_counts().into_iter().enumerate() {
            behind += count;
            if connection < behind {
                return at + 1;
            }
        }
        0
    }
}
