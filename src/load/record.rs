//! What one thread counts and times, until it is told to others. No socket, no clock.
//!
//! Always holds: a request belongs to the measured part if it was *due* in it, whenever it was sent or answered; each
//! such request is counted once as sent or dropped, and once as answered, unanswered or abandoned. The time series
//! takes everything when it happens. Never: a time for a reply that is wrong or a failure: a server that refuses
//! quickly would look fast.

use super::histogram::Histogram;
use super::report::{Counts, Interval, Trouble};
use super::window::Sent;
use crate::wire::Status;
use std::collections::BTreeMap;
use std::ops::Range;

/// Equal parts of the measured time that are compared to tell how sure the percentiles are.
pub const PARTS: usize = 10;

/// The three times of one class of connections.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// From when the request was due.
    pub response: Histogram,
    /// From when it was written.
    pub service: Histogram,
    /// From due to written.
    pub lag: Histogram,
    /// Samples of `response` that are lower bounds.
    pub censored: u64,
}

impl Times {
    fn add(&mut self, other: &Times) {
        self.response.add(&other.response);
        self.service.add(&other.service);
        self.lag.add(&other.lag);
        self.censored += other.censored;
    }
}

/// Everything that a thread has to tell at the end.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By class.
    pub times: Vec<Times>,
    /// How late requests were sent that could have been sent.
    pub late: Histogram,
    /// Response times of the measured part's parts, class 0.
    pub parts: Vec<Histogram>,
    /// Requests and bytes.
    pub counts: Counts,
    /// What went wrong, over the whole run.
    pub troubles: BTreeMap<Trouble, u64>,
    /// Failures by status.
    pub statuses: BTreeMap<String, u64>,
    /// From the attempt to connect until it was decided.
    pub connect: Histogram,
    /// From a storm until all had answered again.
    pub recovery: Histogram,
    /// Attempts to connect.
    pub attempted: u64,
    /// Those that succeeded.
    pub established: u64,
    /// Connections that have answered.
    pub verified: u64,
    /// Connections that ended against the plan.
    pub lost: u64,
    /// Connections that were ended by plan.
    pub retired: u64,
    /// The most that were open at once.
    pub open_max: u32,
}

impl Tally {
    /// For so many classes.
    pub fn new(classes: usize) -> Tally {
        Tally {
            times: vec![Times::default(); classes],
            parts: vec![Histogram::default(); PARTS],
            ..Tally::default()
        }
    }

    /// Adds what another thread has to tell.
    pub fn add(&mut self, other: &Tally) {
        let Tally { times, late, parts, counts, troubles, statuses, connect, recovery, .. } = other;
        self.times.iter_mut().zip(times).for_each(|(ours, theirs)| ours.add(theirs));
        self.parts.iter_mut().zip(parts).for_each(|(ours, theirs)| ours.add(theirs));
        self.late.add(late);
        self.counts.add(counts);
        self.connect.add(connect);
        self.recovery.add(recovery);
        troubles.iter().for_each(|(trouble, count)| *self.troubles.entry(*trouble).or_default() += count);
        statuses.iter().for_each(|(name, count)| *self.statuses.entry(name.clone()).or_default() += count);
        self.attempted += other.attempted;
        self.established += other.established;
        self.verified += other.verified;
        self.lost += other.lost;
        self.retired += other.retired;
        self.open_max += other.open_max;
    }
}

/// What happened in a part of the time series on one thread.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// Counts; times and gauges are filled in by whoever adds the threads up.
    pub counts: Interval,
    /// Response times of its replies, class 0.
    pub response: Histogram,
    /// Their service times and lags, where they are kept.
    pub others: Option<Box<(Histogram, Histogram)>>,
}

/// Counts and times on one thread.
#[derive(Debug)]
pub struct Record {
    /// What the end tells.
    pub tally: Tally,
    /// What the next part of the time series tells.
    pub recent: Recent,
    /// Due times that count, in nanoseconds of the run.
    measured: Range<u64>,
    /// Replies that have the same times, told at once: requests that leave in one write and are answered in one read.
    alike: Alike,
    is_open_loop: bool,
    keeps_times: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Alike {
    class: usize,
    due: u64,
    written: u64,
    now: u64,
    count: u64,
}

impl Record {
    /// For so many classes. Nothing is measured until [`measure`](Self::measure).
    pub fn new(classes: usize, is_open_loop: bool, keeps_times: bool) -> Record {
        Record {
            tally: Tally::new(classes),
            recent: Recent { others: keeps_times.then(Box::default), ..Recent::default() },
            keeps_times,
            measured: u64::MAX..u64::MAX,
            alike: Alike::default(),
            is_open_loop,
        }
    }

    /// What is due in this range counts.
    pub const fn measure(&mut self, due: Range<u64>) {
        self.measured = due;
    }

