//! Question: what does a frame cost beside its CRC?
//!
//! Claim: decoding takes at most 43 instructions more than `crc_alone` of the same bytes, at 64 B and at 16 KiB alike,
//! since it copies nothing and looks at nothing twice: 30 in a batch, and the last look that finds no frame. Encoding
//! takes at most 80 more and the copy, which callgrind counts by the byte from 2 KiB on.

use crate::claim::{ROUNDS, at_most, payload, request};
use gungraun::{library_benchmark, library_benchmark_group};
use std::hint::black_box;
use tidegate::wire::{Crc, Decoded, FrameLimits, Header, decode, encode};

const FLIP: u16 = 3;
const LIMITS: FrameLimits = FrameLimits::new(1 << 20);

/// Frames, and what reads them.
struct Stream {
    bytes: Vec<u8>,
    crc: Crc,
}

fn stream(payload_bytes: usize, frames: usize) -> Stream {
    Stream { bytes: request(FLIP, payload_bytes).repeat(frames), crc: Crc::new() }
}

#[library_benchmark(setup = stream)]
#[bench::of_64(args = (64, 1), config = at_most(144))]
#[bench::of_1024(args = (1024, 1), config = at_most(554))]
#[bench::of_16384(args = (16384, 1), config = at_most(7_514))]
fn crc_alone(stream: Stream) -> Stream {
    for _ in 0..ROUNDS {
        black_box(stream.crc.of(&black_box(&stream.bytes)[4..]));
    }
    stream
}

#[library_benchmark(setup = stream)]
#[bench::of_64(args = (64, 1), config = at_most(187))]
#[bench::of_1024(args = (1024, 1), config = at_most(597))]
#[bench::of_16384(args = (16384, 1), config = at_most(7_557))]
#[bench::batch_of_16(args = (64, 16), config = at_most(2_767))]
fn decoded(stream: Stream) -> Stream {
    for _ in 0..ROUNDS {
        let mut rest = black_box(&stream.bytes[..]);
        while let Ok(Decoded::Frame(frame)) = decode(rest, LIMITS, &stream.crc) {
            rest = &rest[black_box(frame).frame_bytes()..];
        }
    }
    stream
}

// What is there of a frame that is not whole must cost next to nothing: a peer can send it byte by byte.
#[library_benchmark(setup = stream)]
#[bench::of_16384(args = (16384, 1), config = at_most(34))]
fn partial(stream: Stream) -> Stream {
    for _ in 0..ROUNDS {
        let part = &stream.bytes[..stream.bytes.len() - 1];
        let _ = black_box(decode(black_box(part), LIMITS, &stream.crc));
    }
    stream
}

/// A payload, and where its frame goes.
struct Source {
    payload: Vec<u8>,
    crc: Crc,
    out: Vec<u8>,
}

fn source(payload_bytes: usize) -> Source {
    Source { payload: payload(payload_bytes), crc: Crc::new(), out: Vec::with_capacity(payload_bytes + 64) }
}

#[library_benchmark(setup = source)]
#[bench::of_64(args = (64), config = at_most(222))]
#[bench::of_1024(args = (1024), config = at_most(745))]
#[bench::of_16384(args = (16384), config = at_most(23_948))]
fn encoded(mut source: Source) -> Source {
    for _ in 0..ROUNDS {
        source.out.clear();
        encode(&mut source.out, &source.crc, Header::route(FLIP), black_box(&source.payload));
        black_box(&source.out);
    }
    source
}

library_benchmark_group!(name = frames; benchmarks = crc_alone, decoded, partial, encoded);
