//! A blocking client that builds and checks every byte by hand, as docs/PROTOCOL.md tells it.

use super::PATIENCE;
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::JoinHandle;

pub const ACK: u16 = 0;
pub const ECHO: u16 = 1;
pub const DISCARD: u16 = 2;
pub const FLIP: u16 = 3;
pub const PING: u16 = 0x4000;
pub const PONG: u16 = 0x4001;
pub const ERROR: u16 = 0x4004;
pub const GOAWAY: u16 = 0x4005;
pub const EXT: u16 = 0x8000;

pub const PROTOCOL: u16 = 1;
pub const NO_ROUTE: u16 = 4;
pub const OVERLOADED: u16 = 5;
pub const DRAINING: u16 = 9;
pub const INTERNAL: u16 = 10;
pub const IDLE: u16 = 13;
pub const TOO_LARGE: u16 = 14;
pub const UNSUPPORTED: u16 = 15;

/// What `ack` says.
pub const RECEIVED: &[u8] = "已接收".as_bytes();

/// A whole frame.
pub fn frame(header: u16, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a payload of 32 bits");
    let mut out = Vec::with_capacity(payload.len() + 10);
    out.extend_from_slice(&header.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(payload);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

/// An address where nobody listens, for as long as the socket is kept: a port that was only free may be taken.
pub fn nobody() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    let address = socket.local_addr().expect("it is bound").as_socket().expect("TCP");
    (socket, address)
}

/// A frame that came, its checksum verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    pub header: u16,
    pub payload: Vec<u8>,
}

impl Got {
    /// The status of an ERROR or GOAWAY.
    #[track_caller]
    pub fn status(&self) -> u16 {
        assert!([ERROR, GOAWAY].contains(&self.header), "{self:?} has no status");
        u16::from_be_bytes([self.payload[0], self.payload[1]])
    }

    /// The text of an ERROR or GOAWAY.
    #[track_caller]
    pub fn text(&self) -> &str {
        let fixed = if self.header == GOAWAY { 6 } else { 2 };
        std::str::from_utf8(&self.payload[fixed..]).expect("texts are UTF-8")
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
    read: usize,
}

/// Bytes on their way from another thread.
#[derive(Debug)]
pub struct Sending(JoinHandle<std::io::Result<()>>);

impl Sending {
    /// All of them must have been taken.
    #[track_caller]
    pub fn done(self) {
        self.0.join().expect("no panic").expect("all was sent");
    }

    /// However it ended: the connection may be gone.
    pub fn over(self) {
        let _ = self.0.join().expect("no panic");
    }
}

impl Client {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Client {
        Client::over(TcpStream::connect_timeout(&address, PATIENCE).expect("the server listens"))
    }

    /// A client at another address of loopback.
    #[track_caller]
    pub fn connect_from(own: [u8; 4], address: SocketAddr) -> Client {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((own, 0)).into()).expect("an address of loopback");
        socket.connect_timeout(&address.into(), PATIENCE).expect("the server listens");
        Client::over(socket.into())
    }

    /// A client whose kernel takes little that it does not read.
    #[track_caller]
    pub fn connect_narrow(address: SocketAddr, receive_bytes: usize) -> Client {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        // Before connecting: the window is announced then.
        socket.set_recv_buffer_size(receive_bytes).expect("a receive buffer");
        socket.connect_timeout(&address.into(), PATIENCE).expect("the server listens");
        Client::over(socket.into())
    }

    /// A client of a server that listens at a path. The descriptor is held as TCP's: what is done with it here is the
    /// same for both.
    #[track_caller]
    pub fn connect_unix(path: &Path) -> Client {
        let stream = UnixStream::connect(path).expect("the server listens");
        Client::with_patience(OwnedFd::from(stream).into())
    }

    /// Either end of a connection: a test that plays a server reads and writes the same frames.
    pub fn over(stream: TcpStream) -> Client {
        stream.set_nodelay(true).expect("an option of a fresh socket");
        Client::with_patience(stream)
    }

    fn with_patience(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).expect("an option of a fresh socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("an option of a fresh socket");
        Client { stream, buffer: Vec::new(), read: 0 }
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes what is sent");
    }

    #[track_caller]
    pub fn request(&mut self, header: u16, payload: &[u8]) {
        self.send(&frame(header, payload));
    }

    /// Sends from a thread of its own, for streams so long that replies must be read meanwhile; then maybe ends this
    /// side's stream.
    pub fn send_beside(&self, bytes: Vec<u8>, then_finish: bool) -> Sending {
        let mut writer = self.stream.try_clone().expect("a second descriptor");
        Sending(std::thread::spawn(move || {
            writer.write_all(&bytes)?;
            if then_finish { writer.shutdown(Shutdown::Write) } else { Ok(()) }
        }))
    }

    /// Ends this side's stream; replies still come.
    pub fn finish_sending(&self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection is up");
    }

