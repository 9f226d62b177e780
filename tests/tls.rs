//! TLS over real servers and sockets: handshakes of all kinds, certificates that change and end, and clients that are not
//! ours.

#![cfg(feature = "cli")]

#[path = "support/authority.rs"]
#[allow(dead_code, unreachable_pub, reason = "others use the rest")]
mod authority;
mod support;

use authority::{Authority, Folder, Wanted, text};
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use support::client::{ECHO, GOAWAY, frame};
use support::process::{BINARY, Process, run};
use support::serving::{Neighbour, Serving};
use support::{PATIENCE, pattern, wait_until};
use tidegate::CloseReason;
use tidegate::base::limits::Limits;
use tidegate::client::{Client, Error, Options, Request};
use tidegate::metrics::{Counter, Gauge};
use tidegate::server::{Builder, Listener, Server, Status};
use tidegate::service::{Cx, Frame, Peer, Replied, Reply, Service};
use tidegate::tls::{
    Acceptor, ClientAuth, Connector, ConnectorOptions, IDLE_BYTES_MAX, Progress, Secure, TlsError, TlsFiles,
};

/// A folder with an authority and a server's pair.
struct Rig {
    folder: Folder,
    authority: Authority,
    files: TlsFiles,
}

impl Rig {
    fn new() -> Rig {
        let (folder, authority) = (Folder::new(), Authority::new("test"));
        let (cert, key) = authority.issue(&Wanted::server()).write(&folder, "server");
        authority.write(&folder, "ca.pem");
        Rig { files: TlsFiles::new(cert, key), folder, authority }
    }

    /// The same, and clients need certificates.
    fn mutual(client: ClientAuth) -> Rig {
        let mut rig = Rig::new();
        rig.files.client_ca = Some(rig.folder.file("ca.pem"));
        rig.files.client = client;
        rig.files.revoked = Some(rig.folder.write("revoked.pem", rig.authority.revoked(&[])));
        rig
    }

    /// TLS on the first listener, nothing on the second.
    fn builder(&self) -> Builder {
        Server::builder()
            .listen(Listener::frames("127.0.0.1:0").tls(self.files.clone()))
            .and_then(|builder| builder.listen(Listener::frames("127.0.0.1:0")))
            .expect("good files and free ports")
            .shards(1)
    }

    fn serving(&self) -> Serving {
        Serving::of(self.builder().start(|| Who).expect("a server"))
    }

    fn options(&self) -> ConnectorOptions {
        ConnectorOptions { ca: Some(self.folder.file("ca.pem")), ..ConnectorOptions::default() }
    }

    fn connector(&self) -> Connector {
        Connector::new(&self.options()).expect("good files")
    }

    /// One that shows a certificate of this authority.
    fn client_of(&self, authority: &Authority, wanted: &Wanted) -> Connector {
        let stem = format!("client{}", wanted.serial);
        let (cert, key) = authority.issue(wanted).write(&self.folder, &stem);
        let options = ConnectorOptions { cert: Some(cert), key: Some(key), ..self.options() };
        Connector::new(&options).expect("good files")
    }

    fn client(&self, wanted: &Wanted) -> Connector {
        self.client_of(&self.authority, wanted)
    }
}

/// Says on route 9 who its peer is; echoes all others.
struct Who;

impl Service for Who {
    type Conn = String;

    fn on_open(&mut self, peer: &Peer, _cx: &mut Cx<'_>) -> String {
        let address = peer.address.ip().map_or("unix".to_owned(), |at| at.ip().to_string());
        format!("{} at {address}, {}", peer.certificate.as_deref().unwrap_or("nobody"), peer.is_secure)
    }

    fn on_frame(&mut self, who: &mut String, frame: Frame<'_>, reply: Reply<'_>, _: &mut Cx<'_>) -> Replied {
        if frame.route() == 9 { reply.send(who.as_bytes()) } else { reply.forward(frame.whole()) }
    }
}

fn connect(address: SocketAddr, connector: &Connector) -> Result<Client, Error> {
    let options = Options { tls: Some(connector.clone()), read_timeout: PATIENCE, ..Options::default() };
    options.connect(&address.to_string())
}

