//! `tidegate bench` as a process: what it prints where, how it ends, what it refuses, and what it leaves behind.
//!
//! Always holds: what a run must give does not depend on how busy the machine is. Where a valid run is wanted, the
//! server is slow, and a generator may be late by a tenth of that; where a void one is wanted, the generator is starved.

#![cfg(feature = "cli")]

mod support;

use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::errant::{Errant, Fault};
use support::process::{BINARY, Process, run};
use support::wait_until;
use tidegate::load::file;
use tidegate::load::report::{Report, Trouble};

/// How a run ended.
struct Ended {
    code: Option<i32>,
    out: String,
    errors: String,
}

/// One connection, a short time, no warm-up; later flags can't repeat these.
const SHORT: [&str; 6] =
    ["--connections=1", "--duration=300ms", "--warmup=0s", "--timeout=2s", "--drain=500ms", "--spin=0s"];

fn bench(arguments: &[&str]) -> Ended {
    let mut command = Command::new(BINARY);
    let (code, out, errors) = run(command.arg("bench").args(arguments).env_remove("CLICOLOR_FORCE"));
    Ended { code, out, errors }
}

/// A short run without progress, with these arguments more.
fn once(address: &str, more: &[&str]) -> Ended {
    bench(&[&[address, "--quiet"], &SHORT[..], more].concat())
}

/// The first valid one of five short runs, or the last.
///
/// A machine whose host takes a tenth of 300 ms away makes a run void, as it must, and says nothing else of it.
fn short(address: &str, more: &[&str]) -> Ended {
    let mut ended = once(address, more);
    for _ in 1..5 {
        if ended.code != Some(VOID) {
            break;
        }
        ended = once(address, more);
    }
    ended
}

/// The exit code of a run that says nothing about the server.
const VOID: i32 = 3;

/// A directory that goes with its owner.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("tidegate-bench-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory for files");
        Directory(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn report_of(json: &str) -> Report {
    serde_json::from_str(json).unwrap_or_else(|why| panic!("{why}: {json}"))
}

#[test]
fn what_holds_ends_with_0_and_what_does_not_with_1() {
    let server = Errant::start(Fault::Late(20));
    let address = server.address.to_string();
    let ended = short(&address, &["--assert", "p50>1ms,errors=0", "--assert", "rate>1"]);
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""), "{}", ended.out);
    assert!(ended.out.starts_with("Closed loop: "), "{}", ended.out);
    assert_eq!(ended.out.matches("\nholds      ").count(), 3, "{}", ended.out);
    let ended = short(&address, &["--assert", "p50<1ms"]);
    assert_eq!(ended.code, Some(1), "{}", ended.out);
    assert!(ended.out.contains("\nFAILS      p50<1ms: p50 is "), "{}", ended.out);
    // What can't be said is not held.
    let ended = short(&address, &["--assert", "p99.9<10s"]);
    assert_eq!(ended.code, Some(1), "{}", ended.out);
    assert!(ended.out.contains("\nunclear    p99.9<10s: p99.9 needs 10,000 samples"), "{}", ended.out);
}

#[test]
fn wrong_replies_end_with_1_and_are_named() {
    #[rustfmt::skip]
    let table: &[(Fault, Trouble, &str)] = &[
        (Fault::Swap(6),    Trouble::OutOfOrder, "1 answered out of order"),
        (Fault::Corrupt(6), Trouble::Mismatch,   "1 reply with wrong content"),
        (Fault::Twice(6),   Trouble::Duplicate,  "1 answered twice"),
    ];
    for (fault, trouble, words) in table {
        let server = Errant::start(*fault);
        let address = server.address.to_string();
        let ended = short(&address, &["--in-flight", "4"]);
        assert_eq!(ended.code, Some(1), "{fault:?}: {}", ended.out);
        assert!(ended.out.starts_with("WRONG REPLIES: "), "{fault:?}: {}", ended.out);
        assert!(ended.out.contains(&format!("\nwrong      {words}\n")), "{fault:?}: {}", ended.out);
        drop(server);
        let server = Errant::start(*fault);
        let ended = short(&server.address.to_string(), &["--in-flight", "4", "--json", "-"]);
        assert_eq!(report_of(&ended.out).troubles.get(trouble), Some(&1), "{fault:?}");
    }
}

