//! The run's judgement on itself: whether its figures are the server's, or the load generator's own limit.
//!
//! Always holds: a run is void only for what the generator or its machine did, never because the server was slow;
//! every sentence names the figure, the limit, and what to do. Never: a figure that is made better or left out because
//! of a verdict.

use super::histogram::Histogram;
use super::report::{Counts, Interval, Model, OwnFigures, Verdict};
use super::units::whole;
use super::words;

/// One request in a hundred may be this much late whatever the server's speed, in nanoseconds: what a wake-up costs.
const LATE_P99_NS: f64 = 100_000.0;

/// And half of them this much: what it takes to come round to one that is due.
const LATE_P50_NS: f64 = 20_000.0;

/// Beyond that, lateness may be this part of the response time at the same percentile, which holds it.
const LATE_SHARE: f64 = 0.2;

/// Share of the time that a thread may be ready without a processor. More is in the tail of every histogram.
const WAITED_SHARE: f64 = 0.1;

/// A thread as busy as this has no time left: more load would wait in it, not in the server.
const BUSY_SHARE: f64 = 0.95;

/// From here on another thread would help against lateness.
const BUSY_HELPED: f64 = 0.7;

/// Sent over scheduled, below which the load was not the one that was asked for.
const ACHIEVED_SHARE: f64 = 0.99;

/// How much the median of one part of a steady run may be above that of the others: more than noise has been seen to
/// do on machines that are shared.
const DRIFT: f64 = 1.25;

/// Replies that an interval needs before its median is compared.
const INTERVAL_ANSWERS: u64 = 100;

/// A stretch without a look at the sockets that may be in the longest times, in nanoseconds.
const TURN_NS: u64 = 1_000_000;

/// What a run is judged by. All figures are those of the measured part.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Who decided when requests left.
    pub model: Model,
    /// Whether the load was the same all the time: false for ramps and steps, whose latencies may change.
    pub is_steady: bool,
    /// What the generator measured of itself.
    pub own: OwnFigures,
    /// Requests.
    pub counts: Counts,
    /// Response times of all requests.
    pub response: &'a Histogram,
    /// Samples of `response` that are lower bounds.
    pub censored: u64,
    /// Share of the time in which the server's busiest thread ran, 0 to 1, where its process is known.
    pub server_busiest: Option<f64>,
    /// Connections that there should be, and the most that were open at once.
    pub wanted: u32,
    /// See `wanted`.
    pub open: u32,
    /// Threads that send.
    pub threads: u32,
    /// Processors that the generator may use.
    pub processors: u32,
    /// Seconds that were measured.
    pub measured_s: f64,
    /// Median of the second half over that of the first, where it is known.
    pub drift: Option<f64>,
    /// The run in order.
    pub series: &'a [Interval],
}

/// Judges a run.
pub fn judge(facts: &Facts<'_>) -> Verdict {
    let mut void_because: Vec<String> = Vec::new();
    void_because.extend(late(facts));
    void_because.extend(waited(facts));
    let was_late = !void_because.is_empty();
    let mut notes = Vec::new();
    match facts.model {
        Model::Open => match fell_short(facts) {
            Some(FellShort::Generator(why)) => void_because.push(why),
            // The server can't be blamed by a generator that was late itself.
            Some(FellShort::Server(note)) if !was_late => notes.push(note),
            Some(FellShort::Server(_)) | None => {}
        },
        Model::Closed => match busy(facts) {
            Some(Busy::Alone(why)) => void_because.push(why),
            Some(Busy::WithServer(note)) => notes.push(note),
            None => {}
        },
    }
    notes.extend(dropped(facts));
    notes.extend(censored(facts));
    notes.extend(saturated(facts));
    notes.extend(connections(facts));
    notes.extend(unsteady(facts));
    notes.extend(samples(facts));
    notes.extend(stood_still(facts));
    Verdict { void_because, notes, own: facts.own }
}

impl Facts<'_> {
    fn per_second(&self, count: u64) -> String {
        // A run that was ended at once has measured nothing.
        words::rate(count as f64 / self.measured_s.max(1e-3))
    }

    /// What to do against a generator that is too slow.
    fn remedy(&self) -> String {
        let less = match self.model {
            Model::Open => "lower --rate",
            Model::Closed => "use fewer --connections",
        };
        if self.own.busy >= BUSY_HELPED && self.threads < self.processors {
            format!("give it --threads {}, or {less}", self.threads + 1)
        } else if self.own.busy >= BUSY_HELPED {
            format!(
                "run it on a machine with more than {}, or {less}",
                words::counted(self.processors.into(), "processor")
            )
        } else {
            format!("give it a processor of its own (taskset), or {less}")
        }
    }
}

