//! Law: a control frame's payload is parsed or refused, never a panic; what was parsed is encoded to a frame that
//! says the same. The input is a header and a payload.
#![no_main]

use tidegate::base::limits::{CONTROL_BYTES_MAX, PING_BYTES_MAX};
use tidegate::session::{Framing, Protocol, Step};
use tidegate::wire::control::{CONTROL_FRAME_BYTES_MAX, TEXT_BYTES_MAX};
use tidegate::wire::{Control, ControlError, Crc, Decoded, FrameLimits, Header, decode};
use tidegate_fuzz::{Cut, model};

const FRAMING: Framing =
    Framing::frames(1 << 20);

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut cut = Cut::new(data);
    let header = Header::from_bits(cut.u16() | Header::CONTROL);
    let payload = cut.rest();
    let payload = &payload[..payload.len().min(CONTROL_BYTES_MAX as usize)];
    let crc = Crc::new();

    let parsed = Control::parse(header, payload);
    match parsed {
        Ok(control) => {
            assert_eq!(control.header(), header);
            encoded_says_the_same(&control, payload, &crc);
        }
        Err(ref error) => refused_for_cause(error, header, payload),
    }

    let frame = model::frame(header.bits(), payload);
    let step = FRAMING.next(&frame, 0, &crc);
    match (parsed, step) {
        (Ok(Control::Ping(want)), Step::Ping { payload, used }) => {
            assert_eq!((payload, used), (want, frame.len()))
        }
        (Ok(Control::Pong(_)), Step::Pong { used }) => assert_eq!(used, frame.len()),
        (Ok(Control::Error { .. } | Control::GoAway { .. }) | Err(_), Step::Fault(_)) => {
            assert!(!FRAMING.explain(&frame, 0, &crc).as_str().is_empty());
        }
        (parsed, step) => panic!("{parsed:?} became {step:?}"),
    }
});

fn encoded_says_the_same(control: &Control<'_>, payload: &[u8], crc: &Crc) {
    let mut bytes = Vec::new();
    control.encode(&mut bytes, crc);
    assert_eq!(bytes.len(), control.frame_bytes());
    assert!(bytes.len() <= CONTROL_FRAME_BYTES_MAX);
    let Ok(Decoded::Frame(frame)) = decode(&bytes, FrameLimits::new(0), crc) else {
        panic!("an encoded control frame is no frame");
    };
    let again = Control::parse(frame.header, frame.payload);
    if frame.payload.len() == payload.len() {
        assert_eq!((again, frame.payload), (Ok(*control), payload));
        return;
    }
    // A long text was cut; the rest stands.
    let (long, cut) = match (*control, again) {
        (Control::Error { status, text }, Ok(Control::Error { status: same, text: cut }))
            if status == same =>
        {
            (text, cut)
        }
        (
            Control::GoAway { status, reconnect_after_ms, text },
            Ok(Control::GoAway { status: same, reconnect_after_ms: same_ms, text: cut }),
        ) if (status, reconnect_after_ms) == (same, same_ms) => (text, cut),
        other => panic!("{other:?}"),
    };
    assert!(long.starts_with(cut) && long.len() > TEXT_BYTES_MAX);
    assert!((TEXT_BYTES_MAX - 3..=TEXT_BYTES_MAX).contains(&cut.len()));
}

fn refused_for_cause(error: &ControlError, header: Header, payload: &[u8]) {
    let code_is = match *error {
        ControlError::UnknownCode { code } => {
            assert!(![0, 1, 4, 5].contains(&code));
            code
        }
        ControlError::ExtensionNotAllowed { code } => {
            assert!(header.is_ext());
            code
        }
        ControlError::TooLong { code, got_bytes, limit_bytes } => {
            assert!(got_bytes == payload.len() && got_bytes > limit_bytes && limit_bytes == PING_BYTES_MAX);
            code
        }
        ControlError::TooShort { code, got_bytes, want_bytes } => {
            assert!(got_bytes == payload.len() && got_bytes < want_bytes);
            code
        }
        ControlError::TextNotUtf8 { code, got_bytes, valid_bytes } => {
            assert!(valid_bytes < got_bytes && got_bytes <= payload.len());
            let text = &payload[payload.len() - got_bytes..];
            assert!(std::str::from_utf8(&text[..valid_bytes]).is_ok() && std::str::from_utf8(text).is_err());
            code
        }
    };
    assert_eq!(code_is, header.route_or_code());
    assert!(error.to_string().len() < 160, "a message fits the text that carries it");
}
