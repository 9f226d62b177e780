//! One batch: messages out of an input, replies into the outbox, until the input or a budget ends.
//!
//! The service is called here and nowhere else with a request, and its panics end here: the batch goes on behind the
//! request whose handler panicked. An answer that it had given stands; without one, the answer is INTERNAL.
//!
//! Always holds: a message is handed over once, whole and verified, and every request that was handed over is
//! answered, failed, silenced or deferred when the batch goes on. Never: a socket.

mod control;
mod traced;
mod user;

use traced::Handled;
pub(super) use user::REMOVED;

use super::{Io, ListenerConfig, Shared, label_of};
use crate::base::limits::{BATCH_US_MAX, FRAMES_PER_BATCH, FRAMES_PER_CLOCK_READ};
use crate::base::planted::{Bug, is_planted};
use crate::base::{CloseReason, ConnId, Ms, Text, Time};
use crate::buffer::Side;
use crate::metrics::Counter;
use crate::service::{Cx, Desk, Frame, Incoming, Replied, Reply, Service};
use crate::session::{Framing, Greeting, Protocol, ReplyTo, Request, Simple, Source, Step};
use crate::wire::{Crc, Header, Status, Unsupported};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What the replies of a batch may come to, should the socket take none of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Bytes after which the batch stops.
    pub(super) bytes: u32,
    /// Bytes of them that may wait behind open requests.
    pub(super) hold_bytes: u32,
    /// Memory is short: a message whose reply may not fit (it is taken to be as large as the request) must wait.
    pub(super) is_short: bool,
}

/// One batch of one connection; it may run over two inputs, one behind the other.
pub(super) struct Batch<'a, S: Service, I: Io> {
    pub(super) service: &'a mut S,
    pub(super) conn: &'a mut S::Conn,
    pub(super) greeting: &'a mut Option<Box<Greeting>>,
    pub(super) shared: &'a mut Shared,
    pub(super) io: &'a mut I,
    pub(super) listener: &'a ListenerConfig,
    pub(super) framing: Framing,
    pub(super) id: ConnId,
    /// When the input was read.
    pub(super) arrived: Ms,
    pub(super) room: Room,
    pub(super) counts: Counts,
    pub(super) state: State,
    /// When the request that is timed was handed over, and its route's label.
    pub(super) timed_from: Option<(Time, Option<usize>)>,
    /// Where the message in hand begins.
    pub(super) hand: usize,
    /// It stops for nothing but a message that is sampled.
    pub(super) is_sample_next: bool,
    /// Messages until it looks at more than its room: at the clock, or whether the next one is sampled. At least one.
    pub(super) until_look: u32,
}

/// What a batch's messages meet, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Fact {
    /// No message has come yet.
    Fresh = 1 << 0,
    /// The server drains: a peer that says HELLO now is told to go elsewhere at once.
    Draining = 1 << 1,
    /// Requests are answered DRAINING: the peer was told to go elsewhere.
    Leaving = 1 << 2,
    /// The next request's handler is timed.
    Timed = 1 << 3,
    /// Requests beyond the rate are refused.
    Metered = 1 << 4,
    /// There are routes that its user may not use.
    Restricted = 1 << 5,
    /// The next request is sampled: recorded, unless it brings a trace of its own.
    Sampled = 1 << 6,
    /// Messages are what a server says that was dialed.
    Dialed = 1 << 7,
}

/// Which of these hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct State(u8);

impl State {
    /// With these, messages are simply started.
    const USUAL: u8 = Fact::Fresh as u8 | Fact::Draining as u8;

    #[inline]
    pub(super) const fn usual(is_fresh: bool) -> State {
        State(if is_fresh { Fact::Fresh as u8 } else { 0 })
    }

    #[inline]
    pub(super) const fn has(self, fact: Fact) -> bool {
        self.0 & fact as u8 != 0
    }

    #[inline]
    pub(super) const fn set_to(&mut self, fact: Fact, holds: bool) {
        if holds {
            self.0 |= fact as u8;
        } else {
            self.0 &= !(fact as u8);
        }
    }

