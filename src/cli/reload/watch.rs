//! When the files of a configuration are read anew: at SIGHUP, and, if that is wanted, when they have changed.
//!
//! A file that is being written looks otherwise each time; so it is read when two looks, a second apart, were the same
//! and not as it was when it was read last. Whoever puts a whole file in the place of the old one, as `mv` does, needs
//! none of this, but to be seen: its number is another.
//!
//! Always holds: one look a second, at a handful of files; a reload that was asked for while another runs is not lost,
//! and two are one.

use super::Engine;
use crate::base::limits::WATCH_EVERY;
use crate::server::{Error, on_hangup};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::SystemTime;

/// How a file looks from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Stamp {
    path: PathBuf,
    /// When it was written last, its length, its number; `None`: it can't be looked at.
    file: Option<(Option<SystemTime>, u64, u64)>,
}

impl Stamp {
    pub(super) fn is_same_file(&self, other: &Stamp) -> bool {
        self.path == other.path
    }
}

/// How these files look now.
pub(in crate::cli) fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let of = |path: &PathBuf| {
        let file = path.metadata().ok().map(|file| (file.modified().ok(), file.len(), number(&file)));
        Stamp { path: path.clone(), file }
    };
    files.iter().map(of).collect()
}

#[cfg(unix)]
fn number(file: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(file)
}

#[cfg(not(unix))]
fn number(_file: &std::fs::Metadata) -> u64 {
    0
}

/// Tells a file that was changed from one that is being changed.
#[derive(Debug, Default)]
struct Watch {
    /// What was seen last, if it is not what was read last.
    seen: Option<Vec<Stamp>>,
}

impl Watch {
    /// Whether it is time to read: `now` is how the files look, `read` how they looked when they were read last.
    fn look(&mut self, now: Vec<Stamp>, read: &[Stamp]) -> bool {
        if now == read {
            self.seen = None;
            return false;
        }
        if self.seen.as_ref() == Some(&now) {
            self.seen = None;
            return true;
        }
        self.seen = Some(now);
        false
    }
}

/// From now on, for the life of the process: SIGHUP reloads, and so does a change of the files while that is wanted.
pub(in crate::cli) fn look_after(engine: Arc<Engine>) -> Result<(), Error> {
    // One that waits stands for all that came since.
    let (ask, asked) = sync_channel(1);
    on_hangup(move || {
        let _ = ask.try_send(());
    })?;
    let thread = std::thread::Builder::new().name("tidegate-watch".to_owned());
    let thread = thread.spawn(move || {
        let mut watch = Watch::default();
        loop {
            match asked.recv_timeout(WATCH_EVERY) {
                Ok(()) => drop(engine.reload("SIGHUP", false)),
                Err(RecvTimeoutError::Timeout) => look(&engine, &mut watch),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    });
    thread.map(drop).map_err(Error::Host)
}

fn look(engine: &Engine, watch: &mut Watch) {
    let state = engine.state();
    if !state.loaded.config.watch {
        return;
    }
    let (files, read) = (engine.files(&state.loaded.config), state.stamps.clone());
    drop(state);
    if watch.look(stamps(&files), &read) {
        engine.reload("a changed file", false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_when_it_was_the_same_twice_and_is_not_what_was_read() {
        let stamp = |number| vec![Stamp { path: PathBuf::from("a"), file: Some((None, 1, number)) }];
        let gone = || vec![Stamp { path: PathBuf::from("a"), file: None }];
        type Row = (&'static str, Vec<Vec<Stamp>>, Vec<bool>);
        #[rustfmt::skip]
        let table: &[Row] = &[
            ("never changed",        vec![stamp(0), stamp(0), stamp(0)],                     vec![false, false, false]),
            ("changed once",         vec![stamp(0), stamp(1), stamp(1)],                     vec![false, false, true]),
            ("being written",        vec![stamp(1), stamp(2), stamp(3), stamp(3)],           vec![false, false, false, true]),
            ("and put back",         vec![stamp(1), stamp(0), stamp(1), stamp(1)],           vec![false, false, false, true]),
            ("taken away",           vec![gone(), gone()],                                   vec![false, true]),
        ];
        for (name, looks, want) in table {
            let mut watch = Watch::default();
            let got: Vec<bool> = looks.iter().map(|now| watch.look(now.clone(), &stamp(0))).collect();
            assert_eq!(&got, want, "case: {name}");
        }
    }
}
