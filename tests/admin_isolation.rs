//! Whatever becomes of the control thread, traffic goes on: flooded, stuck, or gone.

#![cfg(feature = "admin")]

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use support::admin::{admin_of, admin_with, connect, get};
use support::client::Client;
use support::serving::{Gate, Serving};
use support::{pattern, wait_until};
use tidegate::base::limits::ADMIN_CONNECTIONS_MAX;
use tidegate::metrics::Outcome;

/// The longest that a request of the neighbour may take. A loop that waits for the control thread takes for ever; what
/// takes some time is this host, on which the flood and the neighbour run, too.
const LONGEST: Duration = Duration::from_secs(3);

/// How long the flood lasts at least.
const FLOOD: Duration = Duration::from_millis(1500);

/// Echoes all the time, and measures each round.
struct Measured {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Measured {
    fn of(address: SocketAddr) -> Measured {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, counted) = (Arc::clone(&stop), Arc::clone(&rounds));
        let thread = std::thread::spawn(move || {
            let (mut client, mut times) = (Client::connect(address), Vec::new());
            while !told.load(Relaxed) {
                let began = Instant::now();
                client.echo(&pattern(counted.fetch_add(1, Relaxed), 64));
                times.push(began.elapsed());
            }
            client.finish_sending();
            client.expect_end();
            times
        });
        Measured { stop, rounds, thread }
    }

    /// Waits until it has been answered so many times more.
    fn rounds_on(&self, more: u64) {
        let before = self.rounds.load(Relaxed);
        wait_until("the neighbour is answered", || {
            assert!(!self.thread.is_finished(), "the neighbour's connection failed");
            self.rounds.load(Relaxed) > before + more
        });
    }

    /// Every round was answered, and none late.
    fn leave(self) {
        self.stop.store(true, Relaxed);
        let mut times = self.thread.join().expect("every request was answered, rightly");
        times.sort_unstable();
        let longest = *times.last().expect("some were sent");
        assert!(longest < LONGEST, "the longest of {} took {longest:?}", times.len());
    }
}

/// What must hold at the end: every request answered, and a drain without loss.
fn end(serving: Serving) {
    let now = serving.snapshot();
    assert_eq!(now.outcome(Outcome::Failed), 0, "{now:?}");
    serving.end();
}

#[test]
fn a_flood_of_the_admin_port_disturbs_nobody() {
    let serving = Serving::embedded();
    let at = admin_of(&serving);
    let neighbour = Measured::of(serving.frames());
    let half_open: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = connect(at);
            let _ = stream.write(b"GET /readyz HTTP/1.1\r\nHost: ");
            stream
        })
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let hammers: Vec<_> = (0..50)
        .map(|_| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            std::thread::spawn(move || {
                while !stop.load(Relaxed) {
                    // More than there are places: some are displaced, which is no concern of the neighbour's.
                    let Ok(mut stream) = TcpStream::connect(at) else { continue };
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                    let _ = stream.write(b"GET /healthz HTTP/1.0\r\n\r\n");
                    let mut text = String::new();
                    let read = std::io::Read::read_to_string(&mut stream, &mut text);
                    if read.is_ok() && text.starts_with("HTTP/1.0 200") {
                        answered.fetch_add(1, Relaxed);
                    }
                }
            })
        })
        .collect();
    let began = Instant::now();
    while began.elapsed() < FLOOD {
        neighbour.rounds_on(100);
    }
    wait_until("the port answers in its flood", || answered.load(Relaxed) > ADMIN_CONNECTIONS_MAX as u64);
    neighbour.rounds_on(500);
    stop.store(true, Relaxed);
    hammers.into_iter().for_each(|hammer| hammer.join().expect("no panic"));
    neighbour.leave();
    drop(half_open);
    assert_eq!(get(at, "/readyz").status, 200);
    end(serving);
}

#[test]
fn a_control_thread_that_is_stuck_disturbs_nobody() {
    let serving = Serving::embedded();
    let gate = Gate::default();
    let held = gate.clone();
    let (at, _control) = admin_with(&serving, |admin| {
        admin.own_path("/stuck", move || {
            held.wait();
            "it goes on\n".to_owned()
        })
    });
    let neighbour = Measured::of(serving.frames());
    neighbour.rounds_on(10);
    let stuck = std::thread::spawn(move || get(at, "/stuck"));
    gate.wait_for_handler();
    // Its queue fills behind it.
    let waiting: Vec<_> = (0..100).map(|_| connect(at)).collect();
    neighbour.rounds_on(500);
    neighbour.leave();
    drop(waiting);
    // The drain needs nobody's leave.
    end(serving);
    gate.open();
    assert_eq!(stuck.join().expect("it is answered").body, "it goes on\n");
}

#[test]
fn a_control_thread_that_is_gone_is_missed_by_nobody() {
    let serving = Serving::embedded();
    let (at, control) = admin_with(&serving, |admin| admin);
    let neighbour = Measured::of(serving.frames());
    assert_eq!(get(at, "/healthz").status, 200);
    control.finish(support::PATIENCE);
    assert!(TcpStream::connect(at).is_err(), "nobody listens there any more");
    neighbour.rounds_on(500);
    neighbour.leave();
    end(serving);
}
