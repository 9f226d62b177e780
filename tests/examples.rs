//! The examples in `docs/examples` do what they say.

mod support;

#[path = "../docs/examples/configured.rs"]
#[allow(dead_code, reason = "its main reads its arguments")]
mod configured;
#[path = "../docs/examples/counter.rs"]
#[allow(dead_code, reason = "its main listens on a fixed port")]
mod counter;
#[path = "../docs/examples/echo.rs"]
#[allow(dead_code, reason = "its main listens on a fixed port")]
mod echo;
#[path = "../docs/examples/kv.rs"]
#[allow(dead_code, reason = "its main listens on a fixed port")]
mod kv;
#[path = "../docs/examples/tokio.rs"]
#[allow(dead_code, reason = "its main listens on a fixed port")]
mod on_tokio;

use std::time::{Duration, Instant};
use support::client::Client;
use support::serving::{Serving, builder};
use support::{pattern, wait_until};
use tokio::runtime::Builder;

#[test]
fn everything_is_echoed_on_every_route() {
    let serving = Serving::of(builder().start_fn(echo::echo).expect("a server"));
    let mut client = serving.connect();
    for (route, bytes) in [(0, 0), (1, 5), (16_383, 100_000)] {
        let payload = pattern(u64::from(route), bytes);
        client.request(route, &payload);
        client.expect(route, &payload);
    }
    drop(client);
    serving.end();
}

/// One's own route beside those of a file; and a file that is wrong, told as `tidegate check` tells it.
#[test]
fn a_service_of_ones_own_is_set_up_by_a_file() {
    let text = "[server]\nshards = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
                [[route]]\nheaders = 2\nservice = \"echo\"\n";
    let (config, host) =
        configured::configuration("my.toml".to_owned(), text.to_owned()).expect("it is right");
    let others = config.router();
    let builder = config.builder(&host).expect("a free port");
    let running = builder.start(move || configured::Reverser { others: others.clone() }).expect("a server");
    let serving = Serving::of(running);
    let mut client = serving.connect();
    for (route, want) in [(configured::REVERSE, b"olleh"), (2, b"hello")] {
        client.request(route, b"hello");
        client.expect(route, want);
    }
    client.request(1, b"nobody's");
    client.expect_error(tidegate::Status::NO_ROUTE.code());
    drop(client);
    serving.end();
    let told = configured::configuration("my.toml".to_owned(), "[server]\nshard = 1\n".to_owned());
    let told = told.map(|_| ()).expect_err("a key is misspelt");
    assert!(told.contains("my.toml:2:1") && told.contains("did you mean `shards`?"), "{told}");
}

/// Each connection's own lines at once, those of all loops soon.
#[test]
fn lines_are_counted_for_each_and_for_all() {
    const CLIENTS: u64 = 12;
    const EACH: u64 = 5;
    let serving = Serving::of(builder().shards(3).start(counter::Counter::default).expect("a server"));
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| serving.connect_lines()).collect();
    for line in 1..=EACH {
        for client in &mut clients {
            client.send(b"a line\n");
            let said = String::from_utf8(client.next_line().expect("a line")).expect("text");
            assert!(said.starts_with(&format!("{line} from you, ")), "{said}");
        }
    }
    let mut asked = 0;
    for client in &mut clients {
        wait_until("all lines are known here", || {
            client.send(b"\n");
            asked += 1;
            let said = String::from_utf8(client.next_line().expect("a line")).expect("text");
            said.ends_with(&format!(", {} from all", CLIENTS * EACH + asked))
        });
    }
    drop(clients);
    serving.end();
}

fn put(lifetime_ms: u32, key: &str, value: &[u8]) -> Vec<u8> {
    let key_bytes = u8::try_from(key.len()).expect("a short key");
    [&lifetime_ms.to_be_bytes()[..], &[key_bytes], key.as_bytes(), value].concat()
}

#[test]
fn keys_are_stored_told_and_deleted() {
    let serving = Serving::of(builder().shards(1).start(|| kv::Kv::new(kv::ROOM_BYTES)).expect("a server"));
    let mut client = serving.connect();
    client.request(kv::GET, b"key");
    client.expect_error(kv::NOT_FOUND.code());
    for value in [&b"one"[..], b"two", b""] {
        client.request(kv::PUT, &put(0, "key", value));
        client.expect(kv::PUT, b"");
        client.request(kv::GET, b"key");
        client.expect(kv::GET, value);
    }
    for cut in [&b""[..], b"\0\0\0\0", b"\0\0\0\0\x04key"] {
        client.request(kv::PUT, cut);
        client.expect_error(kv::MALFORMED.code());
    }
    client.request(kv::DELETE, b"key");
    client.expect(kv::DELETE, b"");
    client.request(kv::DELETE, b"key");
    client.expect_error(kv::NOT_FOUND.code());
    // The built-in routes beside them, and nobody's.
    client.echo(b"hello");
    client.request(99, b"");
    client.expect_error(support::client::NO_ROUTE);
    drop(client);
    serving.end();
}

/// In the end an expired key's room is free again, whether somebody asks for it or not.
#[test]
fn expired_keys_are_not_told_and_make_room() {
    const VALUE: [u8; 1_000] = [7; 1_000];
    let serving = Serving::of(builder().shards(1).start(|| kv::Kv::new(2_500)).expect("a server"));
    let mut client = serving.connect();
    let mut stored = |lifetime_ms, key| {
        client.request(kv::PUT, &put(lifetime_ms, key, &VALUE));
        client.receive().header == kv::PUT
    };
    assert!(stored(0, "stays") && stored(5_000, "goes"));
    assert!(!stored(0, "more"), "the store is full");
    assert!(stored(60, "goes"), "but not for a key that it has");
    wait_until("the expired key has made room", || stored(0, "more"));
    for (key, is_there) in [("stays", true), ("goes", false), ("more", true)] {
        client.request(kv::GET, key.as_bytes());
        assert_eq!(client.receive().header == kv::GET, is_there, "{key}");
    }
    drop(client);
    serving.end();
}

#[test]
fn tasks_of_tokio_answer_side_by_side_and_in_order() {
    const LINES: u32 = 20;
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let tasks = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    let serving = Serving::of(builder().start_fn(on_tokio::handler(tasks)).expect("a server"));
    let mut client = serving.connect_lines();
    let began = Instant::now();
    client.send((0..LINES).map(|number| format!("name {number}\n")).collect::<String>().as_bytes());
    for number in 0..LINES {
        client.expect_line(format!("NAME {number}").as_bytes());
    }
    let took = began.elapsed();
    // One after the other they would take two seconds.
    assert!((Duration::from_millis(100)..Duration::from_millis(1_900)).contains(&took), "{took:?}");
    drop(client);
    serving.end();
}
