//! A line of processes, each of which took over from the one before: started, followed and ended by a test.
//!
//! Who is left by its parent becomes this process's child, so that every exit code is seen.

#![allow(unreachable_pub, reason = "it is one test's own")]

use super::support::process::{BINARY, NO_ADMIN, run};
use super::support::{PATIENCE, wait_until};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, test_kill_process, waitpid,
};
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

static PLACES: AtomicU32 = AtomicU32::new(0);

/// A directory of one test, removed at its end.
pub struct Place(PathBuf);

impl Place {
    pub fn new() -> Place {
        let number = PLACES.fetch_add(1, Relaxed);
        let path = std::env::temp_dir().join(format!("tidegate-restart-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).expect("a directory for temporary files");
        Place(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a temporary file");
        path
    }

    /// A program that does this.
    pub fn script(&self, name: &str, does: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.write(name, &format!("#!/bin/sh\n{does}\n"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("our own file");
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The line, by its youngest process.
pub struct Line {
    pub place: Place,
    pub pid: Pid,
    pub frames: SocketAddr,
    /// All that may still run.
    ours: Vec<Pid>,
}

impl Line {
    /// A server on free ports and at `lines.sock`, with these arguments behind the usual ones.
    pub fn start(more: &[&str]) -> Line {
        let place = Place::new();
        let lines = format!("unix:{}", place.path("lines.sock").display());
        let mut command = Command::new(BINARY);
        command.args(["serve", "--frames", "127.0.0.1:0", "--lines", &lines]).args(more);
        Line::of(place, &mut command)
    }

    /// A command that is, or becomes, a server.
    #[expect(
        clippy::zombie_processes,
        reason = "it is waited for by its number, as those are that are nobody's child here"
    )]
    pub fn of(place: Place, command: &mut Command) -> Line {
        set_child_subreaper(Some(getpid())).expect("an option of this process");
        let file = |name| File::create(place.path(name)).expect("a temporary file");
        let child = command
            .env_remove("RUST_LOG")
            .env(NO_ADMIN.0, NO_ADMIN.1)
            .env("TIDEGATE_SERVER__UPGRADE", place.path("up.sock"))
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("errors"))
            .spawn()
            .expect("the command starts");
        let pid = Pid::from_child(&child);
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut line = Line { place, pid, frames: nowhere, ours: vec![pid] };
        wait_until("the first banner", || line.banners() == 1);
        line.frames = line.address("frames").expect("a listener of frames").parse().expect("IP and port");
        line
    }

    /// What the banner of the first process says behind this word.
    pub fn address(&self, word: &str) -> Option<String> {
        let out = std::fs::read_to_string(self.place.path("out")).expect("its own file");
        let line = out.lines().find(|line| line.split_whitespace().next() == Some(word))?;
        line.split_whitespace().nth(1).map(str::to_owned)
    }

    /// How many processes have come up until now.
    pub fn banners(&self) -> usize {
        let out = std::fs::read_to_string(self.place.path("out")).expect("its own file");
        out.matches("stop       Ctrl-C").count()
    }

    /// What all of them have said to standard error.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.place.path("errors")).expect("its own file")
    }

    pub fn socket(&self) -> PathBuf {
        self.place.path("up.sock")
    }

    pub fn lines(&self) -> PathBuf {
        self.place.path("lines.sock")
    }

    /// `tidegate upgrade` at this line's socket.
    pub fn upgrade(&self, more: &[&str]) -> (Option<i32>, String, String) {
        run(self.upgrade_command().args(more))
    }

    pub fn upgrade_command(&self) -> Command {
        let mut command = Command::new(BINARY);
        command.arg("upgrade").arg("--at").arg(self.socket()).env_remove("RUST_LOG");
        command
    }

    /// A restart that must succeed; the one before must then end in order.
    #[track_caller]
    pub fn restart(&mut self, more: &[&str]) {
        let before = self.pid;
        let (code, out, errors) = self.upgrade(more);
        assert_eq!(code, Some(0), "{errors}{}", self.errors());
        self.pid = pid_in(&out, "process ").expect("the next process is named");
        self.ours.push(self.pid);
        assert_eq!(self.ended(before), Some(0), "{}", self.errors());
    }

    /// Another process of this line, to be ended with it.
    pub fn adopt(&mut self, pid: Pid) {
        self.ours.push(pid);
        self.pid = pid;
    }

    /// The process that is starting, as the old one says it.
    pub fn started(&self) -> Option<Pid> {
        let errors = self.errors();
        let last = errors.rmatch_indices("the next process was started").next()?.0;
        pid_in(&errors[last..], "\"pid\":")
    }

    /// Waits for a process of this line to end: its exit code, or `None` if a signal ended it.
    #[track_caller]
    pub fn ended(&self, pid: Pid) -> Option<i32> {
        let mut code = None;
        wait_until(&format!("the end of process {pid:?}; {}", self.errors()), || {
            match waitpid(Some(pid), WaitOptions::NOHANG) {
                Ok(Some((_, status))) => {
                    code = status.exit_status();
                    true
                }
                Ok(None) => false,
                // It still is the child of its parent, which is ending.
                Err(_) => {
                    test_kill_process(pid).is_err()
                        && !Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists()
                }
            }
        });
        code
    }

    #[track_caller]
    pub fn signal(&self, pid: Pid, signal: Signal) {
        kill_process(pid, signal).expect("it is there");
    }

    /// SIGTERM to the youngest, and the end that must follow.
    #[track_caller]
    pub fn end(self) {
        self.signal(self.pid, Signal::TERM);
        assert_eq!(self.ended(self.pid), Some(0), "{}", self.errors());
        assert!(!self.socket().exists() && !self.lines().exists(), "its files are gone with it");
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let started = self.started();
        for pid in self.ours.drain(..).chain(started) {
            if kill_process(pid, Signal::KILL).is_ok() {
                let until = std::time::Instant::now() + PATIENCE;
                while waitpid(Some(pid), WaitOptions::NOHANG).is_ok_and(|ended| ended.is_none())
                    && std::time::Instant::now() < until
                {
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
            }
        }
    }
}

/// The number behind these words.
pub fn pid_in(text: &str, words: &str) -> Option<Pid> {
    let behind = text.split_once(words)?.1;
    let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
    Pid::from_raw(digits.parse().ok()?)
}
