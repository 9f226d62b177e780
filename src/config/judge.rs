//! One place that judges what was written for a key by what the key takes.
//!
//! Always holds: a [`Value`] that comes out lies in the range of its key; a refusal says what to write instead.
//! Never: several keys at once; what they mean together is judged in `meaning`.

mod access;

use super::schema::{Form, Key, Kind};
use super::value::{Secret, Value};
use crate::base::units::{parse_size, parse_time, size_text, time_text};
use crate::wire::Header;
use std::time::Duration;

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raw {
    /// A string of TOML.
    Text(String),
    /// A whole number of TOML; `None` if it is beyond all ranges.
    Integer(Option<i128>),
    /// A number of TOML with a fraction or an exponent.
    Float(String),
    /// `true` or `false` of TOML.
    Switch(bool),
    /// From the environment or a flag, which know no types.
    Bare(String),
    /// Anything else of TOML, by the name of its type.
    Other(&'static str),
}

/// Why a value was refused: what is wrong with it, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) title: String,
    pub(super) advice: String,
}

impl Key {
    /// What it takes, in words: `a number from 1 to 256, or "auto"`.
    pub fn takes(&self) -> String {
        let (what, word) = match self.kind {
            Kind::Count { least, most, word } if least == most => (least.to_string(), word),
            Kind::Count { least, most, word } => (format!("a number from {least} to {most}"), word),
            Kind::Size { least, most, word } => {
                (format!("a size from {} to {}", size_text(least), size_text(most)), word)
            }
            Kind::Time { least, most, word, .. } => {
                (format!("a duration from {} to {}", time_text(least), time_text(most)), word)
            }
            Kind::Ratio => ("a number from 0 to 1".to_owned(), None),
            Kind::Switch => ("true or false".to_owned(), None),
            Kind::Choice(words) => (one_of(words), None),
            Kind::Address => ("IP:PORT, HOST:PORT or unix:PATH".to_owned(), None),
            Kind::Port => ("IP:PORT or HOST:PORT".to_owned(), Some("off")),
            Kind::Secret { least, most } => (format!("{least} to {most} visible ASCII characters"), Some("")),
            Kind::Path => ("the path of a file".to_owned(), Some("")),
            Kind::Hosts { most } => (format!("at most {most} names, separated by commas"), Some("")),
            Kind::Networks { most } => (format!("at most {most} networks, separated by commas"), Some("")),
            Kind::Mode => ("a mode from 0000 to 0777".to_owned(), Some("umask")),
            Kind::Account => ("a name or a number".to_owned(), Some("")),
            Kind::Form(form) => form.takes(),
            Kind::Headers => {
                (format!("a route or a range of routes, each from 0 to {}", Header::ROUTE_MAX), None)
            }
        };
        match word {
            Some(word) => format!("{what}, or \"{word}\""),
            None => what,
        }
    }

