//! The configuration of a running server, read anew: by a signal, by its files, by the admin port; whole or not at all.

#![cfg(feature = "cli")]

mod support;

use rustix::process::Signal;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use support::admin::{Answer, TOKEN, ask, get, post};
use support::client::{Client, DRAINING, FLIP, IDLE, NO_ROUTE, OVERLOADED, TOO_LARGE, frame};
use support::exposition::Exposition;
use support::ledger::Watch;
use support::process::{BINARY, Process};
use support::scraper::Scraper;
use support::serving::Neighbour;
use support::{pattern, wait_until};

/// A folder of its own, with the server's file in it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tidegate-reload-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a folder can be made");
        Folder(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Another file takes the old one's place, as `mv` does it: nobody ever sees a half of it.
    fn put(&self, name: &str, text: &str) {
        let new = self.path(&format!("{name}.new"));
        fs::write(&new, text).expect("it can be written");
        fs::rename(new, self.path(name)).expect("it can be put there");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server of two loops, on free ports; more keys in its tables where these stand.
fn file(server: &str, frames: &str, more: &str) -> String {
    format!(
        "[server]\nshards = 2\n{server}\n[[listener]]\naddress = \"127.0.0.1:0\"\n{frames}\n[[listener]]\naddress = \
         \"127.0.0.1:0\"\nprotocol = \"line\"\n[admin]\naddress = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n{more}\n"
    )
}

struct Server {
    process: Process,
    admin: SocketAddr,
    folder: Folder,
}

const NAME: &str = "tidegate.toml";

impl Server {
    fn start(text: &str) -> Server {
        Server::with(Folder::new(), text)
    }

    fn with(folder: Folder, text: &str) -> Server {
        folder.put(NAME, text);
        let mut command = Command::new("env");
        // The harness turns the admin port off for all that don't ask for it by a flag.
        command.args(["-u", "TIDEGATE_ADMIN__ADDRESS", BINARY, "serve", "--config"]).arg(folder.path(NAME));
        let process = Process::start(&mut command);
        let banner = process.banner();
        let line = banner.lines().find_map(|line| line.strip_prefix("  admin    http://"));
        let admin = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        Server { process, admin: admin.unwrap_or_else(|| panic!("no admin port in\n{banner}")), folder }
    }

    fn client(&self) -> Client {
        let mut client = Client::connect(self.process.frames);
        client.echo(b"here");
        client
    }

    fn put(&self, text: &str) {
        self.folder.put(NAME, text);
    }

    fn reload(&self) -> Answer {
        post(self.admin, "/reload", "")
    }

    fn figures(&self) -> Exposition {
        Exposition::parse(&Scraper::connect(self.admin).text()).expect("figures")
    }

    fn reloads(&self, result: &str) -> f64 {
        self.figures().value("tidegate_config_reloads_total", &[("result", result)])
    }

    fn generation(&self) -> f64 {
        self.figures().value("tidegate_config_generation", &[])
    }

    #[track_caller]
    fn hang_up(&self, result: &str) {
        let before = self.reloads(result);
        self.process.signal(Signal::HUP);
        wait_until(&format!("SIGHUP is {result}"), || self.reloads(result) == before + 1.0);
    }
}

#[test]
fn a_signal_changes_what_can_be_changed_for_who_is_there_and_who_comes() {
    let server = Server::start(&file("", "max_payload = \"1KiB\"", ""));
    let mut quiet = server.client();
    let mut large = server.client();
    let frames = "max_payload = \"16B\"";
    // Nobody's idle time is over yet: only what is read and routed changes.
    server.put(&file(
        "",
        frames,
        "[[route]]\nheaders = \"0x0001\"\nservice = \"echo\"\n[[route]]\nheaders = 9\nservice = \"flip\"\n",
    ));
    server.hang_up("applied");
    assert_eq!(server.generation(), 1.0);
    large.request(9, &pattern(1, 500));
    let mut flipped = pattern(1, 500);
    flipped[0] ^= 1;
    large.expect(9, &flipped);
    large.request(FLIP, b"gone");
    large.expect_error(NO_ROUTE);
    let mut newcomer = server.client();
    newcomer.send(&frame(9, &[0; 17]));
    newcomer.expect_goaway(TOO_LARGE);
    // A deadline that was off counts for who has been there all the time.
    server.put(&file("", frames, "[timeouts]\nidle = \"1ms\""));
    server.hang_up("applied");
    quiet.expect_goaway(IDLE);
    large.expect_goaway(IDLE);
    let log = server.process;
    log.signal(Signal::TERM);
    let ended = log.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    for words in ["max_payload", "\\\"16B\\\"", "newcomers", "timeouts.idle"] {
        assert!(ended.errors.contains(words), "{words} is not in {}", ended.errors);
    }
    assert!(!ended.errors.contains(TOKEN));
}

#[test]
fn what_is_wrong_is_refused_whole_and_told_as_check_tells_it() {
    let server = Server::start(&file("", "", ""));
    let mut client = server.client();
    server.put(&file(
        "",
        "",
        "[limits]\nmax_connections = 1\noutput_low = \"9MiB\"\n[timeouts]\nidel = \"1s\"\n",
    ));
    server.hang_up("refused");
    let refused = server.reload();
    assert_eq!(refused.status, 422, "{refused:?}");
    let name = server.folder.path(NAME);
    let check = support::process::run(Command::new(BINARY).arg("check").arg(&name)).2;
    let told = check.rsplit_once("\n\n").map_or(check.as_str(), |(told, _count)| told);
    assert!(refused.body.starts_with("refused: nothing has changed\n"), "{}", refused.body);
    assert!(refused.body.contains(told.trim()), "{}\nis not\n{told}", refused.body);
    assert!(!refused.body.contains(TOKEN));
    // The first connection is one: another one could not be if the limit were another.
    client.echo(b"still");
    server.client().echo(b"and another");
    assert_eq!((server.generation(), server.reloads("refused")), (0.0, 2.0));
    fs::remove_file(&name).expect("it was there");
    let gone = server.reload();
    assert_eq!(gone.status, 422);
    assert!(gone.body.contains("does not exist"), "{gone:?}");
    server.put(&file("", "", ""));
    server.hang_up("unchanged");
    drop(client);
    server.process.end();
}

#[test]
fn what_needs_a_restart_waits_and_the_rest_is_taken() {
    let server = Server::start(&file("memory = \"64MiB\"", "", ""));
    let kept = get(server.admin, "/config").body;
    let more = "[limits]\nmax_connections = 2\n[log]\nformat = \"text\"";
    server.put(&format!(
        "{}[[listener]]\naddress = \"127.0.0.1:9\"\n",
        file("memory = \"65MiB\"", "backlog = 7", more).replace(TOKEN, "another-token-for-the-port")
    ));
    let answer = server.reload();
    assert_eq!(answer.status, 200, "{answer:?}");
    for line in [
        "applied: 3 values changed; 4 wait for a restart",
        "  restart   server.memory: \"64MiB\" -> \"65MiB\"",
        "  restart   listener[127.0.0.1:0].backlog: 4096 -> 7",
        "  restart   listener[127.0.0.1:9]: nothing -> \"frame\"",
        "  now       limits.max_connections: \"auto\" -> 2",
        "  now       admin.token: \"***\" -> \"***\"",
        "  restart   log.format: \"auto\" -> \"text\"",
    ] {
        assert!(answer.body.lines().any(|other| other == line), "{line} is not in\n{}", answer.body);
    }
    let mut clients = [server.client(), server.client()];
    Client::connect(server.process.frames).expect_goaway(OVERLOADED);
    clients.iter_mut().for_each(|client| client.echo(b"still"));
    let shown = get(server.admin, "/config").body;
    assert!(shown.contains("memory = \"64MiB\"  # until a restart"), "{shown}");
    assert!(shown.contains("max_connections = 2  # at "), "{shown}");
    assert_ne!(kept, shown);
    // The new token opens, the old one does not any more.
    assert_eq!(server.reload().status, 401);
    let again =
        ask(server.admin, "POST", "/reload", &[("Authorization", "Bearer another-token-for-the-port")], "");
    assert_eq!(again.status, 200);
    assert!(again.body.starts_with("unchanged; 4 wait for a restart\n"), "{}", again.body);
    // Values that are right beside those in the file, and not beside those that stay.
    let high = "[limits]\noutput_high = \"12MiB\"";
    server.put(&file("memory = \"128MiB\"", "", high).replace(TOKEN, "another-token-for-the-port"));
    let refused =
        ask(server.admin, "POST", "/reload", &[("Authorization", "Bearer another-token-for-the-port")], "");
    assert_eq!(refused.status, 422, "{refused:?}");
    assert!(refused.body.contains("`memory` is \"64MiB\" until a restart"), "{}", refused.body);
    drop(clients);
    server.process.end();
}

#[test]
fn a_dry_run_says_all_and_changes_nothing() {
    let server = Server::start(&file("", "", ""));
    let before = get(server.admin, "/config").body;
    server.put(&file("", "", "[limits]\nmax_connections = 1"));
    for (path, want) in [
        (
            "/reload?dry_run=true",
            "dry run: 1 values would change\n  now       limits.max_connections: \"auto\" -> 1\n",
        ),
        (
            "/reload?dry_run&json",
            "{\"result\":\"applied\",\"dry_run\":true,\"generation\":0,\"changed\":[{\"key\":\"limits.max_connections\",\"old\":\"\\\"auto\\\"\",\"new\":\"1\",\"takes_effect\":\"now\"}],\"loops_behind\":[],\"mistakes\":\"\"}\n",
        ),
    ] {
        let answer = post(server.admin, path, "");
        assert_eq!((answer.status, answer.body.as_str()), (200, want));
    }
    assert_eq!(get(server.admin, "/config").body, before);
    assert_eq!((server.generation(), server.reloads("applied")), (0.0, 0.0));
    let mut clients = [server.client(), server.client()];
    clients.iter_mut().for_each(|client| client.echo(b"both"));
    for (path, status, words) in
        [("/reload?dry_run=perhaps", 400, "must be true or false"), ("/reload?dry", 400, "dry_run and json")]
    {
        let answer = post(server.admin, path, "");
        assert!(answer.status == status && answer.body.contains(words), "{answer:?}");
    }
    for headers in [&[][..], &[("Authorization", "Bearer a-token-that-is-another-one")]] {
        assert_eq!(ask(server.admin, "POST", "/reload", headers, "").status, 401);
    }
    assert_eq!(get(server.admin, "/reload").status, 405);
    drop(clients);
    server.process.end();
}

#[test]
fn a_file_that_changes_is_taken_when_it_is_watched_and_its_token_file_too() {
    let folder = Folder::new();
    folder.put("token", "the-first-token-of-this-port\n");
    let token_file = format!("token_file = {:?}", folder.path("token"));
    let text = |watch: bool, more: &str| {
        file(&format!("watch = {watch}"), "", more).replace(&format!("token = \"{TOKEN}\""), &token_file)
    };
    let server = Server::with(folder, &text(true, ""));
    let with = |token: &str| {
        let bearer = format!("Bearer {token}");
        ask(server.admin, "POST", "/reload?dry_run", &[("Authorization", &bearer)], "").status
    };
    assert_eq!((with("the-first-token-of-this-port"), with("the-second-token-of-this-port")), (200, 401));
    server.put(&text(true, "[limits]\nmax_connections = 7"));
    wait_until("the file is taken", || server.figures().value("tidegate_connections_limit", &[]) == 7.0);
    server.folder.put("token", "the-second-token-of-this-port");
    wait_until("the token is taken", || with("the-second-token-of-this-port") == 200);
    assert_eq!(with("the-first-token-of-this-port"), 401);
    // A token that is none is refused, and told without a byte of it; the old one holds.
    server.folder.put("token", "shorty");
    wait_until("it is refused", || server.reloads("refused") == 1.0);
    assert_eq!(with("the-second-token-of-this-port"), 422);
    server.folder.put("token", "the-second-token-of-this-port");
    wait_until("it is well again", || server.reloads("unchanged") == 1.0);
    // Who does not watch any more reads it once more, for that, and then no more.
    server.put(&text(false, "[limits]\nmax_connections = 7"));
    wait_until("the watch is off", || server.generation() == 3.0);
    server.put(&text(false, "[limits]\nmax_connections = 8"));
    server.hang_up("applied");
    assert_eq!(server.figures().value("tidegate_connections_limit", &[]), 8.0);
    server.process.signal(Signal::TERM);
    let ended = server.process.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert!(
        !ended.errors.contains("shorty") && !ended.errors.contains("-token-of-this-port"),
        "{}",
        ended.errors
    );
}

#[test]
fn fifty_reloads_under_load_lose_no_reply_and_the_ledger_balances() {
    const RELOADS: u32 = 50;
    let server = Server::start(&file("", "", ""));
    let watch = Watch::at(server.admin, 7);
    let neighbours: Vec<Neighbour> = (0..4).map(|_| Neighbour::of(server.process.frames)).collect();
    let text = |round: u32| {
        let (high, payload) = (64 + round % 7, 512 + round % 5);
        let service = if round.is_multiple_of(2) { "flip" } else { "ack" };
        file(
            "",
            &format!("max_payload = \"{payload}KiB\""),
            &format!(
                "[limits]\noutput_high = \"{high}KiB\"\noutput_low = \"{}KiB\"\n[timeouts]\nidle = \"{}s\"\n[[route]]\nheaders \
                 = 1\nservice = \"echo\"\n[[route]]\nheaders = 50\nservice = \"{service}\"",
                round % 60,
                20 + round % 9
            ),
        )
    };
    for round in 1..=RELOADS {
        server.put(&text(round));
        let answer = server.reload();
        assert!(answer.status == 200 && answer.body.starts_with("applied"), "{answer:?}");
        if round % 10 == 0 {
            neighbours.iter().for_each(Neighbour::still_served);
        }
    }
    assert_eq!(server.generation(), f64::from(RELOADS));
    neighbours.into_iter().for_each(Neighbour::leave);
    watch.end();
    server.process.end();
}

#[test]
fn a_reload_beside_a_drain_disturbs_no_one() {
    let server = Server::start(&file("", "", ""));
    let mut clients: Vec<Client> = (0..8).map(|_| server.client()).collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let (admin, over) = (server.admin, Arc::clone(&is_over));
    let folder = &server.folder;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1.. {
                if over.load(Relaxed) {
                    return;
                }
                folder.put(NAME, &file("", "", &format!("[timeouts]\nidle = \"{}s\"", 20 + round % 9)));
                // The process may be over at any moment.
                let Ok(mut stream) = std::net::TcpStream::connect(admin) else { return };
                use std::io::{Read, Write};
                let request = format!(
                    "POST /reload HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\nContent-Length: 0\r\nAuthorization: \
                     Bearer {TOKEN}\r\n\r\n"
                );
                let mut answer = String::new();
                let asked = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
                if asked.is_ok() && !answer.is_empty() {
                    assert!(answer.contains("applied") || answer.contains("unchanged"), "{answer}");
                }
            }
        });
        wait_until("reloads go on", || server.generation() >= 3.0);
        for client in &mut clients {
            client.send(&(0..50).flat_map(|number| frame(FLIP, &pattern(number, 64))).collect::<Vec<_>>());
        }
        server.process.signal(Signal::TERM);
        for client in &mut clients {
            for number in 0..50 {
                let mut want = pattern(number, 64);
                want[0] ^= 1;
                client.expect(FLIP, &want);
            }
            client.expect_goaway(DRAINING);
        }
        drop(clients);
        is_over.store(true, Relaxed);
    });
    let ended = server.process.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert!(ended.errors.contains("0 forced"), "{}", ended.errors);
}

