//! Facts held against wants: how many connections each resource allows, the least first, and what raises it. Pure.
//!
//! ```text
//!   Facts, Wants --> limits, by the connections that each allows --> Diagnosis: what is carried, what ends it first
//!                `-> conditions, which allow or hinder
//! ```
//!
//! Always holds: a resource that is not known is not told of; what is not as wanted says what follows, and what to do. Never:
//! a resource that stops a server for being short of what nobody asked for, as long as there is enough to start.

use super::conditions;
use super::facts::{Facts, UNLIMITED, Use};
use super::wants::{KERNEL_BYTES, KERNEL_PAGES_BUSY, Wants};
use crate::load::words::{bytes, count};

/// With room for fewer no server starts.
pub(super) const CONNECTIONS_MIN: u64 = 16;

/// What is to be said of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// It is enough.
    Ok,
    /// All can be carried, but something suffers.
    Warns,
    /// What is wanted can't be carried.
    Stops,
}

impl Verdict {
    /// As it is shown.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warns => "warns",
            Verdict::Stops => "stops",
        }
    }
}

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) name: &'static str,
    /// Connections that it allows; `None` of what is no matter of a number.
    pub(super) connections: Option<u64>,
    pub(super) verdict: Verdict,
    pub(super) found: String,
    /// What follows from it, if it is not as it should be.
    pub(super) so: String,
    /// What changes it, one line of a shell or of a file each.
    pub(super) raise: Vec<String>,
}

impl Finding {
    /// One that is as it should be.
    pub(super) fn fine(name: &'static str, found: String) -> Finding {
        let (so, raise) = (String::new(), Vec::new());
        Finding { name, connections: None, verdict: Verdict::Ok, found, so, raise }
    }

    /// One that all can be carried with, though not as well.
    pub(super) fn warning<const N: usize>(
        name: &'static str,
        found: String,
        so: impl Into<String>,
        raise: [String; N],
    ) -> Finding {
        let (so, raise) = (so.into(), raise.into());
        Finding { name, connections: None, verdict: Verdict::Warns, found, so, raise }
    }
}

/// All that there is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Diagnosis {
    /// What the resources are held against: what is wanted, or what there are descriptors for.
    pub(super) goal: u64,
    /// Connections that are carried for certain: the least that a resource which stops allows.
    pub(super) carried: u64,
    /// That resource.
    pub(super) first: &'static str,
    /// By the connections that each allows, the least first.
    pub(super) limits: Vec<Finding>,
    pub(super) conditions: Vec<Finding>,
}

impl Diagnosis {
    /// Whether all that is wanted can be had.
    pub(super) fn is_met(&self) -> bool {
        self.all().all(|finding| finding.verdict != Verdict::Stops)
    }

    /// Every finding, in the order in which it is shown.
    pub(super) fn all(&self) -> impl Iterator<Item = &Finding> {
        self.limits.iter().chain(&self.conditions)
    }
}

/// What one resource allows, before it is held against anything.
struct Limit {
    name: &'static str,
    allows: u64,
    /// What it is if it allows too little.
    worst: Verdict,
    found: String,
    so: String,
    raise: Vec<String>,
}

/// Judges a host.
pub(super) fn diagnose(facts: &Facts, wants: &Wants) -> Diagnosis {
    let room = wants.connections_in(facts.descriptors.unwrap_or(UNLIMITED));
    let goal = wants.connections.unwrap_or(room);
    let found = [
        configured(wants, goal),
        descriptors(facts, wants, goal),
        nr_open(facts, wants, goal),
        files(facts, wants, goal),
        watches(facts, wants, goal),
        tracked(facts, goal),
        memory("memory", facts.memory_bytes, wants, goal),
        memory("cgroup memory", facts.group_bytes, wants, goal),
        busy_memory(facts, wants, goal),
        tcp_memory(facts, goal),
    ];
    let mut found: Vec<Limit> = found.into_iter().flatten().collect();
    found.sort_by_key(|limit| (limit.allows, std::cmp::Reverse(limit.worst)));
    let stopping = found.iter().find(|limit| limit.worst == Verdict::Stops);
    let (carried, first) = stopping.map_or((room, "descriptors"), |limit| (limit.allows, limit.name));
    let limits = found.into_iter().map(|limit| judged(limit, goal, wants.connections.is_some())).collect();
    Diagnosis { goal, carried, first, limits, conditions: conditions::all(facts, wants, goal) }
}

