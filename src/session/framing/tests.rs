//! What stands at the front of a stream, and the reason for which a connection ends at it.

use super::*;
use crate::wire::{Status, encode};

const FRAMES: Framing = Framing::frames(8);
const LINES: Framing = Framing::lines(8, 5);

fn frame(bits: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes, &Crc::new(), Header::from_bits(bits), payload);
    bytes
}

fn control(control: Control<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    control.encode(&mut bytes, &Crc::new());
    bytes
}

#[test]
fn every_fault_of_a_frame_has_its_reason_and_words_with_numbers() {
    let flipped = [&frame(1, b"abc")[..12], &[0]].concat();
    let go_away = control(Control::GoAway { status: Status::OK, reconnect_after_ms: 0, text: "" });
    let ping_too_long = frame(0x4000, &[0; 65]);
    #[rustfmt::skip]
    let table: &[(&str, &[u8], CloseReason, &str)] = &[
        ("over the limit",  &[0, 1, 0, 0, 0, 9], CloseReason::TooLarge,       "9 bytes"),
        ("control over it", &[0x40, 0, 0, 0, 0x10, 1], CloseReason::TooLarge, "4096"),
        ("crc",             &flipped,            CloseReason::BadCrc,         "crc"),
        ("code",            &frame(0x4077, b""), CloseReason::UnknownControl, "119"),
        ("long ping",       &ping_too_long,      CloseReason::BadControl,     "64"),
        ("bad block",       &frame(0xc002, b"\0"), CloseReason::BadExtension, "0 words"),
        ("bad greeting",    &frame(0x4002, b""),  CloseReason::BadControl,     "2"),
        ("direction",       &go_away,            CloseReason::WrongDirection, "0x4005"),
    ];
    let crc = Crc::new();
    for (name, input, why, words) in table {
        let got = match FRAMES.next(input, 0, &crc) {
            Step::Control { header, payload, .. } => FRAMES.control(header, payload).err(),
            Step::Fault(why) => Some(why),
            Step::Message { .. } | Step::NeedMore { .. } => None,
        };
        assert_eq!(got, Some(*why), "case: {name}");
        let told = FRAMES.explain(*why, input, 0, &crc);
        assert!(told.as_str().contains(words), "case: {name}: {told}");
    }
}