/// The shell's way to it.
#[test]
fn the_command_asks_prints_and_tells_by_its_exit_code() {
    let server = Server::start(&file("", "", ""));
    let at = server.admin.to_string();
    let ask = |more: &[&str], token: &str| {
        let mut command = Command::new(BINARY);
        command.arg("reload").args(["--admin", &at]).args(more).env("TIDEGATE_ADMIN__TOKEN", token);
        support::process::run(&mut command)
    };
    server.put(&file("", "", "[limits]\nmax_connections = 3"));
    let (code, out, errors) = ask(&["--dry-run"], TOKEN);
    let want = "dry run: 1 values would change\n  now       limits.max_connections: \"auto\" -> 3\n";
    assert_eq!((code, out.as_str(), errors.as_str()), (Some(0), want, ""));
    let (code, out, _) = ask(&[], TOKEN);
    assert_eq!((code, out.lines().next()), (Some(0), Some("applied: 1 values changed")));
    assert_eq!(ask(&[], TOKEN), (Some(0), "unchanged\n".to_owned(), String::new()));
    server.put(&file("", "", "[limits]\nmax_connection = 3"));
    let (code, out, errors) = ask(&[], TOKEN);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(errors.contains("refused") && errors.contains("max_connection"), "{errors}");
    let (code, _, errors) = ask(&[], "another-token-that-is-wrong");
    assert!(code == Some(2) && errors.starts_with("that is not the token"), "{errors}");
    server.folder.put("token", &format!("{TOKEN}\n"));
    let token = server.folder.path("token");
    server.put(&file("", "", ""));
    let mut command = Command::new(BINARY);
    command.arg("reload").args(["--admin", &at, "--token-file"]).arg(&token);
    assert_eq!(support::process::run(&mut command).0, Some(0));
    let (code, _, errors) = support::process::run(Command::new(BINARY).arg("reload").args(["--admin", &at]));
    assert!(code == Some(2) && errors.contains("wants the admin port's token"), "{errors}");
    let gone = server.admin.to_string();
    server.process.end();
    let mut command = Command::new(BINARY);
    command.arg("reload").args(["--admin", &gone]).env("TIDEGATE_ADMIN__TOKEN", TOKEN);
    let (code, _, errors) = support::process::run(&mut command);
    assert!(code == Some(2) && errors.contains("does not answer"), "{errors}");
}

/// A grace that was changed is the one that a signal begins.
#[test]
fn the_grace_of_a_drain_is_the_latest() {
    let server = Server::start(&file("drain.grace = \"24d\"", "", ""));
    server.put(&file("drain.grace = \"1s\"", "", ""));
    assert!(server.reload().body.contains("server.drain.grace: \"24d\" -> \"1s\""));
    let mut client = server.client();
    // A frame that never becomes whole.
    client.send(&frame(FLIP, b"half")[..6]);
    server.process.signal(Signal::TERM);
    let ended = server.process.ended();
    assert!(
        ended.errors.contains("grace_s\":1.0") || ended.errors.contains("grace_s=1.0"),
        "{}",
        ended.errors
    );
}
