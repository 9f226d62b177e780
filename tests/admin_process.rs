//! `tidegate serve` with its admin port: where it is, what it lets be changed, and how the process ends.

#![cfg(feature = "cli")]

mod support;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use support::admin::{BEARER, TOKEN, ask, get, post};
use support::client::Client;
use support::process::{BINARY, Process, SERVE, cpu_ticks, run};

/// A file of this text that is there as long as it is needed, readable by its owner or by all.
struct TokenFile(PathBuf);

impl TokenFile {
    fn new(name: &str, text: &[u8], mode: u32) -> TokenFile {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("tidegate-{}-{name}", std::process::id()));
        fs::write(&path, text).expect("a file can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        TokenFile(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().expect("a plain name")
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The arguments of a server on free ports, the admin port included.
fn serve() -> Command {
    let mut command = Command::new(BINARY);
    command.args(SERVE).args(["--admin", "127.0.0.1:0"]).env("TIDEGATE_ADMIN__TOKEN", TOKEN);
    command
}

/// Where the banner says that it is.
#[track_caller]
fn admin_in(banner: &str) -> SocketAddr {
    let line = banner.lines().find_map(|line| line.strip_prefix("  admin    http://"));
    let line = line.unwrap_or_else(|| panic!("no admin port in\n{banner}"));
    line.split_whitespace().next().and_then(|at| at.parse().ok()).expect("an address")
}

#[test]
fn a_drain_that_was_asked_for_ends_the_process_in_order() {
    let server = Process::start(&mut serve());
    let at = admin_in(&server.banner());
    let mut client = Client::connect(server.frames);
    client.echo(b"here");
    drop(client);
    assert_eq!(ask(at, "POST", "/drain", &[], "").status, 401);
    let answer = post(at, "/drain?grace=20s", "");
    assert_eq!(answer.status, 202, "{answer:?}");
    let ended = server.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert!(ended.last_line().contains("0 forced, 0 requests lost"), "{}", ended.errors);
    let asked = ended.errors.lines().find(|line| line.contains("draining, as asked on the admin port"));
    assert!(asked.is_some_and(|line| line.contains("127.0.0.1:")), "who asked is told: {}", ended.errors);
    assert!(!ended.errors.contains(TOKEN));
}

/// However soon the server is over, who asked for that is answered.
#[test]
fn who_asks_for_the_end_is_answered() {
    for _ in 0..5 {
        let server = Process::start(&mut serve());
        let at = admin_in(&server.banner());
        assert_eq!(post(at, "/drain", "").status, 202);
        assert_eq!(server.ended().code, Some(0));
    }
}

#[test]
fn the_log_is_changed_while_the_server_runs() {
    let server = Process::start(serve().args(["--log-format", "text"]));
    let at = admin_in(&server.banner());
    let visit = || {
        let mut client = Client::connect(server.frames);
        client.echo(b"here");
        client.finish_sending();
        client.expect_end();
    };
    assert_eq!(get(at, "/log").body, "info\n");
    visit();
    let changed = post(at, "/log", "warn,tidegate=debug\n");
    assert_eq!((changed.status, changed.body.as_str()), (200, "was info\nnow tidegate=debug,warn\n"));
    visit();
    assert_eq!(get(at, "/log").body, "tidegate=debug,warn\n");
    for wrong in ["=[", "tidegate=loud", "debgu", "info,", "tidegate=", ""] {
        let refused = post(at, "/log", wrong);
        assert_eq!((refused.status, refused.body.lines().count()), (400, 1), "{refused:?}");
        assert!(refused.body.contains("such as debug"), "{refused:?}");
    }
    assert_eq!(get(at, "/log").body, "tidegate=debug,warn\n", "nothing has changed");
    assert_eq!(post(at, "/log", "error").status, 200);
    visit();
    server.signal(rustix::process::Signal::TERM);
    let ended = server.ended();
    assert_eq!(ended.code, Some(0));
    let debug = ended.errors.lines().filter(|line| line.contains("DEBUG")).count();
    assert!(debug > 0, "one visit was told of: {}", ended.errors);
    let change = ended.errors.lines().find(|line| line.contains("what is logged was changed"));
    assert!(change.is_some_and(|line| line.contains("asker=127.0.0.1:")), "{}", ended.errors);
    assert!(!ended.errors.contains("draining"), "only errors were wanted at the end: {}", ended.errors);
}

#[test]
fn the_configuration_is_shown_without_its_token() {
    let server = Process::start(serve().args(["--grace", "7"]));
    let at = admin_in(&server.banner());
    let shown = get(at, "/config");
    assert_eq!(shown.header("content-type"), Some("application/toml"));
    assert!(shown.body.contains("drain.grace = \"7s\"  # by --grace 7"), "{}", shown.body);
    assert!(shown.body.contains("token = \"***\"  # in TIDEGATE_ADMIN__TOKEN"), "{}", shown.body);
    assert!(!shown.body.contains(TOKEN), "{}", shown.body);
    server.end();
}

#[test]
fn the_port_is_where_it_is_asked_for_or_nowhere() {
    let off = Process::serve(&["--admin", "off"]);
    assert!(!off.banner().contains("admin"), "{}", off.banner());
    off.end();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let (code, out, errors) = run(Command::new(BINARY).args(SERVE).args(["--admin", &address]));
    assert_eq!((code, out.as_str(), errors.lines().count()), (Some(69), "", 1), "{errors}");
    let want = format!("tidegate: the admin port {address} is in use by another process; stop it, ");
    assert!(errors.starts_with(&want) && errors.contains("--admin off"), "{errors}");
    for (address, words) in
        [("unix:/tmp/a", "HTTP is on a port"), ("7413", "IP:PORT, such as 127.0.0.1:7413, or \"off\"")]
    {
        let (code, _, errors) = run(Command::new(BINARY).args(SERVE).args(["--admin", address]));
        assert_eq!((code, errors.lines().count()), (Some(2), 1), "{errors}");
        assert!(errors.contains(words) && errors.contains("--admin"), "{errors}");
    }
}

#[test]
fn the_token_may_be_in_a_file() {
    let file = TokenFile::new("token", format!("{TOKEN}\n").as_bytes(), 0o600);
    let mut command = serve();
    command.env_remove("TIDEGATE_ADMIN__TOKEN").env("TIDEGATE_ADMIN__TOKEN_FILE", file.name());
    let server = Process::start(&mut command);
    let at = admin_in(&server.banner());
    assert_eq!(post(at, "/log", "info").status, 200);
    assert_eq!(ask(at, "POST", "/log", &[("Authorization", "Bearer 0123456789abcdef")], "info").status, 401);
    assert_eq!(post(at, "/drain", "").status, 202);
    let ended = server.ended();
    assert!(!ended.errors.contains("chmod"), "it is kept well: {}", ended.errors);

    #[rustfmt::skip]
    let table: &[(&str, &[u8], &str)] = &[
        ("short",  b"fifteen-bytes-x\n",          "holds 15 bytes, but a token has at least 16"),
        ("empty",  b"",                           "holds 0 bytes, but a token has at least 16"),
        ("long",   &[b'x'; 300],                  "holds more than 256 bytes"),
        ("lines",  b"0123456789abcdef\nmore\n",   "characters that are not visible ASCII"),
        ("binary", b"0123456789abcdef\xff",       "cannot be read: "),
    ];
    for (name, text, words) in table {
        let file = TokenFile::new(name, text, 0o600);
        let mut check = Command::new(BINARY);
        check.arg("check").env("TIDEGATE_ADMIN__TOKEN_FILE", file.name());
        let mut command = Command::new(BINARY);
        command.args(SERVE).args(["--admin", "127.0.0.1:0"]).env("TIDEGATE_ADMIN__TOKEN_FILE", file.name());
        for command in [&mut check, &mut command] {
            let (code, out, errors) = run(command);
            assert_eq!(
                (code, out.as_str(), errors.lines().count()),
                (Some(2), "", 1),
                "case: {name}: {errors}"
            );
            assert!(errors.contains(words) && errors.contains(file.name()), "case: {name}: {errors}");
            assert!(
                !errors.contains("0123456789abcdef") && !errors.contains("fifteen"),
                "case: {name}: {errors}"
            );
        }
    }
}

#[test]
fn what_should_not_be_left_so_is_warned_of() {
    let open = TokenFile::new("open", format!("{TOKEN}\n").as_bytes(), 0o644);
    let mut check = Command::new(BINARY);
    check
        .arg("check")
        .env("TIDEGATE_ADMIN__ADDRESS", "0.0.0.0:7413")
        .env("TIDEGATE_ADMIN__TOKEN_FILE", open.name());
    let (code, out, errors) = run(&mut check);
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.contains("  admin      0.0.0.0:7413\n"), "{out}");
    let warnings: Vec<_> = errors.lines().collect();
    let [address, file] = warnings.as_slice() else { panic!("two warnings: {errors}") };
    assert!(
        address.starts_with("warning: the admin port is on 0.0.0.0:7413, which is not loopback"),
        "{address}"
    );
    assert!(file.starts_with("warning: ") && file.contains("chmod 600"), "{file}");
    let (code, _, errors) = run(Command::new(BINARY).arg("check"));
    assert_eq!((code, errors.as_str()), (Some(0), ""));
}

/// Descriptors that run out cost the port nothing but time: it neither ends nor spins, and answers when there are some.
#[test]
fn the_port_outlives_a_lack_of_descriptors() {
    let script = "ulimit -n 130; for ((n = 0; n < 80; n++)); do exec {fd}</dev/null; done; exec \"$@\"";
    let mut command = Command::new("bash");
    command.args(["-c", script, "bash", BINARY]).args(SERVE).args([
        "--shards",
        "1",
        "--admin",
        "127.0.0.1:0",
    ]);
    command.env("TIDEGATE_ADMIN__TOKEN", TOKEN).env("TIDEGATE_LIMITS__MAX_CONNECTIONS", "auto");
    let server = Process::start(&mut command);
    let at = admin_in(&server.banner());
    assert_eq!(get(at, "/readyz").status, 200);
    // Nobody speaks on these. The port would keep as many, if there were descriptors for them.
    let fill: Vec<_> = (0..32).map(|_| TcpStream::connect(at).expect("its queue takes them")).collect();
    let ticks = cpu_ticks(server.id());
    std::thread::sleep(Duration::from_millis(500));
    let spent = cpu_ticks(server.id()) - ticks;
    assert!(spent < 25, "it spins: {spent} hundredths of a second in half a second");
    // What waits for nothing makes room for who asks.
    assert_eq!(get(at, "/readyz").status, 200);
    drop(fill);
    assert_eq!(ask(at, "POST", "/drain", &[BEARER], "").status, 202);
    let ended = server.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let told = ended.errors.lines().filter(|line| line.contains("the admin port cannot accept")).count();
    assert_eq!(told, 1, "it is told, and not for each try: {}", ended.errors);
}

/// The loops go first: the thread that answers is nicer than they are (proc_pid_stat(5): the 19th field).
#[cfg(target_os = "linux")]
#[test]
fn the_control_thread_gives_way_to_the_loops() {
    let server = Process::start(&mut serve());
    // It is at work.
    assert_eq!(get(admin_in(&server.banner()), "/readyz").status, 200);
    let tasks = fs::read_dir(format!("/proc/{}/task", server.id())).expect("its threads");
    let niceness = |path: PathBuf| -> Option<(String, i32)> {
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        Some((name.to_owned(), rest.split_whitespace().nth(16)?.parse().ok()?))
    };
    let all: Vec<_> = tasks.filter_map(|task| niceness(task.ok()?.path())).collect();
    // Names are cut at 15 bytes.
    let of = |name: &str| {
        all.iter().find(|(other, _)| other == name).unwrap_or_else(|| panic!("{name}: {all:?}")).1
    };
    assert_eq!(of("tidegate-contro"), of("tidegate-0") + 10, "{all:?}");
    server.end();
}
