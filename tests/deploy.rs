//! What is shipped for systemd, Debian and containers fits the program: flags and keys exist, paths agree, and what is
//! said to be a health check is one.

#![cfg(all(feature = "cli", target_os = "linux"))]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use support::process::{BINARY, Process, run};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

const UNIT: &str = "docs/deploy/tidegate.service";
const SOCKET: &str = "docs/deploy/tidegate.socket";
const CONFIG: &str = "docs/deploy/tidegate.toml";
const CONTAINER: &str = "docs/deploy/Containerfile";

/// `(section, key, value)` of each line.
fn settings(text: &str) -> Vec<(String, String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else {
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{line:?} is no setting"));
            found.push((section.clone(), key.to_owned(), value.to_owned()));
        }
    }
    found
}

fn all<'a>(settings: &'a [(String, String, String)], key: &str) -> Vec<&'a str> {
    settings.iter().filter(|(_, name, _)| name == key).map(|(.., value)| value.as_str()).collect()
}

fn one<'a>(settings: &'a [(String, String, String)], key: &str) -> &'a str {
    match all(settings, key).as_slice() {
        [value] => value,
        values => panic!("{key} is given {} times", values.len()),
    }
}

/// What systemd.unit(5), .service(5), .socket(5) and .exec(5) know of what we use: it ignores whatever it does not know.
const KNOWN: &[(&str, &[&str])] = &[
    ("Unit", &["Description", "Documentation", "After", "Wants"]),
    (
        "Service",
        &[
            "Type",
            "ExecStart",
            "ExecReload",
            "WatchdogSec",
            "Restart",
            "RestartSec",
            "RestartPreventExitStatus",
            "TimeoutStopSec",
            "KillMode",
            "LimitNOFILE",
            "DynamicUser",
            "RuntimeDirectory",
            "RuntimeDirectoryMode",
            "UMask",
            "CapabilityBoundingSet",
            "NoNewPrivileges",
            "ProtectSystem",
            "ProtectHome",
            "ProtectClock",
            "ProtectControlGroups",
            "ProtectHostname",
            "ProtectKernelLogs",
            "ProtectKernelModules",
            "ProtectKernelTunables",
            "ProtectProc",
            "PrivateDevices",
            "PrivateTmp",
            "RestrictAddressFamilies",
            "RestrictNamespaces",
            "RestrictRealtime",
            "RestrictSUIDSGID",
            "LockPersonality",
            "MemoryDenyWriteExecute",
            "RemoveIPC",
            "SystemCallArchitectures",
            "SystemCallFilter",
            "SystemCallErrorNumber",
        ],
    ),
    ("Socket", &["ListenStream", "ReusePort", "Backlog", "NoDelay"]),
    ("Install", &["WantedBy"]),
];

#[test]
fn the_units_have_no_setting_that_systemd_would_ignore() {
    for file in [UNIT, SOCKET] {
        let settings = settings(&read(file));
        assert!(settings.len() > 5, "{file}: the reader is blind");
        for (section, key, _) in &settings {
            let known = KNOWN.iter().find(|(name, _)| name == section).map(|(_, keys)| keys);
            assert!(known.is_some_and(|keys| keys.contains(&key.as_str())), "{file}: [{section}] {key}");
        }
    }
}

#[test]
fn what_the_unit_starts_is_what_the_program_takes() {
    let settings = settings(&read(UNIT));
    let mut words = one(&settings, "ExecStart").split_whitespace();
    assert_eq!(words.next(), Some("/usr/bin/tidegate"));
    let command = words.next().expect("a command");
    let (code, help, _) = run(Command::new(BINARY).args([command, "--help"]));
    assert_eq!(code, Some(0), "there is no {command}");
    for flag in words.filter(|word| word.starts_with("--")) {
        assert!(help.contains(flag), "{command} has no {flag}");
    }
    // Its type needs a process that says when it is ready, and the watchdog one that says that it lives.
    assert_eq!(one(&settings, "Type"), "notify");
    assert!(!one(&settings, "WatchdogSec").is_empty());
    // The runtime directory is the upgrade socket's.
    let config = read(CONFIG);
    assert!(
        config.contains(&format!("upgrade = \"/run/{}/upgrade.sock\"", one(&settings, "RuntimeDirectory")))
    );
    // The default grace, and some time to end.
    let (_, effective, _) =
        run(Command::new(BINARY).args(["check", "--print-effective"]).arg(root().join(CONFIG)));
    assert!(effective.contains("drain.grace = \"30s\""), "{effective}");
    assert_eq!(one(&settings, "TimeoutStopSec"), "40s");
}

