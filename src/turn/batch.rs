//! One batch: messages out of an input, replies into the outbox, until the input or a budget ends.
//!
//! The service is called here and nowhere else with a request, and its panics end here: the batch goes on behind the
//! request whose handler panicked. An answer that it had given stands; without one, the answer is INTERNAL.
//!
//! Always holds: a message is handed over once, whole and verified, and every request that was handed over is
//! answered, failed, silenced or deferred when the batch goes on. Never: a socket.

mod control;

use crate::base::limits::{BATCH_US_MAX, FRAMES_PER_BATCH, FRAMES_PER_CLOCK_READ};
use crate::base::{CloseReason, ConnId, Ms, Rng, Text, Time};
use crate::mailbox::Mailbox;
use crate::service::{Cx, Desk, Effects, Frame, Incoming, Replied, Reply, Service};
use crate::session::{Envelope, Framing, Greeting, Protocol, ReplyTo, Role, Source, Step};
use crate::wire::frame::{PREFIX_BYTES, TRAILER_BYTES};
use crate::wire::{Control, Header, Status, Unsupported};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What the replies of a batch may come to, should the socket take none of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Bytes after which the batch stops.
    pub(super) bytes: usize,
    /// Memory is short: a message whose reply may not fit (it is taken to be as large as the request) must wait.
    pub(super) is_short: bool,
}

/// One batch of one connection; it may run over two inputs, one behind the other.
pub(super) struct Batch<'a, S: Service> {
    pub(super) service: &'a mut S,
    pub(super) conn: &'a mut S::Conn,
    pub(super) greeting: &'a mut Option<Box<Greeting>>,
    pub(super) desk: &'a mut Desk,
    pub(super) effects: &'a mut Effects,
    pub(super) mailbox: &'a Arc<Mailbox>,
    pub(super) rng: &'a mut Rng,
    pub(super) framing: Framing,
    pub(super) id: ConnId,
    pub(super) now: Time,
    /// When the input was read.
    pub(super) arrived: Ms,
    /// Reads the clock.
    pub(super) clock: &'a mut dyn FnMut() -> Time,
    pub(super) room: Room,
    pub(super) counts: Counts,
    pub(super) rules: Rules,
    /// Where the message in hand begins and ends.
    pub(super) hand: (usize, usize),
}

/// What holds for a connection's messages beyond its framing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Requests that may be open.
    pub(super) open_max: usize,
    /// No message has come yet.
    pub(super) is_fresh: bool,
    /// The first message must be a HELLO that is accepted.
    pub(super) wants_hello: bool,
    /// The server drains: a peer that says HELLO now is told to go elsewhere at once.
    pub(super) is_draining: bool,
    /// Requests are answered DRAINING: the peer was told to go elsewhere.
    pub(super) is_leaving: bool,
    /// Messages are not simply started: that, or they are what a dialed server says.
    pub(super) is_unusual: bool,
    /// What peers that say HELLO are told, in milliseconds; 0 for none.
    pub(super) heartbeat_ms: u32,
}

/// What a batch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Whole, valid messages.
    pub(super) frames: u32,
    /// Of these, what is no request.
    pub(super) others: u32,
    pub(super) unasked_pongs: u32,
    /// Heartbeats that were answered, and how long that took.
    pub(super) pongs: u32,
    pub(super) rtt_us: u32,
    pub(super) welcomed: u32,
    /// Messages whose handler panicked.
    pub(super) panics: u32,
    /// Of these, the ones that had not been answered, and were answered INTERNAL.
    pub(super) answered_for: u32,
}

impl Counts {
    /// Requests that were handed to the service.
    pub(super) const fn started(&self) -> u32 {
        self.frames - self.others
    }
}

/// Why a batch ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stop {
    /// The input holds no further whole message; it must grow to `bytes` (0: unknown).
    NeedMore { bytes: usize },
    /// A budget ended: frames, time, room for replies, open requests. There may be more whole messages.
    Budget,
    /// Memory is short, and the reply to what comes next may not fit what is left.
    Starved,
    /// The peer broke the protocol with what comes next.
    Fault(CloseReason),
}