/// What was asked for stops a server that can't have it; what was not asked for warns, as long as there is enough to start.
fn judged(limit: Limit, goal: u64, is_asked_for: bool) -> Finding {
    let Limit { name, allows, worst, found, so, raise } = limit;
    let verdict = match allows {
        enough if enough >= goal && enough >= CONNECTIONS_MIN => Verdict::Ok,
        some if some >= CONNECTIONS_MIN && !is_asked_for => Verdict::Warns,
        _ => worst,
    };
    let (so, raise) = if verdict == Verdict::Ok { (String::new(), Vec::new()) } else { (so, raise) };
    Finding { name, connections: Some(allows), verdict, found, so, raise }
}

fn configured(wants: &Wants, goal: u64) -> Option<Limit> {
    let most = wants.configured?;
    Some(Limit {
        name: "configuration",
        allows: most,
        worst: Verdict::Stops,
        found: format!("max_connections, of the server or of all its listeners, is {}", count(most)),
        so: format!("newcomer {} is told OVERLOADED", count(most.saturating_add(1))),
        raise: vec![format!("max_connections = {goal}    in [limits], or in each [[listener]]")],
    })
}

fn descriptors(facts: &Facts, wants: &Wants, goal: u64) -> Option<Limit> {
    let limit = facts.descriptors?;
    let (kept, needed) = (wants.kept(), goal.saturating_add(wants.kept()));
    let raised = format!("ulimit -Hn {needed} && ulimit -n {needed}    as root, in the shell that starts it");
    Some(Limit {
        name: "descriptors",
        allows: wants.connections_in(limit),
        worst: Verdict::Stops,
        found: format!("{} (ulimit -Hn), {} of them for the server's own", amount(limit), count(kept)),
        so: "newcomers beyond that are told OVERLOADED".to_owned(),
        raise: vec![format!("LimitNOFILE={needed}    in [Service] of the systemd unit; or"), raised],
    })
}

fn nr_open(facts: &Facts, wants: &Wants, goal: u64) -> Option<Limit> {
    let most = facts.nr_open?;
    Some(Limit {
        name: "nr_open",
        allows: wants.connections_in(most),
        worst: Verdict::Stops,
        found: format!("no process may have more than {} descriptors", amount(most)),
        so: "the limit above can't be raised any further than that".to_owned(),
        raise: vec![format!("sysctl -w fs.nr_open={}", goal.saturating_add(wants.kept()))],
    })
}

fn files(facts: &Facts, wants: &Wants, goal: u64) -> Option<Limit> {
    let files = facts.files?;
    let others = files.used.saturating_add(wants.kept());
    Some(Limit {
        name: "file-max",
        allows: less(files.left(), wants.kept()),
        worst: Verdict::Stops,
        found: format!("{} for the whole system, {} are open", amount(files.most), count(files.used)),
        so: "no program of this host can open anything beyond that".to_owned(),
        // A quarter for the others, whoever they are.
        raise: vec![format!(
            "sysctl -w fs.file-max={}",
            goal.saturating_add(goal / 4).saturating_add(others)
        )],
    })
}

fn watches(facts: &Facts, wants: &Wants, goal: u64) -> Option<Limit> {
    let most = facts.watches?;
    // Each loop has its waker and its listeners registered, too.
    let others = u64::from(wants.shards) * (2 + wants.listeners as u64);
    Some(Limit {
        name: "epoll watches",
        allows: less(most, others),
        worst: Verdict::Stops,
        found: format!("{} for all processes of a user", amount(most)),
        so: "the poller refuses connections beyond that, and they are closed".to_owned(),
        raise: vec![format!("sysctl -w fs.epoll.max_user_watches={}", goal.saturating_add(others))],
    })
}

