//! What this host gives, as it says so itself: files under a root, and nothing decided.
//!
//! Always holds: a file that is not there, or that says what nobody understands, is `None`; [`UNLIMITED`] is a limit that
//! is none. Never: a write; a figure made up for one that can't be had.

mod cgroup;
#[cfg(test)]
mod tests;

use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A limit that is none.
pub(super) const UNLIMITED: u64 = u64::MAX;

/// Of a file no more is read, in bytes: the longest of them, a table of memory, has some thousands.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// What is used of something, and the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) used: u64,
    pub(super) most: u64,
}

impl Use {
    /// What is left of it; of what has no limit there is always as much.
    pub(super) const fn left(self) -> u64 {
        if self.most == UNLIMITED { UNLIMITED } else { self.most.saturating_sub(self.used) }
    }
}

/// A host and this process in it. What has no unit in its name is a count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// As far as a process of this shell may raise its limit of descriptors, which a server does by itself.
    pub(super) descriptors: Option<u64>,
    /// As far as root may raise that.
    pub(super) nr_open: Option<u64>,
    /// Open files of all processes.
    pub(super) files: Option<Use>,
    /// Registrations with pollers that one user may have.
    pub(super) watches: Option<u64>,
    pub(super) somaxconn: Option<u64>,
    pub(super) syn_backlog: Option<u64>,
    pub(super) syncookies: Option<u64>,
    /// The first and the last port of outgoing connections.
    pub(super) ports: Option<(u64, u64)>,
    /// Pages that the queues of all TCP sockets may take: at ease, under pressure, at most.
    pub(super) tcp_pages: Option<[u64; 3]>,
    pub(super) page_bytes: u64,
    /// The most that a program may ask for a socket's queue, in and out.
    pub(super) asked_bytes_max: Option<(u64, u64)>,
    /// The most that the kernel itself makes of a socket's queue, in and out.
    pub(super) tuned_bytes_max: Option<(u64, u64)>,
    /// Connections that the firewall remembers.
    pub(super) tracked: Option<Use>,
    pub(super) memory_bytes: Option<Use>,
    /// The least that a control group leaves of its memory.
    pub(super) group_bytes: Option<Use>,
    /// The least that a control group leaves of its processes and threads.
    pub(super) tasks: Option<Use>,
    /// Processor time that a control group gives, in hundredths of a processor.
    pub(super) quota_percent: Option<u64>,
    /// Processors that this process may run on, and those that are on.
    pub(super) processors: Option<u64>,
    pub(super) processors_on: Option<u64>,
    /// `vm.overcommit_memory`, and what is promised of what may be.
    pub(super) overcommit: Option<u64>,
    pub(super) promised_bytes: Option<Use>,
    /// Mappings that a process may have.
    pub(super) mappings: Option<u64>,
    pub(super) clock: Option<String>,
    pub(super) clocks: Vec<String>,
    /// When pages of 2 MiB are made, and when a program waits for that.
    pub(super) huge_pages: Option<String>,
    pub(super) huge_pages_wait: Option<String>,
}

impl Facts {
    /// Processors that loops are made for, as std::thread::available_parallelism counts them: what the affinity allows, and
    /// no more than a control group gives time of.
    pub(super) fn usable_processors(&self) -> usize {
        let here = self.processors.or(self.processors_on).unwrap_or(1);
        let given = self.quota_percent.map_or(UNLIMITED, |percent| percent / 100);
        usize::try_from(here.min(given)).unwrap_or(usize::MAX).max(1)
    }
}

