//! Deadlines: which one a connection has next, and what happens when it passes.
//!
//! A connection has one place in the wheel, for the least of its deadlines, and is looked at when that comes:
//! a deadline that has moved on meanwhile is armed anew. While a connection is paused by us, its idle and frame
//! deadlines stand still, so that no peer is closed for our own pause.

use super::entry::{Entry, Flag};
use super::{Io, Shared, Turn};
use crate::base::limits::{AGE_JITTER_PERCENT_MAX, FRAME_BYTES_PER_SECOND_MIN, TRIM_MS};
use crate::base::planted::{Bug, is_planted};
use crate::base::{CloseReason, Ms, Rng, Text, Time, time::whole_ms};
use crate::service::Service;
use crate::session::{Event, Framing, Phase, Protocol, Role};
use std::time::Duration;

/// What passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// The drain's grace, the flush, the linger.
    Phase,
    /// The message in front should be whole by now.
    Frame,
    /// A message should have come by now.
    Idle,
    /// The socket should have taken a byte by now.
    WriteStall,
    /// An open request should have been answered by now.
    Request,
    /// A peer that said HELLO should have said something by now.
    Heartbeat,
    /// It has been open for as long as it may be.
    Age,
}

/// The next of a connection's deadlines; of two at once, the one that is asked for first here.
#[inline]
fn next_deadline<C, St>(entry: &Entry<C, St>, framing: &Framing, shared: &Shared) -> Option<(Ms, Due)> {
    let limits = &shared.limits;
    let is_read =
        entry.phase.is_serving() && (entry.pauses.is_empty() || is_planted(Bug::DeadlineWhilePaused));
    let is_awaited = is_read && !entry.flags.has(Flag::PeerEnded);
    let open = entry.slots.as_ref().and_then(|slots| slots.next_due());
    let mut next = None;
    let is_timed = !(is_planted(Bug::DialForEver) && matches!(entry.phase, Phase::Connecting { .. }));
    if is_timed && let Some(until) = entry.phase.deadline() {
        sooner(&mut next, until, Due::Phase);
    }
    if is_read
        && let Some(input) = entry.input.as_ref()
        && !input.unparsed
    {
        let whole = input.since.after(limits.frame_deadline).plus(transfer_ms(input.wanted, framing));
        sooner(&mut next, whole, Due::Frame);
    }
    // A server that we dialed speaks when it is asked.
    let is_client = framing.role == Role::Server;
    if is_client
        && is_awaited
        && entry.phase == Phase::Open
        && open.is_none()
        && let Some(idle) = limits.idle
    {
        sooner(&mut next, entry.heard.after(idle), Due::Idle);
    }
    if let Some(output) = entry.output.as_ref() {
        sooner(&mut next, output.moved.after(limits.write_stall), Due::WriteStall);
    }
    if !is_planted(Bug::OpenForEver)
        && let Some(due) = open
    {
        sooner(&mut next, due, Due::Request);
    }
    if is_awaited && let (Some(every), Some(peer)) = (limits.heartbeat, entry.greeting.as_ref()) {
        sooner(&mut next, peer.due(entry.heard, whole_ms(every)), Due::Heartbeat);
    }
    if is_client
        && entry.phase == Phase::Open
        && let Some(age) = limits.max_age
    {
        let opened = Time(entry.life.opened.get() * 1000).ms();
        let jitter = limits.max_age_jitter;
        sooner(&mut next, opened.plus(age_ms(age, jitter, shared.age_seed, entry.generation)), Due::Age);
    }
    next
}

/// How old one connection may become: up to so many percent less than the most, drawn from what tells it from others.
fn age_ms(most: Duration, jitter_percent: u8, seed: u64, generation: u32) -> u32 {
    let most_ms = whole_ms(most);
    let range = u64::from(most_ms) * u64::from(jitter_percent.min(AGE_JITTER_PERCENT_MAX)) / 100;
    let earlier = Rng::new(seed ^ u64::from(generation)).below(range + 1);
    most_ms - u32::try_from(earlier).unwrap_or(0)
}

/// Replaces a later deadline.
#[inline]
fn sooner(next: &mut Option<(Ms, Due)>, deadline: Ms, due: Due) {
    if next.is_none_or(|(least, _)| !least.reached(deadline)) {
        *next = Some((deadline, due));
    }
}

/// How long a message of so many bytes may take on its way.
fn transfer_ms(wanted: usize, framing: &Framing) -> u32 {
    let bytes = match framing.protocol {
        Protocol::Frame | Protocol::Bare => u32::try_from(wanted).unwrap_or(u32::MAX),
        Protocol::Line => framing.payload_max,
    };
    let ms = u64::from(bytes) * 1000 / u64::from(FRAME_BYTES_PER_SECOND_MIN);
    u32::try_from(ms).unwrap_or(u32::MAX / 4)
}

impl<S: Service, I: Io> Turn<S, I> {
    /// Sees to it that a connection is looked at when its next deadline comes.
    #[inline(always)]
    pub(super) fn arm(&mut self, slot: u32) {
        let entry = &self.table[slot as usize];
        if entry.input.is_none()
            && entry.output.is_none()
            && entry.slots.is_none()
            && entry.greeting.is_none()
            && entry.phase == Phase::Open
            && self.shared.may_rest
        {
            return;
        }
        let framing = &self.listeners[usize::from(entry.listener)].framing;
        if let Some((deadline, _)) = next_deadline(entry, framing, &self.shared) {
            self.wheel.arm(slot, deadline, self.shared.ms);
        }
    }

