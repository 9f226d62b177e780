//! Sizes and durations as people write them: a whole number and its unit, without a space.
//!
//! Always holds: what is written by `size_text` and `time_text` is read back as the same value. Never: a number
//! without a unit, a fraction, a guess; what was probably meant is only suggested.

use std::time::Duration;

/// Units of sizes, the largest first, in bytes.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Units of durations, the largest first, in microseconds.
const TIMES: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// What people also write, and what they mean by it.
const SIZE_ALIASES: [(&str, &str); 12] = [
    ("", "B"),
    ("byte", "B"),
    ("bytes", "B"),
    ("k", "KiB"),
    ("kb", "KiB"),
    ("ki", "KiB"),
    ("m", "MiB"),
    ("mb", "MiB"),
    ("mi", "MiB"),
    ("g", "GiB"),
    ("gb", "GiB"),
    ("gi", "GiB"),
];
const TIME_ALIASES: [(&str, &str); 20] = [
    ("", "s"),
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("hr", "h"),
    ("hrs", "h"),
    ("hour", "h"),
    ("hours", "h"),
    ("day", "d"),
    ("days", "d"),
    ("msec", "ms"),
    ("millis", "ms"),
    ("usec", "us"),
    ("micros", "us"),
    ("µs", "us"),
];

/// Bytes.
///
/// # Errors
///
/// What the text probably means, written right, if it means anything.
pub fn parse_size(text: &str) -> Result<u64, Option<String>> {
    exact(text, &SIZES).ok_or_else(|| meant(text, &SIZES, &SIZE_ALIASES).map(size_text))
}

/// A duration.
///
/// # Errors
///
/// What the text probably means, written right, if it means anything.
pub fn parse_time(text: &str) -> Result<Duration, Option<String>> {
    exact(text, &TIMES)
        .map(Duration::from_micros)
        .ok_or_else(|| meant(text, &TIMES, &TIME_ALIASES).map(|us| time_text(Duration::from_micros(us))))
}

/// A size in the largest unit that leaves a whole number.
pub fn size_text(bytes: u64) -> String {
    in_units(bytes, &SIZES, "B")
}

/// A duration in the largest unit that leaves a whole number; what is less than a microsecond is left out.
pub fn time_text(time: Duration) -> String {
    in_units(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), &TIMES, "s")
}

fn in_units(amount: u64, units: &[(&str, u64)], of_zero: &str) -> String {
    let fitting = units.iter().find(|(_, size)| amount != 0 && amount.is_multiple_of(*size));
    let (unit, size) = fitting.copied().unwrap_or((of_zero, 1));
    format!("{}{unit}", amount / size)
}

/// A number too large to count is the largest there is: beyond every range all the same.
fn exact(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return None;
    }
    let (_, size) = units.iter().find(|(name, _)| *name == unit)?;
    Some(number.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(*size))
}

/// A number with a fraction, a space, a unit of the same name or of another name.
fn meant(text: &str, units: &[(&str, u64)], aliases: &[(&str, &str)]) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.trim().to_ascii_lowercase();
    let alias = aliases.iter().find(|(alias, _)| *alias == unit).map(|(_, name)| *name);
    let (_, size) =
        units.iter().find(|(name, _)| alias.map_or(name.eq_ignore_ascii_case(&unit), |is| is == *name))?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    // Six places are more than anybody writes, and cannot overflow below.
    if whole.is_empty() || whole.len() > 12 || part.len() > 6 || part.contains('.') {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let thousandths: u64 = if part.is_empty() { 0 } else { part.parse().ok()? };
    let scale = 10_u64.pow(u32::try_from(part.len()).ok()?);
    let part = size.checked_mul(thousandths)?;
    if !part.is_multiple_of(scale) {
        return None;
    }
    whole.checked_mul(*size)?.checked_add(part / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_read_or_suggested() {
        #[rustfmt::skip]
        let table: &[(&str, Result<u64, Option<&str>>)] = &[
            ("0B",      Ok(0)),
            ("4KiB",    Ok(4096)),
            ("256MiB",  Ok(256 << 20)),
            ("3GiB",    Ok(3 << 30)),
            ("99999999999999999999GiB", Ok(u64::MAX)),
            ("1048576", Err(Some("1MiB"))),
            ("1MB",     Err(Some("1MiB"))),
            ("64 kib",  Err(Some("64KiB"))),
            ("1.5MiB",  Err(Some("1536KiB"))),
            ("0.3B",    Err(None)),
            ("",        Err(None)),
            ("MiB",     Err(None)),
            ("-1B",     Err(None)),
            ("1.2.3B",  Err(None)),
            ("many",    Err(None)),
        ];
        for (text, want) in table {
            assert_eq!(parse_size(text), want.map_err(|meant| meant.map(str::to_owned)), "case: {text}");
        }
        #[rustfmt::skip]
        let table: &[(&str, Result<u64, Option<&str>>)] = &[
            ("0s",      Ok(0)),
            ("30s",     Ok(30_000_000)),
            ("250ms",   Ok(250_000)),
            ("7us",     Ok(7)),
            ("5m",      Ok(300_000_000)),
            ("2h",      Ok(7_200_000_000)),
            ("24d",     Ok(24 * 86_400_000_000)),
            ("30",      Err(Some("30s"))),
            ("1.5s",    Err(Some("1500ms"))),
            ("90 secs", Err(Some("90s"))),
            ("5 MIN",   Err(Some("5m"))),
            ("soon",    Err(None)),
        ];
        for (text, want) in table {
            let want = want.map(Duration::from_micros).map_err(|meant| meant.map(str::to_owned));
            assert_eq!(parse_time(text), want, "case: {text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for amount in
            [0, 1, 999, 1000, 1024, 4096, 60_000_000, 90_000_000, 1 << 20, (1 << 30) + 1, 86_400_000_000]
        {
            assert_eq!(parse_size(&size_text(amount)), Ok(amount));
            let time = Duration::from_micros(amount);
            assert_eq!(parse_time(&time_text(time)), Ok(time));
        }
    }
}
