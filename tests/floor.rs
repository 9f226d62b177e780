//! The bare echo as a process of its own: it says where it is, echoes, and is gone when its starter is.

#![cfg(feature = "cli")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::process::{BINARY, run};
use tidegate::load::child::Child;

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn it_echoes_until_its_input_ends() {
    let mut child = Child::start(Path::new(BINARY), &["floor", "127.0.0.1:0"]).expect("it starts");
    let address = child.line(PATIENCE).expect("it says where it is");
    let mut stream = TcpStream::connect(&address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("any time will do");
    stream.write_all(b"tidegate").expect("it takes them");
    let mut back = [0; 8];
    stream.read_exact(&mut back).expect("they come back");
    assert_eq!(&back, b"tidegate");
    let ended = child.end().expect("it can be waited for");
    assert_eq!(ended.code(), Some(0), "it ended by itself, though a connection was open");
    assert!(TcpStream::connect(&address).is_err());
}

#[test]
fn a_place_that_cannot_be_had_is_told_in_a_line() {
    let (code, out, errors) = run(Command::new(BINARY).args(["floor", "nowhere"]));
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(errors.starts_with("tidegate: cannot listen at nowhere: "), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

#[test]
fn without_a_pipe_it_would_never_end_and_does_not_begin() {
    let (code, _, errors) = run(Command::new(BINARY).args(["floor", "127.0.0.1:0"]));
    assert_eq!(code, Some(2));
    assert_eq!(errors, "tidegate: standard input is a file; give it a pipe, whose end ends the echo\n");
}
