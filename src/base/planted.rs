//! Known bugs that a test can switch on, to show that the simulator finds them.
//!
//! Without the feature `planted-bugs` the question is a constant `false` and leaves no code behind. The switch is a
//! thread's own, so tests that run side by side don't infect each other.

/// One bug that was planted on purpose. Each stands at exactly one place in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A connection that stopped before would-block is not put on the hot list.
    HotPushLost,
    /// After a partial write the queue forgets what the socket took, and sends it again.
    WrittenTwice,
    /// An event's generation is not compared with that of the slot's owner.
    GenerationIgnored,
    /// When a pause ends, the socket is read without parsing what the pause left behind first.
    RingNotParsedOnResume,
    /// A payload one byte over the limit is accepted.
    LimitOffByOne,
    /// Output falls below the low watermark and reading stays paused.
    PauseNeverCleared,
    /// An ending connection is closed while output still waits.
    ClosedBeforeFlushed,
    /// A connection is closed without reading on, so that the kernel destroys replies in flight.
    NoLinger,
    /// At end of stream, whole frames that a stopped batch left behind are dropped.
    LastFramesDropped,
    /// The last byte of a partial frame is lost on its way to the connection's ring.
    TailCut,
    /// An emptied ring is not given back to the pool.
    LeaseLeaked,
    /// The frame deadline runs on while we ourselves don't read.
    DeadlineWhilePaused,
    /// After descriptors ran out, accepting is not retried.
    AcceptNotRetried,
    /// A reply is written past a queue that is not empty.
    QueueBypassed,
    /// A deferred reply leaves one place before its turn.
    SlotOffByOne,
    /// An answer goes to the oldest open request, whichever it is for.
    SerialIgnored,
    /// The bell is cleared behind the last letter, so that the wake of one that came meanwhile is lost.
    BellClearedLate,
    /// The right to answer of a request whose connection is gone does not come back.
    CreditLost,
    /// Replies that wait behind an open request are not counted as queued.
    HeldNotCounted,
    /// Reading stays paused when there is room for more open requests.
    SlotsPauseKept,
    /// A request whose deadline has passed is started.
    ExpiredStarted,
    /// Open requests have no deadline.
    OpenForEver,
    /// At a drain, who said HELLO is not told to go elsewhere.
    DrainUntold,
    /// An effect reaches the next owner of the slot that it was meant for.
    StaleEffect,
    /// Only requests are taken for life, and no control frame, the answer to a heartbeat among them.
    PongUnheard,
    /// A peer is sent a notice of every refusal.
    NoticeFlood,
    /// A deferred reply may be larger than its requester takes.
    LargeLater,
    /// A connection that is being dialed is never given up.
    DialForEver,
    /// Reading stays paused when the rate allows more.
    RatePauseKept,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 29] = [
        Bug::HotPushLost,
        Bug::WrittenTwice,
        Bug::GenerationIgnored,
        Bug::RingNotParsedOnResume,
        Bug::LimitOffByOne,
        Bug::PauseNeverCleared,
        Bug::ClosedBeforeFlushed,
        Bug::NoLinger,
        Bug::LastFramesDropped,
        Bug::TailCut,
        Bug::LeaseLeaked,
        Bug::DeadlineWhilePaused,
        Bug::AcceptNotRetried,
        Bug::QueueBypassed,
        Bug::SlotOffByOne,
        Bug::SerialIgnored,
        Bug::BellClearedLate,
        Bug::CreditLost,
        Bug::HeldNotCounted,
        Bug::SlotsPauseKept,
        Bug::ExpiredStarted,
        Bug::OpenForEver,
        Bug::DrainUntold,
        Bug::StaleEffect,
        Bug::PongUnheard,
        Bug::NoticeFlood,
        Bug::LargeLater,
        Bug::DialForEver,
        Bug::RatePauseKept,
    ];
}

#[cfg(feature = "planted-bugs")]
mod switch {
    use super::Bug;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Switches one bug on, or all off, for this thread.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// Whether this bug is switched on.
    pub fn is_planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(not(feature = "planted-bugs"))]
mod switch {
    /// Always `false` in this build.
    #[inline(always)]
    pub const fn is_planted(_bug: super::Bug) -> bool {
        false
    }
}

pub use switch::*;
