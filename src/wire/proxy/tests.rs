use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn client_at(text: &str) -> ProxySource {
    ProxySource::Client(Address::Ip(text.parse().unwrap()))
}

/// A header of version 2 with this body.
fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, body].concat()
}

const V4: [u8; 12] = [203, 0, 113, 7, 192, 0, 2, 1, 0xdc, 0x04, 0x1c, 0xf3];

fn v6() -> Vec<u8> {
    let ip: Ipv6Addr = "2001:db8::7".parse().unwrap();
    [&ip.octets()[..], &[0; 16], &[0x01, 0x02, 0x03, 0x04]].concat()
}

/// What the whole is, and what each of its beginnings is: more is needed until it is complete or refused, and what
/// follows changes nothing.
#[track_caller]
fn check(name: &str, bytes: &[u8], want: Result<ProxySource, ProxyError>) {
    let whole = decode_proxy(bytes);
    match want {
        Ok(source) => {
            let used = bytes.len();
            assert_eq!(whole, Ok(ProxyHeader::Complete { used, source }), "case: {name}");
            for cut in 0..bytes.len() {
                assert_eq!(
                    decode_proxy(&bytes[..cut]),
                    Ok(ProxyHeader::NeedMore),
                    "case: {name}, cut at {cut}"
                );
            }
        }
        Err(error) => {
            assert_eq!(whole, Err(error), "case: {name}");
            let first = (0..bytes.len()).find(|cut| decode_proxy(&bytes[..*cut]).is_err());
            for cut in first.unwrap_or(bytes.len())..bytes.len() {
                assert_eq!(decode_proxy(&bytes[..cut]), Err(error), "case: {name}, cut at {cut}");
            }
        }
    }
    let more = [bytes, b"\r\nPROXY \0\0and more"].concat();
    assert_eq!(decode_proxy(&more), whole, "case: {name}, with more behind it");
}

#[test]
fn lines_are_read() {
    use ProxyError::{BadLine, LineTooLong, NoHeader};
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES_MAX - 16));
    let too_long = format!("PROXY UNKNOWN {}", "x".repeat(LINE_BYTES_MAX - 14));
    #[rustfmt::skip]
    let table: &[(&str, &str, Result<ProxySource, ProxyError>)] = &[
        ("tcp4",              "PROXY TCP4 203.0.113.7 192.0.2.1 56324 7411\r\n", Ok(client_at("203.0.113.7:56324"))),
        ("largest tcp4",      "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", Ok(client_at("255.255.255.255:65535"))),
        ("port 0",            "PROXY TCP4 1.2.3.4 5.6.7.8 0 0\r\n",              Ok(client_at("1.2.3.4:0"))),
        ("tcp6",              "PROXY TCP6 2001:db8::7 ::1 443 7411\r\n",         Ok(client_at("[2001:db8::7]:443"))),
        ("tcp6, mapped",      "PROXY TCP6 ::ffff:10.0.0.1 ::1 443 7411\r\n",     Ok(client_at("10.0.0.1:443"))),
        ("largest tcp6",      "PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", Err(BadLine)),
        ("unknown",           "PROXY UNKNOWN\r\n",                               Ok(ProxySource::Unknown)),
        ("unknown with more", "PROXY UNKNOWN ffff:: ffff:: 1 1\r\n",             Ok(ProxySource::Unknown)),
        ("as long as may be", &longest,                                          Ok(ProxySource::Unknown)),
        ("a byte longer",     &too_long,                                         Err(LineTooLong)),
        ("no family",         "PROXY \r\n",                                      Err(BadLine)),
        ("other family",      "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",              Err(BadLine)),
        ("unknown, glued",    "PROXY UNKNOWNX\r\n",                              Err(BadLine)),
        ("no ports",          "PROXY TCP4 1.2.3.4 5.6.7.8\r\n",                  Err(BadLine)),
        ("one port",          "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",                Err(BadLine)),
        ("three ports",       "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",            Err(BadLine)),
        ("a space too many",  "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",             Err(BadLine)),
        ("a space behind",    "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",             Err(BadLine)),
        ("a tab",             "PROXY TCP4\t1.2.3.4 5.6.7.8 1 2\r\n",             Err(BadLine)),
        ("leading zero",      "PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n",             Err(BadLine)),
        ("port, zero first",  "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",             Err(BadLine)),
        ("port, signed",      "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",             Err(BadLine)),
        ("port too large",    "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",          Err(BadLine)),
        ("families mixed",    "PROXY TCP4 ::1 ::1 1 2\r\n",                      Err(BadLine)),
        ("families mixed 2",  "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",              Err(BadLine)),
        ("destination wrong", "PROXY TCP4 1.2.3.4 here 1 2\r\n",                 Err(BadLine)),
        ("\\n alone",         "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\nhello\r\n",       Err(BadLine)),
        ("lower case",        "proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",              Err(NoHeader)),
        ("glued",             "PROXYTCP4 1.2.3.4 5.6.7.8 1 2\r\n",               Err(NoHeader)),
        ("http",              "GET / HTTP/1.1\r\n\r\n",                          Err(NoHeader)),
    ];
    for (name, line, want) in table {
        check(name, line.as_bytes(), *want);
    }
    check("no utf-8", b"PROXY TCP4 \xff\r\n", Err(BadLine));
}

