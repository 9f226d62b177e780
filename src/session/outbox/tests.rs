//! The outbox against bytes joined by hand, whatever is gathered in whatever way, and however much a socket takes.

use super::*;
use crate::wire::encode;
use proptest::prelude::*;

const ROUTE: Header = Header::route(7);
const TO: ReplyTo = ReplyTo::plain(ROUTE);

/// A request of `payload_bytes` in an input, behind some other bytes.
fn input_with(payload_bytes: usize) -> (Vec<u8>, Envelope, usize) {
    let mut input = vec![0xEE; 3];
    let payload: Vec<u8> = (0..payload_bytes).map(|at| u8::try_from(at % 251).expect("below 251")).collect();
    encode(&mut input, &Crc::new(), ROUTE, &payload);
    (input, Envelope { before: 6, after: 4 }, 3 + 6)
}

fn gathered(outbox: &Outbox, inputs: Inputs<'_>) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 64];
    let count = outbox.slices(inputs, &mut slices);
    slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect()
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes, &Crc::new(), ROUTE, payload);
    bytes
}

/// One step of a batch, and the bytes that it must put on the wire.
#[derive(Clone, Debug)]
enum Op {
    Reply(usize),
    Gather { first: usize, from: usize },
    Forward,
    ForwardPart(usize),
    Shared(usize),
    Failure,
    Pong,
}

fn op() -> impl Strategy<Value = Op> {
    let sizes = prop_oneof![0..300_usize, Just(FORWARD_BYTES_MIN - 1), Just(FORWARD_BYTES_MIN)];
    prop_oneof![
        4 => sizes.clone().prop_map(Op::Reply),
        2 => (0..20_usize, 0..40_000_usize).prop_map(|(first, from)| Op::Gather { first, from }),
        4 => Just(Op::Forward),
        1 => (0..40_000_usize).prop_map(Op::ForwardPart),
        1 => sizes.prop_map(Op::Shared),
        1 => Just(Op::Failure),
        1 => Just(Op::Pong),
    ]
}

/// Does it, and gives the bytes that must follow on the wire.
fn apply(outbox: &mut Outbox, op: &Op, inputs: Inputs<'_>, envelope: Envelope, at: usize) -> Vec<u8> {
    let end = inputs.scratch.len() - 4;
    let payload = &inputs.scratch[at..end];
    let cut = |from: usize| from.min(payload.len());
    match op {
        Op::Reply(bytes) => {
            outbox.reply(TO, &vec![5; *bytes]).expect("it is not too large");
            frame(&vec![5; *bytes])
        }
        Op::Gather { first, from } => {
            let part = inputs.part(Source::Scratch, at + cut(*from)..end, None);
            let own = vec![9; *first];
            outbox.reply_gathered(TO, &[Segment::Copy(&own), Segment::Forward(part)]).expect("not too large");
            frame(&[&own, &payload[cut(*from)..]].concat())
        }
        Op::Forward => {
            let part = inputs.part(Source::Scratch, at..end, Some(envelope));
            outbox.reply_forward(TO, part).expect("not too large");
            frame(payload)
        }
        Op::ForwardPart(from) => {
            let part = inputs.part(Source::Scratch, at + cut(*from)..end, None);
            outbox.reply_forward(TO, part).expect("not too large");
            frame(&payload[cut(*from)..])
        }
        Op::Shared(bytes) => {
            outbox.reply_shared(TO, Bytes::from(vec![6; *bytes])).expect("not too large");
            frame(&vec![6; *bytes])
        }
        Op::Failure => {
            outbox.failure(TO, Status::NO_ROUTE, Failure { text: "none", retry_after_ms: None });
            let mut bytes = Vec::new();
            Control::Error { status: Status::NO_ROUTE, text: "none" }.encode(&mut bytes, &Crc::new());
            bytes
        }
        Op::Pong => {
            outbox.control(&Control::Pong(b"x"));
            let mut bytes = Vec::new();
            Control::Pong(b"x").encode(&mut bytes, &Crc::new());
            bytes
        }
    }
}

