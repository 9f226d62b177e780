//! A moment at which a poll ends, finer than a millisecond: what the system has for it.
//!
//! Linux's epoll_wait(2) takes whole milliseconds, so there a timerfd_create(2) of its own is registered at the poll,
//! and the poll needs no timeout. kqueue's timeout is in nanoseconds: elsewhere the poll has one, and this does nothing.

pub(super) use system::Timer;

#[cfg(target_os = "linux")]
mod system {
    use mio::unix::SourceFd;
    use mio::{Interest, Registry, Token};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
    };
    use std::io;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::time::{Duration, Instant};

    /// Makes its token ready at the moment it is set to.
    ///
    /// It is never read: the poll is edge-triggered, and each expiry is an edge of its own.
    #[derive(Debug)]
    pub(in crate::load) struct Timer {
        timer: OwnedFd,
        /// When it will go off, if it is set.
        set_to: Option<Instant>,
    }

    impl Timer {
        pub(in crate::load) fn new(registry: &Registry, token: Token) -> io::Result<Timer> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
            Ok(Timer { timer, set_to: None })
        }

        /// Sees to it that a poll which begins now ends at `at`, or before; gives the timeout that the poll needs for it.
        ///
        /// A timer that goes off earlier is left as it is: deadlines move on with every reply, and one poll that ends
        /// for nothing is cheaper than a system call each time. The span is told rather than the moment, because std
        /// keeps the clock's own count to itself; what passes until the call is well under a microsecond.
        pub(in crate::load) fn end_poll_at(
            &mut self,
            at: Instant,
            now: Instant,
        ) -> io::Result<Option<Duration>> {
            let is_soon_enough = self.set_to.is_some_and(|set| set > now && set <= at);
            if !is_soon_enough {
                // Nothing at all would stop it.
                let span = at.saturating_duration_since(now).max(Duration::from_nanos(1));
                let it_value = span.try_into().map_err(io::Error::other)?;
                let once = Itimerspec { it_interval: rustix::time::Timespec::default(), it_value };
                timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
                self.set_to = Some(at);
            }
            Ok(None)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use mio::{Registry, Token};
    use std::io;
    use std::time::{Duration, Instant};

    /// The poll's own timeout.
    #[derive(Debug)]
    pub(in crate::load) struct Timer;

    impl Timer {
        pub(in crate::load) fn new(_registry: &Registry, _token: Token) -> io::Result<Timer> {
            Ok(Timer)
        }

        /// Gives the timeout with which a poll that begins now ends at `at`.
        pub(in crate::load) fn end_poll_at(
            &mut self,
            at: Instant,
            now: Instant,
        ) -> io::Result<Option<Duration>> {
            Ok(Some(at.saturating_duration_since(now)))
        }
    }
}
