//! What Linux accounts to a process: CPU time, run-queue delay, memory.

use std::fs;
use std::io;

/// CPU time and run-queue delay since a thread or process began. See Linux `Documentation/scheduler/sched-stats.rst`.
///
/// The kernel brings the figures of a running thread up to date at its tick, so a difference is exact to some 4 ms.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sched {
    /// Time on a CPU, ns.
    pub run_ns: u64,
    /// Time ready to run, but waiting for a CPU, ns.
    pub wait_ns: u64,
}

impl Sched {
    /// The sum over all threads of a process.
    pub fn of_process(pid: u32) -> io::Result<Sched> {
        let mut sum = Sched::default();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let one = Sched::parse(&fs::read_to_string(task?.path().join("schedstat"))?)?;
            sum.run_ns += one.run_ns;
            sum.wait_ns += one.wait_ns;
        }
        Ok(sum)
    }

    /// The calling thread.
    pub fn of_this_thread() -> io::Result<Sched> {
        Sched::parse(&fs::read_to_string("/proc/thread-self/schedstat")?)
    }

    /// What was added since `earlier`.
    pub fn since(self, earlier: Sched) -> Sched {
        Sched {
            run_ns: self.run_ns.saturating_sub(earlier.run_ns),
            wait_ns: self.wait_ns.saturating_sub(earlier.wait_ns),
        }
    }

    fn parse(text: &str) -> io::Result<Sched> {
        let mut fields = text.split_ascii_whitespace().map(str::parse);
        match (fields.next(), fields.next()) {
            (Some(Ok(run_ns)), Some(Ok(wait_ns))) => Ok(Sched { run_ns, wait_ns }),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("schedstat: {text:?}"))),
        }
    }
}

/// Resident memory of a process, bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// All resident pages.
    pub rss: u64,
    /// Pages of its own that it has written to.
    pub private_dirty: u64,
    /// Pages that no file is behind.
    pub anonymous: u64,
}

impl Memory {
    /// Memory of a process now.
    pub fn of_process(pid: u32) -> io::Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        Ok(Memory {
            rss: kib_line(&status, "VmRSS:")?,
            private_dirty: kib_line(&smaps, "Private_Dirty:")?,
            anonymous: kib_line(&smaps, "Anonymous:")?,
        })
    }
}

/// How many descriptors a process has open.
pub fn descriptors(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

fn kib_line(text: &str, name: &str) -> io::Result<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = value.and_then(|value| value.trim().strip_suffix("kB")).and_then(|kib| kib.trim().parse().ok());
    kib.map(|kib: u64| kib * 1024).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, name.to_owned()))
}