#[test]
fn a_run_that_is_worse_than_its_baseline_ends_with_1() {
    let files = Directory::new("baseline");
    let (quick, slow) = (files.file("quick.json"), files.file("slow.json"));
    let server = Errant::start(Fault::Late(4));
    let ended = short(&server.address.to_string(), &["--json", &quick]);
    assert_eq!(ended.code, Some(0), "{}", ended.out);
    drop(server);
    let server = Errant::start(Fault::Late(40));
    let address = server.address.to_string();
    let ended = short(&address, &["--json", &slow, "--baseline", &quick, "--regress", "50%"]);
    assert_eq!(ended.code, Some(1), "{}", ended.out);
    assert!(ended.out.contains("REGRESSED: ") && ended.out.contains("more than 50 %"), "{}", ended.out);
    let ended = short(&address, &["--baseline", &slow, "--regress", "100%"]);
    assert_eq!(ended.code, Some(0), "{}", ended.out);
    // The same from the files alone, in both directions.
    assert_eq!(bench(&["diff", &quick, &slow]).code, Some(1));
    let ended = bench(&["diff", &slow, &quick]);
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""), "{}", ended.out);
    assert!(ended.out.contains("better") && ended.out.contains("no figure is worse"), "{}", ended.out);
    // What can't be compared is refused before anything is sent.
    let heard = || server.heard.lock().expect("no panic").len();
    let before = heard();
    for (more, words) in [
        (["--rate", "1k", "--baseline", &quick], "not the same question: loop closed against open"),
        (["--size", "65", "--baseline", &quick], "not the same question: size 64 against 65"),
    ] {
        assert_refused(&short(&address, &more), words);
    }
    let mut void = file::read(Path::new(&quick)).expect("it was just written");
    void.verdict.void_because.push("it was late".to_owned());
    fs::write(&slow, file::to_json(&void)).expect("it can be written");
    assert_refused(
        &short(&address, &["--baseline", &slow]),
        "the old run is void: it was late; measure it again",
    );
    assert_eq!(heard(), before, "something was sent");
}

#[track_caller]
fn assert_refused(ended: &Ended, words: &str) {
    assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{words}: {}", ended.errors);
    assert_eq!(ended.errors.lines().count(), 1, "{words}: {}", ended.errors);
    assert!(ended.errors.starts_with("tidegate: "), "{words}: {}", ended.errors);
    assert!(ended.errors.contains(words), "not {words:?}: {}", ended.errors);
}

