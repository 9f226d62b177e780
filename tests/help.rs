//! What the command line says about itself: help that fits a screen, examples, colours for those who want them,
//! completions, manual pages, and a page in the documents that leaves nothing out.

#![cfg(feature = "cli")]

mod support;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use support::process::{BINARY, run};

const PAGE: &str = include_str!("../docs/CLI.md");

/// A common terminal, and the most lines that help may take where 24 are too few.
const COLUMNS: usize = 80;
const LINES_MAX: usize = 42;

/// The load generator has more flags than a screen has lines. Its `-h` shows those that most runs want; its `--help`
/// is for whoever looks for one of the others, and reads on.
const BENCH_LINES_MAX: usize = 78;

fn help_of(arguments: &[&str]) -> String {
    help_by("--help", arguments)
}

fn help_by(flag: &str, arguments: &[&str]) -> String {
    let columns = COLUMNS.to_string();
    let (code, out, errors) = run(Command::new(BINARY).args(arguments).arg(flag).env("COLUMNS", columns));
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{arguments:?}");
    out
}

/// All commands, from the help itself.
fn commands() -> Vec<String> {
    let help = help_of(&[]);
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<_> = names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    assert!(names.len() >= 5, "only {names:?} were found");
    names.into_iter().filter(|name| name != "help").collect()
}

#[test]
fn help_fits_a_screen_and_ends_with_an_example() {
    let commands = commands();
    let mut all: Vec<Vec<&str>> = vec![Vec::new(), vec!["bench", "diff"]];
    all.extend(commands.iter().map(|name| vec![name.as_str()]));
    for command in all {
        for flag in ["-h", "--help"] {
            let is_long = flag == "--help" && command == ["bench"];
            let lines_max = if is_long { BENCH_LINES_MAX } else { LINES_MAX };
            let help = help_by(flag, &command);
            for line in help.lines() {
                assert!(line.chars().count() <= COLUMNS, "{command:?}: over {COLUMNS} columns: {line}");
            }
            let count = help.lines().count();
            assert!(count <= lines_max, "{command:?} {flag}: {count} lines\n{help}");
            let (_, end) =
                help.split_once("\nExample").unwrap_or_else(|| panic!("{command:?}: no example\n{help}"));
            let runs = format!("tidegate {}", command.join(" "));
            assert!(end.contains(&runs), "{command:?}: the example does not run it\n{help}");
            assert!(!end.contains("\nOptions:"), "{command:?}: the example does not end it\n{help}");
        }
    }
}

/// What `-h` of the load generator leaves out is in its `--help`, in `tidegate help bench` and in its manual page.
#[test]
fn the_long_help_of_the_load_generator_has_every_flag_under_a_heading() {
    let (short, long) = (help_by("-h", &["bench"]), help_of(&["bench"]));
    let (code, named, _) =
        run(Command::new(BINARY).args(["help", "bench"]).env("COLUMNS", COLUMNS.to_string()));
    assert_eq!((code, named.as_str()), (Some(0), long.as_str()));
    let (_, manual, _) = run(Command::new(BINARY).args(["man", "bench"]));
    for heading in ["Load:", "Connections:", "Requests:", "What to find out:", "Output:"] {
        for (help, name) in [(&short, "-h"), (&long, "--help")] {
            assert!(help.lines().any(|line| line == heading), "{name} lacks {heading}\n{help}");
        }
    }
    let flags = |help: &str| -> Vec<String> {
        let words = help.split_whitespace().filter_map(|word| word.strip_prefix("--"));
        let mut names: Vec<_> =
            words.map(|word| word.trim_end_matches([',', ';', ']', '\'', ')']).to_owned()).collect();
        names.sort();
        names.dedup();
        names
    };
    let (few, all) = (flags(&short), flags(&long));
    assert!(few.len() + 10 < all.len(), "{few:?}\n{all:?}");
    for flag in few {
        assert!(all.contains(&flag), "{flag} is in -h alone");
    }
    for flag in all {
        let written = format!("\\-\\-{}", flag.replace('-', "\\-"));
        assert!(manual.contains(&written), "the manual page lacks --{flag}");
    }
}

