//! What a world is made of: the server's configuration, the weather, how many clients, and when it drains.

use super::backend::Backend;
use super::io::pick;
use super::socket::Capacity;
use super::weather::Weather;
use crate::base::limits::{BUDGET_BYTES_MIN, Limits, WhenOver};
use crate::base::{Rng, Time};
use crate::session::Framing;
use crate::turn::ListenerConfig;
use std::time::Duration;

/// When a world's server drains before all else is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainPlan {
    /// Microseconds after the world's start.
    pub after_us: u64,
    /// The grace, in milliseconds.
    pub grace_ms: u32,
}

/// A request of which only the payload is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Which client will send it.
    pub client: u32,
    /// To which route.
    pub route: u16,
    /// How large this client's messages are at the moment, in bytes: 0 to the listener's largest payload. Less is
    /// always right; what is more is cut off.
    pub bytes: usize,
}

/// One world. Draw one from a seed, then change what your test is about.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What everything that is left to chance depends on.
    pub seed: u64,
    /// How many clients come.
    pub clients: u32,
    /// Within how many microseconds they come.
    pub arrivals_us: u64,
    /// Routes that requests are sent to, with equal chances; a route in it twice is as likely as two.
    pub routes: Vec<u16>,
    /// Makes the payloads of requests, for services that parse them. `None`, the default of a drawn plan: noise of all
    /// sizes, which is right for services that take anything. On a listener for lines, what would end a line becomes a
    /// space.
    pub payloads: Option<fn(Draft, &mut Rng) -> Vec<u8>>,
    /// Of 1000 requests on frames, those with an extension block.
    pub extended: u64,
    /// Of 1000 clients on frames, those that say HELLO though they need not.
    pub greeters: u64,
    /// Tokens that clients say HELLO with, and whether the service lets them in. Without any, all tokens are empty and
    /// all clients let in.
    pub tokens: Vec<(Vec<u8>, bool)>,
    /// Whether deadlines of requests may pass before they are answered. Which requests are started is then left to
    /// chance: not for models that keep state.
    pub short_deadlines: bool,
    /// Servers that the service may dial.
    pub backends: Vec<Backend>,
    /// How long work that is given to other threads takes until it is done, in microseconds: at least and at most.
    pub work_us: (u64, u64),
    /// Offloaded jobs that may wait at most.
    pub jobs_max: usize,
    /// What other threads ask of the loop: messages to connections, and to close some.
    pub commands: u32,
    /// Whether clients may stay connected until the end, or until they have been idle for too long.
    pub may_stay: bool,
    /// How long a slow reader pauses between two looks, in microseconds: at least and at most.
    pub slow_us: (u64, u64),
    /// Bytes that a connection's pipes hold, per direction: at least and at most.
    pub pipe_bytes: (u64, u64),
    /// The most connections that the server holds at once.
    pub connections_max: u32,
    /// Descriptors that the server has for connections; `None` for as many as it likes.
    pub descriptors: Option<u32>,
    /// Bytes for the server's buffers.
    pub budget_bytes: usize,
    /// The server's listeners; clients spread evenly over them.
    pub listeners: Vec<ListenerConfig>,
    /// The server's bounds and deadlines. A drawn plan has rates that make connections wait; with those that refuse, which
    /// requests are started is left to chance: not for models that keep state.
    pub limits: Limits,
    /// What goes wrong.
    pub weather: Weather,
    /// A drain before the end; every world drains once nobody has anything left to do.
    pub drain: Option<DrainPlan>,
    /// The first moment.
    pub start: Time,
    /// How many of the last events a failure shows.
    pub trace_max: usize,
}

