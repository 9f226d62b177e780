//! What the control groups of this process leave it, in both versions of them.
//!
//! Always holds: a limit of any group above counts, and the one that leaves least is told. Never: a guess where no group
//! is to be seen, as in most containers of version 1 the groups above are not.

use super::{Tree, UNLIMITED, Use, none_if_huge};

/// Groups within groups at most: deeper ones are not looked at.
const DEPTH_MAX: usize = 32;

/// What they leave; `None` where none says anything.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Groups {
    pub(super) memory_bytes: Option<Use>,
    pub(super) tasks: Option<Use>,
    pub(super) quota_percent: Option<u64>,
}

/// A line of `/proc/self/cgroup`: `0::/path` of version 2, `4:cpu,cpuacct:/path` of version 1.
pub(super) fn read(tree: &Tree<'_>) -> Groups {
    let mut groups = Groups::default();
    let Some(text) = tree.text("proc/self/cgroup") else { return groups };
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(kinds), Some(path)) = (parts.next(), parts.next()) else { continue };
        if kinds.is_empty() {
            for base in ["sys/fs/cgroup", "sys/fs/cgroup/unified"] {
                above(path).for_each(|group| groups.add_second(tree, &format!("{base}{group}")));
            }
            continue;
        }
        for kind in kinds.split(',') {
            above(path)
                .for_each(|group| groups.add_first(tree, kind, &format!("sys/fs/cgroup/{kind}{group}")));
        }
    }
    groups
}

/// A path and all above it, to the root, which is empty.
fn above(path: &str) -> impl Iterator<Item = &str> {
    let path = path.trim_end_matches('/');
    std::iter::successors(Some(path), |path| path.rfind('/').map(|at| &path[..at])).take(DEPTH_MAX)
}

impl Groups {
    fn add_second(&mut self, tree: &Tree<'_>, at: &str) {
        if let Some(most) = limit(tree, &format!("{at}/memory.max")) {
            let used = tree.number(&format!("{at}/memory.current")).unwrap_or(0);
            keep_least(&mut self.memory_bytes, Use { used: used.saturating_sub(cached(tree, at)), most });
        }
        if let Some(most) = limit(tree, &format!("{at}/pids.max")) {
            let used = tree.number(&format!("{at}/pids.current")).unwrap_or(0);
            keep_least(&mut self.tasks, Use { used, most });
        }
        let quota = tree.text(&format!("{at}/cpu.max"));
        let quota = quota.as_deref().and_then(|text| text.trim().split_once(' '));
        self.add_quota(quota.and_then(|(given, period)| Some((given.parse().ok()?, period.parse().ok()?))));
    }

    fn add_first(&mut self, tree: &Tree<'_>, kind: &str, at: &str) {
        match kind {
            "memory" => {
                if let Some(most) = limit(tree, &format!("{at}/memory.limit_in_bytes")) {
                    let used = tree.number(&format!("{at}/memory.usage_in_bytes")).unwrap_or(0);
                    let used = used.saturating_sub(cached(tree, at));
                    keep_least(&mut self.memory_bytes, Use { used, most });
                }
            }
            "pids" => {
                if let Some(most) = limit(tree, &format!("{at}/pids.max")) {
                    let used = tree.number(&format!("{at}/pids.current")).unwrap_or(0);
                    keep_least(&mut self.tasks, Use { used, most });
                }
            }
            "cpu" => {
                let given = tree.number(&format!("{at}/cpu.cfs_quota_us"));
                self.add_quota(given.zip(tree.number(&format!("{at}/cpu.cfs_period_us"))));
            }
            _ => {}
        }
    }

    /// Microseconds of processors in so many of the clock.
    fn add_quota(&mut self, quota: Option<(u64, u64)>) {
        let percent = quota.and_then(|(given, period)| given.checked_mul(100)?.checked_div(period));
        self.quota_percent = match (self.quota_percent, percent) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}

/// A limit that is one.
fn limit(tree: &Tree<'_>, name: &str) -> Option<u64> {
    tree.number(name).map(none_if_huge).filter(|most| *most != UNLIMITED)
}

/// Files that the kernel keeps in memory as long as nobody needs it, and that count as the group's.
fn cached(tree: &Tree<'_>, at: &str) -> u64 {
    let text = tree.text(&format!("{at}/memory.stat")).unwrap_or_default();
    let of = |name| super::line(&text, name).and_then(|number| number.trim().parse().ok());
    of("total_inactive_file ").or_else(|| of("inactive_file ")).unwrap_or(0)
}

fn keep_least(kept: &mut Option<Use>, other: Use) {
    if kept.is_none_or(|kept| other.left() < kept.left()) {
        *kept = Some(other);
    }
}
