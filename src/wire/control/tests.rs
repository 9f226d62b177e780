use super::*;
use crate::base::Fault;
use crate::wire::frame::{Decoded, FrameLimits, decode};
use crate::wire::{ExtensionError, TlvError, TlvWriter, Trace, Unsupported};
use proptest::collection::vec;
use proptest::prelude::*;

/// Name, header, payload, want.
type Case<'a> = (&'a str, u16, &'a [u8], Result<Control<'a>, ControlError>);

/// Every fault that bytes can have is the peer's.
#[track_caller]
fn assert_is_the_peers<T>(got: &Result<T, ControlError>, name: &str) {
    if let Err(error) = got {
        assert_eq!(error.fault(), Fault::Protocol, "case: {name}");
        assert!(error.to_string().len() < 160, "case: {name}: a message fits the text that carries it");
    }
}

#[test]
fn parse_tells_frames_from_faults() {
    use ControlError::{
        BadId, ExtensionMissing, ExtensionNotAllowed, TextNotUtf8, Tlv, TooLong, TooShort, TopicTooLong,
        UnknownCode,
    };
    let goaway = Control::GoAway { status: Status::DRAINING, reconnect_after_ms: 250, text: "bye" };
    let bare_goaway = Control::GoAway { status: Status::IDLE, reconnect_after_ms: 0, text: "" };
    let error = Control::Error { status: Status::from_code(300), text: "no" };
    let bare_error = Control::Error { status: Status::INTERNAL, text: "" };
    let missed = Control::Missed { count: 258, pattern: "a.>" };
    let notice = Control::Notice { status: Status::NO_ROUTE, header: Header::route(7), text: "no" };
    let longest_topic = [&[200][..], &[b't'; 200]].concat();
    let topic = std::str::from_utf8(&longest_topic[1..]).expect("it is ASCII");
    let topic_over = [&[201][..], &[b't'; 201]].concat();
    let missed_and_more = [&[0; 8][..], b"\x01ax"].concat();
    #[rustfmt::skip]
    let table: &[Case<'_>] = &[
        ("empty ping",        0x4000, b"",                       Ok(Control::Ping(b""))),
        ("longest ping",      0x4000, &[7; 64],                  Ok(Control::Ping(&[7; 64]))),
        ("ping over it",      0x4000, &[7; 65],                  Err(TooLong { code: 0, got_bytes: 65, limit_bytes: 64 })),
        ("pong",              0x4001, b"abc",                    Ok(Control::Pong(b"abc"))),
        ("pong over it",      0x4001, &[7; 65],                  Err(TooLong { code: 1, got_bytes: 65, limit_bytes: 64 })),
        ("error",             0x4004, b"\x01\x2cno",             Ok(error)),
        ("error, no text",    0x4004, b"\0\x0a",                 Ok(bare_error)),
        ("error, half",       0x4004, b"\0",                     Err(TooShort { code: 4, got_bytes: 1, want_bytes: 2 })),
        ("error, not utf-8",  0x4004, b"\0\x0aa\xff",            Err(TextNotUtf8 { code: 4, got_bytes: 2, valid_bytes: 1 })),
        ("goaway",            0x4005, b"\0\x09\0\0\0\xfabye",    Ok(goaway)),
        ("goaway, no text",   0x4005, b"\0\x0d\0\0\0\0",         Ok(bare_goaway)),
        ("goaway, half",      0x4005, b"\0\x0d\0\0\0",           Err(TooShort { code: 5, got_bytes: 5, want_bytes: 6 })),
        ("goaway, not utf-8", 0x4005, b"\0\x0d\0\0\0\0\xc3",     Err(TextNotUtf8 { code: 5, got_bytes: 1, valid_bytes: 0 })),
        ("publish",           0x4008, b"\x03a.bbody",            Ok(Control::Publish { topic: "a.b", body: b"body" })),
        ("publish, no body",  0x4008, b"\x01a",                  Ok(Control::Publish { topic: "a", body: b"" })),
        ("longest topic",     0x4008, &longest_topic,            Ok(Control::Publish { topic, body: b"" })),
        ("topic over it",     0x4008, &topic_over,               Err(TopicTooLong { code: 8, got_bytes: 201, limit_bytes: 200 })),
        ("topic, cut",        0x4008, b"\x03a.",                 Err(TooShort { code: 8, got_bytes: 3, want_bytes: 4 })),
        ("topic, not utf-8",  0x4008, b"\x02a\xff",              Err(TextNotUtf8 { code: 8, got_bytes: 2, valid_bytes: 1 })),
        ("message",           0x4009, b"\x01a\xff\0",            Ok(Control::Message { topic: "a", body: b"\xff\0" })),
        ("message, empty",    0x4009, b"",                       Err(TooShort { code: 9, got_bytes: 0, want_bytes: 1 })),
        ("ack, no block",     0x400a, b"",                       Err(ExtensionMissing { code: 10 })),
        ("missed",            0x400b, b"\0\0\0\0\0\0\x01\x02\x03a.>", Ok(missed)),
        ("missed, half",      0x400b, b"\0\0\0\0\0\0\x01",       Err(TooShort { code: 11, got_bytes: 7, want_bytes: 8 })),
        ("missed, and more",  0x400b, &missed_and_more,          Err(TooLong { code: 11, got_bytes: 11, limit_bytes: 10 })),
        ("notice",            0x400c, b"\0\x04\0\x07no",         Ok(notice)),
        ("notice, half",      0x400c, b"\0\x04\0",               Err(TooShort { code: 12, got_bytes: 3, want_bytes: 4 })),
        ("notice, not utf-8", 0x400c, b"\0\x04\0\x07\xff",       Err(TextNotUtf8 { code: 12, got_bytes: 1, valid_bytes: 0 })),
        ("the next code",     0x400d, b"",                       Err(UnknownCode { code: 13 })),
        ("never heard of",    0x7fff, b"",                       Err(UnknownCode { code: 0x3fff })),
        ("ping with a block", 0xc000, b"",                       Err(ExtensionNotAllowed { code: 0 })),
        ("not read here",     0xc008, b"\x01\0\0\0\x01a",        Err(ExtensionNotAllowed { code: 8 })),
        ("welcome, bad id",   0x4003, b"\x01\0\0\0\0\0\0\0\0\0\x01.\x01c", Err(BadId { code: 3, got_bytes: 1 })),
        ("subscribe, cut tag", 0x4006, b"\0\0\x01a\x07",         Err(Tlv { code: 6, error: TlvError::Cut { tag: 7, want_bytes: 1, got_bytes: 0 } })),
    ];
    for (name, bits, payload, want) in table {
        assert_eq!(&Control::parse(Header::from_bits(*bits), payload), want, "case: {name}");
        assert_is_the_peers(want, name);
    }
}

