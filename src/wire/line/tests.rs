use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn whole(payload: &[u8], used: usize) -> Result<Line<'_>, LineError> {
    Ok(Line::Whole { payload, used })
}

#[test]
fn decode_tells_line_from_partial_from_fault() {
    let need_more = Ok(Line::NeedMore);
    let too_long = |got_bytes| Err(LineError::TooLong { got_bytes, limit_bytes: 4 });
    #[rustfmt::skip]
    let table: &[(&str, &[u8], Result<Line<'_>, LineError>)] = &[
        ("nothing yet",               b"",             need_more),
        ("no end yet",                b"abcd",         need_more),
        ("its return, perhaps",       b"abcd\r",       need_more),
        ("unix",                      b"abcd\n",       whole(b"abcd", 5)),
        ("dos",                       b"abcd\r\n",     whole(b"abcd", 6)),
        ("empty",                     b"\n",           whole(b"", 1)),
        ("empty, dos",                b"\r\n",         whole(b"", 2)),
        ("only one return is an end", b"a\r\r\n",      whole(b"a\r", 4)),
        ("a return inside",           b"a\rb\n",       whole(b"a\rb", 4)),
        ("more behind",               b"a\nb\n",       whole(b"a", 2)),
        ("not utf-8",                 b"\xff\0\n",     whole(b"\xff\0", 3)),
        ("one over, with its end",    b"abcde\n",      too_long(5)),
        ("one over, dos",             b"abcde\r\n",    too_long(5)),
        ("one over, no end",          b"abcde",        too_long(5)),
        ("two over, a return last",   b"abcde\r",      too_long(5)),
        ("an end far too late",       b"abcdefghij\n", too_long(6)),
        ("returns count",             b"abcd\r\r\n",   too_long(5)),
    ];
    for (name, input, want) in table {
        assert_eq!(&decode_line(input, 0, 4), want, "case: {name}");
    }
    assert_eq!(decode_line(b"\r\n", 0, 0), whole(b"", 2));
    assert_eq!(decode_line(b"a\n", 0, u32::MAX), whole(b"a", 2));
    let error = LineError::TooLong { got_bytes: 5, limit_bytes: 4 };
    assert_eq!(error.to_string(), "line of at least 5 bytes exceeds the 4 byte limit");
    assert_eq!(error.fault(), Fault::Protocol);
}

/// Line, its status and text.
type ErrorCase<'a> = (&'a [u8], Option<(Status, &'a [u8])>);

#[test]
fn failures_are_told_from_other_lines() {
    #[rustfmt::skip]
    let table: &[ErrorCase<'_>] = &[
        (b"ERR 5 OVERLOADED try later",  Some((Status::OVERLOADED, b"try later"))),
        (b"ERR 5 OVERLOADED",            Some((Status::OVERLOADED, b""))),
        (b"ERR 300 APPLICATION  x",      Some((Status::application(300), b" x"))),
        (b"ERR 77 INTERNAL x",           Some((Status::from_code(77), b"x"))),
        (b"ERR 5 OVERLOADEDx",           None),
        (b"ERR 4 OVERLOADED x",          None),
        (b"ERR 99999 INTERNAL x",        None),
        (b"ERR  OVERLOADED x",           None),
        (b"ERR 5",                       None),
        (b"err 5 OVERLOADED x",          None),
        (b"",                            None),
    ];
    for (line, want) in table {
        assert_eq!(error_line(line), *want, "case: {}", String::from_utf8_lossy(line));
    }
    let mut line = Vec::new();
    encode_error_line(&mut line, Status::TOO_LARGE, "a\nb");
    assert_eq!(error_line(&line[..line.len() - 1]), Some((Status::TOO_LARGE, &b"a b"[..])));
}

/// Name, rest of the stream, want.
type EndCase<'a> = (&'a str, &'a [u8], Option<&'a [u8]>);

#[test]
fn the_end_of_the_stream_ends_a_line() {
    #[rustfmt::skip]
    let table: &[EndCase<'_>] = &[
        ("nothing",             b"",    None),
        ("a line",              b"ab",  Some(b"ab")),
        ("half a line end",     b"a\r", Some(b"a")),
        ("only that",           b"\r",  Some(b"")),
    ];
    for (name, input, want) in table {
        assert_eq!(last_line(input), *want, "case: {name}");
    }
}

#[test]
fn an_error_line_is_one_line() {
    #[rustfmt::skip]
    let table: &[(&str, Status, &str, &str)] = &[
        ("plain",              Status::OVERLOADED,       "try later",     "ERR 5 OVERLOADED try later\n"),
        ("no text",            Status::INTERNAL,         "",              "ERR 10 INTERNAL\n"),
        ("line ends",          Status::INTERNAL,         "a\r\nERR 0\nb", "ERR 10 INTERNAL a  ERR 0 b\n"),
        ("other controls",     Status::NO_ROUTE,         "\0\t\x7f\u{85}", "ERR 4 NO_ROUTE     \n"),
        ("unicode stays",      Status::application(300), "水 é",          "ERR 300 APPLICATION 水 é\n"),
    ];
    for (name, status, text, want) in table {
        let mut out = b"before\n".to_vec();
        encode_error_line(&mut out, *status, text);
        assert_eq!(String::from_utf8(out).unwrap(), format!("before\n{want}"), "case: {name}");
    }
}

/// Bytes with many line ends and few other values, cut into lines in the plainest way; `None` ends a stream whose
/// line is too long.
fn naive(stream: &[u8], payload_max: usize) -> (Vec<Option<Vec<u8>>>, bool) {
    let (mut lines, mut parts) = (Vec::new(), stream.split(|b| *b == b'\n').peekable());
    while let Some(part) = parts.next() {
        let line = part.strip_suffix(b"\r").unwrap_or(part);
        if line.len() > payload_max {
            lines.push(None);
            return (lines, false);
        }
        if parts.peek().is_none() {
            return (lines, part.is_empty());
        }
        lines.push(Some(line.to_vec()));
    }
    (lines, true)
}

fn dense(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'a'), any::<u8>()], 0..max)
}

