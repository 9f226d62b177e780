//! Names for first bytes that are some other protocol, so that a log says "http" and not "crc".
//!
//! Always holds: bytes that could go on as ours are not given away lightly; where both readings are possible, more
//! bytes are asked for or the answer is `None`. Never: speaking the other protocol, except for the one TLS alert that
//! tells a TLS client at once that nobody here speaks it.

use crate::wire::frame::PREFIX_BYTES;

/// The fatal alert `protocol_version` in a TLS record, all that a TLS client needs to give up with a clear message.
///
/// Record type 21 (alert), version 3.1, length 2, level 2 (fatal), description 70. Source: RFC 5246 6.2.1 and 7.2
/// (record, alert), RFC 8446 6.2 (`protocol_version(70)`); version 3.1 is the one that RFC 8446 5.1 allows in a first
/// record for the sake of old peers.
pub const TLS_ALERT: [u8; 7] = [0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46];

/// Whether these bytes are a TLS alert, and all of it: what a client gets that speaks plainly to a port with TLS.
pub fn is_tls_alert(bytes: &[u8]) -> bool {
    matches!(bytes, [0x15, 0x03, 0x00..=0x04, 0x00, 0x02, 0x01 | 0x02, _])
}

/// A protocol that isn't ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Foreign {
    /// A TLS or SSL 3 client hello.
    Tls,
    /// An HTTP request, version 1 or the preface of version 2.
    Http,
    /// A Redis command as an array.
    Resp,
    /// A PROXY header, version 1 or 2, of a load balancer that was told to send one.
    Proxy,
}

impl Foreign {
    /// The name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Foreign::Tls => "tls",
            Foreign::Http => "http",
            Foreign::Resp => "resp",
            Foreign::Proxy => "proxy",
        }
    }

    /// What the first bytes of a connection on a listener for frames are, if they are not frames.
    ///
    /// To be asked when the first frame was refused or is not whole yet. As frames, all of these declare lengths that
    /// a listener with the default limit refuses: HTTP and PROXY 1 begin with capital letters, which make a control
    /// frame of over a GiB; TLS from 3.1 on declares at least 16 MiB, RESP and PROXY 2 at least 208 MiB. SSL 3
    /// declares as little as 257 bytes, so there the hello inside must have arrived and fit too.
    pub fn on_frames(first: &[u8]) -> Option<Foreign> {
        if is_tls(first) {
            Some(Foreign::Tls)
        } else if METHODS.iter().any(|method| has_begun(first, method)) {
            Some(Foreign::Http)
        } else if is_resp(first) {
            Some(Foreign::Resp)
        } else if PROXY_STARTS.iter().any(|start| has_begun(first, start)) {
            Some(Foreign::Proxy)
        } else {
            None
        }
    }

    /// What the first bytes of a connection on a listener for lines are, if they are not lines of ours.
    ///
    /// Text is easily mistaken: HTTP needs its whole request line, RESP is never named since `*1` may be a message.
    pub fn on_lines(first: &[u8]) -> Option<Foreign> {
        if is_tls(first) {
            Some(Foreign::Tls)
        } else if is_request_line(first) {
            Some(Foreign::Http)
        } else if PROXY_STARTS.iter().any(|start| first.starts_with(start)) {
            Some(Foreign::Proxy)
        } else {
            None
        }
    }
}

/// Whether it starts so, or is the beginning of it: a frame is refused for its length as soon as its sixth byte is there,
/// and what is named may not depend on how the stream was cut.
fn has_begun(first: &[u8], start: &[u8]) -> bool {
    first.starts_with(start) || first.len() >= PREFIX_BYTES && start.starts_with(first)
}

/// Methods of RFC 9110 9.3 and RFC 5789, and the `PRI` of the HTTP/2 preface (RFC 9113 3.4).
const METHODS: &[&[u8]] = &[
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"CONNECT ",
    b"TRACE ",
    b"PRI ",
];

fn is_request_line(first: &[u8]) -> bool {
    let Some(end) = memchr::memchr(b'\n', first) else { return false };
    let line = first[..end].strip_suffix(b"\r").unwrap_or(&first[..end]);
    let versions: [&[u8]; 3] = [b" HTTP/1.0", b" HTTP/1.1", b" HTTP/2.0"];
    METHODS.iter().any(|method| line.starts_with(method))
        && versions.iter().any(|version| line.ends_with(version))
}