#[test]
fn the_shipped_configuration_is_right_and_the_socket_unit_has_its_addresses() {
    let (code, out, errors) = run(Command::new(BINARY).arg("check").arg(root().join(CONFIG)));
    assert_eq!(code, Some(0), "{errors}");
    let socket = settings(&read(SOCKET));
    let addresses = all(&socket, "ListenStream");
    assert_eq!(addresses.len(), 2);
    assert!(addresses.iter().all(|address| out.contains(address)), "{addresses:?} in {out}");
    assert_eq!(one(&socket, "ReusePort"), "yes");
}

/// Source and target of each file of the package, and that nothing of it is missing.
#[test]
fn the_package_is_made_of_files_that_exist() {
    let manifest = read("Cargo.toml");
    let (_, package) = manifest.split_once("[package.metadata.deb]").expect("a package");
    let sources = package.lines().filter_map(|line| line.trim().strip_prefix("[\"")?.split('"').next());
    let sources: Vec<_> = sources.collect();
    assert!(sources.len() >= 4, "{sources:?}");
    for source in sources.iter().filter(|source| !source.starts_with("target/")) {
        assert!(root().join(source).exists(), "{source}");
    }
    let unit = settings(&read(UNIT));
    let config = one(&unit, "ExecStart").split_whitespace().last().expect("a configuration");
    assert!(
        package.contains(&format!("conf-files = [\"{config}\"]")),
        "{config} is kept when the package is upgraded"
    );
    assert!(
        package.contains("unit-name = \"tidegate\"") && package.contains("unit-scripts = \"docs/deploy/\"")
    );
}

/// The words of the container's health check, as the shell gets them.
fn health_check(port: u16) -> Vec<String> {
    let text = read(CONTAINER);
    let line = text.lines().find_map(|line| line.strip_prefix("HEALTHCHECK ")).expect("a health check");
    let (_, words) = line.split_once("CMD ").expect("a command");
    let words: Vec<String> = serde_json_words(words);
    words.into_iter().map(|word| word.replace("/7413", &format!("/{port}"))).collect()
}

/// A JSON list of strings.
fn serde_json_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut letters = text.chars();
    while letters.by_ref().any(|letter| letter == '"') {
        let mut word = String::new();
        while let Some(letter) = letters.next().filter(|letter| *letter != '"') {
            match letter {
                '\\' => word.push(letters.next().expect("an escaped letter")),
                other => word.push(other),
            }
        }
        words.push(word);
    }
    words
}

#[test]
fn the_containers_health_check_tells_a_server_from_none() {
    let server = Process::serve(&["--admin", "127.0.0.1:0"]);
    let banner = server.banner();
    let at = banner.lines().find_map(|line| line.split_once("http://127.0.0.1:")).expect("an admin port").1;
    let port = at.split_whitespace().next().and_then(|port| port.parse().ok()).expect("a port");
    let words = health_check(port);
    assert_eq!(words[..2], ["bash", "-c"]);
    let check = || run(Command::new(&words[0]).args(&words[1..])).0;
    assert_eq!(check(), Some(0));
    server.end();
    assert_ne!(check(), Some(0));
}

#[test]
fn the_container_runs_as_nobody_and_starts_what_there_is() {
    let text = read(CONTAINER);
    assert!(
        text.lines()
            .any(|line| line.starts_with("USER ") && !line.contains("root") && !line.contains("USER 0"))
    );
    let command =
        text.lines().find_map(|line| line.strip_prefix("CMD ")).map(serde_json_words).expect("a command");
    let (_, help, _) = run(Command::new(BINARY).args([command[0].as_str(), "--help"]));
    for flag in command.iter().filter(|word| word.starts_with("--")) {
        assert!(help.contains(flag.as_str()), "{flag}");
    }
    let binary = PathBuf::from(BINARY);
    let name = binary.file_name().and_then(|name| name.to_str()).expect("a name");
    assert!(text.contains(&format!("/src/target/release/{name} /usr/bin/{name}")));
}
