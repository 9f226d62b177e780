//! `tidegate send`: what it sends, what it prints where, and with which exit code it ends.

#![cfg(feature = "cli")]

mod support;

use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::client::{self as hand, frame};
use support::process::{BINARY, Process, run};
use support::serving::{Serving, builder};
use support::{PATIENCE, pattern, wait_until};

/// Exit code, standard output, standard error.
type Ended = (Option<i32>, String, String);

fn send(arguments: &[&str]) -> Ended {
    run(Command::new(BINARY).arg("send").args(arguments).env_remove("RUST_LOG"))
}

/// The same, with this on standard input; gives the output's bytes.
fn send_piped(arguments: &[&str], input: &[u8]) -> (Option<i32>, Vec<u8>) {
    let mut child = Command::new(BINARY)
        .arg("send")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut pipe = child.stdin.take().expect("it is piped");
    let input = input.to_vec();
    let writing = std::thread::spawn(move || pipe.write_all(&input));
    let ended = child.wait_with_output().expect("it ends");
    // With --file it does not read it; what it printed tells whether it should have.
    let _ = writing.join().expect("no panic");
    (ended.status.code(), ended.stdout)
}

#[test]
fn a_reply_goes_to_one_stream_and_what_is_said_about_it_to_the_other() {
    let serving = Serving::embedded();
    let (frames, lines) = (serving.frames().to_string(), serving.lines().to_string());
    let (frames, lines) = (frames.as_str(), lines.as_str());
    #[rustfmt::skip]
    let table: &[(&[&str], i32, &str, &str)] = &[
        (&[frames, "hello"],                                    0, "hello\n",        "0 OK, 5 bytes in "),
        (&[frames, "hello", "world"],                           0, "hello world\n",  "0 OK, 11 bytes in "),
        (&[frames, "--", "--raw"],                              0, "--raw\n",        "0 OK, 5 bytes in "),
        (&[frames, ""],                                         0, "",               "0 OK, 0 bytes in "),
        (&[frames, "x", "--route", "0"],                        0, "已接收\n",        "0 OK, 9 bytes in "),
        (&[frames, "x", "--quiet"],                             0, "x\n",            ""),
        (&[frames, "x", "--raw"],                               0, "x",              "0 OK, 1 byte in "),
        (&[frames, "--hex", "1b 5B"],                           0, "00000000  1b 5b                                            .[\n", "0 OK, 2 bytes in "),
        (&[frames, "x", "--correlation", "18446744073709551615"], 0, "x\n",          "0 OK, correlation 18446744073709551615, 1 byte in "),
        (&[frames, "x", "--token", "secret"],                   0, "x\n",            "0 OK, 1 byte in "),
        (&[frames, "x", "--route", "9"],                        1, "",               "4 NO_ROUTE: nobody serves route 9 (in "),
        (&[frames, "x", "--route", "9", "--deadline", "1"],     1, "",               "4 NO_ROUTE: nobody serves route 9 (in "),
        (&[frames, "x", "--route", "9", "--quiet"],             1, "",               ""),
        (&[frames, "x", "--route", "9", "--raw", "--quiet"],    1, "nobody serves route 9", ""),
        (&[frames, "x", "--deadline", "0"],                     1, "",               "8 DEADLINE_EXCEEDED"),
        (&[frames, "x", "--route", "2", "--one-way"],           0, "",               "sent; no reply was asked for"),
        (&[frames, "x", "--route", "9", "--one-way", "--token", ""], 1, "",          "tidegate: the server replied 4 NO_ROUTE"),
        (&[frames, "x", "--trace", "--quiet"],                  0, "x\n",            ""),
        (&[lines, "--lines", "hello"],                          0, "已接收\n",        "0 OK, 9 bytes in "),
    ];
    for (arguments, code, want, about) in table {
        let (ended, out, errors) = send(arguments);
        assert_eq!((ended, out.as_str()), (Some(*code), *want), "case: {arguments:?}: {errors}");
        assert!(errors.starts_with(about), "case: {arguments:?}: {errors}");
        assert_eq!(errors.lines().count(), usize::from(!about.is_empty()), "case: {arguments:?}: {errors}");
    }
    serving.end();
}

#[test]
fn the_payload_may_come_from_a_pipe_or_a_file() {
    let serving = Serving::embedded();
    let frames = serving.frames().to_string();
    let bytes = pattern(1, 100_000);
    assert_eq!(send_piped(&[&frames, "--raw"], &bytes), (Some(0), bytes.clone()));
    assert_eq!(send_piped(&[&frames, "--raw", "--hex"], b"00 01\n0a\n"), (Some(0), vec![0, 1, 10]));
    // The end of a line is not part of it.
    let lines = serving.lines().to_string();
    assert_eq!(send_piped(&[&lines, "--lines", "--raw"], b"hello\n").0, Some(0));
    assert_eq!(send_piped(&[&lines, "--lines", "--raw"], b"two\nlines\n").0, Some(2));
    let path = std::env::temp_dir().join(format!("tidegate-send-{}", std::process::id()));
    std::fs::write(&path, &bytes).expect("a file");
    let name = path.to_str().expect("a plain name");
    assert_eq!(send_piped(&[&frames, "--raw", "--file", name], b"not this"), (Some(0), bytes));
    std::fs::remove_file(&path).expect("it is ours");
    serving.end();
}