/// Reads all of it below `root`, which is `/` unless somebody has a copy.
pub(super) fn read(root: &Path, page_bytes: u64) -> Facts {
    let tree = Tree { root };
    let limits = tree.text("proc/self/limits");
    let memory = tree.text("proc/meminfo");
    let of_memory = |name: &str| memory.as_deref().and_then(|text| kib(text, name));
    let sockets = |name: &str| tree.number(&format!("proc/sys/net/core/{name}"));
    let tuned = |name: &str| tree.numbers::<3>(&format!("proc/sys/net/ipv4/{name}")).map(|[_, _, most]| most);
    let tracked = |name: &str| tree.number(&format!("proc/sys/net/netfilter/nf_conntrack_{name}"));
    let huge = |name: &str| tree.text(&format!("sys/kernel/mm/transparent_hugepage/{name}"));
    let clocks = |name: &str| tree.text(&format!("sys/devices/system/clocksource/clocksource0/{name}"));
    let groups = cgroup::read(&tree);
    let total = of_memory("MemTotal:");
    Facts {
        descriptors: limits.as_deref().and_then(|text| hard_limit(text, "Max open files")),
        nr_open: tree.number("proc/sys/fs/nr_open"),
        files: tree
            .numbers::<3>("proc/sys/fs/file-nr")
            .map(|[used, _, most]| Use { used, most: none_if_huge(most) }),
        watches: tree.number("proc/sys/fs/epoll/max_user_watches"),
        somaxconn: sockets("somaxconn"),
        syn_backlog: tree.number("proc/sys/net/ipv4/tcp_max_syn_backlog"),
        syncookies: tree.number("proc/sys/net/ipv4/tcp_syncookies"),
        ports: tree.numbers::<2>("proc/sys/net/ipv4/ip_local_port_range").map(|[first, last]| (first, last)),
        tcp_pages: tree.numbers("proc/sys/net/ipv4/tcp_mem"),
        page_bytes,
        asked_bytes_max: sockets("rmem_max").zip(sockets("wmem_max")),
        tuned_bytes_max: tuned("tcp_rmem").zip(tuned("tcp_wmem")),
        tracked: tracked("count").zip(tracked("max")).map(|(used, most)| Use { used, most }),
        memory_bytes: of_memory("MemAvailable:")
            .zip(total)
            .map(|(left, most)| Use { used: most.saturating_sub(left), most }),
        group_bytes: groups.memory_bytes,
        tasks: groups.tasks,
        quota_percent: groups.quota_percent,
        processors: tree.text("proc/self/status").and_then(|text| listed(line(&text, "Cpus_allowed_list:")?)),
        processors_on: tree.text("sys/devices/system/cpu/online").and_then(|text| listed(&text)),
        overcommit: tree.number("proc/sys/vm/overcommit_memory"),
        promised_bytes: of_memory("Committed_AS:")
            .zip(of_memory("CommitLimit:"))
            .map(|(used, most)| Use { used, most }),
        mappings: tree.number("proc/sys/vm/max_map_count"),
        clock: clocks("current_clocksource").map(|text| text.trim().to_owned()),
        clocks: clocks("available_clocksource")
            .map_or(Vec::new(), |text| text.split_whitespace().map(str::to_owned).collect()),
        huge_pages: huge("enabled").and_then(|text| chosen(&text)),
        huge_pages_wait: huge("defrag").and_then(|text| chosen(&text)),
    }
}

/// Where files are looked for.
struct Tree<'a> {
    root: &'a Path,
}

impl Tree<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name.trim_start_matches('/'))
    }

    fn text(&self, name: &str) -> Option<String> {
        let mut text = String::new();
        std::fs::File::open(self.path(name)).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
        Some(text)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.trim().parse().ok()
    }

    /// Exactly so many of them.
    fn numbers<const N: usize>(&self, name: &str) -> Option<[u64; N]> {
        let text = self.text(name)?;
        let numbers: Option<Vec<u64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
        numbers?.try_into().ok()
    }
}

/// What stands behind a name at the beginning of a line.
fn line<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))
}

/// The second of two figures behind a name: `Max open files   1024   524288   files`.
fn hard_limit(text: &str, name: &str) -> Option<u64> {
    match line(text, name)?.split_whitespace().nth(1)? {
        "unlimited" => Some(UNLIMITED),
        number => number.parse().ok(),
    }
}

/// Bytes of a line such as `MemTotal:   24684084 kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let kib: u64 = line(text, name)?.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// How many a list such as `0-3,8` has.
fn listed(text: &str) -> Option<u64> {
    let each = text.trim().split(',').map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    });
    each.sum()
}

/// The one in brackets: `always [madvise] never`.
fn chosen(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// The kernel writes the largest signed number, or some pages less, where it means none.
const fn none_if_huge(number: u64) -> u64 {
    if number >= (i64::MAX as u64) & !0xf_ffff { UNLIMITED } else { number }
}

/// What other systems tell instead of files, by sysctl(8).
pub(super) fn of_others(page_bytes: u64) -> Facts {
    use rustix::process::{Resource, getrlimit};
    let of_process = getrlimit(Resource::Nofile).maximum.unwrap_or(UNLIMITED);
    let most = sysctl("kern.maxfilesperproc");
    Facts {
        descriptors: Some(of_process.min(most.unwrap_or(UNLIMITED))),
        nr_open: most,
        files: sysctl("kern.maxfiles").map(|most| Use {
            used: sysctl("kern.openfiles").or_else(|| sysctl("kern.num_files")).unwrap_or(0),
            most,
        }),
        somaxconn: sysctl("kern.ipc.soacceptqueue").or_else(|| sysctl("kern.ipc.somaxconn")),
        ports: sysctl("net.inet.ip.portrange.first").zip(sysctl("net.inet.ip.portrange.last")),
        page_bytes,
        memory_bytes: sysctl("hw.memsize").or_else(|| sysctl("hw.physmem")).map(|most| Use { used: 0, most }),
        processors_on: sysctl("hw.ncpu"),
        ..Facts::default()
    }
}

fn sysctl(name: &str) -> Option<u64> {
    let told = std::process::Command::new("sysctl").args(["-n", name]).output().ok()?;
    String::from_utf8(told.stdout).ok()?.trim().parse().ok()
}