    /// At least `bytes` bytes in the buffer, or false at the end of the stream. A reset fails the test.
    #[track_caller]
    fn fill(&mut self, bytes: usize) -> bool {
        if self.read == self.buffer.len() {
            (self.read, self.buffer) = (0, std::mem::take(&mut self.buffer));
            self.buffer.clear();
        }
        let mut chunk = [0; 32 << 10];
        while self.buffer.len() - self.read < bytes {
            match self.stream.read(&mut chunk) {
                Ok(0) => return false,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("reading failed: {error}"),
            }
        }
        true
    }

    #[track_caller]
    fn take(&mut self, bytes: usize) -> Vec<u8> {
        let taken = self.buffer[self.read..self.read + bytes].to_vec();
        self.read += bytes;
        taken
    }

    /// The next frame, or `None` at a clean end of the stream.
    #[track_caller]
    pub fn next_frame(&mut self) -> Option<Got> {
        if !self.fill(6) {
            let rest = &self.buffer[self.read..];
            assert!(rest.is_empty(), "the stream ends inside a frame: {rest:?}");
            return None;
        }
        let head: [u8; 6] = self.buffer[self.read..self.read + 6].try_into().expect("six bytes");
        let header = u16::from_be_bytes([head[0], head[1]]);
        let length = u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize;
        assert!(self.fill(length + 10), "the stream ends inside a frame of {length} bytes");
        let whole = self.take(length + 10);
        let (body, crc) = whole.split_at(length + 6);
        assert_eq!(crc32fast::hash(body).to_be_bytes(), crc, "the server's checksum");
        Some(Got { header, payload: body[6..].to_vec() })
    }

    /// The next frame; the end of the stream fails the test.
    #[track_caller]
    pub fn receive(&mut self) -> Got {
        self.next_frame().expect("a frame, not the end of the stream")
    }

    /// The next frame must be this.
    #[track_caller]
    pub fn expect(&mut self, header: u16, payload: &[u8]) {
        let got = self.receive();
        assert_eq!(got.header, header, "{:?}", got.payload);
        assert!(
            got.payload == payload,
            "a payload of {} bytes came that is not the {} expected",
            got.payload.len(),
            payload.len()
        );
    }

    /// The next frame must be an ERROR with this status.
    #[track_caller]
    pub fn expect_error(&mut self, status: u16) {
        let got = self.receive();
        assert_eq!((got.header, got.status()), (ERROR, status), "{}", got.text());
    }

    /// The next frame must be a GOAWAY with this status, and the end must follow.
    #[track_caller]
    pub fn expect_goaway(&mut self, status: u16) -> String {
        let got = self.receive();
        assert_eq!((got.header, got.status()), (GOAWAY, status), "{got:?}");
        self.expect_end();
        got.text().to_owned()
    }

    /// Nothing more may come but the end of the stream.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let is_more = self.fill(1);
        assert!(!is_more, "more came: {:?}", &self.buffer[self.read..]);
    }

    /// The next line without its end, or `None` at the end of the stream.
    #[track_caller]
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        let mut scanned = 0;
        loop {
            let held = &self.buffer[self.read..];
            if let Some(at) = held[scanned..].iter().position(|byte| *byte == b'\n') {
                let mut line = self.take(scanned + at + 1);
                line.pop();
                return Some(line);
            }
            scanned = held.len();
            if !self.fill(scanned + 1) {
                assert_eq!(scanned, 0, "the stream ends inside a line");
                return None;
            }
        }
    }

    /// The next line must be this.
    #[track_caller]
    pub fn expect_line(&mut self, want: &[u8]) {
        let line = self.next_line().expect("a line, not the end of the stream");
        assert_eq!(String::from_utf8_lossy(&line), String::from_utf8_lossy(want));
    }

    /// Everything until the end of the stream. A reset fails the test.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill(self.buffer.len() - self.read + 1) {}
        self.take(self.buffer.len() - self.read)
    }

    /// One request of `echo`, and its reply.
    #[track_caller]
    pub fn echo(&mut self, payload: &[u8]) {
        self.request(ECHO, payload);
        self.expect(ECHO, payload);
    }

    /// What the kernel tells of this side's send queue: bytes that the server's side has not acknowledged.
    #[cfg(target_os = "linux")]
    pub fn bytes_unsent(&self) -> u64 {
        // Both ends: ports are used for several destinations at once, and old ends stand in the table for a while.
        let end = |address: std::io::Result<SocketAddr>| {
            format!(":{:04X}", address.expect("it is connected").port())
        };
        let (local, remote) = (end(self.stream.local_addr()), end(self.stream.peer_addr()));
        let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
        let line = table.lines().find(|line| {
            let mut ends = line.split_whitespace().skip(1);
            let mut is = |end: &str| ends.next().is_some_and(|address| address.ends_with(end));
            is(&local) && is(&remote)
        });
        let queues = line.and_then(|line| line.split_whitespace().nth(4));
        let queued = queues.and_then(|queues| queues.split(':').next());
        u64::from_str_radix(queued.expect("the connection is in the table"), 16).expect("a number")
    }
}
