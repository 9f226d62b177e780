//! One connection's life as a client: requests of every kind, judged by its oracle, and whatever ends it too early held
//! against what the proxy says it did.
//!
//! Always holds: every wait has a bound; what the proxy did not do is a failure, and so is an end or a silence that what
//! it did does not explain. Never: a second try.

use super::oracle::{ECHO, HEAD_BYTES, Oracle, ROUTES, line, payload};
use super::support::PATIENCE;
use super::support::chaos::{Proxy, Record, Way};
use super::support::client::{EXT, GOAWAY, Got, PING, PONG, frame};
use super::support::extended::{WELCOME, bare_hello, correlated};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegate::base::Rng;

/// How long a client waits before it looks whether there is a reason to.
const GLANCE: Duration = Duration::from_millis(250);

/// How long a write may wait before what comes is read.
const AT_ONCE: Duration = Duration::from_millis(5);

/// How long a client that sends in bulk does not read.
const NOT_READ: Duration = Duration::from_millis(100);

/// More than any reply has.
const REPLY_BYTES_MAX: usize = 1 << 17;

/// Payloads in flight, in bytes, from which on no more are sent: at the least rate that the proxy caps to, what is in
/// flight passes before the server takes its client for dead.
const OPEN_BYTES: usize = 64 << 10;

/// What ends a connection too early, or alters it.
const BREAKS: [&str; 5] = ["flip", "hold", "half_close", "truncate", "reset"];

/// What may keep a reply away for ever: a flipped length waits for bytes that never come.
const KEEPS: [&str; 2] = ["flip", "hold"];

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Plain,
    Hello,
    /// Every other request has a correlation.
    Correlated,
    Lines,
}

impl Shape {
    pub(crate) const ALL: [Shape; 4] = [Shape::Plain, Shape::Hello, Shape::Correlated, Shape::Lines];
}

/// Whom a client talks to.
#[derive(Clone, Copy)]
pub(crate) struct Path<'a> {
    pub(crate) frames: SocketAddr,
    pub(crate) lines: SocketAddr,
    /// The proxies in between, of frames and of lines.
    pub(crate) proxies: Option<[&'a Proxy; 2]>,
}

/// What a session does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Where its requests go, if they are frames.
    pub(crate) routes: &'static [u16],
    /// How many they are.
    pub(crate) requests: usize,
    /// Of these at once.
    pub(crate) window: usize,
    /// Waits until the server ends what the proxy holds, and does not leave before.
    pub(crate) waits: bool,
    /// Sends large payloads and does not read at first, so that server and kernel have to keep them.
    pub(crate) is_bulk: bool,
}

impl Manner {
    /// Any. Only a few wait, or send in bulk.
    pub(crate) fn draw(rng: &mut Rng) -> Manner {
        let mut draw = |most| usize::try_from(rng.between(1, most)).expect("small");
        let (requests, window) = (draw(40), draw(12));
        let (waits, is_bulk) = (rng.chance(150), rng.chance(40));
        let window = if is_bulk { requests } else { window };
        Manner { routes: &ROUTES, requests, window, waits, is_bulk }
    }
}

/// How a session that broke no promise went.
#[derive(Debug, Default)]
pub(crate) struct Went {
    /// Requests that were answered.
    pub(crate) answered: u64,
    /// It ended early, as the proxy's doing explains.
    pub(crate) cut: bool,
    /// From each request to its reply, in microseconds.
    pub(crate) took_us: Vec<u64>,
}

/// What was read.
enum Heard {
    Frame(Got),
    Line(Vec<u8>),
    /// A frame that is damaged.
    Damaged,
    /// The stream's end, in order or not.
    End(String),
    /// Nothing for [`GLANCE`].
    Silence,
}

struct Session<'a> {
    stream: TcpStream,
    proxy: Option<&'a Proxy>,
    shape: Shape,
    oracle: Oracle,
    buffer: Vec<u8>,
    unsent: Vec<u8>,
    client: u32,
    is_welcome: bool,
    sent_at: Vec<Instant>,
    went: Went,
}

/// Plays one session.
///
/// # Errors
///
/// Which promise was broken.
pub(crate) fn play(
    path: Path<'_>,
    shape: Shape,
    manner: &Manner,
    client: u32,
    rng: &mut Rng,
) -> Result<Went, String> {
    let place = usize::from(shape == Shape::Lines);
    let proxy = path.proxies.map(|proxies| proxies[place]);
    let to = proxy.map_or([path.frames, path.lines][place], |proxy| proxy.address);
    let stream = TcpStream::connect_timeout(&to, PATIENCE)
        .map_err(|error| format!("client {client}: connecting failed: {error}"))?;
    stream.set_nodelay(true).expect("an option of a fresh socket");
    stream.set_read_timeout(Some(GLANCE)).expect("an option of a fresh socket");
    stream.set_write_timeout(Some(AT_ONCE)).expect("an option of a fresh socket");
    let mut session = Session {
        stream,
        proxy,
        shape,
        oracle: Oracle::new(client),
        buffer: Vec::new(),
        unsent: Vec::new(),
        client,
        is_welcome: shape != Shape::Hello,
        sent_at: Vec::new(),
        went: Went::default(),
    };
    let ended = session.talk(manner, rng);
    if manner.is_bulk {
        // They waited for their own client.
        session.went.took_us.clear();
    }
    ended.map_err(|why| format!("{why} ({shape:?}, {})", session.blame()))?;
    Ok(session.went)
}

