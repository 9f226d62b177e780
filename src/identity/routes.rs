//! A set of routes: those that a user may use.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Routes: all of them, or some ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSet(Option<Arc<[(u16, u16)]>>);

/// Why a text is no set of routes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteSetError {
    /// There is nothing in it.
    #[error("there is no route in it; write \"all\" for all of them")]
    Empty,
    /// A part is no route, and no range of routes.
    #[error("{part:?} is no route from 0 to 65535, and no range such as 16-23")]
    Part {
        /// Which.
        part: String,
    },
    /// A range ends before it begins.
    #[error("the range {part:?} ends before it begins")]
    Backwards {
        /// Which.
        part: String,
    },
}

impl RouteSet {
    /// All routes.
    pub const fn all() -> RouteSet {
        RouteSet(None)
    }

    /// These, which may overlap.
    pub fn of(ranges: impl IntoIterator<Item = RangeInclusive<u16>>) -> RouteSet {
        let ranges = ranges.into_iter().map(RangeInclusive::into_inner);
        let mut ranges: Vec<_> = ranges.filter(|(first, last)| first <= last).collect();
        ranges.sort_unstable();
        let mut joined: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match joined.last_mut() {
                Some(before) if u32::from(first) <= u32::from(before.1) + 1 => before.1 = before.1.max(last),
                Some(_) | None => joined.push((first, last)),
            }
        }
        if joined == [(0, u16::MAX)] { RouteSet::all() } else { RouteSet(Some(joined.into())) }
    }

    /// From a text: `all`, or routes and ranges of them, separated by commas: `0x0001, 16-23`.
    ///
    /// # Errors
    ///
    /// [`RouteSetError`], which names the part.
    pub fn parse(text: &str) -> Result<RouteSet, RouteSetError> {
        if text.trim() == "all" {
            return Ok(RouteSet::all());
        }
        let mut ranges = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let wrong = || RouteSetError::Part { part: part.chars().take(40).collect() };
            let (first, last) = (route(first).ok_or_else(wrong)?, route(last).ok_or_else(wrong)?);
            if first > last {
                return Err(RouteSetError::Backwards { part: part.to_owned() });
            }
            ranges.push(first..=last);
        }
        if ranges.is_empty() { Err(RouteSetError::Empty) } else { Ok(RouteSet::of(ranges)) }
    }

    /// Whether this route is one of them.
    pub fn contains(&self, route: u16) -> bool {
        let Some(ranges) = &self.0 else { return true };
        let behind = ranges.partition_point(|(first, _)| *first <= route);
        behind > 0 && route <= ranges[behind - 1].1
    }

    /// Whether all are.
    pub const fn is_all(&self) -> bool {
        self.0.is_none()
    }
}

/// As [`RouteSet::parse`] takes it.
impl fmt::Display for RouteSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(ranges) = &self.0 else { return f.write_str("all") };
        for (place, (first, last)) in ranges.iter().enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            if first == last {
                write!(f, "{comma}{first:#06x}")?;
            } else {
                write!(f, "{comma}{first:#06x}-{last:#06x}")?;
            }
        }
        Ok(())
    }
}

/// Decimal, or hex behind `0x`.
fn route(text: &str) -> Option<u16> {
    let text = text.trim();
    let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
    if digits.starts_with('+') { None } else { u16::from_str_radix(digits, radix).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_read_and_shown() {
        #[rustfmt::skip]
        let table: &[(&str, Result<&str, &str>)] = &[
            ("all",               Ok("all")),
            ("0-65535",           Ok("all")),
            ("7",                 Ok("0x0007")),
            ("0x0010-0x0017, 1",  Ok("0x0001, 0x0010-0x0017")),
            ("1-3,2-9,10",        Ok("0x0001-0x000a")),
            (" 5 , ",             Ok("0x0005")),
            ("65535, 0",          Ok("0x0000, 0xffff")),
            ("",                  Err("no route in it")),
            (" , ",               Err("no route in it")),
            ("65536",             Err("\"65536\" is no route")),
            ("-1",                Err("\"-1\" is no route")),
            ("+1",                Err("\"+1\" is no route")),
            ("1-2-3",             Err("\"1-2-3\" is no route")),
            ("all, 1",            Err("\"all\" is no route")),
            ("1, echo",           Err("\"echo\" is no route")),
            ("9-3",               Err("\"9-3\" ends before it begins")),
        ];
        for (text, want) in table {
            match (RouteSet::parse(text), want) {
                (Ok(set), Ok(shown)) => {
                    assert_eq!(set.to_string(), *shown, "case: {text}");
                    assert_eq!(RouteSet::parse(shown), Ok(set), "case: {text}");
                }
                (Err(error), Err(want)) => assert!(error.to_string().contains(want), "case: {text}: {error}"),
                (got, want) => panic!("case: {text}: {got:?}, not {want:?}"),
            }
        }
    }

    proptest! {
        /// A route is in the set if and only if one of the ranges has it.
        #[test]
        fn it_holds_what_its_ranges_hold(
            ranges in prop::collection::vec((any::<u16>(), 0..40_u16), 0..20), routes in prop::collection::vec(any::<u16>(), 20),
        ) {
            let ranges: Vec<_> = ranges.iter().map(|(first, more)| *first..=first.saturating_add(*more)).collect();
            let set = RouteSet::of(ranges.clone());
            let ends = ranges.iter().flat_map(|range| {
                [range.start().wrapping_sub(1), *range.start(), *range.end(), range.end().wrapping_add(1)]
            });
            for route in ends.chain(routes) {
                prop_assert_eq!(set.contains(route), ranges.iter().any(|range| range.contains(&route)));
            }
        }
    }
}
