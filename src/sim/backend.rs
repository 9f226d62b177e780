//! Servers in the world that the service may dial, and what goes wrong with them.
//!
//! Each connection to one has a [`Conduct`] of its own, drawn when it is dialed. What it reads is held against the
//! document like anything that a client reads: whoever dials must speak like a client.

use super::codec::{self, Block, extended, frame};
use super::io::{Door, Remote, SimIo, StreamEnd, pick};
use super::model::Answer;
use super::weather::Trouble;
use crate::base::{CloseReason, Rng, Time};
use core::net::SocketAddr;
use std::collections::VecDeque;

/// A server that the service may dial.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it says to a request with this route and payload. Of [`Answer::OneOf`] it says the first.
    pub answer: fn(u16, &[u8]) -> Answer,
    /// How long an answer takes, in microseconds: at least and at most.
    pub answer_us: (u64, u64),
    /// Of 1000 connections to it, those that come to a bad end: refused, ignored, reset, left alone, garbled.
    pub trouble: u64,
}

impl Backend {
    /// One that gives every request's payload back, soon, and has no trouble.
    pub fn echo(address: SocketAddr) -> Backend {
        let answer = |_, payload: &[u8]| Answer::Reply(payload.to_vec());
        Backend { address, answer, answer_us: (0, 20_000), trouble: 0 }
    }
}

/// What one connection to a backend comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conduct {
    /// It answers everything.
    Good,
    /// It is not accepted.
    Refuses,
    /// Nothing comes of the dialing.
    Ignores,
    /// It reads, and says nothing.
    Mute,
    /// It resets after so many requests.
    Resets(u32),
    /// It says GOAWAY after so many requests, answers what it has, and closes.
    Leaves(u32),
    /// It sends nonsense after so many requests.
    Garbles(u32),
}

impl Conduct {
    pub(super) fn draw(backend: &Backend, rng: &mut Rng) -> Conduct {
        if !rng.chance(backend.trouble) {
            return Conduct::Good;
        }
        let after = u32::try_from(rng.below(6)).unwrap_or(0);
        match rng.below(6) {
            0 => Conduct::Refuses,
            1 => Conduct::Ignores,
            2 => Conduct::Mute,
            3 => Conduct::Resets(after),
            4 => Conduct::Leaves(after),
            _ => Conduct::Garbles(after),
        }
    }

    /// What the kernel does with the next attempt to dial.
    pub(super) fn door(self, backend: &Backend, rng: &mut Rng) -> Door {
        let within_us = [1, 300, 200_000][pick(rng, 3)];
        let decides_us = (self != Conduct::Ignores).then(|| rng.below(within_us));
        Door { address: backend.address, decides_us, is_refused: self == Conduct::Refuses }
    }

    fn trouble(self) -> Option<Trouble> {
        match self {
            Conduct::Good => None,
            Conduct::Refuses => Some(Trouble::DialRefused),
            Conduct::Ignores => Some(Trouble::DialIgnored),
            Conduct::Mute => Some(Trouble::BackendMute),
            Conduct::Resets(_) => Some(Trouble::BackendReset),
            Conduct::Leaves(_) => Some(Trouble::BackendLeft),
            Conduct::Garbles(_) => Some(Trouble::BackendGarbled),
        }
    }

    /// Whether a connection with it may end so, besides what the server itself may bring about.
    pub(super) fn may_end(self, why: CloseReason) -> bool {
        match self {
            Conduct::Good | Conduct::Mute => false,
            Conduct::Refuses | Conduct::Ignores => why == CloseReason::DialFailed,
            Conduct::Resets(_) => why == CloseReason::Reset,
            // What is sent to it behind its back is answered by a reset.
            Conduct::Leaves(_) => matches!(why, CloseReason::PeerClosed | CloseReason::Reset),
            Conduct::Garbles(_) => {
                matches!(why, CloseReason::BadCrc | CloseReason::WrongDirection | CloseReason::TooLarge)
            }
        }
    }
}