impl Plan {
    /// A world that depends on the seed alone, for a service with these routes.
    pub fn draw(seed: u64, routes: &[u16]) -> Plan {
        let mut rng = Rng::new(seed);
        let is_tight = rng.chance(120);
        let is_idle_watched = rng.chance(300);
        let clients = if is_tight || rng.chance(150) { rng.between(12, 24) } else { rng.between(1, 9) };
        let clients = u32::try_from(clients).unwrap_or(1);
        let mut plan = Plan {
            seed,
            clients,
            arrivals_us: [0, 5_000, 300_000][pick(&mut rng, 3)],
            routes: routes.to_vec(),
            payloads: None,
            extended: [0, 300, 1_000][pick(&mut rng, 3)],
            greeters: [0, 400, 1_000][pick(&mut rng, 3)],
            tokens: Vec::new(),
            short_deadlines: false,
            backends: Vec::new(),
            work_us: [(0, 500), (100, 60_000), (20_000, 3_000_000)][pick(&mut rng, 3)],
            jobs_max: [1, 4, 1_000][pick(&mut rng, 3)],
            commands: 0,
            may_stay: true,
            slow_us: (20_000, [100_000, 900_000][pick(&mut rng, 2)]),
            pipe_bytes: PIPES[if is_tight { 2 } else { pick(&mut rng, 4) }],
            connections_max: if rng.chance(150) { u32::try_from(rng.between(1, 6)).unwrap_or(1) } else { 64 },
            descriptors: rng.chance(150).then(|| u32::try_from(rng.between(1, 5)).unwrap_or(1)),
            budget_bytes: if is_tight { BUDGET_BYTES_MIN } else { 64 << 20 },
            listeners: draw_listeners(&mut rng, is_tight),
            limits: draw_limits(&mut rng, is_idle_watched),
            weather: Weather::draw(&mut rng),
            drain: rng.chance(400).then(|| DrainPlan {
                after_us: rng.below(400_000),
                grace_ms: if rng.chance(250) { 40 } else { 60_000 },
            }),
            start: draw_start(&mut rng),
            trace_max: 60,
        };
        plan.draw_quotas();
        // What other threads do is done in time, unless a test is about what is not.
        let in_time_us = u64::try_from(plan.limits.request_deadline.as_micros() / 2).unwrap_or(u64::MAX);
        plan.work_us.1 = plan.work_us.1.min(in_time_us);
        plan
    }

    /// Ages, rates, and places of listeners and addresses. From chance of their own, so that they change nothing else.
    fn draw_quotas(&mut self) {
        let mut rng = Rng::new(self.seed ^ 0x9_0A7A_5E11);
        let few = |rng: &mut Rng| u32::try_from(rng.between(1, 5)).unwrap_or(1);
        for listener in &mut self.listeners {
            listener.connections_max = rng.chance(60).then(|| few(&mut rng));
        }
        let limits = &mut self.limits;
        limits.per_address = rng.chance(60).then(|| few(&mut rng));
        limits.burst = Duration::from_millis(rng.between(10, 500));
        limits.accept_rate = rng.chance(100).then(|| u32::try_from(rng.between(20, 400)).unwrap_or(20));
        if rng.chance(120) {
            limits.max_age = Some(Duration::from_millis(rng.between(20, 4_000)));
            limits.max_age_jitter = [0, 10, 50][pick(&mut rng, 3)];
        }
        if rng.chance(150) {
            // Slow enough to be felt, and fast enough for a batch to be paid back within two seconds.
            let mut rate = |least: u64| {
                let rate = u32::try_from(rng.between(least, 20 * least)).unwrap_or(1);
                rng.chance(500).then_some(rate)
            };
            limits.messages_per_second = rate(150);
            limits.address_messages_per_second = rate(1_000);
            limits.bytes_per_second = rate(200_000).map(u64::from);
            limits.address_bytes_per_second = rate(2_000_000).map(u64::from);
        }
        limits.deliveries_per_second =
            rng.chance(250).then(|| u32::try_from(rng.between(5, 200)).unwrap_or(5));
    }

    /// A world without weather, with room for everything, as a base for tests of one thing.
    pub fn calm(seed: u64, routes: &[u16]) -> Plan {
        let mut plan = Plan {
            pipe_bytes: (60_000, 600_000),
            connections_max: 64,
            descriptors: None,
            budget_bytes: 64 << 20,
            limits: Limits::default(),
            weather: Weather::calm(),
            drain: None,
            ..Plan::draw(seed, routes)
        };
        plan.listeners.iter_mut().for_each(|listener| listener.connections_max = None);
        plan
    }

    pub(super) fn draw_capacity(&self, rng: &mut Rng) -> Capacity {
        let (least, most) = self.pipe_bytes;
        let mut draw = || usize::try_from(rng.between(least, most)).unwrap_or(1);
        Capacity { up: draw(), down: draw() }
    }

    /// The largest payload of a reply to a client of this listener, in bytes.
    pub(super) fn reply_bytes_max(&self, framing: Framing) -> usize {
        self.limits.output_high_bytes as usize + framing.payload_max as usize
    }

