//! What every client is asked, and what must come of it. Commands and options: `session` in `driver.py`.

use super::scripted::Step;
use Step::{AwaitEnd, Bytes, Echo, EchoDamaged, EchoSplit, EchoWith, Expect, Pause, Say, Take};

/// Name, commands, outcomes: against the real server. `*` is any text.
#[rustfmt::skip]
pub const ON_SERVER: &[(&str, &str, &[&str])] = &[
    ("a reply",                   "ask:1:hello ask:1:again",       &["ok hello", "ok again"]),
    ("an empty body",             "ask:1:",                        &["ok "]),
    ("a failure is an error",     "ask:99:x ask:1:on",             &["status 4 unsure *", "ok on"]),
    ("slots and correlations",    "send:1:a csend:1:b send:99:c csend:99:d send:1:e wait",
        &["ok a", "ok b", "status 4 unsure *", "status 4 unsure *", "ok e"]),
    ("a deadline that is over",   "dsend:1:x wait",                &["status 8 undone *"]),
    ("one-way takes no slot",     "oneway:1:x oneway:2:y oneway:99:z ask:1:a", &["ok a"]),
    ("1,000 pipelined",           "pipe:1:1000:100",               &["1000 in order"]),
    ("more than all buffers",     "pipe:1:200:200000",             &["200 in order"]),
    ("the largest body",          "big:1:1048576",                 &["ok 1048576"]),
    ("a body over the limit",     "big:1:1048577",                 &["ended goaway 14 undone"]),
    ("known, then refused here",  "hello= big:1:1048577 ask:1:on", &["welcome 1 1048576 25000", "refused", "ok on"]),
    ("a token",                   "token=secret ask:1:x",          &["welcome 1 1048576 25000", "ok x"]),
    ("a PING of its own",         "ping hello= ask:1:x ping",      &["welcome 1 1048576 25000", "pong", "ok x", "pong"]),
    ("a reply over its limit",    "limit=10 big:1:11",             &["fault too_large"]),
    ("told to the server before", "hello= limit=10 big:1:11 ask:1:x",
        &["welcome 1 1048576 25000", "status 14 unsure *", "ok x"]),
    ("closes in order",           "send:1:a oneway:2:x ask:1:b wait close", &["ok b", "ok a", "closed"]),
];

const WELCOME: &[u8] = b"\x01\0\0\x10\0\0\0\0\0\0\x04tg-1\x03c-7";

