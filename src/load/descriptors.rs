//! How many connections one process can hold, by its limit of descriptors, and how many processes it takes.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors of a process that are no connections: its input and output, polls, timers, pipes to other processes.
pub const RESERVE: u64 = 64;

/// Raises the limit of descriptors as far as the system lets us, and gives it; `u64::MAX` if there is none.
pub fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // What is refused (macOS has a lower limit than it names) leaves the limit as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Connections that fit into a process with such a limit.
pub const fn connections_in(limit: u64) -> u64 {
    limit.saturating_sub(RESERVE)
}

/// How many processes it takes to hold `connections`, if each has such a limit; at least one.
///
/// # Errors
///
/// In words, if no number of processes is enough.
pub fn processes_for(connections: u32, limit: u64) -> Result<u32, String> {
    let each = connections_in(limit);
    if each == 0 {
        return Err(format!(
            "a process may have {limit} descriptors, and {RESERVE} are needed besides connections; raise the limit \
             with ulimit -n"
        ));
    }
    Ok(u32::try_from(u64::from(connections).div_ceil(each)).unwrap_or(u32::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_as_many_as_needed() {
        #[rustfmt::skip]
        let table: &[(u32, u64, Option<u32>)] = &[
            (0,         1024,     Some(1)),
            (960,       1024,     Some(1)),
            (961,       1024,     Some(2)),
            (100_000,   20_000,   Some(6)),
            (1_000_000, u64::MAX, Some(1)),
            (2,         65,       Some(2)),
            (1,         64,       None),
            (1,         0,        None),
        ];
        for (connections, limit, want) in table {
            let got = processes_for(*connections, *limit);
            assert_eq!(got.as_ref().ok(), want.as_ref(), "{connections} with {limit}: {got:?}");
        }
        assert!(processes_for(1, 64).unwrap_err().contains("ulimit -n"));
    }

    #[test]
    fn the_limit_is_at_its_highest_afterwards() {
        let limit = raise_limit();
        assert_eq!(raise_limit(), limit);
        if cfg!(target_os = "linux") {
            assert_eq!(getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX), limit);
        }
    }
}
