//! `mio ADDR`: a bare event loop on mio, one thread, connections in a slab.
//!
//! One buffer for all reads and one for all replies, so that a connection owns memory only while it has part of a frame
//! or unsent replies. Edge-triggered. Always holds: nothing more is read while replies are unsent. Never: timers,
//! limits but that on length, fairness between connections.

use std::io::{ErrorKind, Read, Result, Write};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);
const SCRATCH_BYTES: usize = 256 << 10;

struct Conn {
    stream: TcpStream,
    /// The part of a frame that has come.
    partial: Vec<u8>,
    unsent: Vec<u8>,
}

struct Shared {
    scratch: Vec<u8>,
    replies: Vec<u8>,
}

/// Whether the connection goes on.
fn on_event(conn: &mut Conn, event: &Event, shared: &mut Shared) -> Result<bool> {
    if !flush(conn)? {
        return Ok(true);
    }
    loop {
        let count = match conn.stream.read(&mut shared.scratch) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(why) if why.kind() == ErrorKind::Interrupted => continue,
            Err(why) => return Err(why),
        };
        let arrived = &shared.scratch[..count];
        shared.replies.clear();
        if conn.partial.is_empty() {
            let used = answer_all(arrived, &mut shared.replies)?;
            conn.partial.extend_from_slice(&arrived[used..]);
        } else {
            conn.partial.extend_from_slice(arrived);
            let used = answer_all(&conn.partial, &mut shared.replies)?;
            if used > 0 {
                conn.partial = conn.partial.split_off(used);
            }
        }
        let sent = write(&mut conn.stream, &shared.replies)?;
        if sent < shared.replies.len() {
            conn.unsent = shared.replies[sent..].to_vec();
            return Ok(true);
        }
        // A short read has emptied the socket, see epoll(7), unless the end of the stream lies behind it.
        if count < shared.scratch.len() && !event.is_read_closed() {
            return Ok(true);
        }
    }
}

/// Answers the whole frames of `input`, and says how many bytes they were.
fn answer_all(input: &[u8], replies: &mut Vec<u8>) -> Result<usize> {
    let mut used = 0;
    while let Some(bytes) = peers::frame_bytes(&input[used..])? {
        let Some(frame) = input[used..].get(..bytes) else { break };
        peers::answer(frame, replies)?;
        used += bytes;
    }
    Ok(used)
}

/// Whether nothing is unsent any more.
fn flush(conn: &mut Conn) -> Result<bool> {
    let sent = write(&mut conn.stream, &conn.unsent)?;
    conn.unsent = conn.unsent.split_off(sent);
    Ok(conn.unsent.is_empty())
}

/// How much the kernel took.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> Result<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    loop {
        match stream.write(bytes) {
            Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn accept_all(listener: &TcpListener, poll: &Poll, conns: &mut Slab<Conn>) -> Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(why) => return Err(why),
        };
        stream.set_nodelay(true)?;
        let entry = conns.vacant_entry();
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(entry.key()), interest)?;
        entry.insert(Conn { stream, partial: Vec::new(), unsent: Vec::new() });
    }
}

fn main() -> Result<()> {
    let address = peers::address()?.parse().map_err(std::io::Error::other)?;
    let mut listener = TcpListener::bind(address)?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut conns: Slab<Conn> = Slab::new();
    let mut shared = Shared { scratch: vec![0; SCRATCH_BYTES], replies: Vec::with_capacity(SCRATCH_BYTES) };
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                accept_all(&listener, &poll, &mut conns)?;
            } else if let Some(conn) = conns.get_mut(event.token().0)
                && !on_event(conn, event, &mut shared).unwrap_or(false)
            {
                conns.remove(event.token().0);
            }
        }
    }
}
