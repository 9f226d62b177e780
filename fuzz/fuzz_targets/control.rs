//! Law: a control frame's payload is parsed, or refused for the cause that is told; what was parsed is encoded to a
//! frame that says the same. The input is a header and a payload.
#![no_main]

use tidegate::base::limits::{CONTROL_BYTES_MAX, PING_BYTES_MAX, TOPIC_BYTES_MAX};
use tidegate::wire::control::TEXT_BYTES_MAX;
use tidegate::wire::{
    Control, ControlError, ControlFrame, Crc, Decoded, Extension, FrameLimits, Header, Unsupported, decode,
};
use tidegate_fuzz::Cut;
use tidegate_fuzz::naive::{self, Wrong};

/// The first code that nobody knows.
const CODES: u16 = 13;
/// Those that may have a block: HELLO, SUBSCRIBE, UNSUBSCRIBE, PUBLISH; and the one that must, ACK.
const WITH_BLOCK: [u16; 5] = [2, 6, 7, 8, ACK];
const ACK: u16 = 10;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut cut = Cut::new(data);
    let header = Header::from_bits(cut.u16() | Header::CONTROL);
    let payload = cut.rest();
    let payload = &payload[..payload.len().min(CONTROL_BYTES_MAX as usize)];
    let crc = Crc::new();

    let parsed = ControlFrame::parse(header, payload);
    let by_hand = naive::control(header.bits(), payload).map(|_| ());
    assert_eq!(parsed.as_ref().map(|_| ()).map_err(wrong), by_hand);
    match parsed {
        Ok(frame) => {
            assert_eq!(frame.header(), header);
            encoded_says_the_same(&frame, payload, &crc);
            allowed_block(&frame);
        }
        Err(ref error) => refused_for_cause(error, header, payload),
    }
    match Control::parse(header, payload) {
        Ok(control) => assert_eq!(parsed, Ok(ControlFrame { control, extension: None })),
        Err(ControlError::ExtensionNotAllowed { .. }) if header.is_ext() => {}
        Err(error) => assert_eq!(parsed, Err(error)),
    }
});

/// What kind of fault it is.
const fn wrong(error: &ControlError) -> Wrong {
    match error {
        ControlError::UnknownCode { .. } => Wrong::Code,
        ControlError::Extension { .. } => Wrong::Block,
        ControlError::ExtensionNotAllowed { .. }
        | ControlError::ExtensionMissing { .. }
        | ControlError::ExtensionFields { .. }
        | ControlError::TooLong { .. }
        | ControlError::TooShort { .. }
        | ControlError::TopicTooLong { .. }
        | ControlError::TextNotUtf8 { .. }
        | ControlError::BadId { .. }
        | ControlError::Tlv { .. } => Wrong::Fields,
    }
}

fn allowed_block(frame: &ControlFrame<'_>) {
    let code = frame.header().route_or_code();
    let Some(extension) = frame.extension else {
        assert!(code < CODES && code != ACK);
        return;
    };
    assert!(WITH_BLOCK.contains(&code));
    assert!(extension.deadline_ms.is_none() && !extension.one_way && extension.tlvs.is_empty());
    assert!(code != ACK || extension.correlation.is_some() && extension.trace.is_none());
}

