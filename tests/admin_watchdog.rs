//! A loop that is held up is told of while it is, by the thread beside it; the one test of this process, since the log is
//! the process's.

#![cfg(feature = "cli")]

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};
use support::admin::admin_with;
use support::client::ECHO;
use support::serving::{Gate, Serving, builder};
use support::wait_until;

/// A log to be read.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    fn lines_with(&self, words: &str) -> Vec<String> {
        let text = self.0.lock().expect("nobody panics with it").clone();
        String::from_utf8_lossy(&text)
            .lines()
            .filter(|line| line.contains(words))
            .map(str::to_owned)
            .collect()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics with it").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_loop_that_is_held_up_is_told_of_while_it_is() {
    let log = Kept::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    let gate = Gate::default();
    let serving = Serving::gated(builder().shards(1), &gate);
    let (_, _control) = admin_with(&serving, |admin| admin);
    let mut client = serving.connect();
    client.request(ECHO, b"stuck");
    gate.wait_for_handler();
    wait_until("it is told", || !log.lines_with("an event loop is held up").is_empty());
    let stuck = serving.handle.loop_states()[0].visiting.expect("a connection is visited");
    assert!(log.lines_with("the event loop goes on").is_empty());
    // Two more looks, and nothing more to tell.
    std::thread::sleep(std::time::Duration::from_millis(600));
    let told = log.lines_with("an event loop is held up");
    let [told] = told.as_slice() else { panic!("once: {told:?}") };
    assert!(told.contains("shard=0 turn_ms=1") && told.contains(&format!("connection={stuck}")), "{told}");
    gate.open();
    client.expect(ECHO, b"stuck");
    wait_until("its end is told", || log.lines_with("the event loop goes on").len() == 1);
    serving.end();
}
