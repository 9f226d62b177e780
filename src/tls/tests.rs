//! Sessions over pipes that take and give as little as they like; files of all kinds.

#[path = "../../tests/support/authority.rs"]
#[allow(dead_code, unreachable_pub, reason = "integration tests use the rest")]
pub(crate) mod authority;

use super::*;
use authority::{Authority, Folder, Wanted};
use proptest::prelude::*;
use rcgen::SanType;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::time::Duration;

/// One direction.
#[derive(Debug, Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    capacity: usize,
    has_ended: bool,
}

/// One end, that moves so many bytes a call at most.
struct End<'a> {
    input: &'a mut Pipe,
    output: &'a mut Pipe,
    most: usize,
}

impl Read for End<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.input.bytes.len().min(into.len()).min(self.most);
        if count == 0 {
            return if self.input.has_ended { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        into[..count].iter_mut().zip(self.input.bytes.drain(..count)).for_each(|(to, byte)| *to = byte);
        Ok(count)
    }
}

impl Write for End<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let room = self.output.capacity - self.output.bytes.len();
        let count = from.len().min(room).min(self.most);
        self.output.bytes.extend(&from[..count]);
        if count == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Two sessions and what lies between them.
struct Rig {
    server: Secure,
    client: Secure,
    up: Pipe,
    down: Pipe,
    most: usize,
    cipher: Vec<u8>,
}

struct Files {
    folder: Folder,
    authority: Authority,
    files: TlsFiles,
}

impl Files {
    fn new() -> Files {
        let (folder, authority) = (Folder::new(), Authority::new("test"));
        let (cert, key) = authority.issue(&Wanted::server()).write(&folder, "server");
        authority.write(&folder, "ca.pem");
        Files { files: TlsFiles::new(cert, key), folder, authority }
    }

    fn options(&self) -> ConnectorOptions {
        ConnectorOptions { ca: Some(self.folder.file("ca.pem")), ..ConnectorOptions::default() }
    }

    fn client(&self, wanted: &Wanted) -> ConnectorOptions {
        let (cert, key) =
            self.authority.issue(wanted).write(&self.folder, &format!("client{}", wanted.serial));
        ConnectorOptions { cert: Some(cert), key: Some(key), ..self.options() }
    }
}

impl Rig {
    fn new(acceptor: &Acceptor, connector: &Connector, most: usize) -> Rig {
        let pipe = || Pipe { capacity: 64 << 10, ..Pipe::default() };
        let client = connector.start("127.0.0.1:1").expect("a name");
        let server = acceptor.start().expect("a session");
        Rig { server, client, up: pipe(), down: pipe(), most, cipher: vec![0; 64 << 10] }
    }

    /// Until both are through, or why not: the server's reason first.
    fn shake(&mut self) -> Result<(), Failed> {
        let (mut server, mut client) = (Progress::Again, Progress::Again);
        for _ in 0..100_000 {
            if client != Progress::Done {
                let end = End { input: &mut self.down, output: &mut self.up, most: self.most };
                client = match self.client.shake(end, &mut self.cipher) {
                    Ok(progress) => progress,
                    Err(why) => {
                        let end = End { input: &mut self.up, output: &mut self.down, most: self.most };
                        return Err(self.server.shake(end, &mut self.cipher).err().unwrap_or(why));
                    }
                };
            }
            if server != Progress::Done {
                let end = End { input: &mut self.up, output: &mut self.down, most: self.most };
                server = self.server.shake(end, &mut self.cipher)?;
            }
            if (server, client) == (Progress::Done, Progress::Done) {
                return Ok(());
            }
        }
        panic!("it does not end: {server:?} {client:?}");
    }

    fn read(&mut self, room: &[usize]) -> io::Result<(Vec<u8>, bool)> {
        let mut rooms: Vec<Vec<u8>> = room.iter().map(|bytes| vec![0; *bytes]).collect();
        let mut slices: Vec<_> = rooms.iter_mut().map(|room| IoSliceMut::new(room)).collect();
        let end = End { input: &mut self.up, output: &mut self.down, most: self.most };
        let brought = self.server.read(end, &mut slices, &mut self.cipher)?;
        let mut all = rooms.concat();
        assert!(brought.bytes <= all.len());
        all.truncate(brought.bytes);
        Ok((all, brought.is_drained))
    }

    fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let end = End { input: &mut self.down, output: &mut self.up, most: self.most };
        self.client.write(end, slices)
    }
}

fn shaken(most: usize) -> (Files, Rig) {
    let files = Files::new();
    let acceptor = Acceptor::new(files.files.clone()).expect("good files");
    let connector = Connector::new(&files.options()).expect("good files");
    let mut rig = Rig::new(&acceptor, &connector, most);
    rig.shake().expect("they trust each other");
    (files, rig)
}

/// Offers what was not taken again, as a queue does, while the other side reads.
fn pass(rig: &mut Rig, text: &[u8], cuts: &[usize], room: &[usize]) -> Vec<u8> {
    let (mut taken, mut got) = (0, Vec::new());
    for _ in 0..10_000_000_u64 {
        if taken < text.len() {
            let mut rest = &text[taken..];
            let mut slices = Vec::new();
            for cut in cuts.iter().cycle().take(60) {
                let (one, more) = rest.split_at((*cut).min(rest.len()));
                slices.push(IoSlice::new(one));
                rest = more;
            }
            slices.push(IoSlice::new(rest));
            match rig.send(&slices) {
                Ok(count) => taken += count,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        match rig.read(room) {
            Ok((bytes, _)) => got.extend(bytes),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        if got.len() == text.len() && taken == text.len() {
            return got;
        }
    }
    panic!("it does not end at {taken} taken, {} got", got.len());
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap()).collect()
}

#[test]
fn bytes_come_as_they_went_however_the_socket_cuts_them() {
    for most in [1, 2, 3, 5, 64, 1000, 1 << 20] {
        let (_files, mut rig) = shaken(most);
        assert!(rig.server.spoken().is_newest && !rig.server.spoken().is_resumed);
        let text = pattern(50_000);
        assert_eq!(pass(&mut rig, &text, &[1, 100, 7000], &[10, 5000, 300]), text, "{most} bytes a call");
        assert!(!rig.server.holds_input());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Where the socket and the slices cut must not matter.
    #[test]
    fn chunking_never_changes_the_plaintext(
        most in (0_u32..18, 0_usize..100).prop_map(|(bits, more)| (1 << bits) + more), cuts in prop::collection::vec(0_usize..20_000, 1..5),
        room in prop::collection::vec(1_usize..100_000, 1..4), bytes in 1_usize..200_000,
    ) {
        let (_files, mut rig) = shaken(most);
        let text = pattern(bytes);
        prop_assert_eq!(pass(&mut rig, &text, &cuts, &room), text);
    }
}

#[test]
fn a_large_reply_through_a_narrow_socket_is_never_far_ahead() {
    let (_files, mut rig) = shaken(1);
    let text = pattern(1 << 20);
    let mut offered = &text[..];
    // The socket takes a single byte of each flush, and then nothing.
    rig.up.capacity = rig.up.bytes.len() + 1;
    assert_eq!(rig.send(&[IoSlice::new(offered)]).unwrap_err().kind(), ErrorKind::WouldBlock);
    let mut got = Vec::new();
    while !offered.is_empty() {
        rig.up.capacity = rig.up.bytes.len() + 997;
        match rig.send(&[IoSlice::new(offered)]) {
            Ok(count) => offered = &offered[count..],
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        rig.most = usize::MAX;
        if let Ok((bytes, _)) = rig.read(&[100_000]) {
            got.extend(bytes);
        }
        // What has arrived, and what the writer was told to be written, are never more than a record apart.
        assert!((text.len() - offered.len()).abs_diff(got.len()) <= 17 << 10);
    }
    while got.len() < text.len() {
        got.extend(rig.read(&[100_000]).expect("it is all there").0);
    }
    assert_eq!(got, text);
}

/// A queue may show less of its front than it did before: what is out is reported bit by bit.
#[test]
fn what_is_ahead_is_reported_as_it_is_offered() {
    let (_files, mut rig) = shaken(usize::MAX);
    let text = pattern(10_000);
    rig.up.capacity = rig.up.bytes.len();
    assert_eq!(rig.send(&[IoSlice::new(&text)]).unwrap_err().kind(), ErrorKind::WouldBlock);
    rig.up.capacity = 64 << 10;
    let mut taken = 0;
    for part in [100, 1, 4000] {
        assert_eq!(rig.send(&[IoSlice::new(&text[taken..taken + part])]).unwrap(), part);
        taken += part;
    }
    assert_eq!(rig.send(&[IoSlice::new(&text[taken..])]).unwrap(), text.len() - taken);
    assert_eq!(rig.read(&[20_000]).expect("all of it, once").0, text);
}

#[test]
fn an_end_is_in_order_only_with_close_notify() {
    let (_files, mut rig) = shaken(usize::MAX);
    assert_eq!(rig.send(&[IoSlice::new(b"last")]).unwrap(), 4);
    let end = End { input: &mut rig.down, output: &mut rig.up, most: usize::MAX };
    rig.client.close(end).expect("there is room");
    let (bytes, is_drained) = rig.read(&[100]).expect("the text");
    assert_eq!((&bytes[..], is_drained), (&b"last"[..], false), "no event tells of the end behind it");
    assert_eq!(rig.read(&[100]).expect("the end"), (Vec::new(), true));
    let (_files, mut rig) = shaken(usize::MAX);
    rig.send(&[IoSlice::new(b"last")]).unwrap();
    rig.up.has_ended = true;
    assert_eq!(rig.read(&[100]).expect("the text").0, b"last");
    assert_eq!(rig.read(&[100]).unwrap_err().kind(), ErrorKind::UnexpectedEof, "anybody could have cut it");
}

#[test]
fn whoever_changes_a_byte_is_found_out_and_told() {
    let (_files, mut rig) = shaken(usize::MAX);
    rig.send(&[IoSlice::new(b"a message")]).unwrap();
    *rig.up.bytes.back_mut().unwrap() ^= 1;
    rig.down.bytes.clear();
    assert_eq!(rig.read(&[100]).unwrap_err().kind(), ErrorKind::InvalidData);
    assert!(!rig.down.bytes.is_empty(), "an alert");
}

#[test]
fn plain_speech_is_told_apart_and_answered_by_an_alert() {
    let files = Files::new();
    let acceptor = Acceptor::new(files.files.clone()).unwrap();
    for said in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0\x01\0\0\0\x05helloxxxx", b"PROXY TCP4 1.2.3.4"] {
        let mut server = acceptor.start().unwrap();
        let mut up = Pipe { bytes: said.iter().copied().collect(), ..Pipe::default() };
        let mut down = Pipe { capacity: 100, ..Pipe::default() };
        let end = End { input: &mut up, output: &mut down, most: 100 };
        let told = server.shake(end, &mut [0; 8192]);
        assert_eq!(told, Err(Failed::Plaintext { first: said[0] }));
        assert_eq!(down.bytes.front(), Some(&0x15), "an alert");
    }
}

#[test]
fn clients_are_let_in_by_their_certificates() {
    let mut files = Files::new();
    let stranger = Authority::new("stranger");
    files.files.client_ca = Some(files.folder.file("ca.pem"));
    let revoked = files.authority.revoked(&[66]);
    files.files.revoked = Some(files.folder.write("revoked.pem", revoked));
    let strange = |stem: &str| {
        let (cert, key) = stranger.issue(&Wanted::client("x", 1)).write(&files.folder, stem);
        ConnectorOptions { cert: Some(cert), key: Some(key), ..files.options() }
    };
    type Case =
        (&'static str, ClientAuth, ConnectorOptions, Result<Option<&'static str>, fn(&Failed) -> bool>);
    let table: Vec<Case> = vec![
        ("a good one", ClientAuth::Required, files.client(&Wanted::client("anna", 7)), Ok(Some("anna"))),
        ("none", ClientAuth::Required, files.options(), Err(|why| *why == Failed::NoCertificate)),
        ("none, and none needed", ClientAuth::Optional, files.options(), Ok(None)),
        ("not asked for", ClientAuth::Off, files.client(&Wanted::client("anna", 7)), Ok(None)),
        ("a stranger's", ClientAuth::Optional, strange("s"), Err(|why| matches!(why, Failed::Untrusted(_)))),
        (
            "expired",
            ClientAuth::Required,
            files.client(&Wanted::client("old", 8).lives(Duration::ZERO)),
            Err(|why| *why == Failed::Expired),
        ),
        (
            "revoked",
            ClientAuth::Required,
            files.client(&Wanted::client("bad", 66)),
            Err(|why| *why == Failed::Revoked),
        ),
    ];
    for (name, client, options, want) in table {
        let acceptor = Acceptor::new(TlsFiles { client, ..files.files.clone() }).expect("good files");
        let connector = Connector::new(&options).expect("good files");
        let mut rig = Rig::new(&acceptor, &connector, usize::MAX);
        match (rig.shake(), want) {
            (Ok(()), Ok(want)) => assert_eq!(rig.server.identity().as_deref(), want, "case: {name}"),
            (Err(why), Err(is_it)) => assert!(is_it(&why), "case: {name}: {why:?}"),
            (got, _) => panic!("case: {name}: {got:?}"),
        }
    }
}

#[test]
fn the_first_name_that_says_who_it_is_counts() {
    let (folder, authority) = (Folder::new(), Authority::new("test"));
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let table: Vec<(Vec<SanType>, Option<&'static str>, Option<&str>)> = vec![
        (vec![dns("a.example"), dns("b.example")], Some("cn"), Some("a.example")),
        (vec![SanType::URI("spiffe://x/y".try_into().unwrap()), dns("b")], None, Some("spiffe://x/y")),
        (vec![SanType::Rfc822Name("a@b".try_into().unwrap())], None, Some("a@b")),
        (vec![SanType::IpAddress([127, 0, 0, 1].into())], Some("cn"), Some("cn")),
        (vec![], Some("Änna"), Some("Änna")),
        (vec![], Some("line\nfeed"), None),
        (vec![], None, None),
    ];
    for (names, common_name, want) in table {
        let wanted = Wanted { names, common_name, serial: 9, lives: Duration::from_secs(1000) };
        let (cert, _) = authority.issue(&wanted).write(&folder, "one");
        let der = &super::files::certificates(&cert).unwrap()[0];
        let read = Certificate::of(der).expect("it can be read");
        assert_eq!(read.name.as_deref(), want, "case: {wanted:?}");
        let left = read.not_after - calendar();
        assert!((990..=1000).contains(&left) && !read.is_over(calendar()) && read.is_over(calendar() + 1001));
    }
}

proptest! {
    /// Whatever was signed, reading it ends in a value.
    #[test]
    fn damaged_certificates_are_values(at in 0_usize..600, byte: u8, cut in 0_usize..600) {
        use std::sync::OnceLock;
        static GOOD: OnceLock<Vec<u8>> = OnceLock::new();
        let good = GOOD.get_or_init(|| {
            let folder = Folder::new();
            let (cert, _) = Authority::new("test").issue(&Wanted::client("anna", 7)).write(&folder, "one");
            super::files::certificates(&cert).unwrap()[0].to_vec()
        });
        let mut bytes = good.clone();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        let _ = Certificate::of(&bytes.clone().into());
        bytes.truncate(cut);
        prop_assert!(Certificate::of(&bytes.into()).is_none() || cut >= good.len());
    }
}

#[test]
fn files_that_are_no_good_are_told_with_what_to_do() {
    let files = Files::new();
    let folder = &files.folder;
    let (cert, key) = (&files.files.cert, &files.files.key);
    let (other, _) = files.authority.issue(&Wanted::server()).write(folder, "other");
    let (old, old_key) = files.authority.issue(&Wanted::server().lives(Duration::ZERO)).write(folder, "old");
    let garbage =
        folder.write("garbage.pem", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
    let (nothing, empty) = (folder.file("nothing.pem"), folder.write("empty.pem", ""));
    let table = [
        (nothing.as_path(), key.as_path(), "nothing.pem: cannot be read: No such file"),
        (&empty, key, "empty.pem: no PEM section \"BEGIN CERTIFICATE\""),
        (&garbage, key, "garbage.pem: no proper PEM"),
        (cert, &empty, "empty.pem: no PEM section \"BEGIN PRIVATE KEY\""),
        (cert, cert, "server.pem: no PEM section \"BEGIN PRIVATE KEY\""),
        (&other, key, "server.key: this key does not belong to the certificate in"),
        (&old, &old_key, "old.pem: the certificate expired 6"),
    ];
    for (cert, key, want) in table {
        let error = Acceptor::new(TlsFiles::new(cert, key)).unwrap_err().to_string();
        assert!(error.contains(want), "want {want}: {error}");
    }
    let ca = TlsFiles {
        client_ca: Some(folder.file("ca.pem")),
        client: ClientAuth::Required,
        ..files.files.clone()
    };
    let bad_list = TlsFiles { revoked: Some(cert.clone()), ..ca.clone() };
    let error = Acceptor::new(bad_list).unwrap_err().to_string();
    assert!(error.contains("server.pem: no PEM section \"BEGIN X509 CRL\""), "{error}");
    let nobody = TlsFiles { client_ca: None, ..ca };
    assert!(Acceptor::new(nobody).unwrap_err().to_string().contains("no client_ca says whose"));
}

#[test]
fn a_reload_is_whole_and_keeps_tickets_that_still_hold() {
    let mut files = Files::new();
    files.files = files.files.clone().client_ca(files.folder.file("ca.pem"));
    files.files.revoked = Some(files.folder.write("revoked.pem", files.authority.revoked(&[])));
    let acceptor = Acceptor::new(files.files.clone()).unwrap();
    let connector = Connector::new(&files.client(&Wanted::client("anna", 7))).unwrap();
    let meet = |want_resumed: bool| {
        let mut rig = Rig::new(&acceptor, &connector, usize::MAX);
        rig.shake().expect("they trust each other");
        assert_eq!(rig.server.spoken().is_resumed, want_resumed);
        assert_eq!(rig.server.identity().as_deref(), Some("anna"), "also by a ticket");
        // The ticket comes behind the handshake.
        let end = End { input: &mut rig.down, output: &mut rig.up, most: usize::MAX };
        let _ = rig.client.read(end, &mut [IoSliceMut::new(&mut [0; 10])], &mut rig.cipher);
        rig
    };
    meet(false);
    meet(true);
    files.authority.issue(&Wanted::server()).write(&files.folder, "server");
    let told = acceptor.reload().expect("a new pair");
    assert_eq!(told, Reloaded { keeps_tickets: true, checks_clients: false });
    meet(true);
    // A key of another pair: all stays as it was.
    let mismatched = files.authority.issue(&Wanted::server());
    let good = std::fs::read(files.folder.file("server.key")).unwrap();
    files.folder.write("server.key", &mismatched.key);
    assert!(matches!(acceptor.reload(), Err(TlsError::Mismatch { .. })));
    let live = meet(true);
    files.folder.write("server.key", good);
    files.folder.write("revoked.pem", files.authority.revoked(&[7]));
    let told = acceptor.reload().expect("a new list");
    assert_eq!(told, Reloaded { keeps_tickets: false, checks_clients: true });
    assert!(acceptor.is_revoked(live.server.certificate().unwrap()), "who is there is found");
    let mut rig = Rig::new(&acceptor, &connector, usize::MAX);
    assert_eq!(rig.shake(), Err(Failed::Revoked), "a ticket from before is worth nothing");
}

#[test]
fn both_versions_are_spoken_and_names_are_checked() {
    let files = Files::new();
    let acceptor = Acceptor::new(files.files.clone()).unwrap();
    let old = Connector::new(&ConnectorOptions { is_old: true, ..files.options() }).unwrap();
    let mut rig = Rig::new(&acceptor, &old, usize::MAX);
    rig.shake().expect("1.2 is good enough");
    assert!(!rig.server.spoken().is_newest && rig.server.spoken().cipher.starts_with("TLS_ECDHE_"));
    let text = pattern(20_000);
    assert_eq!(pass(&mut rig, &text, &[900], &[100_000]), text);
    let named = ConnectorOptions { name: Some("elsewhere.example".to_owned()), ..files.options() };
    let mut rig = Rig::new(&acceptor, &Connector::new(&named).unwrap(), usize::MAX);
    assert!(matches!(rig.shake(), Err(Failed::Refused(_) | Failed::Untrusted(_))));
    let insecure = ConnectorOptions { insecure: true, ca: None, ..named };
    Rig::new(&acceptor, &Connector::new(&insecure).unwrap(), usize::MAX).shake().expect("whoever it is");
    assert!(Connector::new(&ConnectorOptions::default()).is_err(), "nobody is trusted without being named");
}
