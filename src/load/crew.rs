//! The threads of one run: started together, begun together once all connections have answered, and what they tell put
//! together.
//!
//! Always holds: traffic begins at the same moment on all threads, after every connection that could be made was made
//! and has answered; a part of the time series is handed on when all threads have told it.
//! Never: a run that doesn't end. Connecting has a deadline, and everything behind it is planned.

use super::histogram::Histogram;
use super::pace::Spent;
use super::plan::{Plan, Traffic};
use super::progress::{Phase, Progress};
use super::record::{Recent, Tally};
use super::report::{Interval, Trouble};
use super::worker::{Share, Shared, Told, Worker};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Between the decision to begin and the beginning: every thread has looked by then.
const HEAD_START: Duration = Duration::from_millis(20);

/// How long nothing but refusals may come before a run is given up.
const REFUSED_PATIENCE: Duration = Duration::from_secs(1);

/// How often it is looked whether all connections are ready.
const READY_POLL: Duration = Duration::from_millis(5);

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Not one connection could be made.
    #[error("cannot connect to {target}: {why}")]
    NotConnected {
        /// Where.
        target: String,
        /// The system's words.
        why: String,
    },
    /// Connections were made, and none was answered.
    #[error(
        "{target} took {established} connections and answered nothing in {waited_s:.1} s; is {what} one that replies?"
    )]
    NotAnswered {
        /// Where.
        target: String,
        /// How many, those made anew included.
        established: u64,
        /// How long, in seconds.
        waited_s: f64,
        /// `route 2`, or `the listener`.
        what: String,
    },
    /// Another process could not hold its idle connections.
    #[error("{why}")]
    NotHeld {
        /// What it said.
        why: String,
    },
    /// The system refused something that the generator needs for itself.
    #[error("the load generator failed: {0}")]
    System(#[from] io::Error),
    /// Whoever watches wanted no more before anything was measured to its end.
    #[error("stopped before the end")]
    Stopped,
}

/// Watches a run.
pub trait Observer {
    /// A part of the time series is over. False ends the run early: what was gathered until then is still told.
    fn on_part(&mut self, progress: &Progress<'_>) -> bool;
}

/// What a run gave, before it is judged.
#[derive(Debug)]
pub struct Gathered {
    /// Counts and times.
    pub tally: Tally,
    /// The time series.
    pub series: Vec<Interval>,
    /// The three times of each part of it, if the plan wants them kept.
    pub kept: Vec<Kept>,
    /// Share of the measured time in which the busiest thread had something to do, 0 to 1.
    pub busy: f64,
    /// Share of the measured time in which a thread was ready and had no processor, the worst of all, 0 to 1. Absent
    /// where the system does not tell.
    pub waited: Option<f64>,
    /// Longest stretch of a thread between two looks at its sockets in the measured time, in nanoseconds.
    pub turn_max_ns: u64,
    /// Seconds until all connections had answered; absent if some never did.
    pub ramp_s: Option<f64>,
    /// Whether whoever watches ended it early.
    pub was_stopped: bool,
}

/// The three times of a part of the series, packed.
#[derive(Clone, Debug)]
pub struct Kept {
    response: Vec<u8>,
    service: Vec<u8>,
    lag: Vec<u8>,
}

impl Kept {
    fn of(response: &Histogram, (service, lag): &(Histogram, Histogram)) -> Kept {
        Kept { response: response.pack(), service: service.pack(), lag: lag.pack() }
    }

    /// Response, service and lag.
    ///
    /// # Errors
    ///
    /// In words, if they were damaged.
    pub fn unpack(&self) -> Result<[Histogram; 3], String> {
        Ok([
            Histogram::unpack(&self.response)?,
            Histogram::unpack(&self.service)?,
            Histogram::unpack(&self.lag)?,
        ])
    }
}

/// Called when the measured time begins and when it ends.
pub type AtMark<'a> = &'a mut dyn FnMut(Mark);

/// A moment of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The measured time begins.
    Begin,
    /// It is over.
    End,
}

