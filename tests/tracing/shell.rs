//! Traces from the shell: what `serve` is told, what `send --trace` prints, what `check` says.

use crate::support::client::{Client, nobody};
use crate::support::collector::Collector;
use crate::support::process::{BINARY, Process, SERVE, cpu_ticks, run};
use rustix::process::Signal;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// A file of this text that is there as long as it is needed.
struct Written(PathBuf);

impl Written {
    fn new(name: &str, text: &str) -> Written {
        let path = std::env::temp_dir().join(format!("tidegate-{}-{name}", std::process::id()));
        fs::write(&path, text).expect("a file can be written");
        Written(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().expect("a plain name")
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_request_from_the_shell_is_found_in_the_collector() {
    let collector = Collector::new();
    let headers = Written::new("headers", "# who\nauthorization: Bearer xyzzy\n");
    let mut command = Command::new(BINARY);
    command.args(SERVE).envs([
        ("TIDEGATE_TRACE__ENDPOINT", collector.url().as_str()),
        ("TIDEGATE_TRACE__HEADERS_FILE", headers.name()),
        ("TIDEGATE_TRACE__SERVICE_NAME", "tide"),
    ]);
    let server = Process::start(&mut command);
    let at = server.frames.to_string();
    let (code, out, errors) = run(Command::new(BINARY).args(["send", at.as_str(), "--trace", "hello"]));
    assert_eq!((code, out.as_str()), (Some(0), "hello\n"), "{errors}");
    let id = errors.trim_end().rsplit_once("; trace ").unwrap_or_else(|| panic!("no id in {errors}")).1;
    // At once: the span leaves with the end, though its time has not come.
    let before = Instant::now();
    server.signal(Signal::TERM);
    let ended = server.ended();
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let span = collector.wait_for(1).remove(0);
    let hex: String = span.trace.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((hex.as_str(), span.name.as_str()), (id, "route 1 echo"));
    let posted = collector.posted()[0].clone();
    assert_eq!(posted.headers["authorization"], "Bearer xyzzy");
    assert_eq!(posted.resource["service.name"], "tide");
    assert!(!ended.errors.contains("xyzzy"), "{}", ended.errors);
}

/// With nothing to send, and with a collector that is not there, the process rests.
#[test]
fn waiting_for_a_collector_takes_no_processor() {
    let (_place, nobody) = nobody();
    let mut command = Command::new(BINARY);
    let url = format!("http://{nobody}");
    command.args(SERVE).env("TIDEGATE_TRACE__ENDPOINT", &url).env("TIDEGATE_TRACE__RATIO", "1");
    let server = Process::start(&mut command);
    let mut used = Vec::new();
    for is_asked in [false, true] {
        if is_asked {
            Client::connect(server.frames).echo(b"recorded");
        }
        let before = cpu_ticks(server.id());
        std::thread::sleep(Duration::from_secs(2));
        used.push(cpu_ticks(server.id()) - before);
    }
    // Hundredths of a second, of 200.
    assert!(used.iter().all(|ticks| *ticks < 40), "{used:?}");
    server.signal(Signal::TERM);
    let ended = server.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert!(ended.errors.contains("the last traces were not sent"), "{}", ended.errors);
}

#[test]
fn a_wrong_file_of_headers_is_told_by_its_line_and_not_by_its_words() {
    let wrong = Written::new("wrong-headers", "a: b\nBearer xyzzy\n");
    let file = Written::new(
        "traces.toml",
        &format!("[trace]\nendpoint = \"http://127.0.0.1:4318\"\nheaders_file = {:?}\n", wrong.name()),
    );
    for arguments in [&["check"][..], &["serve", "--admin", "off", "--config"]] {
        let (code, out, errors) = run(Command::new(BINARY).args(arguments).arg(file.name()));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{arguments:?}: {errors}");
        assert!(errors.contains("line 2") && errors.contains(wrong.name()), "{arguments:?}: {errors}");
        assert!(!errors.contains("xyzzy"), "{arguments:?}: {errors}");
    }
}

#[test]
fn check_says_where_traces_go() {
    let file = Written::new("good.toml", "[trace]\nendpoint = \"http://[::1]:9/x\"\nratio = 0.25\n");
    let (code, out, errors) = run(Command::new(BINARY).args(["check", file.name()]));
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.contains("\n  traces     http://[::1]:9/x/v1/traces\n"), "{out}");
    let (_, out, _) = run(Command::new(BINARY).args(["check", "--print-effective", file.name()]));
    assert!(out.contains("\nratio = 0.25") && out.contains("\nspans_per_second = 1000\n"), "{out}");
}
