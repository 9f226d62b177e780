//! What a service manager gives to this process, and what it is told: sockets at the start, readiness, the end, and that the
//! loops live. systemd.socket(5), sd_notify(3), sd_listen_fds(3).
//!
//! Always holds: without a manager nothing of this happens. Never: a sign of life while a loop does not take its turns.

use crate::net::Passed;
use crate::server::{Handle, LoopState};
use anyhow::Context;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::sync_channel;
use std::time::Duration;
use tracing::warn;

/// How often it is looked whether a drain has begun.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long the manager may take to take a message: it has a queue for them.
const MANAGER_LISTENS_WITHIN: Duration = Duration::from_secs(2);

/// The sockets that were passed to this process, if any were.
pub(super) fn sockets() -> anyhow::Result<Vec<Passed>> {
    let mut listening = ListenFd::from_env();
    let taken = (0..listening.len()).map(|number| {
        let tcp = listening.take_tcp_listener(number).map(|socket| socket.map(OwnedFd::from));
        let fd = match tcp {
            Ok(socket) => socket,
            Err(_) => listening.take_unix_listener(number)?.map(OwnedFd::from),
        };
        fd.map(Passed::new).transpose()
    });
    let taken = taken.collect::<std::io::Result<Vec<_>>>();
    let taken = taken
        .context("a socket that the service manager passed cannot be used: it must be a stream socket")?;
    Ok(taken.into_iter().flatten().collect())
}

/// The service manager, if there is one, as it is told about this process.
#[derive(Clone, Debug, Default)]
pub(super) struct Manager {
    told: Arc<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// Another process is the service now: this one says nothing more.
    is_over: AtomicBool,
    of_end: AtomicBool,
}

impl Manager {
    /// The service is up; from now on it is told about, for as long as this process lives.
    pub(super) fn ready(&self, handle: Handle, generation: u64) {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return;
        }
        tell(format!("READY=1\nSTATUS=serving, generation {generation}"));
        let (told, limit) = (Arc::clone(&self.told), sd_notify::watchdog_enabled());
        let thread = std::thread::Builder::new().name("tidegate-manager".to_owned());
        if let Err(error) = thread.spawn(move || watch(&handle, &told, limit)) {
            warn!(%error, "the service manager will not hear of this process again");
        }
    }

    /// Another process is the service from now on.
    pub(super) fn hand_over(&self, pid: u32) {
        self.told.is_over.store(true, Relaxed);
        tell(format!("MAINPID={pid}"));
    }

    /// The server has drained, maybe so soon that this was not told before.
    pub(super) fn ended(&self) {
        self.told.of_end();
    }
}

impl Told {
    fn of_end(&self) {
        if !self.is_over.load(Relaxed) && !self.of_end.swap(true, Relaxed) {
            tell("STOPPING=1\nSTATUS=draining".to_owned());
        }
    }
}

/// Tells of the drain, and that the loops live.
fn watch(handle: &Handle, told: &Told, limit: Option<Duration>) {
    let every = limit.map_or(LOOK_EVERY, |limit| (limit / 4).min(LOOK_EVERY));
    let mut pulse = Pulse::default();
    while !told.is_over.load(Relaxed) {
        let is_draining = handle.is_draining();
        if is_draining {
            told.of_end();
        }
        // A drain has a deadline of its own, and its loops end one by one.
        let lives = pulse.beats(&handle.loop_states());
        if limit.is_some() && (lives || is_draining) {
            send(&[NotifyState::Watchdog]);
        }
        handle.knock();
        std::thread::sleep(every);
    }
}

/// Tells something that must not be lost, and waits for a manager that does not listen only so long.
fn tell(what: String) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let (done, is_done) = sync_channel(1);
    let thread = std::thread::Builder::new().name("tidegate-manager".to_owned()).spawn(move || {
        send(&[NotifyState::Custom(&what)]);
        let _ = done.send(());
    });
    if thread.is_err() || is_done.recv_timeout(MANAGER_LISTENS_WITHIN).is_err() {
        warn!("the service manager does not listen");
    }
}

/// A full queue makes this wait.
fn send(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        warn!(%error, "the service manager cannot be told");
    }
}

/// Whether every loop took a turn since it was knocked at.
#[derive(Debug, Default)]
struct Pulse {
    /// The turns of each, when it was.
    turns: Vec<u64>,
}

impl Pulse {
    fn beats(&mut self, states: &[LoopState]) -> bool {
        let now: Vec<u64> = states.iter().map(|state| state.turns).collect();
        let before = std::mem::replace(&mut self.turns, now);
        before.iter().zip(&self.turns).all(|(before, now)| now > before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_beats_while_every_loop_takes_turns() {
        let state = |turns| LoopState { commands: 0, answers: 0, turns, turn: None, visiting: None };
        #[rustfmt::skip]
        let story: [(&str, u64, u64, bool); 5] = [
            ("seen for the first time", 5, 9,  true),
            ("both went on",            6, 12, true),
            ("one is stuck",            6, 13, false),
            ("still",                   6, 14, false),
            ("it goes on",              7, 15, true),
        ];
        let mut pulse = Pulse::default();
        for (name, first, second, want) in story {
            assert_eq!(pulse.beats(&[state(first), state(second)]), want, "case: {name}");
        }
    }
}
