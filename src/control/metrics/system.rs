//! What the system says of this process and of the loops' threads.
//!
//! Always holds: what the system does not tell is absent, and never zero; after the first look no descriptor is opened,
//! so that a process that has run out of them can still be watched. Never: a figure of another process.

#[cfg(target_os = "linux")]
mod linux;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

#[cfg(target_os = "linux")]
pub(super) use linux::Files;

/// Elsewhere there are no such files.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(super) struct Files;

#[cfg(not(target_os = "linux"))]
impl Files {
    pub(super) fn open(_: &[Option<u32>]) -> Files {
        Files
    }

    pub(super) fn read(&self) -> System {
        System::anywhere()
    }
}

/// What is known at one moment.
#[derive(Debug, Default)]
pub(in super::super) struct System {
    pub(in super::super) cpu: Option<Duration>,
    pub(in super::super) started: Option<Duration>,
    pub(in super::super) resident_bytes: Option<u64>,
    pub(in super::super) virtual_bytes: Option<u64>,
    pub(in super::super) open_fds: Option<u64>,
    pub(in super::super) max_fds: Option<u64>,
    /// By the loop's number, as far as they are known.
    pub(in super::super) threads: Vec<Option<ThreadTime>>,
}

/// What a loop's thread got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct ThreadTime {
    /// On a processor.
    pub(in super::super) ran: Duration,
    /// Ready, and without one.
    pub(in super::super) waited: Duration,
}

impl System {
    /// What every system of ours tells.
    fn anywhere() -> System {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        System {
            cpu: Duration::try_from(cpu).ok(),
            max_fds: getrlimit(Resource::Nofile).current,
            ..System::default()
        }
    }
}
