//! What is recorded of distributed traces, and how much of it waits for the collector.

use std::time::Duration;

/// Requests that are recorded in a second at most, unless the server says otherwise: some 0.4 MB/s for the collector.
pub const SPANS_PER_SECOND: u32 = 1_000;

/// The most that a server may say.
pub const SPANS_PER_SECOND_MAX: u32 = 10_000;

/// Spans that a loop leaves to be taken: more than come between two looks of the exporter, with a burst in front of them.
pub const SPANS_PER_SHARD: usize = 4_096;

/// What may be recorded at once after a rest, as a time: so long the rate needs for it.
pub const SPANS_BURST: Duration = Duration::from_millis(100);

/// Deferred requests of a loop that are recorded at once; one more is not.
pub const SPANS_OPEN: usize = 1_024;

/// How often spans are taken from the loops.
pub const SPANS_TAKEN_EVERY: Duration = Duration::from_millis(200);

/// Spans that wait for the collector at most; then the oldest are dropped.
pub const SPANS_WAITING: usize = 8_192;

/// Spans of one request to the collector.
pub const SPANS_PER_EXPORT: usize = 512;

/// Spans wait so long for others, unless there are as many as one request takes.
pub const EXPORT_EVERY: Duration = Duration::from_millis(500);

/// How long one request to the collector may take, connecting included: as the OTLP exporters of others have it.
pub const EXPORT_WITHIN: Duration = Duration::from_secs(10);

/// Times that the same spans are sent at most.
pub const EXPORT_TRIES: u32 = 6;

/// The pauses between them: the first, and the longest. Each is twice the one before, less up to a half by chance.
pub const EXPORT_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The longest pause that a collector may ask for.
pub const EXPORT_RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// What of a collector's answer is read, in bytes.
pub const EXPORT_ANSWER_BYTES_MAX: usize = 64 << 10;

/// Headers that are sent with each request to the collector at most.
pub const EXPORT_HEADERS_MAX: usize = 16;

/// The largest file of them, in bytes.
pub const EXPORT_HEADERS_BYTES_MAX: usize = 8 << 10;

/// Longest URL of a collector, and longest name of a service, in bytes.
pub const EXPORT_NAME_BYTES_MAX: usize = 255;

const _: () = {
    assert!(SPANS_PER_SECOND <= SPANS_PER_SECOND_MAX);
    assert!(
        SPANS_PER_SECOND_MAX as u128 * (SPANS_TAKEN_EVERY.as_millis() + SPANS_BURST.as_millis()) / 1000
            <= SPANS_PER_SHARD as u128,
        "what one loop records between two looks finds room"
    );
    assert!(SPANS_PER_EXPORT <= SPANS_WAITING && SPANS_PER_SHARD <= SPANS_WAITING);
    assert!(EXPORT_PAUSE.0.as_millis() < EXPORT_PAUSE.1.as_millis());
    assert!(SPANS_TAKEN_EVERY.as_millis() < EXPORT_EVERY.as_millis());
};