/// Name, commands, script, outcomes: against a server that follows a script.
#[rustfmt::skip]
pub const ON_SCRIPTS: &[(&str, &str, &[Step], &[&str])] = &[
    ("a split reply",             "send:1:a send:1:bcd wait",
        &[Take(2), EchoSplit(0), EchoSplit(1)],                          &["ok a", "ok bcd"]),
    ("correlated, in any order",  "csend:1:a csend:1:b send:1:c csend:1:d wait",
        &[Take(4), Echo(3), Echo(1), Echo(2), Echo(0)],                  &["ok a", "ok b", "ok c", "ok d"]),
    ("a damaged reply",           "send:1:a send:1:b wait",
        &[Take(2), Echo(0), EchoDamaged(1), AwaitEnd],                   &["ok a", "fault bad_crc"]),
    ("a length over the limit",   "ask:1:a",
        &[Take(1), Bytes(b"\x00\x01\x7f\xff\xff\xff"), AwaitEnd],        &["fault too_large"]),
    ("a length of all ones",      "ask:1:a",
        &[Take(1), Bytes(b"\x80\x01\xff\xff\xff\xff"), AwaitEnd],        &["fault too_large"]),
    ("a control frame too large", "ask:1:a",
        &[Take(1), Bytes(b"\x40\x04\x00\x00\x10\x01"), AwaitEnd],        &["fault too_large"]),
    ("GOAWAY behind all replies", "send:1:a send:1:b wait",
        &[Take(2), Echo(0), Say(0x4005, b"\0\x01\0\0\0\0bad")],          &["ok a", "ended goaway 1 undone"]),
    ("GOAWAY DRAINING, plain",    "csend:1:a csend:1:b wait",
        &[Take(2), Echo(1), Say(0x4005, b"\0\x09\0\0\0\0")],             &["ended goaway 9 undone", "ok b"]),
    ("GOAWAY INTERNAL",           "send:1:a wait",
        &[Take(1), Say(0x4005, b"\0\x0a\0\0\0\0")],                      &["ended goaway 10 unsure"]),
    ("GOAWAY of a later version", "send:1:a wait",
        &[Take(1), Say(0x4005, b"\0\x63\0\0\0\0")],                      &["ended goaway 99 unsure"]),
    ("DRAINING, told early",      "hello= send:1:a send:1:b send:1:c wait",
        &[Take(1), Say(0x4003, WELCOME), Take(3), Say(0x4005, b"\0\x09\0\0\0\0"), Echo(1), Say(0x4004, b"\0\x09no")],
        &["welcome 1 1048576 0", "ok a", "status 9 undone no", "ended goaway 9 unsure"]),
    ("an end without a word",     "send:1:a send:1:b wait",
        &[Take(2), Echo(0)],                                             &["ok a", "ended eof unsure"]),
    ("an end within a reply",     "send:1:a wait",
        &[Take(1), Bytes(b"\x00\x01\x00\x00\x00\x01a")],                 &["ended eof unsure"]),
    ("a timeout, a late reply",   "timeout=300 send:1:a csend:1:b wait ask:1:c csend:1:d wait",
        &[Take(3), Echo(0), Echo(1), Echo(2), Take(1), Echo(3)],         &["timeout", "timeout", "ok c", "ok d"]),
    ("a timeout, a late body",    "timeout=300 ask:1:a ask:1:b",
        &[Take(2), Echo(0), Echo(1)],                                    &["timeout", "ok b"]),
    ("a PING is answered",        "ask:1:a",
        &[Take(1), Say(0x4000, b"t1"), Expect(0x4001, b"t1"), Say(0x4000, b""), Expect(0x4001, b""), Echo(0)],
        &["ok a"]),
    ("a silent server is asked",  "ping=100 ask:1:a ask:1:b",
        &[Take(2), Say(0x4001, b"life"), AwaitEnd],                      &["ended eof unsure", "ended eof undone"]),
    ("what is unknown is skipped", "hello= csend:1:a wait",
        &[Take(1), Say(0x4003, WELCOME), Take(1), Say(0x4030, b"new"), Say(0x400c, b"\0\x0f\x40\x06no"), Say(0x4001, b"x"),
          Say(0x4009, b"\x01tb"), Echo(1)],                              &["welcome 1 1048576 0", "ok a"]),
    ("nothing is critical in a reply", "csend:1:abcd wait",
        &[Take(1), EchoWith(0, [4, 0xf1, 0, 0])],                        &["ok "]),
    ("a status in a block",       "csend:1:abc wait",
        &[Take(1), EchoWith(0, [3, 1, 0, 10])],                          &["status 10 unsure abc"]),
    ("a status of the application", "csend:1:abc wait",
        &[Take(1), EchoWith(0, [3, 1, 1, 1])],                           &["status 257 unsure abc"]),
    ("a block longer than its payload", "csend:1:abc wait",
        &[Take(1), EchoWith(0, [9, 1, 0, 0]), AwaitEnd],                 &["fault bad_extension"]),
    ("a reply with an unknown id", "csend:1:a wait",
        &[Take(1), Say(0x8001, b"\x03\x01\0\0\0\0\0\0\0\0\0\x63a"), AwaitEnd], &["fault bad_reply"]),
    ("a reply on another route",  "ask:1:a",
        &[Take(1), Say(0x0002, b"a"), AwaitEnd],                         &["fault bad_reply"]),
    ("a reply to nothing",        "ask:1:a poll:300 ask:1:b",
        &[Take(1), Echo(0), Echo(0), AwaitEnd],                          &["ok a", "ended eof undone"]),
    ("an ERROR to nothing",       "oneway:1:a poll:300 ask:1:b",
        &[Take(1), Say(0x4004, b"\0\x05no"), AwaitEnd],                  &["ended eof undone"]),
    ("an ERROR without a status", "ask:1:a",
        &[Take(1), Say(0x4004, b"\0"), AwaitEnd],                        &["fault bad_control"]),
    ("what only clients send",    "ask:1:a",
        &[Take(1), Say(0x4002, b"\x01\0\0\0\0"), AwaitEnd],              &["fault wrong_direction"]),
    ("HELLO is refused",          "hello= ask:1:a",
        &[Take(1), Say(0x4005, b"\0\x02\0\0\0\0who?")],                  &["ended goaway 2 undone"]),
    ("WELCOME never comes",       "timeout=200 hello= ask:1:a",
        &[Take(1), AwaitEnd],                                            &["timeout"]),
];

/// A server that takes one request, and then reads no more until it ends. Commands and outcomes: of a client that counts
/// the bytes that the socket took, and of one that only knows what it did not give to the socket.
pub const UNREAD: &[Step] = &[Take(1), Pause(200)];
pub const BY_BYTES: (&str, &[&str]) =
    ("send:1:a fill:1:32000000 wait", &["ended eof unsure", "ended eof undone"]);
pub const BY_BATCHES: (&str, &[&str]) =
    ("send:1:a fill:1:32000000 send:1:b wait", &["ended eof unsure", "ended eof unsure", "ended eof undone"]);
