//! A server in this process, with its figures at hand, and a neighbour that uses it all the time.

use super::client::Client;
use super::{PATIENCE, pattern, wait_until};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tidegate::base::limits::Limits;
use tidegate::metrics::{Gauge, Snapshot};
use tidegate::server::{Builder, DrainReport, Handle, Listener, Running, Server};
use tidegate::service::Router;

/// A server that runs in this process: frames on its first listener, lines on its second.
pub struct Serving {
    running: Running,
    pub handle: Handle,
}

/// A builder with a listener for frames, one for lines, both on loopback.
pub fn builder() -> Builder {
    Server::builder()
        .listen(Listener::frames("127.0.0.1:0"))
        .and_then(|builder| builder.listen(Listener::lines("127.0.0.1:0")))
        .expect("two free ports")
}

impl Serving {
    /// The routes of the binary, with these limits.
    pub fn with(limits: Limits) -> Serving {
        Serving::of(builder().limits(limits).start(Router::embedded).expect("a server"))
    }

    pub fn embedded() -> Serving {
        Serving::with(Limits::default())
    }

    /// A server whose handler waits at this gate, and then echoes.
    pub fn gated(builder: Builder, gate: &Gate) -> Serving {
        let gate = gate.clone();
        let running = builder.start_fn(move |frame, reply| {
            gate.wait();
            reply.forward(frame.whole())
        });
        Serving::of(running.expect("a server"))
    }

    pub fn of(running: Running) -> Serving {
        let handle = running.handle();
        Serving { running, handle }
    }

    pub fn frames(&self) -> SocketAddr {
        self.handle.local_addrs()[0].ip().expect("TCP")
    }

    pub fn lines(&self) -> SocketAddr {
        self.handle.local_addrs()[1].ip().expect("TCP")
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.frames())
    }

    pub fn connect_lines(&self) -> Client {
        Client::connect(self.lines())
    }

    /// Figures of one moment.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.handle.snapshot();
        wait_until("figures of one moment", || {
            snapshot = self.handle.snapshot();
            !snapshot.torn()
        });
        assert!(snapshot.balances(), "every request has one outcome: {snapshot:?}");
        snapshot
    }

    #[track_caller]
    pub fn wait_for(&self, what: &str, is_so: impl Fn(&Snapshot) -> bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            let now = self.snapshot();
            if is_so(&now) {
                return;
            }
            assert!(Instant::now() < until, "waited {PATIENCE:?} in vain: {what}; {now:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// All buffers are back, and so many connections are open.
    #[track_caller]
    pub fn wait_for_rest(&self, open: u64) {
        self.wait_for("nothing leased, and the connections that should be open", |now| {
            now.gauge(Gauge::Open) == open
                && now.gauge(Gauge::InputBytes) == 0
                && now.gauge(Gauge::OutputBytes) == 0
                && now.gauge(Gauge::ReserveBytes) == 0
        });
    }

    /// Whether the server is over.
    pub fn is_finished(&self) -> bool {
        self.running.is_finished()
    }

    /// The server alone.
    pub fn into_running(self) -> Running {
        self.running
    }

    /// Waits for the end of a drain that was begun.
    #[track_caller]
    pub fn join(self) -> DrainReport {
        wait_until("the server has drained", || self.running.is_finished());
        self.running.join().expect("the loop ended in order")
    }

    /// Drains, and nothing may be lost by that.
    #[track_caller]
    pub fn end(self) {
        self.handle.drain(PATIENCE);
        let report = self.join();
        assert!(report.is_clean(), "{report}");
    }
}

/// Holds up a handler, and with it its whole loop, until it is opened.
#[derive(Clone, Default)]
pub struct Gate {
    is_open: Arc<AtomicBool>,
    waiting: Arc<AtomicBool>,
}

impl Gate {
    /// In a handler: returns when the gate is open, or when that takes too long.
    pub fn wait(&self) {
        self.waiting.store(true, Relaxed);
        wait_until("the gate is opened", || self.is_open.load(Relaxed));
        self.waiting.store(false, Relaxed);
    }

    /// Waits until a handler stands before the gate.
    #[track_caller]
    pub fn wait_for_handler(&self) {
        wait_until("a handler stands before the gate", || self.waiting.load(Relaxed));
    }

    pub fn open(&self) {
        self.is_open.store(true, Relaxed);
    }

    pub fn close(&self) {
        self.is_open.store(false, Relaxed);
    }
}

/// A well-behaved client on a thread of its own, which echoes all the time: whatever others do, each of its requests
/// is answered, rightly.
pub struct Neighbour {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Neighbour {
    pub fn of(address: SocketAddr) -> Neighbour {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, counted) = (Arc::clone(&stop), Arc::clone(&rounds));
        let thread = std::thread::spawn(move || {
            let mut client = Client::connect(address);
            while !told.load(Relaxed) {
                let round = counted.load(Relaxed);
                client.echo(&pattern(round, 64));
                counted.store(round + 1, Relaxed);
            }
            client.finish_sending();
            client.expect_end();
        });
        let neighbour = Neighbour { stop, rounds, thread };
        neighbour.still_served();
        neighbour
    }

    /// Waits until it has been answered a few times from now on.
    #[track_caller]
    pub fn still_served(&self) {
        let before = self.rounds.load(Relaxed);
        wait_until("the neighbour is answered", || {
            assert!(!self.thread.is_finished(), "the neighbour's connection failed");
            self.rounds.load(Relaxed) > before + 3
        });
    }

    /// Ends it in order.
    #[track_caller]
    pub fn leave(self) {
        self.still_served();
        self.stop.store(true, Relaxed);
        self.thread.join().expect("the neighbour was served to its end");
    }
}
