//! When requests are due: for one connection ([`Schedule`]) and for all of a thread in order ([`Agenda`]).
//!
//! Always holds: a due time follows from the seed, the profile, the arrival, the connection's number and how many
//! connections there are, and from nothing else: neither from replies nor from how connections are dealt to threads.
//! All connections together follow the profile. Never: a burst at the start; connections begin one after another.
//!
//! - Constant: one train of ticks at the profile's rate; connection `c` of `C` has the ticks `c`, `c + C`, `c + 2C`.
//! - Poisson: each connection is a Poisson process with its share of the rate, made by stretching unit-rate arrivals
//!   over the profile's sum (Çinlar, "Introduction to Stochastic Processes", 1975, chapter 4); the union of
//!   independent Poisson processes is one of the whole rate.

use super::profile::Profile;
use super::report::Arrival;
use super::units::whole;
use crate::base::Rng;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// A connection's due times in nanoseconds from the run's start, rising, without an end.
///
/// What lies beyond 584 years is `u64::MAX`: never.
#[derive(Clone, Debug)]
pub struct Schedule {
    profile: Arc<Profile>,
    /// The piece of the profile where the last time was.
    cursor: u16,
    /// All requests of all connections that are due before the next one (constant: exactly, Poisson: as expected).
    due: f64,
    /// Connections, as what `due` grows by.
    connections: f64,
    /// Absent for even spacing.
    gaps: Option<Rng>,
}

impl Schedule {
    /// For connection `connection` of `connections`, `0..connections`.
    pub fn new(
        profile: &Arc<Profile>,
        arrival: Arrival,
        seed: u64,
        connection: u32,
        connections: u32,
    ) -> Schedule {
        debug_assert!(connection < connections);
        let mut schedule = Schedule {
            profile: Arc::clone(profile),
            cursor: 0,
            due: f64::from(connection),
            connections: f64::from(connections),
            gaps: None,
        };
        match arrival {
            Arrival::Constant => {}
            Arrival::Poisson => {
                let mut gaps = stream(seed, connection).fork();
                schedule.due = schedule.connections * unit_exponential(&mut gaps);
                schedule.gaps = Some(gaps);
            }
        }
        schedule
    }
}

impl Iterator for Schedule {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        let due_s = self.profile.time_after(&mut self.cursor, self.due);
        let gap = self.gaps.as_mut().map_or(1.0, unit_exponential);
        self.due += self.connections * gap;
        Some(whole(due_s * 1e9 + 0.5))
    }
}

/// A connection's own random numbers. The first fork is its schedule's; what else a connection draws, such as sizes,
/// comes from later forks, so that nothing shifts the schedule.
pub const fn stream(seed: u64, connection: u32) -> Rng {
    // The seed is mixed first, so that neighbouring seeds don't share the streams of neighbouring connections.
    let mixed = Rng::new(seed).next_u64();
    Rng::new(mixed.wrapping_add(connection as u64)).fork()
}

/// An exponential with mean 1: never negative, at most 37.
#[inline]
fn unit_exponential(rng: &mut Rng) -> f64 {
    -rng.unit().ln()
}

/// The schedules of one thread's connections, merged.
///
/// Always holds: due times come in order; among equal ones the lower index comes first.
#[derive(Clone, Debug)]
pub struct Agenda {
    schedules: Vec<Schedule>,
    /// Each schedule's next time.
    next: BinaryHeap<Reverse<(u64, u32)>>,
}

impl Agenda {
    /// Of these schedules, at most `u32::MAX`; an index in what follows is a place in this list.
    pub fn new(mut schedules: Vec<Schedule>) -> Agenda {
        let firsts = schedules.iter_mut().zip(0_u32..);
        let next = firsts.filter_map(|(schedule, index)| Some(Reverse((schedule.next()?, index)))).collect();
        Agenda { schedules, next }
    }

    /// When the next request is due, in nanoseconds from the run's start, and whose it is. Absent without schedules.
    #[inline]
    pub fn peek(&self) -> Option<(u64, u32)> {
        self.next.peek().map(|Reverse(first)| *first)
    }

