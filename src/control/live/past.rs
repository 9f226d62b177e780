//! What the last five minutes were like, for who opens the dashboard now: a point for each look at the figures, and the
//! conditions that held.
//!
//! Always holds: it keeps [`LIVE_PAST`] and [`LIVE_PAST_CONDITIONS`], and no more points than looks in that time. Never: a clock;
//! time is the server's age, which each point and whoever asks says.

use super::beat::seconds;
use super::figures::Durations;
use crate::base::limits::{LIVE_PAST, LIVE_PAST_CONDITIONS};
use crate::control::conditions::Held;
use crate::control::metrics::Scrape;
use crate::metrics::{Counter, Gauge, Timing};
use serde::Serialize;
use std::collections::VecDeque;
use std::time::Duration;

/// What is remembered of a look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    /// The server's age.
    at: Duration,
    /// By [`RATES`], a second; of the first look none is known.
    rates: Option<[f64; RATES.len()]>,
    open: u64,
    in_flight: u64,
    turn_p99_us: Option<u64>,
}

/// What has a rate, in the order of [`PastShown`].
const RATES: [Counter; 5] =
    [Counter::FramesIn, Counter::FramesOut, Counter::BytesIn, Counter::BytesOut, Counter::Accepted];

impl Point {
    pub(super) fn of(now: &Scrape, before: Option<&Scrape>) -> Point {
        let over = before.map_or(0.0, |before| now.uptime.saturating_sub(before.uptime).as_secs_f64());
        let before = before.filter(|_| over > 0.0);
        let rate = |before: &Scrape, of| {
            let grown = now.sum.counter(of).saturating_sub(before.sum.counter(of));
            // A tenth is enough, and shorter.
            (grown as f64 / over * 10.0).round() / 10.0
        };
        let turn = |scrape: &Scrape| *scrape.sum.timing(Timing::Turn);
        let turns = before.map(|before| Durations::between(&turn(before), &turn(now)));
        Point {
            at: now.uptime,
            rates: before.map(|before| RATES.map(|of| rate(before, of))),
            open: now.sum.gauge(Gauge::Open),
            in_flight: now.sum.gauge(Gauge::InFlight),
            turn_p99_us: turns.and_then(|turns| turns.p99_us()),
        }
    }
}

/// All that is remembered.
#[derive(Debug, Default)]
pub(super) struct Past {
    points: VecDeque<Point>,
    /// Conditions that hold, and since when.
    held: Vec<(&'static str, Duration)>,
    /// Those that are over; the last one first.
    over: VecDeque<Over>,
}

#[derive(Clone, Copy, Debug)]
struct Over {
    name: &'static str,
    lasted: Duration,
    until: Duration,
}

impl Over {
    fn shown(&self, now: Duration) -> OverShown {
        let Over { name, lasted, until } = *self;
        OverShown { name, lasted_s: seconds(lasted), ended_ago_s: seconds(now.saturating_sub(until)) }
    }
}

impl Past {
    /// Remembers a look, and what it found wrong.
    pub(super) fn note(&mut self, point: Point, held: &[Held]) {
        let now = point.at;
        self.points.push_back(point);
        while self.points.front().is_some_and(|point| now.saturating_sub(point.at) > LIVE_PAST) {
            self.points.pop_front();
        }
        let over = &mut self.over;
        self.held.retain(|(name, since)| {
            let holds = held.iter().any(|held| held.rule.name == *name);
            if !holds {
                over.push_front(Over { name, lasted: now.saturating_sub(*since), until: now });
            }
            holds
        });
        self.over.truncate(LIVE_PAST_CONDITIONS);
        for Held { rule, lasts, .. } in held {
            if !self.held.iter().any(|(name, _)| *name == rule.name) {
                self.held.push((rule.name, now.saturating_sub(*lasts)));
            }
        }
    }

    /// All of it, for who asks when the server is so old.
    pub(super) fn json(&self, now: Duration) -> String {
        let ago = |then: Duration| seconds(now.saturating_sub(then));
        let rate = |at: usize| self.points.iter().map(|point| point.rates.map(|rates| rates[at])).collect();
        let [messages_in, messages_out, bytes_in, bytes_out, accepted] = std::array::from_fn(rate);
        let shown = PastShown {
            uptime_s: seconds(now),
            of_s: seconds(LIVE_PAST),
            points: PointsShown {
                ago_s: self.points.iter().map(|point| ago(point.at)).collect(),
                messages_in,
                messages_out,
                bytes_in,
                bytes_out,
                open: self.points.iter().map(|point| point.open).collect(),
                accepted,
                in_flight: self.points.iter().map(|point| point.in_flight).collect(),
                turn_p99: self.points.iter().map(|point| point.turn_p99_us).collect(),
            },
            conditions_over: self.over.iter().map(|over| over.shown(now)).collect(),
        };
        serde_json::to_string(&shown).expect("numbers and names")
    }
}

#[derive(Serialize)]
struct PastShown {
    uptime_s: f64,
    of_s: f64,
    points: PointsShown,
    conditions_over: Vec<OverShown>,
}

/// By the names of the page's curves; each list has an entry for each point.
#[derive(Serialize)]
struct PointsShown {
    ago_s: Vec<f64>,
    messages_in: Vec<Option<f64>>,
    messages_out: Vec<Option<f64>>,
    bytes_in: Vec<Option<f64>>,
    bytes_out: Vec<Option<f64>>,
    open: Vec<u64>,
    accepted: Vec<Option<f64>>,
    in_flight: Vec<u64>,
    turn_p99: Vec<Option<u64>>,
}

#[derive(Serialize)]
struct OverShown {
    name: &'static str,
    lasted_s: f64,
    ended_ago_s: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::conditions::RULES;

    fn point(at_s: u64) -> Point {
        let at = Duration::from_secs(at_s);
        Point { at, rates: Some([1.0; 5]), open: at_s, in_flight: 0, turn_p99_us: None }
    }

    fn held(rules: &[usize], lasts_s: u64) -> Vec<Held> {
        let lasts = Duration::from_secs(lasts_s);
        rules.iter().map(|rule| Held { rule: &RULES[*rule], lasts, shown_by: Vec::new() }).collect()
    }

    #[test]
    fn it_goes_back_five_minutes() {
        let mut past = Past::default();
        for at in 0..1000 {
            past.note(point(at), &[]);
        }
        let kept: Vec<u64> = past.points.iter().map(|point| point.open).collect();
        assert_eq!((kept.len(), kept[0], kept[300]), (301, 699, 999));
    }

    #[test]
    fn a_condition_is_remembered_when_it_is_over() {
        let mut past = Past::default();
        let at = |at_s, held: &[Held], past: &mut Past| past.note(point(at_s), held);
        // It was seen first by a look that is not remembered.
        at(10, &held(&[0], 3), &mut past);
        at(11, &held(&[0, 1], 4), &mut past);
        assert!(past.over.is_empty());
        at(20, &held(&[1], 9), &mut past);
        let json = past.json(Duration::from_secs(25));
        let name = RULES[0].name;
        let want =
            format!("\"conditions_over\":[{{\"name\":\"{name}\",\"lasted_s\":13.0,\"ended_ago_s\":5.0}}]");
        assert!(json.contains(&want), "{json}");
        for again in 0..40 {
            at(30 + 2 * again, &held(&[2], 0), &mut past);
            at(31 + 2 * again, &[], &mut past);
        }
        assert_eq!(past.over.len(), LIVE_PAST_CONDITIONS);
        assert!(past.over.iter().all(|over| over.name == RULES[2].name && over.lasted.as_secs() == 1));
        assert!(past.held.is_empty());
    }
}
