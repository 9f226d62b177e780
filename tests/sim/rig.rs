//! A loop on the simulated kernel, with a test at its levers.

use tidegate::base::Time;
use tidegate::base::limits::Limits;
use tidegate::metrics::Snapshot;
use tidegate::service::{Router, Service};
use tidegate::session::Framing;
use tidegate::sim::{Capacity, Remote, SimIo, Weather};
use tidegate::turn::{ListenerConfig, Turn, TurnConfig, Wait};
use tidegate::wire::{Control, Crc, Header, Hello, encode};

pub(crate) const WIDE: Capacity = Capacity { up: 2 << 20, down: 2 << 20 };
pub(crate) const ACK: u16 = 0;
pub(crate) const ECHO: u16 = 1;

/// A loop and its kernel, with nothing between them and the test.
pub(crate) struct Rig<S: Service> {
    pub(crate) io: SimIo,
    pub(crate) turn: Turn<S, SimIo>,
}

pub(crate) fn config(budget_bytes: usize, limits: Limits) -> TurnConfig {
    let payload_max = 1 << 20;
    let framing = Framing::frames(payload_max);
    TurnConfig { budget_bytes, limits, ..TurnConfig::alone(1_000, vec![ListenerConfig::new(framing)]) }
}

pub(crate) fn limits() -> Limits {
    Limits { output_high_bytes: 20_000, output_low_bytes: 5_000, ..Limits::default() }
}

impl Rig<Router> {
    pub(crate) fn new() -> Rig<Router> {
        Rig::with(Router::embedded, config(64 << 20, limits()), Weather::calm())
    }
}

impl<S: Service + 'static> Rig<S> {
    pub(crate) fn with(
        make: impl FnMut() -> S + Send + 'static,
        config: TurnConfig,
        weather: Weather,
    ) -> Rig<S> {
        let start = Time(5_000_000);
        Rig { io: SimIo::new(1, weather, 1, start), turn: Turn::new(config, start, make) }
    }

    pub(crate) fn connect(&mut self, capacity: Capacity) -> Remote {
        let remote = self.io.connect(0, capacity);
        self.settle();
        remote
    }

    pub(crate) fn turn(&mut self) {
        self.io.blow();
        let events = self.io.poll();
        self.turn.begin(self.io.clock());
        for (token, ready) in events {
            self.turn.handle_event(&mut self.io, token, ready);
        }
        self.turn.end(&mut self.io);
    }

    /// Turns until there is nothing to do now. Fails if that never is.
    pub(crate) fn settle(&mut self) {
        for _ in 0..20_000 {
            self.turn();
            let is_due = match self.turn.wait() {
                Wait::Not => true,
                Wait::Until(due) => due.reached(self.io.clock().ms()),
                Wait::Forever => false,
            };
            if !is_due && !self.io.has_events() {
                return;
            }
        }
        panic!("the loop spins");
    }

    /// Lets time pass in steps of a millisecond at most, with the turns that it brings.
    pub(crate) fn pass(&mut self, ms: u64) {
        for _ in 0..ms {
            self.io.advance_us(1_000);
            self.settle();
        }
    }

    /// Lets time pass in one leap at a time.
    pub(crate) fn leap(&mut self, seconds: u64) {
        for _ in 0..seconds * 10 {
            self.io.advance_us(100_000);
            self.settle();
        }
    }

    pub(crate) fn send(&mut self, remote: Remote, bytes: &[u8]) {
        assert_eq!(self.io.send(remote, bytes), bytes.len(), "the pipe is wide enough");
    }

    /// Receives to the end of what comes without anything more being sent.
    pub(crate) fn receive_all(&mut self, remote: Remote) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            self.settle();
            let bytes = self.io.receive(remote, usize::MAX);
            if bytes.is_empty() {
                return all;
            }
            all.extend(bytes);
        }
    }

    pub(crate) fn figures(&self) -> Snapshot {
        self.turn.metrics().snapshot()
    }
}

pub(crate) fn frame(route: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode(&mut frame, &Crc::new(), Header::from_bits(route), payload);
    frame
}

pub(crate) fn hello() -> Vec<u8> {
    let mut frame = Vec::new();
    Control::Hello(Hello { version: 1, ..Hello::default() }).encode(&mut frame, &Crc::new());
    frame
}