/// The far end of one dialed connection.
pub(super) struct Session {
    pub(super) backend: usize,
    pub(super) remote: Remote,
    pub(super) conduct: Conduct,
    rng: Rng,
    /// Received and not whole.
    tail: Vec<u8>,
    requests: u32,
    /// Answers to requests without an id, in order.
    ordered: VecDeque<(Time, Vec<u8>)>,
    /// All others.
    loose: Vec<(Time, Vec<u8>)>,
    /// On its way out.
    sending: VecDeque<u8>,
    /// PINGs that it has sent and that were not answered.
    pings: u32,
    has_left: bool,
    pub(super) is_over: bool,
}

impl Session {
    pub(super) fn new(
        backend: usize,
        remote: Remote,
        conduct: Conduct,
        io: &mut SimIo,
        rng: &mut Rng,
    ) -> Session {
        if let Some(trouble) = conduct.trouble() {
            io.troubles.note(trouble);
        }
        Session {
            backend,
            remote,
            conduct,
            rng: rng.fork(),
            tail: Vec::new(),
            requests: 0,
            ordered: VecDeque::new(),
            loose: Vec::new(),
            sending: VecDeque::new(),
            pings: 0,
            has_left: false,
            is_over: false,
        }
    }

    /// Does what there is to do now. An error is something that no client may send.
    pub(super) fn act(&mut self, io: &mut SimIo, backend: &Backend) -> Result<(), String> {
        if self.is_over || !io.is_connected(self.remote) {
            return Ok(());
        }
        let bytes = io.receive(self.remote, usize::MAX);
        self.read(&bytes, io.clock(), backend)?;
        self.misbehave(io);
        if self.is_over {
            return Ok(());
        }
        self.send(io);
        match io.stream_end(self.remote) {
            StreamEnd::Open => {}
            StreamEnd::End | StreamEnd::Reset => self.hang_up(io),
        }
        if self.has_left && self.is_idle() {
            self.hang_up(io);
        }
        Ok(())
    }

    /// When there is something to do by itself, if there is.
    pub(super) fn next_at(&self, io: &SimIo) -> Option<Time> {
        let socket = &io.sockets[self.remote.0 as usize];
        if self.is_over || !io.is_connected(self.remote) {
            return None;
        }
        let is_told = !socket.buffered.is_empty() || io.stream_end(self.remote) != StreamEnd::Open;
        let can_send = !self.sending.is_empty() && socket.up_space() > 0;
        if is_told || can_send {
            return Some(io.clock());
        }
        let answers = self.ordered.front().into_iter().chain(&self.loose);
        answers.map(|(at, _)| (*at).max(io.clock())).min()
    }

    fn is_idle(&self) -> bool {
        self.ordered.is_empty() && self.loose.is_empty() && self.sending.is_empty()
    }

    fn hang_up(&mut self, io: &mut SimIo) {
        io.hang_up(self.remote);
        self.is_over = true;
    }

    fn read(&mut self, bytes: &[u8], now: Time, backend: &Backend) -> Result<(), String> {
        let mut input = std::mem::take(&mut self.tail);
        input.extend_from_slice(bytes);
        let mut at = 0;
        while let Some((header, length)) = codec::head(&input[at..]) {
            let Some(whole) = input.get(at..at.saturating_add(length)) else { break };
            let payload =
                codec::payload(whole).ok_or_else(|| format!("a frame {header:#06x} with a wrong crc"))?;
            self.take(header, payload, now, backend)?;
            at += length;
        }
        input.drain(..at);
        self.tail = input;
        Ok(())
    }

    fn take(&mut self, header: u16, payload: &[u8], now: Time, backend: &Backend) -> Result<(), String> {
        match header & !codec::EXT {
            codec::PING => self.sending.extend(frame(codec::PONG, payload)),
            codec::PONG => self.pings = self.pings.checked_sub(1).ok_or("a PONG for nothing")?,
            codec::HELLO => {
                self.sending.extend(frame(codec::WELCOME, b"\x01\0\0\x10\0\0\0\0\0\0\x07backend\x01c"));
            }
            codec::SUBSCRIBE | codec::UNSUBSCRIBE | codec::PUBLISH => {}
            other if other & codec::CONTROL != 0 => {
                return Err(format!("{header:#06x}, which no client sends"));
            }
            route => self.answer(route, header, payload, now, backend)?,
        }
        Ok(())
    }