/// A record of type 22 (handshake), version 3.0 to 3.4, whose first message is of type 1 (client hello), with what of
/// the hello is there: its 24-bit length and its version. Source: RFC 5246 6.2.1, 7.4, 7.4.1.2; RFC 6101 5.2.1.
fn is_tls(first: &[u8]) -> bool {
    let Some((&[0x16, 0x03, minor @ 0..=4, _, _, 0x01], hello)) = first.split_first_chunk::<PREFIX_BYTES>()
    else {
        return false;
    };
    let length_fits = hello.first().is_none_or(|high| *high == 0);
    let version_fits = hello.get(3).is_none_or(|major| *major == 3);
    let seen_enough = minor > 0 || hello.len() >= 4;
    length_fits && version_fits && seen_enough
}

/// `*<count>\r\n`, and `$` behind it if there is more. Source: redis.io, "RESP protocol specification", arrays.
fn is_resp(first: &[u8]) -> bool {
    let Some(count) = first.strip_prefix(b"*") else { return false };
    let digits = count.iter().take(RESP_DIGITS_MAX + 1).take_while(|b| b.is_ascii_digit()).count();
    let behind = count[digits..].strip_prefix(b"\r\n");
    (1..=RESP_DIGITS_MAX).contains(&digits)
        && behind.is_some_and(|behind| behind.first().is_none_or(|b| *b == b'$'))
}

/// More digits than any count of arguments has (Redis takes at most 1,048,576).
const RESP_DIGITS_MAX: usize = 10;

