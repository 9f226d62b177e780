//! A rate over time: how many requests a second are due at each moment of an open loop.
//!
//! ```text
//!   50k                    10k..200k/10s               step:10k,20k,40k@15s
//!                               ______                          ____
//!   ___________               /                         ____|
//!                         __/                      ____|
//! ```
//!
//! Always holds: the rate is positive everywhere, so the requests due by a time ([`Profile::due_by`]) rise strictly
//! and have an inverse ([`Profile::time_of`]), exact in each piece. After its last piece a profile stays as it is.
//! Never: a clock, a random number. Those who send take both from elsewhere.

use super::units::{rate, rate_text, seconds, seconds_text};
use std::fmt;

/// The highest rate, in requests a second. No machine of today sends as many.
pub const RATE_MAX: f64 = 100e6;

/// The lowest rate, in requests a second: one in 17 minutes.
pub const RATE_MIN: f64 = 0.001;

/// The most steps that a profile may have.
pub const STEPS_MAX: usize = 64;

/// The longest ramp or step, in seconds: a day.
pub const LENGTH_MAX_S: f64 = 86_400.0;

/// A rate over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    shape: Shape,
    /// How long the first rate is held in front of the shape, in seconds.
    held_s: f64,
    /// Never empty, the first at 0, the last without an end and with a slope of 0.
    pieces: Vec<Piece>,
}

/// What was asked for; rates a second, times in seconds.
#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Constant(f64),
    Ramp { from: f64, to: f64, length: f64 },
    Steps { rates: Vec<f64>, each: f64 },
}

/// A stretch in which the rate is a line.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Piece {
    /// Where it begins, in seconds.
    at: f64,
    /// Requests due before it.
    due: f64,
    /// Requests a second at its beginning.
    rate: f64,
    /// What the rate gains in a second.
    slope: f64,
}

impl Piece {
    fn due_by(&self, s: f64) -> f64 {
        let d = s - self.at;
        self.due + d * (self.rate + 0.5 * self.slope * d)
    }

    fn time_of(&self, n: f64) -> f64 {
        let m = n - self.due;
        if self.slope == 0.0 {
            return self.at + m / self.rate;
        }
        // The root of a quadratic in the form that loses no digits where the slope is small. What rounding takes
        // below zero is the end of a ramp that goes down to almost nothing.
        let root = (self.rate * self.rate + 2.0 * self.slope * m).max(0.0).sqrt();
        self.at + 2.0 * m / (self.rate + root)
    }
}

impl Profile {
    /// The same rate for ever, in requests a second, [`RATE_MIN`] to [`RATE_MAX`]; what is outside is taken as the
    /// nearer of the two.
    pub fn constant(rate: f64) -> Profile {
        Profile::new(Shape::Constant(rate.clamp(RATE_MIN, RATE_MAX)), 0.0)
    }

    /// Reads `50k`, `10k..200k/10s` (a ramp, then the last rate) or `step:10k,20k,40k@15s` (each for 15 seconds, then
    /// the last rate). Rates from [`RATE_MIN`] to [`RATE_MAX`], up to [`STEPS_MAX`] steps, times up to [`LENGTH_MAX_S`].
    ///
    /// # Errors
    ///
    /// What is wrong with it and what to write instead, in one line.
    pub fn parse(text: &str) -> Result<Profile, String> {
        let text = text.trim();
        let shape = if let Some(steps) = text.strip_prefix("step:") {
            parse_steps(steps)?
        } else if let Some((from, rest)) = text.split_once("..") {
            let Some((to, length)) = rest.split_once('/') else {
                return Err(format!("the ramp `{text}` has no length; write it as 10k..200k/10s"));
            };
            Shape::Ramp { from: parse_rate(from)?, to: parse_rate(to)?, length: parse_length(length)? }
        } else {
            Shape::Constant(parse_rate(text)?)
        };
        Ok(Profile::new(shape, 0.0))
    }

