//! Question: what does `rustls` alone cost for an echo of 64 bytes, in memory, without a socket or a loop?
//!
//! Claim guarded: a server with TLS costs at most 1.1 × (the same without + what is measured here). Both sides of the echo
//! are measured together, and the server's alone; what a loop adds beside it must be the plain server's.
//! Run: `cargo bench --features tls --bench secure`.

#![allow(clippy::print_stdout, reason = "figures are for people")]

#[path = "../tests/support/authority.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests use the rest")]
mod authority;

use authority::{Authority, Folder, Wanted};
use std::collections::VecDeque;
use std::hint::black_box;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::time::{Duration, Instant};
use tidegate::tls::{Acceptor, Connector, ConnectorOptions, Progress, Secure, TlsFiles};

const ROUNDS: u32 = 200_000;
const MESSAGE_BYTES: usize = 64;

/// One end of two pipes.
struct End<'a>(&'a mut VecDeque<u8>, &'a mut VecDeque<u8>);

impl Read for End<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() { Err(ErrorKind::WouldBlock.into()) } else { self.0.read(into) }
    }
}

impl Write for End<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.1.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn main() {
    let (folder, authority) = (Folder::new(), Authority::new("bench"));
    let (cert, key) = authority.issue(&Wanted::server()).write(&folder, "server");
    let acceptor = Acceptor::new(TlsFiles::new(cert, key)).expect("good files");
    let ca = Some(authority.write(&folder, "ca.pem"));
    for is_old in [false, true] {
        let options = ConnectorOptions { ca: ca.clone(), is_old, ..ConnectorOptions::default() };
        let connector = Connector::new(&options).expect("good files");
        measure(&acceptor, &connector);
    }
}

fn measure(acceptor: &Acceptor, connector: &Connector) {
    let (mut up, mut down, mut cipher) = (VecDeque::new(), VecDeque::new(), vec![0; 64 << 10]);
    let mut server = acceptor.start().expect("a session");
    let mut client = connector.start("127.0.0.1:1").expect("a name");
    let mut is_done = (false, false);
    while is_done != (true, true) {
        is_done.0 |=
            client.shake(End(&mut down, &mut up), &mut cipher).expect("a handshake") == Progress::Done;
        is_done.1 |= !is_done.1
            && server.shake(End(&mut up, &mut down), &mut cipher).expect("a handshake") == Progress::Done;
    }
    let message = [7; MESSAGE_BYTES];
    let (mut of_server, began) = (Duration::ZERO, Instant::now());
    let mut into = [0; 256];
    for _ in 0..ROUNDS {
        send(&mut client, End(&mut down, &mut up), &message);
        let here = Instant::now();
        let got = receive(&mut server, End(&mut up, &mut down), &mut into, &mut cipher);
        send(&mut server, End(&mut up, &mut down), &into[..got]);
        of_server += here.elapsed();
        assert_eq!(receive(&mut client, End(&mut down, &mut up), &mut into, &mut cipher), MESSAGE_BYTES);
        black_box(&into);
    }
    let (all, spoken) = (began.elapsed(), server.spoken());
    println!(
        "{} {}: {} ns an echo of {MESSAGE_BYTES} B, {} ns of them the server's",
        if spoken.is_newest { "TLS 1.3" } else { "TLS 1.2" },
        spoken.cipher,
        (all / ROUNDS).as_nanos(),
        (of_server / ROUNDS).as_nanos(),
    );
}

fn send(secure: &mut Secure, end: End<'_>, bytes: &[u8]) {
    assert_eq!(secure.write(end, &[IoSlice::new(bytes)]).expect("there is room"), bytes.len());
}

fn receive(secure: &mut Secure, end: End<'_>, into: &mut [u8], cipher: &mut [u8]) -> usize {
    secure.read(end, &mut [IoSliceMut::new(into)], cipher).expect("it is there").bytes
}