#[track_caller]
fn echo(client: &mut Client, bytes: usize, seed: u64) {
    let body = pattern(seed, bytes);
    let reply = client.call(&Request::new(ECHO, &body)).expect("a reply");
    assert!(reply.is_ok() && reply.body == body, "{bytes} bytes came back changed");
}

#[track_caller]
fn who(client: &mut Client) -> String {
    client.call(&Request::new(9, b"")).expect("a reply").text().into_owned()
}

/// Last words, and nothing else.
#[track_caller]
fn assert_unauthenticated(got: &[u8], words: &str) {
    let (header, status) = (u16::from_be_bytes([got[0], got[1]]), u16::from_be_bytes([got[6], got[7]]));
    assert_eq!((header, status), (GOAWAY, Status::UNAUTHENTICATED.code()));
    assert!(String::from_utf8_lossy(got).contains(words), "{}", got.escape_ascii());
}

/// A session by hand, for what the client does not do.
struct Raw {
    stream: TcpStream,
    secure: Secure,
    cipher: Vec<u8>,
}

/// Keeps what is written until something is waited for, so that it leaves in one segment.
struct Kept<'a>(&'a mut TcpStream, &'a mut Vec<u8>);

impl Read for Kept<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.write_all(self.1)?;
        self.1.clear();
        self.0.read(into)
    }
}

impl Write for Kept<'_> {
    fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
        self.1.extend_from_slice(from);
        Ok(from.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Raw {
    /// Shakes hands, and sends this with its last flight.
    fn connect(address: SocketAddr, connector: &Connector, first: &[u8]) -> Raw {
        let mut stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option of a fresh socket");
        let mut secure = connector.start(&address.to_string()).expect("a name");
        let (mut cipher, mut kept) = (vec![0; 64 << 10], Vec::new());
        while secure.shake(Kept(&mut stream, &mut kept), &mut cipher).expect("a handshake") != Progress::Done
        {
        }
        secure.write(Kept(&mut stream, &mut kept), &[IoSlice::new(first)]).expect("it is kept");
        stream.write_all(&kept).expect("it is taken");
        Raw { stream, secure, cipher }
    }

    fn send(&mut self, bytes: &[u8]) {
        assert_eq!(self.secure.write(&mut self.stream, &[IoSlice::new(bytes)]).expect("taken"), bytes.len());
    }

    /// What comes, up to the end, which must be in order.
    fn read_to_end(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let mut part = vec![0; 64 << 10];
            let got = self.secure.read(&mut self.stream, &mut [IoSliceMut::new(&mut part)], &mut self.cipher);
            match got.expect("an end with close_notify").bytes {
                0 => return all,
                bytes => all.extend_from_slice(&part[..bytes]),
            }
        }
    }

    fn read_exactly(&mut self, want: &[u8]) {
        let mut got = Vec::new();
        while got.len() < want.len() {
            let mut part = vec![0; want.len() - got.len()];
            let read =
                self.secure.read(&mut self.stream, &mut [IoSliceMut::new(&mut part)], &mut self.cipher);
            let bytes = read.expect("more comes").bytes;
            assert!(bytes > 0, "it ended after {} bytes", got.len());
            got.extend_from_slice(&part[..bytes]);
        }
        assert_eq!(got, want);
    }
}

#[test]
fn messages_of_all_sizes_pass_through_both_versions() {
    let rig = Rig::new();
    let serving = rig.serving();
    let old = Connector::new(&ConnectorOptions { is_old: true, ..rig.options() }).expect("good files");
    for (connector, version) in [(rig.connector(), Counter::Tls13), (old, Counter::Tls12)] {
        let mut client = connect(serving.frames(), &connector).expect("a handshake");
        for (seed, bytes) in [0, 1, 64, 4096, 16_384, 16_385, 100_000, 1 << 20].into_iter().enumerate() {
            echo(&mut client, bytes, seed as u64);
        }
        assert_eq!(who(&mut client), "nobody at 127.0.0.1, true");
        assert_eq!(serving.snapshot().counter(version), 1);
    }
    serving.wait_for_rest(0);
    // What left is resumed by whoever comes again.
    let connector = rig.connector();
    for round in 0..4 {
        let mut client = connect(serving.frames(), &connector).expect("a handshake");
        echo(&mut client, 100, round);
    }
    let now = serving.snapshot();
    assert_eq!((now.counter(Counter::TlsFull), now.counter(Counter::TlsResumed)), (3, 3));
    serving.wait_for_rest(0);
    serving.end();
}