fn encoded_says_the_same(frame: &ControlFrame<'_>, payload: &[u8], crc: &Crc) {
    // What unknown flags mean can't be said again; the rest can.
    let unsupported = frame.extension.and_then(|extension| extension.unsupported);
    assert!(unsupported.is_none_or(|what| matches!(what, Unsupported::Flags(_))));
    let extension = frame.extension.map(|extension| Extension { unsupported: None, ..extension });
    let frame = ControlFrame { extension, ..*frame };
    let mut bytes = Vec::new();
    frame.encode(&mut bytes, crc);
    assert_eq!(bytes.len(), frame.frame_bytes());
    let Ok(Decoded::Frame(raw)) = decode(&bytes, FrameLimits::new(0), crc) else {
        panic!("an encoded control frame is no frame");
    };
    let again = ControlFrame::parse(raw.header, raw.payload);
    let is_cut = |text: &str| text.len() > TEXT_BYTES_MAX;
    let (long, cut) = match (frame.control, again.map(|again| again.control)) {
        (Control::Error { status, text }, Ok(Control::Error { status: same, text: cut }))
            if status == same && is_cut(text) =>
        {
            (text, cut)
        }
        (
            Control::GoAway { status, reconnect_after_ms, text },
            Ok(Control::GoAway { status: same, reconnect_after_ms: same_ms, text: cut }),
        ) if (status, reconnect_after_ms) == (same, same_ms) && is_cut(text) => (text, cut),
        (
            Control::Notice { status, header, text },
            Ok(Control::Notice { status: same, header: same_header, text: cut }),
        ) if (status, header) == (same, same_header) && is_cut(text) => (text, cut),
        _ => {
            assert_eq!(again, Ok(frame));
            // A block that announces tags and has none is written without.
            let announces_tags = frame.extension.is_some() && payload[1] & 0x80 != 0;
            assert!(announces_tags || unsupported.is_some() || raw.payload == payload);
            return;
        }
    };
    // A long text was cut; the rest stands.
    assert!(long.starts_with(cut));
    assert!((TEXT_BYTES_MAX - 3..=TEXT_BYTES_MAX).contains(&cut.len()));
}

fn refused_for_cause(error: &ControlError, header: Header, payload: &[u8]) {
    let code = header.route_or_code();
    let fields = if header.is_ext() {
        naive::block(payload).map(|block| &payload[block.bytes..])
    } else {
        Some(payload)
    };
    let fields_bytes = fields.map(<[u8]>::len);
    let code_is = match *error {
        ControlError::UnknownCode { code } => {
            assert!(code >= CODES);
            code
        }
        ControlError::ExtensionNotAllowed { code } => {
            assert!(header.is_ext() && !WITH_BLOCK.contains(&code));
            code
        }
        ControlError::ExtensionMissing { code } => {
            assert_eq!(code, ACK);
            assert!(!header.is_ext() || naive::block(payload).is_some_and(|block| block.id.is_none()));
            code
        }
        ControlError::ExtensionFields { code } => {
            let block = naive::block(payload).expect("it was read");
            let for_routes = block.deadline.is_some() || block.one_way || !block.tags.is_empty();
            assert!(for_routes || code == ACK && block.trace.is_some());
            code
        }
        ControlError::Extension { code, .. } => {
            assert_eq!(naive::block(payload), None);
            code
        }
        ControlError::TooLong { code, got_bytes, limit_bytes } => {
            assert!(Some(got_bytes) == fields_bytes && got_bytes > limit_bytes);
            assert!(code == 11 || limit_bytes == PING_BYTES_MAX);
            code
        }
        ControlError::TooShort { code, got_bytes, want_bytes } => {
            assert!(Some(got_bytes) == fields_bytes && got_bytes < want_bytes);
            code
        }
        ControlError::TopicTooLong { code, got_bytes, limit_bytes } => {
            assert!(got_bytes > limit_bytes && limit_bytes == TOPIC_BYTES_MAX && got_bytes <= 255);
            code
        }
        ControlError::TextNotUtf8 { code, got_bytes, valid_bytes } => {
            assert!(valid_bytes < got_bytes && Some(got_bytes) <= fields_bytes);
            let is_it =
                |text| std::str::from_utf8(text).is_err_and(|error| error.valid_up_to() == valid_bytes);
            assert!(fields.expect("they were read").windows(got_bytes).any(is_it));
            code
        }
        ControlError::BadId { code, got_bytes } => {
            assert!([2, 3].contains(&code) && got_bytes <= 255);
            code
        }
        ControlError::Tlv { code, .. } => {
            assert!([2, 3, 6, 7].contains(&code));
            code
        }
    };
    assert_eq!(code_is, code);
    assert!(error.to_string().len() < 160, "a message fits the text that carries it");
}
