//! Numbers as people write and read them: `50k`, `1.5M`, `15s`, `250µs`, `1.84 ms`.
//!
//! Always holds: what [`rate_text`] and [`seconds_text`] write is read back as the same value. Never: a sign, an
//! exponent, infinity or NaN from a text.

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

/// A time for reading, from nanoseconds: three digits and a unit, such as `1.84 ms`.
pub fn ns_text(ns: f64) -> String {
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];
    // Half a digit below the next unit, so that rounding never gives 1000 of a unit.
    let (size, unit) = units.into_iter().find(|(size, _)| ns >= size * 0.9995).unwrap_or((1.0, "ns"));
    format!("{} {unit}", digits(ns / size))
}

/// A rate for reading: three digits, such as `41.2k/s`.
pub fn per_second_text(rate: f64) -> String {
    let (name, factor) =
        THOUSANDS.into_iter().find(|(_, factor)| rate >= factor * 0.9995).unwrap_or(("", 1.0));
    format!("{}{name}/s", digits(rate / factor))
}

/// A share for reading, in per cent: `0.31 %`.
pub fn share_text(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 {
        "0 %".to_owned()
    } else if percent < 0.01 {
        format!("{percent:.5} %")
    } else if percent < 10.0 {
        format!("{percent:.2} %")
    } else {
        format!("{percent:.1} %")
    }
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

/// Three significant digits below a thousand.
fn digits(number: f64) -> String {
    if number >= 99.95 {
        format!("{number:.0}")
    } else if number >= 9.995 {
        format!("{number:.1}")
    } else {
        format!("{number:.2}")
    }
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

    #[test]
    fn figures_have_three_digits() {
        #[rustfmt::skip]
        let table: &[(f64, &str)] = &[
            (0.0,            "0.00 ns"),
            (999.4,          "999 ns"),
            (999.6,          "1.00 µs"),
            (1_840_000.0,    "1.84 ms"),
            (99_960_000.0,   "100 ms"),
            (59_960_000_000.0, "60.0 s"),
        ];
        for (ns, want) in table {
            assert_eq!(ns_text(*ns), *want, "case: {ns}");
        }
        assert_eq!(per_second_text(41_234.0), "41.2k/s");
        assert_eq!(per_second_text(0.5), "0.50/s");
        assert_eq!((share_text(0.0), share_text(0.003_1)), ("0 %".to_owned(), "0.31 %".to_owned()));
        assert_eq!((share_text(0.000_012), share_text(0.987)), ("0.00120 %".to_owned(), "98.7 %".to_owned()));
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