#[test]
fn greetings_and_subscriptions_are_told_from_faults() {
    use ControlError::{BadId, TextNotUtf8, Tlv, TooShort, TopicTooLong};
    let tlvs = |bytes: &'static [u8]| Tlvs::parse(bytes, &[]).expect("whole tags");
    let hello = Hello { version: 1, ..Hello::default() };
    let full = Hello {
        version: 9,
        flags: Hello::NO_ECHO,
        client_id: "me",
        token: b"\0\xff",
        tlvs: tlvs(b"\x01\x04\0\0\x10\0\x80\0"),
    };
    let welcome = Welcome {
        version: 1,
        flags: 0,
        max_payload: 1 << 20,
        heartbeat_ms: 25_000,
        server_id: "s",
        client_id: "c-1",
        tlvs: Tlvs::default(),
    };
    let wanted = Subscription { flags: 0, group: "", pattern: "a.*", tlvs: Tlvs::default() };
    let grouped = Subscription { flags: 3, group: "é", pattern: ">", tlvs: tlvs(b"\x07\x01x") };
    let size = TlvError::Size { tag: 1, got_bytes: 2, want_bytes: 4 };
    let id_over = [b"\x01\0\x41", &[b'i'; 65][..], b"\0\0"].concat();
    let pattern_over = [b"\0\0\xc9", &[b'p'; 201][..]].concat();
    #[rustfmt::skip]
    let table: &[Case<'_>] = &[
        ("least hello",        0x4002, b"\x01\0\0\0\0",                            Ok(Control::Hello(hello))),
        ("version 0",          0x4002, b"\0\0\0\0\0",                              Ok(Control::Hello(Hello::default()))),
        ("full hello",         0x4002, b"\x09\x01\x02me\0\x02\0\xff\x01\x04\0\0\x10\0\x80\0", Ok(Control::Hello(full))),
        ("nothing",            0x4002, b"",                                        Err(TooShort { code: 2, got_bytes: 0, want_bytes: 1 })),
        ("no id",              0x4002, b"\x01\0",                                  Err(TooShort { code: 2, got_bytes: 2, want_bytes: 3 })),
        ("cut id",             0x4002, b"\x01\0\x03me",                            Err(TooShort { code: 2, got_bytes: 5, want_bytes: 6 })),
        ("half a token's length", 0x4002, b"\x01\0\0\0",                           Err(TooShort { code: 2, got_bytes: 4, want_bytes: 5 })),
        ("cut token",          0x4002, b"\x01\0\0\0\x05abcd",                      Err(TooShort { code: 2, got_bytes: 9, want_bytes: 10 })),
        ("id over its limit",  0x4002, &id_over,                                   Err(BadId { code: 2, got_bytes: 65 })),
        ("id with a dot",      0x4002, b"\x01\0\x03a.b\0\0",                       Err(BadId { code: 2, got_bytes: 3 })),
        ("id not utf-8",       0x4002, b"\x01\0\x01\xff\0\0",                      Err(BadId { code: 2, got_bytes: 1 })),
        ("max_receive, half",  0x4002, b"\x01\0\0\0\0\x01\x02\0\0",                Err(Tlv { code: 2, error: size })),
        ("welcome",            0x4003, b"\x01\0\0\x10\0\0\0\0\x61\xa8\x01s\x03c-1", Ok(Control::Welcome(welcome))),
        ("welcome, no server", 0x4003, b"\x01\0\0\x10\0\0\0\0\x61\xa8\0\x01c",     Err(BadId { code: 3, got_bytes: 0 })),
        ("welcome, no client", 0x4003, b"\x01\0\0\x10\0\0\0\0\x61\xa8\x01s\0",     Err(BadId { code: 3, got_bytes: 0 })),
        ("welcome, cut",       0x4003, b"\x01\0\0\x10\0\0\0\0",                    Err(TooShort { code: 3, got_bytes: 8, want_bytes: 10 })),
        ("subscribe",          0x4006, b"\0\0\x03a.*",                             Ok(Control::Subscribe(wanted))),
        ("in a group",         0x4006, b"\x03\x02\xc3\xa9\x01>\x07\x01x",          Ok(Control::Subscribe(grouped))),
        ("unsubscribe",        0x4007, b"\0\0\x03a.*",                             Ok(Control::Unsubscribe(wanted))),
        ("group not utf-8",    0x4006, b"\0\x01\xff\x01a",                         Err(TextNotUtf8 { code: 6, got_bytes: 1, valid_bytes: 0 })),
        ("pattern over it",    0x4007, &pattern_over,                              Err(TopicTooLong { code: 7, got_bytes: 201, limit_bytes: 200 })),
        ("no pattern",         0x4007, b"\0\0",                                    Err(TooShort { code: 7, got_bytes: 2, want_bytes: 3 })),
    ];
    for (name, bits, payload, want) in table {
        assert_eq!(&Control::parse(Header::from_bits(*bits), payload), want, "case: {name}");
        assert_is_the_peers(want, name);
    }
    assert_eq!((full.max_receive(), full.tlvs.critical()), (Some(4096), Some(128)));
    assert_eq!((hello.max_receive(), hello.tlvs.critical()), (None, None));
}

