//! Values as they are meant, whatever they were written as.
//!
//! Always holds: the text of a [`Value`] is read back as the same value, but for a secret, which is never shown. Never: which values a key takes; that is judged
//! in `judge`.

use crate::base::units::{size_text, time_text};
use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A value that its key takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of [`Kind::Count`](super::schema::Kind::Count).
    Count(u64),
    /// Of [`Kind::Size`](super::schema::Kind::Size), in bytes.
    Size(u64),
    /// Of [`Kind::Time`](super::schema::Kind::Time).
    Time(Duration),
    /// Of [`Kind::Ratio`](super::schema::Kind::Ratio), in millionths.
    Ratio(u32),
    /// Of [`Kind::Switch`](super::schema::Kind::Switch).
    Switch(bool),
    /// Of [`Kind::Choice`](super::schema::Kind::Choice), or the word of another kind.
    Word(&'static str),
    /// Of [`Kind::Address`](super::schema::Kind::Address) and [`Kind::Port`](super::schema::Kind::Port).
    Address(Cow<'static, str>),
    /// Of [`Kind::Path`](super::schema::Kind::Path), [`Kind::Hosts`](super::schema::Kind::Hosts),
    /// [`Kind::Networks`](super::schema::Kind::Networks), [`Kind::Mode`](super::schema::Kind::Mode) and
    /// [`Kind::Account`](super::schema::Kind::Account).
    Text(Cow<'static, str>),
    /// Of [`Kind::Secret`](super::schema::Kind::Secret).
    Secret(Secret),
    /// Of [`Kind::Headers`](super::schema::Kind::Headers).
    Headers(RangeInclusive<u16>),
}

/// A text that is shown to nobody. Empty: there is none.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(super) Cow<'static, str>);

/// What is shown in its place.
pub(super) const HIDDEN: &str = "***";

impl Secret {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { HIDDEN })
    }
}

/// As it is written in a file; a secret as `"***"`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Count(number) => number.fmt(f),
            Value::Size(bytes) => write!(f, "\"{}\"", size_text(*bytes)),
            Value::Time(time) => write!(f, "\"{}\"", time_text(*time)),
            Value::Ratio(millionths) => f.write_str(&ratio_text(*millionths)),
            Value::Switch(on) => on.fmt(f),
            Value::Word(word) => write!(f, "\"{word}\""),
            Value::Address(text) | Value::Text(text) => f.write_str(&quoted(text)),
            Value::Secret(Secret(text)) => f.write_str(&quoted(if text.is_empty() { "" } else { HIDDEN })),
            Value::Headers(routes) if routes.start() == routes.end() => {
                write!(f, "\"{:#06x}\"", routes.start())
            }
            Value::Headers(routes) => write!(f, "\"{:#06x}-{:#06x}\"", routes.start(), routes.end()),
        }
    }
}

/// As few digits as it takes.
fn ratio_text(millionths: u32) -> String {
    let text = format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(control))),
            plain => out.push(plain),
        }
    }
    out.push('"');
    out
}