#[test]
fn binary_headers_are_read() {
    let (v4, v6) = (client_at("203.0.113.7:56324"), client_at("[2001:db8::7]:258"));
    let with_tlvs = |addresses: &[u8], bytes: usize| [addresses, &vec![0xEA; bytes]].concat();
    let most = usize::from(PROXY_BODY_BYTES_MAX);
    #[rustfmt::skip]
    let table: &[(&str, Vec<u8>, Result<ProxySource, ProxyError>)] = &[
        ("tcp4",             binary(0x21, 0x11, &V4),                     Ok(v4)),
        ("tcp4 with tlvs",   binary(0x21, 0x11, &with_tlvs(&V4, 300)),    Ok(v4)),
        ("tcp6",             binary(0x21, 0x21, &self::v6()),             Ok(v6)),
        ("tcp6 with tlvs",   binary(0x21, 0x21, &with_tlvs(&self::v6(), 7)), Ok(v6)),
        ("unix",             binary(0x21, 0x31, &[b'/'; 216]),            Ok(ProxySource::Client(Address::Unix))),
        ("unspec",           binary(0x21, 0x00, b""),                     Ok(ProxySource::Unknown)),
        ("unspec with more", binary(0x21, 0x00, b"what?"),                Ok(ProxySource::Unknown)),
        ("udp4",             binary(0x21, 0x12, &V4),                     Ok(ProxySource::Unknown)),
        ("udp6",             binary(0x21, 0x22, &self::v6()),             Ok(ProxySource::Unknown)),
        ("unix datagrams",   binary(0x21, 0x32, &[b'/'; 216]),            Ok(ProxySource::Unknown)),
        ("local",            binary(0x20, 0x00, b""),                     Ok(ProxySource::Itself)),
        ("local with tcp4",  binary(0x20, 0x11, &V4),                     Ok(ProxySource::Itself)),
        ("local, odd family", binary(0x20, 0x77, b"x"),                   Ok(ProxySource::Itself)),
        ("as long as may be", binary(0x21, 0x11, &with_tlvs(&V4, most - 12)), Ok(v4)),
        ("a byte longer",    binary(0x21, 0x11, &with_tlvs(&V4, most - 11)),
            Err(ProxyError::TooLong { got_bytes: PROXY_BODY_BYTES_MAX + 1 })),
        ("version 1",        binary(0x11, 0x11, &V4),                     Err(ProxyError::BadCommand { got: 0x11 })),
        ("command 2",        binary(0x22, 0x11, &V4),                     Err(ProxyError::BadCommand { got: 0x22 })),
        ("family 4",         binary(0x21, 0x41, &V4),                     Err(ProxyError::BadFamily { got: 0x41 })),
        ("transport 3",      binary(0x21, 0x13, &V4),                     Err(ProxyError::BadFamily { got: 0x13 })),
        ("family alone",     binary(0x21, 0x10, &V4),                     Err(ProxyError::BadFamily { got: 0x10 })),
        ("tcp4, cut",        binary(0x21, 0x11, &V4[1..]),                Err(ProxyError::TooShort { got_bytes: 11, least_bytes: 12 })),
        ("tcp6 with ipv4",   binary(0x21, 0x21, &V4),                     Err(ProxyError::TooShort { got_bytes: 12, least_bytes: 36 })),
        ("unix, cut",        binary(0x21, 0x31, &[b'/'; 215]),            Err(ProxyError::TooShort { got_bytes: 215, least_bytes: 216 })),
        ("signature wrong",  [&SIGNATURE[..11], b"\r\x21\x11\0\x0c", &V4].concat(), Err(ProxyError::NoHeader)),
    ];
    for (name, bytes, want) in table {
        check(name, bytes, *want);
    }
}

#[test]
fn messages_have_their_numbers_and_limits() {
    let texts = [
        ProxyError::LineTooLong.to_string(),
        ProxyError::TooLong { got_bytes: 5000 }.to_string(),
        ProxyError::BadCommand { got: 0x23 }.to_string(),
    ];
    for (text, words) in
        texts.iter().zip(["past 107 bytes", "5000 bytes of addresses and TLVs exceeds the 4096", "0x23"])
    {
        assert!(text.contains(words), "{text}");
    }
}

proptest! {
    /// Any bytes, cut anywhere: a beginning is either undecided, or decided as the whole is; and never is more taken
    /// than there is, or than a header may have.
    #[test]
    fn where_it_is_cut_does_not_matter(start in prop_oneof![Just(&b""[..]), Just(&SIGNATURE[..]), Just(&LINE_START[..]),
        Just(&b"PROXY TCP4 "[..])], rest in vec(any::<u8>(), 0..400), ascii in "[0-9a-f:. \r\n]{0,120}") {
        for rest in [&rest[..], ascii.as_bytes()] {
            let bytes = [start, rest].concat();
            let whole = decode_proxy(&bytes);
            for cut in 0..bytes.len() {
                let part = decode_proxy(&bytes[..cut]);
                prop_assert!(part == Ok(ProxyHeader::NeedMore) || part == whole, "cut at {}: {:?}, {:?}", cut, part, whole);
            }
            if let Ok(ProxyHeader::Complete { used, .. }) = whole {
                prop_assert!(used <= bytes.len() && used <= HEADER_BYTES_MAX);
                prop_assert_eq!(decode_proxy(&bytes[..used]), whole);
                prop_assert_eq!(decode_proxy(&bytes[..used - 1]), Ok(ProxyHeader::NeedMore));
            }
        }
    }
}