#[test]
fn clients_come_in_by_their_certificates() {
    let stranger = Authority::new("stranger");
    for (client_auth, may_be_nobody) in [(ClientAuth::Required, false), (ClientAuth::Optional, true)] {
        let rig = Rig::mutual(client_auth);
        rig.folder.write("revoked.pem", rig.authority.revoked(&[66]));
        let serving = rig.serving();
        let mut anna = connect(serving.frames(), &rig.client(&Wanted::client("anna", 7))).expect("let in");
        assert_eq!(who(&mut anna), "anna at 127.0.0.1, true");
        let nobody = connect(serving.frames(), &rig.connector())
            .and_then(|mut client| client.call(&Request::new(9, b"")));
        assert_eq!(nobody.is_ok(), may_be_nobody, "{nobody:?}");
        let old = Wanted::client("old", 8).lives(Duration::ZERO);
        let refused = [
            (rig.client_of(&stranger, &Wanted::client("x", 9)), Counter::TlsUntrusted),
            (rig.client(&old), Counter::TlsExpired),
            (rig.client(&Wanted::client("bad", 66)), Counter::TlsRevoked),
        ];
        for (connector, counter) in refused {
            // With TLS 1.3 a client thinks that it is through before the server has seen its certificate.
            let came = connect(serving.frames(), &connector)
                .and_then(|mut client| client.call(&Request::new(9, b"")).map(|_| ()));
            assert!(came.is_err(), "{counter:?}");
            serving.wait_for(counter.name(), |now| now.counter(counter) == 1);
        }
        assert_eq!(serving.snapshot().counter(Counter::TlsNoCertificate), u64::from(!may_be_nobody));
        echo(&mut anna, 100, 1);
        drop(anna);
        serving.wait_for_rest(0);
        serving.end();
    }
}

#[test]
fn a_connection_ends_with_its_certificate() {
    let rig = Rig::mutual(ClientAuth::Required);
    let serving = rig.serving();
    let mut stays = connect(serving.frames(), &rig.client(&Wanted::client("anna", 7))).expect("let in");
    let short = Wanted::client("short", 8).lives(Duration::from_secs(3));
    let mut goes = Raw::connect(serving.frames(), &rig.client(&short), &[]);
    echo(&mut stays, 10, 1);
    // Nobody says a word meanwhile: the loop wakes by itself.
    assert_unauthenticated(&goes.read_to_end(), "has expired");
    drop(goes);
    serving.wait_for("it is counted", |now| now.closes(CloseReason::CertificateExpired) == 1);
    echo(&mut stays, 10, 2);
    drop(stays);
    serving.wait_for_rest(0);
    serving.end();
}

#[test]
fn who_is_revoked_is_ended_at_once() {
    let rig = Rig::mutual(ClientAuth::Required);
    let serving = rig.serving();
    let hello = frame(ECHO, b"hello");
    let mut clients: Vec<Raw> = (0..20)
        .map(|serial| {
            Raw::connect(serving.frames(), &rig.client(&Wanted::client("one", serial + 100)), &hello)
        })
        .collect();
    clients.iter_mut().for_each(|client| client.read_exactly(&hello));
    rig.folder.write("revoked.pem", rig.authority.revoked(&[105, 119, 300]));
    let told = serving.handle.reload_tls().expect("good files");
    assert_eq!((told.listeners, told.tickets_dropped), (1, 1));
    for (place, client) in clients.iter_mut().enumerate() {
        if [5, 19].contains(&place) {
            assert_unauthenticated(&client.read_to_end(), "was revoked");
        } else {
            client.send(&hello);
            client.read_exactly(&hello);
        }
    }
    drop(clients);
    serving.wait_for("two were ended", |now| now.closes(CloseReason::CertificateRevoked) == 2);
    serving.wait_for_rest(0);
    serving.end();
}

