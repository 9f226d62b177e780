//! What a run gave, as a value: every figure that any output shows, and the file that a later run is compared with.
//!
//! Always holds: what was scheduled is either sent or dropped, and what was sent is answered, unanswered or abandoned
//! ([`Counts::balance`] checks it); a percentile without enough samples is absent, never guessed.
//! Never: how it looks. Tables, pages and logs are made from this, not beside it.

use super::histogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The number that stands at the front of every written report. It grows when a field changes its meaning.
pub const SCHEMA: u32 = 1;

/// All of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`] when it was written.
    pub schema: u32,
    /// Version of this program.
    pub version: String,
    /// The command, as it was given.
    pub command: String,
    /// When it began, in milliseconds of Unix time.
    pub began_unix_ms: u64,
    /// Where it ran.
    pub host: Host,
    /// What was asked for.
    pub asked: Asked,
    /// Whether the figures are the server's, or the generator's own limit.
    pub verdict: Verdict,
    /// Length of the measured part, in seconds.
    pub measured_s: f64,
    /// Requests and bytes of the measured part.
    pub counts: Counts,
    /// What went wrong, by class: only those that happened.
    pub troubles: BTreeMap<Trouble, u64>,
    /// Replies that were failures, by their status's name: only those that happened.
    pub statuses: BTreeMap<String, u64>,
    /// The connections, over all of the run.
    pub connections: Connections,
    /// The three times of connections without an impairment, then of each impaired kind.
    pub classes: Vec<Class>,
    /// The whole run in order, warm-up included.
    pub series: Vec<Interval>,
    /// How far the percentiles of the run's parts lie apart. Absent if there were too few parts.
    pub confidence: Option<Confidence>,
    /// The server's own figures, where its process was named.
    pub server: Option<ServerFigures>,
    /// The floor of this machine, where it was asked for.
    pub floor: Option<Floor>,
    /// The steps of a search, where it was asked for.
    pub search: Option<Search>,
    /// What was asserted, and whether it held.
    pub assertions: Vec<Assertion>,
}

/// The machine of the generator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Such as `Linux 6.18.44`.
    pub system: String,
    /// Such as `AMD EPYC`; empty if it can't be told.
    pub processor: String,
    /// Processors that the generator may use.
    pub processors: u32,
}

/// What was asked for, as the outputs tell it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Asked {
    /// Where the requests went: `HOST:PORT` or `unix:PATH`.
    pub target: String,
    /// Frames or lines.
    pub protocol: Protocol,
    /// Who decides when a request leaves.
    pub model: Model,
    /// The rate over time as it was given, such as `50k` or `10k..40k/30s`. Absent in a closed loop.
    pub profile: Option<String>,
    /// How requests of an open loop are spaced. Absent in a closed loop.
    pub arrival: Option<Arrival>,
    /// Connections that send requests.
    pub connections: u32,
    /// Connections that only exist.
    pub idle: u32,
    /// The most requests that a connection has on their way.
    pub in_flight: u32,
    /// Payload of a request as it was given, such as `64` or `16..4096`.
    pub size: String,
    /// Whether requests carry correlations.
    pub correlated: bool,
    /// What replies are compared with.
    pub expect: String,
    /// Impairments as they were given, such as `slow=5%,reset=1%`; empty if none.
    pub impair: String,
    /// What the schedule and the payloads are made of.
    pub seed: u64,
    /// Threads that send.
    pub threads: u32,
    /// Processes that hold connections.
    pub processes: u32,
    /// Seconds that are thrown away.
    pub warmup_s: f64,
    /// Seconds that are measured.
    pub duration_s: f64,
}

/// How messages are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// With length and CRC.
    Frames,
    /// Text lines.
    Lines,
}

/// Who decides when a request leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Model {
    /// The clock. A slow reply delays nothing, and requests that are late count from when they were due.
    Open,
    /// The reply before it. A slow server is asked less often, so its latencies look better than a user's.
    Closed,
}

/// How requests of an open loop are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// As from many independent users: exponential gaps.
    Poisson,
    /// Evenly.
    Constant,
}

/// Requests and bytes. `scheduled = sent + dropped` and `sent = answered + unanswered + abandoned`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests that were due.
    pub scheduled: u64,
    /// Requests that were written to a socket, whole or in part.
    pub sent: u64,
    /// Requests whose reply came, right or wrong.
    pub answered: u64,
    /// Requests that were sent and have no reply. Each is in the response histogram with how long it was waited for.
    pub unanswered: u64,
    /// Requests that were sent on a connection which was then ended by plan: churn, storms, resets.
    pub abandoned: u64,
    /// Requests that were due and never sent: they waited longer than a reply may take, or the run was over.
    pub dropped: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Bytes read.
    pub bytes_in: u64,
}

impl Counts {
    /// Whether every request has exactly one fate.
    pub const fn balance(&self) -> bool {
        self.scheduled == self.sent + self.dropped
            && self.sent == self.answered + self.unanswered + self.abandoned
    }

