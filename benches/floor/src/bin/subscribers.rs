//! `subscribers`: what a delivery costs a server in CPU time: one publisher, many subscribers, and the next publication
//! as soon as all have got the one before and the publisher its reply.
//!
//! Subscribers say HELLO and are welcomed; then whatever the publisher sends to route 5 must come to each as a MESSAGE on
//! the topic `all`. Every message is compared byte for byte, and the bodies differ, so one that is missing, doubled or
//! late is seen. One thread that never sleeps. Always ends, after `--deadline` seconds at the latest. Prints one line of
//! JSON.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use floor::args::Args;
use floor::procfs::Sched;
use floor::{frame, net};
use mio::{Events, Interest, Poll, Token};

const ROUTE: u16 = 5;
const SUBSCRIBERS_MAX: usize = 10_000;
const BODY_BYTES_MAX: usize = 16 << 10;
const PATIENCE: Duration = Duration::from_secs(5);

const USAGE: &str = "usage: subscribers --addr A --pid SERVER --count SUBSCRIBERS --size BYTES --time SECS \
    [--warmup SECS] [--deadline SECS]";

fn main() -> ExitCode {
    match run(Args::from_env()) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("subscribers: {why}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: Args) -> Result<String, String> {
    let addr = net::loopback_only(args.required("--addr")?)?;
    let pid = args.required("--pid")?;
    let count = within("--count", args.required("--count")?, SUBSCRIBERS_MAX)?;
    let size = within("--size", args.required("--size")?, BODY_BYTES_MAX)?;
    let time = seconds(args.required("--time")?)?;
    let warmup = seconds(args.option("--warmup")?.unwrap_or(0.1))?;
    let deadline = seconds(args.option("--deadline")?.unwrap_or(30.0))?;
    args.finish()?;
    net::raise_descriptor_limit().map_err(told)?;
    let mut audience = Audience::new(addr, count, size, Instant::now() + deadline).map_err(told)?;
    audience.publish_for(warmup)?;
    let (began, before) = (Instant::now(), Sched::of_process(pid).map_err(told)?);
    let published = audience.publish_for(time)?;
    let spent = Sched::of_process(pid).map_err(told)?.since(before);
    let secs = began.elapsed().as_secs_f64();
    let deliveries = published * count as u64;
    Ok(format!(
        "{{\"published\":{published},\"deliveries\":{deliveries},\"secs\":{secs:.6},\
         \"server_cpu_ns_per_delivery\":{:.2},\"server_delay_share\":{:.4}}}",
        spent.run_ns as f64 / deliveries as f64,
        spent.wait_ns as f64 / (secs * 1e9)
    ))
}

fn within(what: &str, value: usize, max: usize) -> Result<usize, String> {
    if (1..=max).contains(&value) { Ok(value) } else { Err(format!("{what} {value}: not in 1..={max}")) }
}

fn seconds(value: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(value).map_err(|why| format!("{value} s: {why}"))
}

fn told(why: io::Error) -> String {
    why.to_string()
}

/// The subscribers, and behind them the publisher.
struct Audience {
    poll: Poll,
    conns: Vec<Conn>,
    size: usize,
    published: u64,
    end: Instant,
}

struct Conn {
    stream: mio::net::TcpStream,
    /// Bytes of what is due that are there.
    received: usize,
}

impl Audience {
    /// Connects all, one after the other; each is welcomed before the next comes.
    fn new(addr: SocketAddr, count: usize, size: usize, end: Instant) -> io::Result<Audience> {
        let poll = Poll::new()?;
        let mut conns = Vec::with_capacity(count + 1);
        for index in 0..=count {
            let mut stream = net::connect(addr, None, PATIENCE)?;
            if index < count {
                stream.set_read_timeout(Some(PATIENCE))?;
                frame::say_hello(&mut stream, b"")?;
            }
            conns.push(Conn { stream: watched(&poll, stream, index)?, received: 0 });
        }
        Ok(Audience { poll, conns, size, published: 0, end })
    }

    /// How many were published, each when the one before had reached everybody.
    fn publish_for(&mut self, time: Duration) -> Result<u64, String> {
        let (began, first) = (Instant::now(), self.published);
        while began.elapsed() < time {
            self.publish().map_err(|why| format!("publication {}: {why}", self.published))?;
            self.published += 1;
        }
        Ok(self.published - first)
    }

    fn publish(&mut self) -> io::Result<()> {
        let body: Vec<u8> = (0..self.size).map(|at| (self.published as usize + at * 31) as u8).collect();
        let (message, reply) = (frame::message(&body), frame::encode(ROUTE, b""));
        let publisher = self.conns.len() - 1;
        let request = frame::encode(ROUTE, &body);
        if self.conns[publisher].stream.write(&request)? < request.len() {
            return Err(ErrorKind::WriteZero.into()); // an empty socket takes more than that
        }
        let mut events = Events::with_capacity(1024);
        let mut missing = self.conns.len();
        self.conns.iter_mut().for_each(|conn| conn.received = 0);
        while missing > 0 {
            if Instant::now() > self.end {
                let said = format!("{missing} connections still wait for it");
                return Err(io::Error::new(ErrorKind::TimedOut, said));
            }
            match self.poll.poll(&mut events, Some(Duration::ZERO)) {
                Err(why) if why.kind() != ErrorKind::Interrupted => return Err(why),
                _ => {}
            }
            for event in &events {
                let index = event.token().0;
                let due = if index == publisher { &reply } else { &message };
                missing -= usize::from(self.conns[index].receive(due)?);
            }
        }
        Ok(())
    }
}

fn watched(poll: &Poll, stream: TcpStream, index: usize) -> io::Result<mio::net::TcpStream> {
    stream.set_nonblocking(true)?;
    let mut stream = mio::net::TcpStream::from_std(stream);
    poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
    Ok(stream)
}

impl Conn {
    /// Whether all of `due` is there now, and was not before. An error: the connection broke, or got something else.
    fn receive(&mut self, due: &[u8]) -> io::Result<bool> {
        let mut scratch = [0; 4096];
        let had = self.received;
        loop {
            let count = match self.stream.read(&mut scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(why) if why.kind() == ErrorKind::WouldBlock => break,
                Err(why) if why.kind() == ErrorKind::Interrupted => continue,
                Err(why) => return Err(why),
            };
            if due.get(self.received..self.received + count) != Some(&scratch[..count]) {
                return Err(ErrorKind::InvalidData.into());
            }
            self.received += count;
            if count < scratch.len() {
                break;
            }
        }
        Ok(had < due.len() && self.received == due.len())
    }
}
