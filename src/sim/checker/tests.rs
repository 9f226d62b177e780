use super::codec::{ACK, ERROR, EXT, GOAWAY, PONG, WELCOME, extended, frame};
use super::*;

const NOW: Moment<'static> = Moment {
    now: Time(5_000_000),
    has_drained: false,
    may_refuse: false,
    was_rebuilt: false,
    arrivals: &[Time(0); 16],
    message_bytes: 0,
};

fn correlated(id: u64, code: u16, body: &[u8]) -> Vec<u8> {
    extended(1, &Block { status: code, correlation: Some(id), ..Block::default() }, body)
}

fn bare(code: u16, body: &[u8]) -> Vec<u8> {
    extended(1, &Block { status: code, ..Block::default() }, body)
}

fn run(due: &[Due], parts: &[Vec<u8>], moment: &Moment<'_>) -> Vec<Result<(), String>> {
    let whole = parts.concat();
    let steps = [1, 3, whole.len().max(1)];
    steps
        .iter()
        .map(|step| {
            let mut checker = Checker::new(Protocol::Frame, due.to_vec(), Vec::new(), 1_000);
            whole.chunks(*step).try_for_each(|chunk| checker.feed(chunk, moment))
        })
        .collect()
}

#[test]
fn replies_in_order_are_told_right_from_wrong() {
    let due = [Due::reply(Kind::Plain(1), b"a".to_vec()), Due::failure(Kind::Plain(1), 4)];
    let goaway = frame(GOAWAY, b"\0\x09\0\0\0\0bye");
    let error = frame(ERROR, b"\0\x04no");
    #[rustfmt::skip]
    let table: &[(&str, Vec<Vec<u8>>, bool)] = &[
        ("all of it",           vec![frame(1, b"a"), error.clone(), goaway.clone()], true),
        ("the end came early",  vec![frame(1, b"a"), goaway.clone()],                true),
        ("wrong reply",         vec![frame(1, b"b")],                                false),
        ("reply left out",      vec![error.clone()],                                 false),
        ("twice",               vec![frame(1, b"a"), frame(1, b"a")],                false),
        ("behind the end",      vec![goaway.clone(), frame(1, b"a")],                false),
        ("for nothing",         vec![frame(1, b"a"), error.clone(), error.clone()],  false),
        ("another status",      vec![frame(1, b"a"), frame(ERROR, b"\0\x05no")],     false),
        ("a block unasked",     vec![bare(0, b"a")],                                 false),
        ("a message unasked",   vec![frame(codec::MESSAGE, b"\x01tx")],              false),
    ];
    for (name, parts, want) in table {
        for got in run(&due, parts, &NOW) {
            assert_eq!(got.is_ok(), *want, "case: {name}: {got:?}");
        }
    }
}

#[test]
fn replies_with_blocks_have_their_place_or_their_id() {
    let due = [
        Due::reply(Kind::Extended(1), b"one".to_vec()),
        Due::reply(Kind::Correlated(1, 7), b"two".to_vec()),
        Due::reply(Kind::Correlated(1, 7), b"three".to_vec()),
        Due { deadline_ms: Some(100), ..Due::reply(Kind::Extended(1), b"four".to_vec()) },
        Due::reply(Kind::Pong, b"p".to_vec()),
        Due::failure(Kind::Ack(7), 15),
    ];
    let ack = extended(ACK, &Block { status: 15, correlation: Some(7), ..Block::default() }, b"");
    let pong = frame(PONG, b"p");
    #[rustfmt::skip]
    let table: &[(&str, Vec<Vec<u8>>, bool)] = &[
        ("in the order of requests", vec![bare(0, b"one"), correlated(7, 0, b"two"), correlated(7, 0, b"three"), bare(0, b"four"), pong.clone(), ack.clone()], true),
        ("the other way round",      vec![ack.clone(), pong.clone(), correlated(7, 0, b"three"), bare(0, b"one"), bare(0, b"four"), correlated(7, 0, b"two")], true),
        ("overdue",                  vec![bare(0, b"one"), bare(7, b"too late")],              true),
        ("not overdue",              vec![bare(7, b"too late")],                               false),
        ("out of order",             vec![bare(0, b"four")],                                   false),
        ("an id twice too often",    vec![correlated(7, 0, b"two"), correlated(7, 0, b"two")], false),
        ("an id of nobody",          vec![correlated(8, 0, b"two")],                           false),
        ("without its block",        vec![frame(1, b"one")],                                   false),
        ("ERROR in its place",       vec![frame(ERROR, b"\0\x07")],                            false),
        ("ACK that says OK",         vec![extended(ACK, &Block { correlation: Some(7), ..Block::default() }, b"")], false),
        ("ACK without a block",      vec![frame(ACK, b"")],                                    false),
    ];
    for (name, parts, want) in table {
        for got in run(&due, parts, &NOW) {
            assert_eq!(got.is_ok(), *want, "case: {name}: {got:?}");
        }
    }
}

