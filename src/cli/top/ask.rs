//! The admin port, asked again and again over one connection that is kept: so it is answered when no descriptor is left.
//!
//! Always holds: every wait and every answer is bounded; a connection that the port has closed meanwhile is made anew,
//! once. Never: a second question before the first is answered.

use crate::base::limits::ADMIN_ASK_WITHIN;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// How long a read may take: what the port gives its loops, and as much again.
const READ_WITHIN: Duration = ADMIN_ASK_WITHIN.saturating_mul(2);

/// Longest head and longest body that are read, in bytes.
const HEAD_BYTES_MAX: u64 = 16 << 10;
const BODY_BYTES_MAX: usize = 16 << 20;

/// The port.
#[derive(Debug)]
pub(super) struct Port {
    address: String,
    stream: Option<BufReader<TcpStream>>,
}

impl Port {
    pub(super) fn new(address: &str) -> Port {
        Port { address: address.to_owned(), stream: None }
    }

    /// The status and the text of an answer.
    ///
    /// # Errors
    ///
    /// Why there is none, in a few words.
    pub(super) fn get(&mut self, path: &str) -> Result<(u16, String), String> {
        if let Some(stream) = self.stream.take()
            && let Ok(answer) = self.ask(stream, path)
        {
            return Ok(answer);
        }
        let stream = connect(&self.address).map_err(|error| in_words(&error))?;
        self.ask(stream, path).map_err(|error| in_words(&error))
    }

    /// Asks over this connection, and keeps it for the next time if it may.
    fn ask(&mut self, mut stream: BufReader<TcpStream>, path: &str) -> io::Result<(u16, String)> {
        let to = stream.get_ref().peer_addr()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nAccept: {ACCEPT}\r\n\r\n");
        stream.get_mut().write_all(request.as_bytes())?;
        let head = Head::read(&mut (&mut stream).take(HEAD_BYTES_MAX))?;
        let mut body = vec![0; head.length];
        stream.read_exact(&mut body)?;
        let text = String::from_utf8(body).map_err(|_| no_port())?;
        if !head.closes {
            self.stream = Some(stream);
        }
        Ok((head.status, text))
    }
}

/// What is said of an answer that is none, or no text.
const NO_PORT: &str = "what is there is no admin port of tidegate";

const ACCEPT: &str = "application/openmetrics-text; version=1.0.0, application/json, */*;q=0.1";

fn connect(address: &str) -> io::Result<BufReader<TcpStream>> {
    let to: SocketAddr = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let stream = TcpStream::connect_timeout(&to, CONNECT_WITHIN)?;
    stream.set_read_timeout(Some(READ_WITHIN))?;
    stream.set_write_timeout(Some(READ_WITHIN))?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(stream))
}

/// What is known of an answer before its body.
struct Head {
    status: u16,
    length: usize,
    closes: bool,
}

impl Head {
    fn read(from: &mut impl BufRead) -> io::Result<Head> {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or_else(no_port)?;
        let (mut length, mut closes) = (None, false);
        loop {
            line.clear();
            if from.read_line(&mut line)? == 0 {
                return Err(no_port());
            }
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok(),
                "connection" => closes = value.trim().eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        let length = length.filter(|length| *length <= BODY_BYTES_MAX).ok_or_else(no_port)?;
        Ok(Head { status, length, closes })
    }
}

fn no_port() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, NO_PORT)
}

/// Without the number that the system puts behind it.
fn in_words(error: &io::Error) -> String {
    #[expect(clippy::wildcard_enum_match_arm, reason = "std's list grows")]
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        io::ErrorKind::InvalidData => NO_PORT.to_owned(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            "it closed the connection".to_owned()
        }
        _ => error.to_string(),
    }
}