#[test]
fn plain_speech_is_answered_by_an_alert_and_counted() {
    let rig = Rig::new();
    let serving = rig.serving();
    for (place, said) in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &frame(ECHO, b"hello"), b"hello\n"].iter().enumerate()
    {
        let mut stream = TcpStream::connect(serving.frames()).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option of a fresh socket");
        stream.write_all(said).expect("it is taken");
        let mut told = Vec::new();
        stream.read_to_end(&mut told).expect("an end in order");
        // alert(21), TLS 1.2 on the outside, two bytes: fatal(2) and why.
        assert!(told.len() == 7 && told[0] == 21 && told[5] == 2, "{told:?}");
        serving.wait_for("it is counted", |now| now.counter(Counter::TlsPlaintext) == place as u64 + 1);
    }
    // A TLS hello on a plain port has its own answer.
    let plain = serving.lines();
    assert!(matches!(connect(plain, &rig.connector()), Err(Error::Tls { .. })));
    serving.wait_for("it is counted", |now| now.closes(CloseReason::TlsOnPlain) == 1);
    serving.wait_for_rest(0);
    serving.end();
}

/// Who sends its hello byte by byte, or nothing, or stops in the middle, is closed in time; others notice nothing.
#[test]
fn a_handshake_has_a_deadline() {
    let rig = Rig::new();
    let limits = Limits { entrance: Duration::from_millis(400), ..Limits::default() };
    let serving = Serving::of(rig.builder().limits(limits).start(|| Who).expect("a server"));
    let neighbour = Neighbour::of(serving.lines());
    let mut streams: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect(serving.frames()).expect("it listens")).collect();
    let hello = [&[22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3][..], &[7; 200]].concat();
    for (place, stream) in streams.iter_mut().enumerate() {
        stream.write_all(&hello[..place * 10]).expect("it is taken");
    }
    serving.wait_for("all were closed", |now| now.counter(Counter::EntranceTimedOut) == 20);
    assert_eq!(serving.snapshot().gauge(Gauge::Entering), 0);
    neighbour.still_served();
    neighbour.leave();
    serving.end();
}

/// The first request comes in one segment with the end of the handshake; no event tells of it. And a client that is
/// silent for a while after the handshake is heard when it speaks.
#[test]
fn what_comes_with_the_handshake_is_answered() {
    let rig = Rig::new();
    let serving = rig.serving();
    let request = frame(ECHO, b"at once");
    for round in 0..20 {
        let mut raw = Raw::connect(serving.frames(), &rig.connector(), &request);
        raw.read_exactly(&request);
        if round % 2 == 0 {
            raw.send(&request);
            raw.read_exactly(&request);
        }
    }
    let mut silent = connect(serving.frames(), &rig.connector()).expect("a handshake");
    serving.wait_for("it is through", |now| now.counter(Counter::Entered) == 21);
    echo(&mut silent, 100, 1);
    drop(silent);
    serving.wait_for("all are gone", |now| now.gauge(Gauge::Open) == 0);
    serving.end();
}

#[test]
fn a_half_closed_client_gets_its_replies_and_an_end_in_order() {
    let rig = Rig::new();
    let serving = rig.serving();
    let request = frame(ECHO, &pattern(1, 5000));
    let mut raw = Raw::connect(serving.frames(), &rig.connector(), &request.repeat(3));
    // close_notify alone: the stream under it goes on, so no event tells of an end.
    raw.secure.close(&mut raw.stream).expect("there is room");
    assert_eq!(raw.read_to_end(), request.repeat(3));
    serving.wait_for("it is counted", |now| now.closes(CloseReason::PeerClosed) == 1);
    // Without close_notify it is an end that anybody could have made.
    let raw = Raw::connect(serving.frames(), &rig.connector(), &request);
    serving.wait_for("it is through", |now| now.counter(Counter::Entered) == 2);
    drop(raw);
    serving.wait_for("it is counted", |now| now.closes(CloseReason::Reset) == 1);
    serving.end();
}