    #[inline]
    fn is_measured(&self, due: u64) -> bool {
        self.measured.contains(&due)
    }

    /// So many requests were due at this time.
    #[inline]
    pub fn scheduled(&mut self, due: u64) {
        self.recent.counts.scheduled += 1;
        self.tally.counts.scheduled += u64::from(self.is_measured(due));
    }

    /// A request that was due is not sent any more.
    pub fn dropped(&mut self, due: u64) {
        self.recent.counts.dropped += 1;
        self.tally.counts.dropped += u64::from(self.is_measured(due));
    }

    /// The first byte of a request was written.
    #[inline]
    pub fn sent(&mut self, class: usize, sent: &Sent) {
        self.recent.counts.sent += 1;
        if !self.is_measured(sent.due) {
            return;
        }
        self.tally.counts.sent += 1;
        if self.is_open_loop {
            self.tally.times[class].lag.record(sent.written.saturating_sub(sent.due), 1);
            if class == 0 {
                self.tally.late.record(sent.written.saturating_sub(sent.sendable), 1);
            }
        }
    }

    /// The right reply to a request came.
    #[inline]
    pub fn answered(&mut self, class: usize, sent: &Sent, now: u64) {
        let alike = &mut self.alike;
        let Sent { due, written, .. } = *sent;
        if alike.due == due && alike.written == written && alike.now == now && alike.class == class {
            alike.count += 1;
            return;
        }
        self.flush();
        self.alike = Alike { class, due, written, now, count: 1 };
    }

    /// Takes over what [`answered`](Self::answered) has kept. To be called before anybody reads.
    pub fn flush(&mut self) {
        let Alike { class, due, written, now, count } = std::mem::take(&mut self.alike);
        if count == 0 {
            return;
        }
        let response = now.saturating_sub(due);
        self.recent.counts.answered += count;
        if class == 0 {
            self.recent.response.record(response, count);
            if let Some((service_times, lags)) = self.recent.others.as_deref_mut() {
                service_times.record(now.saturating_sub(written), count);
                lags.record(written.saturating_sub(due), count);
            }
        }
        if !self.is_measured(due) {
            return;
        }
        self.tally.counts.answered += count;
        let times = &mut self.tally.times[class];
        times.response.record(response, count);
        times.service.record(now.saturating_sub(written), count);
        if !self.is_open_loop {
            times.lag.record(written.saturating_sub(due), count);
        }
        if class == 0 {
            self.part_of(due).record(response, count);
        }
    }

    fn part_of(&mut self, due: u64) -> &mut Histogram {
        let part_ns = ((self.measured.end - self.measured.start) / PARTS as u64).max(1);
        let part = usize::try_from((due - self.measured.start) / part_ns).unwrap_or(0);
        &mut self.tally.parts[part.min(PARTS - 1)]
    }

    /// A reply came that counts as one and has no time: wrong, or a failure.
    pub fn answered_badly(&mut self, sent: &Sent, counts: bool) {
        if counts {
            self.recent.counts.answered += 1;
            self.tally.counts.answered += u64::from(self.is_measured(sent.due));
        }
    }

    /// A request was answered with a failure.
    pub fn failed(&mut self, sent: &Sent, status: Status, counts: bool) {
        self.answered_badly(sent, counts);
        self.trouble(Trouble::Status);
        *self.tally.statuses.entry(status.name().to_owned()).or_default() += 1;
    }

    /// A request that was sent has no reply, and the server had until now to make one.
    pub fn unanswered(&mut self, class: usize, sent: &Sent, now: u64) {
        if self.is_measured(sent.due) {
            self.tally.counts.unanswered += 1;
            let times = &mut self.tally.times[class];
            times.response.record(now.saturating_sub(sent.due), 1);
            times.censored += 1;
        }
    }

    /// A request was open on a connection that was ended by plan.
    pub fn abandoned(&mut self, sent: &Sent) {
        self.tally.counts.abandoned += u64::from(self.is_measured(sent.due));
    }

    /// Something went wrong.
    #[cold]
    pub fn trouble(&mut self, trouble: Trouble) {
        self.recent.counts.troubles += 1;
        *self.tally.troubles.entry(trouble).or_default() += 1;
    }

    /// Bytes were read or written at this time.
    #[inline]
    pub fn moved(&mut self, now: u64, bytes_in: usize, bytes_out: usize) {
        if self.is_measured(now) {
            self.tally.counts.bytes_in += bytes_in as u64;
            self.tally.counts.bytes_out += bytes_out as u64;
        }
    }

    /// The part of the time series until now, and begins the next.
    pub fn take_recent(&mut self) -> Recent {
        self.flush();
        let next = Recent { others: self.keeps_times.then(Box::default), ..Recent::default() };
        std::mem::replace(&mut self.recent, next)
    }
}
