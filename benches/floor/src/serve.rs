//! What `raw` and `framed` have in common: epoll loops that accept, and reads and writes that never block.
//!
//! ```text
//!  PROGRAM ADDR --loops N --cpus 0,1
//!
//!  port --SO_REUSEPORT--+-- thread 0: listener, epoll, connections, Serve
//!                       `-- thread 1: listener, epoll, connections, Serve
//! ```
//!
//! Edge-triggered. Loops share nothing but the port: with two or more the kernel deals the connections by a hash of
//! their addresses, so evenly only if there are many. One loop runs in the process's only thread.
//!
//! Never: limits, timers, fairness between connections, handing a connection to another loop.

use std::convert::Infallible;
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustix::thread::{CpuSet, sched_setaffinity};
use slab::Slab;

use crate::args::{Args, List};
use crate::net;

const LISTENER: Token = Token(usize::MAX);
const LOOPS_MAX: usize = 64;

/// What one loop does with the bytes of its connections.
pub trait Serve {
    /// What a connection couldn't finish in one turn.
    type Kept;

    /// Its socket became readable or writable.
    fn on_event(&mut self, conn: &mut Conn<Self::Kept>, event: &Event) -> Result<(), Gone>;
}

/// A connection; it owns memory only while it has something unfinished.
#[derive(Debug)]
pub struct Conn<K> {
    /// Its socket.
    pub stream: TcpStream,
    /// Bytes that its peer didn't take yet, and the like.
    pub kept: Option<Box<K>>,
}

/// The connection is over: closed by its peer, failed, or not speaking the protocol.
#[derive(Debug, PartialEq)]
pub struct Gone;

/// The whole program: reads the command line and serves until it is killed, with one `make()` a loop.
pub fn main<S: Serve + 'static>(name: &'static str, make: fn() -> S) -> ExitCode {
    let Err(why) = run(name, Args::from_env(), make);
    eprintln!("{name}: {why}\nusage: {name} ADDR [--loops N] [--cpus A,B,..]");
    ExitCode::FAILURE
}

fn run<S: Serve + 'static>(
    name: &'static str,
    mut args: Args,
    make: fn() -> S,
) -> Result<Infallible, String> {
    let loops = args.option("--loops")?.unwrap_or(1);
    let List(cpus) = args.option("--cpus")?.unwrap_or_default();
    let addr = net::loopback_only(args.word("ADDR")?)?;
    args.finish()?;
    if !(1..=LOOPS_MAX).contains(&loops) {
        return Err(format!("--loops {loops}: not in 1..={LOOPS_MAX}"));
    }
    if let Some(cpu) = cpus.iter().find(|cpu| **cpu >= CpuSet::MAX_CPU) {
        return Err(format!("--cpus: no CPU {cpu}"));
    }
    net::raise_descriptor_limit().map_err(|why| why.to_string())?;
    let listeners = listen(addr, loops).map_err(|why| format!("{addr}: {why}"))?;
    let cpu_of = |index: usize| (!cpus.is_empty()).then(|| cpus[index % cpus.len()]);
    let mut numbered = listeners.into_iter().enumerate();
    let first = numbered.next();
    for (index, listener) in numbered {
        let cpu = cpu_of(index);
        thread::spawn(move || {
            let Err(why) = serve(listener, cpu, make());
            eprintln!("{name}: loop {index}: {why}");
            std::process::exit(1);
        });
    }
    let (_, listener) = first.ok_or("no loop")?;
    serve(listener, cpu_of(0), make()).map_err(|why| why.to_string())
}

/// A listener for each loop. All are there before the first connection is, so that each gets its share.
fn listen(addr: SocketAddr, loops: usize) -> io::Result<Vec<TcpListener>> {
    (0..loops).map(|_| net::listen(addr, loops > 1)).collect()
}

/// One loop, on the CPU `cpu` if there is one. It only ends with an error.
fn serve<S: Serve>(mut listener: TcpListener, cpu: Option<usize>, mut server: S) -> io::Result<Infallible> {
    if let Some(cpu) = cpu {
        let mut set = CpuSet::new();
        set.set(cpu);
        sched_setaffinity(None, &set)?;
    }
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut conns: Slab<Conn<S::Kept>> = Slab::new();
    loop {
        match poll.poll(&mut events, None) {
            Err(why) if why.kind() != ErrorKind::Interrupted => return Err(why),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(&poll, &listener, &mut conns)?;
            } else if let Some(conn) = conns.get_mut(event.token().0)
                && server.on_event(conn, event).is_err()
            {
                conns.remove(event.token().0);
            }
        }
    }
}

fn accept<K>(poll: &Poll, listener: &TcpListener, conns: &mut Slab<Conn<K>>) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_nodelay(true)?;
                let entry = conns.vacant_entry();
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry().register(&mut stream, Token(entry.key()), interest)?;
                entry.insert(Conn { stream, kept: None });
            }
            Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(why) if matches!(why.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
            Err(why) => return Err(why),
        }
    }
}

/// How much `read` got; `None`: the socket is empty.
#[inline]
pub fn read(mut read: impl FnMut() -> io::Result<usize>) -> Result<Option<usize>, Gone> {
    loop {
        match read() {
            Ok(0) => return Err(Gone),
            Ok(count) => return Ok(Some(count)),
            Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(Gone),
        }
    }
}

/// How much the kernel took; edge-triggered, so after a short write a writable event follows.
#[inline]
pub fn write(stream: &mut TcpStream, bytes: &[u8]) -> Result<usize, Gone> {
    if bytes.is_empty() {
        return Ok(0);
    }
    loop {
        match stream.write(bytes) {
            Ok(count) => return Ok(count),
            Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(Gone),
        }
    }
}
