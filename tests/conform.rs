//! `tidegate conform`: our own server passes, a toy server passes, and each of a toy's faults is found by the case that is
//! there for it.

#![cfg(feature = "cli")]

mod support;
#[path = "conform/toy.rs"]
mod toy;

use std::process::Command;
use std::time::Duration;
use support::PATIENCE;
use support::process::{BINARY, Process, run};
use tidegate::conform::{self, Routes, Summary, Target, Verdict};
use tidegate::{Listener, Router, Server};
use toy::Fault;

fn target((frames, lines): (impl ToString, impl ToString), only: Option<&str>) -> Target {
    let (frames, lines, only) = (frames.to_string(), Some(lines.to_string()), only.map(str::to_owned));
    Target { frames, lines, routes: Routes::default(), timeout: PATIENCE, only }
}

/// The cases that failed, with what was told of them.
fn failures(target: &Target) -> (Summary, Vec<(String, String)>) {
    let mut failed = Vec::new();
    let summary = conform::run(target, &mut |name, verdict| match verdict {
        Verdict::Failed(failure) => failed.push((name.to_owned(), failure.to_string())),
        Verdict::Ok => {}
        Verdict::Skipped(why) => panic!("{name} was skipped: {why}"),
    });
    (summary.expect("the server is there"), failed)
}

#[track_caller]
fn assert_all_pass(target: &Target) {
    let (summary, failed) = failures(target);
    assert_eq!(failed, [], "{summary:?}");
    assert!(summary.ok > 500, "only {} cases were played", summary.ok);
}

#[test]
fn our_own_server_passes() {
    let server = Process::serve(&[]);
    assert_all_pass(&target((server.frames, server.lines), None));
    server.end();
}

#[test]
fn a_server_at_paths_is_asked_there() {
    let path = |name: &str| {
        let path = std::env::temp_dir().join(format!("tidegate-conform-{}-{name}", std::process::id()));
        format!("unix:{}", path.display())
    };
    let (frames, lines) = (path("frames"), path("lines"));
    let builder = Server::builder().shards(1).listen(Listener::frames(frames.as_str())).expect("a path");
    let builder = builder.listen(Listener::lines(lines.as_str())).expect("a path");
    let running = builder.start(Router::embedded).expect("a server");
    assert_all_pass(&target((frames, lines), None));
    running.handle().drain(Duration::from_secs(5));
    running.join().expect("no loop has died");
}

/// A second implementation of the document: what the vectors want can be had without our code.
#[test]
fn a_toy_server_passes() {
    assert_all_pass(&target(toy::serve(None), None));
}

/// Each fault, and the case that is there to find it.
const FOUND_BY: &[(Fault, &str)] = &[
    (Fault::WrongCrc, "session_echo"),
    (Fault::SwapsReplies, "session_in_order"),
    (Fault::DropsTheLastByte, "session_echo"),
    (Fault::NoGoAway, "flipped_bit_in_crc_last"),
    (Fault::GoAwayFirst, "session_replies_before_goaway"),
    (Fault::GoAwayWithoutStatus, "bad_behind_good"),
    (Fault::GoesOnAfterGoAway, "crc_little_endian"),
    (Fault::TrustsTheLengthOfDamage, "good_behind_bad"),
    (Fault::TakesTooMuch, "payload_over_limit"),
    (Fault::ResetsAtTheEnd, "flipped_bit_in_header"),
    (Fault::ForgetsWhoHalfCloses, "session_half_close"),
    (Fault::AnswersOneWayRoutes, "session_one_way_route"),
    (Fault::AnswersOneWayFlags, "session_ext_one_way"),
    (Fault::OneWayRoutesIgnoreIds, "session_ext_one_way_route"),
    (Fault::ForgetsIds, "session_ext_id"),
    (Fault::RepliesWithoutBlock, "ext_correlation"),
    (Fault::RepliesAlwaysWithBlock, "worked_example"),
    (Fault::FailsByErrorOnly, "session_ext_no_route"),
    (Fault::ErrorsAreSilent, "session_error_in_its_slot"),
    (Fault::IgnoresDeadlines, "session_ext_expired"),
    (Fault::IgnoresReservedFlags, "session_ext_reserved_flag_5"),
    (Fault::IgnoresCriticalTags, "ext_unknown_tag_255"),
    (Fault::ClosesOnUnknownFlags, "session_ext_reserved_flag_in_its_slot"),
    (Fault::TakesAnyBlock, "bad_ext_trace_rest_3"),
    (Fault::EmptyPong, "session_ping_longest"),
    (Fault::AnswersPong, "session_pong_is_ignored"),
    (Fault::TakesLateHello, "session_hello_behind_a_request"),
    (Fault::TakesAnyVersion, "session_hello_version_0"),
    (Fault::SpeaksAHigherVersion, "session_hello"),
    (Fault::NoWelcome, "session_hello_full"),
    (Fault::IgnoresMaxReceive, "session_hello_max_receive"),
    (Fault::NoAck, "session_subscribe_is_refused"),
    (Fault::AckIsOk, "session_publish_is_refused"),
    (Fault::NoticesEverybody, "session_publish_without_id_is_counted"),
    (Fault::NoticesNobody, "session_publish_without_id_is_noticed"),
    (Fault::TakesAnyDirection, "goaway_from_client"),
    (Fault::TakesAnyControl, "unknown_control_13"),
    (Fault::LinesAreSilent, "session_lines_in_order"),
    (Fault::LinesNeverTooLong, "session_line_too_long"),
];