    /// The value that `raw` is for this key.
    pub(super) fn judge(&self, raw: &Raw) -> Result<Value, Refusal> {
        let text = match raw {
            Raw::Text(text) | Raw::Bare(text) => text.as_str(),
            Raw::Integer(number) => return self.judge_number(*number),
            Raw::Float(text) if self.kind == Kind::Ratio => return self.judge_ratio(text),
            Raw::Float(_) => return Err(self.wrong_type("a number with a fraction")),
            Raw::Switch(on) if self.kind == Kind::Switch => return Ok(Value::Switch(*on)),
            Raw::Switch(on) => return Err(self.wrong_type(&format!("the boolean {on}"))),
            Raw::Other(name) => return Err(self.wrong_type(name)),
        };
        let is_typed = matches!(raw, Raw::Text(_));
        match self.kind {
            Kind::Count { word: Some(word), .. }
            | Kind::Size { word: Some(word), .. }
            | Kind::Time { word: Some(word), .. }
                if word == text =>
            {
                Ok(Value::Word(word))
            }
            Kind::Count { .. } if is_typed => Err(self.number_in_quotes(text)),
            Kind::Count { .. } => match integer(text) {
                Some(number) => self.judge_number(Some(number)),
                None => Err(self.refuse(format!("{} is no whole number", shown(text)))),
            },
            Kind::Ratio if is_typed => Err(self.ratio_in_quotes(text)),
            Kind::Ratio => self.judge_ratio(text),
            Kind::Switch => self.judge_switch(text, is_typed),
            Kind::Size { .. } => self.judge_size(text),
            Kind::Time { .. } => self.judge_time(text),
            Kind::Choice(words) => {
                words.iter().find(|word| **word == text).map(|word| Value::Word(word)).ok_or_else(|| {
                    let title = format!("{} is not one of {}", shown(text), words.join(", "));
                    Refusal {
                        title,
                        advice: self
                            .advice(nearest(text, words.iter().copied()).map(|word| format!("\"{word}\""))),
                    }
                })
            }
            Kind::Address => address(text).map_err(|title| self.refuse(title)),
            Kind::Port if text == "off" => Ok(Value::Word("off")),
            Kind::Port => port(text).map_err(|title| self.refuse(title)),
            Kind::Secret { least, most } => {
                secret(text, least, most).map_err(|why| self.refuse(format!("`{}` {why}", self.name)))
            }
            Kind::Path if text.contains('\0') => Err(self.refuse(format!("{} has a NUL", shown(text)))),
            Kind::Path => Ok(Value::Text(text.to_owned().into())),
            Kind::Hosts { most } => hosts(text, most).map_err(|title| self.refuse(title)),
            Kind::Networks { most } => access::networks(text, most).map_err(|title| self.refuse(title)),
            Kind::Mode => access::mode(text).map_err(|title| self.refuse(title)),
            Kind::Account => access::account(text).map_err(|title| self.refuse(title)),
            Kind::Headers => headers(text),
            Kind::Form(form) => match form.check(text) {
                Ok(()) => Ok(Value::Text(text.to_owned().into())),
                Err(title) => Err(self.refuse(title)),
            },
        }
    }

    fn judge_number(&self, number: Option<i128>) -> Result<Value, Refusal> {
        let natural = number.and_then(|number| u64::try_from(number).ok());
        match self.kind {
            Kind::Count { least, most, .. } => match natural {
                Some(number) if (least..=most).contains(&number) => Ok(Value::Count(number)),
                _ if least == most => {
                    Err(self.refuse(format!("{} {} is unknown", self.name, in_words(number))))
                }
                _ => Err(self.out_of_range(
                    &in_words(number),
                    number.is_some_and(|number| number < i128::from(least)),
                    &least.to_string(),
                    &most.to_string(),
                )),
            },
            Kind::Headers => match natural {
                Some(route) => headers(&route.to_string()),
                None => Err(Refusal {
                    title: format!("{} is no route", in_words(number)),
                    advice: HEADERS_ADVICE.to_owned(),
                }),
            },
            Kind::Size { .. } => Err(self.no_unit(number, natural.map(size_text))),
            Kind::Time { .. } => Err(self.no_unit(
                number,
                natural.map(|seconds| time_text(Duration::from_secs(seconds.min(1 << 40)))),
            )),
            Kind::Secret { .. } => Err(self.wrong_type("a number")),
            Kind::Ratio => self.judge_ratio(&in_words(number)),
            Kind::Account if natural.is_some_and(|id| u32::try_from(id).is_ok()) => {
                Ok(Value::Text(in_words(number).into()))
            }
            Kind::Form(Form::Routes) if natural.is_some() => {
                self.judge(&Raw::Bare(natural.unwrap_or_default().to_string()))
            }
            Kind::Form(_) => Err(self.wrong_type("a number")),
            Kind::Switch
            | Kind::Choice(_)
            | Kind::Address
            | Kind::Port
            | Kind::Path
            | Kind::Hosts { .. }
            | Kind::Networks { .. }
            | Kind::Mode
            | Kind::Account => Err(self.wrong_type(&format!("the number {}", in_words(number)))),
        }
    }

