//! What goes wrong in a world, how often, and how often it has.

use crate::base::Rng;

macro_rules! faults {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)+) => {
        /// One kind of trouble that a world makes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Trouble { $($(#[$doc])* $variant),+ }

        impl Trouble {
            /// All of them.
            pub const ALL: &'static [Trouble] = &[$(Trouble::$variant),+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();
            /// The name in reports.
            pub const fn name(self) -> &'static str {
                match self { $(Trouble::$variant => $name),+ }
            }
        }
    };
}

faults! {
    /// Less than what was sent arrived at once.
    SplitArrival => "split_arrival",
    /// A direction of a connection stood still for a while.
    Stall => "stall",
    /// A write was cut by lack of space.
    FullPipe => "full_pipe",
    /// A write was cut though there was space.
    ShortWrite => "short_write",
    /// An event without a cause.
    Spurious => "spurious_event",
    /// A call was interrupted by a signal.
    Interrupted => "interrupted",
    /// An event was told later than it could have been.
    LateEvent => "late_event",
    /// One token's readiness came as two events of one poll.
    SplitEvent => "split_event",
    /// An event was told for a connection that was closed already.
    StaleEvent => "stale_event",
    /// An event was told for a connection whose slot had a new owner.
    ReusedSlot => "reused_slot",
    /// A client reset its connection.
    Reset => "reset",
    /// A client ended its sending side and read on.
    HalfClose => "half_close",
    /// A client closed while replies were due to it.
    EarlyClose => "early_close",
    /// A reset destroyed what the server had written.
    Destroyed => "destroyed_replies",
    /// A read failed in a way that has no name.
    OddError => "odd_error",
    /// A connection was gone before it was accepted.
    AbortedAccept => "aborted_accept",
    /// Accepting failed for want of descriptors.
    Exhausted => "exhausted",
    /// A newcomer was told so by way of a spare descriptor.
    Told => "told_by_spare",
    /// No spare descriptor was to be had.
    NoSpare => "no_spare",
    /// The poller refused a new connection.
    RegisterFailed => "register_failed",
    /// The clock ran on within a turn.
    SlowTurn => "slow_turn",
    /// The millisecond clock wrapped around.
    ClockWrap => "clock_wrap",
    /// The budget was as small as it may be.
    TightMemory => "tight_memory",
    /// The server drained while clients were busy.
    BusyDrain => "busy_drain",
    /// A client stopped within a message and said no more.
    Silence => "silence",
    /// A client took its replies a little at a time.
    SlowReader => "slow_reader",
    /// A client took nothing any more.
    NeverReads => "never_reads",
    /// A client that had said HELLO did not answer a heartbeat.
    Unanswered => "unanswered_ping",
    /// Other threads ran in the middle of a turn.
    Preempted => "preempted",
    /// The poller returned for nothing.
    IdleWake => "idle_wake",
    /// As many offloaded jobs waited as may.
    JobsFull => "jobs_full",
    /// The deadline of an offloaded job passed before its turn came.
    JobExpired => "job_expired",
    /// An offloaded job panicked.
    JobPanicked => "job_panicked",
    /// Another thread sent a message to a connection, or ended one.
    Command => "command",
    /// What was meant for a connection that was over.
    StaleCommand => "stale_command",
    /// A server that was dialed refused.
    DialRefused => "dial_refused",
    /// A server that was dialed gave no sign.
    DialIgnored => "dial_ignored",
    /// A server that had been dialed reset the connection.
    BackendReset => "backend_reset",
    /// A server that had been dialed said that it goes away.
    BackendLeft => "backend_left",
    /// A server that had been dialed answered nothing.
    BackendMute => "backend_mute",
    /// A server that had been dialed broke the protocol.
    BackendGarbled => "backend_garbled",
    /// A newcomer found its listener full.
    ListenerFull => "listener_full",
    /// A newcomer's address had as many connections as it may.
    AddressFull => "address_full",
    /// Newcomers came faster than they may.
    AcceptsPaced => "accepts_paced",
    /// A connection, or its address, sent more than its rate allows, and was not read.
    RatePaused => "rate_paused",
    /// The same, and a request was refused.
    RateRefused => "rate_refused",
    /// A connection was sent more than its rate allows.
    DeliveriesDropped => "deliveries_dropped",
}

/// How often each kind of trouble was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Troubles([u64; Trouble::COUNT]);

impl Troubles {
    /// None yet.
    pub const fn none() -> Troubles {
        Troubles([0; Trouble::COUNT])
    }

    /// How often this one was made.
    pub const fn count(&self, trouble: Trouble) -> u64 {
        self.0[trouble as usize]
    }

    /// Adds another world's.
    pub fn add(&mut self, other: &Troubles) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }

    pub(super) fn note(&mut self, trouble: Trouble) {
        self.0[trouble as usize] += 1;
    }
}

/// How likely each trouble is: of 1000 occasions, so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Of deliveries, those that bring only a part.
    pub split: u64,
    /// Of deliveries, those after which the direction stands still.
    pub stall: u64,
    /// How long it stands still at most, in milliseconds.
    pub stall_ms_max: u64,
    /// Of writes, those that take less than there is space for.
    pub short_write: u64,
    /// Of polls, those with an event that has no cause.
    pub spurious: u64,
    /// Of reads and writes, those that are interrupted first.
    pub interrupted: u64,
    /// Of events, those that this poll holds back.
    pub late: u64,
    /// Of events, those that come in two halves.
    pub split_event: u64,
    /// Of closes, those after which an event is still told.
    pub stale: u64,
    /// Of reads, those that fail oddly.
    pub odd_error: u64,
    /// Of accepts, those whose peer is gone.
    pub aborted: u64,
    /// Of accepts, those after which descriptors are short for a while.
    pub exhausted: u64,
    /// Whether there is a spare descriptor to tell newcomers by.
    pub has_spare: bool,
    /// Of registrations, those that fail.
    pub register_failed: u64,
    /// Microseconds that pass at each look at the clock.
    pub tick_us: u64,
    /// Of the loop's calls, those before which other threads do what they have to do.
    pub preempt: u64,
    /// Of polls that have nothing to tell, those that return all the same.
    pub idle_wake: u64,
}

impl Weather {
    /// Nothing goes wrong, and all that is sent arrives at once.
    pub const fn calm() -> Weather {
        Weather {
            split: 0,
            stall: 0,
            stall_ms_max: 0,
            short_write: 0,
            spurious: 0,
            interrupted: 0,
            late: 0,
            split_event: 0,
            stale: 0,
            odd_error: 0,
            aborted: 0,
            exhausted: 0,
            has_spare: true,
            register_failed: 0,
            tick_us: 0,
            preempt: 0,
            idle_wake: 0,
        }
    }

    /// Drawn: each kind of trouble is absent from some worlds, so that it does not hide another.
    pub fn draw(rng: &mut Rng) -> Weather {
        let mut rate = |likely: u64, most: u64| if rng.chance(likely) { rng.below(most) } else { 0 };
        Weather {
            split: rate(800, 900),
            stall: rate(600, 100),
            stall_ms_max: rate(900, 400) + 1,
            short_write: rate(500, 300),
            spurious: rate(500, 200),
            interrupted: rate(500, 200),
            late: rate(500, 500),
            split_event: rate(400, 500),
            stale: rate(600, 900),
            odd_error: rate(100, 8),
            aborted: rate(300, 200),
            exhausted: rate(350, 300),
            register_failed: rate(100, 60),
            tick_us: rate(300, 260),
            has_spare: rate(500, 2) == 0,
            preempt: rate(600, 500),
            idle_wake: rate(300, 200),
        }
    }
}
