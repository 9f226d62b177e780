//! Law: HELLO and WELCOME are read as a naive reader reads them, field by field, and refused when that refuses them;
//! what was read is encoded to the very same payload; any greeting that can be built comes back. Among users, who sends
//! the token of one is that one; without a token, who has the certificate of one (here: its client id); nobody else is
//! anybody. The input is a choice, then a payload or the fields of a greeting.
#![no_main]

use std::sync::{Arc, OnceLock};
use tidegate::base::Address;
use tidegate::identity::{People, Standing, TokenHash, User, Users};
use tidegate::wire::{
    ClientId, Control, ControlFrame, Crc, Decoded, Extension, FrameLimits, Header, Hello, TlvWriter, Tlvs,
    Welcome, decode,
};
use tidegate_fuzz::{Cut, naive};

const HELLO: u16 = 0x4002;
const WELCOME: u16 = 0x4003;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut cut = Cut::new(data);
    match cut.u8() % 3 {
        0 => read_hello(cut.rest()),
        1 => read_welcome(cut.rest()),
        _ => built(cut),
    }
});

fn read_hello(payload: &[u8]) {
    let (parsed, want) = (Control::parse(Header::from_bits(HELLO), payload), naive::hello(payload));
    match (parsed, want) {
        (Ok(control @ Control::Hello(hello)), Some(want)) => {
            let got = (
                hello.version,
                hello.flags,
                hello.client_id.to_owned(),
                hello.token.to_vec(),
                tags(hello.tlvs),
            );
            assert_eq!(got, want);
            let max_receive =
                want.4.iter().find(|(tag, _)| *tag == Hello::MAX_RECEIVE).map(|(_, value)| value);
            assert_eq!(hello.max_receive().map(|bytes| bytes.to_be_bytes().to_vec()).as_ref(), max_receive);
            assert_eq!(hello.client_id.is_empty(), ClientId::parse(hello.client_id).is_none());
            comes_back(ControlFrame { control, extension: None }, payload);
            judge(&hello);
        }
        (Err(_), None) => {}
        (parsed, want) => panic!("{parsed:?}, and by hand {want:?}"),
    }
}

/// Their names, tokens and certificates.
const USERS: [(&str, &str, &str); 3] =
    [("alice", "alice.open-sesame", ""), ("bob", "bob.", "bob-1"), ("carol", "", "carol-1")];

fn users() -> Arc<Users> {
    static USERS_MADE: OnceLock<Arc<Users>> = OnceLock::new();
    let make = || {
        let mut users = Users::new();
        for (name, token, certificate) in USERS {
            let mut user = User::new(name).expect("a name");
            if !token.is_empty() {
                user = user.token(TokenHash::of([9; TokenHash::SALT_BYTES], token.as_bytes()));
            }
            if !certificate.is_empty() {
                user = user.certificate(certificate);
            }
            users.add(user).expect("one more");
        }
        Arc::new(users)
    };
    Arc::clone(USERS_MADE.get_or_init(make))
}

fn judge(hello: &Hello<'_>) {
    let certificate = (!hello.client_id.is_empty()).then_some(hello.client_id);
    let is_of = |(_, token, name): &&(&str, &str, &str)| match hello.token {
        b"" => certificate == Some(*name),
        given => given == token.as_bytes(),
    };
    let want = USERS.iter().find(is_of).map(|(name, ..)| *name);
    let found = users().authenticate(hello.token, certificate).map(|user| user.name().to_owned());
    assert_eq!(found.as_deref(), want);
    // A connection that says this is that user, or nobody; and is told why, without a byte of what it said.
    let mut people = People::new(users(), 0);
    people.enter(0, Address::Unix, certificate.map(Into::into));
    let judged = people.judge_hello(0, hello.token, 0);
    assert_eq!(judged.is_ok(), want.is_some());
    if judged.is_ok() {
        assert_eq!(people.user(0).map(|user| user.name()), want);
    }
    let is_somebody = people.user(0).is_some();
    people.replace(Arc::default());
    assert_eq!(people.standing(0), if is_somebody { Standing::Removed } else { Standing::Nobody });
    assert_eq!((people.standing(0), people.user(0)), (Standing::Nobody, None));
}

fn read_welcome(payload: &[u8]) {
    let (parsed, want) = (Control::parse(Header::from_bits(WELCOME), payload), naive::welcome(payload));
    match (parsed, want) {
        (Ok(control @ Control::Welcome(welcome)), Some(want)) => {
            let (most, heartbeat) = (u64::from(welcome.max_payload), u64::from(welcome.heartbeat_ms));
            let ids = (welcome.server_id.to_owned(), welcome.client_id.to_owned());
            let got = (welcome.version, welcome.flags, most, heartbeat, ids.0, ids.1, tags(welcome.tlvs));
            assert_eq!(got, want);
            comes_back(ControlFrame { control, extension: None }, payload);
        }
        (Err(_), None) => {}
        (parsed, want) => panic!("{parsed:?}, and by hand {want:?}"),
    }
}

/// A greeting from its fields, HELLO with a block or without.
fn built(mut cut: Cut<'_>) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    let (choice, version, flags) = (cut.u8(), cut.u8(), cut.u8());
    let mut id = |least: usize| -> String {
        let length = usize::from(cut.u8()) % 64 + least;
        (0..length).map(|_| char::from(LETTERS[usize::from(cut.u8()) % 64])).collect()
    };
    let (first, second) = (id(choice.into()).chars().take(64).collect::<String>(), id(1));
    let number = u32::from(cut.u16()) << 16 | u32::from(cut.u16());
    let writer =
        TlvWriter::new().tag(Hello::MAX_RECEIVE, &number.to_be_bytes()).tag(cut.u8() | 2, cut.bytes(20));
    let (tlvs, token) = (if choice & 1 == 0 { Tlvs::default() } else { writer.tlvs() }, cut.rest());
    let token = &token[..token.len().min(3000)];
    let extension = Extension { correlation: Some(number.into()), ..Extension::default() };
    let hello = Hello { version, flags, client_id: &first, token, tlvs };
    let (max_payload, heartbeat_ms) = (number, number.rotate_left(7));
    let (server_id, client_id) = (second.as_str(), second.as_str());
    let welcome = Welcome { version, flags, max_payload, heartbeat_ms, server_id, client_id, tlvs };
    for frame in [
        ControlFrame { control: Control::Hello(hello), extension: None },
        ControlFrame { control: Control::Hello(hello), extension: Some(extension) },
        ControlFrame { control: Control::Welcome(welcome), extension: None },
    ] {
        let (mut bytes, crc) = (Vec::new(), Crc::new());
        frame.encode(&mut bytes, &crc);
        let Ok(Decoded::Frame(raw)) = decode(&bytes, FrameLimits::new(0), &crc) else {
            panic!("{frame:?} is no frame")
        };
        assert_eq!(ControlFrame::parse(raw.header, raw.payload), Ok(frame));
    }
    assert!(naive::hello(&payload_of(Control::Hello(hello))).is_some());
    assert!(naive::welcome(&payload_of(Control::Welcome(welcome))).is_some());
}

fn comes_back(frame: ControlFrame<'_>, payload: &[u8]) {
    assert_eq!(payload_of(frame.control), payload);
}

fn payload_of(control: Control<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    control.encode(&mut bytes, &Crc::new());
    bytes[6..bytes.len() - 4].to_vec()
}

fn tags(tlvs: Tlvs<'_>) -> naive::Tags {
    tlvs.iter().map(|(tag, value)| (tag, value.to_vec())).collect()
}