#[test]
fn a_unix_socket_is_an_address() {
    let path = std::env::temp_dir().join(format!("tidegate-send-{}.sock", std::process::id()));
    let address = format!("unix:{}", path.display());
    let listening = tidegate::Server::builder().listen(address.as_str()).expect("a new path");
    let serving = Serving::of(listening.start(tidegate::service::Router::embedded).expect("a server"));
    let (code, out, errors) = send(&[&address, "hello"]);
    assert_eq!((code, out.as_str()), (Some(0), "hello\n"), "{errors}");
    serving.end();
}

/// Each in one line, with what to do about it.
#[test]
fn what_goes_wrong_is_told_in_a_line() {
    let serving = Serving::embedded();
    let (frames, lines) = (serving.frames().to_string(), serving.lines().to_string());
    let (frames, lines) = (frames.as_str(), lines.as_str());
    let (_kept, nobody) = hand::nobody();
    let nobody = nobody.to_string();
    #[rustfmt::skip]
    let table: &[(&[&str], i32, &[&str])] = &[
        (&[&nobody, "x"],                                1, &["no connection to 127.0.0.1:", "refused; is the server running? try: tidegate serve"]),
        (&["unix:/no/such", "x"],                        1, &["no connection to unix:/no/such: there is no such socket", "tidegate serve"]),
        (&[frames, "x", "--route", "2", "--timeout", "0.2"], 1, &["no reply within 200ms", "--one-way"]),
        (&[lines, "x", "--timeout", "0.2"],              1, &["no reply within 200ms", "--lines"]),
        (&[frames, "xxxxxx", "--lines", "--timeout", "0.2"], 1, &["leave --lines out"]),
        (&["nonsense", "x"],                             2, &["HOST:PORT or unix:PATH"]),
        (&["unix:", "x"],                                2, &["the path is missing"]),
        (&[frames, "x", "--route", "16384"],             2, &["--route", "routes are 0 to 16383, or 0x0 to 0x3fff"]),
        (&[frames, "--hex", "0"],                        2, &["two digits for each byte, and here are 1"]),
        (&[frames, "--hex", "0g"],                       2, &["'g' is none"]),
        (&[frames, "--file", "/no/such"],                2, &["cannot read /no/such: "]),
        (&[frames, "x", "--deadline", "-1"],             2, &["--deadline is -1"]),
        (&[frames, "x", "--deadline", "1e9"],            2, &["--deadline is 1000000000; give it at most 2073600 seconds"]),
        (&[frames, "x", "--timeout", "0"],               2, &["--timeout is 0; give it 0.001 to 2073600 seconds"]),
        (&[lines, "a\nb", "--lines"],                    2, &["line break", "at byte 1"]),
    ];
    for (arguments, code, words) in table {
        let (ended, out, errors) = send(arguments);
        assert_eq!((ended, out.as_str()), (Some(*code), ""), "case: {arguments:?}: {errors}");
        assert_eq!(errors.lines().count(), 1, "case: {arguments:?}: {errors}");
        assert!(errors.starts_with("tidegate: "), "case: {arguments:?}: {errors}");
        for word in *words {
            assert!(errors.contains(word), "case: {arguments:?}: {errors}");
        }
    }
    for arguments in [
        &[frames, "x", "--pipeline", "2"][..],
        &[frames, "x", "--count", "0"],
        &[frames, "x", "--lines", "--route", "3"],
        &[frames, "x", "--file", "y"],
    ] {
        assert_eq!(send(arguments).0, Some(2), "case: {arguments:?}");
    }
    serving.end();
}

#[test]
fn a_reply_that_is_damaged_or_missing_is_an_error() {
    let mut damaged = frame(hand::ECHO, b"x");
    damaged[6] ^= 1;
    let goaway = frame(hand::GOAWAY, b"\0\x05\0\0\0\0full");
    #[rustfmt::skip]
    let table: &[(Vec<u8>, &str)] = &[
        (damaged,                "tidegate: the server sent no frame: frame carries crc 0x"),
        (b"HTTP/1.1".to_vec(),   "tidegate: the server sent no frame: payload of "),
        (goaway,                 "tidegate: the server sent GOAWAY: 5 OVERLOADED: full"),
        (vec![0, 1, 0],          "tidegate: the server closed the connection 3 bytes into a reply"),
        (Vec::new(),             "tidegate: the server closed the connection without a word; replies due: 1, "),
    ];
    for (bytes, want) in table {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let bytes = bytes.clone();
        let playing = std::thread::spawn(move || {
            let mut peer = hand::Client::over(listener.accept().expect("a client").0);
            peer.receive();
            peer.send(&bytes);
            peer.finish_sending();
            peer.read_to_end();
        });
        let (code, out, errors) = send(&[&address, "x"]);
        assert_eq!((code, out.as_str()), (Some(1), ""), "case: {want}: {errors}");
        assert!(errors.starts_with(want) && errors.lines().count() == 1, "case: {want}: {errors}");
        playing.join().expect("no panic");
    }
}