impl Session<'_> {
    fn record(&self) -> Option<Arc<Record>> {
        let from = self.stream.local_addr().ok()?;
        self.proxy?.record(from)
    }

    /// What was done to it, for people.
    fn blame(&self) -> String {
        match (self.proxy, self.record()) {
            (None, _) => "without a proxy".to_owned(),
            (Some(_), None) => "not accepted by the proxy yet".to_owned(),
            (Some(_), Some(record)) => format!("proxy's connection {}: {}", record.number, record.text()),
        }
    }

    /// Whether any of these was done to it.
    fn has(&self, names: &[&str]) -> bool {
        self.record().is_some_and(|record| record.has_any(names))
    }

    /// It ended too early: is there a reason?
    fn cut(&mut self, how: &str) -> Result<(), String> {
        if !self.has(&BREAKS) {
            let open = self.oracle.open();
            return Err(format!("client {}: {how}, with {open} requests open and no reason", self.client));
        }
        self.went.cut = true;
        Ok(())
    }

    fn talk(&mut self, manner: &Manner, rng: &mut Rng) -> Result<(), String> {
        if self.shape == Shape::Hello {
            self.unsent = bare_hello();
        }
        if manner.is_bulk {
            // What comes meanwhile has to be kept for it.
            while self.may_ask(manner) {
                self.ask(manner, rng);
            }
            let until = Instant::now() + NOT_READ;
            while self.flush().is_ok() && Instant::now() < until {
                std::thread::sleep(NOT_READ / 10);
            }
        }
        let mut silent_since = Instant::now();
        while self.sent_at.len() < manner.requests || self.oracle.open() > 0 || !self.is_welcome {
            while self.may_ask(manner) {
                self.ask(manner, rng);
            }
            if let Err(error) = self.flush() {
                return self.cut(&format!("sending failed: {error}"));
            }
            match self.hear() {
                Heard::Silence if self.has(&KEEPS) && !manner.waits => {
                    self.went.cut = true;
                    self.leave(rng);
                    return Ok(());
                }
                Heard::Silence if silent_since.elapsed() > PATIENCE => {
                    let open = self.oracle.open();
                    return Err(format!("client {}: silence, with {open} requests open", self.client));
                }
                Heard::Silence => continue,
                Heard::End(how) => return self.cut(&how),
                Heard::Damaged if self.record().is_some_and(|record| record.has(Way::Down, "flip")) => {
                    self.went.cut = true;
                    return Ok(());
                }
                Heard::Damaged => return Err(format!("client {}: a reply's checksum is wrong", self.client)),
                Heard::Frame(got) if got.header == GOAWAY => {
                    return self.cut(&format!("GOAWAY {}", got.text()));
                }
                Heard::Frame(got) => self.frame(&got)?,
                Heard::Line(line) => {
                    let is_begun = self.oracle.is_begun(&line);
                    let judged = self.judge(|oracle| oracle.line(&line));
                    // Lines have no checksum: a flip may make another line of any of them.
                    let is_explained =
                        self.has(&["flip"]) || is_begun && self.has(&["half_close", "truncate"]);
                    if judged.is_err() && is_explained {
                        self.went.cut = true;
                        return Ok(());
                    }
                    judged?;
                }
            }
            silent_since = Instant::now();
        }
        self.finish()
    }

    fn may_ask(&self, manner: &Manner) -> bool {
        let bytes_max = if manner.is_bulk && self.proxy.is_none() { usize::MAX } else { OPEN_BYTES };
        self.sent_at.len() < manner.requests
            && self.oracle.open() < manner.window
            && self.oracle.open_bytes() < bytes_max
    }

    fn frame(&mut self, got: &Got) -> Result<(), String> {
        match got.header {
            PING => self.unsent.extend_from_slice(&frame(PONG, &got.payload)),
            WELCOME if !self.is_welcome => self.is_welcome = true,
            _ if !self.is_welcome => return Err(format!("client {}: {got:?} before WELCOME", self.client)),
            _ => self.judge(|oracle| oracle.frame(got))?,
        }
        Ok(())
    }

    /// Sends the next request.
    fn ask(&mut self, manner: &Manner, rng: &mut Rng) {
        let sequence = u32::try_from(self.sent_at.len()).expect("a few");
        let bytes = match if manner.is_bulk { 0 } else { rng.below(40) } {
            0 => rng.between(20_000, 60_000),
            1..5 => rng.between(300, 8_000),
            _ => rng.between(HEAD_BYTES as u64, 300),
        };
        let mut bytes = usize::try_from(bytes).expect("small");
        if self.shape == Shape::Lines {
            bytes /= 2;
        }
        let body = payload(self.client, sequence, rng.next_u64(), bytes);
        let place = usize::try_from(rng.below(manner.routes.len() as u64)).expect("a handful");
        let route = manner.routes[place];
        let has_correlation = self.shape == Shape::Correlated && rng.chance(500);
        let request = match self.shape {
            Shape::Lines => [line(&body), b"\n".to_vec()].concat(),
            Shape::Correlated if has_correlation => correlated(route, u64::from(sequence), &body),
            Shape::Plain | Shape::Hello | Shape::Correlated => frame(route, &body),
        };
        let route = if self.shape == Shape::Lines { ECHO } else { route };
        self.oracle.sent(sequence, route, body, has_correlation);
        self.sent_at.push(Instant::now());
        self.unsent.extend_from_slice(&request);
    }

    /// Sends as much as is taken at once.
    fn flush(&mut self) -> std::io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn judge(&mut self, how: impl FnOnce(&mut Oracle) -> Result<u32, String>) -> Result<(), String> {
        let sequence = how(&mut self.oracle)?;
        let sent_at = self.sent_at[usize::try_from(sequence).expect("a few")];
        let took = u64::try_from(sent_at.elapsed().as_micros()).expect("short");
        self.went.took_us.push(took);
        self.went.answered += 1;
        Ok(())
    }

    /// All was answered: nothing but the end may follow.
    fn finish(&mut self) -> Result<(), String> {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return self.cut("its sending side could not be ended");
        }
        let until = Instant::now() + PATIENCE;
        loop {
            match self.hear() {
                Heard::End(how) if how == END => return Ok(()),
                Heard::End(how) => return self.cut(&how),
                Heard::Silence if self.has(&KEEPS) => return Ok(()),
                Heard::Silence if Instant::now() < until => {}
                Heard::Silence => return Err(format!("client {}: no end comes", self.client)),
                Heard::Frame(got) if got.header == PING => {}
                Heard::Frame(got) if got.header == GOAWAY => {
                    return self.cut(&format!("GOAWAY {}", got.text()));
                }
                Heard::Frame(got) => return Err(format!("client {}: unasked {got:?}", self.client)),
                Heard::Line(_) | Heard::Damaged if self.has(&["flip"]) => return Ok(()),
                Heard::Line(line) => return Err(format!("client {}: unasked line {line:?}", self.client)),
                Heard::Damaged => return Err(format!("client {}: unasked bytes", self.client)),
            }
        }
    }

    /// Goes away without waiting, in one of two ways.
    fn leave(&self, rng: &mut Rng) {
        if rng.chance(500) {
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }

    fn hear(&mut self) -> Heard {
        let mut chunk = [0; 16 << 10];
        loop {
            let whole = if self.shape == Shape::Lines { self.whole_line() } else { self.whole_frame() };
            if let Some(heard) = whole {
                return heard;
            }
            match self.stream.read(&mut chunk) {
                Ok(0) if self.buffer.is_empty() => return Heard::End(END.to_owned()),
                Ok(0) => return Heard::End(format!("{END} inside a reply")),
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => return Heard::Silence,
                Err(error) => return Heard::End(format!("reading failed: {error}")),
            }
        }
    }

    fn whole_line(&mut self) -> Option<Heard> {
        if self.buffer.len() > REPLY_BYTES_MAX {
            return Some(Heard::Damaged);
        }
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
        line.pop();
        Some(Heard::Line(line))
    }

    fn whole_frame(&mut self) -> Option<Heard> {
        let (header, rest) = self.buffer.split_first_chunk::<2>()?;
        let (length, _) = rest.split_first_chunk::<4>()?;
        let header = u16::from_be_bytes(*header);
        let length = u32::from_be_bytes(*length) as usize;
        if length > REPLY_BYTES_MAX {
            return Some(Heard::Damaged);
        }
        if self.buffer.len() < length + 10 {
            return None;
        }
        let whole: Vec<u8> = self.buffer.drain(..length + 10).collect();
        let (body, crc) = whole.split_at(length + 6);
        if crc32fast::hash(body).to_be_bytes() != crc {
            return Some(Heard::Damaged);
        }
        if header & EXT != 0 && length < 12 {
            return Some(Heard::Damaged);
        }
        Some(Heard::Frame(Got { header, payload: body[6..].to_vec() }))
    }
}

/// The time that a call may take is over.
fn is_timeout(error: &std::io::Error) -> bool {
    [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind())
}

/// A stream's end in order.
const END: &str = "the stream ended";
