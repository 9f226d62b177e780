//! Linux: files below /proc/self, opened once and read again at each look (proc(5)).

use super::{System, ThreadTime};
use rustix::param::clock_ticks_per_second;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// The longest of these files; the rest of a longer one is not needed.
const TEXT_BYTES: usize = 4096;

/// The files, open.
#[derive(Debug)]
pub(in super::super) struct Files {
    status: Option<File>,
    started: Option<Duration>,
    /// By the loop's number.
    threads: Vec<Option<File>>,
}

impl Files {
    pub(in super::super) fn open(thread_ids: &[Option<u32>]) -> Files {
        let schedstat = |id: &Option<u32>| File::open(format!("/proc/self/task/{}/schedstat", (*id)?)).ok();
        Files {
            status: File::open("/proc/self/status").ok(),
            started: started(),
            threads: thread_ids.iter().map(schedstat).collect(),
        }
    }

    pub(in super::super) fn read(&self) -> System {
        let status = self.status.as_ref().and_then(text).unwrap_or_default();
        System {
            started: self.started,
            resident_bytes: field(&status, "VmRSS:"),
            virtual_bytes: field(&status, "VmSize:"),
            open_fds: open_fds(),
            threads: self.threads.iter().map(|file| thread_time(file.as_ref()?)).collect(),
            ..System::anywhere()
        }
    }
}

fn text(file: &File) -> Option<String> {
    let mut bytes = [0; TEXT_BYTES];
    let count = file.read_at(&mut bytes, 0).ok()?;
    Some(String::from_utf8_lossy(&bytes[..count]).into_owned())
}

/// A line of /proc/self/status in bytes; the file counts in kibibytes.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}

/// Since Linux 6.2 the directory's size says how many there are, without one of our own. Before that they are counted,
/// less the one that counting takes.
fn open_fds() -> Option<u64> {
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => fs::read_dir("/proc/self/fd").ok().map(|all| all.count() as u64 - 1),
        count => Some(count),
    }
}

/// The moment of the start, since the Unix epoch.
fn started() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in brackets may hold spaces; starttime is the 22nd field, the third is the first behind the name.
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(22 - 3)?.parse().ok()?;
    let all = fs::read_to_string("/proc/stat").ok()?;
    let boot = all.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let ms = ticks.checked_mul(1000)?.checked_div(clock_ticks_per_second())?;
    Some(Duration::from_secs(boot) + Duration::from_millis(ms))
}

/// Nanoseconds on a processor, and nanoseconds of waiting for one.
fn thread_time(file: &File) -> Option<ThreadTime> {
    let text = text(file)?;
    let mut numbers = text.split_whitespace().map_while(|word| word.parse().ok());
    let (ran, waited) = (numbers.next()?, numbers.next()?);
    Some(ThreadTime { ran: Duration::from_nanos(ran), waited: Duration::from_nanos(waited) })
}