fn tracked(facts: &Facts, goal: u64) -> Option<Limit> {
    let tracked = facts.tracked?;
    // The kernel has the module, but no rule of the firewall that wants it: nothing is counted.
    let is_used = tracked.used > 0;
    let used = if is_used { format!("{} now", count(tracked.used)) } else { "unused".to_owned() };
    let most = goal.saturating_add(goal / 4).saturating_add(tracked.used);
    Some(Limit {
        name: "conntrack",
        allows: tracked.left(),
        worst: if is_used { Verdict::Stops } else { Verdict::Warns },
        found: format!("{} for the firewall to remember, {used}", amount(tracked.most)),
        so: "packets of new connections are dropped without a word, if a rule tracks them".to_owned(),
        raise: vec![
            format!("sysctl -w net.netfilter.nf_conntrack_max={most}; or track none of these:"),
            "nft add rule inet raw prerouting tcp dport 7411 notrack    and its like for output".to_owned(),
        ],
    })
}

/// All of them open, and idle.
fn memory(name: &'static str, memory: Option<Use>, wants: &Wants, goal: u64) -> Option<Limit> {
    let memory = memory?;
    let each = wants.own_bytes() + KERNEL_BYTES;
    let needed = each.saturating_mul(goal).saturating_add(wants.fixed_bytes());
    let raise = if name == "memory" {
        format!("{} of free memory; or fewer connections, or less `memory` in [server]", bytes(needed))
    } else {
        format!("MemoryMax={}M    in [Service] of the systemd unit; of a container: --memory", mib(needed))
    };
    Some(Limit {
        name,
        allows: memory.left().saturating_sub(wants.fixed_bytes()) / each,
        worst: Verdict::Stops,
        found: format!(
            "{} free, {} for the server, {} for each",
            bytes(memory.left()),
            bytes(wants.fixed_bytes()),
            bytes(each)
        ),
        so: "the kernel ends the server when memory is gone".to_owned(),
        raise: vec![raise],
    })
}

/// All of them at work, which takes pages of the kernel: of the host or of the group, whichever has less.
fn busy_memory(facts: &Facts, wants: &Wants, goal: u64) -> Option<Limit> {
    let least = [facts.memory_bytes, facts.group_bytes].into_iter().flatten().map(Use::left).min()?;
    let each = wants.own_bytes() + KERNEL_BYTES + KERNEL_PAGES_BUSY * facts.page_bytes;
    let needed = each.saturating_mul(goal).saturating_add(wants.fixed_bytes());
    Some(Limit {
        name: "memory, busy",
        allows: least.saturating_sub(wants.fixed_bytes()) / each,
        worst: Verdict::Warns,
        found: format!("the same, {} for each with messages on their way", bytes(each)),
        so: "it is enough as long as not all of them have something on its way at once".to_owned(),
        raise: vec![format!("{} of free memory would be enough for that", bytes(needed))],
    })
}

/// What waits in the queues of all sockets. Idle ones have nothing there.
fn tcp_memory(facts: &Facts, goal: u64) -> Option<Limit> {
    let [ease, pressure, most] = facts.tcp_pages?;
    let needed = goal.saturating_mul(KERNEL_PAGES_BUSY);
    let (wider, widest) = (needed.saturating_add(needed / 4), needed.saturating_add(needed / 2));
    Some(Limit {
        name: "tcp memory, busy",
        allows: pressure / KERNEL_PAGES_BUSY,
        worst: Verdict::Warns,
        found: format!("{} for what waits in all sockets", bytes(pressure.saturating_mul(facts.page_bytes))),
        so: "with more at work at once the kernel slows them down, and later drops packets".to_owned(),
        raise: vec![format!(
            "sysctl -w net.ipv4.tcp_mem='{} {} {}'    pages of {} B",
            needed.max(ease),
            wider.max(pressure),
            widest.max(most),
            facts.page_bytes
        )],
    })
}

/// What is left of a limit that may be none.
const fn less(limit: u64, taken: u64) -> u64 {
    if limit == UNLIMITED { UNLIMITED } else { limit.saturating_sub(taken) }
}

const fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// A limit as people read it.
pub(super) fn amount(limit: u64) -> String {
    if limit == UNLIMITED { "no limit".to_owned() } else { count(limit) }
}

#[cfg(test)]
mod tests;
