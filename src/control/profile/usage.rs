//! What each thread of this process has used, by the kernel's books: `/proc/self/task` (proc(5)).
//!
//! Always holds: threads of one name are one, since samples know threads by their names; a thread that is not there at both
//! looks counts for nothing. Exact to a hundredth of a second.

use rustix::param::clock_ticks_per_second;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// What one thread has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// Outside of the kernel.
    pub(super) user: Duration,
    /// Within it.
    pub(super) kernel: Duration,
}

/// All threads, by their kernel's number.
#[derive(Debug)]
pub(super) struct Books(BTreeMap<u32, (String, Used)>);

impl Books {
    /// As they are now; empty where there is no `/proc`.
    pub(super) fn now() -> Books {
        let Ok(threads) = fs::read_dir("/proc/self/task") else { return Books(BTreeMap::new()) };
        let row = |entry: fs::DirEntry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            Some((id, parse(&fs::read_to_string(entry.path().join("stat")).ok()?, clock_ticks_per_second())?))
        };
        Books(threads.flatten().filter_map(row).collect())
    }

    /// What has been used between an earlier look and this one, by the threads' names.
    pub(super) fn since(&self, earlier: &Books) -> BTreeMap<String, Used> {
        let mut used: BTreeMap<String, Used> = BTreeMap::new();
        for (id, (name, now)) in &self.0 {
            let Some((_, before)) = earlier.0.get(id) else { continue };
            let sum = used.entry(name.clone()).or_default();
            sum.user += now.user.saturating_sub(before.user);
            sum.kernel += now.kernel.saturating_sub(before.kernel);
        }
        used
    }
}

/// The name and the times of a line of `stat`.
fn parse(stat: &str, ticks_per_second: u64) -> Option<(String, Used)> {
    // The name in brackets may hold anything; utime and stime are the 14th and the 15th field, the third is the first behind
    // the name.
    let (before, fields) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1;
    let mut fields = fields.split_whitespace().skip(14 - 3);
    let mut time = || {
        let ticks: u64 = fields.next()?.parse().ok()?;
        ticks.checked_mul(1000)?.checked_div(ticks_per_second).map(Duration::from_millis)
    };
    Some((name.to_owned(), Used { user: time()?, kernel: time()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn a_line_is_read_whatever_the_thread_is_called() {
        let line =
            |name: &str| format!("17 ({name}) R 1 17 17 0 -1 4194560 33 0 0 0 153 27 0 0 20 0 5 0 88\n");
        for name in ["tidegate-0", "a b", ") R 1 (", "", "9"] {
            let want = (name.to_owned(), Used { user: MS(1530), kernel: MS(270) });
            assert_eq!(parse(&line(name), 100), Some(want), "case: {name:?}");
        }
        for broken in ["", "17 (a", "17 (a) R 1", "17 (a) R 1 17 17 0 -1 4194560 33 0 0 0 x 27 0"] {
            assert_eq!(parse(broken, 100), None, "case: {broken:?}");
        }
    }

    #[test]
    fn threads_of_one_name_are_one_and_newcomers_count_for_nothing() {
        let books = |rows: &[(u32, &str, u64, u64)]| {
            let row = |(id, name, user, kernel): &(u32, &str, u64, u64)| {
                (*id, ((*name).to_owned(), Used { user: MS(*user), kernel: MS(*kernel) }))
            };
            Books(rows.iter().map(row).collect())
        };
        let earlier = books(&[(1, "a", 100, 10), (2, "w", 0, 0), (3, "w", 50, 5), (9, "gone", 70, 7)]);
        let now = books(&[(1, "a", 300, 10), (2, "w", 20, 1), (3, "w", 60, 7), (4, "new", 900, 90)]);
        let used = now.since(&earlier);
        assert_eq!(used.len(), 2, "{used:?}");
        assert_eq!(used["a"], Used { user: MS(200), kernel: MS(0) });
        assert_eq!(used["w"], Used { user: MS(30), kernel: MS(3) });
    }

    #[test]
    fn this_process_is_in_the_books() {
        let (before, began) = (Books::now(), std::time::Instant::now());
        let used = || Books::now().since(&before);
        // However little of the processor it is given.
        while !used().values().any(|used| used.user + used.kernel >= MS(10)) {
            assert!(began.elapsed() < MS(20_000), "{:?}", used());
        }
    }
}
