use super::*;
use crate::wire::frame::{Decoded, FrameLimits, decode};
use proptest::collection::vec;
use proptest::prelude::*;

/// Name, header, payload, want.
type Case<'a> = (&'a str, u16, &'a [u8], Result<Control<'a>, ControlError>);

#[test]
fn parse_tells_frames_from_faults() {
    use ControlError::{ExtensionNotAllowed, TextNotUtf8, TooLong, TooShort, UnknownCode};
    let goaway = Control::GoAway { status: Status::DRAINING, reconnect_after_ms: 250, text: "bye" };
    let bare_goaway = Control::GoAway { status: Status::IDLE, reconnect_after_ms: 0, text: "" };
    let error = Control::Error { status: Status::from_code(300), text: "no" };
    let bare_error = Control::Error { status: Status::INTERNAL, text: "" };
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
        ("reserved",          0x4002, b"",                       Err(UnknownCode { code: 2 })),
        ("never heard of",    0x7fff, b"",                       Err(UnknownCode { code: 0x3fff })),
        ("ping with a block", 0xc000, b"",                       Err(ExtensionNotAllowed { code: 0 })),
    ];
    for (name, bits, payload, want) in table {
        assert_eq!(&Control::parse(Header::from_bits(*bits), payload), want, "case: {name}");
        assert!(
            want.is_ok_and(|_| true) || want.is_err_and(|e| e.fault() == Fault::Protocol),
            "case: {name}"
        );
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
    /// What was encoded comes back, has the size that was told, and is a frame that any listener takes.
    #[test]
    fn parse_inverts_encode(
        kind in 0usize..4, code in any::<u16>(), ms in any::<u32>(), text in ".{0,100}",
        opaque in vec(any::<u8>(), 0..=PING_BYTES_MAX), before in vec(any::<u8>(), 0..4),
    ) {
        let (status, text) = (Status::from_code(code), text.as_str());
        let control = [
            Control::Ping(&opaque),
            Control::Pong(&opaque),
            Control::Error { status, text },
            Control::GoAway { status, reconnect_after_ms: ms, text },
        ][kind];
        let (crc, mut out) = (Crc::new(), before.clone());
        control.encode(&mut out, &crc);
        prop_assert_eq!(&out[..before.len()], &before);
        let stream = &out[before.len()..];
        prop_assert_eq!(stream.len(), control.frame_bytes());
        prop_assert!(stream.len() <= CONTROL_FRAME_BYTES_MAX);
        match decode(stream, FrameLimits { payload_max: 0 }, &crc) {
            Ok(Decoded::Frame(frame)) => {
                prop_assert_eq!(frame.header, control.header());
                prop_assert_eq!(Control::parse(frame.header, frame.payload), Ok(control));
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
        let _ = Control::parse(Header::from_bits(bits | Header::CONTROL), &payload);
    }
}
