//! Sessions of a shell as documents show them, to be compared with what happens.
//!
//! Always holds: only times and dates may differ, what stands where a document has `...`, and how many cases there are.

use std::process::Command;

/// One command and what it printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub command: String,
    pub output: String,
}

/// The sessions of a document, each a list of commands.
pub fn sessions(document: &str) -> Vec<Vec<Entry>> {
    let blocks = document.split("```console\n").skip(1);
    blocks.map(|block| entries(block.split("```").next().expect("a split has a first part"))).collect()
}

fn entries(block: &str) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), found.last_mut()) {
            (Some(command), _) => found.push(Entry { command: command.to_owned(), output: String::new() }),
            (None, Some(entry)) => entry.output.extend([line, "\n"]),
            (None, None) => panic!("output without a command: {line}"),
        }
    }
    found
}

/// Runs a command in a shell, after one that ended with `code`; gives all that it printed, and its code.
pub fn run_in_shell(command: &str, code: i32) -> (String, i32) {
    let script = format!("tidegate() {{ \"$BINARY\" \"$@\"; }}; (exit {code}); {{ {command}\n}} 2>&1");
    let mut bash = Command::new("bash");
    let (code, out, errors) = super::process::run(
        bash.args(["-c", &script]).env("BINARY", super::process::BINARY).env_remove("RUST_LOG"),
    );
    assert_eq!(errors, "", "{command}: the shell complained");
    (out, code.expect("bash is not ended by a signal"))
}

/// Whether what came is what a document shows.
#[track_caller]
pub fn assert_as_shown(command: &str, shown: &str, came: &str) {
    assert!(is_as_shown(shown, came), "{command}\n--- the document:\n{shown}\n--- what came:\n{came}");
}

/// Whether they differ only in what may.
pub fn is_as_shown(shown: &str, came: &str) -> bool {
    matches(&without_times(shown), &without_times(came))
}

/// A line `...` stands for any lines, and at a line's end for any rest of it.
fn matches(shown: &str, came: &str) -> bool {
    let mut came = came.lines().peekable();
    let mut may_skip = false;
    for line in shown.lines() {
        if line.trim() == "..." {
            may_skip = true;
            continue;
        }
        let is_it =
            |came: &str| line.strip_suffix("...").map_or(came == line, |begin| came.starts_with(begin));
        let found = if may_skip { came.any(is_it) } else { came.next().is_some_and(is_it) };
        if !found {
            return false;
        }
        may_skip = false;
    }
    may_skip || came.next().is_none()
}

/// Numbers in front of a unit of time, dates, and the number of cases that are ok become words.
fn without_times(text: &str) -> String {
    text.lines().map(|line| line_without_times(line) + "\n").collect()
}

fn line_without_times(line: &str) -> String {
    let words: Vec<_> = line.split(' ').collect();
    let is_number = |word: &str| word.trim_start_matches('(').parse::<f64>().is_ok();
    let told = words.iter().enumerate().map(|(at, word)| {
        let next = words.get(at + 1).map_or("", |next| next.trim_end_matches([',', ':', ')']));
        let is_date = word.ends_with('Z') && word.contains("T") && word.starts_with("20");
        let is_time = is_number(word) && ["ms", "s"].contains(&next);
        let is_count = at == 0 && is_number(word) && words.get(1) == Some(&"ok,");
        match (is_date, is_time, is_count) {
            (true, _, _) => "DATE",
            (_, true, _) => "TIME",
            (_, _, true) => "MANY",
            (false, false, false) => word,
        }
    });
    told.collect::<Vec<_>>().join(" ")
}
