//! `churn`: what a connection costs a server in CPU time: so many connections, one after the other and a few at once, each
//! with one request and its reply.
//!
//! ```text
//!  connect --> request --> whole reply --> close             churn: closed in order, the next one takes its place
//!                                     `--> stays open        --hold: accept and first reply alone; all are reset at
//!                                                            the end, after the figure was taken
//! ```
//!
//! The figure is taken between two moments at which the server rests: before the first connection, and after it has
//! let go of the last one (with `--hold`: answered the last one). So what it does late is in it too.
//!
//! Ports never run out: connections come from addresses of their own, each port of theirs once, from number `--from` on.
//! Give a run at the same server a range that none had in the last minute. Refused: more connections than the kernel
//! keeps in TIME_WAIT, for beyond that it throws them away early. Every reply is compared byte for byte. Always ends:
//! after `--deadline` seconds at the latest. Prints one line of JSON.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use floor::args::Args;
use floor::procfs::{self, Sched};
use floor::{frame, net};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

/// The source ports used, of each source address.
const FIRST_PORT: usize = 20_000;
const PORTS: usize = 40_000;
/// Source addresses used: 127.1.0.0 to 127.1.0.249.
const SOURCES: usize = 250;
const COUNT_MAX: usize = 100_000;
const AT_ONCE_MAX: usize = 1_000;
const SIZE_BYTES: usize = 64;
/// Sched figures of a thread are exact as soon as it sleeps; this is for the server to get there.
const SETTLE: Duration = Duration::from_millis(10);

const USAGE: &str = "usage: churn --addr A --pid SERVER --count CONNS [--hold] [--at-once 32] [--warmup CONNS] \
    [--from NUMBER] [--route 3] [--expect same|flip] [--deadline SECS]";

