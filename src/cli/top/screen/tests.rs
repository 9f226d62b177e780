use super::*;
use crate::cli::top::view::{Connections, Flow, Requests, Times};

fn count(name: &str, total: f64, per_s: f64) -> Count {
    Count { name: name.to_owned(), total, per_s: Some(per_s) }
}

/// A server with much to tell of.
fn busy(loops: usize) -> View {
    View {
        version: Some("0.1.0".to_owned()),
        uptime_s: Some(97_445.0),
        is_draining: true,
        interval_s: Some(1.0),
        messages: Flow { in_per_s: Some(123_456.0), out_per_s: Some(99.4) },
        bytes: Flow { in_per_s: Some(12_345_678.0), out_per_s: None },
        connections: Connections {
            open: Some(10_004.0),
            new_per_s: Some(12.0),
            ended_per_s: Some(0.5),
            refused_per_s: Some(0.0),
            at_entrance: Some(7.0),
            paused: vec![Count { name: "output".to_owned(), total: 3.0, per_s: None }],
        },
        requests: Requests {
            started_per_s: Some(100.0),
            open: Some(34.0),
            failed_per_s: Some(0.0),
            lost_per_s: None,
        },
        times: Times { turn_p99_s: Some(0.000_131), wait_p99_s: None, handler_p99_s: Some(f64::INFINITY) },
        limits: vec![
            Limit { name: "connections", used: 10_004.0, most: 65_536.0, is_bytes: false },
            Limit { name: "input", used: 127.0 * 1048576.0, most: 128.0 * 1048576.0, is_bytes: true },
        ],
        loops: (0..loops)
            .map(|at| Loop {
                shard: at.to_string(),
                busy: Some(0.631),
                starved: Some(0.2),
                connections: Some(5_002.0),
                messages_per_s: Some(61_000.0),
                open_requests: Some(12.0),
                turn_s: (at == 1).then_some(4.3),
                is_dead: at == 2,
            })
            .collect(),
        troubles: vec![count("stalls", 2.0, 0.0)],
        closed: vec![count("reset", 12.0, 3.0), count("idle", 4.0, 0.0)],
        refused: Vec::new(),
    }
}

fn talkers(number: usize) -> Listed {
    let one = |at: usize| Talker {
        id: format!("0-{at}-1"),
        peer: "[2001:db8::1:2:3:4]:51234".to_owned(),
        listener: "0.0.0.0:7411".to_owned(),
        client_id: Some("\x1b[31mevil\nname\x07 that is long".to_owned()),
        state: "serving".to_owned(),
        paused: if at == 0 { vec!["output".to_owned()] } else { Vec::new() },
        age_s: 3_700.0,
        idle_s: 0.0,
        bytes_in: 1_022_566,
        bytes_out: u64::MAX >> 16,
        queued_bytes: 283_084,
        open_requests: 4_096,
    };
    Listed::Known((0..number).map(one).collect())
}

/// Of any server, on any terminal: within it, and without a character that a peer has chosen to harm it.
#[test]
fn a_screen_is_never_larger_than_the_terminal() {
    let full = busy(4);
    let empty = View::default();
    let unknown = Listed::Unknown("no list of connections: why".to_owned());
    let known = talkers(50);
    for view in [None, Some(&empty), Some(&full)] {
        for listed in [&unknown, &known] {
            for alarm in
                [None, Some("no answer: connection refused; trying again; this is what it said last")]
            {
                for size in [(1, 1), (2, 3), (20, 10), (79, 24), (100, 40), (400, 200)] {
                    let scene = Scene {
                        address: "127.0.0.1:7413",
                        view,
                        listed,
                        by: "bytes",
                        alarm,
                        is_paused: true,
                        has_keys: true,
                    };
                    let lines = lines(&scene, size, false);
                    assert!(lines.len() <= size.1 && !lines.is_empty(), "{size:?}: {} lines", lines.len());
                    for line in &lines {
                        assert!(line.chars().count() <= size.0, "{size:?}: {line}");
                        assert!(!line.contains(char::is_control), "{line:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_screen_says_what_there_is() {
    let (view, listed) = (busy(3), talkers(3));
    let scene = Scene {
        address: "127.0.0.1:7413",
        view: Some(&view),
        listed: &listed,
        by: "bytes",
        alarm: None,
        is_paused: false,
        has_keys: false,
    };
    let text = lines(&scene, (140, 60), false).join("\n");
    for words in [
        "tidegate 0.1.0 at 127.0.0.1:7413, up 1 d 3 h  draining",
        "messages     in 123,456/s    out 99.4/s",
        "bytes        in 11.8 MiB/s   out -",
        "connections  10,004 open, 12.0/s new, 0.50/s ended, 0/s refused, 7 at the entrance",
        "p99          turn ≤ 131 µs, wait -, handler longer than all bounds",
        "not read     output 3",
        "troubles     stalls 2",
        "closed       reset 12 (3.00/s), idle 4",
        "connections  [####--------------------]  15.3 %  10,004 of 65,536",
        "input        [########################]  99.2 %  127 MiB of 128 MiB",
        "   0  [##############--------]  63 %       5,002    61,000/s    12          20 %",
        "in one turn for 4.30 s",
        "   2  dead: the server drains and ends",
        "paused: output   ",
    ] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    let coloured = lines(&scene, (140, 60), true).join("\n");
    assert!(coloured.contains("\x1b[1;31m"), "what is nearly full is seen");
}

#[test]
fn many_loops_leave_room_for_the_rest() {
    let (view, listed) = (busy(64), talkers(50));
    let scene = Scene {
        address: "a",
        view: Some(&view),
        listed: &listed,
        by: "bytes",
        alarm: None,
        is_paused: false,
        has_keys: true,
    };
    let drawn = lines(&scene, (100, 40), false);
    assert_eq!(drawn.len(), 40);
    assert!(drawn.iter().any(|line| line.contains("more loops")), "{drawn:#?}");
    assert!(drawn.iter().any(|line| line.starts_with("PEER")), "{drawn:#?}");
    let all = lines(&scene, (100, usize::MAX), false);
    assert!(all.iter().any(|line| line.starts_with("  63  ")) && all.len() > 110, "{}", all.len());
}

#[test]
fn ages_are_short() {
    for (seconds, want) in [(0.0, "0s"), (119.0, "119s"), (120.0, "2m"), (7_200.0, "2h"), (200_000.0, "2d")] {
        assert_eq!(age(seconds), want);
    }
    for (seconds, want) in [(8.9, "8 s"), (250.0, "4 m 10 s"), (7_500.0, "2 h 5 m"), (97_445.0, "1 d 3 h")] {
        assert_eq!(long_time(seconds), want);
    }
}