/// What is wrong, and a part of what is said about it.
#[rustfmt::skip]
const MISUSE: &[(&[&str], &str)] = &[
    (&["--rate", "x"],                                 "500, 50k or 1.5M"),
    (&["--rate", "0"],                                 "from 0.001 to 100M a second"),
    (&["--rate", "10k..x/10s"],                        "`x` is no rate"),
    (&["--rate", "step:1k,2k"],                        "have no length; write them as step:10k,20k,40k@15s"),
    (&["--arrival", "both"],                           "possible values: poisson, constant"),
    (&["--size", "2MiB"],                              "over the 1048576 bytes"),
    (&["--size", "5..3"],                              "write the smaller one first: 3..5"),
    (&["--lines", "--size", "1MiB"],                   "a line has at most 65536 bytes"),
    (&["--duration", "10"],                            "give a number with its unit, such as 10s"),
    (&["--duration", "1ms"],                           "the least is 10ms"),
    (&["--duration", "99h"],                           "the most is 24h"),
    (&["--timeout", "0s"],                             "the least is 1ms"),
    (&["--churn", "1ms"],                              "--churn is 1ms; the least is 10ms"),
    (&["--storm", "0s"],                               "the least is 10ms"),
    (&["--spin", "2s"],                                "the most is 1s"),
    (&["--impair", "lazy=1%"],                         "there are slow, stall, half-close, reset"),
    (&["--impair", "slow"],                            "write slow=5%"),
    (&["--impair", "slow=50%,stall=50%"],              "leave at least 10% unimpaired"),
    (&["--impair", "slow=1%,slow=2%"],                 "slow stands twice"),
    (&["--connections", "0"],                          "--connections is 0; give 1 to 1048576"),
    (&["--connections", "1.5"],                        "give a whole number, such as 64 or 10k"),
    (&["--idle", "5M"],                                "--idle is 5000000; give 0 to 4194304"),
    (&["--in-flight", "70k"],                          "give 1 to 65536"),
    (&["--threads", "0"],                              "give 1 to 256"),
    (&["--backlog", "0"],                              "--backlog is 0; give 1 to"),
    (&["--connect-rate", "0"],                         "0.1 to 1M"),
    (&["--source", "192.0.2.1"],                       "not an address of this host"),
    (&["--source", "::1"],                             "give an IPv4 address"),
    (&["--route", "20000"],                            "routes are 0 to 16383"),
    (&["--lines", "--route", "1"],                     "cannot be used with"),
    (&["--expect", "more"],                            "possible values: same, flip, any"),
    (&["--find-max", "p99<2ms", "--rate", "1..9/1s"],  "--find-max begins at one rate"),
    (&["--find-max", "p99"],                           "write one as p99<2ms or errors=0"),
    (&["--find-max", "p99<2ms", "--floor"],            "cannot be used with"),
    (&["--find-max", "p99<2ms", "--baseline", "x"],    "cannot be used with"),
    (&["--find-max", "p99<2ms", "--rate", "9"],        "needs 1,000 samples, more than 9.00/s gives in 10s; raise --duration"),
    (&["--assert", "speed>1"],                         "`speed` is no figure of a run"),
    (&["--assert", "p99=2ms"],                         "use < or >"),
    (&["--assert", "cpu<3us"],                         "name its process with --pid"),
    (&["--assert", "lag.p99<1ms"],                     "a closed loop has no schedule; give --rate"),
    (&["--pid", "4000000000"],                         "no such process"),
    (&["--baseline", "/nowhere/run.json"],             "cannot read /nowhere/run.json"),
    (&["--baseline", "Cargo.toml"],                    "Cargo.toml is not JSON"),
    (&["--baseline", "tests/data"],                    "cannot read tests/data"),
    (&["--regress", "5%"],                             "--baseline"),
    (&["--baseline", "x", "--regress", "five"],        "give a share of 0% to 100%"),
    (&["--html", "/nowhere/report.html"],              "cannot write /nowhere/report.html"),
    (&["--json", "tests"],                             "cannot write tests"),
    (&["--hdr", "-"],                                  "only --json takes -"),
];

#[test]
fn misuse_is_told_in_one_line_before_anything_is_sent() {
    let server = Errant::start(Fault::None);
    let address = server.address.to_string();
    for (arguments, words) in MISUSE {
        assert_refused(&bench(&[&[address.as_str()], *arguments].concat()), words);
    }
    assert_refused(&bench(&[]), "<ADDRESS>");
    assert_refused(&bench(&["nonsense"]), "give HOST:PORT or unix:PATH");
    assert_refused(&bench(&["diff", "a.json"]), "<AFTER>");
    assert_refused(&bench(&["diff", "Cargo.toml", "a.json"]), "Cargo.toml is not JSON");
    assert_eq!(server.heard.lock().expect("no panic").len(), 0, "something was sent");
}

#[test]
fn nobody_there_and_nobody_who_answers_end_with_69() {
    let gone = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it is bound");
    let ended = short(&gone.to_string(), &[]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(69), ""));
    assert!(ended.errors.contains(&format!("cannot connect to {gone}")), "{}", ended.errors);
    let server = Process::serve(&[]);
    let address = server.frames.to_string();
    let ended = bench(&[&address, "--quiet", "--connections", "4", "--timeout", "200ms", "--route", "2"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(69), ""));
    assert!(
        ended.errors.contains("answered nothing") && ended.errors.contains("route 2"),
        "{}",
        ended.errors
    );
    server.end();
}

