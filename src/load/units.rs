//! Numbers with units as people write them in options: `50k`, `1.5M`, `15s`, `250µs`, `5%`.
//!
//! Always holds: what [`rate_text`] and [`seconds_text`] write is read back as the same value. Never: a sign, an
//! exponent, infinity or NaN from a text; nor figures for reading, which are rounded (see [`words`](super::words)).

/// Factors of rates and counts, the largest first.
const THOUSANDS: [(&str, f64); 3] = [("M", 1e6), ("k", 1e3), ("", 1.0)];

/// Units of time in seconds, the largest first.
const TIMES: [(&str, f64); 8] = [
    ("h", 3600.0),
    ("m", 60.0),
    ("s", 1.0),
    ("ms", 1e-3),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6), // The Greek letter beside the micro sign: keyboards have the one or the other.
    ("ns", 1e-9),
];

/// A number of events with an optional `k` or `M`.
pub fn rate(text: &str) -> Option<f64> {
    in_units(text, &THOUSANDS)
}

/// A rate in the unit that makes its text the shortest.
pub fn rate_text(rate: f64) -> String {
    shortest(rate, &THOUSANDS)
}

/// A time with its unit, in seconds: `h`, `m`, `s`, `ms`, `us` (or `µs`), `ns`.
pub fn seconds(text: &str) -> Option<f64> {
    in_units(text, &TIMES)
}

/// Seconds in the unit that makes the text the shortest.
pub fn seconds_text(seconds: f64) -> String {
    shortest(seconds, &TIMES)
}

/// A share such as `5%` or `0.01%`, as a part of 1; at most 100 %.
pub fn share(text: &str) -> Option<f64> {
    let percent = number(text.trim().strip_suffix('%')?.trim_end())?;
    (percent <= 100.0).then_some(percent / 100.0)
}

/// The whole part: 0 for what is negative or no number, the largest number for what is larger.
#[inline]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, as is said above")]
pub const fn whole(number: f64) -> u64 {
    number as u64
}

/// A number without sign or exponent.
pub(super) fn number(text: &str) -> Option<f64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
    // More digits than any number that is written here has.
    (is_plain && has_digit && text.len() <= 40).then(|| text.parse().ok()).flatten()
}

fn in_units(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim();
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.');
    let (digits, unit) = text.split_at(end.unwrap_or(text.len()));
    let (_, size) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number(digits).map(|number| number * size)
}

fn shortest(value: f64, units: &[(&str, f64)]) -> String {
    // Never `0.2M` for `200k`, and a unit of 1 loses nothing.
    let fitting = units.iter().filter(|(_, size)| *size <= value || *size == 1.0);
    let texts = fitting.map(|(name, size)| format!("{}{name}", value / size));
    let exact = texts.filter(|text| in_units(text, units) == Some(value));
    exact.min_by_key(|text| text.chars().count()).unwrap_or_else(|| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_with_their_units() {
        #[rustfmt::skip]
        let table: &[(&str, Option<f64>, Option<f64>)] = &[
            // text, as a rate, as seconds
            ("500",    Some(500.0),       None),
            ("50k",    Some(50_000.0),    None),
            ("1.5M",   Some(1_500_000.0), None),
            (" 2 k ",  Some(2_000.0),     None),
            ("15s",    None,              Some(15.0)),
            ("2ms",    None,              Some(0.002)),
            ("1.5m",   None,              Some(90.0)),
            ("250µs",  None,              Some(250.0 * 1e-6)),
            ("250us",  None,              Some(250.0 * 1e-6)),
            ("",       None,              None),
            (".",      None,              None),
            ("-1",     None,              None),
            ("1e5",    None,              None),
            ("inf",    None,              None),
            ("NaN",    None,              None),
            ("1.2.3",  None,              None),
            ("50K",    None,              None),
        ];
        for (text, as_rate, as_seconds) in table {
            assert_eq!((rate(text), seconds(text)), (*as_rate, *as_seconds), "case: {text}");
        }
    }

    #[test]
    fn shares_want_their_sign() {
        assert_eq!((share("5%"), share(" 0.5 % "), share("100%")), (Some(0.05), Some(0.005), Some(1.0)));
        assert_eq!((share("5"), share("%"), share("101%"), share("-1%")), (None, None, None, None));
    }

    proptest! {
        /// A run's command can be made again from what it shows.
        #[test]
        fn what_is_written_is_read_back(milli in 1_u64..100_000_000_000) {
            let value = milli as f64 / 1e3;
            prop_assert_eq!(rate(&rate_text(value)), Some(value));
            prop_assert_eq!(seconds(&seconds_text(value)), Some(value));
        }
    }
}
