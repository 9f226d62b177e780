//! What this host gives, asked once: processors, descriptors, memory, the longest accept queue.

use crate::config::Host;
use crate::load::descriptors;
use std::num::NonZero;

/// This host, with the limit of descriptors raised as far as the system lets us.
pub(super) fn host() -> Host {
    Host {
        processors: std::thread::available_parallelism().map_or(1, NonZero::get),
        descriptors: descriptors::raise_limit(),
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
