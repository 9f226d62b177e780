//! Users of the program: made by `tidegate token`, written into a configuration, shown by `tidegate send`.

#![cfg(feature = "cli")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use support::process::{BINARY, Process, run};
use tidegate::Users;

/// A file that is there as long as it is needed, and that only its owner may read.
struct TempFile(PathBuf);

impl TempFile {
    fn new(text: &str) -> TempFile {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tidegate-identity-{}-{count}", std::process::id()));
        fs::write(&path, text).expect("a file can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        TempFile(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().expect("a plain name")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn tidegate(arguments: &[&str]) -> (Option<i32>, String, String) {
    run(Command::new(BINARY).args(arguments).env_remove("RUST_LOG").env_remove("TIDEGATE_TOKEN"))
}

/// A token and the table that goes with it.
fn token(name: &str) -> (String, String) {
    let (code, out, errors) = tidegate(&["token", name]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let (token, table) = out.split_once("\n\n").expect("a line, an empty one, and a table");
    (token.to_owned(), table.to_owned())
}

#[test]
fn tokens_are_made_once_and_are_right() {
    let (first, table) = token("alice");
    let secret = first.strip_prefix("alice.").expect("it begins with the name");
    assert_eq!(secret.len(), 32, "192 bits");
    assert!(secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{secret}");
    assert!(!table.contains(secret), "the server is not given it");
    let users = Users::from_text("made", &table).expect("it is a table of a user");
    assert_eq!(users.authenticate(first.as_bytes(), None).map(|user| user.name()), Some("alice"));
    assert!(users.authenticate(token("alice").0.as_bytes(), None).is_none(), "no two are the same");
    let (code, out, errors) = tidegate(&["token", "a b"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert_eq!(errors, "tidegate: \"a b\" is no name of a user; it is 1 to 64 of A-Z a-z 0-9 _ -\n");
}

#[test]
fn a_file_of_users_has_users_alone_and_nobody_twice() {
    let (_, alice) = token("alice");
    let users = Users::from_text("u.toml", &alice).expect("right");
    #[rustfmt::skip]
    let table: &[(&str, String, &str)] = &[
        ("another table",   format!("{alice}[server]\nshards = 2\n"),  "a file of users has no [server]"),
        ("a list",          "[[route]]\nheaders = 1\nservice = \"ack\"\n".to_owned(), "a file of users has no [[route]]"),
        ("a key",           format!("config_version = 1\n{alice}"),    "a file of users has no keys"),
        ("no table at all", "users = 3\n".to_owned(),                  "unknown key `users`"),
        ("there already",   alice.clone(),                             "there are two users alice"),
        ("no TOML",         "[[user\n".to_owned(),                     "u.toml:1"),
        ("a token",         "[[user]]\nname = \"bob\"\ntoken = \"bob.SECRET\"\n".to_owned(), "did you mean `token_hash`?"),
        ("no hash",         "[[user]]\nname = \"bob\"\ntoken_hash = \"bob.SECRET\"\n".to_owned(), "a hash of a token is sha256:SALT:HASH"),
    ];
    for (name, text, want) in table {
        let told = users.clone().and_text("u.toml", text).expect_err(name).render(false);
        assert!(told.contains(want) && !told.contains("SECRET"), "case: {name}: {told}");
    }
    assert_eq!(Users::from_text("u.toml", "").expect("right"), Users::new());
}

#[test]
fn a_server_lets_users_in_and_nobody_else() {
    let ((alice, first), (bob, second)) = (token("alice"), token("bob"));
    let users = TempFile::new(&second.replace("\n\n", "\n"));
    let file = TempFile::new(&format!(
        "[server]\nshards = 1\nusers_file = \"{}\"\n[[listener]]\naddress = \"127.0.0.1:0\"\nusers = \"required\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"line\"\n{}routes = \"1\"\n",
        users.name(),
        first
    ));
    let (code, out, errors) = tidegate(&["check", file.name()]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(out.contains("\n  users      2\n"), "{out}");
    // A variable of the clients is none of the server's.
    let server = Process::start(
        Command::new(BINARY).args(["serve", "--config", file.name()]).env("TIDEGATE_TOKEN", "x"),
    );
    let at = server.frames.to_string();
    let ask = |more: &[&str], of_environment: &str| {
        let mut command = Command::new(BINARY);
        command.args(["send", &at, "hello"]).args(more).env_remove("TIDEGATE_TOKEN");
        if !of_environment.is_empty() {
            command.env("TIDEGATE_TOKEN", of_environment);
        }
        run(&mut command)
    };
    let in_a_file = TempFile::new(&format!("{bob}\n"));
    #[rustfmt::skip]
    type Row<'a> = (&'a str, &'a [&'a str], &'a str, Result<&'a str, &'a str>);
    let table: &[Row<'_>] = &[
        ("by flag", &["--token", &alice], "", Ok("hello\n")),
        ("by file", &["--token-file", in_a_file.name()], "", Ok("hello\n")),
        ("by environment", &[], &alice, Ok("hello\n")),
        ("flag above", &["--token", &bob], "x", Ok("hello\n")),
        ("another route", &["--token", &bob, "--route", "3"], "", Ok("iello\n")),
        ("nobody", &[], "", Err("UNAUTHENTICATED")),
        ("wrong", &["--token", "alice.wrong"], "", Err("nobody's")),
        ("no such file", &["--token-file", "/nonexistent"], "", Err("/nonexistent cannot be read")),
        ("forbidden", &["--token", &alice, "--route", "3"], "", Err("user alice may not use route 3")),
    ];
    for (name, more, of_environment, want) in table {
        let (code, out, errors) = ask(more, of_environment);
        match want {
            Ok(reply) => assert_eq!((code, out.as_str()), (Some(0), *reply), "case: {name}: {errors}"),
            Err(told) => {
                assert_ne!(code, Some(0), "case: {name}");
                let said = out + &errors;
                assert!(said.contains(told) && !said.contains(&alice), "case: {name}: {said}");
            }
        }
    }
    // The load generator is a client like others, and so are its idle connections.
    let load = ["--duration", "200ms", "--warmup", "20ms", "-c", "3", "--idle", "3", "--quiet"];
    for (given, is_right) in [(in_a_file.name(), true), ("/dev/null", false)] {
        let mut bench = Command::new(BINARY);
        bench.args(["bench", &at, "--timeout", "2s", "--token-file", given]).args(load);
        let (code, out, errors) = run(bench.env_remove("TIDEGATE_TOKEN"));
        if is_right {
            assert!(matches!(code, Some(0 | 3)), "{code:?}: {out}{errors}");
            assert!(!out.contains("WRONG") && !(out + &errors).contains(&bob));
        } else {
            assert_eq!(code, Some(69), "{out}{errors}");
        }
    }
    server.signal(rustix::process::Signal::TERM);
    let ended = server.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    for secret in [&alice, &bob, "alice.wrong"] {
        assert!(!ended.errors.contains(secret), "no token is logged: {}", ended.errors);
    }
    assert!(ended.errors.contains("\"reason\":\"unauthenticated\""), "{}", ended.errors);
}

/// The whole chain of mistakes: the file of users is told of like the configuration.
#[test]
fn what_is_wrong_with_a_file_of_users_is_told() {
    let users = TempFile::new("[[user]]\nname = \"bob\"\n");
    let file = |users_file: &str| {
        TempFile::new(&format!(
            "[server]\nusers_file = \"{users_file}\"\n[[listener]]\naddress = \"127.0.0.1:0\"\nusers = \"required\"\n"
        ))
    };
    let (bad, missing) = (file(users.name()), file("/nonexistent/users"));
    for command in ["check", "serve"] {
        let arguments = |file: &str| match command {
            "check" => vec!["check".to_owned(), file.to_owned()],
            _ => vec!["serve".to_owned(), "--config".to_owned(), file.to_owned()],
        };
        let ask = |file: &str| {
            let arguments = arguments(file);
            tidegate(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let (code, _, errors) = ask(bad.name());
        assert_eq!(code, Some(2), "{errors}");
        assert!(
            errors.contains("neither a token nor a certificate") && errors.contains(users.name()),
            "{errors}"
        );
        let (code, _, errors) = ask(missing.name());
        assert_eq!(code, Some(2), "{errors}");
        assert!(errors.contains("users_file") && errors.contains("/nonexistent/users"), "{errors}");
    }
    fs::set_permissions(&users.0, fs::Permissions::from_mode(0o644)).expect("it is ours");
    fs::write(&users.0, token("bob").1).expect("a file can be written");
    let (code, _, errors) = tidegate(&["check", bad.name()]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("can be read by every user of this host"), "{errors}");
}