#[test]
fn each_fault_of_a_server_is_found() {
    std::thread::scope(|scope| {
        for (fault, case) in FOUND_BY {
            scope.spawn(move || {
                let mut target = target(toy::serve(Some(*fault)), Some(case));
                // Who waits in vain has found it, too.
                target.timeout = Duration::from_secs(1);
                let (summary, failed) = failures(&target);
                let found = failed.iter().find(|(name, _)| name == case);
                let (_, told) =
                    found.unwrap_or_else(|| panic!("{fault:?} was not found by {case}: {summary:?}"));
                let lines: Vec<_> = told.lines().map(str::trim_start).collect();
                for label in ["sent", "wanted", "got"] {
                    assert!(lines.iter().any(|line| line.starts_with(label)), "{fault:?}: {told}");
                }
            });
        }
    });
}

/// Runs `tidegate conform` with these arguments.
fn conform(arguments: &[&str]) -> (Option<i32>, String, String) {
    run(Command::new(BINARY).arg("conform").args(arguments).env_remove("RUST_LOG"))
}

#[test]
fn the_command_tells_case_by_case() {
    let (frames, lines) = toy::serve(None);
    let (frames, lines) = (frames.to_string(), lines.to_string());
    let (code, out, errors) = conform(&[&frames, "--lines", &lines]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let report: Vec<_> = out.lines().collect();
    let (last, cases) = report.split_last().expect("a report");
    assert!(cases.iter().all(|line| line.starts_with("ok    ")), "{out}");
    assert_eq!(*last, format!("{} ok, 0 failed, 0 skipped", cases.len()));

    let (code, out, _) = conform(&[&frames, "--only", "session_line"]);
    assert_eq!(code, Some(0), "nothing failed: {out}");
    assert!(out.lines().all(|line| line.starts_with("skip  ") || line.contains(" 0 failed, ")), "{out}");

    // The toy serves no route 9, so where the echo should be there is none.
    let (code, out, _) = conform(&[&frames, "--echo", "9", "--only", "session_echo_empty", "--timeout", "1"]);
    assert_eq!(code, Some(1), "{out}");
    let shown = [
        "FAIL  session_echo_empty\n",
        "      sent    a frame on 0x0009: \"\"\n",
        "              00 09 00 00 00 00 ",
        "      wanted  a reply on 0x0009: \"\"\n",
        "      got     ERROR 4 NO_ROUTE \"no\"\n",
        "              40 04 00 00 00 04 00 04 6e 6f ",
        "0 ok, 2 failed, 0 skipped\n",
    ];
    for line in shown {
        assert!(out.contains(line), "no {line:?} in {out}");
    }
}

#[test]
fn the_servers_own_routes_are_asked() {
    let server = Process::serve(&[]);
    let address = server.frames.to_string();
    // The embedded routes: 1 echoes, 2 discards; 4 and above are free.
    let (code, out, _) = conform(&[&address, "--missing", "777", "--only", "no_route"]);
    assert_eq!(code, Some(0), "{out}");
    server.end();
}

#[test]
fn mistakes_get_one_line() {
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("it is bound").to_string()
    };
    let table: &[(&[&str], &[&str])] = &[
        (&[&nobody], &[&nobody, "no connection"]),
        (&["nonsense"], &["nonsense", "HOST:PORT"]),
        (&["127.0.0.1:1", "--echo", "16384"], &["--echo", "16384", "routes are 0 to 16383"]),
        (&["127.0.0.1:1", "--echo", "2"], &["three different routes"]),
        (&["127.0.0.1:1", "--timeout", "0"], &["--timeout is 0", "seconds"]),
        (&["127.0.0.1:1", "--timeout=-1"], &["--timeout is -1", "seconds"]),
    ];
    for (arguments, words) in table {
        let (code, out, errors) = conform(arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{arguments:?}: {errors}");
        for word in *words {
            assert!(errors.contains(word), "{arguments:?}: {errors}");
        }
    }
}
