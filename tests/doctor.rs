//! `tidegate doctor` as people and scripts run it: what it says of a host, with which exit code it ends, and that a server
//! keeps what it says (of descriptors: `tests/descriptors.rs`).

#![cfg(all(feature = "cli", target_os = "linux"))]

mod support;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::process::{BINARY, run};

fn doctor(arguments: &[&str]) -> (Option<i32>, String, String) {
    run(Command::new(BINARY).arg("doctor").args(arguments).env_remove("RUST_LOG"))
}

fn json(arguments: &[&str]) -> (Option<i32>, Value) {
    let (code, out, errors) = doctor(&[arguments, &["--json"]].concat());
    assert_eq!(errors, "", "{arguments:?}");
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}")))
}

/// Another host, as a folder with the files that it would have.
struct Host(PathBuf);

impl Host {
    fn new(name: &str, descriptors: u64, kib: u64) -> Host {
        let host = Host(std::env::temp_dir().join(format!("tidegate-doctor-{}-{name}", std::process::id())));
        host.write(
            "proc/self/limits",
            &format!("Max open files            1024      {descriptors}      files\n"),
        );
        host.write("proc/self/status", "Cpus_allowed_list:\t0-1\n");
        host.write("proc/meminfo", &format!("MemTotal: {kib} kB\nMemAvailable: {kib} kB\n"));
        host
    }

    fn write(&self, file: &str, text: &str) {
        let file = self.0.join(file);
        fs::create_dir_all(file.parent().expect("it lies in a folder")).expect("a folder");
        fs::write(file, text).expect("a file");
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a plain name")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_exit_code_says_whether_what_is_wanted_can_be_had() {
    let host = Host::new("codes", 2_000_000, 64 << 20);
    let config = host.0.join("small.toml");
    fs::write(&config, "[limits]\nmax_connections = 5000\n").expect("a file");
    let config = config.to_str().expect("a plain name");
    #[rustfmt::skip]
    let table: &[(&[&str], i32, &str)] = &[
        (&["--connections", "1M"],                     0, "1,000,000 connections (--connections): yes; descriptors are"),
        (&["--connections", "3M"],                     1, "3,000,000 connections (--connections): no, 1,999,888 fit"),
        (&["--config", config],                        0, "5,000 connections (max_connections): yes"),
        (&["--config", config, "--connections", "6k"], 1, "configuration is the first limit"),
        (&[],                                          0, "max_connections is auto, 1,999,888 here: yes"),
    ];
    for (arguments, want, words) in table {
        let (code, out, errors) = doctor(&[*arguments, &["--root", host.path()]].concat());
        assert_eq!((code, errors.as_str()), (Some(*want), ""), "{arguments:?}\n{out}");
        assert!(out.contains(words), "{arguments:?}: no {words:?} in\n{out}");
        assert!(!out.contains('\x1b'), "a pipe gets no colours: {out:?}");
    }
}

#[test]
fn what_was_asked_for_in_a_wrong_way_ends_with_2() {
    for (arguments, words) in [
        (&["--connections", "0"][..], "whole number from 1 to"),
        (&["--connections", "many"], "such as 50000, 50k or 1M"),
        (&["--connections", "1e6"], "whole number"),
        (&["--config", "/nowhere.toml"], "does not exist"),
        (&["--config", "tests/data/config/unknown-key.txt"], "unknown key"),
        (&["now"], "unexpected argument"),
    ] {
        let (code, out, errors) = doctor(arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {errors}");
        assert!(errors.contains(words), "{arguments:?}: {errors}");
    }
}

/// A configuration that is too much for this host is what it is asked about, and no mistake in it.
#[test]
fn a_configuration_that_wants_too_much_is_answered() {
    let host = Host::new("much", 1_000, 1 << 20);
    let config = host.0.join("large.toml");
    let text = "[server]\nmemory = \"2GiB\"\n[limits]\nmax_connections = 500000\n[[listener]]\naddress = \"0.0.0.0:7411\"\n\
                backlog = 60000\n";
    fs::write(&config, text).expect("a file");
    host.write("proc/sys/net/core/somaxconn", "4096\n");
    let arguments = ["--config", config.to_str().expect("a plain name"), "--root", host.path()];
    let (code, said) = json(&arguments);
    assert_eq!((code, &said["met"], &said["wanted"]), (Some(1), &Value::Bool(false), &Value::from(500_000)));
    // 1 GiB has no room for buffers of 2 GiB.
    assert_eq!((&said["first"], &said["carried"]), (&Value::from("memory"), &Value::from(0)));
    let verdicts: Vec<_> = ["limits", "conditions"]
        .iter()
        .flat_map(|list| said[list].as_array().expect("a list"))
        .filter(|finding| finding["verdict"] != "ok")
        .map(|finding| finding["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(verdicts, ["memory", "memory, busy", "descriptors", "accept queue"], "{said:#}");
    let descriptors = &said["limits"][2];
    let kept = said["kept_descriptors"].as_u64().expect("a number");
    let advice = format!("LimitNOFILE={}", 500_000 + kept);
    assert!(
        descriptors["raise"][0].as_str().is_some_and(|line| line.starts_with(&advice)),
        "{descriptors:#}"
    );
}

/// This host, whatever it has: all files of it are read without a fault, and the answer is whole.
#[test]
fn this_host_is_answered_in_both_ways() {
    let (code, said) = json(&["--connections", "100"]);
    assert_eq!(code, Some(i32::from(said["met"] == false)));
    let names: Vec<_> =
        said["limits"].as_array().expect("a list").iter().map(|one| one["name"].clone()).collect();
    for name in ["descriptors", "memory"] {
        assert!(names.contains(&Value::from(name)), "{names:?}");
    }
    let hard = fs::read_to_string("/proc/self/limits").expect("it is there");
    let hard = hard
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .and_then(|line| line.split_whitespace().nth(4));
    let hard: Option<u64> = hard.and_then(|number| number.parse().ok());
    let found = said["limits"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|one| one["name"] == "descriptors")
        .expect("it is");
    let most = hard.map(|hard| hard.saturating_sub(said["kept_descriptors"].as_u64().expect("a number")));
    assert_eq!(found["connections"].as_u64(), most.map(|most| most.min((1 << 24) - 1024)));
    let (_, text, _) = doctor(&["--connections", "100"]);
    assert!(text.starts_with("100 connections (--connections): "), "{text}");
    assert!(Path::new("/proc/sys/net/core/somaxconn").exists() == text.contains("accept queue"), "{text}");
}
