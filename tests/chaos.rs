//! The proxy that other tests blame: each fault does what it says at the byte where it says it, is counted and noted,
//! and everything else arrives as it was sent.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::chaos::{Fault, LANE_BYTES, Plan, Proxy, Record, Way};
use support::{PATIENCE, pattern, wait_until};

/// A client, and the server's end of its connection through a proxy.
struct Rig {
    client: TcpStream,
    server: TcpStream,
    proxy: Proxy,
}

fn up(fault: Fault) -> Plan {
    Plan { up: vec![fault], down: vec![] }
}

fn rig(plan: Plan) -> Rig {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let proxy = Proxy::start(listener.local_addr().expect("it is bound"), move |_| plan.clone());
    let client = TcpStream::connect(proxy.address).expect("the proxy listens");
    let (server, _) = listener.accept().expect("the proxy connects");
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE)).expect("any time will do");
        stream.set_nodelay(true).expect("an option of a fresh socket");
    }
    Rig { client, server, proxy }
}

impl Rig {
    fn record(&self) -> Arc<Record> {
        let from = self.client.local_addr().expect("it is connected");
        self.proxy.record(from).expect("it was accepted")
    }

    /// This was done once, and nothing else.
    #[track_caller]
    fn expect_done(&self, way: Way, name: &str) {
        let want: Vec<u64> = Fault::NAMES.iter().map(|other| u64::from(*other == name)).collect();
        assert_eq!(self.proxy.done()[..], want, "{name}");
        assert_eq!(self.record().text(), format!("{way:?} {name}"));
    }
}

fn read(stream: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut got = vec![0; bytes];
    stream.read_exact(&mut got).expect("so many bytes come");
    got
}

/// All until the stream's end, which must not be a reset.
fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("an end, not a reset");
    got
}

/// All until the connection is reset.
fn read_to_reset(stream: &mut TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    let error = stream.read_to_end(&mut got).expect_err("a reset, not an end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    got
}

/// Nothing comes for a moment.
fn expect_silence(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(Duration::from_millis(200))).expect("any time will do");
    let error = stream.read(&mut [0]).expect_err("nothing comes");
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    stream.set_read_timeout(Some(PATIENCE)).expect("any time will do");
}

#[test]
fn without_faults_it_is_not_there() {
    let Rig { client, mut server, proxy } = rig(Plan::default());
    let (there, back) = (pattern(1, 3 << 20), pattern(2, 2 << 20));
    let mut writer = client.try_clone().expect("a second descriptor");
    let mut reader = client.try_clone().expect("a second descriptor");
    let (sent, due) = (there.clone(), back.clone());
    let sending = std::thread::spawn(move || {
        writer.write_all(&sent).expect("it is taken");
        writer.shutdown(Shutdown::Write).expect("it is up");
    });
    let receiving = std::thread::spawn(move || assert!(read_to_end(&mut reader) == due));
    let mut answering = server.try_clone().expect("a second descriptor");
    let answered = std::thread::spawn(move || answering.write_all(&back).expect("it is taken"));
    assert!(read_to_end(&mut server) == there, "the bytes are those that were sent");
    answered.join().expect("all went back");
    server.shutdown(Shutdown::Write).expect("the other direction is still up");
    sending.join().expect("all was sent");
    receiving.join().expect("all came back");
    assert_eq!((proxy.done(), proxy.accepted(), proxy.expired()), ([0; 9], 1, 0));
    assert!(proxy.held_most() <= LANE_BYTES as u64);
}

