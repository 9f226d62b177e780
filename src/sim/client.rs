//! A client at work: connects, sends, reads and ends as its script says, and checks each byte that it gets.

use super::checker::{Checker, Moment};
use super::codec::{self, frame};
use super::io::{Remote, SimIo, StreamEnd, pick};
use super::model::{Answer, Request};
use super::plan::Plan;
use super::script::{Finale, Leaving, Reading, Script};
use super::trace::What;
use super::weather::Trouble;
use crate::base::{Rng, Time};
use std::ops::ControlFlow;

pub(super) struct Client {
    pub(super) script: Script,
    pub(super) checker: Checker,
    pub(super) remote: Option<Remote>,
    pub(super) sent: usize,
    /// Bytes sent for its own sake: answers to heartbeats left out.
    pub(super) said: usize,
    /// What it saw at the end; `Open` while it goes on, or if it left by itself.
    pub(super) saw: StreamEnd,
    pub(super) is_over: bool,
    /// It ended by itself, without reading to the end.
    pub(super) has_left: bool,
    reads_from: Time,
    pub(super) start: Time,
    /// Messages that the server had read at the last look, and when that number last grew.
    pub(super) whole: usize,
    pub(super) whole_at: Time,
    /// When it read the first byte of the message that is not whole.
    pub(super) partial_at: Option<Time>,
    /// When it last got something that was due.
    pub(super) answered_at: Time,
    /// When the messages of its dues had arrived.
    pub(super) arrivals: Vec<Time>,
    /// Where its last answer to a PING ends.
    pongs_end: usize,
    /// Where it stops sending because it was told to leave.
    stops_at: Option<usize>,
}

