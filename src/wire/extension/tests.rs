use super::*;
use crate::wire::TlvWriter;
use proptest::collection::vec;
use proptest::prelude::*;

const TRACE: Trace = Trace { id: [0x11; 16], parent: [0x22; 8], flags: 1 };

/// The trace's field as it stands in a block.
const TRACE_FIELD: [u8; 28] = {
    let mut field = [0x11; 28];
    let mut at = 16;
    while at < 24 {
        field[at] = 0x22;
        at += 1;
    }
    [field[24], field[25], field[26], field[27]] = [1, 0, 0, 0];
    field
};

/// Name, payload, the block or the fault.
type Case<'a> = (&'a str, Vec<u8>, Result<(Extension<'a>, usize), ExtensionError>);

#[test]
fn parse_tells_blocks_from_faults() {
    use ExtensionError::{NoWords, OverBlock, OverPayload, PaddingTooLong, Tlv, TraceNotZero};
    let none = Extension::default();
    let with_id = Extension { correlation: Some(0x0102_0304_0506_0708), ..none };
    let every = Extension {
        status: Status::OVERLOADED,
        deadline_ms: Some(500),
        trace: Some(TRACE),
        one_way: true,
        ..with_id
    };
    let tlvs = |bytes: &'static [u8]| Tlvs::from_bytes(bytes).expect("whole tags");
    let retry = Extension { status: Status::OVERLOADED, tlvs: tlvs(b"\x01\x04\0\0\0\xfa"), ..none };
    let critical = Extension { tlvs: tlvs(b"\x80\0"), unsupported: Some(Unsupported::Tag(128)), ..none };
    let reserved = Extension { unsupported: Some(Unsupported::Flags(0x20)), ..none };
    let reserved_id = Extension { unsupported: Some(Unsupported::Flags(0x70)), ..with_id };
    let one_way = Extension { one_way: true, ..none };
    let cut = TlvError::Cut { tag: 7, want_bytes: 2, got_bytes: 0 };
    let size = TlvError::Size { tag: 1, got_bytes: 0, want_bytes: 4 };
    let id = b"\x01\x02\x03\x04\x05\x06\x07\x08";
    let all = [&[12, 0x0f, 0, 5][..], id, b"\0\0\x01\xf4", &TRACE_FIELD].concat();
    let mut dirty = all.clone();
    dirty[43] = 1;
    let longest = [&[255, 0x80, 0, 0][..], &[0; 1016]].concat();
    #[rustfmt::skip]
    let table: Vec<Case<'_>> = vec![
        ("nothing said",           b"\x01\0\0\0".to_vec(),                        Ok((none, 4))),
        ("... and a body",         b"\x01\0\0\0body".to_vec(),                    Ok((none, 4))),
        ("status",                 b"\x01\0\x01\x2c".to_vec(),                    Ok((Extension { status: Status::from_code(300), ..none }, 4))),
        ("correlation",            [b"\x03\x01\0\0", &id[..], b"b"].concat(),     Ok((with_id, 12))),
        ("deadline of 0",          b"\x02\x02\0\0\0\0\0\0".to_vec(),              Ok((Extension { deadline_ms: Some(0), ..none }, 8))),
        ("one-way",                b"\x01\x08\0\0".to_vec(),                      Ok((one_way, 4))),
        ("every field",            [&[11], &all[1..]].concat(),                   Ok((every, 44))),
        ("tags",                   b"\x03\x80\0\x05\x01\x04\0\0\0\xfa\0\0".to_vec(), Ok((retry, 12))),
        ("no tag where some may be", b"\x01\x80\0\0".to_vec(),                    Ok((none, 4))),
        ("many words of padding tags", b"\x03\x80\0\0\0\0\0\0\0\0\0\0".to_vec(),  Ok((none, 12))),
        ("the longest block",      longest.clone(),                               Ok((none, 1020))),
        ("a critical tag",         b"\x02\x80\0\0\x80\0\0\0".to_vec(),            Ok((critical, 8))),
        ("a reserved flag",        b"\x01\x20\0\0".to_vec(),                      Ok((reserved, 4))),
        ("reserved flags, then what nobody knows", [b"\x04\x71\0\0", &id[..], b"\xff\xff\xff\xff"].concat(), Ok((reserved_id, 16))),
        ("empty payload",          b"".to_vec(),                                  Err(OverPayload { block_bytes: 4, payload_bytes: 0 })),
        ("no words",               b"\0\0\0\0".to_vec(),                          Err(NoWords)),
        ("half a word",            b"\x01\0\0".to_vec(),                          Err(OverPayload { block_bytes: 4, payload_bytes: 3 })),
        ("one byte short",         longest[..1019].to_vec(),                      Err(OverPayload { block_bytes: 1020, payload_bytes: 1019 })),
        ("correlation, too short", [b"\x03\x01\0\0", &id[..7]].concat(),          Err(OverPayload { block_bytes: 12, payload_bytes: 11 })),
        ("no room for it",         [b"\x02\x01\0\0", &id[..]].concat(),           Err(OverBlock { fields_bytes: 12, block_bytes: 8 })),
        ("no room for the trace",  all[..40].iter().enumerate().map(|(at, byte)| if at == 0 { 10 } else { *byte }).collect(),
                                                                                  Err(OverBlock { fields_bytes: 44, block_bytes: 40 })),
        ("trace with a rest",      [&[11], &dirty[1..]].concat(),                 Err(TraceNotZero)),
        ("a word too many",        [&all[..], &[0; 4]].concat(),                  Err(PaddingTooLong { got_bytes: 4 })),
        ("something else there",   b"\x02\0\0\0\0\0\0\x01".to_vec(),              Err(PaddingTooLong { got_bytes: 4 })),
        ("cut tag",                b"\x02\x80\0\0\0\0\x07\x02".to_vec(),          Err(Tlv(cut))),
        ("tag of a wrong size",    b"\x02\x80\0\0\x01\0\0\0".to_vec(),            Err(Tlv(size))),
    ];
    for (name, payload, want) in &table {
        assert_eq!(&Extension::parse(payload), want, "case: {name}");
        assert!(want.is_ok() || want.is_err_and(|error| error.fault() == Fault::Protocol), "case: {name}");
    }
}

