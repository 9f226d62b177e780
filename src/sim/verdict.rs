//! What must be true of a client's connection once it is over: what it got, what it was told last, and why it ended.
//!
//! ```text
//!   ended in order (its own end, a fault, a deadline, a drain)   all replies to what was read, then the last words
//!   cut off (reset, stall, memory, drain forced)                 a prefix of that
//!   never served                                                 nothing, or OVERLOADED
//! ```

use super::checker::{Farewell, Moment};
use super::client::Client;
use super::codec::status;
use super::io::{SimIo, StreamEnd};
use super::plan::refuses;
use super::script::{Finale, Reading};
use super::socket::{Fate, Fin, Socket};
use super::witness::Seen;
use crate::base::limits::{FLUSH_GRACE, LINGER_BYTES_MAX, Limits, NOTICE_REPEAT_MS};
use crate::base::time::whole_ms;
use crate::base::{CloseReason, Time};
use crate::session::Protocol;
use crate::turn::ListenerConfig;

/// Bytes that lie unread for longer were neglected, not just not reached yet, in microseconds.
const NEGLECT_US: u64 = 1_000_000;
/// How much longer than its deadline something may take, in milliseconds, with slow turns and late events.
const PATIENCE_MS: u64 = 3_000;

/// What was so in the whole world.
pub(super) struct Circumstances<'a> {
    pub(super) limits: &'a Limits,
    pub(super) listeners: &'a [ListenerConfig],
    pub(super) is_tight: bool,
    pub(super) rebuilds: u32,
    /// When the drain began, and when its grace ended.
    pub(super) drain: Option<(Time, Time)>,
}

/// Judges one client whose connection is over. `seen` is what the service was told; `None` if it never knew it.
pub(super) fn judge(
    client: &Client,
    io: &SimIo,
    seen: Option<Seen>,
    world: &Circumstances<'_>,
) -> Result<(), String> {
    let Some(remote) = client.remote else { return Err("never came".to_owned()) };
    let socket = &io.sockets[remote.0 as usize];
    match seen.and_then(|seen| Some((seen, seen.ended?))) {
        None => never_served(client, socket),
        Some((seen, (why, at))) => Case { client, socket, seen, why, at, world }.judge(),
    }
}

fn never_served(client: &Client, socket: &Socket) -> Result<(), String> {
    // A line that refuses the connection may look like one that refuses a request.
    let refusal = client.checker.last_error_line().map(Farewell::Status);
    let (taken, words) = match refusal {
        Some(refusal) => (client.checker.taken() - 1, Some(refusal)),
        None => (client.checker.taken(), client.checker.farewell()),
    };
    if taken > 0 {
        return Err("replies to a client that was never served".to_owned());
    }
    let is_told = words.is_none() || words == Some(Farewell::Status(status::OVERLOADED));
    let has_words = client.script.protocol != Protocol::Bare && socket.capacity.down > 600;
    match socket.fate {
        Fate::Dialed => Err("a client that was dialed".to_owned()),
        Fate::Queued => Err("left in the listener's queue".to_owned()),
        Fate::Aborted | Fate::Refused if words.is_some() => Err(format!("{words:?} to nobody")),
        Fate::Aborted | Fate::Refused => Ok(()),
        Fate::Told | Fate::Taken if !is_told => Err(format!("refused with {words:?}")),
        Fate::Told if words.is_none() && client.saw == StreamEnd::End && has_words => {
            Err("refused without a word".to_owned())
        }
        Fate::Told | Fate::Taken => Ok(()),
    }
}

struct Case<'a> {
    client: &'a Client,
    socket: &'a Socket,
    seen: Seen,
    why: CloseReason,
    at: Time,
    world: &'a Circumstances<'a>,
}

