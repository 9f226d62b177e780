//! `idle`: what an idle connection costs a server in memory: opens connections to two levels, reads the server's
//! memory at each, and prints the slope as one line of JSON.
//!
//! The slope, not the total, because it leaves out what the server owns before its first connection. Kernel memory
//! isn't in it. Give the server a fresh start before each run: memory that it has freed but kept would hide growth.
//!
//! Connections say nothing; or `--echo`: have had one reply; or `--hello`: were welcomed, under an id of 16 bytes.
//! `--large`: at the higher level each then sends one frame of so many bytes and takes its echo, several at a time, so
//! that the server holds several unfinished ones. `large` says what is there more after a rest of `--rest` seconds.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use floor::args::Args;
use floor::procfs::{self, Memory};
use floor::{frame, net};

/// Connections from one source address: above half the port range (some 14,000) the kernel's search for a free port
/// becomes slow.
const PER_SOURCE: usize = 8_000;
/// The server must have accepted all within this time; connecting itself takes up to the same again.
const PATIENCE: Duration = Duration::from_secs(30);
/// From the last accept to the reading of memory.
const SETTLE: Duration = Duration::from_millis(500);

/// Connections that have sent half of a large frame at the same time.
const LARGE_AT_ONCE: usize = 32;
const ID: &[u8; 16] = b"idle-connection1";

const USAGE: &str = "usage: idle --addr A --pid SERVER [--levels 2000,18000] [--echo | --hello] \
    [--large BYTES [--rest SECS]]";