#[test]
fn the_common_blocks_are_encoded_as_in_the_document() {
    let retry = TlvWriter::new().retry_after_ms(250);
    let none = Extension::default();
    #[rustfmt::skip]
    let table: &[(&str, Extension<'_>, &[u8])] = &[
        ("nothing",     none,                                                     b"\x01\0\0\0"),
        ("status",      Extension { status: Status::NO_ROUTE, ..none },           b"\x01\0\0\x04"),
        ("correlation", Extension { correlation: Some(7), ..none },               b"\x03\x01\0\0\0\0\0\0\0\0\0\x07"),
        ("deadline",    Extension { deadline_ms: Some(500), ..none },             b"\x02\x02\0\0\0\0\x01\xf4"),
        ("one-way",     Extension { one_way: true, ..none },                      b"\x01\x08\0\0"),
        ("tags",        Extension { tlvs: retry.tlvs(), ..none },                 b"\x03\x80\0\0\x01\x04\0\0\0\xfa\0\0"),
    ];
    for (name, extension, want) in table {
        let mut out = b"before".to_vec();
        extension.encode(&mut out);
        assert_eq!(&out[6..], *want, "case: {name}");
        assert_eq!(extension.block_bytes(), want.len(), "case: {name}");
    }
}

#[test]
fn messages_fit_the_text_that_carries_them() {
    let worst = TlvError::Size { tag: 255, got_bytes: usize::MAX, want_bytes: usize::MAX };
    let over = ExtensionError::OverPayload { block_bytes: 12, payload_bytes: 8 };
    assert_eq!(over.to_string(), "extension block of 12 bytes in a payload of 8");
    assert!(ExtensionError::Tlv(worst).to_string().len() < 160);
}

proptest! {
    /// What was encoded comes back, and has the size that was told, whatever body stands behind it.
    #[test]
    fn parse_inverts_encode(
        code in any::<u16>(), correlation in any::<Option<u64>>(), deadline_ms in any::<Option<u32>>(),
        trace in any::<Option<([u8; 16], [u8; 8], u8)>>(), one_way in any::<bool>(),
        tags in vec((4u8..128, vec(any::<u8>(), 0..20)), 0..6), body in vec(any::<u8>(), 0..20),
    ) {
        let mut writer = TlvWriter::new();
        for (tag, value) in &tags {
            writer = writer.tag(*tag, value);
        }
        let trace = trace.map(|(id, parent, flags)| Trace { id, parent, flags });
        let (status, tlvs) = (Status::from_code(code), writer.tlvs());
        let extension = Extension { status, correlation, deadline_ms, trace, one_way, tlvs, unsupported: None };
        let mut out = Vec::new();
        extension.encode(&mut out);
        prop_assert_eq!(out.len(), extension.block_bytes());
        let block_bytes = out.len();
        out.extend_from_slice(&body);
        prop_assert_eq!(Extension::parse(&out), Ok((extension, block_bytes)));
        // One byte less than the block is never a block.
        prop_assert!(Extension::parse(&out[..block_bytes - 1]).is_err());
    }

    /// The short way and the long way read the same.
    #[test]
    fn the_fast_path_changes_nothing(front in vec(0u8..4, 2..4), rest in vec(any::<u8>(), 0..20)) {
        let payload = [front, rest].concat();
        prop_assert_eq!(Extension::parse(&payload), Extension::parse_any(&payload));
    }

    /// Any bytes are answered without a panic; what is taken for a block lies within them.
    #[test]
    fn garbage_is_answered(payload in vec(any::<u8>(), 0..80)) {
        if let Ok((_, block_bytes)) = Extension::parse(&payload) {
            prop_assert!(block_bytes >= 4 && block_bytes <= payload.len());
        }
    }
}