#[test]
fn many_requests_give_a_summary() {
    let handled = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = handled.clone();
    let running = builder().start_fn(move |frame, reply| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match frame.route() {
            7 if number % 10 == 9 => reply.fail(tidegate::Status::application(300), "every tenth"),
            _ => reply.forward(frame.whole()),
        }
    });
    let serving = Serving::of(running.expect("a server"));
    let frames = serving.frames().to_string();
    #[rustfmt::skip]
    let table: &[(&[&str], i32, &str, &str)] = &[
        (&["--count", "1"],                      0, ": 1 ok",     "with one request at a time"),
        (&["--count", "50", "--pipeline", "7"],  0, ": 50 ok",    "with 7 requests at a time"),
        (&["--count", "3", "--pipeline", "7"],   0, ": 3 ok",     "with 7 requests at a time"),
        (&["--count", "40", "--pipeline", "40", "--correlation", "5"], 0, ": 40 ok", "with 40 requests at a time"),
        (&["--count", "6"],                      0, ": 6 ok",     "not the server's limit"),
        (&["--count", "50", "--route", "7"],     1, ": 45 ok, 5 failed with 300 APPLICATION", "not the server's limit"),
    ];
    let mut expected = 0;
    for (arguments, code, words, about) in table {
        let (ended, out, errors) = send(&[&[frames.as_str(), "x"], *arguments].concat());
        assert_eq!((ended, errors.as_str()), (Some(*code), ""), "case: {arguments:?}: {out}");
        let lines: Vec<_> = out.lines().collect();
        let [sum, times, note] = lines.as_slice() else { panic!("case: {arguments:?}: {out}") };
        assert!(sum.ends_with(words) && note.contains(about), "case: {arguments:?}: {out}");
        assert!(["min ", "median ", "p99 ", "max "].iter().all(|word| times.contains(word)), "{out}");
        expected += arguments[1].parse::<u32>().expect("the count");
    }
    assert_eq!(handled.load(std::sync::atomic::Ordering::Relaxed), expected, "each was sent once");
    let (ended, out, _) = send(&[&frames, "x", "--count", "20", "--one-way"]);
    assert_eq!(ended, Some(0));
    assert!(out.starts_with("20 of 20 requests sent in ") && out.lines().count() == 1, "{out}");
    assert_eq!(handled.load(std::sync::atomic::Ordering::Relaxed), expected + 20, "the server has read them");
    serving.end();
}

/// Deeper than all buffers between the two together: a client that only wrote would wait for ever.
#[test]
fn a_deep_pipeline_of_large_requests_ends() {
    let serving = Serving::embedded();
    let path = std::env::temp_dir().join(format!("tidegate-deep-{}", std::process::id()));
    std::fs::write(&path, pattern(1, 64 << 10)).expect("a file");
    let (frames, name) = (serving.frames().to_string(), path.to_str().expect("a plain name").to_owned());
    let (code, out, errors) =
        send(&[&frames, "--file", &name, "--count", "300", "--pipeline", "300", "--timeout", "30"]);
    std::fs::remove_file(&path).expect("it is ours");
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.contains(": 300 ok"), "{out}");
    serving.end();
}

#[test]
fn what_came_before_an_error_is_counted() {
    let serving = Serving::embedded();
    let frames = serving.frames().to_string();
    let (code, out, errors) =
        send(&[&frames, "x", "--count", "10", "--route", "2", "--timeout", "0.2", "--pipeline", "3"]);
    assert_eq!(code, Some(1));
    assert!(out.ends_with(": 0 ok, 10 without a reply\n"), "{out}");
    assert!(errors.starts_with("tidegate: no reply within 200ms") && errors.lines().count() == 1, "{errors}");
    serving.end();
}

/// It waits for a reply that does not come; Ctrl-C ends it at once, as it ends any command.
#[test]
fn ctrl_c_ends_it() {
    let server = Process::serve(&[]);
    let begun = Instant::now();
    let mut child = Command::new(BINARY)
        .args(["send", &server.frames.to_string(), "x", "--route", "2", "--timeout", "600"])
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    // Until it waits: what it sent has reached the server.
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().expect("it is ours").is_none(), "it waits");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
        .expect("it is there");
    let mut ended = None;
    wait_until("it has ended", || {
        ended = child.try_wait().expect("it is ours");
        ended.is_some()
    });
    let signal = ended.and_then(|status| std::os::unix::process::ExitStatusExt::signal(&status));
    assert_eq!(signal, Some(2), "ended by SIGINT, which shells tell as 130");
    assert!(begun.elapsed() < PATIENCE);
    server.end();
}
