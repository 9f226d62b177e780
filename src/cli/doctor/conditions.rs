//! What no number of connections can be given for: what makes a host slow, or refuse a burst.
//!
//! Always holds: each function judges one thing, and says nothing of what is not known.

use super::facts::Facts;
use super::judge::{Finding, Verdict, amount};
use super::wants::Wants;
use crate::load::words::{bytes, count};

/// Clocks that are read with a call of the kernel, a microsecond or more each time.
const SLOW_CLOCKS: [&str; 4] = ["hpet", "acpi_pm", "jiffies", "refined-jiffies"];

/// From this size on a buffer is a mapping of its own (`buffer/storage.rs`).
const MAPPED_BYTES: u64 = 128 << 10;

/// Mappings that a process has anyway: its text, its libraries, its threads' stacks, its heap.
const MAPPINGS_KEPT: u64 = 1024;

/// In the order in which they are shown.
pub(super) fn all(facts: &Facts, wants: &Wants, goal: u64) -> Vec<Finding> {
    let found = [
        accept_queue(facts, wants),
        syn_queue(facts, wants),
        one_address(facts, wants, goal),
        listening_ports(facts, wants),
        socket_queues(facts, wants),
        processors(facts, wants),
        quota(facts, wants),
        clock(facts),
        threads(facts, wants),
        promises(facts, wants),
        mappings(facts, wants),
        huge_pages(facts),
    ];
    found.into_iter().flatten().collect()
}

/// listen(2): a longer queue is cut without a word.
fn accept_queue(facts: &Facts, wants: &Wants) -> Option<Finding> {
    let most = facts.somaxconn?;
    let found = format!(
        "{} newcomers may wait for each loop, {} asked for",
        count(most.min(wants.backlog)),
        count(wants.backlog)
    );
    if most >= wants.backlog {
        return Some(Finding::fine("accept queue", found));
    }
    let so = "of a burst that is longer, clients try again after a second, and another";
    let raise = format!("sysctl -w net.core.somaxconn={}", wants.backlog);
    Some(Finding::warning("accept queue", found, so, [raise]))
}

/// With cookies (the default) the queue of half-open connections is no limit, and without them a flood fills it.
fn syn_queue(facts: &Facts, wants: &Wants) -> Option<Finding> {
    let name = "syn queue";
    if facts.syncookies? > 0 {
        return Some(Finding::fine(name, "syncookies are on: a flood of SYNs shuts nobody out".to_owned()));
    }
    let most = facts.syn_backlog?;
    let found = format!("syncookies are off, {} half-open connections may wait", count(most));
    let raise = format!(
        "sysctl -w net.ipv4.tcp_syncookies=1 net.ipv4.tcp_max_syn_backlog={}",
        most.max(wants.backlog)
    );
    Some(Finding::warning(name, found, "a flood of SYNs shuts all newcomers out", [raise]))
}

/// Who brings many connections from one address: a proxy, a NAT, a load generator.
fn one_address(facts: &Facts, wants: &Wants, goal: u64) -> Option<Finding> {
    let (first, last) = facts.ports?;
    let ports = (last + 1).saturating_sub(first);
    let name = "one address";
    let limited = wants.per_address.map_or("any number".to_owned(), count);
    let found = format!("{limited} let in (per_address), {} ports to go out", count(ports));
    // Half of them are found fast (docs/BENCH.md says how further addresses help).
    let is_enough = ports / 2 >= wants.per_address.unwrap_or(goal).min(goal);
    if is_enough {
        return Some(Finding::fine(name, found));
    }
    let so = "a proxy or load generator here has ports for no more to one address";
    let raise = "sysctl -w net.ipv4.ip_local_port_range='1024 65535'; or several source addresses".to_owned();
    Some(Finding::warning(name, found, so, [raise]))
}

/// A port that an outgoing connection may have at the moment when the server starts.
fn listening_ports(facts: &Facts, wants: &Wants) -> Option<Finding> {
    let (first, last) = facts.ports?;
    let inside =
        wants.ports.iter().find(|port| **port != 0 && (first..=last).contains(&u64::from(**port)))?;
    let found = format!("{inside} is one of the ports of outgoing connections, {first} to {last}");
    let so = "a connection of another program may have it when the server starts";
    let raise = format!("sysctl -w net.ipv4.ip_local_reserved_ports={inside}");
    Some(Finding::warning("listening ports", found, so, [raise]))
}

/// The most that the kernel lets a program ask for; what is beyond is cut without a word (socket(7)).
fn socket_queues(facts: &Facts, wants: &Wants) -> Option<Finding> {
    let name = "socket queues";
    let Some(asked) = wants.kernel_buffer_bytes else {
        let (input, output) = facts.tuned_bytes_max?;
        let found = format!("up to {} in and {} out, as the kernel likes", bytes(input), bytes(output));
        return Some(Finding::fine(name, found));
    };
    let (input, output) = facts.asked_bytes_max?;
    let got = asked.min(input).min(output);
    let found = format!("{} each way, {} asked for (kernel_buffer)", bytes(got), bytes(asked));
    if got >= asked || got >= wants.largest_payload_bytes {
        return Some(Finding::fine(name, found));
    }
    let so = format!("messages of more than {} take several reads and writes", bytes(got));
    let raise =
        format!("sysctl -w net.core.rmem_max={} net.core.wmem_max={}", asked.max(input), asked.max(output));
    Some(Finding::warning(name, found, so, [raise]))
}