#[test]
fn a_greeting_comes_first_and_a_drain_is_told_once() {
    let due = [Due::reply(Kind::Welcome, Vec::new()), Due::reply(Kind::Plain(1), b"a".to_vec())];
    let welcome = frame(WELCOME, b"\x01\0\0\x10\0\0\0\0\x61\xa8\x01s\x01c");
    let goaway = frame(GOAWAY, b"\0\x09\0\0\0\0bye");
    let drained = Moment { has_drained: true, ..NOW };
    #[rustfmt::skip]
    let table: &[(&str, Vec<Vec<u8>>, Moment<'_>, bool)] = &[
        ("welcomed",             vec![welcome.clone(), frame(1, b"a")],                                            NOW,     true),
        ("not first",            vec![frame(1, b"a"), welcome.clone()],                                            NOW,     false),
        ("told, then answered",  vec![welcome.clone(), goaway.clone(), frame(1, b"a")],                            drained, true),
        ("told, then refused",   vec![welcome.clone(), goaway.clone(), frame(ERROR, b"\0\x09")],                   drained, true),
        ("told twice",           vec![welcome.clone(), goaway.clone(), goaway.clone()],                            drained, false),
        ("refused, not drained", vec![welcome.clone(), frame(ERROR, b"\0\x09")],                                   NOW,     false),
        ("asked, and notified",  vec![welcome.clone(), frame(codec::PING, b"?"), frame(codec::MESSAGE, b"\x01tx")], NOW,     true),
        ("an id that is none",   vec![frame(WELCOME, b"\x01\0\0\x10\0\0\0\0\x61\xa8\x01s\x01.")],                  NOW,     false),
        ("a notice of nothing",  vec![welcome.clone(), frame(codec::NOTICE, b"\0\x0f\x40\x06")],                   NOW,     false),
        ("reserved header",      vec![welcome.clone(), frame(EXT | codec::PING, b"")],                             NOW,     false),
    ];
    for (name, parts, moment, want) in table {
        for got in run(&due, parts, moment) {
            assert_eq!(got.is_ok(), *want, "case: {name}: {got:?}");
        }
    }
}

#[test]
fn lines_are_replies_or_say_that_they_are_none() {
    let due = [Due::reply(Kind::Line, b"abc".to_vec()), Due::failure(Kind::Line, 4)];
    #[rustfmt::skip]
    let table: &[(&str, &[u8], bool)] = &[
        ("both",            b"abc\nERR 4 NO_ROUTE nobody\n",                     true),
        ("and last words",  b"abc\nERR 4 NO_ROUTE\nERR 14 TOO_LARGE by far\n",   true),
        ("last words only", b"ERR 14 TOO_LARGE by far\n",                        true),
        ("another line",    b"abd\n",                                            false),
        ("a longer line",   b"abcd\n",                                           false),
        ("behind the end",  b"ERR 14 TOO_LARGE\nabc\n",                          false),
        ("no error line",   b"abc\nERR four\n",                                  false),
    ];
    for (name, input, want) in table {
        for step in [1, 2, input.len()] {
            let mut checker = Checker::new(Protocol::Line, due.to_vec(), Vec::new(), 1_000);
            let got = input.chunks(step).try_for_each(|chunk| checker.feed(chunk, &NOW));
            assert_eq!(got.is_ok(), *want, "case: {name} in steps of {step}: {got:?}");
        }
    }
}