impl Case<'_> {
    fn judge(&self) -> Result<(), String> {
        self.reason_is_allowed().map_err(|text| format!("ended {}: {text}", self.why.name()))?;
        self.receipt_is_right().map_err(|text| format!("ended {}: {text}", self.why.name()))?;
        self.greeting_is_right().map_err(|text| format!("ended {}: {text}", self.why.name()))
    }

    fn moment(&self) -> Moment<'_> {
        Moment {
            now: self.at,
            has_drained: self.world.drain.is_some() || self.world.limits.max_age.is_some(),
            may_refuse: refuses(self.world.limits),
            was_rebuilt: self.world.rebuilds > 0,
            arrivals: &self.client.arrivals,
            message_bytes: self.seen.message_bytes,
        }
    }

    /// Whether this client, in this world, may have ended so.
    fn reason_is_allowed(&self) -> Result<(), String> {
        use CloseReason as Why;
        let finale = self.client.script.finale;
        let has_ended = self.socket.fin != Fin::None || self.socket.reset_sent;
        let is_allowed = match self.why {
            Why::PeerClosed => has_ended && (finale != Finale::Mute || self.client.has_left),
            Why::Truncated => has_ended && (finale == Finale::EndInside || self.client.has_left),
            Why::Reset => self.socket.reset_sent || self.socket.client_closed,
            Why::Failed => self.socket.figures.had_odd_error,
            Why::TooLarge if finale == Finale::Fault(Why::Proxy) => true,
            Why::BadCrc
            | Why::TooLarge
            | Why::LineTooLong
            | Why::UnknownControl
            | Why::BadControl
            | Why::BadExtension
            | Why::WrongDirection
            | Why::LateHello
            | Why::NoCommonVersion
            | Why::Unauthenticated
            | Why::TlsOnPlain
            | Why::Http
            | Why::Resp
            | Why::Proxy => finale == Finale::Fault(self.why),
            Why::Heartbeat => return self.was_silent(),
            Why::RequestFailed => {
                let may_fail = self.client.checker.some_may_fail(&self.moment());
                self.client.script.protocol == Protocol::Bare
                    && (may_fail || finale == Finale::Fault(self.why))
            }
            Why::ClosedByService => self.seen.is_named,
            Why::DialFailed | Why::CertificateExpired | Why::CertificateRevoked | Why::TlsBroken => false,
            Why::FrameDeadline => return self.frame_was_late(),
            Why::Idle => return self.was_idle(),
            Why::WriteStall => self.client.script.reading == Reading::Never,
            Why::SlowConsumer => {
                let has_messages = self.seen.message_bytes > 0;
                self.has_huge_reply() || has_messages && self.client.checker.may_overflow(&self.moment())
            }
            Why::Memory => self.world.is_tight,
            Why::Panicked => self.world.rebuilds > 0,
            Why::Drained => self.world.drain.is_some_and(|(begun, _)| self.at >= begun),
            Why::Aged => return self.was_old(),
            Why::DrainForced => self.is_past_grace(),
        };
        if is_allowed { Ok(()) } else { Err(format!("not with {finale:?}")) }
    }

    fn frame_was_late(&self) -> Result<(), String> {
        let since = self.client.partial_at.ok_or("no message was begun")?;
        self.silence_was(since, self.world.limits.frame_deadline.as_micros())
    }

    fn was_idle(&self) -> Result<(), String> {
        let idle = self.world.limits.idle.ok_or("no idle limit is set")?;
        self.silence_was(self.client.whole_at, idle.as_micros())
    }

    /// Whether it had been open for as long as it may be, or so many percent less.
    fn was_old(&self) -> Result<(), String> {
        let limits = self.world.limits;
        let most = limits.max_age.ok_or("connections have no age")?.as_micros();
        let least = most * (100 - u128::from(limits.max_age_jitter)) / 100;
        let age = u128::from(self.at.since_us(self.seen.opened));
        // Both are counted in whole milliseconds.
        if age + 2_000 >= least { Ok(()) } else { Err(format!("after {age} us of {least}")) }
    }

    /// Whether it was asked whether it is there, and has not answered: two intervals without a word.
    fn was_silent(&self) -> Result<(), String> {
        let heartbeat = self.world.limits.heartbeat.ok_or("no heartbeat is set")?;
        if !self.client.script.is_greeter {
            return Err("without a HELLO".to_owned());
        }
        self.silence_was(self.client.whole_at, heartbeat.as_micros() * 2)
    }

    /// What is promised to who said HELLO, however it ended.
    fn greeting_is_right(&self) -> Result<(), String> {
        let checker = &self.client.checker;
        let Some(welcome) = checker.welcome() else { return Ok(()) };
        let framing = self.world.listeners[self.client.script.listener as usize].framing;
        let heartbeat_ms = self.world.limits.heartbeat.map_or(0, whole_ms);
        let said = (welcome.version, welcome.max_payload, welcome.heartbeat_ms);
        if said != (1, framing.payload_max, heartbeat_ms) {
            return Err(format!("after a WELCOME that says {welcome:?}"));
        }
        let has_seen_all = self.client.saw == StreamEnd::End && checker.is_whole();
        if matches!(self.why, CloseReason::Drained | CloseReason::Aged)
            && has_seen_all
            && !checker.is_told_to_leave()
        {
            return Err("without having been told to leave".to_owned());
        }
        let here_ms = self.at.since_us(self.client.start) / 1000;
        if checker.notices() > 1 + here_ms / u64::from(NOTICE_REPEAT_MS) {
            return Err(format!("{} notices in {here_ms} ms", checker.notices()));
        }
        let stays = matches!(self.client.script.finale, Finale::Mute | Finale::Stay);
        if heartbeat_ms > 0 && stays && self.client.script.reading == Reading::Eager && !self.client.has_left
        {
            // While it is answered it is not asked.
            let since = self.client.whole_at.max(self.client.answered_at);
            let silent_ms = self.at.since_us(since) / 1000;
            // Meanwhile it may not have been read, for its open requests, and the end takes its time.
            let pauses = self.world.limits.request_deadline + self.world.limits.linger;
            if silent_ms > u64::from(heartbeat_ms) * 2 + u64::from(whole_ms(pauses)) + PATIENCE_MS {
                return Err(format!(
                    "after a silence of {silent_ms} ms with heartbeats of {heartbeat_ms} ms"
                ));
            }
        }
        Ok(())
    }

    /// Whether nothing came for that long, from `since` on, and nothing lay there that the server had only to read.
    fn silence_was(&self, since: Time, limit_us: u128) -> Result<(), String> {
        let waited_us = self.at.since_us(since);
        if u128::from(waited_us) + 1000 < limit_us {
            return Err(format!("after {waited_us} us of {limit_us}"));
        }
        let earliest = since.plus_us(u64::try_from(limit_us).unwrap_or(u64::MAX));
        match self.socket.figures.unread_since {
            Some(unread) if earliest.since_us(unread) > NEGLECT_US => {
                Err(format!("with bytes unread for {} us", earliest.since_us(unread)))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether one reply alone may be more than may be queued: no other reply ever is.
    fn has_huge_reply(&self) -> bool {
        let framing = self.world.listeners[self.client.script.listener as usize].framing;
        self.client.script.due_payload_max() > framing.payload_max as usize
    }

    fn is_past_grace(&self) -> bool {
        self.world.drain.is_some_and(|(_, until)| self.at.plus_us(1000) >= until)
    }

    fn is_orderly(&self) -> bool {
        use CloseReason as Why;
        match self.why {
            Why::PeerClosed
            | Why::Truncated
            | Why::BadCrc
            | Why::TooLarge
            | Why::LineTooLong
            | Why::UnknownControl
            | Why::BadControl
            | Why::BadExtension
            | Why::WrongDirection
            | Why::LateHello
            | Why::NoCommonVersion
            | Why::Unauthenticated
            | Why::CertificateExpired
            | Why::CertificateRevoked
            | Why::TlsOnPlain
            | Why::Http
            | Why::Resp
            | Why::Proxy
            | Why::FrameDeadline
            | Why::Idle
            | Why::Heartbeat
            | Why::RequestFailed
            | Why::ClosedByService
            | Why::Panicked
            | Why::Memory
            | Why::Drained
            | Why::Aged => true,
            Why::DialFailed
            | Why::TlsBroken
            | Why::Reset
            | Why::WriteStall
            | Why::SlowConsumer
            | Why::DrainForced
            | Why::Failed => false,
        }
    }

    /// Whether the client got what it had to get. That what it got is a prefix of what is due was checked before.
    fn receipt_is_right(&self) -> Result<(), String> {
        let is_cut = self.client.has_left
            || self.client.script.reading == Reading::Never
            || self.socket.reset_sent
            || self.socket.figures.had_odd_error
            || self.flushed_enough()
            || self.is_past_grace()
            // What the socket does not take of it is more than may be queued.
            || self.has_huge_reply() && self.socket.capacity.down < self.client.script.due_payload_max() * 2;
        if !self.is_orderly() || is_cut {
            return Ok(());
        }
        match self.client.saw {
            StreamEnd::Open => return Err("and its client saw no end".to_owned()),
            // Whoever holds output is cut off, and so is who ends while there is no memory for its last replies.
            StreamEnd::Reset if self.why == CloseReason::Memory || self.world.is_tight => return Ok(()),
            StreamEnd::Reset if self.lingered_enough() => return Ok(()),
            StreamEnd::Reset => return Err("by a reset that the server could have avoided".to_owned()),
            StreamEnd::End => {}
        }
        let words = self.client.checker.farewell();
        let is_evicted = words.is_none() || words == Some(Farewell::Status(status::OVERLOADED));
        if self.world.is_tight && is_evicted {
            // No memory for its output: cut off, whatever it had ended for before.
            return Ok(());
        }
        if !self.client.checker.is_whole() {
            return Err("within a message".to_owned());
        }
        self.all_was_answered()?;
        self.refusals_were_told()?;
        self.words_are_right()
    }

    /// The first refusal that has no reply of its own is told to who said HELLO.
    fn refusals_were_told(&self) -> Result<(), String> {
        let script = &self.client.script;
        let is_handled = |at: usize| {
            let whole = script.milestones.get(script.whole_by(at));
            whole.is_some_and(|milestone| milestone.end <= self.socket.figures.served_bytes)
        };
        let refused =
            script.unheard.iter().filter(|unheard| unheard.is_sure && is_handled(unheard.at)).count();
        let may_drop =
            matches!(self.why, CloseReason::Panicked | CloseReason::Memory | CloseReason::ClosedByService);
        if refused > 0 && self.client.checker.notices() == 0 && script.is_greeter && !may_drop {
            return Err(format!("without a notice of {refused} refusals"));
        }
        Ok(())
    }

    /// Replies to all that was read before the last words; at a drain, to all that had arrived before it.
    fn all_was_answered(&self) -> Result<(), String> {
        let figures = &self.socket.figures;
        let (taken, _) = self.taken_and_words();
        let due = self.client.script.due_by(figures.served_bytes);
        let may_drop = matches!(self.why, CloseReason::Panicked | CloseReason::Memory | CloseReason::ClosedByService)
            // The one that failed, and what is behind it; whatever else the connection is ending for.
            || self.client.script.protocol == Protocol::Bare && self.client.checker.next_may_fail(&self.moment());
        if taken > due || (taken < due && !may_drop) {
            return Err(format!("{taken} replies to {due} requests that were read"));
        }
        let promised = figures.drain_bytes.map_or(0, |bytes| self.client.script.due_by(bytes));
        if self.why == CloseReason::Drained && taken < promised && !may_drop {
            return Err(format!(
                "{taken} replies to {promised} requests that were there when the drain began"
            ));
        }
        let all = self.client.script.due.len();
        let has_sent_all = self.client.sent == self.client.script.stream.len();
        if self.why == CloseReason::PeerClosed && has_sent_all && taken < all && !may_drop {
            return Err(format!("{taken} replies of {all}"));
        }
        Ok(())
    }

    fn words_are_right(&self) -> Result<(), String> {
        let got = self.taken_and_words().1;
        match self.words() {
            Some(want) if got != want => Err(format!("with {got:?} for its last words, not {want:?}")),
            Some(_) | None => Ok(()),
        }
    }

    /// How much that was due has come, and the last words. A line that says that something failed may be either.
    fn taken_and_words(&self) -> (usize, Option<Farewell>) {
        let checker = &self.client.checker;
        let last = checker.last_error_line().map(Farewell::Status);
        match (checker.farewell(), self.words()) {
            (None, Some(Some(want))) if last == Some(want) => (checker.taken() - 1, last),
            (words, _) => (checker.taken(), words),
        }
    }

    /// What the last words must be, if that is certain.
    fn words(&self) -> Option<Option<Farewell>> {
        use CloseReason as Why;
        let is_frame = self.client.script.protocol == Protocol::Frame;
        let is_bare = self.client.script.protocol == Protocol::Bare;
        let is_welcome = self.client.checker.welcome().is_some();
        let on_frames = |code: u16| if is_frame { Some(Farewell::Status(code)) } else { None };
        Some(match self.why {
            Why::ClosedByService => return None,
            _ if is_bare => None,
            Why::PeerClosed | Why::Truncated | Why::RequestFailed => None,
            Why::NoCommonVersion => Some(Farewell::Status(status::UNSUPPORTED)),
            Why::Unauthenticated => Some(Farewell::Status(status::UNAUTHENTICATED)),
            Why::TlsOnPlain => Some(Farewell::TlsAlert),
            Why::TooLarge | Why::LineTooLong => Some(Farewell::Status(status::TOO_LARGE)),
            Why::BadCrc
            | Why::UnknownControl
            | Why::BadControl
            | Why::BadExtension
            | Why::WrongDirection
            | Why::LateHello
            | Why::Http
            | Why::Resp
            | Why::Proxy => Some(Farewell::Status(status::PROTOCOL)),
            Why::FrameDeadline => on_frames(status::PROTOCOL),
            Why::Idle | Why::Heartbeat => on_frames(status::IDLE),
            // It was told when the drain began.
            Why::Drained | Why::Aged if is_welcome => None,
            Why::Drained | Why::Aged => on_frames(status::DRAINING),
            Why::Panicked => Some(Farewell::Status(status::INTERNAL)),
            Why::Memory => Some(Farewell::Status(status::OVERLOADED)),
            Why::Reset
            | Why::WriteStall
            | Why::SlowConsumer
            | Why::DrainForced
            | Why::DialFailed
            | Why::CertificateExpired
            | Why::CertificateRevoked
            | Why::TlsBroken
            | Why::Failed => return None,
        })
    }

    /// Whether the server tried to write for as long as it promises before it closed.
    fn flushed_enough(&self) -> bool {
        let figures = &self.socket.figures;
        let (Some(served), Some(closed)) = (figures.served_at, figures.closed_at) else { return false };
        u128::from(closed.since_us(served)) >= FLUSH_GRACE.as_micros()
    }

    /// Whether the server read on for as long as it promises before it closed.
    fn lingered_enough(&self) -> bool {
        let figures = &self.socket.figures;
        let (Some(shut), Some(closed)) = (figures.shut_at, figures.closed_at) else { return false };
        let lingered = figures.read_bytes - figures.served_bytes;
        u128::from(closed.since_us(shut)) + 1000 >= self.world.limits.linger.as_micros()
            || lingered >= LINGER_BYTES_MAX as usize
    }
}