impl Client {
    pub(super) fn new(
        id: u32,
        plan: &Plan,
        rng: &mut Rng,
        model: &mut dyn FnMut(&Request<'_>) -> Answer,
    ) -> Client {
        let script = Script::draw(id, plan, rng, model);
        let start = plan.start.plus_us(script.start_us);
        let queue_bytes_max = plan.queue_bytes_max(script.listener);
        let (due, unheard) = (script.due.clone(), script.unheard.clone());
        Client {
            checker: Checker::new(script.protocol, due, unheard, queue_bytes_max),
            script,
            remote: None,
            sent: 0,
            said: 0,
            saw: StreamEnd::Open,
            is_over: false,
            has_left: false,
            reads_from: start,
            start,
            whole: 0,
            whole_at: start,
            partial_at: None,
            answered_at: start,
            arrivals: Vec::new(),
            pongs_end: 0,
            stops_at: None,
        }
    }

    /// Does what there is to do now. An error is a wrong byte.
    pub(super) fn act(&mut self, io: &mut SimIo, rng: &mut Rng, moment: &Moment<'_>) -> Result<(), String> {
        if self.is_over {
            return Ok(());
        }
        let Some(remote) = self.remote else {
            if self.start <= io.clock() {
                self.remote = Some(io.connect(self.script.listener, self.script.capacity));
                self.note_habits(io);
            }
            return Ok(());
        };
        if self.read(io, remote, rng, moment)?.is_break() {
            return Ok(());
        }
        self.heed(io, remote);
        self.send(io, remote, rng);
        self.end(io, remote);
        Ok(())
    }

    /// When there is something to do by itself, if there is.
    pub(super) fn next_at(&self, io: &SimIo) -> Option<Time> {
        if self.is_over {
            return None;
        }
        let Some(remote) = self.remote else { return Some(self.start.max(io.clock())) };
        let socket = &io.sockets[remote.0 as usize];
        let reads = self.script.reading != Reading::Never;
        let is_ended = io.stream_end(remote) != StreamEnd::Open;
        if (reads && (is_ended || !socket.buffered.is_empty())) || (!reads && socket.is_gone()) {
            return Some(self.reads_from.max(io.clock()));
        }
        let may_send = self.sent < self.may_send() && socket.up_space() > 0 && !io.has_shut(remote);
        let has_to_end = !socket.client_closed && (self.is_ready_to_end() || self.is_ready_to_leave());
        let has_to_shut = match self.script.finale {
            Finale::HalfClose | Finale::EndInside => {
                self.sent == self.script.stream.len() && !io.has_shut(remote)
            }
            Finale::Close
            | Finale::EarlyClose
            | Finale::Reset(_)
            | Finale::Fault(_)
            | Finale::Mute
            | Finale::Stay => false,
        };
        (may_send || has_to_end || has_to_shut).then(|| io.clock())
    }

    /// How much of the stream may be sent by now.
    fn may_send(&self) -> usize {
        let by_depth = self.script.may_send(self.checker.taken()).max(self.pongs_end);
        let until = self.stops_at.map_or(by_depth, |stop| by_depth.min(stop));
        match self.script.finale {
            Finale::Reset(at) => until.min(at),
            Finale::Close
            | Finale::HalfClose
            | Finale::EarlyClose
            | Finale::EndInside
            | Finale::Fault(_)
            | Finale::Mute
            | Finale::Stay => until,
        }
    }

    fn is_ready_to_end(&self) -> bool {
        let has_sent_all = self.sent == self.script.stream.len();
        match self.script.finale {
            Finale::Close => has_sent_all && self.checker.taken() == self.script.due.len(),
            Finale::EarlyClose => has_sent_all,
            Finale::Reset(at) => self.sent >= at,
            // These are done once; afterwards there is only the end to wait for.
            Finale::HalfClose | Finale::EndInside => false,
            Finale::Fault(_) | Finale::Mute | Finale::Stay => false,
        }
    }

    /// Whether it was told to leave, and has what it wants to wait for.
    fn is_ready_to_leave(&self) -> bool {
        match (self.stops_at, self.script.leaving) {
            (Some(_), Leaving::AtOnce) => true,
            (Some(stop), Leaving::WhenDone) => {
                self.sent >= stop && self.checker.taken() >= self.script.due_by(stop)
            }
            (Some(_) | None, Leaving::Never) | (None, Leaving::AtOnce | Leaving::WhenDone) => false,
        }
    }

    /// Whether the server owes this client something that it could have now.
    pub(super) fn is_owed(&self, io: &SimIo) -> Option<&'static str> {
        let remote = self.remote?;
        let socket = &io.sockets[remote.0 as usize];
        if self.is_over {
            let lingers = self.has_left && socket.token.is_some() && !socket.is_closed;
            return lingers.then_some("its connection to be closed, since it is gone");
        }
        if self.script.reading == Reading::Never || io.is_starved_of_descriptors(remote) {
            return None;
        }
        if self.checker.taken() < self.script.due_by(socket.figures.arrived_bytes) {
            return Some("replies");
        }
        let has_all = self.sent == self.script.stream.len() && socket.in_flight.is_empty();
        let expects_end = match self.script.finale {
            Finale::HalfClose | Finale::EndInside | Finale::Fault(_) => true,
            Finale::Close | Finale::EarlyClose | Finale::Reset(_) | Finale::Mute | Finale::Stay => false,
        };
        (has_all && expects_end).then_some("the end of its connection")
    }

    fn note_habits(&self, io: &mut SimIo) {
        match self.script.reading {
            Reading::Eager => {}
            Reading::Slow(..) => io.troubles.note(Trouble::SlowReader),
            Reading::Never => io.troubles.note(Trouble::NeverReads),
        }
        if self.script.finale == Finale::Mute {
            io.troubles.note(Trouble::Silence);
        }
    }

    /// Keeps the times that deadlines are judged by.
    pub(super) fn observe(&mut self, io: &SimIo) {
        let Some(remote) = self.remote else { return };
        let figures = &io.sockets[remote.0 as usize].figures;
        let arrived = self.script.due_by(figures.arrived_bytes);
        if arrived > self.arrivals.len() {
            // Not the moment of looking, which is the end of a turn.
            self.arrivals.resize(arrived, figures.arrived_at);
        }
        let read = figures.served_bytes;
        let whole = self.script.whole_by(read);
        if whole > self.whole {
            // Others may have had long handlers since, in the same turn.
            let read_at = figures.served_at.unwrap_or_else(|| io.clock());
            (self.whole, self.whole_at, self.partial_at) = (whole, read_at, None);
        }
        let end = whole.checked_sub(1).map_or(0, |last| self.script.milestones[last].end);
        if read > end && self.partial_at.is_none() {
            self.partial_at = Some(io.clock());
        }
    }

