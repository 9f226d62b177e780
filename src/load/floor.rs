//! The floor: a bare byte echo in one thread. What it costs, the kernel costs; what a server costs more is its own.
//!
//! ```text
//!  readable --> read into the scratch --> write the same bytes --taken--> read again, or wait
//!                                            `--not all--> keep the rest, read no more until it is gone
//! ```
//!
//! Always holds: one read and one write for what has arrived; a connection owns memory only for what its peer did not
//! take, at most the scratch. Never: frames, checksums, limits, timers, metrics. It must stay the least that answers.

use crate::net::{self, Endpoint, ListenOptions, Listener, Stream, Taken};
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd};

/// One buffer for all connections, in bytes, and the most that one read takes. As the server's.
const SCRATCH_BYTES: usize = crate::base::limits::SCRATCH_BYTES;

/// Full reads of one connection in one turn; then the others have theirs.
const READS_MAX: u32 = 16;

/// Events of one look at the sockets.
const EVENTS: usize = 1024;

const LISTENER: Token = Token(usize::MAX);
const LEASH: Token = Token(usize::MAX - 1);

/// The echo, listening.
#[derive(Debug)]
pub struct Floor {
    poll: Poll,
    listener: Listener,
    address: Endpoint,
    connections: Slab<Connection>,
    scratch: Box<[u8]>,
}

#[derive(Debug)]
struct Connection {
    stream: Stream,
    unsent: Option<Box<Unsent>>,
}

/// What a peer did not take.
#[derive(Debug)]
struct Unsent {
    bytes: Vec<u8>,
    sent: usize,
}

/// The connection is over: closed by its peer, or failed.
struct Gone;

impl Floor {
    /// Listens at `HOST:PORT` (port 0: any that is free) or `unix:PATH`.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if `address` is neither. Otherwise as listen(2).
    pub fn bind(address: &str) -> io::Result<Floor> {
        let invalid = |why| io::Error::new(ErrorKind::InvalidInput, why);
        let mut endpoint = Endpoint::parse(address).map_err(invalid)?;
        let options =
            ListenOptions { socket_buffer_bytes: None, keepalive: None, ..ListenOptions::default() };
        let mut listener = net::listen(&endpoint, &options)?;
        if let Some(ip) = listener.ip()? {
            endpoint = Endpoint::Ip(ip);
        }
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let scratch = vec![0; SCRATCH_BYTES].into_boxed_slice();
        Ok(Floor { poll, listener, address: endpoint, connections: Slab::new(), scratch })
    }

    /// Where it listens, with the port that it has.
    pub const fn address(&self) -> &Endpoint {
        &self.address
    }

    /// Echoes until the other end of `leash` is closed: a pipe, a socket or a terminal. What comes from there is not
    /// read. It is watched by the poll, not by a second thread, with which every system call would cost more (glibc).
    ///
    /// # Errors
    ///
    /// [`PermissionDenied`](ErrorKind::PermissionDenied) if `leash` is a file. Otherwise if polling or accepting
    /// fails, as for want of descriptors.
    pub fn run(mut self, leash: impl AsFd) -> io::Result<()> {
        let leash = leash.as_fd().as_raw_fd();
        self.poll.registry().register(&mut SourceFd(&leash), LEASH, Interest::READABLE)?;
        let mut events = Events::with_capacity(EVENTS);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                Err(_) => continue,
                Ok(()) => {}
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    LEASH if event.is_read_closed() => return Ok(()),
                    LEASH => {}
                    _connection => self.visit(event)?,
                }
            }
        }
    }

    /// Bounded by the listener's queue, as fast as peers can fill it.
    fn accept(&mut self) -> io::Result<()> {
        loop {
            match net::take(&self.listener) {
                Taken::Stream(mut stream, _) => {
                    let entry = self.connections.vacant_entry();
                    let both = Interest::READABLE | Interest::WRITABLE;
                    self.poll.registry().register(&mut stream, Token(entry.key()), both)?;
                    entry.insert(Connection { stream, unsent: None });
                }
                Taken::Aborted => {}
                Taken::Nothing => return Ok(()),
                Taken::Exhausted(error) | Taken::Failed(error) => return Err(error),
            }
        }
    }

    fn visit(&mut self, event: &Event) -> io::Result<()> {
        let token = event.token();
        let Some(connection) = self.connections.get_mut(token.0) else { return Ok(()) };
        match connection.echo(event, &mut self.scratch) {
            Ok(true) => Ok(()),
            // The poll tells changes alone: registered anew, it tells the rest as one.
            Ok(false) => {
                let both = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().reregister(&mut connection.stream, token, both)
            }
            Err(Gone) => {
                self.connections.remove(token.0);
                Ok(())
            }
        }
    }
}

