//! Extension blocks between a client and a handler: what a handler is shown of one, and the block that its reply has.

mod support;

use std::sync::{Arc, Mutex};
use support::client::{ECHO, EXT, FLIP, OVERLOADED, frame};
use support::extended::{Block, OK};
use support::pattern;
use support::serving::{Serving, builder};
use tidegate::service::Segment;
use tidegate::wire::{Status, Trace};

/// Whatever a request's block says, its reply has status OK and the same correlation, and nothing else; whether the
/// body is sent again from where it lies, or copied, or changed.
#[test]
fn a_reply_has_its_own_block() {
    let serving = Serving::embedded();
    let mut client = serving.connect();
    let block = |id, deadline_ms, tags| Block { correlation: id, deadline_ms, tags, ..Block::default() };
    let traced = Block { correlation: Some(1), trace: Some([0; 28]), ..Block::default() };
    #[rustfmt::skip]
    let blocks: &[(&str, Option<u64>, Vec<u8>)] = &[
        ("nothing",           None,           block(None, None, &[]).bytes()),
        ("correlation",       Some(7),        block(Some(7), None, &[]).bytes()),
        ("last correlation",  Some(u64::MAX), block(Some(u64::MAX), None, &[]).bytes()),
        ("deadline",          None,           block(None, Some(60_000), &[]).bytes()),
        ("both",              Some(8),        block(Some(8), Some(60_000), &[]).bytes()),
        ("trace",             Some(1),        traced.bytes()),
        ("tag",               Some(9),        block(Some(9), None, &[99, 1, 5]).bytes()),
        ("status",            Some(7),        [&[3, 1, 0, 5][..], &7_u64.to_be_bytes()].concat()),
        ("status, no id",     None,           vec![1, 0, 1, 0]),
    ];
    for bytes in [0, 1, 2, 100, 16_383, 16_384, 70_000] {
        let body = pattern(bytes as u64, bytes);
        let mut flipped = body.clone();
        flipped.first_mut().into_iter().for_each(|first| *first ^= 1);
        for (name, id, block) in blocks {
            let payload = [&block[..], &body].concat();
            client.send(
                &[frame(EXT | ECHO, &payload), frame(EXT | FLIP, &payload), frame(ECHO, &body)].concat(),
            );
            let echoed = client.expect_extended(ECHO, OK, *id);
            assert!(echoed == body, "case: {name}, {bytes} bytes echoed");
            assert!(client.expect_extended(FLIP, OK, *id) == flipped, "case: {name}, {bytes} bytes flipped");
            client.expect(ECHO, &body);
        }
    }
    drop(client);
    serving.end();
}

/// What a handler sees of a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shown {
    correlation: Option<u64>,
    deadline_ms: Option<u32>,
    trace: Option<Trace>,
    one_way: bool,
    affinity: Option<Vec<u8>>,
    payload: Vec<u8>,
}

#[test]
fn a_handler_is_shown_the_whole_block_and_the_body_behind_it() {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&shown);
    let running = builder().start_fn(move |frame, reply| {
        let extension = frame.extension();
        seen.lock().expect("nobody panics with it").push(extension.map(|extension| Shown {
            correlation: extension.correlation,
            deadline_ms: extension.deadline_ms,
            trace: extension.trace,
            one_way: extension.one_way,
            affinity: extension.tlvs.affinity().map(<[u8]>::to_vec),
            payload: frame.payload().to_vec(),
        }));
        let body = frame.payload();
        match body {
            b"busy" => reply.fail_for(Status::OVERLOADED, "later", 250),
            // A part of the body, and the body in parts.
            b"part" => reply.forward(frame.part(1..3)),
            _ => reply.gather(&[Segment::Copy(b"<"), Segment::Forward(frame.whole()), Segment::Copy(b">")]),
        }
    });
    let serving = Serving::of(running.expect("a server"));
    let mut client = serving.connect();
    let mut trace = [0; 28];
    trace[..25].copy_from_slice(&pattern(1, 25));
    let every = Block {
        correlation: Some(77),
        deadline_ms: Some(3_000),
        trace: Some(trace),
        one_way: false,
        tags: b"\x63\x01x\x03\x04user",
    };
    client.send(&every.frame(5, b"body"));
    assert_eq!(client.expect_extended(5, OK, Some(77)), b"<body>");
    client.send(&Block { one_way: true, ..Block::default() }.frame(5, b"silent"));
    client.send(&Block::default().frame(5, b"part"));
    assert_eq!(client.expect_extended(5, OK, None), b"ar");
    client.request(5, b"plain");
    client.expect(5, b"<plain>");
    let want = Shown {
        correlation: Some(77),
        deadline_ms: Some(3_000),
        trace: Some(Trace {
            id: trace[..16].try_into().expect("16"),
            parent: trace[16..24].try_into().expect("8"),
            flags: trace[24],
        }),
        one_way: false,
        affinity: Some(b"user".to_vec()),
        payload: b"body".to_vec(),
    };
    let silent = Shown { one_way: true, payload: b"silent".to_vec(), ..Shown::default() };
    let part = Shown { payload: b"part".to_vec(), ..Shown::default() };
    assert_eq!(*shown.lock().expect("nobody panics with it"), [Some(want), Some(silent), Some(part), None]);
    // A pause for who understands it.
    client.send(&Block { correlation: Some(3), ..Block::default() }.frame(5, b"busy"));
    let got = client.receive();
    let block =
        [&[5, 0x81, 0, 5, 0, 0, 0, 0, 0, 0, 0, 3, 1, 4][..], &250_u32.to_be_bytes(), &[0, 0], b"later"];
    assert_eq!((got.header, got.payload), (EXT | 5, block.concat()));
    client.request(5, b"busy");
    client.expect_error(OVERLOADED);
    drop(client);
    serving.end();
}
