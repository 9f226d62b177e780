//! What a scripted client sends, what is due to it for that, and how it ends.

use super::io::pick;
use super::model::{Answer, Due, ERROR, EXT, Farewell, GOAWAY, HELLO, PING, PONG, Request, frame, status};
use super::plan::Plan;
use super::socket::Capacity;
use crate::base::{CloseReason, Rng};
use crate::session::{Framing, Protocol};

/// How a client's part ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finale {
    /// It takes all that is due, then closes.
    Close,
    /// It ends its sending side when all is sent, and reads on to the end.
    HalfClose,
    /// It closes when all is sent, whatever is due.
    EarlyClose,
    /// It resets once so many bytes are sent.
    Reset(usize),
    /// It ends its sending side within a message.
    EndInside,
    /// Its last message ends the connection for this reason.
    Fault(CloseReason),
    /// It stops within a message, says no more and reads on.
    Mute,
    /// It says no more and reads on.
    Stay,
}

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// What is there, when it acts.
    Eager,
    /// At most so many bytes, then nothing for so many microseconds.
    Slow(usize, u64),
    /// Not at all.
    Never,
}

/// Where a message ends in the stream, and how many replies are due once it was handled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Milestone {
    pub(super) end: usize,
    pub(super) due: usize,
}

pub(super) struct Script {
    pub(super) listener: u32,
    pub(super) protocol: Protocol,
    pub(super) stream: Vec<u8>,
    pub(super) milestones: Vec<Milestone>,
    pub(super) due: Vec<Due>,
    pub(super) finale: Finale,
    /// The last words if the finale is reached undisturbed.
    pub(super) farewell: Option<Farewell>,
    pub(super) reading: Reading,
    /// Messages sent ahead of the replies.
    pub(super) depth: usize,
    /// Microseconds after the world's start.
    pub(super) start_us: u64,
    pub(super) capacity: Capacity,
}

/// What kind of traffic a client makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    Talker,
    Burst,
    Bulk,
    Trickle,
    Hog,
}

struct Writer<'a> {
    client: u32,
    sequence: u32,
    framing: Framing,
    routes: &'a [u16],
    rng: Rng,
    /// What this client's payloads are filled with.
    noise: Vec<u8>,
    model: &'a mut dyn FnMut(&Request<'_>) -> Answer,
    script: Script,
}