    /// Bytes that may be queued for a client of this listener; 0 where memory may be short.
    pub(super) fn queue_bytes_max(&self, listener: u32) -> usize {
        let framing = self.listeners[listener as usize].framing;
        let most = self.limits.output_high_bytes as usize + framing.payload_max as usize + 10;
        if self.is_tight() { 0 } else { most }
    }

    /// Bytes that may wait for any connection, where no reply is larger than this: what may be queued, the largest
    /// reply, for which all held ones wait, one that was begun before it was known, and what failures say.
    pub(super) fn queued_bytes_most(&self, reply_bytes: usize) -> usize {
        let payloads = self.listeners.iter().map(|listener| listener.framing.payload_max as usize);
        let frame = payloads.max().unwrap_or(0) + 10;
        let high = self.limits.output_high_bytes as usize;
        2 * (high + frame) + reply_bytes + FAILURES_BYTES
    }

    /// Whether memory may be short.
    pub(super) fn is_tight(&self) -> bool {
        self.budget_bytes < 32 << 20
    }

    /// The end of the millisecond clock's range lies within the first minute.
    pub(super) fn wraps(&self) -> bool {
        self.start.0 / 1000 + 60_000 > u64::from(u32::MAX)
    }
}

/// What the texts of failures may come to that wait for one connection.
const FAILURES_BYTES: usize = 32 << 10;

/// Bytes that a connection's pipes hold, at least and at most: bottlenecks, ordinary ones, wide ones, and any.
const PIPES: [(u64, u64); 4] = [(4, 300), (2_000, 20_000), (60_000, 600_000), (4, 600_000)];

fn draw_start(rng: &mut Rng) -> Time {
    let wrap_us = (u64::from(u32::MAX) + 1) * 1000;
    if rng.chance(300) { Time(wrap_us - rng.below(2_000_000)) } else { Time(rng.below(1 << 40)) }
}

fn draw_listeners(rng: &mut Rng, is_tight: bool) -> Vec<ListenerConfig> {
    let frame_max = [64, 4_096, 70_000, 300_000, 1 << 20][if is_tight { 4 } else { pick(rng, 5) }];
    let line_max = [64, 2_000, 64 << 10, 128 << 10][pick(rng, 4)];
    let frame = ListenerConfig::new(Framing::frames(frame_max));
    let route = u16::try_from(rng.below(4)).unwrap_or(0);
    let line = ListenerConfig::new(Framing::lines(line_max, route));
    let bare = ListenerConfig::new(Framing::bare_frames(frame_max));
    let known = ListenerConfig { wants_hello: true, ..frame.clone() };
    match rng.below(20) {
        _ if is_tight => vec![frame],
        0..9 => vec![frame],
        9..11 => vec![known],
        11 => vec![frame, known],
        12 | 13 => vec![bare],
        14 => vec![frame, bare],
        15..17 => vec![line],
        _ => vec![frame, line],
    }
}

fn draw_limits(rng: &mut Rng, is_idle_watched: bool) -> Limits {
    let (high, low) = [(256 << 10, 64 << 10), (32 << 10, 4 << 10), (2_000, 100)][pick(rng, 3)];
    Limits {
        output_high_bytes: high,
        output_low_bytes: low,
        frame_deadline: Duration::from_secs(rng.between(5, 12)),
        idle: is_idle_watched.then(|| Duration::from_secs(rng.between(6, 20))),
        write_stall: Duration::from_secs(rng.between(5, 30)),
        linger: Duration::from_millis(rng.between(200, 3_000)),
        open_requests: [1, 3, 128][pick(rng, 3)],
        request_deadline: Duration::from_millis(rng.between(1_000, 15_000)),
        heartbeat: rng.chance(700).then(|| Duration::from_millis(rng.between(1_000, 8_000))),
        connect_deadline: Duration::from_millis(rng.between(500, 3_000)),
        ..Limits::default()
    }
}

/// Whether requests that come too fast are refused.
pub(super) fn refuses(limits: &Limits) -> bool {
    let has_rates =
        [limits.messages_per_second, limits.address_messages_per_second].iter().any(Option::is_some)
            || [limits.bytes_per_second, limits.address_bytes_per_second].iter().any(Option::is_some);
    has_rates && limits.when_over == WhenOver::Refuse
}