#[test]
fn blocks_are_only_where_they_mean_something() {
    use ControlError::{ExtensionFields, ExtensionMissing, ExtensionNotAllowed};
    type Case<'a> = (&'a str, u16, Vec<u8>, Result<ControlFrame<'a>, ControlError>);
    let id = b"\x03\x01\0\x0f\0\0\0\0\0\0\0\x07";
    let trace = [&b"\x08\x04\0\0"[..], &[0x11; 16], &[0x22; 8], b"\x01\0\0\0"].concat();
    let extension = Extension { status: Status::UNSUPPORTED, correlation: Some(7), ..Extension::default() };
    let with = |control, extension| Ok(ControlFrame { control, extension });
    let receivers = Control::Ack { payload: b"\0\0\0\x02" };
    let publish = Control::Publish { topic: "a", body: b"b" };
    let traced = Extension {
        trace: Some(Trace { id: [0x11; 16], parent: [0x22; 8], flags: 1 }),
        ..Extension::default()
    };
    let unknown = Extension { unsupported: Some(Unsupported::Flags(0x10)), ..Extension::default() };
    let over = ExtensionError::OverPayload { block_bytes: 16, payload_bytes: 3 };
    let bad = |code| Err(ControlError::Extension { code, error: over });
    let hello = Control::Hello(Hello { version: 1, ..Hello::default() });
    let all = Control::Subscribe(Subscription { pattern: "a", ..Subscription::default() });
    #[rustfmt::skip]
    let table: &[Case<'_>] = &[
        ("ack",                   0xc00a, id.to_vec(),                              with(Control::Ack { payload: b"" }, Some(extension))),
        ("ack of a publish",      0xc00a, [&id[..], b"\0\0\0\x02"].concat(),        with(receivers, Some(extension))),
        ("publish",               0xc008, [&id[..], b"\x01ab"].concat(),            with(publish, Some(extension))),
        ("publish, no block",     0x4008, b"\x01ab".to_vec(),                       with(publish, None)),
        ("publish with a trace",  0xc008, [&trace[..], b"\x01ab"].concat(),         with(publish, Some(traced))),
        ("subscribe",             0xc006, [&id[..], b"\0\0\x01a"].concat(),         with(all, Some(extension))),
        ("hello",                 0xc002, [&id[..], b"\x01\0\0\0\0"].concat(),      with(hello, Some(extension))),
        ("hello from the future", 0xc002, b"\x01\x10\0\0\x01\0\0\0\0".to_vec(),     with(hello, Some(unknown))),
        ("ack without an id",     0xc00a, b"\x01\0\0\0".to_vec(),                   Err(ExtensionMissing { code: 10 })),
        ("ack without a block",   0x400a, b"".to_vec(),                             Err(ExtensionMissing { code: 10 })),
        ("ack with a trace",      0xc00a, [&b"\x0a\x05\0\0"[..], &[0; 8], &trace[4..]].concat(), Err(ExtensionFields { code: 10 })),
        ("publish in time",       0xc008, b"\x02\x02\0\0\0\0\0\x05\x01a".to_vec(),  Err(ExtensionFields { code: 8 })),
        ("subscribe, one-way",    0xc006, b"\x01\x08\0\0\0\0\x01a".to_vec(),        Err(ExtensionFields { code: 6 })),
        ("publish with tags",     0xc008, b"\x02\x80\0\0\x07\x02ab\x01a".to_vec(),  Err(ExtensionFields { code: 8 })),
        ("block over its frame",  0xc008, b"\x04\x01\0".to_vec(),                   bad(8)),
        ("message with a block",  0xc009, [&id[..], b"\x01a"].concat(),             Err(ExtensionNotAllowed { code: 9 })),
        ("goaway with a block",   0xc005, id.to_vec(),                              Err(ExtensionNotAllowed { code: 5 })),
        ("unknown with a block",  0xc00d, id.to_vec(),                              Err(ControlError::UnknownCode { code: 13 })),
    ];
    for (name, bits, payload, want) in table {
        assert_eq!(&ControlFrame::parse(Header::from_bits(*bits), payload), want, "case: {name}");
        assert_is_the_peers(want, name);
        let Ok(frame) = want else { continue };
        if frame.extension.is_some_and(|extension| extension.unsupported.is_some()) {
            continue;
        }
        let mut out = Vec::new();
        frame.encode(&mut out, &Crc::new());
        assert_eq!(&out[PREFIX_BYTES..out.len() - TRAILER_BYTES], &payload[..], "case: {name}");
        assert_eq!((frame.header().bits(), out.len()), (*bits, frame.frame_bytes()), "case: {name}");
    }
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let ascii = "a".repeat(TEXT_BYTES_MAX + 1);
    let across = format!("{}é", "a".repeat(TEXT_BYTES_MAX - 1));
    #[rustfmt::skip]
    let table: &[(&str, &str, usize)] = &[
        ("empty",                   "",                       0),
        ("short",                   "é",                      2),
        ("exact",                   &ascii[1..],              TEXT_BYTES_MAX),
        ("one over",                &ascii,                   TEXT_BYTES_MAX),
        ("character across it",     &across,                  TEXT_BYTES_MAX - 1),
        ("four-byte characters",    &"😀".repeat(200),        TEXT_BYTES_MAX),
        ("three-byte characters",   &"水".repeat(200),        TEXT_BYTES_MAX - 2),
    ];
    for (name, text, want) in table {
        assert_eq!(cut_text(text).len(), *want, "case: {name}");
        assert!(text.starts_with(cut_text(text)), "case: {name}");
    }
}

