//! A collector of traces: HTTP/1.1 by hand, and protobuf read by its wire format alone, as protobuf.dev's "Encoding" has it.
//!
//! Always holds: none of the crate's own messages, so that both sides can't be wrong in the same way; every wait ends. Never: a
//! message that is not understood whole.

use super::PATIENCE;
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How a request is answered.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// 200, and all spans are taken.
    Taken,
    /// 200, but for so many, with a word about it.
    Partly(i64, &'static str),
    /// This status, and how many seconds to wait, if any are named.
    Status(u16, Option<u64>),
    /// Never; the connection stays open.
    Never,
    /// The connection is closed when a part of the body has come.
    Dies,
}

/// A request that came whole.
#[derive(Clone, Debug)]
pub struct Posted {
    pub at: Instant,
    /// The request's line.
    pub line: String,
    /// By name, in small letters.
    pub headers: BTreeMap<String, String>,
    /// What of the server is the same for all spans.
    pub resource: BTreeMap<String, String>,
    pub spans: Vec<Told>,
}

/// A span, as it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub trace: Vec<u8>,
    pub id: Vec<u8>,
    pub parent: Vec<u8>,
    pub name: String,
    pub kind: u64,
    pub start_ns: u64,
    pub end_ns: u64,
    pub attributes: BTreeMap<String, String>,
    pub status_code: u64,
    pub status_message: String,
    pub flags: u32,
}

impl Told {
    /// The attribute of this name; nothing if it has none.
    pub fn say(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

#[derive(Debug, Default)]
struct State {
    answers: Mutex<VecDeque<Answer>>,
    posted: Mutex<Vec<Posted>>,
    is_over: AtomicBool,
}

/// A collector that listens on loopback until it is dropped.
#[derive(Debug)]
pub struct Collector {
    pub address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    /// One that takes everything.
    pub fn new() -> Collector {
        Collector::answering(&[])
    }

    /// One that gives these answers first.
    pub fn answering(answers: &[Answer]) -> Collector {
        Collector::at(TcpListener::bind("127.0.0.1:0").expect("a free port"), answers)
    }

    pub fn at(listener: TcpListener, answers: &[Answer]) -> Collector {
        let state = Arc::new(State::default());
        state.answers.lock().expect("no panic").extend(answers);
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.is_over.load(Relaxed) {
                    return;
                }
                let state = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Collector { address, state, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    pub fn posted(&self) -> MutexGuard<'_, Vec<Posted>> {
        self.state.posted.lock().expect("no panic")
    }

    /// All spans so far, in the order in which they came.
    pub fn spans(&self) -> Vec<Told> {
        self.posted().iter().flat_map(|posted| posted.spans.clone()).collect()
    }

    /// Waits for so many spans; there must not be more.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Told> {
        super::wait_until(&format!("{count} spans"), || self.spans().len() >= count);
        let spans = self.spans();
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.state.is_over.store(true, Relaxed);
        // Wakes it from its accept.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: TcpStream, state: &State) {
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    let mut reader = BufReader::new(stream);
    while let Some((line, headers)) = head(&mut reader) {
        let answer = state.answers.lock().expect("no panic").pop_front().unwrap_or(Answer::Taken);
        let bytes: usize = headers["content-length"].parse().expect("a length");
        let mut body = vec![0; if matches!(answer, Answer::Dies) { bytes / 2 } else { bytes }];
        reader.read_exact(&mut body).expect("the body");
        if matches!(answer, Answer::Dies) {
            return;
        }
        let (resource, spans) = read_request(&body);
        let posted = Posted { at: Instant::now(), line, headers, resource, spans };
        state.posted.lock().expect("no panic").push(posted);
        let (status, more, body) = match answer {
            Answer::Taken => (200, String::new(), Vec::new()),
            Answer::Partly(refused, why) => (200, String::new(), partial_success(refused, why)),
            Answer::Status(status, seconds) => {
                let wait = seconds.map(|seconds| format!("Retry-After: {seconds}\r\n"));
                (status, wait.unwrap_or_default(), b"busy".to_vec())
            }
            Answer::Never => {
                // Until whoever waits is gone, or the collector.
                let until = Instant::now() + PATIENCE;
                reader.get_ref().set_read_timeout(Some(Duration::from_millis(50))).expect("an option");
                while Instant::now() < until && !state.is_over.load(Relaxed) {
                    if matches!(reader.fill_buf(), Ok([])) {
                        return;
                    }
                }
                return;
            }
            Answer::Dies => unreachable!("its connection was closed above"),
        };
        let head = format!(
            "HTTP/1.1 {status} x\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\n{more}\r\n",
            body.len()
        );
        if reader.get_mut().write_all(&[head.as_bytes(), &body].concat()).is_err() {
            return;
        }
    }
}

/// The line and the headers of a request; `None` at the end of the stream.
fn head(reader: &mut BufReader<TcpStream>) -> Option<(String, BTreeMap<String, String>)> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        match header.trim_end().split_once(':') {
            None => return Some((line.trim_end().to_owned(), headers)),
            Some((name, value)) => drop(headers.insert(name.to_lowercase(), value.trim().to_owned())),
        }
    }
}

/// One field of a message, by its wire type.
#[derive(Clone, Copy, Debug)]
enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Field<'a> {
    fn varint(self) -> u64 {
        if let Field::Varint(number) = self { number } else { panic!("{self:?} is no varint") }
    }