    /// Whether messages have to be looked at closely.
    #[inline]
    pub(super) const fn is_unusual(self) -> bool {
        self.0 & !State::USUAL != 0
    }

    /// Whether that is for nothing but what its user may do.
    pub(super) const fn is_only_restricted(self) -> bool {
        self.0 & !State::USUAL == Fact::Restricted as u8
    }
}

/// What a batch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Whole, valid messages.
    pub(super) frames: u32,
    /// Of these, what is no request.
    pub(super) others: u32,
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

impl<S: Service, I: Io> Batch<'_, S, I> {
    /// Handles messages from `input`, which begins where a message begins. Gives what was used up, and why it ended.
    ///
    /// `scanned` leading bytes are known to hold no line end.
    #[inline]
    pub(super) fn run(&mut self, input: &[u8], source: Source, scanned: usize) -> (usize, Stop) {
        if self.listener.wants_hello
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
                    if self.stops() && !self.takes_sample() {
                        return (at, Stop::Budget);
                    }
                }
            }
        }
    }

    /// Whether a request failed where there is no way to say so.
    #[inline]
    fn is_unspeakable(&self) -> bool {
        self.framing.protocol == Protocol::Bare && self.shared.desk.outbox.unheard().is_some()
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
            if let Some(simple) = Framing::simple(&input[at..])
                && self.is_simple()
            {
                let is_spent;
                (at, is_spent) = match simple {
                    Simple::Plain => self.run_simple(input, source, at, Framing::next_plain),
                    Simple::Correlated => self.run_simple(input, source, at, Framing::next_correlated),
                };
                if is_spent {
                    return (at, Stop::Budget);
                }
            }
            let rest = &input[at..];
            match self.framing.next(rest, scanned, self.shared.desk.outbox.crc()) {
                Step::Message { to, used, .. } if self.room.is_short && self.must_starve(to, used) => {
                    return (at, Stop::Starved);
                }
                Step::Message { to, block, payload, is_special, used } => {
                    self.hand = at;
                    let is_unusual = is_special || self.state.is_unusual();
                    if !is_unusual || self.is_started(input, source, is_special) {
                        let protocol = self.framing.protocol;
                        let frame =
                            Frame { header: to.header(), protocol, source, start: at, used, block, payload };
                        let Replied { .. } = self.request(frame, to);
                        if is_unusual {
                            self.end_unusual();
                        }
                    }
                    at += used;
                }
                Step::Control { header, payload, used } => {
                    self.hand = at;
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
            if self.stops() && !self.takes_sample() {
                return (at, Stop::Budget);
            }
        }
    }

    /// Whether simple frames may be taken by [`Batch::run_simple`].
    #[inline(always)]
    fn is_simple(&self) -> bool {
        self.framing.protocol == Protocol::Frame && !self.room.is_short && !self.state.is_unusual()
    }

    /// Handles frames of one of the two kinds that nearly all are, until something else comes or a budget ends. Gives how
    /// far it came, and whether a budget ended.
    ///
    /// What it does is what the general loop would do with them; where all that is so rare is known not to be, it takes
    /// a third fewer instructions. Apart, since beside the general loop it gets fewer registers.
    #[inline(never)]
    fn run_simple<'i>(
        &mut self,
        input: &'i [u8],
        source: Source,
        start: usize,
        next: impl Fn(&Framing, &'i [u8], &Crc) -> Option<Request<'i>>,
    ) -> (usize, bool) {
        let mut at = start;
        while let Some(request) = next(&self.framing, &input[at..], self.shared.desk.outbox.crc()) {
            let Request { to, block, payload, used } = request;
            self.hand = at;
            let protocol = Protocol::Frame;
            let frame = Frame { header: to.header(), protocol, source, start: at, used, block, payload };
            let Replied { .. } = self.request(frame, to);
            at += used;
            self.counts.frames += 1;
            if self.stops() {
                return (at, !self.takes_sample());
            }
        }
        (at, false)
    }

    /// The message in hand is not simply started. False if it was taken care of here.
    #[cold]
    #[inline(never)]
    fn is_started(&mut self, input: &[u8], source: Source, is_special: bool) -> bool {
        let start = self.hand;
        if self.state.has(Fact::Restricted) && !is_special && self.is_only_restricted(&input[start..]) {
            return true;
        }
        let step = self.framing.next(&input[start..], 0, self.shared.desk.outbox.crc());
        let Step::Message { to, block, payload, used, .. } = step else { return true };
        let protocol = self.framing.protocol;
        let frame = Frame { header: to.header(), protocol, source, start, used, block, payload };
        if self.state.has(Fact::Dialed) {
            self.counts.others += 1;
            self.incoming(Incoming::Reply(frame));
            return false;
        }
        self.begin_span(frame, to);
        let is_started = self.is_let_in(frame, to, used);
        if !is_started {
            self.end_span(Handled::Refused);
        }
        is_started
    }

    /// Whether a request is handed to the service, and not refused here.
    fn is_let_in(&mut self, frame: Frame<'_>, to: ReplyTo, used: usize) -> bool {
        let is_metered = self.state.has(Fact::Metered) && !self.state.has(Fact::Leaving);
        if is_metered && self.is_over_rate(frame, to, used) {
            return false;
        }
        match self.look_closer(frame) {
            Ok(deadline_ms) => {
                self.shared.desk.deadline_ms = deadline_ms;
                if self.state.has(Fact::Timed) {
                    let label = label_of(&self.shared.labels, frame.route());
                    self.timed_from = Some((self.io.now(), label));
                }
                true
            }
            Err(refusal) => {
                let to = if self.service.is_one_way(frame.route()) { to.on_one_way_route() } else { to };
                let Replied { .. } = self.reply(to).fail(refusal.0, refusal.1.as_str());
                false
            }
        }
    }

    /// Charges a request to the rates. True if they don't allow it: then it was refused.
    #[cold]
    fn is_over_rate(&mut self, frame: Frame<'_>, to: ReplyTo, used: usize) -> bool {
        let Shared { meters, quotas, limits, now, .. } = &mut *self.shared;
        let now = *now;
        let Some(meters) = meters.as_mut() else { return false };
        let Err(over) = meters.spend(self.id.slot, used as u64, (quotas, limits, now)) else { return false };
        self.shared.metrics.add(Counter::RefusedRate, 1);
        let to = if self.service.is_one_way(frame.route()) { to.on_one_way_route() } else { to };
        let text = over.text();
        let Replied { .. } = self.reply(to).fail_for(Status::OVERLOADED, text.as_str(), over.retry_ms(now));
        true
    }

    /// The handler of a request that was not simply started has returned.
    #[cold]
    #[inline(never)]
    fn end_unusual(&mut self) {
        self.shared.desk.deadline_ms = None;
        let mut handled = Handled::Returned;
        if let Some((from, label)) = self.timed_from.take() {
            let took_us = self.io.now().since_us(from);
            self.shared.metrics.handled(label, took_us);
            self.state.set_to(Fact::Timed, false);
            handled = Handled::Timed { took_us };
        }
        self.end_span(handled);
    }

    /// What is left of a request's deadline, or why it is refused.
    #[expect(clippy::result_large_err, reason = "a text on the stack, on the cold path")]
    fn look_closer(&self, frame: Frame<'_>) -> Result<Option<u32>, (Status, Text)> {
        self.check_permission(frame.route())?;
        if self.state.has(Fact::Leaving) {
            return Err((Status::DRAINING, Text::of(format_args!("{}", self.shared.why_draining().1))));
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
        let waited_ms = self.shared.ms.since(self.arrived);
        if deadline_ms > waited_ms || is_planted(Bug::ExpiredStarted) {
            return Ok(Some(deadline_ms.saturating_sub(waited_ms)));
        }
        let text = Text::of(format_args!("the deadline of {deadline_ms} ms passed before it was started"));
        Err((Status::DEADLINE_EXCEEDED, text))
    }

    #[inline(always)]
    fn request(&mut self, frame: Frame<'_>, to: ReplyTo) -> Replied {
        let Batch { service, conn, shared, id, .. } = self;
        let Shared { desk, effects, mailbox, rng, now, .. } = &mut **shared;
        let reply = Reply { desk, to };
        service.on_frame(conn, frame, reply, &mut Cx { now: *now, id: *id, rng, effects, mailbox })
    }

    fn reply(&mut self, to: ReplyTo) -> Reply<'_> {
        self.shared.desk.deadline_ms = None;
        Reply { desk: &mut self.shared.desk, to }
    }

    fn incoming(&mut self, incoming: Incoming<'_>) {
        self.service.on_incoming(self.conn, incoming, &mut self.shared.cx(self.id));
    }

    /// A request whose handler panicked is answered INTERNAL, unless it was answered before. Gives where to go on.
    #[cold]
    fn answer_for_panicked(&mut self, input: &[u8]) -> usize {
        self.counts.frames += 1;
        self.counts.panics += 1;
        self.shared.desk.deadline_ms = None;
        self.timed_from = None;
        let start = self.hand;
        let (to, used) = match self.framing.next(&input[start..], 0, self.shared.desk.outbox.crc()) {
            Step::Message { to, used, .. } => (to, used),
            Step::Control { header, used, .. } => (ReplyTo::plain(header), used),
            // It was a whole message before.
            Step::NeedMore { .. } | Step::Fault(_) => (ReplyTo::plain(Header::route(0)), input.len() - start),
        };
        let is_answered_for = self.shared.desk.outbox.tally().total() < self.counts.started();
        if is_answered_for {
            let to = if self.is_one_way(to.header()) { to.on_one_way_route() } else { to };
            let Replied { .. } =
                self.reply(to).fail(Status::INTERNAL, "the handler of this request panicked");
            self.counts.answered_for += 1;
        }
        self.end_span(Handled::Panicked { is_answered_for });
        start + used
    }

    /// The same question to a service that may be torn.
    fn is_one_way(&self, header: Header) -> bool {
        let route = self.framing.protocol.route_of(header);
        catch_unwind(AssertUnwindSafe(|| self.service.is_one_way(route))).unwrap_or(false)
    }

    /// Memory is short: whether there may be none for the reply to a message of so many bytes.
    #[cold]
    fn must_starve(&self, to: ReplyTo, used: usize) -> bool {
        let Desk { outbox, pool, slots, .. } = &self.shared.desk;
        let wanted = slots.as_ref().filter(|slots| to.is_ordered() && slots.is_ordered_open());
        let wanted = wanted.and_then(|slots| slots.wanted_bytes(used));
        outbox.bytes() + used > self.room.bytes as usize
            || wanted.is_some_and(|bytes| bytes > pool.lease_bytes_max(Side::Output))
    }

    /// Whether this connection has had its share, or the next message has to be looked at closely.
    #[inline(always)]
    fn stops(&mut self) -> bool {
        let (gathered, most) = (self.shared.desk.outbox.bytes(), self.room.bytes as usize);
        if gathered >= most {
            return true;
        }
        if let Some(slots) = &self.shared.desk.slots
            && (slots.len() >= self.shared.limits.open_requests as usize
                || gathered + self.shared.desk.held_bytes >= most)
        {
            return true;
        }
        self.until_look -= 1;
        self.until_look == 0 && self.look()
    }

    /// The same after the number of messages at which it was to be looked at more.
    #[cold]
    #[inline(never)]
    fn look(&mut self) -> bool {
        let frames = self.counts.frames;
        self.until_look = FRAMES_PER_CLOCK_READ - frames % FRAMES_PER_CLOCK_READ;
        if frames.is_multiple_of(FRAMES_PER_CLOCK_READ)
            && (frames >= FRAMES_PER_BATCH || self.io.now().since_us(self.shared.now) >= BATCH_US_MAX)
        {
            return true;
        }
        self.look_for_sample()
    }

    /// Whether it has only stopped since the next message is sampled; then it goes on with that.
    #[cold]
    fn takes_sample(&mut self) -> bool {
        std::mem::take(&mut self.is_sample_next)
    }
}