    fn judge_ratio(&self, text: &str) -> Result<Value, Refusal> {
        const MILLION: f64 = 1e6;
        let Ok(ratio) = text.parse::<f64>() else {
            return Err(self.refuse(format!("{} is no number", shown(text))));
        };
        let millionths = ratio * MILLION;
        if !(0.0..=MILLION).contains(&millionths) {
            return Err(self.out_of_range(text, ratio < 0.0, "0", "1"));
        }
        if ratio > 0.0 && millionths < 1.0 {
            let title = format!("`{}` is {text}, but the least above 0 is 0.000001", self.name);
            return Err(Refusal { title, advice: "give it 0, or at least 0.000001".to_owned() });
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to a million")]
        let whole = millionths.round() as u32;
        Ok(Value::Ratio(whole))
    }

    fn ratio_in_quotes(&self, text: &str) -> Refusal {
        let title = format!("`{}` is a string, but must be {}", self.name, self.takes());
        let advice = match self.judge_ratio(text) {
            Ok(value) => format!("write it without quotes: {value}"),
            Err(_) => self.advice(None),
        };
        Refusal { title, advice }
    }

    fn judge_switch(&self, text: &str, is_typed: bool) -> Result<Value, Refusal> {
        match text {
            "true" | "false" if is_typed => Err(Refusal {
                title: format!("`{}` is a string, but must be true or false", self.name),
                advice: format!("write it without quotes: {text}"),
            }),
            "true" => Ok(Value::Switch(true)),
            "false" => Ok(Value::Switch(false)),
            _ => {
                let meant = match text.to_ascii_lowercase().as_str() {
                    "true" | "yes" | "on" | "1" => Some("true".to_owned()),
                    "false" | "no" | "off" | "0" => Some("false".to_owned()),
                    _ => None,
                };
                let title = format!("{} is neither true nor false", shown(text));
                Err(Refusal { title, advice: self.advice(meant) })
            }
        }
    }

    fn judge_size(&self, text: &str) -> Result<Value, Refusal> {
        let Kind::Size { least, most, .. } = self.kind else { return Err(self.wrong_type("a size")) };
        match parse_size(text) {
            Ok(bytes) if (least..=most).contains(&bytes) => Ok(Value::Size(bytes)),
            Ok(bytes) => Err(self.out_of_range(text, bytes < least, &size_text(least), &size_text(most))),
            Err(meant) => Err(self.no_size(text, meant)),
        }
    }

    fn judge_time(&self, text: &str) -> Result<Value, Refusal> {
        let Kind::Time { least, most, step, .. } = self.kind else {
            return Err(self.wrong_type("a duration"));
        };
        match parse_time(text) {
            Ok(time) if !(least..=most).contains(&time) => {
                Err(self.out_of_range(text, time < least, &time_text(least), &time_text(most)))
            }
            Ok(time) if !time.as_micros().is_multiple_of(step.as_micros()) => Err(Refusal {
                title: format!("`{}` is {text}, but counts in steps of {}", self.name, time_text(step)),
                advice: format!("round it to a multiple of {}", time_text(step)),
            }),
            Ok(time) => Ok(Value::Time(time)),
            Err(meant) => Err(self.no_size(text, meant)),
        }
    }

    fn wrong_type(&self, given: &str) -> Refusal {
        self.refuse(format!("`{}` is {given}, but must be {}", self.name, self.takes()))
    }

    fn refuse(&self, title: String) -> Refusal {
        Refusal { title, advice: self.advice(None) }
    }

    fn no_size(&self, text: &str, meant: Option<String>) -> Refusal {
        let what = if matches!(self.kind, Kind::Time { .. }) { "duration" } else { "size" };
        let title = format!("{} is no {what} with a unit", shown(text));
        Refusal {
            title,
            advice: self
                .advice(meant.filter(|meant| self.takes_text(meant)).map(|meant| format!("\"{meant}\""))),
        }
    }

    fn no_unit(&self, number: Option<i128>, meant: Option<String>) -> Refusal {
        let meant = meant.filter(|meant| self.takes_text(meant)).map(|meant| format!("\"{meant}\""));
        let title = format!("{} has no unit", in_words(number));
        Refusal { title, advice: self.advice(meant) }
    }

    fn number_in_quotes(&self, text: &str) -> Refusal {
        let title = format!("`{}` is a string, but must be {}", self.name, self.takes());
        let advice = match integer(text) {
            Some(number) => format!("write it without quotes: {number}"),
            None => self.advice(None),
        };
        Refusal { title, advice }
    }

    fn out_of_range(&self, given: &str, is_less: bool, least: &str, most: &str) -> Refusal {
        let title = format!("`{}` is {given}, but must lie between {least} and {most}", self.name);
        let word = match self.kind {
            Kind::Count { word: Some(word), .. }
            | Kind::Size { word: Some(word), .. }
            | Kind::Time { word: Some(word), .. } => format!(", or \"{word}\""),
            Kind::Count { .. }
            | Kind::Size { .. }
            | Kind::Time { .. }
            | Kind::Ratio
            | Kind::Switch
            | Kind::Choice(_)
            | Kind::Address
            | Kind::Port
            | Kind::Secret { .. }
            | Kind::Path
            | Kind::Hosts { .. }
            | Kind::Networks { .. }
            | Kind::Mode
            | Kind::Account
            | Kind::Headers
            | Kind::Form(_) => String::new(),
        };
        let bound = if is_less { format!("at least {least}") } else { format!("at most {most}") };
        Refusal { title, advice: format!("give it {bound}{word}") }
    }

    fn takes_text(&self, text: &str) -> bool {
        self.judge(&Raw::Text(text.to_owned())).is_ok()
    }

    /// What to write instead: what was probably meant, or what there is.
    fn advice(&self, meant: Option<String>) -> String {
        if let Some(meant) = meant {
            return format!("did you mean {meant}?");
        }
        match self.kind {
            Kind::Size { most, word, .. } => {
                let word = word.map_or(String::new(), |word| format!(", or \"{word}\""));
                format!("give it a size such as \"64KiB\" or \"1MiB\", at most {}{word}", size_text(most))
            }
            Kind::Time { most, word, step, .. } => {
                let word = word.map_or(String::new(), |word| format!(", or \"{word}\""));
                let such =
                    if step >= Duration::from_secs(1) { "\"30s\" or \"3m\"" } else { "\"30s\" or \"250ms\"" };
                format!("give it a duration such as {such}, at most {}{word}", time_text(most))
            }
            Kind::Address => "write it as IP:PORT, such as 127.0.0.1:7411, or unix:PATH".to_owned(),
            Kind::Port => "write it as IP:PORT, such as 127.0.0.1:7413, or \"off\"".to_owned(),
            Kind::Hosts { .. } => {
                "write names as \"metrics.example,localhost.example\", without ports".to_owned()
            }
            Kind::Networks { .. } => "write networks as \"10.0.0.0/8,::1,unix\"".to_owned(),
            Kind::Mode => {
                "write it in quotes as three digits of 0 to 7 behind a 0, such as \"0660\"".to_owned()
            }
            Kind::Headers => HEADERS_ADVICE.to_owned(),
            Kind::Form(form) => form.advice().to_owned(),
            Kind::Account
            | Kind::Secret { .. }
            | Kind::Path
            | Kind::Count { .. }
            | Kind::Ratio
            | Kind::Switch
            | Kind::Choice(_) => {
                format!("give it {}", self.takes())
            }
        }
    }
}

const HEADERS_ADVICE: &str =
    "give it a route such as \"0x0001\" or 7, or a range such as \"0x0100-0x01ff\" or \"16-23\"";

fn one_of(words: &[&str]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match words.as_slice() {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        all => all.concat(),
    }
}

fn in_words(number: Option<i128>) -> String {
    number.map_or_else(|| "a number beyond all ranges".to_owned(), |number| number.to_string())
}

/// A text in a message: one line, and not a long one.
pub(super) fn shown(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    let mut short: String = text.chars().take(CHARACTERS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// A whole number, decimal or with 0x.
fn integer(text: &str) -> Option<i128> {
    match text.strip_prefix("0x") {
        Some(digits) if !digits.starts_with(['+', '-']) => i128::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None => text.parse().ok(),
    }
}

/// The name that is most like this one, if any is.
pub(super) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LIKENESS_MIN: f64 = 0.75;
    let lower = name.to_lowercase();
    let scored = names.into_iter().map(|other| (strsim::jaro_winkler(&lower, &other.to_lowercase()), other));
    let best = scored.max_by(|left, right| left.0.total_cmp(&right.0));
    best.filter(|(likeness, _)| *likeness >= LIKENESS_MIN).map(|(_, other)| other)
}

/// Checks the form; a name is looked up where the server listens.
fn address(text: &str) -> Result<Value, String> {
    let given = shown(text);
    if let Some(path) = text.strip_prefix("unix:") {
        return match path {
            "" => Err(format!("{given} has no path")),
            path if path.contains('\0') => Err(format!("{given} has a path with a NUL")),
            _ => Ok(Value::Address(text.to_owned().into())),
        };
    }
    if text.parse::<core::net::SocketAddr>().is_ok() {
        return Ok(Value::Address(text.to_owned().into()));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("{given} is not an address to listen on: it has no port"));
    };
    if !port.chars().all(|digit| digit.is_ascii_digit()) || port.parse::<u16>().is_err() {
        return Err(format!("{given} is not an address to listen on: ports are 0 to 65535"));
    }
    if is_name(host) {
        Ok(Value::Address(text.to_owned().into()))
    } else {
        Err(format!("{given} is not an address to listen on"))
    }
}

/// As [`address`], and no path.
fn port(text: &str) -> Result<Value, String> {
    if text.starts_with("unix:") {
        return Err(format!("{} is a path, but HTTP is on a port", shown(text)));
    }
    address(text)
}

/// What is wrong with a secret, without a byte of it.
fn secret(text: &str, least: usize, most: usize) -> Result<Value, String> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("has a character that is not visible ASCII".to_owned());
    }
    if !text.is_empty() && !(least..=most).contains(&text.len()) {
        return Err(format!("has {} bytes, but must have {least} to {most}", text.len()));
    }
    Ok(Value::Secret(Secret(text.to_owned().into())))
}

