//! What peers send that breaks the protocol, what each is told, and the reason under which it is counted.

#![allow(unreachable_pub, dead_code, reason = "each test file uses a part of this")]

use super::support::client::{ECHO, ERROR, EXT, GOAWAY, PING, PROTOCOL, TOO_LARGE, frame};
use super::support::pattern;
use tidegate::CloseReason;

pub const TLS_HELLO: &[u8] =
    b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03random bytes and more of the hello";
pub const TLS_ALERT: &[u8] = b"\x15\x03\x01\x00\x02\x02\x46";
pub const HTTP: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
pub const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
pub const RESP: &[u8] = b"*1\r\n$4\r\nPING\r\n";
pub const PROXY1: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 7411\r\n";
pub const PROXY2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\x10\0\x20\0";

/// What a peer is told at last.
#[derive(Clone, Copy, Debug)]
pub enum Told {
    GoAway(u16),
    /// A line that begins so.
    Line(&'static str),
    Bytes(&'static [u8]),
    Nothing,
}

pub struct Case {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    /// Whether the peer ends its sending side after these.
    pub then_ends: bool,
    pub told: Told,
    pub why: CloseReason,
}

pub fn case(name: &'static str, bytes: impl AsRef<[u8]>, told: Told, why: CloseReason) -> Case {
    Case { name, bytes: bytes.as_ref().to_vec(), then_ends: false, told, why }
}

pub fn ending(name: &'static str, bytes: impl AsRef<[u8]>, told: Told, why: CloseReason) -> Case {
    Case { then_ends: true, ..case(name, bytes, told, why) }
}

/// A header and a length, without the rest.
pub fn head(header: u16, length: u32) -> Vec<u8> {
    [&header.to_be_bytes()[..], &length.to_be_bytes()].concat()
}

/// A frame of which one bit was changed.
pub fn damaged(at: usize) -> Vec<u8> {
    let mut bytes = frame(ECHO, b"good until now");
    bytes[at] ^= 0x10;
    bytes
}

pub fn on_frames() -> Vec<Case> {
    use CloseReason::{
        BadControl, BadCrc, BadExtension, Http, Proxy, Resp, TlsOnPlain, TooLarge, Truncated, UnknownControl,
        WrongDirection,
    };
    use Told::{Bytes, GoAway, Nothing};
    let max = 1_u32 << 20;
    let mut hello_and_more = TLS_HELLO.to_vec();
    hello_and_more.extend(pattern(1, 3000));
    #[rustfmt::skip]
    let cases = vec![
        case("length over the limit by one",   head(ECHO, max + 1),                GoAway(TOO_LARGE), TooLarge),
        case("the largest length",             head(ECHO, u32::MAX),               GoAway(TOO_LARGE), TooLarge),
        case("much behind a large length",     [head(7, u32::MAX), pattern(2, 200_000)].concat(), GoAway(TOO_LARGE), TooLarge),
        case("extended length over its limit", head(EXT | ECHO, max + 1021),       GoAway(TOO_LARGE), TooLarge),
        case("control length over its limit",  head(PING, 4097),                   GoAway(TOO_LARGE), TooLarge),
        case("a bit changed in the header",    damaged(1),                         GoAway(PROTOCOL),  BadCrc),
        case("a bit changed in the payload",   damaged(9),                         GoAway(PROTOCOL),  BadCrc),
        case("a bit changed in the checksum",  damaged(22),                        GoAway(PROTOCOL),  BadCrc),
        case("a good frame behind a bad one",  [damaged(9), frame(ECHO, b"lost")].concat(), GoAway(PROTOCOL), BadCrc),
        case("an extension that is damaged",   { let mut bytes = frame(EXT | ECHO, b"abcdef"); bytes[8] ^= 1; bytes }, GoAway(PROTOCOL), BadCrc),
        case("a code nobody has",              frame(0x7FFF, b""),                 GoAway(PROTOCOL),  UnknownControl),
        case("HELLO that says nothing",        frame(0x4002, b""),                 GoAway(PROTOCOL),  BadControl),
        case("HELLO with no block of its own", frame(EXT | 0x4002, b"\0\0\0\0"),   GoAway(PROTOCOL),  BadExtension),
        case("a PING that is too long",        frame(PING, &[0; 65]),              GoAway(PROTOCOL),  BadControl),
        case("a PONG that is too long",        frame(0x4001, &[0; 4096]),          GoAway(PROTOCOL),  BadControl),
        case("a PING with an extension",       frame(EXT | PING, b""),             GoAway(PROTOCOL),  BadControl),
        case("an ERROR without a status",      frame(ERROR, b"\0"),                GoAway(PROTOCOL),  BadControl),
        case("a GOAWAY whose text is no text", frame(GOAWAY, b"\0\x09\0\0\0\0\xFF"), GoAway(PROTOCOL), BadControl),
        case("NOTICE to the server",           frame(0x400C, b"\0\x01\0\x01no"),  GoAway(PROTOCOL),  WrongDirection),
        case("ERROR to the server",            frame(ERROR, b"\0\x01no"),          GoAway(PROTOCOL),  WrongDirection),
        case("GOAWAY to the server",           frame(GOAWAY, b"\0\x09\0\0\0\0bye"), GoAway(PROTOCOL), WrongDirection),
        case("a TLS hello",                    TLS_HELLO,                          Bytes(TLS_ALERT),  TlsOnPlain),
        case("a TLS hello and more",           hello_and_more,                     Bytes(TLS_ALERT),  TlsOnPlain),
        case("HTTP",                           HTTP,                               GoAway(PROTOCOL),  Http),
        case("HTTP/2",                         HTTP2,                              GoAway(PROTOCOL),  Http),
        case("RESP",                           RESP,                               GoAway(PROTOCOL),  Resp),
        case("PROXY, version 1",               PROXY1,                             GoAway(PROTOCOL),  Proxy),
        case("PROXY, version 2",               PROXY2,                             GoAway(PROTOCOL),  Proxy),
        case("junk",                           [0xA5; 5000],                       GoAway(TOO_LARGE), TooLarge),
        case("zeros",                          [0; 5000],                          GoAway(PROTOCOL),  BadCrc),
        ending("the end inside a header",      &frame(ECHO, b"cut")[..3],          Nothing,           Truncated),
        ending("the end inside a payload",     &frame(ECHO, b"cut")[..8],          Nothing,           Truncated),
        ending("the end inside a checksum",    &frame(ECHO, b"cut")[..12],         Nothing,           Truncated),
        ending("the end inside a large frame", &frame(ECHO, &pattern(3, 500_000))[..300_000], Nothing, Truncated),
    ];
    cases
}

pub fn on_lines() -> Vec<Case> {
    use CloseReason::{Http, LineTooLong, Proxy, TlsOnPlain};
    use Told::{Bytes, Line};
    let max = 64 << 10;
    #[rustfmt::skip]
    let cases = vec![
        case("a line over the limit by one",    [vec![b'a'; max + 1], b"\n".to_vec()].concat(), Line("ERR 14 TOO_LARGE "), LineTooLong),
        case("a line without end",              vec![b'a'; max + 2],                Line("ERR 14 TOO_LARGE "), LineTooLong),
        case("a line without end, and more",    vec![b'a'; 5 * max],                Line("ERR 14 TOO_LARGE "), LineTooLong),
        case("a TLS hello",                     TLS_HELLO,                          Bytes(TLS_ALERT),          TlsOnPlain),
        case("HTTP",                            HTTP,                               Line("ERR 1 PROTOCOL "),   Http),
        case("HTTP/2",                          HTTP2,                              Line("ERR 1 PROTOCOL "),   Http),
        case("PROXY, version 1",                PROXY1,                             Line("ERR 1 PROTOCOL "),   Proxy),
        case("PROXY, version 2",                PROXY2,                             Line("ERR 1 PROTOCOL "),   Proxy),
    ];
    cases
}