fn main() -> ExitCode {
    match Plan::from_args(Args::from_env()).map_err(|why| format!("{why}\n{USAGE}")).and_then(run) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("churn: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What to do, parsed and checked.
struct Plan {
    addr: SocketAddr,
    pid: u32,
    count: usize,
    warmup: usize,
    at_once: usize,
    hold: bool,
    /// Which source is used first.
    from: usize,
    request: Vec<u8>,
    reply: Vec<u8>,
    deadline: Duration,
}

impl Plan {
    fn from_args(mut args: Args) -> Result<Plan, String> {
        let route = args.option("--route")?.unwrap_or(frame::ROUTE_FLIP);
        let flip = match args.option::<String>("--expect")?.as_deref() {
            Some("flip") => true,
            Some("same") => false,
            None => frame::flips(route),
            Some(other) => return Err(format!("--expect {other}: neither same nor flip")),
        };
        let mut payload: Vec<u8> = (0..SIZE_BYTES).map(|at| (at * 31 % 251) as u8).collect();
        let request = frame::encode(route, &payload);
        payload[0] ^= u8::from(flip);
        let plan = Plan {
            addr: net::loopback_only(args.required("--addr")?)?,
            pid: args.required("--pid")?,
            count: args.required("--count")?,
            warmup: args.option("--warmup")?.unwrap_or(200),
            at_once: args.option("--at-once")?.unwrap_or(32),
            hold: args.flag("--hold"),
            from: args.option("--from")?.unwrap_or(0),
            request,
            reply: frame::encode(route, &payload),
            deadline: Duration::from_secs(args.option("--deadline")?.unwrap_or(30)),
        };
        args.finish()?;
        if !(1..=COUNT_MAX).contains(&plan.count) || plan.warmup > COUNT_MAX {
            return Err(format!("--count and --warmup: not in 1..={COUNT_MAX}"));
        }
        if !(1..=AT_ONCE_MAX).contains(&plan.at_once) {
            return Err(format!("--at-once: not in 1..={AT_ONCE_MAX}"));
        }
        if !plan.addr.is_ipv4() {
            return Err(format!("{}: only IPv4 has many loopback addresses", plan.addr));
        }
        Ok(plan)
    }
}

fn run(plan: Plan) -> Result<String, String> {
    let limit = net::raise_descriptor_limit().map_err(told)?;
    let open = if plan.hold { plan.count + plan.warmup } else { plan.at_once };
    if open as u64 + 100 > limit {
        return Err(format!("{open} connections at once, but {limit} descriptors are allowed here"));
    }
    if !plan.hold {
        let (waiting, most) = time_wait().map_err(told)?;
        if waiting + plan.count + plan.warmup > most {
            return Err(format!(
                "{} connections: {waiting} of {most} are in TIME_WAIT, try again in a minute",
                plan.count + plan.warmup
            ));
        }
    }
    let end = Instant::now() + plan.deadline;
    let base = procfs::descriptors(plan.pid).map_err(told)?;
    let mut churn = Churn::new(&plan, end).map_err(told)?;
    churn.go(plan.warmup)?;
    churn.wait_for_server(base)?;
    let (began, before) = (Instant::now(), Sched::of_process(plan.pid).map_err(told)?);
    churn.go(plan.count)?;
    let secs = began.elapsed().as_secs_f64();
    churn.wait_for_server(base)?;
    let spent = Sched::of_process(plan.pid).map_err(told)?.since(before);
    churn.reset_all();
    churn.wait_for_server(base)?;
    Ok(json(&plan, secs, spent))
}

fn told(why: io::Error) -> String {
    why.to_string()
}

/// Sockets in TIME_WAIT, and how many the kernel keeps.
fn time_wait() -> io::Result<(usize, usize)> {
    let sockstat = std::fs::read_to_string("/proc/net/sockstat")?;
    let most = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_max_tw_buckets")?;
    let mut words = sockstat.split_ascii_whitespace();
    let waiting =
        words.find(|word| *word == "tw").and_then(|_| words.next()).and_then(|word| word.parse().ok());
    match (waiting, most.trim().parse()) {
        (Some(waiting), Ok(most)) => Ok((waiting, most)),
        _ => Err(io::Error::new(ErrorKind::InvalidData, "/proc/net/sockstat is not understood")),
    }
}

/// The source of connection `number`: an address of this program's own and a port.
fn source(number: usize) -> SocketAddr {
    let address = u8::try_from(number / PORTS % SOURCES).expect("SOURCES are fewer");
    let port = u16::try_from(FIRST_PORT + number % PORTS).expect("the last port is 59,999");
    SocketAddr::new(Ipv4Addr::new(127, 1, 0, address).into(), port)
}

struct Churn<'a> {
    plan: &'a Plan,
    poll: Poll,
    conns: Slab<Conn>,
    /// Of `conns`, those that are done and held.
    held: usize,
    next_source: usize,
    end: Instant,
}

struct Conn {
    stream: TcpStream,
    stage: Stage,
}

#[derive(Clone, Copy)]
enum Stage {
    Connecting,
    /// So many bytes of the reply are there.
    Waiting(usize),
    Held,
}

impl Churn<'_> {
    fn new(plan: &Plan, end: Instant) -> io::Result<Churn<'_>> {
        let (poll, conns) = (Poll::new()?, Slab::new());
        Ok(Churn { plan, poll, conns, held: 0, next_source: plan.from, end })
    }

    /// `count` connections from beginning to end.
    fn go(&mut self, count: usize) -> Result<(), String> {
        let mut events = Events::with_capacity(1024);
        let (mut begun, mut done) = (0, 0);
        while done < count {
            while begun < count && self.conns.len() - self.held < self.plan.at_once {
                self.open().map_err(|why| format!("connection {begun}: {why}"))?;
                begun += 1;
            }
            if Instant::now() > self.end {
                return Err(format!("{done} of {count} connections in {:?}", self.plan.deadline));
            }
            match self.poll.poll(&mut events, Some(Duration::ZERO)) {
                Err(why) if why.kind() != ErrorKind::Interrupted => return Err(told(why)),
                _ => {}
            }
            for event in &events {
                done += usize::from(self.on_event(event).map_err(|why| format!("after {done}: {why}"))?);
            }
        }
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        let source = source(self.next_source);
        self.next_source += 1;
        let mut stream = net::begin_connect(self.plan.addr, source)?;
        let entry = self.conns.vacant_entry();
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(entry.key()), interest)?;
        entry.insert(Conn { stream, stage: Stage::Connecting });
        Ok(())
    }

    /// Whether a connection has had its reply now.
    fn on_event(&mut self, event: &Event) -> io::Result<bool> {
        let Some(conn) = self.conns.get_mut(event.token().0) else { return Ok(false) };
        let is_whole = match conn.stage {
            Stage::Held => return Ok(false),
            Stage::Connecting if event.is_writable() => {
                if let Some(why) = conn.stream.take_error()? {
                    return Err(why);
                }
                if conn.stream.write(&self.plan.request)? < self.plan.request.len() {
                    return Err(ErrorKind::WriteZero.into()); // an empty socket takes more than that
                }
                conn.stage = Stage::Waiting(0);
                conn.receive(&self.plan.reply)?
            }
            Stage::Connecting => return Ok(false),
            Stage::Waiting(_) => conn.receive(&self.plan.reply)?,
        };
        if is_whole && self.plan.hold {
            conn.stage = Stage::Held;
            self.held += 1;
        } else if is_whole {
            drop(self.conns.remove(event.token().0)); // closed in order: everything was read
        }
        Ok(is_whole)
    }

    /// Waits until the server has no more descriptors than `base` and those of held connections, and rests.
    fn wait_for_server(&self, base: usize) -> Result<(), String> {
        while procfs::descriptors(self.plan.pid).map_err(told)? > base + self.held {
            if Instant::now() > self.end {
                return Err(format!("the server keeps connections open for {:?}", self.plan.deadline));
            }
            thread::sleep(Duration::from_millis(2));
        }
        thread::sleep(SETTLE);
        Ok(())
    }

    /// Ends what is held by resets, which leave nothing in TIME_WAIT.
    fn reset_all(&mut self) {
        for conn in self.conns.drain() {
            net::reset(conn.stream);
        }
        self.held = 0;
    }
}