    fn fixed64(self) -> u64 {
        if let Field::Fixed64(number) = self { number } else { panic!("{self:?} is no fixed64") }
    }

    fn fixed32(self) -> u32 {
        if let Field::Fixed32(number) = self { number } else { panic!("{self:?} is no fixed32") }
    }

    fn bytes(self) -> &'a [u8] {
        if let Field::Bytes(bytes) = self { bytes } else { panic!("{self:?} is not length-delimited") }
    }

    fn text(self) -> String {
        String::from_utf8(self.bytes().to_vec()).expect("strings are UTF-8")
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().expect("a varint ends");
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return number;
        }
    }
    panic!("a varint of more than ten bytes");
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let field = match tag & 7 {
            0 => Field::Varint(varint(&mut bytes)),
            1 => {
                let (number, rest) = bytes.split_first_chunk().expect("eight bytes");
                bytes = rest;
                Field::Fixed64(u64::from_le_bytes(*number))
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)).expect("a length");
                let (inner, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(inner)
            }
            5 => {
                let (number, rest) = bytes.split_first_chunk().expect("four bytes");
                bytes = rest;
                Field::Fixed32(u32::from_le_bytes(*number))
            }
            other => panic!("wire type {other}"),
        };
        all.push((tag >> 3, field));
    }
    all
}

/// `ExportTraceServiceRequest`: of one server, so of one resource and one scope.
fn read_request(body: &[u8]) -> (BTreeMap<String, String>, Vec<Told>) {
    let (mut resource, mut spans) = (BTreeMap::new(), Vec::new());
    let of_request = fields(body);
    assert_eq!(of_request.len(), 1, "one ResourceSpans");
    assert_eq!(of_request[0].0, 1);
    for (number, field) in fields(of_request[0].1.bytes()) {
        match number {
            1 => {
                let pairs = fields(field.bytes());
                resource = pairs.into_iter().map(|(_, pair)| key_value(pair.bytes())).collect();
            }
            2 => {
                for (number, field) in fields(field.bytes()) {
                    match number {
                        1 => assert_eq!(fields(field.bytes())[0].1.text(), "tidegate"),
                        2 => spans.push(read_span(field.bytes())),
                        other => panic!("field {other} of ScopeSpans"),
                    }
                }
            }
            other => panic!("field {other} of ResourceSpans"),
        }
    }
    (resource, spans)
}

fn read_span(bytes: &[u8]) -> Told {
    let mut told = Told::default();
    for (number, field) in fields(bytes) {
        match number {
            1 => told.trace = field.bytes().to_vec(),
            2 => told.id = field.bytes().to_vec(),
            4 => told.parent = field.bytes().to_vec(),
            5 => told.name = field.text(),
            6 => told.kind = field.varint(),
            7 => told.start_ns = field.fixed64(),
            8 => told.end_ns = field.fixed64(),
            9 => {
                let (name, value) = key_value(field.bytes());
                assert!(told.attributes.insert(name.clone(), value).is_none(), "{name} stands twice");
            }
            15 => {
                for (number, field) in fields(field.bytes()) {
                    match number {
                        2 => told.status_message = field.text(),
                        3 => told.status_code = field.varint(),
                        other => panic!("field {other} of Status"),
                    }
                }
            }
            16 => told.flags = field.fixed32(),
            other => panic!("field {other} of Span"),
        }
    }
    told
}

fn key_value(bytes: &[u8]) -> (String, String) {
    let pair = fields(bytes);
    assert_eq!([pair[0].0, pair[1].0], [1, 2], "key, value");
    let value = fields(pair[1].1.bytes());
    let text = match value[..] {
        [(1, field)] => field.text(),
        [(3, field)] => field.varint().to_string(),
        _ => panic!("{value:?} is no value that we send"),
    };
    (pair[0].1.text(), text)
}

/// `ExportTraceServiceResponse` with an `ExportTracePartialSuccess`.
fn partial_success(refused: i64, why: &str) -> Vec<u8> {
    let refused = u8::try_from(refused).expect("a few");
    let inner = [&[0x08, refused, 0x12, u8::try_from(why.len()).expect("short")], why.as_bytes()].concat();
    [&[0x0A, u8::try_from(inner.len()).expect("short")], &inner[..]].concat()
}
