//! One connection of a thread: its socket, where it stands, and what it still wants to send.

use super::super::link::Link;
use super::super::plan::{Impairment, Plan};
use super::super::schedule::stream;
use crate::base::Rng;
use crate::net::Stream;
use crate::tls::Secure;
use std::collections::VecDeque;

/// Where a connection stands.
///
/// `Absent -> Connecting (-> Shaking, with TLS) -> Probing -> Ready -> Retiring -> Absent`, with `HalfClosed` instead of `Retiring` for those
/// that end their sending side first, and a way back to `Absent` from everywhere. An idle one stays `Idle` instead of
/// `Ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// There is no socket.
    Absent,
    /// It is not decided whether there will be one.
    Connecting,
    /// There is a socket, and no session yet.
    Shaking,
    /// Its first request asks whether anybody answers.
    Probing,
    /// It sends what is due.
    Ready,
    /// It has answered, and sends nothing.
    Idle,
    /// It sends nothing more, and is closed when everything is answered.
    Retiring,
    /// Its sending side is ended; replies may come.
    HalfClosed,
}

impl State {
    /// Whether its requests count.
    pub(super) const fn is_live(self) -> bool {
        match self {
            State::Ready | State::Retiring | State::HalfClosed => true,
            State::Absent | State::Connecting | State::Shaking | State::Probing | State::Idle => false,
        }
    }

    /// Whether it counts as open and verified.
    pub(super) const fn is_open(self) -> bool {
        self.is_live() || matches!(self, State::Idle)
    }
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) stream: Option<Stream>,
    /// Its session, with TLS.
    pub(super) secure: Option<Box<Secure>>,
    pub(super) state: State,
    pub(super) link: Link,
    /// Due times, in nanoseconds of the run, of requests that wait for room.
    pub(super) queue: VecDeque<u64>,
    /// Sizes, and how long it lives.
    pub(super) rng: Rng,
    /// What is wrong with it.
    pub(super) impairment: Option<Impairment>,
    pub(super) is_idle: bool,
    /// Grows with every end, so that what was meant for an earlier socket is not done to a later one.
    pub(super) life: u32,
    /// When it was begun.
    pub(super) since: u64,
    /// Failures to connect in a row.
    pub(super) failures: u32,
    /// Requests of this life.
    pub(super) requests: u32,
    /// Whether it waits in the middle of a message, and when it last did.
    pub(super) is_stalled: bool,
    pub(super) stalled_at: u64,
    /// Whether the server has said that it ends it.
    pub(super) is_told_to_go: bool,
    /// Whether it was ready before the storm that is not over.
    pub(super) was_struck: bool,
}

impl Conn {
    pub(super) fn new(plan: &Plan, id: u32) -> Conn {
        let is_idle = id - plan.first >= plan.connections;
        let class = if is_idle { 0 } else { plan.class_of(id) };
        // The first fork of this stream makes the schedule.
        let mut rng = stream(plan.seed, id);
        rng.fork();
        Conn {
            stream: None,
            secure: None,
            state: State::Absent,
            link: Link::new(id, class),
            queue: VecDeque::new(),
            rng: rng.fork(),
            impairment: class.checked_sub(1).map(|at| plan.impaired[at].0),
            is_idle,
            life: 0,
            since: 0,
            failures: 0,
            requests: 0,
            is_stalled: false,
            stalled_at: 0,
            is_told_to_go: false,
            was_struck: false,
        }
    }

    /// Whether it can take one more request now.
    pub(super) fn has_room(&self, plan: &Plan) -> bool {
        self.state == State::Ready && !self.link.is_blocked() && self.link.open() < plan.in_flight
    }
}
