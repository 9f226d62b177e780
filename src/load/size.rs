//! How large the payloads of requests are: always the same, or drawn for each request.
//!
//! Always holds: a size lies in `0..=`[`SIZE_MAX`] and never above [`Sizes::max`]. Never: what the bytes are; nor a
//! random number of its own, since the same run must be possible again.

use super::units::{number, whole};
use crate::base::Rng;
use crate::base::limits::PAYLOAD_BYTES_DEFAULT;
use std::f64::consts::TAU;
use std::fmt;

/// The largest payload that is asked for, in bytes: what servers take that are not told otherwise.
pub const SIZE_MAX: u32 = PAYLOAD_BYTES_DEFAULT;

/// The widest lognormal: with 4, one size in 40 is 2,500 times the median or more.
const SIGMA_MAX: f64 = 4.0;

/// Payload sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sizes {
    /// Always this many.
    Fixed(u32),
    /// Each size in between as often as the others, both ends included.
    Uniform {
        /// The smallest.
        least: u32,
        /// The largest.
        most: u32,
    },
    /// Many small and few large ones, as in most real traffic. What would be above [`SIZE_MAX`] is that large.
    LogNormal {
        /// Half of the sizes are below.
        median: u32,
        /// Standard deviation of the size's natural logarithm.
        sigma: f64,
    },
}

impl Sizes {
    /// Reads `64`, `16..4096` (uniform, both included) or `lognormal(256,1.5)` (median and sigma). Sizes are bytes up
    /// to [`SIZE_MAX`], also as `64KiB` or `1MiB`.
    ///
    /// # Errors
    ///
    /// What is wrong with it and what to write instead, in one line.
    pub fn parse(text: &str) -> Result<Sizes, String> {
        let text = text.trim();
        if let Some(inner) = text.strip_prefix("lognormal(") {
            let pair = inner.strip_suffix(')').and_then(|inner| inner.split_once(','));
            let Some((median, sigma)) = pair else {
                return Err(format!("`{text}` wants a median and a sigma: lognormal(256,1.5)"));
            };
            return Ok(Sizes::LogNormal { median: parse_median(median)?, sigma: parse_sigma(sigma)? });
        }
        let Some((least, most)) = text.split_once("..") else { return Ok(Sizes::Fixed(parse_size(text)?)) };
        let (least, most) = (parse_size(least)?, parse_size(most)?);
        if least > most {
            return Err(format!(
                "the sizes {least}..{most} go down; write the smaller one first: {most}..{least}"
            ));
        }
        Ok(Sizes::Uniform { least, most })
    }

    /// The next size, in bytes.
    #[inline]
    pub fn sample(&self, rng: &mut Rng) -> u32 {
        match *self {
            Sizes::Fixed(bytes) => bytes,
            Sizes::Uniform { least, most } => {
                u32::try_from(rng.between(u64::from(least), u64::from(most))).unwrap_or(most)
            }
            Sizes::LogNormal { median, sigma } => {
                let bytes = f64::from(median) * (sigma * standard_normal(rng)).exp();
                u32::try_from(whole(bytes.round())).unwrap_or(SIZE_MAX).min(SIZE_MAX)
            }
        }
    }

    /// The largest size that can come, in bytes.
    pub const fn max(&self) -> u32 {
        match *self {
            Sizes::Fixed(bytes) => bytes,
            Sizes::Uniform { most, .. } => most,
            Sizes::LogNormal { .. } => SIZE_MAX,
        }
    }
}

/// As [`Sizes::parse`] reads it.
impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sizes::Fixed(bytes) => write!(f, "{bytes}"),
            Sizes::Uniform { least, most } => write!(f, "{least}..{most}"),
            Sizes::LogNormal { median, sigma } => write!(f, "lognormal({median},{sigma})"),
        }
    }
}

fn parse_size(text: &str) -> Result<u32, String> {
    let text = text.trim();
    let (digits, unit) = if let Some(digits) = text.strip_suffix("KiB") {
        (digits, 1 << 10)
    } else if let Some(digits) = text.strip_suffix("MiB") {
        (digits, 1 << 20)
    } else {
        (text, 1)
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "`{text}` is no size; write 64, 16KiB, 16..4096 or lognormal(256,1.5), in bytes"
        ));
    }
    // Too many digits are too many bytes all the same.
    let bytes = digits.parse::<u32>().ok().and_then(|count| count.checked_mul(unit));
    bytes.filter(|bytes| *bytes <= SIZE_MAX).ok_or_else(|| {
        format!("the size `{text}` is over the {SIZE_MAX} bytes (1MiB) that a payload may have")
    })
}

