//! Question: what does a reply cost between the handler and the write, by the way it takes?
//!
//! Claim: of a batch of 16, gathered, sealed and cut into slices, a copied reply of 64 B takes at most 254 instructions,
//! 143 of them for its CRC; one that forwards verified bytes at most 96 whatever their number; one that shares its
//! payload at most 409 beside the CRC, since nothing is copied.

use crate::claim::{ROUNDS, at_most, payload, request};
use bytes::Bytes;
use gungraun::{library_benchmark, library_benchmark_group};
use std::hint::black_box;
use std::io::IoSlice;
use tidegate::base::limits::SLICES_PER_WRITE;
use tidegate::session::{Envelope, Inputs, Outbox, ReplyTo, Segment, Source};
use tidegate::wire::{Extension, Header};

const BATCH: usize = 16;
const ENVELOPE: Envelope = Envelope { before: 6, after: 4 };

/// An outbox that has had a batch, what it is asked to send, and the input that this came from.
struct Desk {
    outbox: Outbox,
    to: ReplyTo,
    payload: Vec<u8>,
    input: Vec<u8>,
}

impl Desk {
    fn new(payload_bytes: usize, to: ReplyTo) -> Desk {
        let input = request(3, payload_bytes).repeat(BATCH);
        let mut desk = Desk { outbox: Outbox::new(), to, payload: payload(payload_bytes), input };
        desk.copy();
        desk
    }

    fn copy(&mut self) {
        for _ in 0..BATCH {
            let _ = black_box(self.outbox.reply(black_box(self.to), black_box(&self.payload)));
        }
        self.leave();
    }

    fn forward(&mut self, envelope: Option<Envelope>) {
        let inputs = Inputs { ring: &[], scratch: &self.input };
        let (payload_bytes, frame_bytes) = (self.payload.len(), self.input.len() / BATCH);
        for at in 0..BATCH {
            let start = at * frame_bytes + 6;
            let part = inputs.part(Source::Scratch, start..start + payload_bytes, envelope);
            let _ = match envelope {
                Some(_) => black_box(self.outbox.reply_forward(self.to, black_box(part))),
                None => black_box(self.outbox.reply_gathered(self.to, &[Segment::Forward(black_box(part))])),
            };
        }
        self.leave();
    }

    fn leave(&mut self) {
        self.outbox.seal();
        if let Some(bytes) = self.outbox.single_slice() {
            black_box(bytes);
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
            let inputs = Inputs { ring: &[], scratch: &self.input };
            black_box(self.outbox.slices(inputs, &mut slices));
        }
        self.outbox.clear();
    }
}

fn plain(payload_bytes: usize) -> Desk {
    Desk::new(payload_bytes, ReplyTo::plain(Header::route(3)))
}

fn correlated(payload_bytes: usize) -> Desk {
    let extension = Extension { correlation: Some(7), ..Extension::default() };
    Desk::new(payload_bytes, ReplyTo::extended(Header::from_bits(1 << 15 | 3), &extension))
}

#[library_benchmark]
#[bench::of_64(args = (64), setup = plain, config = at_most(3_764))]
#[bench::of_64_correlated(args = (64), setup = correlated, config = at_most(3_924))]
#[bench::of_1024(args = (1024), setup = plain, config = at_most(12_256))]
fn copied(mut desk: Desk) -> Desk {
    for _ in 0..ROUNDS {
        desk.copy();
    }
    desk
}

// A whole payload with the frame around it, as it was verified.
#[library_benchmark(setup = plain)]
#[bench::of_64(args = (64), config = at_most(1_572))]
#[bench::of_16384(args = (16384), config = at_most(1_572))]
fn forwarded(mut desk: Desk) -> Desk {
    for _ in 0..ROUNDS {
        desk.forward(Some(ENVELOPE));
    }
    desk
}

// A payload that is sent from where it lies, in a frame of its own.
#[library_benchmark(setup = plain)]
#[bench::of_16384(args = (16384), config = at_most(127_867))]
fn forwarded_in_part(mut desk: Desk) -> Desk {
    for _ in 0..ROUNDS {
        desk.forward(None);
    }
    desk
}

#[library_benchmark(setup = plain)]
#[bench::of_16384(args = (16384), config = at_most(126_736))]
fn shared(mut desk: Desk) -> Desk {
    let bytes = Bytes::from(std::mem::take(&mut desk.payload));
    for _ in 0..ROUNDS {
        for _ in 0..BATCH {
            let _ = black_box(desk.outbox.reply_shared(desk.to, black_box(&bytes).clone()));
        }
        desk.leave();
    }
    desk
}

library_benchmark_group!(name = replies; benchmarks = copied, forwarded, forwarded_in_part, shared);