    /// Takes what [`peek`](Agenda::peek) shows.
    #[inline]
    pub fn pop(&mut self) -> Option<(u64, u32)> {
        // Replaced in place, the heap is put in order once instead of twice.
        let mut top = self.next.peek_mut()?;
        let Reverse((due, index)) = *top;
        let after = self.schedules[index as usize].next().unwrap_or(u64::MAX);
        *top = Reverse((after, index));
        Some((due, index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn schedules(profile: &str, arrival: Arrival, seed: u64, connections: u32) -> Vec<Schedule> {
        let profile = Arc::new(Profile::parse(profile).unwrap());
        (0..connections).map(|c| Schedule::new(&profile, arrival, seed, c, connections)).collect()
    }

    /// The times of all connections before `end_s`, in order.
    fn times(schedules: Vec<Schedule>, end_s: u64) -> Vec<u64> {
        let mut agenda = Agenda::new(schedules);
        let all = std::iter::from_fn(|| agenda.pop()).map(|(due, _)| due);
        all.take_while(|due| *due < end_s * SECOND).collect()
    }

    /// How many of `times` lie in each of `count` windows of `length_ns`.
    fn windows(times: &[u64], length_ns: u64, count: usize) -> Vec<f64> {
        let mut windows = vec![0.0; count];
        for time in times {
            if let Some(window) = windows.get_mut(usize::try_from(time / length_ns).unwrap()) {
                *window += 1.0;
            }
        }
        windows
    }

    #[test]
    fn the_same_seed_gives_the_same_times() {
        let first = |seed, connection| -> Vec<u64> {
            let profile = Arc::new(Profile::parse("1k..5k/2s").unwrap());
            Schedule::new(&profile, Arrival::Poisson, seed, connection, 8).take(100).collect()
        };
        assert_eq!(first(7, 3), first(7, 3));
        assert_ne!(first(7, 3), first(8, 3));
        assert_ne!(first(7, 3), first(7, 4));
        assert_ne!(first(7, 3), first(6, 4), "neighbours must not share a stream");
    }

    #[test]
    fn even_requests_come_evenly_and_take_turns() {
        let mut agenda = Agenda::new(schedules("1k", Arrival::Constant, 1, 3));
        for tick in 0..3000_u64 {
            assert_eq!(agenda.peek(), Some((tick * 1_000_000, u32::try_from(tick % 3).unwrap())));
            assert_eq!(agenda.pop(), Some((tick * 1_000_000, u32::try_from(tick % 3).unwrap())));
        }
    }

    #[test]
    fn low_rates_over_many_connections_give_no_burst() {
        let times = times(schedules("1", Arrival::Constant, 1, 100), 300);
        assert_eq!(times, (0..300).map(|tick| tick * SECOND).collect::<Vec<_>>());
        let random = self::times(schedules("1", Arrival::Poisson, 1, 100), 300);
        let most = windows(&random, SECOND, 300).into_iter().fold(0.0, f64::max);
        assert!(most <= 7.0, "{most} in one second; of a mean of 1 there are 8 in one of a million");
    }

    /// Windows of equal expectation: a ramp and steps must give each as much as the profile says, and a Poisson
    /// process has a variance as large as its mean.
    #[test]
    fn together_they_follow_the_profile() {
        for profile in ["5k", "2k..10k/10s", "step:2k,10k,4k@3s"] {
            let profile_ = Profile::parse(profile).unwrap();
            let even = times(schedules(profile, Arrival::Constant, 5, 7), 12);
            let random = times(schedules(profile, Arrival::Poisson, 5, 7), 12);
            let length = SECOND / 10;
            let counts = windows(&even, length, 120).into_iter().zip(windows(&random, length, 120));
            let mut chi = 0.0;
            for (window, (even, random)) in counts.enumerate() {
                let (from, to) = (window as f64 * 0.1, (window + 1) as f64 * 0.1);
                let want = profile_.due_by(to) - profile_.due_by(from);
                assert!((even - want).abs() <= 1.01, "{profile} window {window}: {even}, not {want}");
                chi += (random - want).powi(2) / want;
            }
            // Chi squared with 120 degrees: mean 120, standard deviation 15.5; five of them on either side.
            assert!((42.0..198.0).contains(&chi), "{profile}: chi squared is {chi} of 120");
            let (want, got) = (profile_.due_by(12.0), random.len() as f64);
            assert!((got - want).abs() < 4.0 * want.sqrt(), "{profile}: {got} in all, not {want}");
        }
    }

    #[test]
    fn the_gaps_of_one_connection_are_exponential() {
        let mut rng = stream(3, 0);
        let mut shares = [0.0_f64; 3];
        let count = 200_000;
        let mut sum = 0.0;
        for _ in 0..count {
            let gap = unit_exponential(&mut rng);
            assert!((0.0..37.0).contains(&gap));
            sum += gap;
            for (share, bound) in shares.iter_mut().zip([0.1, 1.0, 3.0]) {
                *share += f64::from(gap < bound) / f64::from(count);
            }
        }
        assert!((sum / f64::from(count) - 1.0).abs() < 0.01);
        for (share, bound) in shares.iter().zip([0.1_f64, 1.0, 3.0]) {
            assert!((share - (1.0 - (-bound).exp())).abs() < 0.005, "{share} below {bound}");
        }
    }

    #[test]
    fn no_schedules_are_no_agenda() {
        let mut agenda = Agenda::new(Vec::new());
        assert_eq!((agenda.peek(), agenda.pop()), (None, None));
    }

    proptest! {
        /// Which thread has a connection must not change when anything is due.
        #[test]
        fn dealing_to_threads_changes_nothing(
            seed: u64, connections in 1_u32..40, threads in 1_u32..5, is_poisson: bool,
        ) {
            let arrival = if is_poisson { Arrival::Poisson } else { Arrival::Constant };
            let all = schedules("100..400/1s", arrival, seed, connections);
            let whole = times(all.clone(), 2);
            let mut dealt = Vec::new();
            for thread in 0..threads {
                let mine = all.iter().zip(0..).filter(|(_, c)| c % threads == thread);
                dealt.extend(times(mine.map(|(schedule, _)| schedule.clone()).collect(), 2));
            }
            dealt.sort_unstable();
            prop_assert_eq!(dealt, whole);
        }
    }
}
