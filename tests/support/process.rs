//! The binary as a process: started by a test, ended by it, whatever happens in between.

use super::{PATIENCE, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

/// Where the binary under test lies.
pub const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

/// The arguments of a server on free ports of loopback.
pub const SERVE: [&str; 5] = ["serve", "--frames", "127.0.0.1:0", "--lines", "127.0.0.1:0"];

/// Servers of tests run beside each other, and there is one default port: who wants the admin port says `--admin`, which
/// goes above this.
pub const NO_ADMIN: (&str, &str) = ("TIDEGATE_ADMIN__ADDRESS", "off");

/// A server process with its banner read. Killed when dropped, if it still runs.
pub struct Process {
    child: Child,
    /// The server itself, if a tracer or a shell stands before it.
    server: Pid,
    pub frames: SocketAddr,
    pub lines: SocketAddr,
    banner: String,
    output: Receiver<String>,
    errors: Option<JoinHandle<String>>,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    pub errors: String,
}

impl Ended {
    pub fn last_line(&self) -> &str {
        self.errors.lines().last().unwrap_or_default()
    }
}

/// Runs a command that ends by itself, and gives its exit code, standard output and standard error.
#[track_caller]
pub fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let out = collect(child.stdout.take().expect("it is piped"));
    let errors = collect(child.stderr.take().expect("it is piped"));
    let code = wait(&mut child);
    (code, out.join().expect("no panic"), errors.join().expect("no panic"))
}

impl Process {
    /// A server on free ports, with these arguments behind the usual ones.
    pub fn serve(more: &[&str]) -> Process {
        Process::start(Command::new(BINARY).args(SERVE).args(more))
    }

    /// Starts a command that is, or becomes, a server, and waits for its banner.
    #[track_caller]
    pub fn start(command: &mut Command) -> Process {
        let mut child = command
            .env_remove("RUST_LOG")
            .env(NO_ADMIN.0, NO_ADMIN.1)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let errors = collect(child.stderr.take().expect("it is piped"));
        let lines = lines_of(child.stdout.take().expect("it is piped"));
        let server = Pid::from_child(&child);
        // From here on a panic ends the child.
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let (banner, errors) = (String::new(), Some(errors));
        let mut process =
            Process { child, server, frames: nowhere, lines: nowhere, banner, output: lines, errors };
        process.frames = process.address_in_banner("frames");
        process.lines = process.address_in_banner("lines");
        process
    }

    /// All that is printed when the server is up.
    #[track_caller]
    pub fn banner(&self) -> String {
        let mut text = self.banner.clone();
        wait_until("the banner's last line", || {
            let line = self.output.recv_timeout(PATIENCE).expect("the banner goes on");
            text.extend([line.as_str(), "\n"]);
            line.starts_with("stop ")
        });
        text
    }

    /// The address behind a word of the banner; port 0 if it is a path.
    #[track_caller]
    fn address_in_banner(&mut self, word: &str) -> SocketAddr {
        let mut address = None;
        wait_until(&format!("the banner's line of {word}"), || {
            let Ok(line) = self.output.recv_timeout(PATIENCE) else { panic!("no banner came") };
            self.banner.extend([line.as_str(), "\n"]);
            let mut words = line.split_whitespace();
            if words.next() == Some(word) {
                let nowhere = || SocketAddr::from(([127, 0, 0, 1], 0));
                let read =
                    |text: &str| if text.starts_with("unix:") { Some(nowhere()) } else { text.parse().ok() };
                address = words.next().and_then(read);
            }
            address.is_some()
        });
        address.expect("waited for")
    }

    /// The process id of the server.
    pub fn id(&self) -> i32 {
        self.server.as_raw_nonzero().get()
    }

    /// The one child of what was started is the server.
    pub fn look_behind_tracer(&mut self) {
        let tracer = self.id();
        let path = format!("/proc/{tracer}/task/{tracer}/children");
        let children = std::fs::read_to_string(&path).expect("the tracer's children");
        let child = children.split_whitespace().next().and_then(|id| id.parse().ok());
        self.server = child.and_then(Pid::from_raw).expect("the tracer has one child");
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.server, signal).expect("the server is there");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn ended(mut self) -> Ended {
        let code = wait(&mut self.child);
        let errors = self.errors.take().expect("taken once").join().expect("no panic");
        Ended { code, errors }
    }

    /// SIGTERM, and the end that must follow: in order, nothing lost.
    #[track_caller]
    pub fn end(self) {
        self.signal(Signal::TERM);
        let ended = self.ended();
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            if self.server != Pid::from_child(&self.child) {
                let _ = kill_process(self.server, Signal::KILL);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[track_caller]
fn wait(child: &mut Child) -> Option<i32> {
    let mut code = None;
    let mut is_over = false;
    let until = std::time::Instant::now() + PATIENCE;
    while !is_over && std::time::Instant::now() < until {
        if let Some(status) = child.try_wait().expect("it is our child") {
            (code, is_over) = (status.code(), true);
        } else {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
    if !is_over {
        let _ = child.kill();
        let _ = child.wait();
        panic!("the process did not end within {PATIENCE:?}");
    }
    code
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = from.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    })
}

/// Lines as they come; read to the end, so that the process never meets a closed pipe.
fn lines_of(from: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    receive
}

/// Processor time of a process until now, in hundredths of a second.
pub fn cpu_ticks(id: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("the process is there");
    // The name in brackets may hold spaces; utime and stime are the 14th and 15th field (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let number = |field: usize| fields[field - 3].parse::<u64>().expect("a number");
    number(14) + number(15)
}