impl Connection {
    /// False if there may be more than was read.
    fn echo(&mut self, event: &Event, scratch: &mut [u8]) -> Result<bool, Gone> {
        if self.unsent.is_some() {
            self.flush()?;
        } else if !event.is_readable() && !event.is_error() {
            return Ok(true);
        }
        for _ in 0..READS_MAX {
            if self.unsent.is_some() {
                return Ok(true);
            }
            let Some(count) = self.read(scratch)? else { return Ok(true) };
            let arrived = &scratch[..count];
            let sent = self.write(arrived)?;
            if sent < count {
                self.unsent = Some(Box::new(Unsent { bytes: arrived[sent..].to_vec(), sent: 0 }));
            }
            // A short read has emptied the socket, see epoll(7), unless the end of the stream lies behind it.
            if count < scratch.len() && !event.is_read_closed() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn flush(&mut self) -> Result<(), Gone> {
        let Some(mut unsent) = self.unsent.take() else { return Ok(()) };
        unsent.sent += self.write(&unsent.bytes[unsent.sent..])?;
        if unsent.sent < unsent.bytes.len() {
            self.unsent = Some(unsent);
        }
        Ok(())
    }

    /// `None`: nothing has arrived.
    fn read(&self, into: &mut [u8]) -> Result<Option<usize>, Gone> {
        match net::read(&self.stream, &mut [IoSliceMut::new(into)]) {
            Ok(0) => Err(Gone),
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(_) => Err(Gone),
        }
    }

    /// How much was taken. After less than all, it is told when there is room.
    fn write(&self, bytes: &[u8]) -> Result<usize, Gone> {
        match net::write(&self.stream, &[IoSlice::new(bytes)]) {
            Ok(sent) => Ok(sent),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(_) => Err(Gone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream};
    use std::time::{Duration, Instant};

    /// Runs the echo beside `with`.
    fn beside(address: &str, with: impl FnOnce(&Endpoint)) {
        let floor = Floor::bind(address).unwrap();
        let at = floor.address().clone();
        let (leash, held) = std::io::pipe().unwrap();
        std::thread::scope(|scope| {
            let echo = scope.spawn(move || floor.run(leash));
            // Dropped by a panic, too.
            let held = held;
            with(&at);
            drop(held);
            echo.join().unwrap().unwrap();
        });
    }

    fn connect(to: &Endpoint) -> TcpStream {
        let stream = TcpStream::connect(to.ip().unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    }

    #[test]
    fn bytes_come_back_whatever_is_sent() {
        beside("127.0.0.1:0", |at| {
            let mut streams: Vec<_> = (0..5).map(|_| connect(at)).collect();
            for (nth, stream) in (0u8..).zip(&mut streams) {
                stream.write_all(&[nth; 100]).unwrap();
            }
            for (nth, stream) in (0u8..).zip(&mut streams) {
                let mut back = [9; 100];
                stream.read_exact(&mut back).unwrap();
                assert_eq!(back, [nth; 100]);
                stream.shutdown(Shutdown::Write).unwrap();
                assert_eq!(stream.read(&mut back).unwrap(), 0, "closed in order");
            }
        });
    }

    /// More than all buffers hold, and nothing is read until the end: what is kept must come in order afterwards.
    #[test]
    fn a_peer_that_does_not_read_is_waited_for() {
        beside("127.0.0.1:0", |at| {
            let mut stream = connect(at);
            stream.set_nonblocking(true).unwrap();
            let pattern: Vec<u8> = (0..=250).collect();
            let (mut sent, mut refused_since) = (0usize, None::<Instant>);
            // Until the kernel has refused for 200 ms: the echo has stopped reading.
            while refused_since.is_none_or(|since| since.elapsed() < Duration::from_millis(200)) {
                match stream.write(&pattern[sent % pattern.len()..]) {
                    Ok(count) => (sent, refused_since) = (sent + count, None),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                        refused_since = refused_since.or(Some(Instant::now()));
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
                assert!(sent < 1 << 30, "it reads on without end");
            }
            stream.set_nonblocking(false).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut back = Vec::new();
            stream.read_to_end(&mut back).unwrap();
            assert_eq!(back.len(), sent);
            assert!(back.iter().zip(pattern.iter().cycle()).all(|(got, want)| got == want));
        });
    }

    #[test]
    fn paths_are_listened_at_and_nonsense_is_not() {
        let path = std::env::temp_dir().join(format!("tidegate-{}-floor", std::process::id()));
        beside(&format!("unix:{}", path.display()), |at| {
            let mut stream = std::os::unix::net::UnixStream::connect(at.path().unwrap()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            stream.write_all(b"tide").unwrap();
            let mut back = [0; 4];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(&back, b"tide");
        });
        let floor = Floor::bind("127.0.0.1:0").unwrap();
        let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        if cfg!(target_os = "linux") {
            assert_eq!(floor.run(file).unwrap_err().kind(), ErrorKind::PermissionDenied);
        }
        assert_eq!(Floor::bind("nowhere").unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
