//! The same request many times over one connection, and a summary: how many ended how, and how long they took.
//!
//! Always holds: at most as many are on their way as was asked for; what is counted has come. Never: a benchmark. One
//! blocking client waits for its own turn most of the time, and the summary says so.

use super::ask::Asked;
use super::{Options, complain, explained, print};
use crate::client::{Error, Request};
use crate::wire::Status;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub(super) fn run(
    mut asked: Asked,
    request: &Request<'_>,
    count: u32,
    options: &Options,
) -> Result<ExitCode, Error> {
    let begun = Instant::now();
    let mut tally = Tally::default();
    let ended = if options.one_way {
        (0..count)
            .try_for_each(|_| asked.send(request).map(|()| tally.one_way += 1))
            .and_then(|()| asked.confirm())
    } else {
        tally.fill(&mut asked, request, count, options.pipeline)
    };
    if let Err(error) = &ended
        && error.is_misuse()
    {
        return ended.map(|()| ExitCode::FAILURE);
    }
    let text = tally.summary(count, options.pipeline, begun.elapsed());
    // A closed standard output is no reason to fail: the exit code still tells.
    let _ = std::io::stdout().write_all(text.as_bytes());
    match ended {
        Ok(()) if tally.failed.is_empty() => Ok(ExitCode::SUCCESS),
        Ok(()) => Ok(ExitCode::FAILURE),
        Err(error) => {
            complain(&explained(&error, options));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// What came so far.
#[derive(Debug, Default)]
struct Tally {
    /// From the moment a request was sent to its reply.
    times: Vec<Duration>,
    failed: BTreeMap<u16, u32>,
    one_way: u32,
}

impl Tally {
    fn fill(
        &mut self,
        asked: &mut Asked,
        request: &Request<'_>,
        count: u32,
        depth: u32,
    ) -> Result<(), Error> {
        let mut sent = std::collections::VecDeque::new();
        for number in 0..count + depth {
            if number < count {
                sent.push_back(Instant::now());
                asked.send(request)?;
            }
            if number + 1 < depth {
                continue;
            }
            // All have the same correlation, if any, so it does not matter which of them a reply is to.
            let Some(begun) = sent.pop_front() else { break };
            let reply = asked.receive()?;
            self.times.push(begun.elapsed());
            if !reply.is_ok() {
                *self.failed.entry(reply.status.code()).or_insert(0) += 1;
            }
        }
        Ok(())
    }

    fn summary(&mut self, count: u32, depth: u32, taken: Duration) -> String {
        let mut out = String::new();
        if self.one_way > 0 {
            let (sent, time) = (self.one_way, print::time(taken));
            let _ = writeln!(out, "{sent} of {count} requests sent in {time}; no replies were asked for");
            return out;
        }
        let failed: u32 = self.failed.values().sum();
        let replied = self.times.len();
        let _ = write!(out, "{count} requests in {}: {} ok", print::time(taken), replied - failed as usize);
        for (code, number) in &self.failed {
            let _ = write!(out, ", {number} failed with {}", Status::from_code(*code));
        }
        let missing = count as usize - replied;
        if missing > 0 {
            let _ = write!(out, ", {missing} without a reply");
        }
        out.push('\n');
        self.times.sort_unstable();
        if let (Some(least), Some(most)) = (self.times.first(), self.times.last()) {
            let [least, median, p99, most] = [*least, self.at(50), self.at(99), *most].map(print::time);
            let _ = writeln!(out, "time  min {least}, median {median}, p99 {p99}, max {most}");
            let at_once = if depth == 1 { "one request".to_owned() } else { format!("{depth} requests") };
            let _ = writeln!(
                out,
                "These are the times of one blocking client with {at_once} at a time, not the server's limit."
            );
        }
        out
    }

    /// The time that so many per cent of the requests took at most.
    fn at(&self, percent: usize) -> Duration {
        let rank = (self.times.len() * percent).div_ceil(100).max(1);
        self.times[rank - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_definition() {
        let of = |count: u64| Tally {
            times: (1..=count).map(Duration::from_millis).collect(),
            ..Tally::default()
        };
        #[rustfmt::skip]
        let table: &[(u64, usize, u64)] = &[
            (1, 50, 1), (1, 99, 1), (2, 50, 1), (2, 99, 2), (100, 50, 50), (100, 99, 99), (101, 99, 100), (1000, 99, 990),
        ];
        for (count, percent, want) in table {
            assert_eq!(of(*count).at(*percent), Duration::from_millis(*want), "case: {percent} % of {count}");
        }
    }

    #[test]
    fn the_summary_counts_everything() {
        let times = (1..=7).map(Duration::from_millis).collect();
        let mut tally = Tally { times, failed: BTreeMap::from([(4, 2), (300, 1)]), one_way: 0 };
        let text = tally.summary(9, 2, Duration::from_millis(12));
        assert_eq!(
            text,
            "9 requests in 12.0 ms: 4 ok, 2 failed with 4 NO_ROUTE, 1 failed with 300 APPLICATION, 2 without a reply\n\
             time  min 1.00 ms, median 4.00 ms, p99 7.00 ms, max 7.00 ms\n\
             These are the times of one blocking client with 2 requests at a time, not the server's limit.\n"
        );
        assert_eq!(
            Tally::default().summary(3, 1, Duration::ZERO),
            "3 requests in 0.000 ms: 0 ok, 3 without a reply\n"
        );
    }
}
