//! One connection as the kernel between client and server keeps it.
//!
//! ```text
//!   client --send--> in_flight --network--> arrived --read--> server
//!   client <--receive---------- buffered <------------write-- server
//! ```
//!
//! The server is always the one whose loop is watched. A connection that it dialed looks the same from here: the
//! client is then what it dialed.
//!
//! Always holds: readiness is noted when something arrives or space appears, and at no other time.

use crate::base::{Time, Token};
use crate::turn::Readiness;
use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};

/// How much a connection's pipes hold, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// From client to server.
    pub up: usize,
    /// From server to client.
    pub down: usize,
}

/// What became of a connection on the server's side of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It waits in the listener's queue.
    Queued,
    /// The server has it, or had it.
    Taken,
    /// It was gone before it was accepted.
    Aborted,
    /// It was told by way of the spare descriptor.
    Told,
    /// Listening ended before it was accepted.
    Refused,
    /// The server dialed it.
    Dialed,
}

/// A connection that the server dials: when it is decided, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dial {
    /// Which of the world's backends.
    pub(super) backend: usize,
    /// `None`: never.
    pub(super) decided_at: Option<Time>,
    pub(super) is_refused: bool,
    /// The poller was told.
    pub(super) is_told: bool,
    /// The server has asked, and knows.
    pub(super) is_known: bool,
}

/// Where a side's end of stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fin {
    None,
    Sent,
    Arrived,
}

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) fate: Fate,
    pub(super) token: Option<Token>,
    pub(super) pending: Readiness,
    pub(super) capacity: Capacity,
    // From client to server.
    pub(super) in_flight: VecDeque<u8>,
    pub(super) arrived: VecDeque<u8>,
    pub(super) fin: Fin,
    pub(super) up_stalled_until: Time,
    // From server to client.
    pub(super) buffered: VecDeque<u8>,
    pub(super) wants_space: bool,
    pub(super) is_shut: bool,
    pub(super) is_closed: bool,
    // Resets.
    /// The client's is on its way.
    pub(super) reset_sent: bool,
    /// The client's has arrived.
    pub(super) is_reset: bool,
    /// The next read has told of it.
    pub(super) reset_told: bool,
    /// The server's: the client has lost what it had not read.
    pub(super) is_refused: bool,
    pub(super) client_closed: bool,
    /// Of a connection that the server dialed.
    pub(super) dial: Option<Dial>,
    pub(super) figures: Figures,
}

/// What the oracle wants to know of a connection afterwards.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    /// Bytes that have arrived at the server's kernel.
    pub(super) arrived_bytes: usize,
    /// Bytes that the server has read.
    pub(super) read_bytes: usize,
    /// Of these, before it shut its side.
    pub(super) served_bytes: usize,
    /// Bytes that had arrived when the drain began.
    pub(super) drain_bytes: Option<usize>,
    pub(super) shut_at: Option<Time>,
    pub(super) closed_at: Option<Time>,
    /// Bytes that the server's reset destroyed.
    pub(super) destroyed_bytes: usize,
    /// When bytes last arrived.
    pub(super) arrived_at: Time,
    /// When the server last read, before it shut its side.
    pub(super) served_at: Option<Time>,
    /// Since when at least some byte has lain unread.
    pub(super) unread_since: Option<Time>,
    /// A read failed for no reason that the client made.
    pub(super) had_odd_error: bool,
}

impl Socket {
    pub(super) fn new(capacity: Capacity) -> Socket {
        Socket {
            fate: Fate::Queued,
            token: None,
            pending: Readiness::default(),
            capacity,
            in_flight: VecDeque::new(),
            arrived: VecDeque::new(),
            fin: Fin::None,
            up_stalled_until: Time::ZERO,
            buffered: VecDeque::new(),
            wants_space: false,
            is_shut: false,
            is_closed: false,
            reset_sent: false,
            is_reset: false,
            reset_told: false,
            is_refused: false,
            client_closed: false,
            dial: None,
            figures: Figures::default(),
        }
    }

    /// Whether bytes can pass: a connection that is being dialed is none yet.
    pub(super) fn is_connected(&self, now: Time) -> bool {
        self.dial.is_none_or(|dial| !dial.is_refused && dial.decided_at.is_some_and(|at| at <= now))
    }

    /// When the dialing is decided, if nobody was told yet.
    pub(super) fn decided_at(&self) -> Option<Time> {
        self.dial.filter(|dial| !dial.is_told && !self.is_closed).and_then(|dial| dial.decided_at)
    }

    /// The dialing is decided: an edge.
    pub(super) fn decide(&mut self) {
        let Some(dial) = self.dial.as_mut() else { return };
        dial.is_told = true;
        self.pending.writable = true;
        if dial.is_refused {
            self.pending = Readiness { readable: true, writable: true, read_closed: true, hangup: true };
        }
    }