fn processors(facts: &Facts, wants: &Wants) -> Option<Finding> {
    let name = "processors";
    let (here, on) = (facts.processors.or(facts.processors_on)?, facts.processors_on);
    let beside = on.filter(|on| *on > here).map_or(String::new(), |on| format!(" of {on}, by its affinity"));
    let found = format!("{here}{beside}, for {} event loop{}", wants.shards, plural(wants.shards.into()));
    if here >= u64::from(wants.shards) {
        return Some(Finding::fine(name, found));
    }
    let so = "loops wait for each other's processor, and so do their connections";
    let raise = format!("shards = {here}    in [server]; or taskset, CPUAffinity=, cpuset with more");
    Some(Finding::warning(name, found, so, [raise]))
}

/// Who has used his share of a period is not run until the next one.
fn quota(facts: &Facts, wants: &Wants) -> Option<Finding> {
    let percent = facts.quota_percent?;
    let name = "processor quota";
    let found = format!("{}.{:02} processors' time (cpu.max)", percent / 100, percent % 100);
    if percent >= 100 * u64::from(wants.shards) {
        return Some(Finding::fine(name, found));
    }
    let so = "busy loops stand still for parts of each period, some 100 ms: that is p99 then";
    let raise = format!(
        "CPUQuota={}%    in [Service] of the systemd unit; of a container: --cpus {}",
        100 * u64::from(wants.shards),
        wants.shards
    );
    Some(Finding::warning(name, found, so, [raise]))
}

fn clock(facts: &Facts) -> Option<Finding> {
    let clock = facts.clock.as_deref()?;
    let name = "clock";
    if !SLOW_CLOCKS.contains(&clock) {
        return Some(Finding::fine(name, format!("{clock}, which is read without a call of the kernel")));
    }
    let better = facts.clocks.iter().find(|other| !SLOW_CLOCKS.contains(&other.as_str()));
    let raise = match better {
        Some(better) => {
            format!("echo {better} > /sys/devices/system/clocksource/clocksource0/current_clocksource")
        }
        None => {
            "clocksource=tsc tsc=reliable    on the kernel's command line, if its TSC is stable".to_owned()
        }
    };
    let so = "each look at the clock is a slow call, and a turn of a loop looks at least twice";
    Some(Finding::warning(name, clock.to_owned(), so, [raise]))
}

fn threads(facts: &Facts, wants: &Wants) -> Option<Finding> {
    let tasks = facts.tasks?;
    let name = "threads";
    let found = format!(
        "{} more of {} (pids.max), {} are needed",
        amount(tasks.left()),
        amount(tasks.most),
        wants.threads()
    );
    if tasks.left() >= wants.threads() {
        return Some(Finding::fine(name, found));
    }
    let raise = format!(
        "TasksMax={}    in [Service] of the systemd unit",
        tasks.used.saturating_add(wants.threads())
    );
    let stop = Finding::warning(name, found, "the server can't start", [raise]);
    Some(Finding { verdict: Verdict::Stops, ..stop })
}

/// Mode 2 refuses memory that is asked for and not used, too.
fn promises(facts: &Facts, wants: &Wants) -> Option<Finding> {
    let name = "overcommit";
    if facts.overcommit? != 2 {
        return Some(Finding::fine(name, "memory counts when it is used".to_owned()));
    }
    let left = facts.promised_bytes?.left();
    let found = format!("memory counts when it is asked for (mode 2), {} can be", bytes(left));
    if left >= wants.fixed_bytes().saturating_mul(2) {
        return Some(Finding::fine(name, found));
    }
    let so = "buffers may be refused while memory is free, and connections end for it";
    Some(Finding::warning(name, found, so, ["sysctl -w vm.overcommit_memory=0".to_owned()]))
}

fn mappings(facts: &Facts, wants: &Wants) -> Option<Finding> {
    let most = facts.mappings?;
    let needed = MAPPINGS_KEPT.saturating_add(wants.budget_bytes / MAPPED_BYTES);
    let name = "mappings";
    let found = format!("{} for a process, {} at most for large buffers", amount(most), count(needed));
    if most >= needed {
        return Some(Finding::fine(name, found));
    }
    let so = "large buffers may be refused while memory is free, and connections end for it";
    Some(Finding::warning(name, found, so, [format!("sysctl -w vm.max_map_count={needed}")]))
}

/// They matter where a program waits until one is made.
fn huge_pages(facts: &Facts) -> Option<Finding> {
    let (when, wait) = (facts.huge_pages.as_deref()?, facts.huge_pages_wait.as_deref().unwrap_or(""));
    let name = "huge pages";
    if when != "always" || wait != "always" {
        return Some(Finding::fine(name, format!("{when}; nobody waits until one is made")));
    }
    let so = "a loop that needs memory may wait for milliseconds until a page of 2 MiB is made";
    let raise = "echo madvise > /sys/kernel/mm/transparent_hugepage/defrag".to_owned();
    Some(Finding::warning(name, "always, and a program waits until one is made".to_owned(), so, [raise]))
}

const fn plural(number: u64) -> &'static str {
    if number == 1 { "" } else { "s" }
}
