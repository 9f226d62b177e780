//! `raw ADDR`: a bare epoll byte echo, the floor of this kernel: what one loop with one `read` and one `write` a batch
//! costs when it looks at nothing. No framing, no limits, no fairness between connections.
//!
//! One loop, edge-triggered, one scratch buffer for all connections. A connection owns memory only while it has
//! bytes that its peer didn't take; until they are gone nothing more is read from it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use floor::args::Args;
use floor::net;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

const SCRATCH_BYTES: usize = 256 << 10;
const LISTENER: Token = Token(usize::MAX);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("raw: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut args = Args::from_env();
    let addr: SocketAddr = args.word("ADDR")?;
    args.finish()?;
    serve(net::loopback_only(addr)?).map_err(|why| why.to_string())
}

struct Conn {
    stream: TcpStream,
    unsent: Option<Box<Unsent>>,
}

struct Unsent {
    bytes: Vec<u8>,
    sent: usize,
}

/// The connection is over: closed by its peer, or failed.
struct Gone;

fn serve(addr: SocketAddr) -> io::Result<()> {
    net::raise_descriptor_limit()?;
    let mut poll = Poll::new()?;
    let mut listener = net::listen(addr)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut conns: Slab<Conn> = Slab::new();
    let mut scratch = vec![0; SCRATCH_BYTES];
    loop {
        match poll.poll(&mut events, None) {
            Err(why) if why.kind() != ErrorKind::Interrupted => return Err(why),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(&poll, &listener, &mut conns)?;
            } else if let Some(conn) = conns.get_mut(event.token().0)
                && on_event(conn, event, &mut scratch).is_err()
            {
                conns.remove(event.token().0);
            }
        }
    }
}

fn accept(poll: &Poll, listener: &TcpListener, conns: &mut Slab<Conn>) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_nodelay(true)?;
                let entry = conns.vacant_entry();
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry().register(&mut stream, Token(entry.key()), interest)?;
                entry.insert(Conn { stream, unsent: None });
            }
            Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(why) if matches!(why.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
            Err(why) => return Err(why),
        }
    }
}

fn on_event(conn: &mut Conn, event: &Event, scratch: &mut [u8]) -> Result<(), Gone> {
    if conn.unsent.is_some() {
        flush(conn)?;
    } else if !event.is_readable() {
        return Ok(());
    }
    while conn.unsent.is_none() {
        let count = match conn.stream.read(scratch) {
            Ok(0) => return Err(Gone),
            Ok(count) => count,
            Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(why) if why.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return Err(Gone),
        };
        let sent = write(&mut conn.stream, &scratch[..count])?;
        if sent < count {
            conn.unsent = Some(Box::new(Unsent { bytes: scratch[sent..count].to_vec(), sent: 0 }));
        }
        // A short read has emptied the socket, see epoll(7), unless the end of the stream lies behind it.
        if count < scratch.len() && !event.is_read_closed() {
            return Ok(());
        }
    }
    Ok(())
}

fn flush(conn: &mut Conn) -> Result<(), Gone> {
    if let Some(unsent) = &mut conn.unsent {
        unsent.sent += write(&mut conn.stream, &unsent.bytes[unsent.sent..])?;
        if unsent.sent == unsent.bytes.len() {
            conn.unsent = None;
        }
    }
    Ok(())
}

/// How much the kernel took; edge-triggered, so after a short write a writable event follows.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> Result<usize, Gone> {
    loop {
        match stream.write(bytes) {
            Ok(count) => return Ok(count),
            Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(Gone),
        }
    }
}