    /// Looks at the connections whose time has come, and at the loop's own timers.
    #[inline]
    pub(super) fn run_timers(&mut self, io: &mut I) {
        while let Some(slot) = self.wheel.pop_due(self.shared.ms) {
            self.look_at(io, slot);
        }
        if self.shared.meters.is_some() {
            self.resume_metered(io);
        }
        if self.has_timer_due() {
            self.call_timers();
        }
        self.trim();
    }

    #[cold]
    fn look_at(&mut self, io: &mut I, slot: u32) {
        let entry = &self.table[slot as usize];
        let framing = &self.listeners[usize::from(entry.listener)].framing;
        let Some((deadline, due)) = next_deadline(entry, framing, &self.shared) else { return };
        if !deadline.reached(self.shared.ms) {
            self.wheel.arm(slot, deadline, self.shared.ms);
            return;
        }
        let now = self.shared.ms;
        let frame_ms = entry.input.as_ref().map_or(0, |input| now.since(input.since));
        let wanted = entry.input.as_ref().map_or(0, |input| input.wanted);
        let idle_ms = self.shared.limits.idle.map_or(0, whole_ms);
        let mut visit = self.begin_visit(io, slot);
        let verdict = match due {
            Due::Phase if visit.is_aged() => visit.end_aged(),
            Due::Phase if visit.is_done() => visit.finish_draining(),
            Due::Phase => {
                visit.remember(Text::EMPTY);
                visit.step(Event::Tick(now));
                super::Verdict::Closed
            }
            Due::Frame => {
                let text =
                    Text::of(format_args!("message of {wanted} bytes was not whole after {frame_ms} ms"));
                visit.finish(CloseReason::FrameDeadline, text.as_str())
            }
            Due::Idle => {
                let text = Text::of(format_args!("no message for {idle_ms} ms"));
                visit.finish(CloseReason::Idle, text.as_str())
            }
            Due::WriteStall => visit.lost(CloseReason::WriteStall),
            Due::Request => match visit.expire() {
                Err(why) => visit.end_for(why),
                Ok(()) => super::Verdict::Again,
            },
            Due::Heartbeat => visit.beat(),
            Due::Age => {
                self.come_of_age(io, slot);
                return;
            }
        };
        self.settle(io, slot, verdict);
    }

    /// Whether a timer's moment has come. To the microsecond: deadlines are counted in milliseconds, timers are not.
    #[inline]
    fn has_timer_due(&self) -> bool {
        self.shared.effects.next_due().is_some_and(|at| at <= self.shared.now)
    }

    /// Whether there is anything to look at by now.
    #[inline]
    pub(super) fn has_due(&self) -> bool {
        let is_kept = self.trim_at.is_none() && self.shared.desk.has_spare_memory();
        is_kept || self.due.is_some_and(|due| due.reached(self.shared.ms)) || self.has_timer_due()
    }

    /// Memory that is kept for reuse goes, bit by bit, when nobody reuses it. A turn too slow for other
    /// timers looks, too: it may be the last for long.
    #[inline]
    pub(super) fn trim(&mut self) {
        if self.trim_at.is_some() || self.shared.desk.has_spare_memory() {
            self.trim_when_due();
        }
    }

    #[cold]
    fn trim_when_due(&mut self) {
        let now = self.shared.ms;
        match self.trim_at {
            None => self.trim_at = Some(now.plus(TRIM_MS)),
            Some(at) if at.reached(now) => {
                self.shared.desk.trim();
                self.shared.inbound.trim();
                self.shared.outbound.trim();
                self.trim_at = self.shared.desk.has_spare_memory().then(|| now.plus(TRIM_MS));
            }
            Some(_) => {}
        }
    }

    /// When the next deadline or timer comes.
    #[inline]
    pub(super) fn next_due(&self) -> Option<Ms> {
        let mut least = self.wheel.next_due();
        if let Some(at) = self.shared.effects.next_due() {
            // The first millisecond at which it is due for sure.
            let at = at.plus_us(999).ms();
            least = Some(least.map_or(at, |least| least.min(at)));
        }
        for due in [self.trim_at, self.starved.retry_at()].into_iter().flatten() {
            least = Some(least.map_or(due, |least| least.min(due)));
        }
        if self.shared.meters.is_some()
            && let Some(due) = self.next_metered()
        {
            least = Some(least.map_or(due, |least| least.min(due)));
        }
        if self.accept_again {
            for due in self.accepting.iter().filter_map(super::ListenerState::retry_at) {
                least = Some(least.map_or(due, |least| least.min(due)));
            }
        }
        least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Most, percent, and the range in which all ages lie.
    #[test]
    fn ages_are_spread_and_never_more_than_the_most() {
        let table =
            [(10_000, 0, 10_000..=10_000), (10_000, 10, 9_000..=10_000), (10_000, 50, 5_000..=10_000)];
        for (most_ms, percent, range) in table {
            let most = Duration::from_millis(most_ms);
            let ages: Vec<u32> = (1..1_000).map(|generation| age_ms(most, percent, 7, generation)).collect();
            assert!(ages.iter().all(|age| range.contains(age)), "case: {percent} %");
            let (least, greatest) = (ages.iter().min().unwrap(), ages.iter().max().unwrap());
            let spread = range.end() - range.start();
            assert!(greatest - least >= spread - spread / 10, "case: {percent} %: {least} to {greatest}");
        }
        assert!(age_ms(Duration::MAX, 10, 7, 1) > 20 * 24 * 3600 * 1000, "cut to the longest deadline");
    }
}