    /// The server has nothing to do with it any more.
    pub(super) fn is_gone(&self) -> bool {
        self.is_closed || self.is_refused
    }

    pub(super) fn up_space(&self) -> usize {
        self.capacity.up.saturating_sub(self.in_flight.len() + self.arrived.len())
    }

    pub(super) fn down_space(&self) -> usize {
        self.capacity.down.saturating_sub(self.buffered.len())
    }

    /// What an initial registration finds.
    pub(super) fn readiness(&self) -> Readiness {
        if self.dial.is_some_and(|dial| !dial.is_told) {
            return Readiness::default();
        }
        let has_ended = self.fin == Fin::Arrived || self.is_reset;
        Readiness {
            readable: !self.arrived.is_empty() || has_ended,
            writable: true,
            read_closed: has_ended,
            hangup: self.is_reset,
        }
    }

    /// The first `bytes` in flight arrive: an edge, unless nothing came.
    pub(super) fn arrive(&mut self, bytes: usize, now: Time) {
        let bytes = bytes.min(self.in_flight.len());
        if bytes == 0 {
            return;
        }
        move_front(&mut self.in_flight, &mut self.arrived, bytes);
        self.figures.arrived_bytes += bytes;
        self.figures.arrived_at = now;
        self.figures.unread_since.get_or_insert(now);
        self.pending.readable = true;
    }

    /// The client's end of stream arrives.
    pub(super) fn arrive_fin(&mut self) {
        debug_assert!(self.in_flight.is_empty(), "the end comes last");
        self.fin = Fin::Arrived;
        self.pending.readable = true;
        self.pending.read_closed = true;
        self.pending.hangup |= self.is_shut;
        self.pending.writable |= self.is_shut;
    }

    /// The client's reset arrives. What had arrived before can still be read unless `purges`.
    pub(super) fn arrive_reset(&mut self, purges: bool) {
        self.is_reset = true;
        self.in_flight.clear();
        self.buffered.clear();
        if purges {
            self.arrived.clear();
        }
        self.pending = Readiness { readable: true, writable: true, read_closed: true, hangup: true };
    }

    /// Space may have appeared: an edge if a write was refused or cut, and enough is free again.
    pub(super) fn offer_space(&mut self, at_least: usize) -> bool {
        if self.wants_space && self.down_space() >= at_least.max(1).min(self.capacity.down) {
            self.wants_space = false;
            self.pending.writable = true;
            return true;
        }
        false
    }

    pub(super) fn read_into(&mut self, into: &mut [IoSliceMut<'_>], now: Time) -> usize {
        let mut total = 0;
        for slice in into {
            let count = slice.len().min(self.arrived.len());
            let (front, back) = self.arrived.as_slices();
            let first = count.min(front.len());
            slice[..first].copy_from_slice(&front[..first]);
            slice[first..count].copy_from_slice(&back[..count - first]);
            self.arrived.drain(..count);
            total += count;
        }
        self.figures.read_bytes += total;
        if self.figures.shut_at.is_none() {
            self.figures.unread_since = (!self.arrived.is_empty()).then_some(self.figures.arrived_at);
            self.figures.served_bytes += total;
            self.figures.served_at = Some(now);
        }
        total
    }

    /// Takes at most `most` of the bytes; the rest finds the pipe full.
    pub(super) fn write_from(&mut self, from: &[IoSlice<'_>], most: usize) -> usize {
        let mut left = most;
        for slice in from {
            let count = slice.len().min(left);
            self.buffered.extend(&slice[..count]);
            left -= count;
        }
        most - left
    }

    /// Takes what was sent to the client, at most `most` bytes of it.
    pub(super) fn take_buffered(&mut self, most: usize) -> Vec<u8> {
        let mut taken = VecDeque::new();
        let count = most.min(self.buffered.len());
        move_front(&mut self.buffered, &mut taken, count);
        taken.into()
    }

    /// The server is rid of it. With unread input, or input still to come, the client is reset: now, or when it
    /// arrives.
    pub(super) fn close_by_server(&mut self, now: Time) {
        self.is_closed = true;
        self.figures.closed_at = Some(now);
        if !self.arrived.is_empty() && !self.is_reset {
            self.refuse();
        }
    }

    pub(super) fn refuse(&mut self) {
        self.is_refused = true;
        self.figures.destroyed_bytes += self.buffered.len();
        self.buffered.clear();
        self.in_flight.clear();
        self.arrived.clear();
    }
}

fn move_front(from: &mut VecDeque<u8>, to: &mut VecDeque<u8>, bytes: usize) {
    let (front, back) = from.as_slices();
    let first = bytes.min(front.len());
    to.extend(&front[..first]);
    to.extend(&back[..bytes - first]);
    from.drain(..bytes);
}