proptest! {
    /// How replies are kept (copied, by range, shared) never shows on the wire.
    #[test]
    fn the_wire_shows_only_the_replies(ops in prop::collection::vec(op(), 0..90), payload_bytes in 0..40_000_usize) {
        let (input, envelope, at) = input_with(payload_bytes);
        let inputs = Inputs { ring: &[], scratch: &input };
        let mut outbox = Outbox::new();
        let mut want = Vec::new();
        for op in &ops {
            want.extend(apply(&mut outbox, op, inputs, envelope, at));
        }
        outbox.seal();
        prop_assert_eq!(outbox.bytes(), want.len());
        prop_assert!(gathered(&outbox, inputs) == want, "the wire differs");
    }

    /// Wherever a socket stops, exactly the rest is left.
    #[test]
    fn what_is_written_and_what_is_left_make_the_whole(
        ops in prop::collection::vec(op(), 1..20), written in any::<prop::sample::Index>(),
    ) {
        let (input, envelope, at) = input_with(20_000);
        let inputs = Inputs { ring: &[], scratch: &input };
        let mut outbox = Outbox::new();
        for op in &ops {
            apply(&mut outbox, op, inputs, envelope, at);
        }
        outbox.seal();
        let whole = gathered(&outbox, inputs);
        let written = written.index(whole.len() + 1);
        let mut rest = Vec::new();
        let kept: Result<(), ()> = outbox.unwritten(inputs, written, |unwritten| {
            match unwritten {
                Unwritten::Bytes(bytes) => rest.extend_from_slice(bytes),
                Unwritten::Shared(bytes) => rest.extend_from_slice(&bytes),
            }
            Ok(())
        });
        prop_assert_eq!(kept, Ok(()));
        prop_assert!(rest == whole[written..], "the rest differs");
    }
}

#[test]
fn replies_that_follow_each_other_in_the_input_are_one_slice() {
    let one = frame(b"payload");
    let input = one.repeat(100);
    let inputs = Inputs { ring: &[], scratch: &input };
    let mut outbox = Outbox::new();
    for start in (0..input.len()).step_by(one.len()) {
        let envelope = Envelope { before: 6, after: 4 };
        let part = inputs.part(Source::Scratch, start + 6..start + one.len() - 4, Some(envelope));
        outbox.reply_forward(TO, part).expect("not too large");
    }
    outbox.seal();
    let mut slices = [IoSlice::new(&[]); 64];
    assert_eq!(outbox.slices(inputs, &mut slices), 1);
    assert_eq!(&*slices[0], &input[..]);
    assert_eq!(outbox.tally(), Tally { answered: 100, failed: 0, silent: 0, deferred: 0 });
}

/// However many are shared, they leave in one vectored write.
#[test]
fn shared_frames_are_copied_where_pieces_run_out() {
    let one = frame(b"for everybody");
    let mut outbox = Outbox::new();
    (0..200).for_each(|_| outbox.whole_shared(Bytes::from(one.clone())));
    outbox.seal();
    assert!(outbox.pieces.len() <= PIECES_PER_BATCH, "{} pieces", outbox.pieces.len());
    assert_eq!(gathered(&outbox, Inputs { ring: &[], scratch: &[] }), one.repeat(200));
}

#[test]
fn a_line_is_answered_by_a_line_however_it_is_kept() {
    let mut outbox = Outbox::new();
    outbox.set_protocol(Protocol::Line);
    let input = b"hello\nworld\r\n";
    let inputs = Inputs { ring: &[], scratch: input };
    let line_feed = Some(Envelope { before: 0, after: 1 });
    outbox.reply_forward(TO, inputs.part(Source::Scratch, 0..5, line_feed)).expect("not too large");
    outbox.reply_forward(TO, inputs.part(Source::Scratch, 6..11, None)).expect("not too large");
    outbox.reply(TO, b"").expect("not too large");
    outbox.failure(TO, Status::OVERLOADED, Failure { text: "later", retry_after_ms: None });
    outbox.seal();
    assert_eq!(gathered(&outbox, inputs), b"hello\nworld\n\nERR 5 OVERLOADED later\n");
}

#[test]
fn a_reply_over_the_limit_is_refused_and_leaves_no_trace() {
    let mut outbox = Outbox::new();
    // Zero pages that nobody touches.
    let huge = vec![0; PAYLOAD_BYTES_MAX as usize + 1];
    let refused = outbox.reply(TO, &huge).expect_err("it is too large");
    assert_eq!(
        refused.to_string(),
        "reply of 268435457 bytes exceeds the 268435456 byte limit of this server"
    );
    assert_eq!((outbox.bytes(), outbox.tally()), (0, Tally::default()));
}

#[test]
fn memory_of_a_huge_batch_is_not_kept() {
    let mut outbox = Outbox::new();
    outbox.reply(TO, &vec![1; CORK_BYTES_KEPT + 1]).expect("it fits");
    assert!(outbox.cork.len() > CORK_BYTES_KEPT);
    outbox.clear();
    assert_eq!((outbox.cork.len(), outbox.cork.capacity()), (CORK_BYTES, CORK_BYTES));
}

#[test]
fn memory_of_a_large_batch_is_kept_until_it_is_trimmed() {
    let mut outbox = Outbox::new();
    assert!(!outbox.has_grown());
    outbox.reply(TO, &vec![1; CORK_BYTES]).expect("it fits");
    outbox.clear();
    assert!(outbox.has_grown());
    outbox.trim();
    assert_eq!((outbox.has_grown(), outbox.cork.capacity()), (false, CORK_BYTES));
}
