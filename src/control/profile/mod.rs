//! CPU profiles: which functions the process's processor time goes to, while it serves.
//!
//! ```text
//!   sampler --SIGPROF, so often a second of processor time--> Profile --> proto | flame | folded
//!   usage   --what each thread used, by the kernel's books----^
//! ```
//!
//! A sample is taken in a signal handler, on the thread that runs. One that falls into the C library is thrown away, since a
//! stack can't be followed from there without a risk, and the kernel's own work is seen from there at best. What both
//! used is told by the kernel's books instead, as a frame below the thread: so a profile adds up to all of the time.
//!
//! Always holds: a profile is bounded in time, rate and depth; when it is over its timer is off. Never: a byte of a message, or
//! anything but names of functions, files and threads.

// Nothing of the rest is called where nothing is sampled.
#![cfg_attr(
    not(all(
        feature = "profiling",
        target_os = "linux",
        target_env = "gnu",
        any(target_arch = "x86_64", target_arch = "aarch64")
    )),
    allow(dead_code)
)]

mod flame;
mod folded;
mod names;
mod proto;
#[cfg(all(
    feature = "profiling",
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod sampler;
mod stacks;
#[cfg(target_os = "linux")]
mod usage;

pub(super) use flame::{CONTENT_SECURITY, flame};
pub(super) use folded::folded;
pub(super) use proto::proto;
#[cfg(all(
    feature = "profiling",
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub(super) use sampler::sample;
pub(super) use stacks::Profile;

use std::time::Duration;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// How long at most.
    pub(super) lasts: Duration,
    /// Samples in a second of processor time.
    pub(super) hz: u32,
}

/// What is said to whoever makes a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It is long enough as it is.
    Enough,
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoProfile {
    /// No sampler is compiled in.
    #[cfg_attr(
        all(
            feature = "profiling",
            target_os = "linux",
            target_env = "gnu",
            any(target_arch = "x86_64", target_arch = "aarch64")
        ),
        expect(dead_code, reason = "one is")
    )]
    #[error(
        "this build makes no profiles: that takes the feature profiling, and Linux with glibc on x86-64 or ARM64"
    )]
    Unsupported,
    /// Another port of this process has the signal.
    #[error("another part of this process is making a profile; ask again when it is over")]
    Taken,
    /// The system refused something.
    #[error("the profiler cannot begin: {0}")]
    Refused(String),
}

/// Nothing is sampled here.
#[cfg(not(all(
    feature = "profiling",
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
pub(super) fn sample(_: Plan, _: &std::sync::mpsc::Receiver<Told>) -> Result<Option<Profile>, NoProfile> {
    Err(NoProfile::Unsupported)
}
