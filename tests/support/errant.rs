//! A server that errs on purpose: an echo of frames, written by hand, which does one wrong thing now and then.
//!
//! Always holds: it ends with its handle, within a moment. Never: the crate's own server, so that the load generator is
//! not tested by its own kin.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What it does wrong, with each connection's requests counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Answers this request after the next one.
    Swap(u64),
    /// Changes a byte of this reply, and makes its CRC right again.
    Corrupt(u64),
    /// Changes a byte of this reply.
    Damage(u64),
    /// Never answers this one.
    Drop(u64),
    /// Answers this one twice.
    Twice(u64),
    /// Sends half of this reply and ends the connection.
    Cut(u64),
    /// Closes in order instead of answering this one.
    Close(u64),
    /// Answers this one with ERROR OVERLOADED.
    Refuse(u64),
    /// Does nothing at all for so many milliseconds, once, so long after the first request.
    Stall {
        after_ms: u64,
        ms: u64,
    },
    /// Reads and never answers after this one.
    Silent(u64),
    /// Takes so many milliseconds for each request, one after another.
    Late(u64),
}

pub struct Errant {
    pub address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// What each connection has sent.
    pub heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Errant {
    pub fn start(fault: Fault) -> Errant {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        listener.set_nonblocking(true).expect("it can be");
        let is_over = Arc::new(AtomicBool::new(false));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (over, notes) = (Arc::clone(&is_over), Arc::clone(&heard));
        let thread = std::thread::spawn(move || serve(&listener, fault, &over, &notes));
        Errant { address, is_over, thread: Some(thread), heard }
    }
}

impl Drop for Errant {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server has not failed");
        }
    }
}

struct Conn {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    requests: u64,
    held: Option<Vec<u8>>,
    slot: usize,
    ends: bool,
}

/// All connections in one thread, so that a stall is one for everybody.
fn serve(listener: &TcpListener, fault: Fault, is_over: &AtomicBool, heard: &Mutex<Vec<Vec<u8>>>) {
    let mut conns: Vec<Conn> = Vec::new();
    let mut stalls_at = None;
    let mut has_stalled = false;
    while !is_over.load(Ordering::Relaxed) {
        let mut was_idle = true;
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true).expect("it can be");
            stream.set_nodelay(true).expect("it can be");
            let mut heard = heard.lock().expect("no panic");
            heard.push(Vec::new());
            let slot = heard.len() - 1;
            conns.push(Conn {
                stream,
                input: Vec::new(),
                output: Vec::new(),
                requests: 0,
                held: None,
                slot,
                ends: false,
            });
        }
        if let Fault::Stall { ms, .. } = fault
            && !has_stalled
            && stalls_at.is_some_and(|at| Instant::now() >= at)
        {
            has_stalled = true;
            std::thread::sleep(Duration::from_millis(ms));
        }
        conns.retain_mut(|conn| {
            let (goes_on, did) = visit(conn, fault, heard);
            was_idle &= !did;
            goes_on
        });
        if let (Fault::Stall { after_ms, .. }, None) = (fault, stalls_at)
            && conns.iter().any(|conn| conn.requests > 1)
        {
            stalls_at = Some(Instant::now() + Duration::from_millis(after_ms));
        }
        if was_idle {
            std::thread::sleep(Duration::from_micros(20));
        }
    }
}

fn visit(conn: &mut Conn, fault: Fault, heard: &Mutex<Vec<Vec<u8>>>) -> (bool, bool) {
    let mut buffer = [0; 64 << 10];
    let mut did = false;
    match conn.stream.read(&mut buffer) {
        Ok(0) => conn.ends = true,
        Ok(bytes) => {
            did = true;
            conn.input.extend_from_slice(&buffer[..bytes]);
            heard.lock().expect("no panic")[conn.slot].extend_from_slice(&buffer[..bytes]);
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(_) => return (false, true),
    }
    while !conn.ends
        && let Some(frame) = next_frame(&mut conn.input)
    {
        answer(conn, frame, fault);
    }
    while !conn.output.is_empty() {
        match conn.stream.write(&conn.output) {
            Ok(bytes) => drop(conn.output.drain(..bytes)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(_) => return (false, true),
        }
        did = true;
    }
    if conn.ends && conn.output.is_empty() {
        let _ = conn.stream.shutdown(Shutdown::Both);
        return (false, true);
    }
    (true, did)
}

fn next_frame(input: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length: [u8; 4] = input.get(2..6)?.try_into().expect("four bytes");
    let bytes = 10 + u32::from_be_bytes(length) as usize;
    if input.len() < bytes {
        return None;
    }
    Some(input.drain(..bytes).collect())
}

fn answer(conn: &mut Conn, mut frame: Vec<u8>, fault: Fault) {
    let number = conn.requests;
    conn.requests += 1;
    match fault {
        Fault::Swap(at) if at == number => {
            conn.held = Some(frame);
            return;
        }
        Fault::Corrupt(at) if at == number => {
            let (at, end) = (frame.len() - 5, frame.len() - 4);
            frame[at] ^= 1;
            let sum = crc(&frame[..end]);
            frame[end..].copy_from_slice(&sum.to_be_bytes());
        }
        Fault::Damage(at) if at == number => frame[12] ^= 1,
        Fault::Drop(at) if at == number => return,
        Fault::Twice(at) if at == number => conn.output.extend_from_slice(&frame),
        Fault::Cut(at) if at == number => {
            frame.truncate(frame.len() / 2);
            conn.ends = true;
        }
        Fault::Close(at) if at == number => {
            conn.ends = true;
            return;
        }
        Fault::Refuse(at) if at == number => {
            frame = vec![0x40, 0x04, 0, 0, 0, 2, 0, 5];
            let sum = crc(&frame);
            frame.extend_from_slice(&sum.to_be_bytes());
        }
        Fault::Silent(at) if number > at => return,
        Fault::Late(ms) => std::thread::sleep(Duration::from_millis(ms)),
        Fault::Swap(_)
        | Fault::Corrupt(_)
        | Fault::Damage(_)
        | Fault::Drop(_)
        | Fault::Twice(_)
        | Fault::Cut(_)
        | Fault::Close(_)
        | Fault::Refuse(_)
        | Fault::Silent(_)
        | Fault::Stall { .. }
        | Fault::None => {}
    }
    conn.output.extend_from_slice(&frame);
    if let Some(held) = conn.held.take() {
        conn.output.extend_from_slice(&held);
    }
}

/// CRC-32/ISO-HDLC, by its definition.
fn crc(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg());
        }
    }
    !sum
}
