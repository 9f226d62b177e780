//! What a benchmark may take, and the messages that they all use.

use gungraun::{Callgrind, EventKind, LibraryBenchmarkConfig};
use tidegate::wire::{Crc, Extension, Header, encode};

/// How often each benchmark does what it counts.
pub(crate) const ROUNDS: u32 = 100;

/// What a count may be above its claim, in percent.
const MORE_PERCENT: u64 = 3;
/// Says otherwise: `run` sets it where the compiler is not the one that the claims are of.
const MORE_PERCENT_KEY: &str = "MICRO_MORE_PERCENT";

/// A round takes at most so many instructions, the loop around it included.
pub(crate) fn at_most(instructions: u64) -> LibraryBenchmarkConfig {
    let elsewhere = std::env::var(MORE_PERCENT_KEY).ok().and_then(|percent| percent.parse().ok());
    let limit = instructions * u64::from(ROUNDS) * (100 + elsewhere.unwrap_or(MORE_PERCENT)) / 100;
    let mut callgrind = Callgrind::with_args(["--cache-sim=no"]);
    callgrind.hard_limits([(EventKind::Ir, limit)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

/// Bytes that don't compress and don't repeat soon.
pub(crate) fn payload(bytes: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().map(|byte| byte.wrapping_mul(167)).take(bytes).collect()
}

/// A request with a payload of so many bytes.
pub(crate) fn request(route: u16, bytes: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    encode(&mut frame, &Crc::new(), Header::route(route), &payload(bytes));
    frame
}

/// The same with an extension block that holds a correlation.
pub(crate) fn correlated(route: u16, bytes: usize) -> Vec<u8> {
    let mut body = Vec::new();
    Extension { correlation: Some(7), ..Extension::default() }.encode(&mut body);
    body.extend(payload(bytes));
    let mut frame = Vec::new();
    encode(&mut frame, &Crc::new(), Header::from_bits(1 << 15 | route), &body);
    frame
}