fn late(facts: &Facts<'_>) -> Option<String> {
    let of = |name, percent, late: Option<u64>, least| Some((name, percent, late? as f64, least));
    let both = [
        of("p99", 99.0, facts.own.late_p99_ns, LATE_P99_NS),
        of("p50", 50.0, facts.own.late_p50_ns, LATE_P50_NS),
    ];
    let is_open = facts.model == Model::Open;
    both.into_iter().flatten().filter(|_| is_open).find_map(|(name, percent, late, least)| {
        let response = facts.response.percentile(percent).map_or(0.0, |ns| ns as f64);
        let limit = (LATE_SHARE * response).max(least);
        let what = if limit > least {
            format!("a fifth of the response's {name}")
        } else {
            "what a wake-up takes".to_owned()
        };
        (late > limit).then(|| {
            format!(
                "the generator sent its requests late: {name} {}, limit {} ({what}); {}",
                words::time(late),
                words::time(limit),
                facts.remedy()
            )
        })
    })
}

fn waited(facts: &Facts<'_>) -> Option<String> {
    let waited = facts.own.waited?;
    (waited > WAITED_SHARE).then(|| {
        format!(
            "a thread of the generator was ready but had no processor for {} of the time, limit {}; \
             give it processors of its own (taskset), or run it on another machine",
            words::percent(waited),
            words::percent(WAITED_SHARE)
        )
    })
}

enum FellShort {
    Generator(String),
    Server(String),
}

fn fell_short(facts: &Facts<'_>) -> Option<FellShort> {
    let achieved = facts.own.achieved.filter(|achieved| *achieved < ACHIEVED_SHARE)?;
    let (achieved, limit) = (words::percent(achieved), words::percent(ACHIEVED_SHARE));
    Some(if facts.own.busy >= BUSY_SHARE {
        FellShort::Generator(format!(
            "the generator could send only {achieved} of the requests due, limit {limit}, and was busy {} of the \
             time; {}",
            words::percent(facts.own.busy),
            facts.remedy()
        ))
    } else {
        let busiest = facts.server_busiest.map_or(String::new(), |busiest| {
            format!(", with its busiest thread running {} of the time", words::percent(busiest))
        });
        FellShort::Server(format!(
            "the server did not keep up{busiest}: {achieved} of the requests due could be sent ({} of {}), where \
             {limit} is keeping up; lower --rate to see it within its limits",
            facts.per_second(facts.counts.sent),
            facts.per_second(facts.counts.scheduled),
        ))
    })
}

enum Busy {
    Alone(String),
    WithServer(String),
}

fn busy(facts: &Facts<'_>) -> Option<Busy> {
    let own = Some(facts.own.busy).filter(|busy| *busy >= BUSY_SHARE)?;
    let (own, limit) = (words::percent(own), words::percent(BUSY_SHARE));
    Some(match facts.server_busiest.filter(|busiest| *busiest >= BUSY_SHARE) {
        Some(busiest) => Busy::WithServer(format!(
            "the generator was busy {own} of the time and the server's busiest thread {}, both over {limit}: the \
             rate is that of the two together; {} to see which ends first",
            words::percent(busiest),
            facts.remedy()
        )),
        None => {
            let hint =
                if facts.server_busiest.is_none() { " (--pid tells how busy the server is)" } else { "" };
            Busy::Alone(format!(
                "the generator was busy {own} of the time, limit {limit}: it was slower than the server; {}{hint}",
                facts.remedy()
            ))
        }
    })
}

fn dropped(facts: &Facts<'_>) -> Option<String> {
    let Counts { dropped, scheduled, .. } = facts.counts;
    (dropped > 0).then(|| {
        format!(
            "{} never sent ({} of those due) and in no histogram, so the true tail is longer; lower --rate, or raise \
             --in-flight or --timeout",
            requests(dropped),
            words::percent(share(dropped, scheduled))
        )
    })
}

fn censored(facts: &Facts<'_>) -> Option<String> {
    let count = facts.response.count();
    (facts.censored > 0).then(|| {
        format!(
            "{} never answered ({} of the samples) and counted with the time waited, so percentiles above p{} are \
             lower bounds; raise --timeout or --drain",
            requests(facts.censored),
            words::percent(share(facts.censored, count)),
            // Rounded down: the percentile that is told must be beyond doubt.
            (10_000.0 * (1.0 - share(facts.censored, count))).floor() / 100.0
        )
    })
}