/// What documents show is understood: the only thing that is wrong with it is that nobody listens.
#[test]
fn what_documents_show_is_no_misuse() {
    let files = Directory::new("shown");
    let gone = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it is bound");
    let pages =
        [include_str!("../docs/BENCH.md"), include_str!("../docs/CLI.md"), include_str!("../README.md")];
    let blocks = pages
        .iter()
        .flat_map(|page| page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()));
    let shown: Vec<&str> = blocks
        .flat_map(str::lines)
        .map(|line| {
            line.split(" #").next().unwrap_or(line).trim().trim_start_matches("cargo run --release -- ")
        })
        .map(|line| line.trim_start_matches("tidegate "))
        // What they compare with is not there.
        .filter(|line| line.starts_with("bench ") && !line.contains("before.json"))
        .collect();
    assert!(shown.len() >= 14, "only {shown:?}");
    let run_one = |command: &str| {
        let script = ["HOST:7411", "HOST:7412", "127.0.0.1:7411"]
            .iter()
            .fold(command.to_owned(), |text, address| text.replace(address, &gone.to_string()));
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec \"$0\" {script} --quiet"), BINARY]).current_dir(&files.0);
        run(&mut shell)
    };
    std::thread::scope(|scope| {
        let runs: Vec<_> = shown.iter().map(|command| (command, scope.spawn(|| run_one(command)))).collect();
        for (command, ended) in runs {
            let (code, out, errors) = ended.join().expect("no panic");
            assert_eq!((code, out.as_str()), (Some(69), ""), "{command}: {errors}");
            assert!(errors.starts_with("tidegate: cannot connect to "), "{command}: {errors}");
        }
    });
    assert_eq!(fs::read_dir(&files.0).expect("it is there").count(), 0, "a file without a report");
}

/// Ends with its owner.
struct Busy(Child);

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Beside three others who want the same processor all the time, the generator gets a quarter of it.
#[test]
#[cfg(target_os = "linux")]
fn a_generator_that_is_starved_says_so_first_and_ends_with_3() {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("Linux");
    let processor = allowed.trim().split(['-', ',']).next().expect("one at least").to_owned();
    let others: Vec<_> = (0..3)
        .map(|_| {
            let mut command = Command::new("taskset");
            command.args(["-c", &processor, "sh", "-c", "while :; do :; done"]);
            Busy(command.spawn().expect("taskset is there"))
        })
        .collect();
    let server = Errant::start(Fault::None);
    let address = server.address.to_string();
    // It never sleeps, so that it wants its processor all the time.
    let flags = ["--quiet", "--rate", "1k", "--spin", "1s", "--duration", "500ms", "--warmup", "0s"];
    let pinned = |more: &[&str]| {
        let mut command = Command::new("taskset");
        command.args(["-c", &processor, BINARY, "bench", &address]).args(flags).args(more);
        run(&mut command)
    };
    let (code, out, _) = pinned(&[]);
    assert_eq!(code, Some(VOID), "{out}");
    assert!(out.starts_with("VOID: "), "{out}");
    assert!(out.contains("had no processor for") && out.contains("limit 10.0 %"), "{out}");
    // Void goes before what was asserted, whichever way that came out.
    let (code, out, _) = pinned(&["--assert", "p50<1ns"]);
    assert_eq!(code, Some(VOID), "{out}");
    drop(others);
}

#[test]
fn a_rate_that_nobody_reaches_is_void() {
    let server = Errant::start(Fault::None);
    let ended =
        once(&server.address.to_string(), &["--rate", "20M", "--backlog", "10k", "--in-flight", "64"]);
    assert_eq!(ended.code, Some(VOID), "{}", ended.out);
    assert!(ended.out.starts_with("VOID: "), "{}", ended.out);
    assert!(ended.out.contains("\ndropped    "), "{}", ended.out);
}

