//! The backend of `docs/clients`: a stranger's server, made from the document alone, asked by `tidegate conform`, put
//! behind a relay, and drained.

#![cfg(all(feature = "cli", unix))]

mod support;

#[path = "services/relay.rs"]
#[allow(unreachable_pub, reason = "a file to be copied")]
mod service;

use rustix::process::{Pid, Signal, kill_process};
use service::Relay;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::client::{Client, DRAINING, ECHO, ERROR, GOAWAY, NO_ROUTE};
use support::extended::{OK, correlated};
use support::process::{BINARY, run};
use support::serving::{Serving, builder};
use support::wait_until;

/// The route of the example on which an answer takes as many milliseconds as the request says.
const SLOW: u16 = 3;

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The backend as a process; killed when dropped, if it still runs.
struct Backend {
    child: Child,
    address: SocketAddr,
}

impl Backend {
    fn start() -> Backend {
        let mut command = Command::new("python3");
        command.arg("-B").arg(place("docs/clients/backend.py")).arg("127.0.0.1:0").stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 is needed by this test");
        let output = child.stdout.take().expect("it is piped");
        let mut backend = Backend { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let banner = BufReader::new(output).lines().next().expect("a line").expect("a text");
        let address = banner.strip_prefix("backend on ").and_then(|address| address.parse().ok());
        backend.address = address.unwrap_or_else(|| panic!("{banner} names no address"));
        backend
    }

    fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it runs");
    }

    /// SIGTERM, and the end that must follow by itself.
    fn end(mut self) {
        self.terminate();
        self.await_end();
    }

    fn await_end(&mut self) {
        let mut code = None;
        wait_until("the backend ends by itself", || {
            code = self.child.try_wait().expect("it is our child");
            code.is_some()
        });
        assert!(code.is_some_and(|code| code.success()), "{code:?}");
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_passes_every_case_of_conform() {
    let backend = Backend::start();
    let (code, out, errors) = run(Command::new(BINARY).args(["conform", &backend.address.to_string()]));
    assert_eq!(code, Some(0), "{out}{errors}");
    let passed = out.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(passed > 500, "only {passed} cases were played");
    backend.end();
}

#[test]
fn a_relay_asks_it() {
    let backend = Backend::start();
    let address = backend.address;
    let relay = Serving::of(builder().shards(1).start(move || Relay::new(address)).expect("a server"));
    let mut client = relay.connect();
    wait_until("the relay has reached its backend", || {
        client.request(ECHO, b"are you there?");
        client.receive().header == ECHO
    });
    client.send(&correlated(SLOW, 7, b"300"));
    client.send(&correlated(SLOW, 8, b"0"));
    assert_eq!(client.expect_extended(SLOW, OK, Some(8)), b"0", "it overtakes");
    assert_eq!(client.expect_extended(SLOW, OK, Some(7)), b"300");
    client.request(99, b"x");
    let refused = client.receive();
    assert_eq!((refused.header, refused.status()), (ERROR, NO_ROUTE));
    for number in 0..100_u8 {
        client.request(ECHO, &[number; 1000]);
    }
    for number in 0..100_u8 {
        client.expect(ECHO, &[number; 1000]);
    }
    drop(client);
    relay.end();
    backend.end();
}

#[test]
fn what_comes_behind_its_goaway_is_not_started() {
    let mut backend = Backend::start();
    let mut client = Client::connect(backend.address);
    client.hello();
    backend.terminate();
    let goaway = client.receive();
    assert_eq!((goaway.header, goaway.payload.get(..2)), (GOAWAY, Some(&DRAINING.to_be_bytes()[..])));
    client.request(ECHO, b"too late");
    client.expect_error(DRAINING);
    drop(client);
    backend.await_end();
}

/// What is open is answered, and the process ends by itself.
#[test]
fn it_drains() {
    let mut backend = Backend::start();
    let mut command = Command::new("python3");
    command.arg("-B").arg(place("tests/clients/driver.py")).arg(backend.address.to_string());
    command.args(["hello=", "csend:3:1000", "ask:1:x", "stdin", "poll:5000", "told", "wait", "close"]);
    let mut client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
    let mut said = BufReader::new(client.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let is_ready = said.any(|line| line == "ready");
    assert!(is_ready, "the client is connected");
    backend.terminate();
    writeln!(client.stdin.as_mut().expect("it is piped")).expect("the driver waits for a line");
    assert_eq!(said.collect::<Vec<_>>(), ["goaway 9", "ok 1000", "closed"]);
    assert!(client.wait().expect("it ends").success());
    backend.await_end();
}