fn main() -> ExitCode {
    match run(Args::from_env()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("idle: {why}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: Args) -> Result<(), String> {
    let addr = net::loopback_only(args.required("--addr")?)?;
    let pid = args.required("--pid")?;
    let levels: String = args.option("--levels")?.unwrap_or_else(|| "2000,18000".to_owned());
    let greeting = match (args.flag("--echo"), args.flag("--hello")) {
        (false, false) => Greeting::None,
        (true, false) => Greeting::Echo,
        (false, true) => Greeting::Hello,
        (true, true) => return Err("--echo and --hello: only one of them".into()),
    };
    let large = args.option::<usize>("--large")?;
    let rest =
        Duration::try_from_secs_f64(args.option("--rest")?.unwrap_or(15.0)).map_err(|why| why.to_string())?;
    args.finish()?;
    if large.is_some_and(|bytes| !(1..=frame::PAYLOAD_BYTES_MAX).contains(&bytes)) {
        return Err(format!("--large: not in 1..={}", frame::PAYLOAD_BYTES_MAX));
    }
    let (low, high) = levels.split_once(',').ok_or("--levels takes two numbers, as in 2000,18000")?;
    let count = |text: &str| text.trim().parse::<usize>().map_err(|why| format!("--levels {text}: {why}"));
    let (low, high) = (count(low)?, count(high)?);
    let limit = net::raise_descriptor_limit().map_err(|why| why.to_string())?;
    if low >= high || high as u64 + 100 > limit {
        return Err(format!(
            "--levels {levels}: must rise, and stay 100 under the {limit} descriptors allowed here"
        ));
    }
    let mut held = Held { addr, pid, greeting, conns: Vec::new(), base: descriptors(pid)? };
    let (at_low, at_high) = (held.grow_to(low)?, held.grow_to(high)?);
    let after = large.map(|bytes| held.after_large(bytes, rest)).transpose()?;
    println!("{}", json((low, at_low), (high, at_high), after.map(|after| (after, rest))));
    Ok(())
}

/// What a connection does before it is idle.
#[derive(Clone, Copy, PartialEq)]
enum Greeting {
    None,
    Echo,
    Hello,
}

/// The connections so far; they are reset when it is dropped, so that the next run finds their ports free.
struct Held {
    addr: SocketAddr,
    pid: u32,
    greeting: Greeting,
    conns: Vec<TcpStream>,
    /// Descriptors that the server had before.
    base: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.conns.drain(..).for_each(net::reset);
    }
}

impl Held {
    /// Opens connections until there are `level`, and reads the memory of a server that has accepted them all.
    fn grow_to(&mut self, level: usize) -> Result<Memory, String> {
        let end = Instant::now() + PATIENCE;
        let request = frame::encode(1, &[0x5A; 64]);
        while self.conns.len() < level {
            let source = SocketAddr::new(source_address(self.addr.ip(), self.conns.len()), 0);
            let mut conn = net::connect(self.addr, Some(source), Duration::from_secs(5))
                .map_err(|why| format!("connection {}: {why}", self.conns.len()))?;
            conn.set_read_timeout(Some(Duration::from_secs(5))).map_err(|why| why.to_string())?;
            match self.greeting {
                Greeting::None => Ok(()),
                Greeting::Echo => echo_once(&mut conn, &request),
                Greeting::Hello => frame::say_hello(&mut conn, ID),
            }
            .map_err(|why| format!("greeting {}: {why}", self.conns.len()))?;
            self.conns.push(conn);
            if Instant::now() > end {
                return Err(format!("only {} connections in {PATIENCE:?}", self.conns.len()));
            }
        }
        let end = Instant::now() + PATIENCE;
        while descriptors(self.pid)? < self.base + level {
            if Instant::now() > end {
                let accepted = descriptors(self.pid)?.saturating_sub(self.base);
                return Err(format!(
                    "the server has accepted {accepted} of {level} connections in {PATIENCE:?}"
                ));
            }
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(SETTLE);
        self.memory()
    }

    fn memory(&self) -> Result<Memory, String> {
        Memory::of_process(self.pid).map_err(|why| format!("memory of {}: {why}", self.pid))
    }

    /// The memory after each connection has sent one frame of so many bytes, had it back, and rested.
    fn after_large(&mut self, bytes: usize, rest: Duration) -> Result<Memory, String> {
        let request = frame::encode(1, &vec![0x5A; bytes]);
        let (first, second) = request.split_at(request.len() / 2);
        for (number, several) in self.conns.chunks_mut(LARGE_AT_ONCE).enumerate() {
            let failed = |why| format!("large frames from {} on: {why}", number * LARGE_AT_ONCE);
            for conn in &mut *several {
                conn.write_all(first).map_err(failed)?;
            }
            for conn in several {
                conn.write_all(second).and_then(|()| take(conn, &request)).map_err(failed)?;
            }
        }
        thread::sleep(rest);
        self.memory()
    }
}

fn echo_once(conn: &mut TcpStream, request: &[u8]) -> std::io::Result<()> {
    conn.write_all(request)?;
    take(conn, request)
}

/// Reads what must come back.
fn take(conn: &mut TcpStream, request: &[u8]) -> std::io::Result<()> {
    let mut reply = vec![0; request.len()];
    conn.read_exact(&mut reply)?;
    if reply == request { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}

/// 127.0.0.2 and up; IPv6 has one loopback address only.
fn source_address(server: IpAddr, index: usize) -> IpAddr {
    let number = u8::try_from(2 + index / PER_SOURCE).unwrap_or(u8::MAX);
    if server.is_ipv4() { Ipv4Addr::new(127, 0, 0, number).into() } else { server }
}

fn descriptors(pid: u32) -> Result<usize, String> {
    procfs::descriptors(pid).map_err(|why| format!("descriptors of {pid}: {why}"))
}

fn json(
    (low, at_low): (usize, Memory),
    (high, at_high): (usize, Memory),
    after: Option<(Memory, Duration)>,
) -> String {
    let level = |conns: usize, at: Memory| {
        let Memory { rss, private_dirty, anonymous } = at;
        format!(
            "{{\"conns\":{conns},\"rss\":{rss},\"private_dirty\":{private_dirty},\"anonymous\":{anonymous}}}"
        )
    };
    let slope = |field: fn(Memory) -> u64| {
        (field(at_high) as f64 - field(at_low) as f64) / (high as f64 - low as f64)
    };
    let large = after.map_or("null".to_owned(), |(after, rest)| {
        let more = (after.rss as f64 - at_high.rss as f64) / high as f64;
        let (after, rest) = (level(high, after), rest.as_secs_f64());
        format!("{{\"conns\":{high},\"rest_secs\":{rest},\"after\":{after},\"bytes_per_conn\":{more:.1}}}")
    });
    format!(
        "{{\"levels\":[{},{}],\"bytes_per_conn\":{{\"rss\":{:.1},\"private_dirty\":{:.1},\"anonymous\":{:.1}}},\
         \"large\":{large}}}",
        level(low, at_low),
        level(high, at_high),
        slope(|at| at.rss),
        slope(|at| at.private_dirty),
        slope(|at| at.anonymous)
    )
}
