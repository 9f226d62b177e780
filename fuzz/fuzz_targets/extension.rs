//! Law: an extension block is read as a naive reader reads it, field by field, and refused when that refuses it and for
//! the cause that is told; what was read is encoded to a block that says the same and is no longer; any block that can
//! be built comes back. The input is a choice, then a payload or the fields of a block.
#![no_main]

use tidegate::wire::{Extension, ExtensionError, Status, TlvError, Tlvs, Trace, Unsupported};
use tidegate_fuzz::{Cut, naive};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut cut = Cut::new(data);
    if cut.u8() & 1 == 0 {
        read(cut.rest());
    } else {
        built(cut);
    }
});

/// A payload as it comes.
fn read(payload: &[u8]) {
    let (parsed, want) = (Extension::parse(payload), naive::block(payload));
    let (extension, block_bytes) = match (parsed, &want) {
        (Ok(parsed), Some(want)) => {
            assert_eq!(naive_of(&parsed.0, parsed.1), *want);
            parsed
        }
        (Err(error), None) => return refused_for_cause(error, payload),
        (parsed, want) => panic!("{parsed:?}, and by hand {want:?}"),
    };
    // What stands behind the block is nobody's business, and one byte less is no block.
    assert_eq!(Extension::parse(&payload[..block_bytes]), Ok((extension, block_bytes)));
    assert!(Extension::parse(&payload[..block_bytes - 1]).is_err());

    // What unknown flags mean can't be said again.
    let flags = |unsupported| matches!(unsupported, Some(Unsupported::Flags(_)));
    if extension.tlvs.as_bytes().len() > tidegate::wire::extension::TLV_BYTES_MAX
        || flags(extension.unsupported)
    {
        return;
    }
    let mut again = Vec::new();
    extension.encode(&mut again);
    assert!(again.len() <= block_bytes && again.len() == extension.block_bytes());
    let encoded_bytes = again.len();
    assert_eq!(Extension::parse(&again), Ok((extension, encoded_bytes)));
    if extension.tlvs == Tlvs::default() && payload[1] & 0x80 == 0 {
        assert_eq!(again, payload[..block_bytes], "without tags there is one way to write it");
    }
}

/// A block from its fields.
fn built(mut cut: Cut<'_>) {
    let flags = cut.u8();
    let has = |bit: u8| flags >> bit & 1 == 1;
    let status = Status::from_code(cut.u16());
    let number = u64::from(cut.u16()) << 48 | u64::from(cut.u16());
    let (correlation, deadline_ms) = (has(0).then_some(number), has(1).then_some(number as u32));
    let mut trace = Trace { flags: cut.u8(), ..Trace::default() };
    for byte in trace.id.iter_mut().chain(&mut trace.parent) {
        *byte = cut.u8();
    }
    let mut tags = Vec::new();
    while has(7) && !cut.is_empty() {
        let (tag, value) = (cut.u8(), cut.u8());
        let value = cut.bytes(usize::from(value));
        if tag != 0 && tags.len() + 2 + value.len() <= tidegate::wire::extension::TLV_BYTES_MAX {
            tags.extend([tag, value.len() as u8]);
            tags.extend_from_slice(value);
        }
    }
    let Ok(tlvs) = Tlvs::from_bytes(&tags) else {
        assert_eq!(naive::tags(&tags, &[(1, 4), (2, 2)]), None);
        return;
    };
    let (trace, one_way) = (has(2).then_some(trace), has(3));
    let unsupported = tlvs.critical().map(Unsupported::Tag);
    let extension = Extension { status, correlation, deadline_ms, trace, one_way, tlvs, unsupported };
    let mut bytes = Vec::new();
    extension.encode(&mut bytes);
    let block_bytes = bytes.len();
    bytes.extend_from_slice(b"body");
    assert_eq!(naive::block(&bytes), Some(naive_of(&extension, block_bytes)));
    assert_eq!(Extension::parse(&bytes), Ok((extension, block_bytes)));
}

fn naive_of(extension: &Extension<'_>, bytes: usize) -> naive::Block {
    let tags: naive::Tags = extension.tlvs.iter().map(|(tag, value)| (tag, value.to_vec())).collect();
    let critical = tags.iter().map(|(tag, _)| *tag).find(|tag| *tag >= 128);
    let reserved = match extension.unsupported {
        Some(Unsupported::Flags(flags)) => flags,
        Some(Unsupported::Tag(tag)) => {
            assert_eq!(Some(tag), critical);
            0
        }
        None => {
            assert_eq!(critical, None);
            0
        }
    };
    naive::Block {
        status: extension.status.code(),
        id: extension.correlation,
        deadline: extension.deadline_ms.map(u64::from),
        trace: extension.trace.map(|trace| [&trace.id[..], &trace.parent, &[trace.flags]].concat()),
        one_way: extension.one_way,
        reserved,
        tags,
        bytes,
    }
}

fn refused_for_cause(error: ExtensionError, payload: &[u8]) {
    match error {
        ExtensionError::NoWords => assert_eq!(payload[0], 0),
        ExtensionError::OverPayload { block_bytes, payload_bytes } => {
            assert_eq!(payload_bytes, payload.len());
            assert_eq!(block_bytes, payload.first().map_or(4, |words| usize::from(*words) * 4));
            assert!(block_bytes > payload_bytes);
        }
        ExtensionError::OverBlock { fields_bytes, block_bytes } => {
            assert!(block_bytes == usize::from(payload[0]) * 4 && fields_bytes > block_bytes);
        }
        ExtensionError::TraceNotZero => assert!(payload[1] & 4 != 0),
        ExtensionError::PaddingTooLong { got_bytes } => {
            assert!(got_bytes >= 4 && got_bytes.is_multiple_of(4) && payload[1] & 0xf0 == 0);
        }
        ExtensionError::Tlv(TlvError::Cut { want_bytes, got_bytes, .. }) => {
            assert!(want_bytes > got_bytes && payload[1] & 0x80 != 0);
        }
        ExtensionError::Tlv(TlvError::Size { tag, got_bytes, want_bytes }) => {
            assert!([(1, 4), (2, 2)].contains(&(tag, want_bytes)) && got_bytes != want_bytes);
        }
    }
    assert!(error.to_string().len() < 160, "a message fits the text that carries it");
}
