use super::*;
use std::fs;

/// A folder with files in it, gone with this value.
struct Root(PathBuf);

impl Root {
    fn with(name: &str, files: &[(&str, &str)]) -> Root {
        let path = std::env::temp_dir().join(format!("tidegate-doctor-{}-{name}", std::process::id()));
        for (file, text) in files {
            let file = path.join(file);
            fs::create_dir_all(file.parent().expect("it lies in a folder")).expect("a folder");
            fs::write(file, text).expect("a file");
        }
        Root(path)
    }

    fn facts(&self) -> Facts {
        read(&self.0, 4096)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units     
Max processes             96365                96365                processes 
Max open files            1024                 524288               files     
Max address space         unlimited            unlimited            bytes     
";

const MEMORY: &str = "\
MemTotal:       24684084 kB
MemFree:        20274348 kB
MemAvailable:   23778984 kB
CommitLimit:    12342040 kB
Committed_AS:     157620 kB
";

#[test]
fn every_file_is_read() {
    #[rustfmt::skip]
    let root = Root::with("all", &[
        ("proc/self/limits", LIMITS),
        ("proc/self/status", "Name:\tcat\nCpus_allowed:\t0f\nCpus_allowed_list:\t0-2,5\n"),
        ("proc/self/cgroup", "0::/a.slice/b.service\n"),
        ("proc/meminfo", MEMORY),
        ("proc/sys/fs/nr_open", "1048576\n"),
        ("proc/sys/fs/file-nr", "691\t0\t9223372036854775807\n"),
        ("proc/sys/fs/epoll/max_user_watches", "5491511\n"),
        ("proc/sys/net/core/somaxconn", "4096\n"),
        ("proc/sys/net/core/rmem_max", "212992\n"),
        ("proc/sys/net/core/wmem_max", "212993\n"),
        ("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t33554432\n"),
        ("proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304\n"),
        ("proc/sys/net/ipv4/tcp_mem", "287898\t383867\t575796\n"),
        ("proc/sys/net/ipv4/tcp_max_syn_backlog", "2048\n"),
        ("proc/sys/net/ipv4/tcp_syncookies", "1\n"),
        ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
        ("proc/sys/net/netfilter/nf_conntrack_max", "262144\n"),
        ("proc/sys/net/netfilter/nf_conntrack_count", "12\n"),
        ("proc/sys/vm/overcommit_memory", "0\n"),
        ("proc/sys/vm/max_map_count", "65530\n"),
        ("sys/devices/system/cpu/online", "0-7\n"),
        ("sys/devices/system/clocksource/clocksource0/current_clocksource", "kvm-clock\n"),
        ("sys/devices/system/clocksource/clocksource0/available_clocksource", "kvm-clock tsc \n"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
        ("sys/kernel/mm/transparent_hugepage/defrag", "always defer [defer+madvise] madvise never\n"),
        ("sys/fs/cgroup/a.slice/memory.max", "2147483648\n"),
        ("sys/fs/cgroup/a.slice/memory.current", "1073741824\n"),
        ("sys/fs/cgroup/a.slice/memory.stat", "anon 5\ninactive_file 73741824\n"),
        ("sys/fs/cgroup/a.slice/b.service/memory.max", "max\n"),
        ("sys/fs/cgroup/a.slice/b.service/pids.max", "512\n"),
        ("sys/fs/cgroup/a.slice/b.service/pids.current", "3\n"),
        ("sys/fs/cgroup/a.slice/b.service/cpu.max", "150000 100000\n"),
    ]);
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    let facts = root.facts();
    let want = Facts {
        descriptors: Some(524_288),
        nr_open: Some(1_048_576),
        files: Some(Use { used: 691, most: UNLIMITED }),
        watches: Some(5_491_511),
        somaxconn: Some(4096),
        syn_backlog: Some(2048),
        syncookies: Some(1),
        ports: Some((32_768, 60_999)),
        tcp_pages: Some([287_898, 383_867, 575_796]),
        page_bytes: 4096,
        asked_bytes_max: Some((212_992, 212_993)),
        tuned_bytes_max: Some((33_554_432, 4_194_304)),
        tracked: Some(Use { used: 12, most: 262_144 }),
        memory_bytes: Some(Use { used: (24_684_084 - 23_778_984) << 10, most: 24_684_084 << 10 }),
        group_bytes: Some(Use { used: 1_000_000_000, most: 2_147_483_648 }),
        tasks: Some(Use { used: 3, most: 512 }),
        quota_percent: Some(150),
        processors: Some(4),
        processors_on: Some(8),
        overcommit: Some(0),
        promised_bytes: Some(Use { used: 157_620 << 10, most: 12_342_040 << 10 }),
        mappings: Some(65_530),
        clock: Some("kvm-clock".to_owned()),
        clocks: words("kvm-clock tsc"),
        huge_pages: Some("madvise".to_owned()),
        huge_pages_wait: Some("defer+madvise".to_owned()),
    };
    assert_eq!(facts, want);
    assert_eq!(facts.usable_processors(), 1, "one and a half is one");
}

#[test]
fn groups_of_version_1_are_read_and_the_nearest_limit_counts() {
    #[rustfmt::skip]
    let root = Root::with("first", &[
        ("proc/self/cgroup", "9:name=systemd:/\n8:pids:/x\n4:memory:/a/b\n2:cpu,cpuacct:/a\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1000\n"),
        ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "900\n"),
        ("sys/fs/cgroup/memory/a/memory.stat", "inactive_file 1\ntotal_inactive_file 200\n"),
        ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "500\n"),
        ("sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "100\n"),
        ("sys/fs/cgroup/pids/x/pids.max", "max\n"),
        ("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n"),
        ("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n"),
        ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"),
        ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
    ]);
    let facts = root.facts();
    assert_eq!(facts.group_bytes, Some(Use { used: 700, most: 1000 }), "300 are left, and 400 of the other");
    assert_eq!((facts.tasks, facts.quota_percent), (None, Some(50)));
}

/// Nothing there, or nonsense: no fact, and no panic.
#[test]
fn what_nobody_understands_is_no_fact() {
    let nothing = Facts { page_bytes: 4096, ..Facts::default() };
    assert_eq!(Root::with("none", &[("proc/x", "")]).facts(), nothing);
    #[rustfmt::skip]
    let root = Root::with("nonsense", &[
        ("proc/self/limits", "Max open files"),
        ("proc/self/status", "Cpus_allowed_list:\t5-2\n"),
        ("proc/self/cgroup", "0::\n:\n\n1:memory\nx:cpu:/../..\n"),
        ("proc/meminfo", "MemTotal: 99999999999999999999 kB\nMemAvailable: 1 GB\n"),
        ("proc/sys/fs/nr_open", "-5\n"),
        ("proc/sys/fs/file-nr", "1 2\n"),
        ("proc/sys/net/ipv4/tcp_mem", "1 2 3 4\n"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "always\n"),
        ("sys/devices/system/cpu/online", "0-18446744073709551615\n"),
        ("sys/fs/cgroup/cpu.max", "max 100000\n"),
        ("sys/fs/cgroup/memory.max", "max\n"),
    ]);
    assert_eq!(root.facts(), nothing);
    assert_eq!(nothing.usable_processors(), 1);
}

/// This host is one that can be read, whichever it is.
#[test]
#[cfg(target_os = "linux")]
fn this_host_is_read() {
    let facts = read(Path::new("/"), 4096);
    assert!(
        facts.descriptors.is_some() && facts.memory_bytes.is_some() && facts.processors.is_some(),
        "{facts:?}"
    );
    let here = std::thread::available_parallelism().expect("it is known").get();
    assert_eq!(facts.usable_processors(), here, "as the server counts them");
}