    /// The same with its first rate held in front for so many seconds: a warm-up at the load that comes first.
    #[must_use]
    pub fn held_before(&self, seconds: f64) -> Profile {
        Profile::new(self.shape.clone(), self.held_s + seconds.max(0.0))
    }

    /// The rate at `s` seconds, in requests a second. At a step the new one.
    pub fn rate_at(&self, s: f64) -> f64 {
        let piece = self.piece_where(|piece| piece.at <= s);
        piece.rate + piece.slope * (s - piece.at).max(0.0)
    }

    /// Requests that are due in the first `s` seconds, as a fraction too.
    pub fn due_by(&self, s: f64) -> f64 {
        let s = s.max(0.0);
        self.piece_where(|piece| piece.at <= s).due_by(s)
    }

    /// When `n` requests have come due, in seconds: the inverse of [`due_by`](Profile::due_by).
    pub fn time_of(&self, n: f64) -> f64 {
        let n = n.max(0.0);
        self.piece_where(|piece| piece.due <= n).time_of(n)
    }

    /// The same for rising `n`, from the piece where the last one was: `cursor` begins as 0 and is kept by the caller.
    #[inline]
    pub(super) fn time_after(&self, cursor: &mut u16, n: f64) -> f64 {
        let mut at = usize::from(*cursor);
        while self.pieces.get(at + 1).is_some_and(|next| next.due <= n) {
            at += 1;
            *cursor += 1;
        }
        self.pieces[at].time_of(n)
    }

    /// Seconds until the last rate has been reached (ramp) or held as long as the others (steps), with what is held in
    /// front. Absent if the rate never changes.
    pub fn length(&self) -> Option<f64> {
        match &self.shape {
            Shape::Constant(_) => None,
            Shape::Ramp { length, .. } => Some(self.held_s + length),
            Shape::Steps { rates, each } => Some(self.held_s + each * rates.len() as f64),
        }
    }

    fn new(shape: Shape, held_s: f64) -> Profile {
        let mut lines = Vec::new(); // (seconds, rate, slope)
        let end = match &shape {
            Shape::Constant(rate) => *rate,
            Shape::Ramp { from, to, length } => {
                lines.extend((held_s > 0.0).then_some((held_s, *from, 0.0)));
                lines.push((*length, *from, (to - from) / length));
                *to
            }
            Shape::Steps { rates, each } => {
                lines.extend(rates.iter().map(|rate| (*each, *rate, 0.0)));
                lines[0].0 += held_s;
                rates[rates.len() - 1]
            }
        };
        let (mut pieces, mut at, mut due) = (Vec::with_capacity(lines.len() + 1), 0.0, 0.0);
        for (length, rate, slope) in lines {
            let piece = Piece { at, due, rate, slope };
            pieces.push(piece);
            at += length;
            due = piece.due_by(at);
        }
        pieces.push(Piece { at, due, rate: end, slope: 0.0 });
        Profile { shape, held_s, pieces }
    }

    /// The last piece of which that is true, or the first of all.
    fn piece_where(&self, is_begun: impl Fn(&Piece) -> bool) -> &Piece {
        let begun = self.pieces.partition_point(is_begun);
        &self.pieces[begun.saturating_sub(1)]
    }
}

/// As it was asked for, without what is held in front; [`Profile::parse`] reads it back.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shape {
            Shape::Constant(rate) => f.write_str(&rate_text(*rate)),
            Shape::Ramp { from, to, length } => {
                write!(f, "{}..{}/{}", rate_text(*from), rate_text(*to), seconds_text(*length))
            }
            Shape::Steps { rates, each } => {
                let rates: Vec<_> = rates.iter().map(|rate| rate_text(*rate)).collect();
                write!(f, "step:{}@{}", rates.join(","), seconds_text(*each))
            }
        }
    }
}

