//! One batch: messages out of an input, replies into the outbox, until the input or a budget ends.
//!
//! The service is called here and nowhere else with a request, and its panics end here: the batch goes on behind the
//! request whose handler panicked. An answer that it had given stands; without one, the answer is INTERNAL.

use crate::base::limits::{BATCH_US_MAX, FRAMES_PER_BATCH, FRAMES_PER_CLOCK_READ};
use crate::base::{CloseReason, ConnId, Rng, Time};
use crate::service::{Cx, Frame, Replied, Reply, Service};
use crate::session::{Envelope, Framing, Outbox, Protocol, Source, Step};
use crate::wire::frame::{PREFIX_BYTES, TRAILER_BYTES};
use crate::wire::{Control, Header, Status};
use std::panic::{AssertUnwindSafe, catch_unwind};

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
    pub(super) outbox: &'a mut Outbox,
    pub(super) rng: &'a mut Rng,
    pub(super) framing: Framing,
    pub(super) id: ConnId,
    pub(super) now: Time,
    /// Reads the clock.
    pub(super) clock: &'a mut dyn FnMut() -> Time,
    pub(super) room: Room,
    pub(super) counts: Counts,
    /// Where the message behind the request in hand begins.
    pub(super) next_at: usize,
}

/// What a batch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Whole, valid messages.
    pub(super) frames: u32,
    /// Of these, what needs no service.
    pub(super) pings: u32,
    pub(super) unasked_pongs: u32,
    /// Requests whose handler panicked.
    pub(super) panics: u32,
    /// Of these, the ones that had not been answered, and were answered INTERNAL.
    pub(super) answered_for: u32,
}

impl Counts {
    /// Requests that were handed to the service.
    pub(super) const fn started(&self) -> u32 {
        self.frames - self.pings - self.unasked_pongs
    }
}

/// Why a batch ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stop {
    /// The input holds no further whole message; it must grow to `bytes` (0: unknown).
    NeedMore { bytes: usize },
    /// A budget ended: frames, time, or room for replies. There may be more whole messages.
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
        let (mut at, mut scanned) = (0, scanned);
        loop {
            // The service may be torn afterwards: `Service::on_panic` says what becomes of it.
            match catch_unwind(AssertUnwindSafe(|| self.run_until_panic(input, source, at, scanned))) {
                Ok(ran) => return ran,
                Err(_panic) => {
                    at = self.answer_for_panicked();
                    scanned = 0;
                    if self.is_spent() {
                        return (at, Stop::Budget);
                    }
                }
            }
        }
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
            match self.framing.next(rest, scanned, self.outbox.crc()) {
                Step::Message { used, .. }
                    if self.room.is_short && self.outbox.bytes() + used > self.room.bytes =>
                {
                    return (at, Stop::Starved);
                }
                Step::Message { header, payload, used } => {
                    self.next_at = at + used;
                    let Replied { .. } = self.request(header, payload, source, at, used);
                    at += used;
                }
                Step::Ping { payload, used } => {
                    self.outbox.control(&Control::Pong(payload));
                    self.counts.pings += 1;
                    at += used;
                }
                Step::Pong { used } => {
                    self.counts.unasked_pongs += 1;
                    at += used;
                }
                Step::NeedMore { bytes } => return (at, Stop::NeedMore { bytes }),
                Step::Fault(why) => return (at, Stop::Fault(why)),
            }
            scanned = 0;
            self.counts.frames += 1;
            if self.is_spent() {
                return (at, Stop::Budget);
            }
        }
    }

    #[inline]
    fn request(&mut self, header: Header, payload: &[u8], source: Source, at: usize, used: usize) -> Replied {
        let Batch { service, conn, outbox, rng, framing, id, now, .. } = self;
        let (before, envelope) = match framing.protocol {
            Protocol::Frame => (PREFIX_BYTES, Some(FRAME_ENVELOPE)),
            // Only a bare line feed may go out again as it came.
            Protocol::Line => (0, (used == payload.len() + 1).then_some(LINE_ENVELOPE)),
        };
        let frame = Frame { header, payload, source, at: at + before, envelope };
        let reply = Reply { outbox, header };
        if header.is_ext() {
            return reply.fail(Status::UNSUPPORTED, "this version reads no extension blocks");
        }
        service.on_frame(conn, frame, reply, &mut Cx { now: *now, id: *id, rng })
    }

    /// A request whose handler panicked is answered INTERNAL, unless it was answered before. Gives where to go on.
    #[cold]
    fn answer_for_panicked(&mut self) -> usize {
        self.counts.frames += 1;
        let tally = self.outbox.tally();
        if tally.answered + tally.failed + tally.silent < self.counts.started() {
            self.outbox.failure(Status::INTERNAL, "the handler of this request panicked");
            self.counts.answered_for += 1;
        }
        self.counts.panics += 1;
        self.next_at
    }

    /// Whether this connection has had its share.
    #[inline]
    fn is_spent(&mut self) -> bool {
        if self.outbox.bytes() >= self.room.bytes || self.counts.frames >= FRAMES_PER_BATCH {
            return true;
        }
        self.counts.frames.is_multiple_of(FRAMES_PER_CLOCK_READ)
            && (self.clock)().since_us(self.now) >= BATCH_US_MAX
    }
}

#[expect(clippy::cast_possible_truncation, reason = "6 and 4")]
const FRAME_ENVELOPE: Envelope = Envelope { before: PREFIX_BYTES as u8, after: TRAILER_BYTES as u8 };
const LINE_ENVELOPE: Envelope = Envelope { before: 0, after: 1 };