type ShortWay = fn(&Framing, &'static [u8], &Crc) -> Option<Request<'static>>;

/// The short ways are taken by whom they are made for, and lead where the long one does; cut anywhere they lead nowhere.
#[test]
fn short_ways_to_a_request_and_the_long_one_agree() {
    let crc = Crc::new();
    let framing = Framing::frames(64);
    let ways: [(Simple, ShortWay); 2] =
        [(Simple::Plain, Framing::next_plain), (Simple::Correlated, Framing::next_correlated)];
    const CORRELATED: &[u8] = &[3, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, b'a', b'b'];
    let with = |at: usize, byte: u8| {
        let mut payload = CORRELATED.to_vec();
        payload[at] = byte;
        frame(0x8003, &payload)
    };
    let mut flipped = frame(0x8003, CORRELATED);
    flipped[19] ^= 1;
    #[rustfmt::skip]
    let table: Vec<(&str, Vec<u8>, Option<Simple>)> = vec![
        ("plain",              frame(3, b"abc"),                    Some(Simple::Plain)),
        ("nothing in it",      frame(3, b""),                       Some(Simple::Plain)),
        ("plain, wrong crc",   [&frame(3, b"abc")[..12], &[0]].concat(), Some(Simple::Plain)),
        ("plain, too long",    frame(3, &[0; 65]),                  Some(Simple::Plain)),
        ("correlated",         frame(0x8003, CORRELATED),           Some(Simple::Correlated)),
        ("nothing behind it",  frame(0x8003, &CORRELATED[..12]),    Some(Simple::Correlated)),
        ("cut in the id",      frame(0x8003, &CORRELATED[..11]),    Some(Simple::Correlated)),
        ("cut before the id",  frame(0x8003, &CORRELATED[..4]),     Some(Simple::Correlated)),
        ("wrong crc",          flipped,                             Some(Simple::Correlated)),
        ("more words",         with(0, 4),                          None),
        ("fewer words",        with(0, 2),                          None),
        ("another flag",       with(1, 3),                          None),
        ("no flag",            with(1, 0),                          None),
        ("a status",           with(3, 1),                          None),
        ("control, block",     frame(0xc003, CORRELATED),           None),
        ("control",            frame(0x4000, b""),                  None),
    ];
    for (name, input, kind) in table {
        let input: &'static [u8] = input.leak();
        assert_eq!(Framing::simple(input), kind, "case: {name}");
        for (simple, way) in ways {
            let want = match framing.next(input, 0, &crc) {
                Step::Message { to, block, payload, is_special: false, used } if kind == Some(simple) => {
                    Some(Request { to, block, payload, used })
                }
                Step::Message { .. } | Step::Control { .. } | Step::NeedMore { .. } | Step::Fault(_) => None,
            };
            assert_eq!(way(&framing, input, &crc), want, "case: {name}, {simple:?}");
            for end in 0..input.len() {
                assert_eq!(way(&framing, &input[..end], &crc), None, "case: {name}, {simple:?}, {end} bytes");
            }
        }
    }
}

#[test]
fn messages_are_told_from_what_needs_no_reply() {
    let crc = Crc::new();
    let request = frame(3, b"abc");
    assert_eq!(FRAMES.next(&request, 0, &crc), plain(Header::route(3), b"abc", 13));
    let ping = control(Control::Ping(b"x"));
    let header = Header::control(0);
    assert_eq!(FRAMES.next(&ping, 0, &crc), Step::Control { header, payload: b"x", used: 11 });
    assert_eq!(FRAMES.control(header, b"x").map(|frame| frame.control), Ok(Control::Ping(b"x")));
    assert_eq!(FRAMES.next(&request[..5], 0, &crc), Step::NeedMore { bytes: 6 });
    assert_eq!(FRAMES.next(&request[..6], 0, &crc), Step::NeedMore { bytes: 13 });
}

#[test]
fn lines_go_to_their_listeners_route() {
    let crc = Crc::new();
    let header = Header::route(5);
    assert_eq!(LINES.next(b"ab\r\nc", 0, &crc), plain(header, b"ab", 4));
    assert_eq!(LINES.next(b"ab", 2, &crc), Step::NeedMore { bytes: 0 });
    assert_eq!(LINES.next(b"123456789\n", 0, &crc), Step::Fault(CloseReason::LineTooLong));
    assert!(LINES.explain(CloseReason::LineTooLong, b"123456789\n", 0, &crc).as_str().contains('8'));
}

#[test]
fn whole_requests_are_counted_up_to_the_first_that_is_not() {
    let crc = Crc::new();
    let ping = control(Control::Ping(b""));
    let stream = [frame(1, b"a"), ping, frame(2, b""), frame(3, b"c")[..5].to_vec()].concat();
    assert_eq!(FRAMES.count_requests(&stream, &crc), 2);
    assert_eq!(FRAMES.count_requests(b"\0\0\0\0\0\0\0\0\0\0", &crc), 0);
    assert_eq!(LINES.count_requests(b"a\n\nrest", &crc), 2);
}

#[test]
fn foreign_hellos_have_reasons_of_their_own() {
    #[rustfmt::skip]
    let table: &[(&str, Framing, &[u8], Option<CloseReason>)] = &[
        ("tls on frames",   FRAMES, &[0x16, 3, 1, 2, 0, 1], Some(CloseReason::TlsOnPlain)),
        ("http on frames",  FRAMES, b"GET / HTTP/1.1\r\n",  Some(CloseReason::Http)),
        ("resp on frames",  FRAMES, b"*1\r\n$4\r\nPING\r\n", Some(CloseReason::Resp)),
        ("proxy on frames", FRAMES, b"PROXY TCP4 1.1.1.1",  Some(CloseReason::Proxy)),
        ("http on lines",   LINES,  b"GET / HTTP/1.1\r\n",  Some(CloseReason::Http)),
        ("a star on lines", LINES,  b"*1\r\n",              None),
        ("ours",            FRAMES, &[0, 1, 0, 0, 0, 0],    None),
    ];
    for (name, framing, first, want) in table {
        assert_eq!(framing.foreign(first), *want, "case: {name}");
    }
}