/// Runs a plan.
///
/// # Errors
///
/// See [`Failure`].
pub fn run(
    plan: &Plan,
    title: &str,
    observer: &mut dyn Observer,
    at_mark: AtMark<'_>,
) -> Result<Gathered, Failure> {
    let shared = Shared::default();
    let origin = Instant::now();
    let (tell, told) = mpsc::channel();
    let shares = shares(plan);
    let mut workers = Vec::new();
    for share in &shares {
        workers.push(Worker::new(plan, &shared, share, tell.clone(), origin)?);
    }
    drop(tell);
    thread::scope(|scope| {
        for worker in workers {
            thread::Builder::new().name("tidegate-load".to_owned()).spawn_scoped(scope, || worker.run())?;
        }
        let mut foreman = Foreman::new(plan, title, &shared, told, origin, shares.len());
        let gathered = foreman.connect(observer).and_then(|()| foreman.gather(observer, at_mark));
        shared.stop.store(true, Ordering::Relaxed);
        gathered
    })
}

/// Deals the connections to the threads: each gets those that send first, then those that are idle.
fn shares(plan: &Plan) -> Vec<Share> {
    let all = plan.connections + plan.idle;
    let threads = plan.threads.clamp(1, all.max(1));
    let of = |thread| (thread..all).step_by(threads as usize).map(|number| plan.first + number).collect();
    (0..threads).map(|thread| Share { thread, connections: of(thread) }).collect()
}

/// Follows the threads.
struct Foreman<'a> {
    plan: &'a Plan,
    title: &'a str,
    shared: &'a Shared,
    told: Receiver<Told>,
    origin: Instant,
    begin: Option<Duration>,
    ramp_s: Option<f64>,
    was_stopped: bool,
    threads: Vec<Thread>,
    parts: BTreeMap<usize, Part>,
    next_part: usize,
    series: Vec<Interval>,
    kept: Vec<Kept>,
    troubles: BTreeMap<Trouble, u64>,
    tally: Tally,
}

#[derive(Default)]
struct Thread {
    parts: usize,
    is_over: bool,
    measured: Spent,
}

#[derive(Default)]
struct Part {
    threads: usize,
    recent: Recent,
    troubles: Vec<(Trouble, u64)>,
}