fn parse_median(text: &str) -> Result<u32, String> {
    match parse_size(text)? {
        0 => Err("the median of a lognormal is at least 1 byte; `0` gives no sizes but 0".to_owned()),
        median => Ok(median),
    }
}

fn parse_sigma(text: &str) -> Result<f64, String> {
    number(text.trim())
        .filter(|sigma| *sigma > 0.0 && *sigma <= SIGMA_MAX)
        .ok_or_else(|| format!("the sigma `{}` is no number above 0 and up to 4; 1.5 is usual", text.trim()))
}

/// Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958; the second deviate is not used.
fn standard_normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * rng.unit().ln()).sqrt();
    radius * (TAU * rng.unit()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_and_given_back() {
        #[rustfmt::skip]
        let table: &[(&str, &str, u32)] = &[
            // text, given back as, max
            ("64",                    "64",                 64),
            ("0",                     "0",                  0),
            ("16KiB",                 "16384",              16_384),
            ("1MiB",                  "1048576",            SIZE_MAX),
            ("16..4096",              "16..4096",           4096),
            (" 0 .. 4KiB ",           "0..4096",            4096),
            ("8..8",                  "8..8",               8),
            ("lognormal(256,1.5)",    "lognormal(256,1.5)", SIZE_MAX),
            ("lognormal( 1KiB , 1 )", "lognormal(1024,1)",  SIZE_MAX),
        ];
        for (text, want, max) in table {
            let sizes = Sizes::parse(text).unwrap();
            assert_eq!((sizes.to_string(), sizes.max()), ((*want).to_owned(), *max), "case: {text}");
            assert_eq!(Sizes::parse(want), Ok(sizes), "case: {text}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_advice() {
        #[rustfmt::skip]
        let table: &[(&str, &str)] = &[
            ("",                    "`` is no size; write 64, 16KiB, 16..4096 or lognormal(256,1.5)"),
            ("64k",                 "`64k` is no size"),
            ("-1",                  "`-1` is no size"),
            ("1048577",             "the size `1048577` is over the 1048576 bytes"),
            ("99999999999999999",   "is over the 1048576 bytes"),
            ("4096MiB",             "is over the 1048576 bytes"),
            ("10..5",               "go down; write the smaller one first: 5..10"),
            ("10..",                "`` is no size"),
            ("lognormal(256)",      "wants a median and a sigma"),
            ("lognormal(256,1.5",   "wants a median and a sigma"),
            ("lognormal(0,1)",      "at least 1 byte"),
            ("lognormal(256,0)",    "the sigma `0` is no number above 0 and up to 4"),
            ("lognormal(256,9)",    "the sigma `9` is no number"),
        ];
        for (text, want) in table {
            let said = Sizes::parse(text).unwrap_err();
            assert!(said.contains(want) && !said.contains('\n'), "case: {text}\nsaid: {said}");
        }
    }

    #[test]
    fn drawn_sizes_have_their_distribution() {
        let draw = |text: &str| -> Vec<u32> {
            let (sizes, mut rng) = (Sizes::parse(text).unwrap(), Rng::new(11));
            let mut drawn: Vec<_> = (0..100_000).map(|_| sizes.sample(&mut rng)).collect();
            assert!(drawn.iter().all(|bytes| *bytes <= sizes.max()), "{text}");
            drawn.sort_unstable();
            drawn
        };
        let near = |got: u32, want: f64| (f64::from(got) / want - 1.0).abs() < 0.03;
        assert!(draw("64").iter().all(|bytes| *bytes == 64));
        let uniform = draw("16..4096");
        assert_eq!((uniform[0], uniform[99_999]), (16, 4096));
        assert!(near(uniform[50_000], 2056.0), "{}", uniform[50_000]);
        // A normal has 15.87 % below one standard deviation under its mean, and as many above one over it.
        let lognormal = draw("lognormal(256,1.5)");
        for (share, want) in
            [(15_866, 256.0 * (-1.5_f64).exp()), (50_000, 256.0), (84_134, 256.0 * 1.5_f64.exp())]
        {
            assert!(near(lognormal[share], want), "{} at {share}, not {want}", lognormal[share]);
        }
        assert_eq!(draw("lognormal(1MiB,4)")[99_999], SIZE_MAX, "what would be longer is cut");
    }
}
