//! What the README shows is run, as it stands there but for the ports.

mod support;

use std::io::Write;
use std::process::{Command, Stdio};
use support::process::Process;

const README: &str = include_str!("../README.md");

/// The code of the README's first block in this language that contains `word`.
fn block(language: &str, word: &str) -> &'static str {
    let opening = format!("```{language}\n");
    let blocks = README.split(opening.as_str()).skip(1).filter_map(|rest| rest.split("```").next());
    blocks.into_iter().find(|block| block.contains(word)).expect("the README has this block")
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
    let script = block("sh", "/dev/tcp").replace("7412", &server.lines.port().to_string());
    assert_eq!(output_of("bash", &script), "已接收\n");
    server.end();
}

#[test]
fn a_frame_is_echoed_to_python() {
    let server = Process::serve(&[]);
    let script = block("python", "socket").replace("7411", &server.frames.port().to_string());
    assert_eq!(output_of("python3", &script), "True\n");
    server.end();
}