impl<S: Service> Batch<'_, S> {
    /// Handles messages from `input`, which begins where a message begins. Gives what was used up, and why it ended.
    ///
    /// `scanned` leading bytes are known to hold no line end.
    #[inline]
    pub(super) fn run(&mut self, input: &[u8], source: Source, scanned: usize) -> (usize, Stop) {
        if self.rules.wants_hello
            && let Some(stop) = self.check_first(input)
        {
            return (0, stop);
        }
        let (mut at, mut scanned) = (0, scanned);
        loop {
            // The service may be torn afterwards: `Service::on_panic` says what becomes of it.
            match catch_unwind(AssertUnwindSafe(|| self.run_until_panic(input, source, at, scanned))) {
                Ok(ran) => return ran,
                Err(_panic) => {
                    at = self.answer_for_panicked(input);
                    scanned = 0;
                    if self.is_unspeakable() {
                        return (at, Stop::Fault(CloseReason::RequestFailed));
                    }
                    if self.is_spent() {
                        return (at, Stop::Budget);
                    }
                }
            }
        }
    }

    /// Whether a request failed where there is no way to say so.
    #[inline]
    fn is_unspeakable(&self) -> bool {
        self.framing.protocol == Protocol::Bare && self.desk.outbox.unheard().is_some()
    }

    #[inline]
    fn run_until_panic(
        &mut self,
        input: &[u8],
        source: Source,
        start: usize,
        mut scanned: usize,
    ) -> (usize, Stop) {
        let mut at = start;
        loop {
            let rest = &input[at..];
            match self.framing.next(rest, scanned, self.desk.outbox.crc()) {
                Step::Message { used, .. }
                    if self.room.is_short && self.desk.outbox.bytes() + used > self.room.bytes =>
                {
                    return (at, Stop::Starved);
                }
                Step::Message { to, block, payload, is_special, used } => {
                    self.hand = (at, at + used);
                    let frame = self.frame(to, block, payload, source, used);
                    at += used;
                    let is_unusual = is_special || self.rules.is_unusual;
                    if !is_unusual || self.is_started(frame, to) {
                        // The one call of a handler, so that it can become a part of this loop.
                        let Replied { .. } = self.request(frame, to);
                        if is_unusual {
                            self.desk.deadline_ms = None;
                        }
                    }
                }
                Step::Ping { payload, used } => {
                    self.desk.outbox.control(&Control::Pong(payload));
                    self.counts.others += 1;
                    at += used;
                }
                Step::Pong { payload, used } => {
                    self.pong(payload);
                    self.counts.others += 1;
                    at += used;
                }
                Step::Control { header, payload, used } => {
                    self.hand = (at, at + used);
                    self.counts.others += 1;
                    if let Err(why) = self.control(header, payload) {
                        self.counts.others -= 1;
                        return (at, Stop::Fault(why));
                    }
                    at += used;
                }
                Step::NeedMore { bytes } => return (at, Stop::NeedMore { bytes }),
                Step::Fault(why) => return (at, Stop::Fault(why)),
            }
            scanned = 0;
            self.counts.frames += 1;
            if self.is_unspeakable() {
                return (at, Stop::Fault(CloseReason::RequestFailed));
            }
            if self.is_spent() {
                return (at, Stop::Budget);
            }
        }
    }

    #[inline(always)]
    fn frame<'f>(
        &self,
        to: ReplyTo,
        block: &'f [u8],
        payload: &'f [u8],
        source: Source,
        used: usize,
    ) -> Frame<'f> {
        let (before, envelope, is_full) = match self.framing.protocol {
            Protocol::Frame => (PREFIX_BYTES + block.len(), Some(FRAME_ENVELOPE), false),
            Protocol::Bare => (PREFIX_BYTES, Some(FRAME_ENVELOPE), true),
            // Only a bare line feed may go out again as it came.
            Protocol::Line => (0, (used == payload.len() + 1).then_some(LINE_ENVELOPE), false),
        };
        Frame { header: to.header(), payload, source, at: self.hand.0 + before, envelope, block, is_full }
    }

    /// A message that is not simply started. False if it was taken care of here.
    #[cold]
    fn is_started(&mut self, frame: Frame<'_>, to: ReplyTo) -> bool {
        if self.framing.role == Role::Client {
            self.counts.others += 1;
            self.incoming(Incoming::Reply(frame));
            return false;
        }
        match self.look_closer(frame) {
            Ok(deadline_ms) => {
                self.desk.deadline_ms = deadline_ms;
                true
            }
            Err(refusal) => {
                let Replied { .. } = self.reply(to).fail(refusal.0, refusal.1.as_str());
                false
            }
        }
    }

    /// What is left of a request's deadline, or why it is refused.
    #[expect(clippy::result_large_err, reason = "a text on the stack, on the cold path")]
    fn look_closer(&self, frame: Frame<'_>) -> Result<Option<u32>, (Status, Text)> {
        if self.rules.is_leaving {
            return Err((Status::DRAINING, Text::of(format_args!("the server is shutting down"))));
        }
        let Some(extension) = frame.extension() else { return Ok(None) };
        let refusal = match extension.unsupported {
            Some(Unsupported::Flags(flags)) => {
                Text::of(format_args!("this version does not know the extension flags {flags:#04x}"))
            }
            Some(Unsupported::Tag(tag)) => {
                Text::of(format_args!("this version does not know the critical tag {tag}"))
            }
            None => return self.time_left(extension.deadline_ms),
        };
        Err((Status::UNSUPPORTED, refusal))
    }

    /// What is left of a deadline that counts from the moment when the request had come.
    #[expect(clippy::result_large_err, reason = "a text on the stack, on the cold path")]
    fn time_left(&self, deadline_ms: Option<u32>) -> Result<Option<u32>, (Status, Text)> {
        let Some(deadline_ms) = deadline_ms else { return Ok(None) };
        let waited_ms = self.now.ms().since(self.arrived);
        if deadline_ms > waited_ms {
            return Ok(Some(deadline_ms - waited_ms));
        }
        let text = Text::of(format_args!("the deadline of {deadline_ms} ms passed before it was started"));
        Err((Status::DEADLINE_EXCEEDED, text))
    }

    #[inline(always)]
    fn request(&mut self, frame: Frame<'_>, to: ReplyTo) -> Replied {
        let Batch { service, conn, desk, effects, mailbox, rng, id, now, .. } = self;
        let reply = Reply { desk, to };
        service.on_frame(conn, frame, reply, &mut Cx { now: *now, id: *id, rng, effects, mailbox })
    }

    fn reply(&mut self, to: ReplyTo) -> Reply<'_> {
        self.desk.deadline_ms = None;
        Reply { desk: self.desk, to }
    }

    fn incoming(&mut self, incoming: Incoming<'_>) {
        let Batch { service, conn, effects, mailbox, rng, id, now, .. } = self;
        let mut cx = Cx { now: *now, id: *id, rng, effects, mailbox };
        service.on_incoming(conn, incoming, &mut cx);
    }

    /// A request whose handler panicked is answered INTERNAL, unless it was answered before. Gives where to go on.
    #[cold]
    fn answer_for_panicked(&mut self, input: &[u8]) -> usize {
        self.counts.frames += 1;
        self.counts.panics += 1;
        self.desk.deadline_ms = None;
        let (start, end) = self.hand;
        if self.desk.outbox.tally().total() < self.counts.started() {
            let to = match self.framing.next(&input[start..], 0, self.desk.outbox.crc()) {
                Step::Message { to, .. } => to,
                // What panicked was a request.
                Step::Ping { .. }
                | Step::Pong { .. }
                | Step::Control { .. }
                | Step::NeedMore { .. }
                | Step::Fault(_) => ReplyTo::plain(Header::route(0)),
            };
            let Replied { .. } =
                self.reply(to).fail(Status::INTERNAL, "the handler of this request panicked");
            self.counts.answered_for += 1;
        }
        end
    }

    /// Whether this connection has had its share.
    #[inline]
    fn is_spent(&mut self) -> bool {
        if self.desk.outbox.bytes() >= self.room.bytes || self.counts.frames >= FRAMES_PER_BATCH {
            return true;
        }
        if let Some(slots) = &self.desk.slots
            && (slots.len() >= self.rules.open_max
                || self.desk.outbox.bytes() + self.desk.held_bytes >= self.room.bytes)
        {
            return true;
        }
        self.counts.frames.is_multiple_of(FRAMES_PER_CLOCK_READ)
            && (self.clock)().since_us(self.now) >= BATCH_US_MAX
    }
}

#[expect(clippy::cast_possible_truncation, reason = "6 and 4")]
const FRAME_ENVELOPE: Envelope = Envelope { before: PREFIX_BYTES as u8, after: TRAILER_BYTES as u8 };
const LINE_ENVELOPE: Envelope = Envelope { before: 0, after: 1 };
