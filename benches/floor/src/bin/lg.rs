//! `lg`: a closed-loop load generator of fixed depth: every connection always has the same number of requests in flight.
//!
//! One thread that never sleeps, so that the server alone decides how long a reply takes. Requests that become due
//! together leave in one write. Every reply is compared byte for byte with what it must be; requests differ within a
//! connection and between neighbours, so a reply that is missing, doubled, swapped or misdirected is seen. So is one
//! that overtakes another: what correlation ids would allow is a fault here, where every reply is made at once.
//!
//! With `--ext` each request begins with an extension block that holds a correlation id, and its reply must return
//! it. `--routes` takes the routes in turn. Requests are made before the run, so neither costs anything during it.
//!
//! Always ends: by `--time` or `--count`, and in any case `--deadline` seconds after its start. Prints one line of
//! JSON. Exit status 0 only if every reply was right.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use floor::args::{Args, List};
use floor::frame::{self, BLOCK_BYTES, EXT, PAYLOAD_BYTES_MAX};
use floor::net;
use floor::procfs::{self, Sched};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{ClockId, clock_gettime};

const SCRATCH_BYTES: usize = 256 << 10;
/// Different requests that a connection goes through in turn; a prime, so that no depth hides a slip.
const PATTERNS: usize = 7;
/// Odd, so that all ids differ; large, so that all their bytes do (2^64 over the golden ratio).
const CORRELATION_STEP: u64 = 0x9E37_79B9_7F4A_7C15;
/// Bounds the request bytes that a connection may have in flight.
const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;
/// The bits of a header that aren't its route: extension block and control frame.
const FLAG_BITS: u16 = 0xC000;
const CONNS_MAX: usize = 19_000;

const USAGE: &str = "usage: lg --addr A --conns C --depth D --size BYTES (--route R | --routes A,B,..) [--ext] \
    (--time SECS --warmup SECS | --count MESSAGES) [--expect same|flip] [--pid SERVER [--dealt]] [--deadline SECS]";

