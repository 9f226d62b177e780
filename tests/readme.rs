//! What the README and the protocol's document show is run, as it stands there but for the ports.

mod support;

use std::io::Write;
use std::process::{Command, Stdio};
use support::process::Process;

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

#[test]
fn a_line_is_acknowledged_from_the_shell() {
    let server = Process::serve(&[]);
    let script = block(README, "sh", "/dev/tcp").replace("7412", &server.lines.port().to_string());
    assert_eq!(output_of("bash", &script), "已接收\n");
    server.end();
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