impl Conn {
    /// Whether the reply is whole now. An error: the connection broke, or the reply is wrong.
    fn receive(&mut self, reply: &[u8]) -> io::Result<bool> {
        let Stage::Waiting(had) = self.stage else { return Ok(false) };
        let mut scratch = [0; 4 * SIZE_BYTES];
        let count = match self.stream.read(&mut scratch) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(false);
            }
            Err(why) => return Err(why),
        };
        if reply.get(had..had + count) != Some(&scratch[..count]) {
            return Err(ErrorKind::InvalidData.into());
        }
        self.stage = Stage::Waiting(had + count);
        Ok(had + count == reply.len())
    }
}

fn json(plan: &Plan, secs: f64, spent: Sched) -> String {
    let per_conn = spent.run_ns as f64 / plan.count as f64;
    let delay_share = spent.wait_ns as f64 / (secs * 1e9);
    format!(
        "{{\"conns\":{},\"hold\":{},\"secs\":{secs:.6},\"server_cpu_ns_per_conn\":{per_conn:.1},\
         \"server_delay_share\":{delay_share:.4}}}",
        plan.count, plan.hold
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_source_comes_twice() {
        let all: HashSet<SocketAddr> = (0..100_000).map(source).collect();
        assert_eq!(all.len(), 100_000);
        assert!(all.iter().all(|one| one.ip().is_loopback() && one.port() >= 20_000));
    }

    #[test]
    fn the_kernel_tells_how_many_are_in_time_wait() {
        let (waiting, most) = time_wait().expect("proc is mounted");
        assert!(waiting <= most);
    }

    #[test]
    fn a_plan_that_makes_no_sense_is_refused() {
        let plan = |line: &str| {
            let line = format!("--addr 127.0.0.1:7 --pid 1 {line}");
            Plan::from_args(Args::from_words(line.split(' ').map(str::to_owned)))
        };
        assert!(plan("--count 10").is_ok());
        for line in
            ["--count 0", "--count 100001", "--count 9 --at-once 0", "--count 9 --expect x", "--warmup 9"]
        {
            assert!(plan(line).is_err(), "{line:?}");
        }
    }
}