#[test]
fn a_drain_loses_nothing_and_ends_with_close_notify_behind_goaway() {
    const REQUESTS: u64 = 5;
    let rig = Rig::new();
    let running = rig.builder().start_fn(|frame, reply| {
        std::thread::sleep(Duration::from_millis(50));
        reply.forward(frame.whole())
    });
    let serving = Serving::of(running.expect("a server"));
    let requests: Vec<u8> = (0..REQUESTS).flat_map(|number| frame(3, &pattern(number, 40_000))).collect();
    let mut busy = Raw::connect(serving.frames(), &rig.connector(), &[]);
    let (head, tail) = requests.split_at(16_000);
    busy.send(head);
    for part in tail.chunks(16_000) {
        busy.send(part);
    }
    let mut idle = Raw::connect(serving.frames(), &rig.connector(), &[]);
    serving.wait_for("both are there, one is served", |now| {
        now.counter(Counter::Accepted) == 2 && now.counter(Counter::Started) == REQUESTS
    });
    serving.handle.drain(PATIENCE);
    let got = busy.read_to_end();
    assert_eq!(got[..requests.len()], requests);
    for last in [&got[requests.len()..], &idle.read_to_end()] {
        assert_eq!(u16::from_be_bytes([last[0], last[1]]), GOAWAY);
    }
    drop((busy, idle));
    let report = serving.join();
    assert!(report.is_clean(), "{report}");
}