impl Script {
    /// Draws a client's part. The model is asked for each request, in order.
    pub(super) fn draw(
        client: u32,
        plan: &Plan,
        rng: &mut Rng,
        model: &mut dyn FnMut(&Request<'_>) -> Answer,
    ) -> Script {
        let listener = pick(rng, plan.listeners.len());
        let framing = plan.listeners[listener].framing;
        let script = Script {
            listener: u32::try_from(listener).unwrap_or(0),
            protocol: framing.protocol,
            stream: Vec::new(),
            milestones: Vec::new(),
            due: Vec::new(),
            finale: Finale::Close,
            farewell: None,
            reading: Reading::Eager,
            depth: 1,
            start_us: rng.below(plan.arrivals_us + 1),
            capacity: plan.draw_capacity(rng),
        };
        let mut rng = rng.fork();
        let noise = noise(&mut rng, framing.protocol);
        let routes = &plan.routes;
        let mut writer = Writer { client, sequence: 0, framing, routes, rng, noise, model, script };
        writer.write(plan);
        writer.script
    }

    /// How many replies are due once `bytes` of the stream were handled.
    pub(super) fn due_by(&self, bytes: usize) -> usize {
        match self.milestones.partition_point(|milestone| milestone.end <= bytes) {
            0 => 0,
            passed => self.milestones[passed - 1].due,
        }
    }

    fn due_bytes(&self) -> usize {
        self.due.iter().map(Due::bytes).sum()
    }

    /// The largest reply that is due, in bytes.
    pub(super) fn due_bytes_max(&self) -> usize {
        self.due.iter().map(Due::bytes).max().unwrap_or(0)
    }

    /// Messages that are whole within `bytes` of the stream.
    pub(super) fn whole_by(&self, bytes: usize) -> usize {
        self.milestones.partition_point(|milestone| milestone.end <= bytes)
    }

    /// How much may be sent when so many replies have come.
    pub(super) fn may_send(&self, taken: usize) -> usize {
        let answered = self.milestones.partition_point(|milestone| milestone.due <= taken);
        match self.milestones.get(answered.saturating_add(self.depth)) {
            Some(milestone) => milestone.end,
            None => self.stream.len(),
        }
    }
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

impl Writer<'_> {
    fn write(&mut self, plan: &Plan) {
        if self.rng.chance(60) && self.foreign() {
            return;
        }
        let habit = self.habit(plan);
        let count = match habit {
            Habit::Talker => self.rng.between(0, 24),
            Habit::Burst => self.rng.between(280, 620),
            Habit::Bulk => self.rng.between(1, 5),
            Habit::Trickle => self.rng.between(10, 60),
            Habit::Hog => 0,
        };
        self.script.depth = match habit {
            Habit::Talker => pick(&mut self.rng, 12),
            Habit::Burst | Habit::Hog | Habit::Trickle => usize::MAX,
            Habit::Bulk => pick(&mut self.rng, 6),
        };
        for _ in 0..count {
            self.message(habit);
        }
        self.finale(habit, plan);
        self.reading(habit, plan);
    }

    fn habit(&mut self, plan: &Plan) -> Habit {
        if plan.is_tight() && self.rng.chance(450) {
            return Habit::Hog;
        }
        match self.rng.below(100) {
            0..45 => Habit::Talker,
            45..60 => Habit::Burst,
            60..75 => Habit::Bulk,
            _ => Habit::Trickle,
        }
    }

    fn message(&mut self, habit: Habit) {
        if self.framing.protocol == Protocol::Frame {
            match self.rng.below(100) {
                0..6 => return self.ping(),
                6..8 => return self.raw(&frame(PONG, b"unasked")),
                8..10 => return self.extended(),
                _ => {}
            }
        }
        let size = self.size(habit);
        self.request(size);
    }

    fn size(&mut self, habit: Habit) -> usize {
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

    fn payload(&mut self, bytes: usize) -> Vec<u8> {
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

    fn request(&mut self, bytes: usize) {
        let payload = self.payload(bytes);
        let route = match self.framing.protocol {
            Protocol::Frame | Protocol::Bare => self.routes[pick(&mut self.rng, self.routes.len())],
            Protocol::Line => self.framing.line_route.route_or_code(),
        };
        let request = Request { client: self.client, sequence: self.sequence, route, payload: &payload };
        self.sequence += 1;
        match (self.model)(&request) {
            Answer::Reply(reply) => match self.framing.protocol {
                Protocol::Frame | Protocol::Bare => self.script.due.push(Due::Exact(frame(route, &reply))),
                Protocol::Line => self.script.due.push(Due::Exact([&reply[..], b"\n"].concat())),
            },
            Answer::Fails(status) => self.script.due.push(Due::Failure(status)),
            Answer::Silent => {}
        }
        match self.framing.protocol {
            Protocol::Frame | Protocol::Bare => self.raw(&frame(route, &payload)),
            Protocol::Line => {
                let end: &[u8] = if self.rng.chance(300) { b"\r\n" } else { b"\n" };
                self.raw(&[&payload[..], end].concat());
            }
        }
    }

    fn ping(&mut self) {
        let bytes = pick(&mut self.rng, 65);
        let payload = self.payload(bytes);
        self.script.due.push(Due::Exact(frame(PONG, &payload)));
        self.raw(&frame(PING, &payload));
    }

    fn extended(&mut self) {
        let payload = self.payload(12);
        self.script.due.push(Due::Failure(status::UNSUPPORTED));
        self.raw(&frame(EXT | 1, &payload));
    }

    /// Appends a whole message.
    fn raw(&mut self, bytes: &[u8]) {
        self.script.stream.extend_from_slice(bytes);
        let (end, due) = (self.script.stream.len(), self.script.due.len());
        self.script.milestones.push(Milestone { end, due });
    }

    fn finale(&mut self, habit: Habit, plan: &Plan) {
        if habit == Habit::Hog {
            return self.inside(Finale::Mute);
        }
        match self.rng.below(100) {
            0..30 => {}
            30..48 => self.script.finale = Finale::HalfClose,
            48..54 => self.script.finale = Finale::EarlyClose,
            54..60 => {
                let at = pick(&mut self.rng, self.script.stream.len() + 1);
                self.script.finale = Finale::Reset(at);
            }
            60..66 => self.inside(Finale::EndInside),
            66..86 => self.fault(),
            86..91 => self.inside(Finale::Mute),
            _ => self.script.finale = if plan.may_stay { Finale::Stay } else { Finale::Close },
        }
    }

    /// The beginning of one more message, and no more. The end of a line's stream is a line's end.
    fn inside(&mut self, finale: Finale) {
        self.script.finale = finale;
        let bytes = self.size(Habit::Bulk).max(8);
        if self.framing.protocol == Protocol::Line && finale == Finale::EndInside {
            self.request(bytes.min(self.framing.payload_max as usize));
            while self.script.stream.last().is_some_and(|byte| b"\r\n".contains(byte)) {
                self.script.stream.pop();
            }
            let end = self.script.stream.len();
            if let Some(last) = self.script.milestones.last_mut() {
                last.end = end;
            }
            return;
        }
        let whole = match self.framing.protocol {
            Protocol::Frame | Protocol::Bare => {
                let payload = self.payload(bytes.min(self.framing.payload_max as usize));
                frame(self.routes[0], &payload)
            }
            Protocol::Line => self.payload(bytes.min(self.framing.payload_max as usize)),
        };
        let cut = 1 + pick(&mut self.rng, whole.len() - 1);
        self.script.stream.extend_from_slice(&whole[..cut]);
        if finale == Finale::Mute && self.framing.protocol == Protocol::Frame {
            self.script.farewell = Some(Farewell::Status(status::PROTOCOL));
        }
    }

    fn fault(&mut self) {
        if self.framing.protocol == Protocol::Line {
            let bytes = self.framing.payload_max as usize + 1 + pick(&mut self.rng, 200);
            let line = self.payload(bytes);
            return self.misdeed(CloseReason::LineTooLong, &line, status::TOO_LARGE);
        }
        let payload = self.payload(20);
        match self.rng.below(7) {
            0 => {
                let mut bad = frame(self.routes[0], &payload);
                let at = 6 + pick(&mut self.rng, bad.len() - 6);
                bad[at] ^= 1 << self.rng.below(8);
                self.misdeed(CloseReason::BadCrc, &bad, status::PROTOCOL);
            }
            1 | 2 => {
                let large = self.payload(self.framing.payload_max as usize + 1);
                let whole = frame(self.routes[0], &large);
                let shown = if self.rng.chance(300) { 6 } else { whole.len() };
                self.misdeed(CloseReason::TooLarge, &whole[..shown], status::TOO_LARGE);
            }
            3 => {
                let code = [13, 99, 0x3FFF][pick(&mut self.rng, 3)];
                let bad = frame(0x4000 | code, &payload);
                self.misdeed(CloseReason::UnknownControl, &bad, status::PROTOCOL);
            }
            4 => {
                let long = self.payload(65);
                let bad = if self.rng.chance(500) { frame(PING, &long) } else { frame(EXT | PING, b"") };
                self.misdeed(CloseReason::BadControl, &bad, status::PROTOCOL);
            }
            5 => {
                // A block of no words, and one longer than its payload.
                let block: &[u8] = if self.rng.chance(500) { b"\0\0\0\0" } else { b"\x09\0\0\0" };
                self.misdeed(CloseReason::BadExtension, &frame(EXT | HELLO, block), status::PROTOCOL);
            }
            _ => {
                let goaway = frame(GOAWAY, b"\0\x01\0\0\0\0you go");
                let bad = if self.rng.chance(500) { goaway } else { frame(ERROR, b"\0\x01no") };
                self.misdeed(CloseReason::WrongDirection, &bad, status::PROTOCOL);
            }
        }
    }

    fn misdeed(&mut self, why: CloseReason, bytes: &[u8], status: u16) {
        self.script.finale = Finale::Fault(why);
        self.script.farewell = Some(Farewell::Status(status));
        self.script.stream.extend_from_slice(bytes);
        if self.rng.chance(400) {
            // Whoever is at it does not stop at once.
            let count = pick(&mut self.rng, 30_000);
            let more = self.payload(count);
            self.script.stream.extend_from_slice(&more);
        }
    }

    /// The first bytes of another protocol; false if this listener's peers can't be told from it.
    fn foreign(&mut self) -> bool {
        let is_frame = self.framing.protocol == Protocol::Frame;
        let (why, hello): (CloseReason, &[u8]) = match self.rng.below(4) {
            0 => (CloseReason::TlsOnPlain, b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03random and so on"),
            1 => (CloseReason::Http, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"),
            2 if is_frame => (CloseReason::Resp, b"*1\r\n$4\r\nPING\r\n"),
            _ => (CloseReason::Proxy, b"PROXY TCP4 10.0.0.1 10.0.0.2 5000 80\r\n"),
        };
        if !is_frame && (self.framing.payload_max as usize) < hello.len() {
            return false;
        }
        self.misdeed(why, hello, status::PROTOCOL);
        if why == CloseReason::TlsOnPlain {
            self.script.farewell = Some(Farewell::TlsAlert);
        }
        self.script.depth = usize::MAX;
        true
    }

    fn reading(&mut self, habit: Habit, plan: &Plan) {
        let is_patient = matches!(self.script.finale, Finale::Close | Finale::HalfClose);
        self.script.reading = match habit {
            Habit::Trickle if is_patient => {
                let (least, most) = plan.slow_us;
                // Enough at once that the kernel tells of space before the write stalls.
                let least_bytes = self.script.capacity.down / 6 + self.script.due_bytes() / 150 + 1;
                Reading::Slow(least_bytes + pick(&mut self.rng, 60_000), self.rng.between(least, most))
            }
            Habit::Burst | Habit::Bulk | Habit::Trickle if is_patient && self.rng.chance(120) => {
                Reading::Never
            }
            Habit::Talker | Habit::Burst | Habit::Bulk | Habit::Trickle | Habit::Hog => Reading::Eager,
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
