//! What the server may ask of the simulated kernel: the other half of [`SimIo`].
//!
//! Always holds: a read gives all that is there and fits, so a short one means that nothing is left; a write that
//! takes less than all is followed by an edge once there is space. Errors are those that a kernel gives.

use super::io::{SimIo, SimStream, address_of, pick};
use super::socket::{Fate, Fin};
use super::trace::{NOBODY, What};
use super::weather::Trouble;
use crate::base::{Address, Time, Token};
use crate::turn::{Accepted, Entered, Io, Readiness};
use core::net::SocketAddr;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};

/// Calls that are interrupted in a row, at most. Real signals are rarer.
const INTERRUPTED_IN_A_ROW: u32 = 2;
/// How long descriptors are short at most once the weather takes them, in microseconds.
const EXHAUSTED_US_MAX: u64 = 300_000;

impl SimIo {
    fn is_interrupted(&mut self) -> bool {
        if self.interrupted < INTERRUPTED_IN_A_ROW && self.rng.chance(self.weather.interrupted) {
            self.interrupted += 1;
            self.troubles.note(Trouble::Interrupted);
            return true;
        }
        self.interrupted = 0;
        false
    }

    fn is_out_of_descriptors(&mut self) -> bool {
        // One period at a time, with an accept between: else bad luck can lock everybody out for good.
        if self.may_exhaust && self.exhausted_until <= self.clock && self.rng.chance(self.weather.exhausted) {
            self.may_exhaust = false;
            let us = self.rng.below(EXHAUSTED_US_MAX);
            self.exhausted_until = self.clock.plus_us(us);
        }
        self.exhausted_until > self.clock || self.descriptors_left == Some(0)
    }

    fn take_descriptor(&mut self) {
        self.may_exhaust = true;
        if let Some(left) = self.descriptors_left.as_mut() {
            *left -= 1;
        }
    }
}

impl Io for SimIo {
    type Stream = SimStream;

    fn now(&mut self) -> Time {
        if self.weather.tick_us > 0 {
            self.troubles.note(Trouble::SlowTurn);
            self.advance_us(self.weather.tick_us);
        }
        self.clock
    }

    fn accept(&mut self, listener: u32) -> Accepted<SimStream> {
        if self.listeners[listener as usize].queue.is_empty() {
            return Accepted::Drained;
        }
        if self.is_out_of_descriptors() {
            self.troubles.note(Trouble::Exhausted);
            self.note(NOBODY, What::Exhausted, u64::from(listener));
            return Accepted::Exhausted(io::Error::other("too many open files"));
        }
        let Some(id) = self.listeners[listener as usize].queue.pop_front() else { return Accepted::Drained };
        self.work += 1;
        if self.rng.chance(self.weather.aborted) {
            self.troubles.note(Trouble::AbortedAccept);
            self.note(id, What::Aborted, 0);
            let socket = &mut self.sockets[id as usize];
            socket.fate = Fate::Aborted;
            socket.refuse();
            return Accepted::Aborted;
        }
        self.take_descriptor();
        self.sockets[id as usize].fate = Fate::Taken;
        self.note(id, What::Accepted, 0);
        Accepted::Stream(SimStream(id), address_of(id).into())
    }

    fn refuse(&mut self, listener: u32, farewell: &[u8]) -> bool {
        if !self.weather.has_spare {
            self.troubles.note(Trouble::NoSpare);
            return false;
        }
        let Some(id) = self.listeners[listener as usize].queue.pop_front() else { return false };
        let clock = self.clock;
        let socket = &mut self.sockets[id as usize];
        socket.fate = Fate::Told;
        let most = farewell.len().min(socket.down_space());
        socket.write_from(&[IoSlice::new(farewell)], most);
        socket.close_by_server(clock);
        self.work += 1;
        self.troubles.note(Trouble::Told);
        self.note(id, What::Refused, 0);
        true
    }

    fn close_listener(&mut self, listener: u32) {
        let state = &mut self.listeners[listener as usize];
        (state.is_closed, state.is_pending) = (true, false);
        for id in std::mem::take(&mut state.queue) {
            let socket = &mut self.sockets[id as usize];
            socket.fate = Fate::Refused;
            socket.refuse();
        }
        self.note(NOBODY, What::ListenerClosed, u64::from(listener));
    }

    fn register(&mut self, stream: &mut SimStream, token: Token) -> io::Result<()> {
        if self.rng.chance(self.weather.register_failed) {
            self.troubles.note(Trouble::RegisterFailed);
            return Err(io::Error::other("the poller is full"));
        }
        let socket = &mut self.sockets[stream.0 as usize];
        debug_assert!(socket.token.is_none(), "registered once");
        socket.token = Some(token);
        socket.pending = socket.readiness();
        self.note(stream.0, What::Registered, u64::from(token.slot));
        Ok(())
    }

    fn connect(&mut self, to: SocketAddr) -> io::Result<SimStream> {
        if self.descriptors_left == Some(0) {
            return Err(io::Error::other("too many open files"));
        }
        let stream = self.dial(to).ok_or(error(ErrorKind::ConnectionRefused))?;
        self.take_descriptor();
        self.work += 1;
        Ok(stream)
    }

