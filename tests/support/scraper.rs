//! What a Prometheus does: one connection to the admin port, kept, on which `/metrics` is asked for again and again.
//!
//! Always holds: what comes back is OpenMetrics that was read strictly. A connection that is kept needs no descriptor of
//! the server's for the next question.

use super::PATIENCE;
use super::admin::admin_of;
use super::exposition::Exposition;
use super::serving::Serving;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// What every text must be declared as.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The connection.
pub struct Scraper {
    at: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Scraper {
    /// Of an admin port of its own for a server in this process.
    pub fn of(serving: &Serving) -> Scraper {
        Scraper::connect(admin_of(serving))
    }

    pub fn connect(at: SocketAddr) -> Scraper {
        let stream = TcpStream::connect(at).expect("the admin port listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
        Scraper { at, stream: BufReader::new(stream) }
    }

    /// The text of now.
    #[track_caller]
    pub fn text(&mut self) -> String {
        let ask = format!(
            "GET /metrics HTTP/1.1\r\nHost: {}\r\nAccept: application/openmetrics-text; version=1.0.0, */*;q=0.1\r\n\r\n",
            self.at
        );
        self.stream.get_mut().write_all(ask.as_bytes()).expect("the connection is kept");
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("an answer in time");
        assert!(line.starts_with("HTTP/1.1 200"), "{line:?}");
        let (mut length, mut kind) = (None, None);
        loop {
            line.clear();
            self.stream.read_line(&mut line).expect("a header");
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            match name.to_lowercase().as_str() {
                "content-length" => length = value.parse().ok(),
                "content-type" => kind = Some(value.to_owned()),
                _ => {}
            }
        }
        assert_eq!(kind.as_deref(), Some(OPEN_METRICS));
        let mut body = vec![0; length.expect("a length")];
        self.stream.read_exact(&mut body).expect("the whole text");
        String::from_utf8(body).expect("text")
    }

    /// The figures of now.
    #[track_caller]
    pub fn scrape(&mut self) -> Exposition {
        Exposition::parse(&self.text()).unwrap_or_else(|wrong| panic!("{wrong}"))
    }
}
