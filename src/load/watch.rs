//! What the system tells of a process: how long its threads ran, and its memory; and of a thread that asks for itself:
//! how long it was ready without a processor.
//!
//! Always holds: figures are Linux's own accounting (`/proc/PID/task/TID/schedstat`, see sched-stats in the kernel's
//! documentation). How long others ran is brought up to date at the tick, so a difference is exact to some 4 ms a
//! thread; a thread's own wait is over when it asks, and exact. Where there is no `/proc`, there is no [`Snapshot`] and
//! no wait: nothing is guessed.
//! Never: more than reading. A process that ends while it is looked at has no snapshot.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

/// The counts of a process at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    at: Instant,
    /// By number of the thread.
    /// How long it ran since it began, in nanoseconds.
    threads: BTreeMap<u32, u64>,
    rss_bytes: u64,
}

/// What a process used between two snapshots.
///
/// A thread that began in between counts with all it has used. One that ended counts with nothing, since its counts
/// went with it: [`Usage::ended`] says how many there were. A number that was used again by another thread is told by
/// counts that are lower than before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Time between the snapshots, in nanoseconds.
    pub elapsed_ns: u64,
    /// Processor time of all threads, in nanoseconds.
    pub cpu_ns: u64,
    /// Share of the time in which the busiest thread ran, 0 to 1.
    pub busiest: f64,
    /// Resident memory at the end, in bytes.
    pub rss_bytes: u64,
    /// Threads that ended in between.
    pub ended: u32,
}

impl Snapshot {
    /// A process now. `None` if there is no such process, or the system doesn't tell.
    pub fn of(pid: u32) -> Option<Snapshot> {
        let mut threads = BTreeMap::new();
        // One that ends meanwhile is left out.
        for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
            let tid = task.file_name().to_str().and_then(|name| name.parse().ok());
            let times = fs::read_to_string(task.path().join("schedstat")).ok().and_then(|text| times(&text));
            if let (Some(tid), Some((run_ns, _))) = (tid, times) {
                threads.insert(tid, run_ns);
            }
        }
        let rss_bytes = rss(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)?;
        let at = Instant::now();
        (!threads.is_empty()).then_some(Snapshot { at, threads, rss_bytes })
    }

    /// What was used from here until `later`.
    pub fn until(&self, later: &Snapshot) -> Usage {
        let elapsed = later.at.saturating_duration_since(self.at).as_nanos();
        let elapsed_ns = u64::try_from(elapsed).unwrap_or(u64::MAX);
        let mut usage = Usage { elapsed_ns, rss_bytes: later.rss_bytes, ..Usage::default() };
        let mut run_ns_max = 0;
        for (tid, now) in &later.threads {
            let before = self.threads.get(tid).filter(|before| *before <= now);
            let run_ns = now - before.unwrap_or(&0);
            usage.cpu_ns += run_ns;
            run_ns_max = run_ns_max.max(run_ns);
        }
        let ended = self.threads.keys().filter(|tid| !later.threads.contains_key(tid)).count();
        usage.ended = u32::try_from(ended).unwrap_or(u32::MAX);
        usage.busiest = share(run_ns_max, elapsed_ns);
        usage
    }
}

/// How long the calling thread was ready without a processor since it began, in nanoseconds. `None` if the system
/// doesn't tell. Who asks from another thread, on a machine where threads wait, may come when this one has ended and
/// its counts are gone.
pub fn own_wait_ns() -> Option<u64> {
    let (_, wait_ns) = times(&fs::read_to_string("/proc/thread-self/schedstat").ok()?)?;
    Some(wait_ns)
}

/// At the tick's precision a share may come out above 1.
#[expect(clippy::cast_precision_loss, reason = "a share needs no 53 bits")]
fn share(part_ns: u64, of_ns: u64) -> f64 {
    if of_ns == 0 { 0.0 } else { (part_ns as f64 / of_ns as f64).min(1.0) }
}

/// `RUN_NS WAIT_NS SLICES`.
fn times(schedstat: &str) -> Option<(u64, u64)> {
    let mut fields = schedstat.split_ascii_whitespace().map(|field| field.parse().ok());
    Some((fields.next()??, fields.next()??))
}