#[test]
fn each_output_has_its_place() {
    let files = Directory::new("outputs");
    let server = Errant::start(Fault::Late(2));
    let address = server.address.to_string();
    let ended = bench(&[&[address.as_str(), "--json", "-", "--rate", "100"], &SHORT[..]].concat());
    let report = report_of(&ended.out);
    assert!(report.counts.answered > 0 && report.counts.balance(), "{:?}", report.counts);
    assert!(ended.errors.lines().count() >= 3, "{}", ended.errors);
    assert!(ended.errors.lines().any(|line| line.starts_with("measuring ")), "{}", ended.errors);
    assert!(!ended.errors.contains(['\x1b', '\r']), "{}", ended.errors);
    // What stood there before is replaced, and only by a whole report.
    let (json, html, hdr) = (files.file("a.json"), files.file("a.html"), files.file("a.hdr"));
    fs::write(&html, "x".repeat(1 << 20)).expect("it can be written");
    let written = ["--json", &json, "--html", &html, "--hdr", &hdr];
    let ended = short(&address, &written);
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""), "{}", ended.out);
    let report = file::read(Path::new(&json)).expect("it reads its own");
    let page = fs::read_to_string(&html).expect("it is there");
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"), "{:.200}", page);
    assert!(page.contains(&address) && !page.contains("xxxx"), "the page is of this run");
    let log = fs::read(&hdr).expect("it is there");
    let mut count = 0;
    for entry in IntervalLogIterator::new(&log) {
        let LogEntry::Interval(interval) = entry.expect("lines that others read") else { continue };
        if interval.tag().is_some_and(|tag| tag.as_str() == "service") {
            let times = base64(interval.encoded_histogram());
            let times =
                Deserializer::new().deserialize::<u64, _>(&mut times.as_slice()).expect("a histogram");
            count += times.len();
        }
    }
    assert_eq!(count, report.classes[0].service.count(), "the log has every reply of the measured part");
}

/// RFC 4648 without white space, by its definition.
fn base64(text: &str) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let digit = digits.iter().position(|known| *known == letter).expect("a digit");
        bits = bits << 6 | u32::try_from(digit).expect("below 64");
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xFF).expect("a byte"));
        }
    }
    bytes
}

#[test]
fn a_search_finds_a_rate_or_says_why_not() {
    // 200 a second at the most.
    let server = Errant::start(Fault::Late(5));
    let json = ["--find-max", "p50<40ms", "--rate", "25", "--arrival", "constant", "--json", "-"];
    let ended = short(&server.address.to_string(), &json);
    let report = report_of(&ended.out);
    let search = report.search.as_ref().expect("that was asked for");
    match search.held {
        Some(held) => {
            assert!((12.0..300.0).contains(&held), "{search:?}");
            assert_eq!(search.confirmed.0, search.confirmed.1, "{search:?}");
            assert!(search.tries.len() >= 5, "{search:?}");
            assert_eq!(ended.code, Some(0), "{search:?}");
        }
        None => assert_eq!(ended.code, Some(if report.verdict.is_valid() { 1 } else { 3 }), "{search:?}"),
    }
    // A condition that holds nowhere.
    let ended = once(&server.address.to_string(), &["--find-max", "p50<1us", "--rate", "10"]);
    assert!(matches!(ended.code, Some(1 | 3)), "{}", ended.out);
    let text = ended.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("search p50<1us held at no rate that was tried; at "), "{}", ended.out);
}