fn parse_steps(text: &str) -> Result<Shape, String> {
    let Some((rates, each)) = text.split_once('@') else {
        return Err(format!("the steps `step:{text}` have no length; write them as step:10k,20k,40k@15s"));
    };
    let count = rates.split(',').count();
    if count > STEPS_MAX {
        return Err(format!(
            "{count} steps are more than {STEPS_MAX}; use fewer, or a ramp such as 10k..200k/10s"
        ));
    }
    let rates = rates.split(',').map(parse_rate).collect::<Result<Vec<_>, _>>()?;
    Ok(Shape::Steps { rates, each: parse_length(each)? })
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match rate(text) {
        Some(rate) if (RATE_MIN..=RATE_MAX).contains(&rate) => Ok(rate),
        Some(_) => {
            Err(format!("the rate `{}` is out of range; it goes from 0.001 to 100M a second", text.trim()))
        }
        None => Err(format!("`{}` is no rate; write requests a second as 500, 50k or 1.5M", text.trim())),
    }
}

fn parse_length(text: &str) -> Result<f64, String> {
    match seconds(text) {
        Some(length) if (1e-3..=LENGTH_MAX_S).contains(&length) => Ok(length),
        Some(_) => Err(format!("the time `{}` is out of range; it goes from 1ms to 24h", text.trim())),
        None => Err(format!("`{}` is no time; write it as 500ms, 15s or 2m", text.trim())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_asked_for_is_read_and_given_back() {
        #[rustfmt::skip]
        let table: &[(&str, &str, Option<f64>)] = &[
            // text, given back as, length
            ("500",                      "500",                   None),
            ("50000",                    "50k",                   None),
            ("1.5M",                     "1.5M",                  None),
            ("0.5",                      "0.5",                   None),
            ("10k..200k/10s",            "10k..200k/10s",         Some(10.0)),
            ("200k .. 10k / 1500ms",     "200k..10k/1.5s",        Some(1.5)),
            ("step:10k,20k,40k@15s",     "step:10k,20k,40k@15s",  Some(45.0)),
            ("step:7@2m",                "step:7@2m",             Some(120.0)),
        ];
        for (text, want, length) in table {
            let profile = Profile::parse(text).unwrap();
            assert_eq!(
                (profile.to_string(), profile.length()),
                ((*want).to_owned(), *length),
                "case: {text}"
            );
            assert_eq!(Profile::parse(want).as_ref(), Ok(&profile), "case: {text}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_advice() {
        #[rustfmt::skip]
        let table: &[(&str, &str)] = &[
            ("",                 "`` is no rate; write requests a second as 500, 50k or 1.5M"),
            ("50kk",             "`50kk` is no rate"),
            ("-5",               "`-5` is no rate"),
            ("0",                "the rate `0` is out of range; it goes from 0.001 to 100M a second"),
            ("101M",             "the rate `101M` is out of range"),
            ("10k..200k",        "has no length; write it as 10k..200k/10s"),
            ("10k..200k/10",     "`10` is no time; write it as 500ms, 15s or 2m"),
            ("10k..200k/0s",     "the time `0s` is out of range; it goes from 1ms to 24h"),
            ("10k../5s",         "`` is no rate"),
            ("step:10k,20k",     "have no length; write them as step:10k,20k,40k@15s"),
            ("step:@15s",        "`` is no rate"),
            ("step:10k,,20k@1s", "`` is no rate"),
            ("step:1@25h",       "the time `25h` is out of range"),
        ];
        for (text, want) in table {
            let said = Profile::parse(text).unwrap_err();
            assert!(said.contains(want) && !said.contains('\n'), "case: {text}\nsaid: {said}");
        }
        let many = format!("step:{}@1s", ["5"; STEPS_MAX + 1].join(","));
        assert!(Profile::parse(&many).unwrap_err().contains("65 steps are more than 64"));
        assert!(Profile::parse(&format!("step:{}@1s", ["5"; STEPS_MAX].join(","))).is_ok());
    }

    #[test]
    fn rates_and_sums_are_those_of_the_picture() {
        let ramp = Profile::parse("10..30/10s").unwrap();
        assert_eq!([-1.0, 0.0, 5.0, 10.0, 99.0].map(|s| ramp.rate_at(s)), [10.0, 10.0, 20.0, 30.0, 30.0]);
        assert_eq!([-1.0, 0.0, 10.0, 11.0].map(|s| ramp.due_by(s)), [0.0, 0.0, 200.0, 230.0]);
        let steps = Profile::parse("step:1,2,4@10s").unwrap();
        assert_eq!([0.0, 9.9, 10.0, 20.0, 99.0].map(|s| steps.rate_at(s)), [1.0, 1.0, 2.0, 4.0, 4.0]);
        assert_eq!([10.0, 20.0, 30.0, 40.0].map(|s| steps.due_by(s)), [10.0, 30.0, 70.0, 110.0]);
        assert_eq!([0.0, 10.0, 30.0, 110.0].map(|n| steps.time_of(n)), [0.0, 10.0, 20.0, 40.0]);
    }

    #[test]
    fn a_warm_up_is_the_first_rate_in_front() {
        for text in ["10", "10..30/10s", "step:10,30@10s"] {
            let plain = Profile::parse(text).unwrap();
            let held = plain.held_before(5.0);
            assert_eq!(held.to_string(), plain.to_string());
            assert_eq!(held.length(), plain.length().map(|length| length + 5.0));
            assert_eq!(held.due_by(5.0), 50.0);
            for s in [0.0, 3.0, 10.0, 25.0] {
                assert_eq!(held.rate_at(5.0 + s), plain.rate_at(s), "case: {text} at {s}");
                assert!((held.due_by(5.0 + s) - 50.0 - plain.due_by(s)).abs() < 1e-9, "case: {text} at {s}");
            }
            assert_eq!(plain.held_before(0.0), plain);
        }
    }

    fn any_rate() -> impl Strategy<Value = f64> {
        (-3.0..8.0_f64).prop_map(|power| 10_f64.powf(power))
    }

    fn any_profile() -> impl Strategy<Value = Profile> {
        let length = 0.001..10_000.0_f64;
        let shape = prop_oneof![
            any_rate().prop_map(Shape::Constant),
            (any_rate(), any_rate(), length.clone()).prop_map(|(from, to, length)| Shape::Ramp {
                from,
                to,
                length
            }),
            (prop::collection::vec(any_rate(), 1..=STEPS_MAX), length)
                .prop_map(|(rates, each)| Shape::Steps { rates, each }),
        ];
        (shape, prop_oneof![Just(0.0), 0.0..60.0]).prop_map(|(shape, held)| Profile::new(shape, held))
    }

    proptest! {
        /// A request's due time is the time at which so many are due.
        #[test]
        fn the_inverse_is_one(profile in any_profile(), share in 0.0..3.0_f64) {
            let s = share * profile.length().unwrap_or(100.0);
            let n = profile.due_by(s);
            let back = profile.time_of(n);
            // Where the rate is low after much was due, a digit of the sum is worth much time.
            let digit = n * 4.0 * f64::EPSILON / profile.rate_at(back.min(s)).min(profile.rate_at(s));
            prop_assert!((back - s).abs() <= s * 1e-9 + digit + 1e-12, "{s} became {back}");
        }

        /// Requests are due in order, and following them piece by piece gives the same as looking each up.
        #[test]
        fn times_rise_and_the_cursor_agrees(profile in any_profile(), gaps in prop::collection::vec(0.0..1.0_f64, 1..200)) {
            let all = profile.due_by(profile.length().unwrap_or(100.0) * 1.5);
            let (mut cursor, mut n, mut before) = (0, 0.0, 0.0);
            for gap in &gaps {
                n += gap * all / gaps.len() as f64 * 2.0;
                let s = profile.time_after(&mut cursor, n);
                prop_assert!(s >= before * (1.0 - 1e-12), "{s} after {before}");
                prop_assert_eq!(s, profile.time_of(n));
                before = s;
            }
        }
    }
}
