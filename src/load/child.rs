//! A process that works for the generator: one more process for more connections, or the [floor](super::floor).
//!
//! It is spoken to by lines: its standard input is ours to write, its standard output ours to read; its standard error
//! is our own. It must end when its input ends, so it can't outlive us, not even if we are killed.
//!
//! Always holds: every wait has an end; a child that doesn't end when it should is killed by its handle; dropping ends
//! it. Never: what the lines mean.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// The longest line that is taken from a child, in bytes: a report with all its histograms has some hundred KiB.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Lines that wait to be read; then the child waits.
const LINES_MAX: usize = 16;

/// How long a child may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(2);

/// A child process. Dropped, it is ended.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    input: Option<ChildStdin>,
    lines: Option<Receiver<io::Result<String>>>,
}

impl Child {
    /// Starts a program.
    ///
    /// # Errors
    ///
    /// If it can't be started.
    pub fn start(program: &Path, arguments: &[&str]) -> io::Result<Child> {
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let (input, output) = (process.stdin.take(), process.stdout.take());
        let (lines, reading) = sync_channel(LINES_MAX);
        // From here on an error ends the child.
        let child = Child { process, input, lines: Some(reading) };
        if let Some(output) = output {
            std::thread::Builder::new().name("child".to_owned()).spawn(move || read(output, &lines))?;
        }
        Ok(child)
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its next line, without the end of it. Waits for it, but not longer than `patience`.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](ErrorKind::TimedOut), or [`UnexpectedEof`](ErrorKind::UnexpectedEof) if there will be none.
    pub fn line(&mut self, patience: Duration) -> io::Result<String> {
        let ended = || io::Error::new(ErrorKind::UnexpectedEof, "the child process has said all and ended");
        let Some(lines) = &self.lines else { return Err(ended()) };
        match lines.recv_timeout(patience) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                let told = format!("the child process said nothing for {} ms", patience.as_millis());
                Err(io::Error::new(ErrorKind::TimedOut, told))
            }
            Err(RecvTimeoutError::Disconnected) => Err(ended()),
        }
    }

    /// Writes it a line. Blocks while the child doesn't read and the pipe (64 KiB on Linux) is full.
    ///
    /// # Errors
    ///
    /// [`BrokenPipe`](ErrorKind::BrokenPipe) if it has ended.
    pub fn tell(&mut self, line: &str) -> io::Result<()> {
        let Some(input) = &mut self.input else { return Err(ErrorKind::BrokenPipe.into()) };
        input.write_all(format!("{line}\n").as_bytes())
    }

    /// Ends it: closes its input, waits two seconds at the most, and kills it if it is still there then.
    ///
    /// # Errors
    ///
    /// If it can't be waited for.
    pub fn end(&mut self) -> io::Result<ExitStatus> {
        self.input = None;
        // What it still writes fails, rather than stop it.
        self.lines = None;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(LOOK);
        }
        self.process.kill()?;
        self.process.wait()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A second time gives what is known.
        let _ = self.end();
    }
}

/// Hands lines over until there are no more, or nobody wants them.
fn read(output: ChildStdout, lines: &SyncSender<io::Result<String>>) {
    let mut output = BufReader::new(output);
    loop {
        let mut line = String::new();
        let told = match output.by_ref().take(LINE_BYTES_MAX).read_line(&mut line) {
            Ok(0) => return,
            Ok(_) if line.ends_with('\n') => {
                line.pop();
                Ok(line)
            }
            Ok(count) => {
                let why = format!("the child process sent {count} bytes without the end of a line");
                Err(io::Error::new(ErrorKind::InvalidData, why))
            }
            Err(error) => Err(error),
        };
        let is_last = told.is_err();
        if lines.send(told).is_err() || is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn start(script: &str) -> Child {
        Child::start(Path::new("/bin/sh"), &["-c", script]).unwrap()
    }

    #[test]
    fn lines_go_there_and_back() {
        let mut child = Child::start(Path::new("cat"), &[]).unwrap();
        for line in ["tide", "", "gate"] {
            child.tell(line).unwrap();
            assert_eq!(child.line(SECOND).unwrap(), line);
        }
        assert_eq!(child.line(Duration::from_millis(5)).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(child.end().unwrap().success(), "it ended by itself");
        assert!(child.end().unwrap().success(), "and stays so");
        assert_eq!(child.tell("more").unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(child.line(SECOND).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_ends_early_is_told() {
        let mut child = start("echo one; printf two; exit 5");
        assert_eq!(child.line(SECOND).unwrap(), "one");
        assert_eq!(child.line(SECOND).unwrap_err().kind(), ErrorKind::InvalidData, "half a line");
        assert_eq!(child.line(SECOND).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(child.end().unwrap().code(), Some(5));
        let error = Child::start(Path::new("/no/such/program"), &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn what_does_not_end_is_killed() {
        let began = Instant::now();
        let mut child = start("exec sleep 60");
        assert_eq!(child.end().unwrap().code(), None, "by a signal");
        assert!(began.elapsed() >= PATIENCE && began.elapsed() < PATIENCE + 5 * SECOND);
    }

    #[test]
    fn one_that_writes_on_is_not_held_up_by_a_full_pipe() {
        let mut child = start("while :; do echo still here || exit 3; done");
        assert_eq!(child.line(SECOND).unwrap(), "still here");
        let began = Instant::now();
        assert!(!child.end().unwrap().success(), "nobody reads it any more");
        assert!(began.elapsed() < PATIENCE, "it did not have to be killed");
    }
}