#[test]
fn lines_unix_sockets_and_the_floor_are_measured_too() {
    let files = Directory::new("kinds");
    let path = format!("unix:{}", files.file("s"));
    let local =
        Process::start(Command::new(BINARY).args(["serve", "--frames", &path, "--lines", "127.0.0.1:0"]));
    let server = Process::serve(&[]);
    let pid = server.id().to_string();
    let frames = server.frames.to_string();
    let lines = server.lines.to_string();
    #[rustfmt::skip]
    let table: &[&[&str]] = &[
        &[&path],
        &[&lines, "--lines", "--size", "16..200"],
        &[&frames, "--correlated", "--in-flight", "8", "--size", "lognormal(256,1.5)"],
        &[&frames, "--impair", "slow=20%,stall=20%,half-close=20%,reset=20%", "--rate", "500"],
        &[&frames, "--churn", "50ms", "--rate", "500"],
        &[&frames, "--storm", "100ms", "--rate", "500"],
    ];
    for arguments in table {
        let more = ["--connections=5", "--duration=300ms", "--warmup=0s", "--quiet", "--json=-", "--spin=0s"];
        let ended = bench(&[*arguments, &more].concat());
        assert!(matches!(ended.code, Some(0 | VOID)), "{arguments:?}: {:?} {}", ended.code, ended.errors);
        let report = report_of(&ended.out);
        assert!(report.counts.answered > 0 && report.counts.balance(), "{arguments:?}: {:?}", report.counts);
        assert!(report.troubles.is_empty(), "{arguments:?}: {:?}", report.troubles);
    }
    let ended = once(&frames, &["--floor", "--pid", &pid, "--json", "-"]);
    assert!(matches!(ended.code, Some(0 | VOID)), "{:?} {}", ended.code, ended.errors);
    let floor = report_of(&ended.out).floor.expect("that was asked for");
    let figures: Vec<_> = floor.ratios.iter().map(|ratio| ratio.figure.as_str()).collect();
    let wanted: &[&str] =
        if cfg!(target_os = "linux") { &["p50", "rate", "cpu a message"] } else { &["p50", "rate"] };
    assert!(wanted.iter().all(|figure| figures.contains(figure)), "{figures:?}");
    assert!(floor.ratios.iter().all(|ratio| ratio.least > 0.0 && ratio.least <= ratio.most), "{floor:?}");
    server.end();
    local.end();
}

/// A bench that may have 200 descriptors.
#[cfg(target_os = "linux")]
fn narrow(address: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script = "ulimit -n 200; exec \"$0\" \"$@\"";
    command.args(["-c", script, BINARY, "bench", address, "--quiet"]).args(arguments);
    command
}

#[test]
#[cfg(target_os = "linux")]
fn more_idle_connections_than_descriptors_are_held_by_other_processes() {
    let server = Process::serve(&[]);
    let address = server.frames.to_string();
    let (code, out, errors) =
        run(&mut narrow(&address, &["--idle=500", "-c4", "--duration=300ms", "--warmup=0s", "--json=-"]));
    assert!(matches!(code, Some(0 | VOID)), "{code:?} {errors}");
    let report = report_of(&out);
    // 136 in each beside the 64 descriptors that are kept free.
    assert_eq!((report.asked.idle, report.asked.processes), (500, 5));
    let found = &report.connections;
    assert_eq!((found.wanted, found.open_max, found.lost), (504, 504, 0));
    assert_eq!((found.verified, found.ramp_s.is_some()), (504, true));
    // Those that send are this process's own.
    let (code, _, errors) = run(&mut narrow(&address, &["-c137"]));
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("--connections is 137") && errors.contains("give at most 136"), "{errors}");
    let (code, _, errors) = run(&mut narrow(&address, &["-c4", "--idle=10k"]));
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("takes 74 processes, more than 64"), "{errors}");
    // Each of four says that nobody listens; a person is told once.
    let gone = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it is bound");
    let (code, out, errors) = run(&mut narrow(&gone.to_string(), &["-c4", "--idle=500"]));
    assert_eq!((code, out.as_str()), (Some(69), ""), "{errors}");
    assert_eq!(errors, format!("tidegate: cannot connect to {gone}: Connection refused (os error 111)\n"));

    let mut bench = narrow(&address, &["--idle=500", "-c4", "--duration=60s"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let id = bench.id();
    let children = || -> Vec<String> {
        let listed = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        listed.split_whitespace().map(str::to_owned).collect()
    };
    wait_until("the holders are there", || children().len() == 4);
    let holders = children();
    kill_process(Pid::from_child(&bench), Signal::KILL).expect("it is there");
    bench.wait().expect("it is ours");
    // Whoever inherits them may leave them unburied.
    let is_gone = |holder: &String| {
        let stat = fs::read_to_string(format!("/proc/{holder}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
    };
    wait_until("the holders are gone", || holders.iter().all(is_gone));
    server.end();
}