/// The line `VmRSS: 1234 kB`. A process that has ended and is not yet waited for has none.
fn rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    /// Thread, and how long it ran.
    type Rows<'a> = &'a [(u32, u64)];

    fn snapshot(at: Instant, threads: Rows<'_>) -> Snapshot {
        Snapshot { at, threads: threads.iter().copied().collect(), rss_bytes: 4096 }
    }

    #[test]
    fn threads_come_and_go() {
        let at = Instant::now();
        let later = at + Duration::from_nanos(1000);
        #[rustfmt::skip]
        let table: [(&str, Rows<'_>, Rows<'_>, _); 6] = [
            ("nothing",     &[(1, 50)],          &[(1, 50)],             (0, 0.0, 0)),
            ("two ran",     &[(1, 50), (2, 0)],  &[(1, 150), (2, 400)],  (500, 0.4, 0)),
            ("one came",    &[(1, 50)],          &[(1, 60), (2, 300)],   (310, 0.3, 0)),
            ("one went",    &[(1, 50), (2, 99)], &[(1, 150)],            (100, 0.1, 1)),
            ("number anew", &[(1, 500)],         &[(1, 200)],            (200, 0.2, 0)),
            ("over all",    &[(1, 0)],           &[(1, 1500)],           (1500, 1.0, 0)),
        ];
        for (name, before, after, want) in table {
            let usage = snapshot(at, before).until(&snapshot(later, after));
            let got = (usage.cpu_ns, usage.busiest, usage.ended);
            assert_eq!(got, want, "case: {name}");
            assert_eq!((usage.elapsed_ns, usage.rss_bytes), (1000, 4096), "case: {name}");
        }
        let none = snapshot(at, &[(1, 5)]).until(&snapshot(at, &[(1, 9)]));
        assert_eq!(none.busiest, 0.0, "no time has passed");
    }

    #[test]
    fn a_child_that_burns_is_seen() {
        let mut child = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let before = Snapshot::of(child.id());
        std::thread::sleep(Duration::from_millis(300));
        let after = Snapshot::of(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Snapshot::of(child.id()).is_none(), "it has ended");
        let usage = before.unwrap().until(&after.unwrap());
        // However many others want its processor.
        assert!(usage.busiest > 0.05, "{usage:?}");
        assert!(usage.cpu_ns > 15_000_000 && usage.rss_bytes > 100_000, "{usage:?}");
    }

    #[test]
    fn a_process_that_sleeps_uses_nothing() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let before = Snapshot::of(child.id());
        std::thread::sleep(Duration::from_millis(100));
        let after = Snapshot::of(child.id());
        drop(child.stdin.take());
        child.wait().unwrap();
        let usage = before.unwrap().until(&after.unwrap());
        assert!(usage.busiest < 0.1, "{usage:?}");
    }

    #[test]
    fn own_threads_are_seen_and_missed() {
        let (stop, stopped) = channel::<()>();
        let of_self = || Snapshot::of(std::process::id()).unwrap();
        let before = of_self();
        let thread = std::thread::spawn(move || {
            let began = Instant::now();
            while began.elapsed() < Duration::from_millis(100) {
                std::hint::spin_loop();
            }
            let _ = stopped.recv();
        });
        std::thread::sleep(Duration::from_millis(150));
        let between = of_self();
        let usage = before.until(&between);
        assert!(usage.cpu_ns >= 10_000_000, "{usage:?}");
        drop(stop);
        thread.join().unwrap();
        // Its number goes shortly after it has been joined.
        let end = Instant::now() + Duration::from_secs(2);
        while between.until(&of_self()).ended == 0 {
            assert!(Instant::now() < end, "the thread is still there");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn who_shares_a_processor_has_waited_for_it() {
        let burn = || {
            let (began, before) = (Instant::now(), own_wait_ns().unwrap());
            while began.elapsed() < Duration::from_millis(100) {
                std::hint::spin_loop();
            }
            let waited = own_wait_ns().unwrap() - before;
            assert!(u128::from(waited) <= began.elapsed().as_nanos(), "{waited} ns");
            waited
        };
        let count = 3 * std::thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..count).map(|_| std::thread::spawn(burn)).collect();
        let waits = threads.into_iter().map(|thread| thread.join().unwrap());
        let longest = waits.max();
        assert!(
            longest > Some(20_000_000),
            "three for each processor, and the longest wait is {longest:?} ns"
        );
    }

    #[test]
    fn what_is_no_process_has_no_snapshot() {
        assert!(Snapshot::of(u32::MAX).is_none());
        assert!(times("").is_none() && times("12").is_none() && times("a b c").is_none());
        assert!(rss("VmSize: 12 kB\n").is_none() && rss("VmRSS: 12 pages\n").is_none());
        assert_eq!(rss("VmRSS:\t    12 kB\n"), Some(12 << 10));
    }
}
