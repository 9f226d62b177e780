//! The times of a run by intervals, as an HdrHistogram log (V2, `.hlog`) for the tools of that family.
//!
//! Always holds: each interval is three lines, tagged `response`, `service` and `lag`, in nanoseconds and compressed;
//! what has been written needs no memory any more, so that a run may be long. Never: an interval out of order, which
//! some readers don't take.

use super::histogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogWriter, IntervalLogWriterBuilder, IntervalLogWriterError, Tag,
};
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

/// A log that is being written.
pub struct Log<W: Write> {
    out: W,
    serializer: V2DeflateSerializer,
    /// When the last interval began.
    last: Duration,
}

impl<W: Write> Log<W> {
    /// Begins a log with who wrote it and when the run began, in milliseconds of Unix time.
    ///
    /// # Errors
    ///
    /// What `out` says.
    pub fn begin(mut out: W, command: &str, began_unix_ms: u64) -> io::Result<Log<W>> {
        let mut serializer = V2DeflateSerializer::new();
        let began = SystemTime::UNIX_EPOCH + Duration::from_millis(began_unix_ms);
        let command: String = command.chars().filter(|one| !one.is_control()).collect();
        IntervalLogWriterBuilder::new()
            .add_comment(&format!("[tidegate {}: {command}]", env!("CARGO_PKG_VERSION")))
            .add_comment("[times in nanoseconds; tags: response, service, lag]")
            .with_start_time(began)
            .with_base_time(began)
            .begin_log_with(&mut out, &mut serializer)?;
        Ok(Log { out, serializer, last: Duration::ZERO })
    }

    /// Writes an interval that began `at` after the run and was so `long`. Tags without samples are left out.
    ///
    /// # Errors
    ///
    /// What `out` says, or [`io::ErrorKind::InvalidInput`] for an interval before the last one.
    pub fn interval(&mut self, at: Duration, long: Duration, times: &[Histogram; 3]) -> io::Result<()> {
        if at < self.last {
            let told = format!("an interval at {at:?} behind one at {:?}", self.last);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, told));
        }
        self.last = at;
        // Without comments and times it begins with nothing: the log goes on where it was.
        let mut writer =
            IntervalLogWriterBuilder::new().begin_log_with(&mut self.out, &mut self.serializer)?;
        for (tag, times) in ["response", "service", "lag"].into_iter().zip(times) {
            write(&mut writer, tag, at, long, times)?;
        }
        Ok(())
    }

    /// Writes out what is still in buffers, and gives the stream back.
    ///
    /// # Errors
    ///
    /// What `out` says.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

fn write<W: Write>(
    writer: &mut IntervalLogWriter<'_, '_, W, V2DeflateSerializer>,
    tag: &str,
    at: Duration,
    long: Duration,
    times: &Histogram,
) -> io::Result<()> {
    if times.count() == 0 {
        return Ok(());
    }
    let written = writer.write_histogram(times.as_hdr(), at, long, Tag::new(tag));
    written.map_err(|error| match error {
        IntervalLogWriterError::IoError(error) => error,
        IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    /// Response, service, lag.
    fn times(ns: u64) -> [Histogram; 3] {
        let of = |ns: u64| {
            let mut times = Histogram::default();
            times.record(ns, 7);
            times
        };
        let lag = if ns > 1_000 { of(1_000) } else { Histogram::default() };
        [of(ns), of(ns - 900), lag]
    }

    #[test]
    fn what_is_written_is_read_by_the_family() {
        let mut log = Log::begin(Vec::new(), "tidegate bench\n127.0.0.1:7411", 1_795_402_634_500).unwrap();
        let second = Duration::from_secs(1);
        log.interval(Duration::ZERO, second, &times(1_000)).unwrap();
        log.interval(second, second / 2, &times(84_000)).unwrap();
        let told = log.interval(Duration::ZERO, second, &times(1_000)).unwrap_err();
        assert_eq!(told.kind(), io::ErrorKind::InvalidInput);
        let bytes = log.finish().unwrap();
        let head = String::from_utf8(bytes.clone()).unwrap();
        assert!(head.starts_with("#[tidegate "), "{head}");
        assert_eq!(head.lines().filter(|line| line.starts_with('#')).count(), 4, "{head}");

        let mut began = Vec::new();
        let mut found = Vec::new();
        for entry in IntervalLogIterator::new(&bytes) {
            match entry.unwrap() {
                LogEntry::StartTime(since) | LogEntry::BaseTime(since) => began.push(since.as_secs_f64()),
                LogEntry::Interval(one) => {
                    let packed =
                        base64::engine::general_purpose::STANDARD.decode(one.encoded_histogram()).unwrap();
                    let read: hdrhistogram::Histogram<u64> =
                        Deserializer::new().deserialize(&mut packed.as_slice()).unwrap();
                    let tag = one.tag().unwrap().as_str().to_owned();
                    found.push((tag, one.start_timestamp(), one.duration(), read));
                }
            }
        }
        assert_eq!(began, [1_795_402_634.5, 1_795_402_634.5]);
        let (first, last) = (times(1_000), times(84_000));
        let want = [
            ("response", Duration::ZERO, second, &first[0]),
            ("service", Duration::ZERO, second, &first[1]),
            ("response", second, second / 2, &last[0]),
            ("service", second, second / 2, &last[1]),
            ("lag", second, second / 2, &last[2]),
        ];
        assert_eq!(found.len(), want.len());
        for ((tag, at, long, times), (want_tag, want_at, want_long, want)) in found.iter().zip(want) {
            assert_eq!((tag.as_str(), *at, *long), (want_tag, want_at, want_long));
            assert_eq!(times, want.as_hdr());
        }
    }
}