#[test]
fn the_page_names_every_command_and_flag() {
    for command in commands() {
        assert!(PAGE.contains(&format!("tidegate {command}")), "docs/CLI.md does not name {command}");
        let help = help_of(&[&command]);
        let words = help.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
        for flag in words.filter_map(|line| line.split([' ', ',']).next()) {
            let named = PAGE.contains(&format!("`--{flag}`")) || PAGE.contains(&format!("`--{flag} "));
            assert!(named, "docs/CLI.md does not name --{flag} of {command}");
        }
    }
}

/// What a command prints on standard error if that is a terminal, with these variables.
fn on_a_terminal(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).expect("it is ours");
    let name = ptsname(&terminal, Vec::new()).expect("its other end has a name");
    let path = name.to_str().expect("a plain name");
    let end = std::fs::File::options().read(true).write(true).open(path).expect("its other end");
    let mut child = Command::new(BINARY)
        .args(arguments)
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR")
        .env_remove("CLICOLOR_FORCE")
        .env_remove("RUST_LOG")
        .env("TERM", "xterm-256color")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(end)
        .spawn()
        .expect("it starts");
    let reading = std::thread::spawn(move || {
        let mut text = Vec::new();
        // Linux says EIO where the last other end is closed.
        let _ = std::fs::File::from(terminal).read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    // A server is up when its banner is out; then it is ended.
    let out = BufReader::new(child.stdout.take().expect("it is piped"));
    if out.lines().map_while(Result::ok).any(|line| line.starts_with("stop ")) {
        kill_process(Pid::from_child(&child), Signal::TERM).expect("it is there");
    }
    child.wait().expect("it ends");
    reading.join().expect("no panic")
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let wrong: &[&str] = &["check", "tests/data/config/unknown-key.txt"];
    let serve: &[&str] = &["serve", "--frames", "127.0.0.1:0", "--lines", "127.0.0.1:0", "--admin", "off"];
    for (arguments, word) in [(wrong, "unknown key"), (serve, "draining")] {
        #[rustfmt::skip]
        let table: &[(&[(&str, &str)], bool)] = &[
            (&[],                               true),
            (&[("NO_COLOR", "1")],              false),
            (&[("NO_COLOR", "")],               true),
            (&[("TERM", "dumb")],               false),
        ];
        for (variables, want) in table {
            let text = on_a_terminal(arguments, variables);
            assert!(text.contains(word), "{arguments:?} {variables:?}: {text:?}");
            assert_eq!(text.contains('\x1b'), *want, "{arguments:?} {variables:?}: {text:?}");
        }
    }
    let (_, _, piped) = run(Command::new(BINARY).args(wrong).env("TERM", "xterm-256color"));
    assert!(!piped.contains('\x1b'), "{piped:?}");
}

#[test]
fn completions_and_pages_name_what_there_is() {
    let of = |arguments: &[&str]| {
        let (code, out, errors) = run(Command::new(BINARY).args(arguments));
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{arguments:?}");
        out
    };
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = of(&["completions", shell]);
        for word in
            ["serve", "send", "conform", "one-way", "pipeline", "bench", "diff", "find-max", "backlog"]
        {
            assert!(script.contains(word), "the completions of {shell} lack {word}");
        }
        // A flag of bench has the name of one of them.
        for hidden in ["Echo bytes, as the floor", "Hold idle connections"] {
            assert!(!script.contains(hidden), "the completions of {shell} offer what is not for people");
        }
    }
    let script = of(&["completions", "bash"]);
    let (code, _, errors) =
        run(Command::new("bash").args(["-c", &format!("{script}\ncomplete -p tidegate")]));
    assert_eq!((code, errors.as_str()), (Some(0), ""), "bash takes them");
    let page = of(&["man"]);
    assert!(page.contains(".TH tidegate 1") && page.contains("tidegate\\-send(1)"), "{page}");
    assert!(page.contains("tidegate\\-bench(1)"), "{page}");
    for hidden in ["tidegate\\-floor", "tidegate\\-hold"] {
        assert!(!page.contains(hidden), "{page}");
    }
    let page = of(&["man", "send"]);
    assert!(page.contains(".TH tidegate-send 1") && page.contains("\\-\\-one\\-way"), "{page}");
    let (code, out, errors) = run(Command::new(BINARY).args(["man", "nothing"]));
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert_eq!(errors, "tidegate: there is no command nothing; tidegate --help lists them\n");
    let (code, _, errors) = run(Command::new(BINARY).args(["completions", "no-shell"]));
    assert_eq!(code, Some(2));
    assert!(errors.contains("bash"), "{errors}");
}