impl<'a> Foreman<'a> {
    fn new(
        plan: &'a Plan,
        title: &'a str,
        shared: &'a Shared,
        told: Receiver<Told>,
        origin: Instant,
        threads: usize,
    ) -> Foreman<'a> {
        Foreman {
            plan,
            title,
            shared,
            told,
            origin,
            begin: None,
            ramp_s: None,
            was_stopped: false,
            threads: (0..threads).map(|_| Thread::default()).collect(),
            parts: BTreeMap::new(),
            next_part: 0,
            series: Vec::new(),
            kept: Vec::new(),
            troubles: BTreeMap::new(),
            tally: Tally::new(1 + plan.impaired.len()),
        }
    }

    /// Waits until all connections have answered, or as many as will.
    fn connect(&mut self, observer: &mut dyn Observer) -> Result<(), Failure> {
        let wanted = self.plan.connections + self.plan.idle;
        let paced_s = self.plan.life.connect_rate.map_or(0.0, |rate| f64::from(wanted) / rate);
        // A thousand a second is what any server takes.
        let fair = Duration::from_secs_f64(paced_s + f64::from(wanted) / 1000.0);
        let deadline = fair + self.plan.life.connect_timeout;
        loop {
            let ready = self.shared.ready.load(Ordering::Relaxed);
            let elapsed = self.origin.elapsed();
            if self.was_stopped {
                return Ok(());
            }
            if ready >= wanted {
                self.ramp_s = Some(elapsed.as_secs_f64());
                break;
            }
            let refused = self.shared.refused.load(Ordering::Relaxed);
            if ready == 0 && refused > 0 && elapsed >= REFUSED_PATIENCE.min(deadline) {
                return Err(self.not_connected());
            }
            if elapsed >= deadline {
                if self.shared.established.load(Ordering::Relaxed) == 0 {
                    return Err(self.not_connected());
                }
                if ready == 0 {
                    return Err(self.not_answered(elapsed));
                }
                break;
            }
            self.listen(READY_POLL, observer)?;
        }
        let begin = self.origin.elapsed() + HEAD_START;
        self.begin = Some(begin);
        let begin_ns = u64::try_from(begin.as_nanos()).unwrap_or(u64::MAX);
        self.shared.begins.store(begin_ns, Ordering::Release);
        Ok(())
    }

    fn not_connected(&self) -> Failure {
        let first = self.shared.first_refusal.lock().ok().and_then(|mut first| first.take());
        let why = first.unwrap_or_else(|| "no reason was given".to_owned());
        Failure::NotConnected { target: self.plan.target.to_string(), why }
    }

    fn not_answered(&self, waited: Duration) -> Failure {
        let what = match self.plan.talk.protocol {
            super::report::Protocol::Frames => format!("route {}", self.plan.talk.route),
            super::report::Protocol::Lines => "the listener".to_owned(),
        };
        Failure::NotAnswered {
            target: self.plan.target.to_string(),
            established: self.shared.established.load(Ordering::Relaxed),
            waited_s: waited.as_secs_f64(),
            what,
        }
    }

    /// Follows the run to its end.
    fn gather(&mut self, observer: &mut dyn Observer, at_mark: AtMark<'_>) -> Result<Gathered, Failure> {
        let begin = self.begin.unwrap_or_default() + self.plan.warmup;
        let marks = [(begin, Mark::Begin), (begin + self.plan.duration, Mark::End)];
        let mut marks = marks.into_iter().peekable();
        while !self.threads.iter().all(|thread| thread.is_over) {
            let elapsed = self.origin.elapsed();
            if let Some((when, mark)) = marks.peek()
                && elapsed >= *when
            {
                at_mark(*mark);
                marks.next();
                continue;
            }
            let wait = marks.peek().map_or(self.plan.interval, |(when, _)| *when - elapsed);
            self.listen(wait, observer)?;
        }
        let measured =
            || self.threads.iter().map(|thread| thread.measured).filter(|spent| spent.total_ns > 0);
        let busy = measured().map(|spent| spent.busy()).fold(0.0, f64::max);
        let waited = measured().map(|spent| spent.waited()).reduce(|one, other| Some(one?.max(other?)));
        let turn_max_ns = measured().map(|spent| spent.turn_max_ns).max().unwrap_or(0);
        Ok(Gathered {
            tally: std::mem::take(&mut self.tally),
            series: std::mem::take(&mut self.series),
            kept: std::mem::take(&mut self.kept),
            busy,
            waited: waited.flatten(),
            turn_max_ns,
            ramp_s: self.ramp_s,
            was_stopped: self.was_stopped,
        })
    }

    /// Takes what the threads tell until nothing comes for so long, or once.
    fn listen(&mut self, wait: Duration, observer: &mut dyn Observer) -> Result<(), Failure> {
        match self.told.recv_timeout(wait) {
            Ok(told) => self.heed(told, observer),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => {
                self.threads.iter_mut().for_each(|thread| thread.is_over = true);
                Ok(())
            }
        }
    }

    fn heed(&mut self, told: Told, observer: &mut dyn Observer) -> Result<(), Failure> {
        match told {
            Told::Failed(_, error) => return Err(Failure::System(error)),
            Told::End(thread, tally) => {
                self.tally.add(&tally);
                self.threads[thread as usize].is_over = true;
            }
            Told::Part { thread, span, recent, in_flight, open, spent, is_measured, troubles } => {
                let thread = &mut self.threads[thread as usize];
                let part = self.parts.entry(thread.parts).or_default();
                thread.parts += 1;
                if is_measured {
                    thread.measured.add(spent);
                }
                part.add(span, &recent, in_flight, open, spent, is_measured);
                part.troubles.extend(troubles);
            }
        }
        self.hand_on(observer)
    }

    /// Hands on the parts that all threads have told.
    fn hand_on(&mut self, observer: &mut dyn Observer) -> Result<(), Failure> {
        while let Some(part) = self.parts.get(&self.next_part) {
            let ended = self.threads.iter().filter(|thread| thread.is_over && thread.parts <= self.next_part);
            if part.threads + ended.count() < self.threads.len() {
                return Ok(());
            }
            let part = self.parts.remove(&self.next_part).unwrap_or_default();
            self.next_part += 1;
            part.troubles.iter().for_each(|(trouble, count)| {
                *self.troubles.entry(*trouble).or_default() += count;
            });
            let Recent { counts: mut interval, response, others } = part.recent;
            interval.p50_ns = response.percentile(50.0);
            interval.p99_ns = response.percentile(99.0);
            interval.p999_ns = response.percentile(99.9);
            interval.max_ns = response.max();
            self.series.push(interval);
            if let Some(others) = others {
                self.kept.push(Kept::of(&response, &others));
            }
            if !observer.on_part(&self.progress()) {
                self.was_stopped = true;
                self.shared.stop.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn progress(&self) -> Progress<'_> {
        let latest = self.series.last();
        let at_s = latest.map_or(0.0, |interval| interval.at_s);
        let begin_s = self.begin.map_or(f64::INFINITY, |begin| begin.as_secs_f64());
        let measure_s = begin_s + self.plan.warmup.as_secs_f64();
        let end_s = measure_s + self.plan.duration.as_secs_f64();
        let phase = match at_s {
            at if at < begin_s => Phase::Connecting,
            at if at < measure_s => Phase::WarmUp,
            at if at < end_s => Phase::Measuring,
            _ => Phase::Draining,
        };
        let offered = match &self.plan.traffic {
            Traffic::Open { profile, .. } => Some(profile.rate_at((at_s - measure_s).max(0.0))),
            Traffic::Closed => None,
        };
        let elapsed_s = latest.map_or(0.0, |interval| interval.at_s + interval.length_s);
        Progress {
            title: self.title,
            phase,
            elapsed_s: if phase == Phase::Connecting { elapsed_s } else { elapsed_s - begin_s },
            total_s: (self.plan.warmup + self.plan.duration).as_secs_f64(),
            wanted: self.plan.connections + self.plan.idle,
            open: latest.map_or(0, |interval| interval.open),
            offered: offered.filter(|_| phase != Phase::Connecting),
            series: &self.series,
            troubles: &self.troubles,
        }
    }
}

impl Part {
    fn add(
        &mut self,
        (from, to): (u64, u64),
        recent: &Recent,
        in_flight: u64,
        open: u32,
        spent: Spent,
        is_measured: bool,
    ) {
        self.threads += 1;
        self.recent.response.add(&recent.response);
        if let Some(theirs) = &recent.others {
            let ours = self.recent.others.get_or_insert_default();
            ours.0.add(&theirs.0);
            ours.1.add(&theirs.1);
        }
        let (sum, one) = (&mut self.recent.counts, &recent.counts);
        sum.at_s = from as f64 / 1e9;
        sum.length_s = to.saturating_sub(from) as f64 / 1e9;
        sum.measured = is_measured;
        sum.scheduled += one.scheduled;
        sum.sent += one.sent;
        sum.answered += one.answered;
        sum.dropped += one.dropped;
        sum.troubles += one.troubles;
        sum.in_flight += in_flight;
        sum.open += open;
        sum.busy = sum.busy.max(spent.busy());
    }
}
