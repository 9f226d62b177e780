//! The clients and the backend of `docs/clients`, each against the real server, against one that follows a script,
//! and against the golden vectors. The same cases for every language: `tests/clients/driver.*` turn commands into calls,
//! and outcomes into lines.
//!
//! A language whose runtime is not there is skipped with a line that says so; Python always has to be there.

#![cfg(all(feature = "cli", unix))]
#![allow(unreachable_pub, reason = "the parts of this test are in files of their own")]

#[path = "clients/cases.rs"]
mod cases;
#[path = "clients/scripted.rs"]
mod scripted;
#[path = "clients/streams.rs"]
mod streams;
mod support;

use cases::{BY_BATCHES, BY_BYTES, ON_SCRIPTS, ON_SERVER, UNREAD};
use rustix::process::Signal;
use scripted::Step;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::process::{BINARY, Process, run};

/// A client under test.
struct Client {
    /// What the driver is started with.
    driver: Vec<String>,
    /// And the client itself, as a command.
    command: Vec<String>,
    /// Whether texts that are not UTF-8 are refused; in C they are bytes.
    checks_text: bool,
    /// What it is asked to tell of requests that were not sent.
    unsent: (&'static str, &'static [&'static str]),
}

impl Client {
    fn of(driver: &[&str], command: &[&str]) -> Client {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Client { driver: owned(driver), command: owned(command), checks_text: true, unsent: BY_BYTES }
    }

    fn start(&self, address: &str, words: &str) -> Child {
        let mut command = Command::new(&self.driver[0]);
        command.args(&self.driver[1..]).arg(address).args(words.split(' ').filter(|word| !word.is_empty()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        command.spawn().expect("the driver starts")
    }

    /// Plays one case, and compares the lines of its outcomes.
    fn play(&self, name: &str, address: &str, words: &str, want: &[&str]) {
        let mut command = Command::new(&self.driver[0]);
        command.args(&self.driver[1..]).arg(address).args(words.split(' ').filter(|word| !word.is_empty()));
        let (code, out, errors) = run(&mut command);
        let is_wanted = |(line, want): (&str, &&str)| match want.strip_suffix('*') {
            Some(begin) => line.starts_with(begin) && line.len() > begin.len(),
            None => line == *want,
        };
        let is_right = out.lines().count() == want.len() && out.lines().zip(want).all(is_wanted);
        assert!(
            is_right,
            "case: {name}\ngot    {:?}\nwanted {want:?}\n{errors}",
            out.lines().collect::<Vec<_>>()
        );
        assert_eq!(code, Some(0), "case: {name}\n{errors}");
    }

    fn play_all(&self) {
        self.decodes_all_vectors();
        let server = Process::serve(&[]);
        let address = server.frames.to_string();
        for (name, words, want) in ON_SERVER {
            self.play(name, &address, words, want);
        }
        self.is_a_command(&address);
        server.end();
        self.reaches_unix_sockets();
        self.sees_drains();
        for (name, words, script, want) in ON_SCRIPTS {
            self.follows(name, words, script, want);
        }
        let (words, want) = self.unsent;
        self.follows("what was not sent", words, UNREAD, want);
    }

    fn follows(&self, name: &str, words: &str, script: &'static [Step], want: &[&str]) {
        let (address, script) = scripted::serve(script);
        self.play(name, &address, words, want);
        script.join().unwrap_or_else(|_| panic!("case: {name}: the script was not followed"));
    }

    fn decodes_all_vectors(&self) {
        let streams = streams::all(self.checks_text);
        let mut child = self.start("vectors", "");
        let mut input = child.stdin.take().expect("it is piped");
        let sent: String = streams.iter().map(|stream| format!("{}\n", stream.line)).collect();
        let sending = std::thread::spawn(move || input.write_all(sent.as_bytes()));
        let output = child.wait_with_output().expect("the driver ends");
        assert!(output.status.success(), "the driver failed");
        sending.join().expect("no panic").expect("it reads what it is asked");
        let found = String::from_utf8(output.stdout).expect("hex and names");
        assert_eq!(found.lines().count(), streams.len(), "an answer for each stream");
        for (stream, found) in streams.iter().zip(found.lines()) {
            assert_eq!(found, stream.want, "case: {}: {}", stream.name, stream.line);
        }
    }

    fn is_a_command(&self, address: &str) {
        let cli = |words: &[&str]| {
            let mut command = Command::new(&self.command[0]);
            run(command.args(&self.command[1..]).args([address]).args(words))
        };
        let replied = cli(&["--route", "1", "hello", "there"]);
        assert_eq!(replied, (Some(0), "hello\nthere\n".into(), String::new()), "the command's replies");
        let (code, out, errors) = cli(&["--route", "99", "hello"]);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{errors}");
        assert!(errors.lines().count() == 1 && errors.contains("NO_ROUTE"), "{errors}");
        let all = cli(&["--token", "t", "--deadline-ms", "5000", "--correlate", "--timeout", "5", "hello"]);
        assert_eq!(all, (Some(0), "hello\n".into(), String::new()), "the command's options");
        assert_eq!(cli(&["--one-way", "hello"]), (Some(0), String::new(), String::new()), "one-way");
    }

    fn reaches_unix_sockets(&self) {
        let socket = std::env::temp_dir().join(format!("tidegate-clients-{}.sock", std::process::id()));
        let address = format!("unix:{}", socket.display());
        let arguments = ["serve", "--frames", &address, "--lines", "127.0.0.1:0"];
        let server = Process::start(Command::new(BINARY).args(arguments));
        self.play("unix socket", &address, "ask:1:hello", &["ok hello"]);
        server.end();
    }

    /// A server that goes away: a plain client is ended, one that said HELLO is told and ends by itself.
    fn sees_drains(&self) {
        let server = Process::serve(&[]);
        let address = server.frames.to_string();
        let mut plain = self.start(&address, "ask:1:x stdin poll:10000 told ask:1:y");
        let mut known = self.start(&address, "hello= ask:1:x stdin poll:10000 told ask:1:y close");
        let (mut of_plain, mut of_known) = (lines(&mut plain), lines(&mut known));
        let is_ready = of_plain.any(|line| line == "ready") && of_known.any(|line| line == "ready");
        assert!(is_ready, "both are connected");
        server.signal(Signal::TERM);
        for child in [&mut plain, &mut known] {
            writeln!(child.stdin.as_mut().expect("it is piped")).expect("the driver waits for a line");
        }
        let told: Vec<_> = of_plain.collect();
        assert_eq!(told, ["goaway 9", "ended goaway 9 undone"], "a plain client in a drain");
        let told: Vec<_> = of_known.collect();
        assert_eq!(told, ["goaway 9", "ended goaway 9 undone", "closed"], "a known client in a drain");
        assert!(plain.wait().expect("it ends").success() && known.wait().expect("it ends").success());
        assert_eq!(server.ended().code, Some(0), "nothing was lost");
    }
}

fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok)
}

fn place(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name).display().to_string()
}

/// Where compiled clients are put.
fn made(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Whether this program is there; a line says so if not.
#[expect(clippy::print_stderr, reason = "a test that shows nothing must say so")]
fn is_there(program: &str, asked: &str) -> bool {
    let there = Command::new(program).arg(asked).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        eprintln!("skipped: {program} is not installed");
    }
    there
}

#[test]
fn python() {
    let (driver, client) = (place("tests/clients/driver.py"), place("docs/clients/tidegate.py"));
    Client::of(&["python3", "-B", &driver], &["python3", "-B", &client]).play_all();
}

#[test]
fn node() {
    if is_there("node", "--version") {
        let (driver, client) = (place("tests/clients/driver.js"), place("docs/clients/tidegate.js"));
        Client { unsent: BY_BATCHES, ..Client::of(&["node", &driver], &["node", &client]) }.play_all();
    }
}

/// In C99, without a warning, a leak, or a byte that is not ours.
#[test]
fn c() {
    if !is_there("gcc", "--version") {
        return;
    }
    let compile = |name: &str, arguments: &[&str]| {
        let program = made(name).display().to_string();
        let mut command = Command::new("gcc");
        command.args(["-std=c99", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pedantic", "-o", &program]);
        let (code, _, errors) = run(command.args(["-I", &place("docs/clients")]).args(arguments));
        assert_eq!(code, Some(0), "{errors}");
        program
    };
    let (source, driver) = (place("docs/clients/tidegate.c"), place("tests/clients/driver.c"));
    let watched = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    let driver = compile("c-driver", &[watched[0], watched[1], &source, &driver]);
    let client = compile("c-client", &["-DTIDEGATE_MAIN", &source]);
    Client { checks_text: false, ..Client::of(&[&driver], &[&client]) }.play_all();
}

#[test]
fn go() {
    if !is_there("go", "version") {
        return;
    }
    // Files of one program lie in one directory.
    let sources = made("clients-go");
    std::fs::create_dir_all(&sources).expect("a directory for what is built");
    for name in ["tests/clients/driver.go", "docs/clients/tidegate.go"] {
        let to = sources.join(Path::new(name).file_name().expect("a file"));
        std::fs::copy(place(name), to).expect("a copy");
    }
    let go = |words: &[&str]| {
        let mut command = Command::new("go");
        command.args(words).current_dir(&sources);
        let (code, _, errors) = run(command.env("GOCACHE", sources.join("cache")).env("GO111MODULE", "off"));
        assert_eq!(code, Some(0), "{errors}");
    };
    go(&["vet", "tidegate.go"]);
    go(&["build", "-o", "driver", "tidegate.go", "driver.go"]);
    go(&["build", "-o", "client", "tidegate.go"]);
    let program = |name: &str| sources.join(name).display().to_string();
    Client::of(&[&program("driver")], &[&program("client")]).play_all();
}