    fn read(
        &mut self,
        io: &mut SimIo,
        remote: Remote,
        rng: &mut Rng,
        moment: &Moment<'_>,
    ) -> Result<ControlFlow<()>, String> {
        let most = match self.script.reading {
            Reading::Never if io.sockets[remote.0 as usize].is_gone() => return Ok(self.leave(io, remote)),
            Reading::Never => return Ok(ControlFlow::Continue(())),
            Reading::Slow(..) if self.reads_from > io.clock() => return Ok(ControlFlow::Continue(())),
            Reading::Slow(most, pause_us) => {
                self.reads_from = io.clock().plus_us(pause_us);
                most
            }
            Reading::Eager if rng.chance(200) => 1 + pick(rng, 4_000),
            Reading::Eager => usize::MAX,
        };
        let bytes = io.receive(remote, most);
        let taken = self.checker.taken();
        self.checker.feed(&bytes, &Moment { arrivals: &self.arrivals, ..*moment })?;
        if self.checker.taken() > taken {
            self.answered_at = io.clock();
        }
        match io.stream_end(remote) {
            StreamEnd::Open => Ok(ControlFlow::Continue(())),
            end @ (StreamEnd::End | StreamEnd::Reset) => {
                self.saw = end;
                self.is_over = true;
                io.note(remote.0, if end == StreamEnd::End { What::SawEnd } else { What::SawReset }, 0);
                io.hang_up(remote);
                Ok(ControlFlow::Break(()))
            }
        }
    }

    /// Does what the server has asked it for: to answer a PING, to go elsewhere.
    fn heed(&mut self, io: &mut SimIo, remote: Remote) {
        while let Some(payload) = self.checker.pings.pop_front() {
            match self.script.message_end(self.sent) {
                Some(at) if self.script.answers_pings && !io.has_shut(remote) => {
                    let pong = frame(codec::PONG, &payload);
                    self.script.insert(at, &pong);
                    // What was put there before has moved.
                    let moved = |end: usize| if end >= at { end + pong.len() } else { end };
                    self.pongs_end = moved(self.pongs_end).max(at + pong.len());
                    self.stops_at = self.stops_at.map(moved);
                }
                Some(_) | None => io.troubles.note(Trouble::Unanswered),
            }
        }
        if self.checker.is_told_to_leave() && self.checker.drains_from.is_none() {
            self.checker.drains_from = Some(self.script.due_begun_by(self.sent));
            if self.script.leaving != Leaving::Never && !io.has_shut(remote) {
                self.stops_at = Some(self.script.message_end(self.sent).unwrap_or(self.sent));
            }
        }
    }

    fn send(&mut self, io: &mut SimIo, remote: Remote, rng: &mut Rng) {
        let until = self.may_send();
        if self.sent >= until {
            return;
        }
        let mut bytes = &self.script.stream[self.sent..until];
        if rng.chance(300) {
            bytes = &bytes[..1 + pick(rng, bytes.len())];
        }
        let count = io.send(remote, bytes);
        if self.sent >= self.pongs_end {
            self.said += count;
        }
        self.sent += count;
    }

    fn end(&mut self, io: &mut SimIo, remote: Remote) {
        if self.is_ready_to_leave() {
            let _ = self.leave(io, remote);
            return;
        }
        let has_sent_all = self.sent == self.script.stream.len();
        match self.script.finale {
            Finale::Close | Finale::EarlyClose if self.is_ready_to_end() => {
                let _ = self.leave(io, remote);
            }
            Finale::Reset(at) if self.sent >= at => {
                io.troubles.note(Trouble::Reset);
                io.reset(remote);
                (self.is_over, self.has_left) = (true, true);
            }
            Finale::HalfClose | Finale::EndInside if has_sent_all => {
                if !io.has_shut(remote) {
                    io.troubles.note(Trouble::HalfClose);
                }
                io.shut(remote);
            }
            Finale::Close | Finale::EarlyClose | Finale::Reset(_) => {}
            Finale::HalfClose | Finale::EndInside | Finale::Fault(_) | Finale::Mute | Finale::Stay => {}
        }
    }

    fn leave(&mut self, io: &mut SimIo, remote: Remote) -> ControlFlow<()> {
        io.hang_up(remote);
        (self.is_over, self.has_left) = (true, true);
        ControlFlow::Break(())
    }
}
