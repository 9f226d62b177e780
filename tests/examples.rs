//! The examples in `docs/examples` do what they say.

mod support;

#[path = "../docs/examples/tokio.rs"]
#[allow(dead_code, reason = "its main listens on a fixed port")]
mod on_tokio;

use std::time::{Duration, Instant};
use support::serving::{Serving, builder};
use tokio::runtime::Builder;

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