fn saturated(facts: &Facts<'_>) -> Option<String> {
    let saturated = facts.response.saturated();
    (saturated > 0).then(|| {
        format!(
            "{} of {} response times were longer than the 60 s that are told apart, and count as 60 s; \
             lower --rate or --timeout",
            words::count(saturated),
            words::count(facts.response.count())
        )
    })
}

fn connections(facts: &Facts<'_>) -> Option<String> {
    (facts.open < facts.wanted).then(|| {
        format!(
            "only {} of {} were open at once, so the load came over fewer; see what went wrong below, \
             or lower --connect-rate",
            words::count(facts.open.into()),
            words::counted(facts.wanted.into(), "connection")
        )
    })
}

/// A first part that differs is told as such; only otherwise the halves are compared.
fn unsteady(facts: &Facts<'_>) -> Option<String> {
    if !facts.is_steady {
        return None;
    }
    if let Some((first, rest)) = first_and_rest(facts.series).filter(|(first, rest)| *first > rest * DRIFT) {
        return Some(format!(
            "the first measured part has a median of {}, the others of {}, more than {DRIFT} times apart: it was still \
             warming up; give it a longer --warmup",
            words::time(first),
            words::time(rest)
        ));
    }
    let drift = facts.drift.filter(|drift| *drift > DRIFT || *drift < 1.0 / DRIFT)?;
    Some(format!(
        "the median of the second half is {drift:.2} times that of the first, limit {DRIFT} either way: the run was \
         not in a steady state; give it a longer --warmup and --duration"
    ))
}

/// The median response of the first measured interval and the middle one of the others, of which there are two at
/// least, in nanoseconds.
fn first_and_rest(series: &[Interval]) -> Option<(f64, f64)> {
    let counts = |interval: &&Interval| interval.measured && interval.answered >= INTERVAL_ANSWERS;
    let mut medians = series.iter().filter(counts).filter_map(|interval| interval.p50_ns);
    let first = medians.next()?;
    let mut rest: Vec<_> = medians.collect();
    rest.sort_unstable();
    (rest.len() >= 2).then(|| (first as f64, rest[rest.len() / 2] as f64))
}

fn samples(facts: &Facts<'_>) -> Option<String> {
    let count = facts.response.count();
    let needed = Histogram::samples_for(99.9);
    (0 < count && count < needed).then(|| {
        let needed_s = whole((facts.measured_s * needed as f64 / count as f64).ceil());
        format!(
            "{} are too few for p99.9, which needs {}; at this rate --duration {needed_s}s gives as many",
            words::counted(count, "sample"),
            words::count(needed)
        )
    })
}

/// Only told if it can be what made the longest time so long.
fn stood_still(facts: &Facts<'_>) -> Option<String> {
    let turn = facts.own.turn_max_ns;
    let longest = facts.response.max()?;
    (turn >= TURN_NS && turn >= longest / 2).then(|| {
        format!(
            "the generator did not look at its sockets for {} once, and the longest response is {}: the maximum may \
             be the generator's own; trust the percentiles, or give it a processor of its own (taskset)",
            words::time(turn as f64),
            words::time(longest as f64)
        )
    })
}