    /// Adds what another part of the run counted.
    pub const fn add(&mut self, other: &Counts) {
        self.scheduled += other.scheduled;
        self.sent += other.sent;
        self.answered += other.answered;
        self.unanswered += other.unanswered;
        self.abandoned += other.abandoned;
        self.dropped += other.dropped;
        self.bytes_out += other.bytes_out;
        self.bytes_in += other.bytes_in;
    }
}

macro_rules! troubles {
    ($($(#[$doc:meta])* $variant:ident $name:literal $wrong:literal),+ $(,)?) => {
        /// What can go wrong. A connection's end is one event, however many requests were open on it; those are
        /// [`Counts::unanswered`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Trouble {
            $($(#[$doc])* $variant,)+
        }

        impl Trouble {
            /// All of them, in the order in which they are told.
            pub const ALL: &'static [Trouble] = &[$(Trouble::$variant),+];

            /// In words, for a table.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Trouble::$variant => $name,)+
                }
            }

            /// Whether a right server can never cause it, however much it is loaded.
            pub const fn is_wrong(self) -> bool {
                match self {
                    $(Trouble::$variant => $wrong,)+
                }
            }
        }
    };
}

troubles! {
    /// Nobody listens.
    ConnectRefused "connection refused" false,
    /// Not decided within the time for connecting.
    ConnectTimeout "connect timed out" false,
    /// Any other failure to connect, such as no descriptors or no free port.
    ConnectFailed "connect failed" false,
    /// The peer reset the connection.
    Reset "reset by the server" false,
    /// The server closed in order while requests were open.
    Closed "closed with requests open" false,
    /// The server closed in the middle of a reply.
    Cut "reply cut short" true,
    /// The server said that it ends the connection.
    GoAway "server said go away" false,
    /// No reply came in time. The connection was given up.
    Timeout "no reply in time" false,
    /// A reply's bytes are no message: too long, an unknown control frame, a broken block.
    Decode "reply can't be read" true,
    /// The sum at a reply's end is wrong.
    Crc "reply with wrong crc" true,
    /// A reply has the right place and the wrong bytes or the wrong route.
    Mismatch "reply with wrong content" true,
    /// A request was answered once more.
    Duplicate "answered twice" true,
    /// Without a correlation, a later request was answered first.
    OutOfOrder "answered out of order" true,
    /// Later requests of the connection were answered, this one never.
    Missing "skipped, never answered" true,
    /// A reply that no request asked for.
    Unexpected "reply to no request" true,
    /// A reply with a status other than OK.
    Status "answered with a failure" false,
}

/// The connections of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Connections {
    /// How many there should be at once, idle ones included.
    pub wanted: u32,
    /// Attempts.
    pub attempted: u64,
    /// Attempts that connected.
    pub established: u64,
    /// Connections that have answered at least once.
    pub verified: u64,
    /// Connections that ended against the plan.
    pub lost: u64,
    /// Connections that were ended by plan: churn, storms, impairments.
    pub retired: u64,
    /// The most that were open at once.
    pub open_max: u32,
    /// Seconds until all that were wanted were open and verified. Absent if that never came.
    pub ramp_s: Option<f64>,
    /// From the attempt to the first byte that can be sent, in nanoseconds.
    pub connect: Histogram,
    /// From the start of a reconnect storm until every connection had answered again, in nanoseconds.
    pub recovery: Histogram,
}

impl Connections {
    /// Adds those of another part of the run, or of another process.
    pub fn add(&mut self, other: &Connections) {
        self.wanted += other.wanted;
        self.attempted += other.attempted;
        self.established += other.established;
        self.verified += other.verified;
        self.lost += other.lost;
        self.retired += other.retired;
        self.open_max += other.open_max;
        self.ramp_s = self.ramp_s.zip(other.ramp_s).map(|(ours, theirs)| ours.max(theirs));
        self.connect.add(&other.connect);
        self.recovery.add(&other.recovery);
    }
}

/// The three times of one kind of connection, in nanoseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Class {
    /// `plain`, `slow`, `stall`, `half-close`, `reset`.
    pub name: String,
    /// Connections of this kind.
    pub connections: u32,
    /// From when the request was due. What a user would have seen. Unanswered ones are in it with the time waited;
    /// replies that are failures or wrong are in none of the three.
    pub response: Histogram,
    /// From when the request was written.
    pub service: Histogram,
    /// From when it was due until it was written.
    pub lag: Histogram,
    /// Samples of `response` that are lower bounds: requests that were never answered.
    pub censored: u64,
}