fn hosts(text: &str, most: usize) -> Result<Value, String> {
    let names = || text.split(',').map(str::trim).filter(|name| !name.is_empty());
    if let Some(wrong) = names().find(|name| !is_name(name)) {
        return Err(format!("{} is no name of a host", shown(wrong)));
    }
    match names().count() {
        count if count > most => Err(format!("{count} names are too many; there may be {most}")),
        _ => Ok(Value::Text(names().collect::<Vec<_>>().join(",").into())),
    }
}

/// The name of a host, without a port.
fn is_name(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= HOST_BYTES_MAX
        && host.chars().all(|character| character.is_ascii_alphanumeric() || "-._".contains(character))
        && host.chars().any(|character| character.is_ascii_alphabetic())
}

/// RFC 1035 2.3.4.
const HOST_BYTES_MAX: usize = 253;

fn headers(text: &str) -> Result<Value, Refusal> {
    let refuse = |title: String| Refusal { title, advice: HEADERS_ADVICE.to_owned() };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let route = |text: &str| {
        let number = integer(text).filter(|number| *number >= 0 && !text.starts_with('+'));
        let number = number.ok_or_else(|| refuse(format!("{} is no route", shown(text))))?;
        match u16::try_from(number) {
            Ok(route) if route <= Header::ROUTE_MAX => Ok(route),
            _ => Err(Refusal {
                title: format!("route {number} exceeds the largest route {}", Header::ROUTE_MAX),
                advice: format!("routes are 0 to {max}, or 0x0000 to {max:#06x}", max = Header::ROUTE_MAX),
            }),
        }
    };
    let (first, last) = (route(first)?, route(last)?);
    if first > last {
        return Err(Refusal {
            title: format!("the range {} ends before it begins", shown(text)),
            advice: format!("did you mean {}?", Value::Headers(last..=first)),
        });
    }
    Ok(Value::Headers(first..=last))
}
