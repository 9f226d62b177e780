//! What this host gives, asked once: processors, descriptors, memory, the longest accept queue.

use crate::config::Host;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::num::NonZero;

/// This host, with the limit of descriptors raised as far as the system lets us.
pub(super) fn host() -> Host {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    Host {
        processors: std::thread::available_parallelism().map_or(1, NonZero::get),
        descriptors: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
        memory_bytes: memory_bytes(),
        backlog_max: backlog_max(),
    }
}

/// Linux alone tells it in a file.
fn memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Likewise.
fn backlog_max() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}