/// A part of a whole, 0 to 1.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn requests(count: u64) -> String {
    format!("{} {}", words::counted(count, "request"), if count == 1 { "was" } else { "were" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(ns: u64, count: u64) -> Histogram {
        let mut times = Histogram::default();
        times.record(ns, count);
        times
    }

    /// A good run of ten seconds at 5,000 a second, then changed.
    fn judged(model: Model, change: impl FnOnce(&mut Facts<'_>)) -> Verdict {
        judged_with(model, &times(200_000, 50_000), &vec![interval(200_000); 10], change)
    }

    /// The same with other response times and intervals.
    fn judged_with(
        model: Model,
        response: &Histogram,
        series: &[Interval],
        change: impl FnOnce(&mut Facts<'_>),
    ) -> Verdict {
        let counts = Counts { scheduled: 50_000, sent: 50_000, answered: 50_000, ..Counts::default() };
        let own = match model {
            Model::Open => OwnFigures {
                busy: 0.3,
                waited: Some(0.01),
                late_p50_ns: Some(500),
                late_p99_ns: Some(20_000),
                late_max_ns: Some(90_000),
                turn_max_ns: 80_000,
                achieved: Some(1.0),
            },
            Model::Closed => OwnFigures { busy: 0.3, waited: Some(0.01), ..OwnFigures::default() },
        };
        let mut facts = Facts {
            model,
            is_steady: true,
            own,
            counts,
            response,
            censored: 0,
            server_busiest: None,
            wanted: 50,
            open: 50,
            threads: 1,
            processors: 4,
            measured_s: 10.0,
            drift: Some(1.02),
            series,
        };
        change(&mut facts);
        judge(&facts)
    }

    fn interval(p50_ns: u64) -> Interval {
        Interval { measured: true, answered: 5000, p50_ns: Some(p50_ns), ..Interval::default() }
    }

    type Change = fn(&mut Facts<'_>);

    #[test]
    fn a_good_run_is_valid_and_has_nothing_to_say() {
        for model in [Model::Open, Model::Closed] {
            let verdict = judged(model, |_| {});
            assert_eq!((verdict.void_because, verdict.notes), (vec![], vec![]), "{model:?}");
        }
        // The limits themselves are still good.
        let at_limits = judged(Model::Open, |facts| {
            facts.own.late_p99_ns = Some(100_000);
            facts.own.waited = Some(0.1);
            facts.own.achieved = Some(0.99);
            facts.own.busy = 1.0;
        });
        assert_eq!((at_limits.void_because, at_limits.notes), (vec![], vec![]));
    }

    /// Model, what is changed in a good run, what makes it void.
    #[test]
    fn what_the_generator_did_makes_a_run_void() {
        #[rustfmt::skip]
        let table: &[(Model, Change, &str)] = &[
            (Model::Open, |f| f.own.late_p99_ns = Some(340_000),
             "the generator sent its requests late: p99 340 µs, limit 100 µs (what a wake-up takes); \
              give it a processor of its own (taskset), or lower --rate"),
            (Model::Open, |f| { f.own.late_p99_ns = Some(340_000); f.own.busy = 0.8; },
             "; give it --threads 2, or lower --rate"),
            (Model::Open, |f| { f.own.late_p99_ns = Some(340_000); f.own.busy = 0.8; f.processors = 1; },
             "; run it on a machine with more than 1 processor, or lower --rate"),
            (Model::Open, |f| f.own.waited = Some(0.231),
             "was ready but had no processor for 23.1 % of the time, limit 10.0 %; give it processors of its own"),
            (Model::Open, |f| { f.own.achieved = Some(0.8); f.own.busy = 0.96; },
             "could send only 80.0 % of the requests due, limit 99.0 %, and was busy 96.0 % of the time; \
              give it --threads 2, or lower --rate"),
            (Model::Closed, |f| f.own.busy = 0.97,
             "busy 97.0 % of the time, limit 95.0 %: it was slower than the server; give it --threads 2, or use \
              fewer --connections (--pid tells how busy the server is)"),
            (Model::Closed, |f| { f.own.busy = 0.97; f.server_busiest = Some(0.6); },
             "it was slower than the server; give it --threads 2, or use fewer --connections"),
        ];
        for (model, change, want) in table {
            let verdict = judged(*model, change);
            assert!(!verdict.is_valid(), "case: {want}");
            assert_eq!(verdict.void_because.len(), 1, "case: {want}\nsaid: {:?}", verdict.void_because);
            assert!(
                verdict.void_because[0].contains(want),
                "case: {want}\nsaid: {}",
                verdict.void_because[0]
            );
        }
    }

    #[test]
    fn lateness_is_judged_against_a_slow_server_too() {
        let slow = times(20_000_000, 50_000);
        let fifth = slow.percentile(50.0).unwrap() / 5;
        let verdict = |late: Option<u64>, median: Option<u64>| {
            judged_with(Model::Open, &slow, &[], |facts| {
                (facts.own.late_p99_ns, facts.own.late_p50_ns) = (late, median);
            })
        };
        assert!(verdict(Some(fifth), Some(fifth)).is_valid());
        let void = verdict(Some(2 * slow.percentile(99.0).unwrap()), None);
        assert!(void.void_because[0].contains("(a fifth of the response's p99)"), "{void:?}");
        let void = verdict(None, Some(fifth + fifth / 10));
        assert!(void.void_because[0].contains("late: p50 "), "{void:?}");
        assert!(void.void_because[0].contains("(a fifth of the response's p50)"), "{void:?}");
        let quick = times(30_000, 50_000);
        let verdict = judged_with(Model::Open, &quick, &[], |facts| facts.own.late_p50_ns = Some(20_001));
        assert!(
            verdict.void_because[0].contains("p50 20.0 µs, limit 20.0 µs (what a wake-up takes)"),
            "{verdict:?}"
        );
    }

    /// Model, what is changed in a good run, what is noted.
    #[test]
    fn what_a_reader_should_know_is_noted() {
        #[rustfmt::skip]
        let table: &[(Model, Change, &str)] = &[
            (Model::Open, |f| { f.own.achieved = Some(0.82); f.counts.sent = 41_000; },
             "the server did not keep up: 82.0 % of the requests due could be sent (4,100/s of 5,000/s), where 99.0 % \
              is keeping up; lower --rate"),
            (Model::Open, |f| { f.own.achieved = Some(0.82); f.server_busiest = Some(0.99); },
             "the server did not keep up, with its busiest thread running 99.0 % of the time: 82.0 %"),
            (Model::Closed, |f| { f.own.busy = 0.96; f.server_busiest = Some(0.98); },
             "the generator was busy 96.0 % of the time and the server's busiest thread 98.0 %, both over 95.0 %"),
            (Model::Open, |f| f.counts.dropped = 500,
             "500 requests were never sent (1.00 % of those due) and in no histogram"),
            (Model::Open, |f| f.censored = 100,
             "100 requests were never answered (0.20 % of the samples) and counted with the time waited, so \
              percentiles above p99.8 are lower bounds"),
            (Model::Open, |f| f.censored = 1, "1 request was never answered"),
            (Model::Closed, |f| f.open = 48, "only 48 of 50 connections were open at once"),
            (Model::Open, |f| f.drift = Some(1.4),
             "the median of the second half is 1.40 times that of the first, limit 1.25 either way"),
            (Model::Open, |f| f.drift = Some(0.5), "is 0.50 times"),
            (Model::Open, |f| f.own.turn_max_ns = 12_000_000,
             "did not look at its sockets for 12.0 ms once, and the longest response is 200 µs"),
        ];
        for (model, change, want) in table {
            let verdict = judged(*model, change);
            assert!(verdict.is_valid(), "case: {want}\nvoid: {:?}", verdict.void_because);
            assert_eq!(verdict.notes.len(), 1, "case: {want}\nsaid: {:?}", verdict.notes);
            assert!(verdict.notes[0].contains(want), "case: {want}\nsaid: {}", verdict.notes[0]);
        }
    }

    #[test]
    fn few_or_saturated_samples_are_noted() {
        let verdict = judged_with(Model::Closed, &times(200_000, 4000), &[], |_| {});
        assert_eq!(
            verdict.notes,
            [
                "4,000 samples are too few for p99.9, which needs 10,000; at this rate --duration 25s gives as many"
            ]
        );
        let mut long = times(u64::MAX, 3);
        long.record(200_000, 50_000);
        let verdict = judged_with(Model::Open, &long, &[], |_| {});
        assert!(
            verdict.notes[0].starts_with("3 of 50,003 response times were longer than the 60 s"),
            "{verdict:?}"
        );
    }

    #[test]
    fn a_cold_start_is_told_instead_of_drift_and_only_at_a_steady_load() {
        let mut cold = vec![interval(200_000); 5];
        cold[0] = interval(300_000);
        let all = times(200_000, 50_000);
        let verdict = judged_with(Model::Open, &all, &cold, |facts| facts.drift = Some(0.7));
        assert_eq!(verdict.notes.len(), 1, "{verdict:?}");
        assert!(
            verdict.notes[0]
                .starts_with("the first measured part has a median of 300 µs, the others of 200 µs"),
            "{verdict:?}"
        );
        let drifting = judged_with(Model::Open, &all, &[], |facts| facts.drift = Some(0.7));
        assert!(
            drifting.notes[0].contains("0.70 times"),
            "without intervals the halves are enough: {drifting:?}"
        );
        let ramp = judged_with(Model::Open, &all, &cold, |facts| {
            (facts.drift, facts.is_steady) = (Some(2.0), false);
        });
        assert_eq!(ramp.notes, Vec::<String>::new());
    }

    #[test]
    fn a_late_generator_does_not_blame_the_server() {
        let verdict = judged(Model::Open, |facts| {
            facts.own.late_p99_ns = Some(500_000);
            facts.own.achieved = Some(0.5);
        });
        assert_eq!((verdict.void_because.len(), verdict.notes.len()), (1, 0), "{verdict:?}");
    }

    #[test]
    fn a_run_without_any_reply_is_judged_too() {
        let verdict = judged_with(Model::Open, &Histogram::default(), &[], |facts| {
            (facts.counts, facts.measured_s) = (Counts::default(), 0.0);
            (facts.own.achieved, facts.drift) = (None, None);
        });
        assert_eq!((verdict.void_because, verdict.notes), (vec![], vec![]));
    }
}
