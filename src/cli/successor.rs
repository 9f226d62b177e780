//! The next process: how it is started, and how this one takes over from the one before.

use super::admin;
use crate::net::Inherited;
use crate::server::{Prepared, Running};
use crate::upgrade::{Extra, Go, Newcomer, Spawn, Wish};
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a service manager says to one process is not meant for the next.
const FOR_ONE_PROCESS: [&str; 5] =
    ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID", "WATCHDOG_PID"];

/// The process before this one, if this one takes over.
pub(super) struct Predecessor(Option<Newcomer>);

impl Predecessor {
    /// Asks for its sockets, if there is one.
    pub(super) fn ask(at: Option<&Path>, rehearses: bool) -> anyhow::Result<(Predecessor, Inherited)> {
        let Some(at) = at else { return Ok((Predecessor(None), Inherited::default())) };
        let (newcomer, inherited) = Newcomer::connect(at, rehearses)?;
        Ok((Predecessor(Some(newcomer)), inherited))
    }

    pub(super) const fn is_there(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn generation(&self) -> u64 {
        self.0.as_ref().map_or(1, Newcomer::generation)
    }

    /// Begins as soon as it may; `None` if it was a rehearsal.
    pub(super) fn begin(&self, prepared: Prepared, taken: &[usize]) -> anyhow::Result<Option<Running>> {
        if let Some(newcomer) = &self.0
            && newcomer.ready(taken)? == Go::Rehearsed
        {
            return Ok(None);
        }
        Ok(Some(prepared.begin()?))
    }

    /// Says that this process serves; then the one before drains.
    pub(super) fn tell(&self) {
        if let Some(newcomer) = &self.0 {
            newcomer.serving();
        }
    }
}

/// The admin port's socket, to go with the server's own.
pub(super) fn extra(fd: OwnedFd, address: &str) -> Extra {
    Extra { protocol: admin::PROTOCOL.to_owned(), text: address.to_owned(), fd }
}

/// Starts processes like this one. Its program is looked for now: later there may be another file, and that is the one.
pub(super) fn spawn(at: &Path) -> std::io::Result<Spawn> {
    let (program, at) = (std::env::current_exe()?, at.to_owned());
    let own: Vec<OsString> = std::env::args_os().skip(1).collect();
    Ok(Box::new(move |wish: &Wish| {
        let mut command = Command::new(wish.binary.as_ref().unwrap_or(&program));
        command.args(arguments(&own, wish, &at)).stdin(Stdio::null());
        FOR_ONE_PROCESS.iter().for_each(|name| {
            command.env_remove(name);
        });
        command.spawn()
    }))
}

/// This process's arguments, without what was said to it alone, and with what is said to the next.
fn arguments(own: &[OsString], wish: &Wish, at: &Path) -> Vec<OsString> {
    let mut next = Vec::with_capacity(own.len() + 3);
    let mut words = own.iter();
    while let Some(word) = words.next() {
        if word == "--rehearse" {
            continue;
        }
        let dropped = dropped(word, wish.config.is_some());
        match dropped {
            Dropped::No => next.push(word.clone()),
            Dropped::Alone => {}
            Dropped::WithNext => drop(words.next()),
        }
    }
    if let Some(config) = &wish.config {
        next.push(joined("--config=", config));
    }
    next.push(joined("--upgrade-from=", at));
    if wish.rehearses {
        next.push("--rehearse".into());
    }
    next
}

enum Dropped {
    No,
    /// Its value is in the same word.
    Alone,
    /// Its value is the next word.
    WithNext,
}

fn dropped(word: &OsStr, has_config: bool) -> Dropped {
    let Some(word) = word.to_str() else { return Dropped::No };
    match word {
        "--upgrade-from" => Dropped::WithNext,
        "--config" | "-c" if has_config => Dropped::WithNext,
        _ if word.starts_with("--upgrade-from=") => Dropped::Alone,
        _ if has_config && word.starts_with("--config=") => Dropped::Alone,
        _ if has_config && word.starts_with("-c") => Dropped::Alone,
        _ => Dropped::No,
    }
}

fn joined(flag: &str, path: &Path) -> OsString {
    let mut word = OsString::from(flag);
    word.push(PathBuf::from(path));
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_process_has_the_same_arguments_but_for_what_was_said_to_one_alone() {
        let new = Some("/new.toml");
        #[rustfmt::skip]
        let table: [(&str, Option<&str>, bool, &str); 8] = [
            ("serve",                            None, false, "serve --upgrade-from=/up"),
            ("serve --pin -c a.toml",            None, false, "serve --pin -c a.toml --upgrade-from=/up"),
            ("serve --upgrade-from=/up --pin",   None, false, "serve --pin --upgrade-from=/up"),
            ("serve --upgrade-from /old --pin",  None, true,  "serve --pin --upgrade-from=/up --rehearse"),
            ("serve -c a.toml --pin",            new,  false, "serve --pin --config=/new.toml --upgrade-from=/up"),
            ("serve -ca.toml",                   new,  false, "serve --config=/new.toml --upgrade-from=/up"),
            ("serve --config=a --upgrade-from=/up", new, false, "serve --config=/new.toml --upgrade-from=/up"),
            ("serve --config a --grace 1",       new,  false, "serve --grace 1 --config=/new.toml --upgrade-from=/up"),
        ];
        for (own, config, rehearses, want) in table {
            let own: Vec<OsString> = own.split(' ').map(OsString::from).collect();
            let wish = Wish { binary: None, config: config.map(PathBuf::from), rehearses };
            let next = arguments(&own, &wish, Path::new("/up"));
            assert_eq!(next, want.split(' ').map(OsString::from).collect::<Vec<_>>());
        }
    }
}