fn main() -> ExitCode {
    match Plan::from_args(Args::from_env()).map_err(|why| format!("{why}\n{USAGE}")).and_then(run) {
        Ok(report) => {
            println!("{}", report.json());
            if report.errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("lg: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What to do, parsed and checked.
struct Plan {
    addr: SocketAddr,
    conns: usize,
    depth: usize,
    /// Of a body: the block of `ext` comes on top.
    size: usize,
    /// Never empty.
    routes: Vec<u16>,
    ext: bool,
    flip: bool,
    span: Span,
    server: Option<u32>,
    /// Report also how the server has dealt the connections to its loops.
    dealt: bool,
    deadline: Duration,
}

#[derive(Clone, Copy)]
enum Span {
    Time { warmup: Duration, window: Duration },
    Count(u64),
}

impl Plan {
    fn from_args(mut args: Args) -> Result<Plan, String> {
        let routes = match args.option("--routes")? {
            Some(List(routes)) => routes,
            None => vec![args.required("--route")?],
        };
        let ext = args.flag("--ext");
        let block_bytes = if ext { BLOCK_BYTES } else { 0 };
        let span = match args.option("--count")? {
            Some(count) => Span::Count(count),
            None => Span::Time {
                warmup: seconds(args.required("--warmup")?)?,
                window: seconds(args.required("--time")?)?,
            },
        };
        let least = match span {
            Span::Time { warmup, window } => warmup + window + Duration::from_secs(10),
            Span::Count(_) => Duration::from_secs(60),
        };
        let plan = Plan {
            addr: net::loopback_only(args.required("--addr")?)?,
            conns: within("--conns", args.required("--conns")?, CONNS_MAX)?,
            depth: within("--depth", args.required("--depth")?, 1 << 16)?,
            size: within("--size", args.required("--size")?, PAYLOAD_BYTES_MAX - block_bytes)?,
            ext,
            flip: match args.option::<String>("--expect")?.as_deref() {
                Some("flip") => true,
                Some("same") => false,
                None => routes.iter().copied().all(frame::flips),
                Some(other) => return Err(format!("--expect {other}: neither same nor flip")),
            },
            routes,
            span,
            server: args.option("--pid")?,
            dealt: args.flag("--dealt"),
            deadline: args.option("--deadline")?.map(seconds).transpose()?.unwrap_or(least),
        };
        args.finish()?;
        within("--depth times --size", plan.depth * plan.size, IN_FLIGHT_BYTES_MAX)?;
        within("routes times --size", plan.routes.len() * plan.size, IN_FLIGHT_BYTES_MAX)?;
        if let Some(route) = plan.routes.iter().find(|route| *route & FLAG_BITS != 0) {
            return Err(format!("route {route}: over {}", !FLAG_BITS));
        }
        match plan.span {
            Span::Count(count) if count < plan.conns as u64 => Err("--count is less than --conns".into()),
            Span::Time { window, .. } if window.is_zero() => Err("--time is 0".into()),
            Span::Count(_) | Span::Time { .. } => Ok(plan),
        }
    }
}

fn within(what: &str, value: usize, max: usize) -> Result<usize, String> {
    if (1..=max).contains(&value) { Ok(value) } else { Err(format!("{what}: {value} is not in 1..={max}")) }
}

fn seconds(value: f64) -> Result<Duration, String> {
    let value = Duration::try_from_secs_f64(value).map_err(|why| why.to_string())?;
    if value <= Duration::from_secs(3600) { Ok(value) } else { Err("more than an hour".into()) }
}

fn run(plan: Plan) -> Result<Report, String> {
    let Plan { addr, span, server, dealt, .. } = plan;
    let mut load = Load::new(plan).map_err(|why| format!("cannot set up: {why}"))?;
    let failed = |why: io::Error| format!("cannot measure: {why}");
    let before = match span {
        Span::Time { warmup, window } => {
            load.run_until(|load| load.silent == 0);
            let warm = Instant::now() + warmup;
            load.run_until(|_| Instant::now() >= warm);
            let before = Snapshot::take(&load, server).map_err(failed)?;
            let end = before.at + window;
            load.run_until(|_| Instant::now() >= end);
            before
        }
        Span::Count(count) => {
            let before = Snapshot::take(&load, server).map_err(failed)?;
            load.run_until(|load| load.received == count);
            before
        }
    };
    let mut report = Report::between(before, Snapshot::take(&load, server).map_err(failed)?, &load);
    if let (true, Some(pid)) = (dealt, server) {
        report.dealt = procfs::conns_by_epoll(pid, addr.port()).map_err(failed)?;
    }
    Ok(report)
}

/// All connections and what they share.
struct Load {
    poll: Poll,
    conns: Vec<Conn>,
    traffic: Traffic,
    scratch: Box<[u8]>,
    /// Requests that may still be sent.
    budget: u64,
    received: u64,
    /// Connections that have had no reply yet.
    silent: usize,
    errors: u64,
    deadline: Instant,
    overdue: bool,
}

impl Load {
    /// Connects, and puts the first requests on their way.
    fn new(plan: Plan) -> io::Result<Load> {
        let deadline = Instant::now() + plan.deadline;
        net::raise_descriptor_limit()?;
        let poll = Poll::new()?;
        let traffic = Traffic::new(&plan);
        let mut conns = Vec::with_capacity(plan.conns);
        for index in 0..plan.conns {
            let patience = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let stream = net::connect(plan.addr, None, patience)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
            let at = traffic.start(index);
            conns.push(Conn { stream, send_at: at, receive_at: at, due_bytes: 0, silent: true, dead: false });
        }
        let mut load = Load {
            poll,
            silent: conns.len(),
            conns,
            traffic,
            scratch: vec![0; SCRATCH_BYTES].into(),
            budget: match plan.span {
                Span::Time { .. } => u64::MAX,
                Span::Count(count) => count,
            },
            received: 0,
            errors: 0,
            deadline,
            overdue: false,
        };
        for index in 0..load.conns.len() {
            load.request(index, plan.depth as u64);
        }
        Ok(load)
    }

    /// Spins until `done`, the deadline, or the death of every connection.
    fn run_until(&mut self, done: impl Fn(&Load) -> bool) {
        let mut events = Events::with_capacity(1024);
        let all = self.conns.len() as u64;
        while !done(self) && !self.overdue && self.errors < all {
            if self.poll.poll(&mut events, Some(Duration::ZERO)).is_err() {
                continue;
            }
            for event in &events {
                self.on_event(event);
            }
            self.overdue = Instant::now() >= self.deadline;
        }
    }

    fn on_event(&mut self, event: &Event) {
        let index = event.token().0;
        if self.conns[index].dead {
            return;
        }
        match self.receive(index, event) {
            Ok(messages) => self.request(index, messages),
            Err(_) => self.bury(index),
        }
    }

    /// Reads all there is, and counts the replies that became whole. An error: the connection broke, or lied.
    fn receive(&mut self, index: usize, event: &Event) -> io::Result<u64> {
        let (conn, traffic) = (&mut self.conns[index], &self.traffic);
        let mut messages = 0;
        while event.is_readable() {
            let count = match conn.stream.read(&mut self.scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(why) if why.kind() == ErrorKind::WouldBlock => break,
                Err(why) if why.kind() == ErrorKind::Interrupted => continue,
                Err(why) => return Err(why),
            };
            if self.scratch[..count] != traffic.replies[conn.receive_at..][..count] {
                return Err(ErrorKind::InvalidData.into());
            }
            let end = conn.receive_at + count;
            messages += (end / traffic.frame_bytes - conn.receive_at / traffic.frame_bytes) as u64;
            conn.receive_at = end % traffic.period_bytes;
            if count < self.scratch.len() && !event.is_read_closed() {
                break;
            }
        }
        if messages > 0 && conn.silent {
            conn.silent = false;
            self.silent -= 1;
        }
        self.received += messages;
        Ok(messages)
    }

    /// Lets a connection send `messages` more requests, as far as the budget goes, and writes what is due, once.
    fn request(&mut self, index: usize, messages: u64) {
        let messages = messages.min(self.budget);
        self.budget -= messages;
        let (conn, traffic) = (&mut self.conns[index], &self.traffic);
        conn.due_bytes += messages as usize * traffic.frame_bytes;
        while conn.due_bytes > 0 {
            match conn.stream.write(&traffic.requests[conn.send_at..][..conn.due_bytes]) {
                Ok(count) => {
                    conn.due_bytes -= count;
                    conn.send_at = (conn.send_at + count) % traffic.period_bytes;
                    return; // after a short write a writable event follows
                }
                Err(why) if why.kind() == ErrorKind::WouldBlock => return,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.bury(index),
            }
        }
    }

    fn bury(&mut self, index: usize) {
        let conn = &mut self.conns[index];
        conn.dead = true;
        self.errors += 1;
        self.silent -= usize::from(std::mem::take(&mut conn.silent));
        // It stays registered, but its socket is shut: the event that this makes is ignored.
        let _ = conn.stream.shutdown(std::net::Shutdown::Both);
    }
}

struct Conn {
    stream: TcpStream,
    /// Where in the cycle of requests the next byte to send is.
    send_at: usize,
    /// Where in the cycle of replies the next byte to come is.
    receive_at: usize,
    due_bytes: usize,
    silent: bool,
    dead: bool,
}

/// The cycle of requests and that of their replies, each laid out as often as one write or read can reach.
struct Traffic {
    requests: Vec<u8>,
    replies: Vec<u8>,
    frame_bytes: usize,
    period_bytes: usize,
}

impl Traffic {
    fn new(plan: &Plan) -> Traffic {
        let (mut requests, mut replies) = (Vec::new(), Vec::new());
        let frames = PATTERNS * plan.routes.len();
        for index in 0..frames {
            let (pattern, route) = (index % PATTERNS, plan.routes[index % plan.routes.len()]);
            let (mut header, mut payload) = (route, Vec::with_capacity(BLOCK_BYTES + plan.size));
            if plan.ext {
                header |= EXT;
                payload.extend(frame::block((index as u64 + 1).wrapping_mul(CORRELATION_STEP)));
            }
            let body = payload.len();
            payload.extend((0..plan.size).map(|i| (i * 31 + pattern * 17 + i / 251) as u8));
            requests.extend(frame::encode(header, &payload));
            payload[body] ^= u8::from(plan.flip);
            replies.extend(frame::encode(header, &payload));
        }
        let (frame_bytes, period_bytes) = (requests.len() / frames, requests.len());
        lengthen(&mut requests, period_bytes + plan.depth * frame_bytes);
        lengthen(&mut replies, period_bytes + SCRATCH_BYTES);
        Traffic { requests, replies, frame_bytes, period_bytes }
    }

    /// Where in its cycles a connection begins: neighbours never at the same request.
    fn start(&self, conn: usize) -> usize {
        conn * self.frame_bytes % self.period_bytes
    }
}

/// Repeats `cycle` until it has `bytes` at least.
fn lengthen(cycle: &mut Vec<u8>, bytes: usize) {
    let period = cycle.len();
    while cycle.len() < bytes {
        cycle.extend_from_within(..period);
    }
}

struct Snapshot {
    at: Instant,
    received: u64,
    server: Option<Sched>,
    own_run: Duration,
    own: Sched,
}

impl Snapshot {
    fn take(load: &Load, server: Option<u32>) -> io::Result<Snapshot> {
        let own_run = clock_gettime(ClockId::ThreadCPUTime);
        Ok(Snapshot {
            at: Instant::now(),
            received: load.received,
            server: server.map(Sched::of_process).transpose()?,
            own_run: Duration::new(own_run.tv_sec as u64, own_run.tv_nsec as u32),
            own: Sched::of_this_thread()?,
        })
    }
}

struct Report {
    msgs: u64,
    secs: f64,
    server: Option<Sched>,
    own_run: f64,
    own_wait: f64,
    errors: u64,
    overdue: bool,
    /// Connections of each of the server's loops; empty if that was not asked for.
    dealt: Vec<usize>,
}

impl Report {
    fn between(before: Snapshot, after: Snapshot, load: &Load) -> Report {
        Report {
            msgs: after.received - before.received,
            secs: (after.at - before.at).as_secs_f64(),
            server: before.server.zip(after.server).map(|(before, after)| after.since(before)),
            own_run: (after.own_run - before.own_run).as_secs_f64(),
            own_wait: after.own.since(before.own).wait_ns as f64 / 1e9,
            errors: load.errors + u64::from(load.overdue),
            overdue: load.overdue,
            dealt: Vec::new(),
        }
    }

    fn json(&self) -> String {
        let Report { msgs, secs, errors, overdue, dealt, .. } = self;
        let per_s = *msgs as f64 / secs;
        let server = |value: fn(Sched) -> u64, per: f64| match self.server {
            Some(server) if per > 0.0 => format!("{:.4}", value(server) as f64 / per),
            Some(_) | None => "null".to_owned(),
        };
        let cpu_ns = server(|server| server.run_ns, *msgs as f64);
        let cpu_share = server(|server| server.run_ns, secs * 1e9);
        let delay_share = server(|server| server.wait_ns, secs * 1e9);
        let (own_cpu, own_delay) = (self.own_run / secs, self.own_wait / secs);
        format!(
            "{{\"msgs\":{msgs},\"secs\":{secs:.6},\"msgs_per_s\":{per_s:.1},\"server_cpu_ns_per_msg\":{cpu_ns},\
             \"server_cpu_share\":{cpu_share},\"server_delay_share\":{delay_share},\"lg_cpu_share\":{own_cpu:.4},\
             \"lg_delay_share\":{own_delay:.4},\"errors\":{errors},\"overdue\":{overdue},\
             \"dealt\":{dealt:?}}}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(line: &str) -> Result<Plan, String> {
        let line = format!("--addr 127.0.0.1:7 --conns 3 --depth 2 --size 5 --count 12 {line}");
        Plan::from_args(Args::from_words(line.split(' ').map(str::to_owned)))
    }

    /// The payload of each frame of a cycle, by its header.
    fn frames(mut cycle: &[u8], frame_bytes: usize) -> Vec<(u16, Vec<u8>)> {
        let mut frames = Vec::new();
        while let Some((one, rest)) = cycle.split_at_checked(frame_bytes) {
            let payload = &one[frame::PREFIX_BYTES..frame_bytes - frame::CRC_BYTES];
            let header = u16::from_be_bytes([one[0], one[1]]);
            assert_eq!(one, frame::encode(header, payload));
            frames.push((header, payload.to_vec()));
            cycle = rest;
        }
        frames
    }

    #[test]
    fn extension_blocks_come_back_with_their_ids_and_bodies_flipped() {
        let traffic = Traffic::new(&plan("--ext --routes 16,17,18").expect("it is sound"));
        let period = traffic.period_bytes;
        let requests = frames(&traffic.requests[..period], traffic.frame_bytes);
        let replies = frames(&traffic.replies[..period], traffic.frame_bytes);
        assert_eq!(requests.len(), 3 * PATTERNS);
        let mut blocks = std::collections::HashSet::new();
        for (index, ((header, payload), (reply_header, reply))) in requests.iter().zip(&replies).enumerate() {
            assert_eq!((*header, *reply_header), (EXT | [16, 17, 18][index % 3], *header));
            let (block, body) = payload.split_at(BLOCK_BYTES);
            assert!(block.starts_with(&[3, 1, 0, 0]) && blocks.insert(block));
            assert_eq!(&reply[..BLOCK_BYTES], block);
            assert_eq!((reply[BLOCK_BYTES], &reply[BLOCK_BYTES + 1..]), (body[0] ^ 1, &body[1..]));
        }
    }

    #[test]
    fn plain_frames_hold_the_body_alone() {
        for (line, header, flip) in
            [("--route 3", 3, 1), ("--route 1", 1, 0), ("--routes 3 --expect same", 3, 0)]
        {
            let traffic = Traffic::new(&plan(line).expect("it is sound"));
            assert_eq!(traffic.period_bytes, PATTERNS * (5 + frame::OVERHEAD_BYTES));
            let (request, reply) = (&traffic.requests, &traffic.replies);
            assert_eq!(request[..6], [0, header, 0, 0, 0, 5]);
            assert_eq!(reply[6], request[6] ^ flip);
            assert_eq!(reply[7..11], request[7..11]);
        }
    }

    #[test]
    fn a_plan_that_makes_no_sense_is_refused() {
        for line in
            ["", "--route 16384", "--routes", "--routes 1,", "--route 1 --routes 1", "--route 1 --expect x"]
        {
            assert!(plan(line).is_err(), "{line:?}");
        }
    }
}