/// Source: haproxy, "The PROXY protocol", sections 2.1 and 2.2.
const PROXY_STARTS: &[&[u8]] = &[
    b"PROXY TCP4 ",
    b"PROXY TCP6 ",
    b"PROXY UNKNOWN ",
    b"PROXY UNKNOWN\r",
    b"\r\n\r\n\0\r\nQUIT\n", // version 2
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::{CONTROL_BYTES_MAX, PAYLOAD_BYTES_DEFAULT};
    use crate::wire::{Crc, Decoded, FrameLimits, Header, decode, encode};
    use proptest::collection::vec;
    use proptest::prelude::*;

    const TLS12: &[u8] = b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03random";
    const SSL3: &[u8] = b"\x16\x03\x00\x00\x41\x01\x00\x00\x3d\x03\x00random";
    const PROXY2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";

    /// Name, first bytes, want on frames, want on lines.
    type Case<'a> = (&'a str, &'a [u8], Option<Foreign>, Option<Foreign>);

    #[test]
    fn first_bytes_have_names() {
        use Foreign::{Http, Proxy, Resp, Tls};
        #[rustfmt::skip]
        let table: &[Case<'_>] = &[
            //                                                                on frames    on lines
            ("nothing",            b"",                                       None,        None),
            ("tls 1.2",            TLS12,                                     Some(Tls),   Some(Tls)),
            ("tls, six bytes",     &TLS12[..6],                               Some(Tls),   Some(Tls)),
            ("tls, five bytes",    &TLS12[..5],                               None,        None),
            ("ssl 3",              SSL3,                                      Some(Tls),   Some(Tls)),
            ("ssl 3, nine bytes",  &SSL3[..9],                                None,        None),
            ("tls, server hello",  b"\x16\x03\x03\x00\x41\x02\0\0\x3d\x03",   None,        None),
            ("tls, odd version",   b"\x16\x03\x05\x00\x41\x01\0\0\x3d\x03",   None,        None),
            ("tls, odd inside",    b"\x16\x03\x01\x00\x41\x01abcdef",         None,        None),
            ("get",                b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",      Some(Http),  Some(Http)),
            ("http 1.0, no \\r",   b"HEAD / HTTP/1.0\n",                      Some(Http),  Some(Http)),
            ("http 2",             b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",       Some(Http),  Some(Http)),
            ("half a request",     b"OPTIONS * HTT",                          Some(Http),  None),
            ("text with a method", b"GET well soon\n",                        Some(Http),  None),
            ("text about http",    b"I speak HTTP/1.1\n",                     None,        None),
            ("second line",        b"hello\nGET / HTTP/1.1\r\n",              None,        None),
            ("lower case",         b"get / HTTP/1.1\r\n",                     None,        None),
            ("longer word",        b"GETTING / HTTP/1.1\r\n",                 None,        None),
            ("resp",               b"*1\r\n$4\r\nPING\r\n",                   Some(Resp),  None),
            ("resp, no more yet",  b"*12\r\n",                                Some(Resp),  None),
            ("resp, no digits",    b"*\r\n$4\r\n",                            None,        None),
            ("resp, too many",     b"*12345678901\r\n$4\r\n",                 None,        None),
            ("resp, not finished", b"*1\r",                                   None,        None),
            ("resp, odd inside",   b"*1\r\nabc",                              None,        None),
            ("proxy tcp4",         b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",     Some(Proxy), Some(Proxy)),
            ("proxy tcp6",         b"PROXY TCP6 ::1 ::1 1 2\r\n",             Some(Proxy), Some(Proxy)),
            ("proxy unknown",      b"PROXY UNKNOWN\r\n",                      Some(Proxy), Some(Proxy)),
            ("proxy text",         b"PROXY is down\n",                        None,        None),
            ("proxy 2",            PROXY2,                                    Some(Proxy), Some(Proxy)),
            ("proxy, six bytes",   b"PROXY ",                                 Some(Proxy), None),
            ("proxy, five bytes",  b"PROXY",                                  None,        None),
            ("proxy 2, cut",       &PROXY2[..11],                             Some(Proxy), None),
            ("http, six bytes",    b"OPTION",                                 Some(Http),  None),
            ("plain text",         b"hello\n",                                None,        None),
            ("an empty frame",     b"\0\x01\0\0\0\0\x93\x0a\xcb\xad",         None,        None),
        ];
        for (name, first, frames, lines) in table {
            let got = (Foreign::on_frames(first), Foreign::on_lines(first));
            assert_eq!(got, (*frames, *lines), "case: {name}");
        }
    }

    #[test]
    fn an_alert_is_known_by_all_of_it() {
        assert!(is_tls_alert(&TLS_ALERT));
        assert!(is_tls_alert(b"\x15\x03\x03\0\x02\x01\0"), "close_notify, a warning");
        let others: [&[u8]; 5] = [
            b"",
            &TLS_ALERT[..6],
            b"\x15\x03\x01\0\x02\x02\x46\0",
            b"\x15\x03\x01\0\x03\x02\x46",
            b"\x16\x03\x01\0\x02\x02\x46",
        ];
        for other in others {
            assert!(!is_tls_alert(other), "{other:?}");
        }
    }

    #[test]
    fn names_are_stable() {
        let all = [Foreign::Tls, Foreign::Http, Foreign::Resp, Foreign::Proxy];
        assert_eq!(all.map(Foreign::name), ["tls", "http", "resp", "proxy"]);
    }

    proptest! {
        /// A listener with the default limit never mistakes a good frame for something else, wherever it is cut:
        /// neither an arbitrary one nor one whose bytes begin like the others' first bytes.
        #[test]
        fn good_frames_have_no_name(bits in prop_oneof![any::<u16>(), Just(0x1603), Just(0x2a31), Just(0x0d0a),
            Just(0x4745), Just(0x5052)], payload in prop_oneof![vec(any::<u8>(), 0..300), vec(Just(b'\r'), 0..300)]) {
            let crc = Crc::new();
            let limits = FrameLimits::new(PAYLOAD_BYTES_DEFAULT);
            prop_assume!(payload.len() <= CONTROL_BYTES_MAX as usize);
            let mut stream = Vec::new();
            encode(&mut stream, &crc, Header::from_bits(bits), &payload);
            for cut in 0..stream.len() {
                let incomplete = matches!(decode(&stream[..cut], limits, &crc), Ok(Decoded::NeedMore { .. }));
                prop_assert!(incomplete);
                prop_assert_eq!(Foreign::on_frames(&stream[..cut]), None, "cut at {}", cut);
            }
        }
    }
}