    fn answer(
        &mut self,
        route: u16,
        header: u16,
        payload: &[u8],
        now: Time,
        backend: &Backend,
    ) -> Result<(), String> {
        self.requests += 1;
        if self.conduct == Conduct::Mute {
            return Ok(());
        }
        let (block, body) = match header & codec::EXT {
            0 => (None, payload),
            _ => Block::read(payload).map(|(block, body)| (Some(block), body))?,
        };
        let (code, reply) = match (backend.answer)(route, body) {
            Answer::Reply(reply) => (0, reply),
            Answer::Fails(code) => (code, b"no".to_vec()),
            Answer::Silent => return Ok(()),
            Answer::OneOf { mut replies, fails } => match replies.is_empty() {
                true => (fails.first().copied().unwrap_or(0), b"no".to_vec()),
                false => (0, replies.swap_remove(0)),
            },
        };
        let (least, most) = backend.answer_us;
        let at = now.plus_us(self.rng.between(least, most));
        match block {
            Some(block) if block.is_one_way => {}
            Some(Block { correlation: Some(id), .. }) => {
                let block = Block { status: code, correlation: Some(id), ..Block::default() };
                self.loose.push((at, extended(route, &block, &reply)));
            }
            Some(_) => {
                let block = Block { status: code, ..Block::default() };
                self.ordered.push_back((at, extended(route, &block, &reply)));
            }
            None if code == 0 => self.ordered.push_back((at, frame(route, &reply))),
            None => {
                let error = [&code.to_be_bytes()[..], &reply].concat();
                self.ordered.push_back((at, frame(codec::ERROR, &error)));
            }
        }
        if self.rng.chance(100) {
            self.pings += 1;
            self.loose.push((at, frame(codec::PING, b"are you there?")));
        }
        Ok(())
    }

    /// What its conduct demands at this moment.
    fn misbehave(&mut self, io: &mut SimIo) {
        match self.conduct {
            Conduct::Resets(after) if self.requests >= after => {
                io.reset(self.remote);
                self.is_over = true;
            }
            Conduct::Leaves(after) if self.requests >= after && !self.has_left => {
                self.has_left = true;
                self.sending.extend(frame(codec::GOAWAY, b"\0\x09\0\0\0\x0agone soon"));
            }
            Conduct::Garbles(after) if self.requests == after => {
                self.requests += 1;
                let mut bad = frame(1, b"garbled");
                match self.rng.below(3) {
                    0 => bad[7] ^= 1,
                    1 => bad = frame(codec::HELLO, &codec::hello(1, 0, "", b"", &[])),
                    _ => bad[2] = 0xFF,
                }
                self.sending.extend(bad);
            }
            Conduct::Good
            | Conduct::Refuses
            | Conduct::Ignores
            | Conduct::Mute
            | Conduct::Resets(_)
            | Conduct::Leaves(_)
            | Conduct::Garbles(_) => {}
        }
    }

    fn send(&mut self, io: &mut SimIo) {
        let now = io.clock();
        while self.ordered.front().is_some_and(|(at, _)| *at <= now) {
            self.sending.extend(self.ordered.pop_front().into_iter().flat_map(|(_, bytes)| bytes));
        }
        let mut place = 0;
        while place < self.loose.len() {
            if self.loose[place].0 <= now {
                let (_, bytes) = self.loose.swap_remove(place);
                self.sending.extend(bytes);
            } else {
                place += 1;
            }
        }
        let bytes = self.sending.make_contiguous();
        let most = if self.rng.chance(300) && bytes.len() > 1 {
            1 + pick(&mut self.rng, bytes.len())
        } else {
            bytes.len()
        };
        let sent = io.send(self.remote, &bytes[..most]);
        self.sending.drain(..sent);
    }
}