    fn finish_connect(&mut self, stream: &mut SimStream) -> io::Result<bool> {
        let clock = self.clock;
        let Some(dial) = self.sockets[stream.0 as usize].dial.as_mut() else { return Ok(true) };
        if dial.decided_at.is_none_or(|at| at > clock) {
            return Ok(false);
        }
        dial.is_known = true;
        self.work += 1;
        if dial.is_refused { Err(error(ErrorKind::ConnectionRefused)) } else { Ok(true) }
    }

    fn hand_off(&mut self, stream: SimStream, _: Address, _: u32, _: usize) -> Option<SimStream> {
        Some(stream)
    }

    fn take_handed(&mut self) -> Option<(SimStream, Entered, u32)> {
        self.preempt();
        None
    }

    fn read(&mut self, stream: &mut SimStream, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        debug_assert!(into.iter().any(|slice| !slice.is_empty()), "a read of nothing says nothing");
        self.preempt();
        if self.is_interrupted() {
            self.note(stream.0, What::Interrupted, 0);
            return Err(error(ErrorKind::Interrupted));
        }
        if self.rng.chance(self.weather.odd_error) {
            self.troubles.note(Trouble::OddError);
            self.sockets[stream.0 as usize].figures.had_odd_error = true;
            self.note(stream.0, What::ReadFailed, 0);
            return Err(io::Error::other("the network card burns"));
        }
        let clock = self.clock;
        let socket = &mut self.sockets[stream.0 as usize];
        debug_assert!(!socket.is_closed, "a closed stream is not read");
        let count = socket.read_into(into, clock);
        if count > 0 {
            self.work += 1;
            self.note(stream.0, What::Read, count as u64);
            return Ok(count);
        }
        if socket.is_reset && !socket.reset_told {
            socket.reset_told = true;
            self.note(stream.0, What::ReadFailed, 1);
            return Err(error(ErrorKind::ConnectionReset));
        }
        if socket.is_reset || socket.fin == Fin::Arrived {
            self.note(stream.0, What::ReadEnd, 0);
            return Ok(0);
        }
        self.note(stream.0, What::ReadBlocked, 0);
        Err(error(ErrorKind::WouldBlock))
    }

    fn write(&mut self, stream: &mut SimStream, from: &[IoSlice<'_>]) -> io::Result<usize> {
        self.preempt();
        if self.is_interrupted() {
            self.note(stream.0, What::Interrupted, 1);
            return Err(error(ErrorKind::Interrupted));
        }
        let is_short = self.rng.chance(self.weather.short_write);
        let offered: usize = from.iter().map(|slice| slice.len()).sum();
        let socket = &mut self.sockets[stream.0 as usize];
        assert!(!socket.is_closed && !socket.is_shut, "nothing is written behind the end");
        assert!(socket.dial.is_none_or(|dial| dial.is_known), "nothing is written before it is connected");
        if socket.is_reset {
            self.note(stream.0, What::WriteFailed, offered as u64);
            return Err(error(ErrorKind::BrokenPipe));
        }
        let mut most = offered.min(socket.down_space());
        if most < offered {
            self.troubles.note(Trouble::FullPipe);
        } else if is_short && most > 1 {
            most = pick(&mut self.rng, most);
            self.troubles.note(Trouble::ShortWrite);
        }
        socket.wants_space |= most < offered;
        let count = socket.write_from(from, most);
        if socket.client_closed && count > 0 {
            // Nobody is there any more: the answer is a reset.
            socket.reset_sent = true;
        }
        if count == 0 && offered > 0 {
            self.note(stream.0, What::WriteBlocked, offered as u64);
            return Err(error(ErrorKind::WouldBlock));
        }
        self.work += 1;
        self.note(stream.0, What::Wrote, count as u64);
        Ok(count)
    }

    fn shut_write(&mut self, stream: &mut SimStream) -> io::Result<()> {
        let clock = self.clock;
        let socket = &mut self.sockets[stream.0 as usize];
        if socket.is_reset {
            return Err(error(ErrorKind::NotConnected));
        }
        socket.is_shut = true;
        socket.figures.shut_at = Some(clock);
        if socket.fin == Fin::Arrived {
            socket.pending = Readiness { readable: true, writable: true, read_closed: true, hangup: true };
        }
        self.work += 1;
        self.note(stream.0, What::Shut, 0);
        Ok(())
    }

    fn close(&mut self, stream: SimStream) {
        let clock = self.clock;
        let keeps_event = self.rng.chance(self.weather.stale);
        let socket = &mut self.sockets[stream.0 as usize];
        debug_assert!(!socket.is_closed, "closed once");
        let destroyed = socket.figures.destroyed_bytes;
        socket.close_by_server(clock);
        if socket.figures.destroyed_bytes > destroyed {
            self.troubles.note(Trouble::Destroyed);
        }
        if let Some(token) = socket.token.filter(|_| keeps_event) {
            let made_up = Readiness { readable: true, writable: true, ..Readiness::default() };
            let ready = if socket.has_event() { socket.pending } else { made_up };
            self.ghosts.push((token, ready));
        }
        let what = if socket.is_refused { What::ClosedWithReset } else { What::Closed };
        if let Some(left) = self.descriptors_left.as_mut() {
            *left += 1;
        }
        self.work += 1;
        self.note(stream.0, what, 0);
    }
}

fn error(kind: ErrorKind) -> io::Error {
    io::Error::from(kind)
}
