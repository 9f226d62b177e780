//! A server that follows a script for one connection: what a real server would rarely or never send.

use crate::support::PATIENCE;
use crate::support::client::frame;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

/// What it does next.
pub enum Step {
    /// Reads so many frames, which are kept.
    Take(usize),
    /// Reads one frame, which must have this header and this payload.
    Expect(u16, &'static [u8]),
    /// Sends back a frame that it took, as it was; the first is 0.
    Echo(usize),
    /// The same, one byte at a time.
    EchoSplit(usize),
    /// The same with a wrong CRC.
    EchoDamaged(usize),
    /// The same with something else in place of its four first payload bytes.
    EchoWith(usize, [u8; 4]),
    /// Sends a frame.
    Say(u16, &'static [u8]),
    /// Sends bytes.
    Bytes(&'static [u8]),
    /// Does nothing for so many milliseconds; what was sent is left unread.
    Pause(u64),
    /// Reads until the client ends the connection.
    AwaitEnd,
}

/// Serves one client, and gives the address and the thread, which panics if the script could not be followed. At its
/// end the connection is closed in order.
pub fn serve(script: &'static [Step]) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the client comes");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("bytes one by one");
        let mut taken = Vec::new();
        for step in script {
            follow(step, &mut stream, &mut taken);
        }
    });
    (address, thread)
}

fn follow(step: &Step, stream: &mut TcpStream, taken: &mut Vec<Vec<u8>>) {
    match step {
        Step::Take(count) => taken.extend((0..*count).map(|_| read_frame(stream))),
        Step::Expect(header, payload) => assert_eq!(read_frame(stream), frame(*header, payload)),
        Step::Echo(index) => send(stream, &taken[*index]),
        Step::EchoSplit(index) => {
            for byte in &taken[*index] {
                send(stream, &[*byte]);
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        Step::EchoDamaged(index) => {
            let mut bytes = taken[*index].clone();
            *bytes.last_mut().expect("a CRC") ^= 1;
            send(stream, &bytes);
        }
        Step::EchoWith(index, begin) => {
            let bytes = &taken[*index];
            let mut payload = bytes[6..bytes.len() - 4].to_vec();
            payload[..4].copy_from_slice(begin);
            send(stream, &frame(u16::from_be_bytes([bytes[0], bytes[1]]), &payload));
        }
        Step::Say(header, payload) => send(stream, &frame(*header, payload)),
        Step::Bytes(bytes) => send(stream, bytes),
        Step::Pause(ms) => std::thread::sleep(Duration::from_millis(*ms)),
        Step::AwaitEnd => {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
        }
    }
}

fn send(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).expect("the client reads");
}

fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = vec![0; 6];
    stream.read_exact(&mut bytes).expect("a frame of the client");
    let length = u32::from_be_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]) as usize;
    bytes.resize(10 + length, 0);
    stream.read_exact(&mut bytes[6..]).expect("a whole frame of the client");
    bytes
}