/// A part of the run, usually a second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// When it began, in seconds from the run's start.
    pub at_s: f64,
    /// How long it was, in seconds.
    pub length_s: f64,
    /// Whether it counts: false in the warm-up and while waiting for the last replies.
    pub measured: bool,
    /// Requests that came due.
    pub scheduled: u64,
    /// Requests written.
    pub sent: u64,
    /// Replies.
    pub answered: u64,
    /// Requests given up on before they were sent.
    pub dropped: u64,
    /// Events of all classes of trouble.
    pub troubles: u64,
    /// Requests on their way at its end.
    pub in_flight: u64,
    /// Connections open at its end.
    pub open: u32,
    /// Response time of the replies of this part, in nanoseconds; absent if there were none.
    pub p50_ns: Option<u64>,
    /// The same at 99 %.
    pub p99_ns: Option<u64>,
    /// The same at 99.9 %.
    pub p999_ns: Option<u64>,
    /// The longest.
    pub max_ns: Option<u64>,
    /// Share of the interval in which the busiest thread of the generator had something to do, 0 to 1.
    pub busy: f64,
}

/// Whether the run says something of the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Why the generator was the limit. Empty if the run is valid.
    pub void_because: Vec<String>,
    /// What a reader should know although the run is valid.
    pub notes: Vec<String>,
    /// What it was judged by.
    pub own: OwnFigures,
}

impl Verdict {
    /// Whether the figures are the server's.
    pub const fn is_valid(&self) -> bool {
        self.void_because.is_empty()
    }
}

/// What the generator measures of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OwnFigures {
    /// Share of the measured time in which the busiest thread had something to do, 0 to 1. Spinning for a request
    /// that is not due yet is not counted.
    pub busy: f64,
    /// Share of the measured time in which a thread was ready and had no processor, the worst of all. Absent where
    /// the system does not tell.
    pub waited: Option<f64>,
    /// Median of the next: how late requests were sent that could have been sent, in nanoseconds.
    pub late_p50_ns: Option<u64>,
    /// 99th percentile of how late requests were sent that could have been sent, in nanoseconds: what the server's
    /// slowness has no part in. Absent in a closed loop.
    pub late_p99_ns: Option<u64>,
    /// The worst of the same.
    pub late_max_ns: Option<u64>,
    /// Longest stretch between two looks at the sockets, in nanoseconds.
    pub turn_max_ns: u64,
    /// Sent over scheduled, 0 to 1. Absent in a closed loop.
    pub achieved: Option<f64>,
}

/// How sure the percentiles are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confidence {
    /// Equal parts of the measured time that were compared.
    pub parts: u32,
    /// Half width of the 95 % interval around the mean of the parts, for each percentile that has enough samples.
    pub percentiles: Vec<Spread>,
    /// Median response of the second half over that of the first. Far from 1: the run was not in a steady state.
    pub drift: f64,
}

/// One percentile over the parts of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Such as 99.9.
    pub percentile: f64,
    /// Mean of the parts, in nanoseconds.
    pub mean_ns: f64,
    /// Half width of the 95 % interval, in nanoseconds.
    pub plus_minus_ns: f64,
}

/// What the system tells of the server's process over the measured time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerFigures {
    /// Its number.
    pub pid: u32,
    /// Processor time of all its threads, in seconds.
    pub cpu_s: f64,
    /// Processor time a reply, in nanoseconds.
    pub cpu_ns_per_message: f64,
    /// Share of the measured time in which its busiest thread ran, 0 to 1.
    pub busiest: f64,
    /// Resident memory at the end, in bytes.
    pub rss_bytes: u64,
}

/// The same load against a bare byte echo on the same machine, in turns with the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// Rounds: a part against the server, and one against the floor.
    pub rounds: u32,
    /// Server over floor, the medians over the rounds with their range.
    pub ratios: Vec<Ratio>,
}

/// One figure of the server over the same of the floor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Such as `p50`, `p99`, `rate`, `cpu a message`.
    pub figure: String,
    /// The server's, median over rounds, in its own unit.
    pub server: f64,
    /// The floor's.
    pub floor: f64,
    /// Median of the rounds' ratios.
    pub ratio: f64,
    /// Least of them.
    pub least: f64,
    /// Most of them.
    pub most: f64,
}

/// The search for the highest rate at which a condition holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// The condition as it was given.
    pub condition: String,
    /// The highest rate at which it held, requests a second. Absent if it held nowhere.
    pub held: Option<f64>,
    /// The lowest rate above it at which it did not. Absent if it held everywhere: then the generator or the
    /// given maximum was the end.
    pub failed: Option<f64>,
    /// How often the condition was tried at `held`, and how often it held.
    pub confirmed: (u32, u32),
    /// Every try in order.
    pub tries: Vec<Try>,
}

/// One try of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Try {
    /// Requests a second.
    pub rate: f64,
    /// Whether the condition held.
    pub held: bool,
    /// Why not, or the figure that held.
    pub because: String,
    /// Whether the generator was the limit; then it counts as not held.
    pub void: bool,
    /// 99th percentile of its response times, in nanoseconds; absent if there were too few samples.
    pub p99_ns: Option<u64>,
}

/// Something that was asserted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assertion {
    /// As it was given, such as `p99<2ms`.
    pub text: String,
    /// Whether it held. Absent if there were too few samples to say.
    pub held: Option<bool>,
    /// The figure, such as `p99 is 1.84 ms`.
    pub found: String,
}
