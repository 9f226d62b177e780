//! Draws a client: what kind of traffic it makes, how large its messages are, and how it reads.

use super::{Finale, Leaving, Milestone, Reading, Script};
use crate::base::Rng;
use crate::session::{Framing, Protocol};
use crate::sim::io::pick;
use crate::sim::model::{Answer, Request};
use crate::sim::plan::Plan;
use crate::sim::socket::Capacity;

/// What kind of traffic a client makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    Talker,
    Burst,
    Bulk,
    Trickle,
    /// Much at once: what an open request in front of it makes wait.
    Pile,
    Hog,
}

/// A script that is being written.
pub(super) struct Writer<'a> {
    pub(super) client: u32,
    pub(super) sequence: u32,
    pub(super) framing: Framing,
    pub(super) wants_hello: bool,
    pub(super) plan: &'a Plan,
    pub(super) rng: Rng,
    /// What this client's payloads are filled with.
    noise: Vec<u8>,
    /// The largest reply that it takes.
    pub(super) max_receive: usize,
    /// Nothing that is sent from here on is answered.
    pub(super) is_over: bool,
    pub(super) model: &'a mut dyn FnMut(&Request<'_>) -> Answer,
    pub(super) script: Script,
}

/// Bytes of a client's noise: a prime, so that a payload moved by any power of two is not the same.
const NOISE_BYTES: usize = 4_093;

fn noise(rng: &mut Rng, protocol: Protocol) -> Vec<u8> {
    let bytes = (0..NOISE_BYTES.div_ceil(8)).flat_map(|_| rng.next_u64().to_le_bytes());
    match protocol {
        Protocol::Frame | Protocol::Bare => bytes.collect(),
        Protocol::Line => bytes.map(|byte| b'a' + byte % 26).collect(),
    }
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        client: u32,
        plan: &'a Plan,
        rng: &mut Rng,
        model: &'a mut dyn FnMut(&Request<'_>) -> Answer,
    ) -> Writer<'a> {
        let place = pick(rng, plan.listeners.len());
        let listener = &plan.listeners[place];
        let script = Script {
            listener: u32::try_from(place).unwrap_or(0),
            protocol: listener.framing.protocol,
            stream: Vec::new(),
            milestones: Vec::new(),
            due: Vec::new(),
            unheard: Vec::new(),
            finale: Finale::Close,
            farewell: None,
            reading: Reading::Eager,
            depth: 1,
            start_us: rng.below(plan.arrivals_us + 1),
            capacity: plan.draw_capacity(rng),
            is_greeter: false,
            answers_pings: true,
            leaving: Leaving::WhenDone,
        };
        let mut rng = rng.fork();
        let noise = noise(&mut rng, script.protocol);
        Writer {
            client,
            sequence: 0,
            framing: listener.framing,
            wants_hello: listener.wants_hello,
            plan,
            rng,
            noise,
            max_receive: usize::MAX,
            is_over: false,
            model,
            script,
        }
    }

    pub(super) fn write(mut self) -> Script {
        if self.rng.chance(60) && self.foreign() {
            return self.script;
        }
        let habit = self.habit();
        let count = match habit {
            Habit::Talker => self.rng.between(0, 24),
            Habit::Burst => self.rng.between(280, 620),
            Habit::Bulk => self.rng.between(1, 5),
            Habit::Trickle => self.rng.between(10, 60),
            Habit::Pile => self.rng.between(20, 140),
            Habit::Hog => 0,
        };
        self.script.depth = match habit {
            Habit::Talker => pick(&mut self.rng, 12),
            Habit::Burst | Habit::Hog | Habit::Trickle | Habit::Pile => usize::MAX,
            Habit::Bulk => pick(&mut self.rng, 6),
        };
        self.greet();
        for _ in 0..count {
            if self.is_over {
                break;
            }
            self.message(habit);
        }
        if self.is_over {
            self.babble();
        } else {
            self.finale(habit);
        }
        self.reading(habit);
        self.script
    }

    fn habit(&mut self) -> Habit {
        if self.plan.is_tight() && self.rng.chance(450) {
            return Habit::Hog;
        }
        match self.rng.below(100) {
            0..45 => Habit::Talker,
            45..60 => Habit::Burst,
            60..73 => Habit::Bulk,
            73..79 => Habit::Pile,
            _ => Habit::Trickle,
        }
    }

    fn message(&mut self, habit: Habit) {
        if self.framing.protocol == Protocol::Frame && self.control() {
            return;
        }
        let size = self.size(habit);
        self.request(size);
    }

    pub(super) fn size(&mut self, habit: Habit) -> usize {
        let max = u64::from(self.framing.payload_max);
        let size = match habit {
            Habit::Burst => self.rng.below(40),
            Habit::Talker => match self.rng.below(20) {
                0 => 0,
                1 => max.min(70_000),
                2..6 => self.rng.below(20_000),
                _ => self.rng.below(300),
            },
            Habit::Trickle => self.rng.below(16_000),
            Habit::Pile => 1_000 + self.rng.below(5_000),
            Habit::Bulk | Habit::Hog => match self.rng.below(3) {
                0 => max,
                1 => self.rng.below(300_000),
                _ => self.rng.below(max + 1),
            },
        };
        let Capacity { up, down } = self.script.capacity;
        // Through a narrow pipe a large message takes for ever.
        let passable = up.min(down) as u64 * 60 + 300;
        usize::try_from(size.min(max).min(400_000).min(passable)).unwrap_or(0)
    }

    pub(super) fn payload(&mut self, bytes: usize) -> Vec<u8> {
        let mut payload = match self.framing.protocol {
            Protocol::Frame | Protocol::Bare => {
                let [_, _, c0, c1] = self.client.to_be_bytes();
                let [_, _, s0, s1] = self.sequence.to_be_bytes();
                vec![c0, c1, s0, s1]
            }
            Protocol::Line => format!("c{}-{}-", self.client, self.sequence).into_bytes(),
        };
        while payload.len() < bytes {
            let left = bytes - payload.len();
            payload.extend_from_slice(&self.noise[..left.min(NOISE_BYTES)]);
        }
        payload.truncate(bytes);
        payload
    }

    /// Appends a whole message.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.script.stream.extend_from_slice(bytes);
        let (end, due) = (self.script.stream.len(), self.script.due.len());
        self.script.milestones.push(Milestone { end, due });
    }

    fn reading(&mut self, habit: Habit) {
        let is_patient = matches!(self.script.finale, Finale::Close | Finale::HalfClose);
        self.script.reading = match habit {
            Habit::Trickle if is_patient => {
                let (least, most) = self.plan.slow_us;
                // Enough at once that the kernel tells of space before the write stalls.
                let least_bytes = self.script.capacity.down / 6 + self.script.due_bytes() / 150 + 1;
                Reading::Slow(least_bytes + pick(&mut self.rng, 60_000), self.rng.between(least, most))
            }
            Habit::Burst | Habit::Bulk | Habit::Trickle | Habit::Pile
                if is_patient && self.rng.chance(120) =>
            {
                Reading::Never
            }
            Habit::Talker | Habit::Burst | Habit::Bulk | Habit::Trickle | Habit::Pile | Habit::Hog => {
                Reading::Eager
            }
        };
        if self.script.reading == Reading::Never {
            self.script.depth = usize::MAX;
            self.script.finale = Finale::Stay;
            self.script.farewell = None;
            let end = self.script.milestones.last().map_or(0, |last| last.end);
            self.script.stream.truncate(end);
        }
    }
}