/// Who does not read is not read, so what waits for it has a bound; and when it reads at last, all of it comes.
#[test]
fn a_slow_reader_is_bounded() {
    let rig = Rig::new();
    let serving = rig.serving();
    let neighbour = Neighbour::of(serving.lines());
    let request = frame(ECHO, &pattern(3, 200_000));
    const REQUESTS: usize = 100;
    let mut raw = Raw::connect(serving.frames(), &rig.connector(), &[]);
    raw.stream.set_nonblocking(true).expect("an option");
    let all = request.repeat(REQUESTS);
    let (mut taken, mut got) = (0, Vec::new());
    let write = |raw: &mut Raw, taken: &mut usize| {
        while *taken < all.len() {
            match raw.secure.write(&mut raw.stream, &[IoSlice::new(&all[*taken..])]) {
                Ok(count) => *taken += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    };
    wait_until("it is paused", || {
        write(&mut raw, &mut taken);
        serving.snapshot().gauge(Gauge::WaitingForOutput) == 1
    });
    let waits = serving.snapshot().gauge(Gauge::OutputBytes);
    assert!((1..4 << 20).contains(&waits), "{waits} bytes wait");
    assert!(taken < all.len(), "it is not read while it does not read");
    neighbour.still_served();
    wait_until("all came back", || {
        write(&mut raw, &mut taken);
        let mut part = vec![0; 256 << 10];
        match raw.secure.read(&mut raw.stream, &mut [IoSliceMut::new(&mut part)], &mut raw.cipher) {
            Ok(brought) => got.extend_from_slice(&part[..brought.bytes]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        got.len() == all.len()
    });
    assert!(got == all);
    drop(raw);
    neighbour.leave();
    serving.wait_for_rest(0);
    serving.end();
}

/// Certificates are swapped all the time, and every third pair does not fit: nobody is dropped, newcomers always get a
/// pair that does.
#[test]
fn certificates_are_swapped_under_load() {
    let rig = Rig::new();
    let serving = rig.serving();
    let stop = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicU64::new(0));
    let address = serving.frames();
    let threads: Vec<_> = (0..2)
        .map(|place| {
            let (stop, rounds) = (Arc::clone(&stop), Arc::clone(&rounds));
            let connector = rig.connector();
            std::thread::spawn(move || {
                let mut stays = connect(address, &connector).expect("a handshake");
                while !stop.load(Relaxed) {
                    echo(&mut stays, 500, place);
                    let mut comes = connect(address, &connector).expect("a handshake");
                    echo(&mut comes, 500, place);
                    rounds.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    let (mut done, mut refused) = (0, 0);
    for round in 0..12 {
        let pair = rig.authority.issue(&Wanted::server());
        pair.write(&rig.folder, "server");
        if round % 3 == 2 {
            rig.folder.write("server.key", rig.authority.issue(&Wanted::server()).key);
        }
        match serving.handle.reload_tls() {
            Ok(_) => done += 1,
            Err(mistakes) => {
                refused += 1;
                assert!(matches!(&mistakes[..], [TlsError::Mismatch { .. }]), "{mistakes:?}");
            }
        }
        let before = rounds.load(Relaxed);
        wait_until("newcomers are served", || {
            assert!(threads.iter().all(|thread| !thread.is_finished()), "a connection failed");
            rounds.load(Relaxed) > before + 2
        });
    }
    stop.store(true, Relaxed);
    threads.into_iter().for_each(|thread| thread.join().expect("nobody was dropped"));
    assert_eq!((done, refused), (8, 4));
    let told = serving.handle.tls_reloads();
    assert_eq!((told.done, told.refused), (8, 4));
    let left = serving.handle.tls_expiries();
    assert!(left.len() == 1 && left[0].0 == 0 && (86_000..=86_400).contains(&left[0].1), "{left:?}");
    assert_eq!(serving.handle.tls_files(), [rig.folder.file("server.key"), rig.folder.file("server.pem")]);
    serving.wait_for_rest(0);
    serving.end();
}

/// A storm of newcomers, each with a handshake: steady traffic beside it goes on.
#[test]
fn steady_traffic_outlives_a_storm_of_handshakes() {
    const THREADS: u64 = 4;
    const EACH: u64 = 2500;
    let rig = Rig::new();
    let serving = rig.serving();
    let neighbour = Neighbour::of(serving.lines());
    let address = serving.frames();
    let until = Instant::now() + 4 * PATIENCE;
    let threads: Vec<_> = (0..THREADS)
        .map(|place| {
            let connector = rig.connector();
            std::thread::spawn(move || {
                for round in 0..EACH {
                    assert!(Instant::now() < until, "{round} of {EACH} in time");
                    let mut client = connect(address, &connector).expect("a handshake");
                    if round % 10 == 0 {
                        echo(&mut client, 64, place);
                    }
                }
            })
        })
        .collect();
    while threads.iter().any(|thread| !thread.is_finished()) {
        neighbour.still_served();
    }
    threads.into_iter().for_each(|thread| thread.join().expect("all came in"));
    neighbour.leave();
    serving.wait_for_rest(0);
    let now = serving.snapshot();
    assert_eq!(now.counter(Counter::TlsFull) + now.counter(Counter::TlsResumed), THREADS * EACH);
    serving.end();
}

#[test]
fn a_proxy_header_comes_before_the_handshake() {
    let rig = Rig::new();
    let trusted = "127.0.0.0/8".parse().expect("a network");
    let listener = Listener::frames("127.0.0.1:0").proxied_by([trusted]).tls(rig.files.clone());
    let builder = Server::builder().listen(listener).expect("a free port").shards(1);
    let serving = Serving::of(builder.start(|| Who).expect("a server"));
    let mut stream = TcpStream::connect(serving.frames()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option of a fresh socket");
    stream.write_all(b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 7411\r\n").expect("it is taken");
    let mut secure = rig.connector().start("127.0.0.1:1").expect("a name");
    let mut cipher = vec![0; 64 << 10];
    while secure.shake(&mut stream, &mut cipher).expect("a handshake") != Progress::Done {}
    let mut raw = Raw { stream, secure, cipher };
    raw.send(&frame(9, b""));
    raw.read_exactly(&frame(9, b"nobody at 203.0.113.7, true"));
    drop(raw);
    serving.end();
}

/// What a session costs that waits for nothing, of our memory: the promise of docs/TLS.md.
#[test]
fn an_idle_session_is_small() {
    let rig = Rig::mutual(ClientAuth::Optional);
    let acceptor = Acceptor::new(rig.files.clone()).expect("good files");
    for (name, connector) in [("without", rig.connector()), ("with", rig.client(&Wanted::client("anna", 7)))]
    {
        let (client, server) = std::os::unix::net::UnixStream::pair().expect("a pair");
        server.set_nonblocking(true).expect("an option");
        client.set_nonblocking(true).expect("an option");
        // Once before, so that what is made once for all is not counted.
        let one = || {
            let (mut here, mut there) =
                (acceptor.start().expect("a session"), connector.start("127.0.0.1:1").expect("a name"));
            let mut cipher = vec![0; 64 << 10];
            let mut is_done = (false, false);
            while is_done != (true, true) {
                is_done.0 |= there.shake(&client, &mut cipher).expect("a handshake") == Progress::Done;
                is_done.1 |=
                    !is_done.1 && here.shake(&server, &mut cipher).expect("a handshake") == Progress::Done;
            }
            // It has had a large message to read and to write.
            let text = vec![7; 16_000];
            assert_eq!(there.write(&client, &[IoSlice::new(&text)]).expect("it is taken"), text.len());
            let mut into = vec![0; 20_000];
            let got =
                here.read(&server, &mut [IoSliceMut::new(&mut into)], &mut cipher).expect("it is there");
            assert_eq!(got.bytes, text.len());
            assert_eq!(here.write(&server, &[IoSlice::new(&text)]).expect("it is taken"), text.len());
            let _ = there.read(&client, &mut [IoSliceMut::new(&mut into)], &mut cipher);
            Box::new(here)
        };
        let mut kept = vec![one()];
        kept.reserve(8);
        let measured = allocation_counter::measure(|| kept.push(one()));
        let bytes = measured.bytes_current;
        assert!(
            (1000..=IDLE_BYTES_MAX as u64).contains(&u64::try_from(bytes).expect("it holds some")),
            "{name}: {bytes} bytes"
        );
    }
}

const PYTHON: &str = r#"
import socket, ssl, struct, sys, zlib
port, ca, version = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.create_default_context(cafile=ca)
context.maximum_version = context.minimum_version = getattr(ssl.TLSVersion, version)
head = struct.pack(">HI", 1, 100000)
body = bytes(range(250)) * 400
frame = head + body + struct.pack(">I", zlib.crc32(head + body))
plain = socket.create_connection(("127.0.0.1", port), 30)
with context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as stream:
    for _ in range(3):
        stream.sendall(frame)
        got = b""
        while len(got) < len(frame):
            got += stream.recv(65536)
        assert got == frame
    print(stream.version(), stream.cipher()[0])
    stream.unwrap()
"#;

/// Other people's TLS: Python's, by OpenSSL. `unwrap` wants our close_notify.
#[test]
fn openssl_is_understood() {
    if Command::new("python3").args(["-c", "import ssl"]).stdin(Stdio::null()).status().is_err() {
        return;
    }
    let rig = Rig::new();
    let serving = rig.serving();
    let port = serving.frames().port().to_string();
    let ca = rig.folder.file("ca.pem");
    for version in ["TLSv1_3", "TLSv1_2"] {
        let (code, out, errors) =
            run(Command::new("python3").args(["-c", PYTHON, &port, text(&ca), version]));
        assert_eq!(code, Some(0), "{errors}");
        assert!(out.replace('.', "_").contains(version), "{out}");
    }
    let refused = run(Command::new("python3").args(["-c", PYTHON, &port, text(&ca), "TLSv1_1"]));
    assert_ne!(refused.0, Some(0), "older versions are not spoken");
    serving.wait_for("both ended in order", |now| now.closes(CloseReason::PeerClosed) == 2);
    serving.end();
}

fn write_config(rig: &Rig, more: &str) -> PathBuf {
    let (cert, key, ca) =
        (rig.folder.file("server.pem"), rig.folder.file("server.key"), rig.folder.file("ca.pem"));
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\ntls.cert = {:?}\ntls.key = {:?}\n{}\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"line\"\n",
        text(&cert),
        text(&key),
        more.replace("CA", text(&ca)),
    );
    rig.folder.write("tidegate.toml", config)
}

#[test]
fn the_binary_speaks_tls_as_its_configuration_says() {
    let rig = Rig::new();
    let config = write_config(&rig, "tls.client = \"required\"\ntls.client_ca = \"CA\"");
    let process = Process::start(Command::new(BINARY).args(["serve", "--config", text(&config)]));
    let (cert, key) = rig.authority.issue(&Wanted::client("anna", 7)).write(&rig.folder, "anna");
    let address = process.frames.to_string();
    let ca = rig.folder.file("ca.pem");
    let shown = ["--tls-cert", text(&cert), "--tls-key", text(&key)];
    let send = |more: &[&str]| run(Command::new(BINARY).args(["send", &address, "hello"]).args(more));
    let (code, out, errors) = send(&[&["--tls", "--tls-ca", text(&ca)][..], &shown].concat());
    assert_eq!((code, out.as_str()), (Some(0), "hello\n"), "{errors}");
    let (code, out, errors) = send(&[&["--tls", "--tls-insecure"][..], &shown].concat());
    assert_eq!((code, out.as_str()), (Some(0), "hello\n"), "{errors}");
    let (code, _, errors) = send(&["--tls", "--tls-ca", text(&ca)]);
    assert!(code == Some(1) && errors.contains("CertificateRequired"), "{errors}");
    let (code, _, errors) = send(&["--tls", "--tls-ca", text(&ca), "--tls-name", "elsewhere.example"]);
    assert!(code == Some(1) && errors.contains("not valid for name"), "{errors}");
    let (code, _, errors) = send(&["--tls"]);
    assert!(code == Some(2) && errors.contains("--tls-ca FILE"), "{errors}");
    for plainly in [&[][..], &["--lines"]] {
        let (code, _, errors) = send(plainly);
        assert!(code == Some(1) && errors.contains("the server speaks TLS here"), "{errors}");
        assert!(errors.contains("try --tls"), "{errors}");
    }
    process.end();
    // A pair that does not fit is told before anything listens.
    rig.folder.write("server.key", rig.authority.issue(&Wanted::server()).key);
    let (code, _, errors) = run(Command::new(BINARY).args(["serve", "--config", text(&config)]));
    assert!(code == Some(2) && errors.contains("this key does not belong to the certificate in"), "{errors}");
}

/// The load generator checks each reply, so none that is wrong passes; and churn makes handshakes all the time.
#[test]
fn the_load_generator_speaks_tls() {
    let rig = Rig::new();
    let serving = rig.serving();
    let address = serving.frames().to_string();
    let ca = rig.folder.file("ca.pem");
    let report = rig.folder.file("report.json");
    let run_with = |more: &[&str]| {
        let usual = [
            "bench",
            &address,
            "--quiet",
            "--tls",
            "--tls-ca",
            text(&ca),
            "--warmup",
            "0s",
            "--duration",
            "1s",
        ];
        run(Command::new(BINARY).args(usual).args(["--json", text(&report)]).args(more))
    };
    let runs: [&[&str]; 3] = [
        &["-c", "4", "-i", "8", "--size", "1..3000"],
        &["-c", "3", "--size", "200000", "--churn", "100ms"],
        &["-c", "3", "--rate", "500", "--impair", "slow=40%"],
    ];
    for more in runs {
        let _ = std::fs::remove_file(&report);
        let (_, out, errors) = run_with(more);
        let told = std::fs::read_to_string(&report).unwrap_or_else(|_| panic!("no report: {out} {errors}"));
        let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!(told["troubles"], serde_json::json!({}), "{more:?}: {errors}");
        assert_eq!(told["statuses"], serde_json::json!({}), "{more:?}: {errors}");
        serving.wait_for_rest(0);
    }
    let now = serving.snapshot();
    assert!(now.counter(Counter::Started) > 500 && now.counter(Counter::TlsResumed) > 0, "{now:?}");
    assert_eq!(now.closes(CloseReason::TlsBroken), 0);
    serving.end();
}
