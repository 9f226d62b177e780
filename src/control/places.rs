//! The connections that the admin port has at once: a bounded number of places, and who makes room.
//!
//! Always holds: a connection that is being answered keeps its place; of those that wait for a request, the one that
//! has waited longest goes first. So whoever fills the port with open connections only displaces others of his kind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::task::AbortHandle;

/// What a connection does, written by it and read by who needs a place.
#[derive(Debug, Default)]
pub(super) struct Doing {
    /// When it began to wait for a request, in an order of its own; 0 while it is answered.
    waits_since: AtomicU64,
}

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    taken: Vec<(AbortHandle, Arc<Doing>)>,
    turns: Arc<AtomicU64>,
}

/// Marks a connection as being answered, until it is dropped.
#[derive(Debug)]
pub(super) struct Answering {
    doing: Arc<Doing>,
    turns: Arc<AtomicU64>,
}

impl Places {
    pub(super) fn new(most: usize) -> Places {
        Places { most, taken: Vec::with_capacity(most), turns: Arc::new(AtomicU64::new(1)) }
    }

    /// Sees to it that there is a place, if need be by ending a connection that waits for a request. Whether there is.
    pub(super) fn make_room(&mut self) -> bool {
        self.taken.retain(|(task, _)| !task.is_finished());
        if self.taken.len() < self.most {
            return true;
        }
        self.displace()
    }

    /// Ends the connection that has been waiting for a request longest. Whether there was one.
    pub(super) fn displace(&mut self) -> bool {
        let waiting = self.taken.iter().enumerate().filter_map(|(at, (_, doing))| {
            let since = doing.waits_since.load(Relaxed);
            (since != 0).then_some((since, at))
        });
        let Some((_, longest)) = waiting.min() else { return false };
        self.taken.swap_remove(longest).0.abort();
        true
    }

    /// For a connection that begins: it waits for its first request.
    pub(super) fn newcomer(&self) -> Arc<Doing> {
        Arc::new(Doing { waits_since: AtomicU64::new(self.turns.fetch_add(1, Relaxed)) })
    }

    /// The connection has its place from now on.
    pub(super) fn take(&mut self, task: AbortHandle, doing: Arc<Doing>) {
        debug_assert!(self.taken.len() < self.most, "room was made");
        self.taken.push((task, doing));
    }

    /// What connections count their turns of waiting by.
    pub(super) fn turns(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.turns)
    }
}

impl Answering {
    pub(super) fn new(doing: &Arc<Doing>, turns: &Arc<AtomicU64>) -> Answering {
        doing.waits_since.store(0, Relaxed);
        Answering { doing: Arc::clone(doing), turns: Arc::clone(turns) }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.doing.waits_since.store(self.turns.fetch_add(1, Relaxed), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_waited_longest_makes_room() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let mut places = Places::new(3);
            let turns = places.turns();
            let mut tasks = Vec::new();
            let all: Vec<_> = (0..3).map(|_| places.newcomer()).collect();
            for doing in &all {
                assert!(places.make_room());
                let task = tokio::spawn(std::future::pending::<()>());
                places.take(task.abort_handle(), Arc::clone(doing));
                tasks.push(task);
            }
            // The first was answered, and waits anew; the third is being answered.
            drop(Answering::new(&all[0], &turns));
            let third = Answering::new(&all[2], &turns);
            assert!(places.make_room(), "the second goes");
            tokio::task::yield_now().await;
            assert_eq!([0, 1, 2].map(|at: usize| tasks[at].is_finished()), [false, true, false]);
            let task = tokio::spawn(std::future::pending::<()>());
            let doing = places.newcomer();
            let fourth = Answering::new(&doing, &turns);
            places.take(task.abort_handle(), doing);
            let first = Answering::new(&all[0], &turns);
            assert!(!places.make_room(), "all are being answered");
            drop(first);
            assert!(places.make_room(), "the first is not");
            drop((third, fourth));
        });
    }
}