#[test]
fn a_peer_that_does_not_read_fills_the_proxy_to_its_bound() {
    let Rig { mut client, mut server, proxy } = rig(Plan::default());
    client.set_nonblocking(true).expect("it can be");
    let chunk = pattern(3, 64 << 10);
    let mut sent = Vec::new();
    let mut full_since = Instant::now();
    while full_since.elapsed() < Duration::from_millis(300) {
        match client.write(&chunk) {
            Ok(count) => {
                sent.extend_from_slice(&chunk[..count]);
                full_since = Instant::now();
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    assert_eq!(proxy.held_most(), LANE_BYTES as u64);
    client.shutdown(Shutdown::Write).expect("it is up");
    assert!(read_to_end(&mut server) == sent, "all came, when it was read");
}

#[test]
fn a_delay_delays() {
    let mut rig = rig(Plan { up: vec![], down: vec![Fault::Delay { ms: 150 }] });
    for round in 0..3 {
        let (asked, reply) = (pattern(round, 100), pattern(round, 5000));
        let began = Instant::now();
        rig.client.write_all(&asked).expect("it is taken");
        assert_eq!(read(&mut rig.server, 100), asked);
        rig.server.write_all(&reply).expect("it is taken");
        assert_eq!(read(&mut rig.client, 5000), reply);
        assert!(began.elapsed() >= Duration::from_millis(150), "{:?}", began.elapsed());
    }
    rig.expect_done(Way::Down, "delay");
}

#[test]
fn a_cap_caps() {
    let mut rig = rig(up(Fault::Cap { bytes_per_second: 200_000 }));
    let bytes = pattern(4, 100_000);
    let began = Instant::now();
    rig.client.write_all(&bytes).expect("the kernel takes as much");
    assert!(read(&mut rig.server, bytes.len()) == bytes);
    // Half a second, less the burst that it may begin with.
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
    rig.expect_done(Way::Up, "cap");
}

#[test]
fn split_bytes_leave_one_by_one() {
    let mut rig = rig(up(Fault::Split { from: 100, bytes: 500 }));
    let bytes = pattern(5, 2000);
    rig.client.write_all(&bytes).expect("it is taken");
    assert!(read(&mut rig.server, bytes.len()) == bytes);
    rig.expect_done(Way::Up, "split");
    let writes = rig.record().writes(Way::Up);
    assert!(
        (502..600).contains(&writes),
        "{writes} writes for 500 bytes, and what was before and behind them"
    );
}

#[test]
fn a_flip_changes_one_bit() {
    for at in [0, 777, 1999] {
        let mut rig = rig(up(Fault::Flip { at, bit: 5 }));
        let mut bytes = pattern(6, 2000);
        rig.client.write_all(&bytes).expect("it is taken");
        bytes[usize::try_from(at).expect("small")] ^= 1 << 5;
        assert!(read(&mut rig.server, bytes.len()) == bytes, "byte {at}");
        rig.expect_done(Way::Up, "flip");
    }
}

#[test]
fn a_flip_behind_the_last_byte_is_not_counted() {
    let mut rig = rig(up(Fault::Flip { at: 100, bit: 0 }));
    rig.client.write_all(&[7; 100]).expect("it is taken");
    assert_eq!(read(&mut rig.server, 100), [7; 100]);
    assert_eq!((rig.proxy.done(), rig.record().text()), ([0; 9], "nothing".to_owned()));
}

#[test]
fn a_freeze_ends() {
    let mut rig = rig(up(Fault::Freeze { at: 300, ms: 250 }));
    let bytes = pattern(7, 1000);
    let began = Instant::now();
    rig.client.write_all(&bytes).expect("it is taken");
    assert_eq!(read(&mut rig.server, 300), bytes[..300]);
    assert_eq!(read(&mut rig.server, 700), bytes[300..]);
    assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
    rig.expect_done(Way::Up, "freeze");
}

#[test]
fn a_hold_never_ends_and_the_other_direction_goes_on() {
    let mut rig = rig(up(Fault::Hold { at: 300 }));
    let bytes = pattern(8, 1000);
    rig.client.write_all(&bytes).expect("it is taken");
    assert_eq!(read(&mut rig.server, 300), bytes[..300]);
    expect_silence(&mut rig.server);
    rig.server.write_all(&bytes).expect("it is taken");
    assert_eq!(read(&mut rig.client, 1000), bytes);
    rig.expect_done(Way::Up, "hold");
    rig.client.shutdown(Shutdown::Write).expect("it is up");
    assert_eq!(read_to_reset(&mut rig.server), b"", "the rest never comes");
}

#[test]
fn a_half_close_ends_one_direction() {
    let mut rig = rig(up(Fault::HalfClose { at: 300 }));
    let bytes = pattern(9, 1000);
    rig.client.write_all(&bytes).expect("it is taken");
    assert_eq!(read_to_end(&mut rig.server), bytes[..300]);
    rig.client.write_all(&bytes).expect("what comes later is thrown away");
    rig.server.write_all(&bytes).expect("it is taken");
    assert_eq!(read(&mut rig.client, 1000), bytes);
    rig.server.shutdown(Shutdown::Write).expect("it is up");
    assert_eq!(read_to_end(&mut rig.client), b"");
    rig.expect_done(Way::Up, "half_close");
}

#[test]
fn a_truncation_ends_both_directions_without_a_reset() {
    for at in [0, 300] {
        let mut rig = rig(up(Fault::Truncate { at }));
        let bytes = pattern(10, 1000);
        rig.client.write_all(&bytes).expect("it is taken");
        assert_eq!(read_to_end(&mut rig.server), bytes[..usize::try_from(at).expect("small")]);
        assert_eq!(read_to_end(&mut rig.client), b"");
        rig.expect_done(Way::Up, "truncate");
    }
}

#[test]
fn a_reset_resets_both_peers() {
    for at in [0, 300] {
        let mut rig = rig(Plan { up: vec![], down: vec![Fault::Reset { at }] });
        let bytes = pattern(11, 1000);
        // At byte 0 it may be gone already.
        let taken = rig.server.write_all(&bytes);
        assert!(taken.is_ok() || at == 0, "{taken:?}");
        let got = read_to_reset(&mut rig.client);
        assert!(bytes[..usize::try_from(at).expect("small")].starts_with(&got), "{} bytes", got.len());
        wait_until("the server's side is reset, too", || rig.server.write(b"more").is_err());
        rig.expect_done(Way::Down, "reset");
    }
}

#[test]
fn what_peers_do_themselves_is_passed_on() {
    let Rig { client, mut server, proxy } = rig(Plan::default());
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("an option of a socket");
    drop(client);
    assert_eq!(read_to_reset(&mut server), b"");
    assert_eq!(proxy.done(), [0; 9]);
}

#[test]
fn a_server_that_is_not_there_is_a_reset() {
    let (_kept, nobody) = support::client::nobody();
    let proxy = Proxy::start(nobody, |_| Plan::default());
    let mut client = TcpStream::connect(proxy.address).expect("the proxy listens");
    client.set_read_timeout(Some(PATIENCE)).expect("any time will do");
    assert_eq!(read_to_reset(&mut client), b"");
}

#[test]
fn several_faults_of_one_direction_are_all_done() {
    let faults = vec![
        Fault::Flip { at: 20, bit: 0 },
        Fault::Split { from: 50, bytes: 50 },
        Fault::Freeze { at: 150, ms: 30 },
        Fault::Truncate { at: 200 },
    ];
    let mut rig = rig(Plan { up: faults, down: vec![Fault::Delay { ms: 10 }] });
    let mut bytes = pattern(12, 1000);
    rig.client.write_all(&bytes).expect("it is taken");
    bytes[20] ^= 1;
    assert_eq!(read_to_end(&mut rig.server), bytes[..200]);
    assert_eq!(rig.record().text(), "Up split, Up flip, Up freeze, Up truncate");
}

#[test]
fn a_seed_gives_the_same_plans_and_reaches_every_kind() {
    let plans = |seed| (0..300).map(|number| Plan::draw(seed, number, 20_000)).collect::<Vec<_>>();
    assert_eq!(plans(1), plans(1));
    assert_ne!(plans(1), plans(2));
    for seed in 0..20 {
        let mut kinds = [[0; Fault::NAMES.len()]; 2];
        let all = plans(seed);
        for plan in &all {
            plan.up.iter().for_each(|fault| kinds[0][fault.kind()] += 1);
            plan.down.iter().for_each(|fault| kinds[1][fault.kind()] += 1);
        }
        assert!(kinds.as_flattened().iter().all(|count| *count > 5), "seed {seed}: {kinds:?}");
        let harmless = all.iter().filter(|plan| **plan == Plan::default()).count();
        assert!((20..120).contains(&harmless), "seed {seed}: {harmless} without faults");
    }
}
