//! An HTTP client of a few lines, for the admin port, and a port for it.

use super::PATIENCE;
use super::serving::Serving;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use tidegate::control::{Admin, Control};

/// The token of ports under test.
pub const TOKEN: &str = "a-token-for-tests-and-of-no-use";

/// What a change sends.
pub const BEARER: (&str, &str) = ("Authorization", "Bearer a-token-for-tests-and-of-no-use");

/// A port for this server, as `with` makes it.
pub fn admin_with(serving: &Serving, with: impl FnOnce(Admin) -> Admin) -> (SocketAddr, Control) {
    let admin =
        with(Admin::bind("127.0.0.1:0").expect("a free port").token(TOKEN).expect("it is long enough"));
    let at = admin.local_addr().expect("it is bound");
    (at, admin.start(serving.handle.clone()).expect("a thread"))
}

/// A port for this server, which lives as long as the test.
pub fn admin_of(serving: &Serving) -> SocketAddr {
    admin_with(serving, |admin| admin).0
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// A connection to the port, on which nothing has been said.
pub fn connect(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).expect("the admin port listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
    stream
}

/// Asks for a path, with nothing but what HTTP wants.
pub fn get(at: SocketAddr, path: &str) -> Answer {
    ask(at, "GET", path, &[], "")
}

/// Asks for a change, with the token.
pub fn post(at: SocketAddr, path: &str, body: &str) -> Answer {
    ask(at, "POST", path, &[BEARER], body)
}

/// Asks with these headers and this body, and reads the answer to its end.
pub fn ask(at: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = connect(at);
    let host = if headers.iter().any(|(name, _)| *name == "Host") {
        String::new()
    } else {
        format!("Host: {at}\r\n")
    };
    let mut request =
        format!("{method} {path} HTTP/1.1\r\n{host}Connection: close\r\nContent-Length: {}\r\n", body.len());
    headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
    stream.write_all(format!("{request}\r\n{body}").as_bytes()).expect("it is taken");
    answer(&mut stream)
}

/// Reads an answer, and then the end of the connection.
pub fn answer(stream: &mut TcpStream) -> Answer {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer in time");
    parse(&text)
}

fn parse(text: &str) -> Answer {
    let (head, body) =
        text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no end of the headers in {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(": "));
    Answer {
        status: status.unwrap_or_else(|| panic!("no status in {head:?}")),
        headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
        body: body.to_owned(),
    }
}
