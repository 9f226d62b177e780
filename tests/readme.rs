//! What the README, the page of the command line and the protocol's document show is run, as it stands there but for
//! the ports.

mod support;

use std::io::Write;
use std::process::{Command, Stdio};
use support::process::{BINARY, Process, SERVE};
use support::transcript::{Entry, assert_as_shown, is_as_shown, run_in_shell, sessions};

const ADMIN: &str = include_str!("../docs/ADMIN.md");
const CLI: &str = include_str!("../docs/CLI.md");
const README: &str = include_str!("../README.md");
const PROTOCOL: &str = include_str!("../docs/PROTOCOL.md");

/// The code of a document's first block in this language that contains `word`.
fn block(document: &'static str, language: &str, word: &str) -> &'static str {
    let opening = format!("```{language}\n");
    let blocks = document.split(opening.as_str()).skip(1).filter_map(|rest| rest.split("```").next());
    blocks.into_iter().find(|block| block.contains(word)).expect("the document has this block")
}

/// What a program prints that is fed this script.
fn output_of(program: &str, script: &str) -> String {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is needed by this test: {error}"));
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(script.as_bytes()).expect("it reads its script");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{program} failed");
    String::from_utf8(output.stdout).expect("it prints text")
}

/// Plays a session, but for `tidegate serve &` and `fg`, which are the server's own.
fn play(session: &[Entry], server: &Process) {
    let (frames, lines) = (server.frames.to_string(), server.lines.to_string());
    let mut code = 0;
    for entry in session.iter().filter(|entry| entry.command != "tidegate serve &" && entry.command != "fg") {
        let command = entry.command.replace("127.0.0.1:7411", &frames).replace("127.0.0.1:7412", &lines);
        let (came, ended) = run_in_shell(&command, code);
        code = ended;
        assert_as_shown(&command, &entry.output, &came);
    }
}

/// The README's first session: the banner, a few commands, Ctrl-C, the log's last lines.
#[test]
fn the_first_session_goes_as_shown() {
    let all = sessions(README);
    let [session] = all.as_slice() else { panic!("the README has one session") };
    let server = Process::serve(&["--log-format", "text"]);
    let banner = server.banner();
    let here = |text: &str| {
        let text = text.replace(&server.frames.to_string(), "127.0.0.1:7411");
        text.replace(&server.lines.to_string(), "127.0.0.1:7412")
    };
    let [serve, .., fg] = session.as_slice() else { panic!("it begins and ends with the server") };
    assert_eq!((serve.command.as_str(), fg.command.as_str()), ("tidegate serve &", "fg"));
    assert_as_shown("tidegate serve", &serve.output, &here(&banner));
    let try_it =
        banner.lines().find_map(|line| line.strip_prefix("try it     ")).expect("the banner says how");
    assert_eq!(run_in_shell(try_it, 0), ("已接收\n".to_owned(), 0));
    play(session, &server);
    server.signal(rustix::process::Signal::INT);
    let ended = server.ended();
    assert_eq!(ended.code, Some(0));
    let shown = fg.output.strip_prefix("^C").expect("it shows Ctrl-C");
    // Whoever sends a wrong frame is told of in the log, too: cases of `conform` do.
    let last: Vec<_> = ended.errors.lines().rev().take(2).collect();
    assert_as_shown("fg", shown, &format!("{}\n{}\n", last[1], last[0]));
}

/// Every session of the page, in order, against one server.
#[test]
fn the_command_line_does_what_its_page_shows() {
    let server = Process::serve(&[]);
    let all = sessions(CLI);
    assert!(all.len() >= 4, "only {} sessions were found", all.len());
    for session in all {
        play(&session, &server);
    }
    server.end();
}

/// Every session of the page, in order; the last drain is the server's end.
#[test]
fn the_admin_port_does_what_its_page_shows() {
    let token = std::env::temp_dir().join(format!("tidegate-{}-admin.token", std::process::id()));
    std::fs::write(&token, "a-token-for-the-page\n").expect("a file can be written");
    let mut command = Command::new(BINARY);
    command.args(SERVE).args(["--admin", "127.0.0.1:0"]).env("TIDEGATE_ADMIN__TOKEN_FILE", &token);
    let server = Process::start(&mut command);
    let banner = server.banner();
    let at = banner.lines().find_map(|line| line.strip_prefix("  admin    http://")).expect("it is on");
    let at = at.split_whitespace().next().expect("an address");
    let token_file = token.to_str().expect("a plain name");
    let mut all = sessions(ADMIN).concat();
    let is_end = |entry: &Entry| entry.output.starts_with("draining");
    let end = all.remove(all.iter().position(is_end).expect("the page drains"));
    assert!(all.len() >= 12, "only {} commands were found", all.len());
    for Entry { command, output } in all.iter().chain([&end]) {
        let command = command.replace("127.0.0.1:7413", at).replace("admin.token", token_file);
        assert_as_shown(&command, output, &run_in_shell(&command, 0).0);
    }
    assert_eq!(server.ended().code, Some(0));
    std::fs::remove_file(&token).expect("it is ours");
}

#[test]
fn a_frame_is_echoed_to_python() {
    let server = Process::serve(&[]);
    let script = block(README, "python", "socket").replace("7411", &server.frames.port().to_string());
    assert_eq!(output_of("python3", &script), "True\n");
    server.end();
}

#[test]
fn the_documents_clients_are_answered() {
    let server = Process::serve(&[]);
    let port = server.frames.port().to_string();
    let plain = block(PROTOCOL, "python", "def receive").replace("7411", &port);
    assert_eq!(output_of("python3", &plain), "(1, b'hello')\n");
    let known = block(PROTOCOL, "python", "class Client");
    assert!(known.lines().count() <= 45, "a client is short");
    let printed = output_of("python3", &known.replace("7411", &port));
    let mut replies: Vec<_> = printed.lines().collect();
    replies.sort_unstable();
    assert_eq!(replies, ["1 0 True", "2 0 True", "3 0 True"]);
    server.end();
}

/// What a document shows, what came, whether that is as shown.
#[test]
fn what_differs_from_a_document_is_seen() {
    #[rustfmt::skip]
    let table: &[(&str, &str, bool)] = &[
        ("0 OK, 5 bytes in 0.115 ms\n", "0 OK, 5 bytes in 12.1 ms\n",  true),
        ("0 OK, 5 bytes in 0.115 ms\n", "0 OK, 6 bytes in 0.115 ms\n", false),
        ("time  min 1 ms, max 2 s\n",   "time  min 3 ms, max 4 s\n",   true),
        ("651 ok, 0 failed\n",          "700 ok, 0 failed\n",          true),
        ("651 ok, 0 failed\n",          "651 ok, 1 failed\n",          false),
        ("a\n  ...\nd\n",               "a\nb\nc\nd\n",                true),
        ("a\n  ...\nd\n",               "a\nb\nc\n",                   false),
        ("a b...\n",                    "a bcd\n",                     true),
        ("a\n",                         "a\nb\n",                      false),
        ("a\nb\n",                      "a\n",                         false),
    ];
    for (shown, came, want) in table {
        assert_eq!(is_as_shown(shown, came), *want, "case: {shown} / {came}");
    }
}
