//! `spread ADDR`: a bare fan-out, the floor for publishing: whatever one connection sends, every subscriber gets, by one
//! `write` each of the same bytes.
//!
//! A connection whose first frame is HELLO is a subscriber and gets WELCOME. Any other frame is a publication: its body
//! becomes a MESSAGE on the topic `all`, made once, its CRC too, and written to every subscriber in turn; then the
//! publisher gets an empty reply. So a server with topics sends the same bytes to the same sockets.
//!
//! Never: queues, limits, several loops. A frame must arrive in one piece and a subscriber's socket must take a message
//! whole; else the connection is closed, which the generator reports.

use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::process::ExitCode;

use floor::args::Args;
use floor::serve::{self, Gone};
use floor::{frame, net};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);
const SCRATCH_BYTES: usize = 256 << 10;
/// Version 1, no flags, 1 MiB, no heartbeat, and both ids `s`.
const WELCOME: [u8; 14] = [1, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 1, b's', 1, b's'];

fn main() -> ExitCode {
    match run(Args::from_env()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("spread: {why}\nusage: spread ADDR");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: Args) -> Result<(), String> {
    let addr = net::loopback_only(args.word("ADDR")?)?;
    args.finish()?;
    serve(addr).map_err(|why| format!("{addr}: {why}"))
}

struct Conn {
    stream: TcpStream,
    subscribed: bool,
}

/// Serves until it is killed.
fn serve(addr: SocketAddr) -> io::Result<()> {
    net::raise_descriptor_limit()?;
    let (mut listener, mut poll) = (net::listen(addr, false)?, Poll::new()?);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let (mut conns, mut scratch) = (Slab::new(), vec![0; SCRATCH_BYTES]);
    loop {
        match poll.poll(&mut events, None) {
            Err(why) if why.kind() != ErrorKind::Interrupted => return Err(why),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(&poll, &listener, &mut conns)?;
            } else if event.is_readable() && on_readable(&mut conns, event.token().0, &mut scratch).is_err() {
                conns.try_remove(event.token().0);
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
                poll.registry().register(&mut stream, Token(entry.key()), Interest::READABLE)?;
                entry.insert(Conn { stream, subscribed: false });
            }
            Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(why) if matches!(why.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
            Err(why) => return Err(why),
        }
    }
}

fn on_readable(conns: &mut Slab<Conn>, index: usize, scratch: &mut [u8]) -> Result<(), Gone> {
    loop {
        let Some(conn) = conns.get_mut(index) else { return Ok(()) };
        let Some(count) = serve::read(|| conn.stream.read(scratch))? else { return Ok(()) };
        let mut rest = &scratch[..count];
        while !rest.is_empty() {
            let (header, payload, behind) = frame::split(rest).ok_or(Gone)?;
            rest = behind;
            if header == frame::HELLO {
                let conn = conns.get_mut(index).ok_or(Gone)?;
                conn.subscribed = true;
                write_whole(conn, &frame::encode(frame::WELCOME, &WELCOME))?;
            } else {
                publish(conns, &frame::message(payload));
                write_whole(conns.get_mut(index).ok_or(Gone)?, &frame::encode(header, b""))?;
            }
        }
        if count < scratch.len() {
            return Ok(()); // the socket is empty, see epoll(7); who ends has said nothing for long, and so is told of apart
        }
    }
}

fn publish(conns: &mut Slab<Conn>, message: &[u8]) {
    conns.retain(|_, conn| !conn.subscribed || write_whole(conn, message).is_ok());
}

fn write_whole(conn: &mut Conn, bytes: &[u8]) -> Result<(), Gone> {
    if serve::write(&mut conn.stream, bytes)? < bytes.len() { Err(Gone) } else { Ok(()) }
}
