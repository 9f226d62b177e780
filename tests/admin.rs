//! The admin port of a server that runs.

#![cfg(feature = "admin")]

mod support;

use std::net::SocketAddr;
use std::time::Duration;
use support::admin::get;
use support::serving::Serving;
use tidegate::control::Admin;

fn served(serving: &Serving) -> SocketAddr {
    let admin = Admin::bind("127.0.0.1:0").expect("a free port");
    let at = admin.local_addr().expect("it is bound");
    admin.start(serving.handle.clone()).expect("a thread");
    at
}

#[test]
fn a_server_that_drains_is_not_ready() {
    let serving = Serving::embedded();
    let at = served(&serving);
    assert_eq!((get(at, "/readyz").status, get(at, "/nowhere").status), (200, 404));
    let _client = serving.connect();
    serving.handle.drain(Duration::from_secs(5));
    let answer = get(at, "/readyz");
    assert_eq!((answer.status, answer.body.as_str()), (503, "draining\n"));
}