proptest! {
    /// Fed in any chunks, with the hint, the lines are those of a plain split.
    #[test]
    fn lines_equal_a_naive_split(stream in dense(200), cut in 1usize..40, payload_max in 0u32..12) {
        let (mut got, mut waiting, mut scanned) = (Vec::new(), Vec::<u8>::new(), 0);
        'stream: for chunk in stream.chunks(cut) {
            waiting.extend_from_slice(chunk);
            loop {
                match decode_line(&waiting, scanned, payload_max) {
                    Ok(Line::Whole { payload, used }) => {
                        got.push(Some(payload.to_vec()));
                        waiting.drain(..used);
                        scanned = 0;
                    }
                    Ok(Line::NeedMore) => break scanned = waiting.len(),
                    Err(LineError::TooLong { got_bytes, .. }) => {
                        prop_assert!(got_bytes > payload_max as usize);
                        got.push(None);
                        break 'stream;
                    }
                }
            }
        }
        let (want, nothing_left) = naive(&stream, payload_max as usize);
        prop_assert_eq!(&got, &want);
        if got.last() != Some(&None) {
            prop_assert_eq!(last_line(&waiting).is_none(), nothing_left);
            prop_assert!(last_line(&waiting).is_none_or(|line| line.len() <= payload_max as usize));
        }
    }

    /// The hint saves time and nothing else.
    #[test]
    fn the_hint_never_changes_the_result(stream in dense(60), payload_max in 0u32..60) {
        let clean = stream.iter().position(|b| *b == b'\n').unwrap_or(stream.len());
        let want = decode_line(&stream, 0, payload_max);
        for scanned in 0..=clean {
            prop_assert_eq!(decode_line(&stream, scanned, payload_max), want, "scanned {}", scanned);
        }
    }

    /// Whatever the text, an error line has exactly one line end, and it is the last byte.
    #[test]
    fn an_error_line_never_breaks(code in any::<u16>(), text in any::<String>()) {
        let mut out = Vec::new();
        encode_error_line(&mut out, Status::from_code(code), &text);
        prop_assert_eq!(out.iter().position(|b| *b == b'\n'), Some(out.len() - 1));
        prop_assert!(!out.contains(&b'\r'));
    }
}