proptest! {
    /// What was encoded comes back, has the size that was told, and is a frame that a listener takes.
    #[test]
    fn parse_inverts_encode(
        kind in 0usize..13, code in any::<u16>(), number in any::<u32>(), text in ".{0,60}", flags in any::<u8>(),
        opaque in vec(any::<u8>(), 0..=PING_BYTES_MAX), id in "[A-Za-z0-9_-]{1,64}", before in vec(any::<u8>(), 0..4),
        correlation in any::<Option<u64>>(),
    ) {
        let (status, text) = (Status::from_code(code), text.as_str());
        let topic = front(text, TOPIC_BYTES_MAX);
        let writer = TlvWriter::new().tag(9, &opaque).tag(200, b"");
        let tlvs = writer.tlvs();
        let (server_id, client_id) = (&id[..id.len().div_ceil(2)], id.as_str());
        let control = [
            Control::Ping(&opaque),
            Control::Pong(&opaque),
            Control::Hello(Hello { version: flags, flags, client_id, token: &opaque, tlvs }),
            Control::Welcome(Welcome { version: 1, flags, max_payload: number, heartbeat_ms: 0, server_id, client_id, tlvs }),
            Control::Error { status, text },
            Control::GoAway { status, reconnect_after_ms: number, text },
            Control::Subscribe(Subscription { flags, group: topic, pattern: topic, tlvs }),
            Control::Unsubscribe(Subscription { flags, group: "", pattern: topic, tlvs: Tlvs::default() }),
            Control::Publish { topic, body: &opaque },
            Control::Message { topic, body: &opaque },
            Control::Ack { payload: &opaque },
            Control::Missed { count: u64::from(number) << 7, pattern: topic },
            Control::Notice { status, header: Header::from_bits(code), text },
        ][kind];
        let correlation = match Block::of(control.header().route_or_code()) {
            Some(Block::Must) => Some(correlation.unwrap_or(7)),
            Some(Block::May) => correlation,
            Some(Block::Never) | None => None,
        };
        let extension = correlation.map(|id| Extension { status, correlation: Some(id), ..Extension::default() });
        let frame = ControlFrame { control, extension };
        let (crc, mut out) = (Crc::new(), before.clone());
        frame.encode(&mut out, &crc);
        prop_assert_eq!(&out[..before.len()], &before);
        let stream = &out[before.len()..];
        prop_assert_eq!(stream.len(), frame.frame_bytes());
        match decode(stream, FrameLimits::new(0), &crc) {
            Ok(Decoded::Frame(raw)) => {
                prop_assert_eq!(raw.header, frame.header());
                prop_assert_eq!(ControlFrame::parse(raw.header, raw.payload), Ok(frame));
                if extension.is_none() {
                    prop_assert_eq!(Control::parse(raw.header, raw.payload), Ok(control));
                }
            }
            other => prop_assert!(false, "not a frame: {:?}", other),
        }
    }

    /// Any text makes a frame of the told size, however long it is.
    #[test]
    fn any_text_fits(text in "[a-zé水😀]{0,700}", ms in any::<u32>()) {
        for control in [
            Control::Error { status: Status::INTERNAL, text: &text },
            Control::GoAway { status: Status::IDLE, reconnect_after_ms: ms, text: &text },
            Control::Notice { status: Status::IDLE, header: Header::route(1), text: &text },
        ] {
            let mut out = Vec::new();
            control.encode(&mut out, &Crc::new());
            prop_assert_eq!(out.len(), control.frame_bytes());
            prop_assert!(out.len() <= CONTROL_FRAME_BYTES_MAX);
        }
    }

    /// Any payload under any control header is answered without a panic.
    #[test]
    fn garbage_is_answered(bits in any::<u16>(), payload in vec(any::<u8>(), 0..100)) {
        let header = Header::from_bits(bits | Header::CONTROL);
        assert_is_the_peers(&ControlFrame::parse(header, &payload), "garbage");
        // Codes that exist are rare among all numbers.
        let header = Header::from_bits(bits & 0x800f | Header::CONTROL);
        assert_is_the_peers(&ControlFrame::parse(header, &payload), "garbage");
    }
}
